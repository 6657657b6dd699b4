package sessions

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// Every body in the journals of testdata is written as it was then. (Package
// actions folds those journals.) If this fails, change the code.
func TestPinnedBodies(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "journal", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := make(map[string]bool)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(raw) {
			var e journal.Entry
			require.NoError(t, journal.ParseEntry(bytes.TrimSuffix(line, []byte("\n")), &e))
			if !strings.HasPrefix(e.Kind, "upload.") && !strings.HasPrefix(e.Kind, "download.") {
				continue
			}
			seen[e.Kind] = true
			var body any
			var stored Stored
			switch e.Kind {
			case KindUploadStored:
				require.NoError(t, scanStored(e.Body, true, &stored))
				assert.Equal(t, string(e.Body), string(stored.fact().Body))
				continue
			case KindUploadUnstored, KindDownloadRead:
				require.NoError(t, scanStored(e.Body, false, &stored))
				assert.Equal(t, string(e.Body), string(rangesFact(e.Kind, stored.Session, stored.Ranges).Body))
				continue
			case KindUploadOpened:
				body = new(uploadOpened)
			case KindUploadSized, KindUploadTruncated:
				body = new(uploadSized)
			case KindUploadSealed:
				body = new(uploadSealed)
			case KindUploadPlaced:
				body = new(uploadPlaced)
			case KindUploadRejected:
				body = new(uploadRejected)
			case KindUploadPublished:
				body = new(uploadPublished)
			case KindUploadCancelled, KindUploadExpired, KindDownloadClosed, KindDownloadExpired, KindDownloadCancelled:
				body = new(sessionOnly)
			case KindDownloadOpened:
				body = new(downloadOpened)
			default:
				t.Fatalf("no type for %s", e.Kind)
			}
			require.NoError(t, json.Unmarshal(e.Body, body))
			assert.Equal(t, string(e.Body), string(fact(e.Kind, body).Body))
		}
	}
	assert.Len(t, seen, 16, "every kind of this package")
}
