package panelwire

import (
	"encoding/binary"
	"slices"
)

// encodeBlock is how many bytes AppendByteString encodes between two looks at
// the room it has: even, and few enough that the worst case, six bytes for
// two, is no waste.
const encodeBlock = 4 << 10

// AppendByteString appends b to dst as a byte string (PROTOCOL.md §4), a JSON
// string with its quotes: the inverse of DecodeByteString, except that an odd
// last byte gets a zero after it.
func AppendByteString(dst, b []byte) []byte {
	// What random bytes need. Blocks make room for anything worse.
	dst = slices.Grow(dst, len(b)+len(b)/2+len(b)/8+64)
	dst = append(dst, '"')
	even := len(b) &^ 1
	if even < len(b) && even > 0 && high(b[even-2]) {
		even -= 2 // the padded last byte may be its other half
	}
	for at := 0; at < even; {
		end := min(at+encodeBlock, even)
		if end < even && high(b[end-2]) && low(b[end]) {
			end += 2 // a pair is one character
		}
		dst = appendUnits(slices.Grow(dst, 3*(end-at)+8), b[at:end])
		at = end
	}
	if even < len(b) {
		var tail [4]byte
		n := copy(tail[:], b[even:]) + 1
		dst = appendUnits(slices.Grow(dst, 3*n+8), tail[:n])
	}
	return append(dst, '"')
}

// appendUnits encodes an even number of bytes; dst has room for three times as
// many and eight more, which the eight-byte stores may scribble on.
func appendUnits(dst, b []byte) []byte {
	o := len(dst)
	out := dst[:cap(dst)]
	for len(b) > 0 {
		for len(b) >= 4 {
			w := binary.BigEndian.Uint32(b)
			u, v := w>>16, w&0xffff
			if !isThree(u) || !isThree(v) {
				break
			}
			binary.LittleEndian.PutUint64(out[o:], utf8of3(u)|utf8of3(v)<<24)
			b, o = b[4:], o+6
		}
		if len(b) == 0 {
			break
		}
		u := uint32(b[0])<<8 | uint32(b[1])
		if high(b[0]) && len(b) >= 4 && low(b[2]) {
			r := 0x10000 + (u&0x3ff)<<10 + uint32(b[2]&3)<<8 + uint32(b[3])
			out[o], out[o+1], out[o+2], out[o+3] = 0xf0|byte(r>>18), 0x80|byte(r>>12&0x3f), 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f)
			b, o = b[4:], o+4
			continue
		}
		b = b[2:]
		switch {
		case isThree(u):
			out[o], out[o+1], out[o+2] = 0xe0|byte(u>>12), 0x80|byte(u>>6&0x3f), 0x80|byte(u&0x3f)
			o += 3
		case u < 0x20 || u >= 0x800:
			out[o], out[o+1] = '\\', 'u'
			out[o+2], out[o+3], out[o+4], out[o+5] = hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15]
			o += 6
		case u >= 0x80:
			out[o], out[o+1] = 0xc0|byte(u>>6), 0x80|byte(u&0x3f)
			o += 2
		case u == '"' || u == '\\':
			out[o], out[o+1] = '\\', byte(u)
			o += 2
		default:
			out[o] = byte(u)
			o++
		}
	}
	return out[:o]
}

// high and low tell the halves of a surrogate pair by the first byte.
func high(c byte) bool { return c&0xfc == 0xd8 }
func low(c byte) bool  { return c&0xfc == 0xdc }

const hexDigits = "0123456789abcdef"

// isThree reports whether u is written as three bytes: from 0x800, no surrogate.
func isThree(u uint32) bool { return u >= 0x800 && u-0xd800 >= 0x800 }

func utf8of3(u uint32) uint64 {
	return uint64(0x8080e0 | u>>12 | u<<2&0x3f00 | u<<16&0x3f0000)
}
