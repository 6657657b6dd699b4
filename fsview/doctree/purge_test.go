package doctree

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const week = 604800

// due lists what is due now, nodes by id.
func (b *book) due(limit int) (out []string) {
	b.unchanged(func() {
		for _, d := range b.DuePurge(b.now(), limit) {
			if d.Revision != "" {
				out = append(out, string(d.Revision))
				continue
			}
			out = append(out, b.nodes[d.Node].id)
		}
	})
	return out
}

// purge takes what is due until nothing is, and requires that all of it goes.
func (b *book) purge() (out []string) {
	b.t.Helper()
	for {
		due := b.DuePurge(b.now(), 3)
		if len(due) == 0 {
			return out
		}
		require.LessOrEqual(b.t, len(due), 3)
		for _, d := range due {
			if d.Revision != "" {
				facts, ok := b.PurgeRevision(d.Revision, b.now())
				require.True(b.t, ok, "%+v", d)
				require.Len(b.t, facts, 1)
				b.apply(facts, nil)
				out = append(out, string(d.Revision))
				continue
			}
			o, ok := b.PurgeNode(d.Node, b.now())
			require.True(b.t, ok, "%+v", d)
			require.Len(b.t, o.Facts, 1, "each node with a fact of its own")
			b.apply(o.Facts, nil)
			out = append(out, o.Node.ID)
		}
	}
}

func TestPurgeOfNodes(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.dir("B", "A")
	b.file("f1", "B")
	b.file("f2", "A")
	b.file("live", "")
	b.do(b.dirOp(ann, "A", "delete"))
	assert.Empty(t, b.due(10))
	assert.Empty(t, b.DuePurge(float64(b.state("A").Expire), 10), "not before, and not at, its time")
	b.later(week + 1)
	assert.ElementsMatch(t, []string{"f1", "B", "f2", "A"}, b.due(10))
	for limit := range 6 {
		due := b.due(limit)
		assert.Len(t, due, min(limit, 4))
		for _, pair := range [][2]string{{"f1", "B"}, {"B", "A"}, {"f2", "A"}} {
			child, parent := slices.Index(due, pair[0]), slices.Index(due, pair[1])
			assert.True(t, parent < 0 || child >= 0 && child < parent, "%v: children before parents, however short", due)
		}
	}
	f1 := b.key("f1")
	out, ok := b.PurgeNode(f1, b.now())
	require.True(t, ok)
	assert.Equal(t, []Key{f1}, out.CancelAll)
	assert.Equal(t, "f1", out.Node.ID)
	assert.Len(t, b.purge(), 4)
	assert.Equal(t, 1, b.Nodes())
}

// A due directory takes what is deleted below it, whatever its own time.
func TestPurgeTakesWhatIsBelow(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.dir("B", "A")
	b.file("f1", "B")
	b.file("f2", "A")
	b.do(b.dirOp(ann, "A", "delete"))
	b.do(b.fileOp(ann, "f1", "recover"))
	b.do(b.fileOp(ann, "f2", "recover"))
	b.later(week)
	b.do(b.fileOp(ann, "f2", "delete"))
	b.later(1)
	assert.Equal(t, []string{"f2"}, b.due(10), "f1 lives: it stays, and so do B and A")
	_, ok := b.PurgeNode(b.key("A"), b.now())
	assert.False(t, ok)
	_, ok = b.PurgeNode(b.key("B"), b.now())
	assert.False(t, ok)
	_, ok = b.PurgeNode(b.key("f1"), b.now())
	assert.False(t, ok)
	assert.Equal(t, []string{"f2"}, b.purge())

	b.do(b.fileOp(ann, "f1", "delete"))
	assert.Equal(t, []string{"f1", "B", "A"}, b.purge())
	assert.Zero(t, b.Nodes())
}

// What is below a live directory is below a due one as well.
func TestPurgeThroughALiveDirectory(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.dir("B", "A")
	b.file("f", "B")
	b.do(b.dirOp(ann, "A", "delete"))
	b.do(b.dirOp(ann, "B", "recover"))
	b.later(week)
	b.do(b.fileOp(ann, "f", "delete"))
	b.later(1)
	assert.Equal(t, []string{"f"}, b.purge())
	assert.False(t, b.state("B").Deleted)
}

// What is due on its own goes from a directory that is not.
func TestPurgeOfWhatIsDueAlone(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.file("f1", "A")
	b.file("f2", "A")
	b.do(b.fileOp(ann, "f1", "delete"))
	b.later(10)
	b.do(b.dirOp(ann, "A", "delete"))
	b.later(week - 5)
	assert.Equal(t, []string{"f1"}, b.purge())
	assert.True(t, b.state("A").Deleted)
}

// Decided at commit: what changed since the list was made counts.
func TestPurgeDecidesAgain(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.file("f", "A")
	key, dir := b.key("f"), b.key("A")
	_, ok := b.PurgeNode(key, b.now())
	assert.False(t, ok, "live")
	b.do(b.dirOp(ann, "A", "delete"))
	_, ok = b.PurgeNode(key, b.now())
	assert.False(t, ok, "not due")
	b.later(week + 1)
	require.Equal(t, []Due{{Node: key}, {Node: dir}}, b.DuePurge(b.now(), 10))
	b.do(b.fileOp(ann, "f", "recover"))
	_, ok = b.PurgeNode(key, b.now())
	assert.False(t, ok, "recovered")
	_, ok = b.PurgeNode(dir, b.now())
	assert.False(t, ok, "something in it stays")
	b.do(b.fileOp(ann, "f", "permanently_delete"))
	_, ok = b.PurgeNode(key, b.now())
	assert.False(t, ok, "gone")
	_, ok = b.PurgeNode(0, b.now()+1e9)
	assert.False(t, ok, "the root")
	assert.Equal(t, []string{"A"}, b.purge())
}

func TestPurgeOfRevisions(t *testing.T) {
	b := newBook(t)
	f := b.written("F", "", 1, 2, 3)
	g := b.written("G", "", 4, 5)
	for _, r := range f[:2] {
		b.do(b.fileOp(ann, "F", "delete_rev", rev(string(r))))
	}
	for _, r := range g {
		b.do(b.fileOp(ann, "G", "delete_rev", rev(string(r))))
	}
	assert.Empty(t, b.DuePurge(float64(b.at.Unix()+week), 10))
	b.later(week + 1)
	assert.Equal(t, []string{string(f[0]), string(f[1]), string(g[0])}, b.due(10), "a file keeps its last one")
	assert.Len(t, b.due(2), 2)

	_, ok := b.PurgeRevision(f[2], b.now())
	assert.False(t, ok, "live")
	_, ok = b.PurgeRevision("none", b.now())
	assert.False(t, ok)
	b.do(b.fileOp(ann, "F", "recover_rev", rev(string(f[1]))))
	_, ok = b.PurgeRevision(f[1], b.now())
	assert.False(t, ok, "recovered")
	assert.Equal(t, []string{string(f[0]), string(g[0])}, b.purge())
	_, ok = b.PurgeRevision(g[1], b.now())
	assert.False(t, ok, "the last one")
	assert.Zero(t, b.References(digest(4)))
	assert.Equal(t, 1, b.References(digest(5)))

	b.do(b.fileOp(ann, "G", "recover_rev", rev(string(g[1]))))
	b.do(b.fileOp(ann, "G", "delete_rev"))
	b.apply(b.Publish(ann, b.key("G"), b.revisionID(), digest(6), 6, b.now()))
	assert.Empty(t, b.due(10), "its time starts anew")
	b.later(week + 1)
	assert.Equal(t, []string{string(g[1])}, b.purge())
}

// Revisions of a file that goes go with it.
func TestPurgeOfBoth(t *testing.T) {
	b := newBook(t)
	f := b.written("F", "", 1, 2)
	b.do(b.fileOp(ann, "F", "delete_rev", rev(string(f[0]))))
	b.do(b.fileOp(ann, "F", "delete"))
	b.later(week + 1)
	assert.Equal(t, []string{"F"}, b.due(10))
	assert.Equal(t, []string{"F"}, b.purge())
	assert.Empty(t, b.revisionBin)
}
