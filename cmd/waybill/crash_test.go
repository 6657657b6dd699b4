package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
	"waybill/sessions"
)

var (
	crashSeed   = flag.Uint64("crash.seed", 1, "what the crash enumeration draws from, given a trace")
	crashImages = flag.Int("crash.images", 0, "how many distinct images the crash enumeration looks at, such as 5000; 0 is as many as are enough for every day")
)

// TestCrash rebuilds, from the system calls of the real binary, what crashes at
// any moment may leave on a disk, starts the daemon on it, and holds everything
// it had answered by then against what is there. Then it does so with the syncs
// of one place in the program after the other left out.
func TestCrash(t *testing.T) {
	needStrace(t)
	t.Parallel()
	all := []*crashed{refounding(t), work(t)}
	if !testing.Short() { // their journals are long
		all = append(all, rolling(t), pruning(t))
	}
	for i, share := range []int{150, 4850, 40, 20}[:len(all)] {
		all[i].share = share
	}
	t.Run("enumeration", func(t *testing.T) {
		acks, images, wanted := 0, 0, 0
		for _, c := range all {
			acks += c.acks
			wanted += c.images()
			images += c.with(t).enumerate(c.images())
		}
		t.Logf("%d acknowledgements, %d distinct images", acks, images)
		assert.GreaterOrEqual(t, acks, 300)
		if !t.Failed() {
			assert.GreaterOrEqual(t, images, wanted)
		}
	})
	classes := classesOf(t, all)
	t.Run("catches", func(t *testing.T) {
		needControls(t)
		controls(t, all, classes)
	})
}

// crashed is a daemon, or several one after the other, of which everything that
// reached the file system is known.
type crashed struct {
	t *testing.T
	*server
	at    string
	start *model // before the first of them
	// odd: there are things that the order test cannot judge.
	odd bool
	// cuts are the answers of the life under way to who asked to prune the journal.
	cuts []string
	// share is how many images of each allImages are its: they differ in size.
	share int
	lives [][]traceStep
	acks  int
	*chronicle
}

// newCrashed is about a daemon on two directories that have their own parents.
func newCrashed(t *testing.T, flags ...string) *crashed {
	t.Helper()
	c := &crashed{t: t, at: quickDir(t), chronicle: &chronicle{
		initial: make(map[string]string), strays: make(map[string][]byte), bytes: make(map[uint64][][]byte), secrets: make(map[string][]byte),
		digests: make(map[string]string), ends: make(map[string]string),
	}}
	c.server = place(t, c.at, flags...)
	c.root, c.state = filepath.Join(c.at, rootAt), filepath.Join(c.at, stateAt)
	return c
}

// quickDir is a directory of the test's own, in memory where there is such a
// thing.
func quickDir(t *testing.T) string {
	const memory = "/dev/shm"
	dir, err := os.MkdirTemp(memory, "waybill-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// begins takes down what is there before the first life.
func (c *crashed) begins() {
	c.start = newModel(c.at)
	require.NoError(c.t, c.start.load())
	var err error
	c.initial, err = servedDigests(c.root)
	require.NoError(c.t, err)
	if dir := filepath.Join(c.state, "journal"); exists(dir) {
		log, err := journal.Open(dir, journal.Options{ReadOnly: true})
		require.NoError(c.t, err)
		defer log.Close()
		c.base = int(log.Head().Size)
		c.baseRoot = log.Head().Root
	}
}

// live traces one life of the daemon, which do ends, and takes in what it has
// promised. do returns the answers there were.
func (c *crashed) live(do func() []ack) {
	c.t.Helper()
	var acks []ack
	calls := traceCalls(c.t, c.server, tracedForCrash, binary, nil, func() { acks = do() })
	offset := 0
	if n := len(c.lives); n > 0 {
		last := c.lives[n-1]
		offset = last[len(last)-1].line
	}
	for _, call := range calls {
		call.enter += offset
		if call.exit != never {
			call.exit += offset
		}
	}
	id, err := os.ReadFile(filepath.Join(c.state, "id"))
	require.NoError(c.t, err)
	c.store = strings.TrimSpace(string(id))
	l, err := newLedger(c.root, c.state, c.store, calls)
	require.NoError(c.t, err)
	order := l.check(acks)
	if !c.odd {
		require.Empty(c.t, order.found)
	}
	replies := make(map[int]bool)
	for _, at := range l.replies {
		replies[at] = true
	}
	answers := make(map[int]bool)
	for _, r := range order.relied {
		if replies[r.at] {
			c.relied = append(c.relied, r)
			answers[r.at] = true
		}
	}
	for _, key := range c.cuts {
		f := l.find(func(f *fact) bool { return f.Kind == "segment.pruned" })
		require.NotNil(c.t, f)
		require.Less(c.t, f.durable, l.replies[key])
		c.relied = append(c.relied, reliance{l.replies[key], f.Seq})
		answers[l.replies[key]] = true
	}
	c.cuts = nil
	c.acks += len(answers)
	c.lives = append(c.lives, stepsOf(calls))
	c.capture(l)
}

// capture goes through the last life with a model and keeps the bytes that its
// records count.
func (c *crashed) capture(l *ledger) {
	m := c.start.clone()
	for i := range c.lives[:len(c.lives)-1] {
		c.replay(m, nil, c.lives[i:i+1], nil)
	}
	due := slices.Clone(l.records)
	slices.SortStableFunc(due, func(a, b *fact) int { return a.began - b.began })
	c.replay(m, nil, c.lives[len(c.lives)-1:], func(r *replayer, line int, _ happening) {
		for len(due) > 0 && due[0].began <= line {
			c.captureFact(m, l, due[0])
			due = due[1:]
		}
	})
}

func (c *crashed) captureFact(m *model, l *ledger, f *fact) {
	if f.began == before || c.bytes[f.Seq] != nil {
		return
	}
	id, ranges := f.Body.Session, f.Body.Ranges
	switch {
	case f.Kind == "upload.stored":
	case f.Kind == "job.queued" && f.Body.Action == "file_upload_chunk":
		id = f.Body.Job
	default:
		return
	}
	i := m.find(l.tree.staged(id))
	if i == nil {
		i = m.find(l.library.staged(id))
	}
	require.NotNil(c.t, i, "%s of %s", f.Kind, id)
	if f.Kind == "job.queued" {
		ranges = []sessions.Range{{0, i.data.size}}
	}
	for _, r := range ranges {
		c.bytes[f.Seq] = append(c.bytes[f.Seq], i.data.read(r[0], r[1]-r[0]))
	}
}

// replay carries out lives on a model; each, if not nil, is called after
// everything that has happened.
func (c *crashed) replay(m *model, omitted map[string]bool, lives [][]traceStep, each func(*replayer, int, happening)) *replayer {
	r := newReplayer(m, omitted)
	for _, life := range lives {
		r.process()
		for _, i := range life {
			h, err := r.step(i)
			require.NoError(c.t, err)
			if each != nil {
				each(r, i.line, h)
			}
		}
	}
	return r
}

// over takes down what it all came to, and requires that the model comes to the
// same.
func (c *crashed) over() {
	t := c.t
	slices.SortFunc(c.relied, func(a, b reliance) int { return cmp.Compare(a.at, b.at) })
	for i := range c.relied {
		if i > 0 {
			c.relied[i].seq = max(c.relied[i].seq, c.relied[i-1].seq)
		}
	}
	c.answered = c.relied[0].at
	m := c.start.clone()
	r := c.replay(m, nil, c.lives, nil)
	t.Logf("%d acknowledgements; syncs: %v", c.acks, r.syncs)
	now := newModel(c.at)
	require.NoError(t, now.load())
	want, have := now.issued(), m.issued()
	if want.sum != have.sum {
		assert.Equal(t, want.listing(), have.listing())
		require.FailNow(t, "the model does not follow the trace")
	}
	log, err := journal.Open(filepath.Join(c.state, "journal"), journal.Options{ReadOnly: true})
	require.NoError(t, err)
	defer log.Close()
	require.NoError(t, log.Read(context.Background(), uint64(c.base), log.Head().Size, func(line []byte) error {
		var f fact
		c.lines = append(c.lines, bytes.Clone(line))
		err := json.Unmarshal(line, &f)
		c.facts = append(c.facts, f)
		return err
	}))
	for i := range c.facts {
		f := &c.facts[i]
		what, is := strings.CutPrefix(f.Kind, "upload.")
		switch {
		case f.Kind == "upload.sealed":
			c.digests[f.Body.Session] = f.Body.Digest
		case is:
			c.chronicle.ends[f.Body.Session] = what
		}
	}
	for _, name := range []string{"id", "main-token", "jwt.key", "token-secret", "password-pepper", adminPassword} {
		b, err := os.ReadFile(filepath.Join(c.state, name))
		if name != adminPassword || exists(filepath.Join(c.state, name)) {
			require.NoError(t, err)
			c.secrets[name] = b
		}
	}
}

// listing is an image for people.
func (img *image) listing() (out []string) {
	for _, f := range img.files {
		if f.contents == nil {
			out = append(out, f.path+" is "+f.sameAs)
			continue
		}
		sum := sha256.New()
		f.mix(sum)
		out = append(out, fmt.Sprintf("%s %d %x", f.path, f.size, sum.Sum(nil)[:4]))
	}
	return append(out, img.dirs...)
}

// trial is an image to be looked at, and how it came about.
type trial struct {
	*image
	line int
	how  string
}

// courts is how many images are looked at a processor: each waits now and then.
const courts = 4

// court looks at images.
type court struct {
	*chronicle
	at     string
	pool   *pool
	trials chan trial
	all    sync.WaitGroup

	mu    sync.Mutex
	wrong []string
	err   error
}

// court begins to look at images, so many at a time.
func (h *chronicle) court(at string, atOnce int) *court {
	c := &court{
		chronicle: h, at: at, trials: make(chan trial),
		pool: &pool{dir: filepath.Join(at, "pool"), have: make(map[[sha256.Size]byte]bool)},
	}
	c.err = os.Mkdir(c.pool.dir, 0o700)
	for range atOnce {
		c.all.Go(func() {
			for tr := range c.trials {
				c.hear(tr)
			}
		})
	}
	return c
}

func (c *court) hear(tr trial) {
	dir, err := os.MkdirTemp(c.at, "image-")
	var wrong []string
	if err == nil {
		wrong, err = c.judge(tr.image, tr.line, dir, c.pool)
		err = cmp.Or(err, os.RemoveAll(dir))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = cmp.Or(c.err, err)
	if len(wrong) > 0 {
		c.wrong = append(c.wrong, fmt.Sprintf("a crash at line %d, %s:\n\t%s", tr.line, tr.how, strings.Join(wrong, "\n\t")))
	}
}

func (c *court) guilty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wrong) > 0 || c.err != nil
}

// close waits for what is under way.
func (c *court) close() ([]string, error) {
	close(c.trials)
	c.all.Wait()
	c.err = cmp.Or(c.err, os.RemoveAll(c.pool.dir))
	return c.wrong, c.err
}

// draw makes up a fate.
func drawFate(m *model, rng *rand.Rand) (*fate, string) {
	f := &fate{rule: rule(rng.IntN(int(rules))), rng: rng}
	of := [rules]string{"in order", "in any order", "with old names"}[f.rule]
	switch draw := rng.IntN(10); {
	case draw < 2:
		f.kept = func(int) float64 { return 0 }
		return f, "nothing that was not synced, " + of
	case draw < 4:
		last := m.n
		f.kept = func(n int) float64 {
			if n == last {
				return 1
			}
			return 0
		}
		return f, "only the last step, " + of
	case draw < 5:
		last := m.n
		f.kept = func(n int) float64 {
			if n == last {
				return 0
			}
			return 1
		}
		return f, "all but the last step, " + of
	}
	p := []float64{0.2, 0.5, 0.8}[rng.IntN(3)]
	f.kept = func(int) float64 { return p }
	return f, fmt.Sprintf("%v of what was not synced, %s", p, of)
}

// enumerate looks at so many distinct images of crashes anywhere in the trace, and
// returns how many there were.
func (c *crashed) enumerate(images int) int {
	t := c.t
	begun := time.Now()
	points := 0
	c.replay(c.start.clone(), nil, c.lives, func(_ *replayer, _ int, h happening) {
		if h != nothing {
			points++
		}
	})
	rng := rand.New(rand.NewPCG(*crashSeed, 0))
	court := c.chronicle.court(c.at, courts*runtime.GOMAXPROCS(0))
	seen := make(map[[sha256.Size]byte]bool)
	count := make(map[string]int)
	const rounds = 20
	for round := 0; round < rounds && len(seen) < images && !court.guilty(); round++ {
		part := 1.1 * float64(images-len(seen)) / float64(points)
		c.replay(c.start.clone(), nil, c.lives, func(r *replayer, line int, h happening) {
			// A start that has to set everything up takes long.
			part := part
			if line < c.answered {
				part /= 4
			}
			if h == nothing || rng.Float64() >= part || len(seen) >= images || court.guilty() {
				return
			}
			var tr trial
			if rng.IntN(8) == 0 {
				tr = trial{r.issued(), line, "everything that was issued"}
			} else {
				f, how := drawFate(r.model, rng)
				tr = trial{r.crash(f), line, how}
			}
			if seen[tr.sum] {
				return
			}
			seen[tr.sum] = true
			count[strings.SplitN(tr.how, ",", 2)[0]]++
			court.trials <- tr
		})
	}
	wrong, err := court.close()
	require.NoError(t, err)
	assert.Empty(t, strings.Join(wrong, "\n"), "-crash.seed %d", *crashSeed)
	t.Logf("%d distinct images of %d points of a crash, in %s; %v", len(seen), points, time.Since(begun).Round(time.Millisecond), count)
	return len(seen)
}

// clone is a model that goes on by itself; contents are shared.
func (m *model) clone() *model {
	c := newModel(m.at)
	c.n, c.inodes = m.n, m.inodes
	copies := map[*inode]*inode{m.root: c.root}
	var walk func(from, to *inode)
	walk = func(from, to *inode) {
		for name, i := range from.names {
			k := copies[i]
			if k == nil {
				k = &inode{id: i.id, dir: i.dir, path: i.path, data: i.data.clone(), kept: i.kept.clone()}
				if i.dir {
					k.names, k.disk = make(map[string]*inode), make(map[string]*inode)
				}
				copies[i] = k
				walk(i, k)
			}
			to.names[name], to.disk[name] = k, k
		}
	}
	walk(m.root, c.root)
	return c
}

// allImages are what the shares of the traces add up to, about. Those of every day
// are fewer, those of a short run fewer still: see -crash.images.
const (
	allImages   = 5000
	dailyImages = 200
	shortImages = 100
	// leastImages are looked at of each trace at all events.
	leastImages = 4
)

// images is how many are looked at of c.
func (c *crashed) images() int {
	all := dailyImages
	switch {
	case *crashImages > 0:
		all = *crashImages
	case testing.Short():
		all = shortImages
	}
	return max(leastImages, c.share*all/allImages)
}
