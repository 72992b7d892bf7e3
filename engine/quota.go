package engine

import (
	"context"
	"fmt"
	"sync"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/exec"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Quota bounds what one user has at once.
type Quota = catalog.Quota

// quotaOf is what holds for a user: their own quota and, where that says nothing, the server's.
func (e *Engine) quotaOf(id manifest.UserID) Quota {
	u, ok := e.catalog.Snapshot().UserByID(id)
	if !ok {
		return e.opts.Quota
	}
	return u.Quota.Or(e.opts.Quota)
}

// admitLocked refuses a run that is one too many, for the server or for its user. running.mu is held.
func (t *running) admitLocked(r *run, q Quota) (limit string, err error) {
	if len(t.open) >= t.max {
		return "queries-max", &fault.SQL{Kind: fault.ErrExhausted, Code: "53300",
			Message: fmt.Sprintf("the server runs %d statements already, which is its limit queries-max", t.max),
			Hint:    "try again later, or raise --queries-max"}
	}
	most, name := q.Queries, "queries"
	if r.what == whatSubscription {
		most, name = q.Subscriptions, "subscriptions"
	}
	if most <= 0 || t.byUser[userRuns{r.owner.ID, r.what}] < most {
		return "", nil
	}
	return name, &fault.SQL{Kind: fault.ErrExhausted, Code: "53400",
		Message: fmt.Sprintf("user %q has %d %s already, which is the limit of their quota %q", r.owner.Name, most, name,
			name),
		Hint: fmt.Sprintf("end one (system.%s lists them), or have a dba run ALTER USER .. SET QUOTA (%s = ..)", name, name)}
}

// userRuns is what runs are counted by for quotas.
type userRuns struct {
	user manifest.UserID
	what string
}

// userBudgets are the budgets of users. It is safe for concurrent use.
type userBudgets struct {
	mu  sync.Mutex
	all map[manifest.UserID]*exec.Budget
}

// userBudgetsMin is from how many users on the budgets of those who do nothing are looked for.
const userBudgetsMin = 64

// userBytes is what one user without a quota may hold of the memory of all: three quarters of it, so that nobody keeps
// the others from running, or as much as one query may when that is more.
func (o *Options) userBytes() int64 {
	return max(o.ServerBytes-o.ServerBytes/4, min(o.QueryBytes, o.ServerBytes))
}

// budgetOf is the budget that a user's statements take their memory from.
func (e *Engine) budgetOf(p access.Principal) *exec.Budget {
	name, most := `quota "memory"`, e.quotaOf(p.ID).MemoryBytes
	if most <= 0 {
		name, most = "user", e.opts.userBytes()
	}
	b := &e.budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.all[p.ID]
	// What runs under another limit goes on under that.
	if known == nil || known.Limit() != most {
		if b.all == nil {
			b.all = map[manifest.UserID]*exec.Budget{}
		}
		for id, other := range b.all {
			if len(b.all) < userBudgetsMin {
				break
			}
			if other.Used() == 0 {
				delete(b.all, id)
			}
		}
		known = exec.NewBudget(name, most, e.budget)
		b.all[p.ID] = known
	}
	return known
}

// setQuota is ALTER USER .. SET QUOTA and RESET QUOTA.
func (e *Engine) setQuota(ctx context.Context, p access.Principal, st *plan.SetQuota) error {
	if err := access.Can(p, access.ManageUser, access.Target{Role: access.RoleUser}); err != nil {
		return err
	}
	if u, ok := e.catalog.Snapshot().User(st.User); ok {
		q, err := u.Principal()
		if err != nil {
			return err
		}
		if err := access.Can(p, access.ManageUser, access.Target{Role: q.Role}); err != nil {
			return err
		}
	}
	return e.catalog.ChangeQuota(ctx, st.User, func(q Quota) Quota {
		if st.Reset {
			return Quota{}
		}
		for _, part := range []struct {
			value *int64
			to    *int64
		}{{st.Queries, &q.Queries}, {st.Subscriptions, &q.Subscriptions}, {st.MemoryBytes, &q.MemoryBytes}} {
			if part.value != nil {
				*part.to = *part.value
			}
		}
		return q
	})
}
