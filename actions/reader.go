package actions

import (
	"errors"
	"os"

	"waybill/fsview"
	"waybill/sessions"
)

// ErrReplaced: the file is no longer the one that the download was opened for.
var ErrReplaced = Errorf(CodeTransfer, "the file changed since the download began")

// DownloadReader is one transfer out of a download: the open file itself, so
// that the system can send it. It goes on with the bytes it has when the file is
// replaced. It is used by one goroutine and ends with Close.
type DownloadReader struct {
	engine *Engine
	d      *download
	file   *fsview.File
	call   Call
	noted  bool
}

// OpenReader begins a transfer out of a live download of the caller; the main
// token may read any. signed: the caller has shown an address that the daemon
// gave out for this download, and stands for whoever opened it. Errors are
// *Error, recorded: CodePermission, CodeNoTransfer, ErrReplaced, CodeFile;
// ErrStopping or ErrFailed.
func (e *Engine) OpenReader(who Caller, id sessions.ID, signed bool) (*DownloadReader, error) {
	if !e.enter() { // left by Close
		return nil, ErrStopping
	}
	r := &DownloadReader{
		engine: e,
		call:   Call{Caller: who, Action: &DownloadChunk{Session: id}, Ref: refOf(""), Own: !signed},
	}
	if err := r.open(id, signed); err != nil {
		defer e.busy.Done()
		if errors.Is(err, ErrFailed) {
			return nil, err
		}
		return nil, e.refuse(&r.call, err)
	}
	return r, nil
}

func (r *DownloadReader) open(id sessions.ID, signed bool) error {
	e := r.engine
	if !signed && !r.call.Caller.Permissions.Allow(permDownload) {
		return Errorf(CodePermission, "needs %s", permDownload)
	}
	d, err := e.liveDownload(&r.call, id)
	if err != nil {
		return err
	}
	if signed {
		r.call.Caller.Subject = d.Owner
	}
	if r.file, err = e.openBound(d); err != nil {
		e.leaveDownload(d)
		return err
	}
	r.d = d
	return nil
}

// DownloadOwner is the subject that opened a live download, "" if there is none.
func (e *Engine) DownloadOwner(id sessions.ID) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d := e.downloads[id]; d != nil {
		return d.Owner
	}
	return ""
}

// File is the open file, at its beginning. It stays the reader's.
func (r *DownloadReader) File() *os.File { return r.file.OS() }

// Path is the file's name below the root, SHA1 its digest in hex, Identity what
// it was when the download was opened.
func (r *DownloadReader) Path() string                { return r.d.Path }
func (r *DownloadReader) SHA1() string                { return r.d.SHA1 }
func (r *DownloadReader) Identity() sessions.Identity { return r.d.Identity }

// Next says that the bytes from from up to to go out next. ErrReplaced if the
// file has been written to, CodeNoTransfer if the download has ended: then they
// must not. Their record follows within a second.
func (r *DownloadReader) Next(from, to int64) error {
	d := r.d
	d.reading.RLock()
	defer d.reading.RUnlock()
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended {
		return Errorf(CodeNoTransfer, "no download %s", d.ID)
	}
	if err := r.unwritten(); err != nil {
		return err
	}
	d.note(r.call.origin(), sessions.Range{from, to})
	r.noted = true
	if r.engine.cfg.Observe.BytesOut != nil {
		r.engine.cfg.Observe.BytesOut(to - from)
	}
	return nil
}

// unwritten is ErrReplaced once the open file is not what it was. Its ctime is
// not looked at: it changes when the file's name goes, whose bytes go on.
func (r *DownloadReader) unwritten() error {
	fi, err := r.file.OS().Stat()
	if err != nil {
		return Errorf(CodeFile, "the disk reported an error")
	}
	if fi.Size() != r.d.Identity.Size || fi.ModTime().UnixNano() != r.d.Identity.MtimeNS {
		return ErrReplaced
	}
	return nil
}

// Close ends the transfer. One that brought no bytes leaves its record here.
func (r *DownloadReader) Close() error {
	e := r.engine
	defer e.busy.Done()
	defer e.leaveDownload(r.d)
	defer r.file.Close() // it was only read
	if r.noted {
		return nil
	}
	_, err := e.answered(&r.call, Empty{})
	return err
}
