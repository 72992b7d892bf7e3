package catalog_test

import (
	"context"
	"errors"
	"testing"

	"kalamflight/engine/catalog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestResolve ends what a crash left of a transaction's definitions: they are there if the log has its commit.
func TestResolve(t *testing.T) {
	for _, committed := range []bool{false, true} {
		ctx, meta := context.Background(), newMemory()
		c := open(t, meta)
		old, _, err := c.CreateTable(ctx, table("old"), false)
		if err != nil {
			t.Fatal(err)
		}
		d := c.NewDraft()
		if _, err := d.CreateNamespace(ctx, "n", false); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.CreateTable(ctx, table("new"), false); err != nil {
			t.Fatal(err)
		}
		if err := d.DropTable(ctx, old.ID); err != nil {
			t.Fatal(err)
		}
		id := [16]byte{1, 2, 3}
		if err := c.Prepare(ctx, d, id); err != nil {
			t.Fatal(err)
		}
		asked := false
		is := func(got [16]byte) bool { asked = true; return got == id && committed }
		if err := catalog.Resolve(ctx, meta, is); err != nil || !asked {
			t.Fatalf("resolve: %v, asked: %t", err, asked)
		}
		s := open(t, meta).Snapshot()
		_, space := s.Namespace("n")
		_, made := s.Table("default", "new")
		_, kept := s.Table("default", "old")
		if space != committed || made != committed || kept == committed || len(s.Dropped()) > 0 != committed {
			t.Errorf("committed %t: namespace %t, new table %t, old table %t, dropped %v", committed, space, made, kept,
				s.Dropped())
		}
		asked = false
		if err := catalog.Resolve(ctx, meta, is); err != nil || asked {
			t.Errorf("resolve once more: %v, asked: %t", err, asked)
		}
	}
}

// TestDraftsMeetOtherChanges changes the catalog below a draft: what fits goes on, what does not is a conflict.
func TestDraftsMeetOtherChanges(t *testing.T) {
	ctx := context.Background()
	c := open(t, newMemory())
	d := c.NewDraft()
	made, _, err := d.CreateTable(ctx, table("mine"), false)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := c.CreateTable(ctx, table("other"), false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mine", "other"} {
		if _, ok := s.Table("default", name); !ok {
			t.Errorf("the draft does not see table %s", name)
		}
	}
	if _, ok := c.Snapshot().Table("default", "mine"); ok || made.ID == other.ID {
		t.Errorf("others see the draft's table: %t; ids %d and %d", ok, made.ID, other.ID)
	}
	if s.Version() == c.Snapshot().Version() {
		t.Error("the draft has the version of the catalog")
	}
	before := d.Steps()
	if err := d.DropTable(ctx, other.ID); err != nil {
		t.Fatal(err)
	}
	rename := func(t *manifest.Table) error { t.Columns[0].Name = "b"; return nil }
	if _, err := c.ChangeTable(ctx, other.ID, rename); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Snapshot(); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("drop a table that was altered: %v", err)
	}
	d.Rollback(before)
	if _, err := d.Snapshot(); err != nil {
		t.Errorf("after a rollback: %v", err)
	}
	if _, _, err := c.CreateTable(ctx, table("MINE"), false); err != nil {
		t.Fatal(err)
	}
	if err := c.Prepare(ctx, d, [16]byte{1}); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("make a table that another made: %v", err)
	}
}
