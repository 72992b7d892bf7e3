package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// LineReader reads what a person types. Read returns one whole statement or command, which may have several lines;
// io.EOF ends the session, ErrInterrupted drops what was typed.
type LineReader interface {
	Read() (string, error)
}

// Interactive runs what the reader gives until it ends. A statement that fails does not end it; a lost connection is
// said and left to the next statement.
func (s *Shell) Interactive(ctx context.Context, reader LineReader) error {
	s.learn(ctx)
	for {
		text, err := reader.Read()
		switch {
		case errors.Is(err, ErrInterrupted):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		statements, rest := Split(text)
		if rest != "" {
			statements = append(statements, Statement{Text: strings.TrimSpace(rest)})
		}
		for _, statement := range statements {
			err := s.run(ctx, statement)
			if errors.Is(err, errQuit) {
				return nil
			}
			if err == nil {
				if changesNames(statement.Text) {
					s.learn(ctx)
				}
				continue
			}
			if !errors.Is(err, ErrStatement) && !errors.Is(err, ErrConnect) {
				return err
			}
			s.complain(err)
			break // what was typed behind it may have counted on it
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Whole tells whether a text that is being typed can be run: a command, nothing at all, or statements that all end with
// a semicolon.
func Whole(text string) bool {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '\\' {
		return true
	}
	_, rest := Split(text)
	return rest == ""
}
