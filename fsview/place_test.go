package fsview

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPlace(t *testing.T) {
	g := newRig(t, Options{})
	g.write("old", "old")
	g.write("dir/target", "linked to")
	g.link("dir/target", "link")
	g.link("nowhere", "dangling")
	g.link("dir", "todir")
	g.mkdir("full")
	g.write("full/x", "x")

	for _, s := range []string{"new", "old", "dir/new", "a/b/c/new", "link", "dangling", "todir/via", "a/../dir/up", "a/b/c/new"} {
		g.stage("up", "new:"+s)
		require.NoError(t, g.Place("up", name(t, s)), s)
		assert.Equal(t, "new:"+s, g.read(s))
		assert.Empty(t, g.staged())
		require.NoError(t, g.Place("up", name(t, s)), "again: it is placed already")
	}
	assert.Equal(t, "linked to", g.read("dir/target"), "a link is replaced, not followed")
	fi, err := os.Lstat(g.path("link"))
	require.NoError(t, err)
	assert.True(t, fi.Mode().IsRegular())

	g.noTarget("dir", ErrIsDirectory)
	g.noTarget("full", ErrIsDirectory)
	g.noTarget("", ErrIsDirectory)
	g.noTarget("a/..", ErrIsDirectory)
	g.noTarget("a/b/..", ErrIsDirectory)
	g.noTarget("old/x", ErrIsFile)
	g.noTarget("old/x/y", ErrIsFile)
	g.noTarget("missing/../x", ErrNotFound)
	g.noTarget("x/../y/../z", ErrNotFound)
	require.NoError(t, os.Symlink("gone", g.path("broken")))
	g.noTarget("broken/x", ErrNotFound)
	_, err = os.Lstat(g.path("gone"))
	assert.ErrorIs(t, err, os.ErrNotExist, "what a dangling link points to is not made")

	err = g.Place("never", name(t, "neither"))
	assert.ErrorIs(t, err, ErrNotFound)
	err = g.Place("never", name(t, "no/parents/either"))
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = os.Lstat(g.path("no"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorIs(t, g.Place("../x", name(t, "f")), ErrBadName)
}

func TestResolveIsCanonical(t *testing.T) {
	g := newRig(t, Options{})
	g.write("d/e/f", "x")
	g.link("d/e", "l")
	g.link("f", "d/e/link")
	same := func(a, b string) {
		t.Helper()
		x, err := g.Resolve(name(t, a))
		require.NoError(t, err)
		y, err := g.Resolve(name(t, b))
		require.NoError(t, err)
		assert.Equal(t, x, y)
	}
	same("d/e/f", "l/f")
	same("d/e/f", `\d\.\e\f`)
	same("d/e/new", "l/new")
	same("d/e/../e/new", "l/../e/new")
	same("d/n/m", "l/../n/m")
	x, err := g.Resolve(name(t, "d/e/link"))
	require.NoError(t, err)
	assert.Equal(t, "link", x.Rest)
	y, err := g.Resolve(name(t, "new/d/e"))
	require.NoError(t, err)
	assert.Equal(t, "new/d/e", y.Rest)
	top, err := g.Resolve(name(t, "f"))
	require.NoError(t, err)
	assert.Equal(t, Target{top.Dev, top.Ino, "new/d/e"}, y)
}

// TestEveryStepMayFail: each durable step of an upload, in both flavours. The
// old file stays whole until the new one is there, an error leaves nothing
// over, and doing it again succeeds.
func TestEveryStepMayFail(t *testing.T) {
	t.Parallel()
	const to = "new/dir/file"
	for _, across := range []bool{false, true} {
		for _, happened := range []bool{false, true} {
			for at := 1; ; at++ {
				var failed string
				t.Run(fmt.Sprintf("across=%t/%s/step %d", across, flavour(happened), at), func(t *testing.T) {
					g := newRig(t, Options{})
					g.mkdir("new")
					boom := errors.New("boom")
					inject := fails(at, happened, boom)
					renames := 0
					g.Root.fault = func(op, name string, do func() error) error {
						if across && op == "target.rename" {
							if renames++; renames == 1 {
								do = func() error { return unix.EXDEV }
							}
						}
						err := inject(op, name, do)
						if errors.Is(err, boom) {
							failed = op
						}
						return err
					}
					err := stage(g.Root, "up", "new")
					staged := err == nil
					if err == nil {
						err = g.Place("up", Name{to})
					}
					if failed == "" {
						require.NoError(t, err)
						assert.Greater(t, at, 8)
						return
					}
					require.ErrorIs(t, err, boom, failed)
					g.clean(err)
					if failed == "staged.create" || failed == "staged.allocate" {
						assert.Empty(t, g.staged(), failed)
					}
					if b, err := os.ReadFile(g.path(to)); err == nil {
						assert.Equal(t, "new", string(b), "whole or not there")
					}
					g.Root.fault = nil
					if !staged {
						require.NoError(t, g.DropStaged("up"))
						require.NoError(t, stage(g.Root, "up", "new"))
					}
					require.NoError(t, g.Place("up", Name{to}), failed)
					assert.Equal(t, "new", g.read(to))
					text, err := g.openText(to)
					assert.NoError(t, err)
					assert.Equal(t, "new", text)
				})
				if failed == "" {
					break
				}
			}
		}
	}
}

// TestDeathAtEveryStep: a process that ends at any durable step, before it or
// after it, leaves what the next one can finish.
func TestDeathAtEveryStep(t *testing.T) {
	t.Parallel()
	const to = "made/target"
	for _, across := range []bool{false, true} {
		for _, happened := range []bool{false, true} {
			for k := 1; ; k++ {
				g := newRig(t, Options{})
				require.NoError(t, g.Close())
				code, out := runChild(fmt.Sprintf("crash %d %t %t", k, happened, across), g.dir, to)
				if code == 0 {
					assert.Greater(t, k, 8)
					g.open(Options{})
					break
				}
				require.Equal(t, died, code, out)
				var synced []string
				g.open(Options{Fault: func(op, name string, do func() error) error {
					if across && op == "target.rename" && !slices.Contains(synced, op) {
						do = func() error { return unix.EXDEV }
					}
					synced = append(synced, op)
					return do()
				}})
				if b, err := os.ReadFile(g.path(to)); err == nil {
					assert.Equal(t, "new", string(b))
				}
				size, there, err := g.StagedExists("up")
				require.NoError(t, err)
				sealed := k > 6 || k == 6 && happened // create, allocate, 2 syncs, write, sync
				if !sealed {
					if there { // the journal knows nothing of it, or that it is not complete
						rep, err := g.Sweep(func(string) Fate { return Drop }, time.Now())
						require.NoError(t, err)
						assert.Equal(t, 1, rep.Dropped)
					}
					continue
				}
				if there {
					assert.EqualValues(t, 3, size)
				}
				require.NoError(t, g.Place("up", Name{to}), "step %d", k)
				assert.Equal(t, "new", g.read(to))
				// The way to it is synced by whoever answers, whatever the dead one did.
				assert.Contains(t, synced, "parent.sync")
				assert.Contains(t, synced, "target.sync")
			}
		}
	}
}

func TestAcrossMountPoint(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	g := newRig(t, Options{})
	mountTmpfs(t, g.path("mnt"), "4m")
	g.write("mnt/old", "old")
	for _, s := range []string{"mnt/old", "mnt/new", "mnt/a/b/new"} {
		g.stage("up", "across")
		require.NoError(t, g.Place("up", name(t, s)))
		assert.Equal(t, "across", g.read(s))
		assert.Empty(t, g.staged())
	}
	// No room over there: the old file stays, the staged one too, nothing half is left.
	g.stage("big", strings.Repeat("x", 8<<20))
	err := g.Place("big", name(t, "mnt/old"))
	assert.ErrorIs(t, err, ErrNoSpace)
	g.clean(err)
	assert.Equal(t, "across", g.read("mnt/old"))
	assert.Equal(t, []string{"big"}, g.staged())
	require.NoError(t, g.DropStaged("big"))
	es, err := os.ReadDir(g.path("mnt"))
	require.NoError(t, err)
	assert.Len(t, es, 3)
	// What a dead one left beside the target goes, also if it was made a trap.
	require.NoError(t, os.Symlink("old", g.path("mnt/"+copyName("up"))))
	g.stage("up", "again")
	require.NoError(t, g.Place("up", name(t, "mnt/new")))
	assert.Equal(t, "across", g.read("mnt/old"))
	g.mkdir("mnt/dir")
	g.write("mnt/"+copyName("up"), "half")
	g.noTargetKeeping("up", "mnt/dir", ErrIsDirectory)
	require.NoError(t, unix.Unmount(g.path("mnt"), unix.MNT_DETACH))
}

// A copy that was begun beside the target goes with the placing, though the mount
// point is no more, and a rename does.
func TestPlaceRemovesACopyThatWasBegun(t *testing.T) {
	t.Parallel()
	g := newRig(t, Options{})
	g.mkdir("mnt")
	g.write("mnt/"+copyName("up"), "half")
	g.stage("up", "whole")
	require.NoError(t, g.Place("up", name(t, "mnt/new")))
	assert.Equal(t, "whole", g.read("mnt/new"))
	assert.NoFileExists(t, g.path("mnt/"+copyName("up")))
}

func (g *rig) noTargetKeeping(id, s string, want error) {
	g.t.Helper()
	g.stage(id, "x")
	assert.ErrorIs(g.t, g.Place(id, name(g.t, s)), want)
	assert.Equal(g.t, []string{id}, g.staged())
	assert.NoError(g.t, g.DropStaged(id))
	_, err := os.Lstat(filepath.Join(filepath.Dir(g.path(s)), copyName(id)))
	assert.ErrorIs(g.t, err, os.ErrNotExist)
}

func TestParentsAreSyncedOnceAProcess(t *testing.T) {
	var synced []string
	g := newRig(t, Options{Fault: func(op, name string, do func() error) error {
		if op == "parent.sync" || op == "parent.make" {
			synced = append(synced, op+" "+name)
		}
		return do()
	}})
	g.mkdir("a")
	place := func(s string) []string {
		synced = nil
		g.stage("up", "x")
		require.NoError(t, g.Place("up", name(t, s)))
		return synced
	}
	assert.Equal(t, []string{"parent.sync .", "parent.make a/b", "parent.sync a"}, place("a/b/c"))
	assert.Empty(t, place("a/b/d"))
	require.NoError(t, os.RemoveAll(g.path("a/b")))
	g.mkdir("a/b") // another one, though its inode number may be the same
	assert.Equal(t, []string{"parent.sync a"}, place("a/b/c"))
}

func TestConcurrentPlacing(t *testing.T) {
	g := newRig(t, Options{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			id := fmt.Sprint("up", i)
			assert.NoError(t, stage(g.Root, id, "new"))
			assert.NoError(t, g.Place(id, Name{fmt.Sprintf("same/new/dirs/%d", i%4)}))
		})
	}
	wg.Wait()
	for i := range 4 {
		assert.Equal(t, "new", g.read(fmt.Sprintf("same/new/dirs/%d", i)))
	}
}

// WriteNew never replaces, also where the file system cannot promise that.
func TestWriteNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, WriteNew(path, []byte("one"), 0o644))
	require.ErrorIs(t, WriteNew(path, []byte("two"), 0o644), fs.ErrExist)
	other := filepath.Join(dir, "g")
	require.NoError(t, os.WriteFile(other, []byte("three"), 0o600))
	require.ErrorIs(t, lookAndRename(other, path), fs.ErrExist)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "one", string(b))
	require.NoError(t, os.Remove(path))
	require.NoError(t, lookAndRename(other, path))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing is left beside it")
}
