//go:build unix

package segments

import "syscall"

// mapPages gives n bytes of zeroed memory outside of the Go heap, so that a large cache neither makes the garbage
// collector run later nor gives it more to do.
func mapPages(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// unmapPages gives the memory back to the system, which never shows its bytes to anybody again. It fails only when b
// is not what mapPages gave.
func unmapPages(b []byte) { _ = syscall.Munmap(b) }
