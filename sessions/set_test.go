package sessions

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bitmap is a Set done the slow and obvious way.
type bitmap []bool

func (b bitmap) fill(r Range, v bool) {
	for i := r[0]; i < r[1]; i++ {
		b[i] = v
	}
}

// runs returns the runs of v within r.
func (b bitmap) runs(r Range, v bool) []Range {
	var out []Range
	for i := r[0]; i < r[1]; i++ {
		if b[i] != v {
			continue
		}
		if n := len(out); n > 0 && out[n-1][1] == i {
			out[n-1][1]++
		} else {
			out = append(out, Range{i, i + 1})
		}
	}
	return out
}

func (b bitmap) all() Range { return Range{0, int64(len(b))} }

// gaps counts runs of what is missing from the first size bytes; before the
// last byte present if size is negative.
func (b bitmap) gaps(size int64) int {
	if size < 0 {
		size = 0
		for _, r := range b.runs(b.all(), true) {
			size = r[1]
		}
	}
	return len(b.runs(Range{0, size}, false))
}

func TestSetIsABitmap(t *testing.T) {
	const size = 96
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		some := func() Range {
			a, b := rng.Int64N(size+1), rng.Int64N(size+1)
			if rng.IntN(4) > 0 { // mostly short ones, or it is full at once
				b = min(size, a+rng.Int64N(6))
			}
			return Range{min(a, b), max(a, b)}
		}
		var s Set
		bits := make(bitmap, size)
		for step := range 300 {
			before := s.Clone()
			kept := append([]Range(nil), before.Ranges()...)
			switch r := some(); rng.IntN(5) {
			case 0, 1:
				s.Add(r)
				bits.fill(r, true)
			case 2, 3:
				s.Remove(r)
				bits.fill(r, false)
			default:
				for _, o := range SetOf(some(), some(), some()).Ranges() {
					s.Add(o)
					bits.fill(o, true)
				}
			}
			want := bits.runs(bits.all(), true)
			require.Equal(t, want, append([]Range(nil), s.Ranges()...), "seed %d step %d", seed, step)
			require.Equal(t, kept, append([]Range(nil), before.Ranges()...), "a clone shares nothing")

			var sum, end, prefix int64
			for _, r := range want {
				sum, end = sum+r.Len(), r[1]
				if r[0] == 0 {
					prefix = r[1]
				}
			}
			require.Equal(t, sum, s.Len())
			require.Equal(t, end, s.End())
			require.Equal(t, prefix, s.Prefix())
			// Sizes that can follow: none below what is stored.
			for _, n := range []int64{-1, end, min(end+1, size), size} {
				require.Equal(t, bits.gaps(n), s.Gaps(n), "gaps of %v up to %d", want, n)
			}
			for range 4 {
				q := some()
				require.Equal(t, len(bits.runs(q, false)) == 0, s.Contains(q), "%v contains %v", want, q)
				require.Equal(t, bits.runs(q, true), s.Overlap(q), "%v overlap %v", want, q)
				missing := bits.runs(q, false)
				got, more := s.Missing(q, 0)
				require.Equal(t, missing, got, "%v missing of %v", want, q)
				require.False(t, more)
				limit := 1 + rng.IntN(3)
				got, more = s.Missing(q, limit)
				require.Equal(t, missing[:min(limit, len(missing))], got)
				require.Equal(t, len(missing) > limit, more)
			}
		}
	}
}

func TestSetOfTakesAnyOrder(t *testing.T) {
	s := SetOf(Range{8, 9}, Range{0, 2}, Range{5, 5}, Range{1, 4}, Range{7, 8}, Range{3, 1})
	assert.Equal(t, []Range{{0, 4}, {7, 9}}, s.Ranges())
}

func BenchmarkSetAddInOrder(b *testing.B) {
	var s Set
	for i := range int64(b.N) {
		s.Add(Range{i << 16, (i + 1) << 16})
	}
}
