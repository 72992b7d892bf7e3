package functions

import "kalamflight/manifest"

const tText = manifest.Text

// instants are overloads of one shape for DATE, TIMESTAMP and DATETIME: % stands for the type.
func instants(shape string) []string {
	var out []string
	for _, t := range []string{"timestamp", "datetime", "date"} {
		out = append(out, replaceAll(shape, t))
	}
	return out
}

func replaceAll(shape, t string) string {
	var b []byte
	for i := range len(shape) {
		if shape[i] == '%' {
			b = append(b, t...)
		} else {
			b = append(b, shape[i])
		}
	}
	return string(b)
}

// times are the functions of dates, times and intervals.
func times() []spec {
	const g = "time"
	out := parts(g)
	out = append(out, clocks(g)...)
	return append(out, []spec{
		{names: "date_trunc datetrunc", group: g, doc: "Cut down to a unit: microsecond to millennium.",
			overloads: append(instants("(text, %) %"), "(text, interval) interval")},
		{names: "date_part datepart extract", group: g, doc: "A field of a date or time as a whole number.",
			overloads: append(instants("(text, %) bigint"), "(text, time) bigint", "(text, interval) bigint")},
		{names: "epoch", group: g, doc: "Seconds since 1970, or in an interval or time.",
			overloads: append(instants("(%) double"), "(time) double", "(interval) double")},
		{names: "epoch_ms", group: g, doc: "Milliseconds since 1970; of a number, the timestamp.",
			overloads: append(instants("(%) bigint"), "(bigint) timestamp")},
		{names: "epoch_us", group: g, doc: "Microseconds since 1970.", overloads: instants("(%) bigint")},
		{names: "epoch_ns", group: g, doc: "Nanoseconds since 1970.", overloads: instants("(%) bigint")},
		{names: "age", group: g, volatility: Stable, doc: "The time between, in years, months, days and the rest.",
			overloads: []string{"(timestamp, timestamp) interval", "(datetime, datetime) interval", "(timestamp) interval",
				"(datetime) interval"}},
		{names: "date_add", group: g, doc: "Later by an interval.", overloads: []string{"(timestamp, interval) timestamp",
			"(datetime, interval) datetime", "(date, interval) timestamp"}},
		{names: "date_sub datesub", group: g, doc: "Earlier by an interval; or the number of whole units between two.",
			overloads: append(instants("(text, %, %) bigint"), "(timestamp, interval) timestamp",
				"(datetime, interval) datetime",
				"(date, interval) timestamp")},
		{names: "date_diff datediff", group: g, doc: "The number of unit boundaries between two.",
			overloads: instants("(text, %, %) bigint")},
		{names: "make_date", group: g, doc: "A date of year, month and day.",
			overloads: []string{"(bigint, bigint, bigint) date"}},
		{names: "make_time", group: g, doc: "A time of hour, minute and seconds.",
			overloads: []string{"(bigint, bigint, double) time"}},
		{names: "make_timestamp", group: g,
			doc:       "A timestamp of year, month, day, hour, minute and seconds; or of microseconds since 1970.",
			overloads: []string{"(bigint, bigint, bigint, bigint, bigint, double) timestamp", "(bigint) timestamp"}},
		{names: "to_timestamp", group: g,
			doc:       "The moment of seconds since 1970, of a text, or of a text by a format such as YYYY-MM-DD.",
			overloads: []string{"(double) datetime", "(text) datetime", "(text, text) datetime"}},
		{names: "to_timestamp_seconds from_unixtime", group: g, doc: "The timestamp of seconds since 1970, or of a text.",
			overloads: []string{"(bigint) timestamp", "(text) timestamp"}},
		{names: "to_timestamp_millis", group: g, doc: "The timestamp of milliseconds since 1970, or of a text.",
			overloads: []string{"(bigint) timestamp", "(text) timestamp"}},
		{names: "to_timestamp_micros", group: g, doc: "The timestamp of microseconds since 1970, or of a text.",
			overloads: []string{"(bigint) timestamp", "(text) timestamp"}},
		{names: "to_timestamp_nanos", group: g,
			doc:       "The timestamp of nanoseconds since 1970, cut to microseconds, or of a text.",
			overloads: []string{"(bigint) timestamp", "(text) timestamp"}},
		{names: "to_unixtime", group: g, doc: "Whole seconds since 1970.", overloads: instants("(%) bigint")},
		{names: "to_time", group: g, doc: "The time of day of a text or a timestamp.",
			overloads: []string{"(text) time", "(timestamp) time", "(datetime) time"}},
		{names: "make_interval", group: g, doc: "An interval of years, months, weeks, days, hours, minutes and seconds.",
			overloads: []string{"(bigint) interval", "(bigint, bigint) interval", "(bigint, bigint, bigint) interval",
				"(bigint, bigint, bigint, bigint) interval", "(bigint, bigint, bigint, bigint, bigint) interval",
				"(bigint, bigint, bigint, bigint, bigint, bigint) interval",
				"(bigint, bigint, bigint, bigint, bigint, bigint, double) interval"}},
		{names: "justify_hours", group: g, doc: "24 hours become a day.", overloads: []string{"(interval) interval"}},
		{names: "justify_days", group: g, doc: "30 days become a month.", overloads: []string{"(interval) interval"}},
		{names: "justify_interval", group: g, doc: "24 hours become a day, 30 days a month.",
			overloads: []string{"(interval) interval"}},
		{names: "strftime", group: g, volatility: Stable, doc: "As text by a format of % letters.",
			overloads: append(instants("(%, text) text"), "(time, text) text")},
		{names: "strptime", group: g, doc: "The timestamp of a text by a format of % letters.",
			overloads: []string{"(text, text) timestamp"}},
		{names: "try_strptime", group: g, doc: "strptime, or NULL.", overloads: []string{"(text, text) timestamp"}},
		{names: "to_char", group: g, volatility: Stable, doc: "As text by a format such as YYYY-MM-DD HH24:MI:SS.",
			overloads: instants("(%, text) text")},
		{names: "to_date", group: g, doc: "The date of a text, by a format such as YYYY-MM-DD.",
			overloads: []string{"(text, text) date", "(text) date"}},
		{names: "last_day", group: g, doc: "The last day of the month.", overloads: instants("(%) date")},
		{names: "monthname", group: g, doc: "The name of the month.", overloads: instants("(%) text")},
		{names: "dayname", group: g, doc: "The name of the day of the week.", overloads: instants("(%) text")},
		{names: "time_bucket date_bin", group: g, doc: "The beginning of the bucket of a width, counted from an origin.",
			overloads: append(instants("(interval, %) %"), instants("(interval, %, %) %")...)},
		{names: "timezone", group: g, doc: "A timestamp read in a zone; or the wall time of a moment in a zone.",
			overloads: []string{"(text, timestamp) datetime", "(text, datetime) timestamp"}},
	}...)
}

// parts are the functions named after a field.
func parts(group string) []spec {
	var out []spec
	for _, p := range []struct {
		names, doc string
		time       bool
	}{
		{"year", "The year.", false}, {"quarter", "The quarter, 1 to 4.", false}, {"month", "The month, 1 to 12.", false},
		{"week weekofyear", "The ISO week of the year.", false}, {"day dayofmonth", "The day of the month.", false},
		{"dayofweek dow weekday", "The day of the week, Sunday is 0.", false},
		{"isodow", "The day of the week, Monday is 1.", false},
		{"dayofyear doy", "The day of the year.", false}, {"isoyear", "The year of the ISO week.", false},
		{"yearweek", "ISO year and week as one number.", false}, {"decade", "The year divided by 10.", false},
		{"century", "The century.", false}, {"millennium", "The millennium.", false}, {"hour", "The hour.", true},
		{"minute", "The minute.", true}, {"second", "The second.", true},
		{"millisecond", "The second in milliseconds.", true},
		{"microsecond", "The second in microseconds.", true},
	} {
		s := spec{names: p.names, group: group, doc: p.doc, overloads: append(instants("(%) bigint"), "(interval) bigint")}
		if p.time {
			s.overloads = append(s.overloads, "(time) bigint")
		}
		out = append(out, s)
	}
	for _, unit := range []string{"years", "months", "weeks", "days", "hours", "minutes", "milliseconds", "microseconds"} {
		out = append(out, spec{names: "to_" + unit, group: group, doc: "An interval of so many " + unit + ".",
			overloads: []string{"(bigint) interval"}})
	}
	return append(out, spec{names: "to_seconds", group: group, doc: "An interval of so many seconds.",
		overloads: []string{"(double) interval"}})
}

// clocks are the functions that read the statement's time, or for clock_timestamp the clock.
func clocks(group string) []spec {
	return []spec{
		{names: "now current_timestamp transaction_timestamp get_current_timestamp", group: group, volatility: Stable,
			doc: "When the statement began.", overloads: []string{"() datetime", "(bigint) datetime"}},
		{names: "localtimestamp current_localtimestamp", group: group, volatility: Stable,
			doc:       "When the statement began, in the session's zone.",
			overloads: []string{"() timestamp", "(bigint) timestamp"}},
		{names: "current_date today curdate", group: group, volatility: Stable, doc: "The date in the session's zone.",
			overloads: []string{"() date"}},
		{names: "current_time localtime curtime", group: group, volatility: Stable,
			doc:       "The time of day in the session's zone.",
			overloads: []string{"() time", "(bigint) time"}},
		{names: "clock_timestamp", group: group, volatility: Volatile, doc: "What the clock says.",
			overloads: []string{"() datetime"}},
	}
}

// aggregates are the functions of many rows.
func aggregates() []spec {
	const g = "aggregate"
	a := func(names, doc string, overloads ...string) spec {
		return spec{names: names, class: Aggregate, group: g, nullSafe: true, doc: doc, overloads: overloads}
	}
	sum := a("sum", "The sum; an overflow is an error.", "(smallint) bigint", "(int) bigint", "(bigint) bigint",
		"(float) double",
		"(double) double", "(interval) interval")
	sum.rules = []overload{decimalSum()}
	pair := []string{"(double, double) double"}
	out := []spec{sum,
		a("count", "The number of rows, or of values that are not NULL.", "() bigint", "(any) bigint"),
		a("avg mean", "The arithmetic mean.", "(smallint) double", "(int) double", "(bigint) double", "(decimal) double",
			"(float) double",
			"(double) double"),
		a("min", "The least value.", "(T) T"), a("max", "The greatest value.", "(T) T"),
		a("bool_and every logical_and", "Whether all are true.", "(boolean) boolean"),
		a("bool_or some logical_or", "Whether one is true.", "(boolean) boolean"),
		a("count_if countif", "How many are true.", "(boolean) bigint"),
		a("bit_and", "Bitwise and of all.", "(I) I"), a("bit_or", "Bitwise or of all.", "(I) I"),
		a("bit_xor", "Bitwise exclusive or of all.", "(I) I"),
		a("string_agg group_concat listagg", "The texts one after the other, with a separator (a comma).", "(text) text",
			"(text, text) text"),
		a("array_agg list", "All values as a list, NULLs too.", "(T) T[]"),
		a("json_agg json_group_array jsonb_agg", "All values as a JSON array.", "(any) json"),
		a("json_object_agg json_group_object jsonb_object_agg", "A JSON object of names and values.", "(text, any) json"),
		a("first arbitrary first_value_agg", "The value of the first row, NULL too.", "(T) T"),
		a("last", "The value of the last row, NULL too.", "(T) T"), a("any_value", "Some value that is not NULL.", "(T) T"),
		a("arg_min argmin min_by", "The first argument where the second is least.", "(T, any) T"),
		a("arg_max argmax max_by", "The first argument where the second is greatest.", "(T, any) T"),
		a("stddev_samp stddev", "Standard deviation of a sample.", "(double) double"),
		a("stddev_pop", "Standard deviation of all.", "(double) double"),
		a("var_samp variance var", "Variance of a sample.", "(double) double"),
		a("var_pop", "Variance of all.", "(double) double"),
		a("skewness", "Skewness.", "(double) double"), a("kurtosis", "Excess kurtosis.", "(double) double"),
		a("kurtosis_pop", "Excess kurtosis of all.", "(double) double"),
		a("product", "The product.", "(double) double"),
		a("geomean geometric_mean", "The geometric mean.", "(double) double"),
		a("median approx_median", "The middle value, or the mean of both.", "(double) double"),
		a("quantile_cont percentile_cont", "The value at a fraction, interpolated.", "(double, double) double"),
		a("quantile_disc percentile_disc quantile", "The value at a fraction, one of those there are.", "(T, double) T"),
		a("approx_quantile approx_percentile_cont", "About quantile_cont.", "(double, double) double"),
		{names: "histogram", class: Aggregate, group: g, nullSafe: true,
			doc: "How often each value is there, as a JSON object, the least first.", rules: []overload{valueAndText()}},
		a("mode", "The value that is there most often.", "(T) T"),
		a("approx_count_distinct approx_distinct", "About how many different values.", "(any) bigint"),
	}
	for _, f := range [][2]string{{"corr", "Correlation."}, {"covar_pop", "Covariance of all."},
		{"covar_samp", "Covariance of a sample."},
		{"regr_slope", "Slope of the regression line, y first."}, {"regr_intercept", "Its value at 0."},
		{"regr_r2", "The square of the correlation."}, {"regr_avgx", "The mean of x, the second argument."},
		{"regr_avgy", "The mean of y, the first argument."}, {"regr_sxx", "The sum of squares of x around its mean."},
		{"regr_syy", "The sum of squares of y around its mean."},
		{"regr_sxy", "The sum of products of both around their means."}} {
		out = append(out, a(f[0], f[1], pair...))
	}
	return append(out, a("regr_count", "The number of pairs.", "(double, double) bigint"))
}

// windows are the functions that exist only over a window.
func windows() []spec {
	w := func(name, doc string, overloads ...string) spec {
		return spec{names: name, class: Window, group: "window", nullSafe: true, doc: doc, overloads: overloads}
	}
	return []spec{
		w("row_number", "The place of the row in its partition, from 1.", "() bigint"),
		w("rank", "The place of the first row with an equal key.", "() bigint"),
		w("dense_rank", "The number of different keys so far.", "() bigint"),
		w("percent_rank", "(rank - 1) / (rows - 1).", "() double"),
		w("cume_dist", "The part of the rows at or before this one.", "() double"),
		w("ntile", "The number of the row's part when the partition is cut in so many.", "(bigint) bigint"),
		w("lag", "The value so many rows before (1), else the third argument.", "(T) T", "(T, bigint) T", "(T, bigint, T) T"),
		w("lead", "The value so many rows after (1), else the third argument.", "(T) T", "(T, bigint) T", "(T, bigint, T) T"),
		w("first_value", "The value of the frame's first row.", "(T) T"),
		w("last_value", "The value of the frame's last row.", "(T) T"),
		w("nth_value", "The value of the frame's row of that number, from 1.", "(T, bigint) T"),
	}
}

// tables are the functions that return rows.
func tables() []spec {
	t := func(names, doc string, overloads ...string) spec {
		return spec{names: names, class: Table, group: "table", doc: doc, overloads: overloads}
	}
	return []spec{
		t("generate_series", "The values from one to another, both included.", "(bigint, bigint) bigint",
			"(bigint, bigint, bigint) bigint",
			"(timestamp, timestamp, interval) timestamp", "(datetime, datetime, interval) datetime"),
		t("range", "The values from one to below another.", "(bigint) bigint", "(bigint, bigint) bigint",
			"(bigint, bigint, bigint) bigint",
			"(timestamp, timestamp, interval) timestamp", "(datetime, datetime, interval) datetime"),
		t("unnest", "The elements of a list as rows.", "(T[]) T"),
	}
}
