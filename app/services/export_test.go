package services

// Callers returns how many services are remembered.
func Callers(a *API) int {
	a.callers.mu.Lock()
	defer a.callers.mu.Unlock()
	return len(a.callers.all)
}

// Routes are the endpoints, as "GET /api/rooms/{room}".
func Routes() (all []string) {
	for _, rt := range routes {
		all = append(all, rt.method+" "+rt.path)
	}
	return all
}
