package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// kinds are all that this version writes.
var kinds = []string{
	KindStarted, KindStopped, KindAnswered, KindRefused, KindTraffic, KindToken,
	sessions.KindUploadOpened, sessions.KindUploadSized, sessions.KindUploadStored, sessions.KindUploadUnstored,
	sessions.KindUploadTruncated, sessions.KindUploadSealed, sessions.KindUploadPlaced, sessions.KindUploadRejected,
	sessions.KindUploadCancelled, sessions.KindUploadExpired,
	sessions.KindDownloadOpened, sessions.KindDownloadRead, sessions.KindDownloadClosed, sessions.KindDownloadExpired,
	kindJobQueued, kindJobClaimed, kindJobReleased, kindJobDone, kindJobFailed, kindJobPoisoned,
	sessions.KindUploadPublished, sessions.KindDownloadCancelled, kindObjectDropped,
	acl.KindUserCreated, acl.KindUserPasswordSet, acl.KindUserGroupsSet, acl.KindUserRightsSet, acl.KindUserNicknameSet, acl.KindUserStatusSet,
	acl.KindUserPublicKeySet, acl.KindUserAvatarSet, acl.KindUserDeleted, acl.KindGroupCreated,
	doctree.KindNodeCreated, doctree.KindNodeRenamed, doctree.KindNodeMoved, doctree.KindNodeIDChanged, doctree.KindNodeRuled,
	doctree.KindNodeDeleted, doctree.KindNodeRecovered, doctree.KindNodeRemoved,
	doctree.KindRevisionCreated, doctree.KindRevisionPublished, doctree.KindRevisionDeleted, doctree.KindRevisionRecovered,
	doctree.KindRevisionRemoved, doctree.KindPolicySet,
	KindCheckpointKey, KindPruned,
}

// rebody decodes a body of this package and encodes it again. Those of
// sessions, acl and doctree are pinned there.
func rebody(kind string, body []byte) (any, error) {
	switch kind {
	case KindStarted:
		var b startedBody
		return &b, json.Unmarshal(body, &b)
	case KindStopped:
		var b struct{}
		return b, json.Unmarshal(body, &b)
	case KindAnswered, KindRefused:
		// Params are written as they are, in the order of the action's fields.
		// Of both families: a request of the library has no message, one of the
		// other no user, token or block.
		var b struct {
			Action  string          `json:"action"`
			Params  json.RawMessage `json:"params,omitempty"`
			Code    Code            `json:"code"`
			Message string          `json:"message,omitempty"`
			User    string          `json:"user,omitempty"`
			JTI     string          `json:"jti,omitempty"`
			Issued  string          `json:"issued,omitempty"`
			Retry   int64           `json:"retry_after,omitempty"`
		}
		return &b, json.Unmarshal(body, &b)
	case kindObjectDropped:
		var b objectDroppedBody
		return &b, json.Unmarshal(body, &b)
	case KindTraffic:
		var b trafficBody
		return &b, json.Unmarshal(body, &b)
	case KindCheckpointKey:
		var b CheckpointKey
		return &b, json.Unmarshal(body, &b)
	case KindPruned:
		var b Cut
		return &b, json.Unmarshal(body, &b)
	case KindToken:
		var b IssuedToken
		return &b, json.Unmarshal(body, &b)
	case kindJobQueued:
		var b jobQueuedBody
		return &b, json.Unmarshal(body, &b)
	case kindJobClaimed:
		var b jobClaimedBody
		return &b, json.Unmarshal(body, &b)
	case kindJobReleased, kindJobDone, kindJobFailed, kindJobPoisoned:
		var b jobEndedBody
		return &b, json.Unmarshal(body, &b)
	}
	return json.RawMessage(body), nil
}

// The journals in testdata were written once. Every later version must read
// them, understand them as they were meant and write the same bytes. If this
// fails, change the code and not the files.
func TestPinnedJournals(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "journal", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := make(map[string]bool)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			head, err := journal.VerifyExport(context.Background(), bytes.NewReader(raw))
			require.NoError(t, err)
			state := NewState()
			lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
			assert.Equal(t, uint64(len(lines)), head.Size)
			for _, line := range lines {
				var e journal.Entry
				require.NoError(t, journal.ParseEntry(line, &e), "%s", line)
				seen[e.Kind] = true
				body, err := rebody(e.Kind, e.Body)
				require.NoError(t, err, "%s", line)
				again, err := marshal(body)
				require.NoError(t, err)
				got := journal.AppendRecord(nil, &journal.Record{
					Seq: e.Seq, At: e.At, Kind: e.Kind, Actor: string(e.Actor), Via: string(e.Via), Ref: string(e.Ref),
					Group: e.Group, Body: again,
				})
				require.Equal(t, string(line), string(got))
				require.NoError(t, state.Apply(&e), "%s", line)
			}
			want, err := os.ReadFile(file[:len(file)-len(".jsonl")] + ".state.json")
			require.NoError(t, err)
			got, err := state.MarshalJSON()
			require.NoError(t, err)
			var pretty bytes.Buffer
			require.NoError(t, json.Indent(&pretty, got, "", "  "))
			assert.Equal(t, string(want), pretty.String()+"\n")

			// Queued actions are read back as they were.
			for _, j := range state.jobs.liveJobs() {
				a, err := decodeAction(j.Action, j.Params)
				require.NoError(t, err)
				params, err := encodeAction(a)
				require.NoError(t, err)
				assert.Equal(t, string(j.Params), string(params))
			}
		})
	}
	seen[KindPruned] = true // TestPinnedCut: it takes a long journal to have one
	for _, k := range kinds {
		assert.True(t, seen[k], "no line of kind %s", k)
	}
}

// A record of a cut, which stands behind a whole segment at least.
func TestPinnedCut(t *testing.T) {
	t.Parallel()
	line, err := os.ReadFile(filepath.Join("..", "testdata", "journal", "pruned.line"))
	require.NoError(t, err)
	line = bytes.TrimSuffix(line, []byte("\n"))
	var e journal.Entry
	require.NoError(t, journal.ParseEntry(line, &e))
	body, err := rebody(e.Kind, e.Body)
	require.NoError(t, err)
	again, err := marshal(body)
	require.NoError(t, err)
	assert.Equal(t, string(e.Body), string(again))
	state := NewState()
	state.next = e.Seq
	require.NoError(t, state.Apply(&e))
	assert.Equal(t, body, state.Cut())
	assert.Error(t, state.foldEvidence(&e), "the same cut again")
}

// A journal of another version must not be passed over in silence.
func TestUnknownRecordsAreRefused(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]journal.Record{
		"kind":           {Kind: "node.created", Body: []byte(`{}`)},
		"kind of jobs":   {Kind: "job.painted", Body: []byte(`{"job":"33333333-0000-4000-8000-000000000001"}`)},
		"job":            {Kind: kindJobDone, Body: []byte(`{"job":"33333333-0000-4000-8000-000000000001"}`)},
		"seq":            {Seq: 1, Kind: KindStopped, Body: []byte(`{}`)},
		"place in group": {Kind: KindStopped, Body: []byte(`{}`), Group: journal.Group{I: 2, N: 3}},
		"body":           {Kind: KindStarted, Body: []byte(`{"boot":1}`)},
	} {
		var e journal.Entry
		require.NoError(t, journal.ParseEntry(journal.AppendRecord(nil, &r), &e), name)
		assert.Error(t, NewState().Apply(&e), name)
	}
}
