package actions

import (
	"strings"
	"time"

	"waybill/journal"
)

// Query says which records of a journal are wanted. The zero value: all. What
// is set must hold all at once.
type Query struct {
	// Actor is who a record says it was, exactly.
	Actor string
	// Kind is a kind, or a family of kinds as in "upload.*", or several of
	// either, parted by commas.
	Kind string
	// Session is the id of a transfer, of a job, or of a file task: the records
	// of it, of the jobs that worked on it, and the requests that named it.
	Session string
	// Path is a name in the served tree, as requests write it; one that ends in a
	// slash stands for what is below it, too. Wanted are the transfers of such
	// files with all their records, and the requests that named them. A request
	// whose path was too long for its record is found by its session only, as is
	// one that named a transfer so long after its end that the daemon no longer
	// knew of it.
	Path string
	// Document is what requests call, or called, a document or directory of the
	// library, or the id of a revision, or, with a slash in front, the names
	// that lead to it: "/folder/name". By id and by names it stands for every
	// node that was ever called so, with all it was called otherwise; by
	// revision, for what became of that revision and who wrote and read it.
	Document string
	// About is a Session, a Path or a Document, whichever of them there is.
	About string
	// Starts adds, to what Session, Path, Document and About ask for, the
	// records of each start of the daemon: they cut transfers short.
	Starts bool
	// From is the first record that may belong. Those before it only teach.
	From uint64
	// Since and Until bound the time of a record: not before, and before. Zero:
	// unbounded.
	Since, Until time.Time
}

// IsZero tells whether q wants all records.
func (q *Query) IsZero() bool { return *q == Query{Starts: q.Starts, From: q.From} }

// Learns tells whether what belongs depends on records before: which sessions
// are of a path, say. Then a Matcher must have been given all of them.
func (q *Query) Learns() bool {
	return q.Session != "" || q.Path != "" || q.Document != "" || q.About != ""
}

// LooksAhead tells whether what belongs depends on records that come later, too:
// a document may get its name only after others. Then a Matcher should be given
// all records, told to begin Again, and given them once more.
func (q *Query) LooksAhead() bool { return q.Document != "" || q.About != "" }

// Matcher tells which records of a journal belong to a Query. It is given
// records in order, and remembers what it must: the sessions of a path, the
// names of a document. It does no I/O, and is owned by one goroutine. A session
// that has ended it remembers as long as the daemon does, and no more in all
// than Limit says.
type Matcher struct {
	query    Query
	kinds    []string // "upload." for a family
	subjects []*subject
	// request is the record of the request that the open group began with.
	request []byte
	rough   rough
	entry   journal.Entry
	over    bool
	// most bounds what is remembered.
	most int
	// slow looks into every record, as a test of mayBelong.
	slow bool
}

// NewMatcher returns a Matcher before the first record. Errors are *Error, of
// CodeParam, that say what is wrong with q.
func NewMatcher(q Query) (*Matcher, error) {
	m := &Matcher{query: q, most: maxLearned}
	if err := m.setKinds(); err != nil {
		return nil, err
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Since.After(q.Until) {
		return nil, Errorf(CodeParam, "since is after until")
	}
	for _, s := range []struct {
		text string
		what reading
	}{
		{q.Session, readSession}, {q.Path, readPath}, {q.Document, readDocument},
		{q.About, readSession | readPath | readDocument},
	} {
		if s.text == "" {
			continue
		}
		sub, err := newSubject(s.text, s.what)
		if err != nil {
			return nil, err
		}
		m.subjects = append(m.subjects, sub)
	}
	return m, nil
}

func (m *Matcher) setKinds() error {
	if m.query.Kind == "" {
		return nil
	}
	for kind := range strings.SplitSeq(m.query.Kind, ",") {
		word, family := strings.CutSuffix(kind, ".*")
		for part := range strings.SplitSeq(word, ".") {
			if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				return Errorf(CodeParam, "kind: neither a kind such as upload.stored nor a family such as upload.*")
			}
		}
		if family {
			word += "."
		}
		m.kinds = append(m.kinds, word)
	}
	return nil
}

// Again has the Matcher be given the records once more, from the first one on:
// what it has learned about them all then counts from the start.
func (m *Matcher) Again() {
	m.over, m.request = false, nil
	for _, s := range m.subjects {
		s.again()
	}
}

// Over tells whether a record at or after Query.Until has come: none that
// follows belongs.
func (m *Matcher) Over() bool { return m.over }

// Line takes the next record, and calls give with each line that belongs, in
// order: that of the record, if it does, and before it that of the request that
// had it decided, if that belongs only for this. The line given is valid during
// the call. A line that is plainly about something else is not read, so this
// finds no damage; one that is read and is none is an error, or a body that no
// version has written. Those of give are returned as they are.
func (m *Matcher) Line(line []byte, give func(line []byte) error) error {
	if m.query == (Query{}) {
		return give(line)
	}
	r := &m.rough
	split := r.split(line)
	if len(m.subjects) > 0 && split && r.first {
		m.request = m.request[:0]
		if string(r.kind) == KindAnswered {
			m.request = append(m.request, line...)
		}
	}
	if split && !m.slow && !m.mayBelong(r) {
		return nil
	}
	e := &m.entry
	if err := journal.ParseEntry(line, e); err != nil {
		return err
	}
	if !m.query.Until.IsZero() && !e.At.Before(m.query.Until) {
		m.over = true
	}
	about, err := m.concerns(e)
	if err != nil {
		return err
	}
	if m.learned() > m.most {
		return &TooWideError{Seq: e.Seq}
	}
	if about && e.Group.I > 0 {
		if err := m.giveRequest(e, give); err != nil {
			return err
		}
	}
	if !about && !(m.query.Starts && e.Kind == KindStarted) || !m.fits(e) {
		return nil
	}
	return give(line)
}

// giveRequest gives what the group of e began with, once.
func (m *Matcher) giveRequest(e *journal.Entry, give func([]byte) error) error {
	request := m.request
	m.request = m.request[:0]
	if e.Group.I == 1 || len(request) == 0 {
		return nil // it belongs by itself
	}
	var r journal.Entry
	if err := journal.ParseEntry(request, &r); err != nil {
		return err
	}
	if r.Seq+uint64(e.Group.I) != e.Seq+1 || !m.fits(&r) {
		return nil
	}
	return give(request)
}

// mayBelong is false for a record that neither belongs nor teaches anything.
func (m *Matcher) mayBelong(r *rough) bool {
	if !m.query.Since.IsZero() || !m.query.Until.IsZero() {
		return true // its time is to be looked at
	}
	if len(m.subjects) == 0 {
		return (m.query.Actor == "" || string(r.actor) == m.query.Actor) && isKind(m.kinds, r.kind)
	}
	// What a record teaches counts whoever left it, and whatever it is.
	for _, s := range m.subjects {
		if s.mayConcern(r) {
			return true
		}
	}
	return m.query.Starts && string(r.kind) == KindStarted
}

// concerns tells whether a record is about every subject, and has them learn.
func (m *Matcher) concerns(e *journal.Entry) (bool, error) {
	if len(m.subjects) == 0 {
		return true, nil
	}
	if len(m.subjects) == 1 && m.subjects[0].plainly(e) {
		return true, nil
	}
	body, about, err := readAbout(e)
	if err != nil || !about {
		return false, err
	}
	for _, s := range m.subjects {
		// Each is asked, whatever the others say: it learns.
		about = s.concerns(e, &body) && about
	}
	return about, nil
}

// fits tells whether the head of a record is as wanted.
func (m *Matcher) fits(e *journal.Entry) bool {
	if m.over || e.Seq < m.query.From || e.At.Before(m.query.Since) {
		return false
	}
	if m.query.Actor != "" && string(e.Actor) != m.query.Actor {
		return false
	}
	return isKind(m.kinds, e.Kind)
}

// isKind tells whether a kind is one of those asked for, or any will do.
func isKind[T ~string | ~[]byte](kinds []string, kind T) bool {
	for _, k := range kinds {
		if string(kind) == k || k[len(k)-1] == '.' && len(kind) > len(k) && string(kind[:len(k)]) == k {
			return true
		}
	}
	return len(kinds) == 0
}
