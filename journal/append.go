package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// writer is what only the goroutine that appends may touch.
type writer struct {
	active *segment
	tree   *Tree
	tile   []byte // leaf hashes of the tile that is not full yet
	roots  []byte // roots of the full tiles of the active segment
	lastAt time.Time
	entry  Entry
	next   chan prepared // the segment that is being made ready, nil if none
}

// prepared is a segment under its temporary name, or why there is none.
type prepared struct {
	seg *segment
	dir string
	err error
}

// Append makes consecutive records durable: when it returns nil they are. The
// first must have the seq of the head's size, no time may be earlier than the
// one before, and every line must be one that ParseEntry reads. The lines go
// into one transaction, or, where a segment ends within them, into one for each
// segment; Head moves with each.
//
// One goroutine calls Append. The lines belong to it again afterwards. Any
// error is final: whether the records are there is unknown until the journal
// is opened anew, and every later Append fails with ErrFailed.
func (l *Log) Append(lines [][]byte) error {
	if l.opt.ReadOnly {
		return ErrReadOnly
	}
	l.mu.Lock()
	failed, closed := l.err, l.closed
	l.mu.Unlock()
	switch {
	case failed != nil:
		return fmt.Errorf("%w: %w", ErrFailed, failed)
	case closed:
		return ErrClosed
	}
	if err := l.append(lines); err != nil {
		err = fmt.Errorf("append to journal: %w", err)
		l.mu.Lock()
		l.err = err
		l.tellLocked()
		l.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

func (l *Log) append(lines [][]byte) error {
	if err := l.w.check(lines); err != nil {
		return err
	}
	for len(lines) > 0 {
		w := &l.w
		room := int(w.active.first + SegmentRecords - w.tree.size)
		if room == 0 {
			if err := l.roll(); err != nil {
				return err
			}
			continue
		}
		n := min(room, len(lines))
		if err := l.commit(lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
		if w.next == nil && w.tree.size-w.active.first >= prepareAt {
			w.prepare(l.shelf.dir)
		}
	}
	return nil
}

// check looks at the lines before anything is written: what gets in once can
// never be taken out, and would stop the next start.
func (w *writer) check(lines [][]byte) error {
	seq := w.tree.size
	for _, line := range lines {
		if err := ParseEntry(line, &w.entry); err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		if w.entry.Seq != seq {
			return fmt.Errorf("record %d: its seq is %d", seq, w.entry.Seq)
		}
		if w.entry.At.Before(w.lastAt) {
			return fmt.Errorf("record %d: its time is before that of the last", seq)
		}
		w.lastAt = w.entry.At
		seq++
	}
	return nil
}

// commit writes lines, which fit into the active segment, with the tiles they
// fill and the new head, in one transaction, and only then lets it be seen.
func (l *Log) commit(lines [][]byte) error {
	var head Head
	w := &l.w
	err := l.step("commit", func() error {
		seq := w.tree.size
		return w.active.guarded(seq, seq+uint64(len(lines))-1, func() error {
			return w.active.db.Update(func(tx *bolt.Tx) (err error) {
				head, err = w.put(tx, lines)
				return err
			})
		})
	})
	if err != nil {
		return err
	}
	if err := ParseEntry(lines[len(lines)-1], &w.entry); err != nil {
		return err // check has read it: the caller has changed it since
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edge.head, l.edge.lastAt = head, w.entry.At
	// The writer only appends to these, or takes new ones.
	l.edge.leaves, l.edge.roots = w.tile, w.roots
	l.tellLocked()
	return nil
}

func (w *writer) put(tx *bolt.Tx, lines [][]byte) (Head, error) {
	log, tiles := tx.Bucket(logBucket), tx.Bucket(tileBucket)
	log.FillPercent, tiles.FillPercent = 1, 1 // keys only ever ascend
	var key [8]byte
	for _, line := range lines {
		binary.BigEndian.PutUint64(key[:], w.tree.size)
		if err := log.Put(key[:], line); err != nil {
			return Head{}, err
		}
		h := w.tree.hash.leaf(line)
		w.tile = append(w.tile, h[:]...)
		root, filled := w.tree.push(0, h)
		if !filled {
			continue
		}
		// bbolt keeps the value until the commit, so it needs its own bytes.
		if err := tiles.Put(tileKey(0, w.tree.size/tileWidth-1), w.tile); err != nil {
			return Head{}, err
		}
		w.tile = make([]byte, 0, tileWidth*len(Hash{}))
		w.roots = append(w.roots, root[:]...)
	}
	if w.tree.size == w.active.first+SegmentRecords {
		if err := tiles.Put(tileKey(1, w.active.first/SegmentRecords), w.roots); err != nil {
			return Head{}, err
		}
	}
	head := w.tree.Head()
	return head, tx.Bucket(metaBucket).Put(headKey, encodeHead(head))
}

// prepare makes the next segment ready in the background, so that the append
// that ends this one need not wait for it.
func (w *writer) prepare(dir string) {
	next := make(chan prepared, 1)
	first := w.active.first + SegmentRecords
	go func() {
		seg, err := createTemp(dir, first)
		next <- prepared{seg, dir, err}
	}()
	w.next = next
}

// roll begins the segment after the active one, which is full, or the first.
// The order matters: what the file holds is synced before it gets its name,
// and the name before a record goes into it. A crash leaves a temporary file,
// or an empty segment.
func (l *Log) roll() error {
	w := &l.w
	dir, first := l.shelf.dir, w.tree.size
	var p prepared
	if w.next == nil {
		w.next = make(chan prepared, 1)
	} else {
		p = <-w.next
	}
	if p.seg == nil { // not made ahead, or not made: that was a while ago
		seg, err := createTemp(dir, first)
		p = prepared{seg, dir, err}
	}
	w.next <- p // so that drop finds it if a step fails
	if p.err != nil {
		return fmt.Errorf("create segment: %w", p.err)
	}
	err := l.step("segment.create", func() error { return p.seg.begin(w.tree.frontier(nil), w.tree.Head()) })
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	temp := filepath.Join(dir, tempName(first))
	err = l.step("segment.link", func() error { return os.Link(temp, filepath.Join(dir, p.seg.name)) })
	if err != nil {
		return err
	}
	if err := l.step("dir.sync", func() error { return syncDir(dir) }); err != nil {
		return err
	}
	if err := os.Remove(temp); err != nil {
		return err
	}
	w.next = nil
	l.shelf.put(p.seg)
	l.mu.Lock()
	if w.active != nil {
		l.sealed += l.shelf.blocks(w.active.name)
	}
	l.last = p.seg.name
	l.edge.active, l.edge.leaves, l.edge.roots = first, nil, nil
	l.mu.Unlock()
	if w.active != nil {
		l.shelf.give(w.active)
	}
	w.active, w.tile, w.roots = p.seg, nil, nil
	return nil
}

// drop removes a prepared segment that will not be used.
func (w *writer) drop() error {
	if w.next == nil {
		return nil
	}
	p := <-w.next
	w.next = nil
	if p.seg == nil {
		return nil
	}
	err := os.Remove(filepath.Join(p.dir, tempName(p.seg.first)))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(p.seg.close(), err)
}

func (l *Log) step(op string, do func() error) error {
	if l.opt.Fault == nil {
		return do()
	}
	return l.opt.Fault(op, do)
}
