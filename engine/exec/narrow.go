package exec

import "kalamflight/engine/plan"

// columnsOf notes in used the columns that e refers to.
func columnsOf(e plan.Expr, used []bool) {
	if e == nil {
		return
	}
	if c, ok := e.(*plan.ColumnRef); ok {
		if c.Index >= 0 && c.Index < len(used) {
			used[c.Index] = true
		}
		return
	}
	for _, a := range exprArgs(e) {
		columnsOf(a, used)
	}
}

// narrowTo tells op that what stands above it reads only the columns that exprs refer to.
func narrowTo(op operator, width int, exprs []plan.Expr) {
	used := make([]bool, width)
	for _, e := range exprs {
		columnsOf(e, used)
	}
	narrow(op, used)
}

// narrow tells joins below op which of their columns are read: the others need not be stored or copied, and come as
// NULLs. It stops at operators that read all of their input.
func narrow(op operator, used []bool) {
	switch o := op.(type) {
	case *filterOp:
		below := append([]bool(nil), used...)
		columnsOf(o.expr, below)
		narrow(o.input, below)
	case *limitOp:
		narrow(o.input, used)
	case *joinOp:
		o.narrow(used)
	}
}

// narrow notes which right columns are read, and goes on below.
func (o *joinOp) narrow(used []bool) {
	l, r := len(o.leftTypes), len(o.rightTypes)
	both := make([]bool, l+r)
	switch {
	case o.builds:
		copy(both[l:], used)
	case o.tests:
		copy(both[:l], used)
	default:
		copy(both, used)
	}
	columnsOf(o.condition, both)
	left, right := both[:l:l], both[l:]
	for _, e := range o.leftSet.exprs {
		columnsOf(e, left)
	}
	o.reads = append([]bool(nil), right...)
	for _, e := range o.rightSet.exprs {
		columnsOf(e, right)
	}
	o.lay(right)
	narrow(o.left, left)
	narrow(o.right, right)
}

// lay decides which right columns are stored: those of keep, nil for all.
func (o *joinOp) lay(keep []bool) {
	o.place = make([]int, len(o.rightTypes))
	o.kept = o.kept[:0]
	for i := range o.rightTypes {
		o.place[i] = -1
		if keep == nil || keep[i] {
			o.place[i] = len(o.kept)
			o.kept = append(o.kept, i)
		}
	}
}
