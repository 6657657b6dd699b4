package main

import "context"

type benchAllCmd struct {
	benchFlags
	benchSizes
	benchAgainst
	benchEntries
	benchLoad
	benchSessions
	benchRecords
}

// Run measures everything there is to measure.
func (c *benchAllCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "all", func(ctx context.Context, b *bench) error {
		for _, part := range []func() error{
			func() error { return b.transfers(ctx, int64(c.Size), benchTarget{}, c.benchAgainst) },
			func() error { return b.downloads(ctx, int64(c.Size), benchTarget{}) },
			func() error { return b.smallFiles(ctx, c.benchAgainst) },
			func() error { return b.listings(ctx, c.Entries) },
			func() error { return b.load(ctx, c.benchLoad) },
			func() error { return b.restarts(ctx, c.Sessions) },
			func() error { return b.journal(ctx, c.benchRecords) },
		} {
			if err := part(); err != nil {
				return err
			}
		}
		return nil
	})
}
