package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"waybill/actions"
	"waybill/journal"
)

type replayCmd struct {
	withExport
	At       moment        `placeholder:"SEQ|TIME" help:"Up to and with this record, or to the last one not after this time (RFC 3339)."`
	RetryFor time.Duration `default:"1m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// moment is a point in the journal: a record or a time. Zero is the end.
type moment struct {
	text string
	seq  *uint64
	time time.Time
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	*m = moment{text: s}
	if s == "" {
		return nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		m.seq = &n
		return nil
	}
	t, err := parseTime(s)
	if err != nil {
		return fmt.Errorf("neither a record's number nor %w", err)
	}
	m.time = t
	return nil
}

// parseTime reads a time, or a day, which is that of UTC.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`a time such as "2026-01-02T15:04:05Z"`)
}

// includes reports whether the record belongs to the state at m.
func (m *moment) includes(e *journal.Entry) bool {
	switch {
	case m.seq != nil:
		return e.Seq <= *m.seq
	case !m.time.IsZero():
		return !e.At.After(m.time)
	}
	return true
}

// before tells whether the state at m is one that the records before seq, the
// last of them of the time at, have gone beyond.
func (m *moment) before(seq uint64, at time.Time) bool {
	switch {
	case m.seq != nil:
		return *m.seq+1 < seq
	case !m.time.IsZero():
		return m.time.Before(at)
	}
	return false
}

// errReached ends a replay at its moment.
var errReached = errors.New("reached")

// fold applies records to a fresh state, in order and without a gap.
type fold struct {
	at    moment
	state *actions.State
	next  uint64
	// begun is the time of the first record.
	begun time.Time
	// met, unless nil, is called with the state when the records before passing
	// are in it.
	passing uint64
	met     func(*actions.State) error
}

func (f *fold) apply(e *journal.Entry) error {
	if e.Seq != f.next {
		if f.next == 0 && e.Seq%journal.SegmentRecords == 0 {
			return errPruned(e.Seq)
		}
		return &journal.DamageError{Seq: f.next, Last: f.next, Reason: fmt.Sprintf("record %d stands here", e.Seq)}
	}
	if f.next == 0 {
		f.begun = e.At
	}
	if !f.at.includes(e) {
		return errReached
	}
	if f.met != nil && f.next == f.passing {
		if err := f.met(f.state); err != nil {
			return err
		}
	}
	if err := f.state.Apply(e); err != nil {
		return fail(exitData, "record %d: %w", e.Seq, err)
	}
	f.next++
	return nil
}

// Run folds the records and prints the state they lead to.
func (c *replayCmd) Run(ctx context.Context, a *app) error {
	f := &fold{at: c.At, state: actions.NewState()}
	if err := c.replay(ctx, a, f); err != nil && !errors.Is(err, errReached) {
		return interrupted(ctx, err)
	}
	if c.At.seq != nil && *c.At.seq >= f.next {
		return fail(exitUsage, "there is no record %d: the journal has %d", *c.At.seq, f.next)
	}
	if !c.At.time.IsZero() && f.next == 0 && !f.begun.IsZero() {
		return fail(exitUsage, "there is no record at or before %s: the first is of %s", c.At.text, f.begun.Format(time.RFC3339Nano))
	}
	return a.printJSON(f.state)
}

func (c *replayCmd) replay(ctx context.Context, a *app, f *fold) error {
	if c.State == "" {
		return c.each(ctx, a, c.RetryFor, 0, func(_ []byte, e *journal.Entry) error { return f.apply(e) })
	}
	h, done, err := c.openHistory()
	if err != nil {
		return err
	}
	defer done()
	// Unlike each, this checks the hashes.
	log := h.Log()
	if log.First() > 0 {
		base, err := baseOf(log, c.State)
		switch {
		case err != nil:
			return err
		case h.First() == 0:
			// What was archived must lead to what was kept in its place.
			f.passing, f.met = base, func(s *actions.State) error { return actions.CompareBase(ctx, log, c.State, s) }
		default:
			if err := f.begin(ctx, log, c.State, base); err != nil {
				return err
			}
		}
	}
	return h.Replay(ctx, f.next, f.apply)
}

// baseOf gives the number of records that the base of a pruned journal stands
// for: those before its first one, or more, if a cut was cut short.
func baseOf(log *journal.Log, state string) (uint64, error) {
	stored, err := actions.ListStored(state)
	if err != nil {
		return 0, fail(exitIO, "%w", err)
	}
	base := log.First()
	for _, s := range stored { // the newest first
		if s.Base && s.Seq >= log.First() {
			base = s.Seq
		}
	}
	return base, nil
}

// begin puts the base in the place of the records before it.
func (f *fold) begin(ctx context.Context, log *journal.Log, state string, base uint64) error {
	// A start looks at all: also whether it is the base that the journal names.
	if _, _, err := actions.Load(ctx, log, state); err != nil {
		return err
	}
	s, err := actions.FoldTo(ctx, log, state, base)
	if err != nil {
		return err
	}
	if f.at.before(base, s.At()) {
		return errPruned(base)
	}
	f.state, f.next = s, base
	return nil
}

// errPruned says what it takes to read from the start.
func errPruned(first uint64) error {
	return fail(exitUsage, "the records before %d were pruned: give the folder of their archive with --archive", first)
}
