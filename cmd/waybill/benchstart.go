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

// startNames are the rows of starts from n records.
func (s *benchStore) startNames(n uint64) []string {
	return []string{fmt.Sprintf("start/records=%d/replay", n)}
}

// starts measures how long a daemon takes from opening its journal to a whole
// state, with nothing of it in memory.
func (s *benchStore) starts(ctx context.Context, n uint64) error {
	return s.row(ctx, s.startNames(n)[0], func(_ string, row *benchRow) error { return s.start(ctx, row, n) })
}

// start measures starts of the history beside those of an empty journal.
func (s *benchStore) start(ctx context.Context, row *benchRow, n uint64) error {
	empty := filepath.Join(s.dir, "empty")
	if err := withLog(empty, func(*journal.Log) error { return nil }); err != nil {
		return err
	}
	var bytes int64
	// The calibration is a start as well.
	calEmpty := func(string, time.Duration) (float64, error) {
		took, err := s.coldStarts(ctx, empty, 0)
		return ms(took), err
	}
	err := s.calibrated(row, "empty journal", "ms", calEmpty, func() error {
		took, err := s.coldStarts(ctx, s.state, n)
		row.Value, row.Unit = ms(took), "ms"
		return err
	})
	if err != nil {
		return err
	}
	if err := withLog(s.state, func(log *journal.Log) error { bytes = log.DiskBytes(); return nil }); err != nil {
		return err
	}
	row.Ratio = row.Value / row.Calibration.Value
	row.Details = benchDetails{
		{"above_empty_ms", row.Value - row.Calibration.Value},
		{"records/s", float64(n) / row.Value * 1000},
		{"disk_MB/s", float64(bytes) / row.Value / 1000},
	}
	if n == largeHistory {
		row.want("≤ 6 s", row.Value <= 6000)
	}
	return nil
}

// coldStarts gives the median of some starts, as many as there is time for, at
// most nine. Before each the files are dropped from the page cache.
func (s *benchStore) coldStarts(ctx context.Context, state string, n uint64) (time.Duration, error) {
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
		st, err := actions.Replay(ctx, log)
		took := time.Since(start)
		if err := errors.Join(err, log.Close()); err != nil {
			return 0, err
		}
		if st.Next() != n {
			return 0, fmt.Errorf("the state is that after %d records, not %d", st.Next(), n)
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
