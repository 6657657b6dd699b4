package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon/docwire"
)

// quick shortens the silences: bad messages are answered after them.
func quick(c *Config) {
	c.CFMSTimes.LongSilence, c.CFMSTimes.ShortSilence = 100*time.Millisecond, 20*time.Millisecond
}

// heard reads until the connection ends.
func heard(t testing.TB, c net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) {
		require.NoError(t, err)
	}
	return string(text)
}

// exactly reads the reply that carries a text, and not a byte more: what may
// follow at once is another message, which shipped clients could not tell.
func (p *docPanel) exactly(text string) string {
	p.t.Helper()
	w := p.wire.(*docTCP)
	w.measured.most = len(w.Message([]byte(text)))
	return p.next()
}

func TestLegacyKeys(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	for method, file := range map[string]string{overRSA: "cfms-rsa.pem", overX25519: "cfms-x25519"} {
		t.Run(method, func(t *testing.T) {
			r := runDocs(t, func(c *Config) { c.CFMSKeyExchange, c.Logger = method, zerolog.New(&log) })
			p := r.docLegacy()
			used, key := p.wire.(*docTCP).Offered()
			assert.EqualValues(t, method, used)
			path := filepath.Join(r.cfg.State, file)
			fi, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), fi.Mode().Perm())
			other := filepath.Join(r.cfg.State, map[string]string{overRSA: "cfms-x25519", overX25519: "cfms-rsa.pem"}[method])
			assert.NoFileExists(t, other, "made when it is needed")
			p.wire.close()
			require.NoError(t, r.stop())
			assert.Contains(t, log.String(), `"level":"warn"`)
			assert.Contains(t, log.String(), "weak")

			r = restart(t, r.cfg)
			p = r.docLegacy()
			_, again := p.wire.(*docTCP).Offered()
			assert.Equal(t, key, again, "clients store it")
			p.wire.close()
			require.NoError(t, r.stop())

			require.NoError(t, os.WriteFile(path, []byte("spoilt"), 0o600))
			err = Run(t.Context(), r.cfg)
			assert.ErrorIs(t, err, ErrState, "no other key is made")
			assert.Equal(t, exitConfig, ExitCode(err))
		})
	}
	t.Run("another method", func(t *testing.T) {
		cfg := Config{
			Root: t.TempDir(), State: filepath.Join(t.TempDir(), "state"), Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1,
			CFMSListen: "127.0.0.1:0", CFMSKeyExchange: "none",
		}
		assert.ErrorContains(t, Run(t.Context(), cfg), "none")
	})
	t.Run("the address is taken", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		cfg := Config{
			Root: t.TempDir(), State: filepath.Join(t.TempDir(), "state"), Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1,
			CFMSListen: ln.Addr().String(), CFMSKeyExchange: overX25519,
		}
		err = Run(t.Context(), cfg)
		assert.ErrorIs(t, err, ErrCreate)
		assert.Equal(t, exitCreate, ExitCode(err))
	})
}

// An address without a host listens on both families.
func TestLegacyBothFamilies(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.CFMSListen = ":0" })
	_, port, err := net.SplitHostPort(r.listening["cfms"])
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil && host == "::1" {
			t.Skip("no IPv6 here")
		}
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		client := docwire.NewClient(c)
		require.NoError(t, client.Handshake())
		text, err := client.Call(docwire.AppendRequest(nil, "getRootDir", nil, "", r.token, ""))
		require.NoError(t, err)
		assert.Equal(t, 0, parseDoc(t, string(text)).Code, "this machine's own, either way")
		_ = c.Close()
	}
}

// The rows of CFMS.md §1.3 that belong to the handshake.
func TestLegacyHandshake(t *testing.T) {
	t.Parallel()
	const http = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
	x := runDocs(t, quick)
	rsa := runDocs(t, func(c *Config) { quick(c); c.CFMSKeyExchange = overRSA })
	// The offer, which comes whole.
	offer := func(r *rig) string {
		c := r.dialLegacy("")
		_, err := io.WriteString(c, "helloenableEncryption")
		require.NoError(t, err)
		var b [5 + 1024]byte
		_, err = io.ReadFull(c, b[:5])
		require.NoError(t, err)
		n, err := c.Read(b[5:])
		require.NoError(t, err)
		return string(b[5 : 5+n])
	}
	offers := map[*rig]string{x: offer(x), rsa: offer(rsa)}
	assert.Regexp(t, `^\{"msg": "enableEncryption", "method": "x25519", "public_key": "[0-9a-f]{64}", "code": 0\}$`, offers[x])
	assert.Regexp(t, `^\{"msg": "enableEncryption", "method": "rsa", "public_key": "-----BEGIN PUBLIC KEY-----\\n[^"]+", "code": 0\}$`, offers[rsa])
	assert.Len(t, offers[rsa], 885)
	for _, c := range []struct {
		name  string
		r     *rig
		send  string
		after string // what comes after the offer, if send gets that far
		want  string
	}{
		{"something else", x, "goodbye\n", "", "Unknown request"},
		{"something else without a line end", x, "goodbye", "", "Unknown request"},
		{"capitals", x, "HELLO\r\n", "", "Unknown request"},
		{"a long line", x, strings.Repeat("x", 2000), "", "Unknown request"},
		{"TLS", x, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", "Unknown request"},
		{"HTTP", x, "GET /cfms/v1 HTTP/1.1\r\nHost: x\r\n\r\n", "", http},
		{"HTTP of old", x, "GET / HTTP/1.0\r\n\r\n", "", http},
		{"HTTP without a line end", x, "GET / HTTP/1.1", "", http},
		{"something else in the third step", x, "hellodisableEncryption\n", "", "helloUnknown request"},
		{"HTTP in the third step", x, "hello\r\nGET / HTTP/1.1\r\n\r\n", "", "hello" + http},
		{"the all-zero secret", x, "helloenableEncryption", strings.Repeat("\x00", 32), "hello" + offers[x]},
		{"a bad RSA block", rsa, "hello\r\nenableEncryption\r\n", strings.Repeat("\x01", 512), "hello" + offers[rsa]},
		{"half an RSA block", rsa, "helloenableEncryption", strings.Repeat("\x01", 256), "hello" + offers[rsa]},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := c.r.dialLegacy("")
			_, err := io.WriteString(conn, c.send+c.after)
			require.NoError(t, err)
			if c.name == "half an RSA block" {
				require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			}
			assert.Equal(t, c.want, heard(t, conn))
		})
	}
	t.Run("a first message that is not under the key", func(t *testing.T) {
		// As with a client that got another key: it sends garbage.
		conn := x.dialLegacy("")
		_, err := io.WriteString(conn, "helloenableEncryption"+string(random(32))+string(random(48)))
		require.NoError(t, err)
		got := heard(t, conn)
		assert.Len(t, got, 5+len(offers[x])+96, "the connection key, and no more")
	})
	t.Run("line ends, in pieces", func(t *testing.T) {
		for _, r := range []*rig{x, rsa} {
			conn := r.dialLegacy("")
			client := docwire.NewClient(&lineEnds{Conn: conn})
			require.NoError(t, client.Handshake())
			text, err := client.Call(docwire.AppendRequest(nil, "getRootDir", nil, "", r.token, ""))
			require.NoError(t, err)
			assert.Equal(t, 0, parseDoc(t, string(text)).Code)
			_ = conn.Close()
		}
	})
}

// lineEnds sends the two words in pieces, with a CRLF behind each.
type lineEnds struct {
	net.Conn
	words int
}

func (l *lineEnds) Write(b []byte) (int, error) {
	if l.words++; l.words > 2 {
		return l.Conn.Write(b)
	}
	for _, piece := range []string{string(b[:2]), string(b[2:]), "\r", "\n"} {
		if _, err := io.WriteString(l.Conn, piece); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func TestLegacyDeadlines(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) {
		quick(c)
		c.CFMSTimes.Greeting, c.CFMSTimes.Key, c.CFMSTimes.Login = 500*time.Millisecond, time.Second, 2*time.Second
	})
	known := r.main(r.docLegacy())
	known.ok("getRootDir", nil, nil)
	stranger := r.docLegacy()
	stranger.user, stranger.token = "admin", "x"
	stranger.call("getRootDir", nil)
	for _, c := range []struct{ send, want string }{
		{"", ""}, {"hell", ""}, {"hello", "hello"}, {"helloenableEncr", "hello"},
	} {
		begun := time.Now()
		conn := r.dialLegacy("")
		_, err := io.WriteString(conn, c.send)
		require.NoError(t, err)
		assert.Equal(t, c.want, heard(t, conn), "%q", c.send)
		assert.GreaterOrEqual(t, time.Since(begun), r.cfg.CFMSTimes.Greeting)
	}
	begun := time.Now()
	conn := r.dialLegacy("")
	_, err := io.WriteString(conn, "helloenableEncryption")
	require.NoError(t, err)
	heard(t, conn)
	assert.GreaterOrEqual(t, time.Since(begun), r.cfg.CFMSTimes.Key, "a client may be asking its user")
	assert.Empty(t, stranger.over(), "it never logged in")
	known.ok("getRootDir", nil, nil)
}

// Messages in any pieces, and several in one.
func TestLegacyPieces(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil) // the silences are long: no message may need them
	p := r.main(r.docLegacy())
	w := p.wire.(*docTCP)
	msg := func(id string) []byte { return w.Message([]byte(p.traced(id))) }
	want := func(id string) string {
		return `{"code":0,"msg":"ok","data":{"deleteAfterMarked":604800,"revDeleteAfterMarked":604800},"trace_id":"` + id + `","api_version":"v1"}`
	}
	t.Run("cut at every byte", func(t *testing.T) {
		n := len(msg("x"))
		for i := 1; i < n; i++ {
			m := msg(fmt.Sprint(i))
			for _, part := range [][]byte{m[:min(i, len(m))], m[min(i, len(m)):]} {
				_, err := w.conn.Write(part)
				require.NoError(t, err)
				runtime.Gosched()
			}
			require.Equal(t, want(fmt.Sprint(i)), p.next())
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		for _, b := range msg("slow") {
			_, err := w.conn.Write([]byte{b})
			require.NoError(t, err)
		}
		assert.Equal(t, want("slow"), p.next())
	})
	t.Run("many in one", func(t *testing.T) {
		var all []byte
		for i := range 50 {
			all = append(all, msg(fmt.Sprint("m", i))...)
		}
		half := len(all)/2 + 7
		for _, part := range [][]byte{all[:half], all[half:]} {
			_, err := w.conn.Write(part)
			require.NoError(t, err)
		}
		for i := range 50 {
			id := fmt.Sprint("m", i)
			require.Equal(t, want(id), p.exactly(want(id)), "in order, one each")
		}
	})
	t.Run("the longest", func(t *testing.T) {
		const overhead = 32
		fill := func(n int) string {
			head, tail := `{"version":1,"x":"`, `","trace_id":"long"}`
			return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
		}
		assert.Contains(t, p.say(fill(docwire.UserLimit-overhead)), `"trace_id":"long"`)
		stranger := r.docLegacy()
		assert.Contains(t, stranger.say(fill(docwire.StrangerLimit-overhead)), `"trace_id":"long"`)
		for _, c := range []struct {
			p *docPanel
			n int
		}{{p, docwire.UserLimit}, {stranger, docwire.StrangerLimit}} {
			_ = c.p.wire.send([]byte(fill(c.n))) // it may be closed meanwhile
			assert.Empty(t, c.p.over())
		}
	})
}

// Who logs in may send more from then on.
func TestLegacyLimitAfterLogin(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	long := `{"x":"` + strings.Repeat("x", 2*docwire.StrangerLimit) + `"}`
	admin := r.admin(overX25519)
	assert.Contains(t, admin.say(long), "API version is not given")
	refreshed := r.docLegacy()
	refreshed.user, refreshed.token = admin.user, admin.token
	refreshed.ok("refreshToken", nil, nil)
	assert.Contains(t, refreshed.say(long), "API version is not given")
	p := r.docLegacy()
	assert.Equal(t, -2, p.call("login", map[string]any{}).Code)
	_ = p.wire.send([]byte(long))
	assert.Empty(t, p.over())
}

func TestLegacyBadMessages(t *testing.T) {
	t.Parallel()
	r := runDocs(t, quick)
	undecryptable := func() float64 { return r.gauge("undecryptable_messages_total") }
	t.Run("each is answered, late, and the connection stays", func(t *testing.T) {
		p := r.main(r.docLegacy())
		w := p.wire.(*docTCP)
		spoilt := w.Message([]byte(p.traced("x")))
		spoilt[len(spoilt)-1] ^= 1
		notUTF8 := w.Message([]byte("{\"x\":\"\xff\"}"))
		for name, c := range map[string]struct {
			msg  []byte
			want string
		}{
			"spoilt padding": {spoilt, docwire.Unreadable},
			"not UTF-8":      {notUTF8, docwire.Unreadable},
			"no JSON":        {w.Message([]byte(`{"a":}`)), `{"code":-1,"msg":"invaild request format"}`},
			"no object":      {w.Message([]byte("hello")), `{"code":-1,"msg":"invaild request format"}`},
			"a few bytes":    {[]byte("abc"), docwire.Unreadable},
			"garbage":        {random(160), docwire.Unreadable},
			"half a block":   {random(40), docwire.Unreadable},
		} {
			begun := time.Now()
			_, err := w.conn.Write(c.msg)
			require.NoError(t, err)
			assert.Equal(t, c.want, p.next(), name)
			assert.GreaterOrEqual(t, time.Since(begun), 20*time.Millisecond, "%s: it is answered late", name)
			if name == "half a block" || name == "a few bytes" {
				continue // what follows begins a message
			}
		}
		p.ok("getRootDir", nil, nil)
		// Line ends and spaces behind an object are no fault.
		assert.Equal(t, "t", traceOf(parseDoc(t, p.say(p.traced("t")+"\r\n"))))
		assert.EqualValues(t, 5, undecryptable())
	})
	t.Run("the tenth closes", func(t *testing.T) {
		for _, c := range []struct {
			name, want string
			msg        func(w *docTCP) []byte
		}{
			{"undecryptable", docwire.Unreadable, func(*docTCP) []byte { return random(64) }},
			{"no request", `{"code":-1,"msg":"invaild request format"}`, func(w *docTCP) []byte { return w.Message([]byte("[]")) }},
		} {
			p := r.docLegacy()
			w := p.wire.(*docTCP)
			for i := range maxBadMessages {
				if i > 0 { // good ones between do not help
					assert.Contains(t, p.say(`{}`), "version")
				}
				_, err := w.conn.Write(c.msg(w))
				require.NoError(t, err)
				assert.Equal(t, c.want, p.next(), c.name)
			}
			_, err := p.wire.receive()
			assert.ErrorIs(t, err, io.EOF, c.name)
		}
	})
	t.Run("one that is cut short by the end", func(t *testing.T) {
		p := r.docLegacy()
		w := p.wire.(*docTCP)
		_, err := w.conn.Write(random(40))
		require.NoError(t, err)
		require.NoError(t, w.conn.(*net.TCPConn).CloseWrite())
		assert.Equal(t, docwire.Unreadable, p.next())
		assert.Empty(t, p.over())
	})
}

// Nothing a client sends brings the listener down or out of step.
func TestLegacyGarbage(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) {
		c.CFMSTimes.LongSilence, c.CFMSTimes.ShortSilence = 4*time.Millisecond, 2*time.Millisecond
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		p := r.main(r.docLegacy())
		w := p.wire.(*docTCP)
		for range 20 {
			m := w.Message([]byte(p.traced("x")))
			for range rng.IntN(3) {
				m[rng.IntN(len(m))] = byte(rng.Uint32())
			}
			if _, err := w.conn.Write(m[:rng.IntN(len(m)+1)]); err != nil {
				break
			}
		}
		p.wire.close()
	}
	for range 40 {
		c := r.dialLegacy("")
		_, _ = c.Write([]byte("helloenableEncryption")[:rng.IntN(22)])
		_, _ = c.Write(random(rng.IntN(200)))
		_ = c.Close()
	}
	require.True(t, soon(func() bool {
		return r.gauge(`document_connections{state="authenticated",transport="tcp"}`) == 0 &&
			r.gauge(`document_connections{state="unauthenticated",transport="tcp"}`) == 0
	}))
	r.main(r.docLegacy()).ok("getRootDir", nil, nil)
}

func TestLegacyConnectionLimits(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) {
		c.CFMSMaxConns = maxLegacyStrangers + 6
		c.CFMSTimes.Greeting, c.CFMSTimes.Key, c.CFMSTimes.Login = time.Hour, time.Hour, time.Hour // strangers are to stay
	})
	strangers := func() float64 {
		return r.gauge(`document_connections{state="unauthenticated",transport="tcp"}`)
	}
	// refused tells whether a connection is closed at accept.
	refused := func(from string) bool {
		c := r.dialLegacy(from)
		defer c.Close()
		_, _ = io.WriteString(c, "hello") // it may be closed already
		var b [5]byte
		n, _ := io.ReadFull(c, b[:])
		return n == 0
	}
	join := func(from string) net.Conn {
		c := r.dialLegacy(from)
		_, err := io.WriteString(c, "hello")
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 5))
		require.NoError(t, err)
		return c
	}
	var all []net.Conn
	for a := range maxLegacyStrangers / maxLegacyEach {
		from := fmt.Sprint("127.0.0.", 2+a)
		for range maxLegacyEach {
			all = append(all, join(from))
		}
		if a == 0 {
			assert.True(t, refused(from), "too many of one address")
		}
	}
	assert.EqualValues(t, maxLegacyStrangers, strangers())
	assert.True(t, refused("127.0.0.9"), "too many of all addresses")

	// Who leaves makes room, and so does who becomes known.
	_ = all[0].Close()
	require.True(t, soon(func() bool { return strangers() == maxLegacyStrangers-1 }))
	var known []*docPanel
	for range 6 {
		p := r.main(r.docLegacyFrom("127.0.0.9"))
		p.ok("getRootDir", nil, nil)
		known = append(known, p)
	}
	assert.EqualValues(t, 6, r.gauge(`document_connections{state="authenticated",transport="tcp"}`))
	all[0] = join("127.0.0.2")
	assert.EqualValues(t, maxLegacyStrangers, strangers())

	// In all: as many strangers fewer, and still no more.
	for _, c := range all[:10] {
		_ = c.Close()
	}
	require.True(t, soon(func() bool { return strangers() == maxLegacyStrangers-10 }))
	for range 10 {
		r.main(r.docLegacyFrom("127.0.0.9")).ok("getRootDir", nil, nil)
	}
	assert.True(t, refused("127.0.0.9"), "too many connections")
	for _, p := range known {
		p.ok("getRootDir", nil, nil)
	}
}

func TestLegacyDisconnect(t *testing.T) {
	t.Parallel()
	r := runDocs(t, nil)
	p := r.main(r.docLegacy())
	w := p.wire.(*docTCP)
	var all []byte
	for _, text := range []string{
		p.request("disconnect", nil), p.request("createUser", map[string]any{"username": "late", "password": "x"}),
	} {
		all = append(all, w.Message([]byte(text))...)
	}
	_, err := w.conn.Write(all)
	require.NoError(t, err)
	assert.Equal(t, docwire.Goodbye, p.next())
	assert.Empty(t, p.over(), "what comes behind is dropped")
	p.wire.close()
	assert.Equal(t, 404, r.main(r.docLegacy()).call("getUserProperties", map[string]any{"username": "late"}).Code)

	// A client that is gone already.
	p = r.docLegacy()
	p.send(p.request("disconnect", nil))
	p.wire.close()
	require.True(t, soon(func() bool {
		return r.gauge(`document_connections{state="unauthenticated",transport="tcp"}`) == 0
	}))
}

func TestLegacyStop(t *testing.T) {
	t.Parallel()
	gate := newCommits(t)
	r := runDocs(t, func(c *Config) { c.JournalFault = gate.step })
	idle, greeting, busy := r.main(r.docLegacy()), r.dialLegacy(""), r.main(r.docLegacy())
	idle.ok("getRootDir", nil, nil)
	busy.ok("getRootDir", nil, nil)
	gate.armed.Store(true)
	w := busy.wire.(*docTCP)
	_, err := w.conn.Write(append(w.Message([]byte(busy.traced("first"))), w.Message([]byte(busy.traced("second")))...))
	require.NoError(t, err)
	within(t, gate.entered, "nothing is committed")
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	assert.Empty(t, idle.over())
	assert.Empty(t, heard(t, greeting))
	_, err = net.Dial("tcp", r.listening["cfms"])
	require.Error(t, err, "no new connections")
	gate.release()
	texts := busy.over()
	require.NotEmpty(t, texts, "what is being run is answered")
	assert.Equal(t, "first", traceOf(parseDoc(t, texts[0])))
	require.NoError(t, within(t, stopped, "the daemon does not stop"))
	list := parseRecords(t, r.stoppedJournal())
	for i, id := range []string{"first", "second"} {
		assert.Equal(t, len(texts) > i, count(list, func(x record) bool { return x.Ref == id }) == 1, "answered if and only if done")
	}
}

// A peer that does not read is closed once it took nothing for a while, and
// holds nobody up.
func TestLegacyUnread(t *testing.T) {
	t.Parallel()
	r := runDocs(t, func(c *Config) { c.StallAfter = 200 * time.Millisecond })
	id := bigListing(r)
	p := r.main(r.docLegacy())
	w := p.wire.(*docTCP)
	list := w.Message([]byte(p.request("operateDir", map[string]any{"dir_id": id, "action": "list"})))
	require.NoError(t, w.conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := w.conn.Write(bytes.Repeat(list, 200))
	require.NoError(t, err)
	require.True(t, soon(func() bool { return r.gauge("slow_consumers_closed_total") == 1 }))
	require.True(t, soon(func() bool { return r.gauge("large_reply_bytes") == 0 }))
	r.main(r.docLegacy()).ok("getRootDir", nil, nil)
}

// A request to stop is answered, and the daemon stops.
func TestShutdownRequest(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{overWebSocket, overX25519} {
		t.Run(transport, func(t *testing.T) {
			r := runDocs(t, nil)
			p, other := r.main(r.docs(transport)), r.docs(transport)
			rep := p.call("shutdown", nil)
			assert.Equal(t, 200, rep.Code)
			assert.Equal(t, "goodbye", rep.Msg)
			assert.Empty(t, p.over())
			assert.Empty(t, other.over())
			require.NoError(t, r.wait(), "exit status 0")
			restart(t, r.cfg)
		})
	}
}
