package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// TestTextLength counts the characters of texts, of ASCII and not, in batches and parts of batches, as Go does.
func TestTextLength(t *testing.T) {
	text, whole := manifest.Type{Kind: manifest.Text}, manifest.Type{Kind: manifest.BigInt}
	column := &plan.ColumnRef{Index: 0, Type: text}
	length, err := Compile(&plan.Call{Name: "length", Type: whole, Args: []plan.Expr{column}}, []manifest.Type{text}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, distinct := range []int{3, 6000, 1 << 40} {
		r := rand.New(rand.NewPCG(1, uint64(distinct)))
		counter := length.New()
		for round := range 8 {
			values, end := make([]any, 5000), "/end"
			if round%2 == 1 {
				end = "/ende für alle"
			}
			for i := range values {
				v := fmt.Sprintf("http://www.a%d.com%s", r.IntN(distinct), end)
				if r.IntN(20) == 0 {
					v = strings.Repeat("x", r.IntN(300)) + v
				}
				values[i] = v
			}
			v, err := NewVector(values, text)
			if err != nil {
				t.Fatal(err)
			}
			b := &Batch{Len: v.Len, Vectors: []*Vector{v}}
			if round > 3 {
				for i := round; i < v.Len; i += round {
					b.Sel = append(b.Sel, uint16(i))
				}
			}
			counts, err := counter.Eval(b)
			if err != nil {
				t.Fatal(err)
			}
			err = each(b.Len, b.Sel, func(i int) error {
				s := values[i].(string)
				if got, want := counts.Value(i), int64(utf8.RuneCountInString(s)); got != want {
					return fmt.Errorf("%q has %v characters, want %v", s, got, want)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
