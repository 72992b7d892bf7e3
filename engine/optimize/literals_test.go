package optimize_test

import (
	"testing"

	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// TestSubstituteKeepsThePlan adds rows to a bound INSERT of literals, as one of several rows of parameters does.
func TestSubstituteKeepsThePlan(t *testing.T) {
	row := func(v int64) []plan.Expr {
		return []plan.Expr{&plan.Literal{Value: v, Type: manifest.Type{Kind: manifest.BigInt}}}
	}
	rows := append(make([][]plan.Expr, 0, 4), row(1))
	source := &plan.Values{Rows: rows, Cols: []plan.Column{{Name: "a", Type: manifest.Type{Kind: manifest.BigInt}}}}
	out, err := optimize.Substitute(&plan.Insert{Table: &manifest.Table{}, Source: source}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bound := out.(*plan.Insert).Source.(*plan.Values)
	bound.Rows = append(bound.Rows, row(2))
	if len(source.Rows) != 1 || rows[:2][1] != nil {
		t.Fatalf("the plan has %d rows, and %v behind them", len(source.Rows), rows[:2][1])
	}
}
