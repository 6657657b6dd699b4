// Package daemon is the running program: one listener, its HTTP endpoints and
// WebSocket connections, the bounds on what a peer can cost, metrics, and the
// life from the lock on STATE to the last record.
//
// What a request means is decided in package actions; what it looks like on
// the wire in panelwire. The daemon decides when one may run, in which order,
// and when its reply may be made.
package daemon

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// errHung is returned when the core did not finish in time at a clean stop.
// Nothing acknowledged is lost: the next start redoes what a crash cuts short.
var errHung = errors.New("work was still under way when the time to stop had passed")

// Run is the daemon's whole life. It returns nil after a clean stop, which ctx
// ends it with; ExitCode says what else an error means. STATE and ROOT are
// locked for its duration.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg = cfg.withDefaults()
	if err := apart(cfg.State, cfg.Root); err != nil {
		return err
	}
	if err := checkRetention(cfg); err != nil {
		return err
	}
	var st *stateDir
	err = cfg.whenFree(ctx, func() (err error) {
		st, err = openState(cfg.State, cfg.MinFree)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("%w the listener: %w", ErrCreate, err)
	}
	d := &daemon{cfg: cfg, state: st, metrics: newMetrics(), sd: newNotifier(), addr: ln.Addr().String()}
	d.serveHTTP(ln)
	defer d.serving.Wait()
	defer d.web.Close() // in a clean stop there is nothing left to close
	return d.live(ctx)
}

// whenFree does what another daemon's lock may refuse, again for as long as that
// may go away.
func (c *Config) whenFree(ctx context.Context, take func() error) error {
	const pause = 20 * time.Millisecond
	for begun, told := time.Now(), false; ; {
		err := take()
		if !errors.Is(err, fsview.ErrLocked) || time.Since(begun) >= c.LockWithin {
			return err
		}
		if !told {
			told = true
			c.Logger.Warn().Err(err).Dur("within", c.LockWithin).Msg("waiting for another daemon to end")
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// daemon is what Run builds up and takes down again.
type daemon struct {
	cfg     Config
	state   *stateDir
	metrics *metrics
	sd      notifier
	addr    string
	notary  *notary

	front   front
	web     *http.Server
	serving sync.WaitGroup
	webDone chan error // gets one error when web no longer accepts
}

// serveHTTP answers from here on: alive, and not yet ready.
func (d *daemon) serveHTTP(ln net.Listener) {
	d.web = &http.Server{
		Handler:           &d.front,
		ConnContext:       withPeer,
		ReadHeaderTimeout: readHeaderWithin,
		IdleTimeout:       idleHTTP,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(d.cfg.Logger, "", 0),
	}
	d.webDone = make(chan error, 1)
	room := &socketRoom{most: d.cfg.Load.sockets(), refused: func(remote string) {
		d.metrics.limited("sockets")
		if s := d.front.server.Load(); s != nil {
			s.engine.CountRefused("sockets", remote)
		}
	}}
	d.serving.Go(func() { d.webDone <- d.web.Serve(peerListener{ln, d.cfg.StallAfter, room}) })
}

// live opens what is on disk and serves it.
func (d *daemon) live(ctx context.Context) (err error) {
	if d.cfg.Archive != "" {
		if err := d.lookAt(archiveAt(d.cfg.Archive, d.cfg.State, d.cfg.Root)); err != nil {
			return err
		}
	}
	log, err := journal.Open(d.state.journalDir(), journal.Options{Fault: d.cfg.JournalFault})
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	defer func() {
		if !errors.Is(err, errHung) { // what hangs may still use it, or be in a commit
			err = errors.Join(err, log.Close())
		}
	}()
	if err := d.state.initialise(log.Head().Size); err != nil {
		return err
	}
	last, err := d.compareLast(ctx, log)
	if err != nil && ctx.Err() == nil {
		return err
	}
	state, from, err := d.recover(ctx, log)
	if ctx.Err() != nil {
		return nil // told to stop while starting: nothing has begun
	}
	if err != nil {
		return err
	}
	if err := d.openNotary(log, state.Key(), last); err != nil {
		return err
	}
	root, err := d.openRoot(ctx, state)
	if err != nil {
		return err
	}
	library, err := d.openLibrary()
	if err != nil {
		return errors.Join(err, root.Close())
	}
	engine := actions.New(actions.Config{
		Log: log, Root: root, Version: d.cfg.Version, Logger: d.cfg.Logger,
		Limits: d.cfg.Limits, Observe: d.metrics.observer(), Library: library,
		Now: d.cfg.now,
	}, state)
	err = d.run(ctx, engine, &snapshots{
		log: log, dir: d.cfg.State, logger: d.cfg.Logger, last: from, every: snapshotLook,
		room: func() error { return root.CheckSpace(0) },
	})
	if errors.Is(err, errHung) {
		d.notary.leave()
		return err // what hangs may still use the files
	}
	d.notary.finish()
	return errors.Join(err, root.Close(), library.Contents.Close())
}

// openRoot opens ROOT, unless the state has work in hand for another one: then
// nothing is touched.
func (d *daemon) openRoot(ctx context.Context, state *actions.State) (*fsview.Root, error) {
	if n := state.LiveSessions(); n > 0 {
		ours, err := fsview.HasStore(d.cfg.Root, d.state.storeID)
		if err != nil {
			return nil, err
		}
		if !ours {
			return nil, fmt.Errorf("%w: transfers or jobs under way: %d, but %s has no .waybill/%s",
				fsview.ErrForeignRoot, n, d.cfg.Root, d.state.storeID)
		}
	}
	var root *fsview.Root
	err := d.cfg.whenFree(ctx, func() (err error) {
		root, err = fsview.OpenRoot(d.cfg.Root, fsview.Options{
			StoreID: d.state.storeID, Reserve: d.cfg.Reserve, StateDir: d.cfg.State, Fault: d.cfg.FileFault,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the served tree: %w", err)
	}
	if err := checkFree(d.cfg.Root, d.cfg.MinFree); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// run runs the engine, serves it while ctx lives, and stops in order: no new
// requests, then the replies of those there are, then the engine.
func (d *daemon) run(ctx context.Context, engine *actions.Engine, snapshots *snapshots) error {
	// A request of the document library can ask for a stop as a signal does.
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- engine.Run(life, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		return err
	case <-ctx.Done():
		late := time.NewTimer(d.cfg.StopWithin)
		defer late.Stop()
		stop()
		return d.ended(done, late)
	}

	s := newServer(d.cfg, engine, newAuthority(d.state.mainToken, d.state.jwtKey, time.Now), d.metrics)
	s.quit, s.state, s.notary = quit, d.state, d.notary
	s.cutter = d.newCutter(engine)
	d.metrics.watch(s)
	err := d.notary.begin(engine)
	if err == nil {
		err = s.startServices()
	}
	if err != nil {
		late := time.NewTimer(d.cfg.StopWithin)
		defer late.Stop()
		stop()
		return errors.Join(err, d.ended(done, late))
	}
	var clocks sync.WaitGroup
	clocks.Go(func() { s.wheel(life) })
	clocks.Go(func() {
		d.sd.watch(life, func(period time.Duration) bool {
			return engine.Journal().Err() == nil && engine.Busy() < period
		})
	})
	// The stop of the engine does not wait for what a snapshot takes.
	clocks.Go(func() { snapshots.run(ctx) })
	defer clocks.Wait()
	defer quit()
	defer stop()
	defer s.startRetaining()()
	d.front.server.Store(s)
	d.sd.send("READY=1")
	d.cfg.Logger.Info().Str("addr", d.addr).Str("version", d.cfg.Version).
		Uint64("records", engine.Stats().Records).Msg("serving")
	if d.cfg.serving != nil {
		d.cfg.serving(s)
	}
	if d.cfg.Running != nil {
		d.cfg.Running(engine)
	}
	if d.cfg.Ready != nil {
		d.cfg.Ready(d.addr)
	}

	var failure error
	select {
	case <-ctx.Done():
	case err := <-done:
		// The journal failed: no answer may leave any more.
		s.abort()
		return err
	case failure = <-d.webDone:
		failure = fmt.Errorf("the listener failed: %w", failure)
	}
	d.cfg.Logger.Info().Msg("stopping")
	d.sd.send("STOPPING=1")
	return errors.Join(failure, d.stop(s, stop, done))
}

// stop is a clean stop. Connections have two thirds of the time, the engine
// the rest.
func (d *daemon) stop(s *server, stopEngine func(), engine <-chan error) error {
	late := time.NewTimer(d.cfg.StopWithin)
	defer late.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.StopWithin*2/3)
	defer cancel()
	var web sync.WaitGroup
	web.Go(func() {
		if d.web.Shutdown(ctx) != nil { // it closes the listener first
			_ = d.web.Close()
		}
	})
	s.stop(ctx)
	web.Wait()
	stopEngine()
	return d.ended(engine, late)
}

// ended waits for the engine to end, but not longer than late.
func (d *daemon) ended(engine <-chan error, late *time.Timer) error {
	select {
	case err := <-engine:
		if err == nil {
			d.cfg.Logger.Info().Msg("stopped")
		}
		return err
	case <-late.C:
		return errHung
	}
}
