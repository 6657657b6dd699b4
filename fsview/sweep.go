package fsview

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// Fate is what the journal says about a staged file.
type Fate int

const (
	Unknown Fate = iota // not in the journal: moved to orphans/, never removed at once
	Keep                // its session lives
	Drop                // its session ended
)

// OrphanAge is how long an orphan is kept.
const OrphanAge = 7 * 24 * time.Hour

// SweepReport counts what a sweep did.
type SweepReport struct {
	Kept, Dropped int
	Orphaned      int // moved to orphans/ now
	Expired       int // removed from there
}

// Sweep goes through the staged files of this store, at start, before any is
// made. It touches nothing of another store, and removes nothing the journal
// does not know. What it did is on disk on return; after an error the rest may
// be undone, and it can be called again.
func (r *Root) Sweep(know func(id string) Fate, now time.Time) (SweepReport, error) {
	var rep SweepReport
	err := r.sweep(know, now, &rep)
	return rep, fail("sweep", "staging", err)
}

func (r *Root) sweep(know func(id string) Fate, now time.Time, rep *SweepReport) error {
	names, err := readNames(r.staging)
	if err != nil {
		return err
	}
	for _, name := range names {
		fate := Unknown
		if validID(name) {
			fate = know(name)
		}
		switch fate {
		case Keep:
			rep.Kept++
		case Drop:
			if err := r.dropStaged(name); err != nil {
				return err
			}
			rep.Dropped++
		default:
			if err := r.orphan(r.stagingDir, name, now); err != nil {
				return err
			}
			rep.Orphaned++
		}
	}
	if err := r.expireOrphans(now, rep); err != nil {
		return err
	}
	// The new entries first: a crash in between leaves two, never none.
	if rep.Orphaned+rep.Expired > 0 {
		if err := r.do("orphans.sync", "orphans", r.orphansDir.Sync); err != nil {
			return err
		}
	}
	if rep.Orphaned+rep.Dropped > 0 {
		return r.do("staging.sync", "staging", r.stagingDir.Sync)
	}
	return nil
}

// orphan moves the entry of dir to orphans/, under a name that says when.
func (r *Root) orphan(dir *os.File, name string, now time.Time) error {
	const longest = MaxComponent - 32 // leaves room for what is put before it
	prefix := strconv.FormatInt(now.Unix(), 10)
	for try := 0; ; try++ {
		to := prefix + "." + strconv.Itoa(try) + "." + name[:min(len(name), longest)]
		if _, err := r.orphans.Lstat(to); err == nil {
			continue // nothing in there is ever written over
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.do("orphan.move", name, func() error {
			return rename(dir, name, r.orphansDir, to)
		}); err != nil {
			return err
		}
		// Still ours, under another path.
		if fi, err := r.orphans.Lstat(to); err == nil {
			ino, _ := infoID(fi)
			r.fence.add(ino, r.store+"/orphans/"+to)
		}
		return nil
	}
}

// expireOrphans removes what was orphaned long ago. What does not say when is
// not ours, and stays.
func (r *Root) expireOrphans(now time.Time, rep *SweepReport) error {
	names, err := readNames(r.orphans)
	if err != nil {
		return err
	}
	for _, name := range names {
		stamp, _, ok := strings.Cut(name, ".")
		at, err := strconv.ParseInt(stamp, 10, 64)
		if !ok || err != nil || now.Sub(time.Unix(at, 0)) < OrphanAge {
			continue
		}
		if err := r.do("orphan.drop", name, func() error { return r.orphans.RemoveAll(name) }); err != nil {
			return err
		}
		rep.Expired++
	}
	return nil
}

func readNames(dir *os.Root) ([]string, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
