package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kalamflight/internal/fault"
)

// queueBytesMax bounds the lines that are not written: beyond it Note drops into waiting, as Append does.
const queueBytesMax = 1 << 20

// anchorEvery is after how many records, at the latest, the anchor follows.
const anchorEvery = 1000

// Log is an open audit log. It is safe for concurrent use.
type Log struct {
	opts Options

	// wake tells the writer that somebody waits; stop that the log is closing; done is closed when the writer has ended.
	wake, stop, done chan struct{}

	mu sync.Mutex
	// seq and head are of the newest record, queued ones included; durableSeq and durableHead of the newest durable one.
	seq, durableSeq   uint64
	head, durableHead string
	lastTime          int64
	queue             []byte
	group             *group
	closed            bool
	// failed is an error after which nothing can be written any more.
	failed error

	// The rest is the writer's alone, but for first and bytes, which readers look up under mu.
	file *os.File
	// first is the first record of the current file, and bytes how many of its bytes are durable.
	first  uint64
	bytes  int64
	anchor anchor
	// torn is what a crash left of a line, cut off when the log was opened.
	torn int
}

// group is the records of one write. done is closed when it has ended, with err.
type group struct {
	done chan struct{}
	err  error
}

// Open opens the log in Options.Dir, or begins one. It cuts off what a crash left of a last line. A log whose last file
// is broken is fault.ErrCorrupt, naming the place; older files are for Verify.
func Open(o Options) (*Log, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{opts: o, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		group: &group{done: make(chan struct{})}, head: start}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	go l.write()
	if l.torn > 0 {
		l.Note(Record{Kind: "AUDIT LOG REPAIRED", Object: fmt.Sprintf("%d bytes of a record that was never whole", l.torn),
			Outcome: "00000"})
	}
	return l, nil
}

func (l *Log) open() error {
	a, found, err := readAnchor(l.opts.Dir)
	if err != nil {
		return err
	}
	firsts, err := listFiles(l.opts.Dir)
	if err != nil {
		return err
	}
	for len(firsts) > 0 && firsts[0] < a.First { // a crash kept them from being removed
		if err := os.Remove(filepath.Join(l.opts.Dir, fileName(firsts[0]))); err != nil {
			return err
		}
		firsts = firsts[1:]
	}
	if l.anchor = a; !found {
		if len(firsts) > 0 {
			return fmt.Errorf("%s is missing: %w", anchorName, fault.ErrCorrupt)
		}
		if err := writeAnchor(l.opts.Dir, a); err != nil {
			return err
		}
	}
	l.head, l.seq = a.Prev, a.First-1
	if len(firsts) == 0 {
		if a.Seq >= a.First {
			return fmt.Errorf("the records %d to %d are missing: %w", a.First, a.Seq, fault.ErrCorrupt)
		}
		l.durableSeq, l.durableHead = l.seq, l.head
		return l.begin(a.First)
	}
	return l.resume(firsts[len(firsts)-1])
}

// resume goes on with the last file.
func (l *Log) resume(first uint64) error {
	path := filepath.Join(l.opts.Dir, fileName(first))
	whole, n := int64(0), uint64(0)
	rest, err := lines(path, -1, func(line []byte, at int64) error {
		r, err := parse(line)
		if err != nil || r.Seq != first+n || n > 0 && r.Prev != l.head {
			return fmt.Errorf("%s is broken at offset %d: %w", fileName(first), at, fault.ErrCorrupt)
		}
		n++
		l.seq, l.head, l.lastTime = r.Seq, hash(line), r.Time
		whole = at + int64(len(line)) + 1
		return nil
	})
	if err != nil {
		return err
	}
	if n == 0 { // the crash came before its first record
		if err := l.endOfPrevious(first); err != nil {
			return err
		}
	}
	if l.seq < l.anchor.Seq {
		return fmt.Errorf("the records %d to %d are missing at the end of the log: %w", l.seq+1, l.anchor.Seq,
			fault.ErrCorrupt)
	}
	l.torn = len(rest)
	if l.file, err = os.OpenFile(path, os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := errors.Join(l.file.Truncate(whole), l.file.Sync()); err != nil {
		return errors.Join(err, l.file.Close())
	}
	l.first, l.bytes = first, whole
	l.durableSeq, l.durableHead = l.seq, l.head
	return nil
}

// endOfPrevious finds the end of the chain in the file before an empty one.
func (l *Log) endOfPrevious(first uint64) error {
	firsts, err := listFiles(l.opts.Dir)
	if err != nil {
		return err
	}
	i := slices.Index(firsts, first)
	if i == 0 {
		return nil // the anchor has said it
	}
	_, err = lines(filepath.Join(l.opts.Dir, fileName(firsts[i-1])), -1, func(line []byte, at int64) error {
		r, err := parse(line)
		if err != nil {
			return fmt.Errorf("%s is broken at offset %d: %w", fileName(firsts[i-1]), at, fault.ErrCorrupt)
		}
		l.seq, l.head, l.lastTime = r.Seq, hash(line), r.Time
		return nil
	})
	return err
}

// begin makes the file that begins with a record.
func (l *Log) begin(first uint64) error {
	f, err := os.OpenFile(filepath.Join(l.opts.Dir, fileName(first)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(l.opts.Dir); err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file, l.first, l.bytes = f, first, 0
	return nil
}

// add queues a record.
func (l *Log) add(r Record) (uint64, *group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, nil, fmt.Errorf("the audit log is closed: %w", fault.ErrUnavailable)
	}
	if l.failed != nil {
		return 0, nil, l.failed
	}
	r.clip()
	l.lastTime = max(l.lastTime, time.Now().UnixMicro())
	r.Seq, r.Time, r.Prev = l.seq+1, l.lastTime, l.head
	line, err := json.Marshal(&r)
	if err != nil {
		return 0, nil, err
	}
	l.seq, l.head = r.Seq, hash(line)
	l.queue = append(append(l.queue, line...), '\n')
	return r.Seq, l.group, nil
}

// Append writes a record and returns its number once it is durable. When it fails nothing was written, or it is not
// known; the thing must not be done then.
func (l *Log) Append(ctx context.Context, r Record) (uint64, error) {
	seq, g, err := l.add(r)
	if err != nil {
		return 0, err
	}
	return seq, l.wait(ctx, g)
}

// Note writes a record some time soon. It waits only while there are too many.
func (l *Log) Note(r Record) {
	_, g, err := l.add(r)
	if err != nil {
		l.opts.Failed(err)
		return
	}
	l.mu.Lock()
	full := len(l.queue) > queueBytesMax
	l.mu.Unlock()
	if full {
		l.wait(context.Background(), g) // what goes wrong, the writer tells Failed
	}
}

func (l *Log) wait(ctx context.Context, g *group) error {
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flush makes what was noted durable.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	g, none := l.group, len(l.queue) == 0
	l.mu.Unlock()
	if none {
		return nil
	}
	return l.wait(ctx, g)
}

// Close writes what is queued and ends the log. Later calls do nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	if failed != nil {
		return errors.Join(failed, l.file.Close())
	}
	return errors.Join(l.moveAnchor(), l.file.Close())
}

// write is the goroutine that writes the queue.
func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(l.opts.Delay)
	defer tick.Stop()
	prune := time.NewTicker(time.Hour)
	defer prune.Stop()
	for {
		stopping := false
		select {
		case <-l.wake:
		case <-tick.C:
		case <-prune.C:
			l.report(l.prune())
		case <-l.stop:
			stopping = true
		}
		l.flush()
		if stopping {
			return
		}
	}
}

func (l *Log) report(err error) {
	if err != nil {
		l.opts.Failed(err)
	}
}

// flush writes the queue and syncs it.
func (l *Log) flush() {
	l.mu.Lock()
	lines, g, seq, head := l.queue, l.group, l.seq, l.head
	if len(lines) == 0 || l.failed != nil {
		l.mu.Unlock()
		return
	}
	l.queue, l.group = nil, &group{done: make(chan struct{})}
	l.mu.Unlock()

	err := l.put(lines)
	l.mu.Lock()
	if err == nil {
		l.bytes += int64(len(lines))
		l.durableSeq, l.durableHead = seq, head
	} else {
		err = l.retractLocked(err)
	}
	g.err = err
	close(g.done)
	l.mu.Unlock()
	if err != nil {
		l.report(err)
		return
	}
	l.report(l.upkeep())
}

var errSync = errors.New("sync failed")

func (l *Log) put(lines []byte) error {
	if _, err := l.file.WriteAt(lines, l.bytes); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("write audit log: %w: %w", errSync, err)
	}
	return nil
}

// retractLocked goes back to the last durable record after a failed write, so that the chain goes on from there once
// there is room again. After a failed sync nobody knows what is on the disk: the log has stopped.
func (l *Log) retractLocked(err error) error {
	if errors.Is(err, errSync) {
		l.failed = fmt.Errorf("%w: %w", err, fault.ErrUnavailable)
	} else if cut := l.file.Truncate(l.bytes); cut != nil {
		l.failed = fmt.Errorf("%w: %w: %w", err, cut, fault.ErrUnavailable)
	}
	// What was queued meanwhile follows from what is not there.
	if len(l.queue) > 0 || l.failed != nil {
		l.group.err = err
		close(l.group.done)
		l.queue, l.group = nil, &group{done: make(chan struct{})}
	}
	l.seq, l.head = l.durableSeq, l.durableHead
	return fmt.Errorf("%w: %w", err, fault.ErrUnavailable)
}

// upkeep begins a new file when this one is long, and moves the anchor.
func (l *Log) upkeep() error {
	if l.bytes >= l.opts.FileBytes {
		old := l.file
		if err := l.begin(l.durableSeq + 1); err != nil {
			return fmt.Errorf("rotate audit log: %w", err)
		}
		return errors.Join(old.Close(), l.prune())
	}
	if l.durableSeq >= l.anchor.Seq+anchorEvery {
		return l.moveAnchor()
	}
	return nil
}

func (l *Log) moveAnchor() error {
	a := l.anchor
	if a.Seq, a.Hash = l.durableSeq, l.durableHead; a == l.anchor || a.Seq < a.First {
		return nil
	}
	if err := writeAnchor(l.opts.Dir, a); err != nil {
		return fmt.Errorf("anchor audit log: %w", err)
	}
	l.anchor = a
	return nil
}

// prune removes the oldest files that are too old or too many. The anchor moves first: a crash in between leaves files
// that the next start removes.
func (l *Log) prune() error {
	firsts, err := listFiles(l.opts.Dir)
	if err != nil {
		return fmt.Errorf("prune audit log: %w", err)
	}
	sizes := make([]int64, len(firsts))
	total := int64(0)
	oldest := time.Now().Add(-l.opts.KeepFor)
	gone := 0
	for i, first := range firsts {
		info, err := os.Stat(filepath.Join(l.opts.Dir, fileName(first)))
		if err != nil {
			return fmt.Errorf("prune audit log: %w", err)
		}
		sizes[i] = info.Size()
		total += info.Size()
		if i == gone && first != l.first && info.ModTime().Before(oldest) {
			gone = i + 1
		}
	}
	for _, size := range sizes[:gone] {
		total -= size
	}
	for total > l.opts.KeepBytes && gone < len(firsts)-1 && firsts[gone] != l.first {
		total -= sizes[gone]
		gone++
	}
	if gone == 0 {
		return l.moveAnchor()
	}
	return l.removeBefore(firsts, gone)
}

// removeBefore removes the first files.
func (l *Log) removeBefore(firsts []uint64, gone int) error {
	a := l.anchor
	a.First, a.Seq, a.Hash = firsts[gone], l.durableSeq, l.durableHead
	_, err := lines(filepath.Join(l.opts.Dir, fileName(firsts[gone-1])), -1, func(line []byte, _ int64) error {
		a.Prev = hash(line)
		return nil
	})
	if err == nil {
		err = writeAnchor(l.opts.Dir, a)
	}
	if err != nil {
		return fmt.Errorf("prune audit log: %w", err)
	}
	l.anchor = a
	for _, first := range firsts[:gone] {
		if err := os.Remove(filepath.Join(l.opts.Dir, fileName(first))); err != nil {
			return fmt.Errorf("prune audit log: %w", err)
		}
	}
	return syncDir(l.opts.Dir)
}

// Verify makes what was noted durable and checks every link up to there.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	if err := l.Flush(ctx); err != nil {
		return Report{}, err
	}
	for again := false; ; again = true {
		l.mu.Lock()
		to := reach{first: l.first, bytes: l.bytes, seq: l.durableSeq}
		l.mu.Unlock()
		report, err := verify(l.opts.Dir, to)
		if again || err == nil && report.Broken == nil {
			return report, err
		}
		// The oldest files may have gone meanwhile: then it is well the second time.
	}
}

// Read calls f for every durable record. One that tells the outcome of an attempt is folded into it: f gets the
// attempt, with the outcome and the rows, when the outcome is known, and those without one at the end. f may end it
// with an error.
func (l *Log) Read(ctx context.Context, f func(Record) error) error {
	if err := l.Flush(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	l.mu.Lock()
	last, size := l.first, l.bytes
	l.mu.Unlock()
	firsts, err := listFiles(l.opts.Dir)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	attempts := map[uint64]Record{}
	for _, first := range firsts {
		if first > last {
			break
		}
		limit := int64(-1)
		if first == last {
			limit = size
		}
		_, err := lines(filepath.Join(l.opts.Dir, fileName(first)), limit, func(line []byte, at int64) error {
			r, err := parse(line)
			if err != nil {
				return fmt.Errorf("%s, offset %d: %w", fileName(first), at, err)
			}
			return errors.Join(ctx.Err(), fold(attempts, r, f))
		})
		if errors.Is(err, fs.ErrNotExist) { // pruned meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(attempts)) {
		if err := f(attempts[seq]); err != nil {
			return err
		}
	}
	return nil
}

// attemptsMax bounds the attempts whose outcome is looked for: beyond it the oldest have none.
const attemptsMax = 100_000

func fold(attempts map[uint64]Record, r Record, f func(Record) error) error {
	if r.Outcome == "" {
		if len(attempts) < attemptsMax {
			attempts[r.Seq] = r
			return nil
		}
		return f(r)
	}
	if a, ok := attempts[r.Of]; ok {
		delete(attempts, r.Of)
		a.Outcome, a.Rows, a.Target = r.Outcome, r.Rows, r.Target
		r = a
	}
	return f(r)
}
