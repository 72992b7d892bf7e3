package tablet_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"testing"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// prepared is a tablet with something of everything: cold rows with and without marks, hot rows, hot marks of both, a
// big commit.
func prepared(t *testing.T, r *rig, id manifest.TableID) *subject {
	s := r.subject(id, true, 0)
	s.commit(model.Write{Insert: []model.Row{{int64(1), "a"}, {int64(2), "b"}, {int64(3), nil}}}, false)
	if err := s.store.Flush(context.Background(), s.tablet); err != nil {
		t.Fatal(err)
	}
	s.commit(model.Write{Insert: []model.Row{{int64(2), "c"}, {int64(4), "d"}}, Policy: model.Replace}, false)
	if err := s.store.Flush(context.Background(), s.tablet); err != nil {
		t.Fatal(err)
	}
	s.commit(model.Write{Insert: []model.Row{{int64(1), "e"}, {int64(4), "f"}, {int64(5), "g"}}, Policy: model.Replace},
		false)
	s.commit(model.Write{Insert: []model.Row{{int64(5), "h"}, {int64(6), "i"}, {int64(6), "j"}, {int64(7), ""}},
		Policy: model.Replace}, true)
	s.commit(model.Write{Insert: []model.Row{{int64(7), "k"}}, Policy: model.Replace}, false)
	return s
}

// upkeeps are the jobs that must be safe to stop at every step.
func upkeeps() map[string]func(context.Context, *subject) error {
	return map[string]func(context.Context, *subject) error{
		"flush": func(ctx context.Context, s *subject) error { return s.store.Flush(ctx, s.tablet) },
		"compact": func(ctx context.Context, s *subject) error {
			_, err := s.store.Compact(ctx, s.tablet, tablet.CompactOptions{})
			return err
		},
		"purge": func(ctx context.Context, s *subject) error {
			_, err := s.store.Compact(ctx, s.tablet, tablet.CompactOptions{Purge: true})
			return err
		},
		"big commit": func(ctx context.Context, s *subject) error {
			w, release := s.write(model.Write{Insert: []model.Row{{int64(50), "z"}, {int64(51), "z"}}}, true)
			defer release()
			_, _, err := s.store.Commit(ctx, []tablet.Write{w}, tablet.CommitOptions{})
			return err
		},
	}
}

// TestCrash stops every job at every one of its writes, before and after it took effect, with and without a power cut:
// no row is lost, none comes twice, and the job can be repeated.
func TestCrash(t *testing.T) {
	rng, _ := testkit.Rand(t)
	for name, job := range upkeeps() {
		for _, outcome := range []blob.Outcome{blob.FailBefore, blob.FailAfter} {
			for _, cut := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/outcome=%d/cut=%t", name, outcome, cut), func(t *testing.T) {
					r, steps := newRig(t, rng.Uint64()), 0
					for n := 1; ; n++ {
						s := prepared(t, r, manifest.TableID(n))
						if !crashAt(s, job, n, outcome, cut) {
							break
						}
						before := s.model.Head
						if name == "big commit" {
							before = int64(s.log.Head()) // it may be there, whole, or not at all
							s.adopt()
						}
						if before > 0 {
							s.forget(true, 0)
						}
						s.check(rng)
						s.commit(model.Write{Insert: []model.Row{{int64(2), "x"}, {int64(60), "y"}}, Policy: model.Replace}, false)
						if err := job(context.Background(), s); err != nil && !errors.Is(err, fault.ErrExists) {
							t.Fatalf("again: %v", err)
						} else if err == nil && name == "big commit" {
							s.adopt()
						}
						s.forget(true, s.model.Oldest)
						s.check(rng)
						steps = n
					}
					if steps < 3 {
						t.Fatalf("the job has %d writes", steps)
					}
					r.wantNoOrphans()
				})
			}
		}
	}
}

// crashAt runs the job with its n-th write failing, and all later ones if the power is cut then. It tells whether there
// was one.
func crashAt(s *subject, job func(context.Context, *subject) error, n int, outcome blob.Outcome, cut bool) bool {
	s.Helper()
	count := 0
	s.bucket.Fail(func(blob.Operation) blob.Outcome {
		switch count++; {
		case count == n:
			return outcome
		case count > n && cut:
			return blob.FailBefore
		}
		return blob.Succeed
	})
	err := job(context.Background(), s)
	s.bucket.Fail(nil)
	if count < n {
		if err != nil {
			s.Fatalf("nothing failed, and the job did: %v", err)
		}
		return false
	}
	if cut {
		s.crash(s.bucket.Clone())
	}
	return true
}

// adopt tells the model of the newest commit if it is the big one of upkeeps.
func (s *subject) adopt() {
	s.Helper()
	s.ids[model.ID{Seq: int64(s.log.Head()), Ord: 0}] = model.ID{Seq: int64(s.log.Head()), Ord: 0}
	s.ids[model.ID{Seq: int64(s.log.Head()), Ord: 1}] = model.ID{Seq: int64(s.log.Head()), Ord: 1}
	changed, err := s.changes(manifest.Seq(s.model.Head), 0)
	if err != nil {
		s.Fatalf("changes: %v", err)
	}
	if len(changed) > 0 {
		e, err := s.model.Resolve(model.Write{Insert: []model.Row{{int64(50), "z"}, {int64(51), "z"}}})
		if err != nil {
			s.Fatalf("a big commit came twice: %v", err)
		}
		s.model.Commit(int64(s.log.Head()), e)
	}
}

// wantNoOrphans opens the store again and checks that every file is named by a manifest or by the log.
func (r *rig) wantNoOrphans() {
	r.Helper()
	r.reopen()
	ctx := context.Background()
	named := map[manifest.SegmentID]bool{}
	r.store.Hot(func(id manifest.TabletID, _ tablet.HotStats) bool {
		tail, err := r.log.Scan(ctx, id, 0, 0)
		if err != nil {
			r.Fatal(err)
		}
		for _, g := range tail.Segments {
			named[g.ID] = true
		}
		tail.Release()
		return true
	})
	err := r.bucket.List(ctx, "", func(e blob.Entry) error {
		if body, _, err := r.bucket.Get(ctx, e.Name); err == nil {
			if m, err := manifest.Decode(body); err == nil {
				for _, g := range m.Segments {
					named[g.ID] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	files := 0
	err = r.bucket.List(ctx, "", func(e blob.Entry) error {
		if id, _, ok := manifest.ParseFile(path.Base(e.Name)); ok {
			files++
			if !named[id] {
				r.Errorf("%s is an orphan", e.Name)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		r.Fatalf("%d files: %v", files, err)
	}
}

// TestMarksMeanwhile ends rows that a flush or a compaction is moving, after it has begun to write their marks.
func TestMarksMeanwhile(t *testing.T) {
	rng, _ := testkit.Rand(t)
	ctx := context.Background()
	for _, name := range []string{"flush", "compact"} {
		for _, at := range []string{".parquet", ".dv"} {
			t.Run(name+at, func(t *testing.T) {
				s := newRig(t, 1).subject(1, false, manifest.DefaultRetention)
				for i := range 2 {
					s.commit(model.Write{Insert: []model.Row{{int64(i), "a"}, {int64(i), "b"}, {int64(i), "c"}}}, false)
					s.flush()
				}
				s.commit(model.Write{Insert: []model.Row{{int64(7), "a"}, {int64(7), "b"}, {int64(7), "c"}}}, false)
				versions := s.model.Versions()
				s.commit(model.Write{Deleted: []model.ID{versions[0].ID, versions[6].ID}}, false)
				s.look()
				// The last one is enough of a race: the bucket may not be called from here, so that rows with mark files are out of
				// reach.
				meanwhile := model.Write{Deleted: []model.ID{versions[1].ID, versions[4].ID, versions[7].ID}}
				write, release := s.write(meanwhile, false)
				defer release()
				effect, err := s.model.Resolve(meanwhile)
				if err != nil {
					t.Fatal(err)
				}
				once := false
				s.bucket.Fail(func(op blob.Operation) blob.Outcome {
					if once || path.Ext(op.Name) != at || op.Kind != "create" {
						return blob.Succeed
					}
					once = true
					seq, _, err := s.store.Commit(ctx, []tablet.Write{write}, tablet.CommitOptions{})
					if err != nil {
						t.Errorf("commit beside a %s: %v", name, err)
					}
					s.committed(seq, effect, false)
					return blob.Succeed
				})
				err = upkeeps()[name](ctx, s)
				s.bucket.Fail(nil)
				if err != nil || !once {
					t.Fatalf("%s: %v", name, err)
				}
				s.check(rng)
				s.flush()
				s.reopen()
				s.check(rng)
			})
		}
	}
}
