package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/duckdb/duckdb-go/v2"
)

// states are the namespaces of ours that hold the same rows: in the hot log, in segments, some here and some there
// with marks over both, in segments that were merged, and in many segments with rows among them that were deleted and
// written again.
var states = []string{"hot", "cold", "mixed", "compacted", "worn"}

const definition = `(id BIGINT PRIMARY KEY, i INTEGER, b BIGINT, sm SMALLINT, d DECIMAL(10,2), w DECIMAL(24,6), f DOUBLE,
	s VARCHAR, dt DATE, ts TIMESTAMP, tm TIME, bo BOOLEAN, l BIGINT[], j JSON)`

// written is the table that statements change; DuckDB has it in a schema for each state.
const written = "w"

// fill writes the same random rows to both sides.
func (p pair) fill(ctx context.Context, g *generator) error {
	for _, set := range []string{"integer_division = true", "default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'",
		"TimeZone = 'UTC'"} {
		if _, err := p.duck.ExecContext(ctx, "SET "+set); err != nil {
			return err
		}
	}
	for _, state := range states {
		if _, err := p.ours.Exec(ctx, "CREATE NAMESPACE "+state); err != nil {
			return err
		}
		for _, sql := range []string{"CREATE SCHEMA " + state, "CREATE TABLE " + state + "." + written + " " + definition} {
			if _, err := p.duck.ExecContext(ctx, sql); err != nil {
				return err
			}
		}
		if _, err := p.ours.Exec(ctx, "CREATE SHARED TABLE "+state+"."+written+" "+definition); err != nil {
			return err
		}
	}
	for _, t := range tables {
		if _, err := p.duck.ExecContext(ctx, "CREATE TABLE "+t.name+" "+definition); err != nil {
			return err
		}
		rows := g.rows(t.rows)
		if len(rows) > 0 {
			if _, err := p.duck.ExecContext(ctx, "INSERT INTO "+t.name+" VALUES "+strings.Join(rows, ", ")); err != nil {
				return err
			}
		}
		for _, state := range states {
			if err := p.fillOurs(ctx, state, t.name, rows); err != nil {
				return fmt.Errorf("%s.%s: %w", state, t.name, err)
			}
		}
	}
	return nil
}

func (p pair) fillOurs(ctx context.Context, state, table string, rows []string) error {
	name := state + "." + table
	steps := []string{"CREATE SHARED TABLE " + name + " " + definition}
	add := func(format string) { steps = append(steps, fmt.Sprintf(format, name)) }
	insert := func(rows []string) {
		for part := range slices.Chunk(rows, 1000) { // a statement may have 1 MiB
			steps = append(steps, "INSERT INTO "+name+" VALUES "+strings.Join(part, ", "))
		}
	}
	half := len(rows) / 2
	switch state {
	case "hot":
		insert(rows)
	case "cold":
		insert(rows)
		add("FLUSH TABLE %s")
	case "mixed", "compacted":
		insert(rows[:half])
		add("FLUSH TABLE %s")
		insert(rows[half:])
		add("UPDATE %s SET i = i WHERE id %% 7 = 3")
		if state == "compacted" {
			add("FLUSH TABLE %s")
			add("COMPACT TABLE %s")
		}
	case "worn":
		for part := range 4 {
			insert(rows[len(rows)*part/4 : len(rows)*(part+1)/4])
			add("INSERT INTO %[1]s (id, i, s, j) SELECT id + 1000000, i, s, j FROM %[1]s WHERE id %% 5 < 2 AND id < 1000000")
			add("FLUSH TABLE %s")
			add("DELETE FROM %s WHERE id >= 1000000")
			add("UPDATE %s SET s = s, j = j WHERE id %% 11 = 4")
		}
	}
	for _, sql := range steps {
		if _, err := p.ours.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%.80s: %w", sql, err)
		}
	}
	return nil
}

// rows are the tuples of a table, one value in eight NULL.
func (g *generator) rows(n int) []string {
	out := make([]string, n)
	for id := range out {
		out[id] = g.row(strconv.Itoa(id))
	}
	return out
}

// row is a tuple of literals behind a key.
func (g *generator) row(id string) string {
	cells := []string{id}
	cell := func(literal string) {
		if g.chance(12) {
			literal = "NULL"
		}
		cells = append(cells, literal)
	}
	for k := range kinds {
		cell(g.literal(k))
	}
	cell(g.document())
	return "(" + strings.Join(cells, ", ") + ")"
}

func (p pair) askOurs(ctx context.Context, text string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := p.ours.Query(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Release()
	var out []string
	for rows.Next() {
		batch := rows.RecordBatch()
		for i := range int(batch.NumRows()) {
			var line strings.Builder
			for _, c := range batch.Columns() {
				line.WriteString(arrowText(c, i) + " | ")
			}
			out = append(out, line.String())
		}
	}
	return out, rows.Err()
}

func (p pair) askDuck(ctx context.Context, text string) ([]string, error) {
	rows, err := p.duck.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	var out []string
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return nil, err
		}
		var line strings.Builder
		for _, v := range values {
			line.WriteString(duckText(v) + " | ")
		}
		out = append(out, line.String())
	}
	return out, rows.Err()
}

// moment is a date or a timestamp as both sides write it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999") }

// number is a number to ten digits, without its type: both sides may choose their own.
func number(f float64) string {
	if f == 0 {
		return "0"
	}
	if math.IsNaN(f) {
		return "NaN"
	}
	return strconv.FormatFloat(f, 'g', 10, 64)
}

// sameRow compares rows as text. Fractions that are written with all ten digits may differ in the last one: a sum in
// another order that is nearly between two of them goes to either side.
func sameRow(a, b string) bool {
	if a == b {
		return true
	}
	return slices.EqualFunc(strings.Split(a, " | "), strings.Split(b, " | "), func(x, y string) bool {
		if x == y {
			return true
		}
		f, errF := strconv.ParseFloat(x, 64)
		g, errG := strconv.ParseFloat(y, 64)
		return errF == nil && errG == nil && strings.Contains(x, ".") && strings.Contains(y, ".") &&
			len(strings.Trim(x, "-")) > 10 && math.Abs(f-g) <= 1e-9*max(math.Abs(f), math.Abs(g))
	})
}

// exact is an integer or a decimal in all its digits, which number writes alike when they are few.
func exact(text string) string {
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && len(text) <= 10 {
		return number(f)
	}
	return text
}

func duckText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return moment(v)
	case string:
		return strconv.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return number(v)
	case float32:
		return number(float64(v))
	case duckdb.Decimal:
		return exact(v.String())
	case duckdb.Interval:
		return fmt.Sprintf("%d months %d days %d us", v.Months, v.Days, v.Micros)
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = duckText(v[i])
		}
		return "[" + strings.Join(items, " ") + "]"
	}
	return exact(fmt.Sprint(v))
}

func arrowText(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "NULL"
	}
	switch a := a.(type) {
	case *array.Date32:
		return moment(a.Value(i).ToTime())
	case *array.Timestamp:
		return moment(a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit))
	case *array.Time64: // DuckDB's driver has it on the first day of the year 1
		return moment(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(a.Value(i)) * time.Microsecond))
	case *array.MonthDayNanoInterval:
		v := a.Value(i)
		return fmt.Sprintf("%d months %d days %d us", v.Months, v.Days, v.Nanoseconds/1000)
	case array.StringLike:
		return strconv.Quote(a.Value(i))
	case *array.Float64:
		return number(a.Value(i))
	case *array.Float32:
		return number(float64(a.Value(i)))
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		var items []string
		for k := from; k < to; k++ {
			items = append(items, arrowText(a.ListValues(), int(k)))
		}
		return "[" + strings.Join(items, " ") + "]"
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i))
	}
	return exact(a.ValueStr(i))
}
