package bind

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// TestShortDecimal compares decimals that are read without big integers with what these make of them.
func TestShortDecimal(t *testing.T) {
	rng, _ := testkit.Rand(t)
	taken := 0
	for range 20_000 {
		precision := 1 + rng.Int32N(22)
		dec := manifest.Type{Kind: manifest.Decimal, Precision: precision, Scale: rng.Int32N(precision + 1)}
		whole, fraction := randomOf(rng, "0123456789", 12), randomOf(rng, "0123456789", 6)
		switch rng.IntN(8) {
		case 0:
			whole += randomOf(rng, " -+.e_", 2)
		case 1:
			fraction += randomOf(rng, " -+.e_", 2)
		}
		if rng.IntN(3) == 0 {
			whole = "-" + whole
		}
		got, ok := shortDecimal(whole, fraction, dec)
		if !ok {
			continue
		}
		taken++
		v, isNumber := new(big.Int).SetString(whole+fraction, 10)
		if !isNumber {
			t.Fatalf("%q.%q is no number and was read as %v", whole, fraction, got)
		}
		if want, ok := rescale(v, int32(len(fraction)), dec); !ok || want != any(got) {
			t.Fatalf("%q.%q as %s is %v, not %v", whole, fraction, dec, got, want)
		}
	}
	if taken < 1000 {
		t.Fatalf("only %d decimals were short", taken)
	}
}

// TestInstant compares instants that are read by their digits with what package time makes of them.
func TestInstant(t *testing.T) {
	rng, _ := testkit.Rand(t)
	taken := 0
	for range 50_000 {
		s := []byte(time.Unix(rng.Int64N(253_402_300_800+62_135_596_800)-62_135_596_800, 0).UTC().Format(time.DateTime))
		for range rng.IntN(4) {
			s[rng.IntN(len(s))] = "0123456789-: T.\xff"[rng.IntN(16)]
		}
		text := string(s)
		want, err := time.Parse(strings.Replace(time.DateTime, " ", string(s[10]), 1), text)
		if s[10] != ' ' && s[10] != 'T' {
			want, err = time.Parse(time.DateTime, text)
		}
		got, ok := instant(text, "")
		if ok {
			taken++
		}
		if ok && (err != nil || got != want.UnixMicro()) {
			t.Fatalf("%q is %d, not %d, %v", text, got, want.UnixMicro(), err)
		}
	}
	if taken < 1000 {
		t.Fatalf("only %d instants were read", taken)
	}
}

// randomOf makes a text of up to most of the letters.
func randomOf(rng *rand.Rand, letters string, most int) string {
	out := make([]byte, rng.IntN(most+1))
	for i := range out {
		out[i] = letters[rng.IntN(len(letters))]
	}
	return string(out)
}
