package tileclient

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// bearer adds the token, of which the client knows nothing.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// TestEverythingIsUnderTheCheckpoint reads the whole journal of a running
// daemon as tiles and entry bundles, and proves it against what is signed.
// WAYBILL_URL is the daemon, http://HOST:PORT, WAYBILL_TOKEN a token that may
// read the journal, WAYBILL_KEY the verifier key.
func TestEverythingIsUnderTheCheckpoint(t *testing.T) {
	url, token, key := os.Getenv("WAYBILL_URL"), os.Getenv("WAYBILL_TOKEN"), os.Getenv("WAYBILL_KEY")
	if url == "" || token == "" || key == "" {
		t.Skip("WAYBILL_URL, WAYBILL_TOKEN and WAYBILL_KEY say of which daemon")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	verifier, err := note.NewVerifier(key)
	must(err)
	paths := new(seen)
	fetcher, err := torchwood.NewTileFetcher(strings.TrimSuffix(url, "/")+"/journal/",
		torchwood.WithHTTPClient(&http.Client{Transport: paths.watch(bearer{token})}), torchwood.WithConcurrencyLimit(8))
	must(err)
	client, err := torchwood.NewClient(fetcher)
	must(err)

	checkpoint := func() torchwood.Checkpoint {
		t.Helper()
		signed, err := fetcher.ReadEndpoint(ctx, "checkpoint")
		must(err)
		n, err := note.Open(signed, note.VerifierList(verifier))
		must(err)
		c, err := torchwood.ParseCheckpoint(n.Text)
		must(err)
		if c.Origin != verifier.Name() {
			t.Fatalf("a checkpoint of %s under the key of %s", c.Origin, verifier.Name())
		}
		return c
	}
	c := checkpoint()
	for c.N%torchwood.TileWidth == 0 {
		c = checkpoint() // its own record makes the last tile a partial one
	}
	next := int64(0)
	for next < c.N {
		from := next
		for i, entry := range client.Entries(ctx, c.Tree, next) {
			var record struct{ Seq *int64 }
			must(json.Unmarshal(entry, &record))
			if record.Seq == nil || *record.Seq != i || i != next {
				t.Fatalf("entry %d is %s where %d was to come", i, entry, next)
			}
			next++
		}
		must(client.Err())
		if next == from {
			t.Fatalf("no entries from %d on, of %d", from, c.N)
		}
	}
	for _, i := range []int64{0, 255, 256, c.N / 2, c.N - 1} {
		if i < c.N {
			_, _, err := client.Entry(ctx, c.Tree, i)
			must(err)
		}
	}
	if !paths.saw("/tile/0/", ".p/") || !paths.saw("/tile/entries/", ".p/") || !paths.saw("/tile/1/", ".p/") {
		t.Error("no partial tile or bundle was read")
	}

	later := checkpoint()
	if later.N <= c.N {
		t.Fatalf("%d records after %d", later.N, c.N)
	}
	proof, err := tlog.ProveTree(later.N, c.N, torchwood.TileHashReaderWithContext(ctx, later.Tree, fetcher))
	must(err)
	must(tlog.CheckTree(proof, later.N, later.Hash, c.N, c.Hash))
	t.Logf("%d records verified, and that the journal has only grown to %d", c.N, later.N)

	// The same tiles under another root: it would have been seen.
	c.Hash[0] ^= 1
	for range client.Entries(ctx, c.Tree, 0) {
		t.Fatal("entries under a root that is not theirs")
	}
	if client.Err() == nil {
		t.Fatal("a wrong root was not seen")
	}
}
