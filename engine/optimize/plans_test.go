package optimize_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront"
)

var (
	rewrite = flag.Bool("rewrite", false, "write testdata anew")
	places  = regexp.MustCompile(`#\d+`)
)

// memory is a catalog of one namespace, with statistics.
type memory struct {
	tables map[string]*manifest.Table
	rows   map[string]int64
	stats  map[string]optimize.ColumnStatistics
}

func (m *memory) Table(namespace, name string) (*manifest.Table, error) {
	if t := m.tables[name]; t != nil && namespace == "default" {
		return t, nil
	}
	return nil, fmt.Errorf("table %s: %w", name, fault.ErrNotFound)
}

func (m *memory) Namespaces() []string            { return []string{"default"} }
func (m *memory) Tables(string) []*manifest.Table { return nil }
func (m *memory) Settings() []string              { return nil }
func (m *memory) Version() uint64                 { return 1 }

func (m *memory) Rows(t *manifest.Table) int64 { return m.rows[t.Name] }

func (m *memory) Column(t *manifest.Table, id manifest.ColumnID) optimize.ColumnStatistics {
	c, _ := t.Column(id)
	return m.stats[c.Name]
}

// compile makes a statement's plan.
func (m *memory) compile(t *testing.T, text string) plan.Statement {
	t.Helper()
	c, err := sqlfront.Compile(strings.TrimRight(strings.TrimSpace(text), ";"), sqlfront.Options{Catalog: m})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c.Statement
}

// create applies a script of CREATE TABLE.
func (m *memory) create(t *testing.T, script string) {
	t.Helper()
	for _, text := range strings.Split(strings.TrimSpace(script), ";\n") {
		table := m.compile(t, text).(*plan.CreateTable).Table
		table.ID = manifest.TableID(len(m.tables) + 1)
		m.tables[table.Name] = table
	}
}

const tpchTables = `
CREATE SHARED TABLE region (r_regionkey BIGINT NOT NULL, r_name TEXT NOT NULL, r_comment TEXT NOT NULL,
  PRIMARY KEY (r_regionkey));
CREATE SHARED TABLE nation (n_nationkey BIGINT NOT NULL, n_name TEXT NOT NULL, n_regionkey BIGINT NOT NULL,
  n_comment TEXT NOT NULL, PRIMARY KEY (n_nationkey));
CREATE SHARED TABLE supplier (s_suppkey BIGINT NOT NULL, s_name TEXT NOT NULL, s_address TEXT NOT NULL,
  s_nationkey BIGINT NOT NULL, s_phone TEXT NOT NULL, s_acctbal DECIMAL(15,2) NOT NULL, s_comment TEXT NOT NULL,
  PRIMARY KEY (s_suppkey));
CREATE SHARED TABLE customer (c_custkey BIGINT NOT NULL, c_name TEXT NOT NULL, c_address TEXT NOT NULL,
  c_nationkey BIGINT NOT NULL, c_phone TEXT NOT NULL, c_acctbal DECIMAL(15,2) NOT NULL, c_mktsegment TEXT NOT NULL,
  c_comment TEXT NOT NULL, PRIMARY KEY (c_custkey));
CREATE SHARED TABLE part (p_partkey BIGINT NOT NULL, p_name TEXT NOT NULL, p_mfgr TEXT NOT NULL,
  p_brand TEXT NOT NULL, p_type TEXT NOT NULL, p_size BIGINT NOT NULL, p_container TEXT NOT NULL,
  p_retailprice DECIMAL(15,2) NOT NULL, p_comment TEXT NOT NULL, PRIMARY KEY (p_partkey));
CREATE SHARED TABLE partsupp (ps_partkey BIGINT NOT NULL, ps_suppkey BIGINT NOT NULL, ps_availqty BIGINT NOT NULL,
  ps_supplycost DECIMAL(15,2) NOT NULL, ps_comment TEXT NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey));
CREATE SHARED TABLE orders (o_orderkey BIGINT NOT NULL, o_custkey BIGINT NOT NULL, o_orderstatus TEXT NOT NULL,
  o_totalprice DECIMAL(15,2) NOT NULL, o_orderdate DATE NOT NULL, o_orderpriority TEXT NOT NULL,
  o_clerk TEXT NOT NULL, o_shippriority BIGINT NOT NULL, o_comment TEXT NOT NULL, PRIMARY KEY (o_orderkey));
CREATE SHARED TABLE lineitem (l_orderkey BIGINT NOT NULL, l_partkey BIGINT NOT NULL, l_suppkey BIGINT NOT NULL,
  l_linenumber BIGINT NOT NULL, l_quantity DECIMAL(15,2) NOT NULL, l_extendedprice DECIMAL(15,2) NOT NULL,
  l_discount DECIMAL(15,2) NOT NULL, l_tax DECIMAL(15,2) NOT NULL, l_returnflag TEXT NOT NULL,
  l_linestatus TEXT NOT NULL, l_shipdate DATE NOT NULL, l_commitdate DATE NOT NULL, l_receiptdate DATE NOT NULL,
  l_shipinstruct TEXT NOT NULL, l_shipmode TEXT NOT NULL, l_comment TEXT NOT NULL,
  PRIMARY KEY (l_orderkey, l_linenumber))`

// tpch has the tables of TPC-H with what segments say of them at scale factor 1.
func tpch(t *testing.T) *memory {
	m := &memory{tables: map[string]*manifest.Table{}, stats: map[string]optimize.ColumnStatistics{},
		rows: map[string]int64{"region": 5, "nation": 25, "supplier": 10_000, "customer": 150_000, "part": 200_000,
			"partsupp": 800_000, "orders": 1_500_000, "lineitem": 6_001_215}}
	m.create(t, tpchTables)
	bounds := func(least, most int64, distinct float64, names ...string) {
		for _, n := range names {
			m.stats[n] = optimize.ColumnStatistics{Min: least, Max: most, Distinct: distinct}
		}
	}
	texts := func(distinct float64, names ...string) {
		for _, n := range names {
			m.stats[n] = optimize.ColumnStatistics{Distinct: distinct}
		}
	}
	bounds(0, 4, 5, "r_regionkey", "n_regionkey")
	bounds(0, 24, 25, "n_nationkey", "s_nationkey", "c_nationkey")
	bounds(1, 10_000, 10_000, "s_suppkey", "ps_suppkey", "l_suppkey")
	bounds(1, 150_000, 150_000, "c_custkey", "o_custkey")
	bounds(1, 200_000, 200_000, "p_partkey", "ps_partkey", "l_partkey")
	bounds(1, 6_000_000, 6_000_000, "o_orderkey", "l_orderkey")
	bounds(1, 7, 7, "l_linenumber")
	bounds(1, 50, 50, "p_size")
	bounds(8035, 10_440, 2406, "o_orderdate")
	bounds(8036, 10_561, 2526, "l_shipdate")
	bounds(8065, 10_530, 2466, "l_commitdate")
	bounds(8037, 10_591, 2554, "l_receiptdate")
	texts(3, "l_returnflag", "o_orderstatus", "l_linestatus")
	texts(25, "p_brand", "n_name")
	texts(5, "r_name", "c_mktsegment", "o_orderpriority", "p_mfgr")
	texts(7, "l_shipmode")
	texts(4, "l_shipinstruct")
	texts(40, "p_container")
	texts(150, "p_type")
	return m
}

// tree shows the shape of a plan: the joins with their keys, what is scanned and which rows, and the estimates.
func tree(b *strings.Builder, n plan.Node, o func(plan.Node) float64, depth int) {
	line := func(format string, args ...any) {
		fmt.Fprintf(b, "%s%s  ~%.4g\n", strings.Repeat("  ", depth), fmt.Sprintf(format, args...), o(n))
	}
	below := func(inputs ...plan.Node) {
		for _, in := range inputs {
			tree(b, in, o, depth+1)
		}
	}
	switch x := n.(type) {
	case *plan.Scan:
		s := "scan " + x.Alias
		if x.Filter != nil {
			s += " where " + named(x.Filter, x.Cols)
		}
		line("%s", s)
	case *plan.Project:
		tree(b, x.Input, o, depth)
	case *plan.Join:
		s := joinName(x.Kind) + " join"
		if x.BuildLeft {
			s += " of the stored left side"
		}
		for i, k := range x.LeftKeys {
			s += " " + named(k, x.LeftSide.Columns()) + "=" + named(x.RightKeys[i], x.RightSide.Columns())
		}
		if x.Where != nil {
			s += " where " + named(x.Where, append(x.LeftSide.Columns()[:len(x.LeftSide.Columns()):len(x.LeftSide.Columns())],
				x.RightSide.Columns()...))
		}
		line("%s", s)
		below(x.LeftSide, x.RightSide)
	case *plan.Filter:
		line("filter %s", named(x.Where, x.Input.Columns()))
		below(x.Input)
	case *plan.CTE:
		line("cte %d", x.ID)
		below(x.Body, x.Input)
	case *plan.SetOp:
		line("set operation")
		below(x.LeftSide, x.RightSide)
	case *plan.Apply:
		line("apply %s", joinName(x.Kind))
		below(x.LeftSide, x.RightSide)
	case *plan.Aggregate:
		s := make([]string, len(x.Groups))
		for i, g := range x.Groups {
			s[i] = named(g, x.Input.Columns())
		}
		line("aggregate by (%s)", strings.Join(s, ", "))
		below(x.Input)
	case *plan.Sort:
		line("sort")
		below(x.Input)
	case *plan.Limit:
		line("limit")
		below(x.Input)
	case *plan.Window:
		line("window")
		below(x.Input)
	case *plan.Distinct:
		line("distinct")
		below(x.Input)
	default:
		line("%T", n)
	}
}

// named is an expression with the names of columns.
func named(e plan.Expr, cols []plan.Column) string {
	return places.ReplaceAllStringFunc(show(e), func(place string) string {
		i, err := strconv.Atoi(place[1:])
		if err != nil || i >= len(cols) || cols[i].Name == "" {
			return place
		}
		return cols[i].Name
	})
}

// TestPlansOfTPCH compares the plans of the 22 queries at scale factor 1 with testdata/tpch.plans.txt; -args -rewrite
// writes them.
func TestPlansOfTPCH(t *testing.T) {
	m := tpch(t)
	o := optimize.Options{Statistics: m}
	var b strings.Builder
	for q := 1; q <= 22; q++ {
		text, err := os.ReadFile(filepath.Join("..", "..", "internal", "endtoend", "testdata", "tpch", "queries",
			fmt.Sprintf("q%02d.sql", q)))
		if err != nil {
			t.Fatal(err)
		}
		out, err := optimize.Optimize(m.compile(t, string(text)).(*plan.Select).Root, o)
		if err != nil {
			t.Fatalf("query %d: %v", q, err)
		}
		fmt.Fprintf(&b, "Q%d\n", q)
		tree(&b, out, optimize.Estimates(out, o), 1)
	}
	golden(t, "tpch.plans.txt", b.String())
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, rewrite it and look at the difference; got\n%s", path, got)
	}
}
