package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

const (
	librarians = 6
	docsEach   = 6
	// mostRevisions is after how many a document is done with.
	mostRevisions = 40
	// binSeconds is how long the recycle bin keeps a document.
	binSeconds = 2
)

// TestKillLoopDocuments is TestKillLoop for the document library.
func TestKillLoopDocuments(t *testing.T) {
	t.Parallel()
	kills := killsOf(5)
	begun := time.Now()
	w := newDocTorture(t, ground{dir: t.TempDir()}, librarians, false, binary)
	for range kills {
		w.round()
	}
	w.open()
	w.linger()
	w.raise()
	w.check()
	w.verdict()
	t.Logf("%d kills and %d more while starting, in %s: %+v", kills, w.early, time.Since(begun).Round(time.Millisecond), w.count)
}

// TestKillLoopDocumentsCatches does the same to a daemon that answers before it
// commits.
func TestKillLoopDocumentsCatches(t *testing.T) {
	needControls(t)
	t.Parallel()
	// Many who have an answer every moment, one of which comes just before a kill.
	w := newDocTorture(t, ground{dir: t.TempDir()}, 4*librarians, true, brokenBuild(t), "WAYBILL_BROKEN=reply")
	for n := range mostKills {
		w.round()
		if wrong := w.faults(); len(wrong) > 0 {
			t.Logf("caught after %d kills: %s", n+1, wrong[0])
			return
		}
	}
	t.Errorf("not caught by %d kills; -torture.seed %d", mostKills, w.seed)
}

// docTorture is a siege by librarians.
type docTorture struct {
	*siege
	count docTally // guarded by mu
	// hashed are the contents that were found to be what they are called; their
	// files never change. Owned by the test.
	hashed map[string]fs.FileInfo
}

// docTally is how much was shown.
type docTally struct {
	// What was answered well. Pieces are transfers that did not complete.
	Created, Renamed, Deleted, Recovered, Purged, Superseded int
	Pieces, Published, Mistaken, Broken, Read, AckedBytes    int
	// Uploads that were completed while their document or task was taken away,
	// and those that came first.
	Raced, RacesWon int
	// Documents that the purge has taken before they were asked for.
	Vanished int
	// After a restart.
	DocumentsChecked, RevisionsChecked, OffsetsChecked, BytesChecked, TasksChecked, TokensChecked int
	// Requests that were not answered, and those that were carried out.
	Unsure, UnsureDone int
	// Of the files that kills left: contents, those that were read, and staged
	// bytes; and what they left to be done: complete contents to be published, and
	// contents to be removed.
	ContentsLeft, Hashed, StagedLeft int
	ToPublish, ToRemove              int
	Records                          int
}

func newDocTorture(t *testing.T, g ground, librarians int, idle bool, program string, env ...string) *docTorture {
	t.Helper()
	w := &docTorture{
		siege:  newSiege(t, g, program, env, "--purge-interval", "500ms"),
		hashed: make(map[string]fs.FileInfo),
	}
	w.left, w.started = w.checkLeft, w.checkStarted
	var run []func()
	for n := range librarians {
		l := newLibrarian(w, n)
		if l.idle = idle; idle {
			l.user = "" // whose passwords would take a second
		}
		run = append(run, l.run)
	}
	w.lay(run...)
	require.NoError(t, w.bin(binSeconds))
	return w
}

// linger lets the clients work with the last daemon too, so that what check finds
// is not only what a start has put in order.
func (w *docTorture) linger() {
	w.t.Helper()
	w.awaitVerified()
	time.Sleep(w.lifetime())
}

func (w *docTorture) tell(f func(*docTally)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.count)
}

// clerk speaks for the main token.
func (w *docTorture) clerk() *clerk {
	w.t.Helper()
	c, err := dialClerk(w.s.addr, "", w.token)
	require.NoError(w.t, err)
	w.t.Cleanup(c.close)
	return c
}

// bin sets how long the recycle bin keeps what is deleted.
func (w *docTorture) bin(seconds int) error {
	return w.clerk().call("setPolicy", fields{
		"policy_id": "recycle", "content": fields{"deleteAfterMarked": seconds, "revDeleteAfterMarked": seconds},
	}, nil)
}

// foldedLibrary is what is looked at of the state of the library.
type foldedLibrary struct {
	Tree struct {
		Nodes []struct {
			ID        string `json:"id"`
			Revisions []struct {
				Digest string `json:"digest"`
				Size   int64  `json:"size"`
			} `json:"revisions"`
		} `json:"nodes"`
	} `json:"tree"`
	Contents map[string]int64 `json:"contents"`
	Dropped  []string         `json:"dropped"`
}

// foldedDownload is a read task.
type foldedDownload struct {
	Content *sessions.Content `json:"content"`
}

// named are the contents that something names, with their sizes: revisions and
// tasks that can be read.
func (f *folded) named() map[string]int64 {
	out := make(map[string]int64)
	for _, n := range f.Library.Tree.Nodes {
		for _, r := range n.Revisions {
			out[r.Digest] = r.Size
		}
	}
	for _, d := range f.Sessions.Downloads {
		if d.Content != nil {
			out[d.Content.SHA256] = d.Content.Size
		}
	}
	for _, digest := range builtins {
		delete(out, digest)
	}
	return out
}

// contents are the files in the store, by name, with their sizes.
func (w *docTorture) contents() map[string]int64 {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.s.state, "objects", "[0-9a-f][0-9a-f]", "*"))
	require.NoError(w.t, err)
	out := make(map[string]int64)
	for _, path := range files {
		fi, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped since it was listed
		}
		require.NoError(w.t, err)
		out[filepath.Base(path)] = fi.Size()
	}
	return out
}

func (w *docTorture) content(digest string) string {
	return filepath.Join(w.s.state, "objects", digest[:2], digest)
}

// staged are the files of write tasks, by session, with their sizes.
func (w *docTorture) staged() map[string]int64 {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.s.state, "objects", ".waybill", "*", "staging", "*"))
	require.NoError(w.t, err)
	out := make(map[string]int64)
	for _, path := range files {
		fi, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(w.t, err)
		out[filepath.Base(path)] = fi.Size()
	}
	return out
}

// checkLeft holds the files that a kill has left against the journal that it has
// left: nothing that is named is missing, and nothing is there that the journal
// does not know.
func (w *docTorture) checkLeft() {
	w.t.Helper()
	_, f := w.replay("--state", w.s.state)
	files, staged := w.contents(), w.staged()
	for digest, size := range f.named() {
		if have, ok := files[digest]; !ok || have != size {
			w.fault("the content %s of %d bytes is named, and in the store it is %v with %d bytes", digest, size, ok, have)
		}
	}
	for digest := range files {
		if _, known := f.Library.Contents[digest]; !known && !slices.Contains(f.Library.Dropped, digest) {
			w.fault("the content %s is in the store, and the journal does not know it", digest)
		}
		if !w.hash(digest) {
			w.fault("the content %s goes, and nobody is there", digest)
		}
	}
	w.tell(func(n *docTally) {
		n.ContentsLeft += len(files)
		n.StagedLeft += len(staged)
		n.ToRemove += len(f.Library.Dropped)
		for _, u := range f.Sessions.Uploads {
			if u.State == "sealed" {
				n.ToPublish++
			}
		}
	})
	for _, u := range f.Sessions.Uploads {
		size, ok := staged[u.Session]
		delete(staged, u.Session)
		_, kept := files[u.Digest]
		stored := sessions.SetOf(u.Stored...).End()
		switch {
		case u.State == "open" && size < stored:
			w.fault("of the task %s %d bytes are stored, and there are %d (%v)", u.Session, stored, size, ok)
		case u.State == "sealed" && !ok && !kept && !slices.Contains(builtins, u.Digest):
			w.fault("the content %s of the sealed task %s is nowhere", u.Digest, u.Session)
		}
	}
	for _, u := range f.Sessions.Ended {
		delete(staged, u.Session)
	}
	for id := range staged {
		w.fault("the staged content %s has no task", id)
	}
}

// hash reads a content that was not read before. It tells whether it is there.
func (w *docTorture) hash(digest string) bool {
	path := w.content(digest)
	fi, err := os.Stat(path)
	if old := w.hashed[digest]; err == nil && old != nil && os.SameFile(old, fi) && old.ModTime().Equal(fi.ModTime()) {
		return true
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	require.NoError(w.t, err)
	if digestOf(b) != digest {
		w.fault("the content %s has the digest %s", digest, digestOf(b))
	}
	w.hashed[digest] = fi
	w.tell(func(n *docTally) { n.Hashed++ })
	return true
}

// checkStarted requires that a start has done what the kill before it cut short.
func (w *docTorture) checkStarted() {
	w.t.Helper()
	_, f := w.replay(w.s.client()...)
	staged := w.staged()
	for _, u := range f.Sessions.Uploads {
		delete(staged, u.Session)
		if u.State != "open" {
			w.fault("the task %s is %s still", u.Session, u.State)
		}
	}
	for id := range staged {
		w.fault("the staged content %s has no task that lives", id)
	}
	if orphans := w.names(filepath.Join(w.s.state, "objects", ".waybill", "*", "orphans")); len(orphans) > 0 {
		w.fault("orphans: %v", orphans)
	}
}

// check holds everything against everything at the end, then takes everything
// away: nothing must be left.
func (w *docTorture) check() {
	t := w.t
	if len(w.faults()) > 0 {
		return // what follows would only fail
	}
	var f folded
	settled := func() bool {
		_, f = w.replay(w.s.client()...)
		return assert.ObjectsAreEqual(f.named(), f.Library.Contents) && assert.ObjectsAreEqual(w.contents(), f.Library.Contents)
	}
	eventually(t, "the store has what is named and nothing else", func() bool {
		if !settled() {
			return false
		}
		for digest := range f.Library.Contents {
			if !w.hash(digest) { // the recycle bin is emptied meanwhile
				return false
			}
		}
		return true
	})
	assert.NotEmpty(t, f.Library.Contents)
	assert.Empty(t, w.staged(), "nothing is being written any more; the tasks are %+v", f.Sessions.Uploads)

	c := w.clerk()
	require.NoError(t, w.bin(0))
	for n := range librarians {
		action := []string{"delete", "permanently_delete"}[n%2]
		require.NoError(t, c.call("operateDir", fields{"dir_id": newLibrarian(w, n).dir, "action": action}, nil))
	}
	eventually(t, "everything is gone", func() bool { return settled() && len(f.Library.Tree.Nodes) == 0 })
	assert.Empty(t, w.contents())
	f = w.checkReplay()
	assert.Empty(t, cmp.Or(len(f.Library.Contents), len(f.Library.Dropped), len(f.named())), "a clean stop leaves nothing to be done")
	w.count.Records = f.Records
}
