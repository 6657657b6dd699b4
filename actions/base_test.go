package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
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

// What is pruned is not missed: the base stands for it, and nothing else does.
func TestLoadOfAPrunedJournal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := longStored(t)
	base := Stored{cutAt, true}
	c := s.base()
	early := s.snapshot(100)
	s.cut(c)
	require.NoError(t, s.log.Prune(cutAt))
	require.Equal(t, uint64(cutAt), s.log.First())
	l := s.load()
	assert.Equal(t, &base, l.From)
	assert.Equal(t, uint64(len(s.lines)-cutAt), l.Folded)
	assert.Equal(t, []Stored{early}, l.Leftovers)
	assert.Zero(t, l.PruneTo)
	assert.Empty(t, l.Skipped)
	for _, to := range []int{cutAt, cutAt + 1, len(s.lines) - 1, len(s.lines)} {
		got, err := FoldTo(ctx, s.log, s.dir, uint64(to))
		require.NoError(t, err)
		s.same(s.fold(to), got)
	}
	_, err := FoldTo(ctx, s.log, s.dir, cutAt-1)
	assert.ErrorIs(t, err, journal.ErrPruned)
	snapshot := s.snapshot(len(s.lines) - 1)
	assert.Equal(t, &snapshot, s.load().From)

	history, err := journal.NewHistory(s.log, nil)
	require.NoError(t, err)
	audited, err := Audit(ctx, history, s.dir)
	require.NoError(t, err)
	assert.Equal(t, uint64(cutAt), audited.First)
	assert.Equal(t, []StoredCheck{{Stored: base, Err: errUnfolded, Unfolded: true}, {Stored: snapshot}}, audited.Stored)

	damaged := func(what string) {
		t.Helper()
		d := new(journal.DamageError)
		_, _, err := Load(ctx, s.log, s.dir)
		require.ErrorAs(t, err, &d, what)
		assert.Equal(t, base.Name(), d.File, what)
		_, err = Audit(ctx, history, s.dir)
		require.ErrorAs(t, err, &d, what)
		assert.Equal(t, base.Name(), d.File, what)
	}
	file, err := os.ReadFile(s.path(base))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path(base), file[:len(file)-1], 0o600))
	damaged("cut off, with a snapshot")
	require.NoError(t, RemoveStored(s.dir, []Stored{snapshot}))
	damaged("cut off, without one")
	require.NoError(t, os.Remove(s.path(base)))
	damaged("missing")
	s.snapshot(len(s.lines))
	damaged("missing, with a snapshot")

	// A base of the right position that says something else, and a header that
	// fits: only the cut tells.
	other := s.fold(cutAt)
	other.boot = "another"
	_, err = WriteBase(s.dir, other, s.root(cutAt))
	require.NoError(t, err)
	damaged("another state")
}

// More is gone than the last cut says, or none says that anything should be.
func TestLoadOfAJournalThatBeginsTooLate(t *testing.T) {
	t.Parallel()
	s := longStored(t)
	s.base()
	require.NoError(t, s.log.Prune(cutAt))
	_, _, err := Load(context.Background(), s.log, s.dir)
	d := new(journal.DamageError)
	require.ErrorAs(t, err, &d)
	assert.Contains(t, err.Error(), "none says that they were pruned")

	later := s.fold(len(s.lines))
	later.cut = &Cut{To: cutAt / 2}
	assert.ErrorAs(t, later.checkCut(s.log, s.dir), &d)
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

// A disk that cannot be read is no damage.
func TestABaseThatCannotBeRead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := longStored(t)
	base := Stored{cutAt, true}
	s.cut(s.base())
	require.NoError(t, s.log.Prune(cutAt))
	file, err := os.ReadFile(s.path(base))
	require.NoError(t, err)
	require.NoError(t, os.Remove(s.path(base)))
	require.NoError(t, os.Symlink(base.Name(), s.path(base)))
	check := func(what string, err error) {
		t.Helper()
		require.ErrorIs(t, err, syscall.ELOOP, what)
		require.ErrorContains(t, err, base.Name(), what)
		_, damage := errors.AsType[*journal.DamageError](err)
		assert.False(t, damage || errors.Is(err, ErrFold), "%s: %v", what, err)
	}
	all := func(what string) {
		t.Helper()
		_, _, err := Load(ctx, s.log, s.dir)
		check(what, err)
		history, err := journal.NewHistory(s.log, nil)
		require.NoError(t, err)
		_, err = Audit(ctx, history, s.dir)
		check(what, err)
	}
	all("nothing else")
	_, err = FoldTo(ctx, s.log, s.dir, cutAt+1)
	check("fold", err)
	check("compare", CompareBase(ctx, s.log, s.dir, s.fold(cutAt)))
	// Nor does what else is wrong make it damage.
	bad := s.snapshot(len(s.lines) - 1)
	require.NoError(t, os.WriteFile(s.path(bad), []byte("{"), 0o600))
	all("beside a bad snapshot")
	s.snapshot(len(s.lines) - 1)
	all("beside a good one")

	require.NoError(t, os.Remove(s.path(base)))
	require.NoError(t, os.WriteFile(s.path(base), file, 0o600))
	s.load()
}

// A cut between the look at what there is and the reading of it.
func TestFoldWhileACutIsMade(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, early := range []string{"nothing", "a snapshot"} {
		s := longStored(t)
		if early != "nothing" {
			s.snapshot(100)
		}
		lists := 0
		f := folding{log: s.log, dir: s.dir, list: func(dir string) ([]Stored, error) {
			list, err := ListStored(dir)
			require.NoError(t, err)
			if lists++; lists == 1 {
				s.cut(s.base())
				require.NoError(t, s.log.Prune(cutAt))
				require.NoError(t, RemoveStored(dir, list))
			}
			return list, nil
		}}
		got, l, err := f.fold(ctx, cutAt+10)
		require.NoError(t, err, early)
		s.same(s.fold(cutAt+10), got)
		assert.Equal(t, &Stored{cutAt, true}, l.From)
		assert.Equal(t, 2, lists)

		// What is missing for good is looked for once more, not for ever.
		require.NoError(t, RemoveStored(s.dir, []Stored{{cutAt, true}}))
		f.list = func(string) ([]Stored, error) {
			lists++
			return []Stored{{cutAt, true}}, nil
		}
		_, _, err = f.fold(ctx, cutAt+10)
		require.ErrorAs(t, err, new(*journal.DamageError))
		assert.Equal(t, 4, lists)
		_, _, err = f.fold(ctx, cutAt-1)
		require.ErrorIs(t, err, journal.ErrPruned)
	}
}
