package model

import (
	"math/rand/v2"
	"slices"
)

// Action is one step of a random history.
type Action uint8

// The actions. All but Commit leave what can be read unchanged, but for Oldest.
const (
	// Commit runs Step.Write.
	Commit Action = iota
	// Big runs Step.Write, which inserts, the way of a commit too large for the log.
	Big
	// Flush moves hot rows to a segment.
	Flush
	// Compact merges segments and drops what is old enough.
	Compact
	// Purge compacts and drops all history.
	Purge
	// Reopen closes the store and opens it again.
	Reopen
	// AddColumn adds a nullable column.
	AddColumn
)

// Step is one action and, for commits, its write.
type Step struct {
	Action Action
	Write  Write
}

// Random makes steps that fit a tablet as it is: keys from a small range, so that they collide, are freed and taken
// again.
type Random struct {
	// Rand is the source; Tablet is what the steps are for.
	Rand   *rand.Rand
	Tablet *Tablet
	// Columns is how many columns the table has now; column 0 is a small int64, the others are strings or nil.
	Columns int
	// Keys is the number of different values of column 0.
	Keys int
	// RowsMax bounds the rows of one write.
	RowsMax int
	// MaxColumns ends AddColumn.
	MaxColumns int
}

// Next is the next step. One in ten writes may be refused: a stale version, a key that is taken.
func (r *Random) Next() Step {
	switch n := r.Rand.IntN(100); {
	case n < 8:
		return Step{Action: Flush}
	case n < 12:
		return Step{Action: Compact}
	case n < 13:
		return Step{Action: Purge}
	case n < 16:
		return Step{Action: Reopen}
	case n < 18 && r.Columns < r.MaxColumns:
		return Step{Action: AddColumn}
	case n < 22:
		w := Write{}
		if r.Rand.IntN(3) == 0 { // a large replacement
			w = r.update()
			w.Insert = nil
			return Step{Action: Big, Write: w}
		}
		if r.Rand.IntN(3) == 0 {
			w = r.update()
		}
		w.Insert, w.Policy = r.rows(3*r.RowsMax), r.policy()
		return Step{Action: Big, Write: w}
	case n < 55:
		return Step{Write: Write{Insert: r.rows(r.RowsMax), Policy: r.policy()}}
	}
	return Step{Write: r.update()}
}

func (r *Random) policy() Policy {
	if r.Rand.IntN(3) == 0 {
		return Fail
	}
	return Policy(1 + r.Rand.IntN(2))
}

func (r *Random) row() Row {
	row := make(Row, r.Columns)
	row[0] = int64(r.Rand.IntN(r.Keys))
	for i := 1; i < r.Columns; i++ {
		switch r.Rand.IntN(4) {
		case 0:
		case 1:
			row[i] = ""
		default:
			row[i] = string(rune('a' + r.Rand.IntN(26)))
		}
	}
	return row
}

func (r *Random) rows(most int) []Row {
	rows := make([]Row, 1+r.Rand.IntN(most))
	for i := range rows {
		rows[i] = r.row()
	}
	return rows
}

// update replaces and deletes some live versions; now and then one that has ended, or with a new key.
func (r *Random) update() Write {
	var w Write
	live := slices.Clone(r.Tablet.State(r.Tablet.Head))
	r.Rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	live = live[:min(len(live), 1+r.Rand.IntN(r.RowsMax))]
	for _, v := range live {
		switch r.Rand.IntN(3) {
		case 0:
			w.Deleted = append(w.Deleted, v.ID)
		default:
			row := r.row()
			if r.Rand.IntN(5) > 0 {
				row[0] = v.Row[0]
			}
			w.Replaced, w.Rows = append(w.Replaced, v.ID), append(w.Rows, row)
		}
	}
	if all := r.Tablet.Versions(); r.Rand.IntN(12) == 0 && len(all) > 0 {
		if v := all[r.Rand.IntN(len(all))]; !slices.Contains(w.Replaced, v.ID) && !slices.Contains(w.Deleted, v.ID) {
			w.Deleted = append(w.Deleted, v.ID)
		}
	}
	if r.Rand.IntN(4) == 0 {
		w.Insert = r.rows(2)
	}
	return w
}
