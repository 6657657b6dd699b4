package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	signednote "golang.org/x/mod/sumdb/note"

	"waybill/journal"
)

var auditRecords = flag.Uint64("audit.records", 3000, "how many records the verifier in Python is given")

// audited is an export, and what testdata/audit/verify.py holds it against.
type audited struct {
	dir        string
	cpu        time.Duration // that the verifier took last
	lines      []byte
	checkpoint string
	key        string
}

// newAudited makes an export of n records and signs a checkpoint of the first
// covered ones.
func newAudited(t *testing.T, n, covered uint64) *audited {
	t.Helper()
	x := &audited{dir: t.TempDir()}
	log, err := journal.Open(filepath.Join(x.dir, "journal"), journal.Options{})
	require.NoError(t, err)
	defer log.Close()
	history := newHistory(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	require.NoError(t, history.fill(t.Context(), log, n))
	x.lines = exported(t, log)
	root, err := log.RootAt(t.Context(), covered)
	require.NoError(t, err)
	name := "waybill/66666666-0000-4000-8000-000000000001"
	secret, public, err := signednote.GenerateKey(rand.Reader, name)
	require.NoError(t, err)
	x.key = public
	signer, err := signednote.NewSigner(secret)
	require.NoError(t, err)
	text := fmt.Sprintf("%s\n%d\n%s\n", name, covered, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := signednote.Sign(&signednote.Note{Text: text}, signer)
	require.NoError(t, err)
	x.checkpoint = string(signed)
	return x
}

// exported is what `journal export` prints.
func exported(t *testing.T, log *journal.Log) []byte {
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	require.NoError(t, log.Read(context.Background(), 0, log.Head().Size, func(line []byte) error {
		_, err := w.Write(append(line, '\n'))
		return err
	}))
	require.NoError(t, w.Flush())
	return out.Bytes()
}

// verify runs the verifier and gives what it says, on one line.
func (x *audited) verify(t *testing.T) (said string, ok bool) {
	t.Helper()
	export, checkpoint := filepath.Join(x.dir, "export.jsonl"), filepath.Join(x.dir, "checkpoint")
	require.NoError(t, os.WriteFile(export, x.lines, 0o600))
	require.NoError(t, os.WriteFile(checkpoint, []byte(x.checkpoint), 0o600))
	cmd := exec.Command("python3", "../../testdata/audit/verify.py", export, checkpoint, x.key)
	cmd.Env = clean("TMPDIR=" + x.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%v: %s", err, out)
	}
	x.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	said = string(out)
	require.Equal(t, 1, strings.Count(said, "\n"), said)
	return said, err == nil
}

func needsAuditor(t *testing.T) {
	for _, tool := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the verifier that is not ours stays untried", tool)
		}
	}
}

// A verifier that shares no code with the journal says the same of it.
func TestAuditor(t *testing.T) {
	t.Parallel()
	needsAuditor(t)
	n := *auditRecords
	x := newAudited(t, n, n-n/10)
	begun := time.Now()
	said, ok := x.verify(t)
	require.True(t, ok, said)
	assert.Equal(t, fmt.Sprintf("valid: %d records are as signed; %d more are in order\n", n-n/10, n/10), said)
	t.Logf("%d records in %v, %v of it on a processor", n, time.Since(begun).Round(time.Millisecond), x.cpu.Round(time.Millisecond))

	// One byte of one record, somewhere in the middle.
	good := x.lines
	x.lines = bytes.Clone(good)
	middle := bytes.Index(good, fmt.Appendf(nil, `{"v":1,"seq":%d,`, n/2))
	actor := middle + bytes.Index(good[middle:], []byte(`"actor":"`)) + len(`"actor":"`)
	x.lines[actor] ^= 1
	said, ok = x.verify(t)
	assert.False(t, ok)
	assert.Contains(t, said, "are not those that were signed")
}

func TestAuditorRefuses(t *testing.T) {
	t.Parallel()
	needsAuditor(t)
	const n, covered = 700, 600
	for name, c := range map[string]struct {
		change func(t *testing.T, x *audited)
		says   string
	}{
		"a dropped line": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string { return append(lines[:100], lines[101:]...) })
		}, "line 101 is not record 100"},
		"a dropped line, the others numbered anew": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string { return renumbered(append(lines[:100], lines[101:]...)) })
		}, "the first 600 records are not those that were signed"},
		"a swapped pair": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string { lines[7], lines[8] = lines[8], lines[7]; return lines })
		}, "line 8 is not record 7"},
		"a swapped pair, numbered anew": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string {
				lines[7], lines[8] = lines[8], lines[7]
				return renumbered(lines)
			})
		}, "the time of record 8 is before"},
		"a changed byte of the last record covered": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string {
				lines[covered-1] = strings.Replace(lines[covered-1], `"ref":"`, `"ref":"x`, 1)
				return lines
			})
		}, "the first 600 records are not those that were signed"},
		"fewer records than were signed": {func(t *testing.T, x *audited) {
			x.edit(func(lines []string) []string { return lines[:covered-1] })
		}, "the export ends after 599 records, the checkpoint covers 600"},
		"nothing":     {func(t *testing.T, x *audited) { x.lines = nil }, "the export ends after 0 records"},
		"half a line": {func(t *testing.T, x *audited) { x.lines = x.lines[:len(x.lines)-9] }, "line 700 is not record 699, whole"},
		"a signature of other text": {func(t *testing.T, x *audited) {
			x.checkpoint = strings.Replace(x.checkpoint, "\n600\n", "\n599\n", 1)
		}, "the checkpoint's signature is wrong"},
		"a signature of another key": {func(t *testing.T, x *audited) {
			x.key = newAudited(t, 1, 1).key
		}, "no signature of this key"},
		"no signature":        {func(t *testing.T, x *audited) { x.checkpoint, _, _ = strings.Cut(x.checkpoint, "\u2014") }, "no signature of this key"},
		"an empty checkpoint": {func(t *testing.T, x *audited) { x.checkpoint = "" }, "no signature of this key"},
		"a mistyped key":      {func(t *testing.T, x *audited) { x.key = strings.Replace(x.key, "66666666", "66666667", 1) }, "the verifier key is mistyped"},
		"no key":              {func(t *testing.T, x *audited) { x.key = "x" }, "NOT VALID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newAudited(t, n, covered)
			c.change(t, x)
			said, ok := x.verify(t)
			assert.False(t, ok, said)
			assert.Contains(t, said, c.says)
		})
	}
}

// edit changes the lines of the export.
func (x *audited) edit(change func([]string) []string) {
	lines := strings.SplitAfter(string(x.lines), "\n")
	x.lines = []byte(strings.Join(change(lines[:len(lines)-1]), ""))
}

// renumbered gives lines the seq of their place, as a careful forger would.
func renumbered(lines []string) []string {
	for i, line := range lines {
		_, rest, _ := strings.Cut(line, `,"at":`)
		lines[i] = fmt.Sprintf(`{"v":1,"seq":%d,"at":%s`, i, rest)
	}
	return lines
}
