package fsview

import (
	"errors"
	"io/fs"
	"time"
)

// Contents is the store of what documents contain: each content is one file,
// named by its SHA-256, and never changes. It is a Root of its own, with its own
// staging, so bytes come in and are placed exactly as in the served tree; which
// contents are still needed is for the journal to say.
type Contents struct{ *Root }

// OpenContents takes possession of the store at dir; see OpenRoot.
func OpenContents(dir string, opt Options) (*Contents, error) {
	r, err := OpenRoot(dir, opt)
	if err != nil {
		return nil, err
	}
	return &Contents{r}, nil
}

// digestLength is that of a SHA-256 in hex.
const digestLength = 64

// contentName is where a content lies: ab/<digest>, so that no directory grows
// beyond measure. ErrBadName for what is no SHA-256 in lower-case hex.
func contentName(digest string) (Name, error) {
	if len(digest) != digestLength {
		return Name{}, ErrBadName
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Name{}, ErrBadName
		}
	}
	return ParseName(digest[:2] + "/" + digest)
}

// Keep makes the staged file id the content digest: see Place. The digest is
// the caller's word. Keeping one that is there already replaces it by its equal.
func (c *Contents) Keep(id, digest string) error {
	n, err := contentName(digest)
	if err != nil {
		return &pathError{op: "keep", name: clip(digest), kind: ErrBadName}
	}
	return c.Place(id, n)
}

// Content opens a content for reading. ErrNotFound.
func (c *Contents) Content(digest string) (*File, error) {
	n, err := contentName(digest)
	if err != nil {
		return nil, &pathError{op: "open content", name: clip(digest), kind: ErrBadName}
	}
	return c.Open(n)
}

// Discard removes a content; one that is gone is no error. The removal is on
// disk when it returns nil.
func (c *Contents) Discard(digest string) error {
	n, err := contentName(digest)
	if err != nil {
		return &pathError{op: "discard", name: clip(digest), kind: ErrBadName}
	}
	return fail("discard", n.String(), c.discard(n))
}

func (c *Contents) discard(n Name) error {
	s, err := c.walk(n.parts(), true, nil)
	if err != nil {
		return err
	}
	defer s.close()
	if len(s.rest) > 1 {
		return nil // nothing was ever kept there
	}
	if s.rest == nil {
		err = c.do("content.drop", n.String(), func() error { return rooted(s.dir.Remove(s.leaf)) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Also if it is gone: a process that was killed right after it removed it has
	// synced nothing.
	dir, err := c.dirOf(&s)
	if err != nil {
		return err
	}
	defer c.doneWith(dir)
	return c.do("content.sync", n.String(), dir.Sync)
}

// SweepContents moves what the journal does not know to orphans/, where it is
// kept like a staged file that nobody knows: nothing is removed because a
// journal is older than its store. It returns how many were moved.
func (c *Contents) SweepContents(know func(digest string) bool, now time.Time) (moved int, err error) {
	names, err := readNames(c.top)
	if err != nil {
		return 0, fail("sweep", "contents", err)
	}
	for _, name := range names {
		if name == reserved {
			continue
		}
		n, err := c.sweepShelf(name, know, now)
		if moved += n; err != nil {
			return moved, fail("sweep", name, err)
		}
	}
	return moved, nil
}

// sweepShelf looks through one of the directories that hold contents.
func (c *Contents) sweepShelf(shelf string, know func(digest string) bool, now time.Time) (moved int, err error) {
	sub, _, err := enter(c.top, shelf)
	if errors.Is(err, ErrIsFile) {
		return 0, nil // not ours, and in nobody's way
	}
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	dir, err := openDir(sub)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := readNames(sub)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if _, err := contentName(name); err == nil && name[:2] == shelf && know(name) {
			continue
		}
		if err := c.orphan(dir, name, now); err != nil {
			return moved, err
		}
		moved++
	}
	if moved == 0 {
		return 0, nil
	}
	// The new entries first: a crash in between leaves two, never none.
	if err := c.do("orphans.sync", "orphans", c.orphansDir.Sync); err != nil {
		return moved, err
	}
	return moved, c.do("content.sync", shelf, dir.Sync)
}
