package actions

import (
	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

var (
	// ErrStaged: the live uploads of all hold as many bytes as they may.
	ErrStaged = Errorf(CodeRateLimit, "all live uploads together hold as many bytes as they may")
	// ErrStagedOwn: those of the caller do.
	ErrStagedOwn = Errorf(CodeRateLimit, "your live uploads hold as many bytes as one subject's may")
	// ErrUploads: there are as many live uploads as there may be.
	ErrUploads = Errorf(CodeRateLimit, "there are as many live uploads as there may be")
	// ErrUploadsOwn: the caller has as many.
	ErrUploadsOwn = Errorf(CodeRateLimit, "you have as many live uploads as one subject may")
)

// MaxFileSize is the largest upload there can be now: not more than live uploads
// may hold.
func (e *Engine) MaxFileSize() int64 { return e.cfg.Limits.MaxFileSize }

// stagedLimit refuses an owner n more bytes of live uploads: ErrStaged,
// ErrStagedOwn. What is asked within the decision that takes the bytes holds when
// several ask at once.
func (e *Engine) stagedLimit(s *State, owner string, task bool, n int64) error {
	l := e.cfg.Limits
	if !l.stages() || n <= 0 {
		return nil
	}
	all, own := s.sessions.Staged(owner, task)
	switch {
	case l.MaxStagedPerSubject > 0 && own+n > l.MaxStagedPerSubject:
		e.limited("staged_per_subject")
		return ErrStagedOwn
	case l.MaxStaged > 0 && all+n > l.MaxStaged:
		e.limited("staged")
		return ErrStaged
	}
	return nil
}

func (l Limits) stages() bool { return l.MaxStaged > 0 || l.MaxStagedPerSubject > 0 }

func (e *Engine) limited(limit string) {
	if e.cfg.Observe.Limited != nil {
		e.cfg.Observe.Limited(limit)
	}
}

// uploadLimit refuses an owner one more live upload: ErrUploads, ErrUploadsOwn.
// Those that are being opened are not counted, so that a few more can come about.
func (e *Engine) uploadLimit(owner string) error {
	e.mu.Lock()
	all, own := len(e.uploads), e.owned[owner]
	e.mu.Unlock()
	l := e.cfg.Limits
	switch {
	case l.MaxUploadsPerSubject > 0 && own >= l.MaxUploadsPerSubject:
		e.limited("uploads_per_subject")
		return ErrUploadsOwn
	case l.MaxUploads > 0 && all >= l.MaxUploads:
		e.limited("uploads")
		return ErrUploads
	}
	return nil
}

// keepLocked and dropLocked are all that changes the map of live uploads.
func (e *Engine) keepLocked(u *upload) {
	e.uploads[u.id] = u
	e.owned[u.owner]++
}

func (e *Engine) dropLocked(u *upload) {
	if e.uploads[u.id] != u {
		return
	}
	delete(e.uploads, u.id)
	if e.owned[u.owner]--; e.owned[u.owner] == 0 {
		delete(e.owned, u.owner)
	}
}

// stagedRoom is stagedLimit asked beforehand, so that what is going to be refused
// costs nothing: it is decided again.
func (e *Engine) stagedRoom(owner string, task bool, n int64) (err error) {
	if !e.cfg.Limits.stages() {
		return nil
	}
	if verr := e.core.view(func(s *State) { err = e.stagedLimit(s, owner, task, n) }); verr != nil {
		return verr
	}
	return err
}

// growth refuses ranges that an upload may not come to hold.
func (e *Engine) growth(s *State, id sessions.ID, owner string, task bool, ranges []sessions.Range) error {
	if !e.cfg.Limits.stages() {
		return nil
	}
	n, err := s.sessions.Growth(id, ranges)
	if err != nil {
		return err
	}
	return e.stagedLimit(s, owner, task, n)
}

// least is what an upload has to have room for when it is opened.
func least(size int64) int64 {
	if size < 0 {
		return 1
	}
	return size
}

// Room refuses n bytes of a body at offset, or one whose length is not known if n
// is negative, that live uploads may not come to hold: CodeDiskFull, recorded. A
// transfer finds out by itself, too, but only when bytes have come.
func (t *Task) Room(offset, n int64) error {
	e := t.engine
	if !e.cfg.Limits.stages() {
		return nil
	}
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	var full error
	err := e.core.view(func(s *State) {
		if u, ok := s.sessions.Upload(t.id); ok {
			full = e.stagedLimit(s, t.owner, true, offset+least(n)-u.Stored.Len())
		}
	})
	if err != nil || full == nil {
		return err
	}
	return t.refuse(taskStore, acl.CodeDiskFull)
}

// storeFact is what is recorded of bytes of a task that are durable.
func (t *liveTask) storeFact(s *State, body *sessions.Stored) ([]journal.Fact, error) {
	if t.engine.growth(s, t.id, t.owner, true, body.Ranges) != nil {
		return nil, acl.CodeDiskFull
	}
	f, _, err := s.sessions.Store(body)
	return []journal.Fact{f}, err
}
