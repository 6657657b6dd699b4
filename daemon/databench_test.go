package daemon

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// benchSend sends a body and drops the answer.
func (r *taskRig) benchSend(method, path string, body []byte, header ...string) {
	req, err := http.NewRequest(method, "http://"+r.addr+path, bytes.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(r.t, err)
	require.NoError(r.t, res.Body.Close())
	require.Less(r.t, res.StatusCode, 300)
}

// BenchmarkCalibration is what the disk does by itself: 4 MiB and a sync.
func BenchmarkCalibration(b *testing.B) {
	data := random(4 << 20)
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	require.NoError(b, err)
	defer f.Close()
	require.NoError(b, unix.Fallocate(int(f.Fd()), 0, 0, benchFile))
	b.SetBytes(benchFile)
	for b.Loop() {
		for at := int64(0); at < benchFile; at += 4 << 20 {
			_, err := f.WriteAt(data, at)
			require.NoError(b, err)
			require.NoError(b, unix.Fdatasync(int(f.Fd())))
		}
	}
}

func BenchmarkUploadPatch(b *testing.B) {
	r := runTasks(b, nil)
	data := random(benchFile)
	b.SetBytes(benchFile)
	for b.Loop() {
		r.benchSend("PATCH", r.opens("f", benchFile), data, headerOffset, "0")
	}
}

func BenchmarkTusPatch(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20, 8 << 20, benchFile} {
		for _, check := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dKiB/checksum=%v", size>>10, check), func(b *testing.B) {
				r := runTasks(b, nil)
				data := random(benchFile)
				b.SetBytes(benchFile)
				for b.Loop() {
					up := r.creates(benchFile, headerMetadata, meta("path", "f"))
					for at := 0; at < benchFile; at += size {
						header := tusHeader(at)
						if check {
							header = append(header, headerChecksum, checksumOf(data[at:at+size]))
						}
						r.benchSend("PATCH", up, data[at:at+size], header...)
					}
				}
			})
		}
	}
}

func BenchmarkDownloadGet(b *testing.B) {
	r := runTasks(b, nil)
	name := r.at("f")
	require.NoError(b, os.WriteFile(name, random(benchFile), 0o600))
	path, _ := r.downloads("f")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
	defer plain.Close()
	for what, url := range map[string]string{"ours": "http://" + r.addr + path, "ServeContent": plain.URL} {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(benchFile)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				req, err := http.NewRequest("GET", url, nil)
				require.NoError(b, err)
				req.Header.Set("Authorization", "Bearer "+r.token)
				res, err := http.DefaultClient.Do(req)
				require.NoError(b, err)
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{res.Body}, buf)
				require.NoError(b, err)
				require.Equal(b, strconv.Itoa(benchFile), strconv.FormatInt(n, 10))
				require.NoError(b, res.Body.Close())
			}
		})
	}
}
