package fsview

import (
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// fence knows the inodes of .waybill and of everything below it. The walk
// passes every directory it opens by here, so no name and no symlink leads in;
// what remains are hard links and bind mounts, whose way does not lead through
// .waybill but whose inode is the same.
type fence struct {
	self fileID
	root *os.Root // .waybill
	mu   *sync.RWMutex
	// below maps an inode to its path below .waybill. Guarded by mu.
	below map[fileID]string
}

// newFence notes all there is below .waybill, other stores included.
func newFence(hidden *os.Root) (fence, error) {
	f := fence{root: hidden, mu: new(sync.RWMutex), below: make(map[fileID]string)}
	var err error
	if f.self, err = dirID(hidden); err != nil {
		return f, err
	}
	return f, f.scan(hidden, "")
}

// scan notes what is in dir, which is at prefix below .waybill.
func (f *fence) scan(dir *os.Root, prefix string) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		fi, err := dir.Lstat(name)
		if err != nil {
			return rooted(err)
		}
		id, _ := infoID(fi)
		f.add(id, prefix+name)
		if !fi.IsDir() {
			continue
		}
		sub, err := enterAs(dir, name, id)
		if err != nil {
			return err
		}
		err = f.scan(sub, prefix+name+"/")
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether the inode is .waybill or below it.
func (f *fence) holds(id fileID) bool {
	if id == f.self {
		return true
	}
	f.mu.RLock()
	path, ok := f.below[id]
	f.mu.RUnlock()
	if !ok {
		return false
	}
	// A file that was placed or dropped is no longer ours, and its inode number
	// may already be another's: what is there now decides.
	if fi, err := f.root.Lstat(path); err == nil {
		if now, ok := infoID(fi); ok && now == id {
			return true
		}
	}
	f.forget(id)
	return false
}

func (f *fence) add(id fileID, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.below[id] = path
}

func (f *fence) forget(id fileID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.below, id)
}

func infoID(fi fs.FileInfo) (fileID, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{st.Dev, st.Ino}, true
}
