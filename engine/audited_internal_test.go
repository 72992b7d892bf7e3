package engine

import (
	"errors"
	"testing"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestNothingWithoutAudit: what cannot be written down is not done, but for what only changes or reads rows.
func TestNothingWithoutAudit(t *testing.T) {
	e, err := Open(t.Context(), Options{Dir: t.TempDir(), NoJobs: true, Audit: AuditAll,
		Default: func(manifest.Column) (plan.Expr, error) { return nil, nil },
		Check:   func(*manifest.Table, manifest.Check) (plan.Expr, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	s := e.NewSession(access.Principal{ID: 1, Name: "root", Role: access.RoleSystem}, "")
	if err := e.audit.Close(); err != nil {
		t.Fatal(err)
	}
	done := 0
	f := func() (Result, error) { done++; return Result{}, nil }
	_, err = e.audited(t.Context(), s, &plan.CreateNamespace{Name: "n"}, f)
	var sql *fault.SQL
	if done != 0 || !errors.As(err, &sql) || sql.Code != "58030" || !errors.Is(err, fault.ErrUnavailable) {
		t.Fatal(done, err)
	}
	if _, err := e.audited(t.Context(), s, &plan.Insert{}, f); err != nil || done != 1 {
		t.Fatal(done, err)
	}
}

// TestRefusalsAreBounded keeps who guesses passwords from filling the log.
func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	now := time.Unix(1000, 0)
	written := 0
	for range 3 * refusalsMax {
		if ok, _ := r.take(now); ok {
			written++
		}
	}
	ok, skipped := r.take(now.Add(time.Second))
	if written != refusalsMax || !ok || skipped != 2*refusalsMax {
		t.Fatal(written, ok, skipped)
	}
}
