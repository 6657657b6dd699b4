package actions

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// A transfer that comes while another one is being published waits for the
// outcome: what it brings must not get into what was verified. The rig compares
// every content with its digest at the end.
func TestATransferComesWhileAnotherIsPublished(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	data := random(3_000)
	made := l.create("doc")
	first, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = first.Write(data)
	require.NoError(t, err)

	// The second commit is the one that says that the content is complete.
	held, release := make(chan struct{}), make(chan struct{})
	commits := 0
	l.seams.set(func(op string, do func() error) error {
		if op == "commit" {
			if commits++; commits == 2 {
				close(held)
				<-release
			}
		}
		return do()
	})
	var both sync.WaitGroup
	both.Go(func() {
		p, err := first.Publish("")
		if assert.NoError(t, err) {
			assert.Equal(t, digestOf(data), p.SHA256)
		}
	})
	<-held
	began := make(chan error, 1)
	both.Go(func() {
		second, err := l.task(made).Store(AtEnd, true)
		if err == nil {
			_, err = second.Write([]byte("more"))
			_, kept := second.Keep()
			err = errors.Join(err, kept)
		}
		began <- err
	})
	select {
	case err := <-began:
		assert.Fail(t, "it does not wait", "%v", err)
	case <-time.After(50 * time.Millisecond): // longer is only more certain
	}
	close(release)
	both.Wait()
	l.seams.set(nil)
	assert.ErrorIs(t, <-began, acl.CodeTaskGone)
	assert.Equal(t, string(data), l.mustRead("admin", "doc"))
}

// Of transfers that begin at one time, one runs in the end, and its bytes are the
// ones that are there.
func TestTransfersBeginAtOneTime(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for range 40 {
		made := l.create(randomHex(8))
		w, err := l.task(made).Store(0, false)
		require.NoError(t, err)
		_, err = w.Write(random(1_000))
		require.NoError(t, err)
		_, err = w.Keep()
		require.NoError(t, err)
		var all sync.WaitGroup
		var mu sync.Mutex
		contents := make(map[string]bool)
		for i := range 4 {
			all.Go(func() {
				w, err := l.task(made).Store(0, false)
				if err != nil {
					assert.True(t, errors.Is(err, acl.CodeBroken) || errors.Is(err, acl.CodeTaskGone), "%v", err)
					return
				}
				data := make([]byte, 50_000)
				for j := range data {
					data[j] = byte(i)
				}
				for part := data; len(part) > 0 && err == nil; part = part[1_000:] {
					_, err = w.Write(part[:1_000])
				}
				if err != nil {
					_, err = w.Keep()
					assert.ErrorIs(t, err, acl.CodeBroken)
					return
				}
				p, err := w.Publish("")
				if err != nil {
					assert.ErrorIs(t, err, acl.CodeBroken)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				contents[p.SHA256] = true
				assert.Equal(t, digestOf(data), p.SHA256)
			})
		}
		all.Wait()
		assert.LessOrEqual(t, len(contents), 1)
	}
}

// A task that is cancelled while a transfer into it begins leaves nothing behind.
func TestATransferBeginsWhileItsTaskIsCancelled(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for range 60 {
		made := l.create(randomHex(8))
		w, err := l.task(made).Store(0, false)
		require.NoError(t, err)
		_, err = w.Write(random(1_000))
		require.NoError(t, err)
		_, err = w.Keep()
		require.NoError(t, err)
		var both sync.WaitGroup
		both.Go(func() {
			w, err := l.task(made).Store(500, false)
			if err != nil {
				assert.ErrorIs(t, err, acl.CodeTaskGone)
				return
			}
			_, err = w.Write(random(1_000))
			_, kept := w.Keep()
			for _, err := range []error{err, kept} {
				if err != nil {
					assert.ErrorIs(t, err, acl.CodeTaskGone)
				}
			}
		})
		both.Go(func() {
			_, err := l.as("admin", fileOp(made.Key, "delete"))
			assert.NoError(t, err)
		})
		both.Wait()
		st, err := l.task(made).Status()
		require.NoError(t, err)
		assert.Equal(t, sessions.Cancelled, st.State)
		_, staged, err := l.Engine.cfg.Library.Contents.StagedExists(stagedID(t, made))
		require.NoError(t, err)
		assert.False(t, staged)
	}
}

func stagedID(t *testing.T, o *TaskOpened) string {
	t.Helper()
	id, err := uuid.Parse(o.FakeName)
	require.NoError(t, err)
	return id.String()
}

// A write that fails while what came before is being synced, and another
// transfer that waits for that: the second begins where the durable bytes end.
func TestAWriteFailsWhileAnotherTransferWaits(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	first, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	syncing, release := make(chan struct{}), make(chan struct{})
	l.seams.set(func(op string, do func() error) error {
		if op == "staged.sync" {
			close(syncing)
			<-release
		}
		return do()
	})
	data := random(taskFlush)
	_, err = first.Write(data)
	require.NoError(t, err)
	<-syncing // begun by itself, and held up
	l.seams.set(func(op string, do func() error) error {
		if op == "staged.write" {
			return errInjected
		}
		return do()
	})
	second := make(chan *TaskWriter)
	_, err = first.Write([]byte("lost"))
	require.Error(t, err)
	go func() {
		w, err := l.task(made).Store(AtEnd, true)
		assert.NoError(t, err)
		second <- w
	}()
	<-first.Done()
	l.seams.set(nil)
	close(release)
	w := <-second
	require.NotNil(t, w)
	_, err = first.Keep()
	refused(t, acl.CodeBroken, nil, err)
	assert.Equal(t, int64(taskFlush), w.At())
	_, err = w.Write([]byte("end"))
	require.NoError(t, err)
	p, err := w.Publish(digestOf(append(data, "end"...)))
	require.NoError(t, err)
	assert.Equal(t, int64(taskFlush+3), p.Size)
}

// A cut whose sync has failed is synced by the transfer that begins there next,
// although the length is right by then: its content may be published without a
// further byte.
func TestTaskCutIsSynced(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	data := random(1000)
	_, err = w.Write(data)
	require.NoError(t, err)
	_, err = w.Keep()
	require.NoError(t, err)
	cut, synced, failed := false, false, false
	l.seams.set(func(op string, do func() error) error {
		switch {
		case op == "staged.truncate":
			cut = true
		case op == "staged.sync" && cut && !failed:
			failed = true
			return errInjected
		case op == "staged.sync":
			synced = true
		}
		return do()
	})
	_, err = l.task(made).Store(600, false)
	require.Error(t, err)
	require.True(t, failed)
	w, err = l.task(made).Store(600, false)
	require.NoError(t, err)
	assert.True(t, synced)
	l.seams.set(nil)
	_, err = w.Publish(digestOf(data[:600]))
	require.NoError(t, err)
}
