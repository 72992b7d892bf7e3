package metrics

import (
	"fmt"
	"strings"
)

const heading = `# Metrics

<!-- Made by go test ./internal/metrics -args -rewrite. -->

The HTTP port (--http-listen, 127.0.0.1:8816 by default) serves these at /metrics, for Prometheus. The metrics
of the Go runtime (go_...) and of the process (process_...) stand beside them. None has a label for a user, a table or
a statement: system.queries, system.sessions, system.subscriptions and system.jobs say who does what.

| metric | type | labels | meaning |
|---|---|---|---|
`

// Page is docs/metrics.md, in Markdown.
func Page() string {
	var b strings.Builder
	b.WriteString(heading)
	for _, d := range List() {
		labels := make([]string, len(d.Labels))
		for i, l := range d.Labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(labels, ", "), d.Help)
	}
	return b.String()
}
