// Package model is the history of one tablet in the simplest form that can be right: every row version in a slice,
// nothing hot or cold, nothing flushed. It says what a write must do, what the state is at every Seq and what changed
// since every Seq, and so is the oracle of the tests of storage and of subscriptions. It stores nothing and imports no
// other room.
package model

import (
	"errors"
	"fmt"
	"slices"
)

// The ways in which a write is refused.
var (
	// ErrExists: a row with this key lives already.
	ErrExists = errors.New("key exists")
	// ErrConflict: a row version that the write replaces or deletes has ended.
	ErrConflict = errors.New("row version has ended")
)

// ID names a row version: the commit that wrote it and its ordinal there.
type ID struct {
	Seq int64
	Ord int32
}

// Compare orders ids as they were written.
func (a ID) Compare(b ID) int {
	switch {
	case a.Seq != b.Seq && a.Seq < b.Seq, a.Seq == b.Seq && a.Ord < b.Ord:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Row is the values of a row by column; a row that is shorter than the table has NULL in the columns added later.
type Row []any

// Version is one row version. End is the Seq of the commit that ended it, 0 while it lives; By is the ordinal of its
// replacement in that commit, -1 when it was deleted.
type Version struct {
	ID
	Row Row
	End int64
	By  int32
}

// Policy says what an inserted row does whose key is taken.
type Policy uint8

// The policies.
const (
	Fail Policy = iota
	Nothing
	Replace
)

// Write is one commit's work. Replaced and its Rows are parallel.
type Write struct {
	Insert   []Row
	Policy   Policy
	Replaced []ID
	Rows     []Row
	Deleted  []ID
}

// Effect is what a write does once its keys are resolved: the new rows in ordinal order, and the ends.
type Effect struct {
	Rows []Row
	// From says which row of Write.Insert each row is, -1 for one of Write.Rows.
	From []int
	Ends []End
}

// Empty tells that nothing is to be committed.
func (e Effect) Empty() bool { return len(e.Rows) == 0 && len(e.Ends) == 0 }

// End ends a version: By is an index into Effect.Rows, or -1.
type End struct {
	Target ID
	By     int32
}

// Change is one changed row of a commit: New alone is an insert, Old alone a delete, both are a replacement.
type Change struct {
	Seq      int64
	New, Old *Version
}

// Tablet is the whole history of one tablet. It is for one goroutine.
type Tablet struct {
	// Key are the columns of the primary key; empty for none.
	Key []int
	// Head is the newest commit, Oldest the oldest Seq that can still be asked for.
	Head, Oldest int64

	versions []*Version
	live     map[string]*Version
	byID     map[ID]*Version
}

// New is an empty tablet with these key columns.
func New(key ...int) *Tablet {
	return &Tablet{Key: key, live: map[string]*Version{}, byID: map[ID]*Version{}}
}

func (t *Tablet) key(r Row) string {
	var s string
	for _, c := range t.Key {
		s += fmt.Sprintf("%T:%v|", r[c], r[c])
	}
	return s
}

// Resolve says what the write would do now, or why it is refused; it changes nothing.
func (t *Tablet) Resolve(w Write) (Effect, error) {
	if len(w.Replaced) != len(w.Rows) {
		return Effect{}, fmt.Errorf("%d versions are replaced by %d rows", len(w.Replaced), len(w.Rows))
	}
	ended := map[ID]bool{}
	for _, id := range slices.Concat(w.Replaced, w.Deleted) {
		v := t.byID[id]
		if v == nil || v.End != 0 || ended[id] {
			return Effect{}, ErrConflict
		}
		ended[id] = true
	}
	taken := func(r Row) *Version {
		if v := t.live[t.key(r)]; v != nil && !ended[v.ID] {
			return v
		}
		return nil
	}
	var e Effect
	mine := map[string]int{}
	last := w.last(t)
	for i, r := range w.Insert {
		if len(t.Key) == 0 {
			e.Rows, e.From = append(e.Rows, r), append(e.From, i)
			continue
		}
		if w.Policy == Replace && last[t.key(r)] != i {
			continue
		}
		v := taken(r)
		_, twice := mine[t.key(r)]
		switch {
		case (v != nil || twice) && w.Policy == Fail:
			return Effect{}, fmt.Errorf("row %d: %w", i, ErrExists)
		case (v != nil || twice) && w.Policy == Nothing:
			continue
		case v != nil:
			e.Ends = append(e.Ends, End{v.ID, int32(len(e.Rows))})
		}
		mine[t.key(r)] = len(e.Rows)
		e.Rows, e.From = append(e.Rows, r), append(e.From, i)
	}
	for i, r := range w.Rows {
		if len(t.Key) > 0 {
			if _, twice := mine[t.key(r)]; twice || taken(r) != nil {
				return Effect{}, fmt.Errorf("replacement %d: %w", i, ErrExists)
			}
			mine[t.key(r)] = len(e.Rows)
		}
		e.Ends = append(e.Ends, End{w.Replaced[i], int32(len(e.Rows))})
		e.Rows, e.From = append(e.Rows, r), append(e.From, -1)
	}
	for _, id := range w.Deleted {
		e.Ends = append(e.Ends, End{id, -1})
	}
	return e, nil
}

// last is the last row of the insert with each key: the one of an upsert that counts.
func (w Write) last(t *Tablet) map[string]int {
	last := map[string]int{}
	for i, r := range w.Insert {
		if len(t.Key) > 0 {
			last[t.key(r)] = i
		}
	}
	return last
}

// Commit applies an effect as the commit seq.
func (t *Tablet) Commit(seq int64, e Effect) {
	if seq <= t.Head {
		panic(fmt.Sprintf("bug: commit %d after %d", seq, t.Head))
	}
	t.Head = seq
	for _, end := range e.Ends {
		v := t.byID[end.Target]
		v.End, v.By = seq, end.By
		if len(t.Key) > 0 && t.live[t.key(v.Row)] == v {
			delete(t.live, t.key(v.Row))
		}
	}
	for i, r := range e.Rows {
		v := &Version{ID: ID{seq, int32(i)}, Row: r, By: -1}
		t.versions = append(t.versions, v)
		t.byID[v.ID] = v
		if len(t.Key) > 0 {
			t.live[t.key(r)] = v
		}
	}
}

// Forget raises Oldest; a smaller one changes nothing.
func (t *Tablet) Forget(oldest int64) { t.Oldest = max(t.Oldest, oldest) }

// Versions are all row versions ever, in the order they were written.
func (t *Tablet) Versions() []*Version { return t.versions }

// State are the versions that live at seq, in the order they were written.
func (t *Tablet) State(seq int64) []*Version {
	var live []*Version
	for _, v := range t.versions {
		if v.Seq <= seq && (v.End == 0 || v.End > seq) {
			live = append(live, v)
		}
	}
	return live
}

// Changes are what commits with after < Seq <= through did: commit by commit, new rows by ordinal, then deleted ones as
// they were written.
func (t *Tablet) Changes(after, through int64) []Change {
	var changes []Change
	old := map[ID]*Version{}
	for _, v := range t.versions {
		if v.End > after && v.End <= through {
			if v.By >= 0 {
				old[ID{v.End, v.By}] = v
			} else {
				changes = append(changes, Change{Seq: v.End, Old: v})
			}
		}
	}
	for _, v := range t.versions {
		if v.Seq > after && v.Seq <= through {
			changes = append(changes, Change{Seq: v.Seq, New: v, Old: old[v.ID]})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		switch {
		case a.Seq != b.Seq:
			return ID{Seq: a.Seq}.Compare(ID{Seq: b.Seq})
		case (a.New == nil) != (b.New == nil):
			if a.New != nil {
				return -1
			}
			return 1
		case a.New != nil:
			return a.New.Compare(b.New.ID)
		}
		return a.Old.Compare(b.Old.ID)
	})
	return changes
}

// Fold applies changes to a state and returns the new one, in the order the versions were written.
func Fold(state []*Version, changes []Change) ([]*Version, error) {
	live := map[ID]*Version{}
	for _, v := range state {
		live[v.ID] = v
	}
	for _, c := range changes {
		if c.Old != nil {
			if live[c.Old.ID] == nil {
				return nil, fmt.Errorf("change at %d ends %v, which does not live", c.Seq, c.Old.ID)
			}
			delete(live, c.Old.ID)
		}
		if c.New != nil {
			if live[c.New.ID] != nil {
				return nil, fmt.Errorf("change at %d writes %v again", c.Seq, c.New.ID)
			}
			live[c.New.ID] = c.New
		}
	}
	folded := make([]*Version, 0, len(live))
	for _, v := range live {
		folded = append(folded, v)
	}
	slices.SortFunc(folded, func(a, b *Version) int { return a.Compare(b.ID) })
	return folded, nil
}
