package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// shown is a document as it is told of, or may be.
type shown struct {
	there, deleted bool
	name           string
	revisions      []revision // as they were published
	// due is when it may begin to go from the recycle bin by itself.
	due time.Time
	// complete: it may be so because an upload was completed.
	complete bool
}

// revision is one that a document has. An id that nobody was told is "".
type revision struct {
	id, sha256 string
	size       int64
	// placeholder: it is what a new document has in place of one.
	placeholder bool
}

// mayBeGone tells what the purge may have taken meanwhile.
func (s *shown) mayBeGone() bool { return s.deleted && time.Now().After(s.due) }

// is tells whether a document that may be s is o.
func (s *shown) is(o *shown) bool {
	if !o.there {
		return !s.there || s.mayBeGone()
	}
	return s.there && s.deleted == o.deleted && s.name == o.name && slices.EqualFunc(s.revisions, o.revisions, func(a, b revision) bool {
		return a.sha256 == b.sha256 && a.size == b.size && (a.id == "" || a.id == b.id)
	})
}

// with is s with one more revision; the first one takes the placeholder's place.
func (s shown) with(r revision) shown {
	s.revisions = append(slices.DeleteFunc(slices.Clone(s.revisions), func(r revision) bool { return r.placeholder }), r)
	return s
}

func (s shown) inBin(since time.Time) shown {
	s.deleted = true
	// The second in which it is marked counts, wherever in it that was.
	s.due = since.Add((binSeconds - 1) * time.Second)
	return s
}

// document is one as its librarian knows it.
type document struct {
	id string
	shown
	// might is what it may have become instead: something was asked that was not
	// answered.
	might []shown
	up    *writing
	reads []reading
}

// writing is the write task of a document that is not complete.
type writing struct {
	task
	data []byte
	// at is how many bytes are there, whatever happens, sent how many may be.
	at, sent int64
	// ghost is how many a transfer may bring that nobody waits for. It also may
	// end another one.
	ghost int64
	// doubtful: something was asked that may have ended it, and was not answered.
	// complete: the document shows that it is.
	doubtful, complete bool
}

// reading is a read task, and what must be read.
type reading struct {
	task
	revision
}

// librarian works on the documents of a directory, over as many connections as it
// takes, and remembers every answer.
type librarian struct {
	w   *docTorture
	n   int
	rng *rand.Rand
	dir string
	// user is "" for the holder of the main token; token is what the last login
	// gave.
	user, token string
	// made: the user and the directory are there. idle: it brings no contents, and
	// so has an answer more often.
	made, idle bool
	docs       []*document
	ended      []task // which are of no use any more
	drawn      int    // contents made up so far
	epoch      int    // when it last found all in order
	c          *clerk
	p          *porter
}

func newLibrarian(w *docTorture, n int) *librarian {
	l := &librarian{w: w, n: n, rng: rand.New(rand.NewPCG(w.seed, uint64(n)+1)), dir: fmt.Sprint("dir", n)}
	if n%3 > 0 {
		l.user = fmt.Sprint("user", n)
	}
	for k := range docsEach {
		l.docs = append(l.docs, &document{id: fmt.Sprintf("doc%d-%d", n, k)})
	}
	return l
}

func (l *librarian) run() {
	defer l.hangUp()
	for {
		var err error
		if l.c == nil {
			err = l.connect()
		}
		if err == nil && l.w.ending() {
			if err = l.finish(); err == nil {
				return
			}
		} else if err == nil {
			err = l.work()
		}
		switch {
		case errors.Is(err, errQuit):
			return
		case errors.Is(err, errLost):
			l.hangUp()
		case err != nil:
			l.w.fault("librarian %d: %v", l.n, err)
			return
		}
	}
}

func (l *librarian) hangUp() {
	if l.c != nil {
		l.c.close()
		l.p.close()
		l.c, l.p = nil, nil
	}
}

// connect waits for the daemon, and checks everything it has promised before
// asking for anything more.
func (l *librarian) connect() (err error) {
	epoch, ok := l.w.awaitUp()
	if !ok {
		return errQuit
	}
	l.p = &porter{addr: l.w.s.addr}
	if l.c, err = dialClerk(l.w.s.addr, "", l.w.token); err != nil {
		return err
	}
	if !l.made {
		if err := l.settle(); err != nil {
			return err
		}
	}
	if err := l.identify(); err != nil {
		return err
	}
	if err := l.verify(); err != nil {
		return err
	}
	if l.epoch != epoch {
		l.epoch = epoch
		l.w.checked(epoch)
	}
	return nil
}

// settle makes the user and the directory, which may be there already if an
// answer was lost.
func (l *librarian) settle() error {
	if l.user != "" {
		err := l.c.call("createUser", fields{"username": l.user, "password": l.password(), "groups": []string{"sysop"}}, nil)
		if e, ok := errors.AsType[*docRefusal](err); err != nil && !(ok && e.message == docUserExists) {
			return err
		}
	}
	err := l.c.call("createDir", fields{"dir_id": l.dir, "name": l.dir}, nil)
	if err != nil && refusalCode(err) != docFailed {
		return err
	}
	l.made = true
	return nil
}

func (l *librarian) password() string { return "password of " + l.user }

// identify shows the token of a user, which outlives the daemon that gave it;
// from time to time the password has to do.
func (l *librarian) identify() error {
	if l.user == "" {
		return nil
	}
	if l.token != "" && l.rng.IntN(6) > 0 {
		l.c.name, l.c.token = l.user, l.token
		l.w.tell(func(n *docTally) { n.TokensChecked++ })
		return nil
	}
	if err := l.c.login(l.user, l.password()); err != nil {
		return err
	}
	l.token = l.c.token
	return nil
}

// verify holds what the daemon says now against what it said before.
func (l *librarian) verify() error {
	now, err := l.list()
	if err != nil {
		return err
	}
	for _, d := range l.docs {
		if err := l.resolve(d, now[d.id]); err != nil {
			return fmt.Errorf("%s: %w", d.id, err)
		}
	}
	for range min(2, len(l.ended)) {
		if err := l.isEnded(l.ended[l.rng.IntN(len(l.ended))]); err != nil {
			return err
		}
	}
	d := l.docs[l.rng.IntN(len(l.docs))]
	if len(d.reads) > 0 {
		return l.readAgain(d)
	}
	return l.readNewest(d)
}

// list is the directory, deleted documents included.
func (l *librarian) list() (map[string]*shown, error) {
	r, err := l.c.ask("operateDir", fields{"dir_id": l.dir, "action": "list", "view_deleted": true})
	if err == nil && r.Code != 0 {
		err = newDocRefusal(r)
	}
	if err != nil {
		return nil, err
	}
	var entries map[string]struct {
		Name  string
		State struct{ Code string }
	}
	if err := json.Unmarshal(r.Raw["dir_data"], &entries); err != nil {
		return nil, err
	}
	out := make(map[string]*shown)
	for id, e := range entries {
		out[id] = &shown{there: true, deleted: e.State.Code == "deleted", name: e.Name}
	}
	return out, nil
}

// look is what is told of a document, which is nil if it is not listed.
func (l *librarian) look(d *document, o *shown) (*shown, error) {
	if o == nil {
		return new(shown), nil
	}
	var list struct{ Revisions json.RawMessage }
	err := l.c.call("getFileRevisions", fields{"file_id": d.id, "view_deleted": true, "item_range": []int{0, 50}}, &list)
	if refusalCode(err) == http.StatusNotFound && o.deleted {
		return new(shown), nil // purged since it was listed
	}
	if err != nil {
		return nil, err
	}
	o.revisions, err = readRevisions(list.Revisions)
	return o, err
}

// readRevisions reads the object, whose order is that of publication.
func readRevisions(raw json.RawMessage) (out []revision, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	for dec.More() {
		id, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var r struct {
			SHA256 string
			Size   int64
		}
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		out = append(out, revision{id: id.(string), sha256: r.SHA256, size: r.Size})
	}
	return out, nil
}

// resolve finds out what has become of a document.
func (l *librarian) resolve(d *document, listed *shown) error {
	o, err := l.look(d, listed)
	if err != nil {
		return err
	}
	states := append([]shown{d.shown}, d.might...)
	at := slices.IndexFunc(states, func(s shown) bool { return s.is(o) })
	if at < 0 {
		return fmt.Errorf("it was %+v, might be %+v, and is %+v", d.shown, d.might, *o)
	}
	l.w.tell(func(n *docTally) {
		n.DocumentsChecked++
		n.RevisionsChecked += len(o.revisions)
		if len(d.might) > 0 {
			n.Unsure++
		}
		if at > 0 {
			n.UnsureDone++
		}
		if states[at].there && !o.there {
			n.Vanished++
		}
	})
	o.due = states[at].due
	for i := range o.revisions { // none if it has vanished
		o.revisions[i].placeholder = states[at].revisions[i].placeholder
	}
	d.might = nil
	l.becomes(d, *o)
	if d.up == nil {
		return nil
	}
	if states[at].complete {
		d.up.complete = true
	}
	return l.locate(d)
}

// becomes notes what a document is, and what has ended with what it was.
func (l *librarian) becomes(d *document, s shown) {
	d.shown = s
	if d.up != nil && (!s.there || s.deleted) {
		l.over(d.up.task)
		d.up = nil
	}
	if !s.there {
		for _, r := range d.reads {
			l.over(r.task)
		}
		d.reads = nil
	}
}

// over notes a task that has ended.
func (l *librarian) over(k task) {
	const most = 16
	l.ended = append(l.ended, k)
	l.ended = l.ended[max(0, len(l.ended)-most):]
}

// isEnded checks that a task which has ended is of no use.
func (l *librarian) isEnded(k task) error {
	l.w.tell(func(n *docTally) { n.TasksChecked++ })
	method := http.MethodPut
	r, err := l.p.do(method, k, nil, []byte("late"))
	if err == nil && r.status == http.StatusMethodNotAllowed {
		method = http.MethodGet // it is to read
		r, err = l.p.do(method, k, nil, nil)
	}
	if err == nil && r.status != http.StatusGone {
		err = fmt.Errorf("%s of a task that has ended is answered %s", method, &r)
	}
	return err
}

// locate asks how far an upload has come.
func (l *librarian) locate(d *document) error {
	up := d.up
	r, err := l.p.do(http.MethodHead, up.task, nil, nil)
	if err != nil {
		return err
	}
	n := r.offset()
	switch {
	case r.status == http.StatusGone && up.doubtful, r.status == http.StatusOK && r.complete() && up.complete:
		l.over(up.task)
		d.up = nil
		return nil
	case r.status != http.StatusOK || r.complete() || up.complete || n < up.at || n > up.sent:
		return fmt.Errorf("of %d bytes %d are there, %d were sent, complete is %v; HEAD is answered %s %v",
			len(up.data), up.at, up.sent, up.complete, &r, r.header)
	}
	l.w.tell(func(t *docTally) { t.OffsetsChecked++; t.BytesChecked += int(up.at) })
	// What was to end it was lost with the daemon that was asked.
	up.at, up.doubtful = n, false
	return nil
}

// work does one thing.
func (l *librarian) work() error {
	d := l.docs[l.rng.IntN(len(l.docs))]
	err := l.workOn(d)
	if e, ok := errors.AsType[*docRefusal](err); ok && d.mayBeGone() && (e.code == docFailed && e.message == "no such file" || e.code == http.StatusNotFound) {
		// The purge was faster.
		d.might = nil
		l.becomes(d, shown{})
		l.w.tell(func(n *docTally) { n.Vanished++ })
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.id, err)
	}
	return nil
}

func (l *librarian) workOn(d *document) error {
	draw := l.rng.IntN(32)
	switch {
	case !d.there:
		return l.create(d)
	case len(d.revisions) > mostRevisions:
		return l.purge(d)
	case d.deleted && d == l.docs[0] && !d.mayBeGone():
		return nil // it goes by itself
	case d.deleted && draw < 12:
		return l.purge(d)
	case d.deleted:
		return l.recover(d)
	case draw < 3:
		return l.delete(d)
	case draw < 4:
		return l.purge(d)
	case draw < 6, l.idle:
		return l.rename(d)
	case draw < 9:
		return l.readNewest(d)
	case draw < 11 && len(d.reads) > 0:
		return l.readAgain(d)
	case draw < 13 && d.up != nil:
		return l.race(d)
	case d.up == nil || draw < 14:
		return l.write(d)
	}
	return l.store(d)
}

// change asks for what makes a document something else.
func (l *librarian) change(d *document, next shown, request string, data fields) error {
	d.might = []shown{next}
	err := l.c.call(request, data, nil)
	if errors.Is(err, errLost) {
		return err
	}
	d.might = nil
	if err == nil {
		l.becomes(d, next)
	}
	return err
}

func (l *librarian) operate(d *document, next shown, action string, more ...string) error {
	data := fields{"file_id": d.id, "action": action}
	for i := 0; i < len(more); i += 2 {
		data[more[i]] = more[i+1]
	}
	return l.change(d, next, "operateFile", data)
}

func (l *librarian) create(d *document) (err error) {
	next := shown{there: true, name: d.id, revisions: []revision{{sha256: digestOf(nil), placeholder: true}}}
	d.might = []shown{next}
	k, err := l.c.task("createFile", fields{"file_id": d.id, "filename": d.id, "directory_id": l.dir})
	if err != nil {
		return err
	}
	d.might = nil
	l.becomes(d, next)
	d.up = l.begin(d, k)
	l.w.tell(func(n *docTally) { n.Created++ })
	return nil
}

// begin makes up what is to be written.
func (l *librarian) begin(d *document, k task) *writing {
	up := &writing{task: k, data: l.draw()}
	for len(up.data) == 0 && d.revisions[0].placeholder {
		up.data = l.draw() // or nobody could tell the two
	}
	return up
}

// draw makes up a content. Some are those of others too.
func (l *librarian) draw() []byte {
	l.drawn++
	switch l.rng.IntN(20) {
	case 0:
		return nil
	case 1:
		return []byte("This is a file for testing.")
	case 2, 3, 4, 5, 6:
		kind := byte(l.rng.IntN(8))
		return noise(kind, 1_000*(1+int(kind)))
	}
	largest := 512 << 10
	if l.rng.IntN(60) == 0 {
		largest = 20 << 20 // made durable while more comes
	}
	data := make([]byte, int(math.Exp(l.rng.Float64()*math.Log(float64(largest)))))
	_, _ = rand.NewChaCha8([32]byte{byte(l.n), byte(l.drawn), byte(l.drawn >> 8), byte(l.rng.Uint32())}).Read(data)
	return data
}

// write asks for a new task, which ends the one there may be.
func (l *librarian) write(d *document) error {
	old := d.up
	if old != nil {
		// If this is not answered, the one there is may be in force still, with all
		// that it has brought: it is to be found again, and finished.
		old.doubtful = true
	}
	k, err := l.c.toWrite(d.id)
	if err != nil {
		return err
	}
	if old != nil {
		l.over(old.task)
		l.w.tell(func(n *docTally) { n.Superseded++ })
	}
	d.up = l.begin(d, k)
	return nil
}

func (l *librarian) delete(d *document) error {
	err := l.operate(d, d.shown.inBin(time.Now()), "delete")
	if err == nil {
		l.w.tell(func(n *docTally) { n.Deleted++ })
	}
	return err
}

func (l *librarian) recover(d *document) error {
	next := d.shown
	next.deleted = false
	err := l.operate(d, next, "recover")
	if err == nil {
		l.w.tell(func(n *docTally) { n.Recovered++ })
	}
	return err
}

func (l *librarian) purge(d *document) error {
	err := l.operate(d, shown{}, "permanently_delete")
	if err == nil {
		l.w.tell(func(n *docTally) { n.Purged++ })
	}
	return err
}

func (l *librarian) rename(d *document) error {
	next := d.shown
	next.name = fmt.Sprint("name ", l.rng.Uint32())
	err := l.operate(d, next, "rename", "new_filename", next.name)
	if err == nil {
		l.w.tell(func(n *docTally) { n.Renamed++ })
	}
	return err
}

// readNewest reads what a document is now.
func (l *librarian) readNewest(d *document) error {
	if !d.there || d.deleted {
		return nil
	}
	k, err := l.c.toRead(d.id)
	if err != nil {
		return err
	}
	d.reads = append(d.reads, reading{k, d.revisions[len(d.revisions)-1]})
	return l.read(d, d.reads[len(d.reads)-1])
}

// readAgain reads through a task made earlier, what its document was then.
func (l *librarian) readAgain(d *document) error {
	return l.read(d, d.reads[l.rng.IntN(len(d.reads))])
}

func (l *librarian) read(d *document, from reading) error {
	r, err := l.p.do(http.MethodGet, from.task, nil, nil)
	switch {
	case err != nil:
		return err
	case r.status == http.StatusGone && d.mayBeGone():
		return nil
	case r.status != http.StatusOK || int64(len(r.body)) != from.size || digestOf(r.body) != from.sha256:
		return fmt.Errorf("the revision %+v is read with the status %d as %d bytes with the digest %s",
			from.revision, r.status, len(r.body), digestOf(r.body))
	}
	l.w.tell(func(n *docTally) { n.Read++ })
	return nil
}

// store brings bytes of a content, in one of the ways there are.
func (l *librarian) store(d *document) error {
	up := d.up
	rest := int64(len(up.data)) - up.at
	switch how := l.rng.IntN(10); {
	case how == 0:
		return l.mistake(d)
	case how <= 2:
		return l.put(d)
	case how == 3 && rest > 1:
		return l.breakOff(d)
	case how <= 7 && rest > 1:
		return l.patch(d, 1+l.rng.Int64N(rest-1))
	}
	return l.patch(d, rest)
}

// become is what a document is once its upload is complete.
func (d *document) become(id string) shown {
	next := d.shown.with(revision{id: id, sha256: digestOf(d.up.data), size: int64(len(d.up.data))})
	next.complete = id == ""
	return next
}

// patch goes on where the bytes end. The last ones complete the content.
func (l *librarian) patch(d *document, n int64) error {
	up := d.up
	from, last := up.at, up.at+n == int64(len(up.data))
	up.sent = max(up.sent, from+n)
	if last {
		d.might = []shown{d.become("")}
	}
	r, err := l.p.do(http.MethodPatch, up.task, at(from, last), up.data[from:from+n])
	if err != nil {
		return err
	}
	switch told := r.offset(); {
	case r.status == http.StatusConflict && from <= told && told <= up.sent:
		// More has come of a transfer that was broken off.
		d.might = nil
		up.at = told
		return nil
	case last:
		return l.published(d, &r)
	case r.status != http.StatusNoContent || told != from+n:
		return fmt.Errorf("PATCH at %d with %d bytes is answered %s %v", from, n, &r, r.header)
	}
	up.at += n
	l.w.tell(func(t *docTally) { t.Pieces++; t.AckedBytes += int(n) })
	return nil
}

// put brings the whole content, whatever is there.
func (l *librarian) put(d *document) error {
	up := d.up
	var header fields
	if l.rng.IntN(2) == 0 {
		header = fields{"Repr-Digest": reprDigest(up.data)}
	}
	up.at, up.sent = 0, int64(len(up.data))
	d.might = []shown{d.become("")}
	r, err := l.p.do(http.MethodPut, up.task, header, up.data)
	if err != nil {
		return err
	}
	if told := r.offset(); r.status == http.StatusConflict && up.ghost > 0 && told <= up.sent {
		d.might = nil
		up.at = max(told, 0)
		return nil
	}
	return l.published(d, &r)
}

// published takes in the answer to the end of an upload.
func (l *librarian) published(d *document, r *transferReply) error {
	d.might = nil
	p, err := r.published(d.up.data)
	if err != nil {
		return err
	}
	next := d.become(p.Revision)
	l.over(d.up.task)
	d.up = nil
	l.becomes(d, next)
	l.w.tell(func(n *docTally) { n.Published++; n.AckedBytes += int(p.Size) })
	return nil
}

// mistake announces another content than it brings: all of it is discarded.
func (l *librarian) mistake(d *document) error {
	up := d.up
	up.at, up.sent = 0, int64(len(up.data))
	r, err := l.p.do(http.MethodPut, up.task, fields{"Repr-Digest": reprDigest([]byte("other"))}, up.data)
	switch {
	case err != nil:
		return err
	case r.status == http.StatusConflict && up.ghost > 0:
		return l.locate(d)
	case r.status != http.StatusUnprocessableEntity:
		return fmt.Errorf("a wrong digest is answered %s", &r)
	}
	up.sent = up.ghost
	l.w.tell(func(n *docTally) { n.Mistaken++ })
	return nil
}

// breakOff sends less than it has announced. Sometimes it does not stay for the
// answer.
func (l *librarian) breakOff(d *document) error {
	up := d.up
	rest := up.data[up.at:]
	part := rest[:1+l.rng.IntN(len(rest)-1)]
	end := up.at + int64(len(part))
	up.sent = max(up.sent, end)
	l.w.tell(func(n *docTally) { n.Broken++ })
	if l.rng.IntN(3) == 0 {
		up.ghost = max(up.ghost, end)
		return l.p.hangUp(http.MethodPatch, up.task, at(up.at, true), part, len(rest))
	}
	r, err := l.p.breakOff(http.MethodPatch, up.task, at(up.at, true), part, len(rest))
	switch told := r.offset(); {
	case err != nil:
		return err
	case r.status == http.StatusConflict && up.ghost > 0 && told <= up.sent:
		up.at = max(told, 0)
	case r.status != http.StatusBadRequest || told != end:
		return fmt.Errorf("%d bytes after %d and no more are answered %s %v", len(part), up.at, &r, r.header)
	default:
		up.at = told
		l.w.tell(func(n *docTally) { n.AckedBytes += len(part) })
	}
	return nil
}

// race completes a content while its document is taken away, or its task.
func (l *librarian) race(d *document) error {
	up := d.up
	const most = 200_000 // of which all is read, whatever becomes of it
	if len(up.data) > most {
		return l.put(d)
	}
	with := d.become("")
	action := []string{"delete", "permanently_delete", "write"}[l.rng.IntN(3)]
	var next func(shown) shown
	switch now := time.Now(); action {
	case "delete":
		next = func(s shown) shown { return s.inBin(now) }
	case "permanently_delete":
		next = func(shown) shown { return shown{} }
	default:
		next = func(s shown) shown { return s }
	}
	d.might = []shown{with, next(d.shown), next(with)}
	up.at, up.sent, up.doubtful = 0, int64(len(up.data)), true

	var r transferReply
	var lost error
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, lost = l.p.do(http.MethodPut, up.task, nil, up.data)
	}()
	// Somewhere between before it begins and after it is published.
	time.Sleep(time.Duration(l.rng.IntN(30_000)) * time.Microsecond)
	k, err := task{}, error(nil)
	if action == "write" {
		k, err = l.c.toWrite(d.id)
	} else {
		err = l.c.operate(d.id, action)
	}
	<-done
	if err == nil {
		err = lost
	}
	if err != nil {
		return err
	}
	was := d.shown
	switch r.status {
	case http.StatusOK:
		p, err := r.published(up.data)
		if err != nil {
			return err
		}
		was = d.become(p.Revision)
	case http.StatusGone:
	case http.StatusConflict:
		if up.ghost == 0 {
			return fmt.Errorf("an upload that nobody else is at is answered %s", &r)
		}
	default:
		return fmt.Errorf("an upload that loses its document (%s) is answered %s", action, &r)
	}
	l.w.tell(func(n *docTally) {
		n.Raced++
		if r.status == http.StatusOK {
			n.RacesWon++
		}
	})
	l.over(up.task)
	d.might, d.up = nil, nil
	l.becomes(d, next(was))
	if action == "write" {
		d.up = l.begin(d, k)
	}
	return nil
}

// finish brings every upload to its end, and reads everything.
func (l *librarian) finish() error {
	for _, d := range l.docs {
		for d.up != nil {
			if err := l.patch(d, int64(len(d.up.data))-d.up.at); err != nil {
				return fmt.Errorf("%s: %w", d.id, err)
			}
		}
		if err := l.readNewest(d); err != nil {
			return fmt.Errorf("%s: %w", d.id, err)
		}
		for _, r := range d.reads {
			if err := l.read(d, r); err != nil {
				return fmt.Errorf("%s: %w", d.id, err)
			}
		}
	}
	return l.verify()
}
