package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"kalamflight/internal/tally"
)

// prefix is that of every metric of ours.
const prefix = "kalamflight_"

// gauge and counter are metrics of one value.
func gauge(name, help string, value func(*reading) int64) definition {
	return definition{name: prefix + name, help: help, kind: prometheus.GaugeValue, values: single(value)}
}

func counter(name, help string, value func(*reading) int64) definition {
	return definition{name: prefix + name, help: help, kind: prometheus.CounterValue, values: single(value)}
}

func single(value func(*reading) int64) func(*reading, func(float64, ...string)) {
	return func(r *reading, emit func(float64, ...string)) { emit(float64(value(r))) }
}

// counters are a metric with labels.
func counters(name, help string, labels []string, values func(*reading, func(float64, ...string))) definition {
	return definition{name: prefix + name, help: help, kind: prometheus.CounterValue, labels: labels, values: values}
}

func histogram(name, help string, labels []string, read func(*reading) map[string]tally.Distribution) definition {
	return definition{name: prefix + name, help: help, labels: labels, histogram: read}
}

// seconds of milliseconds.
func seconds(ms int64) float64 { return float64(ms) / 1e3 }

func toInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// definitions are all metrics of ours.
func definitions() []definition {
	var all []definition
	for _, part := range [][]definition{serverMetrics(), statementMetrics(), memoryMetrics(), logMetrics(), jobMetrics(),
		subscriptionMetrics(), wireMetrics()} {
		all = append(all, part...)
	}
	for i := range all {
		all[i].desc = prometheus.NewDesc(all[i].name, all[i].help, all[i].labels, nil)
	}
	return all
}

func serverMetrics() []definition {
	return []definition{
		{name: prefix + "build_info", help: "Always 1; the labels say what runs.", kind: prometheus.GaugeValue,
			labels: []string{"version", "go_version"},
			values: func(r *reading, emit func(float64, ...string)) { emit(1, r.version, goVersion()) }},
		gauge("uptime_seconds", "Time since the data folder was opened.",
			func(r *reading) int64 { return r.engine.UptimeSeconds }),
		gauge("sessions", "Sessions that are open.", func(r *reading) int64 { return r.engine.Sessions }),
		gauge("connections", "Transport connections that are open.", func(r *reading) int64 { return r.wire.Conns }),
		counters("logins_total", "Logins, by how (password, token, jwt and the like) and outcome (ok, failed).",
			[]string{"how", "outcome"}, func(r *reading, emit func(float64, ...string)) {
				for key, n := range r.engine.Logins {
					emit(float64(n), key.How, string(key.Outcome))
				}
			}),
	}
}

func statementMetrics() []definition {
	return []definition{
		gauge("queries_running", "Statements that run now, subscriptions apart.",
			func(r *reading) int64 { return r.engine.Queries }),
		counters("statements_total", "Statements that have ended, by kind (select, insert, update, delete, ingest, explain, "+
			"subscribe, define) and outcome (ok, failed, canceled).", []string{"kind", "outcome"},
			func(r *reading, emit func(float64, ...string)) {
				for key, n := range r.engine.Statements {
					emit(float64(n), key.Kind, string(key.Outcome))
				}
			}),
		histogram("statement_duration_seconds", "Time from the start of a statement to its last row or its answer, by kind.",
			[]string{"kind"}, func(r *reading) map[string]tally.Distribution { return r.engine.Took }),
		counters("killed_total", "What KILL has ended, by what it was: query, subscription, session or job.",
			[]string{"what"}, labelled(func(r *reading) map[string]int64 { return r.engine.Killed })),
		counters("refused_total", "Statements that a quota of their user or a limit of the server turned away, by the name "+
			"of the limit.", []string{"limit"}, labelled(func(r *reading) map[string]int64 { return r.engine.Refused })),
		counter("rows_returned_total", "Rows that clients have read, those of subscriptions among them.",
			func(r *reading) int64 { return r.engine.RowsReturned }),
		counter("returned_bytes_total", "Bytes of Arrow data that clients have read, those of subscriptions among them.",
			func(r *reading) int64 { return r.engine.BytesReturned }),
		counter("rows_written_total", "Rows that commits have written.",
			func(r *reading) int64 { return r.engine.Tablets.RowsWritten }),
		counter("rows_ended_total", "Row versions that commits have deleted or replaced.",
			func(r *reading) int64 { return r.engine.Tablets.MarksWritten }),
		counter("commits_total", "Commits.", func(r *reading) int64 { return r.engine.Tablets.Commits }),
		counter("conflicts_total", "Commits that were refused because another one came first.",
			func(r *reading) int64 { return r.engine.Tablets.Conflicts }),
		counter("plan_cache_hits_total", "Statements that found their compiled plan.",
			func(r *reading) int64 { return r.wire.PlanHits }),
		counter("plan_cache_misses_total", "Statements that were compiled.",
			func(r *reading) int64 { return r.wire.PlanMisses }),
	}
}

func labelled(read func(*reading) map[string]int64) func(*reading, func(float64, ...string)) {
	return func(r *reading, emit func(float64, ...string)) {
		for label, n := range read(r) {
			emit(float64(n), label)
		}
	}
}

func memoryMetrics() []definition {
	return []definition{
		gauge("query_memory_bytes", "Memory that running statements hold.",
			func(r *reading) int64 { return r.engine.MemoryBytes }),
		gauge("query_memory_peak_bytes", "The most memory that statements ever held together.",
			func(r *reading) int64 { return r.engine.MemoryPeakBytes }),
		gauge("query_memory_limit_bytes", "What they may hold together (--total-bytes).",
			func(r *reading) int64 { return r.engine.MemoryLimitBytes }),
		gauge("spill_bytes", "Rows that running statements have on the disk.",
			func(r *reading) int64 { return r.engine.SpillBytes }),
		counter("spilled_bytes_total", "Bytes that statements have put on the disk for lack of memory.",
			func(r *reading) int64 { return r.engine.SpilledBytes }),
		gauge("column_cache_bytes", "Decoded columns of segments that are kept in memory.",
			func(r *reading) int64 { return r.engine.Segments.CacheBytes }),
		counter("column_cache_hits_total", "Columns of row groups that were found decoded.",
			func(r *reading) int64 { return r.engine.Segments.CacheHits }),
		counter("column_cache_misses_total", "Columns of row groups that had to be read.",
			func(r *reading) int64 { return r.engine.Segments.CacheMisses }),
		counter("column_cache_dropped_total", "Columns of row groups that made room for others.",
			func(r *reading) int64 { return r.engine.Segments.CacheDropped }),
	}
}

func logMetrics() []definition {
	return []definition{
		gauge("head_seq", "The newest durable sequence.", func(r *reading) int64 { return r.engine.Head }),
		gauge("log_failed", "1 when an error of the disk has stopped the log: nothing can be written until a restart.",
			func(r *reading) int64 { return toInt(r.engine.Hotlog.Failed) }),
		gauge("log_bytes", "Bytes of the log that a start would replay.",
			func(r *reading) int64 { return r.engine.Hotlog.LogBytes }),
		gauge("log_files", "Files of the log.", func(r *reading) int64 { return r.engine.Hotlog.Files }),
		gauge("log_queued_bytes", "Bytes of commits that wait to be durable.",
			func(r *reading) int64 { return r.engine.Hotlog.QueuedBytes }),
		histogram("log_sync_duration_seconds", "Time that the disk took to make a part of the log durable (fsync).", nil,
			func(r *reading) map[string]tally.Distribution {
				return map[string]tally.Distribution{"": r.engine.Syncs}
			}),
		counter("log_checkpoints_total", "Files of the log that were given up because all of them is kept elsewhere.",
			func(r *reading) int64 { return r.engine.Hotlog.Checkpoints }),
		gauge("hot_bytes", "Bytes of rows that are not in segments yet.",
			func(r *reading) int64 { return r.engine.Hotlog.Bytes }),
		gauge("hot_rows", "Rows that are not in segments yet.", func(r *reading) int64 { return r.engine.Hotlog.Rows }),
		gauge("hot_tablets", "Tablets (a table, or one user's part of it) with such rows.",
			func(r *reading) int64 { return r.engine.Hotlog.Tablets }),
	}
}

func jobMetrics() []definition {
	return []definition{
		gauge("flush_backlog", "Tablets that are due to be flushed.",
			func(r *reading) int64 { return r.engine.Jobs.Backlog }),
		{name: prefix + "flush_oldest_seconds", help: "How long the first of them has been due.",
			kind: prometheus.GaugeValue, values: func(r *reading, emit func(float64, ...string)) {
				emit(seconds(r.engine.Jobs.OldestMS))
			}},
		gauge("jobs_running", "Jobs that run now.", func(r *reading) int64 { return r.engine.Jobs.Running }),
		counter("flushes_total", "Flushes of tablets to segments.",
			func(r *reading) int64 { return r.engine.Tablets.Flushes }),
		counter("flushed_rows_total", "Rows that flushes wrote.",
			func(r *reading) int64 { return r.engine.Tablets.FlushedRows }),
		counter("compactions_total", "Compactions of tablets.",
			func(r *reading) int64 { return r.engine.Tablets.Compactions }),
		counter("compacted_rows_total", "Rows that compactions wrote.",
			func(r *reading) int64 { return r.engine.Tablets.CompactedRows }),
		counter("evictions_total", "Removals of expired rows.", func(r *reading) int64 { return r.engine.Jobs.Evictions }),
		counter("job_failures_total", "Jobs that failed; they are tried again.",
			func(r *reading) int64 { return r.engine.Jobs.Failures }),
		counter("segments_written_total", "Segments that were written.",
			func(r *reading) int64 { return r.engine.Tablets.SegmentsWritten }),
		counter("segments_deleted_total", "Segments that were deleted.",
			func(r *reading) int64 { return r.engine.Tablets.SegmentsDeleted }),
	}
}

func subscriptionMetrics() []definition {
	return []definition{
		gauge("subscriptions_running", "Subscriptions that are open.",
			func(r *reading) int64 { return r.engine.Followers }),
		gauge("subscription_lag_max", "How many sequences the subscription that is furthest behind has to go.",
			func(r *reading) int64 { return r.engine.LagMax }),
		counter("subscription_results_made_total", "Groups of changes that were computed for subscriptions.",
			func(r *reading) int64 { return r.engine.Subscriptions.Made }),
		counter("subscription_results_shared_total", "Groups of changes that another subscription had computed.",
			func(r *reading) int64 { return r.engine.Subscriptions.Shared }),
	}
}

func wireMetrics() []definition {
	return []definition{
		gauge("calls_running", "gRPC calls that run now.", func(r *reading) int64 { return r.wire.Calls }),
		gauge("results_reading", "Results that are being read, subscriptions among them.",
			func(r *reading) int64 { return r.wire.Streams }),
		gauge("prepared_statements", "Prepared statements that are kept.",
			func(r *reading) int64 { return int64(r.wire.Statements) }),
		counters("grpc_calls_total", "gRPC calls that have ended, by method and status code.", []string{"method", "code"},
			func(r *reading, emit func(float64, ...string)) {
				for key, n := range r.wire.Codes {
					emit(float64(n), key.Method, key.Code)
				}
			}),
		histogram("grpc_call_duration_seconds", "Time that a gRPC call took, by method; reading a result is a part of DoGet.",
			[]string{"method"}, func(r *reading) map[string]tally.Distribution { return r.wire.Took }),
	}
}
