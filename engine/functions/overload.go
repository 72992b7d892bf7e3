package functions

import (
	"fmt"
	"strings"

	"kalamflight/manifest"
)

// spec is a row of the table as it is written: names separated by blanks, the canonical one first, and overloads as
// text such as "(text, bigint...) text". Types are those of SQL in lower case, and the variables
//
//	any  any type, each on its own     T  any type, all alike
//	N    a numeric type, all alike     I  an integer type, all alike
//
// T[] is a list, T[][] one of lists. "..." repeats the last parameter any number of times, also zero.
type spec struct {
	names      string
	class      Class
	group      string
	volatility Volatility
	nullSafe   bool
	doc        string
	overloads  []string
	// rules are overloads that text cannot say; they come after the others.
	rules []overload
}

func (s spec) function() Function {
	names := strings.Fields(s.names)
	f := Function{Name: names[0], Aliases: names[1:], Class: s.class, Group: s.group, Volatility: s.volatility,
		NullSafe: s.nullSafe, Doc: s.doc}
	for _, text := range s.overloads {
		f.overloads = append(f.overloads, parseOverload(text))
	}
	f.overloads = append(f.overloads, s.rules...)
	return f
}

// overload is one way to call a function: by patterns, or by a rule in Go.
type overload struct {
	text     string
	params   []pattern
	variadic bool
	result   pattern
	// rule, when not nil, decides instead of the patterns. examples are argument types it accepts.
	rule     func(args []manifest.Type) (match, int, bool)
	examples [][]manifest.Type
}

// match is the outcome for one overload.
type match struct {
	args   []manifest.Type
	result manifest.Type
}

// pattern is one parameter: a type, or a variable, or a list of either.
type pattern struct {
	variable byte // 'T', 'N', 'I', 'A' for any, or 0
	kind     manifest.TypeKind
	// lists is how many lists the type is wrapped in.
	lists int
}

func patternKinds() map[string]manifest.TypeKind {
	m := map[string]manifest.TypeKind{}
	for k := manifest.Boolean; k <= manifest.List; k++ {
		m[strings.ToLower(typ(k).String())] = k
	}
	m["decimal"], m["embedding"] = manifest.Decimal, manifest.Embedding
	return m
}

func parsePattern(s string, kinds map[string]manifest.TypeKind) pattern {
	p := pattern{}
	for strings.HasSuffix(s, "[]") {
		p.lists, s = p.lists+1, strings.TrimSuffix(s, "[]")
	}
	switch s {
	case "T", "N", "I":
		p.variable = s[0]
	case "any":
		p.variable = 'A'
	default:
		k, ok := kinds[s]
		if !ok {
			panic(fmt.Sprintf("bug: no type %q in the table of functions", s))
		}
		p.kind = k
	}
	return p
}

func parseOverload(text string) overload {
	kinds := patternKinds()
	open, shut := strings.IndexByte(text, '('), strings.IndexByte(text, ')')
	o := overload{text: text, result: parsePattern(strings.TrimSpace(text[shut+1:]), kinds)}
	params := text[open+1 : shut]
	if rest, ok := strings.CutSuffix(params, "..."); ok {
		o.variadic, params = true, rest
	}
	for _, p := range strings.Split(params, ",") {
		if p = strings.TrimSpace(p); p != "" {
			o.params = append(o.params, parsePattern(p, kinds))
		}
	}
	return o
}

// param is the pattern of argument i, false when there is none.
func (o *overload) param(i int) (pattern, bool) {
	if i < len(o.params) {
		return o.params[i], true
	}
	if o.variadic && len(o.params) > 0 {
		return o.params[len(o.params)-1], true
	}
	return pattern{}, false
}

func (o *overload) match(args []manifest.Type) (match, int, bool) {
	if o.rule != nil {
		return o.rule(args)
	}
	least := len(o.params)
	if o.variadic {
		least--
	}
	if len(args) < least || len(args) > len(o.params) && !o.variadic {
		return match{}, 0, false
	}
	variable, ok := o.unify(args)
	if !ok {
		return match{}, 0, false
	}
	m, total := match{args: make([]manifest.Type, len(args))}, 0
	for i, a := range args {
		p, _ := o.param(i)
		want := p.resolve(a, variable)
		cost, ok := implicitCost(a, want)
		if p.variable == 'T' || p.variable == 'N' || p.variable == 'I' {
			cost, ok = cost+1, true // unify has agreed; an exact overload is preferred to a variable
		}
		if !ok {
			return match{}, 0, false
		}
		m.args[i], total = want, total+cost
	}
	m.result = o.result.resolve(variable, variable)
	if o.result.kind == manifest.Decimal {
		m.result = firstDecimal(m.args)
	}
	return m, total, true
}

func firstDecimal(args []manifest.Type) manifest.Type {
	for _, a := range args {
		if a.Kind == manifest.Decimal {
			return a
		}
	}
	return decimal(MaxPrecision, 0)
}

// unify finds the type that the variable of the overload stands for: an overload has at most one of T, N and I.
func (o *overload) unify(args []manifest.Type) (manifest.Type, bool) {
	variable, letter := typ(manifest.Null), byte(0)
	for i, a := range args {
		p, _ := o.param(i)
		if p.variable == 0 || p.variable == 'A' {
			continue
		}
		letter = p.variable
		for range p.lists {
			switch a.Kind {
			case manifest.List:
				a = *a.Elem
			case manifest.Embedding:
				a = typ(manifest.Float)
			case manifest.Null:
			default:
				return variable, false
			}
		}
		a.Length = lengthOf(a)
		var ok bool
		if variable, ok = Common(variable, a); !ok {
			return variable, false
		}
	}
	switch letter {
	case 'N':
		if variable.Kind == manifest.Null {
			variable = typ(manifest.Double)
		}
		return variable, variable.Numeric()
	case 'I':
		if variable.Kind == manifest.Null {
			variable = typ(manifest.BigInt)
		}
		return variable, variable.Integer()
	case 'T':
		if variable.Kind == manifest.Null {
			variable = typ(manifest.Text)
		}
	}
	return variable, true
}

// lengthOf drops the limit of a VARCHAR(n), which a computed value has not, and keeps the dimensions of an EMBEDDING.
func lengthOf(t manifest.Type) int32 {
	if t.Kind == manifest.Embedding {
		return t.Length
	}
	return 0
}

// resolve is the type that a pattern asks of an argument of type a, or with the variable alone, the result.
func (p pattern) resolve(a, variable manifest.Type) manifest.Type {
	t := typ(p.kind)
	switch p.variable {
	case 'T', 'N', 'I':
		t = variable
	case 'A':
		t = a
		t.Length = lengthOf(a)
	default:
		switch {
		case p.kind == manifest.Decimal && a.Integer():
			t, _ = AsDecimal(a)
		case p.kind == a.Kind && p.lists == 0:
			t = a
			t.Length = lengthOf(a)
		case p.kind == manifest.Decimal:
			t = decimal(MaxNarrow, 3)
		case p.kind == manifest.Embedding && a.Kind != manifest.Embedding:
			t.Length = 0
		}
	}
	return listOf(t, p.lists)
}

// listOf wraps a type in so many lists.
func listOf(t manifest.Type, lists int) manifest.Type {
	for range lists {
		elem := t
		t = manifest.Type{Kind: manifest.List, Elem: &elem}
	}
	return t
}

// samples are argument types that reach the overload.
func (o *overload) samples() [][]manifest.Type {
	if o.rule != nil {
		return o.examples
	}
	letter := byte(0)
	for _, p := range o.params {
		if p.variable != 0 {
			letter = p.variable
		}
	}
	var out [][]manifest.Type
	for _, v := range variableSamples(letter) {
		args := make([]manifest.Type, len(o.params))
		for i, p := range o.params {
			args[i] = p.sample(v)
		}
		out = append(out, args)
		if o.variadic {
			out = append(out, append(args[:len(args):len(args)], args[len(args)-1]))
		}
	}
	return out
}

func (p pattern) sample(variable manifest.Type) manifest.Type {
	t := typ(p.kind)
	switch {
	case p.variable != 0:
		t = variable
	case p.kind == manifest.Decimal:
		t = decimal(10, 2)
	case p.kind == manifest.Embedding:
		t.Length = 3
	}
	return listOf(t, p.lists)
}

func variableSamples(letter byte) []manifest.Type {
	first, last := manifest.Boolean, manifest.File
	switch letter {
	case 0:
		return []manifest.Type{{}}
	case 'N':
		first, last = manifest.SmallInt, manifest.Decimal
	case 'I':
		first, last = manifest.SmallInt, manifest.BigInt
	}
	var out []manifest.Type
	for k := first; k <= last; k++ {
		out = append(out, pattern{kind: k}.sample(typ(k)))
	}
	if letter == 'N' || letter == 'T' || letter == 'A' {
		out = append(out, decimal(30, 4))
	}
	if letter == 'T' || letter == 'A' {
		out = append(out, typ(manifest.Interval))
	}
	return out
}
