package functions

// lists are the functions of lists besides those that others has.
func lists() []spec {
	const g = "list"
	f := func(names, doc string, overloads ...string) spec {
		return spec{names: names, group: g, doc: doc, overloads: overloads}
	}
	safe := func(names, doc string, overloads ...string) spec {
		s := f(names, doc, overloads...)
		s.nullSafe = true
		return s
	}
	return []spec{
		f("list_sort array_sort", "Sorted ASC or DESC, with NULLS FIRST or NULLS LAST.", "(T[]) T[]", "(T[], text) T[]",
			"(T[], text, text) T[]"),
		f("list_reverse_sort array_reverse_sort", "Sorted from the greatest down.", "(T[]) T[]"),
		f("list_reverse array_reverse", "Backwards.", "(T[]) T[]"),
		f("list_distinct array_distinct", "Each different element once, in the order they come; NULLs are left out.",
			"(T[]) T[]"),
		f("list_union array_union", "The different elements of both.", "(T[], T[]) T[]"),
		f("list_intersect array_intersect", "The different elements that both have, without NULLs.", "(T[], T[]) T[]"),
		f("list_except array_except", "The different elements that the second has not.", "(T[], T[]) T[]"),
		f("list_has_any array_has_any array_overlap", "Whether an element of the second is in the first.",
			"(T[], T[]) boolean"),
		f("list_has_all array_has_all", "Whether all elements of the second are in the first.", "(T[], T[]) boolean"),
		f("list_contained_by", "Whether all elements of the first are in the second.", "(T[], T[]) boolean"),
		safe("list_prepend array_prepend array_push_front list_push_front", "With one element more at the beginning.",
			"(T, T[]) T[]"),
		safe("list_concat array_concat array_cat list_cat", "One after the other; those that are NULL count as empty.",
			"(T[]...) T[]"),
		f("list_pop_back array_pop_back", "Without the last element.", "(T[]) T[]"),
		f("list_pop_front array_pop_front", "Without the first element.", "(T[]) T[]"),
		safe("array_remove list_remove array_remove_all list_remove_all", "Without all elements equal to the value.",
			"(T[], T) T[]"),
		safe("array_remove_n list_remove_n", "Without the first so many elements equal to the value.",
			"(T[], T, bigint) T[]"),
		safe("array_replace list_replace array_replace_all list_replace_all",
			"Each element equal to the second argument replaced by the third.", "(T[], T, T) T[]"),
		safe("array_replace_n list_replace_n", "The first so many equal elements replaced.", "(T[], T, T, bigint) T[]"),
		safe("array_repeat list_repeat", "A list of the value so many times.", "(T, bigint) T[]"),
		safe("list_resize array_resize", "Cut, or filled up with a value or NULL, to a length.", "(T[], bigint) T[]",
			"(T[], bigint, T) T[]"),
		f("flatten", "The elements of the lists of a list.", "(T[][]) T[]"),
		safe("array_positions list_positions", "The places of all equal elements, from 1.", "(T[], T) bigint[]"),
		f("list_sum array_sum", "The sum of the numbers.", "(double[]) double"),
		f("list_avg array_avg", "The mean of the numbers.", "(double[]) double"),
		f("list_product array_product", "The product of the numbers.", "(double[]) double"),
		f("list_min array_min", "The least element.", "(T[]) T"),
		f("list_max array_max", "The greatest element.", "(T[]) T"),
		f("list_any_value array_any_value", "The first element that is not NULL.", "(T[]) T"),
		f("list_empty empty array_empty", "Whether there are no elements.", "(T[]) boolean"),
		f("array_ndims list_ndims", "How deep lists are nested.", "(T[]) bigint"),
		f("list_range", "The values from 0, or a first one, to below another, by a step.", "(bigint) bigint[]",
			"(bigint, bigint) bigint[]", "(bigint, bigint, bigint) bigint[]",
			"(timestamp, timestamp, interval) timestamp[]", "(datetime, datetime, interval) datetime[]"),
		f("list_series", "The values from one to another, both included, by a step.", "(bigint, bigint) bigint[]",
			"(bigint, bigint, bigint) bigint[]", "(timestamp, timestamp, interval) timestamp[]",
			"(datetime, datetime, interval) datetime[]"),
		f("array_compact list_compact", "Without the elements that are NULL.", "(T[]) T[]"),
		f("trim_array", "Without the last so many elements.", "(T[], bigint) T[]"),
	}
}
