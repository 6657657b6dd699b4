package actions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// queue runs asynchronous actions. It stores nothing: what is queued, who
// claimed it and how it ended are facts; this is only who runs what now.
type queue struct {
	engine  *Engine
	slots   chan struct{}
	ctx     context.Context // of Run: jobs outlive the requests that queued them
	workers *errgroup.Group
	// backoff is how long a job waits after n void claims.
	backoff func(n int) time.Duration

	mu sync.Mutex
	// waiting lists the jobs of each key in arrival order; a key that is
	// present has a goroutine.
	waiting map[string][]waitingJob
}

type waitingJob struct {
	job
	// release lets go of the idle clock that the job holds.
	release func()
}

func newQueue(e *Engine) *queue {
	return &queue{engine: e, backoff: backoff, slots: make(chan struct{}, maxRunning), waiting: make(map[string][]waitingJob)}
}

// start takes up the jobs that the journal says have not ended, in arrival
// order.
func (q *queue) start(ctx context.Context, workers *errgroup.Group) error {
	q.ctx, q.workers = ctx, workers
	var left []job
	if err := q.engine.core.view(func(s *State) { left = s.jobs.liveJobs() }); err != nil {
		return err
	}
	for _, j := range left {
		q.engine.stats.jobs.Add(1)
		if most := q.engine.cfg.Limits.MaxVoidClaims; most > 0 && j.Void >= most {
			message := fmt.Sprintf("given up after %d attempts ended in a crash", j.Void)
			q.engine.cfg.Logger.Error().Stringer("job", j.ID).Str("action", j.Action).Msg(message)
			if err := q.finish(&j, kindJobPoisoned, jobEndedBody{Job: j.ID, Code: CodeUnexpected, Message: message}); err != nil {
				return err
			}
			continue
		}
		q.push(j, q.engine.hold(j.Key))
	}
	return nil
}

// push appends a job to its key. The caller holds a share of busy, or is the
// start: either way the workers are not being waited for yet.
func (q *queue) push(j job, release func()) {
	key := j.Key
	if key == "" {
		key = "job:" + j.ID.String()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs, running := q.waiting[key]
	jobs = append(jobs, waitingJob{j, release})
	// Two connections may come here in another order than their records; the
	// first job may be running.
	for i := len(jobs) - 1; i > 1 && jobs[i-1].Seq > jobs[i].Seq; i-- {
		jobs[i-1], jobs[i] = jobs[i], jobs[i-1]
	}
	q.waiting[key] = jobs
	if !running {
		q.workers.Go(func() error { return q.drain(key) })
	}
}

// hold stops the idle clock of the session a key names, if there is one, until
// what it returns is called: a job that waits is work of its session.
func (e *Engine) hold(key string) (release func()) {
	text, _ := strings.CutPrefix(key, sessionPrefix)
	id, err := sessions.ParseID(text)
	if err != nil {
		return func() {} // ordered by a path, or by nothing
	}
	return e.stopClock(id)
}

// drain runs the jobs of a key one after the other until there is none.
func (q *queue) drain(key string) error {
	for {
		q.mu.Lock()
		jobs := q.waiting[key]
		if len(jobs) == 0 {
			delete(q.waiting, key)
			q.mu.Unlock()
			return nil
		}
		j := jobs[0]
		q.mu.Unlock()
		if !q.pause(q.backoff(j.Void)) {
			return nil // stopping: it stays queued in the journal
		}
		select {
		case q.slots <- struct{}{}:
		case <-q.ctx.Done():
			return nil
		}
		// A job starts work of its own (a sync, a digest) that a stop waits for
		// by busy, as it does for that of requests.
		if !q.engine.enter() {
			<-q.slots
			return nil
		}
		err := q.run(&j.job)
		j.release()
		q.engine.busy.Done()
		<-q.slots
		if err != nil {
			return err
		}
		q.mu.Lock()
		q.waiting[key] = q.waiting[key][1:]
		q.mu.Unlock()
	}
}

// pause waits out a back-off; false means that the daemon is stopping.
func (q *queue) pause(d time.Duration) bool {
	if d == 0 {
		return q.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.ctx.Done():
		return false
	}
}

// run claims a job, runs it and records how it ended. Only a journal that
// cannot be written is an error.
func (q *queue) run(j *job) error {
	e := q.engine
	claim, err := marshal(jobClaimedBody{
		Job: j.ID, Attempt: j.Void + 1, Boot: e.boot, BackoffMS: q.backoff(j.Void).Milliseconds(),
	})
	if err != nil {
		return fmt.Errorf("encode %s: %w", kindJobClaimed, err)
	}
	from := origin{j.Owner, viaJob, j.ID.String()}
	if err := e.fact(from, kindJobClaimed, claim); err != nil {
		return err
	}
	result, err := q.perform(j)
	end := jobEndedBody{Job: j.ID}
	switch {
	case errors.Is(err, ErrFailed):
		return err
	case err != nil && errors.Is(err, context.Canceled) && q.ctx.Err() != nil:
		raw, err := marshal(end)
		if err != nil {
			return fmt.Errorf("encode %s: %w", kindJobReleased, err)
		}
		return e.fact(from, kindJobReleased, raw)
	case err != nil:
		refusal := asError(err)
		if refusal.Code == CodeUnexpected {
			e.cfg.Logger.Error().Err(err).Stringer("job", j.ID).Str("action", j.Action).Msg("job failed")
		}
		end.Code, end.Message = refusal.Code, clip(refusal.Detail)
		return q.finish(j, kindJobFailed, end)
	}
	end.Code = CodeOK
	if end.Result, err = marshal(result); err != nil {
		return fmt.Errorf("encode result of %s: %w", j.Action, err)
	}
	if len(end.Result) > maxJobResult {
		end.Result, end.Message = nil, fmt.Sprintf("a result of %d bytes is too long to be kept", len(end.Result))
	}
	err = q.finish(j, kindJobDone, end)
	if errors.Is(err, errUnrecordable) {
		// Otherwise the job would never end, and hold up its key for ever.
		end.Result, end.Message = nil, "the result does not fit a record"
		err = q.finish(j, kindJobDone, end)
	}
	return err
}

// finish records the end and then lets go of what was staged for the job.
func (q *queue) finish(j *job, kind string, end jobEndedBody) error {
	raw, err := marshal(end)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	if err := q.engine.fact(origin{j.Owner, viaJob, j.ID.String()}, kind, raw); err != nil {
		return err
	}
	q.engine.stats.jobs.Add(-1)
	if j.Bytes > 0 {
		if err := q.engine.cfg.Root.DropStaged(j.ID.String()); err != nil {
			// The next start removes it: the journal knows the job has ended.
			q.engine.cfg.Logger.Warn().Err(err).Stringer("job", j.ID).Msg("remove staged bytes")
		}
	}
	return nil
}

// perform runs the action as its caller was when it was accepted.
func (q *queue) perform(j *job) (Result, error) {
	e := q.engine
	action, err := decodeAction(j.Action, j.Params)
	if err != nil {
		return nil, err
	}
	permissions, err := acl.ParsePermissions(j.Permissions)
	if err != nil {
		return nil, fmt.Errorf("permissions of job %s: %w", j.ID, err)
	}
	if a, ok := action.(*UploadChunk); ok && j.Effect {
		return e.storedBefore(a)
	}
	if a, ok := action.(*UploadChunk); ok && j.Bytes > 0 {
		if a.Data, err = e.stagedJob(j); err != nil {
			return nil, err
		}
	}
	call := Call{
		Caller: Caller{Subject: j.Owner, Main: j.Main, Permissions: permissions, Via: viaJob},
		Action: action, Ref: j.ID.String(),
	}
	result, err := e.run(q.ctx, &call, j.ID)
	if j.Void > 0 && CodeOf(err) == CodeNoTransfer {
		return e.doneBefore(action, err)
	}
	return result, err
}

func (e *Engine) stagedJob(j *job) ([]byte, error) {
	f, err := e.cfg.Root.OpenStaged(j.ID.String())
	if err != nil {
		return nil, Errorf(CodeFile, "the staged bytes are gone")
	}
	defer f.Close() // it was only read
	data := make([]byte, j.Bytes)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fileError(err)
	}
	return data, nil
}

// storedBefore answers for a chunk's job whose bytes an earlier run stored.
func (e *Engine) storedBefore(a *UploadChunk) (Result, error) {
	var u sessions.Upload
	var known bool
	if err := e.core.view(func(s *State) { u, known = s.sessions.Upload(a.Session) }); err != nil {
		return nil, err
	}
	switch {
	case !known:
		return nil, Errorf(CodeNoTransfer, "no upload %s", a.Session)
	case u.State == sessions.Rejected:
		return nil, &Error{Code(u.Code), u.Message}
	}
	return &ChunkStored{Done: u.State == sessions.Placed, Received: u.Stored.Len()}, nil
}

// doneBefore answers for a job whose session is gone when it runs again
// after a crash: its first run may be what ended it.
func (e *Engine) doneBefore(a Action, refusal error) (Result, error) {
	if _, ok := a.(*DownloadClose); ok {
		return Empty{}, nil
	}
	id, ok := uploadOf(a)
	if !ok {
		return nil, refusal
	}
	var past sessions.Upload
	if err := e.core.view(func(s *State) { past, ok = s.sessions.Upload(id) }); err != nil {
		return nil, err
	}
	ok = ok && past.Task == nil
	_, chunk := a.(*UploadChunk)
	_, cancel := a.(*UploadCancel)
	switch {
	case ok && chunk && past.State == sessions.Placed:
		return &ChunkStored{Done: true, Received: past.Size}, nil
	case ok && chunk && past.State.Live() && past.Complete():
		return &ChunkStored{Received: past.Size}, nil // it cannot be put in place yet
	case ok && chunk && past.State == sessions.Rejected:
		return nil, &Error{Code(past.Code), past.Message}
	case ok && cancel && past.State == sessions.Cancelled:
		return Empty{}, nil
	}
	return nil, refusal
}

// fact commits one fact that needs no deciding.
func (e *Engine) fact(from origin, kind string, body []byte) error {
	facts := []sessions.Fact{{Kind: kind, Body: body}}
	return e.core.decide(from, func(*State) ([]sessions.Fact, error) { return facts, nil })
}

func (e *Engine) jobStatus(c *Call, a *JobOf) (Result, error) {
	var j job
	var ok bool
	now := e.cfg.Now()
	err := e.core.view(func(s *State) {
		if known := s.jobs.byID[a.Job]; known != nil {
			j, ok = *known, true
		}
	})
	if err != nil {
		return nil, err
	}
	if !ok || !c.Caller.Main && j.Owner != c.Caller.Subject || !j.State.live() && now.Sub(j.Ended) >= jobRemember {
		return nil, Errorf(CodeParam, "job: no job %s", a.Job)
	}
	st := &JobStatus{Code: j.Code, Message: j.Message}
	switch j.State {
	case jobQueued:
		st.State = "queued"
	case jobClaimed:
		st.State = "running"
	case jobDone:
		st.State = "ok"
		st.Result = Empty{}
		if len(j.Result) > 0 {
			if st.Result, err = decodeResult(j.Action, j.Result); err != nil {
				return nil, err
			}
		}
	default:
		st.State = "error"
	}
	return e.answered(c, st)
}
