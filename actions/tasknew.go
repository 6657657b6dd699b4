package actions

import (
	"time"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// newTask is a task that is about to be made: its names are drawn before the
// decision, which may run more than once.
type newTask struct {
	session   sessions.ID
	id, token string
	revision  string
	until     time.Time
}

func (e *Engine) newTask() newTask {
	return newTask{
		session: sessions.NewID(), id: randomHex(64), token: randomHex(32), revision: randomHex(16),
		until: e.cfg.Now().Add(taskLife).UTC().Truncate(time.Microsecond),
	}
}

func (n *newTask) opened(key string, created bool) *TaskOpened {
	return &TaskOpened{
		ID: n.id, Token: n.token, Expires: n.until, Key: key, FakeName: fakeName(n.session), Created: created,
	}
}

// read decides that a revision is to be read. key is what the client knows the
// document by, name what the journal does.
func (n *newTask) read(s *State, who *acl.Subject, rev *doctree.Revision) ([]journal.Fact, error) {
	if s.sessions.OpenTasks(who.Name) >= maxOpenTasks {
		return nil, acl.CodeTooManyTasks
	}
	f, err := s.sessions.OpenDownload(sessions.NewDownload{
		ID: n.session, Path: rev.NodeID, Until: n.until,
		Task:    &sessions.Task{ID: n.id, Token: tokenSum(n.token), Node: uint64(rev.Node), Revision: string(rev.ID)},
		Content: sessions.Content{SHA256: rev.Digest, Size: rev.Size},
	})
	return []journal.Fact{f}, err
}

// write decides that a document is to be written. The asker's own open write
// task on it is given up for the new one; somebody else's is in the way, unless
// force cancels it (CFMS.md §4.5).
func (n *newTask) write(s *State, who *acl.Subject, node doctree.Key, id string, force bool, ended *endedTasks) ([]journal.Fact, error) {
	var facts []journal.Fact
	open := s.sessions.OpenTasks(who.Name)
	if u, ok := s.sessions.WriteTask(uint64(node)); ok {
		if u.Owner != who.Name && !force {
			return nil, acl.CodeInUse
		}
		if u.Owner == who.Name {
			open--
		}
		f, err := s.sessions.Cancel(u.ID)
		if err != nil {
			return nil, err
		}
		facts = append(facts, f)
		ended.add(&u)
	}
	if open >= maxOpenTasks {
		return nil, acl.CodeTooManyTasks
	}
	f, err := s.sessions.OpenUpload(sessions.NewUpload{
		ID: n.session, Path: id, Size: -1, Until: n.until,
		Task: &sessions.Task{ID: n.id, Token: tokenSum(n.token), Node: uint64(node), Revision: n.revision},
	})
	return append(facts, f), err
}

// endedTasks are the tasks that a decision ends, and the contents it may leave
// without a name: what is to be seen to once it is committed.
type endedTasks struct {
	writes, reads []sessions.ID
	digests       []string
}

// of decides the ends of the tasks that the tree's decision leaves without a
// document.
func (t *endedTasks) of(s *State, out doctree.Outcome) (facts []journal.Fact, err error) {
	*t = endedTasks{}
	for _, node := range out.CancelWrites {
		if facts, err = t.write(s, facts, node); err != nil {
			return nil, err
		}
	}
	for _, node := range out.CancelAll {
		if facts, err = t.write(s, facts, node); err != nil {
			return nil, err
		}
		for _, id := range s.sessions.ReadTasks(uint64(node)) {
			f, err := s.sessions.CancelDownload(id)
			if err != nil {
				return nil, err
			}
			if d, ok := s.sessions.Download(id); ok {
				t.digests = append(t.digests, d.Content.SHA256)
			}
			facts, t.reads = append(facts, f), append(t.reads, id)
		}
		t.digests = append(t.digests, s.tree.Digests(node)...)
	}
	return facts, nil
}

func (t *endedTasks) write(s *State, facts []journal.Fact, node doctree.Key) ([]journal.Fact, error) {
	u, ok := s.sessions.WriteTask(uint64(node))
	if !ok {
		return facts, nil
	}
	f, err := s.sessions.Cancel(u.ID)
	t.add(&u)
	return append(facts, f), err
}

// add notes a write task that ends.
func (t *endedTasks) add(u *sessions.Upload) {
	t.writes = append(t.writes, u.ID)
	if u.Digest != "" {
		t.digests = append(t.digests, u.Digest)
	}
}

// ofUser decides the ends of all open tasks of a user.
func (t *endedTasks) ofUser(s *State, user string) (facts []journal.Fact, err error) {
	*t = endedTasks{}
	writes, reads := s.sessions.TasksOf(user)
	t.reads = reads
	for _, id := range writes {
		f, err := s.sessions.Cancel(id)
		if err != nil {
			return nil, err
		}
		if u, ok := s.sessions.Upload(id); ok {
			t.add(&u)
		}
		facts = append(facts, f)
	}
	for _, id := range t.reads {
		if d, ok := s.sessions.Download(id); ok {
			t.digests = append(t.digests, d.Content.SHA256)
		}
		f, err := s.sessions.CancelDownload(id)
		if err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	return facts, nil
}
