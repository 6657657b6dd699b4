package daemon

import (
	"errors"
	"fmt"
	"strings"

	"waybill/actions"
	"waybill/fsview/acl"
)

// ftpReply is an error that is the answer to a command. The library knows three
// codes for a failed transfer and puts everything else into a sentence of its
// own, with what it was doing and addresses of the network; an ftpReply inside
// that sentence takes its place (see ftpControl.Write).
type ftpReply struct {
	code int
	text string
}

// replyMark begins an ftpReply in a sentence. No client can send it: command
// lines with control characters are refused.
const replyMark = "\x1e"

// Error implements error.
func (r *ftpReply) Error() string { return replyMark + r.line() }

func (r *ftpReply) line() string { return fmt.Sprintf("%d %s", r.code, r.text) }

// ownReply is the ftpReply in a line of the library's, or the line.
func ownReply(line string) string {
	if i := strings.LastIndex(line, replyMark); i >= 0 {
		return line[i+len(replyMark):]
	}
	return line
}

// What is answered in several places.
var (
	replyNoFile    = &ftpReply{550, "No such file."}
	replyDenied    = &ftpReply{550, "Not enough privileges."}
	replyStalled   = &ftpReply{426, "Data connection timed out; transfer aborted."}
	replyCut       = &ftpReply{426, "Connection closed; transfer aborted."}
	replyShort     = &ftpReply{426, "The data ended elsewhere than ALLO said; transfer aborted."}
	replyOffset    = &ftpReply{554, "Invalid REST parameter."}
	replyOtherPeer = &ftpReply{425, "The data connection came from another address."}
	replyNoData    = &ftpReply{425, "No data connection was made."}
	replyStopping  = &ftpReply{421, "Service is stopping."}
	replyLocal     = &ftpReply{451, "Local error; transfer aborted."}
)

// ftpReplyOf turns an error of the engine into the answer to a transfer
// (CFMS.md §1.4). After actions.ErrFailed none may leave.
func ftpReplyOf(err error) *ftpReply {
	if errors.Is(err, actions.ErrStopping) {
		return replyStopping
	}
	code, _ := errors.AsType[acl.Code](err)
	switch code {
	case acl.CodeTaskGone, acl.CodeTaskUnknown:
		return &ftpReply{550, "The task has ended."}
	case acl.CodeTaskDirection, acl.CodeTaskDenied:
		return replyDenied
	case acl.CodeTaskOffset:
		return replyOffset
	case acl.CodeTooBig:
		return &ftpReply{552, "The file is too big."}
	case acl.CodeDiskFull:
		return &ftpReply{452, "Insufficient storage space."}
	case acl.CodeBusy:
		return &ftpReply{450, "Too many transfers; try again later."}
	case acl.CodeBroken:
		return &ftpReply{426, "Another transfer took over; transfer aborted."}
	}
	return replyLocal
}
