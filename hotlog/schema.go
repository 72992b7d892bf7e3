package hotlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// embeddingMax is the greatest number of dimensions of an EMBEDDING.
const embeddingMax = 8192

// column is what the codec needs to know of one column of a chunk.
type column struct {
	id   manifest.ColumnID
	typ  manifest.Type
	form form
	// width is the bytes of a value of a fixed form; of an embedding, those of all its dimensions.
	width int
	// elem is the elements of a list.
	elem *column
}

// form is how the values of a column lie in a chunk.
type form uint8

const (
	formBits form = iota
	formFixed
	formVar
	formEmbedding
	formList
)

func columnOf(id manifest.ColumnID, t manifest.Type) column {
	c := column{id: id, typ: t, form: formFixed}
	switch t.Kind {
	case manifest.Boolean:
		c.form = formBits
	case manifest.SmallInt:
		c.width = 2
	case manifest.Int, manifest.Float, manifest.Date:
		c.width = 4
	case manifest.BigInt, manifest.Double, manifest.Time, manifest.Timestamp, manifest.DateTime:
		c.width = 8
	case manifest.Decimal, manifest.UUID:
		c.width = 16
	case manifest.Embedding:
		c.form, c.width = formEmbedding, 4*int(t.Length)
	case manifest.List:
		elem := columnOf(id, *t.Elem)
		c.form, c.elem = formList, &elem
	default:
		c.form = formVar
	}
	return c
}

// layout is the columns of chunks with one descriptor, and the Arrow schema that they decode to: with the system
// columns.
type layout struct {
	descriptor []byte
	columns    []column
	schema     *arrow.Schema
}

// appendDescriptor writes the columns as a chunk names them: for each its id and its type.
func appendDescriptor(b []byte, columns []column) []byte {
	for _, c := range columns {
		b = binary.AppendUvarint(b, uint64(c.id))
		b = appendType(b, c.typ)
	}
	return b
}

// appendType writes the code of a type and its parameters; the parameter of a list is the type of its elements.
func appendType(b []byte, t manifest.Type) []byte {
	b = append(b, byte(t.Kind))
	switch t.Kind {
	case manifest.Decimal:
		b = append(b, byte(t.Precision), byte(t.Scale))
	case manifest.Text, manifest.Embedding:
		b = binary.AppendUvarint(b, uint64(t.Length))
	case manifest.List:
		b = appendType(b, *t.Elem)
	}
	return b
}

func parseDescriptor(b []byte) ([]column, error) {
	var columns []column
	for len(b) > 0 {
		id, n := binary.Uvarint(b)
		if n <= 0 || id == 0 || id > uint64(^uint32(0)) {
			return nil, corrupt("column id")
		}
		t, rest, err := parseType(b[n:])
		if err != nil {
			return nil, err
		}
		b = rest
		if columns = append(columns, columnOf(manifest.ColumnID(id), t)); len(columns) > columnsMax {
			return nil, corrupt("number of columns")
		}
	}
	if duplicate := duplicateColumn(columns); duplicate != 0 {
		return nil, corrupt("column twice")
	}
	return columns, nil
}

// parseType is the inverse of appendType; rest is what follows.
func parseType(b []byte) (t manifest.Type, rest []byte, err error) {
	if len(b) == 0 {
		return t, nil, corrupt("column type")
	}
	t = manifest.Type{Kind: manifest.TypeKind(b[0])}
	b = b[1:]
	switch t.Kind {
	case manifest.Decimal:
		if len(b) < 2 || b[0] < 1 || b[0] > 38 || b[1] > b[0] {
			return t, nil, corrupt("decimal parameters")
		}
		t.Precision, t.Scale, b = int32(b[0]), int32(b[1]), b[2:]
	case manifest.Text, manifest.Embedding:
		length, n := binary.Uvarint(b)
		if n <= 0 || length > 1<<31-1 {
			return t, nil, corrupt("length parameter")
		}
		t.Length, b = int32(length), b[n:]
	case manifest.List:
		if len(b) > 0 && manifest.TypeKind(b[0]) == manifest.List {
			return t, nil, corrupt("list of lists")
		}
		elem, rest, err := parseType(b)
		if err != nil {
			return t, nil, err
		}
		t.Elem, b = &elem, rest
	}
	if !t.Storable() || t.Kind == manifest.Embedding && (t.Length < 1 || t.Length > embeddingMax) {
		return t, nil, corrupt("column type")
	}
	return t, b, nil
}

func duplicateColumn(columns []column) manifest.ColumnID {
	if len(columns) <= 16 {
		for i := range columns {
			for j := range i {
				if columns[i].id == columns[j].id {
					return columns[i].id
				}
			}
		}
		return 0
	}
	ids := make([]manifest.ColumnID, len(columns))
	for i, c := range columns {
		ids[i] = c.id
	}
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return ids[i]
		}
	}
	return 0
}

// outputField is the field of a decoded column: the log knows no names, so that a column is called after its id.
func outputField(id manifest.ColumnID, t manifest.Type, name string) arrow.Field {
	f := t.Field(name, true)
	f.Metadata = arrow.NewMetadata([]string{manifest.MetadataKey, ColumnKey},
		[]string{t.String(), strconv.FormatUint(uint64(id), 10)})
	return f
}

func newLayout(descriptor []byte) (*layout, error) {
	columns, err := parseDescriptor(descriptor)
	if err != nil {
		return nil, err
	}
	fields := make([]arrow.Field, 0, len(columns)+3)
	for _, c := range columns {
		fields = append(fields, outputField(c.id, c.typ, "c"+strconv.FormatUint(uint64(c.id), 10)))
	}
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
		c, _ := manifest.SystemColumn(id)
		f := outputField(id, c.Type, c.Name)
		f.Nullable = false
		fields = append(fields, f)
	}
	return &layout{descriptor: slices.Clone(descriptor), columns: columns, schema: arrow.NewSchema(fields, nil)}, nil
}

// inputLayout is the layout of batches that a caller gives.
func inputLayout(s *arrow.Schema) (*layout, error) {
	if s.NumFields() == 0 || s.NumFields() > columnsMax {
		return nil, fmt.Errorf("rows of %d columns: %w", s.NumFields(), fault.ErrInvalid)
	}
	columns := make([]column, s.NumFields())
	for i := range columns {
		f := s.Field(i)
		text, found := f.Metadata.GetValue(ColumnKey)
		id, err := strconv.ParseUint(text, 10, 32)
		if !found || err != nil || id == 0 {
			return nil, fmt.Errorf("column %q has no valid %s: %w", f.Name, ColumnKey, fault.ErrInvalid)
		}
		if _, system := manifest.SystemColumn(manifest.ColumnID(id)); system {
			return nil, fmt.Errorf("column %q is a system column: %w", f.Name, fault.ErrInvalid)
		}
		t, ok := manifest.TypeOf(f)
		of := t
		if t.Kind == manifest.List {
			of = *t.Elem
		}
		if !ok || !t.Storable() || of.Kind == manifest.Decimal && (of.Precision < 1 || of.Precision > 38 || of.Scale < 0 ||
			of.Scale > of.Precision) {
			return nil, fmt.Errorf("column %q of type %s cannot be stored: %w", f.Name, f.Type, fault.ErrInvalid)
		}
		columns[i] = columnOf(manifest.ColumnID(id), t)
	}
	if id := duplicateColumn(columns); id != 0 {
		return nil, fmt.Errorf("column id %d twice: %w", id, fault.ErrInvalid)
	}
	return &layout{columns: columns, descriptor: appendDescriptor(nil, columns)}, nil
}

// layouts remembers the layouts of schemas and descriptors that were seen. It is safe for concurrent use.
type layouts struct {
	mu           sync.RWMutex
	bySchema     map[*arrow.Schema]*layout
	byDescriptor map[string]*layout
}

// layoutsMax bounds each of the two maps; a full one is emptied, as it is only a cache.
const layoutsMax = 4096

func newLayouts() *layouts {
	return &layouts{bySchema: map[*arrow.Schema]*layout{}, byDescriptor: map[string]*layout{}}
}

func (l *layouts) ofSchema(s *arrow.Schema) (*layout, error) {
	l.mu.RLock()
	found := l.bySchema[s]
	l.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	made, err := inputLayout(s)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bySchema) >= layoutsMax {
		clear(l.bySchema)
	}
	l.bySchema[s] = made
	return made, nil
}

func (l *layouts) ofDescriptor(descriptor []byte) (*layout, error) {
	l.mu.RLock()
	found := l.byDescriptor[string(descriptor)]
	l.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	made, err := newLayout(descriptor)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.byDescriptor[string(descriptor)]; other != nil {
		return other, nil
	}
	if len(l.byDescriptor) >= layoutsMax {
		clear(l.byDescriptor)
	}
	l.byDescriptor[string(made.descriptor)] = made
	return made, nil
}

func corrupt(what string) error { return fmt.Errorf("decode %s: %w", what, fault.ErrCorrupt) }
