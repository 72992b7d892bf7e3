package expr

import (
	"math"
	"math/bits"

	"kalamflight/manifest"
)

func listLength(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[int64](f, n)
	return f.eachLong(n, sel, func(i int) error {
		_, from, to := args[0].span(i)
		out[i] = int64(to - from)
		return nil
	})
}

// items are the elements of the list of row i as Go values.
func items(v *Vector, i int) []any {
	child, from, to := v.span(i)
	out := make([]any, 0, to-from)
	for j := from; j < to; j++ {
		out = append(out, child.Value(j))
	}
	return out
}

// appendLists is || of lists, or of a list and an element.
func appendLists(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.lists(n, sel, func(i int) ([]any, error) {
		list := []any{}
		for _, a := range args {
			if a.Type.Kind == manifest.List && a.Type.Elem.Kind == f.out.Type.Elem.Kind {
				list = append(list, items(a, i)...)
			} else {
				list = append(list, a.Value(i))
			}
		}
		return list, nil
	})
}

func listLibrary() map[string]maker {
	m := map[string]maker{
		"list_value": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list := make([]any, len(args))
				for k, a := range args {
					list[k] = a.Value(i)
				}
				return list, nil
			})
		}),
		"array_length": func(b *binding) (kernel, error) {
			if len(b.types) == 1 {
				return listLength, nil
			}
			return arrayLength, nil
		},
		"list_extract":  plain(listExtract),
		"list_contains": listSearch(true), "list_position": listSearch(false),
		"list_append": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list := []any{}
				if args[0].IsValid(i) {
					list = items(args[0], i)
				}
				return append(list, args[1].Value(i)), nil
			})
		}),
		"list_slice": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			return f.lists(n, sel, func(i int) ([]any, error) {
				list, from, through := items(args[0], i), number(args, 1, i), number(args, 2, i)
				size := int64(len(list))
				if from < 0 {
					from = size + 1 + max(from, -size-1)
				}
				if through < 0 {
					through = size + 1 + max(through, -size-1)
				}
				step := int64(1)
				if len(args) > 3 {
					if step = number(args, 3, i); step < 1 {
						return nil, invalid(codeParameter, "the step of a slice is 1 or more, not %d", step)
					}
				}
				out := []any{}
				through = min(through, size)
				for k := max(from, 1); k <= through; k += step {
					out = append(out, list[k-1])
					if step > through-k {
						break
					}
				}
				return out, nil
			})
		}),
		"l2_norm": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[float64](f, n)
			return f.eachLong(n, sel, func(i int) error {
				v := args[0].floats(i)
				_, norm, _ := products(v, v)
				out[i] = math.Sqrt(norm)
				return nil
			})
		}),
		"vector_dims": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			for i := range out {
				out[i] = int64(args[0].Type.Length)
			}
			return nil
		}),
		"nullif": nullIf,
	}
	m["cosine_distance"] = distance(func(a, b []float32) float64 { return 1 - cosine(a, b) },
		func(a, b []float64) float64 { return 1 - cosine(a, b) })
	m["cosine_similarity"] = distance(cosine[float32], cosine[float64])
	m["l2_distance"] = distance(euclidean[float32], euclidean[float64])
	m["l1_distance"] = distance(manhattan[float32], manhattan[float64])
	m["inner_product"] = distance(inner[float32], inner[float64])
	m["negative_inner_product"] = distance(func(a, b []float32) float64 { return -inner(a, b) },
		func(a, b []float64) float64 { return -inner(a, b) })
	return m
}

func inner[T float32 | float64](a, b []T) float64 {
	dot, _, _ := products(a, b)
	return dot
}

func manhattan[T float32 | float64](a, b []T) float64 {
	sum := 0.0
	for k, x := range a {
		sum += math.Abs(float64(x) - float64(b[k]))
	}
	return sum
}

// listDistance is the kernel of a function of two lists of DOUBLEs; with a NULL in one it is NULL.
func listDistance(fn func(a, b []float64) float64) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[float64](f, n)
		var room [2][]float64
		return f.eachLong(n, sel, func(i int) error {
			for k := range room {
				child, from, to := args[k].span(i)
				room[k] = room[k][:0]
				for j := from; j < to; j++ {
					if !child.IsValid(j) {
						f.setNull(i)
						return nil
					}
					room[k] = append(room[k], fixedAt[float64](child, j))
				}
			}
			if len(room[0]) != len(room[1]) {
				return invalid(codeParameter, "lists of %d and %d numbers have different dimensions", len(room[0]), len(room[1]))
			}
			out[i] = fn(room[0], room[1])
			return nil
		})
	}
}

// distance is the kernel of a function of two embeddings, or with wide of two lists of numbers, of equal dimensions.
func distance(fn func(a, b []float32) float64, wide func(a, b []float64) float64) maker {
	return func(b *binding) (kernel, error) {
		if b.types[0].Kind == manifest.List {
			return listDistance(wide), nil
		}
		if b.types[0].Length != b.types[1].Length {
			return nil, invalid(codeType, "%s and %s have different dimensions", b.types[0], b.types[1])
		}
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[float64](f, n)
			return f.eachLong(n, sel, func(i int) error { out[i] = fn(args[0].floats(i), args[1].floats(i)); return nil })
		}, nil
	}
}

// products are a·b, a·a and b·b, summed in four lanes.
func products[T float32 | float64](a, b []T) (ab, aa, bb float64) {
	b = b[:len(a)]
	var s [12]float64
	k := 0
	for ; k+4 <= len(a); k += 4 {
		for lane := range 4 {
			x, y := float64(a[k+lane]), float64(b[k+lane])
			s[lane] += x * y
			s[4+lane] += x * x
			s[8+lane] += y * y
		}
	}
	for ; k < len(a); k++ {
		x, y := float64(a[k]), float64(b[k])
		s[0] += x * y
		s[4] += x * x
		s[8] += y * y
	}
	return s[0] + s[1] + s[2] + s[3], s[4] + s[5] + s[6] + s[7], s[8] + s[9] + s[10] + s[11]
}

// cosine is NaN when one side is all zeros.
func cosine[T float32 | float64](a, b []T) float64 {
	ab, aa, bb := products(a, b)
	return min(1, max(-1, ab/(math.Sqrt(aa)*math.Sqrt(bb))))
}

func euclidean[T float32 | float64](a, b []T) float64 {
	b = b[:len(a)]
	sum := 0.0
	for k, x := range a {
		d := float64(x) - float64(b[k])
		sum += d * d
	}
	return math.Sqrt(sum)
}

// arrayLength is array_length(list, dimension): only nested lists have a second one.
func arrayLength(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[int64](f, n)
	return f.eachLong(n, sel, func(i int) error {
		child, from, to := args[0].span(i)
		for d := number(args, 1, i); d != 1; d-- {
			if d < 1 || d > int64(bits.UintSize) || child.Type.Kind != manifest.List || from == to || !child.IsValid(from) {
				f.setNull(i)
				return nil
			}
			child, from, to = child.span(from)
		}
		out[i] = int64(to - from)
		return nil
	})
}

func listExtract(f *frame, n int, sel []uint16, args []*Vector) error {
	return f.gather(n, sel, f.out.Type, func(i int) (*Vector, int) {
		child, from, to := args[0].span(i)
		k := number(args, 1, i)
		if k < 0 {
			k += int64(to-from) + 1
		}
		if k < 1 || k > int64(to-from) {
			return nil, 0
		}
		return child, from + int(k) - 1
	})
}

// listSearch is list_contains, or list_position.
func listSearch(contains bool) maker {
	return func(b *binding) (kernel, error) {
		compare := orderOf(b.types[1])
		find := func(args []*Vector, i int) int {
			child, from, to := args[0].span(i)
			first := from
			if len(args) > 2 {
				first += int(min(max(number(args, 2, i), 1)-1, int64(to-from)))
			}
			for j := first; j < to; j++ {
				if !child.IsValid(j) || !args[1].IsValid(i) {
					if child.IsValid(j) == args[1].IsValid(i) {
						return j - from + 1
					}
					continue
				}
				if compare(child, j, args[1], i) == 0 {
					return j - from + 1
				}
			}
			return 0
		}
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			if contains {
				out := payload[byte](f, n)
				return f.eachLong(n, sel, func(i int) error { out[i] = byte(one(find(args, i) > 0)); return nil })
			}
			out := payload[int64](f, n)
			return f.eachLong(n, sel, func(i int) error {
				if !args[0].IsValid(i) || len(args) > 2 && !args[2].IsValid(i) {
					f.setNull(i)
					return nil
				}
				if out[i] = int64(find(args, i)); out[i] == 0 {
					f.setNull(i)
				}
				return nil
			})
		}, nil
	}
}

func nullIf(b *binding) (kernel, error) {
	compare := orderOf(b.result)
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		return f.choose(n, sel, b.result, func(i int) *Vector {
			if args[0].IsValid(i) && args[1].IsValid(i) && compare(args[0], i, args[1], i) == 0 {
				return nil
			}
			return args[0]
		})
	}, nil
}
