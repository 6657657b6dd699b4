package actions

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// follow opens an upload whose bytes come with the request.
func (r *rig) follow(path string, size int64) sessions.ID {
	r.t.Helper()
	res, err := r.do(&UploadRequest{Path: path, HasPath: true, Size: size, Timeout: time.Hour, Stream: true, Follow: true})
	return must[*UploadOpened](r.t, res, err).ID
}

// TestOpeningThatIsNotWaitedFor: the journal is held up while the bytes come; what
// Close acknowledges is in it all the same, the opening first.
func TestOpeningThatIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(50_000)
	g := newGate("commit")
	r.seams.set(g.step)
	id := r.follow("x.bin", int64(len(data)))
	<-g.reached
	assert.Empty(t, r.records(sessions.KindUploadOpened), "not committed yet")
	w, err := r.Receive(rigCaller, id, exactly(0))
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	closed := make(chan error, 1)
	var st UploadStatus
	go func() {
		var err error
		st, err = w.Close()
		closed <- err
	}()
	close(g.open)
	require.NoError(t, <-closed)
	assert.Equal(t, "placed", st.State)
	assert.Len(t, r.records(sessions.KindUploadOpened), 1)
	r.holds("x.bin", data)

	// A body that brings nothing waits for the opening, too.
	g = newGate("commit")
	r.seams.set(g.step)
	id = r.follow("y.bin", 10)
	<-g.reached
	w, err = r.Receive(rigCaller, id, exactly(0))
	require.NoError(t, err)
	go func() {
		var err error
		st, err = w.Close()
		closed <- err
	}()
	close(g.open)
	require.NoError(t, <-closed)
	assert.Equal(t, "open", st.State)
	assert.Len(t, r.records(sessions.KindUploadOpened), 2)
	r.crash()
	r.mustStart()
	assert.Equal(t, "open", r.status(id).State)
}

// TestOpeningRefusedLate: room that somebody else has taken between the look and
// the decision. The bytes that came meanwhile are of nothing, and nothing is left.
func TestOpeningRefusedLate(t *testing.T) {
	t.Parallel()
	t.Run("while the bytes come", func(t *testing.T) { openingRefusedLate(t, false) })
	t.Run("before they ask for it", func(t *testing.T) { openingRefusedLate(t, true) })
}

func openingRefusedLate(t *testing.T, before bool) {
	t.Parallel()
	r := newRig(t)
	r.limits = Limits{MaxStaged: 100_000}
	r.mustStart()
	data := random(80_000)
	first, other := true, sessions.ID{}
	r.seams.set(func(op string, do func() error) error {
		if op == "staged.create" && first {
			first = false
			other = r.stream("other", 80_000, "")
		}
		return do()
	})
	res, err := r.do(&UploadRequest{Path: "x.bin", HasPath: true, Size: int64(len(data)), Timeout: time.Hour, Stream: true, Follow: true})
	opened := must[*UploadOpened](t, res, err)
	if before {
		require.Eventually(t, func() bool { return opened.Refused() != nil }, time.Minute, time.Millisecond)
	}
	w, err := r.Receive(rigCaller, opened.ID, exactly(0))
	if before {
		assert.Equal(t, CodeNoTransfer, CodeOf(err), "which says nothing of why")
	}
	if err == nil {
		_, _ = w.Write(data) // it may have heard of it, or not
		var st UploadStatus
		st, err = w.Close()
		assert.Zero(t, st)
	}
	require.Error(t, err)
	r.seams.set(nil)
	assert.NotErrorIs(t, err, ErrFailed)
	assert.Equal(t, CodeRateLimit, CodeOf(opened.Refused()), "whatever the bytes heard")
	assert.Len(t, r.records(sessions.KindUploadOpened), 1)
	assert.Empty(t, r.records(sessions.KindUploadStored))
	assert.Len(t, r.records(KindRefused), 2, "the opening and the bytes")
	assert.NoFileExists(t, r.path("x.bin"))
	_, err = r.do(&UploadCancel{Session: other})
	require.NoError(t, err)
	r.follow("x.bin", int64(len(data))) // the name is free again, and the room
}
