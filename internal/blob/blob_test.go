package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
)

// both runs the test on each kind of bucket: they must not be told apart.
func both(t *testing.T, f func(t *testing.T, b blob.Bucket)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) {
		b, err := blob.OpenFolder(filepath.Join(t.TempDir(), "new", "root"))
		if err != nil {
			t.Fatal(err)
		}
		f(t, b)
	})
	t.Run("mem", func(t *testing.T) { f(t, blob.NewMem()) })
}

func list(t *testing.T, b blob.Bucket, prefix string) []string {
	t.Helper()
	var names []string
	err := b.List(context.Background(), prefix, func(e blob.Entry) error {
		names = append(names, fmt.Sprintf("%s:%d", e.Name, e.Bytes))
		return nil
	})
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	slices.Sort(names)
	return names
}

func create(t *testing.T, b blob.Bucket, name, body string) {
	t.Helper()
	w, err := b.Create(context.Background(), name)
	if err != nil {
		t.Fatalf("Create(%q): %v", name, err)
	}
	for _, part := range []string{body[:len(body)/2], body[len(body)/2:]} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatalf("Commit(%q): %v", name, err)
	}
}

func TestBlobIsInvisibleUntilCommit(t *testing.T) {
	both(t, func(t *testing.T, b blob.Bucket) {
		ctx := context.Background()
		w, err := b.Create(ctx, "a/b/c")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "hello"); err != nil {
			t.Fatal(err)
		}
		if got := list(t, b, ""); len(got) != 0 {
			t.Errorf("before Commit List = %v", got)
		}
		if _, err := b.Open(ctx, "a/b/c"); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("before Commit Open = %v, want ErrNotFound", err)
		}
		if err := errors.Join(w.Commit(), w.Abort()); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err == nil {
			t.Error("second Commit succeeds")
		}
		if got, want := list(t, b, "a/"), []string{"a/b/c:5"}; !slices.Equal(got, want) {
			t.Errorf("List = %v, want %v", got, want)
		}
		aborted, err := b.Create(ctx, "a/d")
		if err != nil {
			t.Fatal(err)
		}
		if err := aborted.Abort(); err != nil {
			t.Fatal(err)
		}
		if got := list(t, b, ""); len(got) != 1 {
			t.Errorf("after Abort List = %v", got)
		}
	})
}

func TestReaderOutlivesDelete(t *testing.T) {
	both(t, func(t *testing.T, b blob.Bucket) {
		ctx := context.Background()
		create(t, b, "x/y", "0123456789")
		r, err := b.Open(ctx, "x/y")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := b.Delete(ctx, "x/y"); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(ctx, "x/y"); err != nil {
			t.Errorf("Delete of a missing blob = %v", err)
		}
		p := make([]byte, 4)
		if _, err := r.ReadAt(p, 3); err != nil || string(p) != "3456" || r.Bytes() != 10 {
			t.Errorf("ReadAt = %q, %v; Bytes = %d", p, err, r.Bytes())
		}
		if _, err := r.ReadAt(p, 8); !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt past the end = %v, want EOF", err)
		}
		if _, _, err := b.Get(ctx, "x/y"); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("Get = %v, want ErrNotFound", err)
		}
	})
}

func TestPutIfIsCompareAndSwap(t *testing.T) {
	both(t, func(t *testing.T, b blob.Bucket) {
		ctx := context.Background()
		if _, err := b.PutIf(ctx, "m", []byte("1"), "other"); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("PutIf of a missing blob with an etag = %v, want ErrConflict", err)
		}
		tag, err := b.PutIf(ctx, "m", []byte("1"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.PutIf(ctx, "m", []byte("2"), ""); !errors.Is(err, fault.ErrConflict) {
			t.Errorf("PutIf of a blob that is there = %v, want ErrConflict", err)
		}
		var won sync.Map
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				if _, err := b.PutIf(ctx, "m", fmt.Append(nil, "by ", i), tag); err == nil {
					won.Store(i, true)
				} else if !errors.Is(err, fault.ErrConflict) {
					t.Errorf("PutIf = %v", err)
				}
			})
		}
		wait.Wait()
		winners := 0
		won.Range(func(i, _ any) bool {
			winners++
			if body, _, err := b.Get(ctx, "m"); err != nil || string(body) != fmt.Sprint("by ", i) {
				t.Errorf("Get = %q, %v after %v won", body, err, i)
			}
			return true
		})
		if winners != 1 {
			t.Errorf("%d of 8 won", winners)
		}
	})
}

func TestNamesStayInside(t *testing.T) {
	both(t, func(t *testing.T, b blob.Bucket) {
		for _, name := range []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", `a\b`, "a\x00", "a/./b",
			"x.tmp~",
			strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a"} {
			ctx := context.Background()
			_, createErr := b.Create(ctx, name)
			_, putErr := b.PutIf(ctx, name, nil, "")
			_, _, getErr := b.Get(ctx, name)
			_, openErr := b.Open(ctx, name)
			for i, err := range []error{createErr, putErr, getErr, openErr, b.Delete(ctx, name)} {
				if !errors.Is(err, fault.ErrInvalid) {
					t.Errorf("operation %d on %q = %v, want ErrInvalid", i, name, err)
				}
			}
		}
	})
}

func TestListByPrefix(t *testing.T) {
	both(t, func(t *testing.T, b blob.Bucket) {
		for _, name := range []string{"s/u/ann/t/m", "s/u/ann2/t/m", "s/u/bob/t/m", "s/h/t/m"} {
			create(t, b, name, "x")
		}
		for prefix, want := range map[string]int{"": 4, "s": 4, "s/u/": 3, "s/u/ann": 2, "s/u/ann/": 1, "s/u/c": 0,
			"none/at/all/": 0} {
			if got := list(t, b, prefix); len(got) != want {
				t.Errorf("List(%q) = %v, want %d names", prefix, got, want)
			}
		}
		stop := errors.New("stop")
		if err := b.List(context.Background(), "", func(blob.Entry) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("List = %v, want the error of the callee", err)
		}
	})
}

func TestFolderSweepsAndTidies(t *testing.T) {
	root := t.TempDir()
	b, err := blob.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Create(context.Background(), "u/ann/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.OpenFolder(root); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(_ string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			files++
		}
		return err
	})
	if err != nil || files != 0 {
		t.Errorf("%d files are left of an unfinished blob, %v", files, err)
	}
	create(t, b, "u/bob/t/1", "x")
	if err := b.Delete(context.Background(), "u/bob/t/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "u", "bob")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a user stays after their last blob: %v", err)
	}
}

func TestMemCrashAndFaults(t *testing.T) {
	ctx := context.Background()
	m := blob.NewMem()
	create(t, m, "kept", "x")
	w, err := m.Create(ctx, "lost")
	if err != nil {
		t.Fatal(err)
	}
	m.Crash()
	if err := w.Commit(); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("Commit after a crash = %v, want ErrUnavailable", err)
	}
	if got := list(t, m.Clone(), ""); !slices.Equal(got, []string{"kept:1"}) {
		t.Errorf("after a crash List = %v", got)
	}
	at := m.Operations()
	m.Fail(func(op blob.Operation) blob.Outcome {
		switch op.N - at {
		case 1:
			return blob.FailBefore
		case 2:
			return blob.FailAfter
		}
		return blob.Succeed
	})
	if _, err := m.PutIf(ctx, "p", nil, ""); !errors.Is(err, blob.ErrInjected) || len(list(t, m, "p")) != 0 {
		t.Errorf("FailBefore: %v, %v", err, list(t, m, "p"))
	}
	if _, err := m.PutIf(ctx, "p", nil, ""); !errors.Is(err, blob.ErrInjected) || len(list(t, m, "p")) != 1 {
		t.Errorf("FailAfter: %v, %v", err, list(t, m, "p"))
	}
	if err := m.Delete(ctx, "p"); err != nil {
		t.Errorf("Delete = %v", err)
	}
	m.Corrupt("kept", func(b []byte) []byte { return bytes.ToUpper(b) })
	if body, _, err := m.Get(ctx, "kept"); err != nil || string(body) != "X" {
		t.Errorf("Get = %q, %v", body, err)
	}
}
