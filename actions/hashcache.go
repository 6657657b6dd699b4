package actions

import (
	"context"
	"crypto/sha1"
	"sync"
	"time"

	"waybill/fsview"
)

type sha1Sum = [sha1.Size]byte

// hashCache remembers the SHA-1 of files by identity, so that a file asked
// for often is hashed once. Two requests for one file share the work.
type hashCache struct {
	mu    sync.Mutex
	known map[fsview.Identity]sha1Sum
	// order lists the keys of known, oldest first.
	order []fsview.Identity
	// busy holds a channel for each file being hashed, closed at the end.
	busy map[fsview.Identity]chan struct{}
}

func newHashCache() *hashCache {
	return &hashCache{known: make(map[fsview.Identity]sha1Sum), busy: make(map[fsview.Identity]chan struct{})}
}

// digest returns the SHA-1 of file as it was when opened, or fsview.ErrChanged.
func (h *hashCache) digest(ctx context.Context, now func() time.Time, file *fsview.File) (sha1Sum, error) {
	id := file.Identity()
	for {
		h.mu.Lock()
		if sum, ok := h.known[id]; ok {
			h.mu.Unlock()
			return sum, nil
		}
		wait := h.busy[id]
		if wait == nil {
			done := make(chan struct{})
			h.busy[id] = done
			h.mu.Unlock()
			sum, err := h.compute(ctx, now, file)
			h.mu.Lock()
			delete(h.busy, id)
			h.mu.Unlock()
			close(done)
			return sum, err
		}
		h.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return sha1Sum{}, ctx.Err()
		}
	}
}

func (h *hashCache) compute(ctx context.Context, now func() time.Time, file *fsview.File) (sum sha1Sum, err error) {
	id := file.Identity()
	quiet := now().Sub(time.Unix(0, id.MtimeNS)) > hashQuiet
	buf := piecePool.Get().(*[hashPiece]byte)
	defer piecePool.Put(buf)
	hash := sha1.New()
	for at := int64(0); at < id.Size; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n := min(id.Size-at, hashPiece)
		if _, err := file.ReadAt(buf[:n], at); err != nil {
			return sum, err
		}
		hash.Write(buf[:n]) // a hash never fails
		at += n
	}
	if err := file.Check(); err != nil {
		return sum, err
	}
	hash.Sum(sum[:0])
	if quiet {
		h.remember(id, sum)
	}
	return sum, nil
}

func (h *hashCache) remember(id fsview.Identity, sum sha1Sum) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.known[id]; !ok {
		h.order = append(h.order, id)
	}
	h.known[id] = sum
	for len(h.order) > maxHashed {
		delete(h.known, h.order[0])
		h.order = h.order[1:]
	}
}
