package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// copyDir copies a journal, of its files only what is in use and not the hole
// behind it.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	names, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, name := range names {
		copyFile(t, to, from, name.Name())
	}
	return to
}

// copyFile copies a file of a journal without the hole behind what is in use.
func copyFile(t testing.TB, to, from, name string) {
	t.Helper()
	src, err := os.Open(filepath.Join(from, name))
	require.NoError(t, err)
	dst, err := os.Create(filepath.Join(to, name))
	require.NoError(t, err)
	info, err := src.Stat()
	require.NoError(t, err)
	size := info.Size()
	if _, ok := parseSegmentName(name); ok {
		size = usedBytes(t, src)
	}
	n, err := io.CopyN(dst, src, size)
	require.NoError(t, err, "%s: %d bytes", name, n)
	require.NoError(t, dst.Truncate(info.Size()))
	require.NoError(t, errors.Join(src.Close(), dst.Close()))
}

// usedBytes gives the size of the pages in use at the start of a segment.
func usedBytes(t testing.TB, f *os.File) int64 {
	t.Helper()
	meta := make([]byte, 2*pageSize)
	_, err := f.ReadAt(meta, 0)
	require.NoError(t, err)
	return int64(max(readMeta(meta, 0).end, readMeta(meta, 1).end)) * pageSize
}

// patch replaces every occurrence of old, also in pages that are free.
func patch(t testing.TB, path string, old, new []byte) {
	t.Helper()
	require.Len(t, new, len(old))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	data := make([]byte, usedBytes(t, f))
	_, err = f.ReadAt(data, 0)
	require.NoError(t, err)
	found := false
	for at := bytes.Index(data, old); at >= 0; at = bytes.Index(data, old) {
		_, err = f.WriteAt(new, int64(at))
		require.NoError(t, err)
		copy(data[at:], new)
		found = true
	}
	require.True(t, found, "%q is not in %s", old, path)
	require.NoError(t, f.Close())
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// edit changes a segment through bbolt, as somebody would who knows how.
func edit(t testing.TB, dir string, first uint64, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, segmentName(first)), 0o600, boltOptions(false))
	require.NoError(t, err)
	require.NoError(t, db.Update(fn))
	require.NoError(t, db.Close())
}

func leafOf(seq uint64) []byte {
	var h hasher
	leaf := h.leaf(testLine(seq, 0))
	return leaf[:]
}

// forge changes a record and its hash in the tile.
func forge(t testing.TB, dir string, seq uint64) {
	edit(t, dir, 0, func(tx *bolt.Tx) error {
		line := bytes.Replace(testLine(seq, 0), []byte("main"), []byte("niam"), 1)
		var h hasher
		leaf := h.leaf(line)
		tile := bytes.Replace(tx.Bucket(tileBucket).Get(tileKey(0, seq/tileWidth)), leafOf(seq), leaf[:], 1)
		return errors.Join(tx.Bucket(logBucket).Put(seqKey(seq), line), tx.Bucket(tileBucket).Put(tileKey(0, seq/tileWidth), tile))
	})
}

func swapRecords(a, b uint64) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		log := tx.Bucket(logBucket)
		return errors.Join(log.Put(seqKey(a), testLine(b, 0)), log.Put(seqKey(b), testLine(a, 0)))
	}
}

// Every kind of damage is met by Verify, which names the record, and by Open
// or Replay.
func TestDamage(t *testing.T) {
	const (
		small = 700 // two full tiles and 188 records
		large = SegmentRecords + 300
	)
	t.Parallel()
	dirs := map[int]string{small: journalOf(t, small), large: journalOf(t, large)}
	seg0, seg1 := segmentName(0), segmentName(SegmentRecords)
	body := func(seq int) []byte { return fmt.Appendf(nil, `{"n":%d,"pad":""}`, seq) }

	for name, c := range map[string]struct {
		size      int
		do        func(t *testing.T, dir string)
		seq, last uint64
	}{
		"record in a full tile": {small, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), body(100), flipped(body(100), 6))
		}, 100, 100},
		"record of a sealed segment": {large, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), body(40000), flipped(body(40000), 6))
		}, 40000, 40000},
		"record in the tail, still JSON": {small, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), body(600), flipped(body(600), 6))
		}, 512, 699},
		"record in the tail, no longer JSON": {small, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), body(600), flipped(body(600), 1))
		}, 600, 600},
		"hash in a tile": {small, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), leafOf(300), flipped(leafOf(300), 9))
		}, 300, 300},
		"hash in a tile of a sealed segment": {large, func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, seg0), leafOf(300), flipped(leafOf(300), 9))
		}, 300, 300},
		"record and its hash": {large, func(t *testing.T, dir string) {
			forge(t, dir, 1000)
		}, 768, 1023},
		"record and its hash, then a record": {large, func(t *testing.T, dir string) {
			forge(t, dir, 300)
			patch(t, filepath.Join(dir, seg0), body(1020), flipped(body(1020), 6))
		}, 256, 511},
		"level-1 tile": {large, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				return tx.Bucket(tileBucket).Put(tileKey(1, 0), flipped(tx.Bucket(tileBucket).Get(tileKey(1, 0)), 2*32))
			})
		}, 512, 767},
		"level-1 tile missing": {large, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.Bucket(tileBucket).Delete(tileKey(1, 0)) })
		}, 0, SegmentRecords - 1},
		"tile missing": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.Bucket(tileBucket).Delete(tileKey(0, 1)) })
		}, 256, 511},
		"root in the head": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				return tx.Bucket(metaBucket).Put(headKey, flipped(tx.Bucket(metaBucket).Get(headKey), 20))
			})
		}, 512, 699},
		"root in the head of a sealed segment": {large, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				return tx.Bucket(metaBucket).Put(headKey, flipped(tx.Bucket(metaBucket).Get(headKey), 20))
			})
		}, SegmentRecords - 1, SegmentRecords - 1},
		"size in the head, too large": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				return tx.Bucket(metaBucket).Put(headKey, flipped(tx.Bucket(metaBucket).Get(headKey), 7))
			})
		}, 700, 700},
		"size in the head, too small": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				tree := NewTree()
				for seq := range uint64(600) {
					tree.Append(testLine(seq, 0))
				}
				return tx.Bucket(metaBucket).Put(headKey, encodeHead(tree.Head()))
			})
		}, 600, SegmentRecords - 1},
		"last record cut away": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(seqKey(699)) })
		}, 699, 699},
		"record missing in the middle": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(seqKey(300)) })
		}, 300, 300},
		"records swapped": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, swapRecords(200, 400))
		}, 200, 200},
		"records swapped in the tail": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, swapRecords(600, 601))
		}, 600, 600},
		"sealed segment ends early": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, seg0)))
			require.NoError(t, os.Rename(filepath.Join(copyDir(t, dirs[small]), seg0), filepath.Join(dir, seg0)))
		}, 700, SegmentRecords - 1},
		"record after the end of a sealed segment": {large, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error {
				return tx.Bucket(logBucket).Put(seqKey(SegmentRecords), testLine(SegmentRecords, 0))
			})
		}, SegmentRecords, SegmentRecords},
		"peaks": {large, func(t *testing.T, dir string) {
			edit(t, dir, SegmentRecords, func(tx *bolt.Tx) error {
				return tx.Bucket(metaBucket).Put(peaksKey, flipped(tx.Bucket(metaBucket).Get(peaksKey), 3))
			})
		}, SegmentRecords, SegmentRecords},
		"peaks cut off": {large, func(t *testing.T, dir string) {
			edit(t, dir, SegmentRecords, func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(peaksKey, nil) })
		}, SegmentRecords, 2*SegmentRecords - 1},
		"another format": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte{2}) })
		}, 0, SegmentRecords - 1},
		"a bucket missing": {small, func(t *testing.T, dir string) {
			edit(t, dir, 0, func(tx *bolt.Tx) error { return tx.DeleteBucket(tileBucket) })
		}, 0, SegmentRecords - 1},
		"first segment missing": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, seg0)))
		}, 0, SegmentRecords - 1},
		"hole between segments": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(filepath.Join(dir, seg1), filepath.Join(dir, segmentName(2*SegmentRecords))))
		}, SegmentRecords, 2*SegmentRecords - 1},
		"segment under another's name": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, seg1)))
			require.NoError(t, os.Link(filepath.Join(dir, seg0), filepath.Join(dir, seg1)))
		}, SegmentRecords, 2*SegmentRecords - 1},
		"bad name": {small, func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "seg-0000000000000001.db"), nil, 0o600))
		}, SegmentRecords, SegmentRecords},
		"empty file": {small, func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, seg0), 0))
		}, 0, SegmentRecords - 1},
		"garbage file": {small, func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, seg0), bytes.Repeat([]byte("garbage "), 10000), 0o600))
		}, 0, SegmentRecords - 1},
		"garbage as the last of two": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, seg1), bytes.Repeat([]byte("garbage "), 10000), 0o600))
		}, SegmentRecords, 2*SegmentRecords - 1},
		"garbage as the last, and a record before": {large, func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, seg1), bytes.Repeat([]byte("garbage "), 10000), 0o600))
			patch(t, filepath.Join(dir, seg0), body(40000), flipped(body(40000), 6))
		}, 40000, 40000},
		"file cut off": {small, func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, seg0), 20*pageSize))
		}, 0, SegmentRecords - 1},
		"newest meta page": {small, func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, seg0), os.O_RDWR, 0)
			require.NoError(t, err)
			data := make([]byte, 2*pageSize)
			_, err = f.ReadAt(data, 0)
			require.NoError(t, err)
			at := pageHeader + 20
			if readMeta(data, 1).tx > readMeta(data, 0).tx {
				at += pageSize
			}
			_, err = f.WriteAt(flipped(data[at:at+1], 0), int64(at))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}, 0, SegmentRecords - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, dirs[c.size])
			c.do(t, dir)
			_, err := Verify(ctx, dir)
			var d *DamageError
			require.ErrorAs(t, err, &d)
			t.Log(d)
			assert.Equal(t, c.seq, d.Seq, "%v", d)
			assert.Equal(t, c.last, d.Last, "%v", d)
			assert.True(t, strings.HasPrefix(d.File, "seg-"), "%v", d)
			assert.ErrorContains(t, err, fmt.Sprintf("%d", c.seq))

			l, err := Open(dir, Options{})
			if err == nil {
				n := uint64(0)
				err = l.Replay(ctx, 0, func(e *Entry) error {
					assert.Equal(t, string(testLine(n, 0)), string(again(e)))
					n++
					return nil
				})
				assert.LessOrEqual(t, n, c.seq, "nothing that is damaged is replayed")
				require.NoError(t, l.Close())
			}
			require.ErrorAs(t, err, &d)
		})
	}
}

// TestBitFlips flips one bit anywhere in the pages of a journal: either it
// changes nothing that counts, or Verify says so. Nothing panics or hangs.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	const n = 700
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	require.NoError(t, err)
	for at := uint64(0); at < n; at += 50 {
		require.NoError(t, l.Append(testLines(at, 50, 0)))
	}
	head := l.Head()
	require.NoError(t, l.Close())
	path := filepath.Join(dir, segmentName(0))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	used := int(usedBytes(t, f))
	data := make([]byte, used)
	_, err = f.ReadAt(data, 0)
	require.NoError(t, err)

	flips := 1000
	if testing.Short() {
		flips = 200
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	found := 0
	for i := range flips {
		at := rnd.IntN(used)
		if i%2 == 0 { // headers are where it hurts
			at = at/pageSize*pageSize + rnd.IntN(200)
		}
		bit := byte(1) << rnd.IntN(8)
		_, err := f.WriteAt([]byte{data[at] ^ bit}, int64(at))
		require.NoError(t, err)
		got, err := Verify(ctx, dir)
		var d *DamageError
		if err != nil {
			found++
			require.ErrorAs(t, err, &d, "byte %d bit %x", at, bit)
		} else {
			require.Equal(t, head, got, "byte %d bit %x", at, bit)
		}
		l, err := Open(dir, Options{ReadOnly: true})
		if err == nil {
			require.Equal(t, head, l.Head())
			require.NoError(t, l.Close())
		} else {
			require.ErrorAs(t, err, &d)
		}
		_, err = f.WriteAt(data[at:at+1], int64(at))
		require.NoError(t, err)
	}
	t.Logf("%d of %d flips were found, the others hit what is not in use", found, flips)
	assert.Greater(t, found, flips/3)
}

// A file that is cut off while it is open is a fault of the mapping.
func TestCutOffWhileOpen(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	require.NoError(t, err)
	fill(t, l, 5000)
	require.NoError(t, os.Truncate(filepath.Join(dir, segmentName(0)), 8*pageSize))
	var d *DamageError
	require.ErrorAs(t, l.Read(ctx, 0, 5000, func([]byte) error { return nil }), &d)
	require.ErrorAs(t, l.Replay(ctx, 0, func(*Entry) error { return nil }), &d)
	_, err = l.RootAt(ctx, 300)
	require.ErrorAs(t, err, &d)
	err = l.Append(testLines(5000, 1, 0))
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, l.Append(testLines(5000, 1, 0)), ErrFailed)
	require.NoError(t, l.Close())
}

func TestVerifyExport(t *testing.T) {
	export := func(lines ...[]byte) []byte {
		if len(lines) == 0 {
			return nil
		}
		return append(bytes.Join(lines, []byte("\n")), '\n')
	}
	grouped := func(groups ...Group) []byte {
		var lines [][]byte
		for i, g := range groups {
			lines = append(lines, AppendRecord(nil, &Record{Seq: uint64(i), At: epoch, Kind: "x", Group: g, Body: []byte(`{}`)}))
		}
		return export(lines...)
	}
	const n = 3000
	whole := export(testLines(0, n, 0)...)
	replace := func(seq uint64, line []byte) []byte {
		lines := testLines(0, n, 0)
		lines[seq] = line
		return export(lines...)
	}
	const fine = ^uint64(0)
	for name, c := range map[string]struct {
		export []byte
		seq    uint64
	}{
		"whole":               {whole, fine},
		"empty":               {nil, fine},
		"flipped in a name":   {bytes.Replace(whole, []byte(`"seq":2000`), []byte(`"seq":2001`), 1), 2000},
		"flipped in the JSON": {replace(1500, flipped(testLine(1500, 0), 1)), 1500},
		"gap":                 {export(append(testLines(0, 10, 0), testLines(11, 10, 0)...)...), 10},
		"duplicate":           {export(append(testLines(0, 10, 0), testLines(9, 10, 0)...)...), 10},
		"starts later":        {export(testLines(5, 10, 0)...), 0},
		"time falls": {replace(700, AppendRecord(nil, &Record{
			Seq: 700, At: epoch, Kind: "x", Body: []byte(`{}`)})), 700},
		"not canonical":        {replace(800, bytes.Replace(testLine(800, 0), []byte(`:`), []byte(`: `), 1)), 800},
		"CRLF":                 {replace(800, append(testLine(800, 0), '\r')), 800},
		"empty line":           {append(bytes.Clone(whole), '\n'), n},
		"no newline at end":    {whole[:len(whole)-1], n - 1},
		"cut in a line":        {whole[:len(whole)-20], n - 1},
		"line too long":        {replace(900, bytes.Repeat([]byte("x"), MaxLine+1)), 900},
		"line far too long":    {replace(900, bytes.Repeat([]byte("x"), 3<<20)), 900},
		"groups":               {grouped(Group{}, Group{1, 2}, Group{2, 2}, Group{1, 1}, Group{1, 3}, Group{2, 3}, Group{3, 3}, Group{}), fine},
		"group cut by end":     {grouped(Group{1, 2}), fine},
		"group void":           {grouped(Group{1, 3}, Group{2, 3}, Group{}), fine},
		"group void by group":  {grouped(Group{1, 3}, Group{2, 3}, Group{1, 2}, Group{2, 2}), fine},
		"group starts inside":  {grouped(Group{}, Group{2, 2}), 1},
		"group skips":          {grouped(Group{1, 3}, Group{3, 3}), 1},
		"group repeats":        {grouped(Group{1, 3}, Group{2, 3}, Group{2, 3}), 2},
		"group of other size":  {grouped(Group{1, 3}, Group{2, 4}), 1},
		"group goes on":        {grouped(Group{1, 2}, Group{2, 2}, Group{2, 2}), 2},
		"group goes on, void":  {grouped(Group{1, 3}, Group{}, Group{2, 3}), 2},
		"group goes on, wider": {grouped(Group{1, 1}, Group{2, 2}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			head, err := VerifyExport(ctx, bytes.NewReader(c.export))
			if c.seq != fine {
				var d *DamageError
				require.ErrorAs(t, err, &d)
				assert.Equal(t, c.seq, d.Seq, "%v", d)
				return
			}
			require.NoError(t, err)
			tree := NewTree()
			for line := range bytes.Lines(c.export) {
				tree.Append(bytes.TrimSuffix(line, []byte("\n")))
			}
			assert.Equal(t, tree.Head(), head)
		})
	}
	_, err := VerifyExport(ctx, &failingReader{data: whole})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var d *DamageError
	require.False(t, errors.As(err, &d), "a reader's error is no damage")
}

type failingReader struct{ data []byte }

func (r *failingReader) Read(p []byte) (int, error) {
	n := copy(p, r.data)
	if r.data = r.data[n:]; n == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}

// A tail of long records is more than one chunk.
func TestDamageInLongTail(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, l.Append(testLines(0, 256, 0)))
	require.NoError(t, l.Append(testLines(256, 100, 30000)))
	require.NoError(t, l.Replay(ctx, 0, func(*Entry) error { return nil }))
	require.NoError(t, l.Close())
	line := testLine(270, 30000)
	patch(t, filepath.Join(dir, segmentName(0)), line[:1000], flipped(line[:1000], 999))
	_, verr := Verify(ctx, dir)
	_, oerr := Open(dir, Options{})
	for _, err := range []error{verr, oerr} {
		var d *DamageError
		require.ErrorAs(t, err, &d)
		assert.EqualValues(t, 256, d.Seq)
		assert.EqualValues(t, 355, d.Last)
	}
}
