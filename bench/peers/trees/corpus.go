package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"kalamflight/sqlfront"
)

// pieces are the statements of a script.
func pieces(text string) []string {
	found, err := sqlfront.Split(text)
	if err != nil {
		return nil
	}
	out := make([]string, len(found))
	for i, p := range found {
		out[i] = p.Text
	}
	return out
}

// goldens are the inputs of a golden file: statements, and in blocks eval an expression a line.
func goldens(text string) []string {
	var out []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		word, _, _ := strings.Cut(lines[i], " ")
		if word != "sql" && word != "plan" && word != "eval" {
			continue
		}
		var input []string
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			input = append(input, lines[i])
		}
		if word != "eval" {
			out = append(out, pieces(strings.Join(input, "\n"))...)
			continue
		}
		for _, line := range input {
			out = append(out, "SELECT "+line)
		}
	}
	return out
}

// logicTests are the statements and queries of a sqllogictest script.
func logicTests(text string) []string {
	var out []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "query ") && !strings.HasPrefix(lines[i], "statement ok") {
			continue
		}
		var input []string
		for i++; i < len(lines) && lines[i] != "----" && strings.TrimSpace(lines[i]) != ""; i++ {
			input = append(input, lines[i])
		}
		out = append(out, pieces(strings.Join(input, "\n"))...)
	}
	return out
}

// generator writes random expressions, mostly without brackets: how they nest is the question.
type generator struct{ *rand.Rand }

func (g *generator) pick(all ...string) string { return all[g.IntN(len(all))] }

// The levels of operators, as loose as they bind: what is looser stands in brackets as an operand of what is tighter.
// Within a level anything may stand beside anything.
const (
	tight = iota
	matching
	comparing
	testing
	negating
	joining
)

// expr is an expression that needs no brackets at a level.
func (g *generator) expr(level, depth int) string {
	if depth <= 0 || g.IntN(6) == 0 {
		return g.leaf()
	}
	e := func(level int) string { return g.expr(level, depth-1) }
	at := g.IntN(level + 1)
	if g.IntN(3) == 0 {
		at = tight
	}
	switch at {
	case joining:
		return e(joining) + " " + g.pick("AND", "OR") + " " + e(negating)
	case negating:
		return "NOT " + e(negating)
	case testing:
		if g.IntN(3) == 0 {
			return e(comparing) + " IS " + g.pick("", "NOT ") + "DISTINCT FROM " + e(comparing)
		}
		return e(testing) + " IS " + g.pick("", "NOT ") + g.pick("NULL", "TRUE", "FALSE", "UNKNOWN")
	case comparing: // PostgreSQL has a comparison with ANY bind as tight as ||; here it is one like the others
		if g.IntN(4) == 0 {
			return e(tight) + " " + g.pick("=", "<", ">=") + " " + g.pick("ANY", "ALL") + " (" +
				g.pick("ARRAY["+e(joining)+"]", "SELECT x FROM t", "list") + ")"
		}
		return e(matching) + " " + g.pick("=", "<>", "<", ">", "<=", ">=", "!=") + " " + e(matching)
	case matching:
		return g.matching(e)
	}
	return g.tight(e)
}

// matching are the operators between the comparisons and the others, none of which stands beside another.
func (g *generator) matching(e func(int) string) string {
	switch g.IntN(3) {
	case 0:
		return e(tight) + " " + g.pick("", "NOT ") + "BETWEEN " + g.pick("", "SYMMETRIC ") + e(tight) + " AND " + e(tight)
	case 1:
		return e(tight) + " " + g.pick("", "NOT ") + "IN (" + e(joining) + ", " + e(joining) + ")"
	}
	return e(tight) + " " + g.pick("", "NOT ") + g.pick("LIKE", "ILIKE", "SIMILAR TO") + " " + e(tight) +
		g.pick("", "", " ESCAPE '!'")
}

func (g *generator) tight(e func(int) string) string {
	switch g.IntN(14) {
	case 0, 1, 2, 3:
		return e(tight) + " " + g.pick("+", "-", "*", "/", "%", "^") + " " + e(tight)
	case 4, 5, 6:
		return e(tight) + " " + g.pick("||", "&", "|", "#", "<<", ">>", "->", "->>", "#>", "@>", "<@", "~", "~*", "!~", "~~",
			"!~~", "<->") + " " + e(tight)
	case 7:
		return g.pick("- ", "+ ", "~ ") + e(tight)
	case 8:
		return e(tight) + "::" + g.pick("int", "text", "numeric(10,2)", "date", "bigint", "double precision", "int[]")
	case 9:
		return e(tight) + " AT TIME ZONE " + g.pick("'UTC'", "zone")
	case 10:
		return "CASE " + g.pick("", e(joining)+" ") + "WHEN " + e(joining) + " THEN " + e(joining) +
			g.pick("", " ELSE "+e(joining)) + " END"
	case 11:
		return "(" + e(joining) + ")" + g.pick("", "", "[1]", "[1:2]")
	case 12:
		return g.pick("f", "coalesce", "greatest", "count") + "(" + e(joining) + ", " + e(joining) + ")"
	}
	return g.pick("EXTRACT("+g.pick("year", "epoch")+" FROM "+e(joining)+")",
		"CAST("+e(joining)+" AS "+g.pick("int", "varchar(10)")+")", "SUBSTRING("+e(tight)+" FROM 2 FOR 3)",
		"TRIM("+g.pick("", "LEADING ")+"'x' FROM "+e(tight)+")", "POSITION('a' IN b)", "OVERLAY(a PLACING b FROM 2)",
		"NULLIF("+e(joining)+", "+e(joining)+")")
}

func (g *generator) leaf() string {
	return g.pick("a", "b", "t.c", "\"Q\"", "1", "2.5", "'s'", "NULL", "TRUE", "DATE '2024-01-01'", "INTERVAL '1 day'",
		"INTERVAL '3' DAY", "-1", "x[2]", "(SELECT 1)", "EXISTS (SELECT 1)", "ARRAY[1, 2]", "CURRENT_DATE", "count(*)",
		"sum(a) OVER (PARTITION BY b ORDER BY c)", "TIMESTAMP '2024-01-01 00:00:00'", fmt.Sprint(g.IntN(100)))
}
