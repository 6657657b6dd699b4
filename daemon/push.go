package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"waybill/fsview"
	"waybill/journal"
)

// pusher copies checkpoints to a directory elsewhere: the last one, and one for
// the end of each segment, which is never replaced. It is a goroutine of its
// own, which may hang in the file system of that directory; nobody waits for
// it but a stop, for a moment.
type pusher struct {
	notary   *notary
	dir      string
	name     string // of the file with the last one
	out      zerolog.Logger
	failures prometheus.Counter
	wrap     func(do func() error) error

	// wanted is the size to push, pushed that of the last one there.
	wanted, pushed atomic.Uint64
	wake           chan struct{} // room for one token
	ending         chan struct{} // closed when a last try is due
	done           chan struct{}

	// What follows is owned by run. compared says that the last one there was
	// found to be of this journal, end is the next segment end to look at.
	compared bool
	end      uint64

	mu      sync.Mutex
	trouble trouble // guarded by mu: a push that hangs is told of by a timer
}

// errHangs stands for the error of a write that does not come back.
var errHangs = errors.New("the directory does not answer")

// openPusher looks at the directory, which must exist.
func (d *daemon) openPusher(n *notary) (*pusher, error) {
	dir := d.cfg.CheckpointTo
	if err := d.lookAt(elsewhere{"checkpoints", dir, []forbidden{
		{d.cfg.Root, "the served tree, where clients could change what is in it"},
	}}); err != nil {
		return nil, err
	}
	p := &pusher{
		notary: n, dir: dir, name: "checkpoint-" + d.state.storeID, out: d.cfg.Logger,
		failures: d.metrics.pushFailures, wrap: d.cfg.pushing,
		wake: make(chan struct{}, 1), ending: make(chan struct{}), done: make(chan struct{}),
		end: journal.SegmentRecords,
	}
	if p.wrap == nil {
		p.wrap = func(do func() error) error { return do() }
	}
	p.trouble = trouble{out: p.out, what: "the copy of the checkpoint in " + dir}
	return p, nil
}

// offer says that there is a checkpoint of size records.
func (p *pusher) offer(size uint64) {
	p.wanted.Store(size)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// finish makes a last try.
func (p *pusher) finish() {
	close(p.ending)
	select {
	case <-p.done:
	case <-time.After(pushAtStop):
		p.out.Warn().Str("dir", p.dir).Msg("the last checkpoint is not there before the stop")
	}
}

func (p *pusher) run() {
	defer close(p.done)
	var again <-chan time.Time
	for {
		last := false
		select {
		case <-p.ending:
			last = true
		default:
			select {
			case <-p.ending:
				last = true
			case <-p.wake:
				if again != nil {
					continue // its time will come
				}
			case <-again:
			}
		}
		again = nil
		if pause := p.try(); pause > 0 {
			again = time.After(pause)
		}
		if last {
			return
		}
	}
}

// try pushes what is wanted, and gives the time to wait if that failed.
func (p *pusher) try() (pause time.Duration) {
	slow := time.AfterFunc(pushSlow, func() { p.failed(errHangs) })
	err := p.wrap(func() error { return p.copy(p.wanted.Load()) })
	slow.Stop()
	if err != nil {
		return p.failed(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble.over()
	return 0
}

func (p *pusher) failed(err error) (pause time.Duration) {
	p.failures.Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble.failed(err)
}

// copy brings the directory up to the first size records.
func (p *pusher) copy(size uint64) error {
	if size == p.pushed.Load() {
		return nil
	}
	if err := p.compare(); err != nil {
		return err
	}
	for ; p.end <= size; p.end += journal.SegmentRecords {
		if err := p.seal(p.end); err != nil {
			return err
		}
	}
	text, err := p.notary.at(context.Background(), size)
	if err != nil {
		return err
	}
	if err := fsview.WriteFile(filepath.Join(p.dir, p.name), text, 0o644); err != nil {
		return err
	}
	p.pushed.Store(size)
	return nil
}

// compare looks, once, at the checkpoint that is there: if the journal does not
// continue it, it may be the only witness of that, and is not replaced.
func (p *pusher) compare() error {
	if p.compared {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(p.dir, p.name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.compared = true
		return nil
	case err != nil:
		return err
	}
	c, err := journal.ReadCheckpoint(text)
	if err != nil || c.Origin != p.notary.keys.current.Verifier().Name() {
		p.out.Warn().Str("file", p.name).Str("dir", p.dir).Msg("not a checkpoint of this journal; it is replaced")
		p.compared = true
		return nil
	}
	log := p.notary.log
	if head := log.Head(); c.Size > head.Size {
		return fmt.Errorf("%s there was signed over %d records, but the journal has %d: it is left as it is", p.name, c.Size, head.Size)
	}
	root, err := log.RootAt(context.Background(), c.Size)
	if err == nil && root != c.Root {
		return fmt.Errorf("%s there was signed over %d other records than the first ones of the journal: it is left as it is", p.name, c.Size)
	}
	if err != nil && !errors.Is(err, journal.ErrPruned) {
		return err
	}
	p.compared = true
	return nil
}

// seal writes the checkpoint of the end of a segment, unless it is there.
func (p *pusher) seal(size uint64) error {
	name := fmt.Sprintf("%s-%016d", p.name, size)
	path := filepath.Join(p.dir, name)
	root, err := p.notary.log.RootAt(context.Background(), size)
	if errors.Is(err, journal.ErrPruned) {
		return nil
	}
	if err != nil {
		return err
	}
	head := journal.Head{Size: size, Root: root}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = p.notary.keys.sign(head); err != nil {
			return err
		}
		return fsview.WriteNew(path, text, 0o644)
	}
	if err != nil {
		return err
	}
	// Signed with an earlier key, perhaps: what counts is what it says.
	if c, err := journal.ReadCheckpoint(text); err != nil || c.Head != head || c.Origin != p.notary.keys.current.Verifier().Name() {
		p.out.Error().Str("file", name).Str("dir", p.dir).Msg("the file there is not the checkpoint of this journal at that size; it is left as it is")
	}
	return nil
}
