// Command golden runs the scripts of engine/testdata in DuckDB and compares its answers with those in the files, so
// that what is golden is also right. A block with the argument pg or own is run but not compared: its answer is
// PostgreSQL's, or our own. Arguments are files; only those whose first line names this command are compared as a
// whole.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2" // the driver "duckdb"

	"kalamflight/sqlfront"
)

func main() {
	flag.Parse()
	if err := run(context.Background(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

// marker is the first line of a file that is to be compared.
const marker = "# Compared with DuckDB by bench/peers/golden."

func run(ctx context.Context, files []string) error {
	if len(files) == 0 {
		all, err := filepath.Glob("../../engine/testdata/*.sql.txt")
		if err != nil {
			return err
		}
		files = all
	}
	different, compared := 0, 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(text, []byte(marker)) {
			continue
		}
		s := &script{file: filepath.Base(f)}
		if err := s.run(ctx, string(text)); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		different += s.different
		compared += s.compared
	}
	fmt.Printf("%d answers compared, %d different\n", compared, different)
	if compared == 0 {
		return errors.New("no golden file was found: run it in bench/peers")
	}
	if different > 0 {
		return fmt.Errorf("%d answers differ", different)
	}
	return nil
}

// script is a file being run.
type script struct {
	file                string
	duck                *sql.Conn
	compared, different int
}

func (s *script) run(ctx context.Context, text string) (err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	if s.duck, err = db.Conn(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.duck.Close()) }()
	for _, set := range []string{"integer_division = true", "default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'",
		"TimeZone = 'UTC'", "order_by_non_integer_literal = true"} {
		if _, err := s.duck.ExecContext(ctx, "SET "+set); err != nil {
			return err
		}
	}
	for _, b := range blocks(text) {
		s.block(ctx, b)
	}
	return nil
}

// block is one block of a file. Line is where it begins.
type block struct {
	line           int
	args           []string
	input, outcome string
}

// blocks cuts a file as datadriven does.
func blocks(text string) []block {
	var out []block
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		b := block{line: i + 1, args: strings.Fields(lines[i])}
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			b.input += lines[i] + "\n"
		}
		end := ""
		if i+1 < len(lines) && lines[i+1] == "----" {
			i, end = i+1, "----"
		}
		for i++; i < len(lines) && lines[i] != end; i++ {
			b.outcome += lines[i] + "\n"
		}
		if end != "" {
			i++
		}
		out = append(out, b)
	}
	return out
}

func (b block) has(arg string) bool { return slices.Contains(b.args, arg) }

func (s *script) block(ctx context.Context, b block) {
	switch b.args[0] {
	case "sql":
		got := s.script(ctx, b.input)
		if b.has("sorted") {
			got = sortRows(got)
		}
		s.compare(b, b.line, strings.TrimSpace(b.input), b.outcome, got)
	case "eval":
		want := strings.Split(strings.TrimSuffix(b.outcome, "\n"), "\n")
		for i, line := range strings.Split(strings.TrimSuffix(b.input, "\n"), "\n") {
			got := s.query(ctx, "SELECT "+line+" AS x")
			if i >= len(want) {
				break
			}
			w := want[i]
			if !strings.HasPrefix(w, "error") {
				_, w, _ = strings.Cut(w, " ")
			}
			got = strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(got, "x\n")), "\n", `\n`)
			s.compare(b, b.line+i+1, line, w, got)
		}
	}
}

func sortRows(text string) string {
	head, rest, _ := strings.Cut(text, "\n")
	rows := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	slices.Sort(rows)
	return head + "\n" + strings.Join(rows, "\n") + "\n"
}

func (s *script) compare(b block, line int, text, want, got string) {
	if b.has("pg") || b.has("own") || strings.HasSuffix(want, " rows\n") {
		return
	}
	s.compared++
	if strings.HasPrefix(want, "error") && strings.HasPrefix(got, "error") || same(want, got) {
		return
	}
	s.different++
	fmt.Printf("%s:%d: %s\n  ours:   %s\n  DuckDB: %s\n", s.file, line, text, indent(want), indent(got))
}

func indent(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n          ") }

// script runs statements and shows the rows of the last, or the first error.
func (s *script) script(ctx context.Context, text string) string {
	pieces, err := sqlfront.Split(text)
	if err != nil {
		return "error: " + err.Error()
	}
	out := ""
	for _, p := range pieces {
		if sql := translate(p.Text); sql != "" {
			if out = s.query(ctx, sql); strings.HasPrefix(out, "error") {
				return out
			}
		}
	}
	return out
}

// translate turns what only we have into what DuckDB understands; "" is nothing at all.
func translate(text string) string {
	for _, r := range []struct{ old, new string }{
		{`(?i)^\s*(FLUSH|COMPACT)\s+TABLE\b.*`, ""}, {`(?i)^\s*CREATE NAMESPACE\b`, "CREATE SCHEMA"},
		{`(?i)^\s*CREATE (SHARED|USER|STREAM) TABLE\b`, "CREATE TABLE"},
		{`(?i)^\s*(CREATE TABLE[\s\S]*\))\s*WITH \([^)]*\)\s*$`, "$1"},
	} {
		text = regexp.MustCompile(r.old).ReplaceAllString(text, r.new)
	}
	return text
}
