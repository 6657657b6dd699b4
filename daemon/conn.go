package daemon

import (
	"github.com/coder/websocket"

	"waybill/actions"
)

// conn is one connection of a panel. While it is idle it owns one goroutine,
// its reader, and neither timer nor buffer beyond the library's. A writer
// runs only while there is something to write, a goroutine for a request only
// from when it may run until its reply is queued.
type conn struct {
	socket

	// Owned by the reader.
	caller actions.Caller
	known  bool // logged in, or came with a token
	as     subject
	wrong  int // wrong tokens so far
	aside  [1]byte
	expect int // the buffer the last message took: the next is often like it

	// mu guards what follows, too.

	order   order
	pending int       // requests that have no reply yet
	gate    []*ticket // requests with large replies that may run but for room
	making  int64     // what their running ones are expected to take
	line    []*ticket // requests with neither id nor echo, in order of arrival
	parked  int64     // bytes of replies in line that wait for earlier ones
	inbound int64     // bytes of messages being read or worked on
}

func newConn(s *server, p *peer, ip string) *conn {
	c := new(conn)
	c.init(s, c, p, ip)
	return c
}

// stop accepts no further requests, and closes once those that were have
// their replies.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.stopIfDoneLocked()
}

func (c *conn) stopIfDoneLocked() {
	if c.stopping && c.pending == 0 {
		c.shutLocked(closing{code: websocket.StatusGoingAway, reason: "daemon exit"})
	}
}

// roomLocked lets run what waited for room.
func (c *conn) roomLocked() { c.startLocked(c.pumpLocked(nil)) }

// end is the reader's last deed: nothing will be written any more.
func (c *conn) end() {
	// What waits for room in the replies would wait for ever; it runs into
	// nothing now, and leaves its record.
	c.over()
	c.s.forget(c, &c.s.panels, !c.known)
	c.s.connections.give(c.as)
}
