package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// Nothing a caller can put into a request may end the daemon, whatever it
// does to the record: numbers a journal cannot hold, texts of any length.
func TestHostileParams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("x", 10, "")
	escapes := strings.Repeat("\x01", 4096) // six bytes each once escaped
	for _, c := range []struct {
		a    Action
		want Code
	}{
		{&UploadChunk{Session: id, Offset: 1 << 53, Data: []byte("x")}, CodeParam},
		{&UploadChunk{Session: id, Offset: math.MaxInt64, Data: []byte("x"), Text: true}, CodeParam},
		{&UploadChunk{Session: id, Offset: math.MinInt64, Data: []byte("x")}, CodeParam},
		{&UploadChunk{Session: sessions.NewID(), Offset: math.MinInt64, Data: []byte("x")}, CodeNoTransfer},
		{&UploadRequest{Path: "y", HasPath: true, Size: math.MaxInt64, Timeout: time.Minute}, CodeTooBig},
		{&UploadRequest{Path: escapes, HasPath: true, Size: math.MaxInt64, Timeout: time.Minute}, CodeParam},
		{&DownloadChunk{Session: id, From: 1 << 60, To: math.MaxInt64}, CodeNoTransfer},
		{&UploadRequest{Path: strings.Repeat("\x01", 100_000), HasPath: true, Size: 1, Timeout: time.Minute}, CodeParam},
		{&FileInfo{Path: strings.Repeat("é\\\"<", 10_000)}, CodeParam},
		{&FileInfo{Path: "a\xff\xfeb"}, CodeParam},
		{&DirectoryInfo{Path: strings.Repeat("a/", 2000)}, CodeNotFound},
		{&DirectoryInfo{Path: strings.Repeat("\u2028/", 1000)}, CodeNotFound},
	} {
		_, err := r.do(c.a)
		require.Equal(t, c.want, CodeOf(err), "%T: %v", c.a, err)
		if spec, _ := Lookup(c.a.Name()); spec.Async {
			_, err = r.Queue(context.Background(), Call{Caller: rigCaller, Action: c.a})
			require.NotErrorIs(t, err, ErrFailed)
		}
	}
	long := strings.Repeat("\x01", 70_000)
	require.NotErrorIs(t, r.Refuse(context.Background(), rigCaller, "r", long, Errorf(CodeBadRequest, "%s", long)), ErrFailed)
	require.NotErrorIs(t, r.Note(context.Background(), rigCaller, "r", long), ErrFailed)

	// What does not fit a record is refused: it cannot be done without one.
	var list []string
	for i := range 6000 {
		list = append(list, fmt.Sprintf("some.node.number.%d", i))
	}
	err := r.TokenIssued(context.Background(), rigCaller, IssuedToken{JTI: "j", Subject: "s", Permissions: list, Expires: time.Now()})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrFailed)
	many := rigCaller
	many.Permissions = mustPermissions(append(list[:600:600], "**")...)
	_, err = r.Queue(context.Background(), Call{Caller: many, Action: &FileInfo{Path: strings.Repeat(escapes[:250]+"/", 16)}})
	require.Equal(t, CodeParam, CodeOf(err), "%v", err)
	_, err = r.Do(context.Background(), Call{Caller: rigCaller, Action: GetPermissions{}, Ref: long})
	require.NoError(t, err)

	// And it goes on as if nothing had been.
	got, err := r.put(id, 0, []byte("0123456789"))
	require.NoError(t, err)
	assert.True(t, got.Done)
}

// Numbers that JSON readers would round are recorded as text, long strings
// by their digest.
func TestRecordedParams(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]Action{
		`{"file_id":"00000000-0000-0000-0000-000000000000","offset":9007199254740991}`:       &UploadChunk{Offset: 1<<53 - 1},
		`{"file_id":"00000000-0000-0000-0000-000000000000","offset":"9007199254740992"}`:     &UploadChunk{Offset: 1 << 53},
		`{"file_id":"00000000-0000-0000-0000-000000000000","offset":"-9223372036854775808"}`: &UploadChunk{Offset: math.MinInt64, Data: []byte("not in it")},
		`{"path":"1234567890123456789"}`: &FileInfo{Path: "1234567890123456789"},
		`{"path":"<a> & \"b\""}`:         &FileInfo{Path: `<a> & "b"`},
		`{"path":{"len":1025,"sha256":"` + strings.Repeat("x", 0) + sha256Hex(strings.Repeat("a", 1025)) + `"}}`: &FileInfo{Path: strings.Repeat("a", 1025)},
		`{"path":"` + strings.Repeat("a", 1024) + `"}`:                                                           &FileInfo{Path: strings.Repeat("a", 1024)},
	} {
		got := recordedParams(a)
		assert.Equal(t, want, string(got))
		assert.True(t, json.Valid(got))
	}
	assert.Nil(t, recordedParams(nil))
}

func sha256Hex(s string) string {
	return summary(s).(map[string]any)["sha256"].(string)
}
