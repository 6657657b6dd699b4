package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"waybill/journal"
)

// The headers of GET /journal: how many records there are, and the root of
// the tree over them.
const (
	headerSize = "Waybill-Journal-Size"
	headerRoot = "Waybill-Journal-Root"
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

	known bool   // the first connection has answered:
	size  uint64 // how many records there were then
	root  string // over those
}

// run calls fn with each line, without its newline, valid during the call.
func (s *stream) run(ctx context.Context, fn func(line []byte) error) error {
	for s.next < s.to {
		err := s.connect(ctx, fn)
		lost, ok := errors.AsType[*lostError](err)
		if !ok {
			return err
		}
		_, answered := errors.AsType[*exitError](lost)
		if s.known || answered {
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
		return fail(exitUnreachable, "%s is no waybill daemon: no %s in its answer", s.remote.URL, headerSize)
	case !s.known:
		s.known, s.size, s.root = true, size, resp.Header.Get(headerRoot)
		if !s.follow {
			s.to = min(s.to, size)
		}
	case size < s.next:
		return fail(exitData, "the journal ends before record %d, but record %d was already read: it was cut, or is another one", size, s.next-1)
	}
	in := bufio.NewReaderSize(resp.Body, journal.MaxLine+1)
	for s.next < s.to {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return &journal.DamageError{Seq: s.next, Last: s.next, Reason: "not a record: too long"}
		}
		if err != nil {
			// Records are still to come, however orderly the end looks.
			return interrupted(ctx, &lostError{fmt.Errorf("the journal broke off: %w", innermost(err))})
		}
		if err := fn(line[:len(line)-1]); err != nil {
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
	query := url.Values{"from": {strconv.FormatUint(s.next, 10)}}
	if s.to != allRecords {
		query.Set("to", strconv.FormatUint(s.to, 10))
	}
	if s.follow {
		query.Set("follow", "true")
	}
	return s.remote.request(ctx, method, "/journal?"+query.Encode(), token, nil, "")
}

// sizeNow asks how many records there are.
func (s *stream) sizeNow(ctx context.Context) (uint64, error) {
	none := stream{remote: s.remote}
	resp, err := none.open(ctx, http.MethodHead)
	if err != nil {
		return 0, s.remote.once(ctx, err)
	}
	defer resp.Body.Close()
	return strconv.ParseUint(resp.Header.Get(headerSize), 10, 64)
}
