package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"waybill/daemon"
	"waybill/journal"
)

// fetch reads something below /journal/ of s.
func (s *server) fetch(path string) []byte {
	s.t.Helper()
	token, err := os.ReadFile(s.token())
	require.NoError(s.t, err)
	req, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+string(token))
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, 200, res.StatusCode, string(text))
	return text
}

// keyOf is what journal key prints.
func keyOf(t *testing.T, state string) string {
	t.Helper()
	r := waybill(t, "journal", "key", "--state", state)
	require.Zero(t, r.code, r.err)
	return strings.TrimSpace(r.out)
}

func save(t *testing.T, text []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

// What a daemon proves, running or stopped, is checked without it.
func TestProofsFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	line := strings.SplitAfter(string(text), "\n")[42]
	s.start()
	key := keyOf(t, s.state)
	keyFile := save(t, []byte("\n"+key+"\n"))
	old := save(t, s.fetch("/journal/checkpoint"))

	running := filepath.Join(t.TempDir(), "running")
	r := waybill(t, append([]string{"journal", "prove", "42", "-o", running}, s.client()...)...)
	require.Equal(t, result{0, "", ""}, r)
	grown := waybill(t, append([]string{"journal", "prove", "--from", old}, s.client()...)...)
	require.Zero(t, grown.code, grown.err)
	none := waybill(t, append([]string{"journal", "prove", "99999999"}, s.client()...)...)
	assert.Equal(t, exitUsage, none.code, none.err)
	assert.Contains(t, none.err, "there is no record 99999999: the journal has")
	s.stop()
	stopped := filepath.Join(t.TempDir(), "stopped")
	r = waybill(t, "journal", "prove", "42", "--state", s.state, "-o", stopped)
	require.Zero(t, r.code, r.err)
	later := waybill(t, "journal", "prove", "--from", old, "--state", s.state)
	require.Zero(t, later.code, later.err)

	for _, proof := range []string{running, stopped} {
		for _, k := range []string{key, keyFile} {
			r := waybill(t, "journal", "check", proof, "--key", k)
			assert.Equal(t, 0, r.code, r.err)
			assert.Equal(t, line, r.out, "the record itself")
			assert.Contains(t, r.err, "valid")
		}
		r := waybill(t, "journal", "check", proof, "--key", key, "--json")
		require.Zero(t, r.code, r.err)
		var v proofVerdict
		require.NoError(t, json.Unmarshal([]byte(r.out), &v))
		assert.True(t, v.Valid)
		assert.Equal(t, "inclusion", v.Proof)
		assert.Equal(t, strings.TrimSpace(line), string(v.Record))
	}
	for _, g := range []result{grown, later} {
		r := waybill(t, "journal", "check", save(t, []byte(g.out)), "--key", keyFile)
		assert.Equal(t, 0, r.code, r.err)
		assert.Empty(t, r.out)
		assert.Contains(t, r.err, "has only grown")
	}
	proof, err := os.ReadFile(running)
	require.NoError(t, err)
	other, err := journal.NewSigningKey("waybill/other")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		proof, key string
		code       int
		text       string
	}{
		"no key":           {running, "", exitUsage, "--key is missing"},
		"a bad key":        {running, save(t, []byte("x")), exitUsage, "not a verifier key"},
		"a missing key":    {running, "nowhere", exitNoInput, "no such file"},
		"a missing proof":  {"nowhere", key, exitNoInput, "no such file"},
		"another key":      {running, other.Verifier().String(), exitData, "not signed by this key"},
		"no proof at all":  {export, key, exitData, "neither a proof"},
		"another index":    {save(t, bytes.Replace(proof, []byte("index 42"), []byte("index 41"), 1)), key, exitData, "does not hold"},
		"half of it":       {save(t, proof[:len(proof)/2]), key, exitData, "not a proof"},
		"a changed record": {save(t, append([]byte("c2sp.org/tlog-proof@v1\nextra AAAA"), proof[len("c2sp.org/tlog-proof@v1\nextra AAAA"):]...)), key, exitData, "does not hold"},
	} {
		args := []string{"journal", "check", c.proof}
		if c.key != "" {
			args = append(args, "--key", c.key)
		}
		r := waybill(t, args...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.text, name)
		assert.Empty(t, r.out, name)
		if c.code == exitData {
			r := waybill(t, append(args, "--json")...)
			assert.Equal(t, c.code, r.code, name)
			assert.Contains(t, r.out, `"valid":false`, name)
		}
	}
	for _, args := range [][]string{{}, {"1", "--from", old}} {
		r := waybill(t, append([]string{"journal", "prove", "--state", s.state}, args...)...)
		assert.Equal(t, exitUsage, r.code, r.err)
	}
	require.NoError(t, os.Remove(filepath.Join(s.state, "log.key")))
	assert.Equal(t, exitNoInput, waybill(t, "journal", "prove", "1", "--state", s.state).code)
	assert.Equal(t, exitNoInput, waybill(t, "journal", "key", "--state", s.state).code)
}

func TestRotateFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s := serve(t, "--key-overlap", "1h")
	first := keyOf(t, s.state)
	r := waybill(t, "journal", "key", "--rotate", "--state", s.state)
	assert.Equal(t, exitTemp, r.code, r.err)
	s.stop()
	r = waybill(t, "journal", "key", "--rotate", "--state", s.state, "--json")
	require.Zero(t, r.code, r.err)
	var made struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(r.out), &made))
	assert.NotEqual(t, first, made.Key)
	assert.Equal(t, made.Key, keyOf(t, s.state))
	r = waybill(t, "journal", "key", "--rotate", "--state", s.state)
	assert.Equal(t, exitTemp, r.code, r.err)
	assert.Contains(t, r.err, "under way")
	s.start()
	keys := s.records("checkpoint.key")
	require.Len(t, keys, 2)
	assert.Equal(t, first, keys[1]["body"].(map[string]any)["previous"])
	cp := save(t, s.fetch("/journal/checkpoint"))
	for _, k := range []string{first, made.Key} {
		r := waybill(t, append([]string{"journal", "verify", "--checkpoint", cp, "--key", k}, s.client()...)...)
		assert.Equal(t, 0, r.code, r.err)
	}
	nowhere := t.TempDir()
	assert.Equal(t, exitNoInput, waybill(t, "journal", "key", "--rotate", "--state", nowhere).code)
	entries, err := os.ReadDir(nowhere)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// A journal continues the checkpoints of its past, wherever it is read from.
func TestVerifyContinuesCheckpoints(t *testing.T) {
	t.Parallel()
	s, _ := filled(t)
	s.start()
	key := keyOf(t, s.state)
	first := save(t, s.fetch("/journal/checkpoint"))
	second := save(t, s.fetch("/journal/checkpoint"))
	args := []string{"--checkpoint", second, "--checkpoint", first, "--key", key}
	verify := func(source ...string) result {
		return waybill(t, append(append([]string{"journal", "verify"}, args...), source...)...)
	}
	good := func(r result) {
		t.Helper()
		assert.Equal(t, 0, r.code, r.err)
		assert.Contains(t, r.out, "valid: ")
		assert.Contains(t, r.err, "nothing was altered of the first")
	}
	good(verify(s.client()...))
	r := verify(append(s.client(), "--json")...)
	assert.Contains(t, r.out, `"checkpoints":2`)
	s.stop()
	good(verify("--state", s.state))
	export := waybill(t, "journal", "export", "--state", s.state)
	good(verify("--export", save(t, []byte(export.out))))

	other := save(t, []byte(strings.Replace(key, "waybill/", "waybill/x", 1)))
	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"no key":                 {[]string{"--checkpoint", first}, exitUsage, "--key is missing"},
		"a bad key":              {[]string{"--checkpoint", first, "--key", other}, exitUsage, "not a verifier key"},
		"a missing file":         {[]string{"--checkpoint", "nowhere", "--key", key}, exitNoInput, "no such file"},
		"another's key":          {[]string{"--checkpoint", first, "--key", strangerKey(t)}, exitData, "not signed by this key"},
		"no checkpoint":          {[]string{"--checkpoint", other, "--key", key}, exitData, "not a checkpoint"},
		"one of another journal": {strangerCheckpoint(t), exitData, "is a checkpoint of waybill/other"},
	} {
		r := waybill(t, append([]string{"journal", "verify", "--state", s.state}, c.args...)...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.text, name)
	}
}

func strangerKey(t *testing.T) string {
	t.Helper()
	k, err := journal.NewSigningKey("waybill/other")
	require.NoError(t, err)
	return k.Verifier().String()
}

func strangerCheckpoint(t *testing.T) []string {
	t.Helper()
	k, err := journal.NewSigningKey("waybill/other")
	require.NoError(t, err)
	text, err := journal.SignCheckpoint(journal.Checkpoint{Origin: "waybill/other", Head: journal.Head{Size: 1}}, k)
	require.NoError(t, err)
	return []string{"--checkpoint", save(t, text), "--key", k.Verifier().String()}
}

// A running daemon whose journal was made anew, and signed anew with its key.
func TestVerifyOfARewrittenDaemon(t *testing.T) {
	t.Parallel()
	s, export := filled(t)
	key := keyOf(t, s.state)
	s.start()
	kept := save(t, s.fetch("/journal/checkpoint"))
	s.stop()
	verify := func() result {
		return waybill(t, append([]string{"journal", "verify", "--checkpoint", kept, "--key", key}, s.client()...)...)
	}
	text, err := os.ReadFile(export)
	require.NoError(t, err)
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, l := range lines {
		lines[i] = bytes.TrimSuffix(l, []byte("\n"))
	}
	lines = lines[:len(lines)-1]
	dir := filepath.Join(s.state, "journal")

	// An older copy, with its checkpoint.
	require.NoError(t, os.RemoveAll(dir))
	reseal(t, s.state, lines[:100])
	s.start()
	r := verify()
	assert.Equal(t, exitData, r.code)
	assert.Contains(t, r.err, "records are missing at the end")
	r = waybill(t, append([]string{"journal", "prove", "--from", kept}, s.client()...)...)
	assert.Equal(t, exitData, r.code)
	assert.Contains(t, r.err, "records are missing at the end")
	s.stop()

	// The same number of records and more, one of them altered.
	require.NoError(t, os.RemoveAll(dir))
	i := 42
	altered := bytes.Replace(lines[i], []byte(`"via":"ws 127.0.0.1`), []byte(`"via":"ws 127.0.0.2`), 1)
	require.NotEqual(t, string(lines[i]), string(altered))
	lines[i] = altered
	reseal(t, s.state, lines)
	s.start()
	for range 3 {
		s.fetch("/journal/checkpoint")
	}
	r = verify()
	assert.Equal(t, exitData, r.code)
	assert.Contains(t, r.err, "history was rewritten")
	r = waybill(t, append([]string{"journal", "prove", "--from", kept}, s.client()...)...)
	assert.Equal(t, exitData, r.code)
	assert.Contains(t, r.err, "not the records that")
}

// reseal makes a journal of lines in a STATE, and signs it with its key: what
// whoever owns the machine can do.
func reseal(t *testing.T, state string, lines [][]byte) {
	t.Helper()
	l, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	for len(lines) > 0 {
		n := min(len(lines), journal.MaxBatchRecords)
		require.NoError(t, l.Append(lines[:n]))
		lines = lines[n:]
	}
	require.NoError(t, l.Close())
	signHead(t, state, l.Head(), filepath.Join(state, "checkpoint"))
}

func signHead(t *testing.T, state string, h journal.Head, file string) {
	t.Helper()
	key, _, err := daemon.StoredKeys(state)
	require.NoError(t, err)
	text, err := journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: h}, key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

// tamperLines are the records of the tampered journal: two segments and a part
// of a third.
const tamperLines = 2*journal.SegmentRecords + 3000

// tamperLine gives record seq; all but the first few have the same length.
func tamperLine(seq int, actor string) []byte {
	return journal.AppendRecord(nil, &journal.Record{
		Seq: uint64(seq), At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kind: "action.answered", Actor: actor, Via: "ws", Ref: "r",
		Body: fmt.Appendf(nil, `{"action":"get_system_info","code":"ok","n":"%09d"}`, seq),
	})
}

// tampering makes the sound STATE, once: beside it an older copy of its last
// segment, and the checkpoints that an auditor has kept.
var tampering sync.Once

func tamperState(t *testing.T) (state, older, kept string) {
	t.Helper()
	dir := filepath.Join(sharedDir(), "tampering")
	state, older, kept = filepath.Join(dir, "state"), filepath.Join(dir, "older.db"), filepath.Join(dir, "kept")
	tampering.Do(func() {
		require.NoError(t, os.MkdirAll(state, 0o700))
		require.NoError(t, os.MkdirAll(kept, 0o700))
		key, err := journal.NewSigningKey("waybill/7c9b4a9e-0c3f-4f0e-8a53-0a4b1f1d2c3e")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(state, "log.key"), []byte(key.Text()), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(state, "id"), []byte(strings.TrimPrefix(key.Verifier().Name(), "waybill/")), 0o600))
		var lines [][]byte
		for seq := range tamperLines {
			lines = append(lines, tamperLine(seq, "panel-1"))
		}
		reseal(t, state, lines[:tamperLines-1000])
		b, err := os.ReadFile(filepath.Join(state, "journal", "seg-0000000000131072.db"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(older, b, 0o600))
		reseal(t, state, lines[tamperLines-1000:])
		l, err := journal.Open(filepath.Join(state, "journal"), journal.Options{ReadOnly: true})
		require.NoError(t, err)
		for _, size := range []uint64{1000, 70_000, tamperLines} {
			root, err := l.RootAt(context.Background(), size)
			require.NoError(t, err)
			signHead(t, state, journal.Head{Size: size, Root: root}, filepath.Join(kept, fmt.Sprint(size)))
		}
		require.NoError(t, l.Close())
	})
	return state, older, kept
}

// edit changes the records of a segment as the owner of the disk can.
func edit(t *testing.T, state string, first int, change func(b *bolt.Bucket) error) {
	t.Helper()
	path := filepath.Join(state, "journal", fmt.Sprintf("seg-%016d.db", first))
	ownFile(t, path)
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket([]byte("log"))) }))
	require.NoError(t, db.Close())
}

// seqKey is the key of a record: its number, big-endian.
func seqKey(seq int) []byte {
	return []byte{0, 0, 0, 0, byte(seq >> 24), byte(seq >> 16), byte(seq >> 8), byte(seq)}
}

// Whatever is done to a journal, the checkpoints that were kept elsewhere show
// it, and what it was.
func TestTamper(t *testing.T) {
	t.Parallel()
	sound, older, kept := tamperState(t)
	segment := func(state string, first int) string {
		return filepath.Join(state, "journal", fmt.Sprintf("seg-%016d.db", first))
	}
	// anew makes the journal again, of n other records, and signs it. Segments that
	// would become the same stay: those before the record kept.
	anew := func(t *testing.T, state string, kept, n int, change func(seq int) []byte) {
		for first := kept; first < tamperLines; first += journal.SegmentRecords {
			require.NoError(t, os.Remove(segment(state, first)))
		}
		var lines [][]byte
		for seq := kept; seq < n; seq++ {
			lines = append(lines, change(seq))
		}
		reseal(t, state, lines)
	}
	plain := func(seq int) []byte { return tamperLine(seq, "panel-1") }
	last := tamperLines - 1
	missing := func(from int) []string {
		return []string{fmt.Sprintf("records %d to %d", from, last), "missing at the end", fmt.Sprintf("the journal has %d", from)}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, state string)
		texts  []string // none: it passes
		own    bool     // the daemon's own checkpoint shows it as well
	}{
		"untouched": {func(*testing.T, string) {}, nil, false},
		"a flipped byte": {func(t *testing.T, state string) {
			b, err := os.ReadFile(segment(state, 0))
			require.NoError(t, err)
			at := bytes.Index(b, plain(3000))
			require.Positive(t, at)
			b[at+len(plain(3000))-5] ^= 1
			ownFile(t, segment(state, 0))
			require.NoError(t, os.WriteFile(segment(state, 0), b, 0o600))
		}, []string{"record 3000 "}, true},
		"a flipped byte in the last segment": {func(t *testing.T, state string) {
			edit(t, state, 131072, func(b *bolt.Bucket) error {
				line := plain(last)
				line[len(line)-5] ^= 1
				return b.Put(seqKey(last), line)
			})
		}, []string{fmt.Sprintf("to %d ", last), "root differs"}, true},
		"a dropped record": {func(t *testing.T, state string) {
			edit(t, state, 65536, func(b *bolt.Bucket) error { return b.Delete(seqKey(70_500)) })
		}, []string{"record 70500 "}, true},
		"two swapped records": {func(t *testing.T, state string) {
			edit(t, state, 0, func(b *bolt.Bucket) error {
				if err := b.Put(seqKey(500), plain(501)); err != nil {
					return err
				}
				return b.Put(seqKey(501), plain(500))
			})
		}, []string{"record 500 "}, true},
		"a dropped record, the others numbered anew": {func(t *testing.T, state string) {
			anew(t, state, 0, last, func(seq int) []byte {
				if seq < 800 {
					return plain(seq)
				}
				return bytes.Replace(plain(seq+1), fmt.Appendf(nil, `"seq":%d,`, seq+1), fmt.Appendf(nil, `"seq":%d,`, seq), 1)
			})
		}, []string{"records 0 to 999:", "history was rewritten", "/1000 "}, false},
		"two swapped records, numbered anew": {func(t *testing.T, state string) {
			anew(t, state, 0, tamperLines, func(seq int) []byte {
				from := seq
				if seq == 1500 || seq == 1501 {
					from = 3001 - seq
				}
				return bytes.Replace(plain(from), fmt.Appendf(nil, `"seq":%d,`, from), fmt.Appendf(nil, `"seq":%d,`, seq), 1)
			})
		}, []string{"records 1000 to 69999:", "history was rewritten", "/70000 "}, false},
		"a truncated tail": {func(t *testing.T, state string) {
			checkpoint, err := os.ReadFile(filepath.Join(state, "checkpoint"))
			require.NoError(t, err)
			anew(t, state, 131072, tamperLines-7, plain)
			require.NoError(t, os.WriteFile(filepath.Join(state, "checkpoint"), checkpoint, 0o600))
		}, missing(tamperLines - 7), true},
		"a truncated tail, signed anew": {func(t *testing.T, state string) {
			anew(t, state, 131072, tamperLines-7, plain)
		}, missing(tamperLines - 7), false},
		"the first segment dropped": {func(t *testing.T, state string) {
			require.NoError(t, os.Remove(segment(state, 0)))
		}, []string{"records 0 to 65535"}, true},
		"a segment dropped": {func(t *testing.T, state string) {
			require.NoError(t, os.Remove(segment(state, 65536)))
		}, []string{"records 65536 to 131071", "missing"}, true},
		"the newest segment dropped": {func(t *testing.T, state string) {
			require.NoError(t, os.Remove(segment(state, 131072)))
		}, missing(131072), true},
		"an older copy of the newest segment": {func(t *testing.T, state string) {
			b, err := os.ReadFile(older)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(segment(state, 131072), b, 0o600))
		}, missing(tamperLines - 1000), true},
		"everything sealed anew with the real key": {func(t *testing.T, state string) {
			anew(t, state, 65536, tamperLines+50, func(seq int) []byte {
				if seq == 80_000 {
					return tamperLine(seq, "panel-2")
				}
				return plain(seq)
			})
		}, []string{fmt.Sprintf("records 70000 to %d:", last), "history was rewritten", fmt.Sprintf("/%d ", tamperLines)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && strings.HasSuffix(name, "numbered anew") {
				t.Skip("makes all of the journal again; of one that was, a short run looks at what was sealed with the real key")
			}
			state := filepath.Join(quickDir(t), "state")
			copyState(t, state, sound)
			key := keyOf(t, state)
			c.change(t, state)
			args := []string{"journal", "verify", "--state", state, "--key", key}
			for _, size := range []int{1000, 70_000, tamperLines} {
				args = append(args, "--checkpoint", filepath.Join(kept, fmt.Sprint(size)))
			}
			r := waybill(t, args...)
			if c.texts == nil {
				assert.Equal(t, 0, r.code, r.err)
			} else {
				assert.Equal(t, exitData, r.code, r.err)
			}
			for _, text := range c.texts {
				assert.Contains(t, r.err, text)
			}
			code := 0
			if c.own {
				code = exitData
			}
			r = waybill(t, "journal", "verify", "--state", state)
			assert.Equal(t, code, r.code, "without what was kept: %s", r.err)
		})
	}
}

// What the daemon signed last is compared beside what was kept, whichever key
// there is to check it with.
func TestVerifyComparesTheOwnCheckpointAsWell(t *testing.T) {
	t.Parallel()
	sound, older, kept := tamperState(t)
	state := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.CopyFS(state, os.DirFS(sound)))
	key := keyOf(t, state)
	verify := func(flags ...string) result {
		return waybill(t, append([]string{"journal", "verify", "--state", state}, flags...)...)
	}
	withKept := []string{"--checkpoint", filepath.Join(kept, "1000"), "--key", key}
	r := verify(withKept...)
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, "nothing was altered of the first 1000 records")
	b, err := os.ReadFile(older)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(state, "journal", "seg-0000000000131072.db"), b, 0o600))
	lost := func(r result) {
		t.Helper()
		assert.Equal(t, exitData, r.code, r.err)
		assert.Contains(t, r.err, fmt.Sprintf("the journal has %d, STATE/checkpoint was signed over %d", tamperLines-1000, tamperLines))
	}
	lost(verify())
	lost(verify(withKept...))
	lost(verify("--key", strangerKey(t))) // that of STATE is there

	require.NoError(t, os.Remove(filepath.Join(state, "log.key")))
	lost(verify(withKept...))
	lost(verify("--key", key))
	r = verify()
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, "STATE/checkpoint was not compared: there is no key to check it with; give one with --key")
	r = verify("--key", strangerKey(t))
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, "STATE/checkpoint was not compared: ")
	assert.Contains(t, r.err, "not signed by this key")
}
