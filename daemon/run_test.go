package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{fmt.Errorf("x: %w", &journal.DamageError{Seq: 7}), 65},
		{fmt.Errorf("x: %w: unknown kind", actions.ErrFold), 65},
		{errors.New("who knows"), 70},
		{fmt.Errorf("%w the listener: %w", ErrCreate, syscall.EADDRINUSE), 73},
		{fmt.Errorf("%w it: %w", ErrCreate, &fs.PathError{Err: syscall.ENOTDIR}), 73},
		{&fs.PathError{Err: syscall.EIO}, 74},
		{fmt.Errorf("%w: %w", actions.ErrFailed, syscall.EACCES), 74},
		{fmt.Errorf("%w: %w", journal.ErrFailed, syscall.ENOSPC), 74},
		{fmt.Errorf("x: %w", &fsview.LockedError{Holder: "pid 1"}), 75},
		{journal.ErrLocked, 75},
		{ErrLowSpace, 75},
		{fmt.Errorf("%w it: %w", ErrCreate, &fs.PathError{Err: syscall.EACCES}), 77},
		{fmt.Errorf("%w: x", fsview.ErrForeignRoot), 78},
		{ErrState, 78},
	} {
		assert.Equal(t, c.code, ExitCode(c.err), "%v", c.err)
	}
}

// fails runs a daemon that must not come up and returns its error. It must not
// take long, and give back what it locked.
func fails(t *testing.T, cfg Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg.Ready = func(string) { t.Error("it is ready") }
	err := Run(ctx, cfg)
	require.Error(t, err)
	require.NoError(t, ctx.Err())
	return err
}

func TestFirstStartLeavesWhatASecondOneNeeds(t *testing.T) {
	t.Parallel()
	r := run(t, func(c *Config) { c.passwordKiB = 19 << 10 }) // what it is outside of tests
	assert.Regexp(t, "^[A-Za-z0-9]{32}$", r.token)
	secrets := map[string]string{}
	for _, name := range []string{"id", "main-token", "jwt.key"} {
		fi, err := os.Stat(filepath.Join(r.cfg.State, name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), fi.Mode(), name)
		b, err := os.ReadFile(filepath.Join(r.cfg.State, name))
		require.NoError(t, err)
		secrets[name] = string(b)
	}
	assert.Len(t, secrets["jwt.key"], 32)
	fi, err := os.Stat(r.cfg.State)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	require.NoError(t, r.stop())
	restart(t, r.cfg)
	for name, want := range secrets {
		b, err := os.ReadFile(filepath.Join(r.cfg.State, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(b), name)
	}
}

// A crash during the first start, after any of its steps, needs no human.
func TestFirstStartCutOff(t *testing.T) {
	t.Parallel()
	for _, lost := range [][]string{
		{"id"}, {"id", "jwt.key"}, {"id", "jwt.key", "main-token"}, {"id", "jwt.key", "main-token", "journal"},
	} {
		t.Run(strings.Join(lost, ","), func(t *testing.T) {
			dir := t.TempDir()
			st, err := openState(dir, 1)
			require.NoError(t, err)
			log, err := journal.Open(st.journalDir(), journal.Options{})
			require.NoError(t, err)
			require.NoError(t, st.initialise(0))
			require.NoError(t, log.Close())
			require.NoError(t, st.close())
			for _, name := range lost {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
			}
			r := run(t, func(c *Config) { c.State = dir })
			r.panel(r.token).ok("get_permissions", nil, nil)
		})
	}
}

func TestStateThatIsNotInOrder(t *testing.T) {
	t.Parallel()
	stopped := func(t *testing.T) Config {
		r := run(t, nil)
		require.NoError(t, r.stop())
		return r.cfg
	}
	t.Run("the journal is gone", func(t *testing.T) {
		cfg := stopped(t)
		kept := filepath.Join(t.TempDir(), "journal")
		require.NoError(t, os.Rename(filepath.Join(cfg.State, "journal"), kept))
		err := fails(t, cfg)
		assert.Equal(t, 65, ExitCode(err), "%v", err)
		assert.NoDirExists(t, filepath.Join(cfg.State, "journal"), "nothing is repaired on the quiet")
		require.NoError(t, os.Rename(kept, filepath.Join(cfg.State, "journal")))
	})
	t.Run("the journal is damaged", func(t *testing.T) {
		cfg := stopped(t)
		segs, err := filepath.Glob(filepath.Join(cfg.State, "journal", "seg-*.db"))
		require.NoError(t, err)
		b, err := os.ReadFile(segs[0])
		require.NoError(t, err)
		at := strings.Index(string(b), `"kind":"daemon.started"`)
		require.Positive(t, at)
		broken := append([]byte{}, b...)
		for i := range broken { // whatever copies of it pages hold
			if strings.HasPrefix(string(broken[i:min(len(broken), i+23)]), `"kind":"daemon.started"`) {
				broken[i+8] = 'D'
			}
		}
		require.NoError(t, os.WriteFile(segs[0], broken, 0o600))
		err = fails(t, cfg)
		assert.Equal(t, 65, ExitCode(err), "%v", err)
		assert.ErrorContains(t, err, "record 0")
		require.NoError(t, os.WriteFile(segs[0], b, 0o600))
	})
	t.Run("id is gone, records are there", func(t *testing.T) {
		cfg := stopped(t)
		require.NoError(t, os.Remove(filepath.Join(cfg.State, "id")))
		assert.Equal(t, 78, ExitCode(fails(t, cfg)))
	})
	for _, name := range []string{"id", "main-token", "jwt.key"} {
		t.Run(name+" is cut short", func(t *testing.T) {
			cfg := stopped(t)
			require.NoError(t, os.WriteFile(filepath.Join(cfg.State, name), []byte("x"), 0o600))
			assert.Equal(t, 78, ExitCode(fails(t, cfg)))
		})
		t.Run(name+" cannot be read", func(t *testing.T) {
			cfg := stopped(t)
			file := filepath.Join(cfg.State, name)
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Mkdir(file, 0o700)) // root reads everything but this
			assert.Equal(t, 74, ExitCode(fails(t, cfg)))
			assert.DirExists(t, file)
		})
	}
	t.Run("the path is a pattern", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data[1]*?")
		r := run(t, func(c *Config) { c.State = filepath.Join(dir, "state") })
		require.NoError(t, r.stop())
		restart(t, r.cfg)
	})
	t.Run("it lies in the served tree", func(t *testing.T) {
		dir := t.TempDir()
		cfg := Config{Root: dir, State: filepath.Join(dir, "waybill-data", "state"), Listen: "127.0.0.1:0"}
		assert.Equal(t, 78, ExitCode(fails(t, cfg)))
		assert.NoDirExists(t, filepath.Join(dir, "waybill-data"))
		assert.NoDirExists(t, filepath.Join(dir, ".waybill"))
	})
	t.Run("it is a directory of others", func(t *testing.T) {
		dir, root := t.TempDir(), filepath.Join(t.TempDir(), "root")
		require.NoError(t, os.Chmod(dir, 0o755))
		theirs := filepath.Join(dir, "theirs")
		require.NoError(t, os.WriteFile(theirs, nil, 0o600))
		cfg := Config{Root: root, State: dir, Listen: "127.0.0.1:0"}
		assert.Equal(t, 78, ExitCode(fails(t, cfg)))
		fi, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o755), fi.Mode().Perm(), "not ours to close")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1)
	})
	t.Run("it was made by hand, or restored", func(t *testing.T) {
		r := run(t, func(c *Config) {
			require.NoError(t, os.MkdirAll(c.State, 0o755))
			require.NoError(t, os.Mkdir(filepath.Join(c.State, "lost+found"), 0o700))
		})
		require.NoError(t, r.stop())
		require.NoError(t, os.Chmod(r.cfg.State, 0o777))
		require.NoError(t, os.Remove(filepath.Join(r.cfg.State, "lock")))
		restart(t, r.cfg)
		fi, err := os.Stat(r.cfg.State)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	})
	t.Run("the main token was edited", func(t *testing.T) {
		cfg := stopped(t)
		token := strings.Repeat("Ab12", 8)
		require.NoError(t, os.WriteFile(filepath.Join(cfg.State, "main-token"), []byte(token+"\n"), 0o600))
		r := restart(t, cfg)
		r.panel(token).ok("get_permissions", nil, nil)
	})
}

// A journal that this version cannot follow, a newer one's perhaps, refuses to
// start, and the record is named.
func TestRecordOfAnUnknownKind(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	require.NoError(t, r.stop())
	log, err := journal.Open(filepath.Join(r.cfg.State, "journal"), journal.Options{})
	require.NoError(t, err)
	n := log.Head().Size
	line := journal.AppendRecord(nil, &journal.Record{Seq: n, At: log.LastAt(), Kind: "node.created", Ref: "x", Body: []byte(`{}`)})
	require.NoError(t, log.Append([][]byte{line}))
	require.NoError(t, log.Close())
	err = fails(t, r.cfg)
	assert.Equal(t, 65, ExitCode(err), "%v", err)
	assert.ErrorContains(t, err, fmt.Sprintf("record %d", n))
}

// A daemon that was killed may have its locks a moment longer: the next one waits.
func TestAStartWaitsForTheLocks(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(Config) string{
		"STATE": func(c Config) string { return filepath.Join(c.State, "lock") },
		"ROOT":  func(c Config) string { return filepath.Join(c.Root, ".waybill", "lock") },
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil)
			require.NoError(t, r.stop())
			var log syncBuffer
			cfg := r.cfg
			cfg.Logger, cfg.LockWithin = zerolog.New(&log), patience
			held, err := fsview.LockFile(path(cfg))
			require.NoError(t, err)
			go func() {
				for !strings.Contains(log.String(), "waiting for another daemon to end") {
					time.Sleep(time.Millisecond)
				}
				held.Close()
			}()
			restart(t, cfg).panel(r.token).ok("ping", nil, nil)
		})
	}
	t.Run("told to stop meanwhile", func(t *testing.T) {
		var log syncBuffer
		cfg := Config{Root: t.TempDir(), State: t.TempDir(), Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1,
			Logger: zerolog.New(&log), LockWithin: time.Hour}
		held, err := fsview.LockFile(filepath.Join(cfg.State, "lock"))
		require.NoError(t, err)
		defer held.Close()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- Run(ctx, cfg) }()
		require.True(t, soon(func() bool { return strings.Contains(log.String(), "waiting for another daemon to end") }))
		cancel()
		assert.ErrorIs(t, within(t, done, "the end of the start"), fsview.ErrLocked)
	})
}

func TestOneDaemonOnly(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	t.Run("same STATE", func(t *testing.T) {
		cfg := r.cfg
		cfg.Root, cfg.LockWithin = t.TempDir(), time.Millisecond
		err := fails(t, cfg)
		assert.Equal(t, 75, ExitCode(err))
		assert.ErrorContains(t, err, fmt.Sprint("pid ", os.Getpid()))
	})
	t.Run("same ROOT", func(t *testing.T) {
		cfg := r.cfg
		cfg.State, cfg.LockWithin = t.TempDir(), time.Millisecond
		err := fails(t, cfg)
		assert.Equal(t, 75, ExitCode(err))
		assert.ErrorContains(t, err, fmt.Sprint("pid ", os.Getpid()))
	})
	t.Run("same address", func(t *testing.T) {
		cfg := r.cfg
		cfg.Root, cfg.State, cfg.Listen = t.TempDir(), t.TempDir(), r.addr
		assert.Equal(t, 73, ExitCode(fails(t, cfg)))
	})
	t.Run("little space", func(t *testing.T) {
		cfg := r.cfg
		cfg.Root, cfg.State, cfg.MinFree = t.TempDir(), t.TempDir(), 1<<60
		assert.Equal(t, 75, ExitCode(fails(t, cfg)))
	})
	t.Run("ROOT is a file", func(t *testing.T) {
		cfg := r.cfg
		cfg.State, cfg.Root = t.TempDir(), filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(cfg.Root, nil, 0o600))
		assert.Equal(t, 73, ExitCode(fails(t, cfg)))
	})
	t.Run("STATE is a file", func(t *testing.T) {
		cfg := r.cfg
		cfg.State = filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(cfg.State, nil, 0o600))
		assert.Equal(t, 73, ExitCode(fails(t, cfg)))
	})
	r.panel(r.token).ok("get_permissions", nil, nil)
}

func TestStateMovedToAnotherRoot(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	p := r.panel(r.token)
	p.upload("a", 10)
	_ = p.ws.CloseNow()
	require.NoError(t, r.stop())
	other := r.cfg
	other.Root = filepath.Join(t.TempDir(), "elsewhere")
	err := fails(t, other)
	assert.Equal(t, 78, ExitCode(err))
	assert.NoDirExists(t, other.Root, "nothing is touched")
	require.NoError(t, os.Mkdir(other.Root, 0o755))
	assert.Equal(t, 78, ExitCode(fails(t, other)))
	left, err := os.ReadDir(other.Root)
	require.NoError(t, err)
	assert.Empty(t, left)
	restart(t, r.cfg)
}

// While a start is held up, the process is alive and not ready.
func TestAliveWhileStarting(t *testing.T) {
	entered, hold := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	dir := t.TempDir()
	addr := fmt.Sprint("127.0.0.1:", freePort(t))
	cfg := Config{Root: dir + "/r", State: dir + "/s", Listen: addr, Reserve: -1, MinFree: 1}
	cfg.JournalFault = func(op string, do func() error) error {
		if op == "commit" && once.CompareAndSwap(false, true) {
			close(entered)
			<-hold
		}
		return do()
	}
	ready := make(chan string, 1)
	cfg.Ready = func(a string) { ready <- a }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	within(t, entered, "no commit")
	r := &rig{t: t, addr: addr}
	code, _, _ := r.do("GET", "/healthz", "")
	assert.Equal(t, 200, code)
	for _, path := range []string{"/readyz", "/info", "/metrics", "/api/v1", "/x"} {
		code, _, _ = r.do("GET", path, "")
		assert.Equal(t, 503, code, path)
	}
	close(hold)
	within(t, ready, "never ready")
	code, _, _ = r.do("GET", "/readyz", "")
	assert.Equal(t, 200, code)
	cancel()
	require.NoError(t, within(t, done, "does not stop"))
}

// A stop finishes what was asked before it and says why it closes.
func TestStopAnswersFirst(t *testing.T) {
	t.Parallel()
	hold, entered := make(chan struct{}), make(chan struct{}, 1)
	var armed atomic.Bool
	r := run(t, func(c *Config) {
		c.FileFault = func(op, _ string, do func() error) error {
			if op == "staged.sync" && armed.Load() {
				entered <- struct{}{}
				<-hold
			}
			return do()
		}
	})
	p := r.panel(r.token)
	idle := r.panel(r.token)
	id := p.upload("f", 4)
	armed.Store(true)
	ref := p.chunk(id, 0, []byte("abc"))
	within(t, entered, "no sync")
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	code, reason := idle.closed()
	assert.Equal(t, websocket.StatusGoingAway, code)
	assert.Equal(t, "daemon exit", reason)
	_, err := r.dial(r.token)
	require.Error(t, err, "accepts no more")
	close(hold)
	got := p.reply()
	assert.Equal(t, ref, got.ID)
	assert.Equal(t, "ok", got.Status)
	code, _ = p.closed()
	assert.Equal(t, websocket.StatusGoingAway, code)
	require.NoError(t, within(t, stopped, "does not stop"))
}

// When the journal cannot be written, nothing is acknowledged and the daemon
// ends with 74.
func TestJournalFails(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := Config{Root: dir + "/r", State: dir + "/s", Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1}
	cfg.JournalFault = func(op string, do func() error) error {
		if op == "commit" && broken.Load() {
			return syscall.EIO
		}
		return do()
	}
	ready := make(chan string, 1)
	cfg.Ready = func(a string) { ready <- a }
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	r := &rig{t: t, addr: within(t, ready, "never ready")}
	token, err := os.ReadFile(dir + "/s/main-token")
	require.NoError(t, err)
	p := r.panel(string(token))
	p.ok("get_permissions", nil, nil)
	broken.Store(true)
	p.ask("get_permissions", nil)
	rctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	_, msg, err := p.ws.Read(rctx)
	require.Error(t, err, "no reply without a record: %s", msg)
	err = within(t, done, "does not end")
	assert.Equal(t, 74, ExitCode(err), "%v", err)
	_, err = journal.Verify(t.Context(), dir+"/s/journal")
	require.NoError(t, err)
}

func TestNotify(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	require.NoError(t, err)
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", sock)
	t.Setenv("WATCHDOG_USEC", "20000")
	next := func() string {
		b := make([]byte, 64)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		n, err := c.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	var armed atomic.Bool
	hold := make(chan struct{})
	r := run(t, func(c *Config) {
		c.JournalFault = func(op string, do func() error) error {
			if op == "commit" && armed.Load() {
				<-hold
			}
			return do()
		}
	})
	assert.Equal(t, "READY=1", next())
	assert.Equal(t, "WATCHDOG=1", next())

	// A core that hangs does not look healthy.
	armed.Store(true)
	p := r.panel(r.token)
	ref := p.ask("get_permissions", nil)
	assert.True(t, soon(func() bool {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*20*time.Millisecond)))
		_, err := c.Read(make([]byte, 64))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}), "systemd is never left without a sign")
	close(hold)
	assert.Equal(t, ref, p.reply().ID)
	assert.Equal(t, "WATCHDOG=1", next())

	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for next() != "STOPPING=1" {
	}
	require.NoError(t, within(t, stopped, "does not stop"))
}

// A disk that hangs does not keep a stop from ending, neither while serving
// nor while what a crash cut short is redone.
func TestStopOfADaemonThatHangs(t *testing.T) {
	for _, c := range []struct {
		name, op string
		starting bool
	}{
		{"a file, while serving", "target.rename", false},
		{"a file, while starting", "target.rename", true},
		{"the journal, while serving", "commit", false},
		{"the journal, while starting", "commit", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := Config{Root: dir + "/r", State: dir + "/s", Listen: "127.0.0.1:0", Reserve: -1, MinFree: 1}
			t.Run("an upload that could not be put in place", func(t *testing.T) {
				cfg := cfg
				cfg.FileFault = func(op, _ string, do func() error) error {
					if op == "target.rename" {
						return syscall.EIO
					}
					return do()
				}
				r := restart(t, cfg)
				p := r.panel(r.token)
				p.chunk(p.upload("f", 3), 0, []byte("abc"))
				require.Equal(t, 21000, p.reply().Retcode)
			})
			var armed atomic.Bool
			armed.Store(c.starting)
			entered, hold := make(chan struct{}, 10), make(chan struct{})
			hang := func(op string, do func() error) error {
				if op == c.op && armed.Load() {
					entered <- struct{}{}
					<-hold
				}
				return do()
			}
			cfg.JournalFault = hang
			cfg.FileFault = func(op, _ string, do func() error) error { return hang(op, do) }
			cfg.StopWithin, cfg.CloseWithin = 300*time.Millisecond, 50*time.Millisecond
			ready, done := make(chan string, 1), make(chan error, 1)
			cfg.Ready = func(addr string) { ready <- addr }
			defer func() {
				close(hold)
				assert.True(t, soon(func() bool { return !bytes.Contains(stacks(), []byte("actions.(*Engine)")) }))
			}()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { done <- Run(ctx, cfg) }()
			if !c.starting {
				r := &rig{t: t, addr: within(t, ready, "never ready")}
				token, err := os.ReadFile(dir + "/s/main-token")
				require.NoError(t, err)
				p := r.panel(string(token))
				id := p.upload("g", 3)
				armed.Store(true)
				p.chunk(id, 0, []byte("abc"))
			}
			within(t, entered, "nothing hangs")
			cancel()
			require.ErrorIs(t, within(t, done, "does not end"), errHung)
		})
	}
}
