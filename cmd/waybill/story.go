package main

import (
	"bufio"
	"context"
	"time"

	"waybill/actions"
	"waybill/journal"
)

type storyCmd struct {
	withExport
	Subject  string        `arg:"" help:"A session, job or file task; a path of the served tree, with a slash at the end for all below it; or a document: its id, that of a revision, or /FOLDER/NAME."`
	As       string        `default:"any" enum:"any,session,path,document" placeholder:"WHAT" help:"Take it for a session, a path or a document only (${default})."`
	JSON     bool          `help:"The records themselves, as JSON lines."`
	RetryFor time.Duration `default:"1m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// Run tells everything that the journal has about one thing.
func (c *storyCmd) Run(ctx context.Context, a *app) error {
	q := c.query()
	if _, err := actions.NewMatcher(q); err != nil {
		return fail(exitUsage, "%w", err)
	}
	out := bufio.NewWriterSize(a.stdout, 1<<16)
	t := newTeller(c.Subject)
	copied := 0
	err := c.search(ctx, a, c.RetryFor, q, func(line []byte) error {
		if c.JSON {
			copied++
			return lineTo(out)(line)
		}
		var e journal.Entry
		if err := journal.ParseEntry(line, &e); err != nil {
			return err
		}
		return t.take(&e)
	})
	switch {
	case err != nil:
	case t.told == 0 && copied == 0 && c.pruned > 0:
		err = fail(exitNoInput, "nothing from record %d on is about %s; %s", c.pruned, c.Subject, c.notLookedAt())
	case t.told == 0 && copied == 0:
		err = fail(exitNoInput, "nothing in the journal is about %s", c.Subject)
	case !c.JSON:
		err = t.write(out)
	}
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = fail(exitIO, "write: %w", flushed)
	}
	if err == nil {
		c.tellPruned(a)
	}
	return interrupted(ctx, err)
}

func (c *storyCmd) query() actions.Query {
	// Starts of the daemon cut transfers short; they are no records of them.
	q := actions.Query{Starts: !c.JSON}
	switch c.As {
	case "session":
		q.Session = c.Subject
	case "path":
		q.Path = c.Subject
	case "document":
		q.Document = c.Subject
	default:
		q.About = c.Subject
	}
	return q
}
