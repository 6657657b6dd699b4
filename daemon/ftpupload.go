package daemon

import (
	"errors"
	"io"

	"waybill/actions"
	"waybill/fsview/acl"
)

// ftpUpload is a STOR or APPE under way. The library closes it when the data
// has ended, and tells before if that was not its end.
//
// Whatever can be refused is refused at once. The engine's transfer begins with
// the first byte, or with the end of an empty file: a data connection that does
// not come about discards nothing, and ends nobody else's upload.
type ftpUpload struct {
	session *ftpSession
	offset  int64 // actions.AtEnd for APPE
	// declared is where the bytes should end, -1 if nobody has said so.
	declared int64
	failed   error
	// w is nil before the first byte. unwatch goes with it.
	w       *actions.TaskWriter
	unwatch func()
}

// upload opens the file of the session's task for writing.
func (s *ftpSession) upload(offset int64) (*ftpUpload, error) {
	declared := s.takeDeclared()
	if err := s.task.Check(); err != nil {
		return nil, s.answerTo(err)
	}
	st, err := s.task.Status()
	if err != nil {
		return nil, s.answerTo(err)
	}
	if offset > st.Size {
		return nil, s.refuse(acl.CodeTaskOffset, replyOffset)
	}
	return &ftpUpload{session: s, offset: offset, declared: declared}, nil
}

// begin begins the engine's transfer, once.
func (u *ftpUpload) begin() error {
	if u.w != nil {
		return nil
	}
	w, err := u.session.task.Store(u.offset, false)
	if err != nil {
		return u.session.answerTo(err)
	}
	u.w, u.unwatch = w, u.session.watch(w)
	return nil
}

// watch cuts the data connection once the transfer has ended on the engine's
// side, or has to end with the daemon.
func (s *ftpSession) watch(t interface {
	Done() <-chan struct{}
	Err() error
}) (unwatch func()) {
	return s.f.s.cutWhen(t.Done(), func() {
		why := replyStopping
		if err := t.Err(); err != nil {
			why = ftpReplyOf(err)
		}
		s.cut(why)
	})
}

// answerTo is the answer to a transfer that the engine has refused. After a
// failure of the journal there is none: the session ends.
func (s *ftpSession) answerTo(err error) error {
	if errors.Is(err, actions.ErrFailed) {
		s.kill()
	}
	return ftpReplyOf(err)
}

// refuse records a use of the task that is refused here, and returns the answer.
func (s *ftpSession) refuse(code acl.Code, answer *ftpReply) error {
	err := s.task.Refused(code)
	if _, told := errors.AsType[*acl.Refusal](err); !told {
		return s.answerTo(err)
	}
	return answer
}

// Write implements io.Writer. The library writes nothing at all of a file that
// is empty.
func (u *ftpUpload) Write(p []byte) (int, error) {
	if err := u.begin(); err != nil {
		return 0, err
	}
	if err := u.session.pace(inward, len(p)); err != nil {
		return 0, err
	}
	n, err := u.w.Write(p)
	if err != nil {
		return n, u.session.answerTo(err)
	}
	return n, nil
}

// TransferError implements ftpserver.FileTransferError.
func (u *ftpUpload) TransferError(err error) { u.failed = err }

// Close implements io.Closer. What it returns is the answer: none but nil once
// the content is published.
func (u *ftpUpload) Close() error {
	s := u.session
	defer s.release()
	if u.failed == nil {
		u.failed = u.begin()
	}
	if u.w == nil {
		return u.failed
	}
	u.unwatch() // before the end that is this one's own
	if u.failed == nil && u.declared >= 0 && u.w.At() != u.declared {
		u.failed = replyShort
	}
	if u.failed == nil && !s.seal() {
		u.failed = replyCut
	}
	if u.failed != nil {
		if _, err := u.w.Keep(); err != nil {
			return s.answerTo(err)
		}
		return u.failed
	}
	if _, err := u.w.Publish(""); err != nil {
		return s.answerTo(err)
	}
	return nil
}

// Seek implements io.Seeker: the transfer begins where the client wants it.
func (u *ftpUpload) Seek(offset int64, _ int) (int64, error) { return offset, nil }

// Read implements io.Reader, which the library asks for.
func (u *ftpUpload) Read([]byte) (int, error) { return 0, io.EOF }
