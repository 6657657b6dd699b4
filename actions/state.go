package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// The kinds of facts that belong to no session.
const (
	KindStarted  = "daemon.started"
	KindStopped  = "daemon.stopped"
	KindAnswered = "action.answered"
	KindRefused  = "action.refused"
	KindTraffic  = "traffic.refused"
	KindToken    = "token.issued"
)

// State is everything the daemon knows: the fold of its journal, and of
// nothing else. It is owned by one goroutine.
type State struct {
	sessions *sessions.Table
	jobs     *jobs
	accounts *acl.Accounts
	tree     *doctree.Tree
	contents contents
	// next is the seq of the record to come, at the time of the last one.
	next uint64
	at   time.Time
	// boot is that of the last daemon.started; running is false after a clean
	// stop.
	boot    string
	running bool
	// group holds the records of a group that is not whole yet.
	group []heldEntry
	// tokens counts the tokens ever issued.
	tokens uint64
	// key and cut are the last facts about the journal itself; nil before them.
	key *CheckpointKey
	cut *Cut
}

type heldEntry struct {
	line  []byte
	entry journal.Entry
}

// NewState returns the state before the first record.
func NewState() *State {
	return &State{
		sessions: sessions.NewTable(), jobs: newJobs(),
		accounts: acl.NewAccounts(), tree: doctree.New(), contents: newContents(),
	}
}

// ErrFold is returned by Replay for records that this version cannot follow.
var ErrFold = errors.New("this version cannot follow the journal")

// Replay folds the whole journal. Errors are the journal's, or ErrFold naming
// the record.
func Replay(ctx context.Context, log *journal.Log) (*State, error) {
	s := NewState()
	err := log.Replay(ctx, 0, func(e *journal.Entry) error {
		if err := s.Apply(e); err != nil {
			return fmt.Errorf("%w: %w", ErrFold, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// LiveSessions is the number of uploads and downloads that have not ended,
// and of jobs: what binds this state to its served root. Tasks are none of
// these: their bytes are in the state's own store.
func (s *State) LiveSessions() int {
	up, down, _ := s.sessions.Live()
	return up + down + s.jobs.live()
}

// Next is the seq of the record that would follow: the number of records
// folded.
func (s *State) Next() uint64 { return s.next }

// At is the time of the last record folded.
func (s *State) At() time.Time { return s.at }

// Apply folds one record. It is the same for live traffic, replay and time
// travel. An error means a journal this version did not write: an unknown
// kind, or a fact that cannot follow those before it.
func (s *State) Apply(e *journal.Entry) error {
	if e.Seq != s.next {
		return fmt.Errorf("record %d where %d was to come", e.Seq, s.next)
	}
	s.next++
	s.at = e.At
	if e.Group.N <= 1 {
		// A group that stops short was cut off by a crash: it is void.
		s.group = nil
		if err := s.fold(e); err != nil {
			return err
		}
		s.advance(e.At)
		return nil
	}
	if e.Group.I == 1 {
		s.group = nil
	} else if len(s.group) != e.Group.I-1 {
		return fmt.Errorf("record %d is %d of a group of %d after %d", e.Seq, e.Group.I, e.Group.N, len(s.group))
	}
	s.hold(e)
	if e.Group.I < e.Group.N {
		return nil
	}
	whole := s.group
	s.group = nil
	for i := range whole {
		if err := s.fold(&whole[i].entry); err != nil {
			return fmt.Errorf("record %d: %w", whole[i].entry.Seq, err)
		}
	}
	s.advance(e.At)
	return nil
}

// advance forgets what is too old at a time, after the records of that time: what
// they say was decided when it was still known.
func (s *State) advance(at time.Time) {
	s.sessions.Advance(at)
	s.jobs.advance(at)
}

// hold copies e, which is valid only during the call.
func (s *State) hold(e *journal.Entry) {
	h := heldEntry{entry: *e}
	h.line = slices.Concat(e.Actor, e.Via, e.Ref, e.Body)
	rest := h.line
	for _, f := range []*[]byte{&h.entry.Actor, &h.entry.Via, &h.entry.Ref, &h.entry.Body} {
		n := len(*f)
		*f, rest = rest[:n:n], rest[n:]
	}
	s.group = append(s.group, h)
}

// void returns the seqs of the group that is cut off at the journal's end.
func (s *State) void() []uint64 {
	var seqs []uint64
	if len(s.group) > 0 {
		seqs = []uint64{s.group[0].entry.Seq, s.group[len(s.group)-1].entry.Seq}
	}
	return seqs
}

func (s *State) fold(e *journal.Entry) error {
	if err := s.foldKind(e); err != nil {
		return err
	}
	if string(e.Via) == viaJob {
		s.jobs.tookEffect(e)
	}
	return nil
}

func (s *State) foldKind(e *journal.Entry) error {
	switch e.Kind {
	case KindAnswered, KindRefused, KindTraffic:
		return nil
	case sessions.KindUploadStored, sessions.KindDownloadRead:
		return s.sessions.Apply(e) // like its family below, but these are nearly all
	case KindToken:
		s.tokens++
		return nil
	case KindStarted:
		var b startedBody
		if err := json.Unmarshal(e.Body, &b); err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
		s.boot, s.running = b.Boot, true
		s.jobs.voidClaims()
		return nil
	case KindStopped:
		// Whatever was dropped is gone: a clean stop waits for it.
		s.running = false
		clear(s.contents.dropped)
		return nil
	case KindCheckpointKey, KindPruned:
		return s.foldEvidence(e)
	case sessions.KindUploadSealed:
		if err := s.sessions.Apply(e); err != nil {
			return err
		}
		// From here on the content of a write task is in the store, or about to be.
		if digest, size, ok := s.sessions.SealedTask(e); ok {
			s.contents.stored(digest, size)
		}
		return nil
	}
	family, _, _ := strings.Cut(e.Kind, ".")
	switch family {
	case "upload", "download":
		return s.sessions.Apply(e)
	case "job":
		return s.jobs.apply(e)
	case "user", "group":
		return s.accounts.Apply(e)
	case "node", "revision", "policy":
		return s.tree.Apply(e)
	case "object":
		return s.contents.apply(e)
	}
	return fmt.Errorf("unknown kind %q: written by a newer version?", e.Kind)
}

type startedBody struct {
	Boot    string `json:"boot"`
	Version string `json:"version"`
	// Void are the first and the last seq of a group that a crash cut off.
	Void []uint64 `json:"void,omitempty"`
}

// MarshalJSON renders the whole state in one canonical form, for `journal
// replay` and for comparing a fold with the live state.
func (s *State) MarshalJSON() ([]byte, error) {
	out := struct {
		Records  uint64          `json:"records"`
		At       *time.Time      `json:"at"`
		Boot     string          `json:"boot"`
		Running  bool            `json:"running"`
		Tokens   uint64          `json:"tokens_issued"`
		Sessions *sessions.Table `json:"sessions"`
		Jobs     *jobs           `json:"jobs"`
		Library  *libraryDump    `json:"library,omitempty"`
		Key      *CheckpointKey  `json:"checkpoint_key,omitempty"`
		Cut      *Cut            `json:"pruned,omitempty"`
		Void     []uint64        `json:"void,omitempty"`
	}{
		Records: s.next, Boot: s.boot, Running: s.running, Tokens: s.tokens, Sessions: s.sessions, Jobs: s.jobs,
		Library: s.dumpLibrary(), Key: s.key, Cut: s.cut, Void: s.void(),
	}
	if !s.at.IsZero() {
		out.At = &s.at
	}
	return marshal(out)
}

// marshal is json.Marshal without HTML escaping, which would only obscure
// paths.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
