package actions

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

// text sends bytes as a panel does that knows only strings: an odd chunk gets
// a byte of padding.
func (r *rig) text(id sessions.ID, off int64, data []byte) (*ChunkStored, error) {
	data = append([]byte(nil), data...)
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	res, err := r.do(&UploadChunk{Session: id, Offset: off, Data: data, Text: true})
	if err != nil {
		return nil, err
	}
	return res.(*ChunkStored), nil
}

func (r *rig) content(name string) []byte {
	r.t.Helper()
	b, err := os.ReadFile(r.path(name))
	require.NoError(r.t, err)
	return b
}

func TestChunksInAnyOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(100)
	id := r.open("f", 100, hexSHA1(data))
	for i, off := range []int64{90, 0, 50, 10, 70, 60, 30, 80, 20} {
		got, err := r.put(id, off, data[off:off+10])
		require.NoError(t, err)
		assert.Equal(t, ChunkStored{Received: int64(i+1) * 10}, *got)
		if i%3 == 0 { // twice changes nothing
			got, err = r.put(id, off, data[off:off+10])
			require.NoError(t, err)
			assert.Equal(t, ChunkStored{Received: int64(i+1) * 10}, *got)
		}
	}
	got, err := r.put(id, 35, data[35:55])
	require.NoError(t, err)
	assert.Equal(t, ChunkStored{Done: true, Received: 100}, *got)
	assert.Equal(t, data, r.content("f"))
	assert.Len(t, r.records(sessions.KindUploadUnstored), 0, "equal bytes are not written again")
	_, err = r.put(id, 0, data[:10])
	assert.Equal(t, CodeNoTransfer, CodeOf(err), "finished")
}

func TestLaterBytesWin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 10, "")
	for _, c := range []struct {
		off      int64
		data     string
		received int64
	}{
		{0, "aaaaaa", 6}, {4, "bbbb", 8}, {2, "cc", 8}, {3, "d", 8}, {3, "d", 8},
	} {
		got, err := r.put(id, c.off, []byte(c.data))
		require.NoError(t, err)
		assert.Equal(t, c.received, got.Received)
	}
	// Before the new bytes are written the old ones are declared missing.
	un := r.records(sessions.KindUploadUnstored)
	require.Len(t, un, 3)
	assert.Contains(t, un[0], `"ranges":[[4,6]]`)
	assert.Contains(t, un[1], `"ranges":[[2,4]]`)
	assert.Contains(t, un[2], `"ranges":[[3,4]]`)
	got, err := r.put(id, 7, []byte("bzz"))
	require.NoError(t, err)
	assert.True(t, got.Done)
	assert.Equal(t, "aacdbbbbzz", string(r.content("f")))
}

// The digest kept along the way must not remember bytes that were replaced.
func TestRewritingWhatWasHashed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(4 * hashPiece)
	want := bytes.Clone(data)
	id := r.open("f", int64(len(data))+1, "")
	_, err := r.put(id, 0, data)
	require.NoError(t, err)
	for i := range 8 {
		off := i * hashPiece / 2
		want[off] ^= 0xff
		_, err = r.put(id, int64(off), want[off:off+3])
		require.NoError(t, err)
	}
	want = append(want, 'z')
	got, err := r.put(id, int64(len(data)), want[len(data):])
	require.NoError(t, err)
	assert.True(t, got.Done)
	assert.Equal(t, hexSHA1(want), r.status(id).SHA1)
	assert.Equal(t, hexSHA1(want), hexSHA1(r.content("f")))
}

func TestChunkOffsets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 10, "")
	for _, c := range []struct {
		name string
		off  int64
		n    int
		text bool
		want Code
		left int64 // received afterwards
	}{
		{"before the start", -1, 1, false, CodeParam, 0},
		{"at the end", 10, 1, false, CodeParam, 0},
		{"nothing at the end", 10, 0, false, CodeParam, 0},
		{"past the end", 11, 0, false, CodeParam, 0},
		{"nothing", 3, 0, false, CodeOK, 0},
		{"nothing as text", 3, 0, true, CodeOK, 0},
		{"over the end by one", 8, 3, false, CodeParam, 0},
		{"over the end by two as text", 8, 4, true, CodeParam, 0},
		{"over the end by one as text: padding", 9, 2, true, CodeOK, 1},
		{"all but one", 0, 9, false, CodeOK, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, err := r.do(&UploadChunk{Session: id, Offset: c.off, Data: make([]byte, c.n), Text: c.text})
			assert.Equal(t, c.want, CodeOf(err), "%v", err)
			if err == nil {
				assert.Equal(t, c.left, res.(*ChunkStored).Received)
			} else {
				assert.Equal(t, c.left, r.status(id).Received, "nothing written")
			}
		})
	}
	_, err := r.put(sessions.NewID(), 0, []byte("x"))
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
}

// Senders that cut files into odd chunks and send each as a string pad it.
func TestOddChunkSenders(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 5, 9, 10, 11, 14, 15, 16, 21} {
		for _, step := range []int{1, 3, 5, 7} {
			if step+1 == size {
				// The padding of the first chunk looks like the last byte of the
				// file, and nothing tells it apart.
				continue
			}
			t.Run(fmt.Sprintf("%d by %d", size, step), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.mustStart()
				data := random(size)
				for i := range data {
					data[i] |= 1 // padding must show
				}
				id := r.open("f", int64(size), hexSHA1(data))
				for off := 0; off < size; off += step {
					end := min(off+step, size)
					got, err := r.text(id, int64(off), data[off:end])
					require.NoError(t, err)
					assert.Equal(t, end == size, got.Done)
				}
				assert.Equal(t, data, r.content("f"))
			})
		}
	}
}

func TestPaddingDoesNotCount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 30, "")
	got, err := r.text(id, 0, []byte("abcde")) // as decoded, six bytes
	require.NoError(t, err)
	assert.Equal(t, int64(6), got.Received)
	got, err = r.text(id, 5, []byte("fghij"))
	require.NoError(t, err)
	assert.Equal(t, int64(10), got.Received, "now it is known to pad")
	_, err = r.text(id, 10, nil) // a no-op tells nothing
	require.NoError(t, err)
	got, err = r.text(id, 20, []byte("uvwxy"))
	require.NoError(t, err)
	assert.Equal(t, int64(15), got.Received)
	got, err = r.text(id, 25, []byte("zzzzz")) // ends at the end of the file, and so does its padding
	require.NoError(t, err)
	assert.Equal(t, int64(20), got.Received)
	got, err = r.text(id, 10, []byte("klmnop"))
	require.NoError(t, err)
	assert.Equal(t, int64(25), got.Received, "of the length that pads, one byte is padding")
	assert.Equal(t, [][2]int64{{15, 20}}, r.status(id).Missing)
	got, err = r.text(id, 14, []byte("opqr"))
	require.NoError(t, err)
	assert.Equal(t, int64(28), got.Received, "other lengths count in full")
	got, err = r.put(id, 17, []byte("rst"))
	require.NoError(t, err)
	assert.True(t, got.Done)
	assert.Equal(t, "abcdefghijklmnopqrstuvwxyzzzzz", string(r.content("f")))
}

// An even sender is never taken for one that pads.
func TestEvenTextSenders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := []byte("0123456789abcdef\x00\x00")
	id := r.open("f", int64(len(data)), hexSHA1(data))
	for off := 0; off < len(data); off += 6 {
		got, err := r.text(id, int64(off), data[off:off+6])
		require.NoError(t, err)
		assert.Equal(t, int64(off)+6, got.Received)
	}
	assert.Equal(t, data, r.content("f"))
}

func TestTooManyGaps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const size = 1 << 20
	id := r.open("f", size, "")
	// Fill the set by hand, or it is thousands of syncs: bytes 1, 3, 5 … stand
	// there, a gap before each and one at the end.
	var all sessions.Set
	for i := range int64(sessions.MaxGaps - 1) {
		all.Add(sessions.Range{2*i + 1, 2*i + 2})
	}
	f, err := r.root.OpenStaged(id.String())
	require.NoError(t, err)

	for part := all.Ranges(); len(part) > 0; {
		n := min(len(part), sessions.MaxFactRanges)
		crc, err := checksum(f, part[:n])
		require.NoError(t, err)
		require.NoError(t, r.core.decide(origin{"main", "test", "r"}, func(s *State) ([]sessions.Fact, error) {
			fact, _, err := s.sessions.Store(&sessions.Stored{Session: id, Ranges: part[:n], CRC32C: crc, Calls: 1})
			return []sessions.Fact{fact}, err
		}))
		part = part[n:]
	}
	require.NoError(t, f.Close())

	r.close()
	r.mustStart()
	st := r.status(id)
	assert.Equal(t, int64(sessions.MaxGaps-1), st.Received)
	assert.Len(t, st.Missing, maxMissing)
	assert.True(t, st.More)
	records := r.log.Head().Size
	_, err = r.put(id, size/2, []byte("xx"))
	assert.Equal(t, CodeRateLimit, CodeOf(err))
	assert.Equal(t, int64(sessions.MaxGaps-1), r.status(id).Received, "nothing written")
	assert.Equal(t, records+2, r.log.Head().Size, "the refusal and the status")
	staged, err := os.ReadFile(r.staging() + "/" + id.String())
	require.NoError(t, err)
	assert.Equal(t, []byte{0, 0}, staged[size/2:size/2+2])
	_, err = r.put(id, 2, []byte("y"))
	require.NoError(t, err, "a gap fewer")
	_, err = r.put(id, size-1, []byte("z"))
	require.NoError(t, err, "no gap more")
	_, err = r.put(id, size/2, []byte("xx"))
	require.NoError(t, err, "now there is one to spare")
	_, err = r.put(id, size/4, []byte("xx"))
	assert.Equal(t, CodeRateLimit, CodeOf(err))
}

// Many connections store chunks of one file at the same time: the file is
// what was sent, one answer says done, and no sync is done for each alone.
func TestChunksAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const chunks, size = 64, 10_000
	data := random(chunks * size)
	id := r.open("f", chunks*size, hexSHA1(data))
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	order := rand.Perm(chunks)
	for c := range 8 {
		wg.Go(func() {
			who := as(fmt.Sprint("c", c))
			var taken sync.WaitGroup
			for _, i := range order[c*8 : c*8+8] {
				taken.Add(1)
				took := make(chan struct{})
				wg.Go(func() {
					defer taken.Done()
					res, err := r.Do(t.Context(), Call{
						Caller: who, Took: func() { close(took) },
						Action: &UploadChunk{Session: id, Offset: int64(i) * size, Data: data[i*size : (i+1)*size]},
					})
					if assert.NoError(t, err) && res.(*ChunkStored).Done {
						mu.Lock()
						done++
						mu.Unlock()
					}
				})
				<-took
			}
			taken.Wait()
		})
	}
	wg.Wait()
	assert.Equal(t, 1, done)
	assert.Equal(t, data, r.content("f"))
	var calls int
	for _, line := range r.records(sessions.KindUploadStored) {
		var n int
		_, err := fmt.Sscanf(line[strings.LastIndex(line, `"calls":`):], `"calls":%d`, &n)
		require.NoError(t, err)
		calls += n
	}
	assert.Equal(t, chunks, calls, "each call is in one record")
}

// A cancel in the middle of a window: every chunk gets an answer, the cancel
// too, and nothing stays.
func TestCancelAmongChunks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	for range 4 {
		id := r.open("f", 1<<20, "")
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				_, err := r.put(id, int64(i)*1000, random(1000))
				if err != nil {
					assert.Equal(t, CodeNoTransfer, CodeOf(err))
				}
			})
			if i == 8 {
				wg.Go(func() {
					_, err := r.do(&UploadCancel{Session: id})
					assert.NoError(t, err)
				})
			}
		}
		wg.Wait()
		assert.Equal(t, "cancelled", r.status(id).State)
	}
}

// Chunks that overlap, sent at once over several connections: whatever is in
// the file at the end, its record and its digest agree.
func TestOverlapsAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	const size = 50_000
	id := r.open("f", size, "")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 12 {
				from := rand.IntN(size - 1)
				_, err := r.put(id, int64(from), random(min(size-from, 1+rand.IntN(15_000))))
				if err != nil {
					assert.Equal(t, CodeNoTransfer, CodeOf(err))
				}
			}
		})
	}
	wg.Wait()
	if st := r.status(id); st.State == "open" {
		live := st.Received
		r.crash()
		r.mustStart()
		assert.Equal(t, live, r.status(id).Received)
		for _, m := range r.status(id).Missing {
			_, err := r.put(id, m[0], random(int(m[1]-m[0])))
			require.NoError(t, err)
		}
	}
	st := r.status(id)
	assert.Equal(t, "placed", st.State)
	assert.Equal(t, st.SHA1, hexSHA1(r.content("f")))
}

// A chunk larger than all the window must not wait for ever.
func TestChunkLargerThanTheWindow(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes 64 MiB")
	}
	r := newRig(t)
	r.mustStart()
	data := make([]byte, totalWindow+1)
	id := r.open("f", int64(len(data)), "")
	done := make(chan error, 1)
	go func() {
		_, err := r.put(id, 0, data)
		done <- err
	}()
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for room that there never is")
	}
}
