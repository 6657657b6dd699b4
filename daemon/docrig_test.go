package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"waybill/daemon/docwire"
	"waybill/fsview/acl"
	"waybill/journal"
)

// The transports of the document library's requests, as tests name them.
const (
	overWebSocket = "websocket"
	overRSA       = "rsa"
	overX25519    = "x25519"
)

const adminPassword = "123456"

// rsaKey is made once: it takes seconds.
var rsaKey = sync.OnceValues(func() ([]byte, error) {
	key, err := docwire.GenerateServerKey(docwire.MethodRSA)
	if err != nil {
		return nil, err
	}
	return key.Marshal()
})

// runDocs runs a daemon for the document library: admin's password is
// adminPassword, there is sample data, and, unless change says otherwise, the
// legacy listener on a port of 127.0.0.1 with x25519.
func runDocs(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	return run(t, func(c *Config) {
		c.AdminPassword, c.SampleData = adminPassword, true
		c.CFMSListen, c.CFMSKeyExchange = "127.0.0.1:0", overX25519
		if change != nil {
			change(c)
		}
		if c.CFMSKeyExchange == overRSA {
			placeRSAKey(t, c.State)
		}
	})
}

// placeRSAKey puts the key of this test binary into a STATE that does not exist
// yet.
func placeRSAKey(t testing.TB, state string) {
	t.Helper()
	key, err := rsaKey()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(state, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(state, fileLegacyRSA), key, 0o600))
}

// docPanel is a client of the document library over any transport. Replies are
// taken in the order they come.
type docPanel struct {
	t    testing.TB
	wire docClient
	// user and token go into every request.
	user, token string
	// via is what it is in the journal.
	via string
}

// docClient carries texts. receive says io.EOF when the connection is over.
type docClient interface {
	send(text []byte) error
	receive() ([]byte, error)
	close()
}

// docs connects over a transport.
func (r *rig) docs(transport string) *docPanel {
	r.t.Helper()
	if transport == overWebSocket {
		return r.docSocket()
	}
	return r.docLegacy()
}

// docSocket connects over the WebSocket.
func (r *rig) docSocket() *docPanel {
	r.t.Helper()
	p, err := r.dialDocs()
	require.NoError(r.t, err)
	return p
}

func (r *rig) dialDocs() (*docPanel, error) {
	via := ""
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			via = "ws " + c.LocalAddr().String()
		}
		return c, err
	}}}
	ws, _, err := websocket.Dial(context.Background(), "ws://"+r.addr+"/cfms/v1", &websocket.DialOptions{HTTPClient: web})
	if err != nil {
		web.CloseIdleConnections()
		return nil, err
	}
	ws.SetReadLimit(64 << 20)
	w := &docWeb{ws: ws}
	r.t.Cleanup(w.close)
	return &docPanel{t: r.t, wire: w, via: via}, nil
}

// docLegacy connects to the legacy listener and does the handshake.
func (r *rig) docLegacy() *docPanel {
	r.t.Helper()
	return r.docLegacyFrom("")
}

// docLegacyFrom is docLegacy from an address of this machine.
func (r *rig) docLegacyFrom(from string) *docPanel {
	r.t.Helper()
	c := r.dialLegacy(from)
	m := &measured{Conn: c}
	w := &docTCP{Client: docwire.NewClient(m), conn: c, measured: m}
	require.NoError(r.t, w.Handshake())
	return &docPanel{t: r.t, wire: w, via: "cfms " + c.LocalAddr().String()}
}

// dialLegacy opens a connection on which nothing was said yet, from an address
// of this machine, "" for any.
func (r *rig) dialLegacy(from string) net.Conn {
	r.t.Helper()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", r.listening["cfms"])
	require.NoError(r.t, err)
	require.NoError(r.t, c.SetDeadline(time.Now().Add(patience)))
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// docWeb is a docClient over the WebSocket.
type docWeb struct{ ws *websocket.Conn }

func (w *docWeb) send(text []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.ws.Write(ctx, websocket.MessageText, text)
}

func (w *docWeb) receive() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, text, err := w.ws.Read(ctx)
	var ce websocket.CloseError
	switch {
	case asClose(err, &ce):
		return nil, fmt.Errorf("%w: %w", io.EOF, err)
	case err == nil && kind != websocket.MessageText:
		return nil, fmt.Errorf("not a text: %v", kind)
	}
	return text, err
}

func (w *docWeb) close() { _ = w.ws.CloseNow() }

// docTCP is a docClient of the legacy listener.
type docTCP struct {
	*docwire.Client
	conn     net.Conn
	measured *measured
}

// measured reads no more than most bytes, and all of them, if that is not 0.
type measured struct {
	net.Conn
	most int
}

func (m *measured) Read(b []byte) (int, error) {
	if m.most == 0 {
		return m.Conn.Read(b)
	}
	n, err := io.ReadFull(m.Conn, b[:min(len(b), m.most)])
	m.most -= n
	return n, err
}

func (w *docTCP) send(text []byte) error { return w.Send(text) }

// receive drops the spaces that keep a message off a multiple of 1024 bytes
// (CFMS.md §1.2 "Writing").
func (w *docTCP) receive() ([]byte, error) {
	text, err := w.Receive()
	return bytes.TrimSuffix(text, []byte(strings.Repeat(" ", 16))), err
}
func (w *docTCP) close() { _ = w.conn.Close() }

func (p *docPanel) send(text string) {
	p.t.Helper()
	require.NoError(p.t, p.wire.send([]byte(text)))
}

func (p *docPanel) next() string {
	p.t.Helper()
	text, err := p.wire.receive()
	require.NoError(p.t, err)
	return string(text)
}

// say sends a text and takes the next reply for the answer.
func (p *docPanel) say(text string) string {
	p.t.Helper()
	p.send(text)
	return p.next()
}

// request is what call sends.
func (p *docPanel) request(name string, data any) string {
	return string(docwire.AppendRequest(nil, name, data, p.user, p.token, ""))
}

// ask sends a request and does not wait.
func (p *docPanel) ask(name string, data any) {
	p.t.Helper()
	p.send(p.request(name, data))
}

func (p *docPanel) reply() docwire.Reply {
	p.t.Helper()
	return parseDoc(p.t, p.next())
}

func parseDoc(t testing.TB, text string) docwire.Reply {
	t.Helper()
	r, err := docwire.ParseReply([]byte(text))
	require.NoError(t, err, text)
	return r
}

// call sends a request and takes the next reply for the answer.
func (p *docPanel) call(name string, data any) docwire.Reply {
	p.t.Helper()
	p.ask(name, data)
	return p.reply()
}

// ok calls and unpacks the data of a reply that must be good.
func (p *docPanel) ok(name string, data, into any) docwire.Reply {
	p.t.Helper()
	r := p.call(name, data)
	require.Equal(p.t, 0, r.Code, "%s: %s", name, r.Msg)
	if into != nil {
		require.NoError(p.t, json.Unmarshal(r.Data, into))
	}
	return r
}

// login logs in and asks in that name from here on.
func (p *docPanel) login(user, password string) docwire.Reply {
	p.t.Helper()
	p.user, p.token = "", ""
	r := p.ok("login", map[string]any{"username": user, "password": acl.HashTyped(password)}, nil)
	p.user, p.token = user, r.Text("token")
	require.NotEmpty(p.t, p.token)
	return r
}

// admin connects over a transport and logs admin in.
func (r *rig) admin(transport string) *docPanel {
	r.t.Helper()
	p := r.docs(transport)
	p.login("admin", adminPassword)
	return p
}

// over reads until the connection ends and returns what came before.
func (p *docPanel) over() (texts []string) {
	p.t.Helper()
	for {
		text, err := p.wire.receive()
		if err != nil {
			require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded, "the connection does not end")
			require.NotErrorIs(p.t, err, context.DeadlineExceeded, "the connection does not end")
			return texts
		}
		texts = append(texts, string(text))
	}
}

// closed reads until the connection ends and returns a WebSocket's close code,
// -1 if there was none.
func (p *docPanel) closed() (websocket.StatusCode, string) {
	p.t.Helper()
	for {
		if _, err := p.wire.receive(); err != nil {
			require.NotErrorIs(p.t, err, context.DeadlineExceeded, "the connection does not end")
			var ce websocket.CloseError
			if asClose(err, &ce) {
				return ce.Code, ce.Reason
			}
			return -1, err.Error()
		}
	}
}

// stopDuring stops the daemon while the connections of a test come to their end.
func (r *rig) stopDuring(over func() []string) []string {
	r.t.Helper()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	texts := over()
	require.NoError(r.t, within(r.t, stopped, "the daemon does not stop"))
	return texts
}

// stoppedJournal returns the journal of a daemon that has ended.
func (r *rig) stoppedJournal() string {
	r.t.Helper()
	log, err := journal.Open(filepath.Join(r.cfg.State, "journal"), journal.Options{ReadOnly: true})
	require.NoError(r.t, err)
	defer log.Close()
	var all strings.Builder
	require.NoError(r.t, log.Read(context.Background(), 0, log.Head().Size, func(line []byte) error {
		all.Write(line)
		all.WriteByte('\n')
		return nil
	}))
	return all.String()
}

// task is the task object of a reply (CFMS.md §4.3).
type task struct {
	ID       string            `json:"task_id"`
	Token    string            `json:"task_token"`
	Expires  json.Number       `json:"expire_time"`
	Filename map[string]string `json:"t_filename"`
}

// keys are the keys of a raw object in their order.
func docKeys(t testing.TB, object json.RawMessage) []string {
	t.Helper()
	parts := cut(object)
	if len(parts) == 0 {
		require.Equal(t, "{}", strings.TrimSpace(string(object)))
	}
	return keysOf(parts)
}

func jsonInto(raw json.RawMessage, into any) error { return json.Unmarshal(raw, into) }

// trace takes the next reply and tells whose it is.
func (p *docPanel) trace() string {
	p.t.Helper()
	return traceOf(p.reply())
}

func traceOf(r docwire.Reply) string { return r.Text("trace_id") }
