package main

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// taskTold is what the answer to a transfer of a file task says.
type taskTold struct {
	// durable is how many bytes are said to be, -1 if nothing is said.
	durable int64
	// published is what a content that is complete has become.
	published *publishedReply
	// refused: the use of the task is one that has failed.
	refused bool
}

// documents checks every effect on the contents of documents against the order
// of CFMS.md §8.
func (c *checker) documents() {
	begun := make(map[string]bool)
	for _, f := range c.records {
		path := c.library.staged(f.Body.Session)
		if f.began == before {
			continue
		}
		switch f.Kind {
		case "upload.stored":
			if c.isTask(f.Body.Session) {
				c.storing(f, path)
				if !begun[path] {
					c.staged(f, path, "first bytes of task")
				}
				begun[path] = true
			}
		case "upload.published":
			c.publication(f)
		case "daemon.stopped":
			c.foundGone(f)
		}
	}
	for path, writes := range c.writes {
		if filepath.Dir(path) == c.library.staging {
			for _, w := range writes {
				c.lettingGo(path, w.Range, w.enter, "writing")
			}
		}
	}
	for path, cuts := range c.sized {
		if filepath.Dir(path) == c.library.staging {
			for _, s := range cuts {
				c.lettingGo(path, sessions.Range{s.int(1), math.MaxInt64}, s.enter, "cutting")
			}
		}
	}
	for _, r := range c.dropped {
		c.dropping(r)
	}
}

// isTask tells a session whose bytes go to the library.
func (c *checker) isTask(session string) bool {
	path := c.library.staged(session)
	return c.made[path] != nil || c.writes[path] != nil
}

// storing requires that the bytes which a record counts were written, and synced
// before it was begun.
func (c *checker) storing(f *fact, path string) {
	c.checked["stored facts"]++
	var written sessions.Set
	counts := sessions.SetOf(f.Body.Ranges...)
	for _, w := range c.writes[path] {
		if w.exit < f.began && len(counts.Overlap(w.Range)) > 0 {
			written.Add(w.Range)
			c.syncedWithin(unsyncedBytes, path, w.exit, f.began, "record %d of %v of %s", f.Seq, f.Body.Ranges, f.Body.Session)
		}
	}
	for _, r := range f.Body.Ranges {
		if !written.Contains(r) {
			c.add(disorder, "record %d counts %v of %s, which was not written", f.Seq, r, f.Body.Session)
		}
	}
}

// lettingGo requires that bytes which a record counts are let go by another one
// before they are changed or cut off.
func (c *checker) lettingGo(path string, r sessions.Range, at int, what string) {
	id := filepath.Base(path)
	var counted *fact
	for _, f := range c.records {
		if f.Kind == "upload.stored" && f.Body.Session == id && f.began < at && len(sessions.SetOf(f.Body.Ranges...).Overlap(r)) > 0 {
			counted = f
		}
	}
	if counted == nil {
		return
	}
	c.checked["bytes let go"]++
	c.committed(c.find(func(f *fact) bool {
		return f.Kind == "upload.truncated" && f.Body.Session == id && f.Seq > counted.Seq && f.Body.Size <= r[0]
	}), at, "%s of bytes %v of %s that record %d counts", what, r, id, counted.Seq)
}

// publication requires of a content that was in the store already, put there by a
// daemon that was killed, that its entry is made durable all the same. The
// others are seen to by placing.
func (c *checker) publication(f *fact) {
	c.checked["publications"]++
	sealed := c.find(func(s *fact) bool { return s.Kind == "upload.sealed" && s.Body.Session == f.Body.Session })
	switch {
	case sealed == nil:
		// Verified by a daemon before this one: its digest is in the other half of
		// the same decision.
		sealed = c.revision(f.Body.Revision)
	case sealed.began > f.began:
		c.add(disorder, "record %d publishes %s, which record %d verifies", f.Seq, f.Body.Session, sealed.Seq)
	}
	if sealed == nil {
		c.add(disorder, "record %d publishes %s, and there is no revision", f.Seq, f.Body.Session)
	} else if !slices.Contains(builtins, sealed.Body.Digest) {
		c.foundPlaced(f, c.content(sealed.Body.Digest))
	}
}

func (c *checker) revision(id string) *fact {
	return c.find(func(f *fact) bool { return f.Kind == "revision.published" && f.Body.Revision == id })
}

// dropping requires that a content goes only after the record that says so, which
// is newer than whatever has stored it, and that it is gone for good before the
// daemon says that it has left nothing to be done again.
func (c *checker) dropping(r removal) {
	c.checked["dropped contents"]++
	digest := filepath.Base(r.path)
	var stored uint64
	for _, m := range c.placed {
		if m.to != r.path || m.exit > r.enter {
			continue
		}
		if sealed := c.find(func(f *fact) bool {
			return f.Kind == "upload.sealed" && f.Body.Session == filepath.Base(m.from)
		}); sealed != nil {
			stored = max(stored, sealed.Seq)
		}
	}
	c.committed(c.find(func(f *fact) bool {
		return f.Kind == "object.dropped" && f.Body.SHA256 == digest && f.Seq >= stored
	}), r.enter, "removal of the content %s", digest)
	stopped := never
	if f := c.find(func(f *fact) bool { return f.Kind == "daemon.stopped" && f.began > r.exit }); f != nil {
		stopped = f.began
	}
	c.syncedWithin(unsyncedDir, filepath.Dir(r.path), r.exit, stopped, "removal of the content %s", digest)
}

// foundGone requires of the content that a daemon which was killed was about to
// remove, and that is gone, that it is gone for good all the same.
func (c *checker) foundGone(stopped *fact) {
	var dropped *fact
	for _, f := range c.records {
		if f.Kind == "object.dropped" && f.began == before {
			dropped = f
		}
	}
	if dropped == nil {
		return
	}
	path := c.content(dropped.Body.SHA256)
	if !slices.ContainsFunc(c.dropped, func(r removal) bool { return r.path == path }) {
		c.checked["found gone"]++
		c.syncedWithin(unsyncedDir, filepath.Dir(path), 0, stopped.began, "the content %s, found gone", dropped.Body.SHA256)
	}
}

// request requires that the record of a request and all that it has led to are
// one commit.
func (c *checker) request(a *ack, reply int) {
	durable := 0
	for _, f := range c.records {
		if f.Ref != a.key {
			continue
		}
		c.checked["facts of requests"]++
		c.committed(f, reply, "reply to %s %s", a.action, a.key)
		if durable != 0 && f.durable != durable {
			c.add(disorder, "record %d of %s %s is durable at %s, the first at %s",
				f.Seq, a.action, a.key, lineOf(f.durable), lineOf(durable))
		}
		durable = f.durable
	}
}

// transfer requires of an answer to a transfer that what it says is durable: the
// bytes it brought, those that are said to be there, and the revision that they
// have become.
func (c *checker) transfer(a *ack, reply int) {
	if a.Range.Len() > 0 {
		c.checked["transfers"]++
		c.chunk(a, c.library.staged(a.session), reply)
	}
	if a.task.durable >= 0 {
		c.checked["offsets"]++
		c.counted(a.session, a.task.durable, reply)
	}
	if p := a.task.published; p != nil {
		c.checked["published"]++
		c.committed(c.find(func(f *fact) bool {
			return f.Kind == "upload.published" && f.Body.Session == a.session && f.Body.Revision == p.Revision
		}), reply, "end of %s", a.session)
		c.committed(c.revision(p.Revision), reply, "revision of %s", a.session)
		stored := slices.ContainsFunc(c.placed, func(m move) bool {
			return filepath.Base(m.from) == a.session && m.to == c.content(p.SHA256) && m.exit < reply
		})
		if stored == slices.Contains(builtins, p.SHA256) {
			c.add(disorder, "end of %s: that %s is in the store is %v", a.session, p.SHA256, stored)
		}
	}
	if a.task.refused {
		c.checked["refusals"]++
		after := c.replies[a.after]
		c.committed(c.find(func(f *fact) bool {
			return f.Kind == "action.refused" && f.Ref == a.session && f.began > after
		}), reply, "refusal of %s", a.session)
	}
}

// countedBytes is how far from the start the bytes of an upload reached that were
// durable, by records that were, at a place in the trace; and the last of these.
func (c *checker) countedBytes(session string, at int) (n int64, last *fact) {
	var set sessions.Set
	for _, f := range c.records {
		if f.Body.Session != session || f.durable >= at {
			continue
		}
		switch f.Kind {
		case "upload.stored":
			for _, r := range f.Body.Ranges {
				set.Add(r)
			}
			last = f
		case "upload.truncated":
			set.Remove(sessions.Range{f.Body.Size, math.MaxInt64})
			last = f
		}
	}
	return set.Prefix(), last
}

// observeDocuments runs the errand of the library on a traced daemon.
func observeDocuments(t *testing.T, long bool, program string, env ...string) (*ledger, []ack) {
	t.Helper()
	s := serveIn(t, placeOfOrder(t, program, env), "--purge-interval", "100ms")
	s.stop()
	e := &docErrand{errand: errand{s: s, token: tokenOf(t, s)}, long: long}
	l := trace(t, s, program, env, func() { require.NoError(t, e.run()) })
	return l, e.acks
}

// TestOrderDocuments is TestOrder for the library: nothing that it says or does
// comes before what it rests on is on disk.
func TestOrderDocuments(t *testing.T) {
	needStrace(t)
	t.Parallel()
	l, acks := observeDocuments(t, true, binary)
	found, checked := l.breaches(acks)
	assert.Empty(t, found)
	t.Logf("checked %v", checked)
	for what, least := range map[string]int{
		"records by ref": 80, "facts of requests": 190, "transfers": 44, "offsets": 60, "published": 22, "refusals": 7,
		"stored facts": 46, "staged files": 25, "bytes let go": 6, "placed contents": 20, "new parents": 15, "publications": 22,
		"dropped contents": 5, "removals": 5,
	} {
		assert.GreaterOrEqual(t, checked[what], least, what)
	}
}

// TestOrderOfDocumentRecovery kills a daemon before and after a content comes
// into the store, and before one goes, and reads the order in which the next one
// does the rest.
func TestOrderOfDocumentRecovery(t *testing.T) {
	needStrace(t)
	t.Parallel()
	data := noise(1, 20_000)
	for _, c := range []struct {
		name, call string
		purge      bool
		broken     string
		kind       breachKind
	}{
		{name: "killed before the rename", call: "renameat"},
		{name: "killed after the rename", call: "fsync"},
		{name: "killed after the rename/without target.sync", call: "fsync", broken: "target.sync", kind: unsyncedDir},
		{name: "killed before the removal", call: "unlinkat", purge: true},
		{name: "killed before the removal/without content.sync", call: "unlinkat", purge: true, broken: "content.sync", kind: unsyncedDir},
		{name: "killed after the removal", call: "fsync", purge: true},
		{name: "killed after the removal/without content.sync", call: "fsync", purge: true, broken: "content.sync", kind: unsyncedDir},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := binary
			if c.broken != "" {
				needControls(t)
				program = brokenBuild(t)
			}
			s := serve(t)
			e := &docErrand{errand: errand{s: s, token: tokenOf(t, s)}}
			store := func(r *carrier) error {
				k, err := r.create("doc")
				if err == nil {
					err = r.put(k, data)
				}
				return err
			}
			do := store
			if c.purge {
				require.NoError(t, e.part(store))
				do = func(r *carrier) error { return r.operate("doc", "permanently_delete") }
			}
			s.stop()
			content := filepath.Join(s.state, "objects", digestOf(data)[:2], digestOf(data))
			// The first such call on the shelf is its last.
			s.begin(clean(), "strace", "-D", "-f", "-qq", "-o", os.DevNull, "-P", filepath.Dir(content),
				"-e", "trace="+c.call, "-e", "inject="+c.call+":signal=SIGKILL:when=1", binary)
			s.await()
			if err := e.part(do); !c.purge || err != nil { // the content goes once it is answered
				require.ErrorIs(t, err, errLost)
			}
			require.Equal(t, -int(syscall.SIGKILL), s.p.wait())
			assert.Equal(t, (c.call == "fsync") != c.purge, exists(content))

			l := trace(t, s, program, []string{"WAYBILL_BROKEN=" + c.broken}, func() {
				assert.Equal(t, !c.purge, exists(content), "when the daemon serves")
			})
			found, checked := l.breaches(nil)
			t.Logf("checked %v", checked)
			if c.purge {
				assert.Equal(t, 1, checked["dropped contents"]+checked["found gone"])
			} else {
				assert.Equal(t, 1, checked["publications"])
				assert.Equal(t, 1, checked["placed contents"]+checked["found in place"])
			}
			if c.broken == "" {
				assert.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			for _, b := range found {
				assert.Equal(t, c.kind, b.kind, b)
			}
		})
	}
}

// TestOrderOfALengthCutDown completes a content without a further byte, after a
// kill has left bytes behind it that nobody counts: that they are cut off is
// synced too, or the file that is put in place may come back with them.
func TestOrderOfALengthCutDown(t *testing.T) {
	needStrace(t)
	t.Parallel()
	s := serve(t)
	data := noise(1, 15_000)
	var k task
	begin := func() error {
		clerk, err := dialClerk(s.addr, "", tokenOf(t, s))
		if err != nil {
			return err
		}
		defer clerk.close()
		k, err = clerk.task("createFile", fields{"file_id": "doc"})
		return err
	}
	require.NoError(t, begin())
	porter := &porter{addr: s.addr}
	defer porter.close()
	_, err := porter.do("PATCH", k, at(0, false), data[:10_000])
	require.NoError(t, err)
	require.NoError(t, porter.send("PATCH", k, at(10_000, false), data[10_000:], 2*len(data)))
	staged, err := filepath.Glob(filepath.Join(s.state, "objects", ".waybill", "*", "staging", k.session()))
	require.NoError(t, err)
	require.Len(t, staged, 1)
	eventually(t, "the bytes come", func() bool {
		fi, err := os.Stat(staged[0])
		return err == nil && fi.Size() == int64(len(data))
	})
	s.kill()
	porter.close()

	e := &docErrand{errand: errand{s: s, token: tokenOf(t, s)}}
	l := trace(t, s, binary, nil, func() {
		require.NoError(t, e.part(func(c *carrier) error {
			r, err := c.head(k)
			if err != nil {
				return err
			}
			return c.whole("PATCH", k, at(r.offset(), true), r.offset(), data[:r.offset()])
		}))
	})
	assert.Len(t, l.sized[staged[0]], 1)
	found, checked := l.breaches(e.acks)
	assert.Empty(t, found)
	assert.Equal(t, 1, checked["placed contents"])
}

// TestOrderDocumentsCatches runs the errand of the library on builds that leave
// something out: each must be caught, and for what it left out only.
func TestOrderDocumentsCatches(t *testing.T) {
	needStrace(t)
	needControls(t)
	t.Parallel()
	program := brokenBuild(t)
	for broken, kind := range map[string]breachKind{
		"data":         unsyncedBytes,
		"dir":          unsyncedDir,
		"reply":        uncommitted,
		"staged.sync":  unsyncedBytes,
		"staging.sync": unsyncedDir,
		"parent.sync":  unsyncedDir,
		"target.sync":  unsyncedDir,
		"content.sync": unsyncedDir,
		"":             "",
	} {
		t.Run("without "+cmp.Or(broken, "nothing"), func(t *testing.T) {
			l, acks := observeDocuments(t, false, program, "WAYBILL_BROKEN="+broken)
			found, _ := l.breaches(acks)
			if broken == "" {
				assert.Empty(t, found, "nothing is left out, and all is well")
				return
			}
			require.NotEmpty(t, found, "the order test is blind to it")
			t.Logf("%d breaches, such as %s", len(found), found[0])
			for _, b := range found {
				assert.Equal(t, kind, b.kind, b)
			}
		})
	}
}
