package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"kalamflight/internal/completion"
	"kalamflight/internal/doctor"
	"kalamflight/internal/shell"
	"kalamflight/internal/snippets"
)

type doctorCommand struct {
	Check doctorCheckCommand `cmd:"" default:"withargs" help:"Examine a data folder or, with --live, the server at --url. Nothing is changed."`

	Audit   doctorAudit   `cmd:"" help:"Check every record of the audit log in a data folder that no server uses."`
	Receipt doctorReceipt `cmd:"" help:"Check the receipt of an erasure."`
}

type doctorCheckCommand struct {
	connection
	DataDir string `help:"Data folder to examine; its log only while no server has it open." default:"kalamflight-data" placeholder:"DIR" env:"KALAMFLIGHT_DATA_DIR"`
	Live    bool   `help:"Examine the server at --url instead of a folder, as a user." config:"-"`
	JSON    bool   `help:"Print the checks as JSON." name:"json" config:"-"`
}

// errUnwell ends a command whose checks have failed; they were printed.
var errUnwell = errors.New("a check has failed")

// Run examines and prints.
func (c *doctorCheckCommand) Run(ctx context.Context) (err error) {
	var r *doctor.Report
	if c.Live {
		began := time.Now()
		conn, err := c.dial(ctx)
		if err != nil {
			return err
		}
		r = doctor.Server(ctx, conn, c.URL, time.Since(began))
		if err := conn.Close(); err != nil {
			return err
		}
	} else if r, err = doctor.Folder(ctx, c.DataDir); err != nil {
		return err
	}
	write := r.Text
	if c.JSON {
		write = r.JSON
	}
	if err := write(os.Stdout); err != nil {
		return err
	}
	if r.Failed() {
		return errUnwell
	}
	return nil
}

type connectInfoCommand struct {
	connection
	For string `help:"Program to connect: pandas, duckdb, jdbc, dbeaver, grafana, go, rust or npm." enum:"pandas,duckdb,jdbc,dbeaver,grafana,go,rust,npm" default:"pandas" config:"-"`
}

// Run prints the snippet; it connects to nothing.
func (c *connectInfoCommand) Run() error {
	text, err := snippets.For(c.For, snippets.Options{URL: c.URL, User: c.User, CAFile: c.TLSCA})
	if err != nil {
		return err
	}
	_, err = io.WriteString(os.Stdout, text)
	return err
}

type completionCommand struct {
	Shell string `arg:"" help:"Shell: bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Run prints the script: source <(kalamflight completion bash).
func (c *completionCommand) Run(k *kong.Context) error {
	text, err := completion.Script(c.Shell, k.Model)
	if err != nil {
		return err
	}
	_, err = io.WriteString(os.Stdout, text)
	return err
}

// listing is a command that shows a system table.
type listing struct {
	connection
	Format string `help:"Format of rows: table, expanded, csv or json." enum:"table,expanded,csv,json" default:"table" env:"KALAMFLIGHT_FORMAT"`
}

// script runs statements and prints their rows.
func (c *listing) script(ctx context.Context, p *process, sql string) (err error) {
	s, closeConn, err := c.open(ctx, p, shell.Options{Format: shell.Format(c.Format)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn()) }()
	return s.Script(ctx, "-c", sql, false)
}

type tokensCommand struct {
	List   tokensListCommand   `cmd:"" default:"withargs" help:"List tokens: one's own, or for a dba all."`
	Create tokensCreateCommand `cmd:"" help:"Make a token and print it, once."`
	Drop   tokensDropCommand   `cmd:"" help:"End a token and what runs by it."`
}

type tokensListCommand struct{ listing }

// Run lists the tokens.
func (c *tokensListCommand) Run(ctx context.Context, p *process) error {
	return c.script(ctx, p, "SELECT * FROM system.tokens ORDER BY \"user\", name")
}

type tokenFlags struct {
	Name string `arg:"" help:"Name of the token."`
	For  string `help:"User whose token it is; the one who connects when empty." config:"-"`
}

// clause names the token and its user.
func (f *tokenFlags) clause() string {
	if f.For == "" {
		return identifier(f.Name)
	}
	return identifier(f.Name) + " FOR USER " + identifier(f.For)
}

// identifier quotes a name for SQL.
func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

type tokensCreateCommand struct {
	listing
	tokenFlags
	Expires string `help:"When it ends: an interval such as 30 days, or never." default:"90 days" config:"-"`
}

// Run makes a token.
func (c *tokensCreateCommand) Run(ctx context.Context, p *process) error {
	expires := "IN '" + strings.ReplaceAll(c.Expires, "'", "''") + "'"
	if strings.EqualFold(c.Expires, "never") {
		expires = "NEVER"
	}
	return c.script(ctx, p, "CREATE TOKEN "+c.clause()+" EXPIRES "+expires)
}

type tokensDropCommand struct {
	listing
	tokenFlags
}

// Run ends a token.
func (c *tokensDropCommand) Run(ctx context.Context, p *process) error {
	return c.script(ctx, p, "DROP TOKEN "+c.clause())
}

type usersCommand struct{ listing }

// Run lists the users.
func (c *usersCommand) Run(ctx context.Context, p *process) error {
	return c.script(ctx, p, "SELECT * FROM system.users ORDER BY name")
}

type jobsCommand struct {
	listing
	All bool `help:"Show the jobs that have ended too." config:"-"`
}

// Run lists the jobs.
func (c *jobsCommand) Run(ctx context.Context, p *process) error {
	where := " WHERE state IN ('queued', 'running', 'failed')"
	if c.All {
		where = ""
	}
	return c.script(ctx, p, "SELECT * FROM system.jobs"+where+" ORDER BY started_at DESC NULLS FIRST")
}

type topCommand struct {
	listing
	Interval time.Duration `help:"Time between two looks." default:"2s" config:"-"`
	Once     bool          `help:"Look once." config:"-"`
}

// topQueries are what top shows: the server, what runs, and who follows.
func topQueries() string {
	return strings.Join([]string{
		`SELECT name, value FROM system.stats WHERE name IN ('engine.sessions', 'engine.queries', 'engine.followers',
	'engine.memory_bytes', 'engine.spill_bytes', 'engine.rows_returned', 'hotlog.bytes', 'jobs.backlog', 'tablets.commits')
	ORDER BY name`,
		`SELECT id, "user", kind, elapsed_ms AS ms, rows, rows_read, memory_bytes AS memory, spilled_bytes AS spilled,
	round(100 * progress) AS "%", address, left(text, 60) AS text FROM system.queries ORDER BY elapsed_ms DESC LIMIT 15`,
		`SELECT id, "user", "table", rows, lag, address, left(text, 60) AS text FROM system.subscriptions ORDER BY lag DESC,
	id LIMIT 10`}, ";\n")
}

// Run looks, and looks again until Ctrl-C.
func (c *topCommand) Run(ctx context.Context, p *process) (err error) {
	s, closeConn, err := c.open(ctx, p, shell.Options{Format: shell.Format(c.Format), CellMax: 60})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn()) }()
	screen := !c.Once && term.IsTerminal(int(os.Stdout.Fd()))
	for {
		if screen {
			fmt.Fprintf(os.Stdout, "\x1b[H\x1b[2J%s  %s  Ctrl-C ends\n", c.URL, time.Now().Format(time.TimeOnly))
		}
		if err := s.Script(ctx, "top", topQueries(), false); err != nil {
			return err
		}
		if c.Once {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.interrupts:
			return nil
		case <-time.After(max(c.Interval, 100*time.Millisecond)):
		}
	}
}

type versionCommand struct {
	JSON bool `help:"Print it as JSON." name:"json" config:"-"`
}

// Run prints the version.
func (c *versionCommand) Run() error {
	if c.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`
		}{build(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
	}
	_, err := fmt.Fprintf(os.Stdout, "kalamflight %s %s %s/%s\n", build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
