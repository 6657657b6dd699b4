package fsview

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxSteps bounds what one name can cost, links and `..` included.
	maxSteps = 4096
	// maxLinks is how many symlinks one name may lead through, as in the kernel.
	maxLinks = 40
	// maxRaces is how often a step is taken again because the tree changed
	// under it.
	maxRaces = 64
)

// errRaced: the tree kept changing where we looked.
var errRaced = errors.New("keeps changing")

// spot is where a walk ended: an object, or where one is missing.
type spot struct {
	dir   *os.Root // the directory that holds it; close must be called
	owned bool     // dir is not the root's own handle
	id    fileID   // of dir
	names []string // from the root to dir, free of links and `..`

	leaf string      // its name in dir; "" if it is dir itself
	info fs.FileInfo // of leaf, not followed; nil if leaf is "" or missing
	rest []string    // what is missing below dir, leaf last; nil if nothing is
	link *string     // the text of the symlink the last part of the name was
}

func (s *spot) close() {
	if s.owned {
		s.dir.Close()
	}
	s.owned = false
}

// path is the resolved name of the object.
func (s *spot) path() string {
	if s.leaf == "" && len(s.names) == 0 {
		return "."
	}
	return path.Join(path.Join(s.names...), s.leaf)
}

// isDir tells whether the object is there and is a directory.
func (s *spot) isDir() bool {
	return s.rest == nil && (s.leaf == "" || s.info.IsDir())
}

// walk resolves parts from the top, one directory handle at a time.
//
// Each part is looked at before it is opened, and the opened handle must be the
// inode that was seen: so every handle is that of a true child of the one
// before, never of what a link swapped in meanwhile points to, and the fence
// sees every directory on the way. `..` starts over from the top with the part
// before it removed, because a directory may have moved since it was opened;
// this also keeps one walk at two open handles, however deep it goes.
//
// keepLast: a symlink in the last part is the object, not what it points to.
// onEnter, if given, is called before a directory is entered.
func (r *Root) walk(parts []string, keepLast bool, onEnter func(at *spot, name string) error) (s spot, err error) {
	s = spot{dir: r.top, id: r.topID}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	parts = slices.Clone(parts)
	var (
		derived int // how many of the leading parts are not the caller's words
		links   int
		races   int
	)
	raced := func(last error) error { // nil: look again
		if races++; races > maxRaces || !passing(last) {
			return last
		}
		return nil
	}
	for step := 0; len(parts) > 0; step++ {
		if step > maxSteps {
			return s, unix.ENAMETOOLONG
		}
		name := parts[0]
		if name == ".." {
			if len(s.names) == 0 {
				return s, ErrEscape
			}
			up := s.names[:len(s.names)-1]
			derived = len(up) + max(derived-1, 0)
			parts = append(slices.Clone(up), parts[1:]...)
			s.close()
			s = spot{dir: r.top, id: r.topID, link: s.link}
			continue
		}
		if s.id == r.topID && name == reserved {
			return s, ErrEscape
		}
		last := len(parts) == 1
		info, err := s.dir.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Only what the caller named may be made: not the far end of a
			// dangling link, and nothing that `..` leads through.
			if derived > 0 || slices.Contains(parts, "..") {
				return s, ErrNotFound
			}
			s.leaf, s.rest = parts[len(parts)-1], parts
			return s, nil
		case err != nil:
			return s, rooted(err)
		}
		mode := info.Mode()
		if mode&fs.ModeSymlink != 0 {
			if last && keepLast {
				s.leaf, s.info = name, info
				return s, nil
			}
			text, err := s.dir.Readlink(name)
			if err != nil {
				if err := raced(rooted(err)); err != nil {
					return s, err
				}
				continue
			}
			if links++; links > maxLinks {
				return s, unix.ELOOP
			}
			if last && derived == 0 {
				s.link = &text
			}
			if strings.HasPrefix(text, "/") {
				return s, ErrEscape
			}
			to := linkParts(text)
			derived = len(to) + max(derived-1, 0)
			parts = append(to, parts[1:]...)
			continue
		}
		id, _ := infoID(info)
		if mode.IsDir() && r.fence.holds(id) {
			return s, ErrEscape
		}
		if last {
			// Replacing a hard link to a staged file harms nobody, reading it does.
			if !keepLast && r.fence.holds(id) {
				return s, ErrEscape
			}
			s.leaf, s.info = name, info
			return s, nil
		}
		if !mode.IsDir() {
			return s, ErrIsFile
		}
		if onEnter != nil {
			if err := onEnter(&s, name); err != nil {
				return s, err
			}
		}
		sub, err := enterAs(s.dir, name, id)
		if err != nil {
			if err := raced(err); err != nil {
				return s, err
			}
			continue
		}
		s.close()
		s.dir, s.owned, s.id = sub, true, id
		s.names = append(s.names, name)
		parts, derived = parts[1:], max(derived-1, 0)
	}
	return s, nil
}

// linkParts splits the text of a relative symlink.
func linkParts(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "/"), func(p string) bool { return p == "" || p == "." })
}

// descend makes the directory a walk ended at the one it ended in. An error that
// is passing: walk again.
func (r *Root) descend(s *spot) error {
	switch {
	case s.rest != nil:
		return ErrNotFound
	case s.leaf == "":
		return nil
	case !s.info.IsDir():
		return ErrIsFile
	}
	id, _ := infoID(s.info) // the fence let it pass
	sub, err := enterAs(s.dir, s.leaf, id)
	if err != nil {
		return err
	}
	s.close()
	s.dir, s.owned, s.id = sub, true, id
	s.names, s.leaf, s.info = append(s.names, s.leaf), "", nil
	return nil
}

// walkDir walks to the directory n leads to.
func (r *Root) walkDir(n Name) (spot, error) {
	for range maxRaces {
		s, err := r.walk(n.parts(), false, nil)
		if err != nil {
			return s, err
		}
		if err = r.descend(&s); err == nil {
			return s, nil
		}
		s.close()
		if !passing(err) {
			return s, err
		}
	}
	return spot{}, errRaced
}

// enter opens the directory name in dir. A symlink is never followed.
func enter(dir *os.Root, name string) (*os.Root, fileID, error) {
	var last error = errRaced
	for range maxRaces {
		info, err := dir.Lstat(name)
		switch {
		case err != nil:
			return nil, fileID{}, rooted(err)
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, fileID{}, ErrEscape
		case !info.IsDir():
			return nil, fileID{}, ErrIsFile
		}
		id, _ := infoID(info)
		sub, err := enterAs(dir, name, id)
		if err == nil {
			return sub, id, nil
		}
		if last = err; !passing(err) {
			break
		}
	}
	return nil, fileID{}, last
}

// passing tells whether err is what a step sees when the tree changed between
// looking and opening, so that looking again tells the truth.
func passing(err error) bool {
	for _, e := range [...]error{errRaced, ErrEscape, unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.ELOOP, unix.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// enterAs opens the directory name in dir, which was just seen to be the inode
// want.
func enterAs(dir *os.Root, name string, want fileID) (*os.Root, error) {
	// The dot makes os.Root open name with O_DIRECTORY. Without it a FIFO swapped
	// in meanwhile would hold us until somebody writes to it.
	sub, err := dir.OpenRoot(name + "/.")
	if err != nil {
		return nil, rooted(err)
	}
	got, err := dirID(sub)
	if err == nil && got != want {
		err = errRaced
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

func dirID(d *os.Root) (fileID, error) {
	info, err := d.Stat(".")
	if err != nil {
		return fileID{}, rooted(err)
	}
	id, _ := infoID(info)
	return id, nil
}
