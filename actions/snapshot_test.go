package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// stored is a journal with a history and a state directory for snapshots of it.
type stored struct {
	t     testing.TB
	dir   string
	log   *journal.Log
	lines []string
}

// newStored writes the pinned history of a library into a journal.
func newStored(t testing.TB) *stored {
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "journal", "v1-library.jsonl"))
	require.NoError(t, err)
	return storedOf(t, splitLines(raw))
}

func storedOf(t testing.TB, lines []string) *stored {
	s := &stored{t: t, dir: quickDir(t)}
	log, err := journal.Open(filepath.Join(s.dir, "journal"), journal.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, log.Close()) })
	s.log = log
	s.append(lines...)
	return s
}

func (s *stored) append(lines ...string) {
	s.t.Helper()
	var batch [][]byte
	for _, line := range lines {
		batch = append(batch, []byte(line))
	}
	require.NoError(s.t, s.log.Append(batch))
	s.lines = append(s.lines, lines...)
}

// fold is the state of the first to lines, from nothing but them.
func (s *stored) fold(to int) *State {
	s.t.Helper()
	state := NewState()
	applyLines(s.t, state, s.lines[:to])
	return state
}

func (s *stored) root(to int) journal.Hash {
	s.t.Helper()
	root, err := s.log.RootAt(context.Background(), uint64(to))
	require.NoError(s.t, err)
	return root
}

func (s *stored) snapshot(at int) Stored {
	s.t.Helper()
	name := Stored{Seq: uint64(at)}
	_, err := writeStored(s.dir, name, s.fold(at), s.root(at))
	require.NoError(s.t, err)
	return name
}

func (s *stored) load() Loaded {
	s.t.Helper()
	got, l, err := Load(context.Background(), s.log, s.dir)
	require.NoError(s.t, err)
	s.same(s.fold(len(s.lines)), got)
	return l
}

func (s *stored) same(want, got *State) {
	s.t.Helper()
	sameText(s.t, dumpOf(s.t, want), dumpOf(s.t, got), "dump")
	sameText(s.t, string(imageOf(s.t, want)), string(imageOf(s.t, got)), "image")
}

func (s *stored) path(f Stored) string { return filepath.Join(s.dir, f.Name()) }

func TestLoadBeginsWithTheNewestSnapshot(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	n := len(s.lines)
	l := s.load()
	assert.Equal(t, Loaded{Folded: uint64(n)}, l)
	for _, at := range []int{1, n / 2, n - 1, n} {
		f := s.snapshot(at)
		l := s.load()
		assert.Equal(t, Loaded{From: &f, Folded: uint64(n - at)}, l)
	}
}

func TestFoldTo(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	n := len(s.lines)
	check := func() {
		for to := range n + 1 {
			got, err := FoldTo(context.Background(), s.log, s.dir, uint64(to))
			require.NoError(t, err, to)
			s.same(s.fold(to), got)
		}
	}
	check()
	s.snapshot(n / 3)
	s.snapshot(n)
	check()
	_, err := FoldTo(context.Background(), s.log, s.dir, uint64(n+1))
	assert.ErrorIs(t, err, journal.ErrBeyond)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = FoldTo(ctx, s.log, s.dir, uint64(n/3+2))
	assert.ErrorIs(t, err, context.Canceled)
}

// What is wrong with a snapshot only costs time.
func TestLoadPassesOverBadSnapshots(t *testing.T) {
	t.Parallel()
	edit := func(old, new string) func(*testing.T, []byte) []byte {
		return func(t *testing.T, b []byte) []byte {
			require.Contains(t, string(b), old)
			return []byte(strings.Replace(string(b), old, new, 1))
		}
	}
	// resealed changes the image and makes the header fit.
	resealed := func(old, new string) func(*testing.T, []byte) []byte {
		return func(t *testing.T, b []byte) []byte {
			b = edit(old, new)(t, b)
			line, image, _ := bytes.Cut(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
			var h storedHeader
			require.NoError(t, json.Unmarshal(line, &h))
			h.Len, h.SHA256 = len(image), digestOf(image)
			line, err := json.Marshal(h)
			require.NoError(t, err)
			return bytes.Join([][]byte{line, image, nil}, []byte("\n"))
		}
	}
	for name, spoil := range map[string]func(*testing.T, []byte) []byte{
		"a byte of the image": func(_ *testing.T, b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"truncated":           func(_ *testing.T, b []byte) []byte { return b[:len(b)*2/3] },
		"its last byte":       func(_ *testing.T, b []byte) []byte { return b[:len(b)-1] },
		"a byte more":         func(_ *testing.T, b []byte) []byte { return append(b, '\n') },
		"empty":               func(*testing.T, []byte) []byte { return nil },
		"zeros":               func(_ *testing.T, b []byte) []byte { return make([]byte, len(b)) },
		"header only":         func(_ *testing.T, b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] },
		"wrong root":          edit(`"root":"`, `"root":"0`),
		"newer version":       edit(`"v":1,"seq"`, `"v":2,"seq"`),
		"another seq":         edit(`"seq":`, `"seq":1`),
		"negative length":     edit(`"len":`, `"len":-`),
		"unknown in header":   edit(`"v":1,`, `"v":1,"w":1,`),
		"unknown in image":    resealed(`"records":`, `"rocords":`),
		"another position":    resealed(`"records":`, `"records":1`),
		"a part is missing":   resealed(`"tree":{`, `"tree":null,"sessions":{`),
		"an impossible node":  resealed(`"parent":1`, `"parent":2`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStored(t)
			n := len(s.lines)
			good, bad := s.snapshot(n/2), s.snapshot(n-20)
			file, err := os.ReadFile(s.path(bad))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(s.path(bad), spoil(t, file), 0o600))
			l := s.load()
			require.Len(t, l.Skipped, 1)
			assert.Equal(t, bad, l.Skipped[0].Stored)
			assert.Error(t, l.Skipped[0].Err)
			assert.Equal(t, &good, l.From)
		})
	}
	t.Run("of a longer journal", func(t *testing.T) {
		t.Parallel()
		s := newStored(t)
		long := newStored(t)
		long.append(string(journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(len(s.lines)), At: time.Now().AddDate(1, 0, 0), Kind: KindStopped, Body: []byte(`{}`),
		})))
		f := long.snapshot(len(long.lines))
		require.NoError(t, os.Rename(long.path(f), s.path(f)))
		l := s.load()
		require.Len(t, l.Skipped, 1)
		assert.ErrorIs(t, l.Skipped[0].Err, errForeign)
		assert.Nil(t, l.From)
	})
	t.Run("of another journal", func(t *testing.T) {
		t.Parallel()
		s := newStored(t)
		other := storedOf(t, s.lines[:len(s.lines)-1])
		other.append(string(journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(len(s.lines) - 1), At: time.Now().AddDate(1, 0, 0), Kind: KindStopped, Body: []byte(`{}`),
		})))
		f := other.snapshot(len(other.lines))
		require.NoError(t, os.Rename(other.path(f), s.path(f)))
		l := s.load()
		require.Len(t, l.Skipped, 1)
		assert.ErrorIs(t, l.Skipped[0].Err, errForeign)
	})
	t.Run("of a state that the records do not follow", func(t *testing.T) {
		t.Parallel()
		s := newStored(t)
		early := s.fold(20)
		early.next = uint64(len(s.lines) / 2)
		_, err := writeStored(s.dir, Stored{Seq: early.next}, early, s.root(int(early.next)))
		require.NoError(t, err)
		l := s.load()
		require.Len(t, l.Skipped, 1)
		assert.ErrorIs(t, l.Skipped[0].Err, ErrFold)
		assert.Nil(t, l.From)
	})
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		s := newStored(t)
		require.NoError(t, os.Mkdir(s.path(Stored{Seq: 5}), 0o700))
		assert.Len(t, s.load().Skipped, 1)
	})
}

// A crash while a snapshot is written leaves a start that works, whatever of
// it is on disk.
func TestLoadAfterACrashWhileWriting(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	n := len(s.lines)
	good := s.snapshot(n / 2)
	f := s.snapshot(n - 1)
	file, err := os.ReadFile(s.path(f))
	require.NoError(t, err)
	require.NoError(t, os.Remove(s.path(f)))
	temp := filepath.Join(s.dir, "."+f.Name()+".new")
	for _, cut := range []int{0, 10, len(file) / 2, len(file) - 1, len(file)} {
		require.NoError(t, os.WriteFile(temp, file[:cut], 0o600))
		assert.Equal(t, &good, s.load().From, "the temporary file has %d bytes", cut)
		require.NoError(t, SweepStored(s.dir))
		assert.NoFileExists(t, temp)
		// A rename that is on disk without the bytes: WriteFile syncs them first,
		// but a disk may lie.
		require.NoError(t, os.WriteFile(s.path(f), file[:cut], 0o600))
		l := s.load()
		if cut < len(file) {
			assert.Equal(t, &good, l.From)
			assert.Len(t, l.Skipped, 1)
		} else {
			assert.Equal(t, &f, l.From)
		}
	}
	left, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	assert.Len(t, left, 3, "two snapshots and the journal")
}

// idle are n records that lead nowhere, from seq on.
func idle(seq, n int, at time.Time) (lines []string) {
	for i := range n {
		lines = append(lines, string(journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(seq + i), At: at, Kind: KindAnswered, Actor: "main", Via: "test", Ref: fmt.Sprint(i),
			Body: []byte(`{"action":"get_permissions","code":"ok"}`),
		})))
	}
	return lines
}
