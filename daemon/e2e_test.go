package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func asClose(err error, ce *websocket.CloseError) bool { return errors.As(err, ce) }

// A panel uploads in windows, the daemon restarts in the middle, and the file
// lands whole.
func TestUploadOverARestart(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	data := random(5<<20 + 123)
	p := r.panel(r.token)
	id := p.upload("world/level.dat", len(data))
	for at := 0; at < 3<<20; at += 1 << 20 {
		p.chunk(id, at, data[at:at+1<<20])
	}
	for range 3 {
		require.Equal(t, "ok", p.reply().Status)
	}
	require.NoError(t, r.stop())
	code, reason := p.closed()
	assert.Equal(t, websocket.StatusGoingAway, code)
	assert.Equal(t, "daemon exit", reason)

	r = restart(t, r.cfg)
	p = r.panel(r.token)
	var status struct {
		State    string     `json:"state"`
		Received int64      `json:"received"`
		Missing  [][2]int64 `json:"missing"`
	}
	p.ok("file_upload_status", map[string]any{"file_id": id}, &status)
	assert.Equal(t, "open", status.State)
	assert.EqualValues(t, 3<<20, status.Received)
	require.Equal(t, [][2]int64{{3 << 20, int64(len(data))}}, status.Missing)
	p.chunk(id, 3<<20, data[3<<20:])
	assert.JSONEq(t, `{"done":true,"received":5243003}`, string(p.reply().Data))
	got, err := os.ReadFile(filepath.Join(r.cfg.Root, "world/level.dat"))
	require.NoError(t, err)
	assert.Equal(t, data, got)

	var opened struct {
		ID   string `json:"file_id"`
		Size int    `json:"size"`
	}
	p.ok("file_download_request", map[string]any{"path": "world/level.dat"}, &opened)
	require.Equal(t, len(data), opened.Size)
	rep := p.call("file_download_chunk", map[string]any{"file_id": opened.ID, "range": "1..4194305"})
	content, err := rep.Content(4<<20, false)
	require.NoError(t, err)
	assert.Equal(t, data[1:1+4<<20], content)
}
