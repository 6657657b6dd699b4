package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The files of an archived segment.
const (
	archiveLines      = ".jsonl.zst"  // its lines, each with a newline
	archiveTile       = ".tiles"      // its level-1 tile
	archiveCheckpoint = ".checkpoint" // a signed note on what it ends
)

func archiveName(first uint64, part string) string { return fmt.Sprintf("seg-%016d%s", first, part) }

// Archive is a directory of sealed segments that have left a journal, or are
// about to. Nothing in it is believed: lines are compared with the segment's
// tile before anybody sees them, and what the tile adds up to with what is
// known from elsewhere, a journal or a checkpoint. Its methods may be called
// from many goroutines.
type Archive struct {
	dir    string
	firsts []uint64 // ascending

	mu sync.Mutex
	// The leaf hashes of the segment that was asked for last are guarded by mu.
	leavesOf uint64
	leaves   []byte
}

// OpenArchive lists the segments in dir. A segment is there if its lines are.
func OpenArchive(dir string) (*Archive, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a := &Archive{dir: dir}
	for _, e := range entries { // sorted, and so are the names
		digits, lines := strings.CutSuffix(e.Name(), archiveLines)
		if !lines || !strings.HasPrefix(digits, "seg-") {
			continue
		}
		first, err := strconv.ParseUint(digits[len("seg-"):], 10, 64)
		if err != nil || archiveName(first, archiveLines) != e.Name() || first%SegmentRecords != 0 || first >= maxSeq {
			return nil, damaged(e.Name(), 0, 0, "not the name of an archived segment")
		}
		a.firsts = append(a.firsts, first)
	}
	return a, nil
}

// Firsts gives the seq of the first record of each segment, ascending.
func (a *Archive) Firsts() []uint64 { return slices.Clone(a.firsts) }

// End is the seq after the last record, 0 for an empty archive.
func (a *Archive) End() uint64 {
	if len(a.firsts) == 0 {
		return 0
	}
	return a.firsts[len(a.firsts)-1] + SegmentRecords
}

// ErrNotArchived: the archive lacks a segment that is needed.
var ErrNotArchived = errors.New("not in the archive")

// Covers gives an error wrapping ErrNotArchived that names the first run of
// records from from up to to which the archive lacks.
func (a *Archive) Covers(from, to uint64) error {
	for first := segmentOf(from); first < to; first += SegmentRecords {
		if slices.Contains(a.firsts, first) {
			continue
		}
		end := first + SegmentRecords
		for ; end < to && !slices.Contains(a.firsts, end); end += SegmentRecords {
		}
		return fmt.Errorf("%s: records %d to %d are %w", a.dir, max(first, from), min(end, to)-1, ErrNotArchived)
	}
	return nil
}

// Tile gives the level-1 tile of the segment that begins at first.
func (a *Archive) Tile(first uint64) ([]byte, error) {
	return readArchivePart(a.path(first, archiveTile), first, tileWidth*len(Hash{}))
}

// Checkpoint gives the note that was archived with the segment that begins at
// first. Its signatures have not been looked at.
func (a *Archive) Checkpoint(first uint64) ([]byte, error) {
	return readArchivePart(a.path(first, archiveCheckpoint), first, 0)
}

func (a *Archive) path(first uint64, part string) string {
	return filepath.Join(a.dir, archiveName(first, part))
}

// readArchivePart reads one of the small files of the segment at first: size
// bytes, or any number up to MaxCheckpoint if size is 0.
func readArchivePart(path string, first uint64, size int) ([]byte, error) {
	name, last := filepath.Base(path), first+SegmentRecords-1
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(name, first, last, "the file is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, MaxCheckpoint+1))
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if len(b) > MaxCheckpoint || size > 0 && len(b) != size {
		return nil, damaged(name, first, last, "a file of %d bytes", len(b))
	}
	return b, nil
}

// Read gives the lines of the records from from up to, not including, to, in
// order, to fn, for which they are valid until it returns. Before fn sees a
// line, it has been compared with the segment's tile. The tiles themselves are
// taken as they are. What does not fit is a *DamageError naming file and record,
// what is missing an error wrapping ErrNotArchived. An error of fn ends the
// reading and comes back wrapped with the seq.
func (a *Archive) Read(ctx context.Context, from, to uint64, fn func(line []byte) error) error {
	return a.scan(ctx, from, to, &checker{raw: fn}, archiveHooks{})
}

// archiveHooks are asked about each segment of a scan; nil says yes.
type archiveHooks struct {
	sound func(first uint64, tile []byte) error // before its lines are read
	whole func(first uint64) error              // after that
}

// scan runs the records of the segments that hold those from from up to to
// through c, and gives those to c's functions.
func (a *Archive) scan(ctx context.Context, from, to uint64, c *checker, hooks archiveHooks) error {
	if from >= to {
		return nil
	}
	if err := a.Covers(from, to); err != nil {
		return err
	}
	c.from, c.to = from, to
	for first := segmentOf(from); first < to; first += SegmentRecords {
		tile, err := a.Tile(first)
		if err == nil && hooks.sound != nil {
			err = hooks.sound(first, tile)
		}
		if err != nil {
			return err
		}
		if c.tree == nil { // what comes before does not matter for the lines
			c.tree, _ = treeFrom(first, make([]byte, bits.OnesCount64(first)*len(Hash{})))
		}
		if err := scanArchived(ctx, a.path(first, archiveLines), first, tile, c); err != nil {
			return err
		}
		if hooks.whole == nil {
			continue
		}
		if err := hooks.whole(first); err != nil {
			return err
		}
	}
	c.to = 0
	return nil
}

// archivedLines reads the lines of one archived segment.
type archivedLines struct {
	file  *os.File
	name  string
	zstd  *zstd.Decoder
	in    *bufio.Reader
	first uint64
	seq   uint64 // of the next line
}

func openArchivedLines(path string, first uint64) (*archivedLines, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	// The decoder's memory is bounded by the window, what it may decode by the
	// number of lines and their length.
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(mostArchiveWindow))
	if err != nil {
		_ = f.Close() // err is what matters
		return nil, fmt.Errorf("read archive: %w", err)
	}
	return &archivedLines{
		file: f, name: filepath.Base(path), zstd: z, in: bufio.NewReaderSize(z, chunkBytes), first: first, seq: first,
	}, nil
}

func (s *archivedLines) close() {
	s.zstd.Close()
	_ = s.file.Close() // only read
}

// next gives the next line, valid until the call after, and io.EOF after the
// last of the segment, when nothing may follow.
func (s *archivedLines) next() ([]byte, error) {
	if s.seq == s.first+SegmentRecords {
		_, err := s.in.ReadByte()
		if err == nil {
			return nil, damaged(s.name, s.seq-1, s.seq-1, "something follows the last line")
		}
		return nil, s.fault(s.seq-1, err)
	}
	line, err := s.in.ReadSlice('\n')
	switch {
	case err == io.EOF && len(line) == 0:
		return nil, damaged(s.name, s.seq, s.first+SegmentRecords-1, "the segment ends early")
	case err == io.EOF:
		return nil, damaged(s.name, s.seq, s.seq, "the line is cut off")
	case err == bufio.ErrBufferFull || err == nil && len(line) > MaxLine+1:
		return nil, damaged(s.name, s.seq, s.seq, "the line is longer than %d bytes", MaxLine)
	case err != nil:
		return nil, s.fault(s.seq, err)
	}
	s.seq++
	return line[:len(line)-1], nil
}

// fault tells a file that cannot be read from one that cannot be decompressed.
func (s *archivedLines) fault(seq uint64, err error) error {
	var failed *fs.PathError
	switch {
	case err == io.EOF:
		return err
	case errors.As(err, &failed):
		return fmt.Errorf("read archive at record %d: %w", seq, err)
	}
	return damaged(s.name, seq, s.first+SegmentRecords-1, "decompress: %v", err)
}

// scanArchived runs the lines of the file at path, which are those of the
// segment that begins at first, through c, whose tree holds what comes before.
// They must fit the tile.
func scanArchived(ctx context.Context, path string, first uint64, tile []byte, c *checker) error {
	s, err := openArchivedLines(path, first)
	if err != nil {
		return err
	}
	defer s.close()
	begin := &segmentMeta{first: first, peaks: c.tree.frontier(nil)}
	return pipeline(ctx, func(k *chunk) bool {
		if k.reset(s.seq); s.seq == first {
			k.begin, k.roots = begin, append(k.roots, tile...)
		}
		k.file = s.name
		// A chunk ends with a tile, so that its lines are checked with it.
		for !k.full() || s.seq%tileWidth != 0 {
			line, err := s.next()
			if err != nil {
				if err != io.EOF {
					k.err = err
				}
				// Of a tile that is not whole nothing has been checked.
				k.ends = k.ends[:len(k.ends)-len(k.ends)%tileWidth]
				return false
			}
			k.add(line)
		}
		return true
	}, c.take)
}
