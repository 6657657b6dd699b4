package actions

import (
	"strconv"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
)

// operateFile does something to a file; reading and writing give out a task.
func (e *Engine) operateFile(c *docCall, a *OperateFile) (DocResult, error) {
	var ended endedTasks
	task := e.newTask()
	result, err := e.decideDoc(c, func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		ended = endedTasks{}
		out, err := s.tree.OperateFile(who, a.FileOp, now)
		switch {
		case err != nil:
			return nil, nil, err
		case out.Read != nil:
			facts, err := task.read(s, who, out.Read)
			return facts, task.opened(out.Read.NodeID, false), err
		case out.Write != nil:
			facts, err := task.write(s, who, out.Write.Key, out.Write.ID, a.ForceWrite, &ended)
			return facts, task.opened(out.Write.ID, false), err
		}
		facts, err := ended.of(s, out)
		return append(out.Facts, facts...), Done{Renamed: *a.Action == string(acl.ActionRename)}, err
	})
	if err != nil {
		return nil, err
	}
	e.tasksEnded(&ended)
	return result, nil
}

// createFile makes a file, with a task to write it.
func (e *Engine) createFile(c *docCall, a *CreateFile) (DocResult, error) {
	task, placeholder, id := e.newTask(), doctree.RevisionID(randomHex(16)), randomHex(8)
	untitled := "Untitled-" + strconv.FormatInt(e.cfg.Now().Unix(), 10)
	return e.decideDoc(c, func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		if !a.HasData {
			return nil, nil, acl.CodeMissing
		}
		out, err := s.tree.CreateFile(who, a.NewFile, id, untitled, placeholder, now)
		if err != nil {
			return nil, nil, err
		}
		var none endedTasks // nobody can be writing a file that is just being made
		facts, err := task.write(s, who, out.Write.Key, out.Write.ID, false, &none)
		return append(out.Facts, facts...), task.opened(out.Write.ID, true), err
	})
}

// getAvatar gives out a task to read somebody's picture (CFMS.md §5.3).
func (e *Engine) getAvatar(c *docCall, a *GetAvatar) (DocResult, error) {
	task := e.newTask()
	return e.decideDoc(c, func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error) {
		file, err := s.accounts.AvatarOf(who, a.Username, s.tree.AllowAvatars(), now)
		if err != nil {
			return nil, nil, err
		}
		rev, err := s.avatar(file)
		if err != nil {
			return nil, nil, err
		}
		facts, err := task.read(s, who, rev)
		return facts, task.opened("", false), err
	})
}

// avatar is the picture that a file holds, or else the built-in one.
func (s *State) avatar(file string) (*doctree.Revision, error) {
	if file != "" {
		if rev, ok := s.tree.AvatarContent(file); ok {
			return rev, nil
		}
	}
	if s.tree.DefaultAvatar() != defaultAvatar {
		return nil, acl.CodeNoAvatar
	}
	return &doctree.Revision{Digest: avatarDigest, Size: int64(len(avatarPNG))}, nil
}
