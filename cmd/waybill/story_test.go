package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/journal"
)

// evidence is where what is printed of the pinned journals is kept.
const evidence = "../../testdata/evidence"

func pinnedJournal(name string) string { return filepath.Join("../../testdata/journal", name) }

// here runs a command within this process.
func here(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, talk bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(stdin), &out, &talk, func(string) (string, bool) { return "", false })
	return result{code, out.String(), strings.TrimSuffix(talk.String(), "\n")}
}

// What the pinned journals tell, word for word. WAYBILL_KEEP=1 keeps what is
// printed now; read the difference before it is committed.
func TestStories(t *testing.T) {
	t.Parallel()
	for file, args := range map[string][]string{
		"story-upload.txt":     {"story", "11111111-0000-4000-8000-000000000001", "v1.jsonl"},
		"story-cut-short.txt":  {"story", "11111111-0000-4000-8000-000000000005", "v1.jsonl"},
		"story-rejected.txt":   {"story", "b", "v1.jsonl"},
		"story-jobs.txt":       {"story", "e", "v1.jsonl"},
		"story-job.txt":        {"story", "33333333-0000-4000-8000-000000000003", "v1.jsonl"},
		"story-below.txt":      {"story", "plugins/", "v1.jsonl"},
		"story-refused.txt":    {"story", "11111111-0000-4000-8000-000000000009", "v1.jsonl"},
		"story-document.txt":   {"story", "doc2", "v1-library.jsonl"},
		"story-names.txt":      {"story", "/Test Dir/hello.txt", "v1-library.jsonl"},
		"story-directory.txt":  {"story", "d1", "v1-library.jsonl"},
		"story-revision.txt":   {"story", "1e12db20f4afb3e9263ff815b02e0984", "v1-library.jsonl"},
		"story-task.txt":       {"story", "4b0b2a41-cd7b-42ee-b981-b1f8cd8146e6", "v1-library.jsonl"},
		"story-no-such.txt":    {"story", "none", "v1-library.jsonl"},
		"stats-transfers.txt":  {"stats", "", "v1.jsonl"},
		"stats-library.txt":    {"stats", "", "v1-library.jsonl"},
		"stats-transfers.json": {"stats", "--json", "v1.jsonl"},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			command := []string{"journal", args[0], "--export", pinnedJournal(args[2])}
			if args[1] != "" {
				command = append(command, args[1])
			}
			r := here(t, "", command...)
			require.Zero(t, r.code, r.err)
			if os.Getenv("WAYBILL_KEEP") != "" {
				require.NoError(t, os.WriteFile(filepath.Join(evidence, file), []byte(r.out), 0o644))
			}
			want, err := os.ReadFile(filepath.Join(evidence, file))
			require.NoError(t, err)
			assert.Equal(t, string(want), r.out)
		})
	}
}

// Every kind that is about a transfer, a job or a document has words.
func TestStoryWordsAreComplete(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(pinnedJournal("*.jsonl"))
	require.NoError(t, err)
	seen := map[string]bool{"action.answered": true, "action.refused": true, "object.dropped": true, "user.avatar_set": true}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(raw) {
			var e journal.Entry
			require.NoError(t, journal.ParseEntry(bytes.TrimSuffix(line, []byte("\n")), &e))
			var b map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(e.Body, &b))
			for _, about := range []string{"session", "job", "node", "nodes", "revision"} {
				if _, ok := b[about]; ok {
					seen[e.Kind] = true
				}
			}
		}
	}
	for kind := range seen {
		assert.Contains(t, storyWords, kind)
	}
	for kind := range storyWords {
		assert.True(t, seen[kind], "%s: no such kind in the pinned journals", kind)
	}
}

// With --json a story is the records themselves.
func TestStoryAsRecords(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(pinnedJournal("v1.jsonl"))
	require.NoError(t, err)
	lines := strings.SplitAfter(string(raw), "\n")
	r := here(t, string(raw), "journal", "story", "--json", "--export", "-", "plugins/a.jar")
	require.Zero(t, r.code, r.err)
	assert.Equal(t, strings.Join(lines[10:18], "")+strings.Join(lines[30:37], ""), r.out)
}

func TestStoryOfNothing(t *testing.T) {
	t.Parallel()
	export := pinnedJournal("v1.jsonl")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":          {[]string{"nothing"}, exitNoInput, "nothing in the journal is about nothing"},
		"nothing, as JSON": {[]string{"nothing", "--json"}, exitNoInput, "nothing in the journal is about nothing"},
		"another reading":  {[]string{"plugins/a.jar", "--as", "document"}, exitNoInput, "nothing in the journal"},
		"no session":       {[]string{"plugins/a.jar", "--as", "session"}, exitUsage, "session: neither a UUID"},
		"no path":          {[]string{"C:/x", "--as", "path"}, exitUsage, "path: "},
	} {
		r := here(t, "", append([]string{"journal", "story", "--export", export}, c.args...)...)
		assert.Equal(t, c.code, r.code, name)
		assert.Contains(t, r.err, c.says, name)
		assert.Empty(t, r.out, name)
	}
}

// Whatever is in a name, a terminal gets only what can be printed, and a record
// keeps to its line.
func TestStoryIsHarmless(t *testing.T) {
	t.Parallel()
	var lines []byte
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for i, f := range []journal.Fact{
		journal.NewFact("upload.opened", map[string]any{"session": "11111111-0000-4000-8000-000000000001", "path": "a\x1b[2J\tb\nc\u202e", "size": 1}),
		journal.NewFact("upload.rejected", map[string]any{"session": "11111111-0000-4000-8000-000000000001", "code": "x", "message": "\x07\r\nend: placed"}),
	} {
		r := journal.Record{Seq: uint64(i), At: at, Kind: f.Kind, Actor: "m\x1b]0;x\x07", Via: "ws\t1", Ref: "r", Body: f.Body}
		lines = append(journal.AppendRecord(lines, &r), '\n')
	}
	for _, command := range [][]string{{"story", "11111111-0000-4000-8000-000000000001"}, {"stats"}} {
		r := here(t, string(lines), append(append([]string{"journal"}, command...), "--export", "-")...)
		require.Zero(t, r.code, r.err)
		assert.NotContains(t, r.out, "\x1b")
		assert.NotContains(t, r.out, "\x07")
		assert.NotContains(t, r.out, "\t")
		assert.NotContains(t, r.out, "\u202e")
		assert.NotContains(t, r.out, "\nend: placed")
	}
}

// A stopped daemon, a running one and an export tell the same.
func TestStoryFromEverySource(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	for _, args := range [][]string{{"story", "f1"}, {"story", "f1", "--json"}, {"stats", "--json"}} {
		want := waybill(t, append(append([]string{"journal"}, args...), "--export", export)...)
		require.Zero(t, want.code, want.err)
		got := waybill(t, append(append([]string{"journal"}, args...), "--state", s.state)...)
		require.Zero(t, got.code, got.err)
		if args[0] == "stats" {
			var with, without map[string]any
			require.NoError(t, json.Unmarshal([]byte(got.out), &with))
			require.NoError(t, json.Unmarshal([]byte(want.out), &without))
			assert.NotEmpty(t, with["disk"])
			delete(with, "disk")
			assert.Equal(t, without, with)
			continue
		}
		assert.Equal(t, want, got)
	}
	s.start()
	for _, args := range [][]string{{"story", "f1"}, {"story", "f1", "--json"}} {
		want := waybill(t, append(append([]string{"journal"}, args...), "--export", export)...)
		got := waybill(t, append(append([]string{"journal"}, args...), s.client()...)...)
		assert.Equal(t, want, got)
	}
	r := waybill(t, append([]string{"journal", "stats"}, s.client()...)...)
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `(?m)^  uploads placed +2 +153600$`, r.out)
	r = waybill(t, append([]string{"journal", "story", "nothing"}, s.client()...)...)
	assert.Equal(t, exitNoInput, r.code)
}

// --at TIME, wherever it falls, and wherever the records come from.
func TestReplayAtAnyTime(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	at := func(i int) time.Time {
		var e journal.Entry
		require.NoError(t, journal.ParseEntry([]byte(lines[i]), &e))
		return e.At
	}
	// Two records with time between them.
	mid := len(lines) / 2
	for at(mid+1).Sub(at(mid)) < 2*time.Microsecond {
		mid++
	}
	before, between, after := at(0).Add(-time.Microsecond), at(mid).Add(time.Microsecond), at(len(lines)-1).Add(time.Hour)
	bySeq := waybill(t, "journal", "replay", "--state", s.state, "--at", fmt.Sprint(mid))
	whole := waybill(t, "journal", "replay", "--state", s.state)
	require.Zero(t, bySeq.code, bySeq.err)
	source := func(name string, from ...string) {
		replay := func(at time.Time) result {
			return waybill(t, append([]string{"journal", "replay", "--at", at.Format(time.RFC3339Nano)}, from...)...)
		}
		assert.Equal(t, bySeq, replay(between), name)
		r := replay(before)
		assert.Equal(t, exitUsage, r.code, name)
		assert.Contains(t, r.err, "there is no record at or before", name)
		assert.Contains(t, r.err, at(0).Format(time.RFC3339Nano), name)
		if name != "url" { // which goes on
			assert.Equal(t, whole, replay(after), name)
		}
	}
	source("state", "--state", s.state)
	source("export", "--export", export)
	s.start()
	source("url", s.client()...)
}

// Filters of tail: the last of those that fit, or all since a time.
func TestTailFilters(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	var stored, opened []string
	for _, line := range lines {
		if strings.Contains(line, `"kind":"upload.stored"`) {
			stored = append(stored, line)
		}
		if strings.Contains(line, `"kind":"upload.opened"`) {
			opened = append(opened, line)
		}
	}
	var first journal.Entry
	require.NoError(t, journal.ParseEntry([]byte(strings.TrimSuffix(opened[1], "\n")), &first))
	check := func(name string, from ...string) {
		tail := func(args ...string) string {
			r := waybill(t, append(append([]string{"journal", "tail"}, args...), from...)...)
			require.Zero(t, r.code, r.err)
			return r.out
		}
		assert.Equal(t, strings.Join(stored[len(stored)-3:], ""), tail("--kind", "upload.stored", "-n", "3"), name)
		assert.Equal(t, strings.Join(stored, ""), tail("--kind", "upload.stored", "-n", "1000"), name)
		assert.Equal(t, strings.Join(opened, ""), tail("--kind", "upload.opened", "--from", "0"), name)
		assert.Equal(t, opened[1], tail("--kind", "upload.opened", "--since", first.At.Format(time.RFC3339Nano)), name)
		assert.Equal(t, opened[0], tail("--kind", "upload.opened", "--until", first.At.Format(time.RFC3339Nano)), name)
		assert.Equal(t, opened[1], tail("--path", "/f1", "--kind", "upload.opened", "--actor", "main"), name)
		assert.Empty(t, tail("--path", "/f1", "--actor", "nobody"), name)
		assert.Empty(t, tail("--document", "f1"), name)
		assert.Empty(t, tail("--kind", "upload.stored", "-n", "0"), name)
		for flag, bad := range map[string]string{"--session": "x", "--kind": "X", "--since": "yesterday", "--until": "1", "--path": "C:/"} {
			r := waybill(t, append([]string{"journal", "tail", flag, bad}, from...)...)
			assert.Equal(t, exitUsage, r.code, "%s %s", flag, bad)
		}
	}
	check("state", "--state", s.state)
	s.start()
	check("url", append(s.client(), "--no-follow")...)
}

// A filtered tail goes on over restarts of the daemon, in order or by SIGKILL,
// with every record once.
func TestFilteredTailFollows(t *testing.T) {
	t.Parallel()
	s := serve(t)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 4000)
	put := func(name string) {
		r := waybill(t, to(s, "put", file, name, "--chunk", "512", "--in-flight", "1")...)
		require.Zero(t, r.code, r.err)
	}
	put("dir/a")
	below := start(t, t.TempDir(), clean(), append([]string{"journal", "tail", "-n", "1000", "--path", "dir/"}, s.client()...)...)
	kinds := start(t, t.TempDir(), clean(), append([]string{"journal", "tail", "--from", "0", "--kind", "upload.placed,daemon.*"}, s.client()...)...)
	placed := func(p *proc, n int) {
		eventually(t, "what is placed is told of", func() bool { return strings.Count(p.out.String(), `"kind":"upload.placed"`) == n })
	}
	placed(below, 1)
	placed(kinds, 1)
	for i, end := range []func(){s.kill, s.stop} {
		end()
		for _, p := range []*proc{below, kinds} {
			p.line(func(l string) bool { return strings.Contains(l, "trying again") })
		}
		s.start()
		put(fmt.Sprintf("dir/b%d", i))
		put(fmt.Sprintf("other/b%d", i))
		placed(below, 2+i)
		placed(kinds, 3+2*i)
	}
	s.stop()
	// What the last connections did not tell of any more, the next ones do.
	story := waybill(t, "journal", "story", "--json", "--state", s.state, "dir/")
	require.Zero(t, story.code, story.err)
	tail := waybill(t, "journal", "tail", "--from", "0", "--kind", "upload.placed,daemon.*", "--state", s.state)
	require.Zero(t, tail.code, tail.err)
	s.start()
	eventually(t, "all is told of", func() bool {
		return len(below.out.String()) >= len(story.out) && len(kinds.out.String()) >= len(tail.out)
	})
	for _, p := range []*proc{below, kinds} {
		p.signal(syscall.SIGINT)
		assert.Equal(t, 130, p.wait())
	}
	assert.Equal(t, story.out, below.out.String())
	assert.Equal(t, tail.out, kinds.out.String()[:len(tail.out)])
}

// A daemon that has answered one request of a command and is gone at the next
// is waited for, which of them it may be; at the first it is not.
func TestGoneBetweenRequests(t *testing.T) {
	t.Parallel()
	s := serve(t)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 1000)
	r := waybill(t, to(s, "put", file, "dir/a")...)
	require.Zero(t, r.code, r.err)
	for command, requests := range map[string]int64{
		"tail":                             2, // the head, the records
		"tail --kind upload.placed":        3, // those of before, and then those to come
		"tail --no-follow --kind daemon.*": 2,
		"stats":                            2,
		"story dir/":                       1,
	} {
		for gone := int64(1); gone <= requests; gone++ {
			var asked atomic.Int64
			words := append([]string{"journal"}, strings.Fields(command)...)
			p := goneFor(t, s, func(*http.Request) bool { return asked.Add(1) >= gone }, words...)
			if gone == 1 {
				assert.Equal(t, exitUnreachable, p.wait(), command)
				continue
			}
			p.line(func(l string) bool { return strings.Contains(l, "going on") })
			p.signal(syscall.SIGINT)
			p.wait()
		}
	}
}

// goneFor runs a command against a daemon that is gone for the requests that are
// picked, until the command says that it will try again.
func goneFor(t *testing.T, s *server, picked func(*http.Request) bool, words ...string) *proc {
	t.Helper()
	target, err := url.Parse("http://" + s.addr)
	require.NoError(t, err)
	var back atomic.Bool
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.FlushInterval, forward.ErrorLog = -1, log.New(io.Discard, "", 0)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if picked(r) && !back.Load() {
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { front.CloseClientConnections(); front.Close() })
	p := start(t, t.TempDir(), clean(), append(words, "--url", front.URL, "--token-file", s.token())...)
	go func() {
		for {
			select {
			case <-p.done:
				return
			case <-time.After(time.Millisecond):
				if strings.Contains(p.stderr(), "trying again") {
					back.Store(true)
					return
				}
			}
		}
	}()
	return p
}

// Of a journal whose older part is gone, what is held is read, and what is not is
// told of.
func TestEvidenceOfAPrunedState(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	const held = journal.SegmentRecords
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var lines [][]byte
	for i := range held + 10 {
		r := journal.Record{
			Seq: uint64(i), At: at.Add(time.Duration(i) * time.Second), Kind: actions.KindToken, Actor: "main",
			Body: []byte(`{"jti":"x","subject":"s","permissions":[],"exp":"2026-03-01T12:30:00Z"}`),
		}
		if i == held+5 {
			r.Kind, r.Body = actions.KindAnswered, []byte(`{"action":"get_file_info","params":{"path":"x"},"code":"ok"}`)
		}
		lines = append(lines, journal.AppendRecord(nil, &r))
	}
	for part := range slices.Chunk(lines, journal.MaxBatchRecords) {
		require.NoError(t, log.Append(part))
	}
	base, err := actions.FoldTo(t.Context(), log, state, held)
	require.NoError(t, err)
	root, err := log.RootAt(t.Context(), held)
	require.NoError(t, err)
	digest, err := actions.WriteBase(state, base, root)
	require.NoError(t, err)
	cut := journal.NewFact(actions.KindPruned, actions.Cut{To: held, Root: root.String(), Base: digest})
	require.NoError(t, log.Append([][]byte{journal.AppendRecord(nil, &journal.Record{
		Seq: held + 10, At: log.LastAt(), Kind: cut.Kind, Actor: "main", Body: cut.Body,
	})}))
	require.NoError(t, log.Close())
	replay := func(at string) result {
		args := []string{"journal", "replay", "--state", state}
		if at != "" {
			args = append(args, "--at", at)
		}
		return here(t, "", args...)
	}
	moments := []string{"", fmt.Sprint(held - 1), fmt.Sprint(held + 3), at.Add((held + 3) * time.Second).Format(time.RFC3339)}
	whole := map[string]result{}
	for _, m := range moments {
		whole[m] = replay(m)
		require.Zero(t, whole[m].code, whole[m].err)
	}
	log, err = journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	require.NoError(t, log.Prune(held))
	require.NoError(t, log.Close())

	for _, m := range moments {
		assert.Equal(t, whole[m], replay(m), m)
	}
	for _, gone := range []string{"0", fmt.Sprint(held - 2), at.Format(time.RFC3339)} {
		r := replay(gone)
		assert.Equal(t, exitUsage, r.code, gone)
		assert.Contains(t, r.err, fmt.Sprintf("the records before %d were pruned", held), gone)
		assert.Contains(t, r.err, "--archive", gone)
	}
	r := here(t, "", "journal", "story", "x", "--json", "--state", state)
	assert.Equal(t, string(lines[held+5])+"\n", r.out, r.err)
	r = here(t, "", "journal", "tail", "-n", "1000000", "--state", state)
	assert.Equal(t, 11, strings.Count(r.out, "\n"), r.err)
	r = here(t, "", "journal", "stats", "--state", state)
	assert.Regexp(t, fmt.Sprintf(`(?m)^first record held +%d$`, held), r.out)
	assert.Regexp(t, fmt.Sprintf(`(?m)^  base-%016d.json +\d+$`, held), r.out)
	assert.Regexp(t, fmt.Sprintf(`(?m)^  from %d +11 `, held), r.out)
	// An export of it is no journal from the start.
	export := here(t, "", "journal", "export", "--from", fmt.Sprint(held), "--state", state)
	require.Zero(t, export.code, export.err)
	r = here(t, export.out, "journal", "stats", "--export", "-")
	assert.Regexp(t, `(?m)^records +11$`, r.out)
	r = here(t, export.out, "journal", "replay", "--export", "-")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "--archive")
}
