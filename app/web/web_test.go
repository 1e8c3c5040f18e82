package web_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/web"
)

func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, r)
	return w.Result()
}

// Each file comes with its own type, and is asked for again each time.
func TestFiles(t *testing.T) {
	for target, want := range map[string]string{
		"/":                   "text/html; charset=utf-8",
		"/static/chat.css":    "text/css; charset=utf-8",
		"/static/chat.js":     "text/javascript; charset=utf-8",
		"/static/wire.js":     "text/javascript; charset=utf-8",
		"/static/timeline.js": "text/javascript; charset=utf-8",
		"/static/rows.js":     "text/javascript; charset=utf-8",
		"/static/ring.svg":    "image/svg+xml",
	} {
		res := get(t, "GET", target)
		if res.StatusCode != 200 {
			t.Errorf("%s: status = %d, want 200", target, res.StatusCode)
		}
		if got := res.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: Content-Type = %q, want %q", target, got, want)
		}
		if got, want := res.Header.Get("Cache-Control"), "no-cache"; got != want {
			t.Errorf("%s: Cache-Control = %q, want %q", target, got, want)
		}
	}
}

// A browser that has the file already is told so in a line.
func TestNotModified(t *testing.T) {
	etag := get(t, "GET", "/").Header.Get("ETag")
	if etag == "" {
		t.Fatal("no ETag")
	}
	if got, want := get(t, "GET", "/", "If-None-Match", etag).StatusCode, 304; got != want {
		t.Errorf("with its ETag: status = %d, want %d", got, want)
	}
	if got, want := get(t, "GET", "/", "If-None-Match", `"other"`).StatusCode, 200; got != want {
		t.Errorf("with another ETag: status = %d, want %d", got, want)
	}
}

// Nothing but the page's own files is to be had, and only by reading.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{"HEAD", "/", 200},
		{"POST", "/", 405},
		{"DELETE", "/static/chat.js", 405},
		{"GET", "/static/", 404},
		{"GET", "/static/index.html", 404},
		{"GET", "/static/../web.go", 404},
		{"GET", "/metrics", 404},
		{"GET", "//", 404},
	} {
		res := get(t, c.method, c.target)
		if res.StatusCode != c.want {
			t.Errorf("%s %s: status = %d, want %d", c.method, c.target, res.StatusCode, c.want)
		}
		if c.want == 405 && res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow = %q", c.method, c.target, res.Header.Get("Allow"))
		}
	}
}

// The page may run its own scripts and speak to its own host, and nothing else.
func TestPolicy(t *testing.T) {
	h := get(t, "GET", "http://chat.example:8080/").Header
	csp := h.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'; script-src 'self'; style-src 'self'; ",
		"connect-src 'self' ws://chat.example:8080 wss://chat.example:8080; ",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy lacks %q: %s", want, csp)
		}
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// A Host header cannot write into the policy.
func TestPolicyHost(t *testing.T) {
	for _, host := range []string{
		"", "a b", "x; script-src *", "x,y", "*", "x\r\nSet-Cookie: a=b", "'unsafe-inline'", "[::1]:8080", "x:80:90", strings.Repeat("x", 400),
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		web.Handler().ServeHTTP(w, r)
		if csp := w.Result().Header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self'; ") {
			t.Errorf("Host %q: policy = %s", host, csp)
		}
	}
}

// The policy has no room for inline code, and there is no other host to load
// from. What people wrote never becomes markup.
func TestSources(t *testing.T) {
	forbidden := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?i)<script(>|[^>]*[^>]>[^<])|<style|\sstyle=|\son[a-z]+=|(src|href)="(https?:)?//`),
		".js":   regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(style|on)`),
		".css":  regexp.MustCompile(`(?i)@import|url\(`),
	}
	err := fs.WalkDir(os.DirFS("static"), ".", func(name string, _ fs.DirEntry, err error) error {
		for ext, pattern := range forbidden {
			if err != nil || !strings.HasSuffix(name, ext) {
				continue
			}
			body, err := os.ReadFile("static/" + name)
			if err != nil {
				return err
			}
			if found := pattern.Find(body); found != nil {
				t.Errorf("%s contains %q", name, found)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
