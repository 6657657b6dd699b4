package main

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"path/filepath"
	"slices"

	"waybill/actions"
	"waybill/fsview"
)

// withDeep are the flags of a check that goes beyond the records.
type withDeep struct {
	Deep bool   `help:"With --state: also fold all records, and compare every snapshot and base with what they lead to. On a pruned journal the base needs --archive for that."`
	Root string `placeholder:"DIR" help:"With --deep: ROOT; also compare every placed file there, and every content of a document in STATE, with its sealed digest."`
}

// What a deep check can say of a file.
const (
	foundOK        = "ok"
	foundWrong     = "wrong"
	foundMissing   = "missing"
	foundUnchecked = "unchecked" // it says nothing about the file
	foundChanged   = "changed"   // by what a later record says
)

// countDigest is how bases are counted of which only the digest was compared.
// They are found unchecked, for a reason that is known and no failure.
const countDigest = "digest_only"

// deepFinding is the result for one file that is not ok.
type deepFinding struct {
	What   string `json:"what"` // snapshot, base, file, content
	Name   string `json:"name"`
	Result string `json:"result"`
	Reason string `json:"reason"`
	// Seq is the record that says what it should be.
	Seq *uint64 `json:"seq,omitempty"`
}

// deepReport is the result of a deep check.
type deepReport struct {
	// First is the first record folded: what was placed before it is known only as
	// far as the base tells.
	First uint64 `json:"first"`
	// Snapshots, Files and Contents count by result; bases are among the first.
	Snapshots map[string]int `json:"snapshots"`
	Files     map[string]int `json:"files,omitempty"`
	Contents  map[string]int `json:"contents,omitempty"`
	Findings  []deepFinding  `json:"findings"`
}

func (r *deepReport) add(tally map[string]int, f deepFinding) {
	tally[f.Result]++
	if f.Result != foundOK {
		r.Findings = append(r.Findings, f)
	}
}

// count is how many files there are with one of the results.
func (r *deepReport) count(results ...string) (n int) {
	for _, tally := range []map[string]int{r.Snapshots, r.Files, r.Contents} {
		for _, result := range results {
			n += tally[result]
		}
	}
	return n
}

// sound tells whether nothing is wrong, as far as could be seen.
func (r *deepReport) sound() bool { return r == nil || r.count(foundWrong, foundMissing) == 0 }

// verdict is the error that the findings come to; none without a report.
func (r *deepReport) verdict() error {
	if r == nil {
		return nil
	}
	if n := r.count(foundWrong, foundMissing); n > 0 {
		return fail(exitData, "%d files are not what the journal says", n)
	}
	if n := r.count(foundUnchecked); n > 0 {
		return fail(exitIO, "%d files could not be checked", n)
	}
	return nil
}

// print writes the report, if there is one, for people.
func (r *deepReport) print(out io.Writer) error {
	if r == nil {
		return nil
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(out, "%s: %s %s: %s\n", f.Result, f.What, oneLine(f.Name), oneLine(f.Reason)); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		what  string
		tally map[string]int
	}{{"snapshots", r.Snapshots}, {"placed files", r.Files}, {"contents", r.Contents}} {
		if t.tally == nil {
			continue
		}
		_, err := fmt.Fprintf(out, "%s: %d ok, %d wrong, %d missing, %d could not be checked, %d changed by a later record\n", t.what,
			t.tally[foundOK], t.tally[foundWrong], t.tally[foundMissing], t.tally[foundUnchecked], t.tally[foundChanged])
		if n := t.tally[countDigest]; err == nil && n > 0 {
			_, err = fmt.Fprintf(out, "%s: %d compared by its digest only\n", t.what, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// possible is an error if there is nothing to look at deeply.
func (c *withDeep) possible(from *source) error {
	if c.Deep && from.State == "" {
		return fail(exitUsage, "--deep needs --state: it looks at the files beside the journal")
	}
	return nil
}

// deep checks what the records of a valid journal say about the files beside
// it. Errors are those of the journal and of finding the folders; what is wrong
// with files is in the report.
func (c *withDeep) deep(ctx context.Context, a *app, from *source) (*deepReport, error) {
	history, done, err := from.openHistory()
	if err != nil {
		return nil, err
	}
	defer done()
	audited, err := actions.Audit(ctx, history, from.State)
	if errors.Is(err, actions.ErrFold) {
		return nil, fail(exitData, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	r := &deepReport{First: audited.First, Snapshots: make(map[string]int), Findings: []deepFinding{}}
	for _, s := range audited.Stored {
		f := deepFinding{What: "snapshot", Name: s.Name(), Result: foundOK}
		if s.Base {
			f.What = "base"
		}
		if s.Err != nil {
			f.Result, f.Reason = foundWrong, s.Err.Error()
		}
		if s.Unread || s.Unfolded {
			f.Result = foundUnchecked
		}
		if s.Unfolded {
			r.Snapshots[countDigest]++
			r.Findings = append(r.Findings, f)
			continue
		}
		r.add(r.Snapshots, f)
	}
	if c.Root == "" {
		return r, nil
	}
	e := &examiner{ctx: ctx, report: r, progress: a.newReport("files", false)}
	defer e.progress.close()
	for _, f := range audited.Files {
		e.size += f.Size
	}
	for _, f := range audited.Contents {
		e.size += f.Size
	}
	if err := e.files(c.Root, audited.Files); err != nil {
		return nil, err
	}
	if err := e.contents(filepath.Join(from.State, "objects"), audited.Contents); err != nil {
		return nil, err
	}
	return r, nil
}

// examiner reads files and compares.
type examiner struct {
	ctx        context.Context
	report     *deepReport
	progress   *report
	done, size int64
}

// looked is what one file turned out to be.
type looked struct {
	result, reason string
	id             fsview.Identity
}

// look reads a file that open opens, which must have size bytes and one of the
// digests.
func (e *examiner) look(open func() (*fsview.File, error), size int64, h hash.Hash, digests ...string) (looked, error) {
	defer func() {
		e.done += size
		e.progress.at(e.done, e.size)
	}()
	f, err := open()
	switch {
	case errors.Is(err, fsview.ErrNotFound):
		return looked{result: foundMissing, reason: "there is none"}, nil
	case err != nil: // no longer a regular file, or the system does not let us
		return looked{result: foundUnchecked, reason: err.Error()}, nil
	}
	defer f.Close() // it was only read
	l := looked{result: foundOK, id: f.Identity()}
	if f.Size() != size && len(digests) == 1 {
		l.result, l.reason = foundWrong, fmt.Sprintf("it has %d bytes, sealed were %d", f.Size(), size)
		return l, nil
	}
	_, err = io.Copy(h, stoppable{e.ctx, io.NewSectionReader(f, 0, f.Size())})
	if e.ctx.Err() != nil {
		return l, interrupted(e.ctx, e.ctx.Err())
	}
	if err == nil {
		err = f.Check()
	}
	if err != nil {
		l.result, l.reason = foundUnchecked, err.Error()
		return l, nil
	}
	if sum := hex.EncodeToString(h.Sum(nil)); !slices.Contains(digests, sum) {
		l.result, l.reason = foundWrong, fmt.Sprintf("its digest is %s, sealed was %s", sum, digests[0])
	}
	return l, nil
}

func (e *examiner) contents(dir string, all []actions.SealedContent) error {
	if len(all) == 0 {
		return nil
	}
	e.report.Contents = make(map[string]int)
	store, err := fsview.OpenReader(dir)
	open := func(digest string) (*fsview.File, error) { return store.Content(digest) }
	switch {
	case errors.Is(err, fsview.ErrNotFound): // then so is each of them
		open = func(string) (*fsview.File, error) { return nil, err }
	case err != nil:
		return localError("STATE/objects", err)
	default:
		defer store.Close() // it was only read
	}
	for _, c := range all {
		l, err := e.look(func() (*fsview.File, error) { return open(c.SHA256) }, c.Size, sha256.New(), c.SHA256)
		if err != nil {
			return err
		}
		if l.result == foundMissing && !c.Named {
			continue // about to be stored, or to go: no document has it
		}
		e.report.add(e.report.Contents, deepFinding{What: "content", Name: c.SHA256, Result: l.result, Reason: l.reason})
	}
	return nil
}

// files compares what was placed. What was placed later can stand where a path
// leads, through a link or because one is the directory of the other: then the
// later record says what is there.
func (e *examiner) files(dir string, all []actions.SealedFile) error {
	e.report.Files = make(map[string]int)
	root, err := fsview.OpenReader(dir)
	if err != nil {
		return localError("ROOT", err)
	}
	defer root.Close() // it was only read
	seen := make([]looked, len(all))
	latest := make(map[[2]uint64]uint64) // by device and inode, the record that placed it last
	for i, f := range all {
		name, err := fsview.ParseName(f.Path)
		if err == nil {
			seen[i], err = e.look(func() (*fsview.File, error) { return root.Open(name) }, f.Size, sha1.New(), append([]string{f.SHA1}, f.Next...)...)
		}
		if err != nil {
			return err
		}
		if id := seen[i].id; seen[i].result == foundOK {
			latest[[2]uint64{id.Dev, id.Ino}] = max(latest[[2]uint64{id.Dev, id.Ino}], f.Seq)
		}
	}
	near := neighbours(all)
	for i, f := range all {
		l := seen[i]
		if by := latest[[2]uint64{l.id.Dev, l.id.Ino}]; l.result == foundWrong && by > f.Seq {
			l.result, l.reason = foundChanged, fmt.Sprintf("record %d placed another file there, by another name", by)
		}
		if by := near[f.Path]; by > f.Seq && (l.result == foundMissing || l.result == foundUnchecked) {
			l.result, l.reason = foundChanged, fmt.Sprintf("record %d placed a file where a directory was, or the reverse", by)
		}
		found := deepFinding{What: "file", Name: f.Path, Result: l.result, Reason: l.reason}
		if f.Seq > 0 {
			found.Seq = &f.Seq
		}
		e.report.add(e.report.Files, found)
	}
	return nil
}

// neighbours gives for every path the last record that placed a file below it,
// or at a directory on the way to it.
func neighbours(all []actions.SealedFile) map[string]uint64 {
	placed, near := make(map[string]uint64), make(map[string]uint64)
	for _, f := range all {
		placed[f.Path] = f.Seq
	}
	for _, f := range all {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if seq, ok := placed[dir]; ok {
				near[f.Path] = max(near[f.Path], seq)
				near[dir] = max(near[dir], f.Seq)
			}
		}
	}
	return near
}
