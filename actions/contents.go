package actions

import (
	"context"
	"errors"
	"sync"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

// contentLocks lets one at a time store or remove a content, so that what was
// decided about it still holds while it is done.
type contentLocks struct {
	mu   sync.Mutex
	held map[string]*contentLock
}

type contentLock struct {
	sync.Mutex
	users int // guarded by contentLocks.mu
}

// lock returns once nobody else has the content; unlock must be called.
func (c *contentLocks) lock(digest string) (unlock func()) {
	c.mu.Lock()
	if c.held == nil {
		c.held = make(map[string]*contentLock)
	}
	l := c.held[digest]
	if l == nil {
		l = new(contentLock)
		c.held[digest] = l
	}
	l.users++
	c.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(c.held, digest)
		}
	}
}

// keepContent moves the staged content of a sealed task into the store. If the
// task has ended meanwhile nothing is stored: its content may have been looked
// at already, and found to be nobody's.
func (e *Engine) keepContent(id sessions.ID, digest string) error {
	if isBuiltin(digest) {
		return e.cfg.Library.Contents.DropStaged(id.String())
	}
	defer e.storing.lock(digest)()
	live := false
	err := e.core.view(func(s *State) {
		u, ok := s.sessions.Upload(id)
		live = ok && u.State == sessions.Sealed
	})
	if err == nil && !live {
		err = acl.CodeTaskGone
	}
	if err != nil {
		return err
	}
	return e.cfg.Library.Contents.Keep(id.String(), digest)
}

// sweepSoon has contents looked at that may have lost their last name.
func (e *Engine) sweepSoon(digests ...string) {
	if len(digests) == 0 {
		return
	}
	e.sweep.mu.Lock()
	e.sweep.waiting = append(e.sweep.waiting, digests...)
	e.sweep.mu.Unlock()
	select {
	case e.sweep.wake <- struct{}{}:
	default:
	}
}

// sweeping is what is to be looked at.
type sweeping struct {
	mu sync.Mutex
	// working is how many of those taken are still to be looked at.
	waiting []string
	working int
	// wake has room for one token: there is something in waiting.
	wake chan struct{}
}

func (s *sweeping) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.waiting
	s.waiting, s.working = nil, len(got)
	return got
}

func (s *sweeping) did() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working--
}

// left is how much is still to be looked at.
func (s *sweeping) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) + s.working
}

// sweepUntil removes contents that nothing names any more until ctx ends. What
// is left then is found by the next start.
func (e *Engine) sweepUntil(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.sweep.wake:
		}
		for _, digest := range e.sweep.take() {
			if ctx.Err() != nil {
				return nil
			}
			if err := e.dropContent(digest); err != nil {
				return err
			}
			e.sweep.did()
		}
	}
}

// dropContent removes a content if nothing names it. The fact comes first: a
// crash leaves a file that the next start removes. Errors are the journal's.
func (e *Engine) dropContent(digest string) error {
	if isBuiltin(digest) {
		return nil
	}
	defer e.storing.lock(digest)()
	dropped := false
	err := e.core.decide(e.internal(), func(s *State) ([]journal.Fact, error) {
		size, known := s.contents.known[digest]
		if !known || s.named(digest) > 0 {
			return nil, nil
		}
		dropped = true
		return []journal.Fact{journal.NewFact(kindObjectDropped, objectDroppedBody{digest, size})}, nil
	})
	if err != nil || !dropped {
		return err
	}
	e.removeContent(digest)
	return nil
}

func (e *Engine) removeContent(digest string) {
	if err := e.cfg.Library.Contents.Discard(digest); err != nil {
		e.cfg.Logger.Warn().Err(err).Str("sha256", digest).Msg("remove content; the next start sees to it")
	}
}

// redoContents removes again what was dropped before a crash, and sets aside
// what the journal does not know.
func (e *Engine) redoContents() error {
	var again []string
	known := make(map[string]struct{})
	err := e.core.view(func(s *State) {
		for digest := range s.contents.dropped {
			again = append(again, digest)
		}
		for digest := range s.contents.known {
			known[digest] = struct{}{}
		}
	})
	if err != nil {
		return err
	}
	for _, digest := range again {
		e.removeContent(digest)
	}
	moved, err := e.cfg.Library.Contents.SweepContents(func(digest string) bool {
		_, ok := known[digest]
		return ok
	}, e.cfg.Now())
	if err != nil {
		return err
	}
	if moved > 0 {
		e.cfg.Logger.Warn().Int("files", moved).Msg("contents that the journal does not know were moved to orphans")
	}
	return nil
}

// contentReader reads a content, wherever it is.
type contentReader interface {
	ReadAt(p []byte, off int64) (int, error)
}

// openContent opens a content for reading. close must be called.
func (e *Engine) openContent(digest string) (r contentReader, close func(), err error) {
	if isBuiltin(digest) {
		return builtinReader(digest), func() {}, nil
	}
	f, err := e.cfg.Library.Contents.Content(digest)
	if errors.Is(err, fsview.ErrNotFound) {
		e.cfg.Logger.Error().Str("sha256", digest).Msg("a content that the journal names is not in the store")
	}
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil // it was only read
}
