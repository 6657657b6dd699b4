package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/emmansun/base64"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// stream is the reply to a download chunk that is made piece by piece while
// it is written. It is what a peer gets when the budget for large replies is
// used up: peers that do not read cannot keep others waiting then, they only
// make it slower, because the bytes are read and encoded twice, once to learn
// how long the frame will be.
type stream struct {
	t          *ticket
	chunk      actions.DownloadChunk
	head, tail []byte // the reply around the content
	size       int64  // of the whole reply
}

// errStream is a frame that cannot be finished: the file changed or the
// session ended since its length was told.
var errStream = errors.New("the content changed while it was sent")

// streamed makes a stream of a download chunk. Errors are those of Engine.Do.
func (c *conn) streamed(t *ticket, chunk *actions.DownloadChunk) (*stream, error) {
	s := &stream{t: t, chunk: *chunk}
	empty := panelwire.AppendOK(nil, &t.req, &actions.Content{Base64: chunk.Base64}, panelwire.Options{})
	const mark = `"content":"`
	i := bytes.Index(empty, []byte(mark)) + len(mark) // nothing before it is the caller's
	s.head, s.tail = empty[:i:i], empty[i:]
	s.size = int64(len(empty))
	// Backwards, so that a range beyond the end is refused before anything is
	// read for it.
	var scratch []byte
	defer func() { c.s.bufs.put(scratch) }()
	last := max(0, chunk.To-chunk.From-1) / streamPiece * streamPiece
	for from := chunk.From + last; from >= chunk.From; from -= streamPiece {
		text, err := s.piece(scratch, from)
		if err != nil {
			return nil, err
		}
		s.size += int64(len(text))
		scratch = text[:0]
	}
	return s, nil
}

// piece reads and encodes the piece that begins at from into dst, which it
// replaces if it is too short.
func (s *stream) piece(dst []byte, from int64) ([]byte, error) {
	part := &actions.DownloadChunk{Session: s.chunk.Session, From: from, To: min(from+streamPiece, s.chunk.To), Base64: s.chunk.Base64}
	srv := s.t.c.s
	res, err := srv.engine.Do(srv.patience, actions.Call{Caller: s.t.caller, Action: part, Ref: s.t.req.ID})
	if err != nil {
		return nil, err
	}
	content, ok := res.(*actions.Content)
	if !ok {
		return nil, fmt.Errorf("%T is no content", res)
	}
	if content.Release != nil {
		defer content.Release()
	}
	if need := int(textRoom(streamPiece, false)); cap(dst) < need {
		srv.bufs.put(dst)
		dst = srv.bufs.get(need)
	}
	if s.chunk.Base64 {
		return base64.StdEncoding.AppendEncode(dst[:0], content.Bytes), nil
	}
	quoted := panelwire.AppendByteString(dst[:0], content.Bytes)
	return append(quoted[:0], quoted[1:len(quoted)-1]...), nil
}

// write writes the frame. After an error the connection cannot be used: the
// frame is not whole.
func (s *stream) write(w io.Writer) error {
	if _, err := w.Write(textHead(s.size)); err != nil {
		return err
	}
	if _, err := w.Write(s.head); err != nil {
		return err
	}
	left := s.size - int64(len(s.head)+len(s.tail))
	bufs := &s.t.c.s.bufs
	var text []byte
	defer func() { bufs.put(text) }()
	for from := s.chunk.From; from < s.chunk.To; from += streamPiece {
		var err error
		if text, err = s.piece(text, from); err != nil {
			return fmt.Errorf("%w: %w", errStream, err)
		}
		if left -= int64(len(text)); left < 0 {
			return errStream
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	if left != 0 {
		return errStream
	}
	_, err := w.Write(s.tail)
	return err
}
