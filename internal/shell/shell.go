// Package shell runs SQL for a person or a script: it cuts scripts into statements, runs them through a connection,
// prints rows as tables, CSV or JSON, and has the interactive loop. It does not parse SQL beyond quotes and comments,
// and knows no flags, environment or signals: main hands those in.
package shell

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
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

// Conn runs statements. Implementations are safe for concurrent use: subscriptions go on while other statements run.
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
	// In is what the editor and commands of the system read from; nil means nothing.
	In io.Reader
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
	// ReadFile opens the scripts of \i; nil means that there is no such command, as for all functions below.
	ReadFile func(name string) ([]byte, error)
	// CreateFile makes the files of \o.
	CreateFile func(name string) (io.WriteCloser, error)
	// Connect makes the connection of \connect; "" means the same server, or the same user, as before.
	Connect func(ctx context.Context, url, user string) (Conn, error)
	// Copy moves the rows of \copy through a connection and counts them.
	Copy func(ctx context.Context, conn Conn, c Copy) (rows int64, err error)
	// Above prints whole lines above the prompt and may be called by any goroutine. nil means that \subscribe does not
	// return before the subscription ends.
	Above func(text string)
	// Screen is the size of the terminal in characters; nil means that tables may have any width.
	Screen func() (width, height int)
	// Editor and Pager are command lines of the system: what \e writes with, and what \pager shows long tables in.
	Editor, Pager string
	// Color marks errors; Progress shows on Err how long a statement has been running.
	Color, Progress bool
	// HideProgress leaves out the rows of subscriptions that only say how far the stream is.
	HideProgress bool
	// Namespace is that of names without one when the shell begins; "" means default.
	Namespace string
}

// Copy is what \copy is told: rows of a table or a query, from or to a file.
type Copy struct {
	// Table is a name as SQL writes it; Query is a SELECT instead of it, for files that are written.
	Table, Query string
	// File is a name; its ending says the format, unless Format does.
	File, Format string
	// Into says that rows go from the file into the table.
	Into bool
}

// Shell runs statements and prints what they return. It is for one goroutine.
type Shell struct {
	o   Options
	out *bufio.Writer
	// depth counts the scripts that \i is inside of.
	depth int

	catalog     atomic.Pointer[Catalog]
	namespace   string
	transaction transactionState
	// lastStatement is what \watch and \e begin with.
	lastStatement string
	paging        bool
	// stale says that the catalog may have changed since it was read.
	stale bool
	// file is where rows go instead of Out; nil most of the time.
	file    io.WriteCloser
	follows follows
}

// transactionState is what the prompt tells of the session's transaction.
type transactionState uint8

const (
	outside transactionState = iota
	inside
	failedInside
)

// defaultNamespace is that of names without one unless somebody says otherwise.
const defaultNamespace = "default"

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
	s := &Shell{o: o, out: bufio.NewWriterSize(o.Out, outBytes), namespace: cmp.Or(o.Namespace, defaultNamespace)}
	s.catalog.Store(&Catalog{})
	return s, nil
}

// outBytes is the size of the buffer of what is printed.
const outBytes = 64 << 10

// Close ends what runs behind the prompt and closes the file of \o. The connection is its owner's to close.
func (s *Shell) Close() error {
	s.stopAll()
	return s.closeFile()
}

// Conn is the connection that statements run through now: \connect replaces the one of Options.
func (s *Shell) Conn() Conn { return s.o.Conn }

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
	s.lastStatement = statement.Text
	if statement.Sent != "" {
		return s.send(ctx, statement.Sent)
	}
	return s.Statement(ctx, statement.Text)
}

// send runs the last statement as the command that stands behind it says.
func (s *Shell) send(ctx context.Context, command string) error {
	switch name, _, _ := strings.Cut(command, " "); strings.TrimSuffix(name, ";") {
	case `\g`, `\gx`, `\watch`:
		return s.command(ctx, command)
	default:
		return commandError(`%s cannot end a statement: put a semicolon and a new line before it`, name)
	}
}

// again runs the last statement.
func (s *Shell) again(ctx context.Context, argument string) error {
	switch {
	case argument != "":
		return commandError(`\g takes no argument; \o writes rows to a file`)
	case s.lastStatement == "":
		return commandError("there is no statement to run yet")
	}
	return s.Statement(ctx, s.lastStatement)
}

// againExpanded runs the last statement and prints its rows expanded.
func (s *Shell) againExpanded(ctx context.Context, argument string) error {
	format := s.o.Format
	s.o.Format = FormatExpanded
	defer func() { s.o.Format = format }()
	return s.again(ctx, argument)
}

// Statement runs one statement and prints its rows, or how many rows it changed.
func (s *Shell) Statement(ctx context.Context, text string) error {
	ctx, stop := s.interruptible(ctx)
	defer stop()
	start := time.Now()
	err := s.execute(ctx, text)
	s.follow(text, err)
	if err == nil && s.o.Timing {
		_, err = fmt.Fprintf(s.o.Err, "Time: %.3f ms\n", float64(time.Since(start).Microseconds())/1000)
	}
	return err
}

func (s *Shell) execute(ctx context.Context, text string) error {
	progress := s.startProgress()
	defer progress.stop()
	rows, err := s.o.Conn.Run(ctx, text)
	if err != nil {
		return statementError(ctx, err)
	}
	if rows.Schema() == nil || rows.Schema().NumFields() == 0 {
		err = s.affected(ctx, rows, progress)
	} else {
		err = s.print(ctx, progressRows{rows, progress}, firstWord(text) == "SUBSCRIBE")
	}
	if closeErr := rows.Close(); err == nil && closeErr != nil {
		err = statementError(ctx, closeErr)
	}
	return err
}

// follow keeps what the prompt and completion need to know of a statement that has run.
func (s *Shell) follow(text string, err error) {
	first := firstWord(text)
	switch {
	case first == "COMMIT" || first == "END" || first == "ABORT":
		s.transaction = outside
	case first == "ROLLBACK" && err == nil:
		s.transaction = outside
		if savepoint(text) {
			s.transaction = inside
		}
	case (first == "BEGIN" || first == "START") && err == nil:
		s.transaction = inside
	case s.transaction == inside && errors.Is(err, ErrStatement):
		s.transaction = failedInside
	}
	if first == "USE" && err == nil {
		_, name, _ := strings.Cut(strings.Join(strings.Fields(text), " "), " ")
		if space, found := strings.CutPrefix(strings.ToUpper(name), "NAMESPACE "); found {
			name = name[len(name)-len(space):]
		}
		s.namespace = unquote(name)
	}
	if err == nil && changesNames(text) {
		s.stale = true
	}
}

// savepoint tells whether a ROLLBACK goes back to a savepoint and does not end the transaction.
func savepoint(text string) bool {
	for _, w := range strings.Fields(strings.ToUpper(text)) {
		if w == "TO" {
			return true
		}
	}
	return false
}

// affected reads an empty result to its end, so that failures on the way are seen, and says what changed.
func (s *Shell) affected(ctx context.Context, rows Rows, progress *progress) error {
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
	progress.stop()
	text := "ok"
	if n := rows.Affected(); n >= 0 {
		text = rowCount(n) + " affected"
	}
	_, err := fmt.Fprintln(s.o.Err, text)
	return err
}

// print writes rows as they come.
func (s *Shell) print(ctx context.Context, rows Rows, live bool) error {
	o := s.o
	w := s.out
	if s.file != nil {
		o.RowsShown, o.CellMax, o.Screen = 0, 0, nil
		w = bufio.NewWriterSize(s.file, outBytes)
	}
	if live {
		o.RowsShown = 0
		return pour(ctx, rows, w, o)
	}
	if !s.paging || s.file != nil {
		return pour(ctx, rows, w, o)
	}
	o.RowsShown = 0
	p := &pager{command: s.o.Pager, out: s.o.Out, err: s.o.Err}
	if s.o.Screen != nil {
		_, p.height = s.o.Screen()
	}
	err := pour(ctx, rows, bufio.NewWriterSize(p, outBytes), o)
	return errors.Join(pagerLeft(err), p.close())
}

// pour writes rows as they come, and at once when there is nothing more to come for now. What has arrived is printed
// also when the statement fails or is cancelled behind it; when nothing has, not even a heading is.
func pour(ctx context.Context, rows Rows, w *bufio.Writer, o Options) error {
	live := o.RowsShown == 0 && isSubscription(rows.Schema())
	var hidden []string
	if live && o.HideProgress {
		hidden = []string{"progress"}
	}
	batch, err := rows.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return statementError(ctx, err)
	}
	p, printErr := newPrinter(w, rows.Schema(), o, live)
	if printErr != nil {
		if batch != nil {
			batch.Release()
		}
		return printErr
	}
	var failure error
	for ; ; batch, err = rows.Next() {
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			failure = statementError(ctx, err)
			break
		}
		err = printBatch(p, batch, hidden)
		batch.Release()
		if err == nil && live {
			err = w.Flush()
		}
		if err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
	}
	if err := p.end(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return failure
}

// Print writes rows in a format, all of them, and counts them. The rows stay the caller's to close.
func Print(ctx context.Context, rows Rows, w io.Writer, f Format) (int64, error) {
	if !f.valid() {
		return 0, fmt.Errorf("unknown format %q: one of %s", f, formats)
	}
	counted := &countedRows{Rows: rows}
	err := pour(ctx, counted, bufio.NewWriterSize(w, outBytes), Options{Format: f})
	return counted.n, err
}

type countedRows struct {
	Rows
	n int64
}

// Next counts the rows of the batch.
func (c *countedRows) Next() (arrow.RecordBatch, error) {
	batch, err := c.Rows.Next()
	if err == nil {
		c.n += batch.NumRows()
	}
	return batch, err
}

// printBatch prints a batch, but for the rows of a subscription whose _op is one of hidden.
func printBatch(p printer, batch arrow.RecordBatch, hidden []string) error {
	if len(hidden) == 0 {
		return p.batch(batch)
	}
	from := 0
	part := func(to int) error {
		if from == to {
			return nil
		}
		slice := batch.NewSlice(int64(from), int64(to))
		defer slice.Release()
		return p.batch(slice)
	}
	for i := range int(batch.NumRows()) {
		if slices.Contains(hidden, textOrNull(batch.Column(0), i, false)) {
			if err := part(i); err != nil {
				return err
			}
			from = i + 1
		}
	}
	return part(int(batch.NumRows()))
}

// isSubscription tells rows of changes, which come as they happen, by their first columns.
func isSubscription(schema *arrow.Schema) bool {
	return schema.NumFields() >= 3 && schema.Field(0).Name == "_op" && schema.Field(1).Name == "_seq" &&
		schema.Field(2).Name == "_ts"
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
	label := "error:"
	if s.o.Color {
		label = colorError + label + colorReset
	}
	_, _ = fmt.Fprintf(s.o.Err, "%s %s\n", label, message(err))
}
