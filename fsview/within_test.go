package fsview

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestWithin(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tree", "sub"), 0o700))
	require.NoError(t, os.Symlink("tree/sub", filepath.Join(dir, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	t.Chdir(dir)
	for _, c := range []struct {
		path, tree string
		want       bool
	}{
		{"tree", "tree", true},
		{"tree/sub", "tree", true},
		{"tree/not/yet", "tree", true},
		{"link/not/yet", "tree", true},
		{filepath.Join(dir, "tree/sub"), "./tree/", true},
		{"not/yet/a", "not/yet", true},
		{"tree", ".", true},
		{"tree", "/", true},
		{"tree", "tree/sub", false},
		{"tree2", "tree", false},
		{"..tree", "tree", false},
		{"tree/../not", "tree", false},
		{"not/yet/a", "not/yet/b", false},
	} {
		got, err := Within(c.path, c.tree)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%s in %s", c.path, c.tree)
	}
	_, err := Within("file/x", "tree")
	assert.ErrorIs(t, err, ErrIsFile)
}

func TestReadOnlyFileSystemIsNamed(t *testing.T) {
	err := fail("lock", "lock", &os.PathError{Op: "open", Path: "/secret/lock", Err: unix.EROFS})
	assert.ErrorIs(t, err, ErrAccess)
	assert.EqualError(t, err, `lock "lock": access denied: read-only file system`)
}
