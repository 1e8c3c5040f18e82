package main

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module is this repository's import path.
const module = "github.com/chatring/chatring"

// mayImport is the import table: what of ours each package may import. Imports
// point down only. Tests may import more; only they may import chattest.
// ARCHITECTURE.md holds the same table.
var mayImport = map[string][]string{
	"chat":        {},
	"config":      {},
	"web":         {},
	"metrics":     {},
	"protocol":    {"chat"},
	"auth":        {"chat"},
	"membroker":   {"chat"},
	"redisconn":   {},
	"redisbroker": {"chat", "redisconn"},
	"redisstore":  {"chat", "protocol", "friends", "bookmarks", "hooks", "redisconn"},
	"memstore":    {"chat", "protocol", "friends", "bookmarks"},
	"bookmarks":   {"chat"},
	"ingress":     {"chat", "protocol"},
	"hub":         {"chat", "protocol", "metrics"},
	"cluster":     {"chat", "protocol", "hub"},
	"session":     {"chat", "protocol", "hub", "metrics", "bookmarks"},
	"gateway":     {"chat", "protocol", "hub", "session", "auth", "metrics"},
	"friends":     {"chat", "protocol", "session", "metrics"},
	"api":         {"chat", "metrics"},
	"services":    {"chat", "protocol", "hub", "auth", "metrics"},
	"home":        {"chat", "metrics"},
	"hooks":       {"chat", "protocol", "metrics"},
	"ring":        {"chat", "metrics"},
	"chattest":    {"chat", "protocol", "metrics", "membroker", "memstore", "hub", "session", "bookmarks"},
	"main":        {"chat", "config", "web", "metrics", "auth", "membroker", "redisbroker", "redisconn", "redisstore", "memstore", "bookmarks", "friends", "hub", "cluster", "session", "gateway", "services", "protocol", "home", "api", "hooks", "ingress", "ring"},
	"friendstest": {"chat", "protocol", "friends"},
	"clustertest": {},
	"hostiletest": {"clustertest"},
	"loadtest":    {"proc"},
}

// mayUse says which packages alone may import a module that is not ours, in
// what is no test. A module that is missing here may be imported by none.
// ARCHITECTURE.md says what each is for.
var mayUse = map[string][]string{
	"github.com/cenkalti/backoff/v5":                           {"hooks"},
	"github.com/coder/websocket":                               {"loadtest", "clustertest"},
	"github.com/go-jose/go-jose/v4":                            {"auth"},
	"github.com/golang-jwt/jwt/v5":                             {"auth"},
	"github.com/sony/gobreaker/v2":                             {"hooks"},
	"github.com/standard-webhooks/standard-webhooks/libraries": {"hooks"},
	"github.com/lxzan/gws":                                     {"gateway"},
	"github.com/prometheus/client_golang":                      {"metrics", "api"},
	"github.com/redis/go-redis/v9":                             {"redisbroker", "redisconn", "redisstore"},
	"github.com/spf13/cobra":                                   {"main"},
	"github.com/spf13/pflag":                                   {"config"},
	"github.com/spf13/viper":                                   {"config"},
	"golang.org/x/sync":                                        {"home", "loadtest", "main", "redisbroker", "services"},
	"golang.org/x/sys":                                         {"loadtest", "main"},
	"golang.org/x/time":                                        {"gateway", "services", "session"},
}

// badNames say nothing of what a package knows.
var badNames = []string{
	"base", "common", "core", "data", "helper", "helpers", "info", "lib", "manager",
	"misc", "process", "shared", "types", "util", "utils",
}

// A goPackage is what the Go files of one folder, but for tests, say of
// themselves.
type goPackage struct {
	name    string
	comment string
	imports map[string]string // path → the file that has it; without those of tests
}

// goPackages reads every package of this module, whose root is the parent of
// this folder, by folder.
func goPackages(t *testing.T) map[string]*goPackage {
	t.Helper()
	packages := map[string]*goPackage{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "build" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return fs.SkipDir
		case d.IsDir() && file != ".." && isModule(file):
			return fs.SkipDir // another one, which go.mod knows nothing of
		case filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(file))
		p := packages[folder]
		if p == nil {
			p = &goPackage{name: f.Name.Name, imports: map[string]string{}}
			packages[folder] = p
		}
		p.add(file, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("found %d packages: this test looks in the wrong place", len(packages))
	}
	return packages
}

func isModule(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func (p *goPackage) add(file string, f *ast.File) {
	if f.Doc != nil {
		p.comment += f.Doc.Text()
	}
	for _, i := range f.Imports {
		p.imports[strings.Trim(i.Path.Value, `"`)] = file
	}
}

// key is a package's name in the tables. All commands that look at the cluster
// from outside are one there.
func (p *goPackage) key(folder string) string {
	if strings.HasPrefix(folder, "../loadtest/") {
		return "loadtest"
	}
	return p.name
}

// Imports of ours point down only, as the table says.
func TestImportTable(t *testing.T) {
	seen := map[string]bool{}
	for folder, p := range goPackages(t) {
		key := p.key(folder)
		allowed, known := mayImport[key]
		if !known || seen[key] && key != "loadtest" {
			t.Errorf("%s: package %q is not in the import table, or twice", folder, key)
		}
		seen[key] = true
		for imported, file := range p.imports {
			of, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.Contains(allowed, path.Base(of)) {
				t.Errorf("%s imports %s: package %s may import %v", file, path.Base(of), key, allowed)
			}
		}
	}
	for key := range mayImport {
		if !seen[key] {
			t.Errorf("package %s is in the import table and nowhere else", key)
		}
	}
}

// A module from outside is known to the packages that wrap it, and to no other.
func TestOutsideImports(t *testing.T) {
	used := map[string]bool{}
	for folder, p := range goPackages(t) {
		for imported, file := range p.imports {
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(imported, module+"/") {
				continue // the standard library, or ours
			}
			of := moduleOf(imported)
			used[of] = true
			if !slices.Contains(mayUse[of], p.key(folder)) {
				t.Errorf("%s imports %s: only %v may", file, imported, mayUse[of])
			}
		}
	}
	for m := range mayUse {
		if !used[m] {
			t.Errorf("%s is in the table and imported by nobody", m)
		}
	}
}

// moduleOf returns the entry of mayUse that a path belongs to, or the path.
func moduleOf(imported string) string {
	for m := range mayUse {
		if imported == m || strings.HasPrefix(imported, m+"/") {
			return m
		}
	}
	return imported
}

// A package is a sentence: "Package hub is this node's rooms …".
func TestPackageComments(t *testing.T) {
	for folder, p := range goPackages(t) {
		begins := "Package " + p.name + " "
		if p.name == "main" {
			begins = "Command "
		}
		sentence := new(doc.Package).Synopsis(p.comment)
		if !strings.HasPrefix(sentence, begins) || !strings.HasSuffix(sentence, ".") {
			t.Errorf("%s: the package comment begins %q, want a sentence that begins %q", folder, sentence, begins)
		}
		if slices.Contains(badNames, path.Base(folder)) || slices.Contains(badNames, p.name) {
			t.Errorf("%s: %q says nothing of what the package knows", folder, p.name)
		}
	}
}

// ARCHITECTURE.md shows the tables that are held here.
func TestArchitectureTables(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := tableRows(section(t, string(text), "Import table"))
	for _, key := range slices.Sorted(maps.Keys(mayImport)) {
		row, ok := packages[key]
		if !ok {
			t.Errorf("the import table of ARCHITECTURE.md lacks %s", key)
			continue
		}
		got, want := codeWords(row[0]), slices.Sorted(slices.Values(mayImport[key]))
		if key == "main" && row[0] == "all but those for tests" {
			got = want
		}
		if !slices.Equal(got, want) {
			t.Errorf("ARCHITECTURE.md lets %s import %v, want %v", key, got, want)
		}
	}
	if len(packages) != len(mayImport) {
		t.Errorf("the import table of ARCHITECTURE.md has %d packages, want %d", len(packages), len(mayImport))
	}
	modules := tableRows(section(t, string(text), "Dependencies"))
	for m, users := range mayUse {
		row, ok := modules[strings.TrimPrefix(m, "github.com/")]
		if !ok {
			t.Errorf("the dependencies of ARCHITECTURE.md lack %s", m)
			continue
		}
		if got, want := codeWords(row[0]), slices.Sorted(slices.Values(users)); !slices.Equal(got, want) {
			t.Errorf("ARCHITECTURE.md says that %v use %s, want %v", got, m, want)
		}
	}
}

// section returns the part of a Markdown text under a heading of the second
// level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// tableRows returns the rows of a Markdown text's tables whose first cell is
// `code`, under that word, without that cell.
func tableRows(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if words := codeWords(cells[0]); len(cells) > 1 && len(words) == 1 && cells[0] == "`"+words[0]+"`" {
			rows[words[0]] = cells[1:]
		}
	}
	return rows
}

var codeWord = regexp.MustCompile("`([^`]+)`")

// codeWords returns the words of a text that stand as `code`, sorted.
func codeWords(text string) []string {
	var words []string
	for _, m := range codeWord.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	slices.Sort(words)
	return words
}
