package main

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// gate is a proxy before a daemon that lets a certain number of bytes pass in
// one direction, counted over all connections, and then holds everything
// until it is opened: tests kill things at a known point instead of at a
// likely moment.
type gate struct {
	target string
	url    string
	held   chan struct{} // closed when the limit is reached

	up, down *valve

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// valve passes bytes in one direction.
type valve struct {
	mu     sync.Mutex
	wake   *sync.Cond
	left   int64 // bytes that may still pass; negative: all
	full   func()
	change func([]byte) // if not nil, sees what is about to pass and may alter it
}

func newValve(limit int64, full func()) *valve {
	v := &valve{left: limit, full: full}
	v.wake = sync.NewCond(&v.mu)
	return v
}

// take waits for leave to pass some of n bytes.
func (v *valve) take(n int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.left == 0 {
		v.full()
		v.wake.Wait()
	}
	if v.left < 0 {
		return n
	}
	n = int(min(int64(n), v.left))
	v.left -= int64(n)
	if v.left == 0 {
		v.full()
	}
	return n
}

// watch shows change what passes from now on; it is called with mu held.
func (v *valve) watch(change func([]byte)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.change = change
}

func (v *valve) see(b []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.change != nil {
		v.change(b)
	}
}

func (v *valve) open() {
	v.mu.Lock()
	v.left = -1
	v.mu.Unlock()
	v.wake.Broadcast()
}

// newGate holds after up bytes towards the daemon or down bytes from it; a
// negative number is no limit.
func newGate(t *testing.T, target string, up, down int64) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{target: target, url: "ws://" + l.Addr().String(), held: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	var once sync.Once
	full := func() { once.Do(func() { close(g.held) }) }
	g.up, g.down = newValve(up, full), newValve(down, full)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { g.serve(client) })
		}
	})
	t.Cleanup(func() { l.Close(); g.open(); g.cut(); all.Wait() })
	return g
}

func (g *gate) open() { g.up.open(); g.down.open() }

// cut loses the connections there are.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
}

func (g *gate) track(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
}

// serve joins a client with the daemon until one of them is gone.
func (g *gate) serve(client net.Conn) {
	defer client.Close()
	daemon, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer daemon.Close()
	g.track(client)
	g.track(daemon)
	var both sync.WaitGroup
	copy := func(to, from net.Conn, v *valve) {
		defer to.Close()
		defer from.Close()
		buf := make([]byte, 16<<10)
		for {
			n, err := from.Read(buf)
			v.see(buf[:n])
			for off := 0; off < n; {
				k := v.take(n - off)
				if _, err := to.Write(buf[off : off+k]); err != nil {
					return
				}
				off += k
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() { copy(daemon, client, g.up) })
	both.Go(func() { copy(client, daemon, g.down) })
	both.Wait()
}

// holdAnswers lets the daemon's answer to the next handshake pass and nothing
// after it.
func (g *gate) holdAnswers() {
	seen := false
	g.down.watch(func(b []byte) {
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 && !seen {
			g.down.left, seen = int64(i+4), true
		}
	})
}

// corrupt makes g change one run of zeros that come from the daemon, once.
func (g *gate) corrupt() {
	done := false
	g.down.watch(func(b []byte) {
		if i := bytes.Index(b, bytes.Repeat([]byte("A"), 64)); i >= 0 && !done {
			b[i+32], done = 'B', true
		}
	})
}
