package sessions

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFoldOfAnUpload(t *testing.T) {
	b := newBook(t)
	opened := b.at
	id := NewID()
	until := time.Date(2026, 2, 1, 0, 0, 0, 1_234_567, time.FixedZone("", 3600))
	b.apply(b.OpenUpload(NewUpload{ID: id, Path: `a/"b" <c>`, Size: 100, SHA1: strings.Repeat("0f", 20), Until: until}))
	b.store(id, Range{10, 20}, Range{30, 40})
	u, ok := b.Upload(id)
	require.True(t, ok)
	assert.Equal(t, Upload{
		ID: id, Owner: "main", Path: `a/"b" <c>`, Size: 100, SHA1: strings.Repeat("0f", 20),
		Until: until.UTC().Truncate(time.Microsecond), Stored: SetOf(Range{10, 20}, Range{30, 40}),
		Last: []Range{{10, 20}, {30, 40}}, LastCRC: 7, Opened: opened,
	}, u)

	// What Upload gives out is a copy.
	u.Stored.Add(Range{0, 100})
	u.Last[0] = Range{}
	again, _ := b.Upload(id)
	assert.Equal(t, int64(20), again.Stored.Len())
	assert.Equal(t, Range{10, 20}, again.Last[0])

	b.apply(b.Unstore(id, []Range{{15, 35}}))
	u, _ = b.Upload(id)
	assert.Equal(t, []Range{{10, 15}, {35, 40}}, u.Stored.Ranges())
	assert.Empty(t, u.Last, "what the last fact vouched for is not there any more")
	assert.Zero(t, u.LastCRC)

	b.apply(b.Truncate(id, 12))
	u, _ = b.Upload(id)
	assert.Equal(t, []Range{{10, 12}}, u.Stored.Ranges())

	assert.True(t, b.store(id, Range{0, 100}))
	b.seal(id)
	u, _ = b.Upload(id)
	assert.Equal(t, Sealed, u.State)
	assert.Equal(t, strings.Repeat("ab", 20), u.Digest)
	b.at = b.at.Add(time.Second)
	b.apply(b.Place(id))
	u, _ = b.Upload(id)
	assert.Equal(t, Placed, u.State)
	assert.Equal(t, b.at, u.Ended)
	assert.Nil(t, u.Last)
	live, _, _ := b.Live()
	assert.Zero(t, live)
	var ended []ID
	b.Ended(func(id ID) { ended = append(ended, id) })
	assert.Equal(t, []ID{id}, ended)
}

func TestHowUploadsEnd(t *testing.T) {
	for want, end := range map[State]func(*book, ID) (Fact, error){
		Cancelled: func(b *book, id ID) (Fact, error) { return b.Cancel(id) },
		Expired:   func(b *book, id ID) (Fact, error) { return b.Expire(id) },
		Rejected:  func(b *book, id ID) (Fact, error) { return b.Reject(id, "is_file", "why") },
	} {
		t.Run(want.String(), func(t *testing.T) {
			b := newBook(t)
			id := b.open(10)
			b.store(id, Range{0, 3})
			b.apply(end(b, id))
			u, ok := b.Upload(id)
			require.True(t, ok)
			assert.Equal(t, want, u.State)
			assert.False(t, u.State.Live())
			assert.Equal(t, int64(3), u.Stored.Len(), "how far it came is remembered")
			if want == Rejected {
				assert.Equal(t, "is_file", u.Code)
				assert.Equal(t, "why", u.Message)
			}
		})
	}
}

func TestFoldOfADownload(t *testing.T) {
	b := newBook(t)
	id := b.download("ann", 1<<63+5)
	b.apply(b.ReadDownload(id, []Range{{0, 4}, {6, 9}}))
	b.apply(b.ReadDownload(id, []Range{{0, 4}}))
	d, ok := b.Download(id)
	require.True(t, ok)
	assert.Equal(t, Download{ID: id, Owner: "ann", Path: "d", Identity: Identity{Dev: 1, Ino: 1<<63 + 5, Size: 9},
		SHA1: "00", Idle: time.Second, Read: 11, Opened: b.at}, d)
	b.apply(b.ExpireDownload(id))
	_, ok = b.Download(id)
	assert.False(t, ok)
}

func TestRememberedForADay(t *testing.T) {
	b := newBook(t)
	first, second := b.open(1), b.open(1)
	b.apply(b.Cancel(first))
	b.at = b.at.Add(time.Hour)
	b.apply(b.Cancel(second))
	b.Advance(b.at.Add(Remember - time.Hour - time.Microsecond))
	_, ok := b.Upload(first)
	assert.True(t, ok, "a microsecond short of a day")
	b.Advance(b.at.Add(Remember - time.Hour))
	_, ok = b.Upload(first)
	assert.False(t, ok)
	_, ok = b.Upload(second)
	assert.True(t, ok)
	b.Advance(b.at.Add(Remember))
	_, ok = b.Upload(second)
	assert.False(t, ok)
	assert.Empty(t, b.queue)
}

func TestRememberedAtMost(t *testing.T) {
	b := newBook(t)
	var ids []ID
	for range MaxRemembered + 3 {
		// Not through JSON: it is the bound that is tested.
		u := &Upload{ID: NewID()}
		b.uploads[u.ID] = u
		b.end(u, Cancelled, b.at)
		ids = append(ids, u.ID)
	}
	b.Advance(b.at)
	assert.Len(t, b.ended, MaxRemembered)
	for _, id := range ids[:3] {
		assert.NotContains(t, b.ended, id, "the oldest go first")
	}
	assert.Contains(t, b.ended, ids[3])
}

// No journal of ours has these: they must not be passed over.
func TestApplyRefuses(t *testing.T) {
	b := newBook(t)
	id, gone := b.open(10), b.open(10)
	b.apply(b.Cancel(gone))
	down := b.download("main", 1)
	before, err := b.MarshalJSON()
	require.NoError(t, err)
	for _, c := range []struct {
		name, kind, body string
		want             error
	}{
		{"unknown kind", "upload.teleported", `{"session":"` + id.String() + `"}`, nil},
		{"open twice", KindUploadOpened, `{"session":"` + id.String() + `","path":"x"}`, ErrExists},
		{"open an ended one", KindUploadOpened, `{"session":"` + gone.String() + `","path":"x"}`, ErrExists},
		{"download with the id of an upload", KindDownloadOpened, `{"session":"` + id.String() + `","path":"x","identity":{"dev":"1","ino":"1","size":1,"mtime_ns":"1","ctime_ns":"1"},"sha1":"","idle_ms":1}`, ErrExists},
		{"store of an ended one", KindUploadStored, `{"session":"` + gone.String() + `","ranges":[[0,1]],"crc32c":"00000000","calls":1}`, ErrUnknown},
		{"cancel of a download", KindUploadCancelled, `{"session":"` + down.String() + `"}`, ErrUnknown},
		{"read of an upload", KindDownloadRead, `{"session":"` + id.String() + `","ranges":[[0,1]]}`, ErrUnknown},
		{"close of an upload", KindDownloadClosed, `{"session":"` + id.String() + `"}`, ErrUnknown},
		{"no session", KindUploadCancelled, `{}`, ErrUnknown},
		{"wrong type", KindUploadOpened, `{"session":5}`, nil},
		{"wrong type of ranges", KindUploadStored, `{"session":"` + id.String() + `","ranges":5}`, nil},
		{"bad id", KindDownloadExpired, `{"session":"x"}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := b.raw(c.kind, c.body)
			require.Error(t, err)
			if c.want != nil {
				assert.ErrorIs(t, err, c.want)
			}
			after, merr := b.MarshalJSON()
			require.NoError(t, merr)
			assert.Equal(t, string(before), string(after))
		})
	}
}

// The same facts give the same bytes, however the maps are ordered, and the
// lists are by time: stamps of different precision must not be compared as
// text (".1Z" comes after ".12Z").
func TestDumpIsCanonical(t *testing.T) {
	b := newBook(t)
	base := b.at.Truncate(time.Second)
	var ups, downs []string
	for i := range 40 {
		b.at = base.Add(time.Duration(i) * 10 * time.Millisecond)
		ups = append(ups, b.open(10).String())
		downs = append(downs, b.download("main", uint64(i)).String())
	}
	first, err := b.MarshalJSON()
	require.NoError(t, err)
	for range 5 {
		again, err := b.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
	}
	var dump struct {
		Uploads, Downloads []struct{ Session string }
	}
	require.NoError(t, json.Unmarshal(first, &dump))
	for i := range dump.Uploads {
		assert.Equal(t, ups[i], dump.Uploads[i].Session)
		assert.Equal(t, downs[i], dump.Downloads[i].Session)
	}
	var live []string
	for _, d := range b.Downloads() {
		live = append(live, d.ID.String())
	}
	assert.Equal(t, downs, live)
	live = nil
	for _, u := range b.Uploads() {
		live = append(live, u.ID.String())
	}
	assert.Equal(t, ups, live)

	empty, err := NewTable().MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `{"uploads":[],"ended_uploads":[],"downloads":[]}`, string(empty))
}

// Random histories: what is decided can be applied, a second fold of the same
// lines is the same state, and the set of an upload is what its facts add up
// to.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b := newBook(t)
		var kinds []string
		type line struct {
			f     Fact
			at    time.Time
			actor string
		}
		var history []line
		var ids []ID
		bits := make(map[ID]bitmap)
		for range 200 {
			b.at = b.at.Add(time.Duration(rng.IntN(3_000_000)) * time.Millisecond)
			id := NewID()
			if len(ids) > 0 {
				id = ids[rng.IntN(len(ids))]
			}
			from := rng.Int64N(40)
			r := Range{from, from + 1 + rng.Int64N(40-from)}
			var f Fact
			var err error
			op := rng.IntN(9)
			switch op {
			case 0:
				id = NewID()
				f, err = b.OpenUpload(NewUpload{ID: id, Path: fmt.Sprint(len(ids)), Size: 40, Idle: time.Second})
				ids = append(ids, id)
				bits[id] = make(bitmap, 40)
			case 1, 2, 3:
				var completes bool
				f, completes, err = b.Store(&Stored{Session: id, Ranges: []Range{r}, Calls: 1})
				if err == nil {
					was := len(bits[id].runs(Range{0, 40}, false)) == 0
					bits[id].fill(r, true)
					is := len(bits[id].runs(Range{0, 40}, false)) == 0
					require.Equal(t, is && !was, completes)
				}
			case 4:
				if f, err = b.Unstore(id, []Range{r}); err == nil {
					bits[id].fill(r, false)
				}
			case 5:
				if f, err = b.Seal(id, "aa"); err == nil {
					require.Empty(t, bits[id].runs(Range{0, 40}, false))
				}
			case 6:
				f, err = b.Place(id)
			case 7:
				if rng.IntN(8) == 0 {
					f, err = b.Expire(id)
				}
			case 8:
				if f, err = b.Truncate(id, from); err == nil {
					bits[id].fill(Range{from, 40}, false)
				}
			}
			if err != nil || f.Kind == "" {
				continue
			}
			kinds = append(kinds, f.Kind)
			history = append(history, line{f, b.at, "main"})
			b.apply(f, nil)
			if u, ok := b.Upload(id); ok {
				require.Equal(t, bits[id].runs(Range{0, 40}, true), append([]Range(nil), u.Stored.Ranges()...), "%v", kinds)
			}
		}
		live, err := b.MarshalJSON()
		require.NoError(t, err)
		fold := newBook(t)
		for _, l := range history {
			fold.at = l.at
			fold.apply(l.f, nil)
		}
		again, err := fold.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(live), string(again))
	}
}
