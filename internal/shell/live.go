package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// followsMax is how many queries a shell follows at once.
const followsMax = 16

// follow is a subscription whose rows are printed above the prompt while it is typed at.
type follow struct {
	number int
	stop   context.CancelCauseFunc
	// done is closed when its goroutine has printed its last.
	done chan struct{}
}

// follows are the subscriptions of a shell. Its fields are guarded by mu.
type follows struct {
	mu      sync.Mutex
	running []*follow
	last    int
	// speaker is the number of the one that printed last.
	speaker int
}

// subscribe follows a query: at a terminal in the background, else until it ends or is interrupted.
func (s *Shell) subscribe(ctx context.Context, argument string) error {
	if argument == "" {
		return commandError(`\subscribe needs a table, a SELECT or a SUBSCRIBE`)
	}
	sql := subscription(argument)
	if s.o.Above == nil {
		return s.Statement(ctx, sql)
	}
	s.follows.mu.Lock()
	full := len(s.follows.running) >= followsMax
	s.follows.mu.Unlock()
	if full {
		return commandError(`%d queries are followed already; \unsubscribe stops one`, followsMax)
	}
	ctx, stop := context.WithCancelCause(ctx)
	rows, err := s.o.Conn.Run(ctx, sql)
	if err != nil {
		stop(nil)
		return statementError(ctx, err)
	}
	f := &follow{stop: stop, done: make(chan struct{})}
	s.follows.mu.Lock()
	s.follows.last++
	f.number = s.follows.last
	s.follows.running = append(s.follows.running, f)
	s.follows.mu.Unlock()
	go s.printAbove(ctx, f, sql, rows)
	return s.say(`following as number %d; Ctrl-C or \unsubscribe stops it`, f.number)
}

// printAbove prints what a subscription sends until it ends.
func (s *Shell) printAbove(ctx context.Context, f *follow, sql string, rows Rows) {
	defer close(f.done)
	defer f.stop(nil)
	w := bufio.NewWriter(above{s, f, sql})
	o := s.o
	o.RowsShown, o.HideProgress = 0, true
	err := pour(ctx, rows, w, o)
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	s.follows.mu.Lock()
	for i, other := range s.follows.running {
		if other == f {
			s.follows.running = append(s.follows.running[:i], s.follows.running[i+1:]...)
			break
		}
	}
	s.follows.mu.Unlock()
	if cause := context.Cause(ctx); errors.Is(cause, ErrInterrupted) {
		return
	}
	text := "ended"
	if err != nil {
		text = message(err)
	}
	s.o.Above(fmt.Sprintf("number %d: %s\n", f.number, text))
}

// above writes the rows of a subscription above the prompt, under its name when another one spoke before it.
type above struct {
	s   *Shell
	f   *follow
	sql string
}

// Write prints whole lines.
func (a above) Write(b []byte) (int, error) {
	text := string(b)
	fs := &a.s.follows
	fs.mu.Lock()
	if fs.speaker != a.f.number && fs.last > 1 {
		text = fmt.Sprintf("── %d: %s ──\n", a.f.number, printable(shorten(a.sql, 60))) + text
	}
	fs.speaker = a.f.number
	fs.mu.Unlock()
	a.s.o.Above(text)
	return len(b), nil
}

// unsubscribe stops the newest subscription, or the one of a number.
func (s *Shell) unsubscribe(_ context.Context, argument string) error {
	number := 0
	if argument != "" {
		var err error
		if number, err = strconv.Atoi(argument); err != nil {
			return commandError(`\unsubscribe needs a number`)
		}
	}
	switch stopped := s.stopFollowing(number); {
	case stopped > 0:
		return s.say("stopped following number %d", stopped)
	case number > 0:
		return commandError("nothing is followed as number %d", number)
	}
	return commandError("nothing is followed")
}

// stopFollowing ends a subscription, the newest for 0, and returns its number, 0 when there is none.
func (s *Shell) stopFollowing(number int) int {
	s.follows.mu.Lock()
	var found *follow
	for _, f := range s.follows.running {
		if number == 0 || f.number == number {
			found = f
		}
	}
	s.follows.mu.Unlock()
	if found == nil {
		return 0
	}
	found.stop(ErrInterrupted)
	<-found.done
	return found.number
}

// stopAll ends all subscriptions.
func (s *Shell) stopAll() {
	for s.stopFollowing(0) > 0 {
	}
}

// watch runs the last statement every so many seconds until it is interrupted.
func (s *Shell) watch(ctx context.Context, argument string) error {
	seconds := 2.0
	if argument != "" {
		var err error
		if seconds, err = strconv.ParseFloat(argument, 64); err != nil || !(seconds >= 0.1 && seconds <= 86400) {
			return commandError(`\watch needs seconds, from 0.1 to 86400`)
		}
	}
	if s.lastStatement == "" {
		return commandError("there is no statement to watch yet")
	}
	text := s.lastStatement
	for {
		if err := s.say("%s, every %s s: %s", time.Now().Format(time.TimeOnly),
			strconv.FormatFloat(seconds, 'g', -1, 64), firstLine(text)); err != nil {
			return err
		}
		if err := s.Statement(ctx, text); err != nil {
			return err
		}
		wait, stop := s.interruptible(ctx)
		timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
		select {
		case <-timer.C:
			stop()
		case <-wait.Done():
			timer.Stop()
			cause := context.Cause(wait)
			stop()
			if errors.Is(cause, ErrInterrupted) {
				return nil
			}
			return cause
		}
	}
}

func firstLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " …"
	}
	return shorten(printable(line), 80)
}
