package actions

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// live is the live side of an upload.
func (r *rig) live(id sessions.ID) *upload {
	r.Engine.mu.Lock()
	defer r.Engine.mu.Unlock()
	return r.uploads[id]
}

// settled syncs and records what is written of an upload.
func (r *rig) settled(id sessions.ID) {
	u := r.live(id)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settle()
}

// A body whose bytes are synced and held back is proven after a sync of somebody
// else's bytes has failed, which spends the handle: its own bytes are not to
// blame.
func TestProofAfterAFailedSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1000)
	id := r.stream("f", 1000, "")
	w, err := r.Receive(rigCaller, id, checked(0, data[:500]))
	require.NoError(t, err)
	_, err = w.Write(data[:500])
	require.NoError(t, err)
	r.settled(id)
	r.seams.set(failOnce("staged.sync"))
	_, err = r.put(id, 600, data[600:700])
	require.Equal(t, CodeFile, CodeOf(err))
	st, err := w.Close()
	require.NoError(t, err)
	assert.Equal(t, int64(500), st.Prefix)
	_, err = r.receive(id, exactly(500), data[500:])
	require.NoError(t, err)
	r.holds("f", data)
}

// failOnce fails a step the first time.
func failOnce(op string) func(string, func() error) error {
	g := newGate(op)
	return func(op string, do func() error) (err error) {
		if op == g.op {
			g.once.Do(func() { err = errInjected })
		}
		if err != nil {
			return err
		}
		return do()
	}
}

// Bytes that were held back and lost with a failed sync are taken by whoever
// waited for them; the body that ends because of it leaves those alone.
func TestLostHeldBytesAreLostOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(800)
	for range 20 {
		id := r.stream("f", 1000, "")
		o := checked(0, data)
		o.Want[0]++
		w, err := r.Receive(rigCaller, id, o)
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
		first, second := newGate("staged.sync"), newGate("staged.sync")
		r.seams.set(func(op string, do func() error) error {
			if op != "staged.sync" {
				return do()
			}
			_ = first.step(op, func() error { return nil })
			r.seams.set(second.step)
			return errInjected
		})
		u := r.live(id)
		u.mu.Lock()
		u.syncNow()
		u.mu.Unlock()
		<-first.reached
		closed := make(chan error, 1)
		go func() {
			_, err := w.Close()
			closed <- err
		}()
		require.Eventually(t, func() bool {
			u.mu.Lock()
			defer u.mu.Unlock()
			return w.ending
		}, time.Minute, 100*time.Microsecond)
		answers := make(chan error, 8)
		for n := range int64(8) {
			go func() {
				_, err := r.put(id, 100*n, data[:100])
				answers <- err
			}()
		}
		time.Sleep(time.Millisecond) // they wait
		close(first.open)
		require.Error(t, <-closed)
		<-second.reached
		require.Eventually(t, func() bool { // all are written by then
			u.mu.Lock()
			defer u.mu.Unlock()
			return u.windowBytes == 800
		}, time.Minute, 100*time.Microsecond)
		u.mu.Lock()
		assert.Equal(t, int64(800), u.written.Prefix(), "what is on its way")
		u.mu.Unlock()
		close(second.open)
		for range 8 {
			require.NoError(t, <-answers)
		}
		r.seams.set(nil)
		_, err = r.do(&UploadCancel{Session: id})
		require.NoError(t, err)
		if t.Failed() {
			return
		}
	}
}

// Who ends a body syncs his own bytes, and not what others go on to bring.
func TestEndDoesNotWaitForOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(100_000)
	id := r.stream("f", 100_000, "")
	slow, err := r.Receive(rigCaller, id, ReceiveOptions{Offset: 50_000})
	require.NoError(t, err)
	w, err := r.Receive(rigCaller, id, ReceiveOptions{})
	require.NoError(t, err)
	_, err = w.Write(data[:100])
	require.NoError(t, err)
	syncs := 0
	r.seams.set(func(op string, do func() error) error {
		if op != "staged.sync" || syncs == 20 {
			return do()
		}
		syncs++
		err := do()
		at := 50_000 + 10*syncs
		_, werr := slow.Write(data[at-10 : at])
		assert.NoError(t, werr)
		return err
	})
	st, err := w.Close()
	r.seams.set(nil)
	require.NoError(t, err)
	assert.Equal(t, int64(100), st.Prefix)
	assert.LessOrEqual(t, syncs, 2)
	_, err = slow.Close()
	require.NoError(t, err)
}

// A start that finds no room for what is still to come looks at what is there all
// the same.
func TestStartWithoutRoomChecksTheLastBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1000)
	id := r.stream("f", -1, "")
	_, err := r.receive(id, exactly(0), data[:500])
	require.NoError(t, err)
	_, err = r.receive(id, sized(exactly(500), 1000), nil)
	require.NoError(t, err)
	r.crash()
	staged := filepath.Join(r.staging(), id.String())
	require.NoError(t, os.WriteFile(staged, make([]byte, 500), 0o600))
	r.seams.set(failOnce("staged.allocate"))
	r.mustStart()
	st := r.status(id)
	assert.Zero(t, st.Prefix)
	_, err = r.receive(id, exactly(st.Prefix), data[st.Prefix:])
	require.NoError(t, err)
	r.holds("f", data)
}

// A cut whose sync failed is synced before the file is placed.
func TestCutIsSynced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(1000)
	id := r.stream("f", -1, "")
	_, err := r.receive(id, exactly(0), data)
	require.NoError(t, err)
	_, err = r.receive(id, checked(1000, data), data[:999]) // comes to nothing
	require.ErrorIs(t, err, ErrChecksum)
	synced, failed := false, false
	r.seams.set(func(op string, do func() error) error {
		switch op {
		case "staged.truncate":
			synced = false
		case "staged.sync":
			if !failed {
				failed = true
				return errInjected
			}
			synced = true
		case "target.rename":
			assert.True(t, synced)
		}
		return do()
	})
	_, err = r.receive(id, sized(exactly(1000), 1000), nil)
	require.Equal(t, CodeFile, CodeOf(err))
	r.clock.Advance(placeRetry)
	require.NoError(t, r.reap(r.clock.Now()))
	r.seams.set(nil)
	assert.Equal(t, "placed", r.status(id).State)
	r.holds("f", data)
}
