package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// errPagerLeft is that the person left the pager before the end, which is no failure.
var errPagerLeft = errors.New("the pager was left")

// pager shows what is written to it in another program if that is more than a screen, else on out. It is for one
// goroutine; close waits for the person.
type pager struct {
	command  string
	height   int
	out, err io.Writer

	kept    bytes.Buffer
	running *exec.Cmd
	input   io.WriteCloser
}

// Write keeps a screenful before it starts the program.
func (p *pager) Write(b []byte) (int, error) {
	if p.input == nil {
		p.kept.Write(b)
		if bytes.Count(p.kept.Bytes(), []byte("\n")) < p.height {
			return len(b), nil
		}
		if err := p.start(); err != nil {
			return 0, err
		}
		b2 := p.kept.Bytes()
		if _, err := p.input.Write(b2); err != nil {
			return 0, gone(err)
		}
		return len(b), nil
	}
	n, err := p.input.Write(b)
	return n, gone(err)
}

func gone(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		return errPagerLeft
	}
	return err
}

func (p *pager) start() error {
	command := systemCommand(context.Background(), p.command)
	command.Stdout, command.Stderr = p.out, p.err
	input, err := command.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the pager: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the pager: %w", err)
	}
	p.running, p.input = command, input
	return nil
}

// close prints what was less than a screen, or waits for the program.
func (p *pager) close() error {
	if p.input == nil {
		_, err := p.out.Write(p.kept.Bytes())
		return err
	}
	// The person may have left already; how the program ended is its own business.
	_ = p.input.Close()
	_ = p.running.Wait()
	return nil
}

// pagerLeft forgets that the person left the pager.
func pagerLeft(err error) error {
	if errors.Is(err, errPagerLeft) {
		return nil
	}
	return err
}

// systemCommand is a command line as the system's shell reads it.
func systemCommand(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c", line)
}

// system runs a command of the system on the terminal.
func (s *Shell) system(ctx context.Context, line string) error {
	if s.o.Editor == "" && s.o.Above == nil {
		return commandError(`\! is for terminals`)
	}
	if line == "" {
		return commandError(`\! needs a command`)
	}
	command := systemCommand(ctx, line)
	command.Stdin, command.Stdout, command.Stderr = s.o.In, s.o.Out, s.o.Err
	if err := command.Run(); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	return nil
}

// editMax is the size of the largest text that comes back from the editor.
const editMax = 1 << 20

// edit has the editor write a statement, and runs what it wrote.
func (s *Shell) edit(ctx context.Context, name string) (err error) {
	if s.o.Editor == "" {
		return commandError(`there is no editor: the variable EDITOR names none`)
	}
	if name == "" {
		f, err := os.CreateTemp("", "kalamflight-*.sql")
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStatement, err)
		}
		name = f.Name()
		defer os.Remove(name)
		_, err = f.WriteString(s.lastStatement + ";\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%w: %w", ErrStatement, err)
		}
	}
	command := systemCommand(ctx, s.o.Editor+" '"+strings.ReplaceAll(name, "'", `'\''`)+"'")
	command.Stdin, command.Stdout, command.Stderr = s.o.In, s.o.Out, s.o.Err
	if err := command.Run(); err != nil {
		return fmt.Errorf("%w: the editor: %w", ErrStatement, err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if len(text) > editMax {
		return commandError("%s has more than %d bytes", name, editMax)
	}
	if strings.Trim(string(text), "; \t\r\n") == "" {
		return nil
	}
	if err := s.say("%s", strings.TrimSpace(string(text))); err != nil {
		return err
	}
	statements, rest := Split(string(text))
	if rest != "" {
		statements = append(statements, Statement{Text: strings.TrimSpace(rest)})
	}
	for _, statement := range statements {
		if err := s.run(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// output sends rows to a file, or to the screen again.
func (s *Shell) output(_ context.Context, name string) error {
	if err := s.closeFile(); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if name == "" {
		return nil
	}
	if s.o.CreateFile == nil {
		return commandError(`\o is not available here`)
	}
	f, err := s.o.CreateFile(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	s.file = f
	return nil
}

func (s *Shell) closeFile() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// copy moves rows between a table and a file.
func (s *Shell) copy(ctx context.Context, argument string) error {
	if s.o.Copy == nil {
		return commandError(`\copy is not available here`)
	}
	c, err := parseCopy(argument)
	if err != nil {
		return err
	}
	ctx, stop := s.interruptible(ctx)
	defer stop()
	progress := s.startProgress()
	defer progress.stop()
	n, err := s.o.Copy(ctx, s.o.Conn, c)
	progress.stop()
	if err != nil {
		return statementError(ctx, err)
	}
	return s.say("%s copied", rowCount(n))
}

// parseCopy reads TABLE FROM FILE [FORMAT], TABLE TO FILE [FORMAT] or (SELECT) TO FILE [FORMAT].
func parseCopy(text string) (Copy, error) {
	var c Copy
	all := spans(text)
	depth, at := 0, -1
	for i, p := range all {
		switch piece := text[p.from:p.to]; {
		case piece == "(":
			depth++
		case piece == ")":
			depth--
		case depth == 0 && (strings.EqualFold(piece, "FROM") || strings.EqualFold(piece, "TO")):
			if at < 0 {
				at = i
				c.Into = strings.EqualFold(piece, "FROM")
			}
		}
	}
	if at < 0 {
		return c, commandError(`\copy needs TABLE FROM FILE, TABLE TO FILE or (SELECT) TO FILE`)
	}
	what := strings.TrimSpace(text[:all[at].from])
	file := strings.TrimSpace(text[all[at].to:])
	if strings.HasPrefix(file, "'") {
		end := strings.Index(file[1:], "'")
		if end < 0 {
			return c, commandError(`\copy: the name of the file has no closing quote`)
		}
		c.File, c.Format = file[1:end+1], strings.TrimSpace(file[end+2:])
	} else {
		c.File, c.Format, _ = strings.Cut(file, " ")
		c.Format = strings.TrimSpace(c.Format)
	}
	c.Format = strings.ToLower(strings.TrimPrefix(strings.ToUpper(c.Format), "FORMAT "))
	if strings.HasPrefix(what, "(") {
		c.Query = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(what, "("), ")"))
	} else {
		c.Table = what
	}
	if what == "" || c.File == "" || c.Query != "" && c.Into {
		return c, commandError(`\copy needs TABLE FROM FILE, TABLE TO FILE or (SELECT) TO FILE`)
	}
	return c, nil
}
