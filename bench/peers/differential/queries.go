package main

import (
	"fmt"
	"strings"
)

// subquery is a predicate with a subquery, correlated when there is something to correlate with; depth is how many may
// stand in it, which may name the columns of all around them.
func (g *generator) subquery(s scope, depth int) string {
	a, k := g.alias(), g.kind()
	from := fmt.Sprintf("FROM %s %s", g.table(), a)
	where := " WHERE " + g.predicate(scope{a}, 1)
	if g.chance(60) {
		c := g.kind()
		where += fmt.Sprintf(" AND %s %s %s", g.column(scope{a}, c), g.pick("=", "=", "=", "<=", "<>",
			"IS NOT DISTINCT FROM"), g.column(s, c))
	}
	if depth > 0 && g.chance(35) {
		where += " AND " + g.subquery(append(s[:len(s):len(s)], a), depth-1)
	}
	value := g.expr(scope{a}, k, 1)
	switch g.IntN(7) {
	case 0:
		return fmt.Sprintf("(%sEXISTS (SELECT 1 %s%s))", g.pick("", "NOT "), from, where)
	case 1:
		return fmt.Sprintf("(%s %sIN (SELECT %s %s%s))", g.expr(s, k, 1), g.pick("", "NOT "), value, from, where)
	case 2:
		return fmt.Sprintf("(%s %s (SELECT %s(%s) %s%s))", g.expr(s, k, 1), g.pick("=", "<", ">="), g.extreme(k),
			g.column(scope{a}, k), from, where)
	case 3:
		return fmt.Sprintf("(%s %s %s (SELECT %s %s%s))", g.expr(s, k, 1), g.pick("=", "<>", "<", ">="),
			g.pick("ANY", "ALL"), value, from, where)
	case 4:
		return fmt.Sprintf("(%s = (SELECT %s %s%s ORDER BY %s.id%s LIMIT 1))", g.expr(s, k, 1), value, from, where, a,
			g.pick("", " DESC"))
	case 5:
		sum := g.kindOf(integer, long, money, double)
		return fmt.Sprintf("((SELECT sum(%s) %s%s) %s %s)", g.column(scope{a}, sum), from, where, g.pick(">", "=", "<"),
			g.expr(s, sum, 1))
	default:
		return fmt.Sprintf("((SELECT count(*) %s%s) %s %d)", from, where, g.pick(">", "=", "<"), g.IntN(4))
	}
}

func (g *generator) extreme(kind) string { return g.pick("min", "max") }

func (g *generator) table() string {
	n := g.IntN(len(tables) - 1)
	if g.chance(6) && !g.few {
		n = len(tables) - 1
	}
	return "{n}." + tables[n].name
}

// small is a table to join with: the rows of a join stay few.
func (g *generator) small() string { return "{n}." + tables[1+g.IntN(3)].name }

// from is a FROM clause of one to three tables.
func (g *generator) from() (string, scope) {
	a := g.alias()
	clause, s := "FROM "+g.table()+" "+a, scope{a}
	for g.chance(45) && len(s) < 3 {
		b := g.alias()
		if g.chance(10) {
			clause += " CROSS JOIN " + fmt.Sprintf("{n}.t2 %s", b)
			s = append(s, b)
			continue
		}
		if g.chance(15) {
			clause += g.lateral(s, b)
			s = append(s, b)
			continue
		}
		clause += fmt.Sprintf(" %s JOIN %s %s ON %s", g.pick("INNER", "LEFT", "RIGHT", "FULL"), g.small(), b, g.on(s, b))
		s = append(s, b)
	}
	return clause, s
}

// on is the condition of a join of the tables of s with b.
func (g *generator) on(s scope, b string) string {
	k := g.kind()
	on := fmt.Sprintf("%s = %s", g.column(s, k), g.column(scope{b}, k))
	switch g.IntN(10) {
	case 0: // a key of two kinds of number
		on = fmt.Sprintf("%s = %s", g.column(s, g.kindOf(integer, long, small, money)), g.column(scope{b},
			g.kindOf(integer, long, small, money)))
	case 1:
		on = fmt.Sprintf("%s = %s", g.expr(s, k, 1), g.expr(scope{b}, k, 1))
	}
	if g.chance(30) {
		on += " AND " + g.predicate(append(s[:len(s):len(s)], b), 1)
	}
	return on
}

// lateral joins some rows of a table for each row of s.
func (g *generator) lateral(s scope, b string) string {
	c, k := g.alias(), g.kind()
	if g.chance(10) {
		return fmt.Sprintf(" CROSS JOIN LATERAL (SELECT %s.* FROM %s %[1]s, (VALUES (%[3]s), (%[4]s)) AS v(x) "+
			"WHERE %[5]s = v.x) %[6]s", c, g.small(), g.expr(s, k, 1), g.column(s, k), g.column(scope{c}, k), b)
	}
	q := fmt.Sprintf("SELECT %s.* FROM %s %s WHERE %s %s %s", c, g.small(), c, g.column(scope{c}, k),
		g.pick("=", "=", "=", "<", ">=", "<>"), g.column(s, k))
	if g.chance(50) {
		q += " AND " + g.predicate(append(s[:len(s):len(s)], c), 1)
	}
	if g.chance(60) {
		q += fmt.Sprintf(" ORDER BY %s%s, %s.id LIMIT %d", g.column(scope{c}, g.kind()), g.pick("", " DESC"), c, 1+g.IntN(3))
	}
	if g.chance(50) {
		return fmt.Sprintf(" LEFT JOIN LATERAL (%s) %s ON TRUE", q, b)
	}
	return fmt.Sprintf(" CROSS JOIN LATERAL (%s) %s", q, b)
}

func (g *generator) where(s scope) string {
	switch g.IntN(4) {
	case 0:
		return ""
	case 1:
		return " WHERE " + g.subquery(s, 1)
	case 2:
		return " WHERE " + g.predicate(s, 2) + " AND " + g.subquery(s, 1)
	default:
		return " WHERE " + g.predicate(s, 2)
	}
}

// sel is a SELECT whose columns are c0, c1, ... of the kinds given.
func (g *generator) sel(out []kind) string {
	from, s := g.from()
	items := make([]string, len(out))
	for i, k := range out {
		value := g.expr(s, k, 2)
		if g.chance(6) {
			value = g.scalarSubquery(s, k)
		}
		items[i] = fmt.Sprintf("%s AS c%d", value, i)
	}
	return fmt.Sprintf("SELECT %s%s %s%s", g.pick("", "", "DISTINCT "), strings.Join(items, ", "), from, g.where(s))
}

// scalarSubquery is a value of kind k of another table.
func (g *generator) scalarSubquery(s scope, k kind) string {
	a, c := g.alias(), g.kind()
	return fmt.Sprintf("(SELECT %s(%s) FROM %s %s WHERE %s %s %s%s)", g.extreme(k), g.expr(scope{a}, k, 1), g.small(), a,
		g.column(scope{a}, c), g.pick("=", "=", "<", ">="), g.column(s, c),
		g.pick("", " AND "+g.predicate(append(s[:len(s):len(s)], a), 1)))
}

func (g *generator) aggregate(s scope) string {
	k := g.kind()
	var call string
	switch g.IntN(9) {
	case 0:
		call = "count(*)"
	case 1:
		call = fmt.Sprintf("count(%s%s)", g.pick("", "DISTINCT "), g.expr(s, k, 1))
	case 2:
		call = fmt.Sprintf("%s(%s)", g.extreme(k), g.expr(s, k, 1))
	case 3:
		call = fmt.Sprintf("%s(%s%s)", g.pick("sum", "avg"), g.pick("", "DISTINCT "),
			g.expr(s, g.kindOf(integer, long, money, double), 1))
	case 4:
		call = fmt.Sprintf("%s(%s)", g.pick("bool_and", "bool_or"), g.expr(s, boolean, 1))
	case 5:
		call = fmt.Sprintf("%s(%s)", g.pick("median", "stddev_samp", "var_pop", "stddev_pop", "var_samp"),
			g.column(s, g.kindOf(integer, double)))
	case 6: // ordered, and by what orders equal values alike
		of := g.column(s, g.kindOf(text, integer, date)) // DuckDB refuses to order by a literal
		call = fmt.Sprintf("string_agg(%sCAST(%s AS VARCHAR), ',' ORDER BY CAST(%[2]s AS VARCHAR)%s)",
			g.pick("", "DISTINCT "), of, g.pick("", " DESC"))
	case 7:
		of := g.column(s, g.kindOf(integer, long, date, text))
		call = fmt.Sprintf("array_agg(%s ORDER BY %[1]s%s)", of, g.pick("", " DESC NULLS LAST"))
	default:
		call = g.pick(
			fmt.Sprintf("quantile_cont(%s, %s)", g.column(s, g.kindOf(integer, double)), g.pick("0.25", "0.5", "0.9")),
			fmt.Sprintf("percentile_disc(%s) WITHIN GROUP (ORDER BY %s)", g.pick("0.1", "0.5", "1"),
				g.column(s, g.kindOf(integer, date, money))),
			fmt.Sprintf("%s(%s)", g.pick("bit_and", "bit_or", "bit_xor"), g.column(s, integer)),
			fmt.Sprintf("sum(%s)", g.expr(s, wide, 1)), fmt.Sprintf("count(DISTINCT %s)", g.expr(s, text, 1)))
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
	switch {
	case keys > 0 && g.chance(15):
		q += " GROUP BY ALL"
	case keys > 0:
		q += " GROUP BY " + strings.Join(by, ", ")
	}
	if g.chance(30) {
		q += fmt.Sprintf(" HAVING count(*) %s %d", g.pick(">", "<", "<>"), g.IntN(5))
	}
	return q
}

// sets is an aggregate over grouping sets.
func (g *generator) sets() string {
	from, s := g.from()
	k := [2]string{g.column(s, g.kind()), g.column(s, g.kind())}
	for k[0] == k[1] {
		k[1] = g.column(s, g.kind())
	}
	both := k[0] + ", " + k[1]
	by := g.pick("ROLLUP ("+both+")", "CUBE ("+both+")", "GROUPING SETS (("+both+"), ("+k[0]+"), ())",
		"GROUPING SETS (("+k[1]+"), ("+k[0]+"))", k[0]+", ROLLUP ("+k[1]+")", "GROUPING SETS ((), ())",
		"GROUPING SETS (ROLLUP ("+both+"), ("+k[1]+"))")
	items := []string{"GROUPING SETS ((), ())"}
	if !strings.HasPrefix(by, items[0]) {
		items = []string{k[0] + " AS c0", k[1] + " AS c1", "CAST(grouping(" + both + ") AS BIGINT) AS c2"}
	} else {
		items = []string{"1 AS c0"}
	}
	items = append(items, g.aggregate(s)+" AS c3", "count(*) AS c4")
	q := fmt.Sprintf("SELECT %s %s%s GROUP BY %s", strings.Join(items, ", "), from, g.where(s), by)
	if g.chance(25) {
		q += " HAVING count(*) > 1"
	}
	return q
}

// window is a call over a window of the one table of s, whose order is total where the answer depends on it.
func (g *generator) window(s scope) string {
	partition := g.pick("", "PARTITION BY "+g.column(s, g.kind())+" ")
	k := g.kind()
	if g.chance(25) { // a frame by value: equal rows are all in it or all out
		by, before, after := g.column(s, integer), fmt.Sprint(g.IntN(4)), fmt.Sprint(g.IntN(4))
		switch g.IntN(3) {
		case 0:
			by, before, after = g.column(s, timestamp), "INTERVAL '20 days'", "INTERVAL '3 hours'"
		case 1:
			by = g.column(s, g.kindOf(money, double))
		}
		start := g.pick("UNBOUNDED PRECEDING", before+" PRECEDING", "CURRENT ROW")
		end := g.pick("UNBOUNDED FOLLOWING", after+" FOLLOWING", "CURRENT ROW")
		exclude := g.pick("", "", " EXCLUDE CURRENT ROW", " EXCLUDE TIES", " EXCLUDE GROUP")
		call := g.pick("sum("+g.column(s, g.kindOf(integer, money))+")", "count("+g.column(s, k)+")", "count(*)",
			"max("+g.column(s, k)+")", "min("+g.column(s, k)+")", "avg("+g.column(s, integer)+")")
		return fmt.Sprintf("%s OVER (%sORDER BY %s%s RANGE BETWEEN %s AND %s%s)", call, partition, by,
			g.pick("", " DESC", " NULLS FIRST"), start, end, exclude)
	}
	over := "OVER (" + partition + "ORDER BY " + g.column(s, g.kind()) + g.pick("", " DESC", " NULLS FIRST") + ", " +
		s[0] + ".id"
	if g.chance(40) {
		return g.pick("row_number()", "rank()", "dense_rank()", "ntile(3)", "percent_rank()", "cume_dist()",
			"lag("+g.column(s, k)+", 2)", "lead("+g.column(s, k)+")", "lag("+g.column(s, k)+", 1, "+g.literal(k)+")",
			"lead("+g.column(s, k)+", 3, "+g.literal(k)+")") + " " + over + ")"
	}
	call := g.pick("sum("+g.column(s, g.kindOf(integer, money, double))+")", "count("+g.column(s, k)+")",
		"min("+g.column(s, k)+")", "max("+g.column(s, k)+")", "avg("+g.column(s, integer)+")",
		"first_value("+g.column(s, k)+")", "last_value("+g.column(s, k)+")", "nth_value("+g.column(s, k)+", 2)",
		"sum("+g.column(s, integer)+") FILTER (WHERE "+g.predicate(s, 1)+")")
	frame := g.pick("", "", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
		" ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", " ROWS BETWEEN 1 PRECEDING AND 3 FOLLOWING",
		" ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING", " ROWS BETWEEN 2 FOLLOWING AND 4 FOLLOWING",
		" GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING", " GROUPS 2 PRECEDING",
		" ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW", " ROWS UNBOUNDED PRECEDING",
		" GROUPS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP",
		" ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES")
	return call + " " + over + frame + ")"
}

func (g *generator) windowed() string {
	a := g.alias()
	from, s := "FROM "+g.table()+" "+a, scope{a}
	q := fmt.Sprintf("SELECT %s.id AS c0, %s AS c1 %s%s", a, g.window(s), from, g.where(s))
	switch g.IntN(6) {
	case 0:
		return "SELECT * FROM (" + q + ") AS w WHERE c1 IS NOT NULL"
	case 1:
		return q + fmt.Sprintf(" QUALIFY row_number() OVER (PARTITION BY %s ORDER BY %[2]s.id) <= %d", g.column(s, g.kind()),
			a,
			1+g.IntN(3))
	case 2: // over groups
		k := g.column(s, g.kind())
		return fmt.Sprintf("SELECT %s AS c0, count(*) AS c1, sum(count(*)) OVER () AS c2, rank() OVER (ORDER BY count(*)) "+
			"AS c3 %s%s GROUP BY %[1]s", k, from, g.where(s))
	}
	return q
}

// recursive is a recursive query that ends.
func (g *generator) recursive() string {
	a, b := g.alias(), g.alias()
	s := scope{b}
	seed := fmt.Sprintf("SELECT %s.id, %s, 0 FROM {n}.t2 %[1]s WHERE %[3]s", a, g.expr(scope{a}, integer, 1),
		g.predicate(scope{a}, 1))
	step := fmt.Sprintf("SELECT %s.id, r.v + %s, r.depth + 1 FROM r JOIN {n}.t1 %[1]s ON %[1]s.id = r.n + %[3]d WHERE "+
		"r.depth < %d AND %s", b, g.column(s, integer), 1+g.IntN(5), 1+g.IntN(6), g.predicate(s, 1))
	if g.chance(40) { // with cycles, which UNION ends
		step = fmt.Sprintf("SELECT %s.id, 0, 0 FROM r JOIN {n}.t1 %[1]s ON %[1]s.%s = r.%s", b, g.pick("i", "b", "sm"),
			g.pick("n", "v"))
		return fmt.Sprintf("WITH RECURSIVE r(n, v, depth) AS (%s UNION %s) SELECT %s FROM r", seed, step,
			g.pick("n, v", "count(*) AS c, sum(n) AS s"))
	}
	return fmt.Sprintf("WITH RECURSIVE r(n, v, depth) AS (%s %s %s) SELECT %s", seed, g.pick("UNION ALL", "UNION"), step,
		g.pick("* FROM r", "depth, count(*) AS c, max(v) AS m FROM r GROUP BY depth",
			"x.n, y.v FROM r x JOIN r y ON x.n = y.n"))
}

// named joins by the names of columns: USING or NATURAL.
func (g *generator) named() string {
	k, m := g.kind(), g.kind()
	side := func() string {
		a := g.alias()
		return fmt.Sprintf("(SELECT %s AS k, %s AS m, %s.id AS %s FROM %s %[3]s WHERE %[6]s)", g.expr(scope{a}, k, 1),
			g.expr(scope{a}, m, 1), a, "id_"+a, g.small(), g.predicate(scope{a}, 1))
	}
	kind := g.pick("INNER", "LEFT", "RIGHT", "FULL")
	l, r := g.alias(), g.alias()
	join := fmt.Sprintf("%s %s %s JOIN %s %s USING (%s)", side(), l, kind, side(), r, g.pick("k", "k, m", "m"))
	if g.chance(30) {
		join = fmt.Sprintf("%s %s NATURAL %s JOIN %s %s", side(), l, kind, side(), r)
	}
	if strings.Contains(join, "USING (m)") {
		return "SELECT m, " + l + ".k AS c1, " + r + ".k AS c2 FROM " + join // which column of * is first, differs
	}
	return "SELECT " + g.pick("*", "k, count(*) AS n", "k AS c0, "+l+".k AS c1, "+r+".m AS c2") + " FROM " + join
}

// distinctOn is one row for each key.
func (g *generator) distinctOn() string {
	a := g.alias()
	s := scope{a}
	k := g.column(s, g.kind())
	return fmt.Sprintf(
		"SELECT DISTINCT ON (%s) %[1]s AS c0, %[2]s.id AS c1, %s AS c2 FROM %s %[2]s%[5]s ORDER BY %[1]s, %[6]s%[7]s, "+
			"%[2]s.id", k, a, g.expr(s, g.kind(), 1), g.table(), g.where(s), g.column(s, g.kind()), g.pick("", " DESC"))
}

// unnested makes rows of lists.
func (g *generator) unnested() string {
	a := g.alias()
	s := scope{a}
	k := g.kindOf(integer, long, text, date, double)
	list := fmt.Sprintf("[%s, %s, %s]", g.expr(s, k, 1), g.expr(s, k, 1), g.expr(s, k, 1))
	if k == text && g.chance(40) {
		list = "string_split(" + g.expr(s, text, 1) + ", '-')"
	}
	q := fmt.Sprintf("%s %s, UNNEST(%s) AS u(x)%s", g.small(), a, list, g.where(s))
	return g.pick("SELECT "+a+".id AS c0, u.x AS c1 FROM "+q, "SELECT u.x AS c0, count(*) AS c1 FROM "+q+" GROUP BY u.x",
		"SELECT count(u.x) AS c0, min(u.x) AS c1, max(u.x) AS c2 FROM "+q,
		fmt.Sprintf("SELECT %s.id AS c0, n.i AS c1 FROM %s %[1]s, generate_series(%[3]d, %[4]d) AS n(i) WHERE %[1]s.i = n.i",
			a,
			g.small(), g.IntN(4), g.IntN(12)))
}

// values joins rows that stand in the query.
func (g *generator) values() string {
	k, a := g.kind(), g.alias()
	rows := make([]string, 1+g.IntN(5))
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d, %s)", i, g.pick(g.literal(k), g.literal(k), "CAST(NULL AS "+types[k]+")"))
	}
	return fmt.Sprintf(
		"SELECT v.n AS c0, %s.id AS c1, v.x AS c2 FROM (VALUES %s) AS v(n, x) %s JOIN %s %[1]s ON v.x = %[5]s",
		a, strings.Join(rows, ", "), g.pick("INNER", "LEFT", "FULL"), g.small(), g.column(scope{a}, k))
}

// derived filters, groups and joins what another query made.
func (g *generator) derived(out []kind) string {
	inner := g.sel(out)
	if g.chance(30) {
		inner += " UNION ALL " + g.sel(out)
	}
	q := fmt.Sprintf("SELECT %s FROM (%s) AS x", g.pick("c0, count(*) AS n", "max(c0) AS m, count(c0) AS n"), inner)
	if out[0] != boolean && g.chance(60) {
		q += fmt.Sprintf(" WHERE x.c0 %s %s", g.pick("=", "<", ">="), g.literal(out[0]))
	}
	if strings.HasPrefix(q, "SELECT c0") {
		q += " GROUP BY c0"
	}
	return q
}

// setOps chains set operations.
func (g *generator) setOps(out []kind) string {
	op := func() string {
		return " " + g.pick("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL") + " "
	}
	q := g.sel(out) + op() + g.sel(out)
	if g.chance(30) {
		return q + op() + "(" + g.sel(out) + op() + g.sel(out) + ")"
	}
	return q
}

// query is a whole query, and whether its rows come in one order.
func (g *generator) query() (text string, ordered bool) {
	g.aliases, g.few = 0, false
	out := []kind{g.kind(), g.kind(), g.kind()}[:1+g.IntN(3)]
	switch g.IntN(20) {
	case 0, 1, 2:
		text = g.sel(out)
	case 3, 4, 5:
		return g.grouped(), false
	case 6:
		return g.sets(), false
	case 7, 8:
		return g.windowed(), false
	case 9, 10:
		text = g.setOps(out)
	case 11:
		return g.recursive(), false
	case 12:
		return g.named(), false
	case 13:
		return g.distinctOn(), true
	case 14:
		return g.unnested(), false
	case 15:
		return g.values(), false
	case 16, 17:
		return g.derived(out), false
	default:
		g.few = true
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
