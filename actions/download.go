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

	mu sync.Mutex
	clock
	// unread are ranges handed out and not yet in a download.read.
	unread sessions.Set
	noted  time.Time
	ended  bool
	// from is the caller whose reading the next fact tells of.
	from origin
}

func (e *Engine) newDownload(d sessions.Download, name fsview.Name) *download {
	live := &download{Download: d, name: name}
	live.last = e.cfg.Now()
	live.from = origin{actor: d.Owner, via: "download", ref: d.ID.String()}
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
			return &DownloadOpened{ID: id, Size: known.Identity.Size, SHA1: known.SHA1}, nil
		}
	}
	file, err := e.cfg.Root.Open(name)
	if err != nil {
		return nil, fileError(err)
	}
	defer file.Close() // it was only read
	identity := sessions.Identity(file.Identity())
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
		if s.sessions.DownloadsOf(c.Caller.Subject, identity) >= e.cfg.Limits.MaxDownloadsPerFile {
			return nil, Errorf(CodeRateLimit, "%d downloads of %s are open already", e.cfg.Limits.MaxDownloadsPerFile, name)
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
	return &DownloadOpened{ID: id, Size: identity.Size, SHA1: n.SHA1}, nil
}

// liveDownload returns a live download and starts a request on it.
func (e *Engine) liveDownload(id sessions.ID) (*download, error) {
	e.mu.Lock()
	d := e.downloads[id]
	e.mu.Unlock()
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.ended {
			d.begin(e.cfg.Now())
			return d, nil
		}
	}
	return nil, Errorf(CodeNoTransfer, "no download %s", id)
}

func (e *Engine) leaveDownload(d *download) {
	d.mu.Lock()
	d.end(e.cfg.Now())
	d.mu.Unlock()
}

var contentPool = sync.Pool{New: func() any { return new([]byte) }}

// readDownload hands out bytes. They alone do not wait for their record,
// which follows within a second.
func (e *Engine) readDownload(a *DownloadChunk) (Result, error) {
	d, err := e.liveDownload(a.Session)
	if err != nil {
		return nil, err
	}
	defer e.leaveDownload(d)
	if a.From < 0 || a.From > a.To || a.To > d.Identity.Size || a.To-a.From > DownloadSpan {
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
	d.mu.Lock()
	d.unread.Add(sessions.Range{a.From, a.To})
	d.mu.Unlock()
	if e.cfg.Observe.BytesOut != nil {
		e.cfg.Observe.BytesOut(a.To - a.From)
	}
	return out, nil
}

// readBound reads from the file the session is bound to. The file is opened
// anew each time: an open descriptor would go on giving the bytes of a file
// that has been replaced, and would not survive a restart.
func (e *Engine) readBound(d *download, p []byte, off int64) error {
	changed := Errorf(CodeTransfer, "the file changed since the download began")
	file, err := e.cfg.Root.Open(d.name)
	if errors.Is(err, fsview.ErrNotFound) || errors.Is(err, fsview.ErrIsDirectory) || errors.Is(err, fsview.ErrIsFile) {
		return changed
	}
	if err != nil {
		return fileError(err)
	}
	defer file.Close() // it was only read
	if sessions.Identity(file.Identity()) != d.Identity {
		return changed
	}
	if len(p) > 0 {
		if _, err := file.ReadAt(p, off); err != nil {
			return fileError(err)
		}
	}
	if err := file.Check(); err != nil {
		return changed
	}
	return nil
}

// takeUnread returns what was handed out since the last fact.
func (d *download) takeUnread() []sessions.Range {
	d.mu.Lock()
	defer d.mu.Unlock()
	ranges := d.unread.Ranges()
	d.unread = sessions.Set{}
	return ranges
}

// noteRead records what a download handed out.
func (e *Engine) noteRead(d *download) error {
	ranges := d.takeUnread()
	if len(ranges) == 0 {
		return nil
	}
	return e.core.decide(d.from, func(s *State) ([]sessions.Fact, error) {
		return factsOf(ranges, func(part []sessions.Range) (sessions.Fact, error) {
			return s.sessions.ReadDownload(d.ID, part)
		})
	})
}

func (e *Engine) closeDownload(c *Call, a *DownloadClose) (Result, error) {
	d, err := e.liveDownload(a.Session)
	if err != nil {
		return nil, err
	}
	defer e.leaveDownload(d)
	return Empty{}, e.endDownload(d, c.origin(), (*sessions.Table).CloseDownload)
}

// endDownload records what was read and then the end.
func (e *Engine) endDownload(d *download, from origin, end func(*sessions.Table, sessions.ID) (sessions.Fact, error)) error {
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
	if due {
		return e.noteRead(d)
	}
	return nil
}
