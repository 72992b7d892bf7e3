package bind

import (
	"slices"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// target finds the table of a change.
func (b *binder) target(name []ast.Ident) *manifest.Table {
	t := b.table(name)
	if b.err != nil {
		return t
	}
	switch t.Kind {
	case manifest.View:
		b.fail(fault.ErrInvalid, "42809", name[0].Start, "%s is a view and cannot be changed", text(name))
	case manifest.System:
		b.fail(fault.ErrInvalid, "42809", name[0].Start, "%s is a system table and cannot be changed", text(name))
	}
	return t
}

// columnOf finds a column of a table by name, exactly or by the one match without case.
func columnOf(t *manifest.Table, name ast.Ident) (int, bool) {
	found := -1
	for i, c := range t.Columns {
		switch sameName(name, c.Name) {
		case 2:
			return i, true
		case 1:
			if found >= 0 {
				return 0, false
			}
			found = i
		}
	}
	return max(found, 0), found >= 0
}

func (b *binder) tableColumn(t *manifest.Table, name ast.Ident) int {
	i, ok := columnOf(t, name)
	if ok {
		return i
	}
	if manifest.Reserved(name.Text) {
		b.invalid("42703", name.Start, "column %s is kept by the system and cannot be written", name.Text)
		return 0
	}
	f := b.invalid("42703", name.Start, "table %s has no column %s", t.Name, name.Text)
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	if s := suggest(name.Text, names); s != "" {
		f.hint("did you mean %s?", s)
	}
	return 0
}

// tableColumns are the columns of a table as a plan has them.
func tableColumns(t *manifest.Table) []plan.Column {
	out := make([]plan.Column, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = plan.Column{Name: c.Name, Table: t.Name, Type: c.Type, Nullable: !c.NotNull}
	}
	return out
}

func (b *binder) insert(n *ast.Insert) (plan.Statement, []plan.Column) {
	t := b.target(n.Table)
	if b.err != nil {
		return nil, nil
	}
	targets := b.insertTargets(t, n)
	out := &plan.Insert{Table: t}
	if len(n.Columns) > 0 {
		for _, i := range targets {
			out.Columns = append(out.Columns, t.Columns[i].ID)
		}
	} else if n.Source == nil {
		out.Columns = []manifest.ColumnID{}
	}
	rows, plainly := (*ast.Rows)(nil), false
	if n.Source != nil {
		rows, plainly = n.Source.Body.(*ast.Rows)
	}
	if plainly && b.err == nil {
		out.Source = b.insertCells(t, targets, rows, len(n.Columns) == 0)
	} else {
		out.Source = b.insertSource(t, targets, n)
	}
	if b.err != nil {
		return nil, nil
	}
	if n.Conflict != nil {
		b.conflict(out, n)
	}
	var cols []plan.Column
	if n.Return != nil {
		s := &scope{columns: tableScope(t, n, 0)}
		out.Returning, cols = b.returning(n.Return, s, tableColumns(t))
		out.Cols = cols
	}
	return out, cols
}

// insertSource binds what an INSERT writes.
func (b *binder) insertSource(t *manifest.Table, targets []int, n *ast.Insert) plan.Node {
	defaults := b.defaults(t)
	if b.err != nil {
		return nothing()
	}
	if n.Source == nil {
		rows := [][]plan.Expr{b.fullRow(make([]plan.Expr, len(t.Columns)), nil, nil, defaults)}
		return &plan.Values{Rows: rows, Cols: tableColumns(t)}
	}
	if v, ok := n.Source.Body.(*ast.Values); ok && bare(n.Source) {
		return b.insertValues(t, targets, defaults, v, len(n.Columns) == 0)
	}
	return b.insertQuery(t, targets, defaults, n)
}

// bare tells a query that is its body and nothing else.
func bare(q *ast.Query) bool {
	return len(q.With) == 0 && len(q.Order) == 0 && q.Limit == nil && q.Offset == nil && q.AsOf == nil
}

// tableScope makes a table's columns visible for INSERT, beginning at an index.
func tableScope(t *manifest.Table, n *ast.Insert, first int) []column {
	name, namespace := t.Name, t.Namespace
	if n.Alias.Text != "" {
		name, namespace = n.Alias.Text, ""
	}
	out := make([]column, len(t.Columns))
	for i, c := range tableColumns(t) {
		c.Table = name
		out[i] = column{Column: c, namespace: namespace, index: first + i}
	}
	return out
}

// insertTargets are the places in the table of the columns that get values.
func (b *binder) insertTargets(t *manifest.Table, n *ast.Insert) []int {
	if len(n.Columns) == 0 {
		out := make([]int, len(t.Columns))
		for i := range out {
			out[i] = i
		}
		return out
	}
	out := make([]int, 0, len(n.Columns))
	for _, c := range n.Columns {
		i := b.tableColumn(t, c)
		if b.err == nil && slices.Contains(out, i) {
			b.invalid("42701", c.Start, "column %s stands twice", c.Text)
		}
		out = append(out, i)
	}
	return out
}

// defaults compiles the defaults of the columns; NULL where there is none.
func (b *binder) defaults(t *manifest.Table) []plan.Expr {
	out := make([]plan.Expr, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = &plan.Literal{Type: plain(c.Type)}
		if c.Default != "" && b.err == nil {
			out[i] = b.defaultOf(c)
		}
	}
	return out
}

func (b *binder) defaultOf(c manifest.Column) plan.Expr {
	x, err := Default(c.Default, c.Type, b.options.Limits)
	if err != nil {
		b.place(err, -1)
		return null()
	}
	return x
}

// fullRow spreads values over the columns of a table; the others get their default.
func (b *binder) fullRow(row []plan.Expr, targets []int, values, defaults []plan.Expr) []plan.Expr {
	for k, i := range targets {
		if k < len(values) {
			row[i] = values[k]
		}
	}
	for i := range row {
		if row[i] == nil {
			row[i] = defaults[i]
		}
	}
	return row
}

// insertValues binds the rows of VALUES straight to the types of the columns. free: no columns are named, and rows may
// be shorter than the table.
func (b *binder) insertValues(t *manifest.Table, targets []int, defaults []plan.Expr, v *ast.Values,
	free bool) plan.Node {
	out := &plan.Values{Rows: make([][]plan.Expr, 0, len(v.Rows)), Cols: tableColumns(t)}
	e := &env{b: b, clause: "VALUES"}
	if n := len(v.Rows[0]); free && n < len(targets) {
		targets = targets[:n]
	}
	values := make([]plan.Expr, len(targets))
	// cells is room for rows, many to an allocation.
	var cells []plan.Expr
	for _, row := range v.Rows {
		if len(row) != len(targets) {
			b.counts(len(row), len(targets), row[min(len(row), len(targets)+1)-1].Place().Start)
			return out
		}
		for k, x := range row {
			if _, ok := x.(*ast.Default); ok {
				values[k] = nil
				continue
			}
			c := &t.Columns[targets[k]]
			if values[k] = b.quick(x, c.Type); values[k] == nil {
				values[k] = b.assign(e.expr(x), *c, x.Place().Start)
			}
		}
		if b.err != nil {
			return out
		}
		if len(cells) < len(t.Columns) {
			cells = make([]plan.Expr, len(t.Columns)*min(len(v.Rows)-len(out.Rows), 64))
		}
		b.fullRow(cells[:len(t.Columns):len(t.Columns)], targets, values, defaults)
		out.Rows = append(out.Rows, cells[:len(t.Columns):len(t.Columns)])
		cells = cells[len(t.Columns):]
	}
	return out
}

func (b *binder) counts(values, columns, at int) {
	b.invalid("42601", at, "%s given to %s", count(values, "value"), count(columns, "column"))
}

func (b *binder) insertQuery(t *manifest.Table, targets []int, defaults []plan.Expr, n *ast.Insert) plan.Node {
	node := b.loose(n.Source, nil)
	cols := node.Columns()
	if len(cols) != len(targets) {
		b.counts(len(cols), len(targets), n.Source.Start)
		return node
	}
	values := make([]plan.Expr, len(cols))
	for k, c := range cols {
		target := t.Columns[targets[k]]
		if c.Type.Kind == manifest.Null && b.retype(node, k, plain(target.Type), n.Source.Start) {
			c.Type = plain(target.Type)
		}
		values[k] = b.assign(&plan.ColumnRef{Index: k, Name: c.Name, Type: c.Type}, target, n.Source.Start)
	}
	return &plan.Project{Input: node, Exprs: b.fullRow(make([]plan.Expr, len(t.Columns)), targets, values, defaults),
		Cols: tableColumns(t)}
}

// conflict binds ON CONFLICT: SET and WHERE see the row that is there, and the new one as excluded.
func (b *binder) conflict(out *plan.Insert, n *ast.Insert) {
	c, t := n.Conflict, out.Table
	if len(t.Keys()) == 0 && !c.Replace {
		b.invalid("42P10", c.Start, "table %s has no primary key or UNIQUE constraint to conflict with", t.Name)
		return
	}
	if len(c.Target) > 0 {
		out.Arbiter = b.conflictTarget(t, c)
	}
	switch {
	case c.Replace:
		out.OnConflict = plan.ConflictReplace
		return
	case c.Nothing:
		out.OnConflict = plan.ConflictNothing
		return
	}
	if len(c.Target) == 0 {
		b.invalid("42601", c.Start, "ON CONFLICT DO UPDATE must name the columns of the key")
		return
	}
	out.OnConflict = plan.ConflictUpdate
	s := &scope{columns: tableScope(t, n, 0)}
	for i, col := range tableColumns(t) {
		col.Table = "excluded"
		s.columns = append(s.columns, column{Column: col, index: len(t.Columns) + i, qualified: true})
	}
	out.Set = b.assignments(t, c.Set, nil, &env{b: b, scope: s, clause: "SET"})
	if c.Where != nil {
		e := &env{b: b, scope: s, clause: "WHERE"}
		out.Where = e.condition(c.Where)
	}
	for _, a := range out.Set {
		b.noSubquery(a.Value, c.Start, "ON CONFLICT DO UPDATE")
	}
	b.noSubquery(out.Where, c.Start, "ON CONFLICT DO UPDATE")
}

// conflictTarget finds the unique index whose columns ON CONFLICT names.
func (b *binder) conflictTarget(t *manifest.Table, c *ast.Conflict) *manifest.IndexID {
	got := make([]manifest.ColumnID, 0, len(c.Target))
	for _, name := range c.Target {
		if i := b.tableColumn(t, name); b.err == nil {
			got = append(got, t.Columns[i].ID)
		}
	}
	slices.Sort(got)
	for _, x := range t.Keys() {
		if x.Unique && slices.Equal(got, slices.Sorted(slices.Values(x.Columns))) {
			return &x.ID
		}
	}
	if b.err == nil {
		b.invalid("42P10", c.Target[0].Start,
			"ON CONFLICT must name the columns of the primary key or of a UNIQUE constraint of %s", t.Name)
	}
	return nil
}

// setRows puts the queries of (a, b) = (SELECT ..) beside the rows of the source, each with at most one row for each
// row there, and says where their columns are.
func (b *binder) setRows(node plan.Node, list []ast.Set, s *scope) (plan.Node, map[*ast.Query][]plan.ColumnRef) {
	rows := map[*ast.Query][]plan.ColumnRef{}
	for i, set := range list {
		if set.Row == nil || set.Part > 0 {
			continue
		}
		width := 1
		for i+width < len(list) && list[i+width].Row == set.Row {
			width++
		}
		right := b.query(set.Row, s, nil)
		if n := len(right.Columns()); n != width && b.err == nil {
			b.counts(n, width, set.Row.Start)
		}
		cols := slices.Clone(node.Columns())
		for _, c := range right.Columns() {
			c.Nullable = true
			rows[set.Row] = append(rows[set.Row], plan.ColumnRef{Index: len(cols), Name: c.Name, Type: c.Type})
			cols = append(cols, c)
		}
		node = &plan.Apply{Kind: plan.Single, LeftSide: node, RightSide: right, Cols: cols}
	}
	return node, rows
}

// assignments binds SET; rows says where the columns of queries for several columns are.
func (b *binder) assignments(t *manifest.Table, list []ast.Set, rows map[*ast.Query][]plan.ColumnRef,
	e *env) []plan.Assignment {
	out := make([]plan.Assignment, 0, len(list))
	for _, s := range list {
		i := b.tableColumn(t, s.Column)
		if b.err != nil {
			return nil
		}
		c := t.Columns[i]
		if slices.ContainsFunc(out, func(a plan.Assignment) bool { return a.Column == c.ID }) {
			b.invalid("42701", s.Column.Start, "column %s is set twice", c.Name)
		}
		var v plan.Expr
		if s.Row != nil {
			cols := rows[s.Row]
			if s.Part >= len(cols) {
				b.unsupported(s.Row.Start, "a query for several columns is not supported here")
				return nil
			}
			v = b.assign(&cols[s.Part], c, s.Row.Start)
		} else if _, ok := s.Value.(*ast.Default); ok {
			v = &plan.Literal{Type: plain(c.Type)}
			if c.Default != "" {
				v = b.defaultOf(c)
			}
		} else {
			v = b.assign(e.expr(s.Value), c, s.Value.Place().Start)
		}
		out = append(out, plan.Assignment{Column: c.ID, Value: v})
	}
	return out
}

// returning binds RETURNING over the columns of a scope.
func (b *binder) returning(list []ast.Item, s *scope, in []plan.Column) ([]plan.Expr, []plan.Column) {
	e := &env{b: b, scope: s, clause: "RETURNING"}
	var exprs []plan.Expr
	var cols []plan.Column
	for _, it := range e.items(list) {
		x := b.settle(it.expr, it.at)
		exprs = append(exprs, x)
		cols = append(cols, plan.Column{Name: it.name, Table: it.table, Type: x.ExprType(), Nullable: mayBeNull(x, in)})
	}
	return exprs, cols
}

// changed is the source of an UPDATE or DELETE: every column of the table, the place of the row, and what FROM brings.
func (b *binder) changed(t *manifest.Table, n *ast.Table, from ast.Source, where ast.Expr) (plan.Node, *scope) {
	node, cols := b.scan(t, n, nil, []manifest.ColumnID{manifest.ColumnRow})
	if from != nil {
		right, rightCols := b.source(from, nil, nil)
		width := len(node.Columns())
		j := &plan.Join{Kind: plan.Inner, LeftSide: node, RightSide: right,
			Cols: slices.Concat(node.Columns(), right.Columns())}
		b.distinctTables(cols, rightCols, &ast.Join{Right: from})
		for _, c := range rightCols {
			c.index += width
			cols = append(cols, c)
		}
		node = j
	}
	s := &scope{columns: cols}
	if where != nil {
		e := &env{b: b, scope: s, clause: "WHERE"}
		node = &plan.Filter{Input: node, Where: e.condition(where)}
	}
	return node, s
}

// chained puts WITH around the source of a change.
func chained(with []*plan.CTE, n plan.Node) plan.Node {
	for i := len(with) - 1; i >= 0; i-- {
		with[i].Input = n
		n = with[i]
	}
	return n
}

func (b *binder) update(n *ast.Update) (plan.Statement, []plan.Column) {
	t := b.target(n.Table.Name)
	if b.err != nil {
		return nil, nil
	}
	with := b.withList(n.With, false, nil)
	node, s := b.changed(t, &n.Table, n.From, n.Where)
	node, rows := b.setRows(node, n.Set, s)
	out := &plan.Update{Table: t, Set: b.assignments(t, n.Set, rows, &env{b: b, scope: s, clause: "SET"})}
	if n.Return != nil {
		out.Returning, out.Cols = b.returning(n.Return, s, node.Columns())
	}
	out.Source = chained(with, node)
	return out, out.Cols
}

func (b *binder) delete(n *ast.Delete) (plan.Statement, []plan.Column) {
	t := b.target(n.Table.Name)
	if b.err != nil {
		return nil, nil
	}
	with := b.withList(n.With, false, nil)
	node, s := b.changed(t, &n.Table, n.Using, n.Where)
	out := &plan.Delete{Table: t}
	if n.Return != nil {
		out.Returning, out.Cols = b.returning(n.Return, s, node.Columns())
	}
	out.Source = chained(with, node)
	return out, out.Cols
}

// defaultFunction tells what may stand in a default beside literals.
func defaultFunction(name string) bool {
	switch name {
	case "now", "current_timestamp", "localtimestamp", "current_date", "current_time", "current_user", "session_user",
		"snowflake_id",
		"uuid_v7", "uuidv7", "uuid", "gen_random_uuid", "ulid":
		return true
	}
	return false
}
