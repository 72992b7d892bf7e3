package exec

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"go.uber.org/goleak"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// endless is a morsel that never ends by itself.
type endless struct{ rows arrow.RecordBatch }

func (e endless) Scan(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(e.rows, nil); err != nil {
			return err
		}
	}
}

// broken is a morsel that fails, or panics.
type broken struct{ err error }

func (b broken) Scan(context.Context, func(arrow.RecordBatch, []uint16) error) error {
	if b.err == nil {
		panic("broken on purpose")
	}
	return b.err
}

// endlessTable is a table of four endless morsels.
func (w *world) endlessTable() *table {
	types := []manifest.Type{bigintType, textType}
	t := w.add(types, nil)
	for range 4 {
		// One batch each: Arrow's dictionaries must not be read by two goroutines for the first time.
		t.morsels = append(t.morsels, endless{w.record(types, w.randomRows(types, 5000, 1_000_000, 10))})
	}
	return t
}

func TestCancelEndsEveryOperator(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	in := w.endlessTable()
	types := in.types
	key := []plan.SortKey{{Expr: col(bigintType, 0)}}
	small := w.add(types, w.randomRows(types, 100, 9, 0))
	none := &plan.Compare{Op: plan.Eq, Left: col(bigintType, 0), Right: lit(int64(-77_000_000), bigintType)}
	for name, n := range map[string]plan.Node{
		"scan":      in.scan(),
		"filter":    &plan.Filter{Input: in.scan(), Where: none},
		"count":     aggregateNode(in.scan(), []plan.Agg{call(t, "count")}, types, nil),
		"aggregate": aggregateNode(in.scan(), []plan.Agg{call(t, "count")}, types, []int{0}),
		"top":       &plan.Limit{Input: &plan.Sort{Input: in.scan(), Keys: key}, Count: lit(int64(5), bigintType)},
		"build": &plan.Join{LeftSide: small.scan(), RightSide: aggregateNode(in.scan(), nil, types, []int{0, 1}),
			LeftKeys:  []plan.Expr{col(bigintType, 0)},
			RightKeys: []plan.Expr{col(bigintType, 0)}, Cols: outCols(append(slices.Clone(types), types...)...)},
		"probe": &plan.Join{Kind: plan.Anti, LeftSide: &plan.Filter{Input: in.scan(), Where: none}, RightSide: small.scan(),
			LeftKeys:  []plan.Expr{col(bigintType, 0)},
			RightKeys: []plan.Expr{col(bigintType, 0)}, Cols: outCols(types...)},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		q, err := Build(context.Background(), n, w.env(3))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for err == nil {
			var b arrow.RecordBatch
			if b, err = q.Next(ctx); err == nil {
				b.Release()
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Next gave %v, want the end of its ctx", name, err)
		}
		start := time.Now()
		if err := q.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// The bound is generous: the machine may be busy.
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: Close took %v", name, took)
		}
		if used := q.exec.budget.Used(); used != 0 {
			t.Errorf("%s: %d bytes are still held", name, used)
		}
		cancel()
	}
}

func TestBuildContextEndsTheQuery(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	why := errors.New("killed")
	ctx, cancel := context.WithCancelCause(context.Background())
	q, err := Build(ctx, w.endlessTable().scan(), w.env(2))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	cancel(why)
	for {
		b, err := q.Next(context.Background())
		if err == nil {
			b.Release()
			continue
		}
		if !errors.Is(err, why) {
			t.Errorf("Next gave %v, want the cause", err)
		}
		return
	}
}

func TestCloseWithoutReading(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	for _, read := range []int{0, 1} {
		q, err := Build(context.Background(), w.endlessTable().scan(), w.env(2))
		if err != nil {
			t.Fatal(err)
		}
		for range read {
			b, err := q.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			b.Release()
		}
		q.Close()
		q.Close()
		if _, err := q.Next(context.Background()); err == nil {
			t.Error("Next after Close gave a batch")
		}
	}
}

func TestFailuresOfScans(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	boom := errors.New("boom")
	for _, workers := range []int{1, 3} {
		for _, m := range []broken{{boom}, {}} {
			in := w.endlessTable()
			in.morsels = append(in.morsels[:1:1], m)
			if workers == 1 {
				in.morsels = []Morsel{m}
			}
			n := aggregateNode(in.scan(), []plan.Agg{call(t, "count")}, in.types, []int{1})
			_, err := w.try(n, w.env(workers))
			if m.err != nil && !errors.Is(err, boom) {
				t.Errorf("a failing scan gave %v", err)
			}
			if m.err == nil && (err == nil || !strings.Contains(err.Error(), "broken on purpose")) {
				t.Errorf("a panic in a scan gave %v", err)
			}
		}
	}
}

func TestSourcesAreClosedOnce(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType}
	in := w.add(types, w.randomRows(types, 10, 5, 0))
	closed := 0
	env := w.env(2)
	env.Scan = func(context.Context, *plan.Scan) (*Source, error) {
		return &Source{Morsels: in.morsels, Close: func() { closed++ }}, nil
	}
	ref := &plan.OuterRef{Depth: 1, Type: bigintType}
	right := &plan.Filter{Input: in.scan(), Where: &plan.Compare{Op: plan.Eq, Left: col(bigintType, 0), Right: ref}}
	n := &plan.Apply{Kind: plan.Semi, LeftSide: in.scan(), RightSide: right, Cols: outCols(types...)}
	if _, err := w.try(n, env); err != nil {
		t.Fatal(err)
	}
	if closed != 2 {
		t.Errorf("%d sources were closed, want 2", closed)
	}
	// A plan that does not compile closes what was opened before.
	closed = 0
	bad := &plan.SetOp{Kind: plan.Union, All: true, LeftSide: in.scan(), RightSide: &plan.TableFunc{Name: "nothing"},
		Cols: outCols(types...)}
	if _, err := Build(context.Background(), bad, env); err == nil || closed != 1 {
		t.Errorf("a bad plan gave %v and closed %d sources, want an error and 1", err, closed)
	}
}

func TestMemoryLimit(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType, textType}
	big := &plan.Project{Input: &plan.TableFunc{Name: "range", Args: []plan.Expr{lit(int64(2_000_000), bigintType)},
		Cols: outCols(bigintType)},
		Exprs: []plan.Expr{col(bigintType, 0), lit("a string that is too long to be kept in place", textType)},
		Cols:  outCols(types...)}
	key := []plan.SortKey{{Expr: col(bigintType, 0), Desc: true}}
	one := &plan.Values{Rows: [][]plan.Expr{{lit(int64(1), bigintType)}}, Cols: outCols(bigintType)}
	list := call(t, "array_agg", col(textType, 1))
	distinct := call(t, "count", col(bigintType, 0))
	distinct.Distinct, distinct.Where = true, lit(true, boolType)
	for name, n := range map[string]plan.Node{
		"the sort":      &plan.Sort{Input: big, Keys: key},
		"the aggregate": aggregateNode(big, []plan.Agg{call(t, "count")}, types, []int{0, 1}),
		"agg":           aggregateNode(big, []plan.Agg{list}, types, nil),
		"aggregate":     aggregateNode(big, []plan.Agg{distinct}, types, nil),
		"the join": &plan.Join{LeftSide: one, RightSide: big, LeftKeys: []plan.Expr{col(bigintType, 0)},
			RightKeys: []plan.Expr{col(bigintType, 0)},
			Cols:      outCols(bigintType, bigintType, textType)},
		"the window": &plan.Window{Input: big, Calls: []plan.WindowCall{{Name: "row_number", Type: bigintType}},
			Cols: outCols(bigintType, textType, bigintType)},
	} {
		env := w.env(2)
		server := NewBudget("server", 1<<30, nil)
		env.MemoryBytes, env.Server = 8<<20, server
		_, err := w.try(n, env)
		if !errors.Is(err, fault.ErrExhausted) || sqlState(err) != "53200" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want SQLSTATE 53200 naming it", name, err)
		}
		if server.Used() != 0 {
			t.Errorf("%s: the server budget still counts %d bytes", name, server.Used())
		}
		// The server's limit counts too, and is named.
		env = w.env(2)
		env.Server = NewBudget("server", 4<<20, nil)
		if _, err := w.try(n, env); err == nil || !strings.Contains(err.Error(), "server limit") {
			t.Errorf("%s: %v, want the server's limit", name, err)
		}
	}
}

func TestBatchBounds(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	wide := &plan.Project{Input: &plan.TableFunc{Name: "range", Args: []plan.Expr{lit(int64(20_000), bigintType)},
		Cols: outCols(bigintType)},
		Exprs: []plan.Expr{
			col(bigintType, 0),
			lit(strings.Repeat("x", 3000), textType),
		}, Cols: outCols(bigintType, textType)}
	for _, limits := range []struct {
		rows  int
		bytes int64
	}{{0, 0}, {100, 0}, {0, 50_000}, {0, 10}} {
		env := w.env(2)
		env.BatchRows, env.BatchBytes = limits.rows, limits.bytes
		q, err := Build(context.Background(), &plan.Limit{Input: wide, Count: lit(int64(9000), bigintType)}, env)
		if err != nil {
			t.Fatal(err)
		}
		rows := int64(0)
		for {
			b, err := q.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n := b.NumRows()
			if n == 0 || limits.rows > 0 && n > int64(limits.rows) {
				t.Errorf("a batch of %d rows with a limit of %d", n, limits.rows)
			}
			bytes := limits.bytes
			if bytes == 0 {
				bytes = 2 << 20
			}
			if n > 1 && n*3000 > bytes {
				t.Errorf("a batch of %d rows of 3 kB with a limit of %d bytes", n, limits.bytes)
			}
			rows += n
			b.Release()
		}
		if rows != 9000 {
			t.Errorf("limits %+v: %d rows, want 9000", limits, rows)
		}
		q.Close()
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType, textType}
	in := w.add(types, w.randomRows(types, 5000, 9, 0))
	scan := in.scan()
	scan.Filter = &plan.Compare{Op: plan.Gt, Left: col(bigintType, 0), Right: lit(int64(2), bigintType)}
	n := &plan.Limit{Input: &plan.Sort{Input: aggregateNode(scan, []plan.Agg{call(t, "count")}, types, []int{1}),
		Keys: []plan.SortKey{{Expr: col(bigintType, 1), Desc: true}}}, Count: lit(int64(3), bigintType)}
	env := w.env(2)
	env.Scan = func(context.Context, *plan.Scan) (*Source, error) {
		return &Source{Morsels: in.morsels,
			Stats: func() ScanStats { return ScanStats{HotRows: 12, SegmentsTotal: 3, SegmentsRead: 1} }}, nil
	}
	q, err := Build(context.Background(), n, env)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	text := q.Explain(ExplainOptions{})
	for _, part := range []string{"Top 3 after 0 by o0 desc", "  Aggregate count() by c1", "    Scan test." + in.name,
		"where (c0 > 2)", "hot rows=12 segments=1 of 3"} {
		if !strings.Contains(text, part) {
			t.Errorf("EXPLAIN lacks %q:\n%s", part, text)
		}
	}
	rows, err := readAll(context.Background(), q)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	var p profile
	if err := json.Unmarshal([]byte(q.Explain(ExplainOptions{Analyze: true, JSON: true})), &p); err != nil {
		t.Fatal(err)
	}
	if p.Operator != "Top" || *p.Rows != 3 || len(p.Inputs) != 1 || p.Inputs[0].Operator != "Aggregate" ||
		*p.Inputs[0].Inputs[0].Rows == 0 {
		t.Errorf("EXPLAIN ANALYZE says %+v", p)
	}
	if text := q.Explain(ExplainOptions{Analyze: true}); !strings.Contains(text, "rows=3 ") ||
		!strings.Contains(text, "Memory: ") {
		t.Errorf("EXPLAIN ANALYZE says\n%s", text)
	}
}

func TestTransform(t *testing.T) {
	eachSeed(t, 8, func(t *testing.T, w *world, _ int) {
		types := []manifest.Type{bigintType, textType, doubleType}
		rows := w.randomRows(types, 300, 40, 5)
		in := w.record(types, rows)
		where := &plan.Compare{Op: plan.Gt, Left: col(bigintType, 0), Right: lit(int64(4), bigintType)}
		tr, err := NewTransform(where, []plan.Expr{col(textType, 1), col(bigintType, 0)}, outCols(textType, bigintType),
			types, &expr.Env{}, w.alloc)
		if err != nil {
			t.Fatal(err)
		}
		for _, sel := range [][]uint16{nil, {}, {1, 5, 9, 200, 299}} {
			out, which, err := tr.Apply(in, sel)
			if err != nil {
				t.Fatal(err)
			}
			chosen, err := tr.Choose(in, sel)
			if err != nil || !slices.Equal(chosen, which) {
				t.Errorf("Choose gave %v, %v, Apply %v", chosen, err, which)
			}
			all := sel
			if sel == nil {
				all = identity(0, len(rows))
			}
			var want [][]any
			for _, r := range all {
				if x, ok := rows[r][0].(int64); ok && x > 4 {
					want = append(want, []any{rows[r][1], rows[r][0]})
				}
			}
			equalOrder(t, "transform", recordRows(out), want)
			out.Release()
		}
	})
}
