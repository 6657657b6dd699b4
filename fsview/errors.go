package fsview

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// What can be wrong with a name, a file or the disk. Every error of this
// package that has one of these meanings answers errors.Is for it; an error
// that answers for none is an I/O error or a fault of the machine.
var (
	// ErrBadName: the name itself cannot be one (NUL, drive letter, invalid
	// UTF-8, a component over 255 bytes, the whole over MaxName).
	ErrBadName = errors.New("not a valid name")
	// ErrEscape: the name leads out of the root, through an absolute symlink,
	// or into the reserved directory.
	ErrEscape = errors.New("outside the served tree")
	// ErrNotFound: nothing there.
	ErrNotFound = errors.New("not found")
	// ErrIsDirectory: a file was wanted, a directory is there.
	ErrIsDirectory = errors.New("is a directory")
	// ErrIsFile: a directory was wanted, something else is there.
	ErrIsFile = errors.New("not a directory")
	// ErrAccess: the operating system refuses, or it is a special file.
	ErrAccess = errors.New("access denied")
	// ErrNoSpace: the disk, the quota or the free-space reserve is used up.
	ErrNoSpace = errors.New("no space left")
	// ErrChanged: an opened file is no longer what it was when it was opened.
	ErrChanged = errors.New("changed since it was opened")
	// ErrLocked: another process holds the lock; the error is a *LockedError.
	ErrLocked = errors.New("locked by another process")
	// ErrForeignRoot is for the daemon to say that the state has work in hand
	// for a root that does not know it (see HasStore).
	ErrForeignRoot = errors.New("the served tree does not belong to this state")
)

// errSpecial: it is a FIFO, a socket or a device.
var errSpecial = fmt.Errorf("special file: %w", ErrAccess)

// pathError says what was attempted on what, and why it failed. The name is
// relative to the root or is a bare file name: an absolute path would tell a
// client about the machine.
type pathError struct {
	op    string
	name  string
	kind  error // one of the sentinels, or nil
	cause error // what the system said, or nil
}

func (e *pathError) Error() string {
	// Names are quoted because they may hold line breaks and the message is one line.
	msg := e.op + " " + strconv.Quote(clip(e.name)) + ": "
	if e.kind == nil {
		return msg + e.cause.Error()
	}
	msg += e.kind.Error()
	if why, ok := e.cause.(badName); ok {
		msg += ": " + string(why)
	}
	if e.cause == unix.EROFS { // not a matter of permissions
		msg += ": " + e.cause.Error()
	}
	return msg
}

func (e *pathError) Unwrap() []error {
	switch {
	case e.kind == nil:
		return []error{e.cause}
	case e.cause == nil:
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// fail classifies err and words it; nil and io.EOF stay what they are, and so
// does what already went through here.
func fail(op, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	switch err.(type) {
	case *pathError, *LockedError:
		return err
	}
	// The system's error is taken out of the wrapper, whose path is absolute
	// when it comes from an *os.File.
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	kind := classify(err)
	if kind == err {
		err = nil
	}
	return &pathError{op: op, name: name, kind: kind, cause: err}
}

// rooted marks an escape in what a method of os.Root returned. os.Root has no
// public error for it: it wraps a private value in a *fs.PathError, where
// everything else is an Errno, but for the handle having been closed.
func rooted(err error) error {
	var pe *fs.PathError
	var errno syscall.Errno
	if !errors.As(err, &pe) || errors.As(pe.Err, &errno) || errors.Is(pe.Err, fs.ErrClosed) {
		return err
	}
	return ErrEscape
}

// classify is the one place where an error gets its meaning; nil for an error
// that has none of ours.
func classify(err error) error {
	for _, known := range [...]error{ErrBadName, ErrEscape, ErrNotFound, ErrIsDirectory, ErrIsFile,
		ErrAccess, ErrNoSpace, ErrChanged, ErrLocked} {
		if errors.Is(err, known) {
			return known
		}
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	switch errno {
	case unix.ENOENT:
		return ErrNotFound
	case unix.EISDIR:
		return ErrIsDirectory
	case unix.ENOTDIR:
		return ErrIsFile
	case unix.ENAMETOOLONG:
		return ErrBadName
	case unix.ENOSPC, unix.EDQUOT:
		return ErrNoSpace
	case unix.EACCES, unix.EPERM, unix.EROFS, unix.ELOOP, unix.ENXIO, unix.ENODEV:
		return ErrAccess
	}
	return nil
}
