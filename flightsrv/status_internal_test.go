package flightsrv

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"kalamflight/internal/fault"
)

// TestStatusOfTheDisk: a full disk is said as such, whatever it stopped.
func TestStatusOfTheDisk(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err   error
		code  codes.Code
		state string
	}{
		{fmt.Errorf("flush tablet: %w", full), codes.ResourceExhausted, "53100"},
		{fmt.Errorf("hot log stopped: %w: %w", full, fault.ErrUnavailable), codes.ResourceExhausted, "53100"},
		{fmt.Errorf("commit: %w: %w", full, fault.ErrUnknown), codes.Unknown, "08007"},
		{&fault.SQL{Kind: context.Canceled, Code: "57014", Message: "ended by KILL"}, codes.Canceled, "57014"},
		{full.Unwrap(), codes.ResourceExhausted, "53100"},
		{syscall.EIO, codes.Internal, "XX000"},
	} {
		if s, state := toStatus(slog.New(slog.DiscardHandler), "m", "r", c.err); s.Code() != c.code || state != c.state {
			t.Errorf("%v is %s %s, want %s %s", c.err, s.Code(), state, c.code, c.state)
		}
	}
}
