package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// FollowOptions say what is followed and where its rows go.
type FollowOptions struct {
	// Dial connects, at first and whenever the connection was lost.
	Dial func(ctx context.Context) (Conn, error)
	// Query is a table, a SELECT or a SUBSCRIBE.
	Query string
	// Out takes rows, Err messages.
	Out, Err io.Writer
	Format   Format
	// Progress prints the rows that only say how far the stream is.
	Progress bool
	// Wait is the longest time between two attempts to connect again; 0 means 5 s.
	Wait time.Duration
}

// Follow prints what a subscription sends until it ends, or ctx does. When the connection is lost it connects again and
// goes on behind the last commit that was complete, so that nothing is missed; what came of an incomplete commit comes
// again, and Err says so. It returns an error of the statement, of the first attempt to connect, or
// of a login that is refused.
func Follow(ctx context.Context, o FollowOptions) error {
	if !o.Format.valid() {
		return fmt.Errorf("unknown format %q: one of %s", o.Format, formats)
	}
	f := &follower{o: o, w: bufio.NewWriterSize(o.Out, outBytes), sql: subscription(o.Query), complete: -1}
	f.endless = endless(f.sql)
	if f.o.Wait <= 0 {
		f.o.Wait = 5 * time.Second
	}
	for attempt := 0; ; attempt++ {
		lost, err := f.once(ctx)
		if !lost || ctx.Err() != nil || !f.connected {
			return err
		}
		if f.news {
			attempt, f.news = 0, false
		}
		wait := min(f.o.Wait, 100*time.Millisecond<<min(attempt, 10))
		// There is nowhere left to say that saying it failed.
		_, _ = fmt.Fprintf(o.Err, "%s; trying again in %s\n", strings.SplitN(message(err), "\n", 2)[0], wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follower is a subscription across connections.
type follower struct {
	o   FollowOptions
	w   *bufio.Writer
	sql string
	p   printer
	// endless says that the statement names no end, so that only a server that stops can end it.
	endless bool
	// complete is the Seq to go on behind, -1 while there is none; partial says that rows behind it were printed.
	complete, last int64
	partial        bool
	// connected says that there was a connection once, news that the present one brought rows.
	connected, news bool
}

// once follows through one connection; lost says that another one may go on.
func (f *follower) once(ctx context.Context) (lost bool, err error) {
	conn, err := f.o.Dial(ctx)
	if err != nil {
		// Who is not let in is not let in by trying again, which would count as guessing passwords.
		return errors.Is(err, ErrConnect) && !NeedsPassword(err), err
	}
	defer func() { _ = conn.Close() }() // what is lost cannot be closed, and needs not be
	f.connected = true
	if f.partial {
		_, _ = fmt.Fprintln(f.o.Err, "rows of the commit that was under way come again") // see Follow
		f.partial = false
	}
	rows, err := conn.Run(ctx, resumed(f.sql, f.complete))
	if err != nil {
		return errors.Is(err, ErrConnect), statementError(ctx, err)
	}
	defer func() { _ = rows.Close() }() // its failure is that of Next
	if f.p == nil {
		if f.p, err = newPrinter(f.w, rows.Schema(), Options{Format: f.o.Format}, true); err != nil {
			return false, err
		}
	}
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) && f.endless {
			return true, fmt.Errorf("%w: the server ended the stream", ErrConnect)
		}
		if errors.Is(err, io.EOF) {
			return false, errors.Join(f.p.end(), f.w.Flush())
		}
		if err != nil {
			return errors.Is(err, ErrConnect), statementError(ctx, err)
		}
		f.news = true
		f.note(batch)
		hidden := []string{"progress"}
		if f.endless {
			hidden = append(hidden, "end")
		}
		if f.o.Progress {
			hidden = nil
		}
		err = printBatch(f.p, batch, hidden)
		batch.Release()
		if err == nil {
			err = f.w.Flush()
		}
		if err != nil {
			return false, fmt.Errorf("write rows: %w", err)
		}
	}
}

// note keeps which commits are complete: one is when a progress or end row with its Seq, or any row with a larger one,
// has arrived.
func (f *follower) note(batch arrow.RecordBatch) {
	seqs, ok := batch.Column(1).(*array.Int64)
	if !ok {
		return
	}
	for i := range int(batch.NumRows()) {
		op := textOrNull(batch.Column(0), i, false)
		switch {
		case op == "progress" || op == "end":
			if seqs.IsValid(i) {
				f.complete, f.partial = seqs.Value(i), false
			}
		case op == "snapshot" || seqs.IsNull(i):
			f.partial = true
		default:
			if seqs.Value(i) > f.last && f.last > f.complete && f.complete >= 0 {
				f.complete = f.last
			}
			f.last, f.partial = seqs.Value(i), true
		}
	}
}

// endless tells whether a SUBSCRIBE goes on until it is cancelled: it has no UP TO, and no option that ends it.
func endless(text string) bool {
	head, options := cutOptions(text)
	all := spans(head)
	depth := 0
	for i, s := range all {
		switch piece := head[s.from:s.to]; {
		case piece == "(":
			depth++
		case piece == ")":
			depth--
		case depth == 0 && s.kind == spanWord && strings.EqualFold(piece, "UP") && nextWord(head, all[i+1:]) == "TO":
			return false
		}
	}
	for _, s := range spans(options) {
		switch strings.ToLower(options[s.from:s.to]) {
		case "limit", "timeout":
			return false
		}
	}
	return true
}

// resumed is a SUBSCRIBE that goes on behind a Seq instead of where it said; as it is for a negative one.
func resumed(text string, seq int64) string {
	if seq < 0 {
		return text
	}
	head, options := cutOptions(text)
	var upTo string
	depth, from, to := 0, -1, len(head)
	all := spans(head)
	for i, s := range all {
		piece := head[s.from:s.to]
		switch {
		case piece == "(":
			depth++
		case piece == ")":
			depth--
		case depth > 0 || s.kind != spanWord:
		case strings.EqualFold(piece, "AS") && nextWord(head, all[i+1:]) == "OF" && from < 0:
			from = s.from
		case strings.EqualFold(piece, "UP") && nextWord(head, all[i+1:]) == "TO":
			to = s.from
			upTo = head[to:]
		}
	}
	if from < 0 {
		from = to
	}
	return strings.TrimSpace(strings.TrimSpace(head[:from]) + " AS OF SEQ " + strconv.FormatInt(seq, 10) + " " +
		strings.TrimSpace(upTo+" "+options))
}

func nextWord(text string, rest []span) string {
	for _, s := range rest {
		if s.kind == spanWord {
			return strings.ToUpper(text[s.from:s.to])
		}
		if s.kind != spanBlank && s.kind != spanComment {
			break
		}
	}
	return ""
}
