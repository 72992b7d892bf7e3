package shell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errQuit ends the shell.
var errQuit = errors.New("quit")

// scriptDepthMax bounds scripts that run scripts.
const scriptDepthMax = 16

// metaCommand is a backslash command.
type metaCommand struct {
	names          []string
	argument, help string
	run            func(s *Shell, ctx context.Context, argument string) error
}

// commands are all of them, in the order of the help.
func commands() []metaCommand {
	return []metaCommand{
		{[]string{`\?`, `\h`, `\help`}, "", "list the commands", (*Shell).help},
		{[]string{`\q`, `\quit`}, "", "quit", func(*Shell, context.Context, string) error { return errQuit }},
		{[]string{`\d`}, "[NAME]", "list the tables, or describe one", (*Shell).describe},
		{[]string{`\dt`}, "[NAME]", "list the tables, or describe one", (*Shell).describe},
		{[]string{`\dp`, `\z`}, "", "list who may do what to tables", query(grantsQuery)},
		{[]string{`\dv`}, "", "list the views", query(viewsQuery)},
		{[]string{`\di`}, "", "list the indexes", query("SHOW INDEXES")},
		{[]string{`\dn`, `\l`}, "", "list the namespaces", query("SHOW NAMESPACES")},
		{[]string{`\du`}, "", "list the users", query(usersQuery)},
		{[]string{`\df`}, "[WORD]", "list the functions whose names have a word in them", (*Shell).functions},
		{[]string{`\subscribe`, `\live`}, "QUERY", "follow a table or a SELECT: its rows, then every change",
			(*Shell).subscribe},
		{[]string{`\unsubscribe`}, "[N]", "stop following: the newest, or number N", (*Shell).unsubscribe},
		{[]string{`\g`}, "", "run the last statement again; behind a statement, instead of a semicolon", (*Shell).again},
		{[]string{`\gx`}, "", `as \g, with its rows expanded`, (*Shell).againExpanded},
		{[]string{`\watch`}, "[SECONDS]", "run the last statement again and again, until Ctrl-C", (*Shell).watch},
		{[]string{`\as`}, "USER STATEMENT", "run a statement as somebody else", (*Shell).runAs},
		{[]string{`\format`}, "FORMAT", "print rows as " + formats, (*Shell).setFormat},
		{[]string{`\x`}, "[on|off]", "switch between table and expanded", (*Shell).toggleExpanded},
		{[]string{`\rows`}, "N", "show at most N rows of a table, the first and the last; 0 shows all", (*Shell).setRows},
		{[]string{`\timing`}, "[on|off]", "say how long each statement took, or stop saying it", (*Shell).toggleTiming},
		{[]string{`\pager`}, "[on|off]", "show long tables in the pager, or stop doing so", (*Shell).togglePager},
		{[]string{`\o`}, "[FILE]", "write rows to a file, or to the screen again", (*Shell).output},
		{[]string{`\copy`}, "TABLE FROM FILE | TABLE TO FILE | (SELECT) TO FILE",
			"rows from or to a CSV, JSON, Parquet or Arrow file", (*Shell).copy},
		{[]string{`\i`}, "FILE", "run a script", (*Shell).include},
		{[]string{`\e`}, "[FILE]", "write a statement in the editor, beginning with the last one", (*Shell).edit},
		{[]string{`\connect`, `\c`}, "[URL] [USER]", "connect to another server, or as another user", (*Shell).connect},
		{[]string{`\conninfo`}, "", "say who is connected to what", query(whoQuery)},
		{[]string{`\echo`}, "TEXT", "print a text", (*Shell).echo},
		{[]string{`\!`}, "COMMAND", "run a command of the system", (*Shell).system},
	}
}

const (
	viewsQuery = "SELECT table_schema AS namespace, table_name AS name, view_definition AS definition " +
		"FROM information_schema.views ORDER BY 1, 2"
	grantsQuery = "SELECT namespace, table_name, grantee, privilege, columns, grantable FROM system.grants " +
		"ORDER BY 1, 2, 3, 4"
	usersQuery = "SELECT name, role, created_at FROM system.users WHERE dropped_at IS NULL ORDER BY name"
	whoQuery   = "SELECT current_user() AS \"user\", current_schema() AS namespace, version() AS server"
)

// query makes a command of a statement.
func query(sql string) func(*Shell, context.Context, string) error {
	return func(s *Shell, ctx context.Context, _ string) error { return s.Statement(ctx, sql) }
}

// command runs a backslash command.
func (s *Shell) command(ctx context.Context, text string) error {
	name, argument, _ := strings.Cut(text, " ")
	if bang, ok := strings.CutPrefix(text, `\!`); ok {
		name, argument = `\!`, bang
	}
	argument = strings.TrimSuffix(strings.TrimSpace(argument), ";")
	name = strings.TrimSuffix(name, ";")
	if strings.HasPrefix(name, `\d`) {
		name = strings.TrimSuffix(name, "+") // psql's longer lists: ours are as long as they get
	}
	for _, c := range commands() {
		for _, n := range c.names {
			if n == name {
				return c.run(s, ctx, argument)
			}
		}
	}
	return commandError(`unknown command %s; \? lists them`, name)
}

func commandError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStatement, fmt.Sprintf(format, args...))
}

func (s *Shell) say(format string, args ...any) error {
	_, err := fmt.Fprintf(s.o.Err, format+"\n", args...)
	return err
}

func (s *Shell) help(context.Context, string) error {
	var b strings.Builder
	b.WriteString(
		"A statement ends with a semicolon and may take several lines. Ctrl-C cancels the statement that runs,\n" +
			"Tab completes, Ctrl-R searches what was typed before.\n")
	for _, c := range commands() {
		usage := strings.TrimSpace(strings.Join(c.names, ", ") + " " + c.argument)
		if len(usage) > 26 {
			fmt.Fprintf(&b, "  %s\n  %-26s  %s\n", usage, "", c.help)
			continue
		}
		fmt.Fprintf(&b, "  %-26s  %s\n", usage, c.help)
	}
	return s.say("%s", strings.TrimSuffix(b.String(), "\n"))
}

// describe lists the tables, or the columns and the indexes of one.
func (s *Shell) describe(ctx context.Context, name string) error {
	if name == "" {
		return s.Statement(ctx, "SHOW TABLES")
	}
	if err := s.Statement(ctx, "DESCRIBE "+name); err != nil {
		return err
	}
	_, table, found := strings.Cut(name, ".")
	if !found {
		table = name
	}
	indexes := "SELECT name, columns, \"unique\" FROM system.indexes WHERE lower(table_name) = '" +
		strings.ReplaceAll(strings.ToLower(unquote(table)), "'", "''") + "' AND NOT \"primary\""
	var lines []string
	err := s.texts(ctx, indexes, func(row []string) {
		line := "  index " + row[0] + " (" + row[1] + ")"
		if row[2] == "true" {
			line += ", unique"
		}
		lines = append(lines, printable(line))
	})
	if err != nil || len(lines) == 0 {
		return nil // the columns were shown; who may not see the indexes has seen what there is to see
	}
	return s.say("%s", strings.Join(lines, "\n"))
}

func (s *Shell) functions(ctx context.Context, word string) error {
	word = strings.Trim(word, "*")
	return s.Statement(ctx, "SELECT name, \"group\", description FROM system.functions WHERE contains(lower(name), '"+
		strings.ReplaceAll(strings.ToLower(word), "'", "''")+"') ORDER BY name")
}

// runAs runs a statement as another user, if the server allows it.
func (s *Shell) runAs(ctx context.Context, argument string) error {
	user, statement, _ := strings.Cut(argument, " ")
	if strings.TrimSpace(statement) == "" {
		return commandError(`\as needs a user and a statement`)
	}
	name := strings.ReplaceAll(strings.Trim(user, `'"`), "'", "''")
	return s.Statement(ctx, "EXECUTE AS USER '"+name+"' ("+statement+")")
}

func (s *Shell) setFormat(_ context.Context, argument string) error {
	if !Format(argument).valid() {
		return commandError("unknown format %q: one of %s", argument, formats)
	}
	s.o.Format = Format(argument)
	return nil
}

func (s *Shell) toggleExpanded(_ context.Context, argument string) error {
	on, err := switched(argument, s.o.Format == FormatExpanded)
	if err != nil {
		return err
	}
	s.o.Format = FormatTable
	if on {
		s.o.Format = FormatExpanded
	}
	return s.say("format is %s", s.o.Format)
}

func (s *Shell) setRows(_ context.Context, argument string) error {
	n, err := strconv.Atoi(argument)
	if err != nil || n < 0 {
		return commandError(`\rows needs a number, 0 for all rows`)
	}
	s.o.RowsShown = n
	return nil
}

func (s *Shell) toggleTiming(_ context.Context, argument string) error {
	on, err := switched(argument, s.o.Timing)
	if err != nil {
		return err
	}
	s.o.Timing = on
	return s.say("timing is %s", onOff(s.o.Timing))
}

func (s *Shell) togglePager(_ context.Context, argument string) error {
	if s.o.Pager == "" {
		return commandError("there is no pager: the variable PAGER names none")
	}
	on, err := switched(argument, s.paging)
	if err != nil {
		return err
	}
	s.paging = on
	return s.say("pager is %s", onOff(s.paging))
}

// switched is what a switch becomes by its argument: on, off, or the other way without one.
func switched(argument string, now bool) (bool, error) {
	switch strings.ToLower(argument) {
	case "":
		return !now, nil
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return now, commandError("on or off, not %q", argument)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (s *Shell) echo(_ context.Context, argument string) error {
	if _, err := fmt.Fprintln(s.out, argument); err != nil {
		return err
	}
	return s.out.Flush()
}

// include runs a script.
func (s *Shell) include(ctx context.Context, name string) error {
	if s.o.ReadFile == nil {
		return commandError(`\i is not available here`)
	}
	if name == "" {
		return commandError(`\i needs the name of a file`)
	}
	if s.depth >= scriptDepthMax {
		return commandError(`\i is nested %d deep`, s.depth)
	}
	text, err := s.o.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	s.depth++
	defer func() { s.depth-- }()
	return s.Script(ctx, name, string(text), false)
}

// connect replaces the connection. The old one stays when there is no new one.
func (s *Shell) connect(ctx context.Context, argument string) error {
	if s.o.Connect == nil {
		return commandError(`\connect is not available here`)
	}
	url, user, _ := strings.Cut(argument, " ")
	if !strings.Contains(url, "://") {
		url, user = "", argument
	}
	conn, err := s.o.Connect(ctx, url, strings.TrimSpace(user))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	s.stopAll()
	old := s.o.Conn
	s.o.Conn, s.transaction, s.namespace = conn, outside, defaultNamespace
	if err := old.Close(); err != nil {
		return fmt.Errorf("%w: close the old connection: %w", ErrStatement, err)
	}
	s.learn(ctx)
	return s.Statement(ctx, whoQuery)
}

// subscription makes a SUBSCRIBE of what to follow: a SUBSCRIBE, a SELECT, or the name of a table and what may stand
// behind it. OPTIONS at the end of a SELECT are the subscription's.
func subscription(text string) string {
	switch firstWord(text) {
	case "SUBSCRIBE":
		return text
	case "SELECT", "WITH", "FROM":
		query, options := cutOptions(text)
		return strings.TrimSpace("SUBSCRIBE TO (" + query + ") " + options)
	}
	return "SUBSCRIBE TO " + text
}

// cutOptions cuts off the OPTIONS (...) that a statement ends with.
func cutOptions(text string) (query, options string) {
	depth, cut := 0, -1
	all := spans(text)
	for i, s := range all {
		switch piece := text[s.from:s.to]; {
		case piece == "(":
			depth++
		case piece == ")":
			depth--
		case depth == 0 && s.kind == spanWord && strings.EqualFold(piece, "OPTIONS"):
			next := i + 1
			for next < len(all) && all[next].kind == spanBlank {
				next++
			}
			if next < len(all) && text[all[next].from:all[next].to] == "(" {
				cut = s.from
			}
		}
	}
	if cut < 0 {
		return strings.TrimSpace(text), ""
	}
	return strings.TrimSpace(text[:cut]), text[cut:]
}
