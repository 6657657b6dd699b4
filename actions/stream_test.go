package actions

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// stream opens an upload as a client of tus does.
func (r *rig) stream(path string, size int64, sha string) sessions.ID {
	r.t.Helper()
	res, err := r.do(&UploadRequest{Path: path, HasPath: true, Size: size, SHA1: sha, Timeout: time.Hour, Stream: true})
	return must[*UploadOpened](r.t, res, err).ID
}

// receive sends a body, in pieces of an odd length.
func (r *rig) receive(id sessions.ID, o ReceiveOptions, data []byte) (UploadStatus, error) {
	w, err := r.Receive(rigCaller, id, o)
	if err != nil {
		return UploadStatus{}, err
	}
	var werr error
	for len(data) > 0 && werr == nil {
		n := min(len(data), 33_333)
		_, werr = w.Write(data[:n])
		data = data[n:]
	}
	st, err := w.Close()
	if err == nil {
		err = werr
	}
	return st, err
}

func (r *rig) holds(path string, data []byte) {
	r.t.Helper()
	have, err := os.ReadFile(r.path(path))
	require.NoError(r.t, err)
	assert.Equal(r.t, hexSHA1(data), hexSHA1(have), "%d bytes, not %d", len(have), len(data))
}

func exactly(offset int64) ReceiveOptions { return ReceiveOptions{Offset: offset, Exact: true} }

func checked(offset int64, data []byte) ReceiveOptions {
	sum := sha1.Sum(data)
	return ReceiveOptions{Offset: offset, Exact: true, Verify: sha1.New(), Want: sum[:]}
}

func sized(o ReceiveOptions, size int64) ReceiveOptions {
	o.Size = &size
	return o
}

func TestReceive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1_000_000)
	id := r.stream("a/b", int64(len(data)), hexSHA1(data))
	st, err := r.receive(id, ReceiveOptions{Offset: 600_000, Length: 300_000}, data[600_000:900_000])
	require.NoError(t, err)
	assert.Equal(t, "open", st.State)
	assert.Equal(t, [][2]int64{{0, 600_000}, {900_000, 1_000_000}}, st.Missing)
	st, err = r.receive(id, exactly(0), data[:400_000])
	require.NoError(t, err)
	assert.Equal(t, int64(400_000), st.Prefix)
	// A small body costs one sync and one record, whatever it came in.
	assert.Len(t, r.records(sessions.KindUploadStored), 2)
	assert.Contains(t, r.records(sessions.KindUploadStored)[1], `"calls":1`)
	r.crash()
	r.mustStart()
	// Over what is there already.
	st, err = r.receive(id, exactly(400_000), data[400_000:])
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	assert.Equal(t, hexSHA1(data), st.SHA1)
	r.holds("a/b", data)
	_, err = r.Receive(rigCaller, id, exactly(1_000_000))
	assert.ErrorIs(t, err, ErrEnded)
}

func TestReceiveRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1000)
	id := r.stream("f", 1000, "")
	_, err := r.receive(id, exactly(0), data[:300])
	require.NoError(t, err)
	other := Caller{Subject: "other", Permissions: mustPermissions("mcsl.daemon.file"), Via: "test"}
	weak := Caller{Subject: "main", Permissions: mustPermissions("mcsl.daemon.file.download"), Via: "test"}
	same := Caller{Subject: "main", Permissions: mustPermissions("mcsl.daemon.file"), Via: "test"}
	for name, c := range map[string]struct {
		who  Caller
		id   sessions.ID
		o    ReceiveOptions
		code Code
		is   error
	}{
		"unknown":            {rigCaller, sessions.NewID(), exactly(0), CodeNoTransfer, nil},
		"of another subject": {other, id, exactly(300), CodeNoTransfer, nil},
		"not allowed":        {weak, id, exactly(300), CodePermission, nil},
		"before the end":     {same, id, exactly(299), CodeParam, ErrOffset},
		"after the end":      {same, id, exactly(301), CodeParam, ErrOffset},
		"outside":            {same, id, ReceiveOptions{Offset: 1000}, CodeParam, nil},
		"negative":           {same, id, ReceiveOptions{Offset: -1}, CodeParam, nil},
		"too long":           {same, id, ReceiveOptions{Offset: 300, Exact: true, Length: 701}, CodeTooBig, nil},
		"another size":       {same, id, sized(exactly(300), 999), CodeParam, nil},
	} {
		before := len(r.records(KindRefused))
		_, err := r.Receive(c.who, c.id, c.o)
		assert.Equal(t, c.code, CodeOf(err), "%s: %v", name, err)
		if c.is != nil {
			assert.ErrorIs(t, err, c.is, name)
		}
		assert.Len(t, r.records(KindRefused), before+1, name)
	}
	// Longer than it may be, without saying so: what fits is kept, and the end of the
	// body says that the rest did not.
	before := len(r.records(KindRefused))
	w, err := r.Receive(rigCaller, id, exactly(300))
	require.NoError(t, err)
	_, err = w.Write(data[300:600])
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 401))
	assert.Equal(t, CodeTooBig, CodeOf(err))
	st, err := w.Close()
	assert.Equal(t, CodeTooBig, CodeOf(err))
	assert.Equal(t, "open", st.State)
	assert.Equal(t, int64(600), st.Prefix)
	assert.Len(t, r.records(KindRefused), before+1)
	// Nothing at all leaves its record, too.
	before = len(r.records(KindAnswered))
	st, err = r.receive(id, sized(exactly(st.Prefix), 1000), nil)
	require.NoError(t, err)
	assert.Len(t, r.records(KindAnswered), before+1)
	_, err = r.receive(id, exactly(st.Prefix), data[st.Prefix:])
	require.NoError(t, err)
	r.holds("f", data)
	_, err = r.Receive(other, id, exactly(1000))
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	assert.NotErrorIs(t, err, ErrEnded, "of another subject")
}

func TestReceiveRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.stream("f", 10, hexSHA1([]byte("else")))
	st, err := r.receive(id, exactly(0), random(10))
	assert.Equal(t, CodeTransfer, CodeOf(err))
	assert.Equal(t, "rejected", st.State)
	_, err = r.Receive(rigCaller, id, exactly(0))
	assert.ErrorIs(t, err, ErrEnded)
}

// A later transfer from the end of the stored bytes ends the one before it, whose
// bytes count.
func TestReceiveTakesOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(600_000)
	id := r.stream("f", 600_000, "")
	first, err := r.Receive(rigCaller, id, exactly(0))
	require.NoError(t, err)
	_, err = first.Write(data[:200_000])
	require.NoError(t, err)
	_, err = r.Receive(rigCaller, id, exactly(0))
	assert.ErrorIs(t, err, ErrOffset, "its bytes have become durable")
	<-first.Done()
	_, err = first.Write(data[200_000:])
	assert.ErrorIs(t, err, ErrTakenOver)
	second, err := r.Receive(rigCaller, id, exactly(200_000))
	require.NoError(t, err)
	_, err = second.Write(data[200_000:400_000])
	require.NoError(t, err)
	st, err := first.Close()
	assert.ErrorIs(t, err, ErrTakenOver)
	assert.Equal(t, "open", st.State)
	st, err = second.Close()
	require.NoError(t, err)
	assert.Equal(t, int64(400_000), st.Prefix)
	// One that holds its bytes back loses them.
	held, err := r.Receive(rigCaller, id, checked(400_000, data[400_000:]))
	require.NoError(t, err)
	_, err = held.Write(data[400_000:500_000])
	require.NoError(t, err)
	st, err = r.receive(id, exactly(400_000), data[400_000:])
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	_, err = held.Close()
	assert.Error(t, err)
	r.holds("f", data)
}

func TestReceiveChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const half = 10 << 20 // more than a window
	data := random(2 * half)
	id := r.stream("f", int64(len(data)), hexSHA1(data))
	// An island that the body will run over, and another one.
	_, err := r.put(id, 15<<20, data[15<<20:][:1000])
	require.NoError(t, err)
	stored := len(r.records(sessions.KindUploadStored))
	wrong := bytes.Clone(data[:half])
	wrong[half-1]++
	st, err := r.receive(id, checked(0, data[:half]), wrong)
	assert.ErrorIs(t, err, ErrChecksum)
	assert.Zero(t, st.Prefix)
	assert.Equal(t, int64(1000), st.Received)
	st, err = r.receive(id, checked(0, data[:half]), data[:half-1])
	assert.ErrorIs(t, err, ErrChecksum, "it broke off")
	assert.Zero(t, st.Prefix)
	assert.Len(t, r.records(sessions.KindUploadStored), stored, "no fact names them")
	st, err = r.receive(id, checked(0, data[:half]), data[:half])
	require.NoError(t, err)
	assert.Equal(t, int64(half), st.Prefix)
	r.crash()
	r.mustStart()
	assert.Equal(t, int64(half), r.status(id).Prefix)
	st, err = r.receive(id, checked(half, data[half:]), data[half:])
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	r.holds("f", data)
}

// Bytes that are held back until their digest is known keep nobody waiting, who
// would keep all uploads waiting for room.
func TestHeldBytesHoldNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const size = 2 * totalWindow / 5
	data := random(size)
	id, other := r.stream("f", size, ""), r.stream("g", 10, "")
	held, err := r.Receive(rigCaller, id, checked(0, data))
	require.NoError(t, err)
	_, err = held.Write(data[:1000])
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 5 { // more than the window, if they waited
		wg.Go(func() {
			_, err := r.put(id, 0, data[:size/2])
			assert.Equal(t, CodeInUse, CodeOf(err))
		})
	}
	_, err = r.receive(id, ReceiveOptions{Offset: 999}, data[999:2000])
	assert.Equal(t, CodeInUse, CodeOf(err))
	wg.Wait()
	st, err := r.receive(other, exactly(0), data[:10])
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	// It goes on, and so do those beside it.
	_, err = r.put(id, 1<<20, data[1<<20:][:1000])
	require.NoError(t, err)
	_, err = held.Write(data[1000:])
	require.NoError(t, err)
	st, err = held.Close()
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	r.holds("f", data)
}

// Bytes that are stored do not go for others that may turn out never to have been
// sent.
func TestCheckedOverOtherBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1000)
	id := r.stream("f", 1000, "")
	_, err := r.put(id, 500, data[500:600])
	require.NoError(t, err)
	damaged := bytes.Clone(data)
	damaged[550]++
	_, err = r.receive(id, checked(0, data), damaged)
	assert.Equal(t, CodeConflict, CodeOf(err))
	st := r.status(id)
	assert.Zero(t, st.Prefix)
	assert.Equal(t, int64(100), st.Received, "what was acknowledged is there")
	assert.Empty(t, r.records(sessions.KindUploadUnstored))
	last, err := r.receive(id, checked(0, data), data)
	require.NoError(t, err)
	assert.Equal(t, "placed", last.State)
	r.holds("f", data)
}

func TestReceiveWithoutSize(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at   int64 // what is stored before the size is told
		last bool  // whether more comes with it
	}{"before any byte": {0, true}, "with the last ones": {60_000, true}, "after the last one": {100_000, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.mustStart()
			data := random(100_000)
			id := r.stream("f", -1, hexSHA1(data))
			// Bytes that are never recorded lie beyond the end.
			_, err := r.receive(id, checked(0, data), random(150_000))
			require.ErrorIs(t, err, ErrChecksum)
			st, err := r.receive(id, exactly(0), data[:c.at])
			require.NoError(t, err)
			assert.Equal(t, int64(-1), st.Size)
			assert.Equal(t, c.at, st.Prefix)
			r.crash()
			r.mustStart()
			if c.at > 0 {
				_, err = r.receive(id, sized(exactly(c.at), c.at-1), nil)
				assert.Equal(t, CodeParam, CodeOf(err))
			}
			_, err = r.receive(id, sized(exactly(c.at), UploadMax+1), nil)
			assert.Equal(t, CodeTooBig, CodeOf(err))
			st, err = r.receive(id, sized(exactly(c.at), 100_000), data[c.at:])
			require.NoError(t, err)
			assert.Equal(t, "placed", st.State)
			r.holds("f", data)
		})
	}
}

func TestReceiveNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	require.NoError(t, os.WriteFile(r.path("old"), []byte("old"), 0o644))
	id := r.stream("old", 0, "")
	assert.Equal(t, "placed", r.status(id).State)
	r.holds("old", nil)
	id = r.stream("late", -1, "")
	st, err := r.receive(id, sized(exactly(0), 0), nil)
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
	r.holds("late", nil)
	_, err = r.do(&UploadRequest{Path: "x", HasPath: true, Size: 0, SHA1: hexSHA1([]byte("x")), Timeout: time.Minute, Stream: true})
	assert.Equal(t, CodeTransfer, CodeOf(err))
}

// The size of an upload that has none is bounded, and free space is looked at.
func TestReceiveWithoutSizeIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.MaxFileSize = 1000
	r.mustStart()
	id := r.stream("f", -1, "")
	_, err := r.receive(id, exactly(0), random(1001))
	assert.Equal(t, CodeTooBig, CodeOf(err))
	_, err = r.put(id, 1000, []byte("x"))
	assert.Equal(t, CodeParam, CodeOf(err))
	r.close()
	r.reserve = 1 << 60
	r.mustStart()
	_, err = r.receive(id, exactly(0), random(10))
	assert.Equal(t, CodeDiskFull, CodeOf(err))
}

// What a body that has stalled brought does not stay volatile.
func TestReceiveStalls(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.stream("f", 1000, "")
	w, err := r.Receive(rigCaller, id, exactly(0))
	require.NoError(t, err)
	_, err = w.Write(random(500))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.status(id).Prefix == 500 }, 10*time.Second, time.Millisecond)
	r.idle(2 * time.Hour)
	assert.Equal(t, "open", r.state(id), "the clock stands still meanwhile")
	_, err = w.Close()
	require.NoError(t, err)
	r.idle(time.Hour)
	assert.Equal(t, "expired", r.state(id))
}

func TestReceiveCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	for name, o := range map[string]ReceiveOptions{"exact": exactly(0), "anywhere": {Offset: 5}, "checked": checked(0, nil)} {
		id := r.stream(name, 1000, "")
		w, err := r.Receive(rigCaller, id, o)
		require.NoError(t, err)
		_, err = w.Write(random(500))
		require.NoError(t, err)
		_, err = r.do(&UploadCancel{Session: id})
		require.NoError(t, err)
		<-w.Done()
		_, err = w.Write([]byte("x"))
		assert.ErrorIs(t, err, ErrEnded, name)
		st, err := w.Close()
		assert.ErrorIs(t, err, ErrEnded, name)
		assert.Equal(t, "cancelled", st.State)
	}
	assert.Empty(t, r.staged())
}

// Bodies, chunks, status requests and further bodies on one upload at one time:
// none corrupts, whatever their order.
func TestReceiveAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const size = 9 << 20
	data := random(size)
	id := r.stream("f", size, hexSHA1(data))
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() { // exact ones, which end each other
			for {
				st, err := r.do(&UploadStatusOf{Session: id})
				if err != nil || st.(*UploadStatus).State != "open" {
					return
				}
				at := st.(*UploadStatus).Prefix
				o := exactly(at)
				end := min(at+1<<20, size)
				if i == 2 {
					o = checked(at, data[at:end])
				}
				_, err = r.receive(id, o, data[at:end])
				for _, fine := range []error{ErrOffset, ErrTakenOver, ErrEnded, ErrChecksum} {
					if errors.Is(err, fine) {
						err = nil
					}
				}
				if CodeOf(err) == CodeInUse {
					err = nil
				}
				if !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	all.Go(func() {
		for off := int64(size - 700_000); off > 0; off -= 700_000 {
			if _, err := r.put(id, off, data[off:off+100_000]); CodeOf(err) == CodeNoTransfer {
				return
			}
		}
	})
	all.Go(func() {
		_, err := r.receive(id, ReceiveOptions{Offset: 5 << 20}, data[5<<20:8<<20])
		if !errors.Is(err, ErrEnded) {
			assert.NoError(t, err)
		}
	})
	all.Wait()
	assert.Equal(t, "placed", r.status(id).State)
	r.holds("f", data)
}

// What a client of tus wants to be told again outlives it.
func TestMetadataIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	res, err := r.do(&UploadRequest{Path: "f", HasPath: true, Size: 3, Timeout: time.Hour, Stream: true, Meta: "a Yg==,c"})
	id := must[*UploadOpened](t, res, err).ID
	r.crash()
	r.mustStart()
	assert.Equal(t, "a Yg==,c", r.status(id).Meta)
	_, err = r.receive(id, exactly(0), []byte("abc"))
	require.NoError(t, err)
	assert.Equal(t, "a Yg==,c", r.status(id).Meta)
	var fact struct{ Body struct{ Meta string } }
	require.NoError(t, json.Unmarshal([]byte(r.records(sessions.KindUploadOpened)[0]), &fact))
	assert.Equal(t, "a Yg==,c", fact.Body.Meta)
}

// streams is a workload of bodies whose every acknowledgement is remembered.
type streams struct {
	r           *rig
	data        []byte
	id, late    sessions.ID
	acked, deep int64 // what an answer said is durable of each
	done, gone  bool  // an answer said that it is placed
}

func (w *streams) run() {
	r := w.r
	open := func(path string, size int64) sessions.ID {
		res, err := r.do(&UploadRequest{Path: path, HasPath: true, Size: size, SHA1: hexSHA1(w.data), Timeout: time.Hour, Stream: true})
		if err != nil {
			return sessions.ID{}
		}
		return res.(*UploadOpened).ID
	}
	note := func(st UploadStatus, err error, acked *int64, done *bool) {
		if err == nil {
			*acked, *done = max(*acked, st.Prefix), *done || st.State == "placed"
		}
	}
	body := func(id sessions.ID, o ReceiveOptions, data []byte, acked *int64, done *bool) {
		st, err := r.receive(id, o, data)
		note(st, err, acked, done)
	}
	if w.id = open("new/deep/file.bin", int64(len(w.data))); !w.id.IsZero() {
		_, _ = r.put(w.id, 70_000, bytes.Repeat([]byte{0xee}, 10_000)) // to be rewritten
		body(w.id, exactly(0), w.data[:30_000], &w.acked, &w.done)
		body(w.id, checked(w.acked, w.data[w.acked:60_000]), w.data[w.acked:60_000], &w.acked, &w.done)
		body(w.id, checked(w.acked, nil), w.data[w.acked:], &w.acked, &w.done)
	}
	if w.late = open("old.bin", -1); !w.late.IsZero() {
		body(w.late, exactly(0), w.data[:50_000], &w.deep, &w.gone)
		body(w.late, sized(exactly(w.deep), int64(len(w.data))), w.data[w.deep:], &w.deep, &w.gone)
	}
	if !w.id.IsZero() {
		body(w.id, exactly(w.acked), w.data[w.acked:], &w.acked, &w.done)
	}
}

func (w *streams) verify() {
	t, r := w.r.t, w.r
	have, err := os.ReadFile(r.path("old.bin"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(have, []byte("the old file")) || bytes.Equal(have, w.data), "neither the old nor the new file")
	for _, u := range []struct {
		id    sessions.ID
		path  string
		acked int64
		done  bool
	}{{w.id, "new/deep/file.bin", w.acked, w.done}, {w.late, "old.bin", w.deep, w.gone}} {
		if u.id.IsZero() {
			continue
		}
		st := r.status(u.id)
		if st.State == "open" {
			assert.False(t, u.done, "answered as placed, but open")
			assert.GreaterOrEqual(t, st.Prefix, u.acked, "acknowledged bytes are missing")
			// A client goes on from the offset that it is told.
			_, err := r.receive(u.id, sized(exactly(st.Prefix), int64(len(w.data))), w.data[st.Prefix:])
			require.NoError(t, err)
			st = r.status(u.id)
		}
		require.Equal(t, "placed", st.State, "%+v", st)
		r.holds(u.path, w.data)
	}
}

// TestStreamFaults is TestFaults for bodies.
func TestStreamFaults(t *testing.T) {
	t.Parallel()
	counts := streaming(t, &fault{seen: map[string]int{}})
	for _, op := range []string{"commit", "staged.create", "staged.write", "staged.sync", "staging.sync", "target.rename", "target.sync"} {
		require.NotZero(t, counts[op], "the workload never does %s", op)
	}
	for op, n := range counts {
		for nth := 1; nth <= n; nth++ {
			for _, happens := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/happened=%v", op, nth, happens), func(t *testing.T) {
					t.Parallel()
					streaming(t, &fault{op: op, nth: nth, happens: happens, seen: map[string]int{}})
				})
			}
		}
	}
}

func streaming(t *testing.T, f *fault) map[string]int {
	r := newRig(t)
	w := &streams{r: r, data: random(100_000)}
	require.NoError(t, os.WriteFile(r.path("old.bin"), []byte("the old file"), 0o644))
	require.NoError(t, r.start())
	r.seams.set(f.step)
	w.run()
	r.seams.set(nil)
	counts := f.counts()
	r.crash()
	require.NoError(t, r.start())
	w.verify()
	return counts
}

func TestOpenReader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(100_000)
	require.NoError(t, os.WriteFile(r.path("f"), data, 0o644))
	id := r.download("f").ID
	from, err := r.OpenReader(rigCaller, id, false)
	require.NoError(t, err)
	require.NoError(t, from.Next(0, 1000))
	require.NoError(t, from.Next(1000, 2000))
	r.idle(time.Hour)
	require.NoError(t, from.Next(5000, 6000), "the clock stands still meanwhile")
	require.NoError(t, from.Close())
	r.idle(2 * time.Second)
	read := r.records(sessions.KindDownloadRead)
	require.NotEmpty(t, read)
	assert.Contains(t, read[0], `"ranges":[[0,2000]`)
	// One that hands out nothing leaves its record as well.
	from, err = r.OpenReader(rigCaller, id, false)
	require.NoError(t, err)
	require.NoError(t, from.Close())
	assert.Contains(t, r.records(KindAnswered)[0], `"action":"file_download_chunk"`)

	other := Caller{Subject: "other", Permissions: mustPermissions("mcsl.daemon.file"), Via: "test"}
	_, err = r.OpenReader(other, id, false)
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	from, err = r.OpenReader(Caller{Via: "test"}, id, true)
	require.NoError(t, err)
	require.NoError(t, from.Next(0, 1))
	// Replaced: it goes on with what it has, and nobody else begins.
	require.NoError(t, os.WriteFile(r.path("g"), []byte("new"), 0o644))
	require.NoError(t, os.Rename(r.path("g"), r.path("f")))
	require.NoError(t, from.Next(1, 2))
	_, err = r.OpenReader(rigCaller, id, false)
	assert.ErrorIs(t, err, ErrReplaced)
	_, err = r.do(&DownloadClose{Session: id})
	require.NoError(t, err)
	assert.Equal(t, CodeNoTransfer, CodeOf(from.Next(2, 3)))
	require.NoError(t, from.Close())
	_, err = r.OpenReader(rigCaller, id, false)
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	read = r.records(sessions.KindDownloadRead)
	assert.Contains(t, read[len(read)-1], `"actor":"main"`)

	// Written to in its place: whoever reads must stop.
	id = r.download("f").ID
	from, err = r.OpenReader(rigCaller, id, false)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.path("f"), []byte("longer"), 0o644))
	assert.ErrorIs(t, from.Next(0, 3), ErrReplaced)
	require.NoError(t, from.Close())
	_, err = r.OpenReader(Caller{Subject: "main", Via: "test"}, id, false)
	assert.Equal(t, CodePermission, CodeOf(err))
}
