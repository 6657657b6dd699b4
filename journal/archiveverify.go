package journal

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Verify checks an archive alone: what VerifyWith checks of it, but only that
// it is in itself one journal from record 0 on. The head it gives is that of
// the last checkpoint, whose signature is to be checked with CheckSignatures:
// by that it is known whose journal it is. Seen is as in VerifyOptions.
func (a *Archive) Verify(ctx context.Context, seen func(*Entry) error) (Head, error) {
	if err := a.Covers(0, max(a.End(), 1)); err != nil {
		return Head{}, fmt.Errorf("an archive that does not begin at record 0 can be verified with its journal only: %w", err)
	}
	c := &checker{groups: &groups{}, tree: NewTree(), fn: seen, strict: true}
	err := a.scan(ctx, 0, a.End(), c, archiveHooks{whole: func(first uint64) error { return a.FitsNote(first, c.tree.Head()) }})
	if err != nil {
		return Head{}, err
	}
	return c.tree.Head(), nil
}

// RootAt gives the root over the first size records of an archive that begins at
// record 0. It is only as good as the archive: see Verify.
func (a *Archive) RootAt(ctx context.Context, size uint64) (Hash, error) {
	if size == 0 {
		return NewTree().Head().Root, nil
	}
	if err := a.Covers(0, size); err != nil {
		return Hash{}, err
	}
	tree := NewTree()
	for size-tree.size >= SegmentRecords {
		tile, err := a.Tile(tree.size)
		if err != nil {
			return Hash{}, err
		}
		tree.push(segmentLevel, tree.hash.tileRoot(tile))
	}
	if tree.size == size {
		return tree.Head().Root, nil
	}
	err := a.Read(ctx, tree.size, size, func(line []byte) error {
		tree.Append(line)
		return nil
	})
	return tree.Head().Root, err
}

// CheckSignatures says whether each checkpoint in the archive is signed by one
// of the keys: a *DamageError if not.
func (a *Archive) CheckSignatures(keys ...VerifierKey) error {
	for _, first := range a.firsts {
		note, err := a.Checkpoint(first)
		if err != nil {
			return err
		}
		if _, err := OpenCheckpoint(note, keys...); err != nil {
			return damaged(archiveName(first, archiveCheckpoint), first, first+SegmentRecords-1, "%v", err)
		}
	}
	return nil
}

// FitsNote says whether the checkpoint of the segment that begins at first is one
// of this head, where the segment ends: a *DamageError if not. Its signature is
// not looked at.
func (a *Archive) FitsNote(first uint64, end Head) error {
	note, err := a.Checkpoint(first)
	if err != nil {
		return err
	}
	c, err := ReadCheckpoint(note)
	if err == nil && c.Head != end {
		err = fmt.Errorf("it is one of %d records with the root %v, not of %d with %v", c.Size, c.Root, end.Size, end.Root)
	}
	if err != nil {
		return damaged(archiveName(first, archiveCheckpoint), first, first+SegmentRecords-1, "%v", err)
	}
	return nil
}

// verifyArchived checks the part of an archive that stands before first, where
// the journal begins; roots are those of its segments.
func (c *checker) verifyArchived(ctx context.Context, a *Archive, roots []byte, first uint64) error {
	from, err := a.joins(first)
	if err != nil {
		return err
	}
	root := func(first uint64) Hash { return Hash(roots[first/SegmentRecords*uint64(len(Hash{})):]) }
	c.tree, c.groups.cut = NewTree(), from > 0
	for first := uint64(0); first < from; first += SegmentRecords {
		c.tree.push(segmentLevel, root(first))
	}
	return a.scan(ctx, from, first, c, archiveHooks{
		sound: func(first uint64, tile []byte) error { return fitsRoot(first, tile, root(first)) },
		whole: func(first uint64) error { return a.FitsNote(first, c.tree.Head()) },
	})
}

// verifyTwice checks what the archive has of the journal's own segments, from
// first on: a cut may be to come, or was cut short.
func (s *shelf) verifyTwice(ctx context.Context, a *Archive, first uint64, head Head) error {
	for _, at := range a.firsts {
		if at < first {
			continue
		}
		if at+SegmentRecords > head.Size {
			return damaged(archiveName(at, archiveLines), max(at, head.Size), at+SegmentRecords-1,
				"the archive goes further than the journal, which has %d records", head.Size)
		}
		tree, root, err := s.treeAfter(at)
		if err != nil {
			return err
		}
		err = a.scan(ctx, at, at+SegmentRecords, &checker{}, archiveHooks{
			sound: func(first uint64, tile []byte) error { return fitsRoot(first, tile, root) },
			whole: func(first uint64) error { return a.FitsNote(first, tree.Head()) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// treeAfter gives the tree of the records before the end of a full segment.
func (s *shelf) treeAfter(first uint64) (tree *Tree, root Hash, err error) {
	seg, err := s.take(first)
	if err != nil {
		return nil, Hash{}, err
	}
	defer s.give(seg)
	tree, _ = treeFrom(first, seg.peaks) // fits: readMeta has looked
	err = seg.view(func(tx *bolt.Tx) error {
		t, err := seg.tile(tx, 1, first/SegmentRecords)
		if err == nil {
			root = tree.hash.tileRoot(t)
			tree.push(segmentLevel, root)
		}
		return err
	})
	return tree, root, err
}
