package dialect

import (
	"strings"

	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// query takes a query: WITH, a body, ORDER BY, LIMIT and AS OF SEQ.
func (p *parser) query() *ast.Query {
	q := &ast.Query{Span: p.here()}
	if !p.enter() {
		return q
	}
	defer p.leave()
	if p.key() == "WITH" {
		q.With, q.Recursive = p.with()
	}
	p.queryRest(q)
	return q
}

// queryRest takes what follows WITH.
func (p *parser) queryRest(q *ast.Query) {
	q.Body = p.setOps()
	p.tail(q)
	q.Span = p.since(q.Span)
}

func (p *parser) with() (list []ast.CTE, recursive bool) {
	p.expect("WITH")
	recursive = p.accept("RECURSIVE")
	for {
		c := ast.CTE{Name: p.name("a name")}
		if p.key() == "(" {
			c.Columns = p.names("a column")
		}
		p.expect("AS")
		if p.accept("NOT") {
			p.expect("MATERIALIZED")
		} else {
			p.accept("MATERIALIZED")
		}
		if !p.isQuery(0) {
			switch p.keyAt(1) {
			case "INSERT", "UPDATE", "DELETE":
				p.unsupported(p.tok().Start, "run the change as a statement of its own", "a change inside WITH is not supported")
			}
			p.fail("expected a query in brackets")
		}
		c.Query = p.bracketedQuery()
		list = append(list, c)
		if len(list) > maxSources {
			p.exhausted(c.Name.Start, "more than %d queries in one WITH", maxSources)
		}
		if !p.accept(",") {
			return list, recursive
		}
	}
}

// setOps takes UNION and EXCEPT, which are of one level and looser than INTERSECT.
func (p *parser) setOps() ast.Body {
	span := p.here()
	return p.setChain(span, p.intersects, "UNION", "EXCEPT", "MINUS")
}

func (p *parser) intersects() ast.Body { return p.setChain(p.here(), p.queryPrimary, "INTERSECT") }

func (p *parser) setChain(span ast.Span, operand func() ast.Body, ops ...string) ast.Body {
	out := operand()
	for n := 0; ; n++ {
		op := p.one(ops...)
		if op == "" {
			return out
		}
		if n >= maxSets {
			p.exhausted(p.tok().Start, "more than %d set operations in a row", maxSets)
			return out
		}
		if op == "MINUS" {
			op = "EXCEPT"
		}
		s := &ast.SetOp{Op: strings.ToLower(op), All: p.accept("ALL"), Left: out}
		if !s.All {
			p.accept("DISTINCT")
		}
		if at := p.tok().Start; p.accept("BY", "NAME") {
			if s.ByName = true; s.Op != "union" {
				p.unsupported(at, "list the columns in the same order on both sides", "%s BY NAME is not supported", op)
			}
		}
		s.Right = operand()
		s.Span = p.since(span)
		out = s
	}
}

func (p *parser) queryPrimary() ast.Body {
	switch p.key() {
	case "SELECT", "FROM":
		return p.selectCore()
	case "VALUES":
		if p.kindAt(1) == token.Rows {
			p.advance()
			t := p.advance()
			return &ast.Rows{Span: ast.Span{Start: t.Start, End: t.End}, Count: t.Match}
		}
		return p.values()
	case "TABLE":
		span := p.here()
		p.advance()
		t := &ast.Table{Span: span, Name: p.path("a table")}
		t.Span = p.since(span)
		return &ast.Select{Span: t.Span, Items: []ast.Item{{Star: true, Span: t.Span}}, From: t}
	case "(":
		return p.bracketedQuery()
	}
	p.fail("expected SELECT, VALUES or WITH")
	return &ast.Values{}
}

// tail takes what may follow the body, LIMIT and OFFSET in either order.
func (p *parser) tail(q *ast.Query) {
	b := p.newBatch()
	limit, offset := -1, -1
	var order orderList
	if p.accept("ORDER", "BY") {
		order = p.orderItems(func() int {
			if p.key() == "ALL" && p.keyAt(1) != "(" {
				p.advance()
				return -1
			}
			return b.add(p)
		})
	}
	for p.err == nil {
		at := p.tok().Start
		switch {
		case p.accept("LIMIT"):
			if limit >= 0 {
				p.failAt(at, "LIMIT stands twice")
			}
			if !p.accept("ALL") && !p.accept("NULL") {
				limit = b.add(p)
				if p.accept(",") {
					offset, limit = limit, b.add(p)
				}
			}
		case p.accept("OFFSET"):
			if offset >= 0 {
				p.failAt(at, "OFFSET stands twice")
			}
			offset = b.add(p)
			p.one("ROW", "ROWS")
		case p.key() == "FETCH" && limit < 0:
			limit = p.fetch(b)
		default:
			items := b.items()
			q.Order = order.items(items)
			if limit >= 0 {
				q.Limit = items[limit]
			}
			if offset >= 0 {
				q.Offset = items[offset]
			}
			if p.accept("AS", "OF", "SEQ") {
				q.AsOf = p.single()
			}
			p.lock()
			return
		}
	}
}

// lock takes FOR UPDATE and FOR SHARE, which mean nothing where reads never block.
func (p *parser) lock() {
	if p.key() == "FOR" {
		p.unsupported(p.tok().Start, "a transaction reads one snapshot, and the first to commit wins",
			"SELECT .. FOR is not supported")
	}
}

// fetch takes FETCH {FIRST | NEXT} [n] {ROW | ROWS} ONLY.
func (p *parser) fetch(b *batch) int {
	p.advance()
	if p.one("FIRST", "NEXT") == "" {
		p.fail("expected FIRST or NEXT")
	}
	n := 0
	if k := p.key(); k == "ROW" || k == "ROWS" {
		if b.n > 0 {
			b.unit.put(", ")
		}
		b.unit.leaf(&ast.Number{Span: p.here(), Text: "1"})
		b.n++
		n = b.n - 1
	} else {
		n = b.add(p)
	}
	p.one("ROW", "ROWS")
	if p.accept("WITH", "TIES") {
		p.unsupported(p.tok().Start, "", "FETCH .. WITH TIES is not supported")
	}
	p.expect("ONLY")
	return n
}

// values takes VALUES (..), (..). Rows of literals need no vitess, and INSERTs are nearly always that.
func (p *parser) values() *ast.Values {
	v := &ast.Values{Span: p.here()}
	p.expect("VALUES")
	b := p.newBatch()
	// later are the places that the batch fills in.
	type place struct{ row, column, item int }
	var later []place
	for p.err == nil {
		p.accept("ROW")
		p.expect("(")
		width := 4
		if len(v.Rows) > 0 {
			width = len(v.Rows[0])
		}
		row := make([]ast.Expr, 0, width)
		for p.err == nil {
			if e := p.literal(); e != nil {
				row = append(row, e)
			} else {
				later = append(later, place{len(v.Rows), len(row), b.add(p)})
				row = append(row, nil)
			}
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
		v.Rows = append(v.Rows, row)
		if !p.accept(",") {
			break
		}
	}
	items := b.items()
	for _, l := range later {
		v.Rows[l.row][l.column] = items[l.item]
	}
	v.Span = p.since(v.Span)
	return v
}

// literals takes a list in brackets when all of it is literals, which need no vitess; nil leaves it where it is.
func (p *parser) literals() []ast.Expr {
	pos, questions, dollars := p.pos, p.questions, p.dollars
	p.advance()
	var out []ast.Expr
	for {
		e := p.literal()
		if e == nil || p.err != nil {
			break
		}
		out = append(out, e)
		if p.accept(",") {
			continue
		}
		if p.accept(")") {
			return out
		}
		break
	}
	if p.err == nil {
		p.pos, p.questions, p.dollars = pos, questions, dollars
	}
	return nil
}

// grown is list with room for one more: a full list is left to those who point into it, and a new one begun.
func grown[T any](list []T) []T {
	if len(list) < cap(list) {
		return list
	}
	const least, most = 4, 256
	return make([]T, 0, min(max(least, 2*cap(list)), most))
}

// literal takes a value that is one literal and ends at a comma or a bracket, and gives nil for any other.
func (p *parser) literal() ast.Expr {
	i := p.pos
	negative := p.tokens[i].Key == "-" && i+1 < len(p.tokens) && p.tokens[i+1].Kind == token.Number
	if negative {
		i++
	}
	if i+1 >= len(p.tokens) {
		return nil
	}
	if k := p.tokens[i+1].Key; k != "," && k != ")" {
		return nil
	}
	t := &p.tokens[i]
	span := ast.Span{Start: t.Start, End: t.End}
	var out ast.Expr
	switch t.Kind {
	case token.String:
		p.strings = append(grown(p.strings), ast.String{Span: span, Value: t.Text})
		out = &p.strings[len(p.strings)-1]
	case token.Number:
		text := t.Text
		if negative {
			span.Start = p.tok().Start
			text = p.text[span.Start:span.End]
			if len(text) != 1+len(t.Text) {
				text = "-" + t.Text
			}
		}
		p.numbers = append(grown(p.numbers), ast.Number{Span: span, Text: text})
		out = &p.numbers[len(p.numbers)-1]
	case token.Param:
		return p.param()
	case token.Word:
		switch t.Key {
		case "NULL":
			out = &ast.Null{Span: span}
		case "TRUE", "FALSE":
			out = &ast.Bool{Span: span, Value: t.Key == "TRUE"}
		case "DEFAULT":
			out = &ast.Default{Span: span}
		}
	}
	if out != nil {
		p.pos = i + 1
	}
	return out
}
