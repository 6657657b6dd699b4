package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// checkpointFile is the last checkpoint, in STATE; unverifiedFile one that was
// there and could not be compared with the journal.
const (
	checkpointFile = "checkpoint"
	unverifiedFile = "checkpoint.unverified"
)

// lastSigned is what a start finds in STATE.
type lastSigned struct {
	// size is that of the checkpoint, 0 if it does not count.
	size uint64
	// unverified: there is one, but nothing can be said about it.
	unverified bool
}

// notary signs what the journal has come to: about once a second while it
// grows, at the end of each segment, and at the end. Only what is committed is
// signed, so no checkpoint is ever ahead of the disk.
type notary struct {
	keys *signing
	log  *journal.Log
	out  zerolog.Logger
	push *pusher // nil without CheckpointTo

	// size is that of the checkpoint in STATE. It never goes back.
	size atomic.Uint64
	// unverified: what has the checkpoint's name in STATE is to be kept under
	// another. Owned, as trouble is, by whoever writes.
	unverified bool

	work sync.WaitGroup
	stop context.CancelFunc
	// trouble is owned by whoever writes: first run, then finish.
	trouble trouble
}

// openNotary gets ready to sign, with the keys that state names. last is the
// checkpoint in STATE.
func (d *daemon) openNotary(log *journal.Log, recorded *actions.CheckpointKey, last lastSigned) (err error) {
	n := &notary{log: log, out: d.cfg.Logger, unverified: last.unverified}
	n.trouble = trouble{out: n.out, what: "the checkpoint in the state directory"}
	n.size.Store(last.size)
	if n.keys, err = d.openKeys(recorded); err != nil {
		return err
	}
	if d.cfg.CheckpointTo != "" {
		if n.push, err = d.openPusher(n); err != nil {
			return err
		}
	}
	d.notary = n
	return nil
}

// compareLast compares the journal with the checkpoint that the last daemon
// left, before anything else is made of it: one that is shorter, or another one,
// is damaged, though it is in order by itself. A checkpoint that says nothing is
// no reason not to start; it is kept for people to look at.
func (d *daemon) compareLast(ctx context.Context, log *journal.Log) (last lastSigned, err error) {
	text, err := os.ReadFile(d.state.path(checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return last, nil
	}
	var c journal.Checkpoint
	if err == nil {
		var keys []journal.VerifierKey
		if keys, err = StoredVerifiers(d.state.dir); err == nil {
			c, err = journal.OpenCheckpoint(text, keys...)
		}
	}
	if err != nil {
		d.cfg.Logger.Warn().Err(err).Str("file", checkpointFile).Str("kept", unverifiedFile).
			Msg("the last checkpoint cannot be compared with the journal; it will be kept under another name")
		return lastSigned{unverified: true}, nil
	}
	return lastSigned{size: c.Size}, continues(ctx, log, c)
}

// continues tells whether the journal begins with the records that a checkpoint
// was signed over: a *journal.DamageError if not. After a cut that can no longer
// be told of every one.
func continues(ctx context.Context, log *journal.Log, c journal.Checkpoint) error {
	const advice = "; if an older copy of the journal was put back on purpose, move STATE/" + checkpointFile + " away"
	head := log.Head()
	if c.Size > head.Size {
		return &journal.DamageError{Seq: head.Size, Last: c.Size - 1, File: checkpointFile, Reason: fmt.Sprintf(
			"the journal has %d records, but its last checkpoint was signed over %d%s", head.Size, c.Size, advice)}
	}
	root, err := log.RootAt(ctx, c.Size)
	switch {
	case errors.Is(err, journal.ErrPruned):
		return nil
	case err != nil:
		return fmt.Errorf("compare the journal with its last checkpoint: %w", err)
	case root != c.Root:
		return &journal.DamageError{Seq: 0, Last: max(c.Size, 1) - 1, File: checkpointFile, Reason: fmt.Sprintf(
			"the journal has %d records, and the first %d of them are not those that its last checkpoint was signed over%s", head.Size, c.Size, advice)}
	}
	return nil
}

// begin records the keys if the journal does not know them yet, signs the start
// before anything is served, and goes on until finish.
func (n *notary) begin(engine *actions.Engine) error {
	if k := n.keys.unrecorded; k != nil {
		if err := engine.RecordKey(*k); err != nil {
			return fmt.Errorf("record the checkpoint key: %w", err)
		}
	}
	if err := n.catchUp(context.Background()); err != nil {
		n.trouble.failed(err)
	}
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.work.Go(func() { n.run(ctx) })
	if n.push != nil {
		go n.push.run()
	}
	return nil
}

func (n *notary) run(ctx context.Context) {
	for {
		changed := n.log.Changed()
		pause := time.After(checkpointEvery)
		if err := n.catchUp(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			pause = time.After(n.trouble.failed(err))
		} else {
			n.trouble.over()
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
		if n.log.Err() != nil {
			return // nothing is committed any more
		}
		select {
		case <-ctx.Done():
			return
		case <-pause:
		}
	}
}

// catchUp signs the head, and before it the ends of the segments that were
// filled since the last time.
func (n *notary) catchUp(ctx context.Context) error {
	head := n.log.Head()
	size := n.size.Load()
	if head.Size <= size {
		return nil
	}
	// Without a checkpoint to go on from there is no telling which ends are new.
	for end := nextEnd(size); size > 0 && end < head.Size; end = nextEnd(end) {
		if err := n.write(ctx, end); err != nil && !errors.Is(err, journal.ErrPruned) {
			return err
		}
	}
	return n.write(ctx, head.Size)
}

// nextEnd is the end of the segment that record size belongs to.
func nextEnd(size uint64) uint64 { return size - size%journal.SegmentRecords + journal.SegmentRecords }

// write puts the checkpoint of the first size records into STATE.
func (n *notary) write(ctx context.Context, size uint64) error {
	text, err := n.at(ctx, size)
	if err != nil {
		return err
	}
	if n.unverified {
		if err := n.keepUnverified(); err != nil {
			return err
		}
		n.unverified = false
	}
	if err := fsview.WriteFile(n.keys.state.path(checkpointFile), text, 0o600); err != nil {
		return err
	}
	n.keys.settle()
	n.size.Store(size)
	if n.push != nil {
		n.push.offer(size)
	}
	return nil
}

// keepUnverified makes room for the checkpoint in STATE: what could not be
// compared may be all that tells of a journal that was longer. Of several the
// last is kept.
func (n *notary) keepUnverified() error {
	state := n.keys.state
	err := os.Rename(state.path(checkpointFile), state.path(unverifiedFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // an attempt before has done it
	}
	if err != nil {
		return fmt.Errorf("keep the last checkpoint: %w", err)
	}
	// Before another file gets the name.
	return fsview.SyncDir(state.dir)
}

// at gives the signed checkpoint of the first size records, of which all must be
// committed.
func (n *notary) at(ctx context.Context, size uint64) ([]byte, error) {
	root, err := n.log.RootAt(ctx, size)
	if err != nil {
		return nil, fmt.Errorf("root of %d records: %w", size, err)
	}
	return n.keys.sign(journal.Head{Size: size, Root: root})
}

// finish signs what the journal has come to and stops. The copy elsewhere is
// waited for a moment only. Nothing may be appended any more.
func (n *notary) finish() {
	if n.stop == nil {
		return // never started
	}
	n.stop()
	n.work.Wait()
	if n.log.Err() == nil {
		if err := n.catchUp(context.Background()); err != nil {
			n.out.Error().Err(err).Msg("the last checkpoint could not be written")
		}
	}
	if n.push != nil {
		n.push.finish()
	}
}

// leave stops without waiting for anything.
func (n *notary) leave() {
	if n.stop == nil {
		return
	}
	n.stop()
	if n.push != nil {
		close(n.push.ending)
	}
}

// trouble tells once when something begins to fail, and once when it is over.
// It is not for concurrent use.
type trouble struct {
	out     zerolog.Logger
	what    string
	failing bool
	pause   time.Duration
}

// failed gives the time to wait before the next try.
func (t *trouble) failed(err error) time.Duration {
	if !t.failing {
		t.failing, t.pause = true, pushPause/2
		t.out.Error().Err(err).Msg(t.what + " cannot be written; it is tried again")
	}
	t.pause = min(2*t.pause, mostPushPause)
	return t.pause
}

func (t *trouble) over() {
	if t.failing {
		t.failing = false
		t.out.Info().Msg(t.what + " is written again")
	}
}
