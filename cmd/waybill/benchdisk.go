package main

import (
	"context"
	"os"
	"path/filepath"
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
	return b.row(ctx, "disk/archived/200-bytes", func(dir string, row *benchRow) error {
		answers := newHistory(time.Now().AddDate(0, 0, -30))
		answers.answersOnly = true
		err := withLog(dir, func(log *journal.Log) error {
			if err := answers.fill(ctx, log, journal.SegmentRecords); err != nil {
				return err
			}
			return archived(ctx, dir, row, log)
		})
		row.want("≤ 40 bytes", row.Value <= 40)
		return err
	})
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

// archived measures what the first segment of log, which is full, becomes as an
// archive in dir.
func archived(ctx context.Context, dir string, row *benchRow, log *journal.Log) error {
	root, err := log.RootAt(ctx, journal.SegmentRecords)
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "archive")
	if err := os.Mkdir(archive, 0o700); err != nil {
		return err
	}
	key, err := journal.NewSigningKey("waybill/bench")
	if err != nil {
		return err
	}
	note, err := journal.SignCheckpoint(journal.Checkpoint{
		Origin: "waybill/bench", Head: journal.Head{Size: journal.SegmentRecords, Root: root},
	}, key)
	if err != nil {
		return err
	}
	begun := time.Now()
	got, err := log.Archive(ctx, archive, 0, journal.ArchiveOptions{Checkpoint: note})
	if err != nil {
		return err
	}
	took, lines := time.Since(begun), 0
	err = log.Read(ctx, 0, journal.SegmentRecords, func(line []byte) error { lines += len(line); return nil })
	if err != nil {
		return err
	}
	mean := float64(lines) / journal.SegmentRecords
	row.Value, row.Unit = float64(got.Bytes)/journal.SegmentRecords, "bytes"
	row.Calibration = &benchCal{"line", mean, "bytes"}
	row.Ratio = row.Value / mean
	row.Details = benchDetails{{"written_and_compared_records/s", journal.SegmentRecords / took.Seconds()}}
	return nil
}
