package expr

import (
	"strconv"
	"strings"
	"time"

	"kalamflight/manifest"
)

// shown is a wall time with what its texts need besides.
type shown struct {
	local  int64
	offset int64 // seconds east of UTC
	zone   string
}

func (s shown) days() int64  { return floorDiv(s.local, microsPerDay) }
func (s shown) clock() int64 { return floorMod(s.local, microsPerDay) }

func monthName(m int) string { return time.Month(m).String() }

func weekdayName(days int64) string { return time.Weekday(isoWeekday(days) % 7).String() }

// padded writes n with at least width digits.
func appendPadded(dst []byte, n int64, width int) []byte {
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	digits := strconv.FormatInt(n, 10)
	for k := len(digits); k < width; k++ {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

func hour12(h int64) int64 { return (h+11)%12 + 1 }

func meridiem(h int64) string {
	if h >= 12 {
		return "PM"
	}
	return "AM"
}

// appendStrftime writes a time by a format of % letters; %- leaves out leading zeros.
func appendStrftime(dst []byte, format string, s shown) ([]byte, error) {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			dst = append(dst, format[i])
			continue
		}
		if i++; i == len(format) {
			return dst, invalid(codeParameter, "a time format ends in %%")
		}
		pad := 2
		if format[i] == '-' && i+1 < len(format) {
			pad = 1
			i++
		}
		var ok bool
		if dst, ok = appendLetter(dst, format[i], pad, s); !ok {
			return dst, invalid(codeParameter, "a time format cannot have %%%c", format[i])
		}
	}
	return dst, nil
}

func appendLetter(dst []byte, letter byte, pad int, s shown) ([]byte, bool) {
	days, clock := s.days(), s.clock()
	d := dateOf(days)
	h := clock / microsPerHour
	switch letter {
	case 'Y':
		return appendPadded(dst, d.year, 4), true
	case 'y':
		return appendPadded(dst, floorMod(d.year, 100), pad), true
	case 'm':
		return appendPadded(dst, int64(d.month), pad), true
	case 'd':
		return appendPadded(dst, int64(d.day), pad), true
	case 'e':
		return appendPadded(dst, int64(d.day), 1), true
	case 'H':
		return appendPadded(dst, h, pad), true
	case 'I':
		return appendPadded(dst, hour12(h), pad), true
	case 'M':
		return appendPadded(dst, clock/microsPerMinute%60, pad), true
	case 'S':
		return appendPadded(dst, clock/microsPerSecond%60, pad), true
	case 'f':
		return appendPadded(dst, clock%microsPerSecond, 6), true
	case 'g':
		return appendPadded(dst, clock%microsPerSecond/1000, 3), true
	case 'n':
		return appendPadded(dst, clock%microsPerSecond*1000, 9), true
	case 'p':
		return append(dst, meridiem(h)...), true
	case 'j':
		return appendPadded(dst, days-date{d.year, 1, 1}.days()+1, 3*pad/2), true
	case 'a':
		return append(dst, weekdayName(days)[:3]...), true
	case 'A':
		return append(dst, weekdayName(days)...), true
	case 'b', 'h':
		return append(dst, monthName(d.month)[:3]...), true
	case 'B':
		return append(dst, monthName(d.month)...), true
	case 'w':
		return strconv.AppendInt(dst, isoWeekday(days)%7, 10), true
	case 'u':
		return strconv.AppendInt(dst, isoWeekday(days), 10), true
	case 'U', 'W':
		weekday := isoWeekday(days) % 7 // the number of Sundays, or Mondays, so far
		if letter == 'W' {
			weekday = isoWeekday(days) - 1
		}
		return appendPadded(dst, (days-date{d.year, 1, 1}.days()+7-weekday)/7, pad), true
	case 'V':
		_, w := isoWeek(days)
		return appendPadded(dst, w, pad), true
	case 'G':
		y, _ := isoWeek(days)
		return appendPadded(dst, y, 4), true
	case 'z':
		return appendOffset(dst, s.offset), true
	case 'Z':
		return append(dst, s.zone...), true
	case 's':
		return strconv.AppendInt(dst, floorDiv(s.local, microsPerSecond)-s.offset, 10), true
	case '%':
		return append(dst, '%'), true
	}
	for _, short := range [...]struct {
		letter byte
		format string
	}{{'F', "%Y-%m-%d"}, {'T', "%H:%M:%S"}, {'R', "%H:%M"}, {'D', "%m/%d/%y"}, {'c', "%Y-%m-%d %H:%M:%S"},
		{'x', "%Y-%m-%d"}, {'X', "%H:%M:%S"}} {
		if short.letter == letter {
			dst, _ = appendStrftime(dst, short.format, s)
			return dst, true
		}
	}
	return dst, false
}

// parsed collects what a format read.
type parsed struct {
	year                       int64
	month, day                 int64
	hour, minute, second, frac int64
	dayOfYear                  int64
	half                       int // 0 none, 1 AM, 2 PM
	offset                     *time.Location
	unix                       *int64
}

// micros is the moment, or the wall time when no zone was read.
func (p parsed) micros() (int64, bool) {
	if p.unix != nil {
		r, ok := mulOK(*p.unix, microsPerSecond)
		return r, ok
	}
	h := p.hour
	if p.half > 0 {
		if h < 1 || h > 12 {
			return 0, false
		}
		h = h%12 + int64(p.half-1)*12
	}
	d := date{year: p.year, month: int(p.month), day: int(p.day)}
	if !d.valid() || h > 23 || p.minute > 59 || p.second > 59 {
		return 0, false
	}
	days := d.days()
	if p.dayOfYear > 0 {
		days = date{p.year, 1, 1}.days() + p.dayOfYear - 1
		if dateOf(days).year != p.year {
			return 0, false
		}
	}
	if days < minDays || days > maxDays {
		return 0, false
	}
	local := days*microsPerDay + h*microsPerHour + p.minute*microsPerMinute + p.second*microsPerSecond + p.frac
	if p.offset != nil {
		local = moment(local, p.offset)
	}
	return local, true
}

// word reads one of names, whatever the case, whole or its first three letters, and says which.
func (p *scanner) word(count int, name func(int) string) (int, bool) {
	for k := range count {
		for _, n := range []string{name(k), name(k)[:3]} {
			if len(p.s) >= len(n) && strings.EqualFold(p.s[:len(n)], n) {
				p.s = p.s[len(n):]
				return k, true
			}
		}
	}
	return 0, false
}

// strptime reads a text by a format of % letters.
func strptime(text, format string) (int64, bool) {
	p, v := scanner{trimmed(text)}, parsed{year: 1900, month: 1, day: 1}
	if !readFormat(&p, &v, format) || p.s != "" {
		return 0, false
	}
	return v.micros()
}

func readFormat(p *scanner, v *parsed, format string) bool {
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c == ' ' {
			p.s = strings.TrimLeft(p.s, " \t")
			continue
		}
		if c != '%' {
			if !p.skip(c) {
				return false
			}
			continue
		}
		if i++; i < len(format) && format[i] == '-' {
			i++
		}
		if i >= len(format) || !readLetter(p, v, format[i]) {
			return false
		}
	}
	return true
}

func readLetter(p *scanner, v *parsed, letter byte) (ok bool) {
	switch letter {
	case 'Y':
		negative := p.skip('-')
		v.year, ok = p.digits(1, 6)
		if len(p.s) == 0 || p.s[0] != '-' && p.s[0] != '/' {
			ok = ok && v.year <= 999999
		}
		if negative {
			v.year = -v.year
		}
	case 'y':
		v.year, ok = p.digits(1, 2)
		if v.year += 1900; v.year < 1969 {
			v.year += 100
		}
	case 'm':
		v.month, ok = p.digits(1, 2)
	case 'd', 'e':
		v.day, ok = p.digits(1, 2)
	case 'H', 'I':
		v.hour, ok = p.digits(1, 2)
	case 'M':
		v.minute, ok = p.digits(1, 2)
	case 'S':
		v.second, ok = p.digits(1, 2)
	case 'f', 'g', 'n':
		ok = p.s != "" && p.s[0] >= '0' && p.s[0] <= '9'
		v.frac = p.fraction()
	case 'j':
		v.dayOfYear, ok = p.digits(1, 3)
		ok = ok && v.dayOfYear > 0
	case 'p':
		if len(p.s) >= 2 && strings.IndexByte("aApP", p.s[0]) >= 0 && p.s[1]&^0x20 == 'M' {
			v.half, ok = 1+one(p.s[0]&^0x20 == 'P'), true
			p.s = p.s[2:]
		}
	case 'b', 'B', 'h':
		var k int
		k, ok = p.word(12, func(k int) string { return monthName(k + 1) })
		v.month = int64(k + 1)
	case 'a', 'A':
		_, ok = p.word(7, func(k int) string { return time.Weekday(k).String() })
	case 'z', 'Z':
		var found bool
		v.offset, found, ok = p.zone()
		ok = ok && found
	case 's':
		negative := p.skip('-')
		var n int64
		if n, ok = p.digits(1, 15); negative {
			n = -n
		}
		v.unix = &n
	case '%':
		ok = p.skip('%')
	case 'F', 'x':
		return readFormat(p, v, "%Y-%m-%d")
	case 'T', 'X':
		return readFormat(p, v, "%H:%M:%S")
	case 'R':
		return readFormat(p, v, "%H:%M")
	case 'D':
		return readFormat(p, v, "%m/%d/%y")
	case 'c':
		return readFormat(p, v, "%Y-%m-%d %H:%M:%S")
	}
	return ok
}

// charTokens are the patterns of to_char and to_date, longer ones first, as the % letter that means the same.
func charTokens() []struct{ token, letter string } {
	return []struct{ token, letter string }{{"HH24", "%H"}, {"HH12", "%I"}, {"IYYY", "%G"}, {"YYYY", "%Y"},
		{"MONTH", "%B"}, {"DDD", "%j"},
		{"DAY", "%A"}, {"MON", "%b"}, {"YY", "%y"}, {"MM", "%m"}, {"DD", "%d"}, {"DY", "%a"}, {"HH", "%I"}, {"MI", "%M"},
		{"SS", "%S"},
		{"MS", "%g"}, {"US", "%f"}, {"AM", "%p"}, {"PM", "%p"}, {"IW", "%V"}, {"TZ", "%Z"}, {"OF", "%z"}, {"ID", "%u"},
		{"Q", "Q"}, {"D", "D"}}
}

// nextToken takes a pattern, a quoted text or one character off the front.
func nextToken(format string) (token, letter, rest string) {
	if format[0] == '"' {
		if end := strings.IndexByte(format[1:], '"'); end >= 0 {
			return format[1 : 1+end], "", format[end+2:]
		}
	}
	if len(format) > 2 && (format[:2] == "FM" || format[:2] == "fm") {
		format = format[2:]
	}
	for _, t := range charTokens() {
		if len(format) >= len(t.token) && strings.EqualFold(format[:len(t.token)], t.token) {
			return format[:len(t.token)], t.letter, format[len(t.token):]
		}
	}
	return format[:1], "", format[1:]
}

// appendChar is to_char. Names follow the case of their pattern: MON, Mon or mon.
func appendChar(dst []byte, format string, s shown) []byte {
	for format != "" {
		token, letter, rest := nextToken(format)
		format = rest
		begin := len(dst)
		switch letter {
		case "":
			dst = append(dst, token...)
			continue
		case "Q":
			dst = strconv.AppendInt(dst, int64(dateOf(s.days()).month-1)/3+1, 10)
		case "D":
			dst = strconv.AppendInt(dst, isoWeekday(s.days())%7+1, 10)
		default:
			dst, _ = appendStrftime(dst, letter, s)
		}
		switch text := string(dst[begin:]); {
		case token == strings.ToUpper(token):
			dst = append(dst[:begin], strings.ToUpper(text)...)
		case token == strings.ToLower(token):
			dst = append(dst[:begin], strings.ToLower(text)...)
		}
	}
	return dst
}

// readChar is to_date: it reads by the patterns of to_char.
func readChar(text, format string) (int64, bool) {
	p, v := scanner{trimmed(text)}, parsed{year: 1, month: 1, day: 1}
	for format != "" {
		token, letter, rest := nextToken(format)
		format = rest
		if letter == "" {
			if p.s != "" && (p.s[0] == token[0] || strings.IndexByte("-/., :", p.s[0]) >= 0) {
				p.s = p.s[1:]
			}
			continue
		}
		fixed := map[string]int{"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}[letter]
		if fixed > 0 && rest != "" && len(p.s) > fixed { // no separator follows: YYYYMMDD
			if _, next, _ := nextToken(rest); next != "" {
				q := scanner{p.s[:fixed]}
				if !readLetter(&q, &v, letter[1]) || q.s != "" {
					return 0, false
				}
				p.s = p.s[fixed:]
				continue
			}
		}
		if len(letter) != 2 || !readLetter(&p, &v, letter[1]) {
			return 0, false
		}
	}
	if p.s != "" {
		return 0, false
	}
	return v.micros()
}

// textTimeLibrary has the functions between times and texts.
func textTimeLibrary() map[string]maker {
	show := func(write func(dst []byte, s shown, args []*Vector, i int) ([]byte, error)) maker {
		return func(b *binding) (kernel, error) {
			zone := b.env.zone()
			return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
				s := shown{local: localAt(args[0], i, zone), zone: "UTC"}
				if args[0].Type.Kind == manifest.DateTime {
					s.offset = (s.local - fixedAt[int64](args[0], i)) / microsPerSecond
					s.zone, _ = time.UnixMicro(fixedAt[int64](args[0], i)).In(zone).Zone()
				}
				return write(dst, s, args, i)
			}), nil
		}
	}
	read := func(try bool) maker {
		return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return f.each(n, sel, func(i int) error {
				t, ok := strptime(args[0].str(i), args[1].str(i))
				if out[i] = t; ok {
					return nil
				}
				if try {
					f.setNull(i)
					return nil
				}
				return invalid(codeText, "%s does not have the form %s", strconv.Quote(args[0].str(i)),
					strconv.Quote(args[1].str(i)))
			})
		})
	}
	return map[string]maker{
		"strftime": show(func(dst []byte, s shown, args []*Vector, i int) ([]byte, error) {
			return appendStrftime(dst, args[1].str(i), s)
		}),
		"to_char": show(func(dst []byte, s shown, args []*Vector, i int) ([]byte, error) {
			return appendChar(dst, args[1].str(i), s), nil
		}),
		"monthname": show(func(dst []byte, s shown, _ []*Vector, _ int) ([]byte, error) {
			return append(dst, monthName(dateOf(s.days()).month)...), nil
		}),
		"dayname": show(func(dst []byte, s shown, _ []*Vector, _ int) ([]byte, error) {
			return append(dst, weekdayName(s.days())...), nil
		}),
		"strptime": read(false), "try_strptime": read(true),
		"to_date": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int32](f, n)
			return f.each(n, sel, func(i int) (err error) {
				if len(args) == 1 {
					out[i], err = parseDate(args[0].str(i))
					return err
				}
				t, ok := readChar(args[0].str(i), args[1].str(i))
				if out[i] = int32(floorDiv(t, microsPerDay)); !ok {
					return invalid(codeText, "%s does not have the form %s", strconv.Quote(args[0].str(i)),
						strconv.Quote(args[1].str(i)))
				}
				return nil
			})
		}),
	}
}
