package expr

import (
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// IngestType is the type of the column that keeps a client's Arrow field: its own when it has one, else the narrowest
// that holds every value of it. Fields without such a type are refused.
func IngestType(f arrow.Field) (manifest.Type, error) {
	if t, ok := manifest.TypeOf(f); ok && t.Storable() {
		return t, nil
	}
	kind := func(k manifest.TypeKind) (manifest.Type, error) { return manifest.Type{Kind: k}, nil }
	switch dt := f.Type.(type) {
	case *arrow.Int8Type, *arrow.Uint8Type:
		return kind(manifest.SmallInt)
	case *arrow.Uint16Type:
		return kind(manifest.Int)
	case *arrow.Uint32Type:
		return kind(manifest.BigInt)
	case *arrow.Uint64Type:
		return manifest.Type{Kind: manifest.Decimal, Precision: 20}, nil
	case *arrow.Float16Type:
		return kind(manifest.Float)
	case *arrow.LargeStringType, *arrow.StringViewType, *arrow.NullType:
		return kind(manifest.Text)
	case *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return kind(manifest.Bytes)
	case *arrow.Date64Type:
		return kind(manifest.Date)
	case *arrow.Time32Type, *arrow.Time64Type:
		return kind(manifest.Time)
	case *arrow.TimestampType:
		if dt.TimeZone == "" {
			return kind(manifest.Timestamp)
		}
		return kind(manifest.DateTime)
	case arrow.DecimalType:
		if p, s := dt.GetPrecision(), dt.GetScale(); p >= 1 && p <= 38 && s >= 0 && s <= p {
			return manifest.Type{Kind: manifest.Decimal, Precision: p, Scale: s}, nil
		}
	case *arrow.FixedSizeListType:
		if id := dt.Elem().ID(); (id == arrow.FLOAT64 || id == arrow.FLOAT16) && dt.Len() >= 1 && dt.Len() <= 8192 {
			return manifest.Type{Kind: manifest.Embedding, Length: dt.Len()}, nil
		}
		return ingestList(f)
	case *arrow.ListType, *arrow.LargeListType, *arrow.ListViewType, *arrow.LargeListViewType:
		return ingestList(f)
	case *arrow.DictionaryType:
		return IngestType(arrow.Field{Type: dt.ValueType, Metadata: f.Metadata})
	case arrow.ExtensionType:
		switch dt.ExtensionName() {
		case "arrow.uuid":
			return kind(manifest.UUID)
		case "arrow.json":
			return kind(manifest.JSON)
		}
		return IngestType(arrow.Field{Type: dt.StorageType(), Metadata: f.Metadata})
	}
	return manifest.Type{}, unheld(f.Type)
}

// unheld is the failure of an Arrow type that no column holds, with what to make of it first.
func unheld(dt arrow.DataType) error {
	e := fault.At(fault.ErrUnsupported, "0A000", "", -1, "no column type holds Arrow %s", dt)
	switch dt.ID() {
	case arrow.DURATION, arrow.INTERVAL_MONTHS, arrow.INTERVAL_DAY_TIME, arrow.INTERVAL_MONTH_DAY_NANO:
		return e.WithHint("send it as a number of microseconds, or as text")
	case arrow.STRUCT, arrow.MAP:
		return e.WithHint("send it as JSON text, or a column for each of its fields")
	case arrow.DECIMAL256:
		return e.WithHint("decimals have at most 38 digits: send it as decimal128, DOUBLE or text")
	}
	return e
}

// CastArrow converts an array of any Arrow type to the plain array of a column type without losing anything: numbers
// must come back the same, moments must be whole microseconds, texts must be UTF-8 and not longer than a VARCHAR(n).
// Only DOUBLE into FLOAT is rounded, as the column asks for it. The error of a value names its row, from 0. An array
// that fits already is retained, not copied; the caller releases what comes back.
func CastArrow(arr arrow.Array, to manifest.Type, alloc memory.Allocator) (arrow.Array, error) {
	if ext, ok := arr.(array.ExtensionArray); ok {
		return CastArrow(ext.Storage(), to, alloc)
	}
	if arrow.TypeEqual(arr.DataType(), to.Arrow()) {
		if err := checkArray(arr, to); err != nil {
			return nil, err
		}
		arr.Retain()
		return arr, nil
	}
	if list, ok := arr.(array.ListLike); ok && to.Kind == manifest.List && arr.DataType().ID() != arrow.MAP {
		return castList(list, to, alloc)
	}
	c, err := newIngest(arr.DataType(), to)
	if err != nil {
		return nil, err
	}
	var parts []arrow.Array
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for from := 0; from == 0 || from < arr.Len(); from += VectorRows {
		through := min(from+VectorRows, arr.Len())
		part := array.NewSlice(arr, int64(from), int64(through))
		out, err := c.convert(part, from, alloc)
		part.Release()
		if err != nil {
			return nil, err
		}
		parts = append(parts, out)
	}
	if len(parts) == 1 {
		parts[0].Retain()
		return parts[0], nil
	}
	return array.Concatenate(parts, alloc)
}

// atRow names the row of a failure.
func atRow(row int, err error) error { return fmt.Errorf("row %d: %w", row, err) }

// checkArray refuses values that the Arrow type has room for and the column type has not.
func checkArray(arr arrow.Array, t manifest.Type) error {
	check := func(ok func(i int) error) error {
		for i := range arr.Len() {
			if arr.IsValid(i) {
				if err := ok(i); err != nil {
					return atRow(i, err)
				}
			}
		}
		return nil
	}
	switch a := arr.(type) {
	case *array.String:
		return check(func(i int) error { return checkText(unsafeBytes(a.Value(i)), t) })
	case *array.Decimal128:
		return check(func(i int) error {
			if !fits(a.Value(i), t.Precision) {
				return outOfRange(t.String())
			}
			return nil
		})
	case *array.Date32:
		return check(func(i int) error { _, err := checkDate(int64(a.Value(i))); return err })
	case *array.Time64:
		return check(func(i int) error { return checkTime(int64(a.Value(i))) })
	case *array.Timestamp:
		return check(func(i int) error { _, err := checkMicros(int64(a.Value(i)), true); return err })
	case *array.List:
		return checkList(a, t)
	case *array.FixedSizeList:
		values, n := a.ListValues(), a.DataType().(*arrow.FixedSizeListType).Len()
		if values.NullN() == 0 {
			return nil
		}
		return check(func(i int) error {
			from := (a.Data().Offset() + i) * int(n)
			for j := range int(n) {
				if values.IsNull(from + j) {
					return invalid(codeText, "an %s holds no NULL", t)
				}
			}
			return nil
		})
	}
	return nil
}

func checkTime(micros int64) error {
	if micros < 0 || micros >= microsPerDay {
		return invalid(codeDate, "TIME out of range")
	}
	return nil
}

func checkText(b []byte, t manifest.Type) error {
	if !utf8.Valid(b) {
		return invalid("22021", "the text is not UTF-8")
	}
	if t.Kind == manifest.JSON && !json.Valid(b) {
		return malformed("JSON", string(b))
	}
	return checkLength(b, t)
}

// ingest converts slices of arrays of one Arrow type.
type ingest struct {
	from, to manifest.Type
	read     func(arr arrow.Array, dst *Vector) (row int, err error)
	forward  *Evaluator
	// same is whether the value that was converted, converted back, is the value; nil when nothing can be lost.
	same *Evaluator
}

func newIngest(dt arrow.DataType, to manifest.Type) (*ingest, error) {
	values := dt
	if d, ok := dt.(*arrow.DictionaryType); ok {
		values = d.ValueType
	}
	from, read, err := reader(dt, values)
	if err != nil {
		return nil, err
	}
	c := &ingest{from: from, to: to, read: read}
	refuse := fault.At(fault.ErrInvalid, "42846", "", -1, "Arrow %s does not go into %s", dt, to)
	if from.Kind == manifest.Bytes && to.Textual() || from.Numeric() && to.Kind == manifest.Boolean ||
		from.Kind == manifest.Embedding {
		return nil, refuse
	}
	col := &plan.ColumnRef{Type: from}
	forward := &plan.Cast{Arg: col, Type: to, Pos: -1}
	p, err := Compile(forward, []manifest.Type{from}, nil)
	if err != nil {
		return nil, refuse
	}
	c.forward = p.New()
	if loses(from, to) {
		back := &plan.Cast{Arg: forward, Type: from, Pos: -1}
		p, err := Compile(&plan.Compare{Op: plan.NotDistinctFrom, Left: back, Right: col}, []manifest.Type{from}, nil)
		if err != nil {
			return nil, err
		}
		c.same = p.New()
	}
	return c, nil
}

// loses tells the casts that may give a different value.
func loses(from, to manifest.Type) bool {
	switch {
	case from.Kind == manifest.Double && to.Kind == manifest.Float:
		return false
	case from.Numeric() && to.Numeric():
		return !(from.Integer() && to.Integer())
	}
	return (from.Kind == manifest.Timestamp || from.Kind == manifest.DateTime) &&
		(to.Kind == manifest.Date || to.Kind == manifest.Time)
}

// convert converts one slice, whose first row is row first of the whole array.
func (c *ingest) convert(arr arrow.Array, first int, alloc memory.Allocator) (arrow.Array, error) {
	v := &Vector{}
	if row, err := c.read(arr, v); err != nil {
		return nil, atRow(first+row, err)
	}
	b := &Batch{Len: arr.Len(), Vectors: []*Vector{v}}
	if c.same != nil && b.Len > 0 {
		fine, err := c.same.Filter(b, nil)
		if err == nil && len(fine) < b.Len {
			row := 0
			for row < len(fine) && int(fine[row]) == row {
				row++
			}
			text := appendText(nil, v, row, (*Env)(nil).zone())
			return nil, atRow(first+row, invalid(codeRange, "%s does not fit %s", text, c.to))
		}
	}
	out, err := c.forward.Eval(b)
	if err != nil {
		return nil, c.locate(b, first, err)
	}
	for i := range b.Len {
		if !out.IsValid(i) {
			continue
		}
		if c.to.Textual() {
			err = checkText(out.Slice(i), c.to)
		}
		if err != nil {
			return nil, atRow(first+i, err)
		}
	}
	return ToArrow(out, nil, b.Len, c.to, alloc)
}

// locate finds the row that fails by converting one after the other.
func (c *ingest) locate(b *Batch, first int, err error) error {
	for i := range b.Len {
		one := &Batch{Len: b.Len, Vectors: b.Vectors, Sel: []uint16{uint16(i)}}
		if _, err := c.forward.Eval(one); err != nil {
			return atRow(first+i, err)
		}
	}
	return err
}

type readFunc func(arr arrow.Array, dst *Vector) (row int, err error)

// reader is the type as which an Arrow type is read, and how.
func reader(dt, values arrow.DataType) (manifest.Type, readFunc, error) {
	plainly := func(t manifest.Type) (manifest.Type, readFunc, error) {
		return t, func(arr arrow.Array, dst *Vector) (int, error) { return 0, FromArrow(arr, t, dst) }, nil
	}
	if dt != values { // a dictionary: of types that vectors know, or decoded
		t, _, err := reader(values, values)
		if _, ok := manifest.TypeOf(arrow.Field{Type: values}); ok || Stringy(t) {
			return plainly(t)
		}
		return t, decodedValues(t, values), err
	}
	if t, ok := manifest.TypeOf(arrow.Field{Type: dt}); ok && t.Kind != manifest.List {
		return plainly(t)
	}
	kind := func(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }
	switch dt := dt.(type) {
	case *arrow.StringViewType, *arrow.LargeStringType:
		return plainly(kind(manifest.Text))
	case *arrow.BinaryViewType, *arrow.LargeBinaryType:
		return plainly(kind(manifest.Bytes))
	case *arrow.Decimal32Type, *arrow.Decimal64Type:
		d := dt.(arrow.DecimalType)
		return plainly(manifest.Type{Kind: manifest.Decimal, Precision: d.GetPrecision(), Scale: d.GetScale()})
	case *arrow.ListType:
		if elem, ok := manifest.TypeOf(arrow.Field{Type: dt.Elem()}); ok {
			return plainly(manifest.Type{Kind: manifest.List, Elem: &elem})
		}
	case *arrow.FixedSizeListType:
		if elem := kind(manifest.Double); dt.Elem().ID() == arrow.FLOAT64 {
			return manifest.Type{Kind: manifest.List, Elem: &elem}, readFixedList, nil
		}
	case *arrow.Uint64Type:
		return manifest.Type{Kind: manifest.Decimal, Precision: 20}, readUint64, nil
	case *arrow.Float16Type:
		return kind(manifest.Float), readFloat16, nil
	case *arrow.Decimal256Type:
		if dt.Scale >= 0 && dt.Scale <= 38 {
			t := manifest.Type{Kind: manifest.Decimal, Precision: 38, Scale: dt.Scale}
			return t, readDecimal256, nil
		}
	case *arrow.Int8Type, *arrow.Uint8Type, *arrow.Uint16Type, *arrow.Uint32Type:
		return kind(manifest.BigInt), readSmall, nil
	case *arrow.FixedSizeBinaryType:
		return kind(manifest.Bytes), readFixedBinary, nil
	case *arrow.Date64Type:
		return kind(manifest.Date), readDate64, nil
	case *arrow.Time32Type, *arrow.Time64Type:
		return kind(manifest.Time), readTimes, nil
	case *arrow.TimestampType:
		k := manifest.Timestamp
		if dt.TimeZone != "" {
			k = manifest.DateTime
		}
		return kind(k), readTimestamps, nil
	}
	return manifest.Type{}, nil, unheld(dt)
}

// decodedValues reads a dictionary whose values have no vector by taking the values of its rows.
func decodedValues(t manifest.Type, values arrow.DataType) readFunc {
	_, read, err := reader(values, values)
	return func(arr arrow.Array, dst *Vector) (int, error) {
		if err != nil {
			return 0, err
		}
		d := arr.(*array.Dictionary)
		all := &Vector{}
		if _, err := read(d.Dictionary(), all); err != nil {
			return 0, err
		}
		rows := make([]any, d.Len())
		for i := range rows {
			if d.IsValid(i) {
				rows[i] = all.Value(d.GetValueIndex(i))
			}
		}
		v, err := NewVector(rows, t)
		if err == nil {
			*dst = *v
		}
		return 0, err
	}
}

// readInto fills a flat vector of fixed values; fn is called for rows that are not NULL.
func readInto[T any](arr arrow.Array, t manifest.Type, dst *Vector, fn func(i int) (T, error)) (int, error) {
	out := make([]T, arr.Len())
	*dst = Vector{Type: t, Len: arr.Len(), Valid: validity(arr), Fixed: aligned(bytesOf(out))}
	out = unsafeSlice[T](dst.Fixed)
	for i := range out {
		if arr.IsNull(i) {
			continue
		}
		var err error
		if out[i], err = fn(i); err != nil {
			return i, err
		}
	}
	return 0, nil
}

func readSmall(arr arrow.Array, dst *Vector) (int, error) {
	return readInto(arr, manifest.Type{Kind: manifest.BigInt}, dst, func(i int) (int64, error) {
		switch a := arr.(type) {
		case *array.Int8:
			return int64(a.Value(i)), nil
		case *array.Uint8:
			return int64(a.Value(i)), nil
		case *array.Uint16:
			return int64(a.Value(i)), nil
		}
		return int64(arr.(*array.Uint32).Value(i)), nil
	})
}

func readUint64(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.Uint64)
	return readInto(arr, manifest.Type{Kind: manifest.Decimal, Precision: 20}, dst, func(i int) (decimal128.Num, error) {
		return decimal128.FromU64(a.Value(i)), nil
	})
}

func readFloat16(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.Float16)
	return readInto(arr, manifest.Type{Kind: manifest.Float}, dst,
		func(i int) (float32, error) { return a.Value(i).Float32(), nil })
}

func readDecimal256(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.Decimal256)
	t := manifest.Type{Kind: manifest.Decimal, Precision: 38, Scale: a.DataType().(*arrow.Decimal256Type).Scale}
	return readInto(arr, t, dst, func(i int) (decimal128.Num, error) {
		n, ok := fromBig(a.Value(i).BigInt(), 38)
		if !ok {
			return n, outOfRange(t.String())
		}
		return n, nil
	})
}

func readDate64(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.Date64)
	return readInto(arr, manifest.Type{Kind: manifest.Date}, dst, func(i int) (int32, error) {
		const day = 86_400_000
		ms := int64(a.Value(i))
		if ms%day != 0 {
			return 0, invalid(codeDate, "%d milliseconds are not a whole day", ms)
		}
		return checkDate(ms / day)
	})
}

// toMicros changes the unit of a time; parts of a microsecond are refused.
func toMicros(n int64, unit arrow.TimeUnit) (int64, error) {
	factor := map[arrow.TimeUnit]int64{arrow.Second: 1_000_000, arrow.Millisecond: 1000, arrow.Microsecond: 1}[unit]
	if unit == arrow.Nanosecond {
		if n%1000 != 0 {
			return 0, fault.At(fault.ErrInvalid, codeDate, "", -1, "%d nanoseconds are not whole microseconds", n).
				WithHint("round times to microseconds first; in pandas .dt.round('us')")
		}
		return n / 1000, nil
	}
	r, ok := mulOK(n, factor)
	return checkMicros(r, ok)
}

func readTimes(arr arrow.Array, dst *Vector) (int, error) {
	return readInto(arr, manifest.Type{Kind: manifest.Time}, dst, func(i int) (int64, error) {
		var micros int64
		var err error
		switch a := arr.(type) {
		case *array.Time32:
			micros, err = toMicros(int64(a.Value(i)), a.DataType().(*arrow.Time32Type).Unit)
		case *array.Time64:
			micros, err = toMicros(int64(a.Value(i)), a.DataType().(*arrow.Time64Type).Unit)
		}
		if err == nil {
			err = checkTime(micros)
		}
		return micros, err
	})
}

func readTimestamps(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.Timestamp)
	dt := a.DataType().(*arrow.TimestampType)
	t := manifest.Type{Kind: manifest.Timestamp}
	if dt.TimeZone != "" {
		t.Kind = manifest.DateTime
	}
	return readInto(arr, t, dst, func(i int) (int64, error) { return toMicros(int64(a.Value(i)), dt.Unit) })
}

func readFixedBinary(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.FixedSizeBinary)
	size := a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth
	if a.Len()*size > math.MaxInt32 {
		return 0, exhausted("a batch of %d values of %d bytes is too big", a.Len(), size)
	}
	*dst = Vector{Type: manifest.Type{Kind: manifest.Bytes}, Len: a.Len(), Valid: validity(arr),
		Offsets: make([]int32, a.Len()+1)}
	for i := range a.Len() {
		if a.IsValid(i) {
			dst.Bytes = append(dst.Bytes, a.Value(i)...)
		}
		dst.Offsets[i+1] = int32(len(dst.Bytes))
	}
	return 0, nil
}

// readFixedList reads fixed-size lists of DOUBLEs as lists.
func readFixedList(arr arrow.Array, dst *Vector) (int, error) {
	a := arr.(*array.FixedSizeList)
	n := int(a.DataType().(*arrow.FixedSizeListType).Len())
	elem := manifest.Type{Kind: manifest.Double}
	*dst = Vector{Type: manifest.Type{Kind: manifest.List, Elem: &elem}, Len: a.Len(), Valid: validity(arr),
		Offsets: make([]int32, a.Len()+1)}
	from := a.Data().Offset()
	for i := range dst.Offsets {
		dst.Offsets[i] = int32((from + i) * n)
	}
	dst.Child = &Vector{}
	return 0, FromArrow(a.ListValues(), elem, dst.Child)
}
