package docwire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echoServer is the server of one connection without the connection: Write is
// what reaches it, Read what it sends, a slice each, as with TCP_NODELAY; where
// Read would wait, the silence it waits for has passed.
type echoServer struct {
	t        *testing.T
	h        *Handshake
	splitter *Splitter
	out      recordedWrites
}

func (e *echoServer) Write(p []byte) (int, error) {
	if e.splitter != nil {
		e.splitter.Feed(p)
	} else {
		e.h.Feed(p)
	}
	for e.serve(false) {
	}
	return len(p), nil
}

func (e *echoServer) Read(p []byte) (int, error) {
	for len(e.out.parts) == 0 && e.serve(true) {
	}
	if len(e.out.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.out.parts[0])
	if e.out.parts[0] = e.out.parts[0][n:]; len(e.out.parts[0]) == 0 {
		e.out.parts = e.out.parts[1:]
	}
	return n, nil
}

// serve does one thing, if there is one to do.
func (e *echoServer) serve(silent bool) bool {
	if e.splitter == nil {
		advance := e.h.Next
		if silent {
			advance = e.h.Flush
		}
		answer, err := advance()
		if err != nil {
			require.Equal(e.t, ErrPartial, err)
			return false
		}
		_, _ = e.out.Write(answer)
		if e.h.Done() {
			_, e.splitter = e.h.Session()
			e.splitter.SetLimit(UserLimit)
		}
		return true
	}
	text, err := e.splitter.Next()
	if err == ErrPartial && silent {
		text, err = e.splitter.Flush()
	}
	switch err {
	case ErrPartial, ErrTooLong:
		return false
	case ErrUndecryptable:
		text = []byte(Unreadable)
	}
	session, _ := e.h.Session()
	require.NoError(e.t, WriteSlices(&e.out, session.AppendMessage(nil, text), 1))
	return true
}

func TestClient(t *testing.T) {
	for _, m := range []Method{MethodRSA, MethodX25519} {
		t.Run(string(m), func(t *testing.T) {
			server := &echoServer{t: t, h: NewHandshake(serverKey(t, m))}
			c := NewClient(server)
			require.NoError(t, c.Handshake())
			method, offered := c.Offered()
			assert.Equal(t, m, method)
			assert.Contains(t, strings.ReplaceAll(string(serverKey(t, m).offer), `\n`, "\n"), offered)
			for _, edge := range []int{64, SliceSize, 2 * SliceSize, 3 * SliceSize} {
				for n := edge - 56; n < edge+32; n++ {
					text := string(jsonOfLen(n))
					reply, err := c.Call([]byte(text))
					require.NoError(t, err, "%d bytes", n)
					require.Equal(t, text, strings.TrimRight(string(reply), " "))
				}
			}
			text := jsonOfLen(UserLimit - 17)
			reply, err := c.Call(text)
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, bytes.TrimRight(reply, " ")))

			for sent, want := range map[string]string{"word\r\n": "word", "\xff": "?"} {
				reply, err = c.Call([]byte(sent))
				require.NoError(t, err)
				assert.Equal(t, want, string(reply))
			}
			_, err = server.Write(c.Message([]byte(`{}`))[:31])
			require.NoError(t, err)
			reply, err = c.Receive()
			require.NoError(t, err)
			assert.Equal(t, "?", string(reply))
			_, err = c.Receive()
			assert.Equal(t, io.EOF, err)
		})
	}
}

// scriptedServer is a connection whose other side says what it was told to.
type scriptedServer struct{ parts [][]byte }

func (s *scriptedServer) Write(p []byte) (int, error) { return len(p), nil }

func (s *scriptedServer) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}

func TestClientRefusesServers(t *testing.T) {
	offer := func(method, public string) []byte {
		return []byte(`{"msg": "enableEncryption", "method": "` + method + `", "public_key": "` + public + `", "code": 0}`)
	}
	hello := []byte("hello")
	for shows, parts := range map[string][][]byte{
		"nothing":            {},
		"another hello":      {[]byte("Unknown request")},
		"no offer":           {hello},
		"no JSON":            {hello, []byte("enableEncryption")},
		"another method":     {hello, offer("none", "")},
		"a short key":        {hello, offer("x25519", "00")},
		"no hex":             {hello, offer("x25519", "xx")},
		"no PEM":             {hello, offer("rsa", "none")},
		"no connection key":  {hello, offer("x25519", vectorClient), make([]byte, 96)},
		"nothing behind rsa": {hello, serverKey(t, MethodRSA).offer},
		"what is not ours":   {hello, serverKey(t, MethodRSA).offer, make([]byte, 48)},
		"a part of a block":  {hello, serverKey(t, MethodRSA).offer, make([]byte, 47)},
		"cut behind a slice": {hello, serverKey(t, MethodRSA).offer, make([]byte, 1024)},
		"an all-zero secret": {hello, offer("x25519", strings.Repeat("0", 64))},
		"a key that is no RSA": {hello, offer("rsa",
			`-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n-----END PUBLIC KEY-----`)},
	} {
		assert.Error(t, NewClient(&scriptedServer{parts: parts}).Handshake(), shows)
	}
}
