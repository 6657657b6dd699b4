package docwire

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Texts must be UTF-8, so what is not
// becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				dst = appendEscape(append(dst, s[from:i]...), c)
				from = i + 1
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(append(dst, s[from:i]...), "\ufffd"...)
			from = i + 1
		}
		i += n
	}
	return append(append(dst, s[from:]...), '"')
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

// appendText, appendInt, appendBool, appendTexts and appendRaw append one member
// with what stands before its value: comma, key and colon.
func appendText(dst []byte, key, v string) []byte { return appendString(append(dst, key...), v) }

func appendInt(dst []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(dst, key...), v, 10)
}

func appendBool(dst []byte, key string, v bool) []byte {
	return strconv.AppendBool(append(dst, key...), v)
}

func appendTexts(dst []byte, key string, list []string) []byte {
	dst = append(append(dst, key...), '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendRaw appends a document as it is kept, {} for none.
func appendRaw(dst []byte, key string, raw []byte) []byte {
	dst = append(dst, key...)
	if len(raw) == 0 {
		return append(dst, '{', '}')
	}
	return append(dst, raw...)
}

// appendOptional appends a text, null for none.
func appendOptional(dst []byte, key string, s *string) []byte {
	if s == nil {
		return append(append(dst, key...), "null"...)
	}
	return appendText(dst, key, *s)
}

// appendFloat appends seconds so that they read as a float in every language,
// with a point in them.
func appendFloat(dst []byte, key string, v float64) []byte {
	dst = append(dst, key...)
	if math.IsNaN(v) || math.IsInf(v, 0) { // which have no JSON
		v = 0
	}
	dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
	if v == math.Trunc(v) {
		dst = append(dst, '.', '0')
	}
	return dst
}

// appendInstant appends a time as unix seconds to the microsecond, with two
// decimals at least (CFMS.md §4.3).
func appendInstant(dst []byte, key string, t time.Time) []byte {
	dst = append(dst, key...)
	us := t.UnixMicro()
	if us < 0 {
		dst, us = append(dst, '-'), -us
	}
	dst = strconv.AppendInt(dst, us/1e6, 10)
	frac := strconv.AppendInt(nil, 1e6+us%1e6, 10) // the 1 keeps the zeros
	end := len(frac)
	for end > len("1")+2 && frac[end-1] == '0' {
		end--
	}
	return append(append(dst, '.'), frac[1:end]...)
}
