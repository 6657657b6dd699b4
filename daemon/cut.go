package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/journal"
)

// Pruned says what a cut took out of the journal, or would take.
type Pruned struct {
	// From is the first record that went, To the first that stays: the same if
	// there was nothing to do.
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
	Records  uint64 `json:"records"`
	Segments uint64 `json:"segments"`
	// Archive is the directory they are in now.
	Archive string `json:"archive"`
}

// errCutting is for who asks for a cut while one is made.
var errCutting = errors.New("the journal is being pruned already")

// cutter takes old segments out of a journal. The order matters: the archive of
// every segment is durable and was read back and compared before the base is
// written; the base is durable before segment.pruned, which has its digest; and
// that is committed before anything is unlinked. A crash before the commit leaves
// a journal that is whole, and at most files that the next cut takes or the next
// start removes; one after it is finished by either.
type cutter struct {
	log     *journal.Log
	state   string // STATE
	archive string
	out     zerolog.Logger
	// look says what is wrong with the archive's place: at the start it may not
	// have answered.
	look func() error
	// sign gives the checkpoint of a head.
	sign func(journal.Head) ([]byte, error)
	// last is the last cut on record, commit records one.
	last   func() (*actions.Cut, error)
	commit func(actions.Caller, actions.Cut) error
	fault  func(op string, do func() error) error

	busy chan struct{} // has room for one token, of whoever makes a cut
}

// plan says what a cut would take that leaves no record from before a time, but
// for those in a segment with later ones, and in the last.
func (c *cutter) plan(ctx context.Context, before time.Time) (Pruned, error) {
	from := c.log.First()
	to, err := c.log.Seek(ctx, before)
	if err != nil {
		return Pruned{}, fmt.Errorf("look for the first record of %v: %w", before.UTC().Format(time.RFC3339), err)
	}
	to = max(from, to-to%journal.SegmentRecords)
	return Pruned{
		From: from, To: to, Records: to - from, Segments: (to - from) / journal.SegmentRecords, Archive: c.archive,
	}, nil
}

// cut makes the cut of plan. A cut that is on record is finished before, if that
// is left to do. errCutting if one is made at this moment.
func (c *cutter) cut(ctx context.Context, before time.Time, who actions.Caller) (Pruned, error) {
	select {
	case c.busy <- struct{}{}:
	default:
		return Pruned{}, errCutting
	}
	defer func() { <-c.busy }()
	if err := c.finish(); err != nil {
		return Pruned{}, err
	}
	p, err := c.plan(ctx, before)
	if err != nil || p.From == p.To {
		return p, err
	}
	begun := time.Now()
	if err := c.look(); err != nil {
		return Pruned{}, err
	}
	size, err := c.copy(ctx, p)
	if err != nil {
		return Pruned{}, err
	}
	body, err := c.base(ctx, p)
	if err != nil {
		return Pruned{}, err
	}
	if err := c.commit(who, body); err != nil {
		return Pruned{}, fmt.Errorf("record the cut at record %d: %w", p.To, err)
	}
	if err := c.finish(); err != nil {
		return Pruned{}, err
	}
	c.out.Info().Uint64("from", p.From).Uint64("to", p.To).Str("actor", who.Subject).Str("archive", c.archive).
		Int64("archived_bytes", size).Dur("dur", time.Since(begun)).Msg("pruned the journal")
	return p, nil
}

// copy archives the segments, and gives the size of what it wrote or found.
func (c *cutter) copy(ctx context.Context, p Pruned) (size int64, err error) {
	// They check what is in the archive already, if it is one of them that signed.
	keys, err := StoredVerifiers(c.state)
	if err != nil {
		return 0, err
	}
	for first := p.From; first < p.To; first += journal.SegmentRecords {
		end := first + journal.SegmentRecords
		root, err := c.log.RootAt(ctx, end)
		if err != nil {
			return 0, fmt.Errorf("root of %d records: %w", end, err)
		}
		note, err := c.sign(journal.Head{Size: end, Root: root})
		if err != nil {
			return 0, err
		}
		got, err := c.log.Archive(ctx, c.archive, first, journal.ArchiveOptions{
			Checkpoint: note, Keys: keys, Fault: c.fault,
		})
		if err != nil {
			return 0, err
		}
		size += got.Bytes
	}
	return size, nil
}

// base writes what the records before the cut add up to, and gives the fact.
func (c *cutter) base(ctx context.Context, p Pruned) (actions.Cut, error) {
	root, err := c.log.RootAt(ctx, p.To)
	if err != nil {
		return actions.Cut{}, fmt.Errorf("root of %d records: %w", p.To, err)
	}
	state, err := actions.FoldTo(ctx, c.log, c.state, p.To)
	if err != nil {
		return actions.Cut{}, fmt.Errorf("fold the first %d records: %w", p.To, err)
	}
	body := actions.Cut{From: p.From, To: p.To, Root: root.String()}
	err = c.step("base.write", func() error {
		body.Base, err = actions.WriteBase(c.state, state, root)
		return err
	})
	return body, err
}

// finish takes away what the last cut on record leaves without a use: the
// records before it, then the bases and snapshots.
func (c *cutter) finish() error {
	last, err := c.last()
	if err != nil || last == nil {
		return err
	}
	if c.log.First() < last.To {
		if err := c.log.Prune(last.To); err != nil {
			return err
		}
	}
	stored, err := actions.ListStored(c.state)
	if err != nil {
		return err
	}
	var old []actions.Stored
	for _, f := range stored {
		if f.Seq < last.To {
			old = append(old, f)
		}
	}
	return c.step("base.remove", func() error { return actions.RemoveStored(c.state, old) })
}

// leave waits for a cut that is being made, and lets no other begin. One that
// hangs in the file system of the archive is left: it can neither record nor
// unlink any more.
func (c *cutter) leave() (left bool) {
	select {
	case c.busy <- struct{}{}:
		return true
	case <-time.After(cutAtStop):
		c.out.Warn().Str("archive", c.archive).Msg("the archive does not answer; a cut is left unfinished")
		return false
	}
}

func (c *cutter) step(op string, do func() error) error {
	if c.fault == nil {
		return do()
	}
	return c.fault(op, do)
}
