package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"waybill/actions"
	"waybill/sessions"
)

// transfer is one upload as its client knows it.
type transfer struct {
	path   string // "" until the daemon has chosen one
	data   []byte // nil once it has ended
	size   int64
	sum    string
	plan   plan
	pieces []piece
	file   string // the session, "" until it is known
	// acked are the bytes that must be there, whatever happens.
	acked sessions.Set
	jobs  map[string]*accepted
	// over is how it ended, as the daemon has said or must say: "placed",
	// "cancelled" or "rejected".
	over string
	// unsure: an asynchronous action was sent and never answered, so it may
	// run beside the one sent in its place.
	unsure bool
	// dropped: its opening was never answered, and nobody goes on with it.
	dropped bool
	// down is the download of what was sent, if it is read back.
	down *fetching
}

// plan is what the client has in mind.
type plan struct {
	queued   bool // by asynchronous actions alone
	mistaken bool // with a digest that is not the file's
	cancelAt int  // after so many pieces; -1 never
	asked    bool // cancelling has been asked for
	window   int
	asPath   bool // names the path
	withSum  bool
	web      overHTTP // what of it goes over HTTP
	late     bool     // over tus: the size is told late
	fetched  bool     // is to be read back
}

// piece is one chunk to be sent.
type piece struct {
	sessions.Range
	wrong       bool // other bytes, to be replaced by a later piece
	sent, acked bool
}

// accepted is an asynchronous action that the daemon has taken on.
type accepted struct {
	action string
	sessions.Range
	over bool
	// twice: the same was sent before, and whether it was accepted is not
	// known.
	twice bool
}

// uploader sends one file after the other, over as many connections as it
// takes, and remembers every answer.
type uploader struct {
	w     *torture
	n     int
	rng   *rand.Rand
	paths []string
	fresh int // names used up
	p     *panel
	http  *porter
	cur   *transfer
	past  []*transfer
}

func (u *uploader) run() {
	defer u.hangUp()
	for {
		var err error
		if u.p == nil {
			err = u.connect()
		}
		if err == nil && u.cur == nil {
			if u.w.ending() {
				return
			}
			u.cur = u.draw()
		}
		if err == nil {
			err = u.advance(u.cur)
		}
		switch {
		case errors.Is(err, errQuit):
			return
		case errors.Is(err, errLost):
			u.hangUp()
		case err != nil:
			u.w.fault("uploader %d: %+v: %v", u.n, u.cur.summary(), err)
			return
		default:
			u.cur.data, u.cur.acked = nil, sessions.Set{}
			u.past = append(u.past, u.cur)
			u.cur = nil
		}
	}
}

// hangUp drops both connections.
func (u *uploader) hangUp() {
	if u.p != nil {
		u.p.close()
		u.http.close()
		u.p, u.http = nil, nil
	}
}

// errQuit ends an uploader because the test has ended.
var errQuit = errors.New("the test has ended")

func (tr *transfer) summary() string {
	if tr == nil {
		return "between uploads"
	}
	return fmt.Sprintf("%s %s of %d bytes in %d pieces, %+v", tr.file, tr.path, tr.size, len(tr.pieces), tr.plan)
}

// draw makes up the next upload.
func (u *uploader) draw() *transfer {
	rng := u.rng
	size := int(math.Exp(rng.Float64() * math.Log(largestFile+1)))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(u.n), byte(len(u.past)), byte(len(u.past) >> 8), byte(rng.Uint32())}).Read(data)
	tr := &transfer{data: data, size: int64(size), sum: sumOfBytes(data), jobs: make(map[string]*accepted)}
	tr.plan = plan{
		queued: u.patient() && rng.IntN(3) > 0, cancelAt: -1, window: 1 + rng.IntN(8),
		asPath: rng.IntN(10) > 0, withSum: rng.IntN(2) == 0, fetched: rng.IntN(3) == 0,
	}
	if !tr.plan.queued {
		tr.plan.web = overHTTP(rng.IntN(int(overTus) + 2)) // over tus twice as often
		tr.plan.web = min(tr.plan.web, overTus)
		tr.plan.late = tr.plan.web == overTus && rng.IntN(4) == 0
	}
	if tr.plan.asPath {
		tr.path = u.paths[rng.IntN(len(u.paths))]
	}
	longest := 1 + int(math.Exp(rng.Float64()*math.Log(256<<10)))
	longest = max(longest, size/12)
	for at := 0; at < size; {
		n := min(1+rng.IntN(longest), size-at)
		tr.pieces = append(tr.pieces, piece{Range: sessions.Range{int64(at), int64(at + n)}})
		at += n
	}
	if !tr.plan.web.inOrder() && rng.IntN(2) == 0 {
		rng.Shuffle(len(tr.pieces), func(i, j int) { tr.pieces[i], tr.pieces[j] = tr.pieces[j], tr.pieces[i] })
	}
	switch rng.IntN(12) {
	case 0:
		tr.plan.cancelAt = rng.IntN(len(tr.pieces))
	case 1:
		tr.plan.mistaken = !tr.plan.queued
	}
	if !tr.plan.queued && !tr.plan.web.inOrder() && rng.IntN(2) == 0 {
		u.complicate(tr)
	}
	return tr
}

// patient reports whether the uploader uses the queue. A job that was cut off
// waits a second and more, for which the daemon may not live long enough, so
// the others keep up the load.
func (u *uploader) patient() bool { return u.n%3 == 0 }

// complicate has some pieces sent with other bytes first and some twice. The
// last one stays as it is: until it is sent, the file cannot be complete, so
// no other bytes can come to stand in it.
func (u *uploader) complicate(tr *transfer) {
	last := len(tr.pieces) - 1
	var pieces, again []piece
	for i, p := range tr.pieces {
		if i < last && u.rng.IntN(4) == 0 {
			wrong := p
			wrong.wrong = true
			pieces = append(pieces, wrong)
		}
		pieces = append(pieces, p)
		if u.rng.IntN(6) == 0 {
			again = append(again, p)
		}
		if len(again) > 0 && u.rng.IntN(3) == 0 {
			pieces, again = append(pieces, again[0]), again[1:]
		}
	}
	tr.pieces = append(pieces, again...)
}

// allSent reports whether every byte has been sent as it should be: then the
// file may be complete.
func (tr *transfer) allSent() bool {
	var sent sessions.Set
	for _, p := range tr.pieces {
		if p.sent && !p.wrong {
			sent.Add(p.Range)
		}
	}
	return sent.Contains(sessions.Range{0, tr.size})
}

// connect waits for the daemon, and checks everything it has promised before
// asking for anything more.
func (u *uploader) connect() error {
	epoch, ok := u.w.awaitUp()
	if !ok {
		return errQuit
	}
	p, err := dialPanel(u.w.s.addr, u.w.token)
	if err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	u.p, u.http = p, &porter{addr: u.w.s.addr}
	if u.cur != nil {
		if err := u.verify(u.cur); err != nil {
			return err
		}
	}
	recent := u.past[max(0, len(u.past)-20):]
	for range min(2, len(recent)) {
		if err := u.verify(recent[u.rng.IntN(len(recent))]); err != nil {
			return err
		}
	}
	u.w.checked(epoch)
	return nil
}

// verify holds what the daemon says now against what it said before.
func (u *uploader) verify(tr *transfer) error {
	for id, j := range tr.jobs {
		if err := u.jobEnds(tr, id, j, 0); err != nil {
			return err
		}
	}
	if tr.file == "" {
		return nil
	}
	var st statusReply
	if err := u.p.call("file_upload_status", fileReply{tr.file}, &st); err != nil {
		return fmt.Errorf("a session is forgotten: %w", err)
	}
	if tr.plan.web != noWeb {
		if err := u.verifyOffset(tr, st.State); err != nil {
			return err
		}
	}
	switch {
	case st.State == "open" && tr.over == "":
		for _, gap := range st.Missing {
			if lost := tr.acked.Overlap(gap); len(lost) > 0 {
				return fmt.Errorf("acknowledged bytes are missing: %v", lost)
			}
		}
		u.w.tell(func(n *tally) {
			n.BytesChecked += int(tr.acked.Len())
			for _, p := range tr.pieces {
				if tr.acked.Contains(p.Range) {
					n.AcksChecked++
				}
			}
		})
		return nil
	case st.State == tr.over:
		return nil
	case tr.over != "":
		return fmt.Errorf("it was %s and is %s", tr.over, st.State)
	case st.State == "placed" && tr.allSent() && !tr.plan.mistaken && st.SHA1 == tr.sum:
		return u.placed(tr)
	case st.State == "rejected" && tr.allSent() && tr.plan.mistaken, st.State == "cancelled" && tr.plan.asked:
		u.ended(tr, st.State)
		return nil
	}
	return fmt.Errorf("it is %+v", st)
}

// placed notes that the file is said to be there, and looks.
func (u *uploader) placed(tr *transfer) error {
	tr.over = "placed"
	u.w.settle(tr.path)
	u.w.tell(func(n *tally) { n.Done++ })
	b, err := os.ReadFile(filepath.Join(u.w.s.root, tr.path))
	if err != nil {
		return fmt.Errorf("done, and not there: %w", err)
	}
	if sum := sumOfBytes(b); sum != tr.sum {
		return fmt.Errorf("done, and not what was sent: %d bytes, %s", len(b), sum)
	}
	return nil
}

func (u *uploader) ended(tr *transfer, how string) {
	tr.over = how
	u.w.withdraw(tr.path)
	u.w.tell(func(n *tally) {
		if how == "cancelled" {
			n.Cancelled++
		} else {
			n.Rejected++
		}
	})
}

// advance takes a transfer to its end.
func (u *uploader) advance(tr *transfer) error {
	if tr.file == "" && !tr.dropped {
		if err := u.begin(tr); err != nil {
			return err
		}
	}
	if tr.over == "" && !tr.dropped {
		if err := u.send(tr); err != nil {
			return err
		}
	}
	if tr.over == "placed" && tr.plan.fetched {
		return u.fetch(tr)
	}
	return nil
}

func (u *uploader) send(tr *transfer) error {
	switch {
	case tr.plan.queued:
		return u.queue(tr)
	case tr.plan.web.inOrder():
		return u.stream(tr)
	}
	return u.store(tr)
}

// begin opens the session.
func (u *uploader) begin(tr *transfer) error {
	params := uploadParams{Path: tr.path, Size: len(tr.data), Timeout: 3_600_000}
	switch {
	case tr.plan.mistaken:
		params.SHA1 = sumOfBytes([]byte(tr.sum))
	case tr.plan.withSum:
		params.SHA1 = tr.sum
	}
	if tr.plan.queued {
		return u.beginQueued(tr, params)
	}
	if tr.unsure {
		// The answer to the first try was lost.
		return u.adopt(tr)
	}
	tr.unsure = true
	if tr.plan.web == overTus {
		return u.create(tr, params.SHA1)
	}
	var opened fileReply
	if err := u.p.call("file_upload_request", params, &opened); err != nil {
		return err
	}
	u.opened(tr, opened.File)
	return nil
}

// adopt finds the session of an opening whose answer was lost, if there is
// one; without a path nobody could know it.
func (u *uploader) adopt(tr *transfer) error {
	if !tr.plan.asPath {
		tr.dropped = true
		return nil
	}
	var list struct{ Uploads []statusReply }
	if err := u.p.call("file_transfer_list", nil, &list); err != nil {
		return err
	}
	for _, st := range list.Uploads {
		if st.Path == tr.path {
			u.opened(tr, st.File)
			return nil
		}
	}
	tr.dropped = true
	return nil
}

func (u *uploader) opened(tr *transfer, file string) {
	tr.file, tr.unsure = file, false
	if tr.path == "" {
		tr.path = "uploads/" + file
	}
	sum := tr.sum
	if tr.plan.mistaken {
		sum = ""
	}
	u.w.coming(tr.path, sum)
}

// beginQueued has the session opened by a job, which gives it its id.
func (u *uploader) beginQueued(tr *transfer, params uploadParams) error {
	if len(tr.jobs) == 0 {
		if tr.unsure {
			// Whether a job will open the path one day is not known: it is
			// left alone from now on.
			tr.dropped = true
			u.w.tell(func(n *tally) { n.Unsure++ })
			for i, path := range u.paths {
				if path == tr.path {
					u.fresh++
					u.paths[i] = uploaderPath(u.n, u.fresh)
					u.w.coming(u.paths[i], "")
				}
			}
			return nil
		}
		tr.unsure = true
		w, err := u.p.ask("file_upload_request_async", params)
		if err != nil {
			return err
		}
		if err := u.accepted(tr, w, &accepted{action: "file_upload_request"}); err != nil {
			return err
		}
		tr.unsure = false
	}
	for id, j := range tr.jobs {
		if err := u.jobEnds(tr, id, j, longest); err != nil {
			return err
		}
		u.opened(tr, id)
	}
	return nil
}

// accepted waits for the answer to an asynchronous action: from then on it
// will run, once.
func (u *uploader) accepted(tr *transfer, w pending, j *accepted) error {
	var queued queuedReply
	if err := w.into(&queued); err != nil {
		return err
	}
	tr.jobs[queued.Job] = j
	u.w.tell(func(n *tally) { n.Jobs++ })
	return nil
}

// jobEnds waits for the end of a job, which must be a good one, and takes it
// into account. With no patience it only looks.
func (u *uploader) jobEnds(tr *transfer, id string, j *accepted, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var st jobReply
		if err := u.p.call("get_job", queuedReply{id}, &st); err != nil {
			return fmt.Errorf("an accepted job is forgotten: %w", err)
		}
		switch st.State {
		case "ok":
			if j.over {
				return nil
			}
			j.over = true
			tr.acked.Add(j.Range)
			if j.Range.Len() > 0 {
				u.w.tell(func(n *tally) { n.Acks++; n.AckedBytes += int(j.Range.Len()) })
			}
			return nil
		case "error":
			// The same was sent before and was taken on, as it turns out.
			if j.twice && st.Retcode == retcodeNoTransfer {
				j.over = true
				return nil
			}
			return fmt.Errorf("the accepted job %s (%s %v) failed: %d %s", id, j.action, j.Range, st.Retcode, st.Message)
		}
		if j.over {
			return fmt.Errorf("the job %s had ended and is %s", id, st.State)
		}
		if time.Now().After(deadline) {
			if patience == 0 {
				return nil
			}
			return fmt.Errorf("the job %s (%s) is still %s", id, j.action, st.State)
		}
	}
}

const retcodeNoTransfer = 21102

// flight is a chunk whose answer has not come yet.
type flight struct {
	pending
	at int // of pieces
}

// store sends what is not acknowledged yet, and what became of it.
func (u *uploader) store(tr *transfer) error {
	var flying []flight
	var failed error
	land := func(n int) {
		for ; n > 0 && len(flying) > 0; n-- {
			if err := u.landed(tr, flying[0]); err != nil && (failed == nil || errors.Is(failed, errLost)) {
				failed = err
			}
			flying = flying[1:]
		}
	}
	for i := range tr.pieces {
		p := &tr.pieces[i]
		if tr.over != "" || failed != nil {
			break
		}
		if i == tr.plan.cancelAt {
			land(len(flying))
			if failed == nil {
				failed = u.cancel(tr)
			}
			continue
		}
		if p.acked || p.wrong && p.sent {
			continue
		}
		data := tr.data[p.Range[0]:p.Range[1]]
		if p.wrong {
			data = make([]byte, p.Range.Len()) // zeros
		} else if tr.changes(i) {
			// Stored bytes may be missing until it is answered.
			tr.acked.Remove(p.Range)
			u.w.tell(func(n *tally) { n.Rewritten++ })
		}
		p.sent = true
		if tr.plan.web == someWeb && u.rng.IntN(2) == 0 {
			// What is on its way meanwhile may take effect later.
			if land(len(flying)); failed == nil && tr.over == "" {
				failed = u.carry(tr, i)
			}
			continue
		}
		var w pending
		var err error
		// A byte string of odd length is padded, which only the last may be.
		if (p.Range.Len()%2 == 0 || p.Range[1] == tr.size) && u.rng.IntN(3) == 0 {
			w, err = asText(u.p, tr.file, p.Range, data)
		} else {
			w, err = asPacket(u.p, tr.file, p.Range, data)
		}
		if err != nil {
			failed = err
			break
		}
		flying = append(flying, flight{w, i})
		land(len(flying) - tr.plan.window + 1)
	}
	land(len(flying)) // answers that came before the connection was lost count
	if failed != nil || tr.over != "" {
		return failed
	}
	return fmt.Errorf("every piece was answered, and it is not done")
}

// changes reports whether piece i may replace other bytes that are stored.
func (tr *transfer) changes(i int) (changes bool) {
	for _, o := range tr.pieces[:i] {
		if o.Range == tr.pieces[i].Range && o.sent {
			changes = o.wrong || !o.acked && changes
		}
	}
	return changes
}

// landed takes in the answer to a chunk.
func (u *uploader) landed(tr *transfer, f flight) error {
	var stored storedReply
	err := f.into(&stored)
	p := &tr.pieces[f.at]
	switch code := actions.CodeOf(err); {
	case err == nil:
		u.acked(tr, f.at)
		if stored.Done {
			return u.placed(tr)
		}
		return nil
	case errors.Is(err, errLost):
		return err
	case code == actions.CodeTransfer && tr.plan.mistaken:
		u.ended(tr, "rejected")
		return nil
	case code == actions.CodeNoTransfer && tr.allSent() && slices.ContainsFunc(tr.pieces[:f.at], func(o piece) bool { return o.Range == p.Range }):
		return nil // a piece sent twice, after the file was complete
	}
	return fmt.Errorf("piece %d of %+v: %w", f.at, tr.pieces, err)
}

// acked notes that piece i is stored.
func (u *uploader) acked(tr *transfer, i int) {
	p := &tr.pieces[i]
	p.acked = true
	// What has been sent in its place meanwhile may be replacing it now.
	if !p.wrong || !slices.ContainsFunc(tr.pieces[i+1:], func(o piece) bool { return o.sent && o.Range == p.Range }) {
		tr.acked.Add(p.Range)
	}
	u.w.tell(func(n *tally) { n.Acks++; n.AckedBytes += int(p.Range.Len()) })
}

// cancel gives the upload up.
func (u *uploader) cancel(tr *transfer) error {
	tr.plan.asked = true
	if tr.plan.web == overTus {
		r, err := u.http.do(http.MethodDelete, u.at(tr), tusFields(), nil)
		if err == nil && r.status != http.StatusNoContent {
			err = fmt.Errorf("giving up is answered %s", &r)
		}
		if err == nil {
			u.ended(tr, "cancelled")
		}
		return err
	}
	if u.patient() && !tr.unsure && u.rng.IntN(2) == 0 {
		tr.unsure = true // so that it is queued once only
		w, err := u.p.ask("file_upload_cancel_async", fileReply{tr.file})
		if err != nil {
			return err
		}
		j := &accepted{action: "file_upload_cancel"}
		if err := u.accepted(tr, w, j); err != nil {
			return err
		}
	}
	for id, j := range tr.jobs {
		if j.action == "file_upload_cancel" {
			if err := u.jobEnds(tr, id, j, longest); err != nil {
				return err
			}
			u.ended(tr, "cancelled")
			return nil
		}
	}
	if err := u.p.call("file_upload_cancel", fileReply{tr.file}, nil); err != nil && !(tr.unsure && actions.CodeOf(err) == actions.CodeNoTransfer) {
		return err
	}
	u.ended(tr, "cancelled")
	return nil
}

// queue has every piece stored by a job.
func (u *uploader) queue(tr *transfer) error {
	type flight struct {
		pending
		at int
		j  *accepted
	}
	var flying []flight
	var failed error
	land := func(n int) {
		for ; n > 0 && len(flying) > 0; n-- {
			f := flying[0]
			flying = flying[1:]
			err := u.accepted(tr, f.pending, f.j)
			if err == nil {
				tr.pieces[f.at].acked = true
			} else if failed == nil || errors.Is(failed, errLost) {
				failed = err
			}
		}
	}
	for i := range tr.pieces {
		p := &tr.pieces[i]
		if i == tr.plan.cancelAt || failed != nil {
			break
		}
		if p.acked {
			continue
		}
		j := &accepted{action: "file_upload_chunk", Range: p.Range, twice: p.sent}
		if p.sent {
			tr.unsure = true
			u.w.tell(func(n *tally) { n.Unsure++ })
		}
		p.sent = true
		w, err := u.p.askChunk("file_upload_chunk_async", tr.file, p.Range[0], tr.data[p.Range[0]:p.Range[1]])
		if err != nil {
			failed = err
			break
		}
		flying = append(flying, flight{w, i, j})
		land(len(flying) - tr.plan.window + 1)
	}
	land(len(flying))
	if failed != nil {
		return failed
	}
	done := 0
	for id, j := range tr.jobs {
		if j.action == "file_upload_cancel" {
			continue
		}
		if err := u.jobEnds(tr, id, j, longest); err != nil {
			return err
		}
	}
	if tr.plan.cancelAt >= 0 {
		return u.cancel(tr)
	}
	for id := range tr.jobs {
		var st jobReply
		var stored storedReply
		if err := u.p.call("get_job", queuedReply{id}, &st); err != nil {
			return err
		}
		if st.State == "ok" {
			if err := json.Unmarshal(st.Data, &stored); err != nil {
				return err
			}
		}
		if stored.Done {
			done++
		}
	}
	if done != 1 && !(tr.unsure && done < 2) {
		return fmt.Errorf("%d jobs were told that it is done", done)
	}
	if err := u.verify(tr); err != nil {
		return err
	}
	if tr.over != "placed" {
		return fmt.Errorf("every job has ended, and it is not done")
	}
	return nil
}

// knows reports whether the session is one that was answered for.
func (u *uploader) knows(session string) bool {
	return slices.ContainsFunc(u.past, func(tr *transfer) bool { return tr.file == session })
}

// checkEnd compares what the daemon says of an ended upload with what its
// client knows and with a fold of the journal.
func (u *uploader) checkEnd(p *panel, tr *transfer, f foldedUpload) {
	if tr.file == "" {
		return
	}
	var st statusReply
	if err := p.call("file_upload_status", fileReply{tr.file}, &st); err != nil {
		u.w.fault("%s: %v", tr.summary(), err)
		return
	}
	live := foldedUpload{
		Session: tr.file, State: st.State, Path: st.Path, Size: st.Size, Digest: st.SHA1, Stored: f.Stored,
	}
	if fmt.Sprint(live) != fmt.Sprint(f) || sessions.SetOf(f.Stored...).Len() != st.Received {
		u.w.fault("%s: the daemon says %+v, a fold %+v", tr.summary(), st, f)
	}
	untold := tr.plan.late && st.Size < 0 && tr.over == "cancelled"
	if st.State != tr.over || st.Path != tr.path || st.Size != tr.size && !untold {
		u.w.fault("%s: the client knows of %q, the daemon says %+v", tr.summary(), tr.over, st)
	}
}

// checkJob does the same for a job.
func (u *uploader) checkJob(p *panel, tr *transfer, id string, j *accepted, state string) {
	var st jobReply
	if err := p.call("get_job", queuedReply{id}, &st); err != nil {
		u.w.fault("job %s: %v", id, err)
		return
	}
	says := map[string]string{"done": "ok", "failed": "error", "poisoned": "error"}[state]
	if says != st.State || st.State != "ok" && !j.twice {
		u.w.fault("job %s (%s %v) of %s is %s by the journal, and the daemon says %+v", id, j.action, j.Range, tr.summary(), state, st)
	}
}
