// Powerloss is a file system in memory that loses, when it is told that the
// power was cut, what nobody has synced. It is a program of its own, so that what
// it is built on is no part of waybill.
//
//	powerloss DIR
//
// mounts it at DIR, says "ok", and obeys lines on its input, each of which it
// answers with one line that begins with "ok" or "error":
//
//	settle      everything there is counts as synced
//	cut SEED    the power is cut: the file system is mounted anew, with what was
//	            synced and a part of the rest, drawn from SEED
//
// It ends, and unmounts, at the end of its input. It needs root and /dev/fuse.
//
// What it promises is what cmd/waybill's crash enumeration assumes: the bytes and
// the length of a file are kept once it was synced, what was done to a directory
// once that was; until then any blocks of 512 bytes may be kept and any not, and
// of the changes to directories the first so many. A rename is one step.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: powerloss DIR")
		os.Exit(64)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "powerloss:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	d := newDisk()
	server, err := mount(dir, d)
	if err != nil {
		return err
	}
	fmt.Println("ok")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch command, rest, _ := strings.Cut(lines.Text(), " "); command {
		case "settle":
			d.settle()
			fmt.Println("ok")
		case "cut":
			seed, err := strconv.ParseUint(rest, 10, 64)
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			if err := unmount(server); err != nil {
				return err
			}
			what := d.cut(seed)
			if server, err = mount(dir, d); err != nil {
				return err
			}
			fmt.Println("ok", what)
		default:
			fmt.Println("error unknown command")
		}
	}
	return unmount(server)
}

// mount shows the disk at dir. Nothing is remembered by the kernel for longer
// than it must: mappings see what was written because both go through its pages.
func mount(dir string, d *disk) (*fuse.Server, error) {
	second := time.Second
	return fs.Mount(dir, &node{disk: d, inode: d.root}, &fs.Options{
		EntryTimeout: &second, AttrTimeout: &second,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "powerloss", Name: "powerloss", MaxWrite: 1 << 20},
	})
}

// unmount waits for those who still have something open, for a while.
func unmount(server *fuse.Server) (err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = server.Unmount(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("unmount: %w", err)
}
