package daemon

import (
	"github.com/coder/websocket"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// ticket is one request from its arrival until its reply is queued.
type ticket struct {
	turn
	c *conn
	// req is what the reply is made from; it aliases no message. For an
	// upload frame only frame counts.
	req     panelwire.Request
	isFrame bool
	frame   sessions.ID

	caller  actions.Caller
	action  actions.Action // nil if refused
	refusal *actions.Error // nil if not
	msg     *message       // what action.Data aliases; nil if nothing
	left    func()         // lets the session's idle clock run again; nil if none

	// orderless requests are answered in order of arrival; counted ones are
	// pending and have their turn, others the reader answers itself.
	orderless bool
	counted   bool
	// reserved ones hold one of server.pendings.
	reserved bool
	reply    reply
	ready    bool // reply is there

	// cost is what the reply is expected to take, 0 if it is small; pool, if
	// not nil, is the budget of all connections it comes from.
	cost int64
	pool *budget
	paid bool // the pool has granted it
}

// submit takes in a request. It never blocks.
func (c *conn) submit(t *ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.counted = true
	c.pending++
	c.s.metrics.pending.Inc()
	c.queueUpLocked(t)
	if c.order.add(&t.turn) {
		c.admitLocked(t)
	}
}

func (c *conn) queueUpLocked(t *ticket) {
	if t.orderless {
		c.line = append(c.line, t)
	}
}

// admitLocked runs a request whose turn has come, or lets it wait for room.
func (c *conn) admitLocked(t *ticket) {
	if t.cost == 0 {
		c.startLocked([]*ticket{t})
		return
	}
	c.gate = append(c.gate, t)
	c.startLocked(c.pumpLocked(nil))
}

// pumpLocked appends to run the requests with large replies for which there
// is room now. Of those that are answered in order of arrival only the first
// may run: a later one's reply would take the room and wait for it.
func (c *conn) pumpLocked(run []*ticket) []*ticket {
	for i := 0; i < len(c.gate); {
		t := c.gate[i]
		if !c.dead && c.queued+c.making >= replyRoom {
			break
		}
		if !c.dead && t.orderless && c.line[0] != t {
			i++
			continue
		}
		c.gate = append(c.gate[:i], c.gate[i+1:]...)
		c.making += t.cost
		run = append(run, t)
	}
	return run
}

func (c *conn) startLocked(run []*ticket) {
	for _, t := range run {
		c.s.work.Add(1)
		go c.run(t)
	}
}

// run has a request done and queues its reply.
func (c *conn) run(t *ticket) {
	defer c.s.work.Done()
	r, ok := c.perform(t)
	t.msg.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.making -= t.cost
	c.answerLocked(t, r, ok)
	c.startLocked(c.pumpLocked(nil))
	c.room.Broadcast()
	c.stopIfDoneLocked()
}

// answerLocked queues a reply in its place. Without one the connection ends:
// nobody can say what became of the request.
func (c *conn) answerLocked(t *ticket, r reply, ok bool) {
	if !ok {
		r = reply{}
		c.shutLocked(closing{code: websocket.StatusGoingAway, reason: "daemon exit"})
	}
	r.left = t.left
	t.reply, t.ready = r, true
	if !t.orderless {
		c.deliverLocked(t)
		return
	}
	c.parked += r.len()
	for len(c.line) > 0 && c.line[0].ready {
		first := c.line[0]
		c.line[0] = nil
		c.line = c.line[1:]
		c.parked -= first.reply.len()
		c.deliverLocked(first)
	}
	if len(c.line) == 0 {
		c.line = nil
	}
	c.boundLocked()
}

// deliverLocked sends a request's reply: now those behind it may run.
func (c *conn) deliverLocked(t *ticket) {
	if t.reply.len() > 0 {
		c.sendLocked(t.reply)
	} else if t.reply.left != nil {
		t.reply.left()
	}
	t.reply = reply{}
	if !t.counted {
		return
	}
	c.pending--
	t.unreserve()
	c.s.metrics.pending.Dec()
	for _, next := range c.order.done(&t.turn, nil) {
		c.admitLocked(next.of)
	}
}

// unreserve counts the request as pending no more.
func (t *ticket) unreserve() {
	if t.reserved {
		t.reserved = false
		t.c.s.pendings.give(subjectOf(t.caller))
	}
}

// sendLocked queues a reply for the writer.
func (c *conn) sendLocked(r reply) {
	if c.queueLocked(r) {
		c.boundLocked()
	}
}

func (c *conn) boundLocked() {
	most := int64(maxSmallReplies)
	if c.loginBy.Load() != 0 {
		most = maxStrangerReplies
	}
	if c.small+c.parked > most {
		c.shutSlowLocked("too many replies unread")
	}
}

// taken is called by the engine when a chunk's bytes are written or refused:
// the message is free, and the next chunk may be looked at.
func (c *conn) taken(t *ticket) {
	t.msg.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, next := range c.order.took(&t.turn, nil) {
		c.admitLocked(next.of)
	}
}
