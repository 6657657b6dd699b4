package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// progressEvery bounds how often progress is told with --json.
const progressEvery = 250 * time.Millisecond

// report is the talk of a transfer, on stderr: a progress bar on a terminal,
// JSON lines with --json, else only what is out of the ordinary.
type report struct {
	out   io.Writer
	json  bool
	bars  *mpb.Progress // nil unless on a terminal
	title string

	mu   sync.Mutex
	bar  *mpb.Bar
	size int64
	done int64     // as last told
	last time.Time // when
}

func (a *app) newReport(title string, asJSON bool) *report {
	r := &report{out: a.stderr, json: asJSON, title: title}
	if !asJSON && isTerminal(a.stderr) {
		r.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(64))
	}
	return r
}

// isTerminal reports whether w is one.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// say tells something out of the ordinary.
func (r *report) say(format string, args ...any) {
	text := oneLine(fmt.Sprintf(format, args...))
	switch {
	case r.json:
		r.line(map[string]any{"event": "note", "text": text})
	case r.bars != nil:
		fmt.Fprintf(r.bars, "waybill: %s\n", text)
	default:
		fmt.Fprintf(r.out, "waybill: %s\n", text)
	}
}

// at tells that done of size bytes are where they should be.
func (r *report) at(done, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.json:
		if now := time.Now(); now.Sub(r.last) >= progressEvery || done == size && r.done != done {
			r.last, r.done = now, done
			r.line(map[string]any{"event": "progress", "done": done, "size": size})
		}
	case r.bars != nil:
		if r.bar == nil || r.size != size {
			r.drop()
			r.size = size
			r.bar = r.bars.AddBar(size,
				mpb.PrependDecorators(decor.Name(r.title+" "), decor.CountersKibiByte("% .1f / % .1f")),
				mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}),
					decor.EwmaSpeed(decor.SizeB1024(0), " % .1f", 30), decor.EwmaETA(decor.ET_STYLE_GO, 30, decor.WC{W: 8})))
			r.bar.SetCurrent(done) // what an earlier run did says nothing about the speed
			r.last = time.Now()
			return
		}
		now := time.Now()
		r.bar.EwmaSetCurrent(done, now.Sub(r.last))
		r.last = now
	}
}

// close ends the bar; a transfer that failed leaves it as it stands.
func (r *report) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bars != nil {
		if r.bar != nil && !r.bar.Completed() {
			r.bar.Abort(false)
		}
		r.bars.Wait()
		r.bars = nil
	}
}

// drop removes the bar of a file whose size was another.
func (r *report) drop() {
	if r.bar != nil {
		r.bar.Abort(true)
	}
}

func (r *report) line(v any) {
	text, _ := json.Marshal(v)
	r.out.Write(append(text, '\n'))
}
