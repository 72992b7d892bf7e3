package shell

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/reeflective/readline"
)

// TerminalOptions are how a terminal reads.
type TerminalOptions struct {
	// Prompt is what stands before the first line of a statement.
	Prompt func() string
	// HistoryFile keeps statements between sessions; "" keeps them for this one.
	HistoryFile string
	// Complete lists what may stand at the end of a text; nil lists nothing. It is called while a line is typed and must
	// be quick.
	Complete func(text string) []Completion
	// Color shows SQL in colors as it is typed.
	Color bool
	// Screen is the size of the terminal; nil means 80 columns.
	Screen func() (width, height int)
	// Out is the terminal, for what Above prints while nothing is typed.
	Out io.Writer
}

// Terminal is a LineReader on the terminal of the process. Read is for one goroutine; Above may be called by any.
type Terminal struct {
	line   *readline.Shell
	out    io.Writer
	screen func() (width, height int)
	// ahead is printed before the prompt. Only the goroutine of Read has it.
	ahead string

	// mu guards what is below.
	mu sync.Mutex
	// reading says that a line is typed, and so that only its goroutine may print.
	reading bool
	waiting strings.Builder
	room    *sync.Cond
}

// waitingMax is how much text may wait to be printed above a prompt before who prints it has to wait.
const waitingMax = 64 << 10

// NewTerminal takes over the terminal whenever Read is called, and only then.
func NewTerminal(o TerminalOptions) (*Terminal, error) {
	t := &Terminal{line: readline.NewShell(), out: o.Out, screen: o.Screen}
	t.room = sync.NewCond(&t.mu)
	line := t.line
	// The editor would ask the terminal where the cursor is and lose what is typed before the answer. The prompt always
	// begins a line, so that it need not ask.
	if err := line.Config.Set("cursor-position-probe", false); err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	if err := line.Config.Set("completion-ignore-case", true); err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	line.Prompt.Primary(func() string { return t.ahead + o.Prompt() })
	line.Prompt.Secondary(func() string { return strings.Repeat(" ", max(0, displayWidth(o.Prompt())-3)) + "-> " })
	line.Hint.SetProvider(func(typed []rune, _ int) []rune {
		t.prepare(string(typed), displayWidth(o.Prompt()))
		return nil
	})
	line.AcceptMultiline = func(typed []rune) bool { return Whole(string(typed)) }
	if o.Color {
		line.SyntaxHighlighter = func(typed []rune) string { return Highlight(string(typed)) }
	}
	line.Completer = func(typed []rune, cursor int) readline.Completions {
		if o.Complete == nil {
			return readline.Completions{}
		}
		text := string(typed[:cursor])
		return offered(text, o.Complete(text))
	}
	if o.HistoryFile != "" {
		history, err := openHistory(o.HistoryFile)
		if err != nil {
			return nil, fmt.Errorf("open history %s: %w", o.HistoryFile, err)
		}
		line.History.Delete()
		line.History.Add("file", discreet{history})
	}
	return t, nil
}

// offered is what the editor makes of completions. It replaces all that is between the last blank and the cursor.
func offered(text string, all []Completion) readline.Completions {
	kept := text[strings.LastIndexAny(text, " \t\n")+1:]
	for kept != "" && (wordByte(kept[len(kept)-1]) || kept[0] == '\\') {
		kept = kept[:len(kept)-1]
	}
	values := make([]readline.Completion, len(all))
	for i, c := range all {
		values[i] = readline.Completion{Value: kept + c.Text, Display: c.Text, Description: c.Note, Tag: c.Group}
	}
	return readline.CompleteRaw(values).NoSort().NoSpace('.')
}

// openHistory opens a file of typed statements, and makes it, for its owner alone, when it is missing. One that has
// become too large is cut to its newest part first.
func openHistory(name string) (readline.History, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if info.Size() > historyBytesMax {
		if err := cutHistory(name); err != nil {
			return nil, err
		}
	}
	return readline.NewHistoryFromFile(name)
}

// historyBytesMax is the size of the file beyond which its older half goes.
const historyBytesMax = 4 << 20

func cutHistory(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text = text[len(text)-historyBytesMax/2:]
	if i := strings.IndexByte(string(text), '\n'); i >= 0 {
		text = text[i+1:]
	}
	return os.WriteFile(name, text, 0o600)
}

// Read returns the next statement.
func (t *Terminal) Read() (string, error) {
	t.mu.Lock()
	t.reading = true
	t.mu.Unlock()
	text, err := t.line.Readline()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = false
	if t.waiting.Len() > 0 {
		// Who has a terminal that cannot be written to learns it from the rows of the next statement.
		_, _ = io.WriteString(t.out, t.waiting.String())
		t.waiting.Reset()
	}
	t.room.Broadcast()
	if errors.Is(err, readline.ErrInterrupt) {
		return "", ErrInterrupted
	}
	return text, err
}

// Above prints whole lines above the prompt, or where the cursor is when nothing is typed. It may have to wait until
// the terminal has taken earlier ones.
func (t *Terminal) Above(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.reading && t.waiting.Len() > waitingMax {
		t.room.Wait()
	}
	if !t.reading {
		_, _ = io.WriteString(t.out, text) // see Read
		return
	}
	t.waiting.WriteString(text)
	t.line.Keys.RequestRefresh()
}

// prepare prints the lines that wait above the prompt, and makes room below what is typed. The editor calls it on its
// own goroutine whenever it draws the line, with the cursor behind the prompt: nothing else may print while a line is
// typed, and the prompt is the one thing that it prints for us.
func (t *Terminal) prepare(typed string, indent int) {
	t.mu.Lock()
	above := t.waiting.String()
	t.waiting.Reset()
	t.room.Broadcast()
	t.mu.Unlock()
	if above != "" {
		above = "\x1b[J" + strings.ReplaceAll(above, "\n", "\r\n")
	}
	// The editor moves up as many rows as it moved down, and at the bottom of the screen the way down is shorter.
	rows := 1
	for _, l := range strings.Split(typed, "\n") {
		rows += 1 + (indent+displayWidth(l))/max(t.columns(), 20)
	}
	t.ahead = "\r" + above + strings.Repeat("\r\n", rows) + fmt.Sprintf("\x1b[%dA", rows)
	t.line.Prompt.PrimaryPrint()
	t.ahead = "\r"
	t.line.Prompt.PrimaryPrint() // so that the editor counts the lines of the prompt alone
	t.ahead = ""
}

// columns is the width of the screen.
func (t *Terminal) columns() int {
	if t.screen == nil {
		return 80
	}
	width, _ := t.screen()
	return width
}

// discreet is a history that forgets statements with a password in them.
type discreet struct{ readline.History }

// Write keeps a line unless it is secret, and returns how many lines there are.
func (d discreet) Write(line string) (int, error) {
	if secret(line) {
		return d.Len(), nil
	}
	return d.History.Write(line)
}

// secret tells whether a statement seems to hold a password.
func secret(line string) bool {
	upper := strings.ToUpper(line)
	return strings.Contains(upper, "PASSWORD") || strings.Contains(upper, "IDENTIFIED") ||
		strings.Contains(upper, "SECRET") ||
		strings.Contains(upper, "TOKEN")
}
