package daemon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// outcome is one way a request can end, as the transcripts show it.
type outcome struct {
	envelope panelwire.Envelope
	action   string // canonical, with _async if asked for in the background; "" if unreadable
	retcode  int
}

// spelled is a known name as it was sent, an alias perhaps.
type spelled struct {
	envelope panelwire.Envelope
	name     string
}

// seen is what all transcripts together have shown.
type seen struct {
	outcomes map[outcome]int
	sent     map[spelled]int
	statuses map[string]int
	replies  int
	records  int
}

// wire is a client of one connection of a transcript.
type wire struct {
	*panel
	name  string
	via   string
	known bool // logged in
	// asked are the requests without a reply yet, in order.
	asked []asked
	// owed is how many requests must have left a record.
	owed  int
	ended bool
}

type asked struct {
	step   step
	req    panelwire.Request
	frame  bool
	action string
	// What is read, of a download chunk.
	session sessions.ID
	span    sessions.Range
}

// read is a part of a file that was handed out.
type read struct {
	via     string
	session sessions.ID
	span    sessions.Range
}

// replay is a transcript being replayed.
type replay struct {
	t    *testing.T
	rig  *rig
	vars variables
	seen *seen

	conns map[string]*wire
	all   []*wire
	cur   *wire
	web   *webReply

	outside string
	fault   fault
	secrets []string
	content [][]byte
	reads   []read
	// toldRoot: a request named the root's own absolute path, which its record
	// then does too.
	toldRoot bool
	// owedWeb counts the records HTTP requests must have left, by via.
	owedWeb map[string]int
}

type webReply struct {
	via    string
	status int
	header http.Header
	body   string
}

// fault makes steps of fsview fail, or holds them up.
type fault struct {
	mu      sync.Mutex
	failing map[string]error
	holding atomic.Bool
	hold    chan struct{}
	entered chan struct{}
}

func (f *fault) step(op, _ string, do func() error) error {
	f.mu.Lock()
	err, hold := f.failing[op], f.hold
	f.mu.Unlock()
	if op == "staged.sync" && f.holding.Load() {
		f.entered <- struct{}{}
		<-hold
	}
	if err != nil {
		return err
	}
	return do()
}

func (f *fault) release() {
	if f.holding.Swap(false) {
		close(f.hold)
	}
}

// TestTranscripts replays every transcript against a daemon of its own: real
// sockets, a real journal, real files. What every authenticated request left
// in the journal is counted for each connection, and nothing of a token or of
// contents may be in there.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	all := &seen{outcomes: map[outcome]int{}, sent: map[spelled]int{}, statuses: map[string]int{}}
	files, ran := transcriptFiles(t), 0
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			play(t, readTranscript(t, transcripts, file), all)
			ran++
		})
	}
	if ran == len(files) && !t.Failed() {
		t.Run("coverage", func(t *testing.T) { covered(t, all) })
	}
	t.Logf("%d replies in %d transcripts, %d different outcomes, %d requests found in the journal",
		all.replies, ran, len(all.outcomes), all.records)
}

func play(t *testing.T, steps []step, all *seen) {
	p := &replay{
		t: t, vars: variables{}, seen: all, conns: map[string]*wire{}, owedWeb: map[string]int{}, outside: t.TempDir(),
	}
	p.fault.failing = map[string]error{}
	p.fault.entered = make(chan struct{}, 1000)
	require.NoError(t, os.WriteFile(filepath.Join(p.outside, "secret.txt"), []byte("outside"), 0o600))
	settings := ""
	if len(steps) > 0 && steps[0].op == "=" && strings.HasPrefix(steps[0].text, "daemon") {
		settings, steps = steps[0].text, steps[1:]
	}
	p.rig = run(t, func(c *Config) {
		configure(t, c, settings)
		c.FileFault = p.fault.step
	})
	t.Cleanup(p.fault.release)
	p.vars["main"], p.vars["outside"], p.vars["root"] = p.rig.token, p.outside, p.rig.cfg.Root
	p.secrets = append(p.secrets, p.rig.token)
	for i := 0; i < len(steps); i++ {
		if steps[i].op != "<~" {
			p.step(steps[i])
			continue
		}
		group := i
		for i+1 < len(steps) && steps[i+1].op == "<~" {
			i++
		}
		p.anyOrder(steps[group : i+1])
	}
	for _, w := range p.all {
		assert.Empty(t, w.asked, "requests on %s without a reply in the transcript", w.name)
		if !w.ended {
			_ = w.ws.CloseNow()
		}
	}
	p.checkJournal()
	p.checkOutside()
}

// configure reads "daemon key=value ...".
func configure(t *testing.T, c *Config, settings string) {
	for _, kv := range strings.Fields(strings.TrimPrefix(settings, "daemon")) {
		key, value, _ := strings.Cut(kv, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		require.NoError(t, err, kv)
		switch key {
		case "reserve":
			c.Reserve = n
		case "max-message":
			c.MaxMessage = n
		case "max-pending":
			c.MaxPending = int(n)
		case "max-file-size":
			c.Limits.MaxFileSize = n
		case "max-downloads-per-file":
			c.Limits.MaxDownloadsPerFile = int(n)
		case "login-within-ms":
			c.LoginWithin = time.Duration(n) * time.Millisecond
			c.PingEvery = c.LoginWithin
		case "split-listing":
			c.SplitListing = n == 1
		default:
			require.Fail(t, "no such setting", kv)
		}
	}
}

func (p *replay) step(s step) {
	t := p.t
	switch s.op {
	case ">":
		p.send(s, websocket.MessageText, []byte(p.vars.fill(t, s.text)))
	case ">x":
		p.send(s, websocket.MessageText, binaryOf(t, p.vars, s.text))
	case ">b":
		p.send(s, websocket.MessageBinary, binaryOf(t, p.vars, s.text))
	case "<":
		p.reply(s, p.receive(s))
	case "!":
		p.closed(s)
	case ">h":
		p.webSend(s)
	case "<h":
		p.webCompare(s)
	default:
		p.directive(s)
	}
}

func (p *replay) send(s step, kind websocket.MessageType, msg []byte) {
	require.NotNil(p.t, p.cur, "%v: no connection", s)
	a := asked{step: s}
	var err error
	if kind == websocket.MessageText {
		a.req, err = panelwire.DecodeText(bytes.Clone(msg))
	} else {
		var f *panelwire.Frame
		if a.req, f, err = panelwire.DecodeBinary(bytes.Clone(msg)); f != nil {
			a.frame, a.req.Action = true, "file_upload_chunk"
			p.content = append(p.content, f.Data)
		}
	}
	a.action = a.req.Action
	if spec, ok := actions.Lookup(a.action); ok {
		p.seen.sent[spelled{a.req.Envelope, a.action}]++
		a.action = spec.Name
		if err == nil && !a.frame {
			if act, derr := panelwire.DecodeParams(spec, &a.req); derr == nil {
				switch act := act.(type) {
				case *actions.UploadChunk:
					p.content = append(p.content, bytes.Clone(act.Data))
				case *actions.DownloadChunk:
					a.session, a.span = act.Session, sessions.Range{act.From, act.To}
				}
			}
		}
		if a.req.Async {
			a.action += "_async"
		}
	} else if err != nil {
		a.action = ""
	} else {
		a.action = "unknown"
	}
	p.toldRoot = p.toldRoot || bytes.Contains(msg, []byte(p.rig.cfg.Root))
	if token, derr := panelwire.DecodeLogin(&a.req); err == nil && derr == nil && len(token) >= 4 {
		p.secrets = append(p.secrets, token) // a wrong one may be nearly right
	}
	w := p.cur
	if w.known || a.action == "login" {
		w.owed++
	}
	w.asked = append(w.asked, a)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The connection may be closed while a message that is too big is sent.
	if err := w.ws.Write(ctx, kind, msg); err != nil && len(msg) < maxStrangerMessage {
		require.NoError(p.t, err, "%v", s)
	}
}

func (p *replay) receive(s step) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, msg, err := p.cur.ws.Read(ctx)
	require.NoError(p.t, err, "%v: want %s", s, s.text)
	require.Equal(p.t, websocket.MessageText, kind)
	return string(msg)
}

// reply compares one reply and notes what it shows.
func (p *replay) reply(s step, got string) {
	w := p.cur
	if err := p.vars.match(s.text, got); err != nil {
		p.t.Errorf("%v: %v", s, err)
	}
	p.answered(s, w, got)
}

// answered pairs a reply with its request.
func (p *replay) answered(s step, w *wire, got string) {
	t := p.t
	r, err := panelwire.ParseReply([]byte(got))
	i := slices.IndexFunc(w.asked, func(a asked) bool {
		switch {
		case err != nil:
			return a.frame
		case a.frame:
			return false
		case r.HasID && r.ID != nilID:
			return a.req.ID == r.ID
		case r.HasID:
			return a.req.RawID == nil && (a.action == "" || a.req.Envelope == panelwire.IDEnvelope)
		}
		return a.req.Envelope == panelwire.EchoEnvelope && bytes.Equal(a.req.RawEcho, r.Echo)
	})
	require.GreaterOrEqual(t, i, 0, "%v: a reply to nothing: %s", s, clipped(got))
	a := w.asked[i]
	w.asked = slices.Delete(w.asked, i, i+1)
	p.seen.replies++
	if err != nil { // to an upload frame
		return
	}
	if a.action != "" || r.Retcode != 10001 {
		env := a.req.Envelope
		assert.Equal(t, env == panelwire.IDEnvelope, r.HasID, "%v: the other envelope", s)
	}
	p.seen.outcomes[outcome{a.req.Envelope, a.action, r.Retcode}]++
	p.seen.statuses[r.Status]++
	switch {
	case r.Err() != nil:
	case a.action == "ping":
		if w.known {
			w.owed-- // liveness: metrics only
		}
	case a.action == "file_download_chunk" && !bytes.Equal(r.Data, []byte(`{"content":""}`)):
		w.owed-- // recorded together, as download.read
		p.reads = append(p.reads, read{w.via, a.session, a.span})
	case a.action == "login":
		w.known = true
	}
}

// anyOrder takes as many replies as there are lines in the group, to requests
// in flight together: each must be one of the lines.
func (p *replay) anyOrder(group []step) {
	left := slices.Clone(group)
	for range group {
		got := p.receive(left[0])
		i := slices.IndexFunc(left, func(s step) bool { return maps.Clone(p.vars).match(s.text, got) == nil })
		if i < 0 {
			p.t.Errorf("%v: none of the lines:\ngot  %s", left[0], clipped(p.vars.name(got)))
			i = 0
		} else {
			_ = p.vars.match(left[i].text, got) // it does
		}
		p.answered(left[i], p.cur, got)
		left = slices.Delete(left, i, i+1)
	}
}

func (p *replay) closed(s step) {
	code, reason := p.cur.closed()
	got := fmt.Sprintf("close %d %s", code, reason)
	if err := p.vars.match(s.text, strings.TrimSpace(got)); err != nil {
		p.t.Errorf("%v: %v", s, err)
	}
	if code == websocket.StatusMessageTooBig {
		// It gets no reply, but its record if the caller is known.
		p.cur.asked = p.cur.asked[:len(p.cur.asked)-1]
	}
	p.cur.ended = true
}

// connect opens a connection and remembers which it is in the journal.
func (p *replay) connect(name, token string) {
	via := ""
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			via = c.LocalAddr().String()
		}
		return c, err
	}}}
	u, header := "ws://"+p.rig.addr+"/api/v1", http.Header{}
	if bearer, ok := strings.CutPrefix(token, "bearer "); ok {
		header.Set("Authorization", "Bearer "+bearer)
	} else if token == "empty" {
		u, token = u+"?token=", ""
	} else if token != "" {
		u += "?token=" + url.QueryEscape(token)
	}
	ws, _, err := websocket.Dial(p.t.Context(), u, &websocket.DialOptions{HTTPClient: web, HTTPHeader: header})
	require.NoError(p.t, err)
	ws.SetReadLimit(64 << 20)
	p.t.Cleanup(func() { _ = ws.CloseNow() })
	w := &wire{panel: &panel{t: p.t, ws: ws}, name: name, via: "ws " + via, known: token != ""}
	p.conns[name], p.cur = w, w
	p.all = append(p.all, w)
}

var webLine = regexp.MustCompile(`^(\S+) (\S+)((?: \{[A-Za-z-]+: [^{}]*\})*)(?: (.*))?$`)
var braces = regexp.MustCompile(`\{([A-Za-z-]+): ([^{}]*)\}`)

func unescaped(s string) string {
	return strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(s)
}

func (p *replay) webSend(s step) {
	t := p.t
	m := webLine.FindStringSubmatch(p.vars.fill(t, s.text))
	require.NotNil(t, m, "%v", s)
	req, err := http.NewRequest(m[1], "http://"+p.rig.addr+m[2], strings.NewReader(unescaped(m[4])))
	require.NoError(t, err)
	for _, h := range braces.FindAllStringSubmatch(m[3], -1) {
		req.Header.Set(h[1], h[2])
	}
	if !strings.HasPrefix(m[2], "/subtoken") {
		p.content = append(p.content, []byte(unescaped(m[4])))
	}
	via := ""
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			via = c.LocalAddr().String()
		}
		return c, err
	}}
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	require.NoError(t, err, "%v", s)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	_ = res.Body.Close()
	p.web = &webReply{"http " + via, res.StatusCode, res.Header, string(body)}
}

var webReplyLine = regexp.MustCompile(`^(\d+)( \+1)?((?: \{[A-Za-z-]+: [^{}]*\})*)(?: (.*))?$`)

// webCompare: "STATUS [+1] {Header: value}... BODY"; +1 tells that the request
// left a record.
func (p *replay) webCompare(s step) {
	t := p.t
	m := webReplyLine.FindStringSubmatch(s.text)
	require.NotNil(t, m, "%v", s)
	require.NotNil(t, p.web, "%v", s)
	if want := m[1]; want != strconv.Itoa(p.web.status) {
		t.Errorf("%v:\nwant %s\ngot  %d %s", s, s.text, p.web.status, p.web.body)
	}
	for _, h := range braces.FindAllStringSubmatch(m[3], -1) {
		if err := p.vars.match(h[2], p.web.header.Get(h[1])); err != nil {
			t.Errorf("%v: %s: %v", s, h[1], err)
		}
	}
	assert.Equal(t, "*", p.web.header.Get("Access-Control-Allow-Origin"), "%v", s)
	if err := p.vars.match(unescaped(m[4]), p.web.body); err != nil {
		t.Errorf("%v: %v", s, err)
	}
	p.owedWeb[p.web.via] += len(m[2]) / 3
	if strings.HasPrefix(p.web.body, "eyJ") {
		p.secrets = append(p.secrets, p.web.body)
	}
	p.web = nil
}

func (p *replay) directive(s step) {
	t := p.t
	verb, rest, _ := strings.Cut(s.text, " ")
	if verb != "put" {
		rest = p.vars.fill(t, rest)
	}
	arg, more, _ := strings.Cut(rest, " ")
	at := func(name string) string { return filepath.Join(p.rig.cfg.Root, filepath.FromSlash(name)) }
	switch verb {
	case "connect":
		p.connect(arg, more)
	case "on":
		require.Contains(t, p.conns, arg, "%v", s)
		p.cur = p.conns[arg]
	case "token": // NAME SUBJECT PERMISSIONS
		subject, permissions, _ := strings.Cut(more, " ")
		token := p.rig.subtoken(url.Values{"subject": {subject}, "permissions": {permissions}, "expires": {"600"}})
		p.vars["tok_"+arg] = token
		p.secrets = append(p.secrets, token)
	case "restart":
		p.restart()
	case "mkdir":
		require.NoError(t, os.MkdirAll(at(arg), 0o755))
	case "put":
		require.NoError(t, os.WriteFile(at(arg), []byte(expand(more)), 0o644))
	case "puthex":
		b, err := hex.DecodeString(more)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(at(arg), b, 0o644))
	case "chmod":
		mode, err := strconv.ParseUint(more, 8, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(at(arg), os.FileMode(mode)))
	case "link": // PATH TARGET
		require.NoError(t, os.Symlink(more, at(arg)))
	case "fifo":
		require.NoError(t, unix.Mkfifo(at(arg), 0o644))
	case "socket":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		dir, err := os.Open(p.rig.cfg.Root) // by way of which its name is short enough
		require.NoError(t, err)
		defer dir.Close()
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), arg)}))
	case "badname": // makes a file whose name is not UTF-8
		require.NoError(t, os.WriteFile(at("bad\xff"), nil, 0o644))
	case "remove":
		require.NoError(t, os.RemoveAll(at(arg)))
	case "file":
		got, err := os.ReadFile(at(arg))
		require.NoError(t, err, "%v", s)
		assert.Equal(t, expand(more), string(got), "%v", s)
	case "filehex":
		got, err := os.ReadFile(at(arg))
		require.NoError(t, err, "%v", s)
		assert.Equal(t, more, hex.EncodeToString(got), "%v", s)
	case "nofile":
		_, err := os.Lstat(at(arg))
		assert.ErrorIs(t, err, os.ErrNotExist, "%v", s)
	case "nostaged":
		left, err := filepath.Glob(at(".waybill/*/staging/*"))
		require.NoError(t, err)
		assert.Empty(t, left, "%v", s)
	case "fault": // STEP ERRNO
		p.fault.mu.Lock()
		p.fault.failing[arg] = map[string]error{"EIO": unix.EIO, "ENOSPC": unix.ENOSPC, "ok": nil}[more]
		p.fault.mu.Unlock()
	case "hold":
		p.fault.mu.Lock()
		p.fault.hold = make(chan struct{})
		p.fault.mu.Unlock()
		p.fault.holding.Store(true)
	case "held":
		within(t, p.fault.entered, "nothing is held")
	case "release":
		p.fault.release()
	case "ended": // waits until a session is no longer live
		q := p.rig.panel(p.rig.token)
		require.True(t, soon(func() bool {
			r := q.call("file_transfer_list", nil)
			return !strings.Contains(string(r.Data), arg)
		}), "%v", s)
		_ = q.ws.CloseNow()
	case "finished": // waits until a job has ended
		q := p.rig.panel(p.rig.token)
		require.True(t, soon(func() bool {
			r := q.call("get_job", map[string]any{"job": arg})
			require.Equal(t, "ok", r.Status)
			return !bytes.HasPrefix(r.Data, []byte(`{"state":"queued"`)) && !bytes.HasPrefix(r.Data, []byte(`{"state":"running"`))
		}), "%v", s)
		_ = q.ws.CloseNow()
	case "expired": // waits until a token has expired
		require.True(t, soon(func() bool {
			code, _, _ := p.rig.do("GET", "/api/v1?token="+arg, "")
			return code == http.StatusUnauthorized
		}), "%v", s)
	case "appears": // waits until a file is there
		require.True(t, soon(func() bool { _, err := os.Lstat(at(arg)); return err == nil }), "%v", s)
	default:
		require.Fail(t, "no such directive", "%v: %s", s, s.text)
	}
}

// restart stops the daemon, which tells every connection, and starts another
// on the same files.
func (p *replay) restart() {
	t := p.t
	done := make(chan error, 1)
	go func() { done <- p.rig.stop() }()
	for _, w := range p.all {
		if w.ended {
			continue
		}
		code, reason := w.closed()
		assert.Equal(t, websocket.StatusGoingAway, code)
		assert.Equal(t, "daemon exit", reason)
		w.ended = true
	}
	require.NoError(t, within(t, done, "the daemon does not stop"))
	p.rig = restart(t, p.rig.cfg)
	p.cur = nil
}

// checkJournal compares the requests of every connection with their records.
func (p *replay) checkJournal() {
	t := p.t
	var whole string
	var list []record
	fetch := func() {
		var code int
		code, whole, _ = p.rig.do("GET", "/journal", "", "Authorization", "Bearer "+p.rig.token)
		require.Equal(t, 200, code)
		list = parseRecords(t, whole)
	}
	fetch()
	for _, r := range p.reads { // it is written down once a second
		assert.True(t, r.recorded(list) || soon(func() bool { time.Sleep(20 * time.Millisecond); fetch(); return r.recorded(list) }), "%v is in the journal", r)
	}
	owed := map[string]int{}
	for _, w := range p.all {
		owed[w.via] += w.owed
		p.seen.records += w.owed
	}
	for via, n := range p.owedWeb {
		owed[via] += n
	}
	for via, n := range owed {
		if !assert.Equal(t, n, requestsIn(list, via), "requests of %s that left a record", via) {
			for _, x := range list {
				if x.Via == via {
					t.Logf("%d %s %s %v", x.Seq, x.Kind, x.Ref, x.Body)
				}
			}
		}
	}
	for name, value := range p.vars {
		if strings.HasPrefix(name, "url") {
			_, sig, _ := strings.Cut(value, "&sig=")
			p.secrets = append(p.secrets, sig)
		}
	}
	for _, secret := range p.secrets {
		assert.NotContains(t, whole, secret, "a token")
		for _, part := range strings.Split(secret, ".") {
			assert.True(t, part == "" || !strings.Contains(whole, part), "part of a token in the journal: %s", part)
		}
	}
	for _, c := range p.content {
		if len(c) < 8 {
			continue // found by chance
		}
		for _, form := range []string{
			string(c), hex.EncodeToString(c), base64.StdEncoding.EncodeToString(c),
			strings.Trim(string(panelwire.AppendByteString(nil, c)), `"`), quoted(string(c)),
		} {
			assert.False(t, strings.Contains(whole, form), "contents in the journal: %s", form)
		}
	}
	if !p.toldRoot {
		assert.NotContains(t, whole, p.rig.cfg.Root, "an absolute path")
	}
}

// recorded tells whether the download.read records of the connection cover r.
func (r read) recorded(list []record) bool {
	var have sessions.Set
	for _, x := range list {
		if x.Kind == "download.read" && x.Via == r.via && x.Body["session"] == r.session.String() {
			for _, span := range x.Body["ranges"].([]any) {
				have.Add(sessions.Range{int64(span.([]any)[0].(float64)), int64(span.([]any)[1].(float64))})
			}
		}
	}
	return have.Contains(r.span)
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

// requestsIn counts the requests that the records of one connection stand for:
// those of one ref together for one, or for the calls an upload.stored says it
// answers. What only declares bytes missing is a part of a chunk recorded
// elsewhere.
func requestsIn(list []record, via string) (n int) {
	calls, other := map[string]int{}, map[string]bool{}
	for _, x := range list {
		if x.Via != via {
			continue
		}
		switch x.Kind {
		case "upload.unstored", "download.read":
		case "upload.stored":
			c, _ := x.Body["calls"].(float64)
			calls[x.Ref] += max(int(c), 1)
		default:
			other[x.Ref] = true
		}
	}
	for _, c := range calls {
		n += c
	}
	for ref := range other {
		if calls[ref] == 0 {
			n++
		}
	}
	return n
}

// checkOutside: nothing was read, written or made beside the served tree.
func (p *replay) checkOutside() {
	entries, err := os.ReadDir(p.outside)
	require.NoError(p.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	assert.Equal(p.t, []string{"secret.txt"}, names)
	got, err := os.ReadFile(filepath.Join(p.outside, "secret.txt"))
	require.NoError(p.t, err)
	assert.Equal(p.t, "outside", string(got))
}
