// Package catalog keeps the definitions: namespaces, tables, views, users and their tokens, and hands out ids. Readers
// get an immutable snapshot; a change is durable before anybody sees it. It does not check who may change what
// (engine/access does) and holds no rows.
package catalog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Meta is where the catalog's small values live: hotlog.Meta. Apply is atomic and durable.
type Meta interface {
	Get(key string) ([]byte, bool, error)
	Scan(prefix string, f func(key string, value []byte) error) error
	Apply(ctx context.Context, puts map[string][]byte, deletes []string) error
}

// The keys in Meta. Values are JSON, but for the counters (8 bytes, big-endian) and the secret (32 bytes).
const (
	keyNamespace   = "namespace/"
	keyTable       = "table/"
	keyUser        = "user/"
	keyLastTable   = "last/table"
	keyLastUser    = "last/user"
	keyLastID      = "last/id"
	keySecret      = "secret"
	keyDropped     = "dropped/"
	keyToken       = "token/"
	keyLastToken   = "last/token"
	keyLockout     = "lockout/"
	keyIntent      = "intent/"
	secretBytes    = 32
	DefaultSpace   = "default"
	SystemSpace    = "system"
	SchemaSpace    = "information_schema"
	TemporarySpace = "temp"
	RootName       = "root"
	namespacesMax  = 10_000
	tablesMax      = 100_000
	usersMax       = 1_000_000
	nameBytesMax   = manifest.MaxNameBytes
	columnsMax     = 4096
	keyColumnsMax  = 32
)

// Namespace is a named set of tables.
type Namespace struct {
	Name    string `json:"name"`
	Created int64  `json:"created"`
	// Grants hold for all its tables whose rows are not one user's, those to come included.
	Grants []manifest.Grant `json:"grants,omitempty"`
}

// Catalog is the definitions of one data folder. It is safe for concurrent use.
type Catalog struct {
	meta   Meta
	secret []byte
	state  atomic.Pointer[Snapshot]
	ids    ids

	// private counts the versions that drafts were given.
	private atomic.Uint64
	// defining is held by who changes tables or namespaces, before mu.
	defining sync.Mutex
	// mu orders changes; readers never take it.
	mu sync.Mutex

	logins *logins
}

// Snapshot is the definitions at one moment. It is immutable and safe for concurrent use.
type Snapshot struct {
	version    uint64
	namespaces map[string]Namespace
	tables     map[manifest.TableID]*manifest.Table
	byName     map[string]map[string]*manifest.Table
	users      map[manifest.UserID]*User
	// userNames is by folded name; dropped users keep their name reserved.
	userNames map[string]manifest.UserID
	// dropped are tables whose rows are still to be removed.
	dropped map[manifest.TableID]*manifest.Table
	tokens  map[access.TokenID]*Token
}

// Open reads the catalog and, in an empty one, makes the namespace `default` and the user `root`.
func Open(ctx context.Context, meta Meta, o Options) (*Catalog, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	c := &Catalog{meta: meta, logins: newLogins(meta, o)}
	s := &Snapshot{version: 1, namespaces: map[string]Namespace{}, tables: map[manifest.TableID]*manifest.Table{},
		byName: map[string]map[string]*manifest.Table{}, users: map[manifest.UserID]*User{},
		userNames: map[string]manifest.UserID{}, dropped: map[manifest.TableID]*manifest.Table{},
		tokens: map[access.TokenID]*Token{}}
	if err := c.load(s); err != nil {
		return nil, err
	}
	c.state.Store(s)
	if err := c.bootstrap(ctx, s); err != nil {
		return nil, fmt.Errorf("make the first catalog: %w", err)
	}
	if err := c.ids.open(ctx, meta); err != nil {
		return nil, fmt.Errorf("open the id generator: %w", err)
	}
	return c, nil
}

// checkKeys refuses a key that is none of ours. Values have checksums and keys have not: an entry whose key has rotted
// would otherwise be missed by nobody, and the files of its table be taken for leftovers.
func checkKeys(meta Meta) error {
	return meta.Scan("", func(key string, _ []byte) error {
		switch key {
		case keyLastTable, keyLastUser, keyLastID, keyLastToken, keySecret:
			return nil
		}
		for _, prefix := range []string{keyNamespace, keyTable, keyUser, keyDropped, keyIntent, keyToken, keyLockout} {
			if strings.HasPrefix(key, prefix) {
				return nil
			}
		}
		return fmt.Errorf("catalog entry %q is of no known kind: %w", key, fault.ErrCorrupt)
	})
}

// scanJSON reads the entries of a prefix; keyOf is the key that a value must have.
func scanJSON[T any](meta Meta, prefix string, keyOf func(*T) string, f func(*T)) error {
	return meta.Scan(prefix, func(key string, value []byte) error {
		v := new(T)
		if err := json.Unmarshal(value, v); err != nil {
			return fmt.Errorf("catalog entry %s: %w: %w", key, fault.ErrCorrupt, err)
		}
		if want := keyOf(v); want != key {
			return fmt.Errorf("catalog entry %q has the value of %q: %w", key, want, fault.ErrCorrupt)
		}
		f(v)
		return nil
	})
}

func (c *Catalog) load(s *Snapshot) error {
	if err := checkKeys(c.meta); err != nil {
		return err
	}
	if err := scanJSON(c.meta, keyNamespace, func(n *Namespace) string { return keyNamespace + n.Name },
		func(n *Namespace) { s.namespaces[n.Name] = *n }); err != nil {
		return err
	}
	if err := scanJSON(c.meta, keyTable, func(t *manifest.Table) string { return tableKey(t.ID) }, s.put); err != nil {
		return err
	}
	if err := scanJSON(c.meta, keyDropped, func(t *manifest.Table) string { return droppedKey(t.ID) },
		func(t *manifest.Table) { s.dropped[t.ID] = t }); err != nil {
		return err
	}
	if err := scanJSON(c.meta, keyUser, func(u *User) string { return userKey(u.ID) }, s.putUser); err != nil {
		return err
	}
	if err := scanJSON(c.meta, keyToken, func(t *Token) string { return tokenKey(t.ID) },
		func(t *Token) { s.tokens[t.ID] = t }); err != nil {
		return err
	}
	if err := c.logins.load(); err != nil {
		return err
	}
	secret, ok, err := c.meta.Get(keySecret)
	if err != nil {
		return err
	}
	if ok && len(secret) != secretBytes {
		return fmt.Errorf("catalog secret: %w", fault.ErrCorrupt)
	}
	c.secret = secret
	return nil
}

// bootstrap fills an empty catalog. It is idempotent.
func (c *Catalog) bootstrap(ctx context.Context, s *Snapshot) error {
	puts := map[string][]byte{}
	next := s.clone()
	if len(c.secret) == 0 {
		c.secret = make([]byte, secretBytes)
		if _, err := rand.Read(c.secret); err != nil {
			return err
		}
		puts[keySecret] = c.secret
	}
	if _, ok := s.namespaces[DefaultSpace]; !ok {
		n := Namespace{Name: DefaultSpace, Created: nowMicros()}
		next.namespaces[n.Name] = n
		puts[keyNamespace+n.Name] = encode(n)
	}
	if len(s.users) == 0 {
		root := &User{ID: 1, Name: RootName, Role: "system", Created: nowMicros()}
		next.putUser(root)
		puts[userKey(root.ID)] = encode(root)
		puts[keyLastUser] = counter(1)
	}
	if len(puts) == 0 {
		return nil
	}
	return c.applyLocked(ctx, next, puts, nil)
}

// applyLocked makes puts and deletes durable and then next the state that readers see.
func (c *Catalog) applyLocked(ctx context.Context, next *Snapshot, puts map[string][]byte, deletes []string) error {
	if err := c.meta.Apply(ctx, puts, deletes); err != nil {
		return err
	}
	next.version++
	c.state.Store(next)
	return nil
}

// Snapshot is the state now.
func (c *Catalog) Snapshot() *Snapshot { return c.state.Load() }

// Secret is the data folder's own random 32 bytes, made once; tickets and tokens are sealed with keys derived from
// it. Read only.
func (c *Catalog) Secret() []byte { return c.secret }

// next is the value after the counter at key, to be put with the change that uses it.
func (c *Catalog) nextLocked(key string) (uint64, error) {
	b, ok, err := c.meta.Get(key)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 1, nil
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("catalog counter %s: %w", key, fault.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b) + 1, nil
}

func counter(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bug: a catalog value cannot be written as JSON: " + err.Error())
	}
	return b
}

func tableKey(id manifest.TableID) string   { return fmt.Sprintf("%s%016x", keyTable, uint64(id)) }
func droppedKey(id manifest.TableID) string { return fmt.Sprintf("%s%016x", keyDropped, uint64(id)) }
func userKey(id manifest.UserID) string     { return fmt.Sprintf("%s%016x", keyUser, uint64(id)) }

func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.namespaces = maps.Clone(s.namespaces)
	c.tables = maps.Clone(s.tables)
	c.byName = maps.Clone(s.byName)
	c.users = maps.Clone(s.users)
	c.userNames = maps.Clone(s.userNames)
	c.dropped = maps.Clone(s.dropped)
	c.tokens = maps.Clone(s.tokens)
	return &c
}

// put adds t to s, copying the one map that it changes, so that a clone shares the others.
func (s *Snapshot) put(t *manifest.Table) {
	s.tables[t.ID] = t
	names := maps.Clone(s.byName[t.Namespace])
	if names == nil {
		names = map[string]*manifest.Table{}
	}
	names[t.Name] = t
	s.byName[t.Namespace] = names
}

func (s *Snapshot) remove(t *manifest.Table) {
	delete(s.tables, t.ID)
	names := maps.Clone(s.byName[t.Namespace])
	delete(names, t.Name)
	s.byName[t.Namespace] = names
}

// Version grows with every change of the catalog.
func (s *Snapshot) Version() uint64 { return s.version }

// Namespaces lists the names of the namespaces, in order.
func (s *Snapshot) Namespaces() []Namespace {
	return slices.SortedFunc(
		maps.Values(s.namespaces),
		func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) },
	)
}

// Namespace finds a namespace: by its exact name, else by the only one that is equal without regard to case.
func (s *Snapshot) Namespace(name string) (string, bool) {
	if _, ok := s.namespaces[name]; ok {
		return name, true
	}
	return foldedMatch(s.namespaces, name)
}

// Table finds a table as Namespace finds a namespace.
func (s *Snapshot) Table(namespace, name string) (*manifest.Table, bool) {
	namespace, ok := s.Namespace(namespace)
	if !ok {
		return nil, false
	}
	tables := s.byName[namespace]
	if t, ok := tables[name]; ok {
		return t, true
	}
	name, ok = foldedMatch(tables, name)
	return tables[name], ok
}

// foldedMatch is the one key of m equal to name without regard to case.
func foldedMatch[T any](m map[string]T, name string) (string, bool) {
	found, n := "", 0
	for k := range m {
		if strings.EqualFold(k, name) {
			found, n = k, n+1
		}
	}
	return found, n == 1
}

// TableByID finds a table by its id.
func (s *Snapshot) TableByID(id manifest.TableID) (*manifest.Table, bool) {
	t, ok := s.tables[id]
	return t, ok
}

// Tables lists the tables of a namespace by name.
func (s *Snapshot) Tables(namespace string) []*manifest.Table {
	return slices.SortedFunc(
		maps.Values(s.byName[namespace]),
		func(a, b *manifest.Table) int { return strings.Compare(a.Name, b.Name) },
	)
}

// Dropped lists the tables that are gone but whose rows are still to be removed.
func (s *Snapshot) Dropped() []*manifest.Table { return slices.Collect(maps.Values(s.dropped)) }
