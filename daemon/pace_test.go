package daemon

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPacer(t *testing.T) {
	t.Parallel()
	ann, bob := subject{name: "ann"}, subject{name: "bob"}
	took := func(f func()) time.Duration {
		begun := time.Now()
		f()
		return time.Since(begun).Round(time.Millisecond)
	}
	synctest.Test(t, func(t *testing.T) {
		var waited [2]atomic.Int64
		p := newPacer(Load{Bandwidth: 4 * paceStep, BandwidthPerSubject: paceStep}, func(way direction, d time.Duration) {
			waited[way].Add(int64(d))
		})
		move := func(who subject, way direction, n int64) {
			assert.NoError(t, p.wait(t.Context(), nil, who, way, n))
		}
		assert.Zero(t, took(func() { move(ann, inward, paceStep) }), "what is in the bucket")
		assert.Equal(t, 10*time.Second, took(func() { move(ann, inward, 10*paceStep) }))
		assert.Zero(t, took(func() { move(ann, outward, paceStep) }), "the other direction has its own")
		time.Sleep(time.Second) // until there is some of what all share
		assert.Zero(t, took(func() { move(bob, inward, paceStep) }), "and so has another subject")
		assert.Equal(t, 10*time.Second, time.Duration(waited[inward].Load()).Round(time.Millisecond))
		assert.Zero(t, waited[outward].Load())

		// All together are bound, and take turns: eight at a share of a half each.
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		most := took(func() {
			for i := range 8 {
				all.Go(func() { move(subject{name: strconv.Itoa(i)}, outward, 5*paceStep) })
			}
			all.Wait()
		})
		assert.InDelta(t, 9.75, most.Seconds(), 0.3, "40 steps, one of them at once, 4 a second")

		// A wait ends with whoever it is for.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.Equal(t, time.Second, took(func() { assert.Error(t, p.wait(ctx, nil, ann, inward, 100*paceStep)) }))
		quit := make(chan struct{})
		time.AfterFunc(2*time.Second, func() { close(quit) })
		assert.Equal(t, 2*time.Second, took(func() { assert.ErrorIs(t, p.wait(t.Context(), quit, bob, inward, 100*paceStep), errHurried) }))
	})
	var none *pacer
	assert.Nil(t, newPacer(Load{Bandwidth: -1}, nil))
	require.NoError(t, none.wait(t.Context(), nil, ann, inward, 1<<40))
}

// Subjects who move nothing are forgotten, but not before their bucket is full.
func TestPacerForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(Load{BandwidthPerSubject: paceStep}, func(direction, time.Duration) {})
		for i := range minSweep {
			require.NoError(t, p.wait(t.Context(), nil, subject{name: strconv.Itoa(i)}, inward, paceStep))
		}
		require.NoError(t, p.wait(t.Context(), nil, subject{name: "late"}, inward, 1))
		assert.Len(t, p.by, minSweep+1)
		time.Sleep(2 * time.Second)
		for i := range minSweep {
			require.NoError(t, p.wait(t.Context(), nil, subject{name: "new" + strconv.Itoa(i)}, inward, paceStep))
		}
		assert.LessOrEqual(t, len(p.by), minSweep+1)
		_, ok := p.by[subject{name: "0"}]
		assert.False(t, ok)
	})
}

// Every way that bytes come or go keeps to the bandwidth of its subject; pings and
// small replies of the same connection do not wait, nor does anybody else.
func TestBandwidth(t *testing.T) {
	const each, size = 256 << 10, 3 * 256 << 10 // about three seconds' worth
	r := runTasks(t, func(c *Config) { c.Load.BandwidthPerSubject = each })
	data := random(size)
	require.NoError(t, os.WriteFile(r.at("file"), data, 0o644))
	doc := r.createNamed("doc")
	token := func(name string) string { return r.subtoken(url.Values{"subject": {name}}) }
	send := func(t *testing.T, method, path, token string, header ...string) {
		code, body, _ := r.do(method, path, string(data), append([]string{"Authorization", "Bearer " + token}, header...)...)
		assert.Less(t, code, 300, body)
	}
	fetch := func(t *testing.T, path, token string) {
		req, err := http.NewRequest("GET", "http://"+r.addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, hexSum(data), hexSum(got))
	}
	type way struct {
		name string
		move func(t *testing.T, p *panel, token string)
	}
	ways := []way{
		{"put", func(t *testing.T, p *panel, token string) {
			send(t, "PUT", uploadPath+p.upload("put", size), token)
		}},
		{"tus", func(t *testing.T, _ *panel, token string) {
			header := append([]string{headerLength, strconv.Itoa(size), headerMetadata, meta("path", "tus")}, tusHeader(0)...)
			send(t, "POST", tusPath, token, header...)
		}},
		{"get", func(t *testing.T, p *panel, token string) {
			var opened struct {
				ID string `json:"file_id"`
			}
			p.ok("file_download_request", map[string]any{"path": "file"}, &opened)
			fetch(t, downloadPath+opened.ID, token)
		}},
		{"chunks", func(t *testing.T, p *panel, _ string) {
			id := p.upload("chunks", size)
			p.chunk(id, 0, data[:size/2])
			p.chunk(id, size/2, data[size/2:])
			p.reply()
			assert.Contains(t, p.next(), `"done":true`)
		}},
		{"download chunks", func(t *testing.T, p *panel, _ string) {
			var opened struct {
				ID string `json:"file_id"`
			}
			p.ok("file_download_request", map[string]any{"path": "file"}, &opened)
			for range 2 {
				p.ok("file_download_chunk", map[string]any{"file_id": opened.ID, "range": "0.." + strconv.Itoa(size/2), "encoding": "base64"}, nil)
			}
		}},
	}
	// What refusals would move costs nothing.
	waste := r.panel(token("download-chunks"))
	for range 50 {
		waste.call("file_download_chunk", map[string]any{"file_id": "00000000-0000-4000-8000-000000000000", "range": "0..8388608"})
	}
	within := func(t *testing.T, begun time.Time) {
		took := time.Since(begun)
		assert.Greater(t, took.Seconds(), float64(size-paceStep)/each-0.1, "faster than may be")
	}
	var all sync.WaitGroup
	begun := time.Now()
	for _, w := range ways {
		all.Go(func() {
			own := token(strings.ReplaceAll(w.name, " ", "-"))
			p := r.panel(own)
			w.move(t, p, own)
			within(t, begun)
		})
	}
	all.Go(func() { // two directions of one user, after each other
		code, body, _ := r.http("PUT", doc, string(data))
		assert.Equal(t, 200, code, body)
		within(t, begun)
		next := time.Now()
		back := r.read(doc)
		code, body, _ = r.http("GET", back, "")
		assert.Equal(t, 200, code)
		assert.Equal(t, hexSum(data), hexSum([]byte(body)))
		within(t, next)
	})
	// Beside a chunk that waits, on the same connection.
	own := token("beside")
	p := r.panel(own)
	id := p.upload("beside", size)
	p.chunk(id, 0, data)
	p.ok("ping", nil, nil) // small replies do not wait for the chunk
	p.ok("get_permissions", nil, nil)
	assert.Contains(t, p.next(), `"done":true`)
	within(t, begun)
	all.Wait()
	r.has("put", data)
	r.has("tus", data)
	r.has("chunks", data)
	assert.Contains(t, r.metrics(), `waybill_bandwidth_wait_seconds_total{direction="in"}`)
	assert.Contains(t, r.metrics(), `waybill_bandwidth_wait_seconds_total{direction="out"}`)
}

func TestBandwidthOverFTPS(t *testing.T) {
	const each, size = 256 << 10, 2 * 256 << 10
	r := runTasks(t, func(c *Config) { c.Load.Bandwidth = each })
	data := random(size)
	o := r.create()
	c := r.ftp(o)
	begun := time.Now()
	assert.Equal(t, 226, c.put(data, "STOR %s", o.FakeName))
	assert.Greater(t, time.Since(begun).Seconds(), float64(size-paceStep)/each-0.1)
	back := r.read(o)
	c = r.ftp(back)
	begun = time.Now()
	got, code := c.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	assert.Equal(t, hexSum(data), hexSum([]byte(got)))
	assert.Greater(t, time.Since(begun).Seconds(), float64(size-paceStep)/each-0.1)
	// One that is given up does not wait to the end.
	back = r.read(o)
	c = r.ftp(back)
	d := c.begin("RETR %s", back.FakeName)
	c.send("ABOR")
	code, _ = c.reply()
	assert.Contains(t, []int{226, 426}, code)
	require.NoError(t, d.reset())
}

// A stop, or the end of the upload, does not wait for bandwidth.
func TestBandwidthAndAnEnd(t *testing.T) {
	const size = 8 << 20
	r := runTasks(t, func(c *Config) { c.Load.Bandwidth, c.ShutdownGrace = 64<<10, 50*time.Millisecond })
	data := random(size)
	p := r.panel(r.token)
	gone, kept := p.upload("gone", size), p.upload("kept", size)
	chunked := p.upload("chunked", size)
	a := r.slow("PUT", uploadPath+gone, size)
	b := r.slow("PUT", uploadPath+kept, size)
	for _, s := range []*slow{a, b} {
		go func() { _, _ = s.conn.Write(data) }()
	}
	require.True(t, soon(func() bool { return r.received() > 0 && r.transferring() == 2 }))
	p.ok("file_upload_cancel", map[string]any{"file_id": gone}, nil)
	code, _, _ := a.answer()
	assert.Equal(t, 410, code)
	require.True(t, soon(func() bool { return r.transferring() == 1 }))

	q := r.panel(r.token)
	q.chunk(chunked, 0, data)
	require.True(t, soon(func() bool { return r.gauge("pending_requests") == 1 }))
	begun := time.Now()
	require.NoError(t, r.stop())
	assert.Less(t, time.Since(begun), r.cfg.StopWithin+8*time.Second)
	r.rig = restart(t, r.cfg)
	assert.Equal(t, 1, count(r.records(), func(rec record) bool {
		return rec.Kind == "action.refused" && rec.Body["code"] == "request_error"
	}), "a chunk that had no bandwidth leaves its record")
	_, _, h := r.ask("HEAD", uploadPath+kept, "")
	assert.Equal(t, strconv.Itoa(size), h.Get(headerLength))
}
