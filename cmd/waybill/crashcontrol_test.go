package main

import (
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needless are the syncs that could be left out, and why.
var needless = map[string]string{
	syncJournalGrow: "the sync of the pages that follows in the same commit makes the length durable with them",
	syncStateJournal: "the files that are written next to the journal, the id last, sync the same directory " +
		"before the first record",
	syncCheckpointName: "an older one, or none, compares as well",
	syncUnverified:     "the next checkpoint gets its name only after the old one has left it, which is one step with its new name",
	syncSnapshot:       "it is a cache: one that is not whole costs time",
	syncSnapshotName:   "it is a cache: what is not there is folded again",
	syncStoredGone:     "what comes back is removed by the next start",
	syncOrphansDir:     "a rename is one step: the sync of the directory that the stray was in is that of the move",
}

// classesOf gives the traces that each class of syncs is in: every one that the
// program has must be in one.
func classesOf(t *testing.T, all []*crashed) map[string][]*crashed {
	classes := make(map[string][]*crashed)
	for _, c := range all {
		for class := range c.replay(c.start.clone(), nil, c.lives, nil).syncs {
			classes[class] = append(classes[class], c)
		}
	}
	for site, names := range syncSites {
		for _, class := range names {
			if classes[class] == nil && !testing.Short() && !(class == syncCopy && os.Geteuid() != 0) {
				t.Errorf("%s: %q is in no trace", site, class)
			}
		}
	}
	for class, why := range needless {
		if classes[class] == nil && !testing.Short() {
			t.Errorf("%q is nowhere, of which it is said that %s", class, why)
		}
	}
	return classes
}

// controls shows which syncs are needed. With those of needless left out, all of
// them at once, nothing is lost; and with those of any one other place left out
// as well, something is, in one of the traces.
func controls(t *testing.T, all []*crashed, classes map[string][]*crashed) {
	t.Run("but the needless", func(t *testing.T) {
		for _, c := range all {
			tried, wrong := c.with(t).control("", min(60, max(leastImages, c.images()/5)))
			t.Logf("%d images", tried)
			assert.Empty(t, wrong)
		}
	})
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		if needless[class] != "" {
			continue // see above
		}
		t.Run(class, func(t *testing.T) {
			require.NotEqual(t, syncUnclassified, class, "nobody says where it is called")
			tried, wrong := 0, ""
			for _, c := range classes[class] {
				if wrong == "" {
					n := 0
					n, wrong = c.with(t).control(class, 400)
					tried += n
				}
			}
			assert.NotEmpty(t, wrong, "not caught by %d images", tried)
			t.Logf("caught by %d images: %s", tried, wrong)
		})
	}
}

// with is c in a part of its test.
func (c *crashed) with(t *testing.T) *crashed {
	d := *c
	d.t = t
	return &d
}

// control looks at images with the needless syncs left out, and those of a class:
// such in which as much as can be is missing, in the moments after that, and
// after answers.
func (c *crashed) control(class string, most int) (tried int, wrong string) {
	const window = 12 // moments after a sync that was left out
	omitted := map[string]bool{class: true}
	for class := range needless {
		omitted[class] = true
	}
	type key struct {
		sum      [sha256.Size]byte
		promised uint64
	}
	// The first that is wrong is enough, so not many more are looked at meanwhile.
	court := c.chronicle.court(c.at, runtime.GOMAXPROCS(0))
	seen := make(map[key]bool)
	rng := rand.New(rand.NewPCG(*crashSeed, 1))
	left, since, reply := 0, window, 0
	c.replay(c.start.clone(), omitted, c.lives, func(r *replayer, line int, h happening) {
		r.watched = class
		if r.left > left {
			left, since = r.left, 0
		}
		answered := false
		for reply < len(c.relied) && c.relied[reply].at <= line {
			reply++
			answered = true
		}
		if h != nothing {
			since++
		}
		if class == "" {
			// Anywhere.
			if h == nothing || rng.IntN(20) > 0 {
				return
			}
		} else if left == 0 || !answered && (h == nothing || since > window) {
			return
		}
		if len(seen) >= most || court.guilty() {
			return
		}
		last := r.n
		for _, kept := range []func(int) float64{
			func(int) float64 { return 0 },
			func(n int) float64 {
				if n == last {
					return 1
				}
				return 0
			},
		} {
			img := r.crash(&fate{rule: anyOrder, kept: kept, rng: rng})
			k := key{img.sum, c.promised(line)}
			if !seen[k] {
				seen[k] = true
				court.trials <- trial{img, line, fmt.Sprintf("with %q left out", class)}
			}
		}
	})
	all, err := court.close()
	require.NoError(c.t, err)
	if len(all) > 0 {
		wrong = all[0]
	}
	return len(seen), wrong
}

// syncSites are the functions that sync something, with what their syncs are called
// here; without a name are those through which others do it. bbolt has the first
// three of the journal.
var syncSites = map[string][]string{
	"bbolt (*Tx).write":     {syncJournalData, syncSegmentNew},
	"bbolt (*Tx).writeMeta": {syncJournalMeta, syncSegmentNew},
	"bbolt (*DB).grow":      {syncJournalGrow, syncSegmentNew},
	"bbolt (*DB).init":      {syncSegmentNew},

	"journal/append.go *Log.roll":             {syncJournalDir},
	"journal/archivewrite.go *archiver.run":   {syncArchiveName, syncArchiveLines},
	"journal/archivewrite.go *archiver.write": {syncArchive},
	"journal/log.go makeDir":                  {syncStateJournal},
	"journal/prune.go *Log.prune":             {syncRootsName, syncSegmentGone},
	"journal/prune.go writeRoots":             {syncRoots},
	"journal/segment.go syncDir":              {},

	"fsview/contents.go *Contents.discard":    {syncContentGone},
	"fsview/contents.go *Contents.sweepShelf": {syncOrphansDir, syncContentGone},
	"fsview/durable.go makeDir":               {syncAbove, syncStateObjects},
	"daemon/notary.go *notary.keepUnverified": {syncUnverified},
	"fsview/durable.go SyncDir":               {},
	"fsview/durable.go syncPath":              {},
	"fsview/durable.go writeFile": {
		syncStateFile, syncStateDir, syncCheckpoint, syncCheckpointName, syncSnapshot, syncSnapshotName, syncBase, syncBaseName,
	},
	"fsview/place.go *Root.copyStaged": {syncCopy},
	"fsview/place.go *Root.syncEntry":  {syncParentDir},
	"fsview/place.go *Root.syncTarget": {syncTargetDir},
	"fsview/root.go makeIn":            {syncStoreDir},
	"fsview/staging.go *Staged.sync":   {syncStagedData, syncStagingDir},
	"fsview/sweep.go *Root.sweep":      {syncOrphansDir, syncStagingDir},

	"actions/accept.go *Engine.stageJob":             {syncStagedData},
	"actions/finish.go *upload.trim":                 {syncStagedCut},
	"actions/snapshot.go RemoveStored":               {syncStoredGone},
	"actions/snapshot.go syncDir":                    {},
	"actions/syncer.go *upload.syncWindow":           {syncStagedData},
	"actions/taskflush.go *liveTask.flushOnceLocked": {syncStagedData},
	"actions/taskwrite.go *liveTask.cutLocked":       {syncStagedCut},
}

// TestSyncSites finds the places in the program at which something is synced: the
// crash enumeration is to know them all.
func TestSyncSites(t *testing.T) {
	t.Parallel()
	found := make(map[string]bool)
	for site := range syncSites {
		if strings.HasPrefix(site, "bbolt ") {
			found[site] = true
		}
	}
	for _, dir := range []string{"journal", "fsview", "actions", "daemon"} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, d := range parsed.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Body == nil {
					continue
				}
				name := f.Name.Name
				if f.Recv != nil {
					name = types.ExprString(f.Recv.List[0].Type) + "." + name
				}
				site := dir + "/" + filepath.Base(file) + " " + name
				ast.Inspect(f.Body, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.SelectorExpr:
						if slices.Contains([]string{"Sync", "Fsync", "Fdatasync", "Syncfs", "SyncDir"}, n.Sel.Name) {
							found[site] = true
						}
					case *ast.CallExpr:
						if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "syncDir" || id.Name == "syncPath") {
							found[site] = true
						}
					}
					return true
				})
			}
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(syncSites)), slices.Sorted(maps.Keys(found)))
}
