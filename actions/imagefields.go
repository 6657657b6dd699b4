package actions

import (
	"math"

	"waybill/fsview/doctree"
	"waybill/sessions"
)

// The fields of an image that there are many of; the rest is left to
// encoding/json.

// scanImage reads an image; false if encoding/json must.
func scanImage(image []byte, m *stateImage) bool {
	r := &imageScan{b: image}
	scanObject(r, m, scanState)
	return !r.bad && len(r.b) == 0
}

func scanState(r *imageScan, m *stateImage, name []byte) {
	switch string(name) {
	case "records":
		m.Records = r.uint64()
	case "at":
		m.At = r.time()
	case "boot":
		m.Boot = r.text()
	case "running":
		m.Running = r.flag()
	case "tokens_issued":
		m.Tokens = r.uint64()
	case "checkpoint_key":
		r.unmarshal(&m.Key)
	case "pruned":
		r.unmarshal(&m.Cut)
	case "sessions":
		scanNew(r, &m.Sessions, scanSessions)
	case "jobs":
		r.unmarshal(&m.Jobs)
	case "accounts":
		r.unmarshal(&m.Accounts)
	case "contents":
		scanList(r, &m.Contents, func(r *imageScan, c *contentImage) { scanObject(r, c, scanContent) })
	case "dropped":
		r.unmarshal(&m.Dropped)
	case "tree":
		scanNew(r, &m.Tree, scanTree)
	case "held":
		r.unmarshal(&m.Held)
	default:
		r.fail()
	}
}

func scanContent(r *imageScan, c *contentImage, name []byte) {
	switch string(name) {
	case "sha256":
		c.SHA256 = r.text()
	case "size":
		c.Size = r.int64()
	default:
		r.fail()
	}
}

func scanTree(r *imageScan, m *doctree.Image, name []byte) {
	switch string(name) {
	case "next":
		m.Next = doctree.Key(r.uint64())
	case "nodes":
		scanList(r, &m.Nodes, func(r *imageScan, n *doctree.NodeImage) { scanObject(r, n, scanNode) })
	case "policies":
		r.unmarshal(&m.Policies)
	default:
		r.fail()
	}
}

func scanNode(r *imageScan, n *doctree.NodeImage, name []byte) {
	switch string(name) {
	case "node":
		n.Key = doctree.Key(r.uint64())
	case "id":
		n.ID = r.text()
	case "dir":
		n.Dir = r.flag()
	case "name":
		n.Name = r.text()
	case "parent":
		n.Parent = doctree.Key(r.uint64())
	case "owner":
		n.Owner = r.name()
	case "created":
		n.Created = r.time()
	case "deleted":
		n.Deleted = r.flag()
	case "expire":
		n.Expire = r.int64()
	case "access_rules":
		n.Rules = r.raw()
	case "external_access":
		n.External = r.raw()
	case "revisions":
		scanList(r, &n.Revisions, func(r *imageScan, v *doctree.RevisionImage) { scanObject(r, v, scanRevision) })
	default:
		r.fail()
	}
}

func scanRevision(r *imageScan, v *doctree.RevisionImage, name []byte) {
	switch string(name) {
	case "revision":
		v.ID = doctree.RevisionID(r.text())
	case "digest":
		v.Digest = r.text()
	case "size":
		v.Size = r.int64()
	case "placeholder":
		v.Placeholder = r.flag()
	case "created":
		v.Created = r.time()
	case "deleted":
		v.Deleted = r.flag()
	case "expire":
		v.Expire = r.int64()
	default:
		r.fail()
	}
}

func scanSessions(r *imageScan, m *sessions.Image, name []byte) {
	task := func(r *imageScan, s *sessions.SessionImage) { scanObject(r, s, scanSession) }
	upload := func(r *imageScan, u *sessions.UploadImage) { scanObject(r, u, scanUpload) }
	switch string(name) {
	case "uploads":
		scanList(r, &m.Uploads, upload)
	case "downloads":
		scanList(r, &m.Downloads, func(r *imageScan, d *sessions.DownloadImage) { scanObject(r, d, scanDownload) })
	case "tasks":
		scanList(r, &m.Tasks, task)
	case "ended":
		scanList(r, &m.Ended, upload)
	case "ended_tasks":
		scanList(r, &m.EndedTasks, task)
	default:
		r.fail()
	}
}

func scanSession(r *imageScan, s *sessions.SessionImage, name []byte) {
	switch string(name) {
	case "upload":
		scanNew(r, &s.Upload, scanUpload)
	case "download":
		scanNew(r, &s.Download, scanDownload)
	default:
		r.fail()
	}
}

func scanUpload(r *imageScan, u *sessions.UploadImage, name []byte) {
	switch string(name) {
	case "session":
		u.ID = r.id()
	case "state":
		u.State = r.text()
	case "owner":
		u.Owner = r.name()
	case "path":
		u.Path = r.text()
	case "size":
		u.Size = r.int64()
	case "sha1":
		u.SHA1 = r.text()
	case "idle_ns":
		u.IdleNS = r.int64()
	case "until":
		u.Until = r.time()
	case "stored":
		scanList(r, &u.Stored, scanRange)
	case "last":
		scanList(r, &u.Last, scanRange)
	case "last_crc":
		n := r.uint64()
		if n > math.MaxUint32 {
			r.fail()
		}
		u.LastCRC = uint32(n)
	case "digest":
		u.Digest = r.text()
	case "code":
		u.Code = r.text()
	case "message":
		u.Message = r.text()
	case "task":
		scanNew(r, &u.Task, scanTask)
	case "meta":
		u.Meta = r.text()
	case "opened":
		u.Opened = r.time()
	case "ended":
		u.Ended = r.time()
	default:
		r.fail()
	}
}

func scanDownload(r *imageScan, d *sessions.DownloadImage, name []byte) {
	switch string(name) {
	case "session":
		d.ID = r.id()
	case "state":
		d.State = r.text()
	case "owner":
		d.Owner = r.name()
	case "path":
		d.Path = r.text()
	case "identity":
		r.unmarshal(&d.Identity)
	case "sha1":
		d.SHA1 = r.text()
	case "idle_ns":
		d.IdleNS = r.int64()
	case "read":
		d.Read = r.int64()
	case "task":
		scanNew(r, &d.Task, scanTask)
	case "content":
		scanNew(r, &d.Content, scanTaskContent)
	case "until":
		d.Until = r.time()
	case "opened":
		d.Opened = r.time()
	case "ended":
		d.Ended = r.time()
	default:
		r.fail()
	}
}

func scanTask(r *imageScan, t *sessions.Task, name []byte) {
	switch string(name) {
	case "id":
		t.ID = r.text()
	case "token_sha256":
		t.Token = r.text()
	case "node":
		t.Node = r.uint64()
	case "revision":
		t.Revision = r.text()
	default:
		r.fail()
	}
}

func scanTaskContent(r *imageScan, c *sessions.Content, name []byte) {
	switch string(name) {
	case "sha256":
		c.SHA256 = r.text()
	case "size":
		c.Size = r.int64()
	default:
		r.fail()
	}
}

func scanRange(r *imageScan, v *sessions.Range) {
	r.want('[')
	v[0] = r.int64()
	r.want(',')
	v[1] = r.int64()
	r.want(']')
}

func (r *imageScan) id() sessions.ID {
	b, plain := r.token()
	id, err := sessions.ParseID(b)
	if !plain || err != nil {
		r.fail()
	}
	return id
}
