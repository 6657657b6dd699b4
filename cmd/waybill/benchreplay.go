package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/journal"
)

// histories are the rows that need a journal with a history: the first of
// sizes is replayed and verified, all are started from.
func (b *bench) histories(ctx context.Context, sizes []uint64) error {
	most := slices.Max(sizes)
	s := &benchStore{bench: b, state: filepath.Join(b.dir, "state"), history: newHistory(time.Now().Add(-time.Duration(most) * historyStep))}
	for i, n := range sizes {
		names := s.startNames(n)
		if i == 0 {
			names = append(names, archivedHistory)
			for _, r := range s.replayRows() {
				names = append(names, r.name)
			}
		}
		if !b.wants(names...) {
			continue
		}
		if err := s.grow(ctx, n); err != nil {
			return err
		}
		if i == 0 {
			if err := s.replays(ctx); err != nil {
				return err
			}
		}
		if err := s.starts(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// benchStore is a STATE with nothing in it but a journal.
type benchStore struct {
	*bench
	state   string
	history *history
	// bytes is the mean length of a line, lines are some of them.
	bytes float64
	lines [][]byte
}

func (s *benchStore) journal() string { return filepath.Join(s.state, "journal") }

// grow makes the history n records long, if there is room.
func (s *benchStore) grow(ctx context.Context, n uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.bench.dir, &st); err != nil {
		return err
	}
	if free, need := st.Bavail*uint64(st.Bsize), (n-s.history.seq)*historyBytes; free < need+minFreeAtStart {
		return fail(exitTemp, "a history of %d records needs %v more, %v are free", n, byteSize(need), byteSize(free))
	}
	s.out.working(fmt.Sprintf("making a history of %d records", n))
	return withLog(s.state, func(log *journal.Log) error { return s.history.fill(ctx, log, n) })
}

// archivedHistory is the row of what the history becomes as an archive.
const archivedHistory = "disk/archived/history"

// foldLines is how many records the row of the fold alone keeps in memory.
const foldLines = 200_000

// measureLines finds out how long lines are, and keeps some. It reads them all,
// so that they are in memory when what follows is measured.
func (s *benchStore) measureLines(ctx context.Context, log *journal.Log) error {
	total, n := 0, log.Head().Size
	s.lines = s.lines[:0]
	err := log.Read(ctx, 0, n, func(line []byte) error {
		total += len(line)
		if len(s.lines) < foldLines {
			s.lines = append(s.lines, slices.Clone(line))
		}
		return nil
	})
	s.bytes = float64(total) / float64(n)
	return err
}

// replayRow is a way to go through the history, on so many cores, 0 being all.
type replayRow struct {
	name  string
	cores int
	// once goes through it and says how many records that were.
	once func(context.Context, *journal.Log) (uint64, error)
	// least is what is wanted of it, in millions a second.
	least float64
}

func (s *benchStore) replayRows() []replayRow {
	return []replayRow{
		{"replay/hash/1-core", 1, replayHashes, 2},
		{"replay/hash/all-cores", 0, replayHashes, 0},
		{"replay/state/1-core", 1, replayState, 2},
		{"replay/state/all-cores", 0, replayState, 0},
		{"replay/fold-alone/1-core", 1, s.foldAlone, 4},
		{"verify/1-core", 1, s.verify, 0},
		{"verify/all-cores", 0, s.verify, 2},
	}
}

func (s *benchStore) replays(ctx context.Context) error {
	for _, r := range s.replayRows() {
		err := s.row(ctx, r.name, func(_ string, row *benchRow) error { return s.replay(ctx, r, row) })
		if err != nil {
			return err
		}
	}
	s.lines = nil
	if s.history.seq < journal.SegmentRecords {
		return nil // nothing that could be archived
	}
	return s.row(ctx, archivedHistory, func(dir string, row *benchRow) error {
		return withLog(s.state, func(log *journal.Log) error { return archived(ctx, dir, row, log) })
	})
}

func (s *benchStore) replay(ctx context.Context, r replayRow, row *benchRow) (err error) {
	log, err := journal.Open(s.journal(), journal.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if s.lines == nil {
		if err := s.measureLines(ctx, log); err != nil {
			return err
		}
	}
	err = s.calibrated(row, "sha256", "MB/s", calSHA, func() error {
		if r.cores > 0 {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(r.cores))
		}
		runtime.GC()
		total, begun := uint64(0), time.Now()
		for total == 0 || time.Since(begun) < s.time {
			n, err := r.once(ctx, log)
			if err != nil {
				return err
			}
			total += n
		}
		row.Value, row.Unit = float64(total)/time.Since(begun).Seconds(), "records/s"
		return nil
	})
	if err != nil {
		return err
	}
	mbs := row.Value * s.bytes / 1e6
	row.Ratio = mbs / row.Calibration.Value
	row.Details = benchDetails{{"lines_MB/s", mbs}, {"mean_line_bytes", s.bytes}}
	if r.least > 0 {
		row.want(fmt.Sprintf("≥ %.0f M/s", r.least), row.Value >= r.least*1e6)
	}
	return nil
}

// replayHashes folds nothing: every leaf is hashed and compared.
func replayHashes(ctx context.Context, log *journal.Log) (n uint64, err error) {
	err = log.Replay(ctx, 0, func(*journal.Entry) error { n++; return nil })
	return n, err
}

// replayState does what a start without a snapshot does.
func replayState(ctx context.Context, log *journal.Log) (uint64, error) {
	state, err := actions.Replay(ctx, log)
	if err != nil {
		return 0, err
	}
	return state.Next(), nil
}

// foldAlone parses lines and folds them: nothing is read or hashed.
func (s *benchStore) foldAlone(context.Context, *journal.Log) (uint64, error) {
	state := actions.NewState()
	var e journal.Entry
	for _, line := range s.lines {
		if err := journal.ParseEntry(line, &e); err != nil {
			return 0, err
		}
		if err := state.Apply(&e); err != nil {
			return 0, err
		}
	}
	return state.Next(), nil
}

// verify does what journal verify --state does.
func (s *benchStore) verify(ctx context.Context, _ *journal.Log) (uint64, error) {
	head, err := journal.Verify(ctx, s.journal())
	return head.Size, err
}
