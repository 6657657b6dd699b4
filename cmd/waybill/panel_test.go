package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"

	"github.com/coder/websocket"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// errLost is what a panel gets for requests whose answers can no longer come.
var errLost = errors.New("the connection is lost")

// panel is a client as panels are: one WebSocket connection, any number of
// requests in flight, answers matched to them by what they carry. Its methods
// may be called from any goroutine.
type panel struct {
	ws   *websocket.Conn
	done chan struct{} // closed when the reader has ended

	mu sync.Mutex
	// waiting are those who wait for an answer, by answerKey; nil once the
	// connection is lost. Requests without an id of their own queue up.
	waiting map[string][]chan []byte
}

func dialPanel(addr, token string) (*panel, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/api/v1?token="+url.QueryEscape(token), nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(64 << 20)
	p := &panel{ws: ws, done: make(chan struct{}), waiting: make(map[string][]chan []byte)}
	go p.read()
	return p, nil
}

// close drops the connection and waits until nothing is left of it.
func (p *panel) close() {
	_ = p.ws.CloseNow()
	<-p.done
}

func (p *panel) read() {
	defer close(p.done)
	for {
		kind, msg, err := p.ws.Read(context.Background())
		if err == nil && kind != websocket.MessageText {
			err = errors.New("a binary reply")
		}
		if err != nil {
			p.mu.Lock()
			waiting := p.waiting
			p.waiting = nil
			p.mu.Unlock()
			for _, queue := range waiting {
				for _, ch := range queue {
					close(ch)
				}
			}
			_ = p.ws.CloseNow()
			return
		}
		key := answerKey(msg)
		p.mu.Lock()
		queue := p.waiting[key]
		if len(queue) > 1 {
			p.waiting[key] = queue[1:]
		} else {
			delete(p.waiting, key)
		}
		p.mu.Unlock()
		if len(queue) > 0 {
			queue[0] <- msg
		}
	}
}

// answerKey is what ties an answer to its request: the id, the echo, the file of
// an upload frame, or the trace_id of a request to the document library.
func answerKey(msg []byte) string {
	if r, err := panelwire.ParseReply(msg); err == nil {
		if r.HasID {
			return r.ID
		}
		return string(r.Echo)
	}
	var frame struct {
		ID    string `json:"file_id"`
		Trace string `json:"trace_id"`
	}
	if json.Unmarshal(msg, &frame) != nil {
		return ""
	}
	if frame.Trace != "" {
		return frame.Trace
	}
	return frameKey(frame.ID)
}

func frameKey(file string) string { return "frame " + file }

// send sends a message and returns where its answer will come.
func (p *panel) send(key string, kind websocket.MessageType, msg []byte) (<-chan []byte, error) {
	ch := make(chan []byte, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return nil, errLost
	}
	p.waiting[key] = append(p.waiting[key], ch)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if err := p.ws.Write(ctx, kind, msg); err != nil {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	return ch, nil
}

// freshID is an id that no other request of the test run's panels has: it is
// the ref of the request's record.
func freshID() string { return sessions.NewID().String() }

// pending is a request that has been sent.
type pending struct {
	id string
	ch <-chan []byte
}

// wait returns the reply, whatever it says; an error is a lost connection.
func (w pending) wait() (panelwire.Reply, error) {
	msg, ok := <-w.ch
	if !ok {
		return panelwire.Reply{}, errLost
	}
	return panelwire.ParseReply(msg)
}

// ask sends a request in the id envelope.
func (p *panel) ask(action string, params any) (pending, error) {
	id := freshID()
	ch, err := p.send(id, websocket.MessageText, panelwire.AppendRequest(nil, id, action, params))
	return pending{id, ch}, err
}

type chunkParams struct {
	File   string `json:"file_id"`
	Offset int64  `json:"offset"`
}

// askChunk sends a chunk as a request packet.
func (p *panel) askChunk(action, file string, offset int64, data []byte) (pending, error) {
	id := freshID()
	msg := panelwire.AppendPacket(nil, id, action, chunkParams{file, offset}, data)
	ch, err := p.send(id, websocket.MessageBinary, msg)
	return pending{id, ch}, err
}

// call asks and waits. into, if not nil, receives the data of a success; a
// refusal is an *actions.Error.
func (p *panel) call(action string, params, into any) error {
	w, err := p.ask(action, params)
	if err != nil {
		return err
	}
	return w.into(into)
}

func (w pending) into(v any) error {
	r, err := w.wait()
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(r.Data, v)
}

// What the data of replies unpack into.
type (
	fileReply struct {
		File string `json:"file_id"`
	}
	storedReply struct {
		Done     bool  `json:"done"`
		Received int64 `json:"received"`
	}
	queuedReply struct {
		Job string `json:"job"`
	}
	statusReply struct {
		File     string           `json:"file_id"`
		State    string           `json:"state"`
		Path     string           `json:"path"`
		Size     int64            `json:"size"`
		Received int64            `json:"received"`
		Missing  []sessions.Range `json:"missing"`
		More     bool             `json:"more"`
		SHA1     string           `json:"sha1"`
		Retcode  int              `json:"retcode"`
	}
	jobReply struct {
		State   string          `json:"state"`
		Retcode int             `json:"retcode"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
)

func sumOfBytes(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

// noise is n bytes that do not repeat, the same for the same seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}
