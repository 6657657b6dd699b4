package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"waybill/journal"
)

// allRecords is the end of a range without one.
const allRecords = math.MaxUint64

// source is where a journal command reads: the STATE of a stopped daemon, or
// a copy of one, or a running daemon.
type source struct {
	State     string   `xor:"source" required:"" placeholder:"DIR" help:"STATE of a daemon that is stopped, or a copy of one."`
	URL       endpoint `name:"url" xor:"source" required:"" placeholder:"URL" help:"A running daemon; the token needs waybill.journal.read."`
	Archive   string   `placeholder:"DIR" help:"The archive of what was pruned from the journal of --state or --url."`
	TokenFile string   `default:"waybill-data/state/main-token" placeholder:"FILE" help:"With --url: file with the token (${default})."`

	// pruned is the first record that was looked at, if those before it are
	// neither in the journal nor in an archive.
	pruned uint64
}

// withExport is a source that may also be a file made by journal export.
type withExport struct {
	source
	Export string `xor:"source" required:"" placeholder:"FILE" help:"What journal export wrote; - is standard input."`
}

func (s *source) remote() *remote { return &remote{URL: s.URL, TokenFile: s.TokenFile} }

// journalDir locks the STATE against a daemon and returns the folder of its
// journal. Several readers may hold the lock, and nothing is written: a copy
// may be evidence, or on a read-only disk.
func (s *source) journalDir() (dir string, unlock func(), err error) {
	dir = filepath.Join(s.State, "journal")
	// serve writes the id once there is a journal.
	if _, err := os.Stat(filepath.Join(s.State, "id")); err == nil {
		if err := journal.Expect(dir); err != nil {
			return "", nil, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return "", nil, localError("journal", err)
	}
	f, err := os.Open(filepath.Join(s.State, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, func() {}, nil // a copy without it
	}
	if err != nil {
		return "", nil, localError("lock", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil, fail(exitTemp, "%s is in use (%s); ask the running daemon with --url", s.State, lockHolder(f))
		}
		return "", nil, fail(exitIO, "lock: %w", err)
	}
	return dir, func() { f.Close() }, nil
}

// lockHolder is what the holder of a lock wrote into it, on one line.
func lockHolder(r io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(r, 256))
	holder := strings.Join(strings.FieldsFunc(string(text), func(r rune) bool { return r < ' ' }), ", ")
	if holder == "" {
		return "holder unknown"
	}
	return holder
}

// AfterApply refuses an archive that nothing would read. One from the environment
// is that of the daemon: it goes with --state only.
func (s *source) AfterApply(kctx *kong.Context) error {
	given := false
	for _, path := range kctx.Path {
		given = given || path.Flag != nil && path.Flag.Name == "archive" && !path.Resolved
	}
	switch {
	case !given && s.State == "":
		s.Archive = ""
	case s.Archive != "" && s.State == "" && s.URL == endpoint{}:
		return errors.New("--archive goes with --state or --url")
	}
	return nil
}

// tellPruned says so if records were pruned that nobody has looked at.
func (s *source) tellPruned(a *app) {
	if s.pruned > 0 {
		a.say("%s", s.notLookedAt())
	}
}

func (s *source) notLookedAt() string {
	return fmt.Sprintf("records before %d are pruned and were not looked at (--archive)", s.pruned)
}

// openHistory opens the journal of a stopped daemon for reading, together with
// the archive if one is given.
func (s *source) openHistory() (*journal.History, func(), error) {
	log, done, err := s.openLog()
	if err != nil {
		return nil, nil, err
	}
	archive, err := s.openArchive()
	var h *journal.History
	if err == nil {
		h, err = journal.NewHistory(log, archive)
	}
	if err != nil {
		done()
		return nil, nil, archiveError(err)
	}
	return h, done, nil
}

// openArchive opens the archive, nil if none is given.
func (s *source) openArchive() (*journal.Archive, error) {
	if s.Archive == "" {
		return nil, nil
	}
	archive, err := journal.OpenArchive(s.Archive)
	if err != nil {
		return nil, archiveError(err)
	}
	return archive, nil
}

// archiveError gives an error of opening an archive its exit code.
func archiveError(err error) error {
	switch {
	case errors.Is(err, journal.ErrNotArchived):
		return fail(exitNoInput, "%w", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return localError("archive", err)
	}
	return err
}

// openLog opens the journal of a stopped daemon for reading.
func (s *source) openLog() (*journal.Log, func(), error) {
	dir, unlock, err := s.journalDir()
	if err != nil {
		return nil, nil, err
	}
	log, err := journal.Open(dir, journal.Options{ReadOnly: true})
	if err != nil {
		unlock()
		return nil, nil, fmt.Errorf("%s: %w", s.State, err)
	}
	return log, func() { log.Close(); unlock() }, nil
}

// openExport opens the file, or standard input for "-".
func (s *withExport) openExport(a *app) (io.Reader, func(), error) {
	if s.Export == "-" {
		return a.stdin, func() {}, nil
	}
	f, err := os.Open(s.Export)
	if err != nil {
		return nil, nil, localError("export", err)
	}
	return f, func() { f.Close() }, nil
}

// stoppable ends a reader with its context, between two reads.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, interrupted(s.ctx, s.ctx.Err())
	}
	return s.r.Read(p)
}
