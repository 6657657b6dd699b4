package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

type benchTransferCmd struct {
	benchFlags
	benchSizes
	benchTarget
	benchAgainst
}

// benchSizes is how much is moved.
type benchSizes struct {
	Size byteSize `default:"256MiB" min:"64KiB" max:"2147483647" placeholder:"SIZE" help:"Length of the file that is uploaded or downloaded, again and again (${default})."`
}

// Run measures durable uploads on every path there is.
func (c *benchTransferCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, "transfer", func(ctx context.Context, b *bench) error {
		return b.transfers(ctx, int64(c.Size), c.benchTarget, c.benchAgainst)
	})
}

// The sizes of chunks and of the bodies of PATCH.
const (
	small64K  = 64 << 10
	middle1M  = 1 << 20
	large4M   = 4 << 20
	large8M   = 8 << 20
	allFlying = 8 << 20 // bytes of a session that are under way
)

// transfers are the rows of uploads.
func (b *bench) transfers(ctx context.Context, size int64, at benchTarget, against benchAgainst) error {
	u := &uploading{bench: b, size: size}
	cases := u.cases(against)
	if !b.wants(caseNames(cases)...) {
		return nil
	}
	var err error
	if u.source, err = b.randomFile("source", size); err != nil {
		return err
	}
	defer u.source.Close()
	return b.served(ctx, at, cases)
}

// uploading measures uploads of one file.
type uploading struct {
	*bench
	size   int64
	source *os.File
}

func (u *uploading) cases(against benchAgainst) []benchCase {
	var list []benchCase
	for _, r := range []struct {
		form  chunkForm
		chunk int
		want  float64
	}{
		{"packet", small64K, 0.5}, {"packet", middle1M, 0.65}, {"packet", large4M, 0.7},
		{"frame", middle1M, 0}, {"text", middle1M, 0.25}, {"base64", middle1M, 0},
	} {
		list = append(list, benchCase{"upload/" + string(r.form) + "/" + sizeName(r.chunk), func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			return u.chunks(ctx, d, row, r.form, r.chunk, r.want)
		}, false})
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		list = append(list, benchCase{"upload/" + method, func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			return u.body(ctx, d, row, method)
		}, false})
	}
	for _, piece := range []int{small64K, middle1M, large8M} {
		list = append(list, benchCase{"upload/tus/" + sizeName(piece), func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			ours, err := d.tus()
			if err != nil {
				return err
			}
			return u.measure(ctx, d, row, 0, func() (time.Duration, error) { return ours.upload(ctx, u.source, u.size, int64(piece)) })
		}, false})
	}
	list = append(list, benchCase{"upload/task/ftps", u.taskFTP, true}, benchCase{"upload/task/PUT", u.taskPut, false})
	return append(list, u.againstCases(against)...)
}

// measure lets once upload the file as often as there is time for, and puts
// calseq beside it. once says how long it was from the first byte until all of
// the file was durable and in its place.
func (u *uploading) measure(ctx context.Context, d *benchDaemon, row *benchRow, want float64, once func() (time.Duration, error)) error {
	err := u.calibrated(row, "calseq", "MB/s", calSeq, func() error { return u.rate(ctx, d, row, u.size, once) })
	if err != nil {
		return err
	}
	row.Ratio = row.Value / row.Calibration.Value
	if want > 0 {
		row.want(fmt.Sprintf("≥ %g × calseq", want), row.Ratio >= want)
	}
	d.flat(row, u.size)
	return nil
}

// flat wants little memory of the longest transfer there can be.
func (d *benchDaemon) flat(row *benchRow, size int64) {
	if const31 := int64(1<<31 - 1); size == const31 && len(row.Details) > 0 {
		row.want("≤ 48 MiB above idle", row.Details[1].value <= 48)
	}
}

// rate measures how many MB/s of size bytes once moves, as often as there is time
// for.
func (b *bench) rate(ctx context.Context, d *benchDaemon, row *benchRow, size int64, once func() (time.Duration, error)) error {
	d.begin()
	var took time.Duration
	n := 0
	for begun := time.Now(); n == 0 || time.Since(begun) < b.time; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := once()
		if err != nil {
			return err
		}
		took += t
	}
	moved := float64(n) * float64(size) / 1e6
	row.Value, row.Unit = moved/took.Seconds(), "MB/s"
	row.Details = d.costs(moved, "MB")
	return nil
}

// chunks measures uploads over a panel's connection.
func (u *uploading) chunks(ctx context.Context, d *benchDaemon, row *benchRow, form chunkForm, chunk int, want float64) error {
	p, err := d.panel(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	data := make([]byte, min(int64(chunk), u.size))
	if _, err := u.source.ReadAt(data, 0); err != nil {
		return err
	}
	return u.measure(ctx, d, row, want, func() (time.Duration, error) {
		id, err := p.open(ctx, benchPath, u.size)
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		err = p.send(ctx, form, id, data, u.size, allFlying/chunk)
		return time.Since(begun), err
	})
}

// body measures uploads that are one request of /upload.
func (u *uploading) body(ctx context.Context, d *benchDaemon, row *benchRow, method string) error {
	p, err := d.panel(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	token, err := d.token()
	if err != nil {
		return err
	}
	web := benchWeb()
	defer web.CloseIdleConnections()
	return u.measure(ctx, d, row, 0, func() (time.Duration, error) {
		id, err := p.open(ctx, benchPath, u.size)
		if err != nil {
			return 0, err
		}
		header := []string{"Authorization", "Bearer " + token}
		if method == http.MethodPatch {
			header = append(header, "Upload-Offset", "0")
		}
		return u.put(ctx, web, method, d.URL.at("/upload/"+id.String()), header)
	})
}

// put sends the file as one body.
func (u *uploading) put(ctx context.Context, web *http.Client, method, url string, header []string) (time.Duration, error) {
	if _, err := u.source.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	begun := time.Now()
	_, err := exchange(ctx, web, method, url, u.source, u.size, header...)
	return time.Since(begun), err
}

// taskPut measures uploads of a document over HTTP.
func (u *uploading) taskPut(ctx context.Context, d *benchDaemon, row *benchRow) error {
	web := benchWeb()
	defer web.CloseIdleConnections()
	return d.withDocument(ctx, func(doc *benchDocument) error {
		return u.measure(ctx, d, row, 0, func() (time.Duration, error) {
			t, err := doc.open(ctx, "write")
			if err != nil {
				return 0, err
			}
			return u.put(ctx, web, http.MethodPut, d.URL.at(t.path()), []string{"Authorization", "Bearer " + t.token})
		})
	})
}

// taskFTP measures uploads of a document over FTPS.
func (u *uploading) taskFTP(ctx context.Context, d *benchDaemon, row *benchRow) error {
	return d.withDocument(ctx, func(doc *benchDocument) error {
		buf := make([]byte, 256<<10)
		return u.measure(ctx, d, row, 0, func() (took time.Duration, err error) {
			err = d.withFTPS(ctx, doc, "write", func(c *benchFTP, t *benchTask) error {
				begun := time.Now()
				err := c.transfer(ctx, "STOR "+t.name, func(to io.ReadWriter) error {
					_, err := io.CopyBuffer(struct{ io.Writer }{to}, io.NewSectionReader(u.source, 0, u.size), buf)
					return err
				})
				took = time.Since(begun)
				return err
			})
			return took, err
		})
	})
}

// withDocument lends a document that is removed afterwards.
func (d *benchDaemon) withDocument(ctx context.Context, do func(*benchDocument) error) error {
	doc, err := d.document(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(doc), doc.close(ctx))
}

// withFTPS lends a connection for a new task of a document.
func (d *benchDaemon) withFTPS(ctx context.Context, doc *benchDocument, action string, do func(*benchFTP, *benchTask) error) error {
	t, err := doc.open(ctx, action)
	if err != nil {
		return err
	}
	c, err := d.ftps(ctx, t)
	if err != nil {
		return err
	}
	defer c.close()
	return do(c, t)
}

// randomFile makes a file of the run whose bytes no disk makes less of.
func (b *bench) randomFile(name string, size int64) (*os.File, error) {
	return fillFile(filepath.Join(b.dir, name), size)
}

func fillFile(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = io.CopyN(struct{ io.Writer }{f}, rand.Reader, size)
	if err == nil {
		err = f.Sync() // nothing of it is written while others are measured
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func sizeName(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}

func caseNames(cases []benchCase) (names []string) {
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}
