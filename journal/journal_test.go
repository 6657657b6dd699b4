package journal

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sys/unix"
)

var ctx = context.Background()

var zeros = strings.Repeat("0", MaxLine)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// testLine gives record seq of the test histories: about size bytes, different
// for every seq.
func testLine(seq uint64, size int) []byte {
	r := Record{
		Seq: seq, At: epoch.Add(time.Duration(seq) * time.Millisecond), Kind: "upload.stored",
		Actor: "main", Via: "ws 127.0.0.1:51034", Ref: "0b7e1f8a",
	}
	r.Body = strconv.AppendUint([]byte(`{"n":`), seq, 10)
	r.Body = append(r.Body, `,"pad":""}`...)
	line := AppendRecord(make([]byte, 0, max(size, 180)), &r)
	if pad := size - len(line); pad > 0 {
		line = append(line[:len(line)-3], zeros[:pad]...)
		line = append(line, `"}}`...)
	}
	return line
}

func testLines(from, n uint64, size int) [][]byte {
	lines := make([][]byte, 0, n)
	for seq := from; seq < from+n; seq++ {
		lines = append(lines, testLine(seq, size))
	}
	return lines
}

// openTest opens the journal in dir. At the end of the test it is closed, and
// verified unless the test has damaged it or cannot have changed it.
func openTest(t testing.TB, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(dir, opt)
	require.NoError(t, err)
	t.Cleanup(func() {
		head := l.Head()
		require.NoError(t, l.Close())
		if opt.Fault != nil || opt.ReadOnly {
			return
		}
		got, err := Verify(ctx, dir)
		if assert.NoError(t, err) {
			assert.GreaterOrEqual(t, got.Size, head.Size)
		}
	})
	return l
}

// leftOut tells whether a short run goes without a case of many that are alike:
// it has a third of them, always the same.
func leftOut(name string) bool {
	return testing.Short() && crc32.ChecksumIEEE([]byte(name))%3 > 0
}

// fill appends records until the journal has size of them.
func fill(t testing.TB, l *Log, size uint64) {
	t.Helper()
	for at := l.Head().Size; at < size; at = l.Head().Size {
		require.NoError(t, l.Append(testLines(at, min(size-at, MaxBatchRecords), 0)))
	}
}

// journalOf gives a closed journal of size records, to be copied, not changed.
func journalOf(t testing.TB, size uint64) string {
	t.Helper()
	dir := t.TempDir()
	if size > SegmentRecords {
		dir = copyDir(t, nearlyFull(t))
	}
	grow(t, dir, size)
	return dir
}

// grow fills the journal in dir until it has size records.
func grow(t testing.TB, dir string, size uint64) {
	t.Helper()
	l, err := Open(dir, Options{})
	require.NoError(t, err)
	fill(t, l, size)
	require.NoError(t, l.Close())
}

// nearlyFull gives a closed journal whose first segment has room for five
// records, to be copied, not changed.
func nearlyFull(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(testDir, "nearly-full")
	nearlyFullOnce.Do(func() {
		grow(t, dir, SegmentRecords-5)
	})
	return dir
}

var (
	nearlyFullOnce sync.Once
	testDir        string // of TestMain, for what tests share
)

func TestMain(m *testing.M) {
	// Crashes here are copies of files: that what is called synced is on disk is
	// for the order test in cmd/waybill.
	const memory, enough = "/dev/shm", 1 << 30
	var fs unix.Statfs_t
	if os.Getenv("TMPDIR") == "" && unix.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= enough {
		if err := os.Setenv("TMPDIR", memory); err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "waybill-journal-test")
	if err != nil {
		panic(err)
	}
	testDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// tlogRoots gives the root after every one of n records, as x/mod computes it.
func tlogRoots(t testing.TB, n uint64) []Hash {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) (hashes []tlog.Hash, err error) {
		for _, i := range at {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	roots := make([]Hash, 0, n+1)
	for seq := range n + 1 {
		root, err := tlog.TreeHash(int64(seq), read)
		require.NoError(t, err)
		roots = append(roots, Hash(root))
		hashes, err := tlog.StoredHashes(int64(seq), testLine(seq, 0), read)
		require.NoError(t, err)
		stored = append(stored, hashes...)
	}
	return roots
}

func TestTreeEqualsTlog(t *testing.T) {
	roots := tlogRoots(t, 1100)
	tree := NewTree()
	for seq, root := range roots {
		require.Equal(t, Head{Size: uint64(seq), Root: root}, tree.Head())
		again, ok := treeFrom(tree.size, tree.frontier(nil))
		require.True(t, ok)
		require.Equal(t, tree.Head(), again.Head())
		tree.Append(testLine(uint64(seq), 0))
	}
	_, ok := treeFrom(3, make([]byte, 32))
	assert.False(t, ok)
}

func TestAppendAndReopen(t *testing.T) {
	t.Parallel()
	const n = 700
	roots := tlogRoots(t, n)
	dir := filepath.Join(t.TempDir(), "a", "journal")
	rnd := rand.New(rand.NewPCG(1, 2))
	size := uint64(0)
	for size < n {
		l, err := Open(dir, Options{})
		require.NoError(t, err)
		require.Equal(t, Head{Size: size, Root: roots[size]}, l.Head())
		if size > 0 {
			require.Equal(t, epoch.Add(time.Duration(size-1)*time.Millisecond), l.LastAt())
		} else {
			require.True(t, l.LastAt().IsZero())
		}
		for range 5 {
			k := min(n-size, uint64(rnd.IntN(60)))
			require.NoError(t, l.Append(testLines(size, k, 0)))
			size += k
			require.Equal(t, Head{Size: size, Root: roots[size]}, l.Head())
		}
		for at := range size + 1 {
			if at%7 == 0 || at+2 > size || at%256 < 2 {
				root, err := l.RootAt(ctx, at)
				require.NoError(t, err)
				require.Equal(t, roots[at], root, "at %d of %d", at, size)
			}
		}
		_, err = l.RootAt(ctx, size+1)
		require.Error(t, err)
		require.NoError(t, l.Close())
		head, err := Verify(ctx, dir)
		require.NoError(t, err)
		require.Equal(t, Head{Size: size, Root: roots[size]}, head)
	}
}

// A journal of two full segments and a bit: rolled over by batches that are
// cut at the segment's end, and by one that ends exactly there.
func TestSegments(t *testing.T) {
	t.Parallel()
	const n = 2*SegmentRecords + 300
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	tree := NewTree()
	check := map[uint64]Hash{}
	grow := func(to uint64) {
		for at := l.Head().Size; at < to; at = l.Head().Size {
			lines := testLines(at, min(to-at, 3000), 0)
			require.NoError(t, l.Append(lines))
			for _, line := range lines {
				if tree.size%20011 == 0 || tree.size%SegmentRecords < 2 || tree.size%SegmentRecords > SegmentRecords-2 {
					check[tree.size] = tree.Head().Root
				}
				tree.Append(line)
			}
			require.Equal(t, tree.Head(), l.Head())
		}
	}
	grow(SegmentRecords - 10)
	require.NoFileExists(t, filepath.Join(dir, segmentName(SegmentRecords)))
	grow(SegmentRecords + 5) // cut
	require.FileExists(t, filepath.Join(dir, segmentName(SegmentRecords)))
	grow(2 * SegmentRecords) // ends exactly
	require.NoFileExists(t, filepath.Join(dir, segmentName(2*SegmentRecords)))
	require.NoError(t, l.Close())
	l = openTest(t, dir, Options{})
	l.shelf.keep = 1
	require.Equal(t, tree.Head(), l.Head())
	grow(n)
	for size, root := range check {
		got, err := l.RootAt(ctx, size)
		require.NoError(t, err)
		require.Equal(t, root, got, "at %d", size)
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 3, "no temporary file is left")

	var disk int64
	for _, e := range names {
		disk += l.shelf.blocks(e.Name())
	}
	assert.Equal(t, disk, l.DiskBytes())

	for _, from := range []uint64{0, 255, SegmentRecords - 1, 2*SegmentRecords - 1, 2 * SegmentRecords, n - 257, n - 300 + 256, n - 1, n} {
		next := from
		require.NoError(t, l.Replay(ctx, from, func(e *Entry) error {
			if e.Seq != next {
				return fmt.Errorf("got record %d, want %d", e.Seq, next)
			}
			next++
			return nil
		}), "from %d", from)
		require.EqualValues(t, n, next)
		next = from
		require.NoError(t, l.Read(ctx, from, min(from+2000, n), func(line []byte) error {
			assert.Equal(t, string(testLine(next, 0)), string(line))
			next++
			return nil
		}))
		require.Equal(t, min(from+2000, n), next)
	}
	require.Error(t, l.Replay(ctx, n+1, func(*Entry) error { return nil }))
	l.shelf.mu.Lock()
	defer l.shelf.mu.Unlock()
	assert.Len(t, l.shelf.open, 2, "the active segment and the one that may lie about")
}

func TestReplayStopsAtCallersError(t *testing.T) {
	l := openTest(t, t.TempDir(), Options{})
	fill(t, l, 5000)
	err := l.Replay(ctx, 0, func(e *Entry) error {
		if e.Seq == 4321 {
			return os.ErrInvalid
		}
		return nil
	})
	require.ErrorIs(t, err, os.ErrInvalid)
	assert.ErrorContains(t, err, "record 4321")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, l.Replay(cancelled, 0, func(*Entry) error { return nil }), context.Canceled)
	require.ErrorIs(t, l.Read(cancelled, 0, 10, func([]byte) error { return nil }), context.Canceled)
	require.ErrorIs(t, l.Read(ctx, 0, 10, func([]byte) error { return os.ErrInvalid }), os.ErrInvalid)
}

// The size that a full segment of 200-byte records takes on disk.
func TestDiskPerRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a segment to weigh it")
	}
	t.Parallel()
	for _, batch := range []uint64{256, MaxBatchRecords} {
		l, err := Open(t.TempDir(), Options{})
		require.NoError(t, err)
		defer l.Close()
		for at := uint64(0); at < SegmentRecords; at += batch {
			require.NoError(t, l.Append(testLines(at, batch, 200)))
		}
		perRecord := float64(l.DiskBytes()) / SegmentRecords
		t.Logf("batches of %d: %.1f bytes a record", batch, perRecord)
		assert.LessOrEqual(t, perRecord, 275.0)
	}
}
