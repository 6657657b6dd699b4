package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// socket is a WebSocket connection, whatever is said on it: what is queued for
// its peer and who writes that, its pings, and its end. While nothing happens it
// costs its kind's one goroutine, the reader, and neither timer nor buffer
// beyond the library's; a writer runs only while there is something to write.
type socket struct {
	s    *server
	ws   *websocket.Conn
	peer *peer
	kind kind
	// ip is the peer's address, via that with its port and the transport, as
	// it stands in the journal.
	ip, via string
	// quit is closed when the connection is to be closed: the reader waits for
	// nothing any more. gone is closed when the reader has ended: nothing more
	// can be written.
	quit, gone chan struct{}

	// reading is true while the reader waits for the peer: only then is the
	// peer's silence its own.
	reading atomic.Bool
	// loginBy is when a stranger is closed, as sinceStart tells; 0 once known.
	loginBy atomic.Int64
	// drained counts the reply bytes the peer took.
	drained atomic.Int64

	// mu guards what follows. Nothing blocks while it is held.
	mu sync.Mutex
	// room wakes the reader when what it waits for has shrunk.
	room sync.Cond

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

// kind is a connection over a socket, of a panel or of the document library.
type kind interface {
	// roomLocked is called when a reply has been written, or never will be: what
	// waited for room may run.
	roomLocked()
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

// init makes c the socket of a connection of some kind.
func (c *socket) init(s *server, of kind, p *peer, ip string) {
	c.s, c.kind, c.peer, c.ip = s, of, p, ip
	c.quit, c.gone = make(chan struct{}), make(chan struct{})
	c.room.L = &c.mu
	c.pinged = sinceStart()
}

// proven tells whether the peer has shown that it reads.
func (c *socket) proven() bool { return c.drained.Load() >= provenBytes }

// lost is closed when nothing more can be written.
func (c *socket) lost() <-chan struct{} { return c.gone }

// stuckFor reports whether something is queued and the peer took no byte for d.
func (c *socket) stuckFor(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued > 0 && c.peer.stalledFor(d)
}

// shut closes the connection with a code: what is queued is written first.
func (c *socket) shut(code websocket.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutLocked(closing{code: code, reason: reason})
}

// shutSlow closes a peer that does not keep up, best effort: it may not even
// take the close frame.
func (c *socket) shutSlow(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutSlowLocked(reason)
}

func (c *socket) shutSlowLocked(reason string) {
	if c.closing == nil || !c.closing.drop {
		c.s.metrics.slowClosed.Inc()
	}
	c.shutLocked(closing{code: closeSlow, reason: reason, drop: true})
}

func (c *socket) shutLocked(how closing) {
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

// mute keeps the writer from writing behind a close frame.
func (c *socket) mute() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quitLocked()
	c.dropQueueLocked()
	c.muted = true
}

// kill ends the connection without a word; reader and writer fail and end.
func (c *socket) kill() {
	_ = c.peer.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quitLocked()
}

func (c *socket) quitLocked() {
	if !c.quitting {
		c.quitting = true
		close(c.quit)
		c.room.Broadcast()
	}
}

// onPing is called by the library, in the reader. The pong is the writer's.
func (c *socket) onPing(_ context.Context, payload []byte) bool {
	c.gotPing(payload)
	return false
}

// over is the end of the reader: nothing will be written any more.
func (c *socket) over() {
	c.mu.Lock()
	c.dead = true
	c.quitLocked()
	close(c.gone)
	c.dropQueueLocked()
	c.kind.roomLocked()
	c.mu.Unlock()
	_ = c.ws.CloseNow() // waits for a writer that is in the closing handshake
}

func (c *socket) dropQueueLocked() {
	for _, r := range c.queue {
		c.dropLocked(r)
	}
	c.queue = nil
}

// dropLocked forgets a reply that was written, or never will be.
func (c *socket) dropLocked(r reply) {
	c.queued -= r.len()
	if !r.big {
		c.small -= r.len()
	}
	c.s.release(c, r)
}

// pause and resume say whose silence it is: the peer's, or ours.
func (c *socket) pause() { c.reading.Store(false) }

func (c *socket) resume() {
	if !c.reading.Swap(true) {
		c.peer.touch()
	}
}
