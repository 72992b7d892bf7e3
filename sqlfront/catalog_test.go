package sqlfront_test

import (
	"fmt"
	"slices"
	"testing"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront"
)

// memoryCatalog is a catalog to compile against; DDL that was compiled is applied to it.
type memoryCatalog struct {
	tables map[string][]*manifest.Table
	next   manifest.TableID
}

func newCatalog(t testing.TB) *memoryCatalog {
	t.Helper()
	c := &memoryCatalog{tables: map[string][]*manifest.Table{"default": nil, "system": nil, "information_schema": nil}}
	system := func(name string, columns ...string) {
		table := &manifest.Table{Namespace: "system", Name: name, Kind: manifest.System}
		for i, col := range columns {
			table.Columns = append(table.Columns,
				manifest.Column{ID: manifest.ColumnID(i + 1), Name: col, Type: manifest.Type{Kind: manifest.Text}})
		}
		c.add(table)
	}
	system("namespaces", "name")
	system("tables", "namespace", "name", "kind")
	system("columns", "namespace", "table_name", "name", "ordinal", "type", "nullable", "default", "key",
		"constraints")
	for _, name := range []string{"users", "settings", "stats"} {
		system(name, "name", "value")
	}
	for _, name := range []string{"sessions", "subscriptions", "queries", "segments", "storages", "jobs"} {
		system(name, "id", "started")
	}
	return c
}

func (c *memoryCatalog) add(t *manifest.Table) {
	c.next++
	t.ID = c.next
	c.tables[t.Namespace] = append(c.tables[t.Namespace], t)
}

func (c *memoryCatalog) Table(namespace, name string) (*manifest.Table, error) {
	for _, t := range c.tables[namespace] {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("table %s.%s: %w", namespace, name, fault.ErrNotFound)
}

func (c *memoryCatalog) Namespaces() []string {
	var out []string
	for n := range c.tables {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (c *memoryCatalog) Tables(namespace string) []*manifest.Table { return c.tables[namespace] }

func (c *memoryCatalog) Settings() []string { return []string{"schema", "timezone"} }

func (c *memoryCatalog) Version() uint64 { return uint64(c.next) }

// apply does what a statement would do to the catalog.
func (c *memoryCatalog) apply(s plan.Statement) {
	switch n := s.(type) {
	case *plan.CreateNamespace:
		if _, ok := c.tables[n.Name]; !ok {
			c.tables[n.Name] = nil
		}
	case *plan.CreateTable:
		c.add(n.Table)
	case *plan.CreateView:
		c.add(n.Table)
	case *plan.DropTable:
		c.tables[n.Namespace] = slices.DeleteFunc(c.tables[n.Namespace],
			func(t *manifest.Table) bool { return t.Name == n.Name })
	}
}

// run compiles a script statement by statement and applies its DDL.
func (c *memoryCatalog) run(t testing.TB, script string) {
	t.Helper()
	pieces, err := sqlfront.Split(script)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		out, err := sqlfront.Compile(p.Text, sqlfront.Options{Catalog: c})
		if err != nil {
			t.Fatalf("line %d: %s\n%v", p.Line, p.Text, err)
		}
		c.apply(out.Statement)
	}
}

// tpch are the tables of TPC-H.
const tpch = `
CREATE TABLE region (r_regionkey BIGINT PRIMARY KEY, r_name TEXT NOT NULL, r_comment TEXT);
CREATE TABLE nation (n_nationkey BIGINT PRIMARY KEY, n_name TEXT NOT NULL, n_regionkey BIGINT NOT NULL,
  n_comment TEXT);
CREATE TABLE supplier (s_suppkey BIGINT PRIMARY KEY, s_name TEXT, s_address TEXT, s_nationkey BIGINT, s_phone TEXT,
  s_acctbal DECIMAL(15,2), s_comment TEXT);
CREATE TABLE customer (c_custkey BIGINT PRIMARY KEY, c_name TEXT, c_address TEXT, c_nationkey BIGINT, c_phone TEXT,
  c_acctbal DECIMAL(15,2), c_mktsegment TEXT, c_comment TEXT);
CREATE TABLE part (p_partkey BIGINT PRIMARY KEY, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INT,
  p_container TEXT,
  p_retailprice DECIMAL(15,2), p_comment TEXT);
CREATE TABLE partsupp (ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty BIGINT, ps_supplycost DECIMAL(15,2),
  ps_comment TEXT,
  PRIMARY KEY (ps_partkey, ps_suppkey));
CREATE TABLE orders (o_orderkey BIGINT PRIMARY KEY, o_custkey BIGINT, o_orderstatus TEXT,
  o_totalprice DECIMAL(15,2), o_orderdate DATE,
  o_orderpriority TEXT, o_clerk TEXT, o_shippriority INT, o_comment TEXT);
CREATE TABLE lineitem (l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber BIGINT,
  l_quantity DECIMAL(15,2),
  l_extendedprice DECIMAL(15,2), l_discount DECIMAL(15,2), l_tax DECIMAL(15,2), l_returnflag TEXT,
  l_linestatus TEXT, l_shipdate DATE,
  l_commitdate DATE, l_receiptdate DATE, l_shipinstruct TEXT, l_shipmode TEXT, l_comment TEXT,
  PRIMARY KEY (l_orderkey, l_linenumber));
`
