package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	stdflag "flag"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var streamMiB = stdflag.Int64("stream.mib", 128, "how many MiB those transfers have that must not be held in memory")

// A file is never in memory as a whole, whatever it comes over.
func TestTransfersAreStreamed(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("large transfers take long here")
	}
	const bound = 24 << 20
	size := *streamMiB << 20
	r := runTasks(t, nil)
	sum := sha256.New()
	_, err := io.CopyN(sum, &pattern{}, size)
	require.NoError(t, err)
	digest := hex.EncodeToString(sum.Sum(nil))

	flat := func(name string, transfer func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			before := heap()
			most := watchHeap(t)
			transfer(t)
			grown := int64(most()) - int64(before)
			t.Logf("the heap grew by %d KiB", grown>>10)
			assert.Less(t, grown, int64(bound))
		})
	}
	o := r.create()
	flat("STOR", func(t *testing.T) {
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		_, err := io.CopyN(d.tls, &pattern{}, size)
		require.NoError(t, err)
		require.NoError(t, d.fin())
		code, text := c.reply()
		require.Equal(t, 226, code, text)
	})
	assert.Equal(t, digest, r.status(o).SHA256)
	flat("RETR", func(t *testing.T) {
		back := r.read(o)
		c := r.ftp(back)
		d := c.begin("RETR %s", back.FakeName)
		got := sha256.New()
		_, err := io.Copy(got, d.tls)
		require.NoError(t, err)
		require.NoError(t, d.tls.Close())
		code, text := c.reply()
		require.Equal(t, 226, code, text)
		assert.Equal(t, digest, hex.EncodeToString(got.Sum(nil)))
	})
	flat("PUT", func(t *testing.T) {
		o := r.write(o)
		req, err := http.NewRequest("PUT", "http://"+r.addr+taskURL(o), io.LimitReader(&pattern{}, size))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+o.Token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, string(body))
		assert.Contains(t, string(body), digest)
	})
	flat("GET", func(t *testing.T) {
		res := r.slowGet(r.read(o))
		defer res.Body.Close()
		got := sha256.New()
		_, err := io.Copy(got, res.Body)
		require.NoError(t, err)
		assert.Equal(t, digest, hex.EncodeToString(got.Sum(nil)))
	})
}

// pattern is a content of any length that costs no memory.
type pattern struct{ at uint64 }

func (p *pattern) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], patternBytes[p.at%uint64(len(patternBytes)):])
		n, p.at = n+k, p.at+uint64(k)
	}
	return n, nil
}

// patternBytes repeat.
var patternBytes = func() *[1 << 17]byte {
	b := new([1 << 17]byte)
	for i := range b {
		b[i] = byte(i>>9) ^ byte(i)
	}
	return b
}()

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watchHeap looks at the heap until most is called, which returns the most
// there was.
func watchHeap(t *testing.T) (most func() uint64) {
	t.Helper()
	var top atomic.Uint64
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			top.Store(max(top.Load(), m.HeapAlloc))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() uint64 {
		close(done)
		watch.Wait()
		return top.Load()
	}
}
