package panelwire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

func TestClientRequestsAreUnderstood(t *testing.T) {
	id := someSession(t)
	r, a, err := decode(AppendRequest(nil, "x\"y", "file_upload_request", map[string]any{"size": 5, "path": "ä"}))
	require.NoError(t, err)
	assert.Equal(t, `x"y`, r.ID)
	assert.Equal(t, int64(5), a.(*actions.UploadRequest).Size)
	assert.Equal(t, "ä", a.(*actions.UploadRequest).Path)

	_, a, err = decode(AppendRequest(nil, "1", "ping", nil))
	require.NoError(t, err)
	assert.Equal(t, actions.Ping{}, a)

	data := []byte("AB\xd8\x00\x00\x00")
	_, a, err = decode(AppendChunkRequest(nil, "1", id, 9, data))
	require.NoError(t, err)
	assert.Equal(t, &actions.UploadChunk{Session: id, Offset: 9, Data: data, Text: true}, a)
}

func TestParseReply(t *testing.T) {
	r, err := ParseReply(AppendOK(nil, &anID, &actions.Pong{TimeMS: 5}, Options{}))
	require.NoError(t, err)
	assert.Equal(t, Reply{ID: "1", HasID: true, Status: "ok", Message: "Ok", Data: []byte(`{"time":5}`)}, r)
	assert.NoError(t, r.Err())

	r, err = ParseReply(AppendAsync(nil, &anEcho, someSession(t)))
	require.NoError(t, err)
	assert.Equal(t, Reply{Echo: []byte(`{"a": 1}`), Status: "async", Data: []byte(`{}`)}, r)
	assert.NoError(t, r.Err())

	for _, code := range actions.Codes() {
		if code == actions.CodeOK {
			continue
		}
		for _, req := range []*Request{&anID, &anEcho} {
			for _, detail := range []string{"", "some: detail"} {
				r, err = ParseReply(AppendError(nil, req, &actions.Error{Code: code, Detail: detail}))
				require.NoError(t, err)
				want := &actions.Error{Code: code, Detail: detail}
				if code == actions.CodeUnauthorized {
					want = &actions.Error{Code: actions.CodePermission, Detail: detail}
					if req == &anEcho {
						want = &actions.Error{Code: code}
					}
				}
				assert.Equal(t, want, r.Err())
			}
		}
	}
	r, err = ParseReply([]byte(`{"status":"error","message":"old"}`))
	require.NoError(t, err)
	assert.Equal(t, actions.Errorf(actions.CodeRequest, "old"), r.Err())

	for _, bad := range []string{``, `null`, `[]`, `{}`, `{"status":5}`, `{"status":"ok"`} {
		_, err = ParseReply([]byte(bad))
		assert.ErrorIs(t, err, errReply, bad)
	}
}

func TestContent(t *testing.T) {
	data := bytes.Repeat([]byte("AB\xd8\x00a"), 101)
	for _, isBase64 := range []bool{false, true} {
		msg := AppendOK(nil, &anID, &actions.Content{Bytes: data, Base64: isBase64}, Options{})
		r, err := ParseReply(bytes.Clone(msg))
		require.NoError(t, err)
		got, err := r.Content(len(data), isBase64)
		require.NoError(t, err)
		assert.Equal(t, data, got)

		for _, n := range []int{len(data) - 2, len(data) + 2, 0} {
			r, err = ParseReply(bytes.Clone(msg))
			require.NoError(t, err)
			_, err = r.Content(n, isBase64)
			assert.ErrorIs(t, err, errReply)
		}
	}
	for _, bad := range []string{`{}`, `{"content":null}`, `{"content":5}`} {
		r := Reply{Data: []byte(bad)}
		_, err := r.Content(0, false)
		assert.ErrorIs(t, err, errReply)
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add(AppendOK(nil, &anID, &actions.Content{Bytes: []byte("ABa")}, Options{}), 3)
	f.Add(AppendError(nil, &anEcho, actions.Errorf(actions.CodeFile, "x")), 0)
	f.Fuzz(func(t *testing.T, msg []byte, n int) {
		r, err := ParseReply(msg)
		if err != nil {
			require.ErrorIs(t, err, errReply)
			return
		}
		_ = r.Err()
		if b, err := r.Content(n, false); err == nil {
			require.Len(t, b, n)
		}
	})
}
