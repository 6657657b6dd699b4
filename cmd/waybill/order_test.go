package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// breach is a promise about order that a trace shows broken.
type breach struct {
	kind breachKind
	what string
}

func (b breach) String() string { return string(b.kind) + ": " + b.what }

type breachKind string

const (
	// Bytes counted, or were answered for, that were not synced.
	unsyncedBytes breachKind = "bytes not synced"
	// An entry counted, or was answered for, whose directory was not synced.
	unsyncedDir breachKind = "directory not synced"
	// An answer left, or an effect began, before its record was committed.
	uncommitted breachKind = "record not committed"
	// The journal's own order, or something that is not in the trace at all.
	disorder breachKind = "disorder"
)

// ack is an answer that a peer got, and what it asked.
type ack struct {
	key    string // ackKey of the answer
	action string // "" for one whose record cannot be told by its ref
	async  bool

	session string // of a chunk, also of a queued one
	sessions.Range
	done bool
	// after is the key of an answer before which the bytes of this chunk
	// cannot have been written: that to an earlier chunk for the same range.
	// rewrites tells that the chunk changed them, again that it did not.
	after           string
	rewrites, again bool

	job string // of an async action

	// document: of the library, whose every request is one commit. task is what
	// a transfer of a file task was told, of session and Range.
	document bool
	task     *taskTold
	// web is what a request of /upload or /tus was told, of session and Range.
	web *webTold
}

// breaches checks every acknowledgement, and every effect in the trace
// whoever asked for it, against the order of DESIGN.md §4. No breach and
// nothing checked would look alike, so it also counts what it has checked.
func (l *ledger) breaches(acks []ack) (found []breach, checked map[string]int) {
	c := l.check(acks)
	return c.found, c.checked
}

func (l *ledger) check(acks []ack) *checker {
	c := &checker{ledger: l, checked: make(map[string]int)}
	for _, torn := range l.torn {
		c.found = append(c.found, breach{disorder, torn})
	}
	for i := range acks {
		c.ack(&acks[i])
	}
	for _, f := range l.records {
		if f.began == before {
			continue
		}
		switch f.Kind {
		case "upload.stored", "upload.sealed":
			c.staged(f, c.tree.staged(f.Body.Session), f.Kind)
		case "job.queued":
			if f.Body.Action == "file_upload_chunk" {
				c.staged(f, c.tree.staged(f.Body.Job), "queued chunk")
			}
		case "upload.placed":
			c.foundPlaced(f, filepath.Join(c.tree.root, f.Body.Path))
		}
	}
	for _, m := range l.placed {
		c.placing(m)
	}
	for _, r := range l.removed {
		c.removal(r)
	}
	c.documents()
	return c
}

type checker struct {
	*ledger
	found   []breach
	checked map[string]int
	// relied are the records that had to be committed, and since when.
	relied []reliance
}

// reliance is that something which happens at a place in the trace relies on a
// record.
type reliance struct {
	at  int
	seq uint64
}

func (c *checker) add(kind breachKind, format string, args ...any) {
	c.found = append(c.found, breach{kind, fmt.Sprintf(format, args...)})
}

// committed requires a record to have been durable at a place in the trace.
func (c *checker) committed(f *fact, at int, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if f != nil {
		c.relied = append(c.relied, reliance{at, f.Seq})
	}
	switch {
	case f == nil:
		c.add(uncommitted, "%s: there is no record", what)
	case f.durable >= at:
		c.add(uncommitted, "%s at %d: record %d (%s) was durable at %s", what, at, f.Seq, f.Kind, lineOf(f.durable))
	}
}

// syncedWithin requires what happened to path by after to be durable by until.
func (c *checker) syncedWithin(kind breachKind, path string, after, until int, format string, args ...any) {
	if at := c.synced(path, after); at >= until {
		c.add(kind, "%s: %s was to be synced between %d and %s, and is at %s",
			fmt.Sprintf(format, args...), strings.TrimPrefix(path, filepath.Dir(c.tree.root)), after, lineOf(until), lineOf(at))
	}
}

// lineOf names a place in the trace.
func lineOf(place int) string {
	if place == never {
		return "no time"
	}
	return strconv.Itoa(place)
}

func (c *checker) ack(a *ack) {
	reply, ok := c.replies[a.key]
	if !ok {
		c.add(disorder, "the reply %s is not in the trace", a.key)
		return
	}
	chunk := a.session != "" && !a.async && a.task == nil && a.web == nil
	if a.action != "" && (!chunk || a.again) {
		c.checked["records by ref"]++
		c.committed(c.find(func(f *fact) bool { return f.Ref == a.key }), reply, "reply to %s %s", a.action, a.key)
	}
	switch {
	case a.document:
		c.request(a, reply)
	case a.task != nil:
		c.transfer(a, reply)
	case a.web != nil:
		c.asked(a, reply)
	case chunk && !a.again:
		c.checked["chunks"]++
		c.chunk(a, c.tree.staged(a.session), reply)
	case a.async:
		c.checked["async"]++
		c.job(a, reply)
	}
	if a.done {
		c.checked["done"]++
		isDone := func(f *fact) bool { return f.Kind == "upload.placed" && f.Body.Session == a.session }
		c.committed(c.find(isDone), reply, "done of %s", a.session)
		if !slices.ContainsFunc(c.placed, func(m move) bool { return filepath.Base(m.from) == a.session && m.exit < reply }) {
			c.add(disorder, "done of %s: it was not renamed before", a.session)
		}
	}
}

// chunk requires that a chunk's bytes were synced before the record that
// names them was begun, and that it was committed before the reply.
func (c *checker) chunk(a *ack, path string, reply int) {
	after := 0
	if a.after != "" {
		after = c.replies[a.after]
	}
	var mine []span
	var written sessions.Set
	for _, w := range c.writes[path] {
		if w.enter > after && w.enter < reply && w.Range[0] < a.Range[1] && w.Range[1] > a.Range[0] {
			mine = append(mine, w)
			written.Add(w.Range)
		}
	}
	if len(mine) == 0 || !a.rewrites && !written.Contains(a.Range) {
		c.add(disorder, "chunk %v of %s was answered and not written", a.Range, a.session)
		return
	}
	for _, w := range mine {
		if a.rewrites {
			c.checked["rewrites"]++
			c.committed(c.find(func(f *fact) bool {
				return f.Kind == "upload.unstored" && f.Body.Session == a.session && f.began > after && f.covers(w.Range)
			}), w.enter, "rewriting of %v of %s", w.Range, a.session)
		}
		// A transfer of any length is made durable bit by bit, so each write has
		// a record of its own to wait for.
		stored := c.stored(a.session, w)
		c.committed(stored, reply, "reply to chunk %v of %s", a.Range, a.session)
		counts := reply
		if stored != nil {
			counts = min(counts, stored.began)
		}
		c.syncedWithin(unsyncedBytes, path, w.exit, counts, "chunk %v of %s", a.Range, a.session)
	}
}

// stored returns the first record that names what a write has written.
func (c *checker) stored(session string, w span) *fact {
	return c.find(func(f *fact) bool {
		return f.Kind == "upload.stored" && f.Body.Session == session && f.began > w.exit && f.covers(w.Range)
	})
}

// job requires that a queued action was durable before it was accepted, was
// claimed before it began, and had ended in effect when it ended in the
// journal.
func (c *checker) job(a *ack, reply int) {
	of := func(kind string) *fact {
		return c.find(func(f *fact) bool { return f.Kind == kind && f.Body.Job == a.job })
	}
	c.committed(of("job.queued"), reply, "acceptance of %s %s", a.action, a.job)
	claimed, done := of("job.claimed"), of("job.done")
	if claimed == nil || done == nil {
		c.add(disorder, "job %s (%s) was not claimed and done", a.job, a.action)
		return
	}
	if a.session == "" {
		if made := c.made[c.tree.staged(a.job)]; made != nil {
			c.committed(claimed, made.enter, "start of job %s", a.job)
		}
		return
	}
	for _, w := range c.writes[c.tree.staged(a.session)] {
		if w.Range[0] >= a.Range[0] && w.Range[1] <= a.Range[1] {
			c.committed(claimed, w.enter, "start of job %s", a.job)
			c.committed(c.stored(a.session, w), done.began, "end of job %s", a.job)
		}
	}
}

// staged requires that the file, its length and bytes it was given at once,
// and its entry were durable before the record that relies on them was begun.
func (c *checker) staged(f *fact, path, what string) {
	id, made := filepath.Base(path), c.made[path]
	if made == nil {
		return // before the trace began
	}
	c.checked["staged files"]++
	c.syncedWithin(unsyncedDir, filepath.Dir(path), made.exit, f.began, "%s %s", what, id)
	last := made.exit
	for _, s := range c.sized[path] {
		if s.exit < f.began {
			last = max(last, s.exit)
		}
	}
	if f.Kind == "job.queued" {
		for _, w := range c.writes[path] {
			last = max(last, w.exit)
		}
	}
	c.syncedWithin(unsyncedBytes, path, last, f.began, "%s %s", what, id)
}

// placing requires, of every file that was put in place: verified and
// recorded before, every byte synced before; then the entry durable, and
// those of new parents, before the record that says so is begun.
func (c *checker) placing(m move) {
	id := filepath.Base(m.from)
	of := func(kind string) *fact {
		return c.find(func(f *fact) bool { return f.Kind == kind && f.Body.Session == id })
	}
	what, in, placed := "placed files", c.tree, of("upload.placed")
	if filepath.Dir(m.from) == c.library.staging {
		what, in, placed = "placed contents", c.library, of("upload.published")
	}
	c.checked[what]++
	c.committed(of("upload.sealed"), m.enter, "rename of %s", id)
	for _, w := range c.writes[m.from] {
		c.syncedWithin(unsyncedBytes, m.from, w.exit, m.enter, "rename of %s", id)
	}
	for _, s := range c.sized[m.from] {
		c.syncedWithin(unsyncedBytes, m.from, s.exit, m.enter, "rename of %s, whose length was set", id)
	}
	if placed == nil && in == c.library && (of("upload.cancelled") != nil || of("upload.rejected") != nil) {
		return // nothing has come to rely on it
	}
	if placed == nil {
		c.add(uncommitted, "rename of %s: there is no record of it", id)
		return
	}
	c.syncedWithin(unsyncedDir, filepath.Dir(m.to), m.exit, placed.began, "%s in place", id)
	for dir := filepath.Dir(m.to); strings.HasPrefix(dir, in.root); dir = filepath.Dir(dir) {
		if made := c.made[dir]; made != nil && made.exit < placed.began {
			c.checked["new parents"]++
			c.syncedWithin(unsyncedDir, filepath.Dir(dir), made.exit, placed.began, "parent %s of %s", dir, id)
		}
	}
}

// foundPlaced requires of a file that was in place already, put there by a
// daemon that was killed, that its entry is made durable all the same.
func (c *checker) foundPlaced(f *fact, path string) {
	if slices.ContainsFunc(c.placed, func(m move) bool { return filepath.Base(m.from) == f.Body.Session }) {
		return
	}
	c.checked["found in place"]++
	c.syncedWithin(unsyncedDir, filepath.Dir(path), 0, f.began, "%s found in place", f.Body.Session)
}

// removal requires that staged bytes go only after the record that lets them
// go.
func (c *checker) removal(r removal) {
	c.checked["removals"]++
	id := filepath.Base(r.path)
	ends := []string{"upload.cancelled", "upload.rejected", "upload.expired", "job.done", "job.failed", "job.poisoned"}
	c.committed(c.find(func(f *fact) bool {
		// What every daemon carries in itself is not stored.
		builtin := f.Kind == "upload.sealed" && slices.Contains(builtins, f.Body.Digest)
		return (builtin || slices.Contains(ends, f.Kind)) && (f.Body.Session == id || f.Body.Job == id)
	}), r.enter, "removal of %s", id)
}

// errand is a workload over real connections that keeps every answer.
type errand struct {
	s     *server
	token string

	mu   sync.Mutex
	acks []ack // guarded by mu
}

func (e *errand) got(a ack) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acks = append(e.acks, a)
}

// ask asks for an action that has its record under its id.
func (e *errand) ask(p *panel, action string, params, into any) error {
	w, err := p.ask(action, params)
	if err != nil {
		return err
	}
	err = w.into(into)
	if !errors.Is(err, errLost) {
		e.got(ack{key: w.id, action: action})
	}
	return err
}

type uploadParams struct {
	Path    string `json:"path,omitempty"`
	Size    int    `json:"size"`
	SHA1    string `json:"sha1,omitempty"`
	Timeout int    `json:"timeout,omitempty"`
}

func (e *errand) open(p *panel, path string, data []byte) (string, error) {
	var opened fileReply
	err := e.ask(p, "file_upload_request", uploadParams{Path: path, Size: len(data), SHA1: sumOfBytes(data)}, &opened)
	return opened.File, err
}

// sending sends one chunk and returns how to wait for its answer.
type sending func(p *panel, file string, r sessions.Range, data []byte) (pending, error)

func asPacket(p *panel, file string, r sessions.Range, data []byte) (pending, error) {
	return p.askChunk("file_upload_chunk", file, r[0], data)
}

func asText(p *panel, file string, r sessions.Range, data []byte) (pending, error) {
	id, err := sessions.ParseID(file)
	if err != nil {
		return pending{}, err
	}
	ref := freshID()
	ch, err := p.send(ref, websocket.MessageText, panelwire.AppendChunkRequest(nil, ref, id, r[0], data))
	return pending{ref, ch}, err
}

// put stores data in pieces, at most window of them in flight, in an order
// drawn from rng if it is not nil.
func (e *errand) put(p *panel, path string, data []byte, piece, window int, send sending, rng *rand.Rand) error {
	file, err := e.open(p, path, data)
	if err != nil {
		return err
	}
	ranges := pieces(len(data), piece)
	if rng != nil {
		rng.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
	}
	type flight struct {
		pending
		sessions.Range
	}
	var flying []flight
	done := false
	for len(ranges)+len(flying) > 0 {
		if len(ranges) > 0 && len(flying) < window {
			r := ranges[0]
			ranges = ranges[1:]
			w, err := send(p, file, r, data[r[0]:r[1]])
			if err != nil {
				return err
			}
			flying = append(flying, flight{w, r})
			continue
		}
		var stored storedReply
		if err := flying[0].into(&stored); err != nil {
			return err
		}
		e.got(ack{key: flying[0].id, action: "file_upload_chunk", session: file, Range: flying[0].Range, done: stored.Done})
		done = done || stored.Done
		flying = flying[1:]
	}
	if !done {
		return fmt.Errorf("%s: nobody was told that it is done", path)
	}
	return nil
}

func pieces(size, piece int) (ranges []sessions.Range) {
	for at := 0; at < size; at += piece {
		ranges = append(ranges, sessions.Range{int64(at), int64(min(at+piece, size))})
	}
	return ranges
}

// putFrames stores data by upload frames, one in flight.
func (e *errand) putFrames(p *panel, data []byte, piece int) error {
	file, err := e.open(p, "", data)
	if err != nil {
		return err
	}
	id, err := sessions.ParseID(file)
	if err != nil {
		return err
	}
	for _, r := range pieces(len(data), piece) {
		ch, err := p.send(frameKey(file), websocket.MessageBinary, panelwire.AppendUploadFrame(nil, id, r[0], data[r[0]:r[1]]))
		if err != nil {
			return err
		}
		msg, ok := <-ch
		if !ok {
			return errLost
		}
		var stored storedReply
		if err := json.Unmarshal(msg, &stored); err != nil || stored.Received != r[1] {
			return fmt.Errorf("frame at %d: %s", r[0], msg)
		}
		e.got(ack{key: ackKey(msg), session: file, Range: r, done: stored.Done})
	}
	return nil
}

// putEcho stores data as an old panel does: echo envelope, base64, one in
// flight.
func (e *errand) putEcho(p *panel, path string, data []byte, piece int) error {
	file, err := e.open(p, path, data)
	if err != nil {
		return err
	}
	for _, r := range pieces(len(data), piece) {
		echo := `"` + freshID() + `"`
		msg := fmt.Sprintf(`{"action":"file_upload_chunk","echo":%s,"params":{"file_id":%q,"offset":%d,"encoding":"base64","data":%q}}`,
			echo, file, r[0], base64.StdEncoding.EncodeToString(data[r[0]:r[1]]))
		ch, err := p.send(echo, websocket.MessageText, []byte(msg))
		if err != nil {
			return err
		}
		var stored storedReply
		if err := (pending{echo, ch}).into(&stored); err != nil {
			return err
		}
		e.got(ack{key: echo, session: file, Range: r, done: stored.Done})
	}
	return nil
}

// putQueued stores data by asynchronous actions alone.
func (e *errand) putQueued(p *panel, path string, data []byte, piece int) error {
	job := func(w pending, session string, r sessions.Range) (string, error) {
		var queued queuedReply
		err := w.into(&queued)
		if err == nil {
			action := "file_upload_request"
			if session != "" {
				action = "file_upload_chunk"
			}
			e.got(ack{key: w.id, action: action, async: true, session: session, Range: r, job: queued.Job})
		}
		return queued.Job, err
	}
	w, err := p.ask("file_upload_request_async", uploadParams{Path: path, Size: len(data)})
	if err != nil {
		return err
	}
	id, err := job(w, "", sessions.Range{})
	if err != nil {
		return err
	}
	var opened fileReply
	if err := e.jobEnds(p, id, &opened); err != nil {
		return err
	}
	ranges := pieces(len(data), piece)
	var flying []pending
	for _, r := range ranges {
		w, err := p.askChunk("file_upload_chunk_async", opened.File, r[0], data[r[0]:r[1]])
		if err != nil {
			return err
		}
		flying = append(flying, w)
	}
	var last string
	for i, w := range flying {
		if last, err = job(w, opened.File, ranges[i]); err != nil {
			return err
		}
	}
	var stored storedReply
	if err := e.jobEnds(p, last, &stored); err != nil || !stored.Done {
		return fmt.Errorf("%s: the last chunk answers %+v: %w", path, stored, err)
	}
	return nil
}

// jobEnds asks for a job until it has ended well.
func (e *errand) jobEnds(p *panel, id string, into any) error {
	for {
		var st jobReply
		if err := e.ask(p, "get_job", queuedReply{id}, &st); err != nil {
			return err
		}
		switch st.State {
		case "ok":
			return json.Unmarshal(st.Data, into)
		case "error":
			return fmt.Errorf("job %s: %d %s", id, st.Retcode, st.Message)
		}
	}
}

// refused asks for what must be refused with a code.
func (e *errand) refused(p *panel, action string, params any, code actions.Code) error {
	err := e.ask(p, action, params, nil)
	if actions.CodeOf(err) != code {
		return fmt.Errorf("%s answers %v and not %s", action, err, code)
	}
	return nil
}

// odds are the requests that are not plain uploads, one after the other.
func (e *errand) odds(p *panel) error {
	data := noise(9, 30_000)
	// Bytes that replace others, and the same again.
	file, err := e.open(p, "rewritten", data)
	if err != nil {
		return err
	}
	first := sessions.Range{0, 12_000}
	var before string
	for i, content := range [][]byte{bytes.Repeat([]byte{0xee}, 12_000), data[:12_000], data[:12_000]} {
		w, err := asPacket(p, file, first, content)
		if err != nil {
			return err
		}
		if err := w.into(nil); err != nil {
			return err
		}
		e.got(ack{key: w.id, action: "file_upload_chunk", session: file, Range: first, after: before, rewrites: i == 1, again: i == 2})
		before = w.id
	}
	if err := e.ask(p, "file_upload_status", chunkParams{File: file}, nil); err != nil {
		return err
	}
	rest := sessions.Range{12_000, 30_000}
	w, err := asText(p, file, rest, data[rest[0]:])
	if err != nil {
		return err
	}
	if err := w.into(nil); err != nil {
		return err
	}
	e.got(ack{key: w.id, action: "file_upload_chunk", session: file, Range: rest, done: true})

	// One that is given up, and one that is not what it should be.
	if file, err = e.open(p, "cancelled", data); err != nil {
		return err
	}
	if w, err = asPacket(p, file, first, data[:12_000]); err != nil {
		return err
	}
	if err := w.into(nil); err != nil {
		return err
	}
	e.got(ack{key: w.id, action: "file_upload_chunk", session: file, Range: first})
	if err := e.ask(p, "file_upload_cancel", fileReply{file}, nil); err != nil {
		return err
	}
	var opened fileReply
	if err := e.ask(p, "file_upload_request", uploadParams{Path: "mistaken", Size: 10, SHA1: sumOfBytes(data)}, &opened); err != nil {
		return err
	}
	if w, err = asPacket(p, opened.File, sessions.Range{0, 10}, data[:10]); err != nil {
		return err
	}
	if err := w.into(nil); actions.CodeOf(err) != actions.CodeTransfer {
		return fmt.Errorf("a wrong digest answers %w", err)
	}
	e.got(ack{key: w.id, action: "file_upload_chunk"}) // its record is the refusal

	// Reading: answers wait for their records as well.
	var down struct {
		File string `json:"file_id"`
	}
	if err := e.ask(p, "file_download_request", fileParams{"rewritten"}, &down); err != nil {
		return err
	}
	if err := p.call("file_download_chunk", map[string]string{"file_id": down.File, "range": "0..30000"}, nil); err != nil {
		return err
	}
	for _, ask := range []struct {
		action string
		params any
	}{
		{"file_transfer_list", nil},
		{"file_download_close", down},
		{"get_file_info", fileParams{"rewritten"}},
		{"get_directory_info", fileParams{"."}},
		{"get_permissions", nil},
		{"get_system_info", nil},
	} {
		if err := e.ask(p, ask.action, ask.params, nil); err != nil {
			return fmt.Errorf("%s: %w", ask.action, err)
		}
	}
	return errors.Join(
		e.refused(p, "get_file_info", fileParams{"nowhere"}, actions.CodeNotFound),
		e.refused(p, "file_upload_chunk", chunkParams{File: file}, actions.CodeParam),
		e.refused(p, "file_upload_cancel", fileReply{file}, actions.CodeNoTransfer),
		e.refused(p, "frobnicate", nil, actions.CodeUnknownAction),
		e.refused(p, "start_instance", nil, actions.CodeUnavailable),
	)
}

type fileParams struct {
	Path string `json:"path"`
}

// run is 200 chunks and more over four connections at once, and those that come
// over HTTP beside them.
func (e *errand) run() error {
	var panels [4]*panel
	for i := range panels {
		var err error
		if panels[i], err = dialPanel(e.s.addr, e.token); err != nil {
			return err
		}
		defer panels[i].close()
	}
	var all errgroup.Group
	all.Go(func() error { return e.put(panels[0], "deep/er/than/one.bin", noise(1, 40*4096), 4096, 1, asText, nil) })
	all.Go(func() error {
		return e.put(panels[0], "old.bin", noise(2, 60*6000), 6000, 8, asPacket, rand.New(rand.NewPCG(1, 2)))
	})
	all.Go(func() error { return e.putFrames(panels[1], noise(3, 30*3000), 3000) })
	for i := range 4 {
		all.Go(func() error {
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			return e.put(panels[2], fmt.Sprintf("together/%d/%d", i/2, i), noise(byte(10+i), 15*5000), 5000, 4, asPacket, rng)
		})
	}
	all.Go(func() error { return e.putEcho(panels[1], "echo.bin", noise(4, 10*4000), 4000) })
	all.Go(func() error { return e.putQueued(panels[3], "queued/file", noise(5, 10*7000), 7000) })
	all.Go(func() error { return e.odds(panels[3]) })
	all.Go(func() error { return e.web(panels[0]) })
	return all.Wait()
}

// observe runs the errand on a traced daemon and returns what the trace says.
func observe(t *testing.T, program string, env ...string) (*ledger, []ack) {
	t.Helper()
	// Its first start, without a trace, makes what there is once only.
	s := serveIn(t, placeOfOrder(t, program, env))
	s.stop()
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "old.bin"), []byte("the old file"), 0o644))
	e := &errand{s: s, token: tokenOf(t, s)}
	l := trace(t, s, program, env, func() { require.NoError(t, e.run()) })
	return l, e.acks
}

// placeOfOrder is where a traced daemon keeps what it has. The real one works on a
// disk. Builds that leave something out are read for the order of their calls alone,
// which is the same in memory, where nobody else's syncs are waited for; but an answer
// that leaves too early is to have a commit to be seen before.
func placeOfOrder(t *testing.T, program string, env []string) string {
	if program == binary || slices.Contains(env, "WAYBILL_BROKEN=reply") {
		return t.TempDir()
	}
	return quickDir(t)
}

// trace runs a traced daemon while do runs, and returns what the trace says.
func trace(t *testing.T, s *server, program string, env []string, do func()) *ledger {
	t.Helper()
	calls := traceCalls(t, s, traced, program, env, func() {
		do()
		s.stop() // and with it strace, whose stderr is the same
	})
	store, err := os.ReadFile(filepath.Join(s.state, "id"))
	require.NoError(t, err)
	l, err := newLedger(s.root, s.state, strings.TrimSpace(string(store)), calls)
	require.NoError(t, err)
	return l
}

// traceCalls runs a traced daemon while do runs, which ends it, and returns the
// calls it has made of those that are asked for.
func traceCalls(t *testing.T, s *server, which, program string, env []string, do func()) []*syscallMade {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	s.begin(clean(env...), slices.Concat([]string{"strace"}, straceArgs(file, which), []string{program})...)
	s.await()
	do()
	calls, err := readTraceFile(file)
	require.NoError(t, err)
	return calls
}

func tokenOf(t *testing.T, s *server) string {
	t.Helper()
	token, err := os.ReadFile(s.token())
	require.NoError(t, err)
	return strings.TrimSpace(string(token))
}

// TestOrder reads from the system calls of the real binary that no answer
// leaves and no effect begins before what it promises is on disk.
func TestOrder(t *testing.T) {
	needStrace(t)
	t.Parallel()
	l, acks := observe(t, binary)
	found, checked := l.breaches(acks)
	assert.Empty(t, found)
	t.Logf("checked %v", checked)
	for what, least := range map[string]int{
		"chunks": 200, "done": 14, "async": 11, "records by ref": 40, "staged files": 25, "placed files": 15,
		"new parents": 14, "removals": 12, "rewrites": 1, "creations": 2, "bodies": 20, "offsets": 30,
	} {
		assert.GreaterOrEqual(t, checked[what], least, what)
	}
}

// TestOrderOfRecovery kills a daemon on either side of the rename that puts a
// file in place, and reads the order in which the next one does the rest.
func TestOrderOfRecovery(t *testing.T) {
	needStrace(t)
	t.Parallel()
	for _, c := range []struct {
		name, call string
		broken     string
		kind       breachKind
	}{
		{name: "killed before the rename", call: "renameat"},
		{name: "killed after the rename", call: "fsync"},
		{name: "killed after the rename/without target.sync", call: "fsync", broken: "target.sync", kind: unsyncedDir},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := binary
			if c.broken != "" {
				needControls(t)
				program = brokenBuild(t)
			}
			s := serve(t)
			s.stop()
			// The first such call on the target's directory is its last. (The
			// directory's own entry is synced in its parent.)
			dir := filepath.Join(s.root, "new")
			s.begin(clean(), "strace", "-D", "-f", "-qq", "-o", os.DevNull, "-P", dir,
				"-e", "trace="+c.call, "-e", "inject="+c.call+":signal=SIGKILL:when=1", binary)
			s.await()
			p, err := dialPanel(s.addr, tokenOf(t, s))
			require.NoError(t, err)
			defer p.close()
			data := noise(1, 20_000)
			var opened fileReply
			require.NoError(t, p.call("file_upload_request", uploadParams{Path: "new/file", Size: len(data)}, &opened))
			w, err := asPacket(p, opened.File, sessions.Range{0, 20_000}, data)
			require.NoError(t, err)
			assert.ErrorIs(t, w.into(nil), errLost, "it was killed before it could answer")
			<-s.p.done
			file := filepath.Join(dir, "file")
			assert.Equal(t, c.call == "fsync", exists(file))

			l := trace(t, s, program, []string{"WAYBILL_BROKEN=" + c.broken}, func() {
				assert.Equal(t, sumOfBytes(data), sumOf(t, file), "in place when the daemon serves")
			})
			found, checked := l.breaches(nil)
			assert.Equal(t, 1, checked["placed files"]+checked["found in place"])
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

// TestOrderCatches runs the same on builds that leave something out: each
// must be caught, and for what it left out only.
func TestOrderCatches(t *testing.T) {
	needStrace(t)
	needControls(t)
	t.Parallel()
	program := brokenBuild(t)
	for broken, kind := range map[string]breachKind{
		"data":         unsyncedBytes,
		"dir":          unsyncedDir,
		"reply":        uncommitted,
		"staging.sync": unsyncedDir,
		"parent.sync":  unsyncedDir,
		"target.sync":  unsyncedDir,
		"":             "",
	} {
		t.Run("without "+cmp.Or(broken, "nothing"), func(t *testing.T) {
			l, acks := observe(t, program, "WAYBILL_BROKEN="+broken)
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
			over := ways(acks)
			assert.Len(t, over, 3)
			if broken == "reply" {
				// A reply that leaves early may still be overtaken by its commit, on
				// one way or another, when the machine is busy.
				return
			}
			for way, uploads := range over {
				assert.True(t, slices.ContainsFunc(found, func(b breach) bool {
					return slices.ContainsFunc(uploads, func(id string) bool { return strings.Contains(b.what, id) })
				}), "it is blind to it over %s", way)
			}
		})
	}
}

// The real build has no means to leave anything out.
func TestNoControlIsBuiltIn(t *testing.T) {
	t.Parallel()
	sound, err := os.ReadFile(binary)
	require.NoError(t, err)
	assert.False(t, bytes.Contains(sound, []byte("WAYBILL_BROKEN")))
}

var withControls = flag.Bool("controls", false, "show of the tests of durability that they notice what breaks it")

// needControls is for tests of tests: they run in CI.
func needControls(t *testing.T) {
	t.Helper()
	if !*withControls {
		t.Skip("-controls is not set")
	}
}

// brokenBuild is the binary that leaves out what WAYBILL_BROKEN names.
func brokenBuild(t *testing.T) string {
	t.Helper()
	program, err := buildBroken()
	require.NoError(t, err)
	return program
}

var buildBroken = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(binary), "broken") // removed with it
	out, err := exec.Command("go", build(program, "-tags", "brokensync")...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build with brokensync: %w\n%s", err, out)
	}
	return program, err
})

func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("the order test reads system calls by strace, which is not installed (.ci/run installs it)")
	}
}
