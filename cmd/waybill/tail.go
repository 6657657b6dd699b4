package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"waybill/actions"
	"waybill/journal"
)

type tailCmd struct {
	source
	filters
	Lines    uint64        `short:"n" default:"10" placeholder:"N" help:"How many of the records that are there (${default}); with --since, all since then."`
	From     *uint64       `placeholder:"SEQ" help:"Begin at this record instead."`
	Follow   bool          `default:"true" negatable:"" help:"With --url: wait for records to come (yes)."`
	RetryFor time.Duration `default:"10m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// filters say which records are wanted: all that is given must hold.
type filters struct {
	Actor    string  `placeholder:"NAME" help:"Only what this user or token did."`
	Session  string  `placeholder:"ID" help:"Only what a transfer, a job or a file task is about."`
	Path     string  `placeholder:"PATH" help:"Only what a file of the served tree is about; with a slash at the end, all below it."`
	Kind     string  `placeholder:"KINDS" help:"Only these kinds, such as upload.placed,job.*"`
	Document string  `placeholder:"ID|/NAMES" help:"Only what a document, directory or revision of the library is about."`
	Since    instant `placeholder:"TIME" help:"Only what is not before this time (RFC 3339)."`
	Until    instant `placeholder:"TIME" help:"Only what is before this time (RFC 3339)."`
}

func (f *filters) query() actions.Query {
	return actions.Query{
		Actor: f.Actor, Session: f.Session, Path: f.Path, Kind: f.Kind, Document: f.Document,
		Since: f.Since.Time, Until: f.Until.Time,
	}
}

// instant is a time on the command line; zero: none.
type instant struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *instant) UnmarshalText(text []byte) error {
	i.Time = time.Time{}
	if len(text) == 0 {
		return nil
	}
	t, err := parseTime(string(text))
	if err != nil {
		return fmt.Errorf("not %w", err)
	}
	i.Time = t
	return nil
}

// Run prints the last records and, of a running daemon, those that follow,
// each once and in order, also across restarts of the daemon.
func (c *tailCmd) Run(ctx context.Context, a *app) error {
	if _, err := actions.NewMatcher(c.query()); err != nil {
		return fail(exitUsage, "%w", err)
	}
	if c.State != "" {
		return interrupted(ctx, c.stopped(ctx, a))
	}
	return interrupted(ctx, c.running(ctx, a))
}

// stopped prints the last records of a daemon that does not run.
func (c *tailCmd) stopped(ctx context.Context, a *app) error {
	log, done, err := c.openHistory()
	if err != nil {
		return err
	}
	defer done()
	out := bufio.NewWriter(a.stdout)
	q := c.query()
	if q.IsZero() {
		size := log.Head().Size
		from := max(c.first(size), log.First())
		if c.From != nil {
			from = *c.From // what is gone is asked for by name: that is an error
		}
		err = log.Read(ctx, from, size, lineTo(out))
	} else {
		if c.From != nil {
			q.From = *c.From
		}
		c.tellUnseen(a, log.First(), q)
		read := func(from uint64, fn func([]byte, *journal.Entry) error) error {
			n := &counted{next: max(from, log.First()), fn: fn}
			return log.Read(ctx, n.next, allRecords, n.line)
		}
		last := c.last()
		if err = searchIn(read, q, last.keep(lineTo(out))); err == nil {
			err = last.each(lineTo(out))
		}
	}
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = fail(exitIO, "write: %w", flushed)
	}
	return err
}

// running prints the last records of a running daemon, and those that follow.
func (c *tailCmd) running(ctx context.Context, a *app) error {
	j, err := c.join(ctx)
	if err != nil {
		return err
	}
	s := stream{remote: c.remote(), to: allRecords, follow: c.Follow, reached: true, tries: patience{limit: c.RetryFor, say: a.say}}
	size := j.head.Size
	write := func(line []byte) error { return writeLine(a.stdout, line) }
	q := c.query()
	if q.IsZero() {
		if s.next = max(c.first(size), j.first()); c.From != nil {
			s.next = *c.From
		}
		n := &counted{next: s.next, fn: func(line []byte, _ *journal.Entry) error { return write(line) }}
		return j.read(ctx, &s, n.line)
	}
	if c.From != nil {
		s.next, q.From = *c.From, *c.From
	}
	c.tellUnseen(a, j.first(), q)
	if j.archive != nil {
		return c.searchJoined(ctx, j, s, q, write)
	}
	s.query = &q
	if last := c.last(); last != nil {
		// Which are the last is known only once all are there.
		old := stream{remote: s.remote, to: size, query: &q, reached: true, tries: s.tries}
		if err := old.run(ctx, last.keep(nil)); err != nil {
			return err
		}
		if err := last.each(write); err != nil || !c.Follow {
			return err
		}
		s.next = size
	}
	return s.run(ctx, write)
}

// searchJoined looks through archive and journal for q itself, as a daemon does:
// what is in the archive can say which of the records to come belong.
func (c *tailCmd) searchJoined(ctx context.Context, j *joined, s stream, q actions.Query, write func([]byte) error) error {
	last := c.last()
	ahead := q.LooksAhead() // one pass more, over what there is
	size := j.head.Size
	read := func(_ uint64, fn func([]byte, *journal.Entry) error) error {
		old := stream{remote: s.remote, to: size, reached: true, tries: s.tries}
		n := &counted{fn: fn}
		if err := j.read(ctx, &old, n.line); err != nil {
			return err
		}
		if ahead {
			ahead = false
			return nil
		}
		if err := last.each(write); err != nil {
			return err
		}
		last = nil
		if !c.Follow {
			return nil
		}
		s.next = n.next
		return s.run(ctx, n.line)
	}
	keep := last.keep(write)
	err := searchIn(read, q, func(line []byte) error {
		if last == nil {
			return write(line)
		}
		return keep(line)
	})
	if err == nil {
		err = last.each(write) // it was over before the end
	}
	return err
}

// tellUnseen says that records before first are not searched for q.
func (c *tailCmd) tellUnseen(a *app, first uint64, q actions.Query) {
	if q.From < first || q.Learns() {
		c.pruned = first
		c.tellPruned(a)
	}
}

// first is the record tail begins at, of size.
func (c *tailCmd) first(size uint64) uint64 { return size - min(size, c.Lines) }

// last keeps the lines that tail prints of what there is, nil if it prints all
// from where it begins.
func (c *tailCmd) last() *lastLines {
	if c.From != nil || !c.Since.IsZero() {
		return nil
	}
	return &lastLines{most: c.Lines}
}

// lastLines keeps the last lines of many.
type lastLines struct {
	most  uint64
	lines [][]byte
	at    int // the oldest, once there are most
}

// keep takes a line; on none it passes it on.
func (l *lastLines) keep(pass func([]byte) error) func([]byte) error {
	if l == nil {
		return pass
	}
	return func(line []byte) error {
		switch {
		case l.most == 0:
		case uint64(len(l.lines)) < l.most:
			l.lines = append(l.lines, append([]byte(nil), line...))
		default:
			l.lines[l.at] = append(l.lines[l.at][:0], line...)
			l.at = (l.at + 1) % len(l.lines)
		}
		return nil
	}
}

// each gives the lines kept, in order.
func (l *lastLines) each(fn func([]byte) error) error {
	if l == nil {
		return nil
	}
	for i := range l.lines {
		if err := fn(l.lines[(l.at+i)%len(l.lines)]); err != nil {
			return err
		}
	}
	return nil
}

// writeLine writes a line at once, so that whoever reads a pipe sees it.
func writeLine(w io.Writer, line []byte) error {
	if _, err := w.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}
