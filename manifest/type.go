package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
)

// TypeKind is the family of a logical type.
type TypeKind uint8

// The families. The first seventeen are those of columns (FEATURES.md section 2); of the rest, a column may be a List,
// and Null and Interval exist only in expressions.
const (
	Boolean TypeKind = iota + 1
	SmallInt
	Int
	BigInt
	Float
	Double
	Decimal
	Text
	Bytes
	UUID
	JSON
	Date
	Time
	Timestamp
	DateTime
	Embedding
	File

	// Null is the type of a bare NULL and of a parameter nothing is known of.
	Null
	// Interval is months, days and microseconds.
	Interval
	// List is a list of Elem.
	List
)

// Type is a logical type. A value of each kind, as a Go value in literals, predicates and statistics, is
//
//	Boolean bool · SmallInt, Int, BigInt int64 · Float, Double float64 · Decimal decimal128.Num (scaled by Scale)
//	Text, JSON, File string · Bytes []byte · UUID [16]byte · Date int64 days since 1970 · Time int64 µs since midnight
//	Timestamp, DateTime int64 µs since 1970 (DateTime in UTC) · Embedding []float32 · Interval
//	arrow.MonthDayNanoInterval · List []any
//
// and nil is NULL.
type Type struct {
	Kind TypeKind `json:"kind"`
	// Precision (1..38) and Scale (0..Precision) of a Decimal.
	Precision int32 `json:"precision,omitempty"`
	Scale     int32 `json:"scale,omitempty"`
	// Length is the greatest number of characters of a VARCHAR(n) (0: no limit), and the number of dimensions of an
	// Embedding (1..8192).
	Length int32 `json:"length,omitempty"`
	// Elem is the element type of a List.
	Elem *Type `json:"elem,omitempty"`
}

// MetadataKey is the Arrow field metadata key that carries a column's logical type name.
const MetadataKey = "kalam_data_type"

var kindNames = [...]string{Boolean: "BOOLEAN", SmallInt: "SMALLINT", Int: "INT", BigInt: "BIGINT", Float: "FLOAT",
	Double: "DOUBLE", Decimal: "DECIMAL", Text: "TEXT", Bytes: "BYTES", UUID: "UUID", JSON: "JSON", Date: "DATE",
	Time: "TIME", Timestamp: "TIMESTAMP", DateTime: "DATETIME", Embedding: "EMBEDDING", File: "FILE", Null: "NULL",
	Interval: "INTERVAL", List: "LIST"}

// MarshalText is the kind as SQL spells it, so that files can be read without this table.
func (k TypeKind) MarshalText() ([]byte, error) {
	if int(k) >= len(kindNames) {
		return nil, fmt.Errorf("TypeKind(%d): %w", k, fault.ErrInvalid)
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (k *TypeKind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("type %q: %w", text, fault.ErrCorrupt)
	}
	*k = TypeKind(i)
	return nil
}

// String is the type as SQL spells it: DECIMAL(10,2), EMBEDDING(3), BIGINT[].
func (t Type) String() string {
	switch {
	case t.Kind == Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case t.Kind == Embedding:
		return fmt.Sprintf("EMBEDDING(%d)", t.Length)
	case t.Kind == Text && t.Length > 0:
		return fmt.Sprintf("VARCHAR(%d)", t.Length)
	case t.Kind == List && t.Elem != nil:
		return t.Elem.String() + "[]"
	case int(t.Kind) < len(kindNames) && t.Kind != 0:
		return kindNames[t.Kind]
	}
	return fmt.Sprintf("TypeKind(%d)", t.Kind)
}

// Equal tells whether two types are the same in every parameter.
func (t Type) Equal(o Type) bool {
	if t.Kind != o.Kind || t.Precision != o.Precision || t.Scale != o.Scale || t.Length != o.Length {
		return false
	}
	if t.Elem == nil || o.Elem == nil {
		return t.Elem == o.Elem
	}
	return t.Elem.Equal(*o.Elem)
}

// Widens tells whether every value of t is one of to, stored in a wider form: smaller integers in larger ones, FLOAT in
// DOUBLE. Rows that were stored as t are read as to.
func (t Type) Widens(to Type) bool {
	return t.Integer() && to.Integer() && t.Kind < to.Kind || t.Kind == Float && to.Kind == Double
}

// Storable tells whether a column may have this type: a scalar type, EMBEDDING, or a list of a scalar type.
func (t Type) Storable() bool {
	if t.Kind == List {
		return t.Elem != nil && t.Elem.Kind != Embedding && t.Elem.Kind >= Boolean && t.Elem.Kind <= File
	}
	return t.Kind >= Boolean && t.Kind <= File
}

// Numeric tells whether arithmetic works on it.
func (t Type) Numeric() bool { return t.Kind >= SmallInt && t.Kind <= Decimal }

// Integer tells SMALLINT, INT and BIGINT from the rest.
func (t Type) Integer() bool { return t.Kind >= SmallInt && t.Kind <= BigInt }

// Textual tells the types that are UTF-8 strings.
func (t Type) Textual() bool { return t.Kind == Text || t.Kind == JSON || t.Kind == File }

// Arrow is the Arrow type that stands for t on the wire and in stored batches.
func (t Type) Arrow() arrow.DataType {
	switch t.Kind {
	case Boolean:
		return arrow.FixedWidthTypes.Boolean
	case SmallInt:
		return arrow.PrimitiveTypes.Int16
	case Int:
		return arrow.PrimitiveTypes.Int32
	case BigInt:
		return arrow.PrimitiveTypes.Int64
	case Float:
		return arrow.PrimitiveTypes.Float32
	case Double:
		return arrow.PrimitiveTypes.Float64
	case Decimal:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}
	case Text, JSON, File:
		return arrow.BinaryTypes.String
	case Bytes:
		return arrow.BinaryTypes.Binary
	case UUID:
		return &arrow.FixedSizeBinaryType{ByteWidth: 16}
	case Date:
		return arrow.FixedWidthTypes.Date32
	case Time:
		return arrow.FixedWidthTypes.Time64us
	case Timestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case DateTime:
		return arrow.FixedWidthTypes.Timestamp_us
	case Embedding:
		return arrow.FixedSizeListOfField(t.Length, arrow.Field{Name: "item", Type: arrow.PrimitiveTypes.Float32,
			Nullable: true})
	case Interval:
		return arrow.FixedWidthTypes.MonthDayNanoInterval
	case List:
		return arrow.ListOf(t.Elem.Arrow())
	}
	return arrow.Null
}

// Field is the Arrow field of a value of this type; its metadata carries the logical type's name.
func (t Type) Field(name string, nullable bool) arrow.Field {
	return arrow.Field{Name: name, Type: t.Arrow(), Nullable: nullable,
		Metadata: arrow.NewMetadata([]string{MetadataKey}, []string{t.String()})}
}

// TypeOf is the logical type of an Arrow field: by its metadata when it carries one that fits, else by its Arrow type.
// ok is false for an Arrow type that is not one of those that Arrow returns; callers that can cast decide what to do
// with the others.
func TypeOf(f arrow.Field) (t Type, ok bool) {
	name := ""
	if i := f.Metadata.FindKey(MetadataKey); i >= 0 {
		name = strings.ToUpper(f.Metadata.Values()[i])
	}
	switch dt := f.Type.(type) {
	case *arrow.BooleanType:
		return Type{Kind: Boolean}, true
	case *arrow.Int16Type:
		return Type{Kind: SmallInt}, true
	case *arrow.Int32Type:
		return Type{Kind: Int}, true
	case *arrow.Int64Type:
		return Type{Kind: BigInt}, true
	case *arrow.Float32Type:
		return Type{Kind: Float}, true
	case *arrow.Float64Type:
		return Type{Kind: Double}, true
	case *arrow.Decimal128Type:
		return Type{Kind: Decimal, Precision: dt.Precision, Scale: dt.Scale}, true
	case *arrow.StringType:
		switch name {
		case "JSON":
			return Type{Kind: JSON}, true
		case "FILE":
			return Type{Kind: File}, true
		}
		t = Type{Kind: Text}
		if _, err := fmt.Sscanf(name, "VARCHAR(%d)", &t.Length); err != nil {
			t.Length = 0
		}
		return t, true
	case *arrow.BinaryType:
		return Type{Kind: Bytes}, true
	case *arrow.FixedSizeBinaryType:
		return Type{Kind: UUID}, dt.ByteWidth == 16
	case *arrow.Date32Type:
		return Type{Kind: Date}, true
	case *arrow.Time64Type:
		return Type{Kind: Time}, dt.Unit == arrow.Microsecond
	case *arrow.TimestampType:
		if dt.TimeZone == "" {
			return Type{Kind: Timestamp}, dt.Unit == arrow.Microsecond
		}
		return Type{Kind: DateTime}, dt.Unit == arrow.Microsecond
	case *arrow.FixedSizeListType:
		return Type{Kind: Embedding, Length: dt.Len()}, dt.Elem().ID() == arrow.FLOAT32 && dt.Len() >= 1 && dt.Len() <= 8192
	case *arrow.MonthDayNanoIntervalType:
		return Type{Kind: Interval}, true
	case *arrow.ListType:
		field := dt.ElemField()
		if of, found := strings.CutSuffix(name, "[]"); found && field.Metadata.FindKey(MetadataKey) < 0 {
			// The field of a column says what its elements are called.
			field.Metadata = arrow.NewMetadata([]string{MetadataKey}, []string{of})
		}
		elem, ok := TypeOf(field)
		return Type{Kind: List, Elem: &elem}, ok
	case *arrow.NullType:
		return Type{Kind: Null}, true
	}
	return Type{}, false
}

// Field is the column's Arrow field.
func (c Column) Field() arrow.Field { return c.Type.Field(c.Name, !c.NotNull) }

// Schema is the Arrow schema of a table's columns, in table order: the stored schema.
func (t *Table) Schema() *arrow.Schema {
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		fields[i] = c.Field()
	}
	return arrow.NewSchema(fields, nil)
}
