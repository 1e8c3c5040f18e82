package redisbroker

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chattest"
)

// A connection whose channel nobody is subscribed to is found out at once, not
// when its echo is late.
func TestDeafConnection(t *testing.T) {
	t.Parallel()
	b, err := New(Options{URL: chattest.StartRedis(t).URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.reads.Close() })
	c := &connection{bridge: b.bridge, channel: nodeChannel(b.node, 1), echoes: make(chan string, 1)}
	if err := c.probeOnce(t.Context(), "1", time.Second); !errors.Is(err, errDeaf) {
		t.Errorf("probe = %v, want %v", err, errDeaf)
	}
}
