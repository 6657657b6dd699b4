package actions

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// longStored is a journal over the end of its first segment, which lies inside
// of a group.
func longStored(t testing.TB) *stored {
	s := newStored(t)
	at := s.log.LastAt()
	s.append(idle(len(s.lines), journal.SegmentRecords-1-len(s.lines), at)...)
	var group []string
	for i := range 2 {
		group = append(group, string(journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(len(s.lines) + i), At: at, Kind: KindAnswered, Actor: "main", Via: "test", Ref: "r",
			Group: journal.Group{I: i + 1, N: 2}, Body: []byte(`{"action":"get_permissions","code":"ok"}`),
		})))
	}
	s.append(group...)
	s.append(idle(len(s.lines), 300, at.Add(time.Second))...)
	return s
}

const cutAt = journal.SegmentRecords

// base writes the base at the segment's end, and gives the body of the cut.
func (s *stored) base() Cut {
	s.t.Helper()
	state, err := FoldTo(context.Background(), s.log, s.dir, cutAt)
	require.NoError(s.t, err)
	require.Len(s.t, state.group, 1, "the cut is inside of a group")
	digest, err := WriteBase(s.dir, state, s.root(cutAt))
	require.NoError(s.t, err)
	return Cut{To: cutAt, Root: s.root(cutAt).String(), Base: digest}
}

func (s *stored) cut(c Cut) {
	s.t.Helper()
	s.append(string(journal.AppendRecord(nil, &journal.Record{
		Seq: uint64(len(s.lines)), At: s.log.LastAt(), Kind: KindPruned, Actor: "daemon", Via: "test", Ref: "r",
		Body: journal.NewFact(KindPruned, c).Body,
	})))
}

func TestLoadHoldsTheBaseAgainstItsCut(t *testing.T) {
	t.Parallel()
	s := longStored(t)
	base := Stored{cutAt, true}
	c := s.base()

	// A crash before the cut is recorded: the base is a leftover.
	l := s.load()
	assert.Equal(t, []Stored{base}, l.Leftovers)
	assert.Zero(t, l.PruneTo)

	// And after it: what is before the cut is still to go.
	early, other := s.snapshot(100), Stored{100, true}
	require.NoError(t, os.WriteFile(s.path(other), []byte("an older base"), 0o600))
	s.cut(c)
	l = s.load()
	assert.ElementsMatch(t, []Stored{early, other}, l.Leftovers)
	assert.Equal(t, uint64(cutAt), l.PruneTo)
	require.NoError(t, RemoveStored(s.dir, l.Leftovers))
	assert.NoFileExists(t, s.path(early))
	require.NoError(t, RemoveStored(s.dir, l.Leftovers), "again, after a crash")

	damaged := func(what string) {
		t.Helper()
		_, _, err := Load(context.Background(), s.log, s.dir)
		d := new(journal.DamageError)
		require.ErrorAs(t, err, &d, what)
		assert.Equal(t, base.Name(), d.File, what)
		assert.Contains(t, err.Error(), base.Name(), what)
	}
	file, err := os.ReadFile(s.path(base))
	require.NoError(t, err)
	for _, at := range []int{0, len(file) / 2, len(file) - 1} {
		file[at] ^= 1
		require.NoError(t, os.WriteFile(s.path(base), file, 0o600))
		damaged(fmt.Sprint("byte ", at))
		file[at] ^= 1
	}
	// A snapshot after the cut does not make up for the base.
	s.snapshot(len(s.lines))
	damaged("still")
	require.NoError(t, os.Remove(s.path(base)))
	damaged("missing")
	require.NoError(t, os.WriteFile(s.path(base), file, 0o600))
	s.load()
}

func TestFoldToAtTheEndOfASegment(t *testing.T) {
	t.Parallel()
	s := longStored(t)
	want := s.fold(cutAt)
	for range 2 { // from nothing, and from the base
		got, err := FoldTo(context.Background(), s.log, s.dir, cutAt)
		require.NoError(t, err)
		s.same(want, got)
		s.base()
	}
	got, err := FoldTo(context.Background(), s.log, s.dir, cutAt+1)
	require.NoError(t, err)
	s.same(s.fold(cutAt+1), got)
}
