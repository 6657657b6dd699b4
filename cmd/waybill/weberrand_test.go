package main

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"waybill/sessions"
)

// address is the resource of a transfer, for whoever has the token.
type address struct{ path, token string }

func (a address) where() (path, token string) { return a.path, a.token }

// session is the name of an upload in the journal.
func (a address) session() string { return a.path[strings.LastIndexByte(a.path, '/')+1:] }

const (
	uploadAt, downloadAt, tusAt = "/upload/", "/download/", "/tus/"

	tusMedia = "application/offset+octet-stream"
)

// tusFields are the header of a request of tus.
func tusFields(more ...any) fields {
	h := fields{"Tus-Resumable": "1.0.0"}
	for i := 0; i < len(more); i += 2 {
		h[more[i].(string)] = more[i+1]
	}
	return h
}

// tusMeta is Upload-Metadata, of keys and values in turns.
func tusMeta(pairs ...string) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(list, ",")
}

// contentRange is the header of a part.
func contentRange(r sessions.Range, size int) fields {
	return fields{"Content-Range": fmt.Sprintf("bytes %d-%d/%d", r[0], r[1]-1, size)}
}

// webTold is what the answer to a request of /upload or /tus says.
type webTold struct {
	way string
	// durable is how many bytes from the start on are said to be, -1 if nothing
	// is said.
	durable int64
	// created: the upload was made by the request.
	created bool
}

// sender sends uploads over a connection of its own.
type sender struct {
	*errand
	p *porter
}

// request has a request answered, whose status must be want, and keeps the
// answer. r is where its body goes, done whether that completes the file.
func (s *sender) request(way, method string, to address, h fields, want int, r sessions.Range, body []byte, done bool) (*transferReply, error) {
	got, err := s.p.do(method, to, h, body)
	if err == nil && got.status != want {
		err = fmt.Errorf("%s %s %v is answered %s and not %d", method, to.path, h, &got, want)
	}
	if err != nil {
		return nil, err
	}
	told := &webTold{way: way, durable: got.offset(), created: method == http.MethodPost}
	if told.created {
		to = address{got.header.Get("Location"), to.token}
	}
	if r.Len() == 0 && told.created != (told.durable < 0) || r.Len() > 0 && r[0] == 0 && told.durable < r[1] {
		err = fmt.Errorf("%s %s of %v says that %d are durable", method, to.path, r, told.durable)
	}
	s.got(ack{key: got.key, session: to.session(), Range: r, done: done, web: told})
	return &got, err
}

// upload opens one for /upload.
func (s *sender) upload(p *panel, path string, data []byte) (address, error) {
	file, err := s.open(p, path, data)
	return address{uploadAt + file, s.token}, err
}

// whole stores a file by one PUT.
func (s *sender) whole(p *panel) error {
	data := noise(60, 70_000)
	to, err := s.upload(p, "by/put/whole", data)
	if err != nil {
		return err
	}
	_, err = s.request("PUT", http.MethodPut, to, nil, http.StatusOK, sessions.Range{0, 70_000}, data, true)
	return err
}

// parts stores a file by PUTs of its parts, in an order of their own.
func (s *sender) parts(p *panel) error {
	data := noise(61, 6*5_000)
	to, err := s.upload(p, "by/parts/file", data)
	if err != nil {
		return err
	}
	ranges := pieces(len(data), 5_000)
	for i, at := range []int{3, 0, 1, 5, 2, 4} {
		r, want, done := ranges[at], http.StatusNoContent, i == len(ranges)-1
		if done {
			want = http.StatusOK
		}
		if _, err := s.request("PUT", http.MethodPut, to, contentRange(r, len(data)), want, r, data[r[0]:r[1]], done); err != nil {
			return err
		}
	}
	return nil
}

// patches stores a file by PATCHes, and asks in between how far it has come.
func (s *sender) patches(p *panel) error {
	data := noise(62, 5*6_001)
	to, err := s.upload(p, "by/patch/file", data)
	if err != nil {
		return err
	}
	for _, r := range pieces(len(data), 6_001) {
		want, done := http.StatusNoContent, r[1] == int64(len(data))
		if done {
			want = http.StatusOK
		}
		if _, err := s.request("PATCH", http.MethodPatch, to, at(r[0], false), want, r, data[r[0]:r[1]], done); err != nil {
			return err
		}
		if done {
			return nil
		}
		if _, err := s.request("PATCH", http.MethodHead, to, nil, http.StatusOK, sessions.Range{}, nil, false); err != nil {
			return err
		}
	}
	return nil
}

// tus stores a file over tus, the first bytes of which may come with the
// creation, and whose size may be told with the last of them.
func (s *sender) tus(path string, data []byte, with, late bool) error {
	const piece = 7_003
	size := len(data)
	h := tusFields("Upload-Metadata", tusMeta("path", path, "sha1", sumOfBytes(data)), "Upload-Length", size)
	if late {
		delete(h, "Upload-Length")
		h["Upload-Defer-Length"] = 1
	}
	var first sessions.Range
	if with {
		h["Content-Type"] = tusMedia
		first = sessions.Range{0, piece}
	}
	made, err := s.request("tus", http.MethodPost, address{tusAt, s.token}, h, http.StatusCreated, first, data[:first[1]], false)
	if err != nil {
		return err
	}
	to := address{made.header.Get("Location"), s.token}
	for off := int(first[1]); off < size; off += piece {
		if _, err := s.request("tus", http.MethodHead, to, tusFields(), http.StatusOK, sessions.Range{}, nil, false); err != nil {
			return err
		}
		end := min(off+piece, size)
		h := tusFields("Upload-Offset", off, "Content-Type", tusMedia)
		if late && end == size {
			h["Upload-Length"] = size
		}
		if off == piece {
			sum := sha1.Sum(data[off:end])
			h["Upload-Checksum"] = "sha1 " + base64.StdEncoding.EncodeToString(sum[:])
		}
		r := sessions.Range{int64(off), int64(end)}
		if _, err := s.request("tus", http.MethodPatch, to, h, http.StatusNoContent, r, data[off:end], end == size); err != nil {
			return err
		}
	}
	return nil
}

// downloads reads a file that was sent, in two ranges.
func (s *sender) downloads(p *panel, path string, data []byte) error {
	var down fileReply
	if err := s.ask(p, "file_download_request", fileParams{path}, &down); err != nil {
		return err
	}
	from := address{downloadAt + down.File, s.token}
	half := len(data) / 2
	var got []byte
	for _, span := range []string{fmt.Sprintf("bytes=0-%d", half-1), fmt.Sprintf("bytes=%d-", half)} {
		r, err := s.p.do(http.MethodGet, from, fields{"Range": span}, nil)
		if err != nil {
			return err
		}
		if r.status != http.StatusPartialContent {
			return fmt.Errorf("%s of %s is answered %s", span, path, &r)
		}
		got = append(got, r.body...)
	}
	if sumOfBytes(got) != sumOfBytes(data) {
		return fmt.Errorf("%s is read as %d other bytes", path, len(got))
	}
	return nil
}

// web is the part of the errand that goes over HTTP.
func (e *errand) web(p *panel) error {
	var all errgroup.Group
	for _, do := range []func(*sender) error{
		func(s *sender) error { return s.whole(p) },
		func(s *sender) error { return s.parts(p) },
		func(s *sender) error { return s.patches(p) },
		func(s *sender) error {
			data := noise(63, 4*7_003+5)
			return errors.Join(s.tus("by/tus/file", data, false, false), s.downloads(p, "by/tus/file", data))
		},
		func(s *sender) error { return s.tus("by/tus-with/file", noise(64, 3*7_003), true, true) },
	} {
		all.Go(func() error {
			porter := &porter{addr: e.s.addr, traced: true}
			defer porter.close()
			return do(&sender{e, porter})
		})
	}
	return all.Wait()
}

// ways are the sessions of each way of HTTP that answers tell of.
func ways(acks []ack) map[string][]string {
	found := make(map[string][]string)
	for _, a := range acks {
		if a.web != nil {
			found[a.web.way] = append(found[a.web.way], a.session)
		}
	}
	return found
}

// asked requires of an answer over HTTP that what it says is durable: the upload
// that it made, and the bytes from the start on that it counts.
func (c *checker) asked(a *ack, reply int) {
	if a.web.created {
		c.checked["creations"]++
		c.committed(c.find(func(f *fact) bool { return f.Kind == "upload.opened" && f.Body.Session == a.session }), reply, "creation of %s", a.session)
	}
	if a.Range.Len() > 0 {
		c.checked["bodies"]++
		c.chunk(a, c.tree.staged(a.session), reply)
	}
	if a.web.durable >= 0 {
		c.checked["offsets"]++
		c.counted(a.session, a.web.durable, reply)
	}
}

// counted requires that so many bytes were durable at a place in the trace, by
// records that were.
func (c *checker) counted(session string, durable int64, at int) {
	n, last := c.countedBytes(session, at)
	if last != nil {
		c.relied = append(c.relied, reliance{at, last.Seq})
	}
	if n < durable {
		c.add(uncommitted, "%s is said to have %d durable bytes at %d, and has %d", session, durable, at, n)
	}
}
