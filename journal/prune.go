package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The roots of the pruned segments, 32 bytes each, stand in a file of their
// own: the tree above the segments stays whole, so that a record that is held
// can be proved, and tiles from level 2 on be served. The file needs no hash:
// what it says must add up to the peaks of the first segment held.
const (
	rootsName = "pruned-roots"
	rootsTemp = "pruned-roots.tmp"
)

// Prune unlinks the segments before record to, a multiple of SegmentRecords
// that the last segment does not pass, and leaves at least one record. Readers
// that are in one of them may end it; after that, and everybody else, gets
// ErrPruned. It may run beside Append and readers; two calls wait for each
// other.
//
// The roots of what goes are durable under their name before anything is
// unlinked, and each unlinking before the next: a crash at any point leaves a
// journal that is whole from some later First on. An error leaves the journal
// in use as it is. After either, the same call again finishes; with to at First
// it makes durable that the rest is gone.
func (l *Log) Prune(to uint64) error {
	l.pruning.Lock()
	defer l.pruning.Unlock()
	if err := l.prune(to); err != nil {
		return fmt.Errorf("prune journal before record %d: %w", to, err)
	}
	return nil
}

func (l *Log) prune(to uint64) error {
	first := l.First()
	if err := l.mayPrune(first, to); err != nil {
		return err
	}
	dir := l.shelf.dir
	sync := func() error { return l.step("dir.sync", func() error { return syncDir(dir) }) }
	if first == to {
		return sync()
	}
	roots, err := l.rootsBefore(to)
	if err != nil {
		return err
	}
	if err := l.step("roots.write", func() error { return writeRoots(dir, roots) }); err != nil {
		return fmt.Errorf("write %s: %w", rootsName, err)
	}
	// Without this, a crash could leave neither the segment nor its root.
	if err := sync(); err != nil {
		return err
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.countLocked(l.First())
	}()
	for ; first < to; first += SegmentRecords {
		if err := l.unlink(first); err != nil {
			return err
		}
		// Without this, a crash could leave a hole: nothing orders two
		// changes of a directory but a sync.
		if err := sync(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) mayPrune(first, to uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.opt.ReadOnly:
		return ErrReadOnly
	case l.closed:
		return ErrClosed
	case l.err != nil:
		return fmt.Errorf("%w: %w", ErrFailed, l.err)
	case to%SegmentRecords != 0:
		return fmt.Errorf("no segment begins there")
	case to < first:
		return fmt.Errorf("%w: the oldest is %d", ErrPruned, first)
	case to > l.edge.active || to > 0 && to >= l.edge.head.Size:
		return fmt.Errorf("the last segment begins at %d and the journal has %d records", l.edge.active, l.edge.head.Size)
	}
	return nil
}

// rootsBefore gives the roots of the segments before to, which must add up to
// what the segment at to says: otherwise nothing may be unlinked. From here on
// they are known without the segments.
func (l *Log) rootsBefore(to uint64) ([]byte, error) {
	r, tree := l.nodeReader(), NewTree()
	var roots []byte
	for n := range to / SegmentRecords {
		h, err := r.high(node{segmentLevel, n})
		if err != nil {
			return nil, err
		}
		tree.push(segmentLevel, h)
		roots = append(roots, h[:]...)
	}
	seg, err := l.shelf.take(to)
	if err != nil {
		return nil, err
	}
	defer l.shelf.give(seg)
	if string(tree.frontier(nil)) != string(seg.peaks) {
		return nil, seg.damaged(to-1, to-1, "the peaks differ from the segments before record %d", to)
	}
	return roots, nil
}

// unlink removes the oldest segment. Readers are told first, so that none
// meets a file that is not there.
func (l *Log) unlink(first uint64) error {
	path := filepath.Join(l.shelf.dir, segmentName(first))
	l.shelf.cut(first + SegmentRecords)
	err := l.step("segment.unlink", func() error { return os.Remove(path) })
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, serr := os.Lstat(path); !errors.Is(serr, os.ErrNotExist) {
		l.shelf.cut(first) // still held
	}
	return err
}

// writeRoots replaces the file of the roots, whole.
func writeRoots(dir string, roots []byte) error {
	temp := filepath.Join(dir, rootsTemp)
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(roots)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err // the temporary file goes at the next try, or start
	}
	return os.Rename(temp, filepath.Join(dir, rootsName))
}

// prunedRoots reads the roots of the segments before first, the oldest held,
// and checks them against its peaks. There may be more: then a crash came
// before their segments were unlinked.
func (s *shelf) prunedRoots(first uint64) ([]byte, error) {
	if first == 0 {
		return nil, nil
	}
	roots, err := os.ReadFile(filepath.Join(s.dir, rootsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, damaged(segmentName(0), 0, first-1, "segment is missing, and no %s says that it was pruned", rootsName)
	}
	if err != nil {
		return nil, err
	}
	need := int(first/SegmentRecords) * len(Hash{})
	if len(roots) < need || len(roots)%len(Hash{}) != 0 {
		return nil, damaged(rootsName, 0, first-1, "%d bytes for the roots of %d segments", len(roots), first/SegmentRecords)
	}
	roots = roots[:need]
	tree := NewTree()
	for at := 0; at < need; at += len(Hash{}) {
		tree.push(segmentLevel, Hash(roots[at:]))
	}
	seg, err := s.take(first)
	if err != nil {
		return nil, err
	}
	defer s.give(seg)
	if string(tree.frontier(nil)) != string(seg.peaks) {
		return nil, damaged(rootsName, 0, first-1, "the roots differ from the peaks of %s", seg.name)
	}
	return roots, nil
}

// loadPruned takes over what stands for the segments before first.
func (l *Log) loadPruned(first uint64) error {
	roots, err := l.shelf.prunedRoots(first)
	for n := uint64(0); len(roots) > 0; n++ {
		l.nodes[node{segmentLevel, n}] = Hash(roots)
		roots = roots[len(Hash{}):]
	}
	return err
}

// emptyRest is the damage that a journal has which was pruned up to first and
// holds nothing after it: Prune leaves a record.
func emptyRest(first uint64) error {
	return damaged(segmentName(first), first, first, "what comes before is pruned, and there is no record")
}
