// Package web is what browsers are given: the chat page, the JavaScript SDK and the
// live ring, as scripts/web has built them, in the binary, and the headers that keep
// pages full of strangers' words harmless. It knows nothing of rooms; the page
// speaks to the cluster over its public wire.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

// built is empty but for .gitignore in a node that was built without scripts/web.
//
//go:embed all:dist
var built embed.FS

// A file is one answer, complete but for the headers that depend on the request.
type file struct {
	contentType string
	etag        string
	body        []byte
	gzipped     []byte // nil where that saves nothing
	public      bool   // pages of other origins may load it
}

// Handler serves the page at /, what it needs under /assets/, and the SDK under /sdk/.
// Everything else is 404, and every method but GET and HEAD 405.
func Handler() http.Handler { return serve(chatFiles(built)) }

// chatFiles are the files of the page and of the SDK, by the paths at which they are served.
func chatFiles(from fs.FS) map[string]file {
	files := load(from, "dist/page", "/")
	for name, f := range load(from, "dist/sdk", "/sdk/") {
		f.public = true
		files[name] = f
	}
	if _, ok := files["/"]; !ok {
		files["/"] = unbuilt
	}
	return files
}

// RingHandler serves the live ring's page at /ring/, and what it needs below.
func RingHandler() http.Handler { return serve(ringFiles(built)) }

func ringFiles(from fs.FS) map[string]file {
	files := load(from, "dist/ring", "/ring/")
	if _, ok := files["/ring/"]; !ok {
		files["/ring/"] = unbuilt
	}
	return files
}

// unbuilt stands for a page that is not in the binary.
var unbuilt = newFile(".html", []byte(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>chatring</title>
<h1>This node has no page</h1>
<p>It was built without one, and serves all else. To have the page, run <code>scripts/web</code>
(it needs Node.js 18 and npm), then build the node again.</p>
`))

func serve(files map[string]file) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		f.serve(w, r)
	})
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	secure(h, r.Host)
	if f.public {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Vary", "Accept-Encoding")
	// The files of one page come from whichever node answers. Asking each
	// time keeps a browser from mixing two releases for longer than a rollout.
	h.Set("Cache-Control", "no-cache")
	body, etag := f.body, f.etag
	if f.gzipped != nil && takesGzip.MatchString(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body, etag = f.gzipped, f.etag+"-gzip"
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip finds gzip in Accept-Encoding (RFC 9110 §12.5.3), unless its weight is 0.
var takesGzip = regexp.MustCompile(`(?i)(^|[ ,])gzip\s*(;\s*q=(1|0\.0*[1-9])[0-9.]*\s*)?(,|$)`)

// load reads the files of a folder by the paths at which they are served; its
// index.html is served at the prefix itself. A folder that was not built has none.
func load(from fs.FS, folder, prefix string) map[string]file {
	files := map[string]file{}
	_ = fs.WalkDir(from, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		at := prefix + strings.TrimPrefix(name, folder+"/")
		files[strings.TrimSuffix(at, "index.html")] = newFile(name, body)
		return nil
	})
	return files
}

func newFile(name string, body []byte) file {
	sum := sha256.Sum256(body)
	f := file{contentType: contentType(name), etag: hex.EncodeToString(sum[:12]), body: body}
	var short bytes.Buffer
	z, _ := gzip.NewWriterLevel(&short, gzip.BestCompression) // a level that exists
	_, _ = z.Write(body)                                      // to memory
	_ = z.Close()
	if short.Len() < len(body) {
		f.gzipped = short.Bytes()
	}
	return f
}

// contentType is known here for each kind of file that the page has: the
// table of the operating system may say otherwise, or be missing.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".ts":
		return "text/plain; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}

// host is what may stand in a policy: a name or an IPv4 address, with or
// without a port. Nothing in it can end a directive.
var host = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?$`)

// secure sets what a browser shall refuse to do with the page. Sockets are
// named beside 'self' because not every browser counts ws://host as its own
// (MDN, CSP connect-src); a Host that cannot be named leaves 'self' alone.
func secure(h http.Header, hostport string) {
	connect := "'self'"
	if host.MatchString(hostport) {
		connect += " ws://" + hostport + " wss://" + hostport
	}
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src 'self'",
		"connect-src " + connect,
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
