package endtoend

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/codes"

	"kalamflight/internal/server"
	"kalamflight/internal/slt"
)

var (
	rewriteLeftOut = flag.Bool("rewrite-left-out", false, "write testdata/slt/left-out.txt anew from what fails")
	sltLog         = flag.String("slt-log", "", "a file for every record that does not pass, left out or not")
)

const leftOutFile = "testdata/slt/left-out.txt"

// TestSQLLogic runs sqllogictest files of Apache DataFusion, each in a namespace of its own. What the left-out list
// names must fail, everything else must pass.
func TestSQLLogic(t *testing.T) {
	files := openCorpus(t)
	text, err := os.ReadFile(leftOutFile)
	if err != nil {
		t.Fatal(err)
	}
	list, err := slt.ReadLeftOut(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", leftOutFile, err)
	}
	r := &sltRun{t: t, list: list, server: start(t, server.Options{NoJobs: true})}
	if *sltLog != "" {
		f, err := os.Create(*sltLog)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r.log = f
	}
	t.Run("files", func(t *testing.T) {
		for i := range list.Files {
			name := list.Files[i].Name
			if list.Files[i].Part || testing.Short() && i%8 != 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r.file(t, files, name, fmt.Sprintf("slt%d", i))
			})
		}
	})
	t.Logf("%d files: %d records pass, %d are left out", r.files, r.passed, r.left)
	if *rewriteLeftOut {
		if err := os.WriteFile(leftOutFile, list.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// openCorpus unpacks the test files into memory.
func openCorpus(t *testing.T) fs.FS {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "slt", "datafusion.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := fstest.MapFS{}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Clean(h.Name)] = &fstest.MapFile{Data: data}
	}
	sub, err := fs.Sub(files, "datafusion/sqllogictest/test_files")
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// sltRun is a run over all files.
type sltRun struct {
	t      *testing.T
	list   *slt.LeftOut
	server *server.Server

	mu                  sync.Mutex
	log                 io.Writer
	files, passed, left int
}

func (r *sltRun) file(t *testing.T, files fs.FS, name, namespace string) {
	records, err := slt.Parse(files, name, "kalamflight")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c := connect(t, r.server.URL(), "")
	c.exec("CREATE NAMESPACE "+namespace, "USE "+namespace)
	outcomes := make([]slt.Outcome, len(records))
	passed := 0
	for i := range records {
		outcomes[i] = slt.Outcome{Record: &records[i], Failure: runRecord(c, &records[i])}
		if outcomes[i].Failure == "" {
			passed++
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files, r.passed, r.left = r.files+1, r.passed+passed, r.left+len(records)-passed
	r.writeLog(outcomes)
	t.Logf("%d records pass, %d are left out, %v", passed, len(records)-passed, time.Since(began).Round(time.Millisecond))
	if *rewriteLeftOut {
		r.list.Rewrite(outcomes)
	}
	for _, problem := range r.list.Check(name, outcomes) {
		t.Error(problem)
	}
}

func (r *sltRun) writeLog(outcomes []slt.Outcome) {
	if r.log == nil {
		return
	}
	for _, o := range outcomes {
		if o.Failure != "" {
			fmt.Fprintf(r.log, "=== %s\n%s\n--- %s\n", o.Record.Key(), o.Record.SQL, o.Failure)
		}
	}
}

// recordTimeout is how long one record may take; the slowest that passes needs a hundredth of it.
const recordTimeout = 20 * time.Second

var (
	selects = regexp.MustCompile(`(?i)^(?:--[^\n]*\n|\s|\()*(?:select|with|values|explain|show|describe|from|table)\b`)
	changes = regexp.MustCompile(`(?i)^(?:--[^\n]*\n|\s)*(?:insert|update|delete|merge)\b`)
	returns = regexp.MustCompile(`(?i)\breturning\b`)
)

// runRecord runs a record and says how it went wrong, "" when it did not.
func runRecord(c *client, record *slt.Record) string {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	sql := slt.Translate(strings.TrimRight(strings.TrimSpace(record.SQL), ";"))
	rows := &slt.Rows{}
	var affected int64 = -1
	var err error
	if selects.MatchString(sql) || record.Kind == slt.Query && (!changes.MatchString(sql) || returns.MatchString(sql)) {
		err = c.collect(ctx, sql, rows)
	} else {
		affected, err = c.tryExec(sql)
		rows.AddCount(affected)
	}
	switch {
	case err != nil && !record.Fails:
		return err.Error()
	case err != nil && internalError(err):
		return "an internal error: " + err.Error()
	case err == nil && record.Fails:
		return "no error, but the record wants one"
	case err != nil:
		return ""
	case record.Kind == slt.Query:
		return record.Compare(rows)
	case record.Count >= 0 && changes.MatchString(sql) && affected != record.Count:
		return fmt.Sprintf("%d rows, want %d", affected, record.Count)
	}
	return ""
}

// internalError tells an error that nobody classified, or a record that ran out of time.
func internalError(err error) bool {
	var e adbc.Error
	return errors.As(err, &e) && (e.VendorCode == int32(codes.Internal) || e.VendorCode == int32(codes.Unknown) ||
		e.Code == adbc.StatusTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// collect reads the result of a query.
func (c *client) collect(ctx context.Context, sql string, rows *slt.Rows) error {
	s, err := c.stream(ctx, sql)
	if err != nil {
		return err
	}
	defer s.close()
	rows.Open(s.rdr.Schema())
	for {
		b, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rows.Add(b)
	}
}
