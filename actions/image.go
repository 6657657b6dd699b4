package actions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// stateImage is a State as a snapshot or a base holds it: everything that the
// fold needs to go on, and nothing that follows from the rest. The dump of
// MarshalJSON is for people; this is exact. What is written once is read by
// every later version: a new field is optional, and absent while it is unset.
type stateImage struct {
	Records  uint64          `json:"records"`
	At       time.Time       `json:"at,omitzero"`
	Boot     string          `json:"boot,omitempty"`
	Running  bool            `json:"running,omitempty"`
	Tokens   uint64          `json:"tokens_issued,omitempty"`
	Key      *CheckpointKey  `json:"checkpoint_key,omitempty"`
	Cut      *Cut            `json:"pruned,omitempty"`
	Sessions *sessions.Image `json:"sessions"`
	Jobs     jobsImage       `json:"jobs"`
	Accounts *acl.Image      `json:"accounts"`
	Contents []contentImage  `json:"contents,omitempty"`
	Dropped  []string        `json:"dropped,omitempty"`
	Tree     *doctree.Image  `json:"tree"`
	// Held are the lines of a group that is not whole yet.
	Held []json.RawMessage `json:"held,omitempty"`
}

// jobsImage has the live jobs in arrival order, and the remembered ones in the
// order in which they ended.
type jobsImage struct {
	Live  []*job `json:"live,omitempty"`
	Ended []*job `json:"ended,omitempty"`
}

type contentImage struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// writeImage encodes the state. Equal states give equal bytes.
func (s *State) writeImage(to *bytes.Buffer) error {
	m := stateImage{
		Records: s.next, At: s.at.UTC(), Boot: s.boot, Running: s.running, Tokens: s.tokens, Key: s.key, Cut: s.cut,
		Sessions: s.sessions.Image(), Accounts: s.accounts.Image(), Tree: s.tree.Image(),
		Dropped: slices.Sorted(maps.Keys(s.contents.dropped)),
		Jobs:    jobsImage{Ended: s.jobs.ended},
	}
	live := s.jobs.liveJobs()
	for i := range live {
		m.Jobs.Live = append(m.Jobs.Live, &live[i])
	}
	for _, digest := range slices.Sorted(maps.Keys(s.contents.known)) {
		m.Contents = append(m.Contents, contentImage{digest, s.contents.known[digest]})
	}
	for i := range s.group {
		e := &s.group[i].entry
		m.Held = append(m.Held, journal.AppendRecord(nil, &journal.Record{
			Seq: e.Seq, At: e.At, Kind: e.Kind, Actor: string(e.Actor), Via: string(e.Via), Ref: string(e.Ref),
			Group: e.Group, Body: e.Body,
		}))
	}
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false) // texts must come back byte for byte
	return enc.Encode(&m)
}

// errImage is why an image is none of a state.
var errImage = errors.New("not the image of a state")

// restoreState reads what writeImage wrote. Whatever no state has is an error:
// an image comes from a file.
func restoreState(image []byte) (*State, error) {
	m := new(stateImage)
	if !scanImage(image, m) {
		var err error
		if m, err = decodeImage(image); err != nil {
			return nil, err
		}
	}
	if m.Sessions == nil || m.Accounts == nil || m.Tree == nil {
		return nil, fmt.Errorf("%w: a part is missing", errImage)
	}
	s := &State{
		next: m.Records, at: m.At.UTC(), boot: m.Boot, running: m.Running, tokens: m.Tokens, key: m.Key, cut: m.Cut,
		contents: newContents(),
	}
	var err error
	if s.sessions, err = sessions.RestoreTable(m.Sessions); err != nil {
		return nil, err
	}
	if s.accounts, err = acl.RestoreAccounts(m.Accounts); err != nil {
		return nil, err
	}
	if s.tree, err = doctree.RestoreTree(m.Tree); err != nil {
		return nil, err
	}
	if s.jobs, err = m.Jobs.restore(); err != nil {
		return nil, err
	}
	for _, c := range m.Contents {
		if _, twice := s.contents.known[c.SHA256]; twice || c.Size < 0 {
			return nil, fmt.Errorf("%w: content %q", errImage, c.SHA256)
		}
		s.contents.known[c.SHA256] = c.Size
	}
	for _, digest := range m.Dropped {
		s.contents.dropped[digest] = struct{}{}
	}
	if c := s.cut; c != nil && (c.To > s.next || c.From > c.To || c.To%journal.SegmentRecords != 0) {
		return nil, fmt.Errorf("%w: a cut at record %d", errImage, c.To)
	}
	return s, s.restoreHeld(m.Held)
}

// decodeImage reads any JSON that is an image.
func decodeImage(image []byte) (*stateImage, error) {
	m := new(stateImage)
	dec := json.NewDecoder(bytes.NewReader(image))
	dec.DisallowUnknownFields() // what a newer version knows must not be lost
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", errImage, err)
	}
	if dec.InputOffset() != int64(len(image)) {
		return nil, fmt.Errorf("%w: there is more after it", errImage)
	}
	return m, nil
}

// restoreHeld takes up a group where the image was made.
func (s *State) restoreHeld(lines []json.RawMessage) error {
	for i, line := range lines {
		var e journal.Entry
		if err := journal.ParseEntry(line, &e); err != nil {
			return fmt.Errorf("%w: held record: %w", errImage, err)
		}
		if e.Group.I != i+1 || e.Group.N <= len(lines) || e.Seq+uint64(len(lines)-i) != s.next {
			return fmt.Errorf("%w: record %d is held", errImage, e.Seq)
		}
		s.hold(&e)
	}
	return nil
}

func (m *jobsImage) restore() (*jobs, error) {
	js := newJobs()
	for _, list := range [][]*job{m.Live, m.Ended} {
		for _, j := range list {
			if j == nil {
				return nil, fmt.Errorf("%w: no job", errImage)
			}
			if _, twice := js.byID[j.ID]; twice {
				return nil, fmt.Errorf("%w: job %s is there twice", errImage, j.ID)
			}
			js.byID[j.ID] = j
		}
	}
	for _, j := range m.Live {
		if !j.State.live() {
			return nil, fmt.Errorf("%w: job %s is %q", errImage, j.ID, j.State)
		}
	}
	for _, j := range m.Ended {
		if j.State != jobDone && j.State != jobFailed && j.State != jobPoisoned {
			return nil, fmt.Errorf("%w: job %s is %q", errImage, j.ID, j.State)
		}
		j.Ended = j.Ended.UTC()
	}
	js.ended = m.Ended
	return js, nil
}
