package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// The headers of GET /journal: how many records there are, the root of the
// tree over them, and the first one that is still held.
const (
	headerSize  = "Waybill-Journal-Size"
	headerRoot  = "Waybill-Journal-Root"
	headerFirst = "Waybill-Journal-First"
)

// stream reads records of a running daemon in order, over as many connections
// as it takes: each new one goes on at the record after the last.
type stream struct {
	remote *remote
	tries  patience
	// next is the first record to read, to the one after the last; records
	// that do not exist yet are waited for only if follow is set.
	next, to uint64
	follow   bool
	// query, if not nil, says which records are wanted; the daemon leaves out
	// all others. It is complete when its answer ends in order.
	query *actions.Query
	// reached says that the daemon has answered already, if not on this stream:
	// when it goes away before the first answer here, it is waited for.
	reached bool

	known bool   // the first connection has answered:
	size  uint64 // how many records there were then
	root  string // over those
	first uint64 // the first record held
}

// run calls fn with each line, without its newline, valid during the call.
func (s *stream) run(ctx context.Context, fn func(line []byte) error) error {
	for s.next < s.to {
		err := s.connect(ctx, fn)
		lost, ok := errors.AsType[*lostError](err)
		if !ok {
			if errors.Is(err, errReached) {
				return nil
			}
			return err
		}
		_, answered := errors.AsType[*exitError](lost)
		if s.reached || s.known || answered {
			err = s.tries.pause(ctx, lost)
		}
		if err != nil {
			return s.remote.once(ctx, err)
		}
	}
	return nil
}

// connect reads as far as one connection lasts; nil means to the end.
func (s *stream) connect(ctx context.Context, fn func(line []byte) error) error {
	resp, err := s.open(ctx, http.MethodGet)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer resp.Body.Close()
	size, err := strconv.ParseUint(resp.Header.Get(headerSize), 10, 64)
	switch {
	case err != nil:
		return noDaemon(s.remote)
	case !s.known:
		s.known, s.size, s.root = true, size, resp.Header.Get(headerRoot)
		if s.first, err = firstHeld(resp); err != nil {
			return noDaemon(s.remote)
		}
		if !s.follow {
			s.to = min(s.to, size)
		}
	case size < s.next:
		return fail(exitData, "the journal ends before record %d, but record %d was already read: it was cut, or is another one", size, s.next-1)
	}
	if s.follow {
		// There may be nothing to tell of for long, and no trouble for as long.
		s.tries.progress()
	}
	in := bufio.NewReaderSize(resp.Body, journal.MaxLine+1)
	for s.next < s.to {
		line, err := in.ReadSlice('\n')
		if s.query != nil && err == io.EOF && len(line) == 0 {
			return errReached
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return &journal.DamageError{Seq: s.next, Last: s.next, Reason: "not a record: too long"}
		}
		if err != nil {
			// Records are still to come, however orderly the end looks.
			return interrupted(ctx, &lostError{fmt.Errorf("the journal broke off: %w", innermost(err))})
		}
		line = line[:len(line)-1]
		if s.query != nil {
			var e journal.Entry
			if err := journal.ParseEntry(line, &e); err != nil || e.Seq < s.next {
				return &journal.DamageError{Seq: s.next, Last: s.next, Reason: "not what should stand here"}
			}
			s.next = e.Seq // what is left out does not belong
		}
		if err := fn(line); err != nil {
			return err
		}
		s.next++
		s.tries.progress()
	}
	return nil
}

func (s *stream) open(ctx context.Context, method string) (*http.Response, error) {
	token, err := s.remote.token()
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if s.query != nil {
		query = parameters(s.query)
	}
	query.Set("from", strconv.FormatUint(s.next, 10))
	if s.to != allRecords {
		query.Set("to", strconv.FormatUint(s.to, 10))
	}
	if s.follow {
		query.Set("follow", "true")
	}
	return s.remote.request(ctx, method, "/journal?"+query.Encode(), token, nil, "")
}

// parameters are those of GET /journal that ask for q.
func parameters(q *actions.Query) url.Values {
	v := url.Values{}
	for name, text := range map[string]string{
		"actor": q.Actor, "kind": q.Kind, "session": q.Session, "path": q.Path, "document": q.Document, "about": q.About,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Starts {
		v.Set("starts", "1")
	}
	return v
}

// headSeen is what a daemon says of its journal: its head, and the first record
// that it still holds.
type headSeen struct {
	journal.Head
	first uint64
}

// headNow asks for it.
func (s *stream) headNow(ctx context.Context) (h headSeen, err error) {
	none := stream{remote: s.remote}
	resp, err := none.open(ctx, http.MethodHead)
	if err != nil {
		return h, s.remote.once(ctx, err)
	}
	defer resp.Body.Close()
	if h.Size, err = strconv.ParseUint(resp.Header.Get(headerSize), 10, 64); err == nil {
		h.first, err = firstHeld(resp)
	}
	root, notHex := hex.DecodeString(resp.Header.Get(headerRoot))
	if err != nil || notHex != nil || len(root) != len(h.Root) {
		return h, noDaemon(s.remote)
	}
	h.Root = journal.Hash(root)
	return h, nil
}

// firstHeld reads the header, which was absent before there was pruning.
func firstHeld(resp *http.Response) (uint64, error) {
	text := resp.Header.Get(headerFirst)
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

func noDaemon(r *remote) error {
	return fail(exitUnreachable, "%s is no waybill daemon: no %s in its answer", r.URL, headerSize)
}
