package panelwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview"
	"waybill/sessions"
)

var (
	anID   = Request{Envelope: IDEnvelope, ID: "1", RawID: []byte(`"\u0031"`)}
	anEcho = Request{RawEcho: []byte(`{"a": 1}`)}
	plainR = Request{}
)

func someSession(t testing.TB) sessions.ID {
	id, err := sessions.ParseID("00112233-4455-6677-8899-aabbccddeeff")
	require.NoError(t, err)
	return id
}

func TestCodesAreComplete(t *testing.T) {
	// PROTOCOL.md §3, the only codes ever sent.
	numbers := map[int]string{0: "Ok", 10000: "Request Error", 10001: "Bad Request", 10002: "Unknown Action",
		10003: "Permission Denied", 10004: "Action Unavailable", 10005: "Rate Limit Exceeded", 10006: "Param Error",
		20001: "Unexpected Error", 21000: "File Error", 21001: "File Not Found", 21002: "File Already Exists",
		21003: "File In Use", 21004: "It's A Directory", 21005: "It's A File", 21006: "File Access Denied",
		21007: "Disk Full", 21100: "Upload/Download Error", 21101: "Already Uploading/Downloading",
		21102: "Not Uploading/Downloading", 21103: "File Too Big"}
	seen := map[int]bool{}
	for _, c := range actions.Codes() {
		row, ok := codes[c]
		require.True(t, ok, "%s has no retcode", c)
		assert.Equal(t, numbers[row.retcode], row.name)
		seen[row.retcode] = true
		if c != actions.CodeUnauthorized {
			assert.Equal(t, c, codeOf(row.retcode))
		}
	}
	assert.Len(t, seen, len(numbers))
	assert.Len(t, codes, len(actions.Codes()))
	assert.Equal(t, actions.CodeUnexpected, codeOf(1))
}

func TestReplyShapes(t *testing.T) {
	job := someSession(t)
	pong := &actions.Pong{TimeMS: 5}
	failed := actions.Errorf(actions.CodeNotFound, "a/b")
	out := &actions.Error{Code: actions.CodeUnauthorized}
	for want, got := range map[string][]byte{
		`{"status":"ok","retcode":0,"message":"Ok","data":{"time":5},"id":"\u0031"}`: AppendOK(nil, &anID, pong, Options{}),
		`{"status":"ok","data":{"time":5},"message":"","retcode":0,"echo":{"a": 1}}`: AppendOK(nil, &anEcho, pong, Options{}),
		`{"status":"ok","data":{},"message":"","retcode":0}`:                         AppendOK(nil, &plainR, actions.Empty{}, Options{}),

		`{"status":"error","retcode":21001,"message":"File Not Found: a/b","data":null,"id":"\u0031"}`: AppendError(nil, &anID, failed),
		`{"status":"error","data":{},"message":"File Not Found: a/b","retcode":21001,"echo":{"a": 1}}`: AppendError(nil, &anEcho, failed),
		`{"status":"error","data":{},"message":"File Not Found: a/b","retcode":21001}`:                 AppendError(nil, &plainR, fmt.Errorf("x: %w", failed)),
		`{"status":"error","retcode":10001,"message":"Bad Request","data":null,"id":"00000000-0000-0000-0000-000000000000"}`: AppendError(nil,
			&Request{Envelope: IDEnvelope}, &actions.Error{Code: actions.CodeBadRequest}),

		`{"status":"error","retcode":10003,"message":"Permission Denied","data":null,"id":"\u0031"}`: AppendError(nil, &anID, out),
		`{"status":"unauthorized","data":{},"message":"","retcode":10003,"echo":{"a": 1}}`:           AppendError(nil, &anEcho, out),
		`{"status":"unauthorized","data":{},"message":"","retcode":10003}`:                           AppendError(nil, &plainR, out),

		`{"status":"ok","retcode":0,"message":"Ok","data":{"job":"00112233-4455-6677-8899-aabbccddeeff"},"id":"\u0031"}`: AppendAsync(nil, &anID, job),
		`{"status":"async","data":{},"message":"","retcode":0,"echo":{"a": 1}}`:                                          AppendAsync(nil, &anEcho, job),
		`{"status":"async","data":{},"message":"","retcode":0}`:                                                          AppendAsync(nil, &plainR, job),

		`{"file_id":"00112233-4455-6677-8899-aabbccddeeff","done":true,"received":7}`:              AppendFrameReply(nil, job, &actions.ChunkStored{Done: true, Received: 7}, nil),
		`{"file_id":"00112233-4455-6677-8899-aabbccddeeff","error":"Not Uploading/Downloading"}`:   AppendFrameReply(nil, job, nil, &actions.Error{Code: actions.CodeNoTransfer}),
		`{"file_id":"00112233-4455-6677-8899-aabbccddeeff","error":"Permission Denied"}`:           AppendFrameReply(nil, job, nil, out),
		`{"file_id":"00000000-0000-0000-0000-000000000000","error":"Bad Request: \"quoted\" end"}`: AppendFrameReply(nil, sessions.ID{}, nil, actions.Errorf(actions.CodeBadRequest, "\"quoted\"\r\nend")),
	} {
		assert.Equal(t, want, string(got))
	}
}

func TestErrorsTellNothingInternal(t *testing.T) {
	secret := &fs.PathError{Op: "open", Path: "/var/lib/secret", Err: errors.New("boom")}
	code, text := describe(secret)
	assert.Equal(t, actions.CodeUnexpected, code)
	assert.Equal(t, "Unexpected Error", text)
	_, text = describe(fmt.Errorf("open /var/lib/secret: %w", actions.Errorf(actions.CodeAccess, "a")))
	assert.Equal(t, "File Access Denied: a", text)
	_, text = describe(&actions.Error{Code: "nonsense", Detail: "x"})
	assert.Equal(t, "Unexpected Error: x", text)
	assert.Equal(t, 20001, retcode("nonsense"))
}

func TestMessagesAreOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "Param Error",
		" \n\t":                      "Param Error",
		"a\r\nb\x00c\u2028d \u0085 ": "Param Error: a b c d",
		"plain":                      "Param Error: plain",
	} {
		assert.Equal(t, want, message(actions.CodeParam, in))
	}
	long := message(actions.CodeParam, strings.Repeat("ä", maxDetail))
	assert.True(t, utf8.ValidString(long))
	assert.Less(t, len(long), maxDetail+30)
}

func TestResults(t *testing.T) {
	id := someSession(t)
	link := "to\xff/\"x\""
	at := time.Unix(17, 999)
	file := fsview.Meta{Name: "a", ReadOnly: true, Size: 9, LinkTarget: &link, Created: at, Written: at.Add(time.Second), Accessed: at}
	dir := fsview.Meta{Name: ".d", Dir: true, Hidden: true, Size: 4096, Created: at, Written: at, Accessed: at}
	const (
		fileMeta = `{"read_only":true,"size":9,"link_target":"to` + "\ufffd" + `/\"x\"","hidden":false,"creation_time":17,"last_write_time":18,"last_access_time":17}`
		dirMeta  = `{"link_target":null,"hidden":true,"creation_time":17,"last_write_time":17,"last_access_time":17}`
		uuid     = `"00112233-4455-6677-8899-aabbccddeeff"`
	)
	listing := &actions.Listing{Parent: ".", Meta: dir, Entries: []fsview.Meta{dir, file}}
	open := actions.UploadStatus{ID: id, State: "open", Path: "a", Size: 9, Received: 4, Missing: [][2]int64{{0, 2}, {6, 9}}, More: true, ExpiresMS: 7, Code: actions.CodeOK}
	ended := actions.UploadStatus{ID: id, State: "rejected", Path: "a", Size: 9, SHA1: "ab", Code: actions.CodeTransfer}
	const (
		openJSON  = `"state":"open","path":"a","size":9,"received":4,"missing":[[0,2],[6,9]],"more":true,"expires_in":7,"retcode":0}`
		endedJSON = `"state":"rejected","path":"a","size":9,"received":0,"missing":[],"expires_in":0,"sha1":"ab","retcode":21100}`
	)
	url := func(sessions.ID) string { return "/download/x?a=b&c=d" }
	for _, c := range []struct {
		res  actions.Result
		want string
	}{
		{nil, `{}`},
		{actions.Empty{}, `{}`},
		{&actions.Empty{}, `{}`},
		{&actions.Pong{TimeMS: 1700000000000}, `{"time":1700000000000}`},
		{&actions.PermissionList{Permissions: []string{"*", "a.b"}}, `{"permissions":["*","a.b"]}`},
		{&actions.PermissionList{}, `{"permissions":[]}`},
		{actions.Reports{}, `{"reports":{}}`},
		{&actions.Reports{}, `{"reports":{}}`},
		{&actions.SystemInfo{OS: actions.OSInfo{Name: "x", Arch: "y"}, CPU: actions.CPUInfo{Vendor: "v", Name: "n", Count: 2, Usage: 12.3456},
			Mem: actions.MemInfo{Total: 5, Free: 4}, Drv: actions.DriveInfo{Format: "ext4", Total: math.MaxUint64, Free: 1}},
			`{"info":{"os":{"name":"x","arch":"y"},"cpu":{"vendor":"v","name":"n","count":2,"usage":12.35},"mem":{"total":5,"free":4},"drive":{"drive_format":"ext4","total":18446744073709551615,"free":1}}}`},
		{&actions.SystemInfo{CPU: actions.CPUInfo{Usage: math.NaN()}},
			`{"info":{"os":{"name":"","arch":""},"cpu":{"vendor":"","name":"","count":0,"usage":0},"mem":{"total":0,"free":0},"drive":{"drive_format":"","total":0,"free":0}}}`},
		{&actions.UploadOpened{ID: id}, `{"file_id":` + uuid + `}`},
		{&actions.ChunkStored{Received: 5}, `{"done":false,"received":5}`},
		{&open, `{` + openJSON},
		{&ended, `{` + endedJSON},
		{&actions.Transfers{}, `{"uploads":[],"downloads":[]}`},
		{&actions.Transfers{Uploads: []actions.UploadStatus{open, open}, Downloads: []actions.DownloadStatus{{ID: id, Path: "a", Size: 1, SHA1: "ab", ExpiresMS: 3}}},
			`{"uploads":[{"file_id":` + uuid + `,` + openJSON + `,{"file_id":` + uuid + `,` + openJSON + `],"downloads":[{"file_id":` + uuid + `,"path":"a","size":1,"sha1":"ab","expires_in":3}]}`},
		{&actions.DownloadOpened{ID: id, Size: 3, SHA1: "ab"}, `{"file_id":` + uuid + `,"size":3,"sha1":"ab"}`},
		{&actions.DownloadOpened{ID: id, Size: 3, SHA1: "ab", URL: true}, `{"file_id":` + uuid + `,"size":3,"sha1":"ab","url":"/download/x?a=b&c=d"}`},
		{&actions.Content{}, `{"content":""}`},
		{&actions.Content{Bytes: []byte("AB\xd8\x00")}, `{"content":"䅂\ud800"}`},
		{&actions.Content{Bytes: []byte("AB"), Base64: true}, `{"content":"QUI="}`},
		{&actions.FileMeta{Meta: file}, `{"meta":` + fileMeta + `}`},
		{listing, `{"parent":".","meta":` + dirMeta + `,"files":[{"name":".d","type":"directory","meta":` + dirMeta + `},{"name":"a","type":"file","meta":` + fileMeta + `}]}`},
		{&actions.Listing{Parent: "x/y", Meta: dir}, `{"parent":"x/y","meta":` + dirMeta + `,"files":[]}`},
		{&actions.JobStatus{State: "queued"}, `{"state":"queued","retcode":0,"message":"","data":{}}`},
		{&actions.JobStatus{State: "running"}, `{"state":"running","retcode":0,"message":"","data":{}}`},
		{&actions.JobStatus{State: "ok", Code: actions.CodeOK, Result: &actions.ChunkStored{Done: true, Received: 5}}, `{"state":"ok","retcode":0,"message":"Ok","data":{"done":true,"received":5}}`},
		{&actions.JobStatus{State: "ok", Code: actions.CodeOK, Message: "no data", Result: actions.Empty{}}, `{"state":"ok","retcode":0,"message":"Ok: no data","data":{}}`},
		{&actions.JobStatus{State: "error", Code: actions.CodeNotFound, Message: "x"}, `{"state":"error","retcode":21001,"message":"File Not Found: x","data":{}}`},
	} {
		got := string(appendResult(nil, c.res, Options{DownloadURL: url}, IDEnvelope))
		assert.Equal(t, c.want, got)
		assert.True(t, json.Valid([]byte(got)))
	}
	assert.Equal(t,
		`{"parent":".","meta":`+dirMeta+`,"files":[{"name":"a","type":"file","meta":`+fileMeta+`}],"directories":[{"name":".d","meta":`+dirMeta+`}]}`,
		string(appendResult(nil, listing, Options{SplitListing: true}, IDEnvelope)))
	assert.Equal(t, `{"state":"ok","retcode":0,"message":"","data":{}}`,
		string(appendResult(nil, &actions.JobStatus{State: "ok", Result: actions.Empty{}}, Options{}, EchoEnvelope)))
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\n\r\t\x00\x7f\xff\u2028😀\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString(nil, s)
		require.True(t, utf8.Valid(got))
		var back string
		require.NoError(t, json.Unmarshal(got, &back), "%q", got)
		require.Equal(t, string([]rune(s)), back)
		text, whole := literal(got).text()
		require.True(t, whole)
		require.Equal(t, back, string(text))
		line := message(actions.CodeParam, s)
		require.False(t, strings.ContainsAny(line, "\r\n\x00"))
	})
}
