package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/exec"
	"kalamflight/engine/jobs"
	"kalamflight/engine/plan"
	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// The limits of exports.
const (
	// exportsMax bounds the exports of one user that are there.
	exportsMax = 16
	// exportDepth and exportNameMax bound the folder that a statement names.
	exportDepth   = 8
	exportNameMax = 100
	// exportGroupBytes is how much of a table is in memory at once, twice.
	exportGroupBytes = 16 << 20
)

// The files of an export beside those of its tables.
const (
	exportList   = "export.json"
	exportSums   = "SHA256SUMS"
	exportSchema = "schema.sql"
)

// exportTask is what the task of an export keeps.
type exportTask struct {
	Root string `json:"root"`
	Dir  string `json:"dir"`
}

// exported is an export that is there, in the map of exports.
type exported struct {
	ID      string          `json:"id"`
	User    manifest.UserID `json:"user"`
	By      manifest.UserID `json:"by"`
	Root    string          `json:"root"`
	Dir     string          `json:"dir"`
	Seq     manifest.Seq    `json:"seq"`
	Created int64           `json:"created"`
	Rows    int64           `json:"rows"`
	Bytes   int64           `json:"bytes"`
	Files   int64           `json:"files"`
}

const exportPrefix = "export/"

// exportUser runs EXPORT USER: everybody may export what is theirs, and what is of those for whom they may act.
func (e *Engine) exportUser(ctx context.Context, p access.Principal, st *plan.ExportUser) (int64, error) {
	u, err := e.exportee(p, st.Name)
	if err != nil {
		return 0, err
	}
	if err := checkExportDir(st.Dir); err != nil {
		return 0, err
	}
	if e.opts.ExportDir == "" {
		return 0, &fault.SQL{Kind: fault.ErrPrecondition, Code: "55000",
			Message: "exports are off: the server has no folder for them",
			Hint:    "the operator sets one with --export-dir"}
	}
	body := &exportTask{Root: e.opts.ExportDir, Dir: path.Clean(st.Dir)}
	if err := e.roomForExport(u.ID, body); err != nil {
		return 0, err
	}
	id, err := e.tasks.Submit(ctx, jobs.Export, u.ID, p.ID, body)
	if err != nil {
		return 0, err
	}
	s, err := e.tasks.Wait(ctx, id)
	if ctx.Err() != nil { // nobody waits for it any more
		return 0, errors.Join(context.Cause(ctx), e.tasks.Kill(id))
	}
	return s.Rows, err
}

// exportee finds whose tables are asked for.
func (e *Engine) exportee(p access.Principal, name string) (access.Principal, error) {
	if name == "" || strings.EqualFold(name, p.Name) {
		return p, nil
	}
	if err := access.Can(p, access.ActAs, access.Target{Role: access.RoleUser}); err != nil {
		return access.Principal{}, err // it does not tell whether there is one of that name
	}
	u, ok := e.catalog.Snapshot().User(name)
	if !ok {
		return access.Principal{}, noUser(name)
	}
	q, err := u.Principal()
	if err != nil {
		return access.Principal{}, err
	}
	return q, mayActAs(p, q)
}

// checkExportDir refuses every folder that is not a plain one below that of exports.
func checkExportDir(dir string) error {
	bad := func(format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: fmt.Sprintf(format, args...),
			Hint: "name a folder that does not exist yet, as 'amal' or 'june/amal'; it is made where the server keeps exports"}
	}
	elements := strings.Split(dir, "/")
	if len(elements) > exportDepth {
		return bad("the folder of an export has more than %d parts", exportDepth)
	}
	for _, el := range elements {
		plain := strings.IndexFunc(el, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
		}) < 0
		if el == "" || strings.HasPrefix(el, ".") || !plain || len(el) > exportNameMax {
			return bad(
				"%q is no folder for an export: its parts have 1 to %d letters, digits, '-', '_' and '.', and do not "+
					"begin with '.'", clipped(dir), exportNameMax)
		}
	}
	return nil
}

func clipped(s string) string {
	if len(s) > exportNameMax {
		return strings.ToValidUTF8(s[:exportNameMax], "") + "…"
	}
	return s
}

// roomForExport refuses a folder that is there already, and too many exports of a user.
func (e *Engine) roomForExport(id manifest.UserID, t *exportTask) error {
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		e.log.Error("the folder for exports cannot be opened", "err", err)
		return &fault.SQL{Kind: fault.ErrUnavailable, Code: "58030", Message: "the folder for exports cannot be opened",
			Hint: "the operator makes the folder of --export-dir, and may see why in the server's log"}
	}
	defer root.Close()
	if _, err := root.Lstat(t.Dir); err == nil {
		return &fault.SQL{Kind: fault.ErrExists, Code: "58P02", Message: fmt.Sprintf("the folder %q is there already", t.Dir)}
	}
	all, err := e.exports()
	if err != nil {
		return err
	}
	n := 0
	for _, x := range all {
		if x.User == id && x.there() {
			n++
		}
	}
	if n >= exportsMax {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "53400",
			Message: fmt.Sprintf("there are %d exports of this user, and that is the limit", n),
			Hint:    "the operator may remove the folders that system.exports lists"}
	}
	if _, busy := e.tasks.Open(jobs.Export, id); busy {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006", Message: "an export of this user is running",
			Hint: "wait for its end, or end it with KILL JOB; system.jobs has its id"}
	}
	return nil
}

func (x *exported) there() bool {
	_, err := os.Lstat(filepath.Join(x.Root, filepath.FromSlash(x.Dir)))
	return !errors.Is(err, fs.ErrNotExist)
}

// exports are the exports that were made and not erased, the oldest first.
func (e *Engine) exports() ([]exported, error) {
	var all []exported
	err := e.hot.Meta("exports").Scan(exportPrefix, func(key string, value []byte) error {
		var x exported
		if err := json.Unmarshal(value, &x); err != nil {
			return fmt.Errorf("%s: %w: %w", key, fault.ErrCorrupt, err)
		}
		all = append(all, x)
		return nil
	})
	slices.SortFunc(all, func(a, b exported) int { return int(a.Created - b.Created) })
	return all, err
}

// partial is the name of an export's folder until it is whole.
func partial(task string) string { return ".export-" + task }

// abandonExport removes what an export left that will not go on.
func (e *Engine) abandonExport(ctx context.Context, t jobs.Task) error {
	var body exportTask
	if err := json.Unmarshal(t.Body, &body); err != nil {
		return fmt.Errorf("%w: %w", fault.ErrCorrupt, err)
	}
	root, err := os.OpenRoot(body.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(partial(t.ID)); err != nil {
		return err
	}
	// It may have been whole already: then nobody was told.
	all, err := e.exports()
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.ID == t.ID {
			return e.removeExport(ctx, x)
		}
	}
	return nil
}

// removeExport removes an export's folder, the folders that it leaves empty, and then its entry.
func (e *Engine) removeExport(ctx context.Context, x exported) error {
	root, err := os.OpenRoot(x.Root)
	if err == nil {
		defer root.Close()
		err = root.RemoveAll(x.Dir)
		for dir := path.Dir(x.Dir); err == nil && dir != "."; dir = path.Dir(dir) {
			if root.Remove(dir) != nil {
				break
			}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove export %s: %w", x.ID, err)
	}
	return e.hot.Meta("exports").Apply(ctx, nil, []string{exportPrefix + x.ID})
}

// removeExports removes every export of a user.
func (e *Engine) removeExports(ctx context.Context, id manifest.UserID) error {
	all, err := e.exports()
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.User != id {
			continue
		}
		if err := e.removeExport(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// export runs the task of an export.
func (e *Engine) export(ctx context.Context, r *jobs.TaskRun) error {
	var body exportTask
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return fmt.Errorf("export: %w: %w", fault.ErrCorrupt, err)
	}
	who, err := e.living(r.Owner)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(body.Root)
	if err != nil {
		return fmt.Errorf("open the folder for exports: %w", err)
	}
	defer root.Close()
	if err := root.Mkdir(partial(r.ID), 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	folder, err := blob.OpenFolder(filepath.Join(body.Root, partial(r.ID)))
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	x := &exporter{engine: e, task: r, who: who, bucket: &summing{Bucket: folder, sums: map[string]fileSum{}}}
	if err := x.run(ctx); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	done := exported{ID: r.ID, User: r.Owner, By: r.By, Root: body.Root, Dir: body.Dir, Seq: x.seq,
		Created: time.Now().UnixMicro(), Rows: x.rows, Bytes: x.bucket.bytes(), Files: int64(len(x.bucket.sums))}
	return e.publishExport(ctx, root, done)
}

// publishExport gives the export its name. Its entry is there before, so that an erasure finds it whatever happens.
func (e *Engine) publishExport(ctx context.Context, root *os.Root, x exported) error {
	b, err := json.Marshal(&x)
	if err != nil {
		return err
	}
	if err := e.hot.Meta("exports").Apply(ctx, map[string][]byte{exportPrefix + x.ID: b}, nil); err != nil {
		return err
	}
	if dir := path.Dir(x.Dir); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	if _, err := root.Lstat(x.Dir); err == nil {
		err := &fault.SQL{Kind: fault.ErrExists, Code: "58P02", Message: fmt.Sprintf("the folder %q is there already", x.Dir)}
		// It is not ours, and must not be taken for it.
		return errors.Join(err, e.hot.Meta("exports").Apply(context.WithoutCancel(ctx), nil, []string{exportPrefix + x.ID}))
	}
	if err := root.Rename(partial(x.ID), x.Dir); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	d, err := root.Open(path.Dir(x.Dir))
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// exporter writes the tables of one user.
type exporter struct {
	engine *Engine
	task   *jobs.TaskRun
	who    access.Principal
	bucket *summing
	seq    manifest.Seq
	rows   int64
	tables []exportedTable
}

// exportedTable is a table in export.json.
type exportedTable struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Rows      int64  `json:"rows"`
	// Folder has the table's manifest.json and Parquet file.
	Folder string   `json:"folder"`
	Files  []string `json:"files"`
}

// run writes every table at one Seq, then the files about all.
func (x *exporter) run(ctx context.Context) error {
	e := x.engine
	x.seq = e.hot.Head()
	release := e.tablets.PinAll(x.seq)
	defer release()
	var tables []*manifest.Table
	snap := e.catalog.Snapshot()
	for _, n := range snap.Namespaces() {
		for _, t := range snap.Tables(n.Name) {
			if t.Kind != manifest.View && t.PerUser() {
				tables = append(tables, t)
			}
		}
	}
	for _, t := range tables {
		if err := x.table(ctx, t); err != nil {
			return fmt.Errorf("table %s.%s: %w", t.Namespace, t.Name, err)
		}
		x.task.Progress(x.rows, x.bucket.bytes())
	}
	if err := x.put(ctx, exportSchema, []byte(schemaText(tables))); err != nil {
		return err
	}
	list, err := json.MarshalIndent(map[string]any{"format": 1, "user": x.who.Name, "user_id": x.who.ID, "seq": x.seq,
		"time": time.Now().UTC().Format(time.RFC3339), "tables": x.tables}, "", "  ")
	if err != nil {
		return err
	}
	if err := x.put(ctx, exportList, append(list, '\n')); err != nil {
		return err
	}
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(x.bucket.sums)) {
		fmt.Fprintf(&sums, "%s  %s\n", x.bucket.sums[name].sum, name)
	}
	return x.put(ctx, exportSums, []byte(sums.String()))
}

func (x *exporter) put(ctx context.Context, name string, body []byte) error {
	w, err := x.bucket.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit()
}

// table writes the rows of a table that live at the export's Seq, if there are any.
func (x *exporter) table(ctx context.Context, t *manifest.Table) error {
	e := x.engine
	if _, err := e.living(x.who.ID); err != nil {
		return err // dropped meanwhile
	}
	s := &Session{id: "export " + x.task.ID, engine: e, principal: x.who, namespace: catalog.DefaultSpace,
		options: map[string]string{}, started: time.Now()}
	st := e.statement(s, x.seq)
	scan := &plan.Scan{Table: t, Limit: -1}
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		scan.IDs = append(scan.IDs, c.ID)
		scan.Cols = append(scan.Cols, plan.Column{Name: c.Name, Type: c.Type, Nullable: !c.NotNull})
		fields[i] = segments.Field(c)
	}
	q, err := exec.Build(ctx, scan, st.exec())
	if err != nil {
		return err
	}
	defer q.Close()
	schema := arrow.NewSchema(fields, nil)
	rows := int64(0)
	dir := manifest.EscapeName(t.Namespace) + "/" + manifest.EscapeName(t.Name)
	segment, err := segments.Write(ctx, segments.WriteOptions{Bucket: x.bucket, Table: t, Dir: dir, ID: 1, Fixed: true,
		Compression: manifest.CompressionZstd, Alloc: e.alloc, GroupBytes: exportGroupBytes},
		func() (arrow.RecordBatch, error) {
			b, err := q.Next(ctx)
			if err != nil {
				return nil, err
			}
			defer b.Release()
			rows += b.NumRows()
			x.task.Progress(x.rows+rows, x.bucket.bytes())
			return array.NewRecordBatch(schema, b.Columns(), b.NumRows()), nil
		})
	if rows == 0 && errors.Is(err, fault.ErrInvalid) { // none: there is no file then
		return nil
	}
	if err != nil {
		return err
	}
	x.rows += rows
	return x.manifest(ctx, t, dir, segment)
}

// manifest names a table's segment as the manifests of the data folder do.
func (x *exporter) manifest(ctx context.Context, t *manifest.Table, dir string, g manifest.Segment) error {
	now := time.Now().UnixMicro()
	g.FirstSeq, g.LastSeq, g.FirstTime, g.LastTime = x.seq, x.seq, now, now
	body, err := manifest.Encode(&manifest.Manifest{Format: manifest.Format, Generation: 1, Table: t.ID, Owner: x.who.ID,
		Namespace: t.Namespace, Name: t.Name, Columns: t.Columns, Key: t.Key, Flushed: x.seq, Marked: x.seq, Oldest: x.seq,
		Segments: []manifest.Segment{g}})
	if err != nil {
		return err
	}
	name := dir + "/manifest.json"
	if err := x.put(ctx, name, body); err != nil {
		return err
	}
	x.tables = append(x.tables, exportedTable{Namespace: t.Namespace, Name: t.Name, Kind: t.Kind.String(), Rows: g.Rows,
		Folder: dir, Files: []string{manifest.SegmentFile(dir, g.ID), name}})
	return nil
}

// summing is a bucket that sums up what is written. It is for one goroutine.
type summing struct {
	blob.Bucket
	sums map[string]fileSum
}

type fileSum struct {
	bytes int64
	sum   string
}

func (b *summing) bytes() (n int64) {
	for _, s := range b.sums {
		n += s.bytes
	}
	return n
}

// Create implements blob.Bucket.
func (b *summing) Create(ctx context.Context, name string) (blob.Writer, error) {
	w, err := b.Bucket.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &summingWriter{Writer: w, bucket: b, name: name, hash: sha256.New()}, nil
}

type summingWriter struct {
	blob.Writer
	bucket *summing
	name   string
	hash   hash.Hash
	bytes  int64
}

// Write implements io.Writer.
func (w *summingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.hash.Write(p[:n])
	w.bytes += int64(n)
	return n, err
}

// Commit implements blob.Writer.
func (w *summingWriter) Commit() error {
	if err := w.Writer.Commit(); err != nil {
		return err
	}
	w.bucket.sums[w.name] = fileSum{w.bytes, hex.EncodeToString(w.hash.Sum(nil))}
	return nil
}

// exportRows are system.exports: the caller's own, and all for those who may see what others do.
func exportRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	everyone := access.Can(p, access.Observe, access.Target{}) == nil
	all, err := e.exports()
	if err != nil {
		return err
	}
	for _, x := range all {
		if !everyone && x.User != p.ID && x.By != p.ID {
			continue
		}
		err := yield(x.ID, s.nameOf(x.User), s.nameOf(x.By), x.Dir, int64(x.Seq), x.Created, x.Rows, x.Bytes, x.Files,
			x.there())
		if err != nil {
			return err
		}
	}
	return nil
}
