package fsview

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// writebackAfter is how much is written in a row before the system is asked to
	// begin writing it out.
	writebackAfter = 512 << 10
	pageSize       = 4 << 10
)

// writeback has the disk begin with what is written in a row, so that a later
// sync waits for the rest only. It makes nothing durable and promises nothing.
type writeback struct {
	mu       sync.Mutex
	from, to int64 // written in a row and not yet asked for
}

// wrote takes note of n bytes written at off.
func (w *writeback) wrote(f *os.File, off, n int64) {
	w.mu.Lock()
	if off != w.to {
		w.from = off
	}
	w.to = off + n
	// Whole pages: the last one is about to change again.
	from, to := w.from, w.to&^(pageSize-1)
	due := to-from >= writebackAfter
	if due {
		w.from = to
	}
	w.mu.Unlock()
	if !due {
		return
	}
	// Without the flags that wait, the error of a write that fails stays for
	// the sync to find. This call's own only says that the file system leaves
	// all of the work to the sync.
	_ = withFD(f, func(fd int) error {
		return unix.SyncFileRange(fd, from, to-from, unix.SYNC_FILE_RANGE_WRITE)
	})
}
