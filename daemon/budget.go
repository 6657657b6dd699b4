package daemon

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// budget bounds the bytes of large replies over all connections, from before
// one is made until the last of it is written.
//
// Peers that ask and then do not read can use it up. Contents are made piece
// by piece then (stream), so nobody waits for them. Listings wait; there, a
// connection that has not yet shown that it reads shares a part of the budget
// only, one that has goes first, and a peer that took no byte for a while is
// closed once others wait.
type budget struct {
	total, newcomers int64

	// mu may be taken while a connection's is held, never the other way round.
	mu      sync.Mutex
	used    int64
	proven  int64 // the part of used that proven readers hold
	holders map[holder]holding
	waiting [2][]*claim // newcomers, proven readers
}

// holder is a connection that may hold bytes of a budget.
type holder interface {
	// proven tells whether the peer has shown that it reads.
	proven() bool
	// stuckFor reports whether something is queued and the peer took no byte
	// for d.
	stuckFor(d time.Duration) bool
	// lost is closed when nothing more can be written.
	lost() <-chan struct{}
	// shutSlow closes a peer that does not keep up.
	shutSlow(reason string)
}

type holding struct {
	bytes  int64
	proven bool
}

// claim waits for n bytes; granted is closed when it has them.
type claim struct {
	c       holder
	n       int64
	granted chan struct{}
}

func newBudget(total, newcomers int64) *budget {
	return &budget{total: total, newcomers: newcomers, holders: make(map[holder]holding)}
}

// try takes n bytes for c if they are there at once.
func (b *budget) try(c holder, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.total {
		return false
	}
	b.grant(c, n, 0)
	return true
}

// take waits for n bytes for c. It returns false, holding nothing, if c has
// gone meanwhile.
func (b *budget) take(c holder, n int64) bool {
	who := 0
	if c.proven() {
		who = 1
	}
	b.mu.Lock()
	if len(b.waiting[who]) == 0 && b.fits(n, who) {
		b.grant(c, n, who)
		b.mu.Unlock()
		return true
	}
	cl := &claim{c: c, n: n, granted: make(chan struct{})}
	b.waiting[who] = append(b.waiting[who], cl)
	b.mu.Unlock()
	select {
	case <-cl.granted:
		return true
	case <-c.lost():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.waiting[who] {
		if w == cl {
			b.waiting[who] = append(b.waiting[who][:i], b.waiting[who][i+1:]...)
			b.serve() // it may have stood before a smaller one
			return false
		}
	}
	// It was granted in the same moment.
	b.give(c, n)
	b.serve()
	return false
}

// fits: a reply larger than everything must still be made one day, so what
// finds the budget empty always fits.
func (b *budget) fits(n int64, who int) bool {
	if who == 1 {
		return b.used+n <= b.total || b.proven == 0
	}
	return b.used+n <= b.newcomers || b.used == 0
}

func (b *budget) grant(c holder, n int64, who int) {
	h := b.holders[c]
	if h.bytes == 0 {
		h.proven = who == 1
	}
	b.change(c, h, n)
}

// change adds n, which may be negative, to what c holds.
func (b *budget) change(c holder, h holding, n int64) {
	h.bytes += n
	b.used += n
	if h.proven {
		b.proven += n
	}
	if h.bytes == 0 {
		delete(b.holders, c)
	} else {
		b.holders[c] = h
	}
}

func (b *budget) give(c holder, n int64) { b.change(c, b.holders[c], -n) }

// adjust replaces a guess by what it came to, which may exceed the budget: the
// bytes are there already.
func (b *budget) adjust(c holder, guess, actual int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give(c, guess-actual)
	b.serve()
}

// release gives n bytes back.
func (b *budget) release(c holder, n int64) { b.adjust(c, n, 0) }

// serve grants what fits, in order of arrival, proven readers first.
func (b *budget) serve() {
	for who := 1; who >= 0; who-- {
		for len(b.waiting[who]) > 0 && b.fits(b.waiting[who][0].n, who) {
			cl := b.waiting[who][0]
			b.waiting[who] = b.waiting[who][1:]
			b.grant(cl.c, cl.n, who)
			close(cl.granted)
		}
	}
}

// stalled returns the connections that hold bytes others wait for though
// their peer took none for so long.
func (b *budget) stalled(d time.Duration) []holder {
	var list []holder
	b.mu.Lock()
	if len(b.waiting[0])+len(b.waiting[1]) > 0 {
		list = slices.Collect(maps.Keys(b.holders))
	}
	b.mu.Unlock()
	// Not while the lock is held: connections give bytes back under their own.
	return slices.DeleteFunc(list, func(c holder) bool { return !c.stuckFor(d) })
}

// held is the number of bytes in use.
func (b *budget) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
