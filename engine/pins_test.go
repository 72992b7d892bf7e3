package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// at runs a query as of a sequence.
func (w *world) at(c *plan.Compiled, seq manifest.Seq) (string, error) {
	w.t.Helper()
	st, err := w.engine.Query(context.Background(), w.session(""), c, engine.QueryOptions{AsOf: seq})
	if err != nil {
		return "", err
	}
	defer st.Close()
	return read(st, true)
}

// TestPinsKeepShortHistory: a table that keeps no history keeps what a ticket reads for as long as the ticket lives.
func TestPinsKeepShortHistory(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"pinned", "loose"} {
		w.sql("", "CREATE TABLE default."+name+" (id BIGINT PRIMARY KEY, v TEXT) WITH (TYPE = 'SHARED', "+
			"DELETED_RETENTION_HOURS = 0)", false)
		w.sql("", "INSERT INTO "+name+" VALUES (1, 'old')", false)
	}
	queries := map[string]*plan.Compiled{}
	for _, name := range []string{"pinned", "loose"} {
		c, err := w.compile("", "SELECT (SELECT v FROM "+name+") AS v")
		if err != nil {
			t.Fatal(err)
		}
		queries[name] = c
	}
	const life = 2 * time.Second
	seq := w.engine.Pin(w.session(""), queries["pinned"], life)
	for range 100 { // they share the first one's
		w.engine.Pin(w.session(""), queries["pinned"], life)
	}
	pinned := func() string { return w.sql("", "SELECT value FROM system.stats WHERE name = 'engine.pins'", false) }
	if got := pinned(); !strings.HasSuffix(got, "\n1\n") && !strings.HasSuffix(got, "\n2\n") {
		t.Errorf("pins: %s", got)
	}
	for _, name := range []string{"pinned", "loose"} {
		w.sql("", "UPDATE "+name+" SET v = 'new'", false)
		w.sql("", "FLUSH TABLE "+name, false)
		w.sql("", "COMPACT TABLE "+name, false)
	}
	if got, err := w.at(queries["pinned"], seq); err != nil || !strings.Contains(got, "old") {
		t.Errorf("the pinned table at %d: %q, %v", seq, got, err)
	}
	if _, err := w.at(queries["loose"], seq); !errors.Is(err, fault.ErrOutOfRange) {
		t.Errorf("the other table at %d: %v", seq, err)
	}
	for begun := time.Now(); !strings.HasSuffix(pinned(), "\n0\n"); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 10*life {
			t.Fatalf("pins are kept: %s", pinned())
		}
	}
	w.sql("", "COMPACT TABLE pinned", false)
	if _, err := w.at(queries["pinned"], seq); !errors.Is(err, fault.ErrOutOfRange) {
		t.Errorf("after the pin: %v", err)
	}
}
