package flightsrv

import (
	"sync"

	"kalamflight/engine/access"
	"kalamflight/manifest"
)

// plansTextMax is the longest text whose plan is kept: longer ones carry values, and do not come twice.
const plansTextMax = 16 << 10

// plans are the statements that were compiled lately, for all sessions: a plan is immutable. Those that are used stay;
// of the others as many as Options.Plans allows. It is safe for concurrent use.
type plans struct {
	// half bounds each of the two generations.
	half int

	mu sync.Mutex
	// young has what was used since it was last emptied; old is what it was before.
	young, old   map[planKey]planAt
	hits, misses int64
}

// planKey is what a plan depends on beside the catalog. user is 0 for a plan that everybody of the role would get.
type planKey struct {
	role            access.Role
	user            manifest.UserID
	namespace, text string
}

type planAt struct {
	version uint64
	*compiled
}

func newPlans(most int) *plans {
	return &plans{half: max(most/2, 1), young: map[planKey]planAt{}, old: map[planKey]planAt{}}
}

// find is the plan of a key that was made at a version of the catalog.
func (p *plans) find(version uint64, keys ...planKey) *compiled {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		at, ok := p.young[k]
		if !ok {
			if at, ok = p.old[k]; ok {
				delete(p.old, k)
				p.keep(k, at)
			}
		}
		if ok && at.version == version {
			p.hits++
			return at.compiled
		}
	}
	p.misses++
	return nil
}

func (p *plans) add(k planKey, version uint64, c *compiled) {
	if len(k.text) > plansTextMax {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(k, planAt{version, c})
}

// keep enters a plan among the young, which become the old when they are too many.
func (p *plans) keep(k planKey, at planAt) {
	if _, ok := p.young[k]; !ok && len(p.young) >= p.half {
		p.old, p.young = p.young, make(map[planKey]planAt, p.half)
	}
	p.young[k] = at
}

// counts are the plans that are kept, how often one was found, and how often not.
func (p *plans) counts() (kept int, hits, misses int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.young) + len(p.old), p.hits, p.misses
}

// compile compiles a statement for a session, in a transaction if any, or takes what it compiled to lately when no
// definition has changed since.
func (x *session) compile(transaction, namespace, text string) (*compiled, error) {
	who := x.engine.Principal()
	version, err := x.backend.CatalogVersion(x.engine, transaction)
	if err != nil {
		return nil, err
	}
	shared := planKey{role: who.Role, namespace: namespace, text: text}
	own := shared
	own.user = who.ID
	if c := x.plans.find(version, shared, own); c != nil {
		return c, nil
	}
	raw, personal, err := x.backend.Compile(x.engine, transaction, namespace, text)
	if err != nil {
		return nil, err
	}
	c := newCompiled(raw)
	if personal {
		x.plans.add(own, version, c)
	} else {
		x.plans.add(shared, version, c)
	}
	return c, nil
}
