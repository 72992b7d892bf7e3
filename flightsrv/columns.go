package flightsrv

import (
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// compiled is a statement with its result as clients see it. It is immutable.
type compiled struct {
	*plan.Compiled
	schema *arrow.Schema
	// wire is the schema as messages carry it, and hash tells it from others.
	wire []byte
	hash uint64
	// eager tells statements that run when they are described: those that change something, and those that return
	// nothing. Most drivers never fetch the empty result of an INSERT, so it cannot wait for DoGet.
	eager bool
}

func newCompiled(c *plan.Compiled) *compiled {
	d := &compiled{Compiled: c, schema: resultSchema(c.Columns), eager: c.Update || len(c.Columns) == 0}
	d.wire, d.hash = schemaBytes(d.schema)
	return d
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b) // never fails
	return h.Sum64()
}

// subscribes tells a subscription from a query that ends.
func (c *compiled) subscribes() bool {
	_, ok := c.Acted().(*plan.Subscribe)
	return ok
}

// resultSchema is the schema of rows of these columns, with what drivers ask of a column in its metadata.
func resultSchema(cols []plan.Column) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i, col := range cols {
		f := col.Type.Field(col.Name, col.Nullable)
		b := columnMetadata(col.Type)
		if col.Table != "" {
			b.TableName(col.Table)
		}
		f.Metadata = mergeMetadata(f.Metadata, b.Metadata())
		fields[i] = f
	}
	return arrow.NewSchema(fields, nil)
}

// columnMetadata is what every column says of its type.
func columnMetadata(t manifest.Type) *flightsql.ColumnMetadataBuilder {
	b := flightsql.NewColumnMetadataBuilder()
	b.CatalogName(catalogName)
	b.TypeName(typeName(t))
	if precision, scale, ok := digits(t); ok {
		b.Precision(precision)
		b.Scale(scale)
	}
	b.IsAutoIncrement(false)
	b.IsCaseSensitive(t.Textual())
	b.IsReadOnly(false)
	b.IsSearchable(t.Kind != manifest.Embedding && t.Kind != manifest.List)
	return b
}

// typeName is the name of a type without its parameters: those are the precision and the scale.
func typeName(t manifest.Type) string {
	if t.Kind == manifest.List && t.Elem != nil {
		return typeName(*t.Elem) + "[]"
	}
	name, _, _ := strings.Cut(t.String(), "(")
	return name
}

// digits are the precision and the scale of a type that has them, as JDBC means them: decimal digits, characters,
// dimensions.
func digits(t manifest.Type) (precision, scale int32, ok bool) {
	switch t.Kind {
	case manifest.SmallInt:
		return 5, 0, true
	case manifest.Int:
		return 10, 0, true
	case manifest.BigInt:
		return 19, 0, true
	case manifest.Float:
		return 7, 0, true
	case manifest.Double:
		return 15, 0, true
	case manifest.Decimal:
		return t.Precision, t.Scale, true
	case manifest.Time, manifest.Timestamp, manifest.DateTime:
		return 26, 6, true
	case manifest.Text, manifest.Embedding:
		return t.Length, 0, t.Length > 0
	}
	return 0, 0, false
}

func mergeMetadata(a, b arrow.Metadata) arrow.Metadata {
	keys := append(append([]string{}, a.Keys()...), b.Keys()...)
	return arrow.NewMetadata(keys, append(append([]string{}, a.Values()...), b.Values()...))
}

// parameterSchema has a field for each parameter, nullable all of them. Of a parameter that nothing is known of, text
// is the type that drivers can bind anything as. Of numbers the widest is announced: database/sql has int64 and float64
// alone, and arrow-go's driver fails to put them into less. What does not fit the real type is an error when it comes.
//
// The JDBC driver (18.3) puts milliseconds into a time or timestamp whatever the unit of the field, so that 2026 became
// 1970 when microseconds were announced; and it has no way to bind the text of a UUID as 16 bytes.
func parameterSchema(types []manifest.Type, agent string) *arrow.Schema {
	java := strings.HasPrefix(agent, "grpc-java")
	fields := make([]arrow.Field, len(types))
	for i, t := range types {
		switch t.Kind {
		case manifest.Null, 0:
			t = kind(manifest.Text)
		case manifest.SmallInt, manifest.Int:
			t = kind(manifest.BigInt)
		case manifest.Float:
			t = kind(manifest.Double)
		}
		fields[i] = t.Field(strconv.Itoa(i+1), true)
		if java {
			fields[i].Type = javaType(fields[i].Type, t)
		}
		fields[i].Metadata = mergeMetadata(fields[i].Metadata, columnMetadata(t).Metadata())
	}
	return arrow.NewSchema(fields, nil)
}

func javaType(announced arrow.DataType, t manifest.Type) arrow.DataType {
	switch t.Kind {
	case manifest.Time:
		return arrow.FixedWidthTypes.Time32ms
	case manifest.Timestamp:
		return &arrow.TimestampType{Unit: arrow.Millisecond}
	case manifest.DateTime:
		return &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	case manifest.UUID:
		return arrow.BinaryTypes.String
	}
	return announced
}
