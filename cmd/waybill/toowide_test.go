package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

// A query that a daemon breaks off because it is too wide is not asked for over
// and over: the answer to the second try says what is narrower. So does one of
// files.
func TestQueryTooWide(t *testing.T) {
	t.Parallel()
	line, _, _ := strings.Cut(string(must(os.ReadFile(pinnedJournal("v1.jsonl")))), "\n")
	var asked atomic.Int64
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			assert.Equal(t, "1", r.URL.Query().Get("from"))
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintln(w, &actions.TooWideError{})
			return
		}
		w.Header().Set(headerSize, "60")
		fmt.Fprintln(w, line)
		assert.NoError(t, http.NewResponseController(w).Flush())
		panic(http.ErrAbortHandler)
	}))
	defer daemon.Close()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("0123456789abcdefghijklmnopqrstuv\n"), 0o600))
	got := here(t, "", "journal", "story", "/", "--url", daemon.URL, "--token-file", token)
	assert.Equal(t, exitUsage, got.code, got)
	assert.Contains(t, fmt.Sprint(got), "the query is too wide")
	assert.Contains(t, fmt.Sprint(got), "a single document is narrower")
	assert.EqualValues(t, 2, asked.Load())

	assert.Equal(t, exitUsage, exitCode(fmt.Errorf("state: %w", &actions.TooWideError{Seq: 7})))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of a test
	}
	return v
}
