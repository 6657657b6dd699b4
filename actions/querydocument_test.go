package actions

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// tree is a journal of a document library in the making.
type tree struct {
	lines [][]byte
}

func (l *tree) add(kind, format string, args ...any) int {
	seq := len(l.lines)
	l.lines = append(l.lines, journal.AppendRecord(nil, &journal.Record{
		Seq: uint64(seq), At: time.Unix(int64(seq), 0), Kind: kind, Actor: "main", Via: "doc", Ref: "r", Body: fmt.Appendf(nil, format, args...)}))
	return seq
}

func (l *tree) create(node int, name string, parent int) int {
	return l.add("node.created", `{"node":%d,"id":"n%d","type":"dir","name":"%s","parent":%d,"owner":"main"}`, node, node, name, parent)
}

func (l *tree) rename(node int, name string) int {
	return l.add("node.renamed", `{"node":%d,"id":"n%d","name":"%s"}`, node, node, name)
}

func (l *tree) move(node, parent int) int {
	return l.add("node.moved", `{"node":%d,"id":"n%d","parent":%d}`, node, node, parent)
}

func (l *tree) remove(node int) int {
	return l.add("node.removed", `{"nodes":[%d],"id":"n%d"}`, node, node)
}

// What leads to names is found however the tree changes, also where names
// repeat: by looking at every node after every record, it is the same.
func TestQueryOfNamesThatMove(t *testing.T) {
	t.Parallel()
	type node struct {
		name   string
		parent int
	}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		names := []string{"/a", "/a/b", "/a/b/a", "/a/a/a", "/b/a/c"}[seed%5]
		var l tree
		nodes, want := map[int]node{}, map[uint64]struct{}{}
		leads := func(key int) bool {
			path := ""
			for range 4 {
				n, ok := nodes[key]
				if !ok {
					return false
				}
				if path, key = "/"+n.name+path, n.parent; key == 0 {
					return path == names
				}
			}
			return false
		}
		m, err := NewMatcher(Query{Document: names})
		require.NoError(t, err)
		for i := range 400 {
			key, name, parent := 1+rnd.IntN(12), string(rune('a'+rnd.IntN(3))), rnd.IntN(13)
			n, there := nodes[key]
			switch {
			case !there:
				l.create(key, name, parent)
				n = node{name, parent}
			case rnd.IntN(8) == 0:
				l.remove(key)
			case rnd.IntN(2) == 0:
				l.rename(key, name)
				n.name = name
			default:
				l.move(key, parent)
				n.parent = parent
			}
			if nodes[key] = n; bytes.Contains(l.lines[i], []byte("node.removed")) {
				delete(nodes, key)
			}
			require.NoError(t, m.Line(l.lines[i], func([]byte) error { return nil }))
			for key := range nodes {
				if leads(key) {
					want[uint64(key)] = struct{}{}
				}
			}
			require.Equal(t, want, m.subjects[0].doc.nodes, "%s, seed %d: %s", names, seed, l.lines[i])
		}
	}
}

// Following names takes as many steps as there are records, however many nodes
// there are of a name, and however they go.
func TestQueryOfNamesTakesFewSteps(t *testing.T) {
	t.Parallel()
	const most, fewer = 20_000, 5_000
	for name, c := range map[string]struct {
		text    string
		folders int
		remove  bool
		wanted  int
	}{
		"one of many":           {text: "/top/f7/README", folders: most, wanted: 1},
		"one, and all removed":  {text: "/top/f7/README", folders: fewer, wanted: 1, remove: true},
		"none of many":          {text: "/README/README", folders: fewer, wanted: 0},
		"many times one name":   {text: "/top/again", folders: fewer, wanted: fewer},
		"many of them, removed": {text: "/top/again", folders: fewer, wanted: fewer, remove: true},
	} {
		t.Run(name, func(t *testing.T) {
			var l tree
			l.create(1, "top", 0)
			for i := range c.folders {
				dir := 2 + 2*i
				l.create(dir, "again", 1) // each is its folder only for a while
				l.rename(dir, fmt.Sprint("f", i))
				l.create(dir+1, "README", dir)
				if i%100 == 0 {
					l.rename(1, "other")
					l.rename(1, "top")
				}
			}
			if c.remove {
				for i := range c.folders {
					l.remove(3 + 2*i)
					l.remove(2 + 2*i)
				}
			}
			m, err := NewMatcher(Query{Document: c.text})
			require.NoError(t, err)
			none := func([]byte) error { return nil }
			for _, line := range l.lines {
				if err := m.Line(line, none); err != nil {
					require.NoError(t, err)
				}
			}
			doc := &m.subjects[0].doc
			assert.Len(t, doc.nodes, c.wanted)
			assert.Less(t, doc.tree.steps, 4*len(l.lines))
		})
	}
}
