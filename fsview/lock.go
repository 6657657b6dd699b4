package fsview

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError is ErrLocked with what the holder left in the lock file.
type LockedError struct {
	Path   string // of the lock, as far as it may be told: a file name
	Holder string // "pid 7, boot 3f…, since 2026-01-02T03:04:05Z"; "unknown" if nothing could be read
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Path, ErrLocked, e.Holder)
}

// Is answers for ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Lock is held until it is closed or the process ends, however it ends.
type Lock struct{ f *os.File }

// LockFile takes the lock at path, making the file (0600) if missing, and
// writes into it who holds it. *LockedError if somebody else does, in this
// process too; it never waits.
func LockFile(path string) (*Lock, error) {
	open := func() (*os.File, error) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	}
	stat := func() (fs.FileInfo, error) { return os.Lstat(path) }
	l, err := lock(filepath.Base(path), open, stat)
	return l, fail("lock", filepath.Base(path), err)
}

// lockIn takes the lock name in dir; label is how errors call it.
func lockIn(dir *os.Root, name, label string) (*Lock, error) {
	open := func() (*os.File, error) {
		f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o600)
		return f, rooted(err)
	}
	stat := func() (fs.FileInfo, error) { return dir.Lstat(name) }
	l, err := lock(label, open, stat)
	return l, fail("lock", label, err)
}

func lock(label string, open func() (*os.File, error), stat func() (fs.FileInfo, error)) (*Lock, error) {
	for range maxRaces {
		f, err := open()
		if err != nil {
			return nil, err
		}
		l, err := lockOpened(f, label, stat)
		if l == nil {
			f.Close()
		}
		if !errors.Is(err, errRaced) {
			return l, err
		}
	}
	return nil, errRaced
}

// lockOpened locks f. errRaced if the name no longer leads to f: a lock on a
// removed file would exclude nobody.
func lockOpened(f *os.File, label string, stat func() (fs.FileInfo, error)) (*Lock, error) {
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !opened.Mode().IsRegular() {
		return nil, errSpecial
	}
	err = withFD(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &LockedError{Path: label, Holder: holder(f)}
	}
	if err != nil {
		return nil, err
	}
	if named, err := stat(); err != nil || !os.SameFile(opened, named) {
		return nil, errRaced
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // only told, never relied on
	text := fmt.Sprintf("pid %d\nboot %s\nsince %s\n",
		os.Getpid(), strings.TrimSpace(string(boot)), time.Now().UTC().Format(time.RFC3339))
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return nil, err
	}
	return &Lock{f}, nil
}

// holder is the text of a lock file on one line.
func holder(f *os.File) string {
	const most = 256
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, most))
	text := strings.Join(strings.FieldsFunc(string(b), func(r rune) bool { return r < ' ' }), ", ")
	if text == "" {
		return "unknown"
	}
	return strings.ToValidUTF8(text, "?")
}

// Close gives the lock back. The file stays: removing it would let two holders
// in, one on the old file and one on a new one.
func (l *Lock) Close() error { return fail("unlock", "lock", l.f.Close()) }
