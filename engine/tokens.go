package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// tokenFor is how long an access token is good whose statement does not say.
const tokenFor = 90 * 24 * time.Hour

// tokenUser is the user of a token that p makes or drops: p themselves, or a user whom p may manage.
func (e *Engine) tokenUser(p access.Principal, name string) (access.Principal, error) {
	if name == "" {
		return p, nil
	}
	if u, ok := e.catalog.Snapshot().User(name); ok && u.ID == p.ID {
		return p, nil
	}
	if err := access.Can(p, access.ManageUser, access.Target{Role: access.RoleUser}); err != nil {
		return access.Principal{}, err // who may not manage users does not learn whom there are
	}
	u, ok := e.catalog.Snapshot().User(name)
	if !ok {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("there is no user %q", name)}
	}
	q, err := u.Principal()
	if err != nil {
		return q, err
	}
	return q, access.Can(p, access.ManageUser, access.Target{Role: q.Role})
}

// createToken makes an access token. Its text is the statement's only row, and is kept nowhere else.
func (e *Engine) createToken(ctx context.Context, s *Session, st *plan.CreateToken) (Result, error) {
	p := s.Principal()
	user, err := e.tokenUser(p, st.User)
	if err != nil {
		return Result{}, err
	}
	expires, err := tokenExpiry(st, time.Now(), s.zone())
	if err != nil {
		return Result{}, err
	}
	if err := e.mayOutlive(p, expires); err != nil {
		return Result{}, err
	}
	text, made, err := e.catalog.CreateToken(ctx, catalog.NewToken{User: user.ID, Name: st.Name, Expires: expires,
		By: p.ID})
	if err != nil {
		return Result{}, err
	}
	rows := e.newReturned(plan.Schema(st.Cols))
	b := array.NewRecordBuilder(e.alloc, rows.schema)
	defer b.Release()
	for i, v := range []any{made.Name, user.Name, text, timeOrNil(made.Expires)} {
		appendValue(b.Field(i), v)
	}
	if err := rows.add(b.NewRecordBatch()); err != nil {
		return Result{}, err
	}
	return Result{Rows: 1, Returning: rows}, nil
}

// mayOutlive refuses who came by a token that expires to make one that is good for longer: what was lent would be kept.
func (e *Engine) mayOutlive(p access.Principal, expires time.Time) error {
	own, ok := e.catalog.Snapshot().Token(p.Token)
	if !ok || own.Expires == 0 || !expires.IsZero() && expires.UnixMicro() <= own.Expires {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrDenied, Code: "42501", Message: fmt.Sprintf("who came by a token makes none that "+
		"outlives it: it expires at %s", time.UnixMicro(own.Expires).UTC().Format(time.RFC3339))}
}

// tokenExpiry is when a token that is made now expires; the zero time for never.
func tokenExpiry(st *plan.CreateToken, now time.Time, zone *time.Location) (at time.Time, err error) {
	switch {
	case st.Never:
		return time.Time{}, nil
	case st.ExpiresIn != "":
		at, err = expr.AddInterval(now, st.ExpiresIn)
	case st.ExpiresAt != "":
		at, err = expr.ReadTime(st.ExpiresAt, zone)
	default:
		at = now.Add(tokenFor)
	}
	if err == nil && !at.After(now) {
		err = &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
			Message: "the token would have expired already"}
	}
	return at, err
}

// dropToken ends an access token, and whatever runs by it.
func (e *Engine) dropToken(ctx context.Context, p access.Principal, st *plan.DropToken) error {
	user, err := e.tokenUser(p, st.User)
	if err != nil {
		return err
	}
	id, err := e.catalog.DropToken(ctx, user.ID, st.Name)
	if err != nil {
		return err
	}
	e.tokenUsed.Delete(id)
	if id == 0 && !st.IfExists {
		return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("the user %q has no token %q", user.Name, st.Name)}
	}
	e.endFallen()
	return nil
}

// tokenRows lists access tokens without their texts: the caller's own, and those of all for who may observe.
func tokenRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	for _, t := range s.defined.Tokens() {
		if !all && t.User != p.ID {
			continue
		}
		u, ok := s.defined.UserByID(t.User)
		if !ok {
			continue
		}
		var used any
		if at, ok := e.tokenUsed.Load(t.ID); ok {
			used = at
		}
		err := yield(t.Name, u.Name, t.Created, timeOrNil(t.Expires), used, s.nameOf(t.By))
		if err != nil {
			return err
		}
	}
	return nil
}
