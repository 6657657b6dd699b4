package main

import (
	"context"
	"io"

	"waybill/journal"
)

// joined is the journal of a running daemon, with the archive of what was pruned
// from it.
type joined struct {
	head    headSeen
	archive *journal.Archive // nil if none is given
}

// join asks the daemon for its head, and holds the archive against it.
func (s *source) join(ctx context.Context) (*joined, error) {
	j := &joined{}
	var err error
	if j.head, err = (&stream{remote: s.remote()}).headNow(ctx); err != nil {
		return nil, err
	}
	if j.archive, err = s.openArchive(); err != nil || j.archive == nil {
		return j, err
	}
	if err := j.archive.Covers(min(j.archive.End(), j.head.first), j.head.first); err != nil {
		return nil, archiveError(err)
	}
	if err := s.beside(ctx, j.archive, j.head.Head).Joins(ctx); err != nil {
		return nil, archiveError(err)
	}
	return j, nil
}

// beside is the archive together with what the daemon has of head.
func (s *source) beside(ctx context.Context, archive *journal.Archive, head journal.Head) *journal.Remote {
	return journal.NewRemote(archive, head, func(path string) ([]byte, error) { return s.remote().fetch(ctx, "/journal/"+path) })
}

// end is where the archive ends and the daemon is asked.
func (j *joined) end() uint64 {
	if j.archive == nil {
		return 0
	}
	return j.archive.End()
}

// first is the first record there is.
func (j *joined) first() uint64 {
	if j.archive == nil {
		return j.head.first
	}
	return 0
}

// read gives the lines that s is to read: those of the archive, and then the
// daemon's.
func (j *joined) read(ctx context.Context, s *stream, fn func(line []byte) error) error {
	if end := min(j.end(), s.to); s.next < end {
		if err := j.archive.Read(ctx, s.next, end, fn); err != nil {
			return archiveError(err)
		}
		s.next = end
	}
	return s.run(ctx, fn)
}

// fetch gets something small that the daemon has below /journal/.
func (r *remote) fetch(ctx context.Context, path string) ([]byte, error) {
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	resp, err := r.request(ctx, "GET", path, token, nil, "")
	if err != nil {
		return nil, r.once(ctx, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, journal.MaxProof+1))
	if err != nil {
		return nil, r.once(ctx, &lostError{innermost(err)})
	}
	return text, nil
}
