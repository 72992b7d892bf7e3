package blob

import (
	"fmt"
	"strings"

	"kalamflight/internal/fault"
)

// maxNameBytes is the longest name of a blob; object stores take 1024.
const maxNameBytes = 1024

// tempSuffix ends the names of files that are not blobs yet; no blob may have such a name.
const tempSuffix = ".tmp~"

// CheckName refuses every name that is not a clean, relative, slash-separated path, with fault.ErrInvalid: no empty
// element, no `.` or `..`, no backslash, no NUL, no suffix that buckets use for themselves.
func CheckName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.ContainsAny(name, "\\\x00") ||
		strings.HasSuffix(name, tempSuffix) {
		return fmt.Errorf("blob name %q: %w", name, fault.ErrInvalid)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element == "." || element == ".." || len(element) > 255 {
			return fmt.Errorf("blob name %q: %w", name, fault.ErrInvalid)
		}
	}
	return nil
}
