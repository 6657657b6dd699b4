package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "waybill-cli-*")
	if err == nil {
		binary = filepath.Join(dir, "waybill")
		cmd := exec.Command("go", build(binary)...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build waybill:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	if shared := sharedDir(); shared != dir {
		os.RemoveAll(shared)
	}
	os.Exit(code)
}

// build are the arguments that build the command into a file. What is left out is
// for debuggers only, and takes the linker a third of its time.
func build(file string, flags ...string) []string {
	return append(append([]string{"build", "-ldflags", "-s -w", "-o", file}, flags...), ".")
}

// sharedDir has the big journals that tests copy. Like quickDir, it is in memory
// where there is such a thing.
var sharedDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("/dev/shm", "waybill-cli-")
	if err != nil {
		return filepath.Dir(binary)
	}
	return dir
})

// copyState copies a STATE, or what holds one as "state", from sharedDir to
// quickDir. The sealed segments become links: who changes one makes it its own.
func copyState(t *testing.T, to, from string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if segments, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "seg-*.db")); slices.Contains(segments, path) && path != slices.Max(segments) {
			return os.Link(path, target)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o600)
	}))
}

// ownFile gives the test a copy of a file in place of what may be a link.
func ownFile(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

// patience of a test: far longer than anything takes, so that only a hang
// meets it.
const longest = 2 * time.Minute

// clean is the environment of every run: nothing of ours leaks in.
func clean(extra ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	return append(env, extra...)
}

// proc is a running waybill.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	talk   []string      // lines of stderr so far; guarded by mu
	talked chan struct{} // closed and replaced at each line; guarded by mu
}

// start runs waybill; the test's cleanup kills what is left of it.
func start(t *testing.T, dir string, env []string, args ...string) *proc {
	t.Helper()
	return launch(t, dir, env, exec.Command(binary, args...))
}

// launch runs a command that is waybill in the end.
func launch(t *testing.T, dir string, env []string, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{t: t, cmd: cmd, done: make(chan struct{}), talked: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout = dir, env, &p.out
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.talk = append(p.talk, lines.Text())
			close(p.talked)
			p.talked = make(chan struct{})
			p.mu.Unlock()
		}
		p.cmd.Wait()
	}()
	t.Cleanup(func() { p.signal(syscall.SIGKILL); <-p.done })
	return p
}

func (p *proc) signal(sig syscall.Signal) { p.cmd.Process.Signal(sig) }

// wait returns the exit code.
func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(longest):
		p.signal(syscall.SIGQUIT)
		<-p.done
		require.FailNow(p.t, "still running", "%v\n%s", p.cmd.Args, p.stderr())
	}
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return -int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *proc) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.talk, "\n")
}

// line waits for a line of stderr that fits.
func (p *proc) line(fits func(string) bool) string {
	p.t.Helper()
	deadline := time.After(longest)
	for n := 0; ; {
		p.mu.Lock()
		lines, more := p.talk, p.talked
		p.mu.Unlock()
		for ; n < len(lines); n++ {
			if fits(lines[n]) {
				return lines[n]
			}
		}
		select {
		case <-more:
		case <-p.done:
			p.mu.Lock()
			over := n == len(p.talk)
			p.mu.Unlock()
			if over {
				require.FailNow(p.t, "ended without the line", "%v\n%s", p.cmd.Args, p.stderr())
			}
		case <-deadline:
			require.FailNow(p.t, "no such line", "%v\n%s", p.cmd.Args, p.stderr())
		}
	}
}

// output is the standard output of a process, as it comes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// result is how a run ended.
type result struct {
	code     int
	out, err string
}

// waybill runs the binary to its end.
func waybill(t *testing.T, args ...string) result {
	t.Helper()
	return waybillIn(t, t.TempDir(), clean(), args...)
}

func waybillIn(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	p := start(t, dir, env, args...)
	code := p.wait()
	r := result{code, p.out.String(), p.stderr()}
	p.out = output{} // the cleanup holds p as long as the test runs
	return r
}

// server is a daemon on a tree of its own.
type server struct {
	t           *testing.T
	root, state string
	addr        string // kept over restarts
	flags       []string
	p           *proc
}

// serve starts a daemon and waits until it is ready. Afterwards its journal
// must verify.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	return serveIn(t, t.TempDir(), flags...)
}

func serveIn(t *testing.T, dir string, flags ...string) *server {
	t.Helper()
	s := place(t, dir, flags...)
	s.start()
	return s
}

// place is a daemon in dir that does not run yet.
func place(t *testing.T, dir string, flags ...string) *server {
	s := &server{t: t, root: filepath.Join(dir, "root"), state: filepath.Join(dir, "state"), addr: ownAddress(), flags: flags}
	t.Cleanup(func() {
		if s.p != nil {
			s.kill()
		}
		if _, err := journal.Verify(context.Background(), filepath.Join(s.state, "journal")); !t.Failed() {
			assert.NoError(t, err, "the journal at the end")
		}
	})
	return s
}

// ownAddress is one of this machine at which nobody else listens: a daemon that is
// started again there finds its port free, whatever ports others were given while
// it was down, and one that is down is not taken for another.
func ownAddress() string {
	n, pid := addresses.Add(1), os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:0", 64+pid>>8&63, pid&255, 1+n%254)
}

var addresses atomic.Int64

func (s *server) start() {
	s.t.Helper()
	s.begin(clean(), binary)
	s.await()
}

// begin runs command, which is waybill or something around it, as the daemon.
func (s *server) begin(env []string, command ...string) {
	s.t.Helper()
	args := slices.Concat(command[1:], []string{"serve", "--root", s.root, "--state", s.state, "--listen", s.addr, "--reserve", "0"}, s.flags)
	s.p = launch(s.t, s.t.TempDir(), env, exec.Command(command[0], args...))
}

// await waits until the daemon serves.
func (s *server) await() {
	s.t.Helper()
	line := s.p.line(func(l string) bool { return strings.Contains(l, `"message":"serving"`) })
	var ready struct{ Addr string }
	require.NoError(s.t, json.Unmarshal([]byte(line), &ready))
	require.NotEmpty(s.t, ready.Addr)
	s.addr = ready.Addr
}

func (s *server) kill() { s.p.signal(syscall.SIGKILL); <-s.p.done }

// stop ends it in order.
func (s *server) stop() {
	s.t.Helper()
	s.p.signal(syscall.SIGTERM)
	require.Equal(s.t, 0, s.p.wait(), s.p.stderr())
}

func (s *server) url() string   { return "ws://" + s.addr }
func (s *server) token() string { return filepath.Join(s.state, "main-token") }

// client are the flags that reach s.
func (s *server) client() []string { return []string{"--url", s.url(), "--token-file", s.token()} }

// records returns the journal's records of a kind.
func (s *server) records(kind string) (found []map[string]any) {
	s.t.Helper()
	r := waybill(s.t, append([]string{"journal", "export"}, s.client()...)...)
	require.Zero(s.t, r.code, r.err)
	for line := range strings.Lines(r.out) {
		var rec map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &rec))
		if rec["kind"] == kind {
			found = append(found, rec)
		}
	}
	return found
}

// randomFile makes a file of random bytes and returns its digest.
func randomFile(t *testing.T, path string, size int) (sum string) {
	t.Helper()
	b := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)})
	rng.Read(b)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, b, 0o644))
	return sumOf(t, path)
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h := sha1.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// eventually waits for what another process does; it looks often.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(longest); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "never happened", what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
