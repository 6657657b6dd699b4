package daemon

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/sessions"
)

// oneLine asserts what every error is, and that its headers are.
func oneLine(t testing.TB, body string, h http.Header) {
	t.Helper()
	assert.Equal(t, 1, strings.Count(body, "\n"), body)
	assert.True(t, strings.HasSuffix(body, "\n"))
	assert.Equal(t, "text/plain; charset=utf-8", h.Get("Content-Type"))
	safe(t, h)
}

// safe asserts the headers of every answer.
func safe(t testing.TB, h http.Header) {
	t.Helper()
	assert.Equal(t, "no-store", h.Get("Cache-Control"))
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Equal(t, "*", h.Get("Access-Control-Allow-Origin"))
	for _, name := range []string{headerOffset, headerComplete, "ETag", "Content-Range", "Accept-Ranges", "Content-Disposition"} {
		assert.Contains(t, h.Get("Access-Control-Expose-Headers"), name)
	}
}

func reprOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func TestTaskGet(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(100_000)
	back := r.read(r.stored(data))
	etag := `"` + hexSum(data) + `"`
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
		{"known already", []string{"If-None-Match", etag}, 304, nil, ""},
		{"known otherwise", []string{"If-None-Match", `"other"`}, 200, data, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, body, h := r.http("GET", back, "", tc.header...)
			require.Equal(t, tc.code, code, body)
			assert.Equal(t, tc.ranged, h.Get("Content-Range"))
			safe(t, h)
			if code == 416 {
				oneLine(t, body, h)
				return
			}
			assert.Equal(t, string(tc.body), body)
			assert.Equal(t, etag, h.Get("ETag"))
			if code != 304 {
				assert.Equal(t, "bytes", h.Get("Accept-Ranges"))
				assert.Equal(t, "application/octet-stream", h.Get("Content-Type"))
				assert.Equal(t, `attachment; filename="doc1.bin"`, h.Get("Content-Disposition"))
			}
			head, body, hh := r.http("HEAD", back, "", tc.header...)
			assert.Equal(t, code, head)
			assert.Empty(t, body)
			assert.Equal(t, h.Get("Content-Length"), hh.Get("Content-Length"))
			assert.Equal(t, h.Get("ETag"), hh.Get("ETag"))
		})
	}
	// None of this finishes the task.
	assert.Equal(t, sessions.Open, r.status(back).State)

	empty := r.read(r.stored(nil))
	code, body, h := r.http("GET", empty, "", "Range", "bytes=0-")
	assert.Equal(t, 200, code)
	assert.Empty(t, body)
	assert.Equal(t, `"`+hexSum(nil)+`"`, h.Get("ETag"))
}

func TestTaskFileNames(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for name, want := range map[string]string{
		"plain.txt":        `attachment; filename="plain.txt"`,
		"two words.txt":    `attachment; filename="two words.txt"`,
		`a "quote".txt`:    `attachment; filename="a _quote_.txt"; filename*=UTF-8''a%20%22quote%22.txt`,
		"Übung+50%.txt":    `attachment; filename="_bung+50_.txt"; filename*=UTF-8''%C3%9Cbung%2B50%25.txt`,
		"文件.bin":           `attachment; filename="__.bin"; filename*=UTF-8''%E6%96%87%E4%BB%B6.bin`,
		"semi;colon=x.txt": `attachment; filename="semi;colon=x.txt"`,
	} {
		o := r.createNamed(name)
		_, _, h := r.http("GET", r.read(o), "")
		assert.Equal(t, want, h.Get("Content-Disposition"))
	}
}

func TestTaskHead(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	head := func(o *actions.TaskOpened, code int, offset, complete string) {
		t.Helper()
		got, _, h := r.http("HEAD", o, "")
		assert.Equal(t, code, got)
		assert.Equal(t, offset, h.Get(headerOffset))
		assert.Equal(t, complete, h.Get(headerComplete))
		safe(t, h)
	}
	o := r.create()
	head(o, 200, "0", "?0")
	r.part(o, []byte("four"))
	head(o, 200, "4", "?0")
	code, _, _ := r.http("PATCH", o, "five5", headerOffset, "4", headerComplete, "?1")
	require.Equal(t, 200, code)
	head(o, 200, "9", "?1")
	r.clock.advance(23 * time.Hour)
	head(o, 200, "9", "?1")
	r.again()
	head(o, 200, "9", "?1")
	r.clock.advance(2 * time.Hour)
	r.create() // the fold's clock is that of its facts
	require.True(t, soon(func() bool {
		r.create()
		code, _, _ := r.http("HEAD", o, "")
		return code == 401
	}), "forgotten after a day")

	cancelled := r.create()
	r.write(cancelled)
	head(cancelled, 410, "", "")
	expired := r.create()
	r.clock.advance(2 * time.Hour)
	head(expired, 410, "", "")
}

func TestTaskPut(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("before"), random(100_000)
	o := r.write(r.stored(old))
	r.part(o, []byte("to be discarded"))
	code, body, h := r.http("PUT", o, string(data), headerDigest, reprOf(data))
	require.Equal(t, 200, code, body)
	safe(t, h)
	assert.Equal(t, "application/json", h.Get("Content-Type"))
	assert.Equal(t, "?1", h.Get(headerComplete))
	assert.Equal(t, "100000", h.Get(headerOffset))
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	assert.Equal(t, map[string]any{
		"size": 100_000.0, "sha256": hexSum(data), "revision_id": r.status(o).Revision,
	}, answer)
	r.shows(o, data)
	for method, header := range map[string][]string{"PUT": nil, "PATCH": {headerOffset, "100000"}} {
		code, body, h = r.http(method, o, "again", header...)
		assert.Equal(t, 410, code, method)
		oneLine(t, body, h)
	}
	// An empty content, by a body without a length, too.
	o = r.write(o)
	code, body, _ = r.http("PUT", o, "")
	require.Equal(t, 200, code, body)
	r.shows(o, nil)
	o = r.write(o)
	put := r.slowPut("PUT", o)
	put.send([]byte("in pieces, "))
	put.send([]byte("without a length"))
	code, _ = put.end()
	require.Equal(t, 200, code)
	r.shows(o, []byte("in pieces, without a length"))
}

func TestTaskPatch(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old := []byte("before")
	o := r.write(r.stored(old))
	patch := func(want int, offset string, body string, header ...string) http.Header {
		t.Helper()
		if offset != "" {
			header = append(header, headerOffset, offset)
		}
		code, text, h := r.http("PATCH", o, body, header...)
		require.Equal(t, want, code, text)
		safe(t, h)
		if code >= 400 {
			oneLine(t, text, h)
		}
		return h
	}
	h := patch(204, "0", "four")
	assert.Equal(t, "4", h.Get(headerOffset))
	assert.Equal(t, "?0", h.Get(headerComplete))
	h = patch(204, "4", "more", headerComplete, "?0")
	assert.Equal(t, "8", h.Get(headerOffset))
	h = patch(204, "8", "")
	assert.Equal(t, "8", h.Get(headerOffset))
	for _, wrong := range []string{"0", "4", "9", "999999999999999"} {
		want := 409
		if len(wrong) > 10 {
			want = 413
		}
		h = patch(want, wrong, "x")
		if want == 409 {
			assert.Equal(t, "8", h.Get(headerOffset))
		}
	}
	for name, header := range map[string][]string{
		"no offset":            {},
		"an offset with words": {headerOffset, "8 bytes"},
		"a negative offset":    {headerOffset, "-8"},
		"an offset with sign":  {headerOffset, "+8"},
		"an empty offset":      {headerOffset, ""},
		"a long offset":        {headerOffset, "0000000000000008"},
		"complete as true":     {headerOffset, "8", headerComplete, "true"},
		"complete as 1":        {headerOffset, "8", headerComplete, "1"},
		"a digest cut short":   {headerOffset, "8", headerDigest, "sha-256=:AAAA:"},
		"a digest in hex":      {headerOffset, "8", headerDigest, "sha-256=" + hexSum(nil)},
		"a digest of nothing":  {headerOffset, "8", headerDigest, "sha-256"},
		"no base64":            {headerOffset, "8", headerDigest, "sha-256=:!!:"},
	} {
		code, text, h := r.http("PATCH", o, "x", header...)
		assert.Equal(t, 400, code, name)
		oneLine(t, text, h)
	}
	r.keeps(o, []byte("fourmore"), old)
	// Complete with an empty body.
	patch(200, "8", "", headerComplete, "?1", headerDigest, "md5=:AAAA:, "+reprOf([]byte("fourmore"))+";x=1")
	r.shows(o, []byte("fourmore"))
}

func TestTaskDigest(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("before"), random(50_000)
	o := r.write(r.stored(old))
	code, text, h := r.http("PUT", o, string(data), headerDigest, reprOf(old))
	assert.Equal(t, 422, code)
	oneLine(t, text, h)
	assert.Equal(t, "0", h.Get(headerOffset))
	r.keeps(o, nil, old)

	code, _, _ = r.http("PATCH", o, string(data[:10_000]), headerOffset, "0", headerDigest, reprOf(old))
	assert.Equal(t, 204, code, "it is compared on completion")
	code, _, _ = r.http("PATCH", o, string(data[10_000:]), headerOffset, "10000", headerComplete, "?1", headerDigest, reprOf(old))
	assert.Equal(t, 422, code)
	r.keeps(o, nil, old)
	code, _, _ = r.http("PUT", o, string(data), headerDigest, "sha-512=:AAAA:")
	assert.Equal(t, 200, code, "another digest is not looked at")
	r.shows(o, data)

	o = r.write(o)
	code, text, h = r.http("PUT", o, string(data), headerDigest, "sha-256=nonsense")
	assert.Equal(t, 400, code)
	oneLine(t, text, h)
	for _, header := range [][]string{
		{"Content-Range", "bytes 0-3/8"}, {headerOffset, "4"}, {headerComplete, "?0"}, {headerComplete, "yes"},
	} {
		code, text, h = r.http("PUT", o, "part", header...)
		assert.Equal(t, 400, code, header)
		oneLine(t, text, h)
	}
	r.keeps(o, nil, data)
}

func TestTaskStatuses(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	doc := r.stored([]byte("x"))
	back, into := r.read(doc), r.write(doc)
	ask := func(want int, method, path, token string, header ...string) http.Header {
		t.Helper()
		if token != "" {
			header = append(header, "Authorization", token)
		}
		code, body, h := r.do(method, path, "", header...)
		assert.Equal(t, want, code, "%s %s", method, path)
		if method != "HEAD" {
			oneLine(t, body, h)
		}
		return h
	}
	for _, o := range []*actions.TaskOpened{back, into} {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			for _, token := range []string{"", "Bearer " + strings.Repeat("ab", 32), "Basic " + o.Token, "Bearer " + r.token} {
				h := ask(401, method, taskURL(o), token)
				assert.Equal(t, "Bearer", h.Get("WWW-Authenticate"))
			}
			ask(401, method, taskPath+strings.Repeat("ab", 64)+"/"+o.FakeName, "Bearer "+o.Token)
			ask(404, method, taskPath+o.ID+"/other", "Bearer "+o.Token)
			ask(404, method, taskURL(o)+"/more", "Bearer "+o.Token)
			ask(404, method, taskPath+o.ID, "Bearer "+o.Token)
			ask(404, method, taskPath+o.ID+"/", "Bearer "+o.Token)
			ask(404, method, taskPath, "Bearer "+o.Token)
		}
	}
	for _, method := range []string{"PUT", "PATCH", "POST", "DELETE"} {
		h := ask(405, method, taskURL(back), "Bearer "+back.Token, headerOffset, "0")
		assert.Equal(t, "GET, HEAD, OPTIONS", h.Get("Allow"))
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		h := ask(405, method, taskURL(into), "bearer "+into.Token)
		assert.Equal(t, "HEAD, PUT, PATCH, OPTIONS", h.Get("Allow"))
	}
	assert.Positive(t, r.refused(into, acl.CodeTaskUnknown))

	// Cancelled, expired, target gone, user gone.
	r.user("bob")
	id, bob := "bobs", "bob"
	bobs := r.mustDoc("bob", &actions.CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id}}).(*actions.TaskOpened)
	bobsRead := r.mustDoc("bob", docFile(id, "read")).(*actions.TaskOpened)
	gone, goneRead := r.create(), r.read(r.stored(nil))
	expired, expiredRead := r.create(), r.read(r.stored(nil))
	finished := r.read(r.stored(nil))
	_, code := r.ftp(finished).get("RETR %s", finished.FakeName)
	require.Equal(t, 226, code)
	r.write(into)
	r.mustDoc("admin", &actions.OperateUser{UserOp: acl.UserOp{Action: "delete", Username: &bob}})
	r.mustDoc("admin", docFile(gone.Key, "permanently_delete"))
	r.mustDoc("admin", docFile(goneRead.Key, "permanently_delete"))
	r.clock.advance(time.Hour)
	for name, o := range map[string]*actions.TaskOpened{
		"superseded": into, "of a user who is gone": bobs, "target gone": gone, "expired": expired,
	} {
		for _, method := range []string{"HEAD", "PUT", "PATCH"} {
			code, body, h := r.http(method, o, "", headerOffset, "0")
			assert.Equal(t, 410, code, "%s %s", method, name)
			if method != "HEAD" {
				oneLine(t, body, h)
			}
		}
	}
	for name, o := range map[string]*actions.TaskOpened{
		"finished": finished, "of a user who is gone": bobsRead, "target gone": goneRead, "expired": expiredRead,
	} {
		for _, method := range []string{"HEAD", "GET"} {
			code, _, _ := r.http(method, o, "")
			assert.Equal(t, 410, code, "%s %s", method, name)
		}
	}
}

func TestTaskOptions(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	code, _, h := r.do("OPTIONS", taskPath+"x/y", "", "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "PATCH")
	assert.Equal(t, 204, code)
	assert.Equal(t, "*", h.Get("Access-Control-Allow-Origin"))
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH"} {
		assert.Contains(t, h.Get("Access-Control-Allow-Methods"), method)
	}
	for _, header := range []string{"Authorization", "Range", "If-Range", "If-None-Match", headerOffset, headerComplete, headerDigest} {
		assert.Contains(t, h.Get("Access-Control-Allow-Headers"), header)
	}
	_, _, h = r.do("OPTIONS", "/info", "")
	assert.NotContains(t, h.Get("Access-Control-Allow-Methods"), "PUT")
}

func TestTaskRefusals(t *testing.T) {
	t.Parallel()
	const most = 100_000
	var full atomic.Bool
	r := runTasks(t, func(c *Config) {
		c.Limits.MaxFileSize = most
		c.FileFault = func(op, name string, do func() error) error {
			if op == "staged.write" && full.Load() {
				return unix.ENOSPC
			}
			return do()
		}
	})
	old, data := []byte("before"), random(50_000)
	t.Run("too big", func(t *testing.T) {
		o := r.write(r.stored(old))
		r.part(o, data)
		code, body, h := r.http("PUT", o, string(random(most+1)))
		assert.Equal(t, 413, code)
		oneLine(t, body, h)
		code, body, h = r.http("PATCH", o, string(data)+"x", headerOffset, "50000")
		assert.Equal(t, 413, code)
		oneLine(t, body, h)
		r.keeps(o, data, old)
		put := r.slowPut("PATCH", o, headerOffset, "50000") // of no length that is known
		put.send(data)
		_, _ = put.body.Write([]byte("x")) // it may have been answered
		code, _ = put.end()
		assert.Equal(t, 413, code)
		code, _, _ = r.http("PUT", o, string(random(most)))
		assert.Equal(t, 200, code)
	})
	t.Run("disk full", func(t *testing.T) {
		o := r.write(r.stored(old))
		r.part(o, data)
		full.Store(true)
		code, body, h := r.http("PATCH", o, "more", headerOffset, "50000", headerComplete, "?1")
		full.Store(false)
		assert.Equal(t, 507, code)
		oneLine(t, body, h)
		assert.Equal(t, "50000", h.Get(headerOffset))
		r.keeps(o, data, old)
		code, _, _ = r.http("PATCH", o, "", headerOffset, "50000", headerComplete, "?1")
		assert.Equal(t, 200, code)
		r.shows(o, data)
	})
	t.Run("rights gone at publication", func(t *testing.T) {
		r.user("eve")
		id, eve := "eves", "eve"
		o := r.mustDoc("eve", &actions.CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id}}).(*actions.TaskOpened)
		r.mustDoc("admin", &actions.OperateUser{UserOp: acl.UserOp{Action: "set_groups", Username: &eve, NewGroups: json.RawMessage(`{}`)}})
		r.mustDoc("admin", &actions.SetAccess{SetAccess: doctree.SetAccess{
			ID: &id, AccessRules: json.RawMessage(`{"write":[{"match":"all","match_groups":[{"match":"all","groups":{"match":"all","require":["sysop"]}}]}]}`),
		}})
		code, body, h := r.http("PUT", o, "x")
		assert.Equal(t, 403, code)
		oneLine(t, body, h)
		code, _, _ = r.http("PUT", o, "x")
		assert.Equal(t, 410, code)
	})
	t.Run("cancelled meanwhile", func(t *testing.T) {
		o := r.write(r.stored(old))
		mark := r.received()
		put := r.slowPut("PUT", o)
		put.send(data)
		r.soonReceived(mark + len(data))
		r.mustDoc("admin", docFile(o.Key, "delete"))
		code, _ := put.answer() // it ends by itself
		assert.Equal(t, 410, code)
	})
	t.Run("cut short", func(t *testing.T) {
		o := r.write(r.stored(old))
		conn := r.rawPut(o, 60_000, data)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, 400, res.StatusCode)
		oneLine(t, string(body), res.Header)
		assert.Equal(t, "50000", res.Header.Get(headerOffset))
		r.keeps(o, data, old)
	})
	t.Run("reset", func(t *testing.T) {
		o := r.write(r.stored(old))
		mark := r.received()
		conn := r.rawPut(o, 60_000, data)
		r.soonReceived(mark + len(data))
		require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
		require.NoError(t, conn.Close())
		r.soonStatus(o, "what came is not kept", func(st actions.TaskStatus) bool { return st.Size == int64(len(data)) })
		r.keeps(o, data, old)
		code, _, h := r.http("HEAD", o, "")
		assert.Equal(t, 200, code)
		assert.Equal(t, "50000", h.Get(headerOffset))
	})
}

// rawPut sends a PUT of a length, and of its body what there is.
func (r *taskRig) rawPut(o *actions.TaskOpened, length int, body []byte) net.Conn {
	r.t.Helper()
	conn := dialFrom(r.t, "", r.addr)
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		taskURL(o), o.Token, length, body)
	require.NoError(r.t, err)
	return conn
}

// A sender may take its time, but not stop.
func TestTaskSenderStalls(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.TaskStall = time.Second })
	o := r.create()
	put := r.slowPut("PUT", o)
	for range 6 { // longer in all than it may stop
		put.send([]byte("x"))
		time.Sleep(200 * time.Millisecond)
	}
	code, _ := put.end()
	require.Equal(t, 200, code)

	o = r.write(o)
	conn := r.rawPut(o, 100, []byte("and no more"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, 408, res.StatusCode)
	assert.Equal(t, "11", res.Header.Get(headerOffset))
	r.keeps(o, []byte("and no more"), []byte("xxxxxx"))

	// Nor after a refusal, which leaves its body unread.
	conn = r.rawPut(&actions.TaskOpened{ID: o.ID, FakeName: o.FakeName, Token: "wrong"}, 100, nil)
	res, err = http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, 401, res.StatusCode)
	_, err = io.Copy(io.Discard, conn)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is closed")
}

// A new upload ends the one that runs, over whatever it comes; its bytes count.
func TestTaskTakesOver(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(90_000)
	begin := func() (*actions.TaskOpened, *slowPut) {
		o := r.create()
		mark := r.received()
		put := r.slowPut("PUT", o)
		put.send(data[:40_000])
		r.soonReceived(mark + 40_000)
		return o, put
	}
	for name, finish := range map[string]func(o *actions.TaskOpened){
		"PUT": func(o *actions.TaskOpened) {
			code, _, _ := r.http("PUT", o, string(data))
			assert.Equal(t, 200, code)
		},
		"PATCH": func(o *actions.TaskOpened) {
			code, _, _ := r.http("PATCH", o, string(data[40_000:]), headerOffset, "40000", headerComplete, "?1")
			assert.Equal(t, 200, code)
		},
		"APPE": func(o *actions.TaskOpened) {
			assert.Equal(t, 226, r.ftp(o).put(data[40_000:], "APPE %s", o.FakeName))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, put := begin()
			finish(o)
			code, _ := put.answer()
			assert.Contains(t, []int{409, 410}, code)
			r.shows(o, data)
		})
	}
	t.Run("in its turn", func(t *testing.T) {
		o, put := begin()
		code, _, h := r.http("PATCH", o, "", headerOffset, "40000")
		assert.Equal(t, 204, code)
		assert.Equal(t, "40000", h.Get(headerOffset))
		code, h = put.answer()
		assert.Equal(t, 409, code)
		assert.NotEmpty(t, h.Get(headerOffset), "how far it had got when it was told to end")
	})
	t.Run("an upload over FTPS", func(t *testing.T) {
		o := r.create()
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		mark := r.received()
		_, err := d.tls.Write(data[:40_000])
		require.NoError(t, err)
		r.soonReceived(mark + 40_000)
		code, _, _ := r.http("PATCH", o, string(data[40_000:]), headerOffset, "40000", headerComplete, "?1")
		assert.Equal(t, 200, code)
		code, text := c.reply()
		assert.Contains(t, []int{426, 550}, code, text)
		r.shows(o, data)
	})
}

func TestTaskGetsAtOnce(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(3 << 20)
	back := r.read(r.stored(data))
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			from := i * 100_000
			req, err := http.NewRequest("GET", "http://"+r.addr+taskURL(back), nil)
			if !assert.NoError(t, err) {
				return
			}
			req.Header.Set("Authorization", "Bearer "+back.Token)
			req.Header.Set("Range", "bytes="+strconv.Itoa(from)+"-")
			res, err := http.DefaultClient.Do(req)
			if !assert.NoError(t, err) {
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(data[from:], got))
		})
	}
	all.Wait()
	assert.Equal(t, sessions.Open, r.status(back).State)
}

// A reader that takes nothing is cut by the same rule as everywhere.
func TestTaskReaderStalls(t *testing.T) {
	t.Parallel()
	r := runTasks(t, func(c *Config) { c.StallAfter = 200 * time.Millisecond })
	back := r.read(r.stored(random(64 << 20)))
	res := r.slowGet(back)
	require.True(t, soon(func() bool { return r.s.transfers.count() == 0 }))
	_, err := io.Copy(io.Discard, res.Body)
	assert.Error(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, sessions.Open, r.status(back).State)
}

func TestTaskCancelledUnderADownload(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.stored(random(64 << 20))
	back := r.read(o)
	res := r.slowGet(back)
	r.mustDoc("admin", docFile(o.Key, "permanently_delete"))
	_, err := io.Copy(io.Discard, res.Body)
	assert.Error(t, err)
	require.NoError(t, res.Body.Close())
}

// Every code has a status of its own, or is none that can come of a task.
func TestTaskCodes(t *testing.T) {
	t.Parallel()
	for _, code := range acl.Codes() {
		status, line := taskStatus(code)
		assert.NotEmpty(t, line)
		reply := ftpReplyOf(&acl.Refusal{Code: code})
		switch code {
		case acl.CodeTaskUnknown, acl.CodeTaskGone, acl.CodeTaskDirection, acl.CodeTaskOffset, acl.CodeTaskDigest,
			acl.CodeTaskDenied, acl.CodeTooBig, acl.CodeDiskFull, acl.CodeBroken, acl.CodeBusy:
			assert.Less(t, status, 600)
			assert.NotEqual(t, 500, status, code)
			if code != acl.CodeTaskDigest { // nobody announces one over FTPS
				assert.NotEqual(t, 451, reply.code, code)
			}
		case acl.CodeNotFound, acl.CodeBadRequest: // over FTPS in words of their own
			assert.Contains(t, []int{404, 400}, status)
		default:
			assert.Equal(t, 500, status)
			assert.Equal(t, 451, reply.code)
		}
	}
}

// A use of a task that a wire refuses by itself leaves its record as one that the
// engine refuses does (CFMS.md §8).
func TestRefusedUsesOfATaskAreRecorded(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	refusals := func(via, code string) int {
		return count(r.records(), func(rec record) bool {
			return rec.Kind == "action.refused" && strings.HasPrefix(rec.Via, via) && rec.Body["code"] == code && rec.Actor == "admin"
		})
	}
	path := taskPath + o.ID + "/"
	bearer := []string{"Authorization", "Bearer " + o.Token}
	for _, c := range []struct {
		method, name string
		header       []string
		status       int
		code         string
	}{
		{"PUT", "another", nil, 404, "not_found"},
		{"GET", o.FakeName, nil, 405, "wrong_direction"},
		{"PATCH", o.FakeName, nil, 400, "bad_request"},
	} {
		status, _, _ := r.do(c.method, path+c.name, "x", append(c.header, bearer...)...)
		assert.Equal(t, c.status, status)
		assert.Equal(t, 1, refusals("http ", c.code), c.code)
	}
	ftp := r.ftp(o)
	ftp.epsv()
	ftp.want(553, "STOR another")
	ftp.epsv()
	ftp.want(550, "RETR %s", o.FakeName)
	ftp.epsv()
	ftp.want(350, "REST 5")
	ftp.want(554, "STOR %s", o.FakeName)
	for _, code := range []string{"not_found", "wrong_direction", "wrong_offset"} {
		assert.Equal(t, 1, refusals("ftps ", code), code)
	}
}
