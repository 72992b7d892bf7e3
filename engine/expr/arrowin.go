package expr

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// FromArrow makes dst read arr as a vector of logical type t. It copies nothing where the layouts agree; then dst
// borrows arr's buffers and is valid as long as arr is. Dictionaries stay dictionaries, decimals may come in any width,
// strings in any encoding.
func FromArrow(arr arrow.Array, t manifest.Type, dst *Vector) error {
	*dst = Vector{Type: t, Len: arr.Len()}
	if ext, ok := arr.(array.ExtensionArray); ok {
		return FromArrow(ext.Storage(), t, dst)
	}
	if _, ok := arr.(*array.Null); ok || t.Kind == manifest.Null {
		dst.Const, dst.Valid = true, []uint64{0}
		padNull(dst)
		return nil
	}
	if d, ok := arr.(*array.Dictionary); ok {
		return fromDictionary(d, t, dst)
	}
	dst.Valid = validity(arr)
	if fromFixed(arr, t, dst) || fromStrings(arr, t, dst) {
		return nil
	}
	switch a := arr.(type) {
	case *array.Boolean:
		if t.Kind == manifest.Boolean {
			dst.Fixed = expand(a)
			return nil
		}
	case *array.FixedSizeList:
		if t.Kind == manifest.Embedding && a.DataType().(*arrow.FixedSizeListType).Len() == t.Length {
			return fromEmbedding(a, dst)
		}
	case *array.List:
		if t.Kind == manifest.List {
			dst.Offsets = offsetsOf(a)
			dst.Child = &Vector{}
			return FromArrow(a.ListValues(), *t.Elem, dst.Child)
		}
	}
	return fmt.Errorf("read Arrow %s as %s: no such layout", arr.DataType(), t)
}

// aligned is b when its address suits 8-byte reads, else a copy that does.
func aligned(b []byte) []byte {
	if uintptr(unsafe.Pointer(unsafe.SliceData(b)))&7 == 0 || len(b) == 0 {
		return b
	}
	c := bytesOf(make([]uint64, (len(b)+7)/8))[:len(b)]
	copy(c, b)
	return c
}

// validity is the bitmap of arr from bit 0, nil without NULLs.
func validity(arr arrow.Array) []uint64 {
	if arr.NullN() == 0 || arr.Len() == 0 {
		return nil
	}
	return bitmap(arr.NullBitmapBytes(), arr.Data().Offset(), arr.Len())
}

// bitmap is n bits of b from bit offset on, as words; borrowed when they lie well.
func bitmap(b []byte, offset, n int) []uint64 {
	words := (n + 63) / 64
	if offset&63 == 0 {
		part := b[offset>>3:]
		if len(part) >= words*8 && uintptr(unsafe.Pointer(unsafe.SliceData(part)))&7 == 0 {
			return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(part))), words)
		}
	}
	out := make([]uint64, words)
	for w := range out {
		out[w] = bitsAt(b, offset+w*64)
	}
	return out
}

// bitsAt is 64 bits from bit offset i on; past the end come zeros.
func bitsAt(b []byte, i int) uint64 {
	k, shift := i>>3, uint(i)&7
	if k+9 <= len(b) {
		x := binary.LittleEndian.Uint64(b[k:]) >> shift
		if shift > 0 {
			x |= uint64(b[k+8]) << (64 - shift)
		}
		return x
	}
	var x uint64
	for j := 0; j < 9 && k+j < len(b); j++ {
		if s := j*8 - int(shift); s >= 0 {
			x |= uint64(b[k+j]) << uint(s)
		} else {
			x |= uint64(b[k+j]) >> uint(-s)
		}
	}
	return x
}

// expand turns bits into a byte each.
func expand(a *array.Boolean) []byte {
	n := a.Len()
	out := make([]byte, n)
	if n == 0 {
		return out
	}
	b, offset := a.Data().Buffers()[1].Bytes(), a.Data().Offset()
	for i := 0; i < n; i += 64 {
		word := bitsAt(b, offset+i)
		part := out[i:min(i+64, n)]
		for j := range part {
			part[j] = byte(word>>uint(j)) & 1
		}
	}
	return out
}

// fixedBytes are the bytes of a fixed-width array from its offset on.
func fixedBytes(arr arrow.Array, size int) []byte {
	data := arr.Data()
	if data.Len() == 0 || data.Buffers()[1] == nil {
		return nil
	}
	return aligned(data.Buffers()[1].Bytes()[data.Offset()*size : (data.Offset()+data.Len())*size])
}

// fromFixed handles what has one value buffer; false when the layouts do not go together.
func fromFixed(arr arrow.Array, t manifest.Type, dst *Vector) bool {
	id := arr.DataType().ID()
	if t.Kind == manifest.Decimal {
		return fromDecimal(arr, t, dst)
	}
	fits := false
	switch t.Kind {
	case manifest.SmallInt:
		fits = id == arrow.INT16
	case manifest.Int:
		fits = id == arrow.INT32
	case manifest.BigInt:
		fits = id == arrow.INT64
	case manifest.Float:
		fits = id == arrow.FLOAT32
	case manifest.Double:
		fits = id == arrow.FLOAT64
	case manifest.Date:
		fits = id == arrow.DATE32 || id == arrow.INT32
	case manifest.Time:
		dt, ok := arr.DataType().(*arrow.Time64Type)
		fits = ok && dt.Unit == arrow.Microsecond || id == arrow.INT64
	case manifest.Timestamp, manifest.DateTime:
		dt, ok := arr.DataType().(*arrow.TimestampType)
		fits = ok && dt.Unit == arrow.Microsecond || id == arrow.INT64
	case manifest.UUID:
		dt, ok := arr.DataType().(*arrow.FixedSizeBinaryType)
		fits = ok && dt.ByteWidth == 16
	case manifest.Interval:
		fits = id == arrow.INTERVAL_MONTH_DAY_NANO
	}
	if fits {
		dst.Fixed = fixedBytes(arr, Width(t))
	}
	return fits
}

func fromDecimal(arr arrow.Array, t manifest.Type, dst *Vector) bool {
	dt, ok := arr.DataType().(arrow.DecimalType)
	if !ok || dt.GetScale() != t.Scale {
		return false
	}
	n := arr.Len()
	switch arr.DataType().ID() {
	case arrow.DECIMAL32:
		from := unsafeSlice[int32](fixedBytes(arr, 4))
		if narrow(t) {
			to := make([]int64, n)
			for i, x := range from {
				to[i] = int64(x)
			}
			dst.Fixed = bytesOf(to)
			return true
		}
		to := make([]decimal128.Num, n)
		for i, x := range from {
			to[i] = decimal128.FromI64(int64(x))
		}
		dst.Fixed = bytesOf(to)
	case arrow.DECIMAL64:
		dst.Fixed = fixedBytes(arr, 8)
		if narrow(t) {
			return true
		}
		to := make([]decimal128.Num, n)
		for i, x := range unsafeSlice[int64](dst.Fixed) {
			to[i] = decimal128.FromI64(x)
		}
		dst.Fixed = bytesOf(to)
	case arrow.DECIMAL128:
		dst.Fixed = fixedBytes(arr, 16)
		if !narrow(t) {
			return true
		}
		if dt.GetPrecision() > t.Precision {
			return false
		}
		to := make([]int64, n)
		for i, x := range unsafeSlice[decimal128.Num](dst.Fixed) {
			to[i] = int64(x.LowBits())
		}
		dst.Fixed = bytesOf(to)
	default:
		return false
	}
	return true
}

// unsafeSlice reads aligned bytes as values.
func unsafeSlice[T any](b []byte) []T {
	var t T
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// fromStrings handles texts and bytes; false when arr has none or t is another type.
func fromStrings(arr arrow.Array, t manifest.Type, dst *Vector) bool {
	if !Stringy(t) {
		return false
	}
	n := arr.Len()
	switch arr.(type) {
	case *array.String, *array.Binary:
	case array.ViewLike, *array.LargeString, *array.LargeBinary:
		return copyStrings(arr, dst)
	default:
		return false
	}
	if n == 0 {
		dst.Offsets = []int32{0}
		return true
	}
	dst.Offsets = offsetsOf(arr)
	if data := arr.Data(); data.Buffers()[2] != nil {
		dst.Bytes = data.Buffers()[2].Bytes()
	}
	return true
}

// offsetsOf are the 32-bit offsets of an array's own rows.
func offsetsOf(arr arrow.Array) []int32 {
	data := arr.Data()
	if data.Len() == 0 {
		return []int32{0}
	}
	return unsafeSlice[int32](aligned(data.Buffers()[1].Bytes()[data.Offset()*4 : (data.Offset()+data.Len()+1)*4]))
}

// copyStrings handles the encodings whose offsets are not 32-bit.
func copyStrings(arr arrow.Array, dst *Vector) bool {
	n := arr.Len()
	var value func(int) []byte
	switch a := arr.(type) {
	case *array.LargeString:
		value = func(i int) []byte { return unsafeBytes(a.Value(i)) }
	case *array.LargeBinary:
		value = a.Value
	case *array.StringView:
		value = func(i int) []byte { return unsafeBytes(a.Value(i)) }
	case *array.BinaryView:
		value = a.Value
	default:
		return false
	}
	dst.Offsets = make([]int32, n+1)
	total := 0
	for i := range n {
		if arr.IsValid(i) {
			total += len(value(i))
		}
	}
	if total > maxVectorBytes {
		return false
	}
	dst.Bytes = make([]byte, 0, total)
	for i := range n {
		if arr.IsValid(i) {
			dst.Bytes = append(dst.Bytes, value(i)...)
		}
		dst.Offsets[i+1] = int32(len(dst.Bytes))
	}
	return true
}

func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func fromEmbedding(a *array.FixedSizeList, dst *Vector) error {
	n, dims := a.Len(), int(dst.Type.Length)
	values, ok := a.ListValues().(*array.Float32)
	if !ok {
		return fmt.Errorf("read Arrow %s as %s: no such layout", a.DataType(), dst.Type)
	}
	from := a.Data().Offset() * dims
	part := array.NewSlice(values, int64(from), int64(from+n*dims))
	defer part.Release() // the buffers live on in a
	dst.Child = &Vector{}
	return FromArrow(part, manifest.Type{Kind: manifest.Float}, dst.Child)
}

// fromDictionary keeps the codes. Values that are NULL become NULL rows.
func fromDictionary(a *array.Dictionary, t manifest.Type, dst *Vector) error {
	// Dictionary would remember the array it makes in a, which several goroutines may read.
	dict := array.MakeFromData(a.Data().Dictionary())
	defer dict.Release() // the buffers live on in a
	values := &Vector{}
	if err := FromArrow(dict, t, values); err != nil {
		return err
	}
	n := a.Len()
	dst.Valid = validity(a)
	var codes []int32
	if a.Indices().DataType().ID() == arrow.INT32 {
		dst.Fixed = fixedBytes(a.Indices(), 4)
		codes = unsafeSlice[int32](dst.Fixed)
	} else {
		codes = make([]int32, n)
		for i := range codes {
			if a.IsValid(i) {
				codes[i] = int32(a.GetValueIndex(i))
			}
		}
		dst.Fixed = bytesOf(codes)
	}
	if values.Valid != nil {
		valid := make([]uint64, (n+63)/64)
		for i, c := range codes {
			if dst.IsValid(i) && values.IsValid(int(c)) {
				valid[i>>6] |= 1 << (uint(i) & 63)
			}
		}
		dst.Valid, values.Valid = valid, nil
	}
	if values.Const || values.Len == 0 { // a dictionary of NULLs: no row has a value
		dst.Fixed, dst.Const, dst.Valid = nil, true, []uint64{0}
		padNull(dst)
		return nil
	}
	dst.Dict = values
	return nil
}
