package daemon

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"waybill/actions"
	"waybill/journal"
)

// evidencePath is what lets an outsider check the journal: the layout of C2SP
// tlog-tiles, and proofs ready-made. In records it is called by the actions.
const (
	evidencePath      = "/journal/"
	journalCheckpoint = "journal_checkpoint"
	journalTile       = "journal_tile"
	journalProof      = "journal_proof"
	// journalEvidence is what is not there.
	journalEvidence = "journal_evidence"
)

const (
	typeText  = "text/plain; charset=utf-8"
	typeBytes = "application/octet-stream"
	// A full tile never changes, and only who may read the journal may keep it.
	forEver = "private, max-age=31536000, immutable"
)

// exhibit is an answer in the making.
type exhibit struct {
	action string
	// asked is what the record of the request says it was for.
	asked       actions.Asked
	contentType string
	cache       string
	// large ones, up to 15 MiB, are made a few at a time.
	large bool
	// make gives the answer at a head of the journal; if it is current, it differs
	// from head to head.
	make    func(ctx context.Context, head journal.Head) ([]byte, error)
	current bool
}

// evidence serves what lies below /journal/. Each request is on record before
// its answer leaves, as for the journal itself; a checkpoint covers its own. So
// that the record says how it was answered, the answer is made before, and what
// speaks of the current head once more after.
func (s *server) evidence(w http.ResponseWriter, r *http.Request) {
	x, bad := s.exhibit(r)
	who, ok := s.auditor(w, r, x.action)
	if !ok {
		return
	}
	if bad != nil {
		status := http.StatusBadRequest
		if bad.Code == actions.CodeNotFound {
			status = http.StatusNotFound
		}
		s.refuseAsked(w, r, who, x.action, x.asked, status, bad)
		return
	}
	if x.large {
		select {
		case s.bundles <- struct{}{}:
			defer func() { <-s.bundles }()
		case <-r.Context().Done():
			return // nobody waits any more
		case <-s.life.Done():
			text(w, http.StatusServiceUnavailable, "stopping")
			return
		}
	}
	log := s.engine.Journal()
	body, err := x.make(r.Context(), log.Head())
	if err == nil {
		if err := s.engine.NoteAsked(r.Context(), who, "", x.action, x.asked); err != nil {
			text(w, http.StatusServiceUnavailable, "stopping")
			return
		}
		if x.current {
			body, err = x.make(r.Context(), log.Head())
		}
	}
	if err != nil {
		s.withhold(w, r, who, x, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", x.contentType)
	h.Set("Cache-Control", x.cache)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client has gone if this fails
	}
}

// withhold answers a request for what could not be made.
func (s *server) withhold(w http.ResponseWriter, r *http.Request, who actions.Caller, x *exhibit, err error) {
	status, refusal := http.StatusInternalServerError, actions.Errorf(actions.CodeUnexpected, "reading the journal failed")
	switch {
	case errors.Is(err, journal.ErrBeyond):
		status, refusal = http.StatusNotFound, actions.Errorf(actions.CodeNotFound, "the journal is not that long")
	case errors.Is(err, journal.ErrPruned):
		status, refusal = http.StatusGone, actions.Errorf(actions.CodeNotFound, "pruned: it is in an archive")
	case r.Context().Err() != nil: // nobody waits any more; that it was asked for is on record
		refusal = actions.Errorf(actions.CodeUnavailable, "the client went away")
	default:
		s.log.Error().Err(err).Str("action", x.action).Str("via", who.Via).Msg("reading the journal failed")
	}
	s.refuseAsked(w, r, who, x.action, x.asked, status, refusal)
}

// exhibit finds what a path names. An *actions.Error, of CodeNotFound if that is
// nothing, of CodeParam if it does so with a bad number.
func (s *server) exhibit(r *http.Request) (*exhibit, *actions.Error) {
	path := strings.TrimPrefix(r.URL.Path, evidencePath)
	kind, rest, _ := strings.Cut(path, "/")
	switch {
	case path == "checkpoint":
		return &exhibit{
			action: journalCheckpoint, contentType: typeText, cache: "no-store", current: true,
			make: func(_ context.Context, head journal.Head) ([]byte, error) { return s.notary.keys.sign(head) },
		}, nil
	case kind == "tile":
		return s.tile(path)
	case kind == "proof":
		return s.inclusion(rest, r.URL.Query().Get("size"))
	case kind == "consistency":
		return s.consistency(rest)
	}
	return &exhibit{action: journalEvidence, asked: askedPath(path)}, actions.Errorf(actions.CodeNotFound, "not found")
}

// askedPath is what a record says of a request that only its path tells. Under
// "path" it would be a name of the served tree.
func askedPath(path string) actions.Asked { return actions.Asked{"url_path": evidencePath + path} }

// tile serves tile/<level>/<n> and tile/entries/<n>, with .p/<width> if partial.
func (s *server) tile(path string) (*exhibit, *actions.Error) {
	x := &exhibit{action: journalTile, asked: askedPath(path), contentType: typeBytes, cache: "private, no-cache"}
	t, ok := parseTile(path)
	if !ok {
		return x, actions.Errorf(actions.CodeParam, "not the path of a tile")
	}
	if t.W == tileWidth {
		x.cache = forEver
	}
	x.large = t.L < 0
	x.make = func(context.Context, journal.Head) ([]byte, error) {
		if t.L < 0 {
			return s.engine.Journal().Bundle(uint64(t.N), t.W)
		}
		return s.engine.Journal().Tile(t.L, uint64(t.N), t.W)
	}
	return x, nil
}

// parseTile reads a path of C2SP tlog-tiles, only as it is written. Level -1
// stands for entries.
func parseTile(path string) (tlog.Tile, bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || strings.HasPrefix(rest, "data/") {
		return tlog.Tile{}, false
	}
	// The form that x/mod reads has the height before, and another word for
	// entries.
	if n, entries := strings.CutPrefix(rest, "entries/"); entries {
		rest = "data/" + n
	}
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	return t, err == nil && t.N >= 0 && t.L < 64
}

// inclusion serves the proof of a record against a checkpoint signed now, of as
// many records as size says, or all.
func (s *server) inclusion(seq, size string) (*exhibit, *actions.Error) {
	x := &exhibit{action: journalProof, asked: askedPath("proof/" + seq), contentType: typeText, cache: "no-store"}
	n, ok := number(seq)
	if !ok {
		return x, actions.Errorf(actions.CodeParam, "not a record's number")
	}
	of, ok := number(size)
	if !ok && size != "" {
		x.asked["size"] = size
		return x, actions.Errorf(actions.CodeParam, "size is not a number of records")
	}
	x.asked, x.current = actions.Asked{"seq": n}, size == ""
	if !x.current {
		x.asked["size"] = of
	}
	x.make = func(ctx context.Context, head journal.Head) ([]byte, error) {
		if x.current {
			of = head.Size
		}
		p, err := s.engine.Journal().Prove(n, of)
		if err != nil {
			return nil, err
		}
		if p.Checkpoint, err = s.notary.at(ctx, of); err != nil {
			return nil, err
		}
		return p.Text(), nil
	}
	return x, nil
}

// consistency serves what leads from a checkpoint of old records to one signed
// now.
func (s *server) consistency(old string) (*exhibit, *actions.Error) {
	x := &exhibit{action: journalProof, asked: askedPath("consistency/" + old), contentType: typeText, cache: "no-store", current: true}
	n, ok := number(old)
	if !ok {
		return x, actions.Errorf(actions.CodeParam, "not a number of records")
	}
	x.asked = actions.Asked{"size": n}
	x.make = func(_ context.Context, head journal.Head) ([]byte, error) {
		g, err := s.engine.Journal().ProveGrowth(n, head.Size)
		if err != nil {
			return nil, err
		}
		if g.Checkpoint, err = s.notary.keys.sign(head); err != nil {
			return nil, err
		}
		return g.Text(), nil
	}
	return x, nil
}

// number reads a decimal number below 2^53 without leading zeros.
func number(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 53)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}
