package actions

import (
	"bytes"
	"context"
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

var errInjected = errors.New("injected fault")

// fault makes the nth occurrence of one durable step fail, either without
// having happened or having happened all the same.
type fault struct {
	op      string
	nth     int
	happens bool

	mu   sync.Mutex
	seen map[string]int
}

func (f *fault) step(op string, do func() error) error {
	f.mu.Lock()
	f.seen[op]++
	now := op == f.op && f.seen[op] == f.nth
	f.mu.Unlock()
	if !now {
		return do()
	}
	if f.happens {
		if err := do(); err != nil {
			return err
		}
	}
	return errInjected
}

// transfers is a workload whose every acknowledgement is remembered, so that
// all of them can be held against what is there after a restart.
type transfers struct {
	r    *rig
	data []byte
	old  []byte

	upload    sessions.ID
	acked     sessions.Set // of upload, by plain chunks
	done      bool
	cancelled sessions.ID
	jobs      []sessions.ID
	jobUpload sessions.ID
}

func (w *transfers) run() {
	r := w.r
	if res, err := r.do(&UploadRequest{Path: "new/deep/file.bin", HasPath: true, Size: int64(len(w.data)), SHA1: hexSHA1(w.data), Timeout: time.Minute}); err == nil {
		w.upload = res.(*UploadOpened).ID
		wrong := bytes.Repeat([]byte{0xee}, 20_000)
		w.chunk(0, w.data[:30_000])
		w.chunk(40_000, wrong) // to be rewritten below
		w.chunk(30_000, w.data[30_000:70_000])
	}
	if res, err := r.do(&UploadRequest{Path: "cancelled", HasPath: true, Size: 1000, Timeout: time.Minute}); err == nil {
		id := res.(*UploadOpened).ID
		r.put(id, 0, random(500))
		if _, err := r.do(&UploadCancel{Session: id}); err == nil {
			w.cancelled = id
		}
	}
	// The same file again, over the old one, every byte through the queue.
	if id, err := r.Queue(context.Background(), Call{Caller: rigCaller, Action: &UploadRequest{
		Path: "old.bin", HasPath: true, Size: int64(len(w.data)), Timeout: time.Minute}}); err == nil {
		w.jobs = append(w.jobs, id)
		w.jobUpload = id
		for off := 0; off < len(w.data); off += 35_000 {
			id, err := r.Queue(context.Background(), Call{Caller: rigCaller, Action: &UploadChunk{
				Session: w.jobUpload, Offset: int64(off), Data: w.data[off:min(off+35_000, len(w.data))]}})
			if err == nil {
				w.jobs = append(w.jobs, id)
			}
		}
		w.wait()
	}
	if !w.upload.IsZero() {
		w.chunk(70_000, w.data[70_000:])
	}
}

func (w *transfers) chunk(off int, data []byte) {
	// What is sent again may be missing until it is acknowledged again.
	w.acked.Remove(sessions.Range{int64(off), int64(off + len(data))})
	res, err := w.r.put(w.upload, int64(off), data)
	if err != nil {
		return
	}
	w.acked.Add(sessions.Range{int64(off), int64(off + len(data))})
	w.done = w.done || res.Done
}

// wait returns once every job has ended or the engine is dead.
func (w *transfers) wait() {
	for w.r.stats.jobs.Load() > 0 {
		select {
		case <-w.r.dead:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// verify holds the acknowledgements against what a restart finds, and then
// finishes what is unfinished as a client would.
func (w *transfers) verify() {
	t, r := w.r.t, w.r
	for _, path := range []string{"old.bin"} {
		have, err := os.ReadFile(r.path(path))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(have, w.old) || bytes.Equal(have, w.data), "%s is neither the old nor the new file", path)
	}
	if !w.upload.IsZero() {
		st := r.status(w.upload)
		switch st.State {
		case "open":
			assert.False(t, w.done, "acknowledged as done, but open")
			for _, m := range st.Missing {
				assert.Empty(t, w.acked.Overlap(m), "acknowledged bytes are missing")
			}
			// A client sends what was not acknowledged, whatever is stored.
			again, _ := w.acked.Missing(sessions.Range{0, int64(len(w.data))}, 0)
			for i, m := range again {
				got, err := r.put(w.upload, m[0], w.data[m[0]:m[1]])
				require.NoError(t, err)
				assert.Equal(t, i == len(again)-1, got.Done)
			}
			assert.Equal(t, "placed", r.status(w.upload).State)
			fallthrough
		case "placed":
			have, err := os.ReadFile(r.path("new/deep/file.bin"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(have, w.data), "the file is not what was sent")
		default:
			t.Errorf("upload ended as %+v", st)
		}
	}
	if !w.cancelled.IsZero() {
		assert.Equal(t, "cancelled", r.status(w.cancelled).State)
	}
	w.wait()
	for _, id := range w.jobs {
		res, err := r.do(&JobOf{Job: id})
		st := must[*JobStatus](t, res, err)
		assert.Contains(t, []string{"ok", "error"}, st.State, "job %s: %s", id, st.Message)
	}
}

// TestFaults lets every durable step of uploads, placing and the queue fail
// once, both ways, and checks after a restart that no promise was broken.
func TestFaults(t *testing.T) {
	counts := workload(t, &fault{seen: map[string]int{}})
	for _, op := range []string{"commit", "staged.create", "staged.allocate", "staged.write", "staged.sync", "staging.sync",
		"parent.make", "parent.sync", "target.rename", "target.sync", "staged.drop"} {
		require.NotZero(t, counts[op], "the workload never does %s", op)
	}
	for op, n := range counts {
		for nth := 1; nth <= n; nth++ {
			if testing.Short() && nth%5 != 1 {
				continue
			}
			for _, happens := range []bool{false, true} {
				name := fmt.Sprintf("%s/%d/failed", op, nth)
				if happens {
					name += "-but-happened"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					workload(t, &fault{op: op, nth: nth, happens: happens, seen: map[string]int{}})
				})
			}
		}
	}
}

// workload runs the transfers under a fault, crashes, restarts without it and
// verifies. It returns how often each step was taken.
func workload(t *testing.T, f *fault) map[string]int {
	r := newRig(t)
	data := random(100_000)
	w := &transfers{r: r, data: data, old: []byte("the old file")}
	require.NoError(t, os.WriteFile(r.path("old.bin"), w.old, 0o644))
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

func (f *fault) counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]int)
	for op, n := range f.seen {
		out[op] = n
	}
	return out
}
