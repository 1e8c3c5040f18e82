package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chatring/chatring/app/api"
	"github.com/chatring/chatring/app/config"
	"github.com/chatring/chatring/app/metrics"
)

func readDoc(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sameTable compares a section's table with the rows that it must have. The
// failure shows them, to be pasted.
func sameTable(t *testing.T, file, heading string, want []string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(section(t, readDoc(t, file), heading)) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table under %q in %s must be\n\n%s\n", heading, file, strings.Join(want, "\n"))
	}
}

// docs/operations.md lists every knob with its variable, default and purpose.
func TestKnobsAreDocumented(t *testing.T) {
	var rows []string
	for _, k := range config.Knobs {
		value := fmt.Sprint(k.Default)
		switch d := k.Default.(type) {
		case time.Duration:
			value = shortDuration(d)
		case []string:
			value = strings.Join(d, ",")
		}
		if value != "" {
			value = "`" + value + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s | %s |", k.Key, k.Env(), value, k.Help))
	}
	sameTable(t, "../docs/operations.md", "Knobs", rows)
}

// shortDuration writes 168h and 5m, not 168h0m0s and 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var (
	helpLine = regexp.MustCompile(`(?m)^# HELP (chatring_\S+) (.*)$`)
	typeLine = regexp.MustCompile(`(?m)^# TYPE (chatring_\S+) (\S+)$`)
)

// docs/operations.md lists every metric that /metrics prints.
func TestMetricsAreDocumented(t *testing.T) {
	set := metrics.New("1111", "test")
	set.WatchBroker(func() metrics.Broker { return metrics.Broker{} })
	set.WatchQueue("ingress", func() metrics.Queue { return metrics.Queue{} })
	labels := touchVectors(t, reflect.ValueOf(set).Elem())
	answer := httptest.NewRecorder()
	health := api.NewHealth(nil)
	api.Operators(health, set, nil).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	printed := answer.Body.String()

	kinds := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(printed, -1) {
		kinds[m[1]] = m[2]
	}
	rows := map[string]string{}
	for _, m := range helpLine.FindAllStringSubmatch(printed, -1) {
		name := "`" + m[1] + "`"
		if l := labels[m[1]]; l != "" {
			name = "`" + m[1] + "{" + l + "}`"
		}
		rows[m[1]] = fmt.Sprintf("| %s | %s | %s |", name, kinds[m[1]], m[2])
	}
	if len(rows) < 10 {
		t.Fatalf("/metrics prints %d metrics of ours: this test looks in the wrong place", len(rows))
	}
	var want []string
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		want = append(want, rows[name])
	}
	sameTable(t, "../docs/operations.md", "Metrics", want)
	for _, file := range documents(t) {
		for _, name := range metricName.FindAllString(readDoc(t, file), -1) {
			if rows[name] == "" {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

var metricName = regexp.MustCompile(`\bchatring_[a-z_]+`)

var descriptor = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// touchVectors gives every vector in a struct a first child, since one without
// children is not printed, and returns the labels of each by name.
func touchVectors(t *testing.T, v reflect.Value) map[string]string {
	t.Helper()
	labels := map[string]string{}
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Struct {
			maps.Copy(labels, touchVectors(t, f))
			continue
		}
		if !f.CanInterface() {
			continue
		}
		touch := touching(f.Interface())
		if touch == nil {
			continue
		}
		described := make(chan *prometheus.Desc, 1)
		f.Interface().(prometheus.Collector).Describe(described)
		m := descriptor.FindStringSubmatch((<-described).String())
		if m == nil {
			t.Fatal("a metric describes itself otherwise than expected")
		}
		labels[m[1]] = m[2]
		touch(strings.Split(m[2], ",")...)
	}
	return labels
}

// touching returns what gives a vector a child of some labels; nil: it is none.
func touching(vector any) func(labels ...string) {
	switch v := vector.(type) {
	case *prometheus.CounterVec:
		return func(labels ...string) { v.WithLabelValues(labels...).Inc() }
	case *prometheus.GaugeVec:
		return func(labels ...string) { v.WithLabelValues(labels...).Inc() }
	case *prometheus.HistogramVec:
		return func(labels ...string) { v.WithLabelValues(labels...).Observe(1) }
	}
	return nil
}

var (
	withDefault = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)-([^}]*)\}`)
	ifDefined   = regexp.MustCompile(`defined\(([A-Z][A-Z0-9_]*)\)`)
	nodeAddress = regexp.MustCompile(`^(WS|FRIENDS)\d_ADDR$`)
	firstCode   = regexp.MustCompile("(?m)^\\| `([A-Za-z0-9_]+)` \\|([^|]*)\\|")
)

// docs/operations.md lists every variable of haproxy.cfg with its default.
func TestHAProxyVariablesAreDocumented(t *testing.T) {
	file := readDoc(t, "../haproxy/haproxy.cfg")
	want := map[string]string{"WSn_ADDR": "", "FRIENDSn_ADDR": ""}
	for _, m := range ifDefined.FindAllStringSubmatch(file, -1) {
		if !nodeAddress.MatchString(m[1]) {
			want[m[1]] = ""
		}
	}
	for _, m := range withDefault.FindAllStringSubmatch(file, -1) {
		if m[1] != "NAME" { // the example in the file's head
			want[m[1]] = m[2]
		}
	}
	got := map[string]string{}
	for _, m := range firstCode.FindAllStringSubmatch(section(t, readDoc(t, "../docs/operations.md"), "HAProxy's variables"), -1) {
		got[m[1]] = strings.Trim(m[2], "` ")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[name]; !ok || want[name] != "" && value != want[name] {
			t.Errorf("docs/operations.md must list %s with the default %q, not %q", name, want[name], value)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("docs/operations.md lists what haproxy.cfg does not have: %v", got)
	}
}

var (
	link     = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unlinked = regexp.MustCompile(`[^\p{L}\p{N}_ -]`) // what a heading's anchor leaves out
	testName = regexp.MustCompile("`(Test[A-Z]\\w*)")
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	script   = regexp.MustCompile("`(scripts/[a-z0-9-]+)")
)

// testNames returns the name of every test of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, pattern := range []string{"../*", "../*/*", "../*/*/*"} {
		files, _ := filepath.Glob(pattern + "_test.go")
		for _, file := range files {
			for _, m := range testFunc.FindAllStringSubmatch(readDoc(t, file), -1) {
				tests[m[1]] = true
			}
		}
	}
	return tests
}

// documents are the repository's.
func documents(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/adr/*.md", "../haproxy/*.md", "../loadtest/*.md"} {
		files, _ := filepath.Glob(pattern)
		all = append(all, files...)
	}
	if len(all) < 10 {
		t.Fatalf("found %d documents: this test looks in the wrong place", len(all))
	}
	return all
}

// anchors are what links to a document's headings may name.
func anchors(document string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(document, -1) {
		names = append(names, strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// What the documents point at is there: files, headings, scripts, tests.
func TestDocumentsPointAtSomething(t *testing.T) {
	tests := testNames(t)
	for _, file := range documents(t) {
		text := readDoc(t, file)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := file
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(file), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", file, m[1])
			} else if m[2] != "" && !slices.Contains(anchors(readDoc(t, target)), m[2]) {
				t.Errorf("%s: %s has no heading for #%s", file, target, m[2])
			}
		}
		for _, m := range script.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat("../" + m[1]); err != nil {
				t.Errorf("%s: there is no %s", file, m[1])
			}
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", file, m[1])
			}
		}
	}
}
