package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.time = t
			return nil
		}
	}
	return errors.New(`neither a record's number nor a time such as "2026-01-02T15:04:05Z"`)
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

// errReached ends a replay at its moment.
var errReached = errors.New("reached")

// fold applies records to a fresh state, in order and without a gap.
type fold struct {
	at    moment
	state *actions.State
	next  uint64
}

func (f *fold) apply(e *journal.Entry) error {
	if e.Seq != f.next {
		return &journal.DamageError{Seq: f.next, Last: f.next, Reason: fmt.Sprintf("record %d stands here", e.Seq)}
	}
	if !f.at.includes(e) {
		return errReached
	}
	if err := f.state.Apply(e); err != nil {
		return fail(exitData, "record %d: %w", e.Seq, err)
	}
	f.next++
	return nil
}

func (f *fold) line(line []byte) error {
	var e journal.Entry
	if err := journal.ParseEntry(line, &e); err != nil {
		return &journal.DamageError{Seq: f.next, Last: f.next, Reason: err.Error()}
	}
	return f.apply(&e)
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
	return a.printJSON(f.state)
}

func (c *replayCmd) replay(ctx context.Context, a *app, f *fold) error {
	switch {
	case c.Export != "":
		r, done, err := c.openExport(a)
		if err != nil {
			return err
		}
		defer done()
		return eachLine(stoppable{ctx, r}, f)
	case c.State != "":
		log, done, err := c.openLog()
		if err != nil {
			return err
		}
		defer done()
		return log.Replay(ctx, 0, f.apply)
	}
	s := stream{remote: c.remote(), to: allRecords, tries: patience{limit: c.RetryFor, say: a.say}}
	return s.run(ctx, f.line)
}

// eachLine applies the lines of an export.
func eachLine(r io.Reader, f *fold) error {
	in := bufio.NewReaderSize(r, journal.MaxLine+1)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			if err := f.line(line[:len(line)-1]); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull):
			return &journal.DamageError{Seq: f.next, Last: f.next, Reason: "not a whole line"}
		default:
			return fail(exitIO, "read: %w", err)
		}
	}
}
