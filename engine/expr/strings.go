package expr

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"kalamflight/manifest"
)

// maxTextBytes bounds one text that a function makes.
const maxTextBytes = 64 << 20

// texts is the kernel of a function that turns the text of its first argument into another that is appended.
func texts(fn func(dst, s []byte) []byte) maker {
	return plain(writeText(false, func(dst []byte, args []*Vector, i int) ([]byte,
		error) {
		return fn(dst, args[0].Slice(i)), nil
	}))
}

// written is the kernel of a function that appends a text for each row and may fail.
func written(fn func(dst []byte, args []*Vector, i int) ([]byte, error)) maker {
	return plain(writeText(false, fn))
}

// counted is the kernel of a function from a text to a BIGINT.
func counted(fn func(s []byte) int) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[int64](f, n)
		return f.each(n, sel, func(i int) error { out[i] = int64(fn(args[0].Slice(i))); return nil })
	})
}

// textLength counts the characters of texts. Where a batch has none but ASCII, which is looked at eight bytes at a
// time, they are as many as the bytes, and the offsets tell.
func textLength(f *frame, n int, sel []uint16, args []*Vector) error {
	a, out := args[0], payload[int64](f, n)
	if !a.Const && rowsOf(n, sel) > 0 {
		first, last := 0, n-1
		if sel != nil {
			first, last = int(sel[0]), int(sel[len(sel)-1])
		}
		// Few rows of many are looked at one by one: the bytes between them are nobody's.
		if dense := rowsOf(n, sel) >= (last-first+1)/4; dense && ascii(a.Bytes[a.Offsets[first]:a.Offsets[last+1]]) {
			return each(n, sel, func(i int) error { out[i] = int64(a.Offsets[i+1] - a.Offsets[i]); return nil })
		}
	}
	return f.each(n, sel, func(i int) error { out[i] = int64(utf8.RuneCount(a.Slice(i))); return nil })
}

// counted2 is the kernel of a function from two texts to a BIGINT.
func counted2(fn func(a, b []byte) (int, error)) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[int64](f, n)
		return f.each(n, sel, func(i int) error {
			r, err := fn(args[0].Slice(i), args[1].Slice(i))
			out[i] = int64(r)
			return err
		})
	})
}

// tested2 is the kernel of a test of two texts.
func tested2(fn func(a, b []byte) bool) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[byte](f, n)
		return f.each(n, sel, func(i int) error { out[i] = byte(one(fn(args[0].Slice(i), args[1].Slice(i)))); return nil })
	})
}

// number is argument k of row i as a BIGINT.
func number(args []*Vector, k, i int) int64 { return fixedAt[int64](args[k], i) }

func stringLibrary() map[string]maker {
	return map[string]maker{
		"length": func(b *binding) (kernel, error) {
			switch b.types[0].Kind {
			case manifest.Bytes:
				return counted(func(s []byte) int { return len(s) })(b)
			case manifest.List:
				return listLength, nil
			}
			return textLength, nil
		},
		"octet_length": counted(func(s []byte) int { return len(s) }),
		"bit_length":   counted(func(s []byte) int { return len(s) * 8 }),
		"upper":        texts(appendUpper), "lower": texts(appendLower), "initcap": texts(appendInitcap),
		"reverse": texts(appendReverse),
		"substr":  substr,
		"left": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			s, n := args[0].Slice(i), number(args, 1, i)
			if n < 0 {
				n = max(0, int64(utf8.RuneCount(s))+n)
			}
			return append(dst, s[:runeOffset(s, n)]...), nil
		}),
		"right": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			s, n := args[0].Slice(i), number(args, 1, i)
			skip := max(0, int64(utf8.RuneCount(s))-n)
			if n < 0 {
				skip = -max(n, -int64(len(s)))
			}
			return append(dst, s[runeOffset(s, skip):]...), nil
		}),
		"trim": trim(true, true), "ltrim": trim(true, false), "rtrim": trim(false, true),
		"lpad": padded(true), "rpad": padded(false),
		"replace":   written(replaced),
		"translate": written(translated),
		"overlay":   written(overlaid),
		"repeat": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			s, n := args[0].Slice(i), number(args, 1, i)
			if n <= 0 || len(s) == 0 {
				return dst, nil
			}
			if n > maxTextBytes/int64(len(s)) {
				return dst, exhausted("repeat would make more than %d bytes", maxTextBytes)
			}
			for range n {
				dst = append(dst, s...)
			}
			return dst, nil
		}),
		"concat": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			for _, a := range args {
				if a.IsValid(i) {
					dst = append(dst, a.Slice(i)...)
				}
			}
			return dst, nil
		}),
		"concat_ws": plain(concatWithSeparator),
		"format":    plain(formatted),
		"strpos": counted2(func(s, sub []byte) (int, error) {
			at := bytes.Index(s, sub)
			if at < 0 {
				return 0, nil
			}
			return utf8.RuneCount(s[:at]) + 1, nil
		}),
		"split_part":      written(splitPart),
		"string_split":    splitText(false),
		"string_to_array": splitText(true),
		"array_to_string": written(joinList),
		"starts_with":     tested2(bytes.HasPrefix), "ends_with": tested2(bytes.HasSuffix),
		"contains": tested2(bytes.Contains),
		"ascii": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int32](f, n)
			return f.each(n, sel, func(i int) error {
				out[i] = 0
				if s := args[0].Slice(i); len(s) > 0 {
					out[i], _ = utf8.DecodeRune(s)
				}
				return nil
			})
		}),
		"chr": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			c := number(args, 0, i)
			if c <= 0 || c > unicode.MaxRune || !utf8.ValidRune(rune(c)) {
				return dst, invalid("54000", "%d is not the code of a character", c)
			}
			return utf8.AppendRune(dst, rune(c)), nil
		}),
		"md5":    texts(func(dst, s []byte) []byte { h := md5.Sum(s); return hex.AppendEncode(dst, h[:]) }),
		"sha1":   texts(func(dst, s []byte) []byte { h := sha1.Sum(s); return hex.AppendEncode(dst, h[:]) }),
		"sha256": texts(func(dst, s []byte) []byte { h := sha256.Sum256(s); return hex.AppendEncode(dst, h[:]) }),
		"encode": written(encoded), "decode": written(decoded),
		"to_base64": texts(base64.StdEncoding.AppendEncode),
		"from_base64": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			return appendBase64(dst, args[0].Slice(i))
		}),
		"to_hex": hexadecimal("%x"), "hex": hexadecimal("%X"),
		"unhex": written(func(dst []byte, args []*Vector, i int) ([]byte,
			error) {
			return appendUnhex(dst, args[0].Slice(i))
		}),
		"levenshtein": counted2(func(a, b []byte) (int, error) {
			x, y := []rune(string(a)), []rune(string(b))
			if len(x)*len(y) > 1<<24 {
				return 0, exhausted("levenshtein of texts of %d and %d characters", len(x), len(y))
			}
			return editDistance(x, y), nil
		}),
	}
}

// hexadecimal writes numbers and bytes by a verb of fmt, %x or %X.
func hexadecimal(verb string) maker {
	return func(b *binding) (kernel, error) {
		if b.types[0].Kind == manifest.BigInt {
			return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
				return fmt.Appendf(dst, verb, uint64(number(args, 0, i))), nil
			}), nil
		}
		return texts(func(dst, s []byte) []byte { return fmt.Appendf(dst, verb, s) })(b)
	}
}

// concatenation is the kernel of ||.
func concatenation(b *binding) (kernel, error) {
	if b.result.Kind == manifest.List {
		return appendLists, nil
	}
	return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		return append(append(dst, args[0].Slice(i)...), args[1].Slice(i)...), nil
	}), nil
}

// ascii tells whether every byte is below 0x80.
func ascii(s []byte) bool {
	const high = 0x8080808080808080
	for len(s) >= 32 {
		if (binary.LittleEndian.Uint64(s)|binary.LittleEndian.Uint64(s[8:])|binary.LittleEndian.Uint64(s[16:])|
			binary.LittleEndian.Uint64(s[24:]))&high != 0 {
			return false
		}
		s = s[32:]
	}
	for _, c := range s {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendUpper(dst, s []byte) []byte {
	if !ascii(s) {
		return append(dst, bytes.ToUpper(s)...)
	}
	begin := len(dst)
	dst = append(dst, s...)
	for i, c := range dst[begin:] {
		if c >= 'a' && c <= 'z' {
			dst[begin+i] = c - ('a' - 'A')
		}
	}
	return dst
}

func appendLower(dst, s []byte) []byte {
	if !ascii(s) {
		return append(dst, bytes.ToLower(s)...)
	}
	begin := len(dst)
	dst = append(dst, s...)
	for i, c := range dst[begin:] {
		if c >= 'A' && c <= 'Z' {
			dst[begin+i] = c + ('a' - 'A')
		}
	}
	return dst
}

func appendInitcap(dst, s []byte) []byte {
	inside := false
	for _, r := range string(s) {
		if word := unicode.IsLetter(r) || unicode.IsDigit(r); !word {
			inside = false
		} else if inside {
			r = unicode.ToLower(r)
		} else {
			inside, r = true, unicode.ToTitle(r)
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

func appendReverse(dst, s []byte) []byte {
	for len(s) > 0 {
		_, size := utf8.DecodeLastRune(s)
		dst = append(dst, s[len(s)-size:]...)
		s = s[:len(s)-size]
	}
	return dst
}

// runeOffset is where character n (from 0) begins, or the end.
func runeOffset(s []byte, n int64) int {
	if n <= 0 {
		return 0
	}
	at := 0
	for ; n > 0 && at < len(s); n-- {
		if s[at] < utf8.RuneSelf {
			at++
			continue
		}
		_, size := utf8.DecodeRune(s[at:])
		at += size
	}
	return at
}

// substr counts characters, of BYTES bytes. A place before the first uses up length, as SQL says.
func substr(b *binding) (kernel, error) {
	offset := runeOffset
	if b.types[0].Kind == manifest.Bytes {
		offset = func(s []byte, n int64) int { return int(min(max(n, 0), int64(len(s)))) }
	}
	return writeText(false, func(dst []byte, args []*Vector, i int) ([]byte, error) {
		s, from := args[0].Slice(i), number(args, 1, i)
		if len(args) == 2 {
			return append(dst, s[offset(s, from-1):]...), nil
		}
		length := number(args, 2, i)
		if length < 0 {
			return dst, invalid("22011", "a length of %d is negative", length)
		}
		end, ok := addOK(from, length)
		if !ok {
			end = 1<<63 - 1
		}
		begin := max(from, 1)
		if end <= begin {
			return dst, nil
		}
		s = s[offset(s, begin-1):]
		return append(dst, s[:offset(s, end-begin)]...), nil
	}), nil
}

func trim(left, right bool) maker {
	return written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
		s, set := args[0].Slice(i), " "
		if len(args) == 2 {
			set = args[1].str(i)
		}
		if left {
			s = bytes.TrimLeft(s, set)
		}
		if right {
			s = bytes.TrimRight(s, set)
		}
		return append(dst, s...), nil
	})
}

func padded(left bool) maker {
	return written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
		s, n, fill := args[0].Slice(i), number(args, 1, i), []byte(" ")
		if len(args) == 3 {
			fill = args[2].Slice(i)
		}
		have := int64(utf8.RuneCount(s))
		if n <= have {
			return append(dst, s[:runeOffset(s, n)]...), nil
		}
		if n > maxTextBytes/utf8.UTFMax {
			return dst, exhausted("a text of %d characters is too long", n)
		}
		if !left {
			dst = append(dst, s...)
		}
		if len(fill) > 0 {
			runes := int64(utf8.RuneCount(fill))
			for missing := n - have; missing > 0; missing -= runes {
				dst = append(dst, fill[:runeOffset(fill, missing)]...)
			}
		}
		if left {
			dst = append(dst, s...)
		}
		return dst, nil
	})
}

func replaced(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, from, to := args[0].Slice(i), args[1].Slice(i), args[2].Slice(i)
	if len(from) == 0 {
		return append(dst, s...), nil
	}
	begin := len(dst)
	for {
		at := bytes.Index(s, from)
		if at < 0 {
			return append(dst, s...), nil
		}
		dst = append(append(dst, s[:at]...), to...)
		s = s[at+len(from):]
		if len(dst)-begin > maxTextBytes {
			return dst, exhausted("replace would make more than %d bytes", maxTextBytes)
		}
	}
}

func translated(dst []byte, args []*Vector, i int) ([]byte, error) {
	from, to := []rune(args[1].str(i)), []rune(args[2].str(i))
	for _, r := range args[0].str(i) {
		k := -1
		for j, c := range from {
			if c == r {
				k = j
				break
			}
		}
		switch {
		case k < 0:
			dst = utf8.AppendRune(dst, r)
		case k < len(to):
			dst = utf8.AppendRune(dst, to[k])
		}
	}
	return dst, nil
}

func overlaid(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, with, from := args[0].Slice(i), args[1].Slice(i), number(args, 2, i)
	length := int64(utf8.RuneCount(with))
	if len(args) == 4 {
		length = number(args, 3, i)
	}
	if from <= 0 {
		return dst, invalid("22011", "a place of %d is before the text", from)
	}
	dst = append(append(dst, s[:runeOffset(s, from-1)]...), with...)
	end, ok := addOK(from-1, length)
	if !ok {
		return dst, nil
	}
	return append(dst, s[runeOffset(s, end):]...), nil
}

// concatWithSeparator is NULL only when its separator is.
func concatWithSeparator(f *frame, n int, sel []uint16, args []*Vector) error {
	out := f.strings(n)
	err := f.each(n, sel, func(i int) error {
		if !args[0].IsValid(i) {
			f.setNull(i)
			return nil
		}
		if err := out.begin(i); err != nil {
			return err
		}
		first := true
		for _, a := range args[1:] {
			if !a.IsValid(i) {
				continue
			}
			if !first {
				f.bytes = append(f.bytes, args[0].Slice(i)...)
			}
			first = false
			f.bytes = append(f.bytes, a.Slice(i)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.end()
}

// formatted is PostgreSQL's format: %s, %I, %L and %%, with %2$s naming an argument.
func formatted(f *frame, n int, sel []uint16, args []*Vector) error {
	out := f.strings(n)
	err := f.each(n, sel, func(i int) error {
		if !args[0].IsValid(i) {
			f.setNull(i)
			return nil
		}
		if err := out.begin(i); err != nil {
			return err
		}
		b, err := appendFormat(f.bytes, args, i)
		f.bytes = b
		return err
	})
	if err != nil {
		return err
	}
	return out.end()
}

func appendFormat(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, next := args[0].str(i), 1
	for {
		at := strings.IndexByte(s, '%')
		if at < 0 {
			return append(dst, s...), nil
		}
		dst, s = append(dst, s[:at]...), s[at+1:]
		k := next
		if dollar := strings.IndexByte(s, '$'); dollar > 0 && strings.Trim(s[:dollar], "0123456789") == "" {
			k, _ = strconv.Atoi(s[:dollar])
			s = s[dollar+1:]
		}
		if s == "" {
			return dst, invalid(codeParameter, "a format ends in %%")
		}
		verb := s[0]
		s = s[1:]
		if verb == '%' {
			dst = append(dst, '%')
			continue
		}
		if strings.IndexByte("sIL", verb) < 0 {
			return dst, invalid(codeParameter, "a format cannot have %%%c", verb)
		}
		if k < 1 || k >= len(args) {
			return dst, invalid(codeParameter, "a format has too few arguments")
		}
		next = k + 1
		a := args[k]
		switch {
		case !a.IsValid(i) && verb == 'L':
			dst = append(dst, "NULL"...)
		case !a.IsValid(i) && verb == 'I':
			return dst, invalid("22004", "NULL is not a name")
		case !a.IsValid(i):
		case verb == 'I':
			dst = appendQuoted(dst, a.str(i), '"')
		case verb == 'L':
			dst = appendQuoted(dst, a.str(i), '\'')
		default:
			dst = append(dst, a.Slice(i)...)
		}
	}
}

// appendQuoted puts quotes around a text and doubles those inside; a plain name needs none.
func appendQuoted(dst []byte, s string, quote byte) []byte {
	plain := s != "" && quote == '"' && (s[0] < '0' || s[0] > '9')
	for _, c := range []byte(s) {
		plain = plain && (c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9')
	}
	if plain {
		return append(dst, s...)
	}
	dst = append(dst, quote)
	for _, c := range []byte(s) {
		if c == quote {
			dst = append(dst, quote)
		}
		dst = append(dst, c)
	}
	return append(dst, quote)
}

func splitPart(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, sep, n := args[0].Slice(i), args[1].Slice(i), number(args, 2, i)
	if n == 0 {
		return dst, invalid(codeParameter, "split_part counts from 1 or from -1")
	}
	if len(sep) == 0 {
		if n == 1 || n == -1 {
			dst = append(dst, s...)
		}
		return dst, nil
	}
	if n < 0 {
		n += int64(bytes.Count(s, sep)) + 2
		if n < 1 {
			return dst, nil
		}
	}
	for ; n > 1; n-- {
		at := bytes.Index(s, sep)
		if at < 0 {
			return dst, nil
		}
		s = s[at+len(sep):]
	}
	if at := bytes.Index(s, sep); at >= 0 {
		s = s[:at]
	}
	return append(dst, s...), nil
}

func encoded(dst []byte, args []*Vector, i int) ([]byte, error) {
	b := args[0].Slice(i)
	switch format := strings.ToLower(args[1].str(i)); format {
	case "hex":
		return hex.AppendEncode(dst, b), nil
	case "base64":
		return base64.StdEncoding.AppendEncode(dst, b), nil
	case "escape":
		for _, c := range b {
			switch {
			case c == '\\':
				dst = append(dst, '\\', '\\')
			case c == 0 || c >= 0x80:
				dst = append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
			default:
				dst = append(dst, c)
			}
		}
		return dst, nil
	default:
		return dst, invalid(codeParameter, "there is no encoding %s: hex, base64 or escape", strconv.Quote(format))
	}
}

func decoded(dst []byte, args []*Vector, i int) ([]byte, error) {
	s := args[0].Slice(i)
	switch format := strings.ToLower(args[1].str(i)); format {
	case "hex":
		return appendUnhex(dst, s)
	case "base64":
		return appendBase64(dst, s)
	case "escape":
		if bytes.HasPrefix(s, []byte(`\x`)) {
			return dst, malformed("BYTES", string(s))
		}
		return parseBytes(dst, string(s))
	default:
		return dst, invalid(codeParameter, "there is no encoding %s: hex, base64 or escape", strconv.Quote(format))
	}
}

func appendUnhex(dst, s []byte) ([]byte, error) {
	out, err := hex.AppendDecode(dst, s)
	if err != nil {
		return dst, invalid(codeParameter, "the text is not hexadecimal")
	}
	return out, nil
}

func appendBase64(dst, s []byte) ([]byte, error) {
	out, err := base64.StdEncoding.AppendDecode(dst, s)
	if err != nil {
		return dst, invalid(codeParameter, "the text is not Base64")
	}
	return out, nil
}

func editDistance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			up := row[j+1]
			row[j+1] = min(up+1, row[j]+1, diagonal+one(x != y))
			diagonal = up
		}
	}
	return row[len(b)]
}
