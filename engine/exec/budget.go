package exec

import (
	"fmt"
	"sync/atomic"

	"kalamflight/internal/fault"
)

// Budget bounds the bytes that queries hold. A query's budget reports to the server's, so that both limits hold. It is
// safe for concurrent use.
type Budget struct {
	name   string
	limit  int64
	parent *Budget
	used   atomic.Int64
	peak   atomic.Int64
	// ending is that of the query whose budget this is, else nil.
	ending ending
}

// NewBudget makes a budget of limit bytes (0 or less: no limit) that takes what it gives from parent too; parent may be
// nil. The name stands in the error of whoever runs into the limit.
func NewBudget(name string, limit int64, parent *Budget) *Budget {
	return &Budget{name: name, limit: limit, parent: parent}
}

// Used is how many bytes are held now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Peak is the most that Used ever was.
func (b *Budget) Peak() int64 { return b.peak.Load() }

// Limit is the limit in bytes; 0 means none.
func (b *Budget) Limit() int64 { return max(b.limit, 0) }

// Reserve takes n bytes in the name of who, or nothing and an error of kind fault.ErrExhausted that names who and the
// limit.
func (b *Budget) Reserve(n int64, who string) error {
	used := b.used.Add(n)
	if b.limit > 0 && used > b.limit {
		b.used.Add(-n)
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "53200",
			Message: fmt.Sprintf("%s needs more than the %s limit of %s of memory", who, b.name, bytesText(b.limit)),
			Hint:    "select fewer rows or columns, or raise the limit"}
	}
	if b.parent != nil {
		if err := b.parent.Reserve(n, who); err != nil {
			b.used.Add(-n)
			return err
		}
	}
	for {
		peak := b.peak.Load()
		if used <= peak || b.peak.CompareAndSwap(peak, used) {
			return nil
		}
	}
}

// take is Reserve without a limit: for a step that makes it possible to give back more.
func (b *Budget) take(n int64) {
	for ; b != nil; b = b.parent {
		used := b.used.Add(n)
		for peak := b.peak.Load(); used > peak && !b.peak.CompareAndSwap(peak, used); peak = b.peak.Load() {
			continue
		}
	}
}

// tight tells whether n more bytes would leave less of the limit free, or of that of a parent, than a half (depth 0), a
// quarter (depth 1), an eighth and so on.
func (b *Budget) tight(n int64, depth uint) bool {
	for ; b != nil; b = b.parent {
		if b.limit > 0 && b.used.Load()+n > b.limit-b.limit>>(depth+1) {
			return true
		}
	}
	return false
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) {
	b.used.Add(-n)
	if b.parent != nil {
		b.parent.Release(n)
	}
}

// reserveStep is the least that an account takes from its budget at a time, so that small steps cost nothing.
const reserveStep = 64 << 10

// overdraftMax is by how much one step of an operator that spills may go over the limit.
const overdraftMax = 4 << 20

// account is what one operator in one worker holds of a budget; without a budget nothing is counted. It is for one
// goroutine.
type account struct {
	budget *Budget
	who    string
	held   int64
	// over is how large a step may be that does not fit.
	over int64
}

// hold makes the account hold at least n bytes; it only grows. It fails when the query has ended: whatever stores rows
// asks for memory batch by batch, and so ends early.
func (a *account) hold(n int64) error {
	if a.budget == nil {
		return nil
	}
	if err := a.budget.ending.err(); err != nil {
		return err
	}
	if n <= a.held {
		return nil
	}
	step := max(n-a.held, min(max(reserveStep, a.held/8), 16<<20))
	if err := a.budget.Reserve(step, a.who); err != nil {
		// The step is a convenience: what is really needed may still fit.
		step = n - a.held
		if err := a.budget.Reserve(step, a.who); err != nil {
			if step > a.over {
				return err
			}
			a.budget.take(step)
		}
	}
	a.held += step
	return nil
}

// shrink makes the account hold n bytes again, when it holds more.
func (a *account) shrink(n int64) {
	if a.held > n {
		a.budget.Release(a.held - n)
		a.held = n
	}
}

// free gives everything back.
func (a *account) free() {
	if a.held > 0 {
		a.budget.Release(a.held)
		a.held = 0
	}
}

// bytesText is n as people read it.
func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
