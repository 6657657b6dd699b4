package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// shelf holds the directory's lock and its open segments. Sealed ones are
// opened when somebody wants to read them, and closed again, the longest
// unused first, when more than keep lie about.
type shelf struct {
	dir  string
	lock *os.File
	keep int

	mu sync.Mutex
	// What follows is guarded by mu.
	closed bool
	first  uint64 // the oldest record held
	open   map[uint64]*shelved
	clock  uint64
}

type shelved struct {
	once sync.Once // opens
	seg  *segment
	err  error
	refs int    // guarded by shelf.mu
	used uint64 // guarded by shelf.mu
}

// openShelf locks dir: exclusively to write, shared to read only.
func openShelf(dir string, readOnly bool) (*shelf, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if readOnly {
		how = unix.LOCK_SH
	}
	for until := time.Now().Add(lockTimeout); ; time.Sleep(lockRetry) {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return &shelf{dir: dir, lock: f, keep: sealedOpen, open: map[uint64]*shelved{}}, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(until) {
			break
		}
	}
	_ = f.Close() // only a lock that was not got
	if err == unix.EWOULDBLOCK {
		return nil, &os.PathError{Op: "lock", Path: dir, Err: ErrLocked}
	}
	return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
}

// held says ErrPruned of a record before the oldest.
func (s *shelf) held(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heldLocked(seq)
}

func (s *shelf) heldLocked(seq uint64) error {
	if seq < s.first {
		return fmt.Errorf("record %d: %w: the oldest is %d", seq, ErrPruned, s.first)
	}
	return nil
}

// cut says that the oldest record held is first. Who has a segment before it
// may go on reading it until give.
func (s *shelf) cut(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = first
	for at, h := range s.open {
		if at < first && h.refs == 0 {
			delete(s.open, at)
			_ = h.seg.close() // nothing of it is unwritten
		}
	}
}

// take gives the segment that begins at first; give must follow.
func (s *shelf) take(first uint64) (*segment, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if err := s.heldLocked(first); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	h := s.open[first]
	if h == nil {
		h = &shelved{}
		s.open[first] = h
	}
	h.refs++
	s.mu.Unlock()
	h.once.Do(func() { h.seg, h.err = openSegment(s.dir, first, true) })
	if h.err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		h.refs--
		if s.open[first] == h {
			delete(s.open, first)
		}
		// It may have been pruned while it was being opened.
		if err := s.heldLocked(first); err != nil {
			return nil, err
		}
		return nil, h.err
	}
	return h.seg, nil
}

// give ends a take or a put.
func (s *shelf) give(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[seg.first]
	if h == nil {
		return // closed meanwhile
	}
	h.refs--
	s.clock++
	h.used = s.clock
	if h.refs == 0 && seg.first < s.first {
		delete(s.open, seg.first)
		_ = seg.close() // nothing of it is unwritten
		return
	}
	idle, oldest := 0, (*shelved)(nil)
	for _, o := range s.open {
		if o.refs > 0 {
			continue
		}
		idle++
		if oldest == nil || o.used < oldest.used {
			oldest = o
		}
	}
	if idle > s.keep {
		// Under mu, so that nobody opens the file before its lock is free.
		delete(s.open, oldest.seg.first)
		_ = oldest.seg.close() // nothing of it is unwritten
	}
}

// put adds a segment that is open for writing and keeps it until give.
func (s *shelf) put(seg *segment) {
	h := &shelved{seg: seg, refs: 1}
	h.once.Do(func() {})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[seg.first] = h
}

// close closes every segment, waiting for the transactions that read them,
// and gives the lock back.
func (s *shelf) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for first, h := range s.open {
		h.once.Do(func() { h.err = ErrClosed }) // or wait for one that is opening
		if h.err == nil {
			errs = append(errs, h.seg.close())
		}
		delete(s.open, first)
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// notOpen turns what bbolt says after close into what we say.
func notOpen(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) || errors.Is(err, bolterrors.ErrInvalidMapping) {
		return ErrClosed
	}
	return err
}

// blocks gives the bytes that a file of the directory occupies.
func (s *shelf) blocks(name string) int64 {
	var st unix.Stat_t
	if unix.Stat(filepath.Join(s.dir, name), &st) != nil {
		return 0 // pruned or not yet there
	}
	return st.Blocks * 512
}
