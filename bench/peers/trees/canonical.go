package main

import (
	"fmt"
	"strconv"
	"strings"

	"kalamflight/manifest"
)

// printer writes a tree in the form that both sides share: lists in brackets, the operator first. What one side cannot
// say is not compared, for the reason that is kept.
type printer struct{ reason string }

// bad says that the tree has something that cannot be compared.
func (p *printer) bad(format string, args ...any) string {
	if p.reason == "" {
		p.reason = fmt.Sprintf(format, args...)
	}
	return "?"
}

func node(op string, args ...string) string { return "(" + op + " " + strings.Join(args, " ") + ")" }

func quoted(s string) string { return strconv.Quote(s) }

// fold is a name as PostgreSQL folds it: ASCII letters only.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// number is a number without what may be written in several ways.
func number(s string) string {
	s = strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(s, "_", "")), "+")
	s = strings.TrimPrefix(s, "--")
	sign := ""
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		sign, s = "-", rest
	}
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0o") || strings.HasPrefix(s, "0b") {
		if n, err := strconv.ParseUint(s, 0, 64); err == nil {
			s = strconv.FormatUint(n, 10)
		}
	}
	for len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' {
		s = s[1:]
	}
	if s == "0" {
		sign = ""
	}
	return "#" + sign + s
}

// signed applies a sign as PostgreSQL's grammar does: to a number at once.
func signed(op, arg string) string {
	switch {
	case op == "+":
		return arg
	case op == "-" && strings.HasPrefix(arg, "#"):
		return number("-" + arg[1:])
	}
	return node(op, arg)
}

// negated is NOT; two of them are none.
func negated(arg string) string {
	if rest, ok := strings.CutPrefix(arg, "(! "); ok {
		return rest[:len(rest)-1]
	}
	return node("!", arg)
}

// flat joins chains of AND and of OR.
func flat(op string, args []string) string {
	var out []string
	for _, a := range args {
		if rest, ok := strings.CutPrefix(a, "("+op+" "); ok {
			a = rest[:len(rest)-1]
		}
		out = append(out, a)
	}
	return node(op, out...)
}

// function is the name of a function that both sides call alike, with the arguments in one order.
func function(name string, args []string) string {
	switch name {
	case "extract":
		name = "date_part"
		args = []string{strings.ToLower(args[0]), args[1]}
	case "trim":
		name = "btrim"
	case "now", "transaction_timestamp":
		name = "current_timestamp"
	}
	return node("f:"+name, args...)
}

// typeName is a type as PostgreSQL's parser calls it. FLOAT is REAL here and DOUBLE PRECISION there: they count as one.
func typeName(t manifest.Type) string {
	switch t.Kind {
	case manifest.Decimal:
		if t.Precision == 18 && t.Scale == 3 {
			return "numeric" // also without parameters
		}
		return fmt.Sprintf("numeric(%d,%d)", t.Precision, t.Scale)
	case manifest.List:
		return typeName(*t.Elem) + "[]"
	case manifest.Text:
		return "text"
	}
	return map[manifest.TypeKind]string{manifest.Boolean: "bool", manifest.SmallInt: "int2", manifest.Int: "int4",
		manifest.BigInt: "int8", manifest.Float: "float8", manifest.Double: "float8", manifest.Bytes: "bytea",
		manifest.UUID: "uuid", manifest.JSON: "json", manifest.Date: "date", manifest.Time: "time",
		manifest.Timestamp: "timestamp", manifest.DateTime: "timestamptz", manifest.Interval: "interval"}[t.Kind]
}
