package flightsrv

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/metadata"

	"kalamflight/engine"
	"kalamflight/internal/fault"
)

// The headers that say how the results of a call are sent. Each stands before the session option that is named as it
// is, without the prefix. Nothing of it is on unless it is asked for: not every client can read it.
const (
	// headerCompression is none, lz4 or zstd: how the bodies of messages are compressed.
	headerCompression = "kalam-compression"
	// headerDictionaries is true or false: whether texts come as dictionaries.
	headerDictionaries = "kalam-dictionaries"
	// headerUnit is s, ms, us or ns: the unit of TIMESTAMP and DATETIME.
	headerUnit = "kalam-timestamp-unit"
	// headerEndpoints is how many streams a result may be cut into.
	headerEndpoints = "kalam-max-endpoints"
)

// format is how a call wants its results.
type format struct {
	compression string
	shape       shape
	endpoints   int
}

// formatOf reads what the call, or else its session, asks for.
func formatOf(ctx context.Context) (format, error) {
	f := format{endpoints: 1}
	md, _ := metadata.FromIncomingContext(ctx)
	options := sessionOptions(ctx)
	var bad error
	choice := func(header, option string, allowed ...string) string {
		v := strings.ToLower(strings.TrimSpace(last(md, header)))
		if v == "" {
			return strings.ToLower(options[option])
		}
		for _, a := range allowed {
			if v == a {
				return v
			}
		}
		bad = &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
			Message: fmt.Sprintf("the header %s is one of %s, not %q", header, strings.Join(allowed, ", "), clip(v))}
		return ""
	}
	f.compression = choice(headerCompression, engine.OptionCompression, "none", "lz4", "zstd")
	if choice(headerDictionaries, engine.OptionDictionaries, "true", "false") == "true" {
		f.shape |= shapeDictionaries
	}
	if unit := choice(headerUnit, engine.OptionTimestampUnit, "s", "ms", "us", "ns"); unit != "" {
		f.shape |= shapeOfUnit(unit)
	}
	most := last(md, headerEndpoints)
	if most == "" {
		most = options[engine.OptionMaxEndpoints]
	}
	if most != "" {
		n, err := strconv.Atoi(most)
		if err != nil || n < 1 || n > engine.EndpointsMax {
			return f, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
				Message: fmt.Sprintf("%s is a number from 1 to %d, not %q", headerEndpoints, engine.EndpointsMax, clip(most))}
		}
		f.endpoints = n
	}
	return f, bad
}

// last is the newest value of a header: drivers keep those that were set before.
func last(md metadata.MD, name string) string {
	v := md.Get(name)
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// sessionOptions are those of the caller's session, if the call has one by now.
func sessionOptions(ctx context.Context) map[string]string {
	c, err := callerOf(ctx)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	return c.session.engine.Options()
}

// shape is what the columns of a result look like; 0 is as the engine has them. A ticket carries it, so that what was
// described is what is read.
type shape byte

const (
	shapeDictionaries shape = 1
	// The unit of timestamps is in two bits, plus one; none of them is microseconds.
	shapeUnit shape = 7 << 1
)

func shapeOfUnit(unit string) shape {
	return shape(1+strings.Index("s msusns", unit)/2) << 1
}

// unit is the unit of timestamps.
func (h shape) unit() arrow.TimeUnit {
	if n := h & shapeUnit >> 1; n >= 1 && n <= 4 {
		return arrow.TimeUnit(n - 1)
	}
	return arrow.Microsecond
}

// in is the statement with its result in a shape. Subscriptions have no dictionaries: their batches are few rows, and
// shared.
func (c *compiled) in(h shape) *compiled {
	if c.subscribes() {
		h &^= shapeDictionaries
	}
	if h == 0 || c.schema.NumFields() == 0 {
		return c
	}
	fields := c.schema.Fields()
	for i := range fields {
		fields[i].Type = h.of(fields[i].Type)
	}
	meta := c.schema.Metadata()
	d := *c
	d.schema = arrow.NewSchema(fields, &meta)
	d.wire, d.hash = schemaBytes(d.schema)
	return &d
}

// of is a type in the shape.
func (h shape) of(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.StringType:
		if h&shapeDictionaries != 0 {
			return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: t}
		}
	case *arrow.TimestampType:
		return &arrow.TimestampType{Unit: h.unit(), TimeZone: t.TimeZone}
	}
	return t
}

// schemaBytes is a schema as messages carry it, and a hash that tells it from others.
func schemaBytes(s *arrow.Schema) ([]byte, uint64) {
	wire := flight.SerializeSchema(s, memory.DefaultAllocator)
	return wire, hashOf(wire)
}
