package actions

import (
	"errors"
	"hash"
	"time"

	"waybill/sessions"
)

var (
	// ErrEnded: the upload is known and has ended.
	ErrEnded = Errorf(CodeNoTransfer, "the upload has ended")
	// ErrOffset: the bytes stored without a gap end elsewhere.
	ErrOffset = Errorf(CodeParam, "the offset is not where the stored bytes end")
	// ErrTakenOver: another transfer into the same upload has begun.
	ErrTakenOver = Errorf(CodeInUse, "another transfer took over")
	// ErrChecksum: the bytes have another digest than was announced; they count
	// as never sent.
	ErrChecksum = Errorf(CodeTransfer, "the bytes have another checksum")
)

// ReceiveOptions say what a body brings into an upload.
type ReceiveOptions struct {
	// Offset is where its first byte goes.
	Offset int64
	// Exact: Offset must be where the bytes stored without a gap end. A transfer
	// of that kind ends the one before it; what that one brought counts.
	Exact bool
	// Verify, if not nil, is a fresh hash whose sum over the body must be Want, or
	// its bytes count as never sent.
	Verify hash.Hash
	Want   []byte
	// Size, if not nil, is that of the file: it must be the one that is known, or
	// becomes it.
	Size *int64
	// Ref is the request's own id, "" for a fresh one.
	Ref string
	// Length is how many bytes are to come, 0 if that is not known.
	Length int64
}

// UploadWriter is a body on its way into an upload. It is used by one goroutine
// and ends with Close, which must be called.
type UploadWriter struct {
	engine *Engine
	u      *upload
	call   Call
	opt    ReceiveOptions
	begun  time.Time
	// done is closed when somebody else ends the transfer.
	done chan struct{}

	// What follows is guarded by u.mu. over is why somebody else has ended the
	// transfer, err why bytes of it did not become durable.
	over, err error
	at        int64
	// pending counts the parts of it that are under way, unsynced those that no
	// sync has covered yet; recorded tells that a fact names it, or is about to.
	// ending: the body is at its end.
	pending, unsynced int
	recorded, ending  bool
	// held is what is written and not recorded before the digest fits.
	held []part
}

// Receive begins to take a body into a live upload of the caller: the main token
// may reach any. Errors are *Error, recorded: CodePermission, CodeNoTransfer
// (ErrEnded if it is known), ErrOffset, CodeParam; ErrStopping or ErrFailed.
func (e *Engine) Receive(who Caller, id sessions.ID, o ReceiveOptions) (*UploadWriter, error) {
	if !e.enter() { // left by Close
		return nil, ErrStopping
	}
	w := &UploadWriter{
		engine: e, opt: o, at: o.Offset, done: make(chan struct{}), begun: time.Now(),
		call: Call{Caller: who, Action: &UploadChunk{Session: id, Offset: o.Offset}, Ref: refOf(o.Ref), Own: true},
	}
	if err := w.open(id); err != nil {
		defer e.busy.Done()
		return nil, w.told(err)
	}
	return w, nil
}

func (w *UploadWriter) open(id sessions.ID) error {
	if !w.call.Caller.Permissions.Allow(permUpload) {
		return Errorf(CodePermission, "needs %s", permUpload)
	}
	u, err := w.engine.liveUpload(&w.call, id)
	if err != nil {
		if _, perr := w.engine.pastUpload(&w.call, id); perr == nil {
			return ErrEnded
		}
		return err
	}
	w.u = u
	if err := w.enter(); err != nil {
		u.leave()
		return err
	}
	return nil
}

// enter makes the transfer one of the upload's.
func (w *UploadWriter) enter() error {
	u := w.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if w.opt.Exact || w.opt.Size != nil && u.size < 0 {
		w.takeOver()
	}
	switch {
	case u.ended:
		return ErrEnded
	case u.full:
		return Errorf(CodeInUse, "the file is complete and being put in place")
	case w.opt.Exact && w.at != u.stored.Prefix():
		return ErrOffset
	}
	if err := w.resize(); err != nil {
		return err
	}
	// At the end there can be an empty body, as clients send that tell the size
	// late.
	if w.at < 0 || w.at > u.most() || w.at == u.most() && !w.opt.Exact {
		return Errorf(CodeParam, "offset %d of a file of %d bytes", w.at, u.most())
	}
	if w.opt.Length > u.most()-w.at {
		return Errorf(CodeTooBig, "more than the %d bytes of the file", u.most())
	}
	if w.opt.Exact {
		u.sole = w
	}
	u.writers[w] = struct{}{}
	return nil
}

// takeOver returns, with mu held, once nothing of the upload is under way and the
// transfer before has ended. It may have held bytes back: they are forgotten.
func (w *UploadWriter) takeOver() {
	u := w.u
	for {
		if old := u.sole; old != nil {
			old.stopLocked(ErrTakenOver)
			u.sole = nil
			u.settle()
			old.forgetLocked()
			continue
		}
		u.settle()
		if u.sole == nil {
			return
		}
	}
}

// resize declares the size, if there is one to declare. An upload that is
// complete by it is placed.
func (w *UploadWriter) resize() error {
	u := w.u
	if w.opt.Size == nil {
		return nil
	}
	size := *w.opt.Size
	if u.size >= 0 {
		if size != u.size {
			return Errorf(CodeParam, "the file has %d bytes, not %d", u.size, size)
		}
		return nil
	}
	if err := w.engine.checkSize(&UploadRequest{Size: size, Stream: true}); err != nil || size < 0 {
		if err == nil {
			err = Errorf(CodeParam, "size %d", size)
		}
		return err
	}
	u.placing = true // keeps chunks waiting that come meanwhile
	err := u.decide(w.call.origin(), func(s *State) (sessions.Fact, error) {
		if err := w.engine.growth(s, u.id, u.owner, false, []sessions.Range{{0, size}}); err != nil {
			return sessions.Fact{}, err
		}
		return s.sessions.Size(u.id, size)
	})
	u.placing = false
	u.cond.Broadcast()
	if errors.Is(err, sessions.ErrRange) {
		err = Errorf(CodeParam, "size %d, but more is stored", size)
	}
	if err != nil {
		return err
	}
	u.size, w.recorded = size, true
	if u.stored.Contains(sessions.Range{0, size}) {
		return u.complete(w.call.origin())
	}
	return nil
}

// Done is closed when somebody else ends the transfer: another one that begins
// where the stored bytes end, or the end of the upload.
func (w *UploadWriter) Done() <-chan struct{} { return w.done }

// stopLocked ends the transfer from outside; what it has written counts. One whose
// body is at its end is let end by itself.
func (w *UploadWriter) stopLocked(why error) {
	if w.over == nil && !w.ending {
		w.over = why
		close(w.done)
	}
}
