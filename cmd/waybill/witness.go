package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waybill/daemon"
	"waybill/journal"
)

// withCheckpoints are checkpoints that an auditor has kept.
type withCheckpoints struct {
	Checkpoint []string `sep:"none" placeholder:"FILE" help:"A signed checkpoint that the journal must be a continuation of; may be repeated. Needs --key."`
	verifierKeys
}

// witnessed is a checkpoint that the journal must continue, and where it comes
// from.
type witnessed struct {
	name string
	journal.Checkpoint
	own bool // a daemon's: nobody asked for it
}

// checkpoints gives those of the flags, each signed by one of the keys, the
// smallest first.
func (c *withCheckpoints) checkpoints(a *app) (list []witnessed, err error) {
	if len(c.Checkpoint) == 0 {
		return nil, nil
	}
	keys, err := c.read(a)
	if err != nil {
		return nil, err
	}
	for _, name := range c.Checkpoint {
		text, err := a.readInput(name)
		if err != nil {
			return nil, err
		}
		cp, err := journal.OpenCheckpoint(text, keys...)
		if err != nil {
			return nil, fail(exitData, "%s: %w", name, err)
		}
		list = append(list, witnessed{name: name, Checkpoint: cp})
	}
	return ascending(list), nil
}

func ascending(list []witnessed) []witnessed {
	return slices.SortedStableFunc(slices.Values(list), func(a, b witnessed) int { return cmp.Compare(a.Size, b.Size) })
}

// ownCheckpoint is the one that a daemon left in its STATE, if it is signed with
// a key of STATE or of --key. It knows nothing of who has the key as well, but of
// a lost segment or an older copy.
func (c *withCheckpoints) ownCheckpoint(a *app, state string) ([]witnessed, error) {
	const name = "STATE/checkpoint"
	text, err := os.ReadFile(filepath.Join(state, "checkpoint"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // there was no daemon, or not yet for long
	}
	var keys []journal.VerifierKey
	if len(c.Key) > 0 {
		if keys, err = c.read(a); err != nil {
			return nil, err
		}
	}
	stored, missing := daemon.StoredVerifiers(state) // a copy may be one without secrets
	keys = append(keys[:len(keys):len(keys)], stored...)
	var cp journal.Checkpoint
	switch {
	case err != nil:
	case len(keys) == 0 && errors.Is(missing, os.ErrNotExist):
		err = errors.New("there is no key to check it with; give one with --key")
	case len(keys) == 0:
		err = missing
	default:
		cp, err = journal.OpenCheckpoint(text, keys...)
	}
	if err != nil {
		a.say("%s was not compared: %v", name, err)
		return nil, nil
	}
	return []witnessed{{name, cp, true}}, nil
}

// ofJournal refuses checkpoints of other journals than that of a STATE; a copy
// may not say what it is called.
func ofJournal(state string, list []witnessed) error {
	id, err := os.ReadFile(filepath.Join(state, "id"))
	if err != nil {
		return nil
	}
	origin := "waybill/" + strings.TrimSpace(string(id))
	for _, w := range list {
		if w.Origin != origin {
			return fail(exitData, "%s is a checkpoint of %s, and this journal is %s", w.name, oneLine(w.Origin), origin)
		}
	}
	return nil
}

// sizesOf gives the numbers of records that the checkpoints were signed over.
func sizesOf(list []witnessed) (sizes []uint64) {
	for _, w := range list {
		sizes = append(sizes, w.Size)
	}
	return sizes
}

// compare says whether a journal of size records continues every checkpoint of
// the list, which ascends; rootAt gives the root over the first so many. The
// error names the records in which it does not.
func compare(list []witnessed, size uint64, rootAt func(uint64) (journal.Hash, error)) error {
	same := uint64(0) // up to here it is known to be as it was
	for _, w := range list {
		if w.Size > size {
			return w.missing(size)
		}
		root, err := rootAt(w.Size)
		if w.own && errors.Is(err, journal.ErrPruned) {
			continue
		}
		if errors.Is(err, journal.ErrPruned) {
			return fail(exitNoInput, "%s was signed over %d records, which cannot be compared any more: %w", w.name, w.Size, err)
		}
		if err != nil {
			return err
		}
		if root != w.Root {
			return w.rewritten(same, size)
		}
		same = w.Size
	}
	return nil
}

// missing is for a journal that ends before the checkpoint.
func (w witnessed) missing(size uint64) error {
	return &journal.DamageError{Seq: size, Last: w.Size - 1, Reason: fmt.Sprintf(
		"records are missing at the end: the journal has %d, %s was signed over %d", size, w.name, w.Size)}
}

// rewritten is for a journal that has other records; the first same ones are
// not among them.
func (w witnessed) rewritten(same, size uint64) error {
	return &journal.DamageError{Seq: same, Last: max(w.Size, 1) - 1, Reason: fmt.Sprintf(
		"history was rewritten: the journal has %d records, but among these are others than %s was signed over", size, w.name)}
}

// rootsOf makes a rootAt of roots that were taken on the way.
func rootsOf(roots map[uint64]journal.Hash) func(uint64) (journal.Hash, error) {
	return func(size uint64) (journal.Hash, error) { return roots[size], nil }
}
