package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"waybill/fsview"
	"waybill/journal"
)

const (
	minFreeAtStart = 64 << 20 // serve refuses to start below
	fewFiles       = 4096     // open files a busy daemon may need
	syncTries      = 9
	slowSync       = 20 * time.Millisecond
)

// lock tells who holds STATE.
func (x *exam) lock() {
	f, err := os.Open(filepath.Join(x.state, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		x.ok("lock", "free; no daemon has run here")
		return
	}
	if err != nil {
		x.fail("lock", "%v", err)
		return
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		x.holder = lockHolder(f)
		x.ok("lock", "held by a running daemon: %s", x.holder)
	case err != nil:
		x.fail("lock", "%v", err)
	default:
		x.ok("lock", "free")
	}
}

// secrets looks for files of STATE that others may read.
func (x *exam) secrets() {
	if inside, err := fsview.Within(x.state, x.root); err == nil && inside {
		x.fail("secrets", "%s lies in the served tree %s: clients could read them", x.state, x.root)
		return
	}
	var open []string
	for _, name := range []string{
		".", "admin-password", "cfms-rsa.pem", "cfms-x25519", "jwt.key", "main-token", "password-pepper",
		"tls/ftp-key.pem", "token-secret",
	} {
		info, err := os.Stat(filepath.Join(x.state, name))
		if err != nil {
			continue // not made yet
		}
		mode := fs.FileMode(0o600)
		if info.IsDir() {
			mode = 0o700
		}
		if info.Mode().Perm()&^mode != 0 {
			open = append(open, name)
		}
	}
	if len(open) > 0 {
		x.warn("secrets", "%s: open to other users", strings.Join(open, ", "))
		return
	}
	x.ok("secrets", "for their owner only")
}

// folder checks that dir can be written to, how long a sync takes, and the
// space. The probe goes into .waybill of a served tree, where no panel sees it,
// or of a content store, which holds nothing but contents.
func (x *exam) folder(name, dir string) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		above := nearest(dir)
		if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
			x.fail(name, "%s does not exist, and %s cannot be written to: %v", dir, above, err)
			return
		}
		x.ok(name, "%s does not exist; serve makes it", dir)
		x.space(name+" space", above)
		return
	}
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		x.fail(name, "%s: %v", dir, err)
		return
	}
	x.space(name+" space", dir)
	probe := dir
	if hidden := filepath.Join(dir, ".waybill"); isDir(hidden) {
		probe = hidden
	}
	took, err := syncSpeed(probe)
	switch {
	case err != nil:
		x.fail(name, "%s: %v", dir, err)
	case took > slowSync:
		x.warn(name, "%s is writable, but a sync takes %v: uploads will be slow", dir, took)
	default:
		x.ok(name, "%s is writable; a sync takes %v", dir, took)
	}
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// nearest is the nearest folder at or above path that exists.
func nearest(path string) string {
	for !isDir(path) {
		up := filepath.Dir(path)
		if up == path {
			return path
		}
		path = up
	}
	return path
}

// syncSpeed is the median time of writing and syncing one page in dir.
func syncSpeed(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".waybill-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	times := make([]time.Duration, syncTries)
	for i := range times {
		start := time.Now()
		if _, err := f.WriteAt(page, int64(i)*int64(len(page))); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[len(times)/2].Round(time.Microsecond), nil
}

// objects looks at the contents of documents. They lie in STATE, but may be a
// mount of their own, with its own speed and space.
func (x *exam) objects() {
	dir := filepath.Join(x.state, "objects")
	var store, state unix.Stat_t
	err := unix.Stat(dir, &store)
	if errors.Is(err, fs.ErrNotExist) {
		x.ok("objects", "%s does not exist; serve makes it", dir)
		return
	}
	if err == nil {
		err = unix.Stat(x.state, &state)
	}
	switch {
	case err != nil:
		x.fail("objects", "%s: %v", dir, err)
	case store.Dev == state.Dev:
		x.ok("objects", "on the file system of the state")
	default:
		x.folder("objects", dir)
	}
}

// space compares the free space on the file system of dir with the reserve.
func (x *exam) space(check, dir string) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		x.fail(check, "%v", err)
		return
	}
	free, total := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	reserve := int64(x.reserve)
	if reserve < 0 {
		reserve = max(512<<20, total/100)
	}
	left := byteSize(free - reserve)
	switch {
	case free < minFreeAtStart:
		x.fail(check, "%v free; serve does not start below %v", byteSize(free), byteSize(minFreeAtStart))
	case left <= 0:
		x.warn(check, "%v free, %v are kept in reserve: every upload is refused", byteSize(free), byteSize(reserve))
	case st.Type == unix.TMPFS_MAGIC:
		x.warn(check, "%v free for uploads, but in memory: nothing survives a restart of the machine", left)
	default:
		x.ok(check, "%v free for uploads, %v kept in reserve", left, byteSize(reserve))
	}
}

// journal opens the journal, if no daemon has it open.
func (x *exam) journal() {
	dir := filepath.Join(x.state, "journal")
	if _, err := os.Stat(filepath.Join(x.state, "id")); err == nil {
		if err := journal.Expect(dir); err != nil {
			x.fail("journal", "%v", err)
			return
		}
	}
	switch {
	case !isDir(dir):
		x.ok("journal", "none yet")
		return
	case x.holder != "":
		x.ok("journal", "in use; waybill journal verify --url checks it")
		return
	}
	log, err := journal.Open(dir, journal.Options{ReadOnly: true})
	if err != nil {
		x.fail("journal", "%v", err)
		return
	}
	defer log.Close()
	if at := log.LastAt(); at.After(x.now.Add(time.Second)) {
		x.warn("journal", "the last of %d records is from %v, after the clock", log.Head().Size, at.Format(time.RFC3339))
		return
	}
	x.ok("journal", "%d records, %v on disk; waybill journal verify --state checks them", log.Head().Size, byteSize(log.DiskBytes()))
}

// store checks that ROOT belongs to STATE.
func (x *exam) store() {
	text, err := os.ReadFile(filepath.Join(x.state, "id"))
	id := strings.TrimSpace(string(text))
	if errors.Is(err, fs.ErrNotExist) {
		if isDir(filepath.Join(x.state, "journal")) {
			x.fail("store id", "%s has a journal but no id", x.state)
			return
		}
		x.ok("store id", "none yet")
		return
	}
	if err != nil {
		x.fail("store id", "%v", err)
		return
	}
	known, err := fsview.HasStore(x.root, id)
	switch {
	case err != nil:
		x.fail("store id", "%v", err)
	case !known:
		x.warn("store id", "%s is new to %s: unfinished uploads of this state belong to another root", id, x.root)
	default:
		x.ok("store id", "%s, known to the root", id)
	}
}

// clock checks the time, which every record carries.
func (x *exam) clock() {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynchronised = 5 // TIME_ERROR
	switch {
	case x.now.Year() < 2025:
		x.fail("clock", "shows %v", x.now.Format(time.RFC3339))
	case err == nil && state == unsynchronised:
		x.warn("clock", "%v, but nothing keeps it right", x.now.Format(time.RFC3339))
	default:
		x.ok("clock", "%v", x.now.Format(time.RFC3339))
	}
}

// files checks how many files may be open; the runtime raises the soft limit
// to the hard one by itself.
func (x *exam) files() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		x.fail("open files", "%v", err)
		return
	}
	if limit.Max < fewFiles {
		x.warn("open files", "at most %d; many connections need more", limit.Max)
		return
	}
	x.ok("open files", "at most %d", limit.Max)
}
