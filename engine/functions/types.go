package functions

import "kalamflight/manifest"

// The types that results have most often.
func typ(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }

// MaxPrecision is the largest precision of a DECIMAL; MaxNarrow is the largest that fits 64 bits.
const (
	MaxPrecision = 38
	MaxNarrow    = 18
)

func decimal(precision, scale int32) manifest.Type {
	return manifest.Type{Kind: manifest.Decimal, Precision: min(precision, MaxPrecision), Scale: scale}
}

// AsDecimal is the DECIMAL that holds every value of an integer type, or a DECIMAL itself.
func AsDecimal(t manifest.Type) (manifest.Type, bool) {
	switch t.Kind {
	case manifest.SmallInt:
		return decimal(5, 0), true
	case manifest.Int:
		return decimal(10, 0), true
	case manifest.BigInt:
		return decimal(19, 0), true
	case manifest.Decimal:
		return t, true
	}
	return t, false
}

// Common is the type to which values of a and b are cast to be compared, or to stand in one column (UNION, CASE, IN,
// COALESCE). TEXT beside another type gives way to it: 'x' = uuid compares UUIDs.
func Common(a, b manifest.Type) (manifest.Type, bool) {
	if a.Equal(b) {
		return a, true
	}
	switch {
	case a.Kind == manifest.Null:
		return b, true
	case b.Kind == manifest.Null:
		return a, true
	case a.Numeric() && b.Numeric():
		return commonNumber(a, b), true
	case a.Textual() && b.Textual():
		return typ(manifest.Text), true
	case a.Textual():
		return b, CanCast(a, b, false)
	case b.Textual():
		return a, CanCast(b, a, false)
	case instant(a) && instant(b):
		return typ(max(a.Kind, b.Kind)), true
	case a.Kind == manifest.List && b.Kind == manifest.List:
		elem, ok := Common(*a.Elem, *b.Elem)
		return manifest.Type{Kind: manifest.List, Elem: &elem}, ok
	case a.Kind == manifest.Embedding && b.Kind == manifest.List && b.Elem.Numeric():
		return a, true
	case b.Kind == manifest.Embedding && a.Kind == manifest.List && a.Elem.Numeric():
		return b, true
	}
	return manifest.Type{}, false
}

// instant tells DATE, TIMESTAMP and DATETIME, whose kinds grow in the order in which they widen.
func instant(t manifest.Type) bool {
	return t.Kind == manifest.Date || t.Kind == manifest.Timestamp || t.Kind == manifest.DateTime
}

// temporal tells the types of days, times and the spans between them.
func temporal(t manifest.Type) bool {
	return instant(t) || t.Kind == manifest.Time || t.Kind == manifest.Interval
}

func commonNumber(a, b manifest.Type) manifest.Type {
	if a.Kind > b.Kind {
		a, b = b, a
	}
	// b is the wider family now: SMALLINT < INT < BIGINT < FLOAT < DOUBLE < DECIMAL.
	switch {
	case b.Integer(), b.Kind == manifest.Double:
		return b
	case b.Kind == manifest.Float:
		if a.Kind == manifest.SmallInt {
			return b
		}
		return typ(manifest.Double)
	case a.Kind == manifest.Float || a.Kind == manifest.Double:
		return typ(manifest.Double)
	}
	x, _ := AsDecimal(a)
	y, _ := AsDecimal(b)
	scale := max(x.Scale, y.Scale)
	return decimal(max(x.Precision-x.Scale, y.Precision-y.Scale)+scale, scale)
}

// CanCast tells whether there is a conversion; implicit asks for those that happen unasked because they lose nothing
// and surprise nobody. A value of Kind Null goes anywhere.
func CanCast(from, to manifest.Type, implicit bool) bool {
	if implicit {
		_, ok := implicitCost(from, to)
		return ok
	}
	switch {
	case from.Kind == to.Kind && from.Kind == manifest.List:
		return CanCast(*from.Elem, *to.Elem, false)
	case from.Kind == to.Kind, from.Kind == manifest.Null:
		return true
	case from.Textual():
		return to.Kind != manifest.Null
	case to.Textual():
		return true
	case from.Numeric() && to.Numeric():
		return true
	case from.Kind == manifest.Boolean || to.Kind == manifest.Boolean:
		return from.Numeric() || to.Numeric()
	case instant(from) && instant(to):
		return true
	case from.Kind == manifest.Timestamp || from.Kind == manifest.DateTime:
		return to.Kind == manifest.Time
	case from.Kind == manifest.Time:
		return to.Kind == manifest.Interval
	case from.Kind == manifest.Interval:
		return to.Kind == manifest.Time
	case from.Kind == manifest.List && to.Kind == manifest.Embedding:
		return from.Elem.Numeric() || from.Elem.Kind == manifest.Null
	case from.Kind == manifest.Embedding && to.Kind == manifest.List:
		return to.Elem.Numeric()
	case from.Kind == manifest.UUID || to.Kind == manifest.UUID:
		return from.Kind == manifest.Bytes || to.Kind == manifest.Bytes
	}
	return false
}

// implicitCost orders the casts that happen unasked: 0 is none at all, and fewer is better.
func implicitCost(from, to manifest.Type) (int, bool) {
	switch {
	case from.Kind == manifest.Null:
		if to.Kind == manifest.Text {
			return 0, true
		}
		return 1, true
	case from.Kind == to.Kind:
		return sameKindCost(from, to)
	case from.Numeric() && to.Numeric():
		return numericCost(from.Kind, to.Kind)
	case from.Kind == manifest.Date && instant(to), from.Kind == manifest.Timestamp && to.Kind == manifest.DateTime:
		return 2 * int(to.Kind-from.Kind), true
	case from.Kind == manifest.DateTime && to.Kind == manifest.Timestamp:
		return 8, true
	case from.Textual() && to.Textual():
		return 1, true
	case from.Kind == manifest.Text:
		switch to.Kind {
		case manifest.JSON, manifest.UUID, manifest.Date, manifest.Time, manifest.Timestamp, manifest.DateTime,
			manifest.Interval,
			manifest.Embedding:
			return 20, true
		}
	case from.Kind == manifest.List && to.Kind == manifest.Embedding:
		return 10, from.Elem.Numeric() || from.Elem.Kind == manifest.Null
	}
	return 0, false
}

func sameKindCost(from, to manifest.Type) (int, bool) {
	switch from.Kind {
	case manifest.List:
		return implicitCost(*from.Elem, *to.Elem)
	case manifest.Embedding:
		return 0, from.Length == to.Length || to.Length == 0
	case manifest.Decimal:
		if to.Precision != 0 && (to.Scale < from.Scale || to.Precision-to.Scale < from.Precision-from.Scale) {
			return 0, false
		}
	}
	return 0, true
}

func numericCost(from, to manifest.TypeKind) (int, bool) {
	rank := func(k manifest.TypeKind) int {
		switch k {
		case manifest.Decimal:
			return 4
		case manifest.Float:
			return 5
		case manifest.Double:
			return 6
		}
		return int(k - manifest.SmallInt)
	}
	a, b := rank(from), rank(to)
	if b < a {
		return 0, false
	}
	if from != manifest.SmallInt && to == manifest.Float {
		return b - a + 2, true // loses digits: DOUBLE is nearer
	}
	return b - a, true
}
