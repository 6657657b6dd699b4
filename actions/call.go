package actions

import (
	"time"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// Caller is who asks.
type Caller struct {
	// Subject is the actor of the records.
	Subject string
	// Main marks the holder of the main token, who sees every session.
	Main        bool
	Permissions acl.Permissions
	// Via is where from: the transport and the peer, "ws 127.0.0.1:51034".
	Via string
}

// Call is one request.
type Call struct {
	Caller Caller
	Action Action
	// Ref is the request's own id; "" becomes a fresh UUID.
	Ref string
	// Own makes sessions of other subjects unknown, but to the main token: over
	// HTTP, knowing an id is not enough.
	Own bool
	// Took, if not nil, is called exactly once for an UploadChunk: when its
	// bytes are written or it is refused. From then on Data may be reused and
	// the next chunk may be looked at; durability and the answer come later.
	Took func()
}

func (c *Call) took() {
	if c.Took != nil {
		c.Took()
		c.Took = nil
	}
}

// sees tells whether the caller may know of a session of that owner.
func (c *Call) sees(owner string) bool {
	return !c.Own || c.Caller.Main || c.Caller.Subject == owner
}

func (c *Call) origin() origin { return origin{c.Caller.Subject, c.Caller.Via, c.Ref} }

// Limits are what an operator may set. Zero values mean the defaults.
type Limits struct {
	// MaxFileSize is the largest upload in bytes; default and most UploadMax.
	MaxFileSize int64
	// MaxDownloadsPerFile is how many live downloads of one file a subject
	// may have; default 3.
	MaxDownloadsPerFile int
	// MaxStaged is how many bytes all live uploads may hold, tasks included,
	// MaxStagedPerSubject those of one subject or user: the sizes that were
	// declared, and of the others what is stored. 0 is no limit. No upload may be
	// larger.
	MaxStaged, MaxStagedPerSubject int64
	// MaxUploads is how many live uploads there may be, default 50,000, negative no
	// limit; MaxUploadsPerSubject those of one subject, 0 is no limit. Each costs
	// memory, however little it holds. Tasks are not counted: they have a limit of
	// their own.
	MaxUploads, MaxUploadsPerSubject int
	// MaxVoidClaims is how many crashes a job may cause or meet before it is
	// given up: default 20, negative never.
	MaxVoidClaims int
}

func (l Limits) withDefaults() Limits {
	if l.MaxFileSize <= 0 || l.MaxFileSize > UploadMax {
		l.MaxFileSize = UploadMax
	}
	for _, most := range []int64{l.MaxStaged, l.MaxStagedPerSubject} {
		if most > 0 {
			l.MaxFileSize = min(l.MaxFileSize, most)
		}
	}
	if l.MaxUploads == 0 {
		l.MaxUploads = 50_000
	}
	if l.MaxDownloadsPerFile <= 0 {
		l.MaxDownloadsPerFile = 3
	}
	if l.MaxVoidClaims == 0 {
		l.MaxVoidClaims = 20
	}
	return l
}

// Observer is told what happens, for metrics. Any func may be nil; they are
// called on hot paths and must not block.
type Observer struct {
	// Commit: how long a journal commit took, and what was in it.
	Commit func(took time.Duration, records, bytes int)
	// Action: one request has its answer.
	Action func(name string, code Code, took time.Duration)
	// BytesIn and BytesOut: file contents received and handed out.
	BytesIn, BytesOut func(n int64)
	// Limited: something was refused because of a limit that an operator sets, by
	// its name: "staged", "uploads", or one of them with "_per_subject".
	Limited func(limit string)
}

// OrderKey is what requests of one connection are ordered by. It is the
// action's own key, but for the session of a live upload its target's path:
// a request for the path waits for the chunks before it.
func (e *Engine) OrderKey(a Action) string {
	id, ok := uploadOf(a)
	if !ok {
		return a.Key()
	}
	e.mu.Lock()
	u := e.uploads[id]
	e.mu.Unlock()
	if u == nil {
		return a.Key()
	}
	return "path:" + u.name.String()
}

func uploadOf(a Action) (sessions.ID, bool) {
	switch a := a.(type) {
	case *UploadChunk:
		return a.Session, true
	case *UploadCancel:
		return a.Session, true
	case *UploadStatusOf:
		return a.Session, true
	}
	return sessions.ID{}, false
}
