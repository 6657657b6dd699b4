package acl

// Code is why a request of the document library is refused (CFMS.md): the one
// closed set for accounts, tree, tasks and framings. The journal stores it, and
// package docwire turns it into the number and the words that clients know. A
// Code is an error; what a refusal tells beyond its code is in Refusal.
type Code string

// Error implements error.
func (c Code) Error() string { return string(c) }

// The codes. What each becomes on the wire stands behind it: number, message.
const (
	// What many requests share (CFMS.md §2).
	CodeMissing    Code = "missing_arguments" // -1 missing necessary arguments
	CodeDenied     Code = "access_denied"     // 403 access denied
	CodeNotFound   Code = "not_found"         // 404 not found
	CodeBadRequest Code = "bad_request"       // 400 bad request
	CodeUnexpected Code = "unexpected"        // 500 internal server error
	CodeForbidden  Code = "forbidden"         // 403 forbidden

	// Before a request runs (§1.3, §2).
	CodeFormat         Code = "bad_format"      // -1 invaild request format
	CodeNoVersion      Code = "no_version"      // -1 API version is not given
	CodeVersion        Code = "bad_version"     // -1 unsupported API version
	CodeTimestamp      Code = "bad_timestamp"   // 400 X-Ca-Timestamp is not provided
	CodeTimestampRange Code = "timestamp_range" // 400 X-Ca-Timestamp out of allowed range
	CodeNoAuth         Code = "no_auth"         // -1 no full authentication data provided; 401 to refreshToken
	CodeUnknownRequest Code = "unknown_request" // -1 unknown request
	CodeToken          Code = "bad_token"       // -1 invaild token or username; 401 to refreshToken
	CodeArguments      Code = "bad_arguments"   // -1 invaild arguments
	CodeNoCredentials  Code = "no_credentials"  // -2 no username or password provided
	CodeLogin          Code = "bad_login"       // 401 username or password incorrect
	CodeLoginBlocked   Code = "login_blocked"   // as CodeLogin, with retry_after

	// Files (§4).
	CodeNoFile       Code = "no_such_file"         // -1 no such file
	CodeNotFile      Code = "not_a_file"           // -1 not a file
	CodeNoOperation  Code = "no_such_operation"    // -1 operation not found
	CodeNoRevision   Code = "no_such_revision"     // 404 specified revision not found
	CodeFileMarked   Code = "file_deleted"         // -1 The file has been marked for deletion
	CodeRestoreFirst Code = "restore_first"        // -1 The file has been marked for deletion, please restore it first; data.expire_time
	CodeFileLive     Code = "file_not_deleted"     // -1 File is not deleted
	CodeFileIDLong   Code = "file_id_too_long"     // -1 file id too long
	CodeIDExists     Code = "id_exists"            // -1 id exists
	CodeRevDeleted   Code = "revision_deleted"     // -1 already deleted
	CodeRevLive      Code = "revision_not_deleted" // -1 Specified revision is not deleted
	CodeTooManyTasks Code = "too_many_tasks"       // -1 too many open tasks
	CodeInUse        Code = "file_in_use"          // -1 file already in use
	CodeName         Code = "bad_name"             // -1 invaild name
	CodeFileExists   Code = "file_exists"          // -1 file or directory exists., __hint__ of files
	CodeNoTarget     Code = "no_target_directory"  // 404 target directory not found
	CodeRange        Code = "bad_range"            // 400 invaild range syntax
	CodeRangeLong    Code = "range_too_long"       // 400 max revision count out of range

	// Directories (§5.1, §5.2).
	CodeNeedDirID  Code = "need_directory_id"     // -1 need a dir id
	CodeNoDir      Code = "no_such_directory"     // -1 no such dir
	CodeNotDir     Code = "not_a_directory"       // -1 not a directory
	CodePathDenied Code = "path_denied"           // 403 permission denied
	CodeDirMarked  Code = "directory_deleted"     // -1 The directory has been marked for deletion
	CodeDirLive    Code = "directory_not_deleted" // -1 Directory is not deleted
	CodeOwnParent  Code = "own_parent"            // -2 a directory cannot be its own parent
	CodeDirIDLong  Code = "directory_id_too_long" // -1 directory id too long
	CodeDirExists  Code = "directory_exists"      // -1 file or directory exists., __hint__ of directories
	CodeTooDeep    Code = "tree_too_deep"         // -1 tree too deep

	// Policies, avatars (§5.3).
	CodeNoPolicy      Code = "no_such_policy" // 404 the policy you've requested does not exist
	CodeNeedsUsername Code = "needs_username" // -1 needs a username
	CodeNoAvatar      Code = "no_avatar"      // 404 not found, data {}

	// Users and groups (§5.4, §5.5).
	CodeNeedUsername Code = "need_username"     // -1 need a username
	CodeUsernameLong Code = "username_too_long" // -1 username too long
	CodeNicknameLong Code = "nickname_too_long" // -1 user nickname too long
	CodeUserExists   Code = "user_exists"       // -1 user exists
	CodeStructure    Code = "bad_structure"     // -1 invaild data structure
	CodeNoUser       Code = "no_such_user"      // 404 user not found
	CodeNotAllowed   Code = "not_allowed"       // -1 not allowed
	CodeSelfDelete   Code = "self_delete"       // -1 a user cannot delete itself
	CodePublicKey    Code = "bad_public_key"    // -1 not a vaild key
	CodeNoPublicKey  Code = "no_public_key"     // 404 the user does not have a publickey
	CodeGroupLong    Code = "group_too_long"    // -1 group name too long
	CodeGroupExists  Code = "group_exists"      // -1 group exists
	CodeGroupEnabled Code = "bad_group_enabled" // 400 group_enabled is invaild

	// Transfers of a task over FTPS and HTTP (§1.4, §1.5).
	CodeTaskUnknown   Code = "task_unknown"    // unknown task, or a wrong token: 530, 401
	CodeTaskGone      Code = "task_gone"       // finished, cancelled, expired, target or user gone: 530 or 550, 410
	CodeTaskDirection Code = "wrong_direction" // a read of a write task or the reverse: 550, 405
	CodeTaskOffset    Code = "wrong_offset"    // not where the durable bytes end: 554, 409
	CodeTaskDigest    Code = "wrong_digest"    // not the digest announced: 422
	CodeTaskDenied    Code = "rights_gone"     // no longer allowed at publication: 550, 403
	CodeTooBig        Code = "file_too_big"    // over the largest file size: 552, 413
	CodeDiskFull      Code = "disk_full"       // 452, 507
	CodeBroken        Code = "transfer_broken" // the bytes stopped short of the end: 426
	CodeBusy          Code = "busy"            // as many transfers as there may be: 450, 503
)

// Codes lists every code, so that a wire's table can be tested for
// completeness.
func Codes() []Code {
	return []Code{
		CodeMissing, CodeDenied, CodeNotFound, CodeBadRequest, CodeUnexpected, CodeForbidden,
		CodeFormat, CodeNoVersion, CodeVersion, CodeTimestamp, CodeTimestampRange, CodeNoAuth, CodeUnknownRequest,
		CodeToken, CodeArguments, CodeNoCredentials, CodeLogin, CodeLoginBlocked,
		CodeNoFile, CodeNotFile, CodeNoOperation, CodeNoRevision, CodeFileMarked, CodeRestoreFirst, CodeFileLive,
		CodeFileIDLong, CodeIDExists, CodeRevDeleted, CodeRevLive, CodeTooManyTasks, CodeInUse, CodeName,
		CodeFileExists, CodeNoTarget, CodeRange, CodeRangeLong,
		CodeNeedDirID, CodeNoDir, CodeNotDir, CodePathDenied, CodeDirMarked, CodeDirLive, CodeOwnParent,
		CodeDirIDLong, CodeDirExists, CodeTooDeep,
		CodeNoPolicy, CodeNeedsUsername, CodeNoAvatar,
		CodeNeedUsername, CodeUsernameLong, CodeNicknameLong, CodeUserExists, CodeStructure, CodeNoUser, CodeNotAllowed,
		CodeSelfDelete, CodePublicKey, CodeNoPublicKey, CodeGroupLong, CodeGroupExists, CodeGroupEnabled,
		CodeTaskUnknown, CodeTaskGone, CodeTaskDirection, CodeTaskOffset, CodeTaskDigest, CodeTaskDenied,
		CodeTooBig, CodeDiskFull, CodeBroken, CodeBusy,
	}
}

// Refusal is a Code with what else the caller is told.
type Refusal struct {
	Code Code
	// Expire is when what is marked for deletion goes for good, unix seconds
	// (CodeRestoreFirst).
	Expire int64
	// RetryAfter is for how many seconds an address or account is blocked
	// (CodeLoginBlocked).
	RetryAfter int64
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Code) }

// Unwrap gives the Code, so that errors.Is finds it.
func (r *Refusal) Unwrap() error { return r.Code }
