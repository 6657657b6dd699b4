package daemon

import (
	"context"
	"errors"

	"github.com/emmansun/base64"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// perform has a request done, or its refusal recorded, and makes the reply.
// ok is false if there is none: the outcome is unknown because the daemon
// stops or its journal failed.
func (c *conn) perform(t *ticket) (r reply, ok bool) {
	ctx := c.s.patience
	c.paced(t)
	if t.cost > 0 && !c.afford(t) {
		// Nobody will read it; all that is owed is the record.
		t.refusal = actions.Errorf(actions.CodeRequest, "the connection was lost before it ran")
	}
	r, err := c.work(ctx, t)
	if err != nil {
		if _, told := errors.AsType[*actions.Error](err); !told {
			if t.paid {
				t.pool.release(&c.socket, t.cost)
			}
			return reply{}, false
		}
		r = c.s.failed(t, err)
	}
	r.big = t.cost > 0
	if t.paid {
		r.pool, r.cost = t.pool, int64(cap(r.text))
		t.pool.adjust(&c.socket, t.cost, r.cost)
	}
	return r, true
}

// paced waits for the bandwidth of a request that moves bytes of files: before
// anything is held that others wait for.
func (c *conn) paced(t *ticket) {
	if c.s.pace == nil || t.refusal != nil {
		return
	}
	in, out := c.s.engine.Moves(t.action)
	who := subjectOf(t.caller)
	err := c.s.pace.wait(c.s.life, c.gone, who, inward, in)
	if err == nil {
		err = c.s.pace.wait(c.s.life, c.gone, who, outward, out)
	}
	if err != nil {
		t.refusal = actions.Errorf(actions.CodeRequest, "there was no bandwidth before the connection or the daemon ended")
	}
}

// work is the request itself. Errors that are no *actions.Error mean that
// nobody knows the outcome.
func (c *conn) work(ctx context.Context, t *ticket) (reply, error) {
	if t.refusal != nil {
		if err := c.s.engine.Refuse(ctx, t.caller, t.req.ID, t.name(), t.refusal); err != nil {
			return reply{}, err
		}
		return reply{}, t.refusal
	}
	if t.req.Async {
		job, err := c.s.engine.Queue(ctx, t.call())
		if err != nil {
			return reply{}, err
		}
		return reply{text: panelwire.AppendAsync(c.s.bufs.get(smallBuffer), &t.req, job)}, nil
	}
	if chunk, ok := t.action.(*actions.DownloadChunk); ok && !t.paid && 0 <= chunk.From && chunk.From <= chunk.To && chunk.To-chunk.From <= actions.DownloadSpan {
		s, err := c.streamed(t, chunk)
		return reply{stream: s}, err
	}
	res, err := c.s.engine.Do(ctx, t.call())
	if err != nil {
		return reply{}, err
	}
	return c.s.ok(t, res), nil
}

// afford takes what the reply needs of the budgets for all connections. It
// reports whether somebody is still there to read it. Contents do not wait:
// without room they are made while they are written.
func (c *conn) afford(t *ticket) bool {
	select {
	case <-c.gone:
		return false
	default:
	}
	switch t.pool {
	case nil:
		return true
	case c.s.contents:
		t.paid = t.pool.try(&c.socket, t.cost)
		return true
	}
	t.paid = t.pool.take(&c.socket, t.cost)
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
		return panelwire.AppendOK(dst, &t.req, res, panelwire.Options{SplitListing: s.cfg.SplitListing, DownloadURL: s.tokens.downloadURL})
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

// release frees what a reply holds.
func (s *server) release(c *socket, r reply) {
	if r.cost > 0 {
		r.pool.release(c, r.cost)
	}
	s.bufs.put(r.text)
	if r.left != nil {
		r.left()
	}
}
