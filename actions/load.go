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
// of no use only costs time. Errors are the journal's, ErrFold naming the
// record, and *journal.DamageError, also for a base that the last cut names and
// that is missing or is not the one it was. It changes nothing.
func Load(ctx context.Context, log *journal.Log, stateDir string) (*State, Loaded, error) {
	var l Loaded
	stored, err := ListStored(stateDir)
	if err != nil {
		return nil, l, err
	}
	s, err := foldFrom(ctx, log, stateDir, stored, log.Head().Size, nil, &l)
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
	for _, f := range stored {
		if f.Base && (cut == nil || f.Seq != cut.To) || cut != nil && f.Seq < cut.To {
			l.Leftovers = append(l.Leftovers, f)
		}
	}
	return s, l, nil
}

// FoldTo gives the state that the records before to, a position that the
// journal holds or begins at, add up to. It begins with the nearest snapshot or
// base of stateDir that fits. Errors as for Load, and ErrPruned.
func FoldTo(ctx context.Context, log *journal.Log, stateDir string, to uint64) (*State, error) {
	return foldTo(ctx, log, stateDir, to, nil)
}

// foldTo calls pace, unless it is nil, before every record.
func foldTo(ctx context.Context, log *journal.Log, stateDir string, to uint64, pace func(context.Context) error) (*State, error) {
	if first, size := log.First(), log.Head().Size; to < first {
		return nil, fmt.Errorf("the state of %d records: %w: the journal begins with record %d", to, journal.ErrPruned, first)
	} else if to > size {
		return nil, fmt.Errorf("the state of %d records: %w: the journal has %d", to, journal.ErrBeyond, size)
	}
	stored, err := ListStored(stateDir)
	if err != nil {
		return nil, err
	}
	return foldFrom(ctx, log, stateDir, stored, to, pace, &Loaded{})
}

// foldFrom folds the records before to, beginning with the first of stored that
// is of use.
func foldFrom(
	ctx context.Context, log *journal.Log, stateDir string, stored []Stored, to uint64, pace func(context.Context) error, l *Loaded,
) (*State, error) {
	first := log.First()
	var unfit []error // why there is nothing to go on from
	skip := func(f Stored, err error) {
		l.Skipped = append(l.Skipped, Skipped{f, err})
		unfit = append(unfit, fmt.Errorf("%s: %w", f.Name(), err))
	}
	for i := range stored {
		f := stored[i]
		if f.Seq > to || f.Seq < first {
			if f.Seq > log.Head().Size {
				skip(f, fmt.Errorf("%w, or that has lost records: it has only %d", errForeign, log.Head().Size))
			}
			continue
		}
		root, err := log.RootAt(ctx, f.Seq)
		if err != nil {
			return nil, err
		}
		s, err := readStored(stateDir, f, root)
		if err != nil {
			skip(f, err)
			continue
		}
		err = s.foldUntil(ctx, log, to, pace)
		if errors.Is(err, ErrFold) {
			// If it is the journal that cannot be followed, the fold from
			// elsewhere says so too.
			skip(f, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		l.From, l.Folded = &f, to-f.Seq
		return s, nil
	}
	if first > 0 {
		err := errors.Join(unfit...)
		if errors.Is(err, ErrFold) {
			return nil, err // they fit, and the records after them do not
		}
		return nil, noBase(first, fmt.Sprintf("there is none that fits (%v)", err))
	}
	s := NewState()
	l.Folded = to
	if err := s.foldUntil(ctx, log, to, pace); err != nil {
		return nil, err
	}
	return s, nil
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
