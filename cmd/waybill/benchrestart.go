package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

type benchRestartCmd struct {
	benchFlags
	benchSessions
}

type benchSessions struct {
	Sessions int `default:"10000" min:"1" max:"1000000" placeholder:"N" help:"Uploads that are open when the daemon starts (${default})."`
}

// Run measures starts with many open uploads.
func (c *benchRestartCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "restart", func(ctx context.Context, b *bench) error { return b.restarts(ctx, c.Sessions) })
}

// restarts are the rows of starts with n open uploads, after an end in order and
// after one that was none.
func (b *bench) restarts(ctx context.Context, n int) error {
	clean, killed := fmt.Sprintf("restart/sessions=%d/clean", n), fmt.Sprintf("restart/sessions=%d/killed", n)
	if !b.wants(clean, killed) {
		return nil
	}
	dir := filepath.Join(b.dir, "restarted")
	b.out.working("opening uploads")
	d, err := b.startDaemonIn(ctx, dir)
	if err != nil {
		return err
	}
	if err := errors.Join(openUploads(ctx, d, n), d.stop()); err != nil {
		return err
	}
	err = b.row(ctx, clean, func(_ string, row *benchRow) error { return b.restart(ctx, dir, row, n, (*benchDaemon).stop) })
	if err != nil {
		return err
	}
	return b.row(ctx, killed, func(_ string, row *benchRow) error { return b.restart(ctx, dir, row, n, (*benchDaemon).kill) })
}

// restart measures the time until a daemon that was ended is ready, beside that of
// one which has nothing.
func (b *bench) restart(ctx context.Context, dir string, row *benchRow, n int, end func(*benchDaemon) error) error {
	empty, err := os.MkdirTemp(b.dir, "empty-*")
	if err != nil {
		return err
	}
	none := func(string, time.Duration) (float64, error) { return b.startTimes(ctx, empty, end) }
	err = b.calibrated(row, "empty daemon", "ms", none, func() (err error) {
		row.Value, err = b.startTimes(ctx, dir, end)
		row.Unit = "ms"
		return err
	})
	if err != nil {
		return err
	}
	row.Ratio = row.Value / row.Calibration.Value
	d, err := b.startDaemonIn(ctx, dir)
	if err != nil {
		return err
	}
	err = uploadsOpen(ctx, d, n)
	row.Details = append(benchDetails{{"above_empty_ms", row.Value - row.Calibration.Value}}, d.costs(0, "")...)
	return errors.Join(err, d.stop())
}

// startTimes gives the median of some starts on a folder, in ms: as many as there is
// time for, at most nine. A first one, which may find anything, does not count.
func (b *bench) startTimes(ctx context.Context, dir string, end func(*benchDaemon) error) (float64, error) {
	var times []time.Duration
	begun := time.Now()
	for i := 0; i < 2 || i < 10 && time.Since(begun) < b.time; i++ {
		start := time.Now()
		d, err := b.startDaemonIn(ctx, dir)
		if err != nil {
			return 0, err
		}
		took := time.Since(start)
		if err := end(d); err != nil {
			return 0, err
		}
		if i > 0 {
			times = append(times, took)
		}
	}
	slices.Sort(times)
	return ms(times[len(times)/2]), nil
}

// openUploads opens n uploads and stores the beginning of each.
func openUploads(ctx context.Context, d *benchDaemon, n int) error {
	const conns, size, part = 16, 64 << 10, 4 << 10
	group, gctx := errgroup.WithContext(ctx)
	data := make([]byte, part)
	for w := range conns {
		group.Go(func() error {
			p, err := d.panel(gctx)
			if err != nil {
				return err
			}
			defer p.close()
			for i := w; i < n; i += conns {
				id, err := p.open(gctx, fmt.Sprintf("open/%d", i), size)
				if err != nil {
					return err
				}
				typ, msg := chunkForm("packet").messages(id, data)(0, part)
				if err := p.ws.Write(gctx, typ, msg); err != nil {
					return err
				}
				if err := p.answer(gctx, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// uploadsOpen sees to it that all uploads are there still.
func uploadsOpen(ctx context.Context, d *benchDaemon, n int) error {
	p, err := d.panel(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	var list struct {
		Uploads []struct{ Received int64 }
	}
	if err := p.ask(ctx, "file_transfer_list", struct{}{}, &list); err != nil {
		return err
	}
	if len(list.Uploads) != n {
		return fmt.Errorf("%d uploads are open, not %d", len(list.Uploads), n)
	}
	return nil
}
