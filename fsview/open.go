package fsview

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// File is a regular file opened for reading. Its methods may be called by any
// number of goroutines.
type File struct {
	f    *os.File
	id   Identity
	name string
}

// Open opens the regular file n leads to. ErrNotFound, ErrEscape,
// ErrIsDirectory, ErrIsFile (a part before the last is none), ErrAccess (special
// files too, which are not opened at all). Nothing in here waits for another
// process, as opening a FIFO would.
func (r *Root) Open(n Name) (*File, error) {
	f, err := r.open(n)
	if err != nil {
		return nil, fail("open", n.String(), err)
	}
	return f, nil
}

func (r *Root) open(n Name) (*File, error) {
	for range maxRaces {
		s, err := r.walk(n.parts(), false, nil)
		if err != nil {
			return nil, err
		}
		f, err := r.openSpot(&s)
		s.close()
		if !passing(err) {
			return f, err
		}
	}
	return nil, errRaced
}

// openSpot opens what is at s. An error that is passing: walk again.
func (r *Root) openSpot(s *spot) (*File, error) {
	switch {
	case s.rest != nil:
		return nil, ErrNotFound
	case s.isDir():
		return nil, ErrIsDirectory
	case !s.info.Mode().IsRegular():
		return nil, errSpecial
	}
	// What was looked at may be gone: O_NONBLOCK, so that a FIFO in its place
	// does not hold us, and the inode must be the one that was seen.
	f, err := s.dir.OpenFile(s.leaf, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, rooted(err)
	}
	id, err := identify(f)
	if err == nil {
		if saw, _ := infoID(s.info); saw != (fileID{id.Dev, id.Ino}) {
			err = errRaced
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f: f, id: id, name: s.path()}, nil
}

func identify(f *os.File) (Identity, error) {
	var st unix.Stat_t
	if err := withFD(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return Identity{}, err
	}
	return Identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNS: st.Mtim.Nano(), CtimeNS: st.Ctim.Nano()}, nil
}

// Identity is what the file was when it was opened.
func (f *File) Identity() Identity { return f.id }

// Size is the size in bytes when it was opened.
func (f *File) Size() int64 { return f.id.Size }

// ReadAt is io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	return n, fail("read", f.name, err)
}

// Check is ErrChanged once the file has been written to or replaced since it
// was opened. Bytes read before a Check that returned nil are those the
// identity stands for.
func (f *File) Check() error {
	now, err := identify(f.f)
	if err == nil && now != f.id {
		err = ErrChanged
	}
	return fail("check", f.name, err)
}

// OS is the file itself, for sendfile. It stays owned by f; its own errors name
// an absolute path and must not reach a client.
func (f *File) OS() *os.File { return f.f }

// Close gives the file back.
func (f *File) Close() error { return fail("close", f.name, f.f.Close()) }

// Target is where an upload would go, whatever name led there: the nearest
// directory that exists, and the names below it. Two names with equal targets
// are the same file to be. Comparable.
type Target struct {
	Dev, Ino uint64
	Rest     string
}

// Resolve tells where an upload to n would go. A symlink in the last part would
// be replaced, and so is not followed. ErrIsDirectory if a directory is there,
// ErrIsFile if a part before the last is none, ErrAccess for a special file,
// ErrEscape; ErrNotFound for `..` after a missing part and for what lies behind
// a dangling symlink. The answer may be out of date at once: ask again before
// deciding, and see Place.
func (r *Root) Resolve(n Name) (Target, error) {
	s, err := r.walk(n.parts(), true, nil)
	if err == nil {
		defer s.close()
		err = targetable(&s)
	}
	if err != nil {
		return Target{}, fail("resolve", n.String(), err)
	}
	rest := s.leaf
	if s.rest != nil {
		rest = strings.Join(s.rest, "/")
	}
	return Target{s.id.dev, s.id.ino, rest}, nil
}

// targetable tells whether a file may be put at s.
func targetable(s *spot) error {
	switch {
	case s.rest != nil:
		return nil
	case s.isDir():
		return ErrIsDirectory
	case s.info.Mode().IsRegular() || s.info.Mode()&os.ModeSymlink != 0:
		return nil
	}
	return errSpecial
}
