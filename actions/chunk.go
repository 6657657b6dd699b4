package actions

import (
	"bytes"
	"context"
	"errors"

	"waybill/fsview"
	"waybill/sessions"
)

// padding detects senders whose odd chunks come with a byte of padding, and
// where it is: see PROTOCOL.md §4.
type padding struct {
	// end and length are those of the last text chunk, as decoded; trim is
	// the length of text chunks known to end in padding, 0 if none.
	end, length, trim int64
}

// counted is how many of a text chunk's n bytes count.
func (p *padding) counted(offset, n, size int64) int64 {
	if n == 0 {
		return 0 // a no-op tells nothing of its sender
	}
	if p.length > 0 && offset == p.end-1 {
		p.trim = p.length
	}
	p.end, p.length = offset+n, n
	if offset+n == size+1 || n == p.trim {
		return n - 1
	}
	return n
}

// chunk stores bytes: they are written at once, in the order of arrival, and
// the answer waits for the sync and the record that cover them.
func (e *Engine) chunk(c *Call, a *UploadChunk) (Result, error) {
	u, err := e.liveUpload(c, a.Session)
	if err != nil {
		return nil, err
	}
	defer u.leave()
	n := int64(len(a.Data))
	if e.cfg.Observe.BytesIn != nil {
		e.cfg.Observe.BytesIn(n)
	}
	// Weighted never fails with a background context: waiting here is the
	// back-pressure on all sockets together.
	room := min(n, totalWindow)
	if err := e.window.Acquire(context.Background(), room); err != nil {
		return nil, err
	}
	p, received, err := u.write(c.origin(), a, room)
	c.took()
	if p == nil {
		e.window.Release(room)
		if err != nil {
			return nil, err
		}
		return e.answered(c, &ChunkStored{Received: received})
	}
	answer := <-p.answer
	if answer.err != nil {
		return nil, answer.err
	}
	return &answer.stored, nil
}

// write puts a chunk's bytes into the staged file and returns what waits for
// their sync; nil if nothing had to be written.
func (u *upload) write(from origin, a *UploadChunk, room int64) (p *pendingChunk, received int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.takes(a); err != nil {
		return nil, 0, err
	}
	data := a.Data
	if a.Text {
		if n := u.pad.counted(a.Offset, int64(len(data)), u.size); n < int64(len(data)) {
			data = data[:max(n, 0)]
		}
	}
	r := sessions.Range{a.Offset, a.Offset + int64(len(data))}
	if r[1] > u.most() {
		return nil, 0, Errorf(CodeParam, "data: %d bytes at offset %d of a file of %d", len(data), a.Offset, u.most())
	}
	if len(data) == 0 {
		return nil, u.stored.Len(), nil
	}
	parts, err := u.store(from, r, data, nil)
	if err != nil {
		return nil, 0, err
	}
	if len(parts) == 0 {
		return nil, u.stored.Len(), nil
	}
	p = &pendingChunk{from: from, parts: parts, bytes: r.Len(), room: room, answer: make(chan chunkAnswer, 1)}
	u.pend(p)
	u.syncNow()
	return p, 0, nil
}

// store writes, with mu held, those bytes of r that are not stored already, and
// returns which; data are the bytes of r, w who sends them, nil for a chunk.
func (u *upload) store(from origin, r sessions.Range, data []byte, w *UploadWriter) ([]part, error) {
	if err := u.room(r, w); err != nil {
		return nil, err
	}
	if g := u.gapsWith(r); g > sessions.MaxGaps && g > u.written.Gaps(u.size) {
		return nil, Errorf(CodeRateLimit, "more than %d gaps", sessions.MaxGaps)
	}
	ranges, err := u.changes(from, r, data, w != nil && w.opt.Verify != nil)
	if err != nil {
		return nil, err
	}
	if err := u.afford(ranges); err != nil {
		return nil, err
	}
	parts := make([]part, 0, len(ranges))
	for _, at := range ranges {
		piece := data[at[0]-r[0] : at[1]-r[0]]
		if _, err := u.file.WriteAt(piece, at[0]); err != nil {
			return nil, u.failed("write", err)
		}
		parts = append(parts, partOf(at, piece))
	}
	for _, at := range ranges {
		u.written.Add(at)
	}
	return parts, nil
}

// most is how long the file can become.
func (u *upload) most() int64 {
	if u.size < 0 {
		return u.engine.cfg.Limits.MaxFileSize
	}
	return u.size
}

// afford looks at the free space, now and then, for an upload that has none set
// aside because its size is not known.
func (u *upload) afford(ranges []sessions.Range) error {
	if u.size >= 0 {
		return nil
	}
	for _, r := range ranges {
		u.spare -= r.Len()
	}
	if u.spare >= 0 {
		return nil
	}
	need := max(-u.spare, sessionWindow)
	u.spare = 0
	if err := u.engine.cfg.Root.CheckSpace(need); err != nil {
		return fileError(err)
	}
	// What is on its way is not counted yet: the fact that names it decides.
	if err := u.engine.stagedRoom(u.owner, false, 1); err != nil {
		return err
	}
	u.spare = sessionWindow
	return nil
}

// takes checks, with mu held, that the upload takes the chunk at all.
func (u *upload) takes(a *UploadChunk) error {
	if u.ended || u.full {
		return Errorf(CodeNoTransfer, "upload %s takes no more bytes", u.id)
	}
	if a.Offset < 0 || a.Offset >= u.most() {
		return Errorf(CodeParam, "offset %d of a file of %d bytes", a.Offset, u.most())
	}
	return nil
}

// room waits until the window has room for r and r overlaps nothing in it,
// and opens the staged file. Bytes under way must be durable before others
// replace them, or a crash could leave a mixture.
func (u *upload) room(r sessions.Range, w *UploadWriter) error {
	for {
		switch {
		case w != nil && w.over != nil:
			return w.over // another one may have begun where this one was to write
		case u.ended || u.full:
			return Errorf(CodeNoTransfer, "upload %s takes no more bytes", u.id)
		case u.heldOver(r, w):
			return Errorf(CodeInUse, "another transfer brings these bytes and has not proven them yet")
		case u.barrier > 0, u.placing,
			u.windowBytes > 0 && u.windowBytes+r.Len() > sessionWindow,
			u.overlapsWindow(r):
			u.syncNow()
			u.cond.Wait()
			continue
		}
		return u.open()
	}
}

// heldOver reports whether r meets bytes that another body than w holds back until
// its digest is known. That is up to its sender, so nobody may wait for it: who
// waited would keep room in the window that all uploads share. One that has been
// ended, or is at its end, is done with them in a moment.
func (u *upload) heldOver(r sessions.Range, w *UploadWriter) bool {
	for other := range u.writers {
		if other != w && other.over == nil && !other.ending && meets(other.held, r) {
			return true
		}
	}
	return false
}

// overlapsWindow reports whether r meets bytes that are written and not yet
// durable.
func (u *upload) overlapsWindow(r sessions.Range) bool {
	for _, o := range u.written.Overlap(r) {
		if !u.stored.Contains(o) {
			return true
		}
	}
	return false
}

func (u *upload) gapsWith(r sessions.Range) int {
	if len(u.written.Ranges()) < sessions.MaxGaps-1 {
		return 0 // one more range cannot reach the bound
	}
	with := u.written.Clone()
	with.Add(r)
	return with.Gaps(u.size)
}

// open opens the staged file if it is closed. One that has no bytes yet is made
// again if it is gone: nobody has synced it.
func (u *upload) open() error {
	if u.file != nil {
		return nil
	}
	f, err := u.engine.cfg.Root.OpenStaged(u.id.String())
	if errors.Is(err, fsview.ErrNotFound) && u.written.Len() == 0 {
		f, err = u.engine.cfg.Root.CreateStaged(u.id.String(), u.size)
	}
	if errors.Is(err, fsview.ErrNotFound) {
		err = Errorf(CodeFile, "the staged bytes are gone")
	}
	if err != nil {
		return u.failed("open", err)
	}
	u.file = f
	return nil
}

// failed notes that the disk did not do what it should, for the session's
// status, and words it for the caller.
func (u *upload) failed(what string, err error) error {
	e := asError(fileError(err))
	u.trouble = e.Code
	u.engine.cfg.Logger.Error().Err(err).Stringer("session", u.id).Msg(what + " staged bytes")
	return e
}

// changes returns the parts of r whose bytes are not stored yet. Stored bytes
// that would change are first, durably, declared missing: a crash from here
// on finds them missing, never half old and half new.
func (u *upload) changes(from origin, r sessions.Range, data []byte, held bool) ([]sessions.Range, error) {
	stored := u.stored.Overlap(r)
	if len(stored) == 0 {
		return []sessions.Range{r}, nil
	}
	write, _ := u.stored.Missing(r, 0)
	var replaced []sessions.Range
	for _, o := range stored {
		diff, err := u.differs(o, data[o[0]-r[0]:o[1]-r[0]])
		if err != nil {
			return nil, err
		}
		replaced = append(replaced, diff...)
	}
	if len(replaced) > 0 {
		if held {
			// They may come to nothing, and what is stored was acknowledged.
			return nil, Errorf(CodeConflict, "other bytes are stored there already")
		}
		err := u.engine.core.decide(from, func(s *State) ([]sessions.Fact, error) {
			return factsOf(replaced, func(part []sessions.Range) (sessions.Fact, error) {
				return s.sessions.Unstore(u.id, part)
			})
		})
		if err != nil {
			return nil, err
		}
		for _, w := range replaced {
			u.stored.Remove(w)
			u.written.Remove(w)
		}
		u.prefix.cut(replaced[0][0])
	}
	all := sessions.SetOf(append(write, replaced...)...)
	return all.Ranges(), nil
}

// differs compares data with the stored bytes of r in pieces and returns the
// pieces that are not equal.
func (u *upload) differs(r sessions.Range, data []byte) ([]sessions.Range, error) {
	var out sessions.Set
	buf := piecePool.Get().(*[hashPiece]byte)
	defer piecePool.Put(buf)
	for at := r[0]; at < r[1]; {
		n := min(r[1]-at, hashPiece)
		if _, err := u.file.ReadAt(buf[:n], at); err != nil {
			return nil, u.failed("read", err)
		}
		if want := data[at-r[0]:][:n]; !bytes.Equal(buf[:n], want) {
			// Trim what is equal at both ends: a byte of padding must not
			// make a megabyte be written again.
			from, to := at, at+n
			for buf[from-at] == want[from-at] {
				from++
			}
			for buf[to-1-at] == want[to-1-at] {
				to--
			}
			out.Add(sessions.Range{from, to})
		}
		at += n
	}
	return out.Ranges(), nil
}

// factsOf splits ranges over as many facts as their bound asks for.
func factsOf(ranges []sessions.Range, fact func([]sessions.Range) (sessions.Fact, error)) ([]sessions.Fact, error) {
	var facts []sessions.Fact
	for len(ranges) > 0 {
		n := min(len(ranges), sessions.MaxFactRanges)
		f, err := fact(ranges[:n])
		if err != nil {
			return nil, err
		}
		facts, ranges = append(facts, f), ranges[n:]
	}
	return facts, nil
}
