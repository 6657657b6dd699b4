package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

func TestQuota(t *testing.T) {
	t.Parallel()
	var told []string
	q := newQuota("things", "things", 3, 2, func(limit string) { told = append(told, limit) })
	ann, bob := subject{name: "ann"}, subject{name: "bob"}
	require.Nil(t, q.take(ann))
	require.Nil(t, q.take(ann))
	assert.Same(t, q.fullEach, q.take(ann))
	require.Nil(t, q.take(subject{name: "ann", user: true}), "a user is no subject")
	assert.Same(t, q.full, q.take(bob))
	q.give(subject{name: "ann", user: true})
	require.Nil(t, q.take(subject{}), "nobody counts for all only")
	assert.Same(t, q.fullEach, q.move(subject{}, ann))
	require.Nil(t, q.move(subject{}, bob))
	require.Nil(t, q.move(bob, bob))
	assert.Equal(t, []string{"things_per_subject", "things", "things_per_subject"}, told)
	for _, who := range []subject{ann, ann, bob} {
		q.give(who)
	}
	assert.Zero(t, q.count())
	assert.Empty(t, q.by)

	none := newQuota("things", "things", -1, 0, nil)
	for range 10_000 {
		require.Nil(t, none.take(ann))
	}
}

// However many ask at once: as many as may get one, and all of them come back.
func TestQuotaAtOnce(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	q := newQuota("things", "things", 50, 20, func(string) { refused.Add(1) })
	var all sync.WaitGroup
	var got [4]atomic.Int64
	for i := range 400 {
		all.Go(func() {
			if q.take(subject{name: strconv.Itoa(i % 4)}) == nil {
				got[i%4].Add(1)
			}
		})
	}
	all.Wait()
	n := int64(0)
	for i := range got {
		assert.LessOrEqual(t, got[i].Load(), int64(20))
		n += got[i].Load()
	}
	assert.Equal(t, int64(50), n)
	assert.Equal(t, int64(350), refused.Load())
}

// limitRefusals is how often a limit has refused something.
func (r *rig) limitRefusals(limit string) int {
	r.t.Helper()
	_, after, ok := strings.Cut(r.metrics(), `waybill_limit_refusals_total{limit="`+limit+`"} `)
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	require.NoError(r.t, err)
	return n
}

// limited counts the records of somebody who found a limit reached.
func (r *rig) limitRecords(actor, action string) int {
	r.t.Helper()
	return count(r.records(), func(rec record) bool {
		code := rec.Body["code"]
		return rec.Kind == actions.KindRefused && rec.Actor == actor && rec.Body["action"] == action &&
			(code == "rate_limited" || code == "busy" || code == "disk_full")
	})
}

// knock asks for a WebSocket and returns what it is answered with.
func (r *rig) knock(path string) (int, http.Header) {
	r.t.Helper()
	code, _, h := r.do("GET", path, "", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	return code, h
}

func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.Load.MaxConnections, c.Load.MaxConnectionsPerSubject = 4, 2 })
	ann := r.subtoken(url.Values{"subject": {"ann"}})
	refused := func(status int, path string) {
		t.Helper()
		code, h := r.knock(path)
		assert.Equal(t, status, code)
		assert.Equal(t, comeAgain, h.Get("Retry-After"))
	}
	first, _ := r.panel(ann), r.panel(ann)
	refused(429, "/api/v1?token="+ann)
	assert.Equal(t, 1, r.limitRecords("ann", "login"))
	assert.Equal(t, 1, r.limitRefusals("connections_per_subject"))

	// Who logs in later is counted then; who logs in as somebody else, anew.
	late := r.panel("")
	assert.Equal(t, 10005, late.call("login", map[string]any{"token": ann}).Retcode)
	assert.Equal(t, 10003, late.call("get_permissions", nil).Retcode, "still a stranger")
	assert.Equal(t, 2, r.limitRecords("ann", "login"))
	first.ok("login", map[string]any{"token": r.token}, nil)
	late.ok("login", map[string]any{"token": ann}, nil)
	late.ok("get_permissions", nil, nil)

	// All together.
	r.docSocket()
	refused(503, "/api/v1?token="+r.token)
	refused(503, "/api/v1")
	refused(503, "/cfms/v1")
	assert.Equal(t, 1, r.limitRecords("main", "login"))
	assert.Equal(t, 3, r.limitRefusals("connections"))
	first.ok("ping", nil, nil)
	require.NoError(t, first.ws.Close(websocket.StatusNormalClosure, ""))
	require.True(t, soon(func() bool { _, err := r.dial(r.token); return err == nil }))
}

// A user of the document library is counted from when it is known who that is.
func TestConnectionLimitOfUsers(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.Load.MaxConnectionsPerSubject = 1 })
	p := r.admin(overWebSocket)
	q := r.docSocket()
	assert.Zero(t, q.login("admin", adminPassword).Code, "what was asked is done")
	code, why := q.closed()
	assert.Equal(t, websocket.StatusTryAgainLater, code)
	assert.Equal(t, "too many connections", why)
	p.ok("getRootDir", map[string]any{}, nil)
	p.wire.close()
	require.True(t, soon(func() bool {
		q := r.docSocket()
		defer q.wire.close()
		q.login("admin", adminPassword)
		q.ask("getRootDir", map[string]any{})
		_, err := q.wire.receive()
		return err == nil
	}))
}

func TestPendingLimits(t *testing.T) {
	t.Parallel()
	b := runBlocked(t, func(c *Config) { c.Load.MaxPending, c.Load.MaxPendingPerSubject = 4, 3 })
	other := b.subtoken(url.Values{"subject": {"other"}})
	p, q, o := b.panel(b.token), b.panel(b.token), b.panel(other)
	id := p.upload("f", 8)
	b.armed.Store(true)
	first := p.chunk(id, 0, []byte("abcd"))
	within(t, b.entered, "no sync")
	p.ask("file_upload_status", map[string]any{"file_id": id})
	q.ask("file_upload_status", map[string]any{"file_id": id})
	require.True(t, soon(func() bool { return b.gauge("pending_requests") >= 2 }))
	// q's was answered by itself, or waits: either way p's two are there.
	q.reply()
	q.chunk(id, 4, []byte("e"))
	require.True(t, soon(func() bool { return b.gauge("pending_requests") == 3 }))
	rep := q.call("get_permissions", nil)
	assert.Equal(t, 10005, rep.Retcode)
	assert.Contains(t, rep.Message, "requests pending of one subject")
	q.ok("ping", nil, nil)
	o.chunk(id, 5, []byte("f"))
	require.True(t, soon(func() bool { return b.gauge("pending_requests") == 4 }))
	rep = o.call("get_permissions", nil)
	assert.Equal(t, 10005, rep.Retcode)
	o.ok("ping", nil, nil)
	assert.Equal(t, 1, b.limitRefusals("pending"))
	assert.Equal(t, 1, b.limitRefusals("pending_per_subject"))
	assert.Equal(t, 1, b.limitRecords("other", "get_permissions"))
	b.release()
	assert.Equal(t, first, p.reply().ID)
	p.reply()
	q.reply()
	o.reply()
	require.True(t, soon(func() bool { return b.gauge("pending_requests") == 0 }))
	for range 20 {
		o.ok("get_permissions", nil, nil)
	}
}

// hold begins a transfer that does not end by itself.
func (r *taskRig) hold(path string) *slow {
	r.t.Helper()
	before := r.transferring()
	s := r.slow("PUT", path, 10)
	require.True(r.t, soon(func() bool { return r.transferring() == before+1 }))
	return s
}

func (r *taskRig) transferring() int { return r.s.transfers.count() }

// expects sends the head of a request whose body would be a long one, and returns
// what it is answered with: never that the body may come.
func (r *taskRig) expects(token, method, path string, header ...string) (int, http.Header) {
	r.t.Helper()
	conn := dialFrom(r.t, "", r.addr)
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n", method, path, token)
	for i := 0; i < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	_, err := io.WriteString(conn, head+"\r\n")
	require.NoError(r.t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(r.t, err)
	assert.GreaterOrEqual(r.t, res.StatusCode, 400, "%s %s", method, path)
	return res.StatusCode, res.Header
}

func TestTransferLimits(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.Load.MaxTransfers, c.Load.MaxTransfersPerSubject = 3, 2 })
	require.NoError(t, os.WriteFile(r.at("file"), random(100), 0o644))
	ann := r.subtoken(url.Values{"subject": {"ann"}})
	get, signed := r.downloads("file")
	doc, back := r.create(), r.read(r.stored(random(100)))
	ours := r.opens("c", 10)
	patches := r.creates(10, headerMetadata, meta("path", "t"))
	before := r.received()
	a, b := r.hold(r.opens("a", 10)), r.hold(r.opens("b", 10))
	type try struct {
		name, token, method, path string
		header                    []string
		status                    int
	}
	check := func(tries ...try) {
		t.Helper()
		for _, c := range tries {
			code, h := r.expects(c.token, c.method, c.path, c.header...)
			assert.Equal(t, c.status, code, c.name)
			assert.Equal(t, comeAgain, h.Get("Retry-After"), c.name)
		}
	}
	tus := append([]string{headerLength, "10"}, tusHeader(0)...)
	check(
		try{"put", r.token, "PUT", ours, nil, 429},
		try{"patch", r.token, "PATCH", ours, []string{headerOffset, "0"}, 429},
		try{"tus patch", r.token, "PATCH", patches, tusHeader(0), 503},
		try{"tus creation with bytes", r.token, "POST", tusPath, tus, 503},
		try{"get", r.token, "GET", get, nil, 429},
	)
	code, _, h := r.do("GET", signed, "")
	assert.Equal(t, 429, code, "whoever has the address is its owner")
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	assert.Equal(t, 4, r.limitRecords("main", "file_upload_chunk")+r.limitRecords("main", "file_upload_request"))
	assert.Equal(t, 2, r.limitRecords("main", "file_download_chunk"))
	assert.Equal(t, 6, r.limitRefusals("transfers_per_subject"))
	// What moves nothing is no transfer.
	for _, path := range []string{ours, get} {
		code, _, _ := r.ask("HEAD", path, "")
		assert.Equal(t, 200, code)
	}
	code, _, _ = r.tus("HEAD", patches, "")
	assert.Equal(t, 200, code)
	r.creates(10, headerMetadata, meta("path", "t2"))

	c := r.slowPut("PUT", doc)
	require.True(t, soon(func() bool { return r.transferring() == 3 }))
	check(
		try{"another one's", ann, "POST", tusPath, tus, 503},
		try{"task get", back.Token, "GET", taskURL(back), nil, 503},
		try{"task patch", doc.Token, "PATCH", taskURL(doc), []string{headerOffset, "0"}, 503},
	)
	assert.Equal(t, 2, r.limitRecords("admin", "task_open"))
	code, _, _ = r.http("HEAD", doc, "")
	assert.Equal(t, 200, code)
	ftp := r.ftp(back)
	dialFrom(t, "", ftp.epsv())
	code, _ = ftp.cmd("RETR %s", back.FakeName)
	if code == 150 {
		code, _ = ftp.reply()
	}
	assert.Equal(t, 450, code)
	assert.Equal(t, 3, r.limitRecords("admin", "task_open"))
	assert.Equal(t, 4, r.limitRefusals("transfers"))
	assert.Equal(t, before, r.received(), "none of the bodies came")

	// Whose end comes, however it does, makes room.
	_ = a.conn.Close()
	b.send([]byte("0123456789"))
	code, _, _ = b.answer()
	assert.Equal(t, 200, code)
	c.send([]byte("x"))
	code, _ = c.end()
	assert.Equal(t, 200, code)
	require.True(t, soon(func() bool { return r.transferring() == 0 }))
	code, body, _ := r.ask("PUT", ours, "0123456789")
	assert.Equal(t, 200, code, body)
	ftp = r.ftp(back)
	_, code = ftp.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	require.True(t, soon(func() bool { return r.transferring() == 0 }))
	assert.Empty(t, r.s.transfers.by)
}

// A creation whose answer was lost can be made again also where it was the last
// one that could be made; one without a name is another file.
func TestLostCreationAtTheLimit(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.Limits.MaxUploads = 1 })
	create := func(header ...string) int {
		code, _, _ := r.tus("POST", tusPath, "", append(header, headerLength, "5")...)
		return code
	}
	named := []string{headerMetadata, meta("path", "a")}
	require.Equal(t, 201, create(named...))
	require.Equal(t, 503, create(headerMetadata, meta("path", "b")))
	require.True(t, soon(func() bool { return create(named...) == 201 }))
	assert.Equal(t, 503, create(headerMetadata, meta("x", "a")))
}

// Uploads that hold next to nothing cost memory for as long as they live.
func TestUploadLimits(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.Limits.MaxUploads, c.Limits.MaxUploadsPerSubject = 3, 2 })
	ann, bob := r.subtoken(url.Values{"subject": {"ann"}}), r.subtoken(url.Values{"subject": {"bob"}})
	create := func(token string) (int, http.Header) {
		code, _, h := r.do("POST", tusPath, "", headerTus, tusVersion, "Authorization", "Bearer "+token, headerLength, "1")
		return code, h
	}
	var ups []string
	for range 2 {
		code, h := create(ann)
		require.Equal(t, 201, code)
		ups = append(ups, h.Get("Location"))
	}
	code, h := create(ann)
	assert.Equal(t, 503, code)
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	r.opens("third", 10)
	code, h = create(bob)
	assert.Equal(t, 503, code)
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	p := r.panel(r.token)
	reply := p.call("file_upload_request", map[string]any{"path": "fourth", "size": 10})
	assert.Equal(t, 10005, reply.Retcode)
	assert.Equal(t, 1, r.limitRefusals("uploads_per_subject"))
	assert.Equal(t, 2, r.limitRefusals("uploads"))
	// They outlive a restart, and however they end they make room.
	r.again()
	code, _ = create(bob)
	assert.Equal(t, 503, code)
	code, _, _ = r.tus("DELETE", ups[0], "")
	assert.Equal(t, 204, code)
	code, _, _ = r.patch(ups[1], 0, []byte("x"))
	assert.Equal(t, 204, code)
	for range 2 {
		code, _ = create(ann)
		assert.Equal(t, 201, code)
	}
}

// Room that somebody else takes between the look and the decision: the bytes are on
// their way then, and whatever they hear, the client hears why.
func TestCreationRefusedLate(t *testing.T) {
	t.Parallel()
	var r *taskRig
	var taken atomic.Bool
	other := make(chan int, 1)
	r = runTasks(t, func(c *Config) {
		c.Limits.MaxStaged = 1000
		c.FileFault = func(op, _ string, do func() error) error {
			if op == "staged.create" && taken.CompareAndSwap(false, true) {
				code, _, _ := r.tus("POST", tusPath, "", headerLength, "800")
				other <- code
			}
			return do()
		}
	})
	code, body, h := r.tus("POST", tusPath, string(random(800)), headerLength, "800", headerMetadata, meta("path", "f"), "Content-Type", tusBody)
	assert.Equal(t, 201, within(t, other, "the other creation"))
	assert.Equal(t, 507, code, body)
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	assert.Empty(t, h.Get("Location"))
	assert.NoFileExists(t, filepath.Join(r.cfg.Root, "f"))
	assert.Equal(t, 1, count(r.records(), func(x record) bool { return x.Kind == "upload.opened" }))
}

func TestStagedLimits(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.Limits.MaxStaged, c.Limits.MaxStagedPerSubject = 1000, 600 })
	p := r.panel(r.token)
	first := p.upload("a", 600)
	rep := p.call("file_upload_request", map[string]any{"path": "b", "size": 1, "timeout": 60000})
	assert.Equal(t, 10005, rep.Retcode)
	assert.Contains(t, rep.Message, "your live uploads hold as many bytes")
	rep = p.call("file_upload_request", map[string]any{"path": "b", "size": 601, "timeout": 60000})
	assert.Equal(t, 21103, rep.Retcode, "no waiting helps")
	full := func(token, size string) {
		t.Helper()
		header := append([]string{headerLength, size}, tusHeader(0)...)
		if size == "" {
			header = append([]string{headerDefer, "1"}, tusHeader(0)...)
		}
		code, h := r.expects(token, "POST", tusPath, header...)
		assert.Equal(t, 507, code)
		assert.Equal(t, comeAgain, h.Get("Retry-After"))
	}
	full(r.token, "10")
	full(r.token, "")
	ann := r.subtoken(url.Values{"subject": {"ann"}})
	q := r.panel(ann)
	q.upload("c", 300)
	full(ann, "101")
	assert.Equal(t, 1, r.limitRefusals("staged"))
	_, _, h := r.do("OPTIONS", tusPath, "")
	assert.Equal(t, "600", h.Get("Tus-Max-Size"))

	// Of tasks, and of uploads whose size is told late, what is stored counts.
	doc := r.create()
	r.part(doc, random(60))
	code, body, h := r.http("PATCH", doc, string(random(41)), headerOffset, "60")
	assert.Equal(t, 507, code, body)
	assert.Equal(t, "60", h.Get(headerOffset))
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	ftp := r.ftp(doc)
	assert.Equal(t, 452, ftp.put(random(101), "STOR %s", doc.FakeName))
	p.ok("file_upload_cancel", map[string]any{"file_id": first}, nil)
	deferred := r.createsLate("late")
	code, body, _ = r.patch(deferred, 0, random(500))
	assert.Equal(t, 204, code, body)
	small := p.upload("small", 50)
	code, _, h = r.patch(deferred, 500, random(51))
	assert.Equal(t, 507, code)
	assert.Equal(t, "500", h.Get(headerOffset))
	assert.Equal(t, comeAgain, h.Get("Retry-After"))
	p.ok("file_upload_cancel", map[string]any{"file_id": small}, nil)
	code, _, h = r.patch(deferred, 500, random(100), headerLength, "600")
	assert.Equal(t, 204, code)
	assert.Equal(t, "600", h.Get(headerOffset))
	r.creates(600, headerMetadata, meta("path", "next")) // what is placed holds nothing

	r.again()
	q = r.panel(ann)
	rep = q.call("file_upload_request", map[string]any{"path": "b", "size": 301, "timeout": 60000})
	assert.Equal(t, 10005, rep.Retcode, "counted again after a restart")
}

// createsLate makes a tus upload whose size is not told.
func (r *taskRig) createsLate(path string) string {
	r.t.Helper()
	code, body, h := r.tus("POST", tusPath, "", headerDefer, "1", headerMetadata, meta("path", path))
	require.Equal(r.t, 201, code, body)
	return h.Get("Location")
}

// A listener that has as many connections as it may says so, and closes.
func TestTooManySockets(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var refused atomic.Int64
	room := &socketRoom{most: 2, refused: func(string) { refused.Add(1) }}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, 200, "ok") })}
	var serving sync.WaitGroup
	serving.Go(func() { _ = web.Serve(peerListener{ln, time.Minute, room}) })
	defer serving.Wait()
	defer web.Close()
	ask := func(c net.Conn) (int, http.Header) {
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err != nil {
			return 0, nil
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, nil
		}
		return res.StatusCode, res.Header
	}
	a, b := dialFrom(t, "", ln.Addr().String()), dialFrom(t, "", ln.Addr().String())
	for _, c := range []net.Conn{a, b} {
		code, _ := ask(c)
		require.Equal(t, 200, code)
	}
	c := dialFrom(t, "", ln.Addr().String())
	res, err := http.ReadResponse(bufio.NewReader(c), nil) // it says so unasked
	require.NoError(t, err)
	assert.Equal(t, 503, res.StatusCode)
	assert.Equal(t, comeAgain, res.Header.Get("Retry-After"))
	_, err = io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, int64(1), refused.Load())
	_ = a.Close()
	require.True(t, soon(func() bool { return room.open.Load() == 1 }))
	code, _ := ask(dialFrom(t, "", ln.Addr().String()))
	assert.Equal(t, 200, code)
	assert.Equal(t, int64(4096+512+spareSockets), Load{}.withDefaults().sockets())
	assert.Zero(t, Load{MaxTransfers: -1}.withDefaults().sockets())
}

// Whoever may come again is told when.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{429: "1", 503: "1", 500: "", 404: ""} {
		w := httptest.NewRecorder()
		text(w, status, "no")
		assert.Equal(t, want, w.Header().Get("Retry-After"))
	}
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "7")
	text(w, 503, "no")
	assert.Equal(t, "7", w.Header().Get("Retry-After"))
}

// Idle and stalled sockets beside uploads: pings of the others are answered,
// whatever is too much is refused before its body, and memory is bounded.
func TestFloodBesideUploads(t *testing.T) {
	idle, stalled, uploads, healthy, rounds := 1000, 200, 64, 8, 25
	if raced {
		idle, stalled, uploads, healthy, rounds = 200, 40, 16, 4, 8
	}
	const size, piece = 2 << 20, 64 << 10
	r := runTasks(t, func(c *Config) {
		c.CloseWithin = 200 * time.Millisecond
		c.Load.MaxTransfers = uploads
		c.Load.MaxConnections = idle + stalled + healthy
	})
	panels := make([]*panel, healthy)
	for i := range panels {
		panels[i] = r.panel(r.token)
	}
	id := r.serveFile(panels[0], "big", random(8<<20))
	paths := make([]string, uploads)
	for i := range paths {
		paths[i] = uploadPath + panels[0].upload("up/"+strconv.Itoa(i), size)
	}
	spare := uploadPath + panels[0].upload("up/spare", size)
	before, held := runtime.NumGoroutine(), heap()
	top := watchHeap(t)
	for range idle {
		r.raw(r.token)
	}
	for i := range stalled {
		c := r.raw(r.token)
		msg := downloadChunk("x", id, 0, 8<<20)
		if i%2 == 1 { // half of them stall in the middle of a message
			msg = frame(1, make([]byte, 2<<20))[:1<<19]
		}
		stall(t, c, msg)
	}
	data := random(size)
	bodies := make([]*slow, uploads)
	for i, path := range paths {
		bodies[i] = r.slow("PUT", path, size)
		_, err := bodies[i].conn.Write(data[:size/2])
		require.NoError(t, err)
	}
	require.True(t, soon(func() bool { return r.transferring() == uploads }))
	r.soonReceived(uploads * size / 2)

	// As many as there may be: of the rest nothing is read.
	for range 20 {
		code, h := r.expects(r.token, "PUT", spare)
		assert.Equal(t, 503, code)
		assert.Equal(t, comeAgain, h.Get("Retry-After"))
		code, h = r.knock("/api/v1?token=" + r.token)
		assert.Equal(t, 503, code)
		assert.Equal(t, comeAgain, h.Get("Retry-After"))
	}
	assert.Equal(t, uploads*size/2, r.received())

	var all sync.WaitGroup
	for _, b := range bodies {
		all.Go(func() {
			for at := size / 2; at < size; at += piece {
				if _, err := b.conn.Write(data[at : at+piece]); err != nil {
					assert.NoError(t, err)
					return
				}
			}
			res, err := http.ReadResponse(bufio.NewReader(b.conn), nil)
			if assert.NoError(t, err) {
				assert.Equal(t, 200, res.StatusCode)
			}
		})
	}
	var mu sync.Mutex
	var slowest time.Duration
	for _, p := range panels {
		all.Go(func() {
			for range rounds {
				begun := time.Now()
				p.ok("ping", nil, nil)
				took := time.Since(begun)
				mu.Lock()
				slowest = max(slowest, took)
				mu.Unlock()
				p.ok("get_permissions", nil, nil)
			}
		})
	}
	all.Wait()
	goroutines, most := runtime.NumGoroutine()-before, top()
	t.Logf("slowest ping %v, at most %d MiB of heap, %d goroutines more", slowest, most>>20, goroutines)
	assert.Less(t, slowest, 5*time.Second)
	// A reader each, of the stalled ones a writer or a request, too, and a few.
	assert.LessOrEqual(t, goroutines, idle+3*stalled+4*uploads+64)
	// The contents' and listings' budgets, the messages that were begun, the buffers
	// of bodies, what was there before, and what the collector has not taken yet.
	bound := uint64(idle+stalled)*24<<10 + uint64(stalled/2)<<20 + 3*(contentBudget+listingBudget) + uint64(uploads)*dataBuffer + 2*held + 96<<20
	assert.Less(t, most, bound)
	for i := range paths {
		r.has("up/"+strconv.Itoa(i), data)
	}
}
