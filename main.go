// Command kalamflight is a real-time SQL database that speaks Arrow Flight SQL, the server and its shell in one binary.
// This file is its command line: flags, environment, settings file, signals and exit codes, and nothing else.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"kalamflight/flightsrv/client"
	"kalamflight/hotlog"
	"kalamflight/internal/config"
	"kalamflight/internal/demo"
	"kalamflight/internal/server"
	"kalamflight/internal/shell"
	"kalamflight/internal/tlsconf"
)

// version is that of the next release; the commit is added to it by build.
const version = "0.1.0-dev"

// The exit codes. 80 is kong's own for a command line that makes no sense.
const (
	exitFailed      = 1
	exitConnect     = 2
	exitStopped     = 3
	exitUsage       = 80
	exitInterrupted = 130
)

// drainMax is how long a server that was asked to stop may take.
const drainMax = 4 * time.Second

// scriptBytesMax is the size of the largest script.
const scriptBytesMax = 64 << 20

const description = `A real-time SQL database that speaks Arrow Flight SQL.

  kalamflight serve                      start a server on 127.0.0.1:8815
  kalamflight sql                        open a shell on it
  kalamflight exec -c "SELECT 1"         run a statement

A setting is taken from its flag, else from its variable in the environment, else from the file of --config;
else it has its default.`

type commandLine struct {
	Config    string `help:"Settings file (TOML); its keys are the long names of flags." placeholder:"FILE" env:"KALAMFLIGHT_CONFIG" config:"-"`
	LogFormat string `help:"Format of the log: text or json." enum:"text,json" default:"text" env:"KALAMFLIGHT_LOG_FORMAT"`
	LogLevel  string `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"KALAMFLIGHT_LOG_LEVEL"`

	Serve serveCommand `cmd:"" help:"Run a server."`
	SQL   sqlCommand   `cmd:"" name:"sql" help:"Run SQL as it is typed, or as it comes from standard input."`
	Exec  execCommand  `cmd:"" help:"Run statements or a script."`

	Subscribe subscribeCommand `cmd:"" help:"Follow a table or a SELECT: its rows, then every change."`
	Import    importCommand    `cmd:"" help:"Write the rows of a file to a table: CSV, JSON, Parquet or Arrow."`
	Export    exportCommand    `cmd:"" help:"Write the rows of a table or a SELECT to a file."`

	Demo    demoCommand    `cmd:"" help:"Show and check what the database does, on a server and a folder of its own."`
	Version versionCommand `cmd:"" help:"Print the version."`

	Doctor      doctorCommand      `cmd:"" help:"Examine a data folder or a server."`
	Ready       readyCommand       `cmd:"" help:"Ask a server on this machine whether it takes work; exit code 1 when not."`
	Top         topCommand         `cmd:"" help:"Watch what a server does."`
	Users       usersCommand       `cmd:"" help:"List the users of a server."`
	Tokens      tokensCommand      `cmd:"" help:"List, make and end access tokens."`
	Jobs        jobsCommand        `cmd:"" help:"List the jobs of a server that run, wait or have failed."`
	ConnectInfo connectInfoCommand `cmd:"" help:"Print what connects another program to a server: pandas, DuckDB, JDBC, DBeaver, Grafana, Go, Rust, npm."`
	Completion  completionCommand  `cmd:"" help:"Print the completion script of a shell: source <(kalamflight completion bash)."`
}

func main() { os.Exit(run(os.Args[1:])) }

// run is the process without its exit.
func run(args []string) int {
	var c commandLine
	parser, err := kong.New(&c, kong.Name("kalamflight"), kong.Description(description), kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Exit(os.Exit))
	if err != nil {
		return complain(fmt.Errorf("bug: command line: %w", err))
	}
	file, err := readConfig(parser.Model, configName(args))
	if err != nil {
		complain(err)
		return exitUsage
	}
	if err := kong.Resolvers(file).Apply(parser); err != nil {
		return complain(err)
	}
	parsed, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	p := &process{settings: origins(parsed, file), interrupts: make(chan struct{}, 1)}
	p.log = logger(c.LogFormat, c.LogLevel)
	ctx, stop := p.listen(strings.HasPrefix(parsed.Command(), "serve") || strings.HasPrefix(parsed.Command(), "demo"))
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return exitCode(parsed.Run(p))
}

// process is what commands need of the process.
type process struct {
	log        *slog.Logger
	settings   []server.Setting
	interrupts chan struct{}
}

// listen turns signals into the end of a ctx or, for a client, into interrupts of the running statement. A second
// signal that ends the process ends it at once.
func (p *process) listen(serving bool) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		ending := false
		for s := range signals {
			if !serving && s == os.Interrupt {
				select {
				case p.interrupts <- struct{}{}:
				default: // one is under way
				}
				continue
			}
			if ending {
				os.Exit(exitInterrupted)
			}
			ending = true
			cancel()
		}
	}()
	return ctx, cancel
}

// complain prints an error where errors belong.
func complain(err error) int {
	fmt.Fprintln(os.Stderr, "kalamflight: error:", err)
	return exitFailed
}

// exitCode says how a command ended. The shell has printed the failure of a statement already.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, shell.ErrConnect):
		complain(err)
		return exitConnect
	case errors.Is(err, shell.ErrInterrupted):
		return exitInterrupted
	case errors.Is(err, shell.ErrStopped):
		return exitStopped
	case errors.Is(err, shell.ErrStatement), errors.Is(err, errUnwell):
		return exitFailed
	}
	return complain(err)
}

func logger(format, level string) *slog.Logger {
	options := &slog.HandlerOptions{Level: map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn":  slog.LevelWarn,
		"error": slog.LevelError}[level]}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// configFile is the settings file as kong asks for it.
type configFile map[string]string

// Validate is for kong; the keys were checked when the file was read.
func (f configFile) Validate(*kong.Application) error { return nil }

// Resolve gives a flag its value from the file unless the environment has one.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	if !ok || envOf(flag) != "" {
		return nil, nil
	}
	return value, nil
}

// envOf is the variable of the environment that sets a flag; "" when none does.
func envOf(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name
		}
	}
	return ""
}

// configName finds the settings file before the rest of the command line is understood.
func configName(args []string) string {
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "--config="); ok {
			return name
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if a == "--" {
			break
		}
	}
	return os.Getenv("KALAMFLIGHT_CONFIG")
}

func readConfig(model *kong.Application, name string) (configFile, error) {
	if name == "" {
		return configFile{}, nil
	}
	text, err := readLimited(name, config.BytesMax)
	if err != nil {
		return nil, err
	}
	var keys []string
	seen := map[string]bool{}
	for _, node := range append([]*kong.Node{model.Node}, model.Children...) {
		for _, flag := range node.Flags {
			if flag.Tag.Get("config") != "-" && flag.Name != "help" && !seen[flag.Name] {
				seen[flag.Name] = true
				keys = append(keys, flag.Name)
			}
		}
	}
	values, err := config.Parse(name, text, keys)
	return values, err
}

// origins are the settings of a command with where each came from.
func origins(parsed *kong.Context, file configFile) []server.Setting {
	given := map[string]bool{}
	for _, path := range parsed.Path {
		if path.Flag != nil && !path.Resolved {
			given[path.Flag.Name] = true
		}
	}
	var settings []server.Setting
	for _, flag := range parsed.Flags() {
		if flag.Name == "help" {
			continue
		}
		origin := "default"
		if _, ok := file[flag.Name]; ok {
			origin = "config"
		}
		if envOf(flag) != "" {
			origin = "env"
		}
		if given[flag.Name] {
			origin = "flag"
		}
		settings = append(settings, server.Setting{Name: flag.Name, Value: shownValue(parsed.FlagValue(flag)),
			Origin: origin})
	}
	return settings
}

type serveCommand struct {
	DataDir    string           `help:"Data folder; made when missing." default:"kalamflight-data" placeholder:"DIR" env:"KALAMFLIGHT_DATA_DIR"`
	Listen     string           `help:"Address to listen on." default:"127.0.0.1:8815" placeholder:"HOST:PORT" env:"KALAMFLIGHT_LISTEN"`
	Insecure   bool             `help:"Allow an address that is not loopback without TLS, or while root has no password." env:"KALAMFLIGHT_INSECURE"`
	Durability string           `help:"What an acknowledged write means: sync (on the disk) or async (a power cut may lose the last moments)." enum:"sync,async" default:"sync" env:"KALAMFLIGHT_DURABILITY"`
	QueryBytes server.ByteCount `help:"Memory of one query." default:"1GiB" env:"KALAMFLIGHT_QUERY_BYTES"`
	TotalBytes server.ByteCount `help:"Memory of all queries together." default:"4GiB" env:"KALAMFLIGHT_TOTAL_BYTES"`
	SpillDir   string           `help:"Folder for rows that queries cannot hold in memory; the folder spill in the data folder when empty." placeholder:"DIR" env:"KALAMFLIGHT_SPILL_DIR"`
	SpillBytes server.ByteCount `help:"Disk that these rows may take, all queries together." default:"32GiB" env:"KALAMFLIGHT_SPILL_BYTES"`
	HotBytes   server.ByteCount `help:"Budget of rows that are not flushed." default:"1GiB" env:"KALAMFLIGHT_HOT_BYTES"`
	LogBytes   server.ByteCount `help:"Budget of the log that a start replays." default:"128MiB" env:"KALAMFLIGHT_LOG_BYTES"`
	CacheBytes server.ByteCount `help:"Memory of decoded columns that are kept; 0 keeps none." default:"1GiB" env:"KALAMFLIGHT_CACHE_BYTES"`
	Workers    int              `help:"Goroutines of one query; 0 means one for each core." default:"0" env:"KALAMFLIGHT_WORKERS"`
	QueriesMax int              `help:"Queries and subscriptions at once." default:"100000" env:"KALAMFLIGHT_QUERIES_MAX"`

	TransactionIdle time.Duration    `help:"Ends transactions that ran no statement for so long." default:"5m" env:"KALAMFLIGHT_TRANSACTION_IDLE"`
	ExportDir       string           `help:"Folder that EXPORT USER writes in; without one there are no exports." placeholder:"DIR" env:"KALAMFLIGHT_EXPORT_DIR"`
	DropGrace       time.Duration    `help:"How long a dropped user can come back before they are erased." default:"720h" env:"KALAMFLIGHT_DROP_GRACE"`
	Audit           string           `help:"What the audit log gets: none, ddl (logins and what changes definitions, people or the server), write (also what changes rows) or all." enum:"none,ddl,write,all" default:"ddl" env:"KALAMFLIGHT_AUDIT"`
	AuditBytes      server.ByteCount `help:"Size of the audit log; beyond it the oldest records go." default:"1GiB" env:"KALAMFLIGHT_AUDIT_BYTES"`
	AuditKeep       time.Duration    `help:"Age of the records of the audit log; older ones go." default:"9600h" env:"KALAMFLIGHT_AUDIT_KEEP"`

	TransactionBytes server.ByteCount `help:"Rows that one transaction has written; large inserts do not count." default:"64MiB" env:"KALAMFLIGHT_TRANSACTION_BYTES"`

	limitFlags  `group:"Limits of a user"`
	watchFlags  `group:"Watching"`
	secureFlags `group:"TLS and logins"`
}

// Run serves until a signal.
func (c *serveCommand) Run(ctx context.Context, p *process) error {
	durability := hotlog.Sync
	if c.Durability == "async" {
		durability = hotlog.Async
	}
	password, err := secret(c.RootPasswordFile, "KALAMFLIGHT_ROOT_PASSWORD")
	if err != nil {
		return err
	}
	watch, err := c.http()
	if err != nil {
		return err
	}
	trace, stopTracing, err := startTracing(ctx, p.log)
	if err != nil {
		return err
	}
	defer stopTracing()
	c.limitHeap()
	s, err := server.Start(ctx, server.Options{DataDir: c.DataDir, Listen: c.Listen, Insecure: c.Insecure,
		Quota: c.quota(), Slow: c.SlowQuery, Trace: trace, SessionIdle: c.SessionIdle, HTTP: watch, TLS: c.tls(),
		Logins:       c.logins(),
		RootPassword: password, Durability: durability,
		QueryBytes: int64(c.QueryBytes), TotalBytes: int64(c.TotalBytes), HotBytes: int64(c.HotBytes),
		LogBytes: int64(c.LogBytes), SpillDir: c.SpillDir, SpillBytes: int64(c.SpillBytes),
		CacheBytes: cmp.Or(int64(c.CacheBytes), -1),
		ExportDir:  c.ExportDir, DropGrace: c.DropGrace,
		Audit: c.Audit, AuditBytes: int64(c.AuditBytes), AuditKeep: c.AuditKeep,
		TransactionIdle: c.TransactionIdle, TransactionBytes: int64(c.TransactionBytes),
		Workers: c.Workers, QueriesMax: c.QueriesMax, Version: build(), Settings: p.settings, Logger: p.log})
	if err != nil {
		return err
	}
	p.log.Info("listening", "url", s.URL(), "data", c.DataDir, "version", build())
	if s.CAFile() != "" { // people look for it here, whatever the log is set to
		fmt.Fprintf(os.Stderr, "TLS: clients need the authority %s (--tls-ca)\n     SHA-256 %s\n", s.CAFile(),
			s.Fingerprint())
	}
	return p.managed(ctx, s)
}

// limitHeap makes the collector work harder before the process is much larger than what it was told to hold, unless
// GOMEMLIMIT says otherwise: left alone, it lets the heap become twice as large.
func (c *serveCommand) limitHeap() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		o := server.Options{TotalBytes: int64(c.TotalBytes), HotBytes: int64(c.HotBytes)}
		held := o.HeldBytes()
		debug.SetMemoryLimit(held + held/4 + 1<<30)
	}
}

// serveUntil waits for the end of ctx or of the server, and stops the server.
func serveUntil(ctx context.Context, s *server.Server) error {
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-s.Failed():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	return errors.Join(failed, s.Shutdown(ctx))
}

type connection struct {
	URL          string `help:"Server to connect to." default:"grpc://127.0.0.1:8815" env:"KALAMFLIGHT_URL"`
	User         string `help:"User to connect as. The password comes from KALAMFLIGHT_PASSWORD or is asked for." env:"KALAMFLIGHT_USER"`
	PasswordFile string `help:"File that has the password." placeholder:"FILE" env:"KALAMFLIGHT_PASSWORD_FILE"`
	TokenFile    string `help:"File that has a token to use instead of a password; KALAMFLIGHT_TOKEN is one." placeholder:"FILE" env:"KALAMFLIGHT_TOKEN_FILE"`
	Namespace    string `help:"Namespace of names that have none." env:"KALAMFLIGHT_NAMESPACE"`

	trustFlags `group:"TLS"`

	// askAlways says that the variables of the environment are another user's.
	askAlways bool
}

// secret takes a secret from a file, else from a variable.
func secret(file, variable string) (string, error) {
	if file == "" {
		return os.Getenv(variable), nil
	}
	text, err := readLimited(file, 64<<10)
	return strings.TrimRight(string(text), "\r\n"), err
}

// dial connects, and asks a person for the password when the server wants one.
func (c *connection) dial(ctx context.Context) (shell.Conn, error) {
	o := client.Options{User: c.User, Namespace: c.Namespace}
	var err error
	if o.TLS, err = tlsconf.Client(c.options()); err != nil {
		return nil, err
	}
	if !c.askAlways {
		if o.Password, err = secret(c.PasswordFile, "KALAMFLIGHT_PASSWORD"); err != nil {
			return nil, err
		}
		if o.Token, err = secret(c.TokenFile, "KALAMFLIGHT_TOKEN"); err != nil {
			return nil, err
		}
	}
	conn, err := shell.Dial(ctx, c.URL, o)
	if !shell.NeedsPassword(err) || c.User == "" || o.Password != "" || o.Token != "" ||
		!term.IsTerminal(int(os.Stdin.Fd())) {
		return conn, err
	}
	fmt.Fprintf(os.Stderr, "Password for %s: ", c.User)
	password, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	o.Password = string(password)
	return shell.Dial(ctx, c.URL, o)
}

// open makes a shell on a new connection.
func (c *connection) open(ctx context.Context, p *process, o shell.Options) (*shell.Shell, func() error, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	o.Conn, o.Out, o.Err, o.Interrupts, o.ReadFile = conn, os.Stdout, os.Stderr, p.interrupts, readScript
	o.Namespace, o.Connect = c.Namespace, c.connectAgain
	o.Copy = copyRows
	o.CreateFile = func(name string) (io.WriteCloser, error) { return os.Create(name) }
	s, err := shell.New(o)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return s, func() error { return errors.Join(s.Close(), s.Conn().Close()) }, nil
}

// connectAgain is \connect: what it does not name stays as it was.
func (c *connection) connectAgain(ctx context.Context, url, user string) (shell.Conn, error) {
	next := *c
	next.URL = cmp.Or(url, c.URL)
	if user != "" && user != c.User {
		next.User, next.PasswordFile, next.TokenFile, next.askAlways = user, "", "", true
	}
	conn, err := next.dial(ctx)
	if err == nil {
		*c = next
	}
	return conn, err
}

type sqlCommand struct {
	connection
	Format string `help:"Format of rows: table, expanded, csv, tsv, json (a line for each row) or markdown." enum:"table,expanded,csv,tsv,json,markdown" default:"table" env:"KALAMFLIGHT_FORMAT"`
	Rows   int    `help:"Rows of a table that are shown to a person; 0 shows all." default:"40" env:"KALAMFLIGHT_ROWS"`
}

// Run reads from the terminal, or a script from standard input.
func (c *sqlCommand) Run(ctx context.Context, p *process) (err error) {
	interactive := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	o := shell.Options{Format: shell.Format(c.Format)}
	if interactive {
		return c.interactive(ctx, p, o)
	}
	s, closeConn, err := c.open(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn()) }()
	text, err := readLimited("-", scriptBytesMax)
	if err != nil {
		return err
	}
	return s.Script(ctx, "stdin", string(text), false)
}

// interactive reads from a person.
func (c *sqlCommand) interactive(ctx context.Context, p *process, o shell.Options) (err error) {
	color := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	var s *shell.Shell
	terminal, err := shell.NewTerminal(shell.TerminalOptions{HistoryFile: historyFile(), Out: os.Stdout,
		Color: color, Screen: screen,
		Prompt:   func() string { return s.Prompt() },
		Complete: func(text string) []shell.Completion { return s.Catalog().Complete(text, s.Namespace()) }})
	if err != nil {
		return err
	}
	o.RowsShown, o.CellMax, o.Timing, o.Color, o.Progress = c.Rows, 200, true, color, true
	o.In, o.Above, o.Screen = os.Stdin, terminal.Above, screen
	o.Editor = cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	o.Pager = os.Getenv("PAGER")
	var closeConn func() error
	if s, closeConn, err = c.open(ctx, p, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn()) }()
	fmt.Fprintf(os.Stderr, "kalamflight %s, connected to %s. \\? for help, \\q to quit.\n", build(), c.URL)
	return s.Interactive(ctx, terminal)
}

// screen is the size of the terminal.
func screen() (width, height int) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// historyFile is where typed statements are kept; "" when the machine has no such place.
func historyFile() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "kalamflight")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	return filepath.Join(dir, "history")
}

type execCommand struct {
	connection
	Command   []string `short:"c" help:"Statements to run; may be given more than once." placeholder:"SQL" sep:"none" xor:"what" required:"" config:"-"`
	File      string   `short:"f" help:"Script to run; - is standard input." placeholder:"FILE" xor:"what" required:"" config:"-"`
	Format    string   `help:"Format of rows: table, expanded, csv, tsv, json (a line for each row) or markdown." enum:"table,expanded,csv,tsv,json,markdown" default:"table" env:"KALAMFLIGHT_FORMAT"`
	KeepGoing bool     `help:"Go on with a script after a statement failed." config:"-"`
	Timing    bool     `help:"Say how long each statement took." config:"-"`
}

// Run runs the statements.
func (c *execCommand) Run(ctx context.Context, p *process) (err error) {
	name, text := "-c", strings.Join(c.Command, ";\n")
	if c.File != "" {
		script, err := readScript(c.File)
		if err != nil {
			return err
		}
		name, text = c.File, string(script)
	}
	s, closeConn, err := c.open(ctx, p, shell.Options{Format: shell.Format(c.Format), Timing: c.Timing})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn()) }()
	return s.Script(ctx, name, text, c.KeepGoing)
}

func readScript(name string) ([]byte, error) { return readLimited(name, scriptBytesMax) }

// readLimited reads a file, or standard input for -, of at most so many bytes.
func readLimited(name string, most int64) (text []byte, err error) {
	f := os.Stdin
	if name != "-" {
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	text, err = io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return text, err
}

type demoCommand struct {
	Once   bool   `help:"Stop when the demo is done." config:"-"`
	Listen string `help:"Address of the demo's server." default:"127.0.0.1:0" config:"-"`
	Rows   int64  `help:"Sensor rows to ingest." default:"1000000" config:"-"`
}

// Run runs the demo and, unless once, keeps its server up until a signal.
func (c *demoCommand) Run(ctx context.Context, p *process) (err error) {
	dir, err := os.MkdirTemp("", "kalamflight-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := server.Start(ctx, server.Options{DataDir: dir, Listen: c.Listen, HTTP: server.HTTP{Listen: server.HTTPOff},
		Version: build(), Logger: quiet})
	if err != nil {
		return err
	}
	failed := demo.Run(ctx, demo.Options{URL: s.URL(), DataDir: dir, Out: os.Stdout, Rows: c.Rows})
	if failed == nil && !c.Once {
		fmt.Fprintf(os.Stdout, "\nThe server stays up at %s until Ctrl-C.\n", s.URL())
		<-ctx.Done()
	}
	stopped, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	return errors.Join(failed, s.Shutdown(stopped))
}

// build is the version with the commit that the binary was built from.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "+" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ".dirty"
		}
	}
	if revision == "" {
		return version
	}
	return version + revision + dirty
}
