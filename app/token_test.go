package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// chatring runs a verb, and returns what it prints and its exit code.
func chatring(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := rootCommand()
	var stdout, stderr bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		cmd.PrintErrln("chatring:", err)
	}
	return stdout.String(), stderr.String(), exitCode(err)
}

func writeFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyPair is a private key and its public half, in files.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	private = writeFile(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if der, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		t.Fatal(err)
	}
	return private, writeFile(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// A token that is made with a node's settings is one that such a node takes,
// and may do what was asked for.
func TestTokenIsTaken(t *testing.T) {
	secret := writeFile(t, []byte(strings.Repeat("s", 32)+"\n"+strings.Repeat("o", 32)))
	private, public := keyPair(t)
	for name, keys := range map[string]struct{ make, check []string }{
		"secret": {[]string{"--auth-secret-file", secret}, []string{"--auth-secret-file", secret}},
		"key":    {[]string{"--private-key", private}, []string{"--auth-key-file", public}},
	} {
		settings := []string{"--auth-issuer=me", "--auth-audience=chat", "--auth-mode=jwt"}
		args := append([]string{"token", "--user=alice", "--grant=team-*", "--grant=news=read"}, settings...)
		token, errs, code := chatring(t, "", append(append(args, keys.make...), keys.check...)...)
		if code != exitOK || errs != "" || strings.Count(token, ".") != 2 {
			t.Fatalf("%s: %q %q %d", name, token, errs, code)
		}
		args = append([]string{"token", "explain", "-", "--room=team-a", "--room=news", "--room=lobby"}, settings...)
		out, errs, code := chatring(t, token, append(args, keys.check...)...)
		if code != exitOK || errs != "" {
			t.Errorf("%s: %q %d", name, errs, code)
		}
		for _, want := range []string{`"sub": "alice"`, `"typ": "JWT"`, "valid   for alice, until 2", "room    team-a: write\n", "room    news: read\n", "room    lobby: none\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: it says %q, without %s", name, out, want)
			}
		}
	}
}

// A token that is made for a service says so, and a node takes it as one.
func TestTokenOfAService(t *testing.T) {
	secret := "--auth-secret-file=" + writeFile(t, bytes.Repeat([]byte("s"), 32))
	token, errs, code := chatring(t, "", "token", "--user=billing", "--service=notify,read", secret)
	if code != exitOK || errs != "" {
		t.Fatalf("%q %d", errs, code)
	}
	out, errs, code := chatring(t, token, "token", "explain", "-", secret)
	if code != exitOK || !strings.Contains(out, "valid   for service:billing, until 2") || !strings.Contains(out, "service notify read\n") {
		t.Errorf("it says %q %q %d", out, errs, code)
	}
	for _, args := range [][]string{{"--user=billing", "--service=everything"}, {"--user=billing", "--service="}, {"--user=" + strings.Repeat("a", 121), "--service=read"}} {
		if _, errs, code := chatring(t, "", append([]string{"token", secret}, args...)...); code != exitUsage || !strings.Contains(errs, "--service: ") {
			t.Errorf("%v: %q %d", args, errs, code)
		}
	}
}

// Whoever explains a token hears what is wrong with it; what a node would
// refuse ends with 1, what was asked wrongly with 2.
func TestTokenExplain(t *testing.T) {
	secret := "--auth-secret-file=" + writeFile(t, bytes.Repeat([]byte("s"), 32))
	other := "--auth-secret-file=" + writeFile(t, bytes.Repeat([]byte("o"), 32))
	token, _, _ := chatring(t, "", "token", "--user=alice", secret)
	token = strings.TrimSpace(token)
	long, errs, code := chatring(t, "", "token", "--user=alice", "--for=9999h", secret)
	if code != exitOK || !strings.Contains(errs, "WARNING: a node with these settings would not take it: valid for") {
		t.Errorf("a token for more than a year: %q %d", errs, code)
	}
	for _, c := range []struct {
		name string
		args []string
		in   string
		errs string
		code int
	}{
		{"as an argument", []string{token, secret}, "", "", exitOK},
		{"of another secret", []string{"-", other}, token, "not valid: token signature is invalid", exitFailed},
		{"of another audience", []string{"-", secret, "--auth-audience=chat"}, token, "not valid: token has invalid claims: token is missing required claim: aud claim is required", exitFailed},
		{"for too long", []string{"-", secret}, long, "not valid: valid for 9999h", exitFailed},
		{"no token", []string{"-", secret}, "hello", "no token: 1 parts", exitFailed},
		{"neither JSON", []string{"-", secret}, "aGk.aGk.aGk", "no token: part 1", exitFailed},
		{"without keys", []string{"-"}, token, "nothing to check it with", exitUsage},
		{"two", []string{token, token, secret}, "", "say one token", exitUsage},
		{"none", []string{secret}, "", "say one token", exitUsage},
		{"of an impossible room", []string{"-", secret, "--room=a b"}, token, `--room "a b"`, exitUsage},
	} {
		_, errs, code := chatring(t, c.in, append([]string{"token", "explain"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.errs) || errs != "" && c.errs == "" {
			t.Errorf("%s: %q %d, want %q %d", c.name, errs, code, c.errs, c.code)
		}
	}
	// What a stranger wrote into a token does nothing to a terminal.
	out, _, _ := chatring(t, "eyJhIjoiXHUwMDFiwptYIn0.e30.", "token", "explain", "-", secret)
	if !strings.Contains(out, `"\u001b\u009bX"`) {
		t.Errorf("it says %q", out)
	}
}

// What cannot be made is not made, and the way out is said; in production
// nobody makes a token without being told what it is.
func TestTokenIsNotMade(t *testing.T) {
	secret := "--auth-secret-file=" + writeFile(t, bytes.Repeat([]byte("s"), 32))
	_, public := keyPair(t)
	for _, c := range []struct {
		args []string
		errs string
	}{
		{[]string{"--user=alice"}, "nothing to sign with"},
		{[]string{secret}, "--user: a user id is"},
		{[]string{"--user=a b", secret}, "--user: a user id is"},
		{[]string{"--user=alice", "--grant=a?", secret}, "--grant"},
		{[]string{"--user=alice", "--grant=a=admin", secret}, "--grant"},
		{[]string{"--user=alice", "--private-key", public}, "there is no private key in it"},
		{[]string{"--user=alice", "--auth-mode=dev", secret}, "auth.secret_file: is for tokens, and auth.mode is dev"},
		{[]string{"--user=alice", "alice", secret}, "unknown word"},
	} {
		out, errs, code := chatring(t, "", append([]string{"token"}, c.args...)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.errs) {
			t.Errorf("%v: %q %q %d, want %q %d", c.args, out, errs, code, c.errs, exitUsage)
		}
	}
	_, errs, code := chatring(t, "", "token", "--user=alice", secret, "--env=production", "--broker=redis", "--auth-issuer=i", "--auth-audience=a")
	if code != exitOK || !strings.Contains(errs, "WARNING: env is production") {
		t.Errorf("in production: %q %d, want a warning", errs, code)
	}
}

// The help of a verb shows its own flags, and leaves those of the node's
// settings to the help of chatring itself.
func TestHelpOfVerbs(t *testing.T) {
	for _, verb := range []string{"config", "healthcheck", "logout", "token", "token explain", ""} {
		out, _, code := chatring(t, "", append(strings.Fields(verb), "--help")...)
		if code != exitOK || strings.Contains(out, "--auth-secret-file string") != (verb == "") || verb != "" && !strings.Contains(out, "chatring --help") {
			t.Errorf("chatring %s --help: exit %d\n%s", verb, code, out)
		}
	}
}

// The settings that all of a cluster's nodes have make a token in production as
// well, though they do not name the broker; a node refuses them.
func TestTokenInProduction(t *testing.T) {
	settings := []string{"--env=production", "--auth-issuer=me", "--auth-audience=chat", "--auth-secret-file", writeFile(t, []byte(strings.Repeat("s", 32)))}
	token, errs, code := chatring(t, "", append([]string{"token", "--user=alice"}, settings...)...)
	if code != exitOK || strings.Count(token, ".") != 2 || !strings.Contains(errs, "WARNING: env is production") {
		t.Errorf("token: %q %q %d", token, errs, code)
	}
	if out, errs, code := chatring(t, token, append([]string{"token", "explain", "-"}, settings...)...); code != exitOK {
		t.Errorf("explain: %q %q %d", out, errs, code)
	}
	for _, verb := range []string{"serve", "config"} {
		if _, errs, code := chatring(t, "", append([]string{verb, "--listen=127.0.0.1:0", "--ops-listen="}, settings...)...); code != exitUsage || !strings.Contains(errs, "broker: memory keeps nothing") {
			t.Errorf("%s with memory in production: %q, exit %d, want %d", verb, errs, code, exitUsage)
		}
	}
}
