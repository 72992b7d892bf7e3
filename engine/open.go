package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/access"
	"kalamflight/engine/audit"
	"kalamflight/engine/catalog"
	"kalamflight/engine/exec"
	"kalamflight/engine/jobs"
	"kalamflight/engine/plan"
	"kalamflight/engine/receipts"
	"kalamflight/engine/spill"
	"kalamflight/engine/tablet"
	"kalamflight/hotlog"
	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
	"kalamflight/subscriptions"
)

// Options configures an engine.
type Options struct {
	// Dir is the data folder; it is made when it is missing. Required.
	Dir string
	// Version is what version() returns, the product's name included; "" means kalamflight.
	Version string
	// Durability is what an acknowledged write means; the zero value is hotlog.Sync.
	Durability hotlog.Durability
	// Default compiles a column's default expression, when an ingest leaves the column out. Required.
	Default func(manifest.Column) (plan.Expr, error)
	// Check compiles the condition of a CHECK to a BOOLEAN over the table's columns, by their places. Required.
	Check func(*manifest.Table, manifest.Check) (plan.Expr, error)
	// QueryBytes bounds the memory of one query; 0 means 1 GiB. ServerBytes bounds that of all together, their results
	// that nobody has read yet included; 0 means 4 GiB. One user has three quarters of it, unless their quota says less.
	QueryBytes, ServerBytes int64
	// SpillDir is the folder for rows that queries cannot hold; "" means the folder spill in Dir. SpillBytes bounds what
	// is there; 0 means 32 GiB.
	SpillDir   string
	SpillBytes int64
	// Workers bounds the goroutines of one query; 0 means the number of cores.
	Workers int
	// QueriesMax bounds the queries and subscriptions that run at once; 0 means 100,000.
	QueriesMax int
	// Quota bounds what each user has at once, unless they have a quota of their own; where it is 0 there is no bound.
	Quota Quota
	// TransactionIdle ends transactions that ran no statement for so long; 0 means 5 minutes. TransactionBytes bounds the
	// rows that one has written and, at 32 bytes each, ended; 0 means 64 MiB. Large inserts and updates do not count:
	// their rows are in segments.
	TransactionIdle  time.Duration
	TransactionBytes int64
	// HotBytes is the budget of unflushed rows; 0 means 1 GiB. LogBytes is that of the log; 0 means 128 MiB.
	HotBytes, LogBytes int64
	// CacheBytes is the budget of decoded columns that are kept in memory; 0 means 1 GiB, a negative number keeps none.
	CacheBytes int64
	// BigBytes is the size from which a statement's rows go straight to segments; 0 means 8 MiB.
	BigBytes int64
	// LogFS is where the write-ahead log's files are; nil means the local disk. UnsafeNoSync turns off every sync of
	// the log. Both are for crash tests.
	LogFS        hotlog.FS
	UnsafeNoSync bool
	// UnsafeWithout, one of UnsafeChecks, leaves out a check of rights: for tests that show what depends on it.
	UnsafeWithout string
	// NoJobs leaves flush, compaction and eviction to whoever calls them: for tests.
	NoJobs bool
	// ExportDir is the folder that EXPORT USER writes in; it must be there. "" means that there are no exports.
	ExportDir string
	// DropGrace is how long a dropped user can come back before they are erased; 0 means 30 days.
	DropGrace time.Duration
	// Audit says what the audit log gets; "" means AuditDDL. AuditBytes bounds it, 0 means 1 GiB, and AuditKeep the age of
	// its records, 0 means 400 days.
	Audit      AuditLevel
	AuditBytes int64
	AuditKeep  time.Duration
	// Logins say how passwords are kept and checked.
	Logins catalog.Options
	// Slow logs statements that took so long, without their literals; 0 logs none. Subscriptions are never slow.
	Slow time.Duration
	// Mask takes the literals out of the text of a statement, so that others may read it; nil shows them its kind only.
	Mask func(text string) string
	// Settings are the server's settings as system.settings shows them to those who may observe.
	Settings []Setting
	// Alloc makes Arrow buffers; nil means Go's, and a pool of their own for those of segments.
	Alloc memory.Allocator
	// Logger hears of changes of state; nil discards.
	Logger *slog.Logger
}

// Setting is one setting of the server and where its value came from: flag, env, config or default.
type Setting struct{ Name, Value, Origin string }

func (o *Options) fill() error {
	if o.Dir == "" || o.Default == nil || o.Check == nil {
		return fmt.Errorf("engine options: Dir, Default and Check are required: %w", fault.ErrInvalid)
	}
	if o.QueryBytes == 0 {
		o.QueryBytes = 1 << 30
	}
	if o.ServerBytes == 0 {
		o.ServerBytes = 4 << 30
	}
	if o.SpillDir == "" {
		o.SpillDir = filepath.Join(o.Dir, "spill")
	}
	if o.TransactionIdle == 0 {
		o.TransactionIdle = 5 * time.Minute
	}
	if o.DropGrace == 0 {
		o.DropGrace = 30 * 24 * time.Hour
	}
	if o.TransactionBytes == 0 {
		o.TransactionBytes = 64 << 20
	}
	if o.QueriesMax == 0 {
		o.QueriesMax = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Engine is an open data folder. It is safe for concurrent use.
type Engine struct {
	opts    Options
	log     *slog.Logger
	alloc   memory.Allocator
	hot     *hotlog.Log
	bucket  blob.Bucket
	files   *segments.Files
	catalog *catalog.Catalog
	tablets *tablet.Store
	jobs    *jobs.Scheduler
	hub     *subscriptions.Hub
	audit   *audit.Log
	// receipts are what erasures leave; tasks runs them, and exports. erasing is held while one begins.
	receipts *receipts.Signer
	tasks    *jobs.Tasks
	erasing  sync.Mutex
	// ctx ends with the engine, before the stores; background are its own goroutines.
	ctx        context.Context
	cancel     context.CancelFunc
	background sync.WaitGroup
	// fallen wakes the one that looks for people who were dropped.
	fallen  chan struct{}
	budget  *exec.Budget
	spill   *spill.Folder
	started time.Time
	// drops is held for writing while a table or a user leaves the catalog, and for reading while a commit gets its place
	// in the log. It is taken after the locks of tablets.
	drops sync.RWMutex

	// altering lets one definition of a table change at a time; checks are the compiled CHECKs.
	altering gates
	checks   compiledChecks
	watches  watches

	auditClass actClass
	refusals   refusals

	sessions sessions
	running  running
	meter    meter
	budgets  userBudgets
	pins     pins
	closed   atomic.Bool
	// shown are the stats of rooms above, func() any by name.
	shown sync.Map
	// tokenUsed is when an access token was used last, microseconds since 1970 by access.TokenID.
	tokenUsed sync.Map
}

// ShowStats adds the numbers of a room above the engine to system.stats, under the room's name: stats returns a struct
// of them, whenever somebody reads the table. It is safe for concurrent use.
func (e *Engine) ShowStats(room string, stats func() any) { e.shown.Store(room, stats) }

// Open opens a data folder, recovers what a crash left, and starts the jobs.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	e := &Engine{opts: o, log: o.Logger, alloc: o.Alloc, started: time.Now()}
	if e.alloc == nil {
		e.alloc = memory.NewGoAllocator()
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.fallen = make(chan struct{}, 1)
	e.running.max = o.QueriesMax
	e.budget = exec.NewBudget("server", o.ServerBytes, nil)
	var err error
	if e.auditClass, err = o.Audit.classes(); err != nil {
		return nil, err
	}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", o.Dir, err), e.closeStores())
	}
	return e, nil
}

// checkCatalog refuses a data folder that has commits and no catalog: its meta.db is lost or rotten. A fresh catalog
// would take every row for a leftover, and let root in without a password.
func checkCatalog(meta *hotlog.Meta, head manifest.Seq) error {
	if head == 0 {
		return nil
	}
	found := false
	if err := meta.Scan("", func(string, []byte) error { found = true; return nil }); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("hot/meta.db has no catalog, and there are commits up to %d: %w", head, fault.ErrCorrupt)
	}
	return nil
}

func (e *Engine) open(ctx context.Context) error {
	bucket, err := blob.OpenFolder(e.opts.Dir)
	if err != nil {
		return err
	}
	e.bucket = bucket
	e.hot, err = hotlog.Open(hotlog.Options{Dir: filepath.Join(e.opts.Dir, "hot"), Durability: e.opts.Durability,
		BudgetBytes: e.opts.LogBytes, Ephemeral: e.ephemeral, FS: e.opts.LogFS, UnsafeNoSync: e.opts.UnsafeNoSync,
		Logger: e.log})
	if err != nil {
		return err
	}
	// The log has locked the data folder, so nobody else spills there.
	if e.spill, err = spill.Open(e.opts.SpillDir, e.opts.SpillBytes); err != nil {
		return err
	}
	meta := e.hot.Meta("catalog")
	if err := checkCatalog(meta, e.hot.Head()); err != nil {
		return err
	}
	if err := catalog.Resolve(ctx, meta, e.hot.Committed); err != nil {
		return err
	}
	if e.catalog, err = catalog.Open(ctx, meta, e.opts.Logins); err != nil {
		return err
	}
	e.audit, err = audit.Open(audit.Options{Dir: filepath.Join(e.opts.Dir, "audit"), Secret: e.catalog.Secret(),
		KeepBytes: e.opts.AuditBytes, KeepFor: e.opts.AuditKeep,
		Failed: func(err error) { e.log.Error("write audit log", "err", err) }})
	if err != nil {
		return err
	}
	e.files = segments.Open(segments.Options{Bucket: bucket, Alloc: e.opts.Alloc, CacheBytes: e.opts.CacheBytes})
	e.tablets, err = tablet.Open(ctx, tablet.Options{Log: e.hot, Bucket: bucket, Manifests: manifest.OpenStore(bucket),
		Files: e.files, NewID: e.segmentID, Alloc: e.alloc, Logger: e.log, BigBytes: e.opts.BigBytes, Resolve: e.stored})
	if err != nil {
		return err
	}
	for _, t := range e.catalog.Snapshot().Dropped() {
		if err := e.clean(ctx, t); err != nil {
			return err
		}
	}
	if err := e.settleRewritten(ctx); err != nil {
		return err
	}
	if err := e.forgetOrphans(ctx); err != nil {
		return err
	}
	e.hub = subscriptions.New(subscriptions.Options{Watch: e.hot.Watch, Head: e.hot.Head})
	e.jobs = jobs.New(jobs.Options{Tablets: e.tablets, Resolve: e.resolve, HotBytes: e.opts.HotBytes, Logger: e.log})
	e.receipts, err = receipts.OpenSigner(filepath.Join(e.opts.Dir, "keys", "receipts.pem"),
		filepath.Join(e.opts.Dir, "receipts"))
	if err != nil {
		return err
	}
	if err := e.openTasks(ctx); err != nil {
		return err
	}
	if !e.opts.NoJobs {
		e.jobs.Start()
	}
	e.background.Go(func() { e.reap(e.ctx) })
	return nil
}

// settleRewritten says from when on tables can be read whose rows were rewritten by a transaction that a crash cut off
// after its commit: from now on, which is no earlier.
func (e *Engine) settleRewritten(ctx context.Context) error {
	s := e.catalog.Snapshot()
	for _, n := range s.Namespaces() {
		for _, t := range s.Tables(n.Name) {
			if !t.Rewriting {
				continue
			}
			_, err := e.catalog.ChangeTable(ctx, t.ID, func(t *manifest.Table) error {
				t.Since, t.Rewriting = e.hot.Head(), false
				return nil
			})
			if err != nil {
				return fmt.Errorf("settle table %d: %w", t.ID, err)
			}
		}
	}
	return nil
}

// segmentID is an id for a segment's file. When the catalog cannot write any more the log has stopped too, and
// nothing will ever name the file; a random id keeps it from hitting one that is named.
func (e *Engine) segmentID() uint64 {
	id, err := e.catalog.NewID(context.Background())
	if err != nil {
		e.log.Error("make a segment id", "err", err)
		return rand.Uint64() | 1<<63
	}
	return id
}

// ephemeral tells the log which tablets are too short-lived for a checkpoint. It is asked during recovery too, before
// the catalog is open, and then says no.
func (e *Engine) ephemeral(id manifest.TabletID) bool {
	if e.catalog == nil {
		return false
	}
	t, ok := e.catalog.Snapshot().TableByID(id.Table)
	return ok && t.Kind == manifest.Stream && t.TTL < time.Minute
}

// resolve finds the definition and the owner of a tablet; false when either is gone.
func (e *Engine) resolve(id manifest.TabletID) (manifest.Tablet, bool) {
	t, ok := e.catalog.Snapshot().TableByID(id.Table)
	if !ok {
		return manifest.Tablet{}, false
	}
	return e.tabletOf(t, id)
}

// stored is resolve for what is stored: a dropped table is found until its rows are gone.
func (e *Engine) stored(id manifest.TabletID) (manifest.Tablet, bool) {
	if t, ok := e.resolve(id); ok {
		return t, true
	}
	for _, t := range e.catalog.Snapshot().Dropped() {
		if t.ID == id.Table {
			return e.tabletOf(t, id)
		}
	}
	return manifest.Tablet{}, false
}

// forgetOrphans removes hot rows of tables and users that are in no catalog: nothing can read or flush them, and they
// would hold the log's files for ever.
func (e *Engine) forgetOrphans(ctx context.Context) error {
	var orphans []manifest.TabletID
	e.hot.Tablets(func(id manifest.TabletID, _ hotlog.TabletStats) bool {
		if _, ok := e.stored(id); !ok {
			orphans = append(orphans, id)
		}
		return true
	})
	for _, id := range orphans {
		e.log.Warn("rows of a dropped table are removed", "tablet", id.String())
		if err := e.hot.Drop(ctx, id); err != nil {
			return fmt.Errorf("remove tablet %s: %w", id, err)
		}
	}
	return nil
}

func (e *Engine) tabletOf(t *manifest.Table, id manifest.TabletID) (manifest.Tablet, bool) {
	s := e.catalog.Snapshot()
	if id.Owner == 0 {
		return manifest.Tablet{Table: t}, true
	}
	u, ok := s.UserByID(id.Owner)
	if !ok {
		return manifest.Tablet{}, false
	}
	return manifest.Tablet{Table: t, Owner: u.Owner()}, true
}

// Drain ends every subscription and query that runs, with an end row where a stream has them, and refuses new ones.
func (e *Engine) Drain() {
	e.closed.Store(true)
	e.running.cancelAll(errDraining)
}

var errDraining = fmt.Errorf("the server is shutting down: %w", fault.ErrUnavailable)

// Close drains the engine, stops the jobs and closes the stores. What was acknowledged is durable already.
func (e *Engine) Close(ctx context.Context) error {
	e.Drain()
	e.running.wait(ctx)
	for _, s := range e.sessions.list() {
		s.Close()
	}
	return e.closeStores()
}

func (e *Engine) closeStores() error {
	var errs []error
	e.cancel()
	e.background.Wait()
	if e.tasks != nil {
		e.tasks.Close()
	}
	if e.jobs != nil {
		e.jobs.Close()
	}
	if e.hub != nil {
		e.hub.Close()
	}
	e.pins.close()
	if e.tablets != nil {
		errs = append(errs, e.tablets.Close())
	}
	if e.files != nil {
		errs = append(errs, e.files.Close())
	}
	if e.audit != nil {
		errs = append(errs, e.audit.Close())
	}
	if e.hot != nil {
		errs = append(errs, e.hot.Close())
	}
	return errors.Join(errs...)
}

// Head is the newest durable sequence.
func (e *Engine) Head() manifest.Seq { return e.hot.Head() }

// Secret is the data folder's own 32 random bytes, for sealing tickets and tokens. Read only.
func (e *Engine) Secret() []byte { return e.catalog.Secret() }

// Login checks a name and a password given by a caller at the address remote (host:port; "" for one in this process).
func (e *Engine) Login(ctx context.Context, name, password, remote string) (access.Principal, error) {
	p, err := e.catalog.Login(ctx, name, password, loopback(remote))
	e.NoteLogin(LoginNote{How: "password", Name: name, User: p, Remote: remote, Err: err})
	return p, err
}

// FirstPassword gives root a password unless it has one.
func (e *Engine) FirstPassword(ctx context.Context, password string) error {
	return e.catalog.FirstPassword(ctx, password)
}

// RootHasPassword tells whether root needs a password to log in.
func (e *Engine) RootHasPassword() bool { return e.catalog.RootHasPassword() }

func loopback(remote string) bool {
	if remote == "" {
		return true
	}
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// LoginByToken is the user of an access token, and when it expires: the zero time when it does not.
func (e *Engine) LoginByToken(_ context.Context, text string) (access.Principal, time.Time, error) {
	p, expires, err := e.catalog.LoginByToken(text)
	if err == nil {
		e.tokenUsed.Store(p.Token, time.Now().UnixMicro())
	}
	return p, expires, err
}

// Principal is a user who came with an access token, or with 0 by other means, as they are now; ErrUnauthenticated when
// they were dropped or locked, or the token was dropped or has expired.
func (e *Engine) Principal(_ context.Context, id manifest.UserID, token access.TokenID) (access.Principal, error) {
	return e.catalog.Snapshot().Principal(id, token)
}

// living is a user whose rights others use, as those of a view's owner: a lock does not matter, being dropped does.
func (e *Engine) living(id manifest.UserID) (access.Principal, error) {
	u, ok := e.catalog.Snapshot().UserByID(id)
	if !ok || u.Dropped != 0 {
		return access.Principal{}, fmt.Errorf("user %d: %w", id, fault.ErrNotFound)
	}
	return u.Principal()
}

// PrincipalNamed is the user of exactly a name, as somebody else vouches for it; ErrNotFound when there is none and
// ErrUnauthenticated when they are locked. To whoever vouches, names in another case may be other people.
func (e *Engine) PrincipalNamed(_ context.Context, name string) (access.Principal, error) {
	snap := e.catalog.Snapshot()
	u, ok := snap.User(name)
	if !ok || u.Name != name {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("there is no user %q", name)}
	}
	return snap.Principal(u.ID, 0)
}
