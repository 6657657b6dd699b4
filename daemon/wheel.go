package daemon

import (
	"context"
	"time"

	"github.com/coder/websocket"
)

// wheel is the one clock of all connections: pings, silent peers, strangers
// that do not log in, and peers that hold what others wait for.
func (s *server) wheel(ctx context.Context) {
	tick := time.NewTicker(max(s.cfg.PingEvery/wheelTurn, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range s.all() {
			c.tick(sinceStart())
		}
		s.bufs.trim(time.Now())
		for _, c := range s.slots.stalled(s.cfg.HolderStall) {
			c.shutSlow("others wait for a message that does not come")
		}
		for _, c := range s.listings.stalled(s.cfg.HolderStall) {
			c.shutSlow("others wait for replies that are not read")
		}
	}
}

// tick looks after one connection. It never blocks.
func (c *socket) tick(at int64) {
	if by := c.loginBy.Load(); by != 0 && at > by {
		c.shut(closeStranger, "not authenticated")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// While a reply is on its way, a peer that cannot answer pings is slow, not
	// silent; one that takes nothing of it fails the write.
	if c.reading.Load() && c.queued == 0 && c.closing == nil && c.peer.silentFor(c.s.cfg.SilentAfter) {
		c.s.log.Debug().Str("via", c.via).Msg("dropped: the peer is silent")
		c.shutLocked(closing{code: websocket.StatusGoingAway, reason: "silent", drop: true})
	}
	if at-c.pinged >= int64(c.s.cfg.PingEvery) {
		c.pinged, c.pingDue = at, true
		c.wakeWriterLocked()
	}
}
