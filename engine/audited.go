package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"kalamflight/engine/access"
	"kalamflight/engine/audit"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// AuditLevel says what is written to the audit log.
type AuditLevel string

// The levels. Each has what the one before has.
const (
	// AuditNone writes nothing.
	AuditNone AuditLevel = "none"
	// AuditDDL writes logins and every statement that changes definitions, people, rights or the server, exports and
	// erasures. It is the default.
	AuditDDL AuditLevel = "ddl"
	// AuditWrite also writes statements and ingests that change rows.
	AuditWrite AuditLevel = "write"
	// AuditAll also writes queries and subscriptions.
	AuditAll AuditLevel = "all"
)

// actClass is the level from which on an act is written.
type actClass uint8

const (
	actAdmin actClass = iota + 1
	actWrite
	actRead
)

func (l AuditLevel) classes() (actClass, error) {
	switch l {
	case AuditNone:
		return 0, nil
	case "", AuditDDL:
		return actAdmin, nil
	case AuditWrite:
		return actWrite, nil
	case AuditAll:
		return actRead, nil
	}
	return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
		Message: fmt.Sprintf("there is no audit level %q", string(l)),
		Hint:    "the levels are none, ddl, write and all"}
}

// act is what a statement is to the audit log: never a value, a literal or a secret.
type act struct {
	class        actClass
	kind, object string
	// person is the name of the user that it is about.
	person string
}

// actOf describes a statement. Those that it does not know count as administrative, by the name of their type.
func actOf(st plan.Statement) act {
	switch st := st.(type) {
	case *plan.Select:
		return act{class: actRead, kind: "SELECT", object: scanned(st.Root)}
	case *plan.Explain:
		return act{class: actRead, kind: "EXPLAIN"}
	case *plan.Subscribe:
		return act{class: actRead, kind: "SUBSCRIBE", object: nameOfTable(st.Table)}
	case *plan.Insert:
		return act{class: actWrite, kind: "INSERT", object: nameOfTable(st.Table)}
	case *plan.Update:
		return act{class: actWrite, kind: "UPDATE", object: nameOfTable(st.Table)}
	case *plan.Delete:
		return act{class: actWrite, kind: "DELETE", object: nameOfTable(st.Table)}
	case *plan.Several:
		a := actOf(st.Statements[0])
		for _, other := range st.Statements[1:] {
			a.object += ", " + actOf(other).object
		}
		return a
	case *plan.UseNamespace, *plan.SetOption:
		return act{class: actRead, kind: "SET"} // of the session alone
	}
	if several, ok := st.(*plan.Several); ok && len(several.Statements) > 0 {
		a := actOf(several.Statements[0])
		for _, more := range several.Statements[1:] {
			a.object += ", " + actOf(more).object
		}
		return a
	}
	a := act{class: actAdmin, kind: words(strings.TrimPrefix(fmt.Sprintf("%T", st), "*plan."))}
	a.object, a.person = objectOf(st)
	return a
}

// objectOf is what an administrative statement is about: a thing, or a person by name.
func objectOf(st plan.Statement) (object, person string) {
	switch st := st.(type) {
	case *plan.CreateNamespace:
		return st.Name, ""
	case *plan.DropNamespace:
		return st.Name, ""
	case *plan.RenameNamespace:
		return st.From, ""
	case *plan.CreateTable:
		return nameOfTable(st.Table), ""
	case *plan.CreateView:
		return nameOfTable(st.Table), ""
	case *plan.DropTable:
		return st.Namespace + "." + st.Name, ""
	case *plan.AlterTable:
		return st.Namespace + "." + st.Name, ""
	case *plan.FlushTable:
		return nameOfTable(st.Table), ""
	case *plan.CompactTable:
		return nameOfTable(st.Table), ""
	case *plan.Grant:
		return objectOfGrant(st)
	case *plan.CreatePolicy:
		return st.Name + " on " + nameOfTable(st.Table), ""
	case *plan.AlterPolicy:
		return st.Name + " on " + nameOfTable(st.Table), ""
	case *plan.DropPolicy:
		return st.Name + " on " + nameOfTable(st.Table), ""
	case *plan.Kill:
		return st.What + " " + st.ID, ""
	case *plan.CreateUser:
		return "", st.Name
	case *plan.SetQuota:
		return "quota", st.User
	case *plan.AlterUser:
		return "", st.Name
	case *plan.UndropUser:
		return "", st.Name
	case *plan.ExportUser:
		return "", st.Name
	case *plan.DropUser:
		if st.Purge {
			return "purge", st.Name
		}
		return "", st.Name
	case *plan.CreateToken:
		return st.Name, st.User
	case *plan.DropToken:
		return st.Name, st.User
	}
	return "", ""
}

// objectOfGrant says what was granted or revoked on what, and to whom when that is one user.
func objectOfGrant(st *plan.Grant) (object, person string) {
	var words []string
	if st.Revoke {
		words = append(words, "REVOKE")
	}
	for _, x := range st.Privileges {
		words = append(words, x.Privileges.String())
	}
	if words = append(words, "ON"); st.Table == nil {
		words = append(words, "NAMESPACE", st.Namespace)
	} else {
		words = append(words, nameOfTable(st.Table))
	}
	for _, g := range st.To {
		if g.Role {
			words = append(words, "ROLE", g.Name)
		}
	}
	if len(st.To) == 1 && !st.To[0].Role {
		person = st.To[0].Name
	}
	return strings.Join(words, " "), person
}

func nameOfTable(t *manifest.Table) string {
	if t == nil {
		return ""
	}
	return t.Namespace + "." + t.Name
}

// scanned are the tables that a query reads.
func scanned(n plan.Node) string {
	var names []string
	seen := map[manifest.TableID]bool{}
	optimize.Scans(n, func(s *plan.Scan) {
		if !seen[s.Table.ID] {
			seen[s.Table.ID] = true
			names = append(names, nameOfTable(s.Table))
		}
	})
	return strings.Join(names, ", ")
}

// words makes CREATE USER of CreateUser.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

func (e *Engine) audits(class actClass) bool { return class <= e.auditClass }

// recordOf is the record of an act of a session's caller.
func (e *Engine) recordOf(s *Session, a act) audit.Record {
	p := s.Principal()
	r := audit.Record{Kind: a.kind, User: p.ID, Name: e.audit.Pseudonym(p.Name), Session: s.id, From: s.remote,
		Object: a.object}
	if s.actor.ID != 0 {
		r.User, r.Name = s.actor.ID, e.audit.Pseudonym(s.actor.Name)
		r.As, r.AsName = p.ID, e.audit.Pseudonym(p.Name)
	}
	if a.person != "" {
		r.TargetName = e.audit.Pseudonym(a.person)
		if u := e.userNamed(a.person); u != nil {
			r.Target = u.ID
		}
	}
	return r
}

// audited runs a statement and writes to the audit log what came of it. An administrative one is written before it
// runs, and does not run when that fails.
func (e *Engine) audited(ctx context.Context, s *Session, st plan.Statement, f func() (Result, error)) (Result, error) {
	return e.auditedAct(ctx, s, actOf(st), f)
}

func (e *Engine) auditedAct(ctx context.Context, s *Session, a act, f func() (Result, error)) (Result, error) {
	if !e.audits(a.class) {
		return f()
	}
	r := e.recordOf(s, a)
	if a.class == actAdmin {
		of, err := e.attempt(ctx, r)
		if err != nil {
			return Result{}, err
		}
		r.Of = of
	}
	res, err := f()
	r.Rows, r.Outcome = res.Rows, outcome(err)
	if u := e.userNamed(a.person); u != nil && r.Target == 0 {
		r.Target = u.ID // who was made by it
	}
	e.audit.Note(r)
	return res, err
}

// noteEnd writes how a transaction has ended that has changed definitions: what its statements are written to have done
// holds only if it was committed.
func (t *Transaction) noteEnd(kind string, err error) {
	if t.definitions.Steps() == 0 || !t.engine.audits(actAdmin) {
		return
	}
	r := t.engine.recordOf(t.session, act{kind: kind})
	r.Outcome = outcome(err)
	t.engine.audit.Note(r)
}

// noteDenied writes that a statement asked for what its caller may not see; such a one is not even compiled.
func (e *Engine) noteDenied(s *Session, err error) {
	if !errors.Is(err, fault.ErrDenied) || !e.audits(actAdmin) || !e.mayNoteRefusal() {
		return
	}
	r := e.recordOf(s, act{kind: "DENIED"})
	r.Outcome = outcome(err)
	e.audit.Note(r)
}

// attempt writes that something is about to be done; who cannot write it must not do it.
func (e *Engine) attempt(ctx context.Context, r audit.Record) (uint64, error) {
	seq, err := e.audit.Append(ctx, r)
	if err != nil && ctx.Err() == nil {
		e.log.Error("write audit log", "err", err)
		return 0, &fault.SQL{Kind: fault.ErrUnavailable, Code: "58030",
			Message: fmt.Sprintf("%s was not done: the audit log cannot be written", r.Kind),
			Hint:    "make room for the folder audit in the data folder, or look for the reason in the server's log"}
	}
	return seq, err
}

// noteRead writes that a query or a subscription has ended.
func (e *Engine) noteRead(s *Session, st plan.Statement, rows int64, err error) {
	a := actOf(st)
	if a.class != actRead || !e.audits(a.class) {
		return // what changes something is written where it runs
	}
	r := e.recordOf(s, a)
	r.Rows, r.Outcome = rows, outcome(err)
	e.audit.Note(r)
}

// outcome is the SQLSTATE of an error.
func outcome(err error) string {
	if err == nil {
		return "00000"
	}
	var sql *fault.SQL
	if errors.As(err, &sql) && sql.Code != "" {
		return sql.Code
	}
	return fault.State(err)
}

// LoginNote is a login for the audit log.
type LoginNote struct {
	// How is password, token, jwt, oidc or mtls; a logout is LOGOUT.
	How string
	// Name is the name that was given, "" when there was none. User is who it is, and zero when nobody is.
	Name string
	User access.Principal
	// Remote is the client's address.
	Remote string
	// Err is why it was refused; nil when it was not.
	Err error
}

// refusalsMax is how many failed logins and refused statements are written in a second: more of them would push
// everything else out of the log.
const refusalsMax = 20

// refusals counts those of the current second.
type refusals struct {
	mu      sync.Mutex
	second  int64
	written int
	skipped int64
}

// take tells whether one more may be written, and how many of an earlier second were not.
func (f *refusals) take(now time.Time) (write bool, skipped int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Unix() != f.second {
		f.second, f.written = now.Unix(), 0
		skipped, f.skipped = f.skipped, 0
	}
	if f.written >= refusalsMax {
		f.skipped++
		return false, skipped
	}
	f.written++
	return true, skipped
}

// mayNoteRefusal tells whether one more refusal may be written, and writes how many were not.
func (e *Engine) mayNoteRefusal() bool {
	write, skipped := e.refusals.take(time.Now())
	if skipped > 0 {
		e.audit.Note(audit.Record{Kind: "REFUSALS NOT WRITTEN", Object: "too many in one second", Rows: skipped,
			Outcome: "53400"})
	}
	return write
}

// NoteLogin writes a login, or its failure, to the audit log. It does not wait for the disk.
func (e *Engine) NoteLogin(n LoginNote) {
	e.meter.logins.Add(LoginKey{n.How, outcomeOf(n.Err)}, 1)
	if !e.audits(actAdmin) {
		return
	}
	r := audit.Record{Kind: "LOGIN", Object: n.How, User: n.User.ID, Name: e.audit.Pseudonym(n.Name), From: n.Remote,
		Outcome: outcome(n.Err)}
	if n.Err != nil && !e.mayNoteRefusal() {
		return
	}
	e.audit.Note(r)
}

// auditRows are system.audit_log. Names are shown while the person is there; afterwards only their hash is left.
func auditRows(e *Engine, ctx context.Context, s *viewer, yield yieldRow) error {
	if err := access.Can(s.Principal(), access.Audit, access.Target{}); err != nil {
		return err
	}
	snap := e.catalog.Snapshot()
	name := func(id manifest.UserID) any {
		if u, ok := snap.UserByID(id); ok {
			return u.Name
		}
		return nil
	}
	number := func(id manifest.UserID) any {
		if id == 0 {
			return nil
		}
		return int64(id)
	}
	return e.audit.Read(ctx, func(r audit.Record) error {
		return yield(int64(r.Seq), r.Time, name(r.User), number(r.User), orNil(r.Name), name(r.As), number(r.As),
			orNil(r.From), orNil(r.Session), r.Kind, orNil(r.Object), name(r.Target), number(r.Target),
			orNil(r.TargetName), r.Rows, orNil(r.Outcome))
	})
}

// auditCheckRows are system.audit_check, which VERIFY AUDIT LOG reads.
func auditCheckRows(e *Engine, ctx context.Context, s *viewer, yield yieldRow) error {
	if err := access.Can(s.Principal(), access.Audit, access.Target{}); err != nil {
		return err
	}
	report, err := e.audit.Verify(ctx)
	if err != nil {
		return err
	}
	var problem any
	if report.Broken != nil {
		problem = report.Broken.Error()
	}
	return yield(report.Broken == nil, report.Records, int64(report.First), int64(report.Last), orNil(report.Head),
		problem)
}
