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

	// life ends when the daemon stops: long answers over HTTP end with it.
	life context.Context
	end  context.CancelFunc
	// patience ends when a clean stop takes too long: then work that changes
	// nothing, hashing for a download say, is given up.
	patience context.Context
	hurry    context.CancelFunc
	// work counts every goroutine of a connection.
	work sync.WaitGroup

	// mu guards what follows.
	mu        sync.Mutex
	conns     map[*conn]struct{}
	strangers int // unauthenticated connections, the ones being upgraded included
	stopping  bool
	empty     chan struct{} // closed when stopping and no connection is left
	scratch   []*conn       // owned by the wheel
}

func newServer(cfg Config, engine *actions.Engine, tokens *authority, m *metrics) *server {
	s := &server{
		cfg: cfg, log: cfg.Logger, engine: engine, tokens: tokens, metrics: m,
		slots:        newSlots(bigSlots),
		contents:     newBudget(contentBudget, contentBudget),
		listings:     newBudget(listingBudget, newcomerShare),
		failedLogins: rate.NewLimiter(rate.Every(failedLoginEvery), failedLoginBurst),
		conns:        make(map[*conn]struct{}),
		empty:        make(chan struct{}),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.patience, s.hurry = context.WithCancel(context.Background())
	return s
}

func (s *server) unixMS() int64 { return time.Now().UnixMilli() }

// reserve makes room for one more connection; a stranger may find none.
func (s *server) reserve(stranger bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || stranger && s.strangers >= maxStrangers {
		return false
	}
	if stranger {
		s.strangers++
	}
	return true
}

// acquainted notes that a stranger has logged in, or never came about.
func (s *server) acquainted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strangers--
}

// start lets a connection run.
func (s *server) start(c *conn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	stopping := s.stopping
	s.work.Add(1)
	s.mu.Unlock()
	go c.read()
	if stopping {
		c.stop()
	}
}

// forget is the end of a connection's time here.
func (s *server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if !c.known {
		s.strangers--
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
func (s *server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.scratch)
	s.scratch = s.scratch[:0]
	for c := range s.conns {
		s.scratch = append(s.scratch, c)
	}
	return s.scratch
}

// counts returns the number of connections, and how many are strangers.
func (s *server) counts() (all, strangers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.strangers
}

// stop closes every connection once its requests are answered, at the latest
// when ctx ends, and returns when none of their goroutines is left, or
// shortly after ctx has ended.
func (s *server) stop(ctx context.Context) {
	s.end()
	s.mu.Lock()
	s.stopping = true
	if len(s.conns) == 0 {
		s.closeEmptyLocked()
	}
	conns := make([]*conn, 0, len(s.conns))
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
	s.mu.Lock()
	s.stopping = true
	conns := make([]*conn, 0, len(s.conns))
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
