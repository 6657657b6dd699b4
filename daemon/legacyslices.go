package daemon

import (
	"errors"
	"os"
	"time"

	"waybill/daemon/docwire"
)

// send encrypts a text and writes it as clients can read it.
func (c *legacyConn) send(text []byte) error {
	msg := c.key.AppendMessage(nil, text)
	c.peer.due()
	c.sending.Store(true)
	defer c.sending.Store(false)
	if err := docwire.WriteSlices(sliceWriter{c}, msg); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.l.s.metrics.slowClosed.Inc()
		}
		return err
	}
	c.drained.Add(int64(len(msg)))
	return nil
}

// sliceWriter writes each slice only once the kernel has sent those before it, which
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
