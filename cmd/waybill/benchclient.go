package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/emmansun/base64"
	"github.com/google/uuid"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// benchPath is the file that is uploaded and downloaded.
const benchPath = "waybill-bench.bin"

// benchPanel is a connection of a panel with as little around it as can be: what
// the client costs is measured, too. It has no goroutine of its own.
type benchPanel struct{ ws *websocket.Conn }

func (d *benchDaemon) panel(ctx context.Context) (*benchPanel, error) {
	token, err := d.token()
	if err != nil {
		return nil, err
	}
	ws, err := d.upgrade(ctx, panelPath, token)
	if err != nil {
		return nil, err
	}
	return &benchPanel{ws}, nil
}

func (p *benchPanel) close() { _ = p.ws.CloseNow() } // there is no request without its answer

// ask sends a request and reads its reply, while nothing else is under way.
func (p *benchPanel) ask(ctx context.Context, action string, params, into any) error {
	if err := p.ws.Write(ctx, websocket.MessageText, panelwire.AppendRequest(nil, "r", action, params)); err != nil {
		return err
	}
	return p.answer(ctx, into)
}

// answer reads a reply, and its data into into unless that is nil.
func (p *benchPanel) answer(ctx context.Context, into any) error {
	_, msg, err := p.ws.Read(ctx)
	if err != nil {
		return err
	}
	reply, err := panelwire.ParseReply(msg)
	if err == nil && reply.Status != "ok" {
		err = &refusal{reply.Retcode, reply.Message}
	}
	if err != nil || into == nil {
		return err
	}
	return readData(reply.Data, into)
}

// open opens an upload and gives its id.
func (p *benchPanel) open(ctx context.Context, path string, size int64) (id sessions.ID, err error) {
	var opened struct {
		ID sessions.ID `json:"file_id"`
	}
	err = p.ask(ctx, "file_upload_request", map[string]any{"path": path, "size": size, "timeout": 3_600_000}, &opened)
	return opened.ID, err
}

// chunkForm is how chunks travel: packet, frame, text or base64.
type chunkForm string

// messages returns a maker of chunk messages with the first n bytes of data. Of
// whole ones it costs a copy at the most, so that the client's encoding does not
// count.
func (form chunkForm) messages(id sessions.ID, data []byte) func(off int64, n int) (websocket.MessageType, []byte) {
	literal := func(data []byte) []byte {
		if form == "base64" {
			return append(base64.StdEncoding.AppendEncode([]byte{'"'}, data), '"')
		}
		return panelwire.AppendByteString(nil, data)
	}
	var whole, buf []byte
	if form == "text" || form == "base64" {
		whole = literal(data)
	}
	return func(off int64, n int) (websocket.MessageType, []byte) {
		switch form {
		case "packet":
			buf = panelwire.AppendPacket(buf[:0], "r", "file_upload_chunk", struct {
				ID     sessions.ID `json:"file_id"`
				Offset int64       `json:"offset"`
			}{id, off}, data[:n])
			return websocket.MessageBinary, buf
		case "frame":
			buf = panelwire.AppendUploadFrame(buf[:0], id, off, data[:n])
			return websocket.MessageBinary, buf
		}
		text := whole
		if n < len(data) {
			text = literal(data[:n])
		}
		buf = fmt.Appendf(buf[:0], `{"action":"file_upload_chunk","id":"r","params":{"file_id":"%s","offset":%d`, id, off)
		if form == "base64" {
			buf = append(buf, `,"encoding":"base64"`...)
		}
		buf = append(buf, `,"data":`...)
		buf = append(append(buf, text...), "}}"...)
		return websocket.MessageText, buf
	}
}

// send sends the chunks of an upload of size bytes with several under way, and
// returns when all are answered: then the file is in its place.
func (p *benchPanel) send(ctx context.Context, form chunkForm, id sessions.ID, data []byte, size int64, inFlight int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connection, unless all is done by then
	free, failed := make(chan struct{}, inFlight), make(chan error, 1)
	chunks := (size + int64(len(data)) - 1) / int64(len(data))
	go func() {
		for range chunks {
			_, msg, err := p.ws.Read(ctx)
			if err == nil && !bytes.Contains(msg, []byte(`"received"`)) {
				err = fmt.Errorf("a chunk was refused: %.200s", msg)
			}
			if err != nil {
				failed <- err
				return
			}
			<-free
		}
		failed <- nil
	}()
	messages := form.messages(id, data)
	for off := int64(0); off < size; off += int64(len(data)) {
		select {
		case free <- struct{}{}:
		case err := <-failed:
			return err
		}
		typ, msg := messages(off, int(min(int64(len(data)), size-off)))
		if err := p.ws.Write(ctx, typ, msg); err != nil {
			cancel()
			return errors.Join(err, <-failed)
		}
	}
	return <-failed
}

// benchWeb is an HTTP client that keeps its connections, of which each transfer
// has one.
func benchWeb() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext,
		MaxIdleConnsPerHost: 64, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}}
}

// httpRefusal is an answer that tells no success.
type httpRefusal struct {
	status int
	text   string
}

func (e *httpRefusal) Error() string { return e.text }

// exchange is one HTTP request with a body of n bytes, and its answer, read to its
// end into nothing. Header is pairs. An *os.File that is the body as a whole is sent
// by the system itself, and stays open.
func exchange(ctx context.Context, web *http.Client, method, url string, body io.Reader, n int64, header ...string) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		req.Body, req.ContentLength = io.NopCloser(body), n
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := web.Do(req)
	if err != nil {
		return nil, innermost(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // a better reason than the status, if there is one
		return nil, &httpRefusal{res.StatusCode, fmt.Sprintf("%s %s: %s %s", method, req.URL.Path, res.Status, strings.TrimSpace(string(text)))}
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.Header, err
}

// drain reads to the end, in pieces, and has the number of bytes fit.
func drain(r io.Reader, want int64) error {
	buf := make([]byte, 256<<10)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
	if err == nil && n != want {
		err = fmt.Errorf("%d bytes came, not %d", n, want)
	}
	return err
}

// benchTask is a file task of the document library.
type benchTask struct{ id, token, name string }

// path is where the task is reached over HTTP.
func (t *benchTask) path() string { return "/tasks/" + t.id + "/" + t.name }

// task makes a task by a request that does.
func (c *docConn) task(ctx context.Context, request string, data any) (*benchTask, error) {
	reply, err := c.call(ctx, request, data)
	if err != nil {
		return nil, err
	}
	var task struct {
		ID    string            `json:"task_id"`
		Token string            `json:"task_token"`
		Names map[string]string `json:"t_filename"`
	}
	if err := json.Unmarshal(reply.Data, &task); err != nil {
		return nil, fmt.Errorf("the daemon sent data that cannot be read: %w", err)
	}
	t := &benchTask{id: task.ID, token: task.Token}
	for _, t.name = range task.Names {
	}
	return t, nil
}

// benchDocument is a document of the library that tasks are made of.
type benchDocument struct {
	*docConn
	id string
}

// document makes one; close removes it.
func (d *benchDaemon) document(ctx context.Context) (*benchDocument, error) {
	from := docRemote{remote: d.remote}
	c, err := from.connect(ctx)
	if err != nil {
		return nil, err
	}
	doc := &benchDocument{c, "waybill-bench-" + uuid.NewString()}
	if _, err := c.task(ctx, "createFile", map[string]string{"file_id": doc.id, "filename": doc.id}); err != nil {
		c.close()
		return nil, err
	}
	return doc, nil
}

// open makes a task that is to "write" or "read" it.
func (doc *benchDocument) open(ctx context.Context, action string) (*benchTask, error) {
	return doc.task(ctx, "operateFile", map[string]string{"file_id": doc.id, "action": action})
}

func (doc *benchDocument) close(ctx context.Context) error {
	defer doc.docConn.close()
	for _, action := range []string{"delete", "permanently_delete"} {
		if _, err := doc.call(ctx, "operateFile", map[string]string{"file_id": doc.id, "action": action}); err != nil {
			return err
		}
	}
	return nil
}
