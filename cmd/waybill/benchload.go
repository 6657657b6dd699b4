package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

type benchLoadCmd struct {
	benchFlags
	benchLoad
}

// benchLoad is who is there beside those who ping.
type benchLoad struct {
	Idle    int `default:"1000" min:"1" max:"20000" placeholder:"N" help:"Connections that do nothing (${default})."`
	Stalled int `default:"200" min:"0" max:"10000" placeholder:"N" help:"Connections that read no answer, or stop in the middle of a message (${default})."`
	Uploads int `default:"64" min:"0" max:"1000" placeholder:"N" help:"Connections that upload (${default})."`
}

// Run measures what the daemon's other clients do to a healthy one.
func (c *benchLoadCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "load", func(ctx context.Context, b *bench) error { return b.load(ctx, c.benchLoad) })
}

// load are the rows of pings and of memory.
func (b *bench) load(ctx context.Context, of benchLoad) error {
	return b.served(ctx, benchTarget{}, []benchCase{
		{fmt.Sprintf("load/idle=%d", of.Idle), func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			return b.idle(ctx, d, row, of.Idle)
		}, true},
		{"load/ping-p99/quiet", b.quiet, true},
		{"load/ping-p99/flood", func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			return b.flood(ctx, d, row, of)
		}, true},
	})
}

// idle measures what a connection costs that does nothing.
func (b *bench) idle(ctx context.Context, d *benchDaemon, row *benchRow, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, err := d.panel(ctx) // what is made once is made
	if err != nil {
		return err
	}
	defer first.close()
	before, _ := d.memory()
	done, err := d.idlers(ctx, n)
	if err != nil {
		return err
	}
	defer done()
	if err := first.ask(ctx, "ping", nil, nil); err != nil {
		return err
	}
	after, _ := d.memory()
	// A page is the least that memory can grow by.
	row.Value, row.Unit = max((after-before)*1024, 4)/float64(n), "KiB each"
	row.Details = benchDetails{{"before_MiB", before}, {"resident_MiB", after}}
	if n >= 1000 { // fewer do not show beside what comes and goes
		row.want("≤ 24 KiB", row.Value <= 24)
	}
	return nil
}

// idlers opens n connections that answer pings and do nothing else.
func (d *benchDaemon) idlers(ctx context.Context, n int) (done func(), err error) {
	var list []*benchPanel
	done = func() {
		for _, p := range list {
			p.close()
		}
	}
	for range n {
		p, err := d.panel(ctx)
		if err != nil {
			done()
			return nil, err
		}
		p.ws.CloseRead(ctx)
		list = append(list, p)
	}
	return done, nil
}

// quiet measures pings of a daemon that does nothing else, beside those of a server
// that only echoes.
func (b *bench) quiet(ctx context.Context, d *benchDaemon, row *benchRow) error {
	err := b.calibrated(row, "echo, p99", "ms", func(_ string, t time.Duration) (float64, error) {
		all, err := b.echoes(ctx, t)
		return ms(all.quantile(0.99)), err
	}, func() error {
		all, err := d.pings(ctx, b.time)
		row.pinged(all)
		return err
	})
	if err == nil {
		row.Ratio = row.Value / row.Calibration.Value
	}
	return err
}

// pinged shows how long pings took.
func (r *benchRow) pinged(all *latencies) {
	r.Value, r.Unit = ms(all.quantile(0.99)), "ms"
	r.Details = append(all.details(), benchDetail{"of_pings", float64(all.n)})
}

// flood measures pings of a daemon that has its hands full, beside those of a quiet
// one.
func (b *bench) flood(ctx context.Context, d *benchDaemon, row *benchRow, of benchLoad) error {
	quiet, err := d.pings(ctx, min(b.time, longestCal))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.begin()
	done, err := d.idlers(ctx, of.Idle)
	if err != nil {
		return err
	}
	defer done()
	done, err = d.stall(ctx, of.Stalled)
	if err != nil {
		return err
	}
	defer done()
	uploads := d.upload(ctx, of.Uploads)
	defer uploads.stop()
	if err := uploads.begun(ctx); err != nil {
		return err
	}
	bytes, begun := uploads.bytes.Load(), time.Now()
	all, err := d.pings(ctx, b.time)
	mbs := float64(uploads.bytes.Load()-bytes) / 1e6 / time.Since(begun).Seconds()
	if err := errors.Join(err, uploads.stop()); err != nil {
		return err
	}
	row.pinged(all)
	row.Calibration = &benchCal{"quiet, p99", ms(quiet.quantile(0.99)), "ms"}
	row.Ratio = row.Value / row.Calibration.Value
	row.Details = append(row.Details, benchDetail{"uploads_MB/s", mbs})
	if now, peak := d.memory(); peak > 0 {
		row.Details = append(row.Details, benchDetail{"resident_MiB", now}, benchDetail{"peak_MiB", peak})
		row.want("≤ 256 MiB resident", peak <= 256)
	}
	return nil
}
