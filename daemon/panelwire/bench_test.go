package panelwire

import (
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/sessions"
)

const benchChunk = 1 << 20

func benchPayload() []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	b := make([]byte, benchChunk)
	_, _ = rnd.Read(b)
	return b
}

// benchDecode measures from the raw frame to the bytes; the frame is copied
// anew each time because it is decoded over itself.
func benchDecode(b *testing.B, frame []byte, decode func([]byte) (Request, error)) {
	spec, _ := actions.Lookup("file_upload_chunk")
	msg := make([]byte, len(frame))
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	for b.Loop() {
		copy(msg, frame)
		r, err := decode(msg)
		if err != nil {
			b.Fatal(err)
		}
		a, err := DecodeParams(spec, &r)
		if err != nil || len(a.(*actions.UploadChunk).Data) != benchChunk {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeChunkText(b *testing.B) {
	benchDecode(b, AppendChunkRequest(nil, "1", sessions.NewID(), 0, benchPayload()), DecodeText)
}

func BenchmarkDecodeChunkBase64(b *testing.B) {
	frame := AppendRequest(nil, "1", "file_upload_chunk", map[string]any{
		"file_id": sessions.NewID(), "offset": 0, "encoding": "base64",
		"data": base64.StdEncoding.EncodeToString(benchPayload()),
	})
	benchDecode(b, frame, DecodeText)
}

func BenchmarkDecodeChunkPacket(b *testing.B) {
	frame := AppendPacket(nil, "1", "file_upload_chunk",
		map[string]any{"file_id": sessions.NewID(), "offset": 0}, benchPayload())
	benchDecode(b, frame, func(msg []byte) (Request, error) {
		r, _, err := DecodeBinary(msg)
		return r, err
	})
}

// Zeros are what sparse files are full of, and the worst text there is.
func BenchmarkDecodeChunkTextZeros(b *testing.B) {
	benchDecode(b, AppendChunkRequest(nil, "1", sessions.NewID(), 0, make([]byte, benchChunk)), DecodeText)
}

func BenchmarkDecodeByteString(b *testing.B) {
	literal := AppendByteString(nil, benchPayload())
	var dst []byte
	b.SetBytes(benchChunk)
	for b.Loop() {
		var err error
		dst, err = DecodeByteString(dst[:0], literal)
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchContent(b *testing.B, isBase64 bool) {
	r, err := DecodeText([]byte(`{"action":"file_download_chunk","id":"1"}`))
	require.NoError(b, err)
	res := &actions.Content{Bytes: benchPayload(), Base64: isBase64}
	var dst []byte
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendOK(dst[:0], &r, res, Options{})
	}
}

func BenchmarkEncodeContentText(b *testing.B)   { benchContent(b, false) }
func BenchmarkEncodeContentBase64(b *testing.B) { benchContent(b, true) }

func BenchmarkDecodePing(b *testing.B) {
	msg := []byte(`{"action":"ping","params":{},"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeText(msg); err != nil {
			b.Fatal(err)
		}
	}
}
