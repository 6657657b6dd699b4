package actions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// pinnedLines are the records of a journal of testdata.
func pinnedLines(t testing.TB, name string) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "journal", name))
	require.NoError(t, err)
	return bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
}

// matching are the positions of the lines that belong, and must be the same with
// and without the look at the pieces of a line.
func matching(t testing.TB, q Query, lines [][]byte) []int {
	t.Helper()
	m, err := NewMatcher(q)
	require.NoError(t, err)
	slow, err := NewMatcher(q)
	require.NoError(t, err)
	slow.slow = true
	passes := 1
	if q.LooksAhead() {
		passes = 2
	}
	var got, want []int
	note := func(list *[]int) func([]byte) error {
		return func(line []byte) error {
			var e journal.Entry
			err := journal.ParseEntry(line, &e)
			*list = append(*list, int(e.Seq))
			return err
		}
	}
	for range passes {
		got, want = nil, nil
		for _, line := range lines {
			if err := errors.Join(m.Line(line, note(&got)), slow.Line(line, note(&want))); err != nil {
				require.NoError(t, err)
			}
			if !slices.Equal(want[min(len(want), len(got)):], got[min(len(want), len(got)):]) {
				require.Equal(t, want, got, "%s", line)
			}
		}
		require.Equal(t, want, got)
		m.Again()
		slow.Again()
	}
	return got
}

func span(from, to int) (list []int) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

func list(parts ...any) (all []int) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			all = append(all, p)
		case []int:
			all = append(all, p...)
		}
	}
	return all
}

func TestQuery(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		return v
	}
	const transfers, library = "v1.jsonl", "v1-library.jsonl"
	const upload1, upload5 = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000005"
	// All that became of one document: made, written, moved, renamed, called
	// otherwise, its directory deleted and recovered, removed.
	document := list(span(39, 65), span(68, 75), span(80, 96), 103, span(105, 112))
	for name, c := range map[string]struct {
		file string
		q    Query
		want []int
	}{
		"everything":               {transfers, Query{}, span(0, 59)},
		"an actor":                 {transfers, Query{Actor: "other"}, list(36)},
		"an actor nobody is":       {transfers, Query{Actor: "othe"}, nil},
		"a kind":                   {transfers, Query{Kind: "upload.sealed"}, list(16)},
		"a kind, not its prefix":   {transfers, Query{Kind: "upload.seal"}, nil},
		"a family":                 {transfers, Query{Kind: "daemon.*"}, list(0, 50, 51, 55, 57)},
		"several kinds":            {transfers, Query{Kind: "token.issued,daemon.*"}, list(0, 1, 50, 51, 55, 57)},
		"actor and kind":           {transfers, Query{Actor: "panel-1", Kind: "job.*"}, list(41, 42, 43, 52, 56, 58)},
		"since":                    {transfers, Query{Since: at("2026-03-01T12:00:57.002109Z")}, list(57, 58, 59)},
		"until is not included":    {transfers, Query{Until: at("2026-03-01T12:00:01.000037Z")}, list(0)},
		"since and until":          {transfers, Query{Since: at("2026-03-01T12:00:01Z"), Until: at("2026-03-01T12:00:03Z")}, list(1, 2)},
		"a session":                {transfers, Query{Session: upload1}, span(10, 17)},
		"a session in capitals":    {transfers, Query{Session: strings.ToUpper(upload5)}, list(25, 26, 27, 28, 29, 53, 54)},
		"a session and its starts": {transfers, Query{Session: upload5, Starts: true}, list(0, 25, 26, 27, 28, 29, 51, 53, 54, 55, 57)},
		"a session nobody opened":  {transfers, Query{Session: "11111111-0000-4000-8000-000000000009"}, list(7)},
		"a job that is a session, and the jobs for it": {transfers, Query{Session: "33333333-0000-4000-8000-000000000001"},
			list(span(37, 43), 52, 56, 58)},
		"a session by an actor":            {transfers, Query{Session: "22222222-0000-4000-8000-000000000003", Actor: "other"}, list(36)},
		"a path":                           {transfers, Query{Path: "plugins/a.jar"}, list(span(10, 17), span(30, 36))},
		"a path as sloppy as it gets":      {transfers, Query{Path: `/plugins\.//a.jar`}, list(span(10, 17), span(30, 36))},
		"below a path":                     {transfers, Query{Path: "plugins/"}, list(3, span(10, 17), span(30, 36))},
		"a directory is not what is in it": {transfers, Query{Path: "plugins"}, nil},
		"a path that begins the same":      {transfers, Query{Path: "plug/"}, nil},
		"a path that was asked for only":   {transfers, Query{Path: "plugins/<a> & b.jar"}, list(3)},
		"a path with quotes":               {transfers, Query{Path: `c "quoted" é`}, list(23, 24)},
		"a path and its job":               {transfers, Query{Path: "e"}, list(span(37, 43), 52, 56, 58)},
		"a path and a kind": {transfers, Query{Path: "plugins/a.jar", Kind: "upload.placed,download.closed"},
			list(17, 34)},
		"everything below the root":       {transfers, Query{Path: "/", Kind: "upload.opened"}, list(10, 18, 20, 23, 25, 39)},
		"session and path must both hold": {transfers, Query{Session: upload1, Path: "d"}, nil},
		"about a path":                    {transfers, Query{About: "plugins/a.jar"}, list(span(10, 17), span(30, 36))},
		"about a session":                 {transfers, Query{About: upload1}, span(10, 17)},

		"a served path is no document's id": {library, Query{Path: "doc"}, nil},
		"a document by an id it has later":  {library, Query{Document: "doc2"}, document},
		"a document by its first id":        {library, Query{Document: "doc"}, document},
		"a document by its names":           {library, Query{Document: `/dir <1>/new "name"`}, document},
		"a directory":                       {library, Query{Document: "d1"}, list(66, 67, 87, 88, 89, 90)},
		"a directory by its name":           {library, Query{Document: "/dir <1>"}, list(66, 67, 87, 88, 89, 90)},
		"what there never was":              {library, Query{Document: "none"}, list(104)},
		"nothing":                           {library, Query{Document: "nothing"}, nil},
		"a revision": {library, Query{Document: "1e12db20f4afb3e9263ff815b02e0984"},
			list(span(51, 57), span(60, 65), span(80, 81), span(83, 90), 105, 106, 107, 109, 112)},
		"a task": {library, Query{Session: "80f4965476bed7168227869120f873cfaeb8a53dee8bbd29d6edfe3a0359649aa52ee8f430eb0aacc6a3b35edd6c642efc680dea37b705681a80dc840a2151b8"},
			list(43, span(45, 49))},
		"a refused use of a task": {library, Query{Session: "05a06c57-d5dc-4d24-a32b-b271994c1c9a"}, list(span(91, 94), 103, 106, 108)},
		"a document, one kind":    {library, Query{Document: "doc2", Kind: "node.*", From: 41}, list(69, 71, 73, 75, 88, 90, 107)},
		"about a document":        {library, Query{About: "d1"}, list(66, 67, 87, 88, 89, 90)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, matching(t, c.q, pinnedLines(t, c.file)))
		})
	}
}

// Whatever text of a journal is asked for, the look at the pieces of a line lets
// nothing pass by that belongs. What is found is compared by matching.
func TestQueryOfEverything(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"v1.jsonl", "v1-library.jsonl"} {
		lines := pinnedLines(t, file)
		texts := map[string]bool{}
		for _, line := range lines {
			var v any
			require.NoError(t, json.Unmarshal(line, &v))
			collect(v, texts)
		}
		found := 0
		for s := range texts {
			for _, q := range []Query{{About: s}, {About: "/" + s}, {Path: s + "/"}, {Actor: s}, {Kind: s}} {
				if _, err := NewMatcher(q); err == nil {
					found += len(matching(t, q, lines))
				}
			}
		}
		assert.Greater(t, found, len(lines))
	}
}

func collect(v any, texts map[string]bool) {
	switch v := v.(type) {
	case string:
		texts[v] = v != ""
	case []any:
		for _, x := range v {
			collect(x, texts)
		}
	case map[string]any:
		for _, x := range v {
			collect(x, texts)
		}
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, q := range map[string]Query{
		"a kind in capitals":      {Kind: "Upload.stored"},
		"half a kind":             {Kind: "upload."},
		"a family of all":         {Kind: "*"},
		"a star elsewhere":        {Kind: "upload.st*"},
		"an empty one of several": {Kind: "upload.stored,"},
		"a session that is none":  {Session: "11111111"},
		"a path out of the tree":  {Path: "C:/x"},
		"a path with a NUL":       {Path: "a\x00"},
		"since is after until":    {Since: now, Until: now.Add(-1)},
		"a good one beside a bad": {Session: "11111111-0000-4000-8000-000000000001", Kind: "x y"},
	} {
		_, err := NewMatcher(q)
		assert.Equal(t, CodeParam, CodeOf(err), name)
	}
}

func TestQueryIsOver(t *testing.T) {
	t.Parallel()
	lines := pinnedLines(t, "v1.jsonl")
	var e journal.Entry
	require.NoError(t, journal.ParseEntry(lines[20], &e))
	m, err := NewMatcher(Query{Until: e.At, Kind: "job.*"})
	require.NoError(t, err)
	for i, line := range lines {
		require.NoError(t, m.Line(line, func([]byte) error { return nil }))
		assert.Equal(t, i >= 20, m.Over(), i)
	}
}

// A line that is damaged where it is looked at is not passed over.
func TestQueryOfDamage(t *testing.T) {
	t.Parallel()
	line := bytes.Replace(pinnedLines(t, "v1.jsonl")[11], []byte(`"ranges"`), []byte(`"ranges`), 1)
	m, err := NewMatcher(Query{Session: "11111111-0000-4000-8000-000000000001"})
	require.NoError(t, err)
	assert.Error(t, m.Line(line, func([]byte) error { return nil }))
}

// busy is a journal of n records as a busy daemon leaves them: transfers, most
// of them of other files, and requests.
func busy(n int) (lines [][]byte) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range n {
		id := fmt.Sprintf("%08x-0000-4000-8000-000000000001", i/10)
		r := journal.Record{Seq: uint64(i), At: at.Add(time.Duration(i) * time.Millisecond), Actor: "main", Via: "ws 127.0.0.1:51034", Ref: fmt.Sprint(i)}
		switch i % 10 {
		case 0:
			r.Kind, r.Body = "upload.opened", fmt.Appendf(nil, `{"session":"%s","path":"plugins/%d.jar","size":4096,"idle_ms":120000}`, id, i/10)
		case 8:
			r.Kind, r.Body = "upload.sealed", fmt.Appendf(nil, `{"session":"%s","size":4096,"digest":"2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"}`, id)
		case 9:
			r.Kind, r.Body = "upload.placed", fmt.Appendf(nil, `{"session":"%s","path":"plugins/%d.jar"}`, id, i/10)
		case 3, 6:
			r.Kind, r.Body = "action.answered", fmt.Appendf(nil, `{"action":"file_upload_status","params":{"file_id":"%s"},"code":"ok"}`, id)
		default:
			r.Kind, r.Body = "upload.stored", fmt.Appendf(nil, `{"session":"%s","ranges":[[%d,%d]],"crc32c":"9a71bb4c","calls":1}`, id, i, i+512)
		}
		lines = append(lines, journal.AppendRecord(nil, &r))
	}
	return lines
}

func BenchmarkQuery(b *testing.B) {
	lines := busy(100_000)
	for name, q := range map[string]Query{
		"actor":      {Actor: "nobody"},
		"kind":       {Kind: "daemon.*,token.issued"},
		"session":    {Session: "00000007-0000-4000-8000-000000000001"},
		"path":       {Path: "plugins/7.jar"},
		"below":      {Path: "plugins/7.jar/"},
		"all paths":  {Path: "plugins/"},
		"document":   {Document: "doc"},
		"names":      {Document: "/folder/name"},
		"about":      {About: "plugins/7.jar"},
		"since":      {Since: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		"everything": {},
	} {
		b.Run(name, func(b *testing.B) {
			m, err := NewMatcher(q)
			require.NoError(b, err)
			given := 0
			for i := 0; b.Loop(); i++ {
				if err := m.Line(lines[i%len(lines)], func([]byte) error { given++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
			b.ReportMetric(100*float64(given)/float64(b.N), "%given")
		})
	}
}
