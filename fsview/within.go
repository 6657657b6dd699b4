package fsview

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Within tells whether the directory at path lies in the one at tree, or is
// it, whatever symlinks lead there. Neither need exist yet.
func Within(path, tree string) (bool, error) {
	path, err := resolve(path)
	if err != nil {
		return false, err
	}
	if tree, err = resolve(tree); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(tree, path)
	return err == nil && filepath.IsLocal(rel), nil
}

// resolve gives the absolute path without symlinks; what does not exist yet
// cannot be one.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(real, missing), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fail("find directory", filepath.Base(path), err)
		}
		missing = filepath.Join(filepath.Base(abs), missing)
		abs = filepath.Dir(abs) // ends at "/", which exists
	}
}
