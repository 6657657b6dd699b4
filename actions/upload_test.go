package actions

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
	"waybill/sessions"
)

func TestUploadInOrder(t *testing.T) {
	r := newRig(t)
	r.mustStart()
	data := random(300_000)
	id := r.open("a/b/c.bin", int64(len(data)), hexSHA1(data))
	got, err := r.put(id, 0, data[:100_000])
	require.NoError(t, err)
	assert.Equal(t, ChunkStored{Received: 100_000}, *got)
	st := r.status(id)
	assert.Equal(t, "open", st.State)
	assert.Equal(t, [][2]int64{{100_000, 300_000}}, st.Missing)
	got, err = r.put(id, 100_000, data[100_000:])
	require.NoError(t, err)
	assert.Equal(t, ChunkStored{Done: true, Received: 300_000}, *got)
	have, err := os.ReadFile(r.path("a/b/c.bin"))
	require.NoError(t, err)
	assert.Equal(t, hexSHA1(data), hexSHA1(have))
	st = r.status(id)
	assert.Equal(t, "placed", st.State)
	assert.Equal(t, hexSHA1(data), st.SHA1)
}

func TestUploadSurvivesCrash(t *testing.T) {
	r := newRig(t)
	r.mustStart()
	data := random(200_000)
	id := r.open("x.bin", int64(len(data)), "")
	_, err := r.put(id, 50_000, data[50_000:120_000])
	require.NoError(t, err)
	r.crash()
	r.clock.Advance(time.Hour) // time down does not count
	r.mustStart()
	st := r.status(id)
	assert.Equal(t, [][2]int64{{0, 50_000}, {120_000, 200_000}}, st.Missing)
	assert.Equal(t, int64(120_000), st.ExpiresMS)
	_, err = r.put(id, 120_000, data[120_000:])
	require.NoError(t, err)
	got, err := r.put(id, 0, data[:50_000])
	require.NoError(t, err)
	assert.True(t, got.Done)
	have, err := os.ReadFile(r.path("x.bin"))
	require.NoError(t, err)
	assert.Equal(t, data, have)
}

// TestLostBeforeItsFirstByte: nobody has synced a staged file that has no bytes,
// so a power cut may take it, or its length; the upload goes on all the same.
func TestLostBeforeItsFirstByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lose func(path string) error
	}{
		{"file", os.Remove},
		{"length", func(path string) error { return os.Truncate(path, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.mustStart()
			data := random(100_000)
			id := r.open("x.bin", int64(len(data)), hexSHA1(data))
			late := r.stream("late.bin", -1, "")
			nothing := r.stream("nothing.bin", -1, "")
			r.crash()
			for _, id := range []sessions.ID{id, late, nothing} {
				require.NoError(t, c.lose(filepath.Join(r.staging(), id.String())))
			}
			r.mustStart()
			fi, err := os.Stat(filepath.Join(r.staging(), id.String()))
			require.NoError(t, err)
			assert.Equal(t, int64(len(data)), fi.Size(), "space is set aside again")
			got, err := r.put(id, 0, data)
			require.NoError(t, err)
			assert.True(t, got.Done)
			r.holds("x.bin", data)
			st, err := r.receive(late, sized(exactly(0), int64(len(data))), data)
			require.NoError(t, err)
			assert.Equal(t, "placed", st.State)
			r.holds("late.bin", data)
			st, err = r.receive(nothing, sized(exactly(0), 0), nil)
			require.NoError(t, err)
			assert.Equal(t, "placed", st.State)
			r.holds("nothing.bin", []byte{})
		})
	}
}

// TestTheLastBytesSeal: a file is sealed by the commit that names its last bytes,
// but for one whose digest is not what was asked for.
func TestTheLastBytesSeal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	data := random(600_000)
	id := r.open("x.bin", int64(len(data)), hexSHA1(data))
	_, err := r.put(id, 400_000, data[400_000:])
	require.NoError(t, err)
	got, err := r.put(id, 0, data[:400_000])
	require.NoError(t, err)
	assert.True(t, got.Done)
	sealed := r.records(sessions.KindUploadSealed)
	require.Len(t, sealed, 1)
	var e journal.Entry
	require.NoError(t, journal.ParseEntry([]byte(sealed[0]), &e))
	assert.Equal(t, journal.Group{I: 2, N: 2}, e.Group)
	require.NoError(t, journal.ParseEntry([]byte(r.records(sessions.KindUploadStored)[1]), &e))
	assert.Equal(t, journal.Group{I: 1, N: 2}, e.Group)

	other := r.open("y.bin", int64(len(data)), hexSHA1(data[1:]))
	_, err = r.put(other, 0, data)
	assert.Equal(t, CodeTransfer, CodeOf(err))
	assert.Len(t, r.records(sessions.KindUploadSealed), 1)
	assert.Len(t, r.records(sessions.KindUploadRejected), 1)
	assert.NoFileExists(t, r.path("y.bin"))
}
