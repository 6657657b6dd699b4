package fsview

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// Reader reads a served tree, or a store of contents, that no daemon of ours
// holds, or one that does: it takes no lock, makes nothing and writes nothing.
// Names lead where they lead for the daemon. Its methods may be called by any
// number of goroutines.
type Reader struct{ root *Root }

// OpenReader opens the tree at dir for reading. ErrNotFound.
func OpenReader(dir string) (_ *Reader, err error) {
	r := &Root{}
	defer func() {
		if err != nil {
			_ = r.Close() // nothing was written
			err = fail("open root", ".", err)
		}
	}()
	if r.top, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if r.topID, err = dirID(r.top); err != nil {
		return nil, err
	}
	r.hidden, _, err = enter(r.top, reserved)
	if err == nil {
		r.fence, err = newFence(r.hidden)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		// Nothing to keep away from, or nothing that we could read ourselves: its
		// name is refused all the same.
		r.fence, err = fence{mu: new(sync.RWMutex)}, nil
	}
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// Open opens the regular file n leads to; see Root.Open.
func (r *Reader) Open(n Name) (*File, error) { return r.root.Open(n) }

// Content opens a content of a store; see Contents.Content.
func (r *Reader) Content(digest string) (*File, error) { return (&Contents{r.root}).Content(digest) }

// Close gives the tree back.
func (r *Reader) Close() error { return r.root.Close() }
