package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/chatring/chatring/app/config"
)

// flags are those of a command line.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("chatring", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clean takes every knob out of the environment for the test's time.
func clean(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if name == "APPID" || strings.HasPrefix(name, "CHATRING_") {
			t.Setenv(name, value) // puts it back
			_ = os.Unsetenv(name)
		}
	}
}

// With nothing set, a node is a chat server for this machine.
func TestDefaults(t *testing.T) {
	clean(t)
	c, err := config.Load(flags(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if c.APPID != "1111" || c.Listen != "127.0.0.1:8080" || c.Broker != "memory" || c.Auth.Mode != "dev" || c.Gateway.Ping != 25*time.Second {
		t.Errorf("%+v", c)
	}
}

// A flag beats the environment, which beats the file, which beats the default.
func TestPrecedence(t *testing.T) {
	clean(t)
	path := file(t, "node.yaml", "session: {rooms: 2}\ngateway: {ping: 7s, origins: [https://a.example]}\nlog: {level: debug}\n")
	load := func(args ...string) config.Config {
		t.Helper()
		c, err := config.Load(flags(t, args...), path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got, want := load().Session.Rooms, 2; got != want {
		t.Errorf("file: rooms = %d, want %d", got, want)
	}
	t.Setenv("CHATRING_SESSION_ROOMS", "3")
	if got, want := load().Session.Rooms, 3; got != want {
		t.Errorf("environment: rooms = %d, want %d", got, want)
	}
	c := load("--session-rooms=4")
	if got, want := c.Session.Rooms, 4; got != want {
		t.Errorf("flag: rooms = %d, want %d", got, want)
	}
	if c.Gateway.Ping != 7*time.Second || c.Log.Level != "debug" || !slices.Equal(c.Gateway.Origins, []string{"https://a.example"}) {
		t.Errorf("file: %+v %+v", c.Gateway, c.Log)
	}
	if got, want := load("--session-rooms=128").Session.Rooms, 128; got != want {
		t.Errorf("a flag that says the default: rooms = %d, want %d", got, want)
	}
}

// other is a value that is not the knob's default, and may be set.
func other(k config.Knob) string {
	switch k.Key {
	case "appid":
		return "2222"
	case "env":
		return "production"
	case "broker":
		return "redis"
	case "redis.url":
		return "redis://10.0.0.1:6379/1"
	case "auth.mode":
		return "jwt"
	case "log.level":
		return "warn"
	case "log.format":
		return "text"
	case "gateway.origins", "auth.jwks_url":
		return "https://a.example"
	case "auth.algorithms":
		return "ES256"
	case "auth.open_rooms", "hooks.rooms":
		return "lobby"
	case "ingress.enabled":
		return "false"
	case "hooks.on_failure":
		return "allow"
	case "hooks.events":
		return "user_online"
	}
	switch d := k.Default.(type) {
	case int:
		return fmt.Sprint(d + 1)
	case int64:
		return fmt.Sprint(d + 1)
	case time.Duration:
		return (d + time.Second).String()
	}
	return "127.0.0.2:1"
}

// fields returns the value of every field of a Config under the name of its
// knob.
func fields(v reflect.Value, prefix string) map[string]string {
	all := make(map[string]string)
	for i := range v.NumField() {
		key := prefix + v.Type().Field(i).Tag.Get("mapstructure")
		if f := v.Field(i); f.Kind() == reflect.Struct {
			for k, s := range fields(f, key+".") {
				all[k] = s
			}
		} else {
			all[key] = strings.Trim(fmt.Sprint(f.Interface()), "[]")
		}
	}
	return all
}

// Every knob has a field and every field a knob, whose default, environment
// variable and flag all reach it.
func TestEveryKnobHasAField(t *testing.T) {
	clean(t)
	var keys []string
	for _, k := range config.Knobs {
		keys = append(keys, k.Key)
		if k.Help == "" {
			t.Errorf("%s has no words", k.Key)
		}
	}
	c, _ := config.Load(flags(t), "")
	for key := range fields(reflect.ValueOf(c), "") {
		if !slices.Contains(keys, key) {
			t.Errorf("field %s has no knob", key)
		}
	}
	for _, k := range config.Knobs {
		t.Run(k.Key, func(t *testing.T) {
			want := other(k)
			// Errors are for settings that do not go together; the value stands.
			c, _ := config.Load(flags(t, "--"+k.Flag()+"="+want), "")
			if got, ok := fields(reflect.ValueOf(c), "")[k.Key]; !ok || got != want {
				t.Errorf("--%s %s gives %q", k.Flag(), want, got)
			}
			t.Setenv(k.Env(), want)
			c, _ = config.Load(flags(t), "")
			if got := fields(reflect.ValueOf(c), "")[k.Key]; got != want {
				t.Errorf("%s=%s gives %q", k.Env(), want, got)
			}
			// Without flags at all, as a library would read it.
			c, _ = config.Load(pflag.NewFlagSet("none", pflag.ContinueOnError), "")
			if got := fields(reflect.ValueOf(c), "")[k.Key]; got != want {
				t.Errorf("%s=%s without flags gives %q", k.Env(), want, got)
			}
			if got := config.UnknownEnv(); len(got) > 0 {
				t.Errorf("UnknownEnv = %v", got)
			}
		})
	}
}

// APPID alone names the node, as in the Compose file; CHATRING_APPID says it
// more exactly.
func TestAPPID(t *testing.T) {
	clean(t)
	t.Setenv("APPID", "3333")
	if c, err := config.Load(flags(t), ""); err != nil || c.APPID != "3333" {
		t.Errorf("APPID: %s, %v", c.APPID, err)
	}
	t.Setenv("CHATRING_APPID", "4444")
	if c, err := config.Load(flags(t), ""); err != nil || c.APPID != "4444" {
		t.Errorf("CHATRING_APPID: %s, %v", c.APPID, err)
	}
	for _, bad := range []string{"0", "01", "-1", "a", "1048576", "99999999", " 1", "1.5"} {
		if _, err := config.Load(flags(t, "--appid="+bad), ""); err == nil {
			t.Errorf("appid %q is accepted", bad)
		}
	}
}

// An empty variable is as good as none, but for the operators' port, which it
// turns off, and for the rooms that are open to every token: it leaves none.
func TestEmptyEnvironment(t *testing.T) {
	clean(t)
	for _, k := range config.Knobs {
		t.Setenv(k.Env(), "")
	}
	c, err := config.Load(flags(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Ops.Listen != "" {
		t.Errorf("ops.listen = %q, want none", c.Ops.Listen)
	}
	if len(c.Auth.OpenRooms) != 0 {
		t.Errorf("auth.open_rooms = %q, want none", c.Auth.OpenRooms)
	}
	if c.APPID != "1111" || c.Gateway.Ping != 25*time.Second || len(c.Auth.Algorithms) != 4 {
		t.Errorf("%+v", c)
	}
	if c, err := config.Load(flags(t, "--ops-listen", ":1"), ""); err != nil || c.Ops.Listen != ":1" {
		t.Errorf("the flag gives %q, %v", c.Ops.Listen, err)
	}
}

// A file with a key that no knob has is refused, and the key is named: it is
// a typing error. So is a file that is not there.
func TestFile(t *testing.T) {
	clean(t)
	for _, c := range []struct{ name, content, want string }{
		{"a.yaml", "sesion: {rooms: 2}", "sesion"},
		{"b.yaml", "session: {room: 2}", "room"},
		{"c.yaml", "session: {rooms: many}", "rooms"},
		{"d.yaml", "session: [", "yaml"},
		{"e.toml", "[session]\nroms = 1", "roms"},
		{"g.yaml", "gateway: {ping: 25}", "gateway.ping"}, // 25 nanoseconds
		{"h.yaml", "auth: {secret: hunter2}", "secret"},
	} {
		_, err := config.Load(flags(t), file(t, c.name, c.content))
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %q: %v, want an error that names %q", c.name, c.content, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v shows a secret", c.name, err)
		}
	}
	if _, err := config.Load(flags(t), filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there is accepted")
	}
}

// Dev mode, which believes every name, happens by itself only where no
// stranger can connect, and in production not at all.
func TestAuthMode(t *testing.T) {
	clean(t)
	for _, c := range []struct {
		args string
		mode string // empty: refused
	}{
		{"", "dev"},
		{"--listen=localhost:1", "dev"},
		{"--listen=[::1]:1", "dev"},
		{"--listen=:8080", ""},
		{"--listen=0.0.0.0:8080", ""},
		{"--listen=10.0.0.1:8080", ""},
		{"--broker=redis", ""},
		{"--listen=:8080 --auth-mode=dev", "dev"},
		{"--env=production", ""},
		{"--env=production --auth-mode=dev", ""},
		{"--env=production --auth-mode=jwt", ""},
		{"--env=production --auth-mode=jwt --auth-secret-file=f --auth-issuer=i --auth-audience=a --broker=redis", "jwt"},
		{"--auth-mode=basic", ""},
		{"--auth-secret-file=f", "jwt"},
		{"--listen=:8080 --broker=redis --auth-key-file=f", "jwt"},
		{"--auth-jwks-url=https://a.example/keys", "jwt"},
		{"--auth-mode=jwt", ""},
		{"--auth-mode=dev --auth-secret-file=f", ""},
		{"--auth-mode=dev --auth-key-file=f", ""},
		{"--auth-mode=dev --auth-jwks-url=https://a.example/keys", ""},
		{"--auth-mode=dev --auth-issuer=i", ""},
		{"--auth-mode=dev --auth-audience=a", ""},
		{"--auth-issuer=i", ""},
	} {
		got, err := config.Load(flags(t, strings.Fields(c.args)...), "")
		if (err != nil) != (c.mode == "") || err == nil && got.Auth.Mode != c.mode {
			t.Errorf("%s: mode %q, %v, want %q", c.args, got.Auth.Mode, err, c.mode)
		}
	}
}

// What is wrong is said all at once, under the names of the knobs.
func TestEveryErrorAtOnce(t *testing.T) {
	clean(t)
	_, err := config.Load(flags(t, "--env=x", "--broker=x", "--modules=x", "--log-level=x", "--log-format=x", "--appid=x", "--listen=x", "--ops-listen=x",
		"--auth-mode=x", "--gateway-ping=0s", "--gateway-pong-timeout=-1s", "--session-outbox=0", "--room-linger=0s", "--drain-grace=-1s",
		"--gateway-origins=chat.example.com,https://b.example/"), "")
	if err == nil {
		t.Fatal("accepted")
	}
	for _, key := range []string{
		"env", "broker", "modules", "log.level", "log.format", "appid", "listen", "ops.listen", "auth.mode", "gateway.ping", "gateway.pong_timeout",
		"session.outbox", "room.linger", "drain.grace", `gateway.origins: "chat.example.com"`, `gateway.origins: "https://b.example/"`,
	} {
		if !strings.Contains("\n"+err.Error(), "\n"+key) {
			t.Errorf("%s is not named in %q", key, err)
		}
	}
}

// A node that stops needs a moment for its members within the grace that it is
// given, and says how much grace that takes.
func TestGrace(t *testing.T) {
	clean(t)
	for _, c := range []struct {
		args   string
		within time.Duration
		least  string // of drain.grace, where it is too short
	}{
		{"", 19500 * time.Millisecond, ""},
		{"--drain-grace=60s", 49500 * time.Millisecond, ""},
		{"--session-command-timeout=10s", 13500 * time.Millisecond, ""},
		{"--session-command-timeout=1s", 19500 * time.Millisecond, ""},
		{"--drain-grace=11500ms", time.Second, ""},
		{"--drain-grace=11s", 0, "11.5s"},
		{"--drain-notice=25s", 0, "34s"},
	} {
		got, err := config.Load(flags(t, strings.Fields(c.args)...), "")
		if c.least != "" {
			if err == nil || !strings.Contains(err.Error(), "drain.grace: must be "+c.least+" or more") {
				t.Errorf("%s: %v, want a drain.grace of %s", c.args, err, c.least)
			}
		} else if err != nil || got.DrainWithin() != c.within {
			t.Errorf("%s: within %v, %v, want %v", c.args, got.DrainWithin(), err, c.within)
		}
	}
}

// Whom the live ring asks is named by addresses alone, as many as there can be nodes.
func TestRing(t *testing.T) {
	clean(t)
	for _, flag := range []string{"--ring-nodes=http://10.0.0.1:9090/ring", "--ring-nodes=10.0.0.1:9090", "--ring-haproxy=http://h/stats", "--ring-haproxy=http://a:b@h", "--ring-nodes=" + strings.Repeat("http://n,", 64) + "http://n"} {
		if _, err := config.Load(flags(t, flag), ""); err == nil {
			t.Errorf("%s is accepted", flag)
		}
	}
	c, err := config.Load(flags(t, "--ring-nodes=http://10.0.0.1:9090, http://ws2:9090", "--ring-haproxy=http://h:8404"), "")
	if err != nil || !slices.Equal(c.Ring.Nodes, []string{"http://10.0.0.1:9090", "http://ws2:9090"}) || c.Ring.HAProxy != "http://h:8404" {
		t.Errorf("%+v, %v", c.Ring, err)
	}
}

// The address of HAProxy's door for nodes has nothing behind the port.
func TestHomeURL(t *testing.T) {
	clean(t)
	for url, ok := range map[string]bool{
		"": true, "http://127.0.0.1:8406": true, "https://haproxy": true,
		"haproxy:8406": false, "http://haproxy:8406/": false, "http://haproxy/shard": false, "http://": false,
	} {
		if _, err := config.Load(flags(t, "--home-url="+url), ""); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// Every number and every time has a least value, and says so when it is less.
func TestMinimums(t *testing.T) {
	clean(t)
	for _, k := range config.Knobs {
		var least, less string
		switch m := k.Min.(type) {
		case int:
			least, less = fmt.Sprint(m), fmt.Sprint(m-1)
		case time.Duration:
			least, less = m.String(), (m - 1).String()
		default:
			if kind := reflect.TypeOf(k.Default).Kind(); kind == reflect.Int || kind == reflect.Int64 {
				t.Errorf("%s has no least value", k.Key)
			}
			continue
		}
		fault := k.Key + ": must be " + least + " or more"
		if _, err := config.Load(flags(t, "--"+k.Flag()+"="+less), ""); err == nil || err.Error() != fault {
			t.Errorf("%s = %s: %v, want %s and nothing else", k.Key, less, err, fault)
		}
		if _, err := config.Load(flags(t, "--"+k.Flag()+"="+least), ""); err != nil && strings.Contains(err.Error(), fault) {
			t.Errorf("%s = %s: %v", k.Key, least, err)
		}
	}
}

// Each mistake is one line that says what would be right, and settings that do
// not go together are refused.
func TestFaults(t *testing.T) {
	clean(t)
	const production = "--env=production --auth-secret-file=f --auth-issuer=i --auth-audience=a"
	const jwt = "--auth-mode=jwt --auth-secret-file=f"
	for _, c := range []struct{ args, fault string }{
		{"--broker=nats", `broker: "nats" is none of memory, redis`},
		{"--listen=nonsense", `listen: "nonsense" is no address: it looks like 127.0.0.1:8080, or :8080 for all of this machine's`},
		{"--listen=127.0.0.1:99999 --auth-mode=dev", `listen: "127.0.0.1:99999" is no address: it looks like 127.0.0.1:8080, or :8080 for all of this machine's`},
		{"--ops-listen=:-1", `ops.listen: ":-1" is no address: it looks like 127.0.0.1:9090`},
		{"--listen=:9000", "auth.mode: must be said, because this is no memory broker on loopback: --auth-mode jwt, or --auth-mode dev, which believes every name"},
		{production + " --broker=redis", ""},
		{"--env=production --broker=redis --auth-secret-file=f --auth-issuer=i", `auth.audience: is needed when env is production: what the issuer writes into "aud" of the tokens that are for this cluster`},
		{"--env=production --broker=redis --auth-secret-file=f --auth-audience=a", `auth.issuer: is needed when env is production: what the issuer of the tokens writes into "iss"`},
		{production + " --broker=redis --auth-jwks-url=HTTP://a.example/keys", "auth.jwks_url: must begin with https: when env is production: whoever sits between could make tokens"},
		{production + " --broker=redis --auth-jwks-url=https://a.example/keys", ""},
		{"--auth-jwks-url=http://localhost:1/keys", ""},
		{"--auth-jwks-url=a.example/keys", "auth.jwks_url: is no address without a password in it: it looks like https://login.example.com/.well-known/jwks.json"},
		{"--auth-jwks-url=https://me:hunter2@a.example/keys", "auth.jwks_url: is no address without a password in it: it looks like https://login.example.com/.well-known/jwks.json"},
		{"--modules=chat,mail", `modules: "mail" is none of chat, friends, api`},
		{"--modules=", "modules: is empty: name one at least of chat, friends, api"},
		{"--auth-mode=jwt", "auth.mode: jwt needs auth.secret_file (try: openssl rand -hex 32 >secret), auth.key_file or auth.jwks_url"},
		{"--auth-mode=dev --auth-secret-file=f", "auth.secret_file: is for tokens, and auth.mode is dev, which believes every name: set auth.mode to jwt, or leave this out"},
		{"--auth-mode=dev --auth-audience=a", "auth.audience: is for tokens, and auth.mode is dev, which believes every name: set auth.mode to jwt, or leave this out"},
		{jwt + " --auth-algorithms=HS256,none", `auth.algorithms: "none" is none of HS256, RS256, ES256, EdDSA`},
		{jwt + " --auth-algorithms=RS256", "auth.algorithms: must have HS256, because auth.secret_file is set"},
		{"--auth-key-file=f --auth-algorithms=HS256", "auth.algorithms: must have RS256, ES256 or EdDSA, because there are public keys (auth.key_file, auth.jwks_url)"},
		{jwt + " --auth-key-file=f --auth-algorithms=HS256,ES256", ""},
		{jwt + " --auth-leeway=5m1s", "auth.leeway: must be 5m0s or less: an expired token is good for as long; let the clocks be set"},
		{jwt + " --auth-leeway=5m", ""},
		{jwt + " --auth-max-life=24h --retention-age=23h59m", "auth.max_life: must not be longer than retention.age (23h59m0s): a log-out would be forgotten before the token's end"},
		{jwt + " --auth-max-life=24h --retention-age=24h", ""},
		{"--retention-age=1h", ""},
		{"--retention-messages=256", "retention.messages: must be more than room.window (256)"},
		{"--retention-messages=257", ""},
		{"--redis-ack=always", `redis.ack: "always" is none of redis, fsync`},
		{"--redis-ack=fsync --redis-ack-timeout=4s", "redis.ack_timeout: must be less than session.command_timeout (4s)"},
		{"--redis-replicas=1 --redis-ack-timeout=4s", "redis.ack_timeout: must be less than session.command_timeout (4s)"},
		{"--redis-replicas=1 --redis-ack=fsync --redis-ack-timeout=3999ms", ""},
		{"--redis-ack-timeout=4s", ""},
		{"--gateway-max-message=4194305 --session-outbox=100000000 --session-bytes=0 --user-bytes=0", "gateway.max_message: must be 4194304 or less: four of the longest messages must fit into what may wait for Redis"},
		{"--gateway-max-message=4194304 --session-outbox=100000000 --session-bytes=0 --user-bytes=0", ""},
		{"--session-bytes=3276 --session-burst=5s", "session.bytes: must let the longest message through within session.burst (gateway.max_message is 16384)"},
		{"--session-bytes=3277 --session-burst=5s", ""},
		{"--user-bytes=1000", "user.bytes: must let the longest message through within session.burst (gateway.max_message is 16384)"},
		{"--user-bytes=0 --session-bytes=0", ""},
		{"--hooks-join-url=http://10.0.0.7/join?x=1 --hooks-secret-file=f", ""},
		{"--hooks-join-url=http://10.0.0.7/join", "hooks.secret_file: is needed to sign what the application is sent (try: echo whsec_$(openssl rand -base64 32) >secret)"},
		{"--hooks-publish-url=file:///etc/passwd --hooks-secret-file=f", "hooks.publish_url: is no address without a password in it: it looks like https://app.example.com/chatring"},
		{"--hooks-connect-url=https://me:hunter2@app/ --hooks-secret-file=f", "hooks.connect_url: is no address without a password in it: it looks like https://app.example.com/chatring"},
		{"--hooks-connect-url=https://app/ --hooks-secret-file=f --hooks-timeout=4s", "hooks.timeout: must be less than session.command_timeout (4s)"},
		{"--hooks-connect-url=https://app/ --hooks-secret-file=f --hooks-timeout=3999ms", ""},
		{"--hooks-timeout=4s", ""},
		{"--hooks-on-failure=maybe", `hooks.on_failure: "maybe" is none of deny, allow`},
		{"--hooks-webhook-url=https://app/ --hooks-secret-file=f", "hooks.webhook_url: needs hooks.events, which say what is told"},
		{"--hooks-events=user_online", "hooks.events: need hooks.webhook_url, which says where they are told"},
		{"--hooks-webhook-url=https://app/ --hooks-secret-file=f --hooks-events=user_online,room_burnt", `hooks.events: "room_burnt" is none of room_occupied, room_vacated, user_online, user_offline, message_published`},
		{"--hooks-webhook-url=https://app/ --hooks-secret-file=f --hooks-events=user_online,message_published --hooks-rooms=team-*", ""},
		{"--direct-from=everybody", `direct.from: "everybody" is none of friends, anyone`},
		{"--ingress-batch=0", "ingress.batch: must be 1 or more"},
		{"--ingress-claim-after=100ms", "ingress.claim_after: must be 500ms or more"},
		{"--friends-max=1001", "friends.max: must be 1000 or less: a list is one answer"},
		{"--friends-pending=1001", "friends.pending: must be 1000 or less: a list is one answer"},
		{"--friends-max=1000 --friends-pending=1000 --direct-from=anyone", ""},
	} {
		_, err := config.Load(flags(t, strings.Fields(c.args)...), "")
		if got := fmt.Sprint(err); got != c.fault && (err != nil || c.fault != "") {
			t.Errorf("%s: %s, want %s", c.args, got, c.fault)
		}
	}
	t.Setenv("CHATRING_SESSION_OUTBOX", "abc")
	t.Setenv("CHATRING_GATEWAY_PING", "25")
	t.Setenv("CHATRING_INGRESS_ENABLED", "maybe")
	want := `frobs: there is no such setting
gateway.ping: "25" is no time: say a number and its unit, such as 25s
ingress.enabled: "maybe" is neither true nor false
session.outbox: "abc" is no whole number`
	if _, err := config.Load(flags(t), file(t, "node.yaml", "frobs: 1")); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Origins in the environment are a list, and spaces do not count.
func TestOriginsInEnvironment(t *testing.T) {
	clean(t)
	t.Setenv("CHATRING_GATEWAY_ORIGINS", "https://a.example, https://b.example:8443")
	c, err := config.Load(flags(t), "")
	if want := []string{"https://a.example", "https://b.example:8443"}; err != nil || !slices.Equal(c.Gateway.Origins, want) {
		t.Errorf("%q, %v, want %q", c.Gateway.Origins, err, want)
	}
}

// What people are shown has no passwords in it, whatever is wrong with the URL.
func TestValues(t *testing.T) {
	clean(t)
	for _, url := range []string{
		"redis://chat:hunter2@10.0.0.1:6379/0",
		"rediss://:hunter2@redis",
		"redis://:hunter2%zz@redis",
		"redis://:hunter2@redis:port",
	} {
		values, err := config.Values(flags(t, "--redis-url", url, "--auth-jwks-url", url, "--hooks-join-url", url, "--gateway-ping=7s"), "")
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range config.Knobs {
			if strings.Contains(values[i], "hunter2") {
				t.Errorf("%s = %s", k.Key, values[i])
			}
			if k.Key == "gateway.ping" && values[i] != "7s" {
				t.Errorf("%s = %s, want 7s", k.Key, values[i])
			}
		}
		_, err = config.Load(flags(t, "--redis-url", url), "")
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Load = %v", err)
		}
	}
}

// A variable that looks like a knob and is none is found. Those of the scripts
// and of the Compose file are no mistakes.
func TestUnknownEnv(t *testing.T) {
	clean(t)
	t.Setenv("CHATRING_SESION_ROOMS", "1")
	t.Setenv("CHATRING_LISTEN", ":1")
	scripts, _ := filepath.Glob("../../scripts/*")
	for _, path := range append(scripts, "../../docker-compose.yml") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`CHATRING_[A-Z_]+`).FindAllString(string(b), -1) {
			t.Setenv(name, "x")
		}
	}
	if got, want := config.UnknownEnv(), []string{"CHATRING_SESION_ROOMS"}; !slices.Equal(got, want) {
		t.Errorf("UnknownEnv = %v, want %v", got, want)
	}
}
