package panelwire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/sessions"
)

// frameVector is the upload frame of PROTOCOL.md §6.
const frameVector = "33221100554477668899aabbccddeeff0500000000000000c22b5f9178342609428d6f51b2c5af4c0bde6a426869"

func TestUploadFrameVector(t *testing.T) {
	id := someSession(t)
	assert.Equal(t, frameVector, hex.EncodeToString(AppendUploadFrame(nil, id, 5, []byte("hi"))))
	_, f, err := DecodeBinary(unhexed(t, frameVector))
	require.NoError(t, err)
	a, err := f.Chunk()
	require.NoError(t, err)
	assert.Equal(t, &actions.UploadChunk{Session: id, Offset: 5, Data: []byte("hi")}, a)
}

func TestUploadFrameRefuses(t *testing.T) {
	whole := unhexed(t, frameVector)
	for n := range frameHeader {
		_, f, err := DecodeBinary(whole[:n])
		require.Equal(t, actions.CodeBadRequest, actions.CodeOf(err))
		assert.Equal(t, `{"file_id":"00000000-0000-0000-0000-000000000000","error":"Bad Request: upload frame is shorter than 44 bytes"}`,
			string(AppendFrameReply(nil, f.FileID, nil, err)))
	}
	for shows, at := range map[string]int{"wrong digest": 24, "wrong data": 44, "negative offset": 23} {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x80
		_, f, err := DecodeBinary(bad)
		require.NoError(t, err, shows)
		assert.Equal(t, someSession(t), f.FileID)
		_, err = f.Chunk()
		assert.Equal(t, actions.CodeParam, actions.CodeOf(err), shows)
	}
}

func TestFrameOfNothing(t *testing.T) {
	_, f, err := DecodeBinary(AppendUploadFrame(nil, sessions.NewID(), 0, nil))
	require.NoError(t, err)
	a, err := f.Chunk()
	require.NoError(t, err)
	assert.Empty(t, a.Data)
}

func decodeBinary(t *testing.T, msg []byte) (Request, actions.Action, error) {
	t.Helper()
	r, f, err := DecodeBinary(msg)
	require.Nil(t, f)
	require.NoError(t, err)
	require.True(t, r.HasAttachment)
	spec, ok := actions.Lookup(r.Action)
	require.True(t, ok)
	a, err := DecodeParams(spec, &r)
	return r, a, err
}

func TestPackets(t *testing.T) {
	id := someSession(t)
	params := map[string]any{"file_id": id, "offset": 3}
	for _, n := range []int{0, 1, 127, 128, 20_000} {
		data := bytes.Repeat([]byte{7}, n)
		for _, name := range []string{"file_upload_chunk", "file_upload_chunk_raw"} {
			r, a, err := decodeBinary(t, AppendPacket(nil, "1", name, params, data))
			require.NoError(t, err)
			assert.Equal(t, "1", r.ID)
			c := a.(*actions.UploadChunk)
			assert.Equal(t, id, c.Session)
			assert.Equal(t, int64(3), c.Offset)
			assert.False(t, c.Text)
			assert.Equal(t, data, c.Data)
		}
	}
	t.Run("any action may travel so", func(t *testing.T) {
		_, a, err := decodeBinary(t, AppendPacket(nil, "1", "ping", nil, []byte("ignored")))
		require.NoError(t, err)
		assert.Equal(t, actions.Ping{}, a)
	})
	t.Run("data counts without an attachment", func(t *testing.T) {
		for _, data := range []string{"䅂", "AB"} {
			params["data"] = data
			_, a, err := decodeBinary(t, AppendPacket(nil, "1", "file_upload_chunk", params, nil))
			require.NoError(t, err)
			assert.True(t, a.(*actions.UploadChunk).Text)
			assert.NotEmpty(t, a.(*actions.UploadChunk).Data)
			_, a, err = decodeBinary(t, AppendPacket(nil, "1", "file_upload_chunk", params, []byte("hi")))
			require.NoError(t, err)
			assert.Equal(t, "hi", string(a.(*actions.UploadChunk).Data))
		}
	})
}

func TestPacketsRefused(t *testing.T) {
	for shows, msg := range map[string]string{
		"nothing behind the magic":   "bb2c0000",
		"one length":                 "bb2c000002",
		"an endless length":          "bb2c0000ffffffffffffffffffff01",
		"request beyond the frame":   "bb2c000003007b7d",
		"attachment beyond":          "bb2c000002017b7d",
		"lengths that wrap around":   "bb2c000002ffffffffffffffffff017b7d",
		"bytes that belong to none":  "bb2c000002007b7d00",
		"a request that is no JSON":  "bb2c000002007b7b",
		"a request of nothing":       "bb2c00000000",
		"an attachment for the JSON": "bb2c000001017b7d",
	} {
		t.Run(shows, func(t *testing.T) {
			r, f, err := DecodeBinary(unhexed(t, msg))
			require.Nil(t, f)
			require.Equal(t, actions.CodeBadRequest, actions.CodeOf(err))
			assert.Equal(t, IDEnvelope, r.Envelope)
			assert.Contains(t, string(AppendError(nil, &r, err)), `"id":"00000000-0000-0000-0000-000000000000"`)
		})
	}
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add(unhexed(f, frameVector))
	f.Add(AppendPacket(nil, "1", "file_upload_chunk", map[string]any{"file_id": someSession(f), "offset": 0}, []byte("hi")))
	f.Add(AppendPacket(nil, "1", "ping", nil, nil))
	f.Add(unhexed(f, "bb2c000002ffffffffffffffffff017b7d"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		sent := bytes.Clone(msg)
		r, frame, err := DecodeBinary(msg)
		if frame != nil {
			if err != nil {
				require.Less(t, len(sent), frameHeader)
				require.True(t, frame.FileID.IsZero())
				return
			}
			if a, err := frame.Chunk(); err == nil {
				require.Equal(t, sent, AppendUploadFrame(nil, a.Session, a.Offset, a.Data))
			}
			return
		}
		var a actions.Action
		if err == nil {
			if spec, ok := actions.Lookup(r.Action); ok {
				a, err = DecodeParams(spec, &r)
			}
		}
		if c, ok := a.(*actions.UploadChunk); ok && len(r.Attachment) > 0 {
			require.True(t, bytes.HasSuffix(sent, c.Data))
		}
		if err != nil {
			reply := AppendError(nil, &r, err)
			require.True(t, json.Valid(reply) && utf8.Valid(reply))
		}
	})
}
