package daemon

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill/actions"
	"waybill/sessions"
)

// tus 1.0.0, straight on the engine's uploads: an upload made here is one like
// any other, whose size may be told late and may be 0.
const (
	tusPath    = "/tus/"
	tusVersion = "1.0.0"
	tusBody    = "application/offset+octet-stream"

	headerTus      = "Tus-Resumable"
	headerMetadata = "Upload-Metadata"
	headerDefer    = "Upload-Defer-Length"
	headerExpires  = "Upload-Expires"
	headerChecksum = "Upload-Checksum"
	headerConcat   = "Upload-Concat"
	headerOverride = "X-HTTP-Method-Override"
)

func isTus(path string) bool { return path+"/" == tusPath || strings.HasPrefix(path, tusPath) }

// notNow is the status of an answer that may be another one in a moment. Clients
// of tus take any status of HEAD but 423 for the end of the upload, and begin a
// new one.
func notNow(r *http.Request) int {
	if r.Method == http.MethodHead && isTus(r.URL.Path) {
		return http.StatusLocked
	}
	return http.StatusServiceUnavailable
}

// tusOptions answers what is offered, to clients and to pages of other origins.
func (s *server) tusOptions(h http.Header) {
	h.Set("Access-Control-Allow-Methods", "POST, HEAD, PATCH, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With, X-Request-ID, "+headerOverride+", "+
		headerTus+", "+headerOffset+", "+headerLength+", "+headerDefer+", "+headerMetadata+", "+headerChecksum)
	h.Set(headerTus, tusVersion)
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration")
	h.Set("Tus-Max-Size", strconv.FormatInt(s.maxFile(), 10))
	h.Set("Tus-Checksum-Algorithm", "sha1,sha256,crc32")
}

// tus serves /tus/ and /tus/{id}.
func (s *server) tus(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(headerTus, tusVersion)
	h.Set("Access-Control-Expose-Headers", "Location, Retry-After, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, "+
		headerTus+", "+headerOffset+", "+headerLength+", "+headerDefer+", "+headerMetadata+", "+headerExpires)
	method := r.Method
	if over := r.Header.Get(headerOverride); over != "" && method == http.MethodPost {
		method = over
	}
	d := &dataRequest{s: s, w: w, r: r, action: tusActions[method], ref: uuid.NewString()}
	d.hurryBody()
	token := bearer(r)
	if token == "" {
		token = r.URL.Query().Get("token")
	}
	var ok bool
	if d.who, ok = s.holder(w, r, token); !ok {
		return
	}
	if r.Header.Get(headerTus) != tusVersion {
		h.Set("Tus-Version", tusVersion)
		d.refused(http.StatusPreconditionFailed, actions.CodeParam, headerTus+" is not "+tusVersion)
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/tus"), "/")
	if name == "" {
		if method != http.MethodPost {
			d.methods(http.MethodPost)
			return
		}
		d.tusCreate()
		return
	}
	id, err := sessions.ParseID(name)
	if err != nil {
		d.refused(http.StatusNotFound, actions.CodeNoTransfer, "no such upload")
		return
	}
	switch method {
	case http.MethodHead:
		d.tusHead(id)
	case http.MethodPatch:
		d.tusPatch(id)
	case http.MethodDelete:
		d.tusDelete(id)
	default:
		d.methods(http.MethodHead, http.MethodPatch, http.MethodDelete)
	}
}

// tusActions is how the records of what is refused here name it.
var tusActions = map[string]string{
	http.MethodPost: "file_upload_request", http.MethodHead: "file_upload_status",
	http.MethodPatch: "file_upload_chunk", http.MethodDelete: "file_upload_cancel",
}

// tusHead tells how far an upload is. One that is complete and not in its place
// yet may still come to nothing: it is not told to be whole.
func (d *dataRequest) tusHead(id sessions.ID) {
	st, err := d.status(id)
	if err != nil {
		d.fail(err)
		return
	}
	if unplaced(st) {
		d.fail(errUnplaced)
		return
	}
	h := d.w.Header()
	d.tusOffset(st)
	if st.Size < 0 {
		h.Set(headerDefer, "1")
	} else {
		h.Set(headerLength, strconv.FormatInt(st.Size, 10))
	}
	if st.Meta != "" {
		h.Set(headerMetadata, st.Meta)
	}
	d.w.WriteHeader(http.StatusOK)
}

// errUnplaced is all that is said of an upload while it is unplaced: clients take
// an offset that is the length for the end.
var errUnplaced = actions.Errorf(actions.CodeInUse, "the file is complete and being put in place")

func unplaced(st *actions.UploadStatus) bool { return st.State == "open" && st.Prefix == st.Size }

// tusPatch takes bytes in, from where the stored ones end.
func (d *dataRequest) tusPatch(id sessions.ID) {
	h := d.r.Header
	o := actions.ReceiveOptions{Exact: true}
	var ok bool
	if o.Offset, ok = uploadOffset(h.Values(headerOffset)); !ok {
		d.tusRefused(actions.Errorf(actions.CodeParam, "%s is not one number", headerOffset))
		return
	}
	if h.Get("Content-Type") != tusBody {
		d.tusRefused(errTusBody)
		return
	}
	if values := h.Values(headerLength); len(values) > 0 {
		size, err := tusLength(values)
		if err != nil {
			d.tusRefused(err)
			return
		}
		o.Size = &size
	}
	check, err := readChecksum(h.Values(headerChecksum))
	if err != nil {
		d.tusRefused(err)
		return
	}
	o.Verify, o.Want = check.hash, check.sum
	release, ok := d.transfer()
	if !ok {
		return
	}
	defer release()
	st, err := d.receive(id, o)
	if err == nil && unplaced(&st) { // somebody else has completed it
		err = errUnplaced
	}
	if err != nil {
		if st.State == "open" && !unplaced(&st) {
			d.tusOffset(&st)
		}
		d.fail(err)
		return
	}
	d.tusOffset(&st)
	d.w.WriteHeader(http.StatusNoContent)
}

func (d *dataRequest) tusDelete(id sessions.ID) {
	if _, err := d.do(&actions.UploadCancel{Session: id}); err != nil {
		d.fail(err)
		return
	}
	d.w.WriteHeader(http.StatusNoContent)
}

// tusOffset tells how much is durable, and until when that is kept.
func (d *dataRequest) tusOffset(st *actions.UploadStatus) {
	d.w.Header().Set(headerOffset, strconv.FormatInt(st.Prefix, 10))
	if st.State == "open" {
		d.tusExpires(time.Duration(st.ExpiresMS) * time.Millisecond)
	}
}

func (d *dataRequest) tusExpires(left time.Duration) {
	d.w.Header().Set(headerExpires, time.Now().Add(left).UTC().Format(http.TimeFormat))
}
