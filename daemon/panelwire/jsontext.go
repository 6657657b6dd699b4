package panelwire

import (
	"bytes"
	"math"
	"unicode/utf16"
	"unicode/utf8"
)

// A literal is the raw text of one JSON value, scanned and so well formed; nil
// if absent.
type literal []byte

func (l literal) isNull() bool   { return len(l) == 4 && l[0] == 'n' }
func (l literal) isString() bool { return len(l) > 1 && l[0] == '"' }
func (l literal) isObject() bool { return len(l) > 1 && l[0] == '{' }

// inside returns a string literal without its quotes.
func (l literal) inside() []byte { return l[1 : len(l)-1] }

// orAbsent turns a null into nothing: it means absent everywhere.
func (l literal) orAbsent() literal {
	if l.isNull() {
		return nil
	}
	return l
}

// text decodes a string literal, aliasing it if it has no escape. whole is
// false if there was an unpaired surrogate, which becomes U+FFFD.
func (l literal) text() (s []byte, whole bool) {
	in := l.inside()
	i := bytes.IndexByte(in, '\\')
	if i < 0 {
		return in, true
	}
	out, whole := make([]byte, 0, len(in)), true
	for ; i >= 0; i = bytes.IndexByte(in, '\\') {
		out = append(out, in[:i]...)
		u, n := unescape(in[i:])
		in = in[i+n:]
		r := rune(u)
		if utf16.IsSurrogate(r) {
			r = utf8.RuneError
			if len(in) >= 6 && in[0] == '\\' && in[1] == 'u' {
				v, n := unescape(in)
				if pair := utf16.DecodeRune(rune(u), rune(v)); pair != utf8.RuneError {
					r, in = pair, in[n:]
				}
			}
			whole = whole && r != utf8.RuneError
		}
		out = utf8.AppendRune(out, r)
	}
	return append(out, in...), whole
}

// string decodes a string literal, "" if it is none.
func (l literal) string() string {
	if !l.isString() {
		return ""
	}
	b, _ := l.text()
	return string(b)
}

// numberKind tells what an integer was wanted from.
type numberKind int

const (
	notInteger  numberKind = iota // another type, a fraction or an exponent
	integer                       // fits int64
	belowInt64                    // an integer below it
	beyondInt64                   // an integer above it
)

// integer reads a JSON integer.
func (l literal) integer() (int64, numberKind) {
	digits, negative := []byte(l), false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, notInteger
		}
	}
	if len(digits) == 0 {
		return 0, notInteger
	}
	v, ok := decimal(digits)
	switch {
	case ok && negative:
		return -v, integer
	case ok:
		return v, integer
	case negative && string(digits) == "9223372036854775808":
		return math.MinInt64, integer
	case negative:
		return 0, belowInt64
	}
	return 0, beyondInt64
}

// decimal reads digits, of which there must be one; !ok beyond int64.
func decimal(digits []byte) (v int64, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' || v > (math.MaxInt64-int64(c-'0'))/10 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, len(digits) > 0
}

// appendString appends s as a JSON string. Text frames must be valid UTF-8, so
// what is not becomes U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			dst = appendEscape(dst, c)
			i++
			from = i
			continue
		}
		n := sequenceLen(s, i)
		if n == 0 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			from = i
			continue
		}
		i += n
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// sequenceLen returns the length of the valid sequence at s[i], or 0.
func sequenceLen[T string | []byte](s T, i int) int {
	var room [utf8.UTFMax]byte
	r, n := utf8.DecodeRune(room[:copy(room[:], s[i:])])
	if r == utf8.RuneError && n <= 1 {
		return 0
	}
	return n
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
