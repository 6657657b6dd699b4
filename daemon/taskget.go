package daemon

import (
	"context"
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
	if r.Method == http.MethodGet {
		release, ok := s.taskTransfer(w, r, t)
		if !ok {
			return
		}
		defer release()
	}
	from, err := t.Read()
	if err != nil {
		s.refuseTask(w, err)
		return
	}
	defer s.closeReader(from)
	// A peer that takes nothing holds up the writing, which looks at nothing
	// else meanwhile.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer s.cutWhen(from.Done(), func() {
		cancel()
		_ = peerOf(r).Close()
	})()
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
	answer := &taskAnswer{w, h.Get("Cache-Control"), s.paceOf(ctx, subject{t.Owner(), true})}
	http.ServeContent(answer, r, "", time.Time{}, from)
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
	// pace returns once so many bytes more may go.
	pace func(n int64) error
}

// paceOf is what somebody waits for before bytes go, nil errors but for ctx.
func (s *server) paceOf(ctx context.Context, who subject) func(n int64) error {
	return func(n int64) error { return s.pace.wait(ctx, nil, who, outward, n) }
}

// pacedReader waits for what it has read to be let go.
type pacedReader struct {
	io.Reader
	pace func(n int64) error
}

// Read implements io.Reader.
func (p pacedReader) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if perr := p.pace(int64(n)); perr != nil {
		return 0, perr
	}
	return n, err
}

// WriteHeader implements http.ResponseWriter.
func (a *taskAnswer) WriteHeader(status int) {
	a.Header().Set("Cache-Control", a.cacheControl)
	if status >= http.StatusBadRequest { // these are of the file, and what follows is not
		a.Header().Del("Content-Disposition")
		a.Header().Del(headerDigest)
	}
	a.ResponseWriter.WriteHeader(status)
}

// ReadFrom implements io.ReaderFrom, which io.Copy prefers.
func (a *taskAnswer) ReadFrom(r io.Reader) (int64, error) {
	buf := takeTaskBuffer()
	defer giveTaskBuffer(buf)
	return io.CopyBuffer(struct{ io.Writer }{a.ResponseWriter}, pacedReader{r, a.pace}, buf[:])
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
