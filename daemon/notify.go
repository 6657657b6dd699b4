package daemon

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells systemd how the daemon is, over NOTIFY_SOCKET. Without one
// it does nothing; a message that cannot be sent is nobody's failure.
type notifier struct{ addr string }

func newNotifier() notifier { return notifier{os.Getenv("NOTIFY_SOCKET")} }

func (n notifier) send(state string) {
	if n.addr == "" {
		return
	}
	name := n.addr
	if strings.HasPrefix(name, "@") { // an abstract socket
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(state))
}

// watch sends WATCHDOG at half the period systemd asked for, while alive says
// that nothing has hung for as long as that.
func (n notifier) watch(ctx context.Context, alive func(period time.Duration) bool) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if n.addr == "" || err != nil || usec <= 0 {
		return
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	period := time.Duration(usec) * time.Microsecond
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if alive(period) {
				n.send("WATCHDOG=1")
			}
		}
	}
}
