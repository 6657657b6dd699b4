package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"waybill/actions"
	"waybill/journal"
)

type verifyCmd struct {
	withExport
	withCheckpoints
	withDeep
	ArchiveOnly string        `xor:"source" required:"" placeholder:"DIR" help:"An archive, without the journal that it is from. Needs --key."`
	RetryFor    time.Duration `default:"1m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
	JSON        bool          `help:"Result as one JSON object."`
}

// verdict is the result of verify.
type verdict struct {
	Valid bool   `json:"valid"`
	Size  uint64 `json:"size"`
	Root  string `json:"root,omitempty"`
	// Checkpoints is how many of --checkpoint the journal continues.
	Checkpoints int `json:"checkpoints,omitempty"`
	// Deep is the result of --deep.
	Deep *deepReport `json:"deep,omitempty"`
	// Of a damaged journal: the first bad record, where, and why.
	Seq    *uint64 `json:"seq,omitempty"`
	File   string  `json:"file,omitempty"`
	Reason string  `json:"reason,omitempty"`
}

// Run checks every record: with --state also what the store keeps about them,
// with --url that they lead to the root the daemon claims. With --checkpoint
// they must continue what was signed then, whoever has written them.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	if err := c.possible(&c.source); err != nil {
		return err
	}
	kept, err := c.checkpoints(a)
	if err != nil {
		return err
	}
	head, err := c.verify(ctx, a, kept)
	var deep *deepReport
	if err == nil && c.Deep {
		deep, err = c.deep(ctx, a, &c.source)
	}
	err = interrupted(ctx, err)
	if err == nil {
		if c.JSON {
			err := a.printJSON(verdict{
				Valid: deep.sound(), Size: head.Size, Root: head.Root.String(), Checkpoints: len(kept), Deep: deep,
			})
			return errors.Join(err, deep.verdict())
		}
		if len(kept) > 0 {
			a.say("nothing was altered of the first %d records, over which %s was signed", kept[len(kept)-1].Size, kept[len(kept)-1].name)
		} else if c.Export != "" {
			// Whoever altered a line may have written the file anew: nothing
			// in it says what the root was.
			a.say("whole and in order; nothing was altered if this is the root that its daemon gives for %d records", head.Size)
		}
		_, err = fmt.Fprintf(a.stdout, "valid: %d records, root %v\n", head.Size, head.Root)
		return errors.Join(err, deep.print(a.stdout), deep.verdict())
	}
	if d, ok := errors.AsType[*journal.DamageError](err); ok && c.JSON {
		if err := a.printJSON(verdict{Size: head.Size, Seq: &d.Seq, File: d.File, Reason: d.Reason}); err != nil {
			return err
		}
	}
	return err
}

func (c *verifyCmd) verify(ctx context.Context, a *app, kept []witnessed) (journal.Head, error) {
	switch {
	case c.Export != "":
		r, done, err := c.openExport(a)
		if err != nil {
			return journal.Head{}, err
		}
		defer done()
		head, roots, err := journal.VerifyExportAt(ctx, stoppable{ctx, r}, sizesOf(kept)...)
		if err == nil {
			err = compare(kept, head.Size, rootsOf(roots))
		}
		return head, err
	case c.State != "":
		dir, unlock, err := c.journalDir()
		if err != nil {
			return journal.Head{}, err
		}
		defer unlock()
		if err := ofJournal(c.State, kept); err != nil {
			return journal.Head{}, err
		}
		own, err := c.ownCheckpoint(a, c.State)
		if err != nil {
			return journal.Head{}, err
		}
		return c.verifyStored(ctx, a, dir, ascending(append(own, kept...)))
	case c.ArchiveOnly != "":
		return c.verifyArchive(ctx, a, kept)
	}
	return c.verifyRunning(ctx, a, kept)
}

// verifyStored checks the journal in dir, which is locked, the base in the place
// of what was pruned, and the archive of that, if one is given.
func (c *verifyCmd) verifyStored(ctx context.Context, a *app, dir string, kept []witnessed) (journal.Head, error) {
	archive, err := c.openArchive()
	if err != nil {
		return journal.Head{}, err
	}
	var seen pruningSeen
	head, err := journal.VerifyWith(ctx, dir, journal.VerifyOptions{Archive: archive, Seen: seen.take})
	if err != nil {
		return head, archiveError(err)
	}
	h, done, err := c.openHistory()
	if err != nil {
		return head, err
	}
	defer done()
	err = actions.CheckCut(h.Log().First(), seen.cut, c.State)
	if err == nil && archive != nil {
		err = c.checkSignatures(a, archive, seen.keys)
	}
	if err == nil {
		err = compare(kept, head.Size, func(size uint64) (journal.Hash, error) { return h.RootAt(ctx, size) })
	}
	return head, err
}

// verifyRunning reads the records up to the size at the start, those of the
// archive first, and compares the tree over them with what the daemon said it
// would be.
func (c *verifyCmd) verifyRunning(ctx context.Context, a *app, kept []witnessed) (head journal.Head, err error) {
	s := stream{remote: c.remote(), to: allRecords, tries: patience{limit: c.RetryFor, say: a.say}}
	j := &joined{}
	sizes := sizesOf(kept)
	if c.Archive != "" {
		if j, err = c.join(ctx); err != nil {
			return head, err
		}
		s.reached = true
		for _, first := range j.archive.Firsts() {
			sizes = append(sizes, first+journal.SegmentRecords)
		}
	}
	lines, feed := io.Pipe()
	var group sync.WaitGroup
	var roots map[uint64]journal.Hash
	group.Go(func() {
		head, roots, err = journal.VerifyExportAt(ctx, lines, sizes...)
		lines.CloseWithError(err) // the reading fails with it
	})
	out := bufio.NewWriterSize(feed, 1<<16)
	var seen pruningSeen
	read := j.read(ctx, &s, func(line []byte) error {
		if err := seen.keyIn(line); err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		return out.WriteByte('\n')
	})
	if read == nil {
		read = out.Flush()
	}
	feed.CloseWithError(read) // nil ends it in order
	group.Wait()
	// Whichever of the two failed first made the other one fail.
	if read != nil {
		return head, read
	}
	if err != nil {
		return head, err
	}
	if head.Root.String() != s.root {
		return head, &journal.DamageError{Seq: 0, Last: max(s.size, 1) - 1,
			Reason: fmt.Sprintf("the records lead to the root %v, not to %q as the daemon claims", head.Root, s.root)}
	}
	if j.archive != nil {
		if err := c.checkNotes(a, j.archive, roots, seen.keys); err != nil {
			return head, err
		}
	}
	return head, compare(kept, head.Size, rootsOf(roots))
}

// checkNotes holds the checkpoints of an archive against the roots where its
// segments end, and looks at who has signed them.
func (c *verifyCmd) checkNotes(a *app, archive *journal.Archive, roots map[uint64]journal.Hash, recorded []journal.VerifierKey) error {
	for _, first := range archive.Firsts() {
		end := first + journal.SegmentRecords
		if err := archive.FitsNote(first, journal.Head{Size: end, Root: roots[end]}); err != nil {
			return err
		}
	}
	return c.checkSignatures(a, archive, recorded)
}
