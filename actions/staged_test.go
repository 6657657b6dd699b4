package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// opens makes an upload as somebody.
func (r *rig) opens(subject, path string, size int64) (sessions.ID, error) {
	who := Caller{Subject: subject, Permissions: mustPermissions("**"), Via: "test"}
	res, err := r.Do(context.Background(), Call{Caller: who, Action: &UploadRequest{
		Path: path, HasPath: true, Size: size, Timeout: time.Minute, Stream: true,
	}})
	if err != nil {
		return sessions.ID{}, err
	}
	return res.(*UploadOpened).ID, nil
}

// Many who ask at once do not get past a limit together; what ends makes room, a
// restart changes nothing, and what is refused leaves nothing behind.
func TestStagedLimitAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits = Limits{MaxStaged: 1000, MaxStagedPerSubject: 500}
	r.mustStart()
	race := func(want map[string]int) (got map[string][]sessions.ID) {
		got = make(map[string][]sessions.ID)
		var mu sync.Mutex
		var all sync.WaitGroup
		var own, global atomic.Int64
		for i := range 48 {
			subject := []string{"ann", "bob", "cas"}[i%3]
			all.Go(func() {
				id, err := r.opens(subject, fmt.Sprintf("%s/%d", subject, i), 100)
				switch {
				case err == nil:
					mu.Lock()
					got[subject] = append(got[subject], id)
					mu.Unlock()
				case errors.Is(err, ErrStagedOwn):
					own.Add(1)
				case errors.Is(err, ErrStaged):
					global.Add(1)
				default:
					assert.NoError(t, err)
				}
			})
		}
		all.Wait()
		n := 0
		for subject, ids := range got {
			assert.LessOrEqual(t, len(ids), 5, subject)
			n += len(ids)
		}
		assert.Equal(t, want["all"], n)
		assert.Equal(t, int64(48-n), own.Load()+global.Load())
		entries, err := os.ReadDir(r.staging())
		require.NoError(t, err)
		assert.Len(t, entries, 10, "what was refused has no file")
		return got
	}
	got := race(map[string]int{"all": 10})
	refusals := r.records(KindRefused)
	assert.Len(t, refusals, 38)
	assert.Contains(t, refusals[0], `"code":"rate_limited"`)

	r.crash()
	r.mustStart()
	_, err := r.opens("dan", "dan", 1)
	require.ErrorIs(t, err, ErrStaged, "rebuilt from the journal")
	for _, ids := range got {
		for i, id := range ids {
			if i%2 == 0 {
				_, err := r.do(&UploadCancel{Session: id})
				require.NoError(t, err)
			} else {
				_, err := r.put(id, 0, random(100))
				require.NoError(t, err)
			}
		}
	}
	r.close()
	r.mustStart()
	_, err = r.opens("ann", "ann/more", 501)
	assert.Equal(t, CodeTooBig, CodeOf(err), "what could never be is no matter of waiting")
	id, err := r.opens("ann", "ann/more", 500)
	require.NoError(t, err)
	r.clock.Advance(time.Hour)
	require.NoError(t, r.reap(r.clock.Now()))
	_, err = r.opens("ann", "ann/again", 500)
	require.NoError(t, err, "one that has expired holds nothing")
	_, err = r.do(&UploadStatusOf{Session: id})
	require.NoError(t, err)
}

// What is stored of an upload whose size is not known counts; when it is told, all
// of it does.
func TestStagedLimitWithoutSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits = Limits{MaxStaged: 100_000}
	r.mustStart()
	data := random(90_000)
	late := r.stream("late", -1, "")
	st, err := r.receive(late, exactly(0), data[:60_000])
	require.NoError(t, err)
	assert.Equal(t, int64(60_000), st.Prefix)
	other, err := r.opens("main", "other", 40_000)
	require.NoError(t, err)
	_, err = r.opens("main", "further", -1)
	require.ErrorIs(t, err, ErrStaged, "there is room for no byte")

	st, err = r.receive(late, exactly(60_000), data[60_000:])
	require.ErrorIs(t, err, ErrStaged)
	assert.Equal(t, int64(60_000), st.Prefix, "what was refused was never sent")
	_, err = r.put(late, 60_000, data[60_000:])
	require.ErrorIs(t, err, ErrStaged)
	_, err = r.receive(late, sized(exactly(60_000), 90_000), data[60_000:])
	require.ErrorIs(t, err, ErrStaged)
	assert.Equal(t, int64(-1), r.status(late).Size)
	st, err = r.receive(late, exactly(0), nil)
	require.ErrorIs(t, err, ErrOffset)
	assert.Equal(t, int64(0), st.Prefix)
	_, err = r.put(late, 0, data[:60_000])
	require.NoError(t, err, "bytes that are stored already take no room")

	r.crash()
	r.mustStart()
	_, err = r.put(late, 60_000, data[60_000:])
	require.ErrorIs(t, err, ErrStaged)
	_, err = r.do(&UploadCancel{Session: other})
	require.NoError(t, err)
	st, err = r.receive(late, sized(exactly(60_000), 90_000), data[60_000:])
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	r.holds("late", data)
	_, err = r.opens("main", "all", 100_000)
	require.NoError(t, err)
}

// Two bodies without a size that grow at once: what is recorded stays within.
func TestStagedLimitOfGrowth(t *testing.T) {
	t.Parallel()
	const most = 3 << 20
	r := newRig(t)
	r.limits = Limits{MaxStaged: most}
	r.mustStart()
	var all sync.WaitGroup
	var over atomic.Int64
	for i := range 4 {
		id := r.stream(fmt.Sprint(i), -1, "")
		all.Go(func() {
			for at := int64(0); ; at += 256 << 10 {
				_, err := r.receive(id, exactly(at), random(256<<10))
				if err != nil {
					assert.ErrorIs(t, err, ErrStaged)
					over.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	assert.Equal(t, int64(4), over.Load())
	require.NoError(t, r.core.view(func(s *State) {
		held, _ := s.sessions.Staged("", false)
		assert.Equal(t, int64(most), held)
	}))
}

func TestStagedLimitOfTasks(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.close()
	l.limits = Limits{MaxStagedPerSubject: 50_000}
	l.mustStart()
	made, other := l.create("doc"), l.create("other")
	data := random(50_000)
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write(data[:40_000])
	require.NoError(t, err)
	_, err = w.Keep()
	require.NoError(t, err)

	w, err = l.task(other).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write(random(20_000))
	require.NoError(t, err)
	_, err = w.Keep()
	refused(t, acl.CodeDiskFull, nil, err)
	refused(t, acl.CodeDiskFull, nil, l.task(other).Room(0, 20_000))
	require.NoError(t, l.task(other).Room(0, 10_000))
	require.NoError(t, l.task(made).Room(40_000, 10_000))
	require.NoError(t, l.task(made).Room(0, 50_000), "what it replaces goes")
	refused(t, acl.CodeDiskFull, nil, l.task(made).Room(40_000, 10_001))
	require.NoError(t, l.task(made).Room(40_000, -1), "nobody knows how much comes")

	// A subject of the same name has room of its own.
	_, err = l.opens("admin", "file", 50_000)
	require.NoError(t, err)
	_, err = l.opens("admin", "file2", 1)
	require.ErrorIs(t, err, ErrStagedOwn)

	l.crash()
	l.mustStart()
	refused(t, acl.CodeDiskFull, nil, l.task(other).Room(0, 20_000))
	w, err = l.task(made).Store(40_000, true)
	require.NoError(t, err)
	_, err = w.Write(data[40_000:])
	require.NoError(t, err)
	_, err = w.Publish("")
	require.NoError(t, err)
	assert.Equal(t, string(data), l.mustRead("admin", "doc"))
	_, err = l.upload(other, data)
	require.NoError(t, err)
}
