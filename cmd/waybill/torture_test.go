package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

const (
	uploaders   = 8
	largestFile = 2 << 20
	pathsEach   = 6
	// jobsAsked is after how many jobs of an uploader at the end: the daemon
	// remembers 10,000 that have ended.
	jobsAsked = 1000
	// mostKills is after how many a kill loop must have shown what it is to show.
	mostKills = 60
)

// TestKillLoop kills the real daemon at random moments under load, starts it
// again at once, and holds everything it ever answered against what is there.
func TestKillLoop(t *testing.T) {
	kills := killsOf(6)
	begun := time.Now()
	w := newTorture(t, ground{dir: t.TempDir()}, binary)
	for range kills {
		w.round()
	}
	// What is drawn, and how far a slow machine gets with it, is chance.
	for more := 0; more < mostKills && w.overHTTP() == 0; more++ {
		w.round()
	}
	w.open()
	w.finish()
	w.check()
	w.verdict()
	assert.Positive(t, w.overHTTP(), "what goes over HTTP")
	t.Logf("%d kills and %d more while starting, in %s: %+v", kills, w.early, time.Since(begun).Round(time.Millisecond), w.count)
}

// TestKillLoopCatches does the same to a daemon that answers before it
// commits. (One that leaves out syncs passes: what is killed leaves its
// writes to the system. TestOrderCatches is for those.)
func TestKillLoopCatches(t *testing.T) {
	needControls(t)
	w := newTorture(t, ground{dir: t.TempDir()}, brokenBuild(t), "WAYBILL_BROKEN=reply")
	for n := range mostKills {
		w.round()
		if wrong := w.faults(); len(wrong) > 0 {
			t.Logf("caught after %d kills: %s", n+1, wrong[0])
			return
		}
	}
	t.Errorf("not caught by %d kills; -torture.seed %d", mostKills, w.seed)
}

// overHTTP is what the least was shown of that goes over HTTP, 0 if something was
// not shown at all.
func (w *torture) overHTTP() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return min(w.count.Bodies, w.count.Torn, w.count.Offsets, w.count.OffsetsChecked, w.count.FetchedBytes)
}

// torture is a siege by uploaders, and all that they were promised.
type torture struct {
	*siege

	// What follows is guarded by mu.

	shelves map[string]*shelf // by path
	count   tally

	senders []*uploader
}

// tally is how much was shown.
type tally struct {
	// Answers to chunks, and the bytes they are about.
	Acks, AckedBytes int
	// Of unfinished uploads after a restart; and finished files, at each kill
	// and each restart.
	AcksChecked, BytesChecked, FilesChecked int
	// How uploads ended.
	Done, Cancelled, Rejected int
	// Accepted asynchronous actions; pieces that replaced other bytes.
	Jobs, Rewritten int
	// Bodies over HTTP that were answered, and that were broken off; offsets that
	// were told, and those that were held against what was told before; bytes that
	// were read back, and downloads that a kill cut off.
	Bodies, Torn, Offsets, OffsetsChecked, FetchedBytes, FetchesResumed int
	// Asynchronous actions that were sent and never answered; sessions that
	// nobody was told of; staged files that no record names.
	Unsure, Strays, Orphans int
	Records                 int
}

// shelf is what may stand under a name: what was acknowledged last, or what
// is on its way. "" is nothing.
type shelf struct{ settled, coming string }

// newTorture starts the daemon and its uploaders, which wait for open.
func newTorture(t *testing.T, g ground, program string, env ...string) *torture {
	t.Helper()
	w := &torture{siege: newSiege(t, g, program, env), shelves: make(map[string]*shelf)}
	w.left = w.checkFiles
	w.started = func() { w.checkFiles(); w.checkStaging() }
	var run []func()
	for n := range uploaders {
		u := &uploader{w: w, n: n, rng: rand.New(rand.NewPCG(w.seed, uint64(n)+1)), fresh: pathsEach}
		w.senders, run = append(w.senders, u), append(run, u.run)
		for k := range pathsEach {
			path := uploaderPath(n, k)
			u.paths = append(u.paths, path)
			w.shelves[path] = new(shelf)
			if k%3 == 0 {
				old := filepath.Join(w.s.root, path)
				require.NoError(t, os.MkdirAll(filepath.Dir(old), 0o755))
				require.NoError(t, os.WriteFile(old, []byte(path), 0o644))
				w.shelves[path].settled = sumOfBytes([]byte(path))
			}
		}
	}
	w.lay(run...)
	return w
}

func uploaderPath(n, k int) string {
	if k%2 == 0 {
		return fmt.Sprintf("of-%d-%d", n, k)
	}
	return fmt.Sprintf("below/%d/%d/file", n, k)
}

// tell changes the tally.
func (w *torture) tell(f func(*tally)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.count)
}

// coming, settle and withdraw keep what may stand under a name.
func (w *torture) coming(path, sum string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shelves[path] == nil {
		w.shelves[path] = new(shelf)
	}
	w.shelves[path].coming = sum
}

func (w *torture) settle(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shelves[path]
	s.settled, s.coming = s.coming, ""
}

func (w *torture) withdraw(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shelves[path].coming = ""
}

// checkFiles compares the served tree with what may be there: every name has
// its old file or the new one, whole, and the new one if it was acknowledged.
func (w *torture) checkFiles() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, s := range w.shelves {
		have := ""
		b, err := os.ReadFile(filepath.Join(w.s.root, path))
		if err == nil {
			have = sumOfBytes(b)
		} else if !errors.Is(err, fs.ErrNotExist) {
			w.wrong = append(w.wrong, err.Error())
			continue
		}
		if s.settled != "" {
			w.count.FilesChecked++
		}
		if have != s.settled && (have != s.coming || have == "") {
			w.wrong = append(w.wrong, fmt.Sprintf("%s has %q (%d bytes) and not %+v", path, have, len(b), *s))
		}
	}
	require.NoError(w.t, filepath.WalkDir(w.s.root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(w.s.root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".waybill":
			return filepath.SkipDir
		case !d.IsDir() && w.shelves[filepath.ToSlash(rel)] == nil:
			w.wrong = append(w.wrong, "nobody knows "+rel)
		}
		return nil
	}))
}

// folded is the part of `journal replay` that is looked at here.
type folded struct {
	Records  int `json:"records"`
	Sessions struct {
		Uploads   []foldedUpload   `json:"uploads"`
		Ended     []foldedUpload   `json:"ended_uploads"`
		Downloads []foldedDownload `json:"downloads"`
	} `json:"sessions"`
	Library foldedLibrary `json:"library"`
	Jobs    []struct {
		Job   string `json:"job"`
		State string `json:"state"`
	} `json:"jobs"`
}

type foldedUpload struct {
	Session string           `json:"session"`
	State   string           `json:"state"`
	Path    string           `json:"path"`
	Size    int64            `json:"size"`
	Stored  []sessions.Range `json:"stored"`
	Digest  string           `json:"digest"`
}

func (f *folded) liveJobs() (ids []string) {
	for _, j := range f.Jobs {
		if j.State == "queued" || j.State == "claimed" {
			ids = append(ids, j.Job)
		}
	}
	return ids
}

// checkStaging requires that every staged file belongs to a session or a job
// that lives. Nobody but the queue is at work while it looks.
func (w *torture) checkStaging() {
	w.t.Helper()
	_, f := w.replay(w.s.client()...)
	known := make(map[string]bool)
	for _, u := range f.Sessions.Uploads {
		known[u.Session] = true
	}
	for _, id := range f.liveJobs() {
		known[id] = true
	}
	for _, name := range w.below("staging") {
		if !known[name] {
			w.fault("the staged file %s has no session and no job", name)
		}
	}
}

// below lists a directory of the store in .waybill.
func (w *torture) below(dir string) []string {
	w.t.Helper()
	return w.names(filepath.Join(w.s.root, ".waybill", "*", dir))
}

// finish lets every upload come to its end, and what nobody knows of.
func (w *torture) finish() {
	w.raise()
	var left folded
	eventually(w.t, "the queue is empty", func() bool {
		_, left = w.replay(w.s.client()...)
		return len(left.liveJobs()) == 0
	})
	// What was opened and never answered for: the client does not know it.
	p, err := dialPanel(w.s.addr, w.token)
	require.NoError(w.t, err)
	defer p.close()
	for _, u := range left.Sessions.Uploads {
		for _, s := range w.senders {
			if s.knows(u.Session) {
				w.fault("upload %s of %s has not ended", u.Session, u.Path)
			}
		}
		w.count.Strays++
		require.NoError(w.t, p.call("file_upload_cancel", fileReply{u.Session}, nil))
	}
}

// check holds everything against everything at the end.
func (w *torture) check() {
	t := w.t
	w.checkFiles()
	p, err := dialPanel(w.s.addr, w.token)
	require.NoError(t, err)
	defer p.close()

	// What the live daemon says of every session and job, and what a fresh
	// fold of its journal says.
	_, f := w.replay(w.s.client()...)
	ended := make(map[string]foldedUpload)
	for _, u := range f.Sessions.Ended {
		ended[u.Session] = u
	}
	jobs := make(map[string]string)
	for _, j := range f.Jobs {
		jobs[j.Job] = j.State
	}
	for _, u := range w.senders {
		left := jobsAsked
		for _, tr := range slices.Backward(u.past) {
			u.checkEnd(p, tr, ended[tr.file])
			for id, j := range tr.jobs {
				if left--; left >= 0 {
					u.checkJob(p, tr, id, j, jobs[id])
				}
			}
		}
	}
	w.checkHistory()

	f = w.checkReplay()
	assert.Empty(t, w.below("staging"), "staged files are left")
	w.count.Orphans = len(w.below("orphans"))
	w.count.Records = f.Records
}

// checkHistory counts what the journal says of each accepted job: taken in
// once, done once, in effect once.
func (w *torture) checkHistory() {
	r := waybill(w.t, append([]string{"journal", "export"}, w.s.client()...)...)
	require.Zero(w.t, r.code, r.err)
	type key struct{ kind, id string }
	n := make(map[key]int)
	for line := range strings.Lines(r.out) {
		var f fact
		require.NoError(w.t, json.Unmarshal([]byte(line), &f))
		n[key{f.Kind, f.Body.Job + f.Body.Session}]++
	}
	for _, u := range w.senders {
		for _, tr := range u.past {
			for id, j := range tr.jobs {
				ends := [2]int{n[key{"job.done", id}], n[key{"job.failed", id}] + n[key{"job.poisoned", id}]}
				if n[key{"job.queued", id}] != 1 || ends[0]+ends[1] != 1 || n[key{"job.claimed", id}] == 0 {
					w.fault("job %s (%s): queued %d times, ended %v", id, j.action, n[key{"job.queued", id}], ends)
				}
			}
			for _, kind := range []string{"upload.opened", "upload." + tr.over} {
				if tr.over != "" && n[key{kind, tr.file}] != 1 {
					w.fault("upload %s: %d times %s", tr.file, n[key{kind, tr.file}], kind)
				}
			}
		}
	}
}
