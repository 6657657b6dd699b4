package panelwire

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

// strictly is what base64 of a chunk means: RFC 4648 with padding, no bits left
// over, and nothing that is skipped.
func strictly(text []byte) ([]byte, bool) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	return b, err == nil
}

// decodedLike decodes text in the middle of a message, and wants what strictly
// says, and the rest of the message as it was.
func decodedLike(t *testing.T, text []byte) {
	t.Helper()
	want, good := strictly(text)
	const before, after = `{"data":"`, `","file_id":"and whatever else there may be in it"}`
	msg := []byte(before + string(text) + after)
	end := len(before) + len(text)
	got, ok := decodeBase64(literal(msg[len(before)-1 : end+1]))
	require.Equal(t, good, ok, "%q", text)
	if good {
		require.True(t, bytes.Equal(want, got), "%q", text)
	}
	require.Equal(t, before, string(msg[:len(before)]))
	require.Equal(t, after, string(msg[end:]))
}

// The decoder works on many bytes at a time, so each length and each place of a
// wrong byte is another way through it.
func TestBase64IsThatOfTheStandardLibrary(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for n := range 300 {
		data := make([]byte, n)
		random.Read(data)
		text := base64.StdEncoding.AppendEncode(nil, data)
		decodedLike(t, text)
		assert.Equal(t, `"`+string(text)+`"`, string(appendContent(nil, &actions.Content{Bytes: data, Base64: true})))
	}
	for _, n := range []int{1, 2, 3, 20, 48, 50, 130} {
		data := make([]byte, n)
		random.Read(data)
		text := base64.StdEncoding.AppendEncode(nil, data)
		for at := range text {
			for c := range 256 {
				if c == '"' || c == '\\' || c < 0x20 {
					continue // what no literal holds
				}
				wrong := bytes.Clone(text)
				wrong[at] = byte(c)
				decodedLike(t, wrong)
			}
			decodedLike(t, text[:at])
			decodedLike(t, text[at:])
		}
	}
}

func FuzzBase64(f *testing.F) {
	f.Add([]byte("QUJD"))
	f.Add([]byte("QUI="))
	f.Add([]byte("QUJ="))
	f.Add(bytes.Repeat([]byte("QUJD"), 40))
	f.Add(append(bytes.Repeat([]byte("QUJD"), 40), "QQ==QUJD"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.ContainsAny(text, "\"\\") {
			return
		}
		decodedLike(t, text)
	})
}
