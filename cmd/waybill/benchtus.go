package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// benchAgainst is a tus server of others.
type benchAgainst struct {
	Against peerURL `placeholder:"URL" help:"Measure a tus server beside ours, in turns: the address where its uploads are made, such as http://127.0.0.1:1080/files/. Its uploads are removed again, if it lets us."`
}

// peerURL is an address of http or https; nil for none.
type peerURL struct{ at *url.URL }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *peerURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("must begin with http:// or https://")
	}
	p.at = u
	return nil
}

// tusServer is where uploads over tus 1.0.0 go.
type tusServer struct {
	web     *http.Client
	url     *url.URL
	token   string // "" for none
	path    string // what uploads are called
	removes bool   // uploads that are done are removed again
}

// tus is the daemon's tus.
func (d *benchDaemon) tus() (*tusServer, error) {
	at, err := url.Parse(d.URL.at("/tus/"))
	if err != nil {
		return nil, err
	}
	token, err := d.token()
	return &tusServer{web: benchWeb(), url: at, token: token, path: benchPath}, err
}

func (p peerURL) tus() *tusServer {
	return &tusServer{web: benchWeb(), url: p.at, path: benchPath, removes: true}
}

func (s *tusServer) do(ctx context.Context, method string, at *url.URL, body io.Reader, n int64, header ...string) (http.Header, error) {
	header = append(header, "Tus-Resumable", "1.0.0")
	if s.token != "" {
		header = append(header, "Authorization", "Bearer "+s.token)
	}
	if n > 0 {
		header = append(header, "Content-Type", "application/offset+octet-stream")
	}
	return exchange(ctx, s.web, method, at.String(), body, n, header...)
}

// create makes an upload of size bytes, of which the first n come with it.
func (s *tusServer) create(ctx context.Context, path string, size int64, body io.Reader, n int64) (*url.URL, error) {
	name := base64.StdEncoding.EncodeToString([]byte(path))
	h, err := s.do(ctx, http.MethodPost, s.url, body, n, "Upload-Length", strconv.FormatInt(size, 10), "Upload-Metadata", "path "+name+",filename "+name)
	if err != nil {
		return nil, err
	}
	if n > 0 && h.Get("Upload-Offset") != strconv.FormatInt(n, 10) {
		return nil, fmt.Errorf("%s has %q of %d bytes", s.url, h.Get("Upload-Offset"), n)
	}
	return s.url.Parse(h.Get("Location"))
}

// upload sends source in PATCHes of piece bytes, one after the other, and says how
// long they took.
func (s *tusServer) upload(ctx context.Context, source *os.File, size, piece int64) (time.Duration, error) {
	at, err := s.create(ctx, s.path, size, nil, 0)
	if err != nil {
		return 0, err
	}
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	begun := time.Now()
	for off := int64(0); off < size; {
		n := min(piece, size-off)
		h, err := s.do(ctx, http.MethodPatch, at, io.LimitReader(source, n), n, "Upload-Offset", strconv.FormatInt(off, 10))
		if err != nil {
			return 0, err
		}
		off += n
		if got := h.Get("Upload-Offset"); got != strconv.FormatInt(off, 10) {
			return 0, fmt.Errorf("%s is at %q, not %d", at, got, off)
		}
	}
	took := time.Since(begun)
	return took, s.remove(ctx, at)
}

// remove has an upload that is done removed, where that is to be done and can be.
func (s *tusServer) remove(ctx context.Context, at *url.URL) error {
	if !s.removes {
		return nil
	}
	_, err := s.do(ctx, http.MethodDelete, at, nil, 0)
	if _, refused := errors.AsType[*httpRefusal](err); refused {
		return nil // not every server removes, and some keep nothing
	}
	return err
}

// againstCases are the rows of the PATCHes of others.
func (u *uploading) againstCases(against benchAgainst) (list []benchCase) {
	if against.Against.at == nil {
		return nil
	}
	for _, r := range []struct {
		piece int
		want  float64
	}{{small64K, 2}, {middle1M, 0.8}, {large8M, 0.7}} {
		list = append(list, benchCase{"against/tus/" + sizeName(r.piece), func(ctx context.Context, d *benchDaemon, row *benchRow) error {
			ours, err := d.tus()
			if err != nil {
				return err
			}
			theirs := against.Against.tus()
			err = u.inTurns(ctx, row, "MB/s", func(s *tusServer) (float64, time.Duration, error) {
				took, err := s.upload(ctx, u.source, u.size, int64(r.piece))
				return float64(u.size) / 1e6, took, err
			}, ours, theirs)
			if err == nil {
				row.want(fmt.Sprintf("≥ %g × the other", r.want), row.Ratio >= r.want)
			}
			return err
		}, false})
	}
	return list
}

// inTurns measures what once does on ours, and right after on theirs, for twice the
// time of a row, and puts theirs beside ours as the calibration. once says how much
// it did, and how long that took.
func (b *bench) inTurns(ctx context.Context, row *benchRow, unit string, once func(*tusServer) (float64, time.Duration, error), ours, theirs *tusServer) error {
	defer ours.web.CloseIdleConnections()
	defer theirs.web.CloseIdleConnections()
	var done [2]float64
	var took [2]time.Duration
	turns := 0
	for begun := time.Now(); turns == 0 || time.Since(begun) < 2*b.time; turns++ {
		for i, s := range []*tusServer{ours, theirs} {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, t, err := once(s)
			if err != nil {
				return err
			}
			done[i] += n
			took[i] += t
		}
	}
	row.Value, row.Unit = done[0]/took[0].Seconds(), unit
	row.Calibration = &benchCal{"the other", done[1] / took[1].Seconds(), unit}
	row.Ratio = row.Value / row.Calibration.Value
	row.Details = benchDetails{{"of_turns", float64(turns)}}
	return nil
}
