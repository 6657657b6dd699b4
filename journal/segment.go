package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	logBucket  = []byte("log")
	tileBucket = []byte("tile")
	metaBucket = []byte("meta")

	formatKey = []byte("format")
	firstKey  = []byte("first")
	peaksKey  = []byte("peaks")
	headKey   = []byte("head")
)

const format = 1

// segment is one open file of the journal.
type segment struct {
	first uint64
	name  string // without directory
	db    *bolt.DB
	file  *os.File // that of db
	peaks []byte   // the frontier of what comes before first
	// broken is set once bbolt has panicked: then it may hold its own locks
	// for ever, and must not be called again.
	broken atomic.Pointer[DamageError]
}

// segmentMeta is what a transaction sees of a segment.
type segmentMeta struct {
	first uint64
	peaks []byte // a copy
	head  Head
}

func segmentName(first uint64) string { return fmt.Sprintf("seg-%016d.db", first) }

func tempName(first uint64) string { return fmt.Sprintf("next-%016d.tmp", first) }

func isTemp(name string) bool {
	return name == rootsTemp || strings.HasPrefix(name, "next-") && strings.HasSuffix(name, ".tmp")
}

// parseSegmentName gives the first seq of a segment's file name. ok is false
// for a name that only looks like one.
func parseSegmentName(name string) (first uint64, ok bool) {
	digits, found := strings.CutPrefix(name, "seg-")
	digits, found2 := strings.CutSuffix(digits, ".db")
	first, err := strconv.ParseUint(digits, 10, 64)
	if !found || !found2 || err != nil || segmentName(first) != name || first%SegmentRecords != 0 || first >= maxSeq {
		return 0, false
	}
	return first, true
}

// Expect is for who knows that dir had a journal: a *DamageError if no segment
// is left of it. An Open would begin another one, or call it empty.
func Expect(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "seg-") }) {
		return nil
	}
	return &DamageError{File: "journal", Reason: "it is gone, but the state was initialised"}
}

// listSegments gives the first seqs of the segments in dir, ascending, and the
// temporary files. A hole is damage; a start elsewhere than at 0 needs the
// roots of what was pruned, see prunedRoots.
func listSegments(dir string) (firsts []uint64, temps []string, err error) {
	entries, err := os.ReadDir(dir) // sorted, and so are the names
	if err != nil {
		return nil, nil, err
	}
	pruned := false
	for _, e := range entries {
		name := e.Name()
		if isTemp(name) {
			temps = append(temps, name)
		}
		pruned = pruned || name == rootsName
		if !strings.HasPrefix(name, "seg-") {
			continue
		}
		first, ok := parseSegmentName(name)
		want := first // of the first one: 0 if it is no name
		if len(firsts) > 0 {
			want = firsts[len(firsts)-1] + SegmentRecords
		}
		if !ok {
			return nil, nil, damaged(name, want, want, "not the name of a segment")
		}
		if first != want {
			return nil, nil, damaged(segmentName(want), want, first-1, "segment is missing")
		}
		firsts = append(firsts, first)
	}
	if pruned && len(firsts) == 0 {
		return nil, nil, damaged(rootsName, 0, 0, "older segments were pruned, and no other is left")
	}
	return firsts, temps, nil
}

// openSegment opens the segment that begins at first, after a look at its
// pages. Its records, if there are any, are first to last.
func openSegment(dir string, first uint64, readOnly bool) (*segment, error) {
	s := &segment{first: first, name: segmentName(first)}
	last := first + SegmentRecords - 1
	path := filepath.Join(dir, s.name)
	if err := lookAtPages(path, s.name, first, last); err != nil {
		return nil, err
	}
	opt := boltOptions(readOnly)
	// The file was there a moment ago. Without O_CREATE a file that has
	// vanished is an error and not an empty segment.
	opt.OpenFile = s.openFile(0)
	panicked, err := guard(s.name, first, last, func() (err error) {
		s.db, err = bolt.Open(path, 0o600, opt)
		return err
	})
	switch {
	case err == nil:
	case panicked:
		_ = s.file.Close() // bbolt stopped half-way: gives its lock back
		return nil, err
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w", s.name, ErrLocked)
	default:
		return nil, fmt.Errorf("open %s: %w", s.name, err)
	}
	err = s.view(func(tx *bolt.Tx) error {
		m, err := s.readMeta(tx)
		if err == nil {
			s.peaks = m.peaks
		}
		return err
	})
	if err != nil {
		_ = s.close() // read only so far; err says more
		return nil, err
	}
	return s, nil
}

// lookAtPages runs checkPages before bbolt opens the file. The directory's
// lock keeps writers away meanwhile.
func lookAtPages(path, name string, first, last uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	_, err = guard(name, first, last, func() error { return checkPages(f, first, last) })
	var fault *pageFault
	if errors.As(err, &fault) {
		return damaged(name, fault.seq, fault.last, "%s", fault.reason)
	}
	return err
}

func boltOptions(readOnly bool) *bolt.Options {
	opt := &bolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bolt.FreelistMapType,
		PageSize:     pageSize,
		NoStatistics: true,
		ReadOnly:     readOnly,
	}
	if !readOnly {
		opt.InitialMmapSize = initialMmap
	}
	return opt
}

// openFile opens the file for bbolt, and keeps it.
func (s *segment) openFile(create int) func(string, int, os.FileMode) (*os.File, error) {
	return func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
		s.file, err = os.OpenFile(name, flag&^os.O_CREATE|create, perm)
		return s.file, err
	}
}

// view runs fn in a read transaction; fn must be short and must keep nothing
// of what it saw.
func (s *segment) view(fn func(*bolt.Tx) error) error {
	return s.guarded(s.first, s.first+SegmentRecords-1, func() error { return s.db.View(fn) })
}

// guarded runs fn, which uses db.
func (s *segment) guarded(seq, last uint64, fn func() error) error {
	if d := s.broken.Load(); d != nil {
		return d
	}
	panicked, err := guard(s.name, seq, last, fn)
	var d *DamageError
	if panicked && errors.As(err, &d) {
		s.broken.Store(d)
	}
	return err
}

// close waits for the transactions that read; of a broken segment it only
// gives back the lock, and leaves the mapping.
func (s *segment) close() error {
	if s.broken.Load() != nil {
		return s.file.Close()
	}
	return s.db.Close()
}

// damaged is a DamageError of records of this segment.
func (s *segment) damaged(seq, last uint64, format string, args ...any) *DamageError {
	return damaged(s.name, seq, last, format, args...)
}

func (s *segment) readMeta(tx *bolt.Tx) (segmentMeta, error) {
	last := s.first + SegmentRecords - 1
	b := tx.Bucket(metaBucket)
	if b == nil || tx.Bucket(logBucket) == nil || tx.Bucket(tileBucket) == nil {
		return segmentMeta{}, s.damaged(s.first, last, "a bucket is missing")
	}
	if v := b.Get(formatKey); len(v) != 1 || v[0] != format {
		return segmentMeta{}, s.damaged(s.first, last, "unknown format %x", v)
	}
	if v := b.Get(firstKey); len(v) != 8 || binary.BigEndian.Uint64(v) != s.first {
		return segmentMeta{}, s.damaged(s.first, last, "first record is %x", v)
	}
	m := segmentMeta{first: s.first, peaks: append([]byte(nil), b.Get(peaksKey)...)}
	if _, ok := treeFrom(s.first, m.peaks); !ok {
		return segmentMeta{}, s.damaged(s.first, last, "peaks of %d bytes", len(m.peaks))
	}
	head := b.Get(headKey)
	if len(head) != 8+len(m.head.Root) {
		return segmentMeta{}, s.damaged(s.first, last, "head of %d bytes", len(head))
	}
	m.head.Size = binary.BigEndian.Uint64(head)
	copy(m.head.Root[:], head[8:])
	if m.head.Size < s.first || m.head.Size > s.first+SegmentRecords {
		return segmentMeta{}, s.damaged(s.first, last, "head says %d records", m.head.Size)
	}
	return m, nil
}

func encodeHead(h Head) []byte {
	return append(binary.BigEndian.AppendUint64(nil, h.Size), h.Root[:]...)
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func tileKey(level byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{level}, index)
}

// createTemp makes a segment file under a temporary name, with everything in
// it but what only the end of the segment before it decides.
func createTemp(dir string, first uint64) (*segment, error) {
	s := &segment{first: first, name: segmentName(first)}
	path := filepath.Join(dir, tempName(first))
	err := os.Remove(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	opt := boltOptions(false)
	opt.OpenFile = s.openFile(os.O_CREATE | os.O_EXCL)
	if s.db, err = bolt.Open(path, 0o600, opt); err != nil {
		return nil, err
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{logBucket, tileBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		b := tx.Bucket(metaBucket)
		if err := b.Put(formatKey, []byte{format}); err != nil {
			return err
		}
		return b.Put(firstKey, seqKey(first))
	})
	if err != nil {
		_ = s.close() // err is what matters
		return nil, err
	}
	return s, nil
}

// begin writes what comes before the segment into it.
func (s *segment) begin(peaks []byte, head Head) error {
	s.peaks = peaks
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(metaBucket)
		if err := b.Put(peaksKey, peaks); err != nil {
			return err
		}
		return b.Put(headKey, encodeHead(head))
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
