package actions

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

func TestCRCJoin(t *testing.T) {
	data := random(1 << 16)
	whole := crc32.Checksum(data, castagnoli)
	for _, cut := range []int{0, 1, 2, 3, 7, 8, 9, 255, 256, 4095, 1 << 15, 1<<16 - 1, 1 << 16} {
		a, b := crc32.Checksum(data[:cut], castagnoli), crc32.Checksum(data[cut:], castagnoli)
		assert.Equal(t, whole, crcJoin(a, b, int64(len(data)-cut)), "cut at %d", cut)
	}
	assert.Equal(t, whole, crcJoin(whole, 0, 0))
	// Lengths that nobody wants to have in memory: zeros, doubled.
	zeros := crc32.Checksum(make([]byte, 1<<20), castagnoli)
	want, n := zeros, int64(1<<20)
	for range 22 { // to 2^42
		next := crcJoin(want, want, n)
		assert.Equal(t, next, crcJoin(crcJoin(want, zeros, 1<<20), crcZeros(n-1<<20), n-1<<20), "%d zeros", 2*n)
		want, n = next, 2*n
	}
}

// crcZeros is the CRC-32C of n zeros, a byte at a time by squaring.
func crcZeros(n int64) uint32 {
	if n == 0 {
		return 0
	}
	half := crcZeros(n / 2)
	sum := crcJoin(half, half, n/2)
	if n%2 == 1 {
		sum = crc32.Update(sum, castagnoli, []byte{0})
	}
	return sum
}

// Whatever the pieces a file is written in, and their order, what is recorded of
// them is what reading it from front to back would give.
func TestPartsAreWhatReadingGives(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		data := random(1 + rnd.IntN(5000))
		var parts []part
		var want sessions.Set
		for at := int64(0); at < int64(len(data)); {
			n := min(1+rnd.Int64N(300), int64(len(data))-at)
			if r := (sessions.Range{at, at + n}); rnd.IntN(4) > 0 {
				want.Add(r)
				parts = append(parts, partOf(r, data[r[0]:r[1]]))
			}
			at += n
		}
		inOrder := rnd.IntN(2) == 0
		if !inOrder {
			rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		}
		var followed []part
		for _, p := range parts {
			followed = follow(followed, p)
		}
		if inOrder {
			require.Len(t, followed, len(want.Ranges()))
		}
		ranges, crc := rangesOf(joined(followed))
		require.Equal(t, len(want.Ranges()), len(ranges))
		var read []byte
		for i, r := range want.Ranges() {
			require.Equal(t, r, ranges[i])
			read = append(read, data[r[0]:r[1]]...)
		}
		require.Equal(t, crc32.Checksum(read, castagnoli), crc)
	}
}
