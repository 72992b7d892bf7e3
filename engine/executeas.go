package engine

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"kalamflight/engine/access"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// acting is the session and the statement that a statement runs as: EXECUTE AS USER runs what it holds with the rights
// and the rows of another user.
func (e *Engine) acting(ctx context.Context, s *Session, st plan.Statement) (*Session, plan.Statement, error) {
	x, ok := st.(*plan.ExecuteAs)
	if !ok {
		return s, st, nil
	}
	u, ok := e.catalog.Snapshot().UserByID(x.User)
	if !ok || u.Dropped != 0 {
		return nil, nil, noActor(x.Name)
	}
	as, err := u.Principal()
	if err != nil {
		return nil, nil, err
	}
	if err := mayActAs(s.Principal(), as); err != nil && !e.without(checkActor) {
		return nil, nil, err
	}
	if err := e.auditAs(ctx, s, as, x.Statement); err != nil {
		return nil, nil, err
	}
	return s.as(as), x.Statement, nil
}

func noActor(name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704", Message: fmt.Sprintf("there is no user %q", name)}
}

// mayActAs checks that p may act for another user; everybody may act for themselves.
func mayActAs(p, as access.Principal) error {
	if p.ID == as.ID {
		return nil
	}
	return access.Can(p, access.ActAs, access.Target{Role: as.Role})
}

// auditAs writes to the audit log that a caller acts for another user, before the statement runs; an error refuses it.
func (e *Engine) auditAs(ctx context.Context, s *Session, as access.Principal, inner plan.Statement) error {
	if !e.audits(actAdmin) {
		return nil
	}
	a := actOf(inner)
	r := e.recordOf(s, act{kind: "EXECUTE AS USER", object: strings.TrimSpace(a.kind + " " + a.object)})
	r.As, r.AsName = as.ID, e.audit.Pseudonym(as.Name)
	_, err := e.attempt(ctx, r)
	return err
}

// as is the session with another user in the place of its caller, for one statement. It is not among the sessions.
func (s *Session) as(p access.Principal) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Session{id: s.id, remote: s.remote, started: s.started, engine: s.engine, principal: p,
		actor: s.principal, namespace: s.namespace, options: maps.Clone(s.options), used: s.used}
}

// As is what another user may know of the definitions, and who that is, for EXECUTE AS USER. Whether the user exists is
// told only to those who may act for others.
func (v *View) As(name string) (*View, access.Principal, error) {
	*v.personal = true
	if name == "" {
		name = v.who.Name
	}
	u, ok := v.snap.User(name)
	if !ok {
		if err := access.Can(v.who, access.ActAs, access.Target{Role: access.RoleUser}); err != nil {
			return nil, access.Principal{}, err
		}
		return nil, access.Principal{}, noActor(name)
	}
	as, err := u.Principal()
	if err != nil {
		return nil, as, err
	}
	if err := mayActAs(v.who, as); err != nil && !v.unchecked {
		if denied := access.Can(v.who, access.ActAs, access.Target{Role: access.RoleUser}); denied != nil {
			err = denied // it does not tell the role of a user, nor that there is one
		}
		return nil, as, err
	}
	return &View{who: as, snap: v.snap, server: v.server, personal: v.personal}, as, nil
}
