package journal

import (
	"context"
	"errors"
	"sort"
	"time"

	bolt "go.etcd.io/bbolt"
)

// First gives the seq of the oldest record held, a multiple of SegmentRecords:
// 0 unless something was pruned.
func (l *Log) First() uint64 {
	l.shelf.mu.Lock()
	defer l.shelf.mu.Unlock()
	return l.shelf.first
}

// Line gives a copy of one line, without its newline. Its hash is not checked.
// Errors: ErrBeyond, ErrPruned, ErrClosed, *DamageError.
func (l *Log) Line(seq uint64) ([]byte, error) {
	if head := l.Head(); seq >= head.Size {
		return nil, errBeyond(seq, head)
	}
	var c lines
	if err := l.copyLines(&c, seq, seq+1); err != nil {
		return nil, err
	}
	return c.line(0), nil
}

// Seek gives the seq of the first record held whose time is not before t, or
// the size at the call if there is none. It reads some 20 records, of at most
// a few segments.
func (l *Log) Seek(ctx context.Context, t time.Time) (uint64, error) {
	for {
		first, size := l.First(), l.Head().Size
		seq, err := l.seek(ctx, t, first, size)
		// What is pruned meanwhile has gone for good: each round begins later.
		if !errors.Is(err, ErrPruned) {
			return seq, err
		}
	}
}

// seek looks for the segment in which the time is reached by the first records
// of all, then for the record: every step of the first search opens a file.
func (l *Log) seek(ctx context.Context, t time.Time, first, size uint64) (uint64, error) {
	var err error
	search := func(from, step uint64, n int) int {
		return sort.Search(n, func(i int) bool {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return true
			}
			var at time.Time
			at, err = l.timeOf(from + uint64(i)*step)
			return err != nil || !at.Before(t)
		})
	}
	segments := int((size - first + SegmentRecords - 1) / SegmentRecords)
	k := search(first, SegmentRecords, segments)
	if err != nil || k == 0 {
		return first, err // all of them, or there is none
	}
	// Records of segment k-1 may be before t; the first of segment k is not.
	from := first + uint64(k-1)*SegmentRecords
	i := search(from, 1, int(min(size-from, SegmentRecords)))
	return from + uint64(i), err
}

func (l *Log) timeOf(seq uint64) (time.Time, error) {
	line, err := l.Line(seq)
	if err != nil {
		return time.Time{}, err
	}
	var e Entry
	if err := scanEntry(line, &e); err != nil {
		return time.Time{}, damaged(segmentName(segmentOf(seq)), seq, seq, "%v", err)
	}
	return e.At, nil
}

// Segment says what one file of the journal holds.
type Segment struct {
	// First is the seq of its first record, Size the number of its committed
	// ones: SegmentRecords when it is full. Only the last may have none.
	First, Size uint64
	// Bytes is what the file occupies on disk.
	Bytes int64
	// Last is the time of its last record, zero if it has none.
	Last time.Time
	// Sealed says that another segment follows: this one is full, never
	// changes again, and may be pruned.
	Sealed bool
}

// Segments gives the segments held, the oldest first. The first call opens
// every file, some milliseconds each; what it found of the sealed ones is kept.
func (l *Log) Segments() ([]Segment, error) {
	first := l.First() // before the edge: no later than its segment
	l.mu.Lock()
	e, last := l.edge, l.last
	l.mu.Unlock()
	if last == "" {
		return nil, nil // opened for reading, and empty
	}
	var list []Segment
	for ; first < e.active; first += SegmentRecords {
		s := Segment{First: first, Size: SegmentRecords, Bytes: l.shelf.blocks(segmentName(first)), Sealed: true}
		var err error
		s.Last, err = l.endOf(first)
		if errors.Is(err, ErrPruned) {
			continue // meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	s := Segment{First: e.active, Size: e.head.Size - e.active, Bytes: l.shelf.blocks(last)}
	if s.Size > 0 {
		s.Last = e.lastAt
	}
	return append(list, s), nil
}

// endOf gives the time of the last record of the sealed segment at first.
func (l *Log) endOf(first uint64) (at time.Time, err error) {
	if err := l.shelf.held(first); err != nil {
		return time.Time{}, err
	}
	l.mu.Lock()
	at, ok := l.ends[first]
	l.mu.Unlock()
	if ok {
		return at, nil
	}
	seg, err := l.shelf.take(first)
	if err != nil {
		return time.Time{}, err
	}
	defer l.shelf.give(seg)
	err = seg.view(func(tx *bolt.Tx) error {
		at, err = seg.lastTime(tx, first+SegmentRecords)
		return err
	})
	if err != nil {
		return time.Time{}, notOpen(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[first] = at
	return at, nil
}
