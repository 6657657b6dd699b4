package daemon

import (
	"errors"
	"io/fs"
	"syscall"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// What Run can fail with beside the errors of the packages below.
var (
	// ErrCreate: something the daemon needs could not be made: a directory, a
	// secret, the listener.
	ErrCreate = errors.New("cannot create")
	// ErrLowSpace: too little space is free to start.
	ErrLowSpace = errors.New("too little free space to start")
	// ErrState: a file in STATE is not what the daemon once wrote there.
	ErrState = errors.New("the state directory is not in order")
	// ErrConfig: what the configuration names is not there, or not fit for it.
	ErrConfig = errors.New("the configuration cannot be followed")
)

// Exit codes of serve (DESIGN.md §6).
const (
	exitDamaged   = 65
	exitBug       = 70
	exitCreate    = 73
	exitIO        = 74
	exitTemporary = 75
	exitAccess    = 77
	exitConfig    = 78
)

// ExitCode is what the process should exit with after Run returned err.
func ExitCode(err error) int {
	is := func(target error) bool { return errors.Is(err, target) }
	_, errno := errors.AsType[syscall.Errno](err)
	_, damaged := errors.AsType[*journal.DamageError](err)
	switch {
	case err == nil:
		return 0
	// A failed commit is that, whatever its cause.
	case is(journal.ErrFailed), is(actions.ErrFailed):
		return exitIO
	case damaged, is(actions.ErrFold):
		return exitDamaged
	case is(fsview.ErrLocked), is(journal.ErrLocked), is(ErrLowSpace), is(actions.ErrMidGroup):
		return exitTemporary
	case is(fsview.ErrForeignRoot), is(ErrState), is(ErrConfig):
		return exitConfig
	case is(fs.ErrPermission), is(fsview.ErrAccess):
		return exitAccess
	case is(ErrCreate), is(syscall.EADDRINUSE), is(fsview.ErrIsFile), is(fsview.ErrNotFound):
		return exitCreate
	case errno, is(fsview.ErrNoSpace):
		return exitIO
	}
	return exitBug
}
