package actions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"waybill/fsview"
	"waybill/journal"
	"waybill/sessions"
)

// ErrStopping is returned for requests that come while the daemon stops.
var ErrStopping = errors.New("the daemon is stopping")

// Config is what an Engine works with.
type Config struct {
	Log     *journal.Log
	Root    *fsview.Root
	Version string
	Logger  zerolog.Logger
	Limits  Limits
	Observe Observer
	// Library is what the document library works with; nil for none.
	Library *Library
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Stats are gauges of what is live now.
type Stats struct {
	LiveUploads, LiveDownloads, LiveJobs int
	// Records is the number of records committed.
	Records uint64
}

// Engine runs actions: it joins the core with the files. Its methods may be
// called from any goroutine while Run runs.
type Engine struct {
	cfg    Config
	core   *core
	boot   string
	system systemProbe
	hashes *hashCache

	// mu guards the live side of sessions, which is no state: what is being
	// written, who waits, when somebody last asked.
	mu        sync.Mutex
	uploads   map[sessions.ID]*upload
	owned     map[string]int // how many of them each subject has
	downloads map[sessions.ID]*download
	// targets are claimed by live uploads; paths are the same by name, since
	// a target's identity changes when a missing parent appears.
	targets map[fsview.Target]sessions.ID
	paths   map[string]sessions.ID
	// tasks are those that bytes go into or out of, or did a moment ago.
	tasks map[sessions.ID]*liveTask

	// window holds a unit for each byte written and not yet synced.
	window *semaphore.Weighted

	queue   *queue
	refused refusedTraffic

	// Of the document library: passwords being hashed, logins that failed,
	// refusals of strangers that are recorded, contents on their way in or out,
	// and those that may have to go.
	argon    *semaphore.Weighted
	guard    guard
	unproven *rate.Limiter
	storing  contentLocks
	sweep    sweeping

	// life guards stopping; accepted work holds a share of busy.
	life     sync.RWMutex
	stopping bool
	busy     sync.WaitGroup

	stats struct{ uploads, downloads, jobs atomic.Int64 }
}

// New returns an engine over a replayed state. Nothing runs before Run.
func New(cfg Config, state *State) *Engine {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	e := &Engine{
		cfg:       cfg,
		core:      newCore(cfg.Log, state, cfg.Now, cfg.Observe),
		boot:      uuid.NewString(),
		hashes:    newHashCache(),
		uploads:   make(map[sessions.ID]*upload),
		owned:     make(map[string]int),
		downloads: make(map[sessions.ID]*download),
		targets:   make(map[fsview.Target]sessions.ID),
		paths:     make(map[string]sessions.ID),
		tasks:     make(map[sessions.ID]*liveTask),
		window:    semaphore.NewWeighted(totalWindow),

		argon:    semaphore.NewWeighted(maxArgon),
		unproven: rate.NewLimiter(rate.Every(unprovenEvery), unprovenBurst),
		sweep:    sweeping{wake: make(chan struct{}, 1)},
	}
	e.queue = newQueue(e)
	return e
}

// Journal is the log the engine writes, for its readers.
func (e *Engine) Journal() *journal.Log { return e.cfg.Log }

// Stats returns the gauges.
func (e *Engine) Stats() Stats {
	return Stats{
		LiveUploads: int(e.stats.uploads.Load()), LiveDownloads: int(e.stats.downloads.Load()),
		LiveJobs: int(e.stats.jobs.Load()), Records: e.cfg.Log.Head().Size,
	}
}

// Busy is how long the core has been at its present batch: 0 while it waits
// for work, long if a commit hangs.
func (e *Engine) Busy() time.Duration { return e.core.busy() }

// StateJSON renders the committed state, for tests and `journal replay`.
func (e *Engine) StateJSON() (out []byte, err error) {
	if verr := e.core.view(func(s *State) { out, err = s.MarshalJSON() }); verr != nil {
		return nil, verr
	}
	return out, err
}

// enter admits one piece of work, unless the engine stops.
func (e *Engine) enter() bool {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.stopping {
		return false
	}
	e.busy.Add(1)
	return true
}

// Do runs an action and returns when its answer may leave: what it says is
// durable, its record too. Errors are *Error, ErrStopping, or ErrFailed, after
// which nothing more can be answered. Once accepted, the work finishes though
// the caller has gone; ctx only ends waiting that changes nothing.
func (e *Engine) Do(ctx context.Context, c Call) (Result, error) {
	defer c.took()
	if !e.enter() {
		return nil, ErrStopping
	}
	defer e.busy.Done()
	c.Ref = refOf(c.Ref)
	begun := time.Now()
	name := c.Action.Name()
	r, err := e.do(ctx, &c, sessions.ID{})
	if e.cfg.Observe.Action != nil && !errors.Is(err, ErrFailed) {
		e.cfg.Observe.Action(name, CodeOf(err), time.Since(begun))
	}
	return r, err
}

// do checks the permission, runs, and records a refusal. id, if not zero, is
// the session to open: that of the job which asks.
func (e *Engine) do(ctx context.Context, c *Call, id sessions.ID) (Result, error) {
	spec, ok := Lookup(c.Action.Name())
	if !ok {
		return nil, e.refuse(c, Errorf(CodeUnknownAction, "%s", c.Action.Name()))
	}
	if spec.Permission != "" && !c.Caller.Permissions.Allow(spec.Permission) {
		return nil, e.refuse(c, Errorf(CodePermission, "needs %s", spec.Permission))
	}
	r, err := e.run(ctx, c, id)
	if err == nil {
		return r, nil
	}
	if errors.Is(err, ErrFailed) {
		return nil, err
	}
	return nil, e.refuse(c, err)
}

// run hands an action to its handler. A handler that succeeds has recorded
// it; refusals are recorded by do.
func (e *Engine) run(ctx context.Context, c *Call, id sessions.ID) (Result, error) {
	switch a := c.Action.(type) {
	case Ping:
		return &Pong{TimeMS: e.cfg.Now().UnixMilli()}, nil
	case GetPermissions:
		return e.answered(c, &PermissionList{Permissions: c.Caller.Permissions.Strings()})
	case GetSystemInfo:
		return e.systemInfo(ctx, c)
	case GetAllReports:
		return e.answered(c, Reports{})
	case *UploadRequest:
		return e.openUpload(c, a, id)
	case *UploadChunk:
		return e.chunk(c, a)
	case *UploadCancel:
		return e.cancelUpload(c, a)
	case *UploadStatusOf:
		return e.uploadStatus(c, a)
	case TransferList:
		return e.transferList(c)
	case *DownloadRequest:
		return e.openDownload(ctx, c, a, id)
	case *DownloadChunk:
		return e.readDownload(c, a)
	case *DownloadClose:
		return e.closeDownload(c, a)
	case *FileInfo:
		return e.fileInfo(c, a)
	case *DirectoryInfo:
		return e.directoryInfo(ctx, c, a)
	case *JobOf:
		return e.jobStatus(c, a)
	}
	return nil, Errorf(CodeUnknownAction, "%s", c.Action.Name())
}

type answeredBody struct {
	Action string `json:"action"`
	Params any    `json:"params,omitempty"`
	Code   Code   `json:"code"`
	// Message is the refusal's line for people.
	Message string `json:"message,omitempty"`
}

// answered records a request that changed nothing and succeeded, and passes
// its result on once the record is durable.
func (e *Engine) answered(c *Call, r Result) (Result, error) {
	body := answeredBody{Action: c.Action.Name(), Params: recordedParams(c.Action), Code: CodeOK}
	return r, e.record(c.origin(), KindAnswered, body)
}

// refuse records a refusal and returns it as an *Error.
func (e *Engine) refuse(c *Call, err error) error {
	refusal := asError(err)
	if refusal.Code == CodeUnexpected {
		e.cfg.Logger.Error().Err(err).Str("action", c.Action.Name()).Str("ref", c.Ref).Msg("action failed")
	}
	body := answeredBody{c.Action.Name(), recordedParams(c.Action), refusal.Code, clip(refusal.Detail)}
	if rerr := e.record(c.origin(), KindRefused, body); rerr != nil {
		return rerr
	}
	return refusal
}

// record commits one fact that decides nothing.
func (e *Engine) record(from origin, kind string, body any) error {
	raw, err := marshal(body)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	return e.fact(from, kind, raw)
}

// Refuse records the refusal of a request that never became an Action:
// unreadable, unknown, not offered, without permission or with bad params.
// action is its name as sent, "" if there was none. It returns once the
// record is durable.
func (e *Engine) Refuse(ctx context.Context, who Caller, ref, action string, refusal *Error) error {
	return e.RefuseAsked(ctx, who, ref, action, nil, refusal)
}

// RefuseAsked is Refuse with what was asked for.
func (e *Engine) RefuseAsked(ctx context.Context, who Caller, ref, action string, asked Asked, refusal *Error) error {
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	if e.cfg.Observe.Action != nil {
		// Names come from strangers: they must not become metric labels.
		name := "unknown"
		if spec, ok := Lookup(action); ok {
			name = spec.Name
		}
		e.cfg.Observe.Action(name, refusal.Code, 0)
	}
	body := answeredBody{Action: clip(action), Params: asked.recorded(), Code: refusal.Code, Message: clip(refusal.Detail)}
	return e.record(origin{who.Subject, who.Via, refOf(ref)}, KindRefused, body)
}

// Note records a request that the connection itself answered (login).
func (e *Engine) Note(ctx context.Context, who Caller, ref, action string) error {
	return e.NoteAsked(ctx, who, ref, action, nil)
}

// NoteAsked is Note with what was asked for.
func (e *Engine) NoteAsked(ctx context.Context, who Caller, ref, action string, asked Asked) error {
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	body := answeredBody{Action: clip(action), Params: asked.recorded(), Code: CodeOK}
	return e.record(origin{who.Subject, who.Via, refOf(ref)}, KindAnswered, body)
}

// Asked is what a request that the connection itself answered was for, by name:
// strings, of which no more is recorded than of other params, and numbers below
// 2^53.
type Asked map[string]any

// recorded is nil if there is nothing to say.
func (a Asked) recorded() any {
	if len(a) == 0 {
		return nil
	}
	short := make(Asked, len(a))
	for name, v := range a {
		if s, ok := v.(string); ok {
			v = clip(s)
		}
		short[name] = v
	}
	return short
}

// IssuedToken is what is recorded of a token: everything but the token.
type IssuedToken struct {
	JTI         string    `json:"jti"`
	Subject     string    `json:"subject"`
	Permissions []string  `json:"permissions"`
	Expires     time.Time `json:"exp"`
}

// TokenIssued records a new token; it must not be handed out before this
// returns nil. Permissions too long for a record are an *Error of CodeParam.
func (e *Engine) TokenIssued(ctx context.Context, who Caller, t IssuedToken) error {
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	t.Expires = t.Expires.UTC().Truncate(time.Second)
	err := e.record(origin{who.Subject, who.Via, uuid.NewString()}, KindToken, t)
	if errors.Is(err, errUnrecordable) {
		return asError(err)
	}
	return err
}

// refOf is what the records of a request are found by.
func refOf(ref string) string {
	if ref == "" {
		return uuid.NewString()
	}
	return clip(ref)
}

// clip keeps a line of a record short: it is for people, and strangers choose
// some of it.
func clip(s string) string {
	if len(s) > maxParamString {
		return s[:maxParamString]
	}
	return s
}
