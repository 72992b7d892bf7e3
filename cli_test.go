package main

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/help.txt anew")

// TestHelp keeps testdata/help.txt: the first page that people see, and that of top.
func TestHelp(t *testing.T) {
	const path = "testdata/help.txt"
	var got strings.Builder
	for _, args := range [][]string{{"--help"}, {"top", "--help"}} {
		c := command(t, args...)
		c.Env = append(c.Env, "COLUMNS=100")
		out := finish(t, c)
		if out.code != 0 || out.messages != "" {
			t.Fatalf("%v: %+v", args, out)
		}
		got.WriteString("$ kalamflight " + strings.Join(args, " ") + "\n" + out.stdout + "\n")
	}
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("%s is not current: go test -run TestHelp . -args -rewrite\n%s", path, got.String())
	}
}

// TestSuggestions wants a hint for what was nearly right.
func TestSuggestions(t *testing.T) {
	for _, test := range []struct {
		args []string
		said string
	}{
		{[]string{"serv"}, `did you mean one of "serve"`},
		{[]string{"serve", "--lisen", "x"}, `did you mean "--listen"`},
		{[]string{"connect-info", "--for", "cobol"}, `must be one of "pandas"`},
		{[]string{"completion", "csh"}, `must be one of "bash","zsh","fish"`},
	} {
		if out := finish(t, command(t, test.args...)); out.code != exitUsage || !strings.Contains(out.messages, test.said) {
			t.Errorf("%v: %+v, want %s", test.args, out, test.said)
		}
	}
}

var serving8816 = regexp.MustCompile(`msg="serving HTTP" address=(\S+)`)

// TestOperators goes through the commands of operators against a server, and its folder afterwards.
func TestOperators(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := serve(t, dir)
	for _, test := range []struct {
		args []string
		said string
	}{
		{[]string{"exec", "-c", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1); FLUSH TABLE t"},
			""},
		{[]string{"doctor", "--live"}, "ok       login        as root"},
		{[]string{"top", "--once"}, "engine.sessions"},
		{[]string{"users", "--format", "csv"}, "\nroot,system,"},
		{[]string{"jobs", "--all"}, "rows"},
		{[]string{"tokens", "create", "ci'; DROP TABLE t", "--expires", "1 day", "--format", "csv"},
			"\nci'; DROP TABLE t,root,"},
		{[]string{"tokens", "--format", "csv"}, "\nci'; DROP TABLE t,root,"},
		{[]string{"tokens", "drop", "ci'; DROP TABLE t"}, ""},
		{[]string{"connect-info", "--for", "jdbc"}, "jdbc:arrow-flight-sql://127.0.0.1:"},
		{[]string{"completion", "bash"}, "complete -o bashdefault -o default -F _kalamflight kalamflight"},
	} {
		c := command(t, test.args...)
		c.Env = append(c.Env, "KALAMFLIGHT_URL="+s.url)
		if out := finish(t, c); out.code != 0 || !strings.Contains(out.stdout, test.said) {
			t.Errorf("%v: %+v, want %q", test.args, out, test.said)
		}
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	out := finish(t, command(t, "doctor", "--data-dir", dir, "--json"))
	var report struct {
		OK     bool
		Checks []struct{ Name, Status string }
	}
	if err := json.Unmarshal([]byte(out.stdout), &report); err != nil || out.code != 0 || !report.OK ||
		len(report.Checks) < 4 {
		t.Errorf("doctor: %v, %+v", err, out)
	}
	if out := finish(t, command(t, "doctor", "--data-dir", filepath.Join(dir, "none"))); out.code != exitFailed {
		t.Errorf("doctor of no folder: %+v", out)
	}
	var version struct{ Version, Go string }
	out = finish(t, command(t, "version", "--json"))
	if err := json.Unmarshal([]byte(out.stdout), &version); err != nil || !strings.HasPrefix(version.Version, "0.") {
		t.Errorf("version: %v, %+v", err, out)
	}
}

// TestHTTPPort asks the port that follows that of Flight, which is any here, and wants none with off.
func TestHTTPPort(t *testing.T) {
	s := serve(t, t.TempDir(), "--slow-query", "1h")
	defer func() {
		if code := s.stop(t); code != 0 {
			t.Errorf("the server ended with %d", code)
		}
	}()
	// It is logged before the line that serve has waited for.
	m := serving8816.FindStringSubmatch(s.head)
	if m == nil {
		t.Fatalf("no HTTP port in\n%s", s.head)
	}
	res, err := http.Get("http://" + m[1] + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if out := finish(t, command(t, "ready", "--http-listen", m[1])); out.code != 0 {
		t.Errorf("ready: %+v", out)
	}
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("/readyz: %d %q %v", res.StatusCode, body, err)
	}
	if out := finish(t, command(t, "ready", "--http-listen", "127.0.0.1:1")); out.code != exitFailed {
		t.Errorf("ready without a server: %+v", out)
	}
	off := serve(t, t.TempDir(), "--http-listen", "off")
	if serving8816.MatchString(off.head) {
		t.Error("an HTTP port that is off")
	}
	off.stop(t)
	for args, said := range map[string]string{"0.0.0.0:0": "--insecure if the network is yours", "8816": "HOST:PORT"} {
		out := finish(t, command(t, "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--http-listen", args))
		if out.code != exitFailed || !strings.Contains(out.messages, said) {
			t.Errorf("--http-listen %s: %+v", args, out)
		}
	}
}
