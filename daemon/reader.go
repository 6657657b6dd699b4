package daemon

import (
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// read is the connection's own goroutine: it takes in one message after the
// other until the connection ends.
func (c *conn) read() {
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
		m, err := c.readMessage(r)
		c.pause()
		switch {
		case err == nil:
			c.handle(kind, m)
		case errors.Is(err, errQuit):
			c.resume()
			if _, err = io.Copy(io.Discard, r); err != nil {
				return
			}
		case errors.Is(err, websocket.ErrMessageTooBig):
			// The library has sent the close frame.
			c.mute()
			c.oversized()
			c.peer.finish(c.s.cfg.CloseWithin)
			return
		default:
			return
		}
	}
}

// await waits while too many answers wait for an earlier one's turn.
func (c *conn) await() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.quitting && len(c.line) > maxLine {
		c.room.Wait()
	}
	c.resume()
}

// oversized records a message that was too long to be read: it was a request,
// and every request leaves a record.
func (c *conn) oversized() {
	if !c.known {
		c.s.engine.CountRefused("unreadable", c.ip)
		return
	}
	refusal := actions.Errorf(actions.CodeBadRequest, "a message over %d bytes", c.s.cfg.MaxMessage)
	// An error means that the daemon is ending; the connection is anyway.
	_ = c.s.engine.Refuse(c.s.patience, c.caller, "", "", refusal)
}

// handle takes one message from its bytes to a request that is answered,
// refused or under way. It belongs to the reader.
func (c *conn) handle(kind websocket.MessageType, m *message) {
	c.s.metrics.messageBytes.Add(float64(len(m.buf)))
	c.mu.Lock()
	ignore := c.quitting || c.stopping
	many := c.pending >= c.s.cfg.MaxPending
	c.mu.Unlock()
	if ignore {
		m.release()
		return
	}
	var q query
	if kind == websocket.MessageText {
		q.req, q.err = panelwire.DecodeText(m.buf)
	} else {
		q.req, q.frame, q.err = panelwire.DecodeBinary(m.buf)
	}
	t := c.ticket(&q)
	switch {
	case q.is("login"):
		c.login(t, &q.req)
		m.release()
		return
	case !c.known:
		c.stranger(t, &q)
		m.release()
		return
	}
	if !q.is("ping") { // never refused for want of room, and mostly answered here
		q.full = c.fits(many)
		t.reserved = q.full == nil
	}
	t.refusal = t.judge(&q)
	t.price()
	if a, ok := t.action.(*actions.UploadChunk); ok {
		t.msg = m
		if len(a.Data) <= copySmall {
			a.Data = append([]byte(nil), a.Data...)
			m.release()
		}
	} else {
		m.release()
	}
	switch _, ping := t.action.(actions.Ping); {
	case ping && t.cost == 0:
		c.answer(t, c.s.ok(t, &actions.Pong{TimeMS: c.s.unixMS()}))
		c.s.metrics.action("ping", actions.CodeOK, 0)
	case q.full != nil && t.refusal != nil:
		// Done here, a flood waits for its own refusals.
		r, ok := c.perform(t)
		c.finish(t, r, ok)
	default:
		if t.action != nil {
			t.left = c.s.engine.Arrived(t.action)
		}
		c.submit(t)
	}
}

// query is a message with its envelope read.
type query struct {
	req   panelwire.Request
	frame *panelwire.Frame // of an upload frame, which has no envelope
	err   error            // why it could not be read
	full  *actions.Error   // there are as many requests as there may be; nil if not
}

// fits counts one more pending request of the caller: nil, or why there may not be
// one more. many: the connection has as many as it may.
func (c *conn) fits(many bool) *actions.Error {
	if many {
		c.s.metrics.limited("pending_per_connection")
		return actions.Errorf(actions.CodeRateLimit, "%d requests are pending", c.s.cfg.MaxPending)
	}
	return c.s.pendings.take(subjectOf(c.caller))
}

// is reports whether the message is a readable request for a plain action.
func (q *query) is(action string) bool {
	return q.err == nil && q.frame == nil && q.req.Action == action && !q.req.Async
}

// ticket makes a request of what the reply needs; it aliases no message.
func (c *conn) ticket(q *query) *ticket {
	t := &ticket{c: c, caller: c.caller}
	t.turn.of = t
	if q.frame != nil {
		t.isFrame, t.frame, t.orderless = true, q.frame.FileID, true
		t.req.Action = "file_upload_chunk" // what its record says
		return t
	}
	t.req = panelwire.Request{
		Envelope: q.req.Envelope, ID: q.req.ID, Action: q.req.Action, Async: q.req.Async,
		RawID: clone(q.req.RawID), RawEcho: clone(q.req.RawEcho),
	}
	t.orderless = q.req.Orderless()
	return t
}

// clone keeps nil apart from empty: nil is an absent echo.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// judge checks everything that can go wrong before an action runs, in the
// order of PROTOCOL.md §2.3, and fills in the action if nothing does.
func (t *ticket) judge(q *query) *actions.Error {
	if q.err != nil {
		return refusalOf(q.err)
	}
	spec, ok := actions.Lookup(t.req.Action)
	switch {
	case !ok:
		return actions.Errorf(actions.CodeUnknownAction, "%.64q", t.req.Action)
	case spec.Unavailable:
		return actions.Errorf(actions.CodeUnavailable, "%s is not offered here", spec.Name)
	case t.req.Async && !spec.Async:
		return actions.Errorf(actions.CodeUnknownAction, "%s cannot run in the background", spec.Name)
	case !t.caller.Permissions.Allow(spec.Permission):
		return actions.Errorf(actions.CodePermission, "needs %s", spec.Permission)
	case q.full != nil:
		return q.full
	}
	var a actions.Action
	var err error
	if q.frame != nil {
		a, err = q.frame.Chunk()
	} else {
		a, err = panelwire.DecodeParams(spec, &q.req)
	}
	if err != nil {
		return refusalOf(err)
	}
	t.action = a
	_, t.chunk = a.(*actions.UploadChunk)
	t.chunk = t.chunk && !t.req.Async
	// Both keys: a session's own, by which its later requests know it, and
	// its target's while it is live.
	t.keys = [2]string{a.Key(), t.c.s.engine.OrderKey(a)}
	return nil
}

func refusalOf(err error) *actions.Error {
	if e, ok := errors.AsType[*actions.Error](err); ok {
		return e
	}
	return actions.Errorf(actions.CodeUnexpected, "")
}

// price says how much room the reply needs before it is made.
func (t *ticket) price() {
	if n := len(t.req.RawID) + len(t.req.RawEcho); n > bigEcho {
		t.cost, t.pool = int64(n), t.c.s.listings
	}
	if t.req.Async {
		return
	}
	switch a := t.action.(type) {
	case *actions.DownloadChunk:
		t.cost, t.pool = t.cost+contentRoom(a.To-a.From, a.Base64), t.c.s.contents
	case *actions.DirectoryInfo, actions.TransferList:
		t.cost, t.pool = t.cost+listingCost, t.c.s.listings
	case *actions.UploadStatusOf, *actions.JobOf:
		t.cost += statusCost
	}
}

// contentRoom is the room for n bytes of a file and their text: as UTF-16 code
// units random bytes take half as much again, in base64 a third.
func contentRoom(n int64, isBase64 bool) int64 { return n + textRoom(n, isBase64) }

func textRoom(n int64, isBase64 bool) int64 {
	if isBase64 {
		return n*4/3 + 512
	}
	return n + n*3/4 + 512
}
