// Package metrics shows the numbers of the engine and the wire to Prometheus. It counts nothing itself: each scrape
// reads what the rooms have counted. No metric has a label for a user, a table or a statement, so that their number
// does not grow with the data.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kalamflight/engine"
	"kalamflight/flightsrv"
	"kalamflight/internal/tally"
)

// Options say where the numbers are read. All but Logger are required.
type Options struct {
	Engine func() engine.Stats
	Wire   func() flightsrv.Stats
	// Version is the label of kalamflight_build_info.
	Version string
	// Logger hears of scrapes that fail; nil discards.
	Logger *slog.Logger
}

// New makes the handler of /metrics: ours, those of the Go runtime and those of the process.
func New(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{o: o, all: definitions()}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: complaints{o.Logger},
		MaxRequestsInFlight: scrapesMax, EnableOpenMetrics: true})
}

// scrapesMax bounds the scrapes at once.
const scrapesMax = 4

// complaints logs what promhttp complains about.
type complaints struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (c complaints) Println(v ...any) { c.log.Warn("metrics", "err", v) }

// Description is what the documentation says of a metric.
type Description struct {
	Name, Type, Help string
	Labels           []string
}

// List describes our own metrics, in the order in which they are documented.
func List() []Description {
	var all []Description
	for _, d := range definitions() {
		one := Description{Name: d.name, Help: d.help, Type: "gauge"}
		switch {
		case d.histogram != nil:
			one.Type = "histogram"
		case d.kind == prometheus.CounterValue:
			one.Type = "counter"
		}
		one.Labels = d.labels
		all = append(all, one)
	}
	return all
}

// reading is what one scrape shows.
type reading struct {
	engine  engine.Stats
	wire    flightsrv.Stats
	version string
}

// definition is one metric: values or, when histogram is set, distributions by the value of its only label, "" for a
// metric without one.
type definition struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	values     func(r *reading, emit func(v float64, labels ...string))
	histogram  func(r *reading) map[string]tally.Distribution
	desc       *prometheus.Desc
}

type collector struct {
	o   Options
	all []definition
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for i := range c.all {
		to <- c.all[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	r := &reading{engine: c.o.Engine(), wire: c.o.Wire(), version: c.o.Version}
	for i := range c.all {
		d := &c.all[i]
		if d.histogram == nil {
			d.values(r, func(v float64, labels ...string) {
				to <- prometheus.MustNewConstMetric(d.desc, d.kind, v, labels...)
			})
			continue
		}
		for label, dist := range d.histogram(r) {
			labels := []string{label}[:len(d.labels)]
			to <- prometheus.MustNewConstHistogram(d.desc, uint64(dist.Count), float64(dist.SumNS)/1e9, cumulative(dist),
				labels...)
		}
	}
}

// cumulative turns buckets into Prometheus' own, each of which has those below it.
func cumulative(d tally.Distribution) map[float64]uint64 {
	out := map[float64]uint64{}
	var sum uint64
	for i, bound := range tally.Bounds() {
		sum += uint64(d.Buckets[i])
		out[bound.Seconds()] = sum
	}
	return out
}

// goVersion is a label of the build.
func goVersion() string { return runtime.Version() }
