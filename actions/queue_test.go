package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

func (r *rig) queueAs(who Caller, a Action) sessions.ID {
	r.t.Helper()
	id, err := r.Queue(context.Background(), Call{Caller: who, Action: a})
	require.NoError(r.t, err)
	return id
}

func (r *rig) job(id sessions.ID) *JobStatus {
	r.t.Helper()
	res, err := r.do(&JobOf{Job: id})
	return must[*JobStatus](r.t, res, err)
}

// outcome waits until a job has ended. It looks at the state and not at
// get_job, which would leave a record each time.
func (r *rig) outcome(id sessions.ID) *JobStatus {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var live bool
		require.NoError(r.t, r.core.view(func(s *State) {
			j := s.jobs.byID[id]
			require.NotNil(r.t, j, "job %s", id)
			live = j.State.live()
		}))
		if !live {
			return r.job(id)
		}
		require.False(r.t, time.Now().After(deadline), "job %s does not end", id)
	}
}

// dieAt makes the process as good as dead once a durable step is reached: the
// step itself does not happen, and nothing is recorded any more.
func (r *rig) dieAt(op string) <-chan struct{} {
	died := make(chan struct{})
	var once sync.Once
	r.seams.set(func(o string, do func() error) error {
		if o != op {
			return do()
		}
		once.Do(func() {
			r.core.mu.Lock()
			r.core.closed = true
			r.core.mu.Unlock()
			close(died)
		})
		return errInjected
	})
	return died
}

// Every action that may be asked for in the background gives the result that
// it gives at once, and get_job tells it.
func TestEveryAsyncAction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("file", []byte("x"))
	r.mustStart()
	up, gone := r.open("up", 5, ""), r.open("gone", 5, "")
	down := r.download("file").ID
	asked := map[string]Action{
		"get_permissions":       GetPermissions{},
		"get_system_info":       GetSystemInfo{},
		"get_all_reports":       GetAllReports{},
		"file_upload_request":   &UploadRequest{Path: "new", HasPath: true, Size: 5, Timeout: time.Minute},
		"file_upload_chunk":     &UploadChunk{Session: up, Offset: 1, Data: []byte("bcd")},
		"file_upload_cancel":    &UploadCancel{Session: gone},
		"file_upload_status":    &UploadStatusOf{Session: up},
		"file_transfer_list":    TransferList{},
		"file_download_request": &DownloadRequest{Path: "file", Timeout: time.Minute},
		"file_download_close":   &DownloadClose{Session: down},
		"get_file_info":         &FileInfo{Path: "file"},
	}
	jobs := make(map[string]sessions.ID)
	for _, spec := range Specs() {
		a, ok := asked[spec.Name]
		require.Equal(t, spec.Async, ok, spec.Name)
		if ok {
			jobs[spec.Name] = r.queueAs(rigCaller, a)
		}
	}
	results := make(map[string]Result)
	for name, id := range jobs {
		st := r.outcome(id)
		assert.Equal(t, "ok", st.State, "%s: %s %s", name, st.Code, st.Message)
		assert.Equal(t, CodeOK, st.Code)
		results[name] = st.Result
		spec, _ := Lookup(name)
		want := spec.result()
		switch want.(type) {
		case *Empty:
			assert.Equal(t, Empty{}, st.Result, name)
		case *Reports:
			assert.Equal(t, Reports{}, st.Result, name)
		default:
			assert.IsType(t, want, st.Result, name)
		}
	}
	assert.Equal(t, &PermissionList{Permissions: []string{"**"}}, results["get_permissions"])
	assert.Equal(t, &ChunkStored{Received: 3}, results["file_upload_chunk"])
	assert.Equal(t, jobs["file_upload_request"], results["file_upload_request"].(*UploadOpened).ID)
	assert.Equal(t, "open", r.status(results["file_upload_request"].(*UploadOpened).ID).State)
	assert.Equal(t, hexSHA1([]byte("x")), results["file_download_request"].(*DownloadOpened).SHA1)
	assert.Equal(t, "cancelled", r.status(gone).State)
	_, err := r.read(down, 0, 1)
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	assert.Equal(t, "file", results["get_file_info"].(*FileMeta).Meta.Name)
	assert.Zero(t, r.Stats().LiveJobs)
}

func TestAsyncRefusedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	for _, c := range []struct {
		who  Caller
		a    Action
		want Code
	}{
		{rigCaller, Ping{}, CodeUnknownAction},
		{rigCaller, &JobOf{}, CodeUnknownAction},
		{rigCaller, &DirectoryInfo{}, CodeUnknownAction},
		{rigCaller, &DownloadChunk{}, CodeUnknownAction},
		{as("x", "mcsl.daemon.file.download"), &UploadCancel{}, CodePermission},
		{as("x", "mcsl.daemon.file.download"), &FileInfo{Path: "\x00"}, CodePermission}, // before params
		{rigCaller, &FileInfo{Path: "a\x00"}, CodeParam},
		{rigCaller, &DownloadRequest{Path: "c:/x", Timeout: time.Minute}, CodeParam},
		{rigCaller, &UploadRequest{Path: "c:/x", HasPath: true, Size: 1, Timeout: time.Minute}, CodeParam},
		{rigCaller, &UploadRequest{Path: "dir/", HasPath: true, Size: 1, Timeout: time.Minute}, CodeIsDirectory},
		{rigCaller, &UploadRequest{Size: 0, Timeout: time.Minute}, CodeParam},
		{rigCaller, &UploadRequest{Size: UploadMax + 1, Timeout: time.Minute}, CodeTooBig},
		{rigCaller, &UploadChunk{Session: sessions.NewID(), Offset: -1}, CodeParam},
	} {
		_, err := r.Queue(context.Background(), Call{Caller: c.who, Action: c.a, Ref: "the-ref"})
		assert.Equal(t, c.want, CodeOf(err), "%s: %v", c.a.Name(), err)
		refused := r.records(KindRefused)
		assert.Contains(t, refused[len(refused)-1], `"ref":"the-ref","body":{"action":"`+c.a.Name()+`"`)
		assert.Contains(t, refused[len(refused)-1], `"code":"`+string(c.want)+`"`)
	}
	assert.Empty(t, r.records(kindJobQueued))
	entries, err := os.ReadDir(r.staging())
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// A result that the journal cannot hold, here a number that JSON readers would
// round, is left out; the job ends, and those behind it run.
func TestResultThatDoesNotFitARecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	r.system.root = fakeMachine(t, map[string]string{
		"proc/meminfo": "MemTotal: 9007199254740993 kB\n", "proc/stat": someStat,
	}).root
	job := r.outcome(r.queueAs(rigCaller, GetSystemInfo{}))
	assert.Equal(t, "ok", job.State)
	assert.NotEmpty(t, job.Message)
	assert.Equal(t, Empty{}, job.Result)
}

func TestGetJobBySubject(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	ann, bob := as("ann"), as("bob")
	id := r.queueAs(ann, &FileInfo{Path: "missing"})
	st := r.outcome(id)
	assert.Equal(t, JobStatus{State: "error", Code: CodeNotFound, Message: "not found"}, *st, "the main token sees all")
	_, err := r.doAs(ann, &JobOf{Job: id})
	assert.NoError(t, err)
	_, err = r.doAs(bob, &JobOf{Job: id})
	assert.Equal(t, CodeParam, CodeOf(err))
	_, err = r.doAs(ann, &JobOf{Job: sessions.NewID()})
	assert.Equal(t, CodeParam, CodeOf(err))
	r.clock.Advance(jobRemember - time.Second)
	_, err = r.doAs(ann, &JobOf{Job: id})
	assert.NoError(t, err)
	r.clock.Advance(time.Second)
	_, err = r.doAs(ann, &JobOf{Job: id})
	assert.Equal(t, CodeParam, CodeOf(err), "after a day it is forgotten")
}

// What a job is, is in the journal as it was accepted; its contents are not.
func TestJobRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 6, "")
	who := as("ann", "mcsl.daemon.file")
	job, err := r.Queue(context.Background(), Call{
		Caller: who, Ref: "req-1", Action: &UploadChunk{Session: id, Offset: 0, Data: []byte("SECRET"), Text: true},
	})
	require.NoError(t, err)
	st := r.outcome(job)
	assert.Equal(t, &ChunkStored{Done: true, Received: 6}, st.Result)
	queued := r.records(kindJobQueued)
	require.Len(t, queued, 1)
	assert.Contains(t, queued[0], `"actor":"ann","via":"test ann","ref":"req-1"`)
	assert.Contains(t, queued[0], fmt.Sprintf(`"body":{"job":"%s","action":"file_upload_chunk","key":"id:%s","params":{"file_id":"%s","offset":0,"text":true},"bytes":6,"permissions":["mcsl.daemon.file"]}`, job, id, id))
	claimed := r.records(kindJobClaimed)
	require.Len(t, claimed, 1)
	assert.Contains(t, claimed[0], fmt.Sprintf(`"actor":"ann","via":"job","ref":"%s","body":{"job":"%s","attempt":1,"boot":"%s"}`, job, job, r.boot))
	assert.Len(t, r.records(kindJobDone), 1)
	for seq := range r.log.Head().Size {
		require.NoError(t, r.log.Read(context.Background(), seq, seq+1, func(line []byte) error {
			assert.NotContains(t, string(line), "SECRET")
			return nil
		}))
	}
	entries, err := os.ReadDir(r.staging())
	require.NoError(t, err)
	assert.Empty(t, entries, "nothing staged is left")
}

// Jobs of one key run in the order in which they were accepted; a key that is
// held up holds up no other.
func TestJobsOfOneKeyRunInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", []byte("x"))
	r.mustStart()
	id := r.open("up", 4, "")
	var last sessions.ID
	for i := range 8 {
		last = r.queueAs(rigCaller, &UploadChunk{Session: id, Offset: 0, Data: []byte{'a' + byte(i), 'z'}})
	}
	assert.Equal(t, "ok", r.outcome(last).State)
	_, err := r.put(id, 2, []byte("zz"))
	require.NoError(t, err)
	assert.Equal(t, "hzzz", string(r.content("up")))

	order := func(kind string) (ids []string) {
		for _, line := range r.records(kind) {
			_, body, _ := strings.Cut(line, `"body":{"job":"`)
			ids = append(ids, body[:36])
		}
		return ids
	}
	assert.Equal(t, order(kindJobQueued), order(kindJobClaimed))
	assert.Equal(t, order(kindJobQueued), order(kindJobDone))

	slow := r.open("slow", 4, "")
	g := newGate("staged.write")
	chunk := r.queueAs(rigCaller, &UploadChunk{Session: slow, Offset: 0, Data: []byte("ab")})
	r.outcome(chunk)
	r.seams.set(g.step)
	direct := r.send0(slow, 2, "cd")
	<-g.reached
	assert.Equal(t, "ok", r.outcome(r.queueAs(rigCaller, &FileInfo{Path: "f"})).State)
	close(g.open)
	require.NoError(t, <-direct)
	r.seams.set(nil)
}

// send0 stores a chunk in the background without waiting for anything.
func (r *rig) send0(id sessions.ID, off int64, data string) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, err := r.put(id, off, []byte(data))
		answer <- err
	}()
	return answer
}

// The next chunk may be looked at when the order of this one is settled: not
// before the journal has it.
func TestQueuedChunkIsTakenInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 4, "")
	g := newGate("commit")
	r.seams.set(g.step)
	took, accepted := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := r.Queue(context.Background(), Call{
			Caller: rigCaller, Action: &UploadChunk{Session: id, Data: []byte("ab")}, Took: func() { close(took) },
		})
		accepted <- err
	}()
	<-g.reached
	select {
	case <-took:
		t.Error("taken before it has its place")
	default:
	}
	close(g.open)
	require.NoError(t, <-accepted)
	<-took
	r.seams.set(nil)
}

// At whatever commit the process dies, every job that was accepted has its
// effect once: the upload it opens is opened once, the chunk is in it, the
// file is placed, the other is cancelled.
func TestJobsOnceInEffect(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		survived := false
		t.Run(fmt.Sprint("dies after commit ", n), func(t *testing.T) {
			r := newRig(t)
			r.mustStart()
			var commits atomic.Int64
			r.seams.set(func(op string, do func() error) error {
				err := do()
				if op == "commit" {
					if commits.Add(1) == int64(n) {
						return errors.Join(err, errInjected) // it did happen
					}
				}
				return err
			})
			var accepted []sessions.ID
			queue := func(a Action) (sessions.ID, bool) {
				id, err := r.Queue(context.Background(), Call{Caller: rigCaller, Action: a})
				if err == nil {
					accepted = append(accepted, id)
				}
				return id, err == nil
			}
			id, ok := queue(&UploadRequest{Path: "a", HasPath: true, Size: 4, Timeout: time.Minute})
			ended := func() (over bool) {
				err := r.core.view(func(s *State) { over = !s.jobs.byID[id].State.live() })
				return over || err != nil
			}
			for ok && !ended() {
				time.Sleep(time.Millisecond)
			}
			var other sessions.ID
			if ok && r.core.view(func(*State) {}) == nil {
				if _, ok = queue(&UploadChunk{Session: id, Data: []byte("ab")}); ok {
					if _, ok = queue(&UploadChunk{Session: id, Offset: 2, Data: []byte("cd")}); ok {
						res, err := r.do(&UploadRequest{Path: "b", HasPath: true, Size: 4, Timeout: time.Minute})
						if ok = err == nil; ok {
							other = res.(*UploadOpened).ID
							_, ok = queue(&UploadCancel{Session: other})
						}
					}
				}
			}
			for ok && r.Stats().LiveJobs > 0 && r.core.view(func(*State) {}) == nil {
				time.Sleep(time.Millisecond)
			}
			survived = r.core.view(func(*State) {}) == nil
			r.seams.set(nil)
			r.crash()
			r.mustStart()
			for _, job := range accepted {
				st := r.outcome(job)
				assert.Equal(t, "ok", st.State, "%s %s", st.Code, st.Message)
			}
			if len(accepted) >= 1 {
				assert.LessOrEqual(t, len(r.records(sessions.KindUploadOpened)), 2)
				assert.Equal(t, "a", r.status(id).Path)
			}
			if len(accepted) >= 3 {
				assert.Equal(t, "abcd", string(r.content("a")))
				assert.Len(t, r.records(sessions.KindUploadPlaced), 1)
			}
			if len(accepted) >= 4 {
				assert.Equal(t, "cancelled", r.status(other).State)
				assert.Len(t, r.records(sessions.KindUploadCancelled), 1)
			}
		})
		if survived || t.Failed() {
			return
		}
		require.Less(t, n, 60, "there must be an end to the commits")
	}
}

// A chunk that completes a file which cannot be put in place yet has had its
// effect all the same.
func TestJobDoneBeforeTheFileIsPlaced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 2, "")
	died := r.dieAt("target.rename")
	job := r.queueAs(rigCaller, &UploadChunk{Session: id, Data: []byte("ab")})
	<-died
	r.crash()
	r.seams.set(func(op string, do func() error) error {
		if op == "target.rename" {
			return errInjected
		}
		return do()
	})
	r.mustStart()
	st := r.outcome(job)
	assert.Equal(t, "ok", st.State, "%s %s", st.Code, st.Message)
	assert.Equal(t, &ChunkStored{Received: 2}, st.Result)
	r.seams.set(nil)
	for r.status(id).State != "placed" { // the engine's own reaper may be at it
		require.NoError(t, r.reap(r.clock.Now().Add(placeRetry)))
	}
	assert.Equal(t, "ab", string(r.content("f")))
}

func TestPoisonedJobs(t *testing.T) {
	t.Parallel()
	for _, most := range []int{2, -1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.limits.MaxVoidClaims = most
			r.mustStart()
			id := r.open("f", 10, "")
			job := r.queueHeld(id) // staging the job's bytes writes too
			for range 2 {
				r.crash()
				died := r.dieAt("staged.write")
				r.mustStart()
				<-died
			}
			r.crash()
			r.seams.set(nil)
			r.mustStart()
			st := r.outcome(job)
			var attempts []string
			for _, line := range r.records(kindJobClaimed) {
				var body jobClaimedBody
				_, raw, _ := strings.Cut(line, `"body":`)
				require.NoError(t, json.Unmarshal([]byte(raw[:len(raw)-1]), &body))
				attempts = append(attempts, fmt.Sprint(body.Attempt, " ", body.BackoffMS))
			}
			if most < 0 {
				assert.Equal(t, "ok", st.State)
				assert.Equal(t, []string{"1 0", "2 1", "3 2"}, attempts)
				return
			}
			assert.Equal(t, "error", st.State)
			assert.Equal(t, CodeUnexpected, st.Code)
			assert.Contains(t, st.Message, "given up after 2 attempts")
			assert.Equal(t, []string{"1 0", "2 1"}, attempts)
			assert.Len(t, r.records(kindJobPoisoned), 1)
			_, ok, err := r.root.StagedExists(job.String())
			require.NoError(t, err)
			assert.False(t, ok)
		})
	}
}

// queueHeld queues a chunk while no job can run.
func (r *rig) queueHeld(id sessions.ID) sessions.ID {
	r.t.Helper()
	for range cap(r.queue.slots) {
		r.queue.slots <- struct{}{}
	}
	return r.queueAs(rigCaller, &UploadChunk{Session: id, Data: []byte("ab")})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		assert.Equal(t, want*time.Second, backoff(n), n)
	}
	assert.Equal(t, time.Minute, backoff(1<<20))
}

// A clean stop finishes what runs and leaves the rest queued, unclaimed.
func TestStopLeavesJobsQueued(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 8, "")
	var jobs []sessions.ID
	g := newGate("staged.sync")
	first := r.queueHeld(id)
	for i := range 3 {
		jobs = append(jobs, r.queueAs(rigCaller, &UploadChunk{Session: id, Offset: int64(i+1) * 2, Data: []byte("cd")}))
	}
	r.seams.set(g.step)
	for range cap(r.queue.slots) {
		<-r.queue.slots
	}
	<-g.reached // the first is running
	stopped := make(chan error, 1)
	stop := r.stop
	r.stop = nil
	go func() { stopped <- stop() }()
	for !r.halting() {
		time.Sleep(time.Millisecond)
	}
	_, err := r.Queue(context.Background(), Call{Caller: rigCaller, Action: &FileInfo{Path: "x"}})
	assert.ErrorIs(t, err, ErrStopping)
	close(g.open)
	require.NoError(t, <-stopped)
	r.seams.set(nil)

	r.mustStart()
	assert.Equal(t, "ok", r.job(first).State)
	assert.Equal(t, "ok", r.outcome(jobs[2]).State)
	assert.Equal(t, "abcdcdcd", string(r.content("f")))
	claimed := strings.Join(r.records(kindJobClaimed), "\n")
	assert.NotContains(t, claimed, `"attempt":2`, "a clean stop voids no claim")
	assert.Equal(t, 4, strings.Count(claimed, "\n")+1)
	assert.Contains(t, r.records("daemon.stopped")[0], `"kind":"daemon.stopped"`)
}

func (r *rig) halting() bool {
	r.life.RLock()
	defer r.life.RUnlock()
	return r.stopping
}

// A job that a clean stop interrupts is released, not failed.
func TestStopReleasesAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", []byte("abc"))
	r.mustStart()
	var commits atomic.Int64
	g := newGate("commit")
	r.seams.set(func(op string, do func() error) error {
		if op == "commit" {
			if commits.Add(1) == 2 { // job.queued, then job.claimed
				return g.step(op, do)
			}
		}
		return do()
	})
	job := r.queueAs(rigCaller, &DownloadRequest{Path: "f", Timeout: time.Minute})
	<-g.reached
	stopped := make(chan error, 1)
	stop := r.stop
	r.stop = nil
	go func() { stopped <- stop() }()
	for r.queue.ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	close(g.open)
	require.NoError(t, <-stopped)
	r.seams.set(nil)
	r.mustStart()
	assert.Equal(t, "ok", r.outcome(job).State)
	assert.Len(t, r.records(kindJobReleased), 1)
	claimed := r.records(kindJobClaimed)
	require.Len(t, claimed, 2)
	assert.Contains(t, claimed[1], `"attempt":1`)
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := NewState()
	for range maxJobsRemembered + 5 {
		j := &job{ID: sessions.NewID()}
		s.jobs.byID[j.ID] = j
		s.jobs.end(j, jobDone, time.Unix(0, 0), &jobEndedBody{})
	}
	s.jobs.advance(time.Unix(1, 0))
	assert.Len(t, s.jobs.byID, maxJobsRemembered)
	assert.Zero(t, s.jobs.live())
	s.jobs.advance(time.Unix(0, 0).Add(jobRemember))
	assert.Empty(t, s.jobs.byID)
}

// A chunk whose job stored it before a crash is not written again over bytes
// that came later.
func TestJobDoesNotStoreTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("x", 100, "")
	var commits atomic.Int32
	r.seams.set(func(op string, do func() error) error {
		// job.queued, job.claimed, upload.stored, and not job.done.
		if op == "commit" && commits.Add(1) > 3 {
			return errInjected
		}
		return do()
	})
	job := r.queueAs(rigCaller, &UploadChunk{Session: id, Data: []byte("first")})
	<-r.dead
	r.seams.set(nil)
	r.crash()

	gate := make(chan struct{})
	r.backoff = func(int) time.Duration { <-gate; return 0 }
	r.mustStart()
	_, err := r.put(id, 0, []byte("LATER"))
	require.NoError(t, err)
	close(gate)
	st := r.outcome(job)
	assert.Equal(t, "ok", st.State)
	assert.Equal(t, &ChunkStored{Received: 5}, st.Result)
	rest := random(95)
	_, err = r.put(id, 5, rest)
	require.NoError(t, err)
	have, err := os.ReadFile(r.path("x"))
	require.NoError(t, err)
	assert.Equal(t, "LATER"+string(rest), string(have))
}
