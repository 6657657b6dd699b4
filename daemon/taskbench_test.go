package daemon

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

const benchFile = 64 << 20

func BenchmarkFTPStore(b *testing.B) {
	r := runTasks(b, nil)
	data := random(benchFile)
	o := r.create()
	b.SetBytes(benchFile)
	for b.Loop() {
		o = r.write(o)
		c := r.ftp(o)
		require.Equal(b, 226, c.put(data, "STOR %s", o.FakeName))
		_ = c.tcp.Close()
	}
}

func BenchmarkFTPRetrieve(b *testing.B) {
	r := runTasks(b, nil)
	back := r.read(r.stored(random(benchFile)))
	c := r.ftp(back)
	b.SetBytes(benchFile)
	for b.Loop() {
		d := c.begin("RETR %s", back.FakeName)
		n, err := io.Copy(io.Discard, d.tls)
		require.NoError(b, err)
		require.Equal(b, int64(benchFile), n)
		require.NoError(b, d.tls.Close())
		code, text := c.reply()
		require.Equal(b, 226, code, text)
	}
}

func BenchmarkTaskPut(b *testing.B) {
	r := runTasks(b, nil)
	data := random(benchFile)
	o := r.create()
	b.SetBytes(benchFile)
	for b.Loop() {
		o = r.write(o)
		req, err := http.NewRequest("PUT", "http://"+r.addr+taskURL(o), bytes.NewReader(data))
		require.NoError(b, err)
		req.Header.Set("Authorization", "Bearer "+o.Token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(b, err)
		require.NoError(b, res.Body.Close())
		require.Equal(b, 200, res.StatusCode)
	}
}

func BenchmarkTaskGet(b *testing.B) {
	r := runTasks(b, nil)
	back := r.read(r.stored(random(benchFile)))
	b.SetBytes(benchFile)
	for b.Loop() {
		res := r.slowGet(back)
		n, err := io.Copy(io.Discard, res.Body)
		require.NoError(b, err)
		require.Equal(b, int64(benchFile), n)
		require.NoError(b, res.Body.Close())
	}
}
