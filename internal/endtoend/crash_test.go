package endtoend

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamflight/hotlog"
	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

// The environment that makes the test binary a server to be killed: its data folder, and whether it syncs.
const (
	childDir    = "KALAMFLIGHT_CRASH_DIR"
	childNoSync = "KALAMFLIGHT_CRASH_NOSYNC"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		serveUntilKilled(dir, os.Getenv(childNoSync) != "")
	}
	if dir := os.Getenv(childMemory); dir != "" {
		serveInLittleMemory(dir)
	}
	if dir := os.Getenv(childHostile); dir != "" {
		serveTheHostile(dir)
	}
	os.Exit(m.Run())
}

// serveUntilKilled is the child's whole life.
func serveUntilKilled(dir string, noSync bool) {
	log, err := newSyncedFS(filepath.Join(dir, "hot"), filepath.Join(dir, "synced"))
	if err == nil {
		var s *server.Server
		s, err = server.Start(context.Background(), server.Options{DataDir: filepath.Join(dir, "data"),
			Listen: "127.0.0.1:0", LogFS: log, UnsafeNoSync: noSync})
		if err == nil {
			fmt.Println(s.URL())
			select {}
		}
	}
	fmt.Println("error:", err)
	os.Exit(1)
}

// syncedFS is the folder of a log on the disk that notes, in a file of its own, which bytes of each file were written
// and not synced. Whoever cuts the power afterwards knows what is lost.
type syncedFS struct {
	dir   string
	notes *os.File

	mu    sync.Mutex
	slots map[string]int64
}

const noteBytes = 64

func newSyncedFS(dir, notes string) (*syncedFS, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(notes, os.O_RDWR|os.O_CREATE, 0o644)
	return &syncedFS{dir: dir, notes: f, slots: map[string]int64{}}, err
}

func (s *syncedFS) Open(name string) (hotlog.File, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return &syncedFile{File: f, fs: s, name: name}, nil
}

func (s *syncedFS) Remove(name string) error { return os.Remove(filepath.Join(s.dir, name)) }

func (s *syncedFS) List() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (s *syncedFS) SyncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// note writes what is dirty in a file: two offsets of 8 bytes, then the name.
func (s *syncedFS) note(name string, dirty span) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, ok := s.slots[name]
	if !ok {
		slot = int64(len(s.slots))
		s.slots[name] = slot
	}
	b := make([]byte, noteBytes)
	binary.LittleEndian.PutUint64(b, uint64(dirty.first))
	binary.LittleEndian.PutUint64(b[8:], uint64(dirty.end))
	copy(b[16:], name)
	_, err := s.notes.WriteAt(b, slot*noteBytes)
	return err
}

// span is a range of bytes; it is empty when end is 0.
type span struct{ first, end int64 }

func (s span) with(o span) span {
	switch {
	case s.end == 0:
		return o
	case o.end == 0:
		return s
	}
	return span{min(s.first, o.first), max(s.end, o.end)}
}

type syncedFile struct {
	*os.File
	fs   *syncedFS
	name string

	mu sync.Mutex
	// dirty was written since the last sync began, syncing before it.
	dirty, syncing span
}

func (f *syncedFile) WriteAt(b []byte, at int64) (int, error) {
	f.mu.Lock()
	f.dirty = f.dirty.with(span{at, at + int64(len(b))})
	err := f.fs.note(f.name, f.dirty.with(f.syncing))
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f *syncedFile) Sync() error {
	f.mu.Lock()
	f.syncing, f.dirty = f.dirty.with(f.syncing), span{}
	f.mu.Unlock()
	if err := f.File.Sync(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncing = span{}
	return f.fs.note(f.name, f.dirty)
}

func (f *syncedFile) Bytes() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// cutPower wipes from the log what was never synced.
func cutPower(t *testing.T, dir string) {
	t.Helper()
	notes, err := os.ReadFile(filepath.Join(dir, "synced"))
	if err != nil {
		t.Fatal(err)
	}
	for ; len(notes) >= noteBytes; notes = notes[noteBytes:] {
		dirty := span{int64(binary.LittleEndian.Uint64(notes)), int64(binary.LittleEndian.Uint64(notes[8:]))}
		wipe(t, filepath.Join(dir, "hot", strings.TrimRight(string(notes[16:noteBytes]), "\x00")), dirty)
	}
	if err := os.Truncate(filepath.Join(dir, "synced"), 0); err != nil {
		t.Fatal(err)
	}
}

// wipe zeroes a range of a file.
func wipe(t *testing.T, path string, dirty span) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, dirty.end-dirty.first), dirty.first); err != nil {
		t.Fatal(err)
	}
}

// child is a server in a process of its own.
type child struct {
	cmd    *exec.Cmd
	url    string
	killed sync.Once
}

func startChild(t *testing.T, dir string, noSync bool) *child {
	t.Helper()
	env := []string{childDir + "=" + dir}
	if noSync {
		env = append(env, childNoSync+"=1")
	}
	return startChildWith(t, env...)
}

// startChildWith starts this program again with variables that say what it is to be, and waits until it serves.
func startChildWith(t *testing.T, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "grpc://") {
		t.Fatalf("the server says %q, %v", line, err)
	}
	return &child{cmd: cmd, url: strings.TrimSpace(line)}
}

// kill ends the process and waits for its end; a timer and the test may both call it.
func (c *child) kill() {
	c.killed.Do(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
}

// group is a set of rows that one statement wrote: all or none of them may be there. state is "" when they are gone,
// else their value; doubt is what an unacknowledged statement would have made of it.
type rowGroup struct {
	rows     int
	state    string
	doubt    string
	doubtful bool
}

// writer writes groups of its own until its server dies.
type writer struct {
	id     int
	rand   *rand.Rand
	groups map[int]*rowGroup
	next   int
	acks   int
}

func (w *writer) run(c *client) {
	for {
		g, sql, after := w.statement()
		g.doubt, g.doubtful = after, true
		if _, err := c.tryExec(sql); err != nil {
			return
		}
		g.state, g.doubtful = after, false
		w.acks++
	}
}

// statement is the next write, the group it is about, and the group's state once it is acknowledged.
func (w *writer) statement() (*rowGroup, string, string) {
	value := fmt.Sprintf("v%d", w.rand.IntN(1_000_000))
	n := w.rand.IntN(w.next + 1)
	g := w.groups[n]
	switch op := w.rand.IntN(4); {
	case g == nil || g.state == "" || op < 2:
		w.next++
		g = &rowGroup{rows: w.rand.IntN(20) + 1}
		w.groups[w.next] = g
		var rows []string
		for i := range g.rows {
			rows = append(rows, fmt.Sprintf("(%d, %d, %d, '%s')", w.id*100_000_000+w.next*100+i, w.id, w.next, value))
		}
		return g, "INSERT INTO crash.main VALUES " + strings.Join(rows, ", "), value
	case op == 2:
		return g, fmt.Sprintf("UPDATE crash.main SET v = '%s' WHERE writer = %d AND grp = %d", value, w.id, n), value
	default:
		return g, fmt.Sprintf("DELETE FROM crash.main WHERE writer = %d AND grp = %d", w.id, n), ""
	}
}

// check compares what is there after a crash with what was acknowledged, and settles the doubts. It returns how many
// groups are wrong.
func (w *writer) check(t *testing.T, found map[int]map[string]int) int {
	wrong := 0
	complain := func(n int, g *rowGroup, got map[string]int) {
		wrong++
		if wrong == 1 {
			t.Logf("writer %d, group %d of %d rows: found %v, acknowledged %q, in doubt %q (%v)", w.id, n, g.rows, got,
				g.state, g.doubt, g.doubtful)
		}
	}
	for n, g := range w.groups {
		got := found[n]
		state := ""
		for value := range got {
			state = value
		}
		whole := len(got) == 0 || len(got) == 1 && got[state] == g.rows
		if !whole || state != g.state && !(g.doubtful && state == g.doubt) {
			complain(n, g, got)
		}
		g.state, g.doubtful = state, false
		delete(found, n)
	}
	for n, got := range found {
		complain(n, &rowGroup{}, got)
	}
	return wrong
}

// crashes kills a server under load again and again and returns how many groups of rows were wrong, and how many
// statements were acknowledged.
func crashes(t *testing.T, kills int, noSync bool) (wrong, acks int) {
	r, _ := testkit.Rand(t)
	dir := t.TempDir()
	c := startChild(t, dir, noSync)
	root := connect(t, c.url, "")
	root.exec("CREATE NAMESPACE crash",
		"CREATE SHARED TABLE crash.main (id BIGINT PRIMARY KEY, writer INT, grp INT, v TEXT) "+
			"WITH (FLUSH_POLICY = 'rows:300', DELETED_RETENTION_HOURS = 0)",
		"CREATE STREAM TABLE crash.live (id BIGINT PRIMARY KEY, v TEXT) WITH (SCOPE = 'shared', TTL_SECONDS = 1)")
	writers := make([]*writer, 4)
	for i := range writers {
		writers[i] = &writer{id: i + 1, rand: rand.New(rand.NewPCG(r.Uint64(), 0)), groups: map[int]*rowGroup{}}
	}
	for range kills {
		load(t, c, writers, r)
		cutPower(t, dir)
		c = startChild(t, dir, noSync)
		wrong += verify(t, connect(t, c.url, ""), writers)
	}
	c.kill()
	for _, w := range writers {
		acks += w.acks
	}
	return wrong, acks
}

// load runs the writers, and whoever flushes, compacts and feeds the stream table, until the server is killed at a
// random moment.
func load(t *testing.T, c *child, writers []*writer, r *rand.Rand) {
	var wg sync.WaitGroup
	for _, w := range writers {
		conn := connect(t, c.url, "")
		wg.Go(func() { w.run(conn) })
	}
	for _, sql := range []string{
		"FLUSH TABLE crash.main", "COMPACT TABLE crash.main", "INSERT INTO crash.live VALUES (1, 'x'), (2, 'y')"} {
		conn := connect(t, c.url, "")
		wait := time.Duration(20+r.IntN(60)) * time.Millisecond
		wg.Go(func() {
			for {
				if _, err := conn.tryExec(sql); err != nil {
					return
				}
				time.Sleep(wait)
			}
		})
	}
	time.Sleep(time.Duration(100+r.IntN(500)) * time.Millisecond)
	c.kill()
	wg.Wait()
}

func verify(t *testing.T, c *client, writers []*writer) int {
	t.Helper()
	found := map[string]map[int]map[string]int{}
	rows, err := c.tryQuery("SELECT writer, grp, v, count(*), count(DISTINCT id) FROM crash.main " +
		"GROUP BY writer, grp, v")
	if err != nil {
		t.Logf("the table cannot be read: %v", err)
		return 1
	}
	for _, row := range rows {
		var grp, rows, ids int
		if _, err := fmt.Sscan(row[1], &grp); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(row[3]+" "+row[4], &rows, &ids); err != nil {
			t.Fatal(err)
		}
		if rows != ids {
			t.Errorf("writer %s, group %d: %d rows with %d keys", row[0], grp, rows, ids)
		}
		if found[row[0]] == nil {
			found[row[0]] = map[int]map[string]int{}
		}
		if found[row[0]][grp] == nil {
			found[row[0]][grp] = map[string]int{}
		}
		found[row[0]][grp][row[2]] = rows
	}
	wrong := 0
	for _, w := range writers {
		wrong += w.check(t, maps.Clone(found[fmt.Sprint(w.id)]))
	}
	return wrong
}

// TestCrashes kills a server 50 times at random moments under load, with flushes, compactions and evictions running,
// and cuts the power: what the log had not synced is wiped. Every acknowledged write is there, once and whole; an
// unacknowledged one is there at most once and whole. Without syncs the same test loses rows, or it would show
// nothing.
func TestCrashes(t *testing.T) {
	kills := size(50, 4)
	wrong, acks := crashes(t, kills, false)
	t.Logf("%d crashes, %d acknowledged statements", kills, acks)
	if wrong > 0 {
		t.Errorf("%d groups of rows are wrong", wrong)
	}
	if acks < 10*kills {
		t.Errorf("only %d statements were acknowledged: the test shows nothing", acks)
	}
}

// TestCrashesControl is the control of TestCrashes.
func TestCrashesControl(t *testing.T) {
	wrong, acks := crashes(t, 3, true)
	if wrong == 0 {
		t.Errorf("no row was lost of %d acknowledged statements although nothing was synced", acks)
	}
}
