package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"waybill/daemon/docwire"
)

// legacy is the legacy encrypted TCP listener of the document library
// (CFMS.md §1.2) with its connections.
type legacy struct {
	s   *server
	ln  net.Listener
	key *docwire.ServerKey
	// quit is closed when the listener is.
	quit chan struct{}
	// work counts every goroutine here.
	work sync.WaitGroup

	// mu guards what follows.
	mu       sync.Mutex
	conns    map[*legacyConn]struct{}
	strange  map[netip.Prefix]int // unauthenticated ones by address
	tally    tally
	stopping bool
}

// startLegacy opens the listener. It returns the address it has.
func (s *server) startLegacy(addr string) (service, string, error) {
	key, err := s.state.legacyKey(docwire.Method(s.cfg.CFMSKeyExchange))
	if err != nil {
		return nil, "", err
	}
	// An address without a host is one of both families: clients connect to
	// IPv4 addresses only.
	listen := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: legacyKeepAlive, Interval: legacyKeepAlive,
	}, Control: limitSegments}
	listen.SetMultipathTCP(false) // its sockets have no segments of their own
	ln, err := listen.Listen(s.life, "tcp", addr)
	if err != nil {
		return nil, "", err
	}
	l := &legacy{
		s: s, ln: peerListener{Listener: ln, stall: s.cfg.StallAfter}, key: key, quit: make(chan struct{}),
		conns: make(map[*legacyConn]struct{}), strange: make(map[netip.Prefix]int),
	}
	s.metrics.documents("tcp", l.counts)
	s.log.Warn().Str("addr", ln.Addr().String()).
		Msg("the legacy encrypted listener is on: it is weak, whoever is on the way can alter what it carries; for clients that know nothing else")
	l.work.Add(1)
	go l.accept()
	return l, ln.Addr().String(), nil
}

// accept takes connections in until the listener is closed.
func (l *legacy) accept() {
	defer l.work.Done()
	for {
		c, err := l.ln.Accept()
		switch {
		case err == nil:
			l.admit(c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // too many open files, say: some will be closed
			l.s.log.Error().Err(err).Str("listener", "cfms").Msg("accept")
			select {
			case <-time.After(acceptPause):
			case <-l.quit:
			}
		}
	}
}

// admit lets a connection run if there may be one more.
func (l *legacy) admit(accepted net.Conn) {
	p, ok := accepted.(*peer)
	if !ok {
		panic("daemon: no peer was accepted") // a peerListener accepts nothing else
	}
	c := newLegacyConn(l, p)
	l.mu.Lock()
	full := l.stopping || l.tally.all >= l.s.cfg.CFMSMaxConns ||
		l.tally.strangers >= maxLegacyStrangers || l.strange[c.from] >= maxLegacyEach
	if !full {
		l.conns[c] = struct{}{}
		l.tally.all++
		l.tally.strangers++
		l.strange[c.from]++
		l.work.Add(1)
		go c.run()
	}
	l.mu.Unlock()
	if full {
		l.s.engine.CountRefused("document busy", c.session.peer)
		_ = p.Close()
	}
}

// acquaintedLocked notes that a connection is none of a stranger any more.
func (l *legacy) acquaintedLocked(c *legacyConn) {
	l.tally.strangers--
	if l.strange[c.from]--; l.strange[c.from] == 0 {
		delete(l.strange, c.from)
	}
}

// forget is the end of a connection's time here.
func (l *legacy) forget(c *legacyConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.tally.all--
	if !c.known {
		l.acquaintedLocked(c)
	}
}

func (l *legacy) counts() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// close accepts nothing more and returns the connections there are.
func (l *legacy) close() (conns []*legacyConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping {
		l.stopping = true
		close(l.quit)
		_ = l.ln.Close()
	}
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}

// stop ends each connection once the request it runs is answered, at the latest
// when ctx ends.
func (l *legacy) stop(ctx context.Context) {
	for _, c := range l.close() {
		c.stop()
	}
	select {
	case <-l.idle():
	case <-ctx.Done():
		l.abort()
	}
}

// abort ends every connection at once.
func (l *legacy) abort() {
	for _, c := range l.close() {
		c.kill()
	}
	// What is still in the engine ends with it, unless the disk holds it up.
	select {
	case <-l.idle():
	case <-time.After(l.s.cfg.CloseWithin):
	}
}

// idle is closed when no goroutine is left.
func (l *legacy) idle() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		l.work.Wait()
		close(done)
	}()
	return done
}

// addressOf is what strangers are counted by: their address, IPv6 by /64.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // all of these together
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
