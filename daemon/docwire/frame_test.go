package docwire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outcome is what became of one message.
type outcome struct {
	Text string
	Err  error
}

// drainSplitter takes every message that is whole.
func drainSplitter(s *Splitter) (got []outcome, last error) {
	for {
		text, err := s.Next()
		if err == ErrPartial || err == ErrTooLong {
			return got, err
		}
		got = append(got, outcome{string(text), err})
	}
}

// feedPieces feeds a Splitter stream cut by cuts, over and over, draining it
// after each piece; then comes the silence.
func feedPieces(s *Splitter, stream, cuts []byte) []outcome {
	var got []outcome
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)]))
			if n == 0 && i%len(cuts) == 0 {
				n = 1 // or cuts of zeros would never end
			}
		}
		s.Feed(stream[:n])
		stream = stream[n:]
		some, last := drainSplitter(s)
		got = append(got, some...)
		if last == ErrTooLong {
			return append(got, outcome{"", last})
		}
	}
	if text, err := s.Flush(); err != ErrPartial {
		got = append(got, outcome{string(text), err})
	}
	return got
}

var quotedString = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*("|\\?$)`)

// slowObjectEnd is the offset just behind the object text begins with, -1 if it
// does not end, 0 if text does not begin with one.
func slowObjectEnd(text []byte) int {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] != '{' {
		return 0
	}
	bare := quotedString.ReplaceAllFunc(text, func(s []byte) []byte { return bytes.Repeat([]byte{'.'}, len(s)) })
	depth := 0
	for i, c := range bare {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

func slowText(key SessionKey, msg []byte) []byte {
	whole := len(msg) - len(msg)%16
	if whole <= 16 {
		return nil
	}
	s := NewSplitter(key, UserLimit) // only for its cipher
	text := make([]byte, whole)
	s.stream.CryptBlocks(text, msg[:whole])
	return text[16:]
}

// slowSplit is CFMS.md §1.2 "Reading" to the letter, each message over all that
// is there. rest is what the silence decided about.
func slowSplit(key SessionKey, stream []byte, limit int) (got []outcome, rest []byte) {
	for {
		text := slowText(key, stream)
		if e := slowObjectEnd(text); e > 0 {
			edge := 16 * (e/16 + 1)
			if edge <= len(text) && string(text[e:edge]) == strings.Repeat(string(rune(edge-e)), edge-e) {
				if 16+edge > limit {
					return append(got, outcome{"", ErrTooLong}), nil
				}
				if utf8.Valid(text[:e]) {
					got = append(got, outcome{string(text[:e]), nil})
				} else {
					got = append(got, outcome{"", ErrUndecryptable})
				}
				stream = stream[16+edge:]
				continue
			}
		}
		if len(stream) > limit {
			return append(got, outcome{"", ErrTooLong}), nil
		}
		if len(stream) == 0 {
			return got, nil
		}
		if len(stream)%16 == 0 && len(stream) >= 32 {
			n, good := slowPadding(text[len(text)-16:])
			if text = text[:len(text)-n]; good == 1 && utf8.Valid(text) {
				return append(got, outcome{strings.TrimRight(string(text), " \t\r\n"), nil}), stream
			}
		}
		return append(got, outcome{"", ErrUndecryptable}), stream
	}
}

// jsonPrefix tells that text is the beginning of an object and not the whole.
func jsonPrefix(text []byte) bool {
	var raw json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&raw)
	return slowObjectEnd(text) < 0 && (err == io.ErrUnexpectedEOF || err == io.EOF)
}

func TestMergedVector(t *testing.T) {
	key := vectorKey(t)
	merged := key.seal(nil, vectorIV, []byte(`{"code": 0}`), 0)
	merged = key.seal(merged, nextVectorIV, []byte(`{"a":"}\""}`), 0)
	require.Equal(t, "101112131415161718191a1b1c1d1e1f9feeef6577cee9d9a5283d8b08d52ffd"+
		"202122232425262728292a2b2c2d2e2fcc68fe25e018f04e97ca41d35c483077", hex.EncodeToString(merged))
	for cut := range merged {
		s := NewSplitter(key, StrangerLimit)
		s.Feed(merged[:cut])
		got, err := drainSplitter(s)
		require.Equal(t, ErrPartial, err)
		s.Feed(merged[cut:])
		more, err := drainSplitter(s)
		require.Equal(t, ErrPartial, err)
		require.Equal(t, []outcome{{`{"code": 0}`, nil}, {`{"a":"}\""}`, nil}}, append(got, more...))
		require.Zero(t, s.Silence())
		_, err = s.Flush()
		require.Equal(t, ErrPartial, err, "nothing is left")
	}
}

func TestMessagesEndWithoutSilence(t *testing.T) {
	for shows, text := range map[string]string{
		"empty object":                   `{}`,
		"one byte before a block's edge": `{"edge":"1234"}`,
		"on the edge, full padding":      `{"edge":"12345"}`,
		"one byte beyond the edge":       `{"edge":"123456"}`,
		"white space before":             " \r\n\t{\"a\": 1}",
		"braces in strings":              `{"{":"}}}{{{","a\\":"\\\"}"}`,
		"nested":                         `{"a":{"b":[{"c":{}}]},"d":{}}`,
		"characters of many bytes":       `{"Schlüssel":"日本語🎉"}`,
		"not quite JSON":                 `{'a': [}`,
		"a control character":            "{\"a\":\"\x01\"}",
	} {
		t.Run(shows, func(t *testing.T) {
			key := vectorKey(t)
			msg := key.AppendMessage(nil, []byte(text))
			for cut := range len(msg) + 1 {
				s := NewSplitter(key, StrangerLimit)
				s.Feed(msg[:cut])
				some, _ := drainSplitter(s)
				s.Feed(msg[cut:])
				rest, err := drainSplitter(s)
				require.Equal(t, ErrPartial, err)
				require.Equal(t, []outcome{{text, nil}}, append(some, rest...), "cut at %d", cut)
			}
			s := NewSplitter(key, StrangerLimit)
			for i := range msg {
				_, err := s.Next()
				require.Equal(t, ErrPartial, err)
				s.Feed(msg[i : i+1])
			}
			got, err := s.Next()
			require.NoError(t, err)
			assert.Equal(t, text, string(got))
		})
	}
}

func TestMessagesThatEndWithSilence(t *testing.T) {
	for shows, c := range map[string]struct {
		text, want string
		silence    time.Duration
	}{
		"empty":                           {"", "", ShortSilence},
		"white space":                     {" \t\r\n", "", ShortSilence},
		"a word":                          {"Goodbye", "Goodbye", ShortSilence},
		"a word and a line end":           {"hello\r\n", "hello", ShortSilence},
		"an array":                        {`[{}]`, `[{}]`, ShortSilence},
		"white space, then no object":     {"  null", "  null", ShortSilence},
		"an object and a line end":        {"{\"a\":1}\r\n", `{"a":1}`, ShortSilence},
		"an object and spaces":            {`{"a":1}` + strings.Repeat(" ", 16), `{"a":1}`, ShortSilence},
		"an object and more":              {`{"a":1} {"b":2}`, `{"a":1} {"b":2}`, ShortSilence},
		"an object that is not closed":    {`{"a":"1"`, `{"a":"1"`, ShortSilence},
		"the same, padded by white space": {`{"a":1`, `{"a":1`, LongSilence}, // ten line feeds
		"a string that is not closed":     {`{"a":"}`, `{"a":"}`, ShortSilence},
		"the same, behind a backslash":    {`{"a":"\`, `{"a":"\`, ShortSilence},
		"a null byte":                     {"\x00", "\x00", ShortSilence},
	} {
		t.Run(shows, func(t *testing.T) {
			key := vectorKey(t)
			next := key.AppendMessage(nil, []byte(`{"next":1}`))
			msg := key.AppendMessage(nil, []byte(c.text))
			for cut := range len(msg) + 1 {
				s := NewSplitter(key, StrangerLimit)
				for _, piece := range [][]byte{msg[:cut], msg[cut:]} {
					s.Feed(piece)
					_, err := s.Next()
					require.Equal(t, ErrPartial, err)
				}
				require.Equal(t, c.silence, s.Silence())
				got, err := s.Flush()
				require.NoError(t, err)
				require.Equal(t, c.want, string(got))
				require.Zero(t, s.Silence())
				s.Feed(next)
				got, err = s.Next()
				require.NoError(t, err, "the next message is read as if nothing had been")
				require.Equal(t, `{"next":1}`, string(got))
			}
		})
	}
}

func TestSilence(t *testing.T) {
	key := vectorKey(t)
	object := key.AppendMessage(nil, []byte(`{"a":"0123456789012345678901234567890123456789"}`))
	require.Len(t, object, 80, "the object ends on the edge before a block of padding")
	s := NewSplitter(key, StrangerLimit)
	require.Zero(t, s.Silence(), "nothing to flush")
	for i := range len(object) - 1 {
		s.Feed(object[i : i+1])
		_, err := s.Next()
		require.Equal(t, ErrPartial, err)
		require.Equal(t, LongSilence, s.Silence(), "%d bytes of an object", i+1)
	}
	word := key.AppendMessage(nil, []byte("a word of more than one block"))
	s = NewSplitter(key, StrangerLimit)
	for i := range word {
		s.Feed(word[i : i+1])
		_, err := s.Next()
		require.Equal(t, ErrPartial, err)
		want := ShortSilence
		if i+1 < minMessage {
			want = LongSilence
		}
		require.Equal(t, want, s.Silence(), "%d bytes of a word", i+1)
	}
}

// TestUndecryptable: whatever is wrong, the result is the same to the bit, the
// buffer is empty, and the next message is read.
func TestUndecryptable(t *testing.T) {
	key := vectorKey(t)
	cases := map[string][]byte{
		"one byte":                       {1},
		"an IV":                          countingBytes(1, 16),
		"an IV and a part":               countingBytes(1, 31),
		"not whole blocks":               append(key.AppendMessage(nil, []byte("text")), 7),
		"a block lost":                   key.AppendMessage(nil, bytes.Repeat([]byte("0123456789abcdef"), 4))[:64],
		"under another key":              testKey(t, countingBytes(9, 32)).seal(nil, vectorIV, []byte(`{"a":1}`), 0),
		"random":                         streamOf(key, bytes.Repeat([]byte{0xfe, 0x3c, 0x11}, 64)),
		"not UTF-8":                      key.AppendMessage(nil, []byte("a\xffb")),
		"half a character":               key.AppendMessage(nil, []byte("日本")[:5]),
		"a word and an object, no pause": key.seal(key.seal(nil, vectorIV, []byte("word"), 0), nextVectorIV, []byte(`{}`), 0),
	}
	for last := range 256 {
		for same := 1; same <= 16; same++ {
			block := bytes.Repeat([]byte{'x'}, 16)
			copy(block[16-same:], bytes.Repeat([]byte{byte(last)}, same))
			if _, good := slowPadding(block); good == 0 {
				name := "padding " + hex.EncodeToString(block)
				cases[name] = streamOf(key, append(make([]byte, 16), block...))
				cases[name+" behind an object"] = streamOf(key, append(append(make([]byte, 16), `{"a":"0123456"}x`...), block...))
			}
		}
	}
	for shows, msg := range cases {
		s := NewSplitter(key, StrangerLimit)
		s.Feed(msg)
		_, err := s.Next()
		require.Equal(t, ErrPartial, err, shows)
		require.NotZero(t, s.Silence(), shows)
		got, err := s.Flush()
		require.Nil(t, got, shows)
		require.True(t, err == ErrUndecryptable, shows) // the very same error
		require.Zero(t, s.Silence(), shows)
		s.Feed(key.AppendMessage(nil, []byte(`{"next":1}`)))
		got, err = s.Next()
		require.NoError(t, err, shows)
		require.Equal(t, `{"next":1}`, string(got), shows)
	}
}

func TestObjectThatIsNotUTF8(t *testing.T) {
	key := vectorKey(t)
	s := NewSplitter(key, StrangerLimit)
	s.Feed(key.AppendMessage(nil, []byte("{\"a\":\"\xff\"}")))
	s.Feed(key.AppendMessage(nil, []byte(`{}`)))
	got, err := s.Next()
	assert.Nil(t, got)
	assert.Equal(t, ErrUndecryptable, err)
	got, err = s.Next()
	require.NoError(t, err)
	assert.Equal(t, `{}`, string(got))
}

// jsonOfLen is an object of exactly n bytes.
func jsonOfLen(n int) []byte {
	text := append([]byte(`{"a":"`), bytes.Repeat([]byte{'x'}, n-8)...)
	return append(text, `"}`...)
}

func TestExactMultiplesOfTheSlice(t *testing.T) {
	key := vectorKey(t)
	for _, size := range []int{1008, 1024, 1040, 2048, 10 * 1024} {
		for n := size - 32; n < size-16; n++ {
			msg := key.seal(nil, vectorIV, jsonOfLen(n), 0)
			require.Len(t, msg, size)
			got := feedPieces(NewSplitter(key, StrangerLimit), bytes.Repeat(msg, 3), []byte{255})
			require.Equal(t, []outcome{{string(jsonOfLen(n)), nil}, {string(jsonOfLen(n)), nil}, {string(jsonOfLen(n)), nil}}, got)
		}
	}
}

func TestOneMebibyte(t *testing.T) {
	key := vectorKey(t)
	text := jsonOfLen(UserLimit - 17)
	msg := key.seal(nil, vectorIV, text, 0)
	require.Len(t, msg, UserLimit)
	for shows, size := range map[string]int{"a byte each": 1, "a slice each": 1024, "odd pieces": 1461, "at once": UserLimit} {
		t.Run(shows, func(t *testing.T) {
			s := NewSplitter(key, UserLimit)
			for i := 0; i < len(msg); i += size {
				_, err := s.Next()
				require.True(t, err == ErrPartial)
				s.Feed(msg[i:min(i+size, len(msg))])
			}
			got, err := s.Next()
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, got))
			s.Feed(msg[:1])
			assert.LessOrEqual(t, cap(s.buf), keptSplitter, "the room of a large message is given back")
		})
	}
}

func TestLimit(t *testing.T) {
	key := vectorKey(t)
	fits := key.seal(nil, vectorIV, jsonOfLen(StrangerLimit-17), 0)
	tooLong := key.seal(nil, vectorIV, jsonOfLen(StrangerLimit-1), 0)
	require.Len(t, fits, StrangerLimit)
	require.Len(t, tooLong, StrangerLimit+16)
	for _, cuts := range [][]byte{nil, {1}, {200, 3}} {
		got := feedPieces(NewSplitter(key, StrangerLimit), append(bytes.Clone(fits), tooLong...), cuts)
		require.Equal(t, []outcome{{string(jsonOfLen(StrangerLimit - 17)), nil}, {"", ErrTooLong}}, got)
	}
	s := NewSplitter(key, StrangerLimit)
	s.Feed(append(bytes.Clone(fits), tooLong...))
	_, err := s.Next()
	require.NoError(t, err)
	_, err = s.Next()
	require.Equal(t, ErrTooLong, err)
	_, err = s.Next()
	require.Equal(t, ErrTooLong, err, "for good")
	s.SetLimit(UserLimit)
	got, err := s.Next()
	require.NoError(t, err, "what a login sent ahead may be as long as it may after it")
	assert.Len(t, got, StrangerLimit-1)

	s = NewSplitter(key, StrangerLimit)
	s.Feed(make([]byte, StrangerLimit))
	_, err = s.Next()
	require.Equal(t, ErrPartial, err)
	s.Feed([]byte{0})
	_, err = s.Next()
	require.Equal(t, ErrTooLong, err)
	_, err = s.Flush()
	require.Equal(t, ErrTooLong, err)
}

func TestTextsOfOneFeedStandTogether(t *testing.T) {
	key := vectorKey(t)
	s := NewSplitter(key, StrangerLimit)
	s.Feed(append(key.AppendMessage(nil, []byte(`{"a":1}`)), key.AppendMessage(nil, []byte(`{"b":2}`))...))
	first, err := s.Next()
	require.NoError(t, err)
	second, err := s.Next()
	require.NoError(t, err)
	_ = append(first, "no room behind it to write to"...)
	assert.Equal(t, `{"a":1}`, string(first))
	assert.Equal(t, `{"b":2}`, string(second))
}

// randomObject is an object of what is hard about finding its end.
func randomObject(rnd *rand.Rand) []byte {
	bits := []string{`{`, `}`, `[`, `]`, `\"`, `\\`, `\u007d`, ` `, `x`, `ä`, `日`, `🎉`, `:`, `,`}
	inside := func(n int) string {
		var b strings.Builder
		for range rnd.IntN(n) {
			b.WriteString(bits[rnd.IntN(len(bits))])
		}
		return b.String()
	}
	object := `{"` + inside(20) + `":"` + inside(1+rnd.IntN(2000)) + `"}`
	for range rnd.IntN(4) {
		object = `{"` + inside(8) + `":[` + object + ",{}]}"
	}
	return []byte(object)
}

func TestRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		raw := make([]byte, []int{16, 24, 32}[round%3])
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		key := testKey(t, raw)
		var stream []byte
		var want []outcome
		for range 1 + rnd.IntN(6) {
			text := randomObject(rnd)
			require.True(t, json.Valid(text))
			want = append(want, outcome{string(text), nil})
			stream = key.seal(stream, freshIV(), text, 0)
		}
		cuts := make([]byte, 1+rnd.IntN(9))
		for i := range cuts {
			cuts[i] = byte(rnd.Uint32())
		}
		require.Equal(t, want, feedPieces(NewSplitter(key, StrangerLimit), stream, cuts), "cuts %v", cuts)
	}
}

func FuzzSplitter(f *testing.F) {
	key := vectorKey(f)
	slot := strings.Repeat("i", 16) // of an IV
	f.Add([]byte(slot+"{\"code\": 0}\x05\x05\x05\x05\x05"+slot+`{"a":"}\""}`+"\x05\x05\x05\x05\x05"), []byte{1}, uint16(500))
	f.Add([]byte(slot+`{"edge":"12345"}`+strings.Repeat("\x10", 16)+slot+"{}"), []byte{3, 0, 16}, uint16(500))
	f.Add([]byte(slot+"hello\r\n"+strings.Repeat("\x09", 9)), []byte{31, 1}, uint16(500))
	f.Add([]byte(slot+"{\"a\":1}\r\n\x07\x07\x07\x07\x07\x07\x07"), []byte{}, uint16(500))
	f.Add([]byte(slot+"{\"a\":\"\xff\"}\x06\x06\x06\x06\x06\x06"+slot+"{}"), []byte{17}, uint16(500))
	f.Add([]byte(slot+`{"a":"0123456789012345678`), []byte{16}, uint16(47))
	f.Fuzz(func(t *testing.T, plain, cuts []byte, limit uint16) {
		// The fuzzer chooses what the stream decrypts to: random ciphertext
		// would never be a brace where it matters.
		stream := streamOf(key, plain)
		want, rest := slowSplit(key, stream, int(limit))
		require.Equal(t, want, feedPieces(NewSplitter(key, int(limit)), stream, nil))
		require.Equal(t, want, feedPieces(NewSplitter(key, int(limit)), stream, cuts))

		s := NewSplitter(key, int(limit))
		s.Feed(stream)
		_, last := drainSplitter(s)
		if text := slowText(key, rest); last == ErrPartial {
			first := bytes.TrimLeft(text, " \t\r\n")
			switch {
			case len(rest) == 0:
				require.Zero(t, s.Silence())
			case len(rest) < 32, jsonPrefix(text):
				require.Equal(t, LongSilence, s.Silence(), "%q", text)
			case len(first) > 0 && first[0] != '{':
				require.Equal(t, ShortSilence, s.Silence(), "%q", text)
			default:
				require.NotZero(t, s.Silence())
			}
		}
	})
}

// BenchmarkSplitMebibyte decodes a message of 1 MiB that comes in slices.
func BenchmarkSplitMebibyte(b *testing.B) {
	key := vectorKey(b)
	msg := key.seal(nil, vectorIV, jsonOfLen(UserLimit-17), 0)
	s := NewSplitter(key, UserLimit)
	b.SetBytes(UserLimit)
	b.ReportAllocs()
	for b.Loop() {
		for i := 0; i < len(msg); i += SliceSize {
			if _, err := s.Next(); err != ErrPartial {
				b.Fatal(err)
			}
			s.Feed(msg[i : i+SliceSize])
		}
		if text, err := s.Next(); err != nil || len(text) != UserLimit-17 {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	key := vectorKey(b)
	text := jsonOfLen(10_000)
	var dst []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		dst = key.AppendMessage(dst[:0], text)
	}
}
