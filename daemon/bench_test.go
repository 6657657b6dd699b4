package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// BenchmarkUpload stores one file over loopback, with so many chunks in
// flight. Beside it: what the disk gives for 4 MiB writes, each synced.
func BenchmarkUpload(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "f"))
		require.NoError(b, err)
		defer f.Close()
		data := random(4 << 20)
		b.SetBytes(int64(len(data)))
		for i := 0; b.Loop(); i++ {
			_, err := f.WriteAt(data, int64(i%16)*int64(len(data)))
			require.NoError(b, err)
			require.NoError(b, f.Sync())
		}
	})
	for _, kind := range []string{"packet", "text"} {
		for _, size := range []int{64 << 10, 1 << 20, 4 << 20} {
			for _, flight := range []int{1, max(1, 8<<20/size)} {
				b.Run(fmt.Sprintf("%s/%dKiB/%d", kind, size>>10, flight), func(b *testing.B) {
					r := run(b, nil)
					p := r.panel(r.token)
					data := random(size)
					b.SetBytes(int64(size))
					p.ws.SetReadLimit(-1)
					const total = 1 << 30
					var id sessions.ID
					at, pending := total, 0
					for b.Loop() {
						if at+size > total {
							for ; pending > 0; pending-- {
								p.reply()
							}
							var err error
							id, err = sessions.ParseID(p.upload(fmt.Sprint("f", time.Now().UnixNano()), total))
							require.NoError(b, err)
							at = 0
						}
						if pending == flight {
							require.Equal(b, "ok", p.reply().Status)
							pending--
						}
						if kind == "text" {
							p.send(string(panelwire.AppendChunkRequest(nil, "x", id, int64(at), data)))
						} else {
							p.chunk(id.String(), at, data)
						}
						pending++
						at += size
					}
					for ; pending > 0; pending-- {
						p.reply()
					}
				})
			}
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	for _, encoding := range []string{"text", "base64"} {
		for _, span := range []int{64 << 10, 1 << 20, 8 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", encoding, span>>10), func(b *testing.B) {
				r := run(b, nil)
				p := r.panel(r.token)
				id := r.serveFile(p, "f", random(size))
				b.SetBytes(int64(span))
				flight := 0
				for i := 0; b.Loop(); i++ {
					from := i * span % size
					params := map[string]any{"file_id": id, "range": fmt.Sprintf("%d..%d", from, from+span)}
					if encoding == "base64" {
						params["encoding"] = encoding
					}
					p.ask("file_download_chunk", params)
					if flight++; flight > 4 {
						p.next()
						flight--
					}
				}
				for ; flight > 0; flight-- {
					p.next()
				}
			})
		}
	}
}

func BenchmarkPing(b *testing.B) {
	r := run(b, nil)
	p := r.panel(r.token)
	flight := 0
	for b.Loop() {
		p.send(`{"action":"ping","id":"x"}`)
		if flight++; flight > 64 {
			p.next()
			flight--
		}
	}
	for ; flight > 0; flight-- {
		p.next()
	}
}
