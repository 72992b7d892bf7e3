package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

var (
	textType   = manifest.Type{Kind: manifest.Text}
	dec10      = manifest.Type{Kind: manifest.Decimal, Precision: 10, Scale: 2}
	dec30      = manifest.Type{Kind: manifest.Decimal, Precision: 30, Scale: 3}
	allKeyType = []manifest.Type{boolType, {Kind: manifest.SmallInt}, intType, bigintType, floatType, doubleType, dec10,
		dec30, textType,
		{Kind: manifest.Bytes}, {Kind: manifest.UUID}, {Kind: manifest.Date}, {Kind: manifest.Timestamp},
		{Kind: manifest.Interval},
		{Kind: manifest.Embedding, Length: 2}, {Kind: manifest.List, Elem: &textType}}
)

// table is rows in memory that a test scans.
type table struct {
	name  string
	types []manifest.Type
	rows  [][]any
	// morsels cut the rows; stored batches may have rows that their selection leaves out.
	morsels []Morsel
}

// piece is one morsel of a table: batches with selections.
type piece struct {
	batches []arrow.RecordBatch
	sels    [][]uint16
}

func (p *piece) Scan(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	for i, b := range p.batches {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(b, p.sels[i]); err != nil {
			return err
		}
	}
	return nil
}

// world is a set of tables and what a query runs with.
type world struct {
	tb     testing.TB
	alloc  memory.Allocator
	rand   *rand.Rand
	tables map[string]*table
	ids    int
}

func newWorld(tb testing.TB, alloc memory.Allocator, r *rand.Rand) *world {
	return &world{tb: tb, alloc: alloc, rand: r, tables: map[string]*table{}}
}

// value makes a random value; few makes equal ones likely.
func (w *world) value(t manifest.Type, few int64) any {
	r := w.rand
	n := r.Int64N(few) - few/4
	switch t.Kind {
	case manifest.Boolean:
		return n&1 == 0
	case manifest.SmallInt:
		return n % 30000
	case manifest.Int, manifest.Date:
		return n % 2_000_000
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		if r.IntN(50) == 0 {
			return []int64{math.MinInt64, math.MaxInt64, 0, -1}[r.IntN(4)]
		}
		return n
	case manifest.Float, manifest.Double:
		switch r.IntN(40) {
		case 0:
			return math.Copysign(0, -1)
		case 1:
			return math.NaN()
		case 2:
			return math.Inf(-1)
		}
		return float64(n) / 4
	case manifest.Decimal:
		return decimal128.FromI64(n)
	case manifest.Text, manifest.JSON, manifest.File:
		return w.text(n)
	case manifest.Bytes:
		return []byte(w.text(n))
	case manifest.UUID:
		var u [16]byte
		u[0], u[15] = byte(n), byte(n>>8)
		return u
	case manifest.Interval:
		return []arrow.MonthDayNanoInterval{{Months: 1}, {Days: 30}, {Days: int32(n % 100)}, {Nanoseconds: n}, {Days: 1},
			{Nanoseconds: 86400_000_000_000}}[r.IntN(6)]
	case manifest.Embedding:
		e := make([]float32, t.Length)
		for i := range e {
			e[i] = float32(r.Int64N(few)%3) + 1
		}
		return e
	case manifest.List:
		l := []any{}
		for range r.IntN(3) {
			if r.IntN(6) == 0 {
				l = append(l, nil)
				continue
			}
			l = append(l, w.value(*t.Elem, few))
		}
		return l
	}
	return nil
}

func (w *world) text(n int64) string {
	switch n % 5 {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("a long string with the number %d in it", n)
	case 2:
		return fmt.Sprintf("%012d", n)
	}
	return fmt.Sprintf("s%d", n)
}

// randomRows makes random rows; about one value in nulls is NULL (0: none).
func (w *world) randomRows(types []manifest.Type, n int, few int64, nulls int) [][]any {
	rows := make([][]any, n)
	for i := range rows {
		row := make([]any, len(types))
		for c, t := range types {
			if nulls > 0 && w.rand.IntN(nulls) == 0 {
				continue
			}
			row[c] = w.value(t, few)
		}
		rows[i] = row
	}
	return rows
}

// add makes a table of rows, in random batches and morsels, with rows that do not count in between.
func (w *world) add(types []manifest.Type, rows [][]any) *table {
	w.ids++
	t := &table{name: fmt.Sprintf("t%d", w.ids), types: types, rows: rows}
	w.tables[t.name] = t
	r := w.rand
	var p *piece
	for first := 0; first < len(rows); {
		n := min(len(rows)-first, []int{1, 7, 100, 1000, 6000}[r.IntN(5)])
		part := rows[first : first+n]
		var sel []uint16
		if r.IntN(3) == 0 {
			part, sel = w.hide(types, part)
		}
		if p == nil || r.IntN(3) == 0 {
			p = &piece{}
			t.morsels = append(t.morsels, p)
		}
		p.batches, p.sels = append(p.batches, w.record(types, part)), append(p.sels, sel)
		first += n
	}
	return t
}

// hide mixes rows that do not count into rows.
func (w *world) hide(types []manifest.Type, rows [][]any) ([][]any, []uint16) {
	var out [][]any
	sel := []uint16{}
	for _, row := range rows {
		for w.rand.IntN(3) == 0 && len(out) < expr.VectorRows-len(rows) {
			out = append(out, w.randomRows(types, 1, 50, 5)[0])
		}
		sel = append(sel, uint16(len(out)))
		out = append(out, row)
	}
	return out, sel
}

func (w *world) record(types []manifest.Type, rows [][]any) arrow.RecordBatch {
	cols := make([]arrow.Array, len(types))
	fields := make([]arrow.Field, len(types))
	for c, t := range types {
		values := make([]any, len(rows))
		for i := range rows {
			values[i] = rows[i][c]
		}
		v, err := expr.NewVector(values, t)
		if err != nil {
			w.tb.Fatal(err)
		}
		if cols[c], err = expr.ToArrow(v, nil, len(rows), t, w.alloc); err != nil {
			w.tb.Fatal(err)
		}
		if t.Textual() && w.rand.IntN(2) == 0 {
			cols[c] = w.dictionary(cols[c])
		}
		fields[c] = arrow.Field{Name: fmt.Sprint("c", c), Type: cols[c].DataType(), Nullable: true}
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(len(rows)))
	for _, c := range cols {
		c.Release()
	}
	w.tb.Cleanup(rec.Release)
	return rec
}

// dictionary encodes strings.
func (w *world) dictionary(a arrow.Array) arrow.Array {
	defer a.Release()
	b := array.NewDictionaryBuilder(w.alloc,
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32,
			ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	s := a.(*array.String)
	for i := range s.Len() {
		if s.IsNull(i) {
			b.AppendNull()
		} else if err := b.AppendString(s.Value(i)); err != nil {
			w.tb.Fatal(err)
		}
	}
	return b.NewArray()
}

// scan is a plan node that reads a table.
func (t *table) scan() *plan.Scan {
	mt := &manifest.Table{Namespace: "test", Name: t.name}
	s := &plan.Scan{Table: mt, Alias: t.name, Limit: -1}
	for c, typ := range t.types {
		id := manifest.ColumnID(c + 1)
		col := manifest.Column{ID: id, Name: fmt.Sprint("c", c), Type: typ}
		mt.Columns = append(mt.Columns, col)
		s.IDs = append(s.IDs, id)
		s.Cols = append(s.Cols, plan.Column{Name: col.Name, Type: typ, Nullable: true})
	}
	return s
}

func (w *world) env(workers int) Env {
	return Env{Alloc: w.alloc, Workers: workers, Expr: &expr.Env{Now: time.Unix(1, 0)},
		Scan: func(_ context.Context, s *plan.Scan) (*Source, error) {
			t := w.tables[s.Table.Name]
			if t == nil {
				return nil, fmt.Errorf("no table %s", s.Table.Name)
			}
			return &Source{Morsels: t.morsels}, nil
		}}
}

// run runs a plan and returns its rows.
func (w *world) run(n plan.Node, workers int) [][]any {
	w.tb.Helper()
	rows, err := w.try(n, w.env(workers))
	if err != nil {
		w.tb.Fatalf("run: %v", err)
	}
	w.runSpilling(n, workers, rows)
	return rows
}

// runSpilling runs a plan again in so little memory that everything that can spills: the rows must be the same.
func (w *world) runSpilling(n plan.Node, workers int, want [][]any) {
	w.tb.Helper()
	if len(want) == 0 || nodeVolatile(n) || partial(n) {
		return
	}
	disk := &memoryDisk{}
	env := w.env(workers)
	env.MemoryBytes, env.Spill = 1<<20, disk.create
	rows := len(want)
	for _, t := range w.tables {
		rows += len(t.rows)
	}
	if rows < 2000 {
		env.MemoryBytes, env.alwaysTight = 0, true
	}
	got, err := w.try(n, env)
	if err != nil {
		// What cannot spill may say so.
		if sqlState(err) != "53200" {
			w.tb.Fatalf("run in little memory: %v", err)
		}
		return
	}
	equalRows(w.tb, "in little memory", got, want)
	if disk.open.Load() != 0 {
		w.tb.Errorf("%d spill files are open after the query", disk.open.Load())
	}
}

// partial tells whether a plan has a LIMIT, a DISTINCT ON or an estimate, which may choose other rows when it runs
// again.
func partial(n plan.Node) bool {
	switch n := n.(type) {
	case *plan.Limit:
		return true
	case *plan.Distinct:
		if len(n.On) > 0 {
			return true
		}
	case *plan.Apply:
		return true
	case *plan.Aggregate:
		for _, a := range n.Aggs {
			if strings.HasPrefix(a.Name, "approx_") {
				return true
			}
		}
	}
	for _, in := range nodeInputs(n) {
		if partial(in) {
			return true
		}
	}
	return false
}

// memoryDisk gives spill files that are in memory, and fails when it is told to.
type memoryDisk struct {
	open, written atomic.Int64
	// fullAt is how many bytes fit; 0 means any number.
	fullAt int64
}

func (d *memoryDisk) create() (SpillFile, error) {
	d.open.Add(1)
	return &memoryFile{disk: d}, nil
}

type memoryFile struct {
	disk *memoryDisk
	mu   sync.Mutex
	data []byte
}

func (f *memoryFile) Write(p []byte) (int, error) {
	if n := f.disk.written.Add(int64(len(p))); f.disk.fullAt > 0 && n > f.disk.fullAt {
		return 0, &fault.SQL{Kind: fault.ErrExhausted, Code: "53100", Message: "the disk is full"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return copy(p, f.data[off:]), nil
}

func (f *memoryFile) Close() error {
	f.disk.open.Add(-1)
	return nil
}

func (w *world) try(n plan.Node, env Env) ([][]any, error) {
	ctx := context.Background()
	q, err := Build(ctx, n, env)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	return readAll(ctx, q)
}

func readAll(ctx context.Context, q *Query) ([][]any, error) {
	var out [][]any
	for {
		b, err := q.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, recordRows(b)...)
		b.Release()
	}
}

// recordRows are the rows of a plain Arrow batch.
func recordRows(b arrow.RecordBatch) [][]any {
	out := make([][]any, b.NumRows())
	for i := range out {
		out[i] = make([]any, b.NumCols())
	}
	for c := range int(b.NumCols()) {
		t, ok := manifest.TypeOf(b.Schema().Field(c))
		if !ok {
			panic("unexpected result type")
		}
		var v expr.Vector
		if err := expr.FromArrow(b.Column(c), t, &v); err != nil {
			panic(err)
		}
		for i := range out {
			out[i][c] = v.Value(i)
		}
	}
	return out
}

// show is a value in a form that is equal when SQL's IS NOT DISTINCT FROM says so; floating-point numbers are rounded.
func show(v any) string {
	switch x := v.(type) {
	case nil:
		return "NULL"
	case float64:
		if x == 0 {
			return "0f"
		}
		return fmt.Sprintf("%.9gf", x)
	case []float32:
		return fmt.Sprint(x)
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = show(e)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case decimal128.Num:
		return x.BigInt().String()
	case arrow.MonthDayNanoInterval:
		days := int64(x.Months)*30 + int64(x.Days)
		return fmt.Sprintf("%dns", days*86400_000_000_000+x.Nanoseconds)
	case string:
		return fmt.Sprintf("%q", x)
	case []byte:
		return fmt.Sprintf("x%x", x)
	}
	return fmt.Sprint(v)
}

func showRow(row []any) string {
	parts := make([]string, len(row))
	for i, v := range row {
		parts[i] = show(v)
	}
	return strings.Join(parts, "|")
}

func showRows(rows [][]any) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = showRow(r)
	}
	return out
}

// byRow sorts rows by what is exact in them, then by their floating-point numbers.
func byRow(rows [][]any) []exactRow {
	out := make([]exactRow, len(rows))
	for i, r := range rows {
		for _, v := range r {
			if f, ok := v.(float64); ok {
				out[i].floats = append(out[i].floats, f)
				continue
			}
			out[i].text += show(v) + "|"
		}
	}
	slices.SortFunc(out, func(x, y exactRow) int {
		if c := strings.Compare(x.text, y.text); c != 0 {
			return c
		}
		return slices.CompareFunc(x.floats, y.floats, compareFloats)
	})
	return out
}

// exactRow is a row in two parts, of which the second may be a little off.
type exactRow struct {
	text   string
	floats []float64
}

func (x exactRow) String() string { return fmt.Sprint(x.text, x.floats) }

func (x exactRow) equal(y exactRow) bool {
	return x.text == y.text && slices.EqualFunc(x.floats, y.floats, func(a, b float64) bool {
		return a == b || a != a && b != b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1)
	})
}

// equalRows compares as multisets.
func equalRows(tb testing.TB, what string, got, want [][]any) {
	tb.Helper()
	g, w := byRow(got), byRow(want)
	for i := range min(len(g), len(w)) {
		if !g[i].equal(w[i]) {
			tb.Fatalf("%s: got %d rows, want %d; at %d of them got %v, want %v", what, len(g), len(w), i, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		tb.Fatalf("%s: got %d rows, want %d", what, len(g), len(w))
	}
}

// equalOrder compares as lists.
func equalOrder(tb testing.TB, what string, got, want [][]any) {
	tb.Helper()
	g, w := showRows(got), showRows(want)
	if !slices.Equal(g, w) {
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				tb.Fatalf("%s: row %d of %d is %s, want %s", what, i, len(g), g[i], w[i])
			}
		}
		tb.Fatalf("%s: got %d rows, want %d", what, len(g), len(w))
	}
}

func col(t manifest.Type, i int) *plan.ColumnRef {
	return &plan.ColumnRef{Index: i, Type: t, Name: fmt.Sprint("c", i)}
}

func lit(v any, t manifest.Type) *plan.Literal { return &plan.Literal{Value: v, Type: t} }

func outCols(types ...manifest.Type) []plan.Column {
	out := make([]plan.Column, len(types))
	for i, t := range types {
		out[i] = plan.Column{Name: fmt.Sprint("o", i), Type: t, Nullable: true}
	}
	return out
}

// eachSeed runs a test on random data a few times, with one worker and with several.
func eachSeed(t *testing.T, n int, f func(t *testing.T, w *world, workers int)) {
	t.Helper()
	r, _ := testkit.Rand(t)
	for i := range n {
		alloc := testkit.Alloc(t)
		f(t, newWorld(t, alloc, r), 1+i%4)
	}
}

func newAlloc(tb testing.TB) memory.Allocator { return testkit.Alloc(tb) }

func newRand(tb testing.TB) *rand.Rand {
	r, _ := testkit.Rand(tb)
	return r
}

// sqlState is the SQLSTATE of an error, "" for none.
func sqlState(err error) string {
	var sql *fault.SQL
	if errors.As(err, &sql) {
		return sql.Code
	}
	return ""
}

func decimal128Of(x int64) decimal128.Num { return decimal128.FromI64(x) }

func decimal64(x int64) decimal.Decimal64 { return decimal.Decimal64(x) }
