package actions

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	someCPUInfo = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 167\nmodel name\t: Some CPU @ 3 GHz\n\n" +
		"processor\t: 1\nvendor_id\t: Other\nmodel name\t: Other\n"
	someMemInfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\nHugePages_Total:       0\n"
	someStat    = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n"
)

// fakeMachine writes files into a root and returns a probe of it.
func fakeMachine(t *testing.T, files map[string]string) *systemProbe {
	t.Helper()
	p := &systemProbe{root: t.TempDir()}
	for name, text := range files {
		path := filepath.Join(p.root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return p
}

func TestSystemProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakeMachine(t, map[string]string{
			"etc/os-release": "NAME=x\nPRETTY_NAME=\"Some \\\"OS\\\" 1\"\n",
			"proc/cpuinfo":   someCPUInfo, "proc/meminfo": someMemInfo, "proc/stat": someStat,
		})
		stat := filepath.Join(p.root, "proc/stat")
		// 25 of 100 ticks busy while the first sample is taken.
		time.AfterFunc(firstSample/2, func() {
			_ = os.WriteFile(stat, []byte("cpu  120 0 105 775 100 0 0 0 60 0\n"), 0o644)
		})
		info, err := p.read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, SystemInfo{
			OS:  OSInfo{Name: `Some "OS" 1`, Arch: runtime.GOARCH},
			CPU: CPUInfo{Vendor: "GenuineIntel", Name: "Some CPU @ 3 GHz", Count: 2, Usage: 25},
			Mem: MemInfo{Total: 1000, Free: 400},
		}, info)

		// Asked again at once, nothing can have been measured: the same again.
		require.NoError(t, os.WriteFile(stat, []byte("cpu  220 0 105 875 100 0 0 0\n"), 0o644))
		info, err = p.read(t.Context())
		require.NoError(t, err)
		assert.InDelta(t, 25, info.CPU.Usage, 1e-9)

		// Later it is the time since the last reading, without waiting.
		time.Sleep(time.Minute)
		before := time.Now()
		info, err = p.read(t.Context())
		require.NoError(t, err)
		assert.InDelta(t, 50, info.CPU.Usage, 1e-9)
		assert.Equal(t, before, time.Now())

		// Counters that ran backwards are no usage.
		time.Sleep(time.Minute)
		require.NoError(t, os.WriteFile(stat, []byte(someStat), 0o644))
		info, err = p.read(t.Context())
		require.NoError(t, err)
		assert.Zero(t, info.CPU.Usage)
	})
}

func TestSystemProbeFillsIn(t *testing.T) {
	p := fakeMachine(t, map[string]string{"proc/meminfo": "MemTotal: 9 kB\nMemFree: 3 kB\n"})
	assert.Equal(t, runtime.GOOS, p.osName())
	assert.Equal(t, CPUInfo{Name: runtime.GOARCH, Count: runtime.NumCPU()}, p.processor())
	mem, err := p.memory()
	require.NoError(t, err)
	assert.Equal(t, MemInfo{Total: 9, Free: 3}, mem)

	p = fakeMachine(t, map[string]string{"usr/lib/os-release": "PRETTY_NAME='Other'\n"})
	assert.Equal(t, "Other", p.osName())
	p = fakeMachine(t, map[string]string{"etc/os-release": "PRETTY_NAME=Bare\n"})
	assert.Equal(t, "Bare", p.osName())
	p = fakeMachine(t, map[string]string{"etc/os-release": "PRETTY_NAME=\"\"\n"})
	assert.Equal(t, runtime.GOOS, p.osName())
}

func TestSystemProbeFails(t *testing.T) {
	for shows, files := range map[string]map[string]string{
		"no memory":        {"proc/stat": someStat},
		"no total":         {"proc/stat": someStat, "proc/meminfo": "MemFree: 1 kB\n"},
		"no times":         {"proc/meminfo": someMemInfo},
		"no summary":       {"proc/meminfo": someMemInfo, "proc/stat": "cpu0 1 2 3 4\n"},
		"no numbers":       {"proc/meminfo": someMemInfo, "proc/stat": "cpu 1 2 x 4 5\n"},
		"too few counters": {"proc/meminfo": someMemInfo, "proc/stat": "cpu 1 2\n"},
	} {
		t.Run(shows, func(t *testing.T) {
			_, err := fakeMachine(t, files).read(t.Context())
			assert.Error(t, err)
		})
	}
}

func TestSystemProbeStopsWaiting(t *testing.T) {
	p := fakeMachine(t, map[string]string{"proc/meminfo": someMemInfo, "proc/stat": someStat})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.read(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestSystemProbeOfThisMachine(t *testing.T) {
	var p systemProbe
	info, err := p.read(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, info.OS.Name)
	assert.Positive(t, info.CPU.Count)
	assert.Greater(t, info.Mem.Total, info.Mem.Free)
	assert.True(t, info.CPU.Usage >= 0 && info.CPU.Usage <= 100, "%v", info.CPU.Usage)
}
