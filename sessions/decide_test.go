package sessions

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// book folds facts as the core does: rendered, read back, applied.
type book struct {
	*Table
	t   testing.TB
	at  time.Time
	seq uint64
}

func newBook(t testing.TB) *book {
	return &book{Table: NewTable(), t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 600_000, time.UTC)}
}

func (b *book) entry(f Fact, actor string) *journal.Entry {
	line := journal.AppendRecord(nil, &journal.Record{
		Seq: b.seq, At: b.at, Kind: f.Kind, Actor: actor, Via: "test", Ref: "r", Body: f.Body,
	})
	b.seq++
	var e journal.Entry
	require.NoError(b.t, journal.ParseEntry(line, &e), "%s", line)
	return &e
}

func (b *book) apply(f Fact, err error) {
	b.t.Helper()
	require.NoError(b.t, err)
	e := b.entry(f, "main")
	require.NoError(b.t, b.Apply(e))
	b.Advance(e.At)
}

// raw applies a body as it stands and returns what Apply says.
func (b *book) raw(kind, body string) error {
	return b.Apply(b.entry(Fact{Kind: kind, Body: []byte(body)}, "main"))
}

func (b *book) open(size int64) ID {
	b.t.Helper()
	id := NewID()
	b.apply(b.OpenUpload(NewUpload{ID: id, Path: "dir/file.bin", Size: size, Idle: time.Minute}))
	return id
}

func (b *book) store(id ID, ranges ...Range) (completes bool) {
	b.t.Helper()
	f, completes, err := b.Store(&Stored{Session: id, Ranges: ranges, CRC32C: 7, Calls: 1})
	b.apply(f, err)
	return completes
}

func (b *book) seal(id ID) {
	b.t.Helper()
	b.apply(b.Seal(id, strings.Repeat("ab", 20)))
}

func (b *book) download(owner string, ino uint64) ID {
	b.t.Helper()
	id := NewID()
	f, err := b.OpenDownload(NewDownload{ID: id, Path: "d", Identity: Identity{Dev: 1, Ino: ino, Size: 9}, SHA1: "00", Idle: time.Second})
	require.NoError(b.t, err)
	require.NoError(b.t, b.Apply(b.entry(f, owner)))
	return id
}

// In every state, each decision that cannot follow is refused with its own
// error, and refusing changes nothing.
func TestDecisionsByState(t *testing.T) {
	type decision struct {
		name   string
		decide func(b *book, id ID) error
		// want is the error for an unknown, open, complete, sealed and ended
		// upload, in this order.
		want [5]error
	}
	decisions := []decision{
		{"open again", func(b *book, id ID) error { _, err := b.OpenUpload(NewUpload{ID: id, Path: "x", Size: 1}); return err },
			[5]error{nil, ErrExists, ErrExists, ErrExists, ErrExists}},
		{"download with its id", func(b *book, id ID) error { _, err := b.OpenDownload(NewDownload{ID: id}); return err },
			[5]error{nil, ErrExists, ErrExists, ErrExists, ErrExists}},
		{"size", func(b *book, id ID) error { _, err := b.Size(id, 10); return err },
			[5]error{ErrUnknown, ErrState, ErrState, ErrState, ErrUnknown}},
		{"store", func(b *book, id ID) error {
			_, _, err := b.Store(&Stored{Session: id, Ranges: []Range{{0, 1}}})
			return err
		}, [5]error{ErrUnknown, nil, nil, ErrState, ErrUnknown}},
		{"unstore", func(b *book, id ID) error { _, err := b.Unstore(id, []Range{{0, 1}}); return err },
			[5]error{ErrUnknown, nil, nil, ErrState, ErrUnknown}},
		{"truncate", func(b *book, id ID) error { _, err := b.Truncate(id, 0); return err },
			[5]error{ErrUnknown, nil, nil, ErrState, ErrUnknown}},
		{"seal", func(b *book, id ID) error { _, err := b.Seal(id, "00"); return err },
			[5]error{ErrUnknown, ErrState, nil, ErrState, ErrUnknown}},
		{"place", func(b *book, id ID) error { _, err := b.Place(id); return err },
			[5]error{ErrUnknown, ErrState, ErrState, nil, ErrUnknown}},
		{"reject", func(b *book, id ID) error { _, err := b.Reject(id, "c", "m"); return err },
			[5]error{ErrUnknown, nil, nil, nil, ErrUnknown}},
		{"cancel", func(b *book, id ID) error { _, err := b.Cancel(id); return err },
			[5]error{ErrUnknown, nil, nil, ErrState, ErrUnknown}},
		{"expire", func(b *book, id ID) error { _, err := b.Expire(id); return err },
			[5]error{ErrUnknown, nil, nil, ErrState, ErrUnknown}},
		{"read a download", func(b *book, id ID) error { _, err := b.ReadDownload(id, []Range{{0, 1}}); return err },
			[5]error{ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown}},
		{"close a download", func(b *book, id ID) error { _, err := b.CloseDownload(id); return err },
			[5]error{ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown}},
		{"expire a download", func(b *book, id ID) error { _, err := b.ExpireDownload(id); return err },
			[5]error{ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown, ErrUnknown}},
	}
	states := []struct {
		name string
		make func(b *book) ID
	}{
		{"unknown", func(b *book) ID { return NewID() }},
		{"open", func(b *book) ID { return b.open(10) }},
		{"complete", func(b *book) ID { id := b.open(10); b.store(id, Range{0, 10}); return id }},
		{"sealed", func(b *book) ID { id := b.open(10); b.store(id, Range{0, 10}); b.seal(id); return id }},
		{"ended", func(b *book) ID { id := b.open(10); b.apply(b.Cancel(id)); return id }},
	}
	for i, state := range states {
		for _, d := range decisions {
			t.Run(d.name+"/"+state.name, func(t *testing.T) {
				b := newBook(t)
				id := state.make(b)
				before, err := b.MarshalJSON()
				require.NoError(t, err)
				if want := d.want[i]; want == nil {
					assert.NoError(t, d.decide(b, id))
				} else {
					assert.ErrorIs(t, d.decide(b, id), want)
				}
				after, err := b.MarshalJSON()
				require.NoError(t, err)
				assert.Equal(t, string(before), string(after), "deciding changes nothing")
			})
		}
	}
}

func TestStoreBounds(t *testing.T) {
	many := func(n int, step int64) []Range {
		var out []Range
		for i := range int64(n) {
			out = append(out, Range{1 + i*step, 2 + i*step})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		size   int64
		stored []Range
		ranges []Range
		want   error
	}{
		{"all", 10, nil, []Range{{0, 10}}, nil},
		{"past the end", 10, nil, []Range{{9, 11}}, ErrRange},
		{"before the start", 10, nil, []Range{{-1, 1}}, ErrRange},
		{"empty", 10, nil, []Range{{4, 4}}, ErrRange},
		{"backwards", 10, nil, []Range{{5, 4}}, ErrRange},
		{"any length while deferred", -1, nil, []Range{{1 << 40, 1<<40 + 1}}, nil},
		{"as many ranges as a fact holds", 1 << 20, nil, many(MaxFactRanges, 2), nil},
		{"more ranges than a fact holds", 1 << 20, nil, many(MaxFactRanges+1, 2), ErrRange},
		// Bytes 1, 3, 5 … are stored: a gap before each, and one after the last.
		{"the last gap there may be", 1 << 20, many(MaxGaps-2, 2), []Range{{1 << 19, 1<<19 + 1}}, nil},
		{"one gap too many", 1 << 20, many(MaxGaps-1, 2), []Range{{1 << 19, 1<<19 + 1}}, ErrGaps},
		{"no gap more", 1 << 20, many(MaxGaps-1, 2), []Range{{2, 3}}, nil},
		{"a gap fewer", 1 << 20, many(MaxGaps-1, 2), []Range{{0, 1}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(t)
			id := b.open(c.size)
			for part := c.stored; len(part) > 0; {
				n := min(len(part), MaxFactRanges)
				b.store(id, part[:n]...)
				part = part[n:]
			}
			_, completes, err := b.Store(&Stored{Session: id, Ranges: c.ranges})
			if c.want != nil {
				assert.ErrorIs(t, err, c.want)
			} else {
				assert.NoError(t, err)
			}
			assert.Equal(t, c.name == "all", completes)
		})
	}
	b := newBook(t)
	id := b.open(1 << 20)
	_, err := b.Unstore(id, many(MaxFactRanges+1, 2))
	assert.ErrorIs(t, err, ErrRange)
	_, err = b.Truncate(id, -1)
	assert.ErrorIs(t, err, ErrRange)
	_, err = b.ReadDownload(b.download("main", 1), many(MaxFactRanges+1, 2))
	assert.ErrorIs(t, err, ErrRange)
}

// Exactly one decision completes an upload, whatever order the bytes come in.
func TestExactlyOneStoreCompletes(t *testing.T) {
	b := newBook(t)
	id := b.open(10)
	assert.False(t, b.store(id, Range{5, 10}))
	assert.False(t, b.store(id, Range{0, 4}))
	assert.False(t, b.store(id, Range{0, 4}))
	assert.True(t, b.store(id, Range{3, 6}))
	assert.False(t, b.store(id, Range{0, 10}), "it was complete before")
	b.apply(b.Unstore(id, []Range{{2, 3}}))
	assert.False(t, b.store(id, Range{0, 2}))
	assert.True(t, b.store(id, Range{2, 3}), "and again once it was not")
}

func TestDeferredLength(t *testing.T) {
	b := newBook(t)
	id := b.open(-1)
	u, _ := b.Upload(id)
	assert.Equal(t, int64(-1), u.Size)
	assert.False(t, b.store(id, Range{0, 6}), "without a length nothing is complete")
	_, err := b.Seal(id, "00")
	assert.ErrorIs(t, err, ErrState)
	_, err = b.Size(id, 5)
	assert.ErrorIs(t, err, ErrRange, "bytes beyond it are stored")
	b.apply(b.Size(id, 8))
	_, err = b.Size(id, 8)
	assert.ErrorIs(t, err, ErrState, "only once")
	assert.True(t, b.store(id, Range{6, 8}))

	short := b.open(-1)
	b.apply(b.Size(short, 0))
	u, _ = b.Upload(short)
	assert.True(t, u.Complete(), "an empty file lacks nothing")
}

func TestDownloadsOfOneOwner(t *testing.T) {
	b := newBook(t)
	for range 3 {
		b.download("ann", 5)
	}
	b.download("bob", 5)
	last := b.download("ann", 6)
	file := Identity{Dev: 1, Ino: 5, Size: 10, MtimeNS: 3}
	assert.Equal(t, 3, b.DownloadsOf("ann", file), "another state of the file is the same file")
	assert.Equal(t, 1, b.DownloadsOf("bob", file))
	assert.Equal(t, 0, b.DownloadsOf("ann", Identity{Dev: 2, Ino: 5}))
	assert.Equal(t, 1, b.DownloadsOf("ann", Identity{Dev: 1, Ino: 6}))
	b.apply(b.CloseDownload(last))
	assert.Equal(t, 0, b.DownloadsOf("ann", Identity{Dev: 1, Ino: 6}))
}

func ExampleStored() {
	id, _ := ParseID("00112233-4455-6677-8899-aabbccddeeff")
	s := Stored{Session: id, Ranges: []Range{{0, 65536}, {131072, 196608}}, CRC32C: 0xa, Calls: 2}
	fmt.Println(string(s.fact().Body))
	// Output: {"session":"00112233-4455-6677-8899-aabbccddeeff","ranges":[[0,65536],[131072,196608]],"crc32c":"0000000a","calls":2}
}
