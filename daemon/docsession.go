package daemon

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"waybill/actions"
	"waybill/daemon/docwire"
	"waybill/fsview/acl"
)

// docSession is what the document library makes of one connection, however its
// texts are carried: one request in, one reply out. One goroutine at a time may
// use it.
type docSession struct {
	s *server
	// peer is the address with its port, via that with the transport, as it
	// stands in the journal.
	peer, via string
	set       docwire.Settings
}

// docReply is what a request comes to. Without a text there is no reply, and
// the connection ends.
type docReply struct {
	text []byte
	then docThen
	// known: the request showed who asks, and that is user.
	known bool
	user  string
	// malformed: it was no request at all.
	malformed bool
	// large tells a reply of any size, which holds cost bytes of the listings'
	// budget until it is written.
	large bool
	cost  int64
}

// docThen is what follows a reply.
type docThen int

const (
	docStay  docThen = iota // the next request
	docLeave                // the connection is closed
	docStop                 // the daemon stops, once the reply has been written
	docGone                 // there is no reply: the daemon is stopping
	docLost                 // there is none: what the request came to is unknown
)

func newDocSession(s *server, peer, via string) docSession {
	return docSession{s: s, peer: peer, via: via, set: docwire.Settings{
		FTPPort: s.ftpPort, TimestampWindow: s.cfg.TimestampWindow, Local: isLocal(peer),
	}}
}

// isLocal tells whether an address with a port is this machine's own.
func isLocal(peer string) bool {
	ap, err := netip.ParseAddrPort(peer)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// do has one request done. by is who holds what a large reply takes. life ends
// the wait before a refused login is answered, and nothing else.
func (d *docSession) do(life context.Context, by holder, text []byte) docReply {
	req := docwire.Decode(text, time.Now(), d.set)
	switch {
	case req.Err != nil:
		d.refused(req.Err)
		return docReply{text: d.render(&req, nil, req.Err), malformed: docwire.Malformed(req.Err)}
	case req.Disconnect:
		return docReply{text: d.render(&req, nil, nil), then: docLeave}
	}
	large := listsMany(req.Action)
	if large && !d.s.listings.take(by, listingCost) {
		return docReply{then: docLost} // nobody is there to read it
	}
	result, err := d.s.engine.Document(life, actions.DocCall{
		Username: req.Username, Token: req.Token, Peer: d.peer, Local: d.set.Local,
		Via: d.via, Ref: req.TraceID, Action: req.Action,
	})
	r := docReply{large: large, known: actions.Knows(req.Action, err), user: req.Username}
	if a, ok := req.Action.(*actions.Login); ok {
		r.user = a.Username
	}
	switch {
	case errors.Is(err, actions.ErrStopping):
		r.then = docGone
	case errors.Is(err, actions.ErrFailed):
		r.then = docLost
	default:
		r.text = d.render(&req, result, err)
		if _, stops := result.(actions.Stopping); stops && err == nil {
			r.then = docStop
		}
	}
	if large {
		r.cost = int64(cap(r.text))
		d.s.listings.adjust(by, listingCost, r.cost)
	}
	return r
}

// refused counts a request that got nowhere near the journal (CFMS.md §8).
func (d *docSession) refused(err error) {
	d.s.engine.CountRefused("document request", d.peer)
	code, _ := errors.AsType[acl.Code](err)
	d.s.metrics.action("unknown", actions.Code(code), 0)
}

func (d *docSession) render(req *docwire.Request, res actions.DocResult, err error) []byte {
	return d.s.fill(smallBuffer, func(dst []byte) []byte {
		return docwire.AppendReply(dst, req, res, err, d.set)
	})
}

// listsMany tells whether the reply to a request may have any size.
func listsMany(a actions.DocAction) bool {
	switch a := a.(type) {
	case *actions.GetDir, *actions.GetRootDir:
		return true
	case *actions.OperateDir: // its lists of what was done are as long
		return a.Action != nil
	}
	return false
}
