package actions

import (
	"errors"

	"waybill/fsview"
	"waybill/sessions"
)

func (e *Engine) openUpload(c *Call, a *UploadRequest, id sessions.ID) (Result, error) {
	again := !id.IsZero()
	if !again {
		id = sessions.NewID()
	}
	path := a.Path
	if !a.HasPath {
		path = "uploads/" + id.String()
	}
	name, err := targetName(path)
	if err != nil {
		return nil, err
	}
	if err := e.checkSize(a); err != nil {
		return nil, err
	}
	if again && e.exists(id) {
		// The job that asks opened it before a crash.
		return &UploadOpened{ID: id}, nil
	}
	if err := e.uploadLimit(c.Caller.Subject); err != nil {
		return nil, err
	}
	if err := e.stagedRoom(c.Caller.Subject, false, least(a.Size)); err != nil {
		return nil, err
	}
	target, err := e.cfg.Root.Resolve(name)
	if err != nil {
		return nil, fileError(err)
	}
	if !e.claim(id, target, name) {
		return nil, Errorf(CodeConflict, "%s", name)
	}
	file, err := e.cfg.Root.CreateStaged(id.String(), a.Size)
	if err != nil {
		e.disclaim(id, target, name)
		return nil, fileError(err)
	}
	s := sessions.Upload{ID: id, Owner: c.Caller.Subject, Path: name.String(), Size: a.Size, SHA1: a.SHA1, Idle: a.Timeout, Meta: a.Meta}
	u := e.newUpload(&s, name)
	u.file, u.target = file, target
	// An empty one is complete, but not before it is known to the journal.
	empty := u.full
	u.full = false
	follow := a.Follow && !empty
	if follow {
		u.opening = make(chan struct{})
	}
	// It must be found before its opening can be known to anybody.
	e.mu.Lock()
	e.keepLocked(u)
	e.mu.Unlock()
	e.stats.uploads.Add(1)
	wait := e.core.decideLater(c.origin(), func(st *State) ([]sessions.Fact, error) {
		if err := e.stagedLimit(st, s.Owner, false, least(s.Size)); err != nil {
			return nil, err
		}
		f, err := st.sessions.OpenUpload(sessions.NewUpload{ID: id, Path: s.Path, Size: s.Size, SHA1: s.SHA1, Idle: s.Idle, Meta: s.Meta})
		return []sessions.Fact{f}, err
	})
	if follow {
		call := *c
		e.busy.Add(1)
		go func() {
			defer e.busy.Done()
			defer close(u.opening)
			if err := wait(); err != nil {
				u.refuseLate(&call, err)
			}
		}()
		return &UploadOpened{ID: id, late: u}, nil
	}
	if err := wait(); err != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.unopenLocked(err)
		return nil, err
	}
	if empty {
		u.mu.Lock()
		defer u.mu.Unlock()
		if err := u.complete(c.origin()); err != nil {
			return nil, err
		}
	}
	return &UploadOpened{ID: id}, nil
}

// unopenLocked takes back an upload whose opening came to nothing.
func (u *upload) unopenLocked(why error) {
	u.settle()
	u.refused = why
	for w := range u.writers {
		w.stopLocked(why)
	}
	u.finishLocked(!errors.Is(why, ErrFailed)) // else the start sees to what is left
}

// refuseLate is unopenLocked for an opening that nobody waited for.
func (u *upload) refuseLate(c *Call, why error) {
	if !errors.Is(why, ErrFailed) {
		why = u.engine.refuse(c, why)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unopenLocked(why)
}

// exists reports whether the journal knows the session, live or ended.
func (e *Engine) exists(id sessions.ID) (known bool) {
	err := e.core.view(func(s *State) {
		_, up := s.sessions.Upload(id)
		_, down := s.sessions.Download(id)
		known = up || down
	})
	return known && err == nil
}

// claim takes a target for an upload, unless a live one has it.
func (e *Engine) claim(id sessions.ID, t fsview.Target, name fsview.Name) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, byTarget := e.targets[t]
	_, byPath := e.paths[name.String()]
	if byTarget || byPath {
		return false
	}
	e.targets[t], e.paths[name.String()] = id, id
	return true
}

func (e *Engine) disclaim(id sessions.ID, t fsview.Target, name fsview.Name) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.targets[t] == id {
		delete(e.targets, t)
	}
	if e.paths[name.String()] == id {
		delete(e.paths, name.String())
	}
}

// forget takes an upload that has ended out of the live side.
func (e *Engine) forget(u *upload) {
	e.mu.Lock()
	e.dropLocked(u)
	t := u.target
	e.mu.Unlock()
	e.disclaim(u.id, t, u.name)
}
