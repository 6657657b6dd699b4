package docwire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"hash"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The keys of CFMS.md §10.
const (
	vectorPrivate = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
	vectorClient  = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	vectorSecret  = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
)

// rsaTestFile is a key of no value, kept so that tests need not make one.
const rsaTestFile = "testdata/cfms-rsa.pem"

var rsaTestKey = sync.OnceValues(func() (*ServerKey, error) {
	file, err := os.ReadFile(rsaTestFile)
	if err != nil {
		return nil, err
	}
	return ParseServerKey(MethodRSA, file)
})

func serverKey(t testing.TB, m Method) *ServerKey {
	t.Helper()
	key, err := rsaTestKey()
	if m == MethodX25519 {
		key, err = ParseServerKey(m, []byte(vectorPrivate))
	}
	require.NoError(t, err)
	return key
}

// keyBlock is step 5 for rsa.
func keyBlock(t testing.TB, h hash.Hash, raw, label []byte) []byte {
	t.Helper()
	block, err := rsa.EncryptOAEP(h, rand.Reader, &serverKey(t, MethodRSA).rsa.PublicKey, raw, label)
	require.NoError(t, err)
	return block
}

func TestX25519Vector(t *testing.T) {
	k := serverKey(t, MethodX25519)
	secret, err := k.agree(bytesOfHex(t, vectorClient))
	require.NoError(t, err)
	assert.Equal(t, testKey(t, bytesOfHex(t, vectorSecret)), secret)
	step6 := secret.seal(nil, vectorIV, hex.AppendEncode(nil, countingBytes(0, 32)), 0)
	assert.Equal(t, "101112131415161718191a1b1c1d1e1f2df92996708654d558aa5d974728e47ca2f80bc8f26e44e3011dfc2b"+
		"e52c1604ff20007c5941c6f81853fbb94eab49ae9ba385215442c06e5ba0b36e08c10eeb6417da8ac2e81932912700e74ff97237",
		hex.EncodeToString(step6))
}

func TestX25519Refuses(t *testing.T) {
	k := serverKey(t, MethodX25519)
	for shows, public := range map[string][]byte{
		"zero":            make([]byte, 32),
		"one":             append([]byte{1}, make([]byte, 31)...),
		"p, which is 0":   append(append([]byte{0xed}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f),
		"a point too few": make([]byte, 31),
	} {
		_, err := k.agree(public)
		assert.Equal(t, ErrKeyExchange, err, shows)
	}
}

func TestRSAKeyBlock(t *testing.T) {
	k := serverKey(t, MethodRSA)
	for _, n := range []int{16, 24, 32} {
		key, err := k.agree(keyBlock(t, sha1.New(), countingBytes(5, n), nil))
		require.NoError(t, err)
		assert.Equal(t, testKey(t, countingBytes(5, n)), key)
	}
	//lint:ignore SA1019 what it makes must be refused
	pkcs1, err := rsa.EncryptPKCS1v15(rand.Reader, &k.rsa.PublicKey, countingBytes(0, 32))
	require.NoError(t, err)
	bent := keyBlock(t, sha1.New(), countingBytes(5, 32), nil)
	bent[100] ^= 1
	for shows, block := range map[string][]byte{
		"no key":            keyBlock(t, sha1.New(), nil, nil),
		"15 bytes":          keyBlock(t, sha1.New(), make([]byte, 15), nil),
		"33 bytes":          keyBlock(t, sha1.New(), make([]byte, 33), nil),
		"64 bytes":          keyBlock(t, sha1.New(), make([]byte, 64), nil),
		"another hash":      keyBlock(t, sha256.New(), make([]byte, 32), nil),
		"a label":           keyBlock(t, sha1.New(), make([]byte, 32), []byte("label")),
		"another padding":   pkcs1,
		"a bit flipped":     bent,
		"above the modulus": bytes.Repeat([]byte{0xff}, 512),
		"zeros":             make([]byte, 512),
	} {
		_, err := k.agree(block)
		assert.True(t, err == ErrKeyExchange, shows)
	}
}

func TestOffer(t *testing.T) {
	for m, size := range map[Method]int{MethodRSA: 885, MethodX25519: 140} {
		k := serverKey(t, m)
		offer := string(k.offer)
		assert.Len(t, offer, size)
		assert.Less(t, len(offer), SliceSize)
		assert.True(t, strings.HasPrefix(offer, `{"msg": "enableEncryption", "method": "`+string(m)+`", "public_key": "`), offer)
		assert.True(t, strings.HasSuffix(offer, `", "code": 0}`), offer)
		for _, c := range offer {
			require.True(t, c >= ' ' && c <= '~')
		}
		var step struct {
			Public string `json:"public_key"`
		}
		require.NoError(t, json.Unmarshal(k.offer, &step))
		if m == MethodX25519 {
			assert.Equal(t, hex.EncodeToString(k.x25519.PublicKey().Bytes()), step.Public)
			continue
		}
		block, rest := pem.Decode([]byte(step.Public))
		require.NotNil(t, block)
		assert.Empty(t, rest)
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		require.NoError(t, err)
		assert.True(t, k.rsa.PublicKey.Equal(public))
	}
}

func TestServerKeyFiles(t *testing.T) {
	t.Run("what is kept stays readable", func(t *testing.T) {
		file, err := os.ReadFile(rsaTestFile)
		require.NoError(t, err)
		again, err := serverKey(t, MethodRSA).Marshal()
		require.NoError(t, err)
		assert.Equal(t, string(file), string(again))
		again, err = serverKey(t, MethodX25519).Marshal()
		require.NoError(t, err)
		assert.Equal(t, vectorPrivate, string(again))
	})
	for _, m := range []Method{MethodRSA, MethodX25519} {
		t.Run(string(m), func(t *testing.T) {
			made, err := GenerateServerKey(m)
			require.NoError(t, err)
			other, err := GenerateServerKey(m)
			require.NoError(t, err)
			assert.NotEqual(t, made.offer, other.offer)
			file, err := made.Marshal()
			require.NoError(t, err)
			for _, around := range []string{"", "\n", "\r\n"} {
				parsed, err := ParseServerKey(m, append(bytes.Clone(file), around...))
				require.NoError(t, err)
				assert.Equal(t, made.offer, parsed.offer, "clients compare it")
			}
		})
	}
	_, err := GenerateServerKey("none")
	assert.Error(t, err)
}

func TestServerKeyFilesRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8 := func(blockType string, key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})
	}
	good := serverKey(t, MethodRSA)
	file, err := good.Marshal()
	require.NoError(t, err)
	for shows, c := range map[string]struct {
		method Method
		file   []byte
	}{
		"nothing":               {MethodRSA, nil},
		"cut":                   {MethodRSA, file[:1000]},
		"something behind":      {MethodRSA, append(bytes.Clone(file), "SECRET"...)},
		"2048 bits":             {MethodRSA, pkcs8(privateBlock, small)},
		"another kind of key":   {MethodRSA, pkcs8(privateBlock, serverKey(t, MethodX25519).x25519)},
		"another kind of block": {MethodRSA, pkcs8("RSA PRIVATE KEY", good.rsa)},
		"no DER":                {MethodRSA, pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: []byte("SECRET")})},
		"no digits":             {MethodX25519, nil},
		"63 digits":             {MethodX25519, []byte(vectorPrivate[1:])},
		"62 digits":             {MethodX25519, []byte(vectorPrivate[2:])},
		"66 digits":             {MethodX25519, []byte(vectorPrivate + "00")},
		"no hex":                {MethodX25519, []byte("SECRET" + vectorPrivate[6:])},
		"no method":             {"none", file},
	} {
		_, err := ParseServerKey(c.method, c.file)
		require.ErrorIs(t, err, errKeyFile, shows)
		assert.NotContains(t, err.Error(), "SECRET")
	}
}

// handshakeRun is what a Handshake did with what it received.
type handshakeRun struct {
	Answers []string
	Err     error
	Done    bool
	Behind  []outcome
}

// runHandshake feeds received cut by cuts, over and over, and after it a silence.
func runHandshake(key *ServerKey, received, cuts []byte) handshakeRun {
	h, run := NewHandshake(key), handshakeRun{}
	next := func(advance func() ([]byte, error)) bool {
		answer, err := advance()
		if err == ErrPartial {
			return false
		}
		if answer != nil {
			run.Answers = append(run.Answers, string(answer))
		}
		run.Err = err
		return err == nil
	}
	for i := 0; len(received) > 0; i++ {
		n := len(received)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		h.Feed(received[:n])
		received = received[n:]
		for next(h.Next) {
		}
		if run.Err != nil {
			return run
		}
	}
	for next(h.Flush) {
	}
	if run.Done = h.Done(); run.Done {
		_, s := h.Session()
		run.Behind = feedPieces(s, nil, nil)
	}
	return run
}

// everyCut runs a handshake with received whole, cut once at every byte, and
// cut after each byte.
func everyCut(t *testing.T, key *ServerKey, received string, check func(t *testing.T, run handshakeRun)) {
	t.Helper()
	check(t, runHandshake(key, []byte(received), nil))
	check(t, runHandshake(key, []byte(received), []byte{0}))
	for cut := range min(len(received)-1, 250) {
		check(t, runHandshake(key, []byte(received), []byte{byte(cut), 255, 255}))
	}
}

func TestGreeting(t *testing.T) {
	key := serverKey(t, MethodX25519)
	offer := string(key.offer)
	for shows, c := range map[string]struct {
		received string
		answers  []string
		err      error
	}{
		"nothing":                      {"", nil, nil},
		"half a hello":                 {"hel", nil, nil},
		"hello":                        {"hello", []string{"hello"}, nil},
		"hello and a line end":         {"hello\r\n", []string{"hello"}, nil},
		"hello and half a line end":    {"hello\r", []string{"hello"}, nil},
		"both at once":                 {"helloenableEncryption", []string{"hello", offer}, nil},
		"both, line ends":              {"hello\r\nenableEncryption\r\n", []string{"hello", offer}, nil},
		"half the third step":          {"helloenableEnc", []string{"hello"}, nil},
		"two line ends":                {"hello\r\n\r\nenableEncryption", []string{"hello", unknownWord}, ErrNotHandshake},
		"a bare line feed":             {"hello\nenableEncryption", []string{"hello", unknownWord}, ErrNotHandshake},
		"a bare carriage return":       {"hello\renableEncryption", []string{"hello", unknownWord}, ErrNotHandshake},
		"a line end first":             {"\r\nhello", []string{unknownWord}, ErrNotHandshake},
		"capitals":                     {"Hello", []string{unknownWord}, ErrNotHandshake},
		"the third step first":         {"enableEncryption", []string{unknownWord}, ErrNotHandshake},
		"something else third":         {"hellodisableEncryption", []string{"hello", unknownWord}, ErrNotHandshake},
		"a request in clear":           {`{"version": 1, "request": "disconnect"}`, []string{unknownWord}, ErrNotHandshake},
		"TLS":                          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []string{unknownWord}, ErrNotHandshake},
		"a long line":                  {strings.Repeat("x", 5000), []string{unknownWord}, ErrNotHandshake},
		"HTTP":                         {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", []string{notHTTPHere}, ErrHTTP},
		"HTTP like a hello":            {"hel HTTP/1.0\r\n\r\n", []string{notHTTPHere}, ErrHTTP},
		"HTTP without its end":         {"POST /x HTTP/1.", []string{notHTTPHere}, ErrHTTP},
		"HTTP third":                   {"hello\r\nGET / HTTP/1.1\r\n", []string{"hello", notHTTPHere}, ErrHTTP},
		"HTTP/2":                       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []string{unknownWord}, ErrNotHandshake},
		"a path too long for us":       {"GET /" + strings.Repeat("x", 1024) + " HTTP/1.1\r\n", []string{unknownWord}, ErrNotHandshake},
		"HTTP on a second line":        {"what\nGET / HTTP/1.1\r\n", []string{unknownWord}, ErrNotHandshake},
		"a line that says HTTP, short": {"GET / HTTP/", []string{unknownWord}, ErrNotHandshake},
	} {
		t.Run(shows, func(t *testing.T) {
			everyCut(t, key, c.received, func(t *testing.T, run handshakeRun) {
				require.Equal(t, handshakeRun{Answers: c.answers, Err: c.err}, run)
			})
		})
	}
}

func TestGreetingWaits(t *testing.T) {
	h := NewHandshake(serverKey(t, MethodX25519))
	partly := func(received string) {
		t.Helper()
		h.Feed([]byte(received))
		_, err := h.Next()
		require.Equal(t, ErrPartial, err)
	}
	partly("hel")
	assert.Zero(t, h.Silence(), "no silence makes a hello of it")
	assert.Equal(t, GreetingWithin, h.Within())
	_, err := h.Flush()
	assert.Equal(t, ErrPartial, err)
	partly("p")
	assert.Equal(t, ShortSilence, h.Silence(), "it may become HTTP")
	answer, err := h.Flush()
	assert.Equal(t, ErrNotHandshake, err)
	assert.Equal(t, "Unknown request", string(answer))

	h = NewHandshake(serverKey(t, MethodX25519))
	h.Feed([]byte("helloenableEncryption"))
	for range 2 {
		_, err := h.Next()
		require.NoError(t, err)
	}
	assert.Equal(t, KeyWithin, h.Within())
	assert.False(t, h.Done())
}

func TestHandshakeRSA(t *testing.T) {
	key := serverKey(t, MethodRSA)
	raw := countingBytes(0, 32)
	block := keyBlock(t, sha1.New(), raw, nil)
	for bytes.HasPrefix(block, lineEnd) {
		block = keyBlock(t, sha1.New(), raw, nil)
	}
	request := vectorKey(t).seal(nil, vectorIV, []byte(`{"version":1}`), 0)
	for _, words := range []string{"helloenableEncryption", "hello\r\nenableEncryption\r\n"} {
		received := words + string(block) + string(request)
		for _, cuts := range [][]byte{nil, {0}, {4, 16, 255}, {1, 0, 1, 2}, {255, 255, 20}} {
			run := runHandshake(key, []byte(received), cuts)
			require.NoError(t, run.Err)
			require.Len(t, run.Answers, 3)
			assert.Equal(t, []string{"hello", string(key.offer)}, run.Answers[:2])
			ok, err := openMessage(vectorKey(t), []byte(run.Answers[2]))
			require.NoError(t, err)
			assert.Equal(t, `{"msg": "ok", "code": 0}`, string(ok))
			assert.True(t, run.Done)
			assert.Equal(t, []outcome{{`{"version":1}`, nil}}, run.Behind, "what came behind is not lost")
		}
	}
	block[7] ^= 1
	run := runHandshake(key, append([]byte("helloenableEncryption"), block...), nil)
	assert.Equal(t, handshakeRun{Answers: []string{"hello", string(key.offer)}, Err: ErrKeyExchange}, run, "no answer")
	run = runHandshake(key, append([]byte("helloenableEncryption"), block[:511]...), nil)
	assert.Equal(t, handshakeRun{Answers: []string{"hello", string(key.offer)}}, run, "waits for the rest")
}

func TestHandshakeX25519(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1) // one key in many opens what is not its own
	key := serverKey(t, MethodX25519)
	secret := testKey(t, bytesOfHex(t, vectorSecret))
	// reach returns a handshake that has handed out its connection key.
	reach := func(words string) (*Handshake, SessionKey) {
		h := NewHandshake(key)
		h.Feed(append([]byte(words), bytesOfHex(t, vectorClient)...))
		var answer []byte
		for range 3 {
			var err error
			answer, err = h.Next()
			require.NoError(t, err)
		}
		require.Len(t, answer, 96)
		digits, err := openMessage(secret, answer)
		require.NoError(t, err)
		require.Regexp(t, "^[0-9a-f]{64}$", string(digits))
		return h, testKey(t, bytesOfHex(t, string(digits)))
	}
	finish := func(t *testing.T, h *Handshake, session SessionKey, answer []byte) *Splitter {
		ok, err := openMessage(session, answer)
		require.NoError(t, err)
		assert.Equal(t, `{"msg": "ok", "code": 0}`, string(ok))
		require.True(t, h.Done())
		got, s := h.Session()
		require.Equal(t, session, got)
		return s
	}
	t.Run("a request tests the key", func(t *testing.T) {
		for _, words := range []string{"helloenableEncryption", "hello\r\nenableEncryption\r\n"} {
			h, session := reach(words)
			msg := session.AppendMessage(nil, []byte(encryptTest))
			h.Feed(append(msg, session.AppendMessage(nil, []byte(`{"version":1}`))...))
			answer, err := h.Next()
			require.NoError(t, err)
			text, err := finish(t, h, session, answer).Next()
			require.NoError(t, err)
			assert.Equal(t, `{"version":1}`, string(text))
		}
	})
	t.Run("so does any text", func(t *testing.T) {
		h, session := reach("helloenableEncryption")
		h.Feed(session.AppendMessage(nil, []byte("text")))
		_, err := h.Next()
		require.Equal(t, ErrPartial, err)
		require.Equal(t, ShortSilence, h.Silence())
		answer, err := h.Flush()
		require.NoError(t, err)
		finish(t, h, session, answer)
	})
	t.Run("but no other key's", func(t *testing.T) {
		h, _ := reach("helloenableEncryption")
		h.Feed(secret.seal(nil, vectorIV, []byte("text"), 0))
		_, err := h.Next()
		require.Equal(t, ErrPartial, err)
		answer, err := h.Flush()
		assert.Nil(t, answer)
		assert.Equal(t, ErrKeyExchange, err)
		assert.False(t, h.Done())
	})
	t.Run("and not without end", func(t *testing.T) {
		h, _ := reach("helloenableEncryption")
		h.Feed(make([]byte, StrangerLimit+1))
		_, err := h.Next()
		assert.Equal(t, ErrTooLong, err)
	})
	t.Run("an all-zero secret", func(t *testing.T) {
		run := runHandshake(key, append([]byte("helloenableEncryption"), make([]byte, 32)...), nil)
		assert.Equal(t, handshakeRun{Answers: []string{"hello", string(key.offer)}, Err: ErrKeyExchange}, run)
	})
}

// TestKeyThatBeginsLikeALineEnd: whether a CRLF ends step 3 or begins step 5 is
// told by how many bytes come before the client waits.
func TestKeyThatBeginsLikeALineEnd(t *testing.T) {
	key := serverKey(t, MethodX25519)
	public := append([]byte("\r\n"), countingBytes(1, 30)...)
	point, err := ecdh.X25519().NewPublicKey(public)
	require.NoError(t, err)
	secret, err := key.x25519.ECDH(point)
	require.NoError(t, err)
	for shows, words := range map[string]string{"no line end": "helloenableEncryption", "a line end too": "helloenableEncryption\r\n"} {
		everyCut(t, key, words+string(public), func(t *testing.T, run handshakeRun) {
			require.NoError(t, run.Err, shows)
			require.Len(t, run.Answers, 3, shows)
			_, err := openMessage(testKey(t, secret), []byte(run.Answers[2]))
			require.NoError(t, err, shows)
		})
	}
	h := NewHandshake(key)
	h.Feed([]byte("helloenableEncryption" + string(public)))
	for range 2 {
		_, err := h.Next()
		require.NoError(t, err)
	}
	_, err = h.Next()
	require.Equal(t, ErrPartial, err)
	assert.Equal(t, ShortSilence, h.Silence())

	run := runHandshake(serverKey(t, MethodRSA), append([]byte("helloenableEncryption\r\n"), make([]byte, 510)...), nil)
	assert.Equal(t, ErrKeyExchange, run.Err, "a bad block that begins so is found bad all the same")
}

func FuzzHandshake(f *testing.F) {
	request := vectorKey(f).seal(nil, vectorIV, []byte(`{"version":1}`), 0)
	block := append(keyBlock(f, sha1.New(), countingBytes(0, 32), nil), request...)
	point := bytesOfHex(f, vectorClient)
	f.Add(false, []byte("GET / HTTP/1.1\r\n\r\n"), []byte{3})
	f.Add(false, []byte("hello\r\nenableEncryption\r\nxx"), []byte{0})
	f.Add(false, append([]byte("helloenableEncryption"), block...), []byte{100, 3})
	f.Add(false, append([]byte("helloenableEncryption\r\n"), block...), []byte{20})
	f.Add(true, append([]byte("helloenableEncryption\r\n"), point...), []byte{4, 15})
	f.Add(true, append([]byte("helloenableEncryption"), append(point, request...)...), []byte{20})
	f.Add(true, append([]byte("helloenableEncryption\r\n"), make([]byte, 32)...), []byte{})
	f.Fuzz(func(t *testing.T, isX25519 bool, received, cuts []byte) {
		m := MethodRSA
		if isX25519 {
			m = MethodX25519
		}
		// The same IVs and connection keys each time, so that answers compare.
		cryptotest.SetGlobalRandom(t, 1)
		want := runHandshake(serverKey(t, m), received, nil)
		cryptotest.SetGlobalRandom(t, 1)
		require.Equal(t, want, runHandshake(serverKey(t, m), received, cuts))
		require.Equal(t, want.Err == nil && len(want.Answers) > 2 && (m == MethodRSA || len(want.Answers) > 3), want.Done)
		if len(want.Answers) > 0 && want.Answers[0] == helloWord {
			require.True(t, bytes.HasPrefix(received, []byte(helloWord)))
		}
	})
}
