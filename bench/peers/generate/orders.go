package generate

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// orderKey leaves three quarters of the keys out, as the specification does.
func orderKey(row int64) int64 { return row/8*32 + row%8 + 1 }

// lines is how many rows of lineitem an order has: the first number of its stream.
func (g *tpch) lines(row int64) int64 {
	r := newRandom(g.seed, seedOrder, row)
	return r.between(1, 7)
}

// line is one row of lineitem.
type line struct {
	part, supplier, quantity, price, discount, tax int64
	shipped, committed, received                   int64
	returned, instruction, mode, comment           string
}

// bill is an order with its lines.
type bill struct {
	customer, date  int64
	priority, clerk string
	comment         string
	total           int64
	open            int
	lines           []line
}

// make fills the bill with an order; it must be the same whether orders or lineitem asks.
func (b *bill) make(g *tpch, row int64) {
	r := newRandom(g.seed, seedOrder, row)
	n := r.between(1, 7)
	b.date = r.between(day(1992, 1, 1), day(1998, 12, 31)-151)
	for b.customer = 3; b.customer%3 == 0; { // a third of the customers has no orders
		b.customer = r.between(1, g.customers)
	}
	b.priority = pick(&r, priorities)
	b.clerk = fmt.Sprintf("Clerk#%09d", r.between(1, g.clerks))
	b.comment = g.comment(&r, 19, 78)
	b.total, b.open, b.lines = 0, 0, b.lines[:0]
	now := day(1995, 6, 17)
	for range n {
		l := line{part: r.between(1, g.parts), quantity: r.between(1, 50), discount: r.below(11), tax: r.below(9)}
		l.supplier = g.supplierOf(l.part, r.below(4))
		l.price = l.quantity * retailPrice(l.part)
		l.shipped = b.date + r.between(1, 121)
		l.committed = b.date + r.between(30, 90)
		l.received = l.shipped + r.between(1, 30)
		if l.returned = "N"; l.received <= now {
			l.returned = pick(&r, []string{"A", "R"})
		}
		l.instruction, l.mode = pick(&r, instructions), pick(&r, shipModes)
		l.comment = g.comment(&r, 10, 43)
		b.total += (l.price*(100-l.discount)*(100+l.tax) + 5000) / 10_000
		if l.shipped > now {
			b.open++
		}
		b.lines = append(b.lines, l)
	}
}

func (g *tpch) order(c builders, row int64) {
	var b bill
	b.make(g, row)
	status := "P"
	switch b.open {
	case 0:
		status = "F"
	case len(b.lines):
		status = "O"
	}
	c.int64(0, orderKey(row))
	c.int64(1, b.customer)
	c.text(2, status)
	c.cents(3, b.total)
	c.date(4, int32(b.date))
	c.text(5, b.priority)
	c.text(6, b.clerk)
	c.int64(7, 0)
	c.text(8, b.comment)
}

// lineitem has all lines of all orders.
func (g *tpch) lineitem(rows int64) *Table {
	t := &Table{Name: "lineitem", Rows: rows, units: g.orders, Key: []string{"l_orderkey", "l_linenumber"},
		Schema: tpchSchema("l_orderkey i, l_partkey i, l_suppkey i, l_linenumber i, l_quantity d, l_extendedprice d, " +
			"l_discount d, l_tax d, l_returnflag s, l_linestatus s, l_shipdate t, l_commitdate t, l_receiptdate t, " +
			"l_shipinstruct s, l_shipmode s, l_comment s")}
	now := day(1995, 6, 17)
	t.fill = func(b *array.RecordBuilder, first, end int64) {
		var bill bill
		for row := first; row < end; row++ {
			bill.make(g, row)
			for i := range bill.lines {
				l := &bill.lines[i]
				status := "F"
				if l.shipped > now {
					status = "O"
				}
				l.append(builders{b}, orderKey(row), int64(i)+1, status)
			}
		}
	}
	return t
}

func (l *line) append(c builders, key, number int64, status string) {
	c.int64(0, key)
	c.int64(1, l.part)
	c.int64(2, l.supplier)
	c.int64(3, number)
	c.cents(4, 100*l.quantity)
	c.cents(5, l.price)
	c.cents(6, l.discount)
	c.cents(7, l.tax)
	c.text(8, l.returned)
	c.text(9, status)
	c.date(10, int32(l.shipped))
	c.date(11, int32(l.committed))
	c.date(12, int32(l.received))
	c.text(13, l.instruction)
	c.text(14, l.mode)
	c.text(15, l.comment)
}
