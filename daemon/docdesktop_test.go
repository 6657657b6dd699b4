package daemon

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/docwire"
	"waybill/fsview/acl"
)

// desktop is a client as shipped desktop programs are (CFMS.md §9): every request
// has a trace_id and a timestamp, and data even where there is none.
type desktop struct {
	*docPanel
	n int
}

func (d *desktop) call(name string, data any) docwire.Reply {
	d.t.Helper()
	d.n++
	trace := fmt.Sprint("trace-", d.n)
	msg, err := json.Marshal(map[string]any{
		"version": 1, "request": name, "data": data, "trace_id": trace, "token": "", "X-Ca-Timestamp": time.Now().Unix(),
		"auth": map[string]string{"username": d.user, "token": d.docPanel.token},
	})
	require.NoError(d.t, err)
	r := parseDoc(d.t, d.say(string(msg)))
	assert.Equal(d.t, trace, r.Text("trace_id"))
	assert.Equal(d.t, "v1", r.Text("api_version"))
	require.Equal(d.t, 0, r.Code, "%s: %s", name, r.Msg)
	return r
}

// opened is the task that a reply gives out.
func (d *desktop) opened(r docwire.Reply, key string) *actions.TaskOpened {
	d.t.Helper()
	m := assertTask(d.t, r, key)
	return &actions.TaskOpened{ID: m.ID, Token: m.Token, FakeName: m.Filename[key]}
}

// drained is a connection that is read as desktop programs read theirs: once
// something is there, all that is there, which they take for a message. A reader of
// pieces is told its end by an empty one.
type drained struct {
	net.Conn
	left []byte
	ends bool
}

func (d *drained) Read(p []byte) (int, error) {
	switch {
	case len(d.left) == 0 && d.ends:
		d.ends = false
		return 0, nil
	case len(d.left) == 0:
		if err := d.drain(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.left)
	d.left, d.ends = d.left[n:], n == len(p) // a short one ends the message by itself
	return n, nil
}

func (d *drained) drain() error {
	rc, err := d.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var part [docwire.SliceSize]byte
	var failed error
	err = rc.Read(func(fd uintptr) bool {
		for {
			n, err := syscall.Read(int(fd), part[:])
			switch {
			case n > 0:
				d.left = append(d.left, part[:n]...)
				continue
			case err == nil:
				failed = io.EOF
			case err != syscall.EAGAIN:
				failed = err
			}
			return len(d.left) > 0 || failed != nil
		}
	})
	if len(d.left) > 0 {
		return nil
	}
	return errors.Join(err, failed)
}

// Desktop programs take what is there for the whole of a reply: it has to come at
// once, and still in slices for those who look for a short one.
func TestDesktopReadsWhatIsThere(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.CFMSKeyExchange = overX25519 })
	tcp, err := net.Dial("tcp", r.listening["cfms"])
	require.NoError(t, err)
	defer tcp.Close()
	require.NoError(t, tcp.SetDeadline(time.Now().Add(patience)))
	c := docwire.NewClient(&drained{Conn: tcp})
	require.NoError(t, c.Handshake())
	ask := func(name string, data any) docwire.Reply {
		text, err := c.Call(docwire.AppendRequest(nil, name, data, "", r.token, ""))
		require.NoError(t, err)
		return parseDoc(t, string(text))
	}
	for i := range 50 { // fewer bytes than what goes out before the first is acknowledged
		require.Equal(t, 0, ask("createDir", map[string]string{"name": fmt.Sprint("folder ", i)}).Code)
	}
	for range 200 {
		require.Len(t, cut(ask("getRootDir", nil).Raw["dir_data"]), 51)
	}
}

// TestDesktopClient is one visit of a desktop client: it writes 50,000 bytes over
// FTPS, ends them by closing the connection under TLS, and reads them back.
func TestDesktopClient(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.CFMSKeyExchange, c.FTPListen = overRSA, "127.0.0.1:0" })
	ftp := &taskRig{rig: r}
	d := &desktop{docPanel: r.docs(overRSA)}
	login := d.call("login", map[string]string{"username": "admin", "password": acl.HashTyped(adminPassword)})
	d.user, d.docPanel.token = "admin", login.Text("token")
	assert.NotEqual(t, "0", string(login.Raw["ftp_port"]))
	d.call("getRootDir", nil)

	data := random(50_000)
	write := d.opened(d.call("createFile", map[string]string{"directory_id": "", "file_id": "desk", "filename": "desk.bin"}), "desk")
	up := ftp.ftp(write)
	require.Equal(t, 226, up.put(data, "STOR %s", write.FakeName))
	up.want(221, "QUIT")

	read := d.opened(d.call("operateFile", map[string]any{"file_id": "desk", "action": "read"}), "desk")
	down := ftp.ftp(read)
	tcp := dialFrom(t, "", down.pasv())
	down.want(150, "RETR %s", read.FakeName)
	conn := tls.Client(tcp, ftpClientTLS)
	back, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	code, _ := down.reply()
	assert.Equal(t, 226, code)
	assert.Equal(t, string(data), string(back))

	// It says goodbye and closes at once: whoever is gone already is no error.
	d.send(`{"version":1,"request":"disconnect"}`)
	d.wire.close()
}
