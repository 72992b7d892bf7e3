package engine

import (
	"context"
	"errors"
	"fmt"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/internal/fault"
)

// External is the user of a name that an identity provider says, whom the wire has checked. With create, one is made
// for a name that nobody has. role is what the provider says of their role, "" when it says nothing: it is the role of
// users who were made so. What SQL says of the others stands. Users with role system that SQL made do not come so: with
// many providers people choose their names.
func (e *Engine) External(ctx context.Context, name, role string, create bool) (access.Principal, error) {
	u, ok := e.catalog.Snapshot().User(name)
	if !ok {
		if !create {
			return access.Principal{}, &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
				Message: fmt.Sprintf("there is no user %q", name)}
		}
		return e.newExternal(ctx, name, role)
	}
	if u.Name != name { // to the provider, names in another case may be other people
		return access.Principal{}, &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("there is no user %q", name)}
	}
	if !u.External && u.Role == access.RoleSystem.String() {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: "users with role system do not log in by an identity provider"}
	}
	if !u.External || role == "" || role == u.Role {
		return e.Principal(ctx, u.ID, 0)
	}
	now, err := access.ParseRole(role)
	if err != nil {
		return access.Principal{}, err
	}
	err = e.catalog.AlterUser(context.WithoutCancel(ctx), u.Name, catalog.UserChange{Role: &now})
	if err != nil {
		return access.Principal{}, fmt.Errorf("change the role of user %d: %w", u.ID, err)
	}
	e.endFallen()
	return e.Principal(ctx, u.ID, 0)
}

// newExternal makes a user for somebody of an identity provider. Of two logins at once, the second finds the first's.
func (e *Engine) newExternal(ctx context.Context, name, role string) (access.Principal, error) {
	r := access.RoleUser
	if role != "" {
		var err error
		if r, err = access.ParseRole(role); err != nil {
			return access.Principal{}, err
		}
	}
	made := catalog.NewUser{Name: name, Role: r, External: true}
	_, err := e.catalog.CreateUser(context.WithoutCancel(ctx), made, true)
	switch {
	case errors.Is(err, fault.ErrExists): // a dropped user's name is reserved
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: "this user does not exist any more"}
	case errors.Is(err, fault.ErrInvalid):
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: "the name in the token cannot be a user's: " + err.Error()}
	case err != nil:
		return access.Principal{}, err
	}
	e.log.Info("user made for an identity provider", "role", r.String())
	return e.PrincipalNamed(ctx, name)
}
