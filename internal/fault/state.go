package fault

import (
	"context"
	"errors"
	"syscall"
)

// State is the SQLSTATE of a failure that has none of its own, by its kind; XX000 when it has no kind. A failure may
// wrap several kinds: the first of the list counts.
func State(err error) string {
	for _, k := range [...]struct {
		kind  error
		state string
	}{
		{ErrUnknown, "08007"},
		{ErrCorrupt, "XX001"},
		{syscall.ENOSPC, "53100"},
		{syscall.EDQUOT, "53100"},
		{ErrUnauthenticated, "28000"},
		{ErrDenied, "42501"},
		{ErrInvalid, "22000"},
		{ErrNotFound, "42704"},
		{ErrExists, "42710"},
		{ErrExhausted, "53000"},
		{ErrOutOfRange, "22003"},
		{ErrPrecondition, "55000"},
		{ErrConflict, "40001"},
		{ErrUnsupported, "0A000"},
		{ErrUnavailable, "57P03"},
		{context.Canceled, "57014"},
		{context.DeadlineExceeded, "57014"},
	} {
		if errors.Is(err, k.kind) {
			return k.state
		}
	}
	return "XX000"
}
