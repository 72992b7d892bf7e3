package bind

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// maxDuration bounds what an option may say.
const maxDuration = 100 * 366 * 24 * time.Hour

func tableOptionNames() []string {
	return []string{"TYPE", "FLUSH_POLICY", "TTL_SECONDS", "TTL_DELETES", "SCOPE", "STORAGE_ID", "ACCESS_LEVEL",
		"COMPRESSION",
		"DELETED_RETENTION_HOURS"}
}

// once refuses an option that stands twice.
func (b *binder) once(list []ast.Option) {
	for i, o := range list {
		for _, other := range list[:i] {
			if other.Name == o.Name {
				b.invalid("42601", o.Start, "option %s stands twice", o.Name)
			}
		}
	}
}

func (b *binder) unknownOption(o ast.Option, names []string) {
	f := b.invalid("42601", o.Start, "there is no option %s", o.Name)
	if s := suggest(o.Name, names); s != "" {
		f.hint("did you mean %s?", s)
	} else {
		f.hint("options are %s", strings.Join(names, ", "))
	}
}

// choice reads an option that is one of a few words.
func (b *binder) choice(o ast.Option, words ...string) int {
	i := slices.Index(words, strings.ToLower(o.Value))
	if i < 0 {
		b.invalid("22023", o.ValueSpan.Start, "%s is one of %s", o.Name, strings.Join(words, ", "))
		return 0
	}
	return i
}

func (b *binder) flag(o ast.Option) bool {
	return b.choice(o, "false", "true", "off", "on", "0", "1")%2 == 1
}

// count reads an option that is a whole number of at least least.
func (b *binder) count(o ast.Option, least int64) int64 {
	v, err := strconv.ParseInt(o.Value, 10, 64)
	if err != nil || v < least {
		b.invalid("22023", o.ValueSpan.Start, "%s is a whole number of at least %d", o.Name, least)
		return least
	}
	return v
}

// duration reads "5s", "500ms", "2m", or a number of seconds.
func (b *binder) duration(o ast.Option) time.Duration {
	d, err := time.ParseDuration(o.Value)
	if v, numeric := strconv.ParseFloat(o.Value, 64); numeric == nil && v >= 0 && v < maxDuration.Seconds() {
		d, err = time.Duration(v*float64(time.Second)), nil
	}
	if err != nil || d <= 0 || d > maxDuration {
		b.invalid("22023", o.ValueSpan.Start, "%s is a duration such as '5s' or '500ms'", o.Name)
		return time.Second
	}
	return d
}

// flushPolicy reads "rows:N,interval:S".
func (b *binder) flushPolicy(o ast.Option) manifest.FlushPolicy {
	var out manifest.FlushPolicy
	for part := range strings.SplitSeq(o.Value, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		v, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case err != nil || v < 1 || v > int64(maxDuration/time.Second):
		case name == "rows" && out.Rows == 0:
			out.Rows = v
			continue
		case name == "interval" && out.Interval == 0:
			out.Interval = time.Duration(v) * time.Second
			continue
		}
		b.invalid("22023", o.ValueSpan.Start, "FLUSH_POLICY is 'rows:N', 'interval:SECONDS' or both, joined by a comma")
		return out
	}
	return out
}

// tableOptions applies the options of CREATE TABLE.
func (b *binder) tableOptions(t *manifest.Table, n *ast.CreateTable) {
	b.once(n.Options)
	scope, ttl := -1, -1
	for _, o := range n.Options {
		switch o.Name {
		case "TYPE":
			kind := []manifest.Kind{manifest.User, manifest.Shared, manifest.Stream}[b.choice(o, "user", "shared", "stream")]
			if n.Kind != 0 && n.Kind != kind {
				b.invalid("42601", o.ValueSpan.Start, "CREATE %s TABLE contradicts TYPE = '%s'", n.Kind, o.Value)
			}
			t.Kind = kind
		case "SCOPE":
			scope = o.Start
			t.SharedScope = b.choice(o, "user", "shared") == 1
		case "TTL_SECONDS":
			ttl = o.Start
			t.TTL = time.Duration(min(b.count(o, 1), int64(maxDuration/time.Second))) * time.Second
		case "TTL_DELETES":
			ttl = o.Start
			t.TTLDeletes = b.flag(o)
		case "STORAGE_ID":
			if t.StorageID = o.Value; o.Value != "local" {
				b.unsupported(o.ValueSpan.Start, "storages other than 'local' are not supported")
			}
		default:
			if !b.commonOption(t, o) {
				b.unknownOption(o, tableOptionNames())
			}
		}
	}
	switch {
	case t.Kind == manifest.Stream && t.TTL == 0:
		b.invalid("42601", n.Name[0].Start, "a STREAM table needs TTL_SECONDS").hint("write WITH (TTL_SECONDS = 30)")
	case t.Kind != manifest.Stream && ttl >= 0:
		b.invalid("42601", ttl, "only STREAM tables have a TTL")
	case t.Kind != manifest.Stream && scope >= 0:
		b.invalid("42601", scope, "only STREAM tables have a SCOPE")
	}
}

// commonOption applies an option that ALTER TABLE can change too.
func (b *binder) commonOption(t *manifest.Table, o ast.Option) bool {
	switch o.Name {
	case "FLUSH_POLICY":
		t.Flush = b.flushPolicy(o)
	case "ACCESS_LEVEL":
		t.Access = []manifest.AccessLevel{manifest.Private, manifest.Public, manifest.Restricted,
			manifest.DBA}[b.choice(o, "private", "public", "restricted", "dba")]
	case "COMPRESSION":
		t.Compression = []manifest.Compression{manifest.CompressionNone, manifest.CompressionSnappy, manifest.CompressionZstd,
			manifest.CompressionLZ4}[b.choice(o, "none", "snappy", "zstd", "lz4")]
	case "DELETED_RETENTION_HOURS":
		t.Retention = time.Duration(min(b.count(o, 0), int64(maxDuration/time.Hour))) * time.Hour
	default:
		return false
	}
	return true
}

// setOptions binds ALTER TABLE .. SET.
func (b *binder) setOptions(t *manifest.Table, list []ast.Option) plan.AlterStep {
	b.once(list)
	var out plan.SetOptions
	var next manifest.Table
	for _, o := range list {
		switch o.Name {
		case "FLUSH_POLICY":
			out.Flush = &next.Flush
		case "ACCESS_LEVEL":
			out.Access = &next.Access
		case "COMPRESSION":
			out.Compression = &next.Compression
		case "DELETED_RETENTION_HOURS":
			out.Retention = &next.Retention
		case "TTL_SECONDS", "TTL_DELETES":
			b.setTTL(t, &next, &out, o)
			continue
		case "TYPE", "SCOPE", "STORAGE_ID":
			b.unsupported(o.Start, "%s of a table cannot be changed", o.Name)
			continue
		default:
			b.unknownOption(o, tableOptionNames())
			continue
		}
		b.commonOption(&next, o)
	}
	return out
}

// resetOptions binds ALTER TABLE .. RESET.
func (b *binder) resetOptions(t *manifest.Table, list []ast.Option) plan.AlterStep {
	b.once(list)
	var out plan.SetOptions
	retention := manifest.DefaultRetention
	for _, o := range list {
		switch o.Name {
		case "FLUSH_POLICY":
			out.Flush = &manifest.FlushPolicy{}
		case "ACCESS_LEVEL":
			out.Access = new(manifest.AccessLevel)
		case "COMPRESSION":
			out.Compression = new(manifest.Compression)
		case "DELETED_RETENTION_HOURS":
			out.Retention = &retention
		case "TTL_DELETES":
			if t.Kind != manifest.Stream {
				b.invalid("42601", o.Start, "only STREAM tables have a TTL")
			}
			out.TTLDeletes = new(bool)
		case "TTL_SECONDS", "TYPE", "SCOPE", "STORAGE_ID":
			b.unsupported(o.Start, "%s of a table has no default", o.Name)
		default:
			b.unknownOption(o, tableOptionNames())
		}
	}
	return out
}

func (b *binder) setTTL(t, next *manifest.Table, out *plan.SetOptions, o ast.Option) {
	if t.Kind != manifest.Stream {
		b.invalid("42601", o.Start, "only STREAM tables have a TTL")
		return
	}
	if o.Name == "TTL_DELETES" {
		next.TTLDeletes = b.flag(o)
		out.TTLDeletes = &next.TTLDeletes
		return
	}
	next.TTL = time.Duration(min(b.count(o, 1), int64(maxDuration/time.Second))) * time.Second
	out.TTL = &next.TTL
}
