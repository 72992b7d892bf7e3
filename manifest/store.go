package manifest

import (
	"context"

	"kalamflight/internal/blob"
)

// Edit is a change to a manifest. Fields left at their zero value change nothing.
type Edit struct {
	// Add are new segments; Remove names segments that leave. A removed segment's files are deleted by the caller, once no reader needs them.
	Add    []Segment
	Remove []SegmentID
	// SetMarks replaces the mark file of segments that stay or are added; a nil value means that there is none.
	SetMarks map[SegmentID]*MarkFile
	// Flushed, Marked and Oldest are set when not nil; they never decrease.
	Flushed, Marked, Oldest *Seq
}

// Store reads and replaces the manifests of a bucket. It is safe for concurrent use.
type Store struct {
	bucket blob.Bucket
}

// OpenStore keeps manifests in the bucket.
func OpenStore(bucket blob.Bucket) *Store { return &Store{bucket: bucket} }

// Load is the tablet's manifest as last committed, from memory when it is there. A tablet without one, or with the leftover of a dropped
// table or user, has an empty manifest of generation 0.
func (s *Store) Load(ctx context.Context, t Tablet) (*Manifest, error) { return nil, nil }

// Commit applies the edit to base and makes the result durable, if base is still the tablet's newest manifest; else it is
// fault.ErrConflict.
func (s *Store) Commit(ctx context.Context, t Tablet, base *Manifest, e Edit) (*Manifest, error) {
	return nil, nil
}

// Drop removes the tablet's folder: first the manifest, then every other file.
func (s *Store) Drop(ctx context.Context, t Tablet) error { return nil }

// Owners lists the owners who have a manifest of the table: the zero Owner for a table that is not per user.
func (s *Store) Owners(ctx context.Context, t *Table) ([]Owner, error) { return nil, nil }
