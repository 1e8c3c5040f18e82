package chattest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Cluster makes the brokers of nodes that share one log and one bridge. The
// broker of an APPID has not run yet.
type Cluster func(appid string) chat.Broker

// A BrokerStory is one thing that every chat.Broker must do.
type BrokerStory struct {
	Name string
	Tell func(t *testing.T, c Cluster)
}

// TestBroker tells every story on a cluster of its own.
func TestBroker(t *testing.T, newCluster func(t *testing.T) Cluster) {
	for _, s := range BrokerStories {
		t.Run(s.Name, func(t *testing.T) { s.Tell(t, newCluster(t)) })
	}
}

// BrokerStories is the suite that TestBroker runs; each stands alone, so that
// a caller may put it into a testing/synctest bubble.
var BrokerStories = append([]BrokerStory{
	{"positions count without holes", positionsCount},
	{"a key is one publication", keyIsOnePublication},
	{"a known key is told again", knownKeyIsToldAgain},
	{"a key with another body conflicts", keyConflicts},
	{"a key belongs to its sender", keyBelongsToSender},
	{"names and bodies survive", namesAndBodiesSurvive},
	{"a witness begins an epoch", witnessBeginsEpoch},
	{"read after", readAfter},
	{"read before", readBefore},
	{"an unknown room is empty", unknownRoomIsEmpty},
	{"tails answer in order", tailsAnswerInOrder},
	{"an open room is heard", openRoomIsHeard},
	{"a room of one node is not bridged", roomOfOneNodeIsNotBridged},
	{"a closed room is not heard", closedRoomIsNotHeard},
	{"close then open hears", closeThenOpenHears},
	{"a signal reaches the others", signalReachesOthers},
	{"a question reaches the others", questionReachesOthers},
	{"a silent node leaves an answer incomplete", silentNodeLeavesIncomplete},
	{"concurrent appends have one order", concurrentAppendsHaveOneOrder},
	{"a call that has no time left is unavailable", endedCallIsUnavailable},
}, changes...)

// A node is a running broker and what its sink has heard.
type node struct {
	chat.Broker
	heard *Recorder
}

// start runs the broker of an APPID until the test ends.
func (c Cluster) start(t *testing.T, appid string) node {
	t.Helper()
	n := node{c(appid), NewRecorder()}
	RunBroker(t, n.Broker, n.heard)
	return n
}

// RunBroker runs a broker until the test ends or stop is called, and waits for
// its end.
func RunBroker(t testing.TB, b chat.Broker, sink chat.Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, sink) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func draft(room chat.RoomID, from chat.UserID, key, body string) chat.Draft {
	return chat.Draft{Room: room, From: from, Key: key, Body: []byte(body)}
}

// say appends what must be accepted.
func say(t *testing.T, b chat.Broker, d chat.Draft, seen chat.Position) chat.Publication {
	t.Helper()
	p, err := b.Append(t.Context(), d, seen)
	if err != nil {
		t.Fatalf("Append(%s %s) = %v", d.From, d.Key, err)
	}
	return p
}

// restoredAt is the time of what was said before the log lost it.
var restoredAt = time.UnixMilli(946684800123)

// restore appends what must be accepted, though the log may end before seen.
func restore(t *testing.T, b chat.Broker, d chat.Draft, seen chat.Position) chat.Publication {
	t.Helper()
	p, err := b.Restore(t.Context(), chat.Publication{Draft: d, At: restoredAt}, seen)
	if err != nil {
		t.Fatalf("Restore(%s %s) = %v", d.From, d.Key, err)
	}
	return p
}

// sayN appends n publications of alice with the keys "1", "2", ….
func sayN(t *testing.T, b chat.Broker, room chat.RoomID, n int) []chat.Publication {
	t.Helper()
	var said []chat.Publication
	for i := range n {
		key := strconv.Itoa(i + 1)
		said = append(said, say(t, b, draft(room, "alice", key, `"`+key+`"`), chat.Position{}))
	}
	return said
}

func open(t *testing.T, room chat.RoomID, nodes ...node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.Open(t.Context(), room); err != nil {
			t.Fatalf("Open(%s) = %v", room, err)
		}
	}
}

func readAll(t *testing.T, b chat.Broker, room chat.RoomID) []chat.Publication {
	t.Helper()
	all, err := b.ReadAfter(t.Context(), room, chat.Position{}, 10_000)
	if err != nil {
		t.Fatalf("ReadAfter(%s) = %v", room, err)
	}
	return all
}

// samePublications says in which way got is not want.
func samePublications(t *testing.T, got, want []chat.Publication) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d publications, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.Position != w.Position || g.Room != w.Room || g.From != w.From || g.Key != w.Key ||
			string(g.Body) != string(w.Body) || g.About != w.About || !g.At.Equal(w.At) {
			t.Fatalf("publication %d is %+v, want %+v", i, g, w)
		}
	}
}

// The first position is <epoch>-0, and nothing is left out after it.
func positionsCount(t *testing.T, c Cluster) {
	before := time.Now()
	said := sayN(t, c.start(t, "1111"), "lobby", 5)
	if !said[0].Follows(chat.Position{}) {
		t.Errorf("first position = %s, want an offset of 0", said[0].Position)
	}
	for i, p := range said[1:] {
		if !p.Follows(said[i].Position) {
			t.Errorf("%s does not follow %s", p.Position, said[i].Position)
		}
	}
	if at := said[4].At; at.Before(before.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("At = %s, want about %s", at, before)
	}
}

// A retry, on whichever node, answers the first publication and adds nothing.
func keyIsOnePublication(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	first := say(t, one, draft("lobby", "alice", "k", `"hi"`), chat.Position{})
	say(t, one, draft("lobby", "bob", "k2", `"between"`), first.Position)
	again := say(t, two, draft("lobby", "alice", "k", `"hi"`), first.Position)
	samePublications(t, []chat.Publication{again}, []chat.Publication{first})
	if got := len(readAll(t, two, "lobby")); got != 2 {
		t.Errorf("the log has %d entries, want 2", got)
	}
}

// A retry is told to the other nodes again, since its first telling may have
// been lost with the answer. It does not say what it follows.
func knownKeyIsToldAgain(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	open(t, "lobby", two)
	d := draft("lobby", "alice", "k", `"hi"`)
	first := say(t, one, d, chat.Position{})
	say(t, one, d, first.Position)
	restore(t, one, d, first.Position)
	two.heard.Wait(t, "three tellings", func() bool { return len(two.heard.Publications("lobby")) == 3 })
	told := two.heard.Publications("lobby")
	samePublications(t, told, []chat.Publication{first, first, first})
	for i, p := range told {
		if got, want := p.Linked, i == 0; got != want {
			t.Errorf("telling %d says what it follows: %v, want %v", i, got, want)
		}
	}
}

func keyConflicts(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	say(t, n, draft("lobby", "alice", "k", `"hi"`), chat.Position{})
	_, err := n.Append(t.Context(), draft("lobby", "alice", "k", `"ho"`), chat.Position{})
	if !errors.Is(err, chat.ErrConflict) || errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrConflict", err)
	}
	if got := len(readAll(t, n, "lobby")); got != 1 {
		t.Errorf("the log has %d entries, want 1", got)
	}
}

// Users cannot take each other's keys, and a room's keys are its own.
func keyBelongsToSender(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	for _, d := range []chat.Draft{
		draft("lobby", "alice", "k", `"hi"`),
		draft("lobby", "bob", "k", `"ho"`),
		draft("lobby", "alice-", "k", `"he"`),
		draft("lobby", "alice", "-k", `"hu"`),
		draft("team", "alice", "k", `"ha"`),
	} {
		say(t, n, d, chat.Position{})
	}
	if got := len(readAll(t, n, "lobby")); got != 4 {
		t.Errorf("the log has %d entries, want 4", got)
	}
}

// What is legal in a name or a body arrives unchanged, in the log and over the
// bridge.
func namesAndBodiesSurvive(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	room := chat.RoomID("A.z_9-")
	open(t, room, one, two)
	var said []chat.Publication
	for _, d := range []chat.Draft{
		draft(room, "[D-Tail]", `!"#$%&'()*+,-./:;<=>?@[\]^{|}~`, `{"text":"spaces  and \"quotes\""}`),
		draft(room, "dodo|kanotix", "dodo|kanotix", `"p 1-1 2 from key body"`),
		draft(room, "Žofie@příklad.cz", "k", `"čau 👋 `+"\u2028"+`"`),
		draft(room, "🦆", "%00", `"\u0000"`),
		draft(room, "%s%d", "');DROP_TABLE", `""`),
		draft(room, "at", "born", `0`),
	} {
		said = append(said, say(t, one, d, chat.Position{}))
	}
	two.heard.Wait(t, "all publications", func() bool { return len(two.heard.Publications(room)) == len(said) })
	samePublications(t, two.heard.Publications(room), said)
	samePublications(t, readAll(t, two, room), said)
}

// A node that has seen more than the log holds is told so, and begins a new
// epoch when it restores; a node that has seen less, or the same, does not.
func witnessBeginsEpoch(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	said := sayN(t, n, "lobby", 3)
	tail := said[2].Position
	same := say(t, n, draft("lobby", "bob", "1", `1`), said[0].Position)
	if !same.Follows(tail) {
		t.Errorf("with an older witness: %s, want the successor of %s", same.Position, tail)
	}
	same = say(t, n, draft("lobby", "bob", "2", `2`), same.Position)
	if same.Epoch != tail.Epoch {
		t.Errorf("with an exact witness: %s, want the epoch of %s", same.Position, tail)
	}

	ahead := chat.Position{Epoch: same.Epoch, Offset: same.Offset + 2}
	if _, err := n.Append(t.Context(), draft("lobby", "bob", "3", `3`), ahead); !errors.Is(err, chat.ErrRewound) {
		t.Errorf("with a later witness: %v, want ErrRewound", err)
	}
	if all := readAll(t, n, "lobby"); len(all) != 5 {
		t.Errorf("the log has %d entries after a refusal, want 5", len(all))
	}
	next := restore(t, n, draft("lobby", "bob", "3", `3`), ahead)
	if next.Epoch <= ahead.Epoch || next.Offset != 0 {
		t.Errorf("with a later witness: %s, want <epoch>-0 after %s", next.Position, ahead)
	}
	far := chat.Position{Epoch: next.Epoch + 1_000_000_000, Offset: 7}
	if !next.At.Equal(restoredAt) {
		t.Errorf("restored at %v, want the time when it was said, %v", next.At, restoredAt)
	}
	if p := restore(t, n, draft("lobby", "bob", "4", `4`), far); p.Position != (chat.Position{Epoch: far.Epoch + 1}) {
		t.Errorf("with a witness from the future: %s, want %d-0", p.Position, far.Epoch+1)
	}
	if p := restore(t, n, draft("lobby", "bob", "5", `5`), chat.Position{Epoch: far.Epoch, Offset: 1<<53 - 1}); p.Epoch != far.Epoch+1 {
		t.Errorf("with a witness of the epoch before: %s, want epoch %d", p.Position, far.Epoch+1)
	}
	if p := restore(t, n, draft("lobby", "bob", "3", `3`), far); p.Position != next.Position {
		t.Errorf("restored under a known key: %s, want %s", p.Position, next.Position)
	}
	first := restore(t, n, draft("empty", "bob", "1", `1`), far)
	if first.Position != (chat.Position{Epoch: far.Epoch + 1}) {
		t.Errorf("in a log that lost everything: %s, want %d-0", first.Position, far.Epoch+1)
	}
}

func readAfter(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	said := sayN(t, n, "lobby", 5)
	for _, test := range []struct {
		after chat.Position
		limit int
		want  []chat.Publication
	}{
		{chat.Position{}, 10, said},
		{chat.Position{}, 2, said[:2]},
		{said[0].Position, 2, said[1:3]},
		{said[3].Position, 5, said[4:]},
		{said[4].Position, 5, nil},
		{chat.Position{Epoch: said[0].Epoch - 1, Offset: 99}, 5, said},
		{chat.Position{Epoch: said[0].Epoch + 1}, 5, nil},
		{chat.Position{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}, 5, nil},
		{chat.Position{}, 0, nil},
		{chat.Position{}, -1, nil},
	} {
		got, err := n.ReadAfter(t.Context(), "lobby", test.after, test.limit)
		if err != nil {
			t.Fatalf("ReadAfter(%s, %d) = %v", test.after, test.limit, err)
		}
		samePublications(t, got, test.want)
	}
}

func readBefore(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	said := sayN(t, n, "lobby", 5)
	for _, test := range []struct {
		before chat.Position
		limit  int
		want   []chat.Publication
	}{
		{chat.Position{}, 10, said},
		{chat.Position{}, 2, said[3:]},
		{said[4].Position, 2, said[2:4]},
		{said[1].Position, 5, said[:1]},
		{said[0].Position, 5, nil},
		{chat.Position{Epoch: 1}, 5, nil},
		{chat.Position{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}, 1, said[4:]},
		{chat.Position{}, 0, nil},
		{chat.Position{}, -1, nil},
	} {
		got, err := n.ReadBefore(t.Context(), "lobby", test.before, test.limit)
		if err != nil {
			t.Fatalf("ReadBefore(%s, %d) = %v", test.before, test.limit, err)
		}
		samePublications(t, got, test.want)
	}
}

func unknownRoomIsEmpty(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	if got := readAll(t, n, "nowhere"); len(got) != 0 {
		t.Errorf("ReadAfter = %v, want nothing", got)
	}
	if got, err := n.ReadBefore(t.Context(), "nowhere", chat.Position{}, 5); err != nil || len(got) != 0 {
		t.Errorf("ReadBefore = %v, %v, want nothing", got, err)
	}
}

func tailsAnswerInOrder(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	lobby, team := sayN(t, n, "lobby", 3), sayN(t, n, "team", 1)
	got, err := n.Tails(t.Context(), []chat.RoomID{"team", "nowhere", "lobby", "team"})
	if err != nil {
		t.Fatal(err)
	}
	samePublications(t, got, []chat.Publication{team[0], {}, lobby[2], team[0]})
	if got, err := n.Tails(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("Tails of no rooms = %v, %v, want nothing", got, err)
	}
}

// From the return of Open on, everything is heard.
func openRoomIsHeard(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	sayN(t, one, "lobby", 1)
	open(t, "lobby", two)
	p := say(t, one, draft("lobby", "bob", "k", `"heard"`), chat.Position{})
	two.heard.Wait(t, "the publication", func() bool { return len(two.heard.Publications("lobby")) > 0 })
	samePublications(t, two.heard.Publications("lobby"), []chat.Publication{p})
}

// A room that only its appender has open stays off the bridge: what follows it
// in another room is heard, and it is not.
func roomOfOneNodeIsNotBridged(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	open(t, "alone", one)
	open(t, "fence", one, two)
	sayN(t, one, "alone", 3)
	sayN(t, one, "fence", 1)
	one.heard.Wait(t, "the fence", func() bool { return len(one.heard.Publications("fence")) == 1 })
	if got := one.heard.Publications("alone"); len(got) != 0 {
		t.Errorf("heard %v, want nothing", got)
	}
	// Two does not have it open, so what it says is for one to hear.
	p := say(t, two, draft("alone", "bob", "k", `"hi"`), chat.Position{})
	one.heard.Wait(t, "what two said", func() bool { return len(one.heard.Publications("alone")) == 1 })
	samePublications(t, one.heard.Publications("alone"), []chat.Publication{p})
}

func closedRoomIsNotHeard(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	open(t, "lobby", two)
	two.Close("lobby")
	two.Close("lobby")
	two.Close("never-opened")
	// The confirmation of a later Open shows that Close has taken effect.
	open(t, "fence", two)
	sayN(t, one, "lobby", 1)
	sayN(t, one, "fence", 1)
	two.heard.Wait(t, "the fence", func() bool { return len(two.heard.Publications("fence")) == 1 })
	if got := two.heard.Publications("lobby"); len(got) != 0 {
		t.Errorf("heard %v, want nothing", got)
	}
}

func closeThenOpenHears(t *testing.T, c Cluster) {
	one, two := c.start(t, "1111"), c.start(t, "2222")
	for i := range 20 {
		open(t, "lobby", two)
		say(t, one, draft("lobby", "alice", strconv.Itoa(i), `1`), chat.Position{})
		two.heard.Wait(t, "the publication", func() bool { return len(two.heard.Publications("lobby")) == i+1 })
		two.Close("lobby")
	}
}

func signalReachesOthers(t *testing.T, c Cluster) {
	one, two, three := c.start(t, "1111"), c.start(t, "2222"), c.start(t, "3333")
	open(t, "lobby", one, two, three)
	open(t, "alone", one)
	signal := func(room chat.RoomID, from node, body string) {
		if err := from.Signal(t.Context(), room, []byte(body)); err != nil {
			t.Fatalf("Signal = %v", err)
		}
	}
	signal("alone", one, "nobody hears")
	signal("lobby", one, `{"typing": true}`)
	signal("lobby", two, "")
	signal("lobby", three, "last")
	for _, test := range []struct {
		n    node
		want []string
	}{
		{one, []string{"", "last"}},
		{two, []string{`{"typing": true}`, "last"}},
		{three, []string{`{"typing": true}`, ""}},
	} {
		test.n.heard.Wait(t, "two signals", func() bool { return len(test.n.heard.Signals("lobby")) == 2 })
		if got := test.n.heard.Signals("lobby"); !slices.Equal(got, test.want) {
			t.Errorf("heard %q, want %q", got, test.want)
		}
	}
	if got := one.heard.Signals("alone"); len(got) != 0 {
		t.Errorf("heard itself: %q", got)
	}
	if got := readAll(t, one, "lobby"); len(got) != 0 {
		t.Errorf("the log keeps %v, want nothing", got)
	}
}

func questionReachesOthers(t *testing.T, c Cluster) {
	nodes := []node{c.start(t, "1111"), c.start(t, "2222"), c.start(t, "3333")}
	for i, n := range nodes {
		n.heard.OnQuestion(func(room chat.RoomID, q []byte) []byte {
			return fmt.Appendf(nil, "%d heard %s in %s", i+1, q, room)
		})
	}
	want := []string{}
	for others := range nodes {
		open(t, "lobby", nodes[others])
		if others > 0 {
			want = append(want, fmt.Sprintf("%d heard who is there? in lobby", others+1))
		}
		answers, complete, err := nodes[0].Ask(t.Context(), "lobby", []byte("who is there?"))
		got := []string{}
		for _, a := range answers {
			got = append(got, string(a))
		}
		slices.Sort(got)
		if err != nil || !complete || !slices.Equal(got, want) {
			t.Errorf("Ask with %d others = %q, %v, %v, want %q", others, got, complete, err, want)
		}
	}
	// Who does not have the room open may ask, and all who have it answer.
	nodes[0].Close("lobby")
	answers, complete, err := nodes[0].Ask(t.Context(), "lobby", []byte("and now?"))
	if err != nil || !complete || len(answers) != 2 {
		t.Errorf("Ask from outside = %q, %v, %v, want 2 answers", answers, complete, err)
	}
}

func silentNodeLeavesIncomplete(t *testing.T, c Cluster) {
	one, two, three := c.start(t, "1111"), c.start(t, "2222"), c.start(t, "3333")
	open(t, "lobby", one, two, three)
	two.heard.OnQuestion(func(chat.RoomID, []byte) []byte { return []byte("two") })
	silence := make(chan struct{})
	t.Cleanup(func() { close(silence) })
	three.heard.OnQuestion(func(chat.RoomID, []byte) []byte { <-silence; return nil })

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	answers, complete, err := one.Ask(ctx, "lobby", []byte("?"))
	if err != nil || complete || len(answers) != 1 || string(answers[0]) != "two" {
		t.Errorf("Ask = %q, %v, %v, want only two's answer", answers, complete, err)
	}
}

// Whoever appends, and wherever: there is one order, all hear it, and each
// hears each once.
func concurrentAppendsHaveOneOrder(t *testing.T, c Cluster) {
	const perNode = 100
	nodes := []node{c.start(t, "1111"), c.start(t, "2222"), c.start(t, "3333")}
	open(t, "lobby", nodes...)
	var wg sync.WaitGroup
	for i, n := range nodes {
		from := chat.UserID(fmt.Sprintf("user%d", i))
		for j := range perNode {
			wg.Go(func() {
				d := draft("lobby", from, strconv.Itoa(j), `"x"`)
				if _, err := n.Append(t.Context(), d, chat.Position{}); err != nil {
					t.Errorf("Append = %v", err)
				}
			})
		}
	}
	wg.Wait()
	want := readAll(t, nodes[0], "lobby")
	if len(want) != perNode*len(nodes) {
		t.Fatalf("the log has %d entries, want %d", len(want), perNode*len(nodes))
	}
	for i, p := range want[1:] {
		if !p.Follows(want[i].Position) {
			t.Fatalf("%s does not follow %s", p.Position, want[i].Position)
		}
	}
	for _, n := range nodes {
		n.heard.Wait(t, "all publications", func() bool { return len(n.heard.Publications("lobby")) >= len(want) })
		samePublications(t, n.heard.Publications("lobby"), want)
	}
}

func endedCallIsUnavailable(t *testing.T, c Cluster) {
	n := c.start(t, "1111")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, appended := n.Append(ctx, draft("lobby", "alice", "k", `1`), chat.Position{})
	_, after := n.ReadAfter(ctx, "lobby", chat.Position{}, 1)
	_, before := n.ReadBefore(ctx, "lobby", chat.Position{}, 1)
	_, tails := n.Tails(ctx, []chat.RoomID{"lobby"})
	_, changes := n.Changes(ctx, "lobby", []chat.Publication{{}})
	_, described := n.Description(ctx, "lobby")
	_, _, asked := n.Ask(ctx, "lobby", nil)
	for call, err := range map[string]error{
		"Append": appended, "ReadAfter": after, "ReadBefore": before, "Tails": tails, "Ask": asked, "Changes": changes, "Description": described,
		"Open": n.Open(ctx, "lobby"), "Signal": n.Signal(ctx, "lobby", nil), "Check": n.Check(ctx),
	} {
		if !errors.Is(err, chat.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want ErrUnavailable and the reason", call, err)
		}
	}
}
