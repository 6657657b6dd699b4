package sessions

import (
	"encoding/json"
	"slices"
	"time"
)

type uploadDump struct {
	ID      ID      `json:"session"`
	State   string  `json:"state"`
	Owner   string  `json:"owner"`
	Path    string  `json:"path"`
	Size    int64   `json:"size"`
	SHA1    string  `json:"sha1,omitempty"`
	IdleMS  int64   `json:"idle_ms,omitempty"`
	Until   string  `json:"until,omitempty"`
	Stored  []Range `json:"stored"`
	Last    []Range `json:"last,omitempty"`
	LastCRC uint32  `json:"last_crc,omitempty"`
	Digest  string  `json:"digest,omitempty"`
	Code    string  `json:"code,omitempty"`
	Message string  `json:"message,omitempty"`
	Task    *Task   `json:"task,omitempty"`
	Meta    string  `json:"meta,omitempty"`
	Opened  string  `json:"opened"`
	Ended   string  `json:"ended,omitempty"`
}

type downloadDump struct {
	ID       ID        `json:"session"`
	State    string    `json:"state,omitempty"`
	Owner    string    `json:"owner"`
	Path     string    `json:"path"`
	Identity *Identity `json:"identity,omitempty"`
	SHA1     string    `json:"sha1,omitempty"`
	IdleMS   int64     `json:"idle_ms,omitempty"`
	Task     *Task     `json:"task,omitempty"`
	Content  *Content  `json:"content,omitempty"`
	Until    string    `json:"until,omitempty"`
	Read     int64     `json:"read"`
	Opened   string    `json:"opened"`
	Ended    string    `json:"ended,omitempty"`
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// MarshalJSON renders the table in one canonical form: live uploads, ended
// ones, downloads and ended read tasks, each by time opened and then ID.
func (t *Table) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Uploads    []uploadDump   `json:"uploads"`
		Ended      []uploadDump   `json:"ended_uploads"`
		Downloads  []downloadDump `json:"downloads"`
		EndedReads []downloadDump `json:"ended_reads,omitempty"`
	}{dumpUploads(t.uploads), dumpUploads(t.ended), dumpDownloads(t.downloads), dumpDownloads(t.endedReads)})
}

func dumpUploads(m map[ID]*Upload) []uploadDump {
	all := make([]*Upload, 0, len(m))
	for _, u := range m {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *Upload) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	out := make([]uploadDump, len(all))
	for i, u := range all {
		out[i] = uploadDump{
			ID: u.ID, State: u.State.String(), Owner: u.Owner, Path: u.Path, Size: u.Size, SHA1: u.SHA1,
			IdleMS: u.Idle.Milliseconds(), Until: stamp(u.Until), Stored: append([]Range{}, u.Stored.ranges...),
			Last: u.Last, LastCRC: u.LastCRC, Digest: u.Digest, Code: u.Code, Message: u.Message, Task: u.Task, Meta: u.Meta,
			Opened: stamp(u.Opened), Ended: stamp(u.Ended),
		}
	}
	return out
}

func dumpDownloads(m map[ID]*Download) []downloadDump {
	all := make([]*Download, 0, len(m))
	for _, d := range m {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *Download) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	out := make([]downloadDump, len(all))
	for i, d := range all {
		out[i] = downloadDump{
			ID: d.ID, Owner: d.Owner, Path: d.Path, SHA1: d.SHA1, IdleMS: d.Idle.Milliseconds(),
			Task: d.Task, Content: d.Content, Until: stamp(d.Until), Read: d.Read, Opened: stamp(d.Opened), Ended: stamp(d.Ended),
		}
		if d.Task == nil {
			out[i].Identity = &d.Identity
		} else {
			out[i].State = d.State.String()
		}
	}
	return out
}
