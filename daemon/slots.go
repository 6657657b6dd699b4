package daemon

import (
	"slices"
	"sync"
	"time"
)

// slots are the places for messages over bigMessage: only so many are in
// memory at one time, the others wait after their first MiB.
type slots struct {
	mu      sync.Mutex
	free    int
	holders []*slot
	waiting []*slot
}

// slot is a place, held or waited for.
type slot struct {
	c       *conn
	granted chan struct{}
	// reading is true until the message is whole: what it waits for then is
	// its sender.
	reading bool
}

func newSlots(n int) *slots { return &slots{free: n} }

// take waits for a place. It returns nil if c is to be closed meanwhile.
func (s *slots) take(c *conn) *slot {
	sl := &slot{c: c, granted: make(chan struct{}), reading: true}
	s.mu.Lock()
	s.waiting = append(s.waiting, sl)
	s.serve()
	s.mu.Unlock()
	select {
	case <-sl.granted:
		return sl
	case <-c.quit:
		s.release(sl)
		return nil
	}
}

// whole notes that the message in the slot has been read.
func (s *slots) whole(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl.reading = false
}

// release frees a place, or stops waiting for it.
func (s *slots) release(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, sl); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return
	}
	if i := slices.Index(s.holders, sl); i >= 0 {
		s.holders = slices.Delete(s.holders, i, i+1)
		s.free++
		s.serve()
	}
}

func (s *slots) serve() {
	for s.free > 0 && len(s.waiting) > 0 {
		sl := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.holders = append(s.holders, sl)
		s.free--
		// Its peer was not read from while it waited.
		sl.c.peer.touch()
		close(sl.granted)
	}
}

// stalled returns the connections that hold a place others wait for though
// their peer sent nothing for so long.
func (s *slots) stalled(d time.Duration) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	var list []*conn
	for _, sl := range s.holders {
		if sl.reading && sl.c.reading.Load() && sl.c.peer.silentFor(d) {
			list = append(list, sl.c)
		}
	}
	return list
}
