package daemon

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"waybill/actions"
	"waybill/sessions"
)

// uploadPath is where the bytes of uploads go that a panel has opened.
const uploadPath = "/upload/"

const (
	headerMissing = "Upload-Missing"
	headerLength  = "Upload-Length"
	// dataExposed are the headers of answers that pages of other origins may read.
	dataExposed = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Retry-After, " +
		headerDigest + ", " + headerOffset + ", " + headerMissing + ", " + headerLength + ", " + headerComplete
)

// statusChecksum is tus's own: the bytes have another checksum.
const statusChecksum = 460

// allowData answers what pages of other origins may do with /upload and
// /download.
func allowData(h http.Header) {
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, PATCH, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Range, Range, If-Range, If-Match, If-None-Match, "+
		headerOffset)
}

// transfer makes room for one more transfer over HTTP, or answers that there is
// none: before anything is read of a body.
func (d *dataRequest) transfer() (release func(), ok bool) {
	who, full := subjectOf(d.who), (*actions.Error)(nil)
	if full = d.s.transfers.take(who); full == nil {
		return func() { d.s.transfers.give(who) }, true
	}
	status := http.StatusServiceUnavailable
	if full == d.s.transfers.fullEach && !isTus(d.r.URL.Path) { // its clients give up on what is below 500
		status = http.StatusTooManyRequests
	}
	d.w.Header().Set("Retry-After", comeAgain)
	unread(d.w, d.r)
	d.refused(status, full.Code, full.Detail)
	return nil, false
}

// unread is called before an answer that refuses a request without a look at its
// body: it does not wait for that, which whoever expects to be asked for it will
// not send at all, and the connection ends.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	at := time.Now()
	if r.Header.Get("Expect") == "" {
		at = at.Add(refusedDrain)
	}
	_ = http.NewResponseController(w).SetReadDeadline(at) // closed if this fails
}

// holder is whoever a token speaks for; without a good one the answer is made.
func (s *server) holder(w http.ResponseWriter, r *http.Request, token string) (actions.Caller, bool) {
	who, err := s.tokens.check(token)
	if err != nil {
		s.engine.CountRefused("token", hostOf(r.RemoteAddr))
		w.Header().Set("WWW-Authenticate", "Bearer")
		unread(w, r)
		text(w, http.StatusUnauthorized, errToken.Error())
		return who, false
	}
	who.Via = "http " + r.RemoteAddr
	return who, true
}

// dataRequest is one request of somebody who is known, and how its record is to
// name it.
type dataRequest struct {
	s      *server
	w      http.ResponseWriter
	r      *http.Request
	who    actions.Caller
	action string
	// ref is what all its records are found by.
	ref string
}

// do has the engine do something with sessions of the caller.
func (d *dataRequest) do(a actions.Action) (actions.Result, error) {
	return d.s.engine.Do(d.s.patience, actions.Call{Caller: d.who, Action: a, Own: true, Ref: d.ref})
}

// refused records what the wire refuses by itself, and answers it.
func (d *dataRequest) refused(status int, code actions.Code, line string) {
	err := d.s.engine.Refuse(d.r.Context(), d.who, d.ref, d.action, &actions.Error{Code: code, Detail: line})
	if err != nil {
		d.fail(err)
		return
	}
	text(d.w, status, line)
}

// methods refuses what a path is not for.
func (d *dataRequest) methods(methods ...string) {
	d.w.Header().Set("Allow", strings.Join(methods, ", ")+", OPTIONS")
	d.refused(http.StatusMethodNotAllowed, actions.CodeBadRequest, "method not allowed")
}

// fail answers with what an error of the engine, or of a body, is here.
func (d *dataRequest) fail(err error) {
	h := d.w.Header()
	if errors.Is(err, actions.ErrFailed) {
		panic(http.ErrAbortHandler) // nothing may be answered
	}
	var torn *tornBody
	if errors.As(err, &torn) {
		h.Set("Connection", "close")
		text(d.w, torn.status, torn.line)
		return
	}
	if errors.Is(err, actions.ErrStopping) {
		h.Set("Retry-After", "1") // beside 423, too
		text(d.w, notNow(d.r), "stopping")
		return
	}
	status, line := dataStatus(err)
	switch {
	case status == http.StatusLocked:
		h.Set("Retry-After", "1")
	case errors.Is(err, actions.ErrStaged), errors.Is(err, actions.ErrStagedOwn),
		errors.Is(err, actions.ErrUploads), errors.Is(err, actions.ErrUploadsOwn):
		h.Set("Retry-After", comeAgain)
		unread(d.w, d.r)
	}
	text(d.w, status, line)
}

// dataStatus is the one table of what errors of the engine are over HTTP.
func dataStatus(err error) (status int, line string) {
	refusal, ok := errors.AsType[*actions.Error](err)
	if !ok {
		return http.StatusInternalServerError, "internal server error"
	}
	line = strings.Join(strings.Fields(refusal.Detail), " ")
	if line == "" {
		line = string(refusal.Code)
	}
	switch refusal {
	case actions.ErrEnded, actions.ErrReplaced:
		return http.StatusGone, line
	case actions.ErrOffset, actions.ErrTakenOver:
		return http.StatusConflict, line
	case actions.ErrChecksum:
		return statusChecksum, line
	case actions.ErrStaged, actions.ErrStagedOwn:
		return http.StatusInsufficientStorage, line
	case actions.ErrUploads, actions.ErrUploadsOwn: // only over tus, whose clients give up on what is below 500
		return http.StatusServiceUnavailable, line
	}
	switch refusal.Code {
	case actions.CodePermission, actions.CodeAccess:
		return http.StatusForbidden, line
	case actions.CodeParam:
		return http.StatusBadRequest, line
	case actions.CodeNoTransfer, actions.CodeNotFound:
		return http.StatusNotFound, line
	case actions.CodeTransfer:
		return http.StatusUnprocessableEntity, line
	case actions.CodeTooBig:
		return http.StatusRequestEntityTooLarge, line
	case actions.CodeDiskFull:
		return http.StatusInsufficientStorage, line
	case actions.CodeRateLimit:
		return http.StatusTooManyRequests, line
	case actions.CodeInUse:
		return http.StatusLocked, line
	case actions.CodeConflict, actions.CodeIsDirectory, actions.CodeIsFile:
		return http.StatusConflict, line
	}
	return http.StatusInternalServerError, line
}

// tornBody is a body that did not come to its end, and what is answered to it if
// anybody is there.
type tornBody struct {
	status int
	line   string
}

func (t *tornBody) Error() string { return t.line }

var dataBuffers = sync.Pool{New: func() any { return new([dataBuffer]byte) }}

// receive takes the request's body into an upload. What came of one that breaks
// off is kept: the error is then a *tornBody. It may end as the upload is placed,
// which is no error.
func (d *dataRequest) receive(id sessions.ID, o actions.ReceiveOptions) (st actions.UploadStatus, err error) {
	s := d.s
	o.Length, o.Ref = max(d.r.ContentLength, 0), d.ref
	into, err := s.engine.Receive(d.who, id, o)
	if err != nil {
		return st, err
	}
	body, cut := s.bodyOf(d.w, d.r, s.cfg.TransferStall, subjectOf(d.who))
	unwatch := s.cutWhen(into.Done(), cut)
	buf := dataBuffers.Get().(*[dataBuffer]byte)
	broken := body.copyTo(into, buf[:])
	dataBuffers.Put(buf)
	unwatch()
	st, err = into.Close()
	if _, ours := errors.AsType[*taskSinkError](broken); broken == nil || ours || st.State == "placed" {
		return st, err
	}
	if err == nil || errors.Is(err, actions.ErrChecksum) { // no digest fits a part: the bytes are not to blame
		err = s.torn(broken)
	}
	return st, err
}

// hurryBody has a sender that stalls not be waited for, not even by what a
// refusal leaves unread.
func (d *dataRequest) hurryBody() {
	if d.r.ContentLength != 0 {
		_ = http.NewResponseController(d.w).SetReadDeadline(time.Now().Add(d.s.cfg.TransferStall))
	}
}

func (d *dataRequest) status(id sessions.ID) (*actions.UploadStatus, error) {
	res, err := d.do(&actions.UploadStatusOf{Session: id})
	if err != nil {
		return nil, err
	}
	st, _ := res.(*actions.UploadStatus)
	if st.State != "open" && st.State != "placed" {
		return nil, actions.ErrEnded
	}
	return st, nil
}

// tellUpload tells how an upload stands.
func tellUpload(h http.Header, st *actions.UploadStatus) {
	if st.State == "" {
		return // nothing is known of it
	}
	tellOffset(h, st.Prefix, st.State == "placed")
	if st.Size >= 0 {
		h.Set(headerLength, strconv.FormatInt(st.Size, 10))
	}
	if len(st.Missing) > 0 {
		var b []byte
		for i, m := range st.Missing[:min(len(st.Missing), maxTold)] {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, m[0], 10)
			b = append(b, '-')
			b = strconv.AppendInt(b, m[1]-1, 10)
		}
		h.Set(headerMissing, string(b))
	}
}
