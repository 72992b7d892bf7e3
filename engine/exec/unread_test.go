package exec

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestUnreadResultsKeepTheBudget: results that nobody reads hold no more than the server's budget, whoever finds no
// room fails and says so, and a result that is read on has all of its rows.
func TestUnreadResultsKeepTheBudget(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, newAlloc(t), newRand(t))
	const rows, queries, budget = 500_000, 40, 8 << 20
	n := &plan.Project{Input: &plan.TableFunc{Name: "range", Args: []plan.Expr{lit(int64(rows), bigintType)},
		Cols: outCols(bigintType)},
		Exprs: []plan.Expr{col(bigintType, 0), lit("a text of some length, of which many make a batch", textType)},
		Cols:  outCols(bigintType, manifest.Type{Kind: manifest.Text})}
	server := NewBudget("server", budget, nil)
	var open []*Query
	for range queries {
		env := w.env(2)
		env.Server = server
		q, err := Build(t.Context(), n, env)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		b, err := q.Next(ctx)
		cancel()
		switch {
		case err == nil:
			b.Release()
		case !errors.Is(err, context.DeadlineExceeded):
			t.Fatal(err)
		}
		open = append(open, q)
	}
	time.Sleep(100 * time.Millisecond) // they make what they make
	if used := server.Used(); used > budget || used < budget/2 {
		t.Errorf("%d results that nobody reads hold %d bytes of %d", queries, used, budget)
	}
	whole, refused := 0, 0
	for _, q := range open { // one after the other: each makes room for the next
		read := int64(0)
		for {
			b, err := q.Next(t.Context())
			if err == nil {
				read += b.NumRows()
				b.Release()
				continue
			}
			switch {
			case errors.Is(err, io.EOF):
				whole++
			case errors.Is(err, fault.ErrExhausted) && sqlState(err) == "53200":
				refused++
			default:
				t.Errorf("a result ends with %v", err)
			}
			break
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if read > rows {
			t.Errorf("%d rows of %d", read, rows)
		}
	}
	if whole == 0 {
		t.Errorf("no result could be read to its end, %d were refused", refused)
	}
	if server.Used() != 0 {
		t.Errorf("closed results hold %d bytes", server.Used())
	}
}
