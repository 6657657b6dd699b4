package actions

import (
	"encoding/json"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
)

// ruleOf is the rule of a request that needs nothing but the state.
func (e *Engine) ruleOf(a DocAction) rule {
	switch a := a.(type) {
	case *FileRevisions:
		return answers(func(s *State, who *acl.Subject, now float64) (DocResult, error) {
			list, err := s.tree.FileRevisions(who, a.RevisionsOp, now)
			return &RevisionList{Revisions: list}, err
		})
	case *CreateDir:
		id := randomHex(16)
		return func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
			out, err := s.tree.CreateDir(who, a.NewDir, id, now)
			return out.Facts, &DirCreated{ID: out.Node.ID}, err
		}
	case *GetPolicy:
		return answers(func(s *State, who *acl.Subject, now float64) (DocResult, error) {
			content, err := s.tree.GetPolicy(who, a.ID, now)
			return &PolicyContent{Content: content}, err
		})
	case *SetPolicy:
		return changes(func(s *State, who *acl.Subject, now float64) ([]journal.Fact, error) {
			return s.tree.SetPolicy(who, a.ID, a.Content, now)
		})
	case *GetAccess:
		return answers(func(s *State, who *acl.Subject, now float64) (DocResult, error) {
			info, err := s.tree.GetAccess(who, a.ID)
			return &AccessRules{AccessInfo: info}, err
		})
	case *SetAccess:
		return changes(func(s *State, who *acl.Subject, now float64) ([]journal.Fact, error) {
			return s.tree.SetAccess(who, a.SetAccess, now)
		})
	case *UserProperties:
		return answers(func(s *State, who *acl.Subject, now float64) (DocResult, error) {
			p, err := s.accounts.GetProperties(who, a.HasData, a.Username, now)
			return &Properties{Properties: p}, err
		})
	case *CreateGroup:
		return func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
			facts, failed, err := s.accounts.CreateGroup(who, a.NewGroup, s.groupDefaults(), now)
			return facts, &GroupCreated{Failed: failed}, err
		}
	}
	code := acl.CodeUnknownRequest
	if _, bad := a.(*BadArguments); bad {
		code = acl.CodeArguments
	}
	return func(*State, *acl.Subject, float64) ([]journal.Fact, DocResult, error) { return nil, nil, code }
}

// answers is the rule of a request that changes nothing.
func answers(ask func(s *State, who *acl.Subject, now float64) (DocResult, error)) rule {
	return func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		r, err := ask(s, who, now)
		return nil, r, err
	}
}

// changes is the rule of a request that answers nothing but success.
func changes(decide func(s *State, who *acl.Subject, now float64) ([]journal.Fact, error)) rule {
	return func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		facts, err := decide(s, who, now)
		return facts, Done{}, err
	}
}

func (s *State) policy(id string) json.RawMessage {
	content, _ := s.tree.Policy(id)
	return content
}

func (s *State) userDefaults() acl.UserDefaults {
	return acl.ParseUserDefaults(s.policy("user_auth"))
}

func (s *State) groupDefaults() acl.GroupDefaults {
	return acl.ParseGroupDefaults(s.policy("group_settings"))
}

// getDir is the deprecated request for a listing.
func (e *Engine) getDir(c *docCall, a *GetDir) (DocResult, error) {
	list := string(acl.ActionList)
	return e.operateDir(c, doctree.DirOp{DirID: a.DirID, Action: &list, ViewDeleted: a.ViewDeleted}, true)
}

// getRootDir lists the root.
func (e *Engine) getRootDir(c *docCall, a *GetRootDir) (DocResult, error) {
	list := &DirListing{Root: true}
	_, err := e.decideDoc(c, answers(func(s *State, who *acl.Subject, now float64) (_ DocResult, err error) {
		list.Listing, err = s.tree.RootDir(who, a.ViewDeleted, e.cfg.Library.HideNoAccess, now)
		return list, err
	}))
	if err != nil {
		return nil, err
	}
	list.Sort()
	return list, nil
}

// operateDir does something to a directory and all below it.
func (e *Engine) operateDir(c *docCall, op doctree.DirOp, deprecated bool) (DocResult, error) {
	var ended endedTasks
	result, err := e.decideDoc(c, func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		out, err := s.tree.OperateDir(who, op, e.cfg.Library.HideNoAccess, now)
		if err != nil {
			return nil, nil, err
		}
		facts, err := ended.of(s, out)
		return append(out.Facts, facts...), dirResult(op, out, deprecated), err
	})
	if err != nil {
		return nil, err
	}
	if list, ok := result.(*DirListing); ok {
		list.Sort()
	}
	e.tasksEnded(&ended)
	return result, nil
}

func dirResult(op doctree.DirOp, out doctree.Outcome, deprecated bool) DocResult {
	switch {
	case out.Listing != nil:
		return &DirListing{Listing: out.Listing, Deprecated: deprecated}
	case out.Batch != nil:
		return &BatchDone{Succeeded: out.Batch.Succeeded, Failed: out.Batch.Failed}
	}
	return Done{Renamed: *op.Action == string(acl.ActionRename), Unchanged: out.Unchanged}
}

// shutdown asks for a stop, which follows once the answer has left.
func (e *Engine) shutdown(c *docCall) (DocResult, error) {
	return e.decideDoc(c, func(_ *State, who *acl.Subject, _ float64) ([]journal.Fact, DocResult, error) {
		if !who.May(acl.RightShutdown) {
			return nil, nil, acl.CodeDenied
		}
		return nil, Stopping{}, nil
	})
}
