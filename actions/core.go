package actions

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"waybill/journal"
	"waybill/sessions"
)

// Who answers for a record that no caller asked for.
const actorDaemon = "daemon"

// ErrFailed is returned for work whose outcome is unknown because the journal
// could not be written: the daemon is about to end.
var ErrFailed = errors.New("the journal cannot be written; the outcome is unknown")

// errUnrecordable refuses a decision whose records the journal cannot hold:
// too long, or with a number that JSON readers would round.
var errUnrecordable = errors.New("does not fit a record of the journal")

// origin is what the core puts into a record beside the fact.
type origin struct{ actor, via, ref string }

// work is one item of the core's input: a decision or a view.
type work struct {
	from   origin
	decide func(*State) ([]sessions.Fact, error)
	view   func(*State)

	err  error
	done chan struct{}
}

// core owns the State. Its goroutine takes waiting decisions one by one,
// applies their facts at once so that later decisions see earlier ones,
// commits the batch, and only then lets answers leave and views run: nobody
// outside sees uncommitted state. A failed commit ends it; nothing is undone.
type core struct {
	log     *journal.Log
	state   *State
	now     func() time.Time
	observe Observer

	mu      sync.Mutex
	waiting []*work
	closed  bool

	// wake has room for one token: there is something in waiting, or closed.
	wake chan struct{}

	// born anchors begun, which is when the present batch was, 0 if there is
	// none.
	born  time.Time
	begun atomic.Int64

	// What follows is owned by run.
	batch batch
}

// batch is what one commit will make durable.
type batch struct {
	buf     []byte
	ends    []int
	lines   [][]byte
	works   []*work
	views   []*work
	started time.Time
	// entry is the line rendered last, parsed.
	entry journal.Entry
}

func newCore(log *journal.Log, state *State, now func() time.Time, observe Observer) *core {
	return &core{log: log, state: state, now: now, observe: observe, wake: make(chan struct{}, 1), born: time.Now()}
}

// busy is how long ago the present batch was begun, 0 if there is none.
func (c *core) busy() time.Duration {
	begun := time.Duration(c.begun.Load())
	if begun == 0 {
		return 0
	}
	return time.Since(c.born) - begun
}

var workPool = sync.Pool{New: func() any { return &work{done: make(chan struct{}, 1)} }}

// decide runs fn in the core and returns once its facts are durable, or its
// refusal is final. fn must be pure: it may run against state that is being
// committed. Facts of one decision that need several records become a group.
func (c *core) decide(from origin, fn func(*State) ([]sessions.Fact, error)) error {
	return c.decideLater(from, fn)()
}

// decideLater is decide whose outcome is waited for by what it returns, which is
// called once. Decisions asked for after it come after it.
func (c *core) decideLater(from origin, fn func(*State) ([]sessions.Fact, error)) (wait func() error) {
	w := workPool.Get().(*work)
	w.from, w.decide = from, fn
	c.enqueue(w)
	return w.wait
}

// view runs fn in the core against committed state. fn must not keep what it
// is given; it copies.
func (c *core) view(fn func(*State)) error {
	w := workPool.Get().(*work)
	w.view = fn
	c.enqueue(w)
	return w.wait()
}

func (c *core) enqueue(w *work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		w.err = ErrFailed
		w.done <- struct{}{}
		return
	}
	c.waiting = append(c.waiting, w)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// wait returns once w is answered; w belongs to others then.
func (w *work) wait() error {
	<-w.done
	err := w.err
	*w = work{done: w.done}
	workPool.Put(w)
	return err
}

// run serves until ctx ends, when it still takes what is waiting, or a commit
// fails, when it returns an error wrapping ErrFailed and every waiter gets
// ErrFailed.
func (c *core) run(ctx context.Context) error {
	defer c.close()
	var spare []*work
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			if spare = c.take(spare); len(spare) == 0 {
				return nil
			}
			if err := c.serve(spare); err != nil {
				return err
			}
			continue
		}
		spare = c.take(spare)
		if err := c.serve(spare); err != nil {
			return err
		}
	}
}

// close refuses later work and answers what is left.
func (c *core) close() {
	c.mu.Lock()
	c.closed = true
	rest := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, w := range rest {
		w.err = ErrFailed
		w.done <- struct{}{}
	}
}

// take swaps the waiting work for an empty slice.
func (c *core) take(spare []*work) []*work {
	clear(spare)
	c.mu.Lock()
	got := c.waiting
	c.waiting = spare[:0]
	c.mu.Unlock()
	return got
}

// serve decides works and whatever arrives meanwhile, commits, and answers.
func (c *core) serve(works []*work) error {
	b := &c.batch
	b.started = c.now()
	c.begun.Store(int64(time.Since(c.born)))
	defer c.begun.Store(0)
	if err := c.add(works); err != nil {
		return c.fail(err)
	}
	// Callers that were woken by the last commit are about to come back: give
	// them the processor rather than pay a sync each. A timer would not do;
	// the shortest sleep takes a millisecond.
	var more []*work
	for range drains {
		if len(b.ends) == 0 || len(b.ends) >= journal.MaxBatchRecords || len(b.buf) >= journal.MaxBatchBytes {
			break
		}
		runtime.Gosched()
		if more = c.take(more); len(more) == 0 {
			break
		}
		if err := c.add(more); err != nil {
			return c.fail(err)
		}
	}
	if answerEarly {
		b.answer()
	}
	if err := c.commit(); err != nil {
		return c.fail(err)
	}
	for _, w := range b.views {
		w.view(c.state)
		w.done <- struct{}{}
	}
	b.answer()
	c.reset()
	return nil
}

// answer lets the decisions' answers leave; from then on works belong to
// others.
func (b *batch) answer() {
	for _, w := range b.works {
		w.done <- struct{}{}
	}
	clear(b.works)
	b.works = b.works[:0]
}

func (c *core) reset() {
	b := &c.batch
	clear(b.works)
	clear(b.views)
	clear(b.lines)
	b.buf, b.ends, b.lines, b.works, b.views = b.buf[:0], b.ends[:0], b.lines[:0], b.works[:0], b.views[:0]
	if cap(b.buf) > journal.MaxBatchBytes {
		b.buf = nil
	}
}

// add decides works in order. Views that come after a decision wait for the
// commit; those before any see committed state already.
func (c *core) add(works []*work) error {
	b := &c.batch
	for i, w := range works {
		if w.view != nil {
			if len(b.ends) == 0 {
				w.view(c.state)
				w.done <- struct{}{}
			} else {
				b.views = append(b.views, w)
			}
			continue
		}
		b.works = append(b.works, w)
		facts, err := w.decide(c.state)
		if err == nil {
			err = c.render(w.from, facts)
		}
		if w.err = err; err != nil {
			continue
		}
		if err := c.apply(len(facts)); err != nil {
			b.works = append(b.works, works[i+1:]...)
			return err
		}
	}
	return nil
}

// render puts the lines of a decision's facts into the batch. Facts that the
// journal could not hold refuse the decision and leave nothing: much of them
// is chosen by callers, and none of them may end the daemon.
func (c *core) render(from origin, facts []sessions.Fact) (err error) {
	b := &c.batch
	if len(facts) > journal.MaxGroup {
		return fmt.Errorf("%w: a decision of %d records", errUnrecordable, len(facts))
	}
	lines, start := len(b.ends), len(b.buf)
	defer func() {
		if err != nil {
			b.ends, b.buf = b.ends[:lines], b.buf[:start]
		}
	}()
	at := b.started
	if last := c.state.at; at.Before(last) {
		at = last
	}
	for i, f := range facts {
		r := journal.Record{
			Seq: c.state.next + uint64(i), At: at, Kind: f.Kind,
			Actor: from.actor, Via: from.via, Ref: from.ref, Body: f.Body,
		}
		if len(facts) > 1 {
			r.Group = journal.Group{I: i + 1, N: len(facts)}
		}
		begin := len(b.buf)
		b.buf = journal.AppendRecord(b.buf, &r)
		if err := journal.ParseEntry(b.buf[begin:], &b.entry); err != nil {
			return fmt.Errorf("%w: %s of %d bytes: %w", errUnrecordable, f.Kind, len(b.buf)-begin, err)
		}
		b.ends = append(b.ends, len(b.buf))
	}
	return nil
}

// apply folds the last n lines of the batch, the very bytes that will be
// written, so that replay cannot differ from life. They have been parsed
// once, so an error is a fact that State does not know what to do with.
func (c *core) apply(n int) error {
	b := &c.batch
	for i := len(b.ends) - n; i < len(b.ends); i++ {
		if n > 1 { // of a single one, b.entry is the parsed form still
			start := 0
			if i > 0 {
				start = b.ends[i-1]
			}
			if err := journal.ParseEntry(b.buf[start:b.ends[i]], &b.entry); err != nil {
				return fmt.Errorf("record %d: %w", c.state.next, err)
			}
		}
		if err := c.state.Apply(&b.entry); err != nil {
			return fmt.Errorf("record %d (%s): %w", b.entry.Seq, b.entry.Kind, err)
		}
	}
	return nil
}

func (c *core) commit() error {
	b := &c.batch
	if len(b.ends) == 0 {
		return nil
	}
	start := 0
	for _, end := range b.ends {
		b.lines = append(b.lines, b.buf[start:end:end])
		start = end
	}
	begun := time.Now()
	if err := c.log.Append(b.lines); err != nil {
		return err
	}
	if c.observe.Commit != nil {
		c.observe.Commit(time.Since(begun), len(b.lines), len(b.buf))
	}
	return nil
}

// fail answers the batch with "unknown": its facts may be on disk or not.
func (c *core) fail(err error) error {
	b := &c.batch
	for _, w := range append(b.works, b.views...) {
		w.err = ErrFailed
		w.done <- struct{}{}
	}
	c.reset()
	return fmt.Errorf("%w: %w", ErrFailed, err)
}
