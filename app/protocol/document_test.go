package protocol_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// docs/protocol.md is true and complete: every line of its JSON is what the
// code decodes or encodes, and everything that the code can say stands in it.
func TestProtocolDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	seen := make(map[string]bool)
	for _, line := range jsonLines(document) {
		t.Run(line, func(t *testing.T) { seen[checkLine(t, line)] = true })
	}
	for _, want := range sayable(t) {
		if !seen[want] {
			t.Errorf("the document shows no %s", want)
		}
	}

	codes, closes := constants(t)
	if got, want := firstCells(document, "## Errors", "`([a-z_]+)`"), codes; !slices.Equal(got, want) {
		t.Errorf("the document's table of errors has %q, the code %q", got, want)
	}
	closes = slices.DeleteFunc(closes, func(code string) bool { return code == "1005" || code == "1006" }) // never on the wire
	if got, want := firstCells(document, "## Close codes", "([0-9]{4})"), closes; !slices.Equal(got, want) {
		t.Errorf("the document's table of close codes has %q, the code %q", got, want)
	}
	for _, limit := range []string{
		fmt.Sprintf("`limit` is %d unless said, and %d at the most", protocol.DefaultHistory, protocol.MaxHistory),
		fmt.Sprintf("A page has %d rooms unless `limit` says otherwise, and %d at the most", protocol.DefaultRooms, protocol.MaxRooms),
		fmt.Sprintf("At most %d,000 users are named", protocol.MaxPresent/1000),
		fmt.Sprintf("up to %d `mentions`", protocol.MaxMentions),
		fmt.Sprintf("`title` has %d bytes at the most, a `topic` %d", protocol.MaxTitle, protocol.MaxTopic),
		fmt.Sprintf("| user | 1 to %d bytes", chat.MaxUser),
		fmt.Sprintf("| key | 1 to %d printable", chat.MaxKey),
		fmt.Sprintf("{0,%d}$`", chat.MaxRoom-1),
		"`Sec-WebSocket-Protocol: " + protocol.Subprotocol + "`",
		protocol.Subprotocol + ", " + protocol.BearerPrefix + "<token>`",
	} {
		if !strings.Contains(document, limit) {
			t.Errorf("the document does not say %q", limit)
		}
	}
}

// jsonLines returns the lines of every JSON block.
func jsonLines(document string) []string {
	var lines []string
	inside := false
	for line := range strings.SplitSeq(document, "\n") {
		switch {
		case line == "```json":
			inside = true
		case line == "```":
			inside = false
		case inside && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}

// checkLine decodes a line as what it is, writes it again with the code's own
// encoders, and returns what it is.
func checkLine(t *testing.T, line string) string {
	t.Helper()
	var kind struct {
		Cmd, Push string
		ID        uint64
		Ok, Error json.RawMessage
	}
	if err := json.Unmarshal([]byte(line), &kind); err != nil {
		t.Fatal(err)
	}
	switch {
	case kind.Cmd != "":
		c, bad := protocol.ParseCommand([]byte(line))
		if bad != nil {
			t.Fatal(bad)
		}
		if call, ok := c.Body.(protocol.Call); ok {
			sameJSON(t, call.Args, []byte(line))
			return "command call"
		}
		sameJSON(t, spell(t, c), []byte(line))
		return "command " + kind.Cmd
	case kind.Push != "":
		sameJSON(t, rewritePush(t, kind.Push, line).JSON(), []byte(line))
		return "push " + kind.Push
	case kind.Ok != nil:
		reply, name := rewriteReply(t, kind.ID, kind.Ok)
		sameJSON(t, reply.JSON(), []byte(line))
		return "reply " + name
	case kind.Error != nil:
		var e protocol.Error
		strict(t, kind.Error, &e)
		sameJSON(t, protocol.Fail(kind.ID, &e).JSON(), []byte(line))
		return "reply Fail"
	}
	t.Fatal("neither a command nor a reply nor a push")
	return ""
}

// spell writes a command as a client would. Nothing of it may have been
// ignored, so this is what was read.
func spell(t *testing.T, c protocol.Command) []byte {
	t.Helper()
	w := map[string]any{"id": c.ID, "cmd": strings.ToLower(reflect.TypeOf(c.Body).Name())}
	if c.Room != "" {
		w["room"] = c.Room
	}
	switch b := c.Body.(type) {
	case protocol.Auth:
		w["token"] = b.Token
	case protocol.Publish:
		w["data"] = json.RawMessage(b.Data)
		if b.Key != "" {
			w["key"] = b.Key
		}
		if b.ReplyTo != nil {
			w["reply_to"] = b.ReplyTo.String()
		}
		if b.Mentions != nil {
			w["mentions"] = b.Mentions
		}
	case protocol.Edit:
		w["pos"], w["key"], w["data"] = b.Pos.String(), b.Key, json.RawMessage(b.Data)
	case protocol.Delete:
		w["pos"], w["key"] = b.Pos.String(), b.Key
	case protocol.Describe:
		d := protocol.ParseDescription(b.Data)
		w["key"], w["title"], w["topic"] = b.Key, d.Title, d.Topic
	case protocol.Signal:
		w["data"] = json.RawMessage(b.Data)
	case protocol.Read:
		w["pos"] = b.Pos.String()
	case protocol.Rooms:
		w["limit"] = b.Limit
		if b.After != "" {
			w["after"] = b.After
		}
	case protocol.Forget:
		if b.Hidden {
			w["hidden"] = true
		}
	case protocol.Join:
		if b.User != "" {
			w["user"] = b.User
		}
		if b.Since != nil {
			w["since"] = b.Since.String()
		}
		if b.Mute {
			w["echo"] = false
		}
		if b.Members {
			w["members"] = true
		}
	case protocol.History:
		if b.Before != nil {
			w["before"] = b.Before.String()
		}
		if b.After != nil {
			w["after"] = b.After.String()
		}
		if b.Limit != protocol.DefaultHistory {
			w["limit"] = b.Limit
		}
	}
	return marshal(t, w)
}

// A wireMessage is a message or a signal as clients decode it.
type wireMessage struct {
	Push    string          `json:"push"`
	Room    chat.RoomID     `json:"room"`
	Pos     string          `json:"pos"`
	From    chat.UserID     `json:"from"`
	Key     string          `json:"key"`
	TS      int64           `json:"ts"`
	About   json.RawMessage `json:"about"`
	Edited  *wireChange     `json:"edited"`
	Deleted *wireChange     `json:"deleted"`
	Data    json.RawMessage `json:"data"`
}

type wireChange struct {
	Pos string      `json:"pos"`
	TS  int64       `json:"ts"`
	By  chat.UserID `json:"by"`
}

func (m wireMessage) frame(t *testing.T) protocol.Frame {
	t.Helper()
	p := chat.Publication{
		Draft:    chat.Draft{Room: m.Room, From: m.From, Key: m.Key, Body: m.Data, About: string(m.About)},
		Position: position(t, m.Pos), At: time.UnixMilli(m.TS),
	}
	about, err := chat.ParseAbout(p.About)
	if err != nil || about.String() != p.About {
		t.Errorf("about %s is written as %s, %v", p.About, about, err)
	}
	switch {
	case m.Edited != nil:
		return protocol.Changed(p, chat.Change{Position: position(t, m.Edited.Pos), At: time.UnixMilli(m.Edited.TS), Body: m.Data})
	case m.Deleted != nil:
		return protocol.Changed(p, chat.Change{Position: position(t, m.Deleted.Pos), At: time.UnixMilli(m.Deleted.TS), Deleted: true, By: m.Deleted.By})
	}
	return protocol.Message(p)
}

func position(t *testing.T, s string) chat.Position {
	t.Helper()
	p, err := chat.ParsePosition(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

func rewritePush(t *testing.T, push, line string) protocol.Frame {
	t.Helper()
	switch push {
	case "message":
		var m wireMessage
		strict(t, []byte(line), &m)
		return m.frame(t)
	case "signal":
		var m wireMessage
		strict(t, []byte(line), &m)
		return protocol.SignalPush(m.Room, m.From, m.Data)
	}
	// The others are structs, which name no push themselves.
	var fields map[string]json.RawMessage
	strict(t, []byte(line), &fields)
	delete(fields, "push")
	body := marshal(t, fields)
	switch push {
	case "hello":
		return rewrite[protocol.Hello](t, body)
	case "joined":
		position(t, rewritten[protocol.Joined](t, body).Pos)
		return rewrite[protocol.Joined](t, body)
	case "left":
		return rewrite[protocol.Left](t, body)
	case "gap":
		g := rewritten[protocol.Gap](t, body)
		if !position(t, g.After).Before(position(t, g.Before)) {
			t.Errorf("a gap from %s to %s", g.After, g.Before)
		}
		return g.Frame()
	case "reset":
		r := rewritten[protocol.Reset](t, body)
		if position(t, r.Lost).Epoch >= position(t, r.Pos).Epoch {
			t.Errorf("a reset from %s to %s", r.Lost, r.Pos)
		}
		return r.Frame()
	case "member":
		if e := rewritten[protocol.Member](t, body).Event; e != protocol.MemberJoin && e != protocol.MemberLeave {
			t.Errorf("event %s", e)
		}
		return rewrite[protocol.Member](t, body)
	case "read":
		position(t, rewritten[protocol.ReadUpTo](t, body).Pos)
		return rewrite[protocol.ReadUpTo](t, body)
	case "drain":
		return rewrite[protocol.Drain](t, body)
	case "friend":
		return rewrite[protocol.Friend](t, body)
	case "announcement":
		return rewrite[protocol.Announcement](t, body)
	}
	t.Fatalf("push %s is not known", push)
	return protocol.Frame{}
}

func rewritten[T any](t *testing.T, body []byte) (v T) {
	t.Helper()
	strict(t, body, &v)
	return v
}

func rewrite[T interface{ Frame() protocol.Frame }](t *testing.T, body []byte) protocol.Frame {
	t.Helper()
	return rewritten[T](t, body).Frame()
}

func rewriteReply(t *testing.T, id uint64, ok json.RawMessage) (reply protocol.Frame, name string) {
	t.Helper()
	var fields map[string]json.RawMessage
	strict(t, ok, &fields)
	has := func(name string) bool { _, ok := fields[name]; return ok }
	switch {
	case len(fields) == 0:
		return protocol.Ok(id), "Ok"
	case has("messages"):
		var h struct {
			Messages []wireMessage `json:"messages"`
			More     bool          `json:"more"`
		}
		strict(t, ok, &h)
		frames := make([]protocol.Frame, len(h.Messages))
		for i, m := range h.Messages {
			frames[i] = m.frame(t)
		}
		return protocol.OkHistory(new([]byte), id, frames, h.More), "OkHistory"
	case has("rooms"):
		page := rewritten[protocol.RoomPage](t, ok)
		for _, row := range page.Rooms {
			if position(t, row.Pos); position(t, row.Read).Before(position(t, row.Pos)) != (row.Unread > 0) {
				t.Errorf("%s has %d unread", row.Room, row.Unread)
			}
		}
		return protocol.OkRooms(id, page), "OkRooms"
	case has("users"):
		return protocol.OkPresent(id, rewritten[protocol.Present](t, ok)), "OkPresent"
	}
	if has("expires_in_ms") {
		var a struct {
			ExpiresInMS int64 `json:"expires_in_ms"`
		}
		strict(t, ok, &a)
		return protocol.OkAuth(id, a.ExpiresInMS), "OkAuth"
	}
	if !has("pos") {
		return protocol.OkJSON(id, ok), "OkJSON"
	}
	var at struct {
		Room chat.RoomID `json:"room"`
		Pos  string      `json:"pos"`
	}
	strict(t, ok, &at)
	if at.Room != "" {
		return protocol.OkJoined(id, at.Room, position(t, at.Pos)), "OkJoined"
	}
	return protocol.OkAt(id, position(t, at.Pos)), "OkAt"
}

// sources are the package's files.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	return files
}

// sayable returns everything that can stand on the wire, as the code has it:
// each type with a method body is a command, each name of a push stands in a
// literal, each Ok… and Fail is a reply.
func sayable(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, f := range sources(t) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			switch {
			case ok && fn.Name.Name == "body" && fn.Recv != nil:
				all = append(all, "command "+strings.ToLower(fn.Recv.List[0].Type.(*ast.Ident).Name))
			case ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Ok") || fn.Name.Name == "Fail"):
				all = append(all, "reply "+fn.Name.Name)
			}
		}
	}
	source, err := os.ReadFile("push.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`push\("(\w+)"|\{"push":"(\w+)"`).FindAllSubmatch(source, -1) {
		all = append(all, "push "+string(m[1])+string(m[2]))
	}
	if len(all) < 9+8+5 {
		t.Errorf("found only %q in the code", all)
	}
	return all
}

// constants returns the codes of errors and of closes, sorted.
func constants(t *testing.T) (codes, closes []string) {
	t.Helper()
	for _, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || v.Type == nil || len(v.Values) != 1 {
				return true
			}
			value, _ := v.Values[0].(*ast.BasicLit)
			switch name, _ := v.Type.(*ast.Ident); {
			case name == nil || value == nil:
			case name.Name == "Code":
				code, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Error(err)
				}
				codes = append(codes, code)
			case name.Name == "CloseCode":
				closes = append(closes, value.Value)
			}
			return true
		})
	}
	slices.Sort(codes)
	slices.Sort(closes)
	return codes, closes
}

// firstCells returns what matches in the first cells of the table under a
// heading, sorted, each once.
func firstCells(document, heading, pattern string) []string {
	_, section, _ := strings.Cut(document, "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	found := make(map[string]bool)
	for line := range strings.SplitSeq(section, "\n") {
		if cell, ok := strings.CutPrefix(line, "| "); ok {
			cell, _, _ = strings.Cut(cell, " |")
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(cell, -1) {
				found[m[1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
