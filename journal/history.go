package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// History is a journal together with the archive of what was pruned from it:
// records from First on are read as if none had left. What is archived is
// compared with the roots that the journal kept. The journal must not be pruned
// meanwhile. Many goroutines may read at once.
type History struct {
	log     *Log
	archive *Archive // nil if there is none
	first   uint64
}

// NewHistory joins log with an archive, or with none if that is nil. It is an
// error, wrapping ErrNotArchived, if records are in neither between the first
// in the archive and the first in log.
func NewHistory(log *Log, archive *Archive) (*History, error) {
	h := &History{log: log, archive: archive, first: log.First()}
	if archive == nil || h.first == 0 {
		return h, nil
	}
	from, err := archive.joins(h.first)
	if err != nil {
		return nil, err
	}
	h.first = from
	return h, nil
}

// joins gives the first record of an archive that goes without a hole up to
// first, where a journal begins.
func (a *Archive) joins(first uint64) (from uint64, err error) {
	from = first - SegmentRecords
	if len(a.firsts) > 0 {
		from = min(from, a.firsts[0])
	}
	if err := a.Covers(from, first); err != nil {
		return 0, fmt.Errorf("the journal begins at record %d: %w", first, err)
	}
	return from, nil
}

// First is the seq of the first record there is.
func (h *History) First() uint64 { return h.first }

// Log gives the journal without the archive.
func (h *History) Log() *Log { return h.log }

// Head gives the last committed size and root.
func (h *History) Head() Head { return h.log.Head() }

// archived says of a record whether it is read from the archive. Those before
// First are an error wrapping ErrPruned.
func (h *History) archived(seq uint64) (bool, error) {
	if seq < h.first {
		return false, fmt.Errorf("record %d: %w: the oldest is %d", seq, ErrPruned, h.first)
	}
	return seq < h.log.First(), nil
}

// sound compares a tile of the archive with the root that the journal has of
// its segment.
func (h *History) sound(first uint64, tile []byte) error {
	root, err := h.log.nodeReader().high(node{segmentLevel, first / SegmentRecords})
	if err != nil {
		return err
	}
	return fitsRoot(first, tile, root)
}

func fitsRoot(first uint64, tile []byte, root Hash) error {
	if new(hasher).tileRoot(tile) != root {
		return damaged(archiveName(first, archiveTile), first, first+SegmentRecords-1,
			"the tile adds up to another root than the one in the journal")
	}
	return nil
}

// Read gives the lines of the records from from up to to, as Log.Read does.
// Those of the archive have been compared with the journal's roots before fn
// sees them; an error of fn comes back wrapped with the seq for them.
func (h *History) Read(ctx context.Context, from, to uint64, fn func(line []byte) error) error {
	archived, err := h.archived(from)
	if err != nil {
		return err
	}
	if cut := h.log.First(); archived {
		if err := h.archive.scan(ctx, from, min(to, cut), &checker{raw: fn}, archiveHooks{sound: h.sound}); err != nil {
			return err
		}
		from = cut
	}
	return h.log.Read(ctx, from, to, fn)
}

// Replay gives the records from from on to fn, as Log.Replay does.
func (h *History) Replay(ctx context.Context, from uint64, fn func(*Entry) error) error {
	archived, err := h.archived(from)
	if err != nil {
		return err
	}
	if cut := h.log.First(); archived {
		if err := h.archive.scan(ctx, from, cut, &checker{fn: fn}, archiveHooks{sound: h.sound}); err != nil {
			return err
		}
		from = cut
	}
	return h.log.Replay(ctx, from, fn)
}

// Line gives a copy of one line.
func (h *History) Line(seq uint64) (line []byte, err error) {
	archived, err := h.archived(seq)
	if err != nil {
		return nil, err
	}
	if !archived {
		return h.log.Line(seq)
	}
	return h.archive.line(seq, archiveHooks{sound: h.sound})
}

// line gives a copy of one line.
func (a *Archive) line(seq uint64, hooks archiveHooks) (line []byte, err error) {
	err = a.scan(context.Background(), seq, seq+1, &checker{raw: func(l []byte) error {
		line = slices.Clone(l)
		return errReached
	}}, hooks)
	if err != nil && !errors.Is(err, errReached) {
		return nil, err
	}
	return line, nil
}

// errReached ends a scan.
var errReached = errors.New("reached")

// RootAt gives the root over the first size records; see Log.RootAt.
func (h *History) RootAt(ctx context.Context, size uint64) (Hash, error) {
	root, err := h.log.RootAt(ctx, size)
	if !errors.Is(err, ErrPruned) {
		return root, err
	}
	sum, err := tlog.TreeHash(int64(size), h)
	return Hash(sum), err
}

// ReadHashes makes History a tlog.HashReader, see Log.ReadHashes: with those of
// the records in the archive.
func (h *History) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		got, err := h.log.ReadHashes(indexes[i : i+1])
		switch {
		case err == nil:
			hashes[i] = got[0]
			continue
		case !errors.Is(err, ErrPruned):
			return nil, err
		}
		level, n := tlog.SplitStoredHashIndex(index)
		sum, err := h.node(level, uint64(n))
		if err != nil {
			return nil, fmt.Errorf("hash %d of level %d: %w", n, level, err)
		}
		hashes[i] = tlog.Hash(sum)
	}
	return hashes, nil
}

// node gives the hash of a node that lies in one segment of the archive.
func (h *History) node(level int, n uint64) (Hash, error) {
	first := segmentOf(n << level)
	if _, err := h.archived(first); err != nil {
		return Hash{}, err
	}
	tile, err := h.archive.Tile(first)
	if err == nil {
		err = h.sound(first, tile)
	}
	if err != nil {
		return Hash{}, err
	}
	return h.archive.node(level, n, tile)
}

// Prove is Log.Prove, for records in the archive too.
func (h *History) Prove(seq, size uint64) (*InclusionProof, error) { return prove(h, seq, size) }

// ProveGrowth is Log.ProveGrowth, from a size within the archive too.
func (h *History) ProveGrowth(from, to uint64) (*Growth, error) { return proveGrowth(h, from, to) }
