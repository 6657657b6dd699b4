package main

import (
	"bufio"
	"bytes"
	bits "encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// traced are the system calls from which the order of durable steps and
// answers is read.
const traced = "openat,fallocate,ftruncate,pwrite64,fsync,fdatasync," +
	"mkdirat,renameat,renameat2,rename,unlinkat,write,writev,sendto,sendmsg"

// straceArgs trace some calls of a command into file; every string in it is
// whole.
func straceArgs(file, which string) []string {
	// -D keeps the command our own child, so that it can be signalled.
	return []string{"-D", "-f", "-y", "-qq", "-s", strconv.Itoa(1 << 20), "-e", "signal=none", "-e", "trace=" + which, "-o", file}
}

// never is after everything in a trace.
const never = math.MaxInt

// syscallMade is one system call. enter and exit are places in the trace: a
// call that returned before another was entered had happened before it.
// strace stops a thread both at the entry and at the return, and writes both
// down before it lets the thread go on.
type syscallMade struct {
	name        string
	args        []string // as strace prints them
	ret         int64
	retPath     string // of the descriptor returned
	enter, exit int
	data        []byte // see written
}

func (c *syscallMade) ok() bool { return c.ret >= 0 && c.exit != never }

// readTrace reads what strace -f -y -o wrote.
func readTrace(r io.Reader) ([]*syscallMade, error) {
	type begun struct {
		enter int
		text  string
	}
	open := make(map[string]begun) // by thread
	var calls []*syscallMade
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		thread, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = strings.TrimLeft(text, " ")
		enter := n
		switch {
		case strings.HasPrefix(text, "+++"), strings.HasPrefix(text, "---"), strings.HasPrefix(text, "???"):
			continue // a thread that ends, sometimes in a call that strace had no time to look at
		case strings.HasPrefix(text, "<... "):
			_, rest, found := strings.Cut(text, " resumed>")
			b, ok := open[thread]
			if !found || !ok {
				return nil, fmt.Errorf("line %d: resumes nothing", n)
			}
			delete(open, thread)
			enter, text = b.enter, b.text+rest
		}
		text = strings.Replace(text, " <detached ...>", " <unfinished ...>", 1) // at the end
		if cut, unfinished := strings.CutSuffix(text, " <unfinished ...>"); unfinished {
			open[thread] = begun{enter, cut}
			continue
		}
		c, err := parseSyscall(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		c.enter = enter
		if c.exit != never {
			c.exit = n
		}
		calls = append(calls, c)
	}
	// What was under way at the end never returned.
	for _, b := range open {
		c, err := parseSyscall(b.text + ") = ?")
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", b.enter, err)
		}
		c.enter = b.enter
		calls = append(calls, c)
	}
	return calls, nil
}

// parseSyscall reads "name(args) = ret".
func parseSyscall(text string) (*syscallMade, error) {
	name, rest, ok := strings.Cut(text, "(")
	end := strings.LastIndex(rest, " = ")
	if !ok || end < 0 {
		return nil, fmt.Errorf("no system call: %.200q", text)
	}
	args, closed := strings.CutSuffix(strings.TrimRight(rest[:end], " "), ")")
	if !closed {
		return nil, fmt.Errorf("no system call: %.200q", text)
	}
	c := &syscallMade{name: name, args: splitArgs(args), ret: -1}
	ret := rest[end+len(" = "):]
	word, _, _ := strings.Cut(ret, " ")
	number, path, hasPath := strings.Cut(word, "<")
	if hasPath {
		c.retPath = strings.TrimSuffix(path, ">")
	}
	if number == "?" { // it was killed in it
		c.exit = never
	} else {
		var err error
		if c.ret, err = strconv.ParseInt(number, 0, 64); err != nil {
			return nil, fmt.Errorf("return value: %w", err)
		}
	}
	return c, nil
}

// splitArgs splits at the commas outside of strings.
func splitArgs(s string) (args []string) {
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				args = append(args, strings.TrimSpace(s[start:i]))
				start = i + 1
			}
		}
	}
	return append(args, strings.TrimSpace(s[start:]))
}

// path is what the descriptor in argument i stands for, as -y tells.
func (c *syscallMade) path(i int) string {
	if i >= len(c.args) {
		return ""
	}
	_, path, _ := strings.Cut(c.args[i], "<")
	path = strings.TrimSuffix(path, "(deleted)")
	return strings.TrimSuffix(path, ">")
}

// at is the path made of the directory in argument i and the name after it.
func (c *syscallMade) at(i int) (string, error) {
	name, err := c.text(i + 1)
	if err != nil {
		return "", err
	}
	if filepath.IsAbs(string(name)) {
		return string(name), nil
	}
	return filepath.Join(c.path(i), string(name)), nil
}

func (c *syscallMade) int(i int) int64 {
	n, err := strconv.ParseInt(c.args[i], 0, 64)
	if err != nil {
		return -1
	}
	return n
}

// text is the string in argument i, whole.
func (c *syscallMade) text(i int) ([]byte, error) {
	if i >= len(c.args) || !strings.HasPrefix(c.args[i], `"`) || !strings.HasSuffix(c.args[i], `"`) {
		return nil, fmt.Errorf("%s: argument %d is not a whole string", c.name, i)
	}
	s := c.args[i][1 : len(c.args[i])-1]
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		if at := strings.IndexByte("tnvfr", s[i]); at >= 0 {
			out = append(out, "\t\n\v\f\r"[at])
			continue
		}
		octal := i
		for octal < len(s) && octal < i+3 && s[octal] >= '0' && s[octal] <= '7' {
			octal++
		}
		if octal == i {
			out = append(out, s[i]) // a quote or a backslash
			continue
		}
		b, err := strconv.ParseUint(s[i:octal], 8, 8)
		if err != nil {
			return nil, err
		}
		out, i = append(out, byte(b)), octal-1
	}
	return out, nil
}

// written are the bytes of a write, which argument 1 is no longer needed for.
func (c *syscallMade) written() ([]byte, error) {
	if c.data != nil {
		return c.data, nil
	}
	b, err := c.text(1)
	if err != nil {
		return nil, err
	}
	if c.exit != never {
		b = b[:c.ret]
	}
	c.data, c.args[1] = b, ""
	return b, nil
}

// sentFrame is a WebSocket frame that was written to a peer.
type sentFrame struct {
	text  []byte
	enter int // when the first of its bytes was about to be written
}

// outgoing joins what is written to one connection and cuts it into frames.
type outgoing struct {
	rest   []byte
	marks  []mark // where in rest a write began
	opened bool   // the handshake is over
	other  bool   // not a WebSocket
	// answers counts those of plain HTTP.
	answers int
}

type mark struct{ at, enter int }

// answered returns which answer of plain HTTP begins with a write, 0 if none
// does. Whoever asks for one thing at a time gets each in writes of its own.
func (o *outgoing) answered(data []byte) int {
	if o.opened || !bytes.HasPrefix(data, []byte("HTTP/1.1 ")) || bytes.HasPrefix(data, []byte("HTTP/1.1 1")) {
		return 0
	}
	o.other = true
	o.answers++
	return o.answers
}

func (o *outgoing) write(enter int, data []byte) (frames []sentFrame, err error) {
	if o.other {
		return nil, nil
	}
	o.marks = append(o.marks, mark{len(o.rest), enter})
	o.rest = append(o.rest, data...)
	if !o.opened {
		end := bytes.Index(o.rest, []byte("\r\n\r\n"))
		if end < 0 {
			return nil, nil
		}
		if !bytes.HasPrefix(o.rest, []byte("HTTP/1.1 101 ")) {
			o.other = true
			return nil, nil
		}
		o.opened = true
		o.drop(end + 4)
	}
	for {
		opcode, head, size := frameHead(o.rest)
		if head == 0 || len(o.rest) < head+size {
			return frames, nil
		}
		const text, control = 1, 8
		switch {
		case opcode == text:
			frames = append(frames, sentFrame{bytes.Clone(o.rest[head : head+size]), o.since()})
		case opcode < control:
			return nil, fmt.Errorf("a reply of opcode %d", opcode)
		}
		o.drop(head + size)
	}
}

// drop takes n bytes off the front.
func (o *outgoing) drop(n int) {
	o.rest = o.rest[n:]
	for i := range o.marks {
		o.marks[i].at -= n
	}
}

// since is when the first byte of rest was about to be written.
func (o *outgoing) since() int {
	for len(o.marks) > 1 && o.marks[1].at <= 0 {
		o.marks = o.marks[1:]
	}
	return o.marks[0].enter
}

// frameHead reads the header of a server's frame; head is 0 if it is not
// whole.
func frameHead(b []byte) (opcode byte, head, size int) {
	if len(b) < 2 {
		return 0, 0, 0
	}
	switch opcode, size = b[0]&0xf, int(b[1]&0x7f); {
	case size == 126 && len(b) >= 4:
		return opcode, 4, int(bits.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		return opcode, 10, int(bits.BigEndian.Uint64(b[2:]))
	case size < 126:
		return opcode, 2, size
	}
	return 0, 0, 0
}

func readTraceFile(path string) ([]*syscallMade, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readTrace(f)
}
