package actions

import (
	"errors"
	"io"
	"sync"

	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

// TaskReader is one transfer out of a read task: an io.ReadSeeker over the
// revision the task is bound to. It is used by one goroutine, and ends with
// Close.
type TaskReader struct {
	task    *Task
	live    *liveTask
	content contentReader
	size    int64
	at      int64
	close   func()

	done chan struct{}
	// mu guards over, which is why somebody else has ended the transfer.
	mu   sync.Mutex
	over error
}

// Read begins a transfer. CodeTaskDirection for a write task, CodeTaskGone as
// Check.
func (t *Task) Read() (*TaskReader, error) {
	e := t.engine
	if !e.enter() { // left by Close
		return nil, ErrStopping
	}
	r, err := t.read()
	if err != nil {
		e.busy.Done()
		return nil, t.refuse(taskRead, err)
	}
	return r, nil
}

func (t *Task) read() (*TaskReader, error) {
	if t.write {
		return nil, acl.CodeTaskDirection
	}
	live, err := t.engine.lockLive(t.id)
	if err != nil {
		return nil, err
	}
	defer live.mu.Unlock()
	usable, now := false, t.engine.cfg.Now()
	if err := t.engine.core.view(func(s *State) { usable = s.usable(t.id, t.finished, now) }); err != nil {
		return nil, err
	}
	if live.ended && !t.finished || !usable {
		return nil, acl.CodeTaskGone
	}
	content, close, err := t.engine.openContent(live.content.SHA256)
	if err != nil {
		return nil, err
	}
	r := &TaskReader{task: t, live: live, content: content, size: live.content.Size, close: close, done: make(chan struct{})}
	live.readers[r] = struct{}{}
	live.last = now
	return r, nil
}

// Size is that of the content in bytes, SHA256 its digest in hex.
func (r *TaskReader) Size() int64    { return r.size }
func (r *TaskReader) SHA256() string { return r.live.content.SHA256 }

// Done is closed when somebody else ends the transfer.
func (r *TaskReader) Done() <-chan struct{} { return r.done }

// Err is why somebody else has ended the transfer, nil if nobody has.
func (r *TaskReader) Err() error { return refusalOf(r.state()) }

func (r *TaskReader) stopLocked(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		r.over = why
		close(r.done)
	}
}

func (r *TaskReader) state() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// Read implements io.Reader. Bytes alone do not wait for their record, which
// follows within a second.
func (r *TaskReader) Read(p []byte) (int, error) {
	if err := r.state(); err != nil {
		return 0, err
	}
	if r.at >= r.size {
		return 0, io.EOF
	}
	if int64(len(p)) > r.size-r.at {
		p = p[:r.size-r.at]
	}
	n, err := r.content.ReadAt(p, r.at)
	if n > 0 {
		r.note(sessions.Range{r.at, r.at + int64(n)})
		r.at += int64(n)
	}
	if errors.Is(err, io.EOF) && r.at < r.size {
		err = io.ErrUnexpectedEOF // the file is shorter than the journal says
	} else if n > 0 {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *TaskReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return r.at, errors.New("seek before the start")
	}
	r.at = offset
	return offset, nil
}

func (r *TaskReader) note(read sessions.Range) {
	t := r.live
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = t.engine.cfg.Now()
	if t.engine.cfg.Observe.BytesOut != nil {
		t.engine.cfg.Observe.BytesOut(read.Len())
	}
	from := r.task.origin()
	for i := range t.unnoted {
		if by := &t.unnoted[i]; sameConnection(by.from, from) {
			by.set.Add(read)
			return
		}
	}
	t.unnoted = append(t.unnoted, readBy{from, sessions.SetOf(read)})
}

// noteReadLocked records what was handed out since the last time.
func (t *liveTask) noteReadLocked() error {
	read := t.unnoted
	t.unnoted, t.noted = nil, t.engine.cfg.Now()
	for _, by := range read {
		err := t.decideLocked(by.from, func(s *State) ([]journal.Fact, error) {
			return factsOf(by.set.Ranges(), func(part []sessions.Range) (sessions.Fact, error) {
				return s.sessions.ReadDownload(t.id, part)
			})
		})
		if errors.Is(err, acl.CodeTaskGone) {
			continue // read on by whoever has finished it: the end is in the journal
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Finish records that the task has been read to its end: no other handle can
// read it again (CFMS.md §1.4).
func (r *TaskReader) Finish() error {
	t := r.live
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.noteReadLocked(); err != nil {
		return err
	}
	if r.task.finished {
		return nil
	}
	err := t.decideLocked(r.task.origin(), func(s *State) ([]journal.Fact, error) {
		f, err := s.sessions.CloseDownload(t.id)
		return []journal.Fact{f}, err
	})
	if err != nil {
		return r.task.refuse(taskRead, err)
	}
	r.task.finished, t.ended = true, true
	t.engine.sweepSoon(t.content.SHA256)
	return nil
}

// Close ends the transfer; what was read is recorded.
func (r *TaskReader) Close() error {
	t := r.live
	defer t.engine.busy.Done()
	r.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.readers, r)
	err := t.noteReadLocked()
	t.last = t.engine.cfg.Now()
	if t.ended && len(t.readers) == 0 {
		t.dropLocked()
	}
	return err
}
