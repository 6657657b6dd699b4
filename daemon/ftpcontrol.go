package daemon

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ftpControl is the control connection as the library sees it: commands that it
// is to carry out come out of Read, answers go into Write.
type ftpControl struct {
	session *ftpSession
	raw     *peer
	// clock is the deadline of raw's reads; loginBy is when a stranger is closed.
	clock   cutoff
	loginBy time.Time
	// held counts what the library has still to do before it has left: to close
	// the connection, and to tell its driver.
	held sync.WaitGroup
	shut sync.Once

	// Owned by the reader.
	secure    bool // TLS is up
	protected bool // data connections are to be encrypted
	user      string
	tries     int
	buf       [maxFTPLine]byte
	n         int
	ready     []byte // what is left of a command for the library

	// writing guards what follows.
	writing sync.Mutex
	conn    net.Conn // raw, or TLS over it; the reader changes it
	out     []byte   // a line of the library's that is not complete
}

func newFTPControl(s *ftpSession, c net.Conn) *ftpControl {
	raw := &peer{Conn: c, stall: s.f.s.cfg.StallAfter}
	k := &ftpControl{session: s, raw: raw, conn: raw, loginBy: time.Now().Add(s.f.s.cfg.LoginWithin)}
	k.clock.set = raw.SetReadDeadline
	k.held.Add(2)
	return k
}

// Read implements net.Conn for the library: it returns the commands that are
// for it, one at a time.
func (k *ftpControl) Read(p []byte) (int, error) {
	for len(k.ready) == 0 {
		line, err := k.line()
		if err != nil {
			return 0, err
		}
		pass, err := k.session.command(line)
		if err != nil {
			return 0, err
		}
		if pass != "" {
			k.ready = append(k.ready, pass+"\r\n"...)
		}
	}
	n := copy(p, k.ready)
	k.ready = k.ready[n:]
	return n, nil
}

// line reads one command. io.EOF when the session is over, whatever ended it.
func (k *ftpControl) line() (string, error) {
	limit := k.limit()
	for {
		if i := bytes.IndexByte(k.buf[:k.n], '\n'); i >= 0 {
			line := string(bytes.TrimSuffix(k.buf[:i], []byte("\r")))
			k.n = copy(k.buf[:], k.buf[i+1:k.n])
			return line, nil
		}
		if k.n == len(k.buf) {
			k.say(500, "Command line too long.")
			return "", io.EOF
		}
		k.clock.extend(limit)
		n, err := k.conn.Read(k.buf[k.n:])
		k.n += n
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return "", io.EOF
		case k.session.isStopping():
			k.say(replyStopping.code, replyStopping.text)
			return "", io.EOF
		case k.session.task == nil:
			k.say(421, "Login timed out.")
			return "", io.EOF
		case k.session.inTransfer():
			limit = k.limit() // silence is what is to be expected
		default:
			k.say(421, "Control connection timed out.")
			return "", io.EOF
		}
	}
}

// limit is until when the next command has to come.
func (k *ftpControl) limit() time.Time {
	if k.session.task == nil {
		return k.loginBy
	}
	return time.Now().Add(k.session.f.s.cfg.FTPTimes.Idle)
}

// encrypt puts TLS on the connection.
func (k *ftpControl) encrypt() error {
	if k.n > 0 {
		return io.EOF // sent in clear ahead of the handshake, maybe by somebody in between
	}
	conn := tls.Server(k.raw, k.session.f.tls)
	k.clock.extend(k.loginBy)
	if err := conn.Handshake(); err != nil {
		return io.EOF
	}
	k.writing.Lock()
	defer k.writing.Unlock()
	k.conn, k.secure = conn, true
	return nil
}

// say answers a command that the library does not get, in its turn.
func (k *ftpControl) say(code int, text string) {
	k.session.settle()
	k.send((&ftpReply{code, text}).line() + "\r\n")
}

func (k *ftpControl) send(text string) {
	k.writing.Lock()
	defer k.writing.Unlock()
	_, _ = k.conn.Write([]byte(text)) // the reader sees that the connection is gone
}

// Write implements net.Conn for the library: the answers in it go to the
// client, those of ours that are inside one instead of it. It never fails, so
// that every answer gets here, though the client is gone.
func (k *ftpControl) Write(p []byte) (int, error) {
	if k.forward(p) {
		k.session.answered()
	}
	return len(p), nil
}

// forward writes the lines that are complete, and tells whether the last answer
// to a command is among them.
func (k *ftpControl) forward(p []byte) (final bool) {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.out = append(k.out, p...)
	var text []byte
	for {
		i := bytes.IndexByte(k.out, '\n')
		if i < 0 {
			break
		}
		line := ownReply(string(bytes.TrimSuffix(k.out[:i], []byte("\r"))))
		text = append(append(text, line...), "\r\n"...)
		k.out = k.out[i+1:]
		// 1xx is followed by another answer, and so is a line within a longer one.
		final = final || len(line) > 3 && line[3] == ' ' && line[0] >= '2' && line[0] <= '5'
	}
	if len(text) > 0 {
		_, _ = k.conn.Write(text) // the reader sees that the connection is gone
	}
	return final
}

// Close implements net.Conn for the library.
func (k *ftpControl) Close() error {
	k.shut.Do(func() {
		defer k.held.Done()
		k.writing.Lock()
		defer k.writing.Unlock()
		_ = k.conn.Close() // with close_notify, if the peer takes it
	})
	return nil
}

// LocalAddr implements net.Conn.
func (k *ftpControl) LocalAddr() net.Addr { return k.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (k *ftpControl) RemoteAddr() net.Addr { return k.raw.RemoteAddr() }

// SetDeadline implements net.Conn for the library, which has no say in it.
func (k *ftpControl) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn for the library, which has no say in it.
func (k *ftpControl) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn for the library, which has no say in it.
func (k *ftpControl) SetWriteDeadline(time.Time) error { return nil }
