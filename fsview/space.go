package fsview

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// space keeps the free-space reserve.
type space struct {
	reserve int64
	root    *os.File // a directory on the file system of the root
	state   *os.File // one on that of the state; nil for none
	staging *os.Root

	// mu makes testing and taking one step: held from the test of the free space
	// until what it was tested for is allocated.
	mu *sync.Mutex
	// promised: sizes of staged files on a file system that cannot allocate
	// ahead, which count until their blocks do. Guarded by mu.
	promised map[string]int64
}

func newSpace(stagingDir *os.File, staging *os.Root, opt Options) (space, error) {
	s := space{reserve: opt.Reserve, root: stagingDir, staging: staging,
		mu: new(sync.Mutex), promised: make(map[string]int64)}
	if opt.StateDir == "" {
		return s, nil
	}
	var err error
	s.state, err = os.OpenFile(opt.StateDir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	return s, err
}

// CheckSpace is ErrNoSpace if n more bytes in the root would cut into the
// reserve, there or on the file system of the state.
func (r *Root) CheckSpace(n int64) error {
	r.space.mu.Lock()
	defer r.space.mu.Unlock()
	return fail("space", ".", r.space.testLocked(n))
}

func (s *space) testLocked(n int64) error {
	const most = 1 << 62 // more than any disk; what is added must not overflow
	if err := s.testOne(s.root, min(max(n, 0), most)+s.owedLocked()); err != nil {
		return err
	}
	if s.state == nil {
		return nil
	}
	// Nothing of n goes there, unless it is the same file system, which was
	// just tested with n.
	return s.testOne(s.state, 0)
}

func (s *space) testOne(dir *os.File, n int64) error {
	total, free, _, err := statFS(dir)
	if err != nil {
		return err
	}
	reserve := s.reserve
	if reserve < 0 {
		reserve = max(512<<20, int64(total/100))
	}
	if left := int64(free) - n; left < reserve {
		return fmt.Errorf("%w: %d bytes would be left, %d are kept", ErrNoSpace, left, reserve)
	}
	return nil
}

// owedLocked is what was promised and has no blocks yet.
func (s *space) owedLocked() int64 {
	var owed int64
	for id, size := range s.promised {
		fi, err := s.staging.Lstat(id)
		if err != nil {
			delete(s.promised, id) // placed or dropped
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			size -= st.Blocks * 512
		}
		owed += max(size, 0)
	}
	return owed
}

// takeLocked gives f, staged as id, its size, with blocks if the file system
// can.
func (s *space) takeLocked(f *os.File, id string, size int64) error {
	if size == 0 {
		return nil
	}
	err := withFD(f, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	s.promised[id] = size
	return nil
}

// Drive tells the kind of file system the root is on, its size, and the bytes
// free to us.
func (r *Root) Drive() (format string, total, free uint64, err error) {
	total, free, magic, err := statFS(r.topDir)
	if err != nil {
		return "", 0, 0, fail("drive", ".", err)
	}
	return formatOf(magic), total, free, nil
}

func statFS(dir *os.File) (total, free uint64, magic int64, err error) {
	var st unix.Statfs_t
	if err := withFD(dir, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0, 0, 0, err
	}
	// Bavail: what is set aside for root is no space, even for root.
	return st.Blocks * uint64(st.Bsize), st.Bavail * uint64(st.Bsize), int64(st.Type), nil
}

func formatOf(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case 0x2fc12fc1:
		return "zfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.MSDOS_SUPER_MAGIC:
		return "vfat"
	case unix.EXFAT_SUPER_MAGIC:
		return "exfat"
	}
	return fmt.Sprintf("0x%x", uint32(magic))
}
