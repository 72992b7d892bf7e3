// Package fault names the kinds of failure that cross a room's door. A failure gets its kind once, where it is
// understood, and the wire turns kinds into status codes once (flightsrv/status.go). It does not log, wrap or
// translate anything itself.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds. An error that matches none of them (errors.Is) is internal and its text is not shown to clients.
var (
	// ErrInvalid: the request itself is wrong: syntax, types, a bad value, an unknown option.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: a named thing does not exist, or the caller may not know that it does.
	ErrNotFound = errors.New("not found")
	// ErrExists: a named thing, or a row with this key, exists already.
	ErrExists = errors.New("already exists")
	// ErrUnauthenticated: nobody in particular is asking.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrDenied: the caller is known and may not do this.
	ErrDenied = errors.New("permission denied")
	// ErrExhausted: a limit was reached: memory, rows, bytes, queries, streams.
	ErrExhausted = errors.New("resource exhausted")
	// ErrOutOfRange: the sequence asked for is older than what is retained, or newer than the head.
	ErrOutOfRange = errors.New("out of range")
	// ErrPrecondition: the state of the system forbids it now: schema changed, table not empty, dependants exist.
	ErrPrecondition = errors.New("failed precondition")
	// ErrConflict: another commit came first; the same request may succeed when it is repeated.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: the server is draining or a store has stopped; nothing was done.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnsupported: understood, and refused because it is not built.
	ErrUnsupported = errors.New("unsupported")
	// ErrUnknown: an I/O error hit a commit: it may or may not be durable. Never retried by us.
	ErrUnknown = errors.New("outcome unknown")
	// ErrCorrupt: bytes on disk do not match their checksum or their format.
	ErrCorrupt = errors.New("corrupt")
)

// SQL is a failure of a statement that can be pointed at. Line and Column count from 1, in runes; 0 means the place
// is not known. It is immutable and safe for concurrent use.
type SQL struct {
	// Kind is one of the kinds above.
	Kind error
	// Code is the five-character SQLSTATE, as PostgreSQL uses it: 42601 syntax, 42P01 undefined table, 23505 unique
	// violation, ...
	Code string
	// Message says what was wrong, in one sentence without a full stop.
	Message string
	// Hint says what to do; may be empty.
	Hint string
	// Line and Column are the place in the statement's text.
	Line, Column int
	// Excerpt is the line of the text at Line, at most 120 runes around Column; Caret is the offset in runes of the
	// caret below it.
	Excerpt string
	Caret   int
}

// Error is the whole message: what, where with a caret, and what to do.
func (e *SQL) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Line > 0 {
		fmt.Fprintf(&b, " (line %d, column %d)", e.Line, e.Column)
		if e.Excerpt != "" {
			fmt.Fprintf(&b, "\n  %s\n  %s^", e.Excerpt, strings.Repeat(" ", e.Caret))
		}
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\nhint: %s", e.Hint)
	}
	return b.String()
}

// Unwrap is the kind.
func (e *SQL) Unwrap() error { return e.Kind }

// At builds a SQL failure that points at byte offset pos of text. pos < 0 means nowhere.
func At(kind error, code, text string, pos int, format string, args ...any) *SQL {
	e := &SQL{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
	if pos < 0 || pos > len(text) {
		return e
	}
	start := strings.LastIndexByte(text[:pos], '\n') + 1
	end := len(text)
	if i := strings.IndexByte(text[pos:], '\n'); i >= 0 {
		end = pos + i
	}
	e.Line = strings.Count(text[:start], "\n") + 1
	before := []rune(text[start:pos])
	e.Column = len(before) + 1
	after := []rune(text[pos:end])
	const around = 60
	if len(before) > around {
		before = append([]rune("…"), before[len(before)-around+1:]...)
	}
	if len(after) > around {
		after = append(after[:around-1:around-1], '…')
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, string(before)+string(after))
	e.Excerpt, e.Caret = clean, len(before)
	return e
}

// WithHint is e with a hint; e itself is unchanged.
func (e *SQL) WithHint(format string, args ...any) *SQL {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}
