package main

import (
	"context"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"waybill/daemon/panelwire"
)

// chunkBuffer holds a chunk on its way: the bytes and the frame around them.
type chunkBuffer struct{ data, frame []byte }

// send sends the missing ranges with several chunks under way, and returns
// when all that were begun are answered. The error is the first one.
func (p *putter) send(ctx context.Context, s *socket, missing [][2]int64) error {
	free := make(chan *chunkBuffer, p.cmd.InFlight)
	for range p.cmd.InFlight {
		free <- &chunkBuffer{data: make([]byte, p.cmd.Chunk)}
	}
	group, gctx := errgroup.WithContext(ctx)
	acked := make(chan chunkAck, p.cmd.InFlight)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for ack := range acked {
			p.ack(ack)
		}
	}()
	err := p.feed(ctx, gctx.Done(), s, missing, free, func(n int64, w *awaited, b *chunkBuffer) {
		group.Go(func() error {
			ack := chunkAck{n: n}
			// Not gctx: that one chunk is refused does not end the wait for
			// the others.
			err := w.into(ctx, &ack)
			free <- b
			if err == nil {
				acked <- ack
			}
			return err
		})
	})
	if first := group.Wait(); first != nil {
		err = first
	}
	close(acked)
	<-counted
	return err
}

type chunkAck struct {
	n        int64
	Received int64 `json:"received"`
}

// ack counts an acknowledged chunk. Answers may overtake each other.
func (p *putter) ack(a chunkAck) {
	p.sent += a.n
	p.received = max(p.received, a.Received)
	p.tries.progress()
	p.report.at(p.received, p.at.Size)
}

// feed reads the file and begins one request after the other, in ascending
// order, until stop is closed. ctx bounds only the whole run: a write it cut
// short would take the connection with it.
func (p *putter) feed(ctx context.Context, stop <-chan struct{}, s *socket, missing [][2]int64, free chan *chunkBuffer, begun func(int64, *awaited, *chunkBuffer)) error {
	type params struct {
		ID     string `json:"file_id"`
		Offset int64  `json:"offset"`
	}
	for _, r := range missing {
		for off := r[0]; off < r[1]; {
			var b *chunkBuffer
			select {
			case b = <-free:
			case <-stop:
				return nil // why, the group knows
			}
			n := min(int64(len(b.data)), r[1]-off)
			if got, err := p.file.ReadAt(b.data[:n], off); int64(got) < n {
				return p.changed(err)
			}
			w, err := s.begin(ctx, websocket.MessageBinary, func(id string) []byte {
				b.frame = panelwire.AppendPacket(b.frame[:0], id, "file_upload_chunk", params{p.at.ID, off}, b.data[:n])
				return b.frame
			})
			if err != nil {
				return err
			}
			begun(n, w, b)
			off += n
		}
	}
	return nil
}
