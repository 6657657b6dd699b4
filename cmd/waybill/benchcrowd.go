package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// stall opens n connections to which something large is sent that they do not read,
// or that stop in the middle of a message.
func (d *benchDaemon) stall(ctx context.Context, n int) (done func(), err error) {
	var list []*benchPanel
	done = func() {
		for _, p := range list {
			p.close()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	token, err := d.token()
	if err != nil {
		return nil, err
	}
	first, id, err := d.large(ctx)
	if err != nil {
		return nil, err
	}
	list = append(list, first)
	// Little room for what comes: else the kernel would take it all.
	narrow := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(16 << 10)
		}
		return conn, err
	}}}
	half := make([]byte, 512<<10)
	for i := range n {
		ws, _, err := websocket.Dial(ctx, d.URL.at(panelPath), &websocket.DialOptions{
			HTTPClient: narrow, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
		})
		if err != nil {
			return nil, err
		}
		list = append(list, &benchPanel{ws})
		if i%2 == 0 {
			err = ws.Write(ctx, websocket.MessageText, panelwire.AppendRequest(nil, "r", "file_download_chunk",
				map[string]any{"file_id": id, "range": fmt.Sprintf("0..%d", largeChunk)}))
		} else {
			w, e := ws.Writer(ctx, websocket.MessageText)
			if err = e; err == nil {
				_, err = w.Write(half)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return done, nil
}

const largeChunk = 8 << 20

// large opens a download of a file with as much as one reply may hold.
func (d *benchDaemon) large(ctx context.Context) (*benchPanel, sessions.ID, error) {
	var opened struct {
		ID sessions.ID `json:"file_id"`
	}
	name := filepath.Join(d.root, "large")
	if _, err := os.Stat(name); err != nil {
		f, err := fillFile(name, largeChunk)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, opened.ID, err
		}
	}
	p, err := d.panel(ctx)
	if err != nil {
		return nil, opened.ID, err
	}
	if err := p.ask(ctx, "file_download_request", map[string]any{"path": "large", "timeout": 3_600_000}, &opened); err != nil {
		p.close()
		return nil, opened.ID, err
	}
	return p, opened.ID, nil
}

// loadUploads are connections that upload one file after the other until they are
// told to stop.
type loadUploads struct {
	bytes   atomic.Int64 // of files that are in their places
	first   sync.WaitGroup
	running chan struct{} // closed when each has opened its first
	cancel  context.CancelFunc
	ended   func() error
}

func (d *benchDaemon) upload(ctx context.Context, n int) *loadUploads {
	const size, chunk, inFlight = 4 << 20, 256 << 10, 4
	u := &loadUploads{running: make(chan struct{})}
	ctx, u.cancel = context.WithCancel(ctx)
	group, gctx := errgroup.WithContext(ctx)
	data := make([]byte, chunk)
	u.first.Add(n)
	for i := range n {
		group.Go(func() error {
			opened := sync.OnceFunc(u.first.Done)
			defer opened()
			p, err := d.panel(gctx)
			if err != nil {
				return err
			}
			defer p.close()
			for ctx.Err() == nil {
				id, err := p.open(gctx, fmt.Sprintf("load/%d", i), size)
				opened()
				if err == nil {
					err = p.send(gctx, "packet", id, data, size, inFlight)
				}
				switch {
				case ctx.Err() != nil: // cut short
				case err != nil:
					return err
				default:
					u.bytes.Add(size)
				}
			}
			return nil
		})
	}
	go func() { u.first.Wait(); close(u.running) }()
	u.ended = sync.OnceValue(group.Wait)
	return u
}

// begun waits until all are at it.
func (u *loadUploads) begun(ctx context.Context) error {
	select {
	case <-u.running:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends them, and tells what went wrong before.
func (u *loadUploads) stop() error {
	u.cancel()
	return u.ended()
}
