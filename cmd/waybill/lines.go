package main

import (
	"bufio"
	"context"
	"time"
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
		j := &joined{}
		if c.Archive != "" {
			var err error
			if j, err = c.join(ctx); err != nil {
				return err
			}
			s.reached = true
		}
		return j.read(ctx, &s, lineTo(out))
	}
	log, done, err := c.openHistory()
	if err != nil {
		return err
	}
	defer done()
	if first := log.First(); c.From < min(first, to) {
		return errPruned(first)
	}
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
