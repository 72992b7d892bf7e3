package dialect

import (
	"strings"

	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// The levels of PostgreSQL's operators, loosest first: OR, AND, NOT, IS, comparison, BETWEEN IN LIKE, other operators,
// + -, * / %, ^, AT TIME ZONE, sign, subscript and ::. Each level is a method that writes its operand and reads on
// while the next token is of the level. What vitess nests likewise is written as it is; the rest becomes a form.

// expr writes one expression.
func (p *parser) expr(u *unit) {
	if !p.enter() {
		return
	}
	defer p.leave()
	p.and(u)
	for p.accept("OR") {
		u.put(" or ")
		p.and(u)
	}
}

func (p *parser) and(u *unit) {
	p.not(u)
	for p.accept("AND") {
		u.put(" and ")
		p.not(u)
	}
}

func (p *parser) not(u *unit) {
	at, n := p.tok().Start, 0
	for p.accept("NOT") {
		if n++; n > maxPrefix {
			p.exhausted(at, "more than %d times NOT in a row", maxPrefix)
			return
		}
	}
	if n > 0 {
		// Two of them are kept for their type check; an even number more changes nothing.
		u.put(strings.Repeat("not ", 2-n%2))
	}
	p.is(u)
}

// is writes the level of IS; a condition before it goes in brackets, because vitess takes no condition as an operand.
func (p *parser) is(u *unit) {
	start := len(u.buf)
	cond := p.compare(u)
	for n := 0; ; n++ {
		if n > maxPostfix {
			p.exhausted(p.tok().Start, "more than %d times IS in a row", maxPostfix)
			return
		}
		what, negate := "", false
		switch {
		case p.accept("ISNULL"):
			what = "null"
		case p.accept("NOTNULL"):
			what, negate = "null", true
		case p.accept("IS"):
			negate = p.accept("NOT")
			if p.accept("DISTINCT", "FROM") {
				p.distinctFrom(u, start, negate)
				cond = false
				continue
			}
			if what = strings.ToLower(p.one("NULL", "TRUE", "FALSE", "UNKNOWN")); what == "" {
				p.fail("expected NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")
				return
			}
		default:
			return
		}
		if cond {
			u.bracket(start)
		}
		f := u.form(start)
		f.close(func(args []ast.Expr) ast.Expr {
			return &ast.Is{Span: args[0].Place(), Arg: args[0], What: what, Negate: negate}
		})
		cond = false
	}
}

func (p *parser) distinctFrom(u *unit, start int, negate bool) {
	f := u.form(start)
	f.arg()
	p.compare(u)
	op := "is distinct from"
	if negate {
		op = "is not distinct from"
	}
	f.close(func(args []ast.Expr) ast.Expr {
		return &ast.Compare{Span: args[0].Place().To(args[1].Place()), Op: op, Left: args[0], Right: args[1]}
	})
}

// comparison is a comparison as lift knows it, "" for another token.
func comparison(key string) string {
	switch key {
	case "=", "==":
		return "="
	case "<>", "!=":
		return "<>"
	case "<", "<=", ">", ">=":
		return key
	}
	return ""
}

// compare writes the level of comparisons and tells whether it is a condition.
func (p *parser) compare(u *unit) bool {
	start := len(u.buf)
	cond := p.like(u)
	op := comparison(p.key())
	if op == "" || p.kind() != token.Operator {
		return cond
	}
	p.advance()
	if k := p.key(); (k == "ANY" || k == "SOME" || k == "ALL") && p.keyAt(1) == "(" {
		p.quantified(u, start, op)
		return false
	}
	if cond {
		u.bracket(start)
	}
	u.put(" " + op + " ")
	right := len(u.buf)
	if p.like(u) {
		u.bracket(right)
	}
	if comparison(p.key()) != "" {
		p.failAt(p.tok().Start, "comparisons do not chain: put brackets around one, or join them with AND")
	}
	return true
}

func (p *parser) quantified(u *unit, start int, op string) {
	all := p.advance().Key == "ALL"
	f := u.form(start)
	if p.isQuery(0) {
		q := p.bracketedQuery()
		f.close(func(args []ast.Expr) ast.Expr {
			return &ast.Quantified{Span: args[0].Place().To(q.Span), Op: op, All: all, Arg: args[0], Query: q}
		})
		return
	}
	p.expect("(")
	f.arg()
	p.expr(u)
	p.expect(")")
	f.close(func(args []ast.Expr) ast.Expr {
		return &ast.Quantified{Span: args[0].Place().To(args[1].Place()), Op: op, All: all, Arg: args[0], List: args[1]}
	})
}

// like writes the level of IN, BETWEEN and LIKE and tells whether it is a condition.
func (p *parser) like(u *unit) bool {
	start := len(u.buf)
	p.other(u)
	cond := false
	for n := 0; ; n++ {
		if n > maxPostfix {
			p.exhausted(p.tok().Start, "more than %d conditions in a row", maxPostfix)
			return cond
		}
		negate := false
		if p.key() == "NOT" {
			switch p.keyAt(1) {
			case "IN", "LIKE", "ILIKE", "SIMILAR", "BETWEEN", "REGEXP", "RLIKE":
				p.advance()
				negate = true
			}
		}
		switch k := p.key(); k {
		case "IN", "LIKE", "ILIKE", "SIMILAR", "BETWEEN", "REGEXP", "RLIKE":
			p.advance()
			if cond {
				u.bracket(start)
			}
			cond = p.likeTail(u, start, k, negate)
		default:
			return cond
		}
	}
}

func (p *parser) likeTail(u *unit, start int, key string, negate bool) bool {
	not := ""
	if negate {
		not = " not"
	}
	switch key {
	case "IN":
		return p.in(u, start, not, negate)
	case "BETWEEN":
		return p.between(u, start, not, negate)
	case "SIMILAR":
		p.expect("TO")
	}
	if k := p.key(); (k == "ANY" || k == "ALL" || k == "SOME") && p.keyAt(1) == "(" {
		p.unsupported(p.tok().Start, "write the patterns out with OR or AND, or as one: x ~ '^(a|b)'",
			"%s %s is not supported", key, k)
	}
	op := strings.ToLower(key)
	if op == "rlike" {
		op = "regexp"
	}
	f := u.form(start)
	f.arg()
	p.other(u)
	escape := p.accept("ESCAPE")
	if escape {
		f.arg()
		p.other(u)
	}
	f.close(func(args []ast.Expr) ast.Expr {
		like := &ast.Like{Span: args[0].Place().To(args[1].Place()), Op: op, Arg: args[0], Pattern: args[1], Negate: negate}
		if escape {
			like.Escape = args[2]
		}
		return like
	})
	return false
}

func (p *parser) in(u *unit, start int, not string, negate bool) bool {
	if p.isQuery(0) {
		q := p.bracketedQuery()
		u.form(start).close(func(args []ast.Expr) ast.Expr {
			return &ast.In{Span: args[0].Place().To(q.Span), Arg: args[0], Query: q, Negate: negate}
		})
		return false
	}
	if p.key() != "(" {
		// x IN list: membership in a value that is a list.
		f := u.form(start)
		f.arg()
		p.postfix(u)
		f.close(func(args []ast.Expr) ast.Expr {
			q := &ast.Quantified{Span: args[0].Place().To(args[1].Place()), Op: "=", Arg: args[0], List: args[1]}
			if negate {
				return &ast.Not{Span: q.Span, Arg: q}
			}
			return q
		})
		return false
	}
	if list := p.literals(); list != nil {
		span := p.since(ast.Span{Start: list[0].Place().Start})
		u.form(start).close(func(args []ast.Expr) ast.Expr {
			return &ast.In{Span: args[0].Place().To(span), Arg: args[0], List: list, Negate: negate}
		})
		return false
	}
	p.advance()
	u.put(not + " in (")
	for n := 0; ; n++ {
		p.expr(u)
		if !p.accept(",") {
			break
		}
		u.put(", ")
	}
	p.expect(")")
	u.put(")")
	return true
}

func (p *parser) between(u *unit, start int, not string, negate bool) bool {
	symmetric := p.accept("SYMMETRIC")
	p.accept("ASYMMETRIC")
	if !symmetric {
		u.put(not + " between ")
		p.other(u)
		p.expect("AND")
		u.put(" and ")
		p.other(u)
		return true
	}
	f := u.form(start)
	f.arg()
	p.other(u)
	p.expect("AND")
	f.arg()
	p.other(u)
	f.close(func(args []ast.Expr) ast.Expr {
		return &ast.Between{Span: args[0].Place().To(args[2].Place()), Arg: args[0], Low: args[1], High: args[2],
			Negate: negate, Symmetric: true}
	})
	return false
}

// isOther tells the operators that PostgreSQL puts on one level, below + and -.
func isOther(key string) bool {
	switch key {
	case "|", "||", "&", "<<", ">>", "#", "->", "->>", "#>", "#>>", "@>", "<@", "~", "~*", "!~", "!~*", "~~", "!~~", "~~*",
		"!~~*", "&&",
		"<=>", "<->", "<#>", "^@", "?", "?|", "?&":
		return true
	}
	return false
}

func (p *parser) other(u *unit) {
	start := len(u.buf)
	p.add(u)
	if p.kind() != token.Operator || !isOther(p.key()) {
		return
	}
	f := u.form(start)
	var ops []string
	for p.kind() == token.Operator && isOther(p.key()) {
		if len(ops) >= maxChain {
			p.exhausted(p.tok().Start, "more than %d operators in a row", maxChain)
			return
		}
		ops = append(ops, p.advance().Key)
		f.arg()
		p.add(u)
	}
	f.close(func(args []ast.Expr) ast.Expr {
		out := args[0]
		for i, op := range ops {
			out = &ast.Binary{Span: out.Place().To(args[i+1].Place()), Op: op, Left: out, Right: args[i+1]}
		}
		return out
	})
}

// chain writes operand (sign operand)*, with the signs that spell knows.
func (p *parser) chain(u *unit, operand func(*unit), spell func(key string) string) {
	operand(u)
	for n := 0; p.kind() == token.Operator || p.key() == "DIV"; n++ {
		s := spell(p.key())
		if s == "" {
			return
		}
		if n >= maxChain {
			p.exhausted(p.tok().Start, "more than %d operators in a row", maxChain)
			return
		}
		p.advance()
		u.put(s)
		operand(u)
	}
}

func (p *parser) add(u *unit) {
	p.chain(u, p.mul, func(key string) string {
		switch key {
		case "+":
			return " + "
		case "-":
			return " - "
		}
		return ""
	})
}

func (p *parser) mul(u *unit) {
	p.chain(u, p.pow, func(key string) string {
		switch key {
		case "*":
			return " * "
		case "/":
			return " / "
		case "%":
			return " % "
		case "//", "DIV":
			return " div "
		}
		return ""
	})
}

func (p *parser) pow(u *unit) {
	p.chain(u, p.zone, func(key string) string {
		if key == "^" || key == "**" {
			return " ^ "
		}
		return ""
	})
}

// zone writes the level of AT TIME ZONE and COLLATE.
func (p *parser) zone(u *unit) {
	start := len(u.buf)
	p.sign(u)
	for n := 0; ; n++ {
		if n > maxPostfix {
			p.exhausted(p.tok().Start, "more than %d times AT TIME ZONE in a row", maxPostfix)
			return
		}
		switch {
		case p.accept("AT", "TIME", "ZONE"):
			f := u.form(start)
			f.arg()
			p.sign(u)
			f.close(func(args []ast.Expr) ast.Expr {
				return &ast.Call{Span: args[0].Place().To(args[1].Place()), Name: "timezone", Args: []ast.Expr{args[1], args[0]}}
			})
		case p.key() == "COLLATE":
			at := p.advance().Start
			switch name := p.path("a collation"); strings.ToLower(name[len(name)-1].Text) {
			case "c", "posix", "ucs_basic", "binary", "default":
			default:
				p.unsupported(at, "text is ordered by its bytes, as COLLATE \"C\" says", "collations are not supported")
			}
		default:
			return
		}
	}
}

// sign writes the level of signs.
func (p *parser) sign(u *unit) {
	at := p.tok().Start
	n := 0
	tilde := -1
	for p.kind() == token.Operator {
		k := p.key()
		if k != "-" && k != "+" && k != "~" {
			break
		}
		if n++; n > maxPrefix {
			p.exhausted(at, "more than %d signs in a row", maxPrefix)
			return
		}
		p.advance()
		if k == "~" {
			tilde = len(u.buf)
			break
		}
		if k == "-" {
			u.put("- ")
		}
	}
	if tilde < 0 {
		p.postfix(u)
		return
	}
	if !p.enter() {
		return
	}
	defer p.leave()
	p.add(u) // as PostgreSQL has it: ~1 + 2 is ~(1 + 2)
	u.form(tilde).close(func(args []ast.Expr) ast.Expr {
		return &ast.Unary{Span: args[0].Place(), Op: "~", Arg: args[0]}
	})
}

// step is one postfix: it makes a node of the operand before it and of its own arguments.
type step func(arg ast.Expr, args []ast.Expr) ast.Expr

// postfix writes an operand with the casts, subscripts and fields behind it.
func (p *parser) postfix(u *unit) {
	start := len(u.buf)
	p.primary(u)
	var f *form
	var steps []step
	for {
		switch {
		case p.looking("::"), p.looking("["), p.looking(".") && p.pos > 0 && p.tokens[p.pos-1].Key == ")":
		default:
			if f != nil {
				f.close(func(args []ast.Expr) ast.Expr {
					out := args[0]
					for _, s := range steps {
						out = s(out, args)
					}
					return out
				})
			}
			return
		}
		if f == nil {
			f = u.form(start)
		}
		if len(steps) >= maxPostfix {
			p.exhausted(p.tok().Start, "more than %d casts or subscripts in a row", maxPostfix)
			return
		}
		steps = append(steps, p.step(u, f))
	}
}

func (p *parser) step(u *unit, f *form) step {
	switch k := p.advance().Key; k {
	case "::":
		t := p.typeName()
		return func(arg ast.Expr, _ []ast.Expr) ast.Expr { return &ast.Cast{Span: arg.Place(), Arg: arg, Type: t} }
	case ".":
		name := p.label("a field")
		return func(arg ast.Expr, _ []ast.Expr) ast.Expr {
			return &ast.Field{Span: arg.Place().To(name.Span), Arg: arg, Name: name}
		}
	}
	low, high, slice := -1, -1, false
	if p.key() != ":" {
		low = f.arg()
		p.expr(u)
	}
	if p.accept(":") {
		slice = true
		if p.key() != "]" {
			high = f.arg()
			p.expr(u)
		}
	}
	p.expect("]")
	pick := func(args []ast.Expr, i int) ast.Expr {
		if i < 0 {
			return nil
		}
		return args[i]
	}
	return func(arg ast.Expr, args []ast.Expr) ast.Expr {
		if slice {
			return &ast.Slice{Span: arg.Place(), Arg: arg, Low: pick(args, low), High: pick(args, high)}
		}
		return &ast.Index{Span: arg.Place(), Arg: arg, At: args[low]}
	}
}
