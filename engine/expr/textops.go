package expr

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash/crc32"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"kalamflight/manifest"
)

// digest appends a checksum by the name of its algorithm.
func digest(dst, s []byte, algorithm string) ([]byte, error) {
	switch strings.ToLower(algorithm) {
	case "md5":
		h := md5.Sum(s)
		return append(dst, h[:]...), nil
	case "sha1":
		h := sha1.Sum(s)
		return append(dst, h[:]...), nil
	case "sha224":
		h := sha256.Sum224(s)
		return append(dst, h[:]...), nil
	case "sha256":
		h := sha256.Sum256(s)
		return append(dst, h[:]...), nil
	case "sha384":
		h := sha512.Sum384(s)
		return append(dst, h[:]...), nil
	case "sha512":
		h := sha512.Sum512(s)
		return append(dst, h[:]...), nil
	}
	return dst, invalid(codeParameter, "there is no digest %s: md5, sha1, sha224, sha256, sha384 or sha512",
		strconv.Quote(algorithm))
}

// hexDigest is the kernel of sha512 and its kin: the checksum in hexadecimal.
func hexDigest(algorithm string) maker {
	return texts(func(dst, s []byte) []byte {
		h, _ := digest(nil, s, algorithm)
		return hex.AppendEncode(dst, h)
	})
}

// inBase writes a whole number in base 2 or 8, a negative one as its 64 bits.
func inBase(base int) maker {
	return written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
		return strconv.AppendUint(dst, uint64(number(args, 0, i)), base), nil
	})
}

// substringIndex is what stands before the n-th separator, or for a negative n behind the n-th from the end.
func substringIndex(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, sep, n := args[0].Slice(i), args[1].Slice(i), number(args, 2, i)
	if n == 0 || len(sep) == 0 {
		return dst, nil
	}
	if n > 0 {
		at := 0
		for ; n > 0; n-- {
			next := bytes.Index(s[at:], sep)
			if next < 0 {
				return append(dst, s...), nil
			}
			at += next + len(sep)
		}
		return append(dst, s[:at-len(sep)]...), nil
	}
	end := len(s)
	for ; n < 0; n++ {
		at := bytes.LastIndex(s[:end], sep)
		if at < 0 {
			return append(dst, s...), nil
		}
		end = at
	}
	return append(dst, s[end+len(sep):]...), nil
}

// appendSoundex is the American Soundex of the letters of a text.
func appendSoundex(dst, s []byte) []byte {
	const codes = "01230120022455012623010202"
	begin, last := len(dst), byte('0')
	for _, c := range s {
		c &^= 0x20
		if c < 'A' || c > 'Z' {
			continue
		}
		code := codes[c-'A']
		switch {
		case len(dst) == begin:
			dst = append(dst, c)
		case code != '0' && code != last:
			dst = append(dst, code)
		}
		if c != 'H' && c != 'W' {
			last = code
		}
		if len(dst)-begin == 4 {
			return dst
		}
	}
	for len(dst) > begin && len(dst)-begin < 4 {
		dst = append(dst, '0')
	}
	return dst
}

func hamming(a, b []byte) (int, error) {
	if utf8.RuneCount(a) != utf8.RuneCount(b) {
		return 0, invalid(codeParameter, "hamming compares texts of the same length")
	}
	n := 0
	for len(a) > 0 {
		x, size := utf8.DecodeRune(a)
		y, other := utf8.DecodeRune(b)
		n += one(x != y)
		a, b = a[size:], b[other:]
	}
	return n, nil
}

func findInSet(s, set []byte) (int, error) {
	place := 1
	for part := range bytes.SplitSeq(set, []byte(",")) {
		if bytes.Equal(part, s) {
			return place, nil
		}
		place++
	}
	return 0, nil
}

// startingAt is a text from character from on, and how many bytes were left out.
func startingAt(s []byte, from int64) ([]byte, int, error) {
	if from < 1 {
		return nil, 0, invalid(codeParameter, "a search begins at character 1 or later, not %d", from)
	}
	at := runeOffset(s, from-1)
	return s[at:], at, nil
}

// optional is argument k as a number, or otherwise.
func optional(args []*Vector, k, i int, otherwise int64) int64 {
	if len(args) <= k {
		return otherwise
	}
	return number(args, k, i)
}

// options is argument k as a text, or none.
func options(args []*Vector, k, i int) string {
	if len(args) <= k {
		return ""
	}
	return args[k].str(i)
}

func regexpCount(f *frame, n int, sel []uint16, args []*Vector) error {
	cache, out := remembered(f, compileRegexp), payload[int64](f, n)
	return f.eachLong(n, sel, func(i int) error {
		re, err := cache.of(args[1].str(i), options(args, 3, i))
		if err != nil {
			return err
		}
		all, from := args[0].Slice(i), optional(args, 2, i, 1)
		s, _, err := startingAt(all, from)
		if out[i] = 0; err == nil && from <= int64(utf8.RuneCount(all))+1 {
			out[i] = int64(len(re.FindAllIndex(s, -1)))
		}
		return err
	})
}

// regexpInstr is regexp_instr(text, pattern, start, n, end, options, group): the place of the n-th match, or behind it.
func regexpInstr(f *frame, n int, sel []uint16, args []*Vector) error {
	cache, out := remembered(f, compileRegexp), payload[int64](f, n)
	return f.eachLong(n, sel, func(i int) error {
		re, err := cache.of(args[1].str(i), options(args, 5, i))
		if err != nil {
			return err
		}
		all := args[0].Slice(i)
		s, skipped, err := startingAt(all, optional(args, 2, i, 1))
		if err != nil {
			return err
		}
		nth, end, group := optional(args, 3, i, 1), optional(args, 4, i, 0), optional(args, 6, i, 0)
		switch {
		case nth < 1 || nth > maxParts:
			return invalid(codeParameter, "matches are counted from 1, not %d", nth)
		case end != 0 && end != 1:
			return invalid(codeParameter, "the place is 0 for the beginning or 1 for the end of a match, not %d", end)
		case group < 0 || group > int64(re.NumSubexp()):
			return invalid(codeParameter, "the pattern has %d groups, not %d", re.NumSubexp(), group)
		}
		out[i] = 0
		if m := re.FindAllSubmatchIndex(s, int(nth)); int64(len(m)) == nth {
			if at := m[nth-1][2*group+end]; at >= 0 {
				out[i] = int64(utf8.RuneCount(all[:skipped+at])) + 1
			}
		}
		return nil
	})
}

// regexpMatch lists the groups of the first match, or the match itself; NULL without one.
func regexpMatch(f *frame, n int, sel []uint16, args []*Vector) error {
	cache := remembered(f, compileRegexp)
	return f.lists(n, sel, func(i int) ([]any, error) {
		re, err := cache.of(args[1].str(i), options(args, 2, i))
		if err != nil {
			return nil, err
		}
		if strings.Contains(options(args, 2, i), "g") {
			return nil, invalid(codeParameter, "regexp_match finds one match; regexp_extract_all finds all")
		}
		s := args[0].Slice(i)
		m := re.FindSubmatchIndex(s)
		if m == nil {
			return nil, nil
		}
		if len(m) > 2 {
			m = m[2:]
		}
		list := make([]any, len(m)/2)
		for k := range list {
			if m[2*k] >= 0 {
				list[k] = string(s[m[2*k]:m[2*k+1]])
			}
		}
		return list, nil
	})
}

func urlDecoded(dst []byte, args []*Vector, i int) ([]byte, error) {
	s, err := url.QueryUnescape(args[0].str(i))
	if err != nil || !utf8.ValidString(s) {
		return dst, invalid(codeParameter, "the text is not percent-encoded")
	}
	return append(dst, s...), nil
}

// characters are the different characters of a text.
func characters(s []byte) map[rune]bool {
	set := map[rune]bool{}
	for _, r := range string(s) {
		set[r] = true
	}
	return set
}

// jaccard is the part of the characters of both texts that both have.
func jaccard(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[float64](f, n)
	return f.eachLong(n, sel, func(i int) error {
		a, b := characters(args[0].Slice(i)), characters(args[1].Slice(i))
		if len(a) == 0 || len(b) == 0 {
			return invalid(codeParameter, "jaccard compares texts that are not empty")
		}
		common := 0
		for r := range a {
			common += one(b[r])
		}
		out[i] = float64(common) / float64(len(a)+len(b)-common)
		return nil
	})
}

func textOps() map[string]maker {
	return map[string]maker{
		"digest": written(func(dst []byte, args []*Vector, i int) ([]byte, error) {
			return digest(dst, args[0].Slice(i), args[1].str(i))
		}),
		"sha224": hexDigest("sha224"), "sha384": hexDigest("sha384"), "sha512": hexDigest("sha512"),
		"crc32":  counted(func(s []byte) int { return int(crc32.ChecksumIEEE(s)) }),
		"to_bin": inBase(2), "to_oct": inBase(8),
		"substring_index": written(substringIndex), "find_in_set": counted2(findInSet),
		"soundex": texts(appendSoundex), "hamming": counted2(hamming), "jaccard": plain(jaccard),
		"quote_ident": texts(func(dst, s []byte) []byte { return appendQuoted(dst, string(s), '"') }),
		"quote_literal": texts(func(dst, s []byte) []byte {
			return appendQuoted(dst, string(s), '\'')
		}),
		"regexp_escape": texts(func(dst, s []byte) []byte { return append(dst, regexp.QuoteMeta(string(s))...) }),
		"url_encode":    texts(func(dst, s []byte) []byte { return append(dst, url.QueryEscape(string(s))...) }),
		"url_decode":    written(urlDecoded),
		"regexp_count":  plain(regexpCount), "regexp_instr": plain(regexpInstr), "regexp_match": plain(regexpMatch),
		"arrow_typeof": func(b *binding) (kernel, error) {
			name := ArrowName(b.types[0])
			return writeText(false, func(dst []byte, _ []*Vector, _ int) ([]byte, error) { return append(dst, name...), nil }),
				nil
		},
		"is_ascii": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[byte](f, n)
			return f.eachLong(n, sel, func(i int) error { out[i] = byte(one(ascii(args[0].Slice(i)))); return nil })
		}),
		"ucfirst": texts(func(dst, s []byte) []byte {
			r, size := utf8.DecodeRune(s)
			if size == 0 {
				return dst
			}
			return append(utf8.AppendRune(dst, unicode.ToTitle(r)), s[size:]...)
		}),
	}
}

// ArrowName is the Arrow type that stands for t on the wire, as Arrow's own implementations name it.
func ArrowName(t manifest.Type) string {
	switch t.Kind {
	case manifest.Boolean:
		return "Boolean"
	case manifest.SmallInt:
		return "Int16"
	case manifest.Int:
		return "Int32"
	case manifest.BigInt:
		return "Int64"
	case manifest.Float:
		return "Float32"
	case manifest.Double:
		return "Float64"
	case manifest.Decimal:
		return "Decimal128(" + strconv.Itoa(int(t.Precision)) + ", " + strconv.Itoa(int(t.Scale)) + ")"
	case manifest.Text, manifest.JSON, manifest.File:
		return "Utf8"
	case manifest.Bytes:
		return "Binary"
	case manifest.UUID:
		return "FixedSizeBinary(16)"
	case manifest.Date:
		return "Date32"
	case manifest.Time:
		return "Time64(µs)"
	case manifest.Timestamp:
		return "Timestamp(µs)"
	case manifest.DateTime:
		return `Timestamp(µs, "UTC")`
	case manifest.Embedding:
		return "FixedSizeList(" + strconv.Itoa(int(t.Length)) + " x Float32)"
	case manifest.Interval:
		return "Interval(MonthDayNano)"
	case manifest.List:
		return "List(" + ArrowName(*t.Elem) + ")"
	}
	return "Null"
}
