package main

import (
	"context"
	"errors"
)

// uploadStatus is the data of file_upload_status.
type uploadStatus struct {
	ID        string     `json:"file_id"`
	State     string     `json:"state"`
	Path      string     `json:"path"`
	Size      int64      `json:"size"`
	Received  int64      `json:"received"`
	Missing   [][2]int64 `json:"missing"`
	ExpiresMS int64      `json:"expires_in"`
	SHA1      string     `json:"sha1"`
	Retcode   int        `json:"retcode"`
}

type fileIDParams struct {
	ID string `json:"file_id"`
}

// attempt takes the upload as far as one connection lasts: find or open the
// session, send what is missing, ask how it ended.
func (p *putter) attempt(ctx context.Context, s *socket) error {
	if p.at.ID == "" {
		if err := p.session(ctx, s); err != nil {
			return err
		}
	}
	var refusedChunk error // why the last round of chunks stopped, if it did
	for {
		st, err := p.status(ctx, s)
		if err != nil {
			return err
		}
		switch st.State {
		case "placed":
			return p.placed(st)
		case "open":
		case "expired", "":
			if err := p.restart(ctx, s); err != nil {
				return err
			}
			refusedChunk = nil
			continue
		default:
			p.forget()
			return p.ended(st)
		}
		switch {
		case len(st.Missing) > 0 && refusedChunk != nil:
			return refusedChunk
		case len(st.Missing) > 0:
			refusedChunk = p.send(ctx, s, st.Missing)
			var r *refusal
			if refusedChunk != nil && !errors.As(refusedChunk, &r) {
				return refusedChunk
			}
			if refused(refusedChunk, codeRateLimit) {
				if err := p.tries.pause(ctx, refusedChunk); err != nil {
					return err
				}
				refusedChunk = nil
			}
		default:
			// Every byte is there and the daemon is putting the file in its
			// place, which it tries again by itself.
			why := refusedChunk
			if st.Retcode != 0 {
				why = &refusal{st.Retcode, "the daemon cannot put the file in place yet"}
			} else if why == nil {
				why = fail(exitIO, "the daemon has every byte but has not put the file in place yet")
			}
			if err := p.tries.pause(ctx, why); err != nil {
				return err
			}
		}
	}
}

// status asks how the upload stands; State is "" if the daemon knows nothing
// of it.
func (p *putter) status(ctx context.Context, s *socket) (st uploadStatus, err error) {
	if p.fresh {
		// The answer is known before the first chunk.
		p.fresh = false
		return uploadStatus{State: "open", Size: p.at.Size, Missing: [][2]int64{{0, p.at.Size}}}, nil
	}
	err = s.call(ctx, "file_upload_status", fileIDParams{p.at.ID}, &st)
	if refused(err, codeNoTransfer) {
		return uploadStatus{}, nil
	}
	if err == nil {
		p.received = st.Received
		p.report.at(p.received, p.at.Size)
	}
	return st, err
}

// placed checks that what stands under the name is what was sent.
func (p *putter) placed(st uploadStatus) error {
	p.forget()
	if st.SHA1 != p.at.SHA1 {
		return fail(exitData, "the daemon has a file with SHA-1 %s, not %s", st.SHA1, p.at.SHA1)
	}
	p.end = uploadEnd{
		File: p.cmd.File, URL: p.at.URL, Path: st.Path, ID: p.at.ID,
		Size: st.Size, SHA1: st.SHA1, Sent: p.sent, Resumed: p.resumed,
	}
	return nil
}

// ended is the error of a session that is over without a file in place.
func (p *putter) ended(st uploadStatus) error {
	switch {
	case st.State == "cancelled":
		return fail(exitIO, "the upload was cancelled at the daemon")
	case st.Retcode == codeTransfer:
		return fail(exitData, "what arrived does not have the SHA-1 %s; the file changed while it was sent, or was damaged on the way; nothing was replaced", p.at.SHA1)
	}
	return &refusal{st.Retcode, "the daemon rejected the upload to " + st.Path}
}
