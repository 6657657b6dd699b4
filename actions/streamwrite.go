package actions

import (
	"bytes"
	"context"
	"errors"
	"time"

	"waybill/sessions"
)

// Write takes bytes in. Errors are *Error, or ErrFailed: CodeTooBig for bytes
// beyond the file's size, CodeDiskFull, CodeFile, CodeRateLimit for too many gaps,
// ErrEnded, ErrTakenOver.
func (w *UploadWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		piece := p[:min(len(p), streamPiece)]
		if err := w.piece(piece); err != nil {
			return n, err
		}
		n, p = n+len(piece), p[len(piece):]
	}
	return n, nil
}

func (w *UploadWriter) piece(p []byte) error {
	e, u, n := w.engine, w.u, int64(len(p))
	if e.cfg.Observe.BytesIn != nil {
		e.cfg.Observe.BytesIn(n)
	}
	if err := w.acquire(n); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	parts, err := w.storeLocked(p)
	if err != nil || len(parts) == 0 {
		e.window.Release(n)
		return err
	}
	w.pendLocked(parts, n)
	u.syncDue()
	return nil
}

// acquire takes room for n bytes that are not durable. Whoever waits for it must
// hold none.
func (w *UploadWriter) acquire(n int64) error {
	if w.engine.window.TryAcquire(n) {
		return nil
	}
	w.u.mu.Lock()
	w.drainLocked()
	w.u.mu.Unlock()
	// Waiting here is the back-pressure on all bodies together; it never fails
	// with a background context.
	return w.engine.window.Acquire(context.Background(), n)
}

func (w *UploadWriter) storeLocked(p []byte) ([]part, error) {
	u, r := w.u, sessions.Range{w.at, w.at + int64(len(p))}
	switch {
	case w.over != nil:
		return nil, w.over
	case w.err != nil:
		return nil, w.err
	case u.ended || u.full:
		return nil, ErrEnded
	case r[1] > u.most():
		// Close has to say so, too: what asks only it would call this a success.
		w.err = Errorf(CodeTooBig, "more than the %d bytes of the file", u.most())
		return nil, w.err
	}
	parts, err := u.store(w.call.origin(), r, p, w)
	if err != nil {
		if CodeOf(err) == CodeNoTransfer {
			err = ErrEnded
		}
		w.err = err // what follows has no place to go on from
		return nil, err
	}
	if w.opt.Verify != nil {
		w.opt.Verify.Write(p) // a hash never fails
	}
	w.at = r[1]
	return parts, nil
}

// pendLocked adds what is written to the window: to the part of it that is the
// body's already, if that is the last.
func (w *UploadWriter) pendLocked(parts []part, n int64) {
	u := w.u
	held := w.opt.Verify != nil
	if held {
		for _, p := range parts {
			w.held = follow(w.held, p)
		}
	}
	p := &pendingChunk{from: w.call.origin(), parts: parts, bytes: n, room: n, held: held, writer: w}
	if last := len(u.window) - 1; last >= 0 && u.window[last].writer == w {
		u.window[last].join(p)
		u.windowBytes += n
		u.fresh += n
		return
	}
	w.recorded = w.recorded || !held
	u.pend(p)
}

// answered takes note of what became of a part of the body. u.mu is held.
func (w *UploadWriter) answered(p *pendingChunk, a chunkAnswer) {
	w.pending--
	if a.err == nil {
		return
	}
	if w.err == nil {
		w.err = a.err
	}
	// At once: what is lost may be somebody else's by the time the body ends.
	w.forgetLocked()
}

// drainLocked returns once nothing of the body is on its way.
func (w *UploadWriter) drainLocked() {
	for w.pending > 0 {
		w.u.drain(w)
	}
}

// forgetLocked makes the bytes that were held back count as never sent.
func (w *UploadWriter) forgetLocked() {
	for _, p := range w.held {
		w.u.lose(p.at)
	}
	w.held = nil
	w.u.cond.Broadcast()
}

// Close ends the transfer, wherever the body ended: what came is durable and in
// the journal when it returns, and if it completed the file, that stands in its
// place, or the error says why not. ErrChecksum if the digest does not fit;
// otherwise as Write. The status is the upload's as it then is, also beside an
// error, but for ErrFailed.
func (w *UploadWriter) Close() (UploadStatus, error) {
	defer w.engine.busy.Done()
	defer w.u.leave()
	st, err := w.end()
	return st, w.told(err)
}

func (w *UploadWriter) end() (UploadStatus, error) {
	u := w.u
	u.mu.Lock()
	defer u.mu.Unlock()
	w.ending = true
	if w.opt.Verify != nil {
		w.proveLocked()
	}
	w.drainLocked()
	if u.opening != nil {
		u.mu.Unlock()
		<-u.opening
		u.mu.Lock()
	}
	for u.full && u.placing && !u.ended { // by somebody else's last bytes
		u.cond.Wait()
	}
	delete(u.writers, w)
	if u.sole == w {
		u.sole = nil
	}
	err := w.err
	if err == nil && errors.Is(w.over, ErrTakenOver) {
		err = w.over
	}
	if u.refused != nil {
		return UploadStatus{}, u.refused
	}
	if !u.ended {
		return u.statusLocked(), err
	}
	past, perr := w.pastLocked()
	if perr != nil {
		return UploadStatus{}, perr
	}
	if err == nil && past.State != "placed" {
		err = ErrEnded
	}
	return *past, err
}

// pastLocked lets go of mu while the core works.
func (w *UploadWriter) pastLocked() (*UploadStatus, error) {
	w.u.mu.Unlock()
	defer w.u.mu.Lock()
	return w.engine.pastUpload(&w.call, w.u.id)
}

// proveLocked has the bytes recorded that were held back, if their digest fits.
func (w *UploadWriter) proveLocked() {
	fits := bytes.Equal(w.opt.Verify.Sum(nil), w.opt.Want)
	if fits && w.err == nil && w.over == nil && len(w.held) > 0 {
		// Windows are synced one after the other, and one that fails takes those
		// behind it along: what is still on its way need not be waited for.
		w.recorded = true
		w.u.pend(&pendingChunk{from: w.call.origin(), parts: w.held, writer: w})
		w.held = nil
		return
	}
	w.drainLocked()
	w.forgetLocked()
	if !fits && w.err == nil && w.over == nil {
		w.err = ErrChecksum
	}
}

// told records what no fact tells of: a refusal, or a body that changed nothing.
func (w *UploadWriter) told(err error) error {
	e := w.engine
	switch {
	case errors.Is(err, ErrFailed):
		return err
	case err != nil:
		err = e.refuse(&w.call, err)
	case !w.recorded:
		_, err = e.answered(&w.call, Empty{})
	}
	if e.cfg.Observe.Action != nil && !errors.Is(err, ErrFailed) {
		e.cfg.Observe.Action(w.call.Action.Name(), CodeOf(err), time.Since(w.begun))
	}
	return err
}
