package actions

import (
	"context"
	"errors"
	"sync"

	"waybill/fsview"
	"waybill/journal"
)

// dropping are the contents that are being removed. Whether one may be removed
// is decided in the core, and so is that one is about to be stored; a content
// that is both is stored once its removal is over.
type dropping struct {
	mu     sync.Mutex
	byName map[string]chan struct{}
}

// begin claims the removal of a content; false if somebody else removes it.
func (d *dropping) begin(digest string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.byName[digest]; ok {
		return false
	}
	if d.byName == nil {
		d.byName = make(map[string]chan struct{})
	}
	d.byName[digest] = make(chan struct{})
	return true
}

func (d *dropping) end(digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.byName[digest])
	delete(d.byName, digest)
}

// wait returns once nobody removes the content.
func (d *dropping) wait(digest string) {
	d.mu.Lock()
	over := d.byName[digest]
	d.mu.Unlock()
	if over != nil {
		<-over
	}
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
	mu      sync.Mutex
	waiting []string
	// wake has room for one token: there is something in waiting.
	wake chan struct{}
}

func (s *sweeping) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.waiting
	s.waiting = nil
	return got
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
		}
	}
}

// dropContent removes a content if nothing names it. The fact comes first: a
// crash leaves a file that the next start removes. Errors are the journal's.
func (e *Engine) dropContent(digest string) error {
	if isBuiltin(digest) || !e.dropping.begin(digest) {
		return nil
	}
	defer e.dropping.end(digest)
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
		e.cfg.Logger.Warn().Err(err).Str("sha256", digest).Msg("remove content; the next start tries again")
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
