package client

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a failure that the server reported, or the transport. It is immutable.
type Error struct {
	// Code is the gRPC code: codes.NotFound, codes.OutOfRange, ...
	Code codes.Code
	// SQLState is the five-character code, "" when the server gave none.
	SQLState string
	// Message is the server's text; it may have several lines, with the place in the statement and a hint.
	Message string
}

// Error is the message with the SQLSTATE in front.
func (e *Error) Error() string {
	if e.SQLState == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.SQLState, e.Message)
}

// Canceled tells whether the caller ended the call, or its time was up.
func (e *Error) Canceled() bool { return e.Code == codes.Canceled || e.Code == codes.DeadlineExceeded }

// Lost tells whether the server cannot be reached, is going away, or does not let the caller in: no other statement
// would fare better.
func (e *Error) Lost() bool { return e.Code == codes.Unavailable || e.Code == codes.Unauthenticated }

// Unauthenticated tells whether the server does not know who is calling.
func (e *Error) Unauthenticated() bool { return e.Code == codes.Unauthenticated }

// dialing is a message without the words that gRPC wraps around the reason why a server cannot be reached.
func dialing(message string) string {
	quoted, ok := strings.CutPrefix(message, "connection error: desc = ")
	if !ok {
		return message
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return message
	}
	return strings.TrimPrefix(text, "transport: Error while dialing: ")
}

// wireError turns a gRPC status into an Error; other errors pass.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Code: s.Code(), Message: dialing(s.Message())}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			e.SQLState = info.Reason
		}
	}
	return e
}
