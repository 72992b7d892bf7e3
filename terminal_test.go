package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"kalamflight/internal/server"
)

// terminal is a shell in a pseudo-terminal, and the screen that a person would see.
type terminal struct {
	t      *testing.T
	file   *os.File
	screen vt10x.Terminal
	// everything has all bytes that the shell wrote.
	mu         sync.Mutex
	everything strings.Builder
	ended      chan error
}

// screenTime bounds how long a test waits for something to be seen.
const screenTime = 30 * time.Second

// openTerminal starts kalamflight sql on a screen of a size.
func openTerminal(t *testing.T, url string, columns, rows int, env ...string) *terminal {
	t.Helper()
	c := command(t, "sql", "--url", url, "--user", "root")
	home := t.TempDir()
	c.Env = append(c.Env, "TERM=xterm-256color", "HOME="+home, "XDG_CACHE_HOME="+home, "PAGER=", "NO_COLOR=",
		"INPUTRC=/dev/null")
	c.Env = append(c.Env, env...)
	file, err := pty.StartWithSize(c, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, file: file, ended: make(chan error, 1),
		screen: vt10x.New(vt10x.WithSize(columns, rows), vt10x.WithWriter(file))}
	go x.watch(c)
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-x.ended
		_ = file.Close()
	})
	x.sees("kalamflight>")
	return x
}

// serveHere is a server that lives as long as the test.
func serveHere(t *testing.T) string {
	t.Helper()
	s, err := server.Start(t.Context(), server.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}

// watch feeds the screen until the process ends.
func (x *terminal) watch(c *exec.Cmd) {
	buf := make([]byte, 64<<10)
	for {
		n, err := x.file.Read(buf)
		x.mu.Lock()
		x.everything.Write(buf[:n])
		x.mu.Unlock()
		_, _ = x.screen.Write(buf[:n])
		if err != nil {
			break
		}
	}
	x.ended <- c.Wait()
	close(x.ended)
}

func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.file, keys); err != nil {
		x.t.Fatal(err)
	}
}

// text is the screen, line by line.
func (x *terminal) text() string {
	x.screen.Lock()
	defer x.screen.Unlock()
	columns, rows := x.screen.Size()
	var b strings.Builder
	for y := range rows {
		var line strings.Builder
		for column := range columns {
			r := x.screen.Cell(column, y).Char
			if r == 0 {
				r = ' '
			}
			line.WriteRune(r)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// waits until what is on the screen satisfies a condition.
func (x *terminal) waits(what string, condition func(text string) bool) string {
	x.t.Helper()
	deadline := time.Now().Add(screenTime)
	for {
		text := x.text()
		if condition(text) {
			return text
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("the screen never had %s:\n%s", what, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (x *terminal) sees(part string) string {
	x.t.Helper()
	return x.waits("\""+part+"\"", func(text string) bool { return strings.Contains(text, part) })
}

// prompts waits until the last line is a prompt with what was typed at it.
func (x *terminal) prompts(line string) string {
	x.t.Helper()
	return x.waits("the prompt \""+line+"\" at its end", func(text string) bool {
		return strings.HasSuffix(text, "\n"+strings.TrimRight(line, " ")) || text == strings.TrimRight(line, " ")
	})
}

// runs types a statement and waits for the next prompt.
func (x *terminal) runs(statement, seen string) string {
	x.t.Helper()
	x.types(statement + "\r")
	x.sees(seen)
	return x.waits("a prompt", func(text string) bool {
		last := text[strings.LastIndexByte(text, '\n')+1:]
		return strings.Contains(text, seen) && strings.HasSuffix(last, ">")
	})
}

func TestTerminal(t *testing.T) {
	url := serveHere(t)
	setUp := command(t, "exec", "--url", url, "--user", "root", "-c",
		`CREATE NAMESPACE chat; CREATE SHARED TABLE chat.messages (id BIGINT PRIMARY KEY, room TEXT, body TEXT);
		CREATE SHARED TABLE chat.live (id BIGINT PRIMARY KEY, body TEXT);
		INSERT INTO chat.messages VALUES (1, 'home', 'salaam'), (2, 'work', 'bonjour')`)
	if o := finish(t, setUp); o.code != 0 {
		t.Fatal(o.messages)
	}
	for name, test := range map[string]func(t *testing.T, x *terminal){
		"Query": func(t *testing.T, x *terminal) {
			x.runs("SELECT id, body FROM chat.messages ORDER BY id;", "2 rows")
			x.sees("│      2 │ bonjour │")
		},
		"Colors": func(t *testing.T, x *terminal) {
			x.types("SELECT 'a' -- note")
			x.sees("SELECT 'a' -- note")
			x.screen.Lock()
			defer x.screen.Unlock()
			cursor := x.screen.Cursor()
			colors := map[vt10x.Color]bool{}
			for column := range 40 {
				colors[x.screen.Cell(column, cursor.Y).FG] = true
			}
			if len(colors) < 4 {
				t.Errorf("%d colors", len(colors))
			}
		},
		"CompleteTable": func(t *testing.T, x *terminal) {
			x.types("SELECT * FROM chat.mess\t")
			x.sees("SELECT * FROM chat.messages")
		},
		"CompleteColumn": func(t *testing.T, x *terminal) {
			x.types("SELECT m.id FROM chat.messages m WHERE m.ro\t")
			x.sees("m.room")
		},
		"Lines": func(t *testing.T, x *terminal) {
			x.types("SELECT id,\r")
			x.runs("body FROM chat.messages ORDER BY id;", "2 rows")
		},
		"Paste": func(t *testing.T, x *terminal) {
			x.types("\x1b[200~SELECT 11 AS a;\nSELECT\n  22 AS b;\x1b[201~\r")
			x.sees("22")
			x.sees("11")
		},
		"History": func(t *testing.T, x *terminal) {
			x.runs("SELECT 4711;", "1 row")
			x.types("\x1b[A")
			x.prompts("kalamflight> SELECT 4711;")
		},
		"CtrlC": func(t *testing.T, x *terminal) {
			x.types("SELECT count(*) FROM generate_series(1, 100000) a(i), generate_series(1, 1000000) b(j) WHERE i * j = 7;\r")
			x.sees("Ctrl-C cancels")
			x.types("\x03")
			x.sees("error: cancelled")
			x.runs("SELECT 12 * 12;", "144")
		},
		"Follow": func(t *testing.T, x *terminal) {
			x.types(`\subscribe chat.live WHERE id > 1` + "\r")
			x.sees("following as number 1")
			x.types("SELECT 'half a sta")
			x.sees("SELECT 'half a sta")
			insert := command(t, "exec", "--url", url, "--user", "root", "-c",
				"INSERT INTO chat.live VALUES (3, 'from elsewhere')")
			if o := finish(t, insert); o.code != 0 {
				t.Fatal(o.messages)
			}
			x.sees("from elsewhere")
			x.prompts("kalamflight> SELECT 'half a sta")
			x.runs("tement';", "1 row")
			x.types("\x03")
			x.sees("stopped following number 1")
		},
		"Watch": func(t *testing.T, x *terminal) {
			x.runs("SELECT 5 AS five;", "1 row")
			x.types(`\watch 0.1` + "\r")
			x.waits("three answers", func(text string) bool { return strings.Count(text, "five") > 3 })
			x.types("\x03")
			x.runs("SELECT 6;", "│")
		},
		"Transaction": func(t *testing.T, x *terminal) {
			x.runs("BEGIN;", "kalamflight*>")
			x.runs("SELECT nonsense;", "kalamflight!>")
			x.runs("ROLLBACK;", "ok")
			x.prompts("kalamflight> ")
		},
		"Narrow": func(t *testing.T, x *terminal) {
			if err := pty.Setsize(x.file, &pty.Winsize{Cols: 50, Rows: 24}); err != nil {
				t.Fatal(err)
			}
			x.screen.Resize(50, 24)
			x.runs("SELECT repeat('x', 100) AS a, repeat('y', 100) AS b;", "1 row")
			text := x.sees("…")
			for _, line := range strings.Split(text, "\n") {
				if strings.HasPrefix(line, "│") && !strings.HasSuffix(line, "│") {
					t.Errorf("a line of the table was broken: %s", line)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, openTerminal(t, url, 100, 30)) })
	}
}

func TestTerminalEditor(t *testing.T) {
	url := serveHere(t)
	editor := filepath.Join(t.TempDir(), "editor")
	script := "#!/bin/sh\nprintf 'SELECT 6 * 7 AS answer;' > \"$1\"\n"
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	x := openTerminal(t, url, 100, 30, "EDITOR="+editor)
	x.runs(`\e`, "42")
}

func TestTerminalPager(t *testing.T) {
	url := serveHere(t)
	x := openTerminal(t, url, 100, 12, "PAGER=grep -v nothing | head -n 3; echo left")
	x.runs(`\pager`, "pager is on")
	x.runs("SELECT i FROM generate_series(1, 5000) t(i);", "left")
	x.runs("SELECT 1 AS one;", "1 row")
}

func TestTerminalQuits(t *testing.T) {
	url := serveHere(t)
	for _, keys := range []string{"\x04", `\q` + "\r"} {
		x := openTerminal(t, url, 80, 24)
		x.types(keys)
		ctx, cancel := context.WithTimeout(t.Context(), screenTime)
		defer cancel()
		select {
		case err := <-x.ended:
			if err != nil {
				t.Errorf("%q: %v", keys, err)
			}
		case <-ctx.Done():
			t.Errorf("%q did not end the shell", keys)
		}
	}
}

func TestFiles(t *testing.T) {
	url := serveHere(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.csv")
	text := "id,name,day\n1,\"a, b\",2026-01-31\n2,,\n3,\"\",2026-02-01\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	on := []string{"--url", url, "--user", "root"}
	run := func(code int, args ...string) outcome {
		t.Helper()
		o := finish(t, command(t, append(args, on...)...))
		if o.code != code {
			t.Fatalf("%q: exit code %d, want %d: %s", args, o.code, code, o.messages)
		}
		return o
	}
	run(0, "import", file, "--into", "people", "--mode", "create")
	for _, name := range []string{"b.parquet", "b.json.gz", "b.arrow.zst", "b.tsv"} {
		to := filepath.Join(dir, name)
		run(0, "export", "people", "--to", to)
		run(0, "import", to, "--into", "again", "--mode", "replace")
		o := run(0, "export", "SELECT * FROM again ORDER BY id", "--to", "-", "--format", "csv")
		if o.stdout != text {
			t.Errorf("%s: got\n%swant\n%s", name, o.stdout, text)
		}
	}
	bad := filepath.Join(dir, "bad.csv")
	if err := os.WriteFile(bad, []byte("id,name,day\n4,x,\n5,y,tomorrow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := run(1, "import", bad, "--into", "people"); !strings.Contains(o.messages, `line 3, column 5: "tomorrow"`) {
		t.Errorf("messages = %s", o.messages)
	}
	if o := run(0, "export", "SELECT count(*) AS n FROM people", "--to", "-", "--format", "csv"); o.stdout != "n\n3\n" {
		t.Errorf("a failed import left rows: %s", o.stdout)
	}
	if o := run(1, "export", "nothing", "--to", filepath.Join(dir, "n.csv")); !strings.Contains(o.messages, "42P01") {
		t.Errorf("messages = %s", o.messages)
	}
	if _, err := os.Stat(filepath.Join(dir, "n.csv")); err == nil {
		t.Error("a failed export left a file")
	}
}

func TestSubscribeGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	on := []string{"--url", s.url, "--user", "root"}
	run := func(sql string) {
		t.Helper()
		if o := finish(t, command(t, append([]string{"exec", "-c", sql}, on...)...)); o.code != 0 {
			t.Fatal(o.messages)
		}
	}
	run("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1)")
	c := command(t, append([]string{"subscribe", "t", "--format", "json"}, on...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	next(`"_op":"snapshot"`)
	run("INSERT INTO t VALUES (2)")
	next(`"id":2`)
	if code := s.stop(t); code != 0 {
		t.Fatalf("the server ended with %d", code)
	}
	again := serve(t, dir, "--listen", strings.TrimPrefix(s.url, "grpc://"))
	defer again.stop(t)
	run("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3)")
	next(`"_op":"delete"`)
	next(`"id":3`)
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("it ended with %v", err)
	}
}
