package protocol_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// An asyncAPI is docs/asyncapi.yaml. Its schemas are read twice: as they stand, and
// closed, when a field that the document does not name is a mistake.
type asyncAPI struct {
	root         map[string]any
	open, closed *jsonschema.Compiler
}

// readAsyncAPI reads the document, once.
func readAsyncAPI(t *testing.T) *asyncAPI {
	t.Helper()
	d, err := loadAsyncAPI()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var loadAsyncAPI = sync.OnceValues(func() (*asyncAPI, error) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "asyncapi.yaml"))
	if err != nil {
		return nil, err
	}
	d := &asyncAPI{open: jsonschema.NewCompiler(), closed: jsonschema.NewCompiler()}
	if d.root, err = parse(text); err != nil {
		return nil, err
	}
	closed, err := parse(text)
	if err != nil {
		return nil, err
	}
	closeObjects(closed["components"])
	return d, errors.Join(d.open.AddResource("asyncapi.json", d.root), d.closed.AddResource("asyncapi.json", closed))
})

// parse reads YAML as the validator reads JSON.
func parse(text []byte) (root map[string]any, err error) {
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	j, err := json.Marshal(root)
	if err != nil {
		return nil, err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	root, _ = v.(map[string]any)
	return root, err
}

// value reads JSON as the validator wants it.
func value(t *testing.T, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// closeObjects makes every schema of an object refuse fields that it does not name.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, said := v["additionalProperties"]; v["type"] == "object" && !said {
			v["additionalProperties"] = false
		}
		for key, child := range v {
			if key != "examples" {
				closeObjects(child)
			}
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// at returns what stands under the keys; nil: nothing.
func (d *asyncAPI) at(keys ...string) any {
	var v any = d.root
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

func (d *asyncAPI) object(keys ...string) map[string]any {
	object, _ := d.at(keys...).(map[string]any)
	return object
}

func (d *asyncAPI) list(keys ...string) []any {
	list, _ := d.at(keys...).([]any)
	return list
}

// follow returns what v refers to, if it is a reference.
func (d *asyncAPI) follow(v any) any {
	for {
		object, _ := v.(map[string]any)
		pointer, ok := object["$ref"].(string)
		if !ok {
			return v
		}
		v = d.at(strings.Split(strings.TrimPrefix(pointer, "#/"), "/")...)
	}
}

// validate says what is wrong with a message, if anything is.
func validate(c *jsonschema.Compiler, message string, v any) error {
	s, err := c.Compile("asyncapi.json#/components/messages/" + message + "/payload")
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// messages returns the names of all messages that are no collection, sorted: of
// commands, of replies without the error, and of pushes.
func (d *asyncAPI) messages() (commands, replies, pushes []string) {
	for _, name := range slices.Sorted(maps.Keys(d.object("components", "messages"))) {
		switch {
		case slices.Contains([]string{"command", "reply", "push", "error"}, name):
		case strings.HasPrefix(name, "push."):
			pushes = append(pushes, name)
		case name == "ok" || strings.HasPrefix(name, "ok."):
			replies = append(replies, name)
		default:
			commands = append(commands, name)
		}
	}
	return commands, replies, pushes
}

// errors returns the codes with which a command may fail, by what the operation and
// its traits say, sorted; the operation of a command has its name.
func (d *asyncAPI) errors(command string) []string {
	codes := maps.Clone(d.object("operations", command, "x-errors"))
	if codes == nil {
		codes = map[string]any{}
	}
	for _, trait := range d.list("operations", command, "traits") {
		if trait, ok := d.follow(trait).(map[string]any); ok {
			more, _ := trait["x-errors"].(map[string]any)
			maps.Copy(codes, more)
		}
	}
	return slices.Sorted(maps.Keys(codes))
}

// replies returns the messages that answer a command.
func (d *asyncAPI) replies(command string) []string {
	return lastNames(d.list("operations", command, "reply", "messages"))
}

// lastNames returns the last word of each reference.
func lastNames(references []any) (names []string) {
	for _, r := range references {
		reference, _ := r.(map[string]any)
		pointer, _ := reference["$ref"].(string)
		pointer = strings.TrimSuffix(pointer, "/payload")
		names = append(names, pointer[strings.LastIndex(pointer, "/")+1:])
	}
	return names
}

// same compares what the document has with what there is.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s in the document\n got %q\nwant %q", what, got, want)
	}
}

// Every command, reply, push, error code and close code of the code is in the
// document, and no others.
func TestAsyncAPIIsComplete(t *testing.T) {
	d := readAsyncAPI(t)
	var commands, replies, pushes []string
	for _, s := range sayable(t) {
		switch kind, name, _ := strings.Cut(s, " "); {
		case s == "command call" || s == "reply OkJSON" || s == "reply Fail":
		case kind == "command":
			commands = append(commands, name)
		case kind == "push":
			pushes = append(pushes, "push."+name)
		default:
			rest := strings.ToLower(strings.TrimPrefix(name, "Ok"))
			replies = append(replies, strings.TrimSuffix("ok."+rest, "."))
		}
	}
	ofModule := func(name string) bool { return strings.Contains(strings.TrimPrefix(name, "ok."), ".") }
	documented, answers, said := d.messages()
	same(t, "commands", slices.DeleteFunc(slices.Clone(documented), ofModule), commands)
	same(t, "replies", slices.DeleteFunc(slices.Clone(answers), ofModule), replies)
	same(t, "pushes", said, pushes)

	same(t, `choices of "command"`, lastNames(d.list("components", "messages", "command", "payload", "oneOf")), documented)
	same(t, `choices of "reply"`, lastNames(d.list("components", "messages", "reply", "payload", "anyOf")), append(answers, "error"))
	same(t, `choices of "push"`, lastNames(d.list("components", "messages", "push", "payload", "oneOf")), said)
	same(t, "messages of the operation push", lastNames(d.list("operations", "push", "messages")), said)
	answered := map[string]bool{}
	for _, command := range documented {
		same(t, "messages of the operation "+command, lastNames(d.list("operations", command, "messages")), []string{command})
		for _, reply := range d.replies(command) {
			answered[reply] = true
		}
	}
	same(t, "replies of all operations", slices.Collect(maps.Keys(answered)), append(answers, "error"))

	codes, closes := constants(t)
	var declared, explained []string
	for _, choice := range d.list("components", "schemas", "code", "oneOf") {
		declared = append(declared, fmt.Sprint(choice.(map[string]any)["const"]))
	}
	for _, command := range documented {
		explained = append(explained, d.errors(command)...)
	}
	slices.Sort(explained)
	same(t, "error codes", declared, codes)
	same(t, "error codes of all operations", slices.Compact(explained), codes)

	closes = slices.DeleteFunc(closes, func(code string) bool { return code == "1005" || code == "1006" }) // never on the wire
	var closed []string
	for _, c := range d.list("x-close-codes") {
		row := c.(map[string]any)
		code := fmt.Sprint(row["code"])
		closed = append(closed, code)
		comesBack := slices.Contains([]string{"1001", "1011", "1012", "1013"}, code) || "4000" <= code && code < "4500"
		if (row["then"] == "come back") != comesBack {
			t.Errorf("after %s a client is told to %s", code, row["then"])
		}
	}
	same(t, "close codes", closed, closes)
}

// What the nodes themselves say in inboxes is a notice of the document, which has no
// other ones but those of services.
func TestAsyncAPIHasTheNotices(t *testing.T) {
	d := readAsyncAPI(t)
	seen := map[string]bool{"notification": true}
	check := func(data []byte) {
		inbox := chat.Draft{Room: "@alice", From: "bob", Key: "k", Body: data}
		if err := validate(d.closed, "push.message", value(t, protocol.Message(chat.Publication{Draft: inbox}).JSON())); err != nil {
			t.Errorf("%s: %v", data, err)
		}
		notice, _ := value(t, data).(map[string]any)
		seen[fmt.Sprint(notice["type"])] = true
	}
	source, err := os.ReadFile("notice.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`NoticeType = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		check(protocol.Notice{Type: protocol.NoticeType(m[1]), Room: "@alice+bob", Pos: "1-2", From: "bob"}.Data())
	}
	for _, draft := range befriended(t) {
		check(draft.Body)
	}

	var types []string
	for _, choice := range d.list("components", "schemas", "notice", "oneOf") {
		of := choice.(map[string]any)["properties"].(map[string]any)["type"].(map[string]any)
		words, _ := of["enum"].([]any)
		if of["const"] != nil {
			words = append(words, of["const"])
		}
		for _, word := range words {
			types = append(types, fmt.Sprint(word))
		}
	}
	same(t, "types of notices", types, slices.Collect(maps.Keys(seen)))
}

// befriended returns what two users find in their inboxes who have become friends.
func befriended(t *testing.T) (drafts []chat.Draft) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.NewFriends(func(chat.RoomID) int { return 1 }, func(chat.RoomID, protocol.Frame) {})
		posted := make(postbox, 9)
		f := friends.New(store, posted, alone{}, friends.Options{Limits: friends.Limits{Max: 9, Pending: 9}}, &counters.Friends)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		for _, c := range []struct{ user, verb, args string }{{"alice", "request", `{"user":"bob"}`}, {"bob", "accept", `{"user":"alice"}`}} {
			if _, err := f.Do(ctx, session.Caller{User: chat.UserID(c.user)}, c.verb, []byte(c.args)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(posted)
		for d := range posted {
			drafts = append(drafts, d)
		}
	})
	return drafts
}

// A postbox keeps what is posted. It implements friends.Poster.
type postbox chan chat.Draft

func (p postbox) Post(_ context.Context, d chat.Draft) (chat.Publication, error) {
	p <- d
	return chat.Publication{Draft: d}, nil
}

// alone is a node that others do not hear of. It implements friends.Bridge.
type alone struct{}

func (alone) Channel() string        { return "" }
func (alone) Hears(chat.RoomID) bool { return false }

// What an object may have and must have is what the code writes and reads.
func TestAsyncAPIHasTheFieldsOfTheCode(t *testing.T) {
	d := readAsyncAPI(t)
	frames := map[string][]protocol.Frame{
		"ok":                {protocol.Ok(1)},
		"ok.at":             {protocol.OkAt(1, chat.Position{})},
		"ok.joined":         {protocol.OkJoined(1, "@alice+bob", chat.Position{})},
		"ok.rooms":          {protocol.OkRooms(1, full[protocol.RoomPage]()), protocol.OkRooms(1, protocol.RoomPage{Rooms: make([]protocol.RoomRow, 1)})},
		"ok.auth":           {protocol.OkAuth(1, 1)},
		"ok.history":        {protocol.OkHistory(new([]byte), 1, messages(), true)},
		"ok.present":        {protocol.OkPresent(1, full[protocol.Present]()), protocol.OkPresent(1, protocol.Present{})},
		"error":             {protocol.Fail(1, new(full[protocol.Error]())), protocol.Fail(0, &protocol.Error{})},
		"push.hello":        fullAndBare[protocol.Hello](),
		"push.joined":       fullAndBare[protocol.Joined](),
		"push.left":         fullAndBare[protocol.Left](),
		"push.message":      messages(),
		"push.signal":       {protocol.SignalPush("lobby", "bob", []byte("1"))},
		"push.member":       fullAndBare[protocol.Member](),
		"push.gap":          fullAndBare[protocol.Gap](),
		"push.reset":        fullAndBare[protocol.Reset](),
		"push.read":         fullAndBare[protocol.ReadUpTo](),
		"push.friend":       fullAndBare[protocol.Friend](),
		"push.drain":        fullAndBare[protocol.Drain](),
		"push.announcement": fullAndBare[protocol.Announcement](),
	}
	commands, replies, pushes := d.messages()
	for _, name := range slices.Concat(replies, pushes, []string{"error"}) {
		if strings.Count(name, ".") > 1 {
			continue // a module's answer
		}
		if frames[name] == nil {
			t.Errorf("there is no %s to compare with", name)
		}
		var values []any
		for _, f := range frames[name] {
			values = append(values, value(t, f.JSON()))
		}
		d.sameFields(t, name, d.at("components", "messages", name, "payload"), values)
	}

	fields := map[string]bool{}
	for _, command := range commands {
		for field := range d.object("components", "messages", command, "payload", "properties") {
			if !strings.Contains(command, ".") {
				fields[field] = true
			}
		}
	}
	same(t, "fields of commands", slices.Collect(maps.Keys(fields)), commandFields(t))
}

// messages are message pushes of every form.
func messages() (all []protocol.Frame) {
	p := chat.Publication{Draft: chat.Draft{Room: "lobby", From: "alice", Key: "k", Body: []byte("1")}}
	all = append(all, protocol.Message(p), protocol.Changed(p, chat.Change{Body: p.Body}), protocol.Changed(p, chat.Change{Deleted: true}))
	target := new(p.Target())
	for _, about := range []chat.About{{Edits: target}, {Deletes: target}, {Describes: true}, {ReplyTo: target}, {Mentions: []chat.UserID{"bob"}}} {
		p.About = about.String()
		all = append(all, protocol.Message(p))
	}
	return all
}

// sameFields compares a schema with what the code has written, at its fullest and
// its barest.
func (d *asyncAPI) sameFields(t *testing.T, where string, schema any, values []any) {
	t.Helper()
	s, _ := d.follow(schema).(map[string]any)
	if items, ok := s["items"]; ok {
		var inside []any
		for _, v := range values {
			list, _ := v.([]any)
			inside = append(inside, list...)
		}
		d.sameFields(t, where+"[]", items, inside)
		return
	}
	if s["type"] != "object" || len(values) == 0 {
		return
	}
	count, inside := map[string]int{}, map[string][]any{}
	objects := 0
	for _, v := range values {
		object, ok := v.(map[string]any)
		if !ok {
			continue // null, when it is bare
		}
		objects++
		for field, v := range object {
			count[field]++
			inside[field] = append(inside[field], v)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	same(t, where+": fields", slices.Collect(maps.Keys(properties)), slices.Collect(maps.Keys(count)))
	var required []string
	list, _ := s["required"].([]any)
	for _, field := range list {
		required = append(required, fmt.Sprint(field))
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n < objects })
	same(t, where+": required fields", required, slices.Collect(maps.Keys(count)))
	for field, values := range inside {
		d.sameFields(t, where+"."+field, properties[field], values)
	}
}

// fullAndBare returns a push with every field set, and one with none.
func fullAndBare[T interface{ Frame() protocol.Frame }]() []protocol.Frame {
	var bare T
	return []protocol.Frame{full[T]().Frame(), bare.Frame()}
}

// full returns a value of which no field is empty.
func full[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem())
	return v
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("1")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte("1"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// commandFields are the names of all fields that ParseCommand reads.
func commandFields(t *testing.T) (fields []string) {
	t.Helper()
	source, err := os.ReadFile("command.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "type wireCommand struct {")
	rest, _, _ = strings.Cut(rest, "\n}")
	for _, m := range regexp.MustCompile("`json:\"(\\w+)\"`").FindAllStringSubmatch(rest, -1) {
		fields = append(fields, m[1])
	}
	return fields
}

// The document's limits are the code's.
func TestAsyncAPIHasTheLimitsOfTheCode(t *testing.T) {
	d := readAsyncAPI(t)
	for _, c := range []struct {
		path string
		want any
	}{
		{"components.schemas.user.maxLength", chat.MaxUser},
		{"components.schemas.key.pattern", fmt.Sprintf("^[!-~]{1,%d}$", chat.MaxKey)},
		{"components.schemas.mentions.maxItems", protocol.MaxMentions},
		{"components.schemas.title.maxLength", protocol.MaxTitle},
		{"components.schemas.topic.maxLength", protocol.MaxTopic},
		{"components.messages.history.payload.properties.limit.default", protocol.DefaultHistory},
		{"components.messages.history.payload.properties.limit.description", fmt.Sprintf("A number above %d counts as %[1]d.", protocol.MaxHistory)},
		{"components.messages.rooms.payload.properties.limit.default", protocol.DefaultRooms},
		{"components.messages.rooms.payload.properties.limit.description", fmt.Sprintf("A number above %d counts as %[1]d.", protocol.MaxRooms)},
	} {
		if got := d.at(strings.Split(c.path, ".")...); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s is %v, want %v", c.path, got, c.want)
		}
	}
	for path, want := range map[string]int{
		"ok.history messages": protocol.MaxHistory,
		"ok.present users":    protocol.MaxPresent,
		"ok.rooms rooms":      protocol.MaxRooms,
	} {
		message, field, _ := strings.Cut(path, " ")
		if got := d.at("components", "messages", message, "payload", "properties", "ok", "properties", field, "maxItems"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: at most %v, want %d", path, got, want)
		}
	}
	headers := d.object("components", "schemas", "handshakeHeaders", "properties", "Sec-WebSocket-Protocol")
	for _, word := range []string{"`" + protocol.Subprotocol + "`", "`" + protocol.BearerPrefix + "`"} {
		if !strings.Contains(fmt.Sprint(headers["description"]), word) {
			t.Errorf("the subprotocol's description lacks %s", word)
		}
	}
}

// What the document takes for a command, ParseCommand takes for one, and the other
// way round; and its error is one that the document lists.
func TestAsyncAPIRefusesWhatTheCodeRefuses(t *testing.T) {
	d := readAsyncAPI(t)
	commands, _, _ := d.messages()
	for _, command := range commands {
		for frame := range d.variants(t, command) {
			d.sameVerdict(t, command, frame)
		}
	}
}

// variants are the examples of a command with one field missing, or another value.
func (d *asyncAPI) variants(t *testing.T, command string) iter.Seq[[]byte] {
	t.Helper()
	values := []any{
		absent, "", "a b", "1-2", "lobby", "@alice+bob", "@bob+", "none", "asked", "online", "away", "offline",
		true, -1, 0, 1, 1000,
		[]string{},
		[]int{1},
		[]string{"bob", "carol"},
		[]string{"bob", "bob"},
		map[string]any{},
	}
	return func(yield func([]byte) bool) {
		for _, example := range d.list("components", "messages", command, "examples") {
			payload, _ := example.(map[string]any)["payload"].(map[string]any)
			for field := range d.object("components", "messages", command, "payload", "properties") {
				for _, v := range values {
					if field == "cmd" || field == "room" && v == "" {
						continue // another command; read as if it were absent, which some commands allow
					}
					variant := maps.Clone(payload)
					variant[field] = v
					if v == absent {
						delete(variant, field)
					}
					if !yield(marshal(t, variant)) {
						return
					}
				}
			}
		}
	}
}

// absent stands for a field that is not there.
const absent = "absent"

func (d *asyncAPI) sameVerdict(t *testing.T, command string, frame []byte) {
	t.Helper()
	wrong := validate(d.open, command, value(t, frame))
	c, refused := protocol.ParseCommand(frame)
	if call, ok := c.Body.(protocol.Call); ok {
		refused = d.call(t, modules(9, 1)[call.Module], c.ID, call)
	}
	if refused != nil && !slices.Contains(d.errors(command), string(refused.Code)) {
		t.Errorf("%s: %s is not among the errors of %s", frame, refused.Code, command)
	}
	if refused != nil && refused.Code == protocol.NoRequest {
		refused = nil // a command, though not for this moment
	}
	if (wrong == nil) != (refused == nil) {
		t.Errorf("%s: the document says %v, the code %v", frame, wrong, refused)
	}
}

var counters = metrics.New("1111", "test")

// modules are those that the document describes, as good as new, with lists of so
// much place, on so many nodes that hear each inbox.
func modules(place, nodes int) map[string]session.Module {
	store := memstore.NewFriends(func(chat.RoomID) int { return nodes }, func(chat.RoomID, protocol.Frame) {})
	options := friends.Options{Limits: friends.Limits{Max: place, Pending: place}}
	return map[string]session.Module{
		friends.Name: friends.New(store, nil, nil, options, &counters.Friends),
	}
}

// call asks a module, whose answer must be the one of the document.
func (d *asyncAPI) call(t *testing.T, m session.Module, id uint64, c protocol.Call) *protocol.Error {
	t.Helper()
	reply, err := m.Do(t.Context(), session.Caller{User: "alice"}, c.Verb, c.Args)
	var refused *protocol.Error
	if errors.As(err, &refused) {
		return refused
	}
	frame := protocol.OkJSON(id, marshal(t, reply))
	if err := errors.Join(err, d.answers(c.Module+"."+c.Verb, value(t, frame.JSON()))); err != nil {
		t.Errorf("%s: %v", c.Args, err)
	}
	return nil
}

// answers says what is wrong with a reply to a command, if anything is: it must be
// one of those that the operation has, and no other.
func (d *asyncAPI) answers(command string, reply any) error {
	var is []string
	var not []error
	for _, name := range d.replies(command) {
		if err := validate(d.open, name, reply); err != nil {
			not = append(not, err)
		} else {
			is = append(is, name)
		}
	}
	if len(is) != 1 {
		return fmt.Errorf("of the replies of %s it is %q: %w", command, is, errors.Join(not...))
	}
	return validate(d.closed, is[0], reply)
}

// The verbs of each module are in the document, and no others.
func TestAsyncAPIHasTheVerbsOfModules(t *testing.T) {
	d := readAsyncAPI(t)
	var got, want []string
	commands, _, _ := d.messages()
	for _, command := range commands {
		if strings.Contains(command, ".") {
			got = append(got, command)
		}
	}
	for name, module := range modules(9, 1) {
		_, err := module.Do(t.Context(), session.Caller{User: "alice"}, "nonsense", []byte("{}"))
		if err == nil {
			t.Fatalf("%s knows nonsense", name)
		}
		_, list, _ := strings.Cut(err.Error(), " are ")
		for verb := range strings.SplitSeq(strings.Replace(list, " and ", ", ", 1), ", ") {
			want = append(want, name+"."+verb)
		}
	}
	same(t, "commands of modules", got, want)
}

// A command of a module fails with the errors that its operation names, and no
// others, whatever has been before: here with friends whose lists are empty, full,
// or far away, who have asked, and who are blocked.
func TestAsyncAPIHasTheErrorsOfModules(t *testing.T) {
	d := readAsyncAPI(t)
	type step struct{ user, verb, args string }
	moments := []struct {
		place, nodes int
		before       []step
	}{
		{9, 1, nil},
		{0, 1, nil},
		{9, 0, nil},
		{9, 1, []step{{"alice", "block", `{"user":"bob"}`}}},
		{1, 1, []step{{"bob", "request", `{"user":"alice"}`}, {"alice", "request", `{"user":"dave"}`}}},
	}
	commands, _, _ := d.messages()
	for _, command := range commands {
		name, verb, ofModule := strings.Cut(command, ".")
		if !ofModule {
			continue
		}
		seen := map[string]bool{}
		for _, moment := range moments {
			examples := d.list("components", "messages", command, "examples")
			frames := [][]byte{[]byte(`{"id":1,"user":1,"state":1,"status":1}`)}
			for _, example := range examples {
				frames = append(frames, marshal(t, example.(map[string]any)["payload"]))
			}
			for _, frame := range frames {
				module := modules(moment.place, moment.nodes)[name]
				for _, s := range moment.before {
					_, _ = module.Do(t.Context(), session.Caller{User: chat.UserID(s.user)}, s.verb, []byte(s.args)) // a full list is a moment, too
				}
				if refused := d.call(t, module, 1, protocol.Call{Module: name, Verb: verb, Args: frame}); refused != nil {
					seen[string(refused.Code)] = true
				}
			}
		}
		same(t, "errors of "+command, slices.Collect(maps.Keys(d.object("operations", command, "x-errors"))), slices.Collect(maps.Keys(seen)))
	}
}

// Whatever stands in the documents and whatever clients hear in the transcripts is a
// message of the document: each reply one of its command's, each error one that its
// command may have.
func TestAsyncAPIDescribesWhatIsSaid(t *testing.T) {
	d := readAsyncAPI(t)
	normative, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(normative), "```json\n")
	for i, block := range blocks[1:] {
		block, _, _ = strings.Cut(block, "\n```")
		t.Run(fmt.Sprintf("protocol.md/%d", i+1), func(t *testing.T) {
			talk := conversation{t: t, document: d, asked: map[string]string{}}
			for line := range strings.Lines(block) {
				if strings.Contains(line, `"cmd":`) {
					talk.command("", line)
					talk.taken("", line)
				} else {
					talk.heard("", line)
				}
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("..", "chattest", "testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts (%v)", err)
	}
	for _, file := range append(files, filepath.Join("..", "..", "README.md")) {
		transcript, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			talk := conversation{t: t, document: d, asked: map[string]string{}}
			for line := range strings.Lines(string(transcript)) {
				if m := givenLine.FindStringSubmatch(line); m != nil {
					talk.command(m[1], m[2])
				} else if m := heardLine.FindStringSubmatch(line); m != nil {
					talk.heard(m[1], m[2])
				}
			}
		})
	}
}

var (
	givenLine = regexp.MustCompile(`^> (?:(\S+) )?(\{.*)`)
	heardLine = regexp.MustCompile(`^(?:(\S+) )?< (\{.*)`)
)

// A conversation is what clients say and hear.
type conversation struct {
	t        *testing.T
	document *asyncAPI
	asked    map[string]string // the last command under an id of a client
}

func (c *conversation) command(client, frame string) {
	var head struct{ ID uint64 }
	if json.Unmarshal([]byte(frame), &head) == nil {
		c.asked[fmt.Sprint(client, head.ID)] = frame
	}
}

// taken is a command that is carried out.
func (c *conversation) taken(client, frame string) {
	c.t.Helper()
	if err := validate(c.document.closed, cmd(frame), value(c.t, []byte(frame))); err != nil {
		c.t.Errorf("%s < %s: %v", client, frame, err)
	}
}

// cmd returns the name of a command.
func cmd(frame string) string {
	var head struct{ Cmd string }
	_ = json.Unmarshal([]byte(frame), &head) // else it has none
	return head.Cmd
}

func (c *conversation) heard(client, frame string) {
	c.t.Helper()
	var head struct {
		Push  string
		ID    uint64
		Error *protocol.Error
	}
	if err := json.Unmarshal([]byte(frame), &head); err != nil {
		c.t.Fatalf("%s: %v", frame, err)
	}
	question := c.asked[fmt.Sprint(client, head.ID)]
	command := cmd(question)
	var wrong error
	switch v := value(c.t, []byte(frame)); {
	case head.Push != "":
		wrong = validate(c.document.closed, "push."+head.Push, v)
	case head.Error != nil:
		wrong = validate(c.document.closed, "error", v)
		known := c.document.at("operations", command) != nil
		if may := c.document.errors(command); known && !slices.Contains(may, string(head.Error.Code)) {
			c.t.Errorf("%s is not among the errors of %s, %q", head.Error.Code, command, may)
		}
		if !known && question != "" && head.Error.Code != protocol.UnknownCommand {
			c.t.Errorf("%s: there is no operation %s", question, command)
		}
	case question == "":
		c.t.Errorf("%s: a reply to nothing", frame)
	default:
		c.taken(client, question)
		wrong = c.document.answers(command, v)
	}
	if wrong != nil {
		c.t.Errorf("%s < %s: %v", client, frame, wrong)
	}
}

// The answers that refuse a socket are those of docs/protocol.md, and the addresses
// and what they ask for are the gateway's.
func TestAsyncAPIDescribesTheDoor(t *testing.T) {
	d := readAsyncAPI(t)
	normative, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	var statuses, codes []string
	for _, r := range d.list("x-refusals") {
		row := r.(map[string]any)
		statuses = append(statuses, fmt.Sprint(row["status"]))
		for _, code := range row["codes"].([]any) {
			codes = append(codes, fmt.Sprint(code))
		}
	}
	slices.Sort(codes)
	same(t, "statuses of refusals", statuses, firstCells(string(normative), "## Connect", "([0-9]{3})"))
	_, list, _ := strings.Cut(string(normative), "as well (codes:")
	list, _, _ = strings.Cut(list, ")")
	var want []string
	for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(list, -1) {
		want = append(want, m[1])
	}
	same(t, "codes of refusals", slices.Compact(codes), want)

	var addresses []string
	for name := range d.object("channels") {
		addresses = append(addresses, fmt.Sprint(d.at("channels", name, "address")))
	}
	same(t, "addresses", addresses, inGateway(t, "gateway.go", `"(/ws/[^"]*)"`))
	query := d.object("components", "schemas", "handshakeQuery", "properties")
	same(t, "fields of the query", slices.Collect(maps.Keys(query)), inGateway(t, "admit.go", `q(?:uery)?\.Get\("(\w+)"\)|"(\w+)": +func\(b bool\)`))
}

// inGateway returns what a pattern finds in the gateway's code.
func inGateway(t *testing.T, file, pattern string) (found []string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "gateway", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
		found = append(found, strings.Join(m[1:], ""))
	}
	return found
}
