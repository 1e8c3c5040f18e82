// Package chattest is what tests of several packages stand on: the suite that
// every chat.Broker must pass, conversations with a cluster as transcripts, a
// real Redis to start and kill, and a proxy that misbehaves on purpose. Only
// tests import it.
package chattest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into the transcripts instead of comparing")

// TestTranscripts plays every transcript that the pattern matches: a
// conversation with a cluster of several nodes, in fake time, as a text file.
//
// A line that begins with "> " is something done; the lines below it, up to
// the next such line or an empty one, are everything that anybody then heard,
// each "NAME < FRAME". Other lines are prose. With -rewrite the heard lines
// are written anew. What can be done:
//
//	> retention 3                   first of all: logs keep three messages
//	> nodes 1111 2222               a cluster
//	> connect alice 1111 lobby …    a session; options as in the address of a
//	                                socket, "watch" and "manage"; since=last
//	                                stands for the last position that alice heard
//	> alice {"id":1,…}              a command
//	> post 1111 @bob mail k1 {"type":"notification"}
//	                                a node appends for a service, under a key
//	> hangup alice                  the transport breaks without a word
//	> stall alice, > unstall alice  she takes nothing more; she reads on
//	> drain 1111                    the node sends its members elsewhere
//	> drop 1111 2                   the bridge loses two messages to a node
//	> interrupt 1111, > restore 1111
//	> rewind lobby 2                the log loses its last two
//	> down, > up                    the log cannot be reached; it can again
//	> wait 2s                       time passes
//	> log lobby                     what the log holds
//	> bridged                       publications that went between nodes so far
func TestTranscripts(t *testing.T, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcript matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want)) })
			switch {
			case bytes.Equal(got, want):
			case *rewrite:
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s differs (run with -rewrite and look at the diff):\n%s", file, firstDifference(string(got), string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, a, b)
		}
	}
	return ""
}

// play does what the transcript says and returns it with what was heard.
func play(t *testing.T, transcript string) []byte {
	s := &stage{t: t, nodes: map[string]*playedNode{}, clients: map[string]*client{}}
	s.begin()
	defer s.clear()
	var out bytes.Buffer
	heard := false // the lines here are what was heard, and are replaced
	for _, line := range strings.Split(strings.TrimSuffix(transcript, "\n"), "\n") {
		if action, ok := strings.CutPrefix(line, "> "); ok {
			fmt.Fprintln(&out, line)
			for _, l := range s.do(strings.Fields(action), action) {
				fmt.Fprintln(&out, l)
			}
			heard = true
			continue
		}
		if line == "" {
			heard = false
		}
		if !heard {
			fmt.Fprintln(&out, line)
		}
	}
	return out.Bytes()
}

// A stage is the cluster and the clients of one transcript.
type stage struct {
	t       *testing.T
	cluster *membroker.Cluster
	limits  session.Limits
	nodes   map[string]*playedNode
	clients map[string]*client
}

type playedNode struct {
	appid string
	hub   *hub.Hub
	stop  context.CancelFunc
	done  chan struct{}
}

// begin makes a cluster without nodes.
func (s *stage) begin(o ...membroker.Option) {
	s.cluster = membroker.New(o...)
	s.limits = session.Limits{
		Outbox: 1024, Rooms: 4, CommandTimeout: 4 * time.Second, Strikes: 3,
		Bookmarks: memstore.NewBookmarks(s.cluster.Node("bookmarks")), RoomList: 4,
	}
}

func (s *stage) addNode(appid string) {
	ctx, stop := context.WithCancel(context.Background())
	n := &playedNode{appid: appid, stop: stop, done: make(chan struct{})}
	n.hub = hub.New(s.cluster.Node(appid), hub.Options{
		Window: 4, WindowBudget: 1 << 20, Linger: 30 * time.Second, RetentionAge: 24 * time.Hour,
		OpenTimeout: 3 * time.Second, FillGrace: 10 * time.Millisecond,
	}, &metrics.New(appid, "test").Hub)
	s.nodes[appid] = n
	go func() {
		defer close(n.done)
		if err := n.hub.Run(ctx); err != nil {
			s.t.Errorf("node %s: %v", appid, err)
		}
	}()
}

// clear ends everything, as the bubble asks.
func (s *stage) clear() {
	for _, c := range s.clients {
		c.hangUp()
	}
	synctest.Wait()
	for _, n := range s.nodes {
		n.stop()
		<-n.done
	}
}

// do carries out one action and returns everything that was heard.
func (s *stage) do(words []string, action string) []string {
	var said []string
	switch arg := func(i int) string { return s.word(words, i) }; words[0] {
	case "retention":
		s.begin(membroker.Retention(s.number(arg(1))))
	case "nodes":
		for _, appid := range words[1:] {
			s.addNode(appid)
		}
	case "connect":
		s.connect(words)
	case "post":
		d := chat.Draft{Room: chat.RoomID(arg(2)), From: chat.UserID(arg(3)), Key: arg(4), Body: []byte(arg(5))}
		if _, err := s.nodes[arg(1)].hub.Post(context.Background(), d); err != nil {
			said = []string{err.Error()}
		}
	case "hangup":
		s.client(arg(1)).hangUp()
	case "stall":
		s.client(arg(1)).stall(true)
	case "unstall":
		s.client(arg(1)).stall(false)
	case "drain":
		s.drain(arg(1))
	case "drop":
		s.cluster.Drop(arg(1), s.number(arg(2)))
	case "interrupt":
		s.cluster.Interrupt(arg(1))
	case "restore":
		s.cluster.Restore(arg(1))
	case "rewind":
		s.cluster.Rewind(chat.RoomID(arg(1)), s.number(arg(2)))
	case "down", "up":
		s.cluster.SetDown(words[0] == "down")
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d) // the bubble's clock
	case "log":
		said = s.log(chat.RoomID(arg(1)))
	case "bridged":
		said = []string{fmt.Sprint(s.cluster.Bridged())}
	default:
		_, frame, _ := strings.Cut(action, " ")
		s.client(words[0]).command([]byte(frame))
	}
	synctest.Wait()
	for _, c := range s.clients {
		c.endIfFinished()
	}
	synctest.Wait()
	for _, name := range slices.Sorted(maps.Keys(s.clients)) {
		said = append(said, s.clients[name].take()...)
	}
	return said
}

func (s *stage) word(words []string, i int) string {
	if i >= len(words) {
		s.t.Fatalf("a word is missing: %v", words)
	}
	return words[i]
}

func (s *stage) number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) client(name string) *client {
	c := s.clients[name]
	if c == nil {
		s.t.Fatalf("nobody is called %q", name)
	}
	return c
}

// managers may do everything everywhere.
type managers struct{}

func (managers) Access(chat.RoomID) chat.Access { return chat.Manage }

func (s *stage) connect(words []string) {
	name, appid, room := s.word(words, 1), s.word(words, 2), chat.RoomID(s.word(words, 3))
	c := &client{name: name, node: appid, free: make(chan struct{})}
	close(c.free)
	var join hub.Join
	rights := chat.Rights(chat.AllRights{})
	for _, option := range words[4:] {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "since":
			if value == "last" {
				value = s.client(name).last
			}
			p, err := chat.ParsePosition(value)
			if err != nil {
				s.t.Fatal(err)
			}
			join.Since = &p
		case "echo":
			join.Mute = value == "false"
		case "members":
			join.Members = value == "true"
		case "watch":
			join.Watch = true
		case "manage":
			rights = managers{}
		}
	}
	user, _, _ := strings.Cut(name, "/") // "alice/phone" is a session of alice
	who := session.Who{User: chat.UserID(user), Rights: rights, Allowance: &session.Allowance{Rates: &session.Rates{}}}
	c.session = session.New(s.nodes[appid].hub, who, c, &s.limits, &metrics.New(appid, "test").Sessions)
	s.clients[name] = c
	c.session.Greet(protocol.Hello{Shard: appid, PingS: 25})
	c.do(func() { c.session.Start(join.Watch, session.First{Room: room, Options: join.Options}) })
}

// drain is what the gateway does to its sessions when the node stops.
func (s *stage) drain(appid string) {
	for _, c := range s.clients {
		if c.node == appid {
			c.session.Send(protocol.Drain{ReconnectMS: [2]int64{0, 5000}}.Frame().Batch())
			c.session.Close(protocol.CloseDrain)
		}
	}
}

func (s *stage) log(room chat.RoomID) []string {
	var said []string
	pubs, err := s.cluster.Node("log").ReadAfter(context.Background(), room, chat.Position{}, 1000)
	if err != nil {
		return []string{err.Error()}
	}
	for _, p := range pubs {
		said = append(said, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", p.Position, p.From, p.Key, p.Body, p.About)))
	}
	return said
}

// A client is one session's other end. It implements session.Conn.
type client struct {
	name    string
	node    string
	session *session.Session
	last    string // last position heard
	doing   sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	heard    []string
	finished bool          // the session has closed the transport
	ended    bool          // the session knows that the transport is gone
	free     chan struct{} // closed while the client reads
	gone     bool          // nothing can be written any more
}

// do runs what the transport's reading goroutine would, one thing at a time.
func (c *client) do(f func()) {
	c.doing.Wait()
	c.doing.Go(f)
}

func (c *client) command(frame []byte) { c.do(func() { c.session.Handle(frame) }) }

func (c *client) stall(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.free = make(chan struct{})
	} else {
		close(c.free)
	}
}

// hangUp breaks the transport.
func (c *client) hangUp() {
	c.doing.Wait()
	c.mu.Lock()
	ended := c.ended
	c.ended = true
	c.breakOff()
	c.mu.Unlock()
	if !ended {
		c.session.End()
	}
}

// endIfFinished is the reading goroutine's end after a close.
func (c *client) endIfFinished() {
	c.mu.Lock()
	finished := c.finished
	c.mu.Unlock()
	if finished {
		c.hangUp()
	}
}

// breakOff fails the write that waits for a stalled reader, and those to come.
// The lock is held.
func (c *client) breakOff() {
	c.gone = true
	select {
	case <-c.free:
	default:
		close(c.free)
	}
}

// TryWrite implements session.Conn: a client takes nothing at once.
func (c *client) TryWrite(protocol.Batch) int { return 0 }

// Write implements session.Conn.
func (c *client) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	c.mu.Lock()
	free := c.free
	c.mu.Unlock()
	<-free
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false, protocol.CloseGone
	}
	for _, b := range batches {
		for f := range b.Frames() {
			c.hear(string(f.JSON()))
		}
	}
	return true, 0
}

var (
	sessionField  = regexp.MustCompile(`"session":"[^"]*"`)
	positionField = regexp.MustCompile(`"pos":"([^"]*)"`)
)

func (c *client) hear(frame string) {
	if m := positionField.FindStringSubmatch(frame); m != nil && strings.HasPrefix(frame, `{"push":"`) {
		c.last = m[1]
	}
	c.heard = append(c.heard, c.name+" < "+sessionField.ReplaceAllString(frame, `"session":"…"`))
}

// Hurry implements session.Conn: a stalled reader is given no more time.
func (c *client) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.free:
	default:
		c.breakOff()
	}
}

// Finish implements session.Conn.
func (c *client) Renew(string) (chat.Rights, time.Duration, *protocol.Error) {
	return chat.AllRights{}, time.Hour, nil
}

func (c *client) Finish(code protocol.CloseCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	if !c.ended {
		c.heard = append(c.heard, fmt.Sprintf("%s < closed %d %s", c.name, code, code.Reason()))
	}
}

// take returns what was heard since the last time.
func (c *client) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard := c.heard
	c.heard = nil
	return heard
}
