package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The room on the disk below which the doctor warns, and below which it fails.
const (
	spaceWarnBytes = 2 << 30
	spaceFailBytes = 256 << 20
)

// certificateWarn is how long before its end a certificate is warned of.
const certificateWarn = 14 * 24 * time.Hour

// problemsShown bounds how many problems of one kind are spelled out.
const problemsShown = 10

// Folder examines the data folder at dir: access, room, the log, its bbolt files, manifests, segments, mark files, what
// is left over, certificates and the clock. The error is only that ctx ended.
func Folder(ctx context.Context, dir string) (*Report, error) {
	r := &Report{}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		r.add("folder", Failed, "name the folder with --data-dir", "%s is no folder that can be read", dir)
		return r, nil
	}
	r.access(dir, info)
	r.space(dir)
	r.log(filepath.Join(dir, "hot"))
	r.certificates(filepath.Join(dir, "tls"))
	return r, r.storage(ctx, dir)
}

// access looks at who may read the folder, and whether we may write to it.
func (r *Report) access(dir string, info fs.FileInfo) {
	mode := info.Mode().Perm()
	switch {
	case mode&0o007 != 0:
		r.add("permissions", Warned, "chmod o= "+dir, "everybody on this machine may enter %s (%v)", dir, mode)
	case mode&0o300 != 0o300:
		r.add("permissions", Failed, "chmod u+rwx "+dir, "its owner may not write to %s (%v)", dir, mode)
	default:
		r.add("permissions", OK, "", "%s is %v", dir, mode)
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		r.add("owner", Warned, "run the server and the doctor as the same user",
			"%s belongs to user %d, and this is user %d", dir, owner, os.Geteuid())
	}
}

func (r *Report) space(dir string) {
	free, err := freeBytes(dir)
	const hint = "make room, or move the folder: a full disk refuses writes with 53100"
	switch {
	case err != nil:
		r.add("space", Skipped, "", "how much is free is not known here: %v", err)
	case free < spaceFailBytes:
		r.add("space", Failed, hint, "%s free", mib(free))
	case free < spaceWarnBytes:
		r.add("space", Warned, hint, "%s free", mib(free))
	default:
		r.add("space", OK, "", "%s free", mib(free))
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// log examines the write-ahead log and what was checkpointed from it, and the clock against its newest commit.
func (r *Report) log(dir string) {
	seen, err := hotlog.Inspect(dir)
	switch {
	case errors.Is(err, fault.ErrUnavailable):
		r.add("log", Skipped, "stop the server to have its log examined, or add --live to examine the server",
			"a server has it open")
		return
	case errors.Is(err, fault.ErrNotFound):
		r.add("log", Warned, "a server makes one at its first start", "there is none in %s", dir)
		return
	case err != nil:
		r.add("log", Failed, "", "%v", err)
		return
	}
	if len(seen.Problems) > 0 {
		for _, p := range seen.Problems[:min(len(seen.Problems), problemsShown)] {
			r.add("log", Failed, "", "%s", p)
		}
		r.add("log", Failed, "restore a backup; keep a copy of this folder as it is", "%d problems", len(seen.Problems))
		return
	}
	r.add("log", OK, "", "%d files, %s, %d frames, %d checkpointed values, head %d", seen.Files, mib(seen.LogBytes),
		seen.Frames, seen.Values, seen.Head)
	if seen.Torn > 0 {
		r.add("log end", Warned, "", "%d bytes of writes that were not acknowledged; the next start drops them", seen.Torn)
	}
	r.clock(seen.Time)
}

// clock compares the clock with the newest commit, in microseconds.
func (r *Report) clock(newest int64) {
	if newest == 0 {
		return
	}
	at := time.UnixMicro(newest)
	if behind := time.Until(at); behind > time.Minute {
		r.add("clock", Failed, "set the clock: commits keep their order, but times would stand still until it has caught up",
			"it is %v behind the newest commit, of %s", behind.Round(time.Second), at.UTC().Format(time.RFC3339))
		return
	}
	r.add("clock", OK, "", "the newest commit is of %s", at.UTC().Format(time.RFC3339))
}

// certificates looks at when those of --tls auto end. The server renews them itself; a server that does not run cannot.
func (r *Report) certificates(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // there are none
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".pem") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		block, _ := pem.Decode(text)
		if err != nil || block == nil || block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			r.add("tls", Failed, "remove the file; the server makes another", "%s: %v", e.Name(), err)
		case time.Until(c.NotAfter) < certificateWarn:
			r.add("tls", Warned, "start the server: it renews its certificates", "%s ends at %s", e.Name(),
				c.NotAfter.UTC().Format(time.RFC3339))
		default:
			r.add("tls", OK, "", "%s is good until %s", e.Name(), c.NotAfter.UTC().Format("2006-01-02"))
		}
	}
}

// storage examines every manifest, and the files that it names.
func (r *Report) storage(ctx context.Context, dir string) error {
	s := storage{report: r, root: dir}
	err := fs.WalkDir(os.DirFS(dir), manifest.Root, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // else nothing was flushed yet, or a server removed it
				s.fail("%s: %v", name, err)
			}
			return nil
		}
		if d.IsDir() {
			s.tablet(ctx, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.failed > problemsShown {
		r.add("storage", Failed, "", "%d more problems", s.failed-problemsShown)
	}
	if s.failed > 0 {
		r.add("storage", Failed, "restore a backup of the files that are named; keep a copy of them as they are",
			"%d problems in %d tablets", s.failed, s.tablets)
	} else {
		r.add("storage", OK, "", "%d tablets, %d segments of %d rows, %s, %d mark files: all as their checksums say",
			s.tablets, s.segments, s.rows, mib(s.bytes), s.marks)
	}
	if s.orphans > 0 {
		r.add("left over", Warned, "a start removes what the log does not name either",
			"%d files that no manifest names, %s", s.orphans, mib(s.orphanBytes))
	}
	return nil
}

type storage struct {
	report                            *Report
	root                              string
	tablets, segments, marks, orphans int
	failed                            int
	rows, bytes, orphanBytes          int64
}

func (s *storage) fail(format string, args ...any) {
	if s.failed++; s.failed <= problemsShown {
		s.report.add("storage", Failed, "", format, args...)
	}
}

// tablet examines one folder; one that has no files is no tablet's.
func (s *storage) tablet(ctx context.Context, dir string) {
	entries, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(dir)))
	if err != nil {
		s.fail("%s: %v", dir, err)
		return
	}
	text, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(dir), "manifest.json"))
	named := map[string]bool{}
	switch {
	case err == nil:
		s.tablets++
		m, err := manifest.Decode(text)
		if err != nil {
			s.fail("%s/manifest.json: %v", dir, err)
			return
		}
		s.named(ctx, dir, m, named)
	case !errors.Is(err, fs.ErrNotExist):
		s.fail("%s/manifest.json: %v", dir, err)
		return
	}
	for _, e := range entries {
		if _, _, ours := manifest.ParseFile(e.Name()); e.IsDir() || !ours || named[e.Name()] {
			continue
		}
		s.orphans++
		if info, err := e.Info(); err == nil {
			s.orphanBytes += info.Size()
		}
	}
}

// named examines the files that a manifest names.
func (s *storage) named(ctx context.Context, dir string, m *manifest.Manifest, named map[string]bool) {
	for i := range m.Segments {
		g := &m.Segments[i]
		if ctx.Err() != nil {
			return
		}
		file := manifest.SegmentFile(dir, g.ID)
		named[path.Base(file)] = true
		if s.file(file, g.Bytes, g.Checksum) {
			s.segments++
			s.rows += g.Rows
			s.bytes += g.Bytes
		}
		if g.Marks == nil {
			continue
		}
		file = manifest.MarkFileName(dir, g.ID, g.Marks.Generation)
		named[path.Base(file)] = true
		if s.file(file, g.Marks.Bytes, g.Marks.Checksum) {
			s.marks++
		}
	}
}

// file compares a file with the size and the CRC32C that its manifest has.
func (s *storage) file(name string, bytes int64, checksum uint32) bool {
	f, err := os.Open(filepath.Join(s.root, filepath.FromSlash(name)))
	if err != nil {
		s.fail("%s is in the manifest, and %v", name, errors.Unwrap(err))
		return false
	}
	defer f.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(sum, f)
	switch {
	case err != nil:
		s.fail("%s: %v", name, err)
	case n != bytes:
		s.fail("%s has %d bytes, and the manifest says %d", name, n, bytes)
	case sum.Sum32() != checksum:
		s.fail("%s has the checksum %08x, and the manifest says %08x", name, sum.Sum32(), checksum)
	default:
		return true
	}
	return false
}
