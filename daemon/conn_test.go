package daemon

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

const nilID = "00000000-0000-0000-0000-000000000000"

// Everything of PROTOCOL.md §2.3, in both envelopes, as it goes over the wire.
func TestRefusalsBeforeAnActionRuns(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.upload"}, "subject": {"s"}}))
	for _, c := range []struct {
		name, msg string
		retcode   int
		rest      string // what else the reply must have
	}{
		{"empty", ``, 10001, `"id":"` + nilID + `"`},
		{"not JSON", `{`, 10001, `"id":"` + nilID + `"`},
		{"not an object", `[]`, 10001, `"id":"` + nilID + `"`},
		{"not UTF-8", "{\"action\":\"\xff\"}", 10001, `"id":"` + nilID + `"`},
		{"id no string", `{"id":1,"action":"ping"}`, 10001, `"id":"` + nilID + `"`},
		{"id too long", `{"id":"` + strings.Repeat("x", 257) + `","action":"ping"}`, 10001, `"id":"` + nilID + `"`},
		{"no action", `{"id":"a"}`, 10001, `"id":"a"`},
		{"no action, echo", `{"echo":{"a":[1]}}`, 10001, `"echo":{"a":[1]}`},
		{"action no string", `{"id":"a","action":5}`, 10001, `"id":"a"`},
		{"unknown", `{"id":"a","action":"nope"}`, 10002, `"id":"a"`},
		{"unknown, echo", `{"action":"nope","echo":7}`, 10002, `"status":"error"`},
		{"unknown in the background", `{"id":"a","action":"ping_async"}`, 10002, ``},
		{"listing in the background", `{"id":"a","action":"get_directory_info_async"}`, 10002, ``},
		{"not offered", `{"id":"a","action":"start_instance"}`, 10004, ``},
		{"not offered in the background", `{"id":"a","action":"start_instance_async"}`, 10004, ``},
		{"no permission, bad params", `{"id":"a","action":"file_download_request","params":5}`, 10003, ``},
		{"no permission, echo", `{"action":"get_file_info","echo":1}`, 10003, `"status":"error"`},
		{"params no object", `{"id":"a","action":"file_upload_request","params":[]}`, 10006, ``},
		{"param missing", `{"id":"a","action":"file_upload_request","params":{}}`, 10006, `size`},
		{"params of ping", `{"id":"a","action":"ping","params":1}`, 10006, ``},
		{"login without token", `{"id":"a","action":"login"}`, 10006, `token`},
		{"login, wrong token", `{"id":"a","action":"login","params":{"token":"x"}}`, 10003, ``},
		{"login, wrong token, echo", `{"action":"login","params":{"token":"x"},"echo":1}`, 10003, `"status":"unauthorized"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := *p
			p.t = t
			p.send(c.msg)
			got := p.next()
			assert.Contains(t, got, fmt.Sprintf(`"retcode":%d`, c.retcode))
			assert.Contains(t, got, c.rest)
		})
	}
	p.send(`{"action":"ping","echo":null}`)
	assert.NotContains(t, p.next(), "echo", "null is absent")
	p.ok("get_permissions", nil, nil)

	refused := count(r.records(), func(x record) bool { return x.Kind == "action.refused" && x.Actor == "s" })
	assert.Equal(t, 23, refused, "every refusal has its record, pings have none")
}

func TestFramesAndPackets(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.token)
	id, err := sessions.ParseID(p.upload("f", 8))
	require.NoError(t, err)
	p.sendBinary(panelwire.AppendUploadFrame(nil, id, 0, []byte("abcd")))
	assert.JSONEq(t, `{"file_id":"`+id.String()+`","done":false,"received":4}`, p.next())
	wrong := panelwire.AppendUploadFrame(nil, id, 4, []byte("efgh"))
	wrong[24] ^= 1
	p.sendBinary(wrong)
	assert.Contains(t, p.next(), `"error"`)
	p.sendBinary([]byte("short"))
	assert.Contains(t, p.next(), nilID)
	p.sendBinary(binary.AppendUvarint([]byte{0xbb, 0x2c, 0, 0}, 1000))
	assert.Contains(t, p.next(), `"retcode":10001`)
	p.sendBinary(panelwire.AppendPacket(nil, "q", "ping", nil, nil))
	assert.Equal(t, "q", p.reply().ID)
	p.sendBinary(panelwire.AppendUploadFrame(nil, id, 4, []byte("efgh")))
	assert.JSONEq(t, `{"file_id":"`+id.String()+`","done":true,"received":8}`, p.next())

	q := r.panel(r.subtoken(url.Values{"permissions": {"x"}}))
	q.sendBinary(panelwire.AppendUploadFrame(nil, id, 0, []byte("abcd")))
	assert.Contains(t, q.next(), `"error"`)
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	r := run(t, func(c *Config) { c.MaxMessage = 1 << 20 })
	sub := r.subtoken(url.Values{"subject": {"ci"}})
	t.Run("only ping and login", func(t *testing.T) {
		p := r.panel("")
		p.send(`{"action":"ping","id":"a"}`)
		assert.Contains(t, p.next(), `"status":"ok"`)
		for _, action := range []string{"get_permissions", "nope", "start_instance", "login_async", "file_upload_request"} {
			p.send(`{"action":"` + action + `","id":"a"}`)
			assert.Contains(t, p.next(), `"retcode":10003`)
			p.send(`{"action":"` + action + `","echo":[2]}`)
			assert.JSONEq(t, `{"status":"unauthorized","data":{},"message":"","retcode":10003,"echo":[2]}`, p.next())
		}
		p.send(`{`)
		assert.Contains(t, p.next(), `"retcode":10001`)
		p.sendBinary(panelwire.AppendUploadFrame(nil, sessions.NewID(), 0, []byte("x")))
		assert.Contains(t, p.next(), `"error"`)
		p.send(`{"action":"login","params":{"token":"` + sub + `"},"id":"l"}`)
		assert.Contains(t, p.next(), `"status":"ok"`)
		p.ok("get_permissions", nil, nil)
		p.send(`{"action":"ping","echo":"` + strings.Repeat("x", maxStrangerMessage) + `"}`)
		assert.Contains(t, p.next()[:100], `"status":"ok"`, "known ones may send more")
	})
	t.Run("three wrong tokens", func(t *testing.T) {
		p := r.panel("")
		for range 2 {
			p.send(`{"action":"login","params":{"token":"x"},"echo":1}`)
			assert.Contains(t, p.next(), `"status":"unauthorized"`)
		}
		p.send(`{"action":"login","params":{"token":"x"},"id":"3"}`)
		assert.Contains(t, p.next(), `"retcode":10003`, "the third is answered too")
		code, _ := p.closed()
		assert.EqualValues(t, 4401, code)
	})
	t.Run("too long a message", func(t *testing.T) {
		p := r.panel("")
		p.send(`{"action":"ping","echo":"` + strings.Repeat("x", maxStrangerMessage) + `"}`)
		code, _ := p.closed()
		assert.Equal(t, websocket.StatusMessageTooBig, code)
	})
	t.Run("the longest message", func(t *testing.T) {
		p := r.panel("")
		msg := `{"action":"ping","echo":"` + strings.Repeat("x", maxStrangerMessage-27) + `"}`
		require.True(t, len(msg) == maxStrangerMessage)
		p.send(msg)
		assert.Contains(t, p.next()[:100], `"status":"ok"`)
		_ = p.ws.CloseNow()
	})
	t.Run("so many at a time", func(t *testing.T) {
		require.True(t, soon(func() bool { return strings.Contains(r.metrics(), `waybill_connections{state="unauthenticated"} 0`) }))
		var all []*panel
		for range maxStrangers {
			all = append(all, r.panel(""))
		}
		_, err := r.dial("")
		require.ErrorContains(t, err, "503")
		_, err = r.dial(sub)
		require.NoError(t, err, "who has a token comes in")
		all[0].send(`{"action":"login","params":{"token":"` + sub + `"}}`)
		all[0].next()
		_, err = r.dial("")
		require.NoError(t, err, "who logged in is no stranger")
		_ = all[1].ws.CloseNow()
		require.True(t, soon(func() bool { _, err := r.dial(""); return err == nil }), "who left makes room")
		for _, p := range all {
			_ = p.ws.CloseNow()
		}
	})
	t.Run("login takes over on a live connection", func(t *testing.T) {
		p := r.panel(r.subtoken(url.Values{"permissions": {"a"}, "subject": {"x"}}))
		assert.Equal(t, 10003, p.call("get_file_info", map[string]any{"path": "q"}).Retcode)
		assert.Equal(t, 10003, p.call("login", map[string]any{"token": "wrong"}).Retcode)
		assert.Equal(t, 10003, p.call("get_file_info", map[string]any{"path": "q"}).Retcode, "a wrong token changes nothing")
		p.ok("login", map[string]any{"token": sub}, nil)
		assert.Equal(t, 21001, p.call("get_file_info", map[string]any{"path": "q"}).Retcode)
	})
	logins := func(kind, actor string) int {
		return count(r.records(), func(x record) bool { return x.Kind == kind && x.Actor == actor && x.Body["action"] == "login" })
	}
	assert.Equal(t, 3, logins("action.answered", "ci"))
	assert.Equal(t, 3, logins("action.refused", unknownSubject))
	assert.Equal(t, 1, logins("action.refused", "x"))
	require.NoError(t, r.stop())
}

func (r *rig) metrics() string {
	_, body, _ := r.do("GET", "/metrics", "")
	return body
}

func TestStrangerRunsOutOfTime(t *testing.T) {
	t.Parallel()
	r := run(t, func(c *Config) { c.LoginWithin, c.PingEvery = 50*time.Millisecond, 100*time.Millisecond })
	known := r.panel(r.token)
	code, _ := r.panel("").closed()
	assert.EqualValues(t, 4401, code)
	known.ok("get_permissions", nil, nil)
}

func TestMessageLimit(t *testing.T) {
	t.Parallel()
	const limit = 3<<20 + 17
	r := run(t, func(c *Config) { c.MaxMessage = limit })
	fill := func(n int) string {
		head, tail := `{"action":"ping","id":"a","params":{"x":"`, `"}}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	p := r.panel(r.token)
	for _, n := range []int{messageBuffer - 1, messageBuffer, messageBuffer + 1, 1 << 20, 1<<20 + 1, 3 << 20, limit} {
		p.send(fill(n))
		assert.Contains(t, p.next(), `"status":"ok"`, "%d bytes", n)
	}
	go func() { _ = p.ws.Write(context.Background(), websocket.MessageText, []byte(fill(limit+1))) }()
	code, _ := p.closed()
	assert.Equal(t, websocket.StatusMessageTooBig, code)

	// In fragments, too, which are otherwise fine.
	q := r.panel(r.token)
	w, err := q.ws.Writer(t.Context(), websocket.MessageText)
	require.NoError(t, err)
	for _, part := range []string{`{"act`, `ion":"pi`, `ng","id":"f"}`} {
		_, err = w.Write([]byte(part))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	assert.Equal(t, "f", q.reply().ID)
	w, err = q.ws.Writer(t.Context(), websocket.MessageBinary)
	require.NoError(t, err)
	go func() {
		for range 4 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	code, _ = q.closed()
	assert.Equal(t, websocket.StatusMessageTooBig, code)
}

// blocked is a daemon whose data syncs can be held up.
type blocked struct {
	*rig
	armed   atomic.Bool
	entered chan struct{}
	hold    chan struct{}
}

func runBlocked(t *testing.T, change func(*Config)) *blocked {
	b := &blocked{entered: make(chan struct{}, 1000), hold: make(chan struct{})}
	b.rig = run(t, func(c *Config) {
		c.FileFault = func(op, _ string, do func() error) error {
			if op == "staged.sync" && b.armed.Load() {
				b.entered <- struct{}{}
				<-b.hold
			}
			return do()
		}
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(b.release)
	return b
}

func (b *blocked) release() {
	if b.armed.Swap(false) {
		close(b.hold)
	}
}

func TestOrderOfOneKey(t *testing.T) {
	t.Parallel()
	b := runBlocked(t, nil)
	p := b.panel(b.token)
	id := p.upload("dir/f", 8)
	other := p.upload("g", 8)
	b.armed.Store(true)
	first := p.chunk(id, 0, []byte("abcd"))
	within(t, b.entered, "no sync")
	// Behind a chunk that is not durable yet: its status, a request for its
	// path, and a rewriting of the same bytes. Beside it: everything else.
	second := p.chunk(id, 0, []byte("ABCD"))
	status := p.ask("file_upload_status", map[string]any{"file_id": id})
	path := p.ask("get_file_info", map[string]any{"path": "./dir//f"})
	aside := p.ask("get_permissions", nil)
	assert.Equal(t, aside, p.reply().ID)
	elsewhere := p.ask("file_upload_status", map[string]any{"file_id": other})
	assert.Equal(t, elsewhere, p.reply().ID)
	p.send(`{"action":"ping","id":"p"}`)
	assert.Equal(t, "p", p.reply().ID)
	b.release()
	var order []string
	for range 4 {
		r := p.reply()
		order = append(order, r.ID)
		if r.ID == status {
			assert.Contains(t, string(r.Data), `"received":4`)
		}
		if r.ID == path {
			assert.Equal(t, 21001, r.Retcode, "not placed yet")
		}
	}
	assert.ElementsMatch(t, []string{first, second}, order[:2])
	assert.Equal(t, []string{status, path}, order[2:])
}

// In a window that completes the file, the chunk that arrived last says done.
func TestDoneIsTheLastToArrive(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.token)
	data := random(64 << 10)
	for round := range 10 {
		id := p.upload(fmt.Sprint("f", round), len(data))
		var refs []string
		for _, i := range rand.Perm(16) {
			refs = append(refs, p.chunk(id, i*4096, data[i*4096:(i+1)*4096]))
		}
		info := p.ask("get_file_info", map[string]any{"path": fmt.Sprint("f", round)})
		for range refs {
			rep := p.reply()
			require.Equal(t, "ok", rep.Status, rep.Message)
			assert.Equal(t, rep.ID == refs[15], strings.Contains(string(rep.Data), `"done":true`), string(rep.Data))
		}
		rep := p.reply()
		assert.Equal(t, info, rep.ID)
		assert.Equal(t, "ok", rep.Status)
	}
}

// Requests with neither id nor echo are answered in the order they came,
// refusals and upload frames included, while others overtake them.
func TestOrderlessAreAnsweredInTurn(t *testing.T) {
	t.Parallel()
	b := runBlocked(t, nil)
	p := b.panel(b.token)
	id := p.upload("f", 8)
	sid, err := sessions.ParseID(id)
	require.NoError(t, err)
	b.armed.Store(true)
	p.sendBinary(panelwire.AppendUploadFrame(nil, sid, 0, []byte("abcd")))
	within(t, b.entered, "no sync")
	p.send(`{"action":"nope"}`)
	p.send(`{"action":"ping"}`)
	p.send(`nonsense`)
	p.send(`{"action":"get_directory_info","params":{"path":"."}}`)
	p.send(`{"action":"get_permissions"}`)
	p.send(`{"action":"login","params":{"token":"x"}}`)
	p.send(`{"action":"ping","echo":1}`)
	assert.Contains(t, p.next(), `"echo":1`)
	b.release()
	for _, want := range []string{`"received":4`, `"retcode":10002`, `"time"`, `"retcode":10001`, `"files"`, `"permissions"`, `"unauthorized"`} {
		assert.Contains(t, p.next(), want)
	}
}

// A reply that waits for an earlier one's turn is waited for in its turn.
func TestStatusBehindAReplyThatWaits(t *testing.T) {
	t.Parallel()
	var held atomic.Value
	held.Store("")
	entered, hold := make(chan struct{}, 1), make(chan struct{})
	r := run(t, func(c *Config) {
		c.FileFault = func(op, name string, do func() error) error {
			if id := held.Load().(string); op == "staged.sync" && id != "" && strings.Contains(name, id) {
				entered <- struct{}{}
				<-hold
			}
			return do()
		}
	})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	p := r.panel(r.token)
	slow, quick := p.upload("f", 8), p.upload("g", 8)
	held.Store(slow)
	send := func(id string) {
		sid, err := sessions.ParseID(id)
		require.NoError(t, err)
		p.sendBinary(panelwire.AppendUploadFrame(nil, sid, 0, []byte("abcd")))
	}
	send(slow)
	within(t, entered, "no sync")
	send(quick)
	p.ask("file_upload_status", map[string]any{"file_id": quick})
	// The quick chunk is stored; its reply and what comes behind it wait.
	q := r.panel(r.token)
	require.True(t, soon(func() bool {
		return strings.Contains(string(q.call("file_upload_status", map[string]any{"file_id": quick}).Data), `"received":4`)
	}))
	p.send(`{"action":"ping","id":"p"}`)
	assert.Equal(t, "p", p.reply().ID)
	release()
	assert.Contains(t, p.next(), slow)
	assert.Contains(t, p.next(), `{"file_id":"`+quick)
	assert.Contains(t, p.next(), `"state":"open"`)
}

func TestTooManyPending(t *testing.T) {
	t.Parallel()
	b := runBlocked(t, func(c *Config) { c.MaxPending = 4 })
	p := b.panel(b.token)
	id := p.upload("f", 100)
	b.armed.Store(true)
	p.chunk(id, 0, []byte("x"))
	within(t, b.entered, "no sync")
	for i := 1; i < 4; i++ {
		p.chunk(id, 2*i, []byte("x"))
	}
	const flood = 50
	for range flood {
		ref := p.ask("get_permissions", nil)
		rep := p.reply()
		assert.Equal(t, ref, rep.ID)
		assert.Equal(t, 10005, rep.Retcode)
	}
	p.send(`{"action":"ping","id":"p"}`)
	assert.Equal(t, "ok", p.reply().Status, "a ping is never too many")
	p.send(`{"action":"nope","id":"n"}`)
	assert.Equal(t, 10002, p.reply().Retcode)
	q := b.panel(b.token)
	q.ok("get_permissions", nil, nil)
	b.release()
	for range 4 {
		assert.Equal(t, "ok", p.reply().Status, "none is dropped")
	}
	p.ok("get_permissions", nil, nil)
	n := count(b.records(), func(x record) bool { return x.Kind == "action.refused" && x.Body["code"] == "rate_limited" })
	assert.Equal(t, flood, n)
}

func TestInTheBackground(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.token)
	var job struct {
		Job string `json:"job"`
	}
	p.ok("file_upload_request_async", map[string]any{"path": "f", "size": 4}, &job)
	var status struct {
		State string `json:"state"`
		Data  opened `json:"data"`
	}
	require.True(t, soon(func() bool {
		p.ok("get_job", map[string]any{"job": job.Job}, &status)
		return status.State == "ok"
	}))
	p.send(string(panelwire.AppendRequest(nil, "c", "file_upload_chunk_async",
		map[string]any{"file_id": status.Data.ID, "offset": 0, "data": "YWJjZA==", "encoding": "base64"})))
	assert.Equal(t, "ok", p.reply().Status)
	require.True(t, soon(func() bool { return p.call("get_file_info", map[string]any{"path": "f"}).Status == "ok" }))
	p.send(`{"action":"get_permissions_async","echo":"e"}`)
	assert.JSONEq(t, `{"status":"async","retcode":0,"message":"","data":{},"echo":"e"}`, p.next())
	assert.Equal(t, 10006, p.call("file_upload_request_async", map[string]any{"size": 0}).Retcode)
	assert.Equal(t, 10006, p.call("get_job", map[string]any{"job": nilID}).Retcode)
}

type opened struct {
	ID string `json:"file_id"`
}

// Nothing a client sends brings the daemon down or out of step.
func TestGarbage(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	good := string(panelwire.AppendRequest(nil, "x", "file_upload_request", map[string]any{"path": "a", "size": 5}))
	packet := panelwire.AppendPacket(nil, "x", "file_upload_chunk", map[string]any{"file_id": nilID, "offset": 0}, []byte("data"))
	for _, token := range []string{r.token, ""} {
		p := r.panel(token)
		for i := range 200 {
			b := []byte(good)
			if i%2 == 0 {
				b = append([]byte{}, packet...)
			}
			for range 1 + rng.IntN(4) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			b = b[:rng.IntN(len(b)+1)]
			if i%2 == 0 {
				p.sendBinary(b)
			} else {
				p.send(string(b))
			}
			p.next() // one reply a message, whatever it was
		}
		p.send(`{"action":"ping","id":"still"}`)
		assert.Equal(t, "still", p.reply().ID)
	}
	// Bytes that are no WebSocket at all.
	for range 50 {
		c := r.raw(r.token)
		_, _ = c.Write(random(1 + rng.IntN(200)))
		_ = c.Close()
	}
	r.panel(r.token).ok("get_permissions", nil, nil)
}
