package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxNote bounds what is read of a note.
const maxNote = 64 << 10

// errNoteBusy tells that another run holds the note.
var errNoteBusy = errors.New("another waybill is at work on this file")

// note is a small file that tells a later run of the same command how far
// this one came. It is locked while a run uses it. A note is a memo, never
// the truth: what it says is asked of the daemon again, and one that cannot
// be read is one that is not there.
//
// All methods do nothing on a nil note.
type note struct {
	f    *os.File
	path string
	kept bool // holds something worth keeping
}

// openNote opens or makes the first of the paths that can be, 0600.
func openNote(paths ...string) (*note, error) {
	var first error
	for _, path := range paths {
		n, err := lockNote(path)
		if err == nil || errors.Is(err, errNoteBusy) {
			return n, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func lockNote(path string) (*note, error) {
	for {
		// O_NOFOLLOW: in a folder others may write to, a link put there
		// would turn the note into a write elsewhere.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errNoteBusy
			}
			return nil, err
		}
		// Whoever held the lock before may have removed the file.
		mine, err := f.Stat()
		if err == nil && mine.Mode().IsRegular() {
			if named, err := os.Lstat(path); err == nil && os.SameFile(mine, named) {
				return &note{f: f, path: path, kept: mine.Size() > 0}, nil
			}
			f.Close()
			continue
		}
		f.Close()
		return nil, errors.Join(err, errors.New("not a file"))
	}
}

// load reads the note into v and reports whether there was anything to read.
func (n *note) load(v any) bool {
	if n == nil {
		return false
	}
	text, err := io.ReadAll(io.NewSectionReader(n.f, 0, maxNote))
	return err == nil && len(text) > 0 && json.Unmarshal(text, v) == nil
}

// save replaces what the note says, durably.
func (n *note) save(v any) error {
	if n == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	n.kept = true
	// In place, because the lock is on this file. A note torn by a crash
	// does not parse, which costs a restart of the transfer and no more.
	if _, err := n.f.WriteAt(append(text, '\n'), 0); err != nil {
		return err
	}
	if err := n.f.Truncate(int64(len(text)) + 1); err != nil {
		return err
	}
	return n.f.Sync()
}

// forget makes close remove the note.
func (n *note) forget() {
	if n != nil {
		n.kept = false
	}
}

// close lets go of the note, and removes it if it has nothing to tell.
func (n *note) close() {
	if n == nil {
		return
	}
	if !n.kept {
		os.Remove(n.path)
	}
	n.f.Close()
}

// stateNote returns the path of a note for file where notes go whose own
// folder cannot be written to, or "" if there is no such place.
func (a *app) stateNote(file, suffix string) string {
	dir, _ := a.getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, _ := a.getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	dir = filepath.Join(dir, "waybill")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(file))
	name := filepath.Base(file)
	return filepath.Join(dir, name[:min(len(name), 100)]+"-"+hex.EncodeToString(sum[:8])+suffix)
}
