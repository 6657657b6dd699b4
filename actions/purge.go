package actions

import (
	"context"
	"time"

	"waybill/fsview/doctree"
	"waybill/journal"
)

// purgeUntil empties the recycle bin of what has been in it for long enough, at
// the start and then periodically, until ctx ends (CFMS.md §7.2).
func (e *Engine) purgeUntil(ctx context.Context) error {
	every := e.cfg.Library.PurgeEvery
	if every <= 0 {
		return nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := e.purge(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// purge removes everything that is due, and contents that nothing names: also
// those that were about to be when a crash came.
func (e *Engine) purge(ctx context.Context) error {
	for ctx.Err() == nil {
		var due []doctree.Due
		if err := e.core.view(func(s *State) { due = s.tree.DuePurge(s.seconds(e.cfg.Now()), purgeBatch) }); err != nil {
			return err
		}
		removed := 0
		for _, d := range due {
			if ctx.Err() != nil {
				return nil
			}
			ok, err := e.purgeOne(d, e.cfg.Now())
			if err != nil {
				return err
			}
			if ok {
				removed++
			}
		}
		if removed == 0 {
			break // what is left was recovered, or holds something that stays
		}
	}
	return e.sweepUnnamed()
}

// purgeOne removes one node or revision, unless it was recovered since it was
// found to be due: that is decided anew, as of at.
func (e *Engine) purgeOne(d doctree.Due, at time.Time) (removed bool, err error) {
	var ended endedTasks
	err = e.core.decide(origin{actorDaemon, "purge", e.boot}, func(s *State) ([]journal.Fact, error) {
		now := s.seconds(at)
		ended = endedTasks{}
		if d.Revision != "" {
			facts, ok := s.tree.PurgeRevision(d.Revision, now)
			if removed = ok; !ok {
				return nil, nil
			}
			ended.digests = s.tree.Digests(d.Node)
			return facts, nil
		}
		out, ok := s.tree.PurgeNode(d.Node, now)
		if removed = ok; !ok {
			return nil, nil
		}
		facts, err := ended.of(s, out)
		return append(out.Facts, facts...), err
	})
	if err == nil && removed {
		e.tasksEnded(&ended)
	}
	return removed, err
}

// sweepUnnamed has every content looked at that nothing names.
func (e *Engine) sweepUnnamed() error {
	var unnamed []string
	err := e.core.view(func(s *State) {
		for digest := range s.contents.known {
			if s.named(digest) == 0 {
				unnamed = append(unnamed, digest)
			}
		}
	})
	e.sweepSoon(unnamed...)
	return err
}
