package hostiletest

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxMessage is the longest message of a client, in bytes, and outbox how many
// may wait for one reader: the node's defaults.
const maxMessage, outbox = 16 << 10, 256 << 10

// unreadable counts the frames sent at which gws panics.
var unreadable atomic.Int32

// A bad is what ends a socket, and the code with which it does.
type bad struct {
	name string
	send []byte
	code int
}

// ends sends each at both doors, on a socket of its own that is in the room.
func ends(all ...bad) func(*scene) {
	return func(s *scene) {
		for _, b := range all {
			for where, door := range s.doors() {
				p := s.upgraded(door)
				p.Push(b.send)
				if got := p.Ends(); got != b.code {
					s.Errorf("%s %s: closed with %d, want %d", b.name, where, got, b.code)
				}
			}
		}
	}
}

func message(payload string) []byte { return Masked(fin|text, payload) }

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// deflateBomb is 10 MiB of the letter x, deflated (RFC 7692 §7.2.1).
func deflateBomb() string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = io.WriteString(w, strings.Repeat("x", 10<<20))
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

var frames = []hostile{
	{
		id: "F01", sent: "a 64-bit length with its top bit set, at which gws panics", answer: "1002; the panic is contained, logged and counted, and the process lives",
		run: func(s *scene) {
			for _, n := range []uint64{1<<64 - 1, 1<<63 + 1} {
				unreadable.Add(int32(len(s.doors())))
				ends(bad{fmt.Sprint(n), Header(fin|text, n), 1002})(s)
			}
		},
	},
	{
		id: "F02", sent: "lengths of 2^40 and 2^63-1, 100 times each", answer: "1009, and no memory for what is only promised", alone: true,
		run: func(s *scene) {
			s.within(64<<20, func() {
				for range 100 {
					for _, n := range []uint64{1 << 40, 1<<63 - 1} {
						p := s.upgraded(s.cluster.Node(1))
						p.Push(Header(fin|text, n))
						if code := p.Ends(); code != 1009 {
							s.Errorf("%d bytes: closed with %d, want 1009", n, code)
						}
					}
				}
			})
		},
	},
	{
		id: "F03", sent: "1,000 sockets that promise the longest message and bring nothing", answer: "4408 when they have been silent for too long; memory for the promise and no more", alone: true,
		run: promised,
	},
	{id: "F04", sent: "a frame without a mask", answer: "1002", run: ends(bad{"unmasked", []byte{fin | text, 2, '{', '}'}, 1002})},
	{id: "F05", sent: "RSV1, though no extension was agreed upon", answer: "1002", run: ends(bad{"RSV1", Masked(fin|rsv1|text, "{}"), 1002})},
	{
		id: "F06", sent: "RSV2, RSV3, RSV1 on a ping, each after an offer of permessage-deflate", answer: "1002; the offer is not taken up",
		run: func(s *scene) {
			for _, first := range []byte{fin | rsv2 | text, fin | rsv3 | text, fin | rsv1 | pinged, fin | rsv1 | text} {
				s.deflating(Masked(first, "{}"))
			}
		},
	},
	{id: "F07", sent: "opcodes 3 to 7 and 11 to 15", answer: "1002", run: ends(unknownOpcodes()...)},
	{
		id: "F08", sent: "a ping in fragments; a ping and a close of 126 bytes", answer: "1002",
		run: ends(
			bad{"a ping without FIN", Masked(pinged, ""), 1002}, bad{"a close without FIN", Masked(closed, ""), 1002},
			bad{"a ping of 126 bytes", Masked(fin|pinged, strings.Repeat("x", 126)), 1002},
			bad{"a close of 126 bytes", Masked(fin|closed, "\x03\xe8"+strings.Repeat("x", 124)), 1002},
		),
	},
	{
		id: "F09", sent: "a continuation of nothing; a message inside another", answer: "1002",
		run: ends(
			bad{"of nothing", Masked(fin|more, "x"), 1002}, bad{"inside another", join(Masked(text, "x"), message("x")), 1002},
			bad{"after the end", join(Masked(text, `{"id":1,`), Masked(fin|more, `"cmd":"x"}`), Masked(fin|more, "x")), 1002},
		),
	},
	{
		id: "F10", sent: "text that is not UTF-8: a stray byte, overlong, a surrogate, beyond U+10FFFF, cut off, over two fragments", answer: "1007",
		run: ends(
			bad{"a stray byte", message("\xff"), 1007}, bad{"overlong", message("\xc0\x80"), 1007}, bad{"a surrogate", message("\xed\xa0\x80"), 1007},
			bad{"beyond", message("\xf4\x90\x80\x80"), 1007}, bad{"cut off", message("a\xe2\x82"), 1007},
			bad{"over two fragments", join(Masked(text, "a\xe2\x82"), Masked(fin|more, "(")), 1007},
		),
	},
	{id: "F11", sent: "a binary frame", answer: "1003", run: ends(bad{"binary", Masked(fin|octets, "{}"), 1003})},
	{
		id: "F12", sent: "a message beyond 16 KiB, whole, in fragments, and of 4 MiB", answer: "1009, also while the client still sends",
		run: ends(
			bad{"a byte too long", message(strings.Repeat("x", maxMessage+1)), 1009},
			bad{"in fragments", join(Masked(text, strings.Repeat("x", maxMessage)), Masked(more, "x")), 1009},
			bad{"4 MiB", message(strings.Repeat("x", 4<<20)), 1009},
		),
	},
	{
		id: "F13", sent: "200,000 empty fragments, also with pings between them; a fragment now and then without end", answer: "1008; 4408", alone: true,
		run: func(s *scene) {
			empty := bytes.Repeat(Masked(more, ""), 200_000)
			pings := bytes.Repeat(join(bytes.Repeat(Masked(more, ""), 100), Masked(fin|pinged, "")), 2_000)
			s.within(64<<20, func() {
				ends(bad{"fragments", join(Masked(text, ""), empty), 1008}, bad{"fragments and pings", join(Masked(text, ""), pings), 1008})(s)
			})
			p := s.upgraded(s.cluster.Front())
			p.Push(Masked(text, ""))
			dripping, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-dripping:
						return
					case <-time.After(500 * time.Millisecond): // what is tried is a slow sender
						_, _ = p.Write(Masked(more, "x"))
					}
				}
			}()
			code := p.silentEnd()
			close(dripping)
			<-done
			if code != 4408 {
				s.Errorf("fragments without end: closed with %d, want 4408", code)
			}
		},
	},
	{
		id: "F14", sent: "a deflate bomb, after an offer of permessage-deflate", answer: "1002: nothing is ever inflated", alone: true,
		run: func(s *scene) {
			s.within(64<<20, func() { s.deflating(Masked(fin|rsv1|text, deflateBomb())) })
		},
	},
	{
		id: "F15", sent: "deflate that is broken, after an offer of permessage-deflate", answer: "1002, and no word of a library",
		run: func(s *scene) { s.deflating(Masked(fin|rsv1|text, "\xff\xff\xff\xff")) },
	},
	{
		id: "F16", sent: "10,000 pings; 10,000 pongs", answer: "1008 after 256 between two pings of the server",
		run: ends(
			bad{"pings", bytes.Repeat(Masked(fin|pinged, "x"), 10_000), 1008}, bad{"pongs", bytes.Repeat(Masked(fin|ponged, ""), 10_000), 1008},
		),
	},
	{
		id: "F17", sent: "close frames of one byte; with 999, 1004, 1005, 1006, 1015, 2000, 2999, 5000; with a reason that is not UTF-8", answer: "1002; 1007 for the reason",
		run: ends(
			bad{"one byte", Masked(fin|closed, "\x03"), 1002}, bad{"999", Masked(fin|closed, "\x03\xe7"), 1002}, bad{"1004", Masked(fin|closed, "\x03\xec"), 1002},
			bad{"1005", Masked(fin|closed, "\x03\xed"), 1002}, bad{"1006", Masked(fin|closed, "\x03\xee"), 1002}, bad{"1015", Masked(fin|closed, "\x03\xf7"), 1002},
			bad{"2000", Masked(fin|closed, "\x07\xd0"), 1002}, bad{"2999", Masked(fin|closed, "\x0b\xb7"), 1002}, bad{"5000", Masked(fin|closed, "\x13\x88"), 1002},
			bad{"not UTF-8", Masked(fin|closed, "\x0f\xa1\xff"), 1007},
		),
	},
	{
		id: "F18", sent: "a close with 4001, with 4001 and a reason, and an empty one", answer: "the same code; an empty one",
		run: ends(
			bad{"4001", Masked(fin|closed, "\x0f\xa1"), 4001}, bad{"and a reason", Masked(fin|closed, "\x0f\xa1bye"), 4001}, bad{"empty", Masked(fin|closed, ""), 0},
		),
	},
	{id: "F19", sent: "a close frame and then a message", answer: "the message is not carried out, and the connection ends at once", run: lateMessage},
	{id: "F20", sent: "a client that vanishes: its bytes are swallowed on the way, and its connection stays", answer: "no longer present, and its socket closed, when it has been silent for too long", run: vanished},
	{id: "F21", sent: "a client that reads nothing while its room is loud", answer: "closed with 4008; the node keeps no more for it than an outbox, and the others hear everything", alone: true, run: deaf},
}

func unknownOpcodes() (all []bad) {
	for _, opcode := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		all = append(all, bad{fmt.Sprint("opcode ", opcode), Masked(fin|opcode, ""), 1002})
	}
	return all
}

// deflating offers compression, sees it declined, and sends a frame that takes
// it for granted.
func (s *scene) deflating(frame []byte) {
	s.Helper()
	for where, door := range s.doors() {
		p := Connect(s.T, s.from, door)
		p.Send([]byte(Handshake(s.path(), nil, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")))
		resp, body, err := p.Answer()
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Extensions") != "" {
			s.Fatalf("%s: the offer of compression is answered with %v %s, %v", where, resp, body, err)
		}
		p.Push(frame)
		if code := p.Ends(); code != 1002 {
			s.Errorf("%s: closed with %d, want 1002", where, code)
		}
	}
}

// silentEnd is Ends for a peer that does not answer pings.
func (p *Peer) silentEnd() int {
	p.t.Helper()
	for {
		opcode, payload, err := p.read()
		if err != nil {
			p.t.Fatalf("waiting for a close frame: %v", err)
		}
		if opcode == closed {
			_ = p.Close()
			return int(payload[0])<<8 | int(payload[1])
		}
	}
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// within sees to it that no node's memory grows by more than a number of bytes
// while something runs, not for a moment. A node with the race detector takes
// several times what one without takes.
func (s *scene) within(most int, run func()) {
	s.Helper()
	memory := func(what *regexp.Regexp, pid int) int {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			s.Fatal(err)
		}
		m := what.FindSubmatch(b)
		if m == nil {
			s.Fatalf("/proc/%d/status does not tell the memory", pid)
		}
		kB, _ := strconv.Atoi(string(m[1]))
		return kB << 10
	}
	var pids, before []int
	for i := range nodes {
		pid := s.cluster.PID(fmt.Sprintf("ws%d", i+1))
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // proc(5): begin the peak anew
			s.Fatal(err)
		}
		pids, before = append(pids, pid), append(before, memory(peak, pid))
	}
	run()
	for i, pid := range pids {
		if grown := memory(peak, pid) - before[i]; grown > most {
			s.Errorf("node %d has grown by %d MiB, want at most %d", i+1, grown>>20, most>>20)
		} else {
			s.Logf("node %d has grown by %d MiB", i+1, grown>>20)
		}
	}
}

// promised keeps 1,000 sockets open at a node itself: HAProxy lets no address
// have so many.
func promised(s *scene) {
	const sockets = 1000
	s.within(sockets*(maxMessage*8+64<<10), func() {
		var all sync.WaitGroup
		turn := make(chan struct{}, 32)
		for n := range sockets {
			all.Go(func() {
				turn <- struct{}{}
				p := Connect(s.T, s.from, s.cluster.Node(1))
				p.Send([]byte(Handshake(fmt.Sprintf("/ws/chat/%s?user=mallory%d", s.room, n), nil)))
				resp, body, err := p.Answer()
				<-turn
				if err != nil || resp.StatusCode != 101 {
					s.Errorf("socket %d: %v %s %v", n, resp, body, err)
					return
				}
				p.Push(Header(fin|text, maxMessage))
				if code := p.silentEnd(); code != 4408 {
					s.Errorf("socket %d: closed with %d, want 4408", n, code)
				}
			})
		}
		all.Wait()
	})
}

func lateMessage(s *scene) {
	for where, door := range s.doors() {
		p := s.upgraded(door)
		p.Push(join(Masked(fin|closed, "\x0f\xa1"), message(fmt.Sprintf(`{"id":1,"cmd":"publish","room":%q,"key":"late","data":1}`, s.room))))
		began := time.Now()
		if code := p.Ends(); code != 4001 {
			s.Errorf("%s: closed with %d, want 4001", where, code)
		}
		if took := time.Since(began); took > patience/2 {
			s.Errorf("%s: the connection ended after %v", where, took)
		}
	}
	if f := s.upgraded(s.cluster.Node(1)).Ask(1, `{"cmd":"history","room":%q}`, s.room); bytes.Contains(f.OK, []byte("late")) {
		s.Errorf("what came after the close is in the log: %s", f.OK)
	}
}

// vanished puts a proxy between client and node that goes on taking bytes and
// passes none on.
func vanished(s *scene) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	swallow := make(chan struct{})
	pipe := func(to, from net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			select {
			case <-swallow:
			default:
				_, _ = to.Write(b[:n])
			}
		}
	}
	s.Cleanup(func() { _ = ln.Close() })
	go func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		far := Connect(s.T, s.from, s.cluster.Node(1))
		_ = far.SetDeadline(time.Time{})
		go pipe(far.Conn, near)
		pipe(near, far.Conn)
	}()
	p := Connect(s.T, net.IPv4(127, 0, 0, 1), ln.Addr().String()).Upgrade(Handshake("/ws/chat/"+s.room+"?user=ghost", nil), nil)
	p.Joined()
	here := s.upgraded(s.cluster.Node(2))
	asked := 0
	present := func() bool {
		asked++
		return bytes.Contains(here.Ask(asked, `{"cmd":"presence","room":%q}`, s.room).OK, []byte("ghost"))
	}
	if !present() {
		s.Error("the ghost is not there to begin with")
	}
	began := time.Now()
	close(swallow)
	eventually(s, "the ghost is gone", func() bool { return !present() })
	if took := time.Since(began); took > 3*(ping+pongTimeout) {
		s.Errorf("the ghost was there for %v, want about %v", took, ping+pongTimeout)
	}
}

// deaf joins a room, says that it lives, and reads nothing, while others say
// more than an outbox and every buffer on the way can hold.
func deaf(s *scene) {
	conn := s.narrow(Handshake(s.path(), nil))
	go func() { // or it would be closed for its silence
		for {
			select {
			case <-s.Context().Done():
				return
			case <-time.After(time.Second):
				_, _ = conn.Write(Masked(fin|ponged, ""))
			}
		}
	}()
	s.untilSlow()
}

// narrow sends a request to the first node by a connection that takes little at once.
func (s *scene) narrow(request string) net.Conn {
	s.Helper()
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: s.from},
		Control: func(_, _ string, c syscall.RawConn) error { // a small window, so that little hides in the kernel
			var err error
			if bad := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }); bad != nil {
				return bad
			}
			return err
		},
	}
	conn, err := dialer.DialContext(s.Context(), "tcp", s.cluster.Node(1))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		s.Fatal(err)
	}
	return conn
}

// untilSlow makes the room loud until somebody at the first node is closed as a slow
// consumer.
func (s *scene) untilSlow() {
	s.Helper()
	listener, speaker := s.control("near", s.cluster.Node(1)), s.control("far", s.cluster.Node(2))
	slow := func() float64 { return s.cluster.Metric(1, "chatring_slow_consumers_total") }
	before := slow()
	s.within(192<<20, func() {
		said := 0
		data := strings.Repeat("x", maxMessage-1024)
		for ; slow() == before && said < 1500; said++ {
			speaker.Send(`{"id":%d,"cmd":"publish","room":%q,"key":"loud%d","data":%q}`, said+1, s.room, said, data)
			if f := speaker.Reply(said + 1); f.Error != nil {
				s.Fatalf("message %d: %+v", said, f.Error)
			}
			listener.Message(fmt.Sprint("loud", said))
		}
		if slow() == before {
			s.Errorf("%d messages of %d bytes wait for a client that reads none", said, len(data))
		}
		s.Logf("%d messages until the deaf one was closed", said)
	})
}
