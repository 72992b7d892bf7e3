package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/flightsrv/client"
	"kalamflight/internal/shell"
	"kalamflight/internal/transfer"
)

type subscribeCommand struct {
	connection
	Query    string `arg:"" help:"A table and what may stand behind it, a SELECT, or a SUBSCRIBE." config:"-"`
	Format   string `help:"Format of rows: table, expanded, csv, tsv, json (a line for each row) or markdown." enum:"table,expanded,csv,tsv,json,markdown" default:"table" env:"KALAMFLIGHT_FORMAT"`
	Progress bool   `help:"Print the rows, too, that only say how far the stream is." config:"-"`
}

// Run follows the query until it ends or Ctrl-C, across lost connections.
func (c *subscribeCommand) Run(ctx context.Context, p *process) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-p.interrupts:
			stop(shell.ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	err := shell.Follow(ctx, shell.FollowOptions{Dial: c.dial, Query: c.Query, Out: os.Stdout, Err: os.Stderr,
		Format: shell.Format(c.Format), Progress: c.Progress})
	if errors.Is(err, shell.ErrStatement) && !errors.Is(err, shell.ErrInterrupted) {
		fmt.Fprintln(os.Stderr, "error:", strings.TrimPrefix(err.Error(), shell.ErrStatement.Error()+": "))
	}
	return err
}

type importCommand struct {
	connection
	File      string `arg:"" help:"File to read; - is standard input." config:"-"`
	Into      string `help:"Table that the rows go into." required:"" placeholder:"TABLE" config:"-"`
	Mode      string `help:"What is expected of the table: append (it is there), create (it is not), replace or create_append." enum:"append,create,replace,create_append" default:"append" config:"-"`
	Format    string `help:"Format of the file: csv, tsv, json, parquet or arrow; else the ending of its name says it." placeholder:"FORMAT" config:"-"`
	NoHeader  bool   `help:"The first line of a CSV file is a row." config:"-"`
	Delimiter string `help:"What stands between the cells of a CSV file." placeholder:"CHARACTER" config:"-"`
	Null      string `help:"Text of NULL in a CSV file, besides an empty cell without quotes." placeholder:"TEXT" config:"-"`
	AllText   bool   `help:"Make every column of a new table TEXT." config:"-"`
}

// Run writes the rows of the file to the table, all or none of them.
func (c *importCommand) Run(ctx context.Context, p *process) (err error) {
	if len(c.Delimiter) > 1 {
		return fmt.Errorf("the delimiter %q is more than one byte", c.Delimiter)
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, stop := interruptible(ctx, p)
	defer stop()
	o := transfer.ReadOptions{NoHeader: c.NoHeader, Null: c.Null, AllText: c.AllText}
	if c.Delimiter != "" {
		o.Delimiter = c.Delimiter[0]
	}
	mode := map[string]client.IngestMode{"append": client.Append, "create": client.Create, "replace": client.Replace,
		"create_append": client.CreateAppend}[c.Mode]
	n, err := load(ctx, conn, shell.Copy{Table: c.Into, File: c.File, Format: c.Format, Into: true}, mode, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d rows imported into %s\n", n, c.Into)
	return nil
}

type exportCommand struct {
	connection
	What   string `arg:"" help:"A table, or a SELECT." config:"-"`
	To     string `help:"File to write; - is standard output. It is there only once it is whole." required:"" placeholder:"FILE" config:"-"`
	Format string `help:"Format of the file: csv, tsv, json, parquet or arrow; else the ending of its name says it." placeholder:"FORMAT" config:"-"`
}

// Run writes the rows to the file.
func (c *exportCommand) Run(ctx context.Context, p *process) (err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, stop := interruptible(ctx, p)
	defer stop()
	job := shell.Copy{Table: c.What, File: c.To, Format: c.Format}
	if strings.ContainsAny(strings.TrimSpace(c.What), " \t\n(") && !strings.HasPrefix(c.What, `"`) {
		job.Table, job.Query = "", c.What
	}
	n, err := save(ctx, conn, job)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d rows exported to %s\n", n, c.To)
	return nil
}

// interruptible is a ctx that Ctrl-C ends.
func interruptible(parent context.Context, p *process) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		select {
		case <-p.interrupts:
			cancel(shell.ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// copyRows is \copy.
func copyRows(ctx context.Context, conn shell.Conn, c shell.Copy) (int64, error) {
	if c.Into {
		return load(ctx, conn, c, client.Append, transfer.ReadOptions{})
	}
	return save(ctx, conn, c)
}

// load writes the rows of a file to a table.
func load(ctx context.Context, conn shell.Conn, c shell.Copy, mode client.IngestMode, o transfer.ReadOptions) (n int64,
	err error) {
	if o.Format, err = transfer.FormatOf(c.Format, c.File); err != nil {
		return 0, err
	}
	into, ok := conn.(shell.Ingester)
	if !ok {
		return 0, errors.New("this connection takes no rows in bulk")
	}
	if mode == client.Append || mode == client.CreateAppend {
		if o.Schema, err = schemaOf(ctx, conn, c.Table); err != nil && mode == client.Append {
			return 0, err
		}
	}
	rows, err := transfer.Open(ctx, c.File, os.Stdin, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n, err = into.Ingest(ctx, target(c.Table, mode), rows)
	if failed := rows.Err(); failed != nil {
		return 0, failed // the server only says that the stream broke off
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, shell.ErrInterrupted) {
		return 0, cause
	}
	return n, err
}

// target names a table of a bulk ingest: namespace.table, either of which may be in double quotes.
func target(table string, mode client.IngestMode) client.IngestOptions {
	o := client.IngestOptions{Mode: mode}
	inside := false
	for i, r := range table {
		if r == '"' {
			inside = !inside
		}
		if r == '.' && !inside {
			o.Namespace, table = bare(table[:i]), table[i+1:]
			break
		}
	}
	o.Table = bare(table)
	return o
}

// bare takes the quotes off a name.
func bare(name string) string {
	name = strings.TrimSpace(name)
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	return name
}

// schemaOf asks for the columns of a table.
func schemaOf(ctx context.Context, conn shell.Conn, table string) (*arrow.Schema, error) {
	rows, err := conn.Run(ctx, "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	schema := rows.Schema()
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return schema, rows.Close()
		}
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		batch.Release()
	}
}

// save writes the rows of a table or a query to a file.
func save(ctx context.Context, conn shell.Conn, c shell.Copy) (n int64, err error) {
	format, err := transfer.FormatOf(c.Format, c.File)
	if err != nil {
		return 0, err
	}
	rows, err := conn.Run(ctx, cmp.Or(c.Query, "SELECT * FROM "+c.Table))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if rows.Schema() == nil || rows.Schema().NumFields() == 0 {
		return 0, errors.New("the statement returns no rows")
	}
	out, err := transfer.NewOutput(c.File, os.Stdout)
	if err != nil {
		return 0, err
	}
	switch format {
	case transfer.Parquet, transfer.Arrow:
		n, err = saveBatches(rows, out, format)
	default:
		n, err = shell.Print(ctx, rows, out, shell.Format(format))
	}
	if err != nil {
		return n, errors.Join(err, out.Discard())
	}
	return n, out.Commit()
}

func saveBatches(rows shell.Rows, out io.Writer, format transfer.Format) (n int64, err error) {
	w, err := transfer.NewWriter(out, rows.Schema(), format)
	if err != nil {
		return 0, err
	}
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return n, w.Close()
		}
		if err != nil {
			return n, errors.Join(err, w.Close())
		}
		n += batch.NumRows()
		err = w.Write(batch)
		batch.Release()
		if err != nil {
			return n, errors.Join(err, w.Close())
		}
	}
}
