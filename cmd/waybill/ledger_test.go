package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"waybill/sessions"
)

// ledger is what a trace says was done to the files and told to the peers, by
// what it was done to.
type ledger struct {
	// tree is what is served, library where documents' contents are kept.
	tree, library store
	journal       string

	writes  map[string][]span         // into staged files, by path
	syncs   map[string][]*syscallMade // of files and directories that returned 0
	made    map[string]*syscallMade   // files and directories created
	sized   map[string][]*syscallMade // files given a length
	placed  []move
	removed []removal // staged files
	dropped []removal // contents
	// replies is when the first byte of each was about to leave: by ackKey, of
	// plain HTTP by httpKey.
	replies map[string]int
	records []*fact
	// torn are metas of the journal that were written before all of what they
	// point to was synced.
	torn []string
}

// store is a directory that files are placed in, and where they are before.
type store struct{ root, staging string }

func newStore(root, id string) store {
	return store{root, filepath.Join(root, ".waybill", id, "staging")}
}

// staged is where the file of a session or a job is before it is placed.
func (s store) staged(id string) string { return filepath.Join(s.staging, id) }

// span is a write into a file.
type span struct {
	sessions.Range
	enter, exit int
}

type move struct {
	from, to    string
	enter, exit int
}

type removal struct {
	path        string
	enter, exit int
}

// fact is a record as it went to the disk.
type fact struct {
	Seq  uint64 `json:"seq"`
	Kind string `json:"kind"`
	Ref  string `json:"ref"`
	Body struct {
		Session  string           `json:"session"`
		Job      string           `json:"job"`
		Action   string           `json:"action"`
		Path     string           `json:"path"`
		Ranges   []sessions.Range `json:"ranges"`
		Size     int64            `json:"size"`
		Task     *sessions.Task   `json:"task"`
		Digest   string           `json:"digest"`
		SHA256   string           `json:"sha256"`
		Revision string           `json:"revision"`
	} `json:"body"`

	// began is when its first byte was about to be written, durable when the
	// commit that holds it had returned; before, if a daemon before this one has
	// done so.
	began, durable int
}

// before is before everything in a trace.
const before = -1

// covers reports whether the fact is about all of a range.
func (f *fact) covers(r sessions.Range) bool {
	return sessions.SetOf(f.Body.Ranges...).Contains(r)
}

// ackKey names an acknowledgement: by the id or the echo of its request, that
// of an upload frame by how far it says the file has come.
func ackKey(msg []byte) string {
	key := answerKey(msg)
	if strings.HasPrefix(key, frameKey("")) {
		var stored storedReply
		_ = json.Unmarshal(msg, &stored) // an error has no number: all the same key
		key += fmt.Sprint(" ", stored.Received)
	}
	return key
}

func newLedger(root, state, id string, calls []*syscallMade) (*ledger, error) {
	l := &ledger{
		tree: newStore(root, id), library: newStore(filepath.Join(state, "objects"), id),
		journal: filepath.Join(state, "journal"),
		writes:  make(map[string][]span), syncs: make(map[string][]*syscallMade), made: make(map[string]*syscallMade),
		sized: make(map[string][]*syscallMade), replies: make(map[string]int),
	}
	// Those that were under way at the end come last in calls.
	slices.SortStableFunc(calls, func(a, b *syscallMade) int { return a.enter - b.enter })
	peers := make(map[string]*outgoing)
	pages := make(map[string]*pageOrder)
	for _, c := range calls {
		if err := l.enter(c, peers, pages); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", c.enter, c.name, err)
		}
	}
	for path, o := range pages {
		o.settle(l.syncs[path])
		l.torn = append(l.torn, o.torn...)
		for _, f := range o.records {
			l.records = append(l.records, f)
		}
	}
	slices.SortFunc(l.records, func(a, b *fact) int { return int(a.Seq) - int(b.Seq) })
	l.forebears()
	return l, nil
}

// forebears finds the records of daemons before the traced one, which writes some
// of them again with the pages they are in: they were durable when it began.
func (l *ledger) forebears() {
	for i, f := range slices.Backward(l.records) {
		if f.Kind == "daemon.started" {
			for _, old := range l.records[:i] {
				old.began, old.durable = before, before
			}
			return
		}
	}
}

func (l *ledger) enter(c *syscallMade, peers map[string]*outgoing, pages map[string]*pageOrder) error {
	switch c.name {
	case "fsync", "fdatasync":
		if c.ok() {
			path := c.path(0)
			l.syncs[path] = append(l.syncs[path], c)
		}
		return nil
	case "fallocate", "ftruncate":
		if c.ok() {
			l.sized[c.path(0)] = append(l.sized[c.path(0)], c)
		}
	case "openat":
		if c.ok() && strings.Contains(c.args[2], "O_CREAT") {
			l.made[c.retPath] = c
		}
	case "mkdirat":
		path, err := c.at(0)
		if c.ok() {
			l.made[path] = c
		}
		return err
	case "renameat", "renameat2":
		from, err := c.at(0)
		if err != nil {
			return err
		}
		to, err := c.at(2)
		if c.ok() && l.isStaged(from) {
			l.placed = append(l.placed, move{from, to, c.enter, c.exit})
		}
		return err
	case "unlinkat":
		path, err := c.at(0)
		switch {
		case l.isStaged(path):
			l.removed = append(l.removed, removal{path, c.enter, c.exit})
		case c.ok() && l.isContent(path):
			l.dropped = append(l.dropped, removal{path, c.enter, c.exit})
		}
		return err
	case "pwrite64":
		path := c.path(0)
		off := c.int(3)
		if l.isStaged(path) {
			l.writes[path] = append(l.writes[path], span{sessions.Range{off, off + c.int(2)}, c.enter, c.exit})
			return nil
		}
		if filepath.Dir(path) != l.journal {
			return nil
		}
		o := pages[path]
		if o == nil {
			o = &pageOrder{records: make(map[uint64]*fact)}
			pages[path] = o
		}
		data, err := c.text(1)
		if err != nil {
			return err
		}
		return o.write(c, off, data, l.syncs[path])
	case "write":
		peer := c.path(0)
		if !strings.HasPrefix(peer, "socket:") || c.ret <= 0 && c.exit != never {
			return nil
		}
		data, err := c.text(1)
		if err != nil {
			return err
		}
		if c.exit != never { // or all of it may have left before the kill
			data = data[:c.ret]
		}
		if peers[peer] == nil {
			peers[peer] = new(outgoing)
		}
		if n := peers[peer].answered(data); n > 0 {
			l.replies[httpKey(peer, n)] = c.enter
			return nil
		}
		frames, err := peers[peer].write(c.enter, data)
		for _, f := range frames {
			key := ackKey(f.text)
			if _, twice := l.replies[key]; twice {
				return fmt.Errorf("two replies are %q", key)
			}
			l.replies[key] = f.enter
		}
		return err
	case "writev", "sendto", "sendmsg":
		if strings.HasPrefix(c.path(0), "socket:") && c.name != "sendto" {
			return fmt.Errorf("replies leave by a call this test does not read")
		}
	}
	return nil
}

// pageOrder follows the transactions of one journal segment: pages, sync, the
// meta that makes them count, sync.
type pageOrder struct {
	records map[uint64]*fact
	pending []*fact  // in the transaction under way
	pages   []span   // written since the last meta
	torn    []string // metas written too early
	// commits that wait for the sync after their meta.
	committed []*commit
}

type commit struct {
	metaExit int
	facts    []*fact
}

var lineStart = []byte(`{"v":1,"seq":`)

const metas, pageBytes = 2, 4096

// write notes a write to the segment; syncs are those of it that were entered
// before.
func (o *pageOrder) write(c *syscallMade, off int64, data []byte, syncs []*syscallMade) error {
	if off >= metas*pageBytes {
		o.pages = append(o.pages, span{sessions.Range{off, off + int64(len(data))}, c.enter, c.exit})
		for rest := data; ; {
			i := bytes.Index(rest, lineStart)
			if i < 0 {
				return nil
			}
			rest = rest[i:]
			f := &fact{began: c.enter, durable: never}
			dec := json.NewDecoder(bytes.NewReader(rest))
			if err := dec.Decode(f); err != nil {
				return fmt.Errorf("a record in the page at %d: %w", off, err)
			}
			rest = rest[dec.InputOffset():]
			// A page is written again for each record it takes in.
			if o.records[f.Seq] == nil {
				o.records[f.Seq] = f
				o.pending = append(o.pending, f)
			}
		}
	}
	for _, p := range o.pages {
		if syncAfter(syncs, p.exit) > c.enter {
			o.torn = append(o.torn, fmt.Sprintf("line %d: the meta of records %s is written before the page at %d is synced", c.enter, seqs(o.pending), p.Range[0]))
		}
	}
	o.pages = nil
	o.committed = append(o.committed, &commit{c.exit, o.pending})
	o.pending = nil
	return nil
}

// settle finds out when each record was durable.
func (o *pageOrder) settle(syncs []*syscallMade) {
	for _, c := range o.committed {
		at := syncAfter(syncs, c.metaExit)
		for _, f := range c.facts {
			f.durable = at
		}
	}
}

func seqs(facts []*fact) string {
	var s []string
	for _, f := range facts {
		s = append(s, fmt.Sprint(f.Seq))
	}
	return strings.Join(s, ",")
}

// syncAfter is when the first of syncs that was entered after a place in the
// trace had returned; never if there is none.
func syncAfter(syncs []*syscallMade, after int) int {
	done := never
	for _, c := range syncs {
		if c.enter > after {
			done = min(done, c.exit)
		}
	}
	return done
}

// synced is when what was done to path at after had become durable.
func (l *ledger) synced(path string, after int) int { return syncAfter(l.syncs[path], after) }

// find returns the first record that fits, nil if there is none.
func (l *ledger) find(fits func(*fact) bool) *fact {
	for _, f := range l.records {
		if fits(f) {
			return f
		}
	}
	return nil
}

// isStaged tells a file that is not in its place yet.
func (l *ledger) isStaged(path string) bool {
	dir := filepath.Dir(path)
	return dir == l.tree.staging || dir == l.library.staging
}

// isContent tells a content in its place, objects/ab/<sha256>.
func (l *ledger) isContent(path string) bool {
	shelf := filepath.Dir(path)
	return filepath.Dir(shelf) == l.library.root && len(filepath.Base(path)) == 2*sha256.Size
}

// content is where the content with a digest is kept.
func (l *ledger) content(digest string) string {
	return filepath.Join(l.library.root, digest[:2], digest)
}

// httpKey names the nth answer that was written to a connection of plain HTTP,
// whose end at the daemon is called as strace calls it.
func httpKey(socket string, n int) string { return fmt.Sprint(socket, " ", n) }
