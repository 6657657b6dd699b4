package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// peerListener wraps what it accepts in a peer.
type peerListener struct {
	net.Listener
	stall time.Duration
	// room, if not nil, is how many there may be at one time.
	room *socketRoom
}

// socketRoom counts the TCP connections of a listener.
type socketRoom struct {
	most int64 // 0 for any number
	open atomic.Int64
	// refused is told of a connection that is closed because there are too many.
	refused func(remote string)
}

// busyAnswer is what such a connection gets, whatever it would have asked for.
const busyAnswer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: " + comeAgain +
	"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// admit takes a connection in, or answers and closes it.
func (r *socketRoom) admit(c net.Conn) bool {
	if r == nil || r.open.Add(1) <= r.most || r.most == 0 {
		return true
	}
	r.open.Add(-1)
	r.refused(c.RemoteAddr().String())
	_ = c.SetWriteDeadline(time.Now().Add(acceptPause)) // nothing was sent before: the kernel takes it
	_, _ = io.WriteString(c, busyAnswer)
	_ = c.Close()
	return false
}

func (l peerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	for err == nil && !l.room.admit(c) {
		c, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		limitUnsent(tcp)
	}
	p := &peer{Conn: c, stall: l.stall, room: l.room}
	p.touch()
	return p, nil
}

// limitUnsent keeps the kernel from taking megabytes that it cannot send: a
// stalled peer would cost them, it would look like one that reads, and pings
// would be stuck behind them. The listener's setting would not be inherited.
// Without it everything works, only less well.
func limitUnsent(c *net.TCPConn) {
	rc, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentKernel)
	})
}

// unsent is how many bytes the kernel has taken and not sent yet, because the
// peer or the network takes no more.
func (p *peer) unsent() (n int, err error) {
	tcp, ok := p.Conn.(*net.TCPConn)
	if !ok {
		return 0, nil
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := rc.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD) })
	return n, errors.Join(cerr, err)
}

// takes is how many bytes a full segment to the peer carries, and how many bytes it
// takes now; zeros if that is not known.
func (p *peer) takes() (segment, window int) {
	tcp, ok := p.Conn.(*net.TCPConn)
	if !ok {
		return 0, 0
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = rc.Control(func(fd uintptr) { // the connection is closed if this fails
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			segment, window = int(info.Snd_mss), int(info.Snd_wnd)
		}
	})
	return segment, window
}

// peer is a TCP connection that knows when it last moved a byte, and on which
// a write fails after stall without progress rather than after a time in all:
// a slow reader is no dead one.
type peer struct {
	net.Conn
	stall time.Duration
	// room is where the connection is counted until it is closed, nil for nowhere.
	room   *socketRoom
	closed atomic.Bool
	// patience is what stands in for stall, if it is longer: see bear.
	patience atomic.Int64

	lastRead, lastWrite atomic.Int64 // as sinceStart tells

	// writing is held for one Write, or for one frame that takes several:
	// close frames come from the library whenever it wants.
	writing sync.Mutex
}

// Close closes the connection, which is then counted no more.
func (p *peer) Close() error {
	if !p.closed.Swap(true) && p.room != nil {
		p.room.open.Add(-1)
	}
	return p.Conn.Close()
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
func (p *peer) Write(b []byte) (int, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.write(b)
}

// frame has write write one frame.
func (p *peer) frame(write func(io.Writer) error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return write(pieces{p})
}

// pieces writes to a peer whose lock is held.
type pieces struct{ p *peer }

func (w pieces) Write(b []byte) (int, error) { return w.p.write(b) }

func (p *peer) write(b []byte) (written int, err error) {
	err = p.progress(func() (int64, error) {
		n, err := p.Conn.Write(b[written:])
		written += n
		return int64(n), err
	})
	return written, err
}

// progress has step go on until it is done, or has not got on for the time that
// a peer may stall.
func (p *peer) progress(step func() (int64, error)) error {
	last := time.Now()
	p.lastWrite.Store(sinceStart())
	for {
		stall := max(p.stall, time.Duration(p.patience.Load()))
		// Looking in steps tells when the last byte went, not only that all
		// did not.
		if err := p.Conn.SetWriteDeadline(time.Now().Add(stall/8 + time.Millisecond)); err != nil {
			return err
		}
		n, err := step()
		at := time.Now()
		if n > 0 {
			last = at
			p.lastWrite.Store(sinceStart())
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || at.Sub(last) >= stall {
			_ = p.Conn.SetWriteDeadline(time.Time{}) // the connection is closed if this fails
			return err
		}
	}
}

// bear lets the peer stall for d, if that is longer than others may, until what
// it returns is called.
func (p *peer) bear(d time.Duration) (no func()) {
	p.patience.Store(int64(d))
	return func() { p.patience.Store(0) }
}

// ReadFrom implements io.ReaderFrom, which net/http looks for: a part of a file,
// as an *io.LimitedReader over an *os.File, is sent by the system itself.
func (p *peer) ReadFrom(r io.Reader) (written int64, err error) {
	tcp, plain := p.Conn.(*net.TCPConn)
	part, limited := r.(*io.LimitedReader)
	if !plain || !limited {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	file, whole := part.R.(*os.File)
	if !whole {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	begin, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	want := part.N
	p.writing.Lock()
	defer p.writing.Unlock()
	err = p.progress(func() (int64, error) {
		n, err := tcp.ReadFrom(part)
		written += n
		if err != nil {
			// Where the system cannot do it, bytes have been read that were not
			// written.
			part.N = want - written
			if _, serr := file.Seek(begin+written, io.SeekStart); serr != nil {
				return 0, serr
			}
		}
		return n, err
	})
	return written, err
}

// touch restarts the clock of a silent peer.
func (p *peer) touch() { p.lastRead.Store(sinceStart()) }

// due starts the clock of a stalled peer: there is something to write.
func (p *peer) due() { p.lastWrite.Store(sinceStart()) }

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
