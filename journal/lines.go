package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// lines is a run of consecutive lines, copied out of a segment. A zero byte
// stands before each, so that what is hashed as its leaf lies in one piece.
type lines struct {
	first uint64 // seq of the first line
	buf   []byte
	ends  []int // ends[i] is where line i ends in buf
}

// leaf gives line i with the byte before it.
func (c *lines) leaf(i int) []byte {
	if i == 0 {
		return c.buf[:c.ends[0]:c.ends[0]]
	}
	return c.buf[c.ends[i-1]:c.ends[i]:c.ends[i]]
}

func (c *lines) line(i int) []byte { return c.leaf(i)[1:] }

func (c *lines) add(line []byte) {
	c.buf = append(append(c.buf, 0), line...)
	c.ends = append(c.ends, len(c.buf))
}

func (c *lines) reset(first uint64) {
	c.first, c.buf, c.ends = first, c.buf[:0], c.ends[:0]
}

// full says that the next line belongs to the next chunk.
func (c *lines) full() bool { return len(c.ends) >= chunkRecords || len(c.buf) >= chunkBytes }

// copy fills c with lines from seq from up to to, or until c is full.
func (s *segment) copy(tx *bolt.Tx, c *lines, from, to uint64) error {
	c.reset(from)
	cur := tx.Bucket(logBucket).Cursor()
	var want [8]byte
	binary.BigEndian.PutUint64(want[:], from)
	for k, v := cur.Seek(want[:]); from < to && !c.full(); k, v = cur.Next() {
		binary.BigEndian.PutUint64(want[:], from)
		if !bytes.Equal(k, want[:]) {
			return s.damaged(from, from, "record is missing")
		}
		if len(v) > MaxLine {
			return s.damaged(from, from, "line of %d bytes", len(v))
		}
		c.add(v)
		from++
	}
	return nil
}

// tile gives the full tile of a level, a slice of the file.
func (s *segment) tile(tx *bolt.Tx, level byte, index uint64) ([]byte, error) {
	t := tx.Bucket(tileBucket).Get(tileKey(level, index))
	if len(t) == tileWidth*len(Hash{}) {
		return t, nil
	}
	span := uint64(tileWidth)
	if level == 1 {
		span = SegmentRecords
	}
	return nil, s.damaged(index*span, index*span+span-1, "level-%d tile of %d bytes", level, len(t))
}

func segmentOf(seq uint64) uint64 { return seq - seq%SegmentRecords }

// Read gives the lines of the records from seq from up to, not including, to,
// but none that is not committed when it is called. The line given to fn, which
// has no newline, is valid until fn returns. fn may be slow: no transaction is
// open while it runs, at most 1 MiB (or one line) is copied ahead. An error of
// fn ends the reading and is returned as it is; ErrPruned comes for what stands
// before First, also when Prune takes it away meanwhile. Hashes are not checked: Replay
// and Verify do. Many goroutines may read at once, and while Append runs.
func (l *Log) Read(ctx context.Context, from, to uint64, fn func(line []byte) error) error {
	if err := l.shelf.held(from); err != nil {
		return err
	}
	to = min(to, l.Head().Size)
	var c lines
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.copyLines(&c, from, min(to, segmentOf(from)+SegmentRecords)); err != nil {
			return err
		}
		for i := range c.ends {
			if err := fn(c.line(i)); err != nil {
				return err
			}
		}
		from += uint64(len(c.ends))
	}
	return nil
}

func (l *Log) copyLines(c *lines, from, to uint64) error {
	seg, err := l.shelf.take(segmentOf(from))
	if err != nil {
		return err
	}
	defer l.shelf.give(seg)
	return notOpen(seg.view(func(tx *bolt.Tx) error { return seg.copy(tx, c, from, to) }))
}

// RootAt gives the root over the first size records, which may be no more than
// are committed (ErrBeyond) and, but for whole segments, no fewer than First
// (ErrPruned).
func (l *Log) RootAt(ctx context.Context, size uint64) (Hash, error) {
	head := l.Head()
	switch {
	case size == head.Size:
		return head.Root, nil
	case size > head.Size:
		return Hash{}, errBeyond(size, head)
	case size == 0:
		return NewTree().Head().Root, nil
	}
	seg, err := l.shelf.take(segmentOf(size)) // record size exists
	if errors.Is(err, ErrPruned) && size%SegmentRecords == 0 {
		root, err := tlog.TreeHash(int64(size), l) // of the roots that stay
		return Hash(root), err
	}
	if err != nil {
		return Hash{}, err
	}
	defer l.shelf.give(seg)
	tree, _ := treeFrom(seg.first, seg.peaks) // fits: readMeta has looked
	var c lines
	err = seg.view(func(tx *bolt.Tx) error {
		if err := seg.pushTiles(tx, tree, size, head.Size, nil); err != nil {
			return err
		}
		if size == tree.size {
			return nil
		}
		if tree.size+tileWidth > head.Size {
			return seg.copy(tx, &c, tree.size, size)
		}
		t, err := seg.tile(tx, 0, tree.size/tileWidth)
		for ; err == nil && tree.size < size; t = t[len(Hash{}):] {
			tree.push(0, Hash(t))
		}
		return err
	})
	if err != nil {
		return Hash{}, notOpen(err)
	}
	for tree.size < size { // a part of the last tile, which is not stored yet
		if err := ctx.Err(); err != nil {
			return Hash{}, err
		}
		if len(c.ends) == 0 {
			if err := l.copyLines(&c, tree.size, size); err != nil {
				return Hash{}, err
			}
		}
		for i := range c.ends {
			tree.Append(c.line(i))
		}
		c.reset(0)
	}
	return tree.Head().Root, nil
}

// pushTiles adds the roots of the full tiles of s below size to tree, which
// holds what comes before s. Those of a full segment stand in its level-1
// tile, unless roots is wanted: then they are computed, and appended to it.
func (s *segment) pushTiles(tx *bolt.Tx, tree *Tree, size, committed uint64, roots *[]byte) error {
	if roots == nil && committed >= s.first+SegmentRecords {
		t, err := s.tile(tx, 1, s.first/SegmentRecords)
		for ; err == nil && tree.size+tileWidth <= size; t = t[len(Hash{}):] {
			tree.push(tileLevel, Hash(t))
		}
		return err
	}
	for tree.size+tileWidth <= size {
		t, err := s.tile(tx, 0, tree.size/tileWidth)
		if err != nil {
			return err
		}
		root := tree.hash.tileRoot(t)
		tree.push(tileLevel, root)
		if roots != nil {
			*roots = append(*roots, root[:]...)
		}
	}
	return nil
}
