package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kalamflight/engine/plan"
	"kalamflight/internal/testkit"
)

// TestLiteralsBothWays runs random INSERTs of literals as they stand, which is the short way from the text to columns,
// and with a comment behind the rows, which is the way of any other statement. Rows and errors must be the same.
func TestLiteralsBothWays(t *testing.T) {
	w := newWorld(t, nil)
	rng, _ := testkit.Rand(t)
	columns := "s SMALLINT, i INT, b BIGINT DEFAULT 7, f FLOAT, d DOUBLE, n DECIMAL(6, 2), m DECIMAL(30, 4), " +
		"x TEXT DEFAULT 'none', v VARCHAR(5), o BOOLEAN, u UUID, j JSON, day DATE, at TIMESTAMP, z DATETIME, c TIME, " +
		"w TEXT DEFAULT CURRENT_USER(), y BYTES"
	w.must("CREATE SHARED TABLE l (" + columns + ", CHECK (i < 1000000), UNIQUE (u))")
	var names []string
	for _, c := range strings.Split(columns, ", ") {
		if name, _, ok := strings.Cut(c, " "); ok {
			names = append(names, name)
		}
	}
	short := 0
	for range 800 {
		text := randomInsert(rng, names)
		c, err := w.compile("", strings.Replace(text, " END", "", 1))
		if err == nil && isRows(c) {
			short++
		}
		one, oneRows := w.inserted(strings.Replace(text, " END", "    ", 1))
		other, otherRows := w.inserted(strings.Replace(text, " END", "/**/", 1))
		if one, other = quoteless(one), quoteless(other); one != other || oneRows != otherRows {
			t.Fatalf("%s\nas it stands: %s%s\nwith a comment: %s%s", text, one, oneRows, other, otherRows)
		}
	}
	if short < 60 {
		t.Fatalf("only %d statements took the short way", short)
	}
}

// must runs a statement that has to succeed.
func (w *world) must(sql string) {
	w.t.Helper()
	if out := w.sql("", sql, false); strings.HasPrefix(out, "error") {
		w.t.Fatal(out)
	}
}

// inserted runs an INSERT and shows what came of it; then the table is empty again.
func (w *world) inserted(text string) (outcome, rows string) {
	w.t.Helper()
	outcome = w.sql("", text, false)
	rows = w.sql("", "SELECT * FROM l ORDER BY _seq, b, i, x", false)
	w.must("DELETE FROM l")
	return outcome, rows
}

// quoteless is an error without the piece of the statement that it quotes, which ends elsewhere with the comment.
func quoteless(outcome string) string {
	lines := strings.Split(outcome, "\n")
	if len(lines) > 1 && strings.HasPrefix(outcome, "error") {
		lines[1] = ""
	}
	return strings.Join(lines, "\n")
}

func isRows(c *plan.Compiled) bool {
	n := c.Statement.(*plan.Insert).Source
	if p, ok := n.(*plan.Project); ok {
		n = p.Input
	}
	_, ok := n.(*plan.Rows)
	return ok
}

// randomInsert makes an INSERT into l; " END" stands behind its rows.
func randomInsert(rng *rand.Rand, names []string) string {
	var b strings.Builder
	b.WriteString([]string{"INSERT INTO l", "insert into l", "INSERT INTO default.l AS k"}[rng.IntN(3)])
	width := 1 + rng.IntN(1+rng.IntN(len(names)))
	order := rng.Perm(len(names))
	if rng.IntN(8) == 0 {
		for i := range order {
			order[i] = i
		}
	} else {
		b.WriteString(" (")
		for i, k := range order[:width] {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(names[k])
		}
		b.WriteString(")")
	}
	b.WriteString([]string{" VALUES ", "\n\tvalues"}[rng.IntN(2)])
	strange := rng.IntN(3)
	for r := range 1 + rng.IntN(3) {
		if r > 0 {
			b.WriteString(" , ")
		}
		b.WriteString("(")
		cells := width
		if rng.IntN(60) == 0 {
			cells = max(1, cells+rng.IntN(3)-1)
		}
		for i := range cells {
			if i > 0 {
				b.WriteString([]string{",", ", ", "\n ,"}[rng.IntN(3)])
			}
			name := names[order[min(i, len(order)-1)]]
			if strange == 0 && rng.IntN(6) == 0 {
				name = names[rng.IntN(len(names))]
			}
			b.WriteString(randomCell(rng, name))
		}
		b.WriteString(")")
	}
	b.WriteString(" END")
	b.WriteString([]string{"", ";", " ON CONFLICT DO NOTHING", " RETURNING i, x"}[rng.IntN(4)])
	return b.String()
}

// randomCell is a literal that most often suits a column.
func randomCell(rng *rand.Rand, name string) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	switch rng.IntN(12) {
	case 0:
		return pick("NULL", "null", "DEFAULT", "Default")
	case 1:
		if rng.IntN(8) == 0 {
			return pick("1 + 1", "'a' || 'b'", "0x1F", "+3", "- 4", "--1\n5", "$$x$$", "E'\\n'", "X'00ff'", "abs(-1)", "1_000",
				"(2)", "'2' '3'", "2::INT", "NULLS", "'open", "- -3", "INTERVAL '1 day'", "DATE 5", "'é'", "\u00a06")
		}
	}
	number := pick(fmt.Sprint(rng.IntN(400)-200), fmt.Sprint(rng.Int64()), "-32769", "2147483648", "-0", "007")
	fraction := pick(fmt.Sprintf("%d.%02d", rng.IntN(99), rng.IntN(99)), "-.5", "1.", "1e3", "-2.5E-2", "0.125", "-0.0",
		"12345678901234567890.1234", "16777217", "3.14159265358979", "1e400", "0.1", "99999.999")
	switch name {
	case "s", "i", "b":
		return pick(number, number, "'"+number+"'", "' 5 '", fraction)
	case "f", "d", "n", "m":
		return pick(number, fraction, fraction, "'"+fraction+"'", "'NaN'")
	case "x", "v", "w":
		return pick("'a'", "'it''s'", "''", "'long text here'", "'ÄÖ'", number)
	case "o":
		return pick("TRUE", "false", "'yes'", "'0'", "1", "'x'")
	case "u":
		return pick("'123e4567-e89b-12d3-a456-426614174000'", "'123E4567-E89B-12D3-A456-426614174000'", "'123'")
	case "j":
		return pick(`'{"a": [1, 2]}'`, "'null'", "'{'", "'1'", "2")
	case "day", "at", "z":
		return pick("'2024-02-29'", "DATE '2024-01-01'", "date'1999-12-31'", "TIMESTAMP '2024-01-01 10:00:00.5'",
			"'2024-01-01T10:00:00Z'", "'2024-01-01 10:00:00'", "'2024-02-30'", "'soon'", "TIMESTAMP '2024-01-01'",
			"'2024-01-01 10:00:00.123456+02'")
	case "c":
		return pick("'10:00:00'", "TIME '11:00'", "'25:00'")
	}
	return pick("'bytes'", "X'0A'", "''")
}
