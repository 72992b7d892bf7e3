package expr

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxPatternBytes bounds a pattern.
const maxPatternBytes = 64 << 10

// like is a compiled LIKE pattern. Without _ it is texts between %: the first stands at the beginning, the last at the
// end, and those between follow one another. With _ it is matched character by character.
type like struct {
	fold  bool
	parts [][]byte
	// open tells whether there is any %; without one the whole text is parts[0].
	open bool
	// runes is the pattern with wildcards as negative numbers; nil when parts do.
	runes []rune
	room  []byte
}

const (
	anyRun  = rune(-1)
	anyRune = rune(-2)
)

func newLike(pattern, escape string, fold bool) (*like, error) {
	if len(pattern) > maxPatternBytes {
		return nil, exhausted("a pattern of %d bytes is longer than %d", len(pattern), maxPatternBytes)
	}
	esc, size := utf8.DecodeRuneInString(escape)
	if size != len(escape) {
		return nil, invalid("22019", "the escape is one character or none")
	}
	if escape == "" {
		esc = -3
	}
	if fold {
		pattern = strings.ToLower(pattern)
	}
	l := &like{fold: fold, parts: [][]byte{nil}}
	single := false
	escaped := false
	var runes []rune
	for _, r := range pattern {
		last := len(l.parts) - 1
		switch {
		case escaped:
			escaped = false
			runes, l.parts[last] = append(runes, r), utf8.AppendRune(l.parts[last], r)
		case r == esc:
			escaped = true
		case r == '%':
			l.open = true
			if n := len(runes); n == 0 || runes[n-1] != anyRun {
				runes, l.parts = append(runes, anyRun), append(l.parts, nil)
			}
		case r == '_':
			single, runes = true, append(runes, anyRune)
		default:
			runes, l.parts[last] = append(runes, r), utf8.AppendRune(l.parts[last], r)
		}
	}
	if escaped {
		return nil, invalid(codeEscape, "the pattern ends in its escape character")
	}
	if single {
		l.runes = runes
	}
	return l, nil
}

// match is for one goroutine: it folds case in a buffer of its own.
func (l *like) match(s []byte) bool {
	if l.fold {
		l.room = appendLower(l.room[:0], s)
		s = l.room
	}
	if l.runes != nil {
		return matchRunes(l.runes, s)
	}
	if !l.open {
		return bytes.Equal(s, l.parts[0])
	}
	last := len(l.parts) - 1
	if len(s) < len(l.parts[0])+len(l.parts[last]) || !bytes.HasPrefix(s, l.parts[0]) ||
		!bytes.HasSuffix(s, l.parts[last]) {
		return false
	}
	s = s[len(l.parts[0]) : len(s)-len(l.parts[last])]
	for _, part := range l.parts[1:last] {
		at := bytes.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return true
}

// matchRunes goes back to the last % when a character does not fit.
func matchRunes(p []rune, s []byte) bool {
	i, k := 0, 0
	mark, from := -1, 0
	for i < len(s) {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(s[i:])
		}
		switch {
		case k < len(p) && p[k] == anyRun:
			mark, from = k, i
			k++
		case k < len(p) && (p[k] == r || p[k] == anyRune):
			i += size
			k++
		case mark >= 0:
			_, size = utf8.DecodeRune(s[from:])
			from += size
			i, k = from, mark+1
		default:
			return false
		}
	}
	for k < len(p) && p[k] == anyRun {
		k++
	}
	return k == len(p)
}

// patterns keeps what the patterns of one node compiled to; a constant one is compiled once.
type patterns[P any] struct {
	last map[[2]string]P
	make func(pattern, options string) (P, error)
}

// maxPatterns bounds the compiled patterns that a node remembers.
const maxPatterns = 64

func (c *patterns[P]) of(pattern, options string) (P, error) {
	if p, ok := c.last[[2]string{pattern, options}]; ok {
		return p, nil
	}
	p, err := c.make(strings.Clone(pattern), strings.Clone(options))
	if err != nil {
		return p, err
	}
	if c.last == nil || len(c.last) >= maxPatterns {
		c.last = map[[2]string]P{}
	}
	c.last[[2]string{strings.Clone(pattern), strings.Clone(options)}] = p
	return p, nil
}

// remembered is the cache of a node in one evaluator.
func remembered[P any](f *frame, make func(pattern, options string) (P, error)) *patterns[P] {
	c, ok := f.state.(*patterns[P])
	if !ok {
		c = &patterns[P]{make: make}
		f.state = c
	}
	return c
}

// matching is the kernel of a test of a text against a pattern, the second argument; option is argument 2 or a default.
func matching[P any](option string, make func(pattern, options string) (P, error), match func(P, []byte) bool) maker {
	return func(b *binding) (kernel, error) {
		if p, ok := b.text(1); ok { // a bad constant pattern is an error even when no row comes
			o := option
			fine := len(b.types) < 3
			if !fine {
				o, fine = b.text(2)
			}
			if fine {
				if _, err := make(p, o); err != nil {
					return nil, err
				}
			}
		}
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			cache, out := remembered(f, make), payload[byte](f, n)
			o := option
			if args[1].Const && (len(args) < 3 || args[2].Const) {
				if len(args) > 2 {
					o = args[2].str(0)
				}
				p, err := cache.of(args[1].str(0), o)
				if err != nil {
					return err
				}
				return f.eachLong(n, sel, func(i int) error { out[i] = byte(one(match(p, args[0].Slice(i)))); return nil })
			}
			return f.eachLong(n, sel, func(i int) error {
				if len(args) > 2 {
					o = args[2].str(i)
				}
				p, err := cache.of(args[1].str(i), o)
				if err == nil {
					out[i] = byte(one(match(p, args[0].Slice(i))))
				}
				return err
			})
		}, nil
	}
}

// compileRegexp compiles a pattern with options: i, c (case), s (. matches a line's end), m or n (^ and $ match at
// lines), g (all, for regexp_replace), l (literal).
func compileRegexp(pattern, options string) (*regexp.Regexp, error) {
	if len(pattern) > maxPatternBytes {
		return nil, exhausted("a pattern of %d bytes is longer than %d", len(pattern), maxPatternBytes)
	}
	flags := ""
	for _, o := range options {
		switch o {
		case 'i', 's':
			flags += string(o)
		case 'm', 'n':
			flags += "m"
		case 'l':
			pattern = regexp.QuoteMeta(pattern)
		case 'c', 'g':
		default:
			return nil, invalid(codeParameter, "there is no option %q of regular expressions", o)
		}
	}
	if flags != "" {
		pattern = "(?" + flags + ")" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, invalid(codePattern, "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// once refuses the option g, which says nothing where one match decides.
func once(compile func(pattern, options string) (*regexp.Regexp, error)) func(p, o string) (*regexp.Regexp, error) {
	return func(pattern, options string) (*regexp.Regexp, error) {
		if strings.ContainsRune(options, 'g') {
			return nil, invalid(codeParameter, "the option g is for regexp_replace alone")
		}
		return compile(pattern, options)
	}
}

func whole(pattern, options string) (*regexp.Regexp, error) {
	if _, err := compileRegexp(pattern, options); err != nil {
		return nil, err // "a)|(b" must not become valid by the anchors
	}
	return compileRegexp(`\A(?:`+pattern+`)\z`, options)
}

// similar turns SQL's regular expression into one of ours.
func similar(pattern, escape string) (*regexp.Regexp, error) {
	if len(pattern) > maxPatternBytes {
		return nil, exhausted("a pattern of %d bytes is longer than %d", len(pattern), maxPatternBytes)
	}
	esc, size := utf8.DecodeRuneInString(escape)
	if size != len(escape) {
		return nil, invalid("22019", "the escape is one character or none")
	}
	var b strings.Builder
	b.WriteString(`(?s)\A(?:`)
	escaped, class := false, false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
			b.WriteString(regexp.QuoteMeta(string(r)))
		case escape != "" && r == esc:
			escaped = true
		case class:
			class = r != ']'
			if r == '\\' || r == '[' {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		case r == '[':
			class = true
			b.WriteRune(r)
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteByte('.')
		case strings.ContainsRune("|*+?{}()", r):
			b.WriteRune(r)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if escaped {
		return nil, invalid(codeEscape, "the pattern ends in its escape character")
	}
	b.WriteString(`)\z`)
	return compileRegexp(b.String(), "")
}

func patternLibrary() map[string]maker {
	likeOf := func(fold bool) maker {
		return matching(`\`, func(p, escape string) (*like, error) { return newLike(p, escape, fold) }, (*like).match)
	}
	find := func(options string, want bool) maker {
		return matching(options, compileRegexp, func(re *regexp.Regexp, s []byte) bool { return re.Match(s) == want })
	}
	return map[string]maker{
		"like": likeOf(false), "ilike": likeOf(true), "similar": matching(`\`, similar, (*regexp.Regexp).Match),
		"~": find("", true), "~*": find("i", true), "!~": find("", false), "!~*": find("i", false),
		"regexp_matches":    matching("", once(compileRegexp), (*regexp.Regexp).Match),
		"regexp_full_match": matching("", once(whole), (*regexp.Regexp).Match),
		"regexp_replace":    plain(regexpReplace), "regexp_extract": plain(regexpExtract),
		"regexp_extract_all": plain(regexpExtractAll), "regexp_split_to_array": plain(regexpSplit),
	}
}

// template turns \1 and \& of SQL into the ${1} and ${0} of ours.
func template(s []byte) []byte {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			out = append(out, '$', '$')
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch c := s[i]; {
			case c >= '0' && c <= '9':
				out = append(out, '$', '{', c, '}')
			case c == '&':
				out = append(out, "${0}"...)
			case c == '$':
				out = append(out, '$', '$')
			default:
				out = append(out, c)
			}
		default:
			out = append(out, s[i])
		}
	}
	return out
}

func regexpReplace(f *frame, n int, sel []uint16, args []*Vector) error {
	cache, out := remembered(f, compileRegexp), f.strings(n)
	same := args[1].Const && args[2].Const && (len(args) < 4 || args[3].Const)
	var re *regexp.Regexp
	var with []byte
	most := 1
	err := f.eachLong(n, sel, func(i int) error {
		if re == nil || !same {
			options := ""
			if len(args) > 3 {
				options = args[3].str(i)
			}
			var err error
			if re, err = cache.of(args[1].str(i), options); err != nil {
				return err
			}
			with, most = template(args[2].Slice(i)), 1
			if strings.ContainsRune(options, 'g') {
				most = -1
			}
		}
		if err := out.begin(i); err != nil {
			return err
		}
		s := args[0].Slice(i)
		begin, pos := len(f.bytes), 0
		for _, m := range re.FindAllSubmatchIndex(s, most) {
			f.bytes = append(f.bytes, s[pos:m[0]]...)
			f.bytes = re.Expand(f.bytes, with, s, m)
			if pos = m[1]; len(f.bytes)-begin > maxTextBytes {
				return exhausted("regexp_replace would make more than %d bytes", maxTextBytes)
			}
		}
		f.bytes = append(f.bytes, s[pos:]...)
		return nil
	})
	if err != nil {
		return err
	}
	return out.end()
}

// group is the number of a group, the last argument when there are three.
func group(re *regexp.Regexp, args []*Vector, i int) (int, error) {
	if len(args) < 3 {
		return 0, nil
	}
	g := number(args, 2, i)
	if g < 0 || g > int64(re.NumSubexp()) {
		return 0, invalid(codeParameter, "the pattern has %d groups, not %d", re.NumSubexp(), g)
	}
	return int(g), nil
}

func regexpExtract(f *frame, n int, sel []uint16, args []*Vector) error {
	cache, out := remembered(f, compileRegexp), f.strings(n)
	err := f.eachLong(n, sel, func(i int) error {
		re, err := cache.of(args[1].str(i), "")
		if err != nil {
			return err
		}
		g, err := group(re, args, i)
		if err != nil {
			return err
		}
		s := args[0].Slice(i)
		if m := re.FindSubmatchIndex(s); m != nil && m[2*g] >= 0 {
			return out.put(i, s[m[2*g]:m[2*g+1]])
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.end()
}

// maxParts bounds the elements of a list that is made of one text.
const maxParts = 1 << 20

func regexpExtractAll(f *frame, n int, sel []uint16, args []*Vector) error {
	cache := remembered(f, compileRegexp)
	return f.lists(n, sel, func(i int) ([]any, error) {
		re, err := cache.of(args[1].str(i), "")
		if err != nil {
			return nil, err
		}
		g, err := group(re, args, i)
		if err != nil {
			return nil, err
		}
		list, s := []any{}, args[0].Slice(i)
		for _, m := range re.FindAllSubmatchIndex(s, maxParts+1) {
			part := ""
			if m[2*g] >= 0 {
				part = string(s[m[2*g]:m[2*g+1]])
			}
			list = append(list, part)
		}
		return list, nil
	})
}

func regexpSplit(f *frame, n int, sel []uint16, args []*Vector) error {
	cache := remembered(f, compileRegexp)
	return f.lists(n, sel, func(i int) ([]any, error) {
		re, err := cache.of(args[1].str(i), "")
		if err != nil {
			return nil, err
		}
		list := []any{}
		for _, part := range re.Split(string(args[0].Slice(i)), maxParts+1) {
			list = append(list, part)
		}
		return list, nil
	})
}

// lists makes a LIST result; fn gives the elements of a row.
func (f *frame) lists(n int, sel []uint16, fn func(i int) ([]any, error)) error {
	offsets := make([]int32, n+1)
	var items []any
	next := 0
	err := f.eachLong(n, sel, func(i int) error {
		for ; next <= i; next++ {
			offsets[next] = int32(len(items))
		}
		list, err := fn(i)
		if list == nil && err == nil {
			f.setNull(i)
		}
		if len(list) > maxParts {
			return exhausted("a list would have more than %d elements", maxParts)
		}
		if items = append(items, list...); len(items) > 16*maxParts {
			return exhausted("a batch of lists would have more than %d elements", 16*maxParts)
		}
		return err
	})
	if err != nil {
		return err
	}
	for ; next <= n; next++ {
		offsets[next] = int32(len(items))
	}
	child, err := NewVector(items, *f.out.Type.Elem)
	if err != nil {
		return err
	}
	f.out.Offsets, f.out.Child = offsets, child
	return nil
}

// splitText is string_split, and string_to_array, which makes no part of an empty text and does not cut without a
// separator.
func splitText(array bool) maker {
	return plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
		return f.lists(n, sel, func(i int) ([]any, error) {
			if !args[0].IsValid(i) {
				return nil, nil
			}
			s, sep := args[0].str(i), ""
			cut := args[1].IsValid(i) // without a separator string_to_array makes a part of each character
			if cut {
				sep = args[1].str(i)
			}
			switch {
			case array && s == "":
				return []any{}, nil
			case s == "":
				return []any{""}, nil
			}
			parts := []string{s}
			if !array || !cut || sep != "" {
				parts = strings.SplitN(s, sep, maxParts+1)
			}
			list := []any{}
			for _, part := range parts {
				if len(args) > 2 && args[2].IsValid(i) && part == args[2].str(i) { // this one is NULL
					list = append(list, nil)
					continue
				}
				list = append(list, strings.Clone(part))
			}
			return list, nil
		})
	})
}

// joinList is array_to_string: its list holds texts.
func joinList(dst []byte, args []*Vector, i int) ([]byte, error) {
	child, from, to := args[0].span(i)
	first := true
	for j := from; j < to; j++ {
		if !child.IsValid(j) && len(args) < 3 {
			continue
		}
		if !first {
			dst = append(dst, args[1].Slice(i)...)
		}
		first = false
		if !child.IsValid(j) {
			dst = append(dst, args[2].Slice(i)...)
			continue
		}
		dst = append(dst, child.Slice(j)...)
	}
	return dst, nil
}
