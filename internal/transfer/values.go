package transfer

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// The layouts of times of a day and of timestamps that are read, with and without a zone.
func timestampLayouts() (zoned, local []string) {
	return []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"},
		[]string{
			"2006-01-02T15:04:05.999999999",
			"2006-01-02 15:04:05.999999999",
			"2006-01-02T15:04",
			"2006-01-02 15:04",
		}
}

// timestamp reads a moment; without a zone it is one of UTC.
func timestamp(text string) (t time.Time, zoned, ok bool) {
	withZone, without := timestampLayouts()
	for _, layout := range without {
		if t, err := time.Parse(layout, text); err == nil {
			return t, false, true
		}
	}
	for _, layout := range withZone {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true, true
		}
	}
	return t, false, false
}

// guess finds the narrowest type that all sampled values of a column have.
func guess(rows []row, column int) arrow.DataType {
	candidates := []struct {
		kind arrow.DataType
		fits func(text string) bool
	}{
		{arrow.PrimitiveTypes.Int64, func(s string) bool { return plainNumber(s) && integer(s) }},
		{arrow.PrimitiveTypes.Float64, func(s string) bool {
			_, err := strconv.ParseFloat(s, 64)
			return err == nil && plainNumber(s)
		}},
		{arrow.FixedWidthTypes.Boolean, func(s string) bool { return s == "true" || s == "false" }},
		{
			arrow.FixedWidthTypes.Date32,
			func(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil },
		},
		{&arrow.TimestampType{Unit: arrow.Microsecond}, func(s string) bool {
			_, zoned, ok := timestamp(s)
			return ok && !zoned
		}},
		{&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, func(s string) bool {
			_, zoned, ok := timestamp(s)
			return ok && zoned
		}},
	}
	seen := false
	for i := 0; i < len(candidates); i++ {
		fits := true
		for _, r := range rows {
			if column >= len(r.cells) || r.cells[column].null {
				continue
			}
			c := r.cells[column]
			seen = true
			number := i < 3
			if number && c.isText || !candidates[i].fits(c.text) {
				fits = false
				break
			}
		}
		if fits && seen {
			return candidates[i].kind
		}
	}
	return arrow.BinaryTypes.String
}

func integer(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// plainNumber tells a number from a text of digits, such as a telephone number or a code with zeros before it.
func plainNumber(s string) bool {
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || s[0] == '+' || len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return false
	}
	return strings.IndexFunc(digits, func(r rune) bool {
		return (r < '0' || r > '9') && !strings.ContainsRune(".eE+-", r)
	}) < 0
}

// appendText reads a text as a value of the type of a builder. Text that has more than fits is an error.
func appendText(b array.Builder, text string) error {
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(text)
		return nil
	case *array.BinaryBuilder:
		v, err := bytesOf(text)
		if err == nil {
			b.Append(v)
		}
		return err
	case *array.FixedSizeBinaryBuilder:
		return appendFixed(b, text)
	case *array.TimestampBuilder:
		t, _, ok := timestamp(strings.TrimSpace(text))
		if d, err := time.Parse(time.DateOnly, text); !ok && err == nil {
			t, ok = d, true
		}
		if !ok {
			return errors.New("write it like 2026-01-31 12:30:00")
		}
		v, err := arrow.TimestampFromTime(t, b.Type().(*arrow.TimestampType).Unit)
		if err == nil {
			b.Append(v)
		}
		return err
	case *array.Float64Builder:
		return appendFloat(text, 64, b.Append)
	case *array.Float32Builder:
		return appendFloat(text, 32, func(v float64) { b.Append(float32(v)) })
	case *array.Date32Builder:
		if t, err := time.Parse(time.DateOnly, text); err == nil {
			b.Append(arrow.Date32FromTime(t))
			return nil
		}
		return errors.New("write it like 2026-01-31")
	case *array.ListBuilder:
		return appendList(b, text)
	case *array.MonthDayNanoIntervalBuilder:
		return errors.New("intervals are not read from files of text; read them as text and cast")
	}
	return appendChecked(b, text)
}

// appendList reads a JSON array. All of its elements are read before any of them is in the builder.
func appendList(b *array.ListBuilder, text string) error {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil || raw == nil {
		return errors.New("write a list as a JSON array, like [1, 2, null]")
	}
	trial := array.NewBuilder(memory.DefaultAllocator, b.ValueBuilder().Type())
	defer trial.Release()
	for _, to := range []array.Builder{trial, b.ValueBuilder()} {
		if to != trial {
			b.Append(true)
		}
		for i, r := range raw {
			c, err := jsonCell(r)
			switch {
			case err != nil:
			case c.null:
				to.AppendNull()
			default:
				err = appendText(to, c.text)
			}
			if err != nil {
				return fmt.Errorf("element %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// appendChecked leaves the reading to Arrow, which keeps the builder as it was when it fails.
func appendChecked(b array.Builder, text string) error {
	before := b.Len()
	err := b.AppendValueFromString(text)
	if err == nil && b.Len() == before {
		err = errors.New("not read")
	}
	if err != nil {
		var number *strconv.NumError
		if errors.As(err, &number) {
			return number.Err
		}
		return err
	}
	return nil
}

func appendFloat(text string, bits int, add func(float64)) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), bits)
	if err != nil {
		return errors.Unwrap(err)
	}
	if math.IsInf(v, 0) && strings.ContainsAny(text, "0123456789") {
		return strconv.ErrRange
	}
	add(v)
	return nil
}

// bytesOf reads \x and hexadecimal digits, as CSV has bytes, or base64, as JSON has them.
func bytesOf(text string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(text, `\x`); ok {
		return hex.DecodeString(digits)
	}
	v, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New(`bytes are written as \x and hexadecimal digits, or as base64`)
	}
	return v, nil
}

func appendFixed(b *array.FixedSizeBinaryBuilder, text string) error {
	width := b.Type().(*arrow.FixedSizeBinaryType).ByteWidth
	v, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(v) != width {
		if v, err = bytesOf(text); err != nil {
			return err
		}
	}
	if len(v) != width {
		return fmt.Errorf("there are %d bytes for %d", len(v), width)
	}
	b.Append(v)
	return nil
}
