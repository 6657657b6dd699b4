package actions

import (
	"testing"

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
