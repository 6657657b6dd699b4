package daemon

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon/docwire"
	"waybill/fsview/acl"
)

// sample is the sample client of CFMS.md §9, in one of its two versions.
type sample struct {
	t     *testing.T
	rig   *rig
	p     *docPanel
	b     bool // version B
	token string
	round int // from 1
	tasks map[string]bool
}

// sampleRow is one row of the table: what is sent, and what must come back.
type sampleRow struct {
	request, data string
	onlyB         bool
	// code and msg of round 1 and of later ones; msg "" is not looked at.
	first, later want
}

type want struct {
	code int
	msg  string
	// keys are the top-level keys, in order.
	keys string
	// check looks at the rest.
	check func(*sample, docwire.Reply)
}

// The rows 1 to 19. What is not in a row is as in "ok".
func sampleRows(b bool) []sampleRow {
	row := func(request, data string, first, later want) sampleRow {
		return sampleRow{request: request, data: data, first: first, later: later}
	}
	same := func(request, data string, w want) sampleRow { return row(request, data, w, w) }
	rows := []sampleRow{
		same("refreshToken", "", want{0, "ok", "code msg token", func(s *sample, r docwire.Reply) {
			assert.Regexp(s.t, `^eyJ[\w-]+\.[\w-]+\.[\w-]+$`, r.Text("token"))
		}}),
		same("getDir", `{"id": "dir01"}`, want{0, "ok", "code msg dir_data dir_name deprecated", func(s *sample, r docwire.Reply) {
			entries := cut(r.Raw["dir_data"])
			require.Equal(s.t, []string{"", "C00001"}, keysOf(entries))
			assert.Regexp(s.t, `^\{"name":"<root directory>","type":"dir","parent":true,"properties":\{"created_time":[\d.]+\}\}$`, string(entries[0].value))
			assert.Regexp(s.t, `^\{"name":"hello.txt","type":"file","state":\{"code":"ok","expire_time":0\},"properties":\{"created_time":[\d.]+,"size":27\}\}$`, string(entries[1].value))
			assert.Equal(s.t, "true", string(r.Raw["deprecated"]))
		}}),
		same("operateFile", `{"file_id": "C00001", "action": "read"}`, want{0, "ok", "code msg data", sampleTask("C00001")}),
		same("getPolicy", `{"policy_id": "login_retry"}`, want{0, "ok", "code msg data", func(s *sample, r docwire.Reply) {
			assert.Equal(s.t, strings.Fields("blockAfterRetries temporilyBlockAfterRetries temporilyBlockTime temporilyBlockTimePerPlusTime temporilyBlockTimePerPlusMaxTime"),
				docKeys(s.t, r.Data))
		}}),
		same("getAvatar", `{"username": "admin"}`, want{0, "ok", "code msg data", sampleTask("")}),
	}
	after := []string{"dir01", "testupload1"}
	if b {
		after = after[:1]
	}
	root := func(ids []string) want {
		return want{0, "ok", "code msg dir_data", func(s *sample, r docwire.Reply) {
			assert.Equal(s.t, ids, docKeys(s.t, r.Raw["dir_data"]))
		}}
	}
	created := want{0, "file created", "code msg data", sampleTask("testupload1")}
	exists := want{-1, "file or directory exists.", "code msg __hint__", func(s *sample, r docwire.Reply) {
		assert.Equal(s.t, "if you want to override a file, use 'operateFile' instead.", r.Text("__hint__"))
	}}
	if b {
		exists = created
	}
	batch := want{0, "request processed", "code msg data", func(s *sample, r docwire.Reply) {
		assert.JSONEq(s.t, `{"succeeded": ["C00001", "dir01"], "failed": []}`, string(r.Data))
	}}
	dir := func(rest string) string { return `{"dir_id": "dir01", ` + rest + `}` }
	rows = append(rows,
		row("getRootDir", `{}`, root([]string{"dir01"}), root(after)),
		row("createFile", `{"directory_id": "", "file_id": "testupload1"}`, created, exists),
		same("operateFile", `{"file_id": "testupload1", "action": "write"}`, want{0, "ok", "code msg data", sampleTask("testupload1")}),
		sampleRow{"operateFile", `{"file_id": "testupload1", "action": "recover"}`, true, want{-1, "File is not deleted", "code msg", nil}, want{-1, "File is not deleted", "code msg", nil}},
		sampleRow{"operateFile", `{"file_id": "testupload1", "action": "permanently_delete"}`, true, want{0, "ok", "code msg", nil}, want{0, "ok", "code msg", nil}},
		row("createUser", `{"username": "testuser", "password": "123456"}`, want{0, "ok", "code msg", nil}, want{-1, "user exists", "code msg", nil}),
		row("createGroup", `{"group_name": "testusergroup", "rights": {"permanently_delete": {"expire": 0}}, "members": ["admin"]}`,
			want{0, "ok", "code msg data", func(s *sample, r docwire.Reply) { assert.JSONEq(s.t, `{"failed": []}`, string(r.Data)) }},
			want{-1, "group exists", "code msg", nil}),
		same("getUserProperties", `{"username": "guest"}`, want{404, "not found", "code msg", nil}),
		same("operateDir", dir(`"action": "delete"`), batch),
		same("operateDir", dir(`"action": "recover"`), batch),
		same("operateDir", dir(`"action": "rename", "new_dirname": "new_dirname"`), want{0, "success", "code msg", nil}),
		same("operateDir", dir(`"action": "move", "new_parent": "dir01"`), want{-2, "a directory cannot be its own parent", "code msg", nil}),
		same("operateDir", dir(`"action": "change_id", "new_id": "dir01"`), want{0, "no changes made", "code msg", nil}),
	)
	revisions := want{0, "ok", "code msg data", func(s *sample, r docwire.Reply) {
		assert.Regexp(s.t, `^\{"revisions":\{"[0-9a-f]{32}":\{"created_time":[\d.]+,"state":0,"state_expire_time":0,"size":27,`+
			`"sha256":"50ec28cbcd87429ea94e2aaf5f6ae6cbae3da975d98ac186bda52893d111b16c"\}\}\}$`, string(r.Data))
	}}
	return append(rows, sampleRow{"getFileRevisions", `{"file_id": "C00001", "item_range": [0, 3], "reverse": false}`, true, revisions, revisions})
}

// sampleTask checks a task object under a key, and that there was none like it before.
func sampleTask(key string) func(*sample, docwire.Reply) {
	return func(s *sample, r docwire.Reply) {
		m := assertTask(s.t, r, key)
		assert.False(s.t, s.tasks[m.ID] || s.tasks[m.Token])
		s.tasks[m.ID], s.tasks[m.Token] = true, true
	}
}

// assertTask checks a task object (CFMS.md §4.3).
func assertTask(t testing.TB, r docwire.Reply, key string) (m task) {
	t.Helper()
	require.Equal(t, strings.Fields("task_id task_token expire_time t_filename"), docKeys(t, r.Data))
	require.NoError(t, jsonInto(r.Data, &m))
	assert.Regexp(t, `^[0-9a-f]{128}$`, m.ID)
	assert.Regexp(t, `^[0-9a-f]{64}$`, m.Token)
	require.Len(t, m.Filename, 1)
	assert.Regexp(t, `^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`, m.Filename[key])
	return m
}

// open connects; login is row 0.
func (s *sample) open(transport string) { s.p = s.rig.docs(transport) }

func (s *sample) login() {
	r := parseDoc(s.t, s.p.say(fmt.Sprintf(
		`{"version": 1, "request": "login", "data": {"username": "admin", "password": "%s"}, "token": ""}`, acl.HashTyped(adminPassword))))
	require.Equal(s.t, 0, r.Code, r.Msg)
	assert.Equal(s.t, "ok", r.Msg)
	_, port, err := net.SplitHostPort(s.rig.listening["ftp"])
	require.NoError(s.t, err)
	assert.Equal(s.t, port, string(r.Raw["ftp_port"]))
	assert.Equal(s.t, "/tasks/", r.Text("task_path"))
	s.token = r.Text("token")
	require.NotEmpty(s.t, s.token)
}

// rows runs one round; every request is answered once, in turn.
func (s *sample) rows() {
	s.round++
	for i, row := range sampleRows(s.b) {
		if row.onlyB && !s.b {
			continue
		}
		data := ""
		if row.data != "" {
			data = `"data": ` + row.data + `, `
		}
		text := s.p.say(`{"version": 1, "request": "` + row.request + `", ` + data +
			`"auth": {"username": "admin", "token": "` + s.token + `"}}`)
		w := row.first
		if s.round > 1 {
			w = row.later
		}
		name := "round " + strconv.Itoa(s.round) + ", row " + strconv.Itoa(i+1) + ", " + row.request
		r := parseDoc(s.t, text)
		assert.Equal(s.t, w.code, r.Code, "%s: %s", name, text)
		assert.Equal(s.t, w.msg, r.Msg, name)
		assert.Equal(s.t, strings.Fields(w.keys), keysOf(cut([]byte(text))), name)
		if w.check != nil && w.code == r.Code {
			w.check(s, r)
		}
	}
}

// leave is the last row.
func (s *sample) leave() {
	assert.Equal(s.t, "Goodbye", s.p.say(`{"version": 1, "request": "disconnect"}`))
	assert.Empty(s.t, s.p.over())
}

// The sample client gets what CFMS.md §9 says, over every transport, and after
// the daemon was stopped and started again between two rounds the same, with
// its first token.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{overRSA, overX25519, overWebSocket} {
		for _, version := range []string{"A", "B"} {
			t.Run(transport+" "+version, func(t *testing.T) {
				s := &sample{t: t, b: version == "B", tasks: map[string]bool{}}
				s.rig = runDocs(t, func(c *Config) {
					c.FTPListen = "127.0.0.1:0"
					if transport != overWebSocket {
						c.CFMSKeyExchange = transport
					}
				})
				s.open(transport)
				s.login()
				s.rows()
				s.rows()
				assert.Empty(t, s.rig.stopDuring(s.p.over), "it ends without a word")
				s.rig = restart(t, s.rig.cfg)
				s.open(transport)
				s.rows()
				s.leave()
			})
		}
	}
}
