package expr

import (
	"fmt"
	"math/bits"
	"unsafe"

	"kalamflight/manifest"
)

// kernel computes a function over rows sel (nil: all n) of its arguments into f.out, whose Type, Len and Valid are set.
// Unless the function is nullSafe the rows have no NULLs. Arguments are flat or constant, never dictionaries. A failing
// row ends it.
type kernel func(f *frame, n int, sel []uint16, args []*Vector) error

// binding is a call about to get its kernel.
type binding struct {
	name   string
	types  []manifest.Type
	result manifest.Type
	env    *Env
	// consts are the arguments that are constants, as vectors of one row; nil where they are not.
	consts []*Vector
}

// constant is the text of a constant argument that is not NULL.
func (b *binding) text(i int) (string, bool) {
	if i < len(b.consts) && b.consts[i] != nil && b.consts[i].IsValid(0) && Stringy(b.types[i]) {
		return string(b.consts[i].Slice(0)), true
	}
	return "", false
}

// kernel finds the implementation of the overload.
func (b *binding) kernel() (kernel, error) {
	make, ok := library()[b.name]
	if !ok {
		return nil, fmt.Errorf("function %s has no kernel", b.name)
	}
	k, err := make(b)
	if err == nil && k == nil {
		err = fmt.Errorf("function %s has no kernel for %v", b.name, b.types)
	}
	return k, err
}

// callNode applies a kernel.
type callNode struct {
	id       int
	args     []node
	kernel   kernel
	result   manifest.Type
	nullSafe bool
	volatile bool
	pos      int
}

func (c *callNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[c.id]
	if rowsOf(b.Len, sel) == 0 {
		return f.null(c.result, b.Len), nil
	}
	f.args = f.args[:0]
	for _, a := range c.args {
		v, err := a.eval(x, b, sel)
		if err != nil {
			return nil, err
		}
		f.args = append(f.args, v)
	}
	v, err := c.run(f, b.Len, sel, f.args)
	if err != nil {
		return nil, at(err, c.pos)
	}
	return v, nil
}

// run applies the kernel once for constants, once per used code for one dictionary, else for each row that has no NULL.
func (c *callNode) run(f *frame, n int, sel []uint16, args []*Vector) (*Vector, error) {
	constants, dicts, varying := true, 0, 0
	for i, a := range args {
		if a.Const && a.Dict != nil {
			args[i] = f.flat(i, a, 1, nil)
			a = args[i]
		}
		switch {
		case a.Const && !c.nullSafe && !a.IsValid(0):
			return f.null(c.result, n), nil
		case a.Const:
			continue
		case a.Dict != nil:
			dicts++
		}
		constants = false
		varying++
	}
	if constants && !c.volatile {
		f.start(c.result, 1, nil)
		f.out.Const = true
		if err := c.kernel(f, 1, nil, args); err != nil {
			return nil, err
		}
		f.out.Len = n
		return &f.out, nil
	}
	if dicts == 1 && varying == 1 && !c.nullSafe {
		if v, done, err := c.viaDictionary(f, n, sel, args); done {
			return v, err
		}
	}
	for i, a := range args {
		if a.Dict != nil {
			args[i] = f.flat(i, a, n, sel)
		}
	}
	var valid []uint64
	if !c.nullSafe {
		valid = f.bothValid(n, args...)
		if valid != nil {
			sel = chooseValid(valid, n, sel, f.selection(0, rowsOf(n, sel)))
			if len(sel) == 0 {
				return f.null(c.result, n), nil
			}
		}
	}
	f.start(c.result, n, valid)
	return &f.out, c.kernel(f, n, sel, args)
}

// bothValid is the bitmap of rows that are NULL in no argument; nil when there are no NULLs.
func (f *frame) bothValid(n int, args ...*Vector) []uint64 {
	var one []uint64
	many := false
	words := (n + 63) / 64
	for _, a := range args {
		switch {
		case a.Valid == nil || a.Const:
		case one == nil:
			one = a.Valid
		default:
			if !many {
				f.valid = append(f.valid[:0], one[:words]...)
				one, many = f.valid, true
			}
			for w, bits := range a.Valid[:words] {
				one[w] &= bits
			}
		}
	}
	return one
}

// maxDictionary is the largest dictionary that a selection can name.
const maxDictionary = 1 << 16

// viaDictionary computes the function for the codes that the rows use, and then looks each row up. done is false when
// that is no gain.
func (c *callNode) viaDictionary(f *frame, n int, sel []uint16, args []*Vector) (v *Vector, done bool, err error) {
	var arg *Vector
	f.args2 = append(f.args2[:0], args...)
	for i, a := range args {
		if a.Dict != nil {
			arg, f.args2[i] = a, a.Dict
		}
	}
	d := arg.Dict
	rows := rowsOf(n, sel)
	if d.Len > maxDictionary || d.Len > 8*rows+64 {
		return nil, false, nil
	}
	codes := Values[int32](arg)
	if arg.Valid != nil {
		sel = chooseValid(arg.Valid, n, sel, f.selection(0, rows))
		if len(sel) == 0 {
			return f.null(c.result, n), true, nil
		}
	}
	used := f.usedCodes(d.Len, codes, n, sel)
	f.start(c.result, d.Len, nil)
	if err := c.kernel(f, d.Len, used, f.args2); err != nil {
		return nil, true, err
	}
	f.dict = f.out
	r := &f.dict
	valid := arg.Valid
	if r.Valid != nil {
		valid = lookupValid(f, n, sel, codes, r.Valid)
		r.Valid = nil
	}
	f.out = Vector{Type: c.result, Len: n, Valid: valid}
	if Width(c.result) == 0 {
		f.out.Dict, f.out.Fixed = r, arg.Fixed
		return &f.out, true, nil
	}
	f.fixed2 = grow(f.fixed2, (n*Width(c.result)+7)/8)
	f.out.Fixed = bytesOf(f.fixed2)[:n*Width(c.result)]
	lookup(f.out.Fixed, r.Fixed, codes, Width(c.result), n, sel)
	return &f.out, true, nil
}

// usedCodes lists the codes of the rows, ascending; nil when that is all of them.
func (f *frame) usedCodes(size int, codes []int32, n int, sel []uint16) []uint16 {
	words := (size + 63) / 64
	f.valid = grow(f.valid, words)
	clear(f.valid)
	if sel == nil {
		for _, c := range codes[:n] {
			f.valid[c>>6] |= 1 << (uint(c) & 63)
		}
	} else {
		for _, i := range sel {
			c := codes[i]
			f.valid[c>>6] |= 1 << (uint(c) & 63)
		}
	}
	out := f.selection(1, size)[:size]
	k := 0
	for w, word := range f.valid {
		for word != 0 {
			out[k] = uint16(w*64 + bits.TrailingZeros64(word))
			word &= word - 1
			k++
		}
	}
	if k == size && size < maxDictionary {
		return nil
	}
	return out[:k]
}

// lookupValid is the bitmap of rows whose code has a value.
func lookupValid(f *frame, n int, sel []uint16, codes []int32, valid []uint64) []uint64 {
	words := (n + 63) / 64
	f.valid = grow(f.valid, words)
	clear(f.valid)
	if sel == nil {
		for i, c := range codes[:n] {
			f.valid[i>>6] |= valid[c>>6] >> (uint(c) & 63) & 1 << (uint(i) & 63)
		}
		return f.valid
	}
	for _, i := range sel {
		c := codes[i]
		f.valid[i>>6] |= valid[c>>6] >> (uint(c) & 63) & 1 << (i & 63)
	}
	return f.valid
}

// lookup writes from[codes[i]] to row i of out.
func lookup(out, from []byte, codes []int32, size, n int, sel []uint16) {
	switch size {
	case 1:
		lookupSized(out, from, codes, n, sel)
	case 2:
		lookupSized(unsafeSlice[uint16](out), unsafeSlice[uint16](from), codes, n, sel)
	case 4:
		lookupSized(unsafeSlice[uint32](out), unsafeSlice[uint32](from), codes, n, sel)
	case 8:
		lookupSized(unsafeSlice[uint64](out), unsafeSlice[uint64](from), codes, n, sel)
	default:
		lookupSized(unsafeSlice[[2]uint64](out), unsafeSlice[[2]uint64](from), codes, n, sel)
	}
}

func lookupSized[T any](out, from []T, codes []int32, n int, sel []uint16) {
	if sel == nil {
		out = out[:n]
		for i, c := range codes[:n] {
			out[i] = from[c]
		}
		return
	}
	for _, i := range sel {
		out[i] = from[codes[i]]
	}
}

// flattened is scratch for an argument whose dictionary was resolved.
type flattened struct {
	v       Vector
	fixed   []uint64
	offsets []int32
	bytes   []byte
}

// flat is dictionary vector v with the values of rows sel in place.
func (f *frame) flat(k int, v *Vector, n int, sel []uint16) *Vector {
	for len(f.flats) <= k {
		f.flats = append(f.flats, &flattened{})
	}
	return f.flats[k].resolve(v, n, sel)
}

func (s *flattened) resolve(v *Vector, n int, sel []uint16) *Vector {
	d, codes := v.Dict, Values[int32](v)
	s.v = Vector{Type: v.Type, Len: v.Len, Const: v.Const, Valid: v.Valid}
	if v.Valid != nil {
		dst := make([]uint16, rowsOf(n, sel))
		sel = chooseValid(v.Valid, n, sel, dst)
	}
	if size := Width(v.Type); size > 0 {
		s.fixed = grow(s.fixed, (n*size+7)/8)
		s.v.Fixed = bytesOf(s.fixed)[:n*size]
		lookup(s.v.Fixed, d.Fixed, codes, size, n, sel)
		return &s.v
	}
	if !Stringy(v.Type) { // lists and embeddings in dictionaries are rare: take them value by value
		values := make([]any, n)
		each(n, sel, func(i int) error { values[i] = d.Value(int(codes[i])); return nil })
		for i := range values {
			if values[i] == nil && v.Type.Kind == manifest.Embedding {
				values[i] = make([]float32, v.Type.Length)
			}
		}
		if flat, err := NewVector(values, v.Type); err == nil {
			s.v.Offsets, s.v.Child = flat.Offsets, flat.Child
		}
		return &s.v
	}
	s.offsets = grow(s.offsets, n+1)
	s.bytes = s.bytes[:0]
	next := 0
	put := func(i int) {
		for ; next <= i; next++ {
			s.offsets[next] = int32(len(s.bytes))
		}
		c := codes[i]
		s.bytes = append(s.bytes, d.Bytes[d.Offsets[c]:d.Offsets[c+1]]...)
	}
	if sel == nil {
		for i := range n {
			put(i)
		}
	} else {
		for _, i := range sel {
			put(int(i))
		}
	}
	for ; next <= n; next++ {
		s.offsets[next] = int32(len(s.bytes))
	}
	s.v.Offsets, s.v.Bytes = s.offsets, s.bytes
	return &s.v
}

// each calls fn for every row until one fails. It is for what takes no time to speak of; see frame.each.
func each(n int, sel []uint16, fn func(i int) error) error {
	if sel == nil {
		for i := range n {
			if err := fn(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range sel {
		if err := fn(int(i)); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for every row until one fails, or the statement ends.
func (f *frame) each(n int, sel []uint16, fn func(i int) error) error {
	return f.eachPolling(n, sel, 7, fn)
}

// eachLong is each for functions that may take a millisecond for one value.
func (f *frame) eachLong(n int, sel []uint16, fn func(i int) error) error {
	return f.eachPolling(n, sel, 0, fn)
}

// eachPolling looks for the end of the statement at the rows whose number has all bits of mask.
func (f *frame) eachPolling(n int, sel []uint16, mask int, fn func(i int) error) error {
	for k := range rowsOf(n, sel) {
		if k&mask == mask {
			if err := f.err(); err != nil {
				return err
			}
		}
		i := k
		if sel != nil {
			i = int(sel[k])
		}
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

func sizeof[T any](t T) int { return int(unsafe.Sizeof(t)) }

// stringsOut builds a result of texts or bytes, row by row in ascending order; rows left out are empty.
type stringsOut struct {
	f    *frame
	n    int
	next int
}

func (f *frame) strings(n int) stringsOut {
	f.offsets = grow(f.offsets, n+1)
	f.bytes = f.bytes[:0]
	return stringsOut{f: f, n: n}
}

// begin starts row i; the caller then appends to f.bytes.
func (o *stringsOut) begin(i int) error {
	for ; o.next <= i; o.next++ {
		o.f.offsets[o.next] = int32(len(o.f.bytes))
	}
	if len(o.f.bytes) > maxVectorBytes {
		return exhausted("a batch of strings would have more than %d bytes", maxVectorBytes)
	}
	return nil
}

func (o *stringsOut) put(i int, b []byte) error {
	if err := o.begin(i); err != nil {
		return err
	}
	o.f.bytes = append(o.f.bytes, b...)
	return nil
}

// end fills the result.
func (o *stringsOut) end() error {
	for ; o.next <= o.n; o.next++ {
		o.f.offsets[o.next] = int32(len(o.f.bytes))
	}
	o.f.out.Offsets, o.f.out.Bytes = o.f.offsets, o.f.bytes
	if len(o.f.bytes) > maxVectorBytes {
		return exhausted("a batch of strings would have more than %d bytes", maxVectorBytes)
	}
	return nil
}
