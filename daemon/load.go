package daemon

import (
	"sync"

	"waybill/actions"
)

// Load are the limits on what all callers together, and each of them, may have at
// one time. 0 is the default, negative no limit. What is over one is refused
// before a body is read or anything is done, and can be asked for again later.
type Load struct {
	// MaxConnections is how many WebSocket connections of both kinds there may be,
	// default 4096; MaxConnectionsPerSubject those of one subject, or of one user
	// of the document library, default none.
	MaxConnections, MaxConnectionsPerSubject int
	// MaxPending is how many requests of panels may wait for their answers on all
	// connections, default 8192, MaxPendingPerSubject those of one subject, default
	// none. Those of one connection have Config.MaxPending.
	MaxPending, MaxPendingPerSubject int
	// MaxTransfers is how many bodies may come or go over HTTP and FTPS, default
	// 512, MaxTransfersPerSubject those of one subject or user, default none.
	MaxTransfers, MaxTransfersPerSubject int
	// Bandwidth is how many bytes of files may come a second, and as many go, over
	// all connections; BandwidthPerSubject those of one subject or user. Default
	// none.
	Bandwidth, BandwidthPerSubject int64
}

func (l Load) withDefaults() Load {
	set(&l.MaxConnections, 4096)
	set(&l.MaxPending, 8192)
	set(&l.MaxTransfers, 512)
	return l
}

// most is a limit with none as 0.
func most[T int | int64](n T) T { return max(n, 0) }

// sockets is how many TCP connections the HTTP listener may have, 0 for any
// number: what the other limits let through, and some for everything else.
func (l Load) sockets() int64 {
	if l.MaxConnections < 0 || l.MaxTransfers < 0 {
		return 0
	}
	return int64(l.MaxConnections) + int64(l.MaxTransfers) + spareSockets
}

// subject is whoever a limit counts for: the subject of a token, or a user of the
// document library, who is another one even if called the same. The zero value is
// nobody that is known yet.
type subject struct {
	name string
	user bool
}

func subjectOf(who actions.Caller) subject { return subject{name: who.Subject} }

// quota counts what all callers, and each, have of one thing at this moment.
type quota struct {
	name      string // of the limit, for metrics
	all, each int    // 0 for none
	// full and fullEach are what is told of a limit that is reached.
	full, fullEach *actions.Error
	refused        func(limit string)

	mu   sync.Mutex
	used int
	by   map[subject]int
}

func newQuota(name, what string, all, each int, refused func(string)) *quota {
	return &quota{
		name: name, all: most(all), each: most(each), refused: refused, by: make(map[subject]int),
		full:     actions.Errorf(actions.CodeRateLimit, "too many %s", what),
		fullEach: actions.Errorf(actions.CodeRateLimit, "too many %s of one subject", what),
	}
}

// take counts one more for somebody: nil, or the limit that is reached.
func (q *quota) take(who subject) *actions.Error {
	q.mu.Lock()
	err := q.fitsLocked(who, 1)
	if err == nil {
		q.used++
		q.addLocked(who, 1)
	}
	q.mu.Unlock()
	return q.told(err)
}

// move makes one that somebody has somebody else's: nil, or fullEach.
func (q *quota) move(from, to subject) *actions.Error {
	if from == to {
		return nil
	}
	q.mu.Lock()
	err := q.fitsLocked(to, 0)
	if err == nil {
		q.addLocked(from, -1)
		q.addLocked(to, 1)
	}
	q.mu.Unlock()
	return q.told(err)
}

// give counts one less.
func (q *quota) give(who subject) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	q.addLocked(who, -1)
}

// count is how many there are.
func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

func (q *quota) fitsLocked(who subject, more int) *actions.Error {
	switch {
	case q.each > 0 && who != subject{} && q.by[who] >= q.each:
		return q.fullEach
	case q.all > 0 && q.used+more > q.all:
		return q.full
	}
	return nil
}

func (q *quota) addLocked(who subject, n int) {
	if who == (subject{}) {
		return
	}
	if q.by[who] += n; q.by[who] == 0 {
		delete(q.by, who)
	}
}

func (q *quota) told(err *actions.Error) *actions.Error {
	switch err {
	case nil:
	case q.fullEach:
		q.refused(q.name + "_per_subject")
	default:
		q.refused(q.name)
	}
	return err
}
