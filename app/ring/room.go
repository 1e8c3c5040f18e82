package ring

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Reason is why a room is at home where it is.
type Reason string

const (
	ByHash  Reason = "hash"  // its place on the ring
	Moved   Reason = "moved" // the node at its place is off the ring
	Pinned  Reason = "pinned"
	Unasked Reason = "computed" // as the ring has it; HAProxy does not say
	Nowhere Reason = "nowhere"  // an inbox, or nobody is on the ring
)

// Whereabouts are where a room lives, and why.
type Whereabouts struct {
	Room  chat.RoomID `json:"room"`
	Place uint32      `json:"place"` // on the circle of 2^32
	Hash  string      `json:"hash"`  // the node at that place with all nodes on the ring
	Now   string      `json:"now"`   // the node at that place as the ring is
	// HAProxy is the node that has answered when HAProxy was asked for the room; ""
	// when none did, with the problem.
	HAProxy string      `json:"haproxy"`
	Problem string      `json:"problem"`
	Home    string      `json:"home"` // HAProxy's word, or else Now
	Why     Reason      `json:"why"`
	Split   bool        `json:"split"` // there are members elsewhere
	Serving []Serving   `json:"serving"`
	Silent  []string    `json:"silent"` // nodes that did not say whether they serve it
	Around  []Neighbour `json:"around"` // the nodes' points next to the place, with all nodes on the ring
	Text    string      `json:"text"`   // all of it, in sentences
}

// Serving is what one node has of a room.
type Serving struct {
	AppID string `json:"appid"`
	Local
}

// around is how many points on each side of a room's place are told.
const around = 6

// Find says where a room lives. The error is that of ctx.
func (a *Asker) Find(ctx context.Context, room chat.RoomID) (*Whereabouts, error) {
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := a.find(ctx, room)
	if err == nil && w.Why == Pinned { // or the ring has changed between two questions
		select {
		case <-time.After(2 * fresh):
		case <-ctx.Done():
			return w, nil
		}
		w, err = a.find(ctx, room)
	}
	return w, err
}

func (a *Asker) find(ctx context.Context, room chat.RoomID) (*Whereabouts, error) {
	w := &Whereabouts{Room: room, Place: Place(string(room)), Serving: []Serving{}, Silent: []string{}}
	_, inbox := room.Owner()
	state, err := a.State(ctx)
	if err != nil {
		return nil, err
	}
	var asking sync.WaitGroup
	if !inbox && a.peers.Door != "" {
		asking.Go(func() { w.HAProxy, w.Problem = a.askDoor(ctx, room) })
	}
	var mu sync.Mutex
	for _, n := range state.Nodes {
		if n.Address == "" && n.AppID != state.By {
			continue
		}
		asking.Go(func() {
			l, ok, err := a.local(ctx, n, room)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				w.Silent = append(w.Silent, n.name())
			} else if ok {
				w.Serving = append(w.Serving, Serving{n.AppID, l})
			}
		})
	}
	asking.Wait()
	slices.SortFunc(w.Serving, func(a, b Serving) int { return strings.Compare(a.AppID, b.AppID) })
	slices.Sort(w.Silent)
	w.judge(state, inbox)
	return w, nil
}

// name is what people call a node by.
func (n Seen) name() string {
	if n.AppID == "" {
		return n.Address
	}
	return n.AppID
}

// askDoor asks HAProxy for the room; its home answers.
func (a *Asker) askDoor(ctx context.Context, room chat.RoomID) (home, why string) {
	var answer struct {
		Room  chat.RoomID `json:"room"`
		Shard string      `json:"shard"`
	}
	err := a.ask.getJSON(ctx, a.peers.Door+"/shard/"+string(room), &answer)
	if err == nil && (answer.Room != room || answer.Shard == "") {
		err = errNonsense
	}
	if err != nil {
		return "", problem(err)
	}
	return answer.Shard, ""
}

// local asks a node what it has of a room; ok is false when it does not serve it.
func (a *Asker) local(ctx context.Context, n Seen, room chat.RoomID) (l Local, ok bool, err error) {
	if n.AppID == a.self.opts.AppID {
		l, ok = a.self.opts.Room(room)
		return l, ok, nil
	}
	var answer localAnswer
	if err := a.ask.getJSON(ctx, n.Address+"/ring/node/rooms/"+string(room), &answer); err != nil {
		return l, false, err
	}
	return answer.Local, answer.Serves, nil
}

type localAnswer struct {
	Serves bool `json:"serves"`
	Local
}

// judge says where the room's home is, and why, from what was found.
func (w *Whereabouts) judge(s *State, inbox bool) {
	if inbox {
		w.Why = Nowhere
		w.Text = "An inbox has no home: it is served wherever a socket of its user is. " + w.spread()
		return
	}
	if id, ok := s.layouts.full.Home(w.Place); ok {
		w.Hash = fmt.Sprint(id)
	}
	if id, ok := s.layouts.now.Home(w.Place); ok {
		w.Now = fmt.Sprint(id)
	}
	w.Around = s.layouts.full.Around(w.Place, around)
	w.Home = w.HAProxy
	switch {
	case w.HAProxy == "" && w.Now == "":
		w.Why = Nowhere
		w.Text = "No node is on the ring, so nobody can come. "
	case w.HAProxy == "":
		w.Home, w.Why = w.Now, Unasked
		w.Text = fmt.Sprintf("%s belongs on %s by its hash; HAProxy itself does not say so (%s). ", w.Room, w.Now, cmp.Or(w.Problem, "home.url is not set"))
	case w.HAProxy == w.Hash:
		w.Why = ByHash
		w.Text = fmt.Sprintf("%s is at home on %s: the nearest point of the ring is its. ", w.Room, w.Home)
	case w.HAProxy == w.Now:
		w.Why = Moved
		w.Text = fmt.Sprintf("%s is at home on %s for now: the nearest point of the ring is of %s, %s. ", w.Room, w.Home, w.Hash, s.absence(w.Hash))
	default:
		w.Why = Pinned
		w.Text = fmt.Sprintf("HAProxy sends %s to %s, and its hash names %s: it is pinned in haproxy.cfg, or that is another ring than the one drawn here. ", w.Room, w.Home, w.Hash)
	}
	w.Text += w.spread()
}

// absence says why a node is off the ring.
func (s *State) absence(appid string) string {
	for _, n := range s.Nodes {
		if n.AppID != appid {
			continue
		}
		switch {
		case n.Server != nil && n.Server.Why != "":
			return "which is off the ring: " + n.Server.Why
		case n.Problem != "":
			return "which does not answer: " + n.Problem
		}
	}
	return "which is off the ring"
}

// spread says on which nodes there is somebody in the room, and whether it is split.
func (w *Whereabouts) spread() string {
	var members, watchers []string
	atHome, away := 0, 0
	for _, n := range w.Serving {
		if m := n.Members - n.Watchers; m > 0 {
			members = append(members, fmt.Sprintf("%s (%s)", n.AppID, plural(m, "member")))
			if n.AppID == w.Home {
				atHome = m
			} else {
				away += m
			}
		}
		if n.Watchers > 0 {
			watchers = append(watchers, fmt.Sprintf("%s (%d)", n.AppID, n.Watchers))
		}
	}
	w.Split = len(members) > 1 || away > 0 && w.Home != ""
	var text string
	switch {
	case len(members) == 0 && len(w.Serving) == 0:
		text = "No node has it open."
	case len(members) == 0:
		text = "Nobody is in it."
	case w.Why == Nowhere:
		text = "Somebody is in it on " + list(members) + "."
	case len(members) == 1 && away == 0:
		text = "All of its members are there: " + plural(atHome, "member") + "."
	case len(members) == 1:
		text = "Its members sit elsewhere, on " + list(members) + ", until they are led home."
	default:
		text = "It is split over " + list(members) + ": Redis bridges it, and members are led home."
	}
	if len(watchers) > 0 {
		text += " Watchers, who may sit anywhere: " + list(watchers) + "."
	}
	if len(w.Silent) > 0 {
		text += " Not known of " + list(w.Silent) + ": no answer."
	}
	return text
}

func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
