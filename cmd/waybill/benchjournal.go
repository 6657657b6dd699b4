package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"waybill/journal"
)

type benchJournalCmd struct {
	benchFlags
	benchRecords
}

// benchRecords is how long the histories are.
type benchRecords struct {
	Records int64 `default:"1000000" min:"1" max:"100000000" placeholder:"N" help:"Length of the history that is replayed, verified and started from (${default})."`
	Large   bool  `help:"Start from 10,000,000 records as well; takes some minutes and 4 GB."`
}

const largeHistory = 10_000_000

// historyBytes is what a record of a history takes on disk, at most.
const historyBytes = 420

// Run measures what the journal does, beside what the machine could do.
func (c *benchJournalCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "journal", func(ctx context.Context, b *bench) error { return b.journal(ctx, c.benchRecords) })
}

// journal are all rows of the journal.
func (b *bench) journal(ctx context.Context, of benchRecords) error {
	if err := b.appends(ctx); err != nil {
		return err
	}
	if err := b.disk(ctx); err != nil {
		return err
	}
	sizes := []uint64{uint64(of.Records)}
	if of.Large && of.Records < largeHistory {
		sizes = append(sizes, largeHistory)
	}
	return b.histories(ctx, sizes)
}

// appends are the rows of durable appends.
func (b *bench) appends(ctx context.Context) error {
	for _, size := range []int{200, 2048} {
		for _, callers := range []int{1, 16, 64, 512} {
			name := fmt.Sprintf("append/callers=%d/%d-bytes", callers, size)
			err := b.row(ctx, name, func(dir string, row *benchRow) error { return b.append(ctx, dir, row, callers, size) })
			if err != nil {
				return err
			}
		}
	}
	for _, callers := range []int{1, 64, 512} {
		name := fmt.Sprintf("append/roll/callers=%d", callers)
		err := b.row(ctx, name, func(dir string, row *benchRow) error { return b.roll(ctx, dir, row, callers) })
		if err != nil {
			return err
		}
	}
	return nil
}

// append measures what callers that each wait for their own record get.
func (b *bench) append(ctx context.Context, dir string, row *benchRow, callers, size int) error {
	return withLog(dir, func(log *journal.Log) error {
		p := newAppender(log, size)
		measure := func() error {
			begun := time.Now()
			rate, all, err := p.measure(ctx, callers, func() bool { return time.Since(begun) >= b.time })
			row.Value, row.Unit, row.Details = rate, "records/s", all.details()
			return err
		}
		if size > 1024 && callers >= 64 { // the disk's bandwidth is the bound
			err := b.calibrated(row, "calseq", "MB/s", calSeq, measure)
			if err == nil {
				mbs := row.Value * float64(size) / 1e6
				row.Ratio = mbs / row.Calibration.Value
				row.Details = append(row.Details, benchDetail{"lines_MB/s", mbs})
			}
			return err
		}
		if err := b.besideCommits(row, measure); err != nil || size > 1024 {
			return err
		}
		p99 := row.Details[1].value
		switch callers {
		case 1:
			row.want("≥ 0.85 × cal2", row.Ratio >= 0.85)
		case 64:
			row.want("≥ 90,000/s", row.Value >= 90_000)
			row.want("p99 ≤ 2.5 ms", p99 <= 2.5)
		case 512:
			row.want("≥ 240,000/s", row.Value >= 240_000)
			row.want("p99 ≤ 5 ms", p99 <= 5)
		}
		return nil
	})
}

// roll measures appends over the end of a segment: from well before it, where
// several callers also meet the making of the next one, to well after it.
func (b *bench) roll(ctx context.Context, dir string, row *benchRow, callers int) error {
	return withLog(dir, func(log *journal.Log) error {
		const size = 200
		from, to := uint64(journal.SegmentRecords-1000), uint64(journal.SegmentRecords+1000)
		if callers > 1 {
			from, to = journal.SegmentRecords/2-5000, journal.SegmentRecords*5/4
		}
		p := newAppender(log, size)
		if err := p.fill(ctx, from, journal.MaxBatchRecords); err != nil {
			return err
		}
		return b.besideCommits(row, func() error {
			rate, all, err := p.measure(ctx, callers, func() bool { return log.Head().Size >= to })
			row.Value, row.Unit = rate, "records/s"
			row.Details = append(all.details(), benchDetail{"rolling_commit_ms", ms(p.longest)})
			return err
		})
	})
}

// besideCommits puts cal2 and the ratio to it beside a row.
func (b *bench) besideCommits(row *benchRow, measure func() error) error {
	err := b.calibrated(row, "cal2", "/s", cal2, measure)
	if err == nil {
		row.Ratio = row.Value / row.Calibration.Value
	}
	return err
}

// fill appends lines in batches until the journal has n records.
func (p *appender) fill(ctx context.Context, n uint64, batch int) error {
	for size := p.log.Head().Size; size < n; size = p.log.Head().Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range min(uint64(batch), n-size) {
			p.buf = p.line(p.buf, size+i, "0b7e1f8a")
			p.ends = append(p.ends, len(p.buf))
		}
		if err := p.commit(); err != nil {
			return err
		}
	}
	return nil
}

// withLog opens the journal in dir, which it makes if need be.
func withLog(dir string, do func(*journal.Log) error) error {
	log, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
	if err != nil {
		return err
	}
	return errors.Join(do(log), log.Close())
}
