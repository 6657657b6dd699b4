package docwire

import (
	"encoding/json"

	"waybill/actions"
	"waybill/fsview/acl"
)

// decodeLogin reads the data of login, which alone is refused at once for what
// is not there (CFMS.md §3.1). What is no text counts as empty; the core answers
// that.
func decodeLogin(data literal) (actions.DocAction, error) {
	if !data.isObject() {
		return nil, acl.CodeArguments
	}
	var username, password literal
	for key, value := range data.members() {
		switch string(key) {
		case "username":
			username = value
		case "password":
			password = value
		}
	}
	a := &actions.Login{}
	a.Username, _ = username.text()
	a.Password, _ = password.text()
	return a, nil
}

// decodeAction reads the data of any other request; a BadArguments if it is no
// object, or one of its fields of the wrong type. Requests that have no
// arguments have no data either: there it is one more unknown key, and a
// refreshToken never answers -1.
func decodeAction(name string, data literal) actions.DocAction {
	f := fields{bound: make([]field, 0, mostFields)}
	a := f.action(name, data != nil)
	if len(f.bound) > 0 && data != nil && !(data.isObject() && f.read(data)) {
		return &actions.BadArguments{Request: name}
	}
	return a
}

// action makes the named action and binds its fields. What is bound twice may
// be sent under either name, and the later binding wins.
func (f *fields) action(name string, hasData bool) actions.DocAction {
	switch name {
	case requestRefresh:
		return actions.RefreshToken{}
	case "shutdown":
		return actions.Shutdown{}
	case "operateFile":
		return f.operateFile()
	case "createFile":
		a := &actions.CreateFile{HasData: hasData}
		f.bind("directory_id", &a.DirectoryID)
		f.bind("file_id", &a.FileID)
		f.bind("filename", &a.Filename)
		return a
	case "getFileRevisions":
		a := &actions.FileRevisions{}
		f.bind("file_id", &a.FileID)
		f.bind("view_deleted", &a.ViewDeleted)
		f.bind("reverse", &a.Reverse)
		f.bind("item_range", &a.ItemRange)
		return a
	case "operateDir":
		return f.operateDir()
	case "getDir":
		a := &actions.GetDir{}
		f.bind("dir_id", &a.DirID)
		f.bind("id", &a.DirID)
		f.bind("view_deleted", &a.ViewDeleted)
		return a
	case "getRootDir":
		a := &actions.GetRootDir{}
		f.bind("view_deleted", &a.ViewDeleted)
		return a
	case "createDir":
		a := &actions.CreateDir{}
		f.bind("name", &a.NewDir.Name)
		f.bind("dir_id", &a.DirID)
		f.bind("parent_id", &a.ParentID)
		return a
	}
	return f.peopleAction(name, hasData)
}

// peopleAction is action for policies, rules, users and groups.
func (f *fields) peopleAction(name string, hasData bool) actions.DocAction {
	switch name {
	case "getPolicy":
		a := &actions.GetPolicy{}
		f.bind("policy_id", &a.ID)
		return a
	case "setPolicy":
		a := &actions.SetPolicy{}
		f.bind("policy_id", &a.ID)
		f.bind("content", &a.Content)
		return a
	case "getAvatar":
		a := &actions.GetAvatar{}
		f.bind("username", &a.Username)
		return a
	case "getAccess":
		a := &actions.GetAccess{}
		f.bind("id", &a.ID)
		return a
	case "setAccess":
		a := &actions.SetAccess{}
		f.bind("id", &a.ID)
		f.bind("access_rules", &a.AccessRules)
		f.bind("external_access", &a.ExternalAccess)
		f.bind("inherit_by_subdirectory", &a.Inherit)
		return a
	case "createUser":
		a := &actions.CreateUser{}
		f.bind("username", &a.Username)
		f.bind("password", &a.Password)
		f.bind("nickname", &a.Nickname)
		f.bind("rights", &a.Rights)
		f.bind("groups", &a.Groups)
		return a
	case "operateUser":
		return f.operateUser()
	case "getUserProperties":
		a := &actions.UserProperties{HasData: hasData}
		f.bind("username", &a.Username)
		return a
	case "createGroup":
		a := &actions.CreateGroup{}
		f.bind("group_name", &a.NewGroup.Name)
		f.bind("rights", &a.Rights)
		f.bind("enabled", &a.Enabled)
		f.bind("members", &a.Members) // what the sample client sends
		f.bind("group_members", &a.Members)
		return a
	}
	panic("docwire: no such request") // the name is one of actions.DocRequests, and a test decodes all of them
}

func (f *fields) operateFile() actions.DocAction {
	a := &actions.OperateFile{}
	f.bind("file_id", &a.FileID)
	f.bind("action", &a.Action)
	f.bind("view_deleted", &a.ViewDeleted)
	f.bind("revision_id", &a.RevisionID)
	f.bind("force_write", &a.ForceWrite)
	f.bind("new_filename", &a.NewFilename)
	f.bind("new_parent", &a.NewParent)
	f.bind("new_id", &a.NewID)
	return a
}

func (f *fields) operateDir() actions.DocAction {
	a := &actions.OperateDir{}
	f.bind("dir_id", &a.DirID)
	f.bind("action", &a.Action)
	f.bind("view_deleted", &a.ViewDeleted)
	f.bind("new_dirname", &a.NewDirname)
	f.bind("new_parent", &a.NewParent)
	f.bind("new_id", &a.NewID)
	return a
}

func (f *fields) operateUser() actions.DocAction {
	a := &actions.OperateUser{}
	f.bind("action", &a.Action)
	f.bind("username", &a.Username)
	f.bind("new_pwd", &a.NewPwd)
	f.bind("new_groups", &a.NewGroups)
	f.bind("new_rights", &a.NewRights)
	f.bind("nickname", &a.Nickname)
	f.bind("status", &a.Status)
	f.bind("reason", &a.Reason)
	f.bind("publickey", &a.PublicKey)
	f.bind("file_id", &a.FileID)
	return a
}

// mostFields is how many a request has at most.
const mostFields = 10

// fields are the arguments of one request and where they go.
type fields struct {
	bound []field
}

// field is a key of data. What it may be follows from into: a string for
// *string and **string, a flag for *bool and **bool, anything for
// *json.RawMessage, whose shape the core judges.
type field struct {
	key  string
	into any
	sent literal
}

func (f *fields) bind(key string, into any) { f.bound = append(f.bound, field{key: key, into: into}) }

// read fills the fields in from data, an object; false if one is of the wrong
// type. What is absent stays as it is.
func (f *fields) read(data literal) bool {
	for key, value := range data.members() {
		for i := range f.bound {
			if f.bound[i].key == string(key) {
				f.bound[i].sent = value
			}
		}
	}
	for i := range f.bound {
		if f.bound[i].sent != nil && !f.bound[i].set() {
			return false
		}
	}
	return true
}

func (f *field) set() (ok bool) {
	switch into := f.into.(type) {
	case *string:
		*into, ok = f.sent.text()
	case **string:
		var s string
		s, ok = f.sent.text()
		*into = &s
	case *bool:
		*into, ok = f.sent.flag()
	case **bool:
		var is bool
		is, ok = f.sent.flag()
		*into = &is
	case *json.RawMessage:
		*into, ok = f.sent.raw(), true
	default:
		panic("docwire: a field of no known type") // they are all bound above
	}
	return ok
}
