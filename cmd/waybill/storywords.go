package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"waybill/journal"
)

// toldBody is what a story tells of bodies: of all kinds in one.
type toldBody struct {
	Session string     `json:"session"`
	Job     string     `json:"job"`
	Path    string     `json:"path"`
	Size    *int64     `json:"size"`
	SHA1    string     `json:"sha1"`
	Digest  string     `json:"digest"`
	SHA256  string     `json:"sha256"`
	Ranges  [][2]int64 `json:"ranges"`
	Calls   int        `json:"calls"`
	Until   *time.Time `json:"until"`
	Task    *struct {
		Revision string `json:"revision"`
	} `json:"task"`
	Identity *struct {
		Size int64 `json:"size"`
	} `json:"identity"`
	Content *struct {
		Size int64 `json:"size"`
	} `json:"content"`

	Action  string          `json:"action"`
	Params  json.RawMessage `json:"params"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Attempt int             `json:"attempt"`
	Backoff int64           `json:"backoff_ms"`

	Node     *uint64         `json:"node"`
	Nodes    []uint64        `json:"nodes"`
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Name     string          `json:"name"`
	Owner    string          `json:"owner"`
	Parent   uint64          `json:"parent"`
	From     stringOnly      `json:"from"`
	To       stringOnly      `json:"to"`
	Expire   int64           `json:"expire"`
	Rules    json.RawMessage `json:"access_rules"`
	External json.RawMessage `json:"external_access"`
	Inherit  *bool           `json:"inherit_by_subdirectory"`
	Revision string          `json:"revision"`
	Replaces string          `json:"replaces"`

	User   string   `json:"user"`
	FileID string   `json:"file_id"`
	Void   []uint64 `json:"void"`
}

// stringOnly is a text; a number, which other kinds have there, is none.
type stringOnly struct{ text string }

// UnmarshalJSON implements json.Unmarshaler.
func (s *stringOnly) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, &s.text)
}

// of is the id of the transfer or job that a record is a fact about.
func (b *toldBody) of() string {
	if b.Session != "" {
		return b.Session
	}
	return b.Job
}

// sizeOf is how long what is transferred is, -1 if that is not known.
func (b *toldBody) sizeOf() int64 {
	switch {
	case b.Size != nil:
		return *b.Size
	case b.Identity != nil:
		return b.Identity.Size
	case b.Content != nil:
		return b.Content.Size
	}
	return -1
}

// storyWords says what a record tells, for every kind that may be about a
// transfer, a job or a document. It is not to be changed.
var storyWords = map[string]func(*journal.Entry, *toldBody) string{
	"action.answered": func(_ *journal.Entry, b *toldBody) string { return "asked for " + b.asked() + ": " + b.Code },
	"action.refused": func(_ *journal.Entry, b *toldBody) string {
		return "was refused " + b.asked() + ": " + b.why()
	},

	"upload.opened": func(_ *journal.Entry, b *toldBody) string {
		return b.opened("upload") + b.sha1(", which must have the SHA-1 ")
	},
	"upload.sized":     func(_ *journal.Entry, b *toldBody) string { return "it is to have " + plural(b.sizeOf(), "byte") },
	"upload.stored":    said("stored"),
	"upload.unstored":  said("gave up, to be stored anew,"),
	"upload.truncated": func(_ *journal.Entry, b *toldBody) string { return "cut to " + plural(b.sizeOf(), "byte") },
	"upload.sealed": func(_ *journal.Entry, b *toldBody) string {
		return fmt.Sprintf("complete: %s, %s", plural(b.sizeOf(), "byte"), digestWords(b.Digest))
	},
	"upload.placed":    func(_ *journal.Entry, b *toldBody) string { return "placed under its name " + b.Path },
	"upload.published": func(_ *journal.Entry, b *toldBody) string { return "published as revision " + b.Revision },
	"upload.rejected":  func(_ *journal.Entry, b *toldBody) string { return "rejected: " + b.why() },
	"upload.cancelled": said("cancelled, its bytes dropped"),
	"upload.expired":   said("expired, its bytes dropped"),

	"download.opened": func(_ *journal.Entry, b *toldBody) string {
		return b.opened("download") + b.sha1(", SHA-1 ")
	},
	"download.read":      said("read"),
	"download.closed":    said("closed"),
	"download.expired":   said("expired"),
	"download.cancelled": said("cancelled"),

	"job.queued": func(_ *journal.Entry, b *toldBody) string {
		return fmt.Sprintf("queued %s as job %s", b.asked(), b.Job)
	},
	"job.claimed": func(_ *journal.Entry, b *toldBody) string {
		text := fmt.Sprintf("begun in the background, attempt %d", b.Attempt)
		if b.Backoff > 0 {
			text += fmt.Sprintf(", after a pause of %v", time.Duration(b.Backoff)*time.Millisecond)
		}
		return text
	},
	"job.released": said("put back into the queue: the daemon stopped"),
	"job.done":     func(_ *journal.Entry, b *toldBody) string { return "job done: " + b.why() },
	"job.failed":   func(_ *journal.Entry, b *toldBody) string { return "job failed: " + b.why() },
	"job.poisoned": func(_ *journal.Entry, b *toldBody) string { return "job given up: " + b.why() },

	"node.created": func(_ *journal.Entry, b *toldBody) string {
		what := "file"
		if b.Type == "dir" {
			what = "directory"
		}
		return fmt.Sprintf("made %s %q (id %s, number %d) in %s, owner %s", what, b.Name, b.ID, *b.Node, inDirectory(b.Parent), b.Owner)
	},
	"node.renamed": func(_ *journal.Entry, b *toldBody) string { return fmt.Sprintf("renamed to %q", b.Name) },
	"node.moved":   func(_ *journal.Entry, b *toldBody) string { return "moved into " + inDirectory(b.Parent) },
	"node.id_changed": func(_ *journal.Entry, b *toldBody) string {
		return fmt.Sprintf("its id changed from %s to %s", b.From.text, b.To.text)
	},
	"node.ruled": func(_ *journal.Entry, b *toldBody) string {
		var what []string
		if len(b.Rules) > 0 {
			what = append(what, "access rules")
		}
		if len(b.External) > 0 {
			what = append(what, "external access")
		}
		if b.Inherit != nil {
			what = append(what, "inheritance")
		}
		return "rules changed: " + strings.Join(what, ", ")
	},
	"node.deleted": func(_ *journal.Entry, b *toldBody) string {
		return "deleted " + b.subtree() + ": in the recycle bin" + expiry(b.Expire)
	},
	"node.recovered": func(_ *journal.Entry, b *toldBody) string { return "recovered " + b.subtree() },
	"node.removed": func(e *journal.Entry, b *toldBody) string {
		if string(e.Via) == "purge" {
			return "purged " + b.subtree() + " from the recycle bin"
		}
		return "removed " + b.subtree() + " for good"
	},

	"revision.created": func(_ *journal.Entry, b *toldBody) string { return "empty revision " + b.Revision + " made" },
	"revision.published": func(_ *journal.Entry, b *toldBody) string {
		text := fmt.Sprintf("revision %s published: %s, %s", b.Revision, plural(b.sizeOf(), "byte"), digestWords(b.Digest))
		if b.Replaces != "" {
			text += ", in place of the empty one"
		}
		return text
	},
	"revision.deleted": func(_ *journal.Entry, b *toldBody) string {
		return fmt.Sprintf("revision %s deleted: in the recycle bin%s", b.Revision, expiry(b.Expire))
	},
	"revision.recovered": func(_ *journal.Entry, b *toldBody) string { return "revision " + b.Revision + " recovered" },
	"revision.removed": func(e *journal.Entry, b *toldBody) string {
		if string(e.Via) == "purge" {
			return "revision " + b.Revision + " purged from the recycle bin"
		}
		return "revision " + b.Revision + " removed for good"
	},
	"object.dropped": func(_ *journal.Entry, b *toldBody) string {
		return fmt.Sprintf("its content left the store: %s, %s", plural(b.sizeOf(), "byte"), digestWords(b.SHA256))
	},
	"user.avatar_set": func(_ *journal.Entry, b *toldBody) string { return "became the picture of user " + b.User },
}

func said(text string) func(*journal.Entry, *toldBody) string {
	return func(*journal.Entry, *toldBody) string { return text }
}

func (b *toldBody) opened(what string) string {
	target, size := b.Path, "length not known yet"
	if b.Task != nil {
		what, target = what+" task", "document "+b.Path
		if b.Task.Revision != "" {
			target += ", revision " + b.Task.Revision
		}
	}
	if n := b.sizeOf(); n >= 0 {
		size = plural(n, "byte")
	}
	text := fmt.Sprintf("opened %s of %s, %s", what, target, size)
	if b.Until != nil {
		text += ", until " + b.Until.UTC().Format(storyTime)
	}
	return text
}

func (b *toldBody) sha1(words string) string {
	if b.SHA1 == "" {
		return ""
	}
	return words + b.SHA1
}

// why is a code with what was said about it.
func (b *toldBody) why() string {
	if b.Message == "" {
		return b.Code
	}
	return fmt.Sprintf("%s (%s)", b.Code, b.Message)
}

// asked is the name of a request with what it was asked with, but for what is
// not said in one word.
func (b *toldBody) asked() string {
	action := b.Action
	if action == "" {
		action = "something that cannot be read"
	}
	var params map[string]any
	numbers := json.NewDecoder(bytes.NewReader(b.Params))
	numbers.UseNumber() // in full
	if numbers.Decode(&params) != nil {
		return action // there are none
	}
	var words []string
	for name, v := range params {
		switch v.(type) {
		case string, json.Number, bool:
			words = append(words, fmt.Sprintf("%s=%v", name, v))
		case nil:
		default:
			words = append(words, name+"=…")
		}
	}
	if len(words) == 0 {
		return action
	}
	slices.Sort(words)
	return fmt.Sprintf("%s (%s)", action, strings.Join(words, ", "))
}

// subtree is what a fact about several nodes is about.
func (b *toldBody) subtree() string {
	if len(b.Nodes) == 1 {
		return b.ID
	}
	return fmt.Sprintf("%s with what is in it, %d in all", b.ID, len(b.Nodes))
}

func inDirectory(node uint64) string {
	if node == 0 {
		return "the root"
	}
	return fmt.Sprintf("directory number %d", node)
}

func expiry(unix int64) string {
	if unix == 0 {
		return ""
	}
	return " until " + time.Unix(unix, 0).UTC().Format(storyTime)
}

func digestWords(hex string) string {
	if len(hex) == 40 {
		return "SHA-1 " + hex
	}
	return "SHA-256 " + hex
}
