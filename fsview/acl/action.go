package acl

// Action is something done to a file or directory as access rules name it
// (CFMS.md §6.2).
type Action string

// The actions. No other name is looked up in rules.
const (
	ActionRead              Action = "read"
	ActionWrite             Action = "write"
	ActionList              Action = "list"
	ActionRename            Action = "rename"
	ActionDelete            Action = "delete"
	ActionPermanentlyDelete Action = "permanently_delete"
	ActionRecover           Action = "recover"
	ActionMove              Action = "move"
	ActionChangeID          Action = "change_id"
	ActionDeleteRev         Action = "delete_rev"
	ActionRecoverRev        Action = "recover_rev"
)

// actions are all of them; index gives the place of one.
var actions = [...]Action{
	ActionRead, ActionWrite, ActionList, ActionRename, ActionDelete, ActionPermanentlyDelete,
	ActionRecover, ActionMove, ActionChangeID, ActionDeleteRev, ActionRecoverRev,
}

// Base gives the action whose entries count where a has none of its own: read
// for list and read, write for every other (CFMS.md §6.2).
func Base(a Action) Action {
	if a == ActionRead || a == ActionList {
		return ActionRead
	}
	return ActionWrite
}

// index gives the place of a in actions; known is false, and the place that of
// write, for a name that is none: requests for unknown actions are tested as
// writes (CFMS.md §4.2).
func index(a Action) (i int, known bool) {
	switch a {
	case ActionRead:
		return 0, true
	case ActionWrite:
		return 1, true
	case ActionList:
		return 2, true
	case ActionRename:
		return 3, true
	case ActionDelete:
		return 4, true
	case ActionPermanentlyDelete:
		return 5, true
	case ActionRecover:
		return 6, true
	case ActionMove:
		return 7, true
	case ActionChangeID:
		return 8, true
	case ActionDeleteRev:
		return 9, true
	case ActionRecoverRev:
		return 10, true
	}
	return 1, false
}

// actionSet is a set of actions, one bit each at its index.
type actionSet uint16

const allActions actionSet = 1<<len(actions) - 1

func (s actionSet) has(a Action) bool {
	i, _ := index(a)
	return s>>i&1 == 1
}

// covered gives the actions that a name cuts off: itself and those it is the
// base of.
func covered(name Action) actionSet {
	var s actionSet
	for i, a := range actions {
		if a == name || Base(a) == name {
			s |= 1 << i
		}
	}
	return s
}
