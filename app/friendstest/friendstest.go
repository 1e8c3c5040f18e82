// Package friendstest is the suite that every friends.Store must pass.
package friendstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/protocol"
)

// A World is an empty friends.Store, and nodes that may hear inboxes.
type World interface {
	friends.Store
	// Come makes a node hear a user's inbox, and Go ends that.
	Come(u chat.UserID)
	Go(u chat.UserID)
	// Heard returns the pushes that the inbox has heard since it was asked last.
	Heard(u chat.UserID) []string
}

// node is what the only node of the suite is called.
const node = "chatring:node:1111:suite:1"

var lists = friends.Limits{Max: 4, Pending: 2}

// Test tells what every friends.Store must do, each in a world of its own.
func Test(t *testing.T, newWorld func(t *testing.T) World) {
	for name, tell := range map[string]func(*testing.T, World){
		"both sides change or neither":        bothSidesChange,
		"one of two changes wins":             oneChangeWins,
		"a change that is repeated is done":   repeatedChangeIsDone,
		"lists are bounded":                   listsAreBounded,
		"a full list is silent":               fullListIsSilent,
		"a request reserves a place":          requestReservesPlace,
		"names survive":                       namesSurvive,
		"both hear what changes":              bothHearChanges,
		"friends who are there hear a status": friendsHearStatus,
		"a status is told once":               statusIsToldOnce,
		"away stays until the last one goes":  awayStays,
		"nobody is away who is not there":     awayNeedsInbox,
		"only friends hear":                   onlyFriendsHear,
	} {
		t.Run(name, func(t *testing.T) { tell(t, newWorld(t)) })
	}
}

var nothing = friends.Pair{Mine: friends.None, Theirs: friends.None}

func swap(t *testing.T, w World, a, b chat.UserID, from, to friends.Pair) friends.Pair {
	t.Helper()
	is, err := w.Swap(t.Context(), friends.Change{User: a, Other: b, From: from, To: to, Limits: lists})
	if err != nil {
		t.Fatalf("Swap(%s, %s, %v) = %v", a, b, to, err)
	}
	return is
}

func befriend(t *testing.T, w World, a, b chat.UserID) {
	t.Helper()
	swap(t, w, a, b, nothing, friends.Pair{Mine: friends.Friend, Theirs: friends.Friend})
}

func isPair(t *testing.T, w World, a, b chat.UserID, mine, theirs friends.State) {
	t.Helper()
	p, err := w.Pair(t.Context(), a, b)
	if want := (friends.Pair{Mine: mine, Theirs: theirs}); err != nil || p != want {
		t.Errorf("Pair(%s, %s) = %v, %v, want %v", a, b, p, err, want)
	}
}

// isOwn compares what a user's list says of the user.
func isOwn(t *testing.T, w World, u chat.UserID, want friends.Status) {
	t.Helper()
	if _, own, err := w.List(t.Context(), u); err != nil || own != want {
		t.Errorf("List(%s): own status = %q, %v, want %q", u, own, err, want)
	}
}

// listOf returns a user's list, as "user state status" in the order of users; with
// "seen" if it says when.
func listOf(t *testing.T, w World, u chat.UserID) string {
	t.Helper()
	list, _, err := w.List(t.Context(), u)
	if err != nil {
		t.Fatalf("List(%s) = %v", u, err)
	}
	lines := make([]string, len(list))
	for i, o := range list {
		lines[i] = strings.TrimSpace(fmt.Sprint(o.User, " ", o.State, " ", o.Status))
		if o.LastSeen != 0 {
			lines[i] += " seen"
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

func isList(t *testing.T, w World, u chat.UserID, want string) {
	t.Helper()
	if got := listOf(t, w, u); got != want {
		t.Errorf("%s has the list %q, want %q", u, got, want)
	}
}

func look(t *testing.T, w World, u chat.UserID, here bool) friends.News {
	t.Helper()
	found, err := w.Look(t.Context(), node, []friends.Sight{{User: u, Here: here}})
	if err != nil || len(found) != 1 {
		t.Fatalf("Look(%s) = %v, %v", u, found, err)
	}
	return found[0]
}

// come and leave make a user come or go and a node look at it.
func come(t *testing.T, w World, u chat.UserID) friends.News {
	t.Helper()
	w.Come(u)
	return look(t, w, u, true)
}

func leave(t *testing.T, w World, u chat.UserID) friends.News {
	t.Helper()
	w.Go(u)
	return look(t, w, u, false)
}

func hears(t *testing.T, w World, u chat.UserID, want ...protocol.Friend) {
	t.Helper()
	var pushes []string
	for _, p := range want {
		pushes = append(pushes, string(p.Frame().JSON()))
	}
	if got := w.Heard(u); !slices.Equal(got, pushes) {
		t.Errorf("%s heard %q, want %q", u, got, pushes)
	}
}

func bothSidesChange(t *testing.T, w World) {
	isPair(t, w, "alice", "bob", friends.None, friends.None)
	asked := friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}
	if is := swap(t, w, "alice", "bob", nothing, asked); is != asked {
		t.Errorf("Swap = %v, want %v", is, asked)
	}
	isPair(t, w, "alice", "bob", friends.Requested, friends.Asked)
	isPair(t, w, "bob", "alice", friends.Asked, friends.Requested)

	both := friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	for _, from := range []friends.Pair{nothing, asked, both} { // as bob sees it, each is wrong on one side
		c := friends.Change{User: "bob", Other: "alice", From: from, To: both, Limits: lists}
		if from == both {
			c.To = nothing
		}
		if _, err := w.Swap(t.Context(), c); !errors.Is(err, friends.ErrChanged) {
			t.Errorf("Swap from %v = %v, want ErrChanged", from, err)
		}
	}
	isPair(t, w, "alice", "bob", friends.Requested, friends.Asked)
	isList(t, w, "alice", "bob requested")
	isList(t, w, "bob", "alice asked")

	swap(t, w, "bob", "alice", asked.Turned(), nothing)
	isList(t, w, "alice", "")
	isList(t, w, "bob", "")
}

func oneChangeWins(t *testing.T, w World) {
	to := map[chat.UserID]friends.Pair{
		"alice": {Mine: friends.Blocked, Theirs: friends.None},
		"bob":   {Mine: friends.Requested, Theirs: friends.Asked},
	}
	for range 50 {
		errs := make(chan error, len(to))
		for user, is := range to {
			other := chat.UserID("alice")
			if user == other {
				other = "bob"
			}
			go func() {
				_, err := w.Swap(t.Context(), friends.Change{User: user, Other: other, From: nothing, To: is, Limits: lists})
				errs <- err
			}()
		}
		won, lost := <-errs, <-errs
		if won != nil {
			won, lost = lost, won
		}
		if won != nil || !errors.Is(lost, friends.ErrChanged) {
			t.Fatalf("two changes of one pair = %v and %v, want one and ErrChanged", won, lost)
		}
		is, _ := w.Pair(t.Context(), "alice", "bob")
		if is != to["alice"] && is != to["bob"].Turned() {
			t.Fatalf("the pair is %v, which nobody wanted", is)
		}
		swap(t, w, "alice", "bob", is, nothing)
	}
}

func repeatedChangeIsDone(t *testing.T, w World) {
	w.Come("bob")
	asked := friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}
	for range 3 {
		if is := swap(t, w, "alice", "bob", nothing, asked); is != asked {
			t.Errorf("Swap = %v, want %v", is, asked)
		}
	}
	hears(t, w, "bob", protocol.Friend{User: "alice", State: "asked"})
	for i := range lists.Pending { // it counts once
		_, err := w.Swap(t.Context(), friends.Change{User: "alice", Other: user(i), From: nothing, To: asked, Limits: lists})
		if want := i == lists.Pending-1; errors.Is(err, friends.ErrFullOfRequests) != want {
			t.Errorf("request %d = %v, want it refused: %v", i+2, err, want)
		}
	}
}

func user(i int) chat.UserID { return chat.UserID(fmt.Sprint("user", i)) }

func listsAreBounded(t *testing.T, w World) {
	for _, c := range []struct {
		to   friends.Pair
		most int
		full error
	}{
		{friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}, lists.Max, friends.ErrFullOfFriends},
		{friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}, lists.Pending, friends.ErrFullOfRequests},
		{friends.Pair{Mine: friends.Blocked, Theirs: friends.None}, lists.Max, friends.ErrFullOfBlocked},
	} {
		who := chat.UserID("who-" + c.to.Mine)
		for round := range 2 { // places are free again
			for i := range c.most {
				swap(t, w, who, user(i), nothing, c.to)
			}
			_, err := w.Swap(t.Context(), friends.Change{User: who, Other: "more", From: nothing, To: c.to, Limits: lists})
			if !errors.Is(err, c.full) || !errors.Is(err, friends.ErrFull) {
				t.Errorf("round %d: Swap to %v = %v, want %v", round, c.to, err, c.full)
			}
			isPair(t, w, who, "more", friends.None, friends.None)
			for i := range c.most {
				swap(t, w, who, user(i), c.to, nothing)
			}
		}
	}
}

// A request to somebody who has no place for it looks like any other.
func fullListIsSilent(t *testing.T, w World) {
	w.Come("bob")
	asked := friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}
	for i := range lists.Pending {
		swap(t, w, user(i), "bob", nothing, asked)
	}
	w.Heard("bob")
	if is, want := swap(t, w, "alice", "bob", nothing, asked), (friends.Pair{Mine: friends.Requested, Theirs: friends.None}); is != want {
		t.Errorf("Swap = %v, want %v", is, want)
	}
	isPair(t, w, "alice", "bob", friends.Requested, friends.None)
	isList(t, w, "bob", "user0 asked, user1 asked")
	hears(t, w, "bob")
}

// Requests that are accepted find their places, so nobody learns of a full list.
func requestReservesPlace(t *testing.T, w World) {
	asked := friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}
	both := friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	swap(t, w, "alice", "bob", nothing, asked)
	for i := range lists.Max - 1 {
		befriend(t, w, "alice", user(i))
	}
	_, err := w.Swap(t.Context(), friends.Change{User: "alice", Other: "more", From: nothing, To: asked, Limits: lists})
	if !errors.Is(err, friends.ErrFullOfFriends) {
		t.Errorf("a request beyond = %v, want ErrFullOfFriends", err)
	}
	if is := swap(t, w, "bob", "alice", asked.Turned(), both); is != both {
		t.Errorf("Swap = %v, want %v", is, both)
	}
}

// strange are user ids that are not easily kept, or easily taken for another.
var strange = []chat.UserID{"auth0|5f", "user@example.com", `"quoted"\`, "a/b", "зоя", "=41", "#f", "{x}", "a+b", "😀", chat.UserID(strings.Repeat("|", chat.MaxUser))}

func namesSurvive(t *testing.T, w World) {
	most := friends.Limits{Max: 100, Pending: 100}
	w.Come("alice")
	both := friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	for _, u := range strange {
		if _, err := w.Swap(t.Context(), friends.Change{User: u, Other: "alice", From: nothing, To: both, Limits: most}); err != nil {
			t.Fatalf("Swap(%s) = %v", u, err)
		}
		isList(t, w, u, "alice friend online")
		pushIs(t, w.Heard("alice"), protocol.Friend{User: u, State: "friend", Status: "offline"})
		come(t, w, u)
		pushIs(t, w.Heard("alice"), protocol.Friend{User: u, State: "friend", Status: "online"})
	}
	list, _, err := w.List(t.Context(), "alice")
	if err != nil || len(list) != len(strange) {
		t.Errorf("List = %v, %v, want %d", list, err, len(strange))
	}
	for _, o := range list {
		if !slices.Contains(strange, o.User) || o.Status != "online" {
			t.Errorf("the list has %v", o)
		}
	}
}

// pushIs compares what was heard with one push, however its text is spelled.
func pushIs(t *testing.T, heard []string, want protocol.Friend) {
	t.Helper()
	if len(heard) != 1 {
		t.Fatalf("heard %q, want one push", heard)
	}
	if got := readFriend(t, heard[0]); got != want {
		t.Errorf("heard %v, want %v", got, want)
	}
}

func bothHearChanges(t *testing.T, w World) {
	come(t, w, "alice")
	asked := friends.Pair{Mine: friends.Requested, Theirs: friends.Asked}
	both := friends.Pair{Mine: friends.Friend, Theirs: friends.Friend}
	swap(t, w, "alice", "bob", nothing, asked)
	hears(t, w, "alice", protocol.Friend{User: "bob", State: "requested"})
	come(t, w, "bob")
	swap(t, w, "bob", "alice", asked.Turned(), both)
	hears(t, w, "alice", protocol.Friend{User: "bob", State: "friend", Status: "online"})
	hears(t, w, "bob", protocol.Friend{User: "alice", State: "friend", Status: "online"})
	swap(t, w, "alice", "bob", both, friends.Pair{Mine: friends.Blocked, Theirs: friends.None})
	hears(t, w, "alice", protocol.Friend{User: "bob", State: "blocked"})
	hears(t, w, "bob", protocol.Friend{User: "alice", State: "none"})
	swap(t, w, "bob", "alice", friends.Pair{Mine: friends.None, Theirs: friends.Blocked}, friends.Pair{Mine: friends.Requested, Theirs: friends.Blocked})
	hears(t, w, "alice")
	hears(t, w, "bob", protocol.Friend{User: "alice", State: "requested"})
}

func friendsHearStatus(t *testing.T, w World) {
	for _, other := range []chat.UserID{"bob", "carol", "dave"} {
		befriend(t, w, "alice", other)
	}
	come(t, w, "bob")
	come(t, w, "carol")
	if got, want := come(t, w, "alice"), (friends.News{Changed: true, Told: 2}); got != want {
		t.Errorf("alice comes: %v, want %v", got, want)
	}
	for _, other := range []chat.UserID{"bob", "carol"} {
		hears(t, w, other, protocol.Friend{User: "alice", State: "friend", Status: "online"})
	}
	hears(t, w, "dave")
	isList(t, w, "bob", "alice friend online")
	isList(t, w, "alice", "bob friend online, carol friend online, dave friend offline")

	before := time.Now().Add(-time.Second).UnixMilli()
	if got, want := leave(t, w, "alice"), (friends.News{Changed: true, Told: 2}); got != want {
		t.Errorf("alice goes: %v, want %v", got, want)
	}
	heard := w.Heard("bob")
	if len(heard) != 1 {
		t.Fatalf("bob heard %q", heard)
	}
	p := readFriend(t, heard[0])
	if p.LastSeen < before || p.LastSeen > time.Now().Add(time.Second).UnixMilli() {
		t.Errorf("alice was last seen at %d, before %d", p.LastSeen, before)
	}
	isList(t, w, "bob", "alice friend offline seen")
	list, _, _ := w.List(t.Context(), "dave")
	if want := (protocol.Friend{User: "alice", State: "friend", Status: "offline", LastSeen: p.LastSeen}); len(list) != 1 || list[0] != want {
		t.Errorf("the list of dave is %v, want %v", list, want)
	}
	for _, other := range []chat.UserID{"bob", "carol"} {
		leave(t, w, other)
	}
	if got, want := come(t, w, "alice"), (friends.News{Changed: true}); got != want {
		t.Errorf("alice comes and nobody is there: %v, want %v", got, want)
	}
}

// A user may be on many nodes, come back before anybody looked, or be looked at for
// no reason.
func statusIsToldOnce(t *testing.T, w World) {
	befriend(t, w, "alice", "bob")
	come(t, w, "bob")
	come(t, w, "alice")
	w.Heard("bob")
	for _, step := range []func() friends.News{
		func() friends.News { return look(t, w, "alice", true) },
		func() friends.News { w.Go("alice"); return come(t, w, "alice") },
		func() friends.News { return look(t, w, "alice", false) }, // gone from this node, and on another one
	} {
		if got := step(); got != (friends.News{}) {
			t.Errorf("found %v, want nothing", got)
		}
	}
	hears(t, w, "bob")
	leave(t, w, "alice")
	w.Heard("bob")
	if got := look(t, w, "alice", false); got != (friends.News{}) {
		t.Errorf("gone twice: %v, want nothing", got)
	}
	hears(t, w, "bob")
}

func say(t *testing.T, w World, u chat.UserID, s friends.Status) (told int) {
	t.Helper()
	there, told, err := w.Say(t.Context(), u, s)
	if !there || err != nil {
		t.Fatalf("Say(%s, %s) = %v, %v", u, s, there, err)
	}
	return told
}

func awayStays(t *testing.T, w World) {
	befriend(t, w, "alice", "bob")
	come(t, w, "bob")
	come(t, w, "alice")
	w.Heard("bob")
	away := protocol.Friend{User: "alice", State: "friend", Status: "away"}
	if told := say(t, w, "alice", friends.Away); told != 1 {
		t.Errorf("away is told to %d, want 1", told)
	}
	if told := say(t, w, "alice", friends.Away); told != 0 {
		t.Errorf("away again is told to %d, want 0", told)
	}
	hears(t, w, "bob", away)
	isList(t, w, "bob", "alice friend away")
	isOwn(t, w, "alice", friends.Away) // on a further device

	w.Go("alice") // a page is loaded anew
	come(t, w, "alice")
	hears(t, w, "bob")
	isList(t, w, "bob", "alice friend away")

	if told := say(t, w, "alice", friends.Online); told != 1 {
		t.Errorf("online is told to %d, want 1", told)
	}
	isOwn(t, w, "alice", friends.Online)
	say(t, w, "alice", friends.Away)
	leave(t, w, "alice")
	come(t, w, "alice")
	isList(t, w, "bob", "alice friend online")
}

func awayNeedsInbox(t *testing.T, w World) {
	befriend(t, w, "alice", "bob")
	come(t, w, "bob")
	if there, told, err := w.Say(t.Context(), "alice", friends.Away); there || told != 0 || err != nil {
		t.Errorf("Say = %v, %d, %v, want nobody there", there, told, err)
	}
	w.Heard("bob")
	come(t, w, "alice")
	hears(t, w, "bob", protocol.Friend{User: "alice", State: "friend", Status: "online"})
}

// Whoever is no friend, or not any more, hears and sees nothing.
func onlyFriendsHear(t *testing.T, w World) {
	others := map[chat.UserID]friends.Pair{
		"asks":     {Mine: friends.Asked, Theirs: friends.Requested},
		"is-asked": {Mine: friends.Requested, Theirs: friends.Asked},
		"blocked":  {Mine: friends.Blocked, Theirs: friends.Requested},
		"blocks":   {Mine: friends.Requested, Theirs: friends.Blocked},
		"was":      {Mine: friends.Friend, Theirs: friends.Friend},
	}
	for other, p := range others {
		swap(t, w, "alice", other, nothing, p)
		come(t, w, other)
	}
	swap(t, w, "alice", "was", others["was"], nothing)
	for other := range others {
		w.Heard(other)
	}
	if got, want := come(t, w, "alice"), (friends.News{Changed: true}); got != want {
		t.Errorf("alice comes: %v, want %v", got, want)
	}
	say(t, w, "alice", friends.Away)
	leave(t, w, "alice")
	for other := range others {
		hears(t, w, other)
		if list := listOf(t, w, other); strings.Contains(list, "online") || strings.Contains(list, "offline") {
			t.Errorf("%s sees %q", other, list)
		}
	}
	isList(t, w, "asks", "alice requested")
	isList(t, w, "blocked", "alice requested")
	isList(t, w, "was", "")
}

// readFriend reads a push.
func readFriend(t *testing.T, push string) protocol.Friend {
	t.Helper()
	var p struct {
		Push string
		protocol.Friend
	}
	if err := json.Unmarshal([]byte(push), &p); err != nil || p.Push != "friend" {
		t.Fatalf("heard %q: %v", push, err)
	}
	return p.Friend
}
