package expr

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// cast compiles a conversion; to the same representation it costs nothing.
func (c *compiler) cast(e *plan.Cast) (node, error) {
	arg, err := c.node(e.Arg)
	if err != nil {
		return nil, err
	}
	from := e.Arg.ExprType()
	if from.Kind == manifest.Null {
		return c.constant(nil, e.Type)
	}
	if !functions.CanCast(from, e.Type, false) {
		return nil, at(invalid("42846", "cannot cast %s to %s", from, e.Type), e.Pos)
	}
	k := castKernel(from, e.Type, e.Try, c.env)
	if k == nil {
		return &retypeNode{id: c.frame(), arg: arg, typ: e.Type}, nil
	}
	n := &callNode{id: c.frame(), args: []node{arg}, kernel: k, result: e.Type, pos: e.Pos}
	return c.fold(n, e.Type, arg)
}

// retypeNode gives a vector another type of the same representation.
type retypeNode struct {
	id  int
	arg node
	typ manifest.Type
}

func (n *retypeNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	v, err := n.arg.eval(x, b, sel)
	if err != nil || v.Type.Equal(n.typ) {
		return v, err
	}
	f := &x.frames[n.id]
	f.out = *v
	f.out.Type = n.typ
	if v.Dict != nil {
		f.dict = *v.Dict
		f.dict.Type = n.typ
		f.out.Dict = &f.dict
	}
	return &f.out, nil
}

// castKernel converts rows that are not NULL; nil when the representation stays. With try, a value that does not
// convert becomes NULL.
func castKernel(from, to manifest.Type, try bool, env *Env) kernel {
	switch {
	case same(from, to):
		return nil
	case to.Textual() && from.Textual():
		return textToText(to, try)
	case to.Kind == manifest.JSON:
		return anyToJSON(env)
	case to.Textual():
		return anyToText(to, try, env)
	case from.Kind == manifest.JSON:
		return unquoted(textCast(to, try, env))
	case from.Textual():
		return textCast(to, try, env)
	case from.Kind == manifest.Boolean:
		return boolToNumber(to, try)
	case to.Kind == manifest.Boolean:
		return numberToBool(from)
	case from.Numeric() && to.Numeric():
		return numberCast(from, to, try)
	case from.Kind == manifest.Bytes && to.Kind == manifest.UUID:
		return bytesToUUID(try)
	case from.Kind == manifest.UUID && to.Kind == manifest.Bytes:
		return uuidToBytes
	case from.Kind == manifest.List || from.Kind == manifest.Embedding:
		return listCast(to, try, env)
	}
	return timeCast(from, to, try, env)
}

// same tells whether each value of one type is a value of the other, in the same representation.
func same(from, to manifest.Type) bool {
	switch {
	case from.Kind != to.Kind:
		return to.Kind == manifest.File && from.Kind == manifest.Text || from.Kind == manifest.File &&
			to.Kind == manifest.Text && to.Length == 0 ||
			from.Kind == manifest.JSON && to.Kind == manifest.Text && to.Length == 0
	case from.Kind == manifest.Text:
		return to.Length == 0 || from.Length > 0 && from.Length <= to.Length
	case from.Kind == manifest.Decimal:
		return from.Scale == to.Scale && from.Precision <= to.Precision && narrow(from) == narrow(to)
	case from.Kind == manifest.List:
		return same(*from.Elem, *to.Elem)
	case from.Kind == manifest.Embedding:
		return from.Length == to.Length || to.Length == 0
	}
	return true
}

// convert is the kernel of a conversion of one fixed value.
func convert[A, R any](try bool, fn func(A) (R, error)) kernel {
	if !try {
		return checked1(fn)
	}
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, out := values[A](args[0]), payload[R](f, n)
		return f.each(n, sel, func(i int) error {
			r, err := fn(a[i])
			if err != nil {
				f.setNull(i)
			}
			out[i] = r
			return nil
		})
	}
}

// fromText is the kernel of a conversion of a text to a fixed value.
func fromText[R any](try bool, fn func(string) (R, error)) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, out := args[0], payload[R](f, n)
		return f.each(n, sel, func(i int) error {
			r, err := fn(a.str(i))
			out[i] = r
			if err != nil && try {
				f.setNull(i)
				return nil
			}
			return err
		})
	}
}

// writeText is the kernel of a function that appends a text for each row.
func writeText(try bool, fn func(dst []byte, args []*Vector, i int) ([]byte, error)) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := f.strings(n)
		err := f.each(n, sel, func(i int) error {
			if err := out.begin(i); err != nil {
				return err
			}
			keep := len(f.bytes)
			b, err := fn(f.bytes, args, i)
			if f.bytes = b; err != nil && try {
				f.bytes = b[:keep]
				f.setNull(i)
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		return out.end()
	}
}

func anyToText(to manifest.Type, try bool, env *Env) kernel {
	zone := env.zone()
	return writeText(try, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		begin := len(dst)
		dst = appendText(dst, args[0], i, zone)
		return dst, checkLength(dst[begin:], to)
	})
}

// checkLength refuses a text that is longer than its VARCHAR(n).
func checkLength(b []byte, t manifest.Type) error {
	if t.Length > 0 && t.Kind == manifest.Text && len(b) > int(t.Length) && utf8.RuneCount(b) > int(t.Length) {
		return invalid(codeLong, "a text of %d characters is too long for %s", utf8.RuneCount(b), t)
	}
	return nil
}

func textToText(to manifest.Type, try bool) kernel {
	return writeText(try, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		b := args[0].Slice(i)
		if to.Kind == manifest.JSON && args[0].Type.Kind != manifest.JSON && !json.Valid(b) {
			return dst, malformed("JSON", string(b))
		}
		return append(dst, b...), checkLength(b, to)
	})
}

func anyToJSON(env *Env) kernel {
	return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		return appendJSON(dst, args[0], i, env.zone()), nil
	})
}

// unquoted reads a JSON string as its text before it is converted.
func unquoted(inner kernel) kernel {
	plain := writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		return appendUnquoted(dst, args[0].Slice(i)), nil
	})
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		side := &frame{}
		side.start(manifest.Type{Kind: manifest.Text}, n, nil)
		side.out.Const = f.out.Const
		if err := plain(side, n, sel, args); err != nil {
			return err
		}
		return inner(f, n, sel, []*Vector{&side.out})
	}
}

// textCast reads a text as a value of a type that is no text.
func textCast(to manifest.Type, try bool, env *Env) kernel {
	name, zone := to.String(), env.zone()
	switch to.Kind {
	case manifest.Boolean:
		return fromText(try, parseBool)
	case manifest.SmallInt:
		return fromText(try, func(s string) (int16, error) { n, err := parseInt(s, 16, to); return int16(n), err })
	case manifest.Int:
		return fromText(try, func(s string) (int32, error) { n, err := parseInt(s, 32, to); return int32(n), err })
	case manifest.BigInt:
		return fromText(try, func(s string) (int64, error) { return parseInt(s, 64, to) })
	case manifest.Float:
		return fromText(try, func(s string) (float32, error) { x, err := parseFloat(s, 32, to); return float32(x), err })
	case manifest.Double:
		return fromText(try, func(s string) (float64, error) { return parseFloat(s, 64, to) })
	case manifest.Decimal:
		if narrow(to) {
			return fromText(try, func(s string) (int64, error) { n, err := parseDecimal(s, to); return int64(n.LowBits()), err })
		}
		return fromText(try, func(s string) (decimal128.Num, error) { return parseDecimal(s, to) })
	case manifest.UUID:
		return fromText(try, parseUUID)
	case manifest.Date:
		return fromText(try, parseDate)
	case manifest.Time:
		return fromText(try, parseTime)
	case manifest.Timestamp:
		return fromText(try, func(s string) (int64, error) { return parseTimestamp(s, nil, name) })
	case manifest.DateTime:
		return fromText(try, func(s string) (int64, error) { return parseTimestamp(s, zone, name) })
	case manifest.Interval:
		return fromText(try, parseInterval)
	case manifest.Bytes:
		return writeText(try, func(dst []byte, args []*Vector, i int) ([]byte,
			error) {
			return parseBytes(dst, args[0].str(i))
		})
	}
	return listCast(to, try, env)
}

func boolToNumber(to manifest.Type, try bool) kernel {
	switch to.Kind {
	case manifest.SmallInt:
		return map1(func(b uint8) int16 { return int16(b) })
	case manifest.Int:
		return map1(func(b uint8) int32 { return int32(b) })
	case manifest.BigInt:
		return map1(func(b uint8) int64 { return int64(b) })
	case manifest.Float:
		return map1(func(b uint8) float32 { return float32(b) })
	case manifest.Double:
		return map1(func(b uint8) float64 { return float64(b) })
	}
	return decimalCast(try, to, func(b uint8) (decimal128.Num, bool) {
		return rescale(decimal128.FromI64(int64(b)), 0, to.Scale, to.Precision)
	})
}

func numberToBool(from manifest.Type) kernel {
	switch from.Kind {
	case manifest.SmallInt:
		return map1(func(x int16) uint8 { return uint8(one(x != 0)) })
	case manifest.Int:
		return map1(func(x int32) uint8 { return uint8(one(x != 0)) })
	case manifest.BigInt:
		return map1(func(x int64) uint8 { return uint8(one(x != 0)) })
	case manifest.Float:
		return map1(func(x float32) uint8 { return uint8(one(x != 0)) })
	case manifest.Double:
		return map1(func(x float64) uint8 { return uint8(one(x != 0)) })
	}
	if narrow(from) {
		return map1(func(x int64) uint8 { return uint8(one(x != 0)) })
	}
	return map1(func(x decimal128.Num) uint8 { return uint8(one(x.Sign() != 0)) })
}

// decimalCast writes a DECIMAL in its own width.
func decimalCast[A any](try bool, to manifest.Type, fn func(A) (decimal128.Num, bool)) kernel {
	fail := func() error { return outOfRange(to.String()) }
	if narrow(to) {
		return convert(try, func(a A) (int64, error) {
			n, ok := fn(a)
			if !ok {
				return 0, fail()
			}
			return int64(n.LowBits()), nil
		})
	}
	return convert(try, func(a A) (decimal128.Num, error) {
		n, ok := fn(a)
		if !ok {
			return n, fail()
		}
		return n, nil
	})
}

func numberCast(from, to manifest.Type, try bool) kernel {
	switch from.Kind {
	case manifest.SmallInt:
		return intCast[int16](to, try)
	case manifest.Int:
		return intCast[int32](to, try)
	case manifest.BigInt:
		return intCast[int64](to, try)
	case manifest.Float:
		return floatCast[float32](to, try)
	case manifest.Double:
		return floatCast[float64](to, try)
	}
	if narrow(from) {
		if k := narrowCast(from, to, try); k != nil {
			return k
		}
		return wideCast(from, to, try, func(x int64) decimal128.Num { return decimal128.FromI64(x) })
	}
	return wideCast(from, to, try, func(x decimal128.Num) decimal128.Num { return x })
}

func intCast[A integer](to manifest.Type, try bool) kernel {
	switch to.Kind {
	case manifest.SmallInt:
		return intToInt[A, int16](to, try)
	case manifest.Int:
		return intToInt[A, int32](to, try)
	case manifest.BigInt:
		return map1(func(x A) int64 { return int64(x) })
	case manifest.Float:
		return map1(func(x A) float32 { return float32(x) })
	case manifest.Double:
		return map1(func(x A) float64 { return float64(x) })
	}
	if narrow(to) {
		factor := pow10(to.Scale)
		most := (pow10(to.Precision) - 1) / factor
		return convert(try, func(x A) (int64, error) {
			if int64(x) > most || int64(x) < -most {
				return 0, outOfRange(to.String())
			}
			return int64(x) * factor, nil
		})
	}
	return decimalCast(try, to, func(x A) (decimal128.Num, bool) {
		return rescale(decimal128.FromI64(int64(x)), 0, to.Scale, to.Precision)
	})
}

func intToInt[A, R integer](to manifest.Type, try bool) kernel {
	if sizeof(A(0)) <= sizeof(R(0)) {
		return map1(func(x A) R { return R(x) })
	}
	return convert(try, func(x A) (R, error) {
		if A(R(x)) != x {
			return 0, outOfRange(to.String())
		}
		return R(x), nil
	})
}

func floatCast[A floating](to manifest.Type, try bool) kernel {
	whole := func(x A, limit float64) (float64, error) {
		r := math.RoundToEven(float64(x))
		if !(r >= -limit && r < limit) {
			return 0, outOfRange(to.String())
		}
		return r, nil
	}
	switch to.Kind {
	case manifest.SmallInt:
		return convert(try, func(x A) (int16, error) { r, err := whole(x, 1<<15); return int16(r), err })
	case manifest.Int:
		return convert(try, func(x A) (int32, error) { r, err := whole(x, 1<<31); return int32(r), err })
	case manifest.BigInt:
		return convert(try, func(x A) (int64, error) { r, err := whole(x, 1<<63); return int64(r), err })
	case manifest.Float:
		return convert(try, func(x A) (float32, error) {
			r := float32(x)
			if math.IsInf(float64(r), 0) && !math.IsInf(float64(x), 0) {
				return 0, outOfRange(to.String())
			}
			return r, nil
		})
	case manifest.Double:
		return map1(func(x A) float64 { return float64(x) })
	}
	return decimalCast(try, to, func(x A) (decimal128.Num, bool) {
		if sizeof(x) == 4 { // the decimal that the FLOAT is written as, not its binary tail
			d, err := parseDecimal(strconv.FormatFloat(float64(x), 'e', -1, 32), to)
			return d, err == nil
		}
		return fromFloat(float64(x), to)
	})
}

// narrowCast converts a DECIMAL of 64 bits without going through 128; nil when it must.
func narrowCast(from, to manifest.Type, try bool) kernel {
	divisor := pow10(from.Scale)
	switch {
	case to.Kind == manifest.Double:
		// Digits beyond 2^53 would be rounded twice; those rows take the exact way.
		return map1(func(x int64) float64 { return toFloat(decimal128.FromI64(x), from.Scale) })
	case to.Integer():
		return nil
	case narrow(to) && to.Scale >= from.Scale:
		factor := pow10(to.Scale - from.Scale)
		most := (pow10(to.Precision) - 1) / factor
		return convert(try, func(x int64) (int64, error) {
			if x > most || x < -most {
				return 0, outOfRange(to.String())
			}
			return x * factor, nil
		})
	case narrow(to):
		divisor = pow10(from.Scale - to.Scale)
		limit := pow10(to.Precision)
		return convert(try, func(x int64) (int64, error) {
			q, r := x/divisor, x%divisor
			if r >= divisor-r {
				q++
			} else if -r >= divisor+r {
				q--
			}
			if q >= limit || q <= -limit {
				return 0, outOfRange(to.String())
			}
			return q, nil
		})
	}
	return nil
}

func wideCast[A any](from, to manifest.Type, try bool, load func(A) decimal128.Num) kernel {
	switch to.Kind {
	case manifest.Float:
		return map1(func(x A) float32 { return float32(toFloat(load(x), from.Scale)) })
	case manifest.Double:
		return map1(func(x A) float64 { return toFloat(load(x), from.Scale) })
	case manifest.Decimal:
		scale := rescaler(from.Scale, to)
		return decimalCast(try, to, func(x A) (decimal128.Num, bool) { return scale(load(x)) })
	}
	whole := func(x A, size uint) (int64, error) {
		n, ok := rescale(load(x), from.Scale, 0, 38)
		if !ok || !isInt64(n) {
			return 0, outOfRange(to.String())
		}
		r := int64(n.LowBits())
		if r>>(size-1) != r>>63 {
			return 0, outOfRange(to.String())
		}
		return r, nil
	}
	switch to.Kind {
	case manifest.SmallInt:
		return convert(try, func(x A) (int16, error) { n, err := whole(x, 16); return int16(n), err })
	case manifest.Int:
		return convert(try, func(x A) (int32, error) { n, err := whole(x, 32); return int32(n), err })
	}
	return convert(try, func(x A) (int64, error) { return whole(x, 64) })
}

func bytesToUUID(try bool) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[[16]byte](f, n)
		return f.each(n, sel, func(i int) error {
			b := args[0].Slice(i)
			if len(b) == 16 {
				copy(out[i][:], b)
				return nil
			}
			if out[i] = [16]byte{}; try {
				f.setNull(i)
				return nil
			}
			return invalid(codeText, "%d bytes are not a UUID", len(b))
		})
	}
}

func uuidToBytes(f *frame, n int, sel []uint16, args []*Vector) error {
	return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		u := wideAt[[16]byte](args[0], i)
		return append(dst, u[:]...), nil
	})(f, n, sel, args)
}

// timeCast converts between dates, times and intervals.
func timeCast(from, to manifest.Type, try bool, env *Env) kernel {
	zone := env.zone()
	switch from.Kind {
	case manifest.Date:
		return convert(try, func(d int32) (int64, error) {
			micros := int64(d) * microsPerDay
			if to.Kind == manifest.DateTime {
				micros = moment(micros, zone)
			}
			return checkMicros(micros, true)
		})
	case manifest.Timestamp, manifest.DateTime:
		local := func(x int64) int64 {
			if from.Kind == manifest.DateTime {
				return wall(x, zone)
			}
			return x
		}
		switch to.Kind {
		case manifest.Date:
			return map1(func(x int64) int32 { return int32(floorDiv(local(x), microsPerDay)) })
		case manifest.Time:
			return map1(func(x int64) int64 { return floorMod(local(x), microsPerDay) })
		case manifest.Timestamp:
			return map1(local)
		}
		return map1(func(x int64) int64 { return moment(x, zone) })
	case manifest.Time:
		return map1(func(x int64) arrow.MonthDayNanoInterval { return arrow.MonthDayNanoInterval{Nanoseconds: x * 1000} })
	}
	return map1(func(v arrow.MonthDayNanoInterval) int64 { return floorMod(v.Nanoseconds/1000, microsPerDay) })
}

// listCast converts lists and embeddings value by value: they are rare.
func listCast(to manifest.Type, try bool, env *Env) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := make([]any, n)
		err := f.each(n, sel, func(i int) error {
			value, err := listValue(args[0], i, to, env)
			if err != nil && try {
				f.setNull(i)
				return nil
			}
			out[i] = value
			return err
		})
		if err != nil {
			return err
		}
		return f.fill(out)
	}
}

// fill makes the result of Go values; rows that are nil are NULL or not selected.
func (f *frame) fill(rows []any) error {
	v, err := NewVector(rows, f.out.Type)
	if err != nil {
		return err
	}
	f.out.Fixed, f.out.Offsets, f.out.Bytes, f.out.Child = v.Fixed, v.Offsets, v.Bytes, v.Child
	return nil
}

func listValue(v *Vector, i int, to manifest.Type, env *Env) (any, error) {
	var items []any
	elem := manifest.Type{Kind: manifest.Float}
	switch {
	case v.Type.Textual() && to.Kind == manifest.Embedding:
		return parseFloats(nil, v.str(i), to)
	case v.Type.Textual():
		texts, err := parseList(v.str(i), to)
		if err != nil {
			return nil, err
		}
		items, elem = texts, manifest.Type{Kind: manifest.Text}
	case v.Type.Kind == manifest.Embedding:
		if to.Kind == manifest.Embedding {
			return nil, invalid(codeText, "an %s is not an %s", v.Type, to)
		}
		for _, x := range v.floats(i) {
			items = append(items, float64(x))
		}
	default:
		child, a, b := v.span(i)
		for j := a; j < b; j++ {
			items = append(items, child.Value(j))
		}
		elem = *v.Type.Elem
	}
	want := manifest.Type{Kind: manifest.Float}
	if to.Kind == manifest.List {
		want = *to.Elem
	}
	out := make([]any, len(items))
	for k, item := range items {
		lit, err := Constant(&plan.Cast{Arg: &plan.Literal{Value: item, Type: elem}, Type: want, Pos: -1}, env)
		if err != nil {
			return nil, err
		}
		out[k] = lit.Value
	}
	if to.Kind != manifest.Embedding {
		return out, nil
	}
	if len(out) != int(to.Length) {
		return nil, invalid(codeText, "%d numbers are not an %s", len(out), to)
	}
	floats := make([]float32, len(out))
	for k, x := range out {
		if x == nil {
			return nil, invalid(codeText, "an %s holds no NULL", to)
		}
		floats[k] = float32(x.(float64))
	}
	return floats, nil
}

// parseList reads [a, "b", NULL] or {a,b} as texts; nested lists stay texts.
func parseList(s string, to manifest.Type) ([]any, error) {
	text := trimmed(s)
	bad := func() ([]any, error) { return nil, malformed(to.String(), s) }
	if len(text) < 2 || !(text[0] == '[' && text[len(text)-1] == ']' || text[0] == '{' && text[len(text)-1] == '}') {
		return bad()
	}
	text = text[1 : len(text)-1]
	out := []any{}
	if trimmed(text) == "" {
		return out, nil
	}
	var item []byte
	depth, quoted := 0, false
	flush := func() {
		t := string(item)
		if !quoted {
			t = trimmed(t)
		}
		if !quoted && (t == "NULL" || t == "null") {
			out = append(out, nil)
		} else {
			out = append(out, t)
		}
		item, quoted = nil, false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case (c == '"' || c == '\'') && depth == 0 && trimmed(string(item)) == "" && !quoted:
			item, quoted = item[:0], true
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				item = append(item, text[i])
			}
			if i == len(text) {
				return bad()
			}
		case c == ',' && depth == 0:
			flush()
		case quoted && c != ' ':
			return bad()
		case quoted:
		default:
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			}
			item = append(item, c)
		}
		if depth < 0 {
			return bad()
		}
	}
	if depth != 0 {
		return bad()
	}
	flush()
	return out, nil
}
