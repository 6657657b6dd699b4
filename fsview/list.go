package fsview

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Stat describes what n leads to, following symlinks inside the root.
// ErrNotFound, ErrEscape; ErrAccess for a special file.
func (r *Root) Stat(n Name) (Meta, error) {
	m, err := r.stat(n.parts(), n)
	return m, fail("stat", n.String(), err)
}

func (r *Root) stat(parts []string, n Name) (Meta, error) {
	for range maxRaces {
		s, err := r.walk(parts, false, nil)
		if err != nil {
			return Meta{}, err
		}
		if s.rest != nil {
			s.close()
			return Meta{}, ErrNotFound
		}
		st, err := r.statSpot(&s)
		s.close()
		if errors.Is(err, unix.ENOENT) || errors.Is(err, errRaced) {
			continue // the walk saw something else there a moment ago
		}
		if err != nil {
			return Meta{}, err
		}
		m := metaOf(shownName(n, &s), &st)
		m.LinkTarget = shownLink(s.link)
		return m, nil
	}
	return Meta{}, errRaced
}

// statSpot describes what is at s. errSpecial for a special file, errRaced if it
// has become a symlink.
func (r *Root) statSpot(s *spot) (st unix.Statx_t, err error) {
	d, err := r.dirOf(s)
	if err != nil {
		return st, err
	}
	defer r.doneWith(d)
	if err := statAt(d, s.leaf, &st); err != nil {
		return st, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
	case unix.S_IFLNK:
		return st, errRaced
	default:
		return st, errSpecial
	}
	if r.fence.holds(idOf(&st)) {
		return st, ErrEscape
	}
	return st, nil
}

// dirOf is the directory s ended in as a file; doneWith gives it back.
func (r *Root) dirOf(s *spot) (*os.File, error) {
	if !s.owned {
		return r.topDir, nil
	}
	return openDir(s.dir)
}

func (r *Root) doneWith(d *os.File) {
	if d != r.topDir {
		d.Close()
	}
}

// statAt describes name in d, or d itself for "". Links are not followed and
// nothing is opened or mounted.
func statAt(d *os.File, name string, st *unix.Statx_t) error {
	return withFD(d, func(fd int) error { return statFD(fd, name, st) })
}

func statFD(fd int, name string, st *unix.Statx_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.Statx(fd, name, flags, statxMask, st)
}

// shownName is the last part of the name as asked; of a name with `..`, which
// has no last part of its own, that of where it led.
func shownName(n Name, s *spot) string {
	if n.hasDotDot() {
		return path.Base(s.path())
	}
	return path.Base(n.String())
}

func shownLink(text *string) *string {
	if text == nil || utf8.ValidString(*text) {
		return text
	}
	clean := strings.ToValidUTF8(*text, "\uFFFD")
	return &clean
}

// listBatch is how many names are read at a time.
const listBatch = 1024

// List describes the directory n leads to and everything in it, sorted by name
// in byte order. parent is its name relative to the root, "." for the root: as
// asked, but free of `..`. An entry that is a symlink is described by what it
// points to; one that leads nowhere, or out of the root, is a file of size 0.
// Special files, names that are not UTF-8 and .waybill are left out, and so is
// what disappears meanwhile. ErrNotFound; ErrIsFile; ErrEscape; ctx's error.
func (r *Root) List(ctx context.Context, n Name) (dir Meta, parent string, entries []Meta, err error) {
	dir, parent, entries, err = r.list(ctx, n)
	if err != nil {
		return Meta{}, "", nil, fail("list", n.String(), err)
	}
	return dir, parent, entries, nil
}

func (r *Root) list(ctx context.Context, n Name) (dir Meta, parent string, entries []Meta, err error) {
	s, err := r.walkDir(n)
	if err != nil {
		return dir, "", nil, err
	}
	defer s.close()
	// Not topDir: reading a directory moves the offset of its handle.
	d, err := openDir(s.dir)
	if err != nil {
		return dir, "", nil, err
	}
	defer d.Close()
	fd := int(d.Fd()) // d is ours alone and is closed after the last use
	var st unix.Statx_t
	if err := statFD(fd, "", &st); err != nil {
		return dir, "", nil, err
	}
	dir = metaOf(shownName(n, &s), &st)
	dir.LinkTarget = shownLink(s.link)
	if parent = n.String(); n.hasDotDot() {
		parent = s.path()
	}
	for {
		if err := ctx.Err(); err != nil {
			return dir, "", nil, err
		}
		names, err := d.Readdirnames(listBatch)
		for _, name := range names {
			m, ok := r.describe(fd, &s, name, &st)
			if ok {
				entries = append(entries, m)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return dir, "", nil, err
		}
	}
	slices.SortFunc(entries, func(a, b Meta) int { return strings.Compare(a.Name, b.Name) })
	return dir, parent, entries, nil
}

// describe describes the entry name of the directory at s, open as fd; false if
// it is to be left out. st is scratch.
func (r *Root) describe(fd int, s *spot, name string, st *unix.Statx_t) (Meta, bool) {
	if !utf8.ValidString(name) || s.id == r.topID && name == reserved {
		return Meta{}, false
	}
	if err := statFD(fd, name, st); err != nil {
		return Meta{}, false // gone since it was read
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return metaOf(name, st), !r.fence.holds(idOf(st))
	case unix.S_IFLNK:
		return r.describeLink(s, name, st)
	}
	return Meta{}, false
}

// describeLink describes the symlink name, seen as st, by what it points to.
func (r *Root) describeLink(s *spot, name string, st *unix.Statx_t) (Meta, bool) {
	to, err := r.stat(append(slices.Clone(s.names), name), Name{name})
	switch {
	case err == nil:
		return to, true
	case errors.Is(err, errSpecial):
		return Meta{}, false
	}
	text, err := s.dir.Readlink(name)
	if err != nil {
		return Meta{}, false // gone, or no link any more
	}
	m := metaOf(name, st)
	m.Size, m.LinkTarget = 0, shownLink(&text)
	return m, true
}
