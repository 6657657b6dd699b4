package fsview

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestStaged(t *testing.T) {
	g := newRig(t, Options{})
	s, err := g.CreateStaged("one", 10)
	require.NoError(t, err)
	_, err = g.CreateStaged("one", 10)
	assert.ErrorIs(t, err, fs.ErrExist)
	assert.Equal(t, []string{"one"}, g.staged(), "and what was there is still there")
	n, err := s.WriteAt([]byte("abc"), 4)
	assert.NoError(t, err)
	assert.Equal(t, 3, n)
	require.NoError(t, s.Sync())
	b := make([]byte, 12)
	n, err = s.ReadAt(b, 0)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, "\x00\x00\x00\x00abc\x00\x00\x00", string(b[:n]))
	require.NoError(t, s.Truncate(6))
	size, err := s.Size()
	assert.NoError(t, err)
	assert.EqualValues(t, 6, size)
	require.NoError(t, s.Close())
	_, err = s.WriteAt([]byte("x"), 0)
	assert.ErrorIs(t, err, fs.ErrClosed)
	assert.ErrorIs(t, s.Sync(), fs.ErrClosed)
	g.clean(err)

	s, err = g.OpenStaged("one")
	require.NoError(t, err)
	n, err = s.ReadAt(b[:6], 0)
	assert.NoError(t, err)
	assert.Equal(t, "\x00\x00\x00\x00ab", string(b[:n]))
	_, err = s.WriteAt([]byte("x"), -1)
	assert.Error(t, err)
	assert.NotErrorIs(t, err, ErrEscape, "an error without an errno is an escape only where os.Root says so")
	require.NoError(t, s.Close())
	size, ok, err := g.StagedExists("one")
	assert.NoError(t, err)
	assert.True(t, ok)
	assert.EqualValues(t, 6, size)

	require.NoError(t, g.DropStaged("one"))
	require.NoError(t, g.DropStaged("one"))
	_, ok, err = g.StagedExists("one")
	assert.NoError(t, err)
	assert.False(t, ok)
	_, err = g.OpenStaged("one")
	assert.ErrorIs(t, err, ErrNotFound)
	g.clean(err)

	for _, id := range []string{"", ".", "..", "../x", "a/b", "a b", "a\x00", strings.Repeat("x", 65)} {
		_, err := g.CreateStaged(id, 1)
		assert.ErrorIs(t, err, ErrBadName, id)
		_, err = g.OpenStaged(id)
		assert.ErrorIs(t, err, ErrBadName, id)
		assert.ErrorIs(t, g.DropStaged(id), ErrBadName, id)
		_, _, err = g.StagedExists(id)
		assert.ErrorIs(t, err, ErrBadName, id)
	}
	for _, size := range []int64{0, -1} {
		s, err := g.CreateStaged("empty", size)
		require.NoError(t, err)
		got, err := s.Size()
		assert.NoError(t, err)
		assert.Zero(t, got)
		require.NoError(t, s.Close())
		require.NoError(t, g.DropStaged("empty"))
	}
}

func TestStagedIsAllocated(t *testing.T) {
	g := newRig(t, Options{})
	s, err := g.CreateStaged("big", 1<<20)
	require.NoError(t, err)
	defer g.DropStaged("big")
	defer s.Close()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(s.f.Fd()), &st))
	if _, owed := g.space.promised["big"]; !owed {
		assert.GreaterOrEqual(t, st.Blocks*512, int64(1<<20))
	}
}

// TestSpentAfterFailedSync: the next fdatasync after a failed one succeeds
// although the bytes are lost, so it must not be asked.
func TestSpentAfterFailedSync(t *testing.T) {
	g := newRig(t, Options{})
	g.Root.fault = fails(4, false, unix.EIO) // create, allocate, write, sync
	s, err := g.CreateStaged("up", 4)
	require.NoError(t, err)
	_, err = s.WriteAt([]byte("data"), 0)
	require.NoError(t, err)
	err = s.Sync()
	require.ErrorIs(t, err, unix.EIO)
	g.clean(err)
	assert.ErrorIs(t, s.Sync(), unix.EIO)
	_, err = s.WriteAt([]byte("data"), 0)
	assert.ErrorIs(t, err, unix.EIO)
	assert.ErrorIs(t, s.Truncate(1), unix.EIO)
	require.NoError(t, s.Close())
	s, err = g.OpenStaged("up")
	require.NoError(t, err)
	_, err = s.WriteAt([]byte("data"), 0)
	assert.NoError(t, err)
	assert.NoError(t, s.Sync())
	require.NoError(t, s.Close())
	require.NoError(t, g.DropStaged("up"))
}

func TestDiskFullWhileWriting(t *testing.T) {
	g := newRig(t, Options{})
	s, err := g.CreateStaged("up", 4)
	require.NoError(t, err)
	g.Root.fault = fails(1, false, unix.ENOSPC)
	_, err = s.WriteAt([]byte("data"), 0)
	assert.ErrorIs(t, err, ErrNoSpace)
	assert.ErrorIs(t, err, unix.ENOSPC)
	_, err = s.WriteAt([]byte("data"), 0)
	assert.NoError(t, err, "only a failed sync is final")
	require.NoError(t, s.Close())
	require.NoError(t, g.DropStaged("up"))
}

func TestReserve(t *testing.T) {
	g := newRig(t, Options{Reserve: 1 << 60})
	_, err := g.CreateStaged("up", 1)
	assert.ErrorIs(t, err, ErrNoSpace)
	g.clean(err)
	assert.Empty(t, g.staged())
	assert.ErrorIs(t, g.CheckSpace(0), ErrNoSpace)
	require.NoError(t, g.Close())
	g.open(Options{Reserve: 0, StateDir: t.TempDir()})
	assert.NoError(t, g.CheckSpace(1))
	assert.ErrorIs(t, g.CheckSpace(1<<62), ErrNoSpace)
	assert.ErrorIs(t, g.CheckSpace(1<<63-1), ErrNoSpace)
}

func TestReserveIsKeptByConcurrentCallers(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	state, base := t.TempDir(), t.TempDir()
	mountTmpfs(t, base, "64m")
	mountTmpfs(t, state, "1m")
	for _, promise := range []bool{false, true} {
		dir := filepath.Join(base, "root")
		r, err := OpenRoot(dir, Options{StoreID: store, Reserve: 16 << 20})
		require.NoError(t, err)
		r.fault = func(op, name string, do func() error) error {
			if op == "staged.allocate" {
				time.Sleep(time.Millisecond) // room for another caller between test and taking, if one were let in
			}
			if promise && op == "staged.allocate" { // as where nothing can be allocated ahead
				r.space.promised[name] = 4 << 20
				return nil
			}
			return do()
		}
		var got atomic.Int64
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				s, err := r.CreateStaged(fmt.Sprint("u", i), 4<<20)
				if err != nil {
					assert.ErrorIs(t, err, ErrNoSpace)
					return
				}
				got.Add(1)
				assert.NoError(t, s.Close())
			})
		}
		wg.Wait()
		assert.InDelta(t, 11, got.Load(), 1, "48 MiB in fours, less what the directories take")
		assert.NoError(t, r.CheckSpace(0))
		assert.ErrorIs(t, r.CheckSpace(8<<20), ErrNoSpace)
		rep, err := r.Sweep(func(string) Fate { return Drop }, time.Now())
		require.NoError(t, err)
		assert.EqualValues(t, got.Load(), rep.Dropped)
		assert.NoError(t, r.CheckSpace(40<<20))
		require.NoError(t, r.Close())
	}
	// The state's file system has too little, though the root's has plenty.
	r, err := OpenRoot(filepath.Join(base, "root"), Options{StoreID: store, Reserve: 8 << 20, StateDir: state})
	require.NoError(t, err)
	defer r.Close()
	_, err = r.CreateStaged("u", 1)
	assert.ErrorIs(t, err, ErrNoSpace)
	format, total, free, err := r.Drive()
	assert.NoError(t, err)
	assert.Equal(t, "tmpfs", format)
	assert.EqualValues(t, 64<<20, total)
	assert.Less(t, free, total+1)
}

func TestSweep(t *testing.T) {
	g := newRig(t, Options{})
	for _, id := range []string{"keep", "drop", "who"} {
		g.stage(id, id)
	}
	g.keep["keep"] = true
	stagingDir := g.path(reserved + "/" + store + "/staging")
	orphans := g.path(reserved + "/" + store + "/orphans")
	require.NoError(t, os.WriteFile(filepath.Join(stagingDir, "not an id"), nil, 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(stagingDir, "dir/inner"), 0o700))
	other := g.path(reserved + "/other/staging")
	require.NoError(t, os.MkdirAll(other, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(other, "drop"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(orphans, "somebody's"), nil, 0o600))

	var asked []string
	know := func(id string) Fate {
		asked = append(asked, id)
		return map[string]Fate{"keep": Keep, "drop": Drop}[id]
	}
	now := time.Unix(1_700_000_000, 0)
	rep, err := g.Sweep(know, now)
	require.NoError(t, err)
	assert.Equal(t, SweepReport{Kept: 1, Dropped: 1, Orphaned: 3}, rep)
	assert.ElementsMatch(t, []string{"keep", "drop", "who", "dir"}, asked)
	assert.Equal(t, []string{"keep"}, g.staged())
	b, err := os.ReadFile(filepath.Join(orphans, "1700000000.0.who"))
	require.NoError(t, err)
	assert.Equal(t, "who", string(b))
	require.NoError(t, os.Link(filepath.Join(orphans, "1700000000.0.who"), g.path("hard")))
	_, err = g.Open(Name{"hard"})
	assert.ErrorIs(t, err, ErrEscape, "an orphan is out of reach too")
	require.NoError(t, os.Remove(g.path("hard")))

	// The same name again in the same second: nothing is written over.
	g.stage("who", "who else")
	rep, err = g.Sweep(know, now)
	require.NoError(t, err)
	assert.Equal(t, 1, rep.Orphaned)
	assert.FileExists(t, filepath.Join(orphans, "1700000000.1.who"))

	rep, err = g.Sweep(know, now.Add(OrphanAge-time.Second))
	require.NoError(t, err)
	assert.Equal(t, SweepReport{Kept: 1}, rep)
	rep, err = g.Sweep(know, now.Add(OrphanAge))
	require.NoError(t, err)
	assert.Equal(t, SweepReport{Kept: 1, Expired: 4}, rep)
	es, err := os.ReadDir(orphans)
	require.NoError(t, err)
	require.Len(t, es, 1)
	assert.Equal(t, "somebody's", es[0].Name())
	assert.FileExists(t, filepath.Join(other, "drop"))
}

func TestSweepStepsMayFail(t *testing.T) {
	t.Parallel()
	for _, happened := range []bool{false, true} {
		for at := 1; ; at++ {
			g := newRig(t, Options{})
			g.stage("drop", "x")
			g.stage("who", "x")
			now := time.Unix(1_700_000_000, 0)
			g.write(reserved+"/"+store+"/orphans/1000.0.old", "x")
			know := func(id string) Fate { return map[string]Fate{"drop": Drop}[id] }
			g.Root.fault = fails(at, happened, unix.EIO)
			_, err := g.Sweep(know, now)
			g.Root.fault = nil
			if err == nil {
				assert.Equal(t, 6, at)
				break
			}
			require.ErrorIs(t, err, unix.EIO)
			_, err = g.Sweep(know, now)
			require.NoError(t, err)
			assert.Empty(t, g.staged())
			es, err := os.ReadDir(g.path(reserved + "/" + store + "/orphans"))
			require.NoError(t, err)
			require.Len(t, es, 1)
			assert.Equal(t, "1700000000.0.who", es[0].Name())
		}
	}
}

func TestRootLock(t *testing.T) {
	g := newRig(t, Options{})
	_, err := OpenRoot(g.dir, Options{StoreID: "other"})
	var held *LockedError
	require.ErrorAs(t, err, &held)
	assert.ErrorIs(t, err, ErrLocked)
	assert.Contains(t, held.Holder, fmt.Sprintf("pid %d, boot ", os.Getpid()))
	assert.Contains(t, held.Holder, ", since 20")
	assert.Contains(t, err.Error(), held.Holder)
	g.clean(err)
	ok, err := HasStore(g.dir, "other")
	assert.NoError(t, err)
	assert.False(t, ok, "nothing was touched")
	ok, err = HasStore(g.dir, store)
	assert.NoError(t, err)
	assert.True(t, ok)

	code, out := runChild("lock", g.dir, "")
	assert.Equal(t, died, code, out)
	assert.Contains(t, out, fmt.Sprintf("pid %d, boot ", os.Getpid()))

	require.NoError(t, g.Close())
	g.open(Options{})
}

func TestHasStore(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{filepath.Join(dir, "missing"), dir} {
		ok, err := HasStore(d, store)
		assert.NoError(t, err)
		assert.False(t, ok)
	}
	es, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, es)
	_, err = HasStore(dir, "../x")
	assert.ErrorIs(t, err, ErrBadName)
	_, err = OpenRoot(dir, Options{})
	assert.ErrorIs(t, err, ErrBadName)
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := LockFile(path)
	require.NoError(t, err)
	_, err = LockFile(path)
	assert.ErrorIs(t, err, ErrLocked)
	assert.NotContains(t, err.Error(), filepath.Dir(path))
	// Somebody tidied up: a new file is a new lock, and the old one holds nobody.
	require.NoError(t, os.Remove(path))
	l2, err := LockFile(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = LockFile(path)
	assert.ErrorIs(t, err, ErrLocked)
	require.NoError(t, l2.Close())
	l, err = LockFile(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	_, err = LockFile(fifo)
	assert.ErrorIs(t, err, ErrAccess)
	_, err = LockFile(filepath.Join(t.TempDir(), "no/lock"))
	assert.ErrorIs(t, err, ErrNotFound)
}

func TestWriteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b")
	require.NoError(t, MakeDir(dir, 0o700))
	require.NoError(t, MakeDir(dir, 0o755))
	fi, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	path := filepath.Join(dir, "key")
	for _, text := range []string{"one", "two"} {
		require.NoError(t, WriteFile(path, []byte(text), 0o600))
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, text, string(b))
		// What a dead one left, even as a trap, is not followed.
		require.NoError(t, os.Symlink("key", filepath.Join(dir, ".key.new")))
	}
	fi, err = os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), fi.Mode().Perm())
	err = WriteFile(filepath.Join(dir, "no/key"), nil, 0o600)
	assert.ErrorIs(t, err, ErrNotFound)
	assert.NotContains(t, err.Error(), dir)
	assert.ErrorIs(t, MakeDir(filepath.Join(path, "x"), 0o700), ErrIsFile)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "taken"), 0o700))
	err = WriteFile(filepath.Join(dir, "taken"), []byte("x"), 0o600)
	assert.Error(t, err)
	_, err = os.Lstat(filepath.Join(dir, ".taken.new"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func BenchmarkUpload16K(b *testing.B) {
	r, err := OpenRoot(b.TempDir(), Options{StoreID: store})
	require.NoError(b, err)
	defer r.Close()
	text := strings.Repeat("x", 16<<10)
	for i := 0; b.Loop(); i++ {
		require.NoError(b, stage(r, "up", text))
		require.NoError(b, r.Place("up", Name{fmt.Sprint("d/f", i)}))
	}
}

// TestStagedIsReservedAgain: a power cut may leave a staged file shorter than it
// was made; what is missing is set aside once more, and counted once.
func TestStagedIsReservedAgain(t *testing.T) {
	g := newRig(t, Options{})
	s, err := g.CreateStaged("up", 1<<20)
	require.NoError(t, err)
	defer g.DropStaged("up")
	defer s.Close()
	_, err = s.WriteAt([]byte("data"), 0)
	require.NoError(t, err)
	require.NoError(t, s.f.Truncate(4))
	require.NoError(t, s.Reserve(1<<20))
	size, err := s.Size()
	require.NoError(t, err)
	assert.Equal(t, int64(1<<20), size)
	got := make([]byte, 8)
	_, err = s.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "data\x00\x00\x00\x00", string(got))
	assert.ErrorIs(t, s.Reserve(1<<62), ErrNoSpace)
}
