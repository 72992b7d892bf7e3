package shell

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// progressAfter is how long a statement runs before the shell says that it does; progressEvery is how often it says so.
const (
	progressAfter = 700 * time.Millisecond
	progressEvery = 200 * time.Millisecond
)

// progress tells a person that a statement still runs, on a line that is cleared before anything else is printed. Its
// methods may be called on a nil progress.
type progress struct {
	w       io.Writer
	started time.Time

	mu    sync.Mutex
	rows  int64
	shown bool
	ended bool
	timer *time.Timer
}

// startProgress begins to wait; nil when nobody looks.
func (s *Shell) startProgress() *progress {
	if !s.o.Progress {
		return nil
	}
	p := &progress{w: s.o.Err, started: time.Now()}
	p.timer = time.AfterFunc(progressAfter, p.tick)
	return p
}

func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	text := fmt.Sprintf("running for %.1f s", time.Since(p.started).Seconds())
	if p.rows > 0 {
		text += ", " + rowCount(p.rows) + " so far"
	}
	// A terminal that is gone is noticed by what prints the rows.
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s (Ctrl-C cancels)", text)
	p.shown = true
	p.timer.Reset(progressEvery)
}

// stop clears the line.
func (p *progress) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
	if p.shown {
		p.shown = false
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// progressRows counts rows for a progress, which ends when there is something to print.
type progressRows struct {
	Rows
	progress *progress
}

// Next returns the next batch. The first one may be held back by the printer, so that the line stays while rows come.
func (r progressRows) Next() (arrow.RecordBatch, error) {
	batch, err := r.Rows.Next()
	if p := r.progress; p != nil {
		if err != nil || isSubscription(r.Schema()) {
			p.stop()
			return batch, err
		}
		p.mu.Lock()
		p.rows += batch.NumRows()
		many := p.rows >= settleRows
		p.mu.Unlock()
		if many {
			p.stop() // the printer begins now
		}
	}
	return batch, err
}
