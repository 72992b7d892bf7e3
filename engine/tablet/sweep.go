package tablet

import (
	"context"
	"fmt"
	"path"

	"kalamflight/internal/blob"
	"kalamflight/manifest"
)

// manifestFile is the one file of a tablet's folder that is no part of a segment.
const manifestFile = "manifest.json"

// sweep deletes what a crash left in the folders of tablets: segments of commits that never got their place in the log,
// and files of flushes and compactions that no manifest names. It runs before anything is written.
func (s *Store) sweep(ctx context.Context) error {
	named, err := s.namedByLog(ctx)
	if err != nil {
		return err
	}
	folders := map[string][]string{}
	err = s.opts.Bucket.List(ctx, manifest.Root+"/", func(e blob.Entry) error {
		dir, base := path.Split(e.Name)
		if id, _, ok := manifest.ParseFile(base); ok && !named[id] || base == manifestFile {
			folders[dir] = append(folders[dir], base)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for dir, files := range folders {
		if len(files) == 1 && files[0] == manifestFile {
			continue
		}
		n, err := s.sweepFolder(ctx, dir, files)
		if err != nil {
			return fmt.Errorf("sweep %s: %w", dir, err)
		}
		if n > 0 {
			s.count.swept.Add(int64(n))
			s.log.Warn("orphans removed", "folder", dir, "files", n)
		}
	}
	return nil
}

// namedByLog are the segments of big commits that wait in the log for their manifest.
func (s *Store) namedByLog(ctx context.Context) (map[manifest.SegmentID]bool, error) {
	var ids []manifest.TabletID
	s.opts.Log.Tablets(func(id manifest.TabletID, stat tabletStats) bool {
		if stat.Segments > 0 {
			ids = append(ids, id)
		}
		return true
	})
	named := map[manifest.SegmentID]bool{}
	for _, id := range ids {
		tail, err := s.opts.Log.Scan(ctx, id, 0, s.opts.Log.Next())
		if err != nil {
			return nil, fmt.Errorf("sweep: tablet %s: %w", id, err)
		}
		for _, g := range tail.Segments {
			named[g.ID] = true
		}
		tail.Release()
	}
	return named, nil
}

// sweepFolder deletes those of a folder's files that its manifest does not name. A manifest that cannot be read saves
// them all.
func (s *Store) sweepFolder(ctx context.Context, dir string, files []string) (int, error) {
	named := map[string]bool{manifestFile: true}
	for _, base := range files {
		if base != manifestFile {
			continue
		}
		body, _, err := s.opts.Bucket.Get(ctx, dir+manifestFile)
		if err != nil {
			return 0, err
		}
		m, err := manifest.Decode(body)
		if err != nil {
			s.log.Error("manifest cannot be read", "folder", dir, "err", err)
			return 0, nil
		}
		for _, g := range m.Segments {
			named[path.Base(manifest.SegmentFile(dir, g.ID))] = true
			if g.Marks != nil {
				named[path.Base(manifest.MarkFileName(dir, g.ID, g.Marks.Generation))] = true
			}
		}
	}
	n := 0
	for _, base := range files {
		if named[base] {
			continue
		}
		if err := s.opts.Bucket.Delete(ctx, dir+base); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
