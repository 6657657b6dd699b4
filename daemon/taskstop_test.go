package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
)

// A stop lets transfers that are under way end, for so long.
func TestStopSparesTransfers(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.ShutdownGrace = patience })
	data := random(40_000)
	overFTP, overHTTP, reading := r.create(), r.create(), r.read(r.stored(random(32<<20)))
	c, idle := r.ftp(overFTP), r.ftp(overFTP)
	stranger := r.ftpDial("")
	mark := r.received()
	d := c.begin("STOR %s", overFTP.FakeName)
	_, err := d.tls.Write(data[:20_000])
	require.NoError(t, err)
	r.soonReceived(mark + 20_000)
	put := r.slowPut("PUT", overHTTP)
	put.send(data[:20_000])
	r.soonReceived(mark + 2*20_000)
	get := r.slowGet(reading)

	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for _, c := range []*ftpClient{idle, stranger} {
		code, text := c.reply()
		assert.Equal(t, 421, code, text)
		code, _ = c.reply()
		assert.Zero(t, code, "closed")
	}
	_, err = d.tls.Write(data[20_000:])
	require.NoError(t, err)
	require.NoError(t, d.fin())
	code, text := c.reply()
	assert.Equal(t, 226, code, text)
	code, _ = c.reply()
	assert.Equal(t, 421, code, "and that is all")
	put.send(data[20_000:])
	status, _ := put.end()
	assert.Equal(t, 200, status)
	n, err := io.Copy(io.Discard, get.Body)
	assert.NoError(t, err)
	assert.Equal(t, int64(32<<20), n)
	require.NoError(t, get.Body.Close())
	require.NoError(t, within(t, stopped, "does not stop"))

	r.again()
	r.shows(overFTP, data)
	r.shows(overHTTP, data)
}

// What takes longer is cut; what came of it is kept.
func TestStopCutsTransfers(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.ShutdownGrace = 50 * time.Millisecond })
	data := random(40_000)
	overFTP, overHTTP, reading := r.create(), r.create(), r.read(r.stored(random(64<<20)))
	c := r.ftp(overFTP)
	mark := r.received()
	d := c.begin("STOR %s", overFTP.FakeName)
	_, err := d.tls.Write(data[:30_000])
	require.NoError(t, err)
	r.soonReceived(mark + 30_000)
	waiting := r.ftp(overFTP)
	passive := waiting.epsv()
	waiting.send("LIST") // for a data connection that never comes
	put := r.slowPut("PUT", overHTTP)
	put.send(data[:30_000])
	r.soonReceived(mark + 2*30_000)
	get := r.slowGet(reading)
	reader := r.ftp(reading)
	reader.begin("RETR %s", reading.FakeName)

	began := time.Now()
	require.NoError(t, r.stop())
	assert.Less(t, time.Since(began), r.cfg.withDefaults().StopWithin/2)
	_, err = net.Dial("tcp", passive)
	assert.ErrorIs(t, err, unix.ECONNREFUSED)
	code, text := c.reply()
	assert.Contains(t, []int{0, 421}, code, text)
	_ = d.tcp.Close()
	status, _ := put.end()
	assert.Contains(t, []int{0, 503}, status)
	_, err = io.Copy(io.Discard, get.Body)
	assert.Error(t, err)
	require.NoError(t, get.Body.Close())

	r.again()
	for _, o := range []*actions.TaskOpened{overFTP, overHTTP} {
		r.keeps(o, data[:30_000], nil)
	}
	code, _, _ = r.http("PATCH", overHTTP, string(data[30_000:]), headerOffset, "30000", headerComplete, "?1")
	assert.Equal(t, 200, code)
	r.shows(overHTTP, data)
	assert.Equal(t, 230, r.login(reading.ID, reading.Token))
}

// slowPut is an upload over HTTP that goes on when it is told to.
type slowPut struct {
	t    testing.TB
	body *io.PipeWriter
	done chan slowAnswer
}

type slowAnswer struct {
	status int
	header http.Header
	err    error
}

func (r *taskRig) slowPut(method string, o *actions.TaskOpened, header ...string) *slowPut {
	r.t.Helper()
	from, into := io.Pipe()
	req, err := http.NewRequest(method, "http://"+r.addr+taskURL(o), from)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+o.Token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	p := &slowPut{r.t, into, make(chan slowAnswer, 1)}
	go func() {
		res, err := http.DefaultClient.Do(req)
		_ = from.CloseWithError(io.ErrClosedPipe)
		if err != nil {
			p.done <- slowAnswer{err: err}
			return
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		p.done <- slowAnswer{res.StatusCode, res.Header, err}
	}()
	return p
}

func (p *slowPut) send(b []byte) {
	p.t.Helper()
	_, err := p.body.Write(b)
	require.NoError(p.t, err)
}

// end ends the body and returns the answer, 0 if there was none.
func (p *slowPut) end() (int, http.Header) {
	p.t.Helper()
	_ = p.body.Close()
	return p.answer()
}

func (p *slowPut) answer() (int, http.Header) {
	p.t.Helper()
	a := within(p.t, p.done, "no answer")
	return a.status, a.header
}

// slowGet is a download over HTTP whose body nobody reads yet.
func (r *taskRig) slowGet(o *actions.TaskOpened) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+r.addr+taskURL(o), nil)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+o.Token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	require.Equal(r.t, 200, res.StatusCode)
	return res
}

// An upload that broke anywhere goes on over any transport, after a restart, to
// the same content.
func TestUploadsAreResumedAfterARestart(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old := []byte("before")
	data := random(9<<20 + 4321)
	type upload struct {
		o  *actions.TaskOpened
		at int64
	}
	cut := int(random(1)[0])<<8 | int(random(1)[0])
	at := len(data) * (cut + 1) / (1<<16 + 1) // anywhere within
	var broken []upload
	for i := range 3 {
		o := r.write(r.stored(old))
		mark := r.received()
		if i == 2 {
			put := r.slowPut("PUT", o)
			put.send(data[:at])
			r.soonReceived(mark + at)
			_ = put.body.CloseWithError(io.ErrUnexpectedEOF)
			put.answer()
			r.soonStatus(o, "what came is not kept", func(st actions.TaskStatus) bool { return st.Size == int64(at) })
		} else {
			c := r.ftp(o)
			d := c.begin("STOR %s", o.FakeName)
			_, err := d.tls.Write(data[:at])
			require.NoError(t, err)
			r.soonReceived(mark + at)
			require.NoError(t, d.reset())
			code, text := c.reply()
			require.Equal(t, 426, code, text)
		}
		broken = append(broken, upload{o, int64(at)})
	}
	r.again()
	for i, u := range broken {
		r.keeps(u.o, data[:u.at], old)
		c := r.ftp(u.o)
		assert.Equal(t, fmt.Sprintf("213 %d\r\n", u.at), c.want(213, "SIZE %s", u.o.FakeName))
		switch i {
		case 0:
			c.want(350, "REST %d", u.at)
			require.Equal(t, 226, c.put(data[u.at:], "STOR %s", u.o.FakeName))
		case 1:
			require.Equal(t, 226, c.put(data[u.at:], "APPE %s", u.o.FakeName))
		default:
			code, body, _ := r.http("PATCH", u.o, string(data[u.at:]), headerOffset, fmt.Sprint(u.at), headerComplete, "?1")
			require.Equal(t, 200, code, body)
			assert.Contains(t, body, hexSum(data))
		}
		r.shows(u.o, data)
	}
	// What was acknowledged is there after another one.
	r.again()
	for _, u := range broken {
		r.shows(u.o, data)
	}
}

// Whoever acknowledged an upload has it after a crash: nothing of it waits for
// the stop.
func TestAcknowledgedIsDurable(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := [][]byte{random(70_000), random(70_001), random(70_002)}
	over := []*actions.TaskOpened{r.create(), r.create(), r.create()}
	require.Equal(t, 226, r.ftp(over[0]).put(data[0], "STOR %s", over[0].FakeName))
	code, _, _ := r.http("PUT", over[1], string(data[1]))
	require.Equal(t, 200, code)
	code, _, h := r.http("PATCH", over[2], string(data[2]), headerOffset, "0")
	require.Equal(t, 204, code)
	assert.Equal(t, "70002", h.Get(headerOffset))

	// The daemon of the copy knows nothing but what is on the disk now.
	copied := r.copyOfState()
	r.rig = restart(t, copied)
	r.shows(over[0], data[0])
	r.shows(over[1], data[1])
	assert.Equal(t, int64(70_002), r.status(over[2]).Size)
	code, _, _ = r.http("PATCH", over[2], "", headerOffset, "70002", headerComplete, "?1")
	assert.Equal(t, 200, code)
	r.shows(over[2], data[2])
}

// copyOfState is the configuration of a daemon on a copy of what is on the disk
// while this one runs.
func (r *taskRig) copyOfState() Config {
	r.t.Helper()
	cfg := r.cfg
	dir := r.t.TempDir()
	cfg.Root, cfg.State = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	require.NoError(r.t, os.CopyFS(cfg.Root, os.DirFS(r.cfg.Root)))
	require.NoError(r.t, os.CopyFS(cfg.State, os.DirFS(r.cfg.State)))
	return cfg
}
