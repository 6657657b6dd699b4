package actions

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// Library is what the document library works with (CFMS.md).
type Library struct {
	// Contents holds what documents contain.
	Contents *fsview.Contents
	// TokenSecret signs tokens, the pepper of Passwords goes into every verifier:
	// with the journal alone nobody can make the one or try the other.
	TokenSecret []byte
	Passwords   acl.Passwords
	// IsMain tells whether a token is the daemon's main token.
	IsMain func(token string) bool
	// NewAdminPassword gives the typed password for the user admin of a new
	// library; it is on disk when it returns. AdminPasswordChanged is called once
	// it is no longer in force.
	NewAdminPassword     func() (string, error)
	AdminPasswordChanged func(stillValid func(typed string) bool) error
	// AdminPassword, if not "", is set at every start, and puts admin back as an
	// enabled sysop (CFMS.md §7.3).
	AdminPassword string
	// SampleData puts something to look at into an empty tree.
	SampleData bool
	// HideNoAccess leaves out of listings what the asker may not read.
	HideNoAccess bool
	// PurgeEvery is the period of the purge job; 0 is never.
	PurgeEvery time.Duration
}

const adminName = "admin"

// contents is what the journal says of the content store. Builtin contents are
// in none.
type contents struct {
	// known are the contents that were stored or are about to be, and not
	// dropped since, with their sizes.
	known map[string]int64
	// dropped are those whose removal a crash may have cut short: it is done
	// again at the start, and what was stored anew meanwhile is known. They are
	// removed one after the other (sweepUntil), so it is the last one that was
	// dropped, or none: a long life leaves no long start.
	dropped map[string]struct{}
}

func newContents() contents {
	return contents{known: make(map[string]int64), dropped: make(map[string]struct{})}
}

// kindObjectDropped: a content that nothing names any more is about to be
// removed.
const kindObjectDropped = "object.dropped"

type objectDroppedBody struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

func (c *contents) stored(digest string, size int64) {
	if isBuiltin(digest) {
		return
	}
	c.known[digest] = size
	delete(c.dropped, digest)
}

func (c *contents) apply(e *journal.Entry) error {
	var b objectDroppedBody
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return fmt.Errorf("%s: %w", e.Kind, err)
	}
	if e.Kind != kindObjectDropped {
		return fmt.Errorf("unknown kind %q", e.Kind)
	}
	if _, ok := c.known[b.SHA256]; !ok {
		return fmt.Errorf("%s: no content %s", e.Kind, b.SHA256)
	}
	delete(c.known, b.SHA256)
	clear(c.dropped)
	c.dropped[b.SHA256] = struct{}{}
	return nil
}

// named counts what names a content: revisions, and sessions that hold it.
func (s *State) named(digest string) int {
	return s.tree.References(digest) + s.sessions.ContentRefs(digest)
}

// hasLibrary tells whether the library has been set up.
func (s *State) hasLibrary() bool {
	_, ok := s.tree.Policy("user_auth")
	return ok
}

// libraryDump is the library's part of the state in its canonical form.
type libraryDump struct {
	Accounts *acl.Accounts    `json:"accounts"`
	Tree     *doctree.Tree    `json:"tree"`
	Contents map[string]int64 `json:"contents"`
	Dropped  []string         `json:"dropped,omitempty"`
}

// dumpLibrary is nil before the library is set up, as in journals that are
// older than it.
func (s *State) dumpLibrary() *libraryDump {
	if !s.hasLibrary() {
		return nil
	}
	return &libraryDump{
		Accounts: s.accounts, Tree: s.tree, Contents: s.contents.known,
		Dropped: slices.Sorted(maps.Keys(s.contents.dropped)),
	}
}

// openLibrary sets the library up for the first time, and does what the
// operator asked for at this start.
func (e *Engine) openLibrary() error {
	l := e.cfg.Library
	if l == nil {
		return nil
	}
	var fresh bool
	if err := e.core.view(func(s *State) { fresh = !s.hasLibrary() }); err != nil {
		return err
	}
	if fresh {
		if err := e.foundLibrary(); err != nil {
			return fmt.Errorf("set up the document library: %w", err)
		}
	}
	if l.AdminPassword != "" {
		if err := e.restoreAdmin(l.AdminPassword); err != nil {
			return fmt.Errorf("set the admin password: %w", err)
		}
	}
	if l.SampleData {
		if err := e.sampleData(); err != nil {
			return fmt.Errorf("sample data: %w", err)
		}
	}
	return e.forgetAdminPassword()
}

// foundLibrary records what a new daemon begins with: one decision, so that
// there is never half a library.
func (e *Engine) foundLibrary() error {
	l := e.cfg.Library
	typed := l.AdminPassword
	if typed == "" {
		var err error
		if typed, err = l.NewAdminPassword(); err != nil {
			return err
		}
	}
	verifier := l.Passwords.Verifier(acl.HashTyped(typed), newSalt())
	return e.core.decide(e.internal(), func(s *State) ([]journal.Fact, error) {
		return append(doctree.Genesis(), acl.Genesis(verifier, s.clock(e.cfg.Now()).UnixMicro())...), nil
	})
}

// restoreAdmin makes typed the password of admin, unless it is already.
func (e *Engine) restoreAdmin(typed string) error {
	l := e.cfg.Library
	hash := acl.HashTyped(typed)
	var verifier string
	if err := e.core.view(func(s *State) {
		if u, ok := s.accounts.User(adminName); ok {
			verifier = u.Verifier
		}
	}); err != nil {
		return err
	}
	next := ""
	if verifier == "" || !l.Passwords.Check(hash, verifier) {
		next = l.Passwords.Verifier(hash, newSalt())
	}
	return e.core.decide(e.internal(), func(s *State) ([]journal.Fact, error) {
		return s.accounts.RestoreAdmin(next, s.clock(e.cfg.Now()).UnixMicro()), nil
	})
}

// forgetAdminPassword has the file with the first admin password removed once
// it is not admin's any more.
func (e *Engine) forgetAdminPassword() error {
	l := e.cfg.Library
	var verifier string
	if err := e.core.view(func(s *State) {
		if u, ok := s.accounts.User(adminName); ok {
			verifier = u.Verifier
		}
	}); err != nil {
		return err
	}
	return l.AdminPasswordChanged(func(typed string) bool {
		return verifier != "" && l.Passwords.Check(acl.HashTyped(typed), verifier)
	})
}

func (e *Engine) sampleData() error {
	revision := doctree.RevisionID(randomHex(16))
	return e.core.decide(e.internal(), func(s *State) ([]journal.Fact, error) {
		return s.tree.SampleData(adminName, revision, sampleDigest, int64(len(sampleText))), nil
	})
}

func (e *Engine) internal() origin { return origin{actorDaemon, "internal", e.boot} }

// clock is the time that a decision counts with: like the records', it does not
// go back.
func (s *State) clock(now time.Time) time.Time {
	if now.Before(s.at) {
		return s.at
	}
	return now
}

// seconds is clock as rules count time.
func (s *State) seconds(now time.Time) float64 { return acl.Seconds(s.clock(now)) }

func newSalt() (salt [16]byte) {
	_, _ = rand.Read(salt[:]) // never fails, says crypto/rand
	return salt
}

// randomHex is n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return hex.EncodeToString(b)
}

// docError turns any failure of the library into what its caller may see.
func docError(err error) *acl.Refusal {
	if r, ok := errors.AsType[*acl.Refusal](err); ok {
		return r
	}
	if c, ok := errors.AsType[acl.Code](err); ok {
		return &acl.Refusal{Code: c}
	}
	switch {
	case errors.Is(err, fsview.ErrNoSpace):
		return &acl.Refusal{Code: acl.CodeDiskFull}
	case errors.Is(err, errUnrecordable):
		return &acl.Refusal{Code: acl.CodeArguments}
	}
	return &acl.Refusal{Code: acl.CodeUnexpected}
}

// publish decides what becomes of a sealed content: a revision of its document,
// or a refusal that ends the task (CFMS.md §4.4).
func (s *State) publish(id sessions.ID, at time.Time) (facts []journal.Fact, p *Published, refusal, err error) {
	u, ok := s.sessions.Upload(id)
	if !ok || u.Task == nil || u.State != sessions.Sealed {
		return nil, nil, nil, sessions.ErrState
	}
	now := acl.Seconds(at)
	refusal = acl.CodeTaskGone
	if s.present(u.Owner) {
		who := s.accounts.Main(now)
		if u.Owner != acl.MainName {
			who, _ = s.accounts.Subject(u.Owner, now)
		}
		facts, refusal = s.tree.Publish(
			who, doctree.Key(u.Task.Node), doctree.RevisionID(u.Task.Revision), u.Digest, u.Size, now)
	}
	var f journal.Fact
	if refusal != nil {
		f, err = s.sessions.Reject(id, string(docError(refusal).Code), "")
		return []journal.Fact{f}, nil, refusal, err
	}
	f, err = s.sessions.Publish(id)
	return append([]journal.Fact{f}, facts...), &Published{Size: u.Size, SHA256: u.Digest, Revision: u.Task.Revision}, nil, err
}
