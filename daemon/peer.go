package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens the HTTP listener. Its connections hold little that the kernel
// cannot send yet, so that a stalled peer costs little there too, and pings
// are not stuck behind megabytes.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{
		// Dead peers are found by our own pings.
		KeepAlive: -1,
		Control: func(_, _ string, rc syscall.RawConn) error {
			var err error
			cerr := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentKernel)
			})
			return errors.Join(cerr, err)
		},
	}
	return lc.Listen(ctx, "tcp", addr)
}

// peerListener wraps what it accepts in a peer.
type peerListener struct {
	net.Listener
	stall time.Duration
}

func (l peerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: c, stall: l.stall}
	p.touch()
	return p, nil
}

// peer is a TCP connection that knows when it last moved a byte, and on which
// a write fails after stall without progress rather than after a time in all:
// a slow reader is no dead one.
type peer struct {
	net.Conn
	stall time.Duration

	lastRead, lastWrite atomic.Int64 // as sinceStart tells
}

// Read notes when bytes came, be it in the middle of a frame.
func (p *peer) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.lastRead.Store(sinceStart())
	}
	return n, err
}

// Write writes all of b, or fails once not one byte has been taken for stall.
func (p *peer) Write(b []byte) (written int, err error) {
	progress := time.Now()
	p.lastWrite.Store(sinceStart())
	for {
		// Looking in steps tells when the last byte went, not only that all
		// did not.
		if err = p.Conn.SetWriteDeadline(time.Now().Add(p.stall/8 + time.Millisecond)); err != nil {
			return written, err
		}
		var n int
		n, err = p.Conn.Write(b[written:])
		written += n
		at := time.Now()
		if n > 0 {
			progress = at
			p.lastWrite.Store(sinceStart())
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || at.Sub(progress) >= p.stall {
			break
		}
	}
	_ = p.Conn.SetWriteDeadline(time.Time{}) // the connection is closed if this fails
	return written, err
}

// touch restarts the clock of a silent peer.
func (p *peer) touch() { p.lastRead.Store(sinceStart()) }

// silentFor reports whether nothing came for d.
func (p *peer) silentFor(d time.Duration) bool {
	return sinceStart()-p.lastRead.Load() > int64(d)
}

// stalledFor reports whether nothing could be written for d.
func (p *peer) stalledFor(d time.Duration) bool {
	return sinceStart()-p.lastWrite.Load() > int64(d)
}

// start anchors sinceStart, which a change of the wall clock does not move.
var start = time.Now()

func sinceStart() int64 { return int64(time.Since(start)) }

// finish tells the peer that nothing follows and drops what it still sends,
// so that closing does not reset the connection before the peer has read why.
func (p *peer) finish(within time.Duration) {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = p.Conn.SetReadDeadline(time.Now().Add(within))
	var sink [4 << 10]byte
	for dropped := 0; dropped < lingerBytes; {
		n, err := p.Conn.Read(sink[:])
		dropped += n
		if err != nil {
			return
		}
	}
}

// The HTTP server is asked to remember each request's connection, because
// hijacking it hands out the right one only after the handshake.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c)
}

func peerOf(r *http.Request) *peer {
	p, _ := r.Context().Value(peerKey{}).(*peer)
	return p
}
