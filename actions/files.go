package actions

import (
	"context"
	"errors"
	"fmt"

	"waybill/fsview"
	"waybill/sessions"
)

// asError turns any failure into what its caller may see. fsview's messages
// name nothing absolute, so they are passed on where they have a meaning.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return Errorf(CodeRequest, "the request was given up")
	}
	for _, k := range []struct {
		is   error
		code Code
	}{
		{fsview.ErrBadName, CodeParam},
		{fsview.ErrEscape, CodeAccess},
		{fsview.ErrAccess, CodeAccess},
		{fsview.ErrNotFound, CodeNotFound},
		{fsview.ErrIsDirectory, CodeIsDirectory},
		{fsview.ErrIsFile, CodeIsFile},
		{fsview.ErrNoSpace, CodeDiskFull},
		{fsview.ErrChanged, CodeTransfer},
		{sessions.ErrUnknown, CodeNoTransfer},
		{sessions.ErrState, CodeNoTransfer},
		{sessions.ErrExists, CodeConflict},
		{sessions.ErrGaps, CodeRateLimit},
		{sessions.ErrRange, CodeParam},
		{errUnrecordable, CodeParam},
	} {
		if errors.Is(err, k.is) {
			return &Error{k.code, fmt.Sprint(k.is)}
		}
	}
	return &Error{Code: CodeUnexpected}
}

// fileError is asError for work on a file's bytes, where what has no other
// meaning is an I/O error.
func fileError(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	e := asError(err)
	if e.Code == CodeUnexpected {
		return Errorf(CodeFile, "the disk reported an error")
	}
	return e
}

func (e *Engine) fileInfo(c *Call, a *FileInfo) (Result, error) {
	name, err := readName(a.Path)
	if err != nil {
		return nil, err
	}
	meta, err := e.cfg.Root.Stat(name)
	if err != nil {
		return nil, fileError(err)
	}
	if meta.Dir {
		return nil, Errorf(CodeIsDirectory, "%s", name)
	}
	return e.answered(c, &FileMeta{Meta: meta})
}

func (e *Engine) directoryInfo(ctx context.Context, c *Call, a *DirectoryInfo) (Result, error) {
	name, err := readName(a.Path)
	if err != nil {
		return nil, err
	}
	meta, parent, entries, err := e.cfg.Root.List(ctx, name)
	if err != nil {
		return nil, fileError(err)
	}
	return e.answered(c, &Listing{Parent: parent, Meta: meta, Entries: entries})
}

func (e *Engine) systemInfo(ctx context.Context, c *Call) (Result, error) {
	info, err := e.system.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read system information: %w", err)
	}
	info.Drv.Format, info.Drv.Total, info.Drv.Free, err = e.cfg.Root.Drive()
	if err != nil {
		return nil, fileError(err)
	}
	return e.answered(c, &info)
}
