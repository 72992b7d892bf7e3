package metrics_test

import (
	"flag"
	"os"
	"testing"

	"kalamflight/internal/metrics"
)

var rewrite = flag.Bool("rewrite", false, "write docs/metrics.md anew")

// TestPage keeps docs/metrics.md current.
func TestPage(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := metrics.Page()
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the metrics are: run this test with -args -rewrite", path)
	}
}
