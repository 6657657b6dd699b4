package daemon

import (
	"context"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// stranger answers a connection that is not logged in. Nothing of it is
// journaled singly; the totals are (DESIGN.md §3).
func (c *conn) stranger(t *ticket, q *query) {
	switch {
	case q.err != nil:
		c.s.engine.CountRefused("unreadable", c.ip)
		c.answer(t, c.s.failed(t, q.err))
	case q.is("ping"):
		spec, _ := actions.Lookup("ping")
		if _, err := panelwire.DecodeParams(spec, &q.req); err != nil {
			c.answer(t, c.s.failed(t, err))
			return
		}
		c.answer(t, c.s.ok(t, &actions.Pong{TimeMS: c.s.unixMS()}))
		c.s.metrics.action("ping", actions.CodeOK, 0)
	default:
		c.s.engine.CountRefused("unauthorized", c.ip)
		c.answer(t, c.s.failed(t, actions.Errorf(actions.CodeUnauthorized, "log in first")))
	}
}

// login checks a token that came in-band and from here on asks in its name.
// It is done by the reader, so that later requests see it.
func (c *conn) login(t *ticket, req *panelwire.Request) {
	token, err := panelwire.DecodeLogin(req)
	if err != nil {
		c.refuseLogin(t, refusalOf(err))
		return
	}
	caller, err := c.s.tokens.check(token)
	if err != nil {
		c.wrong++
		c.refuseLogin(t, actions.Errorf(actions.CodeUnauthorized, "the token is not valid"))
		if !c.known && c.wrong >= maxWrongTokens {
			c.shut(closeStranger, "not authenticated")
		}
		return
	}
	caller.Via = c.via
	as := subjectOf(caller)
	if full := c.s.connections.move(c.as, as); full != nil {
		if err := c.s.engine.Refuse(context.Background(), caller, t.req.ID, "login", full); err != nil {
			c.finish(t, reply{}, false)
			return
		}
		c.answer(t, c.s.failed(t, full))
		return
	}
	c.as = as
	if err := c.s.engine.Note(context.Background(), caller, t.req.ID, "login"); err != nil {
		c.finish(t, reply{}, false)
		return
	}
	c.caller = caller
	if !c.known {
		c.known = true
		c.loginBy.Store(0)
		c.ws.SetReadLimit(c.s.cfg.MaxMessage)
		c.s.acquainted(&c.s.panels)
	}
	c.s.metrics.action("login", actions.CodeOK, 0)
	c.answer(t, c.s.ok(t, actions.Empty{}))
}

// refuseLogin records a failed login and answers it. A stranger's are recorded
// singly at a bounded rate and counted beyond it.
func (c *conn) refuseLogin(t *ticket, refusal *actions.Error) {
	who := c.caller
	if !c.known {
		who = actions.Caller{Subject: unknownSubject, Via: c.via}
		c.s.engine.CountRefused("login", c.ip)
		if !c.s.failedLogins.Allow() {
			c.answer(t, c.s.failed(t, refusal))
			return
		}
	}
	err := c.s.engine.Refuse(context.Background(), who, t.req.ID, "login", refusal)
	if err != nil {
		c.finish(t, reply{}, false)
		return
	}
	c.answer(t, c.s.failed(t, refusal))
}

// unknownSubject stands in the journal for somebody without a valid token. No
// token can have it as its subject.
const unknownSubject = "?"

// answer queues a reply that was made by the reader itself.
func (c *conn) answer(t *ticket, r reply) { c.finish(t, r, true) }

// finish is answer for a request that may have no reply.
func (c *conn) finish(t *ticket, r reply, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queueUpLocked(t)
	c.answerLocked(t, r, ok)
}
