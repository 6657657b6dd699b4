package main

import (
	"bufio"
	"context"
	"io"
	"time"

	"waybill/journal"
)

type exportCmd struct {
	source
	From     uint64        `placeholder:"SEQ" help:"The first record (0)."`
	To       *uint64       `placeholder:"SEQ" help:"The record after the last (as many as there are at the start)."`
	RetryFor time.Duration `default:"1m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// Run copies the records as they are stored: a line each, byte for byte.
func (c *exportCmd) Run(ctx context.Context, a *app) error {
	to := uint64(allRecords)
	if c.To != nil {
		to = *c.To
	}
	out := bufio.NewWriterSize(a.stdout, 1<<18)
	err := c.copy(ctx, a, to, out)
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = fail(exitIO, "write: %w", flushed)
	}
	return interrupted(ctx, err)
}

func (c *exportCmd) copy(ctx context.Context, a *app, to uint64, out *bufio.Writer) error {
	if c.State == "" {
		s := stream{remote: c.remote(), next: c.From, to: to, tries: patience{limit: c.RetryFor, say: a.say}}
		return s.run(ctx, lineTo(out))
	}
	log, done, err := c.openLog()
	if err != nil {
		return err
	}
	defer done()
	return log.Read(ctx, c.From, to, lineTo(out))
}

// lineTo writes lines to out.
func lineTo(out *bufio.Writer) func(line []byte) error {
	return func(line []byte) error {
		if _, err := out.Write(line); err != nil {
			return fail(exitIO, "write: %w", err)
		}
		return out.WriteByte('\n') // bufio remembers an error for Flush
	}
}

type tailCmd struct {
	source
	Lines    uint64        `short:"n" default:"10" placeholder:"N" help:"How many of the records that are there (${default})."`
	From     *uint64       `placeholder:"SEQ" help:"Begin at this record instead."`
	Follow   bool          `default:"true" negatable:"" help:"With --url: wait for records to come (yes)."`
	RetryFor time.Duration `default:"10m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// Run prints the last records and, of a running daemon, those that follow,
// each once and in order, also across restarts of the daemon.
func (c *tailCmd) Run(ctx context.Context, a *app) error {
	if c.State != "" {
		log, done, err := c.openLog()
		if err != nil {
			return err
		}
		defer done()
		out := bufio.NewWriter(a.stdout)
		size := log.Head().Size
		if err := log.Read(ctx, c.first(size), size, lineTo(out)); err != nil {
			return interrupted(ctx, err)
		}
		return out.Flush()
	}
	s := stream{remote: c.remote(), to: allRecords, follow: c.Follow, tries: patience{limit: c.RetryFor, say: a.say}}
	size, err := s.sizeNow(ctx)
	if err != nil {
		return err
	}
	s.next = c.first(size)
	return s.run(ctx, func(line []byte) error {
		var e journal.Entry
		if err := journal.ParseEntry(line, &e); err != nil || e.Seq != s.next {
			return &journal.DamageError{Seq: s.next, Last: s.next, Reason: "not what should stand here"}
		}
		return writeLine(a.stdout, line)
	})
}

// first is the record tail begins at, of size.
func (c *tailCmd) first(size uint64) uint64 {
	if c.From != nil {
		return *c.From
	}
	return size - min(size, c.Lines)
}

// writeLine writes a line at once, so that whoever reads a pipe sees it.
func writeLine(w io.Writer, line []byte) error {
	if _, err := w.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}
