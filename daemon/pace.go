package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// direction is that of bytes of files: in, or out.
type direction int

const (
	inward direction = iota
	outward
)

// errHurried ends a wait for bandwidth from outside.
var errHurried = errors.New("the wait for bandwidth was given up")

// pacer makes whoever moves bytes of files wait, so that all of them together, and
// each subject, keep to a bandwidth: a token bucket for each direction. Nobody else
// ever waits, nor does anybody while there is no limit. Transfers take turns
// in steps of paceStep.
type pacer struct {
	all    buckets
	each   rate.Limit // 0 for none
	waited func(direction, time.Duration)

	mu sync.Mutex
	by map[subject]*ownBuckets
	// sweepAt is at how many subjects those are forgotten who move nothing.
	sweepAt int
}

// buckets are those of the two directions, nil for no limit.
type buckets [2]*rate.Limiter

// ownBuckets are those of one subject; users counts who waits on them.
type ownBuckets struct {
	buckets
	users int
}

// newPacer returns nil for no limit at all.
func newPacer(l Load, waited func(direction, time.Duration)) *pacer {
	if l.Bandwidth <= 0 && l.BandwidthPerSubject <= 0 {
		return nil
	}
	p := &pacer{waited: waited, by: make(map[subject]*ownBuckets), sweepAt: minSweep}
	if l.Bandwidth > 0 {
		p.all = newBuckets(rate.Limit(l.Bandwidth))
	}
	p.each = rate.Limit(most(l.BandwidthPerSubject))
	return p
}

// newBuckets hold what comes in an eighth of a second, and at least one step.
func newBuckets(each rate.Limit) buckets {
	burst := max(int(each/8), paceStep)
	return buckets{rate.NewLimiter(each, burst), rate.NewLimiter(each, burst)}
}

// wait returns once somebody may move n bytes. It ends early, with an error, when
// ctx does, or quit is closed; what was taken until then is taken.
func (p *pacer) wait(ctx context.Context, quit <-chan struct{}, who subject, way direction, n int64) error {
	if p == nil || n <= 0 {
		return nil
	}
	own := p.enter(who)
	defer p.leave(own)
	for n > 0 {
		step := int(min(n, paceStep))
		for _, l := range []*rate.Limiter{own.buckets[way], p.all[way]} {
			if err := p.take(ctx, quit, l, way, step); err != nil {
				return err
			}
		}
		n -= int64(step)
	}
	return nil
}

// take waits for n bytes of a bucket, which holds as many.
func (p *pacer) take(ctx context.Context, quit <-chan struct{}, l *rate.Limiter, way direction, n int) error {
	if l == nil {
		return nil
	}
	r := l.ReserveN(time.Now(), n)
	d := r.Delay()
	if d <= 0 {
		return nil
	}
	begun := time.Now()
	defer func() { p.waited(way, time.Since(begun)) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
	case <-quit:
	}
	r.Cancel()
	return errHurried
}

// enter finds the buckets of a subject. They outlive their use until they are
// full: who comes back at once finds them as they were left.
func (p *pacer) enter(who subject) *ownBuckets {
	if p.each == 0 {
		return &ownBuckets{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.by[who]
	if own == nil {
		if len(p.by) >= p.sweepAt {
			p.sweepLocked()
		}
		own = &ownBuckets{buckets: newBuckets(p.each)}
		p.by[who] = own
	}
	own.users++
	return own
}

func (p *pacer) leave(own *ownBuckets) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own.users--
}

func (p *pacer) sweepLocked() {
	for who, own := range p.by {
		in, out := own.buckets[inward], own.buckets[outward]
		if own.users == 0 && in.Tokens() >= float64(in.Burst()) && out.Tokens() >= float64(out.Burst()) {
			delete(p.by, who)
		}
	}
	p.sweepAt = max(minSweep, 2*len(p.by))
}
