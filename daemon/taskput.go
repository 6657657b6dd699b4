package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/sessions"
)

// headTask tells how an upload stands, for a day after it was published, too:
// the answer that said so may have been lost.
func (s *server) headTask(w http.ResponseWriter, t *actions.Task) {
	st, err := t.Status()
	if err == nil && st.State != sessions.Published && st.State != sessions.Sealed {
		err = t.Check()
	}
	if err != nil {
		s.refuseTask(w, err)
		return
	}
	done := st.State == sessions.Published
	if done {
		w.Header().Set("ETag", `"`+st.SHA256+`"`)
	}
	tellOffset(w.Header(), st.Size, done)
	w.WriteHeader(http.StatusOK)
}

// putTask takes in a whole content.
func (s *server) putTask(w http.ResponseWriter, r *http.Request, t *actions.Task) {
	digest, ok := reprDigest(r.Header.Values(headerDigest))
	// Whoever says that this is a part does not mean the whole.
	if !ok || r.Header.Get("Content-Range") != "" || !isAbsentOr(r.Header.Values(headerOffset), "0") ||
		!isAbsentOr(r.Header.Values(headerComplete), "?1") {
		s.refuseTask(w, t.Refused(acl.CodeBadRequest))
		return
	}
	s.receive(w, r, t, upload{complete: true, digest: digest})
}

// patchTask takes in a part, which begins where the stored bytes end.
func (s *server) patchTask(w http.ResponseWriter, r *http.Request, t *actions.Task) {
	p := upload{exact: true}
	var ok [3]bool
	p.offset, ok[0] = uploadOffset(r.Header.Values(headerOffset))
	p.complete, ok[1] = uploadComplete(r.Header.Values(headerComplete))
	p.digest, ok[2] = reprDigest(r.Header.Values(headerDigest))
	if ok != [3]bool{true, true, true} {
		s.refuseTask(w, t.Refused(acl.CodeBadRequest))
		return
	}
	s.receive(w, r, t, p)
}

// upload is what a request brings into a write task.
type upload struct {
	offset int64
	// exact: the offset has to be where the stored bytes end.
	exact, complete bool
	digest          string // "" for none
}

// receive takes the body in. What came of one that breaks off is kept.
func (s *server) receive(w http.ResponseWriter, r *http.Request, t *actions.Task, p upload) {
	if r.ContentLength > s.maxFile()-p.offset || p.offset > s.maxFile() {
		s.refuseTask(w, t.Refused(acl.CodeTooBig))
		return
	}
	release, ok := s.taskTransfer(w, r, t)
	if !ok {
		return
	}
	defer release()
	if err := t.Room(p.offset, r.ContentLength); err != nil {
		unread(w, r)
		s.refuseUpload(w, t, err)
		return
	}
	into, err := t.Store(p.offset, p.exact)
	if err != nil {
		s.refuseUpload(w, t, err)
		return
	}
	body, cut := s.bodyOf(w, r, s.cfg.TaskStall, subject{t.Owner(), true})
	unwatch := s.cutWhen(into.Done(), cut)
	buf := takeTaskBuffer()
	err = body.copyTo(into, buf[:])
	giveTaskBuffer(buf)
	unwatch()
	if err == nil && p.complete {
		s.publish(w, t, into, p.digest)
		return
	}
	at, kept := into.Keep()
	switch {
	case kept != nil:
		s.refuseUpload(w, t, kept)
	case err != nil:
		tellOffset(w.Header(), at, false)
		s.refuseBody(w, err)
	default:
		tellOffset(w.Header(), at, false)
		w.WriteHeader(http.StatusNoContent)
	}
}

// publish answers an upload that is complete.
func (s *server) publish(w http.ResponseWriter, t *actions.Task, from *actions.TaskWriter, digest string) {
	p, err := from.Publish(digest)
	if err != nil {
		s.refuseUpload(w, t, err)
		return
	}
	h := w.Header()
	tellOffset(h, p.Size, true)
	h.Set("ETag", `"`+p.SHA256+`"`)
	h.Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // the client has gone if this fails
		Size     int64  `json:"size"`
		SHA256   string `json:"sha256"`
		Revision string `json:"revision_id"`
	}{p.Size, p.SHA256, p.Revision})
}

// refuseUpload answers a refused upload, with where one that can go on stands.
func (s *server) refuseUpload(w http.ResponseWriter, t *actions.Task, err error) {
	if st, serr := t.Status(); serr == nil && st.State == sessions.Open {
		tellOffset(w.Header(), st.Size, false)
	}
	s.refuseTask(w, err)
}

// refuseBody answers a body that did not come to its end.
func (s *server) refuseBody(w http.ResponseWriter, err error) {
	w.Header().Set("Connection", "close")
	var engine *taskSinkError
	switch {
	case errors.As(err, &engine):
		s.refuseTask(w, engine.err)
	case s.life.Err() != nil:
		text(w, http.StatusServiceUnavailable, "stopping")
	case errors.Is(err, os.ErrDeadlineExceeded):
		text(w, http.StatusRequestTimeout, "nothing came for too long")
	default:
		text(w, http.StatusBadRequest, "the body broke off")
	}
}

// maxFile is the largest file there may be.
func (s *server) maxFile() int64 { return s.engine.MaxFileSize() }

// taskBody is a request's body, whose sender may take its time but not stop.
type taskBody struct {
	from  io.Reader
	stall time.Duration
	clock cutoff
	// pace returns once so many bytes more may come.
	pace func(n int64) error
}

// bodyOf is the body of a request of somebody. cut ends it, at once and for good.
func (s *server) bodyOf(w http.ResponseWriter, r *http.Request, stall time.Duration, who subject) (b *taskBody, cut func()) {
	ctx, cancel := context.WithCancel(r.Context())
	b = &taskBody{from: r.Body, stall: stall}
	b.clock.set = http.NewResponseController(w).SetReadDeadline
	b.pace = func(n int64) error { return s.pace.wait(ctx, nil, who, inward, n) }
	return b, func() {
		cancel()
		b.clock.cutNow()
	}
}

// taskSinkError is an error of what a body is copied to, not of the body.
type taskSinkError struct{ err error }

// Error implements error.
func (e *taskSinkError) Error() string { return e.err.Error() }

// copyTo copies the body through buf, to its end if it returns nil.
func (b *taskBody) copyTo(w io.Writer, buf []byte) error {
	for {
		b.clock.extend(time.Now().Add(b.stall))
		n, err := b.from.Read(buf)
		if n > 0 {
			if err := b.pace(int64(n)); err != nil {
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return &taskSinkError{err}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			b.clock.extend(time.Time{}) // the connection is read on, for its end
			return nil
		case err != nil:
			return err
		}
	}
}

var taskBuffers = sync.Pool{New: func() any { return new([taskBuffer]byte) }}

func takeTaskBuffer() *[taskBuffer]byte { return taskBuffers.Get().(*[taskBuffer]byte) }

func giveTaskBuffer(b *[taskBuffer]byte) { taskBuffers.Put(b) }
