package actions

import (
	"crypto/sha256"
	"errors"
	"hash"
	"sync"
	"time"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/sessions"
)

// liveTask is the live side of a task with a transfer, or shortly after one:
// what is written and not yet durable, and who is at it. It can be rebuilt from
// the journal at any moment.
type liveTask struct {
	engine *Engine
	id     sessions.ID
	owner  string
	write  bool
	// content is what a read task is bound to.
	content sessions.Content

	// mu guards the rest. It is held while bytes are written, never while a file
	// is synced.
	mu   sync.Mutex
	cond *sync.Cond // broadcast whenever flushing, placing or ended changes
	// gone: no longer among Engine.tasks; look again. ended: the journal says so.
	gone, ended bool
	last        time.Time // when a transfer last did something

	// Of a read task.
	readers map[*TaskReader]struct{}
	unnoted []readBy
	noted   time.Time

	// Of a write task.
	writer *TaskWriter
	file   *fsview.Staged
	// at is where the bytes written end, durable where the committed ones do,
	// held how many bytes of Engine.window are ours.
	at, durable, held int64
	// flushing: a flush is under way. broken is why what was written since the
	// last one is lost, nil if it is not.
	flushing bool
	broken   error
	// sum is the SHA-256 of the first hashed bytes; nil if none is known.
	sum    hash.Hash
	hashed int64
	// placing: somebody begins a transfer, verifies or publishes, and may have let
	// go of mu. sealed: complete and verified.
	placing   bool
	sealed    bool
	digest    string
	nextPlace time.Time
}

// lockLive returns the live side of a task with mu held, making it from the
// journal if there is none. CodeTaskUnknown if the journal does not know it.
func (e *Engine) lockLive(id sessions.ID) (*liveTask, error) {
	for {
		e.mu.Lock()
		t := e.tasks[id]
		if t == nil {
			t = &liveTask{engine: e, id: id, readers: make(map[*TaskReader]struct{})}
			t.cond = sync.NewCond(&t.mu)
			t.mu.Lock()
			e.tasks[id] = t
			e.mu.Unlock()
			if err := t.load(); err != nil {
				t.dropLocked()
				t.mu.Unlock()
				return nil, err
			}
			return t, nil
		}
		e.mu.Unlock()
		t.mu.Lock()
		if !t.gone {
			return t, nil
		}
		t.mu.Unlock()
	}
}

// load fills a new live side from the journal.
func (t *liveTask) load() error {
	err := error(acl.CodeTaskUnknown)
	verr := t.engine.core.view(func(s *State) {
		if u, ok := s.sessions.Upload(t.id); ok && u.Task != nil {
			err, t.write, t.owner = nil, true, u.Owner
			t.ended, t.sealed, t.digest = !u.State.Live(), u.State == sessions.Sealed, u.Digest
			t.durable = u.Stored.Prefix()
			t.at = t.durable
		} else if d, ok := s.sessions.Download(t.id); ok && d.Task != nil {
			err, t.owner, t.content, t.ended = nil, d.Owner, *d.Content, d.State != sessions.Open
		}
	})
	t.last = t.engine.cfg.Now()
	return errors.Join(verr, err)
}

// dropLocked takes the live side away; the journal has all that matters.
func (t *liveTask) dropLocked() {
	if t.gone {
		return
	}
	t.gone = true
	t.closeFileLocked()
	t.forgetSumLocked()
	t.engine.mu.Lock()
	delete(t.engine.tasks, t.id)
	t.engine.mu.Unlock()
}

func (t *liveTask) closeFileLocked() {
	if t.file == nil {
		return
	}
	if err := t.file.Close(); err != nil {
		t.engine.cfg.Logger.Warn().Err(err).Stringer("session", t.id).Msg("close staged file")
	}
	t.file = nil
}

func (t *liveTask) forgetSumLocked() { t.sum, t.hashed = nil, 0 }

// liveTasks returns what is live now.
func (e *Engine) liveTasks() []*liveTask {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*liveTask, 0, len(e.tasks))
	for _, t := range e.tasks {
		out = append(out, t)
	}
	return out
}

// tasksEnded ends the live side of tasks whose end is committed, drops what
// they have staged, and has contents looked at that they may have been the last
// to hold.
func (e *Engine) tasksEnded(ended *endedTasks) {
	for _, id := range append(ended.reads, ended.writes...) {
		e.endLive(id)
	}
	for _, id := range ended.writes {
		e.dropStagedContent(id)
	}
	e.sweepSoon(ended.digests...)
}

// endLive ends the transfers of a task that has ended.
func (e *Engine) endLive(id sessions.ID) {
	e.mu.Lock()
	t := e.tasks[id]
	e.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(acl.CodeTaskGone)
}

// endLocked stops every transfer of the task for good.
func (t *liveTask) endLocked(why error) {
	t.ended = true
	if t.writer != nil {
		t.stopWriterLocked(why)
	}
	for r := range t.readers {
		r.stopLocked(why)
	}
	for t.flushing {
		t.cond.Wait()
	}
	t.releaseLocked()
	t.cond.Broadcast()
	t.dropLocked()
}

// releaseLocked gives back the room of bytes that are durable or lost.
func (t *liveTask) releaseLocked() {
	if t.held > 0 {
		t.engine.window.Release(t.held)
		t.held = 0
	}
}

func (e *Engine) dropStagedContent(id sessions.ID) {
	// The journal knows that the task has ended: what cannot be removed now is
	// removed by the next start.
	if err := e.cfg.Library.Contents.DropStaged(id.String()); err != nil {
		e.cfg.Logger.Warn().Err(err).Stringer("session", id).Msg("remove staged bytes")
	}
}

// addSum hashes p, which is written at offset at, if it follows what is hashed.
func (t *liveTask) addSum(p []byte, at int64) {
	if t.hashed != at {
		return
	}
	if t.sum == nil {
		t.sum = sha256.New()
	}
	t.sum.Write(p) // a hash never fails
	t.hashed += int64(len(p))
}

// cutSum forgets the sum if it covers bytes from size on.
func (t *liveTask) cutSum(size int64) {
	if t.hashed > size {
		t.forgetSumLocked()
	}
}
