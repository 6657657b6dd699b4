package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

var (
	tortureKills = flag.Int("torture.kills", 0, "how often the kill loops kill the daemon; 0 is as often as is enough for every day")
	tortureSeed  = flag.Uint64("torture.seed", 0, "what the kill loops draw from; 0 draws that too")
)

// killsOf is how many kills a test is to do, which does enough of them on every
// day.
func killsOf(enough int) int {
	if *tortureKills > 0 {
		enough = *tortureKills
	}
	if testing.Short() {
		return min(enough, 3)
	}
	return enough
}

// siege is a daemon that is killed at random moments under its clients' hands and
// started again at once, and all that was found wrong with it.
type siege struct {
	t *testing.T
	s *server
	// program and env are what is run as the daemon.
	program string
	env     []string
	token   string
	seed    uint64
	rng     *rand.Rand
	early   int // kills of a daemon that had not said it serves
	quit    chan struct{}
	all     sync.WaitGroup
	cut     func() // as in ground
	// left looks at what a kill has left, started at what the next daemon makes of
	// it. No client is at work then.
	left, started func()

	mu   sync.Mutex
	cond *sync.Cond
	// up is closed while the daemon serves and has been looked at.
	up    chan struct{}
	epoch int
	// verified counts the clients that have found in order what they were
	// promised before this epoch; alive those there are.
	verified, alive int
	stopping        bool
	wrong           []string
}

// ground is where a siege takes place.
type ground struct {
	dir string
	// cut, if not nil, loses after each kill what was not synced.
	cut func()
}

// newSiege is about a daemon that does not run yet.
func newSiege(t *testing.T, g ground, program string, env []string, flags ...string) *siege {
	t.Helper()
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-torture.seed %d", seed)
	w := &siege{
		t: t, s: place(t, g.dir, flags...), cut: g.cut, program: program, env: clean(env...),
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		quit: make(chan struct{}), up: make(chan struct{}),
	}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// lay starts the daemon and its clients, which wait for open.
func (w *siege) lay(clients ...func()) {
	w.t.Helper()
	w.start()
	w.token = tokenOf(w.t, w.s)
	w.alive = len(clients)
	for _, run := range clients {
		w.all.Go(func() {
			defer w.leave()
			run()
		})
	}
	w.t.Cleanup(func() {
		close(w.quit)
		w.s.kill()
		w.all.Wait()
	})
}

// leave is the last that is heard of a client.
func (w *siege) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive--
	w.cond.Broadcast()
}

func (w *siege) begin() { w.t.Helper(); w.s.begin(w.env, w.program) }

// start starts the daemon and looks at what it makes of what it finds.
func (w *siege) start() {
	w.t.Helper()
	w.begin()
	w.s.await()
	w.started()
}

// round lets the clients work, kills the daemon and starts it again.
func (w *siege) round() {
	w.t.Helper()
	w.open()
	// A daemon that nobody has come back to yet is killed too.
	if w.epoch == 1 || w.rng.IntN(4) > 0 {
		w.awaitVerified()
	}
	time.Sleep(w.lifetime())
	w.kill()
	for w.rng.IntN(3) == 0 { // and one that is still starting
		w.begin()
		time.Sleep(time.Duration(w.rng.IntN(80)) * time.Millisecond)
		w.kill()
	}
	w.start()
}

// lifetime is how long the daemon lives on; now and then long enough for what
// waits after it was cut off.
func (w *siege) lifetime() time.Duration {
	most := 400
	if w.rng.IntN(8) == 0 {
		most = 2000
	}
	return time.Duration(w.rng.IntN(most)) * time.Millisecond
}

// open lets the clients come.
func (w *siege) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.epoch++
	w.verified = 0
	close(w.up)
}

// awaitUp waits until the daemon may be dialled.
func (w *siege) awaitUp() (epoch int, ok bool) {
	w.mu.Lock()
	up := w.up
	w.mu.Unlock()
	select {
	case <-up:
	case <-w.quit:
		return 0, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch, true
}

// awaitVerified waits until every client has checked the restarted daemon.
func (w *siege) awaitVerified() {
	late := time.AfterFunc(longest, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wrong = append(w.wrong, "the clients do not come back")
		w.verified = math.MaxInt / 2
		w.cond.Broadcast()
	})
	defer late.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.verified < w.alive {
		w.cond.Wait()
	}
	require.True(w.t, w.alive > 0 || len(w.wrong) > 0, "no client is left, and nobody says why")
}

// checked is called by a client that found all in order.
func (w *siege) checked(epoch int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch == w.epoch {
		w.verified++
		w.cond.Broadcast()
	}
}

// kill kills the daemon and looks at what it left.
func (w *siege) kill() {
	w.mu.Lock()
	select {
	case <-w.up:
		w.up = make(chan struct{}) // first, so that nobody dials in vain
	default:
		w.early++
	}
	w.mu.Unlock()
	w.s.kill()
	ws, ok := w.s.p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(w.t, ok && ws.Signaled(), "it had ended by itself: %s", w.s.p.stderr())
	if w.cut != nil {
		w.cut()
	}
	w.checkLog()
	w.left()
	_, err := journal.Verify(context.Background(), filepath.Join(w.s.state, "journal"))
	require.NoError(w.t, err, "what the kill left of the journal")
}

// checkLog finds what the daemon itself calls an error.
func (w *siege) checkLog() {
	for line := range strings.Lines(w.s.p.stderr()) {
		if strings.Contains(line, `"level":"error"`) || !strings.HasPrefix(line, "{") {
			w.fault("the daemon says %s", strings.TrimSpace(line))
		}
	}
}

func (w *siege) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// ending tells clients that they are to begin nothing more.
func (w *siege) ending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping
}

// raise lets the clients come to an end.
func (w *siege) raise() {
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	done := make(chan struct{})
	go func() { w.all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * longest):
		require.FailNow(w.t, "the clients do not end", "%v\n%s", w.wrong, w.s.p.stderr())
	}
}

// verdict fails the test for whatever was found wrong.
func (w *siege) verdict() {
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Empty(w.t, strings.Join(w.wrong, "\n"), "broken promises; -torture.seed %d", w.seed)
}

// faults are what was found wrong so far.
func (w *siege) faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

// replay is `journal replay`, as text and unpacked.
func (w *siege) replay(args ...string) (string, folded) {
	w.t.Helper()
	r := waybill(w.t, append([]string{"journal", "replay"}, args...)...)
	require.Zero(w.t, r.code, r.err)
	var f folded
	require.NoError(w.t, json.Unmarshal([]byte(r.out), &f))
	return r.out, f
}

// checkReplay ends the daemon in order and holds the fold of its journal against
// that of the journal it has given out, up to the same record. It returns the
// fold of all of it.
func (w *siege) checkReplay() folded {
	w.t.Helper()
	live, f := w.replay(w.s.client()...)
	w.s.stop()
	w.checkLog()
	state := []string{"--state", w.s.state}
	still, _ := w.replay(append(state, "--at", fmt.Sprint(f.Records-1))...)
	assert.Equal(w.t, live, still, "a fold of the stopped journal")
	r := waybill(w.t, append([]string{"journal", "verify"}, state...)...)
	assert.Zero(w.t, r.code, r.err)
	_, f = w.replay(state...)
	return f
}

// names lists a directory; * stands for any part of the way to it.
func (w *siege) names(dir string) (names []string) {
	w.t.Helper()
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(w.t, err)
	for _, e := range entries {
		names = append(names, filepath.Base(e))
	}
	return names
}
