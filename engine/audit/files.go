package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kalamflight/internal/fault"
)

// The names in the folder.
const (
	fileSuffix = ".log"
	anchorName = "anchor.json"
)

// anchor ties the ends of the chain down: where the kept part begins, and a place that it must reach.
type anchor struct {
	// First is the first record that is kept and Prev its link: the chain before it was removed by age or size.
	First uint64 `json:"first"`
	Prev  string `json:"prev"`
	// Seq is a record that was durable when this was written, and Hash that of its line; 0 when there was none.
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash,omitempty"`
}

func fileName(first uint64) string { return fmt.Sprintf("%016d%s", first, fileSuffix) }

// listFiles are the first Seqs of the files of a folder, in order.
func listFiles(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), fileSuffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(base, 10, 64)
		if err == nil && fileName(n) == e.Name() {
			firsts = append(firsts, n)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

func readAnchor(dir string) (anchor, bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, anchorName))
	if errors.Is(err, fs.ErrNotExist) {
		return anchor{First: 1, Prev: start}, false, nil
	}
	if err != nil {
		return anchor{}, false, err
	}
	var a anchor
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || a.First == 0 || len(a.Prev) != len(start) {
		return anchor{}, false, fmt.Errorf("%s cannot be read: %w", anchorName, fault.ErrCorrupt)
	}
	return a, true, nil
}

// writeAnchor replaces the anchor whole.
func writeAnchor(dir string, a anchor) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, anchorName)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lines calls f for each whole line of the first size bytes of a file (all of it when size < 0), without its newline
// and with its offset. rest is what follows the last newline.
func lines(path string, size int64, f func(line []byte, at int64) error) (rest []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in := io.Reader(file)
	if size >= 0 {
		in = io.LimitReader(file, size)
	}
	r := bufio.NewReaderSize(in, lineBytesMax)
	for at := int64(0); ; {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return bytes.Clone(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%s: a line at offset %d is longer than %d bytes: %w", filepath.Base(path), at,
				lineBytesMax, fault.ErrCorrupt)
		case err != nil:
			return nil, err
		}
		if err := f(line[:len(line)-1], at); err != nil {
			return nil, err
		}
		at += int64(len(line))
	}
}

// Report is what Verify found.
type Report struct {
	// Files and Records were read; First and Last are the Seqs of the first and the last record, and Head the hash of the
	// last one's line: noted elsewhere, it proves later that nothing up to it was changed.
	Files, Records int64
	First, Last    uint64
	Head           string
	// Broken is the first place where the chain does not hold; nil when it does.
	Broken *Break
}

// Break is a place where the chain does not hold.
type Break struct {
	// File is the name of the file and Line counts from 1; Seq is the record that was expected there.
	File string
	Line int64
	Seq  uint64
	// Why says what is wrong, in a sentence without a full stop.
	Why string
}

// Error is the break as a sentence.
func (b *Break) Error() string {
	return fmt.Sprintf("the audit log is broken at record %d (%s, line %d): %s", b.Seq, b.File, b.Line, b.Why)
}

// Unwrap is fault.ErrCorrupt.
func (b *Break) Unwrap() error { return fault.ErrCorrupt }

// Verify reads the log in a folder that no server has open and checks every link. The error is about reading; a broken
// chain is in the report.
func Verify(dir string) (Report, error) { return verify(dir, reach{bytes: -1}) }

// reach says how far a log goes that is being written.
type reach struct {
	// first is the first record of the last file and bytes how much of that file is durable; -1 means all of it.
	first uint64
	bytes int64
	// seq is the newest durable record.
	seq uint64
}

// verifier follows the chain.
type verifier struct {
	report Report
	anchor anchor
	next   uint64
	prev   string
	file   string
	line   int64
}

// fail notes the first place where the chain does not hold, and is that place.
func (v *verifier) fail(format string, args ...any) error {
	if v.report.Broken == nil {
		v.report.Broken = &Break{File: v.file, Line: v.line, Seq: v.next, Why: fmt.Sprintf(format, args...)}
	}
	return v.report.Broken
}

func (v *verifier) take(line []byte, _ int64) error {
	v.line++
	r, err := parse(line)
	switch {
	case err != nil:
		return v.fail("the line is not a record")
	case r.Seq != v.next:
		return v.fail("the record has the number %d", r.Seq)
	case r.Prev != v.prev:
		return v.fail("it does not follow from the record before: that one was changed, or records were taken out")
	case r.Of >= r.Seq:
		return v.fail("it tells the outcome of record %d, which comes later", r.Of)
	}
	v.prev = hash(line)
	if r.Seq == v.anchor.Seq && v.prev != v.anchor.Hash {
		return v.fail("it is not the record that %s names", anchorName)
	}
	if v.report.Records == 0 {
		v.report.First = r.Seq
	}
	v.report.Records, v.report.Last, v.report.Head = v.report.Records+1, r.Seq, v.prev
	v.next++
	return nil
}

// verify checks a log as far as it goes.
func verify(dir string, to reach) (Report, error) {
	a, found, err := readAnchor(dir)
	if err != nil && !errors.Is(err, fault.ErrCorrupt) {
		return Report{}, fmt.Errorf("verify audit log: %w", err)
	}
	v := &verifier{anchor: a, next: a.First, prev: a.Prev, file: anchorName}
	if err != nil {
		v.fail("it cannot be read")
		return v.report, nil
	}
	firsts, err := listFiles(dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify audit log: %w", err)
	}
	if !found && len(firsts) > 0 {
		v.fail("it is missing")
		return v.report, nil
	}
	for i, first := range firsts {
		if first < a.First {
			continue // a crash kept it from being removed
		}
		if v.file, v.line = fileName(first), 0; first != v.next {
			v.fail("the file begins with record %d", first)
			return v.report, nil
		}
		limit := int64(-1)
		if to.bytes >= 0 && first >= to.first {
			limit = to.bytes
		}
		rest, err := lines(filepath.Join(dir, v.file), limit, v.take)
		v.report.Files++
		switch {
		case v.report.Broken != nil:
			return v.report, nil
		case errors.Is(err, fault.ErrCorrupt):
			v.line++
			v.fail("the line is too long")
			return v.report, nil
		case err != nil:
			return Report{}, fmt.Errorf("verify audit log: %w", err)
		case len(rest) > 0 && i < len(firsts)-1:
			v.line++
			v.fail("the line has no end")
			return v.report, nil
		}
		if limit >= 0 {
			break
		}
	}
	end := to.seq
	if to.bytes < 0 && a.Seq >= a.First {
		end = a.Seq
	}
	if v.next <= end {
		v.line++
		v.fail("records up to %d are missing at the end", end)
	}
	return v.report, nil
}
