package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/daemon"
	"waybill/journal"
	"waybill/sessions"
)

// Where a model has the two directories of a daemon.
const (
	rootAt  = "srv/root"
	stateAt = "var/state"
	// archiveAt is there if there is an archive.
	archiveAt = "arc"
)

// Files of STATE.
const (
	adminPassword = "admin-password"
	unverified    = "checkpoint.unverified"
)

// chronicle is what a trace says was done and promised, and what it came to.
type chronicle struct {
	store string // the store's id
	// base is the number of records there were before, baseRoot that of them; lines and facts
	// are those after them.
	base     int
	baseRoot journal.Hash
	lines    [][]byte
	facts    []fact
	initial  map[string]string // digests of what was served before, by path
	// strays are staged files that no journal knows, with their bytes: they are
	// moved out of the way, and never lost.
	strays map[string][]byte
	// notGood is a checkpoint that cannot be verified, nil for none: it is put
	// aside, and never lost.
	notGood []byte
	// bytes are those that an upload.stored counts, by seq and range, and those
	// that a job.queued has left to be stored.
	bytes map[uint64][][]byte
	// relied are the records that replies rely on: seq is the greatest so far.
	relied []reliance
	// secrets are files of STATE that are made before the first record.
	secrets map[string][]byte
	// digests and ends are of every session, as it was sealed and as it ended.
	digests, ends map[string]string
	// answered is the place of the first reply.
	answered int
}

// promised is the number of records that must be there at a place in the trace.
func (h *chronicle) promised(line int) uint64 {
	i := sort.Search(len(h.relied), func(i int) bool { return h.relied[i].at > line })
	if i == 0 {
		return 0
	}
	return h.relied[i-1].seq + 1
}

// held is what is known of a session by some of the records.
type held struct {
	path   string
	task   bool
	stored sessions.Set
	data   []byte
}

func (s *held) store(r sessions.Range, b []byte) {
	s.stored.Add(r)
	if grow := r[1] - int64(len(s.data)); grow > 0 {
		s.data = append(s.data, make([]byte, grow)...)
	}
	copy(s.data[r[0]:r[1]], b)
}

// known is what must be after the first n records of the trace.
type known struct {
	live map[string]*held
	jobs map[string][]byte // that have not ended, with the bytes they are to store
}

func (h *chronicle) known(n int) known {
	k := known{make(map[string]*held), make(map[string][]byte)}
	for i := range h.facts[:h.whole(n)] {
		f := &h.facts[i]
		s := k.live[f.Body.Session]
		switch f.Kind {
		case "upload.opened":
			k.live[f.Body.Session] = &held{path: f.Body.Path, task: f.Body.Task != nil}
		case "upload.stored":
			for j, r := range f.Body.Ranges {
				s.store(r, h.bytes[f.Seq][j])
			}
		case "upload.unstored":
			for _, r := range f.Body.Ranges {
				s.stored.Remove(r)
			}
		case "upload.truncated":
			s.stored.Remove(sessions.Range{f.Body.Size, 1 << 62})
		case "upload.placed", "upload.published", "upload.rejected", "upload.cancelled", "upload.expired":
			delete(k.live, f.Body.Session)
		case "job.queued":
			k.jobs[f.Body.Job] = nil
			if b := h.bytes[f.Seq]; len(b) > 0 {
				k.jobs[f.Body.Job] = b[0]
			}
		case "job.done", "job.failed", "job.poisoned":
			delete(k.jobs, f.Body.Job)
		}
	}
	return k
}

// whole is n without the records at the end whose group is not: a crash where a
// segment ends may leave only the first of them, nobody was answered, and the
// start takes them back.
func (h *chronicle) whole(n int) int {
	for ; n > 0; n-- {
		var e journal.Entry
		if err := journal.ParseEntry(h.lines[n-1], &e); err != nil || e.Group.I == e.Group.N {
			break
		}
	}
	return n
}

// hearing is what a start made of an image.
type hearing struct {
	*chronicle
	dir   string
	line  int
	id    string   // of the store: another one if the crash came before there was one
	lines [][]byte // of the journal at the end, from base on
	facts []fact   // those after before
	// before is how many of the lines are those of the trace.
	before int
	state  folded
	wrong  []string
}

func (v *hearing) fault(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// judge makes the image of a crash at a place in the trace, starts the daemon on
// it, and returns what it breaks. dir is an empty directory.
func (h *chronicle) judge(img *image, line int, dir string, p *pool) ([]string, error) {
	if err := img.write(dir, p); err != nil {
		return nil, err
	}
	v := &hearing{chronicle: h, dir: dir, line: line}
	if want := h.secrets[adminPassword]; line > h.answered && want != nil {
		// The start would spend most of its time on asking whether this is still
		// the password.
		path := filepath.Join(dir, stateAt, adminPassword)
		if b, err := os.ReadFile(path); !bytes.Equal(b, want) {
			v.fault("%s is %q and was %q, %v", adminPassword, b, want, err)
		} else if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	live, err := v.start()
	if err != nil {
		v.fault("the start fails, exit %d: %v", daemon.ExitCode(err), err)
		return v.wrong, nil
	}
	id, err := os.ReadFile(filepath.Join(dir, stateAt, "id"))
	if err != nil {
		return nil, err
	}
	v.id = strings.TrimSpace(string(id))
	if err := v.read(live); err != nil {
		v.fault("afterwards: %v", err)
		return v.wrong, nil
	}
	v.records()
	v.sessions()
	v.orphaned()
	v.served()
	v.library()
	return v.wrong, nil
}

// start runs the daemon until it is ready, and stops it.
func (v *hearing) start() (live []byte, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var log bytes.Buffer
	var lerr error
	cfg := daemon.Config{
		Root: filepath.Join(v.dir, rootAt), State: filepath.Join(v.dir, stateAt), Listen: "127.0.0.1:0",
		Reserve: -1, PurgeEvery: -1, Logger: zerolog.New(&log),
		Running: func(e *actions.Engine) { live, lerr = e.StateJSON() },
		Ready:   func(string) { cancel() },
	}
	if archive := filepath.Join(v.dir, archiveAt); exists(archive) {
		cfg.Archive = archive
	}
	err = daemon.Run(ctx, cfg)
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"level":"error"`) {
			v.fault("the daemon says %s", strings.TrimSpace(line))
		}
	}
	return live, errors.Join(err, lerr)
}

// read verifies and folds the journal, and compares the fold with the live state.
func (v *hearing) read(live []byte) error {
	ctx := context.Background()
	var then struct{ Records uint64 }
	if err := json.Unmarshal(live, &then); err != nil {
		return err
	}
	dir := filepath.Join(v.dir, stateAt, "journal")
	// What is verified is folded on the way, unless the first records are gone.
	state := actions.NewState()
	var next uint64
	_, err := journal.VerifyWith(ctx, dir, journal.VerifyOptions{Seen: func(e *journal.Entry) error {
		if e.Seq != next {
			return nil
		}
		if e.Seq == then.Records {
			v.compare(state, live)
		}
		next++
		return state.Apply(e)
	}})
	if err != nil {
		return err
	}
	log, err := journal.Open(dir, journal.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer log.Close()
	err = log.Read(ctx, uint64(v.base), log.Head().Size, func(line []byte) error {
		v.lines = append(v.lines, bytes.Clone(line))
		return nil
	})
	if err != nil {
		return err
	}
	if log.First() > 0 {
		if state, err = v.fold(ctx, log, then.Records, live); err != nil {
			return err
		}
	}
	out, err := state.MarshalJSON()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &v.state); err != nil {
		return err
	}
	if cut := state.Cut(); cut != nil && log.First() != cut.To {
		v.fault("the journal begins with record %d, and was cut at %d", log.First(), cut.To)
	}
	if !exists(filepath.Join(v.dir, archiveAt)) {
		return nil
	}
	return v.archived(ctx, log)
}

// fold folds what a journal that was pruned has, from its base on, and compares
// it, after the first n records, with the live state.
func (v *hearing) fold(ctx context.Context, log *journal.Log, n uint64, live []byte) (*actions.State, error) {
	state, err := actions.FoldTo(ctx, log, filepath.Join(v.dir, stateAt), n)
	if err != nil {
		return nil, err
	}
	v.compare(state, live)
	return actions.FoldTo(ctx, log, filepath.Join(v.dir, stateAt), log.Head().Size)
}

// archived requires that what the archive has is whole, and that the records
// before base are those they were, in the journal or in the archive.
func (v *hearing) archived(ctx context.Context, log *journal.Log) error {
	a, err := journal.OpenArchive(filepath.Join(v.dir, archiveAt))
	if err != nil {
		return err
	}
	if len(a.Firsts()) > 0 {
		if _, err := a.Verify(ctx, nil); err != nil {
			return err
		}
	}
	h, err := journal.NewHistory(log, a)
	if err != nil || log.First() == 0 {
		return err
	}
	tree := journal.NewTree()
	if err := h.Read(ctx, 0, uint64(v.base), func(line []byte) error { tree.Append(line); return nil }); err != nil {
		return err
	}
	if root := tree.Head().Root; root != v.baseRoot {
		v.fault("the root of the first %d records is %v and was %v", v.base, root, v.baseRoot)
	}
	return nil
}

func (v *hearing) compare(state *actions.State, live []byte) {
	fold, err := state.MarshalJSON()
	if err != nil || !bytes.Equal(fold, live) {
		v.fault("the state is %s and the fold %s, %v", live, fold, err)
	}
}

// records requires that the journal is the one of the trace, as far as it was
// promised and maybe further, and that the start has taken nothing back.
func (v *hearing) records() {
	for v.before < min(len(v.lines), len(v.chronicle.lines)) && bytes.Equal(v.lines[v.before], v.chronicle.lines[v.before]) {
		v.before++
	}
	if n, have := v.promised(v.line), uint64(v.base+v.before); have < n {
		v.fault("of %d records that replies rely on there are %d", n, have)
	}
	for _, line := range v.lines[v.before:] {
		var f fact
		if err := json.Unmarshal(line, &f); err != nil {
			v.fault("%s: %v", line, err)
		}
		v.facts = append(v.facts, f)
		end, is := strings.CutPrefix(f.Kind, "upload.")
		switch f.Kind {
		case "upload.rejected", "upload.expired", "upload.cancelled":
			if !is || v.ends[f.Body.Session] != end {
				v.fault("the start has recorded %s", line)
			}
		case "upload.unstored", "upload.truncated", "job.failed", "job.poisoned":
			v.fault("the start has recorded %s", line)
		case "upload.sealed":
			if d := v.digests[f.Body.Session]; d != "" && d != f.Body.Digest {
				v.fault("the start has recorded %s, and the digest was %s", line, d)
			}
		}
	}
	if len(v.facts) == 0 || v.facts[0].Kind != "daemon.started" {
		v.fault("the journal goes on with %s", v.lines[v.before:])
	}
	if v.base+v.before == 0 {
		return
	}
	for name, want := range v.secrets {
		if name == adminPassword {
			continue // see judge
		}
		if b, err := os.ReadFile(filepath.Join(v.dir, stateAt, name)); err != nil || !bytes.Equal(b, want) {
			v.fault("%s is %q and was %q, %v", name, b, want, err)
		}
	}
}

func (v *hearing) staging(task bool) string {
	at := rootAt
	if task {
		at = filepath.Join(stateAt, "objects")
	}
	return filepath.Join(v.dir, newStore(at, v.id).staging)
}

// sessions requires of every session and job of the journal that was found that
// its bytes are there, or where they should be, and that nothing else is.
func (v *hearing) sessions() {
	now := make(map[string]foldedUpload)
	for _, u := range v.state.Sessions.Uploads {
		now[u.Session] = u
	}
	ended := make(map[string]string)
	for _, u := range v.state.Sessions.Ended {
		ended[u.Session] = u.State
	}
	k := v.known(v.before)
	for id, s := range k.live {
		u, ok := now[id]
		switch {
		case !ok && ended[id] == "":
			v.fault("the session %s is forgotten", id)
			continue
		case !ok:
			continue // in its place, or rejected as it should be
		case u.State != "open":
			v.fault("the session %s is %s still", id, u.State)
			continue
		}
		b, err := os.ReadFile(filepath.Join(v.staging(s.task), id))
		if err != nil && s.stored.Len() > 0 {
			v.fault("the bytes of %s: %v", id, err)
			continue
		}
		has := sessions.SetOf(u.Stored...)
		for _, r := range s.stored.Ranges() {
			if !has.Contains(r) {
				v.fault("of %s the bytes %v are not stored any more, but %v", id, r, u.Stored)
			}
			if r[1] > int64(len(b)) || !bytes.Equal(b[r[0]:r[1]], s.data[r[0]:r[1]]) {
				v.fault("of %s the bytes %v are not what they were, of a file of %d", id, r, len(b))
			}
		}
	}
	// Of jobs: those that have not ended keep their bytes.
	jobs := make(map[string]bool)
	for _, j := range v.state.Jobs {
		jobs[j.Job] = true
	}
	waiting := v.state.liveJobs()
	for id, want := range k.jobs {
		if !jobs[id] {
			v.fault("the job %s is forgotten", id)
		}
		if !slices.Contains(waiting, id) || want == nil {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(v.staging(false), id)); err != nil || !bytes.Equal(b, want) {
			v.fault("the %d bytes of job %s are %d others, %v", len(want), id, len(b), err)
		}
	}
	for _, task := range []bool{false, true} {
		for _, name := range v.names(v.staging(task)) {
			if _, ok := now[name]; !ok && !slices.Contains(waiting, name) {
				v.fault("the staged file %s has no session and no job", name)
			}
		}
	}
	if orphans := v.names(filepath.Join(filepath.Dir(v.staging(true)), "orphans")); len(orphans) > 0 {
		v.fault("orphans: %v", orphans)
	}
}

// orphaned requires that what nobody knows of is still there.
func (v *hearing) orphaned() {
	if v.notGood != nil {
		if b, err := os.ReadFile(filepath.Join(v.dir, stateAt, unverified)); err != nil || !bytes.Equal(b, v.notGood) {
			v.fault("%s is %q, %v", unverified, b, err)
		}
	}
	for id, want := range v.strays {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(v.staging(false)), "orphans", "*."+id))
		if err != nil || len(found) == 0 {
			v.fault("the stray file %s is lost, %v", id, err)
		}
		for _, path := range found {
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
				v.fault("the stray file %s has %d bytes and had %d, %v", path, len(b), len(want), err)
			}
		}
	}
}

func (v *hearing) names(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		v.fault("%v", err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// served requires that every name has what was placed there last, whole, and
// that there are no others.
func (v *hearing) served() {
	want := make(map[string]string)
	for path, digest := range v.initial {
		want[path] = digest
	}
	paths, digests := make(map[string]string), make(map[string]string)
	for _, facts := range [][]fact{v.chronicle.facts[:v.before], v.facts} {
		for i := range facts {
			switch f := &facts[i]; f.Kind {
			case "upload.opened":
				paths[f.Body.Session] = f.Body.Path
			case "upload.sealed":
				digests[f.Body.Session] = f.Body.Digest
			case "upload.placed":
				want[paths[f.Body.Session]] = digests[f.Body.Session]
			}
		}
	}
	have, err := servedDigests(filepath.Join(v.dir, rootAt))
	if err != nil {
		v.fault("%v", err)
	}
	for path, digest := range want {
		if have[path] != digest {
			v.fault("%s has the digest %q and not %q", path, have[path], digest)
		}
	}
	for path, digest := range have {
		if want[path] == "" {
			v.fault("%s (%s) was placed by nobody", path, digest)
		}
	}
}

// servedDigests are those of the files that are served.
func servedDigests(root string) (map[string]string, error) {
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".waybill":
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		out[rel] = sumOfBytes(b)
		return err
	})
	return out, err
}

// library requires that the store has every content that the journal knows, and
// no others: a clean stop has removed what was dropped.
func (v *hearing) library() {
	l := &v.state.Library
	for digest, size := range v.state.named() {
		if known, ok := l.Contents[digest]; !ok || known != size {
			v.fault("the content %s of %d bytes is named, and known is %d, %v", digest, size, known, ok)
		}
	}
	files, err := filepath.Glob(filepath.Join(v.dir, stateAt, "objects", "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		v.fault("%v", err)
	}
	have := make(map[string]bool)
	for _, path := range files {
		digest := filepath.Base(path)
		have[digest] = true
		b, err := os.ReadFile(path)
		size, known := l.Contents[digest]
		if err != nil || !known || int64(len(b)) != size || digestOf(b) != digest {
			v.fault("the content %s has %d bytes with the digest %s; known: %v, %d bytes; %v", digest, len(b), digestOf(b), known, size, err)
		}
	}
	for digest, size := range l.Contents {
		if !have[digest] {
			v.fault("the content %s of %d bytes is not in the store", digest, size)
		}
	}
	if len(l.Dropped) > 0 {
		v.fault("after a clean stop contents are to be removed: %v", l.Dropped)
	}
}
