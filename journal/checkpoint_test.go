package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// proofOrigin and the keys made of counted bytes are those of
// testdata/proofs: nobody's secret.
const proofOrigin = "waybill/6f9e1c1e-6f0f-4d0e-9d2b-3c1a5b7e9f10"

func testKey(t testing.TB, name string, seed byte) *SigningKey {
	t.Helper()
	text, _, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)), name)
	require.NoError(t, err)
	k, err := ParseSigningKey(text)
	require.NoError(t, err)
	return k
}

func signed(t testing.TB, h Head, keys ...*SigningKey) []byte {
	t.Helper()
	b, err := SignCheckpoint(Checkpoint{proofOrigin, h}, keys...)
	require.NoError(t, err)
	return b
}

// pinnedProofs are the files of testdata/proofs, made anew of the first 300
// records of testLine.
func pinnedProofs(t testing.TB) map[string]string {
	t.Helper()
	old, current := testKey(t, proofOrigin, 1), testKey(t, proofOrigin, 2)
	l, err := Open(journalOf(t, 300), Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	root, err := l.RootAt(ctx, 100)
	require.NoError(t, err)
	first, last := signed(t, Head{100, root}, old), signed(t, l.Head(), current)
	in, err := l.Prove(42, 300)
	require.NoError(t, err)
	in.Checkpoint = last
	grown, err := l.ProveGrowth(100, 300)
	require.NoError(t, err)
	grown.Checkpoint = last
	return map[string]string{
		"key.old":                old.Verifier().String() + "\n",
		"key":                    current.Verifier().String() + "\n",
		"checkpoint-100":         string(first),
		"checkpoint-300":         string(last),
		"checkpoint-300.overlap": string(signed(t, l.Head(), old, current)),
		"record-42.tlog-proof":   string(in.Text()),
		"growth-100-300":         string(grown.Text()),
		"consistency-100-300":    string((&ConsistencyProof{From: first, Growth: *grown}).Text()),
	}
}

// The bytes of what leaves the machine never change: somebody keeps them.
func TestProofsArePinned(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "testdata", "proofs")
	files := pinnedProofs(t)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, len(files))
	for name, text := range files {
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, string(want), text, name)
	}
	assert.Equal(t, fmt.Sprintf("%s\n300\n%s\n", proofOrigin, strings.Split(files["checkpoint-300"], "\n")[2]),
		files["checkpoint-300"][:strings.Index(files["checkpoint-300"], "\n\n")+1])
}

func TestCheckpointUnderItsKeys(t *testing.T) {
	t.Parallel()
	files := pinnedProofs(t)
	old, current := testKey(t, proofOrigin, 1), testKey(t, proofOrigin, 2)
	other := testKey(t, "waybill/other", 2)
	of := func(keys ...*SigningKey) (list []VerifierKey) {
		for _, k := range keys {
			list = append(list, k.Verifier())
		}
		return list
	}
	extended, err := note.Sign(&note.Note{Text: proofOrigin + "\n7\n" + strings.Repeat("A", 43) + "=\nfrom a later version\n"}, current.signer)
	require.NoError(t, err)
	elsewhere, err := note.Sign(&note.Note{Text: proofOrigin + "\n7\n" + strings.Repeat("A", 43) + "=\n"}, other.signer)
	require.NoError(t, err)
	cosigned, err := note.Sign(&note.Note{Text: proofOrigin + "\n7\n" + strings.Repeat("A", 43) + "=\n"}, other.signer, current.signer)
	require.NoError(t, err)
	flip := func(s string, at int) string { return s[:at] + string(s[at]^1) + s[at+1:] }
	last := files["checkpoint-300"]
	for _, c := range []struct {
		name, text string
		keys       []VerifierKey
		fault      string
	}{
		{"its key", last, of(current), ""},
		{"its key twice", last, of(current, current), ""},
		{"one of several keys", last, of(old, current), ""},
		{"the old key while both sign", files["checkpoint-300.overlap"], of(old), ""},
		{"the new key while both sign", files["checkpoint-300.overlap"], of(current), ""},
		{"with an extension line", string(extended), of(current), ""},
		{"with a cosignature", string(cosigned), of(current), ""},
		{"no key", last, nil, "not signed by this key"},
		{"another key", last, of(old), "not signed by this key"},
		{"a key of another journal", string(elsewhere), of(other), "not signed by this key"},
		{"a cosigner alone", string(cosigned), of(other), "not signed by this key"},
		{"a changed size", strings.Replace(last, "\n300\n", "\n301\n", 1), of(current), "not signed by this key"},
		{"a changed root", flip(last, strings.Index(last, "\n300\n")+10), of(current), "not signed by this key"},
		{"a leading zero", strings.Replace(last, "\n300\n", "\n0300\n", 1), of(current), "not a checkpoint"},
		{"a sign", strings.Replace(last, "\n300\n", "\n+300\n", 1), of(current), "not a checkpoint"},
		{"too large a size", strings.Replace(last, "\n300\n", "\n9007199254740992\n", 1), of(current), "not a checkpoint"},
		{"a carriage return", strings.Replace(last, "\n300\n", "\n300\r\n", 1), of(current), "not a checkpoint"},
		{"no signature", last[:strings.Index(last, "\n\n")+2], of(current), "not a checkpoint"},
		{"no empty line", strings.Replace(last, "\n\n", "\n", 1), of(current), "not a checkpoint"},
		{"something after it", last + "\n", of(current), "not a checkpoint"},
		{"too long", last + strings.Repeat("— x AAAAAAAA\n", MaxCheckpoint/10), of(current), "not a checkpoint"},
		{"nothing", "", of(current), "not a checkpoint"},
	} {
		got, err := OpenCheckpoint([]byte(c.text), c.keys...)
		if c.fault != "" {
			assert.ErrorContains(t, err, c.fault, c.name)
			assert.Zero(t, got, c.name)
		} else if assert.NoError(t, err, c.name) {
			assert.Equal(t, proofOrigin, got.Origin, c.name)
		}
	}
	_, err = SignCheckpoint(Checkpoint{proofOrigin, Head{Size: 1}}, other)
	require.Error(t, err)
	_, err = SignCheckpoint(Checkpoint{proofOrigin, Head{Size: 1}})
	require.Error(t, err)
}

func TestKeysOnlyAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	k, err := NewSigningKey(proofOrigin)
	require.NoError(t, err)
	again, err := ParseSigningKey(k.Text())
	require.NoError(t, err)
	assert.Equal(t, k.Verifier().String(), again.Verifier().String())
	assert.Equal(t, proofOrigin, k.Verifier().Name())
	v := k.Verifier().String()
	for _, bad := range []string{"", "x", k.Text(), v + " ", v + "\n", strings.ToUpper(v), v[:len(v)-1], strings.Replace(v, "+", "++", 1)} {
		_, err := ParseVerifierKey(bad)
		assert.Error(t, err, "%q", bad)
	}
	for _, bad := range []string{"", v, k.Text()[:len(k.Text())-4], strings.Replace(k.Text(), "6f9e", "6f9f", 1)} {
		_, err := ParseSigningKey(bad)
		assert.EqualError(t, err, "not a signing key")
	}
	_, err = NewSigningKey("a name")
	require.Error(t, err)
}

// Every record is proved in every tree, and every tree continues every earlier
// one, by x/mod's own checkers; nothing else is.
func TestProofsHold(t *testing.T) {
	t.Parallel()
	const size = 600
	dir := journalOf(t, size)
	l := openTest(t, dir, Options{ReadOnly: true})
	key := testKey(t, proofOrigin, 3)
	roots := tlogRoots(t, size)
	sizes := []uint64{1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 599, 600}
	for _, n := range sizes {
		head := signed(t, Head{n, roots[n]}, key)
		for seq := uint64(0); seq < n; seq += 1 + seq/7 {
			p, err := l.Prove(seq, n)
			require.NoError(t, err)
			require.NoError(t, tlog.CheckRecord(theirs(p.Hashes), int64(n), tlog.Hash(roots[n]), int64(seq), tlog.RecordHash(testLine(seq, 0))))
			p.Checkpoint = head
			again, err := ParseInclusionProof(p.Text())
			require.NoError(t, err)
			require.Equal(t, p.Text(), again.Text())
			c, err := again.Check(key.Verifier())
			require.NoError(t, err)
			require.Equal(t, Checkpoint{proofOrigin, Head{n, roots[n]}}, c)
		}
		for _, from := range append([]uint64{0}, sizes...) {
			g, err := l.ProveGrowth(from, n)
			if from > n {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			g.Checkpoint = head
			p := &ConsistencyProof{From: signed(t, Head{from, roots[from]}, key), Growth: *g}
			again, err := ParseConsistencyProof(p.Text())
			require.NoError(t, err)
			require.Equal(t, p.Text(), again.Text())
			_, _, err = again.Check(key.Verifier())
			require.NoError(t, err, "from %d to %d", from, n)
			short, err := ParseGrowth(g.Text())
			require.NoError(t, err)
			require.Equal(t, g.Text(), short.Text())

			// Of another history, it says so.
			other := roots[from]
			other[7] ^= 1
			p.From = signed(t, Head{from, other}, key)
			_, _, err = p.Check(key.Verifier())
			require.ErrorIs(t, err, errUnproved, "from %d to %d", from, n)
		}
	}
	for _, bad := range [][2]uint64{{5, 5}, {600, 600}, {0, 601}} {
		_, err := l.Prove(bad[0], bad[1])
		require.Error(t, err)
	}
}

func TestProofsThatDoNotHold(t *testing.T) {
	t.Parallel()
	files := pinnedProofs(t)
	old, current := testKey(t, proofOrigin, 1).Verifier(), testKey(t, proofOrigin, 2).Verifier()
	in := files["record-42.tlog-proof"]
	lines := strings.SplitAfter(in, "\n")
	for name, text := range map[string]string{
		"another index":       strings.Replace(in, "index 42\n", "index 43\n", 1),
		"an index beyond":     strings.Replace(in, "index 42\n", "index 300\n", 1),
		"without the record":  lines[0] + strings.Join(lines[2:], ""),
		"another record":      lines[0] + lines[1][:100] + "B" + lines[1][101:] + strings.Join(lines[2:], ""),
		"a hash less":         strings.Join(lines[:3], "") + strings.Join(lines[4:], ""),
		"a hash more":         strings.Join(lines[:4], "") + lines[3] + strings.Join(lines[4:], ""),
		"another checkpoint":  in[:strings.Index(in, "\n\n")+2] + files["checkpoint-100"],
		"a changed signature": in[:len(in)-10] + "AAAA" + in[len(in)-6:],
	} {
		p, err := ParseInclusionProof([]byte(text))
		if err == nil {
			_, err = p.Check(old, current)
		}
		assert.Error(t, err, name)
	}
	both := files["consistency-100-300"]
	for name, text := range map[string]string{
		"another old size":     strings.Replace(both, "old 100\n", "old 99\n", 1),
		"the two swapped":      both[:strings.Index(both, "\n\n")+2] + files["checkpoint-300"] + "\n" + files["checkpoint-100"],
		"twice the newer":      both[:strings.Index(both, "\n\n")+2] + files["checkpoint-300"] + "\n" + files["checkpoint-300"],
		"no hashes":            "waybill/consistency@v1\nold 100\n\n" + files["checkpoint-100"] + "\n" + files["checkpoint-300"],
		"an unsigned older":    strings.Replace(both, files["checkpoint-100"], strings.Replace(files["checkpoint-100"], "\n100\n", "\n101\n", 1), 1),
		"one checkpoint":       both[:strings.LastIndex(both, "\n"+proofOrigin)],
		"three checkpoints":    both + "\n" + files["checkpoint-300"],
		"a line between them":  strings.Replace(both, "\n\n"+proofOrigin+"\n300", "\n\n\n"+proofOrigin+"\n300", 1),
		"an inclusion proof":   in,
		"the body of a growth": files["growth-100-300"],
	} {
		p, err := ParseConsistencyProof([]byte(text))
		if err == nil {
			_, _, err = p.Check(old, current)
		}
		assert.Error(t, err, name)
	}
	p, err := ParseConsistencyProof([]byte(both))
	require.NoError(t, err)
	_, _, err = p.Check(current)
	require.ErrorIs(t, err, ErrNotSigned, "the older one has its own key")
	_, _, err = p.Check(old, current)
	require.NoError(t, err)
}

func TestVerifyExportAt(t *testing.T) {
	t.Parallel()
	const size = 2500
	var export bytes.Buffer
	for _, l := range testLines(0, size, 0) {
		export.Write(append(l, '\n'))
	}
	roots := tlogRoots(t, size)
	want := []uint64{1024, 0, 1, 1, 257, 2048, 2499, size, size + 1}
	head, got, err := VerifyExportAt(ctx, bytes.NewReader(export.Bytes()), want...)
	require.NoError(t, err)
	assert.Equal(t, Head{size, roots[size]}, head)
	assert.Len(t, got, 7)
	for n, root := range got {
		assert.Equal(t, roots[n], root, "%d", n)
	}
	head, got, err = VerifyExportAt(ctx, bytes.NewReader(nil), 0, 5)
	require.NoError(t, err)
	assert.Equal(t, map[uint64]Hash{0: head.Root}, got)
}

// Whatever is read is written back as the same bytes, and never more than the
// limits allow.
func FuzzProofs(f *testing.F) {
	seeds, err := filepath.Glob("../testdata/proofs/*")
	require.NoError(f, err)
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(text)
	}
	key := testKey(f, proofOrigin, 2).Verifier()
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := OpenCheckpoint(text, key); err == nil && (c.Size >= maxSeq || c.Origin != proofOrigin) {
			t.Fatalf("%q read as %+v", text, c)
		}
		if p, err := ParseInclusionProof(text); err == nil {
			if !bytes.Equal(p.Text(), text) || len(p.Line) > MaxLine || len(p.Hashes) > maxProofHashes || !IsInclusion(text) {
				t.Fatalf("%q comes back as %q", text, p.Text())
			}
			_, _ = p.Check(key)
		}
		if g, err := ParseGrowth(text); err == nil && !bytes.Equal(g.Text(), text) {
			t.Fatalf("%q comes back as %q", text, g.Text())
		}
		if p, err := ParseConsistencyProof(text); err == nil {
			if !bytes.Equal(p.Text(), text) || !IsConsistency(text) {
				t.Fatalf("%q comes back as %q", text, p.Text())
			}
			_, _, _ = p.Check(key)
		}
		if k, err := ParseVerifierKey(string(text)); err == nil && k.String() != string(text) {
			t.Fatalf("%q comes back as %q", text, k)
		}
	})
}
