package daemon

import (
	"sync"
	"time"
)

// cutoff is a read deadline that moves on as long as there is progress, until
// the reading is cut: then nothing moves it any more.
type cutoff struct {
	set func(time.Time) error

	// mu guards cut. Without it a deadline that is being moved could undo a cut.
	mu  sync.Mutex
	cut bool
}

// extend lets reading go on until at.
func (c *cutoff) extend(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		_ = c.set(at) // the connection is closed if this fails
	}
}

// cutNow ends reading, at once and for good.
func (c *cutoff) cutNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	_ = c.set(time.Unix(1, 0)) // the connection is closed if this fails
}

// cutWhen calls cut once somebody else has ended the transfer, which closes
// done, or once a stop of the daemon has waited long enough for it. release
// must be called; after it, cut is neither called nor running.
func (s *server) cutWhen(done <-chan struct{}, cut func()) (release func()) {
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-over:
			return
		case <-done:
		case <-s.life.Done():
			grace := time.NewTimer(s.cfg.ShutdownGrace)
			defer grace.Stop()
			select {
			case <-over:
				return
			case <-done:
			case <-grace.C:
			case <-s.patience.Done():
			}
		}
		cut()
	})
	return func() {
		close(over)
		watch.Wait()
	}
}
