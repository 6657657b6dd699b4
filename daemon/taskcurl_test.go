package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/sessions"
)

// curl is a client that somebody else wrote. Its output is returned when it
// fails, for the test to tell.
type curl struct {
	t   testing.TB
	bin string
	dir string
}

func newCurl(t testing.TB) *curl {
	t.Helper()
	bin, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed: its transfers are not tried")
	}
	return &curl{t, bin, t.TempDir()}
}

func (c *curl) run(args ...string) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	// An empty configuration: whoever runs the tests may have one.
	cmd := exec.CommandContext(ctx, c.bin, append([]string{"-q", "-sS", "--noproxy", "*"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}

func (c *curl) file(name string, data []byte) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.WriteFile(path, data, 0o600))
	return path
}

func (c *curl) same(path string, data []byte) {
	c.t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(c.t, err)
	assert.Equal(c.t, hexSum(data), hexSum(got))
}

// ftpArgs is what curl needs for a task.
func (r *taskRig) ftpArgs(o *actions.TaskOpened, more ...string) []string {
	_, port, err := net.SplitHostPort(r.listening["ftp"])
	require.NoError(r.t, err)
	return append(more, "--ssl-reqd", "-k", "-u", o.ID+":"+o.Token, "ftp://127.0.0.1:"+port+"/"+o.FakeName)
}

func TestCurlOverFTPS(t *testing.T) {
	t.Parallel()
	c := newCurl(t)
	r := runTasks(t, nil)
	data := random(1<<20 + 77)
	for _, mode := range []string{"--disable-epsv", "--ftp-pasv"} { // PASV; EPSV
		for _, version := range []string{"1.2", "1.3"} {
			o := r.create()
			require.NoError(t, c.run(r.ftpArgs(o, mode, "--tls-max", version, "-T", c.file("up", data))...))
			r.shows(o, data)
			back := r.read(o)
			down := filepath.Join(c.dir, "down")
			require.NoError(t, c.run(r.ftpArgs(back, mode, "--tls-max", version, "-o", down)...))
			c.same(down, data)
			assert.Equal(t, sessions.Closed, r.status(back).State)
			assert.Error(t, c.run(r.ftpArgs(back, "-o", down)...), "read to its end")
		}
	}

	// Resumed, up and down.
	o := r.create()
	r.part(o, data[:400_000])
	require.NoError(t, c.run(r.ftpArgs(o, "-C", "-", "-T", c.file("up", data))...))
	r.shows(o, data)
	back := r.read(o)
	require.NoError(t, c.run(r.ftpArgs(back, "-C", "-", "-o", c.file("part", data[:300_000]))...))
	c.same(filepath.Join(c.dir, "part"), data)

	// Appended, and nothing at all.
	o = r.create()
	r.part(o, data[:10])
	require.NoError(t, c.run(r.ftpArgs(o, "-a", "-T", c.file("up", data[10:]))...))
	r.shows(o, data)
	o = r.write(o)
	require.NoError(t, c.run(r.ftpArgs(o, "-T", c.file("empty", nil))...))
	r.shows(o, nil)

	// Part of a file does not finish its task.
	o = r.stored(data)
	back = r.read(o)
	part := filepath.Join(c.dir, "range")
	require.NoError(t, c.run(r.ftpArgs(back, "-r", "100-199", "-o", part)...))
	c.same(part, data[100:200])
	assert.Equal(t, sessions.Open, r.status(back).State)

	// With the certificate instead of -k.
	o = r.create()
	args := r.ftpArgs(o, "-T", c.file("up", data), "--cacert", filepath.Join(r.cfg.State, dirTLS, fileFTPCert))
	for i, a := range args {
		if a == "-k" {
			args[i] = "-v"
		}
	}
	require.NoError(t, c.run(args...))
	r.shows(o, data)

	// In clear, actively, and with a wrong token: refused.
	o = r.create()
	clear := r.ftpArgs(o, "-T", c.file("up", data))
	for i, a := range clear {
		if a == "--ssl-reqd" {
			clear[i] = "-sS"
		}
	}
	assert.Error(t, c.run(clear...))
	assert.Error(t, c.run(r.ftpArgs(o, "-P", "-", "-T", c.file("up", data))...))
	wrong := *o
	wrong.Token = "wrong"
	assert.Error(t, c.run(r.ftpArgs(&wrong, "-T", c.file("up", data))...))
	r.keeps(o, nil, nil)
}

func TestCurlOverHTTP(t *testing.T) {
	t.Parallel()
	c := newCurl(t)
	r := runTasks(t, nil)
	data := random(1<<20 + 77)
	args := func(o *actions.TaskOpened, more ...string) []string {
		return append(more, "-f", "-H", "Authorization: Bearer "+o.Token, "http://"+r.addr+taskURL(o))
	}
	o := r.create()
	require.NoError(t, c.run(args(o, "-o", os.DevNull, "-T", c.file("up", data))...))
	r.shows(o, data)
	back := r.read(o)
	down := filepath.Join(c.dir, "down")
	require.NoError(t, c.run(args(back, "-o", down)...))
	c.same(down, data)
	require.NoError(t, c.run(args(back, "-C", "-", "-o", c.file("part", data[:300_000]))...))
	c.same(filepath.Join(c.dir, "part"), data)
	require.NoError(t, c.run(args(back, "-r", "5-14", "-o", down)...))
	c.same(down, data[5:15])

	o = r.write(o)
	r.part(o, data[:500_000])
	require.NoError(t, c.run(args(o, "-X", "PATCH", "-H", headerOffset+": 500000", "-H", headerComplete+": ?1",
		"-o", os.DevNull, "--data-binary", "@"+c.file("rest", data[500_000:]))...))
	r.shows(o, data)
}
