package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/panelwire"
)

// outcomes says how each action can end, by PROTOCOL.md: every one of these
// is in the transcripts in both envelopes, and nothing else is. 10003 stands
// for a missing permission, and on a connection that is not logged in for
// unauthorized.
var outcomes = map[string][]int{
	"":        {10001},
	"unknown": {10002, 10003},

	"ping":  {0, 10006},
	"login": {0, 10003, 10006},

	"get_permissions": {0, 10003, 10005, 10006},
	"get_system_info": {0, 10003, 10005, 10006},
	"get_all_reports": {0, 10003, 10005, 10006},
	"get_job":         {0, 10003, 10005, 10006},

	"file_upload_request":   {0, 10003, 10005, 10006, 21000, 21001, 21004, 21005, 21006, 21007, 21101, 21103},
	"file_upload_chunk":     {0, 10003, 10005, 10006, 21000, 21004, 21005, 21006, 21007, 21100, 21102},
	"file_upload_cancel":    {0, 10003, 10005, 10006, 21003, 21102},
	"file_upload_status":    {0, 10003, 10005, 10006, 21102},
	"file_transfer_list":    {0, 10003, 10005, 10006},
	"file_download_request": {0, 10003, 10005, 10006, 21001, 21004, 21005, 21006},
	"file_download_chunk":   {0, 10003, 10005, 10006, 21100, 21102},
	"file_download_close":   {0, 10003, 10005, 10006, 21102},
	"get_file_info":         {0, 10003, 10005, 10006, 21001, 21004, 21005, 21006},
	"get_directory_info":    {0, 10003, 10005, 10006, 21001, 21005, 21006},

	// In the background: what is checked before it is accepted. The rest is
	// in the job.
	"get_permissions_async":       {0, 10003, 10005, 10006},
	"get_system_info_async":       {0, 10005, 10006},
	"get_all_reports_async":       {0, 10005, 10006},
	"file_upload_request_async":   {0, 10003, 10005, 10006, 21004, 21103},
	"file_upload_chunk_async":     {0, 10003, 10005, 10006, 21000, 21007},
	"file_upload_cancel_async":    {0, 10003, 10005, 10006},
	"file_upload_status_async":    {0, 10003, 10005, 10006},
	"file_transfer_list_async":    {0, 10003, 10005, 10006},
	"file_download_request_async": {0, 10003, 10005, 10006},
	"file_download_close_async":   {0, 10003, 10005, 10006},
	"get_file_info_async":         {0, 10003, 10005, 10006},

	"ping_async":                {10002, 10003},
	"login_async":               {10002, 10003},
	"get_job_async":             {10002},
	"get_directory_info_async":  {10002},
	"file_download_chunk_async": {10002},
}

// neverProvoked are the codes that no transcript can show, and why.
var neverProvoked = map[actions.Code]string{
	actions.CodeRequest:    "the request was given up because its connection or the daemon ended: nobody is there to read it",
	actions.CodeUnexpected: "a bug, or a machine that does not tell its memory: nothing a client can bring about",
	actions.CodeExists:     "an upload replaces what is there; no action of this protocol refuses to",
}

// covered compares what the transcripts have shown with what there is to show.
func covered(t *testing.T, all *seen) {
	envelopes := []panelwire.Envelope{panelwire.EchoEnvelope, panelwire.IDEnvelope}
	want := map[string][]int{}
	for name, codes := range outcomes {
		want[name] = codes
	}
	for _, spec := range actions.Specs() {
		switch {
		case spec.Unavailable:
			require.NotContains(t, outcomes, spec.Name)
			want[spec.Name] = []int{10003, 10004}
			want[spec.Name+"_async"] = []int{10004}
		default:
			require.Contains(t, outcomes, spec.Name)
			require.Contains(t, outcomes[spec.Name], 0)
			require.Contains(t, outcomes, spec.Name+"_async")
			require.Equal(t, spec.Async, slices.Contains(outcomes[spec.Name+"_async"], 0), spec.Name)
			require.True(t, spec.Permission == "" || slices.Contains(outcomes[spec.Name], 10003), spec.Name)
		}
	}
	got := map[panelwire.Envelope]map[string][]int{}
	for _, env := range envelopes {
		got[env] = map[string][]int{}
	}
	shown := map[int]bool{}
	for o := range all.outcomes {
		got[o.envelope][o.action] = append(got[o.envelope][o.action], o.retcode)
		shown[o.retcode] = true
	}
	for _, env := range envelopes {
		for name, codes := range want {
			assert.ElementsMatch(t, codes, got[env][name], "outcomes of %q in envelope %d", name, env)
		}
		for name := range got[env] {
			assert.Contains(t, want, name)
		}
		for _, spec := range actions.Specs() {
			assert.NotZero(t, all.sent[spelled{env, spec.Name}], spec.Name)
		}
		for _, alias := range []string{"file_download_range", "file_upload_chunk_raw"} {
			spec, ok := actions.Lookup(alias)
			require.True(t, ok && spec.Name != alias, alias)
			assert.NotZero(t, all.sent[spelled{env, alias}], alias)
		}
	}
	for _, code := range actions.Codes() {
		r, err := panelwire.ParseReply(panelwire.AppendError(nil, &panelwire.Request{}, &actions.Error{Code: code}))
		require.NoError(t, err)
		_, never := neverProvoked[code]
		assert.NotEqual(t, never, shown[r.Retcode], "code %s, %d", code, r.Retcode)
	}
	for _, status := range strings.Fields("ok error async unauthorized") {
		assert.NotZero(t, all.statuses[status], status)
	}
}
