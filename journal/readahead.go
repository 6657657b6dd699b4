package journal

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// readAhead has the segments' files read into the page cache from front to
// back, beside whoever walks their records: bbolt maps with MADV_RANDOM, so
// that without this every page of a cold file is a read of its own. It is at
// most one segment ahead. It asks the kernel to read instead of reading, which
// would copy: a seventh of the time of a warm replay.
type readAhead struct {
	begun chan struct{} // a token for every segment that was begun
	quit  chan struct{}
	wg    sync.WaitGroup
}

// at says that the segment at first is begun, and that records up to end will
// be read.
func (r *readAhead) at(dir string, first, end uint64) {
	if r.begun != nil {
		select {
		case r.begun <- struct{}{}:
		default: // far behind: no use in waking it
		}
		return
	}
	begun, quit := make(chan struct{}, 1), make(chan struct{})
	r.begun, r.quit = begun, quit
	r.wg.Go(func() {
		for seq := first; seq < end; seq += SegmentRecords {
			readThrough(filepath.Join(dir, segmentName(seq)), quit)
			if seq == first {
				continue
			}
			select {
			case <-begun:
			case <-quit:
				return
			}
		}
	})
}

func (r *readAhead) stop() {
	if r.quit != nil {
		close(r.quit)
	}
	r.wg.Wait()
}

// readThrough ends early at any error: who needs the bytes will meet it.
func readThrough(path string, quit <-chan struct{}) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return
	}
	for off := int64(0); off < info.Size(); off += readAheadStep {
		select {
		case <-quit:
			return
		default:
		}
		if unix.Fadvise(int(f.Fd()), off, readAheadStep, unix.FADV_WILLNEED) != nil {
			return
		}
	}
}
