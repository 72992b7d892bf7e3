package endtoend

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"kalamflight/internal/metrics"
	"kalamflight/internal/server"
)

// get reads a page of the HTTP port.
func get(t *testing.T, s *server.Server, path string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTPAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestMetrics scrapes a server that has worked: the page is well formed, every metric that is documented is there, and
// it says what was done.
func TestMetrics(t *testing.T) {
	s := start(t, server.Options{Version: "1.2.3"})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)")
	c.exec("INSERT INTO t SELECT generate_series FROM generate_series(1, 1000)")
	c.exec("FLUSH TABLE t")
	if got := c.query("SELECT count(*) FROM t WHERE id > 10"); len(got) != 1 {
		t.Fatal(got)
	}
	if _, err := c.tryQuery("SELECT 1 / (id - id) FROM t"); err == nil {
		t.Fatal("a division by zero passed")
	}
	code, page := get(t, s, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, page)
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "kalamflight_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	idle := map[string]bool{"kalamflight_killed_total": true, "kalamflight_refused_total": true,
		"kalamflight_logins_total": true}
	for _, d := range metrics.List() {
		if !strings.Contains(page, "\n# TYPE "+d.Name+" "+d.Type+"\n") && !idle[d.Name] {
			t.Errorf("%s %s is missing", d.Type, d.Name)
		}
	}
	for _, want := range []string{`kalamflight_build_info{go_version="go1.`, `version="1.2.3"`,
		`kalamflight_statements_total{kind="insert",outcome="ok"} 1`,
		`kalamflight_statements_total{kind="select",outcome="failed"} 1`,
		"kalamflight_rows_written_total 1000\n", "kalamflight_flushed_rows_total 1000\n", "kalamflight_log_failed 0\n",
		`kalamflight_statement_duration_seconds_count{kind="select"} 2`,
		`kalamflight_grpc_calls_total{code="OK",method="FlightService/GetFlightInfo"}`,
		"\nkalamflight_log_sync_duration_seconds_bucket{le=", "\ngo_goroutines "} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing in\n%s", want, page)
		}
	}
}

// TestHealth says that a server is ready, until it stops.
func TestHealth(t *testing.T) {
	s := start(t, server.Options{HTTP: server.HTTP{Token: "open sesame"}})
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/": 200, "/metrics": 401, "/debug/pprof/": 404,
		"/etc/passwd": 404} {
		if code, body := get(t, s, path); code != want {
			t.Errorf("%s: %d %q, want %d", path, code, body, want)
		}
	}
	if code, _ := get(t, s, "/metrics", "Authorization", "Bearer open sesame"); code != 200 {
		t.Errorf("with the token: %d", code)
	}
	if code, _ := get(t, s, "/metrics", "Authorization", "Bearer open"); code != 401 {
		t.Errorf("with another token: %d", code)
	}
	if code, _ := get(t, s, "/readyz", "Origin", "https://example.com"); code != 403 {
		t.Errorf("from a page: %d", code)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	stop(t, s)
	if err := s.Ready(); err == nil {
		t.Error("a server that has stopped is ready")
	}
}
