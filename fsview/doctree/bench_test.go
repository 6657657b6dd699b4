package doctree

import (
	"fmt"
	"testing"

	"waybill/fsview/acl"
)

func BenchmarkList(b *testing.B) {
	tree := newBook(b)
	parent := ""
	for i := range 10 {
		id := fmt.Sprint("d", i)
		tree.dir(id, parent)
		tree.rules(id, `{"read":[{"match":"any","match_groups":[{"match":"any","groups":{"require":["user"]}}]}]}`, "")
		parent = id
	}
	for i := range 10_000 {
		tree.file(fmt.Sprintf("f%05d", i*7919%10_000), parent)
	}
	op := DirOp{DirID: &parent, Action: ptr("list")}
	now := tree.now()
	b.ReportAllocs()
	for b.Loop() {
		out, err := tree.OperateDir(bob, op, true, now)
		if err != nil || len(out.Listing.Entries) != 10_000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckAtDepth10(b *testing.B) {
	tree := newBook(b)
	parent := ""
	for i := range 10 {
		id := fmt.Sprint("d", i)
		tree.dir(id, parent)
		tree.rules(id, `{"read":[{"match":"any","match_groups":[{"match":"any","groups":{"require":["user"]}}]}]}`, "")
		parent = id
	}
	now := tree.now()
	b.ReportAllocs()
	for b.Loop() {
		if !tree.Check(bob, acl.ActionRead, parent, now) {
			b.Fatal("denied")
		}
	}
}
