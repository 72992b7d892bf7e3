package endtoend

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// tpchTables are the tables with their primary keys and columns: names and types (i: BIGINT, d: DECIMAL(15,2), t:
// DATE, s: TEXT).
var tpchTables = []struct{ name, key, columns string }{
	{"region", "r_regionkey", "r_regionkey i, r_name s, r_comment s"},
	{"nation", "n_nationkey", "n_nationkey i, n_name s, n_regionkey i, n_comment s"},
	{"supplier", "s_suppkey",
		"s_suppkey i, s_name s, s_address s, s_nationkey i, s_phone s, s_acctbal d, s_comment s"},
	{"part", "p_partkey",
		"p_partkey i, p_name s, p_mfgr s, p_brand s, p_type s, p_size i, p_container s, p_retailprice d, p_comment s"},
	{"partsupp", "ps_partkey, ps_suppkey", "ps_partkey i, ps_suppkey i, ps_availqty i, ps_supplycost d, ps_comment s"},
	{"customer", "c_custkey",
		"c_custkey i, c_name s, c_address s, c_nationkey i, c_phone s, c_acctbal d, c_mktsegment s, c_comment s"},
	{"orders", "o_orderkey",
		"o_orderkey i, o_custkey i, o_orderstatus s, o_totalprice d, o_orderdate t, o_orderpriority s, o_clerk s, " +
			"o_shippriority i, o_comment s"},
	{"lineitem", "l_orderkey, l_linenumber",
		"l_orderkey i, l_partkey i, l_suppkey i, l_linenumber i, l_quantity d, l_extendedprice d, " +
			"l_discount d, l_tax d, l_returnflag s, l_linestatus s, l_shipdate t, l_commitdate t, l_receiptdate t, " +
			"l_shipinstruct s, l_shipmode s, l_comment s"},
}

var tpchTypes = map[string]struct {
	sql   string
	arrow arrow.DataType
}{
	"i": {"BIGINT", arrow.PrimitiveTypes.Int64},
	"d": {"DECIMAL(15,2)", &arrow.Decimal128Type{Precision: 15, Scale: 2}},
	"t": {"DATE", arrow.FixedWidthTypes.Date32},
	"s": {"TEXT", arrow.BinaryTypes.String},
}

func splitColumns(columns string) (names, types []string) {
	for c := range strings.SplitSeq(columns, ", ") {
		name, typ, _ := strings.Cut(c, " ")
		names, types = append(names, name), append(types, typ)
	}
	return names, types
}

// createTPCH makes the tables in a namespace. Everything is NOT NULL, as in the specification.
func createTPCH(c *client, namespace string) {
	c.t.Helper()
	c.exec("CREATE NAMESPACE " + namespace)
	for _, t := range tpchTables {
		names, types := splitColumns(t.columns)
		var cols []string
		for i := range names {
			cols = append(cols, fmt.Sprintf("%s %s NOT NULL", names[i], tpchTypes[types[i]].sql))
		}
		c.exec(fmt.Sprintf("CREATE SHARED TABLE %s.%s (%s, PRIMARY KEY (%s))", namespace, t.name,
			strings.Join(cols, ", "), t.key))
	}
}

// loadTPCH ingests the rows of a table whose first column passes keep.
func loadTPCH(c *client, namespace, table, columns string, keep func(key int64) bool) {
	c.t.Helper()
	names, types := splitColumns(columns)
	fields := make([]arrow.Field, len(names))
	for i := range names {
		fields[i] = arrow.Field{Name: names[i], Type: tpchTypes[types[i]].arrow}
	}
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	rows := int64(0)
	readTable(c.t, table, func(cells []string) {
		key, err := strconv.ParseInt(cells[0], 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		if !keep(key) {
			return
		}
		rows++
		for i, cell := range cells[:len(names)] {
			appendCell(c.t, b.Field(i), cell)
		}
	})
	batch := b.NewRecordBatch()
	defer batch.Release()
	n, err := c.ingest(namespace, table, adbc.OptionValueIngestModeAppend, schema, batch)
	if err != nil || n != rows {
		c.t.Fatalf("ingest %s: %d of %d rows, %v", table, n, rows, err)
	}
}

func appendCell(t testing.TB, b array.Builder, cell string) {
	var err error
	switch b := b.(type) {
	case *array.Int64Builder:
		var v int64
		v, err = strconv.ParseInt(cell, 10, 64)
		b.Append(v)
	case *array.Decimal128Builder:
		var v decimal128.Num
		v, err = decimal128.FromString(cell, 15, 2)
		b.Append(v)
	case *array.Date32Builder:
		err = b.AppendValueFromString(cell)
	case *array.StringBuilder:
		b.Append(cell)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readTable(t testing.TB, table string, row func([]string)) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "tpch", "data", table+".tbl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		row(strings.Split(lines.Text(), "|"))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func all(int64) bool      { return true }
func odd(key int64) bool  { return key%2 != 0 }
func even(key int64) bool { return key%2 == 0 }

// updates rewrites about one row in twenty of a table to the values it has: marks over hot and cold rows that change
// no answer.
var updates = map[string]string{
	"region": "r_regionkey = 1", "nation": "n_nationkey IN (3, 12)", "supplier": "s_suppkey % 20 = 3",
	"part": "p_partkey % 20 = 3", "partsupp": "ps_partkey % 20 = 3", "customer": "c_custkey % 20 = 3",
	"orders": "o_orderkey % 20 = 3", "lineitem": "l_orderkey % 20 = 3",
}

// TestTPCH runs the queries over the same rows hot, cold and mixed: odd keys flushed, even keys hot, one row in
// twenty updated after the flush to the values it had.
func TestTPCH(t *testing.T) {
	s := start(t, server.Options{NoJobs: true})
	c := connect(t, s.URL(), "")
	for _, state := range []string{"hot", "cold", "mixed"} {
		createTPCH(c, state)
		for _, table := range tpchTables {
			switch state {
			case "hot":
				loadTPCH(c, state, table.name, table.columns, all)
			case "cold":
				loadTPCH(c, state, table.name, table.columns, all)
				c.exec("FLUSH TABLE cold." + table.name)
			case "mixed":
				loadTPCH(c, state, table.name, table.columns, odd)
				c.exec("FLUSH TABLE mixed." + table.name)
				loadTPCH(c, state, table.name, table.columns, even)
				names, _ := splitColumns(table.columns)
				last := names[len(names)-1]
				c.exec(fmt.Sprintf("UPDATE mixed.%s SET %s = %s WHERE %s", table.name, last, last, updates[table.name]))
			}
		}
		for q := 1; q <= 22; q++ {
			t.Run(fmt.Sprintf("%s/q%02d", state, q), func(t *testing.T) { checkTPCH(t, c, state, q) })
		}
	}
}

// TestTPCHInLittleMemory runs the queries with so little memory that many of them spill: the answers are the same.
func TestTPCHInLittleMemory(t *testing.T) {
	dir := t.TempDir()
	t.Run("load", func(t *testing.T) {
		c := connect(t, start(t, server.Options{NoJobs: true, DataDir: dir}).URL(), "")
		createTPCH(c, "cold")
		for _, table := range tpchTables {
			loadTPCH(c, "cold", table.name, table.columns, all)
			c.exec("FLUSH TABLE cold." + table.name)
		}
	})
	for _, memory := range []int64{8 << 20, 2 << 20} {
		t.Run(fmt.Sprint(memory>>20, " MiB"), func(t *testing.T) {
			s := start(t, server.Options{NoJobs: true, DataDir: dir, QueryBytes: memory})
			c := connect(t, s.URL(), "")
			for q := 1; q <= 22; q++ {
				t.Run(fmt.Sprintf("q%02d", q), func(t *testing.T) { checkTPCH(t, c, "cold", q) })
			}
		})
	}
}

func checkTPCH(t *testing.T, c *client, namespace string, q int) {
	sql, err := os.ReadFile(filepath.Join("testdata", "tpch", "queries", fmt.Sprintf("q%02d.sql", q)))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := os.ReadFile(filepath.Join("testdata", "tpch", "answers", fmt.Sprintf("q%02d.csv", q)))
	if err != nil {
		t.Fatal(err)
	}
	c.exec("USE " + namespace)
	got, err := c.tryQuery(strings.TrimRight(strings.TrimSpace(string(sql)), ";"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(answer)), "\n")[1:]
	if len(got) != len(lines) {
		t.Fatalf("%d rows, want %d", len(got), len(lines))
	}
	for i, line := range lines {
		want := strings.Split(line, "|")
		if !slices.EqualFunc(got[i], want, equalCell) {
			t.Fatalf("row %d: got %v, want %v", i, got[i], want)
		}
	}
}

// equalCell compares numbers to the printed scale, doubles to 1e-9, and everything else as text.
func equalCell(got, want string) bool {
	if strings.EqualFold(got, want) {
		return true
	}
	g, ok1 := new(big.Rat).SetString(got)
	w, ok2 := new(big.Rat).SetString(want)
	if !ok1 || !ok2 {
		return false
	}
	_, digits, dot := strings.Cut(want, ".")
	if dot && len(digits) <= 4 && g.FloatString(len(digits)) == w.FloatString(len(digits)) {
		return true
	}
	x, _ := g.Float64()
	y, _ := w.Float64()
	return math.Abs(x-y) <= 1e-9*math.Max(math.Abs(x), math.Abs(y))
}
