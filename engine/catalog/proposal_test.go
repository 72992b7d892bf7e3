package catalog_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestProposals: a proposed definition is seen at once and durable only when it is accepted; one that is taken back
// leaves nothing but rules that nobody can take for the old ones.
func TestProposals(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c := open(t, m)
	made, _, err := c.CreateTable(ctx, table("t"), false)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *manifest.Table) error {
		t.Checks = append(t.Checks, manifest.Check{Name: "positive", Text: "id > 0"})
		return nil
	}
	now := func() *manifest.Table {
		t, _ := c.Snapshot().TableByID(made.ID)
		return t
	}
	durable := func() int {
		t, _ := open(t, m).Snapshot().TableByID(made.ID)
		return len(t.Checks)
	}

	p, err := c.Propose(made.ID, check)
	if err != nil {
		t.Fatal(err)
	}
	if len(now().Checks) != 1 || now().Rules == made.Rules || durable() != 0 {
		t.Errorf("proposed: %d checks, rules %d, %d durable", len(now().Checks), now().Rules, durable())
	}
	if p.Reject(); len(now().Checks) != 0 || now().Rules == made.Rules || now().Rules == p.Table.Rules {
		t.Errorf("rejected: %d checks, rules %d", len(now().Checks), now().Rules)
	}

	if p, err = c.Propose(made.ID, check); err != nil {
		t.Fatal(err)
	}
	if err := p.Accept(ctx); err != nil || len(now().Checks) != 1 || durable() != 1 {
		t.Errorf("accepted: %d checks, %d durable, %v", len(now().Checks), durable(), err)
	}

	m.broken = true
	if p, err = c.Propose(made.ID, func(t *manifest.Table) error { t.Checks = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := p.Accept(ctx); err == nil || len(now().Checks) != 1 {
		t.Errorf("what cannot be made durable: %d checks, %v", len(now().Checks), err)
	}
	m.broken = false

	if p, err = c.Propose(made.ID, func(t *manifest.Table) error { t.Checks = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := c.DropTable(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Accept(ctx); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("accepted after a drop: %v", err)
	}
}

// TestFoldersOfRenamedTables: a new table never gets the folder of another, whatever their names were.
func TestFoldersOfRenamedTables(t *testing.T) {
	ctx := context.Background()
	c := open(t, newMemory())
	folders := map[string]bool{}
	for _, next := range []string{"b", "t-2", "c", "d"} {
		made, _, err := c.CreateTable(ctx, table("t"), false)
		if err != nil {
			t.Fatal(err)
		}
		if folders[made.FolderName()] {
			t.Errorf("the folder %q is taken", made.FolderName())
		}
		folders[made.FolderName()] = true
		_, err = c.ChangeTable(ctx, made.ID, func(t *manifest.Table) error {
			t.Folder, t.Name = t.FolderName(), next
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestIDsWhenTheClockStepsBack: in the bubble it is the year 2000.
func TestIDsWhenTheClockStepsBack(t *testing.T) {
	m := newMemory()
	before, err := open(t, m).NewID(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := open(t, m)
		for last := range 1000 {
			after, err := c.NewID(context.Background())
			if err != nil || after <= before {
				t.Fatalf("id %d is %d after %d: %v", last, after, before, err)
			}
			before = after
		}
	})
}
