package tablet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// kv is the state of a keyed tablet.
type kv map[int64]string

// drafting is a tablet with what was committed to it, and the transactions that are open.
type drafting struct {
	*subject
	rng *rand.Rand
	// at is the state by Seq of the commit that made it; changed is when a key was last written, and live whether it is.
	at      map[manifest.Seq]kv
	head    manifest.Seq
	changed map[int64]manifest.Seq
	open    []*draftCase
}

// draftCase is a transaction: what it should see, and the keys that it tried to write.
type draftCase struct {
	draft   *tablet.Draft
	unpin   func()
	asOf    manifest.Seq
	sees    kv
	touched map[int64]bool
	saved   []kv
	steps   []int
}

// rows reads what a draft, or nil, sees at a Seq, and where the rows are. Keys that are looked up must give the same.
func (d *drafting) rows(asOf manifest.Seq, own *tablet.Draft) (kv, map[int64]manifest.RowRef, error) {
	state, refs, err := d.read(tablet.ReadOptions{AsOf: asOf, Draft: own})
	if err != nil {
		return nil, nil, err
	}
	byKey := map[int64]string{}
	o := tablet.ReadOptions{AsOf: asOf, Draft: own, Keys: [][]byte{}}
	for k := range int64(keys) {
		if d.rng.IntN(3) > 0 {
			continue
		}
		if v, ok := state[k]; ok {
			byKey[k] = v
		}
		key, err := manifest.AppendKey(nil, d.tablet.Table.KeyTypes(), []any{k})
		if err != nil {
			return nil, nil, err
		}
		o.Keys = append(o.Keys, key)
	}
	found, foundRefs, err := d.read(o)
	if err != nil || !maps.Equal(found, byKey) {
		return nil, nil, fmt.Errorf("keys looked up as of %d give\n%v (%v), want\n%v", asOf, found, err, byKey)
	}
	for k, ref := range foundRefs {
		if ref != refs[k] {
			return nil, nil, fmt.Errorf("key %d is at %v when it is looked up, and at %v", k, ref, refs[k])
		}
	}
	return state, refs, nil
}

// read is what a read of the tablet gives, and where the rows are.
func (d *drafting) read(o tablet.ReadOptions) (kv, map[int64]manifest.RowRef, error) {
	o.Columns = []manifest.ColumnID{1, 2, manifest.ColumnSeq, manifest.ColumnRow}
	snap, err := d.store.Read(context.Background(), d.tablet, o)
	if err != nil {
		return nil, nil, err
	}
	defer snap.Close()
	state, refs := kv{}, map[int64]manifest.RowRef{}
	for _, m := range snap.Morsels() {
		err := m.Scan(context.Background(), func(rows arrow.RecordBatch, sel []uint16) error {
			if sel == nil {
				for i := range int(rows.NumRows()) {
					sel = append(sel, uint16(i))
				}
			}
			for _, i := range sel {
				k := rows.Column(0).(*array.Int64).Value(int(i))
				if _, twice := state[k]; twice {
					return fmt.Errorf("key %d is there twice", k)
				}
				state[k] = value(rows.Column(1), int(i)).(string)
				refs[k] = snap.Ref(value(rows.Column(3), int(i)).(int64))
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	if n, err := snap.Count(context.Background()); err != nil || n != int64(len(state)) {
		return nil, nil, fmt.Errorf("count is %d (%v) of %d rows", n, err, len(state))
	}
	return state, refs, nil
}

func (d *drafting) begin() {
	c := &draftCase{asOf: d.head, touched: map[int64]bool{}, sees: maps.Clone(d.at[d.head])}
	c.unpin = d.store.PinAll(c.asOf)
	var err error
	if c.draft, err = d.store.NewDraft(d.tablet, c.asOf); err != nil {
		d.Fatal(err)
	}
	d.open = append(d.open, c)
}

// end closes a transaction.
func (d *drafting) end(c *draftCase, kept bool) {
	c.draft.Close(kept)
	c.unpin()
	d.open = slices.DeleteFunc(d.open, func(o *draftCase) bool { return o == c })
}

// noted tells the model of a commit.
func (d *drafting) noted(seq manifest.Seq, next kv) {
	if seq == d.head {
		return
	}
	for k := range int64(keys) {
		a, had := d.at[d.head][k]
		b, has := next[k]
		if had != has || a != b {
			d.changed[k] = seq
		}
	}
	d.head, d.at[seq] = seq, next
}

const keys = 12

// write makes a random write against a state: some keys inserted or replaced, or rows changed by reference.
func (d *drafting) random(state kv, refs map[int64]manifest.RowRef) (w tablet.Write, next kv, touched []int64,
	exists bool) {
	next = maps.Clone(state)
	w = tablet.Write{Tablet: d.tablet}
	fresh := func() string { return fmt.Sprint("v", d.rng.IntN(1e6)) }
	switch d.rng.IntN(3) {
	case 0: // insert
		w.OnConflict = tablet.OnConflict(d.rng.IntN(3))
		var rows []model.Row
		seen := map[int64]bool{}
		for range 1 + d.rng.IntN(3) {
			k, v := d.rng.Int64N(keys), fresh()
			if seen[k] {
				continue
			}
			seen[k] = true
			rows, touched = append(rows, model.Row{k, v}), append(touched, k)
			_, taken := state[k]
			switch {
			case !taken || w.OnConflict == tablet.Replace:
				next[k] = v
			case w.OnConflict == tablet.Fail:
				exists = true
			}
		}
		pad := ""
		if d.rng.IntN(4) == 0 {
			pad = strings.Repeat("x", rigBigBytes)
		}
		w.Insert = d.batch(rows, pad)
	case 1: // update, sometimes of the key
		var rows []model.Row
		for k, ref := range refs {
			if d.rng.IntN(4) > 0 {
				continue
			}
			v := fresh()
			rows, touched = append(rows, model.Row{k, v}), append(touched, k)
			w.Replace, next[k] = append(w.Replace, ref), v
		}
		w.SameKeys = true
		if to := d.rng.Int64N(keys); len(rows) == 1 && d.rng.IntN(2) == 0 && !has(state, to) {
			w.SameKeys = false
			delete(next, rows[0][0].(int64))
			rows[0][0] = to
			next[to], touched = rows[0][1].(string), append(touched, to)
		}
		if len(rows) > 0 {
			w.ReplaceRows = d.batch(rows, "")
		}
	case 2: // delete
		for k, ref := range refs {
			if d.rng.IntN(4) == 0 {
				w.Delete, touched = append(w.Delete, ref), append(touched, k)
				delete(next, k)
			}
		}
	}
	return w, next, touched, exists
}

func has(state kv, k int64) bool { _, ok := state[k]; return ok }

func releaseWrite(w tablet.Write) {
	for _, rows := range []arrow.RecordBatch{w.Insert, w.ReplaceRows} {
		if rows != nil {
			rows.Release()
		}
	}
}

// raced tells whether another commit wrote one of the keys that the transaction tried to write.
func (d *drafting) raced(c *draftCase) bool {
	for k := range c.touched {
		if d.changed[k] > c.asOf {
			return true
		}
	}
	return false
}

// stage runs one statement of a transaction.
func (d *drafting) stage(c *draftCase) {
	state, refs, err := d.rows(c.asOf, c.draft)
	if err != nil {
		d.Fatalf("read a draft: %v", err)
	}
	if !maps.Equal(state, c.sees) {
		d.Fatalf("a transaction as of %d sees\n%v, want\n%v", c.asOf, state, c.sees)
	}
	w, next, touched, exists := d.random(state, refs)
	defer releaseWrite(w)
	for _, k := range touched {
		c.touched[k] = true
	}
	_, err = c.draft.Stage(context.Background(), w)
	switch {
	case errors.Is(err, fault.ErrConflict):
		if !d.raced(c) {
			d.Fatalf("a conflict of keys %v as of %d that nobody changed: %v", touched, c.asOf, err)
		}
		d.end(c, false)
	case exists != errors.Is(err, fault.ErrExists) || err != nil && !exists:
		d.Fatalf("stage: %v, want a taken key: %t", err, exists)
	case err == nil:
		c.sees = next
	}
}

// commit ends a transaction: it must succeed when no other commit changed what it changes, and must not when one did.
func (d *drafting) commit(c *draftCase) {
	before, now := d.at[c.asOf], d.at[d.head]
	next, lost := maps.Clone(now), false
	for k := range int64(keys) {
		a, had := before[k]
		b, has := c.sees[k]
		if had == has && a == b {
			continue
		}
		value, live := now[k]
		lost = lost || live != had || value != a
		if has {
			next[k] = b
		} else {
			delete(next, k)
		}
	}
	ctx := context.Background()
	exclusive := c.draft.Ends()
	unlock := func() {}
	if exclusive {
		var err error
		if unlock, err = d.store.Exclusive(ctx, d.tablet); err != nil {
			d.Fatal(err)
		}
	}
	seq, _, err := d.store.Commit(ctx, []tablet.Write{c.draft.Write()}, tablet.CommitOptions{Exclusive: exclusive})
	unlock()
	switch {
	case err == nil && lost:
		d.Fatalf("a transaction as of %d wrote over the changes of others: it saw %v, now there is %v", c.asOf, before, now)
	case err == nil:
		d.noted(seq, next)
	case !errors.Is(err, fault.ErrConflict) || !d.raced(c):
		d.Fatalf("commit as of %d of keys %v, changed %v: %v", c.asOf, c.touched, d.changed, err)
	}
	d.end(c, err == nil)
}

// autocommit is a statement on its own.
func (d *drafting) autocommit() {
	state, refs, err := d.rows(0, nil)
	if err != nil || !maps.Equal(state, d.at[d.head]) {
		d.Fatalf("the tablet has\n%v (%v), want\n%v", state, err, d.at[d.head])
	}
	w, next, _, exists := d.random(state, refs)
	defer releaseWrite(w)
	seq, _, err := d.store.Commit(context.Background(), []tablet.Write{w}, tablet.CommitOptions{})
	if exists != errors.Is(err, fault.ErrExists) || err != nil && !exists {
		d.Fatalf("commit: %v, want a taken key: %t", err, exists)
	}
	if err == nil {
		d.noted(seq, next)
	}
}

func (d *drafting) step() {
	var c *draftCase
	if len(d.open) > 0 {
		c = d.open[d.rng.IntN(len(d.open))]
	}
	switch n := d.rng.IntN(20); {
	case c == nil || n == 0 && len(d.open) < 4:
		d.begin()
	case n < 9:
		d.stage(c)
	case n < 11:
		d.commit(c)
	case n < 14:
		d.autocommit()
	case n == 14:
		c.saved, c.steps = append(c.saved, maps.Clone(c.sees)), append(c.steps, c.draft.Steps())
	case n == 15 && len(c.saved) > 0:
		i := d.rng.IntN(len(c.saved))
		c.draft.Rollback(c.steps[i])
		c.sees, c.saved, c.steps = maps.Clone(c.saved[i]), c.saved[:i+1], c.steps[:i+1]
	case n == 16:
		d.end(c, false)
	case n == 17:
		if err := d.store.Flush(context.Background(), d.tablet); err != nil {
			d.Fatal(err)
		}
	case n == 18:
		if _, err := d.store.Compact(context.Background(), d.tablet, tablet.CompactOptions{}); err != nil {
			d.Fatal(err)
		}
	}
}

// TestDrafts runs random transactions beside each other and beside plain commits, flushes and compactions: each sees
// its snapshot and its own writes and nothing else, the first committer wins, and nothing is lost.
func TestDrafts(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	rng, seed := testkit.Rand(t)
	for range rounds {
		r := newRig(t, seed)
		retention := time.Duration(rng.IntN(2)) * time.Hour
		d := &drafting{subject: r.subject(1, true, retention), rng: rng, at: map[manifest.Seq]kv{0: {}},
			changed: map[int64]manifest.Seq{}}
		for range 120 {
			d.step()
		}
		for len(d.open) > 0 {
			d.end(d.open[0], false)
		}
		r.reopen()
		d.autocommit()
		r.close()
	}
}
