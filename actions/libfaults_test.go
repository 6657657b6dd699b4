package actions

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

// documents is a workload on the library whose every acknowledgement is
// remembered. What a document may contain is a set: one content after an
// acknowledged write, the old and the new one after a write whose outcome is
// unknown. gone is for documents that were removed for good, maybe if unknown.
type documents struct {
	l     *librig
	may   map[string][][]byte
	gone  map[string]bool
	maybe map[string]bool

	half     *TaskOpened // a task whose transfer broke off
	kept     int64       // how many of its bytes were acknowledged
	halfData []byte
}

func (d *documents) run() {
	big := random(300_000)
	d.write("a", []byte("first"))
	d.write("b", big)
	d.write("a", []byte("second"))
	d.write("same", []byte("first"))
	d.breakOff(random(50_000))
	d.write("only", random(1000))
	d.remove("only") // nobody else has its content
	d.remove("b")    // and this one's is about to come again
	d.write("c", big)
	d.write("same", []byte("third"))
	d.rewrite("a", []byte("fourth"))
}

// write makes a document or replaces its content.
func (d *documents) write(id string, data []byte) { d.store(id, data, 0) }

// rewrite begins with something else, and again from the first byte.
func (d *documents) rewrite(id string, data []byte) { d.store(id, data, 3) }

func (d *documents) store(id string, data []byte, wrong int) {
	task, ok := d.open(id)
	if !ok {
		return
	}
	err := func() error {
		handle, err := d.l.Engine.Task(TaskCall{ID: task.ID, Token: task.Token})
		if err != nil {
			return err
		}
		if wrong > 0 {
			w, err := handle.Store(0, false)
			if err != nil {
				return err
			}
			_, err = w.Write(bytes.Repeat([]byte("x"), wrong))
			_, kerr := w.Keep()
			if err := errors.Join(err, kerr); err != nil {
				return err
			}
		}
		_, err = d.l.upload(task, data)
		return err
	}()
	if err != nil {
		d.may[id] = append(d.may[id], data)
		return
	}
	d.may[id] = [][]byte{data}
}

// open gets a write task; a document that may or may not have been made counts
// with its placeholder.
func (d *documents) open(id string) (*TaskOpened, bool) {
	if d.may[id] == nil {
		d.may[id], d.maybe[id] = [][]byte{nil}, true
		r, err := d.l.as("admin", &CreateFile{HasData: true, NewFile: newFile(id)})
		if err != nil {
			return nil, false
		}
		d.maybe[id] = false
		return r.(*TaskOpened), true
	}
	r, err := d.l.as("admin", fileOp(id, "write"))
	if err != nil {
		return nil, false
	}
	return r.(*TaskOpened), true
}

func (d *documents) breakOff(data []byte) {
	task, ok := d.open("half")
	if !ok {
		return
	}
	handle, err := d.l.Engine.Task(TaskCall{ID: task.ID, Token: task.Token})
	if err != nil {
		return
	}
	w, err := handle.Store(0, false)
	if err != nil {
		return
	}
	_, werr := w.Write(data)
	at, err := w.Keep()
	d.half, d.halfData = task, data
	if werr == nil && err == nil {
		d.kept = at
	}
}

func (d *documents) remove(id string) {
	if err := d.l.op(id, "permanently_delete"); err == nil {
		d.gone[id] = true
	} else {
		d.maybe[id] = true
	}
}

// verify holds the acknowledgements against what a restart finds.
func (d *documents) verify() {
	t, l := d.l.t, d.l
	for id, may := range d.may {
		have, err := l.read("admin", id)
		switch {
		case d.gone[id]:
			assert.ErrorIs(t, err, acl.CodeNoFile, id)
		case d.maybe[id] && errors.Is(err, acl.CodeNoFile):
		case assert.NoError(t, err, id):
			assert.True(t, contains(may, have), "%s holds none of what it may", id)
		}
	}
	if d.half != nil {
		handle, err := l.Engine.Task(TaskCall{ID: d.half.ID, Token: d.half.Token})
		require.NoError(t, err)
		st, err := handle.Status()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, st.Size, d.kept, "acknowledged bytes are missing")
		w, err := handle.Store(st.Size, true)
		require.NoError(t, err)
		_, err = w.Write(d.halfData[st.Size:])
		require.NoError(t, err)
		_, err = w.Publish(digestOf(d.halfData))
		require.NoError(t, err)
		assert.Equal(t, string(d.halfData), l.mustRead("admin", "half"))
	}
	require.NoError(t, l.sweepUnnamed())
	l.settled()
	require.NoError(t, l.core.view(func(s *State) {
		for digest := range l.stored() {
			assert.NotZero(t, s.named(digest), "content %s is left over", digest)
		}
	}))
}

func contains(may [][]byte, have []byte) bool {
	for _, m := range may {
		if bytes.Equal(m, have) {
			return true
		}
	}
	return false
}

// TestLibraryFaults lets every durable step of making, writing, publishing,
// resuming and purging documents fail once, both ways, and checks after a
// restart that no promise was broken.
func TestLibraryFaults(t *testing.T) {
	counts := documentWorkload(t, &fault{seen: map[string]int{}})
	for _, op := range []string{"commit", "staged.create", "staged.write", "staged.truncate", "staged.sync", "staging.sync",
		"parent.make", "parent.sync", "target.rename", "target.sync", "content.drop", "content.sync"} {
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
					documentWorkload(t, &fault{op: op, nth: nth, happens: happens, seen: map[string]int{}})
				})
			}
		}
	}
}

func documentWorkload(t *testing.T, f *fault) map[string]int {
	l := newLibrary(t)
	d := &documents{l: l, may: make(map[string][][]byte), gone: make(map[string]bool), maybe: make(map[string]bool)}
	l.seams.set(f.step)
	d.run()
	l.settledOr(l.dead)
	l.seams.set(nil)
	counts := f.counts()
	l.crash()
	require.NoError(t, l.start())
	d.verify()
	return counts
}

// settledOr is settled, unless the engine ends.
func (l *librig) settledOr(dead <-chan struct{}) {
	for {
		if l.sweep.left() == 0 {
			return
		}
		select {
		case <-dead:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
