package ring

import (
	"cmp"
	"context"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Peers say whom to ask.
type Peers struct {
	// Nodes are the addresses of all nodes' operators' ports, this one's among them,
	// such as http://10.0.0.7:9090. None: there is but this node.
	Nodes []string
	// HAProxy is the address of its operators' port, and Door that of its port for
	// nodes. Empty: it is not asked.
	HAProxy, Door string
	// Transport carries the questions; nil: TCP.
	Transport http.RoundTripper
}

// A State is the whole ring at a moment.
type State struct {
	Now     int64   `json:"now"` // when the answers had come
	By      string  `json:"by"`  // the node that has asked
	Alone   bool    `json:"alone"`
	Nodes   []Seen  `json:"nodes"` // in the order of their ids
	HAProxy Door    `json:"haproxy"`
	Ring    Drawing `json:"ring"`
	Events  []Event `json:"events"` // newest first

	layouts layouts
}

// Seen is a node as it was found.
type Seen struct {
	AppID   string  `json:"appid"` // "": it has never answered
	Address string  `json:"address"`
	Asked   bool    `json:"asked"` // its address is known
	Answers bool    `json:"answers"`
	Since   int64   `json:"since"`   // when that began
	Problem string  `json:"problem"` // why it does not
	Node    *Node   `json:"node"`    // what it said last; null: nothing yet
	Server  *Server `json:"server"`  // what HAProxy says of it; null: nothing
	On      bool    `json:"on"`      // the ring
	Share   float64 `json:"share"`   // of the ring as it is
	Full    float64 `json:"full"`    // of the ring with all nodes on it
}

// Door is HAProxy as it was found.
type Door struct {
	Asked   bool   `json:"asked"`
	Answers bool   `json:"answers"`
	Since   int64  `json:"since"`
	Problem string `json:"problem"`
}

// A Drawing is the ring cut into equal pieces.
type Drawing struct {
	IDs []string `json:"ids"` // the APPIDs of all nodes on it, in order
	// Now and Full have a character for each piece, the node's index in IDs: 0 to 9,
	// then a to z. Now is the ring as it is, Full the one with all nodes. Empty: nobody
	// is on it.
	Now  string `json:"now"`
	Full string `json:"full"`
	// Assumed says that HAProxy has never told who is on the ring: it is drawn as
	// haproxy.cfg would have it for the nodes that answer.
	Assumed bool `json:"assumed"`
}

const (
	pieces = 720
	// fresh is how long a state is good for all who look.
	fresh = 500 * time.Millisecond
	// usualWeight is what haproxy.cfg gives each node.
	usualWeight = 100
)

// An Asker finds out how the ring is, whenever somebody looks: it asks all nodes and
// HAProxy at once, once at a time however many look, and keeps what they said last. All
// methods may be called concurrently.
type Asker struct {
	// Static after construction.
	self  *Self
	peers Peers
	ask   questioner
	turns chan struct{} // holds a token for each room that is looked up, and each who asks for histories; never closed

	// Owned by the look that is under way.
	seen    []Seen // in the order of Peers.Nodes
	servers []Server
	door    Door
	rings   layouts
	noticed diary // of other nodes, by this one

	// Guarded by mu.
	mu        sync.Mutex
	last      *look
	histories map[string][]Sample // by APPID: what nodes that may be dead by now have said
}

// A look asks everybody, once.
type look struct {
	done  chan struct{} // closed when state is there
	state *State
	at    time.Time // when it was done
}

// NewAsker builds the asker of a node.
func NewAsker(self *Self, peers Peers) *Asker {
	a := &Asker{
		self: self, peers: peers, ask: newQuestioner(peers.Transport),
		turns:   make(chan struct{}, 4),
		noticed: diary{by: self.opts.AppID + "'s look"},
		door:    Door{Asked: peers.HAProxy != ""},

		histories: make(map[string][]Sample),
	}
	for _, address := range peers.Nodes {
		a.seen = append(a.seen, Seen{Address: address, Asked: true})
	}
	return a
}

// State returns how the ring is, or was a moment ago. The error is that of ctx.
func (a *Asker) State(ctx context.Context) (*State, error) {
	l := a.look() //nolint:contextcheck // a look is for all who ask, and ends by itself
	select {
	case <-l.done:
		return l.state, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look returns the look that is under way, or the last one if it is fresh, or begins one.
func (a *Asker) look() *look {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil {
		select {
		case <-a.last.done:
			if time.Since(a.last.at) < fresh {
				return a.last
			}
		default:
			return a.last
		}
	}
	l := &look{done: make(chan struct{})}
	a.last = l
	go func() { // ends within askTimeout
		defer close(l.done)
		l.state = a.askAll()
		l.at = time.Now()
	}()
	return l
}

// askAll asks everybody, and notices what has changed.
func (a *Asker) askAll() *State {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	nodes := make([]*Node, len(a.seen))
	problems := make([]error, len(a.seen))
	var servers []Server
	var noHAProxy error
	var asking sync.WaitGroup
	for i, s := range a.seen {
		asking.Go(func() {
			var n Node
			if problems[i] = a.ask.getJSON(ctx, s.Address+"/ring/node", &n); problems[i] == nil && n.AppID == "" {
				problems[i] = errNonsense
			}
			nodes[i] = &n
		})
	}
	if a.door.Asked {
		asking.Go(func() {
			noHAProxy = a.ask.get(ctx, a.peers.HAProxy+"/stats;csv", func(body io.Reader) (err error) {
				servers, err = parseStats(body, time.Now().UnixMilli())
				return err
			})
		})
	}
	asking.Wait()
	now := time.Now().UnixMilli()
	for i := range a.seen {
		a.found(&a.seen[i], nodes[i], problem(problems[i]), now)
	}
	if a.door.Asked {
		a.foundHAProxy(servers, problem(noHAProxy), now)
	}
	return a.state(now)
}

// found takes in what a node has answered, or why it has not.
func (a *Asker) found(s *Seen, n *Node, problem string, now int64) {
	answers, first := problem == "", s.Since == 0
	if answers {
		s.Node, s.AppID = n, n.AppID
		a.remember(n.AppID, n.Sample)
	}
	s.Problem = problem
	if s.Answers == answers && !first {
		return
	}
	s.Answers, s.Since = answers, now
	switch {
	case !answers:
		a.noticed.note(Event{Node: cmp.Or(s.AppID, s.Address), Kind: Silent, Why: problem})
	case !first:
		a.noticed.note(Event{Node: cmp.Or(s.AppID, s.Address), Kind: Answers})
	}
}

// foundHAProxy takes in what HAProxy says of the nodes, or why it says nothing.
func (a *Asker) foundHAProxy(servers []Server, problem string, now int64) {
	d, answers := &a.door, problem == ""
	d.Problem = problem
	if d.Answers != answers || d.Since == 0 {
		if !answers {
			a.noticed.note(Event{Kind: HAProxyLost, Why: problem})
		} else if d.Since != 0 {
			a.noticed.note(Event{Kind: HAProxyBack})
		}
		d.Answers, d.Since = answers, now
	}
	if !answers {
		return
	}
	for _, s := range servers {
		i := slices.IndexFunc(a.servers, func(t Server) bool { return t.AppID == s.AppID })
		if i >= 0 && a.servers[i].On == s.On && a.servers[i].Why == s.Why {
			continue
		}
		e := Event{At: s.Since, Node: s.AppID, Kind: OnRing}
		if !s.On {
			e.Kind, e.Why = OffRing, s.Why
		}
		a.noticed.note(e)
	}
	a.servers = servers
}

// state puts together what is known.
func (a *Asker) state(now int64) *State {
	s := &State{Now: now, By: a.self.opts.AppID, Alone: len(a.peers.Nodes) == 0, HAProxy: a.door}
	s.Nodes = slices.Clone(a.seen)
	if !slices.ContainsFunc(s.Nodes, func(n Seen) bool { return n.AppID == s.By }) {
		s.Nodes = append(s.Nodes, Seen{AppID: s.By, Answers: true, Since: a.self.started.UnixMilli(), Node: a.self.Report()})
	}
	for _, server := range a.servers {
		i := slices.IndexFunc(s.Nodes, func(n Seen) bool { return n.AppID == server.AppID })
		if i < 0 {
			i = len(s.Nodes)
			s.Nodes = append(s.Nodes, Seen{AppID: server.AppID})
		}
		s.Nodes[i].Server = &server
		s.Nodes[i].On = server.On
	}
	slices.SortFunc(s.Nodes, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(number(a.AppID), number(b.AppID)), cmp.Compare(a.Address, b.Address))
	})
	a.draw(s)
	s.Events = a.merge(s.Nodes)
	for i, n := range s.Nodes {
		if n.Node != nil {
			told := *n.Node // what a.seen has keeps its events
			told.Events = nil
			s.Nodes[i].Node = &told
		}
	}
	return s
}

// number orders APPIDs; what has none comes last.
func number(appid string) uint64 {
	n, err := strconv.ParseUint(appid, 10, 32)
	if err != nil {
		return math.MaxUint64
	}
	return n
}

// layouts are the rings of all nodes and of those that are on it, as last laid.
type layouts struct {
	fullOf, nowOf []Seat
	full, now     *Layout
}

// lay makes the rings anew if need be; it takes some milliseconds.
func (l *layouts) lay(full, now []Seat) {
	if l.full == nil || !slices.Equal(l.fullOf, full) {
		l.full, l.fullOf = Lay(full), full
	}
	if l.now == nil || !slices.Equal(l.nowOf, now) {
		l.now, l.nowOf = Lay(now), now
	}
}

// draw says who is on the ring, and where. What HAProxy said last holds; while it does
// not answer, nodes that do not answer either, or drain, are taken to be off the ring.
func (a *Asker) draw(s *State) {
	s.Ring.Assumed = len(a.servers) == 0
	var full, now []Seat
	for i := range s.Nodes {
		n := &s.Nodes[i]
		seat := Seat{Weight: usualWeight}
		switch {
		case n.Server != nil:
			seat.Weight = n.Server.Weight
			if !a.door.Answers && n.Asked {
				n.On = n.Answers && !n.Node.Draining
			}
		case !s.Ring.Assumed || n.Node == nil || !slices.Contains(n.Node.Modules, "chat"):
			continue
		default:
			n.On = n.Answers && !n.Node.Draining
		}
		seat.ID = uint32(number(n.AppID)) // #nosec G115 -- an APPID is below 2^20
		full = append(full, seat)
		if n.On {
			now = append(now, seat)
		}
		s.Ring.IDs = append(s.Ring.IDs, n.AppID)
	}
	a.rings.lay(full, now)
	s.Ring.Full, s.Ring.Now = band(a.rings.full, s.Ring.IDs), band(a.rings.now, s.Ring.IDs)
	shares, fullShares := a.rings.now.Shares(), a.rings.full.Shares()
	for i := range s.Nodes {
		id := uint32(number(s.Nodes[i].AppID)) // #nosec G115 -- as above
		s.Nodes[i].Share, s.Nodes[i].Full = shares[id], fullShares[id]
	}
	s.layouts = a.rings
}

const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// band writes a ring's pieces as digits, one for each node.
func band(l *Layout, ids []string) string {
	digit := make(map[uint32]byte)
	for i, id := range ids {
		digit[uint32(number(id))] = digits[min(i, len(digits)-1)] // #nosec G115 -- as above
	}
	b := make([]byte, 0, pieces)
	for _, id := range l.Band(pieces) {
		b = append(b, digit[id])
	}
	return string(b)
}

// merge returns the last events of all nodes, newest first.
func (a *Asker) merge(nodes []Seen) []Event {
	all := a.noticed.all()
	for _, n := range nodes {
		if n.Node != nil {
			all = append(all, n.Node.Events...)
		}
	}
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Seq, a.Seq)) })
	return all[:min(len(all), maxEvents)]
}

// remember keeps a sample of a node for when it does not answer any more.
func (a *Asker) remember(appid string, s Sample) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.histories[appid]
	if len(h) == 0 || s.At > h[len(h)-1].At {
		a.keep(appid, push(h, s, maxSamples))
	}
}

// keep keeps the history of a node, if it is one of ours: a node that gives itself ever
// new names has but one. The lock is held.
func (a *Asker) keep(appid string, h []Sample) {
	if _, known := a.histories[appid]; known || len(a.histories) <= len(a.peers.Nodes) {
		a.histories[appid] = h
	}
}

// Histories returns the last ten minutes of every node, by APPID; of a node that does not
// answer, what it has said to those who looked. It returns nil when ctx ends before others
// are done.
func (a *Asker) Histories(ctx context.Context) map[string][]Sample {
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return nil
	}
	var mu sync.Mutex
	all := map[string][]Sample{a.self.opts.AppID: a.self.History()}
	var asking sync.WaitGroup
	for _, address := range a.peers.Nodes {
		asking.Go(func() {
			var h history
			if a.ask.getJSON(ctx, address+"/ring/node/history", &h) == nil && h.AppID != "" {
				mu.Lock()
				defer mu.Unlock()
				all[h.AppID] = h.Samples[:min(len(h.Samples), maxSamples)]
			}
		})
	}
	asking.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for appid, samples := range all {
		a.keep(appid, join(a.histories[appid], samples))
	}
	for appid, samples := range a.histories {
		all[appid] = slices.Clone(samples)
	}
	return all
}

// join puts what a node says in place of what it had said, and behind what it does not
// know any more since it has started again.
func join(said, says []Sample) []Sample {
	if len(says) == 0 {
		return said
	}
	before := slices.IndexFunc(said, func(s Sample) bool { return s.At >= says[0].At })
	if before < 0 {
		before = len(said)
	}
	all := slices.Concat(said[:before], says)
	return all[max(0, len(all)-maxSamples):]
}

// A history is what a node answers who is asked for its last ten minutes.
type history struct {
	AppID   string   `json:"appid"`
	Samples []Sample `json:"samples"`
}
