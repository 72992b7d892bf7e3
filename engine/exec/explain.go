package exec

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// profile is what EXPLAIN shows of one operator.
type profile struct {
	Operator string     `json:"operator"`
	Detail   string     `json:"detail,omitempty"`
	Estimate int64      `json:"rows_estimated,omitempty"`
	Rows     *int64     `json:"rows,omitempty"`
	Batches  *int64     `json:"batches,omitempty"`
	TimeMS   *float64   `json:"time_ms,omitempty"`
	Bytes    int64      `json:"bytes,omitempty"`
	Spilled  int64      `json:"spilled_bytes,omitempty"`
	Runs     int64      `json:"spilled_runs,omitempty"`
	Scan     *ScanStats `json:"scan,omitempty"`
	// Filters are those that joins above gave the scan.
	Filters []filterStats `json:"join_filters,omitempty"`
	Inputs  []profile     `json:"inputs,omitempty"`
}

// profileOf reads the counters of an operator and of those below it.
func profileOf(op operator, analyze bool) profile {
	o := op.describe()
	p := profile{Operator: o.name, Detail: o.detail, Estimate: o.estimate}
	for _, in := range o.inputs {
		p.Inputs = append(p.Inputs, profileOf(in, analyze))
	}
	if o.scan != nil {
		s := o.scan()
		p.Scan = &s
	}
	if !analyze {
		return p
	}
	rows, batches := o.rows.Load(), o.batches.Load()
	// What its inputs spent downstream was spent here or further down.
	nanos := o.own.Load() - o.down.Load()
	for _, in := range o.inputs {
		nanos += in.describe().down.Load()
	}
	ms := float64(max(nanos, 0)) / float64(time.Millisecond)
	p.Rows, p.Batches, p.TimeMS, p.Bytes = &rows, &batches, &ms, o.bytes.Load()
	p.Spilled, p.Runs = o.spilled.Load(), o.runs.Load()
	if scan, ok := op.(*scanOp); ok {
		for _, f := range scan.filters {
			if f.keys.Load() != nil {
				p.Filters = append(p.Filters, filterStats{f.name, f.tested.Load(), f.kept.Load()})
			}
		}
	}
	return p
}

func (p *profile) json() string {
	// Plain numbers and strings always marshal.
	out, _ := json.MarshalIndent(p, "", "  ")
	return string(out)
}

func (p *profile) text(analyze bool, budget *Budget) string {
	var b strings.Builder
	p.write(&b, 0, analyze)
	if analyze {
		fmt.Fprintf(&b, "Memory: %s at most\n", bytesText(budget.Peak()))
	}
	return b.String()
}

func (p *profile) write(b *strings.Builder, depth int, analyze bool) {
	indent := strings.Repeat("  ", depth)
	b.WriteString(indent + p.Operator)
	if p.Detail != "" {
		b.WriteString(" " + p.Detail)
	}
	if p.Estimate > 0 {
		fmt.Fprintf(b, " ~%d rows", p.Estimate)
	}
	if p.Rows != nil {
		fmt.Fprintf(b, " (rows=%d batches=%d time=%.3f ms", *p.Rows, *p.Batches, *p.TimeMS)
		if p.Bytes > 0 {
			b.WriteString(" memory=" + bytesText(p.Bytes))
		}
		if p.Spilled > 0 {
			fmt.Fprintf(b, " spilled=%s in %d runs", bytesText(p.Spilled), p.Runs)
		}
		b.WriteString(")")
	}
	b.WriteByte('\n')
	if s := p.Scan; s != nil {
		lookup := ""
		if s.Lookup {
			lookup = "key lookup "
		}
		fmt.Fprintf(b, "%s  %shot rows=%d segments=%d of %d groups=%d of %d", indent, lookup, s.HotRows, s.SegmentsRead,
			s.SegmentsTotal, s.GroupsRead, s.GroupsTotal)
		if analyze {
			fmt.Fprintf(b, " pages read=%d pruned=%d", s.PagesRead, s.PagesPruned)
			if s.BloomAsked > 0 {
				fmt.Fprintf(b, " bloom filters asked=%d ruled out=%d", s.BloomAsked, s.BloomRuledOut)
			}
			fmt.Fprintf(b, " rows read=%d bytes read=%d columns cached=%d of %d marks applied=%d", s.RowsRead, s.BytesRead,
				s.ColumnsCached, s.ColumnsRead, s.MarksApplied)
		}
		b.WriteByte('\n')
	}
	for _, f := range p.Filters {
		fmt.Fprintf(b, "%s  join filter on %s: rows tested=%d kept=%d\n", indent, f.Column, f.Tested, f.Kept)
	}
	for i := range p.Inputs {
		p.Inputs[i].write(b, depth+1, analyze)
	}
}

// textLimit bounds the text of one expression in EXPLAIN.
const textLimit = 400

// exprText is an expression as EXPLAIN shows it; cols names the columns that it refers to.
func exprText(e plan.Expr, cols []plan.Column) string {
	var b strings.Builder
	writeExpr(&b, e, cols)
	if s := b.String(); len(s) > textLimit {
		return strings.ToValidUTF8(s[:textLimit], "") + "..."
	}
	return b.String()
}

func exprsText(list []plan.Expr, cols []plan.Column) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = exprText(e, cols)
	}
	return cutText(strings.Join(parts, ", "))
}

func cutText(s string) string {
	if len(s) > 2*textLimit {
		return strings.ToValidUTF8(s[:2*textLimit], "") + "..."
	}
	return s
}

// compareText is the spelling of the comparisons, by CompareOp.
func compareText(op plan.CompareOp) string {
	names := [...]string{"=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"}
	if int(op) < len(names) {
		return names[op]
	}
	return "?"
}

func writeExpr(b *strings.Builder, e plan.Expr, cols []plan.Column) {
	if b.Len() > 2*textLimit {
		return
	}
	switch e := e.(type) {
	case *plan.ColumnRef:
		b.WriteString(columnText(e, cols))
	case *plan.OuterRef:
		fmt.Fprintf(b, "outer.%s", e.Name)
	case *plan.Literal:
		b.WriteString(literalText(e))
	case *plan.Parameter:
		fmt.Fprintf(b, "$%d", e.Index+1)
	case *plan.Call:
		writeCall(b, e, cols)
	case *plan.Compare:
		writeList(b, []plan.Expr{e.Left, e.Right}, " "+compareText(e.Op)+" ", cols)
	case *plan.And:
		writeList(b, e.Args, " and ", cols)
	case *plan.Or:
		writeList(b, e.Args, " or ", cols)
	case *plan.Cast:
		writeExpr(b, e.Arg, cols)
		fmt.Fprintf(b, "::%s", e.Type)
	default:
		writeRare(b, e, cols)
	}
}

func writeRare(b *strings.Builder, e plan.Expr, cols []plan.Column) {
	not := func(negate bool) string {
		if negate {
			return "not "
		}
		return ""
	}
	switch e := e.(type) {
	case *plan.Not:
		b.WriteString("not ")
		writeExpr(b, e.Arg, cols)
	case *plan.IsNull:
		writeExpr(b, e.Arg, cols)
		b.WriteString(" is " + not(e.Negate) + "null")
	case *plan.In:
		writeExpr(b, e.Arg, cols)
		b.WriteString(" " + not(e.Negate) + "in ")
		writeList(b, e.List, ", ", cols)
	case *plan.Case:
		b.WriteString("case")
		for _, w := range e.Whens {
			b.WriteString(" when ")
			writeExpr(b, w.Cond, cols)
			b.WriteString(" then ")
			writeExpr(b, w.Then, cols)
		}
		if e.Else != nil {
			b.WriteString(" else ")
			writeExpr(b, e.Else, cols)
		}
		b.WriteString(" end")
	case *plan.Coalesce:
		b.WriteString("coalesce")
		writeList(b, e.Args, ", ", cols)
	case *plan.Subquery:
		b.WriteString("(subquery)")
	}
}

// columnText is a column's name, with its place when it has none.
func columnText(e *plan.ColumnRef, cols []plan.Column) string {
	if e.Index >= 0 && e.Index < len(cols) && cols[e.Index].Name != "" {
		return cols[e.Index].Name
	}
	if e.Name != "" {
		return e.Name
	}
	return fmt.Sprintf("#%d", e.Index)
}

func literalText(l *plan.Literal) string {
	switch v := l.Value.(type) {
	case nil:
		return "null"
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case []byte:
		return fmt.Sprintf("'\\x%x'", v)
	}
	switch l.Type.Kind {
	case manifest.Decimal, manifest.Date, manifest.Time, manifest.Timestamp, manifest.DateTime, manifest.UUID:
		if s, err := manifest.EncodeValue(l.Type, l.Value); err == nil {
			return strings.ReplaceAll(s, `"`, quoteOf(l.Type))
		}
	}
	return fmt.Sprint(l.Value)
}

// quoteOf is what stands around a value of a type as SQL spells it.
func quoteOf(t manifest.Type) string {
	if t.Kind == manifest.Decimal {
		return ""
	}
	return "'"
}

func writeCall(b *strings.Builder, c *plan.Call, cols []plan.Column) {
	operator := c.Name != "" && !(c.Name[0] >= 'a' && c.Name[0] <= 'z' || c.Name[0] == '_')
	if operator && len(c.Args) == 2 {
		writeList(b, c.Args, " "+c.Name+" ", cols)
		return
	}
	b.WriteString(c.Name)
	writeList(b, c.Args, ", ", cols)
}

func writeList(b *strings.Builder, list []plan.Expr, sep string, cols []plan.Column) {
	b.WriteByte('(')
	for i, e := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		writeExpr(b, e, cols)
	}
	b.WriteByte(')')
}

func sortText(keys []plan.SortKey, cols []plan.Column) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = exprText(k.Expr, cols)
		if k.Desc {
			parts[i] += " desc"
		}
		if k.NullsFirst != k.Desc {
			parts[i] += map[bool]string{true: " nulls first", false: " nulls last"}[k.NullsFirst]
		}
	}
	return cutText(strings.Join(parts, ", "))
}

func aggregateDetail(n *plan.Aggregate) string {
	cols := n.Input.Columns()
	var b strings.Builder
	for i, a := range n.Aggs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.Name + "(")
		if a.Distinct {
			b.WriteString("distinct ")
		}
		b.WriteString(exprsText(a.Args, cols) + ")")
	}
	if len(n.Groups) > 0 {
		b.WriteString(" by " + exprsText(n.Groups, cols))
	}
	if len(n.Sets) > 1 {
		fmt.Fprintf(&b, " in %d sets", len(n.Sets))
	}
	return cutText(strings.TrimSpace(b.String()))
}

func joinKindText(k plan.JoinKind) string {
	names := [...]string{"inner", "left", "right", "full", "semi", "anti", "anti null", "mark", "single"}
	if int(k) < len(names) {
		return names[k]
	}
	return "?"
}

func joinDetail(n *plan.Join) string {
	var b strings.Builder
	b.WriteString(joinKindText(n.Kind))
	left, right := n.LeftSide.Columns(), n.RightSide.Columns()
	for i := range n.LeftKeys {
		b.WriteString(map[bool]string{true: " on ", false: " and "}[i == 0])
		b.WriteString(exprText(n.LeftKeys[i], left) + " = " + exprText(n.RightKeys[i], right))
	}
	if n.Where != nil {
		both := append(append([]plan.Column(nil), left...), right...)
		b.WriteString(" where " + exprText(n.Where, both))
	}
	return cutText(b.String())
}
