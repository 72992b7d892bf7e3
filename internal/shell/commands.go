package shell

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// errQuit ends the loop; it is not a failure.
var errQuit = errors.New("quit")

// scriptDepthMax is how deep scripts may run scripts with \i.
const scriptDepthMax = 16

// help is what \? prints.
const help = `A statement ends with a semicolon and may take several lines. Ctrl-C cancels the statement that runs.
  \q                  quit
  \d                  list the tables; \d NAME describes one
  \dn                 list the namespaces
  \subscribe QUERY    follow a table or a SELECT: its rows, then every change, until Ctrl-C
  \format FORMAT      print rows as table, expanded, csv or json
  \x                  switch between table and expanded
  \rows N             show at most N rows of a table, the first and the last; 0 shows all
  \timing             say how long each statement took, or stop saying it
  \i FILE             run a script
`

// command runs a backslash command.
func (s *Shell) command(ctx context.Context, text string) error {
	name, argument, _ := strings.Cut(text, " ")
	argument = strings.TrimSuffix(strings.TrimSpace(argument), ";")
	switch name {
	case `\q`, `\quit`:
		return errQuit
	case `\?`, `\h`, `\help`:
		_, err := fmt.Fprint(s.o.Err, help)
		return err
	case `\d`, `\dt`:
		if argument != "" {
			return s.Statement(ctx, "DESCRIBE "+argument)
		}
		return s.Statement(ctx, "SHOW TABLES")
	case `\dn`:
		return s.Statement(ctx, "SHOW NAMESPACES")
	case `\subscribe`, `\live`, `\watch`:
		if argument == "" {
			return commandError(`\subscribe needs a table, a SELECT or a SUBSCRIBE`)
		}
		return s.Statement(ctx, subscription(argument))
	case `\timing`:
		s.o.Timing = !s.o.Timing
		return s.say("timing is %s", map[bool]string{true: "on", false: "off"}[s.o.Timing])
	case `\x`:
		if s.o.Format == FormatExpanded {
			s.o.Format = FormatTable
		} else {
			s.o.Format = FormatExpanded
		}
		return s.say("format is %s", s.o.Format)
	case `\format`:
		if !Format(argument).valid() {
			return commandError("unknown format %q: one of %s", argument, formats)
		}
		s.o.Format = Format(argument)
		return nil
	case `\rows`:
		n := 0
		if _, err := fmt.Sscanf(argument, "%d", &n); err != nil || n < 0 {
			return commandError(`\rows needs a number, 0 for all rows`)
		}
		s.o.RowsShown = n
		return nil
	case `\i`:
		return s.include(ctx, argument)
	}
	return commandError(`unknown command %s; \? lists them`, name)
}

func commandError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStatement, fmt.Sprintf(format, args...))
}

func (s *Shell) say(format string, args ...any) error {
	_, err := fmt.Fprintf(s.o.Err, format+"\n", args...)
	return err
}

func (s *Shell) include(ctx context.Context, name string) error {
	if s.o.ReadFile == nil {
		return commandError(`\i is not available here`)
	}
	if name == "" {
		return commandError(`\i needs the name of a file`)
	}
	if s.depth >= scriptDepthMax {
		return commandError(`\i is nested %d deep`, s.depth)
	}
	text, err := s.o.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	s.depth++
	defer func() { s.depth-- }()
	return s.Script(ctx, name, string(text), false)
}

// subscription makes a SUBSCRIBE of what stands behind \subscribe: a SUBSCRIBE as it is, a table, or a SELECT whose
// trailing OPTIONS (...), AS OF and UP TO belong to the subscription.
func subscription(text string) string {
	switch firstWord(text) {
	case "SUBSCRIBE":
		return text
	case "SELECT", "WITH", "FROM":
		query, options := cutOptions(text)
		return strings.TrimSpace("SUBSCRIBE TO (" + query + ") " + options)
	}
	return "SUBSCRIBE TO " + text
}

// cutOptions cuts a SELECT before its last OPTIONS ( ... ) outside of quotes and parentheses.
func cutOptions(text string) (query, options string) {
	s := splitter{text: text, line: 1}
	depth, cut := 0, -1
	for s.at < len(text) {
		switch c := text[s.at]; {
		case c == '\'':
			s.quoted('\'', s.escaping())
		case c == '"' || c == '`':
			s.quoted(c, false)
		case strings.HasPrefix(text[s.at:], "--"):
			s.skipTo("\n")
		case strings.HasPrefix(text[s.at:], "/*"):
			s.comment()
		case wordByte(c):
			word := firstWord(text[s.at:])
			if behind := strings.TrimLeft(text[s.at+len(word):], " \t\r\n"); depth == 0 && word == "OPTIONS" &&
				strings.HasPrefix(behind, "(") {
				cut = s.at
			}
			s.step(len(word))
		default:
			if c == '(' {
				depth++
			} else if c == ')' {
				depth--
			}
			s.step(1)
		}
	}
	if cut < 0 {
		return strings.TrimSpace(text), ""
	}
	return strings.TrimSpace(text[:cut]), text[cut:]
}
