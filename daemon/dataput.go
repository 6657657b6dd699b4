package daemon

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"waybill/actions"
	"waybill/sessions"
)

// upload serves /upload/{file_id}.
func (s *server) upload(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Expose-Headers", dataExposed)
	d := &dataRequest{s: s, w: w, r: r, action: "file_upload_chunk", ref: uuid.NewString()}
	d.hurryBody()
	var ok bool
	if d.who, ok = s.holder(w, r, bearer(r)); !ok {
		return
	}
	id, err := sessions.ParseID(strings.TrimPrefix(r.URL.Path, uploadPath))
	if err != nil {
		d.refused(http.StatusNotFound, actions.CodeNoTransfer, "no such upload")
		return
	}
	switch r.Method {
	case http.MethodHead:
		st, err := d.status(id)
		if err != nil {
			d.fail(err)
			return
		}
		tellUpload(h, st)
		w.WriteHeader(http.StatusOK)
	case http.MethodPut:
		d.put(id)
	case http.MethodPatch:
		offset, ok := uploadOffset(r.Header.Values(headerOffset))
		if !ok {
			d.refused(http.StatusBadRequest, actions.CodeParam, headerOffset+" is not one number")
			return
		}
		d.store(id, actions.ReceiveOptions{Offset: offset})
	default:
		d.methods(http.MethodHead, http.MethodPut, http.MethodPatch)
	}
}

// put takes in a whole file, or with Content-Range a part of it.
func (d *dataRequest) put(id sessions.ID) {
	values, length := d.r.Header.Values("Content-Range"), d.r.ContentLength
	if len(values) == 0 {
		o := actions.ReceiveOptions{}
		if length >= 0 {
			o.Size = &length
		}
		d.store(id, o)
		return
	}
	part, ok := contentRange(values)
	switch {
	case !ok:
		d.refused(http.StatusBadRequest, actions.CodeParam, "Content-Range is not bytes a-b/size")
	case length < 0:
		d.refused(http.StatusLengthRequired, actions.CodeParam, "a part needs its Content-Length")
	case length != part.to-part.from:
		d.refused(http.StatusBadRequest, actions.CodeParam, "the body is not as long as its Content-Range")
	default:
		d.store(id, actions.ReceiveOptions{Offset: part.from, Size: part.size})
	}
}

// store takes the body in and answers with how the upload then stands.
func (d *dataRequest) store(id sessions.ID, o actions.ReceiveOptions) {
	release, ok := d.transfer()
	if !ok {
		return
	}
	defer release()
	st, err := d.receive(id, o)
	h := d.w.Header()
	tellUpload(h, &st)
	switch {
	case err != nil:
		d.fail(err)
	case st.State != "placed":
		d.w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(d.w).Encode(struct { // the client has gone if this fails
			Done     bool   `json:"done"`
			Received int64  `json:"received"`
			Size     int64  `json:"size"`
			SHA1     string `json:"sha1"`
		}{true, st.Received, st.Size, st.SHA1})
	}
}

// torn words a body that broke off.
func (s *server) torn(err error) error {
	switch {
	case s.life.Err() != nil:
		return &tornBody{http.StatusServiceUnavailable, "stopping"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &tornBody{http.StatusRequestTimeout, "nothing came for too long"}
	}
	return &tornBody{http.StatusBadRequest, "the body broke off"}
}

// partOf is what Content-Range says of a body; to is exclusive, size nil if it is
// not told.
type partOf struct {
	from, to int64
	size     *int64
}

// contentRange reads "bytes a-b/size", where size may be "*" (RFC 9110).
func contentRange(values []string) (p partOf, ok bool) {
	if len(values) != 1 {
		return p, false
	}
	rest, bytes := strings.CutPrefix(values[0], "bytes ")
	span, size, slash := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !bytes || !slash || !dash {
		return p, false
	}
	if p.from, ok = digits(from); !ok {
		return p, false
	}
	if p.to, ok = digits(to); !ok || p.to < p.from {
		return p, false
	}
	p.to++
	if size == "*" {
		return p, true
	}
	n, ok := digits(size)
	p.size = &n
	return p, ok && p.to <= n
}

// digits reads a number that has no sign and fits.
func digits(s string) (int64, bool) {
	if len(s) == 0 || len(s) > maxOffsetDigits || s[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}
