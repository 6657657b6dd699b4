package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"waybill/daemon/panelwire"
)

// Those who ping do so at set times. Whose time comes while an earlier one is not
// answered would have waited for that one, and counts so.
const (
	pingers    = 8
	pingPeriod = 10 * time.Millisecond
)

// pings has some panels ping for d.
func (d *benchDaemon) pings(ctx context.Context, t time.Duration) (*latencies, error) {
	return pinging(ctx, t, func(ctx context.Context) (func(context.Context) error, func(), error) {
		p, err := d.panel(ctx)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) error { return p.ask(ctx, "ping", nil, nil) }, p.close, nil
	})
}

// pinging has some clients do something for d, each at its set times.
func pinging(ctx context.Context, d time.Duration, dial func(context.Context) (do func(context.Context) error, done func(), err error)) (*latencies, error) {
	all, mu := new(latencies), new(sync.Mutex)
	group, gctx := errgroup.WithContext(ctx)
	for i := range pingers {
		group.Go(func() error {
			do, done, err := dial(gctx)
			if err != nil {
				return err
			}
			defer done()
			var own latencies
			begun := time.Now().Add(pingPeriod * time.Duration(i) / pingers)
			for at := begun; own.n == 0 || at.Sub(begun) < d; at = at.Add(pingPeriod) {
				time.Sleep(time.Until(at))
				if err := do(gctx); err != nil {
					return err
				}
				took := time.Since(at)
				own.add(took)
				for ; took > pingPeriod; at = at.Add(pingPeriod) {
					took -= pingPeriod // a ping whose time came meanwhile
					own.add(took)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(&own)
			return nil
		})
	}
	return all, group.Wait()
}

// echoes is how long pings to a server take that only sends them back.
func (b *bench) echoes(ctx context.Context, t time.Duration) (all *latencies, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // the client is told
		}
		defer ws.CloseNow()
		for {
			typ, msg, err := ws.Read(r.Context())
			if err != nil || ws.Write(r.Context(), typ, msg) != nil {
				return
			}
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	defer func() {
		err = errors.Join(err, s.Close())
		<-ended
	}()
	msg := panelwire.AppendRequest(nil, "r", "ping", nil)
	return pinging(ctx, t, func(ctx context.Context) (func(context.Context) error, func(), error) {
		ws, _, err := websocket.Dial(ctx, "ws://"+listener.Addr().String(), nil)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) error {
			if err := ws.Write(ctx, websocket.MessageText, msg); err != nil {
				return err
			}
			_, _, err := ws.Read(ctx)
			return err
		}, func() { _ = ws.CloseNow() }, nil
	})
}
