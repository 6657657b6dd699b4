package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkCal2 is what a durable commit of bbolt costs at least: four pages
// and fdatasync, a page and fdatasync. Compare Append1 with it, in one run.
func BenchmarkCal2(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "cal"))
	require.NoError(b, err)
	defer f.Close()
	page := bytes.Repeat([]byte{7}, pageSize)
	const pages = 4096
	_, err = f.Write(bytes.Repeat(page, pages))
	require.NoError(b, err)
	require.NoError(b, f.Sync())
	write := func(n int, at int64) {
		for i := range n {
			_, err := f.WriteAt(page, (at+int64(i))%pages*pageSize)
			require.NoError(b, err)
		}
		require.NoError(b, unix.Fdatasync(int(f.Fd())))
	}
	at := int64(2)
	for b.Loop() {
		write(4, at)
		write(1, at%2)
		at += 4
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func benchmarkAppend(b *testing.B, batch uint64) {
	l := openTest(b, b.TempDir(), Options{})
	at := uint64(0)
	for b.Loop() {
		b.StopTimer()
		lines := testLines(at, batch, 200)
		b.StartTimer()
		require.NoError(b, l.Append(lines))
		at += batch
	}
	b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkAppend1(b *testing.B)    { benchmarkAppend(b, 1) }
func BenchmarkAppend64(b *testing.B)   { benchmarkAppend(b, 64) }
func BenchmarkAppend512(b *testing.B)  { benchmarkAppend(b, 512) }
func BenchmarkAppend4096(b *testing.B) { benchmarkAppend(b, 4096) }

// BenchmarkAppendCPU is the processor time of a record in a batch, that of
// the kernel apart.
func BenchmarkAppendCPU(b *testing.B) {
	for _, batch := range []uint64{512, 4096} {
		b.Run(map[uint64]string{512: "512", 4096: "4096"}[batch], func(b *testing.B) {
			l := openTest(b, b.TempDir(), Options{})
			at := uint64(0)
			var user, sys time.Duration
			for b.Loop() {
				lines := testLines(at, batch, 200)
				u0, s0 := cpu(b)
				require.NoError(b, l.Append(lines))
				u1, s1 := cpu(b)
				user, sys = user+u1-u0, sys+s1-s0
				at += batch
			}
			b.ReportMetric(float64(user)/float64(at), "user-ns/record")
			b.ReportMetric(float64(sys)/float64(at), "sys-ns/record")
		})
	}
}

func cpu(b *testing.B) (user, sys time.Duration) {
	var r unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
}

const benchRecords = 8*SegmentRecords + 1000

// benchJournal makes a journal of half a million records once; TestMain
// removes it.
func benchJournal(b *testing.B) string {
	dir := filepath.Join(testDir, "bench")
	l, err := Open(dir, Options{})
	require.NoError(b, err)
	for at := l.Head().Size; at < benchRecords; at = l.Head().Size {
		require.NoError(b, l.Append(testLines(at, min(MaxBatchRecords, benchRecords-at), 200)))
	}
	require.NoError(b, l.Close())
	return dir
}

func BenchmarkReplay(b *testing.B) {
	l, err := Open(benchJournal(b), Options{ReadOnly: true})
	require.NoError(b, err)
	defer l.Close()
	n := 0
	u0, s0 := cpu(b)
	for b.Loop() {
		require.NoError(b, l.Replay(ctx, 0, func(*Entry) error { n++; return nil }))
	}
	u1, s1 := cpu(b)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(u1+s1-u0-s0)/float64(n), "cpu-ns/record")
}

func BenchmarkRead(b *testing.B) {
	l, err := Open(benchJournal(b), Options{ReadOnly: true})
	require.NoError(b, err)
	defer l.Close()
	n := 0
	for b.Loop() {
		require.NoError(b, l.Read(ctx, 0, benchRecords, func([]byte) error { n++; return nil }))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkOpen(b *testing.B) {
	dir := benchJournal(b)
	for b.Loop() {
		l, err := Open(dir, Options{ReadOnly: true})
		require.NoError(b, err)
		require.NoError(b, l.Close())
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := benchJournal(b)
	for b.Loop() {
		_, err := Verify(ctx, dir)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)*benchRecords/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkVerifyExport(b *testing.B) {
	var export bytes.Buffer
	const n = 200_000
	for seq := range uint64(n) {
		export.Write(append(testLine(seq, 200), '\n'))
	}
	for b.Loop() {
		_, err := VerifyExport(ctx, bytes.NewReader(export.Bytes()))
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkVerifyCold drops the files from the page cache first.
func BenchmarkVerifyCold(b *testing.B) {
	dir := benchJournal(b)
	for b.Loop() {
		b.StopTimer()
		names, err := os.ReadDir(dir)
		require.NoError(b, err)
		for _, n := range names {
			f, err := os.Open(filepath.Join(dir, n.Name()))
			require.NoError(b, err)
			require.NoError(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			require.NoError(b, f.Close())
		}
		b.StartTimer()
		_, err = Verify(ctx, dir)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)*benchRecords/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkParseEntry(b *testing.B) {
	line := AppendRecord(nil, &Record{
		Seq: 12345678, At: epoch, Kind: "upload.stored", Actor: "main", Via: "ws 127.0.0.1:51034", Ref: "0b7e1f8a",
		Body: []byte(`{"session":"f81d4fae7dec11d0","ranges":[[0,65536]],"crc32c":"9ae0daaf"}`),
	})
	b.ReportMetric(float64(len(line)), "bytes")
	b.ReportAllocs()
	var e Entry
	for b.Loop() {
		if err := ParseEntry(line, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := Record{
		Seq: 12345678, At: epoch, Kind: "upload.stored", Actor: "main", Via: "ws 127.0.0.1:51034", Ref: "0b7e1f8a",
		Body: []byte(`{"session":"f81d4fae7dec11d0","ranges":[[0,65536]],"crc32c":"9ae0daaf"}`),
	}
	b.ReportAllocs()
	var line []byte
	for b.Loop() {
		line = AppendRecord(line[:0], &r)
	}
}

func BenchmarkTree(b *testing.B) {
	line := testLine(1, 200)
	t := NewTree()
	b.ReportAllocs()
	for b.Loop() {
		t.Append(line)
	}
}
