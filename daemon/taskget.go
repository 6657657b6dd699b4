package daemon

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waybill/actions"
)

// getTask hands out the content of a read task. It never finishes the task: a
// client may come again for more ranges.
func (s *server) getTask(w http.ResponseWriter, r *http.Request, t *actions.Task) {
	st, err := t.Status()
	if err != nil {
		s.refuseTask(w, err)
		return
	}
	from, err := t.Read()
	if err != nil {
		s.refuseTask(w, err)
		return
	}
	defer s.closeReader(from)
	// A peer that takes nothing holds up the writing, which looks at nothing
	// else meanwhile.
	defer s.cutWhen(from.Done(), func() { _ = peerOf(r).Close() })()
	if !oneRange(r.Header.Values("Range")) {
		r.Header.Del("Range")
	}
	name := st.Name
	if name == "" {
		name = t.FakeName()
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", attachment(name))
	h.Set("ETag", `"`+from.SHA256()+`"`)
	http.ServeContent(&taskAnswer{w, h.Get("Cache-Control")}, r, "", time.Time{}, from)
}

// closeReader records what was read. A failed journal ends the daemon; the
// answer is under way and needs no more of it.
func (s *server) closeReader(r *actions.TaskReader) {
	if err := r.Close(); err != nil {
		s.log.Debug().Err(err).Msg("what was read of a task is not recorded")
	}
}

// oneRange tells whether the Range header is one that is served: of several
// ranges at once, or in another unit, there is only the whole.
func oneRange(values []string) bool {
	return len(values) == 1 && strings.HasPrefix(values[0], "bytes=") && !strings.Contains(values[0], ",")
}

// taskAnswer keeps headers that net/http drops from its errors, and copies in
// pieces that are worth a call.
type taskAnswer struct {
	http.ResponseWriter
	cacheControl string
}

// WriteHeader implements http.ResponseWriter.
func (a *taskAnswer) WriteHeader(status int) {
	a.Header().Set("Cache-Control", a.cacheControl)
	if status == http.StatusRequestedRangeNotSatisfiable {
		a.Header().Del("Content-Disposition")
	}
	a.ResponseWriter.WriteHeader(status)
}

// ReadFrom implements io.ReaderFrom, which io.Copy prefers.
func (a *taskAnswer) ReadFrom(r io.Reader) (int64, error) {
	buf := takeTaskBuffer()
	defer giveTaskBuffer(buf)
	return io.CopyBuffer(struct{ io.Writer }{a.ResponseWriter}, struct{ io.Reader }{r}, buf[:])
}

// attachment is a Content-Disposition for a file of that name: in ASCII for old
// clients, and as it is (RFC 6266, RFC 8187).
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	header := `attachment; filename="` + plain + `"`
	if plain != name {
		header += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return header
}
