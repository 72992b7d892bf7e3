package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// query runs a statement and shows its rows as the golden files do.
func (s *script) query(ctx context.Context, text string) string {
	rows, err := s.duck.QueryContext(ctx, text)
	if err != nil {
		return "error: " + err.Error()
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return "error: " + err.Error()
	}
	values, pointers, names := make([]any, len(types)), make([]any, len(types)), make([]string, len(types))
	for i := range values {
		pointers[i], names[i] = &values[i], types[i].Name()
	}
	lines := []string{strings.Join(names, " | ")}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return "error: " + err.Error()
		}
		cells := make([]string, len(values))
		for i, v := range values {
			cells[i] = show(v, types[i].DatabaseTypeName())
		}
		lines = append(lines, strings.Join(cells, " | "))
	}
	if err := rows.Err(); err != nil {
		return "error: " + err.Error()
	}
	return strings.Join(lines, "\n") + "\n"
}

func show(v any, kind string) string {
	switch v := v.(type) {
	case nil:
		return "(null)"
	case time.Time:
		switch kind {
		case "DATE":
			return v.Format(time.DateOnly)
		case "TIME":
			return v.Format("15:04:05.999999")
		}
		return v.UTC().Format("2006-01-02 15:04:05.999999")
	case float64:
		return number(v)
	case float32:
		return number(float64(v))
	case duckdb.Decimal:
		return v.String()
	case duckdb.Interval:
		return fmt.Sprintf(`{"months":%d,"days":%d,"nanoseconds":%d}`, v.Months, v.Days, v.Micros*1000)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case duckdb.UUID:
		return base64.StdEncoding.EncodeToString(v[:])
	case []any:
		items := make([]string, len(v))
		for i := range v {
			if items[i] = show(v[i], strings.TrimSuffix(kind, "[]")); items[i] == "(null)" {
				items[i] = "null"
			}
		}
		return "[" + strings.Join(items, ",") + "]"
	case map[string]any:
		text, _ := json.Marshal(v)
		return string(text)
	}
	return fmt.Sprint(v)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// same compares two texts of rows cell by cell: numbers to ten digits, times and documents by what they mean.
func same(want, got string) bool {
	a, b := strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := strings.Split(a[i], " | "), strings.Split(b[i], " | ")
		if len(x) != len(y) {
			return false
		}
		for k := range x {
			if i > 0 || len(a) == 1 {
				if !sameCell(plain(x[k]), plain(y[k])) {
					return false
				}
			}
		}
	}
	return true
}

// sameCell compares numbers of up to 17 digits by ten of them, as one side may compute a DOUBLE and the other a
// DECIMAL.
func sameCell(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if a == b || errX != nil || errY != nil || digits(a) > 17 && digits(b) > 17 {
		return a == b || errX == nil && errY == nil && trimmed(a) == trimmed(b)
	}
	return strconv.FormatFloat(x, 'g', 10, 64) == strconv.FormatFloat(y, 'g', 10, 64)
}

func digits(s string) int {
	s, _, _ = strings.Cut(s, "e")
	return len(strings.Trim(strings.ReplaceAll(s, ".", ""), "-0"))
}

func trimmed(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// plain is a cell without what the two sides write differently.
func plain(cell string) string {
	cell = strings.TrimSpace(cell)
	if strings.HasPrefix(cell, "[") {
		return strings.NewReplacer(`"`, "", " ", "", "T", "", "Z", "").Replace(cell)
	}
	if t, err := time.Parse("15:04:05.999999", cell); err == nil {
		return t.Format("15:04:05.999999")
	}
	var doc any
	if strings.HasPrefix(cell, "{") && json.Unmarshal([]byte(cell), &doc) == nil {
		text, _ := json.Marshal(doc)
		return string(text)
	}
	cell = strings.TrimSuffix(strings.Replace(cell, "T", " ", 1), "Z")
	return strings.ReplaceAll(strings.TrimSuffix(cell, " 00:00:00"), `"`, "")
}
