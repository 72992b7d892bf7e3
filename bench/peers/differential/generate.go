package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is the type of an expression as the generator sees it: enough that both sides accept what it writes.
type kind int

const (
	integer kind = iota
	long
	money
	double
	text
	date
	timestamp
	boolean
	kinds
)

// columns are those of every table, one of each kind behind the key.
var columns = [kinds]string{"i", "b", "d", "f", "s", "dt", "ts", "bo"}

// tables with their rows; the last one is empty, so that every query also meets no rows.
var tables = []struct {
	name string
	rows int
}{{"t0", 300}, {"t1", 60}, {"t2", 12}, {"t3", 0}}

// generator writes random queries over the tables. It is for one goroutine.
type generator struct {
	*rand.Rand
	aliases int
}

// scope is the tables whose columns an expression may name.
type scope []string

func (g *generator) pick(all ...string) string { return all[g.IntN(len(all))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) kind() kind { return kind(g.IntN(int(kinds))) }

func (g *generator) alias() string {
	g.aliases++
	return fmt.Sprintf("a%d", g.aliases)
}

func (g *generator) column(s scope, k kind) string {
	name := columns[k]
	if k == long && g.chance(30) {
		name = "id"
	}
	return g.pick(s...) + "." + name
}

func (g *generator) literal(k kind) string {
	switch k {
	case integer:
		return fmt.Sprint(g.IntN(12))
	case long:
		return fmt.Sprintf("CAST(%d AS BIGINT)", g.IntN(60)-10)
	case money:
		return fmt.Sprintf("CAST('%d.%02d' AS DECIMAL(10,2))", g.IntN(30)-10, g.IntN(100))
	case double:
		return fmt.Sprintf("CAST(%d.%s AS DOUBLE)", g.IntN(20), g.pick("0", "25", "5", "75"))
	case text:
		return g.pick("''", "'a'", "'ab'", "'Abc'", "'b%'", "'zoë'", "' x '", "'10'")
	case date:
		return fmt.Sprintf("DATE '2023-%02d-%02d'", 1+g.IntN(12), 1+g.IntN(28))
	case timestamp:
		return fmt.Sprintf("TIMESTAMP '2023-%02d-%02d %02d:30:00'", 1+g.IntN(12), 1+g.IntN(28), g.IntN(24))
	default:
		return g.pick("TRUE", "FALSE", "CAST(NULL AS BOOLEAN)")
	}
}

// expr is a random expression of a kind, at most depth calls deep.
func (g *generator) expr(s scope, k kind, depth int) string {
	if depth <= 0 || g.chance(25) {
		if len(s) == 0 || g.chance(15) {
			return g.literal(k)
		}
		return g.column(s, k)
	}
	d := depth - 1
	e := func(k kind) string { return g.expr(s, k, d) }
	switch g.IntN(8) {
	case 0:
		return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", e(boolean), e(k), e(k))
	case 1:
		return fmt.Sprintf("COALESCE(%s, %s)", e(k), e(k))
	case 2:
		return fmt.Sprintf("NULLIF(%s, %s)", e(k), e(k))
	case 3:
		return fmt.Sprintf("%s(%s, %s)", g.pick("GREATEST", "LEAST"), e(k), e(k))
	}
	switch k {
	case integer:
		return g.integer(e)
	case long:
		return g.pick(
			fmt.Sprintf("(%s %s %s)", e(long), g.pick("+", "-"), e(integer)), "CAST("+e(integer)+" AS BIGINT)",
			"abs("+e(long)+")", "length("+e(text)+")", "strpos("+e(text)+", "+e(text)+")",
			"CAST(date_diff('day', "+e(date)+", "+e(date)+") AS BIGINT)",
			fmt.Sprintf("CAST(extract(%s FROM %s) AS BIGINT)", g.pick("year", "month", "day", "doy", "dow", "quarter"), e(date)),
			fmt.Sprintf("CAST(date_part('%s', %s) AS BIGINT)", g.pick("hour", "week", "isodow", "minute"), e(timestamp)))
	case money:
		return g.pick("CAST("+e(money)+" + "+e(money)+" AS DECIMAL(10,2))", "CAST("+e(money)+" * 2 AS DECIMAL(10,2))",
			"abs("+e(money)+")", "(-"+e(money)+")", "CAST("+e(integer)+" AS DECIMAL(10,2))")
	case double:
		return g.pick("("+e(double)+g.pick(" + ", " - ", " * ")+e(double)+")", "CAST("+e(integer)+" AS DOUBLE)",
			"CAST("+e(money)+" AS DOUBLE)", g.pick("floor", "ceil", "abs", "round", "sign")+"("+e(double)+")",
			"sqrt(abs("+e(double)+"))", "("+e(double)+" / 4)")
	case text:
		return g.text(e)
	case date:
		return g.pick("("+e(date)+" + CAST("+e(integer)+" AS INTEGER))", "CAST("+e(timestamp)+" AS DATE)",
			fmt.Sprintf("CAST(date_trunc('%s', %s) AS DATE)", g.pick("month", "year", "week", "quarter"), e(date)),
			"CAST("+e(date)+" + INTERVAL '1 month' AS DATE)", "last_day("+e(date)+")")
	case timestamp:
		return g.pick("CAST("+e(date)+" AS TIMESTAMP)", "("+e(timestamp)+g.pick(" + ", " - ")+"INTERVAL '3 hours')",
			fmt.Sprintf("date_trunc('%s', %s)", g.pick("hour", "day", "month", "minute"), e(timestamp)))
	default:
		return g.predicate(s, d)
	}
}

func (g *generator) integer(e func(kind) string) string {
	return g.pick(fmt.Sprintf("(%s %s %s)", e(integer), g.pick("+", "-", "*"), e(integer)),
		// by zero is an error here and NULL there
		fmt.Sprintf("(%s %s %d)", e(integer), g.pick("%", "/"), 1+g.IntN(9)), "abs("+e(integer)+")", "(-"+e(integer)+")",
		"CAST(round("+e(double)+") AS INTEGER)", "CAST("+e(money)+" AS INTEGER)")
}

func (g *generator) text(e func(kind) string) string {
	return g.pick("("+e(text)+" || "+e(text)+")", g.pick("upper", "lower", "trim", "ltrim", "rtrim", "reverse", "md5")+"("+
		e(text)+")",
		"substring("+e(text)+", "+g.pick("1", "2", "0")+", "+g.pick("1", "2", "5")+")",
		"replace("+e(text)+", 'a', "+e(text)+")", "CAST("+e(g.scalar())+" AS VARCHAR)",
		"left("+e(text)+", "+g.pick("1", "-1", "2")+")", "right("+e(text)+", "+g.pick("1", "-1", "2")+")",
		"concat("+e(text)+", "+e(text)+")", "lpad("+e(text)+", 4, '*')", "concat_ws('-', "+e(text)+", "+e(text)+")",
		"strftime("+e(timestamp)+", '%Y/%m/%d %H')", "split_part("+e(text)+", 'b', 1)", "repeat("+e(text)+", 2)")
}

// scalar is a kind whose values both sides write as the same text.
func (g *generator) scalar() kind {
	return []kind{integer, long, money, text, date, timestamp, boolean}[g.IntN(7)]
}

func (g *generator) predicate(s scope, depth int) string {
	k := g.kind()
	e := func(k kind) string { return g.expr(s, k, depth) }
	switch g.IntN(10) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", e(k), g.pick("=", "<>", "<", "<=", ">", ">="), e(k))
	case 2:
		return fmt.Sprintf("(%s IS %sNULL)", e(k), g.pick("", "NOT "))
	case 3:
		return fmt.Sprintf("(%s %sIN (%s, %s, %s))", e(k), g.pick("", "NOT "), g.literal(k), g.literal(k), e(k))
	case 4:
		return fmt.Sprintf("(%s %sBETWEEN %s AND %s)", e(k), g.pick("", "NOT "), e(k), e(k))
	case 5:
		return fmt.Sprintf("(%s %s%s %s)", e(text), g.pick("", "NOT "), g.pick("LIKE", "ILIKE"),
			g.pick("'a%'", "'%b%'", "'_b'", "'%'", "''", "'z__'"))
	case 6:
		return fmt.Sprintf("(%s %s %s)", g.predicate(s, depth-1), g.pick("AND", "OR"), g.predicate(s, depth-1))
	case 7:
		return "(NOT " + g.predicate(s, depth-1) + ")"
	case 8:
		return fmt.Sprintf("(%s IS %sDISTINCT FROM %s)", e(k), g.pick("", "NOT "), e(k))
	default:
		return "(" + e(boolean) + ")"
	}
}

// subquery is a predicate with a subquery, correlated when there is something to correlate with.
func (g *generator) subquery(s scope) string {
	a, k := g.alias(), g.kind()
	from := fmt.Sprintf("FROM %s %s", g.table(), a)
	where := " WHERE " + g.predicate(scope{a}, 1)
	if g.chance(60) {
		c := g.kind()
		where += fmt.Sprintf(" AND %s = %s", g.column(scope{a}, c), g.column(s, c))
	}
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("(%sEXISTS (SELECT 1 %s%s))", g.pick("", "NOT "), from, where)
	case 1:
		return fmt.Sprintf("(%s %sIN (SELECT %s %s%s))", g.expr(s, k, 1), g.pick("", "NOT "), g.expr(scope{a}, k, 1), from,
			where)
	case 2:
		return fmt.Sprintf("(%s %s (SELECT %s(%s) %s%s))", g.expr(s, k, 1), g.pick("=", "<", ">="), g.extreme(k),
			g.column(scope{a}, k), from, where)
	default:
		return fmt.Sprintf("((SELECT count(*) %s%s) %s %d)", from, where, g.pick(">", "=", "<"), g.IntN(4))
	}
}

func (g *generator) extreme(k kind) string { return g.pick("min", "max") }

func (g *generator) table() string { return "{n}." + tables[g.IntN(len(tables))].name }

// from is a FROM clause of one to three tables.
func (g *generator) from() (string, scope) {
	a := g.alias()
	clause, s := "FROM "+g.table()+" "+a, scope{a}
	for g.chance(45) && len(s) < 3 {
		b := g.alias()
		small := fmt.Sprintf("{n}.%s %s", tables[1+g.IntN(3)].name, b)
		if g.chance(10) {
			clause += " CROSS JOIN " + fmt.Sprintf("{n}.t2 %s", b)
			s = append(s, b)
			continue
		}
		k := g.kind()
		on := fmt.Sprintf("%s = %s", g.column(s, k), g.column(scope{b}, k))
		if g.chance(30) {
			on += " AND " + g.predicate(append(s[:len(s):len(s)], b), 1)
		}
		clause += fmt.Sprintf(" %s JOIN %s ON %s", g.pick("INNER", "LEFT", "RIGHT", "FULL"), small, on)
		s = append(s, b)
	}
	return clause, s
}

func (g *generator) where(s scope) string {
	switch g.IntN(4) {
	case 0:
		return ""
	case 1:
		return " WHERE " + g.subquery(s)
	case 2:
		return " WHERE " + g.predicate(s, 2) + " AND " + g.subquery(s)
	default:
		return " WHERE " + g.predicate(s, 2)
	}
}

// sel is a SELECT whose columns are c0, c1, ... of the kinds given.
func (g *generator) sel(out []kind) string {
	from, s := g.from()
	items := make([]string, len(out))
	for i, k := range out {
		items[i] = fmt.Sprintf("%s AS c%d", g.expr(s, k, 2), i)
	}
	return fmt.Sprintf("SELECT %s%s %s%s", g.pick("", "", "DISTINCT "), strings.Join(items, ", "), from, g.where(s))
}

func (g *generator) aggregate(s scope) string {
	k := g.kind()
	var call string
	switch g.IntN(6) {
	case 0:
		call = "count(*)"
	case 1:
		call = fmt.Sprintf("count(%s%s)", g.pick("", "DISTINCT "), g.expr(s, k, 1))
	case 2:
		call = fmt.Sprintf("%s(%s)", g.extreme(k), g.expr(s, k, 1))
	case 3:
		call = fmt.Sprintf("%s(%s%s)", g.pick("sum", "avg"), g.pick("", "DISTINCT "),
			g.expr(s, []kind{integer, long, money, double}[g.IntN(4)], 1))
	case 4:
		call = fmt.Sprintf("%s(%s)", g.pick("bool_and", "bool_or"), g.expr(s, boolean, 1))
	default:
		call = fmt.Sprintf("%s(%s)", g.pick("median", "stddev_samp", "var_pop"),
			g.column(s, []kind{integer, double}[g.IntN(2)]))
	}
	if g.chance(25) {
		call += fmt.Sprintf(" FILTER (WHERE %s)", g.predicate(s, 1))
	}
	return call
}

func (g *generator) grouped() string {
	from, s := g.from()
	keys := g.IntN(3)
	var items, by []string
	for i := range keys {
		items = append(items, fmt.Sprintf("%s AS c%d", g.expr(s, g.kind(), 1), i))
		by = append(by, fmt.Sprint(i+1))
	}
	for i := range 1 + g.IntN(3) {
		items = append(items, fmt.Sprintf("%s AS c%d", g.aggregate(s), keys+i))
	}
	q := fmt.Sprintf("SELECT %s %s%s", strings.Join(items, ", "), from, g.where(s))
	if keys > 0 {
		q += " GROUP BY " + strings.Join(by, ", ")
	}
	if g.chance(30) {
		q += fmt.Sprintf(" HAVING count(*) %s %d", g.pick(">", "<", "<>"), g.IntN(5))
	}
	return q
}

func (g *generator) windowed() string {
	from, s := g.from()
	if len(s) > 1 { // the order of a window must be total for one answer
		a := g.alias()
		from, s = "FROM "+g.table()+" "+a, scope{a}
	}
	over := "OVER (PARTITION BY " + g.column(s, g.kind()) + " ORDER BY " + g.column(s, g.kind()) + g.pick("", " DESC") +
		", " + s[0] + ".id"
	frame := g.pick("", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
		" ROWS BETWEEN 1 PRECEDING AND 3 FOLLOWING", " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
		" ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW")
	k := g.kind()
	call := g.pick("row_number()", "rank()", "dense_rank()", "ntile(3)", "percent_rank()", "cume_dist()",
		"lag("+g.column(s, k)+", 2)", "lead("+g.column(s, k)+")")
	if g.chance(60) {
		call = g.pick("sum("+g.column(s, []kind{integer, money, double}[g.IntN(3)])+")", "count("+g.column(s, k)+")", "min("+
			g.column(s, k)+")",
			"avg("+g.column(s, integer)+")", "first_value("+g.column(s, k)+")", "last_value("+g.column(s, k)+")")
		over += frame
	}
	q := fmt.Sprintf("SELECT %s.id AS c0, %s %s) AS c1 %s%s", s[0], call, over, from, g.where(s))
	if g.chance(15) {
		q = "SELECT * FROM (" + q + ") AS w WHERE c1 IS NOT NULL"
	}
	return q
}

// query is a whole query, and whether its rows come in one order.
func (g *generator) query() (text string, ordered bool) {
	g.aliases = 0
	out := []kind{g.kind(), g.kind(), g.kind()}[:1+g.IntN(3)]
	switch g.IntN(7) {
	case 0, 1:
		text = g.sel(out)
	case 2, 3:
		return g.grouped(), false
	case 4:
		return g.windowed(), false
	case 5:
		text = g.sel(out) + " " + g.pick("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL") + " " +
			g.sel(out)
	default:
		inner := g.sel(out)
		return fmt.Sprintf(
			"WITH w AS (%s) SELECT x.c0, count(*) AS n FROM w AS x %s JOIN w AS y ON x.c0 = y.c0 GROUP BY x.c0",
			inner, g.pick("INNER", "LEFT")), false
	}
	if g.chance(40) {
		by := make([]string, len(out))
		for i := range out {
			by[i] = fmt.Sprintf("%d%s", i+1, g.pick("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST"))
		}
		text += " ORDER BY " + strings.Join(by, ", ")
		ordered = true
		if g.chance(60) {
			text += fmt.Sprintf(" LIMIT %d", g.IntN(20))
		}
		if g.chance(20) {
			text += fmt.Sprintf(" OFFSET %d", g.IntN(5))
		}
	}
	return text, ordered
}
