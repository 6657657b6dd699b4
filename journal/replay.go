package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Replay gives the records from seq from up to the head at the call, in order,
// to fn, for which the Entry and its slices are valid until it returns. Before
// fn sees a record, its hash has been compared with the stored tile, or, after
// the last full tile, with the head's root; only when these last records are
// more than 1 MiB does that come at their end (Open has compared them before).
// Everything adds up to the head's root. What does not fit is a *DamageError.
// An error of fn ends the replay and comes back wrapped with the seq; ErrPruned
// comes for what stands before First, also when Prune takes it away meanwhile.
func (l *Log) Replay(ctx context.Context, from uint64, fn func(*Entry) error) error {
	head := l.Head()
	if from > head.Size {
		return errBeyond(from, head)
	}
	if err := l.shelf.held(from); err != nil {
		return err
	}
	return notOpen(scan(ctx, l.shelf, from, head, &checker{fn: fn}))
}

// checker is the end of the pipeline: it holds what came before a chunk.
type checker struct {
	from   uint64 // records before it are checked but not given to fn and raw
	to     uint64 // nor are those from here on; 0 for no end
	head   Head   // what the tree must come to; a zero root is not known
	tree   *Tree
	meta   segmentMeta
	roots  []byte    // the level-1 tile of a full segment, else empty
	lastAt time.Time // of the record before
	entry  Entry
	groups *groups // nil if groups are not looked at
	fn     func(*Entry) error
	raw    func(line []byte) error // nil if lines are not wanted
	strict bool                    // bodies are read, though fn is there
}

// scan runs the records of a shelf from from on through c.
func scan(ctx context.Context, s *shelf, from uint64, head Head, c *checker) error {
	pos := from - from%tileWidth
	if from == head.Size && from > 0 && from%SegmentRecords == 0 {
		pos = from - tileWidth // an empty segment may not be there yet
	}
	c.tree = NewTree()
	if pos > 0 {
		if err := c.startAt(s, pos); err != nil {
			return err
		}
	}
	c.from = from
	return scanOn(ctx, s, head, c)
}

// scanOn is scan from where the tree of c ends, the start of a tile.
func scanOn(ctx context.Context, s *shelf, head Head, c *checker) error {
	src := &source{shelf: s, pos: c.tree.size, end: head.Size}
	defer src.close()
	c.head = head
	if err := pipeline(ctx, src.fill, c.take); err != nil {
		return err
	}
	if got := c.tree.Head(); got != head && head.Root != (Hash{}) {
		last := max(head.Size, 1) - 1
		return damaged(segmentName(segmentOf(last)), last, last, "%d records add up to %v, the head says %v", got.Size, got.Root, head.Root)
	}
	return nil
}

// startAt takes what comes before pos, the start of a tile, from the peaks and
// the tiles of its segment.
func (c *checker) startAt(s *shelf, pos uint64) error {
	first := segmentOf(pos)
	seg, err := s.take(first)
	if err != nil {
		return err
	}
	defer s.give(seg)
	c.tree, _ = treeFrom(first, seg.peaks) // fits: readMeta has looked
	return seg.view(func(tx *bolt.Tx) error { return seg.pushTiles(tx, c.tree, pos, 0, nil) })
}

// take checks what the chunk adds to the tree and gives its records to fn.
func (c *checker) take(k *chunk) error {
	if k.begin != nil {
		c.meta, c.roots = *k.begin, append(c.roots[:0], k.roots...)
		if first := c.meta.first; first == c.tree.size && !bytes.Equal(c.meta.peaks, c.tree.frontier(nil)) {
			return damaged(k.file, first, first, "the peaks differ from the records before record %d", first)
		}
	}
	for i := range k.nodes {
		root, filled := c.tree.push(k.nodes[i].level, k.nodes[i].hash)
		first := c.tree.size - tileWidth
		if at := int(first%SegmentRecords/tileWidth) * len(root); filled && at < len(c.roots) && root != Hash(c.roots[at:]) {
			return damaged(k.file, first, first+tileWidth-1, "the root of the tile differs from the one in the level-1 tile")
		}
	}
	if k.bad >= 0 {
		seq := k.first + uint64(k.bad)
		return damaged(k.file, seq, seq, "the line's hash differs from the one in the tile")
	}
	if err := c.sums(k); err != nil {
		return err
	}
	parse := ParseEntry
	if c.fn != nil && !c.strict {
		parse = scanEntry // a replay: Append has read the body, and the hash agrees
	}
	for i := range k.ends {
		seq := k.first + uint64(i)
		if err := c.record(k, i, seq, parse); err != nil {
			return err
		}
		if seq < c.from || c.to > 0 && seq >= c.to {
			continue
		}
		if c.fn != nil {
			if err := c.fn(&c.entry); err != nil {
				return fmt.Errorf("record %d: %w", seq, err)
			}
		}
		if c.raw != nil {
			if err := c.raw(k.line(i)); err != nil {
				return fmt.Errorf("record %d: %w", seq, err)
			}
		}
	}
	return nil
}

// sums compares the root at the end of a segment, and at the head.
func (c *checker) sums(k *chunk) error {
	head := c.head
	if len(c.roots) > 0 && (c.tree.size != head.Size || head.Root == Hash{}) {
		head = c.meta.head
	}
	if c.tree.size != head.Size || len(k.ends) == 0 || head.Root == (Hash{}) {
		return nil
	}
	if c.tree.Head().Root == head.Root {
		return nil
	}
	// The lines after the last full tile are all that may differ, or the head
	// itself. If one of them is no record, it is that one.
	tail := head.Size - head.Size%tileWidth
	for seq := max(tail, k.first); seq < head.Size; seq++ {
		if err := c.record(k, int(seq-k.first), seq, ParseEntry); err != nil {
			return err
		}
	}
	return damaged(k.file, min(tail, head.Size-1), head.Size-1, "root differs from the stored head")
}

// record reads line i of the chunk into c.entry with parse; it must be record
// seq.
func (c *checker) record(k *chunk, i int, seq uint64, parse func([]byte, *Entry) error) error {
	e := &c.entry
	if err := parse(k.line(i), e); err != nil {
		return damaged(k.file, seq, seq, "%v", err)
	}
	if e.Seq != seq {
		return damaged(k.file, seq, seq, "its seq is %d", e.Seq)
	}
	if e.At.Before(c.lastAt) {
		return damaged(k.file, seq, seq, "its time is before that of the record before")
	}
	c.lastAt = e.At
	if c.groups != nil {
		if err := c.groups.next(e.Group); err != "" {
			return damaged(k.file, seq, seq, "%s", err)
		}
	}
	return nil
}

// source reads the chunks of a shelf, one segment after the other.
type source struct {
	shelf    *shelf
	pos, end uint64
	seg      *segment
	ahead    readAhead
}

// fill reads the next chunk; see pipeline.
func (s *source) fill(c *chunk) bool {
	if s.pos < s.end {
		c.err = s.next(c)
	}
	return c.err == nil && s.pos < s.end
}

func (s *source) next(c *chunk) (err error) {
	first := segmentOf(s.pos)
	begins := s.seg == nil || s.seg.first != first
	if begins {
		if s.seg != nil {
			s.shelf.give(s.seg)
			s.seg = nil
		}
		s.ahead.at(s.shelf.dir, first, s.end)
		if s.seg, err = s.shelf.take(first); err != nil {
			return err
		}
	}
	seg := s.seg
	c.file = seg.name
	to := min(s.end, first+SegmentRecords)
	err = seg.view(func(tx *bolt.Tx) error {
		m, err := seg.readMeta(tx)
		if err != nil {
			return err
		}
		if m.head.Size < to {
			return seg.damaged(m.head.Size, to-1, "the segment ends early")
		}
		if begins {
			if err := seg.begins(tx, c, &m); err != nil {
				return err
			}
		}
		err = seg.copy(tx, &c.lines, s.pos, to)
		next := s.pos + uint64(len(c.ends))
		return errors.Join(seg.wanted(tx, c, min(next, s.end-s.end%tileWidth)), err)
	})
	if err != nil {
		// What was read before the damage counts as far as it is proved.
		c.ends = c.ends[:min(len(c.ends), len(c.want)/len(Hash{}))]
	}
	s.pos += uint64(len(c.ends))
	return err
}

// begins takes what the checker must know of a segment before its records.
func (s *segment) begins(tx *bolt.Tx, c *chunk, m *segmentMeta) error {
	c.begin = m
	if m.head.Size < s.first+SegmentRecords {
		return nil
	}
	t, err := s.tile(tx, 1, s.first/SegmentRecords)
	if err != nil {
		return err
	}
	c.roots = append(c.roots, t...)
	_, err = s.lastTime(tx, m.head.Size)
	return err
}

// wanted copies the stored hashes of the lines of c that stand before to.
func (s *segment) wanted(tx *bolt.Tx, c *chunk, to uint64) error {
	for seq := c.first; seq < to; seq += tileWidth - seq%tileWidth {
		t, err := s.tile(tx, 0, seq/tileWidth)
		if err != nil {
			return err
		}
		end := min(to-(seq-seq%tileWidth), tileWidth)
		c.want = append(c.want, t[seq%tileWidth*uint64(len(Hash{})):end*uint64(len(Hash{}))]...)
	}
	return nil
}

func (s *source) close() {
	s.ahead.stop()
	if s.seg != nil {
		s.shelf.give(s.seg)
		s.seg = nil
	}
}
