package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// measured runs a bench that says all in JSON, and must leave its folder empty.
func measured(t *testing.T, args ...string) benched {
	t.Helper()
	dir := t.TempDir()
	r := waybill(t, append([]string{"bench", args[0], "--json", "--time", "1ms", "--dir", dir}, args[1:]...)...)
	require.Zero(t, r.code, r.err)
	var b benched
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	assert.Equal(t, args[0], b.Bench)
	for _, row := range b.Rows {
		assert.Positive(t, row.Value, row.Name)
		assert.NotEmpty(t, row.Unit, row.Name)
		assert.Equal(t, row.Wanted != "", row.Reached != nil, row.Name)
		if strings.HasPrefix(row.Name, "load/idle=") {
			continue // bytes are bytes
		}
		if assert.NotNil(t, row.Calibration, row.Name) {
			assert.Positive(t, row.Calibration.Value, row.Name)
			assert.NotEmpty(t, row.Calibration.Name, row.Name)
		}
		assert.Positive(t, row.Ratio, row.Name)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	return b
}

func (b *benched) names() (names []string) {
	for _, row := range b.Rows {
		names = append(names, row.Name)
	}
	return names
}

var (
	uploadRows = []string{
		"upload/packet/64KiB", "upload/packet/1MiB", "upload/packet/4MiB", "upload/frame/1MiB", "upload/text/1MiB", "upload/base64/1MiB",
		"upload/PUT", "upload/PATCH", "upload/tus/64KiB", "upload/tus/1MiB", "upload/tus/8MiB", "upload/task/ftps", "upload/task/PUT",
	}
	againstRows  = []string{"against/tus/64KiB", "against/tus/1MiB", "against/tus/8MiB"}
	downloadRows = []string{"download/GET", "download/text/1MiB", "download/base64/1MiB", "download/task/GET", "download/task/ftps"}
	fileRows     = []string{"files/16KiB/tus", "files/16KiB/websocket"}
)

// peer is a tus server to measure beside ours, which is one of ours.
func peer(t *testing.T) (*server, string) {
	t.Helper()
	s := serve(t)
	return s, "http://" + s.addr + "/tus/?token=" + url.QueryEscape(tokenOf(t, s))
}

// The commands with sizes so small, and so odd, that every kind of remainder comes
// about: what they print, not how fast anything is.
func TestBenchTransfer(t *testing.T) {
	t.Parallel()
	s, at := peer(t)
	b := measured(t, "transfer", "--size", "1200001", "--against", at)
	assert.Equal(t, append(uploadRows, againstRows...), b.names())
	for _, row := range b.Rows {
		if strings.HasPrefix(row.Name, "upload/") {
			assert.Equal(t, "calseq", row.Calibration.Name, row.Name)
			assert.Positive(t, row.Details["peak_MiB"], row.Name)
		} else {
			assert.Equal(t, "the other", row.Calibration.Name, row.Name)
			assert.NotEmpty(t, row.Wanted, row.Name)
		}
	}
	assert.Len(t, s.records("upload.placed"), len(againstRows), "what the other was given")
}

func TestBenchDownload(t *testing.T) {
	t.Parallel()
	b := measured(t, "download", "--size", "1200001")
	assert.Equal(t, downloadRows, b.names())
	for _, row := range b.Rows {
		assert.Equal(t, "ServeContent", row.Calibration.Name, row.Name)
	}
}

// A daemon that runs already is measured without its folders, and keeps no more
// than one file.
func TestBenchAnother(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for args, rows := range map[string][]string{"transfer": uploadRows, "download": downloadRows} {
		b := measured(t, append([]string{args, "--size", "64KiB"}, s.client()...)...)
		var want []string
		for _, name := range rows {
			if !strings.HasSuffix(name, "/ftps") {
				want = append(want, name)
			}
		}
		assert.Equal(t, want, b.names())
	}
	left, err := filepath.Glob(filepath.Join(s.root, "[^.]*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(s.root, benchPath)}, left)
	r := waybill(t, append([]string{"journal", "stats", "--json"}, s.client()...)...)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, `"refusals":{}`)
}

func TestBenchFiles(t *testing.T) {
	t.Parallel()
	_, at := peer(t)
	b := measured(t, "files", "--against", at)
	assert.Equal(t, append(fileRows, "against/files/16KiB"), b.names())
	for _, row := range b.Rows[:2] {
		assert.Equal(t, "cal2", row.Calibration.Name, row.Name)
		assert.LessOrEqual(t, row.Details["p50_ms"], row.Details["max_ms"], row.Name)
	}
}

func TestBenchListing(t *testing.T) {
	t.Parallel()
	b := measured(t, "listing", "--entries", "1001")
	assert.Equal(t, []string{"listing/entries=1001"}, b.names())
}

func TestBenchLoad(t *testing.T) {
	t.Parallel()
	b := measured(t, "load", "--idle", "5", "--stalled", "4", "--uploads", "2")
	assert.Equal(t, []string{"load/idle=5", "load/ping-p99/quiet", "load/ping-p99/flood"}, b.names())
	flood := b.Rows[2]
	assert.Equal(t, "≤ 256 MiB resident", flood.Wanted)
	assert.True(t, *flood.Reached)
	assert.GreaterOrEqual(t, flood.Details["of_pings"], float64(pingers))
}

func TestBenchRestart(t *testing.T) {
	t.Parallel()
	b := measured(t, "restart", "--sessions", "33")
	assert.Equal(t, []string{"restart/sessions=33/clean", "restart/sessions=33/killed"}, b.names())
}

// Everything in one run, as far as it is asked for.
func TestBenchAll(t *testing.T) {
	t.Parallel()
	b := measured(t, "all", "--size", "64KiB", "--entries", "3", "--idle", "1", "--stalled", "1", "--uploads", "1", "--sessions", "1",
		"--records", "10", "--only", "PUT|download/GET|16KiB/tus|listing|idle|clean|append/callers=1/200|replay/hash/1-core")
	assert.Equal(t, []string{"upload/PUT", "upload/task/PUT", "download/GET", "files/16KiB/tus", "listing/entries=3", "load/idle=1",
		"restart/sessions=1/clean", "append/callers=1/200-bytes", "replay/hash/1-core"}, b.names())
}

func TestBenchDataMistakes(t *testing.T) {
	t.Parallel()
	nothing := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"no address":    {exitUsage, "must begin with http", []string{"files", "--against", "127.0.0.1:1080"}},
		"too small":     {exitUsage, "--size", []string{"transfer", "--size", "1"}},
		"no token":      {exitUsage, "--token-file is missing", []string{"transfer", "--url", "ws://127.0.0.1:1"}},
		"no token file": {exitNoInput, "token file", []string{"download", "--url", "ws://127.0.0.1:1", "--token-file", nothing}},
		"nobody there":  {exitUnreachable, "refused", []string{"transfer", "--url", "ws://127.0.0.1:1", "--token-file", "benchdata_test.go"}},
	} {
		args := append([]string{"bench", c.args[0], "--dir", t.TempDir(), "--time", "1ms"}, c.args[1:]...)
		if name == "nobody there" {
			file := filepath.Join(t.TempDir(), "token")
			require.NoError(t, os.WriteFile(file, []byte("t"), 0o600))
			args[len(args)-1] = file
		}
		r := waybill(t, args...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.says, name)
	}
}

// Whoever ends it gets a clean folder back, and the daemon ends with it in any case.
func TestBenchDataInterrupted(t *testing.T) {
	t.Parallel()
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGKILL: -9} {
		dir := t.TempDir()
		p := start(t, dir, clean(), "bench", "transfer", "--time", "1h", "--size", "1MiB", "--only", "upload/tus/64KiB")
		eventually(t, "something is uploaded", func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, ".waybill-bench-*", "daemon-*", "files", benchPath))
			return len(found) > 0
		})
		daemons := childrenOf(t, p.cmd.Process.Pid)
		require.Len(t, daemons, 1)
		p.signal(sig)
		assert.Equal(t, code, p.wait())
		eventually(t, "the daemon has ended", func() bool {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", daemons[0]))
			return err != nil || strings.Contains(string(state), ") Z ")
		})
		if sig == syscall.SIGINT {
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		}
	}
}

func childrenOf(t *testing.T, pid int) (children []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			require.NoError(t, err)
			children = append(children, child)
		}
	}
	return children
}
