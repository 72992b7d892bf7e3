package expr

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/internal/interval"
	"kalamflight/manifest"
)

// malformed is the failure of a text that is no value of a type.
func malformed(t, s string) error {
	const most = 64
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	article := "a"
	if t != "" && strings.Contains("AEIO", t[:1]) {
		article = "an"
	}
	return invalid(codeText, "%s is not %s %s", strconv.Quote(s), article, t)
}

func trimmed(s string) string { return strings.Trim(s, " \t\n\r\f\v") }

func parseBool(s string) (byte, error) {
	t := strings.ToLower(trimmed(s))
	if t != "" {
		for _, word := range []string{"true", "yes", "on", "1", "t", "y"} {
			if t == word || len(t) > 1 && strings.HasPrefix(word, t) {
				return 1, nil
			}
		}
		for _, word := range []string{"false", "no", "off", "0", "f", "n"} {
			if t == word || len(t) > 1 && strings.HasPrefix(word, t) {
				return 0, nil
			}
		}
	}
	return 0, malformed("BOOLEAN", s)
}

// parseInt reads digits with a sign; hexadecimal, octal and binary with 0x, 0o and 0b.
func parseInt(s string, size int, t manifest.Type) (int64, error) {
	text := trimmed(s)
	base := 10
	if len(text) > 2 && text[0] == '0' && text[1] > '9' {
		base = 0
	}
	if strings.IndexByte(text, '_') >= 0 {
		return 0, malformed(t.String(), s)
	}
	n, err := strconv.ParseInt(text, base, size)
	switch {
	case err == nil:
		return n, nil
	case strings.HasSuffix(err.Error(), strconv.ErrRange.Error()):
		return 0, invalid(codeRange, "%s is out of range of %s", strconv.Quote(text), t)
	}
	return 0, malformed(t.String(), s)
}

func parseFloat(s string, size int, t manifest.Type) (float64, error) {
	text := trimmed(s)
	if strings.IndexByte(text, '_') >= 0 || strings.ContainsAny(text, "xXpP") {
		return 0, malformed(t.String(), s)
	}
	x, err := strconv.ParseFloat(text, size)
	switch {
	case err == nil:
		return x, nil
	case strings.HasSuffix(err.Error(), strconv.ErrRange.Error()):
		return 0, invalid(codeRange, "%s is out of range of %s", strconv.Quote(text), t)
	}
	return 0, malformed(t.String(), s)
}

// parseDecimal reads digits with a sign, a point and an exponent, and rounds half away from zero to the scale.
func parseDecimal(s string, t manifest.Type) (decimal128.Num, error) {
	text := trimmed(s)
	negative := false
	if text != "" && (text[0] == '-' || text[0] == '+') {
		negative, text = text[0] == '-', text[1:]
	}
	mantissa, exponent := text, 0
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		n, err := strconv.Atoi(text[e+1:])
		if err != nil || n > 1000 || n < -1000 {
			return decimal128.Num{}, malformed(t.String(), s)
		}
		mantissa, exponent = text[:e], n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole == "" && fraction == "" {
		return decimal128.Num{}, malformed(t.String(), s)
	}
	digits := whole + fraction
	keep := len(whole) + exponent + int(t.Scale) // so many digits make the unscaled number
	var n decimal128.Num
	up := false
	ten := decimal128.FromI64(10)
	for i := range max(len(digits), keep) {
		d := byte('0')
		if i < len(digits) {
			d = digits[i]
		}
		if d < '0' || d > '9' {
			return decimal128.Num{}, malformed(t.String(), s)
		}
		if i >= keep {
			up = up || i == keep && d >= '5'
			continue
		}
		var ok bool
		if n, ok = mul128(n, ten); ok {
			n, ok = add128(n, decimal128.FromI64(int64(d-'0')))
		}
		if !ok || !fits(n, t.Precision) {
			return decimal128.Num{}, outOfDecimal(s, digits, t)
		}
	}
	if up {
		n = n.Add(decimal128.FromI64(1))
	}
	if !fits(n, t.Precision) {
		return decimal128.Num{}, outOfDecimal(s, digits, t)
	}
	if negative {
		n = n.Negate()
	}
	return n, nil
}

func outOfDecimal(s, digits string, t manifest.Type) error {
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return malformed(t.String(), s)
		}
	}
	return invalid(codeRange, "%s is out of range of %s", strconv.Quote(trimmed(s)), t)
}

func parseUUID(s string) ([16]byte, error) {
	var u [16]byte
	text := trimmed(s)
	if len(text) > 2 && text[0] == '{' && text[len(text)-1] == '}' {
		text = text[1 : len(text)-1]
	}
	k := 0
	for i := 0; i < len(text); i++ {
		if text[i] == '-' && k > 0 && k%4 == 0 {
			continue
		}
		d, ok := hexDigit(text[i])
		if !ok || k == 32 {
			return u, malformed("UUID", s)
		}
		u[k/2] = u[k/2]<<4 | d
		k++
	}
	if k != 32 {
		return u, malformed("UUID", s)
	}
	return u, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// parseBytes reads \x and hexadecimal digits, or text with \\ and \ooo (octal) as escapes.
func parseBytes(dst []byte, s string) ([]byte, error) {
	if strings.HasPrefix(s, `\x`) {
		out, err := hex.AppendDecode(dst, []byte(s[2:]))
		if err != nil {
			return dst, malformed("BYTES", s)
		}
		return out, nil
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		switch {
		case i+1 < len(s) && s[i+1] == '\\':
			dst = append(dst, '\\')
			i++
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3' && octal(s[i+2]) && octal(s[i+3]):
			dst = append(dst, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
		default:
			return dst, malformed("BYTES", s)
		}
	}
	return dst, nil
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// scanner reads dates and times from the front of a text.
type scanner struct{ s string }

// digits reads least to most digits.
func (p *scanner) digits(least, most int) (int64, bool) {
	n, k := int64(0), 0
	for k < len(p.s) && k < most && p.s[k] >= '0' && p.s[k] <= '9' {
		n = n*10 + int64(p.s[k]-'0')
		k++
	}
	if k < least {
		return 0, false
	}
	p.s = p.s[k:]
	return n, true
}

func (p *scanner) skip(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

// date reads YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD.
func (p *scanner) date() (date, bool) {
	negative := p.skip('-')
	run := 0
	for run < len(p.s) && p.s[run] >= '0' && p.s[run] <= '9' {
		run++
	}
	var d date
	var m, day int64
	var ok bool
	if run == 8 && !negative {
		d.year, _ = p.digits(4, 4)
		m, _ = p.digits(2, 2)
		day, _ = p.digits(2, 2)
	} else {
		if d.year, ok = p.digits(1, 6); !ok || p.s == "" {
			return d, false
		}
		sep := p.s[0]
		if sep != '-' && sep != '/' {
			return d, false
		}
		p.s = p.s[1:]
		if m, ok = p.digits(1, 2); !ok || !p.skip(sep) {
			return d, false
		}
		if day, ok = p.digits(1, 2); !ok {
			return d, false
		}
	}
	d.month, d.day = int(m), int(day)
	if negative {
		d.year = -d.year
	}
	return d, true
}

// era reads a BC at the end.
func (p *scanner) era(d *date) {
	t := strings.TrimLeft(p.s, " ")
	for _, suffix := range []string{"(BC)", "BC", "(bc)", "bc"} {
		if rest, ok := strings.CutPrefix(t, suffix); ok && rest == "" {
			p.s, d.year = "", 1-d.year
			return
		}
	}
}

// clock reads HH:MM, HH:MM:SS or HH:MM:SS.ffffff; digits beyond microseconds are rounded.
func (p *scanner) clock() (int64, bool) {
	h, ok := p.digits(1, 2)
	if !ok || !p.skip(':') {
		return 0, false
	}
	m, ok := p.digits(2, 2)
	if !ok || h > 24 || m > 59 {
		return 0, false
	}
	micros := h*microsPerHour + m*microsPerMinute
	if p.skip(':') {
		s, ok := p.digits(2, 2)
		if !ok || s > 60 {
			return 0, false
		}
		micros += s * microsPerSecond
		if p.skip('.') {
			micros += p.fraction()
		}
	}
	return micros, micros <= microsPerDay
}

// fraction reads the digits after a point as microseconds.
func (p *scanner) fraction() int64 {
	micros, unit := int64(0), int64(100_000)
	for p.s != "" && p.s[0] >= '0' && p.s[0] <= '9' {
		d := int64(p.s[0] - '0')
		switch {
		case unit > 0:
			micros += d * unit
		case unit == 0 && d >= 5:
			micros++
		}
		if unit > 0 {
			unit /= 10
		} else {
			unit = -1
		}
		p.s = p.s[1:]
	}
	return micros
}

// zone reads nothing, Z, UTC, an offset such as +05:30, or the name of a zone. found is false when there is none.
func (p *scanner) zone() (z *time.Location, found, ok bool) {
	t := strings.TrimLeft(p.s, " ")
	if t == "" {
		return nil, false, true
	}
	switch {
	case t == "Z", t == "z", strings.EqualFold(t, "UTC"):
		p.s = ""
		return time.UTC, true, true
	case t[0] == '+' || t[0] == '-':
		q := scanner{t[1:]}
		h, ok := q.digits(1, 2)
		if !ok {
			return nil, false, false
		}
		var m, s int64
		if q.skip(':') || q.s != "" && q.s[0] >= '0' && q.s[0] <= '9' {
			if m, ok = q.digits(2, 2); !ok {
				return nil, false, false
			}
		}
		if q.skip(':') {
			if s, ok = q.digits(2, 2); !ok {
				return nil, false, false
			}
		}
		seconds := int(h*3600 + m*60 + s)
		if h > 15 || m > 59 || s > 59 {
			return nil, false, false
		}
		if t[0] == '-' {
			seconds = -seconds
		}
		p.s = q.s
		if seconds == 0 {
			return time.UTC, true, true
		}
		return time.FixedZone("", seconds), true, true
	}
	if z, err := loadZone(t); err == nil {
		p.s = ""
		return z, true, true
	}
	return nil, false, true
}

// loadZone finds a zone by name. Names that could be paths are refused before time.LoadLocation sees them.
func loadZone(name string) (*time.Location, error) {
	if name == "" || len(name) > 64 || strings.Contains(name, "..") || strings.ContainsAny(name, "\\ \x00") ||
		name[0] == '/' {
		return nil, invalid(codeParameter, "there is no time zone %s", strconv.Quote(name))
	}
	if strings.EqualFold(name, "utc") || name == "Z" {
		return time.UTC, nil
	}
	if name[0] == '+' || name[0] == '-' {
		p := scanner{name}
		if z, found, ok := p.zone(); found && ok && p.s == "" {
			return z, nil
		}
		return nil, invalid(codeParameter, "there is no time zone %s", strconv.Quote(name))
	}
	z, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, invalid(codeParameter, "there is no time zone %s", strconv.Quote(name))
	}
	return z, nil
}

func parseDate(s string) (int32, error) {
	p := scanner{trimmed(s)}
	d, ok := p.date()
	if ok && p.s != "" {
		// A time of day may follow and is left out.
		if q := (scanner{p.s}); (q.skip(' ') || q.skip('T')) && q.s != "" && q.s[0] >= '0' && q.s[0] <= '9' {
			if _, ok := q.clock(); ok {
				q.zone()
				p = q
			}
		}
		p.era(&d)
	}
	if !ok || p.s != "" {
		return 0, malformed("DATE", s)
	}
	if !d.valid() {
		return 0, invalid(codeDate, "%s is not a day of the calendar", strconv.Quote(trimmed(s)))
	}
	return checkDate(d.days())
}

func parseTime(s string) (int64, error) {
	text := trimmed(s)
	p := scanner{text}
	micros, ok := p.clock()
	if !ok || p.s != "" {
		return 0, malformed("TIME", s)
	}
	if micros == microsPerDay {
		if strings.HasPrefix(text, "24") {
			return 0, invalid(codeDate, "%s is out of range of TIME, which ends before 24:00:00", strconv.Quote(text))
		}
		micros-- // it was rounded up to the next day
	}
	return micros, nil
}

// parseTimestamp reads a date and an optional time of day. With a zone in the text the moment is taken: for a TIMESTAMP
// in UTC, unless zone is given, which is that of texts without one.
func parseTimestamp(s string, zone *time.Location, t string) (int64, error) {
	text := trimmed(s)
	if strings.EqualFold(text, "epoch") {
		return 0, nil
	}
	p := scanner{text}
	d, ok := p.date()
	if !ok {
		return 0, malformed(t, s)
	}
	micros := int64(0)
	if p.s != "" && (p.s[0] == ' ' || p.s[0] == 'T' || p.s[0] == 't') {
		q := scanner{strings.TrimLeft(p.s[1:], " ")}
		if q.s != "" && q.s[0] >= '0' && q.s[0] <= '9' {
			if micros, ok = q.clock(); !ok {
				return 0, malformed(t, s)
			}
			p = q
		}
	}
	p.era(&d)
	named, found, ok := p.zone()
	if ok {
		p.era(&d)
	}
	if !ok || p.s != "" {
		return 0, malformed(t, s)
	}
	if !d.valid() {
		return 0, invalid(codeDate, "%s is not a day of the calendar", strconv.Quote(text))
	}
	days, err := checkDate(d.days())
	if err != nil {
		return 0, err
	}
	local := int64(days)*microsPerDay + micros
	switch {
	case found:
		local = moment(local, named)
	case zone != nil:
		local = moment(local, zone)
	}
	return checkMicros(local, true)
}

// AddInterval is a time moved by the text of an INTERVAL, as a cast reads it.
func AddInterval(t time.Time, text string) (time.Time, error) {
	d, err := parseInterval(text)
	if err != nil {
		return t, err
	}
	return t.AddDate(0, int(d.Months), int(d.Days)).Add(time.Duration(d.Nanoseconds)), nil
}

// ReadTime reads the text of a DATETIME in a time zone, as a cast does.
func ReadTime(text string, zone *time.Location) (time.Time, error) {
	micros, err := parseTimestamp(text, zone, "DATETIME")
	return time.UnixMicro(micros), err
}

func parseInterval(s string) (arrow.MonthDayNanoInterval, error) {
	v, err := interval.Parse(s, "")
	switch {
	case errors.Is(err, interval.ErrRange):
		return v, invalid(codeDate, "%s is out of range of INTERVAL", strconv.Quote(s))
	case err != nil:
		return v, malformed("INTERVAL", s)
	}
	return v, nil
}

// intervalOfSum is a sum as an interval, or the failure that it is out of range.
func intervalOfSum(sum interval.Sum) (arrow.MonthDayNanoInterval, error) {
	v, err := sum.Value()
	if err != nil {
		return v, outOfRange("INTERVAL")
	}
	return v, nil
}

// parseFloats reads [1, 2.5, 3] into an EMBEDDING.
func parseFloats(dst []float32, s string, t manifest.Type) ([]float32, error) {
	text := trimmed(s)
	if len(text) < 2 || !(text[0] == '[' && text[len(text)-1] == ']' || text[0] == '{' && text[len(text)-1] == '}') {
		return dst, malformed(t.String(), s)
	}
	rest := text[1 : len(text)-1]
	for n := 0; trimmed(rest) != "" || n > 0; n++ {
		field, more, found := strings.Cut(rest, ",")
		x, err := parseFloat(field, 32, t)
		if err != nil {
			return dst, malformed(t.String(), s)
		}
		if dst = append(dst, float32(x)); len(dst) > 8192 {
			return dst, malformed(t.String(), s)
		}
		if !found {
			break
		}
		rest = more
	}
	if len(dst) != int(t.Length) {
		return dst, invalid(codeText, "%d numbers are not an %s", len(dst), t)
	}
	return dst, nil
}
