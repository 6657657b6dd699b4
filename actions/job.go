package actions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"waybill/journal"
	"waybill/sessions"
)

// The kinds of facts about asynchronous actions.
const (
	kindJobQueued   = "job.queued"
	kindJobClaimed  = "job.claimed"
	kindJobReleased = "job.released"
	kindJobDone     = "job.done"
	kindJobFailed   = "job.failed"
	kindJobPoisoned = "job.poisoned"
)

type jobState string

const (
	jobQueued   jobState = "queued"
	jobClaimed  jobState = "claimed"
	jobDone     jobState = "done"
	jobFailed   jobState = "failed"
	jobPoisoned jobState = "poisoned"
)

func (s jobState) live() bool { return s == jobQueued || s == jobClaimed }

// job is an asynchronous action as the journal has it.
type job struct {
	ID     sessions.ID     `json:"job"`
	Seq    uint64          `json:"seq"`
	Action string          `json:"action"`
	Key    string          `json:"key,omitempty"`
	Params json.RawMessage `json:"params"`
	// Bytes of contents staged under the job's ID.
	Bytes int64 `json:"bytes,omitempty"`
	// Main and Permissions are the caller's as they were at acceptance.
	Main        bool     `json:"main,omitempty"`
	Permissions []string `json:"permissions"`
	Owner       string   `json:"owner"`

	State jobState `json:"state"`
	// Void counts the claims that a crash voided.
	Void int `json:"void,omitempty"`
	// Effect is set once a chunk's bytes are stored, or were found stored: it
	// must not be written again over what came later.
	Effect  bool            `json:"effect,omitempty"`
	Code    Code            `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Ended   time.Time       `json:"ended,omitzero"`
}

type jobQueuedBody struct {
	Job         sessions.ID     `json:"job"`
	Action      string          `json:"action"`
	Key         string          `json:"key,omitempty"`
	Params      json.RawMessage `json:"params"`
	Bytes       int64           `json:"bytes,omitempty"`
	Main        bool            `json:"main,omitempty"`
	Permissions []string        `json:"permissions"`
}

type jobClaimedBody struct {
	Job sessions.ID `json:"job"`
	// Attempt counts from 1; BackoffMS is what this claim waited for after
	// the one before it was voided by a crash.
	Attempt   int    `json:"attempt"`
	Boot      string `json:"boot"`
	BackoffMS int64  `json:"backoff_ms,omitempty"`
}

type jobEndedBody struct {
	Job     sessions.ID     `json:"job"`
	Code    Code            `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// jobs folds the job facts.
type jobs struct {
	byID map[sessions.ID]*job
	// ended lists the jobs that have ended, oldest first.
	ended []*job
}

func newJobs() *jobs { return &jobs{byID: make(map[sessions.ID]*job)} }

func (js *jobs) live() int { return len(js.byID) - len(js.ended) }

// liveJobs returns copies of the jobs that have not ended, in arrival order.
func (js *jobs) liveJobs() []job {
	var out []job
	for _, j := range js.byID {
		if j.State.live() {
			out = append(out, *j)
		}
	}
	slices.SortFunc(out, func(a, b job) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

// advance forgets ended jobs by age and number.
func (js *jobs) advance(at time.Time) {
	for len(js.ended) > 0 {
		if at.Sub(js.ended[0].Ended) < jobRemember && len(js.ended) <= maxJobsRemembered {
			return
		}
		delete(js.byID, js.ended[0].ID)
		js.ended = js.ended[1:]
	}
}

// viaJob is the via of what a job does; the ref is the job's ID.
const viaJob = "job"

// tookEffect notes a record that a chunk's job left. Of several facts about
// one chunk only the last counts calls.
func (js *jobs) tookEffect(e *journal.Entry) {
	switch {
	case e.Kind == KindAnswered:
	case e.Kind == sessions.KindUploadStored && !bytes.HasSuffix(e.Body, []byte(`"calls":0}`)):
	default:
		return
	}
	id, err := sessions.ParseID(e.Ref)
	if err != nil {
		return
	}
	if j := js.byID[id]; j != nil && j.State.live() && j.Action == (*UploadChunk)(nil).Name() {
		j.Effect = true
	}
}

// voidClaims takes back the claims of a daemon that ended without releasing
// them.
func (js *jobs) voidClaims() {
	for _, j := range js.byID {
		if j.State == jobClaimed {
			j.State = jobQueued
			j.Void++
		}
	}
}

// backoff is how long a job waits after its claims were voided n times.
func backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(backoffFirst<<min(n-1, 10), backoffMost)
}

func (js *jobs) apply(e *journal.Entry) error {
	if e.Kind == kindJobQueued {
		var b jobQueuedBody
		if err := json.Unmarshal(e.Body, &b); err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
		if _, ok := js.byID[b.Job]; ok {
			return fmt.Errorf("%s: job %s exists", e.Kind, b.Job)
		}
		js.byID[b.Job] = &job{
			ID: b.Job, Seq: e.Seq, Action: b.Action, Key: b.Key, Params: b.Params, Bytes: b.Bytes, Main: b.Main,
			Permissions: b.Permissions, Owner: string(e.Actor), State: jobQueued,
		}
		return nil
	}
	var b jobEndedBody
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return fmt.Errorf("%s: %w", e.Kind, err)
	}
	j, ok := js.byID[b.Job]
	if !ok || !j.State.live() {
		return fmt.Errorf("%s: job %s is not live", e.Kind, b.Job)
	}
	switch e.Kind {
	case kindJobClaimed:
		j.State = jobClaimed
	case kindJobReleased:
		j.State = jobQueued
	case kindJobDone:
		js.end(j, jobDone, e.At, &b)
	case kindJobFailed:
		js.end(j, jobFailed, e.At, &b)
	case kindJobPoisoned:
		js.end(j, jobPoisoned, e.At, &b)
	default:
		return fmt.Errorf("unknown kind %q", e.Kind)
	}
	return nil
}

func (js *jobs) end(j *job, s jobState, at time.Time, b *jobEndedBody) {
	j.State, j.Ended = s, at
	j.Code, j.Message, j.Result = b.Code, b.Message, b.Result
	// The parameters have served their purpose; the journal keeps them.
	j.Params = nil
	js.ended = append(js.ended, j)
}

// MarshalJSON lists the jobs in arrival order.
func (js *jobs) MarshalJSON() ([]byte, error) {
	all := make([]*job, 0, len(js.byID))
	for _, j := range js.byID {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b *job) int { return cmp.Compare(a.Seq, b.Seq) })
	return marshal(all)
}
