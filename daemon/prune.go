package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// prunePermission is what pruning the journal takes, journalPrune how its record
// names it.
const (
	prunePath       = "/journal/prune"
	prunePermission = "waybill.journal.prune"
	journalPrune    = "journal_prune"
)

// checkRetention says ErrConfig of a retention that cannot be.
func checkRetention(cfg Config) error {
	switch {
	case cfg.Retain < 0:
		return fmt.Errorf("%w: records cannot be retained for %v", ErrConfig, cfg.Retain)
	case cfg.Retain > 0 && cfg.Archive == "":
		return fmt.Errorf("%w: records can be given up only to an archive, and none is named", ErrConfig)
	}
	return nil
}

// archiveAt is the archive of a STATE; root is the served tree, "" if there is
// none.
func archiveAt(archive, state, root string) elsewhere {
	e := elsewhere{"the archive", archive, []forbidden{{state, "the state directory, and would be lost with it"}}}
	if root != "" {
		e.not = append(e.not, forbidden{root, "the served tree, where clients could change it"})
	}
	return e
}

// newCutter gives what prunes the journal of a running engine, nil without an
// archive.
func (d *daemon) newCutter(engine *actions.Engine) *cutter {
	if d.cfg.Archive == "" {
		return nil
	}
	return &cutter{
		log: engine.Journal(), state: d.cfg.State, archive: d.cfg.Archive, out: d.cfg.Logger,
		look: archiveAt(d.cfg.Archive, d.cfg.State, d.cfg.Root).look,
		sign: d.notary.keys.sign,
		last: engine.LastCut, commit: engine.RecordCut, fault: d.cfg.JournalFault,
		busy: make(chan struct{}, 1),
	}
}

// prune makes a cut, or with dry_run tells what it would be. The records before
// the time leave the journal for the archive, as far as whole segments of them go.
func (s *server) prune(w http.ResponseWriter, r *http.Request) {
	who, ok := s.permitted(w, r, prunePermission, journalPrune)
	if !ok {
		return
	}
	q := r.URL.Query()
	before, err := parseBefore(q.Get("before"))
	dry := q.Get("dry_run")
	switch {
	case err == nil && dry != "" && dry != "0" && dry != "1":
		err = errors.New("dry_run is neither 0 nor 1")
		fallthrough
	case err != nil:
		s.refuse(w, r, who, journalPrune, http.StatusBadRequest, actions.Errorf(actions.CodeParam, "%v", err))
		return
	case s.cutter == nil:
		s.refuse(w, r, who, journalPrune, http.StatusConflict, actions.Errorf(actions.CodeUnavailable, "the daemon has no archive"))
		return
	}
	// Not that of the request: what is begun is finished though the client left.
	ctx := s.life
	var p Pruned
	if dry == "1" {
		p, err = s.cutter.plan(ctx, before)
	} else {
		p, err = s.cutter.cut(ctx, before, who)
	}
	if err == nil && (dry == "1" || p.From == p.To) {
		err = s.engine.Note(ctx, who, "", journalPrune) // a cut is a record of its own
	}
	switch {
	case err == nil:
	case errors.Is(err, errCutting):
		s.refuse(w, r, who, journalPrune, http.StatusLocked, actions.Errorf(actions.CodeInUse, "%v", errCutting))
		return
	case ctx.Err() != nil, errors.Is(err, actions.ErrStopping), errors.Is(err, actions.ErrFailed):
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	default:
		s.metrics.pruneFailures.Inc()
		s.log.Error().Err(err).Str("actor", who.Subject).Str("via", who.Via).Msg("pruning the journal failed")
		s.refuse(w, r, who, journalPrune, http.StatusInternalServerError,
			actions.Errorf(actions.CodeUnexpected, "pruning failed, and nothing is lost; the daemon's log says why"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p) // the client has gone if this fails
}

// parseBefore reads a time, or a date for its first moment in UTC.
func parseBefore(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`before is not a time such as "2026-01-02T15:04:05Z"`)
}

// startRetaining begins to prune by itself, if that is wanted, and gives what
// waits for its end and that of any other cut, after life has ended.
func (s *server) startRetaining() (wait func()) {
	if s.cutter == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.cfg.Retain > 0 {
			s.retain(s.life)
		}
	}()
	return func() {
		if s.cutter.leave() {
			<-done
		}
	}
}

// retain makes a cut whenever whole segments have become old enough. It looks at
// the start, after each segment and now and then; a failure is told once.
func (s *server) retain(ctx context.Context) {
	tick := time.NewTicker(s.cfg.retainTick)
	defer tick.Stop()
	var (
		next    time.Time // of a look
		filled  uint64    // segments at the last one
		pause   time.Duration
		failing bool
	)
	for {
		now, segments := time.Now(), s.cutter.log.Head().Size/journal.SegmentRecords
		if !now.Before(next) || segments != filled && !failing {
			_, err := s.cutter.cut(ctx, s.cfg.now().Add(-s.cfg.Retain), actions.Caller{Subject: "daemon", Via: "internal"})
			filled, next = segments, now.Add(retainEvery)
			switch {
			case ctx.Err() != nil, errors.Is(err, actions.ErrFailed):
				return
			case err == nil:
				if failing {
					s.log.Info().Msg("the journal is pruned again")
				}
				pause, failing = 0, false
			case errors.Is(err, errCutting):
				next = now // at the next tick
			default:
				s.metrics.pruneFailures.Inc()
				if !failing {
					s.log.Error().Err(err).Msg("old records cannot be pruned and stay in the journal; it is tried again")
				}
				failing = true
				pause = min(max(2*pause, s.cfg.retainTick), retainEvery)
				next = now.Add(pause)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// PruneOptions are what Prune works with.
type PruneOptions struct {
	// State is the STATE of a daemon that is stopped, Archive the directory that
	// the records go to. Records from before Before go.
	State, Archive string
	Before         time.Time
	// DryRun tells only what would be done.
	DryRun bool
	// Actor and Via stand in the record of the cut.
	Actor, Via string

	fault func(op string, do func() error) error
}

// Prune makes a cut in the journal of a daemon that is stopped, whose STATE it
// locks meanwhile. Errors are classified by ExitCode.
func Prune(ctx context.Context, opt PruneOptions) (p Pruned, err error) {
	look := archiveAt(opt.Archive, opt.State, "").look
	if err := look(); err != nil {
		return p, err
	}
	// Before a lock is made where no STATE is.
	key, _, err := StoredKeys(opt.State)
	if err != nil {
		return p, err
	}
	st, err := openState(opt.State, 0)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	log, err := journal.Open(st.journalDir(), journal.Options{Fault: opt.fault})
	if err != nil {
		return p, fmt.Errorf("open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	// A journal that has lost records since its last checkpoint is not cut.
	d := &daemon{cfg: Config{State: opt.State}, state: st}
	if _, err := d.compareLast(ctx, log); err != nil {
		return p, err
	}
	state, _, err := actions.Load(ctx, log, opt.State)
	if err != nil {
		return p, fmt.Errorf("replay the journal: %w", err)
	}
	if err := state.MidGroup(); err != nil {
		return p, err
	}
	c := &cutter{
		log: log, state: opt.State, archive: opt.Archive, look: look,
		sign: func(h journal.Head) ([]byte, error) {
			return journal.SignCheckpoint(journal.Checkpoint{Origin: originOf(st.storeID), Head: h}, key)
		},
		last: func() (*actions.Cut, error) { return state.Cut(), nil },
		commit: func(who actions.Caller, cut actions.Cut) error {
			return actions.AppendCut(log, state, who, time.Now, cut)
		},
		fault: opt.fault, busy: make(chan struct{}, 1),
	}
	if opt.DryRun {
		return c.plan(ctx, opt.Before)
	}
	return c.cut(ctx, opt.Before, actions.Caller{Subject: opt.Actor, Via: opt.Via})
}
