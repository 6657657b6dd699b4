package actions

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// firstSample is how long the first reading of CPU usage takes: there is
	// no earlier one to compare with.
	firstSample = 100 * time.Millisecond
	// usageEvery is the shortest time CPU usage is taken over: the kernel
	// counts in ticks of 10 ms, so over less a percentage says nothing.
	usageEvery = 100 * time.Millisecond
)

// systemProbe reads what the kernel tells about the machine. The zero value
// reads the machine it runs on. It may be used by many goroutines.
type systemProbe struct {
	root string // in which etc and proc are; "/" if empty

	mu    sync.Mutex // guards what follows, held while the first sample is taken
	last  cpuTicks
	at    time.Time // when last was read; zero before the first time
	usage float64   // percent, as of last
}

// read returns all but the drive. What the machine does not tell is left
// empty, except its memory and its CPU times, which are an error.
func (p *systemProbe) read(ctx context.Context) (SystemInfo, error) {
	mem, err := p.memory()
	if err != nil {
		return SystemInfo{}, err
	}
	usage, err := p.cpuUsage(ctx)
	if err != nil {
		return SystemInfo{}, err
	}
	cpu := p.processor()
	cpu.Usage = usage
	return SystemInfo{OS: OSInfo{Name: p.osName(), Arch: runtime.GOARCH}, CPU: cpu, Mem: mem}, nil
}

func (p *systemProbe) file(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join("/", p.root, name))
}

// osName is PRETTY_NAME of os-release(5), or what the program was built for.
func (p *systemProbe) osName() string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		raw, err := p.file(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				if v = unquoteShell(v); v != "" {
					return v
				}
			}
		}
	}
	return runtime.GOOS
}

// unquoteShell undoes the quoting os-release(5) allows: one pair of quotes, in
// which, if double, a backslash escapes.
func unquoteShell(v string) string {
	if len(v) < 2 || v[0] != v[len(v)-1] || v[0] != '"' && v[0] != '\'' {
		return v
	}
	quote, v := v[0], v[1:len(v)-1]
	if quote == '\'' {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) {
			i++
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// processor reads the model of the first CPU and counts them. Where the
// kernel names neither, as on some ARM machines, the architecture stands in.
func (p *systemProbe) processor() CPUInfo {
	var cpu CPUInfo
	raw, _ := p.file("proc/cpuinfo") // without it there is still a count
	scan := bufio.NewScanner(bytes.NewReader(raw))
	for scan.Scan() {
		key, value, _ := strings.Cut(scan.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			cpu.Count++
		case "vendor_id", "CPU implementer":
			if cpu.Vendor == "" {
				cpu.Vendor = value
			}
		case "model name", "Model", "cpu model":
			if cpu.Name == "" {
				cpu.Name = value
			}
		}
	}
	if cpu.Count == 0 {
		cpu.Count = runtime.NumCPU()
	}
	if cpu.Name == "" {
		cpu.Name = runtime.GOARCH
	}
	return cpu
}

// memory reads the memory in KiB. Free is what programs could still have:
// MemAvailable, or MemFree on kernels that do not estimate it.
func (p *systemProbe) memory() (MemInfo, error) {
	raw, err := p.file("proc/meminfo")
	if err != nil {
		return MemInfo{}, fmt.Errorf("read meminfo: %w", err)
	}
	found := map[string]uint64{}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(line, ":")
		if f := strings.Fields(value); len(f) > 0 {
			if n, err := strconv.ParseUint(f[0], 10, 64); err == nil {
				found[key] = n
			}
		}
	}
	mem := MemInfo{Total: found["MemTotal"], Free: found["MemFree"]}
	if n, ok := found["MemAvailable"]; ok {
		mem.Free = n
	}
	if mem.Total == 0 {
		return MemInfo{}, fmt.Errorf("read meminfo: no MemTotal")
	}
	return mem, nil
}

// cpuTicks is the time all CPUs together spent since boot.
type cpuTicks struct{ busy, total uint64 }

// cpuUsage returns the percentage of all CPUs' time that was used since it was
// last asked for. Only the first call waits, until ctx is done at most.
func (p *systemProbe) cpuUsage(ctx context.Context) (float64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() {
		first, err := p.ticks()
		if err != nil {
			return 0, err
		}
		wait := time.NewTimer(firstSample)
		defer wait.Stop()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-wait.C:
		}
		p.last = first
	} else if time.Since(p.at) < usageEvery {
		return p.usage, nil
	}
	now, err := p.ticks()
	if err != nil {
		return 0, err
	}
	p.usage = usageBetween(p.last, now)
	p.last, p.at = now, time.Now()
	return p.usage, nil
}

// usageBetween is the share of busy time between two readings, in percent.
// The kernel's idle counters may run backwards by a tick.
func usageBetween(a, b cpuTicks) float64 {
	if b.total <= a.total || b.busy <= a.busy {
		return 0
	}
	return min(100, 100*float64(b.busy-a.busy)/float64(b.total-a.total))
}

// ticks reads the summary line of /proc/stat (proc_stat(5)): user, nice,
// system, idle, iowait, irq, softirq, steal; guest time is part of user.
func (p *systemProbe) ticks() (cpuTicks, error) {
	raw, err := p.file("proc/stat")
	if err != nil {
		return cpuTicks{}, fmt.Errorf("read CPU times: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	f := strings.Fields(line)
	if len(f) < 5 || f[0] != "cpu" {
		return cpuTicks{}, fmt.Errorf("read CPU times: no summary line")
	}
	var t cpuTicks
	for i, s := range f[1:min(len(f), 9)] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return cpuTicks{}, fmt.Errorf("read CPU times: %w", err)
		}
		t.total += n
		if i != 3 && i != 4 { // idle, iowait
			t.busy += n
		}
	}
	return t, nil
}
