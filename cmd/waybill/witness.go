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
	slices.SortStableFunc(list, func(a, b witnessed) int { return cmp.Compare(a.Size, b.Size) })
	return list, nil
}

// ownCheckpoint is the one that a daemon left in its STATE, if it can be told to
// be that. It knows nothing of who has the key as well, but of a lost segment.
func ownCheckpoint(a *app, state string) []witnessed {
	const name = "STATE/checkpoint"
	text, err := os.ReadFile(filepath.Join(state, "checkpoint"))
	if err != nil {
		return nil
	}
	keys, err := daemon.StoredVerifiers(state)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a copy without secrets
	}
	var cp journal.Checkpoint
	if err == nil {
		cp, err = journal.OpenCheckpoint(text, keys...)
	}
	if err != nil {
		a.say("%s was not compared: %v", name, err)
		return nil
	}
	return []witnessed{{name, cp, true}}
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
