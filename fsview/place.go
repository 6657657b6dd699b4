package fsview

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Place gives the staged file id the name n, replacing what has it, in one step:
// under n is the old file or the new one, whole. Missing parents are made. When
// it returns nil the file, its entry and the entries of its parents are on disk,
// and the staged file is gone.
//
// ErrIsDirectory, ErrIsFile and ErrEscape are final: n cannot have the file.
// After any other error, or a crash at any step, Place again does the rest. Gone
// already counts as placed if there is a regular file at n; else ErrNotFound.
// The bytes must have been synced.
func (r *Root) Place(id string, n Name) error {
	if !validID(id) {
		return &pathError{op: "place", name: id, kind: ErrBadName}
	}
	if n.IsRoot() {
		return &pathError{op: "place", name: n.String(), kind: ErrIsDirectory}
	}
	return fail("place", n.String(), r.place(id, n))
}

func (r *Root) place(id string, n Name) error {
	staged, err := r.staging.Lstat(id)
	if errors.Is(err, fs.ErrNotExist) {
		return r.finishPlaced(n)
	}
	if err != nil {
		return err
	}
	s, err := r.makeParents(n)
	if err != nil {
		return err
	}
	defer s.close()
	dir, err := r.dirOf(&s)
	if err != nil {
		return err
	}
	defer r.doneWith(dir)
	if err := targetable(&s); err != nil {
		s.dir.Remove(copyName(id)) // a copy this may have begun before
		return err
	}
	ino, _ := infoID(staged)
	if s.info != nil && os.SameFile(staged, s.info) {
		// A hard link to the staged file, which rename would leave as it is,
		// and the staged file too.
		if err := r.syncTarget(&s, dir); err != nil {
			return err
		}
		return r.dropStaged(id)
	}
	err = r.do("target.rename", n.String(), func() error {
		return rename(r.stagingDir, id, dir, s.leaf)
	})
	if errors.Is(err, unix.EXDEV) {
		return r.placeCopy(id, n, &s, dir)
	}
	if err != nil {
		return err
	}
	r.fence.forget(ino)
	// What a try before this one may have copied, when there was a mount point
	// between: the sync makes it go for good.
	s.dir.Remove(copyName(id))
	return r.syncTarget(&s, dir)
}

// finishPlaced does what may be left once the rename has happened: a process
// that was killed right after it has synced nothing.
func (r *Root) finishPlaced(n Name) error {
	s, err := r.walk(n.parts(), true, r.syncEntry)
	if err != nil {
		return err
	}
	defer s.close()
	if s.rest != nil || s.isDir() || !s.info.Mode().IsRegular() {
		return ErrNotFound
	}
	dir, err := r.dirOf(&s)
	if err != nil {
		return err
	}
	defer r.doneWith(dir)
	return r.syncTarget(&s, dir)
}

// makeParents walks to the directory n is to be in and makes what is missing of
// the way, one part at a time: after each it walks again, which is what proves
// that the new directory is where it should be, and syncs its entry.
func (r *Root) makeParents(n Name) (spot, error) {
	parts := n.parts()
	for range len(parts) + maxRaces {
		s, err := r.walk(parts, true, r.syncEntry)
		if err != nil || len(s.rest) <= 1 {
			return s, err
		}
		made := path.Join(append(slices.Clone(s.names), s.rest[0])...)
		err = r.do("parent.make", made, func() error { return s.dir.Mkdir(s.rest[0], 0o777) })
		s.close()
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return spot{}, rooted(err)
		}
	}
	return spot{}, errRaced
}

// syncEntry makes the entry name of the directory at durable, unless this
// process has done so before: it may be another's doing, or that of a process
// killed before it could sync, and a file is not durable before all of the way
// to it is.
func (r *Root) syncEntry(at *spot, name string) error {
	dir, err := r.dirOf(at)
	if err != nil {
		return err
	}
	defer r.doneWith(dir)
	var st unix.Statx_t
	if err := statAt(dir, name, &st); err != nil {
		return err
	}
	e := entry{parent: at.id, child: idOf(&st), name: name, born: st.Btime}
	dated := st.Mask&unix.STATX_BTIME != 0
	if dated && r.synced.has(e) {
		return nil
	}
	if err := r.do("parent.sync", path.Join(append([]string{"."}, at.names...)...), dir.Sync); err != nil {
		return err
	}
	if dated {
		r.synced.add(e)
	}
	return nil
}

func (r *Root) syncTarget(s *spot, dir *os.File) error {
	return r.do("target.sync", path.Join(append([]string{"."}, s.names...)...), dir.Sync)
}

// copyName is what the copy of a staged file is called while it is beside its
// target and not yet whole.
func copyName(id string) string { return ".waybill-" + id + ".part" }

// placeCopy is Place across a mount point below the root, where a rename cannot
// go: copy beside the target, sync, rename, sync, and only then unlink. A crash
// at any step leaves the staged file, and doing it all again replaces the copy.
func (r *Root) placeCopy(id string, n Name, s *spot, dir *os.File) (err error) {
	tmp := copyName(id)
	name := path.Join(append(slices.Clone(s.names), tmp)...)
	if err := s.dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			s.dir.Remove(tmp)
		}
	}()
	if err := r.copyStaged(id, s.dir, tmp, name); err != nil {
		return err
	}
	err = r.do("target.rename", n.String(), func() error { return rename(dir, tmp, dir, s.leaf) })
	if err != nil {
		return err
	}
	if err := r.syncTarget(s, dir); err != nil {
		return err
	}
	return r.dropStaged(id)
}

// copyStaged copies the staged file to tmp in dir and syncs the copy; name is
// for the fault seam.
func (r *Root) copyStaged(id string, dir *os.Root, tmp, name string) error {
	from, err := r.OpenStaged(id)
	if err != nil {
		return err
	}
	defer from.Close()
	var to *os.File
	err = r.do("copy.create", name, func() (err error) {
		// Excl: never through a link somebody put there.
		to, err = dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		return rooted(err)
	})
	if to != nil {
		defer to.Close()
	}
	if err != nil {
		return err
	}
	if err := r.do("copy.write", name, func() error {
		_, err := io.Copy(to, from.f)
		return err
	}); err != nil {
		return err
	}
	return r.do("copy.sync", name, to.Sync)
}

func rename(fromDir *os.File, from string, toDir *os.File, to string) error {
	return withFD(fromDir, func(fromFD int) error {
		return withFD(toDir, func(toFD int) error {
			return unix.Renameat(fromFD, from, toFD, to)
		})
	})
}
