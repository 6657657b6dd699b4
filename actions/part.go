package actions

import (
	"cmp"
	"hash/crc32"
	"slices"

	"waybill/sessions"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part is bytes that have been written into a staged file: where, and the
// CRC-32C they had in memory.
type part struct {
	at  sessions.Range
	crc uint32
}

func partOf(at sessions.Range, data []byte) part { return part{at, crc32.Checksum(data, castagnoli)} }

// follow appends p to parts, as a part of the last one if it begins where that
// ends.
func follow(parts []part, p part) []part {
	if last := len(parts) - 1; last >= 0 && parts[last].at[1] == p.at[0] {
		parts[last] = part{sessions.Range{parts[last].at[0], p.at[1]}, crcJoin(parts[last].crc, p.crc, p.at.Len())}
		return parts
	}
	return append(parts, p)
}

// joined sorts parts, of which no two overlap, and joins those that adjoin.
func joined(parts []part) []part {
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.at[0], b.at[0]) })
	out := parts[:0]
	for _, p := range parts {
		out = follow(out, p)
	}
	return out
}

// meets reports whether r has bytes of any of parts.
func meets(parts []part, r sessions.Range) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.at[0] < r[1] && r[0] < p.at[1] })
}

// rangesOf is where parts are, and the CRC-32C of them all, one after the other.
func rangesOf(parts []part) (ranges []sessions.Range, crc uint32) {
	ranges = make([]sessions.Range, len(parts))
	for i, p := range parts {
		ranges[i] = p.at
		crc = crcJoin(crc, p.crc, p.at.Len())
	}
	return ranges, crc
}

// crcPowers holds x to the power of 2^k modulo the polynomial of CRC-32C, in its
// reflected form, where the highest bit is x^0.
var crcPowers = func() (p [63]uint32) {
	p[0] = 1 << 30 // x
	for k := 1; k < len(p); k++ {
		p[k] = crcMul(p[k-1], p[k-1])
	}
	return p
}()

// crcMul multiplies two polynomials modulo that of CRC-32C.
func crcMul(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 != 0 {
			product ^= b
		}
		low := b & 1
		b >>= 1
		if low != 0 {
			b ^= crc32.Castagnoli
		}
	}
	return product
}

// crcJoin is the CRC-32C of bytes whose CRC is a, followed by n ≥ 0 bytes whose
// CRC is b: a is multiplied by x^8n, as the register would be by the bits of
// zeros.
func crcJoin(a, b uint32, n int64) uint32 {
	for k := 3; n > 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			a = crcMul(crcPowers[k], a)
		}
	}
	return a ^ b
}
