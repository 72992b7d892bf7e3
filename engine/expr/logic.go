package expr

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// logicNode is AND (and) or OR over BOOLEANs. A later argument is evaluated only for rows that the earlier ones have
// not decided.
type logicNode struct {
	id   int
	and  bool
	args []node
}

func (c *compiler) logic(exprs []plan.Expr, and bool) (node, error) {
	args := make([]node, 0, len(exprs))
	constant := true
	for _, e := range exprs {
		a, err := c.node(e)
		if err != nil {
			return nil, err
		}
		if v, ok := literal(a); ok && v == and {
			continue // true in a conjunction, false in a disjunction: no effect
		} else if !ok {
			constant = false
		}
		args = append(args, a)
	}
	switch {
	case len(args) == 0:
		return c.constant(and, boolean)
	case len(args) == 1:
		return args[0], nil
	}
	n := &logicNode{id: c.frame(), and: and, args: args}
	if constant {
		return c.fold(n, boolean, args...)
	}
	return n, nil
}

func (n *logicNode) choose(x *Evaluator, b *Batch, sel, dst []uint16) ([]uint16, error) {
	f := &x.frames[n.id]
	rows := rowsOf(b.Len, sel)
	if n.and {
		left := f.selection(0, rows)
		for _, a := range n.args {
			var err error
			if sel, err = filter(x, a, b, sel, left); err != nil {
				return nil, err
			}
			if len(sel) == 0 {
				return dst[:0], nil
			}
			left = sel[:0]
		}
		return dst[:copy(dst[:len(sel)], sel)], nil
	}
	// OR: what is true now is out; the rest goes on.
	hit := payload[byte](f, b.Len)
	clear(hit)
	rest := all(b.Len, sel, f.selection(0, rows))
	chosen := f.selection(1, rows)
	for _, a := range n.args {
		got, err := filter(x, a, b, rest, chosen)
		if err != nil {
			return nil, err
		}
		for _, i := range got {
			hit[i] = 1
		}
		k := 0
		for _, i := range rest {
			rest[k] = i
			k += int(hit[i] ^ 1)
		}
		if rest = rest[:k]; k == 0 {
			return all(b.Len, sel, dst), nil
		}
	}
	dst = dst[:rows]
	k := 0
	each(b.Len, sel, func(i int) error {
		dst[k] = uint16(i)
		k += int(hit[i])
		return nil
	})
	return dst[:k], nil
}

func (n *logicNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[n.id]
	rows := rowsOf(b.Len, sel)
	if rows == 0 {
		return f.null(boolean, b.Len), nil
	}
	f.start(boolean, b.Len, nil)
	out := payload[byte](f, b.Len)
	decided := byte(one(!n.and)) // FALSE decides AND, TRUE decides OR
	clear(out)
	if n.and {
		each(b.Len, sel, func(i int) error { out[i] = 1; return nil })
	}
	rest := all(b.Len, sel, f.selection(0, rows))
	for _, a := range n.args {
		v, err := a.eval(x, b, rest)
		if err != nil {
			return nil, err
		}
		k := 0
		for _, i := range rest {
			rest[k] = i
			switch {
			case !v.IsValid(int(i)):
				f.setNull(int(i))
				k++
			case boolAt(v, int(i)) == decided:
				out[i] = decided
				f.unsetNull(int(i))
			default:
				k++
			}
		}
		if rest = rest[:k]; k == 0 {
			break
		}
	}
	return &f.out, nil
}

// unsetNull undoes setNull.
func (f *frame) unsetNull(i int) {
	if len(f.valid2) > 0 {
		f.valid2[i>>6] |= 1 << (uint(i) & 63)
	}
}

// boolAt is row i of a BOOLEAN vector of any layout.
func boolAt(v *Vector, i int) byte { return fixedAt[uint8](v, i) }

// not pushes a negation down to where it costs nothing.
func (c *compiler) not(e plan.Expr) (node, error) {
	switch e := e.(type) {
	case *plan.Not:
		return c.node(e.Arg)
	case *plan.Compare:
		return c.compare(&plan.Compare{Op: Negated(e.Op), Left: e.Left, Right: e.Right})
	case *plan.IsNull:
		return c.node(&plan.IsNull{Arg: e.Arg, Negate: !e.Negate})
	case *plan.In:
		return c.node(&plan.In{Arg: e.Arg, List: e.List, Negate: !e.Negate})
	case *plan.And:
		return c.logic(negate(e.Args), false)
	case *plan.Or:
		return c.logic(negate(e.Args), true)
	}
	arg, err := c.node(e)
	if err != nil {
		return nil, err
	}
	return c.fold(&notNode{id: c.frame(), arg: arg}, boolean, arg)
}

func negate(args []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(args))
	for i, a := range args {
		out[i] = &plan.Not{Arg: a}
	}
	return out
}

// notNode negates a BOOLEAN.
type notNode struct {
	id  int
	arg node
}

func (n *notNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[n.id]
	v, err := n.arg.eval(x, b, sel)
	if err != nil {
		return nil, err
	}
	if v.Const && !v.IsValid(0) {
		return f.null(boolean, b.Len), nil
	}
	if v.Dict != nil {
		v = f.flat(0, v, b.Len, sel)
	}
	f.start(boolean, b.Len, v.Valid)
	if f.out.Const = v.Const; v.Const {
		payload[byte](f, 1)[0] = v.Fixed[0] ^ 1
		return &f.out, nil
	}
	out := payload[byte](f, b.Len)
	for i, bit := range v.Fixed[:b.Len] {
		out[i] = bit&1 ^ 1
	}
	return &f.out, nil
}

// isNullNode is IS NULL, or with negate IS NOT NULL.
type isNullNode struct {
	id     int
	arg    node
	negate bool
}

func (n *isNullNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[n.id]
	v, err := n.arg.eval(x, b, sel)
	if err != nil {
		return nil, err
	}
	f.start(boolean, b.Len, nil)
	if v.Const || v.Valid == nil {
		f.out.Const = true
		payload[byte](f, 1)[0] = byte(one(v.IsValid(0) == n.negate))
		if v.Valid == nil {
			f.out.Fixed[0] = byte(one(n.negate))
		}
		return &f.out, nil
	}
	out, flip := payload[byte](f, b.Len), byte(one(!n.negate))
	for i := range out {
		out[i] = byte(v.Valid[i>>6]>>(uint(i)&63))&1 ^ flip
	}
	return &f.out, nil
}

func (n *isNullNode) choose(x *Evaluator, b *Batch, sel, dst []uint16) ([]uint16, error) {
	v, err := n.arg.eval(x, b, sel)
	if err != nil {
		return nil, err
	}
	switch {
	case v.Const || v.Valid == nil:
		if (v.Valid == nil || v.IsValid(0)) == n.negate {
			return all(b.Len, sel, dst), nil
		}
		return dst[:0], nil
	case n.negate:
		return chooseValid(v.Valid, b.Len, sel, dst), nil
	}
	dst = dst[:rowsOf(b.Len, sel)]
	k := 0
	each(b.Len, sel, func(i int) error {
		dst[k] = uint16(i)
		k += int(v.Valid[i>>6]>>(uint(i)&63))&1 ^ 1
		return nil
	})
	return dst[:k], nil
}

// in is IN over a list: of constants, a set; else comparisons.
func (c *compiler) in(e *plan.In) (node, error) {
	arg, err := c.node(e.Arg)
	if err != nil {
		return nil, err
	}
	set, ok, err := c.set(e)
	if err != nil {
		return nil, err
	}
	if !ok {
		terms := make([]plan.Expr, len(e.List))
		for i, item := range e.List {
			terms[i] = &plan.Compare{Op: plan.Eq, Left: e.Arg, Right: item}
		}
		if e.Negate {
			return c.not(&plan.Or{Args: terms})
		}
		return c.logic(terms, false)
	}
	if len(e.List) == 0 {
		return c.constant(e.Negate, boolean)
	}
	set.negate = e.Negate
	n := &callNode{id: c.frame(), args: []node{arg}, kernel: set.kernel, result: boolean, pos: -1}
	return c.fold(n, boolean, arg)
}

// members are the values of an IN list.
type members struct {
	null   bool
	negate bool
	ints   map[int64]struct{}
	texts  map[string]struct{}
	other  map[any]struct{}
	// few are the integers when they are so few that looking at each is faster than hashing.
	few []int64
	typ manifest.Type
}

// fewMembers is the most that few holds.
const fewMembers = 8

// set collects the list; false when an item is no constant or the type has no simple equality.
func (c *compiler) set(e *plan.In) (*members, bool, error) {
	t := e.Arg.ExprType()
	m := &members{typ: t, ints: map[int64]struct{}{}, texts: map[string]struct{}{}, other: map[any]struct{}{}}
	switch t.Kind {
	case manifest.Float, manifest.Double, manifest.Interval, manifest.Embedding, manifest.List, manifest.Null:
		return m, len(e.List) == 0, nil
	}
	for _, item := range e.List {
		v, ok, err := c.member(item)
		if err != nil || !ok {
			return m, false, err
		}
		it := item.ExprType()
		if v != nil && (it.Scale != t.Scale || it.Kind != t.Kind && !(it.Textual() && t.Textual())) {
			return m, false, nil
		}
		switch v := v.(type) {
		case nil:
			m.null = true
		case int64:
			m.ints[v] = struct{}{}
		case string:
			m.texts[v] = struct{}{}
		case []byte:
			m.texts[string(v)] = struct{}{}
		default:
			m.other[v] = struct{}{}
		}
	}
	if len(m.ints) <= fewMembers {
		for n := range m.ints {
			m.few = append(m.few, n)
		}
	}
	return m, true, nil
}

// member is the value of an item of a list that is a constant. A literal needs no node: lists have tens of thousands,
// and every evaluator would have a frame for each.
func (c *compiler) member(item plan.Expr) (any, bool, error) {
	if l, ok := item.(*plan.Literal); ok {
		switch l.Value.(type) {
		case nil, int64, string:
			return l.Value, true, nil
		}
	}
	n, err := c.node(item)
	if err != nil {
		return nil, false, err
	}
	v, ok := literal(n)
	return v, ok, nil
}

// hasInt tells whether an integer is a member.
func (m *members) hasInt(n int64) bool {
	if m.few == nil {
		_, ok := m.ints[n]
		return ok
	}
	found := 0
	for _, x := range m.few {
		found |= one(x == n)
	}
	return found != 0
}

func (m *members) kernel(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[byte](f, n)
	found, missed := byte(one(!m.negate)), byte(one(m.negate))
	var has func(i int) bool
	a := args[0]
	switch {
	case Stringy(m.typ):
		has = func(i int) bool { _, ok := m.texts[string(a.Slice(i))]; return ok }
	case m.typ.Kind == manifest.SmallInt:
		has = func(i int) bool { return m.hasInt(int64(fixedAt[int16](a, i))) }
	case m.typ.Kind == manifest.Int || m.typ.Kind == manifest.Date:
		has = func(i int) bool { return m.hasInt(int64(fixedAt[int32](a, i))) }
	case m.typ.Kind != manifest.Decimal && m.typ.Kind != manifest.Boolean && m.typ.Kind != manifest.UUID:
		has = func(i int) bool { return m.hasInt(fixedAt[int64](a, i)) }
	default:
		has = func(i int) bool { _, ok := m.other[a.Value(i)]; return ok }
	}
	return f.each(n, sel, func(i int) error {
		switch {
		case has(i):
			out[i] = found
		case m.null:
			out[i] = 0
			f.setNull(i)
		default:
			out[i] = missed
		}
		return nil
	})
}

// choiceNode is CASE or COALESCE: arms whose rows are put together at the end.
type choiceNode struct {
	id int
	// conds[i] chooses rows for thens[i]; with coalesce there are none and a row stays with the first value that is not
	// NULL.
	conds    []node
	thens    []node
	coalesce bool
	typ      manifest.Type
}

func (c *compiler) choice(e *plan.Case) (node, error) {
	n := &choiceNode{id: c.frame(), typ: e.Type}
	add := func(then plan.Expr) error {
		t, err := c.node(then)
		n.thens = append(n.thens, t)
		return err
	}
	for _, w := range e.Whens {
		cond, err := c.node(w.Cond)
		if err != nil {
			return nil, err
		}
		if v, ok := literal(cond); ok && v != true {
			continue
		} else if ok {
			if err := add(w.Then); err != nil {
				return nil, err
			}
			return n.simplified(), nil
		}
		n.conds = append(n.conds, cond)
		if err := add(w.Then); err != nil {
			return nil, err
		}
	}
	last := e.Else
	if last == nil {
		last = &plan.Literal{Type: e.Type}
	}
	if err := add(last); err != nil {
		return nil, err
	}
	return n.simplified(), nil
}

func (n *choiceNode) simplified() node {
	if len(n.thens) == 1 {
		return n.thens[0]
	}
	return n
}

func (c *compiler) coalesce(args []plan.Expr, t manifest.Type) (node, error) {
	n := &choiceNode{id: c.frame(), coalesce: true, typ: t}
	for _, a := range args {
		arm, err := c.node(a)
		if err != nil {
			return nil, err
		}
		v, ok := literal(arm)
		if ok && v == nil && len(args) > 1 {
			continue
		}
		n.thens = append(n.thens, arm)
		if ok {
			break
		}
	}
	if len(n.thens) == 0 {
		return c.constant(nil, t)
	}
	return n.simplified(), nil
}

func (n *choiceNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[n.id]
	rows := rowsOf(b.Len, sel)
	if rows == 0 {
		return f.null(n.typ, b.Len), nil
	}
	rest := all(b.Len, sel, f.selection(0, rows))
	f.offsets = grow(f.offsets, b.Len)
	arm := f.offsets // which arm each row took
	f.args = f.args[:0]
	for k, then := range n.thens {
		chosen, last := rest, k == len(n.thens)-1
		if !n.coalesce && !last {
			var err error
			if chosen, err = filter(x, n.conds[k], b, rest, f.selection(1, rows)); err != nil {
				return nil, err
			}
		}
		var v *Vector
		if len(chosen) > 0 {
			var err error
			if v, err = then.eval(x, b, chosen); err != nil {
				return nil, err
			}
		}
		f.args = append(f.args, v)
		if n.coalesce && !last {
			chosen = validRows(v, chosen, f.selection(1, rows))
		}
		for _, i := range chosen {
			arm[i] = int32(k)
		}
		if len(chosen) == len(rest) {
			break
		}
		rest = without(rest, chosen)
		if len(rest) == 0 {
			break
		}
	}
	return n.merge(f, b.Len, sel, arm)
}

// validRows lists the rows of sel that are not NULL.
func validRows(v *Vector, sel, dst []uint16) []uint16 {
	switch {
	case v == nil, v.Const && !v.IsValid(0):
		return dst[:0]
	case v.Const || v.Valid == nil:
		return append(dst[:0], sel...)
	}
	return chooseValid(v.Valid, 0, sel, dst)
}

// without removes rows from a selection in place; both ascend and rows is part of it.
func without(from, rows []uint16) []uint16 {
	k, j := 0, 0
	for _, i := range from {
		if j < len(rows) && rows[j] == i {
			j++
			continue
		}
		from[k] = i
		k++
	}
	return from[:k]
}

// merge puts the rows of the arms together.
func (n *choiceNode) merge(f *frame, rows int, sel []uint16, arm []int32) (*Vector, error) {
	f.start(n.typ, rows, nil)
	each(rows, sel, func(i int) error {
		if !f.args[arm[i]].IsValid(i) {
			f.setNull(i)
		}
		return nil
	})
	switch size := Width(n.typ); {
	case size > 0:
		f.fixed = grow(f.fixed, (rows*size+7)/8)
		f.out.Fixed = bytesOf(f.fixed)[:rows*size]
		mergeFixed(f, size, rows, sel, arm)
	case Stringy(n.typ):
		return &f.out, n.mergeStrings(f, rows, sel, arm)
	case n.typ.Kind == manifest.Null:
		return f.null(n.typ, rows), nil
	default:
		values := make([]any, rows)
		each(rows, sel, func(i int) error { values[i] = f.args[arm[i]].Value(i); return nil })
		return NewVector(values, n.typ)
	}
	return &f.out, nil
}

// mergeStrings keeps its offsets apart from arm, which lies in f.offsets.
func (n *choiceNode) mergeStrings(f *frame, rows int, sel []uint16, arm []int32) error {
	side, _ := f.state.(*frame)
	if side == nil {
		side = &frame{}
		f.state = side
	}
	o := side.strings(rows)
	err := each(rows, sel, func(i int) error {
		if v := f.args[arm[i]]; v.IsValid(i) {
			return o.put(i, v.Slice(i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = o.end()
	f.out.Offsets, f.out.Bytes = side.out.Offsets, side.out.Bytes
	return err
}

func mergeFixed(f *frame, size, rows int, sel []uint16, arm []int32) {
	switch size {
	case 1:
		mergeSized[uint8](f, rows, sel, arm)
	case 2:
		mergeSized[uint16](f, rows, sel, arm)
	case 4:
		mergeSized[uint32](f, rows, sel, arm)
	case 8:
		mergeSized[uint64](f, rows, sel, arm)
	default:
		mergeSized[[2]uint64](f, rows, sel, arm)
	}
}

func mergeSized[T any](f *frame, rows int, sel []uint16, arm []int32) {
	out := unsafeSlice[T](f.out.Fixed)
	for k, v := range f.args {
		if v == nil || v.Type.Kind == manifest.Null {
			continue
		}
		place := func(i int) int { return i }
		if v.Const {
			place = func(int) int { return 0 }
		}
		from, codes := v, []int32(nil)
		if v.Dict != nil {
			from, codes = v.Dict, Values[int32](v)
		}
		values := unsafeSlice[T](from.Fixed)
		each(rows, sel, func(i int) error {
			if arm[i] != int32(k) {
				return nil
			}
			j := place(i)
			if codes != nil {
				if !v.IsValid(i) {
					return nil
				}
				j = int(codes[j])
			}
			out[i] = values[j]
			return nil
		})
	}
}
