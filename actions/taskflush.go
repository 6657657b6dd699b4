package actions

import (
	"errors"
	"fmt"

	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

// startFlushLocked makes what is written durable while more is written.
func (t *liveTask) startFlushLocked(from origin) {
	t.flushing = true
	t.engine.busy.Add(1)
	go func() {
		defer t.engine.busy.Done()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.flushOnceLocked(from)
	}()
}

// flushLocked returns once all that is written is durable and in the journal.
func (t *liveTask) flushLocked(from origin) error {
	for t.flushing {
		t.cond.Wait()
	}
	if t.at > t.durable && t.broken == nil {
		t.flushing = true
		t.flushOnceLocked(from)
	}
	return t.broken
}

// flushOnceLocked syncs and records what is written now. The caller has set
// flushing.
func (t *liveTask) flushOnceLocked(from origin) {
	r, file, held := sessions.Range{t.durable, t.at}, t.file, t.held
	t.mu.Unlock()
	err := file.Sync()
	var crc uint32
	if err == nil {
		crc, err = checksum(file, []sessions.Range{r})
	}
	if err == nil {
		err = t.engine.core.decide(from, func(s *State) ([]journal.Fact, error) {
			return t.storeFact(s, &sessions.Stored{Session: t.id, Ranges: []sessions.Range{r}, CRC32C: crc, Calls: 1})
		})
	}
	t.mu.Lock()
	t.flushing = false
	if err != nil {
		t.abandonLocked(err)
	} else {
		t.durable = r[1]
		t.held -= held
		t.engine.window.Release(held)
		if t.broken != nil { // a write has failed meanwhile
			t.giveUpLocked()
		}
	}
	t.cond.Broadcast()
}

// abandonLocked gives up what is not durable after a failed write or sync: the
// system may have dropped any of it and would not tell twice.
func (t *liveTask) abandonLocked(err error) {
	switch {
	case errors.Is(err, sessions.ErrUnknown), errors.Is(err, sessions.ErrState):
		err = acl.CodeTaskGone
	case errors.Is(err, acl.CodeDiskFull): // a limit, and no trouble of the disk's
	case !errors.Is(err, ErrFailed) && !t.ended:
		t.engine.cfg.Logger.Error().Err(err).Stringer("session", t.id).Msg("write staged bytes")
	}
	t.broken = fmt.Errorf("store: %w", err)
	if !t.flushing { // else the flush does it at its end: what it syncs is durable still
		t.giveUpLocked()
	}
}

// giveUpLocked forgets what is written and not durable.
func (t *liveTask) giveUpLocked() {
	t.at = t.durable
	t.cutSum(t.durable)
	t.releaseLocked()
	t.closeFileLocked()
}
