package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filling makes the journal that filled hands out, once for all tests.
var filling sync.Once

// filled returns a stopped daemon with a few hundred records, and its export.
func filled(t *testing.T) (s *server, export string) {
	t.Helper()
	master := filepath.Join(filepath.Dir(binary), "filled")
	filling.Do(func() {
		s := serveIn(t, filepath.Join(master, "daemon"))
		file := filepath.Join(t.TempDir(), "f")
		randomFile(t, file, 75<<10)
		for i := range 2 {
			// A record for each chunk: more than one tile of the tree.
			r := waybill(t, to(s, "put", file, fmt.Sprintf("f%d", i), "--chunk", "512", "--in-flight", "1")...)
			require.Zero(t, r.code, r.err)
		}
		s.stop()
		r := waybill(t, "journal", "export", "--state", s.state)
		require.Zero(t, r.code, r.err)
		require.NoError(t, os.WriteFile(filepath.Join(master, "export"), []byte(r.out), 0o600))
	})
	s = place(t, filepath.Join(t.TempDir(), "copy"))
	require.NoError(t, os.CopyFS(filepath.Dir(s.state), os.DirFS(filepath.Join(master, "daemon"))))
	return s, filepath.Join(master, "export")
}

func head(t *testing.T, r result) verdict {
	t.Helper()
	require.Zero(t, r.code, r.err)
	var v verdict
	require.NoError(t, json.Unmarshal([]byte(r.out), &v))
	return v
}

// What a stopped daemon, a running one and an export say is the same.
func TestJournalFromEverySource(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := strings.Count(string(text), "\n")

	stored := head(t, waybill(t, "journal", "verify", "--state", s.state, "--json"))
	assert.Equal(t, uint64(lines), stored.Size)
	assert.Equal(t, stored, head(t, waybill(t, "journal", "verify", "--export", export, "--json")))
	plain := waybill(t, "journal", "verify", "--state", s.state)
	assert.Equal(t, fmt.Sprintf("valid: %d records, root %s\n", stored.Size, stored.Root), plain.out)

	last := fmt.Sprint(lines - 1)
	state := waybill(t, "journal", "replay", "--state", s.state)
	require.Zero(t, state.code, state.err)
	assert.True(t, json.Valid([]byte(state.out)))
	assert.Equal(t, state, waybill(t, "journal", "replay", "--export", export))
	assert.Equal(t, state, waybill(t, "journal", "replay", "--state", s.state, "--at", last))
	var out, talk bytes.Buffer
	code := run(context.Background(), []string{"journal", "replay", "--export", "-"}, bytes.NewReader(text), &out, &talk, os.LookupEnv)
	assert.Equal(t, state, result{code, out.String(), talk.String()})

	part := waybill(t, "journal", "export", "--state", s.state, "--from", "1", "--to", "3")
	assert.Equal(t, strings.Join(strings.SplitAfter(string(text), "\n")[1:3], ""), part.out)
	tail := waybill(t, "journal", "tail", "--state", s.state, "-n", "2")
	assert.Equal(t, strings.Join(strings.SplitAfter(string(text), "\n")[lines-2:lines], ""), tail.out)

	s.start()
	running := head(t, waybill(t, append([]string{"journal", "verify", "--json"}, s.client()...)...))
	assert.Greater(t, running.Size, stored.Size)
	r := waybill(t, append([]string{"journal", "export"}, s.client()...)...)
	require.Zero(t, r.code, r.err)
	assert.Truef(t, strings.HasPrefix(r.out, string(text)), "history has only grown")
	assert.Equal(t, state.out, waybill(t, append([]string{"journal", "replay", "--at", last}, s.client()...)...).out)
}

// --at TIME is the state after the last record that is not later.
func TestReplayAtATime(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	mid := len(lines) / 2
	var rec struct{ At string }
	require.NoError(t, json.Unmarshal([]byte(lines[mid]), &rec))
	for mid+1 < len(lines) && strings.Contains(lines[mid+1], rec.At) {
		mid++
	}
	bySeq := waybill(t, "journal", "replay", "--state", s.state, "--at", fmt.Sprint(mid))
	byTime := waybill(t, "journal", "replay", "--export", export, "--at", rec.At)
	require.Zero(t, bySeq.code, bySeq.err)
	assert.Equal(t, bySeq, byTime)
	assert.NotEqual(t, byTime.out, waybill(t, "journal", "replay", "--state", s.state).out)
	assert.Equal(t, exitUsage, waybill(t, "journal", "replay", "--state", s.state, "--at", fmt.Sprint(len(lines))).code)
	assert.Equal(t, exitUsage, waybill(t, "journal", "replay", "--state", s.state, "--at", "yesterday").code)
}

func TestDamage(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")

	t.Run("a flipped byte in the store", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.CopyFS(copied, os.DirFS(s.state)))
		seg := filepath.Join(copied, "journal", "seg-0000000000000000.db")
		b, err := os.ReadFile(seg)
		require.NoError(t, err)
		// Every copy: bbolt may keep the record on pages no longer in use.
		old := strings.TrimSpace(lines[3])
		require.Contains(t, string(b), old)
		flipped := []byte(old)
		flipped[strings.Index(old, `"kind":"`)+len(`"kind":"`)] ^= 1
		bad := string(flipped)
		require.NoError(t, os.WriteFile(seg, []byte(strings.ReplaceAll(string(b), old, bad)), 0o600))

		r := waybill(t, "journal", "verify", "--state", copied)
		assert.Equal(t, exitData, r.code)
		assert.Contains(t, r.err, "record 3")
		r = waybill(t, "journal", "verify", "--state", copied, "--json")
		assert.Equal(t, exitData, r.code)
		assert.Contains(t, r.out, `"valid":false`)
		assert.Contains(t, r.out, `"seq":3`)
		r = waybill(t, "serve", "--root", s.root, "--state", copied, "--listen", "127.0.0.1:0")
		assert.Equal(t, exitData, r.code, r.err)
		assert.Contains(t, r.err, "record 3")
	})
	t.Run("every segment is gone", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.CopyFS(copied, os.DirFS(s.state)))
		for _, gone := range []string{"journal/seg-0000000000000000.db", "journal"} {
			require.NoError(t, os.Remove(filepath.Join(copied, gone)))
			for _, command := range []string{"verify", "export", "replay"} {
				r := waybill(t, "journal", command, "--state", copied)
				assert.Equal(t, exitData, r.code, "%s without %s: %s", command, gone, r.out)
			}
			r := waybill(t, "doctor", "--root", s.root, "--state", copied, "--reserve", "0")
			assert.Regexp(t, `(?m)^fail  journal `, r.out)
		}
	})
	for _, c := range []struct {
		name, seq string
		text      string
	}{
		{"a dropped line", "record 2", lines[0] + lines[1] + strings.Join(lines[3:], "")},
		{"swapped lines", "record 1", lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], "")},
		{"half a line", "record 2", lines[0] + lines[1] + lines[2][:20]},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "export")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			for _, command := range []string{"verify", "replay"} {
				r := waybill(t, "journal", command, "--export", file)
				assert.Equal(t, exitData, r.code, command)
				assert.Contains(t, r.err, c.seq, command)
			}
		})
	}
}

// tail goes on over a restart of the daemon, with every record once.
func TestTailFollows(t *testing.T) {
	t.Parallel()
	s := serve(t)
	tail := start(t, t.TempDir(), clean(), append([]string{"journal", "tail", "-n", "1000"}, s.client()...)...)
	eventually(t, "tail prints what there is", func() bool { return strings.Contains(tail.out.String(), `"kind":"daemon.started"`) })
	s.kill()
	tail.line(func(l string) bool { return strings.Contains(l, "trying again") })
	s.start()
	eventually(t, "tail prints what is new", func() bool { return strings.Count(tail.out.String(), `"kind":"daemon.started"`) == 2 })
	s.stop()
	tail.signal(syscall.SIGINT)
	assert.Equal(t, 130, tail.wait())

	r := waybill(t, "journal", "export", "--state", s.state)
	require.Zero(t, r.code, r.err)
	out := tail.out.String()
	assert.True(t, strings.HasPrefix(r.out, out), "the same records, without a gap")
}

func TestStateOfARunningDaemon(t *testing.T) {
	t.Parallel()
	s := serve(t)
	holder := fmt.Sprintf("pid %d", s.p.cmd.Process.Pid)
	for _, command := range []string{"verify", "export", "replay", "tail", "stats"} {
		r := waybill(t, "journal", command, "--state", s.state)
		assert.Equal(t, exitTemp, r.code, command)
		assert.Contains(t, r.err, holder, command)
	}
	for name, args := range map[string][]string{
		"the same state": {"--root", filepath.Join(t.TempDir(), "root"), "--state", s.state},
		"the same root":  {"--root", s.root, "--state", filepath.Join(t.TempDir(), "state")},
	} {
		r := waybill(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
		assert.Equal(t, exitTemp, r.code, name)
		assert.Contains(t, r.err, holder, name)
	}
}

// Reading changes nothing: a copy may be evidence.
func TestVerifyWritesNothing(t *testing.T) {
	t.Parallel()
	s, _ := filled(t)
	before := snapshot(t, s.state)
	for _, command := range []string{"verify", "export", "replay", "tail", "stats"} {
		r := waybill(t, "journal", command, "--state", s.state)
		require.Zero(t, r.code, r.err)
	}
	require.Equal(t, 0, waybill(t, "doctor", "--state", s.state, "--root", s.root, "--reserve", "0").code)
	assert.Equal(t, before, snapshot(t, s.state))
}

// snapshot returns the contents and times of everything below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Mode(), sumOf(t, path))
		return nil
	}))
	return all
}
