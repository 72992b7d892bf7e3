package flightsrv

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine"
	"kalamflight/engine/access"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront"
)

// Session is a caller's session in the engine; *engine.Session is one. It is safe for concurrent use.
type Session interface {
	// ID names the session in system.sessions.
	ID() string
	// Principal is what is known of the caller.
	Principal() access.Principal
	// Refresh replaces what is known of the caller; the user stays the same.
	Refresh(access.Principal)
	// SetAgent notes the client's program, as it names itself.
	SetAgent(agent string)
	// Ended is why somebody else ended the session, nil while it goes on.
	Ended() error
	// Namespace is what a name without one means.
	Namespace() string
	// SetOption sets an option; an empty value restores the default.
	SetOption(name, value string) error
	// Options are the options that are set.
	Options() map[string]string
	// Close forgets the session; Closed tells whether it was, by whomever.
	Close()
	Closed() bool
	// Begin begins a transaction and returns its id, which nobody guesses; End commits or ends it. The ids of other
	// sessions are unknown.
	Begin() (id string, err error)
	End(ctx context.Context, id string, commit bool) error
	// BeginSavepoint and EndSavepoint do the same within a transaction; back takes back what was written since.
	BeginSavepoint(ctx context.Context, transaction, name string) (id string, err error)
	EndSavepoint(ctx context.Context, id string, back bool) error
	// Current is the transaction that a statement belongs to which was sent in id: that one while it is known, else the
	// one that BEGIN began, "" for none.
	Current(id string) string
	// Follow is the transaction that a statement belongs to which was prepared in id: that one, and once it has ended the
	// session's only one, "" for none.
	Follow(id string) (string, error)
}

// Backend is what the wire asks of the engine: more methods than an interface of ours should have, because it is the
// engine's whole door. Engine makes one; tests have another. It is safe for concurrent use, and a Session is only
// given to the Backend that made it.
type Backend interface {
	// Login checks a name and a password given by a caller at the address remote.
	Login(ctx context.Context, name, password, remote string) (access.Principal, error)
	// NoteLogin writes a login by other means than a password to the audit log.
	NoteLogin(n engine.LoginNote)
	// LoginByToken is the user of an access token, and when it expires: the zero time when it does not.
	LoginByToken(ctx context.Context, text string) (access.Principal, time.Time, error)
	// Principal is a user as they are now, who came with an access token, or with 0 by other means.
	Principal(ctx context.Context, id manifest.UserID, token access.TokenID) (access.Principal, error)
	// External is a user by the name that an identity provider says, made when there is none and create is set; role, when
	// it is not "", is what the provider says of their role, which counts for those who were made so.
	External(ctx context.Context, name, role string, create bool) (access.Principal, error)
	// PrincipalNamed is a user by name, ErrNotFound when there is none.
	PrincipalNamed(ctx context.Context, name string) (access.Principal, error)
	// Secret is 32 bytes that seal tickets and tokens.
	Secret() []byte
	// Head is the newest durable sequence.
	Head() manifest.Seq
	// Pin is the newest durable sequence; what a query reads stays readable at it for a time.
	Pin(s Session, c *plan.Compiled, life time.Duration) manifest.Seq
	// Partitions cuts a query into at most so many shares; nil when it is read as a whole.
	Partitions(ctx context.Context, s Session, c *plan.Compiled, most int) []engine.RowRange
	// Drain ends what runs, subscriptions with an end row, and refuses new statements.
	Drain()
	// NewSession opens a session for a caller at the address remote.
	NewSession(p access.Principal, remote string) Session
	// Compile resolves one statement in a namespace, as the session's caller may see the catalog in a transaction.
	// personal says that the answer may be another one for another caller of the same role. A failure fails the
	// transaction.
	Compile(s Session, transaction, namespace, text string) (c *plan.Compiled, personal bool, err error)
	// CatalogVersion changes whenever Compile's answer could.
	CatalogVersion(s Session, transaction string) (uint64, error)
	// Query starts a query or a subscription.
	Query(ctx context.Context, s Session, c *plan.Compiled, o engine.QueryOptions) (engine.Stream, error)
	// Exec runs a statement that changes something, once for each row of parameters.
	Exec(ctx context.Context, s Session, c *plan.Compiled, o engine.ExecOptions) (engine.Result, error)
	// Ingest writes batches of schema to a table, all or nothing.
	Ingest(ctx context.Context, s Session, o engine.IngestOptions, schema *arrow.Schema,
		next func(context.Context) (arrow.RecordBatch, error)) (int64, error)
	// Namespaces and Tables list what the session's caller may know of.
	Namespaces(ctx context.Context, s Session, pattern *string) ([]string, error)
	Tables(ctx context.Context, s Session, f engine.TableFilter) ([]*manifest.Table, error)
}

// Engine is an engine with sqlfront in front of it, as a Backend.
func Engine(e *engine.Engine) Backend { return backend{e} }

type backend struct{ *engine.Engine }

// own is the engine's session in a Session that this backend made.
func own(s Session) *engine.Session { return s.(*engine.Session) }

func (b backend) NewSession(p access.Principal, remote string) Session {
	return b.Engine.NewSession(p, remote)
}

func (b backend) Compile(s Session, transaction, namespace, text string) (*plan.Compiled, bool, error) {
	view, err := b.CatalogIn(own(s), transaction)
	if err != nil {
		return nil, false, err
	}
	c, err := sqlfront.Compile(text, sqlfront.Options{Namespace: namespace, Catalog: view, As: actingFor(view),
		Through: through})
	if err == nil {
		err = b.Authorize(own(s), transaction, c)
	}
	if err != nil {
		own(s).Abort(transaction, err)
	}
	return c, view.Personal(), err
}

// through is what a view may stand on that was found in a View.
func through(found sqlfront.Catalog, view *manifest.Table) sqlfront.Catalog {
	if v, ok := found.(*engine.View); ok {
		return v.Through(view)
	}
	return found
}

// actingFor is what EXECUTE AS USER binds to.
func actingFor(view *engine.View) func(string) (manifest.UserID, sqlfront.Catalog, error) {
	return func(user string) (manifest.UserID, sqlfront.Catalog, error) {
		other, as, err := view.As(user)
		return as.ID, other, err
	}
}

func (b backend) Pin(s Session, c *plan.Compiled, life time.Duration) manifest.Seq {
	return b.Engine.Pin(own(s), c, life)
}

func (b backend) Partitions(ctx context.Context, s Session, c *plan.Compiled, most int) []engine.RowRange {
	return b.Engine.Partitions(ctx, own(s), c, most)
}

func (b backend) CatalogVersion(s Session, transaction string) (uint64, error) {
	view, err := b.CatalogIn(own(s), transaction)
	if err != nil {
		return 0, err
	}
	return view.Version(), nil
}

func (b backend) Query(ctx context.Context, s Session, c *plan.Compiled, o engine.QueryOptions) (engine.Stream, error) {
	return b.Engine.Query(ctx, own(s), c, o)
}

func (b backend) Exec(ctx context.Context, s Session, c *plan.Compiled, o engine.ExecOptions) (engine.Result, error) {
	return b.Engine.Exec(ctx, own(s), c, o)
}

func (b backend) Ingest(ctx context.Context, s Session, o engine.IngestOptions, schema *arrow.Schema,
	next func(context.Context) (arrow.RecordBatch, error)) (int64, error) {
	return b.Engine.Ingest(ctx, own(s), o, schema, next)
}

func (b backend) Namespaces(ctx context.Context, s Session, pattern *string) ([]string, error) {
	return b.Engine.Namespaces(ctx, own(s), pattern)
}

func (b backend) Tables(ctx context.Context, s Session, f engine.TableFilter) ([]*manifest.Table, error) {
	return b.Engine.Tables(ctx, own(s), f)
}
