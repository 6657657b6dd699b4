package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/coder/websocket"

	"waybill/daemon/panelwire"
)

// downloadTimeout is how long, in ms, the daemon keeps a download nobody goes
// on with. It need not outlast a lost connection: a new one costs little.
const downloadTimeout = 120_000

// attempt takes the download as far as one connection lasts.
func (g *getter) attempt(ctx context.Context, s *socket) error {
	for {
		if g.at.ID == "" {
			if err := g.request(ctx, s); err != nil {
				return err
			}
		}
		err := g.fetch(ctx, s)
		switch {
		case err == nil:
			// The file is here; a session that stays behind expires.
			_ = s.call(ctx, "file_download_close", fileIDParams{g.at.ID}, nil)
			return nil
		case refused(err, codeNoTransfer, codeTransfer):
			// Expired, or the file was changed: ask anew. What was fetched
			// counts if the contents turn out to be the same.
			g.at.ID = ""
			if g.changes++; g.changes > maxChanges {
				return err
			}
		case refused(err, codeRateLimit):
			if err := g.tries.pause(ctx, err); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// request opens a session and decides what of the partial file still counts.
func (g *getter) request(ctx context.Context, s *socket) error {
	first := g.at.URL == ""
	old := g.at
	if first && g.note.load(&old) && old.ID != "" && old.URL == g.cmd.URL.String() {
		// A file can only be downloaded a few times at once: make room.
		if err := s.call(ctx, "file_download_close", fileIDParams{old.ID}, nil); err != nil {
			if _, ok := errors.AsType[*refusal](err); !ok {
				return err
			}
		}
	}
	params := struct {
		Path    string `json:"path"`
		Timeout int    `json:"timeout"`
	}{g.cmd.Path, downloadTimeout}
	var opened struct {
		ID   string `json:"file_id"`
		Size int64  `json:"size"`
		SHA1 string `json:"sha1"`
	}
	for {
		err := s.call(ctx, "file_download_request", params, &opened)
		if err == nil {
			break
		}
		if !refused(err, codeRateLimit) {
			return err
		}
		if err := g.tries.pause(ctx, err); err != nil {
			return err
		}
	}
	g.at = getNote{g.cmd.URL.String(), g.cmd.Path, opened.Size, opened.SHA1, opened.ID}
	same := old.Size == g.at.Size && old.SHA1 == g.at.SHA1
	var err error
	switch {
	case !same:
		err = g.reset()
	case first:
		err = g.adopt(ctx)
	}
	if err == nil {
		err = g.note.save(g.at)
	}
	return err
}

// slot is a chunk on its way.
type slot struct {
	n int64
	w *awaited
}

// fetch asks for the rest with several chunks under way and writes them in
// order. It returns at the first error; replies still to come are dropped,
// and asked for again.
func (g *getter) fetch(ctx context.Context, s *socket) error {
	g.report.at(g.have, g.at.Size)
	var window []slot
	next := g.have
	for {
		for next < g.at.Size && len(window) < g.cmd.InFlight {
			c, err := g.ask(ctx, s, next)
			if err != nil {
				return err
			}
			window = append(window, c)
			next += c.n
		}
		if len(window) == 0 {
			return nil
		}
		c := window[0]
		window = window[1:]
		reply, err := c.w.reply(ctx)
		if err != nil {
			return err
		}
		content, err := reply.Content(int(c.n), true)
		if err != nil {
			return fmt.Errorf("the daemon sent data that cannot be read: %w", err)
		}
		if err := g.write(content); err != nil {
			return err
		}
	}
}

// ask begins the request for the chunk at off.
func (g *getter) ask(ctx context.Context, s *socket, off int64) (slot, error) {
	type params struct {
		ID       string `json:"file_id"`
		Range    string `json:"range"`
		Encoding string `json:"encoding"`
	}
	n := min(int64(g.cmd.Chunk), g.at.Size-off)
	span := strconv.FormatInt(off, 10) + ".." + strconv.FormatInt(off+n, 10)
	w, err := s.begin(ctx, websocket.MessageText, func(id string) []byte {
		return panelwire.AppendRequest(nil, id, "file_download_chunk", params{g.at.ID, span, "base64"})
	})
	return slot{n: n, w: w}, err
}

// write appends a chunk to the partial file.
func (g *getter) write(content []byte) error {
	if _, err := g.part.WriteAt(content, g.have); err != nil {
		return fail(exitIO, "%w", err)
	}
	g.hash.Write(content)
	g.have += int64(len(content))
	g.fetched += int64(len(content))
	g.tries.progress()
	g.report.at(g.have, g.at.Size)
	return nil
}
