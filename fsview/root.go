// Package fsview is the only code that touches served files and staged bytes.
//
// A [Root] is one directory tree. Every name a client sends is read once into a
// [Name] and then resolved part by part through handles of [os.Root], so that
// nothing outside the tree can be reached, whatever links it holds and whoever
// moves them about meanwhile. Ours alone is the directory .waybill at its top:
// bytes on their way in are staged there, and it cannot be reached through any
// name or link (fence.go). Special files are never opened.
//
// Durability is the caller's to ask for and this package's to deliver: what
// returned nil is on disk where the comment says so. Effects are idempotent, so
// that the start after a crash can simply have them done again.
//
// It does not know sessions, permissions or the journal, does not log, and runs
// on Linux only.
package fsview

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Options of OpenRoot.
type Options struct {
	// StoreID names our directory below .waybill: 1 to 64 of [A-Za-z0-9_-].
	StoreID string
	// Reserve is how many bytes must stay free on the file systems of the root
	// and of StateDir. Negative: the larger of 512 MiB and 1 % of each.
	Reserve int64
	// StateDir is a directory on whose file system the reserve is kept too; ""
	// for none.
	StateDir string
	// Fault, nil in production, wraps every durable step, so that tests can make
	// it fail without happening (do not call do) or fail although it happened
	// (call do, return an error). It may be called by several goroutines.
	//
	// op is one of staged.create, staged.allocate, staged.write, staged.truncate,
	// staged.sync, staging.sync, staged.drop (name: the staged id); parent.make,
	// parent.sync, target.rename, target.sync, copy.create, copy.write,
	// copy.sync (name: relative to the root); orphan.move, orphan.drop
	// (name: the entry), orphans.sync.
	Fault func(op, name string, do func() error) error
}

// Root is one served tree, held for the life of the daemon. Its methods may be
// called by any number of goroutines.
type Root struct {
	store  string // store id
	fault  func(op, name string, do func() error) error
	top    *os.Root
	topDir *os.File // the same directory, for statx and fsync
	topID  fileID

	hidden     *os.Root // .waybill
	staging    *os.Root
	stagingDir *os.File
	orphans    *os.Root
	orphansDir *os.File
	fence      fence
	lock       *Lock

	space  space
	synced syncedEntries
}

// OpenRoot takes possession of the tree at dir, which is made if missing, with
// .waybill, its lock and the directories of the store, all durable on return.
// *LockedError if another daemon serves it; nothing but .waybill/lock was
// touched then.
func OpenRoot(dir string, opt Options) (_ *Root, err error) {
	if !validID(opt.StoreID) {
		return nil, &pathError{op: "open root: store", name: opt.StoreID, kind: ErrBadName}
	}
	if err := MakeDir(dir, 0o755); err != nil {
		return nil, err
	}
	r := &Root{store: opt.StoreID, fault: opt.Fault}
	defer func() {
		if err != nil {
			r.Close()
			err = fail("open root", reserved, err)
		}
	}()
	if r.top, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if r.topDir, err = openDir(r.top); err != nil {
		return nil, err
	}
	if r.topID, err = dirID(r.top); err != nil {
		return nil, err
	}
	if r.hidden, err = makeIn(r.top, r.topDir, reserved, 0o700); err != nil {
		return nil, err
	}
	if r.lock, err = lockIn(r.hidden, "lock", reserved+"/lock"); err != nil {
		return nil, err
	}
	if err = r.openStore(); err != nil {
		return nil, err
	}
	if r.fence, err = newFence(r.hidden); err != nil {
		return nil, err
	}
	if r.space, err = newSpace(r.stagingDir, r.staging, opt); err != nil {
		return nil, err
	}
	return r, nil
}

// openStore makes and opens what lies below .waybill.
func (r *Root) openStore() error {
	hiddenDir, err := openDir(r.hidden)
	if err != nil {
		return err
	}
	defer hiddenDir.Close()
	store, err := makeIn(r.hidden, hiddenDir, r.store, 0o700)
	if err != nil {
		return err
	}
	defer store.Close()
	storeDir, err := openDir(store)
	if err != nil {
		return err
	}
	defer storeDir.Close()
	if r.staging, err = makeIn(store, storeDir, "staging", 0o700); err != nil {
		return err
	}
	if r.stagingDir, err = openDir(r.staging); err != nil {
		return err
	}
	if r.orphans, err = makeIn(store, storeDir, "orphans", 0o700); err != nil {
		return err
	}
	r.orphansDir, err = openDir(r.orphans)
	return err
}

// makeIn opens the directory name in parent, making it if missing, and makes
// its entry durable either way: a crash may have left it made but not synced. A
// symlink in its place is refused.
func makeIn(parent *os.Root, parentDir *os.File, name string, mode fs.FileMode) (*os.Root, error) {
	if err := parent.Mkdir(name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, rooted(err)
	}
	sub, _, err := enter(parent, name)
	if err != nil {
		return nil, err
	}
	if err := parentDir.Sync(); err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// HasStore tells whether the tree at dir already holds the directory of the
// given store. It touches nothing.
func HasStore(dir, storeID string) (bool, error) {
	if !validID(storeID) {
		return false, &pathError{op: "look for store", name: storeID, kind: ErrBadName}
	}
	top, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fail("look for store", storeID, err)
	}
	defer top.Close()
	fi, err := top.Lstat(reserved + "/" + storeID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fail("look for store", storeID, rooted(err))
	}
	return fi.IsDir(), nil
}

// Close gives the tree back. What is still being done fails with fs.ErrClosed.
func (r *Root) Close() error {
	for _, d := range []*os.Root{r.orphans, r.staging, r.hidden, r.top} {
		if d != nil {
			d.Close()
		}
	}
	for _, f := range []*os.File{r.orphansDir, r.stagingDir, r.topDir, r.space.state} {
		if f != nil {
			f.Close()
		}
	}
	if r.lock == nil {
		return nil
	}
	// Last: whoever gets the lock next must find nobody at work.
	return r.lock.Close()
}

// do runs one durable step.
func (r *Root) do(op, name string, step func() error) error {
	if r.fault == nil {
		return step()
	}
	return r.fault(op, name, step)
}

// validID tells whether s can be the name of a staged file or of a store.
func validID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// openDir opens the directory itself as a file, for statx, fsync and reading.
func openDir(d *os.Root) (*os.File, error) {
	f, err := d.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	return f, rooted(err)
}

// withFD runs fn with the descriptor of f, which cannot be closed, and so not
// be given to another file, before fn returns.
func withFD(f *os.File, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var did error
	if err := raw.Control(func(fd uintptr) {
		for {
			if did = fn(int(fd)); did != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return fs.ErrClosed // the only way it fails; its own error is a private one
	}
	return did
}

// syncedEntries remembers which directories' entries this process has made
// durable, so that placing a file does not sync the whole way to it each time.
type syncedEntries struct {
	mu   sync.Mutex
	seen map[entry]struct{} // guarded by mu
}

// entry is one directory at one name. When it was born is part of it, because
// inode numbers are used again.
type entry struct {
	parent, child fileID
	name          string
	born          unix.StatxTimestamp
}

func (s *syncedEntries) has(e entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[e]
	return ok
}

func (s *syncedEntries) add(e entry) {
	const most = 4096
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) >= most {
		s.seen = make(map[entry]struct{})
	}
	s.seen[e] = struct{}{}
}
