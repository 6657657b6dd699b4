package actions

import (
	"errors"
	"fmt"
	"time"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

// redoTasks finishes what a crash cut short of the write tasks among ups: their
// staged bytes are held against the journal, and sealed contents published.
func (e *Engine) redoTasks(ups []sessions.Upload, fates map[string]fsview.Fate) error {
	if e.cfg.Library == nil {
		return nil
	}
	report, err := e.cfg.Library.Contents.Sweep(func(id string) fsview.Fate { return fates[id] }, e.cfg.Now())
	if err != nil {
		return fmt.Errorf("sweep staged contents: %w", err)
	}
	if report.Orphaned > 0 {
		e.cfg.Logger.Warn().Int("files", report.Orphaned).Msg("staged contents that the journal does not know were moved to orphans")
	}
	for i := range ups {
		if ups[i].Task == nil {
			continue
		}
		if err := only(e.redoTask(&ups[i]), ErrFailed); err != nil {
			return err
		}
	}
	return e.redoContents()
}

func (e *Engine) redoTask(s *sessions.Upload) error {
	from := origin{actorDaemon, "recovery", s.ID.String()}
	t, err := e.lockLive(s.ID)
	if err != nil {
		return err
	}
	defer t.mu.Unlock()
	if s.State == sessions.Sealed {
		_, err := t.completeLocked(from)
		return err
	}
	err = t.checkLocked(s, from)
	t.dropLocked() // whoever goes on with it reads the journal
	return err
}

// checkLocked compares the staged file of an open task with what the journal
// says is stored.
func (t *liveTask) checkLocked(s *sessions.Upload, from origin) error {
	log, store := t.engine.cfg.Logger, t.engine.cfg.Library.Contents
	if s.Stored.End() == 0 {
		return nil
	}
	size, ok, err := store.StagedExists(t.id.String())
	if err != nil {
		return fmt.Errorf("staged bytes of %s: %w", t.id, err)
	}
	if !ok || size < s.Stored.End() {
		log.Error().Stringer("session", t.id).Int64("have", size).Int64("stored", s.Stored.End()).
			Msg("staged bytes that were acknowledged are gone; the task is rejected")
		return t.rejectLocked(from, acl.CodeUnexpected)
	}
	if err := t.openLocked(); err != nil {
		return err
	}
	bad, err := verifyLast(t.file, s)
	if err != nil || len(bad) == 0 {
		return err
	}
	log.Error().Stringer("session", t.id).Msg("the last bytes acknowledged are not what was synced; they count as missing")
	return t.decideLocked(from, func(st *State) ([]journal.Fact, error) {
		f, err := st.sessions.Truncate(t.id, bad[0][0])
		return []journal.Fact{f}, err
	})
}

// reapTasks ends tasks whose time is over, tries again what could not be
// published, and makes durable what stalled transfers have brought.
func (e *Engine) reapTasks(now time.Time) error {
	if e.cfg.Library == nil {
		return nil
	}
	for _, t := range e.liveTasks() {
		if err := only(t.reap(now), ErrFailed); err != nil {
			return err
		}
	}
	var due []sessions.ID
	if err := e.core.view(func(s *State) { due = s.sessions.DueTasks(now, reapBatch) }); err != nil {
		return err
	}
	for _, id := range due {
		if err := only(e.expireTask(id), ErrFailed); err != nil {
			return err
		}
	}
	return nil
}

func (t *liveTask) reap(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || t.placing || t.flushing {
		return nil
	}
	from := origin{actorDaemon, "reaper", t.id.String()}
	quiet := now.Sub(t.last)
	switch {
	case t.sealed:
		if now.Before(t.nextPlace) {
			return nil
		}
		_, err := t.completeLocked(from)
		return err
	case t.writer != nil:
		if t.held > 0 && quiet >= taskFlushAfter {
			t.startFlushLocked(t.writer.task.origin())
		}
		return nil
	case len(t.unnoted) > 0 && now.Sub(t.noted) >= readFactEvery:
		return t.noteReadLocked()
	case len(t.readers) == 0 && quiet >= fileLinger:
		t.dropLocked()
	}
	return nil
}

// expireTask ends a task by the clock, unless a transfer is under way.
func (e *Engine) expireTask(id sessions.ID) error {
	t, err := e.lockLive(id)
	if err != nil {
		return err
	}
	defer t.mu.Unlock()
	if t.writer != nil || len(t.readers) > 0 || t.placing || t.flushing || t.sealed || t.ended {
		return nil
	}
	t.placing = true // a transfer that comes meanwhile waits for the outcome
	err = t.decideLocked(origin{actorDaemon, "reaper", id.String()}, func(s *State) ([]journal.Fact, error) {
		f, err := s.sessions.Expire(id)
		if errors.Is(err, sessions.ErrUnknown) {
			f, err = s.sessions.ExpireDownload(id)
		}
		return []journal.Fact{f}, err
	})
	t.placing = false
	if err != nil {
		t.cond.Broadcast()
		return err
	}
	t.endLocked(acl.CodeTaskGone)
	if t.write {
		e.dropStagedContent(id)
	} else {
		e.sweepSoon(t.content.SHA256)
	}
	return nil
}
