package flightsrv

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
)

// xdbcType is a type as ODBC and JDBC list it. Numbers of 0 in the optional columns stand for NULL.
type xdbcType struct {
	name           string
	code           pb.XdbcDataType
	size           int32
	prefix, suffix string
	params         []string
	textual        bool
	number         bool
	minScale       int32
	maxScale       int32
	subcode        int32
	radix          int32
}

// xdbcTypes are the types of columns, ordered by their number as the protocol asks.
var xdbcTypes = []xdbcType{
	{name: "BOOLEAN", code: pb.XdbcDataType_XDBC_BIT, size: 1},
	{name: "BIGINT", code: pb.XdbcDataType_XDBC_BIGINT, size: 19, number: true, radix: 10},
	{name: "BYTES", code: pb.XdbcDataType_XDBC_VARBINARY, size: 1<<31 - 1, prefix: "X'", suffix: "'"},
	{name: "UUID", code: pb.XdbcDataType_XDBC_BINARY, size: 16, prefix: "'", suffix: "'"},
	{name: "EMBEDDING", code: pb.XdbcDataType_XDBC_UNKNOWN_TYPE, size: 8192, params: []string{"dimensions"}},
	{name: "DECIMAL", code: pb.XdbcDataType_XDBC_DECIMAL, size: 38, params: []string{"precision", "scale"},
		number: true, maxScale: 38, radix: 10},
	{name: "INT", code: pb.XdbcDataType_XDBC_INTEGER, size: 10, number: true, radix: 10},
	{name: "SMALLINT", code: pb.XdbcDataType_XDBC_SMALLINT, size: 5, number: true, radix: 10},
	{name: "FLOAT", code: pb.XdbcDataType_XDBC_REAL, size: 7, number: true, radix: 10},
	{name: "DOUBLE", code: pb.XdbcDataType_XDBC_DOUBLE, size: 15, number: true, radix: 10},
	{name: "TEXT", code: pb.XdbcDataType_XDBC_VARCHAR, size: 1<<31 - 1, prefix: "'", suffix: "'", textual: true},
	{name: "VARCHAR", code: pb.XdbcDataType_XDBC_VARCHAR, size: 1<<31 - 1, prefix: "'", suffix: "'",
		params: []string{"length"}, textual: true},
	{name: "JSON", code: pb.XdbcDataType_XDBC_VARCHAR, size: 1<<31 - 1, prefix: "'", suffix: "'", textual: true},
	{name: "FILE", code: pb.XdbcDataType_XDBC_VARCHAR, size: 1<<31 - 1, prefix: "'", suffix: "'", textual: true},
	{name: "DATE", code: pb.XdbcDataType_XDBC_DATE, size: 10, prefix: "DATE '", suffix: "'", subcode: 1},
	{name: "TIME", code: pb.XdbcDataType_XDBC_TIME, size: 15, prefix: "TIME '", suffix: "'", maxScale: 6, subcode: 2},
	{name: "TIMESTAMP", code: pb.XdbcDataType_XDBC_TIMESTAMP, size: 26, prefix: "TIMESTAMP '", suffix: "'", maxScale: 6,
		subcode: 3},
	{name: "DATETIME", code: pb.XdbcDataType_XDBC_TIMESTAMP, size: 32, prefix: "'", suffix: "'", maxScale: 6, subcode: 3},
}

// typeInfo lists the types, or those of one number.
func (s *Server) typeInfo(m *pb.CommandGetXdbcTypeInfo) arrow.RecordBatch {
	var rows [][]any
	for _, t := range xdbcTypes {
		if m.DataType == nil || *m.DataType == int32(t.code) {
			rows = append(rows, t.row())
		}
	}
	return s.table(schema_ref.XdbcTypeInfo, rows...)
}

func (t xdbcType) row() []any {
	text := func(v string) any {
		if v == "" {
			return nil
		}
		return v
	}
	number := func(v int32, known bool) any {
		if !known {
			return nil
		}
		return v
	}
	var params any
	if t.params != nil {
		params = t.params
	}
	var unsigned, increment any
	if t.number {
		unsigned, increment = false, false
	}
	scaled := t.number || t.maxScale > 0
	// The concise number of a date or time has its verbose one, 9, beside it.
	verbose := int32(t.code)
	if t.subcode > 0 {
		verbose = int32(pb.XdbcDataType_XDBC_DATETIME)
	}
	searchable := pb.Searchable_SEARCHABLE_FULL
	if t.name == "EMBEDDING" {
		searchable = pb.Searchable_SEARCHABLE_NONE
	}
	return []any{t.name, int32(t.code), t.size, text(t.prefix), text(t.suffix), params,
		int32(pb.Nullable_NULLABILITY_NULLABLE), t.textual,
		int32(searchable), unsigned, false, increment, t.name, number(t.minScale, scaled), number(t.maxScale, scaled),
		verbose,
		number(t.subcode, t.subcode > 0), number(t.radix, t.radix > 0), nil}
}
