package flightdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"kalamflight/internal/fault"
)

// Limits bound what a client's message may ask of the reader behind the verifier. A zero field means its default.
type Limits struct {
	// HeaderBytes bounds the metadata of one message; 0 means 4 MiB.
	HeaderBytes int
	// Fields bounds the fields of a schema, nested ones included, and of a batch; 0 means 4096.
	Fields int
	// Depth bounds how deep fields are nested; 0 means 16.
	Depth int
	// Rows bounds the rows of one batch; 0 means 64 Mi.
	Rows int64
	// DecodedBytes bounds what the buffers of one batch decompress to; 0 means 512 MiB.
	DecodedBytes int64
}

func (l Limits) withDefaults() Limits {
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 4 << 20
	}
	if l.Fields <= 0 {
		l.Fields = 4096
	}
	if l.Depth <= 0 {
		l.Depth = 16
	}
	if l.Rows <= 0 {
		l.Rows = 64 << 20
	}
	if l.DecodedBytes <= 0 {
		l.DecodedBytes = 512 << 20
	}
	return l
}

// Kind is what a message holds.
type Kind uint8

// The kinds of message, numbered as Arrow's MessageHeader union.
const (
	Schema     Kind = 1
	Dictionary Kind = 2
	Batch      Kind = 3
)

// Verifier checks the messages of one stream. It is for one goroutine.
type Verifier struct {
	limits Limits
	// columns is the shape of the stream's batches, and dictionaries that of each dictionary by its id; nil before the
	// schema.
	columns      *shape
	dictionaries map[int64]shape
	decoded, id  int64
}

// Decoded is how many bytes the buffers of the message that was checked last become when they are decompressed; 0 when
// they are not compressed.
func (c *Verifier) Decoded() int64 { return c.decoded }

// DictionaryID is which dictionary the message that was checked last is, when it is one.
func (c *Verifier) DictionaryID() int64 { return c.id }

// shape counts what a batch must have at least: arrow-go takes as many as the schema says, wherever that leads.
type shape struct{ nodes, buffers, variadic int }

func (s *shape) add(o shape) {
	s.nodes += o.nodes
	s.buffers += o.buffers
	s.variadic += o.variadic
}

// NewVerifier makes a Verifier for a stream.
func NewVerifier(limits Limits) *Verifier { return &Verifier{limits: limits.withDefaults()} }

// Check checks a message's Arrow metadata before anything follows an offset in it: every table, vector and string
// lies inside header, every buffer inside body, a batch has what the schema asks for, and no count or size asks for
// more than the limits allow. It does not look at values: offsets and indices inside buffers are for
// array.ValidateFull once the batch is made.
func (c *Verifier) Check(header, body []byte) (Kind, error) {
	l := c.limits
	if len(header) > l.HeaderBytes {
		return 0, fmt.Errorf("the Arrow metadata has %d bytes, more than %d", len(header), l.HeaderBytes)
	}
	c.decoded = 0
	v := verifier{Verifier: c, b: header, body: body, fields: l.Fields, tables: 16 * l.Fields, text: 2 * len(header)}
	kind, err := v.message()
	if errors.Is(err, fault.ErrUnsupported) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("the Arrow metadata is malformed: %w", err)
	}
	return kind, nil
}

// verifier walks the flatbuffer of one message. The budgets fall with each visit, as offsets may share what they
// point at and a small buffer can so stand for an exponential tree.
type verifier struct {
	*Verifier
	b, body []byte
	fields  int
	tables  int
	text    int
}

// table is a flatbuffer table whose vtable lies in the buffer. How long the vtable says that the table is must not be
// believed: writers in Go give a vtable that agrees in its offsets to tables of different sizes.
type table struct{ pos, vtable, slots int }

var (
	errBounds = errors.New("an offset points outside")
	errBudget = errors.New("it has too many parts")
)

func (v *verifier) u16(p int) int { return int(binary.LittleEndian.Uint16(v.b[p:])) }

func (v *verifier) u32(p int) int { return int(binary.LittleEndian.Uint32(v.b[p:])) }

func (v *verifier) i64(p int) int64 { return int64(binary.LittleEndian.Uint64(v.b[p:])) }

// at reads the table at pos.
func (v *verifier) at(pos int) (table, error) {
	if v.tables--; v.tables < 0 {
		return table{}, errBudget
	}
	if pos < 4 || pos > len(v.b)-4 {
		return table{}, errBounds
	}
	vtable := pos - int(int32(v.u32(pos)))
	if vtable < 0 || vtable > len(v.b)-4 {
		return table{}, errBounds
	}
	t := table{pos: pos, vtable: vtable, slots: v.u16(vtable)}
	if t.slots < 4 || t.slots%2 != 0 || t.slots > len(v.b)-vtable {
		return table{}, errBounds
	}
	return t, nil
}

// slot is the position of inline field i of that many bytes; 0 when the field is absent.
func (v *verifier) slot(t table, i, bytes int) (int, error) {
	entry := 4 + 2*i
	if entry+2 > t.slots {
		return 0, nil
	}
	offset := v.u16(t.vtable + entry)
	if offset == 0 {
		return 0, nil
	}
	if offset < 4 || bytes > len(v.b)-t.pos-offset {
		return 0, errBounds
	}
	return t.pos + offset, nil
}

// ref follows the offset in field i; 0 when it is absent.
func (v *verifier) ref(t table, i int) (int, error) {
	p, err := v.slot(t, i, 4)
	if err != nil || p == 0 {
		return 0, err
	}
	return v.follow(p)
}

// follow follows the offset at p, which lies in the buffer.
func (v *verifier) follow(p int) (int, error) {
	q := p + v.u32(p)
	if q <= p || q > len(v.b)-4 {
		return 0, errBounds
	}
	return q, nil
}

// vector is the first element and the length of the vector in field i.
func (v *verifier) vector(t table, i, elemBytes int) (first, n int, err error) {
	p, err := v.ref(t, i)
	if err != nil || p == 0 {
		return 0, 0, err
	}
	n = v.u32(p)
	if n > (len(v.b)-p-4)/elemBytes {
		return 0, 0, errBounds
	}
	return p + 4, n, nil
}

// str checks the string in field i.
func (v *verifier) str(t table, i int) error {
	first, n, err := v.vector(t, i, 1)
	if err != nil || first == 0 {
		return err
	}
	if v.text -= n; v.text < 0 {
		return errBudget
	}
	if !utf8.Valid(v.b[first : first+n]) {
		return errors.New("a name is not UTF-8")
	}
	return nil
}

// pairs checks the vector of KeyValue tables in field i.
func (v *verifier) pairs(t table, i int) error {
	return v.each(t, i, func(kv table) error {
		return errors.Join(v.str(kv, 0), v.str(kv, 1))
	})
}

// each calls f with every table of the vector in field i.
func (v *verifier) each(t table, i int, f func(table) error) error {
	first, n, err := v.vector(t, i, 4)
	if err != nil {
		return err
	}
	for k := range n {
		p, err := v.follow(first + 4*k)
		if err != nil {
			return err
		}
		elem, err := v.at(p)
		if err != nil {
			return err
		}
		if err := f(elem); err != nil {
			return err
		}
	}
	return nil
}

// child reads the table in field i; ok is false when it is absent.
func (v *verifier) child(t table, i int) (c table, ok bool, err error) {
	p, err := v.ref(t, i)
	if err != nil || p == 0 {
		return table{}, false, err
	}
	c, err = v.at(p)
	return c, err == nil, err
}

// scalars checks that fields of these sizes are whole.
func (v *verifier) scalars(t table, bytes ...int) error {
	for i, n := range bytes {
		if _, err := v.slot(t, i, n); err != nil {
			return err
		}
	}
	return nil
}

// message checks the root table: version, header type, header, body length, custom metadata.
func (v *verifier) message() (Kind, error) {
	if len(v.b) < 8 {
		return 0, errBounds
	}
	root, err := v.at(v.u32(0))
	if err != nil {
		return 0, err
	}
	if _, err := v.slot(root, 0, 2); err != nil {
		return 0, err
	}
	if _, err := v.slot(root, 3, 8); err != nil {
		return 0, err
	}
	if err := v.pairs(root, 4); err != nil {
		return 0, err
	}
	p, err := v.slot(root, 1, 1)
	if err != nil {
		return 0, err
	}
	header, ok, err := v.child(root, 2)
	if err != nil {
		return 0, err
	}
	if p == 0 || !ok {
		return 0, errors.New("it has no header")
	}
	switch kind := Kind(v.b[p]); kind {
	case Schema:
		return kind, v.schema(header)
	case Dictionary:
		return kind, v.dictionary(header)
	case Batch:
		if v.columns == nil {
			return 0, errors.New("a batch comes before the schema")
		}
		return kind, v.batch(header, *v.columns)
	default:
		return 0, fmt.Errorf("it holds a message of type %d", kind)
	}
}

// schema: endianness, fields, custom metadata, features.
func (v *verifier) schema(t table) error {
	if v.columns != nil {
		return errors.New("a second schema comes in the stream")
	}
	p, err := v.slot(t, 0, 2)
	if err != nil {
		return err
	}
	if p != 0 && v.u16(p) != 0 {
		return errors.New("its numbers are big-endian")
	}
	if _, _, err := v.vector(t, 3, 8); err != nil {
		return err
	}
	if err := v.pairs(t, 2); err != nil {
		return err
	}
	v.dictionaries = map[int64]shape{}
	columns := &shape{}
	err = v.each(t, 1, func(f table) error {
		s, err := v.field(f, 1)
		columns.add(s)
		return err
	})
	if err == nil {
		v.columns = columns
	}
	return err
}

// field: name, nullable, type's kind, type, dictionary, children, custom metadata. It returns what a batch has for
// the field.
func (v *verifier) field(t table, depth int) (shape, error) {
	if v.fields--; v.fields < 0 {
		return shape{}, fmt.Errorf("it has more than %d fields", v.limits.Fields)
	}
	if depth > v.limits.Depth {
		return shape{}, fmt.Errorf("its fields are nested deeper than %d", v.limits.Depth)
	}
	if err := errors.Join(v.str(t, 0), v.pairs(t, 6)); err != nil {
		return shape{}, err
	}
	if _, err := v.slot(t, 1, 1); err != nil {
		return shape{}, err
	}
	p, err := v.slot(t, 2, 1)
	if err != nil {
		return shape{}, err
	}
	dt, ok, err := v.child(t, 3)
	if err != nil {
		return shape{}, err
	}
	if p == 0 || !ok {
		return shape{}, errors.New("a field has no type")
	}
	s, err := v.dataType(int(v.b[p]), dt)
	if err != nil {
		return shape{}, err
	}
	err = v.each(t, 5, func(f table) error {
		inner, err := v.field(f, depth+1)
		s.add(inner)
		return err
	})
	if err != nil {
		return shape{}, err
	}
	encoding, ok, err := v.child(t, 4)
	if err != nil || !ok {
		return s, err
	}
	return v.encoding(encoding, s)
}

// arrowTypes are the types by their number in the Type union: the sizes of the inline fields of their tables, -1 for
// a string, and the buffers of a column without those of its children. Types that are not here are refused: unions,
// run-end encoding and list views, which no table can hold.
var arrowTypes = map[int]struct {
	fields  []int
	buffers int
}{
	1: {nil, 0}, 2: {[]int{4, 1}, 2}, 3: {[]int{2}, 2}, 4: {nil, 3}, 5: {nil, 3}, 6: {nil, 2}, 7: {[]int{4, 4, 4}, 2},
	8: {[]int{2}, 2},
	9: {[]int{2, 4}, 2}, 10: {[]int{2, -1}, 2}, 11: {[]int{2}, 2}, 12: {nil, 2}, 13: {nil, 1}, 15: {[]int{4}, 2},
	16: {[]int{4}, 1},
	17: {[]int{1}, 2}, 18: {[]int{2}, 2}, 19: {nil, 3}, 20: {nil, 3}, 21: {nil, 2}, typeBinaryView: {nil, 2},
	typeUtf8View: {nil, 2},
}

const (
	typeInt        = 2
	typeBinaryView = 23
	typeUtf8View   = 24
)

func (v *verifier) dataType(number int, t table) (shape, error) {
	known, ok := arrowTypes[number]
	if !ok {
		return shape{}, unsupported(number)
	}
	for i, bytes := range known.fields {
		var err error
		if bytes < 0 {
			err = v.str(t, i)
		} else {
			_, err = v.slot(t, i, bytes)
		}
		if err != nil {
			return shape{}, err
		}
	}
	s := shape{nodes: 1, buffers: known.buffers}
	if number == typeBinaryView || number == typeUtf8View {
		s.variadic = 1
	}
	return s, nil
}

// unsupported says of a type that no table can hold what to send in its place.
func unsupported(number int) error {
	name, instead := fmt.Sprintf("of the Arrow type number %d", number), "cast them to another type"
	switch number {
	case 14:
		name, instead = "that are unions", "send one column for each member, or JSON as text"
	case 22:
		name, instead = "that are run-end encoded", "decode them first, or send a dictionary"
	case 25, 26:
		name, instead = "that are list views", "cast them to list"
	}
	return &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
		Message: "columns " + name + " are not supported", Hint: instead}
}

// encoding checks a DictionaryEncoding: id, index type, ordered, kind. The batch then has the indices, and the
// dictionary the values.
func (v *verifier) encoding(t table, values shape) (shape, error) {
	if err := v.scalars(t, 8, 4, 1, 2); err != nil {
		return shape{}, err
	}
	index, ok, err := v.child(t, 1)
	if err != nil {
		return shape{}, err
	}
	if ok {
		if err := v.scalars(index, arrowTypes[typeInt].fields...); err != nil {
			return shape{}, err
		}
	}
	id, err := v.dictionaryID(t)
	if err != nil {
		return shape{}, err
	}
	if other, twice := v.dictionaries[id]; twice && other != values {
		return shape{}, fmt.Errorf("the dictionary %d has two types", id)
	}
	v.dictionaries[id] = values
	return shape{nodes: 1, buffers: arrowTypes[typeInt].buffers}, nil
}

// dictionaryID is the first field of an encoding and of a dictionary batch.
func (v *verifier) dictionaryID(t table) (int64, error) {
	p, err := v.slot(t, 0, 8)
	if err != nil || p == 0 {
		return 0, err
	}
	return v.i64(p), nil
}

// dictionary: id, batch, delta.
func (v *verifier) dictionary(t table) error {
	id, err := v.dictionaryID(t)
	if err != nil {
		return err
	}
	v.id = id
	values, ok := v.dictionaries[id]
	if !ok {
		return fmt.Errorf("the schema has no dictionary %d", id)
	}
	p, err := v.slot(t, 2, 1)
	if err != nil {
		return err
	}
	if p != 0 && v.b[p] != 0 {
		return errors.New("it extends a dictionary: send each dictionary whole")
	}
	rows, ok, err := v.child(t, 1)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("a dictionary has no values")
	}
	return v.batch(rows, values)
}

// batch: length, nodes, buffers, compression, variadic buffer counts.
func (v *verifier) batch(t table, need shape) error {
	p, err := v.slot(t, 0, 8)
	if err != nil {
		return err
	}
	if p != 0 {
		if n := v.i64(p); n < 0 || n > v.limits.Rows {
			return fmt.Errorf("a batch has %d rows, more than %d", uint64(n), v.limits.Rows)
		}
	}
	first, n, err := v.vector(t, 1, 16)
	if err != nil {
		return err
	}
	if n > 2*v.limits.Fields {
		return errBudget
	}
	if n < need.nodes {
		return errors.New("a batch has too few columns")
	}
	for k := range n {
		values, nulls := v.i64(first+16*k), v.i64(first+16*k+8)
		if values < 0 || values/8 > v.limits.DecodedBytes || nulls < 0 || nulls > values {
			return errors.New("a column has an impossible length")
		}
	}
	compressed, err := v.compression(t)
	if err != nil {
		return err
	}
	buffers, err := v.buffers(t, compressed)
	if err != nil {
		return err
	}
	return v.variadic(t, buffers, need)
}

func (v *verifier) compression(t table) (bool, error) {
	c, ok, err := v.child(t, 3)
	if err != nil || !ok {
		return false, err
	}
	for i, most := range []byte{1, 0} { // codec: LZ4 frame, zstd; method: each buffer on its own
		p, err := v.slot(c, i, 1)
		if err != nil {
			return false, err
		}
		if p != 0 && v.b[p] > most {
			return false, errors.New("it is compressed in an unknown way")
		}
	}
	return true, nil
}

// buffers checks that each lies in the body and that together they are no larger than it: nothing is counted twice.
// Compressed ones say in front how large they become.
func (v *verifier) buffers(t table, compressed bool) (int, error) {
	first, n, err := v.vector(t, 2, 16)
	if err != nil {
		return 0, err
	}
	if n > 4*v.limits.Fields {
		return 0, errBudget
	}
	body, sum, decoded := int64(len(v.body)), int64(0), int64(0)
	for k := range n {
		offset, length := v.i64(first+16*k), v.i64(first+16*k+8)
		if offset < 0 || length < 0 || offset > body || length > body-offset {
			return 0, errors.New("a buffer lies outside of the body")
		}
		if sum += length; sum > body {
			return 0, errors.New("its buffers overlap")
		}
		if !compressed || length == 0 {
			continue
		}
		if length < 8 {
			return 0, errors.New("a compressed buffer has no length")
		}
		size := int64(binary.LittleEndian.Uint64(v.body[offset:]))
		if size == -1 { // this one is stored as it is
			size = length - 8
		}
		if size < 0 || size > v.limits.DecodedBytes-decoded {
			return 0, fmt.Errorf("a batch decompresses to more than %d bytes", v.limits.DecodedBytes)
		}
		decoded += size
	}
	v.decoded = decoded
	return n, nil
}

// variadic checks how many more buffers the views have, and with that whether there are enough in all.
func (v *verifier) variadic(t table, buffers int, need shape) error {
	first, n, err := v.vector(t, 4, 8)
	if err != nil {
		return err
	}
	if n > v.limits.Fields {
		return errBudget
	}
	if n < need.variadic {
		return errors.New("a batch does not count the buffers of its views")
	}
	sum := int64(0)
	for k := range n {
		count := v.i64(first + 8*k)
		if count < 0 || count > int64(buffers)-sum {
			return errors.New("a column has more buffers than there are")
		}
		sum += count
	}
	if int64(buffers) < int64(need.buffers)+sum {
		return errors.New("a batch has too few buffers")
	}
	return nil
}
