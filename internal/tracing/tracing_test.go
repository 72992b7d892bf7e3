package tracing_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine"
	"kalamflight/internal/tracing"
)

func TestWanted(t *testing.T) {
	for _, test := range []struct {
		env      map[string]string
		protocol string
		on       bool
	}{
		{nil, "http/protobuf", false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "http/protobuf", true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc", true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "http/protobuf",
			false},
		{map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "http/protobuf", false},
	} {
		protocol, on := tracing.Wanted(func(name string) (string, bool) { v, ok := test.env[name]; return v, ok })
		if protocol != test.protocol || on != test.on {
			t.Errorf("%v: %s, %v, want %s, %v", test.env, protocol, on, test.protocol, test.on)
		}
	}
}

// TestCall sends two calls to a collector and reads them there: one is a part of its client's trace, the other failed.
func TestCall(t *testing.T) {
	got := make(chan *collector.ExportTraceServiceRequest, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		m := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(body, m)
		}
		if err != nil {
			t.Error(err)
		}
		got <- m
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	tracer, err := tracing.Open(t.Context(), "http/protobuf", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"traceparent": "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01"}
	_, end := tracer.Call(engine.WithRequest(t.Context(), "r1"), "/arrow.flight.protocol.FlightService/DoGet",
		func(name string) string { return headers[name] })
	end("OK", nil)
	_, end = tracer.Call(t.Context(), "/arrow.flight.protocol.FlightService/DoPut", func(string) string { return "" })
	end("NotFound", errors.New("no"))
	if err := tracer.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	spans := (<-got).ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	if s := spans[0]; s.Name != "arrow.flight.protocol.FlightService/DoGet" || s.TraceId[0] != 1 ||
		s.ParentSpanId[0] != 0x11 {
		t.Errorf("the first span is %v", s)
	}
	if s := spans[1]; s.Status.GetMessage() != "NotFound" || len(s.ParentSpanId) != 0 {
		t.Errorf("the second span is %v", s)
	}
}

func TestProtocol(t *testing.T) {
	if _, err := tracing.Open(t.Context(), "smoke", ""); err == nil {
		t.Error("an unknown protocol passed")
	}
}
