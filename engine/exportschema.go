package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kalamflight/manifest"
)

// schemaText is SQL that makes the tables again, with all that belongs to their definition but rights.
func schemaText(tables []*manifest.Table) string {
	var b strings.Builder
	b.WriteString("-- The definitions of the tables in this export.\n")
	var spaces []string
	for _, t := range tables {
		if !slices.Contains(spaces, t.Namespace) {
			spaces = append(spaces, t.Namespace)
			fmt.Fprintf(&b, "\nCREATE NAMESPACE IF NOT EXISTS %s;\n", identifier(t.Namespace))
		}
		tableText(&b, t)
	}
	return b.String()
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func tableText(b *strings.Builder, t *manifest.Table) {
	name := identifier(t.Namespace) + "." + identifier(t.Name)
	names := func(ids []manifest.ColumnID) string {
		var list []string
		for _, id := range ids {
			if c, ok := t.Column(id); ok {
				list = append(list, identifier(c.Name))
			}
		}
		return "(" + strings.Join(list, ", ") + ")"
	}
	var parts []string
	for _, c := range t.Columns {
		part := identifier(c.Name) + " " + c.Type.String()
		if c.NotNull {
			part += " NOT NULL"
		}
		if c.Default != "" {
			part += " DEFAULT " + c.Default
		}
		parts = append(parts, part)
	}
	if len(t.Key) > 0 {
		parts = append(parts, "CONSTRAINT "+identifier(t.PrimaryName())+" PRIMARY KEY "+names(t.Key))
	}
	for _, x := range t.Indexes {
		if x.Constraint {
			parts = append(parts, "CONSTRAINT "+identifier(x.Name)+" UNIQUE "+names(x.Columns))
		}
	}
	for _, c := range t.Checks {
		parts = append(parts, "CONSTRAINT "+identifier(c.Name)+" CHECK ("+c.Text+")")
	}
	fmt.Fprintf(b, "\nCREATE %s TABLE %s (\n  %s\n)", t.Kind, name, strings.Join(parts, ",\n  "))
	if o := optionsText(t); o != "" {
		fmt.Fprintf(b, " WITH (%s)", o)
	}
	b.WriteString(";\n")
	for _, x := range t.Indexes {
		if x.Constraint {
			continue
		}
		unique := ""
		if x.Unique {
			unique = "UNIQUE "
		}
		fmt.Fprintf(b, "CREATE %sINDEX %s ON %s %s;\n", unique, identifier(x.Name), name, names(x.Columns))
	}
}

// optionsText are the options of a per-user table that are not the default.
func optionsText(t *manifest.Table) string {
	var list []string
	if p, ok := flushPolicy(t).(string); ok {
		list = append(list, "FLUSH_POLICY = "+literal(p))
	}
	if t.TTL > 0 {
		list = append(list, fmt.Sprintf("TTL_SECONDS = %d", int64(t.TTL/time.Second)))
	}
	if c := t.Compression.String(); c != "" {
		list = append(list, "COMPRESSION = "+literal(c))
	}
	if t.Kind == manifest.User && t.Retention != manifest.DefaultRetention {
		list = append(list, fmt.Sprintf("DELETED_RETENTION_HOURS = %d", int64(t.Retention/time.Hour)))
	}
	return strings.Join(list, ", ")
}
