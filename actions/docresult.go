package actions

import (
	"encoding/json"
	"time"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

// DocResult is what a request of the document library that succeeded answers:
// one of the types of this file.
type DocResult interface{ isDocResult() }

// Done is success and nothing else. Renamed and Unchanged only choose the words
// of the message (CFMS.md §4.2, §5.1).
type Done struct{ Renamed, Unchanged bool }

// LoggedIn is a new token.
type LoggedIn struct{ Token string }

// Refreshed is a new token.
type Refreshed struct{ Token string }

// PasswordSet answers a password that was changed. Token is set for one's own.
type PasswordSet struct{ Token string }

// Stopping answers a shutdown; the daemon stops once the answer has left.
type Stopping struct{}

// TaskOpened is a file task (CFMS.md §4.3). Key is what stands in t_filename
// before the fake name: the id of the file, "" for an avatar. Created marks the
// task of a file that has just been made.
type TaskOpened struct {
	ID, Token string
	Expires   time.Time
	Key       string
	FakeName  string
	Created   bool
}

// RevisionList answers getFileRevisions, in the order asked for.
type RevisionList struct{ Revisions []doctree.RevisionInfo }

// DirListing is a directory. DirName and Deprecated stand in the answers of
// some requests only.
type DirListing struct {
	*doctree.Listing
	Root, Deprecated bool
}

// BatchDone answers what was done to a directory and all below it.
type BatchDone struct{ Succeeded, Failed []string }

// DirCreated names a new directory.
type DirCreated struct{ ID string }

// PolicyContent is a policy's content.
type PolicyContent struct{ Content json.RawMessage }

// AccessRules are the rules of a node.
type AccessRules struct{ doctree.AccessInfo }

// PublicKey is a user's key in PEM.
type PublicKey struct{ PEM string }

// Properties tells what a user is.
type Properties struct{ acl.Properties }

// GroupCreated names the members that could not be added.
type GroupCreated struct{ Failed []string }

func (Done) isDocResult()           {}
func (*LoggedIn) isDocResult()      {}
func (*Refreshed) isDocResult()     {}
func (*PasswordSet) isDocResult()   {}
func (Stopping) isDocResult()       {}
func (*TaskOpened) isDocResult()    {}
func (*RevisionList) isDocResult()  {}
func (*DirListing) isDocResult()    {}
func (*BatchDone) isDocResult()     {}
func (*DirCreated) isDocResult()    {}
func (*PolicyContent) isDocResult() {}
func (*AccessRules) isDocResult()   {}
func (*PublicKey) isDocResult()     {}
func (*Properties) isDocResult()    {}
func (*GroupCreated) isDocResult()  {}
