package actions

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"waybill/journal"
	"waybill/sessions"
)

// Audited is what the records of a journal, all that it holds, say about the
// files beside it.
type Audited struct {
	// First is the first record that was read, 0 if those that were pruned are in
	// the archive. Of what lies before it only the base tells.
	First uint64
	// Stored are the snapshots and bases that lie at a position held, each
	// compared with the fold.
	Stored []StoredCheck
	// Files are what uploads have placed in the served tree, by path.
	Files []SealedFile
	// Contents are those of documents, by digest.
	Contents []SealedContent
}

// StoredCheck is the result for one snapshot or base.
type StoredCheck struct {
	Stored
	// Err is nil if it is what the records lead to.
	Err error
	// Unread: it could not be looked at, which says nothing about it.
	Unread bool
	// Unfolded: it is the base that the journal names, but what it stands for was
	// not there to be folded. Err says so.
	Unfolded bool
}

// SealedFile is a file as it was when it was placed last.
type SealedFile struct {
	Path string
	// Size is in bytes, SHA1 in lower-case hex.
	Size int64
	SHA1 string
	// Seq is the record that says it was placed, 0 if it lies before First.
	Seq uint64
	// Next are SHA-1 digests that may be in its place already: those of uploads
	// that were complete when the journal ended.
	Next []string
}

// SealedContent is what one content must be.
type SealedContent struct {
	SHA256 string
	Size   int64
	// Named: a document has it. One that is not named may be gone, or not be
	// there yet.
	Named bool
}

// Audit folds all the records of a journal, with the checks of Replay, and
// compares the fold with every snapshot and base of stateDir at its position.
// Without the archive of all that was pruned the fold begins with the base,
// which then is only Unfolded. Errors are those of Load: a base that does not
// fit the cut that it is of is a *journal.DamageError.
func Audit(ctx context.Context, history *journal.History, stateDir string) (*Audited, error) {
	a := &audit{history: history, dir: stateDir, placed: make(map[string]SealedFile)}
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	err := history.Replay(ctx, a.out.First, func(e *journal.Entry) error {
		if err := a.compareHere(ctx); err != nil {
			return err
		}
		held := a.state.group // what it holds takes effect with the last one
		if err := a.state.Apply(e); err != nil {
			return fmt.Errorf("%w: %w", ErrFold, err)
		}
		if e.Kind == KindPruned && a.state.cut.To == a.out.First {
			a.named = a.state.cut
		}
		if e.Group.I < e.Group.N {
			return nil
		}
		for i := range held {
			if e.Group.N > 1 {
				a.note(&held[i].entry)
			}
		}
		a.note(e)
		return nil
	})
	if err == nil {
		err = a.compareHere(ctx)
	}
	if err == nil {
		err = a.checkCuts()
	}
	if err != nil {
		return nil, err
	}
	for _, f := range a.stored {
		a.result(f, fmt.Errorf("%w, or that has lost records: it has only %d", errForeign, a.state.next))
	}
	a.finish()
	return &a.out, nil
}

// checkCuts holds the base that the fold began with against the cut that made
// it, and the last cut as every start does.
func (a *audit) checkCuts() error {
	if err := a.state.checkCut(a.history.Log(), a.dir); err != nil || a.out.First == 0 {
		return err
	}
	if a.named == nil {
		return noBase(a.out.First, "no record says that those before were pruned")
	}
	return checkBase(a.dir, a.named)
}

type audit struct {
	history *journal.History
	dir     string
	state   *State
	stored  []Stored // still to be compared, by position
	named   *Cut     // the one that the base is of that the fold began with
	out     Audited
	placed  map[string]SealedFile
}

// errUnfolded is why a base that the fold began with was not compared with it.
var errUnfolded = errors.New("only its digest was compared with the journal's; --archive folds what it stands for")

// begin takes the state before the first record.
func (a *audit) begin(ctx context.Context) error {
	all, err := ListStored(a.dir)
	if err != nil {
		return err
	}
	slices.Reverse(all)
	a.state = NewState()
	if a.history.First() == 0 {
		a.stored = all
		return nil
	}
	// The oldest that the journal goes on from: a cut that was cut short leaves
	// records before its base.
	first := a.history.Log().First()
	base := Stored{first, true}
	if i := slices.IndexFunc(all, func(f Stored) bool { return f.Base && f.Seq >= first }); i >= 0 {
		base = all[i]
	}
	a.out.First = base.Seq
	a.stored = slices.DeleteFunc(all, func(f Stored) bool { return f.Seq < base.Seq || f == base })
	root, err := a.history.RootAt(ctx, base.Seq)
	if err != nil {
		return err
	}
	if a.state, err = readStored(a.dir, base, root); unreadable(err) {
		return fmt.Errorf("read %s: %w", base.Name(), err)
	} else if err != nil {
		return noBase(base.Seq, err.Error())
	}
	a.out.Stored = append(a.out.Stored, StoredCheck{Stored: base, Err: errUnfolded, Unfolded: true})
	for _, r := range a.state.sessions.Image().Ended {
		if r.State == sessions.Placed.String() {
			a.placed[r.Path] = SealedFile{Path: r.Path, Size: r.Size, SHA1: r.Digest}
		}
	}
	return nil
}

// compareHere compares what is stored of the position that the fold has come to.
func (a *audit) compareHere(ctx context.Context) error {
	for len(a.stored) > 0 && a.stored[0].Seq == a.state.next {
		f := a.stored[0]
		a.stored = a.stored[1:]
		root, err := a.history.RootAt(ctx, f.Seq)
		if err != nil {
			return err
		}
		a.result(f, a.compare(f, root))
	}
	return nil
}

func (a *audit) result(f Stored, err error) {
	_, unread := errors.AsType[*fs.PathError](err)
	a.out.Stored = append(a.out.Stored, StoredCheck{Stored: f, Err: err, Unread: unread || errors.Is(err, errVersion)})
}

// errNotFold: a snapshot that is whole and of this journal is not what its
// records lead to.
var errNotFold = errors.New("not what the records before it lead to")

func (a *audit) compare(f Stored, root journal.Hash) error {
	file, err := os.ReadFile(filepath.Join(a.dir, f.Name()))
	if err != nil {
		return err
	}
	h, image, err := openStored(file, f.Seq)
	if err != nil {
		return err
	}
	if h.Root != root.String() {
		return errForeign
	}
	var want, again bytes.Buffer
	if err := a.state.writeImage(&want); err != nil {
		return err
	}
	if bytes.Equal(image, bytes.TrimSuffix(want.Bytes(), []byte("\n"))) {
		return nil
	}
	// An older version may have said the same in other words.
	s, err := restoreState(image)
	if err != nil {
		return err
	}
	if err := s.writeImage(&again); err != nil {
		return err
	}
	if !bytes.Equal(want.Bytes(), again.Bytes()) {
		return errNotFold
	}
	return nil
}

// note remembers what a record that was folded says of files.
func (a *audit) note(e *journal.Entry) {
	if e.Kind != sessions.KindUploadPlaced {
		return
	}
	var b struct{ Session sessions.ID }
	if err := json.Unmarshal(e.Body, &b); err != nil {
		panic("actions: " + err.Error()) // the fold has just read it
	}
	u, _ := a.state.sessions.Upload(b.Session)
	a.placed[u.Path] = SealedFile{Path: u.Path, Size: u.Size, SHA1: u.Digest, Seq: e.Seq}
}

// finish lists what must be there when the records end.
func (a *audit) finish() {
	for _, u := range a.state.sessions.Uploads() {
		if f, ok := a.placed[u.Path]; ok && u.Task == nil && u.State == sessions.Sealed {
			f.Next = append(f.Next, u.Digest)
			a.placed[u.Path] = f
		}
	}
	a.out.Files = slices.SortedFunc(maps.Values(a.placed), func(x, y SealedFile) int { return cmp.Compare(x.Path, y.Path) })
	for _, digest := range slices.Sorted(maps.Keys(a.state.contents.known)) {
		a.out.Contents = append(a.out.Contents, SealedContent{
			SHA256: digest, Size: a.state.contents.known[digest], Named: a.state.tree.References(digest) > 0,
		})
	}
}
