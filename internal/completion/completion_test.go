package completion_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"kalamflight/internal/completion"
)

type cli struct {
	Level string `enum:"low,high" default:"low" help:"How loud; it's a level."`
	Serve struct {
		Dir  string `help:"Folder."`
		Fast bool   `help:"Faster."`
	} `cmd:"" help:"Serve."`
	Key struct {
		Make struct {
			Kind string `arg:"" enum:"round,square"`
		} `cmd:"" help:"Make one."`
	} `cmd:"" help:"Keys."`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	p, err := kong.New(&cli{}, kong.Name("prog"))
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

// TestBash has bash complete lines.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	script, err := completion.Script("bash", model(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prog.bash")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"prog ":                "--help --level key serve",
		"prog s":               "serve",
		"prog --level ":        "high low",
		"prog serve --":        "--dir --fast --help --level",
		"prog serve --f":       "--fast",
		"prog key ":            "--help --level make",
		"prog key make ":       "--help --level round square",
		"prog --level low key": "key",
	} {
		args := append([]string{"-c", `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
			_prog; printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort -u | paste -sd ' '`, "bash", file},
			strings.Split(line, " ")...)
		out, err := exec.CommandContext(t.Context(), bash, args...).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q completes to %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestOthers(t *testing.T) {
	fish, err := completion.Script("fish", model(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"complete -c prog -f -n '__fish_use_subcommand' -a 'serve' -d 'Serve.'\n",
		"complete -c prog -n '__fish_seen_subcommand_from serve' -l dir -r -d 'Folder.'\n",
		`-l level -r -f -a 'low high' -d 'How loud; it\'s a level.'`,
		"'__fish_seen_subcommand_from key; and __fish_seen_subcommand_from make' -a 'round'"} {
		if !strings.Contains(fish, want) {
			t.Errorf("%s is missing in\n%s", want, fish)
		}
	}
	if zsh, err := completion.Script("zsh", model(t)); err != nil || !strings.HasPrefix(zsh, "#compdef prog\n") {
		t.Errorf("zsh: %q, %v", zsh, err)
	}
	if _, err := completion.Script("csh", model(t)); err == nil {
		t.Error("a script for csh")
	}
}
