package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/journal"
)

// snapshots makes one whenever a segment of the journal is full, from the one
// before and the records of the segment: never from the live state, of which it
// is independent. A snapshot is a cache: what goes wrong with it does not
// disturb the daemon, unless it shows that the journal cannot be folded.
type snapshots struct {
	log    *journal.Log
	dir    string
	logger zerolog.Logger
	// room is an error when the disk is about to be full.
	room  func() error
	every time.Duration

	// last is the position of the newest one that is known to be good, or was
	// tried. failing is set from an error until one is made again.
	last    uint64
	failing bool
}

// run makes snapshots until ctx ends.
func (s *snapshots) run(ctx context.Context) {
	// Not woken by every commit: there are thousands a second, and one in 65,536
	// records matters.
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		size := s.log.Head().Size
		// Of several full segments only the newest end gets one, in one fold.
		if end := size - size%journal.SegmentRecords; end > s.last {
			s.make(ctx, end)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *snapshots) make(ctx context.Context, end uint64) {
	s.last = end
	begun := time.Now()
	err := s.room()
	if err == nil {
		err = actions.SnapshotSegment(ctx, s.log, s.dir, end)
	}
	var damage *journal.DamageError
	switch {
	case err == nil:
		s.failing = false
		s.logger.Info().Uint64("records", end).Dur("dur", time.Since(begun)).Msg("snapshot made")
	case ctx.Err() != nil, errors.Is(err, journal.ErrClosed):
		// The next start makes it.
	case errors.Is(err, actions.ErrFold), errors.As(err, &damage):
		s.logger.Error().Err(err).Uint64("records", end).Msg("the stored journal cannot be folded: the next start may fail; run journal verify")
	case !s.failing:
		s.failing = true
		s.logger.Error().Err(err).Uint64("records", end).Msg("no snapshot could be made; until one is, starts take longer")
	}
}
