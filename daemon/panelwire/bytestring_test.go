package panelwire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goldens = "../../testdata/wire/mfp/"

func readGolden(t testing.TB, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(goldens + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

type byteStringVector struct {
	Shows   string
	Bytes   string // hex
	Literal string // hex of the UTF-8
	// Decoded is set where the literal decodes to something else than Bytes.
	Decoded *string
}

func unhexed(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestByteStringVectors(t *testing.T) {
	var vectors []byteStringVector
	readGolden(t, "bytestrings.json", &vectors)
	for _, v := range vectors {
		t.Run(v.Shows, func(t *testing.T) {
			literal, want := unhexed(t, v.Literal), unhexed(t, v.Bytes)
			if v.Decoded != nil {
				want = unhexed(t, *v.Decoded)
			} else {
				assert.Equal(t, v.Literal, hex.EncodeToString(AppendByteString(nil, want)))
			}
			if v.Bytes != "" {
				assert.Equal(t, v.Literal, hex.EncodeToString(AppendByteString(nil, unhexed(t, v.Bytes))))
			}
			got, err := DecodeByteString([]byte("x"), literal)
			require.NoError(t, err)
			assert.Equal(t, "x"+string(want), string(got))
			assert.Equal(t, string(want), string(decodeInPlace(bytes.Clone(literal[1:len(literal)-1]))))
		})
	}
}

func TestDecodeByteStringRefuses(t *testing.T) {
	for _, bad := range []string{
		``, `"`, `""x`, `x`, `null`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", `"a"b"`, "\"\x80\"", "\"\xc0\x80\"",
		"\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xe4\x84\"",
		"\"\xe4\x84\x80\xe0\x80\x80aaaa\"", "\"\xe4\x84\x80\xed\xa0\x80aaaa\"", "\"\xed\xa0\x80\xe4\x84\x80aaaa\"",
	} {
		_, err := DecodeByteString(nil, []byte(bad))
		assert.Error(t, err, "%q", bad)
	}
}

// slowUnits decodes the inside of a valid literal the plain way.
func slowUnits(s string) []byte {
	var out []byte
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, `\u`):
			u, err := strconv.ParseUint(s[2:6], 16, 16)
			if err != nil {
				panic(err)
			}
			out, s = binary.BigEndian.AppendUint16(out, uint16(u)), s[6:]
		case s[0] == '\\':
			i := strings.IndexByte(`"\/bfnrt`, s[1])
			out, s = append(out, 0, "\"\\/\b\f\n\r\t"[i]), s[2:]
		default:
			r, n := utf8.DecodeRuneInString(s)
			for _, u := range utf16.AppendRune(nil, r) {
				out = binary.BigEndian.AppendUint16(out, u)
			}
			s = s[n:]
		}
	}
	return out
}

// slowByteString encodes an even number of bytes the plain way.
func slowByteString(b []byte) []byte {
	var units []uint16
	for i := 0; i < len(b); i += 2 {
		units = append(units, binary.BigEndian.Uint16(b[i:]))
	}
	out := []byte{'"'}
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if i+1 < len(units) {
			if pair := utf16.DecodeRune(r, rune(units[i+1])); pair != utf8.RuneError {
				out = utf8.AppendRune(out, pair)
				i++
				continue
			}
		}
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20 || utf16.IsSurrogate(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"')
}

func padded(b []byte) []byte {
	if len(b)%2 == 1 {
		return append(bytes.Clone(b), 0)
	}
	return b
}

// checkRoundTrip encodes data and decodes it again, all ways.
func checkRoundTrip(t testing.TB, data []byte) {
	t.Helper()
	want := padded(data)
	enc := AppendByteString(nil, data)
	require.Equal(t, slowByteString(want), enc)
	require.True(t, json.Valid(enc) && utf8.Valid(enc))
	got, err := DecodeByteString(nil, enc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	require.True(t, bytes.Equal(want, decodeInPlace(bytes.Clone(enc[1:len(enc)-1]))))
	got, end, ok := scanInPlace(append(enc, "rest"...), 1)
	require.True(t, ok)
	require.Equal(t, len(enc)-1, end)
	require.True(t, bytes.Equal(want, got))
}

func TestByteStringRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for n := range 70 {
		checkRoundTrip(t, random(n))
	}
	checkRoundTrip(t, random(300_001))
	checkRoundTrip(t, make([]byte, 50_001))
	checkRoundTrip(t, bytes.Repeat([]byte{0, 'a'}, 20_000))
	checkRoundTrip(t, append(bytes.Repeat([]byte{0x41, 0x42}, 20_000), bytes.Repeat([]byte{0, 'a'}, 60_000)...))
	// Surrogates of every kind across the edge of a block.
	for shift := range 4 {
		b := bytes.Repeat([]byte{0xd8, 0x3d, 0xde, 0}, encodeBlock)
		checkRoundTrip(t, append(make([]byte, shift), b...))
		b = bytes.Repeat([]byte{0xd8, 0, 0xd8, 0x3d, 0xde, 0}, encodeBlock)
		checkRoundTrip(t, append(make([]byte, shift), b...))
	}
	// Every unit, alone and beside another.
	var all []byte
	for u := range 1 << 16 {
		all = binary.BigEndian.AppendUint16(all, uint16(u))
		pair := binary.BigEndian.AppendUint16(nil, uint16(u))
		enc := AppendByteString(nil, pair)
		require.Equal(t, slowByteString(pair), enc)
	}
	checkRoundTrip(t, all)
}

func FuzzByteString(f *testing.F) {
	var vectors []byteStringVector
	readGolden(f, "bytestrings.json", &vectors)
	for _, v := range vectors {
		f.Add(unhexed(f, v.Bytes), unhexed(f, v.Literal))
	}
	f.Add([]byte{0xd8, 0, 0xdc}, []byte(`"aaaaaaaaa\b\f\n\r\t\/\\\"\u00E4äää𝄞ࠀࠀࠀ"`))
	f.Fuzz(func(t *testing.T, data, literal []byte) {
		checkRoundTrip(t, data)
		got, err := DecodeByteString(nil, literal)
		if len(literal) > 0 && literal[0] == '"' {
			_, end, ok := scanInPlace(bytes.Clone(literal), 1)
			wantEnd, wantOK := stringEnd(literal, 1)
			require.Equal(t, wantEnd, end)
			require.Equal(t, wantOK, ok)
		}
		valid := len(literal) > 0 && literal[0] == '"' && literal[len(literal)-1] == '"' &&
			json.Valid(literal) && utf8.Valid(literal)
		require.Equal(t, valid, err == nil, "%q", literal)
		if valid {
			in := literal[1 : len(literal)-1]
			want := slowUnits(string(in))
			require.Equal(t, len(want), unitBytes(in))
			require.True(t, bytes.Equal(want, got), "%q", literal)
			require.True(t, bytes.Equal(want, decodeInPlace(bytes.Clone(in))), "%q", literal)
		}
	})
}
