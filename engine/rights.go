package engine

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// authorize checks that the session's caller may run a statement: may read and change each table that it names, and of
// each the columns that it says something about. It is asked for every run, whatever was checked when the statement was
// compiled; scans and commits then ask again for their tables.
func (e *Engine) authorize(s *Session, tx *Transaction, st plan.Statement) error {
	a := authorizer{engine: e, who: s.Principal()}
	switch st.(type) {
	case *plan.Select, *plan.Explain, *plan.Subscribe, *plan.Insert, *plan.Update, *plan.Delete, *plan.CreateTable:
	default:
		return nil // it is checked where it is done
	}
	if e.without(checkStatement) {
		return nil
	}
	var err error
	if a.snap, err = e.definitions(s, tx).snapshot(); err != nil {
		return err
	}
	return a.statement(st)
}

// Authorize checks that the session's caller may run a statement in a transaction, before anything of it is described:
// the names and the types of its result are not for everybody either. Query and Exec check it again.
func (e *Engine) Authorize(s *Session, transaction string, c *plan.Compiled) error {
	tx, err := s.transaction(transaction)
	if err != nil {
		return err
	}
	if x, ok := c.Statement.(*plan.ExecuteAs); ok {
		as, err := e.living(x.User)
		if err == nil {
			err = mayActAs(s.Principal(), as)
		}
		if err != nil {
			return err
		}
		s = s.as(as)
	}
	return e.authorize(s, tx, c.Acted())
}

// authorizer checks one statement of one caller.
type authorizer struct {
	engine *Engine
	who    access.Principal
	snap   *catalog.Snapshot
}

func (a *authorizer) statement(st plan.Statement) error {
	switch st := st.(type) {
	case *plan.Select:
		return a.reads(st.Root, true)
	case *plan.Explain:
		return a.statement(st.Statement)
	case *plan.Subscribe:
		return a.subscribe(st)
	case *plan.Insert:
		return a.insert(st)
	case *plan.Update:
		return a.update(st)
	case *plan.Delete:
		if err := a.may(access.Delete, st.Table, nil); err != nil {
			return err
		}
		return a.reads(st.Source, false, st.Returning...)
	case *plan.CreateTable:
		if st.As != nil {
			return a.reads(st.As, true)
		}
	}
	return nil
}

// may checks the right to a table as it is defined now.
func (a *authorizer) may(action access.Action, t *manifest.Table, columns []manifest.ColumnID) error {
	if t.Kind == manifest.View || t.Kind == manifest.System {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42809",
			Message: fmt.Sprintf("%s.%s is a %s and cannot be changed", t.Namespace, t.Name, TableType(t))}
	}
	now, ok := a.snap.TableByID(t.ID)
	if !ok {
		return noTable(t.Namespace, t.Name)
	}
	return access.Can(a.who, action, a.snap.Target(now, columns...))
}

func (a *authorizer) insert(st *plan.Insert) error {
	columns := st.Columns
	if columns == nil {
		columns = allColumns(st.Table)
	}
	if err := a.may(access.Insert, st.Table, columns); err != nil {
		return err
	}
	var seen []plan.Expr
	switch st.OnConflict {
	case plan.ConflictUpdate:
		seen = append(assigned(st.Set), st.Where)
		if err := a.may(access.Update, st.Table, targets(st.Set)); err != nil {
			return err
		}
		if st.Arbiter != nil {
			if x, ok := st.Table.Index(*st.Arbiter); ok {
				if err := a.may(access.Read, st.Table, x.Columns); err != nil {
					return err
				}
			}
		}
	case plan.ConflictReplace, plan.ConflictDefault:
		if !replaces(st) {
			break
		}
		if err := a.may(access.Update, st.Table, columns); err != nil {
			return err
		}
	}
	if read := rowColumns(st.Table, append(seen, st.Returning...)); len(read) > 0 {
		if err := a.may(access.Read, st.Table, read); err != nil {
			return err
		}
	}
	return a.reads(st.Source, true)
}

func (a *authorizer) update(st *plan.Update) error {
	if err := a.may(access.Update, st.Table, targets(st.Set)); err != nil {
		return err
	}
	return a.reads(st.Source, false, append(assigned(st.Set), st.Returning...)...)
}

func (a *authorizer) subscribe(st *plan.Subscribe) error {
	exprs := append([]plan.Expr{st.Where}, st.Project...)
	for _, k := range st.Order {
		exprs = append(exprs, k.Expr)
	}
	now, ok := a.snap.TableByID(st.Table.ID)
	if !ok {
		return noTable(st.Table.Namespace, st.Table.Name)
	}
	return access.Can(a.who, access.Read, a.snap.Target(now, rowColumns(st.Table, exprs)...))
}

func assigned(set []plan.Assignment) []plan.Expr {
	out := make([]plan.Expr, len(set))
	for i, x := range set {
		out[i] = x.Value
	}
	return out
}

func targets(set []plan.Assignment) []manifest.ColumnID {
	out := make([]manifest.ColumnID, len(set))
	for i, x := range set {
		out[i] = x.Column
	}
	return out
}

func allColumns(t *manifest.Table) []manifest.ColumnID {
	out := make([]manifest.ColumnID, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = c.ID
	}
	return out
}

// rowColumns are the columns that expressions over a row of a table, and whatever stands behind it, read.
func rowColumns(t *manifest.Table, exprs []plan.Expr) []manifest.ColumnID {
	return optimize.Uses(&plan.Scan{Table: t, IDs: allColumns(t)}, false, exprs...)[0].Columns
}

// reads checks the readings of a plan, with expressions over its output.
func (a *authorizer) reads(n plan.Node, whole bool, exprs ...plan.Expr) error {
	whollyReadable := true
	var err error
	look := func(scan *plan.Scan) {
		if err != nil {
			return
		}
		if !changes(scan) { // else a DELETE without conditions, say, needs no right to read
			err = a.read(scan, nil)
		}
		whollyReadable = whollyReadable && a.wholly(scan)
	}
	optimize.Scans(n, look)
	for _, x := range exprs {
		optimize.ScansOf(x, look)
	}
	if err != nil || whollyReadable {
		return err
	}
	for _, u := range optimize.Uses(n, whole, exprs...) {
		if changes(u.Scan) && len(u.Columns) == 0 {
			continue
		}
		if err := a.read(u.Scan, u.Columns); err != nil {
			return err
		}
	}
	return nil
}

// changes tells the reading of the table whose rows an UPDATE or a DELETE changes.
func changes(scan *plan.Scan) bool { return slices.Contains(scan.IDs, manifest.ColumnRow) }

// wholly tells whether the caller may read every column of a table in their own name.
func (a *authorizer) wholly(scan *plan.Scan) bool {
	if scan.Table.Kind == manifest.System {
		return true
	}
	now, ok := a.snap.TableByID(scan.Table.ID)
	if !ok {
		return false
	}
	all, _ := access.Columns(a.who, access.Read, a.snap.Target(now))
	return all
}

// read checks one reading of a table.
func (a *authorizer) read(scan *plan.Scan, columns []manifest.ColumnID) error {
	if scan.Table.Kind == manifest.System {
		return access.Can(a.who, access.Read, access.Target{Table: scan.Table})
	}
	_, err := a.reader(scan.Table, scan.Views, columns)
	return err
}

// reader is in whose name a table is read through views: the caller's own, if they may; else, where the caller was
// granted the outermost view, that of its owner, and so on inwards.
func (a *authorizer) reader(t *manifest.Table, views []*manifest.Table,
	columns []manifest.ColumnID) (access.Principal, error) {
	now, ok := a.snap.TableByID(t.ID)
	if !ok {
		return a.who, noTable(t.Namespace, t.Name)
	}
	target := a.snap.Target(now, columns...)
	err := access.Can(a.who, access.Read, target)
	if err == nil || now.PerUser() {
		return a.who, err
	}
	who := a.who
	for _, v := range views {
		view, ok := a.snap.TableByID(v.ID)
		if !ok || access.Can(who, access.Borrow, a.snap.Target(view)) != nil {
			continue
		}
		owner, oops := a.engine.living(view.Owner)
		if oops != nil {
			continue
		}
		if who = owner; access.Can(who, access.Read, target) == nil {
			return who, nil
		}
	}
	return a.who, err
}

// replaces tells an INSERT that may replace rows that are there.
func replaces(ins *plan.Insert) bool {
	return len(ins.Table.Keys()) > 0 && conflictAction(ins) == tablet.Replace
}

// commandAction is a change of rows as access knows it.
func commandAction(p manifest.Privileges) access.Action {
	switch p {
	case manifest.Insert:
		return access.Insert
	case manifest.Update:
		return access.Update
	case manifest.Delete:
		return access.Delete
	}
	return access.Read
}

// ingested is the change of rows that an ingest of a client's schema into a table is.
func ingested(t *manifest.Table, schema *arrow.Schema) *plan.Insert {
	ins := &plan.Insert{Table: t}
	for _, f := range schema.Fields() {
		if i, err := columnIndex(t, f.Name); err == nil {
			ins.Columns = append(ins.Columns, t.Columns[i].ID)
		}
	}
	return ins
}

// mayIngest checks that the session's caller may insert the columns of a client's schema into a table, and with clear
// also remove its rows.
func (e *Engine) mayIngest(s *Session, tx *Transaction, t *manifest.Table, schema *arrow.Schema, clear bool) error {
	snap, err := e.definitions(s, tx).snapshot()
	if err != nil {
		return err
	}
	a := authorizer{engine: e, who: s.Principal(), snap: snap}
	if err := a.insert(ingested(t, schema)); err != nil {
		return err
	}
	if !clear {
		return nil
	}
	if now, ok := snap.TableByID(t.ID); ok && access.Held(a.who, now) {
		return (&fault.SQL{Kind: fault.ErrDenied, Code: "42501",
			Message: fmt.Sprintf("%s.%s has row policies: its rows cannot be replaced as a whole", t.Namespace, t.Name)}).
			WithHint("DELETE the rows, then ingest with mode append")
	}
	return a.may(access.Delete, t, nil)
}

// tablesOf are the stored tables whose rows a statement reads or changes.
func tablesOf(st plan.Statement) []manifest.TableID {
	var out []manifest.TableID
	add := func(t *manifest.Table) {
		if t.Kind != manifest.System && !slices.Contains(out, t.ID) {
			out = append(out, t.ID)
		}
	}
	scans := func(n plan.Node) { optimize.Scans(n, func(s *plan.Scan) { add(s.Table) }) }
	switch st := st.(type) {
	case *plan.Select:
		scans(st.Root)
	case *plan.Explain:
		return tablesOf(st.Statement)
	case *plan.Subscribe:
		add(st.Table)
	case *plan.Insert:
		add(st.Table)
		scans(st.Source)
	case *plan.Update:
		add(st.Table)
		scans(st.Source)
	case *plan.Delete:
		add(st.Table)
		scans(st.Source)
	}
	return out
}
