package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/journal"
)

// startNames are the rows of starts from n records. A snapshot is made when a
// segment is full.
func (s *benchStore) startNames(n uint64) []string {
	names := []string{fmt.Sprintf("start/records=%d/replay", n)}
	if n >= journal.SegmentRecords {
		names = append(names, fmt.Sprintf("start/records=%d/snapshot", n))
	}
	return names
}

// starts measures how long a daemon takes from opening its journal to a whole
// state, with nothing of it in memory: without a snapshot, and with one.
func (s *benchStore) starts(ctx context.Context, n uint64) error {
	for i, name := range s.startNames(n) {
		err := s.row(ctx, name, func(_ string, row *benchRow) error { return s.start(ctx, row, n, i == 1) })
		if err != nil {
			return err
		}
	}
	return nil
}

// start measures starts of the history beside those of an empty journal.
func (s *benchStore) start(ctx context.Context, row *benchRow, n uint64, snapshot bool) error {
	empty := filepath.Join(s.dir, "empty")
	if err := withLog(empty, func(*journal.Log) error { return nil }); err != nil {
		return err
	}
	bytes, from, err := s.snapshot(ctx, snapshot)
	if err != nil {
		return err
	}
	// The calibration is a start as well.
	calEmpty := func(string, time.Duration) (float64, error) {
		took, err := s.coldStarts(ctx, empty, 0, 0)
		return ms(took), err
	}
	err = s.calibrated(row, "empty journal", "ms", calEmpty, func() error {
		took, err := s.coldStarts(ctx, s.state, from, n)
		row.Value, row.Unit = ms(took), "ms"
		return err
	})
	if err != nil {
		return err
	}
	above := row.Value - row.Calibration.Value
	row.Ratio = row.Value / row.Calibration.Value
	row.Details = benchDetails{{"above_empty_ms", above}, {"of_records_folded", float64(n - from)}}
	switch {
	case snapshot:
		row.want("≤ 150 ms above empty", above <= 150)
	case n == largeHistory:
		row.want("≤ 6 s", row.Value <= 6000)
		fallthrough
	default:
		row.Details = append(row.Details, benchDetail{"disk_MB/s", float64(bytes) / row.Value / 1000})
	}
	return nil
}

// snapshot sees to it that there is a snapshot of all segments that are full, or
// none. It gives the bytes of the journal and the records that the snapshot
// stands for.
func (s *benchStore) snapshot(ctx context.Context, wanted bool) (bytes int64, from uint64, err error) {
	there, err := actions.ListStored(s.state)
	if err == nil {
		err = actions.RemoveStored(s.state, there)
	}
	if err != nil {
		return 0, 0, err
	}
	err = withLog(s.state, func(log *journal.Log) error {
		bytes = log.DiskBytes()
		if !wanted {
			return nil
		}
		from = log.Head().Size
		from -= from % journal.SegmentRecords
		s.out.working("making a snapshot")
		return actions.SnapshotSegment(ctx, log, s.state, from)
	})
	return bytes, from, err
}

// coldStarts gives the median of some starts, as many as there is time for, at
// most nine. Before each the files are dropped from the page cache. The state
// must come from the snapshot of so many records, 0 being none, and lead to n.
func (s *benchStore) coldStarts(ctx context.Context, state string, from, n uint64) (time.Duration, error) {
	var times []time.Duration
	for begun := time.Now(); len(times) == 0 || len(times) < 9 && time.Since(begun) < s.time; {
		dir := filepath.Join(state, "journal")
		if err := errors.Join(forget(dir), forget(state)); err != nil {
			return 0, err
		}
		debug.FreeOSMemory()
		start := time.Now()
		log, err := journal.Open(dir, journal.Options{})
		if err != nil {
			return 0, err
		}
		st, loaded, err := actions.Load(ctx, log, state)
		took := time.Since(start)
		if err := errors.Join(err, log.Close()); err != nil {
			return 0, err
		}
		if st.Next() != n || loaded.Folded != n-from {
			return 0, fmt.Errorf("a state of %d records, %d of them folded: it should be %d and %d", st.Next(), loaded.Folded, n, n-from)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// forget has the files of dir dropped from the page cache.
func forget(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		err = f.Sync() // what is not written yet would stay
		if err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
