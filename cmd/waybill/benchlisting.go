package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

type benchListingCmd struct {
	benchFlags
	benchEntries
}

type benchEntries struct {
	Entries int `default:"100000" min:"1" max:"1000000" placeholder:"N" help:"Entries of the directory that is listed (${default})."`
}

// Run measures the listing of a large directory.
func (c *benchListingCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "listing", func(ctx context.Context, b *bench) error { return b.listings(ctx, c.Entries) })
}

// listings is the row of the listing of n entries.
func (b *bench) listings(ctx context.Context, n int) error {
	return b.served(ctx, benchTarget{}, []benchCase{{fmt.Sprintf("listing/entries=%d", n), func(ctx context.Context, d *benchDaemon, row *benchRow) error {
		return b.listing(ctx, d, row, n)
	}, true}})
}

// listing measures listings from the request until a client has all of it, beside
// reading the directory and looking at each entry.
func (b *bench) listing(ctx context.Context, d *benchDaemon, row *benchRow, n int) error {
	const name = "many"
	dir := filepath.Join(d.root, name)
	if err := manyFiles(ctx, dir, n); err != nil {
		return err
	}
	p, err := d.panel(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	stats := func(_ string, t time.Duration) (float64, error) {
		return perSecond(n, t, func() error { return statAll(dir) })
	}
	err = b.calibrated(row, "readdir + stat", "entries/s", stats, func() (err error) {
		var list struct {
			Files []struct{} `json:"files"`
		}
		d.begin()
		row.Value, err = perSecond(n, b.time, func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			list.Files = list.Files[:0]
			err := p.ask(ctx, "get_directory_info", map[string]any{"path": name}, &list)
			if err == nil && len(list.Files) != n {
				err = fmt.Errorf("a listing of %d entries, not %d", len(list.Files), n)
			}
			return err
		})
		row.Unit = "entries/s"
		return err
	})
	if err == nil {
		row.Ratio = row.Value / row.Calibration.Value
		row.Details = append(benchDetails{{"each_ms", 1e3 * float64(n) / row.Value}}, d.costs(0, "")...)
	}
	return err
}

// manyFiles makes n empty files in a new folder.
func manyFiles(ctx context.Context, dir string, n int) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("entry-%08d.txt", i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func statAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := e.Info(); err != nil {
			return err
		}
	}
	return nil
}

// perSecond is how often a second the n things are done that once does.
func perSecond(n int, d time.Duration, once func() error) (float64, error) {
	turns, begun := 0, time.Now()
	for ; turns == 0 || time.Since(begun) < d; turns++ {
		if err := once(); err != nil {
			return 0, err
		}
	}
	return float64(turns) * float64(n) / time.Since(begun).Seconds(), nil
}
