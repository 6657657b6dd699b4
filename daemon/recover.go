package daemon

import (
	"context"
	"fmt"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// recover gives the state to go on from, and finishes what a crash left of a
// cut: the records before it, and the files that only an earlier one, or none,
// has a use for. at is the position of the snapshot or base that it began with,
// 0 if there was none.
func (d *daemon) recover(ctx context.Context, log *journal.Log) (state *actions.State, at uint64, err error) {
	begun := time.Now()
	state, loaded, err := actions.Load(ctx, log, d.cfg.State)
	for _, s := range loaded.Skipped {
		d.cfg.Logger.Warn().Err(s.Err).Str("file", s.Name()).Msg("a snapshot is of no use; what it holds is folded again")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("replay the journal: %w", err)
	}
	from := "the first record"
	if loaded.From != nil {
		from, at = loaded.From.Name(), loaded.From.Seq
	}
	d.cfg.Logger.Info().Str("from", from).Uint64("folded", loaded.Folded).Uint64("records", state.Next()).
		Int("sessions", state.LiveSessions()).Dur("dur", time.Since(begun)).Msg("recovered")
	// The records first: a base may go only when nothing before it is left to
	// begin with.
	if loaded.PruneTo > 0 {
		if err := log.Prune(loaded.PruneTo); err != nil {
			return nil, 0, fmt.Errorf("finish the cut at record %d: %w", loaded.PruneTo, err)
		}
		d.cfg.Logger.Info().Uint64("to", loaded.PruneTo).Msg("a cut that was cut short is finished")
	}
	if err := actions.RemoveStored(d.cfg.State, loaded.Leftovers); err != nil {
		return nil, 0, fmt.Errorf("remove what is left of a cut: %w", err)
	}
	if err := actions.SweepStored(d.cfg.State); err != nil {
		return nil, 0, fmt.Errorf("remove unfinished snapshots: %w", err)
	}
	return state, at, nil
}
