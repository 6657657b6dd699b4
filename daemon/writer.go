package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"os"
	"time"

	"github.com/coder/websocket"
)

// Control frames are written by us, between data frames: the library would
// send a pong from the reader, where it gives up the connection when a large
// reply to a slow peer holds it up, and waits for the answer to a ping in a
// goroutine.
const (
	frameFinal  = 0x80
	length16    = 126 // lengths from here on follow in two bytes,
	length64    = 127 // or in eight
	opcodeText  = 0x1
	opcodePing  = 0x9
	opcodePong  = 0xa
	controlHead = 2
	controlMost = 125
)

// queueLocked queues a reply for the writer. It reports whether it did: nothing
// follows the end.
func (c *socket) queueLocked(r reply) bool {
	if c.queued == 0 {
		c.peer.due()
	}
	c.queued += r.len()
	if !r.big {
		c.small += r.len()
	}
	if c.dead || c.muted || c.closing != nil && c.closing.drop {
		c.dropLocked(r)
		return false
	}
	c.queue = append(c.queue, r)
	c.wakeWriterLocked()
	return true
}

// wakeWriterLocked starts the writer unless it runs.
func (c *socket) wakeWriterLocked() {
	if c.writing || c.dead || c.muted {
		return
	}
	c.writing = true
	c.s.work.Add(1)
	go c.write()
}

// write writes what there is to write and ends. It is the only writer of data
// frames; what the library writes of itself are close frames, in one piece.
func (c *socket) write() {
	defer c.s.work.Done()
	for {
		control, r, how := c.next()
		var err error
		switch {
		case control != nil:
			_, err = c.peer.Write(control)
		case r.stream != nil:
			err = c.peer.frame(r.stream.write)
			c.wrote(r)
		case r.text != nil:
			err = c.ws.Write(context.Background(), websocket.MessageText, r.text)
			c.wrote(r)
		case how != nil:
			c.goodbye(*how)
			return
		default:
			return
		}
		if err != nil {
			c.writeFailed(err)
			return
		}
	}
}

// next takes what is to be written now: control frames first, then replies,
// then the end. With nothing left the writer is no longer running.
func (c *socket) next() (control []byte, r reply, how *closing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead || c.muted:
	case c.pong != nil:
		control, c.pong = controlFrame(opcodePong, c.pong), nil
		return control, r, nil
	case c.pingDue:
		c.pingDue = false
		return controlFrame(opcodePing, nil), r, nil
	case len(c.queue) > 0:
		r = c.queue[0]
		c.queue[0] = reply{}
		c.queue = c.queue[1:]
		return nil, r, nil
	case c.closing != nil:
		return nil, r, c.closing // stays the last writer
	}
	c.queue = nil
	c.writing = false
	return nil, r, nil
}

// wrote frees a reply that has been written and lets run what waited for room.
func (c *socket) wrote(r reply) {
	c.drained.Add(r.len())
	c.s.metrics.replyBytes.Add(float64(r.len()))
	// While the peer was reading, it could not see our pings.
	c.peer.touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(r)
	c.kind.roomLocked()
}

// writeFailed ends a connection that cannot be written to: the writer is not
// started again.
func (c *socket) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// In the middle of a frame no close frame can be sent.
		c.s.metrics.slowClosed.Inc()
		c.s.log.Debug().Str("via", c.via).Msg("closed: the peer took nothing")
	}
	if !errors.Is(err, net.ErrClosed) { // else the reader is ending already
		c.kill()
	}
}

// goodbye closes with a code and waits a little for the peer's.
func (c *socket) goodbye(how closing) {
	t := time.AfterFunc(c.s.cfg.CloseWithin, c.kill)
	defer t.Stop()
	_ = c.ws.Close(how.code, how.reason) // it ends either way
}

// gotPing has a ping answered; of several only the latest (RFC 6455 §5.5.3).
func (c *socket) gotPing(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pong = append([]byte{}, payload...)
	c.wakeWriterLocked()
}

// textHead is what stands before n bytes of text: the length in the shortest
// form there is, as RFC 6455 §5.2 demands and strict peers do.
func textHead(n int64) []byte {
	switch {
	case n < length16:
		return []byte{frameFinal | opcodeText, byte(n)}
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16([]byte{frameFinal | opcodeText, length16}, uint16(n))
	}
	return binary.BigEndian.AppendUint64([]byte{frameFinal | opcodeText, length64}, uint64(n))
}

func controlFrame(opcode byte, payload []byte) []byte {
	frame := make([]byte, 0, controlHead+controlMost)
	frame = append(frame, frameFinal|opcode, byte(len(payload)))
	return append(frame, payload...)
}
