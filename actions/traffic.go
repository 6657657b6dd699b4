package actions

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// refusedTraffic counts what was refused before anybody was authenticated.
// It becomes one record a minute for the whole daemon, so that strangers
// cannot fill the disk.
type refusedTraffic struct {
	mu      sync.Mutex
	reasons map[string]int64
	peers   map[string]int64
	noted   time.Time
}

type trafficBody struct {
	Counts map[string]int64 `json:"counts"`
	// Peers are the busiest addresses, IPv6 by /64.
	Peers []peerCount `json:"peers"`
}

type peerCount struct {
	Net   string `json:"net"`
	Count int64  `json:"count"`
}

// CountRefused counts something refused before authentication. reason is a
// short fixed word, remote the peer's address with or without a port.
func (e *Engine) CountRefused(reason, remote string) {
	t := &e.refused
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reasons == nil {
		t.reasons, t.peers = make(map[string]int64), make(map[string]int64)
	}
	t.reasons[reason]++
	peer := network(remote)
	if _, ok := t.peers[peer]; ok || len(t.peers) < maxPeers {
		t.peers[peer]++
	}
}

// network is the address's own /32, or its /64.
func network(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return "unknown"
		}
		addr = ap.Addr()
	}
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return "unknown"
	}
	return p.String()
}

func (t *refusedTraffic) due(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.noted) < refusedEvery {
		return false
	}
	t.noted = now
	return len(t.reasons) > 0
}

// noteTraffic records what was counted since the last time, if anything.
func (e *Engine) noteTraffic() error {
	t := &e.refused
	t.mu.Lock()
	reasons, peers := t.reasons, t.peers
	t.reasons, t.peers = nil, nil
	t.mu.Unlock()
	if len(reasons) == 0 {
		return nil
	}
	body := trafficBody{Counts: reasons, Peers: []peerCount{}}
	for net, n := range peers {
		body.Peers = append(body.Peers, peerCount{net, n})
	}
	slices.SortFunc(body.Peers, func(a, b peerCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Net, b.Net))
	})
	body.Peers = body.Peers[:min(len(body.Peers), refusedPeers)]
	return e.record(origin{actorDaemon, "internal", e.boot}, KindTraffic, body)
}
