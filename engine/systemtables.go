package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/functions"
	"kalamflight/manifest"
)

// systemDefinitions are the virtual tables. Their order gives their ids.
func systemDefinitions() []systemTable {
	const sys, schema = catalog.SystemSpace, catalog.SchemaSpace
	return append([]systemTable{
		{sys, "namespaces", cols("name", text, "created_at", timestamp), namespaceRows},
		{sys, "tables", cols("namespace", text, "name", text, "kind", text, "owner", text, "access_level", text,
			"flush_policy", text, "ttl_seconds", bigint, "scope", text, "version", bigint, "created_at", timestamp,
			"comment", text), tableRows},
		{sys, "columns", cols("namespace", text, "table_name", text, "name", text, "ordinal", integer, "type", text,
			"nullable", boolType, "default", text, "key", integer, "comment", text, "constraints", text), columnRows},
		{sys, "indexes", cols("namespace", text, "table_name", text, "name", text, "columns", text, "unique", boolType,
			"primary", boolType, "constraint", boolType), indexRows},
		{sys, "users", cols("name", text, "role", text, "created_at", timestamp, "dropped_at", timestamp,
			"password", boolType, "locked", boolType, "locked_until", timestamp, "quota", text), userRows},
		{sys, "sessions", cols("id", text, "user", text, "role", text, "address", text, "namespace", text,
			"started_at", timestamp, "used_at", timestamp, "agent", text, "state", text, "idle_ms", bigint,
			"queries", bigint, "subscriptions", bigint), sessionRows},
		{sys, "queries", cols("id", text, "user", text, "session", text, "text", text, "started_at", timestamp,
			"rows", bigint, "kind", text, "elapsed_ms", bigint, "progress", double, "bytes", bigint, "rows_written", bigint,
			"rows_read", bigint, "bytes_read", bigint, "memory_bytes", bigint, "memory_peak_bytes", bigint,
			"spilled_bytes", bigint, "address", text, "agent", text), queryRows},
		{sys, "subscriptions", cols("id", text, "user", text, "session", text, "text", text, "started_at", timestamp,
			"rows", bigint, "seq", bigint, "lag", bigint, "table", text, "bytes", bigint, "address", text,
			"agent", text), subscriptionRows},
		{sys, "jobs", cols("id", text, "kind", text, "table", text, "owner", text, "state", text,
			"started_at", timestamp, "ended_at", timestamp, "rows", bigint, "bytes", bigint, "error", text), jobRows},
		{sys, "segments", cols("namespace", text, "table_name", text, "id", text, "rows", bigint, "ended_rows", bigint,
			"bytes", bigint, "first_seq", bigint, "last_seq", bigint, "first_time", timestamp, "last_time", timestamp,
			"level", integer, "path", text), segmentRows},
		{sys, "storages", cols("id", text, "kind", text, "location", text), storageRows},
		{sys, "stats", cols("name", text, "value", bigint), statRows},
		{sys, "audit_log", cols("seq", bigint, "time", timestamp, "user", text, "user_id", bigint, "user_hash", text,
			"as_user", text, "as_user_id", bigint, "address", text, "session", text, "kind", text, "object", text,
			"target", text, "target_id", bigint, "target_hash", text, "rows", bigint, "outcome", text), auditRows},
		{sys, "audit_check", cols("ok", boolType, "records", bigint, "first_seq", bigint, "last_seq", bigint, "head", text,
			"problem", text), auditCheckRows},
		{sys, "exports", cols("id", text, "user", text, "by", text, "folder", text, "seq", bigint, "created_at", timestamp,
			"rows", bigint, "bytes", bigint, "files", bigint, "present", boolType), exportRows},
		{sys, "receipts", cols("id", text, "user_id", bigint, "user_hash", text, "dropped_at", timestamp,
			"started_at", timestamp, "ended_at", timestamp, "tables", bigint, "rows", bigint, "files", bigint, "bytes", bigint,
			"exports", bigint, "digest", text, "file", text, "valid", boolType, "problem", text), receiptRows},
		{sys, "settings", cols("name", text, "value", text, "origin", text), settingRows},
		{schema, "schemata", cols("catalog_name", text, "schema_name", text, "schema_owner", text), schemataRows},
		{schema, "tables", cols("table_catalog", text, "table_schema", text, "table_name", text,
			"table_type", text), schemaTableRows},
		{schema, "columns", cols("table_catalog", text, "table_schema", text, "table_name", text, "column_name", text,
			"ordinal_position", integer, "column_default", text, "is_nullable", text, "data_type", text,
			"character_maximum_length", integer, "numeric_precision", integer, "numeric_scale", integer,
			"numeric_precision_radix", integer, "datetime_precision", integer, "udt_name", text, "is_identity", text,
			"is_generated", text, "is_updatable", text, "column_comment", text), schemaColumnRows},
		{schema, "views", cols("table_catalog", text, "table_schema", text, "table_name", text, "view_definition", text,
			"check_option", text, "is_updatable", text), viewRows},
		{schema, "key_column_usage", cols("constraint_catalog", text, "constraint_schema", text,
			"constraint_name", text, "table_catalog", text, "table_schema", text, "table_name", text,
			"column_name", text, "ordinal_position", integer), keyRows},
		{schema, "table_constraints", cols("constraint_catalog", text, "constraint_schema", text,
			"constraint_name", text, "table_catalog", text, "table_schema", text, "table_name", text,
			"constraint_type", text, "is_deferrable", text, "initially_deferred", text, "enforced", text), constraintRows},
		{schema, "check_constraints", cols("constraint_catalog", text, "constraint_schema", text,
			"constraint_name", text, "check_clause", text), checkRows},
		{sys, "functions", cols("name", text, "canonical", text, "group", text, "class", text, "description", text,
			"signatures", text, "example", text, "result", text), functionRows},
		{sys, "tokens", cols("name", text, "user", text, "created_at", timestamp, "expires_at", timestamp,
			"used_at", timestamp, "created_by", text), tokenRows},
	}, rightsTables(sys, schema)...)
}

type yieldRow = func(...any) error

// functionRows has a row for each name of a function, aliases too.
func functionRows(_ *Engine, _ context.Context, _ *viewer, yield yieldRow) error {
	for _, f := range functions.All() {
		signatures := strings.Join(f.Signatures(), "\n")
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			err := yield(name, f.Name, f.Group, f.Class.String(), f.Doc, signatures, "SELECT "+f.Example.SQL,
				f.Example.Result)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func namespaceRows(_ *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for _, n := range s.defined.Namespaces() {
		if err := yield(n.Name, n.Created); err != nil {
			return err
		}
	}
	for _, n := range []string{catalog.SchemaSpace, catalog.SystemSpace} {
		if err := yield(n, nil); err != nil {
			return err
		}
	}
	return nil
}

// nameOf is a user's name, for those who may see it: their own, or anyone's with the right to observe.
func (s *viewer) nameOf(id manifest.UserID) any {
	p := s.Principal()
	if id == p.ID {
		return p.Name
	}
	u, ok := s.defined.UserByID(id)
	if !ok || access.Can(p, access.Observe, access.Target{}) != nil {
		return nil
	}
	return u.Name
}

func flushPolicy(t *manifest.Table) any {
	var parts []string
	if t.Flush.Rows > 0 {
		parts = append(parts, fmt.Sprintf("rows:%d", t.Flush.Rows))
	}
	if t.Flush.Interval > 0 {
		parts = append(parts, fmt.Sprintf("interval:%d", int64(t.Flush.Interval/time.Second)))
	}
	return orNil(strings.Join(parts, ","))
}

func tableRows(_ *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		var level, ttl, scope any
		if !t.PerUser() && t.Kind != manifest.System && t.Kind != manifest.View {
			level = t.Access.String()
		}
		if t.TTL > 0 {
			ttl = int64(t.TTL / time.Second)
		}
		switch {
		case t.PerUser():
			scope = "user"
		case t.Kind == manifest.Shared, t.Kind == manifest.Stream:
			scope = "shared"
		}
		err := yield(t.Namespace, t.Name, t.Kind.String(), s.nameOf(t.Owner), level, flushPolicy(t), ttl, scope,
			int64(t.Version), timeOrNil(t.Created), orNil(t.Comment))
		if err != nil {
			return err
		}
	}
	return nil
}

// keyPlace is the place of a column in the key, from 1; 0 when it is not part of it.
func keyPlace(t *manifest.Table, id manifest.ColumnID) int { return slices.Index(t.Primary(), id) + 1 }

func columnRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		for i, c := range t.Columns {
			var key any
			if k := keyPlace(t, c.ID); k > 0 {
				key = k
			}
			err := yield(t.Namespace, t.Name, c.Name, i+1, c.Type.String(), !c.NotNull, orNil(c.Default), key,
				orNil(c.Comment), e.constraintsOf(t, i))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func userRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	for _, u := range s.defined.Users() {
		if !all && u.ID != p.ID {
			continue
		}
		err := yield(u.Name, u.Role, u.Created, timeOrNil(u.Dropped), u.Password != "", u.Locked,
			whenOrNil(e.catalog.LockedOut(u.ID)), orNil(u.Quota.String()))
		if err != nil {
			return err
		}
	}
	return nil
}

func jobRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	for _, j := range e.jobs.List() {
		if !all && j.Tablet.Owner.ID != p.ID {
			continue
		}
		t := j.Tablet.Table
		err := yield(j.ID, string(j.Kind), t.Namespace+"."+t.Name, orNil(j.Tablet.Owner.Name), string(j.State),
			whenOrNil(j.Started), whenOrNil(j.Ended), j.Rows, j.Bytes, orNil(j.Error))
		if err != nil {
			return err
		}
	}
	return taskRows(e, s, yield)
}

// taskRows are the exports and erasures of system.jobs.
func taskRows(e *Engine, s *viewer, yield yieldRow) error {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	for _, t := range e.tasks.List() {
		if !all && t.Owner != p.ID && t.By != p.ID {
			continue
		}
		err := yield(t.ID, string(t.Kind), nil, s.nameOf(t.Owner), string(t.State), whenOrNil(t.Started),
			whenOrNil(t.Ended), t.Rows, t.Bytes, orNil(t.Error))
		if err != nil {
			return err
		}
	}
	return nil
}

// receiptRows are system.receipts: what was erased, for those who may see what others do.
func receiptRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	if access.Can(s.Principal(), access.Observe, access.Target{}) != nil {
		return nil
	}
	all, err := e.receipts.List()
	if err != nil {
		return err
	}
	for _, r := range all {
		rows := int64(0)
		for _, t := range r.Tables {
			rows += t.HotRows + t.Rows
		}
		err := yield(orNil(r.ID), int64(r.Subject), orNil(r.Pseudonym), timeOrNil(r.Dropped), timeOrNil(r.Began),
			timeOrNil(r.Ended), int64(len(r.Tables)), rows, r.Files, r.Bytes, r.Exports, orNil(r.Digest), r.File,
			r.Problem == "", orNil(r.Problem))
		if err != nil {
			return err
		}
	}
	return nil
}

func whenOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func segmentRows(e *Engine, ctx context.Context, s *viewer, yield yieldRow) error {
	st := e.statement(s.Session, 0)
	for t := range s.readable() {
		if t.Kind != manifest.User && t.Kind != manifest.Shared ||
			access.Can(st.who, access.Read, s.defined.Target(t)) != nil ||
			access.Held(st.who, t) && !e.without(checkSegments) {
			continue // how many rows there are tells of those that are hidden
		}
		id := st.tablet(t)
		m, err := e.tablets.Manifest(ctx, id)
		if err != nil {
			return err
		}
		for _, g := range m.Segments {
			ended := int64(0)
			if g.Marks != nil {
				ended = g.Marks.Count
			}
			err := yield(t.Namespace, t.Name, fmt.Sprintf("%016x", uint64(g.ID)), g.Rows, ended, g.Bytes,
				int64(g.FirstSeq), int64(g.LastSeq), g.FirstTime, g.LastTime, g.Level,
				manifest.SegmentFile(id.Dir(), g.ID))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func storageRows(_ *Engine, _ context.Context, _ *viewer, yield yieldRow) error {
	return yield("local", "folder", "storage")
}

func statRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	if access.Can(s.Principal(), access.Observe, access.Target{}) != nil {
		return nil
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	own := map[string]int64{
		"process.heap_bytes":   int64(m.HeapAlloc),
		"process.system_bytes": int64(m.Sys),
		"process.goroutines":   int64(runtime.NumGoroutine()),
	}
	for name, v := range numbers(e.Stats()) {
		if !strings.Contains(name, ".") {
			name = "engine." + name
		}
		own[name] = v
	}
	e.shown.Range(func(room, stats any) bool {
		for name, v := range numbers(stats.(func() any)()) {
			own[room.(string)+"."+name] = v
		}
		return true
	})
	names := make([]string, 0, len(own))
	for name := range own {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := yield(name, own[name]); err != nil {
			return err
		}
	}
	return nil
}

// sessionOptions are the options that a session has.
func sessionOptions() []string {
	return []string{optionCatalog, optionSchema, optionTableType, optionTimeout, optionTimeZone}
}

func settingRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for _, name := range sessionOptions() {
		v, ok := s.Option(name)
		origin := "default"
		if ok {
			origin = "session"
		}
		if err := yield(name, v, origin); err != nil {
			return err
		}
	}
	if access.Can(s.Principal(), access.Observe, access.Target{}) != nil {
		return nil
	}
	for _, v := range e.opts.Settings {
		if err := yield(v.Name, v.Value, v.Origin); err != nil {
			return err
		}
	}
	return nil
}

func schemataRows(e *Engine, ctx context.Context, s *viewer, yield yieldRow) error {
	return namespaceRows(e, ctx, s, func(v ...any) error { return yield(CatalogName, v[0], nil) })
}

// tableType is a table's kind as the standard says it.
func tableType(t *manifest.Table) string {
	switch {
	case t.Temporary:
		return "LOCAL TEMPORARY"
	}
	switch t.Kind {
	case manifest.View:
		return "VIEW"
	case manifest.System:
		return "SYSTEM TABLE"
	}
	return "BASE TABLE"
}

func schemaTableRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		if err := yield(CatalogName, t.Namespace, t.Name, tableType(t)); err != nil {
			return err
		}
	}
	return nil
}

func viewRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		if t.Kind != manifest.View {
			continue
		}
		if err := yield(CatalogName, t.Namespace, t.Name, t.Query, "NONE", "NO"); err != nil {
			return err
		}
	}
	return nil
}

func schemaColumnRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		for i, c := range t.Columns {
			nullable := "YES"
			if c.NotNull {
				nullable = "NO"
			}
			updatable := "YES"
			if t.Kind == manifest.View || t.Kind == manifest.System {
				updatable = "NO"
			}
			d := digitsOf(c.Type)
			name, _, _ := strings.Cut(c.Type.String(), "(")
			err := yield(CatalogName, t.Namespace, t.Name, c.Name, i+1, orNil(c.Default), nullable, c.Type.String(),
				d.length, d.precision, d.scale, d.radix, d.fraction, strings.ToLower(name), "NO", "NEVER",
				updatable, orNil(c.Comment))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// digits say how long the values of a type are, as information_schema.columns does; nil where it does not apply.
type digits struct{ length, precision, scale, radix, fraction any }

func digitsOf(t manifest.Type) (d digits) {
	switch t.Kind {
	case manifest.Text:
		if t.Length > 0 {
			d.length = int(t.Length)
		}
	case manifest.SmallInt, manifest.Int, manifest.BigInt:
		bits := map[manifest.TypeKind]int{manifest.SmallInt: 16, manifest.Int: 32, manifest.BigInt: 64}
		d.precision, d.scale, d.radix = bits[t.Kind], 0, 2
	case manifest.Float:
		d.precision, d.radix = 24, 2
	case manifest.Double:
		d.precision, d.radix = 53, 2
	case manifest.Decimal:
		d.precision, d.scale, d.radix = int(t.Precision), int(t.Scale), 10
	case manifest.Date:
		d.fraction = 0
	case manifest.Time, manifest.Timestamp, manifest.DateTime:
		d.fraction = 6
	}
	return d
}
