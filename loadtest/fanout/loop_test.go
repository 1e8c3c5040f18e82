package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serverFrame is a frame as a server sends it: not masked.
func serverFrame(opcode byte, payload string) []byte {
	masked := appendFrame(nil, opcode, []byte(payload))
	head := len(masked) - len(payload) - 4
	masked[1] &^= 0x80
	return append(masked[:head], payload...)
}

// A scribe writes down what its members hear.
type scribe struct{ heard []string }

func (s *scribe) joined(*member, *note) { s.heard = append(s.heard, "joined") }
func (s *scribe) message(_ *member, n *note) {
	publisher, count, _ := originIn(n.data)
	s.heard = append(s.heard, fmt.Sprintf("%d.%d of %d bytes", publisher, count, len(n.data)))
}

func (s *scribe) reply(_ *member, n *note) { s.heard = append(s.heard, fmt.Sprintf("reply %d", n.id)) }

func (s *scribe) lost(_ *member, err error) {
	s.heard = append(s.heard, fmt.Sprintf("lost: %v", err))
}

// paired makes a loop with one member, whose handshake is under way, and the
// other end of its socket.
func paired(t *testing.T, w wire) (l *loop, m *member, s *scribe, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err = newLoop("ws://127.0.0.1:1", w, nil)
	if err != nil {
		t.Fatal(err)
	}
	s = &scribe{}
	l.ear = s
	m = &member{room: &room{name: "r"}, fd: fds[0], epoll: l.epoll}
	l.members = []*member{m}
	if err := l.watch(unix.EPOLL_CTL_ADD, m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.end()
		unix.Close(fds[1])
	})
	return l, m, s, fds[1]
}

// turned takes turns while the other end writes b in pieces, each of which is
// read by itself.
func turned(t *testing.T, l *loop, theirs int, b []byte, piece func() int) {
	t.Helper()
	for len(b) > 0 {
		n, err := unix.Write(theirs, b[:min(piece(), len(b))])
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		if err := l.turn(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // what the buffer did not hold
		if err := l.turn(0); err != nil {
			t.Fatal(err)
		}
	}
}

const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// Ensure that frames of all lengths, cut anywhere, are heard once each, that a
// ping is answered, and that a close ends it.
func TestFramesAreCut(t *testing.T) {
	for name, piece := range map[string]func() int{
		"single bytes": func() int { return 1 },
		"any pieces":   func() int { return 1 + rand.IntN(100) },
		"large pieces": func() int { return 1 + rand.IntN(100<<10) },
	} {
		l, m, s, theirs := paired(t, plain{})
		sizes, want := []int{56, 125, 126, 200, 56, 65535, 65536, 200_000, 64}, []string{"joined"}
		sent := append([]byte(answer), serverFrame(opText, "joined")...)
		for i, size := range sizes {
			if name == "single bytes" && size > 1000 {
				continue
			}
			sent = append(sent, serverFrame(opText, string(appendData(nil, 0, 3, uint64(i), size)))...)
			want = append(want, fmt.Sprintf("3.%d of %d bytes", i, size))
		}
		sent = append(append(sent, serverFrame(opPing, "beat")...), serverFrame(opPong, "")...)
		turned(t, l, theirs, sent, piece)
		pong := make([]byte, 100)
		if n, err := unix.Read(theirs, pong); err != nil || !bytes.Equal(pong[:n], appendFrame(nil, opPong, []byte("beat"))) {
			t.Errorf("the answer to a ping is % x, %v", pong[:max(n, 0)], err)
		}
		turned(t, l, theirs, serverFrame(opClose, "\x0f\xa8slow"), piece)
		want = append(want, "lost: closed with 4008")
		if got := strings.Join(s.heard, ", "); got != strings.Join(want, ", ") || m.fd >= 0 {
			t.Errorf("%s: heard %s, want %s", name, got, want)
		}
	}
}

// Ensure that what no server of ours may send ends the connection.
func TestFramesThatAreWrong(t *testing.T) {
	fragment := serverFrame(opText, "joi")
	fragment[0] &^= 0x80
	for want, sent := range map[string][]byte{
		"a message in more than one frame": fragment,
		"a frame of more than 64 MiB":      {0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0},
		"closed without a code":            serverFrame(opClose, ""),
		"a message that is not ours":       serverFrame(opText, "hi"),
	} {
		l, _, s, theirs := paired(t, plain{})
		turned(t, l, theirs, append([]byte(answer), sent...), func() int { return 1000 })
		if len(s.heard) != 1 || !strings.HasPrefix(s.heard[0], "lost: "+want) {
			t.Errorf("heard %q, want that it is lost: %s", s.heard, want)
		}
	}
}

// Ensure that a stream's messages do not depend on its frames.
func TestStreamIsCut(t *testing.T) {
	stream := "INFO {}\r\nPONG\r\n"
	want := []string{"joined"}
	for i := range 5 {
		stream += fmt.Sprintf("MSG r 1 64\r\n%s\r\n", appendData(nil, 0, 1, uint64(i), 64))
		want = append(want, fmt.Sprintf("1.%d of 64 bytes", i))
	}
	for size := 1; size < len(stream); size++ {
		l, m, s, theirs := paired(t, nats{})
		sent := []byte(answer)
		for i := 0; i < len(stream); i += size {
			f := serverFrame(opBinary, stream[i:min(i+size, len(stream))])
			if i > 0 {
				f[0] &^= 0x0f // a continuation
			}
			sent = append(sent, f...)
		}
		turned(t, l, theirs, sent, func() int { return 100 })
		if got := strings.Join(s.heard, ", "); got != strings.Join(want, ", ") || len(m.part) > 0 {
			t.Fatalf("frames of %d bytes: heard %s, want %s", size, got, want)
		}
		l.close(m)
	}
}

// Ensure that what a socket does not take waits, goes on in order, and is
// bounded.
func TestFullSocket(t *testing.T) {
	l, m, s, theirs := paired(t, plain{})
	turned(t, l, theirs, []byte(answer), func() int { return 1000 })
	var want []byte
	for i := range 2000 {
		data := appendData(nil, 0, 0, uint64(i), 1000)
		want = appendFrame(want, opText, data)
		l.send(m, data)
		if i%10 == 0 {
			l.flush()
		}
	}
	l.flush()
	if len(m.out) == 0 {
		t.Fatal("the socket takes everything: this test shows nothing")
	}
	var got []byte
	for buf := make([]byte, 64<<10); len(got) < len(want); {
		n, err := unix.Read(theirs, buf)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v; heard %v", len(got), len(want), err, s.heard)
		}
		got = append(got, buf[:n]...)
		if err := l.turn(0); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("something else came than was sent")
	}
	for range 6000 {
		l.send(m, appendData(nil, 0, 0, 0, 1000))
	}
	if l.flush(); len(s.heard) != 1 || !strings.Contains(s.heard[0], "takes no more") {
		t.Errorf("heard %q, want that the server takes no more", s.heard)
	}
}

// Ensure that messages of the open loop carry when they were due, though the
// program comes to them late, and that the rate is kept.
func TestDue(t *testing.T) {
	l, m, _, _ := paired(t, plain{})
	m.room.members = []*member{m}
	k := newTalker(l, []*room{m.room}, &talkFigures{Rate: 100, Rooms: 1, Publishers: 1, Size: 64}, &phase{})
	first := now() - 95*time.Millisecond
	k.next = first
	k.speak()
	count := 0
	for b := m.out; len(b) > 0; b = b[2+4+64:] { // head, mask, data
		data := b[2+4:]
		if got, want := dueIn(data), first+time.Duration(count)*10*time.Millisecond; got != want {
			t.Errorf("message %d was due at %v, want %v", count, got, want)
		}
		count++
	}
	if count < 10 || k.next != first+time.Duration(count)*10*time.Millisecond || k.next <= now()-10*time.Millisecond {
		t.Errorf("%d messages in 95 ms at 100/s, the next at %v", count, k.next-first)
	}
}

// Ensure that the closed loop asks no more than the slowest member of a room has
// heard, whoever that is.
func TestSlowest(t *testing.T) {
	r := &stage{room: &room{}, least: math.MaxInt64}
	for range 20 {
		r.members = append(r.members, &member{})
	}
	for range 10_000 {
		m := r.members[rand.IntN(len(r.members))]
		m.heard = min(m.heard+rand.Int64N(5), r.low+64)
		want := int64(math.MaxInt64)
		for _, m := range r.members {
			want = min(want, m.heard)
		}
		// It may lag behind, while it has not asked all.
		got := r.slowest()
		if got > want {
			t.Fatalf("slowest is %d, the slowest member has heard %d", got, want)
		}
	}
	for _, m := range r.members {
		m.heard = 1 << 40
	}
	if got := r.slowest(); got != 1<<40 && r.slowest() != 1<<40 {
		t.Errorf("slowest is %d, though all have heard %d", got, 1<<40)
	}
}

// heavy is a loop whose member hears, on a wire, frames of one message each.
func heavy(t testing.TB, name string) (l *loop, m *member, ear *listener, frames []byte) {
	d := string(appendData(nil, 1, 0, 0, 64))
	payload := map[string]string{
		"chatring": `{"push":"message","room":"r","pos":"1763776000000-7","from":"u","key":"k","ts":1763776000456,"data":` + d + `}`,
		"socketio": `42["message",` + d + `]`,
		"nats":     "MSG r 1 64\r\n" + d + "\r\n",
		"plain":    d,
	}[name]
	l, err := newLoop("ws://127.0.0.1:1", wires[name](64), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	p := &phase{}
	p.measuring.Store(true)
	e := newListener(p)
	l.ear = &e
	return l, &member{room: &room{name: "r"}, fd: 1 << 20}, &e, bytes.Repeat(serverFrame(l.traits.opcode, payload), 20)
}

// Ensure that hearing costs no allocation, on all wires.
func TestAllocations(t *testing.T) {
	for name := range wires {
		l, m, ear, frames := heavy(t, name)
		m.sample = true
		ear.times = make([]time.Duration, 0, 100_000)
		hear := func() {
			if _, err := l.frames(m, frames); err != nil {
				t.Fatal(err)
			}
		}
		hear()
		if n := testing.AllocsPerRun(100, hear); n > 0 {
			t.Errorf("%s: %.0f allocations for 20 messages", name, n)
		}
		if m.heard < 2000 || len(ear.times) != int(m.heard) {
			t.Errorf("%s: heard %d, timed %d", name, m.heard, len(ear.times))
		}
	}
}

// What a delivery costs without the kernel, for a member that does not time it.
func BenchmarkHear(b *testing.B) {
	for name := range wires {
		b.Run(name, func(b *testing.B) {
			l, m, _, frames := heavy(b, name)
			b.ReportAllocs()
			for n := 0; n < b.N; n += 20 {
				if _, err := l.frames(m, frames); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
