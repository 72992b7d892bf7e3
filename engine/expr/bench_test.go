package expr_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// benchBatch has BIGINT, BIGINT, DECIMAL(15,2), DECIMAL(15,2), DATE, TEXT and dictionary TEXT.
func benchBatch(b *testing.B, n int) *expr.Batch {
	r := rand.New(rand.NewPCG(1, 2))
	dec := manifest.Type{Kind: manifest.Decimal, Precision: 15, Scale: 2}
	nums := make([]any, n)
	for i := range nums {
		nums[i] = int64(r.IntN(1000))
	}
	texts, codes := make([]any, n), make([]any, n)
	for i := range texts {
		texts[i], codes[i] = fmt.Sprintf("special %d packages of request %d", r.IntN(100), r.IntN(100)), int64(r.IntN(50))
	}
	dict := &expr.Vector{Type: tText, Len: n, Dict: vec(b, tText, texts[:50]...), Fixed: vec(b, tInt, codes...).Fixed}
	asDecimal := func() *expr.Vector { v := vec(b, tBig, nums...); v.Type = dec; return v }
	wide := func(shift uint) *expr.Vector {
		v := &expr.Vector{Type: manifest.Type{Kind: manifest.Decimal, Precision: 30, Scale: 2}, Len: n,
			Fixed: make([]byte, 16*n)}
		for i := range n {
			binary.LittleEndian.PutUint64(v.Fixed[16*i:], uint64(i*7919>>shift%1000))
		}
		return v
	}
	return &expr.Batch{Len: n, Vectors: []*expr.Vector{vec(b, tBig, nums...), vec(b, tBig, nums...), asDecimal(),
		asDecimal(),
		vec(b, manifest.Type{Kind: manifest.Date}, nums...), vec(b, tText, texts...), dict, wide(0), wide(3)}}
}

func BenchmarkKernels(b *testing.B) {
	dec := manifest.Type{Kind: manifest.Decimal, Precision: 15, Scale: 2}
	day := manifest.Type{Kind: manifest.Date}
	long := manifest.Type{Kind: manifest.Decimal, Precision: 30, Scale: 2}
	types := []manifest.Type{tBig, tBig, dec, dec, day, tText, tText, long, long}
	one := lit(value(b, "DECIMAL(15,2) 1.00").(*plan.Literal).Value, dec)
	compare := func(op plan.CompareOp, l, r plan.Expr) plan.Expr { return &plan.Compare{Op: op, Left: l, Right: r} }
	for _, c := range []struct {
		name   string
		e      plan.Expr
		filter bool
	}{
		{"op=add/type=bigint", call(b, "+", col(0, tBig), col(1, tBig)), false},
		{"op=mul/type=bigint", call(b, "*", col(0, tBig), col(1, tBig)), false},
		{"op=price*(1-discount)/type=decimal", call(b, "*", col(2, dec), call(b, "-", one, col(3, dec))), false},
		{"op=add/type=decimal30", call(b, "+", col(7, long), col(8, long)), false},
		{"op=mul/type=decimal30", call(b, "*", col(2, dec), col(7, long)), false},
		{"op=less/type=decimal30", compare(plan.Lt, col(7, long), col(8, long)), true},
		{"op=equal/type=decimal30", compare(plan.Eq, col(7, long), col(8, long)), true},
		{"op=less/type=bigint", compare(plan.Lt, col(0, tBig), col(1, tBig)), true},
		{"op=less-const/type=bigint", compare(plan.Lt, col(0, tBig), lit(int64(500), tBig)), true},
		{"op=and3/type=date,bigint", &plan.And{Args: []plan.Expr{compare(plan.Ge, col(4, day), lit(int64(100), day)),
			compare(plan.Lt, col(4, day), lit(int64(500), day)), compare(plan.Lt, col(0, tBig), lit(int64(700), tBig))}}, true},
		{"op=or2/type=bigint", &plan.Or{Args: []plan.Expr{compare(plan.Lt, col(0, tBig), lit(int64(100), tBig)),
			compare(plan.Gt, col(1, tBig), lit(int64(900), tBig))}}, true},
		{"op=like/type=text", call(b, "like", col(5, tText), str("%special%request%")), true},
		{"op=like/type=dictionary", call(b, "like", col(6, tText), str("%special%request%")), true},
		{"op=equal/type=text", compare(plan.Eq, col(5, tText), str("special 7 packages of request 7")), true},
		{"op=equal/type=dictionary", compare(plan.Eq, col(6, tText), str("special 7 packages of request 7")), true},
		{"op=regexp_replace/type=text", call(b, "regexp_replace", col(5, tText), str(`^(\w+) (\d+) .*$`), str(`\2`)), false},
		{"op=upper/type=text", call(b, "upper", col(5, tText)), false},
		{"op=year/type=date", call(b, "year", col(4, day)), false},
		{"op=case/type=bigint", &plan.Case{Whens: []plan.When{{Cond: compare(plan.Lt, col(0, tBig), lit(int64(500), tBig)),
			Then: col(1, tBig)}},
			Else: lit(int64(0), tBig), Type: tBig}, false},
		{"op=in4/type=bigint", &plan.In{Arg: col(0, tBig),
			List: []plan.Expr{lit(int64(1), tBig), lit(int64(2), tBig), lit(int64(3), tBig),
				lit(int64(900), tBig)}}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			const n = 8192
			batch := benchBatch(b, n)
			p, err := expr.Compile(c.e, types, nil)
			if err != nil {
				b.Fatal(err)
			}
			x, sel := p.New(), make([]uint16, n)
			b.ReportAllocs()
			for b.Loop() {
				if c.filter {
					_, err = x.Filter(batch, sel)
				} else {
					_, err = x.Eval(batch)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}

// BenchmarkCompile is what a point query pays for its expressions.
func BenchmarkCompile(b *testing.B) {
	e := &plan.And{Args: []plan.Expr{&plan.Compare{Op: plan.Eq, Left: col(0, tBig), Right: lit(int64(1), tBig)},
		call(b, "like", col(1, tText), str("a%"))}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expr.Compile(e, []manifest.Type{tBig, tText}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
