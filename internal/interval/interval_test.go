package interval_test

import (
	"errors"
	"math"
	"testing"

	"kalamflight/internal/interval"
)

func TestParse(t *testing.T) {
	const second, hour = int64(1e9), int64(3600e9)
	for _, c := range []struct {
		text, unit string
		want       interval.Value
		err        error
	}{
		{text: "1 year 2 months -3 days 04:05:06.7", want: interval.Value{Months: 14, Days: -3,
			Nanoseconds: 4*hour + 5*60*second + 6_700_000_000}},
		{text: " 1.5 hours ", want: interval.Value{Nanoseconds: hour * 3 / 2}},
		{text: "1h30m", err: interval.ErrSyntax},
		{text: "-1.5 months", want: interval.Value{Months: -1, Days: -15}},
		{text: "-.5 days", want: interval.Value{Nanoseconds: -12 * hour}},
		{text: "1.5 weeks", want: interval.Value{Days: 10, Nanoseconds: 12 * hour}},
		{text: "@ 1 day 2 hours ago", want: interval.Value{Days: -1, Nanoseconds: -2 * hour}},
		{text: "1 12:30", want: interval.Value{Days: 1, Nanoseconds: 12*hour + 1800*second}},
		{text: "P1Y2M3DT4H5M6.5S", want: interval.Value{Months: 14, Days: 3,
			Nanoseconds: 4*hour + 5*60*second + 6_500_000_000}},
		{text: "p2w", want: interval.Value{Days: 14}},
		{text: "7", want: interval.Value{Nanoseconds: 7 * second}},
		{text: "7", unit: "day", want: interval.Value{Days: 7}},
		{text: "1 month 7", unit: "day", want: interval.Value{Months: 1, Days: 7}},
		{text: "-00:00:00.000001", want: interval.Value{Nanoseconds: -1000}},
		{text: "2 ms 3 us", want: interval.Value{Nanoseconds: 2_003_000}},
		{text: "9223372036854775808 us", err: interval.ErrRange},
		{text: "9223372036854775 us", want: interval.Value{Nanoseconds: 9223372036854775000}},
		{text: "9223372036854776 us", err: interval.ErrRange},
		{text: "2147483648 days", err: interval.ErrRange},
		{text: "-2147483648 days", want: interval.Value{Days: math.MinInt32}},
		{text: "-2147483648 days ago", err: interval.ErrRange},
		{text: "99999999999999999 millennia", err: interval.ErrRange},
		{text: "999999999:00", want: interval.Value{Nanoseconds: 0}, err: interval.ErrRange},
		{text: "", err: interval.ErrSyntax},
		{text: "@", err: interval.ErrSyntax},
		{text: "ago", err: interval.ErrSyntax},
		{text: "P", err: interval.ErrSyntax},
		{text: "PT", err: interval.ErrSyntax},
		{text: "P1", err: interval.ErrSyntax},
		{text: "P1H", err: interval.ErrSyntax},
		{text: "PT1D", err: interval.ErrSyntax},
		{text: "1 2", err: interval.ErrSyntax},
		{text: "1 fortnight", err: interval.ErrSyntax},
		{text: "--1 day", err: interval.ErrSyntax},
		{text: "1-2 days", err: interval.ErrSyntax},
		{text: "1.2.3 days", err: interval.ErrSyntax},
		{text: ". days", err: interval.ErrSyntax},
		{text: "days", err: interval.ErrSyntax},
		{text: "1:60", err: interval.ErrSyntax},
		{text: "1:00:60", err: interval.ErrSyntax},
		{text: "1:00:00:00", err: interval.ErrSyntax},
		{text: "1:00.5", err: interval.ErrSyntax},
		{text: ":", err: interval.ErrSyntax},
		{text: "-:", err: interval.ErrSyntax},
		{text: "1:00:00.e5", err: interval.ErrSyntax},
	} {
		got, err := interval.Parse(c.text, c.unit)
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("Parse(%q, %q) = %v, %v, want %v, %v", c.text, c.unit, got, err, c.want, c.err)
		}
	}
}

func TestSumNoticesOverflow(t *testing.T) {
	for name, add := range map[string]func(s *interval.Sum){
		"plus":  func(s *interval.Sum) { s.Plus(&s.Micros, math.MaxInt64); s.Plus(&s.Micros, 1) },
		"minus": func(s *interval.Sum) { s.Plus(&s.Micros, math.MinInt64); s.Plus(&s.Micros, -1) },
		"times": func(s *interval.Sum) { s.Times(math.MinInt64, interval.Unit{Days: 7}) },
	} {
		var sum interval.Sum
		add(&sum)
		if _, err := sum.Value(); !sum.Over || !errors.Is(err, interval.ErrRange) {
			t.Errorf("%s: %+v, %v, want an overflow", name, sum, err)
		}
	}
	sum := interval.Sum{Months: 1}
	sum.Plus(&sum.Months, 0)
	sum.Times(-3, interval.Unit{Months: 12})
	if v, err := sum.Value(); err != nil || v.Months != -35 {
		t.Errorf("got %v, %v, want -35 months", v, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"1 year 2 mons -3 days 04:05:06.7", "P1Y2M3DT4H5M6.5S", "@ 1.5 weeks ago", "1 12:30"} {
		f.Add(text, "day")
	}
	f.Fuzz(func(t *testing.T, text, unit string) {
		v, err := interval.Parse(text, unit)
		if err == nil && v.Nanoseconds%1000 != 0 {
			t.Errorf("Parse(%q, %q) = %v, which is finer than microseconds", text, unit, v)
		}
	})
}
