package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

type benchFilesCmd struct {
	benchFlags
	benchAgainst
}

const (
	smallFile  = 16 << 10
	smallConns = 8
)

// Run measures small files.
func (c *benchFilesCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "files", func(ctx context.Context, b *bench) error { return b.smallFiles(ctx, c.benchAgainst) })
}

// smallFiles are the rows of files of 16 KiB over 8 connections.
func (b *bench) smallFiles(ctx context.Context, against benchAgainst) error {
	f := &smallFiles{bench: b, data: bytes.Repeat([]byte("waybill\n"), smallFile/8)}
	cases := []benchCase{{"files/16KiB/tus", f.overTus, true}, {"files/16KiB/websocket", f.overPanels, true}}
	if against.Against.at != nil {
		cases = append(cases, benchCase{"against/files/16KiB", func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			return f.against(ctx, d, row, against.Against.tus())
		}, true})
	}
	return b.served(ctx, benchTarget{}, cases)
}

// smallFiles measures uploads of files that are no longer than data.
type smallFiles struct {
	*bench
	data []byte
	made int // names given so far are below it
}

// overTus measures files that are one request each.
func (f *smallFiles) overTus(ctx context.Context, d *benchDaemon, row *benchRow) error {
	s, err := d.tus()
	if err != nil {
		return err
	}
	defer s.web.CloseIdleConnections()
	return f.besideCommits(row, d, func() (int, time.Duration, *latencies, error) {
		return f.run(ctx, f.time, func(int) func(context.Context, string) error {
			return func(ctx context.Context, name string) error {
				_, err := s.create(ctx, name, int64(len(f.data)), bytes.NewReader(f.data), int64(len(f.data)))
				return err
			}
		})
	})
}

// overPanels measures files that are a request and a chunk each.
func (f *smallFiles) overPanels(ctx context.Context, d *benchDaemon, row *benchRow) error {
	panels := make([]*benchPanel, smallConns)
	for i := range panels {
		p, err := d.panel(ctx)
		if err != nil {
			return err
		}
		defer p.close()
		panels[i] = p
	}
	return f.besideCommits(row, d, func() (int, time.Duration, *latencies, error) {
		return f.run(ctx, f.time, func(worker int) func(context.Context, string) error {
			p := panels[worker]
			return func(ctx context.Context, name string) error {
				id, err := p.open(ctx, name, int64(len(f.data)))
				if err != nil {
					return err
				}
				typ, msg := chunkForm("packet").messages(id, f.data)(0, len(f.data))
				if err := p.ws.Write(ctx, typ, msg); err != nil {
					return err
				}
				return p.done(ctx)
			}
		})
	})
}

// done reads the reply to a chunk, which must have completed its file.
func (p *benchPanel) done(ctx context.Context) error {
	var stored struct{ Done bool }
	err := p.answer(ctx, &stored)
	if err == nil && !stored.Done {
		err = fmt.Errorf("the file is not done")
	}
	return err
}

// besideCommits puts cal2 beside files that are all durable.
func (f *smallFiles) besideCommits(row *benchRow, d *benchDaemon, measure func() (int, time.Duration, *latencies, error)) error {
	return f.bench.besideCommits(row, func() error {
		d.begin()
		n, took, all, err := measure()
		if err != nil {
			return err
		}
		row.Value, row.Unit = float64(n)/took.Seconds(), "files/s"
		row.Details = append(all.details(), d.costs(float64(n), "file")...)
		return nil
	})
}

// run lets each connection upload one file after the other, each under a name of
// its own, for d.
func (f *smallFiles) run(ctx context.Context, d time.Duration, worker func(int) func(context.Context, string) error) (n int, took time.Duration, all *latencies, err error) {
	group, gctx := errgroup.WithContext(ctx)
	all = new(latencies)
	var mu sync.Mutex // guards all and n
	begun := time.Now()
	for w := range smallConns {
		upload := worker(w)
		group.Go(func() error {
			var own latencies
			for i := 0; i == 0 || time.Since(begun) < d; i++ {
				t := time.Now()
				if err := upload(gctx, fmt.Sprintf("waybill-bench/%d-%d-%d", f.made, w, i)); err != nil {
					return err
				}
				own.add(time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(&own)
			n += int(own.n)
			return nil
		})
	}
	err = group.Wait()
	f.made++
	return n, time.Since(begun), all, err
}

// against measures the same files here and there, in turns.
func (f *smallFiles) against(ctx context.Context, d *benchDaemon, row *benchRow, theirs *tusServer) error {
	ours, err := d.tus()
	if err != nil {
		return err
	}
	err = f.inTurns(ctx, row, "files/s", func(s *tusServer) (float64, time.Duration, error) {
		var mu sync.Mutex
		var made []*url.URL
		n, took, _, err := f.run(ctx, f.time/4, func(int) func(context.Context, string) error {
			return func(ctx context.Context, name string) error {
				at, err := s.create(ctx, name, int64(len(f.data)), bytes.NewReader(f.data), int64(len(f.data)))
				mu.Lock()
				made = append(made, at)
				mu.Unlock()
				return err
			}
		})
		for i := 0; err == nil && i < len(made); i++ {
			err = s.remove(ctx, made[i])
		}
		return float64(n), took, err
	}, ours, theirs)
	if err == nil {
		row.want("≥ 1 × the other", row.Ratio >= 1)
	}
	return err
}
