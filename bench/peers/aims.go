package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"kalamflight/bench/peers/generate"
)

// aim is a query and the ratio of time, ours to DuckDB's, that it should not exceed.
type aim struct {
	query
	most float64
}

// tpchAims are asked of TPC-H's tables, the click aims of page views.
func tpchAims() []aim {
	return []aim{
		{query{name: "A1: numeric scan", text: "SELECT sum(l_orderkey), sum(l_partkey), sum(l_quantity), " +
			"sum(l_extendedprice) FROM lineitem"}, 1},
		{query{name: "A2: string scan", text: "SELECT sum(length(l_comment)), min(l_comment) FROM lineitem"}, 0.8},
		{query{name: "A3: filter and count on few values", text: "SELECT count(*) FROM lineitem WHERE l_shipmode = 'AIR'"},
			0.7},
		{query{name: "A4: few groups", text: "SELECT l_shipmode, l_shipinstruct, count(*), sum(l_quantity) FROM lineitem " +
			"GROUP BY l_shipmode, l_shipinstruct"}, 0.7},
		{query{name: "A5: join", text: "SELECT count(*), sum(l_extendedprice) FROM lineitem JOIN orders " +
			"ON l_orderkey = o_orderkey WHERE o_orderpriority = '1-URGENT'"}, 1.1},
		{query{name: "A6: first rows", text: "SELECT l_extendedprice, l_orderkey FROM lineitem " +
			"ORDER BY l_extendedprice DESC LIMIT 100", compared: []int{0}}, 1},
		{query{name: "A7: lookup by key", text: "SELECT * FROM orders WHERE o_orderkey = 3000007",
			repeat: 200}, 0.05},
	}
}

func clickAims() []aim {
	return []aim{
		{query{name: "A8: GROUP BY an integer", text: "SELECT user_id, count(*) AS n FROM hits GROUP BY user_id " +
			"ORDER BY n DESC LIMIT 10", compared: []int{1}}, 0.9},
		{query{name: "A9: ten most frequent strings", text: "SELECT url, count(*) AS n FROM hits GROUP BY url " +
			"ORDER BY n DESC LIMIT 10", compared: []int{1}}, 1},
		{query{name: "A10: COUNT DISTINCT", text: "SELECT count(DISTINCT user_id) FROM hits"}, 0.9},
		{query{name: "A11: LIKE", text: "SELECT count(*) FROM hits WHERE url LIKE '%google%'"}, 0.8},
	}
}

// aims measures single operations beside the ratios that they should keep, DuckDB reading our files and, unless our
// cache of columns is off, DuckDB's own tables as well. Both data sets stand in folders of their own.
func aims(ctx context.Context, o settings) error {
	for _, part := range []struct {
		folder, namespace string
		tables            []*generate.Table
		aims              []aim
	}{{"tpch", "tpch", generate.TPCH(o.scale, seed), tpchAims()},
		{"clicks", "clicks", []*generate.Table{generate.Clicks(o.rows, seed)}, clickAims()}} {
		if err := aimsOf(ctx, o, part.folder, part.namespace, part.tables, part.aims); err != nil {
			return err
		}
	}
	return layouts(ctx, o)
}

func aimsOf(ctx context.Context, o settings, folder, namespace string, tables []*generate.Table,
	list []aim) (err error) {
	s, err := openSides(ctx, o.data+"/"+folder, o.threads, o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.load(ctx, namespace, tables); err != nil {
		return err
	}
	queries := make([]query, len(list))
	for i, a := range list {
		queries[i] = a.query
		queries[i].name += fmt.Sprintf(", at most %g", a.most)
	}
	t := newTable(os.Stdout, "aims: "+namespace, "DuckDB")
	if err := s.run(ctx, t, o, queries); err != nil || o.cache < 0 || o.profile != "" {
		return err
	}
	if err := s.native(ctx, "own", namespace, tables); err != nil {
		return err
	}
	t = newTable(os.Stdout, "hot columns: "+namespace, "DuckDB's tables")
	return s.run(ctx, t, o, queries)
}
