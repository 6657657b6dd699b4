package journal

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

var errInjected = errors.New("injected")

// TestFaults makes every durable step of a roll and of a plain commit fail,
// before or after it happened. The log fails for good and shows nothing of
// it; what the next Open finds is a prefix of what was appended, and at least
// what was acknowledged.
func TestFaults(t *testing.T) {
	t.Parallel()
	base := nearlyFull(t)
	const before = SegmentRecords - 5

	for _, c := range []struct {
		op    string
		nth   int    // which of these steps fails
		acked uint64 // size at the failure
		after uint64 // size found if the step happened
	}{
		{"commit", 0, before, SegmentRecords},
		{"segment.create", 0, SegmentRecords, SegmentRecords},
		{"segment.link", 0, SegmentRecords, SegmentRecords},
		{"dir.sync", 0, SegmentRecords, SegmentRecords},
		{"commit", 1, SegmentRecords, SegmentRecords + 5},
		{"commit", 2, SegmentRecords + 5, SegmentRecords + 6},
	} {
		for _, happens := range []bool{false, true} {
			name := c.op + map[bool]string{false: " did not happen", true: " did happen"}[happens]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, base)
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
				changed := l.Changed()
				err = l.Append(testLines(before, 10, 0))
				if err == nil {
					err = l.Append(testLines(before+10, 1, 0))
				}
				require.ErrorIs(t, err, errInjected)
				require.ErrorIs(t, err, ErrFailed)
				assert.ErrorIs(t, l.Err(), errInjected)
				<-changed
				<-l.Changed()

				head := l.Head()
				assert.Equal(t, c.acked, head.Size)
				err = l.Append(testLines(head.Size, 1, 0))
				require.ErrorIs(t, err, ErrFailed, "for good")
				require.ErrorIs(t, err, errInjected)
				assert.Equal(t, head, l.Head())
				seen := uint64(SegmentRecords - 100)
				require.NoError(t, l.Read(ctx, seen, before+100, func(line []byte) error {
					assert.Equal(t, string(testLine(seen, 0)), string(line))
					seen++
					return nil
				}))
				assert.Equal(t, head.Size, seen, "readers see what is committed, no more")
				root, err := l.RootAt(ctx, before)
				require.NoError(t, err)
				require.NoError(t, l.Close())

				l = openTest(t, dir, Options{})
				want := head.Size
				if happens {
					want = c.after
				}
				assert.Equal(t, want, l.Head().Size)
				again, err := l.RootAt(ctx, before)
				require.NoError(t, err)
				assert.Equal(t, root, again)
				fill(t, l, SegmentRecords+300)
				names, err := os.ReadDir(dir)
				require.NoError(t, err)
				assert.Len(t, names, 2)
			})
		}
	}
}

// A segment that could not be made ahead, for want of space perhaps, is tried
// again when it is needed: by then there may be some.
func TestPreparingFailed(t *testing.T) {
	t.Parallel()
	l := openTest(t, copyDir(t, nearlyFull(t)), Options{})
	l.w.next = make(chan prepared, 1)
	l.w.next <- prepared{dir: l.shelf.dir, err: errInjected}
	require.NoError(t, l.Append(testLines(SegmentRecords-5, 10, 0)))
	assert.Equal(t, uint64(SegmentRecords+5), l.Head().Size)
}

// What a crash can leave beside the segments.
func TestCrashLeftovers(t *testing.T) {
	t.Parallel()
	base := copyDir(t, nearlyFull(t))
	l, err := Open(base, Options{})
	require.NoError(t, err)
	fill(t, l, SegmentRecords)
	head, at := l.Head(), l.LastAt()
	require.NoError(t, l.Close())
	temp := tempName(SegmentRecords)

	// crash makes the next segment up to a step of roll.
	crash := func(t *testing.T, dir string, begin, link bool) {
		seg, err := createTemp(dir, SegmentRecords)
		require.NoError(t, err)
		if begin {
			require.NoError(t, seg.begin(head.Root[:], head))
		}
		if link {
			require.NoError(t, os.Link(filepath.Join(dir, temp), filepath.Join(dir, seg.name)))
		}
		require.NoError(t, seg.close())
	}
	for name, do := range map[string]func(t *testing.T, dir string){
		"nothing":        func(*testing.T, string) {},
		"temporary file": func(t *testing.T, dir string) { crash(t, dir, false, false) },
		"begun":          func(t *testing.T, dir string) { crash(t, dir, true, false) },
		"half written": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, temp), []byte("half"), 0o600))
		},
		"linked, both names": func(t *testing.T, dir string) { crash(t, dir, true, true) },
		"linked": func(t *testing.T, dir string) {
			crash(t, dir, true, true)
			require.NoError(t, os.Remove(filepath.Join(dir, temp)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, base)
			do(t, dir)
			got, err := Verify(ctx, dir)
			require.NoError(t, err)
			require.Equal(t, head, got)
			l, err := Open(dir, Options{ReadOnly: true})
			require.NoError(t, err)
			assert.Equal(t, head, l.Head())
			assert.True(t, at.Equal(l.LastAt()))
			require.NoError(t, l.Close())

			l = openTest(t, dir, Options{})
			assert.NoFileExists(t, filepath.Join(dir, temp))
			assert.Equal(t, head, l.Head())
			assert.True(t, at.Equal(l.LastAt()), "also when the last segment is empty")
			root, err := l.RootAt(ctx, SegmentRecords)
			require.NoError(t, err)
			assert.Equal(t, head.Root, root)
			n := 0
			require.NoError(t, l.Replay(ctx, SegmentRecords-1, func(*Entry) error { n++; return nil }))
			assert.Equal(t, 1, n)
			require.NoError(t, l.Replay(ctx, SegmentRecords, func(*Entry) error { n++; return nil }))
			assert.Equal(t, 1, n)
			fill(t, l, SegmentRecords+10)
		})
	}

	t.Run("empty segment with other peaks", func(t *testing.T) {
		dir := copyDir(t, base)
		crash(t, dir, true, true)
		edit(t, dir, SegmentRecords, func(tx *bolt.Tx) error {
			return tx.Bucket(metaBucket).Put(peaksKey, flipped(head.Root[:], 3))
		})
		var d *DamageError
		_, err := Verify(ctx, dir)
		require.ErrorAs(t, err, &d)
		assert.EqualValues(t, SegmentRecords, d.Seq)
		_, err = Open(dir, Options{})
		require.ErrorAs(t, err, &d)
	})
}

// Append refuses what Verify would refuse later, and nothing of the batch is
// written.
func TestAppendRefuses(t *testing.T) {
	line := func(seq uint64, at time.Time, body string) []byte {
		return AppendRecord(nil, &Record{Seq: seq, At: at, Kind: "x", Body: []byte(body)})
	}
	for name, bad := range map[string][]byte{
		"not a record":    []byte("hello"),
		"next but one":    line(2, epoch, `{}`),
		"the one before":  line(0, epoch, `{}`),
		"time falls":      line(1, epoch.Add(-time.Microsecond), `{}`),
		"large integer":   line(1, epoch, `{"mtime_ns":1767323045000000000}`),
		"body not JSON":   line(1, epoch, `{"a"}`),
		"with a newline":  append(line(1, epoch, `{}`), '\n'),
		"line too long":   line(1, epoch, `{"a":"`+string(make([]byte, MaxLine))+`"}`),
		"year before 0":   line(1, time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), `{}`),
		"kind not a kind": AppendRecord(nil, &Record{Seq: 1, At: epoch, Kind: "A", Body: []byte(`{}`)}),
	} {
		t.Run(name, func(t *testing.T) {
			l := openTest(t, t.TempDir(), Options{})
			err := l.Append([][]byte{line(0, epoch, `{}`), bad})
			require.ErrorIs(t, err, ErrFailed)
			assert.Zero(t, l.Head().Size)
			require.ErrorIs(t, l.Append([][]byte{line(0, epoch, `{}`)}), ErrFailed)
		})
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	fill(t, l, 10)
	for name, try := range map[string]func() error{
		"writer":   func() error { _, err := Open(dir, Options{}); return err },
		"reader":   func() error { _, err := Open(dir, Options{ReadOnly: true}); return err },
		"verifier": func() error { _, err := Verify(ctx, dir); return err },
	} {
		assert.ErrorIs(t, try(), ErrLocked, name)
	}
	require.NoError(t, l.Close())
	one, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	two, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	_, err = Verify(ctx, dir)
	require.NoError(t, err)
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
}

// Somebody else's lock on the last segment, not on the directory.
func TestSegmentLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	require.NoError(t, l.Close())
	f, err := os.Open(filepath.Join(dir, segmentName(0)))
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_SH))
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, f.Close())
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none"), Options{ReadOnly: true})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Verify(ctx, filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)

	l, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err, "an empty directory is an empty journal")
	assert.Equal(t, NewTree().Head(), l.Head())
	assert.Zero(t, l.DiskBytes())
	require.NoError(t, l.Replay(ctx, 0, func(*Entry) error { return os.ErrInvalid }))
	require.ErrorIs(t, l.Append(testLines(0, 1, 0)), ErrReadOnly)
	require.NoError(t, l.Close())
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names)

	l = openTest(t, dir, Options{})
	fill(t, l, 700)
	head := l.Head()
	require.NoError(t, l.Close())
	require.NoError(t, os.Chmod(filepath.Join(dir, segmentName(0)), 0o400))
	require.NoError(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	got, err := Verify(ctx, dir)
	require.NoError(t, err)
	require.Equal(t, head, got)
	l, err = Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	require.Equal(t, head, l.Head())
	require.ErrorIs(t, l.Append(testLines(700, 1, 0)), ErrReadOnly)
	require.NoError(t, l.Close())
}

func TestClosed(t *testing.T) {
	l := openTest(t, t.TempDir(), Options{})
	fill(t, l, 300)
	changed := l.Changed()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	<-changed
	<-l.Changed()
	require.ErrorIs(t, l.Append(testLines(300, 1, 0)), ErrClosed)
	require.ErrorIs(t, l.Read(ctx, 0, 1, func([]byte) error { return nil }), ErrClosed)
	require.ErrorIs(t, l.Replay(ctx, 0, func(*Entry) error { return nil }), ErrClosed)
	_, err := l.RootAt(ctx, 10)
	require.ErrorIs(t, err, ErrClosed)
}

// Readers of all sorts run beside an Append that crosses a segment's end.
func TestConcurrent(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	l := openTest(t, copyDir(t, nearlyFull(t)), Options{})
	const start, end = SegmentRecords - 5, SegmentRecords + 3000
	tree := NewTree()
	require.NoError(t, l.Read(ctx, 0, start, func(line []byte) error { tree.Append(line); return nil }))
	roots := map[uint64]Hash{start: tree.Head().Root}
	for seq := uint64(start); seq < end; seq++ {
		tree.Append(testLine(seq, 0))
		roots[tree.size] = tree.Head().Root
	}
	var readers sync.WaitGroup
	follow := func(read func(from, to uint64) (uint64, error)) {
		readers.Go(func() {
			for at := uint64(start); at < end; {
				changed := l.Changed()
				head := l.Head()
				if !assert.Equal(t, roots[head.Size], head.Root) {
					return
				}
				if head.Size == at {
					<-changed
					continue
				}
				next, err := read(at, head.Size)
				if !assert.NoError(t, err) {
					return
				}
				at = next
			}
		})
	}
	for range 3 {
		follow(func(from, to uint64) (uint64, error) {
			next := from
			err := l.Read(ctx, from, to, func(line []byte) error {
				assert.Equal(t, string(testLine(next, 0)), string(line))
				next++
				return nil
			})
			assert.Equal(t, to, next)
			return next, err
		})
	}
	follow(func(from, to uint64) (uint64, error) {
		next := from
		err := l.Replay(ctx, from, func(e *Entry) error {
			assert.Equal(t, next, e.Seq)
			next++
			return nil
		})
		assert.GreaterOrEqual(t, next, to)
		return next, err
	})
	follow(func(from, to uint64) (uint64, error) {
		root, err := l.RootAt(ctx, (from+to)/2)
		assert.Equal(t, roots[(from+to)/2], root)
		assert.Positive(t, l.DiskBytes())
		return to, err
	})
	for at := uint64(start); at < end; at += 50 {
		require.NoError(t, l.Append(testLines(at, min(50, end-at), 0)))
	}
	readers.Wait()
	require.NoError(t, l.Close())
	for until := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(until); {
		runtime.Gosched()
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "a goroutine is left")
}
