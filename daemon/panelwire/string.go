package panelwire

import "encoding/binary"

// Patterns for looking at eight bytes at once (little-endian loads).
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	// One, and two, three-byte UTF-8 sequences in the low bytes.
	threeMask  = 0xc0c0f0
	three      = 0x8080e0
	threesMask = threeMask<<24 | threeMask
	threes     = three<<24 | three
)

// stringEnd returns where the string whose content begins at i has its closing
// quote, having checked every byte before it; !ok: where it is malformed.
//
// The bytes of a chunk are nearly all three-byte sequences and those of base64
// or a path nearly all plain ASCII, so both have a loop of their own.
func stringEnd(b []byte, i int) (end int, ok bool) {
	for i < len(b) {
		for len(b)-i >= 32 {
			w := b[i : i+32 : i+32]
			if !plain4(binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:]),
				binary.LittleEndian.Uint64(w[16:]), binary.LittleEndian.Uint64(w[24:])) {
				break
			}
			i += 32
		}
		for len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			if w&threesMask == threes {
				if !goodThree(w) || !goodThree(w>>24) {
					break
				}
				i += 6
			} else if !plain(w) {
				break
			} else {
				i += 8
			}
		}
		if i == len(b) {
			break
		}
		if b[i] == '"' {
			return i, true
		}
		n := unitLen(b[i:])
		if n == 0 {
			return i, false
		}
		i += n
	}
	return i, false
}

// plain reports whether each byte of w stands for itself in a JSON string: it
// is ASCII, not below 0x20, no quote and no backslash.
func plain(w uint64) bool { return special(w)&highs == 0 }

// plain4 is plain of all of four.
func plain4(a, b, c, d uint64) bool {
	return (special(a)|special(b)|special(c)|special(d))&highs == 0
}

// special has a high bit where w is not plain: of the lowest such byte, at least.
func special(w uint64) uint64 {
	// A byte of 0..0x7f minus n has its high bit set iff it is below n; the
	// borrow can only reach a byte above one that is already a hit.
	return w | (w - ones*0x20) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)
}

// goodThree reports whether the three-byte sequence in the low bytes of w is
// neither overlong nor a surrogate, by the low bits of its first byte and the
// top value bit of the second: 0,0 would be overlong, d,1 a surrogate.
func goodThree(w uint64) bool { return w&0x200f != 0 && w&0x200f != 0x200d }

// unitLen returns the length of the first character or escape of b, which is
// not empty and does not begin with a quote; 0 if it is not valid.
func unitLen(b []byte) int {
	switch c := b[0]; {
	case c == '\\':
		return escapeLen(b)
	case c < 0x20:
		return 0
	case c < 0x80:
		return 1
	case c < 0xc2: // a continuation byte, or overlong
		return 0
	case c < 0xe0:
		if len(b) < 2 || b[1]&0xc0 != 0x80 {
			return 0
		}
		return 2
	case c < 0xf0:
		if len(b) < 3 || b[1]&0xc0 != 0x80 || b[2]&0xc0 != 0x80 ||
			c == 0xe0 && b[1] < 0xa0 || c == 0xed && b[1] >= 0xa0 {
			return 0
		}
		return 3
	case c < 0xf5:
		if len(b) < 4 || b[1]&0xc0 != 0x80 || b[2]&0xc0 != 0x80 || b[3]&0xc0 != 0x80 ||
			c == 0xf0 && b[1] < 0x90 || c == 0xf4 && b[1] >= 0x90 {
			return 0
		}
		return 4
	}
	return 0
}

func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && unhex[b[2]]|unhex[b[3]]|unhex[b[4]]|unhex[b[5]] < 16 {
			return 6
		}
	}
	return 0
}

// unhex maps a byte to the value of the hex digit it is, 0xff otherwise.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = byte(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = byte(10+i), byte(10+i)
	}
	return t
}()
