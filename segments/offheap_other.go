//go:build !unix

package segments

// mapPages gives n bytes of zeroed memory.
func mapPages(n int) ([]byte, error) { return make([]byte, n), nil }

// unmapPages forgets what the memory held.
func unmapPages(b []byte) { clear(b) }
