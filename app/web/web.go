// Package web is the chat page: a few static files in the binary, and the
// headers that keep a page full of strangers' words harmless. It knows nothing
// of rooms; the page speaks to the cluster over its public wire.
package web

import (
	"bytes"
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

//go:embed static
var files embed.FS

// A file is one answer, complete but for the headers that depend on the request.
type file struct {
	contentType string
	etag        string
	body        []byte
}

// Handler serves the page at / and what it needs under /static/. Everything
// else is 404, and every method but GET and HEAD 405.
func Handler() http.Handler {
	pages := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		secure(w.Header(), r.Host)
		w.Header().Set("Content-Type", f.contentType)
		w.Header().Set("ETag", f.etag)
		// The files of one page come from whichever node answers. Asking each
		// time keeps a browser from mixing two releases for longer than a rollout.
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
	})
}

// load reads the embedded files by the path at which they are served. They
// are part of the binary, so a fault here is one of the build.
func load() map[string]file {
	pages := map[string]file{}
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		pages["/"+name] = file{
			contentType: contentType(name),
			etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
			body:        body,
		}
		return nil
	})
	if err != nil {
		panic("web: " + err.Error())
	}
	pages["/"] = pages["/static/index.html"]
	delete(pages, "/static/index.html")
	return pages
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
