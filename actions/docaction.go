package actions

import (
	"encoding/json"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

// DocAction is a request of the document library (CFMS.md) parsed into its
// type. The set is closed: the types of this file. Pointers and raw JSON that
// are nil were absent: which of several faults is told first is a rule of the
// request, so presence is decided where the rights are.
type DocAction interface {
	// Name is the request's name on the wire and in the journal.
	Name() string
	// recorded is what the journal is told of its arguments: no secrets.
	recorded() any
}

// Login asks for a token. Password is the lower-case hex SHA-256 of the typed
// password (CFMS.md §3.1).
type Login struct{ Username, Password string }

// RefreshToken asks for a new token on the strength of an old one.
type RefreshToken struct{}

// Shutdown asks the daemon to stop.
type Shutdown struct{}

// OperateFile does something to a file (CFMS.md §4.2).
type OperateFile struct{ doctree.FileOp }

// CreateFile makes a file (CFMS.md §4.6). HasData tells whether there were
// arguments at all, be they empty.
type CreateFile struct {
	HasData bool
	doctree.NewFile
}

// FileRevisions asks for a file's revisions (CFMS.md §4.7).
type FileRevisions struct{ doctree.RevisionsOp }

// OperateDir does something to a directory (CFMS.md §5.1).
type OperateDir struct{ doctree.DirOp }

// GetDir is the deprecated form of listing a directory (CFMS.md §5.2).
type GetDir struct {
	DirID       *string
	ViewDeleted bool
}

// GetRootDir asks for what is in the root.
type GetRootDir struct{ ViewDeleted bool }

// CreateDir makes a directory.
type CreateDir struct{ doctree.NewDir }

// GetPolicy asks for a policy's content.
type GetPolicy struct{ ID *string }

// SetPolicy replaces a policy's content (CFMS.md §5.6).
type SetPolicy struct {
	ID      *string
	Content json.RawMessage
}

// GetAvatar asks to read somebody's picture.
type GetAvatar struct{ Username *string }

// GetAccess asks for the rules of a node; "" is the root.
type GetAccess struct{ ID *string }

// SetAccess replaces rules of a node.
type SetAccess struct{ doctree.SetAccess }

// CreateUser makes a user. The password in it is the typed one.
type CreateUser struct{ acl.NewUser }

// OperateUser does something to a user.
type OperateUser struct{ acl.UserOp }

// UserProperties asks what a user is; "" means oneself.
type UserProperties struct {
	HasData  bool
	Username string
}

// CreateGroup makes a group.
type CreateGroup struct{ acl.NewGroup }

// BadArguments is a known request one of whose fields is of the wrong type. It
// is refused once the token has been looked at.
type BadArguments struct{ Request string }

func (*Login) Name() string          { return "login" }
func (RefreshToken) Name() string    { return "refreshToken" }
func (Shutdown) Name() string        { return "shutdown" }
func (*OperateFile) Name() string    { return "operateFile" }
func (*CreateFile) Name() string     { return "createFile" }
func (*FileRevisions) Name() string  { return "getFileRevisions" }
func (*OperateDir) Name() string     { return "operateDir" }
func (*GetDir) Name() string         { return "getDir" }
func (*GetRootDir) Name() string     { return "getRootDir" }
func (*CreateDir) Name() string      { return "createDir" }
func (*GetPolicy) Name() string      { return "getPolicy" }
func (*SetPolicy) Name() string      { return "setPolicy" }
func (*GetAvatar) Name() string      { return "getAvatar" }
func (*GetAccess) Name() string      { return "getAccess" }
func (*SetAccess) Name() string      { return "setAccess" }
func (*CreateUser) Name() string     { return "createUser" }
func (*OperateUser) Name() string    { return "operateUser" }
func (*UserProperties) Name() string { return "getUserProperties" }
func (*CreateGroup) Name() string    { return "createGroup" }
func (a *BadArguments) Name() string { return a.Request }

// redacted stands in the journal for what must not be there.
const redacted = "[redacted]"

// hidden is redacted for a secret that was given, nil for one that was not.
func hidden(secret *string) *string {
	if secret == nil {
		return nil
	}
	r := redacted
	return &r
}

func (a *Login) recorded() any {
	return struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}{shortName(a.Username), redacted}
}

func (RefreshToken) recorded() any { return nil }
func (Shutdown) recorded() any     { return nil }
func (a *OperateFile) recorded() any {
	return a.FileOp
}
func (a *CreateFile) recorded() any    { return a.NewFile }
func (a *FileRevisions) recorded() any { return a.RevisionsOp }
func (a *OperateDir) recorded() any    { return a.DirOp }

func (a *GetDir) recorded() any {
	return struct {
		ID          *string `json:"dir_id,omitempty"`
		ViewDeleted bool    `json:"view_deleted,omitempty"`
	}{a.DirID, a.ViewDeleted}
}

func (a *GetRootDir) recorded() any {
	return struct {
		ViewDeleted bool `json:"view_deleted,omitempty"`
	}{a.ViewDeleted}
}

func (a *CreateDir) recorded() any { return a.NewDir }

func (a *GetPolicy) recorded() any {
	return struct {
		ID *string `json:"policy_id,omitempty"`
	}{a.ID}
}

func (a *SetPolicy) recorded() any {
	return struct {
		ID      *string         `json:"policy_id,omitempty"`
		Content json.RawMessage `json:"content,omitempty"`
	}{a.ID, a.Content}
}

func (a *GetAvatar) recorded() any {
	return struct {
		Username *string `json:"username,omitempty"`
	}{a.Username}
}

func (a *GetAccess) recorded() any {
	return struct {
		ID *string `json:"id,omitempty"`
	}{a.ID}
}

func (a *SetAccess) recorded() any { return a.SetAccess }

func (a *CreateUser) recorded() any {
	return struct {
		Username *string         `json:"username,omitempty"`
		Password *string         `json:"password,omitempty"`
		Nickname *string         `json:"nickname,omitempty"`
		Rights   json.RawMessage `json:"rights,omitempty"`
		Groups   json.RawMessage `json:"groups,omitempty"`
	}{a.Username, hidden(a.Password), a.Nickname, a.Rights, a.Groups}
}

func (a *OperateUser) recorded() any {
	return struct {
		Action    string          `json:"action,omitempty"`
		Username  *string         `json:"username,omitempty"`
		NewPwd    *string         `json:"new_pwd,omitempty"`
		NewGroups json.RawMessage `json:"new_groups,omitempty"`
		NewRights json.RawMessage `json:"new_rights,omitempty"`
		Nickname  *string         `json:"nickname,omitempty"`
		Status    json.RawMessage `json:"status,omitempty"`
		Reason    *string         `json:"reason,omitempty"`
		PublicKey *string         `json:"publickey,omitempty"`
		FileID    *string         `json:"file_id,omitempty"`
	}{a.Action, a.Username, hidden(a.NewPwd), a.NewGroups, a.NewRights, a.Nickname, a.Status, a.Reason, a.PublicKey, a.FileID}
}

func (a *UserProperties) recorded() any {
	return struct {
		Username string `json:"username,omitempty"`
	}{a.Username}
}

func (a *CreateGroup) recorded() any {
	return struct {
		Name    *string         `json:"group_name,omitempty"`
		Rights  json.RawMessage `json:"rights,omitempty"`
		Enabled json.RawMessage `json:"enabled,omitempty"`
		Members json.RawMessage `json:"members,omitempty"`
	}{a.NewGroup.Name, a.Rights, a.Enabled, a.Members}
}

func (a *BadArguments) recorded() any { return nil }

// DocRequests lists the names of all requests, so that a wire can be tested for
// completeness. uploadFile is an alias of createFile, and disconnect ends a
// connection and never gets here.
func DocRequests() []string {
	return []string{
		"login", "refreshToken", "shutdown", "operateFile", "createFile", "getFileRevisions", "operateDir", "getDir",
		"getRootDir", "createDir", "getPolicy", "setPolicy", "getAvatar", "getAccess", "setAccess", "createUser",
		"operateUser", "getUserProperties", "createGroup",
	}
}
