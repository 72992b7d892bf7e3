package shell

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/reeflective/readline"
)

// TerminalOptions are how a terminal reads.
type TerminalOptions struct {
	// Prompt stands before the first line of a statement; "" means "kalamflight> ".
	Prompt string
	// HistoryFile keeps statements between sessions; "" keeps them for this one.
	HistoryFile string
	// Words are offered as completions besides the keywords, such as the names of tables; nil means none. It is called
	// while a line is typed and must be quick.
	Words func() []string
}

// Terminal is a LineReader on the terminal of the process. It is for one goroutine.
type Terminal struct {
	line *readline.Shell
}

// NewTerminal takes over the terminal whenever Read is called, and only then.
func NewTerminal(o TerminalOptions) (*Terminal, error) {
	if o.Prompt == "" {
		o.Prompt = "kalamflight> "
	}
	line := readline.NewShell()
	line.Prompt.Primary(func() string { return o.Prompt })
	line.Prompt.Secondary(func() string { return strings.Repeat(" ", max(0, len(o.Prompt)-3)) + "-> " })
	line.AcceptMultiline = func(typed []rune) bool { return Whole(string(typed)) }
	line.Completer = func(typed []rune, cursor int) readline.Completions {
		return readline.CompleteValues(completions(o.Words)...).NoSort().NoSpace('.')
	}
	if o.HistoryFile != "" {
		history, err := openHistory(o.HistoryFile)
		if err != nil {
			return nil, fmt.Errorf("open history %s: %w", o.HistoryFile, err)
		}
		line.History.Delete()
		line.History.Add("file", discreet{history})
	}
	return &Terminal{line: line}, nil
}

// openHistory opens a file of typed statements, and makes it, for its owner alone, when it is missing.
func openHistory(name string) (readline.History, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return readline.NewHistoryFromFile(name)
}

// Read returns the next statement.
func (t *Terminal) Read() (string, error) {
	text, err := t.line.Readline()
	if errors.Is(err, readline.ErrInterrupt) {
		return "", ErrInterrupted
	}
	return text, err
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

// keywords begin the list of completions.
const keywords = `SELECT FROM WHERE GROUP BY ORDER LIMIT INSERT INTO VALUES UPDATE SET DELETE CREATE DROP ALTER TABLE
USER SHARED STREAM NAMESPACE VIEW SUBSCRIBE TO OPTIONS SNAPSHOT AS OF SEQ NOW JOIN LEFT RIGHT FULL ON USING AND OR NOT
NULL IS IN LIKE BETWEEN EXISTS DISTINCT HAVING UNION ALL CASE WHEN THEN ELSE END CAST RETURNING CONFLICT PRIMARY KEY
DEFAULT WITH DESCRIBE SHOW TABLES NAMESPACES EXPLAIN ANALYZE FLUSH COMPACT BEGIN COMMIT ROLLBACK USE BIGINT INT TEXT
BOOLEAN DOUBLE TIMESTAMP DECIMAL JSON UUID`

func completions(words func() []string) []string {
	all := strings.Fields(keywords)
	if words != nil {
		all = append(all, words()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
