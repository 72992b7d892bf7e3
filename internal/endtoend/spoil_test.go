package endtoend

import (
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"kalamflight/internal/rpcs"
)

// wireField is one field of a message as it stands in its bytes.
type wireField struct {
	number protowire.Number
	kind   protowire.Type
	// value is what follows the tag, without the length of what has one.
	value []byte
}

// fieldsOf splits a message into its fields; ok is false when it is none.
func fieldsOf(b []byte) (fields []wireField, ok bool) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || len(fields) > 1000 {
			return nil, false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return nil, false
		}
		value := b[:n]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		fields = append(fields, wireField{number, kind, value})
		b = b[n:]
	}
	return fields, len(fields) > 0
}

func joinFields(fields []wireField) []byte {
	var b []byte
	for _, f := range fields {
		b = protowire.AppendTag(b, f.number, f.kind)
		if f.kind == protowire.BytesType {
			b = protowire.AppendVarint(b, uint64(len(f.value)))
		}
		b = append(b, f.value...)
	}
	return b
}

// hostileTexts are texts that name, quote or nest what they should not.
func hostileTexts() []string {
	return []string{"", "\x00", "..", "../../../../etc/passwd", "a/b", `a\b`, "CON", "nul.txt",
		"'; DROP TABLE honest.t; --",
		`"; DROP TABLE honest.t; --`, "honest", "root", "system", "e\u0301\u202e", "\u00e9", "\xff\xfe", "%s%n%d",
		"${jndi:x}",
		strings.Repeat("A", 256), strings.Repeat("é", 5000), strings.Repeat("(", 3000), strings.Repeat("_%", 2000),
		"1e999999",
		"-9223372036854775808", "SELECT 1", "SELECT $1, $99999", "type.googleapis.com/google.protobuf.Any",
		"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementIngest"}
}

func hostileNumbers() []uint64 {
	return []uint64{0, 1, 2, 255, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 1}
}

// mutateCall spoils some messages of a call, at least one, and says how many; it may also drop, double and swap
// messages.
func mutateCall(r *rand.Rand, call rpcs.Sent) (rpcs.Sent, int64) {
	out := rpcs.Sent{Method: call.Method, Messages: append([][]byte(nil), call.Messages...)}
	if len(out.Messages) == 0 {
		out.Messages = [][]byte{nil}
	}
	spoiled := map[int]struct{}{}
	for range 1 + r.IntN(2) {
		i := r.IntN(len(out.Messages))
		out.Messages[i] = mutateMessage(r, out.Messages[i], 0)
		spoiled[i] = struct{}{}
	}
	n := int64(len(spoiled))
	if len(out.Messages) > 1 && r.IntN(4) == 0 {
		i, j := r.IntN(len(out.Messages)), r.IntN(len(out.Messages))
		switch r.IntN(3) {
		case 0:
			out.Messages[i], out.Messages[j] = out.Messages[j], out.Messages[i]
		case 1:
			out.Messages = append(out.Messages, out.Messages[i])
		default:
			if _, ok := spoiled[i]; !ok {
				out.Messages = append(out.Messages[:i:i], out.Messages[i+1:]...)
			}
		}
	}
	return out, n
}

// mutateMessage spoils one field of a message, or of a message in it.
func mutateMessage(r *rand.Rand, b []byte, depth int) []byte {
	fields, ok := fieldsOf(b)
	if !ok || depth > 6 {
		return mutateBytes(r, b)
	}
	i := r.IntN(len(fields))
	f := &fields[i]
	switch r.IntN(16) {
	case 0: // drop it
		return joinFields(append(fields[:i:i], fields[i+1:]...))
	case 1: // again and again
		for range 1 + r.IntN(100) {
			fields = append(fields, *f)
		}
	case 2: // another field's value
		f.value = fields[r.IntN(len(fields))].value
		f.kind = protowire.BytesType
	case 3:
		f.number = protowire.Number(1 + r.IntN(20))
	case 4: // a message in itself
		f.value, f.kind = joinFields(fields), protowire.BytesType
	case 5: // bytes that know no field
		return mutateBytes(r, b)
	default:
		*f = mutateField(r, *f, depth)
	}
	return joinFields(fields)
}

func mutateField(r *rand.Rand, f wireField, depth int) wireField {
	switch f.kind {
	case protowire.VarintType:
		n := hostileNumbers()
		f.value = protowire.AppendVarint(nil, n[r.IntN(len(n))])
	case protowire.BytesType:
		if r.IntN(8) == 0 {
			texts := hostileTexts()
			f.value = []byte(texts[r.IntN(len(texts))])
			break
		}
		f.value = mutateMessage(r, f.value, depth+1)
	default:
		f.value = mutateBytes(r, f.value)
	}
	return f
}

// mutateBytes spoils what is no protobuf: text, or a flatbuffer, whose numbers are aligned.
func mutateBytes(r *rand.Rand, b []byte) []byte {
	if len(b) < 4 || r.IntN(2) == 0 {
		return spoil(r, b)
	}
	b = append([]byte(nil), b...)
	words := hostileNumbers()
	for range 1 + r.IntN(2) {
		at := 4 * r.IntN(len(b)/4)
		word := words[r.IntN(len(words))]
		width := []int{1, 2, 4, 8}[r.IntN(4)]
		for i := at; i < min(at+width, len(b)); i++ {
			b[i] = byte(word)
			word >>= 8
		}
	}
	if r.IntN(4) == 0 { // a part of it, elsewhere
		from, to := r.IntN(len(b)), r.IntN(len(b))
		copy(b[to:], b[from:min(from+1+r.IntN(32), len(b))])
	}
	return b
}
