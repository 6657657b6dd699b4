package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// pass gives the records of a source from from on, or from the first one that
// it holds, in order: each with its line, valid during the call.
type pass func(from uint64, fn func(line []byte, e *journal.Entry) error) error

// each reads a source once.
func (s *withExport) each(ctx context.Context, a *app, retryFor time.Duration, from uint64, fn func(line []byte, e *journal.Entry) error) error {
	read, done, err := s.open(ctx, a, retryFor, false)
	if err != nil {
		return err
	}
	defer done()
	return read(from, fn)
}

// open makes a source ready to be read, and again if it must be.
func (s *withExport) open(ctx context.Context, a *app, retryFor time.Duration, again bool) (pass, func(), error) {
	switch {
	case s.Export != "":
		f, done, err := s.rewindable(ctx, a, again)
		return func(from uint64, fn func([]byte, *journal.Entry) error) error {
			return readExport(ctx, f, again, from, fn)
		}, done, err
	case s.State != "":
		log, done, err := s.openHistory()
		if err != nil {
			return nil, nil, err
		}
		return func(from uint64, fn func([]byte, *journal.Entry) error) error {
			s.pruned = log.First()
			from = max(from, log.First())
			c := &counted{next: from, fn: fn}
			return log.Read(ctx, from, allRecords, c.line)
		}, done, nil
	}
	return func(from uint64, fn func([]byte, *journal.Entry) error) error {
		j, err := s.join(ctx)
		if err != nil {
			return err
		}
		s.pruned = j.first()
		r := stream{remote: s.remote(), next: max(from, s.pruned), to: allRecords, reached: true, tries: patience{limit: retryFor, say: a.say}}
		c := &counted{next: r.next, fn: fn}
		return j.read(ctx, &r, c.line)
	}, func() {}, nil
}

// counted passes lines on as records, each the one after the last.
type counted struct {
	next  uint64
	entry journal.Entry
	fn    func([]byte, *journal.Entry) error
}

func (c *counted) line(line []byte) error {
	if err := journal.ParseEntry(line, &c.entry); err != nil {
		return &journal.DamageError{Seq: c.next, Last: c.next, Reason: err.Error()}
	}
	if c.entry.Seq != c.next {
		return &journal.DamageError{Seq: c.next, Last: c.next, Reason: fmt.Sprintf("record %d stands here", c.entry.Seq)}
	}
	c.next++
	return c.fn(line, &c.entry)
}

// rewindable opens the export. What comes from standard input is kept in a file
// without a name, if it is to be read again.
func (s *withExport) rewindable(ctx context.Context, a *app, again bool) (io.Reader, func(), error) {
	if s.Export != "-" || !again {
		return s.openExport(a)
	}
	f, err := os.CreateTemp("", "waybill-export-*")
	if err != nil {
		return nil, nil, fail(exitCantCreate, "keep the export: %w", err)
	}
	done := func() { f.Close() }
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, stoppable{ctx, a.stdin})
	}
	if err != nil {
		done()
		return nil, nil, interrupted(ctx, fail(exitIO, "keep the export: %w", err))
	}
	return f, done, nil
}

// readExport gives the records of an export, which may begin at any of them.
func readExport(ctx context.Context, r io.Reader, again bool, from uint64, fn func([]byte, *journal.Entry) error) error {
	if s, ok := r.(io.Seeker); ok && again {
		if _, err := s.Seek(0, io.SeekStart); err != nil {
			return fail(exitIO, "read: %w", err)
		}
	}
	var c counted
	c.fn = func(line []byte, e *journal.Entry) error {
		if e.Seq < from {
			return nil
		}
		return fn(line, e)
	}
	in := bufio.NewReaderSize(stoppable{ctx, r}, journal.MaxLine+1)
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			line = line[:len(line)-1]
			var e journal.Entry
			if first && journal.ParseEntry(line, &e) == nil {
				c.next = e.Seq
			}
			if err := c.line(line); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull):
			return &journal.DamageError{Seq: c.next, Last: c.next, Reason: "not a whole line"}
		default:
			return fail(exitIO, "read: %w", err)
		}
	}
}

// search gives the records of a source that belong to q. A running daemon looks
// for them itself, unless there is an archive as well: what it holds can say which
// records belong.
func (s *withExport) search(ctx context.Context, a *app, retryFor time.Duration, q actions.Query, fn func(line []byte) error) error {
	if s.State == "" && s.Export == "" && s.Archive == "" {
		r := stream{remote: s.remote(), to: allRecords, query: &q, tries: patience{limit: retryFor, say: a.say}}
		err := r.run(ctx, fn)
		s.pruned = r.first
		return err
	}
	read, done, err := s.open(ctx, a, retryFor, q.LooksAhead())
	if err != nil {
		return err
	}
	defer done()
	return searchIn(read, q, fn)
}

// searchIn is search in a source that is at hand.
func searchIn(read pass, q actions.Query, fn func(line []byte) error) error {
	m, err := actions.NewMatcher(q)
	if err != nil {
		return fail(exitUsage, "%w", err)
	}
	if q.LooksAhead() {
		none := func([]byte) error { return nil }
		if err := read(0, func(line []byte, _ *journal.Entry) error { return m.Line(line, none) }); err != nil {
			return err
		}
		m.Again()
	}
	err = read(0, func(line []byte, _ *journal.Entry) error {
		if err := m.Line(line, fn); err != nil {
			return err
		}
		if m.Over() {
			return errReached
		}
		return nil
	})
	if errors.Is(err, errReached) {
		return nil
	}
	return err
}
