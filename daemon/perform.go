package daemon

import (
	"encoding/base64"
	"errors"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// perform has a request done, or its refusal recorded, and makes the reply.
// ok is false if there is none: the outcome is unknown because the daemon
// stops or its journal failed.
func (c *conn) perform(t *ticket) (r reply, ok bool) {
	ctx := c.s.patience
	if t.cost > 0 && !c.room4(t) {
		// Nobody will read it; all that is owed is the record.
		t.refusal = actions.Errorf(actions.CodeRequest, "the connection was lost before it ran")
	}
	var res actions.Result
	var job sessions.ID
	var err error
	switch {
	case t.refusal != nil:
		if err = c.s.engine.Refuse(ctx, t.caller, t.req.ID, t.name(), t.refusal); err == nil {
			err = t.refusal
		}
	case t.req.Async:
		job, err = c.s.engine.Queue(ctx, t.call())
	default:
		res, err = c.s.engine.Do(ctx, t.call())
	}
	if err != nil {
		if _, told := errors.AsType[*actions.Error](err); !told {
			c.s.giveBack(t)
			return reply{}, false
		}
		r = c.s.failed(t, err)
	} else if t.req.Async {
		r = reply{text: panelwire.AppendAsync(c.s.bufs.get(smallBuffer), &t.req, job)}
	} else {
		r = c.s.ok(t, res)
	}
	r.big = t.cost > 0
	if t.paid {
		r.cost = int64(cap(r.text))
		c.s.budget.adjust(c, t.cost, r.cost)
	}
	return r, true
}

// room4 takes what the reply needs of the budget for all connections. It
// reports whether somebody is still there to read it.
func (c *conn) room4(t *ticket) bool {
	select {
	case <-c.gone:
		return false
	default:
	}
	if !t.shared {
		return true
	}
	t.paid = c.s.budget.take(c, t.cost)
	return t.paid
}

// name is the action as the journal names it.
func (t *ticket) name() string {
	if t.req.Async {
		return t.req.Action + "_async"
	}
	return t.req.Action
}

func (t *ticket) call() actions.Call {
	call := actions.Call{Caller: t.caller, Action: t.action, Ref: t.req.ID}
	if t.chunk {
		call.Took = func() { t.c.taken(t) }
	}
	return call
}

// ok renders a result.
func (s *server) ok(t *ticket, res actions.Result) reply {
	if t.isFrame {
		stored, _ := res.(*actions.ChunkStored)
		return reply{text: panelwire.AppendFrameReply(s.bufs.get(smallBuffer), t.frame, stored, nil)}
	}
	room := smallBuffer
	content, _ := res.(*actions.Content)
	if content != nil {
		if room = int(textRoom(int64(len(content.Bytes)), false)); content.Base64 {
			room = base64.StdEncoding.EncodedLen(len(content.Bytes)) + 512
		}
	}
	room = max(room, len(t.req.RawEcho)+len(t.req.RawID)+512)
	r := reply{text: s.fill(room, func(dst []byte) []byte {
		return panelwire.AppendOK(dst, &t.req, res, panelwire.Options{SplitListing: s.cfg.SplitListing})
	})}
	if content != nil && content.Release != nil {
		content.Release()
	}
	return r
}

// failed renders a refusal.
func (s *server) failed(t *ticket, err error) reply {
	if t.isFrame {
		return reply{text: panelwire.AppendFrameReply(s.bufs.get(smallBuffer), t.frame, nil, err)}
	}
	room := max(smallBuffer, len(t.req.RawEcho)+len(t.req.RawID)+2048)
	return reply{text: s.fill(room, func(dst []byte) []byte {
		return panelwire.AppendError(dst, &t.req, err)
	})}
}

// fill renders into a pooled buffer and keeps the buffer for others if it
// turned out too short.
func (s *server) fill(room int, render func(dst []byte) []byte) []byte {
	buf := s.bufs.get(room)
	text := render(buf)
	if cap(text) != cap(buf) {
		s.bufs.put(buf)
	}
	return text
}

// giveBack returns what a reply that was never made had been granted.
func (s *server) giveBack(t *ticket) {
	if t.paid {
		s.budget.release(t.c, t.cost)
	}
}

// release frees what a reply holds.
func (s *server) release(c *conn, r reply) {
	if r.cost > 0 {
		s.budget.release(c, r.cost)
	}
	s.bufs.put(r.text)
}
