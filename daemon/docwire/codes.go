package docwire

import (
	"errors"

	"waybill/fsview/acl"
)

// answer is what a refusal becomes: the number is the contract, the words are
// what clients show (CFMS.md, in its own spelling).
type answer struct {
	number int
	words  string
}

// unauthorized is what refreshToken says where others say -1 (CFMS.md §1.3).
const unauthorized = 401

// answers has every code. It is not to be changed.
var answers = map[acl.Code]answer{
	acl.CodeMissing:    {-1, "missing necessary arguments"},
	acl.CodeDenied:     {403, "access denied"},
	acl.CodeNotFound:   {404, "not found"},
	acl.CodeBadRequest: {400, "bad request"},
	acl.CodeUnexpected: {500, "internal server error"},
	acl.CodeForbidden:  {403, "forbidden"},

	acl.CodeFormat:         {-1, "invaild request format"},
	acl.CodeNoVersion:      {-1, "API version is not given"},
	acl.CodeVersion:        {-1, "unsupported API version"},
	acl.CodeTimestamp:      {400, "X-Ca-Timestamp is not provided"},
	acl.CodeTimestampRange: {400, "X-Ca-Timestamp out of allowed range"},
	acl.CodeNoAuth:         {-1, "no full authentication data provided"},
	acl.CodeUnknownRequest: {-1, "unknown request"},
	acl.CodeToken:          {-1, "invaild token or username"},
	acl.CodeArguments:      {-1, "invaild arguments"},
	acl.CodeNoCredentials:  {-2, "no username or password provided"},
	acl.CodeLogin:          {401, "username or password incorrect"},
	acl.CodeLoginBlocked:   {401, "username or password incorrect"},

	acl.CodeNoFile:       {-1, "no such file"},
	acl.CodeNotFile:      {-1, "not a file"},
	acl.CodeNoOperation:  {-1, "operation not found"},
	acl.CodeNoRevision:   {404, "specified revision not found"},
	acl.CodeFileMarked:   {-1, "The file has been marked for deletion"},
	acl.CodeRestoreFirst: {-1, "The file has been marked for deletion, please restore it first"},
	acl.CodeFileLive:     {-1, "File is not deleted"},
	acl.CodeFileIDLong:   {-1, "file id too long"},
	acl.CodeIDExists:     {-1, "id exists"},
	acl.CodeRevDeleted:   {-1, "already deleted"},
	acl.CodeRevLive:      {-1, "Specified revision is not deleted"},
	acl.CodeTooManyTasks: {-1, "too many open tasks"},
	acl.CodeInUse:        {-1, "file already in use"},
	acl.CodeName:         {-1, "invaild name"},
	acl.CodeFileExists:   {-1, "file or directory exists."},
	acl.CodeNoTarget:     {404, "target directory not found"},
	acl.CodeRange:        {400, "invaild range syntax"},
	acl.CodeRangeLong:    {400, "max revision count out of range"},

	acl.CodeNeedDirID:  {-1, "need a dir id"},
	acl.CodeNoDir:      {-1, "no such dir"},
	acl.CodeNotDir:     {-1, "not a directory"},
	acl.CodePathDenied: {403, "permission denied"},
	acl.CodeDirMarked:  {-1, "The directory has been marked for deletion"},
	acl.CodeDirLive:    {-1, "Directory is not deleted"},
	acl.CodeOwnParent:  {-2, "a directory cannot be its own parent"},
	acl.CodeDirIDLong:  {-1, "directory id too long"},
	acl.CodeDirExists:  {-1, "file or directory exists."},
	acl.CodeTooDeep:    {-1, "tree too deep"},

	acl.CodeNoPolicy:      {404, "the policy you've requested does not exist"},
	acl.CodeNeedsUsername: {-1, "needs a username"},
	acl.CodeNoAvatar:      {404, "not found"},

	acl.CodeNeedUsername: {-1, "need a username"},
	acl.CodeUsernameLong: {-1, "username too long"},
	acl.CodeNicknameLong: {-1, "user nickname too long"},
	acl.CodeUserExists:   {-1, "user exists"},
	acl.CodeStructure:    {-1, "invaild data structure"},
	acl.CodeNoUser:       {404, "user not found"},
	acl.CodeNotAllowed:   {-1, "not allowed"},
	acl.CodeSelfDelete:   {-1, "a user cannot delete itself"},
	acl.CodePublicKey:    {-1, "not a vaild key"},
	acl.CodeNoPublicKey:  {404, "the user does not have a publickey"},
	acl.CodeGroupLong:    {-1, "group name too long"},
	acl.CodeGroupExists:  {-1, "group exists"},
	acl.CodeGroupEnabled: {400, "group_enabled is invaild"},

	// No request is answered so; transfers have codes of their own (§1.4, §1.5).
	acl.CodeTaskUnknown:   {401, "unknown task"},
	acl.CodeTaskGone:      {410, "task has ended"},
	acl.CodeTaskDirection: {405, "wrong direction"},
	acl.CodeTaskOffset:    {409, "wrong offset"},
	acl.CodeTaskDigest:    {422, "wrong digest"},
	acl.CodeTaskDenied:    {403, "access denied"},
	acl.CodeTooBig:        {413, "file too big"},
	acl.CodeDiskFull:      {507, "disk full"},
	acl.CodeBroken:        {426, "transfer broken"},
	acl.CodeBusy:          {503, "too many transfers"},
}

// The hints that stand beside what exists already (CFMS.md §4.6, §5.2).
const (
	fileHint = "if you want to override a file, use 'operateFile' instead."
	dirHint  = "if you want to override a directory, use 'operateDir' instead."
)

// refusalOf is what is told of an error: the refusal in its chain and nothing
// else. What has none, or none of ours, is a failure inside the daemon.
func refusalOf(err error) (acl.Refusal, answer) {
	r := acl.Refusal{Code: acl.CodeUnexpected}
	if refusal, ok := errors.AsType[*acl.Refusal](err); ok {
		r = *refusal
	} else if code, ok := errors.AsType[acl.Code](err); ok {
		r.Code = code
	}
	a, ok := answers[r.Code]
	if !ok {
		r.Code = acl.CodeUnexpected
		a = answers[r.Code]
	}
	return r, a
}
