package peers_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// floor starts the floor with flags, and returns where.
func floor(t *testing.T, flags ...string) string {
	t.Helper()
	address := freeAddress(t)
	start(t, program("floor", append(flags, "-listen", address)...), address)
	return address
}

// -pad makes messages longer, by spaces.
func TestFloorPads(t *testing.T) {
	m := enter(t, plain, floor(t, "-pad", "130"), "lobby", "m")
	m.say("hello")
	if got, want := m.next(), "hello"+strings.Repeat(" ", 130); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// -gather holds messages back for its time, and then writes them together.
func TestFloorGathers(t *testing.T) {
	const gather = 200 * time.Millisecond
	address := floor(t, "-gather", gather.String())
	conn := handshake(t, address, "lobby")
	m := enter(t, plain, address, "lobby", "m")
	begun := time.Now()
	m.say("one")
	m.say("two")
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b[:n]), "\x81\x03one\x81\x03two"; got != want {
		t.Errorf("the first that came is %q, want %q", got, want)
	}
	if took := time.Since(begun); took < gather {
		t.Errorf("it came after %v, want %v", took, gather)
	}
}

// A member that does not read holds up nobody, and when it reads again has
// lost nothing: far more waits for it than the kernel takes.
func TestFloorKeepsWhatASlowMemberHasNotRead(t *testing.T) {
	const messages, size = 256, 64 << 10
	address := floor(t)
	slow := handshake(t, address, "lobby")
	quick := enter(t, plain, address, "lobby", "quick")
	fill := strings.Repeat("x", size-3)
	text := func(i int) string { return fmt.Sprintf("%03d", i) + fill }
	for i := range messages {
		quick.say(text(i))
		if got := quick.next(); got != text(i) {
			t.Fatalf("quick heard another message than %d", i)
		}
	}
	head := []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}
	for i := range messages {
		got := read(t, slow, len(head)+size)
		if !bytes.Equal(got, append(bytes.Clone(head), text(i)...)) {
			t.Fatalf("slow read another message than %d", i)
		}
	}
	quick.say("the last")
	if got, want := string(read(t, slow, 10)), "\x81\x08the last"; got != want {
		t.Errorf("slow read %q, want %q", got, want)
	}
}

// A member that has far too much to read is cut off, and so is one that does
// not speak WebSocket; the others stay.
func TestFloorCutsOff(t *testing.T) {
	address := floor(t)
	slow, rude := handshake(t, address, "lobby"), handshake(t, address, "lobby")
	m := enter(t, plain, address, "lobby", "m")
	rude.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if n, err := rude.Read(make([]byte, 100)); err == nil {
		t.Errorf("rude read %d bytes, want the end", n)
	}
	text := strings.Repeat("x", 1<<19)
	for range 90 { // 45 MiB
		m.say(text)
		if m.next() != text {
			t.Fatal("m heard something else")
		}
	}
	slow.SetReadDeadline(time.Now().Add(patience))
	for b := make([]byte, 1<<20); ; {
		if _, err := slow.Read(b); err != nil {
			if strings.Contains(err.Error(), "timeout") {
				t.Error("slow is not cut off")
			}
			break
		}
	}
}

// handshake joins a room by hand, so that the test says when bytes are read.
func handshake(t *testing.T, address, room string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", room)
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x06joined"
	if got := string(read(t, conn, len(answer))); got != answer {
		t.Fatalf("got %q, want %q", got, answer)
	}
	return conn
}

// read reads n bytes.
func read(t *testing.T, conn net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	return b
}
