package fsview

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Reader sees what the daemon would serve, and leaves no trace.
func TestReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write := func(path, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write(filepath.Join(root, "d", "f"), "inside")
	write(filepath.Join(dir, "secret"), "outside")
	require.NoError(t, os.Symlink("d", filepath.Join(root, "link")))
	require.NoError(t, os.Symlink("../secret", filepath.Join(root, "out")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(root, "absolute")))
	const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	write(filepath.Join(root, digest[:2], digest), "content")

	check := func(r *Reader) {
		t.Helper()
		for _, path := range []string{"d/f", "link/f"} {
			f, err := r.Open(name(t, path))
			require.NoError(t, err, path)
			text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			require.NoError(t, err)
			assert.Equal(t, "inside", string(text))
			require.NoError(t, f.Check())
			require.NoError(t, f.Close())
		}
		for path, want := range map[string]error{
			"out": ErrEscape, "absolute": ErrEscape, "../secret": ErrEscape, "d": ErrIsDirectory, "nothing": ErrNotFound,
			".waybill/lock": ErrEscape, ".waybill": ErrEscape, "hard": ErrEscape,
		} {
			if _, err := os.Lstat(filepath.Join(root, "hard")); path == "hard" && err != nil {
				continue
			}
			_, err := r.Open(name(t, path))
			assert.ErrorIs(t, err, want, path)
		}
		f, err := r.Content(digest)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		_, err = r.Content("../secret")
		assert.ErrorIs(t, err, ErrBadName)
	}
	before := tree(t, root)
	r, err := OpenReader(root)
	require.NoError(t, err)
	check(r)
	require.NoError(t, r.Close())
	assert.Equal(t, before, tree(t, root), "nothing is made")

	// Beside a daemon, whose own files stay out of sight.
	held, err := OpenRoot(root, Options{StoreID: "s"})
	require.NoError(t, err)
	defer held.Close()
	staging := filepath.Join(root, ".waybill", "s", "staging", "x")
	write(staging, "half of an upload")
	require.NoError(t, os.Link(staging, filepath.Join(root, "hard")))
	before = tree(t, root)
	r, err = OpenReader(root)
	require.NoError(t, err)
	check(r)
	require.NoError(t, r.Close())
	assert.Equal(t, before, tree(t, root))

	_, err = OpenReader(filepath.Join(dir, "nowhere"))
	assert.ErrorIs(t, err, ErrNotFound)
}

// tree lists the paths under dir.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	return paths
}
