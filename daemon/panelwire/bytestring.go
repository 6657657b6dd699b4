package panelwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// errByteString is returned by DecodeByteString for what is no JSON string.
var errByteString = errors.New("not a JSON string")

// DecodeByteString appends to dst the bytes that a byte string carries
// (PROTOCOL.md §4): the big-endian bytes of the UTF-16 code units of literal,
// a JSON string with its quotes. Unpaired surrogates are data. The count is
// always even; whether the last byte is padding is for the caller to know.
// dst and literal must not overlap.
func DecodeByteString(dst, literal []byte) ([]byte, error) {
	if len(literal) < 2 || literal[0] != '"' {
		return dst, errByteString
	}
	if end, ok := stringEnd(literal, 1); !ok || end != len(literal)-1 {
		return dst, errByteString
	}
	src := literal[1 : len(literal)-1]
	n, o := unitBytes(src), len(dst)
	dst = slices.Grow(dst, n)[:o+n]
	decodeUnits(dst, o, src, 0, false)
	return dst, nil
}

// decodeInPlace is DecodeByteString for the inside of a string that has been
// scanned, decoding it over itself: every unit but a plain ASCII character is
// at most as long decoded as encoded, so only text that is mostly ASCII needs
// memory of its own.
func decodeInPlace(src []byte) []byte {
	o, i := decodeUnits(src, 0, src, 0, true)
	if i == len(src) {
		return src[:o]
	}
	out := make([]byte, o+unitBytes(src[i:]))
	copy(out, src[:o])
	decodeUnits(out, o, src, i, false)
	return out
}

// scanInPlace scans and decodes in one pass the string whose content begins at
// i: stringEnd and decodeInPlace, for twice the speed of one after the other.
// The literal is overwritten even if it turns out not to be one.
func scanInPlace(b []byte, i int) (data []byte, end int, ok bool) {
	start, o := i, i
	for i < len(b) {
		for len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			if w&threesMask == threes && goodThree(w) && goodThree(w>>24) {
				r := bits.ReverseBytes64(w)
				binary.BigEndian.PutUint32(b[o:], unit3(r>>40)<<16|unit3(r>>16))
				i, o = i+6, o+4
				continue
			}
			// The three kinds that random bytes make beside pairs of these.
			if w&threeMask == three && goodThree(w) {
				binary.BigEndian.PutUint16(b[o:], uint16(w)<<12|uint16(w>>8&0x3f)<<6|uint16(w>>16&0x3f))
				i, o = i+3, o+2
			} else if w&0xc0e0 == 0x80c0 && w&0x1e != 0 {
				binary.BigEndian.PutUint16(b[o:], uint16(w&0x1f)<<6|uint16(w>>8&0x3f))
				i, o = i+2, o+2
			} else if u, ok := escaped(w); ok {
				binary.BigEndian.PutUint16(b[o:], u)
				i, o = i+6, o+2
			} else {
				break
			}
		}
		if i == len(b) {
			break
		}
		if b[i] == '"' {
			return b[start:o], i, true
		}
		n := unitLen(b[i:])
		if n == 0 {
			return nil, i, false
		}
		if n == 1 && o+2 > i+1 {
			return scanSpilled(b, start, o, i)
		}
		o, _ = decodeUnits(b, o, b[:i+n], i, true)
		i += n
	}
	return nil, i, false
}

// escaped decodes a \uXXXX in the low bytes of w, if that is what they are.
func escaped(w uint64) (u uint16, ok bool) {
	h1, h2, h3, h4 := unhex[byte(w>>16)], unhex[byte(w>>24)], unhex[byte(w>>32)], unhex[byte(w>>40)]
	return uint16(h1)<<12 | uint16(h2)<<8 | uint16(h3)<<4 | uint16(h4), uint16(w) == 'u'<<8|'\\' && h1|h2|h3|h4 < 16
}

// scanSpilled goes on where scanInPlace has no room left, before a plain ASCII
// character at i; b[start:o] is decoded.
func scanSpilled(b []byte, start, o, i int) (data []byte, end int, ok bool) {
	if end, ok = stringEnd(b, i); !ok {
		return nil, end, false
	}
	rest := b[i:end]
	data = make([]byte, o-start+unitBytes(rest))
	decodeUnits(data, copy(data, b[start:o]), rest, 0, false)
	return data, end, true
}

// decodeUnits decodes src from i on and writes to out from o on. src has been
// scanned, so its sequences and escapes are whole and good. With over, out is
// src itself, and decoding stops before a unit that would overwrite what has
// not been read; without, out has room for all.
func decodeUnits(out []byte, o int, src []byte, i int, over bool) (newO, newI int) {
	for i < len(src) {
		for len(src)-i >= 8 {
			w := binary.LittleEndian.Uint64(src[i:])
			if w&threesMask != threes {
				break
			}
			r := bits.ReverseBytes64(w)
			binary.BigEndian.PutUint32(out[o:], unit3(r>>40)<<16|unit3(r>>16))
			i, o = i+6, o+4
		}
		if i == len(src) {
			break
		}
		switch c := src[i]; {
		case c == '\\':
			u, n := unescape(src[i:])
			binary.BigEndian.PutUint16(out[o:], u)
			i, o = i+n, o+2
		case c < 0x80:
			if over && o+2 > i+1 {
				return o, i
			}
			out[o], out[o+1] = 0, c
			i, o = i+1, o+2
		case c < 0xe0:
			binary.BigEndian.PutUint16(out[o:], uint16(c&0x1f)<<6|uint16(src[i+1]&0x3f))
			i, o = i+2, o+2
		case c < 0xf0:
			binary.BigEndian.PutUint16(out[o:], uint16(c)<<12|uint16(src[i+1]&0x3f)<<6|uint16(src[i+2]&0x3f))
			i, o = i+3, o+2
		default:
			r := uint32(c&7)<<18 | uint32(src[i+1]&0x3f)<<12 | uint32(src[i+2]&0x3f)<<6 | uint32(src[i+3]&0x3f)
			r -= 0x10000
			binary.BigEndian.PutUint32(out[o:], (0xd800|r>>10)<<16|0xdc00|r&0x3ff)
			i, o = i+4, o+4
		}
	}
	return o, i
}

// unit3 decodes the three-byte sequence in the low bits of w.
func unit3(w uint64) uint32 {
	return uint32(w>>4&0xf000 | w>>2&0x0fc0 | w&0x3f)
}

// unescape decodes the escape b begins with, which is good; n is its length.
func unescape(b []byte) (u uint16, n int) {
	switch c := b[1]; c {
	case 'u':
		return uint16(unhex[b[2]])<<12 | uint16(unhex[b[3]])<<8 | uint16(unhex[b[4]])<<4 | uint16(unhex[b[5]]), 6
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	default: // stands for itself: " \ /
		return uint16(c), 2
	}
}

// unitBytes counts what decodeUnits makes of src.
func unitBytes(src []byte) int {
	n := 0
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return n + 2*countUnits(src)
		}
		n += 2*countUnits(src[:i]) + 2
		_, skip := unescape(src[i:])
		src = src[i+skip:]
	}
	return n
}

// countUnits counts UTF-16 code units: one for each byte that begins a
// sequence, one more for each that begins one of four.
func countUnits(src []byte) int {
	n := 0
	for len(src) >= 8 {
		w := binary.LittleEndian.Uint64(src)
		follows := w & ^(w << 1) & highs
		four := w & (w << 1) & (w << 2) & (w << 3) & highs
		n += 8 - bits.OnesCount64(follows) + bits.OnesCount64(four)
		src = src[8:]
	}
	for _, c := range src {
		if c&0xc0 != 0x80 {
			n++
		}
		if c >= 0xf0 {
			n++
		}
	}
	return n
}
