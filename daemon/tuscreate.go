package daemon

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"waybill/actions"
)

// tusCreate opens an upload, and takes in the first bytes if they come with it.
func (d *dataRequest) tusCreate() {
	want, err := d.tusWish()
	if err != nil {
		d.tusRefused(err)
		return
	}
	with, check, err := d.tusBody(want)
	if err != nil {
		d.tusRefused(err)
		return
	}
	if with { // else nothing would come of what is opened
		release, ok := d.transfer()
		if !ok {
			return
		}
		defer release()
		want.Follow = true
	}
	res, err := d.do(want)
	if inTheWay(err) && d.tusForgotten(want) {
		res, err = d.do(want)
	}
	if err != nil {
		d.fail(err)
		return
	}
	opened := res.(*actions.UploadOpened)
	id := opened.ID
	h := d.w.Header()
	// Relative to the request's address: proxies need not tell theirs. A token in
	// the address was, too, and belongs to what follows.
	at := tusPath + id.String()
	if q := d.r.URL.Query(); bearer(d.r) == "" && q.Has("token") {
		at += "?token=" + url.QueryEscape(q.Get("token"))
	}
	if !with {
		h.Set("Location", at)
		if want.Size != 0 { // else it is in its place already
			d.tusExpires(d.s.cfg.TusTimeout)
		}
		d.w.WriteHeader(http.StatusCreated)
		return
	}
	st, err := d.receive(id, actions.ReceiveOptions{Exact: true, Verify: check.hash, Want: check.sum})
	if why := opened.Refused(); why != nil {
		err = why // the bytes may only have heard that there is no such upload
	}
	if st.State != "" { // else the opening is not known to be durable
		h.Set("Location", at)
		d.tusOffset(&st)
	}
	if err != nil {
		d.fail(err)
		return
	}
	d.w.WriteHeader(http.StatusCreated)
}

// inTheWay reports whether an upload like the one that was refused may be why: it
// has the name, or is one of as many as there may be.
func inTheWay(err error) bool {
	return actions.CodeOf(err) == actions.CodeConflict || errors.Is(err, actions.ErrUploads) || errors.Is(err, actions.ErrUploadsOwn)
}

// tusForgotten ends the upload that a creation like this one has made, if it holds
// no byte and nobody has a request about it under way. It is what a client leaves
// that never got the answer with the address: it can but create again, and the
// name would not be free for as long as an upload may pause.
func (d *dataRequest) tusForgotten(like *actions.UploadRequest) bool {
	if like.Meta == "" || !like.HasPath { // without a name they may be two
		return false
	}
	own := d.who
	own.Main = false // whoever sees all uploads ends none of others
	call := actions.Call{Caller: own, Action: actions.TransferList{}, Own: true, Ref: d.ref}
	res, err := d.s.engine.Do(d.s.patience, call)
	if err != nil {
		return false // the refusal stands
	}
	list, _ := res.(*actions.Transfers)
	for i := range list.Uploads {
		st := &list.Uploads[i]
		if st.Meta != like.Meta || st.Size != like.Size || st.Received > 0 ||
			st.ExpiresMS > (like.Timeout-forgottenAfter).Milliseconds() {
			continue
		}
		call.Action = &actions.UploadCancel{Session: st.ID}
		_, err := d.s.engine.Do(d.s.patience, call)
		return err == nil
	}
	return false
}

// tusWish reads what is to be opened.
func (d *dataRequest) tusWish() (*actions.UploadRequest, error) {
	h := d.r.Header
	a := &actions.UploadRequest{Size: -1, Timeout: d.s.cfg.TusTimeout, Stream: true}
	lengths, defers := h.Values(headerLength), h.Values(headerDefer)
	switch {
	case len(h.Values(headerConcat)) > 0:
		// It would make files of the parts, which nobody joins.
		return nil, actions.Errorf(actions.CodeParam, "%s: concatenation is not offered", headerConcat)
	case len(lengths) > 0 && len(defers) > 0, len(lengths)+len(defers) == 0:
		return nil, actions.Errorf(actions.CodeParam, "one of %s and %s is needed", headerLength, headerDefer)
	case len(defers) > 0:
		if len(defers) > 1 || defers[0] != "1" {
			return nil, actions.Errorf(actions.CodeParam, "%s is not 1", headerDefer)
		}
	default:
		size, err := tusLength(lengths)
		if err != nil {
			return nil, err
		}
		a.Size = size
	}
	a.Meta = strings.Join(h.Values(headerMetadata), ",")
	meta, err := tusMetadata(a.Meta)
	if err != nil {
		return nil, err
	}
	if path, ok := meta["path"]; ok {
		a.Path, a.HasPath = path, true
	} else if name := meta["filename"]; name != "" {
		a.Path, a.HasPath = "uploads/"+name, true
	}
	if a.SHA1, err = tusSHA1(meta["sha1"]); err != nil {
		return nil, err
	}
	return a, nil
}

// tusBody tells whether bytes come with the creation.
func (d *dataRequest) tusBody(a *actions.UploadRequest) (with bool, check tusChecksum, err error) {
	if d.r.ContentLength == 0 {
		return false, check, nil
	}
	if d.r.Header.Get("Content-Type") != tusBody {
		return false, check, errTusBody
	}
	if a.Size >= 0 && d.r.ContentLength > a.Size {
		return false, check, actions.Errorf(actions.CodeTooBig, "more than the %d bytes of the file", a.Size)
	}
	check, err = readChecksum(d.r.Header.Values(headerChecksum))
	return a.Size != 0, check, err
}

// errTusBody refuses a body that is not called what it has to be.
var errTusBody = actions.Errorf(actions.CodeParam, "the body is not %s", tusBody)

// tusRefused answers a refusal of the wire's own.
func (d *dataRequest) tusRefused(err error) {
	status, line := dataStatus(err)
	if err == errTusBody {
		status = http.StatusUnsupportedMediaType
	}
	d.refused(status, actions.CodeOf(err), line)
}
