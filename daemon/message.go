package daemon

import (
	"errors"
	"io"
	"sync/atomic"
)

// message is a WebSocket message, read whole into one pooled buffer, from its
// first byte until nobody needs it any more.
type message struct {
	c        *conn
	buf      []byte
	slot     *slot // nil up to bigMessage
	released atomic.Bool
}

// errQuit ends the reading of a message on a connection that is to be closed.
var errQuit = errors.New("the connection is being closed")

// readMessage reads r to its end. Errors are the connection's, or errQuit with
// the rest unread.
func (c *conn) readMessage(r io.Reader) (*message, error) {
	m := &message{c: c}
	err := m.grow(max(classSize(0), min(c.expect, bigMessage)))
	for err == nil {
		var n int
		// The library fills what it is given before it returns. What exactly
		// fills the buffer may be all there is, so one byte is read aside
		// before it grows.
		if len(m.buf) < cap(m.buf) {
			n, err = r.Read(m.buf[len(m.buf):cap(m.buf)])
			m.buf = m.buf[:len(m.buf)+n]
			continue
		}
		if n, err = r.Read(c.aside[:]); n == 0 || err != nil {
			continue
		}
		next := classSize(class(cap(m.buf)) + 1)
		if next > bigMessage {
			next = max(next, c.expect)
		}
		if err = m.grow(next); err == nil {
			m.buf = append(m.buf, c.aside[0])
		}
	}
	if err != io.EOF {
		m.release()
		return nil, err
	}
	if m.slot != nil {
		c.s.slots.whole(m.slot)
	}
	c.expect = cap(m.buf)
	return m, nil
}

// grow moves the message into a buffer of n bytes, when there is room for it.
func (m *message) grow(n int) error {
	c := m.c
	if n > bigMessage && m.slot == nil {
		c.pause()
		if m.slot = c.s.slots.take(c); m.slot == nil {
			return errQuit
		}
		c.resume()
	}
	if !c.hold(int64(cap(m.buf)), int64(n)) {
		return errQuit
	}
	old := m.buf
	m.buf = append(c.s.bufs.get(n), old...)
	if old != nil {
		c.s.bufs.put(old)
	}
	return nil
}

// release gives back what the message holds. It may be called more than once,
// from several goroutines, and on nil.
func (m *message) release() {
	if m == nil || m.released.Swap(true) {
		return
	}
	c := m.c
	if m.slot != nil {
		c.s.slots.release(m.slot)
	}
	n := int64(cap(m.buf))
	if n > 0 {
		c.s.bufs.put(m.buf)
	}
	m.buf = nil
	c.s.inbound.Add(-n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbound -= n
	c.room.Broadcast()
}

// hold counts the bytes of a message that grows from had to n. It waits while
// the connection has others and all of them would be too many: those are worked
// on, so their room comes free. Only a connection that has others waits for the
// bound over all connections, so that nobody can be kept from his first one.
func (c *conn) hold(had, n int64) bool {
	more := n - had
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.quitting && c.inbound > had &&
		(c.inbound+more > maxInbound || c.s.inbound.Load()+more > maxInboundAll) {
		c.reading.Store(false)
		c.room.Wait()
	}
	if c.quitting {
		return false
	}
	c.resume()
	c.inbound += more
	c.s.inbound.Add(more)
	return true
}
