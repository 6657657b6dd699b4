package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coder/websocket"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

type benchDownloadCmd struct {
	benchFlags
	benchSizes
	benchTarget
}

// Run measures downloads on every path there is.
func (c *benchDownloadCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "download", func(ctx context.Context, b *bench) error {
		return b.downloads(ctx, int64(c.Size), c.benchTarget)
	})
}

// downloads are the rows of downloads.
func (b *bench) downloads(ctx context.Context, size int64, at benchTarget) error {
	l := &downloading{bench: b, size: size}
	cases := []benchCase{
		{"download/GET", l.get, false},
		{"download/text/1MiB", func(ctx context.Context, d *benchDaemon, row *benchRow) error { return l.chunks(ctx, d, row, "") }, false},
		{"download/base64/1MiB", func(ctx context.Context, d *benchDaemon, row *benchRow) error { return l.chunks(ctx, d, row, "base64") }, false},
		{"download/task/GET", l.taskGet, false},
		{"download/task/ftps", l.taskFTP, true},
	}
	if !b.wants(caseNames(cases)...) {
		return nil
	}
	var err error
	if l.source, err = b.randomFile("download", size); err != nil {
		return err
	}
	defer l.source.Close()
	return b.served(ctx, at, cases)
}

// downloading measures downloads of one file, which it uploads when it is needed
// first.
type downloading struct {
	*bench
	size     int64
	source   *os.File
	uploaded bool
}

// measure lets once download the file as often as there is time for, and puts a
// plain server of it beside.
func (l *downloading) measure(ctx context.Context, d *benchDaemon, row *benchRow, want float64, once func() error) error {
	err := l.calibrated(row, "ServeContent", "MB/s", l.plain, func() error { return l.rate(ctx, d, row, l.size, timed(once)) })
	if err != nil {
		return err
	}
	row.Ratio = row.Value / row.Calibration.Value
	if want > 0 {
		row.want(fmt.Sprintf("≥ %g × ServeContent", want), row.Ratio >= want)
	}
	d.flat(row, l.size)
	return nil
}

func timed(once func() error) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		begun := time.Now()
		err := once()
		return time.Since(begun), err
	}
}

// plain is how many MB/s a server makes that does nothing but http.ServeContent of
// the same file, in this process.
func (l *downloading) plain(_ string, d time.Duration) (mbs float64, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(l.source.Name())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	defer func() {
		err = errors.Join(err, s.Close())
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}()
	web := benchWeb()
	defer web.CloseIdleConnections()
	n, begun := 0, time.Now()
	for ; n == 0 || time.Since(begun) < d; n++ {
		if err := l.fetch(context.Background(), web, "http://"+listener.Addr().String(), ""); err != nil {
			return 0, err
		}
	}
	return float64(n) * float64(l.size) / 1e6 / time.Since(begun).Seconds(), nil
}

// fetch downloads all of the file over HTTP, as a range.
func (l *downloading) fetch(ctx context.Context, web *http.Client, url, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Range", "bytes=0-")
	res, err := web.Do(req)
	if err != nil {
		return innermost(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("GET %s: %s", req.URL.Path, res.Status)
	}
	return drain(res.Body, l.size)
}

// open opens a download, of the file that is uploaded for the first one.
func (l *downloading) open(ctx context.Context, d *benchDaemon, p *benchPanel) (id sessions.ID, err error) {
	if !l.uploaded {
		data := make([]byte, min(middle1M, l.size))
		if _, err := l.source.ReadAt(data, 0); err != nil {
			return id, err
		}
		up, err := p.open(ctx, benchPath, l.size)
		if err == nil {
			err = p.send(ctx, "packet", up, data, l.size, allFlying/middle1M)
		}
		if err != nil {
			return id, err
		}
		l.uploaded = true
	}
	var opened struct {
		ID sessions.ID `json:"file_id"`
	}
	err = p.ask(ctx, "file_download_request", map[string]any{"path": benchPath, "timeout": 3_600_000}, &opened)
	return opened.ID, err
}

// get measures downloads over HTTP.
func (l *downloading) get(ctx context.Context, d *benchDaemon, row *benchRow) error {
	token, err := d.token()
	if err != nil {
		return err
	}
	web := benchWeb()
	defer web.CloseIdleConnections()
	return l.opened(ctx, d, func(p *benchPanel, id sessions.ID) error {
		return l.measure(ctx, d, row, 1, func() error { return l.fetch(ctx, web, d.URL.at("/download/"+id.String()), token) })
	})
}

// opened lends a download and its panel's connection.
func (l *downloading) opened(ctx context.Context, d *benchDaemon, do func(*benchPanel, sessions.ID) error) error {
	p, err := d.panel(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	id, err := l.open(ctx, d, p)
	if err == nil {
		err = do(p, id)
	}
	if err == nil {
		err = p.ask(ctx, "file_download_close", map[string]any{"file_id": id}, nil)
	}
	return err
}

// chunks measures downloads over a panel's connection, 1 MiB at a time and 8 under
// way. The client does not decode: that is not what is measured.
func (l *downloading) chunks(ctx context.Context, d *benchDaemon, row *benchRow, encoding string) error {
	return l.opened(ctx, d, func(p *benchPanel, id sessions.ID) error {
		ask := func(off int64) error {
			params := map[string]any{"file_id": id, "range": fmt.Sprintf("%d..%d", off, min(off+middle1M, l.size))}
			if encoding != "" {
				params["encoding"] = encoding
			}
			return p.ws.Write(ctx, websocket.MessageText, panelwire.AppendRequest(nil, "r", "file_download_chunk", params))
		}
		buf := make([]byte, 1<<20)
		return l.measure(ctx, d, row, 0.2, func() error {
			asked := int64(0)
			for ; asked < min(l.size, allFlying); asked += middle1M {
				if err := ask(asked); err != nil {
					return err
				}
			}
			for off := int64(0); off < l.size; off += middle1M {
				_, r, err := p.ws.Reader(ctx)
				if err != nil {
					return err
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
				if err == nil && n < min(middle1M, l.size-off) {
					err = fmt.Errorf("a reply of %d bytes: it holds no chunk", n)
				}
				if err == nil && asked < l.size {
					err = ask(asked)
					asked += middle1M
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// stored lends a document that has the file's content.
func (l *downloading) stored(ctx context.Context, d *benchDaemon, do func(*http.Client, *benchDocument) error) error {
	web := benchWeb()
	defer web.CloseIdleConnections()
	return d.withDocument(ctx, func(doc *benchDocument) error {
		t, err := doc.open(ctx, "write")
		if err == nil {
			_, err = l.source.Seek(0, io.SeekStart)
		}
		if err == nil {
			_, err = exchange(ctx, web, http.MethodPut, d.URL.at(t.path()), l.source, l.size, "Authorization", "Bearer "+t.token)
		}
		if err != nil {
			return err
		}
		return do(web, doc)
	})
}

// taskGet measures downloads of a document over HTTP.
func (l *downloading) taskGet(ctx context.Context, d *benchDaemon, row *benchRow) error {
	return l.stored(ctx, d, func(web *http.Client, doc *benchDocument) error {
		return l.measure(ctx, d, row, 0, func() error {
			t, err := doc.open(ctx, "read")
			if err != nil {
				return err
			}
			return l.fetch(ctx, web, d.URL.at(t.path()), t.token)
		})
	})
}

// taskFTP measures downloads of a document over FTPS.
func (l *downloading) taskFTP(ctx context.Context, d *benchDaemon, row *benchRow) error {
	return l.stored(ctx, d, func(_ *http.Client, doc *benchDocument) error {
		return l.measure(ctx, d, row, 0, func() error {
			return d.withFTPS(ctx, doc, "read", func(c *benchFTP, t *benchTask) error {
				return c.transfer(ctx, "RETR "+t.name, func(from io.ReadWriter) error { return drain(from, l.size) })
			})
		})
	})
}
