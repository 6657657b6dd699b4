package actions

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
	"waybill/sessions"
)

// traffics is a journal in the making, of transfers.
type traffics struct {
	seq   uint64
	at    time.Time
	lines [][]byte
}

func (h *traffics) add(kind, format string, args ...any) int {
	h.lines = append(h.lines, journal.AppendRecord(nil, &journal.Record{
		Seq: h.seq, At: h.at, Kind: kind, Actor: "main", Via: "ws", Ref: "r", Body: fmt.Appendf(nil, format, args...)}))
	h.seq++
	return int(h.seq - 1)
}

func sessionID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000001", n) }

// How many uploads and downloads have come and gone below a path makes no
// difference to what is remembered of them.
func TestQueryForgetsWhatHasEnded(t *testing.T) {
	t.Parallel()
	m, err := NewMatcher(Query{Path: "/"})
	require.NoError(t, err)
	h := traffics{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	most := 0
	const day = 1000 // so many of each a day
	for i := range 20 * day {
		id, read, job := sessionID(3*i), sessionID(3*i+1), sessionID(3*i+2)
		h.lines = h.lines[:0]
		h.add("upload.opened", `{"session":"%s","path":"a/%d","size":1,"idle_ms":1000}`, id, i)
		h.add("job.queued", `{"job":"%s","action":"file_upload_chunk","params":{"file_id":"%s"},"permissions":[]}`, job, id)
		h.add("download.opened", `{"session":"%s","path":"a/%d","idle_ms":1000}`, read, i)
		h.add("job.done", `{"job":"%s","code":"ok"}`, job)
		h.add([]string{"upload.placed", "upload.rejected", "upload.cancelled", "upload.expired"}[i%4], `{"session":"%s","path":"a/%d","code":"x"}`, id, i)
		h.add([]string{"download.closed", "download.expired"}[i%2], `{"session":"%s"}`, read)
		given := 0
		for _, line := range h.lines {
			require.NoError(t, m.Line(line, func([]byte) error { given++; return nil }))
		}
		require.Equal(t, len(h.lines), given)
		h.at = h.at.Add(24 * time.Hour / day)
		most = max(most, m.learned())
	}
	assert.LessOrEqual(t, most, 3*(day+2))

	// However fast they come.
	m, err = NewMatcher(Query{Path: "/"})
	require.NoError(t, err)
	for i := range sessions.MaxRemembered + 1000 {
		h.lines = h.lines[:0]
		h.add("upload.opened", `{"session":"%s","path":"a/%d","size":1,"idle_ms":1000}`, sessionID(i), i)
		h.add("upload.placed", `{"session":"%s","path":"a/%d"}`, sessionID(i), i)
		for _, line := range h.lines {
			if err := m.Line(line, func([]byte) error { return nil }); err != nil {
				require.NoError(t, err)
			}
		}
	}
	assert.LessOrEqual(t, m.learned(), sessions.MaxRemembered+1)
}

// What is asked about a transfer that has ended belongs as long as the daemon can
// say something of it; by its session, for ever. One that is live is never
// forgotten.
func TestQueryAfterTheEnd(t *testing.T) {
	t.Parallel()
	var h traffics
	h.at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ask := func(n int) int {
		return h.add("action.answered", `{"action":"file_upload_status","params":{"file_id":"%s"},"code":"ok"}`, sessionID(n))
	}
	open := func(n int, path string) int {
		return h.add("upload.opened", `{"session":"%s","path":"%s","size":1,"idle_ms":1000}`, sessionID(n), path)
	}
	want := list(open(1, "x"), open(2, "x"))
	open(3, "y")
	one := list(0, h.add("upload.placed", `{"session":"%s","path":"x"}`, sessionID(1)))
	h.at = h.at.Add(sessions.Remember - time.Second)
	one = append(one, ask(1))
	want = append(want, one[1:]...)
	h.at = h.at.Add(time.Second)
	one = append(one, ask(1))
	h.at = h.at.Add(100 * sessions.Remember)
	want = append(want, ask(2))
	one = append(one, ask(1))
	ask(3)
	assert.Equal(t, want, matching(t, Query{Path: "x"}, h.lines))
	assert.Equal(t, want, matching(t, Query{About: "x"}, h.lines))
	assert.Equal(t, one, matching(t, Query{Session: sessionID(1)}, h.lines))
	assert.Equal(t, one, matching(t, Query{About: sessionID(1)}, h.lines))
}

// More than a Matcher may remember ends the search, and says why.
func TestQueryTooWide(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		q    Query
		add  func(h *traffics, i int)
		fits bool
	}{
		"live uploads": {Query{Path: "/"}, func(h *traffics, i int) {
			h.add("upload.opened", `{"session":"%s","path":"a/%d","size":1,"idle_ms":1000}`, sessionID(i), i)
		}, false},
		"of others": {Query{Path: "b/"}, func(h *traffics, i int) {
			h.add("upload.opened", `{"session":"%s","path":"a/%d","size":1,"idle_ms":1000}`, sessionID(i), i)
		}, true},
		"documents": {Query{Document: "/a"}, func(h *traffics, i int) {
			h.add("node.created", `{"node":%d,"id":"n%d","type":"file","name":"a","parent":0,"owner":"o"}`, i+1, i)
		}, false},
		"contents": {Query{Document: "n"}, func(h *traffics, i int) {
			if i == 0 {
				h.add("node.created", `{"node":1,"id":"n","type":"file","name":"a","parent":0,"owner":"o"}`)
			}
			h.add("revision.published", `{"node":1,"id":"n","revision":"r%d","digest":"d%d","size":1}`, i, i)
		}, false},
	} {
		var h traffics
		for i := range 200 {
			c.add(&h, i)
		}
		m, err := NewMatcher(c.q)
		require.NoError(t, err)
		m.Limit(100)
		var wide *TooWideError
		for _, line := range h.lines {
			if err := m.Line(line, func([]byte) error { return nil }); err != nil {
				require.ErrorAs(t, err, &wide, name)
				break
			}
		}
		if c.fits {
			assert.Nil(t, wide, name)
			continue
		}
		require.NotNil(t, wide, name)
		assert.Less(t, wide.Seq, uint64(len(h.lines)), name)
		assert.True(t, strings.Contains(wide.Error(), "too wide") && strings.Contains(wide.Error(), "longer path"), wide.Error())
		assert.False(t, errors.Is(wide, ErrFailed))
	}
}
