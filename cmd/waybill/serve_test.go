package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parsed returns the flags of serve as args, env and a file make them.
func parsed(t *testing.T, args []string, env map[string]string) (serveCmd, error) {
	t.Helper()
	var grammar cli
	a := &app{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), getenv: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}}
	_, err := newParser(context.Background(), a, &grammar, func(int) {}).Parse(append([]string{"serve"}, args...))
	return grammar.Serve, err
}

func TestConfigPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "waybill.toml")
	require.NoError(t, os.WriteFile(file, []byte("listen = \"file:1\"\nmax-message = \"8MiB\"\nmax-pending = 7\nmax-file-size = 1000\n"), 0o600))
	env := map[string]string{"WAYBILL_LISTEN": "env:1", "WAYBILL_MAX_MESSAGE": "4MiB", "WAYBILL_STATE": "", "WAYBILL_UNKNOWN": "x"}
	got, err := parsed(t, []string{"--listen", "flag:1", "--config", file}, env)
	require.NoError(t, err)
	assert.Equal(t, "flag:1", got.Listen, "flag over environment")
	assert.Equal(t, byteSize(4<<20), got.MaxMessage, "environment over file")
	assert.Equal(t, 7, got.MaxPending, "file over default")
	assert.Equal(t, byteSize(1000), got.MaxFileSize)
	assert.Equal(t, 3, got.MaxDownloadsPerFile, "default")
	assert.Equal(t, "waybill-data/state", got.State, "an empty variable is none")
	assert.Equal(t, reserveSize(-1), got.Reserve)

	env["WAYBILL_CONFIG"] = file
	got, err = parsed(t, nil, env)
	require.NoError(t, err)
	assert.Equal(t, "env:1", got.Listen)
	assert.Equal(t, 7, got.MaxPending, "the file may be named in the environment")
	// A flag beats a default that equals it as well.
	got, err = parsed(t, []string{"--max-pending", "256"}, env)
	require.NoError(t, err)
	assert.Equal(t, 256, got.MaxPending)
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, says string }{
		"unknown key":    {"max-mesage = 1", "unknown key max-mesage"},
		"unknown table":  {"[serve]\nlisten = \"x\"", "unknown key serve"},
		"config":         {"config = \"x\"", "unknown key config"},
		"not TOML":       {"listen", "expected"},
		"twice":          {"listen = \"a\"\nlisten = \"b\"", "already"},
		"wrong type":     {"max-pending = 1.5", "max-pending"},
		"a list":         {"listen = [\"a\"]", "listen"},
		"not a number":   {"max-pending = \"many\"", "max-pending in "},
		"out of range":   {"max-file-size = \"4GiB\"", "must be at most"},
		"not one of":     {"directory-listing = \"both\"", "joined, split"},
		"negative bytes": {"max-message = -1", "not a size"},
	} {
		file := filepath.Join(t.TempDir(), "waybill.toml")
		require.NoError(t, os.WriteFile(file, []byte(c.file), 0o600))
		_, err := parsed(t, []string{"--config", file}, nil)
		if assert.Error(t, err, name) {
			assert.Equal(t, exitConfig, exitCode(err), name)
			assert.Contains(t, err.Error(), c.says, name)
		}
	}
	_, err := parsed(t, []string{"--config", "/nowhere"}, nil)
	assert.Equal(t, exitConfig, exitCode(err))
	_, err = parsed(t, nil, map[string]string{"WAYBILL_MAX_PENDING": "0"})
	assert.Equal(t, exitConfig, exitCode(err))
	assert.ErrorContains(t, err, "WAYBILL_MAX_PENDING in the environment")
	_, err = parsed(t, []string{"--max-pending", "0"}, nil)
	assert.Equal(t, exitUsage, exitCode(err))
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	require.NoError(t, os.WriteFile(bad, []byte("frob = 1\n"), 0o600))
	place := []string{"--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state")}
	for name, c := range map[string]struct {
		code int
		args []string
	}{
		"unknown flag":      {exitUsage, []string{"--frob"}},
		"bad config":        {exitConfig, []string{"--config", bad}},
		"address in use":    {exitCantCreate, []string{"--listen", taken.Addr().String()}},
		"state is a file":   {exitCantCreate, []string{"--state", bad}},
		"size out of range": {exitUsage, []string{"--max-file-size", "0"}},
		"no password file":  {exitConfig, []string{"--admin-password-file", filepath.Join(dir, "none")}},
		"empty password":    {exitUsage, []string{"--admin-password="}},
		"no certificate":    {exitUsage, []string{"--ftp-key", "k.pem"}},
		"cfms in use":       {exitCantCreate, []string{"--listen", "127.0.0.1:0", "--cfms-listen", taken.Addr().String()}},
		"ftp in use":        {exitCantCreate, []string{"--listen", "127.0.0.1:0", "--ftp-listen", taken.Addr().String()}},
	} {
		r := waybill(t, append(append([]string{"serve"}, place...), c.args...)...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.NotEmpty(t, r.err, name)
	}
}

// A state with uploads under way refuses another root and touches nothing.
func TestServeRefusesAForeignRoot(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 1<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 2<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	put.signal(syscall.SIGKILL)
	s.kill()
	other := filepath.Join(t.TempDir(), "other")
	r := waybill(t, "serve", "--root", other, "--state", s.state, "--listen", "127.0.0.1:0")
	assert.Equal(t, exitConfig, r.code, r.err)
	assert.False(t, exists(other))
}

// The first signal is a clean stop, the second an end on the spot.
func TestSignals(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.stop()

	s.start()
	// A peer that never answers the close keeps the daemon waiting.
	c, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("GET /api/v1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	s.p.signal(syscall.SIGINT)
	s.p.line(func(l string) bool { return strings.Contains(l, `"message":"stopping"`) })
	s.p.signal(syscall.SIGTERM)
	assert.Equal(t, 128+15, s.p.wait())
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := waybill(t, "healthcheck", "--url", s.url())
	assert.Equal(t, result{0, "ready\n", ""}, r)
	s.stop()
	r = waybill(t, "healthcheck", "--url", s.url())
	assert.Equal(t, exitFail, r.code)
	assert.Contains(t, r.err, "not ready")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	r = waybill(t, "healthcheck", "--url", other.URL, "--json")
	assert.Equal(t, exitFail, r.code)
	assert.Contains(t, r.out, `"ready":false`)
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := serve(t)
	args := []string{"doctor", "--root", s.root, "--state", s.state, "--reserve", "0"}
	r := waybill(t, args...)
	require.Zero(t, r.code, r.out)
	assert.Contains(t, r.out, "held by a running daemon: pid ")
	assert.Contains(t, r.out, "known to the root")
	s.stop()
	r = waybill(t, append(args, "--json")...)
	require.Zero(t, r.code, r.out)
	assert.Contains(t, r.out, `"ok":true`)
	assert.Regexp(t, `"check":"journal","status":"ok","detail":"\d+ records`, r.out)

	require.NoError(t, os.Chmod(filepath.Join(s.state, "main-token"), 0o644))
	r = waybill(t, args...)
	assert.Zero(t, r.code, "a warning is no failure")
	assert.Regexp(t, `(?m)^warn  secrets +main-token`, r.out)
	require.NoError(t, os.Chmod(filepath.Join(s.state, "main-token"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(s.state, "password-pepper"), 0o640))
	r = waybill(t, args...)
	assert.Regexp(t, `(?m)^warn  secrets +password-pepper: `, r.out)
	assert.Regexp(t, `(?m)^ok    objects +on the file system of the state$`, r.out)
	require.NoError(t, os.Chmod(filepath.Join(s.state, "password-pepper"), 0o600))

	broken := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.CopyFS(broken, os.DirFS(s.state)))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "journal", "seg-0000000000000000.db"), []byte("x"), 0o600))
	r = waybill(t, "doctor", "--root", s.root, "--state", broken, "--reserve", "0")
	assert.Equal(t, exitFail, r.code)
	assert.Regexp(t, `(?m)^fail  journal `, r.out)

	r = waybill(t, "doctor", "--root", filepath.Dir(s.state), "--state", s.state)
	assert.Equal(t, exitFail, r.code)
	assert.Regexp(t, `(?m)^fail  secrets +.*lies in the served tree`, r.out)

	r = waybill(t, "doctor", "--root", filepath.Join(s.state, "main-token"), "--state", s.state)
	assert.Equal(t, exitFail, r.code)
	assert.Regexp(t, `(?m)^fail  root +.*not a directory`, r.out)
}

// Contents of documents may lie on a file system of their own.
func TestDoctorLooksAtTheContentStore(t *testing.T) {
	t.Parallel()
	x := exam{state: t.TempDir()}
	x.objects()
	assert.Equal(t, "ok", x.findings[0].Status)
	assert.Contains(t, x.findings[0].Detail, "serve makes it")

	elsewhere, err := os.MkdirTemp("/dev/shm", "waybill-*")
	require.NoError(t, err)
	defer os.RemoveAll(elsewhere)
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(x.state, "objects")))
	x.findings = nil
	x.objects()
	require.Len(t, x.findings, 2)
	assert.Equal(t, "objects space", x.findings[0].Check)
	assert.Contains(t, x.findings[0].Detail, "in memory")
	assert.Equal(t, "objects", x.findings[1].Check)
	assert.Contains(t, x.findings[1].Detail, "is writable")
}
