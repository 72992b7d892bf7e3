package flightsrv

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/manifest"
)

// boundList is a list that a client bound: its elements, nil for NULL, and the type of each.
type boundList struct {
	values []any
	types  []manifest.Type
}

// listAt is a list of scalars, and its type as far as its elements tell.
func listAt(a array.ListLike, i int) (any, manifest.Type, error) {
	from, end := a.ValueOffsets(i)
	list := boundList{values: make([]any, end-from), types: make([]manifest.Type, end-from)}
	elem := kind(manifest.Null)
	values := a.ListValues()
	for k := range list.values {
		j := int(from) + k
		list.types[k] = kind(manifest.Null)
		if values.IsNull(j) {
			continue
		}
		v, t, err := valueAt(values, j)
		if err != nil {
			return nil, t, err
		}
		if _, nested := v.(boundList); nested {
			return nil, t, fmt.Errorf("a list of lists cannot be bound")
		}
		list.values[k], list.types[k] = v, t
		if elem.Kind == manifest.Null {
			elem = t
		}
	}
	return list, manifest.Type{Kind: manifest.List, Elem: &elem}, nil
}

// plain is the list as a value of its own type.
func (l boundList) plain(t manifest.Type) (any, manifest.Type, error) {
	return l.as(t)
}

// as is the list with its elements as a list type has them.
func (l boundList) as(want manifest.Type) (any, manifest.Type, error) {
	out := make([]any, len(l.values))
	for i, v := range l.values {
		var err error
		if out[i], _, err = coerce(v, l.types[i], *want.Elem); err != nil {
			return nil, want, fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return out, want, nil
}

// embedding is the list as an EMBEDDING.
func (l boundList) embedding(want manifest.Type) (any, error) {
	list := make([]float32, len(l.values))
	for i, v := range l.values {
		if v == nil {
			return nil, fmt.Errorf("an EMBEDDING has no NULLs")
		}
		x, _, err := coerce(v, l.types[i], kind(manifest.Double))
		if err != nil {
			return nil, err
		}
		list[i] = float32(x.(float64))
	}
	return toEmbedding(list, want)
}

// toList takes a list, or the text of a JSON array.
func toList(v any, want manifest.Type) (any, error) {
	switch v := v.(type) {
	case boundList:
		out, _, err := v.as(want)
		return out, err
	case []float32:
		list := boundList{}
		for _, x := range v {
			list.values, list.types = append(list.values, float64(x)), append(list.types, kind(manifest.Float))
		}
		out, _, err := list.as(want)
		return out, err
	case string:
		list, err := parseBoundList(v)
		if err != nil {
			return nil, err
		}
		out, _, err := list.as(want)
		return out, err
	}
	return nil, nil
}

// parseBoundList reads a JSON array of scalars; numbers stay texts, so that none of their digits is lost.
func parseBoundList(text string) (boundList, error) {
	var l boundList
	bad := fmt.Errorf("%q is not a JSON array of scalars", clip(text))
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var values []any
	if err := d.Decode(&values); err != nil || d.More() {
		return l, bad
	}
	for _, v := range values {
		t := kind(manifest.Text)
		switch x := v.(type) {
		case nil:
			t = kind(manifest.Null)
		case bool:
			t = kind(manifest.Boolean)
		case json.Number:
			v = x.String()
		case string:
		default:
			return l, bad
		}
		l.values, l.types = append(l.values, v), append(l.types, t)
	}
	return l, nil
}
