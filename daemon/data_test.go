package daemon

import (
	"bufio"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
)

// ask makes a request with the main token.
func (r *taskRig) ask(method, path, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	return r.do(method, path, body, append([]string{"Authorization", "Bearer " + r.token}, header...)...)
}

// tus makes a request as a client of tus does.
func (r *taskRig) tus(method, path, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	return r.ask(method, path, body, append([]string{headerTus, tusVersion}, header...)...)
}

// patch sends bytes to a tus upload.
func (r *taskRig) patch(path string, offset int, body []byte, header ...string) (int, string, http.Header) {
	r.t.Helper()
	return r.tus("PATCH", path, string(body), append([]string{headerOffset, strconv.Itoa(offset), "Content-Type", tusBody}, header...)...)
}

// creates makes a tus upload and returns its address.
func (r *taskRig) creates(size int, header ...string) string {
	r.t.Helper()
	header = append([]string{headerLength, strconv.Itoa(size)}, header...)
	code, body, h := r.tus("POST", tusPath, "", header...)
	require.Equal(r.t, 201, code, body)
	return h.Get("Location")
}

func meta(pairs ...string) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(list, ",")
}

func hexSHA1(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

func (r *taskRig) at(name string) string { return filepath.Join(r.cfg.Root, filepath.FromSlash(name)) }

// has asserts what a served file is.
func (r *taskRig) has(name string, data []byte) {
	r.t.Helper()
	got, err := os.ReadFile(r.at(name))
	require.NoError(r.t, err)
	assert.Equal(r.t, hexSHA1(data), hexSHA1(got), "%d bytes, not %d", len(got), len(data))
}

// opens makes an upload as a panel does.
func (r *taskRig) opens(name string, size int) string {
	r.t.Helper()
	p := r.panel(r.token)
	defer p.ws.CloseNow()
	return uploadPath + p.upload(name, size)
}

// downloads makes a download as a panel does.
func (r *taskRig) downloads(name string) (path, signed string) {
	r.t.Helper()
	p := r.panel(r.token)
	defer p.ws.CloseNow()
	var opened struct {
		ID  string `json:"file_id"`
		URL string `json:"url"`
	}
	p.ok("file_download_request", map[string]any{"path": name, "url": true}, &opened)
	return downloadPath + opened.ID, opened.URL
}

// one asserts that an answer is one line.
func one(t testing.TB, body string, h http.Header) {
	t.Helper()
	assert.Equal(t, 1, strings.Count(body, "\n"), body)
	assert.Equal(t, "text/plain; charset=utf-8", h.Get("Content-Type"))
	assert.Equal(t, "no-store", h.Get("Cache-Control"))
}

func TestUploadPut(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(100_000)
	up := r.opens("a/whole", len(data))
	code, body, h := r.ask("PUT", up, string(data))
	require.Equal(t, 200, code, body)
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	assert.Equal(t, map[string]any{"done": true, "received": 1e5, "size": 1e5, "sha1": hexSHA1(data)}, answer)
	assert.Equal(t, "100000", h.Get(headerOffset))
	r.has("a/whole", data)
	code, _, h = r.ask("HEAD", up, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "?1", h.Get(headerComplete))
	for _, method := range []string{"PUT", "PATCH"} {
		code, body, h = r.ask(method, up, "x", headerOffset, "0")
		assert.Contains(t, []int{400, 410}, code)
		one(t, body, h)
	}

	up = r.opens("a/parts", len(data))
	part := func(from, to int, size string) {
		t.Helper()
		code, body, h = r.ask("PUT", up, string(data[from:to]), "Content-Range", fmt.Sprintf("bytes %d-%d/%s", from, to-1, size))
	}
	part(90_000, 100_000, "100000")
	assert.Equal(t, 204, code, body)
	assert.Equal(t, "0", h.Get(headerOffset))
	assert.Equal(t, "0-89999", h.Get(headerMissing))
	part(10_000, 20_000, "*")
	assert.Equal(t, "0-9999,20000-89999", h.Get(headerMissing))
	code, _, h = r.ask("PATCH", up, string(data[:10_000]), headerOffset, "0")
	assert.Equal(t, 204, code)
	assert.Equal(t, "20000", h.Get(headerOffset))
	code, _, h = r.ask("HEAD", up, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "20000", h.Get(headerOffset))
	assert.Equal(t, "100000", h.Get(headerLength))
	assert.Equal(t, "20000-89999", h.Get(headerMissing))
	code, _, _ = r.ask("PATCH", up, "", headerOffset, "20000")
	assert.Equal(t, 204, code)
	part(15_000, 95_000, "100000")
	assert.Equal(t, 200, code, body)
	r.has("a/parts", data)
}

func TestUploadMissingIsBounded(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	up := r.opens("gaps", 1000)
	for i := 1; i < 200; i += 2 {
		code, _, _ := r.ask("PATCH", up, "x", headerOffset, strconv.Itoa(i))
		require.Equal(t, 204, code)
	}
	_, _, h := r.ask("HEAD", up, "")
	assert.Equal(t, maxTold, strings.Count(h.Get(headerMissing), "-"))
	assert.True(t, strings.HasPrefix(h.Get(headerMissing), "0-0,2-2,4-4,"))
}

func TestUploadHeaders(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	up := r.opens("f", 100)
	ten := strings.Repeat("x", 10)
	for name, c := range map[string]struct {
		method string
		body   string
		header []string
		code   int
	}{
		"no offset":                 {"PATCH", ten, nil, 400},
		"an offset in words":        {"PATCH", ten, []string{headerOffset, "ten"}, 400},
		"a negative offset":         {"PATCH", ten, []string{headerOffset, "-1"}, 400},
		"an offset with a sign":     {"PATCH", ten, []string{headerOffset, "+1"}, 400},
		"an offset beyond":          {"PATCH", ten, []string{headerOffset, "100"}, 400},
		"more than there is":        {"PATCH", ten, []string{headerOffset, "91"}, 413},
		"a whole that is too short": {"PUT", ten, nil, 400},
		"a whole that is too long":  {"PUT", strings.Repeat("x", 101), nil, 400},
		"another unit":              {"PUT", ten, []string{"Content-Range", "lines 0-9/100"}, 400},
		"no size":                   {"PUT", ten, []string{"Content-Range", "bytes 0-9"}, 400},
		"another size":              {"PUT", ten, []string{"Content-Range", "bytes 0-9/99"}, 400},
		"backwards":                 {"PUT", ten, []string{"Content-Range", "bytes 9-0/100"}, 400},
		"beyond the size":           {"PUT", ten, []string{"Content-Range", "bytes 95-104/100"}, 400},
		"not satisfied":             {"PUT", ten, []string{"Content-Range", "bytes */100"}, 400},
		"not its length":            {"PUT", ten, []string{"Content-Range", "bytes 0-10/100"}, 400},
		"signed":                    {"PUT", ten, []string{"Content-Range", "bytes +0-9/100"}, 400},
		"get":                       {"GET", "", nil, 405},
		"post":                      {"POST", ten, nil, 405},
		"delete":                    {"DELETE", "", nil, 405},
	} {
		before := len(r.records())
		code, body, h := r.ask(c.method, up, c.body, c.header...)
		assert.Equal(t, c.code, code, "%s: %s", name, body)
		one(t, body, h)
		assert.Len(t, r.records(), before+2, "%s leaves a record, and so does looking", name)
	}
	_, _, h := r.ask("HEAD", up, "")
	assert.Equal(t, "0", h.Get(headerOffset))
	other := r.subtoken(url.Values{"subject": {"other"}})
	weak := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.download"}})
	owner := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.upload"}})
	for _, c := range []struct {
		name, path, token string
		code              int
	}{
		{"no token", up, "", 401}, {"a wrong one", up, "x", 401}, {"another subject", up, other, 404},
		{"not allowed", up, weak, 403}, {"allowed", up, owner, 200},
		{"unknown", uploadPath + "00000000-0000-4000-8000-000000000000", owner, 404}, {"no id", uploadPath + "x", owner, 404},
		{"nothing", uploadPath, owner, 404}, {"more", up + "/x", owner, 404},
	} {
		for _, method := range []string{"HEAD", "PUT", "PATCH"} {
			if method != "HEAD" && c.code == 200 {
				continue
			}
			code, _, _ := r.do(method, c.path, ten, "Authorization", "Bearer "+c.token, headerOffset, "0")
			want := c.code
			if method == "PUT" && c.name == "allowed" {
				want = 400
			}
			assert.Equal(t, want, code, "%s: %s", method, c.name)
		}
	}
}

// slow is a request whose body the test sends bit by bit.
type slow struct {
	r    *taskRig
	conn net.Conn
}

func (r *taskRig) slow(method, path string, length int, header ...string) *slow {
	r.t.Helper()
	conn := dialFrom(r.t, "", r.addr)
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", method, path, r.token, length)
	for i := 0; i < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	_, err := io.WriteString(conn, head+"\r\n")
	require.NoError(r.t, err)
	return &slow{r, conn}
}

func (s *slow) send(b []byte) {
	s.r.t.Helper()
	mark := s.r.received()
	_, err := s.conn.Write(b)
	require.NoError(s.r.t, err)
	s.r.soonReceived(mark + len(b))
}

func (s *slow) answer() (int, string, http.Header) {
	s.r.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	require.NoError(s.r.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(s.r.t, err)
	return res.StatusCode, string(body), res.Header
}

// tusHeader is what every PATCH of tus has.
func tusHeader(offset int) []string {
	return []string{headerTus, tusVersion, "Content-Type", tusBody, headerOffset, strconv.Itoa(offset)}
}

// A body that breaks off keeps what came, however it breaks.
func TestTornBodies(t *testing.T) {
	t.Parallel()
	data := random(600_000)
	sum := sha1.Sum(data)
	for name, open := range map[string]func(r *taskRig) (*slow, string){
		"upload": func(r *taskRig) (*slow, string) {
			up := r.opens("f", len(data))
			return r.slow("PUT", up, len(data)), up
		},
		"tus": func(r *taskRig) (*slow, string) {
			up := r.creates(len(data), headerMetadata, meta("path", "f"))
			return r.slow("PATCH", up, len(data), tusHeader(0)...), up
		},
		"tus with a checksum": func(r *taskRig) (*slow, string) {
			up := r.creates(len(data), headerMetadata, meta("path", "f"))
			return r.slow("PATCH", up, len(data), append(tusHeader(0), headerChecksum, "sha1 "+base64.StdEncoding.EncodeToString(sum[:]))...), up
		},
	} {
		for end, tear := range map[string]func(*slow){
			"closed": func(s *slow) { assert.NoError(t, s.conn.(*net.TCPConn).CloseWrite()) },
			"reset": func(s *slow) {
				assert.NoError(t, s.conn.(*net.TCPConn).SetLinger(0))
				assert.NoError(t, s.conn.Close())
			},
			"stalled": func(*slow) {},
		} {
			t.Run(name+"/"+end, func(t *testing.T) {
				r := runTasks(t, func(c *Config) {
					if end == "stalled" {
						c.TransferStall = time.Second
					}
				})
				s, up := open(r)
				s.send(data[:500_000])
				tear(s)
				kept := "500000"
				if strings.Contains(name, "checksum") {
					kept = "0"
				}
				if end != "reset" {
					code, body, h := s.answer()
					assert.Equal(t, map[string]int{"closed": 400, "stalled": 408}[end], code, body)
					assert.Equal(t, kept, h.Get(headerOffset))
				}
				require.True(t, soon(func() bool { return r.s.transfers.count() == 0 }))
				_, _, h := r.tus("HEAD", up, "")
				assert.Equal(t, kept, h.Get(headerOffset))
				r.again()
				_, _, h = r.tus("HEAD", up, "")
				require.Equal(t, kept, h.Get(headerOffset))
				at, _ := strconv.Atoi(kept)
				code, body, _ := r.patch(up, at, data[at:])
				assert.Contains(t, []int{200, 204}, code, body)
				r.has("f", data)
			})
		}
	}
}

// What comes slowly is not torn, and a peer that stops for less than the limit
// goes on.
func TestSlowTransfers(t *testing.T) {
	t.Parallel() // it mostly waits
	r := runTasks(t, func(c *Config) { c.TransferStall, c.StallAfter = 6*time.Second, 200*time.Millisecond })
	s := r.slow("PUT", r.opens("f", 8), 8)
	for i := range 8 {
		s.send([]byte{byte(i)})
		time.Sleep(800 * time.Millisecond) // longer than it may stop in all
	}
	code, _, _ := s.answer()
	assert.Equal(t, 200, code)

	data := random(32 << 20)
	require.NoError(t, os.WriteFile(r.at("big"), data, 0o600))
	path, _ := r.downloads("big")
	conn := dialFrom(t, "", r.addr)
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, r.token)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	got := sha1.New()
	for range 8 { // longer than StallAfter each time, and than TransferStall in all
		_, err = io.CopyN(got, res.Body, 1<<20)
		require.NoError(t, err)
		time.Sleep(800 * time.Millisecond)
	}
	_, err = io.Copy(got, res.Body)
	require.NoError(t, err)
	assert.Equal(t, hexSHA1(data), hex.EncodeToString(got.Sum(nil)))
	// One that stops for good is cut.
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, r.token)
	require.NoError(t, err)
	require.True(t, soon(func() bool { return r.s.transfers.count() == 1 }))
	require.True(t, soon(func() bool { return r.s.transfers.count() == 0 }))
	_, err = io.Copy(io.Discard, conn)
	_ = err // reset or closed
}

func TestDownloadGet(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(100_000)
	require.NoError(t, os.MkdirAll(r.at("dir"), 0o755))
	require.NoError(t, os.WriteFile(r.at("dir/Übung.bin"), data, 0o600))
	path, signed := r.downloads("dir/Übung.bin")
	_, _, first := r.ask("HEAD", path, "")
	etag := first.Get("ETag")
	require.Contains(t, etag, hexSHA1(data))
	sum := sha1.Sum(data)
	for _, tc := range []struct {
		name   string
		header []string
		code   int
		body   []byte
		ranged string
	}{
		{"whole", nil, 200, data, ""},
		{"a range", []string{"Range", "bytes=10-19"}, 206, data[10:20], "bytes 10-19/100000"},
		{"from an offset on", []string{"Range", "bytes=99990-"}, 206, data[99_990:], "bytes 99990-99999/100000"},
		{"the end", []string{"Range", "bytes=-5"}, 206, data[99_995:], "bytes 99995-99999/100000"},
		{"past the end", []string{"Range", "bytes=99998-200000"}, 206, data[99_998:], "bytes 99998-99999/100000"},
		{"several ranges", []string{"Range", "bytes=0-1,5-6"}, 200, data, ""},
		{"another unit", []string{"Range", "lines=0-1"}, 200, data, ""},
		{"from beyond", []string{"Range", "bytes=100000-"}, 416, nil, "bytes */100000"},
		{"if it is the same", []string{"Range", "bytes=0-9", "If-Range", etag}, 206, data[:10], "bytes 0-9/100000"},
		{"if it is not", []string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, data, ""},
		{"if it was not modified since", []string{"Range", "bytes=0-9", "If-Range", time.Now().UTC().Format(http.TimeFormat)}, 200, data, ""},
		{"known already", []string{"If-None-Match", etag}, 304, nil, ""},
		{"to go on with another", []string{"If-Match", `"other"`}, 412, nil, ""},
	} {
		for how, address := range map[string]string{"bearer": path, "signed": signed} {
			header := tc.header
			if how == "bearer" {
				header = append([]string{"Authorization", "Bearer " + r.token}, header...)
			}
			code, body, h := r.do("GET", address, "", header...)
			require.Equal(t, tc.code, code, "%s: %s", tc.name, body)
			assert.Equal(t, tc.ranged, h.Get("Content-Range"), tc.name)
			assert.Empty(t, h.Get("Last-Modified"))
			if code < 300 {
				assert.True(t, body == string(tc.body), tc.name)
				assert.Equal(t, "bytes", h.Get("Accept-Ranges"))
				assert.Equal(t, "sha=:"+base64.StdEncoding.EncodeToString(sum[:])+":", h.Get(headerDigest))
				assert.Equal(t, `attachment; filename="_bung.bin"; filename*=UTF-8''%C3%9Cbung.bin`, h.Get("Content-Disposition"))
				assert.Equal(t, etag, h.Get("ETag"))
			} else if code >= 400 {
				assert.Empty(t, h.Get(headerDigest), "it is not of what follows")
				assert.Empty(t, h.Get("Content-Disposition"))
			}
			// HEAD tells of the whole, whatever range it asks for.
			want := code
			if code == 206 || code == 416 {
				want = 200
			}
			head, body, hh := r.do("HEAD", address, "", header...)
			assert.Equal(t, want, head, tc.name)
			assert.Empty(t, body)
			assert.Empty(t, hh.Get("Content-Range"), tc.name)
			if want == 200 {
				assert.Equal(t, "100000", hh.Get("Content-Length"))
				assert.Equal(t, etag, hh.Get("ETag"))
			}
		}
	}
	require.NoError(t, os.WriteFile(r.at("empty"), nil, 0o600))
	empty, _ := r.downloads("empty")
	code, body, _ := r.ask("GET", empty, "")
	assert.Equal(t, 200, code)
	assert.Empty(t, body)

	// The same content in another file is another entity.
	require.NoError(t, os.WriteFile(r.at("same"), data, 0o600))
	same, _ := r.downloads("same")
	_, _, h := r.ask("HEAD", same, "")
	assert.NotEqual(t, etag, h.Get("ETag"))

	other := r.subtoken(url.Values{"subject": {"other"}})
	weak := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.upload"}})
	for token, want := range map[string]int{"": 401, "x": 401, other: 404, weak: 403, r.subtoken(url.Values{}): 200} {
		code, _, _ := r.do("GET", path, "", "Authorization", "Bearer "+token)
		assert.Equal(t, want, code)
	}
	for _, method := range []string{"PUT", "PATCH", "POST", "DELETE"} {
		code, _, h := r.ask(method, path, "x")
		assert.Equal(t, 405, code)
		assert.Equal(t, "GET, HEAD, OPTIONS", h.Get("Allow"))
		code, _, _ = r.do(method, signed, "x")
		assert.Equal(t, 405, code)
	}
	for _, name := range []string{"", "x", "00000000-0000-4000-8000-000000000000"} {
		code, _, _ := r.ask("GET", downloadPath+name, "")
		assert.Equal(t, 404, code)
	}
}

func TestSignedAddress(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	require.NoError(t, os.WriteFile(r.at("f"), []byte("content"), 0o600))
	_, signed := r.downloads("f")
	other, _ := r.downloads("f")
	_, query, _ := strings.Cut(signed, "?")
	values, err := url.ParseQuery(query)
	require.NoError(t, err)
	exp, err := strconv.ParseInt(values.Get("exp"), 10, 64)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Hour), time.Unix(exp, 0), time.Minute)
	path, _, _ := strings.Cut(signed, "?")
	for name, address := range map[string]string{
		"a later end":      fmt.Sprintf("%s?exp=%d&sig=%s", path, exp+1, values.Get("sig")),
		"another download": other + "?" + query,
		"no end":           path + "?sig=" + values.Get("sig"),
		"cut short":        signed[:len(signed)-2],
		"no signature":     path + "?exp=1&sig=",
		"no hex":           path + "?exp=1&sig=zz",
	} {
		code, body, h := r.do("GET", address, "", "Authorization", "Bearer "+r.token)
		assert.Equal(t, 403, code, name)
		one(t, body, h)
	}
	assert.Equal(t, errLate, r.s.tokens.checkURL(late(r.s.tokens, path)))
	code, body, _ := r.do("GET", signed, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "content", body)
	read := func(rec record) bool {
		return rec.Kind == "download.read" && rec.Actor == "main" && strings.HasPrefix(rec.Via, "http ")
	}
	require.True(t, soon(func() bool { return count(r.records(), read) == 1 }), "it stands for whoever opened it")
	r.again()
	code, _, _ = r.do("GET", signed, "")
	assert.Equal(t, 200, code, "the key stays")
}

// late is an address that has expired.
func late(a *authority, path string) (string, url.Values) {
	exp := strconv.FormatInt(time.Now().Add(-time.Second).Unix(), 10)
	return path, url.Values{"exp": {exp}, "sig": {hex.EncodeToString(a.signURL(path, exp))}}
}

// A file that is replaced goes on to whoever reads it, and to nobody else; one that
// is written to ends.
func TestDownloadReplaced(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := random(64<<20), random(1000)
	require.NoError(t, os.WriteFile(r.at("f"), old, 0o600))
	path, _ := r.downloads("f")
	get := func() *http.Response {
		req, err := http.NewRequest("GET", "http://"+r.addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		return res
	}
	var three []*http.Response
	for range 3 {
		three = append(three, get())
	}
	code, _, _ := r.patch(r.creates(len(data), headerMetadata, meta("path", "f")), 0, data)
	require.Equal(t, 204, code)
	r.has("f", data)
	for _, res := range three {
		got := sha1.New()
		_, err := io.Copy(got, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, hexSHA1(old), hex.EncodeToString(got.Sum(nil)))
	}
	code, body, h := r.ask("GET", path, "")
	assert.Equal(t, 410, code)
	one(t, body, h)

	require.NoError(t, os.WriteFile(r.at("g"), old, 0o600))
	path, _ = r.downloads("g")
	res := get()
	require.NoError(t, os.WriteFile(r.at("g"), []byte("short"), 0o600))
	_, err := io.Copy(io.Discard, res.Body)
	assert.Error(t, err)
	require.NoError(t, res.Body.Close())

	// Closed under a reader.
	require.NoError(t, os.WriteFile(r.at("h"), old, 0o600))
	path, _ = r.downloads("h")
	res = get()
	p := r.panel(r.token)
	p.ok("file_download_close", map[string]any{"file_id": strings.TrimPrefix(path, downloadPath)}, nil)
	_, err = io.Copy(io.Discard, res.Body)
	assert.Error(t, err)
	require.NoError(t, res.Body.Close())
}

func TestDataOptions(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for path, want := range map[string]string{downloadPath + "x": "GET", uploadPath + "x": "PATCH", tusPath: "POST", tusPath + "x": "DELETE", "/tus": "HEAD"} {
		code, body, h := r.do("OPTIONS", path, "", "Origin", "https://elsewhere.example", "Access-Control-Request-Method", want)
		assert.Equal(t, 204, code)
		assert.Empty(t, body)
		assert.Contains(t, h.Get("Access-Control-Allow-Methods"), want)
		assert.Contains(t, h.Get("Access-Control-Allow-Headers"), "Authorization")
	}
	_, _, h := r.do("OPTIONS", tusPath, "")
	for name, want := range map[string]string{
		headerTus: "1.0.0", "Tus-Version": "1.0.0", "Tus-Max-Size": "2147483647", "Tus-Checksum-Algorithm": "sha1,sha256,crc32",
		"Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration",
	} {
		assert.Equal(t, want, h.Get(name))
	}
}

func TestTusWhole(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.TusTimeout = time.Hour })
	data := random(100_000)
	given := meta("path", "a/b.bin", "sha1", strings.ToUpper(hexSHA1(data)), "kind", "test") + ",flag"
	code, body, h := r.tus("POST", "/tus", "", headerLength, "100000", headerMetadata, given)
	require.Equal(t, 201, code, body)
	up := h.Get("Location")
	require.Regexp(t, `^/tus/[0-9a-f-]{36}$`, up)
	expires, err := http.ParseTime(h.Get(headerExpires))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Hour), expires, time.Minute)
	head := func(offset string) http.Header {
		t.Helper()
		code, body, h := r.tus("HEAD", up, "")
		require.Equal(t, 200, code)
		assert.Empty(t, body)
		assert.Equal(t, offset, h.Get(headerOffset))
		assert.Equal(t, "no-store", h.Get("Cache-Control"))
		assert.Equal(t, "1.0.0", h.Get(headerTus))
		assert.Equal(t, given, h.Get(headerMetadata))
		for _, name := range []string{"Location", headerOffset, headerLength, headerTus, headerExpires, headerMetadata} {
			assert.Contains(t, h.Get("Access-Control-Expose-Headers"), name)
		}
		return h
	}
	assert.Equal(t, "100000", head("0").Get(headerLength))
	code, _, h = r.patch(up, 0, data[:40_000])
	assert.Equal(t, 204, code)
	assert.Equal(t, "40000", h.Get(headerOffset))
	assert.NotEmpty(t, h.Get(headerExpires))
	for _, wrong := range []int{0, 39_999, 40_001, 100_000} {
		code, body, h = r.patch(up, wrong, data[:1])
		assert.Contains(t, []int{409, 413}, code)
		one(t, body, h)
	}
	r.again()
	head("40000")
	code, _, h = r.tus("POST", up, string(data[40_000:]), append(tusHeader(40_000), headerOverride, "PATCH")...)
	assert.Equal(t, 204, code)
	assert.Equal(t, "100000", h.Get(headerOffset))
	r.has("a/b.bin", data)
	head("100000")
	r.again()
	head("100000")
	code, _, _ = r.patch(up, 100_000, nil)
	assert.Equal(t, 410, code)
}

func TestTusCreation(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.Limits.MaxFileSize = 1000 })
	require.NoError(t, os.Mkdir(r.at("dir"), 0o755))
	require.NoError(t, os.WriteFile(r.at("file"), nil, 0o600))
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		code   int
		body   string
		header []string
	}{
		"no length":              {400, "", nil},
		"both lengths":           {400, "", []string{headerLength, "1", headerDefer, "1"}},
		"a deferred 0":           {400, "", []string{headerDefer, "0"}},
		"a part of a file":       {400, "", []string{headerLength, "1", headerConcat, "partial"}},
		"a negative length":      {400, "", []string{headerLength, "-1"}},
		"a length in words":      {400, "", []string{headerLength, "ten"}},
		"too big":                {413, "", []string{headerLength, "1001"}},
		"beyond any number":      {413, "", []string{headerLength, "99999999999999999999"}},
		"metadata without a key": {400, "", []string{headerLength, "1", headerMetadata, "a,,b"}},
		"metadata, not base64":   {400, "", []string{headerLength, "1", headerMetadata, "path ?"}},
		"metadata twice":         {400, "", []string{headerLength, "1", headerMetadata, "a eA==,a eA=="}},
		"metadata, too long":     {400, "", []string{headerLength, "1", headerMetadata, meta("a", long)}},
		"a sha1 that is none":    {400, "", []string{headerLength, "1", headerMetadata, meta("sha1", "abc")}},
		"a way out":              {403, "", []string{headerLength, "1", headerMetadata, meta("path", "../x")}},
		"a way out by its name":  {404, "", []string{headerLength, "1", headerMetadata, meta("filename", "../../x")}},
		"the reserved directory": {403, "", []string{headerLength, "1", headerMetadata, meta("path", ".waybill/x")}},
		"a drive":                {400, "", []string{headerLength, "1", headerMetadata, meta("path", "c:/x")}},
		"a directory":            {409, "", []string{headerLength, "1", headerMetadata, meta("path", "dir")}},
		"below a file":           {409, "", []string{headerLength, "1", headerMetadata, meta("path", "file/x")}},
		"an empty path":          {409, "", []string{headerLength, "1", headerMetadata, "path"}},
		"another body":           {415, "abc", []string{headerLength, "3", "Content-Type", "text/plain"}},
		"more than it says":      {413, "abcd", []string{headerLength, "3", "Content-Type", tusBody}},
		"an unknown checksum":    {400, "abc", []string{headerLength, "3", "Content-Type", tusBody, headerChecksum, "md5 AAAA"}},
	} {
		before := len(r.records())
		code, body, h := r.tus("POST", tusPath, c.body, c.header...)
		assert.Equal(t, c.code, code, "%s: %s", name, body)
		one(t, body, h)
		assert.Empty(t, h.Get("Location"))
		assert.Len(t, r.records(), before+2, name)
	}
	for name, c := range map[string]struct {
		meta, path string
	}{
		"path":     {meta("path", "x/y", "filename", "z"), "x/y"},
		"filename": {meta("filename", "a b.txt"), "uploads/a b.txt"},
		"neither":  {"", ""},
	} {
		up := r.creates(3, headerMetadata, c.meta)
		code, _, _ := r.patch(up, 0, []byte("abc"))
		require.Equal(t, 204, code, name)
		if c.path == "" {
			c.path = "uploads/" + strings.TrimPrefix(up, tusPath)
		}
		r.has(c.path, []byte("abc"))
	}
	// Two to one place.
	r.creates(3, headerMetadata, meta("path", "same"))
	code, _, _ := r.tus("POST", tusPath, "", headerLength, "3", headerMetadata, meta("path", "same"))
	assert.Equal(t, 409, code)

	// With the bytes, all or some of them.
	with := []string{"Content-Type", tusBody, headerLength, "3"}
	code, _, h := r.tus("POST", tusPath, "abc", append(with, headerMetadata, meta("path", "with"))...)
	assert.Equal(t, 201, code)
	assert.Equal(t, "3", h.Get(headerOffset))
	r.has("with", []byte("abc"))
	code, _, h = r.tus("POST", tusPath, "ab", append(with, headerMetadata, meta("path", "some"))...)
	assert.Equal(t, 201, code)
	assert.Equal(t, "2", h.Get(headerOffset))
	code, _, _ = r.patch(h.Get("Location"), 2, []byte("c"))
	assert.Equal(t, 204, code)
	r.has("some", []byte("abc"))
	// Nothing at all.
	code, _, h = r.tus("HEAD", r.creates(0, headerMetadata, meta("path", "nothing")), "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "0", h.Get(headerOffset))
	r.has("nothing", nil)
}

// A client whose creation was done and not answered can but create again: that must
// not find its own name taken.
func TestTusCreatedAgain(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	ann := r.subtoken(url.Values{"subject": {"ann"}})
	create := func(token, name string, size int) (int, string) {
		t.Helper()
		code, _, h := r.do("POST", tusPath, "", headerTus, tusVersion, "Authorization", "Bearer "+token,
			headerLength, strconv.Itoa(size), headerMetadata, meta("filename", name))
		return code, h.Get("Location")
	}
	data := random(1000)
	r.clock.stop() // it may take longer than an upload is forgotten after
	code, lost := create(r.token, "f", 1000)
	require.Equal(t, 201, code)
	code, _ = create(r.token, "f", 1000)
	assert.Equal(t, 409, code, "it may be about to be used")
	r.clock.advance(time.Second)
	code, _ = create(ann, "f", 1000)
	assert.Equal(t, 409, code, "it is somebody else's")
	code, _ = create(r.token, "f", 999)
	assert.Equal(t, 409, code, "it is of another file")
	code, up := create(r.token, "f", 1000)
	require.Equal(t, 201, code)
	code, _, _ = r.tus("HEAD", lost, "")
	assert.Equal(t, 410, code)

	// Not while bytes come, or when some are there.
	s := r.slow("PATCH", up, 1000, tusHeader(0)...)
	require.True(t, soon(func() bool { return r.s.transfers.count() == 1 }))
	r.clock.advance(time.Hour)
	code, _ = create(r.token, "f", 1000)
	assert.Equal(t, 409, code)
	s.send(data[:10])
	require.NoError(t, s.conn.Close())
	require.True(t, soon(func() bool { return r.s.transfers.count() == 0 }))
	r.clock.advance(time.Hour)
	code, _ = create(r.token, "f", 1000)
	assert.Equal(t, 409, code)
	code, _, _ = r.patch(up, 10, data[10:])
	assert.Equal(t, 204, code)
	r.has("uploads/f", data)

	// Whose token sees all uploads ends none of others.
	code, up = create(ann, "g", 1000)
	require.Equal(t, 201, code)
	r.clock.advance(time.Hour)
	code, _ = create(r.token, "g", 1000)
	assert.Equal(t, 409, code)
	code, _, _ = r.tus("HEAD", up, "")
	assert.Equal(t, 200, code)
}

func TestTusDeferredLength(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(50_000)
	code, _, h := r.tus("POST", tusPath, "", headerDefer, "1", headerMetadata, meta("path", "f"))
	require.Equal(t, 201, code)
	up := h.Get("Location")
	code, _, h = r.tus("HEAD", up, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "1", h.Get(headerDefer))
	assert.Empty(t, h.Get(headerLength))
	code, _, _ = r.patch(up, 0, data[:30_000])
	assert.Equal(t, 204, code)
	for length, want := range map[string]int{"29999": 400, "x": 400, "99999999999": 413} {
		code, _, _ = r.patch(up, 30_000, nil, headerLength, length)
		assert.Equal(t, want, code, length)
	}
	code, _, _ = r.patch(up, 30_000, data[30_000:40_000], headerLength, "50000")
	assert.Equal(t, 204, code)
	code, _, h = r.tus("HEAD", up, "")
	assert.Equal(t, 200, code)
	assert.Equal(t, "50000", h.Get(headerLength))
	assert.Empty(t, h.Get(headerDefer))
	code, _, _ = r.patch(up, 40_000, nil, headerLength, "50001")
	assert.Equal(t, 400, code)
	code, _, _ = r.patch(up, 40_000, data[40_000:], headerLength, "50000")
	assert.Equal(t, 204, code)
	r.has("f", data)
}

func TestTusChecksum(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(90_000)
	up := r.creates(len(data), headerMetadata, meta("path", "f"))
	sum := func(kind string, b []byte) string {
		s1, s2 := sha1.Sum(b), sha256.Sum256(b)
		raw := map[string][]byte{"sha1": s1[:], "sha256": s2[:], "crc32": binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))}[kind]
		return kind + " " + base64.StdEncoding.EncodeToString(raw)
	}
	for i, kind := range []string{"sha1", "sha256", "crc32"} {
		at := i * 30_000
		part := data[at : at+30_000]
		code, body, h := r.patch(up, at, part, headerChecksum, sum(kind, data))
		assert.Equal(t, statusChecksum, code, body)
		assert.Equal(t, strconv.Itoa(at), h.Get(headerOffset))
		_, _, h = r.tus("HEAD", up, "")
		assert.Equal(t, strconv.Itoa(at), h.Get(headerOffset))
		for _, bad := range []string{"md5 AAAA", kind, kind + " ?", kind + " AAAA" + strings.Repeat("A", 80), sum(kind, part)[:10]} {
			code, _, _ = r.patch(up, at, part, headerChecksum, bad)
			assert.Equal(t, 400, code, bad)
		}
		code, body, h = r.patch(up, at, part, headerChecksum, sum(kind, part))
		assert.Equal(t, 204, code, body)
		assert.Equal(t, strconv.Itoa(at+30_000), h.Get(headerOffset))
	}
	r.has("f", data)
	code, _, h := r.tus("POST", tusPath, "abc", headerLength, "3", "Content-Type", tusBody, headerChecksum, sum("sha1", []byte("abd")))
	assert.Equal(t, statusChecksum, code)
	code, _, _ = r.tus("HEAD", h.Get("Location"), "")
	assert.Equal(t, 200, code, "it exists all the same")
}

func TestTusHeaders(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	up := r.creates(10)
	own := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.upload"}})
	other := r.subtoken(url.Values{"subject": {"other"}})
	weak := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file.download"}})
	for name, c := range map[string]struct {
		method, path, token string
		header              []string
		code                int
	}{
		"no token":           {"HEAD", up, "", nil, 401},
		"a wrong token":      {"POST", tusPath, "x", []string{headerLength, "1"}, 401},
		"another subject":    {"HEAD", up, other, nil, 404},
		"to end another's":   {"DELETE", up, other, nil, 404},
		"to go on another's": {"PATCH", up, other, tusHeader(0), 404},
		"not allowed":        {"POST", tusPath, weak, []string{headerLength, "1"}, 403},
		"not allowed to go":  {"PATCH", up, weak, tusHeader(0), 403},
		"its own":            {"HEAD", up, own, nil, 200},
		"no version":         {"HEAD", up, own, []string{headerTus, ""}, 412},
		"another version":    {"POST", tusPath, own, []string{headerTus, "0.2.2"}, 412},
		"get":                {"GET", up, own, nil, 405},
		"put":                {"PUT", up, own, nil, 405},
		"to make one there":  {"POST", up, own, []string{headerLength, "1"}, 405},
		"all of them":        {"GET", tusPath, own, nil, 405},
		"to end all":         {"DELETE", tusPath, own, nil, 405},
		"unknown":            {"HEAD", tusPath + "00000000-0000-4000-8000-000000000000", own, nil, 404},
		"no id":              {"PATCH", tusPath + "x", own, tusHeader(0), 404},
		"no offset":          {"PATCH", up, own, []string{"Content-Type", tusBody}, 400},
		"another body":       {"PATCH", up, own, []string{headerOffset, "0", "Content-Type", "application/octet-stream"}, 415},
		"no kind of body":    {"PATCH", up, own, []string{headerOffset, "0"}, 415},
		"too far":            {"PATCH", up, own, tusHeader(1), 409},
	} {
		body := ""
		if c.method == "PATCH" {
			body = "x"
		}
		code, text, h := r.do(c.method, c.path, body, append([]string{headerTus, tusVersion, "Authorization", "Bearer " + c.token}, c.header...)...)
		assert.Equal(t, c.code, code, "%s: %s", name, text)
		assert.Equal(t, tusVersion, h.Get(headerTus))
		if c.code == 412 {
			assert.Equal(t, tusVersion, h.Get("Tus-Version"))
		}
		if c.code >= 400 && c.method != "HEAD" {
			one(t, text, h)
		}
	}
	// The token in the address, which then leads on.
	code, _, h := r.do("POST", tusPath+"?token="+own, "", headerTus, tusVersion, headerLength, "3", headerMetadata, meta("path", "q"))
	require.Equal(t, 201, code)
	code, _, _ = r.do("PATCH", h.Get("Location"), "abc", tusHeader(0)...)
	assert.Equal(t, 204, code)
	r.has("q", []byte("abc"))
}

func TestTusTermination(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	up := r.creates(100, headerMetadata, meta("path", "f"))
	s := r.slow("PATCH", up, 100, tusHeader(0)...)
	s.send([]byte("x"))
	code, _, _ := r.tus("DELETE", up, "")
	assert.Equal(t, 204, code)
	code, _, _ = s.answer() // it ends by itself
	assert.Equal(t, 410, code)
	for _, method := range []string{"HEAD", "PATCH"} {
		code, _, _ := r.tus(method, up, "", tusHeader(0)...)
		assert.Equal(t, 410, code, method)
	}
	code, _, _ = r.tus("DELETE", up, "")
	assert.Equal(t, 404, code)
	up = r.creates(100, headerMetadata, meta("path", "f", "sha1", hexSHA1(nil)))
	code, body, h := r.patch(up, 0, random(100))
	assert.Equal(t, 422, code)
	one(t, body, h)
	code, _, _ = r.tus("HEAD", up, "")
	assert.Equal(t, 410, code)
}

func TestTusExpiration(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.TusTimeout = time.Hour })
	up := r.creates(100)
	r.clock.advance(59 * time.Minute)
	code, _, _ := r.patch(up, 0, []byte("x"))
	require.Equal(t, 204, code)
	r.clock.advance(2 * time.Hour)
	require.True(t, soon(func() bool { return r.s.engine.Stats().LiveUploads == 0 }))
	code, _, _ = r.tus("HEAD", up, "")
	assert.Equal(t, 410, code)
}

// A later PATCH ends the one before: a client that has lost its line need not wait
// for the daemon to notice.
func TestTusTakesOver(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(400_000)
	up := r.creates(len(data), headerMetadata, meta("path", "f"))
	s := r.slow("PATCH", up, len(data), tusHeader(0)...)
	s.send(data[:300_000])
	offset := func() int {
		_, _, h := r.tus("HEAD", up, "")
		n, err := strconv.Atoi(h.Get(headerOffset))
		require.NoError(t, err)
		return n
	}
	at := offset()
	code, _, _ := r.patch(up, at, data[at:])
	if at < 300_000 {
		assert.Equal(t, 409, code, "what the first one brought counts")
		at = offset()
		require.Equal(t, 300_000, at)
		code, _, _ = r.patch(up, at, data[at:])
	}
	assert.Equal(t, 204, code)
	code, _, _ = s.answer()
	assert.Contains(t, []int{409, 410}, code)
	r.has("f", data)
}

// HEAD tells what is durable and disturbs nothing, however often it comes.
func TestHeadsDuringAPatch(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(24 << 20)
	up := r.creates(len(data), headerMetadata, meta("path", "f", "sha1", hexSHA1(data)))
	done := make(chan struct{})
	var heads sync.WaitGroup
	var asked atomic.Int64
	heads.Go(func() {
		last := int64(0)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			code, _, h := r.tus("HEAD", up, "")
			if code == 423 {
				assert.NotEmpty(t, h.Get("Retry-After"), "complete and not in place yet")
			} else {
				at, err := strconv.ParseInt(h.Get(headerOffset), 10, 64)
				assert.NoError(t, err)
				assert.GreaterOrEqual(t, at, last)
				last = at
			}
			asked.Add(1)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	s := r.slow("PATCH", up, len(data), tusHeader(0)...)
	for at := 0; at < len(data); at += 1 << 20 {
		_, err := s.conn.Write(data[at : at+1<<20])
		require.NoError(t, err)
		mark := asked.Load()
		require.True(t, soon(func() bool { return asked.Load() > mark }))
	}
	code, body, h := s.answer()
	close(done)
	heads.Wait()
	assert.Equal(t, 204, code, body)
	assert.Equal(t, strconv.Itoa(len(data)), h.Get(headerOffset))
	r.has("f", data)
}

// checksumOf is Upload-Checksum of b.
func checksumOf(b []byte) string {
	sum := sha1.Sum(b)
	return "sha1 " + base64.StdEncoding.EncodeToString(sum[:])
}

// A failing disk: what is told and what is kept.
func TestDataFaults(t *testing.T) {
	t.Parallel()
	var failing atomic.Value
	failing.Store("")
	var errno atomic.Value
	errno.Store(unix.EIO)
	r := runTasks(t, func(c *Config) {
		c.FileFault = func(op, _ string, do func() error) error {
			if op == failing.Load() {
				return errno.Load().(unix.Errno)
			}
			return do()
		}
	})
	data := random(100_000)
	for step, want := range map[string]map[unix.Errno]int{
		"staged.write": {unix.EIO: 500, unix.ENOSPC: 507}, "staged.sync": {unix.EIO: 500}, "target.rename": {unix.EIO: 500, unix.ENOSPC: 507},
	} {
		for no, status := range want {
			name := step + no.Error()
			up := r.creates(len(data), headerMetadata, meta("path", name))
			code, _, _ := r.patch(up, 0, data[:60_000])
			require.Equal(t, 204, code)
			errno.Store(no)
			failing.Store(step)
			code, body, h := r.patch(up, 60_000, data[60_000:])
			failing.Store("")
			assert.Equal(t, status, code, name)
			one(t, body, h)
			if step == "target.rename" {
				require.True(t, soon(func() bool { return r.s.engine.Stats().LiveUploads == 0 || retry(r) }), "it is put in place later")
				continue
			}
			_, _, h = r.tus("HEAD", up, "")
			assert.Equal(t, "60000", h.Get(headerOffset))
			code, _, _ = r.patch(up, 60_000, data[60_000:])
			assert.Equal(t, 204, code)
			r.has(name, data)
		}
	}
}

// Bytes that somebody else completed, and that are not in their place, are not
// acknowledged as a whole file: it may still come to nothing.
func TestCompletedByAnother(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	r := runTasks(t, func(c *Config) {
		c.FileFault = func(op, _ string, do func() error) error {
			if op == "target.rename" && failing.Load() {
				return unix.EIO
			}
			return do()
		}
	})
	data := random(10)
	up := r.creates(10, headerMetadata, meta("path", "f"))
	s := r.slow("PATCH", up, 10, tusHeader(0)...)
	s.send(data[:5])
	require.True(t, soon(func() bool { // the reaper syncs it
		_, _, h := r.tus("HEAD", up, "")
		return h.Get(headerOffset) == "5"
	}))
	failing.Store(true)
	code, body, _ := r.ask("PUT", uploadPath+strings.TrimPrefix(up, tusPath), string(data[5:]), "Content-Range", "bytes 5-9/10")
	assert.Equal(t, 500, code, body)
	_, err := s.conn.Write(data[5:])
	require.NoError(t, err)
	code, body, h := s.answer()
	assert.Equal(t, 423, code, body)
	assert.Equal(t, "1", h.Get("Retry-After"))
	failing.Store(false)
	require.True(t, soon(func() bool { return r.s.engine.Stats().LiveUploads == 0 || retry(r) }))
	r.has("f", data)
}

// retry puts the clock forward to where a file is tried again.
func retry(r *taskRig) bool {
	r.clock.advance(10 * time.Second)
	time.Sleep(50 * time.Millisecond)
	return false
}

// A journal that fails answers nothing more.
func TestDataAndAFailedJournal(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	r := runTasks(t, func(c *Config) {
		c.JournalFault = func(_ string, do func() error) error {
			if failing.Load() {
				return unix.EIO
			}
			return do()
		}
	})
	up := r.creates(1000)
	s := r.slow("PATCH", up, 500, tusHeader(0)...)
	failing.Store(true)
	_, err := s.conn.Write(make([]byte, 500))
	require.NoError(t, err)
	got, err := io.ReadAll(s.conn)
	if err == nil {
		assert.Empty(t, got)
	}
	require.Error(t, r.wait())
	r.stop = func() error { return nil }
}

// A stop waits for what is under way, not for ever, and keeps what came.
func TestDataAndAStop(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.ShutdownGrace = 2 * time.Second })
	data := random(100_000)
	slowly := r.creates(len(data), headerMetadata, meta("path", "slowly"))
	quickly := r.creates(len(data), headerMetadata, meta("path", "quickly"))
	a := r.slow("PATCH", slowly, len(data), tusHeader(0)...)
	a.send(data[:60_000])
	checked := r.creates(len(data), headerMetadata, meta("path", "checked"))
	c := r.slow("PATCH", checked, len(data), append(tusHeader(0), headerChecksum, "crc32 AAAAAA==")...)
	c.send(data[:60_000])
	b := r.slow("PATCH", quickly, len(data), tusHeader(0)...)
	b.send(data[:60_000])
	require.NoError(t, os.WriteFile(r.at("big"), random(32<<20), 0o600))
	path, _ := r.downloads("big")
	conn := dialFrom(t, "", r.addr)
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, r.token)
	require.NoError(t, err)
	require.True(t, soon(func() bool { return r.s.transfers.count() == 4 }))
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	<-r.s.life.Done()
	_, err = b.conn.Write(data[60_000:])
	require.NoError(t, err)
	code, _, _ := b.answer()
	assert.Equal(t, 204, code)
	code, body, h := a.answer()
	assert.Equal(t, 503, code, body)
	assert.Equal(t, "60000", h.Get(headerOffset))
	code, body, h = c.answer()
	assert.Equal(t, 503, code, "%s: the bytes are not to blame", body)
	assert.Equal(t, "0", h.Get(headerOffset))
	require.NoError(t, within(t, stopped, "it does not stop"))
	r.rig = restart(t, r.cfg)
	r.has("quickly", data)
	_, _, h = r.tus("HEAD", slowly, "")
	assert.Equal(t, "60000", h.Get(headerOffset))
}

// Refusals come before the body.
func TestRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	up := r.opens("f", 100)
	for name, header := range map[string][]string{
		"too much":      {headerOffset, "0"},
		"no offset":     {},
		"a wrong token": {headerOffset, "0", "Authorization", "Bearer x"},
	} {
		conn := dialFrom(t, "", r.addr)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		head := "PATCH " + up + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n"
		if len(header) < 4 {
			head += "Authorization: Bearer " + r.token + "\r\n"
		}
		for i := 0; i < len(header); i += 2 {
			head += header[i] + ": " + header[i+1] + "\r\n"
		}
		_, err := io.WriteString(conn, head+"\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, res.StatusCode, 400, name)
	}
	assert.Zero(t, r.received())
}

// A daemon that starts or stops does not make clients of tus give up what they
// have: of HEAD they understand 423 alone.
func TestTusWhileStarting(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	ask := func(s *server, method, path string) int {
		f := new(front)
		if s != nil {
			f.server.Store(s)
		}
		req := httptest.NewRequest(method, path, nil)
		req.Header.Set(headerTus, tusVersion)
		req.Header.Set("Authorization", "Bearer "+r.token)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, req)
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		return w.Code
	}
	up := r.creates(10)
	require.NoError(t, r.stop())
	assert.Equal(t, 423, ask(nil, "HEAD", up))
	assert.Equal(t, 423, ask(r.s, "HEAD", up))
	for method, path := range map[string]string{"PATCH": up, "POST": tusPath, "GET": "/info"} {
		assert.Equal(t, 503, ask(nil, method, path))
	}
}

// A body without a length that turns out to be too long is refused, and not
// answered like one that came to its end.
func TestTooLongAfterAll(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for name, header := range map[string][]string{
		"creation": append(tusHeader(0), headerLength, "10"),
		"patch":    tusHeader(0),
		"upload":   {headerOffset, "0"},
	} {
		method, path := "PATCH", tusPath
		switch name {
		case "creation":
			method = "POST"
		case "patch":
			path = r.creates(10)
		case "upload":
			path = r.opens("f", 10)
		}
		req, err := http.NewRequest(method, "http://"+r.addr+path, io.MultiReader(strings.NewReader("0123456789a")))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+r.token)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, 413, res.StatusCode, name)
		assert.Equal(t, "0", res.Header.Get(headerOffset), name)
	}
}

// What nobody asked to read is not waited for, whoever sends it: a stranger could
// keep the connection for ever, and with as many as there may be all others out.
func TestBodiesThatNobodyReads(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for _, request := range []string{
		"POST /nowhere", "GET /healthz", "GET /info", "GET /metrics", "GET /journal", "GET /api/v1?token=x", "POST /info",
		"OPTIONS /tus/", "GET /download/x?sig=00",
	} {
		for _, length := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			conn := dialFrom(t, "", r.addr)
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", request, length)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err, "%s %s", request, length)
			assert.True(t, res.Close, request)
		}
	}
}

// Every code is some status.
func TestDataStatus(t *testing.T) {
	t.Parallel()
	for _, code := range actions.Codes() {
		status, line := dataStatus(&actions.Error{Code: code})
		assert.NotEmpty(t, line)
		assert.True(t, status >= 400 && status < 600, code)
	}
	status, line := dataStatus(io.EOF)
	assert.Equal(t, 500, status)
	assert.Equal(t, "internal server error", line)
}

func TestCurlUpAndDown(t *testing.T) {
	t.Parallel()
	c := newCurl(t)
	r := runTasks(t, nil)
	data := random(3<<20 + 77)
	args := func(path string, more ...string) []string {
		return append(more, "-f", "-H", "Authorization: Bearer "+r.token, "http://"+r.addr+path)
	}
	up := r.opens("f", len(data))
	require.NoError(t, c.run(args(up, "-o", os.DevNull, "-T", c.file("up", data))...))
	r.has("f", data)
	path, signed := r.downloads("f")
	require.NoError(t, c.run(args(path, "-C", "-", "-o", c.file("part", data[:300_000]))...))
	c.same(filepath.Join(c.dir, "part"), data)
	require.NoError(t, c.run("-f", "-C", "-", "-o", c.file("signed", data[:1<<20]), "http://"+r.addr+signed))
	c.same(filepath.Join(c.dir, "signed"), data)
	// Resumed: curl says from where by Content-Range.
	up = r.opens("g", len(data))
	code, _, _ := r.ask("PATCH", up, string(data[:1<<20]), headerOffset, "0")
	require.Equal(t, 204, code)
	require.NoError(t, c.run(args(up, "-C", strconv.Itoa(1<<20), "-o", os.DevNull, "-T", c.file("up", data))...))
	r.has("g", data)
	// Or the user says it, for PATCH.
	up = r.opens("patched", len(data))
	code, _, _ = r.ask("PATCH", up, string(data[:1<<20]), headerOffset, "0")
	require.Equal(t, 204, code)
	require.NoError(t, c.run(args(up, "-X", "PATCH", "-H", headerOffset+": "+strconv.Itoa(1<<20), "-C", strconv.Itoa(1<<20),
		"-o", os.DevNull, "-T", c.file("up", data))...))
	r.has("patched", data)
	// Without a length.
	up = r.opens("h", len(data))
	require.NoError(t, c.run(args(up, "-o", os.DevNull, "-H", "Transfer-Encoding: chunked", "-T", c.file("up", data))...))
	r.has("h", data)
}

// Bytes are never in memory as a whole, whatever they come over.
func TestDataIsStreamed(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("large transfers take long here")
	}
	const bound = 32 << 20
	size := *streamMiB << 20
	r := runTasks(t, nil)
	sum := sha1.New()
	_, err := io.CopyN(sum, &pattern{}, size)
	require.NoError(t, err)
	digest := hex.EncodeToString(sum.Sum(nil))
	flat := func(name string, transfer func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			before := heap()
			most := watchHeap(t)
			transfer(t)
			grown := int64(most()) - int64(before)
			t.Logf("the heap grew by %d KiB", grown>>10)
			assert.Less(t, grown, int64(bound))
		})
	}
	send := func(t *testing.T, method, path string, header ...string) {
		req, err := http.NewRequest(method, "http://"+r.addr+path, io.LimitReader(&pattern{}, size))
		require.NoError(t, err)
		req.ContentLength = size
		req.Header.Set("Authorization", "Bearer "+r.token)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Less(t, res.StatusCode, 300, string(body))
	}
	up := r.opens("put", int(size))
	flat("PUT", func(t *testing.T) { send(t, "PUT", up) })
	for name, check := range map[string]string{"tus": "", "tus with a checksum": "sha1 " + base64.StdEncoding.EncodeToString(sum.Sum(nil))} {
		up := r.creates(int(size), headerMetadata, meta("path", "put", "sha1", digest))
		flat(name, func(t *testing.T) {
			header := tusHeader(0)
			if check != "" {
				header = append(header, headerChecksum, check)
			}
			send(t, "PATCH", up, header...)
		})
	}
	path, _ := r.downloads("put")
	flat("GET", func(t *testing.T) {
		req, err := http.NewRequest("GET", "http://"+r.addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got := sha1.New()
		_, err = io.Copy(got, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, digest, hex.EncodeToString(got.Sum(nil)))
	})
}
