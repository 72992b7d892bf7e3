package dialect

import (
	"math"
	"strconv"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/sqlfront/ast"
)

// quota takes (name = value, ...) of ALTER USER .. SET QUOTA.
func (p *parser) quota(user string) *plan.SetQuota {
	out := &plan.SetQuota{User: user}
	for _, o := range p.options() {
		var to **int64
		switch o.Name {
		case "QUERIES":
			to = &out.Queries
		case "SUBSCRIPTIONS":
			to = &out.Subscriptions
		case "MEMORY":
			to = &out.MemoryBytes
		default:
			p.failAt(o.Start, "the quotas are queries, subscriptions and memory")
			return out
		}
		if *to != nil {
			p.failAt(o.Start, "the quota is there twice")
			return out
		}
		*to = p.quotaValue(o)
	}
	if p.err == nil && *out == (plan.SetQuota{User: user}) {
		p.fail("expected a quota: queries, subscriptions or memory")
	}
	return out
}

// quotaValue is a number, of bytes such as '512MiB' for memory, DEFAULT or UNLIMITED.
func (p *parser) quotaValue(o ast.Option) *int64 {
	n, ok := int64(0), true
	switch strings.ToUpper(o.Value) {
	case "DEFAULT":
	case "UNLIMITED":
		n = -1
	default:
		n, ok = quantity(o.Value, o.Name == "MEMORY")
	}
	if !ok {
		what := "a number above 0"
		if o.Name == "MEMORY" {
			what = "a number of bytes such as '512MiB'"
		}
		p.failAt(o.ValueSpan.Start, "%s", "a quota is "+what+", DEFAULT or UNLIMITED")
	}
	return &n
}

// quantity reads a positive number, with a binary unit when bytes is set.
func quantity(text string, bytes bool) (int64, bool) {
	shift := 0
	if bytes {
		upper := strings.ToUpper(strings.TrimSpace(text))
		for i, unit := range []string{"KIB", "MIB", "GIB", "TIB"} {
			if rest, ok := strings.CutSuffix(upper, unit); ok {
				text, shift = strings.TrimSpace(rest), 10*(i+1)
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n << shift, err == nil && n > 0 && n <= math.MaxInt64>>shift
}
