package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// benchDaemon is the real binary, measured from outside.
type benchDaemon struct {
	b    *testing.B
	cmd  *exec.Cmd
	addr string
	dir  string
}

func newBenchDaemon(b *testing.B) *benchDaemon {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	d := &benchDaemon{b: b, addr: l.Addr().String(), dir: b.TempDir()}
	require.NoError(b, l.Close())
	d.cmd = exec.Command(binary, "serve", "--listen", d.addr, "--log-level", "error")
	d.cmd.Dir, d.cmd.Env, d.cmd.Stderr = d.dir, clean(), os.Stderr
	require.NoError(b, d.cmd.Start())
	b.Cleanup(func() {
		d.cmd.Process.Signal(syscall.SIGTERM)
		d.cmd.Wait()
	})
	for deadline := time.Now().Add(longest); ; {
		res, err := http.Get("http://" + d.addr + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return d
			}
		}
		require.True(b, time.Now().Before(deadline), "daemon is not ready: %v", err)
		time.Sleep(5 * time.Millisecond)
	}
}

func (d *benchDaemon) dial() *websocket.Conn {
	d.b.Helper()
	token, err := os.ReadFile(filepath.Join(d.dir, "waybill-data", "state", "main-token"))
	require.NoError(d.b, err)
	c, _, err := websocket.Dial(context.Background(), "ws://"+d.addr+"/api/v1?token="+strings.TrimSpace(string(token)), nil)
	require.NoError(d.b, err)
	c.SetReadLimit(64 << 20)
	return c
}

// memory returns the daemon's resident memory now and at its peak, in MiB.
func (d *benchDaemon) memory() (now, peak float64) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	require.NoError(d.b, err)
	field := func(name string) float64 {
		_, rest, _ := strings.Cut(string(raw), name+":")
		kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		require.NoError(d.b, err)
		return kib / 1024
	}
	return field("VmRSS"), field("VmHWM")
}

// resetPeak makes VmHWM begin anew.
func (d *benchDaemon) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.cmd.Process.Pid), []byte("5"), 0)
}

func (d *benchDaemon) ask(c *websocket.Conn, action string, params any, into any) {
	d.b.Helper()
	require.NoError(d.b, c.Write(context.Background(), websocket.MessageText, panelwire.AppendRequest(nil, "r", action, params)))
	_, msg, err := c.Read(context.Background())
	require.NoError(d.b, err)
	reply, err := panelwire.ParseReply(msg)
	require.NoError(d.b, err)
	require.NoError(d.b, reply.Err())
	require.NoError(d.b, json.Unmarshal(reply.Data, into))
}

// calseq is what the disk can do: 4 MiB written and synced at a time, in
// MB/s, into a file that was allocated before as a staged file is.
func calseq(b *testing.B) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "calseq"))
	require.NoError(b, err)
	defer f.Close()
	const piece, pieces = 4 << 20, 64
	require.NoError(b, unix.Fallocate(int(f.Fd()), 0, 0, piece*pieces))
	require.NoError(b, f.Sync())
	buf := make([]byte, piece)
	rand.Read(buf)
	begun := time.Now()
	for i := range int64(pieces) {
		_, err := f.WriteAt(buf, i*piece)
		require.NoError(b, err)
		require.NoError(b, unix.Fdatasync(int(f.Fd())))
	}
	return piece * pieces / 1e6 / time.Since(begun).Seconds()
}

const benchSize = 1 << 30

// BenchmarkUpload sends 1 GiB in one session over loopback, every chunk
// durable before its reply, and reports MB/s of contents and the ratio to
// calseq measured before and after.
func BenchmarkUpload(b *testing.B) {
	for _, form := range []string{"packet", "frame", "text", "base64"} {
		for _, chunk := range []int{64 << 10, 1 << 20, 4 << 20} {
			for _, window := range []int{1, max(8, 8<<20/chunk)} {
				if chunk != 1<<20 && (form == "text" || form == "base64" || window == 1) || chunk == 4<<20 && window > 2 && form == "frame" {
					continue
				}
				if chunk == 4<<20 {
					window = 2
				}
				b.Run(fmt.Sprintf("%s/chunk=%dKiB/inflight=%d", form, chunk>>10, window), func(b *testing.B) {
					for range b.N {
						uploadOnce(b, form, chunk, window)
					}
				})
			}
		}
	}
}

func uploadOnce(b *testing.B, form string, chunk, window int) {
	d := newBenchDaemon(b)
	idle, _ := d.memory()
	before := calseq(b)
	c := d.dial()
	defer c.CloseNow()
	var opened struct {
		ID sessions.ID `json:"file_id"`
	}
	d.ask(c, "file_upload_request", map[string]any{"path": "bench.bin", "size": benchSize}, &opened)
	data := make([]byte, chunk)
	rand.Read(data)
	messages := chunkMessages(form, opened.ID, data)
	free := make(chan struct{}, window)
	replies := make(chan error, 1)
	d.resetPeak()
	begun := time.Now()
	go func() {
		for range benchSize / chunk {
			_, msg, err := c.Read(context.Background())
			if err == nil && !strings.Contains(string(msg), `"received"`) {
				err = fmt.Errorf("refused: %s", msg)
			}
			if err != nil {
				replies <- err
				return
			}
			<-free
		}
		replies <- nil
	}()
	for off := 0; off < benchSize; off += chunk {
		free <- struct{}{}
		typ, msg := messages(int64(off))
		require.NoError(b, c.Write(context.Background(), typ, msg))
	}
	require.NoError(b, <-replies)
	rate := benchSize / 1e6 / time.Since(begun).Seconds()
	_, peak := d.memory()
	cal := (before + calseq(b)) / 2
	b.ReportMetric(rate, "MB/s")
	b.ReportMetric(cal, "calseq-MB/s")
	b.ReportMetric(rate/cal, "x-calseq")
	b.ReportMetric(idle, "idle-MiB")
	b.ReportMetric(peak, "peak-MiB")
}

// chunkMessages returns a maker of chunk messages that costs a copy at the
// most, so that the client's encoding does not count.
func chunkMessages(form string, id sessions.ID, data []byte) func(off int64) (websocket.MessageType, []byte) {
	var buf []byte
	var literal []byte
	switch form {
	case "text":
		literal = panelwire.AppendByteString(nil, data)
	case "base64":
		literal, _ = json.Marshal(data)
	}
	return func(off int64) (websocket.MessageType, []byte) {
		switch form {
		case "packet":
			buf = panelwire.AppendPacket(buf[:0], "r", "file_upload_chunk", map[string]any{"file_id": id, "offset": off}, data)
			return websocket.MessageBinary, buf
		case "frame":
			buf = panelwire.AppendUploadFrame(buf[:0], id, off, data)
			return websocket.MessageBinary, buf
		}
		buf = fmt.Appendf(buf[:0], `{"action":"file_upload_chunk","id":"r","params":{"file_id":"%s","offset":%d`, id, off)
		if form == "base64" {
			buf = append(buf, `,"encoding":"base64"`...)
		}
		buf = append(buf, `,"data":`...)
		buf = append(append(buf, literal...), "}}"...)
		return websocket.MessageText, buf
	}
}

// BenchmarkDownload reads 256 MiB back, eight 1 MiB ranges in flight, and
// reports the ratio to a plain http.ServeContent of the same file.
func BenchmarkDownload(b *testing.B) {
	const size, chunk, window = 256 << 20, 1 << 20, 8
	for _, encoding := range []string{"base64", "text"} {
		b.Run(encoding, func(b *testing.B) {
			for range b.N {
				d := newBenchDaemon(b)
				path := filepath.Join(d.dir, "waybill-data", "files", "bench.bin")
				data := make([]byte, size)
				rand.Read(data)
				require.NoError(b, os.WriteFile(path, data, 0o644))
				plain := serveContent(b, path)
				c := d.dial()
				var opened struct {
					ID sessions.ID `json:"file_id"`
				}
				d.ask(c, "file_download_request", map[string]any{"path": "bench.bin"}, &opened)
				d.resetPeak()
				begun := time.Now()
				go func() {
					for off := 0; off < size; off += chunk {
						params := map[string]any{"file_id": opened.ID, "range": fmt.Sprintf("%d..%d", off, off+chunk)}
						if encoding == "base64" {
							params["encoding"] = encoding
						}
						if c.Write(context.Background(), websocket.MessageText, panelwire.AppendRequest(nil, "r", "file_download_chunk", params)) != nil {
							return
						}
					}
				}()
				buf := make([]byte, 1<<20) // a client that decodes in place
				for range size / chunk {
					_, r, err := c.Reader(context.Background())
					require.NoError(b, err)
					n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
					require.NoError(b, err)
					require.Greater(b, n, int64(chunk))
				}
				rate := size / 1e6 / time.Since(begun).Seconds()
				_, peak := d.memory()
				c.CloseNow()
				b.ReportMetric(rate, "MB/s")
				b.ReportMetric(plain, "servecontent-MB/s")
				b.ReportMetric(rate/plain, "x-servecontent")
				b.ReportMetric(peak, "peak-MiB")
			}
		})
	}
}

// serveContent measures a plain net/http download of path in MB/s.
func serveContent(b *testing.B, path string) float64 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s := &http.Server{Handler: http.FileServer(http.Dir(filepath.Dir(path)))}
	go s.Serve(l)
	defer s.Close()
	begun := time.Now()
	res, err := http.Get("http://" + l.Addr().String() + "/" + filepath.Base(path))
	require.NoError(b, err)
	defer res.Body.Close()
	buf := make([]byte, 1<<20)
	var n int
	for {
		got, err := res.Body.Read(buf)
		n += got
		if err != nil {
			break
		}
	}
	return float64(n) / 1e6 / time.Since(begun).Seconds()
}

// BenchmarkIdle measures what 1,000 idle connections cost.
func BenchmarkIdle(b *testing.B) {
	const conns = 1000
	for range b.N {
		d := newBenchDaemon(b)
		first := d.dial()
		idle, _ := d.memory()
		var open []*websocket.Conn
		for range conns {
			open = append(open, d.dial())
		}
		now, _ := d.memory()
		for _, c := range append(open, first) {
			c.CloseNow()
		}
		b.ReportMetric(idle, "idle-MiB")
		b.ReportMetric(now, "with-1000-MiB")
		b.ReportMetric((now-idle)*1024/conns, "KiB/conn")
	}
}
