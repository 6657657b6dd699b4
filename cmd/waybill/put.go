package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxUpload is the largest file the protocol carries.
	maxUpload = 1<<31 - 1
	// noteSuffix is appended to the name of the file a put sends.
	noteSuffix = ".waybill-put"
	// maxRestarts bounds how often one run opens a new session because the
	// daemon knows the old one no longer.
	maxRestarts = 3
)

// transferFlags are those of put and get.
type transferFlags struct {
	RetryFor time.Duration `default:"10m" min:"0s" placeholder:"TIME" help:"How long to go on trying without getting anywhere (${default})."`
	Chunk    byteSize      `default:"1MiB" min:"512" max:"8MiB" placeholder:"SIZE" help:"Bytes a request (${default})."`
	InFlight int           `default:"8" min:"1" max:"64" placeholder:"N" help:"Requests under way at once (${default})."`
	JSON     bool          `help:"Result as one JSON object, progress as JSON lines on stderr."`
}

type putCmd struct {
	remote
	transferFlags
	SessionTimeout time.Duration `default:"1h" min:"1s" max:"24h" placeholder:"TIME" help:"How long the daemon keeps an upload that nobody goes on with (${default})."`

	File string `arg:"" name:"file" help:"The file to send."`
	Path string `arg:"" name:"path" optional:"" help:"Where it goes; a directory if it ends in a slash. Its own name if left out."`
}

// putNote is what FILE.waybill-put holds: the file as it was, where it goes,
// and the session. Asked is set while a request for one is unanswered.
type putNote struct {
	URL     string        `json:"url"`
	Path    string        `json:"path"`
	File    string        `json:"file"`
	Size    int64         `json:"size"`
	MtimeNS int64         `json:"mtime_ns"`
	SHA1    string        `json:"sha1"`
	Timeout time.Duration `json:"timeout_ns"`
	Asked   bool          `json:"asked,omitempty"`
	ID      string        `json:"file_id,omitempty"`
}

// same reports whether n is about the same file, unchanged, on its way to the
// same place.
func (n putNote) same(o putNote) bool {
	return n.URL == o.URL && n.Path == o.Path && n.File == o.File && n.Size == o.Size && n.MtimeNS == o.MtimeNS
}

// putter is one run of put.
type putter struct {
	cmd    *putCmd
	file   *os.File
	report *report
	note   *note
	tries  patience

	at       putNote   // the session as known
	other    *putNote  // what the note said, if that is with another daemon
	fresh    bool      // nothing was stored in it yet
	resumed  bool      // by an earlier run
	restarts int       // sessions given up in this run
	received int64     // as last told by the daemon
	sent     int64     // bytes acknowledged in this run
	end      uploadEnd // set when attempt returns nil
}

// uploadEnd is the result of put.
type uploadEnd struct {
	File    string `json:"file"`
	URL     string `json:"url"`
	Path    string `json:"path"`
	ID      string `json:"file_id"`
	Size    int64  `json:"size"`
	SHA1    string `json:"sha1"`
	Sent    int64  `json:"sent"`
	Resumed bool   `json:"resumed"`
}

// Run sends the file. It ends with what file_upload_status says, whatever
// happened on the way.
func (c *putCmd) Run(ctx context.Context, a *app) error {
	file, at, err := c.open()
	if err != nil {
		return err
	}
	defer file.Close()
	p := &putter{cmd: c, file: file, at: at, report: a.newReport(filepath.Base(c.File), c.JSON)}
	defer p.report.close()
	p.tries = patience{limit: c.RetryFor, say: p.report.say}
	p.note, err = openNote(at.File+noteSuffix, a.stateNote(at.File, noteSuffix))
	if err != nil {
		p.report.say("%s: %v: if this run is stopped, the next one starts anew", c.File, err)
	}
	defer p.note.close()
	if err := keepTrying(ctx, &c.remote, &p.tries, func(s *socket) error { return p.attempt(ctx, s) }); err != nil {
		return fmt.Errorf("%s: %w%s", c.File, err, hint(err, p.at.ID != "" && p.note != nil))
	}
	p.report.close()
	if c.JSON {
		return a.printJSON(p.end)
	}
	_, err = fmt.Fprintf(a.stdout, "%s  %s  %s\n", p.end.SHA1, byteSize(p.end.Size), printable(p.end.Path))
	return err
}

// hint tells what to do about an error that leaves something to go on with.
func hint(err error, resumable bool) string {
	_, signal := errors.AsType[*signalError](err)
	if resumable && (signal || exitCode(err) == exitUnreachable) {
		return "; run the same command again to go on"
	}
	return ""
}

// open opens the local file and says what is to be sent where.
func (c *putCmd) open() (*os.File, putNote, error) {
	abs, err := filepath.Abs(c.File)
	if err != nil {
		return nil, putNote{}, fail(exitIO, "%w", err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, putNote{}, localError("put", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, putNote{}, fail(exitNoInput, "%s: not a regular file", c.File)
	case info.Size() == 0:
		return nil, putNote{}, fail(exitIO, "%s: is empty; the protocol carries no empty files", c.File)
	case info.Size() > maxUpload:
		return nil, putNote{}, fail(exitIO, "%s: %d bytes; the protocol carries at most %d", c.File, info.Size(), maxUpload)
	}
	target := c.Path
	if target == "" || strings.HasSuffix(target, "/") {
		target = path.Join(target, filepath.Base(abs))
	}
	if err := sendable(target); err != nil {
		return nil, putNote{}, err
	}
	file, err := os.Open(abs)
	if err != nil {
		return nil, putNote{}, localError("put", err)
	}
	return file, putNote{
		URL: c.URL.String(), Path: target, File: abs,
		Size: info.Size(), MtimeNS: info.ModTime().UnixNano(),
	}, nil
}

// hash computes the digest the daemon is to hold the file to. It is told
// before the first byte is sent, so that a file which changes meanwhile is
// never put in place.
func (p *putter) hash(ctx context.Context) error {
	h, buf := sha1.New(), make([]byte, 1<<20)
	for off := int64(0); off < p.at.Size; {
		if ctx.Err() != nil {
			return interrupted(ctx, ctx.Err())
		}
		n, err := p.file.ReadAt(buf[:min(int64(len(buf)), p.at.Size-off)], off)
		if n == 0 {
			return p.changed(err)
		}
		h.Write(buf[:n])
		off += int64(n)
	}
	p.at.SHA1 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// changed is the error of a file that is shorter than it was, or unreadable.
func (p *putter) changed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return fail(exitIO, "changed while it was sent")
	}
	return fail(exitIO, "%w", err)
}
