package daemon

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"waybill/actions"
	"waybill/journal"
)

// journalPermission is what reading the journal takes, journalRead how its
// record names it.
const (
	journalPermission = "waybill.journal.read"
	journalRead       = "journal_read"
)

// The headers of GET /journal: how many records there are, the root over them,
// and the first of them that is still held.
const (
	headerJournalSize  = "Waybill-Journal-Size"
	headerJournalRoot  = "Waybill-Journal-Root"
	headerJournalFirst = "Waybill-Journal-First"
)

// journalRange is what a reader asked for; to is exclusive.
type journalRange struct {
	from, to uint64
	follow   bool
	query    actions.Query
	asked    actions.Asked // as the record of the reading tells of it
}

// journal serves records as they are stored, one a line. The head it names is
// the one at the start of the answer, the record of this reading included, so
// that a reader can check what he gets. No transaction is held while a slow
// client reads.
func (s *server) journal(w http.ResponseWriter, r *http.Request) {
	who, ok := s.auditor(w, r, journalRead)
	if !ok {
		return
	}
	want, bad := parseRange(r)
	if bad != nil {
		s.refuse(w, r, who, journalRead, http.StatusBadRequest, bad)
		return
	}
	log, h := s.engine.Journal(), w.Header()
	h.Set("Access-Control-Expose-Headers", strings.Join([]string{headerJournalSize, headerJournalRoot, headerJournalFirst}, ", "))
	h.Set(headerJournalFirst, strconv.FormatUint(log.First(), 10))
	if first := log.First(); want.query.IsZero() && want.from < min(first, want.to) {
		s.refuseAsked(w, r, who, journalRead, want.asked, http.StatusGone, actions.Errorf(actions.CodeParam,
			"the records before %d were pruned: they are in the archive", first))
		return
	}
	search := !want.query.IsZero()
	scanned, done := func() {}, func() {}
	if search && r.Method == http.MethodGet {
		if s.isTooWide(r.Context(), want) {
			s.refuseAsked(w, r, who, journalRead, want.asked, http.StatusBadRequest, actions.Errorf(actions.CodeParam, "%v", &actions.TooWideError{}))
			return
		}
		if scanned, done, bad = s.beginSearch(who.Subject, want.follow); bad != nil {
			h.Set("Retry-After", "5")
			s.refuseAsked(w, r, who, journalRead, want.asked, http.StatusServiceUnavailable, bad)
			return
		}
	}
	defer done()
	if err := s.engine.NoteAsked(r.Context(), who, "", journalRead, want.asked); err != nil {
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	head := log.Head()
	err := want.seek(ctx, log)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error().Err(err).Str("via", who.Via).Msg("reading the journal failed")
		}
		text(w, http.StatusServiceUnavailable, "the journal cannot be read")
		return
	}
	if !want.follow {
		want.to = min(want.to, head.Size)
	}
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set(headerJournalSize, strconv.FormatUint(head.Size, 10))
	h.Set(headerJournalRoot, hex.EncodeToString(head.Root[:]))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if search {
		err = s.search(ctx, w, want, scanned)
		// Where such an answer ends cannot be seen from what is in it: one that
		// ends in order has said everything.
		want.follow = false
	} else {
		err = s.stream(ctx, w, want)
	}
	if err != nil && ctx.Err() == nil {
		wide, ok := errors.AsType[*actions.TooWideError](err)
		switch {
		case ok: // this, too, it hears when it comes back
			s.tooWide.note(want.query, log.First(), wide.Seq)
		case errors.Is(err, journal.ErrPruned): // just now: the client hears of it when it comes back
		default:
			s.log.Error().Err(err).Str("via", who.Via).Msg("reading the journal failed")
		}
		// The client must not take what it has for the whole.
		panic(http.ErrAbortHandler)
	}
	if !want.follow && ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// stream writes the records wanted, and as they come those that follow.
func (s *server) stream(ctx context.Context, w http.ResponseWriter, want journalRange) error {
	log := s.engine.Journal()
	out := bufio.NewWriterSize(w, journalFlushBytes)
	flusher := http.NewResponseController(w)
	at := want.from
	for {
		// Asked for before the head: what comes in between is not missed.
		changed := log.Changed()
		if to := min(log.Head().Size, want.to); at < to {
			err := log.Read(ctx, at, to, func(line []byte) error {
				if _, err := out.Write(line); err != nil {
					return err
				}
				return out.WriteByte('\n')
			})
			if err != nil {
				return err
			}
			at = to
		}
		if err := errors.Join(out.Flush(), flusher.Flush()); err != nil {
			return err
		}
		if !want.follow || at >= want.to {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := log.Err(); err != nil {
			return err
		}
	}
}

// auditor answers requests that may not read the journal; action is how the
// record of a refusal calls them.
func (s *server) auditor(w http.ResponseWriter, r *http.Request, action string) (actions.Caller, bool) {
	return s.permitted(w, r, journalPermission, action)
}

// permitted answers requests without a good token, or one without a permission.
func (s *server) permitted(w http.ResponseWriter, r *http.Request, permission, action string) (actions.Caller, bool) {
	who, err := s.tokens.check(bearer(r))
	if err != nil {
		s.engine.CountRefused("token", hostOf(r.RemoteAddr))
		w.Header().Set("WWW-Authenticate", "Bearer")
		text(w, http.StatusUnauthorized, errToken.Error())
		return who, false
	}
	who.Via = "http " + r.RemoteAddr
	if !who.Permissions.Allow(permission) {
		s.refuse(w, r, who, action, http.StatusForbidden, actions.Errorf(actions.CodePermission, "needs %s", permission))
		return who, false
	}
	return who, true
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, who actions.Caller, action string, status int, refusal *actions.Error) {
	s.refuseAsked(w, r, who, action, nil, status, refusal)
}

// refuseAsked is refuse with what was asked for.
func (s *server) refuseAsked(w http.ResponseWriter, r *http.Request, who actions.Caller, action string, asked actions.Asked, status int, refusal *actions.Error) {
	if err := s.engine.RefuseAsked(r.Context(), who, "", action, asked, refusal); err != nil {
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	text(w, status, refusal.Detail)
}
