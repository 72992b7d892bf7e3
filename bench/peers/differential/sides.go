package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// states are the namespaces of ours that hold the same rows: in the hot log, in segments, some here and some there
// with marks over both, and in segments that were merged.
var states = []string{"hot", "cold", "mixed", "compacted"}

const definition = `(id BIGINT PRIMARY KEY, i INTEGER, b BIGINT, d DECIMAL(10,2), f DOUBLE, s VARCHAR, dt DATE,
	ts TIMESTAMP, bo BOOLEAN)`

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
	insert := func(rows []string) {
		if len(rows) > 0 {
			steps = append(steps, "INSERT INTO "+name+" VALUES "+strings.Join(rows, ", "))
		}
	}
	half := len(rows) / 2
	insert(rows[:half])
	if state == "mixed" || state == "compacted" {
		steps = append(steps, "FLUSH TABLE "+name)
	}
	insert(rows[half:])
	if state == "mixed" || state == "compacted" {
		steps = append(steps, "UPDATE "+name+" SET i = i WHERE id % 7 = 3")
	}
	if state == "cold" || state == "compacted" {
		steps = append(steps, "FLUSH TABLE "+name)
	}
	if state == "compacted" {
		steps = append(steps, "COMPACT TABLE "+name)
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
		cells := []string{strconv.Itoa(id)}
		for k := range kinds {
			if g.chance(12) {
				cells = append(cells, "NULL")
				continue
			}
			cells = append(cells, g.literal(k))
		}
		out[id] = "(" + strings.Join(cells, ", ") + ")"
	}
	return out
}

func (p pair) askOurs(ctx context.Context, text string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
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
	}
	text := fmt.Sprint(v)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return number(f)
	}
	return text
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
	case array.StringLike:
		return strconv.Quote(a.Value(i))
	case *array.Float64:
		return number(a.Value(i))
	}
	text := a.ValueStr(i)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return number(f)
	}
	return text
}
