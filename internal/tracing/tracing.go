// Package tracing sends a trace of every call to a collector that speaks OTLP. Where to, which calls and with what
// attributes is said by the OTEL_ variables that the OpenTelemetry SDK knows. A trace has the method, the status and
// the name of the request, and nothing of statements or rows.
package tracing

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"kalamflight/engine"
	"kalamflight/internal/fault"
)

// Wanted reads the environment: whether traces are asked for, and by which protocol, grpc or http/protobuf.
func Wanted(lookup func(string) (string, bool)) (protocol string, on bool) {
	first := func(names ...string) string {
		for _, name := range names {
			if v, _ := lookup(name); v != "" {
				return v
			}
		}
		return ""
	}
	exporter := first("OTEL_TRACES_EXPORTER")
	endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	on = exporter == "otlp" || exporter == "" && endpoint != ""
	if strings.EqualFold(first("OTEL_SDK_DISABLED"), "true") {
		on = false
	}
	protocol = first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol == "" {
		protocol = "http/protobuf"
	}
	return protocol, on
}

// Tracer traces calls. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	headers  propagation.TextMapPropagator
}

// Open begins to send traces; version names the product's. A collector that cannot be reached is no failure: its traces
// are lost. Memory is bounded: the SDK drops what does not fit into its queue of 2,048 spans.
func Open(ctx context.Context, protocol, version string) (*Tracer, error) {
	var client otlptrace.Client
	switch protocol {
	case "grpc":
		client = otlptracegrpc.NewClient()
	case "http/protobuf":
		client = otlptracehttp.NewClient()
	default:
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("OTEL_EXPORTER_OTLP_PROTOCOL is %q", protocol),
			Hint: "it is grpc or http/protobuf"}
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "kalamflight"),
		attribute.String("service.version", version)), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("describe the server for traces: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	return newTracer(provider), nil
}

func newTracer(provider *sdk.TracerProvider) *Tracer {
	return &Tracer{provider: provider, tracer: provider.Tracer("kalamflight"), headers: propagation.TraceContext{}}
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Call begins the trace of a gRPC call, as a part of the client's trace when the headers name one (traceparent). The
// function that it returns ends it.
func (t *Tracer) Call(ctx context.Context, method string,
	header func(name string) string) (context.Context, func(code string, err error)) {
	ctx = t.headers.Extract(ctx, carrier(header))
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	ctx, span := t.tracer.Start(ctx, strings.TrimPrefix(method, "/"), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service),
			attribute.String("rpc.method", name), attribute.String("kalamflight.request", engine.RequestOf(ctx))))
	return ctx, func(code string, err error) {
		span.SetAttributes(attribute.String("rpc.grpc.status", code))
		if err != nil {
			span.SetStatus(codes.Error, code)
		}
		span.End()
	}
}

// carrier reads headers; nothing is written to it.
type carrier func(name string) string

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(name string) string { return c(name) }

// Set implements propagation.TextMapCarrier.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (carrier) Keys() []string { return nil }
