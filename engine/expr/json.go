package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"kalamflight/manifest"
)

// A JSON value is worked on as text: what a path leads to is a part of the text, and nothing is built. The scanner
// below trusts that the text was checked when it became JSON, but never reads past its end.

// maxJSONDepth bounds the nesting that the scanner follows.
const maxJSONDepth = 10_000

func skipSpace(s []byte) []byte {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
		s = s[1:]
	}
	return s
}

// jsonValue splits the first value off; ok is false when there is none.
func jsonValue(s []byte) (value, rest []byte, ok bool) {
	s = skipSpace(s)
	if len(s) == 0 {
		return nil, nil, false
	}
	switch s[0] {
	case '"':
		n := jsonStringEnd(s)
		if n == 0 {
			return nil, nil, false
		}
		return s[:n], s[n:], true
	case '{', '[':
		depth := 0
		for i := 0; i < len(s); i++ {
			switch s[i] {
			case '"':
				n := jsonStringEnd(s[i:])
				if n == 0 {
					return nil, nil, false
				}
				i += n - 1
			case '{', '[':
				if depth++; depth > maxJSONDepth {
					return nil, nil, false
				}
			case '}', ']':
				if depth--; depth == 0 {
					return s[:i+1], s[i+1:], true
				}
			}
		}
		return nil, nil, false
	}
	n := 0
	for n < len(s) && strings.IndexByte(",]}: \n\t\r", s[n]) < 0 {
		n++
	}
	if n == 0 {
		return nil, nil, false
	}
	return s[:n], s[n:], true
}

// jsonStringEnd is the length of the string literal at the front, 0 when it does not end.
func jsonStringEnd(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// jsonItems calls fn with each element of an array, or each member of an object with its name still quoted, until fn
// returns false.
func jsonItems(s []byte, fn func(name, value []byte) bool) {
	s = skipSpace(s)
	if len(s) == 0 || s[0] != '[' && s[0] != '{' {
		return
	}
	object := s[0] == '{'
	for s = s[1:]; ; {
		var name, value []byte
		ok := false
		if object {
			if name, s, ok = jsonValue(s); !ok {
				return
			}
			if s = skipSpace(s); len(s) == 0 || s[0] != ':' {
				return
			}
			s = s[1:]
		}
		if value, s, ok = jsonValue(s); !ok || !fn(name, value) {
			return
		}
		if s = skipSpace(s); len(s) == 0 || s[0] != ',' {
			return
		}
		s = s[1:]
	}
}

// jsonMember is the last member of that name, as PostgreSQL and encoding/json take it.
func jsonMember(s []byte, name string) (found []byte) {
	if s = skipSpace(s); len(s) == 0 || s[0] != '{' {
		return nil
	}
	jsonItems(s, func(quoted, value []byte) bool {
		if len(quoted) >= 2 && (string(quoted[1:len(quoted)-1]) == name && bytes.IndexByte(quoted, '\\') < 0 ||
			jsonText(quoted) == name) {
			found = value
		}
		return true
	})
	return found
}

// jsonElement is the element at a place from 0, or from the end when it is negative.
func jsonElement(s []byte, k int64) (found []byte) {
	if s = skipSpace(s); len(s) == 0 || s[0] != '[' {
		return nil
	}
	if k < 0 {
		if k += jsonCount(s); k < 0 {
			return nil
		}
	}
	jsonItems(s, func(_, value []byte) bool {
		if k == 0 {
			found = value
		}
		k--
		return k >= 0
	})
	return found
}

func jsonCount(s []byte) int64 {
	n := int64(0)
	jsonItems(s, func(_, _ []byte) bool { n++; return true })
	return n
}

// jsonText is a JSON string without quotes and escapes.
func jsonText(quoted []byte) string {
	if len(quoted) >= 2 && bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

// appendUnquoted writes a JSON string as its text, and any other value as it is.
func appendUnquoted(dst, value []byte) []byte {
	value = skipSpace(value)
	if len(value) > 0 && value[0] == '"' {
		return append(dst, jsonText(bytes.TrimRight(value, " \n\t\r"))...)
	}
	return append(dst, value...)
}

// jsonStep is one step of a path: a member, or an element.
type jsonStep struct {
	name    string
	index   int64
	element bool
}

// parsePath reads $.a.b[0], $."a b"[-1], /a/b/0, or the bare name of a member.
func parsePath(path, _ string) ([]jsonStep, error) {
	bad := func() ([]jsonStep, error) {
		return nil, invalid(codeParameter, "%s is not a JSON path", strconv.Quote(path))
	}
	var steps []jsonStep
	switch {
	case strings.HasPrefix(path, "/"):
		for _, part := range strings.Split(path[1:], "/") {
			part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
			if n, err := strconv.ParseInt(part, 10, 32); err == nil {
				steps = append(steps, jsonStep{name: part, index: n, element: true})
			} else {
				steps = append(steps, jsonStep{name: part})
			}
		}
		return steps, nil
	case !strings.HasPrefix(path, "$"):
		return []jsonStep{{name: path}}, nil
	}
	for rest := path[1:]; rest != ""; {
		switch rest[0] {
		case '.':
			rest = rest[1:]
			if rest != "" && rest[0] == '"' {
				n := jsonStringEnd([]byte(rest))
				if n == 0 {
					return bad()
				}
				steps, rest = append(steps, jsonStep{name: jsonText([]byte(rest[:n]))}), rest[n:]
				continue
			}
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			if n == 0 {
				return bad()
			}
			steps, rest = append(steps, jsonStep{name: rest[:n]}), rest[n:]
		case '[':
			n := strings.IndexByte(rest, ']')
			if n < 0 {
				return bad()
			}
			inside := strings.TrimPrefix(rest[1:n], "#")
			if k, err := strconv.ParseInt(inside, 10, 32); err == nil {
				steps = append(steps, jsonStep{index: k, element: true})
			} else if len(inside) >= 2 && (inside[0] == '"' || inside[0] == '\'') && inside[0] == inside[len(inside)-1] {
				steps = append(steps, jsonStep{name: inside[1 : len(inside)-1]})
			} else {
				return bad()
			}
			rest = rest[n+1:]
		default:
			return bad()
		}
	}
	return steps, nil
}

// follow is what lies at the end of a path; nil when nothing does.
func follow(s []byte, steps []jsonStep) []byte {
	value, _, ok := jsonValue(s)
	if !ok {
		return nil
	}
	for _, step := range steps {
		switch {
		case !step.element:
			value = jsonMember(value, step.name)
		case value[0] == '{' && step.name != "":
			value = jsonMember(value, step.name)
		default:
			value = jsonElement(value, step.index)
		}
		if value == nil {
			return nil
		}
	}
	return value
}

// extract is the kernel of -> and json_extract, or with text of ->> and json_extract_string: NULL when there is
// nothing, and for text also when there is a null.
func extract(text, path bool) maker {
	return func(b *binding) (kernel, error) {
		byIndex := len(b.types) > 1 && b.types[1].Kind == manifest.BigInt
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			cache, out := remembered(f, parsePath), f.strings(n)
			err := f.eachLong(n, sel, func(i int) error {
				s := args[0].Slice(i)
				var value []byte
				switch {
				case byIndex:
					value = jsonElement(s, number(args, 1, i))
				case path || strings.HasPrefix(args[1].str(i), "$"):
					steps, err := cache.of(args[1].str(i), "")
					if err != nil {
						return err
					}
					value = follow(s, steps)
				default:
					value = jsonMember(s, args[1].str(i))
				}
				if value == nil || text && string(value) == "null" {
					f.setNull(i)
					return nil
				}
				if err := out.begin(i); err != nil {
					return err
				}
				if text {
					f.bytes = appendUnquoted(f.bytes, value)
				} else {
					f.bytes = append(f.bytes, value...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return out.end()
		}, nil
	}
}

// at is the JSON value of row i, at the path of argument 1 when there is one.
func jsonAt(f *frame, args []*Vector, i int) ([]byte, error) {
	s := args[0].Slice(i)
	if len(args) < 2 {
		value, _, _ := jsonValue(s)
		return value, nil
	}
	steps, err := remembered(f, parsePath).of(args[1].str(i), "")
	if err != nil {
		return nil, err
	}
	return follow(s, steps), nil
}

func jsonKind(value []byte) string {
	if len(value) == 0 {
		return "null"
	}
	switch value[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

func jsonLibrary() map[string]maker {
	return map[string]maker{
		"->": extract(false, false), "->>": extract(true, false),
		"json_extract": extract(false, true), "json_extract_string": extract(true, true),
		"json_exists": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error {
				value, err := jsonAt(f, args, i)
				out[i] = byte(one(value != nil))
				return err
			})
		}),
		"json_array_length": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return f.eachLong(n, sel, func(i int) error {
				value, err := jsonAt(f, args, i)
				switch {
				case value == nil:
					f.setNull(i)
				case value[0] == '[':
					out[i] = jsonCount(value)
				default:
					out[i] = 0
				}
				return err
			})
		}),
		"json_typeof": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := f.strings(n)
			err := f.eachLong(n, sel, func(i int) error {
				value, err := jsonAt(f, args, i)
				if err != nil {
					return err
				}
				if value == nil {
					f.setNull(i)
					return nil
				}
				return out.put(i, []byte(jsonKind(value)))
			})
			if err != nil {
				return err
			}
			return out.end()
		}),
		"json_valid": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error { out[i] = byte(one(json.Valid(args[0].Slice(i)))); return nil })
		}),
		"json_keys": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list := []any{}
				jsonItems(args[0].Slice(i), func(name, _ []byte) bool {
					if name != nil {
						list = append(list, jsonText(name))
					}
					return true
				})
				return list, nil
			})
		}),
		"json_contains": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error {
				a, errA := decodeJSON(args[0].Slice(i))
				b, errB := decodeJSON(args[1].Slice(i))
				out[i] = byte(one(errA == nil && errB == nil && jsonContains(a, b, true)))
				return nil
			})
		}),
		"json_pretty": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			var b bytes.Buffer
			if err := json.Indent(&b, args[0].Slice(i), "", "  "); err != nil {
				return dst, invalid(codeJSON, "the text is not JSON")
			}
			return append(dst, b.Bytes()...), nil
		}),
		"to_json": func(b *binding) (kernel, error) {
			zone := b.env.zone()
			return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
				return appendJSON(dst, args[0], i, zone), nil
			}), nil
		},
		"json_array": func(b *binding) (kernel, error) {
			zone := b.env.zone()
			return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
				dst = append(dst, '[')
				for k, a := range args {
					if k > 0 {
						dst = append(dst, ',')
					}
					dst = appendJSON(dst, a, i, zone)
				}
				return append(dst, ']'), nil
			}), nil
		},
		"json_object":     jsonObject,
		"json_exists_key": jsonHas(false),
		"json_exists_any": jsonHas(false),
		"json_exists_all": jsonHas(true),
	}
}

// jsonHas is the kernel of PostgreSQL's ?, ?| and ?&: whether an object has the name, or an array the text, of argument
// 1; of a list one of them, or with all every one.
func jsonHas(all bool) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[byte](f, n)
		return f.eachLong(n, sel, func(i int) error {
			if args[1].Type.Kind != manifest.List {
				out[i] = byte(one(jsonHasKey(args[0].Slice(i), args[1].str(i))))
				return nil
			}
			has := all
			for _, e := range elements(args[1], i) {
				if found := !e.null() && jsonHasKey(args[0].Slice(i), e.v.str(e.i)); found != all {
					has = found
					break
				}
			}
			out[i] = byte(one(has))
			return nil
		})
	})
}

func jsonHasKey(s []byte, key string) bool {
	found := false
	jsonItems(s, func(name, value []byte) bool {
		if name == nil && len(value) > 0 && value[0] == '"' {
			name = value
		}
		found = name != nil && jsonText(name) == key
		return !found
	})
	return found
}

func jsonObject(b *binding) (kernel, error) {
	zone := b.env.zone()
	return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		dst = append(dst, '{')
		for k := 0; k+1 < len(args); k += 2 {
			if !args[k].IsValid(i) {
				return dst, invalid("22004", "a member of a JSON object has a name")
			}
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONString(dst, appendText(nil, args[k], i, zone))
			dst = appendJSON(append(dst, ':'), args[k+1], i, zone)
		}
		return append(dst, '}'), nil
	}), nil
}

// AppendJSON appends row i of v as a JSON value; NULL is null. Numbers stay numbers, JSON stays as it is, lists become
// arrays, and everything else a string of its text.
func AppendJSON(dst []byte, v *Vector, i int, zone *time.Location) []byte {
	if zone == nil {
		zone = time.UTC
	}
	return appendJSON(dst, v, i, zone)
}

func appendJSON(dst []byte, v *Vector, i int, zone *time.Location) []byte {
	if !v.IsValid(i) {
		return append(dst, "null"...)
	}
	if v.Dict != nil {
		return appendJSON(dst, v.Dict, int(Values[int32](v)[v.row(i)]), zone)
	}
	switch v.Type.Kind {
	case manifest.Boolean, manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Decimal:
		return appendText(dst, v, i, zone)
	case manifest.Float, manifest.Double:
		x := 0.0
		if v.Type.Kind == manifest.Float {
			x = float64(fixedAt[float32](v, i))
		} else {
			x = fixedAt[float64](v, i)
		}
		if x != x || math.IsInf(x, 0) {
			return appendJSONString(dst, appendText(nil, v, i, zone))
		}
		return appendText(dst, v, i, zone)
	case manifest.JSON:
		return append(dst, v.Slice(i)...)
	case manifest.Embedding:
		dst = append(dst, '[')
		for k, x := range v.floats(i) {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = appendFloat(dst, float64(x), 32)
		}
		return append(dst, ']')
	case manifest.List:
		child, from, to := v.span(i)
		dst = append(dst, '[')
		for j := from; j < to; j++ {
			if j > from {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, child, j, zone)
		}
		return append(dst, ']')
	case manifest.Bytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Slice(i))
		return append(dst, '"')
	}
	return appendJSONString(dst, appendText(nil, v, i, zone))
}

func appendJSONString(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for len(s) > 0 {
		c := s[0]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRune(s)
			dst = utf8.AppendRune(dst, r) // a byte that is no UTF-8 becomes U+FFFD
			s = s[size:]
			continue
		}
		s = s[1:]
	}
	return append(dst, '"')
}

// decodeJSON keeps numbers exact.
func decodeJSON(s []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(s))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// jsonContains is PostgreSQL's @>: objects by members, arrays by elements whatever the order; at the top an array
// contains a scalar.
func jsonContains(a, b any, top bool) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return false
		}
		names := make([]string, 0, len(y))
		for name := range y {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if inner, ok := x[name]; !ok || !jsonContains(inner, y[name], false) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok {
			if _, object := b.(map[string]any); !top || object {
				return false
			}
			y = []any{b}
		}
		for _, want := range y {
			found := false
			for _, have := range x {
				found = found || jsonContains(have, want, false)
			}
			if !found {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := b.(json.Number)
		if !ok {
			return false
		}
		p, errP := x.Float64()
		q, errQ := y.Float64()
		return x == y || errP == nil && errQ == nil && p == q && len(x) < 16 && len(y) < 16
	}
	switch b.(type) {
	case map[string]any, []any, json.Number:
		return false
	}
	return a == b
}
