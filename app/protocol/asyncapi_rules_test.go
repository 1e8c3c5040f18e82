package protocol_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// asyncAPIObjects are the objects of AsyncAPI 3.0.0 that the document uses, with the
// fields that each may have; one with a ! must be there.
// https://www.asyncapi.com/docs/reference/specification/v3.0.0
var asyncAPIObjects = map[string]string{
	"document":       "asyncapi! id info! servers defaultContentType channels operations components",
	"info":           "title! version! termsOfService contact license tags externalDocs description",
	"server":         "host! protocol! protocolVersion pathname description title summary variables security tags externalDocs bindings",
	"channel":        "address messages title summary description servers parameters tags externalDocs bindings",
	"operation":      "action! channel! title summary description security tags externalDocs bindings traits messages reply",
	"operationTrait": "title summary description security tags externalDocs bindings",
	"reply":          "address channel messages",
	"message":        "headers payload correlationId contentType name title summary description tags externalDocs bindings examples traits",
	"example":        "headers payload name summary",
	"correlationId":  "location! description",
	"parameter":      "enum default description examples location",
	"securityScheme": "type! description name in scheme bearerFormat flows openIdConnectUrl scopes",
	"ws":             "bindingVersion method query headers",
}

// componentKinds are the sections of the components, and what stands in each.
var componentKinds = map[string]string{
	"operationTraits": "operationTrait", "messages": "message",
	"correlationIds": "correlationId", "parameters": "parameter", "securitySchemes": "securityScheme",
	"schemas": "", "channelBindings": "",
}

var (
	componentName = regexp.MustCompile(`^[a-zA-Z0-9.\-_]+$`)
	inAddress     = regexp.MustCompile(`\{(\w+)\}`)
	runtimePlace  = regexp.MustCompile(`^\$message\.(header|payload)#(/[^/~]+)+$`)
)

// docs/asyncapi.yaml keeps the rules of AsyncAPI 3.0.0.
func TestAsyncAPIKeepsTheRules(t *testing.T) {
	d := readAsyncAPI(t)
	d.hasFields(t, "document", "", d.root)
	if got, want := d.at("asyncapi"), "3.0.0"; got != want {
		t.Errorf("asyncapi is %v, want %s", got, want)
	}
	d.hasFields(t, "info", "info", d.at("info"))
	for name := range d.object("servers") {
		d.hasFields(t, "server", "servers."+name, d.at("servers", name))
	}
	for section, entries := range d.object("components") {
		kind, known := componentKinds[section]
		if !known {
			t.Errorf("components have no %s", section)
		}
		for name, entry := range entries.(map[string]any) {
			if !componentName.MatchString(name) {
				t.Errorf("components.%s: %q is no possible name", section, name)
			}
			if kind != "" {
				d.hasFields(t, kind, section+"."+name, entry)
			}
		}
	}
	for name := range d.object("channels") {
		d.checkChannel(t, name)
	}
	for name := range d.object("operations") {
		d.checkOperation(t, name)
	}
	for name := range d.object("components", "messages") {
		d.checkMessage(t, name)
	}
	d.checkReferences(t)
}

// hasFields checks which fields an object has. Those that begin with x- are ours.
func (d *asyncAPI) hasFields(t *testing.T, kind, where string, v any) {
	t.Helper()
	object, ok := d.follow(v).(map[string]any)
	if !ok {
		t.Errorf("%s is no %s", where, kind)
		return
	}
	known := map[string]bool{}
	for field := range strings.FieldsSeq(asyncAPIObjects[kind]) {
		name := strings.TrimSuffix(field, "!")
		known[name] = true
		if object[name] == nil && name != field {
			t.Errorf("%s: %s is missing", where, name)
		}
	}
	for field := range object {
		if !known[field] && !strings.HasPrefix(field, "x-") {
			t.Errorf("%s: the %s has no %s", where, kind, field)
		}
	}
}

func (d *asyncAPI) checkChannel(t *testing.T, name string) {
	t.Helper()
	where := "channels." + name
	d.hasFields(t, "channel", where, d.at("channels", name))
	var named []string
	for _, m := range inAddress.FindAllStringSubmatch(fmt.Sprint(d.at("channels", name, "address")), -1) {
		named = append(named, m[1])
	}
	same(t, where+": parameters", slices.Collect(maps.Keys(d.object("channels", name, "parameters"))), named)
	bindings, _ := d.follow(d.at("channels", name, "bindings")).(map[string]any)
	d.hasFields(t, "ws", where+".bindings.ws", bindings["ws"])
	for message, v := range d.object("channels", name, "messages") {
		d.hasFields(t, "message", where+".messages."+message, v)
	}
}

// checkOperation holds an operation to its channel: it has one, and none but its
// messages.
func (d *asyncAPI) checkOperation(t *testing.T, name string) {
	t.Helper()
	where := "operations." + name
	d.hasFields(t, "operation", where, d.at("operations", name))
	if action := d.at("operations", name, "action"); action != "send" && action != "receive" {
		t.Errorf("%s: the action is %v", where, action)
	}
	d.checkBelonging(t, where, d.object("operations", name))
	if reply := d.object("operations", name, "reply"); reply != nil {
		d.hasFields(t, "reply", where+".reply", reply)
		d.checkBelonging(t, where+".reply", reply)
	} else if d.at("operations", name, "action") == "receive" {
		t.Errorf("%s: a command without a reply", where)
	}
}

func (d *asyncAPI) checkBelonging(t *testing.T, where string, object map[string]any) {
	t.Helper()
	channel, _ := object["channel"].(map[string]any)
	of, ok := strings.CutPrefix(fmt.Sprint(channel["$ref"]), "#/channels/")
	if !ok || d.object("channels", of) == nil {
		t.Errorf("%s: the channel is %v", where, channel)
		return
	}
	messages, _ := object["messages"].([]any)
	if len(messages) == 0 {
		t.Errorf("%s has no messages", where)
	}
	for _, m := range messages {
		reference, _ := m.(map[string]any)
		pointer := fmt.Sprint(reference["$ref"])
		message, ok := strings.CutPrefix(pointer, "#/channels/"+of+"/messages/")
		if !ok || d.at("channels", of, "messages", message) == nil {
			t.Errorf("%s: %s is no message of the channel %s", where, pointer, of)
		}
	}
}

// checkMessage wants examples of every message, which are what its schema says, and
// an id where something is asked or answered.
func (d *asyncAPI) checkMessage(t *testing.T, name string) {
	t.Helper()
	where := "messages." + name
	examples := d.list("components", "messages", name, "examples")
	if len(examples) == 0 {
		t.Errorf("%s has no examples", where)
	}
	for _, e := range examples {
		d.hasFields(t, "example", where+".examples", e)
		example, _ := e.(map[string]any)
		if err := validate(d.closed, name, example["payload"]); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	correlation, _ := d.follow(d.at("components", "messages", name, "correlationId")).(map[string]any)
	numbered := runtimePlace.MatchString(fmt.Sprint(correlation["location"]))
	if pushed := name == "push" || strings.HasPrefix(name, "push."); numbered == pushed {
		t.Errorf("%s: has it a correlation id? %v", where, numbered)
	}
}

// checkReferences wants each reference to lead somewhere, and to each component.
func (d *asyncAPI) checkReferences(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if pointer, ok := v["$ref"].(string); ok {
				used[pointer] = true
				if d.follow(v) == nil {
					t.Errorf("%s: %s leads nowhere", where, pointer)
				}
				if len(v) > 1 {
					t.Errorf("%s: what stands beside a $ref is ignored", where)
				}
			}
			for key, child := range v {
				walk(where+"."+key, child)
			}
		case []any:
			for i, child := range v {
				walk(fmt.Sprintf("%s[%d]", where, i), child)
			}
		}
	}
	walk("", d.root)
	for section, entries := range d.object("components") {
		for name := range entries.(map[string]any) {
			if !used["#/components/"+section+"/"+name] {
				t.Errorf("nothing refers to components.%s.%s", section, name)
			}
		}
	}
}
