package flightsrv

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/functions"
	"kalamflight/sqlfront"
)

// The members of the union that SqlInfo values come in. JDBC casts each id to the member that it expects and fails on
// another, so the Go type of a value below is part of the protocol: int64 for 541 to 555 and 557 to 562, int32 for
// enumerations and bit masks.
const (
	memberString = iota
	memberBool
	memberInt64
	memberInt32
	memberList
	memberMap
)

// The ids that an empty request gets: no more, as drivers fail on ids that they do not know, and no fewer, as they
// fail on missing ones.
const (
	infoServerLast   = 9
	infoTimeoutFirst = 100
	infoTimeoutLast  = 101
	infoSQLFirst     = 500
	infoSQLLast      = 576
)

// ServerName is what clients are told the server is.
const ServerName = "kalamflight"

// sqlInfos are the values by id, in the Go type of their union member: string, bool, int64, int32, []string,
// map[int32][]int32.
func (s *Server) sqlInfos() map[uint32]any {
	infos := map[uint32]any{
		0: ServerName, 1: s.o.Version, 2: arrow.PkgVersion, 3: false, 4: true, 5: false, 6: "", 7: "",
		8:  int32(2), // transactions with savepoints
		9:  true,
		10: true, 11: true, // ingests, also in transactions
		100: int32(0), 101: int32(0),
		500: false, 501: true, 502: true,
		503: int32(1), // identifiers are matched without case
		504: `"`,
		505: int32(1),
		506: true,
		507: int32(0), // NULLs sort as the greatest values
		508: sqlfront.Keywords(),
		509: names("numeric", "operator"), 510: names("string"),
		511: names("system", "conditional", "list", "json", "vector"), 512: names("time"),
		513: `\`, 514: "",
		515: true, 516: true,
		517: conversions(),
		518: true, 519: false, 520: true, 521: true,
		522: int32(1<<0 | 1<<1), 523: true, 524: true,
		525: int32(1<<0 | 1<<1), // minimum and core grammar
		526: int32(1 << 0),      // entry level
		527: false,
		528: int32(1<<1 | 1<<2), // limited and full outer joins
		529: "schema", 530: "procedure", 531: "catalog", 532: true,
		533: int32(0), 534: int32(0), 535: int32(0), 536: false, 537: false,
		538: int32(1<<0 | 1<<1 | 1<<2 | 1<<3), 539: true,
		540: int32(1<<0 | 1<<1),
		556: true,
		562: int64(3), // repeatable read; what we give is snapshot isolation, which is more
		563: true,
		564: int32(1<<1 | 1<<2 | 1<<3), // all but serializable
		565: false, 566: false,
		567: int32(1 << 1), // forward only
		568: int32(1 << 1), 569: int32(1 << 1), 570: int32(0), 571: int32(0),
		572: true, 573: false, 574: false, 575: false, 576: false,
	}
	for id := uint32(541); id <= 562; id++ {
		if _, ok := infos[id]; !ok {
			infos[id] = int64(0) // no limit, or none known
		}
	}
	infos[557] = int64(1 << 20) // the length of a statement
	return infos
}

// conversions says which types CAST takes to which, by the numbers of SqlSupportsConvert.
func conversions() map[int32][]int32 {
	const (
		bigint, binary, bit, char, date, decimal, float, integer, numeric, realType = 0, 1, 2, 3, 4, 5, 6, 7, 12, 13
		smallint, timeType, timestamp, varbinary, varchar                           = 14, 15, 16, 18, 19
	)
	numbers := []int32{bigint, decimal, float, integer, numeric, realType, smallint}
	all := append([]int32{bit, char, date, timeType, timestamp, varbinary, varchar, binary}, numbers...)
	slices.Sort(all)
	out := map[int32][]int32{varchar: all, char: all, bit: {integer, varchar}, date: {date, timestamp, varchar},
		timestamp: {date, timeType, timestamp, varchar}, timeType: {timeType, varchar}, varbinary: {varbinary, varchar}}
	for _, n := range numbers {
		out[n] = append(slices.Clone(numbers), varchar)
	}
	return out
}

// infoIDs are the ids to answer a request with, in order; ids that are not known are left out.
func infoIDs(asked []uint32, infos map[uint32]any) []uint32 {
	var ids []uint32
	for id := range infos {
		standard := id <= infoServerLast || id >= infoTimeoutFirst && id <= infoTimeoutLast || id >= infoSQLFirst &&
			id <= infoSQLLast
		if len(asked) == 0 && standard || slices.Contains(asked, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// sqlInfo is the answer to GetSqlInfo.
func (s *Server) sqlInfo(asked []uint32) arrow.RecordBatch {
	infos := s.sqlInfos()
	b := newInfoBuilder(s.alloc)
	defer b.rows.Release()
	for _, id := range infoIDs(asked, infos) {
		b.append(id, infos[id])
	}
	return b.rows.NewRecordBatch()
}

type infoBuilder struct {
	rows  *array.RecordBuilder
	names *array.Uint32Builder
	value *array.DenseUnionBuilder
}

func newInfoBuilder(alloc memory.Allocator) *infoBuilder {
	rows := array.NewRecordBuilder(alloc, schema_ref.SqlInfo)
	return &infoBuilder{rows: rows, names: rows.Field(0).(*array.Uint32Builder),
		value: rows.Field(1).(*array.DenseUnionBuilder)}
}

func (b *infoBuilder) append(id uint32, value any) {
	b.names.Append(id)
	switch v := value.(type) {
	case string:
		b.value.Append(memberString)
		b.value.Child(memberString).(*array.StringBuilder).Append(v)
	case bool:
		b.value.Append(memberBool)
		b.value.Child(memberBool).(*array.BooleanBuilder).Append(v)
	case int64:
		b.value.Append(memberInt64)
		b.value.Child(memberInt64).(*array.Int64Builder).Append(v)
	case int32:
		b.value.Append(memberInt32)
		b.value.Child(memberInt32).(*array.Int32Builder).Append(v)
	case []string:
		b.value.Append(memberList)
		list := b.value.Child(memberList).(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.StringBuilder).AppendValues(v, nil)
	case map[int32][]int32:
		b.value.Append(memberMap)
		b.appendMap(v)
	}
}

func (b *infoBuilder) appendMap(v map[int32][]int32) {
	m := b.value.Child(memberMap).(*array.MapBuilder)
	m.Append(true)
	keys := m.KeyBuilder().(*array.Int32Builder)
	items := m.ItemBuilder().(*array.ListBuilder)
	var order []int32
	for k := range v {
		order = append(order, k)
	}
	slices.Sort(order)
	for _, k := range order {
		keys.Append(k)
		items.Append(true)
		items.ValueBuilder().(*array.Int32Builder).AppendValues(v[k], nil)
	}
}

// names are the functions of some groups, in upper case as JDBC shows them.
func names(groups ...string) []string {
	out := functions.Names(groups...)
	for i, name := range out {
		out[i] = strings.ToUpper(name)
	}
	return out
}
