package daemon

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/docwire"
	"waybill/fsview/acl"
)

// The transcripts of testdata/wire/cfms are the contract with the clients of
// the document library, byte for byte. Their form is that of testdata/wire/mfp
// with the differences that the README beside them tells. Each is replayed over
// the WebSocket and through the legacy listener.
const docTranscripts = "../testdata/wire/cfms"

func docTranscriptFiles(t testing.TB) (files []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(docTranscripts, "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for _, f := range found {
		files = append(files, filepath.Base(f))
	}
	return files
}

// docSeen is what all transcripts together have shown: how each request ended,
// by its name and that of its action. The code of success is "".
type docSeen struct {
	outcomes map[string]map[acl.Code]int
	replies  int
	records  int
}

// docReplay is a transcript being replayed.
type docReplay struct {
	t         *testing.T
	transport string
	rig       *rig
	vars      variables
	seen      *docSeen
	log       *safeBuffer

	conns map[string]*docTalk
	all   []*docTalk
	cur   *docTalk
	times int // how often the next request is sent

	blocked bool // the last login that failed was not even looked at
	secrets []string
}

// docTalk is a connection of a transcript.
type docTalk struct {
	*docPanel
	name  string
	asked *docwire.Request // the request without a reply yet
	owed  int              // how many requests must have left a record
	ended bool
}

// safeBuffer takes what a daemon logs.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// overOnly is what the first line says of the transport.
var overOnly = regexp.MustCompile(`^daemon.* over=(\w+)`)

// TestDocTranscripts replays every transcript against a daemon of its own, once
// for each framing. What every request left in the journal is counted, and
// nothing of a password or a token may be in there, or in the log.
func TestDocTranscripts(t *testing.T) {
	t.Parallel()
	all := &docSeen{outcomes: map[string]map[acl.Code]int{}}
	files, ran := docTranscriptFiles(t), 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
			steps := readTranscript(t, docTranscripts, file)
			for name, transport := range map[string]string{"websocket": overWebSocket, "tcp": overX25519} {
				if only := overOnly.FindStringSubmatch(steps[0].text); only != nil && only[1] != name {
					continue // the framing makes no difference
				}
				t.Run(name, func(t *testing.T) { playDocs(t, transport, steps, all) })
			}
			ran++
		})
	}
	if ran == len(files) && !t.Failed() {
		t.Run("coverage", func(t *testing.T) { docsCovered(t, all) })
	}
	t.Logf("%d replies in %d transcripts, %d requests found in the journal", all.replies, ran, all.records)
}

func playDocs(t *testing.T, transport string, steps []step, all *docSeen) {
	p := &docReplay{t: t, transport: transport, vars: variables{}, seen: all, conns: map[string]*docTalk{}, log: &safeBuffer{}, times: 1}
	settings := ""
	if len(steps) > 0 && steps[0].op == "=" && strings.HasPrefix(steps[0].text, "daemon") {
		settings, steps = steps[0].text, steps[1:]
	}
	p.rig = runDocs(t, func(c *Config) {
		c.Logger = zerolog.New(p.log)
		// Bad messages are answered after a pause.
		c.CFMSTimes.LongSilence, c.CFMSTimes.ShortSilence = 20*time.Millisecond, 10*time.Millisecond
		configureDocs(t, c, settings)
	})
	p.vars["main"] = p.rig.token
	p.secrets = append(p.secrets, p.rig.token, acl.HashTyped(adminPassword))
	for _, s := range steps {
		p.step(s)
	}
	for _, c := range p.all {
		assert.Nil(t, c.asked, "a request on %s without a reply in the transcript", c.name)
		c.wire.close()
	}
	require.NoError(t, p.rig.stop())
	whole := p.rig.stoppedJournal()
	p.checkJournal(whole)
	p.checkSecrets(whole)
}

// configureDocs reads "daemon key=value ...".
func configureDocs(t *testing.T, c *Config, settings string) {
	for _, kv := range strings.Fields(strings.TrimPrefix(settings, "daemon")) {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "over": // see playDocs
		case "show-no-access":
			c.ShowNoAccess = value == "1"
		case "timestamp-window":
			n, err := strconv.Atoi(value)
			require.NoError(t, err, kv)
			c.TimestampWindow = time.Duration(n) * time.Second
		default:
			require.Fail(t, "no such setting", kv)
		}
	}
}

func (p *docReplay) step(s step) {
	switch s.op {
	case ">":
		p.vars["now"] = strconv.FormatInt(time.Now().Unix(), 10)
		text := p.vars.fill(p.t, s.text)
		p.repeat(s, text, p.times-1)
		p.times = 1
		p.send(s, text)
	case "<":
		got := p.receive(s)
		if err := p.vars.match(s.text, got); err != nil {
			p.t.Errorf("%v: %v", s, err)
		}
		p.answered(s, got)
	case "!":
		p.closed(s)
	case "=":
		p.directive(s)
	default:
		require.Fail(p.t, "not of these transcripts", "%v", s)
	}
}

// repeat sends a request n times, on some connections at once: their records
// share commits.
func (p *docReplay) repeat(s step, text string, n int) {
	const conns = 8
	if n == 0 {
		return
	}
	var all sync.WaitGroup
	for w := range conns {
		c := &docTalk{docPanel: p.rig.docs(p.transport), name: fmt.Sprint(s, " ", w)}
		p.all = append(p.all, c)
		c.owed = (n + w) / conns
		p.seen.replies += c.owed
		all.Go(func() {
			for range c.owed {
				_ = c.wire.send([]byte(text))
				if got, err := c.wire.receive(); err != nil || !strings.HasPrefix(string(got), `{"code":0,`) {
					p.t.Errorf("%v: %s %v", s, got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func (p *docReplay) send(s step, text string) {
	require.NotNil(p.t, p.cur, "%v: no connection", s)
	require.Nil(p.t, p.cur.asked, "%v: the request before has no reply", s)
	req := docwire.Decode([]byte(text), time.Now(), docwire.Settings{
		Local: true, TimestampWindow: p.rig.cfg.withDefaults().TimestampWindow,
	})
	p.cur.asked = &req
	p.keepSecrets(&req)
	p.cur.t = p.t
	p.cur.send(text)
}

// keepSecrets notes what must be nowhere.
func (p *docReplay) keepSecrets(req *docwire.Request) {
	add := func(secret *string) {
		if secret != nil && len(*secret) >= 8 {
			p.secrets = append(p.secrets, *secret)
		}
	}
	add(&req.Token)
	switch a := req.Action.(type) {
	case *actions.Login:
		add(&a.Password)
	case *actions.CreateUser:
		add(a.Password)
	case *actions.OperateUser:
		add(a.NewPwd)
	}
}

func (p *docReplay) receive(s step) string {
	text, err := p.cur.wire.receive()
	require.NoError(p.t, err, "%v: want %s", s, s.text)
	return string(text)
}

// answered notes what a reply shows.
func (p *docReplay) answered(s step, got string) {
	req := p.cur.asked
	require.NotNil(p.t, req, "%v: a reply to nothing", s)
	p.cur.asked = nil
	p.seen.replies++
	code := acl.Code("")
	if got != docwire.Goodbye {
		r := parseDoc(p.t, got)
		if code = codeOf(p.t, got); code == "" {
			for _, key := range []string{"token", "task_token"} {
				for _, o := range []map[string][]byte{members([]byte(got)), members(r.Data)} {
					if v := strings.Trim(string(o[key]), `"`); v != "" {
						p.secrets = append(p.secrets, v)
					}
				}
			}
		}
	}
	name := requestName(req)
	if p.seen.outcomes[name] == nil {
		p.seen.outcomes[name] = map[acl.Code]int{}
	}
	p.seen.outcomes[name][code]++
	if p.recordedSingly(req, code) {
		p.cur.owed++
	}
}

func members(object []byte) map[string][]byte {
	m := map[string][]byte{}
	for _, part := range cut(object) {
		m[part.key] = part.value
	}
	return m
}

// requestName is a request's name, with its action's if it has one; "?" for
// what is no action.
func requestName(req *docwire.Request) string {
	name := func(action *string, known string) string {
		switch {
		case action == nil || *action == "":
			return req.Name
		case !slices.Contains(strings.Fields(known), *action):
			return req.Name + " ?"
		}
		return req.Name + " " + *action
	}
	switch a := req.Action.(type) {
	case *actions.OperateFile:
		return name(a.Action, fileActions)
	case *actions.OperateDir:
		return name(a.Action, dirActions)
	case *actions.OperateUser:
		return name(&a.Action, userActions)
	}
	return req.Name
}

// The actions of CFMS.md §4.2, §5.1 and §5.4.
const (
	fileActions = "read write rename delete recover permanently_delete move change_id delete_rev recover_rev"
	dirActions  = "list rename delete recover permanently_delete move change_id"
	userActions = "passwd set_groups set_rights set_nickname set_status delete set_username set_publickey get_publickey set_avatar"
)

// recordedSingly tells whether a request leaves a record of its own (CFMS.md §8).
func (p *docReplay) recordedSingly(req *docwire.Request, code acl.Code) bool {
	if req.Action == nil {
		return false
	}
	// A block is one record, until there is another failure.
	again := code == acl.CodeLoginBlocked && p.blocked
	p.blocked = code == acl.CodeLoginBlocked || p.blocked && code != acl.CodeLogin
	_, refresh := req.Action.(actions.RefreshToken)
	return !again && (code != acl.CodeToken || refresh)
}

// signature is what tells the codes apart on the wire.
func signature(text []byte) string {
	parts := cut(text)
	s := fmt.Sprint(string(parts[0].value), " ", string(parts[1].value))
	for _, m := range parts[2:] {
		switch m.key {
		case "trace_id", "api_version":
		case "__hint__":
			s += " " + string(m.value)
		default:
			s += " " + m.key
		}
	}
	return s
}

// signatures has the code of every refusal there is.
var signatures = sync.OnceValue(func() map[string]acl.Code {
	m := map[string]acl.Code{}
	for _, code := range acl.Codes() {
		if _, transfer := neverAnswered[code]; transfer && code != acl.CodeUnexpected {
			continue
		}
		for _, name := range []string{"", "refreshToken"} {
			text := docwire.AppendReply(nil, &docwire.Request{Name: name}, nil, &acl.Refusal{Code: code}, docwire.Settings{})
			m[signature(text)] = code
		}
	}
	return m
})

// codeOf is the code that a reply tells of, "" for success.
func codeOf(t testing.TB, text string) acl.Code {
	t.Helper()
	switch parseDoc(t, text).Code {
	case 0, -3, 200:
		return ""
	}
	code, ok := signatures()[signature([]byte(text))]
	require.True(t, ok, "no code is answered so: %s", text)
	return code
}

func (p *docReplay) closed(s step) {
	require.Nil(p.t, p.cur.asked, "%v: a request without a reply", s)
	code, reason := p.cur.closed()
	if p.transport == overWebSocket {
		assert.Equal(p.t, s.text, strings.TrimSpace(fmt.Sprintf("close %d %s", code, reason)), "%v", s)
	}
	p.cur.wire.close()
	p.cur.ended = true
}

func (p *docReplay) directive(s step) {
	args := strings.Fields(s.text)
	switch args[0] {
	case "connect":
		c := &docTalk{docPanel: p.rig.docs(p.transport), name: args[1]}
		p.conns[args[1]], p.cur = c, c
		p.all = append(p.all, c)
	case "on":
		require.NotNil(p.t, p.conns[args[1]], "%v", s)
		p.cur = p.conns[args[1]]
	case "login":
		p.login(s, args[1], args[2])
	case "times":
		n, err := strconv.Atoi(args[1])
		require.NoError(p.t, err, "%v", s)
		p.times = n
	case "nested":
		p.nested(s, args[1])
	case "put", "get":
		p.transfer(s, args[0], args[1:])
	case "restart":
		p.restart()
	case "stopped":
		p.over()
		require.NoError(p.t, p.rig.wait())
	default:
		require.Fail(p.t, "no such directive", "%v", s)
	}
}

// login logs a user in and binds $as_NAME, what stands in auth from then on.
func (p *docReplay) login(s step, name, password string) {
	text := string(docwire.AppendRequest(nil, "login", map[string]any{"username": name, "password": acl.HashTyped(password)}, "", "", ""))
	p.send(s, text)
	got := p.receive(s)
	require.Equal(p.t, acl.Code(""), codeOf(p.t, got), "%v: %s", s, got)
	p.answered(s, got)
	r := parseDoc(p.t, got)
	p.vars["as_"+name] = fmt.Sprintf(`{"username":"%s","token":"%s"}`, name, r.Text("token"))
}

// transfer moves all of a task's content over HTTP: args are its id, its token,
// its file name, and the content.
func (p *docReplay) transfer(s step, what string, args []string) {
	for i := range args {
		args[i] = p.vars.fill(p.t, args[i])
	}
	method, body := http.MethodPut, args[3]
	if what == "get" {
		method, body = http.MethodGet, ""
	}
	code, got, _ := p.rig.do(method, docwire.TaskPath+args[0]+"/"+args[2], body, "Authorization", "Bearer "+args[1])
	require.Equal(p.t, http.StatusOK, code, "%v: %s", s, got)
	if what == "get" {
		assert.Equal(p.t, args[3], got, "%v", s)
	}
}

// nested makes directories n1 to nN, each in the one before.
func (p *docReplay) nested(s step, to string) {
	n, err := strconv.Atoi(to)
	require.NoError(p.t, err, "%v", s)
	parent := ""
	for i := range n {
		id := fmt.Sprint("n", i+1)
		p.send(s, p.vars.fill(p.t, fmt.Sprintf(
			`{"version":1,"request":"createDir","data":{"name":"%s","dir_id":"%s","parent_id":"%s"},"auth":$as_admin}`, id, id, parent)))
		got := p.receive(s)
		require.Equal(p.t, acl.Code(""), codeOf(p.t, got), "%v: %s", s, got)
		p.answered(s, got)
		parent = id
	}
}

// restart stops the daemon, which tells every connection, and starts another on
// the same files.
func (p *docReplay) restart() {
	p.rig.stopDuring(p.over)
	p.rig = restart(p.t, p.rig.cfg)
	p.cur = nil
}

// over waits for the end of every connection, which comes without a word.
func (p *docReplay) over() []string {
	for _, c := range p.all {
		if !c.ended {
			assert.Empty(p.t, c.over())
			c.wire.close()
			c.ended = true
		}
	}
	return nil
}

// checkJournal compares the requests of every connection with their records.
func (p *docReplay) checkJournal(whole string) {
	list := parseRecords(p.t, whole)
	for _, c := range p.all {
		p.seen.records += c.owed
		if assert.Equal(p.t, c.owed, requestsIn(list, c.via), "requests of %s that left a record", c.name) {
			continue
		}
		for _, x := range list {
			if x.Via == c.via {
				p.t.Logf("%d %s %s %v", x.Seq, x.Kind, x.Ref, x.Body)
			}
		}
	}
}

// checkSecrets: they are neither in the journal nor in the log.
func (p *docReplay) checkSecrets(whole string) {
	for _, secret := range p.secrets {
		parts := []string{secret}
		if strings.HasPrefix(secret, "eyJ") { // a token, whose parts are none either
			parts = strings.Split(secret, ".")
		}
		for _, part := range parts {
			assert.False(p.t, part != "" && strings.Contains(whole, part), "in the journal: %s", part)
			assert.False(p.t, part != "" && strings.Contains(p.log.String(), part), "in the log: %s", part)
		}
	}
}
