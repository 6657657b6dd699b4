package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"waybill/journal"
	"waybill/sessions"
)

// ErrMidGroup is for a journal whose last records are a group that a crash cut
// off: the next start of the daemon has to name it before anything follows.
var ErrMidGroup = errors.New("the journal ends with a group that was cut off: start the daemon once")

// decideCut is the decision to let the records before c.To go. Their archive and
// the base file must be durable before.
func decideCut(c Cut) func(*State) ([]sessions.Fact, error) {
	return func(s *State) ([]sessions.Fact, error) {
		from := uint64(0)
		if s.cut != nil {
			from = s.cut.To
		}
		if c.From != from || c.To <= from || c.To > s.next || c.To%journal.SegmentRecords != 0 {
			return nil, fmt.Errorf("records %d to %d cannot be pruned: the journal begins at %d and has %d", c.From, c.To, from, s.next)
		}
		return []sessions.Fact{journal.NewFact(KindPruned, c)}, nil
	}
}

// RecordCut records that the records before c.To leave the journal. Nothing may
// be unlinked before it returns nil.
func (e *Engine) RecordCut(who Caller, c Cut) error {
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	return e.core.decide(origin{who.Subject, who.Via, uuid.NewString()}, decideCut(c))
}

// LastCut is the last cut on record, nil if there is none.
func (e *Engine) LastCut() (cut *Cut, err error) {
	err = e.core.view(func(s *State) { cut = s.Cut() })
	return cut, err
}

// MidGroup says ErrMidGroup of a state whose last records are such a group.
func (s *State) MidGroup() error {
	if len(s.void()) > 0 {
		return ErrMidGroup
	}
	return nil
}

// AppendCut is RecordCut for a journal that no daemon has open. state is what
// it adds up to, and follows it.
func AppendCut(log *journal.Log, state *State, who Caller, now func() time.Time, c Cut) error {
	if err := state.MidGroup(); err != nil {
		return err
	}
	core := newCore(log, state, now, Observer{})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- core.run(ctx) }()
	err := core.decide(origin{who.Subject, who.Via, uuid.NewString()}, decideCut(c))
	stop()
	return errors.Join(<-ended, err)
}
