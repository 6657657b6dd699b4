package actions

import (
	"encoding/json"
	"fmt"
	"strings"

	"waybill/fsview/acl"
	"waybill/journal"
)

// aboutBody is what bodies say of what they are about: of all kinds in one.
type aboutBody struct {
	Session text `json:"session"`
	Job     text `json:"job"`
	Path    text `json:"path"`
	Task    *struct {
		ID       text   `json:"id"`
		Node     uint64 `json:"node"`
		Revision text   `json:"revision"`
	} `json:"task"`

	Node   *uint64  `json:"node"`
	Nodes  []uint64 `json:"nodes"`
	Parent uint64   `json:"parent"`
	ID     text     `json:"id"`
	Name   text     `json:"name"`
	From   text     `json:"from"`
	To     text     `json:"to"`

	Revision text `json:"revision"`
	Replaces text `json:"replaces"`
	Digest   text `json:"digest"`
	SHA256   text `json:"sha256"`
	FileID   text `json:"file_id"`

	Params struct {
		Path     given `json:"path"`
		Session  text  `json:"session"`
		Job      text  `json:"job"`
		FileID   text  `json:"file_id"`
		DirID    text  `json:"dir_id"`
		ID       text  `json:"id"`
		NewID    text  `json:"new_id"`
		Revision text  `json:"revision_id"`
	} `json:"params"`
}

// text is a string; what is no string, a digest in place of a long one say, is
// read as "".
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

// given is a text that may be empty: then it is one all the same.
type given struct {
	text  text
	given bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (g *given) UnmarshalJSON(b []byte) error {
	g.given = len(b) > 0 && b[0] == '"'
	return g.text.UnmarshalJSON(b)
}

// readAbout reads the body of a record; ok is false for kinds that are about
// no transfer, job or document.
func readAbout(e *journal.Entry) (b aboutBody, ok bool, err error) {
	family, _, _ := strings.Cut(e.Kind, ".")
	switch family {
	case "upload", "download", "job", "node", "revision", "object", "action":
	default:
		if e.Kind != acl.KindUserAvatarSet {
			return b, false, nil
		}
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return b, false, fmt.Errorf("record %d: %s: body: %w", e.Seq, e.Kind, err)
	}
	return b, true, nil
}
