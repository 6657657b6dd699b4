package actions

import (
	"crypto/sha1"
	"encoding/hex"
	"hash"

	"waybill/fsview"
	"waybill/sessions"
)

// prefixHash is the SHA-1 of an upload's first bytes, kept up with what is
// stored so that completing a file costs its tail and not the whole of it.
// It is guarded by upload.mu.
type prefixHash struct {
	sum hash.Hash
	at  int64
	// running is true while a goroutine owns sum; generation tells it that
	// bytes it has read are to change.
	running    bool
	generation int
}

// cut forgets the hash if it covers bytes from off on, which will change.
func (p *prefixHash) cut(off int64) {
	p.generation++
	if off < p.at {
		p.sum, p.at = nil, 0
	}
}

// reset lets go of what the hash holds.
func (p *prefixHash) reset() {
	p.generation++
	p.sum, p.at = nil, 0
}

// hashAhead starts hashing, with mu held, what the contiguous prefix of what is
// written has grown by, once there is enough of it: bytes of it that do not
// become durable are lost, see lose, and the hash of them is, too.
func (u *upload) hashAhead() {
	if u.prefix.running || u.written.Prefix()-u.prefix.at < hashPiece {
		return
	}
	u.prefix.running = true
	u.engine.busy.Add(1)
	go func() {
		defer u.engine.busy.Done()
		u.mu.Lock()
		defer u.mu.Unlock()
		// An error shows again when the file is complete, and is told then.
		_ = u.hashTo(func() int64 { return u.written.Prefix() })
		u.prefix.running = false
		u.cond.Broadcast()
	}()
}

// hashTo hashes up to what to returns, which is asked again after each step.
// mu is held on entry and on return, not while bytes are read. The caller has
// set prefix.running.
func (u *upload) hashTo(to func() int64) error {
	buf := piecePool.Get().(*[hashPiece]byte)
	defer piecePool.Put(buf)
	for !u.ended {
		if err := u.open(); err != nil {
			return err
		}
		if u.prefix.sum == nil {
			u.prefix.sum, u.prefix.at = sha1.New(), 0
		}
		p, file, end := &u.prefix, u.file, to()
		if p.at >= end {
			return nil
		}
		sum, at, generation := p.sum, p.at, p.generation
		end = min(end, at+hashPiece)
		u.mu.Unlock()
		n, err := hashPieceOf(sum, file, buf[:end-at], at)
		u.mu.Lock()
		if err != nil {
			// sum may hold a part of the piece: it is of no use any more.
			p.reset()
			return err
		}
		if p.generation != generation {
			// Bytes at or after the cut may be in sum.
			if p.sum == sum {
				p.sum, p.at = nil, 0
			}
			continue
		}
		p.at += n
	}
	return Errorf(CodeNoTransfer, "upload %s has ended", u.id)
}

func hashPieceOf(sum hash.Hash, file *fsview.Staged, buf []byte, at int64) (int64, error) {
	if _, err := file.ReadAt(buf, at); err != nil {
		return 0, err
	}
	sum.Write(buf) // a hash never fails
	return int64(len(buf)), nil
}

// wholeDigest returns the SHA-1 of the complete file. mu is held.
func (u *upload) wholeDigest() (string, error) {
	for u.prefix.running {
		u.cond.Wait()
	}
	u.prefix.running = true
	defer func() { u.prefix.running = false }()
	if err := u.hashTo(func() int64 { return u.size }); err != nil {
		return "", err
	}
	return hex.EncodeToString(u.prefix.sum.Sum(nil)), nil
}

// verifyLast compares what is on disk with what the last fact about a live
// session vouches for, as a start does. It returns the ranges that are not
// what they were.
func verifyLast(file *fsview.Staged, s *sessions.Upload) ([]sessions.Range, error) {
	if len(s.Last) == 0 {
		return nil, nil
	}
	crc, err := checksum(file, s.Last)
	if err != nil {
		return nil, err
	}
	if crc == s.LastCRC {
		return nil, nil
	}
	return s.Last, nil
}
