package daemon

import (
	"errors"
	"io"

	"waybill/actions"
)

// ftpDownload is a RETR under way.
type ftpDownload struct {
	session *ftpSession
	r       *actions.TaskReader
	unwatch func()
}

// download begins a transfer out of the session's task.
func (s *ftpSession) download(offset int64) (*ftpDownload, error) {
	r, err := s.task.Read()
	if err != nil {
		return nil, s.answerTo(err)
	}
	if offset > r.Size() {
		return nil, errors.Join(replyOffset, r.Close())
	}
	return &ftpDownload{s, r, s.watch(r)}, nil
}

// Read implements io.Reader. The end of the file is told once the client has
// all of it: then the task is finished.
func (d *ftpDownload) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	switch {
	case err == nil:
		return n, d.session.pace(outward, n)
	case !errors.Is(err, io.EOF):
		return n, d.session.answerTo(err)
	}
	if err := d.session.delivered(); err != nil {
		return n, err
	}
	if !d.session.seal() {
		return n, replyCut
	}
	// Somebody else may have ended the task meanwhile; the client has its file
	// all the same.
	if err := d.r.Finish(); errors.Is(err, actions.ErrFailed) || errors.Is(err, actions.ErrStopping) {
		return n, d.session.answerTo(err)
	}
	return n, io.EOF
}

// delivered waits until the client has all that was sent.
func (s *ftpSession) delivered() error {
	s.mu.Lock()
	data := s.data
	s.mu.Unlock()
	if data == nil {
		return replyCut
	}
	return data.delivered()
}

// Seek implements io.Seeker.
func (d *ftpDownload) Seek(offset int64, whence int) (int64, error) { return d.r.Seek(offset, whence) }

// Write implements io.Writer, which the library asks for.
func (d *ftpDownload) Write([]byte) (int, error) { return 0, replyDenied }

// Close implements io.Closer.
func (d *ftpDownload) Close() error {
	defer d.session.release()
	d.unwatch()
	if err := d.r.Close(); err != nil {
		return d.session.answerTo(err)
	}
	return nil
}
