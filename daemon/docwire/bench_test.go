package docwire

import (
	"fmt"
	"strings"
	"testing"

	"waybill/actions"
	"waybill/fsview/doctree"
)

func benchDecode(b *testing.B, msg string) {
	raw := []byte(msg)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if r := Decode(raw, testNow, testSettings); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	benchDecode(b, request(`"request":"operateFile","trace_id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","X-Ca-Timestamp":1700000000,
"data":{"file_id":"C00001","action":"read"},"auth":{"username":"admin","token":"`+strings.Repeat("x", 200)+`"},"token":""`))
}

// What is worst: as many members as fit a message, escapes in all of them.
func BenchmarkDecodeWorst(b *testing.B) {
	benchDecode(b, request(`"request":"operateUser",`+goodAuth+`,"data":{`+strings.Repeat(`"\ud800":1,`, 90_000)+`"a":1}`))
}

func BenchmarkListing(b *testing.B) {
	l := &doctree.Listing{ID: "d", Name: "many", Parent: &doctree.ListEntry{Dir: true}}
	for i := range 10_000 {
		l.Entries = append(l.Entries, doctree.ListEntry{
			ID: fmt.Sprintf("%032x", i), Name: fmt.Sprintf("Ein Dokument %05d.pdf", i), Created: 1700000000.123456 + float64(i), Size: int64(i) << 10,
		})
	}
	res := &actions.DirListing{Listing: l}
	b.ReportAllocs()
	for b.Loop() {
		AppendReply(nil, &Request{}, res, nil, testSettings)
	}
}
