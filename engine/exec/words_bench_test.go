package exec

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkWordIndex groups two million keys, of which some are different.
func BenchmarkWordIndex(b *testing.B) {
	for _, words := range []int{1, 2, 3, 4} {
		for _, groups := range []int{1000, 100_000, 2_000_000} {
			b.Run(fmt.Sprintf("words=%d/groups=%d", words, groups), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				keys := make([]uint64, benchRows*words)
				for i := range benchRows {
					k := r.Uint64N(uint64(groups))
					for w := range words {
						keys[i*words+w] = k * uint64(w+3)
					}
				}
				ids := make([]uint32, 8192)
				for b.Loop() {
					t := newWordIndex(words, 7)
					for i := 0; i < benchRows; i += len(ids) {
						n := min(len(ids), benchRows-i)
						if err := t.assign(keys[i*words:], n, ids); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/benchRows, "ns/key")
			})
		}
	}
}
