package hostiletest

import (
	"net/http"
	"strings"
)

// directSpelled asks for the rooms of two users, as nobody may write them. A
// needless escape and two users in another order are the node's to find.
func directSpelled(s *scene) {
	badRoom, forbidden := answer{400, "bad_room"}, answer{403, "forbidden"}
	long := strings.Repeat("=7C", 129)
	for room, front := range map[string]answer{
		"@a+b": forbidden, "@auth0=7C5f+b": forbidden,
		"@a%2Bb": badRoom, "%40a+b": badRoom, "@a%3D7Cb+c": badRoom, "@A+@B": badRoom, "@alice": badRoom, "@": badRoom, "@+": badRoom,
		"@a+": badRoom, "@+b": badRoom, "@a+b+c": badRoom, "@a=2bb+c": badRoom, "@a=+b": badRoom, "@a=2+b": badRoom, "@a|b+c": badRoom,
		"@" + long + "+a": badRoom, "@a+" + long: badRoom, "!nodes": badRoom,
		"@b+a": badRoom, "@a+a": badRoom, "@=61+b": badRoom, "@=41+=42": badRoom, "@a=20b+c": badRoom, "@a=0D=0Ab+c": badRoom, "@=FF+a": badRoom,
	} {
		for _, door := range []string{"/ws/chat/", "/ws/watch/"} {
			s.refuses(s.cluster.Front(), room, Handshake(door+room+"?user=mallory", nil), front)
		}
		if front == badRoom {
			s.refuses(s.cluster.Front(), room, get("/shard/"+room), badRoom)
		}
	}
	for room, node := range map[string]answer{"@a+b": forbidden, "@a%2Bb": forbidden, "@alice": forbidden, "@b+a": badRoom, "@=61+b": badRoom, "@" + long + "+a": badRoom} {
		s.refuses(s.cluster.Node(1), room, Handshake("/ws/chat/"+room+"?user=mallory", nil), node)
	}
}

// apiStrayed asks for paths of the API that leave theirs, or that have another
// spelling, and as the page of another site.
func apiStrayed(s *scene) {
	badRoom, badPath, badOrigin := answer{400, "bad_room"}, answer{400, "bad_path"}, answer{403, "bad_origin"}
	for path, front := range map[string]answer{
		"//api/rooms/x/messages": badPath, "/api//rooms/x/messages": badPath, "/api/rooms//x/messages": badRoom, "/api/rooms/x//messages": badPath,
		"/%61pi/rooms/x/messages": badPath, "/api%2Frooms/x/messages": badPath, "/api/%72ooms/x/messages": badPath, "/api/rooms%2Fx/messages": badPath,
		"/api/./rooms/x": badPath, "/api/../metrics": badPath, "/api/%2e%2e/metrics": badPath, "/api/.%2E/metrics": badPath, "/api/rooms/x/..": badPath,
		"/api/rooms/x/%2e%2e/y": badPath, "/api/rooms/../rooms/x": badRoom, "/api/rooms/%2e%2e/x": badRoom, "/x/../api/rooms/x": {status: 307},
		"/api/rooms/": badRoom, "/api/rooms/a%2Fb/messages": badRoom, "/api/rooms/a%2Db": badRoom, "/api/rooms/-a": badRoom, "/api/rooms/%40a+b/messages": badRoom,
		"/api/rooms/@alice/messages": badRoom, "/api/rooms/" + strings.Repeat("a", 65): badRoom,
		"/API/rooms/x/messages": {status: 404}, "/Api/rooms/x": {status: 404}, "/api.": {status: 404},
	} {
		s.refuses(s.cluster.Front(), path, get(path), front)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
		for _, origin := range []string{"https://evil.example", "null", "http://" + Host + ".evil.example", "http://" + Host + ":8081"} {
			request := method + " /api/rooms/lobby/messages HTTP/1.1\r\nHost: " + Host + "\r\nContent-Length: 0\r\nOrigin: " + origin + "\r\n\r\n"
			s.refuses(s.cluster.Front(), method+" from "+origin, request, badOrigin)
		}
	}
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: " + Host + "\r\n\r\n" }
