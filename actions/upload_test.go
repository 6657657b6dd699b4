package actions

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
