package docwire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The key and IVs of CFMS.md §10.
var (
	vectorIV     = [16]byte(countingBytes(0x10, 16))
	nextVectorIV = [16]byte(countingBytes(0x20, 16))
)

// countingBytes are n bytes that count up from first.
func countingBytes(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func testKey(t testing.TB, raw []byte) SessionKey {
	t.Helper()
	key, err := newSessionKey(raw)
	require.NoError(t, err)
	return key
}

func vectorKey(t testing.TB) SessionKey { return testKey(t, countingBytes(0, 32)) }

func bytesOfHex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// streamOf is the ciphertext that a Splitter decrypts to plain, IVs' slots
// included, whatever the padding in it; a part of a block at the end stays.
func streamOf(key SessionKey, plain []byte) []byte {
	stream := bytes.Clone(plain)
	whole := len(plain) - len(plain)%aes.BlockSize
	cipher.NewCBCEncrypter(key.block, make([]byte, aes.BlockSize)).CryptBlocks(stream[:whole], stream[:whole])
	return stream
}

// cipherVectors are those of CFMS.md §10, without their IV.
var cipherVectors = map[string]string{
	encryptedOK: "30de7804345fc4aeaf779a347ed2a76e418d2a0df03cfcfe6b2c7f8fea339b83",
	"Goodbye":   "9bd8bcbc6e637fe60aa7734434bff2cf",
	Unreadable:  "64c287d54defb3265bb460a388148cca",
	`{"version":1,"request":"disconnect"}`: "2cc13712dc9f01ddf6de0e3868622da881c9dd51f0fd4515" +
		"66afda9c74cfb0ea3e536e691f0238a0e4f9b697018ed811",
}

func TestCipherVectors(t *testing.T) {
	key := vectorKey(t)
	for text, want := range cipherVectors {
		t.Run(text, func(t *testing.T) {
			msg := key.seal(nil, vectorIV, []byte(text), 0)
			assert.Equal(t, "101112131415161718191a1b1c1d1e1f"+want, hex.EncodeToString(msg))
			got, err := openMessage(key, msg)
			require.NoError(t, err)
			assert.Equal(t, text, string(got))
		})
	}
}

func TestMessageSizes(t *testing.T) {
	for n, want := range map[int]int{0: 32, 15: 32, 16: 48, 991: 1008, 992: 1024, 1007: 1024, 1008: 1040} {
		assert.Equal(t, want, sealedLen(n), "%d bytes of text", n)
	}
	key := vectorKey(t)
	for n := range 3 * SliceSize {
		text := bytes.Repeat([]byte{'x'}, n)
		msg := key.AppendMessage(nil, text)
		require.NotZero(t, len(msg)%SliceSize, "%d bytes of text", n)
		got, err := openMessage(key, msg)
		require.NoError(t, err)
		if r := n % SliceSize; r >= 992 && r <= 1007 {
			require.Equal(t, sealedLen(n)+fillSpaces, len(msg))
			text = append(text, bytes.Repeat([]byte{' '}, fillSpaces)...)
		}
		require.Equal(t, text, got)
	}
}

func TestAppendMessageAppends(t *testing.T) {
	key := vectorKey(t)
	dst := []byte("before")
	first := key.AppendMessage(dst, []byte("text"))
	require.True(t, bytes.HasPrefix(first, dst))
	got, err := openMessage(key, first[len(dst):])
	require.NoError(t, err)
	assert.Equal(t, "text", string(got))
	assert.NotEqual(t, first, key.AppendMessage(dst, []byte("text")), "every message has an IV of its own")
}

func TestSessionKeySizes(t *testing.T) {
	for n := range 70 {
		_, err := newSessionKey(make([]byte, n))
		assert.Equal(t, n == 16 || n == 24 || n == 32, err == nil, "%d bytes", n)
	}
}

func TestSessionKeyShowsNothing(t *testing.T) {
	raw := bytes.Repeat([]byte("KEY!"), 8)
	key := testKey(t, raw)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, shown := range []string{fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key)} {
			assert.NotContains(t, shown, "KEY!")
			assert.NotContains(t, shown, hex.EncodeToString(raw[:4]))
			assert.NotContains(t, shown, "75 69 89 33")
		}
	}
	_, err := newSessionKey(raw[:5])
	assert.NotContains(t, err.Error(), "KEY")
}

// recordedWrites keeps every write apart.
type recordedWrites struct {
	parts [][]byte
	fail  error
}

func (w *recordedWrites) Write(p []byte) (int, error) {
	if w.fail != nil {
		return 0, w.fail
	}
	w.parts = append(w.parts, bytes.Clone(p))
	return len(p), nil
}

func TestWriteSlices(t *testing.T) {
	for _, together := range []int{1, 3} {
		for _, n := range []int{0, 1, 1023, 1024, 1040, 2048, 5000} {
			var w recordedWrites
			msg := countingBytes(0, n)
			require.NoError(t, WriteSlices(&w, msg, together))
			assert.Equal(t, string(msg), string(bytes.Join(w.parts, nil)))
			for i, part := range w.parts {
				if i < len(w.parts)-1 {
					assert.Len(t, part, together*SliceSize)
				} else {
					assert.LessOrEqual(t, len(part), together*SliceSize)
				}
			}
		}
	}
	broken := errors.New("broken")
	assert.ErrorIs(t, WriteSlices(&recordedWrites{fail: broken}, []byte("x"), 1), broken)
}

// slowPadding checks padding the plain way.
func slowPadding(block []byte) (n, good int) {
	n = int(block[len(block)-1])
	if n < 1 || n > aes.BlockSize || !bytes.HasSuffix(block, bytes.Repeat([]byte{byte(n)}, n)) {
		return 0, 0
	}
	return n, 1
}

func TestPadding(t *testing.T) {
	check := func(block []byte) {
		wantN, wantGood := slowPadding(block)
		n, good := padding(block)
		require.Equal(t, []int{wantN, wantGood}, []int{n, good}, "%x", block)
	}
	for last := range 256 {
		for same := 1; same <= aes.BlockSize; same++ {
			for _, other := range []byte{0, byte(last) - 1, byte(last) + 1, 'x', 0xff} {
				block := bytes.Repeat([]byte{other}, aes.BlockSize)
				copy(block[aes.BlockSize-same:], bytes.Repeat([]byte{byte(last)}, same))
				check(block)
			}
		}
		for at := range aes.BlockSize - 1 { // one byte of a whole row is wrong
			block := bytes.Repeat([]byte{byte(last)}, aes.BlockSize)
			block[at] ^= 0x40
			check(block)
		}
	}
}
