package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// patience decides how long a transfer goes on trying: until limit has passed
// since it last got anywhere. Pauses grow from 100 ms to 5 s.
type patience struct {
	limit time.Duration
	say   func(format string, args ...any)

	since time.Time // when the trouble began; zero: no trouble
	wait  time.Duration
}

// progress ends the trouble, if there is any.
func (p *patience) progress() {
	if !p.since.IsZero() {
		p.since, p.wait = time.Time{}, 0
		p.say("going on")
	}
}

// pause waits before the next try, or returns err once the limit has passed.
func (p *patience) pause(ctx context.Context, err error) error {
	if p.since.IsZero() {
		p.since, p.wait = time.Now(), firstPause
		if p.limit > 0 {
			p.say("%v; trying again for up to %v", err, p.limit)
		}
	}
	left := p.limit - time.Since(p.since)
	if left <= 0 {
		return err
	}
	// Half of the pause is random, so that many clients of a daemon that
	// comes back do not come back together.
	timer := time.NewTimer(min(left, p.wait/2+rand.N(p.wait/2)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return interrupted(ctx, ctx.Err())
	}
	p.wait = min(2*p.wait, longestPause)
	return nil
}

// keepTrying runs attempt on a connection, and again on a new one for as long
// as it is the connection, or the daemon behind it, that fails. The first
// connection has only one try: a wrong address should be told at once.
func keepTrying(ctx context.Context, r *remote, p *patience, attempt func(*socket) error) error {
	connected := false
	for {
		s, err := r.dial(ctx)
		if err == nil {
			connected = true
			err = attempt(s)
			s.close(err == nil)
		}
		lost, ok := errors.AsType[*lostError](err)
		if !ok {
			return err
		}
		// A daemon that answers "not yet" is there: it is worth waiting for.
		_, answered := errors.AsType[*exitError](lost)
		if !connected && !answered {
			return r.unreachable(lost)
		}
		if err := p.pause(ctx, lost); err != nil {
			if errors.Is(err, lost) {
				err = r.unreachable(lost)
			}
			return err
		}
	}
}
