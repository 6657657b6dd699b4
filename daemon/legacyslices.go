package daemon

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/daemon/docwire"
)

// Shipped clients read one slice and then either more until a read is short, or,
// as desktop programs do, whatever is there at that moment. The former must not
// get a part of a slice before the end, the latter must find all of the message.
// So it is written at once where the system cuts it into slices by itself, and not
// elsewhere because the peer's window ends there; else slice by slice, which is too
// late for the latter now and then.

// segmentLimit makes a slice of every segment of a connection with timestamps,
// which take 12 bytes of it.
const segmentLimit = docwire.SliceSize + 12

// limitSegments sets it for the connections of a listener. Without it everything
// works, only less well.
func limitSegments(_, _ string, rc syscall.RawConn) error {
	return rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, segmentLimit)
	})
}

// atOnce is the longest message in slices that is written at once: what a window
// mostly holds.
const atOnce = 60

// send encrypts a text and writes it as clients can read it.
func (c *legacyConn) send(text []byte) error {
	msg := c.key.AppendMessage(nil, text)
	c.peer.due()
	c.sending.Store(true)
	defer c.sending.Store(false)
	together := 1
	if segment, window := c.peer.takes(); segment == docwire.SliceSize && len(msg) <= min(window, atOnce*docwire.SliceSize) {
		together = atOnce
	}
	if err := docwire.WriteSlices(sliceWriter{c}, msg, together); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.l.s.metrics.slowClosed.Inc()
		}
		return err
	}
	c.drained.Add(int64(len(msg)))
	return nil
}

// sliceWriter writes each time only once the kernel has sent what came before, which
// Go's TCP_NODELAY makes it do at once if it can. Else it joins what waits to
// be sent and cuts it elsewhere: the client gets a part of a slice, takes it
// for the end of the message, and is lost.
type sliceWriter struct{ c *legacyConn }

func (w sliceWriter) Write(b []byte) (int, error) {
	if err := w.c.awaitSent(); err != nil {
		return 0, err
	}
	return w.c.peer.Write(b)
}

// awaitSent waits until the kernel has nothing to send. The connection's end
// ends it.
func (c *legacyConn) awaitSent() error {
	begun := time.Now()
	for pause := firstSentPause; ; pause = min(2*pause, mostSentPause) {
		n, err := c.peer.unsent()
		switch {
		case err != nil || n == 0:
			return err
		case time.Since(begun) >= c.l.s.cfg.StallAfter:
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
	}
}
