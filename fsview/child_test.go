package fsview

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// died is the exit code of a child that did as it was told.
const died = 42

// child is another process on the root FSVIEW_ROOT.
//
//	lock            tries to serve it too, prints the error
//	crash k h x     uploads "new" to FSVIEW_NAME and dies at durable step k,
//	                after the step if h, across a mount point if x
func child(mode string) {
	root := os.Getenv("FSVIEW_ROOT")
	var k int
	var happened, across bool
	if mode == "lock" {
		_, err := OpenRoot(root, Options{StoreID: "other"})
		fmt.Println(err)
		if errors.Is(err, ErrLocked) {
			os.Exit(died)
		}
		os.Exit(1)
	}
	if _, err := fmt.Sscanf(mode, "crash %d %t %t", &k, &happened, &across); err != nil {
		panic(err)
	}
	step := 0
	r, err := OpenRoot(root, Options{StoreID: store, Fault: func(op, name string, do func() error) error {
		step++
		act := do
		if across && op == "target.rename" && !strings.HasSuffix(os.Getenv("FSVIEW_PASSED"), "x") {
			os.Setenv("FSVIEW_PASSED", "x")
			act = func() error { return unix.EXDEV }
		}
		if step == k {
			if happened {
				act()
			}
			os.Exit(died)
		}
		return act()
	}})
	if err != nil {
		panic(err)
	}
	n, err := ParseName(os.Getenv("FSVIEW_NAME"))
	if err != nil {
		panic(err)
	}
	if err := stage(r, "up", "new"); err != nil {
		panic(err)
	}
	if err := r.Place("up", n); err != nil {
		panic(err)
	}
	os.Exit(0) // fewer than k steps
}

func runChild(mode, root, name string) (code int, out string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FSVIEW_CHILD="+mode, "GORACE=atexit_sleep_ms=0", "FSVIEW_ROOT="+root, "FSVIEW_NAME="+name)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), string(b)
	}
	if err != nil {
		return -1, err.Error()
	}
	return 0, string(b)
}
