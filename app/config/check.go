package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults are what is wrong with a configuration, each under its setting.
type faults struct {
	keys  []string
	lines []string
}

func (f *faults) add(key, format string, args ...any) {
	f.keys = append(f.keys, key)
	f.lines = append(f.lines, key+": "+fmt.Sprintf(format, args...))
}

// in says whether one of the settings is wrong by itself, so that there is no
// use in comparing them.
func (f *faults) in(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(f.keys, key) })
}

func (f *faults) err() error {
	if len(f.lines) == 0 {
		return nil
	}
	slices.Sort(f.lines)
	return errors.New(strings.Join(f.lines, "\n"))
}

// check finds what is wrong with a value of the knob alone.
func (k Knob) check(f *faults, value string) {
	if _, is := k.Default.(bool); is {
		if _, err := strconv.ParseBool(value); err != nil {
			f.add(k.Key, "%q is neither true nor false", value)
		}
	}
	switch least := k.Min.(type) {
	case int:
		if n, err := strconv.ParseInt(value, 0, 64); err != nil {
			f.add(k.Key, "%q is no whole number", value)
		} else if n < int64(least) {
			f.add(k.Key, "must be %d or more", least)
		}
	case time.Duration:
		if d, err := time.ParseDuration(value); err != nil {
			f.add(k.Key, "%q is no time: say a number and its unit, such as 25s", value)
		} else if d < least {
			f.add(k.Key, "must be %v or more", least)
		}
	}
}

// maxBatch is how many messages a service may send with one request.
const maxBatch = 1000

// QueueBytes is how many bytes may wait for Redis on a node.
const QueueBytes = 16 << 20

// DrainWithin is the time in which a node that stops sends its members away:
// what is left of drain.grace after the notice, when the last command may take
// its time, and a client that does not read its four seconds, and two each
// remain for what else holds the members up and for the end of the process.
func (c *Config) DrainWithin() time.Duration {
	return c.Drain.Grace - c.Drain.Notice - max(c.Session.CommandTimeout, 4*time.Second) - 4*time.Second
}

// maxFriends is how long the parts of a friend list may be: with names of usual
// length, a list is well below the smallest outbox that makes sense.
const maxFriends = 1000

// maxNodes is how many nodes the live ring asks at once.
const maxNodes = 64

// modules are what a node may serve.
var modules = []string{"chat", "friends", "api"}

// Serves says whether the node serves a module.
func (c *Config) Serves(module string) bool { return slices.Contains(c.Modules, module) }

// check finds what is wrong with the settings, each with the way out.
func (c *Config) check(f *faults) {
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			f.add(key, "%q is none of %s", value, strings.Join(allowed, ", "))
		}
	}
	oneOf("env", c.Env, "development", "production")
	oneOf("broker", c.Broker, "memory", "redis")
	oneOf("redis.ack", c.Redis.Ack, "redis", "fsync")
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", c.Log.Format, "json", "text")
	if len(c.Modules) == 0 {
		f.add("modules", "is empty: name one at least of %s", strings.Join(modules, ", "))
	}
	for _, m := range c.Modules {
		oneOf("modules", m, modules...)
	}
	if !isAPPID(c.APPID) {
		f.add("appid", "%q is no number from 1 to 1048575", c.APPID)
	}
	if !isAddress(c.Listen) {
		f.add("listen", "%q is no address: it looks like 127.0.0.1:8080, or :8080 for all of this machine's", c.Listen)
	}
	if c.Ops.Listen != "" && !isAddress(c.Ops.Listen) {
		f.add("ops.listen", "%q is no address: it looks like 127.0.0.1:9090", c.Ops.Listen)
	}
	raised := c.Redis.Ack != "redis" || c.Redis.Replicas > 0
	if raised && !f.in("redis.ack", "redis.ack_timeout", "session.command_timeout") && c.Redis.AckTimeout >= c.Session.CommandTimeout {
		f.add("redis.ack_timeout", "must be less than session.command_timeout (%v)", c.Session.CommandTimeout)
	}
	c.checkAuth(f)
	c.checkHooks(f)
	for _, origin := range c.Gateway.Origins {
		if !isOrigin(origin) {
			f.add("gateway.origins", "%q is no origin: it looks like https://chat.example.com, without anything behind", origin)
		}
	}
	if longest := c.Gateway.MaxMessage; !f.in("session.outbox") && c.Session.Outbox < 4*longest {
		f.add("session.outbox", "must hold at least four of the longest messages (gateway.max_message is %d)", longest)
	}
	for _, rate := range []struct {
		key   string
		bytes int
	}{{"session.bytes", c.Session.Bytes}, {"user.bytes", c.User.Bytes}} {
		if atOnce := float64(rate.bytes) * c.Session.Burst.Seconds(); rate.bytes > 0 && !f.in(rate.key, "session.burst") && atOnce < float64(c.Gateway.MaxMessage) {
			f.add(rate.key, "must let the longest message through within session.burst (gateway.max_message is %d)", c.Gateway.MaxMessage)
		}
	}
	if atOnce := float64(c.Service.Messages) * c.Service.Burst.Seconds(); c.Service.Messages > 0 && !f.in("service.messages", "service.burst") && atOnce < maxBatch {
		f.add("service.messages", "must let a batch of %d through within service.burst", maxBatch)
	}
	if c.Gateway.MaxMessage > QueueBytes/4 {
		f.add("gateway.max_message", "must be %d or less: four of the longest messages must fit into what may wait for Redis", QueueBytes/4)
	}
	if c.Home.URL != "" && !isOrigin(c.Home.URL) {
		f.add("home.url", "%q is no address of HAProxy: it looks like http://127.0.0.1:8406, without anything behind", c.Home.URL)
	}
	for _, node := range c.Ring.Nodes {
		if !isOrigin(node) {
			f.add("ring.nodes", "%q is no node's operators' address: it looks like http://10.0.0.1:9090, without anything behind", node)
		}
	}
	if len(c.Ring.Nodes) > maxNodes {
		f.add("ring.nodes", "must be %d at the most", maxNodes)
	}
	if c.Ring.HAProxy != "" && !isOrigin(c.Ring.HAProxy) {
		f.add("ring.haproxy", "%q is no address of HAProxy: it looks like http://127.0.0.1:8404, without anything behind", c.Ring.HAProxy)
	}
	if !f.in("drain.grace", "drain.notice", "session.command_timeout") && c.DrainWithin() < time.Second {
		f.add("drain.grace", "must be %v or more: drain.notice and session.command_timeout are in it", c.Drain.Grace-c.DrainWithin()+time.Second)
	}
	oneOf("direct.from", c.Direct.From, "friends", "anyone")
	if c.Friends.Max > maxFriends {
		f.add("friends.max", "must be %d or less: a list is one answer", maxFriends)
	}
	if c.Friends.Pending > maxFriends {
		f.add("friends.pending", "must be %d or less: a list is one answer", maxFriends)
	}
	if !f.in("retention.messages") && c.Retention.Messages <= int64(c.Room.Window) {
		f.add("retention.messages", "must be more than room.window (%d)", c.Room.Window)
	}
}

func (c *Config) checkAuth(f *faults) {
	switch c.Auth.Mode {
	case "dev":
		c.checkDev(f)
	case "jwt":
		c.checkJWT(f)
	case "":
		if !f.in("listen", "broker") {
			f.add("auth.mode", "must be said, because this is no memory broker on loopback: --auth-mode jwt, or --auth-mode dev, which believes every name")
		}
	default:
		f.add("auth.mode", "%q is none of dev, jwt", c.Auth.Mode)
	}
}

// checkDev keeps dev mode apart from whatever says that tokens are meant.
func (c *Config) checkDev(f *faults) {
	if c.Env == "production" {
		f.add("auth.mode", "dev believes every name, and env is production: use jwt with auth.secret_file, auth.key_file or auth.jwks_url")
	}
	for _, s := range []struct{ key, value string }{
		{"auth.secret_file", c.Auth.SecretFile},
		{"auth.key_file", c.Auth.KeyFile},
		{"auth.jwks_url", c.Auth.JWKSURL},
		{"auth.issuer", c.Auth.Issuer},
		{"auth.audience", c.Auth.Audience},
	} {
		if s.value != "" {
			f.add(s.key, "is for tokens, and auth.mode is dev, which believes every name: set auth.mode to jwt, or leave this out")
		}
	}
}

// maxLeeway is how far apart clocks may be that somebody looks after.
const maxLeeway = 5 * time.Minute

func (c *Config) checkJWT(f *faults) {
	a := &c.Auth
	if !c.hasKeys() {
		f.add("auth.mode", "jwt needs auth.secret_file (try: openssl rand -hex 32 >secret), auth.key_file or auth.jwks_url")
	}
	if a.JWKSURL != "" && !isAddressOfHTTP(a.JWKSURL) {
		f.add("auth.jwks_url", "is no address without a password in it: it looks like https://login.example.com/.well-known/jwks.json")
	}
	for _, alg := range a.Algorithms {
		if !slices.Contains([]string{"HS256", "RS256", "ES256", "EdDSA"}, alg) {
			f.add("auth.algorithms", "%q is none of HS256, RS256, ES256, EdDSA", alg)
		}
	}
	if a.SecretFile != "" && !slices.Contains(a.Algorithms, "HS256") {
		f.add("auth.algorithms", "must have HS256, because auth.secret_file is set")
	}
	if (a.KeyFile != "" || a.JWKSURL != "") && !slices.ContainsFunc(a.Algorithms, func(alg string) bool { return alg != "HS256" }) {
		f.add("auth.algorithms", "must have RS256, ES256 or EdDSA, because there are public keys (auth.key_file, auth.jwks_url)")
	}
	if a.Leeway > maxLeeway {
		f.add("auth.leeway", "must be %v or less: an expired token is good for as long; let the clocks be set", maxLeeway)
	}
	if !f.in("auth.max_life", "retention.age") && a.MaxLife > c.Retention.Age {
		f.add("auth.max_life", "must not be longer than retention.age (%v): a log-out would be forgotten before the token's end", c.Retention.Age)
	}
	if c.Env != "production" {
		return
	}
	if a.Issuer == "" {
		f.add("auth.issuer", `is needed when env is production: what the issuer of the tokens writes into "iss"`)
	}
	if a.Audience == "" {
		f.add("auth.audience", `is needed when env is production: what the issuer writes into "aud" of the tokens that are for this cluster`)
	}
	if a.JWKSURL != "" && !strings.HasPrefix(a.JWKSURL, "https:") {
		f.add("auth.jwks_url", "must begin with https: when env is production: whoever sits between could make tokens")
	}
}

// events are what an application may be told.
var events = []string{"room_occupied", "room_vacated", "user_online", "user_offline", "message_published"}

func (c *Config) checkHooks(f *faults) {
	h := &c.Hooks
	asks, all := 0, 0
	for _, hook := range []struct{ key, url string }{
		{"hooks.connect_url", h.ConnectURL}, {"hooks.join_url", h.JoinURL}, {"hooks.publish_url", h.PublishURL}, {"hooks.webhook_url", h.WebhookURL},
	} {
		if hook.url == "" {
			continue
		}
		all++
		if hook.key != "hooks.webhook_url" {
			asks++
		}
		if !isAddressOfHTTP(hook.url) {
			f.add(hook.key, "is no address without a password in it: it looks like https://app.example.com/chatring")
		}
	}
	if h.OnFailure != "deny" && h.OnFailure != "allow" {
		f.add("hooks.on_failure", "%q is none of deny, allow", h.OnFailure)
	}
	if all > 0 && h.SecretFile == "" {
		f.add("hooks.secret_file", "is needed to sign what the application is sent (try: echo whsec_$(openssl rand -base64 32) >secret)")
	}
	if asks > 0 && !f.in("hooks.timeout", "session.command_timeout") && h.Timeout >= c.Session.CommandTimeout {
		f.add("hooks.timeout", "must be less than session.command_timeout (%v)", c.Session.CommandTimeout)
	}
	for _, event := range h.Events {
		if !slices.Contains(events, event) {
			f.add("hooks.events", "%q is none of %s", event, strings.Join(events, ", "))
		}
	}
	if h.WebhookURL == "" && len(h.Events) > 0 {
		f.add("hooks.events", "need hooks.webhook_url, which says where they are told")
	}
	if h.WebhookURL != "" && len(h.Events) == 0 {
		f.add("hooks.webhook_url", "needs hooks.events, which say what is told")
	}
}

// Tells says whether the application is told of an event.
func (c *Config) Tells(event string) bool { return slices.Contains(c.Hooks.Events, event) }

// isAddressOfHTTP says whether something can be asked at s.
func isAddressOfHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

func isAPPID(s string) bool {
	if s == "" || len(s) > 7 || s[0] == '0' {
		return false
	}
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
		n = 10*n + int(r-'0')
	}
	return n < 1<<20
}

// isOrigin says whether a browser could send s as an Origin (RFC 6454 §6.1).
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && s == u.Scheme+"://"+strings.ToLower(u.Host)
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
