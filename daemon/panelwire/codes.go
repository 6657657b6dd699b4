package panelwire

import (
	"errors"
	"strings"
	"unicode/utf8"

	"waybill/actions"
)

// codes is PROTOCOL.md §3: the only numbers ever sent, others break clients.
var codes = map[actions.Code]struct {
	retcode int
	name    string
}{
	actions.CodeOK:            {0, "Ok"},
	actions.CodeRequest:       {10000, "Request Error"},
	actions.CodeBadRequest:    {10001, "Bad Request"},
	actions.CodeUnknownAction: {10002, "Unknown Action"},
	actions.CodePermission:    {10003, "Permission Denied"},
	actions.CodeUnauthorized:  {10003, "Permission Denied"},
	actions.CodeUnavailable:   {10004, "Action Unavailable"},
	actions.CodeRateLimit:     {10005, "Rate Limit Exceeded"},
	actions.CodeParam:         {10006, "Param Error"},
	actions.CodeUnexpected:    {20001, "Unexpected Error"},
	actions.CodeFile:          {21000, "File Error"},
	actions.CodeNotFound:      {21001, "File Not Found"},
	actions.CodeExists:        {21002, "File Already Exists"},
	actions.CodeInUse:         {21003, "File In Use"},
	actions.CodeIsDirectory:   {21004, "It's A Directory"},
	actions.CodeIsFile:        {21005, "It's A File"},
	actions.CodeAccess:        {21006, "File Access Denied"},
	actions.CodeDiskFull:      {21007, "Disk Full"},
	actions.CodeTransfer:      {21100, "Upload/Download Error"},
	actions.CodeConflict:      {21101, "Already Uploading/Downloading"},
	actions.CodeNoTransfer:    {21102, "Not Uploading/Downloading"},
	actions.CodeTooBig:        {21103, "File Too Big"},
}

// codeOf is the way back, for the client. What is no code of ours, and 10003,
// which stands for two, is taken for the plainer one.
func codeOf(retcode int) actions.Code {
	for _, c := range actions.Codes() {
		if c != actions.CodeUnauthorized && codes[c].retcode == retcode {
			return c
		}
	}
	return actions.CodeUnexpected
}

// retcode returns the number of a code; one that is none of ours is a bug and
// shows as such.
func retcode(c actions.Code) int {
	if row, ok := codes[c]; ok {
		return row.retcode
	}
	return codes[actions.CodeUnexpected].retcode
}

// maxDetail bounds what is told of an error, in bytes.
const maxDetail = 1 << 10

// describe returns the code of an error and what is told of it: the code's
// name and the detail of the *actions.Error in its chain, which is made for
// callers. Nothing is told of any other error.
func describe(err error) (actions.Code, string) {
	code, detail := actions.CodeOf(err), ""
	if e, ok := errors.AsType[*actions.Error](err); ok {
		detail = e.Detail
	}
	return code, message(code, detail)
}

// message is a code's name, then the detail if there is any, on one line.
func message(code actions.Code, detail string) string {
	row, ok := codes[code]
	if !ok {
		row = codes[actions.CodeUnexpected]
	}
	if detail = oneLine(detail); detail == "" {
		return row.name
	}
	return row.name + ": " + detail
}

// oneLine makes s fit for one line: control characters and line separators,
// with the blanks around them, become one blank.
func oneLine(s string) string {
	if len(s) > maxDetail {
		n := maxDetail
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	breaks := func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029'
	}
	if strings.IndexFunc(s, breaks) < 0 {
		return strings.TrimSpace(s)
	}
	var words []string
	for _, w := range strings.FieldsFunc(s, breaks) {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}
