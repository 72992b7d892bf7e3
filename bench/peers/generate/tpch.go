package generate

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// tpch makes the eight tables of one scale factor.
type tpch struct {
	seed                                uint64
	pool                                string
	suppliers, parts, customers, clerks int64
	orders                              int64
}

// The tables' numbers in the seeds of their rows.
const (
	seedNation = iota + 1
	seedSupplier
	seedPart
	seedPartSupp
	seedCustomer
	seedOrder
	seedClick
	seedMessage
)

func day(year int, month time.Month, date int) int64 {
	return time.Date(year, month, date, 0, 0, 0, 0, time.UTC).Unix() / 86_400
}

// TPCH are the eight tables, keys and distributions as the TPC-H specification has them, at a scale factor: 1 is 6
// million rows of lineitem. The text is not dbgen's, and so the answers of queries are not the published ones.
func TPCH(scale float64, seed uint64) []*Table {
	count := func(n float64) int64 { return max(int64(n*scale), 1) }
	g := &tpch{seed: seed, pool: textPool(seed), suppliers: max(count(10_000), 4), parts: count(200_000),
		customers: max(count(150_000), 3), orders: count(1_500_000), clerks: count(1000)}
	lines := int64(0)
	for o := range g.orders {
		lines += g.lines(o)
	}
	return []*Table{
		g.table("region", "r_regionkey i, r_name s, r_comment s", 1, 5, g.region),
		g.table("nation", "n_nationkey i, n_name s, n_regionkey i, n_comment s", 1, 25, g.nation),
		g.table("supplier", "s_suppkey i, s_name s, s_address s, s_nationkey i, s_phone s, s_acctbal d, s_comment s", 1,
			g.suppliers, g.supplier),
		g.table("part", "p_partkey i, p_name s, p_mfgr s, p_brand s, p_type s, p_size i, p_container s, p_retailprice d, "+
			"p_comment s", 1, g.parts, g.part),
		g.table("partsupp", "ps_partkey i, ps_suppkey i, ps_availqty i, ps_supplycost d, ps_comment s", 2, 4*g.parts,
			g.partsupp),
		g.table("customer", "c_custkey i, c_name s, c_address s, c_nationkey i, c_phone s, c_acctbal d, c_mktsegment s, "+
			"c_comment s", 1, g.customers, g.customer),
		g.table("orders", "o_orderkey i, o_custkey i, o_orderstatus s, o_totalprice d, o_orderdate t, o_orderpriority s, "+
			"o_clerk s, o_shippriority i, o_comment s", 1, g.orders, g.order),
		g.lineitem(lines),
	}
}

// table is a table whose rows fill makes one by one.
func (g *tpch) table(name, columns string, key int, rows int64, fill func(c builders, row int64)) *Table {
	t := &Table{Name: name, Schema: tpchSchema(columns), Rows: rows}
	for i := range key {
		t.Key = append(t.Key, t.Schema.Field(i).Name)
	}
	t.fill = func(b *array.RecordBuilder, first, end int64) {
		for row := first; row < end; row++ {
			fill(builders{b}, row)
		}
	}
	return t
}

// tpchSchema reads names and types: i for BIGINT, d for DECIMAL(15,2), t for DATE, s for TEXT.
func tpchSchema(columns string) *arrow.Schema {
	types := map[string]arrow.DataType{"i": arrow.PrimitiveTypes.Int64, "s": arrow.BinaryTypes.String,
		"d": &arrow.Decimal128Type{Precision: 15, Scale: 2}, "t": arrow.FixedWidthTypes.Date32}
	var fields []arrow.Field
	for c := range strings.SplitSeq(columns, ", ") {
		name, typ, _ := strings.Cut(c, " ")
		fields = append(fields, arrow.Field{Name: name, Type: types[typ]})
	}
	return arrow.NewSchema(fields, nil)
}

func (c builders) cents(i int, v int64) {
	c.b.Field(i).(*array.Decimal128Builder).Append(decimal128.FromI64(v))
}

// comment is a piece of the text, of a length between least and most.
func (g *tpch) comment(r *random, least, most int64) string {
	n := r.between(least, most)
	at := r.below(int64(len(g.pool)) - n)
	return g.pool[at : at+n]
}

const addressLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,. "

func address(r *random) string {
	b := make([]byte, r.between(10, 40))
	for i := range b {
		b[i] = addressLetters[r.below(int64(len(addressLetters)))]
	}
	return string(b)
}

func phone(r *random, nation int64) string {
	return fmt.Sprintf("%d-%03d-%03d-%04d", nation+10, r.between(100, 999), r.between(100, 999), r.between(1000, 9999))
}

func (g *tpch) region(c builders, row int64) {
	r := newRandom(g.seed, seedNation, -1-row)
	c.int64(0, row)
	c.text(1, regions[row])
	c.text(2, g.comment(&r, 31, 115))
}

func (g *tpch) nation(c builders, row int64) {
	r := newRandom(g.seed, seedNation, row)
	c.int64(0, row)
	c.text(1, nations[row].name)
	c.int64(2, nations[row].region)
	c.text(3, g.comment(&r, 31, 114))
}

func (g *tpch) supplier(c builders, row int64) {
	r := newRandom(g.seed, seedSupplier, row)
	nation := r.below(25)
	c.int64(0, row+1)
	c.text(1, fmt.Sprintf("Supplier#%09d", row+1))
	c.text(2, address(&r))
	c.int64(3, nation)
	c.text(4, phone(&r, nation))
	c.cents(5, r.between(-99_999, 999_999))
	comment := g.comment(&r, 25, 100)
	switch r.below(2000) {
	case 0:
		comment = comment[:3] + "Customer" + comment[3:7] + "Complaints" + comment[7:]
	case 1:
		comment = comment[:3] + "Customer" + comment[3:7] + "Recommends" + comment[7:]
	}
	c.text(6, comment)
}

// retailPrice of a part, in cents.
func retailPrice(part int64) int64 { return 90_000 + part/10%20_001 + 100*(part%1000) }

func (g *tpch) part(c builders, row int64) {
	r := newRandom(g.seed, seedPart, row)
	var name []string
	for len(name) < 5 {
		name = append(name, pick(&r, colors))
	}
	maker := r.between(1, 5)
	c.int64(0, row+1)
	c.text(1, strings.Join(name, " "))
	c.text(2, fmt.Sprintf("Manufacturer#%d", maker))
	c.text(3, fmt.Sprintf("Brand#%d%d", maker, r.between(1, 5)))
	c.text(4, pick(&r, types1)+" "+pick(&r, types2)+" "+pick(&r, types3))
	c.int64(5, r.between(1, 50))
	c.text(6, pick(&r, containers1)+" "+pick(&r, containers2))
	c.cents(7, retailPrice(row+1))
	c.text(8, g.comment(&r, 5, 22))
}

// supplierOf is the i-th of the four suppliers of a part.
func (g *tpch) supplierOf(part, i int64) int64 {
	s := g.suppliers
	return (part+i*(s/4+(part-1)/s))%s + 1
}

func (g *tpch) partsupp(c builders, row int64) {
	r := newRandom(g.seed, seedPartSupp, row)
	part := row/4 + 1
	c.int64(0, part)
	c.int64(1, g.supplierOf(part, row%4))
	c.int64(2, r.between(1, 9999))
	c.cents(3, r.between(100, 100_000))
	c.text(4, g.comment(&r, 49, 198))
}

func (g *tpch) customer(c builders, row int64) {
	r := newRandom(g.seed, seedCustomer, row)
	nation := r.below(25)
	c.int64(0, row+1)
	c.text(1, fmt.Sprintf("Customer#%09d", row+1))
	c.text(2, address(&r))
	c.int64(3, nation)
	c.text(4, phone(&r, nation))
	c.cents(5, r.between(-99_999, 999_999))
	c.text(6, pick(&r, marketings))
	c.text(7, g.comment(&r, 29, 116))
}
