package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"waybill/sessions"
)

// overHTTP is what of an upload goes over HTTP.
type overHTTP int

const (
	noWeb overHTTP = iota
	// someWeb: some pieces go by PUT and PATCH, in any order, beside those that go
	// over the panel's connection.
	someWeb
	// overUpload and overTus: all of it, each request where the one before ended,
	// from where HEAD says that is.
	overUpload
	overTus
)

func (w overHTTP) inOrder() bool { return w >= overUpload }

// at is where the bytes of an upload go.
func (u *uploader) at(tr *transfer) address {
	return address{cmp.Or(map[overHTTP]string{overTus: tusAt}[tr.plan.web], uploadAt) + tr.file, u.w.token}
}

// create opens an upload over tus. Its first bytes may come with the request, but
// never all: of one that ended before its opening was answered, nobody would know.
func (u *uploader) create(tr *transfer, sum string) error {
	var meta []string
	if tr.path != "" {
		meta = append(meta, "path", tr.path)
	}
	if sum != "" {
		meta = append(meta, "sha1", sum)
	}
	h := tusFields("Upload-Metadata", tusMeta(meta...), "Upload-Length", tr.size)
	if tr.plan.late {
		delete(h, "Upload-Length")
		h["Upload-Defer-Length"] = 1
	}
	var first sessions.Range
	if len(tr.pieces) > 1 && tr.plan.cancelAt != 0 && u.rng.IntN(2) == 0 {
		first = tr.pieces[0].Range
		tr.pieces[0].sent = true
		h["Content-Type"] = tusMedia
	}
	r, err := u.http.do(http.MethodPost, address{tusAt, u.w.token}, h, tr.data[:first[1]])
	if err != nil {
		return err
	}
	if r.status != http.StatusCreated {
		return fmt.Errorf("an opening is answered %s", &r)
	}
	u.opened(tr, address{path: r.header.Get("Location")}.session())
	if first.Len() > 0 {
		return u.told(tr, &r, first[1])
	}
	return nil
}

// told takes in an Upload-Offset, which is at least what is known: those bytes must
// be there from now on.
func (u *uploader) told(tr *transfer, r *transferReply, least int64) error {
	off := r.offset()
	if off < max(least, tr.acked.Prefix()) || off > tr.size {
		return fmt.Errorf("the offset is %d by %s, and %d bytes are there", off, r, max(least, tr.acked.Prefix()))
	}
	tr.acked.Add(sessions.Range{0, off})
	u.w.tell(func(n *tally) { n.Offsets++ })
	return nil
}

// header is that of requests about the upload.
func (tr *transfer) header(more ...any) fields {
	h := tusFields(more...)
	if tr.plan.web != overTus {
		delete(h, "Tus-Resumable")
	}
	return h
}

// head asks how far an upload has come. One that is complete and not in its place
// yet is asked again.
func (u *uploader) head(tr *transfer) (transferReply, error) {
	for deadline := time.Now().Add(longest); ; time.Sleep(10 * time.Millisecond) {
		r, err := u.http.do(http.MethodHead, u.at(tr), tr.header(), nil)
		if err != nil || r.status != http.StatusLocked || time.Now().After(deadline) {
			return r, err
		}
	}
}

// verifyOffset holds what HEAD says against what was told before and against the
// state that the panel is told.
func (u *uploader) verifyOffset(tr *transfer, state string) error {
	r, err := u.head(tr)
	switch {
	case err != nil:
		return err
	case state == "open" && r.status == http.StatusOK:
		u.w.tell(func(n *tally) { n.OffsetsChecked++ })
		return u.told(tr, &r, 0)
	case state == "placed" && r.status == http.StatusOK && r.offset() == tr.size:
		u.w.tell(func(n *tally) { n.OffsetsChecked++ })
		return nil
	case state != "open" && state != "placed" && r.status == http.StatusGone:
		return nil
	}
	return fmt.Errorf("HEAD of an upload that is %s is answered %s and %d", state, &r, r.offset())
}

// carry sends a piece by a request of its own.
func (u *uploader) carry(tr *transfer, i int) error {
	p := tr.pieces[i]
	data := tr.data[p.Range[0]:p.Range[1]]
	if p.wrong {
		data = make([]byte, p.Range.Len())
	}
	method, h := http.MethodPatch, at(p.Range[0], false)
	if u.rng.IntN(2) == 0 {
		method, h = http.MethodPut, contentRange(p.Range, len(tr.data))
		if p.Range.Len() == tr.size && u.rng.IntN(2) == 0 {
			h = nil
		}
	}
	// What comes of a body that breaks off may take effect later: other bytes do
	// not go that way.
	if len(data) > 1 && !p.wrong && u.rng.IntN(8) == 0 {
		if err := u.tear(tr, method, h, data); err != nil {
			return err
		}
	}
	r, err := u.http.do(method, u.at(tr), h, data)
	if err != nil {
		return err
	}
	u.w.tell(func(n *tally) { n.Bodies++ })
	switch r.status {
	case http.StatusNoContent:
		u.acked(tr, i)
		return u.told(tr, &r, 0)
	case http.StatusOK:
		u.acked(tr, i)
		return u.placed(tr)
	case http.StatusUnprocessableEntity:
		if tr.plan.mistaken {
			u.ended(tr, "rejected")
			return nil
		}
	}
	return fmt.Errorf("%s %v of piece %d of %+v is answered %s", method, h, i, tr.pieces, &r)
}

// tear sends only the first part of a body, and goes: the next request comes over
// another connection.
func (u *uploader) tear(tr *transfer, method string, h fields, body []byte) error {
	u.w.tell(func(n *tally) { n.Torn++ })
	part := body[:1+u.rng.IntN(len(body)-1)]
	return u.http.hangUp(method, u.at(tr), h, part, len(body))
}

// stream sends what is missing from the end of what is there on.
func (u *uploader) stream(tr *transfer) error {
	for known := int64(-1); ; {
		if known < 0 {
			r, err := u.head(tr)
			if err == nil && r.status != http.StatusOK {
				err = fmt.Errorf("HEAD is answered %s", &r)
			}
			if err == nil {
				err = u.told(tr, &r, 0)
			}
			if err != nil {
				return err
			}
			known = r.offset()
		}
		if known == tr.size {
			return u.placed(tr)
		}
		i := slices.IndexFunc(tr.pieces, func(p piece) bool { return p.Range[1] > known })
		if i == tr.plan.cancelAt {
			return u.cancel(tr)
		}
		last := min(i+u.rng.IntN(4), len(tr.pieces)-1)
		if tr.plan.cancelAt > i {
			last = min(last, tr.plan.cancelAt-1)
		}
		for j := i; j <= last; j++ {
			tr.pieces[j].sent = true
		}
		over, off, err := u.advanceTo(tr, sessions.Range{known, tr.pieces[last].Range[1]})
		if over || err != nil {
			return err
		}
		known = off
	}
}

// advanceTo sends bytes that go where those before them end. off is where they
// end then, -1 if that must be asked.
func (u *uploader) advanceTo(tr *transfer, r sessions.Range) (over bool, off int64, err error) {
	data := tr.data[r[0]:r[1]]
	h := tr.header("Upload-Offset", r[0])
	if tr.plan.web == overTus {
		h["Content-Type"] = tusMedia
		if tr.plan.late && (r[1] == tr.size || u.rng.IntN(4) == 0) {
			h["Upload-Length"] = tr.size
		}
	}
	if len(data) > 1 && u.rng.IntN(8) == 0 {
		return false, -1, u.tear(tr, http.MethodPatch, h, data)
	}
	got, err := u.http.do(http.MethodPatch, u.at(tr), h, data)
	if err != nil {
		return false, 0, err
	}
	u.w.tell(func(n *tally) { n.Bodies++ })
	switch got.status {
	case http.StatusOK, http.StatusNoContent:
		u.w.tell(func(n *tally) { n.Acks++; n.AckedBytes += len(data) })
		if err := u.told(tr, &got, r[1]); err != nil {
			return false, 0, err
		}
		if done := got.status == http.StatusOK; done != (r[1] == tr.size) && tr.plan.web == overUpload {
			return false, 0, fmt.Errorf("PATCH of %v is answered %s", r, &got)
		}
		if r[1] == tr.size {
			return true, 0, u.placed(tr)
		}
		return false, got.offset(), nil
	case http.StatusUnprocessableEntity:
		if tr.plan.mistaken {
			u.ended(tr, "rejected")
			return true, 0, nil
		}
	case http.StatusConflict:
		// A body that was broken off has brought more since it was asked.
		if tr.plan.web == overTus {
			return false, -1, nil
		}
	}
	return false, 0, fmt.Errorf("PATCH of %v is answered %s", r, &got)
}

// fetching is a download as its client knows it.
type fetching struct {
	file, etag string
	at         int64
	cut        bool
}

// fetch reads back what was sent, over as many connections and daemons as it
// takes.
func (u *uploader) fetch(tr *transfer) error {
	if tr.down == nil {
		var opened fileReply
		if err := u.p.call("file_download_request", fileParams{tr.path}, &opened); err != nil {
			return err
		}
		tr.down = &fetching{file: opened.File}
	}
	d := tr.down
	if d.cut {
		u.w.tell(func(n *tally) { n.FetchesResumed++ })
	}
	d.cut = true
	for d.at < tr.size {
		end := min(d.at+1+u.rng.Int64N(1+tr.size/5), tr.size)
		h := fields{"Range": fmt.Sprintf("bytes=%d-%d", d.at, end-1)}
		if d.etag != "" {
			h["If-Range"] = d.etag
		}
		r, err := u.http.do(http.MethodGet, address{downloadAt + d.file, u.w.token}, h, nil)
		if err != nil {
			return err
		}
		etag := r.header.Get("ETag")
		if r.status != http.StatusPartialContent || etag == "" || d.etag != "" && etag != d.etag {
			return fmt.Errorf("%v of %s is answered %d %s", h, tr.path, r.status, etag)
		}
		if string(r.body) != string(tr.data[d.at:end]) {
			return fmt.Errorf("%v of %s are other bytes", h, tr.path)
		}
		d.etag, d.at = etag, end
		u.w.tell(func(n *tally) { n.FetchedBytes += len(r.body) })
	}
	err := u.p.call("file_download_close", fileReply{d.file}, nil)
	if errors.Is(err, errLost) {
		return nil // whether it is closed does not matter
	}
	return err
}
