package daemon

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waybill/actions"
	"waybill/fsview/acl"
)

// taskPath is where file tasks are reached over HTTP (CFMS.md §1.5).
const taskPath = "/tasks/"

// Headers of uploads, by the names of the IETF's draft on resumable ones.
const (
	headerOffset   = "Upload-Offset"
	headerComplete = "Upload-Complete"
	headerDigest   = "Repr-Digest"
)

// allowTasks answers what pages of other origins may do with tasks.
func allowTasks(h http.Header) {
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, PATCH, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range, If-Range, If-None-Match, "+
		headerOffset+", "+headerComplete+", "+headerDigest)
}

// task serves /tasks/{task_id}/{fake_name}.
func (s *server) task(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, "+
		headerOffset+", "+headerComplete)
	id, name, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, taskPath), "/")
	if !ok || id == "" || name == "" {
		text(w, http.StatusNotFound, "not found")
		return
	}
	if r.ContentLength != 0 { // for what a refusal leaves unread, too
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.TaskStall))
	}
	t, err := s.engine.Task(actions.TaskCall{
		ID: id, Token: bearer(r), Peer: hostOf(r.RemoteAddr), Via: "http " + r.RemoteAddr,
	})
	switch {
	case err != nil:
		unread(w, r)
		s.refuseTask(w, err)
	case name != t.FakeName():
		s.refuseTask(w, t.Refused(acl.CodeNotFound))
	case t.Writes():
		s.writeTask(w, r, t)
	default:
		s.readTask(w, r, t)
	}
}

// taskTransfer makes room for one more transfer, or answers that there is none:
// before anything is read of a body.
func (s *server) taskTransfer(w http.ResponseWriter, r *http.Request, t *actions.Task) (release func(), ok bool) {
	who := subject{t.Owner(), true}
	if s.transfers.take(who) != nil {
		w.Header().Set("Retry-After", comeAgain)
		unread(w, r)
		s.refuseTask(w, t.Refused(acl.CodeBusy))
		return nil, false
	}
	return func() { s.transfers.give(who) }, true
}

func (s *server) readTask(w http.ResponseWriter, r *http.Request, t *actions.Task) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.getTask(w, r, t)
	default:
		s.refuseMethod(w, t, http.MethodGet, http.MethodHead)
	}
}

func (s *server) writeTask(w http.ResponseWriter, r *http.Request, t *actions.Task) {
	switch r.Method {
	case http.MethodHead:
		s.headTask(w, t)
	case http.MethodPut:
		s.putTask(w, r, t)
	case http.MethodPatch:
		s.patchTask(w, r, t)
	default:
		s.refuseMethod(w, t, http.MethodHead, http.MethodPut, http.MethodPatch)
	}
}

// refuseMethod answers what the task is not for.
func (s *server) refuseMethod(w http.ResponseWriter, t *actions.Task, methods ...string) {
	w.Header().Set("Allow", strings.Join(methods, ", ")+", OPTIONS")
	s.refuseTask(w, t.Refused(acl.CodeTaskDirection))
}

// refuseTask answers with what an error of the engine is here.
func (s *server) refuseTask(w http.ResponseWriter, err error) {
	if errors.Is(err, actions.ErrFailed) {
		panic(http.ErrAbortHandler) // nothing may be answered
	}
	status, line := http.StatusInternalServerError, "internal server error"
	if errors.Is(err, actions.ErrStopping) {
		status, line = http.StatusServiceUnavailable, "stopping"
	}
	if code, ok := errors.AsType[acl.Code](err); ok {
		status, line = taskStatus(code)
	}
	if status == http.StatusInsufficientStorage {
		w.Header().Set("Retry-After", comeAgain)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	text(w, status, line)
}

// taskStatus is the one table of what codes are over HTTP (CFMS.md §1.5).
func taskStatus(code acl.Code) (status int, line string) {
	switch code {
	case acl.CodeTaskUnknown:
		return http.StatusUnauthorized, "there is no such task, or its token is wrong"
	case acl.CodeNotFound:
		return http.StatusNotFound, "the task has no such file"
	case acl.CodeBadRequest:
		return http.StatusBadRequest, "bad header"
	case acl.CodeTaskGone:
		return http.StatusGone, "the task has ended"
	case acl.CodeTaskDirection:
		return http.StatusMethodNotAllowed, "method not allowed"
	case acl.CodeTaskOffset:
		return http.StatusConflict, "the offset is not where the stored bytes end"
	case acl.CodeTaskDigest:
		return http.StatusUnprocessableEntity, "the content has another digest"
	case acl.CodeTaskDenied:
		return http.StatusForbidden, "no longer allowed to write"
	case acl.CodeTooBig:
		return http.StatusRequestEntityTooLarge, "the file is too big"
	case acl.CodeDiskFull:
		return http.StatusInsufficientStorage, "the disk is full"
	case acl.CodeBusy:
		return http.StatusServiceUnavailable, "too many transfers"
	case acl.CodeBroken:
		return http.StatusConflict, "another transfer took over"
	}
	return http.StatusInternalServerError, "internal server error"
}

// tellOffset tells how much of an upload is durable, and whether it is
// published.
func tellOffset(h http.Header, size int64, complete bool) {
	h.Set(headerOffset, strconv.FormatInt(size, 10))
	h.Set(headerComplete, "?0")
	if complete {
		h.Set(headerComplete, "?1")
	}
}
