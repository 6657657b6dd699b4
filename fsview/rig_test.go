package fsview

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain: some tests run this binary again, as the second daemon or as the
// one that dies half-way.
func TestMain(m *testing.M) {
	if mode := os.Getenv("FSVIEW_CHILD"); mode != "" {
		child(mode)
		return
	}
	os.Exit(m.Run())
}

const store = "store-1"

// rig is a root with a directory outside it that must stay as it is.
type rig struct {
	*Root
	t       *testing.T
	dir     string // the root
	outside string // beside it
	keep    map[string]bool
}

func newRig(t *testing.T, opt Options) *rig {
	t.Helper()
	base := t.TempDir()
	g := &rig{t: t, dir: filepath.Join(base, "root"), outside: filepath.Join(base, "outside"), keep: map[string]bool{}}
	require.NoError(t, os.MkdirAll(filepath.Join(g.outside, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(g.outside, "secret"), []byte("outside"), 0o644))
	g.open(opt)
	t.Cleanup(g.check)
	return g
}

func (g *rig) open(opt Options) {
	g.t.Helper()
	opt.StoreID = store
	r, err := OpenRoot(g.dir, opt)
	require.NoError(g.t, err)
	g.Root = r
}

// check: nothing outside was touched, nothing staged or half copied is left.
func (g *rig) check() {
	var saw []string
	require.NoError(g.t, filepath.WalkDir(g.outside, func(p string, d fs.DirEntry, err error) error {
		saw = append(saw, strings.TrimPrefix(p, g.outside))
		return err
	}))
	assert.Equal(g.t, []string{"", "/secret", "/sub"}, saw, "outside")
	b, err := os.ReadFile(filepath.Join(g.outside, "secret"))
	require.NoError(g.t, err)
	assert.Equal(g.t, "outside", string(b))
	for _, name := range g.staged() {
		assert.True(g.t, g.keep[name], "left in staging: %s", name)
	}
	assert.NoError(g.t, filepath.WalkDir(g.dir, func(p string, d fs.DirEntry, err error) error {
		assert.False(g.t, strings.HasSuffix(p, ".part"), "left beside a target: %s", p)
		return err
	}))
	assert.NoError(g.t, g.Close())
}

func (g *rig) staged() (names []string) {
	es, err := os.ReadDir(filepath.Join(g.dir, reserved, store, "staging"))
	require.NoError(g.t, err)
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func (g *rig) path(name string) string { return filepath.Join(g.dir, name) }

func (g *rig) write(name, text string) {
	g.t.Helper()
	require.NoError(g.t, os.MkdirAll(filepath.Dir(g.path(name)), 0o755))
	require.NoError(g.t, os.WriteFile(g.path(name), []byte(text), 0o644))
}

func (g *rig) read(name string) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path(name))
	require.NoError(g.t, err)
	return string(b)
}

func (g *rig) mkdir(name string) {
	g.t.Helper()
	require.NoError(g.t, os.MkdirAll(g.path(name), 0o755))
}

func (g *rig) link(text, name string) {
	g.t.Helper()
	require.NoError(g.t, os.MkdirAll(filepath.Dir(g.path(name)), 0o755))
	require.NoError(g.t, os.Symlink(text, g.path(name)))
}

// stage leaves a synced staged file.
func (g *rig) stage(id, text string) {
	g.t.Helper()
	require.NoError(g.t, stage(g.Root, id, text))
}

func stage(r *Root, id, text string) error {
	s, err := r.CreateStaged(id, int64(len(text)))
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return s.Sync()
}

func (g *rig) openText(name string) (string, error) {
	g.t.Helper()
	n, err := ParseName(name)
	if err != nil {
		return "", err
	}
	f, err := g.Open(n)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, f.Size())
	_, err = f.ReadAt(b, 0)
	return string(b), err
}

func name(t *testing.T, s string) Name {
	t.Helper()
	n, err := ParseName(s)
	require.NoError(t, err)
	return n
}

// clean: a message tells nothing about the machine and is one line.
func (g *rig) clean(err error) {
	g.t.Helper()
	require.Error(g.t, err)
	assert.NotContains(g.t, err.Error(), filepath.Dir(g.dir))
	assert.NotContains(g.t, err.Error(), "\n")
}

// ownMounts runs the calling test again in a mount namespace of its own, where
// it may mount; true there. Skips where the system allows none.
func ownMounts(t *testing.T) bool {
	if os.Getenv("FSVIEW_MOUNTS") != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "FSVIEW_MOUNTS=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		t.Skip("no mount namespaces here: ", err)
	}
	require.NoError(t, err, "%s", out)
	if strings.Contains(string(out), "SKIP") {
		t.Skip("no mounts here")
	}
	return false
}

func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("SKIP: no tmpfs here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fails makes a Fault that lets the at-th step (from 1) fail, happened or not.
func fails(at int, happened bool, with error) func(op, name string, do func() error) error {
	n := 0
	return func(op, name string, do func() error) error {
		if n++; n != at {
			return do()
		}
		if happened {
			if err := do(); err != nil {
				return err
			}
		}
		return with
	}
}

func flavour(happened bool) string {
	return fmt.Sprintf("happened=%t", happened)
}
