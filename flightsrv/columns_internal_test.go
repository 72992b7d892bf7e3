package flightsrv

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
)

// The JDBC driver writes milliseconds whatever it was told: it is told milliseconds, and nobody else is.
func TestParametersOfJava(t *testing.T) {
	for _, c := range []struct {
		kind        manifest.TypeKind
		java, other string
	}{
		{manifest.Timestamp, "timestamp[ms]", "timestamp[us]"},
		{manifest.DateTime, "timestamp[ms, tz=UTC]", "timestamp[us, tz=UTC]"},
		{manifest.Time, "time32[ms]", "time64[us]"},
		{manifest.UUID, "utf8", "fixed_size_binary[16]"},
		{manifest.BigInt, "int64", "int64"},
		{manifest.Null, "utf8", "utf8"},
	} {
		of := func(agent string) arrow.DataType {
			return parameterSchema([]manifest.Type{kind(c.kind)}, agent).Field(0).Type
		}
		if got := of("grpc-java-netty/1.71.0").String(); got != c.java {
			t.Errorf("%v of the JDBC driver is %s, want %s", c.kind, got, c.java)
		}
		if got := of("grpc-go/1.80.0").String(); got != c.other {
			t.Errorf("%v of another driver is %s, want %s", c.kind, got, c.other)
		}
	}
}
