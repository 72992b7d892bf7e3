package engine

import (
	"iter"
	"reflect"
	"strings"
	"unicode"
)

// numbers walks a room's Stats: the plain numbers of a struct, by name in snake case, nested structs with a dot.
func numbers(stats any) iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) { walkNumbers("", reflect.ValueOf(stats), yield) }
}

func walkNumbers(prefix string, v reflect.Value, yield func(string, int64) bool) bool {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			name := snake(f.Name)
			if prefix != "" {
				name = prefix + "." + name
			}
			if !walkNumbers(name, v.Field(i), yield) {
				return false
			}
		}
	case v.CanInt():
		return yield(prefix, v.Int())
	case v.CanUint():
		return yield(prefix, int64(v.Uint()))
	}
	return true
}

func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// splitLines yields the lines of a text without their ends; a last empty line is none.
func splitLines(text string) iter.Seq[string] {
	return strings.SplitSeq(strings.TrimRight(text, "\n"), "\n")
}
