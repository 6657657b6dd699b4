package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/journal"
)

// cutSteps are the durable steps of a cut of one segment, in order.
var cutSteps = []string{
	"archive.write", "archive.sync", "archive.write", "archive.sync", "archive.write", "archive.sync",
	"archive.rename", "archive.rename", "archive.dirsync", "archive.rename", "archive.dirsync",
	"base.write", "commit", "roots.write", "dir.sync", "segment.unlink", "dir.sync", "base.remove",
}

// cutArchived is where archiving is over.
const cutArchived = 11

func smallCut(cfg Config, fault func(string, func() error) error) PruneOptions {
	return PruneOptions{
		State: cfg.State, Archive: cfg.Archive, Before: pruneEpoch.Add(segment * time.Second),
		Actor: "operator", Via: "cli", fault: fault,
	}
}

func TestCutSteps(t *testing.T) {
	t.Parallel()
	cfg := copyOf(t, small().dir)
	var steps []string
	p, err := Prune(context.Background(), smallCut(cfg, func(op string, do func() error) error {
		steps = append(steps, op)
		return do()
	}))
	require.NoError(t, err)
	assert.Equal(t, Pruned{0, segment, segment, 1, cfg.Archive}, p)
	assert.Equal(t, cutSteps, steps)
	whole(t, small(), cfg)
}

// smallArchive is an archive of all that can be cut off small.
func smallArchive(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testDir, "small-archive")
	smallArchived.Do(func() {
		cfg := startable(t, small())
		_, err := Prune(context.Background(), smallCut(cfg, nil))
		require.NoError(t, err)
		require.NoError(t, os.CopyFS(dir, os.DirFS(cfg.Archive)))
	})
	return dir
}

var smallArchived sync.Once

// Each durable step of a cut fails in a daemon, before or after it happened:
// nothing is lost, the daemon goes on unless it was the commit, and the next
// request finishes.
func TestCutFaults(t *testing.T) {
	t.Parallel()
	for at, step := range cutSteps {
		if at >= 2 && at <= 5 || at == 7 || at == 8 {
			continue // as those before and after; package journal has each of them
		}
		for _, happens := range []bool{false, true} {
			if testing.Short() && at%3 != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%d %s %t", at, step, happens), func(t *testing.T) {
				cfg, first := startable(t, small()), 0
				if at >= cutArchived {
					// What is in the archive already is compared, which is quicker.
					require.NoError(t, os.CopyFS(cfg.Archive, os.DirFS(smallArchive(t))))
					first = cutArchived
				}
				n := -1 // before the cut
				cfg.JournalFault = func(op string, do func() error) error {
					if n < 0 || n == cutArchived && strings.HasPrefix(op, "archive.") {
						return do()
					}
					if n++; n-1 != at {
						return do()
					}
					if happens {
						assert.NoError(t, do())
					}
					return errCutFault
				}
				var log *journal.Log
				cfg.serving = func(s *server) {
					log = s.engine.Journal()
				}
				r := restart(t, cfg)
				cut := func() (int, Pruned) {
					t.Helper()
					code, body, _ := r.do("POST", "/journal/prune?before="+timeOf(segment), "", "Authorization", "Bearer "+r.token)
					var p Pruned
					if code == 200 {
						require.NoError(t, json.Unmarshal([]byte(body), &p))
					}
					return code, p
				}
				n = first
				if step == "commit" {
					// The answer may be lost with the daemon.
					req, err := http.NewRequest("POST", "http://"+r.addr+"/journal/prune?before="+timeOf(segment), nil)
					require.NoError(t, err)
					req.Header.Set("Authorization", "Bearer "+r.token)
					if res, err := http.DefaultClient.Do(req); err == nil {
						assert.Equal(t, 503, res.StatusCode)
						require.NoError(t, res.Body.Close())
					}
					require.ErrorIs(t, r.wait(), errCutFault)
					r.stop = func() error { return nil } // it has
					cfg.JournalFault = nil
					r = restart(t, cfg)
				} else {
					code, _ := cut()
					assert.Equal(t, 500, code)
				}
				n = len(cutSteps)
				before := log.First()
				code, p := cut()
				assert.Equal(t, 200, code)
				assert.Equal(t, uint64(segment), p.To)
				if at > 12 || at == 12 && happens {
					assert.Equal(t, p.To, p.From, "it was on record")
				} else {
					assert.Equal(t, uint64(0), before)
				}
				assert.Equal(t, uint64(segment), log.First())
				assert.NoError(t, r.stop())
				whole(t, small(), cfg)
			})
		}
	}
}

// Killed between any two steps: the daemon starts from what is there with the
// same state, and the next cut, or the start, finishes.
func TestCutKilled(t *testing.T) {
	t.Parallel()
	cfg := copyOf(t, small().dir)
	state := loaded(t, cfg)
	type image struct {
		step string
		dir  string
	}
	var images []image
	_, err := Prune(context.Background(), smallCut(cfg, func(op string, do func() error) error {
		err := do()
		if strings.HasSuffix(op, "sync") {
			return err // changes nothing that can be seen
		}
		dir := t.TempDir()
		copyState(t, dir, filepath.Dir(cfg.State))
		images = append(images, image{fmt.Sprintf("%d after %s", len(images), op), dir})
		return err
	}))
	require.NoError(t, err)
	require.Equal(t, "7 after commit", images[7].step)
	for k, i := range images {
		committed := k >= 7
		if testing.Short() && k%3 != 0 {
			continue
		}
		t.Run(i.step, func(t *testing.T) {
			cfg := copyOf(t, i.dir)
			var engine *actions.Engine
			cfg.serving = func(s *server) { engine = s.engine }
			r := restart(t, cfg)
			live, err := engine.StateJSON()
			require.NoError(t, err)
			assert.Equal(t, withoutProgress(t, state), withoutProgress(t, live))
			first := uint64(0)
			if committed {
				first = segment
			}
			assert.Equal(t, first, engine.Journal().First(), "a cut on record is finished by the start, another is not")
			require.NoError(t, r.stop())
			p, err := Prune(context.Background(), smallCut(cfg, nil))
			require.NoError(t, err)
			assert.Equal(t, first, p.From)
			assert.Equal(t, uint64(segment), p.To)
			whole(t, small(), cfg)
		})
	}
}

// What a cut that was cut short has in the archive is good, though meanwhile the
// key that signed it is gone.
func TestCutAfterARotation(t *testing.T) {
	t.Parallel()
	cfg := startable(t, small())
	first, _, err := StoredKeys(cfg.State)
	require.NoError(t, err)
	_, err = Prune(context.Background(), smallCut(cfg, func(op string, do func() error) error {
		if op == "base.write" {
			return errCutFault
		}
		return do()
	}))
	require.ErrorIs(t, err, errCutFault)
	_, err = RotateKey(cfg.State)
	require.NoError(t, err)
	cfg.KeyOverlap = -1
	require.NoError(t, restart(t, cfg).stop())
	require.NoFileExists(t, filepath.Join(cfg.State, oldKeyFile))

	p, err := Prune(context.Background(), smallCut(cfg, nil))
	require.NoError(t, err)
	assert.Equal(t, uint64(segment), p.To)
	a, err := journal.OpenArchive(cfg.Archive)
	require.NoError(t, err)
	require.NoError(t, a.CheckSignatures(first.Verifier()), "who was there first stays")
	require.NoError(t, restart(t, cfg).stop())
}
