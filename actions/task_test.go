package actions

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// A content becomes visible when it is complete, and not before; every step of
// it is in the journal.
func TestAnUploadIsPublishedWhole(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	assert.Empty(t, l.mustRead("admin", "doc"), "an empty placeholder is readable at once")
	from := l.log.Head().Size

	first := random(100_000)
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write(first[:60_000])
	require.NoError(t, err)
	assert.Empty(t, l.mustRead("admin", "doc"))
	_, err = w.Write(first[60_000:])
	require.NoError(t, err)
	p, err := w.Publish("")
	require.NoError(t, err)
	assert.Equal(t, &Published{Size: 100_000, SHA256: digestOf(first), Revision: p.Revision}, p)
	assert.Equal(t, string(first), l.mustRead("admin", "doc"))

	kinds := strings.Join(l.kinds(from), " ")
	assert.Contains(t, kinds, "upload.stored upload.sized upload.sealed upload.published revision.published")

	second := random(10)
	_, err = l.write("admin", "doc", second)
	require.NoError(t, err)
	assert.Equal(t, string(second), l.mustRead("admin", "doc"))
	assert.Equal(t, map[string]bool{digestOf(first): true, digestOf(second): true}, l.stored())

	refused(t, acl.CodeTaskGone, nil, l.task(made).Check())
	st, err := l.task(made).Status()
	require.NoError(t, err)
	assert.Equal(t, sessions.Published, st.State, "it can be asked about for a day")
	assert.Equal(t, digestOf(first), st.SHA256)
}

func TestEmptyContent(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	p, err := l.upload(made, nil)
	require.NoError(t, err)
	assert.Equal(t, digestOf(nil), p.SHA256)
	assert.Empty(t, l.mustRead("admin", "doc"))
	assert.Empty(t, l.stored(), "what every daemon carries in itself is not stored")
}

// What a broken transfer brought is kept, over a restart too, and the next one
// goes on from there.
func TestATransferThatBreaksIsResumed(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		l := newLibrary(t)
		made := l.create("doc")
		data := random(200_000)
		w, err := l.task(made).Store(0, false)
		require.NoError(t, err)
		_, err = w.Write(data[:120_000])
		require.NoError(t, err)
		at, err := w.Keep()
		require.NoError(t, err)
		assert.Equal(t, int64(120_000), at)
		if crash {
			l.crash()
		} else {
			l.close()
		}
		l.mustStart()
		task := l.task(made)
		st, err := task.Status()
		require.NoError(t, err)
		assert.Equal(t, int64(120_000), st.Size)

		_, err = task.Store(130_000, false)
		refused(t, acl.CodeTaskOffset, nil, err)
		_, err = task.Store(100_000, true)
		refused(t, acl.CodeTaskOffset, nil, err)
		w, err = task.Store(100_000, false)
		require.NoError(t, err, "bytes beyond are discarded")
		_, err = w.Write(data[100_000:])
		require.NoError(t, err)
		p, err := w.Publish(digestOf(data))
		require.NoError(t, err)
		assert.Equal(t, digestOf(data), p.SHA256)
		assert.Equal(t, string(data), l.mustRead("admin", "doc"))
	}
}

func TestAnAnnouncedDigestIsCompared(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write([]byte("wrong"))
	require.NoError(t, err)
	_, err = w.Publish(digestOf([]byte("right")))
	refused(t, acl.CodeTaskDigest, nil, err)
	st, err := l.task(made).Status()
	require.NoError(t, err)
	assert.Equal(t, sessions.Open, st.State)
	assert.Zero(t, st.Size, "the offset is back at 0")
	_, err = l.upload(made, []byte("right"))
	require.NoError(t, err)
	assert.Equal(t, "right", l.mustRead("admin", "doc"))
}

// A new transfer ends one that runs on the same task; what that one brought
// counts.
func TestANewTransferEndsTheOneBefore(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	first, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = first.Write([]byte("01234"))
	require.NoError(t, err)
	second, err := l.task(made).Store(5, true)
	require.NoError(t, err)
	<-first.Done()
	_, err = first.Write([]byte("x"))
	refused(t, acl.CodeBroken, nil, err)
	_, err = first.Keep()
	refused(t, acl.CodeBroken, nil, err)
	_, err = second.Write([]byte("56789"))
	require.NoError(t, err)
	_, err = second.Publish("")
	require.NoError(t, err)
	assert.Equal(t, "0123456789", l.mustRead("admin", "doc"))
}

func TestAReadTaskIsBoundToItsRevision(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.create("doc")
	_, err := l.write("admin", "doc", []byte("old"))
	require.NoError(t, err)
	r, err := l.as("admin", fileOp("doc", "read"))
	opened := want[*TaskOpened](t, r, err)
	assert.Equal(t, "doc", opened.Key)
	_, err = l.write("admin", "doc", []byte("new"))
	require.NoError(t, err)
	l.close()
	l.mustStart()
	task := l.task(opened)
	from, err := task.Read()
	require.NoError(t, err)
	data, err := io.ReadAll(from)
	require.NoError(t, err)
	assert.Equal(t, "old", string(data))
	require.NoError(t, from.Finish())
	require.NoError(t, from.Close())

	again, err := task.Read()
	require.NoError(t, err, "whoever has finished it may read again")
	require.NoError(t, again.Close())
	_, err = l.task(opened).Read()
	refused(t, acl.CodeTaskGone, nil, err)
	_, err = task.Store(0, false)
	refused(t, acl.CodeTaskDirection, nil, err)
	assert.Len(t, l.records(sessions.KindDownloadRead), 1)
}

func TestWhoOpensATask(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	from := l.log.Head().Size
	_, err := l.Engine.Task(TaskCall{ID: strings.Repeat("0", 128), Token: made.Token, Peer: "192.0.2.1", Via: "test"})
	refused(t, acl.CodeTaskUnknown, nil, err)
	assert.Equal(t, from, l.log.Head().Size, "strangers leave no records")
	_, err = l.Engine.Task(TaskCall{ID: made.ID, Token: strings.Repeat("0", 64), Peer: "192.0.2.1", Via: "test"})
	refused(t, acl.CodeTaskUnknown, nil, err)
	assert.Len(t, l.lines(from), 1, "but a wrong token for a task there is")
	for _, line := range l.lines(0) {
		assert.NotContains(t, line, made.Token)
	}
	assert.Equal(t, "271a413bd339c5709fdceaec41f14f11e9fbfb5042d72d331c65f32b284cd09a", tokenSum(strings.Repeat("ab", 32)))
	id, err := sessions.ParseID("00112233-4455-4677-8899-aabbccddeeff")
	require.NoError(t, err)
	assert.Equal(t, "00112233445546778899aabbccddeeff", fakeName(id))
}

// The clock on the wall ends a task, downtime included; a running transfer is
// spared.
func TestTasksExpire(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	idle, running := l.create("idle"), l.create("running")
	r, err := l.as("admin", fileOp("idle", "read"))
	reading := want[*TaskOpened](t, r, err)
	w, err := l.task(idle).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write([]byte("kept for nothing"))
	require.NoError(t, err)
	_, err = w.Keep()
	require.NoError(t, err)
	l.close()
	l.mustStart()
	w, err = l.task(running).Store(0, false)
	require.NoError(t, err)
	l.clock.Advance(taskLife + time.Second)
	require.NoError(t, l.reap(l.clock.Now()))
	for _, o := range []*TaskOpened{idle, reading} {
		st, err := l.task(o).Status()
		require.NoError(t, err)
		assert.Equal(t, sessions.Expired, st.State)
	}
	_, err = w.Write([]byte("spared"))
	require.NoError(t, err)
	_, err = l.task(running).Store(0, false)
	refused(t, acl.CodeTaskGone, nil, err)
	_, err = w.Publish("")
	refused(t, acl.CodeBroken, nil, err)
	l.clock.Advance(sessions.Remember)
	l.create("later")
	_, err = l.Engine.Task(TaskCall{ID: idle.ID, Token: idle.Token})
	refused(t, acl.CodeTaskUnknown, nil, err)
}

func TestPendingWrites(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.user("bob")
	mine := l.create("doc")
	_, err := l.asMain(&SetAccess{SetAccess: setAccess("", `{}`)})
	require.NoError(t, err)

	_, err = l.as("bob", fileOp("doc", "write"))
	refused(t, acl.CodeInUse, nil, err)
	r, err := l.as("admin", fileOp("doc", "write"))
	again := want[*TaskOpened](t, r, err)
	refused(t, acl.CodeTaskGone, nil, l.task(mine).Check())
	w, err := l.task(again).Store(0, false)
	require.NoError(t, err)

	force := fileOp("doc", "write")
	force.ForceWrite = true
	r, err = l.as("bob", force)
	bobs := want[*TaskOpened](t, r, err)
	<-w.Done()
	_, err = w.Publish("")
	refused(t, acl.CodeTaskGone, nil, err)
	_, err = l.upload(bobs, []byte("bob's"))
	require.NoError(t, err)
	assert.Equal(t, "bob's", l.mustRead("admin", "doc"))
}

// Whether a document takes a content is decided when the content is there, not
// when the task was made.
func TestPublicationIsDecidedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change DocAction
		code   acl.Code
	}{
		"deleted":      {fileOp("doc", "delete"), acl.CodeTaskGone},
		"purged":       {fileOp("doc", "permanently_delete"), acl.CodeTaskGone},
		"rights gone":  {&SetAccess{SetAccess: setAccess("doc", `{"write":[{"match":"any","match_groups":[]}]}`)}, acl.CodeTaskDenied},
		"user gone":    {userOp("bob", "delete"), acl.CodeTaskGone},
		"user blocked": {setStatus("bob", 1), acl.CodeTaskGone},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t)
			l.user("bob")
			_, err := l.asMain(&SetAccess{SetAccess: setAccess("", `{}`)})
			require.NoError(t, err)
			l.create("doc")
			_, err = l.write("admin", "doc", []byte("before"))
			require.NoError(t, err)
			r, err := l.as("bob", fileOp("doc", "write"))
			task := want[*TaskOpened](t, r, err)
			w, err := l.task(task).Store(0, false)
			require.NoError(t, err)
			_, err = w.Write([]byte("after"))
			require.NoError(t, err)
			_, err = l.asMain(c.change)
			require.NoError(t, err)
			_, err = w.Publish("")
			refused(t, c.code, nil, err)
			l.settled()
			assert.False(t, l.stored()[digestOf([]byte("after"))])
		})
	}
}

func TestTooManyTasks(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.create("doc") // its write task counts
	for range maxOpenTasks - 1 {
		_, err := l.as("admin", fileOp("doc", "read"))
		require.NoError(t, err)
	}
	_, err := l.as("admin", fileOp("doc", "read"))
	refused(t, acl.CodeTooManyTasks, nil, err)
	_, err = l.as("admin", fileOp("doc", "write"))
	require.NoError(t, err, "it takes the place of the one before")
	r, err := l.asMain(fileOp("doc", "read"))
	want[*TaskOpened](t, r, err)
}

// A transfer larger than the window is durable as it goes, and memory does not
// grow with it.
func TestALongTransferIsDurableAsItGoes(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	piece := random(1 << 20)
	for range 40 {
		_, err := w.Write(piece)
		require.NoError(t, err)
	}
	st, err := l.task(made).Status()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, st.Size, int64(40<<20-2*taskFlush-1<<20))
	p, err := w.Publish(digestOf(bytes.Repeat(piece, 40)))
	require.NoError(t, err)
	assert.Equal(t, int64(40<<20), p.Size)
}

func TestLimitsOfATransfer(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.cfg.Limits.MaxFileSize = 1000
	made := l.create("doc")
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 1001))
	refused(t, acl.CodeTooBig, nil, err)
	at, err := w.Keep()
	require.NoError(t, err)
	assert.Zero(t, at)
	_, err = l.upload(made, make([]byte, 1000))
	require.NoError(t, err)
}

// No action of the panels' protocol reaches a task, live or ended.
func TestTasksAreNoTransfersOfPanels(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	made := l.create("doc")
	r, err := l.as("admin", fileOp("doc", "read"))
	reading := want[*TaskOpened](t, r, err)
	session := func(o *TaskOpened) sessions.ID {
		n := o.FakeName
		id, err := sessions.ParseID(n[:8] + "-" + n[8:12] + "-" + n[12:16] + "-" + n[16:20] + "-" + n[20:])
		require.NoError(t, err)
		return id
	}
	none := func() {
		t.Helper()
		for _, a := range []Action{
			&UploadChunk{Session: session(made), Data: []byte("x")}, &UploadCancel{Session: session(made)}, &UploadStatusOf{Session: session(made)},
			&DownloadChunk{Session: session(reading), To: 0}, &DownloadClose{Session: session(reading)},
		} {
			_, err := l.do(a)
			assert.Equal(t, CodeNoTransfer, CodeOf(err), a.Name())
			if spec, _ := Lookup(a.Name()); spec.Async {
				assert.Equal(t, "error", l.outcome(l.queueAs(rigCaller, a)).State, "%s_async", a.Name())
			}
		}
		res, err := l.do(TransferList{})
		list := must[*Transfers](t, res, err)
		assert.Empty(t, list.Uploads)
		assert.Empty(t, list.Downloads)
	}
	w, err := l.task(made).Store(0, false)
	require.NoError(t, err)
	from, err := l.task(reading).Read()
	require.NoError(t, err)
	none()
	_, err = w.Publish("")
	require.NoError(t, err)
	require.NoError(t, from.Finish())
	require.NoError(t, from.Close())
	none()
}

// What was read of a task is recorded even in the moment in which the task is
// forgotten.
func TestAReadOutlivesItsTask(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.create("doc")
	_, err := l.write("admin", "doc", []byte("content"))
	require.NoError(t, err)
	r, err := l.as("admin", fileOp("doc", "read"))
	task := l.task(want[*TaskOpened](t, r, err))
	from, err := task.Read()
	require.NoError(t, err)
	require.NoError(t, from.Finish())
	require.NoError(t, from.Close())
	again, err := task.Read()
	require.NoError(t, err)
	_, err = again.Read(make([]byte, 3))
	require.NoError(t, err)
	l.clock.Advance(sessions.Remember)
	require.NoError(t, again.Close())
	_, err = l.as("admin", &GetRootDir{})
	require.NoError(t, err, "the daemon goes on")
	_, err = task.Read()
	refused(t, acl.CodeTaskUnknown, nil, err)
}
