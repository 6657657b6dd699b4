package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"waybill/actions"
)

// server serves one running engine to HTTP requests and WebSocket
// connections.
type server struct {
	cfg     Config
	log     zerolog.Logger
	engine  *actions.Engine
	tokens  *authority
	metrics *metrics

	bufs         buffers
	slots        *slots
	contents     *budget      // for contents of files
	listings     *budget      // for all other large replies
	inbound      atomic.Int64 // bytes of messages on all connections
	failedLogins *rate.Limiter
	bundles      chan struct{} // holds a token for each entry bundle in the making
	connections  *quota        // WebSockets of both kinds
	pendings     *quota        // requests of panels
	transfers    *quota        // over HTTP and FTPS
	pace         *pacer        // nil without a bandwidth to keep to
	scans        atomic.Int64  // searches of the journal
	followers    followers
	tooWide      tooWide
	mostLearned  int // by a search; 0: what a Matcher may

	// life ends when the daemon stops: long answers over HTTP end with it.
	life context.Context
	end  context.CancelFunc
	// patience ends when a clean stop takes too long: then work that changes
	// nothing, hashing for a download say, is given up.
	patience context.Context
	hurry    context.CancelFunc
	// work counts every goroutine of a connection.
	work sync.WaitGroup
	// services are the listeners beside HTTP; none is added once it serves.
	services []service
	// quit asks the daemon to stop, as a signal does; ftpPort is what clients
	// are told, 0 without FTPS.
	quit    func()
	ftpPort int
	state   *stateDir
	notary  *notary
	cutter  *cutter // nil without an archive

	// mu guards what follows.
	mu    sync.Mutex
	conns map[client]struct{}
	// panels and documents count the connections of the two kinds.
	panels, documents tally
	stopping          bool
	empty             chan struct{} // closed when stopping and no connection is left
	scratch           []client      // owned by the wheel
}

// client is a WebSocket connection of either kind.
type client interface {
	// read is the connection's own goroutine.
	read()
	// tick looks after it, now and then, and never blocks.
	tick(at int64)
	// stop accepts no further requests, and closes after the replies of those
	// that were; kill ends it at once, without a word.
	stop()
	kill()
}

// tally is how many connections of a kind there are.
type tally struct {
	all       int
	strangers int // unauthenticated ones, those being upgraded included
}

// known is how many are authenticated. Strangers are counted from before their
// upgrade.
func (t tally) known() float64 { return float64(max(0, t.all-t.strangers)) }

func newServer(cfg Config, engine *actions.Engine, tokens *authority, m *metrics) *server {
	s := &server{
		cfg: cfg, log: cfg.Logger, engine: engine, tokens: tokens, metrics: m,
		slots:        newSlots(bigSlots),
		contents:     newBudget(contentBudget, contentBudget),
		listings:     newBudget(listingBudget, newcomerShare),
		failedLogins: rate.NewLimiter(rate.Every(failedLoginEvery), failedLoginBurst),
		bundles:      make(chan struct{}, maxBundles),
		connections:  newQuota("connections", "connections", cfg.Load.MaxConnections, cfg.Load.MaxConnectionsPerSubject, m.limited),
		pendings:     newQuota("pending", "requests pending", cfg.Load.MaxPending, cfg.Load.MaxPendingPerSubject, m.limited),
		transfers:    newQuota("transfers", "transfers", cfg.Load.MaxTransfers, cfg.Load.MaxTransfersPerSubject, m.limited),
		pace:         newPacer(cfg.Load, m.waited),
		conns:        make(map[client]struct{}),
		empty:        make(chan struct{}),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.patience, s.hurry = context.WithCancel(context.Background())
	return s
}

func (s *server) unixMS() int64 { return time.Now().UnixMilli() }

// reserve makes room for one more connection of a kind; a stranger may find
// none.
func (s *server) reserve(of *tally, stranger bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || stranger && of.strangers >= maxStrangers {
		return false
	}
	if stranger {
		of.strangers++
	}
	return true
}

// acquainted notes that a stranger has logged in, or never came about.
func (s *server) acquainted(of *tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of.strangers--
}

// start lets a connection run.
func (s *server) start(c client, of *tally) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	of.all++
	stopping := s.stopping
	s.work.Add(1)
	s.mu.Unlock()
	go c.read()
	if stopping {
		c.stop()
	}
}

// forget is the end of a connection's time here.
func (s *server) forget(c client, of *tally, stranger bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	of.all--
	if stranger {
		of.strangers--
	}
	if s.stopping && len(s.conns) == 0 {
		s.closeEmptyLocked()
	}
}

func (s *server) closeEmptyLocked() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// all returns the connections there are, in a slice that is reused.
func (s *server) all() []client {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.scratch)
	s.scratch = s.scratch[:0]
	for c := range s.conns {
		s.scratch = append(s.scratch, c)
	}
	return s.scratch
}

// counts returns the number of connections of a kind.
func (s *server) counts(of *tally) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *of
}

// stop closes every connection once its requests are answered, at the latest
// when ctx ends, and returns when none of their goroutines is left, or
// shortly after ctx has ended.
func (s *server) stop(ctx context.Context) {
	s.end()
	var others sync.WaitGroup
	others.Go(func() { s.stopServices(ctx) })
	defer others.Wait()
	s.mu.Lock()
	s.stopping = true
	if len(s.conns) == 0 {
		s.closeEmptyLocked()
	}
	conns := make([]client, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.stop()
	}
	select {
	case <-s.empty:
	case <-ctx.Done():
		s.hurry()
		for _, c := range conns {
			c.kill()
		}
	}
	idle := s.idle()
	select {
	case <-idle:
	case <-ctx.Done():
		// What is still in the engine ends with it.
		select {
		case <-idle:
		case <-time.After(s.cfg.CloseWithin):
		}
	}
}

// idle is closed when no goroutine of a connection is left.
func (s *server) idle() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	return done
}

// abort ends every connection without another word, because what their
// requests came to is unknown.
func (s *server) abort() {
	s.end()
	s.hurry()
	var others sync.WaitGroup
	others.Go(s.abortServices)
	defer others.Wait()
	s.mu.Lock()
	s.stopping = true
	conns := make([]client, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.kill()
	}
	// The engine has answered all of them, unless the disk holds one up.
	select {
	case <-s.idle():
	case <-time.After(s.cfg.CloseWithin):
	}
}
