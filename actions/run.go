package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"waybill/fsview"
	"waybill/sessions"
)

// Run starts the daemon's record, redoes what a crash cut short, calls ready,
// and serves until ctx ends. Then it takes no new work, finishes what it has,
// records daemon.stopped and returns nil. If the journal cannot be written it
// returns an error wrapping ErrFailed at once: whatever was under way has an
// unknown outcome and nothing more may be promised.
func (e *Engine) Run(ctx context.Context, ready func()) error {
	coreCtx, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	failed := make(chan error, 1)
	go func() { failed <- e.core.run(coreCtx) }()

	life, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers errgroup.Group
	outcome := make(chan error, 1)
	go func() { outcome <- e.live(life, &workers, ready) }()

	var coreErr error
	select {
	case coreErr = <-failed:
		// Every waiter has its answer and the rest ends by itself, unless the
		// disk that failed the journal holds it up.
		stop(coreErr)
		select {
		case <-outcome:
		case <-time.After(failGrace):
		}
		return coreErr
	case err := <-outcome:
		stopCore()
		if coreErr = <-failed; coreErr != nil {
			return coreErr
		}
		return err
	}
}

// live is everything between daemon.started and daemon.stopped.
func (e *Engine) live(ctx context.Context, workers *errgroup.Group, ready func()) error {
	if err := e.begin(); err != nil {
		return err
	}
	if err := e.openLibrary(); err != nil {
		return err
	}
	if err := e.redo(ctx); err != nil {
		return err
	}
	reaping, stopReaper := context.WithCancel(ctx)
	defer stopReaper()
	workers.Go(func() error { return e.reapUntil(reaping) })
	if e.cfg.Library != nil {
		workers.Go(func() error { return e.sweepUntil(reaping) })
		workers.Go(func() error { return e.purgeUntil(reaping) })
	}
	if err := e.queue.start(ctx, workers); err != nil {
		return errors.Join(err, e.halt(stopReaper, workers))
	}
	ready()
	<-ctx.Done()
	if err := e.halt(stopReaper, workers); err != nil {
		return err
	}
	return e.record(origin{actorDaemon, "internal", e.boot}, KindStopped, struct{}{})
}

// halt takes no new work and waits for what there is.
func (e *Engine) halt(stopReaper func(), workers *errgroup.Group) error {
	e.life.Lock()
	e.stopping = true
	e.life.Unlock()
	stopReaper()
	e.busy.Wait()
	err := workers.Wait()
	if errors.Is(err, ErrFailed) {
		return err
	}
	uploads, downloads := e.lives()
	for _, d := range downloads {
		err = errors.Join(err, e.noteRead(d))
	}
	for _, u := range uploads {
		u.mu.Lock()
		if u.file != nil {
			err = errors.Join(err, u.file.Close())
			u.file = nil
		}
		u.mu.Unlock()
	}
	for _, t := range e.liveTasks() {
		t.mu.Lock()
		err = errors.Join(err, t.noteReadLocked())
		t.dropLocked()
		t.mu.Unlock()
	}
	return errors.Join(err, e.noteTraffic())
}

// begin records the start; it names the group that a crash cut off, and the
// fold takes back the claims of jobs that were running.
func (e *Engine) begin() error {
	from := origin{actorDaemon, "internal", e.boot}
	return e.core.decide(from, func(s *State) ([]sessions.Fact, error) {
		body, err := marshal(startedBody{Boot: e.boot, Version: e.cfg.Version, Void: s.void()})
		if err != nil {
			return nil, err
		}
		return []sessions.Fact{{Kind: KindStarted, Body: body}}, nil
	})
}

// redo brings back the live side of every session and finishes what a crash
// cut short, with the same functions as in life.
func (e *Engine) redo(ctx context.Context) error {
	var ups []sessions.Upload
	var downs []sessions.Download
	fates := make(map[string]fsview.Fate)
	err := e.core.view(func(s *State) {
		ups, downs = s.sessions.Uploads(), s.sessions.Downloads()
		s.sessions.Ended(func(id sessions.ID) { fates[id.String()] = fsview.Drop })
		for id, j := range s.jobs.byID {
			// Bytes under the ID of a job that has none to store are those of an
			// upload it was about to open: it will begin anew.
			fates[id.String()] = fsview.Drop
			if j.State.live() && j.Bytes > 0 {
				fates[id.String()] = fsview.Keep
			}
		}
	})
	if err != nil {
		return err
	}
	for i := range ups {
		fates[ups[i].ID.String()] = fsview.Keep
	}
	report, err := e.cfg.Root.Sweep(func(id string) fsview.Fate { return fates[id] }, e.cfg.Now())
	if err != nil {
		return fmt.Errorf("sweep staging: %w", err)
	}
	if report.Orphaned > 0 {
		e.cfg.Logger.Warn().Int("files", report.Orphaned).Msg("staged files that the journal does not know were moved to orphans")
	}
	if err := e.redoTasks(ups, fates); err != nil {
		return err
	}
	for i := range downs {
		if downs[i].Task != nil {
			continue // nothing of it is live before it is read
		}
		if err := e.redoDownload(&downs[i]); err != nil {
			return err
		}
	}
	for i := range ups {
		if err := ctx.Err(); err != nil {
			return nil // a stop while starting is clean: what is left is redone next time
		}
		if ups[i].Task != nil {
			continue
		}
		if err := e.redoUpload(&ups[i]); err != nil {
			return err
		}
	}
	e.startClocks()
	var live struct{ uploads, downloads, tasks int }
	if err := e.core.view(func(s *State) { live.uploads, live.downloads, live.tasks = s.sessions.Live() }); err != nil {
		return err
	}
	e.cfg.Logger.Info().Int("uploads", live.uploads).Int("downloads", live.downloads).Int("tasks", live.tasks).Msg("sessions recovered")
	return nil
}

// startClocks gives every session its whole idle time from now on: nobody
// could ask for one while others were recovered.
func (e *Engine) startClocks() {
	now := e.cfg.Now()
	ups, downs := e.lives()
	for _, u := range ups {
		u.restart(now)
	}
	for _, d := range downs {
		d.restart(now)
	}
}

// lives returns what is live now; each has a lock of its own.
func (e *Engine) lives() (ups []*upload, downs []*download) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uploads {
		ups = append(ups, u)
	}
	for _, d := range e.downloads {
		downs = append(downs, d)
	}
	return ups, downs
}

func (e *Engine) redoDownload(s *sessions.Download) error {
	name, err := fsview.ParseName(s.Path)
	if err != nil {
		return fmt.Errorf("download %s: path in the journal: %w", s.ID, err)
	}
	e.mu.Lock()
	e.downloads[s.ID] = e.newDownload(*s, name)
	e.mu.Unlock()
	e.stats.downloads.Add(1)
	return nil
}

func (e *Engine) redoUpload(s *sessions.Upload) error {
	name, err := fsview.ParseTarget(s.Path)
	if err != nil {
		return fmt.Errorf("upload %s: path in the journal: %w", s.ID, err)
	}
	u := e.newUpload(s, name)
	from := origin{actorDaemon, "recovery", s.ID.String()}
	e.mu.Lock()
	e.keepLocked(u)
	e.paths[name.String()] = s.ID
	e.mu.Unlock()
	e.stats.uploads.Add(1)
	// A target that cannot be resolved now is found out when it is placed.
	if t, err := e.cfg.Root.Resolve(name); err == nil {
		e.mu.Lock()
		u.target = t
		e.targets[t] = s.ID
		e.mu.Unlock()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.State == sessions.Open {
		if err := u.checkStaged(s, from); err != nil {
			return only(err, ErrFailed)
		}
	}
	if u.full {
		return only(u.complete(from), ErrFailed)
	}
	return nil
}

// checkStaged compares the staged file of an open upload with what the
// journal says is stored. Without enough bytes the upload is lost and says
// so; a last window that is not what was synced counts as missing again.
func (u *upload) checkStaged(s *sessions.Upload, from origin) error {
	log := u.engine.cfg.Logger
	size, ok, err := u.engine.cfg.Root.StagedExists(u.id.String())
	if err != nil {
		return fmt.Errorf("staged bytes of %s: %w", u.id, err)
	}
	if !ok && s.Stored.Len() > 0 || size < s.Stored.End() {
		log.Error().Stringer("session", u.id).Str("path", s.Path).Int64("have", size).Int64("stored", s.Stored.End()).
			Msg("staged bytes that were acknowledged are gone; the upload is rejected")
		return u.reject(from, Errorf(CodeFile, "the staged bytes are gone"))
	}
	if len(s.Last) == 0 && size >= s.Size {
		return nil
	}
	if err := u.open(); err != nil {
		return err
	}
	bad, err := verifyLast(u.file, s)
	if err != nil {
		return u.failed("read back", err)
	}
	if len(bad) > 0 {
		log.Error().Stringer("session", u.id).Str("path", s.Path).
			Msg("the last bytes acknowledged are not what was synced; they count as missing")
		err := u.decide(from, func(st *State) (sessions.Fact, error) { return st.sessions.Unstore(u.id, bad) })
		if err != nil {
			return err
		}
		for _, r := range bad {
			u.stored.Remove(r)
			u.written.Remove(r)
		}
		u.full = false
	}
	if size < s.Size {
		if err := u.file.Reserve(s.Size); err != nil {
			return u.failed("reserve", err)
		}
	}
	err = u.file.Close()
	u.file = nil
	return err
}

// only passes err on if it is kind: other failures of one session are in its
// record and must not keep the daemon from starting.
func only(err, kind error) error {
	if errors.Is(err, kind) {
		return err
	}
	return nil
}

// reapUntil runs the reaper until ctx ends.
func (e *Engine) reapUntil(ctx context.Context) error {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := e.reap(e.cfg.Now()); err != nil {
				return err
			}
		}
	}
}

// reap ends what has been idle for too long, tries again what could not be
// placed, and writes the facts that are due.
func (e *Engine) reap(now time.Time) error {
	ups, downs := e.lives()
	for _, u := range ups {
		if err := only(u.reap(now), ErrFailed); err != nil {
			return err
		}
	}
	for _, d := range downs {
		if err := only(e.reapDownload(d, now), ErrFailed); err != nil {
			return err
		}
	}
	if err := e.reapTasks(now); err != nil {
		return err
	}
	if e.refused.due(now) {
		return e.noteTraffic()
	}
	return nil
}
