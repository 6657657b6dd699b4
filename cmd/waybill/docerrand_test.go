package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"waybill/actions"
	"waybill/sessions"
)

// docErrand is a workload for the document library that keeps every answer.
type docErrand struct {
	errand
	// long: one content is so long that it is made durable while more comes.
	long bool
	// kinds are the requests that were answered; guarded by mu.
	kinds map[string]bool
}

func (e *docErrand) asked(request, ref string) {
	e.got(ack{key: ref, action: request, document: true})
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kinds == nil {
		e.kinds = make(map[string]bool)
	}
	e.kinds[request] = true
}

// dial connects with the main token.
func (e *docErrand) dial() (*clerk, error) {
	c, err := dialClerk(e.s.addr, "", e.token)
	if err == nil {
		c.asked = e.asked
	}
	return c, err
}

// carrier is one client's part of the errand: it has a connection of either kind.
type carrier struct {
	*clerk
	p *porter
	e *docErrand
	// last is the key of the answer before.
	last string
}

// part is run by a client of its own.
func (e *docErrand) part(do func(*carrier) error) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	defer c.close()
	p := &porter{addr: e.s.addr, traced: true}
	defer p.close()
	return do(&carrier{clerk: c, p: p, e: e})
}

// transfer has a transfer answered, whose status must be want, and keeps the
// answer. from is where its body goes.
func (c *carrier) transfer(want int, method string, k task, header fields, from int64, body []byte) (*transferReply, error) {
	r, err := c.p.do(method, k, header, body)
	if err == nil && r.status != want {
		err = fmt.Errorf("%s %v is answered %s and not %d", method, header, &r, want)
	}
	if err != nil {
		return nil, err
	}
	a := ack{key: r.key, session: k.session(), task: &taskTold{durable: r.offset(), refused: want >= http.StatusBadRequest}}
	if !a.task.refused && method != http.MethodHead {
		a.Range = sessions.Range{from, from + int64(len(body))}
		if want == http.StatusOK {
			a.task.published = new(publishedReply)
			err = json.Unmarshal(r.body, a.task.published)
		}
	}
	return &r, errors.Join(err, c.told(a))
}

// told keeps an answer to a transfer.
func (c *carrier) told(a ack) error {
	if a.Range.Len() > 0 && a.task.published == nil && a.task.durable != a.Range[1] {
		return fmt.Errorf("bytes %v are brought, and %d are said to be there", a.Range, a.task.durable)
	}
	a.after, c.last = c.last, a.key
	c.e.got(a)
	return nil
}

// whole is the transfer that completes a content; data is all of it.
func (c *carrier) whole(method string, k task, header fields, from int64, data []byte) error {
	r, err := c.transfer(http.StatusOK, method, k, header, from, data[from:])
	if err == nil {
		_, err = r.published(data)
	}
	return err
}

func (c *carrier) put(k task, data []byte) error {
	return c.whole(http.MethodPut, k, nil, 0, data)
}

// at is the header of a transfer that goes on at an offset.
func at(offset int64, complete bool) fields {
	h := fields{"Upload-Offset": offset}
	if complete {
		h["Upload-Complete"] = "?1"
	}
	return h
}

// patch brings data from an offset on, piece by piece, the last one of which
// completes it.
func (c *carrier) patch(k task, data []byte, from, piece int64) error {
	for size := int64(len(data)); ; from += piece {
		if from+piece >= size {
			return c.whole(http.MethodPatch, k, at(from, true), from, data)
		}
		if _, err := c.transfer(http.StatusNoContent, http.MethodPatch, k, at(from, false), from, data[from:from+piece]); err != nil {
			return err
		}
	}
}

// head asks how far a task has come.
func (c *carrier) head(k task) (*transferReply, error) {
	return c.transfer(http.StatusOK, http.MethodHead, k, nil, 0, nil)
}

// read compares what a document is with what it should be. The connection is
// not used again: if the document goes now, the daemon closes those on which it
// is being read, and it may not know yet that this one has been.
func (c *carrier) read(file string, data []byte) error {
	defer c.p.close()
	k, err := c.toRead(file)
	if err != nil {
		return err
	}
	r, err := c.p.do(http.MethodGet, k, nil, nil)
	if err == nil && (r.status != http.StatusOK || string(r.body) != string(data)) {
		err = fmt.Errorf("%s is read as %d bytes with the status %d, not %d bytes", file, len(r.body), r.status, len(data))
	}
	return err
}

// create makes a document in the root.
func (c *carrier) create(file string) (task, error) {
	return c.task("createFile", fields{"file_id": file, "filename": file + ".bin"})
}

// uploads are contents that come in one piece: bytes with a length and without,
// an empty one, one that replaces another, and one that every daemon has.
func (c *carrier) uploads() error {
	for i := range 4 {
		file := fmt.Sprint("whole", i)
		k, err := c.create(file)
		if err != nil {
			return err
		}
		data := noise(byte(20+i), 10_000*i)
		header := fields{"Repr-Digest": reprDigest(data)}
		if i%2 == 1 {
			header["Transfer-Encoding"] = "chunked"
		}
		if err := c.whole(http.MethodPut, k, header, 0, data); err != nil {
			return err
		}
		if err := c.read(file, data); err != nil {
			return err
		}
	}
	for _, data := range [][]byte{noise(30, 30_000), []byte("This is a file for testing.")} {
		k, err := c.toWrite("whole3")
		if err != nil {
			return err
		}
		if err := c.put(k, data); err != nil {
			return err
		}
		if err := c.read("whole3", data); err != nil {
			return err
		}
	}
	return nil
}

// lengthy is a content that comes in one piece and is made durable in several. In
// a trace, text is a quarter of what noise is.
func (c *carrier) lengthy() error {
	data := bytes.Repeat([]byte("as long as it is"), 20<<20/16)
	k, err := c.create("lengthy")
	if err == nil {
		err = c.put(k, data)
	}
	return err
}

// patches are contents that come bit by bit; the second is completed by a transfer
// that brings nothing.
func (c *carrier) patches() error {
	data := noise(31, 12*5_003)
	for i, file := range []string{"pieces", "nothing last"} {
		k, err := c.create(file)
		if err != nil {
			return err
		}
		if i == 0 {
			err = c.patch(k, data, 0, 5_003)
		} else {
			err = errors.Join(c.most(k, data[:30_000], 7_001, 30_000), c.whole(http.MethodPatch, k, at(30_000, true), 30_000, data[:30_000]))
		}
		if err != nil {
			return err
		}
		r, err := c.head(k)
		if err != nil {
			return err
		}
		if !r.complete() {
			return fmt.Errorf("%s: HEAD says %v", file, r.header)
		}
	}
	return c.read("pieces", data)
}

// most brings the bytes of data up to an offset, and completes nothing.
func (c *carrier) most(k task, data []byte, piece, upTo int64) error {
	for from := int64(0); from < upTo; {
		n := min(piece, upTo-from)
		if _, err := c.transfer(http.StatusNoContent, http.MethodPatch, k, at(from, false), from, data[from:from+n]); err != nil {
			return err
		}
		from += n
		if _, err := c.head(k); err != nil {
			return err
		}
	}
	return nil
}

// again are uploads that are begun anew: a content over a part of another, one
// that is not what was announced, and one whose line breaks.
func (c *carrier) again() error {
	old, data := noise(32, 30_000), noise(33, 20_000)
	k, err := c.create("again")
	if err == nil {
		err = c.most(k, old, 15_000, 30_000)
	}
	if err == nil {
		err = c.put(k, data)
	}
	if err == nil {
		err = c.read("again", data)
	}
	if err != nil {
		return err
	}

	if k, err = c.create("mistaken"); err != nil {
		return err
	}
	if _, err = c.transfer(http.StatusUnprocessableEntity, http.MethodPut, k, fields{"Repr-Digest": reprDigest(old)}, 0, data); err != nil {
		return err
	}
	if r, err := c.head(k); err != nil || r.offset() != 0 {
		return fmt.Errorf("a wrong digest leaves %v: %w", r, err)
	}
	if err := c.put(k, data); err != nil {
		return err
	}

	if k, err = c.create("broken"); err != nil {
		return err
	}
	r, err := c.p.breakOff(http.MethodPatch, k, at(0, true), old[:12_000], len(old))
	if err == nil && r.status != http.StatusBadRequest {
		err = fmt.Errorf("a body that breaks off is answered %s", &r)
	}
	if err == nil {
		err = c.told(ack{key: r.key, session: k.session(), Range: sessions.Range{0, 12_000}, task: &taskTold{durable: r.offset()}})
	}
	if err != nil {
		return err
	}
	if _, err := c.transfer(http.StatusConflict, http.MethodPatch, k, at(11_999, false), 0, old[:1]); err != nil {
		return err
	}
	return errors.Join(c.patch(k, old, 12_000, 10_007), c.read("broken", old))
}

// equals are documents with the same content: it is kept as long as one has it,
// and stored anew when it is needed again.
func (c *carrier) equals() error {
	data := noise(34, 8_000)
	for range 2 {
		for _, file := range []string{"twin 1", "twin 2"} {
			k, err := c.create(file)
			if err == nil {
				err = c.put(k, data)
			}
			if err != nil {
				return err
			}
		}
		if err := errors.Join(
			c.operate("twin 1", "permanently_delete"), c.read("twin 2", data), c.operate("twin 2", "permanently_delete"), c.dropped(data),
		); err != nil {
			return err
		}
	}
	return nil
}

// dropped waits until a content that nothing names any more is gone: that comes
// after the answer that has taken its last name, and would not come if it had one
// again, or the daemon stopped, meanwhile.
func (c *carrier) dropped(data []byte) error {
	digest := digestOf(data)
	file := filepath.Join(c.e.s.state, "objects", digest[:2], digest)
	for deadline := time.Now().Add(longest); exists(file); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the content %s stays", digest)
		}
	}
	return nil
}

// removals are documents that go in every way there is, and tasks that end with
// what they have brought.
func (c *carrier) removals() error {
	data := noise(35, 9_000)
	var tasks []task
	for i := range 4 {
		file := fmt.Sprint("going", i)
		k, err := c.create(file)
		if err == nil {
			err = c.put(k, noise(byte(40+i), 6_000))
		}
		if err == nil {
			k, err = c.toWrite(file)
		}
		if err == nil {
			err = c.most(k, data, 9_000, 9_000)
		}
		if err != nil {
			return err
		}
		tasks = append(tasks, k)
	}
	next, err := c.toWrite("going0") // ends the one before
	if err != nil {
		return err
	}
	if err := errors.Join(
		c.put(next, data),
		c.operate("going1", "delete"),
		c.operate("going1", "recover"),
		c.read("going1", noise(41, 6_000)),
		c.operate("going2", "delete"),
		c.operate("going2", "permanently_delete"),
		c.operate("going3", "permanently_delete"),
		c.dropped(noise(42, 6_000)),
		c.dropped(noise(43, 6_000)),
	); err != nil {
		return err
	}
	for _, k := range tasks {
		if _, err := c.transfer(http.StatusGone, http.MethodPatch, k, at(9_000, true), 0, nil); err != nil {
			return err
		}
	}
	wrong := task{tasks[0].id, tasks[1].token, tasks[0].fake}
	if _, err := c.transfer(http.StatusUnauthorized, http.MethodPut, wrong, nil, 0, data); err != nil {
		return err
	}
	return nil
}

// requests are one of every kind that is not asked elsewhere, some of them
// refused.
func (c *carrier) requests() error {
	var policy any
	if err := c.call("getPolicy", fields{"policy_id": "user_auth"}, &policy); err != nil {
		return err
	}
	for _, r := range []struct {
		request string
		data    any
		code    int
	}{
		{"setPolicy", fields{"policy_id": "user_auth", "content": policy}, 0},
		{"getPolicy", fields{"policy_id": "none"}, 404},
		{"createDir", fields{"name": "a directory", "dir_id": "dir"}, 0},
		{"createDir", fields{"name": "another", "dir_id": "below", "parent_id": "dir"}, 0},
		{"createFile", fields{"file_id": "in it", "directory_id": "below"}, 0},
		{"createFile", fields{"file_id": "in it"}, docFailed},
		{"getDir", fields{"id": "dir"}, 0},
		{"getRootDir", nil, 0},
		{"operateDir", fields{"dir_id": "dir", "action": "list"}, 0},
		{"operateDir", fields{"dir_id": "dir", "action": "rename", "new_dirname": "renamed"}, 0},
		{"operateDir", fields{"dir_id": "below", "action": "change_id", "new_id": "under"}, 0},
		{"operateDir", fields{"dir_id": "under", "action": "move", "new_parent": ""}, 0},
		{"operateDir", fields{"dir_id": "dir", "action": "move", "new_parent": "dir"}, -2},
		{"operateDir", fields{"dir_id": "under", "action": "delete"}, 0},
		{"operateDir", fields{"dir_id": "under", "action": "recover"}, 0},
		{"operateFile", fields{"file_id": "in it", "action": "rename", "new_filename": "new name"}, 0},
		{"operateFile", fields{"file_id": "in it", "action": "move", "new_parent": "dir"}, 0},
		{"operateFile", fields{"file_id": "in it", "action": "change_id", "new_id": "still in it"}, 0},
		{"operateFile", fields{"file_id": "in it", "action": "read"}, docFailed},
		{"operateFile", fields{"file_id": "still in it", "action": "delete_rev"}, 0},
		{"getFileRevisions", fields{"file_id": "still in it", "view_deleted": true}, 0},
		{"operateDir", fields{"dir_id": "dir", "action": "permanently_delete"}, 0},
		{"getAccess", fields{"id": ""}, 0},
		{"setAccess", fields{"id": "under", "access_rules": fields{"read": []any{}}}, 0},
		{"createGroup", fields{"group_name": "g", "members": []string{"admin"}}, 0},
		{"createUser", fields{"username": "bob", "password": "typed", "groups": []string{"sysop"}}, 0},
		{"createUser", fields{"username": "bob", "password": "typed"}, docFailed},
		{"operateUser", fields{"username": "bob", "action": "set_nickname", "nickname": "Bob"}, 0},
		{"getUserProperties", fields{"username": "bob"}, 0},
		{"getAvatar", fields{"username": "bob"}, 0},
	} {
		reply, err := c.ask(r.request, r.data)
		if err == nil && reply.Code != r.code {
			err = fmt.Errorf("%s %v is answered %d %s", r.request, r.data, reply.Code, reply.Msg)
		}
		if err != nil {
			return err
		}
	}
	if err := c.login("bob", "typed"); err != nil {
		return err
	}
	if err := c.call("refreshToken", nil, nil); err != nil {
		return err
	}
	if err := c.call("operateUser", fields{"action": "set_username"}, nil); refusalCode(err) != docFailed {
		return fmt.Errorf("set_username is answered %w", err)
	}
	goodbye, err := c.say([]byte(`{"version":1,"request":"disconnect"}`))
	if err == nil && string(goodbye) != "Goodbye" {
		err = fmt.Errorf("disconnect is answered %s", goodbye)
	}
	return err
}

// binned is a document whose time in the recycle bin is short: it goes by itself.
func (c *carrier) binned() error {
	k, err := c.create("binned")
	if err == nil {
		err = c.put(k, noise(36, 7_000))
	}
	if err != nil {
		return err
	}
	life := func(seconds int) error {
		return c.call("setPolicy", fields{
			"policy_id": "recycle", "content": fields{"deleteAfterMarked": seconds, "revDeleteAfterMarked": seconds},
		}, nil)
	}
	return errors.Join(life(0), c.operate("binned", "delete"), life(604800))
}

// emptied waits until a document has gone for good.
func (c *carrier) emptied() error {
	for deadline := time.Now().Add(longest); ; time.Sleep(20 * time.Millisecond) {
		r, err := c.ask("getFileRevisions", fields{"file_id": "binned", "view_deleted": true})
		if err != nil {
			return err
		}
		if r.Code == 404 {
			return c.dropped(noise(36, 7_000))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("what is due is not purged: %d %s", r.Code, r.Msg)
		}
	}
}

// run is every kind of request, and transfers of many kinds at once. It ends the
// daemon.
func (e *docErrand) run() error {
	if err := e.part((*carrier).binned); err != nil {
		return err
	}
	var all errgroup.Group
	parts := []func(*carrier) error{
		(*carrier).uploads, (*carrier).patches, (*carrier).again, (*carrier).equals, (*carrier).removals, (*carrier).requests,
	}
	if e.long {
		parts = append(parts, (*carrier).lengthy)
	}
	for _, part := range parts {
		all.Go(func() error { return e.part(part) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := e.part((*carrier).emptied); err != nil {
		return err
	}
	err := e.part(func(c *carrier) error {
		const goodbye = 200
		r, err := c.ask("shutdown", nil)
		if err == nil && r.Code != goodbye {
			err = newDocRefusal(r)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, kind := range actions.DocRequests() {
		if !e.kinds[kind] {
			return fmt.Errorf("nobody has asked for %s", kind)
		}
	}
	return nil
}
