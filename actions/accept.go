package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waybill/fsview"
	"waybill/sessions"
)

// Queue accepts an action to be run in the background: what can be refused at
// once is, like Do does; else it is durable when Queue returns its job, and
// will run exactly once in effect, also after a crash.
func (e *Engine) Queue(ctx context.Context, c Call) (sessions.ID, error) {
	defer c.took()
	if !e.enter() {
		return sessions.ID{}, ErrStopping
	}
	defer e.busy.Done()
	c.Ref = refOf(c.Ref)
	begun := time.Now()
	id, err := e.accept(&c)
	if err != nil && !errors.Is(err, ErrFailed) {
		err = e.refuse(&c, err)
	}
	if e.cfg.Observe.Action != nil && !errors.Is(err, ErrFailed) {
		e.cfg.Observe.Action(c.Action.Name()+"_async", CodeOf(err), time.Since(begun))
	}
	return id, err
}

func (e *Engine) accept(c *Call) (_ sessions.ID, err error) {
	name := c.Action.Name()
	spec, ok := Lookup(name)
	if !ok || !spec.Async {
		return sessions.ID{}, Errorf(CodeUnknownAction, "%s_async", name)
	}
	if spec.Permission != "" && !c.Caller.Permissions.Allow(spec.Permission) {
		return sessions.ID{}, Errorf(CodePermission, "needs %s", spec.Permission)
	}
	if err := e.checkParams(c.Action); err != nil {
		return sessions.ID{}, err
	}
	params, err := encodeAction(c.Action)
	if err != nil {
		return sessions.ID{}, fmt.Errorf("encode %s: %w", name, err)
	}
	if len(params) > maxJobParams {
		return sessions.ID{}, Errorf(CodeParam, "params of %d bytes are too long to be queued", len(params))
	}
	id := sessions.NewID()
	body := jobQueuedBody{
		Job: id, Action: name, Key: c.Action.Key(), Params: params,
		Main: c.Caller.Main, Permissions: c.Caller.Permissions.Strings(),
	}
	release := e.hold(body.Key)
	defer func() {
		if err != nil {
			release()
		}
	}()
	if a, ok := c.Action.(*UploadChunk); ok {
		body.Bytes = int64(len(a.Data))
		if err := e.stageJob(id, a.Data); err != nil {
			return sessions.ID{}, fileError(err)
		}
	}
	raw, err := marshal(body)
	if err != nil {
		return sessions.ID{}, fmt.Errorf("encode %s: %w", kindJobQueued, err)
	}
	var queued job
	err = e.core.decide(c.origin(), func(s *State) ([]sessions.Fact, error) {
		if s.jobs.live() >= maxQueued {
			return nil, Errorf(CodeRateLimit, "%d actions are queued already", maxQueued)
		}
		queued.Seq = s.next
		return []sessions.Fact{{Kind: kindJobQueued, Body: raw}}, nil
	})
	if err != nil {
		if body.Bytes > 0 && !errors.Is(err, ErrFailed) {
			err = errors.Join(err, e.cfg.Root.DropStaged(id.String()))
		}
		return sessions.ID{}, err
	}
	e.stats.jobs.Add(1)
	queued = job{
		ID: id, Seq: queued.Seq, Action: name, Key: body.Key, Params: params, Bytes: body.Bytes,
		Main: body.Main, Permissions: body.Permissions, Owner: c.Caller.Subject, State: jobQueued,
	}
	e.queue.push(queued, release)
	return id, nil
}

// stageJob keeps the bytes of a queued chunk, durably, under the job's ID.
func (e *Engine) stageJob(id sessions.ID, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	f, err := e.cfg.Root.CreateStaged(id.String(), int64(len(data)))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, e.cfg.Root.DropStaged(id.String()))
	}
	return nil
}

// checkParams is what the handlers find out from an action's parameters alone,
// whatever the state: it is asked before an action is queued.
func (e *Engine) checkParams(a Action) error {
	var err error
	switch a := a.(type) {
	case *UploadRequest:
		if a.HasPath {
			_, err = targetName(a.Path)
		}
		if err == nil {
			err = e.checkSize(a)
		}
	case *UploadChunk:
		// No file has bytes there.
		if a.Offset < 0 || a.Offset >= UploadMax {
			err = Errorf(CodeParam, "offset %d", a.Offset)
		}
	case *DownloadRequest:
		_, err = readName(a.Path)
	case *FileInfo:
		_, err = readName(a.Path)
	}
	return err
}

// checkSize refuses a size no upload may have.
func (e *Engine) checkSize(a *UploadRequest) error {
	least, size := int64(1), a.Size
	if a.Stream {
		least = -1
	}
	switch most := e.cfg.Limits.MaxFileSize; {
	case size > most:
		return Errorf(CodeTooBig, "size %d, at most %d", size, most)
	case size < least:
		return Errorf(CodeParam, "size %d", size)
	}
	return nil
}

// targetName parses the path an upload is to get.
func targetName(path string) (fsview.Name, error) {
	name, err := fsview.ParseTarget(path)
	if errors.Is(err, fsview.ErrBadName) {
		return name, Errorf(CodeParam, "path: %v", err)
	}
	if err != nil {
		return name, fileError(err)
	}
	return name, nil
}

// readName parses a path that is only looked at.
func readName(path string) (fsview.Name, error) {
	name, err := fsview.ParseName(path)
	if err != nil {
		return name, Errorf(CodeParam, "path: %v", err)
	}
	return name, nil
}
