package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// docBench is the real binary, measured from outside.
type docBench struct {
	*benchDaemon
	b *testing.B
}

func newDocBench(b *testing.B) *docBench {
	b.Helper()
	d, err := startBenchDaemon(context.Background(), binary, b.TempDir())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, d.stop()) })
	return &docBench{d, b}
}

// library opens a connection to the document library with somebody's claim; ""
// is the main token's.
func (d *docBench) library(user, token string) *docConn {
	d.b.Helper()
	var err error
	if user == "" {
		token, err = d.token()
		require.NoError(d.b, err)
	}
	ws, err := d.upgrade(context.Background(), documentPath, "")
	require.NoError(d.b, err)
	d.b.Cleanup(func() { _ = ws.CloseNow() })
	return &docConn{ws: ws, username: user, token: token}
}

func (d *docBench) users(c *docConn, n int) {
	d.b.Helper()
	for i := range n {
		_, err := c.call(context.Background(), "createUser", map[string]string{"username": fmt.Sprint("user", i), "password": "typed"})
		require.NoError(d.b, err)
	}
}

// BenchmarkDocumentList asks for a directory with 10,000 documents.
func BenchmarkDocumentList(b *testing.B) {
	d := newDocBench(b)
	var all errgroup.Group
	for w := range 16 {
		c := d.library("", "")
		all.Go(func() error {
			for i := w; i < 10_000; i += 16 {
				_, err := c.call(context.Background(), "createFile", map[string]string{"file_id": fmt.Sprint("doc", i), "filename": fmt.Sprintf("document %05d.txt", i)})
				if err != nil {
					return err
				}
				// Ends the write task that came with it: nobody may have 10,000.
				if _, err = c.call(context.Background(), "operateFile", map[string]string{"file_id": fmt.Sprint("doc", i), "action": "delete"}); err != nil {
					return err
				}
				if _, err = c.call(context.Background(), "operateFile", map[string]string{"file_id": fmt.Sprint("doc", i), "action": "recover"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	begun := time.Now()
	require.NoError(b, all.Wait())
	b.Logf("30,000 requests by 16 connections: %.0f/s", 30_000/time.Since(begun).Seconds())
	c := d.library("", "")
	b.ResetTimer()
	for range b.N {
		reply, err := c.call(context.Background(), "getRootDir", nil)
		require.NoError(b, err)
		b.SetBytes(int64(len(reply.Raw["dir_data"])))
	}
	b.StopTimer()
	now, peak := d.memory()
	b.ReportMetric(now, "MiB-now")
	b.ReportMetric(peak, "MiB-peak")
}

// BenchmarkDocumentUsers has 50 users on 1,000 connections ask for the root, all
// at the same time.
func BenchmarkDocumentUsers(b *testing.B) {
	const users, conns = 50, 1000
	d := newDocBench(b)
	d.users(d.library("", ""), users)
	idle, _ := d.memory()
	tokens := make([]string, users)
	for i := range tokens {
		c := d.library("x", "")
		require.NoError(b, c.login(context.Background(), fmt.Sprint("user", i), "typed"))
		tokens[i] = c.token
	}
	list := make([]*docConn, conns)
	for i := range list {
		list[i] = d.library(fmt.Sprint("user", i%users), tokens[i%users])
		_, err := list[i].call(context.Background(), "getRootDir", nil)
		require.NoError(b, err)
	}
	open, _ := d.memory()
	b.ResetTimer()
	var all errgroup.Group
	for _, c := range list {
		all.Go(func() error {
			for range b.N {
				if _, err := c.call(context.Background(), "getRootDir", nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, all.Wait())
	b.StopTimer()
	b.ReportMetric(float64(conns*b.N)/b.Elapsed().Seconds(), "requests/s")
	now, _ := d.memory()
	b.ReportMetric(idle, "MiB-idle")
	b.ReportMetric(open, "MiB-open")
	b.ReportMetric(now, "MiB-after")
}

// BenchmarkDocumentLogin logs in over 16 connections at once.
func BenchmarkDocumentLogin(b *testing.B) {
	const at = 16
	d := newDocBench(b)
	d.users(d.library("", ""), at)
	idle, _ := d.memory()
	d.begin()
	b.ResetTimer()
	var all errgroup.Group
	for i := range at {
		all.Go(func() error {
			c := d.library("x", "")
			for range b.N {
				if err := c.login(context.Background(), fmt.Sprint("user", i), "typed"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, all.Wait())
	b.StopTimer()
	_, peak := d.memory()
	b.ReportMetric(float64(at*b.N)/b.Elapsed().Seconds(), "logins/s")
	b.ReportMetric(idle, "MiB-idle")
	b.ReportMetric(peak, "MiB-peak")
}
