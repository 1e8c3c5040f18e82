package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// textFrame is a frame as a server sends it: not masked.
func textFrame(opcode byte, payload string) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// Ensure that frames of all lengths, cut anywhere, are counted once each, that
// a missing offset is found, and that a ping is answered.
func TestMemberScans(t *testing.T) {
	ours, theirs := net.Pipe()
	m := &member{conn: ours, buf: make([]byte, 64), joined: make(chan struct{}), shared: &shared{}, sample: true}
	m.shared.measuring.Store(true)
	done := make(chan error)
	go func() { done <- m.listen() }()

	var wire []byte
	wire = append(wire, textFrame(1, `{"push":"hello","user":"a","shard":"1111","ping_s":25}`)...)
	wire = append(wire, textFrame(1, `{"push":"joined","room":"r","pos":"0-0","recovered":false,"missed":0}`)...)
	for i, size := range []int{2, 64, 200, 70000, 64} {
		offset := i
		if i == 4 {
			offset = 9 // a hole
		}
		wire = append(wire, textFrame(1, fmt.Sprintf(`{"push":"message","room":"r","pos":"7-%d","from":"a","key":"k","ts":1,"data":%s}`, offset, data(size)))...)
	}
	wire = append(wire, textFrame(9, "beat")...)
	wire = append(wire, textFrame(8, "\x0f\xa8slow")...)
	go func() {
		for len(wire) > 0 {
			n := min(len(wire), 1+rand.IntN(100))
			if _, err := theirs.Write(wire[:n]); err != nil {
				return
			}
			wire = wire[n:]
		}
	}()
	pong := make([]byte, 10)
	if _, err := theirs.Read(pong); err != nil || pong[0] != 0x8a || string(pong[6:]) != "beat" {
		t.Errorf("the answer to a ping is % x, %v", pong, err)
	}
	select {
	case err := <-done:
		if err == nil || err.Error() != "closed with 4008" {
			t.Errorf("ended by %v, want close code 4008", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the member did not end")
	}
	if m.heard.Load() != 5 || m.disordered != 1 || len(m.times) != 5 {
		t.Errorf("heard %d, out of order %d, timed %d; want 5, 1, 5", m.heard.Load(), m.disordered, len(m.times))
	}
}

// Ensure that data has the asked size and that its stamp can be read back.
func TestStamp(t *testing.T) {
	d := data(64)
	if len(d) != 64 {
		t.Errorf("data has %d bytes, want 64", len(d))
	}
	at, ok := stampIn([]byte(`{"push":"message","data":` + d + `}`))
	if now := time.Since(start); !ok || at > now || at < now-time.Minute {
		t.Errorf("the stamp is %v, %v; it is %v now", at, ok, now)
	}
}
