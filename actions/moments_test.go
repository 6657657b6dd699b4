package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/journal"
)

// TestEveryMomentCanBeSeenAgain records what the live state is at hundreds of
// moments of random histories, with users, documents, uploads, crashes and days
// that pass, and then folds the journal to each of them: from nothing, as
// `journal replay --at` does, and from whatever snapshots there are.
func TestEveryMomentCanBeSeenAgain(t *testing.T) {
	t.Parallel()
	const moments = 130
	for seed := range uint64(runs()+1) / 2 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &library{
				librig: newLibrary(t), rand: rand.New(rand.NewPCG(seed, 13)),
				files: make(map[string]*document), dirs: map[string]bool{"": true},
			}
			h.user("bob")
			live := make(map[uint64]string)
			for n := 0; len(live) < moments; n++ {
				switch h.rand.IntN(4) {
				case 0:
					h.someAccount(n)
				case 1:
					h.someUpload(n)
				default:
					h.step(n)
				}
				dump, err := h.StateJSON()
				require.NoError(t, err)
				var at struct{ Records uint64 }
				require.NoError(t, json.Unmarshal(dump, &at))
				live[at.Records] = string(dump)
			}
			h.close()
			h.seenAgain(live)
		})
	}
}

// someAccount changes users and groups.
func (h *library) someAccount(n int) {
	name := "bob"
	if h.rand.IntN(6) == 0 { // hashing a password is dear
		name = fmt.Sprint("u", n)
		h.user(name)
	}
	for _, a := range []DocAction{
		&CreateGroup{NewGroup: acl.NewGroup{Name: ptr(fmt.Sprint("g", n))}},
		setStatus(name, 1), setStatus(name, 0),
	} {
		_, err := h.as("admin", a)
		require.NoError(h.t, err)
	}
}

// someUpload leaves an upload whole, half or cancelled.
func (h *library) someUpload(n int) {
	id := h.rig.open(fmt.Sprintf("d/f%d", n), 1000, "")
	_, err := h.put(id, 0, random(1000*(1+h.rand.IntN(2))/2))
	require.NoError(h.t, err)
	if h.rand.IntN(3) == 0 {
		_, _ = h.do(&UploadCancel{Session: id}) // unless it has ended
	}
}

func (h *library) seenAgain(live map[uint64]string) {
	ctx := context.Background()
	log, err := journal.Open(h.journal(), journal.Options{ReadOnly: true})
	require.NoError(h.t, err)
	defer log.Close()
	straight, seen := NewState(), 0
	require.NoError(h.t, log.Replay(ctx, 0, func(e *journal.Entry) error {
		if err := straight.Apply(e); err != nil {
			return err
		}
		if want, ok := live[straight.Next()]; ok {
			sameText(h.t, want, dumpOf(h.t, straight), "after record %d, from nothing", e.Seq)
			seen++
		}
		return nil
	}))
	assert.Len(h.t, live, seen)

	dir := filepath.Join(h.rig.dir, "snapshots")
	require.NoError(h.t, os.Mkdir(dir, 0o700))
	end := log.Head().Size
	for range 4 {
		at := h.rand.Uint64N(end + 1)
		s, err := FoldTo(ctx, log, dir, at)
		require.NoError(h.t, err)
		root, err := log.RootAt(ctx, at)
		require.NoError(h.t, err)
		_, err = writeStored(dir, Stored{Seq: at, Base: h.rand.IntN(2) == 0}, s, root)
		require.NoError(h.t, err)
	}
	for at, want := range live {
		s, err := FoldTo(ctx, log, dir, at)
		require.NoError(h.t, err)
		sameText(h.t, want, dumpOf(h.t, s), "after %d records, from a snapshot", at)
	}
	last, l, err := Load(ctx, log, dir)
	require.NoError(h.t, err)
	assert.Empty(h.t, l.Skipped)
	sameText(h.t, dumpOf(h.t, straight), dumpOf(h.t, last), "at the end")
	sameText(h.t, string(imageOf(h.t, straight)), string(imageOf(h.t, last)), "at the end")
}
