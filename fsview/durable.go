package fsview

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile puts data at path, as the daemon's secrets and ids need it: a crash
// leaves the old file or the new one, whole, and once it returns nil the new
// one stays. Only one writer a path at a time. The directory must exist.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return fail("write", filepath.Base(path), writeFile(path, data, mode, unix.Rename))
}

// WriteNew is WriteFile that never replaces a file: fs.ErrExist if there is
// one. Nobody else may be making it at the same time: not every file system can
// rename without replacing, and there it looks first.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	return fail("write", filepath.Base(path), writeFile(path, data, mode, renameNew))
}

func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
		return lookAndRename(from, to)
	}
	return err
}

func lookAndRename(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = unix.EEXIST
		}
		return err
	}
	return unix.Rename(from, to)
}

func writeFile(path string, data []byte, mode fs.FileMode, rename func(from, to string) error) (err error) {
	dir, base := filepath.Split(path)
	// One fixed name, so that crashes leave at most one file behind.
	tmp := filepath.Join(dir, "."+base+".new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	defer f.Close()
	// The umask has no say in who may read a secret.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	// Before the rename: otherwise a crash could leave the new name without bytes.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := rename(tmp, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// MakeDir makes the directory at path and what is missing above it, all of it
// durable; mode is for the ones it makes. A directory that is there is left as
// it is.
func MakeDir(path string, mode fs.FileMode) error {
	return fail("make directory", filepath.Base(path), makeDir(filepath.Clean(path), mode))
}

func makeDir(path string, mode fs.FileMode) error {
	fi, err := os.Stat(path)
	switch {
	case err == nil && !fi.IsDir():
		return ErrIsFile
	case err == nil:
		// Made, perhaps, by a process that was killed before it synced. Not ours
		// if we may not read what holds it.
		if err := syncPath(filepath.Dir(path)); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

// SyncDir makes the names in a directory durable: what was renamed or removed
// there.
func SyncDir(path string) error {
	return fail("sync", filepath.Base(path), syncPath(path))
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
