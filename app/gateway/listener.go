package gateway

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/chatring/chatring/app/metrics"
)

// A Listener counts the times that no connection can be accepted, because
// descriptors have run out above all, and says so once a while. The pauses
// between are net/http's: longer each time, up to a second.
type Listener struct {
	net.Listener
	Count *metrics.Gateway
	said  time.Time // owned by the accepting goroutine
}

// sayAgain is how long after a warning the next one may follow.
const sayAgain = 10 * time.Second

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		l.Count.AcceptWaits.Inc()
		if time.Since(l.said) > sayAgain {
			l.said = time.Now()
			slog.Warn("no connection can be accepted", "err", err, "descriptors", errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE))
		}
	}
	return conn, err
}
