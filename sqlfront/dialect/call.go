package dialect

import (
	"strings"

	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// call writes a call; the name has been taken and an opening bracket follows.
func (p *parser) call(u *unit, name ast.Ident) {
	c := ast.Call{Name: name.Text}
	if !name.Quoted {
		c.Name = strings.ToLower(name.Text)
	}
	span := name.Span
	if p.bare() {
		p.pos += 2
		c.Span = p.since(span)
		u.leaf(&c)
		return
	}
	p.expect("(")
	f := u.form(len(u.buf))
	nargs := 0
	var order orderList
	filter := -1
	switch {
	case p.accept("*"):
		c.Star = true
	case p.key() != ")":
		if c.Distinct = p.accept("DISTINCT"); !c.Distinct {
			p.accept("ALL")
		}
		for {
			f.arg()
			nargs++
			p.expr(u)
			if !p.accept(",") {
				break
			}
		}
		if p.accept("ORDER", "BY") {
			order = p.orderBy(u, f)
		}
		c.IgnoreNulls = p.nulls()
	}
	p.expect(")")
	if p.accept("WITHIN", "GROUP") {
		p.expect("(")
		p.expect("ORDER", "BY")
		order = p.orderBy(u, f)
		c.Within = true
		p.expect(")")
	}
	if p.looking("FILTER", "(") {
		p.pos += 2
		p.expect("WHERE")
		filter = f.arg()
		p.expr(u)
		p.expect(")")
	}
	c.IgnoreNulls = p.nulls() || c.IgnoreNulls
	var window func(args []ast.Expr) *ast.Window
	if p.key() == "OVER" && (p.keyAt(1) == "(" || p.isName(1)) {
		p.advance()
		window = p.over(u, f)
	}
	c.Span = p.since(span)
	f.close(func(args []ast.Expr) ast.Expr {
		out := c
		out.Args = args[:nargs:nargs]
		out.Order = order.items(args)
		if filter >= 0 {
			out.Filter = args[filter]
		}
		if window != nil {
			out.Over = window(args)
		}
		return &out
	})
}

// bare tells a call without arguments and without anything behind it, which is a leaf.
func (p *parser) bare() bool {
	if !p.looking("(", ")") {
		return false
	}
	switch p.keyAt(2) {
	case "WITHIN", "FILTER", "IGNORE", "RESPECT", "OVER":
		return false
	}
	return true
}

// nulls takes IGNORE NULLS and RESPECT NULLS.
func (p *parser) nulls() bool {
	if p.accept("IGNORE", "NULLS") {
		return true
	}
	p.accept("RESPECT", "NULLS")
	return false
}

// orderList is an ORDER BY whose expressions are arguments of a form or of a batch.
type orderList []orderEntry

type orderEntry struct {
	arg   int
	desc  bool
	first *bool
}

func (o orderList) items(args []ast.Expr) []ast.OrderItem {
	var out []ast.OrderItem
	for _, e := range o {
		item := ast.OrderItem{Desc: e.desc, NullsFirst: e.first}
		if e.arg >= 0 {
			item.Expr = args[e.arg]
		}
		out = append(out, item)
	}
	return out
}

func (p *parser) orderBy(u *unit, f *form) orderList {
	return p.orderItems(func() int {
		n := f.arg()
		p.expr(u)
		return n
	})
}

// orderItems takes the items behind ORDER BY; each expression is taken by next, which tells its index.
func (p *parser) orderItems(next func() int) orderList {
	var out orderList
	for {
		e := orderEntry{arg: next()}
		if p.accept("DESC") {
			e.desc = true
		} else if !p.accept("ASC") && p.accept("USING") {
			switch p.one("<", ">") {
			case ">":
				e.desc = true
			case "":
				p.fail("expected < or >")
			}
		}
		if p.accept("NULLS") {
			first := false
			switch p.one("FIRST", "LAST") {
			case "FIRST":
				first = true
			case "":
				p.fail("expected FIRST or LAST")
			}
			e.first = &first
		}
		out = append(out, e)
		if !p.accept(",") {
			return out
		}
	}
}

// over takes a window's name or its definition.
func (p *parser) over(u *unit, f *form) func(args []ast.Expr) *ast.Window {
	span := p.here()
	if p.key() != "(" {
		ref := p.name("a window")
		return func([]ast.Expr) *ast.Window { return &ast.Window{Span: ref.Span, Ref: ref} }
	}
	return p.window(span, u, f)
}

// window takes ( [name] [PARTITION BY ..] [ORDER BY ..] [frame] ).
func (p *parser) window(span ast.Span, u *unit, f *form) func(args []ast.Expr) *ast.Window {
	p.expect("(")
	w := ast.Window{Span: span}
	if p.isName(0) && !p.looking("PARTITION", "BY") && !isFrameUnit(p.key()) {
		w.Ref = p.name("a window")
	}
	first, last := 0, 0
	if p.accept("PARTITION", "BY") {
		first = f.arg()
		p.expr(u)
		p.items(u, f)
		last = f.args
	}
	var order orderList
	if p.accept("ORDER", "BY") {
		order = p.orderBy(u, f)
	}
	var frame func(args []ast.Expr) *ast.Frame
	if isFrameUnit(p.key()) {
		frame = p.frame(u, f)
	}
	p.expect(")")
	return func(args []ast.Expr) *ast.Window {
		out := w
		out.Partition = args[first:last:last]
		out.Order = order.items(args)
		if frame != nil {
			out.Frame = frame(args)
		}
		return &out
	}
}

func isFrameUnit(key string) bool { return key == "ROWS" || key == "RANGE" || key == "GROUPS" }

func (p *parser) frame(u *unit, f *form) func(args []ast.Expr) *ast.Frame {
	out := ast.Frame{Span: p.here(), Unit: strings.ToLower(p.advance().Key)}
	startBy, endBy := -1, -1
	if p.accept("BETWEEN") {
		out.Start.Kind, startBy = p.bound(u, f)
		p.expect("AND")
		out.End.Kind, endBy = p.bound(u, f)
	} else {
		out.Start.Kind, startBy = p.bound(u, f)
		out.End.Kind = "current row"
	}
	if p.accept("EXCLUDE") {
		switch {
		case p.accept("CURRENT", "ROW"):
			out.Exclude = "current row"
		case p.accept("NO", "OTHERS"):
			out.Exclude = "no others"
		default:
			if out.Exclude = strings.ToLower(p.one("GROUP", "TIES")); out.Exclude == "" {
				p.fail("expected CURRENT ROW, GROUP, TIES or NO OTHERS")
			}
		}
	}
	out.Span = p.since(out.Span)
	return func(args []ast.Expr) *ast.Frame {
		x := out
		if startBy >= 0 {
			x.Start.By = args[startBy]
		}
		if endBy >= 0 {
			x.End.By = args[endBy]
		}
		return &x
	}
}

func (p *parser) bound(u *unit, f *form) (kind string, by int) {
	switch {
	case p.accept("UNBOUNDED", "PRECEDING"):
		return "unbounded preceding", -1
	case p.accept("UNBOUNDED", "FOLLOWING"):
		return "unbounded following", -1
	case p.accept("CURRENT", "ROW"):
		return "current row", -1
	}
	by = f.arg()
	p.other(u)
	if kind = strings.ToLower(p.one("PRECEDING", "FOLLOWING")); kind == "" {
		p.fail("expected PRECEDING or FOLLOWING")
	}
	return kind, by
}

// wordyCall writes the calls of the standard whose arguments are set apart by words: EXTRACT(year FROM x) and its kin.
// False when the arguments are an ordinary list.
func (p *parser) wordyCall(u *unit, t *token.Token) bool {
	switch t.Key {
	case "EXTRACT":
		return p.extract(u)
	case "TRIM":
		return p.trim(u)
	}
	if !p.hasWord(1, "FROM", "FOR", "IN", "PLACING") {
		return false
	}
	span := p.here()
	p.pos += 2
	f := u.form(len(u.buf))
	f.arg()
	p.other(u)
	words := []string{}
	for {
		w := p.one("FROM", "FOR", "IN", "PLACING")
		if w == "" {
			break
		}
		words = append(words, w)
		f.arg()
		p.other(u)
	}
	p.expect(")")
	span = p.since(span)
	c := ast.Call{Span: span, Name: strings.ToLower(t.Key)}
	switch pattern := strings.Join(words, " "); c.Name + " " + pattern {
	case "position IN", "substring FROM", "substring FROM FOR", "overlay PLACING FROM", "overlay PLACING FROM FOR":
	case "substring FOR", "substring FOR FROM":
	default:
		p.failAt(t.Start, "%s does not take %s", t.Key, pattern)
	}
	f.close(func(args []ast.Expr) ast.Expr {
		out := c
		out.Args = args
		switch {
		case c.Name == "position":
			out.Args = []ast.Expr{args[1], args[0]}
		case words[0] == "FOR" && len(words) == 1:
			out.Args = []ast.Expr{args[0], &ast.Number{Span: args[0].Place(), Text: "1"}, args[1]}
		case words[0] == "FOR":
			out.Args = []ast.Expr{args[0], args[2], args[1]}
		}
		return &out
	})
	return true
}

// hasWord tells whether the bracket that is the n-th token from here has one of the words at its own level.
func (p *parser) hasWord(n int, words ...string) bool {
	i, end := p.pos+n+1, p.tokens[p.pos+n].Match
	for ; i < end; i++ {
		t := &p.tokens[i]
		if t.Match > i {
			i = t.Match
			continue
		}
		for _, w := range words {
			if t.Kind == token.Word && t.Key == w {
				return true
			}
		}
	}
	return false
}

func (p *parser) extract(u *unit) bool {
	if p.keyAt(3) != "FROM" || p.kindAt(2) != token.Word && p.kindAt(2) != token.String && p.kindAt(2) != token.Quoted {
		return false
	}
	span := p.here()
	field := &p.tokens[p.pos+2]
	p.pos += 4
	f := u.form(len(u.buf))
	f.arg()
	p.expr(u)
	p.expect(")")
	span = p.since(span)
	what := &ast.String{Span: ast.Span{Start: field.Start, End: field.End}, Value: strings.ToLower(field.Text)}
	f.close(func(args []ast.Expr) ast.Expr {
		return &ast.Call{Span: span, Name: "date_part", Args: []ast.Expr{what, args[0]}}
	})
	return true
}

// trim writes TRIM([BOTH | LEADING | TRAILING] [what] FROM text), and its form without FROM.
func (p *parser) trim(u *unit) bool {
	side := ""
	switch p.keyAt(2) {
	case "BOTH", "LEADING", "TRAILING":
		side = p.keyAt(2)
	}
	if side == "" && !p.hasWord(1, "FROM") {
		return false
	}
	span := p.here()
	p.pos += 2
	if side != "" {
		p.advance()
	}
	f := u.form(len(u.buf))
	if p.key() != "FROM" {
		f.arg()
		p.other(u)
	}
	swap := false
	if p.accept("FROM") {
		swap = f.args == 1
		f.arg()
		p.other(u)
	}
	for p.accept(",") {
		f.arg()
		p.other(u)
	}
	p.expect(")")
	span = p.since(span)
	name := map[string]string{"": "trim", "BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[side]
	f.close(func(args []ast.Expr) ast.Expr {
		if swap && len(args) == 2 {
			args = []ast.Expr{args[1], args[0]}
		}
		return &ast.Call{Span: span, Name: name, Args: args}
	})
	return true
}
