package sessions

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func task(node uint64) *Task {
	return &Task{ID: strings.Repeat("ab", 64)[:120] + NewID().String()[:8], Token: strings.Repeat("cd", 32), Node: node, Revision: strings.Repeat("e", 32)}
}

func (b *book) writeTask(node uint64) ID {
	b.t.Helper()
	id := NewID()
	b.apply(b.OpenUpload(NewUpload{ID: id, Path: "doc", Size: -1, Until: b.at.Add(time.Hour), Task: task(node)}))
	return id
}

func (b *book) readTask(node uint64, digest string) ID {
	b.t.Helper()
	id := NewID()
	b.apply(b.OpenDownload(NewDownload{ID: id, Path: "doc", Until: b.at.Add(time.Hour), Task: task(node), Content: Content{digest, 9}}))
	return id
}

func (b *book) finish(id ID, size int64, digest string) {
	b.t.Helper()
	facts, err := b.FinishTask(id, size, digest)
	require.NoError(b.t, err)
	for _, f := range facts {
		b.apply(f, nil)
	}
}

const digestA = "aaaa"

// A content is held from when it is complete until its task has ended, and for
// as long as it is read.
func TestTasksHoldContents(t *testing.T) {
	b := newBook(t)
	w := b.writeTask(1)
	b.store(w, Range{0, 9})
	assert.Zero(t, b.ContentRefs(digestA))
	b.finish(w, 9, digestA)
	r := b.readTask(2, digestA)
	assert.Equal(t, 2, b.ContentRefs(digestA))
	assert.Equal(t, 2, b.OpenTasks("main"))
	b.apply(b.Publish(w))
	assert.Equal(t, 1, b.ContentRefs(digestA))
	b.apply(b.CloseDownload(r))
	assert.Zero(t, b.ContentRefs(digestA))
	assert.Zero(t, b.OpenTasks("main"))
	up, down, tasks := b.Live()
	assert.Equal(t, [3]int{}, [3]int{up, down, tasks})

	u, ok := b.Upload(w)
	require.True(t, ok)
	assert.Equal(t, Published, u.State)
	d, ok := b.Download(r)
	require.True(t, ok, "a read task is remembered")
	assert.Equal(t, Closed, d.State)
	b.apply(b.ReadDownload(r, []Range{{0, 9}}))
	d, _ = b.Download(r)
	assert.Equal(t, int64(9), d.Read, "bytes may have been on their way when it ended")
	b.Advance(b.at.Add(Remember))
	_, ok = b.Download(r)
	assert.False(t, ok)
	_, ok = b.TaskID(d.Task.ID)
	assert.False(t, ok)
}

func TestWhatAWriteTaskMayDo(t *testing.T) {
	b := newBook(t)
	w := b.writeTask(1)
	_, err := b.Publish(w)
	assert.ErrorIs(t, err, ErrState, "not complete")
	b.store(w, Range{0, 5})
	_, err = b.FinishTask(w, 6, digestA)
	assert.ErrorIs(t, err, ErrRange, "a byte is missing")
	_, err = b.FinishTask(w, 4, digestA)
	assert.ErrorIs(t, err, ErrRange, "bytes beyond")
	b.apply(b.Truncate(w, 2))
	b.finish(w, 2, digestA)
	_, err = b.FinishTask(w, 2, digestA)
	assert.ErrorIs(t, err, ErrState)
	_, err = b.Truncate(w, 0)
	assert.ErrorIs(t, err, ErrState)
	_, err = b.Expire(w)
	assert.ErrorIs(t, err, ErrState)
	got, ok := b.WriteTask(1)
	require.True(t, ok, "still in the way of the next one")
	assert.Equal(t, w, got.ID)
	b.apply(b.Cancel(w))
	assert.Zero(t, b.ContentRefs(digestA))
	_, ok = b.WriteTask(1)
	assert.False(t, ok)

	empty := b.writeTask(1)
	b.finish(empty, 0, digestA)

	// What is no task does none of it.
	plain := b.open(5)
	b.store(plain, Range{0, 5})
	_, err = b.FinishTask(plain, 5, digestA)
	assert.ErrorIs(t, err, ErrState)
	b.seal(plain)
	_, err = b.Publish(plain)
	assert.ErrorIs(t, err, ErrState)
	_, err = b.Cancel(plain)
	assert.ErrorIs(t, err, ErrState)
	_, err = b.CancelDownload(b.download("main", 7))
	assert.ErrorIs(t, err, ErrUnknown)
}

func TestFindingTasks(t *testing.T) {
	b := newBook(t)
	w, r, other := b.writeTask(1), b.readTask(1, digestA), b.readTask(2, digestA)
	u, _ := b.Upload(w)
	id, ok := b.TaskID(u.Task.ID)
	require.True(t, ok)
	assert.Equal(t, w, id)
	assert.Equal(t, []ID{r}, b.ReadTasks(1))
	writes, reads := b.TasksOf("main")
	assert.Equal(t, []ID{w}, writes)
	assert.ElementsMatch(t, []ID{r, other}, reads)
	writes, reads = b.TasksOf("ann")
	assert.Empty(t, append(writes, reads...))

	assert.Empty(t, b.DueTasks(b.at.Add(time.Hour-time.Microsecond), 10))
	assert.Equal(t, []ID{w, r, other}, b.DueTasks(b.at.Add(time.Hour), 10))
	assert.Equal(t, []ID{w}, b.DueTasks(b.at.Add(time.Hour), 1))
	b.apply(b.Expire(w))
	b.apply(b.CancelDownload(r))
	assert.Equal(t, []ID{other}, b.DueTasks(b.at.Add(time.Hour), 10))
	b.apply(b.ExpireDownload(other))
	assert.Empty(t, b.DueTasks(b.at.Add(time.Hour), 10))
	for id, want := range map[ID]State{r: Cancelled, other: Expired} {
		d, ok := b.Download(id)
		require.True(t, ok)
		assert.Equal(t, want, d.State)
	}
}

// Tasks do not crowd out what is remembered of other uploads.
func TestTasksAreRememberedApart(t *testing.T) {
	b := newBook(t)
	plain := b.open(1)
	b.apply(b.Cancel(plain))
	for range MaxRemembered + 1 {
		b.taskQueue = append(b.taskQueue, remembered{NewID(), b.at})
	}
	b.Advance(b.at)
	assert.Len(t, b.taskQueue, MaxRemembered)
	_, ok := b.Upload(plain)
	assert.True(t, ok)
}

func TestTaskFactsThatCannotFollow(t *testing.T) {
	b := newBook(t)
	for kind, body := range map[string]string{
		KindUploadPublished:   `{"session":"11111111-0000-4000-8000-000000000001","revision":"x"}`,
		KindDownloadCancelled: `{"session":"11111111-0000-4000-8000-000000000001"}`,
		KindDownloadOpened:    `{"session":"11111111-0000-4000-8000-000000000001","path":"x","task":{"id":"a","token_sha256":"b"}}`,
	} {
		assert.Error(t, b.raw(kind, body), kind)
	}
}

// A read task may be forgotten in the very moment that what was read of it is
// recorded: the record was decided before.
func TestAReadRecordedAsItsTaskIsForgotten(t *testing.T) {
	b := newBook(t)
	r := b.readTask(1, digestA)
	b.apply(b.CloseDownload(r))
	f, err := b.ReadDownload(r, []Range{{0, 9}})
	require.NoError(t, err)
	b.at = b.at.Add(Remember)
	b.apply(f, err)
	_, ok := b.Download(r)
	assert.False(t, ok)
}
