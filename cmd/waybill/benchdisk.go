package main

import (
	"context"
	"time"

	"waybill/journal"
)

// disk are the rows of the bytes that a record takes.
func (b *bench) disk(ctx context.Context) error {
	for _, r := range []struct {
		name  string
		batch int
	}{{"disk/live/batches-of-64", 64}, {"disk/live/singles", 1}} {
		err := b.row(ctx, r.name, func(dir string, row *benchRow) error { return b.live(ctx, dir, row, r.batch) })
		if err != nil {
			return err
		}
	}
	return nil
}

// live measures the bytes on disk of 200-byte records over a whole segment, or
// over as many as there is time for: singles may take twenty times that of a
// row.
func (b *bench) live(ctx context.Context, dir string, row *benchRow, batch int) error {
	return withLog(dir, func(log *journal.Log) error {
		const size, least = 200, 512
		p := newAppender(log, size)
		for begun, n := time.Now(), uint64(0); n < least || n < journal.SegmentRecords && time.Since(begun) < 20*b.time; n = log.Head().Size {
			if err := p.fill(ctx, min(n+least, journal.SegmentRecords), batch); err != nil {
				return err
			}
		}
		n := log.Head().Size
		row.Value, row.Unit = float64(log.DiskBytes())/float64(n), "bytes"
		row.Calibration = &benchCal{"line", size, "bytes"}
		row.Ratio = row.Value / size
		row.Details = benchDetails{{"of_records", float64(n)}}
		if n == journal.SegmentRecords {
			row.want("≤ 275 bytes", row.Value <= 275)
		}
		return nil
	})
}
