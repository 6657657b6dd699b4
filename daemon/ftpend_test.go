package daemon

import (
	"crypto/tls"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cutConn is a connection that can be told to send only the first bytes of what
// is written, and then to end.
type cutConn struct {
	net.Conn
	left int // -1 for all
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.left < 0 {
		return c.Conn.Write(p)
	}
	n := min(c.left, len(p))
	c.left -= n
	if n > 0 {
		if _, err := c.Conn.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// How the data ends decides whether it is a file (CFMS.md §1.4).
func TestFTPEndOfData(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.TaskStall = time.Second })
	old, data := []byte("before"), random(40_000)
	for _, tc := range []struct {
		name string
		end  func(*ftpTransfer) error
		code int
	}{
		{"FIN alone", (*ftpTransfer).fin, 226},
		{"close_notify and FIN", func(d *ftpTransfer) error { return d.tls.Close() }, 226},
		{"half closed", func(d *ftpTransfer) error { return d.tcp.CloseWrite() }, 226},
		{"close_notify alone", func(d *ftpTransfer) error { return d.tls.CloseWrite() }, 226},
		{"within the header of a record", func(d *ftpTransfer) error { return d.tail([]byte{23, 3, 3}) }, 426},
		{"within a record", func(d *ftpTransfer) error { return d.tail([]byte{23, 3, 3, 1, 0, 99}) }, 426},
		{"after a record that is wrong", func(d *ftpTransfer) error {
			return d.tail(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...))
		}, 426},
		{"reset", (*ftpTransfer).reset, 426},
		{"never", func(d *ftpTransfer) error { return nil }, 426},
	} {
		for version, max := range map[string]uint16{" TLS 1.2": tls.VersionTLS12, " TLS 1.3": tls.VersionTLS13} {
			t.Run(tc.name+version, func(t *testing.T) {
				o := r.write(r.stored(old))
				c := r.ftp(o)
				d := c.open("STOR %s", o.FakeName)
				d.tls = tls.Client(d.tcp, &tls.Config{InsecureSkipVerify: true, MaxVersion: max})
				mark := r.received()
				_, err := d.tls.Write(data)
				require.NoError(t, err)
				if tc.code != 226 {
					// A reset may overtake bytes: they are to be in before it.
					r.soonReceived(mark + len(data))
				}
				require.NoError(t, tc.end(d))
				code, text := c.reply()
				require.Equal(t, tc.code, code, text)
				if code == 226 {
					r.shows(o, data)
					return
				}
				r.keeps(o, data, old)
				// The session goes on, and so does the upload.
				require.Equal(t, 226, c.put([]byte("more"), "APPE %s", o.FakeName))
				r.shows(o, append(data[:len(data):len(data)], "more"...))
			})
		}
	}
}

// tail writes bytes below TLS and ends.
func (d *ftpTransfer) tail(b []byte) error {
	if _, err := d.tcp.Write(b); err != nil {
		return err
	}
	return d.tcp.Close()
}

// An end before the handshake is complete is no file, not even an empty one.
func TestFTPEndBeforeHandshake(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.TaskStall = time.Second })
	old := []byte("before")
	for name, end := range map[string]func(*ftpTransfer) error{
		"FIN at once":       (*ftpTransfer).fin,
		"half closed":       func(d *ftpTransfer) error { return d.tcp.CloseWrite() },
		"reset":             (*ftpTransfer).reset,
		"nothing":           func(d *ftpTransfer) error { return nil },
		"half a hello":      func(d *ftpTransfer) error { return d.tail([]byte{22, 3, 1, 1, 0, 1, 0}) },
		"something else":    func(d *ftpTransfer) error { return d.tail([]byte("GET / HTTP/1.1\r\n\r\n")) },
		"hello and no more": func(d *ftpTransfer) error { return d.hello(200) },
	} {
		t.Run(name, func(t *testing.T) {
			o := r.write(r.stored(old))
			c := r.ftp(o)
			require.NoError(t, end(c.open("STOR %s", o.FakeName)))
			code, text := c.reply()
			assert.Equal(t, 426, code, text)
			r.keeps(o, nil, old)
			require.Equal(t, 226, c.put(nil, "STOR %s", o.FakeName), "after a handshake it is")
			r.shows(o, nil)
		})
	}
	t.Run("before the last flight", func(t *testing.T) {
		o := r.write(r.stored(old))
		c := r.ftp(o)
		d := c.open("STOR %s", o.FakeName)
		cut := &cutConn{Conn: d.tcp, left: -1}
		conn := tls.Client(cut, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
			cut.left = 10 // of the client's own Finished
			return nil
		}})
		_ = conn.Handshake() // it is done for the client
		require.NoError(t, d.fin())
		code, text := c.reply()
		assert.Equal(t, 426, code, text)
		r.keeps(o, nil, old)
	})
	t.Run("of a download", func(t *testing.T) {
		back := r.read(r.stored(nil))
		c := r.ftp(back)
		require.NoError(t, c.open("RETR %s", back.FakeName).fin())
		code, text := c.reply()
		assert.Equal(t, 426, code, text)
		assert.Equal(t, 230, r.login(back.ID, back.Token), "it is not finished")
	})
}

// hello sends the first n bytes of a handshake, and ends.
func (d *ftpTransfer) hello(n int) error {
	cut := &cutConn{Conn: d.tcp, left: n}
	if err := d.tcp.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	_ = tls.Client(cut, ftpClientTLS).Handshake() // it cannot
	return d.tcp.Close()
}

func TestFTPDataConnection(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) {
		c.FTPListen, c.FTPTimes.Connect = "0.0.0.0:0", 200*time.Millisecond
	})
	old := []byte("before")
	o := r.write(r.stored(old))
	_, port, err := net.SplitHostPort(r.listening["ftp"])
	require.NoError(t, err)
	r.listening["ftp"] = net.JoinHostPort("127.0.0.1", port)
	c := r.ftp(o)

	// Nobody connects.
	c.epsv()
	c.want(425, "STOR %s", o.FakeName)
	c.want(425, "STOR %s", o.FakeName)

	// Somebody else does: nothing is given to him, nor later.
	stranger := dialFrom(t, "127.0.0.2", c.epsv())
	c.want(425, "STOR %s", o.FakeName)
	require.NoError(t, stranger.SetReadDeadline(time.Now().Add(patience)))
	n, err := stranger.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	c.want(425, "STOR %s", o.FakeName)
	back := r.read(o)
	reader := r.ftp(back)
	dialFrom(t, "127.0.0.2", reader.epsv())
	reader.want(425, "RETR %s", back.FakeName)
	reader.want(425, "RETR %s", back.FakeName)
	got, code := reader.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	assert.Equal(t, string(old), got)

	// A session from there is served there.
	other := r.ftpDial("127.0.0.2")
	other.encrypt()
	other.want(200, "PROT P")
	other.want(331, "USER %s", o.ID)
	other.want(230, "PASS %s", o.Token)
	mine := dialFrom(t, "127.0.0.1", other.epsv())
	other.want(425, "STOR %s", o.FakeName)
	_ = mine.Close()

	// A data connection is for one transfer.
	require.Equal(t, 226, c.put(nil, "STOR %s", o.FakeName))
	c.want(425, "STOR %s", o.FakeName)
	reader.want(425, "RETR %s", back.FakeName)
}

func TestFTPAbort(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("before"), random(40_000)
	o := r.write(r.stored(old))
	c := r.ftp(o)

	// While a data connection is waited for.
	c.epsv()
	c.send("STOR %s", o.FakeName)
	c.send("ABOR")
	code, text := c.reply()
	if code == 425 { // it had begun to wait
		code, text = c.reply()
	}
	require.Equal(t, 226, code, text)
	r.keeps(o, nil, old)

	// In the middle of the data.
	d := c.begin("STOR %s", o.FakeName)
	mark := r.received()
	_, err := d.tls.Write(data)
	require.NoError(t, err)
	r.soonReceived(mark + len(data))
	c.want(426, "ABOR")
	code, text = c.reply()
	require.Equal(t, 226, code, text)
	assert.Equal(t, "213 40000\r\n", c.want(213, "SIZE %s", o.FakeName))
	r.keeps(o, data, old)
	require.Equal(t, 226, c.put(nil, "APPE %s", o.FakeName))
	r.shows(o, data)

	// When all of the data has come, it is too late.
	var hold atomic.Pointer[chan struct{}]
	r = runTasks(t, func(c *Config) {
		c.JournalFault = func(op string, do func() error) error {
			if h := hold.Load(); h != nil && op == "commit" {
				<-*h
			}
			return do()
		}
	})
	o = r.create()
	c = r.ftp(o)
	d = c.begin("STOR %s", o.FakeName)
	until := make(chan struct{})
	hold.Store(&until)
	_, err = d.tls.Write(data)
	require.NoError(t, err)
	require.NoError(t, d.fin())
	session := r.s.services[0].(*ftpService).all()[0]
	require.True(t, soon(func() bool {
		session.mu.Lock()
		defer session.mu.Unlock()
		return session.sealed
	}))
	c.send("ABOR")
	hold.Store(nil)
	close(until)
	for range 2 { // of STOR, and of ABOR
		code, text = c.reply()
		assert.Equal(t, 226, code, text)
	}
	r.shows(o, data)

	// Of a download.
	back := r.read(r.stored(random(32 << 20)))
	c = r.ftp(back)
	c.begin("RETR %s", back.FakeName)
	c.want(426, "ABOR")
	code, text = c.reply()
	require.Equal(t, 226, code, text)
	assert.Equal(t, 230, r.login(back.ID, back.Token), "not finished")
	_, code = c.get("NLST")
	assert.Equal(t, 226, code)
}

// A client that is gone leaves what it has brought.
func TestFTPClientVanishes(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("before"), random(40_000)
	o := r.write(r.stored(old))
	c := r.ftp(o)
	d := c.begin("STOR %s", o.FakeName)
	mark := r.received()
	_, err := d.tls.Write(data)
	require.NoError(t, err)
	r.soonReceived(mark + len(data))
	require.NoError(t, c.tcp.Close())
	require.True(t, soon(func() bool { return r.ftpSessions() == 0 }), "the session ends")
	r.keeps(o, data, old)
	// One that is done and does not wait for the answer has its file.
	c = r.ftp(o)
	d = c.begin("APPE %s", o.FakeName)
	require.NoError(t, d.fin())
	c.want(226, "NOOP") // the answer to what came before
	require.NoError(t, c.tcp.Close())
	r.shows(o, data)
}

func (r *taskRig) ftpSessions() int { return len(r.s.services[0].(*ftpService).all()) }
