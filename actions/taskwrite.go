package actions

import (
	"context"
	"errors"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

// TaskWriter is one transfer into a write task. It ends with Keep or Publish,
// one of which must be called; it is used by one goroutine.
type TaskWriter struct {
	task *Task
	live *liveTask
	// done is closed when somebody else ends the transfer; over, guarded by
	// live.mu, is why.
	done chan struct{}
	over error
}

// Published is a content that has become a revision of its document.
type Published struct {
	Size     int64
	SHA256   string
	Revision string
}

// AtEnd is the offset at which the durable bytes end, wherever that is.
const AtEnd int64 = -1

// Store begins a transfer into a write task at offset, and ends one that runs:
// what that one brought counts. Bytes from offset on are discarded; with exact,
// there must be none. CodeTaskDirection; CodeTaskOffset if durable bytes do not
// reach so far, or with exact reach further; CodeTaskGone as Check.
func (t *Task) Store(offset int64, exact bool) (*TaskWriter, error) {
	e := t.engine
	if !e.enter() { // left by Keep or Publish
		return nil, ErrStopping
	}
	w, err := t.store(offset, exact)
	if err != nil {
		e.busy.Done()
		return nil, t.refuse(taskStore, err)
	}
	return w, nil
}

func (t *Task) store(offset int64, exact bool) (*TaskWriter, error) {
	if !t.write {
		return nil, acl.CodeTaskDirection
	}
	live, err := t.lockIdle()
	if err != nil {
		return nil, err
	}
	defer live.mu.Unlock()
	usable, now := false, t.engine.cfg.Now()
	if err := t.engine.core.view(func(s *State) { usable = s.usable(t.id, false, now) }); err != nil {
		return nil, err
	}
	if offset == AtEnd {
		offset = live.durable
	}
	switch {
	case live.ended || live.sealed || !usable:
		return nil, acl.CodeTaskGone
	case live.writer != nil:
		return nil, acl.CodeBroken // another one came while we waited
	case offset < 0, offset > live.durable, exact && offset != live.durable:
		return nil, acl.CodeTaskOffset
	}
	// Cutting lets go of the lock: without this another one could begin
	// meanwhile, and the two would write into each other.
	live.placing = true
	err = live.cutLocked(t.origin(), offset)
	live.placing = false
	live.cond.Broadcast()
	if err != nil {
		return nil, err
	}
	live.last, live.broken = now, nil
	live.writer = &TaskWriter{task: t, live: live, done: make(chan struct{})}
	return live.writer, nil
}

// lockIdle returns the live side with mu held, once it has ended the transfer
// that ran and nobody is at it any more.
func (t *Task) lockIdle() (*liveTask, error) {
	for {
		live, err := t.engine.lockLive(t.id)
		if err != nil {
			return nil, err
		}
		if w := live.writer; w != nil {
			live.stopWriterLocked(acl.CodeBroken)
			// What could not be made durable is lost, as if the line had broken
			// earlier.
			if err := live.flushLocked(w.task.origin()); errors.Is(err, ErrFailed) {
				live.mu.Unlock()
				return nil, err
			}
		}
		for live.placing || live.flushing {
			live.cond.Wait()
		}
		if !live.gone || live.ended {
			return live, nil
		}
		live.mu.Unlock() // the reaper put it away while we waited
	}
}

// cutLocked discards the bytes from size on, first in the journal, and makes the
// staged file end there. It lets go of mu; the caller has set placing.
func (t *liveTask) cutLocked(from origin, size int64) error {
	if size < t.durable {
		err := t.decideLocked(from, func(s *State) ([]journal.Fact, error) {
			f, err := s.sessions.Truncate(t.id, size)
			return []journal.Fact{f}, err
		})
		if err != nil {
			return err
		}
		if t.ended { // its bytes are gone, and must not come back
			return acl.CodeTaskGone
		}
	}
	t.at, t.durable = size, size
	t.cutSum(size)
	if err := t.openLocked(); err != nil {
		return err
	}
	file := t.file
	have, err := file.Size()
	if err != nil || have == 0 && size == 0 { // no file is made of nothing
		return err
	}
	if have != size {
		if err := file.Truncate(size); err != nil {
			return err
		}
	}
	// Synced here, also after a cut before this that may not have been, because the
	// content may be complete without a further byte: it must not come to stand in
	// its place with a tail that nobody counts.
	t.mu.Unlock()
	err = file.Sync()
	t.mu.Lock()
	if t.ended {
		return acl.CodeTaskGone
	}
	if err != nil {
		t.closeFileLocked() // it is spent
	}
	return err
}

// openLocked opens the staged file; one that is not there yet is made, if the
// journal says that nothing is in it.
func (t *liveTask) openLocked() error {
	if t.file != nil {
		return nil
	}
	store := t.engine.cfg.Library.Contents
	f, err := store.OpenStaged(t.id.String())
	if errors.Is(err, fsview.ErrNotFound) && t.durable == 0 {
		f, err = store.CreateStaged(t.id.String(), -1)
	}
	if err != nil {
		return err
	}
	t.file = f
	return nil
}

// decideLocked lets go of mu while the core works.
func (t *liveTask) decideLocked(from origin, fn func(*State) ([]journal.Fact, error)) error {
	t.mu.Unlock()
	defer t.mu.Lock()
	err := t.engine.core.decide(from, fn)
	if errors.Is(err, sessions.ErrUnknown) || errors.Is(err, sessions.ErrState) {
		return acl.CodeTaskGone // it has ended meanwhile
	}
	return err
}

// Done is closed when somebody else ends the transfer: another one on the same
// task, the end of the task, or of the daemon's patience with it.
func (w *TaskWriter) Done() <-chan struct{} { return w.done }

// stopWriterLocked ends the running transfer, whose bytes are still to be made
// durable.
func (t *liveTask) stopWriterLocked(why error) {
	t.writer.over = why
	close(t.writer.done)
	t.writer = nil
}

// Err is why the transfer cannot go on, nil while it can.
func (w *TaskWriter) Err() error {
	w.live.mu.Lock()
	defer w.live.mu.Unlock()
	return refusalOf(w.stateLocked())
}

// At is where the bytes end that were taken in.
func (w *TaskWriter) At() int64 {
	w.live.mu.Lock()
	defer w.live.mu.Unlock()
	return w.live.at
}

// Write takes bytes in. They are durable once they are more than 8 MiB behind,
// and when the transfer ends. CodeTooBig, CodeDiskFull, CodeTaskGone,
// CodeBroken for a transfer that another one has ended.
func (w *TaskWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		piece := p[:min(len(p), taskPiece)]
		if err := w.writePiece(piece); err != nil {
			return n, refusalOf(err)
		}
		n, p = n+len(piece), p[len(piece):]
	}
	return n, nil
}

func (w *TaskWriter) writePiece(p []byte) error {
	t, e, n := w.live, w.live.engine, int64(len(p))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.roomLocked(n); err != nil {
		return err
	}
	if _, err := t.file.WriteAt(p, t.at); err != nil {
		e.window.Release(n)
		t.abandonLocked(err)
		return t.broken
	}
	t.addSum(p, t.at)
	t.at, t.held, t.last = t.at+n, t.held+n, e.cfg.Now()
	if e.cfg.Observe.BytesIn != nil {
		e.cfg.Observe.BytesIn(n)
	}
	if t.held >= taskFlush && !t.flushing {
		t.startFlushLocked(w.task.origin())
	}
	return nil
}

// roomLocked waits until n more bytes may be written without being durable.
func (w *TaskWriter) roomLocked(n int64) error {
	t, e := w.live, w.live.engine
	if err := w.stateLocked(); err != nil {
		return err
	}
	if t.at+n > e.cfg.Limits.MaxFileSize {
		return acl.CodeTooBig
	}
	if t.at/taskFlush != (t.at+n)/taskFlush || t.at == 0 {
		if err := e.cfg.Library.Contents.CheckSpace(taskFlush); err != nil {
			return err
		}
		if err := e.stagedRoom(t.owner, true, 1); errors.Is(err, ErrFailed) {
			return err
		} else if err != nil {
			return acl.CodeDiskFull
		}
	}
	for t.flushing && t.held >= 2*taskFlush {
		t.cond.Wait()
	}
	if err := w.stateLocked(); err != nil {
		return err
	}
	if e.window.TryAcquire(n) {
		return nil
	}
	// Others have the room. Whoever waits for it must hold none.
	if err := t.flushLocked(w.task.origin()); err != nil {
		return err
	}
	t.mu.Unlock()
	err := e.window.Acquire(context.Background(), n)
	t.mu.Lock()
	if err == nil {
		if err = w.stateLocked(); err != nil {
			e.window.Release(n)
		}
	}
	return err
}

// stateLocked tells why the transfer cannot go on.
func (w *TaskWriter) stateLocked() error {
	switch {
	case w.over != nil:
		return w.over
	case w.live.broken != nil:
		return w.live.broken
	}
	return nil
}

// Keep ends the transfer before its content is complete: what came is made
// durable, the task stays open, and a later transfer can go on from the offset
// that is returned.
func (w *TaskWriter) Keep() (durable int64, err error) {
	t := w.live
	defer t.engine.busy.Done()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer w.leaveLocked()
	if w.over != nil {
		return t.durable, w.task.refuse(taskStore, w.over)
	}
	err = t.flushLocked(w.task.origin())
	return t.durable, w.task.refuse(taskStore, err)
}

// leaveLocked makes way for the next transfer.
func (w *TaskWriter) leaveLocked() {
	t := w.live
	if w.over == nil {
		w.over = acl.CodeBroken
		close(w.done)
		if t.writer == w {
			t.writer = nil
		}
		t.broken = nil
	}
	t.last = t.engine.cfg.Now()
}
