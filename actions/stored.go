package actions

import (
	"hash/crc32"

	"waybill/fsview"
	"waybill/sessions"
)

// recorded is the part of a window that the journal has: its first chunks, and
// all ranges, which may be more than those of whole chunks.
type recorded struct {
	chunks int
	ranges []sessions.Range
}

// digestAhead verifies the content if window, which is on disk, makes it whole, so
// that one commit can say both; "" leaves that to complete. No chunk takes effect
// until release. mu is held on entry and on return, and for release.
func (u *upload) digestAhead(window []*pendingChunk) (digest string, release func()) {
	release = func() {}
	after, coming := u.stored, int64(0)
	for _, p := range window {
		for _, part := range p.parts {
			coming += part.at.Len()
		}
	}
	if u.size < 0 || after.Len()+coming < u.size {
		return "", release
	}
	after = after.Clone()
	for _, p := range window {
		for _, part := range p.parts {
			after.Add(part.at)
		}
	}
	if !after.Contains(sessions.Range{0, u.size}) {
		return "", release
	}
	u.barrier++
	release = func() { u.barrier-- }
	// What goes wrong here goes wrong again when the file is completed, and is
	// told then.
	if err := u.open(); err != nil {
		return "", release
	}
	if have, err := u.file.Size(); err != nil || have != u.size {
		return "", release
	}
	digest, err := u.wholeDigest()
	if err != nil || u.sha1 != "" && digest != u.sha1 {
		return "", release
	}
	return digest, release
}

// commitWindow commits the facts of a window that is on disk, without holding
// mu. Whether the window completes the file is decided in the core; if so, and
// its digest is known, the file is sealed with it. An error may come after a part
// has been committed.
func (u *upload) commitWindow(window []*pendingChunk, digest string) (done recorded, completes bool, err error) {
	var facts []storedBy
	for len(window) > 0 {
		n := 1
		for n < len(window) && sameConnection(window[n].from, window[0].from) {
			n++
		}
		facts = storedFacts(facts, u.id, window[:n])
		window = window[n:]
	}
	for _, f := range facts {
		err := u.engine.core.decide(f.from, func(s *State) ([]sessions.Fact, error) {
			if err := u.engine.growth(s, u.id, u.owner, false, f.body.Ranges); err != nil {
				return nil, err
			}
			facts, last, err := s.sessions.StoreSealed(&f.body, digest)
			completes = completes || last
			return facts, err
		})
		if err != nil {
			return done, false, err
		}
		done.ranges = append(done.ranges, f.body.Ranges...)
		done.chunks += f.chunks
	}
	return done, completes, nil
}

func sameConnection(a, b origin) bool { return a.actor == b.actor && a.via == b.via }

// storedBy is a fact about bytes and whom it answers. chunks is how many are
// whole with it: of several facts about the same chunks the last has them all.
type storedBy struct {
	from   origin
	body   sessions.Stored
	chunks int
}

// storedFacts appends what to record of chunks of one connection that are
// durable: one fact, but for the bound on its ranges.
func storedFacts(facts []storedBy, id sessions.ID, chunks []*pendingChunk) []storedBy {
	var parts []part
	for _, p := range chunks {
		parts = append(parts, p.parts...)
	}
	parts = joined(parts)
	from := chunks[len(chunks)-1].from
	for len(parts) > 0 {
		n := min(len(parts), sessions.MaxFactRanges)
		ranges, crc := rangesOf(parts[:n])
		facts = append(facts, storedBy{from: from, body: sessions.Stored{Session: id, Ranges: ranges, CRC32C: crc}})
		parts = parts[n:]
	}
	last := &facts[len(facts)-1]
	last.chunks, last.body.Calls = len(chunks), int64(len(chunks))
	return facts
}

// checksum is the CRC-32C of ranges of a file, ascending.
func checksum(f *fsview.Staged, ranges []sessions.Range) (uint32, error) {
	buf := piecePool.Get().(*[hashPiece]byte)
	defer piecePool.Put(buf)
	var crc uint32
	for _, r := range ranges {
		for at := r[0]; at < r[1]; {
			n := min(r[1]-at, hashPiece)
			if _, err := f.ReadAt(buf[:n], at); err != nil {
				return 0, err
			}
			crc = crc32.Update(crc, castagnoli, buf[:n])
			at += n
		}
	}
	return crc, nil
}
