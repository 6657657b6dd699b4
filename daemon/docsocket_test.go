package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon/docwire"
	"waybill/fsview/acl"
)

// commits is a journal whose commits can be held up, or made to fail.
type commits struct {
	armed, failing atomic.Bool
	entered, hold  chan struct{}
	once           sync.Once
}

func newCommits(t *testing.T) *commits {
	c := &commits{entered: make(chan struct{}, 1000), hold: make(chan struct{})}
	t.Cleanup(c.release)
	return c
}

func (c *commits) step(op string, do func() error) error {
	if op == "commit" && c.armed.Load() {
		c.entered <- struct{}{}
		<-c.hold
	}
	if op == "commit" && c.failing.Load() {
		return net.ErrClosed
	}
	return do()
}

func (c *commits) release() {
	c.armed.Store(false)
	c.once.Do(func() { close(c.hold) })
}

// main asks with the daemon's own token, which proves at once who asks.
func (r *rig) main(p *docPanel) *docPanel {
	p.user, p.token = "", r.token
	return p
}

// traced is a request that is found by its reply.
func (p *docPanel) traced(id string) string {
	return string(docwire.AppendRequest(nil, "getPolicy", map[string]any{"policy_id": "recycle"}, p.user, p.token, id))
}

func TestDocSocketHandshake(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	code, _, header := r.do("GET", "/cfms/v1", "")
	assert.Equal(t, http.StatusUpgradeRequired, code)
	assert.Equal(t, "websocket", header.Get("Upgrade"))
	code, _, _ = r.do("POST", "/cfms/v1", "")
	assert.Equal(t, http.StatusMethodNotAllowed, code)
	ws, _, err := websocket.Dial(t.Context(), "ws://"+r.addr+"/cfms/v1", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	require.NoError(t, err, "any origin")
	p := r.main(&docPanel{t: t, wire: &docWeb{ws: ws}})
	p.ok("getRootDir", nil, nil)
	p.wire.close()
}

// Replies come in the order of the requests, of which 64 wait beside the one
// that runs; then reading stops.
func TestDocSocketOrder(t *testing.T) {
	t.Parallel()
	gate := newCommits(t)
	r := runDocs(t, func(c *Config) { c.JournalFault = gate.step })
	p := r.main(r.docSocket())
	p.ok("getRootDir", nil, nil)
	gate.armed.Store(true)
	const n = 200
	for i := range n {
		switch i % 4 {
		case 1:
			p.send(`{"trace_id":"` + fmt.Sprint(i) + `"}`)
		default:
			p.send(p.traced(fmt.Sprint(i)))
		}
	}
	within(t, gate.entered, "nothing is committed")
	require.True(t, soon(func() bool { return r.gauge("pending_requests") == 1+maxDocWaiting }))
	settled()
	assert.EqualValues(t, 1+maxDocWaiting, r.gauge("pending_requests"))
	gate.release()
	for i := range n {
		rep := p.reply()
		require.Equal(t, fmt.Sprint(i), rep.Text("trace_id"))
		require.Equal(t, i%4 == 1, rep.Code != 0)
	}
	require.True(t, soon(func() bool { return r.gauge("pending_requests") == 0 }))
}

// Many bytes wait no more than many requests.
func TestDocSocketHoldsFewBytes(t *testing.T) {
	t.Parallel()
	gate := newCommits(t)
	r := runDocs(t, func(c *Config) { c.JournalFault = gate.step })
	p := r.main(r.docSocket())
	p.ok("getRootDir", nil, nil)
	gate.armed.Store(true)
	p.send(p.traced("first"))
	within(t, gate.entered, "nothing is committed")
	long := `{"x":"` + strings.Repeat("x", 1<<20-100) + `"}`
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 10 {
			_ = p.wire.send([]byte(long)) // the replies below tell if not
		}
	}()
	most := float64(1 + maxDocHeld/len(long) + 1)
	require.True(t, soon(func() bool { return r.gauge("pending_requests") == most }))
	settled()
	assert.Equal(t, most, r.gauge("pending_requests"))
	gate.release()
	assert.Equal(t, "first", p.trace())
	for range 10 {
		assert.Equal(t, -1, p.reply().Code)
	}
	within(t, sent, "it is not read")
}

func TestDocSocketMessageLimits(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	tooLong := func(p *docPanel, n int) {
		t.Helper()
		p.send(p.traced("before"))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_ = p.wire.send([]byte(text(n))) // it may be closed meanwhile
		}()
		p.reply()
		code, _ := p.closed()
		assert.Equal(t, websocket.StatusMessageTooBig, code)
		within(t, sent, "it is not read")
	}
	p := r.docSocket()
	for _, n := range []int{2, docwire.StrangerLimit} {
		assert.Contains(t, p.say(text(n)), "invaild request format", "%d bytes", n)
	}
	tooLong(p, docwire.StrangerLimit+1)

	admin := r.admin(overWebSocket)
	refreshed := r.docSocket()
	refreshed.user, refreshed.token = admin.user, admin.token
	refreshed.ok("refreshToken", nil, nil)
	proven := r.docSocket()
	proven.user, proven.token = admin.user, admin.token
	assert.Equal(t, 404, proven.call("getPolicy", map[string]any{"policy_id": "nope"}).Code)
	for _, p := range []*docPanel{admin, refreshed, proven} {
		for _, n := range []int{docwire.StrangerLimit + 1, docwire.UserLimit} {
			assert.Contains(t, p.say(text(n)), "invaild request format", "%d bytes", n)
		}
		tooLong(p, docwire.UserLimit+1)
	}

	stranger := r.docSocket()
	stranger.user, stranger.token = "admin", "x"
	stranger.call("getRootDir", nil)
	stranger.call("refreshToken", nil)
	stranger.call("nope", nil)
	tooLong(stranger, docwire.StrangerLimit+1)

	// In fragments, too.
	q := r.docSocket()
	w, err := q.wire.(*docWeb).ws.Writer(t.Context(), websocket.MessageText)
	require.NoError(t, err)
	for _, part := range []string{`{"vers`, `ion":2,`, `"trace_id":"f"}`} {
		_, err = w.Write([]byte(part))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	assert.Equal(t, "f", q.trace())
}

func TestDocSocketWrongMessages(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	for name, c := range map[string]struct {
		kind websocket.MessageType
		msg  string
		code websocket.StatusCode
	}{
		"binary":            {websocket.MessageBinary, `{"version":1}`, websocket.StatusUnsupportedData},
		"binary, much":      {websocket.MessageBinary, strings.Repeat("x", 1<<20), websocket.StatusUnsupportedData},
		"not UTF-8":         {websocket.MessageText, "{\"version\":\"\xff\"}", websocket.StatusInvalidFramePayloadData},
		"not UTF-8 and cut": {websocket.MessageText, "{\"version\":\"\xe2\x82\"}", websocket.StatusInvalidFramePayloadData},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.main(r.docSocket())
			p.t = t
			// What came before is answered, what comes behind is not.
			p.send(p.traced("before"))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, p.wire.(*docWeb).ws.Write(ctx, c.kind, []byte(c.msg)))
			_ = p.wire.send([]byte(p.traced("behind"))) // it may be closed already
			assert.Equal(t, "before", p.trace())
			text, err := p.wire.receive()
			var ce websocket.CloseError
			require.True(t, asClose(err, &ce), "%s %v", text, err)
			assert.Equal(t, c.code, ce.Code)
		})
	}
}

func TestDocSocketLoginInTime(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.LoginWithin, c.PingEvery = 2*time.Second, 100*time.Millisecond })
	known := r.main(r.docSocket())
	known.ok("getRootDir", nil, nil)
	busy := r.docSocket()
	busy.user, busy.token = "admin", "x"
	busy.call("getRootDir", nil)
	for _, p := range []*docPanel{r.docSocket(), busy} {
		code, reason := p.closed()
		assert.EqualValues(t, 4401, code)
		assert.Equal(t, "not authenticated", reason)
	}
	known.ok("getRootDir", nil, nil)
}

func TestDocSocketStrangers(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	gauge := func(state string) float64 {
		return r.gauge(`document_connections{state="` + state + `",transport="websocket"}`)
	}
	var all []*docPanel
	for range maxStrangers {
		all = append(all, r.docSocket())
	}
	_, err := r.dialDocs()
	require.ErrorContains(t, err, "503")
	assert.EqualValues(t, maxStrangers, gauge("unauthenticated"))
	code, _, _ := r.do("GET", "/cfms/v1", "")
	assert.Equal(t, http.StatusUpgradeRequired, code, "a plain GET is told what it is")
	_, err = r.dial("")
	require.NoError(t, err, "panels are counted apart")

	r.main(all[0]).ok("getRootDir", nil, nil)
	assert.EqualValues(t, 1, gauge("authenticated"))
	_, err = r.dialDocs()
	require.NoError(t, err, "who is known is no stranger")
	all[1].wire.close()
	require.True(t, soon(func() bool { _, err := r.dialDocs(); return err == nil }), "who left makes room")
	all[0].wire.close()
	require.True(t, soon(func() bool { return gauge("authenticated") == 0 }))
	assert.EqualValues(t, maxStrangers, gauge("unauthenticated"))
	for _, p := range all {
		p.wire.close()
	}
}

// What comes behind a disconnect is dropped, whatever it is.
func TestDocSocketDisconnect(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	p := r.main(r.docSocket())
	for _, text := range []string{
		p.traced("1"), p.request("disconnect", nil), p.request("createUser", map[string]any{"username": "late", "password": "x"}), "garbage", "\xff",
	} {
		_ = p.wire.send([]byte(text)) // it may be closed already
	}
	assert.Equal(t, "1", p.trace())
	assert.Equal(t, docwire.Goodbye, p.next())
	_, err := p.wire.receive()
	var ce websocket.CloseError
	require.True(t, asClose(err, &ce), "%v", err)
	assert.Equal(t, websocket.StatusNormalClosure, ce.Code)
	assert.Equal(t, 404, r.main(r.docSocket()).call("getUserProperties", map[string]any{"username": "late"}).Code)
}

func TestDocSocketStop(t *testing.T) {
	t.Parallel()
	gate := newCommits(t)
	r := runDocs(t, func(c *Config) { c.JournalFault = gate.step })
	idle, busy := r.main(r.docSocket()), r.main(r.docSocket())
	idle.ok("getRootDir", nil, nil)
	busy.ok("getRootDir", nil, nil)
	gate.armed.Store(true)
	const n = 20
	for i := range n {
		busy.send(busy.traced(fmt.Sprint("t", i)))
	}
	within(t, gate.entered, "nothing is committed")
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	code, reason := idle.closed()
	assert.Equal(t, websocket.StatusGoingAway, code)
	assert.Equal(t, "daemon exit", reason)
	gate.release()
	// The one being run is answered, and what is not answered was not done.
	answered := 0
	for {
		text, err := busy.wire.receive()
		if err != nil {
			assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "%v", err)
			break
		}
		assert.Equal(t, fmt.Sprint("t", answered), traceOf(parseDoc(t, string(text))))
		answered++
	}
	assert.Positive(t, answered)
	require.NoError(t, within(t, stopped, "the daemon does not stop"))
	list := parseRecords(t, r.stoppedJournal())
	assert.Equal(t, answered, count(list, func(x record) bool { return x.Ref[0] == 't' && x.Body["action"] == "getPolicy" }))
}

// When the journal fails, nobody is answered.
func TestDocsWhenTheJournalFails(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{overWebSocket, overX25519} {
		t.Run(transport, func(t *testing.T) {
			gate := newCommits(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cfg := Config{
				Root: t.TempDir(), State: t.TempDir() + "/state", Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1,
				AdminPassword: adminPassword, CFMSListen: "127.0.0.1:0", CFMSKeyExchange: overX25519, JournalFault: gate.step,
			}
			ready, done := make(chan string, 1), make(chan error, 1)
			r := &rig{t: t, cfg: cfg, listening: map[string]string{}}
			cfg.Ready = func(addr string) { ready <- addr }
			cfg.Listening = func(what, addr string) { r.listening[what] = addr }
			go func() { done <- Run(ctx, cfg) }()
			r.addr = within(t, ready, "never ready")
			idle, busy := r.docs(transport), r.admin(transport)
			gate.failing.Store(true)
			busy.ask("getRootDir", nil)
			assert.Empty(t, busy.over())
			assert.Empty(t, idle.over())
			assert.Error(t, within(t, done, "it goes on"))
		})
	}
}

// A peer that sends and does not read is closed when its replies are too many.
func TestDocSocketUnread(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.CloseWithin = 100 * time.Millisecond })
	c := r.rawAt("/cfms/v1")
	msg := frame(opcodeText, []byte(`{"trace_id":"`+strings.Repeat(`\u0001`, 128)+`"}`))
	many := bytes.Repeat(msg, 64)
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(patience)))
	var err error
	for err == nil {
		_, err = c.Write(many)
	}
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, soon(func() bool { return r.gauge("slow_consumers_closed_total") == 1 }))
	r.main(r.docSocket()).ok("getRootDir", nil, nil)
}

// bigListing makes a directory of many long names and returns its id.
func bigListing(r *rig) string {
	const id, dirs = "big", 300
	first := r.main(r.docSocket())
	first.ok("createDir", map[string]any{"name": "big", "dir_id": id}, nil)
	var all sync.WaitGroup
	for w := range 4 {
		p := r.main(r.docSocket())
		all.Go(func() {
			for i := range dirs / 4 {
				p.ask("createDir", map[string]any{"name": strings.Repeat("😀", 250), "dir_id": fmt.Sprint(w, "-", i), "parent_id": id})
			}
			for range dirs / 4 {
				if rep := p.reply(); rep.Code != 0 {
					r.t.Error(rep.Msg)
				}
			}
			p.wire.close()
		})
	}
	all.Wait()
	return id
}

// Replies of any size are made one at a time: a peer that reads them slowly is
// not too slow, and they are not all in memory.
func TestDocsBigReplies(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	id := bigListing(r)
	t.Run(overWebSocket, func(t *testing.T) {
		p := r.main(r.docSocket())
		const n = 40
		for range n {
			p.ask("operateDir", map[string]any{"dir_id": id, "action": "list"})
		}
		total := 0
		for range n {
			text := p.next()
			total += len(text)
			assert.True(t, strings.HasSuffix(text, `"dir_name":"big"}`))
			require.LessOrEqual(t, r.gauge("large_reply_bytes"), float64(2*listingCost))
		}
		assert.Greater(t, total, 2*maxDocReplies)
		p.ok("getRootDir", nil, nil)
		require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") == 0 }))
	})
	t.Run(overX25519, func(t *testing.T) {
		// As shipped clients read, quickly or slowly: a part of a slice in the
		// middle of a message would be its end.
		for _, buffer := range []int{0, 4 << 10} {
			p := r.main(r.docLegacy())
			w := p.wire.(*docTCP)
			if buffer > 0 {
				require.NoError(t, w.conn.(*net.TCPConn).SetReadBuffer(buffer))
			}
			for range 10 {
				text := p.say(p.request("operateDir", map[string]any{"dir_id": id, "action": "list"}))
				require.True(t, strings.HasSuffix(text, `"dir_name":"big"}`))
			}
		}
		require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") == 0 }))
	})
	t.Run("nobody reads", func(t *testing.T) {
		// As many as fit are made; the rest waits, and ends with its peer.
		var raws []net.Conn
		list := frame(opcodeText, docwire.AppendRequest(nil, "operateDir", map[string]any{"dir_id": id, "action": "list"}, "", r.token, ""))
		for range 8 {
			c := r.rawAt("/cfms/v1")
			_, err := c.Write(bytes.Repeat(list, 60))
			require.NoError(t, err)
			raws = append(raws, c)
		}
		settled()
		assert.LessOrEqual(t, r.gauge("large_reply_bytes"), float64(listingBudget))
		for _, c := range raws {
			_ = c.Close()
		}
		require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") == 0 && r.gauge("pending_requests") == 0 }))
	})
}

// An idle connection owns one goroutine, after a request too.
func TestDocSocketIdle(t *testing.T) {
	r := runDocs(t, nil)
	ask := frame(opcodeText, docwire.AppendRequest(nil, "getRootDir", nil, "", r.token, ""))
	connect := func() net.Conn {
		c := r.rawAt("/cfms/v1")
		_, err := c.Write(ask)
		require.NoError(t, err)
		assert.Contains(t, dataFrame(t, c), `"code":0`)
		return c
	}
	connect()
	require.True(t, soon(settled))
	before := runtime.NumGoroutine()
	const n = 100
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = connect()
	}
	require.True(t, soon(func() bool {
		return runtime.NumGoroutine() <= before+n && r.gauge(`document_connections{state="authenticated",transport="websocket"}`) == float64(1+n)
	}))
	for _, c := range conns {
		_ = c.Close()
	}
}

// Pings go both ways while a request runs; who is silent is dropped.
func TestDocSocketPings(t *testing.T) {
	t.Parallel()
	gate := newCommits(t)
	r := runDocs(t, func(c *Config) {
		c.JournalFault = gate.step
		c.PingEvery, c.SilentAfter, c.CloseWithin = 50*time.Millisecond, time.Second, 100*time.Millisecond
	})
	p := r.main(r.docSocket())
	p.ok("getRootDir", nil, nil)
	gate.armed.Store(true)
	p.send(p.traced("held"))
	within(t, gate.entered, "nothing is committed")
	got := make(chan string, 1)
	go func() {
		text, err := p.wire.receive()
		got <- fmt.Sprint(string(text), err)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, p.wire.(*docWeb).ws.Ping(ctx), "it is answered")
	gate.release()
	assert.Contains(t, within(t, got, "no reply"), `"trace_id":"held"`)

	silent := r.rawAt("/cfms/v1")
	op, _ := readFrame(t, silent)
	assert.EqualValues(t, opcodePing, op)
	ended(t, silent)
}

// A refused login is answered late, on its own connection only, and at once
// when the daemon stops.
func TestFailedLoginsWait(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{overWebSocket, overX25519} {
		t.Run(transport, func(t *testing.T) {
			r := runDocs(t, nil)
			admin := r.main(r.docs(transport))
			delay := func(seconds float64) {
				var policy map[string]any
				admin.ok("getPolicy", map[string]any{"policy_id": "user_auth"}, &policy)
				policy["sleep_when_login_fail"] = seconds
				admin.ok("setPolicy", map[string]any{"policy_id": "user_auth", "content": policy}, nil)
			}
			wrong := map[string]any{"username": "admin", "password": acl.HashTyped("x")}
			delay(0.2)
			p := r.docs(transport)
			begun := time.Now()
			assert.Equal(t, 401, p.call("login", wrong).Code)
			assert.GreaterOrEqual(t, time.Since(begun), 200*time.Millisecond)
			delay(100)
			p.ask("login", wrong)
			require.True(t, soon(func() bool {
				return count(r.records(), func(x record) bool { return x.Body["code"] == "bad_login" }) == 2
			}))
			admin.ok("getRootDir", nil, nil)
			begun = time.Now()
			texts := r.stopDuring(func() []string { _ = admin.over(); return p.over() })
			require.Len(t, texts, 1)
			assert.Equal(t, 401, parseDoc(t, texts[0]).Code)
			assert.Less(t, time.Since(begun), 5*time.Second)
		})
	}
}

// Tokens that have run out, or are of nobody.
func TestTokensOutOfDate(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	secret, err := os.ReadFile(filepath.Join(r.cfg.State, fileTokenSecret))
	require.NoError(t, err)
	for _, transport := range []string{overWebSocket, overX25519} {
		p := r.docs(transport)
		for _, c := range []struct {
			name, subject string
			expired, from time.Duration
			use, refresh  int
		}{
			{"good", "admin", -time.Hour, 0, 0, 0},
			{"just expired", "admin", 10 * time.Second, -time.Hour, -1, 0},
			{"long expired", "admin", 70 * time.Second, -time.Hour, -1, 401},
			{"of the future", "admin", -2 * time.Hour, time.Hour, -1, 401},
			{"of nobody", "nobody", -time.Hour, 0, -1, 401},
		} {
			now := time.Now()
			token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
				"exp": now.Add(-c.expired).Unix(), "nbf": now.Add(c.from).Unix(), "iat": now.Unix() + 1,
				"sub": c.subject, "can_be_used": "all",
			}).SignedString(secret)
			require.NoError(t, err)
			p.user, p.token = c.subject, token
			assert.Equal(t, c.use, p.call("getRootDir", nil).Code, "%s: use", c.name)
			assert.Equal(t, c.refresh, p.call("refreshToken", nil).Code, "%s: refresh", c.name)
		}
	}
}

// A failure inside the daemon tells nothing of itself, and ends nothing.
func TestDocFailureInside(t *testing.T) {
	t.Parallel()
	s, _ := bareServer(t) // without a document library
	d := newDocSession(s, "127.0.0.1:1", "test")
	for range 2 {
		r := d.do(t.Context(), nil, docwire.AppendRequest(nil, "getPolicy", nil, "admin", "x", "t"))
		assert.Equal(t, `{"code":500,"msg":"internal server error","trace_id":"t","api_version":"v1"}`, string(r.text))
		assert.Equal(t, docStay, r.then)
	}
}
