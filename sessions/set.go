package sessions

import "slices"

// Range is a run of bytes: from the first up to, not including, the second.
type Range [2]int64

// Len is the number of bytes in r.
func (r Range) Len() int64 { return r[1] - r[0] }

// Set is a set of byte offsets, kept as disjoint ranges in ascending order
// with a gap between any two. The zero value is the empty set. Methods that
// change it may share memory with earlier values: Clone first to keep one.
type Set struct{ ranges []Range }

// SetOf returns the set of all bytes in ranges, which may overlap and come in
// any order; empty ones are passed over.
func SetOf(ranges ...Range) Set {
	var s Set
	for _, r := range ranges {
		s.Add(r)
	}
	return s
}

// Clone returns a copy that shares nothing with s.
func (s Set) Clone() Set { return Set{slices.Clone(s.ranges)} }

// Ranges returns the ranges in ascending order. The caller must not change it.
func (s Set) Ranges() []Range { return s.ranges }

// Len is the number of distinct bytes in s.
func (s Set) Len() (n int64) {
	for _, r := range s.ranges {
		n += r.Len()
	}
	return n
}

// End is the offset after the highest byte in s, 0 if there is none.
func (s Set) End() int64 {
	if len(s.ranges) == 0 {
		return 0
	}
	return s.ranges[len(s.ranges)-1][1]
}

// Prefix is the length of the run of bytes in s that begins at offset 0.
func (s Set) Prefix() int64 {
	if len(s.ranges) == 0 || s.ranges[0][0] != 0 {
		return 0
	}
	return s.ranges[0][1]
}

// search returns the index of the first range that ends at or after off.
func (s Set) search(off int64) int {
	// Chunks mostly arrive in order: look at the end before searching.
	n := len(s.ranges)
	if n > 0 && s.ranges[n-1][0] <= off {
		if s.ranges[n-1][1] >= off {
			return n - 1
		}
		return n
	}
	i, _ := slices.BinarySearchFunc(s.ranges, off, func(r Range, off int64) int {
		if r[1] < off {
			return -1
		}
		return 1
	})
	return i
}

// Add puts the bytes of r into s.
func (s *Set) Add(r Range) {
	if r.Len() <= 0 {
		return
	}
	if n := len(s.ranges); n > 0 && s.ranges[n-1][1] == r[0] {
		s.ranges[n-1][1] = r[1] // what uploads do: go on at the end
		return
	}
	i := s.search(r[0])
	j := i
	for j < len(s.ranges) && s.ranges[j][0] <= r[1] {
		r[0] = min(r[0], s.ranges[j][0])
		r[1] = max(r[1], s.ranges[j][1])
		j++
	}
	s.ranges = slices.Replace(s.ranges, i, j, r)
}

// Remove takes the bytes of r out of s.
func (s *Set) Remove(r Range) {
	if r.Len() <= 0 {
		return
	}
	i := s.search(r[0])
	var left []Range
	j := i
	for j < len(s.ranges) && s.ranges[j][0] < r[1] {
		if s.ranges[j][0] < r[0] {
			left = append(left, Range{s.ranges[j][0], min(r[0], s.ranges[j][1])})
		}
		if s.ranges[j][1] > r[1] {
			left = append(left, Range{r[1], s.ranges[j][1]})
		}
		j++
	}
	s.ranges = slices.Replace(s.ranges, i, j, left...)
}

// Contains reports whether every byte of r is in s.
func (s Set) Contains(r Range) bool {
	if r.Len() <= 0 {
		return true
	}
	// search may land on a range that ends where r begins.
	for i := s.search(r[0]); i < len(s.ranges) && s.ranges[i][0] <= r[0]; i++ {
		if s.ranges[i][1] >= r[1] {
			return true
		}
	}
	return false
}

// Overlap returns the parts of r that are in s, ascending.
func (s Set) Overlap(r Range) []Range {
	var out []Range
	for i := s.search(r[0]); i < len(s.ranges) && s.ranges[i][0] < r[1]; i++ {
		p := Range{max(r[0], s.ranges[i][0]), min(r[1], s.ranges[i][1])}
		if p.Len() > 0 {
			out = append(out, p)
		}
	}
	return out
}

// Missing returns the parts of r that are not in s, ascending, at most limit
// of them (no limit if 0), and whether there are more.
func (s Set) Missing(r Range, limit int) (out []Range, more bool) {
	at := r[0]
	add := func(to int64) bool {
		if to <= at {
			return true
		}
		if limit > 0 && len(out) == limit {
			more = true
			return false
		}
		out = append(out, Range{at, to})
		return true
	}
	for i := s.search(r[0]); i < len(s.ranges) && s.ranges[i][0] < r[1]; i++ {
		if !add(s.ranges[i][0]) {
			return out, more
		}
		at = max(at, s.ranges[i][1])
	}
	add(r[1])
	return out, more
}

// Gaps is the number of ranges missing from [0,size); with size < 0, when
// the length is not known yet, those before the end of s.
func (s Set) Gaps(size int64) int {
	n := len(s.ranges)
	if n == 0 {
		if size <= 0 {
			return 0
		}
		return 1
	}
	gaps := n - 1
	if s.ranges[0][0] > 0 {
		gaps++
	}
	if size >= 0 && s.ranges[n-1][1] < size {
		gaps++
	}
	return gaps
}
