package catalog_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// memory is a Meta in memory; broken makes Apply fail.
type memory struct {
	mu     sync.Mutex
	kv     map[string][]byte
	broken bool
}

func newMemory() *memory { return &memory{kv: map[string][]byte{}} }

func (m *memory) Get(key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.kv[key]
	return v, ok, nil
}

func (m *memory) Scan(prefix string, f func(string, []byte) error) error {
	m.mu.Lock()
	kv := maps.Clone(m.kv)
	m.mu.Unlock()
	for k, v := range kv {
		if strings.HasPrefix(k, prefix) {
			if err := f(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Apply(_ context.Context, puts map[string][]byte, deletes []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return fault.ErrUnknown
	}
	for _, k := range deletes {
		delete(m.kv, k)
	}
	maps.Copy(m.kv, puts)
	return nil
}

func newUser(name, password string) catalog.NewUser {
	return catalog.NewUser{Name: name, Role: access.RoleUser, Password: &password}
}

func open(t *testing.T, m catalog.Meta) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(context.Background(), m, catalog.Options{PasswordKiB: 64, PasswordPasses: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func table(name string) *manifest.Table {
	return &manifest.Table{Namespace: "default", Name: name, Kind: manifest.User, Owner: 1,
		Columns: []manifest.Column{{Name: "id", Type: manifest.Type{Kind: manifest.BigInt}, NotNull: true}}}
}

func TestTablesSurviveReopen(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c := open(t, m)
	if _, err := c.CreateNamespace(ctx, "Chat", false); err != nil {
		t.Fatal(err)
	}
	def := table("Lines")
	def.Namespace = "chat"
	made, ok, err := c.CreateTable(ctx, def, false)
	if err != nil || !ok {
		t.Fatalf("CreateTable = %v, %v", ok, err)
	}
	if made.ID == 0 || made.Columns[0].ID != 1 || made.NextColumn != 2 || made.Namespace != "Chat" {
		t.Errorf("CreateTable filled in %+v", made)
	}
	if _, _, err := c.CreateTable(ctx, def, false); !errors.Is(err, fault.ErrExists) {
		t.Errorf("second CreateTable: %v, want ErrExists", err)
	}
	if again, ok, err := c.CreateTable(ctx, def, true); err != nil || ok || again.ID != made.ID {
		t.Errorf("CreateTable IF NOT EXISTS = %v, %v, %v", again, ok, err)
	}
	c = open(t, m)
	got, ok := c.Snapshot().Table("CHAT", "LINES")
	if !ok || got.ID != made.ID || got.Columns[0] != made.Columns[0] {
		t.Fatalf("after reopening: %+v, %v", got, ok)
	}
	if err := c.DropTable(ctx, got.ID); err != nil {
		t.Fatal(err)
	}
	c = open(t, m)
	if dropped := c.Snapshot().Dropped(); len(dropped) != 1 || dropped[0].ID != made.ID {
		t.Errorf("dropped tables after reopening: %v", dropped)
	}
	if err := c.Forget(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	other, _, err := c.CreateTable(ctx, table("lines"), false)
	if err != nil || other.ID <= made.ID {
		t.Errorf("a later table has id %d after %d, %v", other.ID, made.ID, err)
	}
}

func TestNamespaces(t *testing.T) {
	ctx := context.Background()
	c := open(t, newMemory())
	for _, name := range []string{"", " a", "a\x00b", "a\u200bb", strings.Repeat("x", 129), "\xff"} {
		if _, err := c.CreateNamespace(ctx, name, false); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("CreateNamespace(%q) = %v, want ErrInvalid", name, err)
		}
	}
	for _, name := range []string{"default", "DEFAULT", "system", "information_schema"} {
		if _, err := c.CreateNamespace(ctx, name, false); !errors.Is(err, fault.ErrExists) {
			t.Errorf("CreateNamespace(%q) = %v, want ErrExists", name, err)
		}
	}
	if _, err := c.DropNamespace(ctx, "default", true); !errors.Is(err, fault.ErrPrecondition) {
		t.Errorf("DropNamespace(default) = %v", err)
	}
	if _, err := c.CreateNamespace(ctx, "n", false); err != nil {
		t.Fatal(err)
	}
	def := table("t")
	def.Namespace = "n"
	if _, _, err := c.CreateTable(ctx, def, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DropNamespace(ctx, "n", false); !errors.Is(err, fault.ErrPrecondition) {
		t.Errorf("DropNamespace of a full one = %v", err)
	}
	if tables, err := c.DropNamespace(ctx, "n", true); err != nil || len(tables) != 1 {
		t.Errorf("DropNamespace CASCADE = %v, %v", tables, err)
	}
	if _, ok := c.Snapshot().Table("n", "t"); ok {
		t.Error("the table is still there")
	}
}

func TestBadTables(t *testing.T) {
	c := open(t, newMemory())
	change := map[string]func(*manifest.Table){
		"no columns": func(d *manifest.Table) { d.Columns = nil },
		"reserved":   func(d *manifest.Table) { d.Columns[0].Name = "_SEQ" },
		"twice": func(d *manifest.Table) {
			d.Columns = append(d.Columns, manifest.Column{Name: "ID", Type: d.Columns[0].Type})
		},
		"not storable": func(d *manifest.Table) { d.Columns[0].Type = manifest.Type{Kind: manifest.Interval} },
		"nullable key": func(d *manifest.Table) {
			d.Columns[0].NotNull, d.Columns[0].ID, d.Key = false, 1, []manifest.ColumnID{1}
		},
		"foreign key col": func(d *manifest.Table) { d.Key = []manifest.ColumnID{9} },
		"stream no ttl":   func(d *manifest.Table) { d.Kind = manifest.Stream },
		"ttl elsewhere":   func(d *manifest.Table) { d.TTL = 1 },
	}
	for name, f := range change {
		def := table("t")
		f(def)
		if _, _, err := c.CreateTable(context.Background(), def, false); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: CreateTable = %v, want ErrInvalid", name, err)
		}
	}
}

func TestLogin(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c := open(t, m)
	if p, err := c.Login(ctx, "root", "", true); err != nil || p.Role != access.RoleSystem {
		t.Errorf("root on loopback = %+v, %v", p, err)
	}
	if _, err := c.Login(ctx, "root", "", false); !errors.Is(err, fault.ErrUnauthenticated) {
		t.Errorf("root from elsewhere without a password = %v", err)
	}
	if _, err := c.CreateUser(ctx, newUser("Noor", "short"), false); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("a short password = %v", err)
	}
	if _, err := c.CreateUser(ctx, newUser("Noor", "a long enough one"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(ctx, newUser("NOOR", "a long enough one"), false); !errors.Is(
		err,
		fault.ErrExists,
	) {
		t.Errorf("a name equal under folding = %v", err)
	}
	p, err := c.Login(ctx, "noor", "a long enough one", false)
	if err != nil || p.Name != "Noor" {
		t.Fatalf("Login = %+v, %v", p, err)
	}
	for _, bad := range [][2]string{
		{"noor", ""}, {"noor", "a long enough One"}, {"nobody", "a long enough one"}, {"", ""}} {
		if _, err := c.Login(ctx, bad[0], bad[1], true); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Errorf("Login(%q, %q) = %v, want ErrUnauthenticated", bad[0], bad[1], err)
		}
	}
	if err := c.DropUser(ctx, "noor"); err != nil {
		t.Fatal(err)
	}
	c = open(t, m)
	if _, err := c.Login(ctx, "noor", "a long enough one", true); !errors.Is(err, fault.ErrUnauthenticated) {
		t.Errorf("a dropped user logs in: %v", err)
	}
	if _, err := c.CreateUser(ctx, newUser("noor", "a long enough one"), false); !errors.Is(
		err,
		fault.ErrExists,
	) {
		t.Errorf("the name of a dropped user = %v, want reserved", err)
	}
	if err := c.PurgeUser(ctx, p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(ctx, newUser("noor", "a long enough one"), false); err != nil {
		t.Fatal(err)
	}
	if q, err := c.Login(ctx, "noor", "a long enough one", true); err != nil || q.ID == p.ID {
		t.Errorf("a new user of an old name has id %d, the old one had %d (%v)", q.ID, p.ID, err)
	}
	if err := c.DropUser(ctx, "root"); !errors.Is(err, fault.ErrPrecondition) {
		t.Errorf("DropUser(root) = %v", err)
	}
}

func TestLockout(t *testing.T) {
	ctx := context.Background()
	c := open(t, newMemory())
	if _, err := c.CreateUser(ctx, newUser("noor", "a long enough one"), false); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := c.Login(ctx, "noor", "wrong password", true); !errors.Is(err, fault.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	if _, err := c.Login(ctx, "noor", "a long enough one", true); !errors.Is(err, fault.ErrUnauthenticated) {
		t.Errorf("the right password after five failures = %v, want locked", err)
	}
	if _, err := c.Login(ctx, "root", "", true); err != nil {
		t.Errorf("another user is locked too: %v", err)
	}
}

func TestImportedBcrypt(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	hash, err := bcrypt.GenerateFromPassword([]byte("a long enough one"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	m.kv["user/0000000000000009"] = []byte(
		`{"id":9,"name":"old","role":"service","password":"` + string(hash) + `","created":1}`,
	)
	c := open(t, m)
	if p, err := c.Login(ctx, "old", "a long enough one", false); err != nil || p.Role != access.RoleService {
		t.Errorf("Login = %+v, %v", p, err)
	}
	if _, err := c.Login(ctx, "old", "a long enough two", false); err == nil {
		t.Error("a wrong password matches a bcrypt hash")
	}
}

// TestIDsNeverRepeat makes ids in bursts across reopenings, some of which lose nothing but the process's memory.
func TestIDsNeverRepeat(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	last := uint64(0)
	for range 5 {
		c := open(t, m)
		for range 1000 {
			id, err := c.NewID(ctx)
			if err != nil || id <= last {
				t.Fatalf("NewID = %d after %d, %v", id, last, err)
			}
			last = id
		}
		first, err := c.NewIDs(ctx, 100_000)
		if err != nil || first <= last {
			t.Fatalf("NewIDs = %d after %d, %v", first, last, err)
		}
		last = first + 99_999
	}
	if int64(last) < 0 {
		t.Errorf("id %d does not fit a BIGINT", last)
	}
}

func TestNothingShowsWhenItIsNotDurable(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	c := open(t, m)
	m.broken = true
	if _, err := c.CreateNamespace(ctx, "n", false); !errors.Is(err, fault.ErrUnknown) {
		t.Errorf("CreateNamespace = %v", err)
	}
	if _, ok := c.Snapshot().Namespace("n"); ok {
		t.Error("a namespace shows that was not made durable")
	}
}

// TestRottenKeys flips each bit of each key in turn: the catalog refuses to open, and names what it found, rather than
// go on without the entry.
func TestRottenKeys(t *testing.T) {
	m := newMemory()
	c := open(t, m)
	ctx := context.Background()
	if _, err := c.CreateNamespace(ctx, "n", false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.CreateTable(ctx, table("t"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(ctx, newUser("ali", "ali-password"), false); err != nil {
		t.Fatal(err)
	}
	for key, value := range maps.Clone(m.kv) {
		for bit := range 8 * len(key) {
			rotten := []byte(key)
			rotten[bit/8] ^= 1 << (bit % 8)
			if _, taken := m.kv[string(rotten)]; taken {
				continue
			}
			delete(m.kv, key)
			m.kv[string(rotten)] = value
			if _, err := catalog.Open(ctx, m, catalog.Options{}); !errors.Is(err, fault.ErrCorrupt) {
				t.Errorf("Open with %q for %q = %v, want ErrCorrupt", rotten, key, err)
			}
			delete(m.kv, string(rotten))
			m.kv[key] = value
		}
	}
}
