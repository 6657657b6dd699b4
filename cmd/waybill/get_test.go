package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGetSurvivesTheDaemon(t *testing.T) {
	t.Parallel()
	s := serve(t)
	sum := randomFile(t, filepath.Join(s.root, "f"), 4<<20)
	g := newGate(t, s.addr, -1, 2<<20)
	dir := t.TempDir()
	get := start(t, dir, clean(), via(s, g, "get", "f", "--json")...)
	<-g.held
	s.kill()
	g.cut()
	get.line(func(l string) bool { return strings.Contains(l, "trying again") })
	g.open()
	s.start()
	require.Zero(t, get.wait(), get.stderr())
	var end getEnd
	require.NoError(t, json.Unmarshal([]byte(get.out.String()), &end))
	assert.Equal(t, int64(4<<20), end.Fetched, "no byte twice")
	assert.Equal(t, sum, sumOf(t, filepath.Join(dir, "f")))
	assert.Len(t, s.records("download.opened"), 1)
}

func TestGetGoesOnWhereAnEarlierRunWasKilled(t *testing.T) {
	t.Parallel()
	for _, damaged := range []bool{false, true} {
		t.Run(fmt.Sprintf("damaged %v", damaged), func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			sum := randomFile(t, filepath.Join(s.root, "f"), 4<<20)
			g := newGate(t, s.addr, -1, 2<<20)
			dir := t.TempDir()
			part := filepath.Join(dir, "f"+partSuffix)
			get := start(t, dir, clean(), via(s, g, "get", "f")...)
			<-g.held
			eventually(t, "something was fetched", func() bool {
				info, err := os.Stat(part)
				return err == nil && info.Size() >= 1<<20
			})
			get.signal(syscall.SIGKILL)
			<-get.done
			assert.NoFileExists(t, filepath.Join(dir, "f"))
			if damaged {
				require.NoError(t, os.Truncate(part, 512<<10))
				require.NoError(t, os.Truncate(part, 1<<20)) // zeros, as after a power cut
			}

			g.open()
			r := waybillIn(t, dir, clean(), via(s, g, "get", "f", "--json")...)
			require.Zero(t, r.code, r.err)
			var end getEnd
			require.NoError(t, json.Unmarshal([]byte(r.out), &end))
			assert.Equal(t, sum, sumOf(t, filepath.Join(dir, "f")))
			if damaged {
				assert.Contains(t, r.err, "starting anew")
			} else {
				assert.True(t, end.Resumed)
				assert.LessOrEqual(t, end.Fetched, int64(3<<20))
			}
			assert.NoFileExists(t, part)
			assert.NoFileExists(t, filepath.Join(dir, "f"+getSuffix))
		})
	}
}

// The file is replaced while it is fetched: the result is the new one, whole.
func TestGetOfAFileThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	s := serve(t)
	randomFile(t, filepath.Join(s.root, "f"), 4<<20)
	g := newGate(t, s.addr, -1, 2<<20)
	dir := t.TempDir()
	get := start(t, dir, clean(), via(s, g, "get", "f")...)
	<-g.held
	sum := randomFile(t, filepath.Join(s.root, "new"), 3<<20)
	require.NoError(t, os.Rename(filepath.Join(s.root, "new"), filepath.Join(s.root, "f")))
	g.open()
	require.Zero(t, get.wait(), get.stderr())
	assert.Equal(t, sum, sumOf(t, filepath.Join(dir, "f")))
}

func TestGetOfDamagedBytes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "zeros"), make([]byte, 64<<10), 0o644))
	g := newGate(t, s.addr, -1, -1)
	g.corrupt()
	dir := t.TempDir()
	r := waybillIn(t, dir, clean(), via(s, g, "get", "zeros")...)
	assert.Equal(t, exitData, r.code, r.err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "neither a file nor a part of it")
}
