package actions

import (
	"bytes"
	"strconv"

	"waybill/fsview/acl"
	"waybill/sessions"
)

// rough is a line taken apart but not read: enough to tell that it is about
// something else, at a fraction of the time.
type rough struct {
	// kind, actor, via and ref are as they stand between their quotes.
	kind, actor, via, ref []byte
	// first: the record is the first of its group.
	first bool
	// body begins after its brace.
	body []byte
}

const timeLen = len("2006-01-02T15:04:05.000000Z")

// split takes a line apart. It is false for one that must be read: a text of it
// has an escape, or it is no line of ours.
func (r *rough) split(line []byte) bool {
	p, ok := bytes.CutPrefix(line, []byte(`{"v":1,"seq":`))
	comma := bytes.IndexByte(p, ',')
	if !ok || comma < 0 {
		return false
	}
	p, ok = bytes.CutPrefix(p[comma:], []byte(`,"at":"`))
	if !ok || len(p) < timeLen {
		return false
	}
	p = p[timeLen:]
	for _, f := range []struct {
		name string
		into *[]byte
	}{
		{`","kind":"`, &r.kind}, {`","actor":"`, &r.actor}, {`","via":"`, &r.via}, {`","ref":"`, &r.ref},
	} {
		if len(p) < len(f.name) || string(p[:len(f.name)]) != f.name {
			return false
		}
		p = p[len(f.name):]
		end := bytes.IndexByte(p, '"')
		if end < 0 || bytes.IndexByte(p[:end], '\\') >= 0 {
			return false
		}
		*f.into, p = p[:end], p[end:]
	}
	r.first = bytes.HasPrefix(p, []byte(`","grp":[1,`))
	at := bytes.Index(p, []byte(`,"body":{`))
	if at < 0 {
		return false
	}
	r.body = p[at+len(`,"body":{`):]
	return true
}

// The keys under which bodies name sessions, jobs, nodes and contents. A key in
// quotes is never found within a string, whose quotes are escaped.
var (
	keySession = []byte(`"session":"`)
	keyJob     = []byte(`"job":"`)
	keyFileID  = []byte(`"file_id":"`)
	keyDirID   = []byte(`"dir_id":"`)
	keyID      = []byte(`"id":"`)
	keySHA256  = []byte(`"sha256":"`)
	keyNode    = []byte(`"node":`)
	keyNodes   = []byte(`"nodes":[`)
)

// mayConcern is false for a record that is not about s and tells nothing of it.
func (s *subject) mayConcern(r *rough) bool {
	family, _, _ := bytes.Cut(r.kind, []byte("."))
	switch string(family) {
	case "upload", "download":
		if leads(r.body, keySession, s.ids) || s.byJob(r) {
			return true
		}
		switch string(r.kind) {
		case sessions.KindUploadOpened, sessions.KindDownloadOpened, sessions.KindUploadPlaced, sessions.KindUploadPublished:
			return containsAny(r.body, s.pieces) || s.doc.hasNode(r.body)
		}
		return false
	case "job":
		return leads(r.body, keyJob, s.ids) || string(r.kind) == kindJobQueued && s.named(r.body)
	case "node":
		return s.doc.names != nil || containsAny(r.body, s.pieces) || s.doc.hasNode(r.body)
	case "revision":
		return containsAny(r.body, s.pieces) || s.doc.hasNode(r.body)
	case "object":
		return leads(r.body, keySHA256, s.doc.digests)
	case "action":
		return s.named(r.body) || s.byJob(r)
	}
	return string(r.kind) == acl.KindUserAvatarSet && s.named(r.body)
}

// byJob tells whether a record is of what one of the jobs did.
func (s *subject) byJob(r *rough) bool { return string(r.via) == viaJob && s.ids.has(r.ref) }

// named tells whether the parameters of a request may name s.
func (s *subject) named(body []byte) bool {
	if containsAny(body, s.pieces) {
		return true
	}
	if len(s.ids) > 0 && (hasValue(body, keyFileID, s.ids) || hasValue(body, keySession, s.ids) || hasValue(body, keyJob, s.ids)) {
		return true
	}
	ids := s.doc.ids
	return len(ids) > 0 && (hasValue(body, keyFileID, ids) || hasValue(body, keyDirID, ids) || hasValue(body, keyID, ids))
}

func containsAny(b []byte, pieces [][]byte) bool {
	for _, p := range pieces {
		if bytes.Contains(b, p) {
			return true
		}
	}
	return false
}

// set is what a matcher has learned.
type set interface{ has(b []byte) bool }

// idSet holds the ids of sessions and jobs, of which there may be millions.
type idSet map[sessions.ID]source

func (s idSet) has(b []byte) bool {
	id, err := sessions.ParseID(b)
	if err != nil {
		return false
	}
	_, ok := s[id]
	return ok
}

// textSet holds texts, with what belongs to them.
type textSet[V any] map[string]V

func (s textSet[V]) has(b []byte) bool {
	_, ok := s[string(b)]
	return ok
}

// leads tells whether the string under the first key, which must be this one,
// is in a set.
func leads(body, key []byte, in set) bool {
	rest, ok := bytes.CutPrefix(body, key)
	end := bytes.IndexByte(rest, '"')
	return ok && end >= 0 && in.has(rest[:end])
}

// hasValue tells whether one of the strings under a key is in a set, or cannot
// be compared as it stands.
func hasValue(b, key []byte, in set) bool {
	for {
		i := bytes.Index(b, key)
		if i < 0 {
			return false
		}
		b = b[i+len(key):]
		end := bytes.IndexByte(b, '"')
		if end < 0 {
			return false
		}
		if in.has(b[:end]) || bytes.IndexByte(b[:end], '\\') >= 0 {
			return true
		}
	}
}

// hasNode tells whether a body may name one of the nodes.
func (d *followed) hasNode(body []byte) bool {
	if len(d.nodes) == 0 && len(d.holders) == 0 {
		return false
	}
	if bytes.HasPrefix(body, keyNodes) {
		return true
	}
	i := bytes.Index(body, keyNode)
	if i < 0 {
		return false
	}
	body = body[i+len(keyNode):]
	end := 0
	for end < len(body) && body[end]-'0' <= 9 {
		end++
	}
	n, err := strconv.ParseUint(string(body[:end]), 10, 64)
	return err == nil && d.has(n)
}
