package model_test

import (
	"errors"
	"slices"
	"testing"

	"kalamflight/engine/tablet/model"
	"kalamflight/internal/testkit"
)

func ids(versions []*model.Version) []model.ID {
	out := []model.ID{}
	for _, v := range versions {
		out = append(out, v.ID)
	}
	return out
}

// TestFold: the state at any Seq and the changes since give the state at any later Seq, over random histories.
func TestFold(t *testing.T) {
	rng, _ := testkit.Rand(t)
	for range 300 {
		m := model.New()
		if rng.IntN(2) == 0 {
			m = model.New(0)
		}
		g := &model.Random{Rand: rng, Tablet: m, Columns: 2, Keys: 20, RowsMax: 5, MaxColumns: 4}
		for seq := int64(1); seq < 40; seq++ {
			step := g.Next()
			if e, err := m.Resolve(step.Write); err == nil && !e.Empty() {
				m.Commit(seq, e)
			}
		}
		for after := int64(0); after <= m.Head; after++ {
			through := after + rng.Int64N(m.Head-after+1)
			got, err := model.Fold(m.State(after), m.Changes(after, through))
			if err != nil {
				t.Fatalf("fold (%d, %d]: %v", after, through, err)
			}
			if want := m.State(through); !slices.Equal(ids(got), ids(want)) {
				t.Fatalf("state at %d + changes to %d = %v, want %v", after, through, ids(got), ids(want))
			}
		}
	}
}

// TestResolve has the rules about keys, one by one.
func TestResolve(t *testing.T) {
	row := func(k int64, s string) model.Row { return model.Row{k, s} }
	m := model.New(0)
	commit := func(seq int64, w model.Write) error {
		e, err := m.Resolve(w)
		if err == nil {
			m.Commit(seq, e)
		}
		return err
	}
	steps := []struct {
		name string
		w    model.Write
		want error
		live int
	}{
		{"two rows", model.Write{Insert: []model.Row{row(1, "a"), row(2, "b")}}, nil, 2},
		{"taken key", model.Write{Insert: []model.Row{row(3, "c"), row(1, "x")}}, model.ErrExists, 2},
		{"twice in one statement", model.Write{Insert: []model.Row{row(4, "c"), row(4, "x")}}, model.ErrExists, 2},
		{"left out", model.Write{Insert: []model.Row{row(1, "x"), row(3, "c"), row(3, "d")}, Policy: model.Nothing}, nil, 3},
		{"replaced", model.Write{Insert: []model.Row{row(1, "x"), row(1, "y")}, Policy: model.Replace}, nil, 3},
		{"ended version", model.Write{Deleted: []model.ID{{Seq: 1}}}, model.ErrConflict, 3},
		{"delete", model.Write{Deleted: []model.ID{{Seq: 1, Ord: 1}}}, nil, 2},
		{"a freed key is free", model.Write{Insert: []model.Row{row(2, "again")}}, nil, 3},
		{"change of key to a taken one", model.Write{Replaced: []model.ID{{Seq: 8}}, Rows: []model.Row{row(1, "z")}},
			model.ErrExists, 3},
		{"swap of two keys", model.Write{Replaced: []model.ID{{Seq: 8}, {Seq: 4}},
			Rows: []model.Row{row(3, "z"), row(2, "z")}}, nil, 3},
	}
	for i, s := range steps {
		if err := commit(int64(i+1), s.w); !errors.Is(err, s.want) {
			t.Fatalf("%s: %v, want %v", s.name, err, s.want)
		}
		if got := len(m.State(m.Head)); got != s.live {
			t.Fatalf("%s: %d rows live, want %d", s.name, got, s.live)
		}
	}
	if got := m.State(5)[2].Row[1]; got != "y" {
		t.Errorf("the last row of an upsert is %v, want y", got)
	}
}
