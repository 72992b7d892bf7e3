// Package config reads the settings file: TOML with one key for each setting, and nothing that is not a setting. It
// does not know what the settings mean, nor the environment or flags that stand above it.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// BytesMax is the size of the largest file that is read as settings.
const BytesMax = 1 << 20

// Parse reads a file's text. keys are the settings that there are, such as data-dir; the result has those that the file
// sets, as flags spell their values. A key that is not among them, or a value that is a table, is an error that shows
// the line with a caret below it.
func Parse(name string, text []byte, keys []string) (map[string]string, error) {
	if len(text) > BytesMax {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d of a settings file", name, len(text), BytesMax)
	}
	file, err := shape(keys)
	if err != nil {
		return nil, err
	}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(file.Interface()); err != nil {
		return nil, explain(name, err, keys)
	}
	values := map[string]string{}
	for i, key := range keys {
		value := file.Elem().Field(i).Interface()
		if value == nil {
			continue
		}
		spelled, err := spell(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %s %w", name, key, err)
		}
		values[key] = spelled
	}
	return values, nil
}

// shape is a pointer to a struct with a field for each key, so that the decoder itself finds the keys that do not
// belong and where they stand.
func shape(keys []string) (reflect.Value, error) {
	fields := make([]reflect.StructField, len(keys))
	for i, key := range keys {
		if strings.ContainsAny(key, "\"`,") {
			return reflect.Value{}, fmt.Errorf("%q cannot be the name of a setting", key)
		}
		fields[i] = reflect.StructField{Name: "F" + strconv.Itoa(i), Type: reflect.TypeFor[any](),
			Tag: reflect.StructTag(`toml:"` + key + `"`)}
	}
	return reflect.New(reflect.StructOf(fields)), nil
}

// explain puts the name of the file before the decoder's own picture of the place.
func explain(name string, err error, keys []string) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		text := fmt.Sprintf("%s:%d: unknown key %s\n%s", name, line, key, first.String())
		if near := nearest(key, keys); near != "" {
			text += "\nhint: did you mean " + near + "?"
		}
		return errors.New(text)
	}
	var broken *toml.DecodeError
	if errors.As(err, &broken) {
		line, _ := broken.Position()
		return fmt.Errorf("%s:%d: %w\n%s", name, line, err, broken.String())
	}
	return fmt.Errorf("%s: %w", name, err)
}

func spell(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			part, err := spell(e)
			if err != nil {
				return "", err
			}
			parts[i] = part
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("is neither a text, a number, a truth value nor a list of these")
}

// nearest is the key that differs from a misspelt one by at most two letters; "" when none does.
func nearest(key string, keys []string) string {
	best, at := "", 3
	for _, k := range keys {
		if d := distance(key, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance counts the letters to add, drop or change, over rows of the usual matrix.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
