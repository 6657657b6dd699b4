package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// benchStart is how long a daemon may take to serve, benchStop to end.
	benchStart = 5 * time.Minute
	benchStop  = 20 * time.Second
)

// benchDaemon is the daemon that is measured: one of the run's own, which is this
// very program, or one that somebody else runs.
type benchDaemon struct {
	remote
	// root and state are its folders, ftp is the address of its FTPS; all "" of a
	// daemon that is not the run's own.
	root, state, ftp string
	// idle is its least resident memory so far between two rows, in MiB; spent is
	// the CPU time it had taken when the row began.
	idle  float64
	spent time.Duration

	process *os.Process
	ended   chan struct{} // closed when the process has ended; then err says how
	err     error
}

// startBenchDaemon runs program as a daemon on ports of its own, with its folders
// in dir, which may hold those of an earlier one. It ends with this process at the
// latest.
func startBenchDaemon(ctx context.Context, program, dir string) (*benchDaemon, error) {
	d := &benchDaemon{root: filepath.Join(dir, "files"), state: filepath.Join(dir, "state"), ended: make(chan struct{})}
	cmd := exec.Command(program, "serve", "--root", d.root, "--state", d.state,
		"--listen", "127.0.0.1:0", "--ftp-listen", "127.0.0.1:0", "--log-level", "info")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WAYBILL_") && !strings.HasPrefix(v, "COMP_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// A group of its own: Ctrl-C is told to it once, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, serving := make(chan error, 1), make(chan string, 1)
	go d.run(cmd, started, serving)
	if err := <-started; err != nil {
		return nil, err
	}
	late := time.NewTimer(benchStart)
	defer late.Stop()
	var err error
	select {
	case addr := <-serving:
		d.remote = remote{URL: endpoint{"http://" + addr}, TokenFile: filepath.Join(d.state, "main-token")}
		if err = d.ready(ctx); err == nil {
			d.idle, _ = d.memory()
			return d, nil
		}
	case <-d.ended:
		return nil, fmt.Errorf("the daemon to be measured has ended: %w", d.err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = errors.New("the daemon to be measured does not come to serve")
	}
	return nil, errors.Join(err, d.stop())
}

// run is the life of the daemon's process. It keeps its thread: the process is
// told to end when the thread that started it does.
func (d *benchDaemon) run(cmd *exec.Cmd, started chan<- error, serving chan<- string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	talk, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	d.process = cmd.Process
	started <- err
	if err != nil {
		return
	}
	last := ""
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		var line struct{ Level, Message, Addr, Listener, Error string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			last = lines.Text()
			continue
		}
		switch {
		case line.Level == "error" || line.Level == "fatal":
			last = line.Message + ": " + line.Error
		case line.Listener == "ftp":
			d.ftp = line.Addr // read only after serving was
		case line.Message == "serving":
			serving <- line.Addr // there is one such line
		}
	}
	if d.err = cmd.Wait(); d.err != nil && last != "" {
		d.err = fmt.Errorf("%w: %s", d.err, last)
	}
	close(d.ended)
}

// ready asks whether the daemon says so itself.
func (d *benchDaemon) ready(ctx context.Context) error {
	res, err := d.request(ctx, http.MethodGet, "/readyz", "", nil, "")
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// stop has an own daemon end in order, and waits for it.
func (d *benchDaemon) stop() error { return d.end(syscall.SIGTERM) }

// kill ends an own daemon at once.
func (d *benchDaemon) kill() error {
	err := d.end(syscall.SIGKILL)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
		return nil
	}
	return err
}

func (d *benchDaemon) end(sig syscall.Signal) error {
	if d.process == nil {
		return nil
	}
	if err := d.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the daemon: %w", err)
	}
	select {
	case <-d.ended:
	case <-time.After(benchStop):
		_ = d.process.Kill() // it may have ended just now
		<-d.ended
	}
	if d.err != nil {
		return fmt.Errorf("the daemon that was measured: %w", d.err)
	}
	return nil
}

// memory returns an own daemon's resident memory now and at its peak, in MiB;
// zeros if they cannot be told.
func (d *benchDaemon) memory() (now, peak float64) {
	if d.process == nil {
		return 0, 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Pid))
	if err != nil {
		return 0, 0
	}
	field := func(name string) float64 {
		_, rest, _ := strings.Cut(string(raw), name+":")
		words := strings.Fields(rest)
		if len(words) == 0 {
			return 0
		}
		kib, _ := strconv.ParseFloat(words[0], 64) // 0 is as good as none
		return kib / 1024
	}
	return field("VmRSS"), field("VmHWM")
}

// cpu returns the CPU time that an own daemon has taken; 0 if it cannot be told.
func (d *benchDaemon) cpu() (spent time.Duration) {
	if d.process == nil {
		return 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.process.Pid))
	if err != nil {
		return 0
	}
	const tick = time.Second / 100 // what the kernel counts in, on every architecture
	words := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	for _, at := range []int{11, 12} { // utime, stime
		if at < len(words) {
			n, _ := strconv.ParseInt(words[at], 10, 64) // 0 is as good as none
			spent += tick * time.Duration(n)
		}
	}
	return spent
}

// begin makes the peak of memory begin anew, where the kernel can do that, and the
// CPU time.
func (d *benchDaemon) begin() {
	if d.process == nil {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.process.Pid), []byte("5"), 0)
	now, _ := d.memory()
	d.idle, d.spent = min(d.idle, now), d.cpu()
}

// costs are the details of a row about the daemon itself since begin, if they can be
// told: memory and, if n is not 0, CPU time for each of n things.
func (d *benchDaemon) costs(n float64, each string) benchDetails {
	_, peak := d.memory()
	if peak == 0 {
		return nil
	}
	list := benchDetails{{"peak_MiB", peak}, {"above_idle_MiB", peak - d.idle}}
	if n > 0 {
		list = append(list, benchDetail{"cpu_ms/" + each, ms(d.cpu()-d.spent) / n})
	}
	return list
}

// benchTarget is which daemon is measured.
type benchTarget struct {
	URL       endpoint `name:"url" placeholder:"URL" help:"Measure this daemon, with --token-file, in place of one started for the run. It keeps a file waybill-bench.bin."`
	TokenFile string   `placeholder:"FILE" help:"With --url: file with the token."`
}

// benchCase is a row that needs a daemon, an own one if its FTPS or its folders are
// needed.
type benchCase struct {
	name    string
	measure func(ctx context.Context, d *benchDaemon, row *benchRow) error
	own     bool
}

// served measures the rows that are asked for, with a daemon started for them
// unless there is one.
func (b *bench) served(ctx context.Context, at benchTarget, cases []benchCase) (err error) {
	names := make([]string, len(cases))
	for i := range cases {
		names[i] = cases[i].name
	}
	if !b.wants(names...) {
		return nil
	}
	d := &benchDaemon{remote: remote(at)}
	if at.URL.base == "" {
		if d, err = b.startDaemon(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
	}
	for _, c := range cases {
		if c.own && d.root == "" {
			if b.wants(c.name) {
				b.app.say("%s is left out: it needs a daemon of the run's own", c.name)
			}
			continue
		}
		err := b.row(ctx, c.name, func(_ string, row *benchRow) error { return c.measure(ctx, d, row) })
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, d.once(ctx, err))
		}
	}
	return nil
}

// startDaemon starts this program as a daemon that has nothing to serve. It has been
// started before: what the first start takes is no part of any row.
func (b *bench) startDaemon(ctx context.Context) (*benchDaemon, error) {
	dir, err := os.MkdirTemp(b.dir, "daemon-*")
	if err != nil {
		return nil, err
	}
	first, err := b.startDaemonIn(ctx, dir)
	if err == nil {
		err = first.stop()
	}
	if err != nil {
		return nil, err
	}
	return b.startDaemonIn(ctx, dir)
}

func (b *bench) startDaemonIn(ctx context.Context, dir string) (*benchDaemon, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startBenchDaemon(ctx, program, dir)
}
