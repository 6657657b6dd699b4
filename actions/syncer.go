package actions

import (
	"sync"

	"waybill/sessions"
)

// pendingChunk is a chunk, or a part of a body, whose bytes are written and not
// yet durable.
type pendingChunk struct {
	from  origin
	parts []part
	bytes int64
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
	if p.writer != nil {
		p.writer.pending++
		p.writer.unsynced++
	}
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

// syncNow begins to make what is written durable and to record it, with mu held,
// if that is not being done: for whoever waits for it.
func (u *upload) syncNow() {
	u.urgent = len(u.window) > 0
	u.syncDue()
	u.hurry = len(u.synced) > 0
	u.recordDue()
}

// syncDue begins to sync the window, with mu held, once it is worth it: a body
// goes on bringing bytes that can share its sync, a chunk's sender waits.
func (u *upload) syncDue() {
	if u.syncing || !u.toSync() {
		return
	}
	u.syncing = true
	u.engine.busy.Add(1)
	go func() {
		defer u.engine.busy.Done()
		u.mu.Lock()
		defer u.mu.Unlock()
		for u.toSync() && !u.ended {
			u.syncWindow()
			u.recordDue()
		}
		u.syncing = false
		u.cond.Broadcast()
	}()
}

func (u *upload) toSync() bool {
	return len(u.window) > 0 && (u.urgent || u.fresh >= syncAfter)
}

// recordDue begins to record what is synced, with mu held, once it is worth it.
func (u *upload) recordDue() {
	if u.recording || !u.toRecord() {
		return
	}
	u.recording = true
	u.engine.busy.Add(1)
	go func() {
		defer u.engine.busy.Done()
		u.mu.Lock()
		defer u.mu.Unlock()
		for u.toRecord() && !u.ended {
			u.recordWindow()
		}
		u.recording = false
		u.cond.Broadcast()
	}()
}

func (u *upload) toRecord() bool {
	return len(u.synced) > 0 && (u.hurry || u.syncedBytes >= recordAfter)
}

// drain does the next thing that has to be done before what w has brought is
// durable and recorded, or waits for those who do it, with mu held on entry and on
// return: one sync and one record for all of it, and no other goroutine where it
// would only be waited for.
func (u *upload) drain(w *UploadWriter) {
	switch {
	case w.unsynced > 0 && len(u.window) > 0 && !u.syncing && !u.ended:
		u.syncing = true
		u.syncWindow()
		u.syncing = false
		u.cond.Broadcast()
		u.syncDue() // more may have come
	case w.unsynced > 0:
		u.urgent = len(u.window) > 0
		u.cond.Wait()
	case len(u.synced) > 0 && !u.recording && !u.ended:
		u.recording = true
		u.recordWindow()
		u.recording = false
		u.cond.Broadcast()
		u.recordDue()
	default:
		u.hurry = len(u.synced) > 0
		u.cond.Wait()
	}
}

// piecePool holds buffers to read files through.
var piecePool = sync.Pool{New: func() any { return new([hashPiece]byte) }}

// syncWindow makes the window durable: one sync covers every chunk written since
// the last. While it syncs, the next chunks are written, and what was synced
// before is recorded. mu is held on entry and on return; syncing is set.
func (u *upload) syncWindow() {
	window, urgent := u.window, u.urgent
	u.window, u.fresh, u.urgent = nil, 0, false
	// The handle may be gone, with a sync that failed, if all there is to do here is
	// to have recorded what was synced before.
	if err := u.open(); err != nil {
		u.abandon(window, err)
		return
	}
	file := u.file
	u.hashAhead() // while the disk works
	u.mu.Unlock()
	err := file.Sync()
	u.mu.Lock()
	if err != nil {
		u.abandon(window, u.failed("sync", err))
		return
	}
	u.hurry = u.hurry || urgent
	for _, p := range window {
		if p.writer != nil {
			p.writer.unsynced--
		}
		if p.held { // nothing of it is to be recorded yet
			u.windowBytes -= p.bytes
			u.tell(p, chunkAnswer{})
			continue
		}
		u.syncedBytes += p.bytes
		if last := len(u.synced) - 1; last >= 0 && p.writer != nil && u.synced[last].writer == p.writer {
			u.synced[last].join(p)
			p.writer.pending--
			continue
		}
		u.synced = append(u.synced, p)
	}
	u.cond.Broadcast()
}

// join makes next, which comes after p and is of the same body, a part of p.
func (p *pendingChunk) join(next *pendingChunk) {
	for _, part := range next.parts {
		p.parts = follow(p.parts, part)
	}
	p.bytes, p.room = p.bytes+next.bytes, p.room+next.room
}

// recordWindow commits what has been synced, one fact a connection, and lets the
// answers leave. mu is held on entry and on return; recording is set.
func (u *upload) recordWindow() {
	window := u.synced
	u.synced, u.syncedBytes, u.hurry = nil, 0, false
	digest, release := u.digestAhead(window)
	defer release()
	u.mu.Unlock()
	done, completes, err := u.commitWindow(window, digest)
	u.mu.Lock()
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
	if completes {
		u.digest = digest
	}
	answers := window
	if completes {
		// The chunk that arrived last is answered by what becomes of the file.
		answers = window[:len(window)-1]
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
		for _, part := range p.parts {
			// A fact of a part of them may stand in the journal.
			u.lose(part.at)
		}
		u.tell(p, chunkAnswer{err: err})
	}
	u.cond.Broadcast()
}

// lose makes those bytes of r count as never sent that are not stored, with mu
// held.
func (u *upload) lose(r sessions.Range) {
	lost, _ := u.stored.Missing(r, 0)
	for _, l := range lost {
		u.written.Remove(l)
		u.prefix.cut(l[0])
	}
}

// abandon gives up everything that is not durable after a failed sync: the
// kernel may have dropped any of it and would not tell twice, so bytes
// written while the sync ran are not to be trusted either.
func (u *upload) abandon(window []*pendingChunk, err error) {
	window = append(window, u.window...)
	u.window, u.fresh, u.urgent = nil, 0, false
	for _, p := range window {
		if p.writer != nil {
			p.writer.unsynced--
		}
	}
	if u.file != nil {
		// The handle is spent; the next chunk opens another.
		if cerr := u.file.Close(); cerr != nil {
			u.engine.cfg.Logger.Warn().Err(cerr).Stringer("session", u.id).Msg("close staged file")
		}
		u.file = nil
	}
	u.giveUp(window, err)
}
