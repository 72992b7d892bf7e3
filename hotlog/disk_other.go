//go:build unix && !linux

package hotlog

import (
	"os"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

// punch overwrites a part of a file.
func punch(f *os.File, offset, bytes int64) error { return zeroRange(f, offset, bytes) }

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
