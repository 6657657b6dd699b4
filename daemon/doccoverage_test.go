package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview/acl"
)

// docOutcomes says how each request of the document library can end, by
// CFMS.md: with its action where it has one, "?" for an action there is none
// of, and "" for what is no request. Every one of these is in the transcripts,
// and nothing else is. What ends every request, a missing auth and a wrong
// token, is added by docsCovered.
var docOutcomes = map[string]string{
	"":           "bad_format no_version bad_version bad_timestamp timestamp_range no_auth unknown_request",
	"login":      "ok timestamp_range bad_arguments no_credentials bad_login login_blocked",
	"disconnect": "ok timestamp_range",

	"refreshToken": "ok",
	"shutdown":     "ok access_denied",

	"createFile": "ok missing_arguments bad_arguments file_id_too_long bad_name file_exists no_target_directory" +
		" not_a_directory access_denied too_many_tasks",
	"operateFile":   "missing_arguments bad_arguments",
	"operateFile ?": "access_denied no_such_file not_found not_a_file no_such_operation",
	"operateFile read": "ok missing_arguments access_denied no_such_file not_found not_a_file no_such_revision" +
		" too_many_tasks",
	"operateFile write": "ok access_denied no_such_file not_found not_a_file restore_first file_in_use",
	"operateFile rename": "ok missing_arguments access_denied no_such_file not_found not_a_file bad_name" +
		" restore_first",
	"operateFile delete":             "ok access_denied no_such_file not_found not_a_file file_deleted",
	"operateFile recover":            "ok access_denied no_such_file not_a_file file_not_deleted",
	"operateFile permanently_delete": "ok access_denied no_such_file not_a_file",
	"operateFile move": "ok missing_arguments access_denied no_such_file not_found not_a_file not_a_directory" +
		" restore_first",
	"operateFile change_id": "ok missing_arguments access_denied no_such_file not_found not_a_file bad_name" +
		" file_id_too_long id_exists",
	"operateFile delete_rev": "ok access_denied no_such_file not_found not_a_file no_such_revision revision_deleted",
	"operateFile recover_rev": "ok missing_arguments access_denied no_such_file not_found not_a_file no_such_revision" +
		" revision_not_deleted",
	"getFileRevisions": "ok missing_arguments bad_arguments access_denied not_found not_a_file bad_range range_too_long",

	"operateDir":        "missing_arguments bad_arguments",
	"operateDir ?":      "no_such_directory not_found bad_request",
	"operateDir list":   "ok need_directory_id access_denied no_such_directory not_found path_denied",
	"operateDir rename": "ok missing_arguments no_such_directory not_found path_denied bad_name restore_first",
	"operateDir delete": "ok no_such_directory not_found path_denied directory_deleted",
	"operateDir recover": "ok access_denied no_such_directory path_denied" +
		" directory_not_deleted",
	"operateDir permanently_delete": "ok access_denied no_such_directory path_denied",
	"operateDir move": "ok missing_arguments access_denied no_such_directory not_found path_denied own_parent" +
		" not_a_directory restore_first tree_too_deep",
	"operateDir change_id": "ok missing_arguments access_denied no_such_directory not_found path_denied bad_name" +
		" directory_id_too_long id_exists",
	"getDir":     "ok bad_arguments need_directory_id access_denied no_such_directory not_found path_denied",
	"getRootDir": "ok bad_arguments access_denied forbidden",
	"createDir": "ok missing_arguments bad_arguments access_denied directory_id_too_long bad_name directory_exists" +
		" no_target_directory not_a_directory tree_too_deep",

	"getPolicy": "ok missing_arguments bad_arguments no_such_policy forbidden no_version",
	"setPolicy": "ok missing_arguments bad_arguments access_denied bad_structure not_found",
	"getAvatar": "ok needs_username bad_arguments not_found forbidden no_avatar too_many_tasks",
	"getAccess": "ok missing_arguments bad_arguments access_denied not_found",
	"setAccess": "ok missing_arguments bad_arguments access_denied bad_structure not_found",

	"createUser": "ok missing_arguments bad_arguments username_too_long nickname_too_long bad_name access_denied" +
		" user_exists bad_structure",
	"operateUser":               "missing_arguments bad_arguments",
	"operateUser ?":             "access_denied no_such_user bad_request",
	"operateUser passwd":        "ok need_username missing_arguments bad_arguments access_denied no_such_user",
	"operateUser set_groups":    "ok missing_arguments access_denied no_such_user bad_structure",
	"operateUser set_rights":    "ok missing_arguments access_denied no_such_user bad_structure",
	"operateUser set_nickname":  "ok missing_arguments access_denied no_such_user nickname_too_long",
	"operateUser set_status":    "ok missing_arguments bad_arguments access_denied no_such_user not_allowed bad_request",
	"operateUser delete":        "ok access_denied no_such_user self_delete",
	"operateUser set_username":  "access_denied no_such_user not_allowed",
	"operateUser set_publickey": "ok missing_arguments access_denied no_such_user bad_public_key",
	"operateUser get_publickey": "ok access_denied no_such_user no_public_key",
	"operateUser set_avatar":    "ok missing_arguments access_denied no_such_user not_found",
	"getUserProperties":         "ok missing_arguments bad_arguments access_denied not_found",
	"createGroup": "ok missing_arguments bad_arguments group_too_long bad_name access_denied group_exists" +
		" bad_group_enabled bad_structure",
}

// neverAnswered are the codes that no request is answered with, and why.
var neverAnswered = map[acl.Code]string{
	acl.CodeUnexpected:    "a bug, or the machine fails: nothing a client can bring about",
	acl.CodeTaskUnknown:   "only transfers of a task end so",
	acl.CodeTaskGone:      "only transfers of a task end so",
	acl.CodeTaskDirection: "only transfers of a task end so",
	acl.CodeTaskOffset:    "only transfers of a task end so",
	acl.CodeTaskDigest:    "only transfers of a task end so",
	acl.CodeTaskDenied:    "only transfers of a task end so",
	acl.CodeTooBig:        "only transfers of a task end so",
	acl.CodeDiskFull:      "only transfers of a task end so: requests store no contents",
	acl.CodeBroken:        "only transfers of a task end so",
	acl.CodeBusy:          "only transfers of a task end so",
}

// docsCovered compares what the transcripts have shown with what there is to
// show.
func docsCovered(t *testing.T, all *docSeen) {
	shown := map[acl.Code]bool{}
	for name, codes := range docOutcomes {
		want := strings.Fields(codes)
		if slices.Contains(actions.DocRequests(), name) && name != "login" {
			want = append(want, "no_auth", "bad_token")
		}
		var got []string
		for code := range all.outcomes[name] {
			shown[code] = true
			if code == "" {
				code = "ok"
			}
			got = append(got, string(code))
		}
		assert.ElementsMatch(t, want, got, "outcomes of %q", name)
	}
	for name := range all.outcomes {
		assert.Contains(t, docOutcomes, name)
	}
	for _, name := range actions.DocRequests() {
		require.Contains(t, docOutcomes, name)
		known := map[string]string{"operateFile": fileActions, "operateDir": dirActions, "operateUser": userActions}[name]
		for _, action := range strings.Fields(known) {
			require.Contains(t, docOutcomes, name+" "+action)
		}
	}
	for _, code := range acl.Codes() {
		_, never := neverAnswered[code]
		assert.NotEqual(t, never, shown[code], "code %s", code)
	}
}
