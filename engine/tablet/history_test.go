package tablet_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// check compares the tablet with its model: the state at every readable Seq, and what changed since each.
func (s *subject) check(rng *rand.Rand) {
	s.Helper()
	ctx := context.Background()
	oldest, err := s.store.Oldest(ctx, s.tablet)
	if err != nil {
		s.Fatalf("tablet %s: oldest: %v", s.tablet.ID(), err)
	}
	if int64(oldest) != s.model.Oldest {
		s.Fatalf("tablet %s: oldest is %d, want %d", s.tablet.ID(), oldest, s.model.Oldest)
	}
	n := len(s.columns())
	points := []int64{max(s.model.Oldest, 1), s.model.Head}
	for _, v := range s.model.Versions() {
		points = append(points, v.Seq, v.End)
	}
	slices.Sort(points)
	for _, at := range slices.Compact(points) {
		if at < 1 || at > s.model.Head {
			continue
		}
		rows, err := s.state(manifest.Seq(at))
		if at < s.model.Oldest {
			if !errors.Is(err, fault.ErrOutOfRange) {
				s.Fatalf("tablet %s: read at %d, before %d: %v", s.tablet.ID(), at, s.model.Oldest, err)
			}
			if _, err := s.changes(manifest.Seq(at), 0); !errors.Is(err, fault.ErrOutOfRange) {
				s.Fatalf("tablet %s: changes after %d, before %d: %v", s.tablet.ID(), at, s.model.Oldest, err)
			}
			continue
		}
		if err != nil {
			s.Fatalf("tablet %s: read at %d: %v", s.tablet.ID(), at, err)
		}
		got := []string{}
		for _, r := range rows {
			got = append(got, r.String())
		}
		if want := describe(s.model.State(at), n); !slices.Equal(got, want) {
			s.Fatalf("tablet %s: state at %d is\n%v, want\n%v", s.tablet.ID(), at, got, want)
		}
		if rng.IntN(4) == 0 {
			s.checkKeys(rng, manifest.Seq(at), rows)
		}
		through := s.model.Head
		if rng.IntN(3) == 0 {
			through = at + rng.Int64N(through-at+1)
		}
		changed, err := s.changes(manifest.Seq(at), manifest.Seq(through))
		if err != nil {
			s.Fatalf("tablet %s: changes (%d, %d]: %v", s.tablet.ID(), at, through, err)
		}
		if want := s.wantChanges(at, through); !slices.Equal(changed, want) {
			s.Fatalf("tablet %s: changes (%d, %d] are\n%v, want\n%v", s.tablet.ID(), at, through, changed, want)
		}
	}
}

// checkKeys looks rows up by their keys and compares them with the state at a Seq.
func (s *subject) checkKeys(rng *rand.Rand, at manifest.Seq, state []seen) {
	s.Helper()
	types := s.tablet.Table.TypesOf([]manifest.ColumnID{1, 2})
	for _, x := range s.tablet.Table.Keys() {
		column := int(x.Columns[0]) - 1
		values := map[any]bool{}
		o := tablet.ReadOptions{AsOf: at, Index: x.ID}
		for _, v := range s.model.Versions() {
			if v := v.Row[column]; v != nil && rng.IntN(4) == 0 {
				values[v] = true
				key, err := manifest.AppendKey(nil, types[column:column+1], []any{v})
				if err != nil {
					s.Fatal(err)
				}
				o.Keys = append(o.Keys, key)
			}
		}
		want := slices.DeleteFunc(slices.Clone(state), func(r seen) bool { return !values[r.row[column]] })
		if o.Keys == nil {
			continue
		}
		got, err := s.rowsOf(o)
		if err != nil {
			s.Fatalf("tablet %s: look up at %d: %v", s.tablet.ID(), at, err)
		}
		if !slices.EqualFunc(got, want, func(a, b seen) bool { return a.String() == b.String() && a.ref == b.ref }) {
			s.Fatalf("tablet %s: by index %d at %d: the rows are\n%v, want\n%v", s.tablet.ID(), x.ID, at, got, want)
		}
	}
}

// commit runs a write on the store and the model, and compares whether it is refused.
func (s *subject) commit(w model.Write, big bool) {
	s.Helper()
	s.look()
	effect, refused := s.model.Resolve(w)
	write, release := s.write(w, big)
	defer release()
	seq, _, err := s.store.Commit(context.Background(), []tablet.Write{write}, tablet.CommitOptions{})
	want := map[error]error{nil: nil, model.ErrExists: fault.ErrExists, model.ErrConflict: fault.ErrConflict}
	for reason, kind := range want {
		if errors.Is(refused, reason) && !errors.Is(err, kind) {
			s.Fatalf("tablet %s: write %+v: %v, want %v", s.tablet.ID(), w, err, refused)
		}
	}
	if refused == nil && !effect.Empty() {
		s.committed(seq, effect, big)
	}
}

// step runs one step of a history.
func (s *subject) step(step model.Step, g *model.Random) {
	s.Helper()
	ctx := context.Background()
	var err error
	switch step.Action {
	case model.Commit, model.Big:
		s.commit(step.Write, step.Action == model.Big)
	case model.Flush:
		err = s.store.Flush(ctx, s.tablet)
	case model.Compact, model.Purge:
		before := s.model.Oldest
		_, err = s.store.Compact(ctx, s.tablet,
			tablet.CompactOptions{Purge: step.Action == model.Purge, Pick: g.Rand.IntN(2) == 0})
		if err == nil {
			s.forget(step.Action == model.Purge, before)
		}
	case model.Reopen:
		s.reopen()
	case model.AddColumn:
		s.addColumn()
		g.Columns++
	}
	if err != nil {
		s.Fatalf("tablet %s: action %d: %v", s.tablet.ID(), step.Action, err)
	}
}

// forget tells the model what a compaction was allowed to take away, and checks that it took no more.
func (s *subject) forget(purge bool, before int64) {
	s.Helper()
	oldest, err := s.store.Oldest(context.Background(), s.tablet)
	if err != nil {
		s.Fatalf("oldest: %v", err)
	}
	most := before
	switch {
	case purge:
		most = int64(s.log.Head())
	case s.tablet.Table.Retention == 0:
		most = int64(s.log.Head())
		if s.pin > 0 {
			most = max(before, int64(s.pin))
		}
	}
	if o := int64(oldest); o < before || o > most {
		s.Fatalf("tablet %s: oldest is %d, want %d to %d", s.tablet.ID(), o, before, most)
	}
	s.model.Forget(int64(oldest))
}

// histories runs many tablets of one store side by side.
func histories(t *testing.T, rng *rand.Rand, seed uint64, tablets, steps int) {
	r := newRig(t, seed)
	subjects := make([]*subject, tablets)
	randoms := make([]*model.Random, tablets)
	for i := range subjects {
		retention := manifest.DefaultRetention
		if rng.IntN(2) == 0 {
			retention = 0
		}
		subjects[i] = r.subject(manifest.TableID(i+1), rng.IntN(4) > 0, retention)
		randoms[i] = &model.Random{Rand: rng, Tablet: subjects[i].model, Columns: 2, Keys: 12, RowsMax: 4, MaxColumns: 4}
	}
	reopened := 0
	for range steps * tablets {
		i := rng.IntN(tablets)
		s := subjects[i]
		step := randoms[i].Next()
		if step.Action == model.Reopen {
			if reopened++; reopened > 3 { // it reopens all of them
				continue
			}
			for _, o := range subjects {
				o.pin = 0
			}
		}
		if s.pin == 0 && s.model.Head > 0 && rng.IntN(30) == 0 {
			s.pin = manifest.Seq(s.model.Head)
			r.store.Pin(s.tablet, s.pin)
		}
		s.step(step, randoms[i])
		if rng.IntN(40) == 0 {
			s.check(rng)
		}
	}
	for _, s := range subjects {
		s.check(rng)
	}
}

// TestHistories: over random histories, the store says what the model says at every Seq. With -short, as the race
// detector runs it, there are 100 histories instead of 1,000.
func TestHistories(t *testing.T) {
	rng, _ := testkit.Rand(t)
	begun := time.Now()
	rounds := 10
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		histories(t, rng, rng.Uint64(), 100, 25)
	}
	t.Logf("%d histories in %v", 100*rounds, time.Since(begun))
}
