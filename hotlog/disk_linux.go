package hotlog

import (
	"errors"
	"os"
	"syscall"
)

func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// The modes of fallocate.
const (
	keepSize  = 1
	punchHole = 2
)

// punch gives a part of a file back to the file system: it reads as zeros.
func punch(f *os.File, offset, bytes int64) error {
	err := syscall.Fallocate(int(f.Fd()), keepSize|punchHole, offset, bytes)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return zeroRange(f, offset, bytes)
	}
	return err
}

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
