package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// prunedLong gives a copy of long that was pruned up to a record, and its
// archive.
func prunedLong(t testing.TB, to uint64) (dir, archive string) {
	t.Helper()
	from, at := long(t)
	dir = copyDir(t, from)
	l := openTest(t, dir, Options{})
	require.NoError(t, l.Prune(to))
	require.NoError(t, l.Close())
	return dir, copyFiles(t, at)
}

func openHistory(t testing.TB, dir, archive string) *History {
	t.Helper()
	a, err := OpenArchive(archive)
	require.NoError(t, err)
	h, err := NewHistory(openTest(t, dir, Options{ReadOnly: true}), a)
	require.NoError(t, err)
	return h
}

// What was pruned reads as it did before, and everything said of it is the same.
func TestHistory(t *testing.T) {
	t.Parallel()
	from, _ := long(t)
	whole := openTest(t, from, Options{ReadOnly: true})
	dir, archive := prunedLong(t, 2*SegmentRecords)
	h := openHistory(t, dir, archive)
	require.Equal(t, uint64(0), h.First())
	require.Equal(t, whole.Head(), h.Head())
	assert.Equal(t, uint64(2*SegmentRecords), h.log.First())

	for _, r := range [][2]uint64{{0, longSize}, {2*SegmentRecords - 5, 2*SegmentRecords + 5}, {3 * SegmentRecords, 3*SegmentRecords + 1}, {3, 4}} {
		seq := r[0]
		require.NoError(t, h.Read(ctx, r[0], r[1], func(line []byte) error {
			if want := testLine(seq, 0); !bytes.Equal(want, line) {
				assert.Equal(t, string(want), string(line))
			}
			seq++
			return nil
		}))
		assert.Equal(t, r[1], seq)
	}
	for _, from := range []uint64{0, SegmentRecords + 300, 2 * SegmentRecords, longSize - 1} {
		seq := from
		require.NoError(t, h.Replay(ctx, from, func(e *Entry) error {
			if e.Seq != seq {
				assert.Equal(t, seq, e.Seq)
			}
			seq++
			return nil
		}))
		assert.Equal(t, uint64(longSize), seq)
	}
	for _, size := range []uint64{0, 1, 300, SegmentRecords - 1, SegmentRecords, SegmentRecords + 257, 2*SegmentRecords + 1, longSize} {
		want, err := whole.RootAt(ctx, size)
		require.NoError(t, err)
		got, err := h.RootAt(ctx, size)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%d", size)

		growth, err := whole.ProveGrowth(size, longSize)
		require.NoError(t, err)
		again, err := h.ProveGrowth(size, longSize)
		require.NoError(t, err)
		assert.Equal(t, growth, again)
		if size > 0 {
			require.NoError(t, tlog.CheckTree(theirs(again.Hashes), longSize, tlog.Hash(h.Head().Root), int64(size), tlog.Hash(want)))
		}
		if size == longSize {
			continue
		}
		line, err := h.Line(size)
		require.NoError(t, err)
		assert.Equal(t, string(testLine(size, 0)), string(line))
		proof, err := whole.Prove(size, longSize)
		require.NoError(t, err)
		same, err := h.Prove(size, longSize)
		require.NoError(t, err)
		assert.Equal(t, proof, same)
		require.NoError(t, tlog.CheckRecord(theirs(same.Hashes), longSize, tlog.Hash(h.Head().Root), int64(size), tlog.RecordHash(line)))
	}
	err := h.Read(ctx, 10, longSize, func([]byte) error { return errInjected })
	require.ErrorIs(t, err, errInjected)
}

func TestHistoryWithoutArchive(t *testing.T) {
	t.Parallel()
	dir, _ := prunedLong(t, SegmentRecords)
	l := openTest(t, dir, Options{ReadOnly: true})
	h, err := NewHistory(l, nil)
	require.NoError(t, err)
	assert.Equal(t, uint64(SegmentRecords), h.First())
	require.ErrorIs(t, h.Replay(ctx, 5, nil), ErrPruned)
	require.ErrorIs(t, h.Read(ctx, 5, 6, nil), ErrPruned)
	_, err = h.Line(5)
	require.ErrorIs(t, err, ErrPruned)
	_, err = h.RootAt(ctx, 5)
	require.ErrorIs(t, err, ErrPruned)
	line, err := h.Line(SegmentRecords)
	require.NoError(t, err)
	assert.Equal(t, string(testLine(SegmentRecords, 0)), string(line))
}

// An archive that leaves a gap is refused by name; one that begins late is what
// there is.
func TestHistoryGaps(t *testing.T) {
	t.Parallel()
	dir, archive := prunedLong(t, 2*SegmentRecords)
	l := openTest(t, dir, Options{ReadOnly: true})
	history := func(without ...uint64) (*History, error) {
		at := copyFiles(t, archive)
		for _, first := range without {
			require.NoError(t, os.Remove(filepath.Join(at, archiveName(first, archiveLines))))
		}
		a, err := OpenArchive(at)
		require.NoError(t, err)
		_, verr := VerifyWith(ctx, dir, VerifyOptions{Archive: a})
		h, err := NewHistory(l, a)
		if err == nil {
			require.NoError(t, verr)
		} else {
			assert.Equal(t, err.Error(), verr.Error())
		}
		return h, err
	}
	_, err := history(0, SegmentRecords, 2*SegmentRecords)
	require.ErrorIs(t, err, ErrNotArchived)
	assert.ErrorContains(t, err, "the journal begins at record 131072")
	assert.ErrorContains(t, err, "records 65536 to 131071 are not in the archive")
	_, err = history(SegmentRecords)
	require.ErrorIs(t, err, ErrNotArchived)
	assert.ErrorContains(t, err, "records 65536 to 131071")
	h, err := history(0)
	require.NoError(t, err)
	assert.Equal(t, uint64(SegmentRecords), h.First())
	require.ErrorIs(t, h.Read(ctx, 0, 1, nil), ErrPruned)
	_, err = h.Line(SegmentRecords)
	require.NoError(t, err)
}

// otherArchive gives the archive of a journal of one segment, that is in order
// and not long's.
func otherArchive(t testing.TB) string {
	t.Helper()
	l := openTest(t, t.TempDir(), Options{})
	for at := uint64(0); at < SegmentRecords; at += MaxBatchRecords {
		require.NoError(t, l.Append(testLines(at, MaxBatchRecords, 190)))
	}
	at := t.TempDir()
	_, err := l.Archive(ctx, at, 0, noteFor(t, l, 0))
	require.NoError(t, err)
	return at
}

func TestVerifyArchive(t *testing.T) {
	t.Parallel()
	dir, archive := prunedLong(t, 2*SegmentRecords)
	a, err := OpenArchive(archive)
	require.NoError(t, err)
	seq := uint64(0)
	head, err := VerifyWith(ctx, dir, VerifyOptions{Archive: a, Seen: func(e *Entry) error {
		if e.Seq != seq {
			assert.Equal(t, seq, e.Seq)
		}
		seq++
		return nil
	}})
	require.NoError(t, err)
	assert.Equal(t, uint64(longSize), seq)
	assert.Equal(t, uint64(longSize), head.Size)
	require.NoError(t, a.CheckSignatures(archiveKey().Verifier()))

	alone, err := a.Verify(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, uint64(3*SegmentRecords), alone.Size)

	_, err = VerifyWith(ctx, dir, VerifyOptions{Archive: a, Seen: func(e *Entry) error { return errInjected }})
	require.ErrorIs(t, err, errInjected)

	stranger, err := NewSigningKey("waybill/test")
	require.NoError(t, err)
	var d *DamageError
	require.ErrorAs(t, a.CheckSignatures(stranger.Verifier()), &d)
	assert.Equal(t, archiveName(0, archiveCheckpoint), d.File)
}

// Each way in which an archive and a journal do not belong together.
func TestVerifyArchiveDamage(t *testing.T) {
	t.Parallel()
	dir, archive := prunedLong(t, 2*SegmentRecords)
	other := otherArchive(t)
	put := func(t *testing.T, to string, first uint64, from string, fromFirst uint64, parts ...string) {
		for _, part := range parts {
			b, err := os.ReadFile(filepath.Join(from, archiveName(fromFirst, part)))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, archiveName(first, part)), b, 0o600))
		}
	}
	for name, c := range map[string]struct {
		spoil     func(t *testing.T, at string)
		file      string
		seq, last uint64
	}{
		"a segment of another journal": {func(t *testing.T, at string) { put(t, at, 0, other, 0, archiveParts[:]...) },
			archiveName(0, archiveTile), 0, SegmentRecords - 1},
		"its lines and tile": {func(t *testing.T, at string) { put(t, at, 0, other, 0, archiveTile, archiveLines) },
			archiveName(0, archiveTile), 0, SegmentRecords - 1},
		"its lines": {func(t *testing.T, at string) { put(t, at, 0, other, 0, archiveLines) },
			archiveName(0, archiveLines), 0, 255},
		"its checkpoint": {func(t *testing.T, at string) { put(t, at, 0, other, 0, archiveCheckpoint) },
			archiveName(0, archiveCheckpoint), 0, SegmentRecords - 1},
		"two segments exchanged": {func(t *testing.T, at string) {
			old := copyFiles(t, at)
			put(t, at, 0, old, SegmentRecords, archiveParts[:]...)
			put(t, at, SegmentRecords, old, 0, archiveParts[:]...)
		}, archiveName(0, archiveTile), 0, SegmentRecords - 1},
		"the checkpoint of another size": {func(t *testing.T, at string) { put(t, at, SegmentRecords, at, 0, archiveCheckpoint) },
			archiveName(SegmentRecords, archiveCheckpoint), SegmentRecords, 2*SegmentRecords - 1},
		"no checkpoint": {func(t *testing.T, at string) {
			require.NoError(t, os.Remove(filepath.Join(at, archiveName(SegmentRecords, archiveCheckpoint))))
		}, archiveName(SegmentRecords, archiveCheckpoint), SegmentRecords, 2*SegmentRecords - 1},
		"a segment that is still held": {func(t *testing.T, at string) { put(t, at, 2*SegmentRecords, other, 0, archiveParts[:]...) },
			archiveName(2*SegmentRecords, archiveTile), 2 * SegmentRecords, 3*SegmentRecords - 1},
		"a segment too many": {func(t *testing.T, at string) { put(t, at, 3*SegmentRecords, other, 0, archiveParts[:]...) },
			archiveName(3*SegmentRecords, archiveLines), longSize, 4*SegmentRecords - 1},
	} {
		if leftOut(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := copyFiles(t, archive)
			c.spoil(t, at)
			a, err := OpenArchive(at)
			require.NoError(t, err)
			_, err = VerifyWith(ctx, dir, VerifyOptions{Archive: a})
			var d *DamageError
			require.ErrorAs(t, err, &d)
			assert.Equal(t, c.file, d.File)
			assert.Equal(t, c.seq, d.Seq)
			assert.Equal(t, c.last, d.Last)

			_, err = a.Verify(ctx, nil)
			require.ErrorAs(t, err, &d)
		})
	}
}

// A history read does not believe an archive that is in order by itself.
func TestHistoryOfAnotherArchive(t *testing.T) {
	t.Parallel()
	dir, _ := prunedLong(t, SegmentRecords)
	h := openHistory(t, dir, otherArchive(t))
	var d *DamageError
	require.ErrorAs(t, h.Read(ctx, 0, 1, func([]byte) error { return errInjected }), &d)
	require.ErrorAs(t, h.Replay(ctx, 0, func(*Entry) error { return errInjected }), &d)
	_, err := h.Line(5)
	require.ErrorAs(t, err, &d)
	_, err = h.RootAt(ctx, 5)
	require.ErrorAs(t, err, &d)
	_, err = h.Prove(5, longSize)
	require.ErrorAs(t, err, &d)
}
