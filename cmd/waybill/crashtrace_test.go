package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tracedForCrash are the system calls from which a file system can be built up
// again, and those that would make such a model wrong.
const tracedForCrash = traced + ",open,creat,close,dup,dup2,dup3,fcntl,lseek,mmap,truncate,mkdir,link,linkat,unlink,rmdir," +
	"symlink,symlinkat,pwritev,pwritev2,copy_file_range,sendfile,splice,io_uring_setup"

// traceStep is when a call was entered or had returned.
type traceStep struct {
	line int
	call *syscallMade
	exit bool
}

// stepsOf puts the calls of one process in order.
func stepsOf(calls []*syscallMade) []traceStep {
	var out []traceStep
	for _, c := range calls {
		if c.ret < 0 && c.exit != never {
			continue // has changed nothing
		}
		out = append(out, traceStep{c.enter, c, false})
		if c.exit != never {
			out = append(out, traceStep{c.exit, c, true})
		}
	}
	slices.SortStableFunc(out, func(a, b traceStep) int { return a.line - b.line })
	return out
}

// happening is what a traceStep of a trace has done to the model.
type happening int

const (
	nothing happening = iota
	changed           // something more may be on disk
	secured           // something more is on disk
)

// replayer carries out on a model what a process did.
type replayer struct {
	*model
	files map[int]*openFile // by descriptor
	// covers is, of a sync under way, what it is of.
	covers map[*syscallMade]*inode
	// omitted are the classes of syncs that are taken to do nothing; syncs counts,
	// by class, those that had something to do.
	omitted map[string]bool
	syncs   map[string]int
	// watched is the class whose syncs are counted in left if they are left out.
	watched string
	left    int
}

type openFile struct {
	*inode
	off  int64
	tail bool // appends
}

func newReplayer(m *model, omitted map[string]bool) *replayer {
	return &replayer{model: m, files: make(map[int]*openFile), covers: make(map[*syscallMade]*inode), omitted: omitted, syncs: make(map[string]int)}
}

// process begins another one: no descriptor is open.
func (r *replayer) process() { clear(r.files); clear(r.covers) }

func (r *replayer) step(m traceStep) (happening, error) {
	h, err := r.do(m)
	if err != nil {
		err = fmt.Errorf("line %d: %s: %w", m.line, m.call.name, err)
	}
	return h, err
}

func (r *replayer) do(m traceStep) (happening, error) {
	c := m.call
	switch c.name {
	case "openat":
		return r.open(c, m.exit)
	case "close":
		if !m.exit { // the number may be given out again before it has returned
			delete(r.files, c.fd(0))
		}
		return nothing, nil
	case "dup", "dup2", "dup3", "fcntl":
		if f := r.files[c.fd(0)]; f != nil && m.exit && (c.name != "fcntl" || strings.HasPrefix(c.args[1], "F_DUPFD")) {
			r.files[int(c.ret)] = f
		}
		return nothing, nil
	case "fsync", "fdatasync":
		return r.sync(c, m.exit), nil
	}
	if m.exit {
		return nothing, nil // it may have had its effect since it was entered
	}
	switch c.name {
	case "pwrite64", "write", "ftruncate", "fallocate":
		if f := r.files[c.fd(0)]; f != nil {
			return changed, r.write(c, f)
		}
		return nothing, nil
	case "lseek":
		if f := r.files[c.fd(0)]; f != nil && !f.dir {
			f.off = c.ret
		}
		return nothing, nil
	case "mkdirat", "renameat", "renameat2", "rename", "unlinkat", "linkat":
		return r.entry(c)
	case "sendto", "sendmsg":
		return nothing, nil
	case "mmap":
		if r.files[c.fd(4)] != nil && strings.Contains(c.args[2], "PROT_WRITE") && strings.Contains(c.args[3], "MAP_SHARED") {
			return nothing, fmt.Errorf("writes by mapping %s are not in the trace", r.files[c.fd(4)].path)
		}
		return nothing, nil
	case "copy_file_range":
		if in, out := r.files[c.fd(0)], r.files[c.fd(2)]; in != nil && out != nil && c.args[1] == "NULL" && c.args[3] == "NULL" {
			if c.ret == 0 {
				return nothing, nil
			}
			r.model.write(out.inode, out.off, in.data.read(in.off, c.ret), c.exit)
			in.off, out.off = in.off+c.ret, out.off+c.ret
			return changed, nil
		}
		return nothing, fmt.Errorf("not modelled: %v", c.args)
	case "writev", "sendfile", "splice":
		for i := range c.args {
			if c.name == "sendfile" && i == 1 {
				continue // it is read only
			}
			if strings.Contains(c.args[i], "<") && r.files[c.fd(i)] != nil {
				return nothing, fmt.Errorf("%s is not modelled", c.args[i])
			}
		}
		return nothing, nil
	}
	return nothing, fmt.Errorf("not modelled: %v", c.args)
}

// fd is the number of the descriptor in argument i, -1 if it is none.
func (c *syscallMade) fd(i int) int {
	if i >= len(c.args) {
		return -1
	}
	number, _, _ := strings.Cut(c.args[i], "<")
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}

// parent resolves the directory in argument i and the name after it: dir is nil
// for what is out of the model.
func (r *replayer) parent(c *syscallMade, i int) (dir *inode, name string, err error) {
	b, err := c.text(i + 1)
	if err != nil {
		return nil, "", err
	}
	name = string(b)
	if f := r.files[c.fd(i)]; f != nil && !filepath.IsAbs(name) {
		for {
			first, rest, more := strings.Cut(name, "/")
			if !more {
				return f.inode, name, nil
			}
			sub := f.names[first]
			if sub == nil {
				return nil, "", fmt.Errorf("no %s in %s", first, f.path)
			}
			f, name = &openFile{inode: sub}, rest
		}
	}
	if c.fd(i) >= 0 && !filepath.IsAbs(name) {
		return nil, "", nil // below a directory that is not ours
	}
	path, err := c.at(i)
	if err != nil {
		return nil, "", err
	}
	if path == r.at {
		return r.root, ".", nil
	}
	return r.find(filepath.Dir(path)), filepath.Base(path), nil
}

func (r *replayer) open(c *syscallMade, exit bool) (happening, error) {
	dir, name, err := r.parent(c, 0)
	if err != nil || dir == nil {
		return nothing, err
	}
	i := dir
	if name != "." {
		i = dir.names[name]
	}
	done := nothing
	if flags := c.args[2]; !exit && strings.Contains(flags, "O_CREAT") {
		if i == nil {
			i = r.inode(false)
			r.enter(dir, name, i, c.exit)
			done = changed
		} else if strings.Contains(flags, "O_TRUNC") && i.data.size > 0 {
			r.resize(i, 0, c.exit)
			done = changed
		}
	}
	if !exit {
		return done, nil
	}
	if i == nil {
		return nothing, fmt.Errorf("%s is not in %s", name, dir.path)
	}
	r.files[int(c.ret)] = &openFile{inode: i, tail: strings.Contains(c.args[2], "O_APPEND")}
	return nothing, nil
}

func (r *replayer) write(c *syscallMade, f *openFile) error {
	switch c.name {
	case "ftruncate":
		r.resize(f.inode, c.int(1), c.exit)
		return nil
	case "fallocate":
		if c.args[1] != "0" {
			return fmt.Errorf("mode %s is not modelled", c.args[1])
		}
		r.resize(f.inode, max(f.data.size, c.int(2)+c.int(3)), c.exit)
		return nil
	}
	b, err := c.written()
	if err != nil {
		return err
	}
	off := f.off
	switch {
	case c.name == "pwrite64":
		off = c.int(3)
	case f.tail:
		off = f.data.size
	}
	r.model.write(f.inode, off, b, c.exit)
	if c.name == "write" {
		f.off = off + int64(len(b))
	}
	return nil
}

// entry carries out what changes a directory.
func (r *replayer) entry(c *syscallMade) (happening, error) {
	if c.name == "rename" {
		// Two paths, and no directories before them.
		c = &syscallMade{name: c.name, args: []string{"AT_FDCWD", c.args[0], "AT_FDCWD", c.args[1]}, enter: c.enter, exit: c.exit}
	}
	dir, name, err := r.parent(c, 0)
	if err != nil || dir == nil {
		return nothing, err
	}
	switch c.name {
	case "mkdirat":
		r.enter(dir, name, r.inode(true), c.exit)
		return changed, nil
	case "unlinkat":
		if dir.names[name] == nil {
			return nothing, fmt.Errorf("%s is not in %s", name, dir.path)
		}
		r.enter(dir, name, nil, c.exit)
		return changed, nil
	}
	to, newName, err := r.parent(c, 2)
	if err != nil || to == nil {
		return nothing, fmt.Errorf("out of the model: %w", err)
	}
	if c.name == "linkat" {
		if dir.names[name] == nil {
			return nothing, fmt.Errorf("%s is not in %s", name, dir.path)
		}
		r.enter(to, newName, dir.names[name], c.exit)
		return changed, nil
	}
	if c.name == "renameat2" && c.args[4] != "0" && c.args[4] != "RENAME_NOREPLACE" {
		return nothing, fmt.Errorf("flags %s are not modelled", c.args[4])
	}
	return changed, r.rename(dir, name, to, newName, c.exit)
}

// sync makes durable, once it has returned, what had returned when it was called.
func (r *replayer) sync(c *syscallMade, exit bool) happening {
	if !exit {
		if f := r.files[c.fd(0)]; f != nil {
			r.covers[c] = f.inode
		}
		return nothing
	}
	i := r.covers[c]
	if i == nil {
		return nothing
	}
	delete(r.covers, c)
	class := r.syncClass(i, c.name)
	if !i.dir {
		i.dataWritten = false
	}
	due := slices.ContainsFunc(i.ops, func(o *fileOp) bool { return o.exit < c.enter })
	if i.dir {
		due = slices.ContainsFunc(r.pending, func(o *dirOp) bool { return o.dir == i && o.exit < c.enter && !o.passed })
	}
	if !due {
		return nothing
	}
	r.syncs[class]++
	switch {
	case r.omitted[class]:
		if class == r.watched {
			r.left++
		}
		for _, o := range r.pending {
			o.passed = o.passed || o.dir == i && o.exit < c.enter
		}
	case i.dir:
		r.syncDir(i, c.enter)
	default:
		r.syncFile(i, c.enter)
	}
	return secured
}
