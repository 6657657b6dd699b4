package docwire

import (
	"slices"

	"waybill/actions"
	"waybill/fsview/acl"
)

const (
	numberOK = 0
	// numberPartly answers what was done in part, with what could not be
	// (CFMS.md §5.1, §5.5).
	numberPartly = -3
	// numberGoodbye answers shutdown (§3.3).
	numberGoodbye = 200

	wordsOK        = "ok"
	wordsProcessed = "request processed"
)

// AppendReply appends the whole answer to req: that it is refused if err is not
// nil, else the result. Of an error it tells what the acl.Code or *acl.Refusal
// in its chain says, of any other only that it happened. actions.ErrStopping and
// ErrFailed are not for here: they end the connection.
func AppendReply(dst []byte, req *Request, res actions.DocResult, err error, set Settings) []byte {
	switch {
	case err != nil:
		dst = appendRefusal(dst, req, err)
	case req.Disconnect:
		return append(dst, Goodbye...)
	default:
		dst = appendResult(dst, res, set)
	}
	if req.TraceID != "" {
		dst = appendText(dst, `,"trace_id":`, req.TraceID)
		dst = appendText(dst, `,"api_version":`, apiVersion)
	}
	return append(dst, '}')
}

// appendHead begins a reply.
func appendHead(dst []byte, number int, words string) []byte {
	dst = appendInt(dst, `{"code":`, int64(number))
	return appendText(dst, `,"msg":`, words)
}

func appendRefusal(dst []byte, req *Request, err error) []byte {
	r, a := refusalOf(err)
	if req.Name == requestRefresh && (r.Code == acl.CodeNoAuth || r.Code == acl.CodeToken) {
		a.number = unauthorized
	}
	dst = appendHead(dst, a.number, a.words)
	switch r.Code {
	case acl.CodeFileExists:
		dst = appendText(dst, `,"__hint__":`, fileHint)
	case acl.CodeDirExists:
		dst = appendText(dst, `,"__hint__":`, dirHint)
	case acl.CodeRestoreFirst:
		dst = append(appendInt(dst, `,"data":{"expire_time":`, r.Expire), '}')
	case acl.CodeNoAvatar:
		dst = append(dst, `,"data":{}`...)
	case acl.CodeLoginBlocked:
		dst = appendInt(dst, `,"retry_after":`, r.RetryAfter)
	}
	return dst
}

// appendResult appends a reply without its end.
func appendResult(dst []byte, res actions.DocResult, set Settings) []byte {
	switch res := res.(type) {
	case nil:
		// Nothing was decided, so it is no success.
		a := answers[acl.CodeUnexpected]
		return appendHead(dst, a.number, a.words)
	case actions.Done:
		return appendHead(dst, numberOK, doneWords(res))
	case *actions.LoggedIn:
		dst = appendHead(dst, numberOK, wordsOK)
		dst = appendText(dst, `,"token":`, res.Token)
		dst = appendInt(dst, `,"ftp_port":`, int64(set.FTPPort))
		return appendText(dst, `,"task_path":`, TaskPath)
	case *actions.Refreshed:
		return appendText(appendHead(dst, numberOK, wordsOK), `,"token":`, res.Token)
	case *actions.PasswordSet:
		dst = appendHead(dst, numberOK, wordsOK)
		if res.Token == "" {
			return dst
		}
		return appendText(dst, `,"token":`, res.Token)
	case actions.Stopping:
		return appendHead(dst, numberGoodbye, "goodbye")
	case *actions.TaskOpened:
		return appendTask(dst, res)
	case *actions.RevisionList:
		return appendRevisions(appendHead(dst, numberOK, wordsOK), res)
	case *actions.DirListing:
		return appendListing(appendHead(dst, numberOK, wordsOK), res)
	case *actions.BatchDone:
		dst = appendHead(dst, partly(res.Failed), wordsProcessed)
		dst = appendTexts(dst, `,"data":{"succeeded":`, res.Succeeded)
		return append(appendTexts(dst, `,"failed":`, res.Failed), '}')
	case *actions.DirCreated:
		dst = appendHead(dst, numberOK, "directory created")
		return append(appendText(dst, `,"data":{"dir_id":`, res.ID), '}')
	}
	return appendPeopleResult(dst, res)
}

// appendPeopleResult is appendResult for policies, rules, users and groups.
func appendPeopleResult(dst []byte, res actions.DocResult) []byte {
	switch res := res.(type) {
	case *actions.PolicyContent:
		return appendRaw(appendHead(dst, numberOK, wordsOK), `,"data":`, res.Content)
	case *actions.AccessRules:
		dst = appendHead(dst, numberOK, wordsOK)
		dst = appendRaw(dst, `,"data":{"access_rules":`, res.AccessRules)
		dst = appendRaw(dst, `,"external_access":`, res.ExternalAccess)
		if res.Inherit != nil {
			dst = appendBool(dst, `,"inherit_by_subdirectory":`, *res.Inherit)
		}
		return append(dst, '}')
	case *actions.PublicKey:
		dst = appendHead(dst, numberOK, wordsOK)
		return append(appendText(dst, `,"data":{"publickey":`, res.PEM), '}')
	case *actions.Properties:
		return appendProperties(appendHead(dst, numberOK, wordsOK), &res.Properties)
	case *actions.GroupCreated:
		words := wordsOK
		if len(res.Failed) > 0 {
			words = wordsProcessed
		}
		dst = appendHead(dst, partly(res.Failed), words)
		return append(appendTexts(dst, `,"data":{"failed":`, res.Failed), '}')
	}
	panic("docwire: unknown result") // the set is closed, and a test renders all of it
}

func doneWords(d actions.Done) string {
	switch {
	case d.Unchanged:
		return "no changes made"
	case d.Renamed:
		return "success"
	}
	return wordsOK
}

func partly(failed []string) int {
	if len(failed) > 0 {
		return numberPartly
	}
	return numberOK
}

func appendTask(dst []byte, t *actions.TaskOpened) []byte {
	words := wordsOK
	if t.Created {
		words = "file created"
	}
	dst = appendHead(dst, numberOK, words)
	dst = appendText(dst, `,"data":{"task_id":`, t.ID)
	dst = appendText(dst, `,"task_token":`, t.Token)
	dst = appendInstant(dst, `,"expire_time":`, t.Expires)
	dst = appendText(dst, `,"t_filename":{`, t.Key)
	return append(appendText(dst, `:`, t.FakeName), '}', '}')
}

func appendRevisions(dst []byte, l *actions.RevisionList) []byte {
	dst = append(dst, `,"data":{"revisions":{`...)
	for i := range l.Revisions {
		r := &l.Revisions[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, string(r.ID))
		dst = appendFloat(dst, `:{"created_time":`, r.Created)
		state := int64(0)
		if r.State.Deleted {
			state = 1
		}
		dst = appendInt(dst, `,"state":`, state)
		dst = appendInt(dst, `,"state_expire_time":`, r.State.Expire)
		dst = appendInt(dst, `,"size":`, r.Size)
		dst = append(appendText(dst, `,"sha256":`, r.Digest), '}')
	}
	return append(dst, '}', '}')
}

// entryRoom is what an entry of a listing takes beside its id and its name.
const entryRoom = 144

// appendListing appends dir_data, an object in the order of the listing with the
// directory above in front (CFMS.md §5.1).
func appendListing(dst []byte, l *actions.DirListing) []byte {
	room := 2 * entryRoom
	for i := range l.Entries {
		room += entryRoom + len(l.Entries[i].ID) + len(l.Entries[i].Name)
	}
	dst = append(slices.Grow(dst, room), `,"dir_data":{`...)
	if p := l.Parent; p != nil {
		dst = appendText(appendString(dst, p.ID), `:{"name":`, p.Name)
		dst = appendFloat(dst, `,"type":"dir","parent":true,"properties":{"created_time":`, p.Created)
		dst = append(dst, '}', '}')
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		if i > 0 || l.Parent != nil {
			dst = append(dst, ',')
		}
		dst = appendText(appendString(dst, e.ID), `:{"name":`, e.Name)
		kind := `,"type":"file","state":{"code":`
		if e.Dir {
			kind = `,"type":"dir","state":{"code":`
		}
		dst = appendText(dst, kind, e.State.Code())
		dst = appendInt(dst, `,"expire_time":`, e.State.Expire)
		dst = appendFloat(dst, `},"properties":{"created_time":`, e.Created)
		if !e.Dir {
			dst = appendInt(dst, `,"size":`, e.Size)
		}
		dst = append(dst, '}', '}')
	}
	dst = append(dst, '}')
	if !l.Root {
		dst = appendText(dst, `,"dir_name":`, l.Name)
	}
	if l.Deprecated {
		dst = appendBool(dst, `,"deprecated":`, true)
	}
	return dst
}

func appendProperties(dst []byte, p *acl.Properties) []byte {
	u := &p.Properties
	dst = appendTexts(dst, `,"rights":`, p.Rights)
	dst = appendTexts(dst, `,"groups":`, p.Groups)
	dst = appendInt(dst, `,"properties":{"state":`, int64(u.State))
	dst = appendFloat(dst, `,"state_description":{"time":`, u.StateDescription.Time)
	dst = appendOptional(dst, `,"operator":`, u.StateDescription.Operator)
	dst = appendOptional(dst, `,"reason":`, u.StateDescription.Reason)
	dst = appendText(dst, `},"nickname":`, u.Nickname)
	dst = appendOptional(dst, `,"avatar":{"file_id":`, u.Avatar.FileID)
	dst = appendBool(dst, `},"publicity":{"restricted":`, u.Publicity.Restricted)
	dst = appendRaw(dst, `,"access_rules":`, u.Publicity.AccessRules)
	dst = appendRaw(dst, `,"external_access":`, u.Publicity.ExternalAccess)
	return append(dst, '}', '}')
}
