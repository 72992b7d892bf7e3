// Package shell runs SQL for a person or a script: it cuts scripts into statements, runs them through a connection,
// prints rows as tables, CSV or JSON, and has the interactive loop. It does not parse SQL beyond quotes and comments,
// and knows no flags, environment or signals: main hands those in.
package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// ErrStatement is wrapped by the failure of a statement, as against one of the connection or of the output.
var ErrStatement = errors.New("statement failed")

// ErrStopped is wrapped, with ErrStatement, when a script stopped before its end.
var ErrStopped = errors.New("script stopped")

// ErrConnect is wrapped when the server cannot be reached or does not let the user in.
var ErrConnect = errors.New("cannot connect")

// ErrInterrupted is wrapped when the user cancelled.
var ErrInterrupted = errors.New("interrupted")

// Conn runs statements one after the other. Implementations are for one goroutine; cancelling a ctx may come from
// another.
type Conn interface {
	// Run starts a statement. The rows are the caller's to close; the end of ctx ends them.
	Run(ctx context.Context, sql string) (Rows, error)
	// Close ends the session.
	Close() error
}

// Rows is the result of a running statement. It is for one goroutine.
type Rows interface {
	// Schema has no fields when the statement returns no rows.
	Schema() *arrow.Schema
	// Affected counts the rows that the statement changed; -1 when that has no meaning.
	Affected() int64
	// Next returns the next batch, which the caller releases; io.EOF ends the rows.
	Next() (arrow.RecordBatch, error)
	// Close frees the result and ends the statement if it still runs.
	Close() error
}

// Options are what a shell needs.
type Options struct {
	// Conn is required.
	Conn Conn
	// Out takes rows and nothing else; Err takes messages. Both are required.
	Out, Err io.Writer
	// Format is how rows are printed; "" means table.
	Format Format
	// RowsShown is how many rows of a table are printed, the first and the last of them; 0 means all. Subscriptions show
	// all.
	RowsShown int
	// CellMax is the greatest width of a cell in a table; 0 means any.
	CellMax int
	// Timing says after each statement how long it took.
	Timing bool
	// Interrupts has a value for each Ctrl-C; it cancels the running statement. nil means never.
	Interrupts <-chan struct{}
	// ReadFile opens the scripts of \i; nil means that there is no such command.
	ReadFile func(name string) ([]byte, error)
}

// Shell runs statements and prints what they return. It is for one goroutine.
type Shell struct {
	o   Options
	out *bufio.Writer
	// depth counts the scripts that \i is inside of.
	depth int
	words []string
}

// New makes a shell.
func New(o Options) (*Shell, error) {
	if o.Conn == nil || o.Out == nil || o.Err == nil {
		return nil, errors.New("a shell needs Conn, Out and Err")
	}
	if o.Format == "" {
		o.Format = FormatTable
	}
	if !o.Format.valid() {
		return nil, fmt.Errorf("unknown format %q: one of %s", o.Format, formats)
	}
	return &Shell{o: o, out: bufio.NewWriterSize(o.Out, 64<<10)}, nil
}

// Script runs the statements of a text one by one. name is what messages call it. A statement that fails stops the
// script, and its place is printed as name:line, unless keepGoing says otherwise.
func (s *Shell) Script(ctx context.Context, name, text string, keepGoing bool) error {
	statements, rest := Split(text)
	if rest != "" {
		line := 1 + strings.Count(text[:len(text)-len(rest)], "\n")
		statements = append(statements, Statement{Text: strings.TrimSpace(rest), Line: line})
	}
	var failed error
	for i, statement := range statements {
		err := s.run(ctx, statement)
		if errors.Is(err, errQuit) {
			return failed
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrStatement) {
			return err
		}
		line := s.complainAt(name, statement.Line, err)
		if errors.Is(err, ErrInterrupted) {
			return err
		}
		if failed = err; keepGoing {
			continue
		}
		if len(statements) > 1 {
			return fmt.Errorf("%w at %s:%d, %d of %d statements done: %w", ErrStopped, name, line, i, len(statements),
				err)
		}
		return err
	}
	return failed
}

func (s *Shell) run(ctx context.Context, statement Statement) error {
	if statement.Command {
		return s.command(ctx, statement.Text)
	}
	return s.Statement(ctx, statement.Text)
}

// Statement runs one statement and prints its rows, or how many rows it changed.
func (s *Shell) Statement(ctx context.Context, text string) error {
	ctx, stop := s.interruptible(ctx)
	defer stop()
	start := time.Now()
	rows, err := s.o.Conn.Run(ctx, text)
	if err != nil {
		return statementError(ctx, err)
	}
	if rows.Schema() == nil || rows.Schema().NumFields() == 0 {
		err = s.affected(ctx, rows)
	} else {
		err = s.print(ctx, rows, firstWord(text) == "SUBSCRIBE")
	}
	if closeErr := rows.Close(); err == nil && closeErr != nil {
		err = statementError(ctx, closeErr)
	}
	if err == nil && s.o.Timing {
		_, err = fmt.Fprintf(s.o.Err, "Time: %.3f ms\n", float64(time.Since(start).Microseconds())/1000)
	}
	return err
}

// affected reads an empty result to its end, so that failures on the way are seen, and says what changed.
func (s *Shell) affected(ctx context.Context, rows Rows) error {
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return statementError(ctx, err)
		}
		batch.Release()
	}
	text := "ok"
	if n := rows.Affected(); n >= 0 {
		text = rowCount(n) + " affected"
	}
	_, err := fmt.Fprintln(s.o.Err, text)
	return err
}

// print writes rows as they come. What has arrived is printed also when the statement fails or is cancelled behind it.
func (s *Shell) print(ctx context.Context, rows Rows, live bool) error {
	p, err := newPrinter(s.out, rows.Schema(), s.o, live)
	if err != nil {
		return err
	}
	var failure error
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			failure = statementError(ctx, err)
			break
		}
		err = p.batch(batch)
		batch.Release()
		if err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		if live {
			if err := s.out.Flush(); err != nil {
				return fmt.Errorf("write rows: %w", err)
			}
		}
	}
	if err := p.end(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return failure
}

// interruptible is a ctx that an interrupt cancels. Its goroutine ends in stop, which waits for it.
func (s *Shell) interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	if s.o.Interrupts == nil {
		return ctx, func() { cancel(nil) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.o.Interrupts:
			cancel(ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// statementError marks an error as one of the statement, and as an interrupt if that is why it failed.
func statementError(ctx context.Context, err error) error {
	if errors.Is(err, ErrConnect) {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrInterrupted) {
		return fmt.Errorf("%w: %w", ErrStatement, ErrInterrupted)
	}
	return fmt.Errorf("%w: %w", ErrStatement, err)
}

// complainAt prints the failure of a statement of a script with the line of the script where it failed, and returns
// that line. The server counts lines from the first of the statement, which is line; its place gives way to ours.
func (s *Shell) complainAt(name string, line int, err error) int {
	first, rest, _ := strings.Cut(message(err), "\n")
	if at := strings.LastIndex(first, " (line "); at >= 0 {
		var l, column int
		if n, _ := fmt.Sscanf(first[at:], " (line %d, column %d)", &l, &column); n == 2 {
			first, line = first[:at], line+l-1
		}
	}
	if rest != "" {
		first += "\n" + rest
	}
	// There is nowhere left to say that saying it failed.
	_, _ = fmt.Fprintf(s.o.Err, "%s:%d: error: %s\n", name, line, first)
	return line
}

// message is a failure without the words that only programs need.
func message(err error) string {
	if errors.Is(err, ErrInterrupted) {
		return "cancelled"
	}
	return strings.TrimPrefix(err.Error(), ErrStatement.Error()+": ")
}

// complain prints a failure of what was typed.
func (s *Shell) complain(err error) {
	// There is nowhere left to say that saying it failed.
	_, _ = fmt.Fprintf(s.o.Err, "error: %s\n", message(err))
}
