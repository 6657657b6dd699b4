package daemon

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// search asks for records of the journal.
func (r *rig) search(params url.Values) (int, []record, http.Header) {
	r.t.Helper()
	code, body, h := r.do("GET", "/journal?"+params.Encode(), "", "Authorization", "Bearer "+r.token)
	if code != 200 {
		return code, []record{{Kind: strings.TrimSpace(body)}}, h
	}
	return code, parseRecords(r.t, body), h
}

// mentions tells whether a session is named by a record.
func (x record) mentions(id string) bool {
	params, _ := x.Body["params"].(map[string]any)
	return x.Body["session"] == id || params["file_id"] == id
}

func those(list []record, match func(record) bool) (found []record) {
	for _, x := range list {
		if match(x) {
			found = append(found, x)
		}
	}
	return found
}

func TestJournalSearch(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p, other := r.panel(r.token), r.panel(r.subtoken(url.Values{"permissions": {"**"}, "subject": {"other"}}))
	p.put("dir/a", random(100))
	other.put("dir/sub/b", random(100))
	p.put("c", random(100))
	other.ok("get_file_info", map[string]any{"path": "//dir/./a"}, nil)
	var opened struct {
		ID string `json:"file_id"`
	}
	other.ok("file_download_request", map[string]any{"path": "dir/a"}, &opened)
	other.ok("file_download_close", map[string]any{"file_id": opened.ID}, nil)

	all := r.records()
	uploads := those(all, func(x record) bool { return x.Kind == "upload.opened" })
	require.Len(t, uploads, 3)
	session := func(i int) string { return uploads[i].Body["session"].(string) }
	asked := func(x record) bool { return x.Body["action"] == journalRead }
	mid := all[len(all)/2]

	for name, c := range map[string]struct {
		params url.Values
		want   func(record) bool
	}{
		"actor":             {url.Values{"actor": {"other"}}, func(x record) bool { return x.Actor == "other" }},
		"kind":              {url.Values{"kind": {"upload.placed,download.*"}}, func(x record) bool { return x.Kind == "upload.placed" || strings.HasPrefix(x.Kind, "download.") }},
		"session":           {url.Values{"session": {session(0)}}, func(x record) bool { return x.mentions(session(0)) }},
		"session, from":     {url.Values{"session": {session(0)}, "from": {fmt.Sprint(uploads[0].Seq + 1)}}, func(x record) bool { return x.mentions(session(0)) && x.Kind != "upload.opened" }},
		"session and actor": {url.Values{"session": {session(0)}, "actor": {"other"}}, func(record) bool { return false }},
		"path": {url.Values{"path": {"dir/a"}}, func(x record) bool {
			return x.mentions(session(0)) || x.mentions(opened.ID) || x.Body["action"] == "get_file_info"
		}},
		"path, after it was opened": {url.Values{"path": {"dir/a"}, "from": {fmt.Sprint(uploads[1].Seq)}}, func(x record) bool {
			return x.Seq >= uploads[1].Seq && (x.mentions(session(0)) || x.mentions(opened.ID) || x.Body["action"] == "get_file_info")
		}},
		"below a path": {url.Values{"path": {"dir/"}, "kind": {"upload.*"}}, func(x record) bool {
			return strings.HasPrefix(x.Kind, "upload.") && (x.mentions(session(0)) || x.mentions(session(1)))
		}},
		"about":         {url.Values{"about": {"c"}}, func(x record) bool { return x.mentions(session(2)) }},
		"about, starts": {url.Values{"about": {"c"}, "starts": {"1"}}, func(x record) bool { return x.mentions(session(2)) || x.Kind == "daemon.started" }},
		"document":      {url.Values{"document": {"none"}}, func(record) bool { return false }},
		"since":         {url.Values{"since": {mid.At}}, func(x record) bool { return x.At >= mid.At }},
		"until":         {url.Values{"until": {mid.At}, "to": {fmt.Sprint(len(all))}}, func(x record) bool { return x.At < mid.At }},
		"since and kind, to": {url.Values{"since": {mid.At}, "kind": {"upload.*"}, "to": {fmt.Sprint(len(all))}}, func(x record) bool {
			return x.At >= mid.At && strings.HasPrefix(x.Kind, "upload.")
		}},
		"since beyond the end": {url.Values{"since": {"9999-01-01T00:00:00Z"}}, func(record) bool { return false }},
		"an empty time":        {url.Values{"since": {mid.At}, "until": {mid.At}}, func(record) bool { return false }},
	} {
		code, got, h := r.search(c.params)
		require.Equal(t, 200, code, name)
		assert.Equal(t, "0", h.Get(headerJournalFirst), name)
		// Readings after all was read are in the answer, too.
		assert.Equal(t, those(all, c.want), those(got, func(x record) bool { return x.Seq < uint64(len(all)) }), name)
		for _, x := range got[len(those(all, c.want)):] {
			assert.True(t, asked(x), "%s: %v", name, x)
		}
	}

	for params, want := range map[string]string{
		"from=x":          "from is not a record number",
		"from=2&to=1":     "from is beyond to",
		"follow=maybe":    "follow is neither 0 nor 1",
		"starts=2":        "starts is neither 0 nor 1",
		"since=yesterday": "since is not a time such as 2026-01-02T15:04:05Z",
		"until=1":         "until is not a time such as 2026-01-02T15:04:05Z",
		"since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z": "since is after until",
		"session=1":       "session: neither a UUID nor a task's 128 hex digits",
		"kind=Upload":     "kind: neither a kind such as upload.stored nor a family such as upload.*",
		"path=C%3A%2Fx":   "path: ",
		"actor=a&actor=b": "actor is given more than once",
		"acter=a":         `there is no such parameter: "acter"`,
		"%zz":             "the parameters cannot be read",
	} {
		code, body, _ := r.do("GET", "/journal?"+params, "", "Authorization", "Bearer "+r.token)
		assert.Equal(t, 400, code, params)
		assert.Contains(t, body, want, params)
		last := r.records()
		x := those(last, func(x record) bool { return x.Kind == "action.refused" && asked(x) })
		require.NotEmpty(t, x, params)
		assert.Equal(t, "bad_param", x[len(x)-1].Body["code"], params)
	}
}

// follow reads records as they come until there are no more.
func (r *rig) follow(params url.Values) (<-chan record, func()) {
	r.t.Helper()
	params.Set("follow", "1")
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/journal?"+params.Encode(), nil)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	require.Equal(r.t, 200, res.StatusCode)
	got := make(chan record, 1<<16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(got)
		defer res.Body.Close()
		for lines := bufio.NewReader(res.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			got <- parseRecords(r.t, line)[0]
		}
	}()
	return got, func() { cancel(); <-done }
}

// Searches read, and go on reading, while others write; each record comes once
// and in order.
func TestJournalSearchFollows(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	uploads, end := r.follow(url.Values{"kind": {"upload.opened"}, "actor": {"main"}})
	defer end()
	below, end2 := r.follow(url.Values{"path": {"x/"}})
	defer end2()
	soonOver, end3 := r.follow(url.Values{"until": {"9999-01-01T00:00:00Z"}, "kind": {"upload.placed"}})
	defer end3()
	p := r.panel(r.token)
	const files = 20
	for i := range files {
		p.put(fmt.Sprintf("x/%d", i), random(10))
		p.put(fmt.Sprintf("y/%d", i), random(10))
		if i%5 == 0 {
			code, _, _ := r.search(url.Values{"path": {"x/"}})
			require.Equal(t, 200, code)
		}
	}
	last := uint64(0)
	for range 2 * files {
		x := within(t, uploads, "an upload is missing")
		assert.Greater(t, x.Seq, last)
		last = x.Seq
	}
	placed := 0
	for last = 0; placed < files; {
		x := within(t, below, "a record is missing")
		assert.Greater(t, x.Seq, last)
		last = x.Seq
		if x.Kind == "upload.placed" {
			placed++
			assert.True(t, strings.HasPrefix(x.Body["path"].(string), "x/"))
		}
	}
	for range 2 * files {
		within(t, soonOver, "a record is missing")
	}
	require.NoError(t, r.stop())
	for range uploads {
		t.Error("more than there was")
	}
}

// Only so many look through the journal at one time; who waits for more to come
// is not in the way of others, and one that is gone gives its place back.
func TestJournalSearchPlaces(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	tokens := []string{r.token}
	for len(tokens) < maxFollowers/maxFollowersEach+1 {
		tokens = append(tokens, r.subtoken(url.Values{"permissions": {journalPermission}, "subject": {fmt.Sprint("s", len(tokens))}}))
	}
	main := r.token
	full := func(token, kind string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/journal?follow=1&kind="+kind, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		assert.Equal(t, res.StatusCode == 503, res.Header.Get("Retry-After") != "")
		return res.StatusCode == 503
	}
	var ends []func()
	for _, token := range tokens[:len(tokens)-1] {
		r.token = token
		for range maxFollowersEach {
			got, end := r.follow(url.Values{"kind": {"daemon.started"}})
			within(t, got, "the start is missing")
			ends = append(ends, end)
		}
		assert.True(t, full(token, "daemon.started"), "one subject has its share")
	}
	assert.True(t, full(tokens[len(tokens)-1], "daemon.started"), "there are no more")
	r.token = main
	code, _, _ := r.search(url.Values{"kind": {"daemon.started"}})
	assert.Equal(t, 200, code, "one that does not follow is not in the way")
	assert.False(t, full(main, "&to=1"), "nor one that looks for nothing")
	ends[0]()
	require.True(t, soon(func() bool { return !full(main, "daemon.started&to=1") }), "a place is given back")
	for _, end := range ends[1:] {
		end()
	}
	r.token = main

	s, _ := bareServer(t)
	s.scans.Store(maxJournalScans - 1)
	ask := func(method, params string) *httptest.ResponseRecorder { return s.askJournal(method, params) }
	assert.Equal(t, 200, ask("GET", "actor=main").Code)
	assert.EqualValues(t, maxJournalScans-1, s.scans.Load(), "the place is free again")
	s.scans.Store(maxJournalScans)
	w := ask("GET", "actor=main")
	assert.Equal(t, 503, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.EqualValues(t, maxJournalScans, s.scans.Load())
	assert.Equal(t, 200, ask("HEAD", "actor=main").Code, "nothing is looked through")
	assert.Equal(t, 200, ask("GET", "to=0").Code, "no search")
}

// A search that would have to remember too much is broken off, and told why when
// it comes back, whatever it asks for besides; narrower ones are answered.
func TestJournalSearchTooWide(t *testing.T) {
	t.Parallel()
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{})
	require.NoError(t, err)
	var lines [][]byte
	for i := range 400 {
		lines = append(lines, journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(i), At: time.Date(2026, 3, 1, 12, 0, i, 0, time.UTC), Kind: "download.opened", Actor: "a", Via: "ws",
			Body: fmt.Appendf(nil, `{"session":"%08x-0000-4000-8000-000000000001","path":"a/%d","idle_ms":1000,"identity":{"dev":"1","ino":"1","size":1,"mtime_ns":"1","ctime_ns":"1"}}`, i, i)}))
	}
	require.NoError(t, log.Append(lines))
	s := bareServerOn(t, log)
	s.mostLearned = 100
	for _, params := range []string{"path=/", "about=a/", "path=a/&follow=1"} {
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { s.askJournal("GET", params) }, params)
		for _, more := range []string{"", "&from=101", "&kind=upload.*", "&follow=1", "&since=2026-03-01T12:00:01Z"} {
			if strings.Contains(params+more, "follow=1&follow=1") {
				continue
			}
			before := log.Head().Size
			w := s.askJournal("GET", params+more)
			assert.Equal(t, 400, w.Code, params+more)
			assert.Contains(t, w.Body.String(), "too wide", params+more)
			assert.Contains(t, w.Body.String(), "a longer path", params+more)
			line, err := log.Line(before)
			require.NoError(t, err)
			assert.Contains(t, string(line), `"action.refused"`)
		}
	}
	assert.Zero(t, s.scans.Load())
	assert.Zero(t, s.followers.all)
	assert.Empty(t, s.followers.of)
	for _, params := range []string{"path=a/7", "path=/&to=50", "path=/&until=2026-03-01T12:00:50Z", "actor=a", "session=00000007-0000-4000-8000-000000000001"} {
		assert.Equal(t, 200, s.askJournal("GET", params).Code, params)
	}
	for i := range 2 * maxTooWide {
		assert.Panics(t, func() { s.askJournal("GET", fmt.Sprint("document=", i, "&path=/")) })
	}
	assert.LessOrEqual(t, len(s.tooWide.at), maxTooWide)
}

func (s *server) askJournal(method, params string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	req := httptest.NewRequest(method, "/journal?"+params, nil)
	req.Header.Set("Authorization", "Bearer "+bareToken)
	s.journal(w, req)
	return w
}

// What was pruned is told of, not passed over: to who asks for records, by an
// error, to who looks for some, by where the answer begins.
func TestJournalOfWhichAPartIsGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	log, err := journal.Open(dir, journal.Options{})
	require.NoError(t, err)
	const held = journal.SegmentRecords
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var lines [][]byte
	for i := range held + 10 {
		r := journal.Record{
			Seq: uint64(i), At: at.Add(time.Duration(i) * time.Second), Kind: "action.answered", Actor: fmt.Sprint("a", i%2),
			Body: []byte(`{"action":"get_file_info","params":{"path":"x"},"code":"ok"}`),
		}
		lines = append(lines, journal.AppendRecord(nil, &r))
	}
	for part := range slices.Chunk(lines, journal.MaxBatchRecords) {
		require.NoError(t, log.Append(part))
	}
	s := bareServerOn(t, log)
	all := s.askJournal("GET", "")
	require.Equal(t, 200, all.Code)
	assert.Equal(t, "0", all.Header().Get(headerJournalFirst))
	require.NoError(t, log.Prune(held))

	for _, gone := range []string{"", "from=0", fmt.Sprint("from=", held-1), "follow=1", "to=5"} {
		w := s.askJournal("GET", gone)
		assert.Equal(t, 410, w.Code, gone)
		assert.Contains(t, w.Body.String(), fmt.Sprintf("the records before %d were pruned", held), gone)
		assert.Equal(t, fmt.Sprint(held), w.Header().Get(headerJournalFirst), gone)
	}
	assert.Equal(t, 200, s.askJournal("HEAD", "to=0").Code, "nothing is asked for that is gone")
	w := s.askJournal("GET", fmt.Sprint("from=", held))
	require.Equal(t, 200, w.Code)
	assert.True(t, bytes.HasPrefix(w.Body.Bytes(), append(lines[held], '\n')))

	for params, first := range map[string]int{
		"actor=a1": held + 1, "path=x": held, "about=x": held, "document=x&path=x": -1, "kind=action.answered&from=7": held,
		"since=2026-03-01T12:00:00Z": held, "until=2026-03-01T12:00:05Z": -1,
	} {
		w := s.askJournal("GET", params)
		require.Equal(t, 200, w.Code, params)
		assert.Equal(t, fmt.Sprint(held), w.Header().Get(headerJournalFirst), params)
		if first < 0 {
			assert.Empty(t, w.Body.String(), params)
			continue
		}
		assert.True(t, bytes.HasPrefix(w.Body.Bytes(), append(lines[first], '\n')), params)
	}
}
