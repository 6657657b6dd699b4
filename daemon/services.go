package daemon

import (
	"context"
	"fmt"
	"sync"
)

// service is a listener beside HTTP, with its connections.
type service interface {
	// stop accepts no further connections, ends those there are once their
	// requests are answered, at the latest when ctx ends, and returns when no
	// goroutine is left.
	stop(ctx context.Context)
	// abort ends everything at once, without another word.
	abort()
}

// startServices opens the listeners that are configured. On an error none is
// left open.
func (s *server) startServices() error {
	for _, o := range []struct {
		what, addr string
		start      func(addr string) (service, string, error)
	}{
		// First: clients of the other are told its port.
		{"ftp", s.cfg.FTPListen, s.startFTP},
		{"cfms", s.cfg.CFMSListen, s.startLegacy},
	} {
		if o.addr == "" {
			continue
		}
		started, addr, err := o.start(o.addr)
		if err != nil {
			s.abortServices()
			return fmt.Errorf("%w the %s listener: %w", ErrCreate, o.what, err)
		}
		s.services = append(s.services, started)
		s.log.Info().Str("addr", addr).Str("listener", o.what).Msg("listening")
		if s.cfg.Listening != nil {
			s.cfg.Listening(o.what, addr)
		}
	}
	return nil
}

func (s *server) stopServices(ctx context.Context) {
	var all sync.WaitGroup
	for _, o := range s.services {
		all.Go(func() { o.stop(ctx) })
	}
	all.Wait()
}

func (s *server) abortServices() {
	for _, o := range s.services {
		o.abort()
	}
}
