package actions

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/sessions"
)

// raced runs a race hundreds of times in one library, many at a time, so that
// they meet in the core too; then nothing may be stored that nothing names.
func raced(t *testing.T, race func(l *librig, id string) error) {
	t.Parallel()
	l := newLibrary(t)
	const workers = 50
	var all sync.WaitGroup
	failures := make(chan error, workers)
	for w := range workers {
		all.Go(func() {
			for n := range runs() {
				if err := race(l, fmt.Sprintf("d%d-%d", w, n)); err != nil {
					failures <- fmt.Errorf("worker %d, round %d: %w", w, n, err)
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	l.settled()
	require.NoError(t, l.core.view(func(s *State) {
		for digest := range s.contents.known {
			assert.NotZero(t, s.named(digest), "content %s is left over", digest)
		}
		for digest := range l.stored() {
			assert.Contains(t, s.contents.known, digest)
		}
	}))
}

// both runs two things at the same moment.
func both(a, b func() error) (aErr, bErr error) {
	var wait sync.WaitGroup
	gate := make(chan struct{})
	wait.Go(func() { <-gate; aErr = a() })
	wait.Go(func() { <-gate; bErr = b() })
	close(gate)
	wait.Wait()
	return aErr, bErr
}

func (l *librig) make(id string, data []byte) error {
	r, err := l.as("admin", &CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id, Filename: ptr(id)}})
	if err != nil {
		return err
	}
	_, err = l.upload(r.(*TaskOpened), data)
	return err
}

func (l *librig) op(id, action string) error {
	_, err := l.as("admin", fileOp(id, action))
	return err
}

// is tells whether a file can be read and has a content.
func (l *librig) is(id string, data []byte) error {
	have, err := l.read("admin", id)
	if err == nil && string(have) != string(data) {
		err = fmt.Errorf("%s is not what was written", id)
	}
	return err
}

// A content that loses its last name while an equal one is brought stays.
func TestPurgeAgainstUploadOfTheSameContent(t *testing.T) {
	raced(t, func(l *librig, id string) error {
		data := []byte("content of " + id)
		a, b := id+"a", id+"b"
		if err := l.make(a, data); err != nil {
			return err
		}
		purge, make := both(
			func() error { return l.op(a, "permanently_delete") },
			func() error { return l.make(b, data) },
		)
		return errors.Join(purge, make, l.is(b, data), l.op(b, "permanently_delete"))
	})
}

// Whether a document is purged or recovered is decided once: it is there with
// its content, or gone with it.
func TestRecoverAgainstPurge(t *testing.T) {
	raced(t, func(l *librig, id string) error {
		data := []byte("content of " + id)
		if err := errors.Join(l.make(id, data), l.op(id, "delete")); err != nil {
			return err
		}
		later := l.clock.Now().Add(30 * 24 * time.Hour)
		var due doctree.Due
		err := l.core.view(func(s *State) {
			// As if its time were over: the clock is everybody's.
			for _, d := range s.tree.DuePurge(acl.Seconds(later), 1<<20) {
				if info, ok := s.tree.Lookup(d.Node); ok && info.ID == id {
					due = d
				}
			}
		})
		if err != nil {
			return err
		}
		gone := false
		recovered, purged := both(
			func() error { return l.op(id, "recover") },
			func() (err error) { gone, err = l.purgeOne(due, later); return err },
		)
		switch {
		case purged != nil:
			return purged
		case gone && !errors.Is(recovered, acl.CodeNoFile):
			return fmt.Errorf("purged, and recovered: %w", recovered)
		case !gone:
			return errors.Join(recovered, l.is(id, data), l.op(id, "permanently_delete"))
		}
		return nil
	})
}

// A task that is cancelled just when its content comes into the store has not
// failed, and leaves nothing.
func TestPurgeWhileAContentIsStored(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	var log bytes.Buffer
	l.Engine.cfg.Logger = zerolog.New(&log)
	made := l.create("doc")
	var purged error
	var once sync.Once
	l.seams.set(func(op string, do func() error) error {
		if op == "target.rename" {
			once.Do(func() { purged = l.op("doc", "permanently_delete") })
		}
		return do()
	})
	_, err := l.upload(made, []byte("content"))
	refused(t, acl.CodeTaskGone, nil, err)
	require.NoError(t, purged)
	l.settled()
	assert.Empty(t, l.stored())
	assert.Empty(t, log.String(), "nobody has to do anything about it")
}

// However much was removed in a life, what a crash may have cut short, and the
// next start has to do again, is the last of it.
func TestAStartRedoesOneRemoval(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for n := range 5 {
		id := fmt.Sprint("doc", n)
		require.NoError(t, l.make(id, []byte("content of "+id)))
		require.NoError(t, l.op(id, "permanently_delete"))
	}
	l.settled()
	again := 0
	l.seams.set(func(op string, do func() error) error {
		if op == "content.sync" {
			again++
		}
		return do()
	})
	l.crash()
	l.mustStart()
	assert.Equal(t, 1, again)
	assert.Empty(t, l.stored())
}

// A write that runs while its document is deleted publishes or does not; it
// never leaves bytes, nor a content without a name.
func TestDeleteAgainstARunningWrite(t *testing.T) {
	raced(t, func(l *librig, id string) error {
		before, after := []byte("before "+id), []byte("after "+id)
		if err := l.make(id, before); err != nil {
			return err
		}
		r, err := l.as("admin", fileOp(id, "write"))
		if err != nil {
			return err
		}
		task := r.(*TaskOpened)
		deleted, written := both(
			func() error { return l.op(id, "delete") },
			func() error { _, err := l.upload(task, after); return err },
		)
		if deleted != nil {
			return deleted
		}
		if err := l.op(id, "recover"); err != nil {
			return err
		}
		want := after
		if written != nil {
			want = before
			if !errors.Is(written, acl.CodeTaskGone) {
				return written
			}
		}
		handle, err := l.Engine.Task(TaskCall{ID: task.ID, Token: task.Token})
		if err != nil {
			return err
		}
		st, err := handle.Status()
		if err != nil {
			return err
		}
		if (st.State == sessions.Published) != (written == nil) {
			return fmt.Errorf("the task ended as %s after %w", st.State, written)
		}
		return errors.Join(l.is(id, want), l.op(id, "permanently_delete"))
	})
}
