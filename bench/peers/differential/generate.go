package main

import (
	"fmt"
	"math/rand/v2"
)

// kind is the type of an expression as the generator sees it: enough that both sides accept what it writes.
type kind int

// The kinds below kinds are those of columns; an interval exists only in expressions.
const (
	integer kind = iota
	long
	small
	money
	wide
	double
	text
	date
	timestamp
	clock
	boolean
	list
	kinds
	interval
)

// columns are those of every table, one of each kind behind the key, and a JSON column j.
var columns = [kinds]string{"i", "b", "sm", "d", "w", "f", "s", "dt", "ts", "tm", "bo", "l"}

// types are how the kinds are written in a CAST.
var types = [...]string{"INTEGER", "BIGINT", "SMALLINT", "DECIMAL(10,2)", "DECIMAL(24,6)", "DOUBLE", "VARCHAR", "DATE",
	"TIMESTAMP", "TIME", "BOOLEAN", "BIGINT[]", "", "INTERVAL"}

// tables with their rows; one is empty, so that every query also meets no rows, and one is large enough for more than
// one batch and worker.
var tables = []struct {
	name string
	rows int
}{{"t0", 300}, {"t1", 60}, {"t2", 12}, {"t3", 0}, {"t4", 4000}}

// generator writes random queries over the tables. It is for one goroutine.
type generator struct {
	*rand.Rand
	aliases int
	// few leaves out the largest table, where a query multiplies its rows.
	few bool
}

// scope is the tables whose columns an expression may name.
type scope []string

func (g *generator) pick(all ...string) string { return all[g.IntN(len(all))] }

func (g *generator) kindOf(all ...kind) kind { return all[g.IntN(len(all))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) kind() kind { return kind(g.IntN(int(kinds))) }

// numeric is a kind of numbers.
func (g *generator) numeric() kind { return g.kindOf(integer, long, small, money, wide, double) }

func (g *generator) alias() string {
	g.aliases++
	return fmt.Sprintf("a%d", g.aliases)
}

func (g *generator) column(s scope, k kind) string {
	name := columns[k]
	if k == long && g.chance(30) {
		name = "id"
	}
	return g.pick(s...) + "." + name
}

func (g *generator) literal(k kind) string {
	switch k {
	case integer:
		return fmt.Sprint(g.IntN(12))
	case long:
		return fmt.Sprintf("CAST(%d AS BIGINT)", g.IntN(60)-10)
	case small:
		return fmt.Sprintf("CAST(%d AS SMALLINT)", g.IntN(20)-5)
	case money:
		return fmt.Sprintf("CAST('%d.%02d' AS DECIMAL(10,2))", g.IntN(30)-10, g.IntN(100))
	case wide:
		return fmt.Sprintf("CAST('%d.%06d' AS DECIMAL(24,6))", g.Int64N(4_000_000_000_000)-10,
			g.IntN(1_000_000)/1000*1000)
	case double:
		return fmt.Sprintf("CAST(%d.%s AS DOUBLE)", g.IntN(20), g.pick("0", "25", "5", "75"))
	case text:
		return g.pick("''", "'a'", "'ab'", "'Abc'", "'b%'", "'zoë'", "' x '", "'10'", "'a-b-c'", "'it''s'",
			"'twelve bytes'", "'a text that is longer than twelve bytes'")
	case date:
		return fmt.Sprintf("DATE '%d-%02d-%02d'", 2022+g.IntN(3), 1+g.IntN(12), 1+g.IntN(28))
	case timestamp:
		return fmt.Sprintf("TIMESTAMP '2023-%02d-%02d %02d:30:%02d'", 1+g.IntN(12), 1+g.IntN(28), g.IntN(24), g.IntN(60))
	case clock:
		return fmt.Sprintf("TIME '%02d:%02d:%02d'", g.IntN(24), g.IntN(4)*15, g.IntN(2)*30)
	case list:
		return g.pick("CAST([] AS BIGINT[])", "[NULL, CAST(3 AS BIGINT)]", fmt.Sprintf("[CAST(%d AS BIGINT)]", g.IntN(6)),
			fmt.Sprintf("[CAST(%d AS BIGINT), %d, NULL]", g.IntN(4), g.IntN(4)))
	case interval:
		return fmt.Sprintf("INTERVAL '%d %s'", g.IntN(40)-5,
			g.pick("days", "hours", "months", "minutes", "years", "seconds", "weeks"))
	default:
		return g.pick("TRUE", "FALSE", "CAST(NULL AS BOOLEAN)")
	}
}

// document is a JSON value with the members that expressions look for, now and then missing or null.
func (g *generator) document() string {
	switch g.IntN(8) {
	case 0:
		return `'{}'`
	case 1:
		return `'{"n": null, "l": []}'`
	}
	return fmt.Sprintf(`'{"n": %d, "s": "%s", "l": [%d, "%s", {"x": %d}], "o": {"p": %s}}'`, g.IntN(20),
		g.pick("a", "b", "zoë", "q r", ""), g.IntN(5), g.pick("u", "v"), g.IntN(9), g.pick("true", "false", "null", "1.5"))
}

// expr is a random expression of a kind, at most depth calls deep.
func (g *generator) expr(s scope, k kind, depth int) string {
	if k == interval {
		return g.interval(func(k kind) string { return g.expr(s, k, depth-1) }, depth)
	}
	if depth <= 0 || g.chance(25) {
		if len(s) == 0 || g.chance(15) {
			return g.literal(k)
		}
		return g.column(s, k)
	}
	d := depth - 1
	e := func(k kind) string { return g.expr(s, k, d) }
	switch g.IntN(10) {
	case 0:
		return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", e(boolean), e(k), e(k))
	case 1:
		return fmt.Sprintf("COALESCE(%s, %s)", e(k), e(k))
	case 2:
		return fmt.Sprintf("NULLIF(%s, %s)", e(k), e(k))
	case 3:
		return fmt.Sprintf("%s(%s, %s)", g.pick("GREATEST", "LEAST"), e(k), e(k))
	case 4:
		of := g.kind()
		return fmt.Sprintf("CASE %s WHEN %s THEN %s WHEN %s THEN %s END", e(of), g.literal(of), e(k), e(of), e(k))
	}
	switch k {
	case integer:
		return g.integer(s, e)
	case long:
		return g.long(s, e)
	case small:
		return g.pick("CAST("+e(small)+" % 7 AS SMALLINT)", "CAST(length("+e(text)+") AS SMALLINT)",
			"CAST(month("+e(date)+") AS SMALLINT)", "CAST("+e(boolean)+" AS SMALLINT)")
	case money, wide:
		return g.decimal(k, e)
	case double:
		return g.double(e)
	case text:
		return g.text(s, e)
	case date:
		return g.date(e)
	case timestamp:
		return g.timestamp(e)
	case list:
		return g.pick("list_append("+e(list)+", "+e(long)+")", "list_concat("+e(list)+", "+e(list)+")",
			"["+e(long)+", NULL, "+e(long)+"]", "("+e(list)+")[2:3]", "list_distinct(["+e(long)+"])",
			"list_reverse("+e(list)+")")
	case clock:
		return g.pick("CAST("+e(timestamp)+" AS TIME)", "("+e(clock)+g.pick(" + ", " - ")+"INTERVAL '45 minutes')")
	default:
		return g.predicate(s, d)
	}
}

func (g *generator) integer(s scope, e func(kind) string) string {
	all := []string{fmt.Sprintf("(%s %s %s)", e(integer), g.pick("+", "-", "*"), e(integer)),
		// by zero is an error here and NULL there
		fmt.Sprintf("(%s %s %d)", e(integer), g.pick("%", "/"), 1+g.IntN(9)), "abs(" + e(integer) + ")", "(-" + e(integer) +
			")",
		"CAST(round(" + e(double) + ") AS INTEGER)", "CAST(" + e(money) + " AS INTEGER)", "CAST(" + e(double) +
			" AS INTEGER)",
		"TRY_CAST(regexp_extract(" + e(text) + ", '^\\d{1,5}$') AS INTEGER)", "CAST(" + e(small) + " AS INTEGER)", "(" +
			e(small) + " + " + e(integer) +
			")",
		fmt.Sprintf("(%s %s %s)", e(integer), g.pick("&", "|"), e(integer)), "CAST(" + e(boolean) + " AS INTEGER)"}
	if len(s) > 0 {
		all = append(all, "CAST("+g.pick(s...)+".j ->> 'n' AS INTEGER)",
			"CAST(json_extract_string("+g.pick(s...)+".j, '$.l[0]') AS INTEGER)")
	}
	return g.pick(all...)
}

func (g *generator) long(s scope, e func(kind) string) string {
	all := []string{
		fmt.Sprintf("(%s %s %s)", e(long), g.pick("+", "-"), e(integer)), "CAST(" + e(integer) + " AS BIGINT)",
		"abs(" + e(long) + ")", "length(" + e(text) + ")", "strpos(" + e(text) + ", " + e(text) + ")",
		fmt.Sprintf("CAST(%s('%s', %s, %s) AS BIGINT)", g.pick("date_diff", "date_sub"),
			g.pick("day", "month", "year", "quarter"), e(date), e(date)),
		fmt.Sprintf("CAST(%s('%s', %s, %s) AS BIGINT)", g.pick("date_diff", "date_sub"),
			g.pick("hour", "minute", "day", "month", "second", "year"), e(timestamp), e(timestamp)),
		fmt.Sprintf("CAST(extract(%s FROM %s) AS BIGINT)",
			g.pick("year", "month", "day", "doy", "dow", "quarter", "isodow", "week", "isoyear", "decade", "century"), e(date)),
		fmt.Sprintf("CAST(date_part('%s', %s) AS BIGINT)",
			g.pick("hour", "week", "isodow", "minute", "second", "millisecond"), e(timestamp)),
		fmt.Sprintf("CAST(extract(%s FROM %s) AS BIGINT)", g.pick("day", "month", "year", "hour", "minute"), e(interval)),
		fmt.Sprintf("CAST(%s(%s) AS BIGINT)", g.pick("year", "month", "day", "quarter", "week", "dayofyear"), e(date)),
		fmt.Sprintf("CAST(%s(%s) AS BIGINT)", g.pick("hour", "minute", "second"), e(clock)),
		"CAST(epoch(" + e(timestamp) + ") AS BIGINT)", "strlen(" + e(text) + ")",
		"CAST(len([" + e(integer) + ", " + e(integer) + "]) AS BIGINT)", "([" + e(long) + ", " + e(long) + "])[1]",
		"CAST(len(" + e(list) + ") AS BIGINT)", "(" + e(list) + ")[" + g.pick("1", "2", "-1", "7") + "]",
		"([" + e(long) + ", NULL, " + e(long) + "])[" + g.pick("3", "-1", "4", "2", "0") + "]",
		"CAST(length(regexp_replace(" + e(text) + ", '[ab]', '', 'g')) AS BIGINT)"}
	if len(s) > 0 {
		all = append(all, "CAST(json_array_length("+g.pick(s...)+".j -> 'l') AS BIGINT)")
	}
	return g.pick(all...)
}

func (g *generator) decimal(k kind, e func(kind) string) string {
	t := types[k]
	p := 1 + g.IntN(38)
	scale := g.IntN(min(p, 12) + 1)
	return g.pick("CAST("+e(k)+" + "+e(k)+" AS "+t+")", "CAST("+e(k)+" * 2 AS "+t+")", "CAST("+e(k)+" - "+e(money)+
		" AS "+t+")", "abs("+e(k)+")", "(-"+e(k)+")", "CAST("+e(integer)+" AS "+t+")", "CAST("+e(money)+" AS "+t+")",
		"CAST(round("+e(k)+", "+g.pick("0", "1", "2")+") AS "+t+")", "CAST("+g.pick("floor", "ceil", "trunc")+"("+e(k)+
			") AS "+t+")", fmt.Sprintf("CAST(TRY_CAST(%s AS DECIMAL(%d,%d)) AS %s)", e(k), p, scale, t),
		"CAST("+e(k)+" % CAST('7.25' AS DECIMAL(5,2)) AS "+t+")", "CAST("+e(double)+" AS "+t+")",
		"CAST("+e(money)+" * CAST("+e(small)+" AS DECIMAL(6,3)) AS "+t+")", "TRY_CAST(regexp_extract("+e(text)+
			", '^\\d{1,5}$') AS "+t+")")
}

func (g *generator) double(e func(kind) string) string {
	return g.pick("("+e(double)+g.pick(" + ", " - ", " * ")+e(double)+")", "CAST("+e(integer)+" AS DOUBLE)",
		"CAST("+e(money)+" AS DOUBLE)",
		g.pick("floor", "ceil", "abs", "round", "sign", "trunc")+"("+e(double)+")",
		"sqrt(abs("+e(double)+"))", "("+e(double)+" / 4)", "("+e(money)+" / 8)", "round("+e(double)+", 1)",
		"round(exp("+e(small)+" / 8.0), 6)", "round(ln(1 + abs("+e(double)+")), 6)", "power("+e(double)+", 2)", "("+
			e(integer)+" * 1.5e0)",
		"CAST('"+g.pick("1e3", "-2.5", " 7 ", ".5")+"' AS DOUBLE)", "round(atan2("+e(double)+", 2), 6)",
		"epoch("+e(timestamp)+")")
}

func (g *generator) text(s scope, e func(kind) string) string {
	all := []string{"(" + e(text) + " || " + e(text) + ")",
		g.pick("upper", "lower", "trim", "ltrim", "rtrim", "reverse", "md5", "sha256") + "(" + e(text) + ")",
		"substring(" + e(text) + ", " + g.pick("1", "2", "0") + ", " + g.pick("1", "2", "5") + ")",
		"substring(" + e(text) + " FROM 2)", "trim(" + g.pick("LEADING", "TRAILING", "BOTH") + " 'a' FROM " + e(text) + ")",
		"replace(" + e(text) + ", 'a', " + e(text) + ")", "CAST(" + e(g.scalar()) + " AS VARCHAR)",
		"left(" + e(text) + ", " + g.pick("1", "-1", "2") + ")", "right(" + e(text) + ", " + g.pick("1", "-1", "2") + ")",
		"concat(" + e(text) + ", " + e(g.scalar()) + ")", g.pick("lpad", "rpad") + "(" + e(text) + ", 4, '*')",
		"concat_ws('-', " + e(text) + ", " + e(text) + ")",
		"strftime(" + e(timestamp) + ", '" + g.pick("%Y/%m/%d h%H", "%a %d %b %y", "%A, %B %-d", "%j %I:%M %p", "%H:%M:%S") +
			"')",
		"split_part(" + e(text) + ", '" + g.pick("b", "-") + "', " + g.pick("1", "2", "-1", "9") + ")",
		"repeat(" + e(text) + ", 2)", "translate(" + e(text) + ", 'abz', 'xy')", g.pick("monthname", "dayname") + "(" +
			e(date) + ")", "regexp_replace(" + e(text) + ", '" + g.pick("[aeiou]", "b+", "^a", "\\s") + "', '<\\0>'" +
			g.pick("", ", 'g'") + ")",
		"regexp_extract(" + e(text) + ", '" + g.pick("[a-c]+", "([a-z])([a-z])", "x|t") + "')",
		"regexp_extract(" + e(text) + ", '([a-z])([a-z]*)', " + g.pick("0", "1", "2") + ")",
		"array_to_string(['x', " + e(text) + "], ',')",
		"(string_split(" + e(text) + ", '-'))[1]", "CAST([" + e(integer) + ", " + e(integer) + "] AS VARCHAR)"}
	if len(s) > 0 {
		t := g.pick(s...)
		all = append(all, "("+t+".j ->> 's')", "("+t+".j -> 'l' ->> 1)", "json_extract_string("+t+".j, '$.o.p')",
			"("+t+".j ->> '$.l[2].x')")
	}
	return g.pick(all...)
}

func (g *generator) date(e func(kind) string) string {
	return g.pick("("+e(date)+g.pick(" + ", " - ")+"CAST("+e(integer)+" % 1000 AS INTEGER))", "CAST("+e(timestamp)+
		" AS DATE)",
		fmt.Sprintf("CAST(date_trunc('%s', %s) AS DATE)", g.pick("month", "year", "week", "quarter", "decade"), e(date)),
		"CAST("+e(date)+" + INTERVAL '1 month' AS DATE)", "last_day("+e(date)+")",
		"make_date(2023, "+fmt.Sprint(1+g.IntN(12))+", "+fmt.Sprint(1+g.IntN(28))+")",
		"CAST("+e(date)+" - "+e(interval)+" AS DATE)", "CAST(strftime("+e(date)+", '%Y-%m-%d') AS DATE)",
		"TRY_CAST("+e(text)+" AS DATE)")
}

func (g *generator) timestamp(e func(kind) string) string {
	return g.pick("CAST("+e(date)+" AS TIMESTAMP)", "("+e(timestamp)+g.pick(" + ", " - ")+e(interval)+")",
		fmt.Sprintf("date_trunc('%s', %s)", g.pick("hour", "day", "month", "minute", "week", "second"), e(timestamp)),
		"("+e(date)+g.pick(" + ", " - ")+e(interval)+")", "("+e(date)+" + "+e(clock)+")",
		"time_bucket(INTERVAL '"+g.pick("15 minutes", "1 day", "3 hours", "1 month", "1 week")+"', "+e(timestamp)+")",
		"CAST(CAST("+e(timestamp)+" AS VARCHAR) AS TIMESTAMP)", "strptime(strftime("+e(timestamp)+
			", '%d.%m.%Y %H:%M'), '%d.%m.%Y %H:%M')", "make_timestamp(2023, 5, 1 + abs("+e(small)+" % 5), 3, 4, 5.5)",
		"(CAST("+e(timestamp)+" AS TIMESTAMPTZ) AT TIME ZONE '"+g.pick("UTC", "Europe/Berlin", "America/New_York")+"')")
}

func (g *generator) interval(e func(kind) string, depth int) string {
	if depth <= 0 {
		return g.literal(interval)
	}
	return g.pick(g.literal(interval), g.literal(interval), "("+e(interval)+g.pick(" + ", " - ")+e(interval)+")",
		"("+e(timestamp)+" - "+e(timestamp)+")", "age("+e(timestamp)+", "+e(timestamp)+")",
		g.pick("to_days", "to_hours", "to_months", "to_minutes")+"(CAST("+e(small)+" AS INTEGER))",
		"("+e(integer)+" * INTERVAL '1 day')", "(-"+e(interval)+")")
}

// scalar is a kind whose values both sides write as the same text.
func (g *generator) scalar() kind {
	return g.kindOf(integer, long, small, money, wide, text, date, timestamp, clock, boolean)
}

func (g *generator) predicate(s scope, depth int) string {
	k := g.kind()
	e := func(k kind) string { return g.expr(s, k, depth) }
	switch g.IntN(15) {
	case 13: // ANY of NULL is NULL here, as in PostgreSQL, and FALSE there
		return g.pick("list_contains("+e(list)+", "+e(long)+")",
			"("+e(long)+" = ANY(COALESCE("+e(list)+", CAST([] AS BIGINT[]))))",
			"list_has_any("+e(list)+", "+e(list)+")")
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", e(k), g.pick("=", "<>", "<", "<=", ">", ">="), e(k))
	case 2:
		return fmt.Sprintf("(%s IS %sNULL)", e(k), g.pick("", "NOT "))
	case 3:
		return fmt.Sprintf("(%s %sIN (%s, %s, %s))", e(k), g.pick("", "NOT "), g.literal(k), g.literal(k), e(k))
	case 4:
		return fmt.Sprintf("(%s %sBETWEEN %s AND %s)", e(k), g.pick("", "NOT "), e(k), e(k))
	case 5:
		return fmt.Sprintf("(%s %s%s %s)", e(text), g.pick("", "NOT "), g.pick("LIKE", "ILIKE"),
			g.pick("'a%'", "'%b%'", "'_b'", "'%'", "''", "'z__'", "'%a_b%'", "'%s'", "'a%b%c'"))
	case 6:
		return fmt.Sprintf("(%s %s %s)", g.predicate(s, depth-1), g.pick("AND", "OR"), g.predicate(s, depth-1))
	case 7:
		return "(NOT " + g.predicate(s, depth-1) + ")"
	case 8:
		return fmt.Sprintf("(%s IS %sDISTINCT FROM %s)", e(k), g.pick("", "NOT "), e(k))
	case 9: // a comparison of two kinds of number
		return fmt.Sprintf("(%s %s %s)", e(g.numeric()), g.pick("=", "<>", "<", ">="), e(g.numeric()))
	case 10:
		return fmt.Sprintf("%s(%s, '%s')", g.pick("regexp_matches", "regexp_full_match"), e(text),
			g.pick("^a", "b$", "[a-c]{2}", "a.*b", "x|y", "\\d+"))
	case 11:
		return fmt.Sprintf("(%s IS %s%s)", e(boolean), g.pick("", "NOT "), g.pick("TRUE", "FALSE", "NULL"))
	case 12:
		return fmt.Sprintf("%s(%s, %s)", g.pick("starts_with", "contains", "ends_with"), e(text), e(text))
	default:
		return "(" + e(boolean) + ")"
	}
}
