// Command broadcast is rooms on the Broadcaster of gws, as its README shows it.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/lxzan/gws"
)

const usage = `usage: broadcast [flags]

Rooms on the Broadcaster of github.com/lxzan/gws: a frame is made once for each
message, and queued at each member. GET /ROOM with the headers of a WebSocket
joins a room; the answer is the text frame "joined". Each frame that a member
sends goes to all members of its room, the sender too. No position, no log, no
acknowledgement, no other node, and no bound on what waits for a slow member.

  broadcast -listen 127.0.0.1:9402

flags:
`

func main() {
	listen := flag.String("listen", "127.0.0.1:9402", "`address` to listen on")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "broadcast: no arguments (see -h)")
		os.Exit(2)
	}
	if err := run(*listen); err != nil {
		fmt.Fprintln(os.Stderr, "broadcast:", err)
		os.Exit(1)
	}
}

func run(listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	// Two options that the README shows are off, as they are by default. With
	// ParallelEnabled, messages of one sender overtake each other; nobody asks for
	// compression here.
	server := gws.NewServer(&rooms{byName: map[string]*room{}}, &gws.ServerOption{
		Recovery: gws.Recovery,
		Authorize: func(r *http.Request, s gws.SessionStorage) bool {
			s.Store("room", strings.TrimPrefix(r.URL.Path, "/"))
			return true
		},
	})
	fmt.Println("listening on", ln.Addr())
	return server.RunListener(ln)
}

// rooms are what members send to. Its methods are called by a goroutine per
// socket.
type rooms struct {
	gws.BuiltinEventHandler

	mu     sync.Mutex
	byName map[string]*room
}

// A room is its members. Its lock is held while a message is queued, which
// does not block, so that all members get one order.
type room struct {
	mu      sync.Mutex
	members map[*gws.Conn]struct{}
}

// of returns the room that a socket asked for.
func (rs *rooms) of(socket *gws.Conn) *room {
	name, _ := socket.Session().Load("room")
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byName[name.(string)]
	if r == nil {
		r = &room{members: map[*gws.Conn]struct{}{}}
		rs.byName[name.(string)] = r
	}
	return r
}

func (rs *rooms) OnOpen(socket *gws.Conn) {
	r := rs.of(socket)
	r.mu.Lock()
	r.members[socket] = struct{}{}
	r.mu.Unlock()
	_ = socket.WriteString("joined")
}

func (rs *rooms) OnClose(socket *gws.Conn, _ error) {
	r := rs.of(socket)
	r.mu.Lock()
	delete(r.members, socket)
	r.mu.Unlock()
}

func (rs *rooms) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	b := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer b.Close()
	r := rs.of(socket)
	r.mu.Lock()
	defer r.mu.Unlock()
	for member := range r.members {
		_ = b.Broadcast(member)
	}
}
