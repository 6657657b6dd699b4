package fsview

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sumText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// keepText stages a text and makes it a content.
func keepText(c *Contents, id, text string) error {
	if err := stage(c.Root, id, text); err != nil {
		return err
	}
	return c.Keep(id, sumText(text))
}

func textOf(t *testing.T, c *Contents, digest string) string {
	t.Helper()
	f, err := c.Content(digest)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, f.Size())
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return string(b)
}

func TestContents(t *testing.T) {
	g := newRig(t, Options{})
	c := &Contents{g.Root}
	require.NoError(t, keepText(c, "a", "one"))
	require.NoError(t, keepText(c, "b", "one"), "its equal takes its place")
	require.NoError(t, keepText(c, "c", "two"))
	one, two := sumText("one"), sumText("two")
	assert.Equal(t, "one", textOf(t, c, one))
	assert.Equal(t, "one", g.read(one[:2]+"/"+one), "by its digest, below its first two digits")
	require.NoError(t, c.Keep("a", one), "done before a crash: nothing is left to do")
	assert.ErrorIs(t, c.Keep("never staged", sumText("three")), ErrBadName)
	assert.ErrorIs(t, c.Keep("never-staged", sumText("three")), ErrNotFound)

	require.NoError(t, c.Discard(one))
	require.NoError(t, c.Discard(one), "gone already")
	_, err := c.Content(one)
	assert.ErrorIs(t, err, ErrNotFound)
	assert.Equal(t, "two", textOf(t, c, two))

	for _, bad := range []string{"", "..", strings.Repeat("a", 63), strings.Repeat("A", 64), strings.Repeat("../", 21) + "x", one + "0"} {
		assert.ErrorIs(t, c.Keep("x", bad), ErrBadName, bad)
		assert.ErrorIs(t, c.Discard(bad), ErrBadName, bad)
		_, err := c.Content(bad)
		assert.ErrorIs(t, err, ErrBadName, bad)
	}
}

// Nothing is followed out of the store, whoever put it there.
func TestContentsStayInside(t *testing.T) {
	g := newRig(t, Options{})
	c := &Contents{g.Root}
	digest := sumText("x")
	g.link(g.outside+"/secret", digest[:2]+"/"+digest)
	_, err := c.Content(digest)
	assert.ErrorIs(t, err, ErrEscape)
	require.NoError(t, c.Discard(digest), "the link goes, not what it leads to")
	require.NoError(t, keepText(c, "x", "x"))
	assert.Equal(t, "x", textOf(t, c, digest))

	other := sumText("y")
	g.link(g.outside, other[:2])
	assert.ErrorIs(t, keepText(c, "y", "y"), ErrEscape)
	assert.ErrorIs(t, c.Discard(other), ErrEscape)
	require.NoError(t, c.DropStaged("y"))
}

func TestSweepContents(t *testing.T) {
	g := newRig(t, Options{})
	c := &Contents{g.Root}
	require.NoError(t, keepText(c, "a", "known"))
	require.NoError(t, keepText(c, "b", "unknown"))
	known, unknown := sumText("known"), sumText("unknown")
	g.write(known[:2]+"/stray", "no digest")
	g.write("zz/"+known, "on the wrong shelf")
	g.write("file", "at the top")
	moved, err := c.SweepContents(func(digest string) bool { return digest == known }, time.Unix(1000, 0))
	require.NoError(t, err)
	assert.Equal(t, 3, moved)
	assert.Equal(t, "known", textOf(t, c, known))
	_, err = c.Content(unknown)
	assert.ErrorIs(t, err, ErrNotFound)
	assert.Equal(t, "at the top", g.read("file"), "what is not on a shelf is in nobody's way")
	orphans, err := os.ReadDir(filepath.Join(g.dir, reserved, store, "orphans"))
	require.NoError(t, err)
	assert.Len(t, orphans, 3, "nothing is removed")
	moved, err = c.SweepContents(func(string) bool { return true }, time.Unix(2000, 0))
	require.NoError(t, err)
	assert.Zero(t, moved)
}

// What is removed, or set aside, is so on disk; and what is set aside is in its
// new place before it is gone from the old one.
func TestContentDirectoriesAreSynced(t *testing.T) {
	var ops []string
	did := func() []string {
		defer func() { ops = nil }()
		return ops
	}
	g := newRig(t, Options{Fault: func(op, _ string, do func() error) error {
		ops = append(ops, op)
		return do()
	}})
	c := &Contents{g.Root}
	require.NoError(t, keepText(c, "a", "one"))
	require.NoError(t, keepText(c, "b", "two"))
	did()
	require.NoError(t, c.Discard(sumText("one")))
	assert.Equal(t, []string{"content.drop", "content.sync"}, did())
	require.NoError(t, c.Discard(sumText("one")))
	assert.Equal(t, []string{"content.sync"}, did(), "whoever removed it may have been killed right after")
	require.NoError(t, c.Discard(sumText("never there")))
	assert.Empty(t, did())
	_, err := c.SweepContents(func(string) bool { return false }, time.Unix(1000, 0))
	require.NoError(t, err)
	assert.Equal(t, []string{"orphan.move", "orphans.sync", "content.sync"}, did())
}

// Each step may fail, having happened or not: then it can be done again.
func TestContentStepsMayFail(t *testing.T) {
	injected := errors.New("injected")
	for _, op := range []string{"content.drop", "content.sync", "orphan.move", "orphans.sync"} {
		for _, happens := range []bool{false, true} {
			failing := false
			g := newRig(t, Options{Fault: func(at, _ string, do func() error) error {
				if !failing || at != op {
					return do()
				}
				if happens {
					_ = do()
				}
				return injected
			}})
			c := &Contents{g.Root}
			require.NoError(t, keepText(c, "a", "dropped"))
			require.NoError(t, keepText(c, "b", "unknown"))
			failing = true
			dropped := c.Discard(sumText("dropped"))
			_, swept := c.SweepContents(func(digest string) bool { return digest != sumText("unknown") }, time.Unix(1000, 0))
			assert.ErrorIs(t, errors.Join(dropped, swept), injected, op)
			failing = false
			require.NoError(t, c.Discard(sumText("dropped")))
			_, err := c.SweepContents(func(digest string) bool { return digest != sumText("unknown") }, time.Unix(1000, 0))
			require.NoError(t, err)
			for _, text := range []string{"dropped", "unknown"} {
				_, err := c.Content(sumText(text))
				assert.ErrorIs(t, err, ErrNotFound, "%s after %s", text, op)
			}
		}
	}
}

func TestContentStoreIsLocked(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenContents(dir, Options{StoreID: store})
	require.NoError(t, err)
	defer c.Close()
	_, err = OpenContents(dir, Options{StoreID: "another"})
	assert.ErrorIs(t, err, ErrLocked)
}
