package daemon

import (
	"context"
	"sync"

	"waybill/actions"
)

// beginSearch takes the places that a search needs: one of those that look
// through the journal, as that costs a core however little comes of it, until
// scanned is called, and one of those that follow, as that costs memory, until
// done is, which gives back both.
func (s *server) beginSearch(subject string, follow bool) (scanned, done func(), bad *actions.Error) {
	if follow && !s.followers.take(subject) {
		return nil, nil, actions.Errorf(actions.CodeRateLimit, "too many searches follow the journal")
	}
	leave := func() {
		if follow {
			s.followers.give(subject)
		}
	}
	if s.scans.Add(1) > maxJournalScans {
		s.scans.Add(-1)
		leave()
		return nil, nil, actions.Errorf(actions.CodeRateLimit, "too many searches of the journal at once")
	}
	scanned = sync.OnceFunc(func() { s.scans.Add(-1) })
	return scanned, func() { scanned(); leave() }, nil
}

// followers counts the searches that follow the journal.
type followers struct {
	mu  sync.Mutex
	all int            // guarded by mu, as is of
	of  map[string]int // by subject, none that is 0
}

// take is false if there are as many as may be.
func (f *followers) take(subject string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all >= maxFollowers || f.of[subject] >= maxFollowersEach {
		return false
	}
	if f.of == nil {
		f.of = make(map[string]int)
	}
	f.all++
	f.of[subject]++
	return true
}

func (f *followers) give(subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	if f.of[subject]--; f.of[subject] == 0 {
		delete(f.of, subject)
	}
}

// tooWide is what was found to be too much to remember, by what was asked for:
// who comes back for the rest hears it at once. It may grow to maxTooWide.
type tooWide struct {
	mu sync.Mutex
	at map[actions.Query]widened // guarded by mu
}

// widened is where a search had too much to remember, after which one that
// begins with the same record will have, too.
type widened struct{ first, seq uint64 }

// learning is the part of a query that decides what is remembered.
func learning(q actions.Query) actions.Query {
	return actions.Query{Session: q.Session, Path: q.Path, Document: q.Document, About: q.About}
}

func (t *tooWide) note(q actions.Query, first, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil || len(t.at) >= maxTooWide {
		t.at = make(map[actions.Query]widened)
	}
	t.at[learning(q)] = widened{first, seq}
}

func (t *tooWide) find(q actions.Query) (widened, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.at[learning(q)]
	return at, ok
}

// isTooWide tells whether a search is known to come to a record at which it has
// too much to remember.
func (s *server) isTooWide(ctx context.Context, want journalRange) bool {
	at, ok := s.tooWide.find(want.query)
	log := s.engine.Journal()
	if !ok || at.first != log.First() {
		return false
	}
	if want.query.LooksAhead() {
		return true // through all there is
	}
	return want.seek(ctx, log) == nil && at.seq < want.to
}
