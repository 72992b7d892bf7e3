package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"kalamflight/engine/audit"
	"kalamflight/engine/jobs"
	"kalamflight/engine/receipts"
	"kalamflight/hotlog"
	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// erasure is what the task of an erasure keeps: the receipt as far as it is known, and how far it is. It has nothing of
// the user but their number and pseudonym, so that it may outlive them.
type erasure struct {
	Phase     erasePhase `json:"phase"`
	Dropped   int64      `json:"dropped"`
	Began     int64      `json:"began"`
	Pseudonym string     `json:"pseudonym"`

	Tables  []receipts.Table `json:"tables,omitempty"`
	Files   int64            `json:"files,omitempty"`
	Bytes   int64            `json:"bytes,omitempty"`
	Digest  string           `json:"digest,omitempty"`
	Exports int64            `json:"exports,omitempty"`
}

// erasePhase is how far an erasure is. Each phase may be repeated from its beginning.
type erasePhase int

const (
	// eraseCount writes down what there is.
	eraseCount erasePhase = iota
	// eraseFiles removes the folder, the exports and then the user, which frees the name.
	eraseFiles
	// eraseLog removes the hot rows, and rewrites the log and the catalog's file so that no byte is left in them.
	eraseLog
	// eraseSign makes the receipt.
	eraseSign
)

func (x *erasure) rows() (n int64) {
	for _, t := range x.Tables {
		n += t.HotRows + t.Rows
	}
	return n
}

// erase runs the task of an erasure, or goes on with it.
func (e *Engine) erase(ctx context.Context, r *jobs.TaskRun) error {
	var x erasure
	if err := json.Unmarshal(r.Body, &x); err != nil {
		return fmt.Errorf("erase user %d: %w: %w", r.Owner, fault.ErrCorrupt, err)
	}
	steps := []func(context.Context, manifest.UserID, *erasure) error{
		eraseCount: e.countErased, eraseFiles: e.eraseFiles, eraseLog: e.eraseLog,
	}
	for x.Phase < eraseSign {
		if err := steps[x.Phase](ctx, r.Owner, &x); err != nil {
			return fmt.Errorf("erase user %d: %w", r.Owner, err)
		}
		x.Phase++
		if err := r.Save(ctx, &x); err != nil {
			return fmt.Errorf("erase user %d: %w", r.Owner, err)
		}
		r.Progress(x.rows(), x.Bytes)
	}
	if err := e.signErased(r.Task, &x); err != nil {
		return fmt.Errorf("erase user %d: %w", r.Owner, err)
	}
	return nil
}

// countErased ends what runs for the user and writes down what is stored of them.
func (e *Engine) countErased(ctx context.Context, id manifest.UserID, x *erasure) error {
	u, ok := e.catalog.Snapshot().UserByID(id)
	if !ok {
		return fmt.Errorf("the user is gone: %w", fault.ErrNotFound)
	}
	if err := e.quiet(ctx, id); err != nil {
		return err
	}
	x.Tables = nil
	err := e.eachTablet(u.Owner(), func(t manifest.Tablet) error {
		m, err := e.tablets.Manifest(ctx, t)
		if err != nil {
			return err
		}
		count := receipts.Table{Name: t.Table.Namespace + "." + t.Table.Name, HotRows: e.hot.Stat(t.ID()).Rows,
			Segments: int64(len(m.Segments))}
		for _, g := range m.Segments {
			count.Rows += g.Rows
		}
		if count.HotRows > 0 || count.Segments > 0 || m.Generation > 0 {
			x.Tables = append(x.Tables, count)
		}
		return nil
	})
	if err != nil {
		return err
	}
	all, err := e.exports()
	if err != nil {
		return err
	}
	x.Exports = 0
	for _, made := range all {
		if made.User == id {
			x.Exports++
		}
	}
	x.Files, x.Bytes, x.Digest, err = e.digest(ctx, manifest.UserDir(u.Name)+"/")
	return err
}

// eachTablet calls f for each table that could have rows of an owner, those included that were dropped and are still to
// be cleaned.
func (e *Engine) eachTablet(o manifest.Owner, f func(manifest.Tablet) error) error {
	snap := e.catalog.Snapshot()
	tables := snap.Dropped()
	for _, n := range snap.Namespaces() {
		tables = append(tables, snap.Tables(n.Name)...)
	}
	slices.SortFunc(tables, func(a, b *manifest.Table) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, t := range tables {
		if t.Kind == manifest.View || !t.PerUser() {
			continue
		}
		if err := f(manifest.Tablet{Table: t, Owner: o}); err != nil {
			return err
		}
	}
	return nil
}

// digest counts the files below a prefix, and sums up what is in them.
func (e *Engine) digest(ctx context.Context, prefix string) (files, bytes int64, sum string, err error) {
	var names []string
	err = e.bucket.List(ctx, prefix, func(b blob.Entry) error {
		names = append(names, b.Name)
		return nil
	})
	if err != nil {
		return 0, 0, "", err
	}
	slices.Sort(names)
	all := sha256.New()
	for _, name := range names {
		r, err := e.bucket.Open(ctx, name)
		if errors.Is(err, fault.ErrNotFound) { // a compaction that was under way has replaced it
			continue
		}
		if err != nil {
			return 0, 0, "", err
		}
		one := sha256.New()
		n, err := io.Copy(one, io.NewSectionReader(r, 0, r.Bytes()))
		if err = errors.Join(err, r.Close(), ctx.Err()); err != nil {
			return 0, 0, "", err
		}
		all.Write(one.Sum(nil))
		files, bytes = files+1, bytes+n
	}
	return files, bytes, hex.EncodeToString(all.Sum(nil)), nil
}

// eraseFiles removes the tablets, the folder and the exports of the user, and then the user. Once the user is gone
// their name is free, and the folder another's: it is not touched again.
func (e *Engine) eraseFiles(ctx context.Context, id manifest.UserID, x *erasure) error {
	u, ok := e.catalog.Snapshot().UserByID(id)
	if !ok {
		return nil
	}
	if err := e.quiet(ctx, id); err != nil {
		return err
	}
	err := e.eachTablet(u.Owner(), func(t manifest.Tablet) error {
		m, err := e.tablets.Manifest(ctx, t)
		if err == nil && m.Generation == 0 && e.hot.Stat(t.ID()) == (hotlog.TabletStats{}) {
			return nil
		}
		return e.tablets.Drop(ctx, t)
	})
	if err != nil {
		return err
	}
	if err := e.bucket.DeleteAll(ctx, manifest.UserDir(u.Name)); err != nil {
		return err
	}
	e.tasks.KillOwned(jobs.Export, id)
	if err := e.removeExports(ctx, id); err != nil {
		return err
	}
	return e.catalog.PurgeUser(ctx, id)
}

func (e *Engine) eraseLog(ctx context.Context, id manifest.UserID, _ *erasure) error {
	return e.hot.DropOwner(ctx, id)
}

// signErased makes the receipt, and writes the end of it to the audit log.
func (e *Engine) signErased(t jobs.Task, x *erasure) error {
	file, err := e.receipts.Sign(receipts.Receipt{ID: t.ID, Subject: t.Owner, Pseudonym: x.Pseudonym, By: t.By,
		Dropped: x.Dropped, Began: x.Began, Ended: time.Now().UnixMicro(), Tables: x.Tables, Files: x.Files, Bytes: x.Bytes,
		Digest: x.Digest, Exports: x.Exports})
	if err != nil {
		return err
	}
	if e.audits(actAdmin) {
		e.audit.Note(audit.Record{Kind: "USER ERASED", User: t.By, Target: t.Owner, TargetName: x.Pseudonym, Object: file,
			Rows: x.rows(), Outcome: "00000"})
	}
	e.log.Info("user erased", "user", uint64(t.Owner), "receipt", file, "files", x.Files, "bytes", x.Bytes)
	return nil
}
