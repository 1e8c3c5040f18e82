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

// Whatever is not the pulse before, and a beat later, shows that data may be
// lost; only the first one cannot.
func TestPulse(t *testing.T) {
	before := pulse{run: "r", born: "b", count: 7}
	for _, c := range []struct {
		before, now pulse
		lost        bool
	}{
		{pulse{}, before, false},
		{before, pulse{"r", "b", 8}, false},
		{before, pulse{"r", "b", 700}, false},
		{before, pulse{"r", "b", 7}, true},
		{before, pulse{"r", "b", 6}, true},
		{before, pulse{"r", "another", 8}, true},
		{before, pulse{"another", "b", 8}, true},
	} {
		if got := c.now.lost(c.before); got != c.lost {
			t.Errorf("%v after %v: lost = %t, want %t", c.now, c.before, got, c.lost)
		}
	}
}
