package actions

import (
	"strings"

	"waybill/fsview"
	"waybill/journal"
	"waybill/sessions"
)

// reading is what a text may be taken for.
type reading int

const (
	readSession reading = 1 << iota
	readPath
	readDocument
)

// subject is something that records are about, and what has been learned of it.
type subject struct {
	what reading
	text string
	// path is the canonical form; below: and all below it.
	path  string
	below bool
	// ids are the sessions and jobs that belong, ended those that may be forgotten.
	ids   idSet
	ended [numFleeting][]ending
	doc   followed
	// pieces are parts of lines that make them worth reading.
	pieces [][]byte
}

// newSubject reads a text; it must make sense as one of what is allowed.
func newSubject(s string, what reading) (*subject, error) {
	sub := &subject{text: s, what: what, ids: make(idSet), doc: newFollowed(s, what&readDocument != 0)}
	var err error
	if what&readSession != 0 && !sub.session() {
		sub.what &^= readSession
		err = Errorf(CodeParam, "session: neither a UUID nor a task's 128 hex digits")
	}
	if what&readPath != 0 {
		if bad := sub.served(); bad != nil {
			sub.what &^= readPath
			err = Errorf(CodeParam, "path: %v", bad)
		}
	}
	if sub.what == 0 {
		return nil, err
	}
	if sub.what&readDocument != 0 {
		sub.pieces = append(sub.pieces, quoted(s))
	}
	return sub, nil
}

// session takes the text for the id of a session, a job or a task.
func (s *subject) session() bool {
	if id, err := sessions.ParseID(s.text); err == nil {
		s.ids[id] = fromQuery
		return true
	}
	if len(s.text) != taskIDLen || strings.Trim(s.text, "0123456789abcdef") != "" {
		return false
	}
	s.pieces = append(s.pieces, quoted(s.text))
	return true
}

// taskIDLen is that of what clients call a task by.
const taskIDLen = 128

// served takes the text for a name in the served tree.
func (s *subject) served() error {
	name, err := fsview.ParseName(s.text)
	if err != nil {
		return err
	}
	s.path = name.String()
	s.below = strings.HasSuffix(s.text, "/") || strings.HasSuffix(s.text, `\`)
	if name.IsRoot() {
		s.pieces = append(s.pieces, []byte(`"path":"`))
		return nil
	}
	// However a request parts the names, the last one stands in its line.
	last := quoted(s.path[strings.LastIndexByte(s.path, '/')+1:])
	s.pieces = append(s.pieces, last[1:len(last)-1])
	return nil
}

// quoted is a string as bodies hold it.
func quoted(s string) []byte {
	b, err := marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return b
}

func (s *subject) again() {
	s.forgetAll()
	if s.what&readDocument != 0 {
		s.doc.again()
	}
}

// plainly tells whether a record is a fact about a transfer that belongs, and
// teaches nothing more: most of those that belong are.
func (s *subject) plainly(e *journal.Entry) bool {
	switch e.Kind {
	case sessions.KindUploadStored, sessions.KindUploadSealed, sessions.KindDownloadRead:
		return leads(e.Body[1:], keySession, s.ids)
	}
	return false
}

// concerns tells whether a record is about s, and learns from it.
func (s *subject) concerns(e *journal.Entry, b *aboutBody) bool {
	s.forget(e.At)
	about := s.known(b.Session) || s.known(b.Job) || s.known(b.Params.Session) || s.known(b.Params.Job) ||
		s.known(b.Params.FileID) || string(e.Via) == viaJob && s.known(text(e.Ref))
	if s.what&readSession != 0 && b.Task != nil && string(b.Task.ID) == s.text {
		about = true
	}
	if s.what&readPath != 0 {
		// What a task has in place of a path is a document's id.
		about = about || b.Path != "" && b.Task == nil && s.covers(string(b.Path)) ||
			b.Params.Path.given && s.covers(string(b.Params.Path.text))
	}
	if s.what&readDocument != 0 {
		about = s.doc.concern(e, b) || about
	}
	if !about {
		return false
	}
	// The sessions and jobs of what is about s are, too.
	switch e.Kind {
	case sessions.KindUploadOpened:
		s.learn(b.Session, fromUpload, b.Task != nil)
	case sessions.KindDownloadOpened:
		s.learn(b.Session, fromDownload, b.Task != nil)
	case kindJobQueued:
		s.learn(b.Job, fromJob, false)
	case sessions.KindUploadPlaced, sessions.KindUploadPublished, sessions.KindUploadRejected, sessions.KindUploadCancelled,
		sessions.KindUploadExpired, sessions.KindDownloadClosed, sessions.KindDownloadExpired, sessions.KindDownloadCancelled:
		s.end(b.Session, e.At)
	case kindJobDone, kindJobFailed, kindJobPoisoned:
		s.end(b.Job, e.At)
	}
	return true
}

func (s *subject) known(id text) bool {
	parsed, err := sessions.ParseID(id)
	if err != nil {
		return false
	}
	_, ok := s.ids[parsed]
	return ok
}

// covers tells whether a name of the served tree is the one wanted, or below.
func (s *subject) covers(path string) bool {
	name, err := fsview.ParseName(path)
	if err != nil {
		return false // it was refused for it
	}
	if p := name.String(); p == s.path {
		return true
	} else if s.below {
		return s.path == "." || strings.HasPrefix(p, s.path) && p[len(s.path)] == '/'
	}
	return false
}
