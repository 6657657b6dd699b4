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
//
// In random bytes one unit of sixteen is not three bytes long, and which one cannot
// be foreseen: so none is asked what it is. Only pairs are, which are rare.
func appendUnits(dst, b []byte) []byte {
	o := len(dst)
	out := dst[:cap(dst)]
	i := 0
	for i+8 <= len(b) {
		w := binary.BigEndian.Uint64(b[i : i+8 : i+8])
		if isPair(uint32(w>>32)) || isPair(uint32(w>>16)) {
			if !isPair(uint32(w >> 32)) {
				o += putUnit(out[o:o+8:o+8], w>>48)
				i += 2
				w <<= 16
			}
			o += putPair(out[o:], uint32(w>>32))
			i += 4
			continue
		}
		o += putUnit(out[o:o+8:o+8], w>>48)
		o += putUnit(out[o:o+8:o+8], w>>32&0xffff)
		i += 4
	}
	for i < len(b) {
		if i+4 <= len(b) && isPair(binary.BigEndian.Uint32(b[i:])) {
			o += putPair(out[o:], binary.BigEndian.Uint32(b[i:]))
			i += 4
			continue
		}
		o += putUnit(out[o:o+8:o+8], uint64(b[i])<<8|uint64(b[i+1]))
		i += 2
	}
	return out[:o]
}

// isPair reports whether two units are the halves of one character.
func isPair(uv uint32) bool { return uv&0xfc00fc00 == 0xd800dc00 }

// putPair writes a character of two units and returns its length.
func putPair(out []byte, uv uint32) int {
	r := 0x10000 + uv>>6&0xffc00 + uv&0x3ff
	out[0], out[1], out[2], out[3] = 0xf0|byte(r>>18), 0x80|byte(r>>12&0x3f), 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f)
	return 4
}

// putUnit writes a unit that is no half of a pair and returns its length; eight
// bytes are overwritten.
func putUnit(out []byte, u uint64) int {
	block := u >> 6 & 0x3ff
	e := units.lead[block] | units.tail[(uint64(units.at[block])|u&0x3f)&(unitTails-1)]
	binary.LittleEndian.PutUint64(out, e)
	return int(e >> 56)
}

// units says how a unit that is no half of a pair is written: the bytes, the first
// one lowest, and in the highest byte how many they are. Of 64 units each that are
// three bytes long lead has all but the last six bits, and all of them share a tail;
// of others, which are those below 0x800 and the surrogates, tail has everything.
var units = func() (t struct {
	lead [1 << 10]uint64
	at   [1 << 10]uint16 // where the tails of 64 units begin
	tail [unitTails]uint64
}) {
	entry := func(text ...byte) uint64 {
		var b [8]byte
		copy(b[:], text)
		b[7] = byte(len(text))
		return binary.LittleEndian.Uint64(b[:])
	}
	for u := range 64 {
		t.tail[u] = uint64(0x80|u) << 16
	}
	others := 64
	for block := range 1 << 10 {
		first := block << 6
		if first >= 0x800 && (first < 0xd800 || first >= 0xe000) {
			t.lead[block] = 3<<56 | uint64(0x80|first>>6&0x3f)<<8 | uint64(0xe0|first>>12)
			continue
		}
		t.at[block] = uint16(others)
		for u := first; u < first+64; u++ {
			e := &t.tail[others]
			others++
			switch {
			case u == '"' || u == '\\':
				*e = entry('\\', byte(u))
			case u < 0x20 || u >= 0x800:
				*e = entry('\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
			case u < 0x80:
				*e = entry(byte(u))
			default:
				*e = entry(0xc0|byte(u>>6), 0x80|byte(u&0x3f))
			}
		}
	}
	return t
}()

// unitTails is 64 for all units of three bytes and one each for the others, 0x1000,
// rounded up.
const unitTails = 1 << 13

// high and low tell the halves of a surrogate pair by the first byte.
func high(c byte) bool { return c&0xfc == 0xd8 }
func low(c byte) bool  { return c&0xfc == 0xdc }

const hexDigits = "0123456789abcdef"
