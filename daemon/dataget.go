package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"waybill/actions"
	"waybill/sessions"
)

// download serves /download/{file_id}.
func (s *server) download(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Expose-Headers", dataExposed)
	var ok bool
	d := &dataRequest{s: s, w: w, r: r, action: "file_download_chunk", ref: uuid.NewString()}
	d.hurryBody()
	signed := r.URL.Query().Has("sig")
	if signed {
		if err := s.tokens.checkURL(r.URL.Path, r.URL.Query()); err != nil {
			s.engine.CountRefused("signature", hostOf(r.RemoteAddr))
			unread(w, r)
			text(w, http.StatusForbidden, err.Error())
			return
		}
		d.who = actions.Caller{Via: "http " + r.RemoteAddr}
	} else if d.who, ok = s.holder(w, r, bearer(r)); !ok {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if signed { // nobody is known: see the table of what is recorded
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			text(w, http.StatusMethodNotAllowed, "method not allowed")
			return
		}
		d.methods(http.MethodGet, http.MethodHead)
		return
	}
	id, err := sessions.ParseID(strings.TrimPrefix(r.URL.Path, downloadPath))
	if err != nil {
		d.refused(http.StatusNotFound, actions.CodeNoTransfer, "no such download")
		return
	}
	d.get(id, signed)
}

// get sends the file, or a range of it.
func (d *dataRequest) get(id sessions.ID, signed bool) {
	if signed {
		// Whoever has the address stands for whoever opened the download. Of one that
		// has ended nobody is known, and nothing is sent.
		d.who.Subject = d.s.engine.DownloadOwner(id)
	}
	if d.r.Method == http.MethodGet && d.who.Subject != "" {
		release, ok := d.transfer()
		if !ok {
			return
		}
		defer release()
	}
	from, err := d.s.engine.OpenReader(d.who, id, signed)
	if err != nil {
		d.fail(err)
		return
	}
	ctx, cut := context.WithCancel(d.r.Context())
	defer cut()
	out := &dataAnswer{taskAnswer: taskAnswer{d.w, "no-store", d.s.paceOf(ctx, subjectOf(d.who))}, from: from, most: dataPiece, cut: cut}
	if d.s.pace != nil {
		out.most = pacePiece
	}
	d.serve(out)
	if err := from.Close(); errors.Is(err, actions.ErrFailed) || out.err != nil {
		panic(http.ErrAbortHandler) // nothing may be answered, or what was is not whole
	}
}

func (d *dataRequest) serve(out *dataAnswer) {
	r, h, from := d.r, d.w.Header(), out.from
	p := peerOf(r)
	defer p.bear(d.s.cfg.TransferStall)()
	// A peer that takes nothing holds up the writing, which looks at nothing else
	// meanwhile.
	defer d.s.cutWhen(nil, func() {
		out.cut()
		_ = p.Close()
	})()
	// Of HEAD it means nothing (RFC 9110, 14.2).
	if r.Method != http.MethodGet || !oneRange(r.Header.Values("Range")) {
		r.Header.Del("Range")
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", attachment(path.Base(from.Path())))
	h.Set("ETag", etagOf(from))
	if sum, err := hex.DecodeString(from.SHA1()); err == nil {
		h.Set(headerDigest, "sha=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	http.ServeContent(out, r, "", time.Time{}, seekOnly{from.File()})
}

// etagOf names one state of one file: its digest, and which file it is.
func etagOf(from *actions.DownloadReader) string {
	id := from.Identity()
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %d %d", id.Dev, id.Ino, id.Size, id.MtimeNS, id.CtimeNS))
	return `"` + from.SHA1() + "-" + hex.EncodeToString(sum[:8]) + `"`
}

// seekOnly keeps net/http from copying the file by itself.
type seekOnly struct{ f *os.File }

func (s seekOnly) Read(p []byte) (int, error)                { return s.f.Read(p) }
func (s seekOnly) Seek(off int64, whence int) (int64, error) { return s.f.Seek(off, whence) }

// dataAnswer sends a file piece by piece, each by the system itself where it
// can, and looks after the download in between.
type dataAnswer struct {
	taskAnswer
	from *actions.DownloadReader
	// most is how much is sent at a time, cut ends the wait for bandwidth.
	most int64
	cut  func()
	// err is why the answer is not whole.
	err error
}

// ReadFrom implements io.ReaderFrom, which net/http calls with the part of the
// file that is wanted.
func (a *dataAnswer) ReadFrom(r io.Reader) (written int64, err error) {
	defer func() { a.err = err }()
	part, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, errors.New("not a part of a file")
	}
	file := a.from.File()
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	for part.N > 0 {
		n := min(part.N, a.most)
		if err := a.pace(n); err != nil {
			return written, err
		}
		if err := a.from.Next(at, at+n); err != nil {
			return written, err
		}
		sent, err := io.CopyN(a.ResponseWriter, file, n)
		written, at, part.N = written+sent, at+sent, part.N-sent
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
