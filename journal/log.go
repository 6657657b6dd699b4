package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options say how to open a journal. The zero value is right for a writer.
type Options struct {
	// ReadOnly opens without writing anything; Append gives ErrReadOnly.
	ReadOnly bool
	// Fault is nil but in tests. It wraps each durable step and may make it
	// fail before or after it has happened. Steps: "commit" (a transaction
	// with records), "segment.create" (what comes before a new segment is
	// written into it), "segment.link" (it gets its name), "roots.write" (the
	// roots of what is pruned, under their name), "segment.unlink",
	// "dir.sync". Append and Prune may call it at the same time.
	Fault func(op string, do func() error) error
}

// Log is an open journal.
type Log struct {
	opt   Options
	shelf *shelf
	w     writer // owned by the goroutine that calls Append

	pruning sync.Mutex // held by Prune, and by Close; taken before mu

	mu sync.Mutex
	// What follows is guarded by mu.
	edge    edge
	err     error         // of the failed Append
	changed chan struct{} // nil while nobody waits
	closed  bool
	sealed  int64 // bytes of the sealed segments on disk
	last    string
	nodes   map[node]Hash        // of full segments and what is above them
	ends    map[uint64]time.Time // last times of sealed segments
}

// edge is the committed end of the journal at one moment, with the hashes that
// stand in no full tile yet. What its slices hold is never written again:
// copies of an edge may share them.
type edge struct {
	head   Head
	lastAt time.Time
	active uint64 // seq with which the last segment begins
	leaves []byte // leaf hashes after the last full tile
	roots  []byte // roots of the full tiles of the last segment
}

// Open opens the journal in dir. Unless ReadOnly it makes dir and the first
// segment when there is none, and removes what a crash left unfinished beside
// the segments. Only the last segment is looked at: its tiles and its records
// after the last full tile against its head; and, when older ones are pruned,
// the first, whose peaks must be what the roots of those add up to. Errors: ErrLocked, *DamageError,
// and those of the file system.
func Open(dir string, opt Options) (*Log, error) {
	if !opt.ReadOnly {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
	}
	s, err := openShelf(dir, opt.ReadOnly)
	if err != nil {
		return nil, err
	}
	l := &Log{opt: opt, shelf: s, nodes: map[node]Hash{}, ends: map[uint64]time.Time{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, l.w.drop(), s.close())
	}
	return l, nil
}

func makeDir(dir string) error {
	_, err := os.Stat(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The daemon syncs what is above its STATE; this entry is ours.
	return syncDir(filepath.Dir(dir))
}

// load finds the segments and takes over the last one.
func (l *Log) load() error {
	firsts, temps, err := listSegments(l.shelf.dir)
	if err != nil {
		return err
	}
	if !l.opt.ReadOnly {
		// A crash while a segment was made. If it already had its name, this
		// is only its second one.
		for _, name := range temps {
			if err := os.Remove(filepath.Join(l.shelf.dir, name)); err != nil {
				return err
			}
		}
	}
	l.w.tree = NewTree()
	if len(firsts) == 0 {
		l.edge.head = l.w.tree.Head()
		if l.opt.ReadOnly {
			return nil
		}
		return l.roll()
	}
	l.shelf.cut(firsts[0])
	first := firsts[len(firsts)-1]
	seg, err := openSegment(l.shelf.dir, first, l.opt.ReadOnly)
	if err != nil {
		return err
	}
	l.shelf.put(seg)
	l.w.active, l.last, l.edge.active = seg, seg.name, first
	l.countLocked(firsts[0])
	if err := l.loadPruned(firsts[0]); err != nil {
		return err
	}
	err = seg.view(func(tx *bolt.Tx) error { return l.loadLast(tx, seg) })
	var d *DamageError
	if errors.As(err, &d) && d.Last > d.Seq {
		return pin(l.shelf, seg, d)
	}
	if err == nil && l.edge.head.Size == first && first > 0 {
		err = l.loadSealedEnd(first - SegmentRecords)
	}
	l.w.lastAt = l.edge.lastAt
	l.edge.leaves, l.edge.roots = l.w.tile, l.w.roots
	return err
}

// countLocked counts what the sealed segments from first on occupy.
func (l *Log) countLocked(first uint64) {
	l.sealed = 0
	for ; first < l.edge.active; first += SegmentRecords {
		l.sealed += l.shelf.blocks(segmentName(first))
	}
}

// loadLast rebuilds the frontier from the segment's peaks, tiles and tail, and
// compares the root.
func (l *Log) loadLast(tx *bolt.Tx, seg *segment) error {
	m, err := seg.readMeta(tx)
	if err != nil {
		return err
	}
	w := &l.w
	w.tree, _ = treeFrom(m.first, m.peaks) // fits: readMeta has looked
	if err := seg.pushTiles(tx, w.tree, m.head.Size, m.head.Size, &w.roots); err != nil {
		return err
	}
	tail := w.tree.size
	var c lines
	for w.tree.size < m.head.Size {
		if err := seg.copy(tx, &c, w.tree.size, m.head.Size); err != nil {
			return err
		}
		for i := range c.ends {
			h := w.tree.hash.leaf(c.line(i))
			w.tile = append(w.tile, h[:]...)
			w.tree.push(0, h)
		}
	}
	if w.tree.Head() != m.head {
		return seg.damaged(min(tail, max(m.head.Size, 1)-1), max(m.head.Size, 1)-1, "root differs from the stored head")
	}
	l.edge.head = m.head
	l.edge.lastAt, err = seg.lastTime(tx, m.head.Size)
	return err
}

// lastTime gives the time of the segment's last record, which must be number
// size-1.
func (s *segment) lastTime(tx *bolt.Tx, size uint64) (time.Time, error) {
	k, v := tx.Bucket(logBucket).Cursor().Last()
	if k == nil && size == s.first {
		return time.Time{}, nil
	}
	if size == s.first || string(k) > string(seqKey(size-1)) {
		return time.Time{}, s.damaged(size, s.first+SegmentRecords-1, "records after the head")
	}
	if string(k) != string(seqKey(size-1)) {
		return time.Time{}, s.damaged(size-1, size-1, "record is missing")
	}
	var e Entry
	if err := ParseEntry(v, &e); err != nil {
		return time.Time{}, s.damaged(size-1, size-1, "%v", err)
	}
	return e.At, nil
}

// loadSealedEnd takes the last time from the segment before an empty one.
func (l *Log) loadSealedEnd(first uint64) error {
	seg, err := l.shelf.take(first)
	if errors.Is(err, ErrPruned) {
		return emptyRest(first + SegmentRecords)
	}
	if err != nil {
		return err
	}
	defer l.shelf.give(seg)
	return seg.view(func(tx *bolt.Tx) (err error) {
		l.edge.lastAt, err = seg.lastTime(tx, first+SegmentRecords)
		return err
	})
}

func (l *Log) at() edge {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.edge
}

// Head gives the last committed size and root.
func (l *Log) Head() Head { return l.at().head }

// LastAt gives the time of the last committed record, zero if there is none.
func (l *Log) LastAt() time.Time { return l.at().lastAt }

// Err gives the error of the Append that failed, nil while none has.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Changed gives a channel that is closed at the next commit, at a failure and
// at Close; it is closed already after the latter two. Ask for it first, then
// look at Head, then wait.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
		if l.closed || l.err != nil {
			close(l.changed)
		}
	}
	return l.changed
}

// tellLocked wakes those who wait for a change. Once nothing can change any
// more the closed channel stays.
func (l *Log) tellLocked() {
	if l.changed == nil {
		return
	}
	select {
	case <-l.changed:
	default:
		close(l.changed)
	}
	if !l.closed && l.err == nil {
		l.changed = nil
	}
}

// DiskBytes gives the bytes that the segments occupy on disk.
func (l *Log) DiskBytes() int64 {
	l.mu.Lock()
	sealed, last := l.sealed, l.last
	l.mu.Unlock()
	if last == "" {
		return 0
	}
	return sealed + l.shelf.blocks(last)
}

// Close closes the files, after the transactions of running readers, which
// then get ErrClosed, and after a running Prune. Append must not be running.
// Nothing is unwritten at that time: there is nothing to save.
func (l *Log) Close() error {
	l.pruning.Lock() // it must not unlink what another process has locked
	defer l.pruning.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.tellLocked()
	l.mu.Unlock()
	return errors.Join(l.w.drop(), l.shelf.close())
}

func errBeyond(seq uint64, head Head) error {
	return fmt.Errorf("record %d: %w: the journal has %d", seq, ErrBeyond, head.Size)
}
