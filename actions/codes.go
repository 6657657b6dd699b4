package actions

import (
	"errors"
	"fmt"
)

// Code is the kind of an outcome. It is what the journal stores and what each
// wire translates into its own numbers and words; the set is closed.
type Code string

// The codes, with the MFP retcode each becomes (PROTOCOL.md §3).
const (
	CodeOK            Code = "ok"                // 0
	CodeRequest       Code = "request_error"     // 10000
	CodeBadRequest    Code = "bad_request"       // 10001
	CodeUnknownAction Code = "unknown_action"    // 10002
	CodePermission    Code = "permission_denied" // 10003
	CodeUnavailable   Code = "unavailable"       // 10004
	CodeRateLimit     Code = "rate_limited"      // 10005
	CodeParam         Code = "bad_param"         // 10006
	CodeUnexpected    Code = "unexpected"        // 20001
	CodeFile          Code = "file_error"        // 21000
	CodeNotFound      Code = "not_found"         // 21001
	CodeExists        Code = "exists"            // 21002
	CodeInUse         Code = "in_use"            // 21003
	CodeIsDirectory   Code = "is_directory"      // 21004
	CodeIsFile        Code = "is_file"           // 21005
	CodeAccess        Code = "access_denied"     // 21006
	CodeDiskFull      Code = "disk_full"         // 21007
	CodeTransfer      Code = "transfer_failed"   // 21100
	CodeConflict      Code = "already_transfer"  // 21101
	CodeNoTransfer    Code = "no_transfer"       // 21102
	CodeTooBig        Code = "too_big"           // 21103

	// CodeUnauthorized is the answer to an unauthenticated connection: the
	// echo envelope has a status of its own for it, the id envelope 10003.
	CodeUnauthorized Code = "unauthorized"
)

// Codes lists every code, so that a wire's table can be tested for
// completeness.
func Codes() []Code {
	return []Code{
		CodeOK, CodeRequest, CodeBadRequest, CodeUnknownAction, CodePermission,
		CodeUnavailable, CodeRateLimit, CodeParam, CodeUnexpected, CodeFile,
		CodeNotFound, CodeExists, CodeInUse, CodeIsDirectory, CodeIsFile,
		CodeAccess, CodeDiskFull, CodeTransfer, CodeConflict, CodeNoTransfer,
		CodeTooBig, CodeUnauthorized,
	}
}

// Error is an action's refusal or failure as its caller may see it: Detail is
// one line for people, without absolute paths or internals.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// Errorf makes an *Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of err: CodeOK for nil, the code of the *Error in
// its chain, CodeUnexpected for anything else.
func CodeOf(err error) Code {
	if err == nil {
		return CodeOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeUnexpected
}
