package clustertest

import (
	"encoding/json"
	"fmt"
	"testing"
)

// Alice writes to bob, and names him in a room that he keeps. He has two devices on
// two nodes and is told on both; what is unread is the same on every node, and what
// he reads on one device he has read on the other. Sent again over another node,
// nothing is told twice.
func TestUnread(t *testing.T) {
	c := Start(t, 3, "CHATRING_DIRECT_FROM=anyone")
	alice := c.Dial(c.Node(1), "/ws/chat/team?user=alice")
	phone := c.Dial(c.Node(2), "/ws/inbox?user=bob")
	laptop := c.Dial(c.Node(3), "/ws/inbox?user=bob")

	phone.does(t, 1, `{"cmd":"read","room":"team","pos":"0-0"}`, nil)
	laptop.Wait("the marker", func(f Frame) bool { return f.Push == "read" && f.Room == "team" && f.Pos == "0-0" })
	var joined, said, named struct{ Room, Pos string }
	alice.does(t, 1, `{"cmd":"join","user":"bob"}`, &joined)
	const direct = `{"cmd":"publish","room":"@alice+bob","key":"d","data":"hi"}`
	const mention = `{"cmd":"publish","room":"team","key":"m","data":"@bob","mentions":["bob","carol"]}`
	alice.does(t, 2, direct, &said)
	alice.does(t, 3, mention, &named)
	for _, device := range []*Client{phone, laptop} {
		device.notice(`{"type":"direct","room":"@alice+bob","pos":"` + said.Pos + `","from":"alice"}`)
		device.notice(`{"type":"mention","room":"team","pos":"` + named.Pos + `","from":"alice"}`)
	}

	again := c.Dial(c.Node(3), "/ws/chat/team?user=alice")
	again.does(t, 1, `{"cmd":"join","room":"@alice+bob"}`, nil)
	again.does(t, 2, direct, nil)
	again.does(t, 3, mention, nil)
	var inbox struct{ Messages []json.RawMessage }
	phone.does(t, 2, `{"cmd":"history","room":"@bob"}`, &inbox)
	if joined.Room != "@alice+bob" || len(inbox.Messages) != 2 {
		t.Errorf("what was said in %s and in the team is in the inbox as %s, want it once", joined.Room, inbox.Messages)
	}

	unread(t, phone, 3, `map[@alice+bob:1 team:1]`)
	unread(t, laptop, 1, `map[@alice+bob:1 team:1]`)
	laptop.does(t, 2, `{"cmd":"read","room":"@alice+bob","pos":"`+said.Pos+`"}`, nil)
	phone.Wait("the marker", func(f Frame) bool { return f.Push == "read" && f.Room == "@alice+bob" && f.Pos == said.Pos })
	unread(t, phone, 4, `map[@alice+bob:0 team:1]`)
	unread(t, alice, 4, `map[@alice+bob:0]`)
	c.noRaces()
}

// does gives a command, which must be answered with ok, and reads the answer.
func (cl *Client) does(t *testing.T, id int, command string, answer any) {
	t.Helper()
	cl.Send(`{"id":%d,%s`, id, command[1:])
	f := cl.Reply(id)
	if f.Error != nil {
		t.Fatalf("%s is answered with %+v", command, *f.Error)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(f.OK, answer); err != nil {
		t.Fatal(err)
	}
}

// notice hears frames until one is a message of an inbox that says so.
func (cl *Client) notice(data string) {
	cl.t.Helper()
	cl.Wait(data, func(f Frame) bool { return f.Push == "message" && string(f.Data) == data })
}

// unread says what somebody's rooms must have that is unread, in the order of their
// names.
func unread(t *testing.T, cl *Client, id int, want string) {
	t.Helper()
	var page struct {
		Rooms []struct {
			Room   string
			Unread int
		}
	}
	cl.does(t, id, `{"cmd":"rooms"}`, &page)
	rooms := map[string]int{}
	for _, r := range page.Rooms {
		rooms[r.Room] = r.Unread
	}
	if got := fmt.Sprint(rooms); got != want {
		t.Errorf("the rooms have %s unread, want %s", got, want)
	}
}
