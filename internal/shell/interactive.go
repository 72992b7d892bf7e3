package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// LineReader reads what a person types.
type LineReader interface {
	// Read returns the next whole statement or backslash command. It returns ErrInterrupted when the person gave up a
	// line, and io.EOF at the end.
	Read() (string, error)
}

// Interactive runs what a person types until they leave. A failed statement or command is printed and the next one is
// read; only the end of ctx, or of the terminal, ends it early.
func (s *Shell) Interactive(ctx context.Context, reader LineReader) error {
	s.learn(ctx)
	defer s.stopAll()
	for {
		text, err := reader.Read()
		switch {
		case errors.Is(err, ErrInterrupted):
			if n := s.stopFollowing(0); n > 0 {
				if err := s.say("stopped following number %d", n); err != nil {
					return err
				}
			}
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		if err := s.typed(ctx, text); err != nil {
			if errors.Is(err, errQuit) {
				return nil
			}
			return err
		}
		if s.stale {
			s.stale = false
			s.learn(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// typed runs the statements of what was typed at once.
func (s *Shell) typed(ctx context.Context, text string) error {
	switch plainWord(text) {
	case "exit", "quit":
		return errQuit
	case "help":
		return s.help(ctx, "")
	}
	statements, rest := Split(text)
	if rest != "" {
		statements = append(statements, Statement{Text: strings.TrimSpace(rest)})
	}
	for _, statement := range statements {
		err := s.run(ctx, statement)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrStatement) && !errors.Is(err, ErrConnect) {
			return err
		}
		s.complain(err)
		return nil // what was typed behind it may have counted on it
	}
	return nil
}

// Prompt is what stands before the first line of a statement: the namespace, and * in a transaction, ! in one that
// failed.
func (s *Shell) Prompt() string {
	mark := map[transactionState]string{inside: "*", failedInside: "!"}[s.transaction]
	if s.namespace == defaultNamespace {
		return "kalamflight" + mark + "> "
	}
	return "kalamflight:" + printable(s.namespace) + mark + "> "
}

// Whole tells whether a text ends a statement, is a backslash command, or is exit, quit or help.
func Whole(text string) bool {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '\\' || plainWord(trimmed) != "" {
		return true
	}
	_, rest := Split(text)
	return rest == ""
}

// plainWord is the word, of those that people type at other shells to leave or to find their way, that is all of a
// text; "" when it is something else. None begins a statement.
func plainWord(text string) string {
	switch word := strings.ToLower(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), ";"))); word {
	case "exit", "quit", "help":
		return word
	}
	return ""
}
