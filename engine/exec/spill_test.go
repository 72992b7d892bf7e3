package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestBlocks writes rows of every type as blocks and reads them.
func TestBlocks(t *testing.T) {
	eachSeed(t, 20, func(t *testing.T, w *world, _ int) {
		types := append([]manifest.Type{{Kind: manifest.Null}}, allKeyType...)
		rows := w.randomRows(types[1:], 1+w.rand.IntN(500), 5, w.rand.IntN(3))
		disk := &memoryDisk{}
		x := newExecution(context.Background(), &Env{Spill: disk.create, MemoryBytes: 1 << 20})
		defer x.close()
		file, err := x.spillFile(&opInfo{})
		if err != nil {
			t.Fatal(err)
		}
		c := &chunk{rows: len(rows), cols: make([]expr.Vector, len(types))}
		for i, typ := range types {
			values := make([]any, len(rows))
			for r := range rows {
				if i > 0 {
					values[r] = rows[r][i-1]
				}
			}
			v, err := expr.NewVector(values, typ)
			if err != nil {
				t.Fatal(err)
			}
			reset(&c.cols[i], typ)
			if err := appendRows(&c.cols[i], v, nil, len(rows)); err != nil {
				t.Fatal(err)
			}
		}
		blocks, err := file.writeAll(nil, c.batch(nil).Vectors, c.rows, 1+int64(w.rand.IntN(20_000)))
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, b := range blocks {
			got, err := b.read(types)
			if err != nil {
				t.Fatal(err)
			}
			for r := range got.rows {
				for i := range types {
					x, y := c.cols[i].Value(at+r), got.cols[i].Value(r)
					if types[i].Kind == manifest.Null {
						continue
					}
					if fmt.Sprint(x) != fmt.Sprint(y) {
						t.Fatalf("row %d of column %s: %v, want %v", at+r, types[i], y, x)
					}
				}
			}
			at += got.rows
		}
		if at != len(rows) {
			t.Errorf("read %d rows, want %d", at, len(rows))
		}
		cut := blocks[0]
		cut.bytes -= 8
		if _, err := cut.read(types); !errors.Is(err, fault.ErrCorrupt) {
			t.Errorf("a block that is too short: %v, want an error of kind ErrCorrupt", err)
		}
	})
}

// TestSpillingSort sorts in little memory, merging several times, and compares the order.
func TestSpillingSort(t *testing.T) {
	defer goleak.VerifyNone(t)
	eachSeed(t, 6, func(t *testing.T, w *world, workers int) {
		types := append([]manifest.Type{bigintType, textType}, w.someTypes(1)...)
		rows := w.randomRows(types, 40_000, 1<<40, w.rand.IntN(2))
		in := w.add(types, rows)
		keys := w.keys(types, 1+w.rand.IntN(3))
		var n plan.Node = &plan.Sort{Input: in.scan(), Keys: keys}
		if w.rand.IntN(2) == 0 {
			n = &plan.Limit{Input: n, Count: lit(int64(20_000), bigintType), Skip: lit(int64(3), bigintType)}
		}
		disk := &memoryDisk{}
		env := w.env(workers)
		env.MemoryBytes, env.Spill = 2<<20, disk.create
		plain, err := w.try(n, w.env(1))
		if err != nil {
			t.Fatal(err)
		}
		q, err := Build(context.Background(), n, env)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if text := q.Explain(ExplainOptions{Analyze: true}); !strings.Contains(text, " spilled=") {
			t.Errorf("EXPLAIN ANALYZE does not say that the sort spilled:\n%s", text)
		}
		q.Close()
		if len(got) != len(plain) {
			t.Fatalf("%d rows, want %d", len(got), len(plain))
		}
		for i := range got {
			for k := range keys {
				c := keys[k].Expr.(*plan.ColumnRef).Index
				if show(got[i][c]) != show(plain[i][c]) {
					t.Fatalf("row %d: %s, want %s", i, showRow(got[i]), showRow(plain[i]))
				}
			}
		}
		if disk.open.Load() != 0 {
			t.Errorf("%d files are open", disk.open.Load())
		}
	})
}

// spillingPlans are plans whose operators spill when memory is short, over many rows.
func spillingPlans(t *testing.T, rows int64) map[string]plan.Node {
	types := []manifest.Type{bigintType, textType}
	big := func() plan.Node {
		return &plan.Project{Input: &plan.TableFunc{Name: "range", Args: []plan.Expr{lit(rows, bigintType)},
			Cols: outCols(bigintType)},
			Exprs: []plan.Expr{col(bigintType, 0), lit("a string that is too long to be kept in place", textType)},
			Cols:  outCols(types...)}
	}
	key := []plan.SortKey{{Expr: col(bigintType, 0), Desc: true}}
	join := func(kind plan.JoinKind, width int) plan.Node {
		key := []plan.Expr{col(bigintType, 0)}
		cols := outCols(bigintType, textType, bigintType, textType)
		return &plan.Join{Kind: kind, LeftSide: big(), RightSide: big(), LeftKeys: key, RightKeys: key, Cols: cols[:width]}
	}
	return map[string]plan.Node{
		"the window": &plan.Window{Input: big(), Calls: []plan.WindowCall{{Name: "row_number", Type: bigintType,
			Partition: []plan.Expr{col(bigintType, 0)}}}, Cols: outCols(bigintType, textType, bigintType)},
		"the common table expression": &plan.CTE{ID: 1, Name: "c", Body: big(), Input: &plan.Join{Kind: plan.Semi,
			LeftSide:  &plan.CTERef{ID: 1, Name: "c", Cols: outCols(types...)},
			RightSide: &plan.CTERef{ID: 1, Name: "c", Cols: outCols(types...)},
			LeftKeys:  []plan.Expr{col(bigintType, 0)}, RightKeys: []plan.Expr{col(bigintType, 0)},
			Cols: outCols(types...)}},
		"the join":      join(plan.Inner, 4),
		"the full join": join(plan.Full, 4),
		"the semi join": join(plan.Semi, 2),
		"the sort":      &plan.Sort{Input: big(), Keys: key},
		"the aggregate": aggregateNode(big(), []plan.Agg{call(t, "count")}, types, []int{0, 1}),
		"the list": aggregateNode(big(), []plan.Agg{call(t, "array_agg", col(textType, 1)),
			call(t, "sum", col(bigintType, 0))}, types, []int{0}),
	}
}

// TestFullDisk fills the disk while operators spill: a clean error, and everything is given back.
func TestFullDisk(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	for name, n := range spillingPlans(t, 500_000) {
		disk := &memoryDisk{fullAt: 4 << 20}
		env := w.env(2)
		server := NewBudget("server", 1<<30, nil)
		env.MemoryBytes, env.Spill, env.Server = 8<<20, disk.create, server
		_, err := w.try(n, env)
		if sqlState(err) != "53100" {
			t.Errorf("%s: %v, want SQLSTATE 53100", name, err)
		}
		if disk.open.Load() != 0 || server.Used() != 0 {
			t.Errorf("%s: %d files are open and %d bytes are held", name, disk.open.Load(), server.Used())
		}
	}
}

// TestSpillingKeepsTheLimit runs operators over more rows than memory holds: all rows come, and the peak stays near the
// limit.
func TestSpillingKeepsTheLimit(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	const rows, limit = 700_000, 16 << 20
	for name, n := range spillingPlans(t, rows) {
		disk := &memoryDisk{}
		env := w.env(2)
		server := NewBudget("server", 1<<30, nil)
		env.MemoryBytes, env.Spill, env.Server = limit, disk.create, server
		q, err := Build(context.Background(), n, env)
		if err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		for {
			b, err := q.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			got += b.NumRows()
			b.Release()
		}
		q.Close()
		if got != rows {
			t.Errorf("%s: %d rows, want %d", name, got, rows)
		}
		if disk.written.Load() < rows*8 {
			t.Errorf("%s: %d bytes were written, want most of the rows", name, disk.written.Load())
		}
		if peak := server.Peak(); peak > limit+limit/2 {
			t.Errorf("%s: held up to %d bytes with a limit of %d", name, peak, limit)
		}
		if disk.open.Load() != 0 || server.Used() != 0 {
			t.Errorf("%s: %d files are open and %d bytes are held", name, disk.open.Load(), server.Used())
		}
	}
}

// TestCancelWhileSpilling cancels at random moments: the query ends at once and gives everything back.
func TestCancelWhileSpilling(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	for name, n := range spillingPlans(t, 2_000_000) {
		for range 6 {
			disk := &memoryDisk{}
			env := w.env(2)
			server := NewBudget("server", 1<<30, nil)
			env.MemoryBytes, env.Spill, env.Server = 8<<20, disk.create, server
			ctx, cancel := context.WithCancel(context.Background())
			q, err := Build(ctx, n, env)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Duration(w.rand.IntN(300))*time.Millisecond, cancel)
			for {
				b, err := q.Next(ctx)
				if err != nil {
					break
				}
				b.Release()
			}
			start := time.Now()
			q.Close()
			// The bound is 50 ms on a quiet machine.
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s: a cancelled query took %v to end", name, took)
			} else if took > 50*time.Millisecond {
				t.Logf("%s: a cancelled query took %v to end", name, took)
			}
			if disk.open.Load() != 0 || server.Used() != 0 {
				t.Errorf("%s: %d files are open and %d bytes are held", name, disk.open.Load(), server.Used())
			}
			cancel()
		}
	}
}

// TestQueriesShareMemory runs several queries at once of which each could fill the server's memory: all spill, none
// fails.
func TestQueriesShareMemory(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	const rows, limit = 300_000, 32 << 20
	server := NewBudget("server", limit, nil)
	disk := &memoryDisk{}
	plans := spillingPlans(t, rows)
	var wait sync.WaitGroup
	for _, name := range []string{"the sort", "the aggregate", "the join", "the semi join", "the window", "the sort"} {
		wait.Go(func() {
			env := w.env(2)
			env.MemoryBytes, env.Spill, env.Server = limit, disk.create, server
			got, err := w.try(plans[name], env)
			if err != nil || len(got) != rows {
				t.Errorf("%s: %d rows, want %d; %v", name, len(got), rows, err)
			}
		})
	}
	wait.Wait()
	if peak := server.Peak(); peak > limit+limit/2 {
		t.Errorf("all together held up to %d bytes with a limit of %d", peak, limit)
	}
	if disk.written.Load() == 0 || disk.open.Load() != 0 || server.Used() != 0 {
		t.Errorf("%d bytes written, %d files open, %d bytes held", disk.written.Load(), disk.open.Load(), server.Used())
	}
}
