package actions

import (
	"time"

	"waybill/sessions"
)

// maxLearned is how many sessions, jobs and documents a Matcher remembers: about
// 32 MiB of them.
const maxLearned = 1 << 20

// TooWideError says that more belongs to a Query than a Matcher may remember. Its
// text is for people, whoever they are.
type TooWideError struct {
	// Seq is the record at which it was too much.
	Seq uint64
}

func (e *TooWideError) Error() string {
	return "the query is too wide: it is about more transfers, jobs and documents than can be kept in mind; " +
		"a longer path, a single session or a single document is narrower"
}

// Limit bounds what the Matcher remembers to n sessions, jobs and documents. A
// line after which there are more is a *TooWideError; without Limit, 2^20 may
// be.
func (m *Matcher) Limit(n int) { m.most = n }

// learned is how much the Matcher remembers.
func (m *Matcher) learned() (n int) {
	for _, s := range m.subjects {
		d := &s.doc
		n += len(s.ids) + len(d.nodes) + len(d.holders) + len(d.digests) + len(d.ids)
	}
	return n
}

// source is where a subject has an id from. What was asked for is never forgotten;
// the others are after their end, when the daemon does.
type source uint8

const (
	fromUpload source = iota
	fromDownload
	fromTask
	fromJob
	fromQuery

	numFleeting = int(fromQuery)
)

// mostEnded is how many that have ended are remembered: no fewer than by the daemon,
// which does not know a download of the served tree after its end.
var mostEnded = [numFleeting]int{
	fromUpload: sessions.MaxRemembered, fromDownload: maxJobsRemembered, fromTask: sessions.MaxRemembered, fromJob: maxJobsRemembered,
}

// ending is that of a session or job.
type ending struct {
	id sessions.ID
	at int64 // Unix, microseconds
}

func (s *subject) learn(id text, as source, ofTask bool) {
	parsed, err := sessions.ParseID(id)
	if err != nil {
		return
	}
	if ofTask {
		as = fromTask
	}
	if _, ok := s.ids[parsed]; !ok {
		s.ids[parsed] = as
	}
}

// end has a session or job be forgotten when the daemon has, if it belongs. What
// names it later was refused for it.
func (s *subject) end(id text, at time.Time) {
	parsed, err := sessions.ParseID(id)
	if err != nil {
		return
	}
	as, ok := s.ids[parsed]
	if !ok || as == fromQuery {
		return
	}
	s.ended[as] = append(s.ended[as], ending{parsed, at.UnixMicro()})
}

// forget is called with the time of each record before it is looked at.
func (s *subject) forget(now time.Time) {
	old := now.Add(-sessions.Remember).UnixMicro()
	for as := range s.ended {
		list := s.ended[as]
		for len(list) > 0 && (list[0].at <= old || len(list) > mostEnded[as]) {
			delete(s.ids, list[0].id)
			list = list[1:]
		}
		s.ended[as] = list
	}
}

// forgetAll leaves what was asked for.
func (s *subject) forgetAll() {
	s.ended = [numFleeting][]ending{}
	for id, as := range s.ids {
		if as != fromQuery {
			delete(s.ids, id)
		}
	}
}
