package journal

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// threeSize is the size of the journal that tests of several segments share:
// three sealed ones and a bit.
const threeSize = 3*SegmentRecords + 300

var threeOnce sync.Once

// threeSegments gives a journal of threeSize records that may be changed. Its
// sealed segments, which nobody writes to, are links to shared ones.
func threeSegments(t testing.TB) string {
	t.Helper()
	base := filepath.Join(testDir, "three")
	threeOnce.Do(func() {
		require.NoError(t, os.Rename(copyDir(t, nearlyFull(t)), base))
		grow(t, base, threeSize)
	})
	return linkDir(t, base)
}

// linkDir is copyDir, but that all segments except the last are links.
func linkDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	firsts, _, err := listSegments(from)
	require.NoError(t, err)
	names, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, e := range names {
		first, ok := parseSegmentName(e.Name())
		if ok && first != firsts[len(firsts)-1] {
			require.NoError(t, os.Link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
			continue
		}
		copyFile(t, to, from, e.Name())
	}
	return to
}

// history is the whole tree over the test lines, every hash of it.
type history struct{ levels [][]tlog.Hash }

func newHistory(leaves []tlog.Hash) *history {
	h := &history{levels: [][]tlog.Hash{leaves}}
	for below := leaves; len(below) > 1; {
		level := make([]tlog.Hash, len(below)/2)
		for i := range level {
			level[i] = tlog.NodeHash(below[2*i], below[2*i+1])
		}
		h.levels = append(h.levels, level)
		below = level
	}
	return h
}

func (h *history) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		hashes[i] = h.levels[level][n]
	}
	return hashes, nil
}

// root gives the root over the first size records.
func (h *history) root(t testing.TB, size uint64) tlog.Hash {
	root, err := tlog.TreeHash(int64(size), h)
	require.NoError(t, err)
	return root
}

var (
	threeHistoryOnce sync.Once
	threeHistoryKept *history
)

// threeHistory is that of threeSegments, and of what may be appended to it.
func threeHistory() *history {
	threeHistoryOnce.Do(func() {
		leaves := make([]tlog.Hash, threeSize+SegmentRecords)
		for seq := range leaves {
			leaves[seq] = tlog.RecordHash(testLine(uint64(seq), 0))
		}
		threeHistoryKept = newHistory(leaves)
	})
	return threeHistoryKept
}

// checkTree compares everything that l says of its tree with h: roots, proofs
// and tiles, at sizes and records that matter and at random ones.
func checkTree(t testing.TB, l *Log, h *history, rounds int) {
	t.Helper()
	first, size := l.First(), l.Head().Size
	require.Equal(t, Hash(h.root(t, size)), l.Head().Root)
	rnd := rand.New(rand.NewPCG(size, first))
	held := func() uint64 { return first + rnd.Uint64N(size-first) }
	sizes := []uint64{first + 1, first + 2, first + 255, first + 256, first + 257, size - size%256, size - 1, size}
	for at := first + SegmentRecords; at <= size; at += SegmentRecords {
		sizes = append(sizes, at-1, at, at+1)
	}
	for range rounds {
		sizes = append(sizes, held()+1)
	}
	for _, at := range sizes {
		if at <= first || at > size {
			continue
		}
		root, err := tlog.TreeHash(int64(at), l)
		require.NoError(t, err, "size %d", at)
		require.Equal(t, h.root(t, at), root, "size %d", at)
		own, err := l.RootAt(ctx, at)
		require.NoError(t, err, "size %d", at)
		require.Equal(t, Hash(root), own, "size %d", at)

		for _, seq := range []uint64{first, at - 1, first + rnd.Uint64N(at-first)} {
			p, err := tlog.ProveRecord(int64(at), int64(seq), l)
			require.NoError(t, err, "record %d of %d", seq, at)
			require.NoError(t, tlog.CheckRecord(p, int64(at), root, int64(seq), h.levels[0][seq]), "record %d of %d", seq, at)
			old := max(seq, 1)
			tp, err := tlog.ProveTree(int64(at), int64(old), l)
			require.NoError(t, err, "%d of %d", old, at)
			require.NoError(t, tlog.CheckTree(tp, int64(at), root, int64(old), h.root(t, old)), "%d of %d", old, at)
		}
	}
	checkTiles(t, l, h, rnd, rounds)
}

func checkTiles(t testing.TB, l *Log, h *history, rnd *rand.Rand, rounds int) {
	t.Helper()
	first, size := l.First(), l.Head().Size
	for _, tile := range tlog.NewTiles(tileLevel, 0, int64(size)) {
		n := uint64(tile.N)
		if tile.L == 0 && tile.W == tileWidth && n%251 != 0 && rnd.IntN(int(size/tileWidth)) > rounds {
			continue
		}
		got, err := l.Tile(tile.L, n, tile.W)
		if tile.L < 2 && n<<(tileLevel*(tile.L+1)) < first {
			require.ErrorIs(t, err, ErrPruned, "%v", tile)
			_, err = l.Bundle(n, tile.W)
			if tile.L == 0 {
				require.ErrorIs(t, err, ErrPruned, "%v", tile)
			}
			continue
		}
		want, werr := tlog.ReadTileData(tile, h)
		require.NoError(t, werr)
		require.NoError(t, err, "%v", tile)
		require.Equal(t, want, got, "%v", tile)
		part := 1 + rnd.IntN(tile.W)
		got, err = l.Tile(tile.L, n, part)
		require.NoError(t, err, "%v", tile)
		require.Equal(t, want[:part*tlog.HashSize], got, "%v: %d", tile, part)
		if tile.W < tileWidth {
			_, err = l.Tile(tile.L, n, tile.W+1)
			require.ErrorIs(t, err, ErrBeyond, "%v", tile)
		}
		if tile.L == 0 {
			checkBundle(t, l, n, tile.W)
			checkBundle(t, l, n, part)
		}
	}
}

func checkBundle(t testing.TB, l *Log, n uint64, width int) {
	t.Helper()
	b, err := l.Bundle(n, width)
	require.NoError(t, err)
	for i := range uint64(width) {
		k := binary.BigEndian.Uint16(b)
		line, err := l.Line(n*tileWidth + i)
		require.NoError(t, err)
		require.Equal(t, string(line), string(b[2:][:k]))
		b = b[2+k:]
	}
	require.Empty(t, b)
}

func TestProofs(t *testing.T) {
	t.Parallel()
	h := threeHistory()
	t.Run("growing", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		rnd := rand.New(rand.NewPCG(5, 6))
		for size := uint64(0); size < 1200; {
			l := openTest(t, dir, Options{})
			for range 3 {
				n := 1 + rnd.Uint64N(150)
				require.NoError(t, l.Append(testLines(size, n, 0)))
				size += n
				checkTree(t, l, h, 8)
			}
			require.NoError(t, l.Close())
		}
	})
	t.Run("segment ends", func(t *testing.T) {
		t.Parallel()
		l := openTest(t, copyDir(t, nearlyFull(t)), Options{})
		for _, size := range []uint64{SegmentRecords - 5, SegmentRecords - 1, SegmentRecords, SegmentRecords + 1} {
			fill(t, l, size)
			checkTree(t, l, h, 8)
		}
	})
	t.Run("three segments", func(t *testing.T) {
		t.Parallel()
		checkTree(t, openTest(t, threeSegments(t), Options{}), h, 100)
	})
}

// A tree of two levels more: nearly all of it pruned.
func TestProofsOfLongHistory(t *testing.T) {
	t.Parallel()
	const first = 255 * SegmentRecords
	dir := t.TempDir()
	rnd := rand.NewChaCha8([32]byte{7})
	segments := make([]tlog.Hash, first/SegmentRecords)
	tree := NewTree()
	var roots []byte
	for i := range segments {
		_, _ = rnd.Read(segments[i][:]) // never fails
		tree.push(segmentLevel, Hash(segments[i]))
		roots = append(roots, segments[i][:]...)
	}
	require.NoError(t, writeRoots(dir, roots))
	seg, err := createTemp(dir, first)
	require.NoError(t, err)
	require.NoError(t, seg.begin(tree.frontier(nil), tree.Head()))
	require.NoError(t, os.Rename(filepath.Join(dir, tempName(first)), filepath.Join(dir, seg.name)))
	require.NoError(t, seg.close())
	_, err = Open(dir, Options{})
	var d *DamageError
	require.ErrorAs(t, err, &d, "no record is left")

	// A first record, put there by hand.
	tree.Append(testLine(first, 0))
	seg, err = openSegment(dir, first, false)
	require.NoError(t, err)
	w := writer{active: seg}
	w.tree, _ = treeFrom(first, seg.peaks)
	tx, err := seg.db.Begin(true)
	require.NoError(t, err)
	head, err := w.put(tx, testLines(first, 1, 0))
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.Equal(t, tree.Head(), head)
	require.NoError(t, seg.close())

	l := openTest(t, dir, Options{})
	const size = 256*SegmentRecords + 10
	fill(t, l, size)
	require.EqualValues(t, first, l.First())
	require.NoError(t, l.Close())
	l = openTest(t, dir, Options{})

	h := newHistory(append(segments, func() (root tlog.Hash) {
		tree := NewTree()
		for seq := uint64(first); seq < first+SegmentRecords; seq++ {
			tree.Append(testLine(seq, 0))
		}
		return tlog.Hash(tree.Head().Root)
	}()))
	for level, hashes := range h.levels {
		for n, want := range hashes {
			got, err := l.ReadHashes([]int64{tlog.StoredHashIndex(segmentLevel+level, int64(n))})
			require.NoError(t, err)
			require.Equal(t, want, got[0], "level %d, %d", segmentLevel+level, n)
		}
	}
	tile, err := l.Tile(2, 0, 256)
	require.NoError(t, err)
	require.Equal(t, roots, tile[:len(roots)])
	tile, err = l.Tile(3, 0, 1)
	require.NoError(t, err)
	require.Equal(t, h.levels[8][0][:], tile)
	_, err = l.Tile(3, 0, 2)
	require.ErrorIs(t, err, ErrBeyond)
	for _, seq := range []int64{first, first + 1, size - 11, size - 1} {
		p, err := tlog.ProveRecord(size, seq, l)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(p, size, tlog.Hash(l.Head().Root), seq, tlog.RecordHash(testLine(uint64(seq), 0))))
	}
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	l := openTest(t, t.TempDir(), Options{})
	_, err := l.Tile(0, 0, 1)
	require.ErrorIs(t, err, ErrBeyond)
	fill(t, l, 700)
	for name, try := range map[string]func() error{
		"line":        func() error { _, err := l.Line(700); return err },
		"large line":  func() error { _, err := l.Line(1 << 63); return err },
		"hash":        func() error { _, err := l.ReadHashes([]int64{tlog.StoredHashIndex(0, 700)}); return err },
		"large hash":  func() error { _, err := l.ReadHashes([]int64{1<<63 - 1}); return err },
		"node":        func() error { _, err := l.ReadHashes([]int64{tlog.StoredHashIndex(8, 2)}); return err },
		"root":        func() error { _, err := l.RootAt(ctx, 701); return err },
		"replay":      func() error { return l.Replay(ctx, 701, func(*Entry) error { return nil }) },
		"tile":        func() error { _, err := l.Tile(0, 2, 189); return err },
		"next tile":   func() error { _, err := l.Tile(0, 3, 1); return err },
		"large tile":  func() error { _, err := l.Tile(0, 1<<62, 1); return err },
		"larger tile": func() error { _, err := l.Tile(0, 1<<64-1, 256); return err },
		"high tile":   func() error { _, err := l.Tile(1000, 0, 1); return err },
		"bundle":      func() error { _, err := l.Bundle(2, 189); return err },
	} {
		assert.ErrorIs(t, try(), ErrBeyond, name)
	}
	for _, width := range []int{-1, 0, 257} {
		_, err := l.Tile(0, 0, width)
		assert.Error(t, err)
		_, err = l.Bundle(0, width)
		assert.Error(t, err)
	}
	_, err = l.Tile(-1, 0, 1)
	assert.Error(t, err)
	_, err = l.ReadHashes([]int64{-1})
	assert.Error(t, err)
	require.NoError(t, l.Close())
	_, err = l.Tile(0, 0, 256)
	assert.ErrorIs(t, err, ErrClosed)
	_, err = l.Line(0)
	assert.ErrorIs(t, err, ErrClosed)
	_, err = l.Bundle(0, 1)
	assert.ErrorIs(t, err, ErrClosed)
}

// What is given out is the caller's.
func TestTilesAreCopies(t *testing.T) {
	t.Parallel()
	l := openTest(t, t.TempDir(), Options{})
	fill(t, l, 300)
	for _, n := range []uint64{0, 1} {
		tile, err := l.Tile(0, n, 44)
		require.NoError(t, err)
		clear(tile)
	}
	fill(t, l, 700)
	checkTree(t, l, threeHistory(), 4)
}

func TestSeek(t *testing.T) {
	t.Parallel()
	at := func(seq uint64) time.Time { return epoch.Add(time.Duration(seq) * time.Millisecond) }
	l := openTest(t, threeSegments(t), Options{})
	check := func(first uint64) {
		rnd := rand.New(rand.NewPCG(8, 9))
		seqs := []uint64{first, first + 1, threeSize - 1}
		for seq := uint64(SegmentRecords); seq < threeSize; seq += SegmentRecords {
			seqs = append(seqs, seq-1, seq, seq+1)
		}
		for range 50 {
			seqs = append(seqs, rnd.Uint64N(threeSize))
		}
		for _, seq := range seqs {
			got, err := l.Seek(ctx, at(seq))
			require.NoError(t, err)
			require.Equal(t, max(seq, first), got)
			got, err = l.Seek(ctx, at(seq).Add(time.Microsecond))
			require.NoError(t, err)
			require.Equal(t, max(seq+1, first), got)
		}
		got, err := l.Seek(ctx, time.Time{})
		require.NoError(t, err)
		require.Equal(t, first, got)
		got, err = l.Seek(ctx, at(2*threeSize))
		require.NoError(t, err)
		require.EqualValues(t, threeSize, got)
	}
	check(0)
	require.NoError(t, l.Prune(2*SegmentRecords))
	check(2 * SegmentRecords)

	l = openTest(t, t.TempDir(), Options{})
	got, err := l.Seek(ctx, epoch)
	require.NoError(t, err)
	assert.Zero(t, got, "empty")
	var lines [][]byte
	for seq := range uint64(10) { // five at one time, five at the next
		lines = append(lines, AppendRecord(nil, &Record{Seq: seq, At: at(seq / 5), Kind: "x", Body: []byte(`{}`)}))
	}
	require.NoError(t, l.Append(lines))
	for want, t1 := range map[uint64]time.Time{0: at(0), 5: at(1), 10: at(2)} {
		got, err := l.Seek(ctx, t1)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}
