package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// ArchiveOptions go with a segment into an archive.
type ArchiveOptions struct {
	// Checkpoint is the signed checkpoint of exactly the records before the
	// segment's end.
	Checkpoint []byte
	// Keys are known ones. If an attempt was cut off, the checkpoint that is there
	// already may be signed with another, that signs no more: then what counts is
	// what it says. But if one of Keys has signed it, the signature must be right.
	Keys []VerifierKey
	// Fault is nil but in tests, and wraps each durable step as Options.Fault
	// does. Steps: "archive.write", "archive.sync", "archive.rename",
	// "archive.dirsync".
	Fault func(op string, do func() error) error
}

// Archived says what an archived segment is.
type Archived struct {
	// First is the seq of the first record, Bytes the size of the files.
	First uint64
	Bytes int64
	// Existed: it was already there, whole, and was compared.
	Existed bool
}

// Archive writes the sealed segment that begins at first into dir, which must
// exist, and returns when it is durable there, has been read back from the disk
// and compared with this journal. Nothing in dir is ever replaced: what a crash
// left of the segment is compared too and completed, and something else under
// its name is a *DamageError. After an error the journal is as it was, and so is
// dir, but for files of this segment that are right.
//
// A segment whose lines have their name is whole: they get it last.
func (l *Log) Archive(ctx context.Context, dir string, first uint64, opt ArchiveOptions) (Archived, error) {
	if first%SegmentRecords != 0 || first+SegmentRecords > l.Head().Size {
		return Archived{}, fmt.Errorf("archive: no sealed segment begins at record %d", first)
	}
	w := &archiver{log: l, dir: dir, first: first, opt: opt}
	defer w.clean()
	got, err := w.run(ctx)
	if err != nil {
		return Archived{}, fmt.Errorf("archive the records from %d on: %w", first, err)
	}
	return got, nil
}

// archiver is one call of Archive.
type archiver struct {
	log   *Log
	dir   string
	first uint64
	opt   ArchiveOptions

	end   Head // of the journal at the segment's end
	note  Checkpoint
	tile  []byte
	temps []string // parts that are under a temporary name
}

// The order in which the parts get their names.
var archiveParts = [...]string{archiveTile, archiveCheckpoint, archiveLines}

func (w *archiver) run(ctx context.Context) (Archived, error) {
	root, err := w.log.RootAt(ctx, w.first+SegmentRecords)
	if err != nil {
		return Archived{}, err
	}
	w.end = Head{w.first + SegmentRecords, root}
	if w.note, err = ReadCheckpoint(w.opt.Checkpoint); err != nil || w.note.Head != w.end {
		return Archived{}, fmt.Errorf("the checkpoint for it is not one of %d records with the root %v", w.end.Size, root)
	}
	tree, err := w.before()
	if err != nil {
		return Archived{}, err
	}
	for _, part := range archiveParts {
		_, err := os.Lstat(w.path(part))
		if errors.Is(err, fs.ErrNotExist) {
			w.temps = append(w.temps, part)
			err = w.write(ctx, part)
		}
		if err != nil {
			return Archived{}, err
		}
	}
	got := Archived{First: w.first, Existed: len(w.temps) == 0}
	if err := w.compare(ctx, tree); err != nil {
		return Archived{}, err
	}
	for _, part := range archiveParts {
		if part == archiveLines {
			// Now the others have their names for good.
			if err := w.step("archive.dirsync", func() error { return syncDir(w.dir) }); err != nil {
				return Archived{}, err
			}
		}
		if err := w.name(part); err != nil {
			return Archived{}, err
		}
		info, err := os.Stat(w.path(part))
		if err != nil {
			return Archived{}, err
		}
		got.Bytes += info.Size()
	}
	// Also if all was there: that may be since a moment ago.
	return got, w.step("archive.dirsync", func() error { return syncDir(w.dir) })
}

// before gives the tree of what comes before the segment, and takes its tile.
func (w *archiver) before() (tree *Tree, err error) {
	seg, err := w.log.shelf.take(w.first)
	if err != nil {
		return nil, err
	}
	defer w.log.shelf.give(seg)
	tree, _ = treeFrom(w.first, seg.peaks) // fits: readMeta has looked
	return tree, notOpen(seg.view(func(tx *bolt.Tx) error {
		t, err := seg.tile(tx, 1, w.first/SegmentRecords)
		w.tile = bytes.Clone(t)
		return err
	}))
}

func (w *archiver) path(part string) string { return filepath.Join(w.dir, archiveName(w.first, part)) }

func (w *archiver) temp(part string) string { return w.path(part) + ".tmp" }

// clean removes temporary files that did not get their names.
func (w *archiver) clean() {
	for _, part := range w.temps {
		_ = os.Remove(w.temp(part)) // the next attempt does it, too
	}
}

// write makes the part under its temporary name and syncs it.
func (w *archiver) write(ctx context.Context, part string) error {
	temp := w.temp(part)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // else it was cut off
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = w.step("archive.write", func() error {
		switch part {
		case archiveLines:
			return w.compress(ctx, f)
		case archiveTile:
			_, err := f.Write(w.tile)
			return err
		}
		_, err := f.Write(w.opt.Checkpoint)
		return err
	})
	if err == nil {
		err = w.step("archive.sync", f.Sync)
	}
	// So that it is the disk that is read from when it is compared; where the file
	// system has no such thing, it is what it is.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return errors.Join(err, f.Close())
}

// compress writes the lines. Of zstd's levels the fastest is taken: where every
// record has a random id, which is what most of an archive is, its files are the
// smallest too.
func (w *archiver) compress(ctx context.Context, f *os.File) error {
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(archiveWindow),
		zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	// Compared with the journal's own tiles, so that damage is found there and
	// not in the archive.
	var buf []byte
	err = scan(ctx, w.log.shelf, w.first, w.end, &checker{raw: func(line []byte) error {
		buf = append(append(buf[:0], line...), '\n')
		_, err := z.Write(buf)
		return err
	}})
	return notOpen(errors.Join(err, z.Close()))
}

// compare reads what was written, and what was there, and compares it with the
// journal, of which tree holds what comes before the segment.
func (w *archiver) compare(ctx context.Context, tree *Tree) error {
	last := w.end.Size - 1
	tile, err := readArchivePart(w.now(archiveTile), w.first, len(w.tile))
	if err != nil {
		return err
	}
	if !bytes.Equal(tile, w.tile) {
		return damaged(filepath.Base(w.now(archiveTile)), w.first, last, "the tile differs from that of the journal")
	}
	note, err := readArchivePart(w.now(archiveCheckpoint), w.first, 0)
	if err != nil {
		return err
	}
	if !bytes.Equal(note, w.opt.Checkpoint) {
		there, err := ReadCheckpoint(note)
		if err == nil && there != w.note {
			err = fmt.Errorf("it is one of %d records of %s with the root %v", there.Size, there.Origin, there.Root)
		}
		if err == nil {
			err = rightlySigned(note, w.opt.Keys)
		}
		if err != nil {
			return damaged(filepath.Base(w.now(archiveCheckpoint)), w.first, last, "not the checkpoint for this segment: %v", err)
		}
	}
	c := &checker{tree: tree}
	if err := scanArchived(ctx, w.now(archiveLines), w.first, tile, c); err != nil {
		return err
	}
	if c.tree.Head() != w.end {
		return damaged(filepath.Base(w.now(archiveLines)), w.first, last, "the root differs from that of the journal")
	}
	return nil
}

// now gives the name that a part has at present.
func (w *archiver) now(part string) string {
	for _, temp := range w.temps {
		if temp == part {
			return w.temp(part)
		}
	}
	return w.path(part)
}

// name gives a part its name, if it has not got it yet.
func (w *archiver) name(part string) error {
	if w.now(part) == w.path(part) {
		return nil
	}
	return w.step("archive.rename", func() error { return renameNew(w.temp(part), w.path(part)) })
}

// renameNew never replaces a file. Not every file system can do that in one
// step; there it looks first.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
	default:
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EEXIST})
	}
	return os.Rename(from, to)
}

func (w *archiver) step(op string, do func() error) error {
	if w.opt.Fault == nil {
		return do()
	}
	return w.opt.Fault(op, do)
}
