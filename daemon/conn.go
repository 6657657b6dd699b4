package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"waybill/actions"
)

// conn is one WebSocket connection. While it is idle it owns one goroutine,
// its reader, and neither timer nor buffer beyond the library's. A writer
// runs only while there is something to write, a goroutine for a request only
// from when it may run until its reply is queued.
type conn struct {
	s    *server
	ws   *websocket.Conn
	peer *peer
	// ip is the peer's address, via that with its port and the transport, as
	// it stands in the journal.
	ip, via string
	// quit is closed when the connection is to be closed: the reader waits for
	// nothing any more. gone is closed when the reader has ended: nothing more
	// can be written.
	quit, gone chan struct{}

	// Owned by the reader.
	caller actions.Caller
	known  bool // logged in, or came with a token
	wrong  int  // wrong tokens so far
	aside  [1]byte
	expect int // the buffer the last message took: the next is often like it

	// reading is true while the reader waits for the peer: only then is the
	// peer's silence its own.
	reading atomic.Bool
	// loginBy is when a stranger is closed, as sinceStart tells; 0 once known.
	loginBy atomic.Int64
	// drained counts the reply bytes the peer took.
	drained atomic.Int64

	// mu guards what follows. Nothing blocks while it is held.
	mu sync.Mutex
	// room wakes the reader when inbound, line or queue have shrunk.
	room sync.Cond

	order   order
	pending int       // requests that have no reply yet
	gate    []*ticket // requests with large replies that may run but for room
	making  int64     // what their running ones are expected to take
	line    []*ticket // requests with neither id nor echo, in order of arrival
	parked  int64     // bytes of replies in line that wait for earlier ones
	inbound int64     // bytes of messages being read or worked on

	queue   []reply
	queued  int64 // bytes in queue, the one being written included
	small   int64 // those of small replies
	writing bool  // the writer runs
	pingDue bool
	pong    []byte // to be sent, nil if none
	pinged  int64  // when the last ping was due, as sinceStart tells

	closing  *closing // how it is to be closed, nil if not
	quitting bool     // set with quit
	muted    bool     // a close frame is out: nothing may follow
	dead     bool     // set with gone
	stopping bool     // accepts no further requests
}

// closing is why and how a connection is closed.
type closing struct {
	code   websocket.StatusCode
	reason string
	// drop discards what is queued; otherwise it is written first.
	drop bool
}

// The close codes of PROTOCOL.md §1 that are not WebSocket's own.
const (
	closeStranger websocket.StatusCode = 4401
	closeSlow     websocket.StatusCode = 4408
)

// reply is one text frame on its way out: text, or made while it is written.
type reply struct {
	text   []byte
	stream *stream
	// cost is what it holds of pool, 0 if small.
	cost int64
	pool *budget
	// big marks replies that waited for room before they were made.
	big bool
	// left, if not nil, is told when the reply has been written, or never
	// will be: until then its session is not idle.
	left func()
}

func (r *reply) len() int64 {
	if r.stream != nil {
		return r.stream.size
	}
	return int64(len(r.text))
}

func newConn(s *server, p *peer, ip string) *conn {
	c := &conn{s: s, peer: p, ip: ip, quit: make(chan struct{}), gone: make(chan struct{})}
	c.room.L = &c.mu
	c.pinged = sinceStart()
	return c
}

// proven tells whether the peer has shown that it reads.
func (c *conn) proven() bool { return c.drained.Load() >= provenBytes }

// stuckFor reports whether something is queued and the peer took no byte for d.
func (c *conn) stuckFor(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued > 0 && c.peer.stalledFor(d)
}

// shut closes the connection with a code: what is queued is written first.
func (c *conn) shut(code websocket.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutLocked(closing{code: code, reason: reason})
}

// shutSlow closes a peer that does not keep up, best effort: it may not even
// take the close frame.
func (c *conn) shutSlow(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutSlowLocked(reason)
}

func (c *conn) shutSlowLocked(reason string) {
	if c.closing == nil || !c.closing.drop {
		c.s.metrics.slowClosed.Inc()
	}
	c.shutLocked(closing{code: closeSlow, reason: reason, drop: true})
}

func (c *conn) shutLocked(how closing) {
	if c.dead || c.muted || c.closing != nil && (c.closing.drop || !how.drop) {
		return
	}
	c.closing = &how
	if how.drop {
		c.dropQueueLocked()
		// A frame may be stuck half-way: no close frame can follow it then.
		time.AfterFunc(c.s.cfg.CloseWithin, c.kill)
	}
	c.quitLocked()
	c.wakeWriterLocked()
}

// kill ends the connection without a word; reader and writer fail and end.
func (c *conn) kill() {
	_ = c.peer.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quitLocked()
}

func (c *conn) quitLocked() {
	if !c.quitting {
		c.quitting = true
		close(c.quit)
		c.room.Broadcast()
	}
}

// onPing is called by the library, in the reader. The pong is the writer's.
func (c *conn) onPing(_ context.Context, payload []byte) bool {
	c.gotPing(payload)
	return false
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

// end is the reader's last deed: nothing will be written any more.
func (c *conn) end() {
	c.mu.Lock()
	c.dead = true
	c.quitLocked()
	close(c.gone)
	c.dropQueueLocked()
	// What waits for room in the replies would wait for ever; it runs into
	// nothing now, and leaves its record.
	c.startLocked(c.pumpLocked(nil))
	c.mu.Unlock()
	_ = c.ws.CloseNow() // waits for a writer that is in the closing handshake
	c.s.forget(c)
}

func (c *conn) dropQueueLocked() {
	for _, r := range c.queue {
		c.dropLocked(r)
	}
	c.queue = nil
}

// dropLocked forgets a reply that was written, or never will be.
func (c *conn) dropLocked(r reply) {
	c.queued -= r.len()
	if !r.big {
		c.small -= r.len()
	}
	c.s.release(c, r)
}
