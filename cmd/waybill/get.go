package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// partSuffix is that of the bytes fetched so far, getSuffix that of the
	// note about them.
	partSuffix = ".waybill-part"
	getSuffix  = ".waybill-get"
	// maxChanges bounds how often one run begins anew because the file
	// changed at the daemon.
	maxChanges = 10
)

type getCmd struct {
	remote
	transferFlags

	Path string `arg:"" name:"path" help:"The file to fetch."`
	File string `arg:"" name:"file" optional:"" help:"Where to put it; a directory keeps its name. The current directory if left out."`
}

// getNote is what FILE.waybill-get holds: which contents the partial file is
// of, and the session, to be closed by the next run.
type getNote struct {
	URL  string `json:"url"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	SHA1 string `json:"sha1"`
	ID   string `json:"file_id"`
}

// getter is one run of get. The partial file is written strictly in order, so
// its length is what has been fetched.
type getter struct {
	cmd    *getCmd
	target string
	part   *os.File
	report *report
	note   *note
	tries  patience

	at      getNote
	changes int
	hash    hash.Hash // of the partial file
	have    int64     // its length
	kept    int64     // how much of it an earlier run fetched
	fetched int64     // in this run
}

// getEnd is the result of get.
type getEnd struct {
	URL     string `json:"url"`
	Path    string `json:"path"`
	File    string `json:"file"`
	Size    int64  `json:"size"`
	SHA1    string `json:"sha1"`
	Fetched int64  `json:"fetched"`
	Resumed bool   `json:"resumed"`
}

// Run fetches the file into a partial one and renames that over the target
// once its digest agrees.
func (c *getCmd) Run(ctx context.Context, a *app) (err error) {
	if err := sendable(c.Path); err != nil {
		return err
	}
	g := &getter{cmd: c, target: c.local(), report: a.newReport(path.Base(c.Path), c.JSON)}
	defer g.report.close()
	g.tries = patience{limit: c.RetryFor, say: g.report.say}
	g.note, err = openNote(g.target + getSuffix)
	if err != nil {
		return fail(exitCantCreate, "%s: %w", g.target, err)
	}
	defer g.note.close()
	g.part, err = os.OpenFile(g.target+partSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o666)
	if err != nil {
		return fail(exitCantCreate, "%s: %w", g.target, err)
	}
	defer g.part.Close()
	if err := g.run(ctx); err != nil {
		if g.have == 0 {
			g.discard()
		}
		return fmt.Errorf("%s: %w%s", c.Path, err, hint(err, g.have > 0))
	}
	g.report.close()
	end := getEnd{URL: c.URL.String(), Path: c.Path, File: g.target, Size: g.at.Size, SHA1: g.at.SHA1,
		Fetched: g.fetched, Resumed: g.kept > 0}
	if c.JSON {
		return a.printJSON(end)
	}
	_, err = fmt.Fprintf(a.stdout, "%s  %s  %s\n", end.SHA1, byteSize(end.Size), printable(end.File))
	return err
}

// local returns the path of the file to make.
func (c *getCmd) local() string {
	file := c.File
	if file == "" {
		file = "."
	}
	info, err := os.Stat(file)
	if strings.HasSuffix(file, "/") || err == nil && info.IsDir() {
		file = filepath.Join(file, path.Base(strings.ReplaceAll(c.Path, `\`, "/")))
	}
	return file
}

// run fetches and checks, a second time if the first one began with bytes of
// an earlier run: what a crash left of those may not be what was written.
func (g *getter) run(ctx context.Context) error {
	if info, err := os.Stat(g.target); err == nil && !info.Mode().IsRegular() {
		return fail(exitCantCreate, "%s is in the way: not a regular file", g.target)
	}
	for {
		if err := keepTrying(ctx, &g.cmd.remote, &g.tries, func(s *socket) error { return g.attempt(ctx, s) }); err != nil {
			return err
		}
		got := hex.EncodeToString(g.hash.Sum(nil))
		if got == g.at.SHA1 {
			return g.finish()
		}
		again := g.kept > 0
		if err := g.reset(); err != nil {
			return err
		}
		if !again {
			return fail(exitData, "what arrived has the SHA-1 %s, not %s", got, g.at.SHA1)
		}
		g.at.ID = ""
		g.report.say("the partial file of an earlier run was damaged; starting anew")
	}
}

// finish puts the file under its name: contents first, so that the name never
// stands for less than the whole.
func (g *getter) finish() error {
	if err := g.part.Sync(); err != nil {
		return fail(exitIO, "%w", err)
	}
	if err := os.Rename(g.target+partSuffix, g.target); err != nil {
		return fail(exitCantCreate, "%w", err)
	}
	g.note.forget()
	dir, err := os.Open(filepath.Dir(g.target))
	if err != nil {
		return fail(exitIO, "%w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fail(exitIO, "%w", err)
	}
	return nil
}

// discard removes a partial file that holds nothing.
func (g *getter) discard() {
	if info, err := g.part.Stat(); err == nil && info.Size() == 0 {
		os.Remove(g.target + partSuffix)
		g.note.forget()
	}
}

// reset empties the partial file.
func (g *getter) reset() error {
	g.hash, g.have, g.kept = sha1.New(), 0, 0
	if err := g.part.Truncate(0); err != nil {
		return fail(exitIO, "%w", err)
	}
	return nil
}

// adopt goes on with the partial file of an earlier run, if there is one.
func (g *getter) adopt(ctx context.Context) error {
	g.hash = sha1.New()
	info, err := g.part.Stat()
	if err != nil {
		return fail(exitIO, "%w", err)
	}
	if info.Size() > g.at.Size {
		return g.reset()
	}
	n, err := io.Copy(g.hash, io.NewSectionReader(ctxReaderAt{ctx, g.part}, 0, info.Size()))
	if err != nil {
		return interrupted(ctx, fail(exitIO, "%w", err))
	}
	g.have, g.kept = n, n
	return nil
}

// ctxReaderAt is an io.ReaderAt that ends with its context.
type ctxReaderAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (c ctxReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.ReadAt(p, off)
}
