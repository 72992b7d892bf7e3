package dialect

import (
	"strconv"
	"strings"

	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// typeName takes the name of a type with its parameters.
func (p *parser) typeName() manifest.Type {
	if k := p.kind(); k != token.Word && k != token.Quoted {
		p.fail("expected a type")
		return manifest.Type{}
	}
	t := p.advance()
	name := strings.ToUpper(t.Text)
	for p.accept(".") {
		t = p.advance()
		name = strings.ToUpper(t.Text)
	}
	switch {
	case name == "DOUBLE":
		p.accept("PRECISION")
	case (name == "CHARACTER" || name == "CHAR") && p.accept("VARYING"):
		name = "VARCHAR"
	}
	params, places := p.typeParams()
	if name == "TIMESTAMP" || name == "TIME" {
		switch {
		case p.accept("WITH", "TIME", "ZONE"):
			name += "TZ"
		default:
			p.accept("WITHOUT", "TIME", "ZONE")
		}
	}
	out := p.typeOf(t, name, params, places)
	for p.err == nil && (p.key() == "[" || p.key() == "ARRAY") {
		if p.accept("ARRAY") {
			if p.key() != "[" {
				elem := out
				out = manifest.Type{Kind: manifest.List, Elem: &elem}
				continue
			}
		}
		p.advance()
		if p.kind() == token.Number {
			p.advance()
		}
		p.expect("]")
		elem := out
		out = manifest.Type{Kind: manifest.List, Elem: &elem}
		if listDepth(out) > 4 {
			p.failAt(t.Start, "lists nest at most 4 deep")
		}
	}
	return out
}

func listDepth(t manifest.Type) int {
	n := 0
	for t.Kind == manifest.List {
		n, t = n+1, *t.Elem
	}
	return n
}

func (p *parser) typeParams() (params []int32, places []ast.Span) {
	if !p.accept("(") {
		return nil, nil
	}
	for {
		t := p.tok()
		n, err := strconv.ParseInt(t.Text, 10, 32)
		if t.Kind != token.Number || err != nil {
			p.fail("expected a whole number")
			return nil, nil
		}
		p.advance()
		params, places = append(params, int32(n)), append(places, ast.Span{Start: t.Start, End: t.End})
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return params, places
}

// typeOf gives a type by its name in upper case.
func (p *parser) typeOf(t *token.Token, name string, params []int32, places []ast.Span) manifest.Type {
	kind := kindOf(name)
	out := manifest.Type{Kind: kind}
	most := 0
	switch kind {
	case 0:
		p.setErr(undefinedType(p.text, t))
		return out
	case manifest.Decimal:
		return p.decimal(t, params, places)
	case manifest.Embedding:
		const dimensions = 8192
		if len(params) != 1 || params[0] < 1 || params[0] > dimensions {
			p.failAt(t.Start, "EMBEDDING takes its number of dimensions, from 1 to %d", dimensions)
			return out
		}
		out.Length = params[0]
		return out
	case manifest.Text:
		most = 1
		const longest = 10_485_760
		if len(params) == 1 && name != "TEXT" && name != "STRING" {
			if params[0] < 1 || params[0] > longest {
				p.failAt(places[0].Start, "the length of a %s is from 1 to %d", name, longest)
			}
			out.Length = params[0]
		}
	case manifest.Float, manifest.Double:
		if name == "FLOAT" && len(params) == 1 {
			out.Kind = manifest.Float
			if params[0] > 24 {
				out.Kind = manifest.Double
			}
			return out
		}
	case manifest.Time, manifest.Timestamp, manifest.DateTime, manifest.Interval:
		most = 1
		if len(params) == 1 && (params[0] < 0 || params[0] > 9) {
			p.failAt(places[0].Start, "the precision of a %s is from 0 to 9; microseconds are kept", name)
		}
	}
	if len(params) > most {
		p.failAt(t.Start, "%s takes no parameters", name)
	}
	return out
}

func undefinedType(text string, t *token.Token) error {
	e := token.Syntax(text, t.Start, "there is no type %s", shorten(t.Text))
	e.Code = "42704"
	return e.WithHint(
		"types are BOOLEAN, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), TEXT, VARCHAR(n), BYTES, UUID, JSON, DATE, " +
			"TIME, TIMESTAMP, DATETIME, EMBEDDING(n) and FILE")
}

func (p *parser) decimal(t *token.Token, params []int32, places []ast.Span) manifest.Type {
	out := manifest.Type{Kind: manifest.Decimal, Precision: 18, Scale: 3}
	const most = 38
	switch len(params) {
	case 0:
		return out
	case 1:
		out.Precision, out.Scale = params[0], 0
	case 2:
		out.Precision, out.Scale = params[0], params[1]
	default:
		p.failAt(t.Start, "DECIMAL takes a precision and a scale")
		return out
	}
	if out.Precision < 1 || out.Precision > most {
		p.failAt(places[0].Start, "the precision of a DECIMAL is from 1 to %d", most)
	} else if out.Scale < 0 || out.Scale > out.Precision {
		p.failAt(places[len(places)-1].Start, "the scale of a DECIMAL is from 0 to its precision")
	}
	return out
}

// kindOf finds a type by its name and aliases; 0 for an unknown one.
func kindOf(name string) manifest.TypeKind {
	switch name {
	case "BOOLEAN", "BOOL", "LOGICAL":
		return manifest.Boolean
	case "SMALLINT", "INT2", "SHORT":
		return manifest.SmallInt
	case "INT", "INTEGER", "INT4", "SIGNED":
		return manifest.Int
	case "BIGINT", "INT8", "LONG", "SERIAL", "BIGSERIAL", "SERIAL8":
		return manifest.BigInt
	case "FLOAT", "REAL", "FLOAT4":
		return manifest.Float
	case "DOUBLE", "FLOAT8":
		return manifest.Double
	case "DECIMAL", "NUMERIC", "DEC":
		return manifest.Decimal
	case "TEXT", "VARCHAR", "STRING", "CHAR", "CHARACTER", "BPCHAR", "NVARCHAR", "NAME", "CLOB", "UTF8":
		return manifest.Text
	case "BYTES", "BLOB", "BYTEA", "BINARY", "VARBINARY":
		return manifest.Bytes
	case "UUID":
		return manifest.UUID
	case "JSON", "JSONB":
		return manifest.JSON
	case "DATE":
		return manifest.Date
	case "TIME":
		return manifest.Time
	case "TIMESTAMP":
		return manifest.Timestamp
	case "DATETIME", "TIMESTAMPTZ":
		return manifest.DateTime
	case "EMBEDDING", "VECTOR":
		return manifest.Embedding
	case "FILE":
		return manifest.File
	case "INTERVAL":
		return manifest.Interval
	}
	return 0
}
