package main

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node shows an inode of the disk to the kernel.
type node struct {
	fs.Inode
	disk *disk
	*inode
}

func (i *inode) typed() uint32 {
	if i.dir() {
		return i.mode | syscall.S_IFDIR
	}
	return i.mode | syscall.S_IFREG
}

func (i *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Size = i.number, i.typed(), max(i.links, 1), uint64(len(i.data))
	out.Blksize, out.Blocks = 4096, (out.Size+511)/512
	out.SetTimes(nil, &i.changed, &i.changed)
}

// child is the node of an entry. The disk is locked.
func (n *node) child(ctx context.Context, i *inode, out *fuse.EntryOut) *fs.Inode {
	i.attr(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, inode: i}, fs.StableAttr{Mode: i.typed() & syscall.S_IFMT, Ino: i.number})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	i := n.names[name]
	if i == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, i, out), 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		n.mode = mode & 0o7777
	}
	if size, ok := in.GetSize(); ok {
		n.resize(int(size))
	}
	n.attr(&out.Attr)
	return 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	list := make([]fuse.DirEntry, 0, len(n.names))
	for name, i := range n.names {
		list = append(list, fuse.DirEntry{Name: name, Mode: i.typed(), Ino: i.number})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	i, errno := n.new(ctx, name, mode, false, out)
	return i, nil, 0, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.new(ctx, name, mode, true, out)
}

func (n *node) new(ctx context.Context, name string, mode uint32, dir bool, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.names[name] != nil {
		return nil, syscall.EEXIST
	}
	i := n.disk.make(mode, dir)
	n.disk.do(change{{n.inode, name, i}})
	return n.child(ctx, i, out), 0
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.names[name] != nil {
		return nil, syscall.EEXIST
	}
	i := target.(*node).inode
	n.disk.do(change{{n.inode, name, i}})
	return n.child(ctx, i, out), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno { return n.remove(name) }
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno  { return n.remove(name) }

func (n *node) remove(name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	switch i := n.names[name]; {
	case i == nil:
		return syscall.ENOENT
	case len(i.names) > 0:
		return syscall.ENOTEMPTY
	}
	n.disk.do(change{{n.inode, name, nil}})
	return 0
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	i, dir := n.names[name], to.(*node).inode
	old := dir.names[newName]
	switch {
	case flags != 0:
		return syscall.EINVAL
	case i == nil:
		return syscall.ENOENT
	case old == i:
		return 0
	case old != nil && old.dir() && !i.dir():
		return syscall.EISDIR
	case old != nil && i.dir() && !old.dir():
		return syscall.ENOTDIR
	case old != nil && len(old.names) > 0:
		return syscall.ENOTEMPTY
	}
	n.disk.do(change{{dir, newName, i}, {n.inode, name, nil}})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0 // no O_DIRECT: mappings go through the kernel's pages
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.write(b, off)
	return uint32(len(b)), 0
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if mode != 0 {
		return syscall.EOPNOTSUPP
	}
	if end := int(off + size); end > len(n.data) {
		n.resize(end)
	}
	return 0
}

// Fsync is for files and directories, fdatasync too.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.dir() {
		n.disk.syncDir(n.inode)
	} else {
		n.sync()
	}
	return 0
}

// Statfs tells of a disk with much room.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const blocks = 64 << 30 / 4096
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail = blocks, blocks, blocks
	out.Files, out.Ffree = 1<<20, 1<<20
	return 0
}
