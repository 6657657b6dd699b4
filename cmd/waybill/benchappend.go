package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"waybill/journal"
)

// appender commits records in groups in the way of the core: one goroutine
// takes what is waiting, gives the callers that the last commit woke a chance
// to come back, renders the lines and appends them in one transaction.
type appender struct {
	log  *journal.Log
	size int // bytes of a line
	at   time.Time

	mu      sync.Mutex
	waiting []*appending // guarded by mu
	wake    chan struct{}
	// What follows is owned by run.
	buf     []byte
	ends    []int
	lines   [][]byte
	entry   journal.Entry
	body    []byte
	padding string
	longest time.Duration // of the appends that began a segment
}

// appending is one caller that waits for its record.
type appending struct {
	ref  string
	done chan error
}

const appendDrains = 4 // as often as the core looks for more

func newAppender(log *journal.Log, size int) *appender {
	return &appender{log: log, size: size, at: time.Now(), wake: make(chan struct{}, 1), padding: strings.Repeat("x", size)}
}

// append waits until a record of the caller is durable.
func (p *appender) append(w *appending) error {
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return <-w.done
}

// run commits until ctx ends; callers must have stopped by then.
func (p *appender) run(ctx context.Context) {
	var spare []*appending
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		works := p.take(spare)
		p.render(works)
		for range appendDrains {
			if len(p.ends) == 0 || len(p.ends) >= journal.MaxBatchRecords {
				break
			}
			runtime.Gosched()
			more := p.take(nil)
			if len(more) == 0 {
				break
			}
			p.render(more)
			works = append(works, more...)
		}
		err := p.commit()
		for _, w := range works {
			w.done <- err
		}
		spare = works
	}
}

func (p *appender) take(spare []*appending) []*appending {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.waiting
	p.waiting = spare[:0]
	return got
}

// render puts the lines of works into the batch, and reads them as the core
// does before it applies them.
func (p *appender) render(works []*appending) {
	next := p.log.Head().Size + uint64(len(p.ends))
	for _, w := range works {
		start := len(p.buf)
		p.buf = p.line(p.buf, next, w.ref)
		_ = journal.ParseEntry(p.buf[start:], &p.entry) // Append says what is wrong
		p.ends = append(p.ends, len(p.buf))
		next++
	}
}

// line appends a line of p.size bytes, or of as few as there can be.
func (p *appender) line(dst []byte, seq uint64, ref string) []byte {
	const before, after = `{"action":"get_file_info","code":"ok","x":"`, `"}`
	r := journal.Record{Seq: seq, At: p.at, Kind: "action.answered", Actor: "main", Via: "ws 127.0.0.1:51034", Ref: ref}
	start := len(dst)
	short := p.size - len(journal.AppendRecord(dst, &r)[start:]) - len(before) - len(after)
	p.body = append(p.body[:0], before...)
	p.body = append(p.body, p.padding[:max(short, 0)]...)
	p.body = append(p.body, after...)
	r.Body = p.body
	return journal.AppendRecord(dst, &r)
}

func (p *appender) commit() error {
	start := 0
	for _, end := range p.ends {
		p.lines = append(p.lines, p.buf[start:end:end])
		start = end
	}
	before, begun := lastSegment(p.log), time.Now()
	err := p.log.Append(p.lines)
	if lastSegment(p.log) > before {
		p.longest = max(p.longest, time.Since(begun))
	}
	p.buf, p.ends, p.lines = p.buf[:0], p.ends[:0], p.lines[:0]
	return err
}

// lastSegment is the number of the segment that the last record is in.
func lastSegment(log *journal.Log) uint64 {
	return (max(log.Head().Size, 1) - 1) / journal.SegmentRecords
}

// measure lets callers append one record after the other, each waiting for its
// own, until stop says so.
func (p *appender) measure(ctx context.Context, callers int, stop func() bool) (rate float64, all *latencies, err error) {
	running, cancel := context.WithCancel(context.Background())
	var committer, group sync.WaitGroup
	committer.Go(func() { p.run(running) })
	counts, errs := make([]latencies, callers), make([]error, callers)
	begun := time.Now()
	for c := range callers {
		group.Go(func() {
			w := &appending{ref: fmt.Sprintf("%08x", c), done: make(chan error, 1)}
			for done := false; !done; done = ctx.Err() != nil || stop() {
				t := time.Now()
				if errs[c] = p.append(w); errs[c] != nil {
					return
				}
				counts[c].add(time.Since(t))
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	cancel()
	committer.Wait()
	all = &latencies{}
	for c := range callers {
		all.merge(&counts[c])
		if err == nil {
			err = errs[c]
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return float64(all.n) / took.Seconds(), all, err
}
