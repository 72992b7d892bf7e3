package main

import (
	"fmt"
	"strings"
)

// write is a statement that changes the table {w}; also true, a statement of maintenance that only we have.
func (g *generator) write() (text string, ours bool) {
	g.aliases = 0
	s := scope{"{w}"}
	switch g.IntN(12) {
	case 0:
		return g.pick("FLUSH TABLE {w}", "FLUSH TABLE {w}", "COMPACT TABLE {w}"), true
	case 1, 2:
		rows := make([]string, 1+g.IntN(40))
		first := g.IntN(500)
		for i := range rows {
			rows[i] = g.row(fmt.Sprint(first + i))
		}
		return "INSERT INTO {w} VALUES " + strings.Join(rows, ", ") + g.conflict(), false
	case 3:
		a := g.alias()
		return fmt.Sprintf("INSERT INTO {w} (id, %s) SELECT %s.id + %d, %s FROM %s %[2]s%[6]s%[7]s",
			strings.Join(columns[:4], ", "),
			a, g.IntN(5)*100, strings.Join([]string{g.expr(scope{a}, 0, 1), g.expr(scope{a}, 1, 1), g.expr(scope{a}, 2, 1),
				g.expr(scope{a}, 3, 1)}, ", "), g.table(), g.where(scope{a}), g.conflict()), false
	case 4, 5, 6:
		return "UPDATE {w} SET " + g.assignments(s) + g.where(s), false
	case 7:
		a := g.alias()
		both := append(s, a)
		return fmt.Sprintf("UPDATE {w} SET %s FROM %s %s WHERE {w}.id = %[3]s.id AND %s", g.assignments(both), g.small(), a,
			g.predicate(both, 1)), false
	case 8:
		a := g.alias()
		return fmt.Sprintf("DELETE FROM {w} USING %s %s WHERE {w}.id = %[2]s.%s AND %s", g.small(), a, g.pick("id", "i", "b"),
			g.predicate(append(s, a), 1)), false
	case 9:
		return fmt.Sprintf("DELETE FROM {w} WHERE {w}.id %% %d = %d", 2+g.IntN(5), g.IntN(2)), false
	default:
		where := g.where(s)
		if where == "" {
			where = " WHERE " + g.predicate(s, 1)
		}
		return "DELETE FROM {w}" + where, false
	}
}

// assignments is one to three assignments.
func (g *generator) assignments(s scope) string {
	var out []string
	for _, k := range g.Perm(int(kinds))[:1+g.IntN(3)] {
		out = append(out, columns[k]+" = "+g.expr(s, kind(k), 2))
	}
	return strings.Join(out, ", ")
}

// conflict is what an INSERT does with keys that are taken.
func (g *generator) conflict() string {
	switch g.IntN(4) {
	case 0:
		return ""
	case 1:
		return " ON CONFLICT DO NOTHING"
	case 2:
		return " ON CONFLICT (id) DO UPDATE SET i = excluded.i"
	default:
		return " ON CONFLICT (id) DO UPDATE SET i = excluded.i, s = 'again' WHERE excluded.id % 3 = 0"
	}
}
