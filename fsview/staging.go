package fsview

import (
	"errors"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Staged is a file on its way in. Its methods may be called by any number of
// goroutines; who writes the same bytes twice at once gets either.
//
// After a failed Sync it is spent: the system may have thrown away any byte
// written up to then and would call the next sync a success. Every later
// WriteAt, Truncate and Sync answers the same error. Close it, open it anew, and
// write again all that was not yet covered by a Sync.
type Staged struct {
	root  *Root
	f     *os.File
	id    string
	spent atomic.Pointer[error]
	ahead writeback
	// named: the entry in the staging directory is durable.
	named atomic.Bool
}

// CreateStaged makes the staged file id, which must not exist, with size bytes
// of zeros, allocated so that storing them cannot fail for want of space. A
// negative size is one not known yet: nothing is set aside, see CheckSpace. File
// and entry are on disk once Sync has returned. ErrNoSpace if the reserve would be
// touched; ErrBadName for what cannot be an id. On any error nothing is left.
func (r *Root) CreateStaged(id string, size int64) (*Staged, error) {
	s, err := r.createStaged(id, size)
	if err != nil {
		return nil, fail("stage", id, err)
	}
	return s, nil
}

func (r *Root) createStaged(id string, size int64) (_ *Staged, err error) {
	if !validID(id) {
		return nil, ErrBadName
	}
	var f *os.File
	// Unlike a placed file, which anybody may read whom the umask lets, a staged
	// one is out of reach because .waybill is 0700: no chmod when it is placed.
	err = r.do("staged.create", id, func() (err error) {
		f, err = r.staging.OpenFile(id, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		return rooted(err)
	})
	if f == nil {
		if err == nil {
			err = errRaced
		}
		return nil, err // among others: it exists, and is not ours to remove
	}
	defer func() {
		if err != nil {
			f.Close()
			r.staging.Remove(id)
		}
	}()
	if err != nil {
		return nil, err
	}
	ino, err := fileIDOf(f)
	if err != nil {
		return nil, err
	}
	r.fence.add(ino, r.store+"/staging/"+id)
	if err := r.reserve(f, id, 0, max(size, 0)); err != nil {
		return nil, err
	}
	return &Staged{root: r, f: f, id: id}, nil
}

// Reserve sets space aside again, as CreateStaged did, for a file of size bytes
// that has fewer: a power cut may have taken what nobody had synced.
func (s *Staged) Reserve(size int64) error {
	have, err := s.Size()
	if err != nil || have >= size {
		return err
	}
	return fail("reserve for staged", s.id, s.root.reserve(s.f, s.id, have, size))
}

// reserve tests and takes size bytes, of which f has the first, in one step, so
// that two callers cannot both be promised the last of them.
func (r *Root) reserve(f *os.File, id string, have, size int64) error {
	r.space.mu.Lock()
	defer r.space.mu.Unlock()
	if err := r.space.testLocked(size - have); err != nil {
		return err
	}
	return r.do("staged.allocate", id, func() error { return r.space.takeLocked(f, id, size) })
}

// OpenStaged opens a staged file again. ErrNotFound.
func (r *Root) OpenStaged(id string) (*Staged, error) {
	if !validID(id) {
		return nil, &pathError{op: "open staged", name: id, kind: ErrBadName}
	}
	f, err := r.staging.OpenFile(id, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fail("open staged", id, rooted(err))
	}
	ino, err := fileIDOf(f)
	if err != nil {
		f.Close()
		return nil, fail("open staged", id, err)
	}
	r.fence.add(ino, r.store+"/staging/"+id)
	return &Staged{root: r, f: f, id: id}, nil
}

// fileIDOf is the inode behind f, which must be a regular file.
func fileIDOf(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := withFD(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return fileID{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileID{}, errSpecial
	}
	return fileID{st.Dev, st.Ino}, nil
}

// WriteAt is io.WriterAt; nothing is durable before Sync. ErrNoSpace. After an
// error any part of p may have been written.
func (s *Staged) WriteAt(p []byte, off int64) (n int, err error) {
	if err := s.spentErr(); err != nil {
		return 0, err
	}
	if s.root.fault == nil { // the hot path: no closure
		n, err = s.write(p, off)
	} else {
		err = s.root.fault("staged.write", s.id, func() (err error) {
			n, err = s.write(p, off)
			return err
		})
	}
	return n, fail("write staged", s.id, err)
}

// writePiece is how much is written at a time: for a single large write ext4
// sets up folios so large that it takes five times as long (Linux 6.18, 4 MiB
// against 1 MiB).
const writePiece = 256 << 10

func (s *Staged) write(p []byte, off int64) (n int, err error) {
	for {
		piece := p[:min(len(p), writePiece)]
		did, err := s.f.WriteAt(piece, off)
		n += did
		if err != nil {
			return n, err
		}
		s.ahead.wrote(s.f, off, int64(did))
		if p = p[len(piece):]; len(p) == 0 {
			return n, nil
		}
		off += int64(did)
	}
}

// ReadAt is io.ReaderAt. Bytes never written are zeros.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.f.ReadAt(p, off)
	return n, fail("read staged", s.id, err)
}

// Sync makes every WriteAt that returned before it durable (fdatasync: the size
// too), and the file's entry. An error is final for s, see Staged.
func (s *Staged) Sync() error {
	if err := s.spentErr(); err != nil {
		return err
	}
	err := s.sync()
	if err != nil {
		err = fail("sync staged", s.id, err)
		s.spent.CompareAndSwap(nil, &err)
	}
	return err
}

func (s *Staged) sync() error {
	err := s.root.do("staged.sync", s.id, func() error { return withFD(s.f, unix.Fdatasync) })
	if err != nil || s.named.Load() {
		return err
	}
	err = s.root.do("staging.sync", s.id, s.root.stagingDir.Sync)
	s.named.Store(err == nil)
	return err
}

// Truncate sets the size; what is added is zeros. Sync makes it durable.
func (s *Staged) Truncate(size int64) error {
	if err := s.spentErr(); err != nil {
		return err
	}
	err := s.root.do("staged.truncate", s.id, func() error { return s.f.Truncate(size) })
	return fail("truncate staged", s.id, err)
}

func (s *Staged) spentErr() error {
	if err := s.spent.Load(); err != nil {
		return *err
	}
	return nil
}

// Size is the size now.
func (s *Staged) Size() (int64, error) {
	fi, err := s.f.Stat()
	if err != nil {
		return 0, fail("stat staged", s.id, err)
	}
	return fi.Size(), nil
}

// Close gives the handle back and syncs nothing.
func (s *Staged) Close() error { return fail("close staged", s.id, s.f.Close()) }

// StagedExists tells whether the staged file is there, and its size.
func (r *Root) StagedExists(id string) (size int64, ok bool, err error) {
	if !validID(id) {
		return 0, false, &pathError{op: "stat staged", name: id, kind: ErrBadName}
	}
	fi, err := r.staging.Lstat(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, fail("stat staged", id, err)
	}
	return fi.Size(), true, nil
}

// DropStaged removes the staged file; one that is gone is no error. The removal
// is not synced: if a crash undoes it, Sweep removes the file again.
func (r *Root) DropStaged(id string) error {
	if !validID(id) {
		return &pathError{op: "drop staged", name: id, kind: ErrBadName}
	}
	return fail("drop staged", id, r.dropStaged(id))
}

func (r *Root) dropStaged(id string) error {
	fi, err := r.staging.Lstat(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = r.do("staged.drop", id, func() error { return r.staging.Remove(id) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		ino, _ := infoID(fi)
		r.fence.forget(ino)
		return nil
	}
	return err
}
