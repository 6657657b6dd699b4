package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// node names the root of a full subtree: of the 2^level records from number
// n·2^level on.
type node struct {
	level int
	n     uint64
}

// ReadHashes makes Log a tlog.HashReader: it gives hashes of the tree by their
// stored hash index, as tlog.StoredHashIndex counts them. ErrBeyond comes for a
// subtree that is not wholly committed, ErrPruned for one that is smaller than
// a segment and stands before First. Many goroutines may read at once, and
// while Append and Prune run.
func (l *Log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	r := l.nodeReader()
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 {
			return nil, fmt.Errorf("hash %d of the tree: there is none", index)
		}
		// Before it is split, which never ends for a very large one.
		if index >= tlog.StoredHashCount(int64(r.head.Size)) {
			return nil, fmt.Errorf("hash %d of the tree: %w: the journal has %d records", index, ErrBeyond, r.head.Size)
		}
		level, n := tlog.SplitStoredHashIndex(index)
		h, err := r.hashOf(node{level, uint64(n)})
		if err != nil {
			return nil, fmt.Errorf("hash %d of level %d: %w", n, level, err)
		}
		hashes[i] = tlog.Hash(h)
	}
	return hashes, nil
}

// Tile gives the first width hashes, 1 to 256, of a tile of the tree, one after
// the other: those of level 8·level from number 256·n on, as C2SP tlog-tiles
// has them. ErrBeyond comes when not all are committed. Those of level 0 and 1
// go with their segment (ErrPruned), the others stay.
func (l *Log) Tile(level int, n uint64, width int) ([]byte, error) {
	r := l.nodeReader()
	if level < 0 || width < 1 || width > tileWidth {
		return nil, fmt.Errorf("tile of level %d, width %d: there is none", level, width)
	}
	if err := r.reaches(tileLevel*level, n, width); err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
	}
	if level < 2 {
		t, err := r.tile(level, n)
		if err != nil {
			return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
		}
		return bytes.Clone(t[:width*len(Hash{})]), nil
	}
	t := make([]byte, 0, width*len(Hash{}))
	for i := range uint64(width) {
		h, err := r.high(node{tileLevel * level, n*tileWidth + i})
		if err != nil {
			return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
		}
		t = append(t, h[:]...)
	}
	return t, nil
}

// Bundle gives the first width lines, 1 to 256, from number 256·n on as an
// entry bundle of C2SP tlog-tiles: before each line its length, 2 bytes. At
// most it has 256 times MaxLine+2 bytes. Errors as those of Tile.
func (l *Log) Bundle(n uint64, width int) ([]byte, error) {
	r := l.nodeReader()
	if width < 1 || width > tileWidth {
		return nil, fmt.Errorf("entry bundle of width %d: there is none", width)
	}
	if err := r.reaches(0, n, width); err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", n, err)
	}
	var (
		b []byte
		c lines
	)
	for at, to := n*tileWidth, n*tileWidth+uint64(width); at < to; at += uint64(len(c.ends)) {
		if err := l.copyLines(&c, at, to); err != nil {
			return nil, fmt.Errorf("entry bundle %d: %w", n, err)
		}
		for i := range c.ends {
			b = binary.BigEndian.AppendUint16(b, uint16(len(c.line(i)))) // at most MaxLine
			b = append(b, c.line(i)...)
		}
	}
	return b, nil
}

// nodeReader reads hashes of the tree as it is at one moment. No transaction
// is open between its calls.
type nodeReader struct {
	log *Log
	edge
	hash  hasher
	index [2]uint64 // of the tiles of level 0 and 1 that were read last
	tiles [2][]byte
}

func (l *Log) nodeReader() *nodeReader { return &nodeReader{log: l, edge: l.at()} }

// reaches says ErrBeyond unless width hashes of a level, from number n·256 on,
// are committed.
func (r *nodeReader) reaches(level int, n uint64, width int) error {
	have := r.head.Size >> level
	if n > have/tileWidth || n*tileWidth+uint64(width) > have {
		return fmt.Errorf("%w: the journal has %d records", ErrBeyond, r.head.Size)
	}
	return nil
}

// hashOf gives the hash of any node that is committed.
func (r *nodeReader) hashOf(at node) (Hash, error) {
	if at.level >= segmentLevel {
		return r.high(at)
	}
	tile := at.level / tileLevel
	first := at.n << (at.level % tileLevel) // in hashes of the tile's level
	t, err := r.tile(tile, first/tileWidth)
	if err != nil {
		return Hash{}, err
	}
	from := int(first%tileWidth) * len(Hash{})
	return r.hash.subtree(t[from : from+len(Hash{})<<(at.level%tileLevel)]), nil
}

// tile gives the hashes of a tile of level 0 or 1 that are committed. They
// must not be changed.
func (r *nodeReader) tile(level int, index uint64) ([]byte, error) {
	if r.tiles[level] != nil && r.index[level] == index {
		return r.tiles[level], nil
	}
	first := index << (tileLevel * (level + 1))
	var t []byte
	switch {
	case level == 0 && first+tileWidth > r.head.Size:
		t = r.leaves
	case level == 1 && first == r.active:
		t = r.roots
	default:
		seg, err := r.log.shelf.take(segmentOf(first))
		if err != nil {
			return nil, err
		}
		defer r.log.shelf.give(seg)
		err = seg.view(func(tx *bolt.Tx) error {
			stored, err := seg.tile(tx, byte(level), index)
			t = bytes.Clone(stored)
			return err
		})
		if err != nil {
			return nil, notOpen(err)
		}
	}
	r.index[level], r.tiles[level] = index, t
	return t, nil
}

// high gives the hash of a full segment, or of what is above it. It is kept:
// Prune sees to it that those of the segments are, before they go.
func (r *nodeReader) high(at node) (Hash, error) {
	if h, ok := r.log.known(at); ok {
		return h, nil
	}
	h, err := r.readHigh(at)
	if err == nil {
		r.log.keep(at, h)
	} else if errors.Is(err, ErrPruned) {
		if h, ok := r.log.known(at); ok {
			return h, nil // pruned since it was looked for
		}
	}
	return h, err
}

func (r *nodeReader) readHigh(at node) (Hash, error) {
	if at.level == segmentLevel {
		t, err := r.tile(1, at.n)
		if err != nil {
			return Hash{}, err
		}
		return r.hash.tileRoot(t), nil
	}
	// A left child is a peak of what comes before the segment after it: one
	// file to open instead of all that the child covers.
	if next := (at.n + 1) << at.level; at.n%2 == 0 && next <= r.active {
		h, err := r.log.peak(next, at.level)
		if !errors.Is(err, ErrPruned) {
			return h, err
		}
	}
	left, err := r.high(node{at.level - 1, 2 * at.n})
	if err != nil {
		return Hash{}, err
	}
	right, err := r.high(node{at.level - 1, 2*at.n + 1})
	if err != nil {
		return Hash{}, err
	}
	return r.hash.node(&left, &right), nil
}

// peak gives the peak of a level from the segment that begins at first.
func (l *Log) peak(first uint64, level int) (Hash, error) {
	seg, err := l.shelf.take(first)
	if err != nil {
		return Hash{}, err
	}
	defer l.shelf.give(seg)
	tree, _ := treeFrom(first, seg.peaks) // fits: readMeta has looked
	return tree.peaks[level], nil
}

func (l *Log) known(at node) (Hash, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.nodes[at]
	return h, ok
}

func (l *Log) keep(at node, h Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[at] = h
}
