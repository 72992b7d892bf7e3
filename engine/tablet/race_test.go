package tablet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

const (
	accounts  = 16
	writers   = 4
	transfers = 60
)

// bank is a keyed table of accounts; every commit moves one unit from one account to another, so that the sum and the
// number of rows are the same at every Seq.
type bank struct{ *subject }

// balances reads the accounts: their rows and balances by account.
func (b bank) balances(o tablet.ReadOptions) (map[int64]manifest.RowRef, map[int64]int, manifest.Seq, error) {
	o.Columns = []manifest.ColumnID{1, 2, manifest.ColumnRow}
	snap, err := b.store.Read(context.Background(), b.tablet, o)
	if err != nil {
		return nil, nil, 0, err
	}
	defer snap.Close()
	refs, sums := map[int64]manifest.RowRef{}, map[int64]int{}
	for row := range b.rows(snap) {
		n := 0
		if _, err := fmt.Sscan(row[1].(string), &n); err != nil {
			return nil, nil, 0, err
		}
		k := row[0].(int64)
		if _, twice := sums[k]; twice {
			return nil, nil, 0, fmt.Errorf("account %d is there twice at %d", k, snap.Seq)
		}
		refs[k], sums[k] = snap.Ref(row[2].(int64)), n
	}
	return refs, sums, snap.Seq, nil
}

// sound checks what is the same at every Seq.
func sound(sums map[int64]int, seq manifest.Seq) error {
	total := 0
	for _, n := range sums {
		total += n
	}
	if len(sums) != accounts || total != 100*accounts {
		return fmt.Errorf("at %d there are %d accounts with %d", seq, len(sums), total)
	}
	return nil
}

// transfer moves one unit by reading two rows and replacing them; after a conflict once more, alone.
func (b bank) transfer(rng *rand.Rand) error {
	from, to := rng.Int64N(accounts), rng.Int64N(accounts-1)
	if to >= from {
		to++
	}
	if rng.IntN(3) == 0 {
		return b.upsert(from)
	}
	try := func(o tablet.CommitOptions) error {
		refs, sums, seq, err := b.balances(tablet.ReadOptions{Pending: o.Exclusive})
		if err != nil {
			return err
		}
		rows := b.batch([]model.Row{{from, fmt.Sprint(sums[from] - 1)}, {to, fmt.Sprint(sums[to] + 1)}}, "")
		defer rows.Release()
		_, _, err = b.store.Commit(context.Background(),
			[]tablet.Write{{Tablet: b.tablet, Replace: []manifest.RowRef{refs[from], refs[to]},
				ReplaceRows: rows, SameKeys: rng.IntN(2) == 0, AsOf: seq}}, o)
		return err
	}
	err := try(tablet.CommitOptions{})
	for range 100 {
		if !errors.Is(err, fault.ErrConflict) {
			return err
		}
		unlock, lockErr := b.store.Exclusive(context.Background(), b.tablet)
		if lockErr != nil {
			return lockErr
		}
		err = try(tablet.CommitOptions{Exclusive: true})
		unlock()
	}
	return fmt.Errorf("conflicts without end: %w", err)
}

// upsert inserts a row whose key is taken, and expects to be refused.
func (b bank) upsert(k int64) error {
	if err := b.put(tablet.Fail, model.Row{k, "0"}); !errors.Is(err, fault.ErrExists) {
		return fmt.Errorf("insert of account %d: %w", k, err)
	}
	return b.put(tablet.Nothing, model.Row{k, "0"})
}

// follow reads the change stream from a Seq and applies it to balances.
func (b bank) follow(after manifest.Seq, sums map[int64]int) (manifest.Seq, error) {
	c, err := b.store.Changes(context.Background(), b.tablet, after, 0, []manifest.ColumnID{1, 2})
	if err != nil {
		return after, err
	}
	defer c.Close()
	for {
		change, err := c.Next(context.Background())
		if err == io.EOF {
			return c.Through, nil
		}
		if err != nil {
			return after, err
		}
		if change.New == nil || change.Old != nil && change.Old.NumRows() != change.New.NumRows() {
			return after, fmt.Errorf("commit %d: %d new rows", change.Seq, change.New.NumRows())
		}
		for i := range int(change.New.NumRows()) {
			k := value(change.New.Column(0), i).(int64)
			if change.Old != nil {
				if old := value(change.Old.Column(0), int(change.Pairs[i])); old != k {
					return after, fmt.Errorf("commit %d: account %d replaces account %v", change.Seq, k, old)
				}
			}
			n := 0
			if _, err := fmt.Sscan(value(change.New.Column(1), i).(string), &n); err != nil {
				return after, err
			}
			sums[k] = n
		}
		if change.Complete {
			if err := sound(sums, change.Seq); err != nil {
				return after, fmt.Errorf("followed: %w", err)
			}
		}
		change.Release()
	}
}

// TestConcurrent: writers, readers, followers, flushes and compactions at the same time on one tablet. Every read and
// every followed commit shows the invariant.
func TestConcurrent(t *testing.T) {
	rng, _ := testkit.Rand(t)
	b := bank{newRig(t, rng.Uint64()).subject(1, true, 0)}
	var rows []model.Row
	for i := range accounts {
		rows = append(rows, model.Row{int64(i), "100"})
	}
	if err := b.put(tablet.Fail, rows...); err != nil {
		t.Fatal(err)
	}
	release := b.store.Pin(b.tablet, b.log.Head()-1)
	defer release()
	after, sums := b.log.Head()-1, map[int64]int{}
	var err error
	if after, err = b.follow(after, sums); err != nil {
		t.Fatal(err)
	}
	var busy, others sync.WaitGroup
	done := make(chan struct{})
	failed := make(chan error, 16)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	for range writers {
		r := rand.New(rand.NewPCG(rng.Uint64(), 0))
		busy.Go(func() {
			for range transfers {
				if err := b.transfer(r); err != nil {
					fail(fmt.Errorf("transfer: %w", err))
					return
				}
			}
		})
	}
	until := func(f func() error) {
		others.Go(func() {
			for {
				if err := f(); err != nil {
					fail(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	ctx := context.Background()
	until(func() error { return b.store.Flush(ctx, b.tablet) })
	until(func() error {
		_, err := b.store.Compact(ctx, b.tablet, tablet.CompactOptions{})
		return err
	})
	for range 2 {
		until(func() error {
			_, sums, seq, err := b.balances(tablet.ReadOptions{})
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			return sound(sums, seq)
		})
	}
	until(func() (err error) {
		after, err = b.follow(after, sums)
		return err
	})
	busy.Wait()
	close(done)
	others.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	st := b.store.Stats()
	if st.Flushes < 2 || st.Compactions < 2 || st.Commits < writers*transfers/3 {
		t.Errorf("stats are %+v: too little happened", st)
	}
	if st.Readers != 0 || st.Garbage != 0 {
		t.Errorf("stats are %+v: something is left", st)
	}
}
