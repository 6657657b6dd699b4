package fsview

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListing(t *testing.T) {
	g := newRig(t, Options{})
	g.write("d/b.txt", "12345")
	g.write("d/.hidden", "x")
	g.write("d/B", "x")
	g.write("d/ro", "x")
	require.NoError(t, os.Chmod(g.path("d/ro"), 0o444))
	g.mkdir("d/sub/deeper")
	g.write("d/sub/file", "abc")
	g.write("d/bad\xff", "x")
	g.write("d/.waybill/mine", "only the one at the top is reserved")
	g.link("sub", "d/todir")
	g.link("sub/file", "d/tofile")
	g.link("tofile", "d/tolink")
	g.link("nowhere", "d/dangling")
	g.link("/etc/passwd", "d/absolute")
	g.link("../../outside/secret", "d/out")
	g.link("../.waybill/lock", "d/inner")
	g.link("loop", "d/loop")
	g.link("b\xff", "d/badtext")
	past := time.Unix(1_600_000_000, 0)
	require.NoError(t, os.Chtimes(g.path("d/b.txt"), past.Add(time.Hour), past))

	dir, parent, es, err := g.List(context.Background(), name(t, `/d/`))
	require.NoError(t, err)
	assert.Equal(t, "d", parent)
	assert.True(t, dir.Dir)
	assert.Equal(t, "d", dir.Name)
	type row struct {
		name    string
		dir     bool
		size    int64
		link    string
		ro, hid bool
	}
	var got []row
	for _, e := range es {
		r := row{e.Name, e.Dir, e.Size, "", e.ReadOnly, e.Hidden}
		if e.LinkTarget != nil {
			r.link = *e.LinkTarget
		}
		got = append(got, r)
	}
	assert.Equal(t, []row{
		{".hidden", false, 1, "", false, true},
		{".waybill", true, 0, "", false, true},
		{"B", false, 1, "", false, false},
		{"absolute", false, 0, "/etc/passwd", false, false},
		{"b.txt", false, 5, "", false, false},
		{"badtext", false, 0, "b\uFFFD", false, false},
		{"dangling", false, 0, "nowhere", false, false},
		{"inner", false, 0, "../.waybill/lock", false, false},
		{"loop", false, 0, "loop", false, false},
		{"out", false, 0, "../../outside/secret", false, false},
		{"ro", false, 1, "", true, false},
		{"sub", true, 0, "", false, false},
		{"todir", true, 0, "sub", false, false},
		{"tofile", false, 3, "sub/file", false, false},
		{"tolink", false, 3, "tofile", false, false},
	}, got)

	m, err := g.Stat(name(t, "d/b.txt"))
	require.NoError(t, err)
	assert.Equal(t, past.Unix(), m.Written.Unix())
	assert.Equal(t, past.Add(time.Hour).Unix(), m.Accessed.Unix())
	assert.WithinDuration(t, time.Now(), m.Created, time.Minute)
	assert.Equal(t, es[4], m, "a listing says what Stat says")
	for i, s := range map[int]string{12: "d/todir", 13: "d/tofile", 14: "d/tolink", 11: "d/sub"} {
		m, err := g.Stat(name(t, s))
		require.NoError(t, err)
		assert.Equal(t, es[i], m)
	}
	_, err = g.Stat(name(t, "d/dangling"))
	assert.ErrorIs(t, err, ErrNotFound)

	t.Run("names shown", func(t *testing.T) {
		for asked, want := range map[string][2]string{
			"":                 {".", "."},
			"d/sub/":           {"sub", "d/sub"},
			"d/todir":          {"todir", "d/todir"},
			"d/sub/..":         {"d", "d"},
			"d/..":             {".", "."},
			"d/sub/../sub":     {"sub", "d/sub"},
			"d/todir/deeper":   {"deeper", "d/todir/deeper"},
			"d/todir/../todir": {"sub", "d/sub"},
		} {
			dir, parent, _, err := g.List(context.Background(), name(t, asked))
			require.NoError(t, err, asked)
			assert.Equal(t, want, [2]string{dir.Name, parent}, asked)
			assert.False(t, dir.Hidden)
		}
	})
	t.Run("errors", func(t *testing.T) {
		_, _, _, err := g.List(context.Background(), name(t, "nope"))
		assert.ErrorIs(t, err, ErrNotFound)
		_, _, _, err = g.List(context.Background(), name(t, "d/b.txt"))
		assert.ErrorIs(t, err, ErrIsFile)
		_, _, _, err = g.List(context.Background(), name(t, "d/b.txt/x"))
		assert.ErrorIs(t, err, ErrIsFile)
		_, err = g.Open(name(t, "d"))
		assert.ErrorIs(t, err, ErrIsDirectory)
		_, err = g.Open(name(t, ""))
		assert.ErrorIs(t, err, ErrIsDirectory)
		_, err = g.Open(name(t, "d/todir"))
		assert.ErrorIs(t, err, ErrIsDirectory)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _, _, err = g.List(ctx, name(t, "d"))
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestMetaAndIdentityAsJSON(t *testing.T) {
	text := "x"
	m := Meta{Name: "a", Size: 3, LinkTarget: &text, Created: time.Unix(1, 9), Written: time.Unix(-2, 0), Accessed: time.Unix(3, 0)}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	assert.Equal(t, `{"name":"a","dir":false,"read_only":false,"hidden":false,"size":3,"link_target":"x","created":1,"written":-2,"accessed":3}`, string(b))
	var back Meta
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, m.Written, back.Written)
	b, err = json.Marshal(Meta{Name: "a"})
	require.NoError(t, err)
	assert.Contains(t, string(b), `"link_target":null`)

	id := Identity{Dev: 1 << 63, Ino: 2, Size: 3, MtimeNS: 1 << 60, CtimeNS: -5}
	b, err = json.Marshal(id)
	require.NoError(t, err)
	assert.Equal(t, `{"dev":"9223372036854775808","ino":"2","size":3,"mtime_ns":"1152921504606846976","ctime_ns":"-5"}`, string(b))
	var idBack Identity
	require.NoError(t, json.Unmarshal(b, &idBack))
	assert.Equal(t, id, idBack)
}

func TestOpenedFileNoticesChanges(t *testing.T) {
	t.Parallel()
	for shows, change := range map[string]func(g *rig) error{
		"written": func(g *rig) error { return os.WriteFile(g.path("f"), []byte("other"), 0o644) },
		"touched": func(g *rig) error { return os.Chtimes(g.path("f"), time.Now(), time.Unix(1, 0)) },
		"removed": func(g *rig) error { return os.Remove(g.path("f")) },
		"replaced": func(g *rig) error {
			g.stage("up", "other")
			return g.Place("up", Name{"f"})
		},
	} {
		t.Run(shows, func(t *testing.T) {
			g := newRig(t, Options{})
			g.write("f", "hello")
			// Kernel times tick in milliseconds: what changes within a tick of the
			// open would not show.
			old := time.Unix(1_600_000_000, 0)
			require.NoError(t, os.Chtimes(g.path("f"), old, old))
			time.Sleep(20 * time.Millisecond)
			f, err := g.Open(Name{"f"})
			require.NoError(t, err)
			defer f.Close()
			assert.EqualValues(t, 5, f.Size())
			assert.EqualValues(t, 5, f.Identity().Size)
			assert.NoError(t, f.Check())
			b := make([]byte, 5)
			n, err := f.ReadAt(b, 0)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(b[:n]))
			require.NoError(t, change(g))
			assert.ErrorIs(t, f.Check(), ErrChanged)
		})
	}
}

func BenchmarkList100k(b *testing.B) {
	dir := b.TempDir()
	r, err := OpenRoot(dir, Options{StoreID: store})
	require.NoError(b, err)
	defer r.Close()
	for i := range 100_000 {
		require.NoError(b, os.WriteFile(fmt.Sprintf("%s/f%06d", dir, i), nil, 0o644))
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _, es, err := r.List(context.Background(), Name{})
		require.NoError(b, err)
		require.Len(b, es, 100_000)
	}
}

func BenchmarkStat(b *testing.B) {
	dir := b.TempDir()
	r, err := OpenRoot(dir, Options{StoreID: store})
	require.NoError(b, err)
	defer r.Close()
	require.NoError(b, os.MkdirAll(dir+"/a/b/c", 0o755))
	require.NoError(b, os.WriteFile(dir+"/a/b/c/f", nil, 0o644))
	for _, s := range []string{"a", "a/b/c/f"} {
		n := Name{s}
		b.Run("stat "+s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Stat(n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			f, err := r.Open(Name{"a/b/c/f"})
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}
