package actions

import (
	"hash/crc32"
	"sync"

	"waybill/fsview"
	"waybill/sessions"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pendingChunk is a chunk, or a part of a body, whose bytes are written and not
// yet durable.
type pendingChunk struct {
	from   origin
	ranges []sessions.Range
	bytes  int64
	// room is how much of Engine.window is given back with the answer.
	room int64
	// held: the bytes are to be synced, and not recorded yet.
	held bool
	// writer gets the answer if it is not nil, else answer does.
	writer *UploadWriter
	answer chan chunkAnswer
}

type chunkAnswer struct {
	stored ChunkStored
	err    error
}

// pend puts p, whose bytes are written, into the window. mu is held.
func (u *upload) pend(p *pendingChunk) {
	u.window = append(u.window, p)
	u.windowBytes += p.bytes
	u.fresh += p.bytes
}

// tell answers p. mu is held.
func (u *upload) tell(p *pendingChunk, a chunkAnswer) {
	u.engine.window.Release(p.room)
	if p.writer != nil {
		p.writer.answered(p, a)
		return
	}
	p.answer <- a
}

// syncNow begins to sync the window, with mu held, if it is not being done: for
// whoever waits for it.
func (u *upload) syncNow() {
	if len(u.window) > 0 {
		u.urgent = true
		u.syncDue()
	}
}

// syncDue begins to sync the window, with mu held, once it is worth it: a body
// goes on bringing bytes that can share its sync, a chunk's sender waits.
func (u *upload) syncDue() {
	if u.syncing || !u.due() {
		return
	}
	u.syncing = true
	u.engine.busy.Add(1)
	go u.syncLoop()
}

func (u *upload) due() bool {
	return len(u.window) > 0 && (u.urgent || u.fresh >= syncAfter)
}

// piecePool holds buffers to read files through.
var piecePool = sync.Pool{New: func() any { return new([hashPiece]byte) }}

// syncLoop makes the window durable until there is none: one sync covers
// every chunk written since the last, one fact a connection names them, then
// their answers leave. While it syncs, the next chunks are written; while a
// window is recorded, the next one is synced.
func (u *upload) syncLoop() {
	defer u.engine.busy.Done()
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		if !u.due() || u.ended {
			u.syncing = false
			u.cond.Broadcast()
			return
		}
		window, file := u.window, u.file
		u.window, u.fresh, u.urgent = nil, 0, false
		u.mu.Unlock()
		err := file.Sync()
		u.mu.Lock()
		// Windows are recorded one after the other, and what is recorded is
		// read back through the handle that abandon closes.
		for u.recording {
			u.cond.Wait()
		}
		if err != nil {
			u.abandon(window, u.failed("sync", err))
			continue
		}
		if window = u.release(window); len(window) == 0 {
			continue
		}
		u.recording = true
		u.engine.busy.Add(1)
		go u.recordWindow(window, file)
	}
}

// release answers what is synced and not to be recorded, and returns the rest of
// a window.
func (u *upload) release(window []*pendingChunk) []*pendingChunk {
	rest := window[:0]
	for _, p := range window {
		if !p.held {
			rest = append(rest, p)
			continue
		}
		u.windowBytes -= p.bytes
		u.tell(p, chunkAnswer{})
	}
	u.cond.Broadcast()
	return rest
}

// recordWindow commits the facts of a window that has been synced, and
// answers it.
func (u *upload) recordWindow(window []*pendingChunk, file *fsview.Staged) {
	defer u.engine.busy.Done()
	done, completes, err := u.commitWindow(window, file)
	u.mu.Lock()
	defer u.mu.Unlock()
	defer func() {
		u.recording = false
		u.cond.Broadcast()
	}()
	for _, r := range done.ranges {
		u.stored.Add(r)
	}
	received := u.stored.Len()
	window, rest := window[:done.chunks], window[done.chunks:]
	for _, p := range window {
		u.windowBytes -= p.bytes
	}
	u.cond.Broadcast()
	if err != nil {
		for _, p := range window {
			u.tell(p, chunkAnswer{stored: ChunkStored{Received: received}})
		}
		u.giveUp(rest, err)
		return
	}
	u.trouble = CodeOK
	// A chunk may have declared stored bytes missing since the fact that
	// completed the set was committed; then a later window completes it.
	completes = completes && u.stored.Contains(sessions.Range{0, u.size})
	answers := window
	if completes {
		// The chunk that arrived last is answered by what becomes of the file.
		answers = window[:len(window)-1]
	} else {
		u.hashAhead()
	}
	for _, p := range answers {
		u.tell(p, chunkAnswer{stored: ChunkStored{Received: received}})
	}
	if completes {
		last := window[len(window)-1]
		err := u.complete(last.from)
		u.tell(last, chunkAnswer{stored: ChunkStored{Done: true, Received: u.size}, err: err})
	}
}

// giveUp answers chunks that did not become durable; their bytes count as
// never sent.
func (u *upload) giveUp(chunks []*pendingChunk, err error) {
	for _, p := range chunks {
		u.windowBytes -= p.bytes
		for _, r := range p.ranges {
			// A fact of a part of them may stand in the journal.
			lost, _ := u.stored.Missing(r, 0)
			for _, l := range lost {
				u.written.Remove(l)
			}
		}
		u.tell(p, chunkAnswer{err: err})
	}
	u.cond.Broadcast()
}

// abandon gives up everything that is not durable after a failed sync: the
// kernel may have dropped any of it and would not tell twice, so bytes
// written while the sync ran are not to be trusted either.
func (u *upload) abandon(window []*pendingChunk, err error) {
	window = append(window, u.window...)
	u.window, u.fresh, u.urgent = nil, 0, false
	if u.file != nil {
		// The handle is spent; the next chunk opens another.
		if cerr := u.file.Close(); cerr != nil {
			u.engine.cfg.Logger.Warn().Err(cerr).Stringer("session", u.id).Msg("close staged file")
		}
		u.file = nil
	}
	u.giveUp(window, err)
}

// recorded is the part of a window that the journal has: its first chunks, and
// all ranges, which may be more than those of whole chunks.
type recorded struct {
	chunks int
	ranges []sessions.Range
}

// commitWindow commits the facts of a window that is on disk, without holding
// mu. Whether the window completes the file is decided in the core. An error
// may come after a part has been committed.
func (u *upload) commitWindow(window []*pendingChunk, file *fsview.Staged) (done recorded, completes bool, err error) {
	// All checksums come first: once a fact is committed, nothing but the
	// journal may fail any more.
	var facts []storedBy
	for len(window) > 0 {
		n := 1
		for n < len(window) && sameConnection(window[n].from, window[0].from) {
			n++
		}
		if facts, err = storedFacts(facts, u.id, window[:n], file); err != nil {
			u.mu.Lock()
			defer u.mu.Unlock()
			return done, false, u.failed("read back", err)
		}
		window = window[n:]
	}
	for _, f := range facts {
		err := u.engine.core.decide(f.from, func(s *State) ([]sessions.Fact, error) {
			if err := u.engine.growth(s, u.id, u.owner, false, f.body.Ranges); err != nil {
				return nil, err
			}
			fact, last, err := s.sessions.Store(&f.body)
			completes = completes || last
			return []sessions.Fact{fact}, err
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
func storedFacts(facts []storedBy, id sessions.ID, chunks []*pendingChunk, file *fsview.Staged) ([]storedBy, error) {
	var set sessions.Set
	for _, p := range chunks {
		for _, r := range p.ranges {
			set.Add(r)
		}
	}
	from := chunks[len(chunks)-1].from
	for ranges := set.Ranges(); len(ranges) > 0; {
		n := min(len(ranges), sessions.MaxFactRanges)
		crc, err := checksum(file, ranges[:n])
		if err != nil {
			return nil, err
		}
		facts = append(facts, storedBy{from: from, body: sessions.Stored{Session: id, Ranges: ranges[:n], CRC32C: crc}})
		ranges = ranges[n:]
	}
	last := &facts[len(facts)-1]
	last.chunks, last.body.Calls = len(chunks), int64(len(chunks))
	return facts, nil
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
