package journal

import "io"

// node gives the root of the full subtree n of a level below 16, which must lie
// in the segment whose tile is given. Below level 8 the lines are read, and
// must fit the tile.
func (a *Archive) node(level int, n uint64, tile []byte) (Hash, error) {
	first := segmentOf(n << level)
	const size = len(Hash{})
	row, width := tile, 1<<level>>tileLevel*size
	if level < tileLevel {
		leaves, err := a.leafHashes(first, tile)
		if err != nil {
			return Hash{}, err
		}
		row, width = leaves, 1<<level*size
	}
	at := int(n-first>>level) * width
	return new(hasher).subtree(row[at : at+width]), nil
}

// leafHashes gives the hashes of all lines of a segment, not to be changed.
func (a *Archive) leafHashes(first uint64, tile []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaves != nil && a.leavesOf == first {
		return a.leaves, nil
	}
	s, err := openArchivedLines(a.path(first, archiveLines), first)
	if err != nil {
		return nil, err
	}
	defer s.close()
	const size = tileWidth * len(Hash{})
	leaves := make([]byte, 0, SegmentRecords*len(Hash{}))
	var h hasher
	for {
		line, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		leaf := h.leaf(line)
		if leaves = append(leaves, leaf[:]...); len(leaves)%size != 0 {
			continue
		}
		at := len(leaves)/size - 1
		if root := h.tileRoot(leaves[at*size:]); root != Hash(tile[at*len(root):]) {
			return nil, damaged(s.name, s.seq-tileWidth, s.seq-1, "the root of the tile differs from the one in the level-1 tile")
		}
	}
	a.leavesOf, a.leaves = first, leaves
	return leaves, nil
}
