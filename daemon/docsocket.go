package daemon

import (
	"context"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"

	"waybill/daemon/docwire"
)

// docConn is one connection of the document library over a WebSocket
// (CFMS.md §1.1). While it is idle it owns one goroutine, its reader; another
// one answers requests while there are any, in the order they came.
type docConn struct {
	socket

	session docSession // owned by whoever answers

	// mu guards what follows, too.

	known   bool          // a request showed who asks
	as      subject       // who that was
	waiting []*docMessage // read, and not begun
	held    int           // bytes of them
	serving bool          // somebody answers
	large   bool          // a reply of any size is queued
}

// docMessage is a message in its turn: a text, or how to close the connection
// on which it should not have been sent.
type docMessage struct {
	text  []byte
	wrong *closing
}

// upgradeDoc makes a WebSocket connection of a request. The handler returns when
// the handshake is done, so that all that HTTP needed for it goes.
func (s *server) upgradeDoc(w http.ResponseWriter, r *http.Request) {
	if !asksForWebSocket(r) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		text(w, http.StatusUpgradeRequired, "this is a WebSocket")
		return
	}
	ip := hostOf(r.RemoteAddr)
	full := s.connections.take(subject{}) != nil
	if !full && !s.reserve(&s.documents, true) {
		s.connections.give(subject{})
		full = true
	}
	if full {
		s.engine.CountRefused("document busy", ip)
		w.Header().Set("Retry-After", comeAgain)
		text(w, http.StatusServiceUnavailable, "too many connections")
		return
	}
	c := &docConn{session: newDocSession(s, r.RemoteAddr, "ws "+r.RemoteAddr)}
	c.init(s, c, peerOf(r), ip)
	c.via = c.session.via
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any origin: nothing here is authorised by cookies
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     c.onPing,
	})
	if err != nil { // it has answered
		s.acquainted(&s.documents)
		s.connections.give(subject{})
		return
	}
	c.ws = ws
	ws.SetReadLimit(-1) // the reader's: what is too long is told in its turn
	c.loginBy.Store(sinceStart() + int64(s.cfg.LoginWithin))
	s.start(c, &s.documents)
}

// asksForWebSocket tells a handshake, right or wrong, from a plain GET.
func asksForWebSocket(r *http.Request) bool {
	for _, v := range r.Header.Values("Upgrade") {
		for p := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(p), "websocket") {
				return true
			}
		}
	}
	return false
}

// read is the connection's own goroutine: it takes in one message after the
// other until the connection ends.
func (c *docConn) read() {
	defer c.s.work.Done()
	defer c.end()
	for {
		c.await()
		// Without a context that can end, a read costs no timer and no
		// goroutine; closing the connection ends it.
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return
		}
		m, err := c.take(kind, r)
		if err != nil {
			return
		}
		c.submit(m)
		if _, err := io.Copy(io.Discard, r); err != nil { // the rest of a wrong one
			return
		}
	}
}

// await waits while too many requests wait for their turn.
func (c *docConn) await() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.quitting && (len(c.waiting) >= maxDocWaiting || c.held >= maxDocHeld ||
		c.held > 0 && c.s.inbound.Load() > maxInboundAll) {
		c.pause()
		c.room.Wait()
	}
	c.resume()
}

// take reads one message as far as it is of use.
func (c *docConn) take(kind websocket.MessageType, r io.Reader) (*docMessage, error) {
	if kind != websocket.MessageText {
		return &docMessage{wrong: &closing{code: websocket.StatusUnsupportedData, reason: "text only"}}, nil
	}
	limit := c.limit()
	msg, err := io.ReadAll(io.LimitReader(r, limit+1))
	c.s.metrics.messageBytes.Add(float64(len(msg)))
	switch {
	case err != nil:
		return nil, err
	case int64(len(msg)) > limit:
		return &docMessage{wrong: &closing{code: websocket.StatusMessageTooBig, reason: "message too long"}}, nil
	case !utf8.Valid(msg):
		return &docMessage{wrong: &closing{code: websocket.StatusInvalidFramePayloadData, reason: "not UTF-8"}}, nil
	}
	return &docMessage{text: msg}, nil
}

// limit is the longest message there may be now.
func (c *docConn) limit() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return docwire.UserLimit
	}
	return docwire.StrangerLimit
}

// submit queues a message for its turn. It never blocks.
func (c *docConn) submit(m *docMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quitting || c.stopping {
		return
	}
	c.waiting = append(c.waiting, m)
	c.held += len(m.text)
	c.s.inbound.Add(int64(len(m.text)))
	c.s.metrics.pending.Inc()
	if !c.serving {
		c.serving = true
		c.s.work.Add(1)
		go c.serve()
	}
}

// serve answers what waits, and ends.
func (c *docConn) serve() {
	defer c.s.work.Done()
	for m := c.next(); m != nil; m = c.next() {
		if m.wrong != nil {
			c.s.engine.CountRefused("document message", c.ip)
			c.answer(docReply{then: docLeave}, m.wrong)
			continue
		}
		how := &closing{code: websocket.StatusNormalClosure}
		c.answer(c.session.do(c.s.life, &c.socket, m.text), how)
	}
}

// next takes the request whose turn it is; nil if there is none, and then nobody
// answers any more. While a reply of any size waits for its peer, no other is
// made.
func (c *docConn) next() *docMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.large && !c.quitting && !c.stopping {
		c.room.Wait()
	}
	if c.quitting || c.stopping || len(c.waiting) == 0 {
		c.serving = false
		c.forsakeLocked()
		c.stopIfDoneLocked()
		return nil
	}
	m := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	c.held -= len(m.text)
	c.s.inbound.Add(-int64(len(m.text)))
	c.room.Broadcast()
	return m
}

// forsakeLocked drops requests whose turn will not come. Nothing of them was
// done, and nobody was told otherwise.
func (c *docConn) forsakeLocked() {
	c.s.metrics.pending.Sub(float64(len(c.waiting)))
	c.s.inbound.Add(-int64(c.held))
	c.waiting, c.held = nil, 0
}

// answer queues a reply and does what follows it; how is for closing.
func (c *docConn) answer(r docReply, how *closing) {
	if r.known && !c.learn(r.user) && r.then == docStay { // before the reply leaves: the next message may be a long one
		r.then, how = docLeave, &closing{code: websocket.StatusTryAgainLater, reason: "too many connections"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.metrics.pending.Dec()
	if r.text != nil {
		c.sendLocked(r)
	}
	switch r.then {
	case docLeave:
		c.shutLocked(*how)
	case docGone:
		c.shutLocked(closing{code: websocket.StatusGoingAway, reason: "daemon exit"})
	case docLost:
		_ = c.peer.Close()
		c.quitLocked()
	}
}

// learn notes that the peer is no stranger any more. It returns false if that user
// has as many connections as one may: this one has to go.
func (c *docConn) learn(user string) bool {
	c.mu.Lock()
	first := !c.known && !c.dead // what is dead is forgotten as what it was
	fits := true
	if first {
		c.known = true
		c.loginBy.Store(0)
		as := subject{user, true}
		if fits = c.s.connections.move(subject{}, as) == nil; fits {
			c.as = as
		}
	}
	c.mu.Unlock()
	if first {
		c.s.acquainted(&c.s.documents)
	}
	return fits
}

func (c *docConn) sendLocked(r docReply) {
	out := reply{text: r.text, big: r.large}
	if r.large {
		out.cost, out.pool = r.cost, c.s.listings
		c.large = true
		out.left = func() { c.large = false } // mu is held
	}
	if r.then == docStop {
		out.left = c.s.quit
	}
	if c.queueLocked(out) && c.small > maxDocReplies {
		c.shutSlowLocked("too many replies unread")
	}
}

// roomLocked wakes whoever waits for a reply to be written.
func (c *docConn) roomLocked() { c.room.Broadcast() }

// stop accepts no further requests, and closes once the one being run has its
// reply.
func (c *docConn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.room.Broadcast()
	c.stopIfDoneLocked()
}

func (c *docConn) stopIfDoneLocked() {
	if c.stopping && !c.serving {
		c.shutLocked(closing{code: websocket.StatusGoingAway, reason: "daemon exit"})
	}
}

// end is the reader's last deed.
func (c *docConn) end() {
	c.over()
	c.mu.Lock()
	if !c.serving {
		c.forsakeLocked()
	}
	known, as := c.known, c.as
	c.mu.Unlock()
	c.s.forget(c, &c.s.documents, !known)
	c.s.connections.give(as)
}
