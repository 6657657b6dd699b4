package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Calibrations take a quarter of a row's time, but not longer than it takes to
// be sure of them.
const longestCal = 500 * time.Millisecond

const (
	calPage  = 4096
	calPiece = 4 << 20
	calFile  = 64 << 20
)

// calibrated measures a row between two measurements of cal, and puts their
// mean beside it. cal is given a folder on the disk that is measured.
func (b *bench) calibrated(row *benchRow, name, unit string, cal func(dir string, d time.Duration) (float64, error), measure func() error) error {
	before, err := cal(b.dir, min(b.time/4, longestCal))
	if err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	if err := measure(); err != nil {
		return err
	}
	after, err := cal(b.dir, min(b.time/4, longestCal))
	if err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	row.Calibration = &benchCal{Name: name, Value: (before + after) / 2, Unit: unit}
	return nil
}

// cal2 is how many commits a second a journal could make at best: four pages
// and fdatasync, one page and fdatasync. The pages were written before, so that
// nothing needs allocating.
func cal2(dir string, d time.Duration) (persec float64, err error) {
	f, done, err := calibrationFile(dir, calFile/8)
	if err != nil {
		return 0, err
	}
	defer done()
	four := make([]byte, 4*calPage)
	const places = calFile / 8 / (4 * calPage)
	n, begun := 0, time.Now()
	for ; n == 0 || time.Since(begun) < d; n++ {
		if _, err := f.WriteAt(four, int64(1+n%(places-1))*int64(len(four))); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(four[:calPage], int64(n%2)*calPage); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// calSeq is how many MB/s the disk takes: 4 MiB and fdatasync at a time.
func calSeq(dir string, d time.Duration) (mbs float64, err error) {
	f, done, err := calibrationFile(dir, calFile)
	if err != nil {
		return 0, err
	}
	defer done()
	piece := slices.Repeat([]byte("waybill\n"), calPiece/8)
	n, begun := 0, time.Now()
	for ; n == 0 || time.Since(begun) < d; n++ {
		if _, err := f.WriteAt(piece, int64(n%(calFile/calPiece))*calPiece); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(n) * calPiece / 1e6 / time.Since(begun).Seconds(), nil
}

// calibrationFile makes a file of size bytes that are all allocated.
func calibrationFile(dir string, size int64) (f *os.File, done func(), err error) {
	if f, err = os.Create(filepath.Join(dir, "calibration")); err != nil {
		return nil, nil, err
	}
	done = func() {
		_ = f.Close() // nobody reads it
		_ = os.Remove(f.Name())
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err = f.WriteAt(zeros, at); err != nil {
			done()
			return nil, nil, err
		}
	}
	if err = f.Sync(); err != nil {
		done()
		return nil, nil, err
	}
	return f, done, nil
}

// calSHA is how many MB/s one core hashes with SHA-256, in long pieces.
func calSHA(_ string, d time.Duration) (mbs float64, err error) {
	piece := make([]byte, 64<<10)
	n, begun := 0, time.Now()
	for ; n == 0 || time.Since(begun) < d; n++ {
		sum := sha256.Sum256(piece)
		copy(piece, sum[:])
	}
	return float64(n) * float64(len(piece)) / 1e6 / time.Since(begun).Seconds(), nil
}

// benchPlace is the file system that a folder is on.
type benchPlace struct {
	Dir    string `json:"dir"`
	Type   string `json:"type"`
	Source string `json:"source"`
	Mount  string `json:"mount"`
	// Memory is set where a sync has nothing to do.
	Memory bool `json:"memory,omitempty"`
}

func (p benchPlace) String() string {
	return fmt.Sprintf("%s (%s on %s, from %s)", filepath.Dir(p.Dir), p.Type, p.Mount, p.Source)
}

// placeOf finds the mount that dir, which exists, is on.
func placeOf(dir string) (benchPlace, error) {
	p := benchPlace{Type: "unknown", Source: "unknown", Mount: "unknown"}
	full, err := filepath.Abs(dir)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return p, err
	}
	p.Dir = full
	var st unix.Statfs_t
	if err := unix.Statfs(full, &st); err != nil {
		return p, err
	}
	p.Memory = st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return p, nil // then only the type is not known
	}
	longest := -1
	for line := range strings.Lines(string(text)) {
		// 36 35 98:0 /root /mount opts… - type source superopts
		mounted, what, ok := strings.Cut(line, " - ")
		before, after := strings.Fields(mounted), strings.Fields(what)
		if !ok || len(before) < 5 || len(after) < 2 {
			continue
		}
		mount := unescapeMount(before[4])
		// The last one of a place covers those before it.
		if within(full, mount) && len(mount) >= longest {
			longest = len(mount)
			p.Type, p.Source, p.Mount = after[0], unescapeMount(after[1]), mount
		}
	}
	return p, nil
}

// within reports whether path is dir or below it; both are clean.
func within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}

// unescapeMount undoes what the kernel does to white space in mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
