package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const longSize = 3*SegmentRecords + 700

// long gives a closed journal of three full segments and a bit, to be copied,
// not changed, and its archive.
func long(t testing.TB) (dir, archive string) {
	t.Helper()
	longOnce.Do(func() {
		require.NoError(t, os.Rename(threeSegments(t), longDir()))
		l, err := Open(longDir(), Options{})
		require.NoError(t, err)
		fill(t, l, longSize)
		require.NoError(t, os.Mkdir(longDir()+"-archive", 0o700))
		for first := uint64(0); first < 3*SegmentRecords; first += SegmentRecords {
			_, err := l.Archive(ctx, longDir()+"-archive", first, noteFor(t, l, first))
			require.NoError(t, err)
		}
		require.NoError(t, l.Close())
	})
	return longDir(), longDir() + "-archive"
}

var longOnce sync.Once

func longDir() string { return filepath.Join(testDir, "long") }

// archiveKey signs the checkpoints of the test histories.
var archiveKey = sync.OnceValue(func() *SigningKey {
	k, err := NewSigningKey("waybill/test")
	if err != nil {
		panic(err)
	}
	return k
})

// noteFor gives the options to archive a segment with.
func noteFor(t testing.TB, l *Log, first uint64) ArchiveOptions {
	t.Helper()
	root, err := l.RootAt(ctx, first+SegmentRecords)
	require.NoError(t, err)
	note, err := SignCheckpoint(Checkpoint{"waybill/test", Head{first + SegmentRecords, root}}, archiveKey())
	require.NoError(t, err)
	return ArchiveOptions{Checkpoint: note}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	dir, at := long(t)
	l := openTest(t, dir, Options{ReadOnly: true})
	a, err := OpenArchive(at)
	require.NoError(t, err)
	require.Equal(t, []uint64{0, SegmentRecords, 2 * SegmentRecords}, a.Firsts())
	assert.Equal(t, uint64(3*SegmentRecords), a.End())
	require.NoError(t, a.Covers(5, 3*SegmentRecords))

	for _, r := range [][2]uint64{{0, 3 * SegmentRecords}, {SegmentRecords - 3, SegmentRecords + 3}, {100, 101}, {2*SegmentRecords + 256, 2*SegmentRecords + 1300}, {7, 7}} {
		seq := r[0]
		require.NoError(t, a.Read(ctx, r[0], r[1], func(line []byte) error {
			if want := testLine(seq, 0); !bytes.Equal(want, line) {
				assert.Equal(t, string(want), string(line))
			}
			seq++
			return nil
		}))
		assert.Equal(t, r[1], seq)
	}
	err = a.Read(ctx, 300, 400, func([]byte) error { return errInjected })
	require.ErrorIs(t, err, errInjected)
	assert.ErrorContains(t, err, "record 300")

	// What is there is compared, and taken.
	got, err := l.Archive(ctx, at, SegmentRecords, noteFor(t, l, SegmentRecords))
	require.NoError(t, err)
	assert.True(t, got.Existed)
	assert.Equal(t, uint64(SegmentRecords), got.First)
	assert.Equal(t, int64(got.Bytes), dirBytes(t, at, SegmentRecords))

	err = a.Read(ctx, 3*SegmentRecords-1, 3*SegmentRecords+1, func([]byte) error { return nil })
	require.ErrorIs(t, err, ErrNotArchived)
	assert.ErrorContains(t, err, "records 196608 to 196608 are")
}

// copyFiles copies an archive.
func copyFiles(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

func dirBytes(t *testing.T, dir string, first uint64) (sum int64) {
	t.Helper()
	for _, part := range archiveParts {
		info, err := os.Stat(filepath.Join(dir, archiveName(first, part)))
		require.NoError(t, err)
		sum += info.Size()
	}
	return sum
}

func TestArchiveHoles(t *testing.T) {
	t.Parallel()
	_, from := long(t)
	at := copyFiles(t, from)
	require.NoError(t, os.Remove(filepath.Join(at, archiveName(SegmentRecords, archiveLines))))
	require.NoError(t, os.WriteFile(filepath.Join(at, "README"), nil, 0o600))
	a, err := OpenArchive(at)
	require.NoError(t, err)
	assert.Equal(t, []uint64{0, 2 * SegmentRecords}, a.Firsts())
	err = a.Covers(10, 3*SegmentRecords)
	require.ErrorIs(t, err, ErrNotArchived)
	assert.ErrorContains(t, err, "records 65536 to 131071 are")

	require.NoError(t, os.WriteFile(filepath.Join(at, "seg-0000000000000100.jsonl.zst"), nil, 0o600))
	_, err = OpenArchive(at)
	var d *DamageError
	require.ErrorAs(t, err, &d)
	_, err = OpenArchive(filepath.Join(at, "nothing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Every node of the tree that lies in a segment can be had from its archive.
func TestArchiveNodes(t *testing.T) {
	t.Parallel()
	_, at := long(t)
	a, err := OpenArchive(at)
	require.NoError(t, err)
	const first = SegmentRecords
	tile, err := a.Tile(first)
	require.NoError(t, err)
	var row []Hash
	var h hasher
	for seq := uint64(first); seq < 2*first; seq++ {
		row = append(row, h.leaf(testLine(seq, 0)))
	}
	for level := 0; level < 16; level++ {
		for _, i := range []int{0, 1, len(row) / 2, len(row) - 1} {
			got, err := a.node(level, first>>level+uint64(i), tile)
			require.NoError(t, err)
			assert.Equal(t, row[i], got, "level %d, %d", level, i)
		}
		for i := range len(row) / 2 {
			row[i] = h.node(&row[2*i], &row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	assert.Equal(t, row[0], new(hasher).tileRoot(tile))
}

// Each durable step of archiving fails before or after it happened: the journal
// is what it was, whatever has its name in the archive is right, and the next
// attempt ends with the same files.
func TestArchiveFaults(t *testing.T) {
	t.Parallel()
	dir, whole := long(t)
	l := openTest(t, dir, Options{ReadOnly: true})
	for _, c := range []struct {
		op  string
		nth []int // which of these steps fail
	}{{"archive.write", []int{0, 2}}, {"archive.sync", []int{2}}, {"archive.rename", []int{0, 2}}, {"archive.dirsync", []int{0, 1}}} {
		for i, nth := range c.nth {
			for _, happens := range []bool{false, true} {
				if testing.Short() && (i > 0 || happens == (nth == 0)) {
					continue // one of each kind
				}
				t.Run(fmt.Sprintf("%s %d %t", c.op, nth, happens), func(t *testing.T) {
					t.Parallel()
					at, n := t.TempDir(), 0
					opt := noteFor(t, l, 0)
					opt.Fault = func(op string, do func() error) error {
						if op != c.op {
							return do()
						}
						if n++; n-1 != nth {
							return do()
						}
						if happens {
							require.NoError(t, do())
						}
						return errInjected
					}
					_, err := l.Archive(ctx, at, 0, opt)
					require.ErrorIs(t, err, errInjected)
					sameAs(t, whole, at)
					_, err = l.Archive(ctx, at, 0, noteFor(t, l, 0))
					require.NoError(t, err)
					assert.Len(t, sameAs(t, whole, at), len(archiveParts))
				})
			}
		}
	}
}

// sameAs compares every file in dir with the one of that name in want.
func sameAs(t *testing.T, want, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		a, err := os.ReadFile(filepath.Join(want, e.Name()))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(a, b), e.Name())
		names = append(names, e.Name())
	}
	return names
}

// What a crash may leave: any part under its name, any under the temporary one,
// torn.
func TestArchiveCompletes(t *testing.T) {
	t.Parallel()
	dir, whole := long(t)
	l := openTest(t, dir, Options{ReadOnly: true})
	for _, left := range []int{0, 1, 3, 4, 6} { // bits: which part has its name
		if testing.Short() && left%3 != 0 {
			continue
		}
		at := t.TempDir()
		for i, part := range archiveParts {
			b, err := os.ReadFile(filepath.Join(whole, archiveName(0, part)))
			require.NoError(t, err)
			name := archiveName(0, part)
			if left>>i&1 == 0 {
				name, b = name+".tmp", b[:len(b)/2]
			}
			require.NoError(t, os.WriteFile(filepath.Join(at, name), b, 0o600))
		}
		got, err := l.Archive(ctx, at, 0, noteFor(t, l, 0))
		require.NoError(t, err)
		assert.False(t, got.Existed)
		assert.Len(t, sameAs(t, whole, at), len(archiveParts))
	}
}

// A checkpoint that an earlier attempt left counts for what it says: the key that
// signed it may be forgotten. One that is known must have signed it rightly.
func TestArchiveOtherSignature(t *testing.T) {
	t.Parallel()
	dir, _ := long(t)
	l := openTest(t, dir, Options{ReadOnly: true})
	head := Head{SegmentRecords, Hash{}}
	var err error
	head.Root, err = l.RootAt(ctx, SegmentRecords)
	require.NoError(t, err)
	signed := func(origin string, head Head) ([]byte, VerifierKey) {
		k, err := NewSigningKey(origin)
		require.NoError(t, err)
		note, err := SignCheckpoint(Checkpoint{origin, head}, k)
		require.NoError(t, err)
		return note, k.Verifier()
	}
	opt := ArchiveOptions{}
	var later VerifierKey
	opt.Checkpoint, later = signed("waybill/test", head)

	at := t.TempDir()
	_, err = l.Archive(ctx, at, 0, noteFor(t, l, 0))
	require.NoError(t, err)
	for _, keys := range [][]VerifierKey{nil, {later}, {archiveKey().Verifier(), later}} {
		opt.Keys = keys
		got, err := l.Archive(ctx, at, 0, opt)
		require.NoError(t, err)
		assert.True(t, got.Existed)
	}

	opt.Keys = []VerifierKey{archiveKey().Verifier(), later}
	file := filepath.Join(at, archiveName(0, archiveCheckpoint))
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	spoilt := bytes.Clone(good)
	spoilt[len(spoilt)-20] ^= 1
	origin, _ := signed("waybill/other", head)
	root, _ := signed("waybill/test", Head{SegmentRecords, Hash{1}})
	size, _ := signed("waybill/test", Head{2 * SegmentRecords, head.Root})
	for what, bad := range map[string][]byte{"signature": spoilt, "origin": origin, "root": root, "size": size, "nothing": nil} {
		require.NoError(t, os.WriteFile(file, bad, 0o600))
		_, err := l.Archive(ctx, at, 0, opt)
		var d *DamageError
		require.ErrorAs(t, err, &d, what)
		assert.Equal(t, archiveName(0, archiveCheckpoint), d.File, what)
	}
}

func TestArchiveRefuses(t *testing.T) {
	t.Parallel()
	dir, whole := long(t)
	l := openTest(t, dir, Options{ReadOnly: true})
	_, err := l.Archive(ctx, t.TempDir(), 0, noteFor(t, l, SegmentRecords))
	require.ErrorContains(t, err, "not one of 65536 records")
	for name, first := range map[string]uint64{"active": 3 * SegmentRecords, "to come": 9 * SegmentRecords, "in the middle": 5} {
		at := t.TempDir()
		_, err := l.Archive(ctx, at, first, ArchiveOptions{})
		require.ErrorContains(t, err, "no sealed segment", name)
		assert.Empty(t, sameAs(t, whole, at))
	}
	_, err = l.Archive(ctx, filepath.Join(t.TempDir(), "none"), 0, noteFor(t, l, 0))
	require.ErrorIs(t, err, fs.ErrNotExist)

	// Something else under one of the names stays what it is.
	for _, part := range archiveParts {
		at := t.TempDir()
		b, err := os.ReadFile(filepath.Join(whole, archiveName(SegmentRecords, part)))
		require.NoError(t, err)
		name := archiveName(0, part)
		require.NoError(t, os.WriteFile(filepath.Join(at, name), b, 0o600))
		_, err = l.Archive(ctx, at, 0, noteFor(t, l, 0))
		var d *DamageError
		require.ErrorAs(t, err, &d, part)
		assert.Equal(t, name, d.File)
		entries, err := os.ReadDir(at)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		after, err := os.ReadFile(filepath.Join(at, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(b, after))
	}
}

// A damaged journal is not archived, and it is the journal that is named.
func TestArchiveOfDamaged(t *testing.T) {
	t.Parallel()
	from, _ := long(t)
	dir := copyDir(t, from)
	forge(t, dir, 77)
	l, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	defer l.Close()
	at := t.TempDir()
	_, err = l.Archive(ctx, at, 0, noteFor(t, l, 0))
	var d *DamageError
	require.ErrorAs(t, err, &d)
	assert.Equal(t, uint64(0), d.Seq)
	assert.Equal(t, segmentName(0), d.File)
	entries, err := os.ReadDir(at)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// archiveLinesOf gives the decompressed lines of the first segment.
func archiveLinesOf(t testing.TB) []byte {
	t.Helper()
	_, whole := long(t)
	b, err := os.ReadFile(filepath.Join(whole, archiveName(0, archiveLines)))
	require.NoError(t, err)
	z, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer z.Close()
	lines, err := z.DecodeAll(b, nil)
	require.NoError(t, err)
	return lines
}

func compressed(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, opts...)
	require.NoError(t, err)
	return z.EncodeAll(b, nil)
}

func TestArchiveDamage(t *testing.T) {
	t.Parallel()
	_, whole := long(t)
	text := archiveLinesOf(t)
	zst, err := os.ReadFile(filepath.Join(whole, archiveName(0, archiveLines)))
	require.NoError(t, err)
	tile, err := os.ReadFile(filepath.Join(whole, archiveName(0, archiveTile)))
	require.NoError(t, err)
	width := len(testLine(50000, 0)) + 1 // of five digits
	at := bytes.Index(text, testLine(50000, 0))
	edited := func(fn func(b []byte) []byte) []byte { return compressed(t, fn(bytes.Clone(text))) }

	for name, c := range map[string]struct {
		part      string
		b         []byte
		from, to  uint64 // the record named lies here
		otherwise string // what the reason says
	}{
		"lines empty":         {archiveLines, nil, 0, 0, "ends early"},
		"lines are no zstd":   {archiveLines, []byte("seg"), 0, 0, "decompress"},
		"lines cut off":       {archiveLines, zst[:len(zst)/2], 1, SegmentRecords - 1, "decompress"},
		"checksum cut off":    {archiveLines, zst[:len(zst)-2], SegmentRecords - 256, SegmentRecords - 1, "decompress"},
		"checksum flipped":    {archiveLines, flipped(zst, len(zst)-1), SegmentRecords - 256, SegmentRecords - 1, "decompress"},
		"byte flipped":        {archiveLines, flipped(zst, len(zst)/3), 0, SegmentRecords - 1, ""},
		"record changed":      {archiveLines, edited(func(b []byte) []byte { b[at+100] ^= 1; return b }), 50000 - 50000%256, 50000, "tile"},
		"record dropped":      {archiveLines, edited(func(b []byte) []byte { return append(b[:at:at], b[at+width:]...) }), 50000 - 50000%256, 50000, "tile"},
		"last record dropped": {archiveLines, compressed(t, text[:len(text)-width]), SegmentRecords - 1, SegmentRecords - 1, "ends early"},
		"records swapped": {archiveLines, edited(func(b []byte) []byte {
			line := bytes.Clone(b[at : at+width])
			copy(b[at:], b[at+width:at+2*width])
			copy(b[at+width:], line)
			return b
		}), 50000 - 50000%256, 50000, "tile"},
		"record twice":  {archiveLines, edited(func(b []byte) []byte { return append(b[:at+width:at+width], text[at:]...) }), 50000 - 50000%256, 50001, "tile"},
		"record more":   {archiveLines, compressed(t, append(bytes.Clone(text), text[at:at+width]...)), SegmentRecords - 1, SegmentRecords - 1, "follows"},
		"a frame more":  {archiveLines, append(bytes.Clone(zst), compressed(t, []byte("x"))...), SegmentRecords - 1, SegmentRecords - 1, "follows"},
		"last line cut": {archiveLines, compressed(t, text[:len(text)-1]), SegmentRecords - 1, SegmentRecords - 1, "cut off"},
		"line too long": {archiveLines, edited(func(b []byte) []byte { return append(b[:at:at], zeros+"00\n"...) }), 50000, 50000, "longer"},
		"window too long": {archiveLines, func() []byte {
			var b bytes.Buffer
			z, err := zstd.NewWriter(&b, zstd.WithWindowSize(2*mostArchiveWindow))
			require.NoError(t, err)
			_, err = z.Write(text)
			require.NoError(t, errors.Join(err, z.Close()))
			return b.Bytes()
		}(), 0, 0, "decompress"},
		"no end of a line": {archiveLines, compressed(t, make([]byte, 1<<28)), 0, 0, "longer"},
		"tile flipped":     {archiveTile, flipped(tile, 32*20), 20 * 256, 20*256 + 255, "tile"},
		"tile cut off":     {archiveTile, tile[:len(tile)-1], 0, SegmentRecords - 1, "bytes"},
		"tile too long":    {archiveTile, append(bytes.Clone(tile), 0), 0, SegmentRecords - 1, "bytes"},
		"of another segment": {archiveTile, func() []byte {
			b, err := os.ReadFile(filepath.Join(whole, archiveName(SegmentRecords, archiveTile)))
			require.NoError(t, err)
			return b
		}(), 0, 255, "tile"},
	} {
		if leftOut(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for part, b := range map[string][]byte{archiveLines: zst, archiveTile: tile} {
				if part == c.part {
					b = c.b
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, archiveName(0, part)), b, 0o600))
			}
			a, err := OpenArchive(dir)
			require.NoError(t, err)
			seq := uint64(0)
			err = a.Read(ctx, 0, SegmentRecords, func(line []byte) error {
				assert.True(t, bytes.Equal(testLine(seq, 0), line), "nothing wrong is given out")
				seq++
				return nil
			})
			var d *DamageError
			require.ErrorAs(t, err, &d)
			assert.True(t, strings.HasPrefix(d.File, "seg-0000000000000000."), d.File)
			assert.GreaterOrEqual(t, d.Last, c.from, d)
			assert.LessOrEqual(t, d.Seq, c.to, d)
			assert.Contains(t, d.Reason, c.otherwise)

			tile, err := a.Tile(0)
			if err == nil {
				_, err = a.node(0, 0, tile)
			}
			require.ErrorAs(t, err, &d)
		})
	}

	dir := copyFiles(t, whole)
	require.NoError(t, os.Remove(filepath.Join(dir, archiveName(0, archiveTile))))
	require.NoError(t, os.WriteFile(filepath.Join(dir, archiveName(0, archiveCheckpoint)), make([]byte, MaxCheckpoint+1), 0o600))
	a, err := OpenArchive(dir)
	require.NoError(t, err)
	var d *DamageError
	_, err = a.Tile(0)
	require.ErrorAs(t, err, &d)
	_, err = a.Checkpoint(0)
	require.ErrorAs(t, err, &d)
}

// Whatever the file of an archived segment holds, reading it ends, with damage
// or the lines that were archived.
func FuzzArchivedLines(f *testing.F) {
	text := archiveLinesOf(f)
	small := text[:4*bytes.IndexByte(text, '\n')]
	f.Add(compressed(f, small))
	f.Add(compressed(f, small, zstd.WithEncoderCRC(false)))
	f.Add(append(compressed(f, small), compressed(f, small)...))
	f.Add(compressed(f, make([]byte, 1<<20)))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\xff"))
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"))
	tile := make([]byte, tileWidth*len(Hash{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, archiveName(0, archiveLines)), b, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, archiveName(0, archiveTile)), tile, 0o600))
		a, err := OpenArchive(dir)
		require.NoError(t, err)
		err = a.Read(ctx, 0, SegmentRecords, func([]byte) error { return errors.New("a line fits no tile of zeros") })
		var d *DamageError
		require.ErrorAs(t, err, &d)
	})
}

// A 200-byte record takes at most 40 bytes in an archive, though each has a
// random id.
func TestArchiveBytesPerRecord(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("fills a segment to weigh it")
	}
	l := openTest(t, t.TempDir(), Options{})
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	id := func() string {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], r.Uint64())
		binary.LittleEndian.PutUint64(b[8:], r.Uint64())
		return fmt.Sprintf("%x-%x-4%x-8%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	at, sum := epoch, 0
	for l.Head().Size < SegmentRecords {
		var lines [][]byte
		for seq := l.Head().Size; len(lines) < MaxBatchRecords; seq++ {
			at = at.Add(0)
			lines = append(lines, AppendRecord(nil, &Record{
				Seq: seq, At: at, Kind: "action.answered", Actor: "main", Via: "ws 127.0.0.1:51034", Ref: id(),
				Body: fmt.Appendf(nil, `{"action":"get_file_info","params":{"path":"world/r.%d.%d.mca"},"code":"ok"}`, r.IntN(32), r.IntN(32)),
			}))
			sum += len(lines[len(lines)-1])
		}
		require.NoError(t, l.Append(lines))
	}
	got, err := l.Archive(ctx, t.TempDir(), 0, noteFor(t, l, 0))
	require.NoError(t, err)
	t.Logf("%.1f bytes a record, %.1f archived", float64(sum)/SegmentRecords, float64(got.Bytes)/SegmentRecords)
	assert.LessOrEqual(t, float64(got.Bytes)/SegmentRecords, 40.0)
}

func BenchmarkArchive(b *testing.B) {
	dir, _ := long(b)
	l := openTest(b, dir, Options{ReadOnly: true})
	for b.Loop() {
		_, err := l.Archive(ctx, b.TempDir(), 0, noteFor(b, l, 0))
		require.NoError(b, err)
	}
}

func BenchmarkArchiveRead(b *testing.B) {
	_, at := long(b)
	a, err := OpenArchive(at)
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, a.Read(ctx, 0, 3*SegmentRecords, func([]byte) error { return nil }))
	}
	b.ReportMetric(float64(b.N)*3*SegmentRecords/b.Elapsed().Seconds(), "records/s")
}
