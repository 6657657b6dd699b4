package actions

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"waybill/fsview"
	"waybill/sessions"
)

// download is the live side of one download session.
type download struct {
	sessions.Download
	name fsview.Name

	// reading is held shared while bytes are read and recorded, alone while the
	// download ends: bytes go out before the last download.read or not at all.
	reading sync.RWMutex

	mu sync.Mutex
	clock
	// unnoted is what was handed out and is not yet in a download.read.
	unnoted []readBy
	noted   time.Time
	ended   bool
}

// readBy is what one connection has read.
type readBy struct {
	from origin
	set  sessions.Set
}

func (e *Engine) newDownload(d sessions.Download, name fsview.Name) *download {
	live := &download{Download: d, name: name}
	live.restart(e.cfg.Now())
	return live
}

func (e *Engine) openDownload(ctx context.Context, c *Call, a *DownloadRequest, id sessions.ID) (Result, error) {
	again := !id.IsZero()
	if !again {
		id = sessions.NewID()
	}
	name, err := readName(a.Path)
	if err != nil {
		return nil, err
	}
	if again {
		// The job that asks may have opened it before a crash.
		var known sessions.Download
		var ok bool
		if err := e.core.view(func(s *State) { known, ok = s.sessions.Download(id) }); err != nil {
			return nil, err
		}
		if ok {
			return &DownloadOpened{ID: id, Size: known.Identity.Size, SHA1: known.SHA1, URL: a.URL}, nil
		}
	}
	file, err := e.cfg.Root.Open(name)
	if err != nil {
		return nil, fileError(err)
	}
	defer file.Close() // it was only read
	identity := sessions.Identity(file.Identity())
	// Decided again below; asked here so that nobody over the limit costs the
	// reading of a whole file.
	var full error
	if err := e.core.view(func(s *State) { full = e.downloadLimit(s, c.Caller.Subject, name, identity) }); err != nil {
		return nil, err
	}
	if full != nil {
		return nil, full
	}
	digest, err := e.hashes.digest(ctx, e.cfg.Now, file)
	if err != nil {
		return nil, fileError(err)
	}
	n := sessions.NewDownload{ID: id, Path: name.String(), Identity: identity, SHA1: hex.EncodeToString(digest[:]), Idle: a.Timeout}
	live := e.newDownload(sessions.Download{
		ID: id, Owner: c.Caller.Subject, Path: n.Path, Identity: identity, SHA1: n.SHA1, Idle: n.Idle,
	}, name)
	e.mu.Lock()
	e.downloads[id] = live
	e.mu.Unlock()
	err = e.core.decide(c.origin(), func(s *State) ([]sessions.Fact, error) {
		if err := e.downloadLimit(s, c.Caller.Subject, name, identity); err != nil {
			return nil, err
		}
		f, err := s.sessions.OpenDownload(n)
		return []sessions.Fact{f}, err
	})
	if err != nil {
		e.mu.Lock()
		delete(e.downloads, id)
		e.mu.Unlock()
		return nil, err
	}
	e.stats.downloads.Add(1)
	return &DownloadOpened{ID: id, Size: identity.Size, SHA1: n.SHA1, URL: a.URL}, nil
}

// downloadLimit refuses a subject one more download of a file that it has the
// most of.
func (e *Engine) downloadLimit(s *State, subject string, name fsview.Name, file sessions.Identity) error {
	if n := s.sessions.DownloadsOf(subject, file); n >= e.cfg.Limits.MaxDownloadsPerFile {
		return Errorf(CodeRateLimit, "%d downloads of %s are open already", n, name)
	}
	return nil
}

// liveDownload returns a live download and starts a request on it.
func (e *Engine) liveDownload(c *Call, id sessions.ID) (*download, error) {
	e.mu.Lock()
	d := e.downloads[id]
	e.mu.Unlock()
	if d != nil && c.sees(d.Owner) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.ended {
			d.begin(e.cfg.Now())
			return d, nil
		}
	}
	return nil, Errorf(CodeNoTransfer, "no download %s", id)
}

func (e *Engine) leaveDownload(d *download) { d.end(e.cfg.Now()) }

var contentPool = sync.Pool{New: func() any { return new([]byte) }}

// readDownload hands out bytes. They alone do not wait for their record,
// which follows within a second.
func (e *Engine) readDownload(c *Call, a *DownloadChunk) (Result, error) {
	d, err := e.liveDownload(c, a.Session)
	if err != nil {
		return nil, err
	}
	defer e.leaveDownload(d)
	out, err := e.readNoted(d, c.origin(), a)
	if err != nil {
		return nil, err
	}
	if a.From == a.To {
		return e.answered(c, out) // no download.read tells of it
	}
	return out, nil
}

func (e *Engine) readNoted(d *download, from origin, a *DownloadChunk) (*Content, error) {
	d.reading.RLock()
	defer d.reading.RUnlock()
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended {
		return nil, Errorf(CodeNoTransfer, "no download %s", a.Session)
	}
	if !d.spans(a) {
		return nil, Errorf(CodeParam, "range: %d..%d of a file of %d bytes", a.From, a.To, d.Identity.Size)
	}
	pooled := contentPool.Get().(*[]byte)
	if n := int(a.To - a.From); cap(*pooled) < n {
		*pooled = make([]byte, n)
	}
	out := &Content{Bytes: (*pooled)[:a.To-a.From], Base64: a.Base64, Release: func() { contentPool.Put(pooled) }}
	if err := e.readBound(d, out.Bytes, a.From); err != nil {
		out.Release()
		return nil, err
	}
	d.note(from, sessions.Range{a.From, a.To})
	if e.cfg.Observe.BytesOut != nil {
		e.cfg.Observe.BytesOut(a.To - a.From)
	}
	return out, nil
}

// spans tells whether the file has the range that a chunk asks for, which is not
// too long.
func (d *download) spans(a *DownloadChunk) bool {
	return a.From >= 0 && a.From <= a.To && a.To <= d.Identity.Size && a.To-a.From <= DownloadSpan
}

// readBound reads from the file the session is bound to. The file is opened
// anew each time: an open descriptor would go on giving the bytes of a file
// that has been replaced, and would not survive a restart.
func (e *Engine) readBound(d *download, p []byte, off int64) error {
	file, err := e.openBound(d)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	if len(p) > 0 {
		if _, err := file.ReadAt(p, off); err != nil && file.Check() == nil {
			return fileError(err)
		}
	}
	if err := file.Check(); err != nil {
		return ErrReplaced
	}
	return nil
}

// openBound opens the file that the session is bound to. ErrReplaced.
func (e *Engine) openBound(d *download) (*fsview.File, error) {
	file, err := e.cfg.Root.Open(d.name)
	if err != nil {
		// Whatever is there now, it is not that file: even one that may not be
		// opened any more has had its ctime changed.
		for _, other := range []error{fsview.ErrNotFound, fsview.ErrIsDirectory, fsview.ErrIsFile, fsview.ErrEscape, fsview.ErrAccess} {
			if errors.Is(err, other) {
				return nil, ErrReplaced
			}
		}
		return nil, fileError(err)
	}
	if sessions.Identity(file.Identity()) != d.Identity {
		return nil, errors.Join(ErrReplaced, file.Close())
	}
	return file, nil
}

// note keeps in mind what a connection has read.
func (d *download) note(from origin, r sessions.Range) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.unnoted {
		if by := &d.unnoted[i]; sameConnection(by.from, from) {
			by.from = from
			by.set.Add(r)
			return
		}
	}
	d.unnoted = append(d.unnoted, readBy{from, sessions.SetOf(r)})
}

// noteRead records what a download handed out since the last time: one fact a
// connection, since knowing the session's ID is enough to read.
func (e *Engine) noteRead(d *download) error {
	d.mu.Lock()
	read := d.unnoted
	d.unnoted = nil
	d.mu.Unlock()
	for _, by := range read {
		err := e.core.decide(by.from, func(s *State) ([]sessions.Fact, error) {
			return factsOf(by.set.Ranges(), func(part []sessions.Range) (sessions.Fact, error) {
				return s.sessions.ReadDownload(d.ID, part)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) closeDownload(c *Call, a *DownloadClose) (Result, error) {
	d, err := e.liveDownload(c, a.Session)
	if err != nil {
		return nil, err
	}
	defer e.leaveDownload(d)
	return Empty{}, e.endDownload(d, c.origin(), (*sessions.Table).CloseDownload)
}

// endDownload records what was read and then the end.
func (e *Engine) endDownload(d *download, from origin, end func(*sessions.Table, sessions.ID) (sessions.Fact, error)) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	if err := e.noteRead(d); err != nil {
		return err
	}
	err := e.core.decide(from, func(s *State) ([]sessions.Fact, error) {
		f, err := end(s.sessions, d.ID)
		if err != nil {
			return nil, err
		}
		return []sessions.Fact{f}, nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	e.mu.Lock()
	delete(e.downloads, d.ID)
	e.mu.Unlock()
	e.stats.downloads.Add(-1)
	return nil
}

func (e *Engine) downloadStatus(s *sessions.Download) (DownloadStatus, bool) {
	e.mu.Lock()
	d := e.downloads[s.ID]
	e.mu.Unlock()
	if d == nil {
		return DownloadStatus{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return DownloadStatus{
		ID: d.ID, Path: d.Path, Size: d.Identity.Size, SHA1: d.SHA1,
		ExpiresMS: d.left(d.Idle, e.cfg.Now()).Milliseconds(),
	}, !d.ended
}

// reapDownload records reading at most once a second and ends what is idle.
func (e *Engine) reapDownload(d *download, now time.Time) error {
	d.mu.Lock()
	idle := !d.ended && d.left(d.Idle, now) == 0
	due := now.Sub(d.noted) >= readFactEvery
	if due {
		d.noted = now
	}
	d.mu.Unlock()
	if idle {
		return e.endDownload(d, origin{actorDaemon, "reaper", d.ID.String()}, (*sessions.Table).ExpireDownload)
	}
	if !due {
		return nil
	}
	// What is taken here must be recorded before the download can be closed.
	d.reading.RLock()
	defer d.reading.RUnlock()
	return e.noteRead(d)
}
