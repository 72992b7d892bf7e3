package expr

import (
	"errors"

	"kalamflight/internal/fault"
)

// Error is a failure while evaluating, at a byte offset of the statement's text (-1: nowhere). It unwraps to a
// *fault.SQL.
type Error struct {
	SQL *fault.SQL
	Pos int
}

// Error is the message.
func (e *Error) Error() string { return e.SQL.Error() }

// Unwrap is the failure with its SQLSTATE.
func (e *Error) Unwrap() error { return e.SQL }

// Locate points an error of this package at its place in the statement's text; other errors come back as they are.
func Locate(err error, text string) error {
	var e *Error
	if !errors.As(err, &e) || e.Pos < 0 {
		return err
	}
	placed := fault.At(e.SQL.Kind, e.SQL.Code, text, e.Pos, "%s", e.SQL.Message)
	placed.Hint = e.SQL.Hint
	return placed
}

// The SQLSTATEs that evaluation raises.
const (
	codeRange     = "22003" // numeric value out of range
	codeZero      = "22012" // division by zero
	codeText      = "22P02" // invalid text representation
	codeLong      = "22001" // string data right truncation
	codeParameter = "22023" // invalid parameter value
	codeDate      = "22008" // datetime field overflow
	codePattern   = "2201B" // invalid regular expression
	codeEscape    = "22025" // invalid escape sequence
	codeJSON      = "22032" // invalid JSON text
	codeLimit     = "54000" // program limit exceeded
	codeType      = "42804" // datatype mismatch
	codeUndefined = "42883" // undefined function
)

// invalid is a failure of a value; the caller that knows the place adds it.
func invalid(code, format string, args ...any) error {
	return fault.At(fault.ErrInvalid, code, "", -1, format, args...)
}

// exhausted is a failure because a result would be too big.
func exhausted(format string, args ...any) error {
	return fault.At(fault.ErrExhausted, codeLimit, "", -1, format, args...)
}

// at gives an error without a place one.
func at(err error, pos int) error {
	var placed *Error
	if err == nil || errors.As(err, &placed) {
		return err
	}
	var sql *fault.SQL
	if errors.As(err, &sql) {
		return &Error{SQL: sql, Pos: pos}
	}
	return err
}

func outOfRange(what string) error { return invalid(codeRange, "%s out of range", what) }

func divisionByZero() error { return invalid(codeZero, "division by zero") }
