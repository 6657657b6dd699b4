package daemon

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"

	"waybill/actions"
)

// journalPermission is what reading the journal takes, journalRead how its
// record names it.
const (
	journalPermission = "waybill.journal.read"
	journalRead       = "journal_read"
)

// journalRange is what a reader asked for; to is exclusive.
type journalRange struct {
	from, to uint64
	follow   bool
}

// journal serves records as they are stored, one a line. The head it names is
// the one at the start of the answer, the record of this reading included, so
// that a reader can check what he gets. No transaction is held while a slow
// client reads.
func (s *server) journal(w http.ResponseWriter, r *http.Request) {
	who, ok := s.auditor(w, r)
	if !ok {
		return
	}
	want, bad := parseRange(r)
	if bad != nil {
		s.refuse(w, r, who, http.StatusBadRequest, bad)
		return
	}
	if err := s.engine.Note(r.Context(), who, "", journalRead); err != nil {
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	log := s.engine.Journal()
	head := log.Head()
	if !want.follow {
		want.to = min(want.to, head.Size)
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Expose-Headers", "Waybill-Journal-Size, Waybill-Journal-Root")
	h.Set("Waybill-Journal-Size", strconv.FormatUint(head.Size, 10))
	h.Set("Waybill-Journal-Root", hex.EncodeToString(head.Root[:]))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	if err := s.stream(ctx, w, want); err != nil && ctx.Err() == nil {
		s.log.Error().Err(err).Str("via", who.Via).Msg("reading the journal failed")
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

// auditor answers requests that may not read the journal.
func (s *server) auditor(w http.ResponseWriter, r *http.Request) (actions.Caller, bool) {
	who, err := s.tokens.check(bearer(r))
	if err != nil {
		s.engine.CountRefused("token", hostOf(r.RemoteAddr))
		w.Header().Set("WWW-Authenticate", "Bearer")
		text(w, http.StatusUnauthorized, errToken.Error())
		return who, false
	}
	who.Via = "http " + r.RemoteAddr
	if !who.Permissions.Allow(journalPermission) {
		s.refuse(w, r, who, http.StatusForbidden, actions.Errorf(actions.CodePermission, "needs %s", journalPermission))
		return who, false
	}
	return who, true
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, who actions.Caller, status int, refusal *actions.Error) {
	if err := s.engine.Refuse(r.Context(), who, "", journalRead, refusal); err != nil {
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	text(w, status, refusal.Detail)
}

func parseRange(r *http.Request) (journalRange, *actions.Error) {
	want := journalRange{to: ^uint64(0)}
	q := r.URL.Query()
	for name, v := range map[string]*uint64{"from": &want.from, "to": &want.to} {
		if s := q.Get(name); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				return want, actions.Errorf(actions.CodeParam, "%s is not a record number", name)
			}
			*v = n
		}
	}
	if want.from > want.to {
		return want, actions.Errorf(actions.CodeParam, "from is beyond to")
	}
	switch q.Get("follow") {
	case "", "0", "false":
	case "1", "true":
		want.follow = true
	default:
		return want, actions.Errorf(actions.CodeParam, "follow is neither 0 nor 1")
	}
	return want, nil
}
