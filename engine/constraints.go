package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// rowChecker holds new rows of a table to its rules, but for the unique ones, which storage knows: NOT NULL, the length
// of a VARCHAR(n), and CHECK. It is for one goroutine.
type rowChecker struct {
	table *manifest.Table
	// checks choose the rows that break them, in the order of table.Checks.
	checks []*exec.Transform
	// policies, when not nil, are the row policies of the table.
	policies *rowGuard
}

// checker makes the checker of the rows that a statement writes to a table by a command; seen says that it also shows
// them.
func (st *statement) checker(t *manifest.Table, command manifest.Privileges, seen bool) (*rowChecker, error) {
	e, env := st.engine, st.expr
	c := &rowChecker{table: t}
	if st.security != nil && st.security.ID == t.ID && !e.without(checkWrite) {
		where, err := e.newRowPolicy(st.who, st.security, command, seen)
		if err != nil {
			return nil, err
		}
		if c.policies, err = st.rowGuard(t, where); err != nil {
			return nil, err
		}
	}
	conditions, err := e.checks.of(t, e.opts.Check)
	if err != nil {
		return nil, err
	}
	for _, x := range conditions {
		f, err := exec.NewTransform(&plan.Not{Arg: x}, nil, nil, tableTypes(t), env, e.alloc)
		if err != nil {
			return nil, err
		}
		c.checks = append(c.checks, f)
	}
	return c, nil
}

// check is the one check of new rows; b has the columns of the table in table order.
func (c *rowChecker) check(b arrow.RecordBatch) error {
	t := c.table
	if err := c.policies.all(b); err != nil {
		return err
	}
	for i, col := range t.Columns {
		if col.NotNull && b.Column(i).NullN() > 0 {
			return &fault.SQL{Kind: fault.ErrInvalid, Code: "23502",
				Message: fmt.Sprintf("column %q of table %s.%s must not be NULL", col.Name, t.Namespace, t.Name)}
		}
		if col.Type.Kind == manifest.Text && col.Type.Length > 0 {
			if err := checkLengths(col, b.Column(i).(*array.String)); err != nil {
				return err
			}
		}
	}
	for i, f := range c.checks {
		for first := int64(0); first < b.NumRows(); first += expr.VectorRows {
			some := b.NewSlice(first, min(first+expr.VectorRows, b.NumRows()))
			broken, err := f.Choose(some, nil)
			some.Release()
			if err != nil {
				return fmt.Errorf("check %q: %w", t.Checks[i].Name, err)
			}
			if len(broken) > 0 {
				return brokenCheck(t, t.Checks[i])
			}
		}
	}
	return nil
}

// checked is a stream of new rows that ends at the first batch with a row that breaks a rule.
func (st *statement) checked(t *manifest.Table,
	next func() (arrow.RecordBatch, error)) (func() (arrow.RecordBatch, error), error) {
	c, err := st.checker(t, manifest.Insert, st.shows)
	if err != nil {
		return nil, err
	}
	return func() (arrow.RecordBatch, error) {
		b, err := next()
		if err != nil {
			return nil, err
		}
		if err := c.check(b); err != nil {
			b.Release()
			return nil, err
		}
		return b, nil
	}, nil
}

func brokenCheck(t *manifest.Table, c manifest.Check) error {
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "23514",
		Message: fmt.Sprintf("a row of %s.%s breaks the check %q: %s", t.Namespace, t.Name, c.Name, c.Text)}
}

// checkLengths refuses texts with more characters than the column's type allows.
func checkLengths(c manifest.Column, texts *array.String) error {
	for i := range texts.Len() {
		// A text has no more characters than bytes.
		if texts.ValueLen(i) > int(c.Type.Length) && texts.IsValid(i) &&
			utf8.RuneCountInString(texts.Value(i)) > int(c.Type.Length) {
			return &fault.SQL{Kind: fault.ErrInvalid, Code: "22001",
				Message: fmt.Sprintf("a value of column %q has %d characters, more than %s allows", c.Name,
					utf8.RuneCountInString(texts.Value(i)), c.Type)}
		}
	}
	return nil
}

// checksMost bounds the tables whose compiled checks are remembered; past it all are forgotten.
const checksMost = 10_000

// compiledChecks remembers the compiled checks of tables by their definitions. It is safe for concurrent use.
type compiledChecks struct {
	mu sync.Mutex
	by map[*manifest.Table][]plan.Expr
}

// of are the conditions of a table's checks.
func (c *compiledChecks) of(t *manifest.Table,
	compile func(*manifest.Table, manifest.Check) (plan.Expr, error)) ([]plan.Expr, error) {
	if len(t.Checks) == 0 {
		return nil, nil
	}
	c.mu.Lock()
	known, ok := c.by[t]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	list := make([]plan.Expr, len(t.Checks))
	for i, x := range t.Checks {
		var err error
		if list[i], err = compile(t, x); err != nil {
			return nil, fmt.Errorf("check %q: %w", x.Name, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil || len(c.by) >= checksMost {
		c.by = map[*manifest.Table][]plan.Expr{}
	}
	c.by[t] = list
	return list, nil
}

// usesColumn is the name of a check that reads a column, by its place.
func (e *Engine) usesColumn(t *manifest.Table, place int) (string, bool) {
	for _, c := range t.Checks {
		if e.checkReads(t, c, place) {
			return c.Name, true
		}
	}
	return "", false
}

// checkReads tells whether a check of a table reads a column.
func (e *Engine) checkReads(t *manifest.Table, c manifest.Check, place int) bool {
	x, err := e.opts.Check(t, c)
	return err == nil && optimize.ReadsColumn(x, place)
}

// validate finds out whether the rows that are there, of every owner, keep the rules that a new definition has and an
// old one has not. New rows keep them already. In a transaction, which is nil outside of one, its own rows count.
func (e *Engine) validate(ctx context.Context, s *Session, tx *Transaction, old, t *manifest.Table) error {
	if err := e.hot.Settle(ctx); err != nil { // what was admitted by the old rules is then there to be read
		return err
	}
	owners, err := e.writers(ctx, s, tx, t)
	if err != nil {
		return err
	}
	for _, o := range owners {
		st := e.statement(s, 0)
		st.tx = tx
		if t.PerUser() {
			st.who = access.Principal{ID: o.ID, Name: o.Name, Role: access.RoleSystem}
		} else {
			st.who.Role = access.RoleSystem
		}
		if err := st.validate(ctx, old, t); err != nil {
			return err
		}
	}
	return nil
}

// writers are those who have rows in t, as a transaction sees it.
func (e *Engine) writers(ctx context.Context, s *Session, tx *Transaction,
	t *manifest.Table) ([]manifest.Owner, error) {
	if t.Temporary {
		p := s.Principal()
		return []manifest.Owner{{ID: p.ID, Name: p.Name}}, nil
	}
	owners, err := e.owners(ctx, t)
	if err != nil || tx == nil || !t.PerUser() {
		return owners, err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for id, d := range tx.drafts {
		if o := d.Tablet().Owner; id.Table == t.ID && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	return owners, nil
}

func (st *statement) validate(ctx context.Context, old, t *manifest.Table) error {
	for i, c := range t.Columns {
		was, ok := old.Column(c.ID)
		if !c.NotNull || ok && was.NotNull || !ok {
			continue
		}
		found, err := st.any(ctx, tableScan(t, &plan.IsNull{Arg: &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}}))
		if err != nil {
			return err
		}
		if found {
			return &fault.SQL{Kind: fault.ErrInvalid, Code: "23502",
				Message: fmt.Sprintf("column %q of table %s.%s has NULLs", c.Name, t.Namespace, t.Name)}
		}
	}
	if err := st.validateLengths(ctx, old, t); err != nil {
		return err
	}
	conditions, err := st.engine.checks.of(t, st.engine.opts.Check)
	if err != nil {
		return err
	}
	for i, c := range t.Checks {
		if slices.Contains(old.Checks, c) {
			continue
		}
		found, err := st.any(ctx, tableScan(t, &plan.Not{Arg: conditions[i]}))
		if err != nil {
			return err
		}
		if found {
			return brokenCheck(t, c)
		}
	}
	for _, x := range t.Indexes {
		if _, before := old.Index(x.ID); before || !x.Unique {
			continue
		}
		if err := st.validateUnique(ctx, t, x); err != nil {
			return err
		}
	}
	return nil
}

// validateLengths looks for texts that are longer than a column's new type allows.
func (st *statement) validateLengths(ctx context.Context, old, t *manifest.Table) error {
	for _, c := range t.Columns {
		was, ok := old.Column(c.ID)
		if !ok || !shortens(was.Type, c.Type) {
			continue
		}
		fits := manifest.Check{Name: c.Name, Text: fmt.Sprintf(`length("%s") <= %d`, strings.ReplaceAll(c.Name, `"`, `""`),
			c.Type.Length)}
		condition, err := st.engine.opts.Check(t, fits)
		if err != nil {
			return err
		}
		found, err := st.any(ctx, tableScan(t, &plan.Not{Arg: condition}))
		if err != nil {
			return err
		}
		if found {
			return &fault.SQL{Kind: fault.ErrInvalid, Code: "22001",
				Message: fmt.Sprintf("column %q has texts of more characters than %s allows", c.Name, c.Type)}
		}
	}
	return nil
}

// validateUnique looks for two rows with the same key.
func (st *statement) validateUnique(ctx context.Context, t *manifest.Table, x manifest.Index) error {
	scan := &plan.Scan{Table: t, IDs: x.Columns, Limit: -1}
	agg := &plan.Aggregate{Input: scan, Aggs: []plan.Agg{{Name: "count", Type: manifest.Type{Kind: manifest.BigInt}}}}
	var valid plan.And
	var names []string
	for i, id := range x.Columns {
		c, _ := t.Column(id)
		ref := &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
		scan.Cols = append(scan.Cols, plan.Column{Name: c.Name, Type: c.Type, Nullable: true})
		valid.Args = append(valid.Args, &plan.IsNull{Arg: ref, Negate: true})
		agg.Groups = append(agg.Groups, ref)
		names = append(names, c.Name)
	}
	scan.Filter = &valid
	count := plan.Column{Name: "n", Type: manifest.Type{Kind: manifest.BigInt}}
	agg.Cols = append(slices.Clone(scan.Cols), count)
	twice := &plan.Filter{Input: agg, Where: &plan.Compare{Op: plan.Gt,
		Left:  &plan.ColumnRef{Index: len(scan.Cols), Name: "n", Type: count.Type},
		Right: &plan.Literal{Value: int64(1), Type: count.Type}}}
	found, err := st.any(ctx, twice)
	if err != nil || !found {
		return err
	}
	return &fault.SQL{Kind: fault.ErrExists, Code: "23505",
		Message: fmt.Sprintf("rows of %s.%s have the same (%s), which %q does not allow", t.Namespace, t.Name,
			strings.Join(names, ", "), x.Name)}
}

// tableScan reads all columns of a table.
func tableScan(t *manifest.Table, filter plan.Expr) *plan.Scan {
	scan := &plan.Scan{Table: t, Filter: filter, Limit: 1, Cols: nullableColumns(t)}
	for _, c := range t.Columns {
		scan.IDs = append(scan.IDs, c.ID)
	}
	return scan
}

// any tells whether a plan has rows.
func (st *statement) any(ctx context.Context, n plan.Node) (bool, error) {
	node, err := st.optimize(ctx, n)
	if err != nil {
		return false, err
	}
	q, err := exec.Build(ctx, node, st.exec())
	if err != nil {
		return false, err
	}
	defer q.Close()
	b, err := q.Next(ctx)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b.Release()
	return true, nil
}
