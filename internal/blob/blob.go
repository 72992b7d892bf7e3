// Package blob is the seam to where files of history live: a folder today, an object store later. A blob is immutable
// once written, but for those replaced whole by PutIf. It knows nothing of what is in them.
package blob

import (
	"context"
	"io"
)

// Bucket keeps named blobs. Names are slash-separated, clean, relative paths. It is safe for concurrent use. Every
// write is durable, its folder entry included, when the call returns. A missing name is fault.ErrNotFound.
type Bucket interface {
	// Create begins a blob that becomes visible, whole and durable, when the writer's Commit returns; Abort or a crash
	// leaves nothing that List shows.
	Create(ctx context.Context, name string) (Writer, error)
	// PutIf writes a small blob whole if the stored one has this etag; "" means: only if there is none. The new etag is
	// returned. Another state is fault.ErrConflict.
	PutIf(ctx context.Context, name string, body []byte, etag string) (string, error)
	// Get reads a small blob whole, with its etag.
	Get(ctx context.Context, name string) (body []byte, etag string, err error)
	// Open reads ranges of a blob; it stays readable until Close although it is deleted meanwhile.
	Open(ctx context.Context, name string) (Reader, error)
	// List calls f for every blob whose name begins with the prefix, in no particular order.
	List(ctx context.Context, prefix string, f func(Entry) error) error
	// Delete removes a blob; one that is missing is no error.
	Delete(ctx context.Context, name string) error
	// DeleteAll removes everything in a folder, what crashed or aborted writers left included, and the folder: when it
	// returns nothing there has the folder's name any more. Nobody may write there meanwhile. A missing one is no error.
	DeleteAll(ctx context.Context, dir string) error
}

// Writer is a blob being written. It is for one goroutine.
type Writer interface {
	io.Writer
	// Commit makes the blob visible and durable.
	Commit() error
	// Abort gives it up; after Commit it does nothing.
	Abort() error
}

// Reader reads ranges of one blob. It is safe for concurrent use.
type Reader interface {
	io.ReaderAt
	io.Closer
	// Bytes is the blob's size.
	Bytes() int64
}

// Entry is one blob of a listing.
type Entry struct {
	Name  string
	Bytes int64
}
