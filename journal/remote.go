package journal

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Remote is a journal that a daemon serves, with the archive, from record 0 on,
// of what was pruned from it. What either says is compared with one head. It is
// not for several goroutines.
type Remote struct {
	archive *Archive
	head    Head
	fetch   func(path string) ([]byte, error)
	failed  error // of fetch
	reader  tlog.HashReader
}

// NewRemote joins an archive with a journal that has the given head. fetch gives
// tiles of it by their path as C2SP tlog-tiles has it, such as "tile/2/000.p/5".
func NewRemote(archive *Archive, head Head, fetch func(path string) ([]byte, error)) *Remote {
	r := &Remote{archive: archive, head: head, fetch: fetch}
	r.reader = tlog.TileHashReader(tlog.Tree{N: int64(head.Size), Hash: tlog.Hash(head.Root)}, remoteTiles{r})
	return r
}

// Joins says whether the archive has no hole, and its segments are those that
// the journal began with. Errors wrap ErrNotArchived or that of fetch, or are a
// *DamageError. Only the tiles of the archive are looked at: its lines are
// compared with them when they are read.
func (r *Remote) Joins(ctx context.Context) error {
	end := r.archive.End()
	if end == 0 {
		return nil
	}
	if err := r.archive.Covers(0, end); err != nil {
		return fmt.Errorf("an archive that does not begin at record 0 goes with STATE only: %w", err)
	}
	if end > r.head.Size {
		return damaged("", r.head.Size, end-1, "the archive goes further than the journal, which has %d records", r.head.Size)
	}
	mine, err := r.archive.RootAt(ctx, end)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(int64(end), r)
	if err != nil {
		return err
	}
	if Hash(root) != mine {
		return damaged("", 0, end-1, "the archive leads to the root %v, the journal began with %v", mine, Hash(root))
	}
	return nil
}

// Head gives the head that all is compared with.
func (r *Remote) Head() Head { return r.head }

// Line gives a copy of a line of the archive.
func (r *Remote) Line(seq uint64) ([]byte, error) { return r.archive.line(seq, archiveHooks{}) }

// Prove is Log.Prove for a record of the archive.
func (r *Remote) Prove(seq, size uint64) (*InclusionProof, error) { return prove(r, seq, size) }

// ProveGrowth is Log.ProveGrowth, from a size within the archive.
func (r *Remote) ProveGrowth(from, to uint64) (*Growth, error) { return proveGrowth(r, from, to) }

// ReadHashes makes Remote a tlog.HashReader. What it gives has been compared with
// the head.
func (r *Remote) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes, err := r.reader.ReadHashes(indexes)
	switch {
	case err == nil:
		return hashes, nil
	case r.failed != nil:
		return nil, r.failed
	}
	return nil, damaged("", 0, max(r.head.Size, 1)-1, "archive and journal do not fit: %v", err)
}

// remoteTiles are the tiles of the archive, and all others.
type remoteTiles struct{ *Remote }

func (remoteTiles) Height() int { return tileLevel }

// SaveTiles is for caches.
func (remoteTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t remoteTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if out[i], err = t.read(tile); err != nil {
			t.failed = err
			return nil, err
		}
	}
	return out, nil
}

func (t remoteTiles) read(tile tlog.Tile) ([]byte, error) {
	const size = len(Hash{})
	span := uint64(1) << (tileLevel * (tile.L + 1)) // of records
	at := uint64(tile.N) * span
	if tile.L > 1 || at+span > t.archive.End() {
		return t.fetch("tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileLevel)))
	}
	first := segmentOf(at)
	row, err := t.archive.Tile(first)
	if err == nil && tile.L == 0 {
		row, err = t.archive.leafHashes(first, row)
		at -= first
	} else {
		at = 0
	}
	if err != nil {
		return nil, err
	}
	return row[at*uint64(size):][:tile.W*size], nil
}
