package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var powerLoss = flag.Int("powerloss", 0, "how often the power-loss runs cut the power; 0 leaves them out. They need root and /dev/fuse")

// TestPowerLoss is TestKillLoop on a disk that loses, with each kill, what was not
// synced. Where the crash enumeration looks at every moment of one life, this
// looks at many lives, one after the other, with clients that come back.
func TestPowerLoss(t *testing.T) {
	d := newPowerDisk(t)
	begun := time.Now()
	w := newTorture(t, ground{dir: d.dir, cut: d.cut}, binary)
	d.say("settle") // what was laid there before
	d.seed = w.seed
	for range *powerLoss {
		w.round()
	}
	w.open()
	w.finish()
	w.check()
	w.verdict()
	t.Logf("%d cuts in %s, the last: %s; %+v", d.cuts, time.Since(begun).Round(time.Millisecond), d.last, w.count)
}

// TestPowerLossDocuments is TestPowerLoss for the document library.
func TestPowerLossDocuments(t *testing.T) {
	d := newPowerDisk(t)
	begun := time.Now()
	w := newDocTorture(t, ground{dir: d.dir, cut: d.cut}, librarians, false, binary)
	d.seed = w.seed
	for range *powerLoss {
		w.round()
	}
	w.open()
	w.linger()
	w.raise()
	w.check()
	w.verdict()
	t.Logf("%d cuts in %s, the last: %s; %+v", d.cuts, time.Since(begun).Round(time.Millisecond), d.last, w.count)
}

// TestPowerLossCatches runs daemons on it that sync less than they should: what is
// not synced is lost indeed.
func TestPowerLossCatches(t *testing.T) {
	for _, broken := range []string{"data", "dir"} {
		t.Run("without "+broken, func(t *testing.T) {
			d := newPowerDisk(t)
			w := newTorture(t, ground{dir: d.dir, cut: d.cut}, brokenBuild(t), "WAYBILL_BROKEN="+broken)
			d.say("settle")
			d.seed = w.seed
			const most = 20
			for n := range most {
				w.round()
				if wrong := w.faults(); len(wrong) > 0 {
					t.Logf("caught after %d cuts: %s", n+1, wrong[0])
					return
				}
			}
			t.Errorf("not caught by %d cuts; -torture.seed %d", most, w.seed)
		})
	}
}

// powerDisk is the file system of testdata/powerloss, mounted.
type powerDisk struct {
	t    *testing.T
	dir  string
	in   io.Writer
	out  *bufio.Scanner
	seed uint64
	cuts int
	last string
}

func newPowerDisk(t *testing.T) *powerDisk {
	t.Helper()
	if *powerLoss == 0 {
		t.Skip("takes a while; see -powerloss")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("a file system that loses what is not synced can only be mounted by root, where there is /dev/fuse")
	}
	program := filepath.Join(t.TempDir(), "powerloss")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "testdata", "powerloss")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	d := &powerDisk{t: t, dir: t.TempDir()}
	cmd := exec.Command(program, d.dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	read, err := cmd.StdoutPipe()
	require.NoError(t, err)
	d.in, d.out = in, bufio.NewScanner(read)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // it unmounts, and ends
		assert.NoError(t, cmd.Wait())
	})
	d.answer()
	return d
}

func (d *powerDisk) answer() string {
	d.t.Helper()
	require.True(d.t, d.out.Scan(), "the file system has ended: %v", d.out.Err())
	ok, what, _ := strings.Cut(d.out.Text(), " ")
	require.Equal(d.t, "ok", ok, what)
	return what
}

func (d *powerDisk) say(command string) string {
	d.t.Helper()
	_, err := fmt.Fprintln(d.in, command)
	require.NoError(d.t, err)
	return d.answer()
}

// cut loses what was not synced.
func (d *powerDisk) cut() {
	d.t.Helper()
	d.cuts++
	d.last = d.say(fmt.Sprint("cut ", d.seed+uint64(d.cuts)))
}
