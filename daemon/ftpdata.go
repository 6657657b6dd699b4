package daemon

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ftpData is a data connection. Its errors are answers to the command.
type ftpData struct {
	net.Conn // TCP
	session  *ftpSession
	tls      *tls.Conn
	ready    bool // the handshake is done; owned by the transfer
	failed   atomic.Bool
}

func newFTPData(s *ftpSession, c net.Conn) *ftpData {
	wire := ftpWire{&peer{Conn: c, stall: s.f.s.cfg.TaskStall}}
	return &ftpData{Conn: c, session: s, tls: tls.Server(wire, s.f.tls)}
}

// ftpWire is what TLS runs on: not one byte for so long ends it, in either
// direction.
type ftpWire struct{ *peer }

// Read implements net.Conn.
func (w ftpWire) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.stall)); err != nil {
		return 0, err
	}
	return w.peer.Read(p)
}

// handshake does what TLS would do by itself, but tells apart an end that comes
// before it is over: crypto/tls calls that an end of file, too, and an empty
// file would be published.
func (d *ftpData) handshake() error {
	if d.ready {
		return nil
	}
	if err := d.tls.Handshake(); err != nil {
		return d.fail(err)
	}
	d.ready = true
	return nil
}

// Read implements net.Conn. Clients end their data by closing, mostly without
// close_notify: after a handshake that is the end of the file, unless it comes
// in the middle of a record (CFMS.md §1.4).
func (d *ftpData) Read(p []byte) (int, error) {
	if err := d.handshake(); err != nil {
		return 0, err
	}
	n, err := d.tls.Read(p)
	if err != nil && err != io.EOF { // io.EOF itself, not one that is wrapped
		err = d.fail(err)
	}
	return n, err
}

// Write implements net.Conn.
func (d *ftpData) Write(p []byte) (int, error) {
	if err := d.handshake(); err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := d.tls.Write(p)
	if err != nil {
		err = d.fail(err)
	}
	return n, err
}

func (d *ftpData) fail(err error) error {
	d.failed.Store(true)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return d.session.broken(replyStalled)
	}
	return d.session.broken(replyCut)
}

// Close implements net.Conn.
func (d *ftpData) Close() error {
	if d.failed.Load() {
		return d.Conn.Close()
	}
	return d.tls.Close()
}

// delivered ends what is sent and returns once the client has it all: it has
// closed its side, or its kernel has all of it and nothing else happens. Until
// then a client that gives up halfway would seem to have everything, since much
// of a file fits into the buffers in between.
func (d *ftpData) delivered() error {
	if err := d.handshake(); err != nil {
		return err
	}
	if err := d.tls.CloseWrite(); err != nil {
		return d.fail(err)
	}
	tcp, ok := d.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := tcp.CloseWrite(); err != nil {
		return d.fail(err)
	}
	progress, left := time.Now(), unacked(tcp)
	var sink [512]byte
	for dropped := 0; dropped < lingerBytes; {
		_ = tcp.SetReadDeadline(time.Now().Add(ftpLingerStep)) // closed if this fails
		n, err := tcp.Read(sink[:])
		dropped += n
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return d.fail(err)
		}
		now, quiet := unacked(tcp), time.Since(progress)
		switch {
		case now < left:
			progress, left = time.Now(), now
		case now == 0 && quiet >= ftpLinger:
			return nil
		case quiet >= d.session.f.s.cfg.TaskStall:
			return d.fail(os.ErrDeadlineExceeded)
		}
	}
	return d.fail(io.ErrUnexpectedEOF)
}

// unacked is how many bytes the peer's kernel has not acknowledged.
func unacked(c *net.TCPConn) (n int) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}
