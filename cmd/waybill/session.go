package main

import (
	"context"
	"errors"
	"time"

	"waybill/fsview"
)

// session finds the session an earlier run noted, or opens one.
func (p *putter) session(ctx context.Context, s *socket) error {
	var old putNote
	if p.at.SHA1 == "" && p.note.load(&old) {
		switch {
		case old.same(p.at):
			p.at = old
			p.resumed = old.ID != ""
			if p.resumed {
				return nil
			}
		case old.ID == "":
		case old.URL != p.at.URL:
			p.other = &old
		default:
			// The file has changed or goes elsewhere: nobody will go on with
			// the old session, and it may stand in the way of the new one. If
			// it cannot be cancelled, the request for the new one tells.
			err := s.call(ctx, "file_upload_cancel", fileIDParams{old.ID}, nil)
			if _, ok := errors.AsType[*refusal](err); err != nil && !ok {
				return err
			}
		}
	}
	if p.at.SHA1 == "" {
		if err := p.hash(ctx); err != nil {
			return err
		}
	}
	return p.request(ctx, s)
}

// request opens a session. The note comes first: if the answer is lost, with
// the connection or with this process, whoever asks next can tell that the
// session which is then in the way is its own.
func (p *putter) request(ctx context.Context, s *socket) error {
	asked := p.at.Asked
	if !asked {
		p.at.Asked, p.at.Timeout = true, p.cmd.SessionTimeout
		p.save()
	}
	params := struct {
		Path    string `json:"path"`
		SHA1    string `json:"sha1"`
		Timeout int64  `json:"timeout"`
		Size    int64  `json:"size"`
	}{p.at.Path, p.at.SHA1, p.at.Timeout.Milliseconds(), p.at.Size}
	var opened fileIDParams
	err := s.call(ctx, "file_upload_request", params, &opened)
	if refused(err, codeConflict) && asked {
		opened.ID, err = p.orphan(ctx, s, err)
	}
	if _, final := errors.AsType[*refusal](err); final {
		p.forget()
	}
	if err != nil {
		return err
	}
	p.at.ID, p.at.Asked, p.fresh = opened.ID, false, true
	p.save()
	return nil
}

// orphan finds the session that an unanswered request of ours opened. It is
// ours if it has our path and size, nothing was stored in it, and asking for
// its status, which winds its clock up, shows our timeout. Even a mistake
// could not do harm: another put's session is held to that put's digest, and
// panels use other timeouts.
func (p *putter) orphan(ctx context.Context, s *socket, conflict error) (string, error) {
	var list struct {
		Uploads []uploadStatus `json:"uploads"`
	}
	if err := s.call(ctx, "file_transfer_list", struct{}{}, &list); err != nil {
		return "", err
	}
	mine, err := fsview.ParseName(p.at.Path)
	if err != nil {
		return "", conflict
	}
	for _, u := range list.Uploads {
		name, err := fsview.ParseName(u.Path)
		if err != nil || name != mine || u.State != "open" || u.Size != p.at.Size || u.Received != 0 {
			continue
		}
		var st uploadStatus
		if err := s.call(ctx, "file_upload_status", fileIDParams{u.ID}, &st); err != nil {
			return "", err
		}
		left := time.Duration(st.ExpiresMS) * time.Millisecond
		if left <= p.at.Timeout && left > p.at.Timeout-2*time.Second {
			return u.ID, nil
		}
	}
	return "", conflict
}

// restart gives up a session the daemon no longer has and opens another.
func (p *putter) restart(ctx context.Context, s *socket) error {
	if p.restarts++; p.restarts > maxRestarts {
		return fail(exitIO, "the daemon loses the session again and again")
	}
	if p.restarts > 1 || !p.resumed {
		p.report.say("the daemon has given up the session; starting anew")
	}
	p.at.ID, p.at.Asked, p.resumed = "", false, false
	return p.request(ctx, s)
}

// forget gives the note up. One about an upload to another daemon, which made
// room for ours, is put back.
func (p *putter) forget() {
	if p.note.forget(); p.other != nil {
		_ = p.note.save(*p.other) // it could be written a moment ago
	}
}

// save notes the session. Without a note the upload still goes on; only a
// second run could not.
func (p *putter) save() {
	if err := p.note.save(p.at); err != nil {
		p.report.say("cannot note the session: %v", err)
	}
}
