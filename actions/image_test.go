package actions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

func imageOf(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, s.writeImage(&b))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func dumpOf(t testing.TB, s *State) string {
	t.Helper()
	b, err := s.MarshalJSON()
	require.NoError(t, err)
	return string(b)
}

// sameScan checks that what the quick way reads is what encoding/json reads, and
// tells whether it reads it at all.
func sameScan(t testing.TB, image []byte) bool {
	t.Helper()
	var quick stateImage
	if !scanImage(image, &quick) {
		return false
	}
	slow, err := decodeImage(image)
	require.NoError(t, err)
	require.Equal(t, *slow, quick)
	return true
}

// sameText shows no more of two states than where they differ.
func sameText(t testing.TB, want, got, format string, args ...any) {
	t.Helper()
	if want == got {
		return
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	from := max(0, at-100)
	require.Equal(t, want[from:min(len(want), at+100)], got[from:min(len(got), at+100)], fmt.Sprintf(format, args...))
	require.Fail(t, "one is longer", fmt.Sprintf(format, args...))
}

func applyLines(t testing.TB, s *State, lines []string) {
	t.Helper()
	for _, line := range lines {
		var e journal.Entry
		require.NoError(t, journal.ParseEntry([]byte(line), &e))
		require.NoError(t, s.Apply(&e), "%s", line)
	}
}

// afterImages checks that a state which was written down and read back anywhere
// at these moments of a history comes to the same end.
func afterImages(t testing.TB, lines []string, moments ...int) {
	t.Helper()
	straight := NewState()
	applyLines(t, straight, lines)
	dump, image := dumpOf(t, straight), imageOf(t, straight)
	for _, at := range moments {
		s := NewState()
		applyLines(t, s, lines[:at])
		before := imageOf(t, s)
		restored, err := restoreState(before)
		require.NoError(t, err, "after %d records", at)
		require.True(t, sameScan(t, before), "the quick way reads what is written")
		sameText(t, string(before), string(imageOf(t, restored)), "the image after %d records, read and written again", at)
		sameText(t, dumpOf(t, s), dumpOf(t, restored), "the dump of an image after %d records", at)
		applyLines(t, restored, lines[at:])
		sameText(t, dump, dumpOf(t, restored), "the dump at the end, from an image after %d records", at)
		sameText(t, string(image), string(imageOf(t, restored)), "the image at the end, from one after %d records", at)
	}
}

// someMoments are one inside of a group, if there is any, and one anywhere.
func someMoments(t testing.TB, lines []string, rand *rand.Rand) []int {
	t.Helper()
	var inside []int
	for i, line := range lines {
		var e journal.Entry
		require.NoError(t, journal.ParseEntry([]byte(line), &e))
		if e.Group.I < e.Group.N {
			inside = append(inside, i+1)
		}
	}
	moments := []int{rand.IntN(len(lines) + 1)}
	if len(inside) > 0 {
		moments = append(moments, inside[rand.IntN(len(inside))])
	}
	return moments
}

// The pinned journals have every kind of fact: an image after each record of
// them leads where the record itself leads.
func TestImageAnywhere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "journal", "*.jsonl"))
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		lines := splitLines(raw)
		moments := make([]int, len(lines)+1)
		for i := range moments {
			moments[i] = i
		}
		afterImages(t, lines, moments...)
	}
}

func splitLines(raw []byte) (lines []string) {
	for line := range bytes.Lines(raw) {
		lines = append(lines, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return lines
}

// manyDocuments is a state with n documents in 100 directories, each with one
// revision.
func manyDocuments(t testing.TB, n int) *State {
	s := NewState()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	apply := func(f journal.Fact) {
		require.NoError(t, s.Apply(&journal.Entry{Seq: s.next, At: at, Kind: f.Kind, Actor: []byte("admin"), Body: f.Body}))
	}
	for _, f := range doctree.Genesis() {
		apply(f)
	}
	key := 1
	for d := range 100 {
		apply(journal.NewFact(doctree.KindNodeCreated, map[string]any{"node": key, "id": fmt.Sprintf("%032x", d), "type": "dir", "name": fmt.Sprint("dir ", d), "parent": 0, "owner": "admin"}))
		key++
	}
	for i := range n {
		id := fmt.Sprintf("%032x", 1<<20+i)
		at = at.Add(1234567 * time.Microsecond)
		apply(journal.NewFact(doctree.KindNodeCreated, map[string]any{"node": key, "id": id, "type": "file", "name": fmt.Sprint("document ", i, ".pdf"), "parent": 1 + i%100, "owner": "admin"}))
		session, task := sessions.ID{15: byte(i), 14: byte(i >> 8), 13: byte(i >> 16), 12: 1}, fmt.Sprintf("%0128x", i)
		digest := fmt.Sprintf("%064x", i)
		apply(journal.NewFact(sessions.KindUploadOpened, map[string]any{"session": session, "path": id, "until": at.Add(time.Hour), "task": sessions.Task{ID: task, Token: digest, Node: uint64(key), Revision: id}}))
		apply(journal.NewFact(sessions.KindUploadStored, map[string]any{"session": session, "ranges": [][2]int{{0, 12345}}, "crc32c": "00000000", "calls": 1}))
		apply(journal.NewFact(sessions.KindUploadSized, map[string]any{"session": session, "size": 12345}))
		apply(journal.NewFact(sessions.KindUploadSealed, map[string]any{"session": session, "size": 12345, "digest": digest}))
		apply(journal.NewFact(sessions.KindUploadPublished, map[string]any{"session": session, "revision": id}))
		apply(journal.NewFact(doctree.KindRevisionPublished, map[string]any{"node": key, "id": id, "revision": id, "digest": digest, "size": 12345}))
		key++
	}
	return s
}

// BenchmarkImage is the price of a snapshot of 100,000 documents.
func BenchmarkImage(b *testing.B) {
	s := manyDocuments(b, 100_000)
	file, err := renderStored(s, journal.Hash{})
	require.NoError(b, err)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			_, err := renderStored(s, journal.Hash{})
			require.NoError(b, err)
		}
		b.ReportMetric(float64(len(file)), "bytes")
	})
	dir := b.TempDir()
	b.Run("sync", func(b *testing.B) {
		for b.Loop() {
			_, err := WriteBase(dir, s, journal.Hash{})
			require.NoError(b, err)
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			got, err := readStored(dir, Stored{s.next, true}, journal.Hash{})
			require.NoError(b, err)
			assert.Equal(b, s.next, got.next)
		}
	})
}

// The base in testdata was written once: every later version must read it and
// understand it as it was meant. If this fails, change the code and not the
// file.
func TestPinnedBase(t *testing.T) {
	t.Parallel()
	const seq, name = 3 * journal.SegmentRecords, "base-v1"
	file, err := os.ReadFile(filepath.Join("..", "testdata", "journal", name+".json"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, Stored{seq, true}.Name()), file, 0o600))
	root := journal.Hash(bytes.Repeat([]byte{0xee}, 32))
	s, err := readStored(dir, Stored{seq, true}, root)
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("..", "testdata", "journal", name+".state.json"))
	require.NoError(t, err)
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, []byte(dumpOf(t, s)), "", "  "))
	sameText(t, string(want), pretty.String()+"\n", "the dump")
	// What is there of a group goes on.
	held := s.group[len(s.group)-1].entry
	held.Seq, held.Group.I = held.Seq+1, held.Group.I+1
	require.NoError(t, s.Apply(&held))
	assert.Empty(t, s.group)

	again, err := readStored(dir, Stored{seq, true}, root)
	require.NoError(t, err)
	written, err := renderStored(again, root)
	require.NoError(t, err)
	sameText(t, string(file), string(written), "the base, read and written again")
}

// FuzzRestoreState: whatever a file holds, it is refused or it is a state that
// is written as it was read.
func FuzzRestoreState(f *testing.F) {
	file, err := os.ReadFile(filepath.Join("..", "testdata", "journal", "base-v1.json"))
	require.NoError(f, err)
	_, image, err := openStored(file, 3*journal.SegmentRecords)
	require.NoError(f, err)
	f.Add(image)
	var b bytes.Buffer
	require.NoError(f, NewState().writeImage(&b))
	f.Add(b.Bytes())
	for _, text := range []string{
		``, `null`, `{}`, `[]`, `{"records":1,"sessions":{},"jobs":{},"accounts":{},"tree":{"next":1}}`,
		`{"sessions":{"tasks":[{}]},"jobs":{},"accounts":{},"tree":{}}`,
		`{"sessions":{},"jobs":{"live":[null]},"accounts":{},"tree":{}}`,
		`{"sessions":{},"jobs":{},"accounts":{},"tree":{"next":3,"nodes":[{"node":1,"id":"a","dir":true,"parent":2,"created":"2026-01-01T00:00:00Z"},{"node":2,"id":"b","dir":true,"parent":1,"created":"2026-01-01T00:00:00Z"}]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		sameScan(t, image)
		s, err := restoreState(image)
		if err != nil {
			return
		}
		first := imageOf(t, s)
		again, err := restoreState(first)
		require.NoError(t, err)
		require.Equal(t, string(first), string(imageOf(t, again)))
		// A state that was accepted can be asked for everything.
		_ = dumpOf(t, s)
		s.advance(s.at.Add(48 * time.Hour))
		_ = dumpOf(t, s)
	})
}
