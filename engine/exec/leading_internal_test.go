package exec

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"testing"
)

// TestLeading: the numbers of leading order texts as their bytes do, wherever they lie, or are equal.
func TestLeading(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	for range 20_000 {
		b := make([]byte, r.IntN(24))
		for i := range b {
			b[i] = []byte{0, 1, 'a', 'b', 0xff}[r.IntN(5)]
		}
		span := func() (int, int) {
			from := r.IntN(len(b) + 1)
			return from, from + r.IntN(len(b)-from+1)
		}
		i, j := span()
		k, l := span()
		x, y := leading(b, i, j), leading(b, k, l)
		want := bytes.Compare(b[i:j], b[k:l])
		if x != y && cmp.Compare(x, y) != want {
			t.Fatalf("%q leads with %x and %q with %x", b[i:j], x, b[k:l], y)
		}
		if want == 0 && x != y {
			t.Fatalf("%q leads with %x and with %x", b[i:j], x, y)
		}
	}
}
