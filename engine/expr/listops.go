package expr

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
)

// element is one element of a list where it lies.
type element struct {
	v *Vector
	i int
}

func (e element) null() bool { return !e.v.IsValid(e.i) }

// elements are those of the list of row i.
func elements(v *Vector, i int) []element {
	child, from, to := v.span(i)
	out := make([]element, 0, to-from)
	for j := from; j < to; j++ {
		out = append(out, element{child, j})
	}
	return out
}

// equality compares elements of a type; NULLs are equal.
func equality(t manifest.Type) func(a, b element) bool {
	compare := orderOf(t)
	return func(a, b element) bool {
		if a.null() || b.null() {
			return a.null() == b.null()
		}
		return compare(a.v, a.i, b.v, b.i) == 0
	}
}

// made is the kernel of a function that makes a list of elements of its arguments; equal compares them. It is called
// for rows whose first argument is not NULL. Without a list the result is NULL.
func made(fn func(args []*Vector, i int, equal func(a, b element) bool) ([]element, error)) maker {
	return func(b *binding) (kernel, error) {
		equal := equality(*b.result.Elem)
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				if !args[0].IsValid(i) {
					return nil, nil
				}
				list, err := fn(args, i, equal)
				if list == nil || err != nil {
					return nil, err
				}
				out := make([]any, len(list))
				for k, e := range list {
					out[k] = e.v.Value(e.i)
				}
				return out, nil
			})
		}, nil
	}
}

func contains(list []element, e element, equal func(a, b element) bool) bool {
	return slices.ContainsFunc(list, func(x element) bool { return equal(x, e) })
}

// maxSetWork bounds the comparisons of one call of a function of sets.
const maxSetWork = 1 << 28

func distinctOf(list []element, equal func(a, b element) bool) ([]element, error) {
	out := []element{}
	if len(list) > maxSetWork/max(1, len(list)) {
		return nil, exhausted("a list of %d elements is too long to compare all with all", len(list))
	}
	for _, e := range list {
		if !contains(out, e, equal) {
			out = append(out, e)
		}
	}
	return out, nil
}

// setOperation keeps the different elements of the first list that keep says, told whether they are NULL and whether
// the second has them; with both, of the second too.
func setOperation(both bool, keep func(null, inSecond bool) bool) maker {
	return made(func(args []*Vector, i int, equal func(a, b element) bool) ([]element, error) {
		if !args[1].IsValid(i) {
			return nil, nil
		}
		first, second := elements(args[0], i), elements(args[1], i)
		if len(first) > maxSetWork/max(1, len(second)) {
			return nil, exhausted("lists of %d and %d elements are too long to compare", len(first), len(second))
		}
		if both {
			return distinctOf(append(first, second...), equal)
		}
		kept := slices.DeleteFunc(first, func(e element) bool { return !keep(e.null(), contains(second, e, equal)) })
		return distinctOf(kept, equal)
	})
}

// overlap is the kernel of list_has_any, and with all of list_has_all: whether the first list has the second's
// elements.
func overlap(all bool) maker {
	return func(b *binding) (kernel, error) {
		equal := equality(*b.types[0].Elem)
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error {
				first, second := elements(args[0], i), elements(args[1], i)
				if len(first) > maxSetWork/max(1, len(second)) {
					return exhausted("lists of %d and %d elements are too long to compare", len(first), len(second))
				}
				in := func(e element) bool { return !e.null() && contains(first, e, equal) }
				has := slices.ContainsFunc(second, in)
				if all {
					has = !slices.ContainsFunc(second, func(e element) bool { return !in(e) })
				}
				out[i] = byte(one(has))
				return nil
			})
		}, nil
	}
}

// sorted orders a list; arguments 1 and 2 say ASC or DESC and NULLS FIRST or LAST.
func sorted(descending bool) maker {
	return func(b *binding) (kernel, error) {
		compare := orderOf(*b.result.Elem)
		return made(func(args []*Vector, i int, _ func(a, b element) bool) ([]element, error) {
			down := descending
			if len(args) > 1 {
				switch word := strings.ToUpper(args[1].str(i)); word {
				case "ASC":
					down = false
				case "DESC":
					down = true
				default:
					return nil, invalid(codeParameter, "the order of a list is ASC or DESC, not %q", word)
				}
			}
			nullsFirst := down
			if len(args) > 2 {
				switch word := strings.ToUpper(args[2].str(i)); word {
				case "NULLS FIRST", "NULLS LAST":
					nullsFirst = word == "NULLS FIRST"
				default:
					return nil, invalid(codeParameter, "NULLs come NULLS FIRST or NULLS LAST, not %q", word)
				}
			}
			list := elements(args[0], i)
			slices.SortStableFunc(list, func(x, y element) int {
				switch {
				case x.null() && y.null():
					return 0
				case x.null() || y.null():
					if x.null() == nullsFirst {
						return -1
					}
					return 1
				case down:
					return compare(y.v, y.i, x.v, x.i)
				}
				return compare(x.v, x.i, y.v, y.i)
			})
			return list, nil
		})(b)
	}
}

// removed leaves out up to most(args, i) elements equal to argument 1; replaced puts argument 2 in their place.
func removed(replace bool, most func(args []*Vector, i int) int64) maker {
	return made(func(args []*Vector, i int, equal func(a, b element) bool) ([]element, error) {
		out, left := []element{}, most(args, i)
		for _, e := range elements(args[0], i) {
			hit := left > 0 && equal(e, element{args[1], i})
			if hit {
				left--
			}
			switch {
			case !hit:
				out = append(out, e)
			case replace:
				out = append(out, element{args[2], i})
			}
		}
		return out, nil
	})
}

func every([]*Vector, int) int64 { return math.MaxInt64 }

// argument gives the number in argument k, 0 for NULL.
func argument(k int) func(args []*Vector, i int) int64 {
	return func(args []*Vector, i int) int64 {
		if !args[k].IsValid(i) {
			return 0
		}
		return number(args, k, i)
	}
}

// listNumber is the kernel of a fold of the numbers of a list; NULLs are left out, and without any it is NULL.
func listNumber(fold func(sum, x float64) float64, done func(sum, n float64) float64) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[float64](f, n)
		return f.eachLong(n, sel, func(i int) error {
			child, from, to := args[0].span(i)
			sum, count := 0.0, 0.0
			for j := from; j < to; j++ {
				switch {
				case !child.IsValid(j):
					continue
				case count == 0:
					sum = fixedAt[float64](child, j)
				default:
					sum = fold(sum, fixedAt[float64](child, j))
				}
				count++
			}
			if count == 0 {
				f.setNull(i)
				return nil
			}
			out[i] = done(sum, count)
			return nil
		})
	})
}

// listExtreme is the least (sign -1) or greatest element, NULLs left out.
func listExtreme(sign int) maker {
	return func(b *binding) (kernel, error) {
		compare := orderOf(b.result)
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.gather(n, sel, f.out.Type, func(i int) (*Vector, int) {
				child, from, to := args[0].span(i)
				best := -1
				for j := from; j < to; j++ {
					if child.IsValid(j) && (best < 0 || compare(child, j, child, best)*sign > 0) {
						best = j
					}
				}
				if best < 0 {
					return nil, 0
				}
				return child, best
			})
		}, nil
	}
}

// firstValid is the first element that is not NULL.
func firstValid(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.gather(n, sel, f.out.Type, func(i int) (*Vector, int) {
		child, from, to := args[0].span(i)
		for j := from; j < to; j++ {
			if child.IsValid(j) {
				return child, j
			}
		}
		return nil, 0
	})
}

// repeated is a list of argument 0 so many times.
func repeated(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.lists(n, sel, func(i int) ([]any, error) {
		if !args[1].IsValid(i) {
			return nil, nil
		}
		times := max(0, number(args, 1, i))
		if times > maxParts {
			return nil, exhausted("a list of %d elements is longer than %d", times, maxParts)
		}
		return slices.Repeat([]any{args[0].Value(i)}, int(times)), nil
	})
}

// resized cuts a list, or fills it up with argument 2 or NULL.
func resized(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.lists(n, sel, func(i int) ([]any, error) {
		if !args[0].IsValid(i) || !args[1].IsValid(i) {
			return nil, nil
		}
		list, size := items(args[0], i), number(args, 1, i)
		switch {
		case size < 0:
			return nil, invalid(codeParameter, "a list cannot have %d elements", size)
		case size > maxParts:
			return nil, exhausted("a list of %d elements is longer than %d", size, maxParts)
		case size <= int64(len(list)):
			return list[:size], nil
		}
		var filler any
		if len(args) > 2 {
			filler = args[2].Value(i)
		}
		return append(list, slices.Repeat([]any{filler}, int(size)-len(list))...), nil
	})
}

// flattened1 joins the lists of a list of lists; NULL lists are left out.
func flattened1(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.lists(n, sel, func(i int) ([]any, error) {
		out := []any{}
		for _, e := range elements(args[0], i) {
			if !e.null() {
				out = append(out, items(e.v, e.i)...)
			}
		}
		return out, nil
	})
}

// joined concatenates any number of lists; NULL ones are left out.
func joined(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.lists(n, sel, func(i int) ([]any, error) {
		out := []any{}
		for _, a := range args {
			if a.IsValid(i) {
				out = append(out, items(a, i)...)
			}
		}
		return out, nil
	})
}

// numberRange lists the numbers from one to another by a step, which may be negative.
func numberRange(args []*Vector, i int, inclusive bool) ([]any, error) {
	from, to, step := int64(0), number(args, 0, i), int64(1)
	if len(args) > 1 {
		from, to = to, number(args, 1, i)
	}
	if len(args) > 2 {
		step = number(args, 2, i)
	}
	if step == 0 {
		return nil, invalid(codeParameter, "the step of a range cannot be 0")
	}
	count := rangeLength(from, to, step, inclusive)
	if count > maxParts {
		return nil, exhausted("a range has more than %d elements", maxParts)
	}
	out := make([]any, count)
	for k := range out {
		out[k] = from + int64(k)*step
	}
	return out, nil
}

// rangeKernel is the kernel of list_range, and inclusive of list_series.
func rangeKernel(inclusive bool) maker {
	return func(b *binding) (kernel, error) {
		zone := b.env.zone()
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				if b.types[0].Kind == manifest.BigInt {
					return numberRange(args, i, inclusive)
				}
				return timeRange(args, i, inclusive, zone)
			})
		}, nil
	}
}

// timeRange lists the times from one to another by an interval, which may go back.
func timeRange(args []*Vector, i int, inclusive bool, zone *time.Location) ([]any, error) {
	from, to := number(args, 0, i), number(args, 1, i)
	step := wideAt[arrow.MonthDayNanoInterval](args[2], i)
	next := addInterval
	if args[0].Type.Kind == manifest.DateTime {
		next = func(at int64, v arrow.MonthDayNanoInterval) (int64, error) { return addIntervalIn(at, v, zone) }
	}
	second, err := next(from, step)
	if err != nil {
		return nil, err
	}
	if second == from {
		return nil, invalid(codeParameter, "the step of a range cannot be 0")
	}
	up := second > from
	out := []any{}
	for at := from; up && at < to || !up && at > to || inclusive && at == to; {
		if len(out) >= maxParts {
			return nil, exhausted("a range has more than %d elements", maxParts)
		}
		out = append(out, at)
		following, err := next(at, step)
		if err != nil || following > at != up {
			return out, err
		}
		at = following
	}
	return out, nil
}

// rangeLength is how many numbers there are from one to another by a step that is not 0.
func rangeLength(from, to, step int64, inclusive bool) uint64 {
	distance, stride := uint64(to)-uint64(from), uint64(step)
	if step < 0 {
		from, to = to, from
		distance, stride = -distance, -stride
	}
	switch {
	case from > to || from == to && !inclusive:
		return 0
	case inclusive:
		return min(distance/stride, math.MaxUint64-1) + 1
	}
	return (distance-1)/stride + 1
}

// positions lists the places of all equal elements, from 1.
func positions(b *binding) (kernel, error) {
	equal := equality(b.types[1])
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		return f.lists(n, sel, func(i int) ([]any, error) {
			if !args[0].IsValid(i) {
				return nil, nil
			}
			out := []any{}
			for k, e := range elements(args[0], i) {
				if equal(e, element{args[1], i}) {
					out = append(out, int64(k+1))
				}
			}
			return out, nil
		})
	}, nil
}

func listOps() map[string]maker {
	add := func(sum, x float64) float64 { return sum + x }
	total := func(sum, _ float64) float64 { return sum }
	return map[string]maker{
		"list_sort": sorted(false), "list_reverse_sort": sorted(true),
		"list_distinct": made(func(args []*Vector, i int, equal func(a, b element) bool) ([]element, error) {
			return distinctOf(slices.DeleteFunc(elements(args[0], i), element.null), equal)
		}),
		"list_reverse": made(func(args []*Vector, i int, _ func(a, b element) bool) ([]element, error) {
			list := elements(args[0], i)
			slices.Reverse(list)
			return list, nil
		}),
		"list_union":     setOperation(true, nil),
		"list_intersect": setOperation(false, func(null, in bool) bool { return in && !null }),
		"list_except":    setOperation(false, func(_, in bool) bool { return !in }),
		"list_has_any":   overlap(false), "list_has_all": overlap(true),
		"list_contained_by": func(b *binding) (kernel, error) {
			k, err := overlap(true)(&binding{name: b.name, types: []manifest.Type{b.types[1], b.types[0]}, result: b.result})
			return swapped(k), err
		},
		"list_prepend": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list := []any{args[0].Value(i)}
				if args[1].IsValid(i) {
					list = append(list, items(args[1], i)...)
				}
				return list, nil
			})
		}),
		"list_pop_back": made(func(args []*Vector, i int, _ func(a, b element) bool) ([]element, error) {
			list := elements(args[0], i)
			return list[:max(0, len(list)-1)], nil
		}),
		"list_pop_front": made(func(args []*Vector, i int, _ func(a, b element) bool) ([]element, error) {
			list := elements(args[0], i)
			return list[min(1, len(list)):], nil
		}),
		"array_remove": removed(false, every), "array_remove_n": removed(false, argument(2)),
		"array_replace": removed(true, every), "array_replace_n": removed(true, argument(3)),
		"array_repeat": plain(repeated), "list_resize": plain(resized), "flatten": plain(flattened1),
		"list_concat": plain(joined), "array_positions": positions,
		"list_sum": listNumber(add, total), "list_avg": listNumber(add, func(sum, n float64) float64 { return sum / n }),
		"list_product": listNumber(func(sum, x float64) float64 { return sum * x }, total),
		"list_min":     listExtreme(-1), "list_max": listExtreme(1), "list_any_value": plain(firstValid),
		"list_empty": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error {
				_, from, to := args[0].span(i)
				out[i] = byte(one(from == to))
				return nil
			})
		}),
		"array_compact": made(func(args []*Vector, i int, _ func(a, b element) bool) ([]element, error) {
			return slices.DeleteFunc(elements(args[0], i), element.null), nil
		}),
		"array_ndims": func(b *binding) (kernel, error) {
			depth, t := int64(0), b.types[0]
			for ; t.Kind == manifest.List; t = *t.Elem {
				depth++
			}
			return func(f *frame, n int, sel []uint16, _ []*Vector) error {
				out := payload[int64](f, n)
				return f.eachLong(n, sel, func(i int) error { out[i] = depth; return nil })
			}, nil
		},
		"list_range": rangeKernel(false), "list_series": rangeKernel(true),
		"trim_array": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list, drop := items(args[0], i), number(args, 1, i)
				if drop < 0 || drop > int64(len(list)) {
					return nil, invalid("2202E", "trim_array cannot drop %d of %d elements", drop, len(list))
				}
				return list[:int64(len(list))-drop], nil
			})
		}),
	}
}
