package daemon

import (
	"net"
	"time"
)

// ftpListener is where the library awaits a data connection.
type ftpListener struct {
	net.Listener // TCP
	session      *ftpSession
}

// Accept implements net.Listener: the one data connection there will be, from
// where the control connection comes from. It stays in clear until its first
// byte, since clients begin TLS only once they have seen that it is used.
func (l *ftpListener) Accept() (net.Conn, error) {
	s := l.session
	c, err := l.accept()
	_ = l.Close() // a listener: nothing is lost
	if err != nil {
		return nil, err
	}
	if hostOf(c.RemoteAddr().String()) != s.ip {
		_ = c.Close() // nothing was said
		return nil, replyOtherPeer
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		limitUnsent(tcp)
	}
	d := newFTPData(s, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.why != nil {
		_ = c.Close() // nothing was said
		return nil, replyCut
	}
	s.data = d
	return d, nil
}

func (l *ftpListener) accept() (net.Conn, error) {
	s := l.session
	s.mu.Lock()
	if s.aborted || s.closed || s.why != nil {
		s.mu.Unlock()
		return nil, replyNoData
	}
	s.accepting = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.accepting = false
	}()
	if tcp, ok := l.Listener.(*net.TCPListener); ok {
		_ = tcp.SetDeadline(time.Now().Add(s.f.s.cfg.FTPTimes.Connect)) // closed if this fails
	}
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, s.broken(replyNoData)
	}
	return c, nil
}

// Close implements net.Listener.
func (l *ftpListener) Close() error {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == l {
		s.listener = nil
	}
	return l.Listener.Close()
}

// await takes note of a new passive listener.
func (s *ftpSession) await(l *ftpListener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return replyStopping
	}
	s.listener = l
	return nil
}

// unlisten closes the passive listener there is.
func (s *ftpSession) unlisten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Listener.Close() // a listener: nothing is lost
		s.listener = nil
	}
}

func isIPv4(a net.Addr) bool {
	ip := net.ParseIP(hostOf(a.String()))
	return ip != nil && ip.To4() != nil
}
