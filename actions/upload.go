package actions

import (
	"sync"
	"time"

	"waybill/fsview"
	"waybill/sessions"
)

// upload is the live side of one upload session: the staged file, what is
// written but not yet durable, and the idle clock. What is durable is in the
// journal; an upload can be rebuilt from it at any moment.
type upload struct {
	engine *Engine
	id     sessions.ID
	owner  string
	name   fsview.Name
	sha1   string
	meta   string
	idle   time.Duration

	// target is guarded by Engine.mu.
	target fsview.Target

	// mu guards the rest. It is held while bytes are written, so that chunks
	// take effect one after the other, but never while a file is synced.
	mu   sync.Mutex
	cond *sync.Cond // broadcast whenever the window, full, placing or ended changes
	clock
	file *fsview.Staged
	// stored is durable and committed; written is stored and what is on its
	// way there.
	stored, written sessions.Set
	// size is -1 while it is not known; then spare is how many more bytes may be
	// written before free space is looked at again.
	size, spare int64
	// window are the chunks written since the last sync began, fresh the size of
	// them, windowBytes that of all that is not durable yet. urgent: they are not
	// to wait for more.
	window             []*pendingChunk
	fresh, windowBytes int64
	urgent             bool
	// writers are the bodies being received; sole is the one that begins where
	// the stored bytes end, of which there is one at a time.
	writers map[*UploadWriter]struct{}
	sole    *UploadWriter
	// synced is what has been synced since the last record began, syncedBytes the
	// size of it. hurry: somebody waits for its record.
	synced      []*pendingChunk
	syncedBytes int64
	hurry       bool
	// syncing: the window is being synced. recording: what was synced is being
	// recorded.
	syncing, recording bool
	// barrier counts those who wait for the window to drain.
	barrier int
	// full: every byte is durable, none is taken any more. ended: gone.
	full, ended bool
	// placing is true while somebody verifies, seals or places.
	placing   bool
	nextPlace time.Time
	// digest is set once the upload is sealed.
	digest string
	// trouble is the code of the last failed write, sync or placing, CodeOK
	// once one succeeds.
	trouble Code
	// pad is what PROTOCOL.md §4 asks of senders with odd chunks.
	pad padding

	prefix prefixHash

	// opening is closed once the opening is durable or refused, for the reason in
	// refused; nil if that was waited for.
	opening chan struct{}
	refused error
}

func (e *Engine) newUpload(s *sessions.Upload, name fsview.Name) *upload {
	u := &upload{
		engine: e, id: s.ID, owner: s.Owner, name: name, size: s.Size, sha1: s.SHA1, meta: s.Meta, idle: s.Idle,
		stored: s.Stored.Clone(), written: s.Stored.Clone(),
		full: s.Complete(), digest: s.Digest, trouble: CodeOK, writers: make(map[*UploadWriter]struct{}),
	}
	u.cond = sync.NewCond(&u.mu)
	u.restart(e.cfg.Now())
	return u
}

// liveUpload returns the live upload id and starts a request on it; the
// caller ends it with leave. MFP asks for no more than knowing the id.
func (e *Engine) liveUpload(c *Call, id sessions.ID) (*upload, error) {
	e.mu.Lock()
	u := e.uploads[id]
	e.mu.Unlock()
	if u == nil || !c.sees(u.owner) {
		return nil, Errorf(CodeNoTransfer, "no upload %s", id)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return nil, Errorf(CodeNoTransfer, "no upload %s", id)
	}
	u.begin(e.cfg.Now())
	return u, nil
}

func (u *upload) leave() { u.end(u.engine.cfg.Now()) }

// underway reports whether somebody syncs, records, verifies or places.
func (u *upload) underway() bool { return u.syncing || u.recording || u.placing }

// settle waits, with mu held, until nothing of the upload is on its way, and
// keeps further chunks waiting meanwhile, or a busy sender could put it off
// for ever.
func (u *upload) settle() {
	u.barrier++
	for u.underway() || len(u.window) > 0 || len(u.synced) > 0 {
		u.syncNow()
		u.cond.Wait()
	}
	u.barrier--
	u.cond.Broadcast()
}

func (e *Engine) cancelUpload(c *Call, a *UploadCancel) (Result, error) {
	u, err := e.liveUpload(c, a.Session)
	if err != nil {
		return nil, err
	}
	defer u.leave()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settle()
	if u.ended {
		return nil, Errorf(CodeNoTransfer, "no upload %s", a.Session)
	}
	if u.full {
		return nil, Errorf(CodeInUse, "the file is complete and being put in place")
	}
	err = e.core.decide(c.origin(), func(s *State) ([]sessions.Fact, error) {
		f, err := s.sessions.Cancel(u.id)
		return []sessions.Fact{f}, err
	})
	if err != nil {
		return nil, err
	}
	u.finishLocked(true)
	return Empty{}, nil
}

// finishLocked ends the live side after the fact that ended the session is
// durable; drop tells whether staged bytes are to go.
func (u *upload) finishLocked(drop bool) {
	e := u.engine
	u.ended = true
	for w := range u.writers {
		w.stopLocked(ErrEnded)
	}
	if u.file != nil {
		if err := u.file.Close(); err != nil {
			e.cfg.Logger.Warn().Err(err).Stringer("session", u.id).Msg("close staged file")
		}
		u.file = nil
	}
	u.prefix.reset()
	e.forget(u)
	e.stats.uploads.Add(-1)
	u.cond.Broadcast()
	if !drop {
		return
	}
	// The journal knows that the session has ended: what cannot be removed
	// now is removed by the next start.
	if err := e.cfg.Root.DropStaged(u.id.String()); err != nil {
		e.cfg.Logger.Warn().Err(err).Stringer("session", u.id).Msg("remove staged bytes")
	}
}

func (e *Engine) uploadStatus(c *Call, a *UploadStatusOf) (Result, error) {
	u, err := e.liveUpload(c, a.Session)
	if err == nil {
		defer u.leave()
		u.mu.Lock()
		st := u.statusLocked()
		ended := u.ended
		u.mu.Unlock()
		if !ended {
			return e.answered(c, &st)
		}
	}
	past, err := e.pastUpload(c, a.Session)
	if err != nil {
		return nil, err
	}
	return e.answered(c, past)
}

// pastUpload tells how an upload has ended that is remembered.
func (e *Engine) pastUpload(c *Call, id sessions.ID) (*UploadStatus, error) {
	var past sessions.Upload
	var known bool
	now := e.cfg.Now()
	if err := e.core.view(func(s *State) { past, known = s.sessions.Upload(id) }); err != nil {
		return nil, err
	}
	if !known || past.Task != nil || past.State.Live() || now.Sub(past.Ended) >= sessions.Remember || !c.sees(past.Owner) {
		return nil, Errorf(CodeNoTransfer, "no upload %s", id)
	}
	return endedStatus(&past), nil
}

func (u *upload) statusLocked() UploadStatus {
	st := UploadStatus{
		ID: u.id, State: "open", Path: u.name.String(), Size: u.size, Received: u.stored.Len(),
		ExpiresMS: u.left(u.idle, u.engine.cfg.Now()).Milliseconds(), SHA1: u.digest, Code: u.trouble,
		Prefix: u.stored.Prefix(), Meta: u.meta,
	}
	st.Missing, st.More = missing(u.stored, u.size)
	return st
}

func missing(stored sessions.Set, size int64) ([][2]int64, bool) {
	gaps, more := stored.Missing(sessions.Range{0, size}, maxMissing)
	out := make([][2]int64, len(gaps))
	for i, g := range gaps {
		out[i] = g
	}
	return out, more
}

func endedStatus(s *sessions.Upload) *UploadStatus {
	st := &UploadStatus{
		ID: s.ID, State: s.State.String(), Path: s.Path, Size: s.Size, Received: s.Stored.Len(), SHA1: s.Digest, Code: CodeOK,
		Prefix: s.Stored.Prefix(), Meta: s.Meta,
	}
	st.Missing, st.More = missing(s.Stored, s.Size)
	switch s.State {
	case sessions.Rejected:
		st.Code = Code(s.Code)
	case sessions.Cancelled, sessions.Expired:
		st.Code = CodeNoTransfer
	}
	return st
}

func (e *Engine) transferList(c *Call) (Result, error) {
	var ups []sessions.Upload
	var downs []sessions.Download
	err := e.core.view(func(s *State) { ups, downs = s.sessions.Uploads(), s.sessions.Downloads() })
	if err != nil {
		return nil, err
	}
	out := &Transfers{Uploads: []UploadStatus{}, Downloads: []DownloadStatus{}}
	for i := range ups {
		if !c.Caller.Main && ups[i].Owner != c.Caller.Subject {
			continue
		}
		e.mu.Lock()
		u := e.uploads[ups[i].ID]
		e.mu.Unlock()
		if u == nil {
			continue // it has ended since
		}
		u.mu.Lock()
		st, ended := u.statusLocked(), u.ended
		u.mu.Unlock()
		if !ended {
			out.Uploads = append(out.Uploads, st)
		}
	}
	for i := range downs {
		if !c.Caller.Main && downs[i].Owner != c.Caller.Subject {
			continue
		}
		if st, ok := e.downloadStatus(&downs[i]); ok {
			out.Downloads = append(out.Downloads, st)
		}
	}
	return e.answered(c, out)
}
