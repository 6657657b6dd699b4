package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// lines returns the records from seq on.
func (r *rig) lines(from uint64) (out []string) {
	r.t.Helper()
	require.NoError(r.t, r.log.Read(context.Background(), from, r.log.Head().Size, func(line []byte) error {
		out = append(out, string(line))
		return nil
	}))
	return out
}

// asks is an action of every kind, with a reason to succeed and one to fail.
type asks struct{ good, bad Action }

func everyAction(r *rig) map[string]asks {
	r.t.Helper()
	r.write("file", []byte("0123456789"))
	up, gone := r.open("up", 5, ""), r.open("gone", 5, "")
	down, closing := r.download("file").ID, r.download("file").ID
	job := r.queueAs(rigCaller, &FileInfo{Path: "file"})
	r.outcome(job)
	none := sessions.NewID()
	return map[string]asks{
		"get_permissions":       {GetPermissions{}, nil},
		"get_system_info":       {GetSystemInfo{}, nil},
		"get_all_reports":       {GetAllReports{}, nil},
		"get_job":               {&JobOf{Job: job}, &JobOf{Job: none}},
		"file_upload_request":   {&UploadRequest{Path: "new", HasPath: true, Size: 5, Timeout: time.Minute}, &UploadRequest{Path: "up", HasPath: true, Size: 5, Timeout: time.Minute}},
		"file_upload_chunk":     {&UploadChunk{Session: up, Data: []byte("TOP")}, &UploadChunk{Session: up, Offset: 9, Data: []byte("SECRET")}},
		"file_upload_cancel":    {&UploadCancel{Session: gone}, &UploadCancel{Session: none}},
		"file_upload_status":    {&UploadStatusOf{Session: up}, &UploadStatusOf{Session: none}},
		"file_transfer_list":    {TransferList{}, nil},
		"file_download_request": {&DownloadRequest{Path: "file", Timeout: time.Minute}, &DownloadRequest{Path: "missing", Timeout: time.Minute}},
		"file_download_chunk":   {&DownloadChunk{Session: down, From: 1, To: 5}, &DownloadChunk{Session: down, From: 1, To: 50}},
		"file_download_close":   {&DownloadClose{Session: closing}, &DownloadClose{Session: none}},
		"get_file_info":         {&FileInfo{Path: "file"}, &FileInfo{Path: "missing"}},
		"get_directory_info":    {&DirectoryInfo{Path: "."}, &DirectoryInfo{Path: "file"}},
	}
}

// Every action, by whom, from where, with what outcome, refusals included, is
// recorded; contents never are.
func TestEveryActionIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	all := everyAction(r)
	who := Caller{Subject: "ann", Main: true, Permissions: mustPermissions("**"), Via: "ws 192.0.2.7:4711"}
	ask := func(a Action, ref string) (string, error) {
		from := r.log.Head().Size
		_, err := r.Do(context.Background(), Call{Caller: who, Action: a, Ref: ref})
		if _, reads := a.(*DownloadChunk); reads && err == nil {
			r.clock.Advance(readFactEvery) // the one record that may come later
			require.NoError(t, r.reap(r.clock.Now()))
		}
		got := strings.Join(r.lines(from), "\n")
		assert.Contains(t, got, `"actor":"ann","via":"ws 192.0.2.7:4711","ref":"`+ref+`"`, a.Name())
		return got, err
	}
	for _, spec := range Specs() {
		if spec.Unavailable || spec.Name == "ping" || spec.Name == "login" {
			continue // refused by the wire through Refuse, or answered by it
		}
		a, ok := all[spec.Name]
		require.True(t, ok, "%s has no test", spec.Name)
		_, err := ask(a.good, "good-"+spec.Name)
		assert.NoError(t, err, spec.Name)
		if a.bad != nil {
			got, err := ask(a.bad, "bad-"+spec.Name)
			require.Error(t, err, spec.Name)
			assert.Contains(t, got, `"kind":"action.refused"`)
			assert.Contains(t, got, `"body":{"action":"`+spec.Name+`","params":{`)
			assert.Contains(t, got, `"code":"`+string(CodeOf(err))+`"`)
		}
	}
	before := r.log.Head().Size
	_, err := r.do(Ping{})
	require.NoError(t, err)
	assert.Equal(t, before, r.log.Head().Size, "ping is liveness")
	for _, line := range r.lines(0) {
		for _, secret := range []string{"TOP", "SECRET", "1234"} {
			assert.False(t, strings.Contains(line, `"`+secret), line)
		}
	}
}

// Permissions come before everything else, and a refusal does nothing.
func TestPermissionOfEveryAction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	needs := map[string]string{
		"file_upload_request": "mcsl.daemon.file.upload", "file_upload_chunk": "mcsl.daemon.file.upload",
		"file_upload_cancel": "mcsl.daemon.file.upload", "file_upload_status": "mcsl.daemon.file.upload",
		"file_transfer_list": "mcsl.daemon.file.upload", "file_download_request": "mcsl.daemon.file.download",
		"file_download_chunk": "mcsl.daemon.file.download", "file_download_close": "mcsl.daemon.file.download",
		"get_file_info": "mcsl.daemon.file.info.file", "get_directory_info": "mcsl.daemon.file.info.directory",
		"ping": "", "login": "", "get_job": "", "get_permissions": "", "get_system_info": "", "get_all_reports": "",
	}
	all := everyAction(r)
	for _, spec := range Specs() {
		if spec.Unavailable {
			assert.Empty(t, spec.Permission)
			continue
		}
		need, ok := needs[spec.Name]
		require.True(t, ok, spec.Name)
		assert.Equal(t, need, spec.Permission, spec.Name)
		for _, a := range []Action{all[spec.Name].bad, all[spec.Name].good} {
			if a == nil {
				continue
			}
			// All the others are not enough, the nearest least of all.
			others := []string{"mcsl.daemon.file.uploads", "mcsl.daemon.file.download.more", "mcsl.daemon.*.upload.x"}
			for _, n := range needs {
				if n != need && n != "" {
					others = append(others, n)
				}
			}
			_, err := r.doAs(as("sub", others...), a)
			if need != "" {
				assert.Equal(t, CodePermission, CodeOf(err), spec.Name)
				refused := r.records(KindRefused)
				assert.Contains(t, refused[len(refused)-1], `"actor":"sub"`)
				assert.Contains(t, refused[len(refused)-1], `"code":"permission_denied","message":"needs `+need+`"`)
				_, err = r.doAs(as("sub", need), a)
			}
			assert.NotEqual(t, CodePermission, CodeOf(err), spec.Name)
		}
	}
	nobody := Caller{Subject: "x", Permissions: acl.Permissions{}}
	_, err := r.doAs(nobody, &FileInfo{Path: "\x00"})
	assert.Equal(t, CodePermission, CodeOf(err), "before params")
	res, err := r.doAs(as("sub", "a.b", "c.*"), GetPermissions{})
	assert.Equal(t, []string{"a.b", "c.*"}, must[*PermissionList](t, res, err).Permissions, "as granted")
}

func TestAliasesAndNames(t *testing.T) {
	t.Parallel()
	for alias, name := range map[string]string{"file_upload_chunk_raw": "file_upload_chunk", "file_download_range": "file_download_chunk"} {
		s, ok := Lookup(alias)
		require.True(t, ok)
		assert.Equal(t, name, s.Name)
	}
	_, ok := Lookup("file_upload_request_async")
	assert.False(t, ok)
	seen := make(map[string]bool)
	for _, s := range Specs() {
		assert.False(t, seen[s.Name])
		seen[s.Name] = true
		assert.Equal(t, s.Async, s.action != nil, s.Name)
		assert.Equal(t, s.Async, s.result != nil, s.Name)
		if s.Async {
			assert.Equal(t, s.Name, s.action().Name())
		}
	}
}

// What the wires and the connections tell is recorded as they tell it.
func TestRecordsFromOutside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	ctx := context.Background()
	who := as("ann")
	require.NoError(t, r.Refuse(ctx, who, "r1", "no_such\naction", Errorf(CodeUnknownAction, "why")))
	require.NoError(t, r.Refuse(ctx, who, "", "", Errorf(CodeBadRequest, "not JSON")))
	require.NoError(t, r.Note(ctx, who, "r3", "login"))
	exp := time.Date(2026, 5, 6, 7, 8, 9, 999, time.FixedZone("", 7200))
	require.NoError(t, r.TokenIssued(ctx, rigCaller, IssuedToken{JTI: "the-jti", Subject: "ann", Permissions: []string{"*"}, Expires: exp}))
	refused := r.records(KindRefused)
	assert.Contains(t, refused[0], `"actor":"ann","via":"test ann","ref":"r1","body":{"action":"no_such\naction","code":"unknown_action","message":"why"}`)
	assert.Contains(t, refused[1], `"body":{"action":"","code":"bad_request","message":"not JSON"}`)
	assert.NotContains(t, refused[1], `"ref":""`)
	answered := r.records(KindAnswered)
	assert.Contains(t, answered[0], `"ref":"r3","body":{"action":"login","code":"ok"}`)
	assert.Contains(t, r.records(KindToken)[0], `"body":{"jti":"the-jti","subject":"ann","permissions":["*"],"exp":"2026-05-06T05:08:09Z"}`)
	r.close()
	assert.ErrorIs(t, r.Refuse(ctx, who, "", "x", Errorf(CodeBadRequest, "")), ErrStopping)
	assert.ErrorIs(t, r.Note(ctx, who, "", "x"), ErrStopping)
	assert.ErrorIs(t, r.TokenIssued(ctx, who, IssuedToken{}), ErrStopping)
	_, err := r.do(Ping{})
	assert.ErrorIs(t, err, ErrStopping)
	r.mustStart()
}

// Strangers get one record a minute, however many there are.
func TestRefusedTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	require.NoError(t, r.reap(r.clock.Now()))
	r.idle(refusedEvery)
	assert.Empty(t, r.records(KindTraffic), "none if there was none")
	for i := range 30 {
		for range i + 1 {
			r.CountRefused("bad token", fmt.Sprintf("192.0.2.%d:99", i))
		}
	}
	for i := range 4 { // one /64
		for range 20 {
			r.CountRefused("late login", fmt.Sprintf("[2001:db8:0:1::%d]:99", i))
		}
	}
	r.CountRefused("bad token", "::ffff:192.0.2.29")
	r.CountRefused("bad token", "what?")
	r.idle(refusedEvery - time.Millisecond)
	assert.Empty(t, r.records(KindTraffic))
	r.idle(time.Millisecond)
	got := r.records(KindTraffic)
	require.Len(t, got, 1)
	_, raw, _ := strings.Cut(got[0], `"body":`)
	var body trafficBody
	require.NoError(t, json.Unmarshal([]byte(raw[:len(raw)-1]), &body))
	assert.Equal(t, map[string]int64{"bad token": 467, "late login": 80}, body.Counts)
	require.Len(t, body.Peers, refusedPeers)
	assert.Equal(t, peerCount{"2001:db8:0:1::/64", 80}, body.Peers[0])
	assert.Equal(t, peerCount{"192.0.2.29/32", 31}, body.Peers[1])
	assert.Equal(t, peerCount{"192.0.2.28/32", 29}, body.Peers[2])
	assert.Contains(t, got[0], `"actor":"daemon","via":"internal"`)

	r.idle(10 * refusedEvery)
	assert.Len(t, r.records(KindTraffic), 1, "counted once")
	r.CountRefused("bad token", "192.0.2.1")
	r.close() // a stop records what has been counted
	r.mustStart()
	assert.Len(t, r.records(KindTraffic), 2)
	for i := range maxPeers + 100 {
		r.CountRefused("flood", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	assert.Len(t, r.refused.peers, maxPeers)
}

func TestEveryCodeIsListed(t *testing.T) {
	t.Parallel()
	seen := make(map[Code]bool)
	for _, c := range Codes() {
		assert.False(t, seen[c])
		seen[c] = true
	}
	assert.Len(t, seen, 22)
	assert.Equal(t, CodeOK, CodeOf(nil))
	assert.Equal(t, CodeUnexpected, CodeOf(context.Canceled))
	assert.Equal(t, CodeTooBig, CodeOf(fmt.Errorf("x: %w", Errorf(CodeTooBig, "y"))))
	assert.Equal(t, "too_big: y", Errorf(CodeTooBig, "y").Error())
	assert.Equal(t, "ok", (&Error{Code: CodeOK}).Error())
}
