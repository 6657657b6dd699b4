package daemon

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"waybill/daemon/docwire"
)

// legacyConn is one connection of the legacy listener (CFMS.md §1.2). It owns
// one goroutine, which does everything in turn: clients wait for each answer.
type legacyConn struct {
	l       *legacy
	peer    *peer
	from    netip.Prefix
	session docSession

	// Owned by run.
	known bool // a request showed who asks
	key   docwire.SessionKey
	in    *docwire.Splitter
	bad   int // messages that could not be read
	buf   [legacyRead]byte

	// sending is true while something is on its way; drained counts what got
	// there.
	sending atomic.Bool
	drained atomic.Int64

	// quit is closed when the connection is to be closed.
	quit chan struct{}
	// mu guards what follows, and the read deadline.
	mu       sync.Mutex
	quitting bool
}

var (
	// errLegacyEnd ends a connection whose last answer is still to be read.
	errLegacyEnd  = errors.New("the last answer has been given")
	errLegacyStop = errors.New("the daemon stops")
	errLegacyLost = errors.New("no answer: what the request came to is unknown")
)

func newLegacyConn(l *legacy, p *peer) *legacyConn {
	remote := p.RemoteAddr().String()
	return &legacyConn{
		l: l, peer: p, from: addressOf(remote), quit: make(chan struct{}),
		session: newDocSession(l.s, remote, "cfms "+remote),
	}
}

// run is the connection's life.
func (c *legacyConn) run() {
	defer c.l.work.Done()
	defer c.l.forget(c)
	err := c.handshake()
	if err == nil {
		err = c.serve()
	}
	if errors.Is(err, errLegacyEnd) || errors.Is(err, docwire.ErrHTTP) || errors.Is(err, docwire.ErrNotHandshake) {
		c.peer.finish(c.l.s.cfg.CloseWithin)
	}
	_ = c.peer.Close()
	c.l.s.log.Debug().Str("via", c.session.via).AnErr("err", err).Msg("closed")
}

// handshake agrees on the session's key.
func (c *legacyConn) handshake() error {
	h := docwire.NewHandshake(c.l.key)
	by := time.Now().Add(c.times(h.Within()))
	for !h.Done() {
		out, err := h.Next()
		if err == docwire.ErrPartial {
			silent, rerr := c.receive(h.Feed, c.times(h.Silence()), by)
			if rerr != nil {
				return rerr
			}
			if !silent {
				continue
			}
			out, err = h.Flush()
		}
		if len(out) > 0 {
			if _, werr := c.peer.Write(out); werr != nil {
				return werr
			}
		}
		switch err {
		case nil:
			by = time.Now().Add(c.times(h.Within()))
		case docwire.ErrPartial:
		default:
			c.l.s.engine.CountRefused("document handshake", c.session.peer)
			return err
		}
	}
	c.key, c.in = h.Session()
	return nil
}

// times gives a time of the protocol as this daemon keeps it.
func (c *legacyConn) times(d time.Duration) time.Duration {
	t := &c.l.s.cfg.CFMSTimes
	switch d {
	case docwire.GreetingWithin:
		return t.Greeting
	case docwire.KeyWithin:
		return t.Key
	case docwire.LongSilence:
		return t.LongSilence
	case docwire.ShortSilence:
		return t.ShortSilence
	}
	return d
}

// serve answers one message after the other.
func (c *legacyConn) serve() error {
	login := time.Now().Add(c.l.s.cfg.CFMSTimes.Login)
	for {
		if c.isQuitting() {
			return errLegacyStop
		}
		text, err := c.in.Next()
		silent := false
		if err == docwire.ErrPartial {
			by := login
			if c.known {
				by = time.Time{}
			}
			if silent, err = c.receive(c.in.Feed, c.times(c.in.Silence()), by); err != nil {
				return err
			}
			if !silent {
				continue
			}
			text, err = c.in.Flush()
		}
		switch err {
		case nil:
			err = c.request(text, silent)
		case docwire.ErrPartial:
			err = nil
		case docwire.ErrUndecryptable:
			c.l.s.metrics.undecryptable.Inc()
			c.l.s.engine.CountRefused("document unreadable", c.session.peer)
			err = c.wrong([]byte(docwire.Unreadable), silent)
		}
		if err != nil {
			return err
		}
	}
}

// receive waits for bytes and feeds them: until by, if that is set, and for no
// longer than silence, if that is not 0. Then silent is true.
func (c *legacyConn) receive(feed func([]byte), silence time.Duration, by time.Time) (silent bool, err error) {
	until := by
	if quiet := time.Now().Add(silence); silence > 0 && (by.IsZero() || quiet.Before(by)) {
		until, silent = quiet, true
	}
	if !c.wakeAt(until) {
		return false, errLegacyStop
	}
	n, err := c.peer.Read(c.buf[:])
	switch {
	case n > 0:
		feed(c.buf[:n])
		return false, nil
	case c.isQuitting():
		return false, errLegacyStop
	case silent && errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case silent && errors.Is(err, io.EOF):
		// Nothing more will come; but what is there may be a message, and it is
		// taken for one no sooner than otherwise.
		return true, c.pause(silence)
	}
	return false, err
}

// wakeAt sets the read deadline, none if at is zero. It reports false once the
// connection is to be closed.
func (c *legacyConn) wakeAt(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quitting {
		return false
	}
	_ = c.peer.SetReadDeadline(at) // the connection is closed if this fails
	return true
}

// pause waits for d, but not longer than the connection may live.
func (c *legacyConn) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.quit:
		return errLegacyStop
	}
}

// request answers a text.
func (c *legacyConn) request(text []byte, silent bool) error {
	s := c.l.s
	s.metrics.pending.Inc()
	defer s.metrics.pending.Dec()
	r := c.session.do(s.life, c, text)
	if r.known && !c.known {
		c.known = true
		c.in.SetLimit(docwire.UserLimit)
		c.l.mu.Lock()
		c.l.acquaintedLocked(c)
		c.l.mu.Unlock()
	}
	switch {
	case r.text == nil && r.then == docGone:
		return errLegacyStop
	case r.text == nil:
		return errLegacyLost
	case r.malformed:
		defer s.bufs.put(r.text)
		return c.wrong(r.text, silent)
	}
	err := c.send(r.text)
	s.bufs.put(r.text)
	if r.cost > 0 {
		s.listings.release(c, r.cost)
	}
	switch {
	case r.then == docStop:
		s.quit() // whether the answer got there or not
	case r.then == docLeave && err == nil:
		err = errLegacyEnd
	}
	return err
}

// wrong answers a message that could not be read, after a silence at least, so
// that nobody can try many quickly; silent tells that there was one.
func (c *legacyConn) wrong(answer []byte, silent bool) error {
	if !silent {
		if err := c.pause(c.l.s.cfg.CFMSTimes.ShortSilence); err != nil {
			return err
		}
	}
	if err := c.send(answer); err != nil {
		return err
	}
	if c.bad++; c.bad >= maxBadMessages {
		return errLegacyEnd
	}
	return nil
}

func (c *legacyConn) isQuitting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quitting
}

// stop closes the connection once the request being run is answered.
func (c *legacyConn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.quitting {
		c.quitting = true
		close(c.quit)
		_ = c.peer.SetReadDeadline(time.Unix(0, 0)) // wakes the reader
	}
}

// kill ends the connection at once.
func (c *legacyConn) kill() {
	c.stop()
	_ = c.peer.Close()
}

// The connection as a holder of bytes of a budget.

func (c *legacyConn) proven() bool { return c.drained.Load() >= provenBytes }

func (c *legacyConn) stuckFor(d time.Duration) bool {
	return c.sending.Load() && c.peer.stalledFor(d)
}

func (c *legacyConn) lost() <-chan struct{} { return c.quit }

func (c *legacyConn) shutSlow(reason string) {
	c.l.s.metrics.slowClosed.Inc()
	c.l.s.log.Debug().Str("via", c.session.via).Str("reason", reason).Msg("closed: the peer is slow")
	c.kill()
}
