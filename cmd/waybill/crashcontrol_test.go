package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// needless are the syncs that could be left out, and why.
var needless = map[string]string{
	syncJournalGrow: "the sync of the pages that follows in the same commit makes the length durable with them",
	syncStateJournal: "the files that are written next to the journal, the id last, sync the same directory " +
		"before the first record",
	syncCheckpoint:     "one that is not whole is replaced; what it was signed over is in the journal",
	syncCheckpointName: "an older one, or none, compares as well",
	syncSnapshot:       "it is a cache: one that is not whole costs time",
	syncSnapshotName:   "it is a cache: what is not there is folded again",
	syncStoredGone:     "a snapshot that comes back is as good as it was",
	syncStagedNew: "nobody relies on the length of a file without bytes, and the sync of the bytes makes it durable; " +
		"that room is set aside for them is not modelled",
}

// controls leaves out the syncs of one place in the program after the other: each
// must be caught in one of the traces, but for those that are known to make no
// difference.
func controls(t *testing.T, all []*crashed) {
	classes := make(map[string][]*crashed)
	for _, c := range all {
		for class := range c.replay(c.start.clone(), "", c.lives, nil).syncs {
			classes[class] = append(classes[class], c)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		t.Run(class, func(t *testing.T) {
			reason, harmless := needless[class]
			tried, wrong := 0, ""
			for i, c := range classes[class] {
				if wrong == "" && (i == 0 || !harmless) {
					var n int
					n, wrong = c.with(t).control(class, harmless)
					tried += n
				}
			}
			switch {
			case class == syncUnclassified:
				t.Error("a sync of which nobody says where it is called")
			case harmless && wrong != "":
				t.Errorf("it is said that %s, and it is caught: %s", reason, wrong)
			case !harmless && wrong == "":
				t.Errorf("not caught by %d images", tried)
			case harmless:
				t.Logf("not caught by %d images: %s", tried, reason)
			default:
				t.Logf("caught by %d images: %s", tried, wrong)
			}
		})
	}
}

// with is c in a part of its test.
func (c *crashed) with(t *testing.T) *crashed {
	d := *c
	d.t = t
	return &d
}

// control looks at images with the syncs of a class left out: such in which as
// much as can be is missing, in the moments after that, and after answers.
func (c *crashed) control(class string, harmless bool) (tried int, wrong string) {
	const window = 12 // moments after a sync that was left out
	most := 400
	if harmless {
		most = 60
	}
	type key struct {
		sum      [sha256.Size]byte
		promised uint64
	}
	court := c.chronicle.court(c.at)
	seen := make(map[key]bool)
	rng := rand.New(rand.NewPCG(*crashSeed, 1))
	left, since, reply := 0, window, 0
	c.replay(c.start.clone(), class, c.lives, func(r *replayer, line int, h happening) {
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
		if left == 0 || !answered && (h == nothing || since > window) || len(seen) >= most || court.guilty() {
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
