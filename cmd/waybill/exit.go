package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// The exit codes, those of sysexits(3). They are part of the command line's
// contract; serve's own are daemon.ExitCode's.
const (
	exitOK          = 0
	exitFail        = 1  // doctor found something; not ready
	exitUsage       = 64 // a flag or argument is wrong
	exitData        = 65 // a damaged journal, a digest that does not match
	exitNoInput     = 66 // a local file is missing
	exitUnreachable = 69 // no daemon answers
	exitBug         = 70
	exitCantCreate  = 73 // the target is taken, or cannot be made
	exitIO          = 74 // and whatever has no code of its own
	exitTemp        = 75 // held by another process
	exitNoPerm      = 77
	exitConfig      = 78 // the environment or the configuration file is wrong
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail makes an error with an exit code; format is that of fmt.Errorf.
func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// exitCode classifies err; it is the one place that does.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	// A signal comes first: what failed because of it is not the reason.
	if e, ok := errors.AsType[*signalError](err); ok {
		return 128 + int(e.sig)
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*kong.ParseError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.exitCode()
	}
	if e, ok := errors.AsType[*docRefusal](err); ok {
		return e.exitCode()
	}
	if _, ok := errors.AsType[*journal.DamageError](err); ok {
		return exitData
	}
	if _, ok := errors.AsType[*actions.TooWideError](err); ok {
		return exitUsage
	}
	if errors.Is(err, journal.ErrLocked) || errors.Is(err, fsview.ErrLocked) {
		return exitTemp
	}
	return exitIO
}

// interrupted turns the error of something that ctx cut short into the
// signal that did it.
func interrupted(ctx context.Context, err error) error {
	if cause, ok := errors.AsType[*signalError](context.Cause(ctx)); ok && err != nil {
		return cause
	}
	return err
}

// oneLine keeps a text on one line and harmless to a terminal: what daemons
// and file names put into it is not ours.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.Join(lines, "; "))
}
