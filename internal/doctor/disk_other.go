//go:build !unix

package doctor

import (
	"errors"
	"io/fs"
)

// freeBytes is not known on this system.
func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

// ownerOf is not known on this system.
func ownerOf(fs.FileInfo) (int, bool) { return 0, false }
