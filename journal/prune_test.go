package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// checkPruned looks at everything of a journal of threeSize test records, or
// some more, that begins at first.
func checkPruned(t testing.TB, l *Log, first uint64) {
	t.Helper()
	h := threeHistory()
	require.Equal(t, first, l.First())
	size := l.Head().Size
	checkTree(t, l, h, 10)

	var disk int64
	for at := first; at < size; at += SegmentRecords {
		disk += l.shelf.blocks(segmentName(at))
	}
	assert.Equal(t, disk, l.DiskBytes())
	segments, err := l.Segments()
	require.NoError(t, err)
	require.Len(t, segments, int((size-first)/SegmentRecords)+1)
	for i, s := range segments {
		at := first + uint64(i)*SegmentRecords
		n := min(size-at, SegmentRecords)
		last := epoch.Add(time.Duration(at+n-1) * time.Millisecond)
		assert.Equal(t, Segment{First: at, Size: n, Bytes: l.shelf.blocks(segmentName(at)), Last: last, Sealed: i+1 < len(segments)}, s)
	}

	next := max(size-1000, first) // Verify reads all
	require.NoError(t, l.Replay(ctx, next, func(e *Entry) error {
		if e.Seq != next {
			return fmt.Errorf("got record %d, want %d", e.Seq, next)
		}
		next++
		return nil
	}))
	require.Equal(t, size, next)
	next = max(size-400, first)
	require.NoError(t, l.Read(ctx, next, size, func(line []byte) error {
		assert.Equal(t, string(testLine(next, 0)), string(line))
		next++
		return nil
	}))
	if first == 0 {
		return
	}
	for name, try := range map[string]func() error{
		"line":        func() error { _, err := l.Line(first - 1); return err },
		"read":        func() error { return l.Read(ctx, first-1, size, func([]byte) error { return nil }) },
		"read none":   func() error { return l.Read(ctx, 0, 0, func([]byte) error { return nil }) },
		"replay":      func() error { return l.Replay(ctx, first-1, func(*Entry) error { return nil }) },
		"replay all":  func() error { return l.Replay(ctx, 0, func(*Entry) error { return nil }) },
		"root":        func() error { _, err := l.RootAt(ctx, first-1); return err },
		"leaf":        func() error { _, err := l.ReadHashes([]int64{0}); return err },
		"tile's root": func() error { _, err := l.ReadHashes([]int64{tlog.StoredHashIndex(8, 0)}); return err },
		"half":        func() error { _, err := l.ReadHashes([]int64{tlog.StoredHashIndex(15, 0)}); return err },
		"proof":       func() error { _, err := tlog.ProveRecord(int64(size), int64(first-1), l); return err },
		"older tree":  func() error { _, err := tlog.ProveTree(int64(size), int64(first-1), l); return err },
		"bundle":      func() error { _, err := l.Bundle(first/tileWidth-1, 1); return err },
	} {
		assert.ErrorIs(t, try(), ErrPruned, name)
	}
	if !l.opt.ReadOnly {
		assert.ErrorIs(t, l.Prune(first-SegmentRecords), ErrPruned)
	}
	root, err := l.RootAt(ctx, first)
	require.NoError(t, err)
	assert.Equal(t, h.root(t, first), tlog.Hash(root))
	// Between segments, an older tree is still known, and proved to be a part.
	root, err = l.RootAt(ctx, SegmentRecords)
	require.NoError(t, err)
	assert.Equal(t, h.root(t, SegmentRecords), tlog.Hash(root))
	p, err := tlog.ProveTree(int64(size), SegmentRecords, l)
	require.NoError(t, err)
	require.NoError(t, tlog.CheckTree(p, int64(size), h.root(t, size), SegmentRecords, h.root(t, SegmentRecords)))
}

func TestPrune(t *testing.T) {
	t.Parallel()
	dir := threeSegments(t)
	l := openTest(t, dir, Options{})
	// Proofs made before must stay valid.
	var proofs []tlog.RecordProof
	for seq := int64(0); seq < threeSize; seq += 997 {
		p, err := tlog.ProveRecord(threeSize, seq, l)
		require.NoError(t, err)
		proofs = append(proofs, p)
	}
	step := uint64(SegmentRecords)
	if testing.Short() {
		step *= 3
	}
	for to := uint64(0); to <= 3*SegmentRecords; to += step {
		require.NoError(t, l.Prune(to))
		checkPruned(t, l, to)
		require.NoError(t, l.Prune(to), "again")
		require.NoError(t, l.Close())
		head, err := Verify(ctx, dir)
		require.NoError(t, err)
		assert.EqualValues(t, threeSize, head.Size)
		l, err = Open(dir, Options{ReadOnly: true})
		require.NoError(t, err)
		checkPruned(t, l, to)
		require.ErrorIs(t, l.Prune(3*SegmentRecords), ErrReadOnly)
		require.NoError(t, l.Close())
		l = openTest(t, dir, Options{})
		checkPruned(t, l, to)
	}
	for i, p := range proofs {
		seq := int64(i) * 997
		root := tlog.Hash(l.Head().Root)
		require.NoError(t, tlog.CheckRecord(p, threeSize, root, seq, tlog.RecordHash(testLine(uint64(seq), 0))))
	}
	fill(t, l, 3*SegmentRecords+5000)
	checkPruned(t, l, 3*SegmentRecords)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 2)
	roots, err := os.ReadFile(filepath.Join(dir, rootsName))
	require.NoError(t, err)
	for n, want := range threeHistory().levels[segmentLevel][:3] {
		assert.Equal(t, want[:], roots[n*32:][:32])
	}
	assert.Len(t, roots, 3*32)
}

func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	dir := threeSegments(t)
	l := openTest(t, dir, Options{})
	for _, to := range []uint64{1, SegmentRecords - 1, threeSize, 4 * SegmentRecords, 1 << 63} {
		assert.Error(t, l.Prune(to), "%d", to)
	}
	checkPruned(t, l, 0)
	assert.NoFileExists(t, filepath.Join(dir, rootsName))
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Prune(SegmentRecords), ErrClosed)

	empty := openTest(t, t.TempDir(), Options{})
	require.NoError(t, empty.Prune(0))
	require.Error(t, empty.Prune(SegmentRecords))
	segments, err := empty.Segments()
	require.NoError(t, err)
	assert.Equal(t, []Segment{{Bytes: empty.DiskBytes()}}, segments)
	require.Error(t, empty.Append([][]byte{nil}))
	require.ErrorIs(t, empty.Prune(0), ErrFailed)

	none, err := Open(t.TempDir(), Options{ReadOnly: true})
	require.NoError(t, err)
	segments, err = none.Segments()
	require.NoError(t, err)
	assert.Empty(t, segments)
	assert.Zero(t, none.First())
	require.NoError(t, none.Close())
}

// One record must stay: it carries the time on.
func TestPruneLeavesARecord(t *testing.T) {
	t.Parallel()
	dir := copyDir(t, nearlyFull(t))
	l := openTest(t, dir, Options{})
	fill(t, l, SegmentRecords)
	require.Error(t, l.Prune(SegmentRecords), "the last segment, though full")
	require.NoError(t, l.roll())
	require.Error(t, l.Prune(SegmentRecords))
	segments, err := l.Segments()
	require.NoError(t, err)
	require.Len(t, segments, 2)
	assert.Zero(t, segments[1].Size)
	assert.True(t, segments[1].Last.IsZero())

	// If somebody else has done it:
	gone := copyDir(t, dir)
	require.NoError(t, os.Remove(filepath.Join(gone, segmentName(0))))
	root := l.Head().Root
	require.NoError(t, writeRoots(gone, root[:]))
	requireDamage(t, gone, SegmentRecords, SegmentRecords)

	fill(t, l, SegmentRecords+1)
	require.NoError(t, l.Prune(SegmentRecords))
	require.NoError(t, l.Close())
	l = openTest(t, dir, Options{})
	assert.True(t, epoch.Add(SegmentRecords*time.Millisecond).Equal(l.LastAt()))
}

func requireDamage(t *testing.T, dir string, seq, last uint64) {
	t.Helper()
	_, verr := Verify(ctx, dir)
	_, oerr := Open(dir, Options{})
	_, rerr := Open(dir, Options{ReadOnly: true})
	for _, err := range []error{verr, oerr, rerr} {
		var d *DamageError
		require.ErrorAs(t, err, &d)
		assert.Equal(t, seq, d.Seq, "%v", d)
		assert.Equal(t, last, d.Last, "%v", d)
	}
	t.Log(verr)
}

// TestPruneFaults makes every durable step of Prune fail, before or after it
// happened. The journal goes on, what is on disk is whole from First on, and
// another Prune, at once or after a crash, finishes.
func TestPruneFaults(t *testing.T) {
	t.Parallel()
	const to = 2 * SegmentRecords
	for _, c := range []struct {
		op    string
		nth   int
		first uint64 // if the step did not happen
		after uint64 // if it did
	}{
		{"roots.write", 0, 0, 0},
		{"dir.sync", 0, 0, 0},
		{"segment.unlink", 0, 0, SegmentRecords},
		{"dir.sync", 1, SegmentRecords, SegmentRecords},
		{"segment.unlink", 1, SegmentRecords, to},
		{"dir.sync", 2, to, to},
	} {
		for _, happens := range []bool{false, true} {
			if testing.Short() && happens == (c.nth%2 == 0) {
				continue
			}
			t.Run(fmt.Sprintf("%s %d happens=%v", c.op, c.nth, happens), func(t *testing.T) {
				t.Parallel()
				dir := threeSegments(t)
				n := 0
				l, err := Open(dir, Options{Fault: func(op string, do func() error) error {
					if op != c.op {
						return do()
					}
					if n++; n-1 != c.nth {
						return do()
					}
					if happens {
						require.NoError(t, do())
					}
					return errInjected
				}})
				require.NoError(t, err)
				require.ErrorIs(t, l.Prune(to), errInjected)
				want := c.first
				if happens {
					want = c.after
				}
				checkPruned(t, l, want)
				require.NoError(t, l.Err())
				require.NoError(t, l.Append(testLines(threeSize, 10, 0)))

				crashed := linkDir(t, dir)
				_, err = Verify(ctx, crashed)
				require.NoError(t, err)
				again := openTest(t, crashed, Options{})
				checkPruned(t, again, want)
				require.NoError(t, again.Prune(to))
				checkPruned(t, again, to)
				assert.NoFileExists(t, filepath.Join(crashed, rootsTemp))

				require.NoError(t, l.Prune(to))
				checkPruned(t, l, to)
				require.NoError(t, l.Close())
				l = openTest(t, dir, Options{})
				assert.Equal(t, uint64(to), l.First())
				assert.NoFileExists(t, filepath.Join(dir, rootsTemp))
			})
		}
	}
}

// What a crash of Prune can leave beside the segments.
func TestPruneLeftovers(t *testing.T) {
	t.Parallel()
	roots := func(n int) (b []byte) {
		for _, h := range threeHistory().levels[segmentLevel][:n] {
			b = append(b, h[:]...)
		}
		return b
	}
	for name, c := range map[string]struct {
		gone  int // segments that are unlinked
		roots []byte
		temp  string
	}{
		"half a temporary file":    {0, nil, "half"},
		"temporary file beside":    {1, roots(1), "half"},
		"roots only":               {0, roots(2), ""},
		"more roots than unlinked": {1, roots(3), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := threeSegments(t)
			for n := range c.gone {
				require.NoError(t, os.Remove(filepath.Join(dir, segmentName(uint64(n)*SegmentRecords))))
			}
			if c.roots != nil {
				require.NoError(t, writeRoots(dir, c.roots))
			}
			temp := filepath.Join(dir, rootsTemp)
			if c.temp != "" {
				require.NoError(t, os.WriteFile(temp, []byte(c.temp), 0o600))
			}
			_, err := Verify(ctx, dir)
			require.NoError(t, err)
			first := uint64(c.gone) * SegmentRecords
			l, err := Open(dir, Options{ReadOnly: true})
			require.NoError(t, err)
			checkPruned(t, l, first)
			require.NoError(t, l.Close())
			if c.temp != "" {
				require.FileExists(t, temp, "a reader changes nothing")
			}
			l = openTest(t, dir, Options{})
			require.NoFileExists(t, temp)
			checkPruned(t, l, first)
			require.NoError(t, l.Prune(2*SegmentRecords))
			checkPruned(t, l, 2*SegmentRecords)
		})
	}
}

func TestPrunedDamage(t *testing.T) {
	t.Parallel()
	base := threeSegments(t)
	l := openTest(t, base, Options{})
	require.NoError(t, l.Prune(2*SegmentRecords))
	require.NoError(t, l.Close())
	path := func(dir string) string { return filepath.Join(dir, rootsName) }
	roots, err := os.ReadFile(path(base))
	require.NoError(t, err)
	for name, do := range map[string]func(t *testing.T, dir string){
		"missing":      func(t *testing.T, dir string) { require.NoError(t, os.Remove(path(dir))) },
		"empty":        func(t *testing.T, dir string) { require.NoError(t, os.Truncate(path(dir), 0)) },
		"a root short": func(t *testing.T, dir string) { require.NoError(t, os.Truncate(path(dir), 32)) },
		"a byte short": func(t *testing.T, dir string) { require.NoError(t, os.Truncate(path(dir), 63)) },
		"a byte long":  func(t *testing.T, dir string) { require.NoError(t, os.Truncate(path(dir), 65)) },
		"first bit":    func(t *testing.T, dir string) { require.NoError(t, writeRoots(dir, flipped(roots, 0))) },
		"last bit":     func(t *testing.T, dir string) { require.NoError(t, writeRoots(dir, flipped(roots, 63))) },
		"swapped": func(t *testing.T, dir string) {
			require.NoError(t, writeRoots(dir, append(roots[32:64:64], roots[:32]...)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := linkDir(t, base)
			do(t, dir)
			requireDamage(t, dir, 0, 2*SegmentRecords-1)
			require.NoError(t, Expect(dir), "there is a journal")
		})
	}
	t.Run("hole", func(t *testing.T) {
		dir := threeSegments(t)
		require.NoError(t, os.Remove(filepath.Join(dir, segmentName(SegmentRecords))))
		requireDamage(t, dir, SegmentRecords, 2*SegmentRecords-1)
	})
	t.Run("first segment missing", func(t *testing.T) {
		dir := threeSegments(t)
		require.NoError(t, os.Remove(filepath.Join(dir, segmentName(0))))
		requireDamage(t, dir, 0, SegmentRecords-1)
	})
	t.Run("next segment missing", func(t *testing.T) {
		dir := linkDir(t, base)
		require.NoError(t, os.Remove(filepath.Join(dir, segmentName(2*SegmentRecords))))
		requireDamage(t, dir, 0, 3*SegmentRecords-1)
	})
	t.Run("no segment", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, writeRoots(dir, roots))
		requireDamage(t, dir, 0, 0)
		assert.Error(t, Expect(dir))
	})
	t.Run("record", func(t *testing.T) {
		dir := copyDir(t, base)
		const seq = 2*SegmentRecords + 5
		line := testLine(seq, 0)
		patch(t, filepath.Join(dir, segmentName(2*SegmentRecords)), line, flipped(line, len(line)-5))
		_, err := Verify(ctx, dir)
		var d *DamageError
		require.ErrorAs(t, err, &d)
		assert.EqualValues(t, seq, d.Seq)
	})
	t.Run("only segment", func(t *testing.T) {
		dir := linkDir(t, base)
		l := openTest(t, dir, Options{Fault: func(_ string, do func() error) error { return do() }})
		require.NoError(t, l.Prune(3*SegmentRecords))
		require.NoError(t, l.Close())
		require.NoError(t, os.Truncate(filepath.Join(dir, segmentName(3*SegmentRecords)), 8*pageSize))
		requireDamage(t, dir, 3*SegmentRecords, 4*SegmentRecords-1)
	})
	// A segment that does not fit the one after it is not unlinked.
	t.Run("prune", func(t *testing.T) {
		dir := copyDir(t, threeSegments(t))
		root := threeHistory().levels[8][3]
		patch(t, filepath.Join(dir, segmentName(0)), root[:], flipped(root[:], 0))
		l, err := Open(dir, Options{})
		require.NoError(t, err)
		var d *DamageError
		require.ErrorAs(t, l.Prune(SegmentRecords), &d)
		require.NoError(t, l.Close())
		assert.FileExists(t, filepath.Join(dir, segmentName(0)))
		assert.NoFileExists(t, path(dir))
	})
}

// A group may reach over the cut.
func TestPruneInGroup(t *testing.T) {
	t.Parallel()
	dir := copyDir(t, nearlyFull(t))
	l := openTest(t, dir, Options{})
	var lines [][]byte
	for i := range 8 {
		seq := uint64(SegmentRecords - 5 + i)
		lines = append(lines, AppendRecord(nil, &Record{
			Seq: seq, At: epoch.Add(time.Hour), Kind: "x", Group: Group{I: i + 1, N: 8}, Body: []byte(`{}`)}))
	}
	require.NoError(t, l.Append(lines))
	require.NoError(t, l.Prune(SegmentRecords))
	require.NoError(t, l.Close())
	_, err := Verify(ctx, dir)
	require.NoError(t, err)
}

// Who holds a segment may go on with it.
func TestPruneUnderReader(t *testing.T) {
	t.Parallel()
	l := openTest(t, threeSegments(t), Options{})
	seg, err := l.shelf.take(0)
	require.NoError(t, err)
	next := uint64(0)
	err = l.Replay(ctx, 0, func(e *Entry) error {
		if e.Seq == 10 {
			require.NoError(t, l.Prune(2*SegmentRecords))
		}
		next = e.Seq + 1
		return nil
	})
	require.ErrorIs(t, err, ErrPruned)
	assert.EqualValues(t, SegmentRecords, next, "the segment that was begun is ended")
	m, err := l.shelf.take(0)
	require.ErrorIs(t, err, ErrPruned)
	require.Nil(t, m)
	head, err := seg.db.Begin(false)
	require.NoError(t, err)
	var c lines
	require.NoError(t, seg.copy(head, &c, 65000, 65001))
	assert.Equal(t, string(testLine(65000, 0)), string(c.line(0)))
	require.NoError(t, head.Rollback())
	l.shelf.give(seg)
	l.shelf.mu.Lock()
	defer l.shelf.mu.Unlock()
	assert.NotContains(t, l.shelf.open, uint64(0), "closed with its last reader")
}

// Readers of all sorts, Append and Prune at once.
func TestPruneConcurrent(t *testing.T) {
	t.Parallel()
	h := threeHistory()
	l := openTest(t, threeSegments(t), Options{})
	const end = 4*SegmentRecords + 200
	fill(t, l, 4*SegmentRecords-300)
	done := make(chan struct{})
	var wg sync.WaitGroup
	reader := func(seed uint64, read func(rnd *rand.Rand, first, size uint64) error) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for last := false; !last; {
				select {
				case <-done:
					last = true // once more, of the end
				default:
				}
				first := l.First()
				size := l.Head().Size
				err := read(rnd, first, size)
				if !assert.True(t, err == nil || errors.Is(err, ErrPruned) && l.First() > first, "%v", err) {
					return
				}
			}
		})
	}
	reader(1, func(rnd *rand.Rand, first, size uint64) error {
		from := first + rnd.Uint64N(size-first)
		next := from
		return l.Read(ctx, from, from+2000, func(line []byte) error {
			if string(line) != string(testLine(next, 0)) {
				return fmt.Errorf("record %d differs", next)
			}
			next++
			return nil
		})
	})
	reader(2, func(_ *rand.Rand, first, size uint64) error {
		return l.Replay(ctx, size-min(size-first, 70000), func(*Entry) error { return nil })
	})
	reader(3, func(rnd *rand.Rand, first, size uint64) error {
		seq := first + rnd.Uint64N(size-first)
		p, err := tlog.ProveRecord(int64(size), int64(seq), l)
		if err != nil {
			return err
		}
		root, err := l.RootAt(ctx, size)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(p, int64(size), tlog.Hash(root), int64(seq), tlog.RecordHash(testLine(seq, 0)))
	})
	reader(4, func(rnd *rand.Rand, first, size uint64) error {
		for _, tile := range tlog.NewTiles(tileLevel, int64(first), int64(size)) {
			if tile.L == 0 && rnd.IntN(100) > 0 {
				continue
			}
			got, err := l.Tile(tile.L, uint64(tile.N), tile.W)
			if err != nil {
				return err
			}
			if want, _ := tlog.ReadTileData(tile, h); string(want) != string(got) {
				return fmt.Errorf("%v differs", tile)
			}
		}
		_, err := l.Tile(2, 0, int(size/SegmentRecords))
		return err
	})
	reader(5, func(rnd *rand.Rand, first, size uint64) error {
		seq := first + rnd.Uint64N(size-first)
		got, err := l.Seek(ctx, epoch.Add(time.Duration(seq)*time.Millisecond))
		if err == nil && got != max(seq, first) && got != l.First() {
			err = fmt.Errorf("sought %d, got %d", seq, got)
		}
		segments, serr := l.Segments()
		if serr == nil && len(segments) == 0 {
			serr = errors.New("no segments")
		}
		l.DiskBytes()
		return errors.Join(err, serr)
	})
	var prune sync.WaitGroup
	prune.Go(func() {
		for to := uint64(SegmentRecords); to <= 4*SegmentRecords; {
			changed := l.Changed()
			if l.Head().Size <= to || l.Head().Size < end-500+to/SegmentRecords*100 {
				<-changed
				continue
			}
			if !assert.NoError(t, l.Prune(to)) {
				return
			}
			to += SegmentRecords
		}
	})
	for at := l.Head().Size; at < end; at += 10 {
		require.NoError(t, l.Append(testLines(at, 10, 0)))
	}
	prune.Wait()
	close(done)
	wg.Wait()
	require.EqualValues(t, 4*SegmentRecords, l.First())
	checkTree(t, l, h, 10)
	assert.True(t, strings.HasPrefix(l.last, "seg-"))
}
