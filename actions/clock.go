package actions

import (
	"sync"
	"time"

	"waybill/sessions"
)

// clock measures a session's idleness: it restarts with every request,
// refused ones too, and stands still while any is pending. It has a lock of
// its own, which is never held for long: sockets touch it as requests arrive
// and as answers leave.
type clock struct {
	tick    sync.Mutex
	pending int
	last    time.Time
}

func (c *clock) begin(now time.Time) {
	c.tick.Lock()
	defer c.tick.Unlock()
	c.pending++
	c.last = now
}

func (c *clock) end(now time.Time) {
	c.tick.Lock()
	defer c.tick.Unlock()
	c.pending--
	c.last = now
}

func (c *clock) restart(now time.Time) {
	c.tick.Lock()
	defer c.tick.Unlock()
	c.last = now
}

// left is what remains of idle at now.
func (c *clock) left(idle time.Duration, now time.Time) time.Duration {
	return max(0, idle-c.quiet(now))
}

// quiet is how long nothing has been asked, 0 while something is pending.
func (c *clock) quiet(now time.Time) time.Duration {
	c.tick.Lock()
	defer c.tick.Unlock()
	if c.pending > 0 {
		return 0
	}
	return now.Sub(c.last)
}

func (c *clock) waiting() bool {
	c.tick.Lock()
	defer c.tick.Unlock()
	return c.pending > 0
}

// Arrived stops the idle clock of the session that an action names, if it is
// live, until what it returns is called: from a request's arrival until its
// answer has left, however long it waits for its turn or for a slow reader.
func (e *Engine) Arrived(a Action) (left func()) {
	id, ok := sessionOf(a)
	if !ok {
		return func() {}
	}
	return e.stopClock(id)
}

// stopClock stops the idle clock of a session, if it is live, until what it
// returns is called.
func (e *Engine) stopClock(id sessions.ID) (restart func()) {
	var c *clock
	e.mu.Lock()
	if u := e.uploads[id]; u != nil {
		c = &u.clock
	} else if d := e.downloads[id]; d != nil {
		c = &d.clock
	}
	e.mu.Unlock()
	if c == nil {
		return func() {}
	}
	c.begin(e.cfg.Now())
	return func() { c.end(e.cfg.Now()) }
}

// sessionOf is the session an action names.
func sessionOf(a Action) (sessions.ID, bool) {
	switch a := a.(type) {
	case *DownloadChunk:
		return a.Session, true
	case *DownloadClose:
		return a.Session, true
	}
	return uploadOf(a)
}
