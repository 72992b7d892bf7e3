package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// benchTable makes batches of 8192 rows, 16 a morsel, of columns given by functions of the row.
func benchTable(rows int, types []manifest.Type, fill func(b *array.RecordBuilder, i int)) *table {
	fields := make([]arrow.Field, len(types))
	for i, t := range types {
		fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: t.Arrow()}
		if t.Textual() && t.Length == 1 {
			fields[i].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
		}
		if t.Kind == manifest.Decimal {
			fields[i].Type = &arrow.Decimal64Type{Precision: t.Precision, Scale: t.Scale}
		}
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	t := &table{name: "bench", types: types}
	p := &piece{}
	for i := 0; i < rows; {
		for n := min(rows-i, 8192); n > 0; n-- {
			fill(b, i)
			i++
		}
		p.batches, p.sels = append(p.batches, b.NewRecordBatch()), append(p.sels, nil)
		if len(p.batches) == 16 || i == rows {
			t.morsels = append(t.morsels, p)
			p = &piece{}
		}
	}
	return t
}

func runBench(b *testing.B, rows int, n plan.Node, tables ...*table) {
	b.Helper()
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			w := newWorld(b, memory.NewGoAllocator(), nil)
			for _, t := range tables {
				w.tables[t.name] = t
			}
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				env := w.env(workers)
				env.MemoryBytes = 8 << 30
				q, err := Build(context.Background(), n, env)
				if err != nil {
					b.Fatal(err)
				}
				for {
					rec, err := q.Next(context.Background())
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					rec.Release()
				}
				q.Close()
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/float64(rows), "cpu-ns/row")
		})
	}
}

const benchRows = 2_000_000

// lineitem is what TPC-H Q1 and Q6 read: quantity, price, discount, tax DECIMAL(15,2), flag, status, date.
func lineitem(rows int) *table {
	money := manifest.Type{Kind: manifest.Decimal, Precision: 15, Scale: 2}
	flag := manifest.Type{Kind: manifest.Text, Length: 1}
	r := rand.New(rand.NewPCG(1, 2))
	return benchTable(rows, []manifest.Type{money, money, money, money, flag, flag, {Kind: manifest.Date}},
		func(b *array.RecordBuilder, i int) {
			dec := func(c int, x int64) { b.Field(c).(*array.Decimal64Builder).Append(decimal64(x)) }
			dec(0, (1+r.Int64N(50))*100)
			dec(1, 90_000+r.Int64N(10_000_000))
			dec(2, r.Int64N(11))
			dec(3, r.Int64N(9))
			_ = b.Field(4).(*array.BinaryDictionaryBuilder).AppendString([]string{"A", "N", "R"}[r.IntN(3)])
			_ = b.Field(5).(*array.BinaryDictionaryBuilder).AppendString([]string{"F", "O"}[r.IntN(2)])
			b.Field(6).(*array.Date32Builder).Append(arrow.Date32(8000 + r.IntN(2500)))
		})
}

func BenchmarkQ1(b *testing.B) {
	t := lineitem(benchRows)
	money := t.types[0]
	d := func(p, s int32) manifest.Type {
		return manifest.Type{Kind: manifest.Decimal, Precision: p, Scale: s}
	}
	op := func(name string, t manifest.Type, args ...plan.Expr) plan.Expr {
		return &plan.Call{Name: name, Args: args, Type: t, Pos: -1}
	}
	one := lit(decimal128Of(100), money)
	price := op("*", d(18, 4), col(money, 1), op("-", d(16, 2), one, col(money, 2)))
	charge := op("*", d(36, 6), price, op("+", d(16, 2), one, col(money, 3)))
	s := t.scan()
	s.Filter = &plan.Compare{Op: plan.Le, Left: col(t.types[6], 6), Right: lit(int64(10400), t.types[6])}
	n := aggregateNode(s, []plan.Agg{call(b, "sum", col(money, 0)), call(b, "sum", col(money, 1)), call(b, "sum", price),
		call(b, "sum", charge),
		call(b, "avg", col(money, 0)), call(b, "avg", col(money, 1)), call(b, "avg", col(money, 2)), call(b, "count")},
		t.types, []int{4, 5})
	runBench(b, benchRows, n, t)
}

func BenchmarkQ6(b *testing.B) {
	t := lineitem(benchRows)
	money, date := t.types[0], t.types[6]
	s := t.scan()
	s.Filter = &plan.And{Args: []plan.Expr{
		&plan.Compare{Op: plan.Ge, Left: col(date, 6), Right: lit(int64(8766), date)},
		&plan.Compare{Op: plan.Lt, Left: col(date, 6), Right: lit(int64(9131), date)},
		&plan.Compare{Op: plan.Ge, Left: col(money, 2), Right: lit(decimal128Of(5), money)},
		&plan.Compare{Op: plan.Le, Left: col(money, 2), Right: lit(decimal128Of(7), money)},
		&plan.Compare{Op: plan.Lt, Left: col(money, 0), Right: lit(decimal128Of(2400), money)}}}
	revenue := &plan.Call{Name: "*", Args: []plan.Expr{col(money, 1), col(money, 2)},
		Type: manifest.Type{Kind: manifest.Decimal, Precision: 30, Scale: 4}, Pos: -1}
	runBench(b, benchRows, aggregateNode(s, []plan.Agg{call(b, "sum", revenue)}, t.types, nil), t)
}

// events is what the other benchmarks read: id BIGINT, few INT, many BIGINT, text TEXT with many values, value DOUBLE.
func events(rows int) *table {
	r := rand.New(rand.NewPCG(3, 4))
	return benchTable(rows, []manifest.Type{bigintType, intType, bigintType, textType, doubleType},
		func(b *array.RecordBuilder, i int) {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			b.Field(1).(*array.Int32Builder).Append(int32(r.IntN(5000)))
			b.Field(2).(*array.Int64Builder).Append(r.Int64N(int64(rows)/2) * 1_000_003)
			b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("http://example.com/page/%d", r.IntN(rows/4)))
			b.Field(4).(*array.Float64Builder).Append(r.Float64())
		})
}

func BenchmarkGroupBy(b *testing.B) {
	t := events(benchRows)
	for _, c := range []struct {
		name string
		keys []int
	}{{"none", nil}, {"few", []int{1}}, {"many", []int{2}}, {"text", []int{3}}, {"two", []int{1, 2}}} {
		b.Run("key="+c.name, func(b *testing.B) {
			n := aggregateNode(t.scan(), []plan.Agg{call(b, "count"), call(b, "sum", col(doubleType, 4))}, t.types, c.keys)
			top := &plan.Limit{Input: &plan.Sort{Input: n,
				Keys: []plan.SortKey{{Expr: col(bigintType, len(c.keys)), Desc: true}}}, Count: lit(int64(10), bigintType)}
			runBench(b, benchRows, top, t)
		})
	}
	b.Run("count_distinct", func(b *testing.B) {
		a := call(b, "count", col(bigintType, 2))
		a.Distinct = true
		runBench(b, benchRows, aggregateNode(t.scan(), []plan.Agg{a}, t.types, nil), t)
	})
}

func BenchmarkJoin(b *testing.B) {
	t := events(benchRows)
	small := events(benchRows / 4)
	small.name = "small"
	for _, c := range []struct {
		name string
		key  int
	}{{"unique", 0}, {"many", 2}, {"text", 3}} {
		b.Run("key="+c.name, func(b *testing.B) {
			n := &plan.Join{LeftSide: t.scan(), RightSide: small.scan(), LeftKeys: []plan.Expr{col(t.types[c.key], c.key)},
				RightKeys: []plan.Expr{col(t.types[c.key], c.key)}}
			types := append(append([]manifest.Type(nil), t.types...), t.types...)
			n.Cols = outCols(types...)
			runBench(b, benchRows, aggregateNode(n, []plan.Agg{call(b, "count"), call(b, "sum", col(doubleType, 9))}, types,
				nil), t, small)
		})
	}
}

func BenchmarkSort(b *testing.B) {
	t := events(benchRows)
	for _, c := range []struct {
		name string
		key  int
	}{{"bigint", 2}, {"double", 4}, {"text", 3}} {
		sort := &plan.Sort{Input: t.scan(), Keys: []plan.SortKey{{Expr: col(t.types[c.key], c.key)}}}
		b.Run("key="+c.name, func(b *testing.B) { runBench(b, benchRows, sort, t) })
		b.Run("top/key="+c.name, func(b *testing.B) {
			runBench(b, benchRows, &plan.Limit{Input: sort, Count: lit(int64(100), bigintType)}, t)
		})
	}
}

// BenchmarkTiny is the fixed cost of a query.
func BenchmarkTiny(b *testing.B) {
	t := events(10)
	runBench(b, 10, t.scan(), t)
}

func BenchmarkTinyGroupBy(b *testing.B) {
	t := events(10)
	runBench(b, 10, aggregateNode(t.scan(), []plan.Agg{call(b, "count")}, t.types, []int{1}), t)
}

// cpuTime is the processor time of the process in nanoseconds: steadier than the clock on a shared machine.
func cpuTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
