package gateway

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// An overtaken connection has something happen just before a deadline of it is
// set.
type overtaken struct {
	net.Conn
	before   func() // once
	deadline time.Time
}

func (o *overtaken) SetWriteDeadline(t time.Time) error {
	if before := o.before; before != nil {
		o.before = nil
		before()
	}
	o.deadline = t
	return nil
}

func (o *overtaken) Write(b []byte) (int, error) { return len(b), nil }

// A write that sets its deadline while Hurry does still ends soon.
func TestHurryOvertakesWrite(t *testing.T) {
	raw := &overtaken{}
	c := newSocket(&Gateway{opts: Options{WriteTimeout: time.Hour}, count: metrics.New("1111", "test")}, raw, nil)
	raw.before = c.Hurry
	c.Write([]protocol.Batch{protocol.Ping(nil).Batch()})
	if left := time.Until(raw.deadline); left > hurry || left < 0 {
		t.Errorf("the write may take %v, want at most %v", left, hurry)
	}
}

// Behind a frame that a socket has taken in part, and that is given up, nothing
// follows: no close frame in the middle of it.
func TestNothingFollowsHalfAFrame(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newSocket(&Gateway{opts: Options{WriteTimeout: time.Hour}, count: metrics.New("1111", "test")}, raw, nil)
	frame := protocol.Batch(make([]byte, 16<<20))
	taken := c.TryWrite(frame)
	if taken == 0 || taken == len(frame) {
		t.Fatalf("the kernel has taken %d bytes of %d: a part is needed", taken, len(frame))
	}
	read := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(peer) // there is place again
		read <- b
	}()
	c.Finish(protocol.CloseSlowConsumer)
	_ = raw.Close()
	if got := <-read; len(got) > taken || bytes.Contains(got, protocol.Close(protocol.CloseSlowConsumer).WebSocket()) {
		t.Errorf("%d bytes came, of which %d are of the frame", len(got), taken)
	}
}
