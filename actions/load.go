package actions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"waybill/journal"
)

// Loaded tells how Load came to its state, and what a crash left to be done.
type Loaded struct {
	// From is the snapshot or base that the fold began with; nil if it began
	// with the first record.
	From *Stored
	// Folded is the number of records folded after it.
	Folded uint64
	// Skipped are snapshots and bases that were of no use, and why.
	Skipped []Skipped
	// PruneTo is the cut that the journal still has records before: Prune is to
	// be called again. 0 if there is nothing to do.
	PruneTo uint64
	// Leftovers are bases that no cut names, or an earlier one, and snapshots
	// from before the cut: to be removed.
	Leftovers []Stored
}

// Skipped is a snapshot or base that was passed over.
type Skipped struct {
	Stored
	Err error
}

// Load gives the state that the journal adds up to: the newest snapshot or base
// of stateDir that fits it, and the records after. A snapshot that is missing or
// of no use only costs time. Errors are the journal's, those of the file system
// for a base that is needed and cannot be read, ErrFold naming the record, and
// *journal.DamageError, also for a base that the last cut names and that is
// missing or is not the one it was. It changes nothing.
func Load(ctx context.Context, log *journal.Log, stateDir string) (*State, Loaded, error) {
	f := folding{log: log, dir: stateDir, list: ListStored}
	s, l, err := f.fold(ctx, log.Head().Size)
	if err != nil {
		return nil, l, err
	}
	if err := s.checkCut(log, stateDir); err != nil {
		return nil, l, err
	}
	cut := s.cut
	if cut != nil && log.First() < cut.To {
		l.PruneTo = cut.To
	}
	for _, f := range f.stored {
		if f.Base && (cut == nil || f.Seq != cut.To) || cut != nil && f.Seq < cut.To {
			l.Leftovers = append(l.Leftovers, f)
		}
	}
	return s, l, nil
}

// FoldTo gives the state that the records before to, a position that the
// journal holds or begins at, add up to. It begins with the nearest snapshot or
// base of stateDir that fits. Errors as for Load, and ErrPruned. The journal may
// be cut meanwhile.
func FoldTo(ctx context.Context, log *journal.Log, stateDir string, to uint64) (*State, error) {
	return foldTo(ctx, log, stateDir, to, nil)
}

// foldTo calls pace, unless it is nil, before every record.
func foldTo(ctx context.Context, log *journal.Log, stateDir string, to uint64, pace func(context.Context) error) (*State, error) {
	f := folding{log: log, dir: stateDir, list: ListStored, pace: pace}
	s, _, err := f.fold(ctx, to)
	return s, err
}

// folding is one call of Load or FoldTo.
type folding struct {
	log  *journal.Log
	dir  string
	list func(dir string) ([]Stored, error)
	pace func(context.Context) error // before every record, unless nil

	stored []Stored // what list gave
	loaded Loaded   // without what a crash left to be done
	// unread is why a base that may be needed could not be read, which says nothing
	// about it; gone: something listed was no longer there.
	unread error
	gone   bool
}

// fold folds the records before to. If what it was to begin with went with a cut
// that was made meanwhile, it looks again, once.
func (f *folding) fold(ctx context.Context, to uint64) (*State, Loaded, error) {
	for again := false; ; again = true {
		s, err := f.try(ctx, to)
		if err == nil || again || !f.gone && !errors.Is(err, journal.ErrPruned) {
			return s, f.loaded, err
		}
	}
}

func (f *folding) try(ctx context.Context, to uint64) (_ *State, err error) {
	first, size := f.log.First(), f.log.Head().Size
	if to < first {
		return nil, fmt.Errorf("the state of %d records: %w: the journal begins with record %d", to, journal.ErrPruned, first)
	} else if to > size {
		return nil, fmt.Errorf("the state of %d records: %w: the journal has %d", to, journal.ErrBeyond, size)
	}
	f.loaded, f.unread, f.gone = Loaded{}, nil, false
	if f.stored, err = f.list(f.dir); err != nil {
		return nil, err
	}
	var unfit []error // why there is nothing to go on from
	for _, at := range f.stored {
		if at.Seq > to || at.Seq < first {
			if at.Seq > size {
				f.skip(at, fmt.Errorf("%w, or that has lost records: it has only %d", errForeign, size))
			}
			continue
		}
		s, err := f.from(ctx, at, to)
		if err != nil {
			return nil, err
		}
		if s != nil {
			f.loaded.From, f.loaded.Folded = &at, to-at.Seq
			return s, nil
		}
	}
	if first > 0 {
		for _, s := range f.loaded.Skipped {
			unfit = append(unfit, fmt.Errorf("%s: %w", s.Name(), s.Err))
		}
		switch err := errors.Join(unfit...); {
		case f.unread != nil:
			return nil, f.unread
		case errors.Is(err, ErrFold):
			return nil, err // they fit, and the records after them do not
		default:
			return nil, noBase(first, fmt.Sprintf("there is none that fits (%v)", err))
		}
	}
	s := NewState()
	f.loaded.Folded = to
	if err := s.foldUntil(ctx, f.log, to, f.pace); err != nil {
		return nil, err
	}
	return s, nil
}

// from folds the records before to, beginning with a snapshot or base; nil, and
// no error, if that is of no use.
func (f *folding) from(ctx context.Context, at Stored, to uint64) (*State, error) {
	root, err := f.log.RootAt(ctx, at.Seq)
	if err != nil {
		return nil, err
	}
	s, err := readStored(f.dir, at, root)
	if err != nil {
		f.gone = f.gone || errors.Is(err, fs.ErrNotExist)
		if at.Base && unreadable(err) {
			f.unread = fmt.Errorf("read %s: %w", at.Name(), err)
		}
		f.skip(at, err)
		return nil, nil
	}
	err = s.foldUntil(ctx, f.log, to, f.pace)
	if errors.Is(err, ErrFold) {
		// If it is the journal that cannot be followed, the fold from elsewhere
		// says so too.
		f.skip(at, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (f *folding) skip(at Stored, err error) {
	f.loaded.Skipped = append(f.loaded.Skipped, Skipped{at, err})
}

// unreadable tells of an error of readStored whether it is one of the file
// system, which says nothing about the file, and not that it is missing.
func unreadable(err error) bool {
	_, io := errors.AsType[*fs.PathError](err)
	return io && !errors.Is(err, fs.ErrNotExist)
}

// errReached ends a replay.
var errReached = errors.New("reached")

// foldUntil folds the records from the state's own position up to to.
func (s *State) foldUntil(ctx context.Context, log *journal.Log, to uint64, pace func(context.Context) error) error {
	if to == s.next && to < log.Head().Size {
		return nil
	}
	err := log.Replay(ctx, s.next, func(e *journal.Entry) error {
		if e.Seq >= to {
			return errReached // only if there was nothing to fold
		}
		if pace != nil {
			if err := pace(ctx); err != nil {
				return err
			}
		}
		if err := s.Apply(e); err != nil {
			return fmt.Errorf("%w: %w", ErrFold, err)
		}
		if s.next == to && to < log.Head().Size {
			return errReached
		}
		return nil
	})
	if errors.Is(err, errReached) {
		return nil
	}
	return err
}

// checkCut holds the last cut against where the journal begins, and against its
// base.
func (s *State) checkCut(log *journal.Log, stateDir string) error {
	return CheckCut(log.First(), s.cut, stateDir)
}

// CompareBase says whether s, which adds up the records before the oldest that
// the journal holds, is what the base says in their place: a
// *journal.DamageError if not.
func CompareBase(ctx context.Context, log *journal.Log, stateDir string, s *State) error {
	root, err := log.RootAt(ctx, s.next)
	if err != nil {
		return err
	}
	name := Stored{s.next, true}
	base, err := readStored(stateDir, name, root)
	if unreadable(err) {
		return fmt.Errorf("read %s: %w", name.Name(), err)
	}
	if err != nil {
		return baseDamage(s.next, err.Error())
	}
	var ours, theirs bytes.Buffer
	if err := errors.Join(s.writeImage(&ours), base.writeImage(&theirs)); err != nil {
		return fmt.Errorf("%s: %w", name.Name(), err)
	}
	if !bytes.Equal(ours.Bytes(), theirs.Bytes()) {
		return baseDamage(s.next, "it differs from what the archived records lead to")
	}
	return nil
}

// CheckCut says whether the last cut, nil if there was none, fits a journal that
// begins at first, and whether its base in stateDir is the one that it names: a
// *journal.DamageError if not.
func CheckCut(first uint64, cut *Cut, stateDir string) error {
	switch {
	case cut == nil && first > 0:
		return noBase(first, "records are missing, but none says that they were pruned")
	case cut == nil:
		return nil
	case first > cut.To:
		return noBase(first, fmt.Sprintf("the last cut was at record %d", cut.To))
	}
	return checkBase(stateDir, cut)
}

// checkBase compares the base of the last cut with what the cut says.
func checkBase(stateDir string, cut *Cut) error {
	name := Stored{cut.To, true}.Name()
	digest, err := fileDigest(filepath.Join(stateDir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return baseDamage(cut.To, name+" is missing: the records before it were pruned")
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	case digest != cut.Base:
		return baseDamage(cut.To, fmt.Sprintf("%s has the SHA-256 %s, the journal says %s", name, digest, cut.Base))
	}
	return nil
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func noBase(first uint64, why string) error {
	return baseDamage(first, fmt.Sprintf("the journal begins here, and %s is what it goes on from: %s", Stored{first, true}.Name(), why))
}

func baseDamage(to uint64, why string) error {
	return &journal.DamageError{Seq: 0, Last: max(to, 1) - 1, File: Stored{to, true}.Name(), Reason: why}
}
