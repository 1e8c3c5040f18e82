package web

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// dist is what scripts/web would have built.
var dist = fstest.MapFS{
	"dist/.gitignore":          {Data: []byte("*")},
	"dist/page/index.html":     {Data: []byte("<!doctype html>")},
	"dist/page/assets/a.js":    {Data: []byte(strings.Repeat("let a;", 100))},
	"dist/page/assets/a.css":   {Data: []byte("a {}")},
	"dist/page/assets/a.svg":   {Data: []byte("<svg/>")},
	"dist/sdk/chat.js":         {Data: []byte("export {}")},
	"dist/sdk/chat.d.ts":       {Data: []byte("export {}")},
	"dist/ring/index.html":     {Data: []byte("for operators")},
	"dist/ring/assets/ring.js": {Data: []byte("for operators")},
}

func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	serve(chatFiles(dist)).ServeHTTP(w, r)
	return w.Result()
}

// Each file comes with its own type, and is asked for again each time.
func TestFiles(t *testing.T) {
	for target, want := range map[string]string{
		"/":              "text/html; charset=utf-8",
		"/assets/a.css":  "text/css; charset=utf-8",
		"/assets/a.js":   "text/javascript; charset=utf-8",
		"/assets/a.svg":  "image/svg+xml",
		"/sdk/chat.js":   "text/javascript; charset=utf-8",
		"/sdk/chat.d.ts": "text/plain; charset=utf-8",
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

// What gets shorter by it goes compressed to those who take that, under an ETag of its own.
func TestGzip(t *testing.T) {
	for header, want := range map[string]string{
		"gzip, deflate, br": "gzip", "br, gzip;q=0.5": "gzip", "GZIP": "gzip", "": "", "br": "", "gzip;q=0": "", "gzip;q=0.0": "", "xgzip": "",
	} {
		res := get(t, "GET", "/assets/a.js", "Accept-Encoding", header)
		if got := res.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding = %q, want %q", header, got, want)
		}
	}
	plain, short := get(t, "GET", "/assets/a.js"), get(t, "GET", "/assets/a.js", "Accept-Encoding", "gzip")
	if plain.Header.Get("ETag") == short.Header.Get("ETag") {
		t.Errorf("both forms have the ETag %s", plain.Header.Get("ETag"))
	}
	z, err := gzip.NewReader(short.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != string(dist["dist/page/assets/a.js"].Data) {
		t.Errorf("unzipped: %q, %v", got, err)
	}
	if got := get(t, "GET", "/assets/a.svg", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"); got != "" {
		t.Errorf("a file of six bytes: Content-Encoding = %q", got)
	}
}

// Pages of other origins may load the SDK, and nothing else.
func TestOtherOrigins(t *testing.T) {
	for target, want := range map[string]string{"/sdk/chat.js": "*", "/assets/a.js": "", "/": ""} {
		if got := get(t, "GET", target).Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin = %q, want %q", target, got, want)
		}
	}
}

// The operators' port has the live ring and nothing else, with the same headers.
func TestRing(t *testing.T) {
	for target, want := range map[string]int{
		"/ring/": 200, "/ring/assets/ring.js": 200, "/": 404, "/assets/a.js": 404, "/ring/assets/a.js": 404, "/ring/index.html": 404,
	} {
		w := httptest.NewRecorder()
		serve(ringFiles(dist)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", target, nil))
		if w.Code != want || want == 200 && (w.Body.String() != "for operators" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "script-src 'self'")) {
			t.Errorf("%s: %d %q %v, want %d", target, w.Code, w.Body, w.Header(), want)
		}
	}
}

// A node that was built without the pages says how to get them.
func TestUnbuilt(t *testing.T) {
	nothing := fstest.MapFS{"dist/.gitignore": {}}
	for target, files := range map[string]map[string]file{"/": chatFiles(nothing), "/ring/": ringFiles(nothing)} {
		w := httptest.NewRecorder()
		serve(files).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", target, nil))
		if got := w.Body.String(); w.Code != 200 || !strings.Contains(got, "scripts/web") {
			t.Errorf("%s: %d %s", target, w.Code, got)
		}
	}
}

// What is built has pages whose scripts and styles are there.
func TestBuilt(t *testing.T) {
	for page, files := range map[string]map[string]file{"/": chatFiles(built), "/ring/": ringFiles(built)} {
		sources := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllSubmatch(files[page].body, -1)
		if len(sources) < 2 {
			t.Fatalf("%s names no scripts: run scripts/web first. It is: %.300s", page, files[page].body)
		}
		for _, source := range sources {
			if _, ok := files[string(source[1])]; !ok {
				t.Errorf("%s names %s, which is not there", page, source[1])
			}
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
		{"DELETE", "/assets/a.js", 405},
		{"GET", "/assets/", 404},
		{"GET", "/index.html", 404},
		{"GET", "/assets/../web.go", 404},
		{"GET", "/ring/", 404},
		{"GET", "/ring/assets/ring.js", 404},
		{"GET", "/.gitignore", 404},
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
		serve(chatFiles(dist)).ServeHTTP(w, r)
		if csp := w.Result().Header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self'; ") {
			t.Errorf("Host %q: policy = %s", host, csp)
		}
	}
}

// The policy has no room for inline code, and there is no other host to load
// from. What people wrote never becomes markup.
func TestSources(t *testing.T) {
	script := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(style|on)`)
	forbidden := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?i)<script(>|[^>]*[^>]>[^<])|<style|\sstyle=|\son[a-z]+=|(src|href)="(https?:)?//`),
		".js":   script, ".ts": script, ".tsx": script,
		".css": regexp.MustCompile(`(?i)@import|url\(`),
	}
	looked := 0
	for _, folder := range []string{"page", "ring", "sdk/src"} {
		err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
			pattern := forbidden[filepath.Ext(name)]
			if err != nil || entry.IsDir() || pattern == nil {
				return err
			}
			body, err := os.ReadFile(filepath.Join(folder, name))
			if found := pattern.Find(body); found != nil {
				t.Errorf("%s/%s contains %q", folder, name, found)
			}
			looked++
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if looked < 5 {
		t.Errorf("only %d sources were looked at", looked)
	}
}

// TestPackages: the lock file has the packages of every platform. npm leaves out those
// that its registry lacks: a Mac has no bundler then, and npm 11.10 refuses the file.
func TestPackages(t *testing.T) {
	raw, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Optional map[string]string `json:"optionalDependencies"`
		}
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	named := 0
	for path, p := range lock.Packages {
		for name := range p.Optional {
			named++
			_, inside := lock.Packages[path+"/node_modules/"+name]
			if _, beside := lock.Packages["node_modules/"+name]; !inside && !beside {
				t.Errorf("%s wants %s on some platform, which package-lock.json does not have: take a version that the registry has whole", path, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("package-lock.json names %d packages of platforms: is it read rightly?", named)
	}
}
