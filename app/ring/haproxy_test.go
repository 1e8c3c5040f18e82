package ring

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// What HAProxy 2.6 said of four nodes, one well, one dead, one that drains and one that
// has failed a check; the other backends are not the ring.
func TestParseStats(t *testing.T) {
	f, err := os.Open("testdata/haproxy-2.6.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	servers, err := parseStats(f, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{
		{"ws1", "1111", 100, "UP", true, "", 975_000, "L7OK"},
		{"ws2", "2222", 100, "DOWN", false, "HAProxy finds it down", 975_000, "L7OK"},
		{"ws3", "3333", 100, "NOLB", false, "it drains", 975_000, "L7OK"},
		{"ws4", "4444", 100, "UP 2/3", true, "", 975_000, "L7OK"},
	}
	if !reflect.DeepEqual(servers, want) {
		t.Errorf("servers = %+v, want %+v", servers, want)
	}
}

// Another version has other columns in another order, and may lack the configured weight.
func TestParseStatsByName(t *testing.T) {
	servers, err := parseStats(strings.NewReader(`# type,svname,pxname,sid,new_in_4,status,lastchg,weight,check_status,uweight
2,b,be_chat,10001,"a ""quoted"", thing",MAINT (resolution),7,50,
2,a,be_chat,2222,,no check,,100,
2,d,be_chat,4444,,DRAIN,1,0,L7OK,100
2,e,be_chat,5555,,UP,2,0,L7OK,
2,c,be_web,3333,,UP,7,100,
1,BACKEND,be_chat,0,,UP,7,150,
`), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{
		{"a", "2222", 100, "no check", true, "", 10_000, ""},
		{"d", "4444", 100, "DRAIN", false, "it drains", 9000, "L7OK"},
		{"e", "5555", 0, "UP", false, "its weight is 0", 8000, "L7OK"},
		{"b", "10001", 50, "MAINT (resolution)", false, "HAProxy was told to leave it alone", 3000, ""},
	}
	if !reflect.DeepEqual(servers, want) {
		t.Errorf("servers = %+v, want %+v", servers, want)
	}
}

// What is no statistics of a cluster's HAProxy is an error.
func TestParseStatsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"a page":        "<html>\n<p>,</p>",
		"other columns": "# pxname,svname\nbe_chat,ws1\n",
		"no ring":       "# pxname,svname,status,weight,lastchg,sid,type\nbe_web,ws1,UP,100,1,1111,2\n",
		"a broken line": "# pxname,svname,status,weight,lastchg,sid,type\nbe_chat,\"ws1\n",
	} {
		if servers, err := parseStats(strings.NewReader(text), 0); err == nil {
			t.Errorf("%s: %+v, want an error", name, servers)
		}
	}
}
