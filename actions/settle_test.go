package actions

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/sessions"
)

// gate holds a durable step up until it is opened.
type gate struct {
	op      string
	reached chan struct{} // closed when somebody stands before it
	open    chan struct{}
	once    sync.Once
}

func newGate(op string) *gate {
	return &gate{op: op, reached: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) step(op string, do func() error) error {
	if op == g.op {
		g.once.Do(func() { close(g.reached) })
		<-g.open
	}
	return do()
}

// send stores a chunk in the background and returns, once its bytes are
// written, where the answer will come.
func (r *rig) send(who Caller, id sessions.ID, off int64, data []byte) <-chan error {
	took, answer := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := r.Do(context.Background(), Call{
			Caller: who, Took: func() { close(took) },
			Action: &UploadChunk{Session: id, Offset: off, Data: data},
		})
		answer <- err
	}()
	<-took
	return answer
}

// A window whose second fact is refused: the first stands in the journal, so
// its caller is told so, and the engine goes on from what the journal says.
func TestHalfAWindowIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 20_000, "")
	g := newGate("staged.sync")
	r.seams.set(g.step)
	opening := r.send(as("opening"), id, 0, []byte("0"))
	<-g.reached
	first := r.send(as("ann"), id, 1, []byte("1"))
	second := r.send(as("bob"), id, 19_000, []byte("9"))
	// As many gaps as there may be, behind the engine's back.
	for at := int64(3); at < 2*sessions.MaxGaps; {
		var part []sessions.Range
		for ; len(part) < sessions.MaxFactRanges && at < 2*sessions.MaxGaps; at += 2 {
			part = append(part, sessions.Range{at, at + 1})
		}
		require.NoError(t, r.core.decide(origin{"main", "test", "r"}, func(s *State) ([]sessions.Fact, error) {
			fact, _, err := s.sessions.Store(&sessions.Stored{Session: id, Ranges: part})
			return []sessions.Fact{fact}, err
		}))
	}
	close(g.open)
	r.seams.set(nil)
	require.NoError(t, <-opening)
	assert.NoError(t, <-first)
	assert.Equal(t, CodeRateLimit, CodeOf(<-second))
	assert.Equal(t, int64(2), r.status(id).Received)
	_, err := r.do(&UploadCancel{Session: id})
	require.NoError(t, err)
}

// The clocks start when somebody can ask: what the start takes does not count.
func TestClocksStartWithTheDaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	r.write("d", []byte("x"))
	id, down := r.open("a", 10, ""), r.download("d")
	slow := r.open("b", 3, "")
	r.seams.set(func(op string, do func() error) error {
		if op == "target.rename" {
			return errInjected
		}
		return do()
	})
	_, err := r.put(slow, 0, []byte("abc"))
	require.Equal(t, CodeFile, CodeOf(err))
	r.crash()
	r.seams.set(func(op string, do func() error) error {
		if op == "target.rename" {
			r.clock.Advance(time.Hour)
		}
		return do()
	})
	r.mustStart()
	require.NoError(t, r.reap(r.clock.Now()))
	assert.Equal(t, "placed", r.status(slow).State)
	assert.Equal(t, "open", r.status(id).State)
	_, err = r.read(down.ID, 0, 1)
	assert.NoError(t, err)
}

// A sealed upload that cannot be put in place stays so, says so, takes
// nothing, cannot be cancelled or expire, and is put in place by the reaper.
func TestPlacingIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", []byte("old"))
	r.mustStart()
	id := r.open("f", 3, hexSHA1([]byte("new")))
	r.seams.set(func(op string, do func() error) error {
		if op == "target.rename" {
			return errInjected
		}
		return do()
	})
	_, err := r.put(id, 0, []byte("new"))
	assert.Equal(t, CodeFile, CodeOf(err))
	assert.Equal(t, "old", string(r.content("f")))
	st := r.status(id)
	assert.Equal(t, "open", st.State)
	assert.Equal(t, CodeFile, st.Code)
	assert.Equal(t, hexSHA1([]byte("new")), st.SHA1, "sealed")
	_, err = r.put(id, 0, []byte("x"))
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	_, err = r.do(&UploadCancel{Session: id})
	assert.Equal(t, CodeInUse, CodeOf(err))
	_, err = r.do(&UploadRequest{Path: "f", HasPath: true, Size: 1, Timeout: time.Minute})
	assert.Equal(t, CodeConflict, CodeOf(err))
	r.clock.Advance(time.Hour)
	require.NoError(t, r.reap(r.clock.Now()))
	assert.Equal(t, "open", r.status(id).State, "a verified file does not expire")
	r.seams.set(nil)
	require.NoError(t, r.reap(r.clock.Now().Add(placeRetry-time.Millisecond)))
	assert.Equal(t, "old", string(r.content("f")), "not more often than every ten seconds")
	require.NoError(t, r.reap(r.clock.Now().Add(placeRetry)))
	assert.Equal(t, "new", string(r.content("f")))
	st = r.status(id)
	assert.Equal(t, "placed", st.State)
	assert.Equal(t, CodeOK, st.Code)
}

// What storing met is in the status until something can be stored again.
func TestStoringFails(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"staged.write", "staged.sync"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.mustStart()
			id := r.open("f", 6, "")
			_, err := r.put(id, 0, []byte("ab"))
			require.NoError(t, err)
			fail := func(with error) {
				r.seams.set(func(o string, do func() error) error {
					if o == op {
						return with
					}
					return do()
				})
			}
			fail(errInjected)
			_, err = r.put(id, 2, []byte("cd"))
			assert.Equal(t, CodeFile, CodeOf(err))
			st := r.status(id)
			assert.Equal(t, CodeFile, st.Code)
			assert.Equal(t, [][2]int64{{2, 6}}, st.Missing)
			fail(os.NewSyscallError("write", unix.ENOSPC))
			_, err = r.put(id, 2, []byte("cd"))
			assert.Equal(t, CodeDiskFull, CodeOf(err))
			assert.Equal(t, CodeDiskFull, r.status(id).Code)
			r.seams.set(nil)
			_, err = r.put(id, 2, []byte("cd"))
			require.NoError(t, err)
			assert.Equal(t, CodeOK, r.status(id).Code)
			_, err = r.put(id, 4, []byte("ef"))
			require.NoError(t, err)
			assert.Equal(t, "abcdef", string(r.content("f")))
		})
	}
}
