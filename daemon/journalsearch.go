package daemon

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// parseRange reads the parameters of GET /journal. One it does not know is an
// error: whoever misspells a filter would take all records for those wanted.
func parseRange(r *http.Request) (journalRange, *actions.Error) {
	want := journalRange{to: ^uint64(0)}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return want, actions.Errorf(actions.CodeParam, "the parameters cannot be read")
	}
	for name, values := range q {
		if len(values) > 1 {
			return want, actions.Errorf(actions.CodeParam, "%s is given more than once", name)
		}
		if bad := want.set(name, values[0]); bad != nil {
			return want, bad
		}
	}
	if want.from > want.to {
		return want, actions.Errorf(actions.CodeParam, "from is beyond to")
	}
	_, err = actions.NewMatcher(want.query)
	bad, _ := errors.AsType[*actions.Error](err)
	if bad == nil && len(q) > 0 {
		// In one, so that a search for a path does not find those who looked for it.
		want.asked = actions.Asked{"query": q.Encode()}
	}
	return want, bad
}

func (want *journalRange) set(name, value string) *actions.Error {
	q := &want.query
	switch name {
	case "from", "to":
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case value == "":
		case err != nil:
			return actions.Errorf(actions.CodeParam, "%s is not a record number", name)
		case name == "from":
			want.from = n
		default:
			want.to = n
		}
	case "since", "until":
		t, err := time.Parse(time.RFC3339Nano, value)
		switch {
		case value == "":
		case err != nil:
			return actions.Errorf(actions.CodeParam, "%s is not a time such as 2026-01-02T15:04:05Z", name)
		case name == "since":
			q.Since = t
		default:
			q.Until = t
		}
	case "follow":
		return flag(name, value, &want.follow)
	case "starts":
		return flag(name, value, &q.Starts)
	case "actor":
		q.Actor = value
	case "session":
		q.Session = value
	case "path":
		q.Path = value
	case "kind":
		q.Kind = value
	case "document":
		q.Document = value
	case "about":
		q.About = value
	default:
		return actions.Errorf(actions.CodeParam, "there is no such parameter: %.64s", strconv.Quote(name))
	}
	return nil
}

func flag(name, value string, into *bool) *actions.Error {
	switch value {
	case "", "0", "false":
		*into = false
	case "1", "true":
		*into = true
	default:
		return actions.Errorf(actions.CodeParam, "%s is neither 0 nor 1", name)
	}
	return nil
}

// seek turns times into positions. What is to come keeps its time.
func (want *journalRange) seek(ctx context.Context, log *journal.Log) error {
	q := &want.query
	if q.Since.IsZero() && q.Until.IsZero() {
		return nil
	}
	head := log.Head()
	for _, bound := range []*time.Time{&q.Since, &q.Until} {
		if bound.IsZero() {
			continue
		}
		at, err := log.Seek(ctx, *bound)
		if err != nil {
			return err
		}
		if at >= head.Size && want.follow {
			continue
		}
		if bound == &q.Since {
			want.from = max(want.from, at)
		} else {
			want.to = min(want.to, at)
		}
		*bound = time.Time{}
	}
	want.from = max(want.from, log.First())
	want.to = max(want.to, want.from)
	return nil
}

// search writes the records that belong, and as they come those that follow.
// scanned is called once what there is has been looked through. Nothing is sent
// of what does not belong: a client that comes back goes on after the last
// record it has got.
func (s *server) search(ctx context.Context, w http.ResponseWriter, want journalRange, scanned func()) error {
	log := s.engine.Journal()
	want.from = max(want.from, log.First())
	want.query.From = want.from
	m, err := actions.NewMatcher(want.query)
	if err != nil {
		return err
	}
	if s.mostLearned > 0 {
		m.Limit(s.mostLearned)
	}
	out := &searched{Writer: bufio.NewWriterSize(w, journalFlushBytes), response: http.NewResponseController(w)}
	// The client hears at once that it is being worked on.
	if err := out.flush(); err != nil {
		return err
	}
	at := want.from
	if want.query.LooksAhead() {
		none := func([]byte) error { return nil }
		if err := log.Read(ctx, log.First(), log.Head().Size, func(line []byte) error { return m.Line(line, none) }); err != nil {
			return err
		}
		m.Again()
	}
	if want.query.Learns() {
		at = log.First()
	}
	for {
		// Asked for before the head: what comes in between is not missed.
		changed := log.Changed()
		if to := min(log.Head().Size, want.to); at < to {
			if err := log.Read(ctx, at, to, func(line []byte) error { return out.line(m, line) }); err != nil {
				return err
			}
			at = to
		}
		if err := out.flush(); err != nil {
			return err
		}
		if !want.follow || at >= want.to || m.Over() {
			return nil
		}
		scanned()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := log.Err(); err != nil {
			return err
		}
	}
}

// searched is the answer to a search: what was found leaves before long, though
// much is looked through for little.
type searched struct {
	*bufio.Writer
	response *http.ResponseController
	looked   int
	flushed  time.Time
}

func (o *searched) line(m *actions.Matcher, line []byte) error {
	if o.looked++; o.looked%journalLookEvery == 0 && o.Buffered() > 0 && time.Since(o.flushed) > journalFlushEvery {
		if err := o.flush(); err != nil {
			return err
		}
	}
	return m.Line(line, func(line []byte) error {
		if _, err := o.Write(line); err != nil {
			return err
		}
		return o.WriteByte('\n')
	})
}

func (o *searched) flush() error {
	o.flushed = time.Now()
	return errors.Join(o.Flush(), o.response.Flush())
}
