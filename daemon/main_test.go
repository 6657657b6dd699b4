package daemon

import (
	stdflag "flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// testDir has what tests share. It goes at the end.
var testDir string

// TestMain puts the temporary folders into memory where there is enough of it:
// crashes here are those of the process, and hundreds of starts would mostly
// wait for a disk. That what is called synced is on disk is for the order test in
// cmd/waybill.
func TestMain(m *testing.M) {
	const memory, enough = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") == "" && syscall.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= enough {
		if err := os.Setenv("TMPDIR", memory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	var err error
	if testDir, err = os.MkdirTemp("", "waybill-daemon-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stdflag.Parse()
	if f := stdflag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		// Most of them wait for something, nearly all of the time.
		most := 8
		if raced {
			most = 3
		}
		if err := f.Value.Set(strconv.Itoa(max(most, runtime.GOMAXPROCS(0)))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(testDir) // only clutter is left otherwise
	os.Exit(code)
}
