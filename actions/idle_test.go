package actions

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// idle moves the clock and lets the reaper look.
func (r *rig) idle(d time.Duration) {
	r.t.Helper()
	r.clock.Advance(d)
	require.NoError(r.t, r.reap(r.clock.Now()))
}

// state tells how an upload stands without asking for it, which would restart
// its clock.
func (r *rig) state(id sessions.ID) string {
	r.t.Helper()
	var u sessions.Upload
	require.NoError(r.t, r.core.view(func(s *State) { u, _ = s.sessions.Upload(id) }))
	return u.State.String()
}

const almost = 2*time.Minute - time.Millisecond

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id, still := r.open("f", 10, ""), r.open("g", 10, "")
	_, err := r.put(still, 0, []byte("x"))
	require.NoError(t, err)
	// Every request for the session restarts the clock, whatever comes of it.
	for name, a := range map[string]Action{
		"stored":  &UploadChunk{Session: id, Data: []byte("ab")},
		"equal":   &UploadChunk{Session: id, Data: []byte("ab")},
		"empty":   &UploadChunk{Session: id},
		"refused": &UploadChunk{Session: id, Offset: 99, Data: []byte("x")},
		"status":  &UploadStatusOf{Session: id},
	} {
		_, err := r.do(&UploadStatusOf{Session: still})
		require.NoError(t, err)
		r.idle(almost)
		require.Equal(t, "open", r.state(id), name)
		res, err := r.do(a)
		assert.Equal(t, name == "refused", err != nil, name)
		if st, ok := res.(*UploadStatus); ok {
			assert.Equal(t, int64(120_000), st.ExpiresMS)
		}
	}
	r.idle(almost)
	require.Equal(t, "open", r.state(id))
	assert.Equal(t, "expired", r.state(still))
	// A list shows what is left and restarts nothing.
	res, err := r.do(TransferList{})
	assert.Equal(t, int64(1), must[*Transfers](t, res, err).Uploads[0].ExpiresMS)
	r.idle(time.Millisecond)
	assert.Equal(t, "expired", r.state(id))
	assert.Empty(t, r.staged(), "its bytes are dropped")
	st := r.status(id)
	assert.Equal(t, "expired", st.State)
	assert.Equal(t, CodeNoTransfer, st.Code)
	assert.Equal(t, int64(2), st.Received)
	_, err = r.put(id, 0, []byte("x"))
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	expired := r.records(sessions.KindUploadExpired)
	require.Len(t, expired, 2)
	assert.Contains(t, expired[0], `"actor":"daemon","via":"reaper"`)
}

func TestIdleTimeoutAcrossRestarts(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig){"crash": (*rig).crash, "stop": (*rig).close} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.mustStart()
			id := r.open("f", 10, "")
			r.idle(almost)
			end(r)
			r.clock.Advance(30 * time.Hour) // time down does not count
			r.mustStart()
			require.NoError(t, r.reap(r.clock.Now()))
			r.idle(almost) // and the whole timeout is there again
			assert.Equal(t, "open", r.state(id))
			_, err := r.put(id, 0, []byte("x"))
			require.NoError(t, err)
			r.idle(2 * time.Minute)
			assert.Equal(t, "expired", r.state(id))
			end(r)
			r.mustStart()
			assert.Equal(t, "expired", r.status(id).State, "how it ended outlives the daemon too")
		})
	}
}

// While any of its work is pending, a session does not expire, and its clock
// starts when the work is done.
func TestPendingWorkStopsTheClock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 10, "")
	g := newGate("staged.sync")
	r.seams.set(g.step)
	answer := r.send(rigCaller, id, 0, []byte("x"))
	<-g.reached
	r.idle(time.Hour)
	assert.Equal(t, "open", r.state(id))
	close(g.open)
	require.NoError(t, <-answer)
	r.seams.set(nil)
	r.idle(almost)
	assert.Equal(t, "open", r.state(id))
	r.idle(time.Millisecond)
	assert.Equal(t, "expired", r.state(id))
}

func TestEndIsRememberedForADay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	placed, cancelled, expired := r.open("a", 1, ""), r.open("b", 1, ""), r.open("c", 1, "")
	rejected := r.open("d", 1, hexSHA1(nil))
	_, err := r.put(placed, 0, []byte("x"))
	require.NoError(t, err)
	_, err = r.put(rejected, 0, []byte("x"))
	require.Error(t, err)
	_, err = r.do(&UploadCancel{Session: cancelled})
	require.NoError(t, err)
	r.idle(time.Hour)
	ends := map[sessions.ID]string{placed: "placed", cancelled: "cancelled", expired: "expired", rejected: "rejected"}
	r.crash()
	r.clock.Advance(sessions.Remember - time.Hour - time.Second)
	r.mustStart()
	for id, want := range ends {
		st := r.status(id)
		assert.Equal(t, want, st.State)
		assert.Equal(t, want == "placed", st.Code == CodeOK)
		assert.Equal(t, want == "placed", st.SHA1 != "", want)
		assert.Zero(t, st.ExpiresMS)
	}
	r.clock.Advance(time.Second)
	for id, how := range ends {
		_, err := r.do(&UploadStatusOf{Session: id})
		if how == "expired" { // an hour later than the others
			assert.NoError(t, err)
		} else {
			assert.Equal(t, CodeNoTransfer, CodeOf(err), how)
		}
	}
	r.clock.Advance(time.Hour)
	_, err = r.do(&UploadStatusOf{Session: expired})
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
}

// Staged files nobody uses are closed, and opened again when somebody does.
func TestIdleFilesAreClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 2, "")
	_, err := r.put(id, 0, []byte("a"))
	require.NoError(t, err)
	handle := func() bool {
		r.Engine.mu.Lock()
		u := r.Engine.uploads[id]
		r.Engine.mu.Unlock()
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.file != nil
	}
	r.idle(fileLinger - time.Millisecond)
	assert.True(t, handle())
	r.idle(time.Millisecond)
	assert.False(t, handle())
	_, err = r.put(id, 1, []byte("b"))
	require.NoError(t, err)
	assert.Equal(t, "ab", string(r.content("f")))
}

// Of many uploads none keeps a file open that is not in use: descriptors are the
// process's, journal and sockets need some.
func TestManyIdleFilesAreClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	busy, err := r.Receive(rigCaller, r.open("busy", 2, ""), exactly(0))
	require.NoError(t, err)
	for i := range maxLingering {
		r.open(fmt.Sprint(i), 1, "")
	}
	r.idle(0)
	open := 0
	r.Engine.mu.Lock()
	for _, u := range r.Engine.uploads {
		u.mu.Lock()
		if u.file != nil {
			open++
		}
		u.mu.Unlock()
	}
	r.Engine.mu.Unlock()
	assert.Equal(t, 1, open)
	_, err = busy.Write([]byte("ab"))
	require.NoError(t, err)
	st, err := busy.Close()
	require.NoError(t, err)
	assert.Equal(t, "placed", st.State)
}

// A queued job is work of its session that is pending, also after a restart.
func TestQueuedJobsStopTheClock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("d", []byte("x"))
	r.mustStart()
	id, down := r.open("f", 10, ""), r.download("d").ID
	r.idle(time.Minute / 2)
	job := r.queueHeld(id)
	closing := r.queueAs(rigCaller, &DownloadClose{Session: down})
	r.idle(time.Hour)
	assert.Equal(t, "open", r.state(id))
	r.crash()

	g := newGate("staged.sync") // of the chunk's bytes
	r.seams.set(g.step)
	r.mustStart()
	<-g.reached
	r.idle(time.Hour)
	assert.Equal(t, "open", r.state(id))
	close(g.open)
	r.seams.set(nil)
	assert.Equal(t, "ok", r.outcome(job).State)
	assert.Equal(t, "ok", r.outcome(closing).State)
	assert.Empty(t, r.records(sessions.KindDownloadExpired))
	for pending := true; pending; time.Sleep(time.Millisecond) { // the worker lets go after the record
		r.Engine.mu.Lock()
		u := r.Engine.uploads[id]
		r.Engine.mu.Unlock()
		u.mu.Lock()
		pending = u.waiting()
		u.mu.Unlock()
	}
	r.idle(almost)
	assert.Equal(t, "open", r.state(id))
	r.idle(time.Millisecond)
	assert.Equal(t, "expired", r.state(id))
}

// A request that waits in a connection's queue, or whose answer has not left
// yet, keeps its session alive.
func TestArrivedStopsTheClock(t *testing.T) {
	r := newRig(t)
	r.mustStart()
	id := r.open("x", 100, "")
	left := r.Arrived(&UploadChunk{Session: id})
	r.clock.Advance(time.Hour)
	require.NoError(t, r.reap(r.clock.Now()))
	left()
	r.clock.Advance(2*time.Minute - time.Millisecond)
	require.NoError(t, r.reap(r.clock.Now()))
	r.Arrived(&UploadChunk{Session: sessions.NewID()})() // nobody's session
	assert.Equal(t, 1, r.Stats().LiveUploads)
	r.clock.Advance(time.Millisecond)
	require.NoError(t, r.reap(r.clock.Now()))
	assert.Zero(t, r.Stats().LiveUploads)
}
