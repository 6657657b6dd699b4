package daemon

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/fsview"
	"waybill/journal"
)

// patience bounds every wait of these tests; none of them sleeps for it.
const patience = time.Minute

// cheapKiB is what hashing a password takes here: hundreds of daemons begin with
// an empty state, and each would spend most of its start on the password of
// admin. That it costs what it should is for fsview/acl, for one daemon here and
// all those of cmd/waybill.
const cheapKiB = 64

// rig is a daemon under test: real journal, real files, real sockets.
type rig struct {
	t    testing.TB
	cfg  Config
	addr string
	// listening has the addresses of the other listeners: "cfms", "ftp".
	listening map[string]string
	token     string
	// stop stops the daemon; wait waits until it has ended of itself.
	stop, wait func() error
}

// start runs a daemon until the test ends. Then it must stop cleanly, its
// journal must verify, and no goroutine of it may be left.
func run(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"),
		Listen: "127.0.0.1:0", Version: "test", Reserve: -1, MinFree: 1,
	}
	if change != nil {
		change(&cfg)
	}
	return restart(t, cfg)
}

func restart(t testing.TB, cfg Config) *rig {
	t.Helper()
	if cfg.passwordKiB == 0 {
		cfg.passwordKiB = cheapKiB
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan string, 1)
	cfg.Ready = func(addr string) { ready <- addr }
	listening := make(map[string]string)
	cfg.Listening = func(what, addr string) { listening[what] = addr } // before it is ready
	done := make(chan error, 1)
	mine := fmt.Sprint("rig ", rigs.Add(1), ".")
	// What it starts has its label: other tests may run beside this one.
	go pprof.Do(ctx, pprof.Labels("daemon", mine), func(ctx context.Context) { done <- Run(ctx, cfg) })
	r := &rig{t: t, cfg: cfg, listening: listening}
	r.wait = sync.OnceValue(func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the daemon does not stop:\n%s", stacks())
		}
	})
	r.stop = func() error {
		cancel()
		return r.wait()
	}
	select {
	case r.addr = <-ready:
	case err := <-done:
		require.NoError(t, err, "the daemon does not start")
	case <-time.After(patience):
		require.Fail(t, "the daemon is never ready")
	}
	t.Cleanup(func() {
		assert.NoError(t, r.stop())
		_, err := journal.Verify(context.Background(), filepath.Join(cfg.State, "journal"))
		assert.NoError(t, err)
		http.DefaultClient.CloseIdleConnections()
		if !soon(func() bool { return !strings.Contains(profile(), mine) }) {
			t.Errorf("goroutines are left of %s:\n%s", mine, profile())
		}
	})
	token, err := os.ReadFile(filepath.Join(cfg.State, "main-token"))
	require.NoError(t, err)
	r.token = string(token)
	return r
}

// rigs counts the daemons that were started.
var rigs atomic.Int64

// profile is where goroutines stand, with their labels.
func profile() string {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1) // never fails
	return b.String()
}

func within[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		require.Fail(t, what)
	}
	return v
}

// do makes an HTTP request; header is pairs.
func (r *rig) do(method, path, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
	require.NoError(r.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(got), res.Header
}

// subtoken issues a token for some permissions.
func (r *rig) subtoken(form url.Values) string {
	r.t.Helper()
	form.Set("token", r.token)
	code, token, _ := r.do("POST", "/subtoken", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(r.t, 200, code, token)
	return token
}

// panel is a client over the socket. Replies are taken in the order they come.
type panel struct {
	t  testing.TB
	ws *websocket.Conn
	n  int
}

func (r *rig) panel(token string) *panel {
	r.t.Helper()
	p, err := r.dial(token)
	require.NoError(r.t, err)
	return p
}

func (r *rig) dial(token string) (*panel, error) {
	u := "ws://" + r.addr + "/api/v1"
	if token != "" {
		u += "?token=" + url.QueryEscape(token)
	}
	ws, _, err := websocket.Dial(context.Background(), u, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(64 << 20)
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	return &panel{t: r.t, ws: ws}, nil
}

func (p *panel) send(msg string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(p.t, p.ws.Write(ctx, websocket.MessageText, []byte(msg)))
}

func (p *panel) sendBinary(msg []byte) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(p.t, p.ws.Write(ctx, websocket.MessageBinary, msg))
}

// next is the next reply, as it came.
func (p *panel) next() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, msg, err := p.ws.Read(ctx)
	require.NoError(p.t, err)
	require.Equal(p.t, websocket.MessageText, kind)
	return string(msg)
}

func (p *panel) reply() panelwire.Reply {
	p.t.Helper()
	msg := p.next()
	r, err := panelwire.ParseReply([]byte(msg))
	require.NoError(p.t, err, msg)
	return r
}

// ask sends a request in the id envelope and does not wait.
func (p *panel) ask(action string, params any) (id string) {
	p.t.Helper()
	p.n++
	id = fmt.Sprint("r", p.n)
	p.send(string(panelwire.AppendRequest(nil, id, action, params)))
	return id
}

// call asks and takes the next reply for the answer.
func (p *panel) call(action string, params any) panelwire.Reply {
	p.t.Helper()
	id := p.ask(action, params)
	r := p.reply()
	require.Equal(p.t, id, r.ID)
	return r
}

// ok calls and unpacks the data of a reply that must be good.
func (p *panel) ok(action string, params any, into any) {
	p.t.Helper()
	r := p.call(action, params)
	require.Equal(p.t, "ok", r.Status, "%s: %d %s", action, r.Retcode, r.Message)
	if into != nil {
		require.NoError(p.t, json.Unmarshal(r.Data, into))
	}
}

// closed reads until the connection ends and returns the close code, -1 if
// there was none.
func (p *panel) closed() (websocket.StatusCode, string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, _, err := p.ws.Read(ctx); err != nil {
			require.NoError(p.t, ctx.Err(), "the connection does not end")
			var ce websocket.CloseError
			if asClose(err, &ce) {
				return ce.Code, ce.Reason
			}
			return -1, err.Error()
		}
	}
}

// upload opens an upload and returns its id.
func (p *panel) upload(path string, size int) string {
	p.t.Helper()
	var opened struct {
		ID string `json:"file_id"`
	}
	p.ok("file_upload_request", map[string]any{"path": path, "size": size, "timeout": 60000}, &opened)
	return opened.ID
}

func (p *panel) chunk(id string, offset int, data []byte) (ref string) {
	p.t.Helper()
	p.n++
	ref = fmt.Sprint("r", p.n)
	p.sendBinary(panelwire.AppendPacket(nil, ref, "file_upload_chunk", map[string]any{"file_id": id, "offset": offset}, data))
	return ref
}

// put stores a whole file.
func (p *panel) put(path string, data []byte) {
	p.t.Helper()
	id := p.upload(path, len(data))
	for at := 0; at < len(data); at += 4 << 20 {
		p.chunk(id, at, data[at:min(at+4<<20, len(data))])
		r := p.reply()
		require.Equal(p.t, "ok", r.Status, r.Message)
	}
}

// records returns the journal of a running daemon.
func (r *rig) records() []record {
	r.t.Helper()
	code, body, _ := r.do("GET", "/journal", "", "Authorization", "Bearer "+r.token)
	require.Equal(r.t, 200, code)
	return parseRecords(r.t, body)
}

type record struct {
	Seq   uint64
	At    string
	Kind  string
	Actor string
	Via   string
	Ref   string
	Body  map[string]any
}

func parseRecords(t testing.TB, lines string) (list []record) {
	t.Helper()
	sc := bufio.NewScanner(strings.NewReader(lines))
	sc.Buffer(nil, journal.MaxLine+1)
	for sc.Scan() {
		var rec record
		require.NoError(t, json.Unmarshal(sc.Bytes(), &rec), sc.Text())
		list = append(list, rec)
	}
	return list
}

func count(list []record, match func(record) bool) (n int) {
	for _, rec := range list {
		if match(rec) {
			n++
		}
	}
	return n
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// raw is a WebSocket client made of nothing but a TCP connection: it owns no
// goroutine, answers no ping and reads only when told to.
func (r *rig) raw(token string) net.Conn {
	r.t.Helper()
	return r.rawAt("/api/v1?token=" + token)
}

// rawAt is raw for any WebSocket of the daemon.
func (r *rig) rawAt(path string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path)
	require.NoError(r.t, err)
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b...) {
		_, err := c.Read(b) // no more: a ping may follow
		require.NoError(r.t, err, "%s", head)
	}
	require.True(r.t, strings.HasPrefix(string(head), "HTTP/1.1 101 "), "%s", head)
	return c
}

// frame is a masked client frame, with the mask that changes nothing.
func frame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

// stall writes msg on a connection that takes little of an answer before its
// peer has to wait: the kernel would take megabytes of it.
func stall(t testing.TB, c net.Conn, msg []byte) {
	t.Helper()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(16<<10))
	_, err := c.Write(msg)
	require.NoError(t, err)
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// soon polls, without a goroutine of its own: testify's would be counted.
func soon(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// bareServer is a server over a running engine, without a listener.
func bareServer(t testing.TB) (s *server, root string) {
	t.Helper()
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{})
	require.NoError(t, err)
	s = bareServerOn(t, log)
	return s, s.cfg.Root
}

// bareServerOn is a bareServer with a journal that it closes in the end.
func bareServerOn(t testing.TB, log *journal.Log) *server {
	t.Helper()
	root := t.TempDir()
	view, err := fsview.OpenRoot(root, fsview.Options{StoreID: "x"})
	require.NoError(t, err)
	state, err := actions.Replay(context.Background(), log)
	require.NoError(t, err)
	cfg := Config{Reserve: -1, Root: root}.withDefaults()
	engine := actions.New(actions.Config{Log: log, Root: view}, state)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- engine.Run(ctx, func() { close(ready) }) }()
	within(t, ready, "never ready")
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, within(t, done, "does not stop"))
		assert.NoError(t, view.Close())
		assert.NoError(t, log.Close())
	})
	return newServer(cfg, engine, newAuthority(bareToken, make([]byte, jwtKeyLen), time.Now), newMetrics())
}

const bareToken = "0123456789abcdefghijklmnopqrstuv"
