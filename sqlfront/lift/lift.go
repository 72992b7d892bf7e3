// Package lift is the one place that knows vitess. It parses neutral text, in which every name, literal, source and
// special form of the user's statement is a numbered mark in back quotes, and turns vitess' tree into ours. No byte of
// a user's text reaches vitess, and no type of vitess leaves this file. What vitess decides is how operators,
// conditions, CASE and joins nest.
package lift

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dolthub/vitess/go/vt/sqlparser"

	"kalamflight/sqlfront/ast"
)

// Marks gives the meaning of the numbered marks in a text. The letters are: l a leaf expression, m a form with
// arguments, t a source, u a column of USING.
type Marks interface {
	Leaf(i int) ast.Expr
	Build(i int, args []ast.Expr) ast.Expr
	Source(i int) ast.Source
	Ident(i int) ast.Ident
}

// Core is a parsed text: SELECT items [FROM from] [WHERE where].
type Core struct {
	Items []ast.Expr
	From  ast.Source
	Where ast.Expr
}

// ErrNesting is returned for text that nests deeper than vitess can.
var ErrNesting = errors.New("nested too deep")

// Parse parses one text of marks. An error other than ErrNesting says that the text is not of the grammar.
func Parse(text string, marks Marks) (core *Core, err error) {
	statement, err := sqlparser.ParseWithOptions(context.Background(), text, sqlparser.ParserOptions{})
	if err != nil {
		if strings.Contains(err.Error(), "max nesting level") {
			return nil, ErrNesting
		}
		return nil, err
	}
	s, ok := statement.(*sqlparser.Select)
	if !ok {
		return nil, fmt.Errorf("%T is no select", statement)
	}
	l := &lifter{marks: marks}
	core = &Core{Items: make([]ast.Expr, 0, len(s.SelectExprs))}
	for _, item := range s.SelectExprs {
		core.Items = append(core.Items, l.argument(item))
	}
	core.From = l.sources(s.From)
	if s.Where != nil {
		core.Where = l.expr(s.Where.Expr)
	}
	return core, l.err
}

// lifter keeps the first error; what it returns after one is not looked at.
type lifter struct {
	marks Marks
	err   error
}

func (l *lifter) fail(node any) {
	if l.err == nil {
		l.err = fmt.Errorf("%T is not expected here", node)
	}
}

// mark reads a mark: its letter and its number.
func (l *lifter) mark(name string, letter byte) (int, bool) {
	if len(name) < 2 || name[0] != letter {
		return 0, false
	}
	n, err := strconv.Atoi(name[1:])
	return n, err == nil
}

func (l *lifter) argument(e sqlparser.SelectExpr) ast.Expr {
	a, ok := e.(*sqlparser.AliasedExpr)
	if !ok {
		l.fail(e)
		return &ast.Null{}
	}
	return l.expr(a.Expr)
}

func (l *lifter) expr(e sqlparser.Expr) ast.Expr {
	switch n := e.(type) {
	case *sqlparser.ColName:
		if i, ok := l.mark(n.Name.String(), 'l'); ok {
			return l.marks.Leaf(i)
		}
	case *sqlparser.FuncExpr:
		if i, ok := l.mark(n.Name.String(), 'm'); ok {
			args := make([]ast.Expr, len(n.Exprs))
			for k, x := range n.Exprs {
				args[k] = l.argument(x)
			}
			if l.err != nil {
				break
			}
			return l.marks.Build(i, args)
		}
	case *sqlparser.ParenExpr:
		return l.expr(n.Expr)
	case *sqlparser.AndExpr, *sqlparser.OrExpr:
		return l.logic(e)
	case *sqlparser.NotExpr:
		x := l.expr(n.Expr)
		return &ast.Not{Span: x.Place(), Arg: x}
	case *sqlparser.RangeCond:
		x, low, high := l.expr(n.Left), l.expr(n.From), l.expr(n.To)
		return &ast.Between{Span: x.Place().To(high.Place()), Arg: x, Low: low, High: high,
			Negate: n.Operator == sqlparser.NotBetweenStr}
	case *sqlparser.ComparisonExpr:
		return l.comparison(n)
	case *sqlparser.BinaryExpr:
		return l.binary(n)
	case *sqlparser.UnaryExpr:
		return l.unary(n)
	case *sqlparser.CaseExpr:
		return l.caseExpr(n)
	}
	l.fail(e)
	return &ast.Null{}
}

// logic flattens a chain of one operator. Chains lean to the left and may be tens of thousands long, so the walk is a
// loop.
func (l *lifter) logic(e sqlparser.Expr) ast.Expr {
	_, or := e.(*sqlparser.OrExpr)
	var terms []sqlparser.Expr
	stack := []sqlparser.Expr{e}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch n := top.(type) {
		case *sqlparser.ParenExpr:
			stack = append(stack, n.Expr)
			continue
		case *sqlparser.AndExpr:
			if !or {
				stack = append(stack, n.Right, n.Left)
				continue
			}
		case *sqlparser.OrExpr:
			if or {
				stack = append(stack, n.Right, n.Left)
				continue
			}
		}
		terms = append(terms, top)
	}
	out := &ast.Logic{Or: or, Args: make([]ast.Expr, len(terms))}
	for i, t := range terms {
		out.Args[i] = l.expr(t)
	}
	out.Span = out.Args[0].Place().To(out.Args[len(terms)-1].Place())
	return out
}

func (l *lifter) comparison(n *sqlparser.ComparisonExpr) ast.Expr {
	left := l.expr(n.Left)
	switch n.Operator {
	case sqlparser.InStr, sqlparser.NotInStr:
		tuple, ok := n.Right.(sqlparser.ValTuple)
		if !ok {
			break
		}
		in := &ast.In{Span: left.Place(), Arg: left, List: make([]ast.Expr, len(tuple)),
			Negate: n.Operator == sqlparser.NotInStr}
		for i, x := range tuple {
			in.List[i] = l.expr(x)
			in.Span = in.Span.To(in.List[i].Place())
		}
		return in
	case sqlparser.NotEqualStr:
		right := l.expr(n.Right)
		return &ast.Compare{Span: left.Place().To(right.Place()), Op: "<>", Left: left, Right: right}
	case sqlparser.EqualStr, sqlparser.LessThanStr, sqlparser.GreaterThanStr, sqlparser.LessEqualStr,
		sqlparser.GreaterEqualStr:
		right := l.expr(n.Right)
		return &ast.Compare{Span: left.Place().To(right.Place()), Op: n.Operator, Left: left, Right: right}
	}
	l.fail(n)
	return left
}

func (l *lifter) binary(n *sqlparser.BinaryExpr) ast.Expr {
	// Chains lean to the left: the spine is walked in a loop, its operands are lifted on the way back.
	spine := []*sqlparser.BinaryExpr{n}
	for {
		left, ok := spine[len(spine)-1].Left.(*sqlparser.BinaryExpr)
		if !ok {
			break
		}
		spine = append(spine, left)
	}
	out := l.expr(spine[len(spine)-1].Left)
	for i := len(spine) - 1; i >= 0; i-- {
		op := spine[i].Operator
		switch op {
		case sqlparser.PlusStr, sqlparser.MinusStr, sqlparser.MultStr, sqlparser.DivStr, sqlparser.ModStr,
			sqlparser.BitXorStr:
		case sqlparser.IntDivStr:
			op = "//"
		default:
			l.fail(spine[i])
		}
		right := l.expr(spine[i].Right)
		out = &ast.Binary{Span: out.Place().To(right.Place()), Op: op, Left: out, Right: right}
	}
	return out
}

func (l *lifter) unary(n *sqlparser.UnaryExpr) ast.Expr {
	if n.Operator != sqlparser.UMinusStr {
		l.fail(n)
	}
	x := l.expr(n.Expr)
	if num, ok := x.(*ast.Number); ok {
		if rest, negative := strings.CutPrefix(num.Text, "-"); negative {
			return &ast.Number{Span: num.Span, Text: rest}
		}
		return &ast.Number{Span: num.Span, Text: "-" + num.Text}
	}
	return &ast.Unary{Span: x.Place(), Op: "-", Arg: x}
}

func (l *lifter) caseExpr(n *sqlparser.CaseExpr) ast.Expr {
	out := &ast.Case{Whens: make([]ast.When, len(n.Whens))}
	if n.Expr != nil {
		out.Arg = l.expr(n.Expr)
	}
	for i, w := range n.Whens {
		out.Whens[i] = ast.When{Cond: l.expr(w.Cond), Then: l.expr(w.Val)}
	}
	out.Span = out.Whens[0].Cond.Place().To(out.Whens[len(out.Whens)-1].Then.Place())
	if n.Else != nil {
		out.Else = l.expr(n.Else)
		out.Span = out.Span.To(out.Else.Place())
	}
	return out
}

// sources lifts a FROM; the comma is a cross join.
func (l *lifter) sources(list sqlparser.TableExprs) ast.Source {
	var out ast.Source
	for _, t := range list {
		s := l.source(t)
		if s == nil {
			continue
		}
		if out == nil {
			out = s
		} else {
			out = &ast.Join{Span: out.Place().To(s.Place()), Kind: "cross", Left: out, Right: s}
		}
	}
	return out
}

func (l *lifter) source(t sqlparser.TableExpr) ast.Source {
	switch n := t.(type) {
	case *sqlparser.AliasedTableExpr:
		name, ok := n.Expr.(sqlparser.TableName)
		if !ok {
			break
		}
		if i, ok := l.mark(name.Name.String(), 't'); ok {
			return l.marks.Source(i)
		}
		if strings.EqualFold(name.Name.String(), "dual") {
			return nil
		}
	case *sqlparser.ParenTableExpr:
		return l.sources(n.Exprs)
	case *sqlparser.JoinTableExpr:
		return l.join(n)
	}
	l.fail(t)
	return nil
}

func (l *lifter) join(n *sqlparser.JoinTableExpr) ast.Source {
	left, right := l.source(n.LeftExpr), l.source(n.RightExpr)
	if left == nil || right == nil {
		l.fail(n)
		return nil
	}
	out := &ast.Join{Span: left.Place().To(right.Place()), Left: left, Right: right}
	kind, natural := strings.CutPrefix(n.Join, "natural ")
	out.Natural = natural
	switch kind {
	case sqlparser.JoinStr:
		out.Kind = "inner"
	case sqlparser.LeftJoinStr:
		out.Kind = "left"
	case sqlparser.RightJoinStr:
		out.Kind = "right"
	case sqlparser.FullOuterJoinStr, "full join":
		out.Kind = "full"
	default:
		l.fail(n)
	}
	if half, ok := right.(*ast.Half); ok {
		out.Right, out.Kind = half.Source, "semi"
		if half.Anti {
			out.Kind = "anti"
		}
	}
	if n.Condition.On != nil {
		out.On = l.expr(n.Condition.On)
	}
	for _, c := range n.Condition.Using {
		i, ok := l.mark(c.String(), 'u')
		if !ok {
			l.fail(n)
			break
		}
		out.Using = append(out.Using, l.marks.Ident(i))
	}
	if out.Kind == "inner" && !natural && out.On == nil && out.Using == nil {
		out.Kind = "cross"
	}
	return out
}
