package hotlog

import "io"

// FS is the folder of the write-ahead log: the seam at which crash tests cut the power. Names have no separators. It is
// safe for concurrent use.
type FS interface {
	// Open opens a file for reading and writing and makes it when it is missing; a new file's entry is durable after
	// SyncDir.
	Open(name string) (File, error)
	// Remove deletes a file.
	Remove(name string) error
	// List names all files.
	List() ([]string, error)
	// SyncDir makes the entries of the folder durable.
	SyncDir() error
}

// File is one file of an FS. It is safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes written bytes, and the size that is needed to read them, durable (fdatasync).
	Sync() error
	// Bytes is the file's size.
	Bytes() (int64, error)
}
