package actions

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

// TestLibraryModel runs random requests of users of different rights against the
// library, with crashes, clean restarts and days that pass in between, and
// compares what it says with what its users know: nothing acknowledged is lost,
// nobody changes what they may not, and what is deleted comes back or goes as
// the recycle bin says. At every stop the rig compares a fresh fold with the
// live state, and the store with the journal. (The tree's own rules have a model
// of their own in package doctree.)
func TestLibraryModel(t *testing.T) {
	for seed := range uint64(runs()) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &library{
				librig: newLibrary(t), rand: rand.New(rand.NewPCG(seed, 11)),
				files: make(map[string]*document), dirs: map[string]bool{"": true},
			}
			h.user("bob")
			for step := range 150 {
				h.step(step)
			}
			h.agree()
		})
	}
}

// document is what its users know of a file: its content, and since when it is
// marked for deletion.
type document struct {
	data    []byte
	deleted time.Time
	// half is a task with a transfer that broke off, and what it brought.
	half  *TaskOpened
	bytes []byte
}

type library struct {
	*librig
	rand  *rand.Rand
	files map[string]*document
	dirs  map[string]bool
}

// some draws a key of a map, in an order that the seed decides.
func some[V any](h *library, m map[string]V) (string, bool) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return "", false
	}
	// Maps have no order; the draw must not depend on it.
	least := func(i int) {
		for j := i + 1; j < len(keys); j++ {
			if keys[j] < keys[i] {
				keys[i], keys[j] = keys[j], keys[i]
			}
		}
	}
	n := h.rand.IntN(len(keys))
	for i := range n + 1 {
		least(i)
	}
	return keys[n], true
}

func (h *library) step(n int) {
	id, ok := some(h, h.files)
	if !ok || len(h.files) < 6 && h.rand.IntN(4) == 0 {
		h.make(n)
		return
	}
	f := h.files[id]
	switch h.rand.IntN(16) {
	case 0:
		h.crash()
		h.mustStart()
	case 1:
		h.close()
		h.mustStart()
	case 2:
		h.dir(n)
	case 3:
		h.trespass(id)
	case 4:
		h.days()
	case 5:
		h.remove(id, f)
	case 6, 7:
		h.mark(id, f)
	case 8:
		h.rename(id, f, n)
	case 9:
		h.breakOff(id, f)
	case 10, 11:
		h.resume(id, f)
	default:
		h.replace(id, f)
	}
	if id, ok := some(h, h.files); ok {
		h.agrees(id, h.files[id])
	}
}

func (h *library) make(n int) {
	id, parent := fmt.Sprint("f", n), ""
	if p, ok := some(h, h.dirs); ok {
		parent = p
	}
	file := newFile(id)
	file.DirectoryID = &parent
	r, err := h.as("admin", &CreateFile{HasData: true, NewFile: file})
	h.files[id] = &document{half: want[*TaskOpened](h.t, r, err)}
}

func (h *library) dir(n int) {
	id := fmt.Sprint("d", n)
	parent, _ := some(h, h.dirs)
	r, err := h.asMain(&CreateDir{NewDir: doctree.NewDir{Name: &id, DirID: &id, ParentID: &parent}})
	want[*DirCreated](h.t, r, err)
	h.dirs[id] = true
}

// trespass has somebody without rights try to change things.
func (h *library) trespass(id string) {
	before := h.tree()
	for _, a := range []DocAction{
		fileOp(id, "write"), fileOp(id, "delete"), fileOp(id, "permanently_delete"), fileOp(id, "recover"),
		&CreateFile{HasData: true, NewFile: newFile("bobs")}, &CreateDir{NewDir: doctree.NewDir{Name: ptr("x")}},
		&SetAccess{SetAccess: setAccess(id, `{}`)}, &CreateGroup{NewGroup: acl.NewGroup{Name: ptr("g")}},
		setStatus("admin", 1), &SetPolicy{ID: ptr("recycle")},
	} {
		_, err := h.as("bob", a)
		assert.Error(h.t, err, "%s by somebody who may not", a.Name())
	}
	assert.Equal(h.t, before, h.tree(), "what is refused changes nothing")
}

func (h *library) tree() string {
	h.t.Helper()
	var out []byte
	require.NoError(h.t, h.core.view(func(s *State) {
		tree, err := s.tree.MarshalJSON()
		require.NoError(h.t, err)
		accounts, err := s.accounts.MarshalJSON()
		require.NoError(h.t, err)
		out = append(tree, accounts...)
	}))
	return string(out)
}

const bin = 604800 * time.Second // policy recycle as shipped

// days lets time pass, and the purge run: what was marked for long enough goes,
// and nothing else does.
func (h *library) days() {
	h.clock.Advance(time.Duration(1+h.rand.IntN(5)) * 24 * time.Hour)
	require.NoError(h.t, h.reap(h.clock.Now()))
	require.NoError(h.t, h.Engine.purge(h.t.Context()))
	for id, f := range h.files {
		f.half = nil // an hour has passed
		// The time it goes for good is told in whole seconds.
		if !f.deleted.IsZero() && h.clock.Now().After(f.deleted.Truncate(time.Second).Add(bin)) {
			refused(h.t, acl.CodeNoFile, nil, h.op(id, "recover"))
			delete(h.files, id)
		}
	}
}

func (h *library) remove(id string, f *document) {
	require.NoError(h.t, h.op(id, "permanently_delete"))
	delete(h.files, id)
}

// mark deletes what is live, and recovers what is not.
func (h *library) mark(id string, f *document) {
	if f.deleted.IsZero() {
		require.NoError(h.t, h.op(id, "delete"))
		f.deleted, f.half = h.clock.Now(), nil
		return
	}
	require.NoError(h.t, h.op(id, "recover"))
	f.deleted = time.Time{}
}

func (h *library) rename(id string, f *document, n int) {
	op, fresh := fileOp(id, "change_id"), fmt.Sprint("r", n)
	op.NewID, op.ViewDeleted = &fresh, true
	r, err := h.as("admin", op)
	want[Done](h.t, r, err)
	delete(h.files, id)
	h.files[fresh] = f
}

func (h *library) replace(id string, f *document) {
	data := make([]byte, h.rand.IntN(3)*h.rand.IntN(40_000))
	for i := range data {
		data[i] = byte(h.rand.Uint32())
	}
	_, err := h.write("admin", id, data)
	if !f.deleted.IsZero() {
		refused(h.t, acl.CodeNotFound, nil, err)
		return
	}
	require.NoError(h.t, err)
	f.data, f.half = data, nil
}

// breakOff leaves a transfer half-way.
func (h *library) breakOff(id string, f *document) {
	if !f.deleted.IsZero() {
		return
	}
	r, err := h.as("admin", fileOp(id, "write"))
	f.half = want[*TaskOpened](h.t, r, err)
	f.bytes = random(1 + h.rand.IntN(100_000))
	w, err := h.task(f.half).Store(0, false)
	require.NoError(h.t, err)
	_, err = w.Write(f.bytes[:h.rand.IntN(len(f.bytes))])
	require.NoError(h.t, err)
	_, err = w.Keep()
	require.NoError(h.t, err)
}

// resume goes on where a transfer broke off.
func (h *library) resume(id string, f *document) {
	if f.half == nil {
		return
	}
	task := h.task(f.half)
	st, err := task.Status()
	require.NoError(h.t, err)
	w, err := task.Store(st.Size, true)
	require.NoError(h.t, err)
	_, err = w.Write(f.bytes[st.Size:])
	require.NoError(h.t, err)
	_, err = w.Publish(digestOf(f.bytes))
	require.NoError(h.t, err)
	f.data, f.half = f.bytes, nil
}

func (h *library) agree() {
	for id, f := range h.files {
		h.agrees(id, f)
	}
	// Every id once, live or not: the same ones as its users know.
	var dump struct {
		Nodes []struct{ ID string } `json:"nodes"`
	}
	var raw []byte
	require.NoError(h.t, h.core.view(func(s *State) { raw, _ = s.tree.MarshalJSON() }))
	require.NoError(h.t, json.Unmarshal(raw, &dump))
	seen := make(map[string]bool)
	for _, n := range dump.Nodes {
		assert.False(h.t, seen[n.ID], "id %s twice", n.ID)
		seen[n.ID] = true
		assert.True(h.t, h.dirs[n.ID] || h.files[n.ID] != nil, "%s should be gone", n.ID)
	}
	assert.Len(h.t, seen, len(h.files)+len(h.dirs)-1)
}

// agrees reads a document as its users do.
func (h *library) agrees(id string, f *document) {
	have, err := h.read("admin", id)
	if !f.deleted.IsZero() {
		assert.True(h.t, errors.Is(err, acl.CodeNotFound), "%s is marked: %v", id, err)
		return
	}
	require.NoError(h.t, err, id)
	assert.Equal(h.t, string(f.data), string(have), id)
}
