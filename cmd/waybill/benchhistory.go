package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"waybill/journal"
)

// history makes the records of a server that has work all day: visits of three
// panels, each of which looks around, uploads a file in pieces and downloads
// one. What it makes depends on its start alone.
type history struct {
	seq    uint64
	at     time.Time
	rand   *rand.PCG
	panels [3]panelVisit
	boot   string
	// answersOnly has it make nothing but answers to small requests, of about
	// 200 bytes.
	answersOnly bool
	// started is when the daemon last did.
	started time.Time
	last    string // kind of the last record
	body    []byte
}

// panelVisit is how far a panel is with what it does.
type panelVisit struct {
	step, pieces     int
	upload, download string
	path             string
}

// historyStep is the mean time from a record to the next: 33,000 records a day.
// Uploads that ended are remembered for a day, so it also says how large the
// state becomes.
const historyStep = 2592 * time.Millisecond

// historyPiece is the size of an uploaded chunk.
const historyPiece = 1 << 20

func newHistory(start time.Time) *history {
	return &history{at: start.UTC().Truncate(time.Microsecond), rand: rand.NewPCG(7, 20260101)}
}

// fill appends records to log until it has n of them.
func (h *history) fill(ctx context.Context, log *journal.Log, n uint64) error {
	var (
		buf   []byte
		ends  []int
		lines [][]byte
	)
	for h.seq < n {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf, ends, lines = buf[:0], ends[:0], lines[:0]
		for h.seq < n && len(ends) < journal.MaxBatchRecords {
			buf = h.next(buf)
			ends = append(ends, len(buf))
		}
		start := 0
		for _, end := range ends {
			lines = append(lines, buf[start:end:end])
			start = end
		}
		if err := log.Append(lines); err != nil {
			return err
		}
	}
	return nil
}

// next appends the next line.
func (h *history) next(dst []byte) []byte {
	r := journal.Record{Seq: h.seq, At: h.at, Actor: "daemon", Via: "internal"}
	switch {
	case h.boot == "" || h.last == "daemon.stopped":
		h.boot, h.started = h.id(), h.at
		r.Kind, r.Ref = "daemon.started", h.boot
		h.bodyf(`{"boot":"%s","version":"bench"}`, h.boot)
	case h.at.Sub(h.started) > 7*24*time.Hour:
		r.Kind, r.Ref = "daemon.stopped", h.boot
		h.bodyf(`{}`)
	case h.answersOnly:
		r.Actor, r.Via, r.Ref, r.Kind = "main", "ws 10.0.0.7:51034", h.id(), "action.answered"
		h.bodyf(`{"action":"%s","code":"ok"}`, [...]string{"login", "get_job", "ping"}[h.rand.Uint64()%3])
	default:
		who := int(h.seq % uint64(len(h.panels)))
		r.Actor, r.Via, r.Ref = fmt.Sprintf("panel-%d", who+1), fmt.Sprintf("ws 10.0.0.%d:51034", who+1), h.id()
		r.Kind = h.panels[who].act(h)
	}
	r.Body, h.last = h.body, r.Kind
	h.seq++
	h.at = h.at.Add(historyStep/2 + time.Duration(h.rand.Uint64()%uint64(historyStep))).Truncate(time.Microsecond)
	return journal.AppendRecord(dst, &r)
}

// act does the next step of a visit and gives the kind of its record.
func (v *panelVisit) act(h *history) (kind string) {
	v.step++
	piece := v.step - 4
	switch {
	case v.step == 1:
		*v = panelVisit{
			step: 1, pieces: 8 + int(h.rand.Uint64()%8), upload: h.id(), download: h.id(),
			path: fmt.Sprintf("servers/%d/plugins/plugin-%d.jar", h.rand.Uint64()%20, h.rand.Uint64()%500),
		}
		h.bodyf(`{"action":"get_directory_info","params":{"path":"servers/plugins"},"code":"ok"}`)
		return "action.answered"
	case v.step == 2 && h.rand.Uint64()%8 == 0:
		h.bodyf(`{"action":"get_file_info","params":{"path":"%s"},"code":"not_found","message":"not found"}`, v.path)
		return "action.refused"
	case v.step == 2:
		h.bodyf(`{"action":"get_file_info","params":{"path":"%s"},"code":"ok"}`, v.path)
		return "action.answered"
	case v.step == 3:
		h.bodyf(`{"session":"%s","path":"%s","size":%d,"sha1":"%s","idle_ms":120000}`, v.upload, v.path, v.pieces*historyPiece, h.digest())
		return "upload.opened"
	case piece < v.pieces:
		h.bodyf(`{"session":"%s","ranges":[[%d,%d]],"crc32c":"%08x","calls":1}`,
			v.upload, piece*historyPiece, (piece+1)*historyPiece, uint32(h.rand.Uint64()))
		return "upload.stored"
	}
	switch piece - v.pieces {
	case 0:
		h.bodyf(`{"session":"%s","size":%d,"digest":"%s"}`, v.upload, v.pieces*historyPiece, h.digest())
		return "upload.sealed"
	case 1:
		h.bodyf(`{"session":"%s","path":"%s"}`, v.upload, v.path)
		return "upload.placed"
	case 2:
		h.bodyf(`{"session":"%s","path":"%s","identity":{"dev":"65024","ino":"%d","size":%d,"mtime_ns":"%d","ctime_ns":"%d"},"sha1":"%s","idle_ms":120000}`,
			v.download, v.path, h.rand.Uint64()>>40, v.pieces*historyPiece, h.at.UnixNano(), h.at.UnixNano(), h.digest())
		return "download.opened"
	case 3, 4:
		h.bodyf(`{"session":"%s","ranges":[[%d,%d]]}`, v.download, 0, v.pieces*historyPiece)
		return "download.read"
	}
	v.step = 0
	h.bodyf(`{"session":"%s"}`, v.download)
	return "download.closed"
}

func (h *history) bodyf(format string, args ...any) {
	h.body = fmt.Appendf(h.body[:0], format, args...)
}

// id is a random UUID.
func (h *history) id() string {
	a, b := h.rand.Uint64()|1<<63, h.rand.Uint64() // the highest bit: none that request packets reserve
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&(1<<48-1))
}

// digest is the SHA-1 of nothing in particular.
func (h *history) digest() string {
	return fmt.Sprintf("%016x%016x%08x", h.rand.Uint64(), h.rand.Uint64(), uint32(h.rand.Uint64()))
}
