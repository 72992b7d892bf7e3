package functions

import "kalamflight/manifest"

// operand gives an untyped operand, or a text beside a number, the type of the other side.
func operand(a, other manifest.Type) (manifest.Type, int, bool) {
	switch {
	case a.Numeric():
		return a, 0, true
	case a.Kind == manifest.Null && other.Numeric():
		return other, 0, true
	case a.Kind == manifest.Null && other.Kind == manifest.Null:
		return typ(manifest.BigInt), 0, true
	case a.Kind == manifest.Text && other.Numeric():
		return other, 30, true
	}
	return a, 0, false
}

// arithmetic is a rule for a binary operator over numbers: integers keep the wider of their types, a FLOAT or DOUBLE
// wins, and DECIMALs follow exact.
func arithmetic(symbol string, exact func(a, b manifest.Type) (match, bool)) overload {
	return overload{
		text: "(N, N) N",
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) != 2 {
				return match{}, 0, false
			}
			a, costA, okA := operand(args[0], args[1])
			b, costB, okB := operand(args[1], args[0])
			if !okA || !okB {
				return match{}, 0, false
			}
			c := commonNumber(a, b)
			if a.Kind == b.Kind && a.Kind != manifest.Decimal {
				c = a
			}
			if c.Kind != manifest.Decimal {
				return match{[]manifest.Type{c, c}, c}, costA + costB, true
			}
			x, _ := AsDecimal(a)
			y, _ := AsDecimal(b)
			m, ok := exact(x, y)
			if !ok {
				d := typ(manifest.Double)
				m = match{[]manifest.Type{d, d}, d}
			}
			return m, costA + costB, true
		},
		examples: numberPairs(),
	}
}

func numberPairs() [][]manifest.Type {
	var out [][]manifest.Type
	kinds := []manifest.Type{typ(manifest.SmallInt), typ(manifest.Int), typ(manifest.BigInt), typ(manifest.Float),
		typ(manifest.Double),
		decimal(9, 2), decimal(18, 6), decimal(30, 4), decimal(38, 20)}
	for _, a := range kinds {
		for _, b := range kinds {
			out = append(out, []manifest.Type{a, b})
		}
	}
	return out
}

// sumOfDecimals types a + b and a - b: one digit more than the wider side, but not beyond 64 bits when the operands are
// within; then an overflow is an error at run time.
func sumOfDecimals(a, b manifest.Type) (match, bool) {
	scale := max(a.Scale, b.Scale)
	width := max(a.Precision-a.Scale, b.Precision-b.Scale) + scale
	r := decimal(width+1, scale)
	if width <= MaxNarrow {
		r.Precision = min(r.Precision, MaxNarrow)
	}
	if width > MaxPrecision {
		return match{}, false
	}
	return match{[]manifest.Type{r, r}, r}, true
}

// productOfDecimals types a * b: precisions and scales add up, with the same stop at 64 bits.
func productOfDecimals(a, b manifest.Type) (match, bool) {
	scale := a.Scale + b.Scale
	if scale > MaxPrecision {
		return match{}, false
	}
	r := decimal(a.Precision+b.Precision, scale)
	if a.Precision <= MaxNarrow && b.Precision <= MaxNarrow && scale < MaxNarrow {
		r.Precision = min(r.Precision, MaxNarrow)
	}
	return match{[]manifest.Type{a, b}, r}, true
}

// remainderOfDecimals types a % b: both as their common type.
func remainderOfDecimals(a, b manifest.Type) (match, bool) {
	c := commonNumber(a, b)
	if a.Equal(b) {
		c = a
	}
	return match{[]manifest.Type{c, c}, c}, c.Precision-c.Scale >= max(a.Precision-a.Scale, b.Precision-b.Scale)
}

// noDecimals makes an operator compute DECIMALs as DOUBLEs.
func noDecimals(_, _ manifest.Type) (match, bool) { return match{}, false }

// rounding is a rule for round, floor and their kin: integers, FLOAT and DOUBLE stay; a DECIMAL loses its scale, or
// with a number of digits given keeps its type.
func rounding() overload {
	one := func(args []manifest.Type) (match, int, bool) {
		if len(args) < 1 || len(args) > 2 {
			return match{}, 0, false
		}
		a := args[0]
		if a.Kind == manifest.Null {
			a = typ(manifest.Double)
		}
		if !a.Numeric() {
			return match{}, 0, false
		}
		m := match{[]manifest.Type{a}, a}
		if len(args) == 2 {
			if _, ok := implicitCost(args[1], typ(manifest.BigInt)); !ok {
				return match{}, 0, false
			}
			m.args = append(m.args, typ(manifest.BigInt))
		} else if a.Kind == manifest.Decimal {
			m.result.Scale = 0
		}
		return m, 1, true
	}
	o := overload{text: "(N [, BIGINT]) N", rule: one}
	for _, t := range variableSamples('N') {
		o.examples = append(o.examples, []manifest.Type{t}, []manifest.Type{t, typ(manifest.BigInt)})
	}
	return o
}

// asText is a rule for functions that take anything as text: arguments from position first on are cast, at least least
// of them.
func asText(text string, least int, result manifest.TypeKind) overload {
	return overload{
		text: text,
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) < least {
				return match{}, 0, false
			}
			m := match{result: typ(result)}
			for range args {
				m.args = append(m.args, typ(manifest.Text))
			}
			return m, 2 * len(args), true
		},
		examples: [][]manifest.Type{{typ(manifest.Text), typ(manifest.Int)},
			{typ(manifest.Text), typ(manifest.Text), typ(manifest.Date)}},
	}
}

// concatenation is the rule of || for a text beside anything that is not a list. A literal of no type yet is a text
// there too, as in 'room ' || 7.
func concatenation() overload {
	o := asText("(TEXT, any) TEXT", 2, manifest.Text)
	inner := o.rule
	o.rule = func(args []manifest.Type) (match, int, bool) {
		if len(args) != 2 || args[0].Kind == manifest.List || args[1].Kind == manifest.List {
			return match{}, 0, false
		}
		m, _, ok := inner(args)
		switch {
		case args[0].Textual() || args[1].Textual():
			return m, 50, ok
		case untyped(args[0]) && single(args[1]), single(args[0]) && untyped(args[1]):
			return m, 0, ok
		}
		return match{}, 0, false
	}
	o.examples = o.examples[:1]
	return o
}

func untyped(t manifest.Type) bool { return t.Kind == manifest.Null }

// single tells a type that || cannot lengthen by itself.
func single(t manifest.Type) bool {
	return t.Kind != manifest.Null && t.Kind != manifest.Bytes && t.Kind != manifest.Embedding
}

// vectorPair is the rule of functions of two EMBEDDINGs of equal dimensions; a text or a list takes those of the other
// side.
func vectorPair() overload {
	return overload{
		text: "(EMBEDDING, EMBEDDING) DOUBLE",
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) != 2 {
				return match{}, 0, false
			}
			t := args[0]
			if t.Kind != manifest.Embedding {
				t = args[1]
			}
			if t.Kind != manifest.Embedding {
				return match{}, 0, false
			}
			for _, a := range args {
				if _, ok := implicitCost(a, t); !ok {
					return match{}, 0, false
				}
			}
			return match{[]manifest.Type{t, t}, typ(manifest.Double)}, 0, true
		},
		examples: [][]manifest.Type{{{Kind: manifest.Embedding, Length: 3}, {Kind: manifest.Embedding, Length: 3}}},
	}
}

// numberPair is the rule of functions of two vectors for lists of numbers, which count as DOUBLEs.
func numberPair() overload {
	double := typ(manifest.Double)
	doubles := manifest.Type{Kind: manifest.List, Elem: &double}
	return overload{
		text: "(DOUBLE[], DOUBLE[]) DOUBLE",
		rule: func(args []manifest.Type) (match, int, bool) {
			for _, a := range args {
				if a.Kind != manifest.Null && (a.Kind != manifest.List || !a.Elem.Numeric() && a.Elem.Kind != manifest.Null) {
					return match{}, 0, false
				}
			}
			return match{[]manifest.Type{doubles, doubles}, double}, 10, len(args) == 2
		},
		examples: [][]manifest.Type{{doubles, doubles}},
	}
}

// listAsText is the rule of array_to_string: a list of anything, as texts.
func listAsText() overload {
	text := typ(manifest.Text)
	texts := manifest.Type{Kind: manifest.List, Elem: &text}
	number := typ(manifest.Int)
	return overload{
		text: "(T[], TEXT [, TEXT]) TEXT",
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) < 2 || len(args) > 3 || args[0].Kind != manifest.List && args[0].Kind != manifest.Null {
				return match{}, 0, false
			}
			_, ok := implicitCost(args[1], text)
			if len(args) == 2 {
				return match{[]manifest.Type{texts, text}, text}, 1, ok
			}
			_, fine := implicitCost(args[2], text)
			return match{[]manifest.Type{texts, text, text}, text}, 1, ok && fine
		},
		examples: [][]manifest.Type{{texts, text}, {texts, text, text}, {{Kind: manifest.List, Elem: &number}, text}},
	}
}

// valueAndText is the rule of histogram: a value, beside which the binder puts its text.
func valueAndText() overload {
	return overload{
		text: "(any) JSON",
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) != 2 || args[1].Kind != manifest.Text {
				return match{}, 0, false
			}
			value := args[0]
			if value.Kind == manifest.Null {
				value = typ(manifest.Text)
			}
			value.Length = lengthOf(value)
			return match{[]manifest.Type{value, typ(manifest.Text)}, typ(manifest.JSON)}, 0, true
		},
		examples: [][]manifest.Type{{typ(manifest.Int), typ(manifest.Text)}, {typ(manifest.Text), typ(manifest.Text)}},
	}
}

// decimalSum is the rule of sum over DECIMALs: as many digits as there are.
func decimalSum() overload {
	return overload{
		text: "(DECIMAL) DECIMAL",
		rule: func(args []manifest.Type) (match, int, bool) {
			if len(args) != 1 || args[0].Kind != manifest.Decimal {
				return match{}, 0, false
			}
			return match{[]manifest.Type{args[0]}, decimal(MaxPrecision, args[0].Scale)}, 0, true
		},
		examples: [][]manifest.Type{{decimal(10, 2)}},
	}
}

// pairs is the rule of json_object: names and values in turn, as they are.
func pairs() overload {
	return overload{
		text: "(any, any...) JSON",
		rule: func(args []manifest.Type) (match, int, bool) {
			m := match{result: typ(manifest.JSON)}
			for _, a := range args {
				a.Length = lengthOf(a)
				m.args = append(m.args, a)
			}
			return m, 0, len(args)%2 == 0
		},
		examples: [][]manifest.Type{{}, {typ(manifest.Text), typ(manifest.Int)},
			{typ(manifest.Int), typ(manifest.Date), typ(manifest.Text), decimal(10, 2)}},
	}
}
