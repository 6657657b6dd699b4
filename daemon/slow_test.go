package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// gauge reads one number of /metrics.
func (r *rig) gauge(name string) float64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta("waybill_"+name) + ` (.*)$`).FindStringSubmatch(r.metrics())
	require.NotNil(r.t, m, name)
	v, err := strconv.ParseFloat(m[1], 64)
	require.NoError(r.t, err)
	return v
}

// serveFile puts a file under ROOT and opens a download of it.
func (r *rig) serveFile(p *panel, name string, data []byte) (id string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.cfg.Root, name), data, 0o644))
	var opened struct {
		ID string `json:"file_id"`
	}
	p.ok("file_download_request", map[string]any{"path": name}, &opened)
	return opened.ID
}

func downloadChunk(ref, id string, from, to int) []byte {
	return frame(1, panelwire.AppendRequest(nil, ref, "file_download_chunk",
		map[string]any{"file_id": id, "range": fmt.Sprintf("%d..%d", from, to)}))
}

// readFrame reads one server frame; a ping is one too.
func readFrame(t testing.TB, c io.Reader) (opcode byte, payload []byte) {
	t.Helper()
	opcode, payload, err := tryFrame(c)
	require.NoError(t, err)
	return opcode, payload
}

func tryFrame(c io.Reader) (opcode byte, payload []byte, err error) {
	var h [10]byte
	if _, err = io.ReadFull(c, h[:2]); err != nil {
		return 0, nil, err
	}
	n := int(h[1])
	switch n {
	case 126:
		if _, err = io.ReadFull(c, h[2:4]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		if _, err = io.ReadFull(c, h[2:10]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint64(h[2:]))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c, payload)
	return h[0] & 0x0f, payload, err
}

// dataFrame is the next frame that is no ping.
func dataFrame(t testing.TB, c io.Reader) string {
	t.Helper()
	for {
		op, b := readFrame(t, c)
		if op == 9 {
			continue
		}
		require.EqualValues(t, 1, op)
		return string(b)
	}
}

// ended reads until the connection is over, whatever comes.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, c)
	if err != nil {
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection does not end")
	}
}

// A peer that sends and does not read is closed when its small replies are too
// many; that costs neither memory nor its neighbours.
func TestManySmallRepliesUnread(t *testing.T) {
	r := run(t, nil)
	c := r.raw(r.token)
	ping := frame(1, []byte(`{"action":"ping","echo":"`+strings.Repeat("x", 60<<10)+`"}`))
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(patience)))
	var err error
	for err == nil {
		_, err = c.Write(ping)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.EqualValues(t, 1, r.gauge("slow_consumers_closed_total"))
	r.panel(r.token).ok("get_permissions", nil, nil)
}

// A peer to which nothing can be written is closed; one that reads slowly,
// never sending a thing, gets everything.
func TestStalledIsClosedSlowIsNot(t *testing.T) {
	const size = 4 << 20
	r := run(t, func(c *Config) {
		c.StallAfter, c.SilentAfter, c.PingEvery, c.CloseWithin = time.Second, 2*time.Second, 100*time.Millisecond, 50*time.Millisecond
	})
	data := random(size)
	p := r.panel(r.token)
	id := r.serveFile(p, "big", data)
	go func() { _, _, _ = p.ws.Read(context.Background()) }() // answers pings

	stalled, slow := r.raw(r.token), r.raw(r.token)
	for _, c := range []net.Conn{stalled, slow} {
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
		_, err := c.Write(downloadChunk("x", id, 0, size))
		require.NoError(t, err)
	}
	begun := time.Now()
	text := dataFrame(t, trickle{slow, 64 << 10, 30 * time.Millisecond})
	assert.Greater(t, time.Since(begun), 2*time.Second, "slow enough to show something")
	rep, err := panelwire.ParseReply([]byte(text))
	require.NoError(t, err)
	got, err := rep.Content(size, false)
	require.NoError(t, err)
	assert.True(t, string(got) == string(data))
	require.True(t, soon(func() bool { return r.gauge("slow_consumers_closed_total") == 1 }))
	ended(t, stalled)
}

// trickle reads no more than n bytes a pause.
type trickle struct {
	r     io.Reader
	n     int
	pause time.Duration
}

func (s trickle) Read(b []byte) (int, error) {
	time.Sleep(s.pause) // it is what is tested
	return s.r.Read(b[:min(len(b), s.n)])
}

// Large replies are made when there is room for them: for one connection, and
// for all. Contents come through all the same, whoever does not read.
func TestLargeRepliesWaitForRoom(t *testing.T) {
	t.Parallel()
	const size, asked = 8 << 20, 6
	r := run(t, func(c *Config) {
		c.HolderStall, c.StallAfter, c.PingEvery, c.SilentAfter = time.Hour, time.Hour, time.Second, time.Hour
	})
	p := r.panel(r.token)
	data := random(size)
	id := r.serveFile(p, "big", data)
	var conns []net.Conn
	for range asked {
		c := r.raw(r.token)
		for i := range 3 {
			_, err := c.Write(downloadChunk(fmt.Sprint(i), id, 1, size))
			require.NoError(t, err)
		}
		conns = append(conns, c)
	}
	require.True(t, soon(func() bool { return r.gauge("pending_requests") == 2*asked }), "one reply each is made")
	assert.Greater(t, r.gauge("large_reply_bytes"), float64(16<<20))
	assert.LessOrEqual(t, r.gauge("large_reply_bytes"), float64(contentBudget))

	for _, base64 := range []bool{false, true} {
		params := map[string]any{"file_id": id, "range": "3..6000001"}
		if base64 {
			params["encoding"] = "base64"
		}
		rep := r.panel(r.token).call("file_download_chunk", params)
		got, err := rep.Content(6000001-3, base64)
		require.NoError(t, err)
		assert.True(t, string(got) == string(data[3:6000001]))
	}
	assert.Equal(t, 10006, p.call("file_download_chunk", map[string]any{"file_id": id, "range": "8388000..8388609"}).Retcode)
	assert.Equal(t, 10006, p.call("file_download_chunk", map[string]any{"file_id": id, "range": "0..8388609"}).Retcode)
	p.ok("file_download_chunk", map[string]any{"file_id": id, "range": "8388608..8388608"}, nil)

	for _, c := range conns {
		for i := range 3 {
			text := dataFrame(t, c)
			assert.Contains(t, text[len(text)-20:], fmt.Sprintf(`"id":"%d"`, i))
			assert.LessOrEqual(t, r.gauge("large_reply_bytes"), float64(contentBudget))
		}
	}
	require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") == 0 && r.gauge("pending_requests") == 0 }))
}

// A stream and a reply made at once are the same bytes.
func TestStreamIsTheSameReply(t *testing.T) {
	t.Parallel()
	data := append(random(200_000), make([]byte, 100_001)...)
	s, root := bareServer(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "f"), data, 0o644))
	who, err := s.tokens.check(bareToken)
	require.NoError(t, err)
	opened, err := s.engine.Do(t.Context(), actions.Call{Caller: who, Action: &actions.DownloadRequest{Path: "f", Timeout: time.Minute}})
	require.NoError(t, err)
	id := opened.(*actions.DownloadOpened).ID
	c := newConn(s, nil, "")
	c.caller = who
	for _, span := range [][2]int64{{0, 0}, {0, 1}, {5, 6}, {0, streamPiece}, {1, 2*streamPiece + 1}, {7, 7 + streamPiece - 1}, {0, int64(len(data))}} {
		for _, base64 := range []bool{false, true} {
			for _, msg := range []string{`{"id":"\u0041"}`, `{"echo":{"content":""}}`, `{}`} {
				q := query{}
				q.req, _ = panelwire.DecodeText([]byte(msg))
				tk := c.ticket(&q)
				chunk := &actions.DownloadChunk{Session: id, From: span[0], To: span[1], Base64: base64}
				before := s.engine.Stats().Records
				made, err := c.streamed(tk, chunk)
				require.NoError(t, err)
				var got bytes.Buffer
				require.NoError(t, made.write(&got))
				if span[0] < span[1] {
					// The reaper may note meanwhile what was read.
					require.NoError(t, s.engine.Journal().Read(t.Context(), before, s.engine.Stats().Records, func(line []byte) error {
						require.NotContains(t, string(line), actions.KindAnswered, "a record of an empty read that nobody asked for")
						return nil
					}))
				}
				head := frame(opcodeText, make([]byte, made.size))
				head = head[:len(head)-int(made.size)-4] // no mask
				head[1] &^= 0x80
				require.Equal(t, head, got.Next(len(head)), "the shortest form of the length (RFC 6455 §5.2)")
				require.Equal(t, made.size, int64(got.Len()))
				res, err := c.s.engine.Do(t.Context(), actions.Call{Caller: tk.caller, Action: chunk})
				require.NoError(t, err)
				whole := c.s.ok(tk, res)
				if !base64 {
					// A pair across two pieces is two escapes in one and a
					// character in the other.
					var a, b struct {
						Data struct{ Content json.RawMessage }
					}
					require.NoError(t, json.Unmarshal(got.Bytes(), &a))
					require.NoError(t, json.Unmarshal(whole.text, &b))
					x, err := panelwire.DecodeByteString(nil, a.Data.Content)
					require.NoError(t, err)
					y, err := panelwire.DecodeByteString(nil, b.Data.Content)
					require.NoError(t, err)
					require.True(t, bytes.Equal(x, y))
					continue
				}
				require.True(t, bytes.Equal(got.Bytes(), whole.text))
			}
		}
	}
}

// Who holds the room for listings and does not read gives way; who has shown
// that he reads does not even wait for that.
func TestHoldersOfTheBudgetGiveWay(t *testing.T) {
	t.Parallel()
	r := run(t, func(c *Config) {
		c.HolderStall, c.PingEvery, c.CloseWithin = 2*time.Second, 100*time.Millisecond, 50*time.Millisecond
	})
	dir := filepath.Join(r.cfg.Root, "d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for i := range 3000 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%0200d", i)), nil, 0o644))
	}
	list := map[string]any{"path": "d"}
	proven := r.panel(r.token)
	proven.ok("get_directory_info", list, nil)
	for range 20 {
		c := r.raw(r.token)
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(32<<10))
		_, err := c.Write(frame(1, panelwire.AppendRequest(nil, "x", "get_directory_info", list)))
		require.NoError(t, err)
	}
	require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") >= 8<<20 }))
	begun := time.Now()
	proven.ok("get_directory_info", list, nil)
	t.Logf("proven after %v", time.Since(begun))
	r.panel(r.token).ok("get_directory_info", list, nil)
	t.Logf("newcomer after %v", time.Since(begun))
	// Who came before the others had asked did not have to wait for that.
	require.True(t, soon(func() bool { return r.gauge("slow_consumers_closed_total") > 0 }))
}

// A message over 1 MiB needs one of few places; who holds one and sends
// nothing gives way.
func TestBigMessagesTakeTurns(t *testing.T) {
	t.Parallel()
	r := run(t, func(c *Config) {
		c.HolderStall, c.PingEvery, c.CloseWithin = 2*time.Second, 50*time.Millisecond, 50*time.Millisecond
	})
	big := frame(1, []byte(`{"action":"ping","id":"big","params":{"x":"`+strings.Repeat("x", 2<<20)+`"}}`))
	var stuck []net.Conn
	for range bigSlots + 2 {
		c := r.raw(r.token)
		go func() { _, _ = c.Write(big[:3<<19]) }()
		stuck = append(stuck, c)
	}
	require.True(t, soon(func() bool { return r.gauge("inbound_bytes") >= (bigSlots*2+2)<<20 }))
	assert.LessOrEqual(t, r.gauge("inbound_bytes"), float64((bigSlots*2+2)<<20+(bigSlots+2)*messageSlack))
	p := r.panel(r.token)
	p.ws.SetReadLimit(64 << 20)
	p.send(string(big[14:]))
	assert.Equal(t, "big", p.reply().ID)
	for _, c := range stuck[:bigSlots] {
		_ = c.Close()
	}
}

// While a connection has as much in hand as it may, it is not read from, and
// not blamed for its silence.
func TestReadingPauses(t *testing.T) {
	b := runBlocked(t, func(c *Config) { c.SilentAfter, c.PingEvery = time.Second, 100*time.Millisecond })
	// More than all on the way can hold: the kernel's receive buffer, which grows
	// to 32 MiB here, its send buffer, what a connection may have in hand, and a
	// window of bytes that are not synced.
	const piece, pieces = 1 << 20, 112
	c := b.raw(b.token)
	p := b.panel(b.token)
	id := p.upload("f", piece*pieces)
	go func() { _, _, _ = p.ws.Read(context.Background()) }() // answers pings
	b.armed.Store(true)
	sent := make(chan error, 1)
	go func() {
		data := make([]byte, piece)
		for i := range pieces {
			msg := panelwire.AppendPacket(nil, strconv.Itoa(i), "file_upload_chunk", map[string]any{"file_id": id, "offset": i * piece}, data)
			if _, err := c.Write(frame(2, msg)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	within(t, b.entered, "no sync")
	var most float64
	for begun := time.Now(); time.Since(begun) < 2*b.cfg.SilentAfter; time.Sleep(10 * time.Millisecond) {
		most = max(most, b.gauge("inbound_bytes"))
	}
	assert.LessOrEqual(t, most, float64(maxInbound))
	select {
	case err := <-sent:
		require.Fail(t, "everything was read", "%v", err)
	default:
	}
	b.release()
	done := ""
	for range pieces {
		done = dataFrame(t, c)
		require.Contains(t, done, `"status":"ok"`)
	}
	require.NoError(t, within(t, sent, "not all was read"))
	require.True(t, soon(func() bool { return b.gauge("inbound_bytes") == 0 }))
}

func TestKeepAlive(t *testing.T) {
	r := run(t, func(c *Config) {
		c.SilentAfter, c.PingEvery, c.CloseWithin = time.Second, 50*time.Millisecond, 50*time.Millisecond
	})
	t.Run("a silent peer is pinged and dropped", func(t *testing.T) {
		c := r.raw(r.token)
		op, payload := readFrame(t, c)
		assert.EqualValues(t, 9, op)
		assert.Empty(t, payload)
		ended(t, c)
	})
	t.Run("a peer that answers stays", func(t *testing.T) {
		c := r.raw(r.token)
		for begun := time.Now(); time.Since(begun) < 2*r.cfg.SilentAfter; {
			op, _ := readFrame(t, c)
			require.EqualValues(t, 9, op)
			_, err := c.Write(frame(10, nil))
			require.NoError(t, err)
		}
	})
	t.Run("bytes of a frame count", func(t *testing.T) {
		c := r.raw(r.token)
		msg := frame(1, []byte(`{"action":"ping","id":"a"}`))
		go func() {
			for i := range msg {
				_, _ = c.Write(msg[i : i+1])
				time.Sleep(50 * time.Millisecond) // it is what is tested
			}
		}()
		assert.Contains(t, dataFrame(t, c), `"status":"ok"`)
	})
	t.Run("pings are answered with what they carry", func(t *testing.T) {
		c := r.raw(r.token)
		_, err := c.Write(frame(9, []byte("payload")))
		require.NoError(t, err)
		for {
			op, b := readFrame(t, c)
			if op == 10 {
				assert.Equal(t, "payload", string(b))
				return
			}
			require.EqualValues(t, 9, op)
		}
	})
}

// A client that closes gets its close answered.
func TestClientCloses(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.token)
	require.NoError(t, p.ws.Close(websocket.StatusNormalClosure, "bye"))
	require.True(t, soon(func() bool { return r.gauge(`connections{state="authenticated"}`) == 0 }))
}

// What was asked before a connection was lost is done, and has its record.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	b := runBlocked(t, nil)
	p := b.panel(b.token)
	id := p.upload("f", 8)
	dl := b.serveFile(p, "g", []byte("12345678"))
	b.armed.Store(true)
	p.chunk(id, 0, []byte("abcd"))
	within(t, b.entered, "no sync")
	p.chunk(id, 4, []byte("efgh"))
	info := p.ask("get_file_info", map[string]any{"path": "f"})
	for range 5 {
		p.ask("file_download_chunk", map[string]any{"file_id": dl, "range": "0..8"})
	}
	require.True(t, soon(func() bool { return b.gauge("pending_requests") >= 3 }))
	_ = p.ws.CloseNow()
	b.release()
	require.True(t, soon(func() bool { return b.gauge("pending_requests") == 0 }))
	got, err := os.ReadFile(filepath.Join(b.cfg.Root, "f"))
	require.NoError(t, err)
	assert.Equal(t, "abcdefgh", string(got))
	assert.Equal(t, 1, count(b.records(), func(x record) bool { return x.Ref == info }))
}
