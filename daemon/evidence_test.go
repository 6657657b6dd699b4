package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"waybill/journal"
)

// get reads something below /journal/ as the holder of the main token.
func (r *rig) get(path string) (code int, body string, h http.Header) {
	r.t.Helper()
	return r.do("GET", path, "", "Authorization", "Bearer "+r.token)
}

// verifier is the public half of the key in STATE.
func (r *rig) verifier() journal.VerifierKey {
	r.t.Helper()
	k, _, err := StoredKeys(r.cfg.State)
	require.NoError(r.t, err)
	return k.Verifier()
}

// checkpoint opens a signed checkpoint, which must be one of r.
func (r *rig) checkpoint(text string) journal.Checkpoint {
	r.t.Helper()
	c, err := journal.OpenCheckpoint([]byte(text), r.verifier())
	require.NoError(r.t, err, text)
	return c
}

// stored is the checkpoint in STATE, zero before the first.
func (r *rig) stored() journal.Checkpoint {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.cfg.State, "checkpoint"))
	if errors.Is(err, os.ErrNotExist) {
		return journal.Checkpoint{}
	}
	require.NoError(r.t, err)
	return r.checkpoint(string(text))
}

func TestEvidenceOverHTTP(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	for range 300 {
		r.get("/journal?from=1&to=1")
	}
	code, text, h := r.get("/journal/checkpoint")
	require.Equal(t, 200, code)
	assert.Equal(t, "text/plain; charset=utf-8", h.Get("Content-Type"))
	c := r.checkpoint(text)
	n := c.Size
	records := r.records()
	require.Equal(t, "journal_checkpoint", records[n-1].Body["action"], "it covers its own record")
	_, export, _ := r.get(fmt.Sprintf("/journal?to=%d", n))
	lines := strings.Split(strings.TrimSpace(export), "\n")
	require.Len(t, lines, int(n))

	t.Run("tiles", func(t *testing.T) {
		for _, full := range []bool{true, false} {
			suffix, width, tile := "000", 256, 0
			if !full {
				width, tile = int(n-256), 1
				suffix = fmt.Sprintf("001.p/%d", width)
			}
			code, hashes, h := r.get("/journal/tile/0/" + suffix)
			require.Equal(t, 200, code)
			require.Len(t, hashes, width*32)
			assert.Equal(t, full, strings.Contains(h.Get("Cache-Control"), "immutable"))
			assert.Contains(t, h.Get("Cache-Control"), "private")
			assert.Equal(t, "application/octet-stream", h.Get("Content-Type"))
			code, bundle, _ := r.get("/journal/tile/entries/" + suffix)
			require.Equal(t, 200, code)
			for i := range width {
				size := binary.BigEndian.Uint16([]byte(bundle))
				line := bundle[2 : 2+size]
				bundle = bundle[2+size:]
				require.Equal(t, lines[tile*256+i], line)
				leaf := tlog.RecordHash([]byte(line))
				require.Equal(t, string(leaf[:]), hashes[i*32:(i+1)*32])
			}
			require.Empty(t, bundle)
		}
		code, top, _ := r.get("/journal/tile/1/000.p/1")
		require.Equal(t, 200, code)
		root, err := journal.VerifyExport(t.Context(), strings.NewReader(strings.Join(lines[:256], "\n")+"\n"))
		require.NoError(t, err)
		assert.Equal(t, string(root.Root[:]), top)
	})
	t.Run("inclusion", func(t *testing.T) {
		for _, path := range []string{"/journal/proof/42", fmt.Sprintf("/journal/proof/42?size=%d", n), "/journal/proof/42?size=43"} {
			code, text, _ := r.get(path)
			require.Equal(t, 200, code, path)
			p, err := journal.ParseInclusionProof([]byte(text))
			require.NoError(t, err)
			c, err := p.Check(r.verifier())
			require.NoError(t, err)
			assert.Equal(t, lines[42], string(p.Line))
			if _, size, ok := strings.Cut(path, "size="); ok {
				assert.Equal(t, size, fmt.Sprint(c.Size))
			}
		}
	})
	t.Run("consistency", func(t *testing.T) {
		code, text, _ := r.get(fmt.Sprintf("/journal/consistency/%d", n))
		require.Equal(t, 200, code)
		g, err := journal.ParseGrowth([]byte(text))
		require.NoError(t, err)
		require.NoError(t, g.Holds(c, r.checkpoint(string(g.Checkpoint))))
		code, text, _ = r.get("/journal/consistency/0")
		require.Equal(t, 200, code)
		assert.True(t, strings.HasPrefix(text, "old 0\n\nwaybill/"), text)
	})
	t.Run("what is not there", func(t *testing.T) {
		for path, want := range map[string]int{
			"/journal/":                           404,
			"/journal/x":                          404,
			"/journal/checkpoint/":                404,
			"/journal/tile/0/000.p/0":             400,
			"/journal/tile/0/000.p/256":           400,
			"/journal/tile/0/000.p/01":            400,
			"/journal/tile/0/0":                   400,
			"/journal/tile/00/000":                400,
			"/journal/tile/64/000":                400,
			"/journal/tile/-1/000":                400,
			"/journal/tile/0/x000/000":            400,
			"/journal/tile/data/000":              400,
			"/journal/tile/8/0/000":               400,
			"/journal/tile/entries/":              400,
			"/journal/tile/entries/000/":          400,
			"/journal/tile/":                      400,
			"/journal/tile/0/001":                 404,
			"/journal/tile/1/000":                 404,
			"/journal/tile/1/000.p/2":             404,
			"/journal/tile/2/000.p/1":             404,
			"/journal/tile/7/000.p/1":             404,
			"/journal/tile/63/000":                404,
			"/journal/tile/entries/x999/999":      404,
			"/journal/proof/":                     400,
			"/journal/proof/x":                    400,
			"/journal/proof/042":                  400,
			"/journal/proof/-1":                   400,
			"/journal/proof/9007199254740992":     400,
			"/journal/proof/1?size=+9":            400,
			"/journal/proof/1?size=1":             404,
			"/journal/proof/1?size=99999999":      404,
			"/journal/proof/99999999":             404,
			"/journal/consistency/99999999":       404,
			"/journal/consistency/1/2":            400,
			"/journal/tile/0/x001/x234/067":       404,
			"/journal/tile/0/x001/x234/067.p/255": 404,
		} {
			code, text, _ := r.get(path)
			assert.Equal(t, want, code, "%s: %s", path, text)
		}
		code, _, _ := r.do("POST", "/journal/checkpoint", "", "Authorization", "Bearer "+r.token)
		assert.Equal(t, 405, code)
		code, body, h := r.do("HEAD", "/journal/checkpoint", "", "Authorization", "Bearer "+r.token)
		assert.Equal(t, 200, code)
		assert.Empty(t, body)
		assert.NotEqual(t, "0", h.Get("Content-Length"))
	})
	t.Run("who may", func(t *testing.T) {
		panel := r.subtoken(url.Values{"permissions": {"mfp.file.read"}})
		auditor := r.subtoken(url.Values{"permissions": {"waybill.journal.read"}, "subject": {"auditor"}})
		for action, path := range map[string]string{
			"journal_checkpoint": "/journal/checkpoint", "journal_tile": "/journal/tile/0/000",
			"journal_proof": "/journal/proof/3",
		} {
			code, _, _ := r.do("GET", path, "")
			assert.Equal(t, 401, code, path)
			code, _, _ = r.do("GET", path, "", "Authorization", "Bearer "+panel)
			assert.Equal(t, 403, code, path)
			code, _, _ = r.do("GET", path, "", "Authorization", "Bearer "+auditor)
			assert.Equal(t, 200, code, path)
			all := r.records()
			assert.Equal(t, 1, count(all, func(x record) bool {
				return x.Kind == "action.refused" && x.Body["action"] == action && x.Body["code"] == "permission_denied"
			}), path)
			assert.Equal(t, 1, count(all, func(x record) bool {
				return x.Kind == "action.answered" && x.Body["action"] == action && x.Actor == "auditor"
			}), path)
		}
	})
}

// What is asked of the evidence is on record with how it was answered, one
// record each: an answer that covers its own, or a refusal.
func TestEvidenceOnRecord(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	size := func() uint64 { return uint64(len(r.records())) }
	for i, c := range []struct {
		path   string
		status int
		action string
		code   string
		params map[string]any
	}{
		{"checkpoint", 200, "journal_checkpoint", "ok", nil},
		{"tile/0/000.p/2", 200, "journal_tile", "ok", map[string]any{"url_path": "/journal/tile/0/000.p/2"}},
		{"tile/entries/000.p/1", 200, "journal_tile", "ok", map[string]any{"url_path": "/journal/tile/entries/000.p/1"}},
		{"tile/entries/999", 404, "journal_tile", "not_found", map[string]any{"url_path": "/journal/tile/entries/999"}},
		{"tile/0/0", 400, "journal_tile", "bad_param", map[string]any{"url_path": "/journal/tile/0/0"}},
		{"proof/1", 200, "journal_proof", "ok", map[string]any{"seq": 1.}},
		{"proof/1?size=2", 200, "journal_proof", "ok", map[string]any{"seq": 1., "size": 2.}},
		{"proof/99999", 404, "journal_proof", "not_found", map[string]any{"seq": 99999.}},
		{"proof/x", 400, "journal_proof", "bad_param", map[string]any{"url_path": "/journal/proof/x"}},
		{"consistency/2", 200, "journal_proof", "ok", map[string]any{"size": 2.}},
		{"consistency/99999", 404, "journal_proof", "not_found", map[string]any{"size": 99999.}},
		{"nothing/of%20this", 404, "journal_evidence", "not_found", map[string]any{"url_path": "/journal/nothing/of this"}},
		{strings.Repeat("long", 5000), 404, "journal_evidence", "not_found", nil},
	} {
		before := size()
		status, body, _ := r.get("/journal/" + c.path)
		require.Equal(t, c.status, status, c.path)
		all := r.records()[before:]
		mine := those(all, func(x record) bool { return strings.HasPrefix(x.Kind, "action.") && x.Body["action"] != "journal_read" })
		require.Len(t, mine, 1, c.path)
		assert.Equal(t, c.action, mine[0].Body["action"], c.path)
		assert.Equal(t, c.code, mine[0].Body["code"], c.path)
		if i < 12 {
			assert.Equal(t, c.params == nil, mine[0].Body["params"] == nil, c.path)
			assert.Equal(t, c.params, func() map[string]any { p, _ := mine[0].Body["params"].(map[string]any); return p }(), c.path)
		}
		if c.code != "ok" {
			assert.Equal(t, "action.refused", mine[0].Kind, c.path)
			assert.Equal(t, mine[0].Body["message"], strings.TrimSpace(body), c.path)
			continue
		}
		assert.Equal(t, "action.answered", mine[0].Kind, c.path)
		switch c.path {
		case "checkpoint":
			assert.Equal(t, mine[0].Seq+1, r.checkpoint(body).Size)
		case "proof/1":
			p, err := journal.ParseInclusionProof([]byte(body))
			require.NoError(t, err)
			assert.Equal(t, mine[0].Seq+1, r.checkpoint(string(p.Checkpoint)).Size)
		case "consistency/2":
			g, err := journal.ParseGrowth([]byte(body))
			require.NoError(t, err)
			assert.Equal(t, mine[0].Seq+1, r.checkpoint(string(g.Checkpoint)).Size)
		}
	}
	code, _, _ := r.do("GET", "/journal/nothing", "")
	assert.Equal(t, 401, code)
	code, _, _ = r.do("GET", "/journal/nothing", "", "Authorization", "Bearer "+r.subtoken(url.Values{"permissions": {"mfp.file.read"}}))
	assert.Equal(t, 403, code)
	all := r.records()
	assert.Equal(t, 1, count(all, func(x record) bool {
		return x.Kind == "action.refused" && x.Body["action"] == "journal_evidence" && x.Body["code"] == "permission_denied"
	}))
	_, found, _ := r.search(url.Values{"path": {"/"}})
	assert.Empty(t, found, "they are about no served file")
}

// The checkpoint in STATE follows the journal by itself, and covers the stop.
func TestCheckpointFollows(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	require.True(t, soon(func() bool { return r.stored().Size >= 2 }))
	r.subtoken(url.Values{})
	size := uint64(len(r.records()))
	require.True(t, soon(func() bool { return r.stored().Size >= size }))
	_, metrics, _ := r.do("GET", "/metrics", "")
	assert.Regexp(t, `(?m)^waybill_checkpoint_size [1-9]`, metrics)
	assert.Regexp(t, `(?m)^waybill_checkpoint_pushed_size 0`, metrics)
	assert.Regexp(t, `(?m)^waybill_checkpoint_push_failures_total 0`, metrics)
	require.NoError(t, r.stop())
	head, err := journal.Verify(context.Background(), filepath.Join(r.cfg.State, "journal"))
	require.NoError(t, err)
	assert.Equal(t, head, r.stored().Head)
	fi, err := os.Stat(filepath.Join(r.cfg.State, "log.key"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), fi.Mode().Perm())
}

// talk is a log that tests read.
type talk struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *talk) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *talk) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// recordedKeys are the bodies of checkpoint.key.
func recordedKeys(r *rig) (all []map[string]any) {
	for _, x := range r.records() {
		if x.Kind == "checkpoint.key" {
			all = append(all, x.Body)
		}
	}
	return all
}

// After a rotation both keys sign for a while, then the new one alone.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	r := run(t, func(c *Config) {
		c.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	oldFile := filepath.Join(r.cfg.State, "log.key.old")
	first := r.verifier()
	_, err := RotateKey(r.cfg.State)
	require.Error(t, err, "the daemon runs")
	require.Equal(t, first.String(), r.verifier().String())
	require.NoError(t, r.stop())

	second, err := RotateKey(r.cfg.State)
	require.NoError(t, err)
	require.Equal(t, second.String(), r.verifier().String())
	_, err = RotateKey(r.cfg.State)
	require.ErrorIs(t, err, ErrRotating)

	r = restart(t, r.cfg)
	signers := func() (by [2]bool) {
		_, text, _ := r.get("/journal/checkpoint")
		for i, k := range []journal.VerifierKey{first, second} {
			_, err := journal.OpenCheckpoint([]byte(text), k)
			by[i] = err == nil
		}
		return by
	}
	assert.Equal(t, [2]bool{true, true}, signers())
	keys := recordedKeys(r)
	require.Len(t, keys, 2)
	assert.Equal(t, map[string]any{"key": first.String()}, keys[0])
	assert.Equal(t, first.String(), keys[1]["previous"])
	until, err := time.Parse(time.RFC3339, keys[1]["until"].(string))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(7*24*time.Hour), until, time.Hour)

	// The overlap outlives a restart, which records nothing new.
	require.NoError(t, r.stop())
	r = restart(t, r.cfg)
	assert.Equal(t, [2]bool{true, true}, signers())
	assert.Len(t, recordedKeys(r), 2)
	require.FileExists(t, oldFile)

	ahead.Store(int64(8 * 24 * time.Hour))
	assert.Equal(t, [2]bool{false, true}, signers())
	assert.NoFileExists(t, oldFile)
	require.NoError(t, r.stop())
	_, err = RotateKey(r.cfg.State)
	require.NoError(t, err)
}

// A rotation that was cut short, one without an overlap, a key that is lost and
// one that is of somebody else.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	out := new(talk)
	r := run(t, func(c *Config) { c.KeyOverlap, c.Logger = -1, zerolog.New(out) })
	at := func(name string) string { return filepath.Join(r.cfg.State, name) }
	copyFile := func(from, to string) {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, b, 0o600))
	}
	again := func(change func()) {
		require.NoError(t, r.stop())
		change()
		r = restart(t, r.cfg)
	}
	first := r.verifier().String()
	again(func() { copyFile(at("log.key"), at("log.key.old")) })
	assert.NoFileExists(t, at("log.key.old"), "it was the same key")
	assert.Len(t, recordedKeys(r), 1)

	again(func() {
		_, err := RotateKey(r.cfg.State)
		require.NoError(t, err)
	})
	assert.NoFileExists(t, at("log.key.old"))
	keys := recordedKeys(r)
	require.Len(t, keys, 2)
	assert.Equal(t, first, keys[1]["previous"])
	until, err := time.Parse(time.RFC3339, keys[1]["until"].(string))
	require.NoError(t, err)
	assert.False(t, until.After(time.Now()), "it signs no more")
	assert.NotEqual(t, first, keys[1]["key"])
	assert.Zero(t, out.count(`"level":"warn"`))

	again(func() { require.NoError(t, os.Remove(at("log.key"))) })
	keys = recordedKeys(r)
	require.Len(t, keys, 3)
	assert.Equal(t, map[string]any{"key": r.verifier().String()}, keys[2])
	assert.Equal(t, 1, out.count("the checkpoint key is missing"))
	assert.Equal(t, 1, out.count("cannot be compared"), "it is signed with the lost key")

	other, err := journal.NewSigningKey(r.verifier().Name())
	require.NoError(t, err)
	again(func() { require.NoError(t, os.WriteFile(at("log.key.old"), []byte(other.Text()), 0o600)) })
	assert.FileExists(t, at("log.key.old"), "nothing is known of it")
	assert.Equal(t, 1, out.count("it is left alone"))

	require.NoError(t, r.stop())
	stranger, err := journal.NewSigningKey("waybill/x")
	require.NoError(t, err)
	for _, text := range []string{stranger.Text(), "", "x"} {
		require.NoError(t, os.WriteFile(at("log.key"), []byte(text), 0o600))
		assert.Equal(t, exitConfig, ExitCode(Run(context.Background(), r.cfg)), "%q", text)
	}
}

// A journal that is in order by itself but is not what was signed last.
func TestStartComparesTheLastCheckpoint(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	require.NoError(t, r.stop())
	older := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.CopyFS(older, os.DirFS(filepath.Join(r.cfg.State, "journal"))))
	before := r.stored().Size
	r = restart(t, r.cfg)
	require.NoError(t, r.stop())
	after := r.stored().Size
	require.Greater(t, after, before)

	dir := filepath.Join(r.cfg.State, "journal")
	newer := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.Rename(dir, newer))
	require.NoError(t, os.CopyFS(dir, os.DirFS(older)))
	err := Run(context.Background(), r.cfg)
	require.Error(t, err)
	assert.Equal(t, exitDamaged, ExitCode(err))
	for _, part := range []string{fmt.Sprintf("%d records", before), fmt.Sprintf("over %d", after), "move STATE/checkpoint away"} {
		assert.Contains(t, err.Error(), part)
	}

	// Records of the same number, but others.
	key, _, err := StoredKeys(r.cfg.State)
	require.NoError(t, err)
	head := journal.Head{Size: before}
	text, err := journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: head}, key)
	require.NoError(t, err)
	last, err := os.ReadFile(filepath.Join(r.cfg.State, "checkpoint"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(r.cfg.State, "checkpoint"), text, 0o600))
	err = Run(context.Background(), r.cfg)
	assert.Equal(t, exitDamaged, ExitCode(err))
	assert.ErrorContains(t, err, "are not those that its last checkpoint was signed over")

	// On purpose.
	require.NoError(t, os.Remove(filepath.Join(r.cfg.State, "checkpoint")))
	r = restart(t, r.cfg)
	require.NoError(t, r.stop())
	assert.Greater(t, r.stored().Size, before)

	// One that says nothing does not keep it from starting, and is kept itself.
	kept := filepath.Join(r.cfg.State, "checkpoint.unverified")
	require.NoFileExists(t, kept)
	for _, text := range [][]byte{{}, []byte("x\n"), bytes.Replace(last, []byte("\n\n"), []byte("\nmore\n\n"), 1)} {
		require.NoError(t, os.WriteFile(filepath.Join(r.cfg.State, "checkpoint"), text, 0o600))
		r = restart(t, r.cfg)
		require.NoError(t, r.stop())
		assert.Greater(t, r.stored().Size, before)
		there, err := os.ReadFile(kept)
		require.NoError(t, err)
		assert.Equal(t, string(text), string(there))
	}
	require.NoError(t, restart(t, r.cfg).stop())
	assert.FileExists(t, kept, "nobody but people removes it")
}

// A start that fails, at any moment after a rotation, leaves what the next one
// needs to compare the journal with what was signed last.
func TestRotationKeepsTheComparison(t *testing.T) {
	t.Parallel()
	out := new(talk)
	r := run(t, func(c *Config) { c.KeyOverlap, c.Logger = -1, zerolog.New(out) })
	require.NoError(t, r.stop())
	at := func(name string) string { return filepath.Join(r.cfg.State, name) }
	older := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.CopyFS(older, os.DirFS(at("journal"))))
	r = restart(t, r.cfg)
	require.NoError(t, r.stop())
	_, err := RotateKey(r.cfg.State)
	require.NoError(t, err)

	// Before anything is recorded.
	bad := r.cfg
	bad.CheckpointTo = at("nowhere")
	assert.Equal(t, exitConfig, ExitCode(fails(t, bad)))
	require.FileExists(t, at("log.key.old"))
	// The record of the key fails.
	bad = r.cfg
	bad.JournalFault = func(op string, do func() error) error {
		if op == "commit" {
			return errors.New("no disk")
		}
		return do()
	}
	assert.Equal(t, exitIO, ExitCode(fails(t, bad)))
	require.FileExists(t, at("log.key.old"))

	newer := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.Rename(at("journal"), newer))
	require.NoError(t, os.CopyFS(at("journal"), os.DirFS(older)))
	assert.Equal(t, exitDamaged, ExitCode(fails(t, r.cfg)), "an older journal is still told from the one that was signed")
	require.NoError(t, os.RemoveAll(at("journal")))
	require.NoError(t, os.Rename(newer, at("journal")))

	// It is on record, but the checkpoint cannot be written.
	old, err := os.ReadFile(at("log.key.old"))
	require.NoError(t, err)
	block := at(".checkpoint.new")
	require.NoError(t, os.MkdirAll(filepath.Join(block, "x"), 0o700))
	r = restart(t, r.cfg)
	require.NoError(t, r.stop())
	require.Len(t, recordedKeysIn(t, r.cfg.State), 2)
	require.FileExists(t, at("log.key.old"))
	require.NoError(t, os.RemoveAll(block))

	r = restart(t, r.cfg)
	require.NoError(t, r.stop())
	assert.NoFileExists(t, at("log.key.old"))
	// A crash just before it was removed.
	require.NoError(t, os.WriteFile(at("log.key.old"), old, 0o600))
	r = restart(t, r.cfg)
	assert.Len(t, recordedKeys(r), 2)
	require.NoError(t, r.stop())
	assert.NoFileExists(t, at("log.key.old"))
	assert.Zero(t, out.count(`"level":"warn"`), "%s", &out.b)
	assert.NoFileExists(t, at("checkpoint.unverified"))
}

// recordedKeysIn are the bodies of checkpoint.key in the journal of a daemon that
// is stopped.
func recordedKeysIn(t *testing.T, state string) (all []string) {
	t.Helper()
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	require.NoError(t, log.Read(t.Context(), 0, log.Head().Size, func(line []byte) error {
		if bytes.Contains(line, []byte(`"kind":"checkpoint.key"`)) {
			all = append(all, string(line))
		}
		return nil
	}))
	return all
}

// The copy elsewhere: it follows, a directory that is gone is no harm, and is
// told of once.
func TestCheckpointElsewhere(t *testing.T) {
	t.Parallel()
	out := new(talk)
	dir := filepath.Join(t.TempDir(), "mount")
	var broken atomic.Bool
	hang := make(chan struct{})
	var hangs atomic.Bool
	change := func(c *Config) {
		c.CheckpointTo, c.Logger = dir, zerolog.New(out)
		c.pushing = func(do func() error) error {
			if hangs.Load() {
				<-hang
			}
			if broken.Load() {
				return errors.New("the mount is gone")
			}
			return do()
		}
	}
	missing := Config{Root: t.TempDir(), State: t.TempDir(), Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1}
	change(&missing)
	assert.Equal(t, exitConfig, ExitCode(Run(context.Background(), missing)), "it must be there")
	missing.CheckpointTo = missing.Root
	assert.Equal(t, exitConfig, ExitCode(Run(context.Background(), missing)), "not where clients write")

	require.NoError(t, os.Mkdir(dir, 0o755))
	r := run(t, change)
	id := strings.TrimPrefix(r.verifier().Name(), "waybill/")
	there := func() uint64 {
		text, err := os.ReadFile(filepath.Join(dir, "checkpoint-"+id))
		if err != nil {
			return 0
		}
		return r.checkpoint(string(text)).Size
	}
	require.True(t, soon(func() bool { return there() >= 2 }))

	broken.Store(true)
	r.subtoken(url.Values{})
	require.True(t, soon(func() bool { return out.count("cannot be written") == 1 }))
	at := there()
	r.subtoken(url.Values{})
	size := uint64(len(r.records()))
	require.True(t, soon(func() bool { return r.stored().Size >= size }), "STATE is not held up")
	require.Equal(t, at, there())
	broken.Store(false)
	require.True(t, soon(func() bool { return there() >= size }))
	require.True(t, soon(func() bool { return out.count("is written again") == 1 }))
	assert.Equal(t, 1, out.count("cannot be written"))
	_, metrics, _ := r.do("GET", "/metrics", "")
	assert.Regexp(t, `(?m)^waybill_checkpoint_push_failures_total [1-9]`, metrics)
	assert.Regexp(t, `(?m)^waybill_checkpoint_pushed_size [1-9]`, metrics)

	// A stop has the last one there.
	require.NoError(t, r.stop())
	assert.Equal(t, r.stored().Size, there())

	// One that does not come back holds nothing up.
	at = there()
	r = restart(t, r.cfg)
	require.True(t, soon(func() bool { return there() > at }))
	hangs.Store(true)
	r.subtoken(url.Values{})
	require.True(t, soon(func() bool { return r.stored().Size >= uint64(len(r.records()))-1 }))
	begun := time.Now()
	require.NoError(t, r.stop())
	assert.Less(t, time.Since(begun), patience)
	assert.Equal(t, 1, out.count("is not there before the stop"))
	close(hang)
	hangs.Store(false)
	require.True(t, soon(func() bool { return there() == r.stored().Size }), "what hung has come back")

	// If the journal is not a continuation of it, it stays: it may be all that
	// says so.
	key, _, err := StoredKeys(r.cfg.State)
	require.NoError(t, err)
	witness, err := journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: journal.Head{Size: 100_000}}, key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint-"+id), witness, 0o644))
	r = restart(t, r.cfg)
	require.True(t, soon(func() bool { return out.count("it is left as it is") == 1 }))
	require.NoError(t, r.stop())
	still, err := os.ReadFile(filepath.Join(dir, "checkpoint-"+id))
	require.NoError(t, err)
	assert.Equal(t, string(witness), string(still))
}

// At the end of a segment there is a checkpoint of exactly that many records,
// which stays, whoever has put it there.
func TestCheckpointsOfSegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := journal.Open(filepath.Join(dir, "state", "journal"), journal.Options{})
	require.NoError(t, err)
	lines := 0
	grow := func(to int) {
		for lines < to {
			var batch [][]byte
			for range min(to-lines, journal.MaxBatchRecords) {
				batch = append(batch, journal.AppendRecord(nil, &journal.Record{
					Seq: uint64(lines), At: time.Unix(int64(lines), 0), Kind: "action.answered", Actor: "a", Body: []byte("{}")}))
				lines++
			}
			require.NoError(t, log.Append(batch))
		}
	}
	grow(journal.SegmentRecords - 10)
	key := func() *journal.SigningKey {
		key, err := journal.NewSigningKey("waybill/s")
		require.NoError(t, err)
		require.NoError(t, writeKey(filepath.Join(dir, "state", "log.key"), key))
		return key
	}
	signer := key()
	elsewhere := filepath.Join(dir, "elsewhere")
	require.NoError(t, os.Mkdir(elsewhere, 0o755))
	out := new(talk)
	d := &daemon{cfg: Config{CheckpointTo: elsewhere, Root: filepath.Join(dir, "root"), Logger: zerolog.New(out)}.withDefaults(),
		state: &stateDir{dir: filepath.Join(dir, "state"), storeID: "s"}, metrics: newMetrics()}
	compared := func() lastSigned {
		last, err := d.compareLast(t.Context(), log)
		require.NoError(t, err)
		return last
	}
	stored := func() uint64 { return compared().size }
	open := func() *notary {
		require.NoError(t, d.openNotary(log, nil, compared()))
		return d.notary
	}
	n := open()
	require.NoError(t, n.catchUp(t.Context()))
	require.NoError(t, n.push.copy(n.size.Load()))
	require.Equal(t, uint64(lines), stored())

	grow(2*journal.SegmentRecords + 5)
	var written []uint64
	for n.size.Load() < uint64(lines) {
		require.NoError(t, n.write(t.Context(), min(nextEnd(n.size.Load()), uint64(lines))))
		written = append(written, stored())
	}
	assert.Equal(t, []uint64{journal.SegmentRecords, 2 * journal.SegmentRecords, uint64(lines)}, written)
	require.NoError(t, n.catchUp(t.Context()), "nothing new")

	ends := func(i int) string {
		return filepath.Join(elsewhere, fmt.Sprintf("checkpoint-s-%016d", i*journal.SegmentRecords))
	}
	require.NoError(t, os.WriteFile(ends(2), []byte("something else"), 0o644))
	require.NoError(t, n.push.copy(n.size.Load()))
	text, err := os.ReadFile(ends(1))
	require.NoError(t, err)
	c, err := journal.OpenCheckpoint(text, signer.Verifier())
	require.NoError(t, err)
	root, err := log.RootAt(t.Context(), journal.SegmentRecords)
	require.NoError(t, err)
	assert.Equal(t, journal.Head{Size: journal.SegmentRecords, Root: root}, c.Head)
	other, err := os.ReadFile(ends(2))
	require.NoError(t, err)
	assert.Equal(t, "something else", string(other))
	assert.Equal(t, 1, out.count("not the checkpoint of this journal"))

	// The next daemon makes what is missing, and changes nothing that is there,
	// though it signs with another key.
	require.NoError(t, os.Remove(ends(2)))
	key()
	n = open()
	grow(lines + 1)
	require.NoError(t, n.catchUp(t.Context()))
	require.NoError(t, n.push.copy(n.size.Load()))
	again, err := os.ReadFile(ends(1))
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again))
	assert.FileExists(t, ends(2))
	require.NoError(t, log.Close())
}

// After a cut, what went with it is told of as such; tiles above it stay.
func TestEvidenceOfWhichAPartIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
	require.NoError(t, err)
	for seq := 0; seq < journal.SegmentRecords+300; {
		var batch [][]byte
		for range min(journal.SegmentRecords+300-seq, journal.MaxBatchRecords) {
			batch = append(batch, journal.AppendRecord(nil, &journal.Record{
				Seq: uint64(seq), At: time.Unix(int64(seq), 0), Kind: "action.answered", Actor: "a",
				Body: []byte(`{"action":"get_permissions","code":"ok"}`)}))
			seq++
		}
		require.NoError(t, log.Append(batch))
	}
	s := bareServerOn(t, log)
	key, err := journal.NewSigningKey("waybill/s")
	require.NoError(t, err)
	s.notary = &notary{log: log, keys: &signing{now: time.Now, current: key}}
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set("Authorization", "Bearer "+bareToken)
		s.evidence(w, req)
		return w
	}
	old := ask("/journal/proof/7")
	require.Equal(t, 200, old.Code)
	require.NoError(t, log.Prune(journal.SegmentRecords))
	for path, want := range map[string]int{
		"/journal/tile/0/000":                        410,
		"/journal/tile/1/000":                        410,
		"/journal/tile/entries/255":                  410,
		"/journal/proof/7":                           410,
		"/journal/proof/65536?size=65535":            404,
		"/journal/consistency/65535":                 410,
		"/journal/tile/0/256":                        200,
		"/journal/tile/2/000.p/1":                    200,
		"/journal/tile/entries/256":                  200,
		"/journal/proof/65540":                       200,
		"/journal/consistency/65536":                 200,
		"/journal/consistency/65800":                 200,
		"/journal/proof/65540?size=65541":            200,
		"/journal/proof/65540?size=9007199254740991": 404,
	} {
		before := log.Head().Size
		w := ask(path)
		assert.Equal(t, want, w.Code, "%s: %s", path, w.Body)
		require.Equal(t, before+1, log.Head().Size, path)
		line, err := log.Line(before)
		require.NoError(t, err)
		assert.Equal(t, want == 200, bytes.Contains(line, []byte(`"kind":"action.answered"`)), "%s: %s", path, line)
		assert.Equal(t, want != 200, bytes.Contains(line, []byte(`"kind":"action.refused"`)), "%s: %s", path, line)
	}
	p, err := journal.ParseInclusionProof(old.Body.Bytes())
	require.NoError(t, err)
	_, err = p.Check(key.Verifier())
	require.NoError(t, err, "what was proved stays proved")
}
