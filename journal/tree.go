package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
)

// Hash is a hash of the Merkle tree.
type Hash [32]byte

// String gives the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Head is the state of a journal: the number of its records, and the RFC 6962
// root over them.
type Head struct {
	Size uint64
	Root Hash
}

// hasher hashes leaves and nodes without allocating. Not for concurrent use.
type hasher struct {
	leafBuf []byte
	nodeBuf [1 + 2*len(Hash{})]byte
}

func (h *hasher) leaf(line []byte) Hash {
	h.leafBuf = append(append(h.leafBuf[:0], 0), line...)
	return sha256.Sum256(h.leafBuf)
}

func (h *hasher) node(l, r *Hash) Hash {
	h.nodeBuf[0] = 1
	copy(h.nodeBuf[1:], l[:])
	copy(h.nodeBuf[1+len(l):], r[:])
	return sha256.Sum256(h.nodeBuf[:])
}

// Tree computes the root over lines that are given to it one by one. It holds
// the compact frontier: the roots of the full subtrees that make up its
// records, at most one of every height.
type Tree struct {
	size  uint64
	peaks [64]Hash // peaks[l] counts if bit l of size is set
	hash  hasher
}

// NewTree gives the tree of no lines.
func NewTree() *Tree { return &Tree{} }

// Append adds the next line, which has no newline.
func (t *Tree) Append(line []byte) { t.push(0, t.hash.leaf(line)) }

// Head gives the number of lines so far and the root over them.
func (t *Tree) Head() Head {
	if t.size == 0 {
		return Head{Root: sha256.Sum256(nil)}
	}
	rest := t.size
	l := bits.TrailingZeros64(rest)
	root := t.peaks[l]
	for rest &= rest - 1; rest != 0; rest &= rest - 1 {
		root = t.hash.node(&t.peaks[bits.TrailingZeros64(rest)], &root)
	}
	return Head{Size: t.size, Root: root}
}

// push adds the root h of a full subtree of 2^level lines; size must be a
// multiple of that. If this fills a tile of leaf hashes, or h is the root of
// one, it gives the tile's root.
func (t *Tree) push(level int, h Hash) (tile Hash, filled bool) {
	size := t.size
	t.size += 1 << level
	for ; ; level++ {
		if level == tileLevel {
			tile, filled = h, true
		}
		if size>>level&1 == 0 {
			t.peaks[level] = h
			return tile, filled
		}
		h = t.hash.node(&t.peaks[level], &h)
	}
}

// frontier appends the peaks to dst, the largest first.
func (t *Tree) frontier(dst []byte) []byte {
	for l := 63; l >= 0; l-- {
		if t.size>>l&1 == 1 {
			dst = append(dst, t.peaks[l][:]...)
		}
	}
	return dst
}

// treeFrom gives the tree of size lines whose frontier is given; false if
// their number does not fit.
func treeFrom(size uint64, frontier []byte) (*Tree, bool) {
	t := &Tree{size: size}
	if len(frontier) != bits.OnesCount64(size)*len(Hash{}) {
		return nil, false
	}
	for l := 63; l >= 0; l-- {
		if size>>l&1 == 1 {
			frontier = frontier[copy(t.peaks[l][:], frontier):]
		}
	}
	return t, true
}

// tileRoot gives the root over the 256 hashes of a full tile.
func (h *hasher) tileRoot(tile []byte) Hash {
	var row [tileWidth / 2]Hash
	const node = 2 * len(Hash{})
	for i := range row {
		h.nodeBuf[0] = 1
		copy(h.nodeBuf[1:], tile[i*node:(i+1)*node])
		row[i] = sha256.Sum256(h.nodeBuf[:])
	}
	for n := len(row) / 2; n > 0; n /= 2 {
		for i := range n {
			row[i] = h.node(&row[2*i], &row[2*i+1])
		}
	}
	return row[0]
}

// subtree gives the root over the hashes of a full subtree, 1 to 256.
func (h *hasher) subtree(hashes []byte) Hash {
	const size = len(Hash{})
	switch len(hashes) {
	case size:
		return Hash(hashes)
	case tileWidth * size:
		return h.tileRoot(hashes)
	}
	l, r := h.subtree(hashes[:len(hashes)/2]), h.subtree(hashes[len(hashes)/2:])
	return h.node(&l, &r)
}
