package shell

import (
	"bufio"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/rivo/uniseg"
)

// settleRows is how many rows are kept to find the widths of the columns before the first is printed.
const settleRows = 2000

type tableOptions struct {
	// shown is the greatest number of rows printed, the first and the last; 0 means all.
	shown int
	// cellMax is the greatest width of a cell; 0 means any.
	cellMax int
	// width is that of the screen; 0 means any.
	width int
	live  bool
}

// table prints rows in a box, under a row of names and a row of types. The widths are those of the first rows; a wider
// cell behind them widens its column from there on.
type table struct {
	w       *bufio.Writer
	columns []column
	options tableOptions

	widths  []int
	settled bool
	// fitted says that the columns were made narrower than their cells, hidden how many of them were left out, which are
	// those before the column tailFrom.
	fitted           bool
	hidden, tailFrom int
	// kept are rows that wait for the widths to settle; tail is a ring of the last rows when not all are shown.
	kept, tail [][]string
	tailRows   int
	rows       int64
}

func newTable(w *bufio.Writer, columns []column, o tableOptions) *table {
	t := &table{w: w, columns: columns, options: o, widths: make([]int, len(columns))}
	for i, c := range columns {
		t.widths[i] = max(displayWidth(c.name), displayWidth(c.kind))
	}
	return t
}

func (t *table) batch(rows arrow.RecordBatch) error {
	head := int64(t.options.shown+1) / 2
	for i := range int(rows.NumRows()) {
		t.rows++
		if t.options.shown > 0 && t.rows > head {
			t.keepTail(t.texts(rows, i))
			continue
		}
		if err := t.row(t.texts(rows, i)); err != nil {
			return err
		}
	}
	if t.options.live && t.rows > 0 {
		return t.settle()
	}
	return nil
}

// texts are the cells of a row as they are printed.
func (t *table) texts(rows arrow.RecordBatch, i int) []string {
	texts := make([]string, len(t.columns))
	for c, a := range rows.Columns() {
		texts[c] = shorten(printable(textOrNull(a, i, t.columns[c].isUUID)), t.options.cellMax)
	}
	return texts
}

// keepTail keeps the last half of the rows that are shown.
func (t *table) keepTail(texts []string) {
	half := t.options.shown / 2
	if len(t.tail) < half {
		t.tail = append(t.tail, texts)
	} else if half > 0 {
		t.tail[t.tailRows%half] = texts
	}
	t.tailRows++
}

func (t *table) row(texts []string) error {
	if t.settled {
		return t.print(texts)
	}
	t.kept = append(t.kept, texts)
	if len(t.kept) >= settleRows {
		return t.settle()
	}
	return nil
}

// settle prints the head and the rows kept so far.
func (t *table) settle() error {
	if !t.settled {
		for _, texts := range t.kept {
			t.widen(texts)
		}
		t.settled = true
		t.fit()
		if err := t.head(); err != nil {
			return err
		}
	}
	for _, texts := range t.kept {
		if err := t.print(texts); err != nil {
			return err
		}
	}
	t.kept = nil
	return nil
}

func (t *table) widen(texts []string) (wider bool) {
	for i, text := range texts {
		if n := displayWidth(text); n > t.widths[i] {
			t.widths[i], wider = n, true
		}
	}
	return wider
}

// cellMin is what a column keeps of its width before whole columns are left out.
const cellMin = 10

// fit makes the columns as narrow as the screen: first the widest ones, then those in the middle are left out.
func (t *table) fit() {
	if t.options.width <= 0 {
		return
	}
	total := func() int {
		sum := 1
		for i, n := range t.widths {
			if !t.leftOut(i) {
				sum += n + 3
			}
		}
		if t.hidden > 0 {
			sum += 4
		}
		return sum
	}
	for total() > t.options.width {
		t.fitted = true
		widest := 0
		for i, n := range t.widths {
			if n > t.widths[widest] {
				widest = i
			}
		}
		if t.widths[widest] <= cellMin {
			break
		}
		t.widths[widest] = max(cellMin, t.widths[widest]-max(1, total()-t.options.width)/2-1)
	}
	for total() > t.options.width && len(t.widths)-t.hidden > 2 {
		t.hidden++
		t.tailFrom = (len(t.widths) + t.hidden + 1) / 2
	}
}

// leftOut tells whether a column is one of those that found no room.
func (t *table) leftOut(column int) bool { return column < t.tailFrom && column >= t.tailFrom-t.hidden }

func (t *table) head() error {
	if err := t.rule("┌", "┬", "┐"); err != nil {
		return err
	}
	names, kinds := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = center(shorten(printable(c.name), t.widths[i]), t.widths[i])
		kinds[i] = center(shorten(c.kind, t.widths[i]), t.widths[i])
	}
	if err := t.line(names); err != nil {
		return err
	}
	if err := t.line(kinds); err != nil {
		return err
	}
	return t.rule("├", "┼", "┤")
}

func (t *table) print(texts []string) error {
	if t.fitted {
		for i, text := range texts {
			texts[i] = shorten(text, t.widths[i])
		}
		return t.line(texts)
	}
	if t.widen(texts) {
		if err := t.rule("├", "┼", "┤"); err != nil {
			return err
		}
	}
	return t.line(texts)
}

func (t *table) line(texts []string) error {
	var b strings.Builder
	for i, text := range texts {
		if t.leftOut(i) {
			if i == t.tailFrom-1 {
				b.WriteString("│ … ")
			}
			continue
		}
		pad := strings.Repeat(" ", max(0, t.widths[i]-displayWidth(text)))
		b.WriteString("│ ")
		if t.columns[i].right {
			b.WriteString(pad + text)
		} else {
			b.WriteString(text + pad)
		}
		b.WriteByte(' ')
	}
	b.WriteString("│\n")
	_, err := t.w.WriteString(b.String())
	return err
}

func (t *table) rule(left, middle, right string) error {
	var b strings.Builder
	b.WriteString(left)
	first := true
	for i, n := range t.widths {
		if t.leftOut(i) {
			if i < t.tailFrom-1 {
				continue
			}
			n = 1
		}
		if !first {
			b.WriteString(middle)
		}
		first = false
		b.WriteString(strings.Repeat("─", n+2))
	}
	b.WriteString(right + "\n")
	_, err := t.w.WriteString(b.String())
	return err
}

func (t *table) end() error {
	tail := t.lastRows()
	if !t.settled {
		for _, texts := range tail {
			t.widen(texts)
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	hidden := t.rows - (int64(t.options.shown+1)/2 + int64(len(tail)))
	if t.options.shown > 0 && hidden > 0 {
		dots := make([]string, len(t.columns))
		for i := range dots {
			dots[i] = center("·", t.widths[i])
		}
		if err := t.line(dots); err != nil {
			return err
		}
	}
	for _, texts := range tail {
		if err := t.print(texts); err != nil {
			return err
		}
	}
	if err := t.rule("└", "┴", "┘"); err != nil {
		return err
	}
	foot := rowCount(t.rows)
	if t.options.shown > 0 && hidden > 0 {
		foot += fmt.Sprintf(" (%d shown)", t.rows-hidden)
	}
	if t.hidden > 0 {
		foot += fmt.Sprintf(", %d columns (%d shown; \\x shows all)", len(t.columns), len(t.columns)-t.hidden)
	}
	_, err := t.w.WriteString(foot + "\n")
	return err
}

// lastRows is the ring from its oldest row on.
func (t *table) lastRows() [][]string {
	half := t.options.shown / 2
	if len(t.tail) < half || half == 0 {
		return t.tail
	}
	oldest := t.tailRows % half
	return append(append([][]string(nil), t.tail[oldest:]...), t.tail[:oldest]...)
}

func displayWidth(s string) int {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return uniseg.StringWidth(s)
		}
	}
	return len(s)
}

func center(s string, width int) string {
	pad := max(0, width-displayWidth(s))
	return strings.Repeat(" ", pad/2) + s + strings.Repeat(" ", pad-pad/2)
}

// printable shows control characters as escapes, so that no value can move the cursor or break a line.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError || isBidi(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsControl(r) || isBidi(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isBidi tells whether a rune turns the direction of the text behind it.
func isBidi(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// shorten cuts a text to a width, at a whole character, and shows that it did.
func shorten(s string, width int) string {
	if width <= 0 || displayWidth(s) <= width {
		return s
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used+g.Width() > width-1 {
			break
		}
		used += g.Width()
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}
