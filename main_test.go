package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asCommand makes the test binary behave as the command, so that tests run the real process without building it again.
const asCommand = "KALAMFLIGHT_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// processTime bounds every process of a test; none comes near it.
const processTime = 60 * time.Second

// command is a kalamflight process that has not started, in an environment without settings.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), processTime)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KALAMFLIGHT_") {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, asCommand+"=1")
	return c
}

type outcome struct {
	code             int
	stdout, messages string
}

// finish runs a process to its end.
func finish(t *testing.T, c *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// serving is a server process and its URL.
type serving struct {
	*exec.Cmd
	url string
	// head is what it printed until it listened.
	head string
	// log has what it printed until it ended.
	log chan string
}

var listening = regexp.MustCompile(`msg=listening url=(\S+)`)

func serve(t *testing.T, dir string, args ...string) *serving {
	t.Helper()
	s := &serving{Cmd: command(t, append([]string{"serve", "--data-dir", dir, "--listen", "127.0.0.1:0"}, args...)...),
		log: make(chan string, 1)}
	stderr, err := s.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
	})
	reader, text := bufio.NewReader(stderr), ""
	for s.url == "" {
		line, err := reader.ReadString('\n')
		text += line
		if err != nil {
			t.Fatalf("the server did not start: %v\n%s", err, text)
		}
		if m := listening.FindStringSubmatch(line); m != nil {
			s.url = m[1]
		}
	}
	s.head = text
	go func() {
		rest, _ := io.ReadAll(reader)
		s.log <- text + string(rest)
	}()
	return s
}

// stop asks the server to end and returns its exit code.
func (s *serving) stop(t *testing.T) int {
	t.Helper()
	began := time.Now()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text := <-s.log
	_ = s.Wait() // the exit code says it
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the server took %s to end:\n%s", took, text)
	}
	return s.ProcessState.ExitCode()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	misspelt := filepath.Join(dir, "misspelt.toml")
	if err := os.WriteFile(misspelt, []byte("\nlissen = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"exec"}, 80, "--command"},
		{[]string{"exec", "-c", "SELECT 1", "-f", "x"}, 80, "together"},
		{[]string{"nonsense"}, 80, "unexpected argument"},
		{[]string{"exec", "--format", "xml", "-c", "SELECT 1"}, 80, "must be one of"},
		{[]string{"exec", "--url", "grpc://127.0.0.1:1", "-c", "SELECT 1"}, 2,
			"cannot connect to grpc://127.0.0.1:1: dial tcp 127.0.0.1:1: "},
		{[]string{"exec", "--url", "127.0.0.1:1", "-c", "SELECT 1"}, 2, "does not begin with grpc://"},
		{[]string{"exec", "--url", "http://127.0.0.1:1", "-c", "SELECT 1"}, 2, "does not begin with"},
		{[]string{"exec", "-f", filepath.Join(dir, "none.sql")}, 1, "no such file"},
		{[]string{"serve", "--config", misspelt}, 80, "misspelt.toml:2: unknown key lissen"},
		{[]string{"serve", "--data-dir", dir, "--listen", "0.0.0.0:0"}, 1, "--insecure if the network is yours\n"},
		{[]string{"serve", "--data-dir", dir + "/tls", "--listen", "0.0.0.0:0", "--tls", "auto"}, 1, "root has no password"},
		{[]string{"serve", "--data-dir", dir + "/tls", "--tls", "files"}, 1, "both --tls-cert and --tls-key"},
		{[]string{"serve", "--data-dir", dir + "/tls", "--tls-cert", "none.pem", "--tls-key", "none.pem"}, 1, "none.pem"},
		{[]string{"serve", "--data-dir", dir + "/tls", "--tls-client-required"}, 1, "need TLS"},
		{[]string{"serve", "--data-dir", dir + "/jwt", "--listen", "127.0.0.1:0", "--jwt-audience", "x"}, 1, "--jwt-issuer"},
		{[]string{"serve", "--data-dir", dir + "/jwt", "--listen", "127.0.0.1:0", "--jwt-issuer", "x"}, 1, "--jwt-keys"},
		{[]string{"serve", "--data-dir", dir + "/jwt", "--listen", "127.0.0.1:0", "--oidc-issuer", "http://id.example",
			"--jwt-audience", "x"}, 1, "https://"},
		{[]string{"serve", "--jwt-algorithms", "none"}, 80, "must be one of"},
		{[]string{"exec", "--tls-ca", dir + "/none.pem", "-c", "SELECT 1"}, 1, "none.pem: no such file"},
		{[]string{"serve", "--data-dir", dir, "--listen", taken.Addr().String()}, 1, "--listen HOST:PORT\n"},
		{[]string{"serve", "--data-dir", dir, "--listen", "8815"}, 1, "--listen is HOST:PORT"},
		{[]string{"serve", "--data-dir", dir, "--hot-bytes", "lots"}, 80, "not a number of bytes"},
	} {
		got := finish(t, command(t, test.args...))
		if got.code != test.code || !strings.Contains(got.messages, test.said) || got.stdout != "" && test.code != 80 {
			t.Errorf("%q: exit code %d, said %q, printed %q; want %d and %q", test.args, got.code, got.messages, got.stdout,
				test.code, test.said)
		}
	}
	if got := finish(t, command(t, "version")); got.code != 0 || !strings.HasPrefix(got.stdout, "kalamflight "+version) {
		t.Errorf("version: %+v", got)
	}
}

func TestServeAndExec(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	script := filepath.Join(dir, "script.sql")
	text := "CREATE NAMESPACE app;\n\nCREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, name TEXT);\n" +
		"INSERT INTO app.t VALUES (1, ''), (2, NULL), (9007199254740993, 'a;b');\nSELECT nothing FROM app.t;\nSELECT 1;"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := finish(t, command(t, "exec", "--url", s.url, "-f", script))
	if got.code != exitStopped || !strings.Contains(got.messages, script+":5: error: ") || got.stdout != "" {
		t.Errorf("a script with a wrong statement: %+v", got)
	}
	for _, test := range []struct {
		args         []string
		stdin        string
		code         int
		stdout, said string
	}{
		{[]string{"exec", "-c", "SELECT id, name FROM app.t ORDER BY id", "--format", "csv"}, "", 0,
			"id,name\n1,\"\"\n2,\n9007199254740993,a;b\n", ""},
		{[]string{"exec", "-c", "SELECT id FROM app.t WHERE id > 2", "--format", "json"}, "", 0,
			"{\"id\":\"9007199254740993\"}\n", ""},
		{[]string{"exec", "-f", "-", "--format", "csv"}, "SELECT 1 AS a; SELECT 2 AS b", 0, "a\n1\nb\n2\n", ""},
		{[]string{"sql", "--format", "csv"}, "USE app;\nSELECT count(*) AS n FROM t;\n", 0, "n\n3\n", ""},
		{[]string{"exec", "-c", "SELECT nothing"}, "", exitFailed, "", "error:"},
		{[]string{"exec", "-c", "DELETE FROM app.t WHERE id = 2"}, "", 0, "", "1 row affected"},
		{[]string{"exec", "--user", "nobody", "-c", "SELECT 1"}, "", exitConnect, "", "cannot connect"},
	} {
		c := command(t, append(test.args, "--url", s.url)...)
		c.Stdin = strings.NewReader(test.stdin)
		got := finish(t, c)
		if got.code != test.code || got.stdout != test.stdout || !strings.Contains(got.messages, test.said) {
			t.Errorf("%q: %+v; want %d, %q, %q", test.args, got, test.code, test.stdout, test.said)
		}
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	again := serve(t, dir)
	got = finish(t, command(t, "exec", "--url", again.url, "-c", "SELECT count(*) AS n FROM app.t", "--format", "csv"))
	if got.stdout != "n\n2\n" {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestSignals has a subscription open while its client, and then the server, are told to end.
// TestReadme runs the SQL of README.md as a newcomer would type it, from top to bottom on one fresh server. Only the
// subscription is told to end.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(block[1])
	}
	typed := strings.ReplaceAll(script.String(), " OPTIONS (last_rows", " UP TO NOW OPTIONS (last_rows")
	if typed == script.String() {
		t.Fatal("README.md has no subscription with last_rows: it would not end here")
	}
	s := serve(t, t.TempDir())
	c := command(t, "exec", "--url", s.url, "-f", "-", "--format", "csv")
	c.Stdin = strings.NewReader(typed)
	got := finish(t, c)
	if got.code != 0 || !strings.Contains(got.stdout, "salaam") {
		t.Errorf("%+v", got)
	}
}

func TestSignals(t *testing.T) {
	s := serve(t, t.TempDir())
	if got := finish(t, command(t, "exec", "--url", s.url, "-c",
		"CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)")); got.code != 0 {
		t.Fatalf("create: %+v", got)
	}
	follow := func() (*exec.Cmd, *bufio.Reader) {
		c := command(t, "exec", "--url", s.url, "-c", "SUBSCRIBE TO t", "--format", "csv")
		stdout, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(stdout)
		for range 2 { // the names of the columns, and the first progress row
			if line, err := reader.ReadString('\n'); err != nil {
				t.Fatalf("the subscription said %q, %v", line, err)
			}
		}
		return c, reader
	}
	interrupted, reader := follow()
	if err := interrupted.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, reader)
	_ = interrupted.Wait()
	if code := interrupted.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("an interrupted client ended with %d, want %d", code, exitInterrupted)
	}
	open, reader := follow()
	if code := s.stop(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	rest, _ := io.ReadAll(reader)
	_ = open.Wait()
	if code := open.ProcessState.ExitCode(); code == exitInterrupted || code == -1 {
		t.Errorf("the client of a server that ended: exit code %d, after %q", code, rest)
	}
}

func TestSettingsSayWhereTheyCameFrom(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "k.toml")
	if err := os.WriteFile(file, []byte("hot-bytes = \"64MiB\"\nlog-bytes = \"32MiB\"\nworkers = 3\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LC_ALL", "C")
	s := serve(t, filepath.Join(dir, "data"), "--config", file, "--log-bytes", "48MiB")
	got := finish(t, command(t, "exec", "--url", s.url, "--format", "csv", "-c",
		"SELECT name, value, origin FROM system.settings"+
			" WHERE name IN ('hot-bytes', 'log-bytes', 'workers', 'durability') ORDER BY name"))
	want := "name,value,origin\ndurability,sync,default\nhot-bytes,64MiB,config\nlog-bytes,48MiB,flag\nworkers,3,config\n"
	if got.stdout != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

func TestDemo(t *testing.T) {
	got := finish(t, command(t, "demo", "--once", "--rows", "40000"))
	if got.code != 0 || !strings.Contains(got.stdout, "All steps did as they said") {
		t.Errorf("exit code %d\n%s\n%s", got.code, got.stdout, got.messages)
	}
}
