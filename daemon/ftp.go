package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// ftpService is the FTPS listener with its sessions (CFMS.md §1.4).
type ftpService struct {
	s     *server
	ln    net.Listener
	tls   *tls.Config
	host  string // told to clients of PASV, "" for the address they came to
	ports ftpserver.PasvPortGetter
	log   *ftpLog

	// work counts the goroutine that accepts, and those of the sessions.
	work sync.WaitGroup
	// halt is closed when the service stops.
	halt chan struct{}

	// mu guards what follows.
	mu       sync.Mutex
	sessions map[*ftpSession]struct{}
	stopping bool
}

// startFTP opens the FTPS listener.
func (s *server) startFTP(addr string) (service, string, error) {
	f := &ftpService{
		s: s, host: s.cfg.FTPPassiveHost, log: &ftpLog{log: s.log},
		halt: make(chan struct{}), sessions: make(map[*ftpSession]struct{}),
	}
	if ip := net.ParseIP(f.host); f.host != "" && ip.To4() == nil {
		return nil, "", fmt.Errorf("%q is no IPv4 address for data connections", f.host)
	}
	if p := s.cfg.FTPPassivePorts; p != [2]int{} {
		if p[0] < 1 || p[1] > 65535 || p[0] > p[1] {
			return nil, "", fmt.Errorf("%d-%d is no range of ports", p[0], p[1])
		}
		f.ports = ftpserver.PortRange{Start: p[0], End: p[1]}
	}
	cert, err := s.state.ftpCertificate(s.cfg.FTPCert, s.cfg.FTPKey, f.host)
	if err != nil {
		return nil, "", err
	}
	f.tls = ftpTLS(cert)
	if f.ln, err = new(net.ListenConfig).Listen(s.life, "tcp", addr); err != nil {
		return nil, "", err
	}
	if tcp, ok := f.ln.Addr().(*net.TCPAddr); ok {
		s.ftpPort = tcp.Port
	}
	s.metrics.gauge("ftp_connections", "Control connections of FTPS.", nil, func() float64 { return float64(len(f.all())) })
	f.work.Go(f.accept)
	return f, f.ln.Addr().String(), nil
}

// accept takes connections until the listener is closed.
func (f *ftpService) accept() {
	for {
		c, err := f.ln.Accept()
		switch {
		case err == nil:
			f.begin(c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, say: some have to end first
			f.s.log.Warn().Err(err).Msg("accept over FTPS")
			f.pause(acceptPause)
		}
	}
}

// pause returns after d, or when the service stops.
func (f *ftpService) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.halt:
	}
}

// begin lets a connection run, unless there are too many.
func (f *ftpService) begin(c net.Conn) {
	session := newFTPSession(f, c)
	f.mu.Lock()
	room := !f.stopping && len(f.sessions) < maxFTP
	if room {
		f.sessions[session] = struct{}{}
		f.work.Add(1)
	}
	f.mu.Unlock()
	if !room {
		f.s.engine.CountRefused("ftp busy", session.ip)
		_ = c.SetWriteDeadline(time.Now().Add(acceptPause)) // nothing was sent before: the kernel takes it
		_, _ = c.Write([]byte("421 Too many connections.\r\n"))
		_ = c.Close()
		return
	}
	go func() {
		defer f.work.Done()
		session.run()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.sessions, session)
	}()
}

// all returns the sessions there are. None is added once the service stops.
func (f *ftpService) all() []*ftpSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*ftpSession, 0, len(f.sessions))
	for s := range f.sessions {
		list = append(list, s)
	}
	return list
}

// stop implements service. Transfers under way get up to ShutdownGrace.
func (f *ftpService) stop(ctx context.Context) {
	f.close()
	for _, s := range f.all() {
		s.stop()
	}
	idle := f.idle()
	grace := time.NewTimer(f.s.cfg.ShutdownGrace)
	defer grace.Stop()
	select {
	case <-idle:
		return
	case <-grace.C:
	case <-ctx.Done():
	}
	f.kill()
	select {
	case <-idle:
	case <-ctx.Done():
		// What is still in the engine ends with it.
		select {
		case <-idle:
		case <-time.After(f.s.cfg.CloseWithin):
		}
	}
}

// abort implements service.
func (f *ftpService) abort() {
	f.close()
	f.kill()
	select {
	case <-f.idle():
	case <-time.After(f.s.cfg.CloseWithin): // the disk holds one up
	}
}

// close accepts no more.
func (f *ftpService) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopping {
		f.stopping = true
		close(f.halt)
		_ = f.ln.Close() // a listener: nothing is lost
	}
}

func (f *ftpService) kill() {
	for _, s := range f.all() {
		s.kill()
	}
}

// idle is closed when no goroutine of the service is left.
func (f *ftpService) idle() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		f.work.Wait()
		close(done)
	}()
	return done
}
