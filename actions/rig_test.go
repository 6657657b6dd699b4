package actions

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/journal"
	"waybill/sessions"
)

const rigStore = "11111111-2222-4333-8444-555555555555"

// rig is an engine over a real journal and real files, which can be stopped,
// crashed and started again. Its cleanup checks everything there is to check.
type rig struct {
	t      testing.TB
	dir    string
	limits Limits
	// seams is where faults are injected into journal and files.
	seams   seams
	reserve int64
	// backoff, if not nil, replaces the queue's, which tests keep short.
	backoff func(n int) time.Duration
	// library opens a document library at each start, nil for none; checks are
	// asked of the fold once the engine has ended.
	// closing is called before a clean stop.
	library func() (*Library, error)
	checks  []func(*State)
	closing func()
	// foreign are the paths that the test changes behind the engine's back.
	foreign map[string]bool

	clock *manualClock
	log   *journal.Log
	root  *fsview.Root
	*Engine
	stop func() error
	dead chan struct{}
	err  error
}

// seams passes durable steps through a function that may be changed at any
// time; nil lets them be.
type seams struct {
	mu   sync.Mutex
	step func(op string, do func() error) error
}

func (s *seams) set(step func(op string, do func() error) error) {
	s.mu.Lock()
	s.step = step
	s.mu.Unlock()
}

func (s *seams) journal(op string, do func() error) error {
	s.mu.Lock()
	step := s.step
	s.mu.Unlock()
	if step == nil {
		return do()
	}
	return step(op, do)
}

func (s *seams) files(op, _ string, do func() error) error { return s.journal(op, do) }

// manualClock goes on only when told to.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// memory is where there is a file system in memory.
const memory = "/dev/shm"

func newRig(t testing.TB) *rig {
	r := &rig{t: t, dir: quickDir(t), clock: &manualClock{now: time.Now()}}
	require.NoError(t, os.MkdirAll(r.served(), 0o755))
	t.Cleanup(func() {
		if r.Engine == nil {
			return
		}
		r.close()
		r.check()
	})
	return r
}

// quickDir is a directory of the test's own, in memory where there is such a
// thing: crashes here are those of the process, and the hundreds of starts of the
// fault tables would mostly wait for a disk. That what is called synced is on
// disk is for the order test in cmd/waybill.
func quickDir(t testing.TB) string {
	dir, err := os.MkdirTemp(memory, "waybill-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// TestMain fails the run if a goroutine outlives the tests.
func TestMain(m *testing.M) {
	goroutines := runtime.NumGoroutine()
	code := m.Run()
	os.RemoveAll(foundedState.dir)
	if fuzz := flag.Lookup("test.fuzz"); fuzz != nil && fuzz.Value.String() != "" {
		os.Exit(code) // the fuzzer leaves one of its own
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
			os.Exit(1)
		}
		runtime.Gosched()
	}
	os.Exit(code)
}

func (r *rig) served() string  { return filepath.Join(r.dir, "files") }
func (r *rig) journal() string { return filepath.Join(r.dir, "state", "journal") }
func (r *rig) path(name string) string {
	return filepath.Join(r.served(), filepath.FromSlash(name))
}
func (r *rig) staging() string {
	return filepath.Join(r.served(), ".waybill", rigStore, "staging")
}

// start opens everything and returns once the engine is ready, or an error if
// it fails before.
func (r *rig) start() error {
	require.NoError(r.t, os.MkdirAll(r.journal(), 0o700))
	log, err := journal.Open(r.journal(), journal.Options{Fault: r.seams.journal})
	if err != nil {
		return err
	}
	state, err := Replay(context.Background(), log)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	root, err := fsview.OpenRoot(r.served(), fsview.Options{StoreID: rigStore, Reserve: r.reserve, Fault: r.seams.files})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	var library *Library
	if r.library != nil {
		if library, err = r.library(); err != nil {
			return errors.Join(err, root.Close(), log.Close())
		}
	}
	r.log, r.root = log, root
	r.Engine = New(Config{
		Log: log, Root: root, Version: "test", Logger: zerolog.Nop(), Limits: r.limits, Now: r.clock.Now, Library: library,
	}, state)
	r.Engine.queue.backoff = func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	if r.backoff != nil {
		r.Engine.queue.backoff = r.backoff
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	dead := make(chan struct{})
	r.dead = dead
	go func() {
		r.err = r.Run(ctx, func() { close(ready) })
		close(dead)
	}()
	r.stop = func() error {
		cancel()
		<-dead
		err := errors.Join(r.err, root.Close(), log.Close())
		if library != nil {
			err = errors.Join(err, library.Contents.Close())
		}
		return err
	}
	select {
	case <-ready:
		return nil
	case <-dead:
		return r.err
	}
}

func (r *rig) mustStart() {
	r.t.Helper()
	require.NoError(r.t, r.start())
}

// close stops cleanly, if it runs.
func (r *rig) close() {
	r.t.Helper()
	if r.stop == nil {
		return
	}
	live, err := r.StateJSON()
	if err == nil {
		// A fresh fold of what is committed is the live state.
		r.sameFold(live)
	}
	if r.closing != nil {
		r.closing()
	}
	stop := r.stop
	r.stop = nil
	require.NoError(r.t, stop())
}

// sameFold checks a fold from the files against the live state. It retries
// while the engine records something in between.
func (r *rig) sameFold(live []byte) {
	r.t.Helper()
	s := NewState()
	require.NoError(r.t, r.log.Replay(context.Background(), 0, s.Apply))
	fold, err := s.MarshalJSON()
	require.NoError(r.t, err)
	if string(fold) != string(live) {
		again, err := r.StateJSON()
		require.NoError(r.t, err)
		if string(again) == string(live) {
			assert.JSONEq(r.t, string(fold), string(live))
		} else {
			r.sameFold(again)
		}
	}
}

// crash ends the engine as if the process were gone: no clean stop, only what
// is in the files counts. (SIGKILL on the real binary is tested in
// cmd/waybill.)
func (r *rig) crash() {
	r.t.Helper()
	stop := r.stop
	r.stop = nil
	r.core.mu.Lock()
	r.core.closed = true
	r.core.mu.Unlock()
	_ = stop() // the journal refuses daemon.stopped, as it should
}

// check verifies what is on disk after the engine has ended.
func (r *rig) check() {
	r.t.Helper()
	_, err := journal.Verify(context.Background(), r.journal())
	require.NoError(r.t, err)
	log, err := journal.Open(r.journal(), journal.Options{ReadOnly: true})
	require.NoError(r.t, err)
	defer log.Close()
	state, err := Replay(context.Background(), log)
	require.NoError(r.t, err)
	for _, check := range r.checks {
		check(state)
	}
	var lines []string
	require.NoError(r.t, log.Read(context.Background(), 0, log.Head().Size, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	}))
	afterImages(r.t, lines, someMoments(r.t, lines, mathrand.New(mathrand.NewPCG(log.Head().Size, 0)))...)
	known := make(map[string]bool)
	for _, u := range state.sessions.Uploads() {
		known[u.ID.String()] = true
	}
	for _, j := range state.jobs.liveJobs() {
		known[j.ID.String()] = true
	}
	for path, digest := range r.digests() {
		have, err := os.ReadFile(r.path(path))
		if err != nil || r.foreign[path] {
			continue // the test itself has removed or changed it
		}
		assert.Equal(r.t, digest, hexSHA1(have), "%s", path)
	}
	entries, err := os.ReadDir(r.staging())
	if err == nil {
		for _, e := range entries {
			assert.True(r.t, known[e.Name()], "staged file %s has no session", e.Name())
		}
	}
}

// digests returns the digest that the file at each path must have: that of
// the upload placed there last.
func (r *rig) digests() map[string]string {
	r.t.Helper()
	log, err := journal.Open(r.journal(), journal.Options{ReadOnly: true})
	require.NoError(r.t, err)
	defer log.Close()
	want := make(map[string]string)
	s := NewState()
	require.NoError(r.t, log.Replay(context.Background(), 0, func(e *journal.Entry) error {
		if err := s.Apply(e); err != nil {
			return err
		}
		if e.Kind == sessions.KindUploadPlaced {
			id, err := sessions.ParseID(string(e.Body[len(`{"session":"`):][:36]))
			if err != nil {
				return err
			}
			u, _ := s.sessions.Upload(id)
			want[u.Path] = u.Digest
		}
		return nil
	}))
	return want
}

var rigCaller = Caller{Subject: "main", Main: true, Permissions: mustPermissions("**"), Via: "test"}

func mustPermissions(list ...string) acl.Permissions {
	p, err := acl.ParsePermissions(list)
	if err != nil {
		panic(err) // the list is a constant of a test
	}
	return p
}

func (r *rig) do(a Action) (Result, error) {
	return r.Do(context.Background(), Call{Caller: rigCaller, Action: a})
}

// must runs an action that has to succeed.
func must[R Result](t testing.TB, r Result, err error) R {
	t.Helper()
	require.NoError(t, err)
	got, ok := r.(R)
	require.True(t, ok, "%T", r)
	return got
}

func (r *rig) open(path string, size int64, sha string) sessions.ID {
	r.t.Helper()
	res, err := r.do(&UploadRequest{Path: path, HasPath: true, Size: size, SHA1: sha, Timeout: 2 * time.Minute})
	return must[*UploadOpened](r.t, res, err).ID
}

func (r *rig) put(id sessions.ID, off int64, data []byte) (*ChunkStored, error) {
	res, err := r.do(&UploadChunk{Session: id, Offset: off, Data: data})
	if err != nil {
		return nil, err
	}
	return res.(*ChunkStored), nil
}

func (r *rig) status(id sessions.ID) *UploadStatus {
	r.t.Helper()
	res, err := r.do(&UploadStatusOf{Session: id})
	return must[*UploadStatus](r.t, res, err)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func hexSHA1(b []byte) string {
	s := sha1.Sum(b)
	return hex.EncodeToString(s[:])
}

// records returns the lines of the journal of one kind.
func (r *rig) records(kind string) []string {
	r.t.Helper()
	var out []string
	head := r.log.Head()
	require.NoError(r.t, r.log.Read(context.Background(), 0, head.Size, func(line []byte) error {
		if strings.Contains(string(line), `"kind":"`+kind+`"`) {
			out = append(out, string(line))
		}
		return nil
	}))
	return out
}
